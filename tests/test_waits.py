"""How long did the server ask us to wait? Every form, and every nonsense."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import json_values, wait_values

from responder.wire.waits import duration_seconds, reset_seconds, wait_hint

NOW = 1_792_567_680.0  # Wed, 21 Oct 2026 07:28:00 GMT

INFO = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "26s"}

HEADER_NAMES = [
    "retry-after",
    "retry-after-ms",
    "date",
    "x-ratelimit-remaining-requests",
    "x-ratelimit-reset-requests",
    "x-ratelimit-remaining-tokens",
    "x-ratelimit-reset-tokens",
    "anthropic-ratelimit-requests-remaining",
    "anthropic-ratelimit-requests-reset",
    "ratelimit",
    "x-ratelimit-remaining",
    "x-ratelimit-reset",
]


@pytest.mark.pain(9)
@pytest.mark.parametrize(
    ("headers", "body", "seconds"),
    [
        ({"retry-after": "2"}, None, 2.0),
        ({"retry-after": "0.5"}, None, 0.5),
        ({"retry-after": " 3 "}, None, 3.0),
        ({"retry-after": "0"}, None, 0.0),
        ({"retry-after-ms": "1500"}, None, 1.5),
        ({"retry-after-ms": "1500", "retry-after": "9"}, None, 1.5),
        ({"retry-after": "Wed, 21 Oct 2026 07:28:07 GMT"}, None, 7.0),
        ({"retry-after": "Wed, 21 Oct 2026 09:28:07 +0200"}, None, 7.0),
        ({"retry-after": "Wednesday, 21-Oct-26 07:28:07 GMT"}, None, 7.0),
        ({"retry-after": "Wed, 21 Oct 2026 07:27:00 GMT"}, None, 0.0),
        ({"retry-after": "2026-10-21T07:28:07Z"}, None, 7.0),
        # The server's own clock counts, where it tells it.
        ({"retry-after": "Wed, 21 Oct 2026 08:00:07 GMT", "date": "Wed, 21 Oct 2026 08:00:00 GMT"}, None, 7.0),
        ({"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "6m0s"}, None, 360.0),
        ({"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "4ms"}, None, 0.004),
        ({"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "1m4.296s"}, None, 64.296),
        ({"x-ratelimit-remaining-tokens": "0", "x-rate-limit-reset-tokens": "33"}, None, 33.0),
        ({"x-ratelimit-remaining-tokens": "5", "x-ratelimit-reset-tokens": "60s"}, None, None),
        ({"x-ratelimit-remaining": "0", "x-ratelimit-reset": str(int((NOW + 5) * 1000))}, None, 5.0),
        ({"x-ratelimit-remaining": "0", "x-ratelimit-reset": str(int(NOW + 5))}, None, 5.0),
        (
            {"anthropic-ratelimit-requests-remaining": "0", "anthropic-ratelimit-requests-reset": "2026-10-21T07:28:09Z"},
            None,
            9.0,
        ),
        (
            {},
            {"error": {"details": [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "45.837906927s"}]}},
            45.837906927,
        ),
        ({}, {"error": {"message": "Rate limit reached. Please try again in 8.71s. Visit"}}, 8.71),
        ({}, {"error": {"message": "Please try again in 1m12s."}}, 72.0),
        ({}, {"error": {"message": "Please retry after 33 seconds."}}, 33.0),
        ({}, {"error": "please wait 59 seconds"}, 59.0),
        ({}, "retry in 250ms", 0.25),
        ({}, {"error": {"message": "slow down"}}, None),
        ({}, None, None),
        ({"retry-after": "soon"}, {"error": {"message": "Please try again in 2s"}}, 2.0),
        ({"retry-after": "-5"}, None, None),
        ({"retry-after": "nan"}, None, None),
        ({"retry-after": "inf"}, None, None),
        ({"retry-after": "9" * 400}, None, None),
        # Durations, two values that a proxy joined, and the names of some gateways.
        ({"retry-after": "30s"}, None, 30.0),
        ({"retry-after": "1m30s"}, None, 90.0),
        ({"retry-after": "5, 7"}, None, 7.0),
        ({"retry-after": "7,5"}, None, 7.0),
        ({"retry-after": "5, 7, 6"}, None, 7.0),
        ({"retry-after": "30s, 10"}, None, 30.0),
        ({"retry-after": "5, Wed, 21 Oct 2026 07:28:30 GMT"}, None, 30.0),
        ({"retry-after": "Wed, 21 Oct 2026 07:28:30 GMT, 5"}, None, 30.0),
        ({"retry-after": "Wed, 21 Oct 2026 07:28:30 GMT, Wed, 21 Oct 2026 07:28:40 GMT"}, None, 40.0),
        ({"retry-after": "soon, 5"}, None, 5.0),
        ({"retry-after": "-1, 5"}, None, 5.0),
        ({"retry-after": ","}, None, None),
        ({"x-ms-retry-after-ms": "250"}, None, 0.25),
        ({"x-amz-retry-after": "3"}, None, 3.0),
        # The dates of RFC 9110, section 5.6.7, and RFC 3339.
        ({"retry-after": "Wed Oct 21 07:28:07 2026"}, None, 7.0),
        ({"retry-after": "Sun Nov  1 07:28:00 2026"}, None, 11 * 86400.0),
        ({"retry-after": "2026-10-21T07:28:07.25Z"}, None, 7.25),
        ({"retry-after": "2026-10-21T09:28:07.123456789+02:00"}, None, 7.123456),
        # draft-ietf-httpapi-ratelimit-headers, old and new.
        ({"ratelimit-remaining": "0", "ratelimit-reset": "12"}, None, 12.0),
        ({"ratelimit": "limit=100, remaining=0, reset=50"}, None, 50.0),
        ({"ratelimit": "limit=100, remaining=5, reset=50"}, None, None),
        ({"ratelimit": '"default";r=0;t=30'}, None, 30.0),
        ({"ratelimit": '"default"; r=3; t=30'}, None, None),
        ({"ratelimit": '"burst";r=0;t=3, "daily";r=0;t=300, "other";r=9;t=9000'}, None, 300.0),
        ({"ratelimit": '"default";r=0'}, None, None),
        ({"ratelimit": ""}, None, None),
        ({"x-ratelimit-remaining-requests-minute": "0", "x-ratelimit-reset-requests-minute": "21.5"}, None, 21.5),
        (
            {
                "anthropic-ratelimit-unified-status": "rejected",
                "anthropic-ratelimit-unified-reset": str(int(NOW + 600)),
            },
            None,
            600.0,
        ),
        # Absurd values: a year at most, or none.
        ({"retry-after": "Fri, 31 Dec 9999 23:59:59 GMT"}, None, 366 * 86400.0),
        ({"retry-after": "99999999999"}, None, 366 * 86400.0),
        ({"retry-after": "1e400"}, None, None),
        ({"retry-after": "-1e3"}, None, None),
        ({"retry-after": "٣"}, None, None),
        ({"retry-after": "0x10"}, None, None),
        ({"retry-after-ms": "-5", "retry-after": "2"}, None, 2.0),
        ({}, {"error": {"message": "try again in 99999999 days"}}, 366 * 86400.0),
        ({}, {"error": {"message": "try again in " + "9" * 400 + " days"}}, None),
        # Google's RetryInfo at any depth, and inside what a gateway quotes.
        ({}, {"error": {"metadata": {"raw": json.dumps({"error": {"details": [INFO]}})}}}, 26.0),
        ({}, {"error": {"message": json.dumps({"error": {"details": [{"a": [INFO]}]}})}}, 26.0),
        ({}, {"error": {"details": [{**INFO, "retryDelay": {"seconds": 3, "nanos": 500_000_000}}]}}, 3.5),
        ({}, {"error": {"details": [{**INFO, "retryDelay": "soon"}]}}, None),
        # Headers that a gateway quotes.
        ({}, {"error": {"metadata": {"headers": {"X-RateLimit-Reset": str(int((NOW + 90) * 1000))}}}}, 90.0),
        (
            {},
            {"error": {"metadata": {"headers": {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": int((NOW + 90) * 1000)}}}},
            90.0,
        ),
        ({}, {"error": {"metadata": {"headers": {"X-RateLimit-Remaining": "3", "X-RateLimit-Reset": "60"}}}}, None),
        ({}, {"error": {"metadata": {"headers": {"Retry-After": "4"}}}}, 4.0),
        # Fields of the body.
        ({}, {"error": "Model x is currently loading", "estimated_time": 20.5}, 20.5),
        ({}, {"error": {"type": "usage_limit_reached", "resets_in_seconds": 3600}}, 3600.0),
        ({}, {"error": {"type": "usage_limit_reached", "resets_at": int(NOW) + 60}}, 60.0),
        ({}, {"retry_after_ms": 1500}, 1.5),
        ({}, {"retry_after": -3, "message": "retry after 2 seconds"}, 2.0),
        ({}, {"retry_after": True, "estimated_time": "NaN"}, None),
    ],
)
def test_the_wait_that_a_server_asks_for_is_understood(headers: dict[str, str], body: Any, seconds: float | None) -> None:
    """Seconds, milliseconds, dates, reset times, Google's RetryInfo, and prose."""
    found = wait_hint(headers, body, NOW)
    assert found == (None if seconds is None else pytest.approx(seconds, abs=1e-3))


@pytest.mark.parametrize(
    ("words", "seconds"),
    [
        ("Please try again in 2 minutes.", 120.0),
        ("try again in 1 hour", 3600.0),
        ("Try again after 30 seconds", 30.0),
        ("Please retry your requests after 30 seconds", 30.0),
        ("Please try again in 1h2m3s.", 3723.0),
        ("try again in 1 hour 5 minutes", 3900.0),
        ("try again in 1 hour and 20 minutes", 4800.0),
        ("try again in 2 hours, 5 minutes and 10 seconds", 7510.0),
        ("Please wait 90 sec before retrying", 90.0),
        ("please wait at least 5 mins", 300.0),
        ("You can retry in about 2 hrs", 7200.0),
        ("available again in 3 days", 259_200.0),
        ("Your quota resets in 1m12.5s", 72.5),
        ("Retry-After: 45", 45.0),
        ("retry after: 45s", 45.0),
        ("Please retry in 10h17m5.7s.", 37_025.7),
        ("retry in 44.087s", 44.087),
        ("Rate limit is exceeded. Try again in 11 seconds.", 11.0),
        ("try again in 500 milliseconds", 0.5),
        ("try again in an hour", 3600.0),
        ("Please try again in one minute", 60.0),
        ("Quota will be replenished in 08:12:44.", 29_564.0),
        ("Out of call volume quota. Quota will be replenished in 10.08:12:44.", 893_564.0),
        ("请在30秒后重试", 30.0),
        ("请 5 分钟后再试", 300.0),
        ("You will regain access on 2026-12-01 at 00:00 UTC.", 3_515_520.0),
        ("Your limit will reset at 2026-10-21 08:28:00", 3600.0),
        ("The limit resets at 2026-10-21T09:28:00+01:00", 3600.0),
        ("Resets on 2026-10-22", 59_520.0),
        # Numbers that are no waits.
        ("Rate limit of 50 per 86400s exceeded. Please wait 59 seconds before retrying.", 59.0),
        ("Limit 20 requests per 1 minute. Please try again later.", None),
        ("You regained access on 2020-01-01 at 00:00 UTC", None),
        ("Please wait for 5 requests to finish", None),
        ("See section 3 minutes of the meeting", None),
        ("Try again with model-4 in mind", None),
        ("", None),
    ],
)
def test_the_wait_in_a_sentence_is_understood_with_its_unit(words: str, seconds: float | None) -> None:
    """Minutes and hours as such, sums of them, moments, and nothing else that has a number in it."""
    expected = None if seconds is None else pytest.approx(seconds, abs=1e-3)
    assert wait_hint({}, {"error": {"message": words}}, NOW) == expected
    assert wait_hint({}, words, NOW) == expected
    assert wait_hint({}, {"type": "error", "error": words}, NOW) == expected


@given(
    st.integers(0, 50), st.integers(0, 59), st.integers(0, 59), st.sampled_from(["try again in", "Retry after", "please wait"])
)
def test_any_wait_in_words_is_read_back(hours: int, minutes: int, seconds: int, lead: str) -> None:
    """Written out, with plurals and joined."""
    parts = [(hours, "hour"), (minutes, "minute"), (seconds, "second")]
    words = " ".join(f"{number} {unit}{'' if number == 1 else 's'}" for number, unit in parts)
    assert wait_hint({}, f"Too fast: {lead} {words}.", NOW) == hours * 3600 + minutes * 60 + seconds


@pytest.mark.pain(9)
@given(st.dictionaries(st.sampled_from(HEADER_NAMES), wait_values | st.just("0")), json_values | st.text(max_size=60))
def test_whatever_a_server_says_the_wait_is_none_or_finite_and_not_negative(headers: dict[str, str], body: Any) -> None:
    """No header and no body makes it crash, sleep for more than a year, or sleep for less than nothing."""
    found = wait_hint(headers, body, NOW)
    assert found is None or (0.0 <= found <= 366 * 86400.0)


@given(wait_values)
def test_any_reset_time_is_none_or_finite_and_not_negative(value: str) -> None:
    """The same for each header alone."""
    for read in (duration_seconds, lambda value: reset_seconds(value, NOW)):
        found = read(value)
        assert found is None or (0.0 <= found < math.inf)


@given(st.integers(0, 10**6), st.integers(0, 59), st.integers(0, 999))
def test_go_durations_are_read_back(hours: int, minutes: int, milliseconds: int) -> None:
    """As Go writes them: hours, minutes, milliseconds."""
    assert duration_seconds(f"{hours}h{minutes}m{milliseconds}ms") == pytest.approx(
        hours * 3600 + minutes * 60 + milliseconds / 1000
    )


@pytest.mark.parametrize("value", ["1x", "1m 4s", "m", "1..2s", "s1", "one", "1h-2m"])
def test_what_is_no_duration_is_none(value: str) -> None:
    """Rather no wait than a wrong one."""
    assert duration_seconds(value) is None


@given(st.lists(st.integers(0, 10_000), min_size=1, max_size=5), st.sampled_from([",", ", ", " , "]))
def test_of_several_waits_in_one_header_the_longest_counts(values: list[int], comma: str) -> None:
    """Proxies join a header that came twice."""
    assert wait_hint({"retry-after": comma.join(map(str, values))}, None, NOW) == max(values)


def test_a_body_of_many_objects_is_read_in_time() -> None:
    """A hostile one costs no more than a real one."""
    assert wait_hint({}, {"error": [{"message": "try again " * 100} for _ in range(50_000)]}, NOW) is None
    assert wait_hint({}, {"error": {"message": "try again in " + "1 hour " * 100_000}}, NOW) is not None
