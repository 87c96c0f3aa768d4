"""Streamlit pages, run by its own AppTest: streams as they are, and progress from the page's thread alone."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from streamlit.testing.v1 import AppTest

from responder.simulator import Fault, Simulator

# Streamlit's own code, not ours.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::ResourceWarning")


@pytest.fixture(autouse=True)
def provider(simulator: Simulator, monkeypatch: pytest.MonkeyPatch) -> Iterator[Simulator]:
    """Make the simulator the provider of `openai:`, and forget the responders of the test before."""
    monkeypatch.setenv("OPENAI_API_KEY", "test-key")
    monkeypatch.setenv("OPENAI_BASE_URL", simulator.base_url("openai"))
    monkeypatch.setenv("STREAMLIT_BROWSER_GATHER_USAGE_STATS", "false")
    import streamlit as st

    st.cache_resource.clear()
    yield simulator
    st.cache_resource.clear()


def run(page: str) -> AppTest:
    """Run a page as a browser would make it run; an exception of the page fails the test."""
    test = AppTest.from_string(page, default_timeout=30).run()
    assert not test.exception, test.exception
    return test


def test_write_stream_takes_a_stream_as_it_is() -> None:
    """The page shows the whole text, and `write_stream` returns it as a str."""
    test = run(
        """
import streamlit as st
from responder.integrations.streamlit import cached_responder
with cached_responder("openai:m").stream("Hi") as stream:
    text = st.write_stream(stream)
st.session_state["kept"] = (text, stream.finish_reason)
"""
    )
    assert test.markdown[0].value == "Simulated answer to: Hi"
    assert test.session_state["kept"] == ("Simulated answer to: Hi", "stop")


def test_a_responder_is_shared_by_all_runs() -> None:
    """Equal arguments give the same responder; others another one."""
    page = """
import streamlit as st
from responder.integrations.streamlit import cached_responder
st.session_state["ids"] = [id(cached_responder("openai:m", temperature=heat)) for heat in (0.0, 0.0, 1.0)]
"""
    first, second = run(page).session_state["ids"], run(page).session_state["ids"]
    assert first == second
    assert first[0] == first[1] != first[2]


def test_a_map_draws_its_progress_and_takes_it_away(provider: Simulator) -> None:
    """The bar is drawn by the page's own thread, and the batch comes back in order."""
    provider.script_for("b", Fault.status(400, "no"))
    test = run(
        """
import threading
import streamlit as st
from responder.integrations import streamlit as ours
page = threading.get_ident()
drawn = []
real = st.progress
def progress(*given):
    bar = real(*given)
    class Bar:
        def progress(self, value, text):
            drawn.append((threading.get_ident() == page, value, text))
            bar.progress(value, text)
        def empty(self):
            drawn.append("empty")
            bar.empty()
    return Bar()
st.progress = progress
try:
    batch = ours.map_with_progress(ours.cached_responder("openai:m"), list("abc"), label="Reading", max_workers=3)
finally:
    st.progress = real
st.session_state["drawn"] = drawn
st.session_state["ok"] = [result.ok for result in batch]
"""
    )
    drawn = test.session_state["drawn"]
    assert drawn[-2:] == [(True, 1.0, "Reading: 3 of 3, 1 failed"), "empty"]
    assert test.session_state["ok"] == [True, False, True]


def test_an_empty_map_draws_nothing_wrong() -> None:
    """No prompts give an empty batch."""
    run(
        """
from responder.integrations.streamlit import cached_responder, map_with_progress
assert len(map_with_progress(cached_responder("openai:m"), [])) == 0
"""
    )


def test_answers_stand_side_by_side(provider: Simulator) -> None:
    """Each stream has a column with its heading; a failed one shows its error, and keeps the others."""
    provider.script_for("bad", Fault.status(400, "no"))
    test = run(
        """
import streamlit as st
from responder.integrations.streamlit import cached_responder, write_side_by_side
streams = cached_responder("openai:m").stream_map(["good", "bad"])
st.session_state["texts"] = write_side_by_side(streams, ["Depth", "Breadth"])
"""
    )
    assert [heading.value for heading in test.subheader] == ["Depth", "Breadth"]
    assert test.session_state["texts"] == ("Simulated answer to: good", "")
    assert test.error[0].value == "The question could not be answered."


@pytest.mark.parametrize("what", ["st.stop()", "raise ValueError('no')"])
def test_an_abandoned_run_frees_the_provider(provider: Simulator, what: str) -> None:
    """Streamlit ends a run by an exception; leaving the `with` block ends the stream."""
    provider.script(Fault.stall_stream(3))
    AppTest.from_string(
        f"""
import streamlit as st
from responder.integrations.streamlit import cached_responder
with cached_responder("openai:m").stream("Hi") as stream:
    for piece in stream:
        {what}
""",
        default_timeout=30,
    ).run()
    assert provider.wait_until_idle()
    assert provider.received[0].outcome == "client left"
