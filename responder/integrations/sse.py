"""How does a stream get to a browser? As server-sent events or as plain text, in bytes; knows no framework.

A thread of its own reads the provider's stream and puts what it says into a short queue; the server takes from there, blocking
(`Chunks`) or awaiting (`AsyncChunks`). So a comment can go out while the provider is silent, which is how a server finds out
that its client has gone; and an event loop needs no thread pool, whose size would be the number of streams that move at once.

What goes over the wire (https://html.spec.whatwg.org/multipage/server-sent-events.html, read 2026-11), each a JSON object:

| Source            | Events                                                                                   |
| ----------------- | ---------------------------------------------------------------------------------------- |
| a `Stream`        | `{"piece": "..."}`                                                                       |
| `MergedStreams`   | `{"index": 0, "piece": "..."}`, at last `{"index": 0, "done": true, "error": null, ...}` |
| a `Run` (`imap`)  | `{"index": 0, "ok": true, "text": "...", "error": null}`                                 |
| any other         | what it yields, as JSON; a str is a piece                                                |
| the end of each   | `event: done` with what is known then, or `event: failed` with `{"error", "type"}`       |
"""

from __future__ import annotations

import asyncio
import contextvars
import json
import logging
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from typing import Any, Literal

from responder.call.stream import Stream
from responder.many.merging import MergedStreams, StreamEvent
from responder.many.parallel import Run
from responder.values.answer import Answer, Usage
from responder.values.errors import ConfigurationError, ResponderError
from responder.values.results import ItemResult

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

PING = b": ping\n\n"
"""A comment, which browsers ignore."""

# An EventSource asks again by itself when a response ends, 3 s later by default, and a provider would be paid again. Pages
# close theirs at `done`; this is for those that forget it: in a day. Being the first bytes, it also opens the response at once.
_OPENING = b"retry: 86400000\n\n"

# Events that may wait for the client; the reader pauses there, and with it the provider.
_ROOM = 256

# How often a blocking wait looks whether the client is still there, in seconds.
_LOOK = 0.5

_log = logging.getLogger("responder.integrations")


def encode(data: Any, event: str | None = None, id: str | None = None) -> bytes:  # noqa: A002 - the field's own name
    """Return one server-sent event: the data as JSON on one line, and the blank line that ends it.

    Args:
        data: Anything that JSON can say.
        event: The event's name; None: "message", which `EventSource.onmessage` gets.
        id: The event's id, which a browser sends back when it connects again; None: no id.

    Raises:
        ValueError: The name or the id holds a line end or NUL, or the data is no JSON.
    """
    lines = []
    for field, value in (("event", event), ("id", id)):
        if value is not None:
            if any(character in value for character in "\r\n\0"):
                raise ValueError(f"the {field} of a server-sent event is one line, not {value!r}")
            lines.append(f"{field}: {value}\n")
    text = json.dumps(data, ensure_ascii=False, allow_nan=False)
    try:
        return f"{''.join(lines)}data: {text}\n\n".encode()
    except UnicodeEncodeError:  # half of a surrogate pair, which UTF-8 cannot say but JSON can
        return f"{''.join(lines)}data: {json.dumps(data, allow_nan=False)}\n\n".encode("utf-8", "replace")


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
        gone: Tells whether the client has left, where the server can say; asked about twice a second.
        around: Wraps what the reader thread runs, such as `with_connections_closed` of the Django integration.

    Raises:
        ConfigurationError: The heartbeat makes no sense.
    """
    if heartbeat is not None and not heartbeat > 0:
        raise ConfigurationError(f"heartbeat is a number of seconds above 0, or None for none, not {heartbeat!r}")
    return Chunks(stream, _as_events, _failure_event, heartbeat, gone, around)


def texts_of(
    stream: Iterable[str],
    *,
    gone: Callable[[], bool] | None = None,
    around: Callable[[Callable[[], None]], Callable[[], None]] | None = None,
) -> Chunks:
    """Return a stream as plain UTF-8 text. There is no heartbeat in it, and a failure breaks the response off.

    Args:
        stream: A Stream, or any iterable of str.
        gone: As in `events_of`.
        around: As in `events_of`.

    Raises:
        ConfigurationError: Merged streams, whose pieces a plain text cannot tell apart.
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
        ConfigurationError: A format that does not exist; the others as in `events_of` and `texts_of`.
    """
    if format == "events":
        return events_of(stream, heartbeat, gone=gone, around=around), dict(HEADERS)
    if format == "text":
        return texts_of(stream, gone=gone, around=around), dict(TEXT_HEADERS)
    raise ConfigurationError(f'format is "events" or "text", not {format!r}')


class _Pipe:
    """What the reader has put and the server has not taken. All of it lives behind one lock."""

    def __init__(self) -> None:
        # Reentrant: the garbage collector may drop, and so close, another response in a thread that holds this lock.
        self._changed = threading.Condition(threading.RLock())
        self._chunks: deque[bytes] = deque()
        self._wake: Callable[[], object] | None = None
        self._error: BaseException | None = None
        self._ended = False  # nothing more comes
        self.closed = False  # nobody wants more

    def put(self, chunk: bytes) -> bool:
        """Add a chunk, waiting for room; False when nobody wants it."""
        with self._changed:
            while len(self._chunks) >= _ROOM and not self.closed:
                self._changed.wait()
            if self.closed:
                return False
            self._chunks.append(chunk)
            self._tell()
            return True

    def end(self, error: BaseException | None = None) -> None:
        """Say that nothing more comes; an error is raised once the chunks before it are taken."""
        with self._changed:
            self._ended = True
            self._error = error
            self._tell()

    def close(self) -> None:
        """Say that nobody wants more."""
        with self._changed:
            self.closed = True
            self._chunks.clear()
            self._tell()

    def _tell(self) -> None:
        self._changed.notify_all()
        wake, self._wake = self._wake, None
        if wake is not None:
            wake()

    def take(self, seconds: float = 0.0, wake: Callable[[], object] | None = None) -> bytes | None:
        """Return all that is there, joined; "" at the end; None when nothing came in the given time.

        Args:
            seconds: How long to wait.
            wake: Called once, in another thread, as soon as asking again makes sense.

        Raises:
            BaseException: What the reader ended with.
        """
        with self._changed:
            if seconds > 0 and not self._chunks and not self._ended and not self.closed:
                self._changed.wait(seconds)
            if self._chunks:
                taken = b"".join(self._chunks)
                self._chunks.clear()
                self._changed.notify_all()
                return taken
            if self.closed:
                return b""
            if self._ended:
                error, self._error = self._error, None
                if error is not None:
                    raise error
                return b""
            self._wake = wake
            return None


class Chunks(Iterator[bytes]):
    """The bytes of a response, as they come; made by `events_of` and `texts_of`. One chunk may hold several events.

    Nothing is asked of the provider until the first chunk is. Iterating belongs to one thread at a time; `cancel` and `close`
    to any, and they never wait. Dropping the object cancels, too.
    """

    def __init__(
        self,
        stream: Iterable[Any],
        render: Callable[[Iterable[Any]], Iterator[bytes]],
        tell_failure: Callable[[Exception], bytes] | None,
        heartbeat: float | None,
        gone: Callable[[], bool] | None,
        around: Callable[[Callable[[], None]], Callable[[], None]] | None,
    ) -> None:
        self._pipe = _Pipe()
        self._stream = stream
        self._heartbeat = heartbeat
        self._gone = gone
        pipe, context = self._pipe, contextvars.copy_context()

        def read() -> None:
            failures: list[BaseException] = []

            def read_to_the_end() -> None:
                failures.extend(_read(stream, render, tell_failure, pipe))

            try:
                (read_to_the_end if around is None else around(read_to_the_end))()
            finally:
                pipe.end(*failures)  # last of all, so that at the end of a response nothing of it is left

        # Free of references to this object: dropping it must be enough to end the thread. A daemon, since a program that ends
        # has nobody left to read for.
        self._reader = threading.Thread(target=context.run, args=(read,), name="responder-reader", daemon=True)
        self._starting = threading.Lock()
        self._started = False

    def start(self) -> None:
        """Begin to read; harmless when that has begun."""
        with self._starting:
            if not self._started and not self._pipe.closed:
                self._started = True
                self._reader.start()

    def __next__(self) -> bytes:
        self.start()
        silent_until = float("inf") if self._heartbeat is None else time.monotonic() + self._heartbeat
        while True:
            left = silent_until - time.monotonic()
            if left <= 0:
                return PING
            chunk = self._pipe.take(min(left, _LOOK))
            if chunk is None:
                if self._gone is not None and self._gone():
                    self.cancel("the client has left")
                continue
            if not chunk:
                raise StopIteration
            return chunk

    def awaited(self) -> AsyncChunks:
        """Return the same chunks for an event loop; use either form, not both."""
        return AsyncChunks(self, self._pipe, self._heartbeat)

    @property
    def cancelled(self) -> bool:
        """True once it was cancelled or closed."""
        return self._pipe.closed

    def cancel(self, reason: str = "the response was left") -> None:
        """End it from any thread, without waiting; the provider's connection is freed at once. Harmless when repeated."""
        if self._pipe.closed:
            return
        self._pipe.close()
        _end(self._stream, reason)

    def close(self) -> None:
        """The same as `cancel`; servers call it when a response is over."""
        self.cancel()

    def __enter__(self) -> Chunks:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        if hasattr(self, "_started"):
            self.close()


class AsyncChunks(AsyncIterator[bytes]):
    """The bytes of a response for an event loop of asyncio. It waits for the reader without a thread of its own."""

    def __init__(self, chunks: Chunks, pipe: _Pipe, heartbeat: float | None) -> None:
        self._chunks = chunks
        self._pipe = pipe
        self._heartbeat = heartbeat

    async def __anext__(self) -> bytes:
        try:
            chunk = await self._next()
        except BaseException:  # cancelled, because the client has left or the server stops
            self._chunks.cancel()
            raise
        if not chunk:
            raise StopAsyncIteration
        return chunk

    async def _next(self) -> bytes:
        self._chunks.start()
        loop = asyncio.get_running_loop()
        ends = None if self._heartbeat is None else loop.time() + self._heartbeat
        while True:
            arrival: asyncio.Future[None] = loop.create_future()
            chunk = self._pipe.take(wake=_waker(loop, arrival))
            if chunk is not None:
                return chunk
            left = None if ends is None else ends - loop.time()
            if left is not None and left <= 0:
                return PING
            await asyncio.wait({arrival}, timeout=left)

    async def aclose(self) -> None:
        """The same as `close`."""
        self._chunks.cancel()

    def cancel(self, reason: str = "the response was left") -> None:
        """End it from any thread, without waiting."""
        self._chunks.cancel(reason)

    def close(self) -> None:
        """The same as `cancel`; servers call it when a response is over."""
        self._chunks.cancel()


def _waker(loop: asyncio.AbstractEventLoop, arrival: asyncio.Future[None]) -> Callable[[], None]:
    def arrive() -> None:
        if not arrival.done():
            arrival.set_result(None)

    def wake() -> None:
        try:
            loop.call_soon_threadsafe(arrive)
        except RuntimeError:
            pass  # the loop is closed: nobody waits any more

    return wake


def _read(
    stream: Iterable[Any],
    render: Callable[[Iterable[Any]], Iterator[bytes]],
    tell_failure: Callable[[Exception], bytes] | None,
    pipe: _Pipe,
) -> list[BaseException]:
    """Read a stream to its end into a pipe; return the error for the one who takes, if there is one."""
    try:
        for chunk in render(stream):
            if not pipe.put(chunk):
                break
    except Exception as error:  # noqa: BLE001 - told to the page, or carried to the one who takes
        if pipe.closed:
            return []  # it ended because nobody wants it any more
        if tell_failure is None:
            return [error]
        pipe.put(tell_failure(error))
    finally:
        close = getattr(stream, "close", None)  # a generator can only be closed by the thread that runs it
        if callable(close):
            close()
    return []


def _end(stream: Iterable[Any], reason: str) -> None:
    """End a stream from any thread; what cannot be cancelled so is closed by the reader, after the item that it waits for."""
    if isinstance(stream, (Stream, MergedStreams, Run)):
        stream.cancel(reason)


def _as_texts(stream: Iterable[Any]) -> Iterator[bytes]:
    for piece in stream:
        yield piece.encode("utf-8", "replace")


def _as_events(stream: Iterable[Any]) -> Iterator[bytes]:
    yield _OPENING
    total = _Total()
    for item in stream:
        yield encode(total.shown(item))
    yield encode(total.at_the_end(stream), "done")


def _failure_event(error: Exception) -> bytes:
    # Not named "error": that is what an EventSource calls a broken connection.
    return encode({"error": public_message(error), "type": type(error).__name__}, "failed")


class _Total:
    """What came of the parts of a source, for its last event."""

    def __init__(self) -> None:
        self._parts = 0
        self._failed = 0
        self._usage = Usage()

    def shown(self, item: Any) -> Any:
        """Return what the page is told of an item."""
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
        """Return what the page is told at the end."""
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


def public_message(error: BaseException) -> str:
    """Return what a page may be told of an error, and write it to the log `responder.integrations`.

    Our errors hold no key and say what can be done. Any other is a bug of the server, whose words are for its log alone.
    """
    if isinstance(error, ResponderError):
        _log.warning("a stream failed: %s: %s", type(error).__name__, error)
        return str(error)
    _log.error("a stream failed", exc_info=error)
    return "the server had a problem"
