"""Which misbehaviour should the next request meet?

Values only: what each fault does to the bytes on the wire is decided in `delivery.py`, and how a provider words an
error in `dialects/`.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .reported import REPORTED


@dataclass(frozen=True)
class Fault:
    """One misbehaviour of the simulated provider. Make it with one of the class methods below, not by hand.

    A fault is used by one request and then forgotten; `fault.repeated(n)` is used by n requests.

    Attributes:
        name: What happens; it is quoted in the log as `"fault:NAME"`.
        http_status: Status of the answer, for `status`, `redirect` and similar; 0 if it does not apply.
        message: The error's text; None for the provider's usual words.
        body: The whole body to send in place of the provider's own; None for the provider's own.
        headers: Extra headers, as (name, value) pairs.
        retry_after: Value of the `Retry-After` header: seconds, or an HTTP date as text.
        retry_after_ms: Value of the `retry-after-ms` header, in milliseconds.
        retry_delay: Seconds in Google's `RetryInfo` detail. Only the Google dialects can say it.
        error_code: The provider's machine-readable code, where its dialect has one.
        after_bytes: How many bytes of the body (connection faults) go out before the trouble.
        after_events: How many events of a stream go out before the trouble. An opening comment or an empty first chunk,
            where the provider sends one, counts as an event.
        before_headers: True: the trouble comes before the status line.
        seconds: Length of a delay, or the pause between two bytes or two heartbeats, in seconds.
        with_headers: True: a drip drips the status line and the headers too.
        times: How many requests the fault serves.
    """

    name: str
    http_status: int = 0
    message: str | None = None
    body: str | None = None
    headers: tuple[tuple[str, str], ...] = ()
    retry_after: float | str | None = None
    retry_after_ms: float | None = None
    retry_delay: float | None = None
    error_code: str | None = None
    after_bytes: int = 0
    after_events: int = 0
    before_headers: bool = False
    seconds: float = 0.0
    with_headers: bool = False
    times: int = 1

    # What the provider says -----------------------------------------------------------------------------------------

    @classmethod
    def status(
        cls,
        http_status: int,
        message: str | None = None,
        *,
        body: str | bytes | Mapping[str, Any] | list[Any] | None = None,
        headers: Mapping[str, str] | None = None,
        retry_after: float | str | None = None,
        retry_after_ms: float | None = None,
        retry_delay: float | None = None,
        code: str | None = None,
        times: int = 1,
    ) -> Fault:
        """Answer with an HTTP error, in the words of the provider that is asked unless `body` is given.

        Args:
            http_status: The HTTP status, 400 to 599.
            message: The error's text; None for the provider's usual words.
            body: A whole body instead: text, bytes (UTF-8), or anything JSON.
            headers: Extra response headers.
            retry_after: `Retry-After`: seconds, or an HTTP date as text.
            retry_after_ms: `retry-after-ms`, in milliseconds.
            retry_delay: Seconds for Google's `RetryInfo`; ignored by the other dialects.
            code: The provider's error code, for example "slow_down".
            times: How many requests meet this fault.
        """
        return cls(
            "status",
            http_status=http_status,
            message=message,
            body=_text_of(body),
            headers=tuple((headers or {}).items()),
            retry_after=retry_after,
            retry_after_ms=retry_after_ms,
            retry_delay=retry_delay,
            error_code=code,
            times=times,
        )

    @classmethod
    def raw(
        cls,
        body: str | bytes | Mapping[str, Any] | list[Any],
        *,
        http_status: int = 200,
        content_type: str = "application/json",
        headers: Mapping[str, str] | None = None,
        times: int = 1,
    ) -> Fault:
        """Answer exactly this, whatever is asked, streamed or not.

        Args:
            body: The whole body: text, bytes (UTF-8), or anything JSON.
            http_status: The HTTP status, 200 to 599.
            content_type: "text/event-stream" for what a stream should end in.
            headers: Extra response headers.
            times: How many requests meet this fault.
        """
        return cls.status(http_status, body=body, headers={**(headers or {}), "content-type": content_type}, times=times)

    @classmethod
    def reported(cls, name: str, *, times: int = 1) -> Fault:
        """Answer as a provider, a gateway or a firewall was reported to: a name in `responder.simulator.reported.REPORTED`.

        Raises:
            ValueError: There is no such name; the message lists them all.
        """
        found = REPORTED.get(name)
        if found is None:
            raise ValueError(f"No reply {name!r} is known; these are: {', '.join(sorted(REPORTED))}.")
        return cls.raw(found.body, http_status=found.status, content_type=found.content_type, times=times)

    @classmethod
    def insufficient_quota(cls, *, times: int = 1) -> Fault:
        """Answer that the account's money is spent (OpenAI: 429 `insufficient_quota`): waiting does not help."""
        return cls("insufficient_quota", http_status=429, times=times)

    @classmethod
    def daily_quota(cls, *, times: int = 1) -> Fault:
        """Answer that the day's requests are used up (Google: a `quotaId` with `PerDay`): minutes do not help."""
        return cls("daily_quota", http_status=429, times=times)

    @classmethod
    def large_wait(cls, seconds: float = 86_400.0, *, times: int = 1) -> Fault:
        """Answer 429 and ask for a wait of `seconds` (a whole day, as Azure was seen to do)."""
        return cls("large_wait", http_status=429, retry_after=seconds, retry_delay=seconds, times=times)

    @classmethod
    def error_in_200(cls, *, code: int = 502, message: str = "Simulated upstream error", times: int = 1) -> Fault:
        """Answer 200 with an `error` object for a body, as OpenRouter does when its upstream fails."""
        return cls("error_in_200", http_status=200, message=message, error_code=str(code), times=times)

    @classmethod
    def blocked_prompt(cls, *, times: int = 1) -> Fault:
        """Refuse the prompt by content filter, the way each provider says it (a 400, or a 200 without an answer)."""
        return cls("blocked_prompt", times=times)

    @classmethod
    def blocked_answer(cls, *, times: int = 1) -> Fault:
        """Cut the answer off by content filter: a 200 with the filter's finish reason."""
        return cls("blocked_answer", times=times)

    @classmethod
    def empty_candidates(cls, *, times: int = 1) -> Fault:
        """Answer 200 with an empty list of candidates, choices or blocks."""
        return cls("empty_candidates", times=times)

    @classmethod
    def null_content(cls, *, times: int = 1) -> Fault:
        """Answer 200 with a choice whose text is null (or absent, where the dialect has no null)."""
        return cls("null_content", times=times)

    @classmethod
    def truncated(cls, *, times: int = 1) -> Fault:
        """Answer only the start of the text, with the finish reason for "too long"."""
        return cls("truncated", times=times)

    @classmethod
    def invalid_answer(cls, text: str = '"simulated: does not fit"', *, times: int = 1) -> Fault:
        """Answer with `text`, whatever schema was asked for, and the finish reason of a good answer.

        A JSON string fits hardly any schema; `text="Sure! Here it is"` is no JSON at all.
        """
        return cls("invalid_answer", message=text, times=times)

    @classmethod
    def finish_word(cls, word: str, *, times: int = 1) -> Fault:
        """Answer only the start of the text, with any finish reason, such as "sensitive", "network_error" or "MAX_TOKENS"."""
        return cls("finish_word", message=word, times=times)

    @classmethod
    def reply(
        cls,
        body: str | bytes | Mapping[str, Any] | list[Any],
        *,
        content_type: str = "application/json",
        http_status: int = 200,
        headers: Mapping[str, str] | None = None,
        times: int = 1,
    ) -> Fault:
        """Answer with exactly this body, whole or as a stream: for anything a provider was seen to send.

        Args:
            body: Text, bytes (UTF-8), or anything JSON. A stream is its text, `data: {...}` lines and blank ones.
            content_type: "text/event-stream" for a stream.
            http_status: The HTTP status.
            headers: Extra response headers.
            times: How many requests meet this fault.
        """
        more = {**(headers or {}), "content-type": content_type}
        return cls("reply", http_status=http_status, body=_text_of(body), headers=tuple(more.items()), times=times)

    @classmethod
    def redirect(cls, location: str, *, http_status: int = 307, times: int = 1) -> Fault:
        """Answer with a redirect to `location` (a good client does not carry its key there)."""
        return cls("redirect", http_status=http_status, headers=(("location", location),), times=times)

    # What the body looks like ---------------------------------------------------------------------------------------

    @classmethod
    def cut_json(cls, *, times: int = 1) -> Fault:
        """Answer 200 with the first half of the JSON, and a Content-Length that fits the half."""
        return cls("cut_json", times=times)

    @classmethod
    def short_body(cls, *, times: int = 1) -> Fault:
        """Announce the whole Content-Length, send half of the body, and close the connection."""
        return cls("short_body", times=times)

    @classmethod
    def wrong_content_type(cls, content_type: str = "application/octet-stream", *, times: int = 1) -> Fault:
        """Answer as usual, but under another content type."""
        return cls("wrong_content_type", headers=(("content-type", content_type),), times=times)

    @classmethod
    def not_json(cls, *, times: int = 1) -> Fault:
        """Answer 200 with a page of HTML, as a captive portal or a proxy does."""
        return cls("not_json", http_status=200, times=times)

    @classmethod
    def empty_body(cls, *, times: int = 1) -> Fault:
        """Answer 200 with no body at all."""
        return cls("empty_body", http_status=200, times=times)

    # What the connection does ---------------------------------------------------------------------------------------

    @classmethod
    def reset(cls, *, before_headers: bool = False, after_bytes: int = 0, times: int = 1) -> Fault:
        """Reset the connection (a TCP RST).

        Args:
            before_headers: True: nothing at all is sent first.
            after_bytes: Else: the headers and this many bytes of the body are sent first.
            times: How many requests meet this fault.
        """
        return cls("reset", before_headers=before_headers, after_bytes=after_bytes, times=times)

    @classmethod
    def close(cls, *, before_headers: bool = False, after_bytes: int = 0, times: int = 1) -> Fault:
        """Close the connection cleanly (a FIN), before the status line or in the middle of the body.

        Args:
            before_headers: True: nothing at all is sent first.
            after_bytes: Else: the headers and this many bytes of the body are sent first.
            times: How many requests meet this fault.
        """
        return cls("close", before_headers=before_headers, after_bytes=after_bytes, times=times)

    @classmethod
    def silence(cls, *, times: int = 1) -> Fault:
        """Read the request and never answer, until the client goes away or the simulator stops."""
        return cls("silence", times=times)

    @classmethod
    def silence_after_headers(cls, *, times: int = 1) -> Fault:
        """Send the status line and the headers, and then nothing."""
        return cls("silence_after_headers", times=times)

    @classmethod
    def drip(cls, interval: float = 1.0, *, headers: bool = False, times: int = 1) -> Fault:
        """Send the body one byte every `interval` seconds (each byte resets a naive read timeout).

        Args:
            interval: Seconds between two bytes.
            headers: True: the status line and the headers drip as well.
            times: How many requests meet this fault.
        """
        return cls("drip", seconds=interval, with_headers=headers, times=times)

    @classmethod
    def delay(cls, seconds: float, *, times: int = 1) -> Fault:
        """Answer as usual, `seconds` later."""
        return cls("delay", seconds=seconds, times=times)

    # What a stream does ---------------------------------------------------------------------------------------------

    @classmethod
    def cut_stream(cls, after_events: int = 1, *, times: int = 1) -> Fault:
        """End a stream cleanly after some events, without the provider's end marker."""
        return cls("cut_stream", after_events=after_events, times=times)

    @classmethod
    def stream_error(cls, after_events: int = 1, *, message: str | None = None, times: int = 1) -> Fault:
        """Send the provider's error event after some events of a stream, and end."""
        return cls("stream_error", after_events=after_events, message=message, times=times)

    @classmethod
    def stall_stream(cls, after_events: int = 1, *, times: int = 1) -> Fault:
        """Fall silent after some events of a stream."""
        return cls("stall_stream", after_events=after_events, times=times)

    @classmethod
    def heartbeats(cls, interval: float = 0.1, *, after_events: int = 0, times: int = 1) -> Fault:
        """Send only keep-alives, forever: SSE comments, or blank lines where there is no stream.

        Args:
            interval: Seconds between two signs of life.
            after_events: How many events of a stream go out before.
            times: How many requests meet this fault.
        """
        return cls("heartbeats", seconds=interval, after_events=after_events, times=times)

    # Travel between processes ---------------------------------------------------------------------------------------

    def repeated(self, times: int) -> Fault:
        """Return the same fault for `times` requests."""
        return dataclasses.replace(self, times=times)

    def to_json(self) -> dict[str, Any]:
        """Return the fault as a JSON object; fields at their default are left out."""
        return {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(self)
            if getattr(self, field.name) != field.default
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Fault:
        """Build a fault from what `to_json` returned.

        Raises:
            ValueError: A field is unknown, or the name is missing.
        """
        known = {field.name for field in dataclasses.fields(cls)}
        if unknown := set(values) - known:
            raise ValueError(f"A fault has no field {sorted(unknown)[0]!r}; it has {sorted(known)}.")
        if not values.get("name"):
            raise ValueError('A fault needs a "name", for example {"name": "silence"}.')
        fields = dict(values)
        fields["headers"] = tuple((name, value) for name, value in values.get("headers", ()))
        return cls(**fields)


def _text_of(body: str | bytes | Mapping[str, Any] | list[Any] | None) -> str | None:
    if body is None or isinstance(body, str):
        return body
    if isinstance(body, bytes):
        return body.decode("utf-8")
    return json.dumps(body)
