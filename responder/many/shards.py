"""What does a worker process do with a shard of prompts? It asks them in threads that all shards of the run share there.

`ask` is what an executor calls. Order and shard arrive as bytes of our own, and the results leave as such: what cannot be pickled
is then the error of one prompt, and not the end of an engine.
"""

from __future__ import annotations

import atexit
import os
import pickle
import socket
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeAlias

from responder.call.asker import Asker, Source
from responder.call.attempts import Terms
from responder.call.hedging import Hedger
from responder.call.keeping import AnswerStore
from responder.call.retry import RetryBudget
from responder.many.journal import UNTIL_TAKEN, Journal, Kept, ShardStore
from responder.many.lamp import Lamp
from responder.many.pool import SharedPool
from responder.many.runs import Suspicion, open_file
from responder.pace.breaker import PATIENCE
from responder.pace.budget import Spending
from responder.values.answer import Answer
from responder.values.cancellation import CancelToken
from responder.values.clock import monotonic
from responder.values.deadline import NEVER, Deadline
from responder.values.errors import BudgetExceededError, ResponderError
from responder.values.messages import Prompt
from responder.values.trace import Attempt, Trace


@dataclass(frozen=True, slots=True)
class Order:
    """What holds for all shards of a run; a process unpacks it once.

    Attributes:
        sources: The first provider and its fallbacks, without their files.
        caches: The file of each; None: none.
        max_workers: Calls at once in each process.
        most_errors: Nothing new is sent once so many of the run's prompts have failed; None: never.
        deadline: Seconds for each prompt.
        retry_share: The part of a process's requests that may be retries.
        hedge: The part of its prompts that may be sent a second time.
        reasks: How often a model is asked again when its answer does not fit the schema.
        max_turns: How often a model is asked for one prompt, at most.
        keeps: Whether the replies come back for the client's checkpoint.
        journal: Where answers of shards in flight are kept.
        lamp: A file on the client's machine: as long as it is there, the run goes on.
    """

    sources: Sequence[Source]
    caches: Sequence[Any]
    max_workers: int
    most_errors: int | None
    deadline: float | None
    retry_share: float
    hedge: float | None
    reasks: int
    max_turns: int
    keeps: bool
    journal: Journal | None
    lamp: str


@dataclass(frozen=True, slots=True)
class Shard:
    """Some prompts of a run.

    Attributes:
        name: Under which a journal keeps its answers; "": none does.
        prompts: Pairs of an index and a prompt, pickled.
        seconds: What is left of the run; None: no bound.
        budget: US dollars for it; None: no bound.
        failed: How many of the run's prompts had failed when it was sent, as far as the client knew.
    """

    name: str
    prompts: bytes
    seconds: float | None = None
    budget: float | None = None
    failed: int = 0


TraceRow: TypeAlias = "tuple[int, float, float, float, list[tuple[float, float, float, str]], Any, float, bool, int]"
Row: TypeAlias = "tuple[int, Answer[Any] | None, Exception | None, int, float, TraceRow]"
"""Index, answer, error, the thread's number, the moment of the end, and the trace. Neither answer nor error: it was not begun."""


@dataclass(frozen=True, slots=True)
class Returned:
    """What a shard gives back.

    Attributes:
        worker: The process that asked it.
        clock: Its `monotonic()` as it was sent.
        rows: What became of each prompt, in the order in which they ended.
        kept: The replies, for the client's checkpoint.
        spent: US dollars, as a budget counts them; None: there was none.
        profiles: Whether Dask's profiler may hang this process for good.
    """

    worker: str
    clock: float
    rows: list[Row]
    kept: list[Kept]
    spent: float | None
    profiles: bool = False


def ask(run: str, order: bytes, shard: Shard) -> bytes:
    """Ask a shard, and return what became of it: a pickled `Returned`. To be called in a worker process.

    Args:
        run: The run's name.
        order: The pickled `Order` of the run.
        shard: The prompts.
    """
    return _workplace(run, order).ask(shard)


def call_off(run: str) -> None:
    """End a run's calls in this process, for an engine that can call a function in all of its processes."""
    with _lock:
        place = _places.get(run)
    if place is not None:
        place.token.cancel(_ENDED)


def halt(run: str) -> None:
    """Begin no more prompts of a run in this process, for an engine that can call a function in all of its processes."""
    with _lock:
        place = _places.get(run)
    if place is not None:
        place.is_halted = True


def name_of_process() -> str:
    """Return a name that no two processes share."""
    return f"{socket.gethostname()}:{os.getpid()}"


def profiler_is_on() -> bool:
    """Return whether Dask's profiler is on in this process, and runs into CPython's gh-106883."""
    config: Any = sys.modules.get("dask.config")
    return sys.version_info[:2] == (3, 11) and config is not None and config.get("distributed.worker.profile.enabled", True)


def profiler_hangs() -> bool:
    """Return whether this is a worker of Dask that its profiler may hang."""
    worker: Any = sys.modules.get("distributed.worker")
    if worker is None or not profiler_is_on():
        return False
    try:
        worker.get_worker()
    except ValueError:
        return False  # a client, or a child of one
    return True


class _Workplace:
    """What the shards of one run share in this process: connections, threads, the budget of retries."""

    def __init__(self, order: Order) -> None:
        self.order = order
        self.token = CancelToken()
        self.pool = SharedPool(order.max_workers)
        self.suspicion = Suspicion()
        self.at_work = 0
        self.ends = NEVER
        self.is_halted = False
        self._failed = 0
        self._lock = threading.Lock()
        self._has_prices = False
        self.terms = Terms(
            RetryBudget(order.retry_share, order.max_workers),
            None,
            Hedger(order.hedge) if order.hedge is not None else None,
            PATIENCE,
            is_priced=True,
        )
        self.sources = [
            replace(source, cache=open_file(cache) if isinstance(cache, (str, os.PathLike)) else cache)
            for source, cache in zip(order.sources, order.caches, strict=True)
        ]
        self.journal = order.journal
        # A client on another machine has its file there.
        self._lamp = Lamp(order.lamp) if Lamp(order.lamp).failures() is not None else None

    def ask(self, shard: Shard) -> bytes:
        try:
            return _packed(_Errand(self, shard).run())
        finally:
            with _lock:
                self.at_work -= 1

    def load_prices(self) -> None:
        """Read the list of prices, which takes a while, as the first calls are under way."""
        if not self._has_prices:
            self._has_prices = True
            for source in self.sources:
                source.endpoint.price  # noqa: B018 - read once, and kept

    def look(self) -> None:
        """End the run's calls here if its client has ended it; begin no more if enough have failed in all processes."""
        if self._lamp is not None and not self.token.cancelled:
            failed = self._lamp.failures()
            if failed is None:
                self.token.cancel(_ENDED)
            else:
                self._know_of(failed)

    def begin(self, shard: Shard) -> None:
        """Learn what a shard says of its run.

        Its seconds were counted as it was sent, and it may have waited long since then: the earliest end is the right one.
        """
        self._know_of(shard.failed)
        with self._lock:
            self.ends = self.ends.earliest(Deadline.after(shard.seconds))

    def fail(self) -> None:
        """Count a failed prompt, for all processes of this machine."""
        if self.order.most_errors is None:
            return
        with self._lock:
            self._failed += 1
        known = 0
        if self._lamp is not None:
            self._lamp.count(1)
            known = self._lamp.failures() or 0
        self._know_of(known)

    def _know_of(self, failed: int) -> None:
        most = self.order.most_errors
        with self._lock:
            self._failed = max(self._failed, failed)
            if most is not None and self._failed >= most:
                self.is_halted = True


# Seconds between two looks whether the run still goes on.
_LOOK = 0.1

# What a call says that was ended with its run.
_ENDED = "the run was ended"


class _Errand:
    """One shard at work."""

    def __init__(self, place: _Workplace, shard: Shard) -> None:
        self._place = place
        place.begin(shard)
        self._prompts: list[tuple[int, Prompt]] = pickle.loads(shard.prompts)  # noqa: S301 - of our own client
        self._spending = Spending(shard.budget) if shard.budget is not None else None
        self._rows: list[Row] = []  # appending is atomic
        self._left = len(self._prompts)
        self._lock = threading.Lock()
        self._done = threading.Event()
        self._is_hopeless = False  # an error says that no other prompt can succeed either
        order, journal = place.order, place.journal
        if journal is not None and shard.name:
            self._store = ShardStore(journal.begin(shard.name), order.keeps, partial(journal.end, shard.name, UNTIL_TAKEN))
        else:
            self._store = ShardStore(None, order.keeps)
        store: AnswerStore | None = self._store if self._store.is_needed else None
        terms = replace(place.terms, spending=self._spending)
        self._asker = Asker(place.sources, place.token, terms, store, False, order.reasks, order.max_turns)

    def run(self) -> Returned:
        if self._prompts:
            self._place.pool.put(partial(self._ask, index, prompt) for index, prompt in self._prompts)
            self._place.load_prices()
            while not self._done.wait(_LOOK):
                self._place.look()
        if not self._is_over():
            self._store.finish()
        spent = self._spending.spent if self._spending is not None else None
        return Returned(name_of_process(), monotonic(), self._rows, self._store.kept, spent, profiler_hangs())

    def _ask(self, index: int, prompt: Prompt, lane: int) -> None:
        trace = Trace()
        answer: Answer[Any] | None = None
        error: Exception | None = None
        try:
            if not self._is_over():
                deadline = Deadline.after(self._place.order.deadline).earliest(self._place.ends)
                answer = self._asker.answer(prompt, deadline, trace)
                self._place.suspicion.has_answers = True
        except Exception as problem:  # noqa: BLE001 - a prompt's error belongs to its result
            error = problem
            self._judge(problem)
        except BaseException as problem:  # noqa: BLE001 - such as a tool's sys.exit(): the shard must end, and this thread go on
            error = ResponderError(f"this prompt was not finished: {type(problem).__name__} was raised in the worker: {problem}")
            self._judge(error)
        self._rows.append((index, answer, error, lane, monotonic(), _row_of(trace)))
        with self._lock:
            self._left -= 1
            if self._left == 0:
                self._done.set()

    def _is_over(self) -> bool:
        return self._is_hopeless or self._place.is_halted or self._place.token.cancelled

    def _judge(self, error: Exception) -> None:
        self._place.suspicion.judge(error)
        if isinstance(error, BudgetExceededError):
            return  # of this shard: others may have money left
        self._is_hopeless = self._is_hopeless or getattr(error, "fatal", False)
        self._place.fail()


def _row_of(trace: Trace) -> TraceRow:
    made = [(attempt.queued, attempt.sent, attempt.ended, attempt.cause) for attempt in trace.made]
    usage = trace.usage
    return trace.attempts, trace.waited, trace.limited, trace.started, made, usage, trace.cost, trace.priced, trace.reasks


def trace_of(row: TraceRow, shift: float) -> Trace:
    """Return a worker's trace by the client's clock.

    Args:
        row: As a shard has returned it.
        shift: Seconds from the worker's clock to the client's.
    """
    attempts, waited, limited, started, made, usage, cost, priced, reasks = row
    moved = [Attempt(queued + shift, sent + shift, ended + shift, cause) for queued, sent, ended, cause in made]
    return Trace(attempts, waited, limited, started + shift, moved, usage, cost, priced, reasks)


def dumps(value: object) -> bytes:
    """Pickle a value; with cloudpickle where the engine has it and it is needed: for what a script or notebook defines itself.

    Raises:
        Exception: It cannot be pickled.
    """
    by_value = getattr(sys.modules.get("cloudpickle"), "dumps", None)  # an engine that carries code by value has imported it
    try:
        found = pickle.dumps(value, protocol=5)
        if by_value is None or b"__main__" not in found:
            return found
    except Exception:
        if by_value is None:
            raise
    made: bytes = by_value(value, protocol=5)
    return made


def _packed(returned: Returned) -> bytes:
    try:
        return dumps(returned)
    except Exception:  # noqa: BLE001 - told of the prompt whose result it is
        return dumps(replace(returned, rows=[_that_travels(row) for row in returned.rows]))


def _that_travels(row: Row) -> Row:
    index, answer, error, *rest = row
    try:
        dumps((answer, error))
    except Exception as problem:  # noqa: BLE001 - a prompt's error belongs to its result
        what = f"an error of the class {type(error).__name__}: {error}" if error is not None else "the parsed answer"
        lost = ResponderError(f"this result cannot travel to the client ({problem}): {what}")
        return (index, None, lost, *rest)  # type: ignore[return-value]  # mypy forgets the types of what a star took
    return row


# The runs that work in this process. The last few are kept: a run's shards come with gaps between them.
_MOST = 4
_lock = threading.Lock()
_places: dict[str, _Workplace] = {}


def _workplace(run: str, order: bytes) -> _Workplace:
    with _lock:
        place = _places.get(run)
        if place is None:
            place = _places[run] = _Workplace(pickle.loads(order))  # noqa: S301 - of our own client
            for name in [name for name, other in _places.items() if not other.at_work and other is not place][: -(_MOST - 1)]:
                del _places[name]
        place.at_work += 1
        return place


def _start_anew() -> None:
    global _lock
    _lock = threading.Lock()
    _places.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_start_anew)
atexit.register(_places.clear)  # connections close as long as there are modules that know how
