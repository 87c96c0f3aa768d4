"""How fast does the provider's bucket fill up again? Read from the rate-limit headers of its replies."""

from __future__ import annotations

from collections.abc import Mapping
from email.utils import parsedate_to_datetime

from responder.values import clock
from responder.wire.waits import reset_seconds

# Below this part of its bucket the provider's own rate is kept to.
_NEARLY_EMPTY = 0.1

# A bucket that takes longer than a day to fill is a mistake in the header.
_LONGEST_RESET = 86_400.0

# No bucket holds a number with this many digits.
_MOST_DIGITS = 15

# What is counted, and the headers that tell the bucket's size, what is left in it, and when it is full again.
_BUCKETS = tuple(
    (kind, pattern.format("limit"), pattern.format("remaining"), pattern.format("reset"))
    for kind, pattern in (
        ("requests", "x-ratelimit-{}-requests"),
        ("tokens", "x-ratelimit-{}-tokens"),
        ("requests", "anthropic-ratelimit-requests-{}"),
        ("tokens", "anthropic-ratelimit-tokens-{}"),
    )
)


def tells_of_buckets(headers: Mapping[str, str]) -> bool:
    """Return whether a reply says how much is left."""
    return "x-ratelimit-remaining-requests" in headers or "anthropic-ratelimit-requests-remaining" in headers


def slowest_refill(headers: Mapping[str, str], tokens: float) -> tuple[float, float]:
    """Return the seconds that one call's share of the emptiest bucket takes to come back, and those until that bucket is full.

    Both are 0 while no bucket is nearly empty.

    Args:
        headers: Of a reply; names in lower case.
        tokens: What one call takes of a bucket of tokens.
    """
    slowest, full = 0.0, 0.0
    for kind, limit_name, remaining_name, reset_name in _BUCKETS:
        limit, remaining = _count(headers.get(limit_name)), _count(headers.get(remaining_name))
        if not limit or remaining is None or remaining >= limit * _NEARLY_EMPTY:
            continue
        seconds = reset_seconds(headers.get(reset_name, ""), _now(headers))
        if not seconds or not seconds <= _LONGEST_RESET:
            continue
        for_one = seconds / (limit - remaining)  # the reset is when the bucket is full again
        slowest = max(slowest, for_one if kind == "requests" else for_one * tokens)
        full = max(full, seconds)
    return slowest, full


def _now(headers: Mapping[str, str]) -> float:
    """Return the moment on the server's own clock, if it sends it: ours may be hours off."""
    try:
        return parsedate_to_datetime(headers["date"]).timestamp()
    except (KeyError, ValueError, TypeError, OverflowError, IndexError):
        return clock.wall()


def _count(value: str | None) -> int | None:
    return int(value) if value is not None and value.isdecimal() and len(value) <= _MOST_DIGITS else None
