"""Many streams side by side: their pieces as they arrive, or the latest whole text of each.

One reader thread a stream puts what comes into the stream's own place; the caller's thread takes from the places in turn, so
that a fast stream cannot drown out a slow one.
"""

from __future__ import annotations

import math
import queue
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from dataclasses import dataclass
from typing import Any

from responder.call.stream import Stream
from responder.many.workers import Crew, caller_context, end_with_program
from responder.values.answer import Answer
from responder.values.cancellation import CancelToken
from responder.values.clock import monotonic
from responder.values.dropped import close_dropped
from responder.values.errors import CancelledError, ConfigurationError

# Pieces of one stream that may wait to be taken; a reader pauses there, and with it the provider.
_BACKLOG = 1000

# Streams that are started at once before the first piece arrives.
_STARTS = 8

# Events that are returned between two starts while there are events.
_EVENTS_A_START = 16

# Times a second that redrawing a page is worthwhile.
SNAPSHOTS_PER_SECOND = 20.0

# Seconds between checks whether the system has a thread again, while no stream runs.
_SHORT_OF_THREADS = 0.01

# Waiting happens in slices, because a lock that waits forever cannot be interrupted by Ctrl-C on Windows.
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
    """What one stream has sent and the caller has not taken. Each count has one thread that writes it.

    Args:
        backlog: Events that may wait here to be taken.
    """

    def __init__(self, backlog: float) -> None:
        self.backlog = backlog
        self.events: deque[StreamEvent] = deque()  # the caller's
        self.sent = 0  # the reader's
        self.taken = 0  # the caller's
        self.has_room = threading.Event()


class _Exchange:
    """Where reader threads put events and the caller takes them, each stream in turn.

    Readers only touch the queue and their own place; the line and everything in it belong to the caller's thread.
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

    def start(self, index: int, place: _Place) -> None:
        self.running += 1
        self.places[index] = place

    def put(self, place: _Place, event: StreamEvent) -> None:
        place.sent += 1
        self.arrived.put(event)
        while place.sent - place.taken >= place.backlog and not self.closed:
            place.has_room.clear()
            if place.sent - place.taken >= place.backlog:
                place.has_room.wait(_SLICE)

    def undo(self, index: int) -> None:
        self.running -= 1
        self.places.pop(index, None)

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
            left = _SLICE if ends is None else min(_SLICE, ends - monotonic())
            if left <= 0:
                return None
            try:
                self._sort_in(self.arrived.get(timeout=left))
            except queue.Empty:
                if ends is not None and left < _SLICE:
                    return None  # and not by the clock, which a test may have stopped
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
        """End it, from any thread: the caller's next `take` returns None, and no reader waits for room."""
        self.closed = True
        self.arrived.put(None)
        for place in list(self.places.values()):
            place.has_room.set()


class MergedStreams(Iterator[StreamEvent]):
    """The events of several streams, as they arrive. Made by `merge_streams` and `Responder.stream_map`.

        for event in gpt.stream_map(["In depth?", "In breadth?"]):
            print(event.index, event.piece)

    The streams run at once; a failure is its stream's last event and does not affect the others. Leaving the loop (or the `with`
    block), or dropping the object, cancels all. Takes events in one thread; `cancel` may come from any.

    Attributes:
        errors: While `snapshots` are drawn, the error of each stream that has failed, by its index.
    """

    def __init__(self, streams: Iterable[Callable[[CancelToken], Stream]], max_workers: int, cancel: CancelToken | None) -> None:
        if isinstance(max_workers, bool) or not isinstance(max_workers, int) or max_workers < 1:
            raise ConfigurationError(f"max_workers must be a whole number, 1 or more, not {max_workers!r}")
        self._total = len(streams) if isinstance(streams, Sized) else None
        self._streams = iter(streams)
        self._next: Callable[[CancelToken], Stream] | None = None  # pulled, but not started for lack of a thread
        self._broken: Exception | None = None  # what the input raised
        self._started = 0
        self._exhausted = False
        self._turns = 0
        self._token = CancelToken()
        self._exchange = _Exchange()
        # A cancel from another thread wakes the one that waits here, even where a stream takes its time to end.
        self._token.register(self._exchange.close)
        self._user_token = cancel
        own = self._token  # not through `self`: a token that lives on must not keep a dropped object alive
        self._registered = cancel.register(lambda: own.cancel(cancel.reason)) if cancel is not None else -1
        self._crew = Crew("responder-stream", max_workers)
        self._closed = False
        self._closed_by = 0  # the thread; 0 once everything was read
        self.errors: dict[int, Exception] = {}
        end_with_program(self)

    @property
    def shortage(self) -> str:
        """Why there were fewer threads than `max_workers`, in the system's words; "" when it refused none."""
        return self._crew.shortage

    def _fill(self, most: int) -> bool:
        """Start some streams while there are workers for them; return whether more can be started at once."""
        for _ in range(most):
            if self._exhausted or self._token.cancelled or self._exchange.running >= self._crew.most:
                return False
            make = self._next or self._pulled()
            if make is None:
                self._exhausted = True
                return False
            self._next = make
            if not self._start(make):
                return False
            self._next = None
        return True

    def _pulled(self) -> Callable[[CancelToken], Stream] | None:
        try:
            return next(self._streams, None)
        except Exception as error:  # noqa: BLE001 - raised when the streams that were pulled before it have ended
            self._broken = error
            return None

    def _start(self, make: Callable[[CancelToken], Stream]) -> bool:
        """Give a stream a thread of its own; return False if it has to wait until another one's has ended."""
        place = _Place(_BACKLOG)
        arguments = (self._started, make, self._exchange, place, self._token)
        self._exchange.start(self._started, place)
        try:
            started = self._crew.start(caller_context().run, _read, *arguments)
            if self._crew.is_alone:
                place.backlog = math.inf  # the thread that takes reads first
                _read(*arguments)
                started = True
        except BaseException:
            self._exchange.undo(self._started)
            raise
        if not started:
            self._exchange.undo(self._started)
            return False
        self._started += 1
        return True

    def __next__(self) -> StreamEvent:
        event = self._take(None)
        if event is not None:
            return event
        self._end()
        if self._user_token is not None and self._user_token.cancelled:
            raise CancelledError(f"the streams were stopped: {self._user_token.reason}")
        raise StopIteration

    def _end(self) -> None:
        """Find out why nothing more comes; return if everything was read, or if this thread itself ended the rest.

        Raises:
            CancelledError: Another thread closed them.
            Exception: What the input raised.
        """
        if self._closed and self._closed_by not in (0, threading.get_ident()):
            raise CancelledError(f"the streams were not read to their end: {self._token.reason}")
        self.close()
        if self._exhausted and not self._exchange.running:
            self._closed_by = 0
        broken, self._broken = self._broken, None
        if broken is not None and not self._exchange.running:
            raise broken

    def _take(self, ends: float | None) -> StreamEvent | None:
        self._crew.enter()
        try:
            while True:
                # What has arrived must not wait until all others have started, nor they for a stream that never pauses.
                has_events = self._exchange.has_events
                self._turns += has_events
                more = self._fill(_STARTS if not has_events else self._turns % _EVENTS_A_START == 0)
                event = self._exchange.take(monotonic() if more else ends)
                if event is not None or self._exchange.closed:
                    return event
                if not more and (self._next is None or self._exchange.running):
                    return None
                if self._next is not None:
                    self._token.wait(_SHORT_OF_THREADS)  # the last thread is just ending
        except (StopIteration, StopAsyncIteration) as error:
            self.close()
            raise RuntimeError(f"the streams raised {type(error).__name__}") from error  # as PEP 479 has it
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
                    self._end()
                    return
                drawn = monotonic()
                ends = drawn + 1.0 / per_second
                while event is not None:
                    texts.setdefault(event.index, []).append(event.piece)
                    if event.error is not None:
                        self.errors[event.index] = event.error
                    event = self._take(ends) if monotonic() < ends else None
                yield tuple(_joined(texts, index) for index in range(self._total or self._started))
        finally:
            self.close()

    def cancel(self, reason: str = "cancelled") -> None:
        """End all streams, from any thread, without waiting."""
        self._token.cancel(reason)

    def close(self) -> None:
        """End all running streams; does nothing if there are none.

        A thread that takes events while another one closes them gets a CancelledError: some are missing.
        """
        self._close("the merged streams were left" if self._crew.is_read_here else "another thread closed them")

    def _close(self, reason: str) -> None:
        if self._closed:
            return
        self._closed = True
        if self._crew.is_inherited:
            return  # the threads that read them, and those that hold their locks, are in the parent process
        self._closed_by = threading.get_ident()
        self._token.cancel(reason)
        if self._user_token is not None:
            self._user_token.unregister(self._registered)

    def __enter__(self) -> MergedStreams:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self, close: Callable[[Any, str], None] = close_dropped) -> None:
        close(self, "_closed")


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
        if stream.answer is None:  # a StopIteration of the user's, out of a callable that gives a key: as PEP 479 has it
            raise RuntimeError("the stream ended without an answer and without an error: did a callable raise StopIteration?")
        exchange.put(place, StreamEvent(index, done=True, answer=stream.answer))
    except Exception as error:  # noqa: BLE001 - a stream's error is its own event
        exchange.put(place, StreamEvent(index, done=True, error=error))


def merge_streams(streams: Sequence[Stream], *, cancel: CancelToken | None = None) -> MergedStreams:
    """Run several streams at once, of any providers, and return their events merged.

        for event in merge_streams([gpt.stream("Why?"), claude.stream("Why?")]):
            ...

    Args:
        streams: Streams that have not been read yet; `event.index` is their position in this list.
        cancel: A token that ends them all.
    """
    streams = list(streams)
    if not streams:
        raise ConfigurationError("merge_streams needs at least one stream")
    return MergedStreams([lambda _token, stream=stream: stream for stream in streams], len(streams), cancel)  # type: ignore[misc]  # the default binds the loop variable
