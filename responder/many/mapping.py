"""Many items at once: the keywords that every map shares, and the maps over any blocking function."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sized
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

from responder.many.last import note_on, remember
from responder.many.parallel import OnError, Rules, Run, Work
from responder.many.progress import ProgressOption, ProgressReporter
from responder.values.cancellation import CancelToken
from responder.values.clock import monotonic
from responder.values.deadline import Deadline
from responder.values.errors import CancelledError, ConfigurationError, DeadlineExceededError
from responder.values.keywords import parameters_of
from responder.values.results import ItemBatch, ItemResult

I = TypeVar("I")  # noqa: E741 - item
V = TypeVar("V")  # value
R = TypeVar("R", bound=ItemResult[Any, Any])
B = TypeVar("B")  # batch
K = TypeVar("K", bound=Run[Any, Any])  # kind of run


@dataclass(frozen=True, slots=True)
class Watch(Generic[R]):
    """Who is informed of a run's progress.

    Attributes:
        progress: None, True, False or a callable, as `Responder.map` takes it.
        on_result: Called with each result as it comes in, in the caller's thread.
        unit: What the progress bar counts.
    """

    progress: ProgressOption = None
    on_result: Callable[[R], object] | None = None
    unit: str = "items"


def start(
    kind: Callable[..., K],
    items: Iterable[I],
    work: Work[I, R],
    rules: Rules,
    watch: Watch[R],
    *,
    ordered: bool,
    token: CancelToken,
) -> K:
    """Return a run with its progress shown and its callback called.

    Args:
        kind: `Run`, or a kind of it.
        items: Any iterable.
        work: What is done with each item.
        rules: How many at once, and what ends the run early.
        watch: Who is informed of the results.
        ordered: Input order if true, else as they finish.
        token: Cancelled when the run ends early; `work.perform` gives it to its calls.

    Raises:
        ConfigurationError: The items are one str.
    """
    if isinstance(items, (str, bytes)):
        raise ConfigurationError("this map takes a list of items, not one str: put it in a list")
    on_result = watch.on_result
    reporter = ProgressReporter(watch.progress, len(items) if isinstance(items, Sized) else None, watch.unit)

    def observe(result: R) -> None:
        reporter.add(result)
        if on_result is not None:
            on_result(result)

    observed = None if reporter.is_silent and on_result is None else observe
    return kind(items, replace(work, observe=observed, on_close=reporter.close), rules, ordered=ordered, token=token)


def collect(run: Run[Any, R], batch: Callable[[Iterable[R]], B]) -> B:
    """Run to the end and return the batch; any exception on the way has what is finished as its `batch`."""
    results: list[R] = []
    noted = run.noted()
    try:
        with run:
            results.extend(run)
            results.extend(run.rest())
    except BaseException as error:
        found = {result.index: result for result in (*results, *run.taken_back())}
        found.update({index: result for index, result in noted.items() if result.ok and index not in found})
        finished = remember(batch(found.values()))
        error.batch = finished  # type: ignore[attr-defined]  # for whoever catches it
        note_on(error, finished)
        raise
    finally:
        # The traceback of a failed item's error holds the worker's frames, and these the notes: with the error in them, all of it
        # would be freed by a garbage collection only, and the responder's connections be closed by it.
        noted.clear()
    return remember(batch(results))


@dataclass(frozen=True, slots=True)
class _Job(Generic[I, V]):
    """The arguments of a map over any function."""

    function: Callable[[I], V]
    items: Iterable[I]
    rules: Rules
    watch: Watch[ItemResult[I, V]]


def _job(
    function: Callable[[I], V],
    items: Iterable[I],
    *,
    max_workers: int = 16,
    on_error: OnError = "collect",
    max_errors: int | None = None,
    run_deadline: float | None = None,
    progress: ProgressOption = None,
    on_result: Callable[[ItemResult[I, V]], object] | None = None,
    cancel: CancelToken | None = None,
) -> _Job[I, V]:
    """Collect the arguments of a map over any function.

    Args:
        function: Called once for each item, in a worker thread, with the caller's context variables.
        items: Any iterable; pulled in the caller's thread.
        max_workers: How many calls run at once.
        on_error: "collect" (an item's exception becomes its result's `error`), "raise" (the first one is raised and ends
            the run), or "stop" (nothing new is started after the first one, and the results so far are returned).
        max_errors: Start nothing new once this many items have failed; None: never.
        run_deadline: Seconds for the whole run; what is not finished then has a DeadlineExceededError.
        progress: None (a bar only on a terminal or notebook, on stderr), True, False, or a callable that gets a Progress.
        on_result: Called with each result as it comes in, in the caller's thread.
        cancel: A token that ends the run when it is cancelled. Python cannot interrupt a running function; its item is
            reported as unfinished, and its thread ends when the function returns.
    """
    deadline = Deadline.after(run_deadline, "run_deadline")
    # `fatal_ends` stays false: a function may ask several providers, and a refusal by one of them says nothing about the others.
    return _Job(function, items, Rules(max_workers, on_error, max_errors, deadline, cancel), Watch(progress, on_result))


@parameters_of(_job)
def parallel_map(job: _Job[I, V]) -> ItemBatch[I, V]:
    """Call a blocking function for each item in threads, wait for all, and return the results in input order.

    Returns:
        A batch with one ItemResult for each item.

    Raises:
        ConfigurationError: A keyword is invalid.
        Exception: With `on_error="raise"`, the first item's own error; its attribute `batch` holds what is finished.
    """
    return collect(_run(job, ordered=False), ItemBatch[I, V])


@parameters_of(_job)
def parallel_imap(job: _Job[I, V]) -> Run[I, ItemResult[I, V]]:
    """Call a blocking function for each item in threads; iterate over the results in input order.

    Lazy: at most 8 times `max_workers` items are pulled ahead of what was taken, so an endless input is fine. Leaving the loop
    ends the run.
    """
    return _run(job, ordered=True)


@parameters_of(_job)
def parallel_imap_unordered(job: _Job[I, V]) -> Run[I, ItemResult[I, V]]:
    """Call a blocking function for each item in threads; iterate over the results as they finish.

    Lazy: at most twice `max_workers` items are pulled ahead of what was taken. Leaving the loop ends the run.
    """
    return _run(job, ordered=False)


def _run(job: _Job[I, V], *, ordered: bool) -> Run[I, ItemResult[I, V]]:
    function, deadline = job.function, job.rules.deadline
    token = CancelToken()

    def perform(index: int, item: I) -> ItemResult[I, V]:
        if token.cancelled:
            return unfinished(index, item, CancelledError(f"not started: {token.reason}"))
        if deadline.remaining() <= 0:
            return unfinished(index, item, DeadlineExceededError("not started: run_deadline passed"))
        begin = monotonic()
        try:
            return ItemResult(index, item, function(item), elapsed=monotonic() - begin)
        except Exception as error:  # noqa: BLE001 - an item's error belongs to its result
            return ItemResult(index, item, error=error, elapsed=monotonic() - begin)

    def unfinished(index: int, item: I, error: Exception) -> ItemResult[I, V]:
        return ItemResult(index, item, error=error, attempts=0)

    work = Work(perform, unfinished)
    return start(Run[I, ItemResult[I, V]], job.items, work, job.rules, job.watch, ordered=ordered, token=token)
