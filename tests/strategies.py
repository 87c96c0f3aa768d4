"""What hypothesis makes our input from."""

from __future__ import annotations

from hypothesis import strategies as st

texts = st.text(max_size=40)

json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**20), 10**20) | st.floats(allow_nan=False) | texts,
    lambda children: st.lists(children, max_size=4) | st.dictionaries(texts, children, max_size=4),
    max_leaves=12,
)

# Words that our readers look for, so that chance gets further than the first check.
message_keys = st.sampled_from(
    ["role", "content", "type", "text", "image_url", "url", "tool_calls", "tool_call_id", "function", "name", "arguments", "id"]
)
message_words = st.sampled_from(
    ["user", "assistant", "system", "developer", "model", "tool", "text", "image_url", "data:image/png;base64,!", "{}", "{"]
)
message_like = st.recursive(
    message_words | st.none() | st.integers(-2, 2) | texts,
    lambda children: st.lists(children, max_size=4) | st.dictionaries(message_keys, children, max_size=6),
    max_leaves=20,
)

durations = st.sampled_from(["1s", "1m4.296s", "4ms", "-1s", "1e400s", "9" * 400 + "s", "1h", "s", "", "NaN", "inf", "-5", "0"])
dates = st.sampled_from(
    [
        "Wed, 21 Oct 2026 07:28:00 GMT",
        "Wed, 21 Oct 2026 09:28:00 +0200",
        "Wednesday, 21-Oct-26 07:28:00 GMT",
        "2026-01-02T22:11:01Z",
        "2026-01-02T22:11:01",
        "9999-12-31T23:59:59Z",
        "0001-01-01T00:00:00+14:00",
        "Fri, 31 Dec 9999 23:59:59 -2359",
    ]
)
wait_values = durations | dates | texts | st.integers().map(str) | st.floats().map(str)
