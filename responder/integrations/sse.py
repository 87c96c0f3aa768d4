"""How does a stream get to a browser? As server-sent events or as plain text, in bytes; knows no framework.

What carries the bytes, with its thread and its heartbeat, is in `chunks.py`.

What is sent (https://html.spec.whatwg.org/multipage/server-sent-events.html, read 2026-11), each a JSON object:

| Source            | Events                                                                                   |
| ----------------- | ---------------------------------------------------------------------------------------- |
| a `Stream`        | `{"piece": "..."}`                                                                       |
| `MergedStreams`   | `{"index": 0, "piece": "..."}`, at last `{"index": 0, "done": true, "error": null, ...}` |
| a `Run` (`imap`)  | `{"index": 0, "ok": true, "text": "...", "error": null}`                                 |
| any other         | what it yields, as JSON; a str is a piece                                                |
| the end of each   | `event: done` with what is known then, or `event: failed` with `{"error", "type"}`       |
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Literal

from responder.call.stream import Stream
from responder.integrations.chunks import PING, AsyncChunks, Chunks
from responder.integrations.public import public_message, public_type
from responder.many.merging import MergedStreams, StreamEvent
from responder.values.answer import Answer, Usage
from responder.values.errors import ConfigurationError
from responder.values.results import ItemResult
from responder.values.visible import visible_on_page

__all__ = [
    "HEADERS",
    "HEARTBEAT",
    "PING",
    "TEXT_HEADERS",
    "AsyncChunks",
    "Chunks",
    "Format",
    "chunks_of",
    "encode",
    "events_of",
    "texts_of",
]

Format = Literal["events", "text"]

HEARTBEAT = 15.0
"""Seconds of silence after which a comment goes out: proxies cut what is silent for 30 to 60 s."""

# Compressing middlewares (Django's before 6.0, older Starlettes) and nginx keep small events back until they have enough to
# compress; they leave alone what is encoded already, and "identity" says that it is, without any encoding.
_UNBUFFERED = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no", "Content-Encoding": "identity"}

HEADERS: Mapping[str, str] = {"Content-Type": "text/event-stream; charset=utf-8", **_UNBUFFERED}
"""Headers of a response with events."""

# Without "nosniff", browsers hold the first 1024 bytes of a plain text back to guess its type.
TEXT_HEADERS: Mapping[str, str] = {
    "Content-Type": "text/plain; charset=utf-8",
    "X-Content-Type-Options": "nosniff",
    **_UNBUFFERED,
}
"""Headers of a response with plain text."""

# An EventSource asks again by itself when a response ends, 3 s later by default, and a provider would be paid again. Pages
# close theirs at `done`; this is for those that forget it: in a day. Being the first bytes, it also opens the response at once.
_OPENING = b"retry: 86400000\n\n"


def encode(data: Any, event: str | None = None, id: str | None = None) -> bytes:  # noqa: A002 - the field's own name
    """Return one server-sent event: the data as JSON on one line, and the blank line that ends it.

    Characters in its texts that would control a page (see `responder.values.visible`) are made visible.

    Args:
        data: Anything that JSON can express.
        event: The event's name; None: "message", which `EventSource.onmessage` gets.
        id: The event's id, which a browser sends back when it connects again; None: no id.

    Raises:
        ValueError: The name or the id holds a line end or NUL, or the data is not JSON.
    """
    lines = []
    for field, value in (("event", event), ("id", id)):
        if value is not None:
            if any(character in value for character in "\r\n\0"):
                raise ValueError(f"the {field} of a server-sent event must be one line, not {value!r}")
            lines.append(f"{field}: {value}\n")
    data = _harmless(data)
    text = json.dumps(data, ensure_ascii=False, allow_nan=False)
    try:
        return f"{''.join(lines)}data: {text}\n\n".encode()
    except UnicodeEncodeError:  # half of a surrogate pair, which UTF-8 cannot encode but JSON can
        return f"{''.join(lines)}data: {json.dumps(data, allow_nan=False)}\n\n".encode("utf-8", "replace")


def _harmless(data: Any) -> Any:
    """Return the data with every text in it made harmless on a page."""
    if isinstance(data, str):
        return visible_on_page(data)
    if isinstance(data, dict):
        return {_harmless(name): _harmless(value) for name, value in data.items()}
    return [_harmless(value) for value in data] if isinstance(data, (list, tuple)) else data


def events_of(
    stream: Iterable[Any],
    heartbeat: float | None = HEARTBEAT,
    *,
    gone: Callable[[], bool] | None = None,
    around: Callable[[Callable[[], None]], Callable[[], None]] | None = None,
) -> Chunks:
    """Return a stream as server-sent events, in the form of the table above.

    Args:
        stream: A Stream, MergedStreams, a Run, or any iterable of texts or JSON objects. It is read, and a generator runs, in
            a thread of its own, with the caller's context variables.
        heartbeat: Seconds of silence after which a comment goes out; None: never.
        gone: Tells whether the client has left, if the server knows; called about twice a second.
        around: Wraps what the reader thread runs, such as `with_connections_closed` of the Django integration.

    Raises:
        ConfigurationError: The heartbeat is not a number above 0.
    """
    if heartbeat is not None and not heartbeat > 0:
        raise ConfigurationError(f"heartbeat must be a number of seconds above 0, or None for none, not {heartbeat!r}")
    return Chunks(stream, _as_events, _failure_event, heartbeat, gone, around)


def texts_of(
    stream: Iterable[str],
    *,
    gone: Callable[[], bool] | None = None,
    around: Callable[[Callable[[], None]], Callable[[], None]] | None = None,
) -> Chunks:
    """Return a stream as plain UTF-8 text. It has no heartbeat, and a failure cuts the response off.

    Args:
        stream: A Stream, or any iterable of str.
        gone: As in `events_of`.
        around: As in `events_of`.

    Raises:
        ConfigurationError: Merged streams, whose pieces cannot be told apart in plain text.
    """
    if isinstance(stream, MergedStreams):
        raise ConfigurationError('merged streams have several texts: use format="events", or stream one at a time')
    return Chunks(stream, _as_texts, None, None, gone, around)


def chunks_of(
    stream: Iterable[Any],
    format: Format,  # noqa: A002 - the keyword of every `stream_response`
    heartbeat: float | None,
    *,
    gone: Callable[[], bool] | None = None,
    around: Callable[[Callable[[], None]], Callable[[], None]] | None = None,
) -> tuple[Chunks, dict[str, str]]:
    """Return the chunks and the headers of a response, for the `stream_response` of a framework.

    Raises:
        ConfigurationError: An unknown format; the others as in `events_of` and `texts_of`.
    """
    if format == "events":
        return events_of(stream, heartbeat, gone=gone, around=around), dict(HEADERS)
    if format == "text":
        return texts_of(stream, gone=gone, around=around), dict(TEXT_HEADERS)
    raise ConfigurationError(f'format must be "events" or "text", not {format!r}')


def _as_texts(stream: Iterable[Any]) -> Iterator[bytes]:
    for piece in stream:
        yield visible_on_page(piece).encode("utf-8", "replace")


def _as_events(stream: Iterable[Any]) -> Iterator[bytes]:
    yield _OPENING
    total = _Total()
    for item in stream:
        yield encode(total.shown(item))
    yield encode(total.at_the_end(stream), "done")


def _failure_event(error: Exception) -> bytes:
    # Not named "error": that is what an EventSource calls a broken connection.
    return encode({"error": public_message(error), "type": public_type(error)}, "failed")


class _Total:
    """The outcome of the parts of a source, for its last event."""

    def __init__(self) -> None:
        self._parts = 0
        self._failed = 0
        self._usage = Usage()

    def shown(self, item: Any) -> Any:
        """Return what the page gets for an item."""
        if isinstance(item, str):
            return {"piece": item}
        if isinstance(item, StreamEvent):
            if not item.done:
                return {"index": item.index, "piece": item.piece}
            self._add(item.answer, item.error)
            return {"index": item.index, "done": True, "error": _message_or_none(item.error), **_facts(item.answer)}
        if isinstance(item, ItemResult):
            answer = item.value if isinstance(item.value, Answer) else None
            self._add(answer, item.error)
            text = answer.text if answer is not None else item.value
            return {"index": item.index, "ok": item.ok, "text": text, "error": _message_or_none(item.error)}
        return item

    def _add(self, answer: Answer | None, error: Exception | None) -> None:
        self._parts += 1
        self._failed += error is not None
        if answer is not None:
            self._usage += answer.usage

    def at_the_end(self, stream: Iterable[Any]) -> dict[str, Any]:
        """Return what the page gets at the end."""
        if isinstance(stream, Stream):
            return {**_facts(stream.answer), "model": stream.answer.model if stream.answer is not None else None}
        return {"parts": self._parts, "failed": self._failed, "usage": _counts(self._usage)} if self._parts else {}


def _facts(answer: Answer | None) -> dict[str, Any]:
    if answer is None:
        return {}
    return {"finish_reason": answer.finish_reason, "truncated": answer.truncated, "usage": _counts(answer.usage)}


def _counts(usage: Usage) -> dict[str, int]:
    return {"input_tokens": usage.input_tokens, "output_tokens": usage.output_tokens}


def _message_or_none(error: Exception | None) -> str | None:
    return None if error is None else public_message(error)
