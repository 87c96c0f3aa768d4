"""Any blocking function over any iterable, in threads: window, order, errors, cancelling. Knows nothing of LLMs.

The caller's own thread pulls the items, hands them to threads and takes the results, so that an iterable which
belongs to a thread (a database cursor, a Django queryset) is never touched by another one. At most a window of items is
pulled ahead of what the caller has taken, whatever the length of the input.
"""

from __future__ import annotations

import contextvars
import functools
import queue
import threading
from collections.abc import Callable, Iterable, Iterator, Sized
from dataclasses import dataclass, replace
from typing import Any, Generic, Literal, TypeAlias, TypeVar

from responder.many.workers import Crew, caller_context, end_with_program
from responder.values.cancellation import CancelToken
from responder.values.clock import monotonic
from responder.values.deadline import NEVER, Deadline
from responder.values.dropped import close_dropped
from responder.values.errors import CancelledError, ConfigurationError, DeadlineExceededError
from responder.values.results import ItemResult

I = TypeVar("I")  # noqa: E741 - item
R = TypeVar("R", bound=ItemResult[Any, Any])
Self = TypeVar("Self", bound="Run[Any, Any]")

OnError = Literal["collect", "raise", "stop"]
_Task: TypeAlias = tuple[contextvars.Context, int, I]

# Ordered results wait behind the slowest one in front; with 8 times the workers pulled ahead, stragglers 15 times slower
# than the rest cost nothing measurable (1 times: the whole run took 3 times as long).
ORDERED_WINDOW = 8
UNORDERED_WINDOW = 2

# Why a run is cancelled whose results are no longer read.
LEFT_EARLY = "the loop over the results was left early"

# Filling the window pauses after this many seconds when a result is ready, so that a slow iterable cannot hold results back.
_PATIENCE = 0.01

# Waiting for a result happens in slices, because a lock that waits forever cannot be interrupted by Ctrl-C on Windows.
_SLICE = 1.0

# How long the end of a stopped run waits for the calls that it cancelled; they end within milliseconds when they can.
GRACE = 0.5


@dataclass(frozen=True, slots=True)
class Work(Generic[I, R]):
    """What is done with the items of a run.

    Attributes:
        perform: Called in a worker as `perform(index, item)`; returns a result and raises nothing.
        unfinished: Makes the result of an item that was not finished from (index, item, error).
        observe: Called in the caller's thread with each result as it comes in.
        on_close: Called once when the run has ended.
    """

    perform: Callable[[int, I], R]
    unfinished: Callable[[int, I, Exception], R]
    observe: Callable[[R], object] | None = None
    on_close: Callable[[], object] | None = None


@dataclass(frozen=True, slots=True)
class Rules:
    """How much of a run goes on at once, and what ends it early.

    Attributes:
        max_workers: How many items are worked on at once.
        on_error: "collect" failures as results; "raise" the first one; "stop" starting new items at the first one.
        max_errors: Stop starting new items once this many have failed; None means never.
        deadline: When the whole run must be over.
        cancel: The caller's token.
        fatal_ends: End the run at an error whose `fatal` says that no other item can succeed either.

    Raises:
        ConfigurationError: One of them is invalid.
    """

    max_workers: int = 16
    on_error: OnError = "collect"
    max_errors: int | None = None
    deadline: Deadline = NEVER
    cancel: CancelToken | None = None
    fatal_ends: bool = False

    @property
    def most_errors(self) -> int | None:
        """After how many failed items nothing new is started; None: never."""
        return self.max_errors if self.on_error == "collect" else 1

    def __post_init__(self) -> None:
        _check_count("max_workers", self.max_workers)
        if self.on_error not in ("collect", "raise", "stop"):
            raise ConfigurationError(f'on_error must be "collect", "raise" or "stop", not {self.on_error!r}')
        if self.max_errors is not None:
            _check_count("max_errors", self.max_errors, ", or None")


def _check_count(name: str, count: object, otherwise: str = "") -> None:
    if isinstance(count, bool) or not isinstance(count, int) or count < 1:
        raise ConfigurationError(f"{name} must be a whole number, 1 or more{otherwise}, not {count!r}")


class Run(Iterator[R], Generic[I, R]):
    """The results of a function over items, as an iterator which may be cancelled from any thread.

    Leaving it (`close`, a `with` block, or dropping the last reference) cancels what is queued and what is in flight.

    Args:
        items: Any iterable; pulled in the caller's thread, a window at a time.
        work: What is done with each item.
        rules: How many at once, and what ends the run early.
        ordered: Input order if true, else as they finish.
        token: Cancelled when the run ends early; `work.perform` gives it to its calls.
    """

    def __init__(self, items: Iterable[I], work: Work[I, R], rules: Rules, *, ordered: bool, token: CancelToken) -> None:
        self._items = iter(items)
        self._sized = isinstance(items, Sized)
        self._work = work
        self._rules = rules
        self._window = rules.max_workers * (ORDERED_WINDOW if ordered else UNORDERED_WINDOW)
        self._ordered = ordered
        self._token = token
        self._ends_at = rules.deadline.at
        self._crew = Crew("responder", rules.max_workers)
        self._is_staffed = False  # the maximum number of threads was started
        self._halt = threading.Event()  # set when the workers must start nothing more
        # A worker takes items until it finds None: a future for each item would cost a tenth of a call.
        self._tasks: queue.SimpleQueue[_Task[I] | None] = queue.SimpleQueue()
        self._finished: queue.SimpleQueue[tuple[int, R | None, BaseException | None]] = queue.SimpleQueue()
        self._waiting: dict[int, I] = {}  # items that were started and whose result has not come in
        self._ready: dict[int, R] = {}  # results that came in and have not been taken
        self._pulled = 0
        self._taken = 0
        self._failed = 0
        self._exhausted = False
        self._broken: Exception | None = None  # what the input raised
        self._stopped: Exception | None = None  # why no new item is started
        self._grace = GRACE
        self._ending = False  # the calls in flight are ending, too: wait only as long as they take
        self._closed = False
        self._closed_by = 0  # the thread; 0 once everything was read
        # A cancel from another thread wakes the caller's thread.
        token.register(functools.partial(self._finished.put, (-1, None, None)))
        cancel = rules.cancel
        self._registered = cancel.register(lambda: token.cancel(cancel.reason)) if cancel is not None else -1
        end_with_program(self)

    @property
    def workers_started(self) -> int:
        """How many threads work, or worked, for the run."""
        return self._crew.started

    @property
    def shortage(self) -> str:
        """Why there are fewer threads than `max_workers`, in the system's words; "" when it refused none."""
        return self._crew.shortage

    def __next__(self) -> R:
        self._crew.enter()
        if self._closed:
            raise self._end()
        try:
            result = self._next()
        except (StopIteration, StopAsyncIteration) as error:
            self.close()
            raise RuntimeError(f"on_result= or progress= raised {type(error).__name__}") from error  # as PEP 479 has it
        except BaseException:
            self.close()
            raise
        if result is not None:
            return result
        self.close()
        self._closed_by = 0
        broken, self._broken = self._broken, None
        raise broken or StopIteration

    def _end(self) -> Exception:
        """Return what a closed run raises: nothing is missing for the thread that closed it, or read it to the end."""
        if self._closed_by in (0, threading.get_ident()):
            return StopIteration()
        self._dismiss()
        return CancelledError(f"not all results were read: {self._token.reason}")

    def _next(self) -> R | None:
        """Return the next result; None when there is none left."""
        while True:
            self._fill()
            result = self._take()
            if result is not None:
                return result
            if self._closed:
                raise self._end()
            if not self._waiting:
                return None
            self._receive()

    def _fill(self) -> None:
        """Pull and start items until the window is full, or until a result can be returned."""
        begin = monotonic()
        while not self._exhausted and self._stopped is None and self._pulled - self._taken < self._window:
            if monotonic() - begin > _PATIENCE and (self._ready or not self._finished.empty()):
                break
            self._look_for_an_end()
            if self._stopped is not None:
                break
            try:
                item = next(self._items)
            except StopIteration:
                self._exhausted = True
                break
            except Exception as error:  # noqa: BLE001 - raised once everything that was pulled before it is returned
                self._exhausted = True
                self._broken = error
                break
            index = self._pulled
            self._pulled += 1
            self._waiting[index] = item
            self._hand_out(index, item)
        self._hand_out_rest()

    def _hand_out(self, index: int, item: I) -> None:
        """Give an item to a worker."""
        if not self._is_staffed:
            self._start_worker()
        self._tasks.put((caller_context(), index, item))

    def _hand_out_rest(self) -> None:
        """Called when no more items are pulled for now: a kind of run that gathers them sends what it has."""

    def _start_worker(self) -> None:
        self._crew.start(_perform, self._tasks, self._finished, self._halt, self._work.perform, self._rules)
        self._is_staffed = self._crew.started >= self._rules.max_workers

    def _take(self) -> R | None:
        """Return the next result that may be returned, if there is one."""
        if self._ordered:
            result = self._ready.pop(self._taken, None)
        else:
            result = self._ready.pop(next(iter(self._ready)), None) if self._ready else None
        if result is not None:
            self._taken += 1
        return result

    def _receive(self) -> None:
        """Wait for a result; react to the run's deadline and to a cancel."""
        self._look_for_an_end()
        if self._ending:
            self._give_up()
            return
        if self._crew.is_alone:
            self._perform_one()
        try:
            index, result, failure = self._finished.get(timeout=min(_SLICE, max(0.0, self._rules.deadline.remaining())))
        except queue.Empty:
            return
        self._accept(index, result, failure)

    def _perform_one(self) -> None:
        """Do a worker's work for one item, here: the exiting interpreter starts no threads."""
        task: queue.SimpleQueue[_Task[I] | None] = queue.SimpleQueue()
        task.put(self._tasks.get())
        task.put(None)
        _perform(task, self._finished, self._halt, self._work.perform, self._rules)

    def _look_for_an_end(self) -> None:
        if self._ends_at <= monotonic():
            # Not cancelled: each call knows this deadline, and reports itself how far it got.
            self._stop(DeadlineExceededError("run_deadline passed before this item was finished"))
            self._ending = True
        elif self._token.cancelled:
            self._stop(CancelledError(f"not finished: {self._token.reason}"))
            self._ending = True

    def _accept(self, index: int, result: R | None, failure: BaseException | None) -> None:
        if index not in self._waiting:
            return  # a wake-up, or too late: it was reported as unfinished
        item = self._waiting.pop(index)
        if failure is not None:
            raise failure
        if result is None:
            result = self._work.unfinished(index, item, self._stopped or CancelledError("not started"))
        self._ready[index] = result
        if self._work.observe is not None:
            self._work.observe(result)
        if result.error is None:
            return
        self._failed += getattr(result, "failed", 1)  # a result may stand for several
        if self._rules.on_error == "raise":
            raise result.error
        cause = f"not sent: the run was stopped by item {index}: {result.error}"
        if self._rules.fatal_ends and getattr(result.error, "fatal", False):
            self._stop(CancelledError(cause))
            self._ending = True
            self._token.cancel(cause)
        elif self._rules.most_errors is not None and self._failed >= self._rules.most_errors:
            self._stop(CancelledError(cause))  # what was sent is paid for: it may end

    def _stop(self, reason: Exception) -> None:
        """Start no new item."""
        if self._stopped is None:
            self._stopped = reason
            self._halt.set()

    def _give_up(self) -> None:
        """Take what the ended calls report within the grace period; the rest is reported as unfinished."""
        ends = monotonic() + self._grace
        while self._waiting:
            left = ends - monotonic()
            try:
                index, result, failure = self._finished.get(timeout=max(0.0, left))
            except queue.Empty:
                break
            self._accept(index, result, failure)
        reason = self._stopped or CancelledError("not finished")
        for index, item in list(self._waiting.items()):
            self._accept(index, self._work.unfinished(index, item, reason), None)

    def rest(self) -> Iterator[R]:
        """Yield a result for each item that a stopped run did not pull, if the input is finite (a list, a tuple)."""
        if self._stopped is None or not self._sized:
            return
        for item in self._items:
            index = self._pulled
            self._pulled += 1
            yield self._work.unfinished(index, item, self._stopped)

    def cancel(self, reason: str = "cancelled") -> None:
        """End the run, from any thread: calls in flight are ended, and the iterator returns what there is, then stops."""
        self._token.cancel(reason)

    def close(self) -> None:
        """End the run at once; does nothing if it has ended. Nothing more is returned.

        A thread that reads the results while another one closes the run gets a CancelledError: some are missing.
        """
        self._close(LEFT_EARLY if self._crew.is_read_here else "another thread closed the run")

    def _close(self, reason: str) -> None:
        if self._closed:
            return
        self._closed = True
        if self._crew.is_inherited:
            return  # its threads, and those that hold its locks, are in the parent process
        self._closed_by = threading.get_ident()
        done = self._exhausted and not self._waiting
        if not done:
            self._token.cancel(reason)
        if self._rules.cancel is not None:
            self._rules.cancel.unregister(self._registered)
        self._exhausted = True
        if self._crew.is_read_here:
            self._waiting.clear()
        self._dismiss()
        # A run that was stopped does not wait for its threads: one of them may be in a function that nothing can interrupt.
        if done and self._stopped is None:
            self._crew.join()
        if self._work.on_close is not None:
            self._work.on_close()

    def _dismiss(self) -> None:
        self._tasks.put(None)  # each worker passes it on

    def noted(self) -> dict[int, R]:
        """Return where the workers note each result, by its index, from now on; to be called before the first one is taken.

        Ctrl-C is raised in the main thread between any two of its steps: a result that it has just taken in hand would be lost.
        """
        noted: dict[int, R] = {}
        perform = self._work.perform

        def note(index: int, result: R) -> R:
            noted[index] = result
            return result

        def perform_and_note(index: int, item: I) -> R:
            # No variable keeps the result: its error may hold this frame, and the two would keep each other alive.
            return note(index, perform(index, item))

        self._work = replace(self._work, perform=perform_and_note)
        return noted

    def taken_back(self) -> list[R]:
        """Return the results that came in but were not returned, of a run ended by an exception."""
        while not self._finished.empty():
            index, result, _ = self._finished.get()
            if result is not None:
                self._ready[index] = result
        ready, self._ready = self._ready, {}
        return list(ready.values())

    def __enter__(self: Self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self, close: Callable[[Any, str], None] = close_dropped) -> None:
        close(self, "_closed")  # which it lacks when the arguments were refused


def _perform(
    tasks: queue.SimpleQueue[_Task[I] | None],
    finished: queue.SimpleQueue[tuple[int, R | None, BaseException | None]],
    halt: threading.Event,
    perform: Callable[[int, I], R],
    rules: Rules,
) -> None:
    # Free of references to the run: dropping the run must be enough to end it.
    halts, fatal_ends = rules.on_error != "collect", rules.fatal_ends
    while (task := tasks.get()) is not None:
        context, index, item = task
        if halt.is_set():
            finished.put((index, None, None))
            continue
        try:
            result = context.run(perform, index, item)
        except BaseException as error:  # noqa: BLE001 - carried to the caller's thread and raised there
            finished.put((index, None, error))
        else:
            if result.error is not None and isinstance(result.error, (StopIteration, StopAsyncIteration)):
                result = replace(result, error=_as_runtime_error(index, result.error))
            finished.put((index, result, None))
            # Set here and not by the caller's thread, so that not one more item starts; and after the result, so that the
            # caller knows the reason before it hears of an item that was not started.
            if result.error is not None and (halts or (fatal_ends and getattr(result.error, "fatal", False))):
                halt.set()
            del result
        del task, context, item  # while this worker waits, nothing of the last item may be kept alive
    tasks.put(None)  # for the next worker: so no one needs to know how many there are


def _as_runtime_error(index: int, error: Exception) -> RuntimeError:
    """Return what replaces an item's StopIteration, which would silently end the loop over the results (PEP 479)."""
    stand_in = RuntimeError(f"item {index} raised {type(error).__name__}")
    stand_in.__cause__ = error
    return stand_in
