"""How does a blocking stream become the bytes of a response? Read by a separate thread, taken by blocking or by awaiting.

The reader puts what the stream says into a short queue; the server takes from there, blocking (`Chunks`) or awaiting
(`AsyncChunks`). So a comment can go out while the provider is silent, which is how a server finds out that its client is gone;
and an event loop needs no thread pool, whose size would be the number of streams that move at once.
"""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from typing import Any

from responder.call.stream import Stream
from responder.many.merging import MergedStreams
from responder.many.parallel import Run
from responder.values.clock import monotonic
from responder.values.dropped import close_dropped

PING = b": ping\n\n"
"""A comment, which browsers ignore."""

# Events that may wait for the client; the reader pauses there, and with it the provider.
_ROOM = 256

# How often a blocking wait checks that the client is still there, in seconds.
_LOOK = 0.5


class _Pipe:
    """What the reader has put and the server has not taken. All of it lives behind one lock."""

    def __init__(self) -> None:
        # Reentrant: the garbage collector may drop, and so close, another response in a thread that holds this lock.
        self._changed = threading.Condition(threading.RLock())
        self._chunks: deque[bytes] = deque()
        self._wake: Callable[[], object] | None = None
        self._error: BaseException | None = None
        self._ended = False  # nothing more comes
        self.closed = False  # the client wants no more

    def put(self, chunk: bytes) -> bool:
        """Add a chunk, waiting for room; False if the client wants no more."""
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
        """Say that the client wants no more."""
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
            wake: Called once, in another thread, as soon as asking again is worthwhile.

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
        # has no client left to read for.
        self._reader = threading.Thread(target=context.run, args=(read,), name="responder-reader", daemon=True)
        self._starting = threading.Lock()
        self._started = False

    def start(self) -> None:
        """Start to read; does nothing if already started."""
        with self._starting:
            if not self._started and not self._pipe.closed:
                self._started = True
                self._reader.start()

    def __next__(self) -> bytes:
        self.start()
        silent_until = float("inf") if self._heartbeat is None else monotonic() + self._heartbeat
        while True:
            left = silent_until - monotonic()
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
        """End it from any thread, without waiting; the provider's connection is freed at once. Calling it again does nothing."""
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

    def __del__(self, close: Callable[[Any, str], None] = close_dropped) -> None:
        close(self, "_started")


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
            pass  # the loop is closed: nothing waits any more

    return wake


def _read(
    stream: Iterable[Any],
    render: Callable[[Iterable[Any]], Iterator[bytes]],
    tell_failure: Callable[[Exception], bytes] | None,
    pipe: _Pipe,
) -> list[BaseException]:
    """Read a stream to its end into a pipe; return the error for the consumer, if there is one."""
    try:
        for chunk in render(stream):
            if not pipe.put(chunk):
                break
    except Exception as error:  # noqa: BLE001 - sent to the page, or carried to the consumer
        if pipe.closed:
            return []  # it ended because the client wants no more
        if tell_failure is None:
            return [error]
        pipe.put(tell_failure(error))
    finally:
        close = getattr(stream, "close", None)  # a generator can only be closed by the thread that runs it
        if callable(close):
            close()
    return []


def _end(stream: Iterable[Any], reason: str) -> None:
    """End a stream from any thread; what cannot be cancelled this way is closed by the reader, after the item it waits for."""
    if isinstance(stream, (Stream, MergedStreams, Run)):
        stream.cancel(reason)
