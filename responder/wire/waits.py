"""How long did the server ask us to wait? Every form in which providers say it, as seconds."""

from __future__ import annotations

import email.utils
import math
import re
from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any

_UNITS = {"d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}
_DURATION_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|us|µs|ns|d|h|m|s)")
_NUMBER = re.compile(r"\d+(?:\.\d+)?")

# Prose of error messages: "Please try again in 1m12s", "retry after 33 seconds", "Please wait 59 seconds".
_SENTENCE = re.compile(
    r"(?:try again in|retry in|retry after|please wait)\s+"
    r"(?P<value>(?:\d+(?:\.\d+)?(?:ms|us|µs|ns|d|h|m|s)(?![a-z]))+|\d+(?:\.\d+)?)",
    re.IGNORECASE,
)

# The bucket is full again after the reset time, so it is an upper bound of the wait; only read when the bucket is empty.
_BUCKETS = (
    ("x-ratelimit-remaining-requests", "x-ratelimit-reset-requests"),
    ("x-ratelimit-remaining-tokens", "x-ratelimit-reset-tokens"),
    ("x-ratelimit-remaining-tokens", "x-rate-limit-reset-tokens"),  # Azure, misspelt so
    ("x-ratelimit-remaining-requests-day", "x-ratelimit-reset-requests-day"),  # Cerebras
    ("x-ratelimit-remaining-tokens-minute", "x-ratelimit-reset-tokens-minute"),
    ("x-ratelimit-remaining", "x-ratelimit-reset"),  # OpenRouter, GitHub
    ("ratelimit-remaining", "ratelimit-reset"),
    ("anthropic-ratelimit-requests-remaining", "anthropic-ratelimit-requests-reset"),
    ("anthropic-ratelimit-tokens-remaining", "anthropic-ratelimit-tokens-reset"),
    ("anthropic-ratelimit-input-tokens-remaining", "anthropic-ratelimit-input-tokens-reset"),
    ("anthropic-ratelimit-output-tokens-remaining", "anthropic-ratelimit-output-tokens-reset"),
)


def wait_hint(headers: Mapping[str, str], body: Any, now: float) -> float | None:
    """Return the wait that an error reply asks for; None when it does not say.

    The first hint wins: `retry-after-ms`, `retry-after` (seconds or an HTTP date), Google's `RetryInfo`, the reset time of an
    exhausted bucket (the latest of them), and last the prose of the message.

    Args:
        headers: Names in lower case.
        body: The parsed error body, or its text.
        now: `time.time()`, seconds since the epoch.

    Returns:
        Seconds, 0 or more and finite. How much of it is obeyed is the policy's business.
    """
    now = _date(headers.get("date")) or now  # the server's own clock, where it told it: ours may be wrong
    milliseconds = _number(headers.get("retry-after-ms"))
    if milliseconds is not None:
        return milliseconds / 1000.0
    after = headers.get("retry-after")
    if after:
        seconds = _number(after)
        if seconds is None:
            seconds = _until_date(after, now)
        if seconds is not None:
            return seconds
    info = _retry_info(body)
    if info is not None:
        return info
    resets = [
        reset_seconds(headers[reset], now)
        for remaining, reset in _BUCKETS
        if reset in headers and _number(headers.get(remaining)) == 0.0
    ]
    known = [seconds for seconds in resets if seconds is not None]
    if known:
        return max(known)
    found = _SENTENCE.search(_text(body))
    return duration_seconds(found["value"]) if found else None


def reset_seconds(value: str, now: float) -> float | None:
    """Return the seconds until a reset header's moment; None when it is not understood.

    | form | example | sent by |
    | --- | --- | --- |
    | Go duration | `1m4.296s`, `4ms` | OpenAI, Groq |
    | seconds | `33`, `0.5` | Azure, Cerebras, Hugging Face |
    | RFC 3339 | `2026-01-02T22:11:01Z` | Anthropic |
    | epoch seconds, milliseconds | `1.7e9`, `1.7e12` as digits | DigitalOcean, OpenRouter |
    """
    value = value.strip()
    number = _number(value)
    if number is not None:
        if number > 1e11:
            return max(0.0, number / 1000.0 - now)
        return max(0.0, number - now) if number > 1e9 else number
    if "T" in value and "-" in value:
        return _until_date(value, now)
    return duration_seconds(value)


def duration_seconds(value: str) -> float | None:
    """Return a duration such as `1m4.296s`, `26s`, `6ms` or `33` in seconds; None when it is none."""
    value = value.strip().rstrip(".")
    number = _number(value)
    if number is not None:
        return number
    parts = _DURATION_PART.findall(value)
    if not parts or "".join(amount + unit for amount, unit in parts) != value:
        return None
    return _finite(sum(float(amount) * _UNITS[unit] for amount, unit in parts))


def _number(value: str | None) -> float | None:
    """Return a plain number of 0 or more; None for anything else (negative, NaN, a word)."""
    if value is None or not _NUMBER.fullmatch(value.strip()):
        return None
    return _finite(float(value))


def _finite(seconds: float) -> float | None:
    return seconds if math.isfinite(seconds) else None


def _date(value: str | None) -> float | None:
    if not value:
        return None
    try:
        moment = email.utils.parsedate_to_datetime(value)
        return (moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)).timestamp()
    except (ValueError, TypeError, OverflowError):
        pass
    try:
        moment = datetime.fromisoformat(value.strip().replace("Z", "+00:00"))
        return (moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)).timestamp()
    except (ValueError, OverflowError):
        return None


def _until_date(value: str, now: float) -> float | None:
    moment = _date(value)
    return None if moment is None else max(0.0, moment - now)


def _retry_info(body: Any) -> float | None:
    error = body.get("error") if isinstance(body, Mapping) else None
    details = error.get("details") if isinstance(error, Mapping) else None
    for detail in details if isinstance(details, list) else ():
        if isinstance(detail, Mapping) and str(detail.get("@type", "")).endswith("google.rpc.RetryInfo"):
            return duration_seconds(str(detail.get("retryDelay", "")))
    return None


def _text(body: Any) -> str:
    if isinstance(body, str):
        return body
    error = body.get("error", body) if isinstance(body, Mapping) else None
    message = error.get("message") if isinstance(error, Mapping) else error
    return message if isinstance(message, str) else ""
