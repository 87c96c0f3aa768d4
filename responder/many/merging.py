"""Many streams side by side: their pieces as they arrive, or the latest whole text of each.

One reader thread a stream puts what comes into the stream's own place; the caller's thread takes from the places in turn, so
that a fast stream cannot drown a slow one.
"""

from __future__ import annotations

import queue
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from responder.call.stream import Stream
from responder.values.answer import Answer
from responder.values.cancellation import CancelToken
from responder.values.errors import CancelledError, ConfigurationError

# Pieces of one stream that may wait to be taken; a reader pauses there, and with it the provider.
_BACKLOG = 1000

# Streams that are started at once while none has said anything.
_STARTS = 8

# Events that are handed out between two starts while there are events.
_EVENTS_A_START = 16

# Times a second that a page is worth drawing anew.
SNAPSHOTS_PER_SECOND = 20.0

# Waiting happens in slices, because a lock that waits for ever cannot be interrupted by Ctrl-C on Windows.
_SLICE = 1.0


@dataclass(frozen=True, slots=True)
class StreamEvent:
    """Something that happened to one of several streams.

    Attributes:
        index: Which stream, from 0.
        piece: The text that arrived; "" in the last event of a stream.
        done: True in the last event of a stream, whether it ended well or not.
        error: Why it ended early; None when it did not.
        answer: The whole answer, in the last event of a stream that ended well.
    """

    index: int
    piece: str = ""
    done: bool = False
    error: Exception | None = None
    answer: Answer | None = None


class _Place:
    """What one stream has sent and the caller has not taken. Each count has one thread that writes it."""

    def __init__(self) -> None:
        self.events: deque[StreamEvent] = deque()  # the caller's
        self.sent = 0  # the reader's
        self.taken = 0  # the caller's
        self.has_room = threading.Event()


class _Exchange:
    """Where reader threads put events and the caller takes them, each stream in turn.

    Readers only touch the queue and their own place; the line and all that is in it belong to the caller's thread.
    """

    def __init__(self) -> None:
        self.arrived: queue.SimpleQueue[StreamEvent | None] = queue.SimpleQueue()
        self.places: dict[int, _Place] = {}
        self.line: deque[_Place] = deque()  # places that hold something, in the order of taking
        self.running = 0
        self.closed = False

    @property
    def has_events(self) -> bool:
        return bool(self.line) or not self.arrived.empty()

    def start(self, index: int) -> _Place:
        self.running += 1
        place = self.places[index] = _Place()
        return place

    def put(self, place: _Place, event: StreamEvent) -> None:
        place.sent += 1
        self.arrived.put(event)
        while place.sent - place.taken >= _BACKLOG and not self.closed:
            place.has_room.clear()
            if place.sent - place.taken >= _BACKLOG:
                place.has_room.wait(_SLICE)

    def take(self, ends: float | None = None) -> StreamEvent | None:
        """Return the next event, each stream in turn; None at the moment `ends`, when no stream is left, or once it is closed."""
        while True:
            if self.closed:
                return None
            while not self.arrived.empty():
                self._sort_in(self.arrived.get())
            if self.line:
                break
            if not self.running:
                return None
            left = _SLICE if ends is None else min(_SLICE, ends - time.monotonic())
            if left <= 0:
                return None
            try:
                self._sort_in(self.arrived.get(timeout=left))
            except queue.Empty:
                continue
        place = self.line.popleft()
        event = place.events.popleft()
        place.taken += 1
        if place.taken % _BACKLOG == 0 or not place.events:
            place.has_room.set()
        if place.events:
            self.line.append(place)
        if event.done:
            self.running -= 1
            del self.places[event.index]
        return event

    def _sort_in(self, event: StreamEvent | None) -> None:
        if event is None:
            return  # a wake-up
        place = self.places[event.index]
        if not place.events:
            self.line.append(place)
        place.events.append(event)

    def close(self) -> None:
        """End it, from any thread: the caller's next `take` gives None, and no reader waits for room."""
        self.closed = True
        self.arrived.put(None)
        for place in list(self.places.values()):
            place.has_room.set()


class MergedStreams(Iterator[StreamEvent]):
    """The events of several streams, as they arrive. Made by `merge_streams` and `Responder.stream_map`.

        for event in gpt.stream_map(["In depth?", "In breadth?"]):
            print(event.index, event.piece)

    The streams run at once; one that fails tells it in its last event, and harms no other. Leaving the loop (or the `with`
    block), or dropping the object, cancels all. Takes events in one thread; `cancel` may come from any.

    Attributes:
        errors: While `snapshots` are drawn, the error of each stream that has failed, by its index.
    """

    def __init__(self, streams: Iterable[Callable[[CancelToken], Stream]], max_workers: int, cancel: CancelToken | None) -> None:
        if isinstance(max_workers, bool) or not isinstance(max_workers, int) or max_workers < 1:
            raise ConfigurationError(f"max_workers is a whole number, 1 or more, not {max_workers!r}")
        self._total = len(streams) if isinstance(streams, Sized) else None
        self._streams = iter(streams)
        self._started = 0
        self._workers = max_workers
        self._exhausted = False
        self._turns = 0
        self._token = CancelToken()
        self._exchange = _Exchange()
        # A cancel from another thread wakes the one that waits here, even where a stream takes its time to end.
        self._token.register(self._exchange.close)
        self._user_token = cancel
        own = self._token  # and not through `self`: a token that lives on must not keep alive what was dropped
        self._registered = cancel.register(lambda: own.cancel(cancel.reason)) if cancel is not None else -1
        self._executor = ThreadPoolExecutor(max_workers, thread_name_prefix="responder-stream")
        self._closed = False
        self.errors: dict[int, Exception] = {}
        _live.add(self)

    def _fill(self, most: int) -> bool:
        """Start some streams while there are workers for them; return whether more can be started at once."""
        for _ in range(most):
            if self._exhausted or self._token.cancelled or self._exchange.running >= self._workers:
                return False
            make = next(self._streams, None)
            if make is None:
                self._exhausted = True
                return False
            index = self._started
            self._started += 1
            self._executor.submit(_read, index, make, self._exchange, self._exchange.start(index), self._token)
        return True

    def __next__(self) -> StreamEvent:
        event = self._take(None)
        if event is None:
            self.close()
            if self._user_token is not None and self._user_token.cancelled:
                raise CancelledError(f"the streams were stopped: {self._user_token.reason}")
            raise StopIteration
        return event

    def _take(self, ends: float | None) -> StreamEvent | None:
        try:
            while True:
                # What has arrived must not wait for the start of all the others, nor they for a stream that never pauses.
                has_events = self._exchange.has_events
                self._turns += has_events
                more = self._fill(_STARTS if not has_events else self._turns % _EVENTS_A_START == 0)
                event = self._exchange.take(time.monotonic() if more else ends)
                if event is not None or not more or self._exchange.closed:
                    return event
        except BaseException:
            self.close()
            raise

    def snapshots(self, per_second: float = SNAPSHOTS_PER_SECOND) -> Iterator[tuple[str, ...]]:
        """Yield the latest whole text of each stream, as a tuple in the order of the prompts.

        Pieces that arrive together are drawn together: at most `per_second` tuples a second, and always a last one with
        everything. A stream that failed keeps the text that it had; its error is in `errors` then.

        Args:
            per_second: Tuples a second at most.

        Returns:
            An iterator of tuples; their length is the number of prompts where that is known, else of those begun.
        """
        texts: dict[int, list[str]] = {}
        try:
            while True:
                event = self._take(None)
                if event is None:
                    return
                drawn = time.monotonic()
                ends = drawn + 1.0 / per_second
                while event is not None:
                    texts.setdefault(event.index, []).append(event.piece)
                    if event.error is not None:
                        self.errors[event.index] = event.error
                    event = self._take(ends) if time.monotonic() < ends else None
                yield tuple(_joined(texts, index) for index in range(self._total or self._started))
        finally:
            self.close()

    def cancel(self, reason: str = "cancelled") -> None:
        """End all streams, from any thread, without waiting."""
        self._token.cancel(reason)

    def close(self) -> None:
        """End all streams that run; harmless when none does."""
        if self._closed:
            return
        self._closed = True
        self._token.cancel("the merged streams were left")
        if self._user_token is not None:
            self._user_token.unregister(self._registered)
        self._executor.shutdown(wait=False, cancel_futures=True)

    def __enter__(self) -> MergedStreams:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        if hasattr(self, "_closed"):
            self.close()


_live: weakref.WeakSet[MergedStreams] = weakref.WeakSet()


def _close_live() -> None:
    for merged in list(_live):
        merged.close()


# The interpreter joins the threads of every pool before it runs `atexit`; streams that nobody ended would hold it up until
# they time out. This hook runs before that join.
if hasattr(threading, "_register_atexit"):
    threading._register_atexit(_close_live)


def _joined(texts: dict[int, list[str]], index: int) -> str:
    pieces = texts.get(index)
    if not pieces:
        return ""
    if len(pieces) > 1:
        pieces[:] = ["".join(pieces)]
    return pieces[0]


def _read(index: int, make: Callable[[CancelToken], Stream], exchange: _Exchange, place: _Place, token: CancelToken) -> None:
    # Free of references to the merged streams: dropping those must be enough to end this.
    try:
        stream = make(token)
        registered = token.register(stream.cancel)
        try:
            for piece in stream:
                exchange.put(place, StreamEvent(index, piece))
        finally:
            token.unregister(registered)
            stream.close()
        exchange.put(place, StreamEvent(index, done=True, answer=stream.answer))
    except Exception as error:  # noqa: BLE001 - a stream's error is its own event
        exchange.put(place, StreamEvent(index, done=True, error=error))


def merge_streams(streams: Sequence[Stream], *, cancel: CancelToken | None = None) -> MergedStreams:
    """Run several streams at once, of any providers, and return their events merged.

        for event in merge_streams([gpt.stream("Why?"), claude.stream("Why?")]):
            ...

    Args:
        streams: Streams that nobody has begun to read; `event.index` is their place in this list.
        cancel: A token that ends them all.
    """
    streams = list(streams)
    if not streams:
        raise ConfigurationError("merge_streams needs at least one stream")
    return MergedStreams([lambda _token, stream=stream: stream for stream in streams], len(streams), cancel)  # type: ignore[misc]  # the default binds the loop variable
