"""How long did the server ask us to wait? Every form, and every nonsense."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import json_values, wait_values

from responder.wire.waits import duration_seconds, reset_seconds, wait_hint

NOW = 1_792_567_680.0  # Wed, 21 Oct 2026 07:28:00 GMT

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
    ],
)
def test_the_wait_that_a_server_asks_for_is_understood(headers: dict[str, str], body: Any, seconds: float | None) -> None:
    """Seconds, milliseconds, dates, reset times, Google's RetryInfo, and prose."""
    found = wait_hint(headers, body, NOW)
    assert found == (None if seconds is None else pytest.approx(seconds, abs=1e-3))


@pytest.mark.pain(9)
@given(st.dictionaries(st.sampled_from(HEADER_NAMES), wait_values | st.just("0")), json_values | st.text(max_size=60))
def test_whatever_a_server_says_the_wait_is_none_or_finite_and_not_negative(headers: dict[str, str], body: Any) -> None:
    """No header and no body makes it crash, sleep for ever, or sleep for less than nothing."""
    found = wait_hint(headers, body, NOW)
    assert found is None or (0.0 <= found < math.inf)


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
