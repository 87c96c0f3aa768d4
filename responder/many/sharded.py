"""What does the client do while shards are at work? It hands them out, takes their results, and is one run to its user.

Window, order, errors, cancelling and deadlines are those of `parallel.py`; here, shards of an executor take the place of threads.
"""

from __future__ import annotations

import hashlib
import pickle
import queue
import uuid
from collections import deque
from collections.abc import Iterable, Sequence
from concurrent.futures import CancelledError as FutureCancelledError
from concurrent.futures import Future
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from responder.call.asker import Asker
from responder.call.keeping import AnswerStore
from responder.many.engines import Engine, is_loss, warn_of_the_profiler
from responder.many.journal import Journal
from responder.many.lamp import Lamp
from responder.many.parallel import LEFT_EARLY, Rules, Work
from responder.many.purse import Purse, Sent
from responder.many.runs import AnswerRun, Job, Spread, Suspicion
from responder.many.shard_sizes import ShardSizes
from responder.many.shards import Returned, Row, Shard, dumps, trace_of
from responder.values.answer import Answer, T
from responder.values.cancellation import CancelToken
from responder.values.clock import monotonic
from responder.values.errors import BudgetExceededError, CancelledError, ConfigurationError, WorkerLostError
from responder.values.messages import Prompt
from responder.values.results import Answered, Failed
from responder.values.trace import Trace

if TYPE_CHECKING:
    from responder.report.history import History

# Shards that each process has at once: one at work, and one on its way; where they overlap, one more.
_AHEAD = 2

# An input that takes longer than this for a prompt, in seconds, is slow: its prompts do not wait for their shard to be full.
_SLOW = 0.05

# Seconds that the end of a run waits for the shards that are at work. They end within moments where a cancel reaches them, and
# bring answers that are paid for.
_GRACE = 5.0

# How often a shard is sent when its workers die: one of its prompts may be what kills them.
_TRIES = 3


@dataclass(frozen=True, slots=True)
class Plan:
    """What a sharded run is made of."""

    engine: Engine
    order: bytes
    lamp: Lamp
    sizes: ShardSizes
    history: History
    store: AnswerStore | None
    asker: Asker | None  # reads the store
    journal: Journal | None
    job: Job[Any]
    spread: Spread


class ShardedRun(AnswerRun[T]):
    """The results of many prompts from other processes, as an iterator; and what the run did so far."""

    def __init__(
        self,
        plan: Plan,
        prompts: Iterable[Prompt],
        work: Work[Prompt, Any],
        rules: Rules,
        *,
        ordered: bool,
        token: CancelToken,
    ) -> None:
        self._plan = plan
        self.history = plan.history
        self._name = uuid.uuid4().hex
        self._numbers = 0
        self._gathered: list[int] = []  # items that wait for their shard to be full
        self._backlog: deque[Sent] = deque()  # shards that wait for a worker
        self._out: dict[int, Sent] = {}  # shards at an engine
        self._arrived: deque[tuple[int, Any]] = deque()  # results of the shard that is just being taken in
        self._unbegun: list[int] = []  # items that a worker did not begin, since enough others have failed
        self._shifts: dict[str, float] = {}  # from each worker's clock to ours
        self._suspicion = Suspicion()
        self._pulled_at = monotonic()  # when the last prompt was pulled
        self._purse = Purse(plan.spread.budget) if plan.spread.budget is not None else None
        self._copies: dict[bytes, list[int]] | None = {} if plan.job.dedupe else None
        self._known: dict[bytes, Any] = {}  # with `dedupe`: what became of a question
        self._question: dict[int, bytes] = {}  # with `dedupe`: of each item that was sent
        super().__init__(prompts, work, rules, ordered=ordered, token=token)
        self._grace = _GRACE
        self._is_ordered = ordered
        self._set_window()
        # Neither of them knows this run: dropping it must be enough to end it.
        token.register(plan.lamp.put_out)
        token.register(partial(plan.engine.call_off, self._name))

    def _set_window(self) -> None:
        processes = self._plan.engine.processes
        self._most_out = processes * (_AHEAD + self._plan.engine.overlaps)
        self._window = (self._most_out + 1) * self._plan.sizes.most * (2 if self._is_ordered else 1)
        self.history.grow_to(self._rules.max_workers * processes)

    # Handing out

    def _fill(self) -> None:
        self._pulled_at = monotonic()
        super()._fill()

    def _hand_out(self, index: int, item: Prompt) -> None:
        began, self._pulled_at = self._pulled_at, monotonic()
        try:
            if self._is_known(index, item):
                return
        except Exception as error:  # noqa: BLE001 - a prompt's error belongs to its result
            self._put(index, self._work.unfinished(index, item, error))
            return
        self._gathered.append(index)
        is_late = self._pulled_at - began > _SLOW and len(self._out) + len(self._backlog) < self._most_out
        if is_late or len(self._gathered) >= self._plan.sizes.size(self._gathered[0], self._most_out):
            self._close_shard()

    def _is_known(self, index: int, prompt: Prompt) -> bool:
        """Return whether an item needs no worker: its answer is in the checkpoint, or an equal one was asked before."""
        if self._copies is not None:
            source = self._plan.job.sources[0]
            question = source.key(source.question(prompt))
            if question in self._known:
                self._put(index, self._copy(index, prompt, self._known[question]))
                return True
            if question in self._copies:
                self._copies[question].append(index)
                return True
            self._copies[question] = []
            self._question[index] = question
        if self._plan.asker is None:
            return False
        trace = Trace()
        kept = self._plan.asker.kept(prompt, self._rules.deadline)
        if kept is None:
            return False
        self.history.add(index, trace, None, kept.truncated)
        self._put(index, Answered(index, prompt, kept, None, 0, monotonic() - trace.started, cost=0.0))
        return True

    def _copy(self, index: int, prompt: Prompt, result: Any) -> Any:
        """Return what an equal prompt got, as the result of this one."""
        answer = replace(result.answer, attempts=0) if result.answer is not None else None
        self.history.add(index, Trace(), result.error, answer is not None and answer.truncated)
        return type(result)(index, prompt, answer, result.error, 0, cost=0.0)

    def _put(self, index: int, result: Any) -> None:
        self._finished.put((index, result, None))

    def _close_shard(self) -> None:
        if self._gathered:
            self._backlog.append(Sent(self._gathered))
            self._gathered = []
        self._send()

    def _hand_out_rest(self) -> None:
        if self._exhausted or (self._gathered and not self._out and not self._backlog):
            self._close_shard()
        elif self._backlog:
            self._send()

    def _send(self) -> None:
        """Send shards as long as workers and money are there for them."""
        if self._backlog:
            self._set_window()
        while self._backlog and self._stopped is None and not self._unbegun and len(self._out) < self._most_out:
            sent = self._backlog[0]
            if self._purse is not None and not self._purse.fill(sent, len(self._out), self._most_out):
                if self._out:
                    return  # what they leave over may do
                self._backlog.popleft()
                self._refuse_for_money(sent)
                continue
            self._backlog.popleft()
            self._submit(sent)

    def _submit(self, sent: Sent) -> None:
        number = self._numbers
        self._numbers += 1
        items = [(index, self._waiting[index]) for index in sent.indexes if index in self._waiting]
        try:
            prompts = dumps(items)
        except Exception:  # noqa: BLE001 - told of the prompt that it is
            items = [item for item in items if self._travels(*item)]
            prompts = dumps(items)
        sent.indexes = [index for index, _ in items]
        left = self._rules.deadline.remaining()
        sent.name = sent.name or self._named(items, number)
        shard = Shard(sent.name, prompts, None if left == float("inf") else left, sent.budget, self._failed)
        sent.tries += 1
        sent.generation = self._plan.engine.generation
        self._out[number] = sent
        try:
            sent.future = self._plan.engine.submit(self._name, self._plan.order, shard)
        except Exception as error:  # noqa: BLE001 - broken, or shut down
            _put_shard(self._finished, number, None, error)
        else:
            sent.future.add_done_callback(partial(_returned, self._finished, number))

    def _named(self, items: Sequence[tuple[int, Prompt]], number: int) -> str:
        """Return a shard's name in the journal; with a checkpoint it is the same in a later run, which goes on with this one."""
        if self._plan.journal is None:
            return ""
        if self._plan.store is None or not items:
            return f"{self._name}:{number}"
        return f"{hashlib.sha256(pickle.dumps([prompt for _, prompt in items])).hexdigest()[:32]}:{items[0][0]}"

    def _travels(self, index: int, prompt: Prompt) -> bool:
        try:
            dumps(prompt)
        except Exception as error:  # noqa: BLE001 - a prompt's error belongs to its result
            refused = ConfigurationError(f"this prompt cannot travel to another process: {error}")
            self._put(index, self._work.unfinished(index, prompt, refused))
            return False
        return True

    def _refuse_for_money(self, sent: Sent) -> None:
        purse = self._purse
        for index in sent.indexes:
            error = BudgetExceededError(
                f"the budget is used up: {purse}. Raise budget=, and use checkpoint= so as not to pay twice"
            )
            if index in self._waiting:
                self._put(index, self._work.unfinished(index, self._waiting[index], error))

    # Taking in

    def _accept(self, index: int, result: Any, failure: BaseException | None) -> None:
        if index > _FIRST:
            self._accept_one(index, result, failure)
            return
        sent = self._out.pop(_FIRST - index, None)
        if sent is None:
            return
        moment, payload = result
        self._arrive(sent, moment, payload, failure)
        self._take_arrived()
        if self._unbegun and not self._out and self._stopped is None:  # the shard with the errors was lost
            self._stop(CancelledError("not sent: as many prompts had failed in the worker processes as the run allows"))
        self._send()

    def _accept_one(self, index: int, result: Any, failure: BaseException | None) -> None:
        waited_for = index in self._waiting
        if waited_for and self._copies is not None and result is not None and index in self._question:
            question = self._question.pop(index)
            self._known[question] = result
            for copy in self._copies.pop(question, ()):
                if copy in self._waiting:
                    self._put(copy, self._copy(copy, self._waiting[copy], result))
        super()._accept(index, result, failure)

    def _take_arrived(self) -> None:
        while self._arrived:
            index, result = self._arrived[0]
            self._arrived.popleft()
            self._accept_one(index, result, None)

    def _arrive(self, sent: Sent, moment: float, payload: bytes | None, failure: BaseException | None) -> None:
        """Turn what a shard has returned into results."""
        if failure is None and payload is not None:
            try:
                returned: Returned = pickle.loads(payload)  # noqa: S301 - of our own worker
            except Exception as error:  # noqa: BLE001 - a prompt's error belongs to its result
                failure = ConfigurationError(f"the results of a shard cannot be read here: {error}")
            else:
                self._unpack(sent, returned, moment)
                return
        if self._purse is not None:
            self._purse.settle(sent, None, 0)
        if failure is not None and is_loss(failure):
            self._lose(sent, failure)
        else:
            self._fail(sent, failure)

    def _lose(self, sent: Sent, failure: BaseException) -> None:
        """Send a shard anew whose worker is gone, where the engine can."""
        engine = self._plan.engine
        is_over = self._stopped is not None or self._token.cancelled
        if is_over and isinstance(failure, FutureCancelledError):
            self._arrived.extend((index, None) for index in sent.indexes)  # no worker has begun it
            return
        is_given_up = sent.tries >= _TRIES
        can_go_on = is_over or is_given_up or sent.generation != engine.generation or engine.renew()
        if can_go_on and not is_over and not is_given_up:
            self._backlog.appendleft(sent)
            return
        lost = WorkerLostError(
            f"a worker process was lost with this prompt ({type(failure).__name__}: {failure}); it may have been paid. With "
            "checkpoint=, run the map again for the rest; with executor= as a function that makes the executor, what is lost "
            "is sent again"
        )
        lost.fatal = not can_go_on  # nothing else can be sent either
        self._fail(sent, lost)

    def _fail(self, sent: Sent, failure: BaseException | None) -> None:
        error = failure if isinstance(failure, Exception) else RuntimeError(f"the engine returned nothing: {failure!r}")
        for index in sent.indexes:
            if index in self._waiting:
                self._arrived.append((index, self._work.unfinished(index, self._waiting[index], error)))

    def _unpack(self, sent: Sent, returned: Returned, moment: float) -> None:
        shift = min(moment - returned.clock, self._shifts.get(returned.worker, float("inf")))
        self._shifts[returned.worker] = shift
        if returned.profiles:
            warn_of_the_profiler()
        self._keep(returned)
        again: list[int] = []
        for row in returned.rows:
            index, answer, error = row[0], row[1], row[2]
            if index not in self._waiting:
                continue
            if isinstance(error, BudgetExceededError) and not row[5][0] and not sent.is_last_money:
                again.append(index)  # its shard's part of the money was used up; that of others may not be
            elif answer is None and error is None:
                self._unbegun.append(index)
            else:
                self._arrived.append((index, self._result(row, self._waiting[index], returned.worker, shift)))
        if self._plan.journal is not None:
            self._plan.journal.end(sent.name, 0)
        if self._purse is not None:
            self._purse.settle(sent, returned.spent, len(returned.rows) - len(again))
        if again:
            self._backlog.appendleft(Sent(again, is_again=True))
        if self._stopped is not None:
            self._arrived.extend((index, None) for index in self._unbegun)
            self._unbegun.clear()

    def _result(self, row: Row, prompt: Prompt, worker: str, shift: float) -> Any:
        index, answer, error, lane, ended, traced = row
        trace = trace_of(traced, shift)
        if error is not None:
            self._suspicion.judge(error)
        else:
            self._suspicion.has_answers = True
        moment = ended + shift
        self.history.take((worker, lane), index, trace, error, answer is not None and answer.truncated, moment)
        cost = trace.cost if trace.priced else None
        return _made(index, prompt, answer, error, trace, moment - trace.started, cost)

    def _keep(self, returned: Returned) -> None:
        """Keep a shard's replies in the run's store, in one commit where it can."""
        store = self._plan.store
        if store is None or not returned.kept:
            return
        try:
            store_all = getattr(store, "store_all", None)
            if store_all is not None:
                store_all(returned.kept, self._rules.deadline, None)
            else:
                for question, reply, request_id in returned.kept:
                    store.store(question, reply, request_id, self._rules.deadline, None)
        except ConfigurationError as error:
            self._token.cancel(str(error))  # these answers are returned; no more are asked that could not be kept

    # Ending

    def _stop(self, reason: Exception) -> None:
        is_first = self._stopped is None
        super()._stop(reason)
        if is_first:
            # Shards that are at work begin no more prompts.
            self._plan.lamp.count(self._rules.most_errors or 0)
            self._plan.engine.halt(self._name)
            for index in [*self._gathered, *self._unbegun, *(index for sent in self._backlog for index in sent.indexes)]:
                self._finished.put((index, None, None))
            for indexes in (self._copies or {}).values():
                for index in indexes:
                    self._finished.put((index, None, None))
            self._gathered = []
            self._unbegun.clear()
            self._backlog.clear()
            for sent in list(self._out.values()):
                if sent.future is not None:
                    sent.future.cancel()  # if no worker has begun it

    def close(self) -> None:
        """End the run at once; what its shards have got by then is kept, where there is a checkpoint."""
        if not self._closed and self._out and self._waiting and self._plan.store is not None and self._crew.is_read_here:
            self._token.cancel(LEFT_EARLY)
            self._keep_what_is_out()
        super().close()

    def _keep_what_is_out(self) -> None:
        """Wait for the shards that are at work, and keep their replies: they are paid for."""
        for sent in self._out.values():
            if sent.future is not None:
                sent.future.cancel()
        ends = monotonic() + self._grace
        while self._out:
            try:
                index, result, failure = self._finished.get(timeout=max(0.0, ends - monotonic()))
            except queue.Empty:
                return
            if index > _FIRST:
                continue
            found: Any = result
            if self._out.pop(_FIRST - index, None) is not None and failure is None:
                self._keep(pickle.loads(found[1]))  # noqa: S301 - of our own worker

    def _close(self, reason: str) -> None:
        was_closed = self._closed
        super()._close(reason)
        if not was_closed and not self._crew.is_inherited:
            for sent in list(self._out.values()):
                if sent.future is not None:
                    sent.future.cancel()
            self._plan.lamp.put_out()
            self._plan.engine.close()

    def taken_back(self) -> list[Any]:
        """Return the results that came in but were not returned, of a run ended by an exception."""
        ready = dict(self._ready)
        self._ready = {}
        while not self._finished.empty():
            index, result, failure = self._finished.get()
            sent: Any = self._out.pop(_FIRST - index, None) if index <= _FIRST else None
            found: Any = result
            if sent is not None and failure is None:
                self._unpack(sent, pickle.loads(found[1]), found[0])  # noqa: S301 - of our own worker
            elif index >= 0 and result is not None:
                ready[index] = result
        ready.update((index, result) for index, result in self._arrived if result is not None)
        return list(ready.values())


# Numbers of shards in the queue of results: below those of items, and below the one that wakes the reader.
_FIRST = -2


def _returned(finished: Any, number: int, future: Future[bytes]) -> None:
    """Put what a shard has returned into the queue of its run; called in a thread of the executor."""
    error = FutureCancelledError() if future.cancelled() else future.exception()
    _put_shard(finished, number, future.result() if error is None else None, error)


def _put_shard(finished: Any, number: int, payload: bytes | None, error: BaseException | None) -> None:
    finished.put((_FIRST - number, (monotonic(), payload), error))


def _made(
    index: int,
    prompt: Prompt,
    answer: Answer[Any] | None,
    error: Exception | None,
    trace: Trace,
    elapsed: float,
    cost: float | None,
) -> Any:
    kind: Any = Answered if error is None else Failed
    return kind(index, prompt, answer, error, trace.attempts, elapsed, trace.waited, trace.usage, cost)
