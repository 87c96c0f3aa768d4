"""Many prompts: what a run of them is made of. One call is in `call/`, how many run at once in `parallel.py`."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Sequence, Sized
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic

from responder.call.asker import Asker, Source
from responder.call.attempts import Terms
from responder.call.hedging import Hedger
from responder.call.keeping import AnswerStore
from responder.call.retry import RetryBudget
from responder.call.stream import Stream
from responder.call.turns import DEFAULT_TURNS
from responder.many import mapping
from responder.many.merging import MergedStreams
from responder.many.parallel import Rules, Run, Work
from responder.pace.breaker import PATIENCE
from responder.pace.budget import Spending
from responder.pace.prices import unknown_price
from responder.values.answer import Answer, T
from responder.values.bounds import Bounds
from responder.values.cancellation import CancelToken
from responder.values.clock import monotonic
from responder.values.deadline import NEVER, Deadline
from responder.values.errors import APIError, CancelledError, ConfigurationError
from responder.values.messages import Prompt
from responder.values.notebook import ReportPage, lines_html, lines_markdown
from responder.values.results import Answered, Batch, Failed
from responder.values.summary import Summary
from responder.values.trace import Trace

if TYPE_CHECKING:
    from responder.many.checkpoint import Checkpoint
    from responder.report.history import History


@dataclass(frozen=True, slots=True)
class Spread:
    """How a run is spread over other processes.

    Attributes:
        executor: Who runs its shards: an executor, a client of Dask, or what makes one.
        shard_size: Prompts in a shard; None: by the number of workers.
        journal: Where the answers of shards in flight are kept.
        retry_share: As the map takes it: what a process holds itself, it makes itself.
        hedge: As the map takes it.
        budget: As the map takes it.
    """

    executor: Any
    shard_size: int | None = None
    journal: Any = None
    retry_share: float = 0.2
    hedge: float | None = None
    budget: float | None = None


@dataclass(frozen=True, slots=True)
class Job(Generic[T]):
    """What a run of prompts is to do. `Responder.map` explains the keywords.

    Attributes:
        sources: The first provider and its fallbacks, in order.
        prompts: What they are asked.
        rules: How many at once, and what ends the run early.
        watch: Who is informed of the results.
        terms: What the run allows its calls.
        deadline: Seconds for each prompt; None: no bound.
        checkpoint: The run's file or store; None: none.
        dedupe: Ask equal prompts once.
        reasks: How often a model is asked again when its answer does not fit the schema.
        max_turns: How often a model is asked for one prompt, at most, where it has functions called.
        spread: How it is spread over other processes; None: it is not.
    """

    sources: Sequence[Source]
    prompts: Iterable[Prompt]
    rules: Rules
    watch: mapping.Watch[Answered[T] | Failed[T]]
    terms: Terms
    deadline: float | None
    checkpoint: str | os.PathLike[str] | AnswerStore | None = None
    dedupe: bool = False
    reasks: int = 1
    max_turns: int = DEFAULT_TURNS
    spread: Spread | None = None


def terms_of(
    sources: Sequence[Source], max_workers: int, retry_share: float, budget: float | None = None, hedge: float | None = None
) -> Terms:
    """Return what a run allows its calls.

    Raises:
        ConfigurationError: A keyword is invalid, or there is a budget and a price is unknown.
    """
    if budget is not None:
        for source in sources:
            if source.endpoint.price is None:
                raise unknown_price(source.endpoint.dialect.provider, source.endpoint.dialect.model)
    return Terms(
        RetryBudget(retry_share, max_workers),
        Spending(budget) if budget is not None else None,
        Hedger(hedge) if hedge is not None else None,
        PATIENCE,
        is_priced=True,
    )


class AnswerRun(Run[Prompt, "Answered[T] | Failed[T]"], Generic[T]):
    """The results of many prompts, as an iterator; and what the run did so far."""

    history: History
    _prices: Callable[[], object] | None = None

    def _receive(self) -> None:
        if self._prices is not None:
            # A list of prices takes a tenth of a second to load. The first calls are under way by now, and take longer.
            prices, self._prices = self._prices, None
            prices()
        super()._receive()

    def _repr_html_(self) -> str:
        return lines_html(str(self.summary()))

    def _repr_markdown_(self) -> str:
        return lines_markdown(str(self.summary()))

    def batch(self, results: Iterable[Answered[T] | Failed[T]]) -> Batch[T]:
        """Return results of this run as a batch, which knows what the run did."""
        self.history.shortage = self.shortage
        return Batch(results, self.history)

    def summary(self) -> Summary:
        """Return the run in numbers, so far; `print(run.summary())` reads well."""
        self.history.shortage = self.shortage
        return self.history.summary()

    def report(self, path: str | os.PathLike[str] | None = None) -> ReportPage:
        """Return the run, so far, as one self-contained HTML page; with a path, write it there.

        Raises:
            ConfigurationError: The file cannot be written.
        """
        return self.history.report(path)


def start(job: Job[T], *, ordered: bool) -> AnswerRun[T]:
    """Return a run that asks many prompts at once.

    Args:
        job: What it is to do.
        ordered: Input order if true, else as they finish.
    """
    token = CancelToken()
    store = store_of(job)
    asker = Asker(with_store(job.sources, store), token, job.terms, store, job.dedupe, job.reasks, job.max_turns)
    history = history_of(job)
    suspicion = Suspicion()
    given_up: set[int] = set()  # items whose worker outlived the run's grace: they are in the history already

    def ended(index: int, trace: Trace, error: Exception | None, truncated: bool) -> None:
        if index not in given_up:
            history.add(index, trace, error, truncated)

    def perform(index: int, prompt: Prompt) -> Answered[T] | Failed[T]:
        trace = Trace()
        try:
            if token.cancelled:
                raise CancelledError(f"not sent: {token.reason}")
            answer = asker.answer(prompt, Deadline.after(job.deadline).earliest(job.rules.deadline), trace)
        except Exception as error:  # noqa: BLE001 - a prompt's error belongs to its result
            # No variable keeps the error: its traceback holds this frame, and the two would keep each other alive.
            suspicion.judge(error)
            ended(index, trace, error, False)
            return _result(index, prompt, error, trace)
        suspicion.has_answers = True
        ended(index, trace, None, answer.truncated)
        return _result(index, prompt, answer, trace)

    def unfinished(index: int, prompt: Prompt, error: Exception) -> Answered[T] | Failed[T]:
        given_up.add(index)
        history.add(index, Trace(), error, False)
        return Failed(index, prompt, None, error, 0, cost=0.0)

    run = mapping.start(AnswerRun[T], job.prompts, Work(perform, unfinished), job.rules, job.watch, ordered=ordered, token=token)
    run.history = history
    run._prices = lambda: [source.endpoint.price for source in job.sources]
    return run


def store_of(job: Job[Any]) -> AnswerStore | None:
    """Return the run's store, with the answers of the batch jobs in it that have ended."""
    rules, source = job.rules, job.sources[0]
    store = open_store(job.checkpoint, rules.deadline, rules.cancel)
    if getattr(store, "has_jobs", False):
        from responder.many.job_start import gather

        path = str(getattr(store, "path", ""))
        # Opened anew afterwards: a run takes only what was there when it began.
        getattr(store, "close", lambda: None)()
        gather(source, path, Bounds(source.timeout, rules.deadline, rules.cancel))
        store = open_file(path, rules.deadline, rules.cancel)
    return store


# This many prompts with the same bare refusal and no answer are no coincidence: the address or the key's rights are wrong.
_ENOUGH_SUSPECTS = 3


class Suspicion:
    """Does a bare 403 or 404 concern its prompt, or the run? Its prompt, as soon as there was an answer."""

    def __init__(self) -> None:
        self.has_answers = False
        self._seen: Counter[int | None] = Counter()

    def judge(self, error: Exception) -> None:
        """Let an error end the run if every result so far was such an error."""
        if not isinstance(error, APIError) or not error.suspect or self.has_answers:
            return
        self._seen[error.status] += 1
        if self._seen[error.status] >= _ENOUGH_SUSPECTS and not self.has_answers:
            error.fatal = True
            error.args = (f"{error}. The first {_ENOUGH_SUSPECTS} prompts got nothing else, so the run ends: check base_url",)


def with_store(sources: Sequence[Source], store: AnswerStore | None) -> Sequence[Source]:
    """Return the sources; those whose cache is the run's file leave it to the run to store answers in it."""
    if store is None:
        return sources
    file = getattr(store, "path", None)

    def is_same(cache: AnswerStore | None) -> bool:
        path = getattr(cache, "path", None)
        return cache is store or (path is not None and file is not None and Path(file).samefile(path))

    return [replace(source, stores=False) if is_same(source.cache) else source for source in sources]


def history_of(job: Job[Any]) -> History:
    """Return the empty history of a run."""
    # With the first run: the page that it can write is a tenth of what importing all of this would take.
    from responder.report.history import History

    return History(job.rules.max_workers, job.sources[0].name)


def _result(index: int, prompt: Prompt, outcome: Answer[T] | Exception, trace: Trace) -> Answered[T] | Failed[T]:
    elapsed = monotonic() - trace.started
    cost = trace.cost if trace.priced else None
    if isinstance(outcome, Answer):
        return Answered(index, prompt, outcome, None, trace.attempts, elapsed, trace.waited, trace.usage, cost)
    return Failed(index, prompt, None, outcome, trace.attempts, elapsed, trace.waited, trace.usage, cost)


class StreamRun(MergedStreams):
    """The streams of many prompts, merged; and what they did so far."""

    history: History

    def _repr_html_(self) -> str:
        return lines_html(str(self.summary()))

    def _repr_markdown_(self) -> str:
        return lines_markdown(str(self.summary()))

    def summary(self) -> Summary:
        """Return the streams that have ended in numbers; `print(run.summary())` reads well."""
        self.history.shortage = self.shortage
        return self.history.summary()

    def report(self, path: str | os.PathLike[str] | None = None) -> ReportPage:
        """Return the streams that have ended as one self-contained HTML page; with a path, write it there.

        Raises:
            ConfigurationError: The file cannot be written.
        """
        return self.history.report(path)


def start_streams(job: Job[Any]) -> StreamRun:
    """Return a run that streams the answers of many prompts at once."""
    history = history_of(job)

    def starter(index: int, prompt: Prompt) -> Callable[[CancelToken], Stream]:
        def begin(_token: CancelToken) -> Stream:  # the thread that reads the stream cancels it
            trace = Trace()

            def ended(stream: Stream) -> None:
                error = None if stream.answer is not None else stream.error or CancelledError("the stream was left")
                history.add(index, trace, error, stream.answer is not None and stream.answer.truncated)

            deadline = Deadline.after(job.deadline).earliest(job.rules.deadline)
            return asker.stream(prompt, deadline, trace, ended)

        return begin

    asker = Asker(job.sources, None, job.terms)
    makers = (starter(index, prompt) for index, prompt in enumerate(job.prompts))
    run = StreamRun(list(makers) if isinstance(job.prompts, Sized) else makers, job.rules.max_workers, job.rules.cancel)
    run.history = history
    return run


def open_file(path: str | os.PathLike[str], deadline: Deadline = NEVER, cancel: CancelToken | None = None) -> Checkpoint:
    """Return a file of answers, opened; waits that long for another program that holds it."""
    # Imported when a run needs one: most programs do without a database.
    from responder.many.checkpoint import Checkpoint

    return Checkpoint(path, deadline, cancel)


def open_store(
    checkpoint: str | os.PathLike[str] | AnswerStore | None, deadline: Deadline = NEVER, cancel: CancelToken | None = None
) -> AnswerStore | None:
    """Return the store of a run: a file, opened, or the store that was given, begun for this run.

    Raises:
        ConfigurationError: It is neither, or the file cannot be used.
    """
    if checkpoint is None:
        return None
    if isinstance(checkpoint, (str, os.PathLike)):
        return open_file(checkpoint, deadline, cancel)
    if not isinstance(checkpoint, AnswerStore):
        raise ConfigurationError(
            f"checkpoint must be a path, or a store with the methods take, find and store, not {checkpoint!r}", fatal=True
        )
    begin: Callable[[], AnswerStore] | None = getattr(checkpoint, "begin_run", None)
    return checkpoint if begin is None else begin()
