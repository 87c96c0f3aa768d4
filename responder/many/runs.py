"""Many prompts: who is asked, in which order, and what was answered before? Puts a run of a responder together.

What one call does is in `calls.py`, how many run at once in `parallel.py`.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from responder.call.attempts import SINGLE, Terms
from responder.call.hedging import Hedger
from responder.call.retry import RetryBudget
from responder.many import mapping
from responder.many.dedupe import AskedOnce
from responder.many.parallel import OnError, Rules, Run, Work
from responder.many.progress import ProgressOption
from responder.pace.breaker import PATIENCE
from responder.pace.budget import Spending
from responder.pace.prices import Pricing, unknown_price
from responder.values.answer import Answer
from responder.values.cancellation import CancelToken
from responder.values.deadline import Deadline, Timeout, as_timeout
from responder.values.errors import APIError, CancelledError, CircuitOpenError, ConfigurationError, ResponderError
from responder.values.messages import Prompt
from responder.values.options import Options
from responder.values.results import Result
from responder.values.summary import Summary
from responder.values.trace import Trace

if TYPE_CHECKING:
    from responder.many.checkpoint import Checkpoint, StoredAnswer
    from responder.report.history import History


class Asked(Protocol):
    """What a run needs of who answers; a Responder."""

    provider: ClassVar[str]
    model: str
    options: Options
    deadline: float | None

    def question(self, prompt: Prompt, options: Options) -> bytes:
        """Return what is sent for a prompt."""

    def ask(
        self,
        question: bytes,
        options: Options,
        timeout: float | Timeout | None,
        deadline: Deadline,
        cancel: CancelToken | None,
        trace: Trace,
        terms: Terms = SINGLE,
    ) -> Answer:
        """Return the answer to a question, over as many attempts as it takes."""

    def key(self, question: bytes) -> bytes:
        """Return the name under which a file keeps the answer to a question."""

    def restored(self, kept: StoredAnswer) -> Answer:
        """Return an answer that a file kept."""

    @property
    def price(self) -> Pricing | None:
        """What its tokens cost; None where that is not known."""

    @property
    def answers(self) -> Checkpoint | None:
        """The file of answers that are given again; None: each is asked for."""


@dataclass(frozen=True, slots=True)
class Settings:
    """The keywords of `Responder.map`, which explains them."""

    max_workers: int
    on_error: OnError
    max_errors: int | None
    deadline: float | None
    run_deadline: float | None
    progress: ProgressOption
    on_result: Callable[[Result], object] | None
    cancel: CancelToken | None
    checkpoint: str | os.PathLike[str] | None
    dedupe: bool
    budget: float | None
    hedge: float | None
    fallbacks: Sequence[Asked]
    retry_share: float
    timeout: float | Timeout | None


class Asker:
    """Gets the answer to one prompt after another: from a file, from an equal prompt, from who is asked, or from who steps in.

    Safe for threads.

    Args:
        chain: Who is asked first, and who steps in for whom.
        options: The call's own options, on top of each one's defaults.
        timeout: For one attempt.
        cancel: Ends the calls.
        terms: What the run allows.
        checkpoint: The run's file.
        dedupe: Ask equal prompts once.
    """

    def __init__(
        self,
        chain: Sequence[Asked],
        options: Mapping[str, Any],
        timeout: float | Timeout | None,
        cancel: CancelToken | None,
        terms: Terms,
        checkpoint: Checkpoint | None = None,
        dedupe: bool = False,
    ) -> None:
        self._chain = [(asked, asked.options.merged(options)) for asked in chain]
        self._timeout = timeout
        self._cancel = cancel
        # Nobody waits for one that is down while another one can step in.
        self._terms = [replace(terms, patience=0.0)] * (len(chain) - 1) + [terms]
        self._checkpoint = checkpoint
        self._caches = [asked.answers for asked in chain]
        # One file may be both; it is told once.
        self._stores = [
            [file for file in (checkpoint, None if _is_same(cache, checkpoint) else cache) if file is not None]
            for cache in self._caches
        ]
        self._asked = AskedOnce() if dedupe else None
        self._out: set[int] = set()  # those that have refused what no prompt survives: a wrong key, no credit

    def answer(self, prompt: Prompt, deadline: Deadline, trace: Trace) -> Answer:
        """Return the answer to a prompt.

        Raises:
            ResponderError: Nobody answered; the last one's error.
        """
        first, options = self._chain[0]
        question = first.question(prompt, options)
        if self._asked is None:
            return self._answer(prompt, question, deadline, trace)
        return self._asked.result(question, lambda: self._answer(prompt, question, deadline, trace), deadline)

    def _answer(self, prompt: Prompt, question: bytes, deadline: Deadline, trace: Trace) -> Answer:
        kept = self._kept(0, question)
        if kept is not None or len(self._chain) == 1:
            return kept or self._ask(0, question, deadline, trace)
        questions = [question, *(asked.question(prompt, options) for asked, options in self._chain[1:])]
        for place in range(1, len(self._chain)):
            kept = self._kept(place, questions[place])
            if kept is not None:
                return kept
        return self._ask_in_turn(questions, deadline, trace)

    def _ask_in_turn(self, questions: list[bytes], deadline: Deadline, trace: Trace) -> Answer:
        places = [place for place in range(len(questions)) if place not in self._out] or [0]
        before: list[ResponderError] = []
        for place in places:
            try:
                return self._ask(place, questions[place], deadline, trace)
            except ResponderError as error:
                if place == places[-1] or not _another_may_answer(error):
                    if before:
                        error.fatal = error.fatal and all(other.fatal for other in before)
                        error.args = (f"{error}. Before it: " + "; ".join(str(other) for other in before),)
                    raise
                if error.fatal and not isinstance(error, CircuitOpenError):
                    self._out.add(place)
                before.append(error)
        raise AssertionError("the last one's error is raised above")

    def _ask(self, place: int, question: bytes, deadline: Deadline, trace: Trace) -> Answer:
        asked, options = self._chain[place]
        answer = asked.ask(question, options, self._timeout, deadline, self._cancel, trace, self._terms[place])
        for file in self._stores[place]:
            try:
                file.store(asked.key(question), answer.raw, answer.request_id)
            except ConfigurationError as error:
                if self._cancel is not None:
                    self._cancel.cancel(str(error))  # this answer is in our hands; what cannot be kept is not asked for
        return answer

    def _kept(self, place: int, question: bytes) -> Answer | None:
        """Return an answer that a file holds, as if it had just come; None where it has to be asked for."""
        asked, _ = self._chain[place]
        cache = self._caches[place]
        kept = self._checkpoint.take(asked.key(question)) if self._checkpoint is not None else None
        if kept is None and cache is not None:
            kept = cache.find(asked.key(question))
        return asked.restored(kept) if kept is not None else None


def _is_same(cache: Checkpoint | None, checkpoint: Checkpoint | None) -> bool:
    return cache is not None and checkpoint is not None and Path(cache.path).samefile(checkpoint.path)


def _another_may_answer(error: ResponderError) -> bool:
    return isinstance(error, APIError) and (error.retryable or error.fatal)


class AnswerRun(Run[Prompt, Result]):
    """The results of many prompts, as an iterator; and what the run did so far."""

    history: History

    def summary(self) -> Summary:
        """Return the run in numbers, so far; `print(run.summary())` reads well."""
        return self.history.summary()

    def report(self, path: str | os.PathLike[str]) -> None:
        """Write the run, so far, as one self-contained HTML page.

        Raises:
            ConfigurationError: The file cannot be written.
        """
        self.history.report(path)


def start(
    chain: Sequence[Asked], prompts: Iterable[Prompt], ordered: bool, settings: Settings, options: Mapping[str, Any]
) -> AnswerRun:
    """Return a run that asks many prompts at once.

    Args:
        chain: Who is asked first, and who steps in for whom.
        prompts: Any iterable.
        ordered: Input order if true, else as they finish.
        settings: The keywords of `Responder.map`.
        options: The call's own options.
    """
    seconds = chain[0].deadline if settings.deadline is None else settings.deadline
    Deadline.after(seconds)  # nonsense is told here, once, and not by every item
    if settings.timeout is not None:
        try:
            as_timeout(settings.timeout)
        except ValueError as error:
            raise ConfigurationError(str(error), fatal=True) from None
    run_ends = Deadline.after(settings.run_deadline, "run_deadline")
    token = CancelToken()
    terms = _terms(chain, settings)
    store = open_file(settings.checkpoint) if settings.checkpoint is not None else None
    # With the first run: the page that it can write is a tenth of what importing all of this would take.
    from responder.report.history import History

    asker = Asker(chain, options, settings.timeout, token, terms, store, settings.dedupe)
    history = History(settings.max_workers, f"{chain[0].provider}:{chain[0].model}")

    given_up: set[int] = set()  # items whose worker outlived the run's grace: they are in the history already

    def ended(index: int, trace: Trace, error: Exception | None, truncated: bool) -> None:
        if index not in given_up:
            history.add(index, trace, error, truncated)

    def perform(index: int, prompt: Prompt) -> Result:
        trace = Trace()
        try:
            if token.cancelled:
                raise CancelledError(f"not sent: {token.reason}")
            answer = asker.answer(prompt, Deadline.after(seconds).earliest(run_ends), trace)
        except Exception as error:  # noqa: BLE001 - a prompt's error belongs to its result
            # No variable keeps the error: its traceback holds this frame, and the two would keep each other alive.
            ended(index, trace, error, False)
            return _result(index, prompt, None, error, trace)
        ended(index, trace, None, answer.truncated)
        return _result(index, prompt, answer, None, trace)

    def unfinished(index: int, prompt: Prompt, error: Exception) -> Result:
        given_up.add(index)
        history.add(index, Trace(), error, False)
        return Result(index, prompt, None, error, 0, cost=0.0)

    rules = Rules(settings.max_workers, settings.on_error, settings.max_errors, run_ends, settings.cancel, fatal_ends=True)
    work = Work(perform, unfinished)
    watch = mapping.Watch(settings.progress, settings.on_result, "prompts")
    run = mapping.start(AnswerRun, prompts, work, rules, watch, ordered=ordered, token=token)
    run.history = history
    return run


def _terms(chain: Sequence[Asked], settings: Settings) -> Terms:
    for asked in chain:
        # Looked up here, in the caller's thread, and with or without a budget: whoever installed a list of prices gets costs.
        if asked.price is None and settings.budget is not None:
            raise unknown_price(asked.provider, asked.model)
    workers = settings.max_workers if isinstance(settings.max_workers, int) else 1  # what is wrong is told by the map
    return Terms(
        RetryBudget(settings.retry_share, workers),
        Spending(settings.budget) if settings.budget is not None else None,
        Hedger(settings.hedge) if settings.hedge is not None else None,
        PATIENCE,
    )


def _result(index: int, prompt: Prompt, answer: Answer | None, error: Exception | None, trace: Trace) -> Result:
    elapsed = time.monotonic() - trace.started
    cost = trace.cost if trace.priced else None
    return Result(index, prompt, answer, error, trace.attempts, elapsed, trace.waited, trace.usage, cost)


def open_file(path: str | os.PathLike[str]) -> Checkpoint:
    """Return a file of answers, opened."""
    # Imported when a run wants one: most programs do without a database.
    from responder.many.checkpoint import Checkpoint

    return Checkpoint(path)
