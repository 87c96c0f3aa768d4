"""How long did the server ask us to wait? Every form in which providers say it, as seconds."""

from __future__ import annotations

import email.utils
import itertools
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timezone
from typing import Any

from responder.wire.error_bodies import layers

_UNITS = {
    "d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ns": 1e-9,
    "sec": 1.0, "min": 60.0, "hr": 3600.0, "second": 1.0, "minute": 60.0, "hour": 3600.0, "day": 86400.0, "week": 604800.0,
    "millisecond": 1e-3, "msec": 1e-3, "秒": 1.0, "分钟": 60.0, "小时": 3600.0, "天": 86400.0,
}  # fmt: skip
_DURATION_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|us|µs|μs|ns|d|h|m|s)")
_NUMBER = re.compile(r"\d+(?:\.\d+)?")
_HTTP_DATE = re.compile(r"[a-z]{3,9}, \d{1,2}[ -][a-z]{3}[ -]\d{2,4} \d\d:\d\d:\d\d (?:GMT|UTC|[+-]\d{4})", re.IGNORECASE)
# A longer wait is the server's mistake, or a way to stop its clients for good: a year, in seconds.
_LONGEST = 366 * 86400.0

# Prose of error messages: "Please try again in 1m12s", "retry after 33 seconds", "Please wait 59 seconds", "available in 1 hour".
_UNIT_WORD = (
    r"(?:milliseconds?|msecs?|seconds?|secs?|minutes?|mins?|hours?|hrs?|days?|weeks?|ms|us|µs|μs|ns|[dhms])(?![a-z])"
    "|秒|分钟|小时|天"
)
_AMOUNT = rf"\d+(?:\.\d+)?\s?-?(?:{_UNIT_WORD})"
_LEAD = (
    r"(?:(?:try|retry|retrying|wait|waiting|resets?|replenished|available|access|come back|again|reattempt)\b[^.\d\n]{0,60}?"
    r"|\bretry[-_ ]?after\W{0,4})"
)
_SPAN = re.compile(rf"{_LEAD}\b(?P<value>{_AMOUNT}(?:(?:,|\s|\band\b)*{_AMOUNT})*)", re.IGNORECASE)
_ONE = re.compile(rf"{_LEAD}\b(?:in|after|for)\s+(?:an?|one)\s+(?P<unit>second|minute|hour|day|week)\b", re.IGNORECASE)
_CLOCK = re.compile(rf"{_LEAD}\b(?:(?P<days>\d{{1,3}})\.)?(?P<h>\d{{1,2}}):(?P<m>\d\d):(?P<s>\d\d)\b(?![-:])", re.IGNORECASE)
_BARE = re.compile(
    r"(?:try again in|retry in|retry[-_ ]?after:?|please wait)\s+(?P<value>\d+(?:\.\d+)?)(?![\d.]*\w)", re.IGNORECASE
)
_CHINESE = re.compile(r"(?P<value>\d+(?:\.\d+)?\s*(?:秒|分钟|小时|天))\s*[后後]")
_MOMENT = re.compile(
    r"(?:access|resets?|again|until|available|renews?|retry|wait|refresh\w*)\b[^\d\n]{0,60}"
    r"(?P<date>\d{4}-\d\d-\d\d)(?:(?:T|\s+at\s+|\s+)(?P<time>\d\d:\d\d(?::\d\d(?:\.\d{1,6})?)?))?\s*"
    r"(?P<zone>Z\b|UTC|GMT|[+-]\d\d:?\d\d)?",
    re.IGNORECASE,
)
_PIECE = re.compile(rf"(\d+(?:\.\d+)?)\s?-?({_UNIT_WORD})", re.IGNORECASE)

# The bucket is full again after the reset time, so it is an upper bound of the wait; only read when the bucket is empty.
_BUCKETS = (
    ("x-ratelimit-remaining-requests", "x-ratelimit-reset-requests"),
    ("x-ratelimit-remaining-tokens", "x-ratelimit-reset-tokens"),
    ("x-ratelimit-remaining-tokens", "x-rate-limit-reset-tokens"),  # Azure, misspelt so
    ("x-ratelimit-remaining-requests-day", "x-ratelimit-reset-requests-day"),  # Cerebras
    ("x-ratelimit-remaining-tokens-minute", "x-ratelimit-reset-tokens-minute"),
    ("x-ratelimit-remaining-requests-minute", "x-ratelimit-reset-requests-minute"),
    ("x-ratelimit-remaining", "x-ratelimit-reset"),  # OpenRouter, GitHub
    ("x-rate-limit-remaining", "x-rate-limit-reset"),
    ("x-ratelimit-remaining", "x-ratelimit-reset-after"),
    ("ratelimit-remaining", "ratelimit-reset"),  # draft-ietf-httpapi-ratelimit-headers, up to 06
    ("anthropic-ratelimit-requests-remaining", "anthropic-ratelimit-requests-reset"),
    ("anthropic-ratelimit-tokens-remaining", "anthropic-ratelimit-tokens-reset"),
    ("anthropic-ratelimit-input-tokens-remaining", "anthropic-ratelimit-input-tokens-reset"),
    ("anthropic-ratelimit-output-tokens-remaining", "anthropic-ratelimit-output-tokens-reset"),
)
# Fields of error bodies: seconds from now, milliseconds from now, and moments.
_SECONDS_FIELDS = ("retry_after", "retryAfter", "retry_after_seconds", "retryAfterSeconds", "resets_in_seconds", "estimated_time")
_MILLISECONDS_FIELDS = ("retry_after_ms", "retryAfterMs")
# No real error has more sentences than this.
_MOST_TEXTS = 20
_MOMENT_FIELDS = ("resets_at", "reset_at", "resetsAt", "resetAt")


def wait_hint(headers: Mapping[str, str], body: Any, now: float) -> float | None:
    """Return the wait that an error reply asks for; None when it does not say.

    The first hint wins: `retry-after-ms`, `retry-after` (seconds, a duration or an HTTP date; of several the longest), Google's
    `RetryInfo`, the reset time of an exhausted bucket (the latest of them; `x-ratelimit-*`, `anthropic-ratelimit-*` and the
    IETF's `ratelimit`), the same headers where a gateway quotes them in the body, a field of the body, and last the prose of the
    message.

    Args:
        headers: Names in lower case.
        body: The parsed error body, or its text.
        now: `time.time()`, seconds since the epoch.

    Returns:
        Seconds, from 0 to a year. The policy decides how much of it to obey.
    """
    now = _date(headers.get("date")) or now  # the server's own clock, if it sent it: ours may be wrong
    found = _first(_hints(headers, body, now))
    return None if found is None else min(found, _LONGEST)


def _hints(headers: Mapping[str, str], body: Any, now: float) -> Iterator[float | None]:
    yield _retry_after(headers, now)
    objects = list(layers(body))
    yield _first(_retry_info(found) for found in objects)
    yield _reset(headers, now)
    for found in objects:
        quoted = found.get("headers")
        if isinstance(quoted, Mapping):
            lowered = {str(name).lower(): str(value) for name, value in quoted.items() if isinstance(value, (str, int, float))}
            yield _retry_after(lowered, now)
            yield _reset(lowered, now)
            if "x-ratelimit-remaining" not in lowered and "x-ratelimit-reset" in lowered:
                yield reset_seconds(lowered["x-ratelimit-reset"], now)
    for found in objects:
        yield _field(found, now)
    for text in itertools.islice(_texts(body, objects), _MOST_TEXTS):
        yield _prose(text, now)


def _first(hints: Iterable[float | None]) -> float | None:
    return next((hint for hint in hints if hint is not None), None)


def _retry_after(headers: Mapping[str, str], now: float) -> float | None:
    for name in ("retry-after-ms", "x-ms-retry-after-ms"):
        milliseconds = _number(headers.get(name))
        if milliseconds is not None:
            return milliseconds / 1000.0
    for name in ("retry-after", "x-retry-after", "x-amz-retry-after"):
        value = headers.get(name)
        seconds = _longest(value, now) if value else None
        if seconds is not None:
            return seconds
    return None


def _longest(value: str, now: float) -> float | None:
    """Return the longest of the waits in a `Retry-After`: proxies join two of them by a comma, and a date has one of its own."""
    if "," not in value:
        return _wait_of(value, now)
    pieces = [*_HTTP_DATE.findall(value), *_HTTP_DATE.sub("", value).split(",")]
    return max((seconds for piece in pieces if (seconds := _wait_of(piece, now)) is not None), default=None)


def _wait_of(value: str, now: float) -> float | None:
    seconds = duration_seconds(value)
    return _until_date(value, now) if seconds is None else seconds


def _reset(headers: Mapping[str, str], now: float) -> float | None:
    """Return the seconds until the last of the exhausted buckets is full again."""
    resets = [
        reset_seconds(headers[reset], now)
        for remaining, reset in _BUCKETS
        if reset in headers and _number(headers.get(remaining)) == 0.0
    ]
    if "ratelimit" in headers:
        resets += _ietf(headers["ratelimit"], now)
    if headers.get("anthropic-ratelimit-unified-status") == "rejected":
        resets.append(reset_seconds(headers.get("anthropic-ratelimit-unified-reset") or "", now))
    return max((seconds for seconds in resets if seconds is not None), default=None)


def _ietf(value: str, now: float) -> Iterator[float | None]:
    """Yield the resets of the exhausted limits in a `RateLimit` header.

    draft-ietf-httpapi-ratelimit-headers (read 2026-11): `limit=100, remaining=0, reset=50` in 07, `"default";r=0;t=30` from 08.
    """
    for item in re.split(r',\s*(?=")', value[:2000]):
        pairs = dict(re.findall(r"\b([a-z]+)\s*=\s*\"?([\d.]+)", item.lower()))
        if _number(pairs.get("remaining", pairs.get("r"))) == 0.0:
            yield reset_seconds(pairs.get("reset") or pairs.get("t") or "", now)


def reset_seconds(value: str, now: float) -> float | None:
    """Return the seconds until a reset header's moment, at most a year; None when it is not understood.

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
            number = max(0.0, number / 1000.0 - now)
        elif number > 1e9:
            number = max(0.0, number - now)
    elif "T" in value and "-" in value:
        number = _until_date(value, now)
    else:
        number = duration_seconds(value)
    return None if number is None else min(number, _LONGEST)


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
    if value is None or not value.isascii() or not _NUMBER.fullmatch(value.strip()):
        return None
    return _finite(float(value))


def _finite(seconds: float) -> float | None:
    return seconds if math.isfinite(seconds) else None


def _date(value: str | None) -> float | None:
    """Return a moment in seconds since the epoch: RFC 9110's three forms of a date, and RFC 3339; without a zone, UTC."""
    if not value:
        return None
    for read in (email.utils.parsedate_to_datetime, _iso, _asctime):
        try:
            moment = read(value.strip())
            return (moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)).timestamp()
        except (ValueError, TypeError, OverflowError, IndexError):
            continue
    return None


def _iso(value: str) -> datetime:
    # Python 3.10 reads neither "Z" nor a fraction of other than three or six digits.
    value = re.sub(r"\.(\d{1,6})\d*", lambda found: "." + found[1].ljust(6, "0"), value.replace("Z", "+00:00"))
    if "T" not in value and "-" not in value:
        raise ValueError(value)
    return datetime.fromisoformat(value)


def _asctime(value: str) -> datetime:
    return datetime.strptime(" ".join(value.split()), "%a %b %d %H:%M:%S %Y").replace(tzinfo=timezone.utc)


def _until_date(value: str, now: float) -> float | None:
    moment = _date(value)
    return None if moment is None else max(0.0, moment - now)


def _retry_info(found: Mapping[str, Any]) -> float | None:
    """Return the delay of Google's RetryInfo: a text as JSON has it, or an object of seconds and nanoseconds."""
    if not str(found.get("@type", "")).endswith("google.rpc.RetryInfo"):
        return None
    delay = found.get("retryDelay", found.get("retry_delay", ""))
    if isinstance(delay, Mapping):
        whole, rest = _number(str(delay.get("seconds", 0))), _number(str(delay.get("nanos", 0)))
        return None if whole is None else whole + (rest or 0.0) * 1e-9
    return duration_seconds(str(delay))


def _field(found: Mapping[str, Any], now: float) -> float | None:
    for names, unit in ((_SECONDS_FIELDS, 1.0), (_MILLISECONDS_FIELDS, 1e-3)):
        for name in names:
            value = found.get(name)
            if isinstance(value, (str, int, float)) and not isinstance(value, bool):
                seconds = _wait_of(str(value), now)
                if seconds is not None:
                    return seconds * unit
    for name in _MOMENT_FIELDS:
        value = found.get(name)
        if isinstance(value, (str, int)) and not isinstance(value, bool):
            return reset_seconds(str(value), now)
    return None


def _texts(body: Any, objects: list[Mapping[str, Any]]) -> Iterator[str]:
    """Yield the sentences of a body, the error's own first; at most 2,000 characters of each."""
    if isinstance(body, str):
        yield body[:2000]
    for found in objects:
        for name in ("message", "msg", "error", "detail", "raw", "Message", "error_msg", "status_msg"):
            text = found.get(name)
            if isinstance(text, str):
                yield text[:2000]


def _prose(text: str, now: float) -> float | None:
    """Return the wait that a sentence asks for, or the time until the moment that it names."""
    moment = _MOMENT.search(text)
    if moment:
        zone = (moment["zone"] or "UTC").upper()
        stamp = f"{moment['date']}T{moment['time'] or '00:00'}{'+00:00' if zone in ('Z', 'UTC', 'GMT') else zone}"
        seconds = _until_date(stamp, now)
        if seconds:
            return seconds
    found = _SPAN.search(text) or _CHINESE.search(text)
    if found:
        return _finite(sum(float(amount) * _unit(unit) for amount, unit in _PIECE.findall(found["value"])))
    found = _ONE.search(text)
    if found:
        return _UNITS[found["unit"].lower()]
    found = _CLOCK.search(text)
    if found:
        return int(found["days"] or 0) * 86400.0 + int(found["h"]) * 3600.0 + int(found["m"]) * 60.0 + int(found["s"])
    found = _BARE.search(text)
    return _number(found["value"]) if found else None


def _unit(word: str) -> float:
    word = word.lower()
    return _UNITS[word] if word in _UNITS else _UNITS[word.removesuffix("s")]
