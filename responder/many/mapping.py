"""Many items at once: the keywords that every map shares, and the maps over any blocking function."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sized
from typing import Any, TypeVar

from responder.many.parallel import OnError, Run
from responder.many.progress import ProgressOption, ProgressReporter
from responder.values.cancellation import CancelToken
from responder.values.deadline import Deadline
from responder.values.errors import CancelledError, ConfigurationError, DeadlineExceededError
from responder.values.results import ItemBatch, ItemResult

I = TypeVar("I")  # noqa: E741 - item
V = TypeVar("V")  # value
R = TypeVar("R", bound=ItemResult[Any, Any])
B = TypeVar("B")  # batch
K = TypeVar("K", bound=Run[Any, Any])  # kind of run


def start(
    perform: Callable[[int, I], R],
    items: Iterable[I],
    unfinished: Callable[[int, I, Exception], R],
    *,
    kind: Callable[..., K],
    ordered: bool,
    token: CancelToken,
    deadline: Deadline,
    max_workers: int,
    on_error: OnError,
    max_errors: int | None,
    progress: ProgressOption,
    on_result: Callable[[R], object] | None,
    cancel: CancelToken | None,
    unit: str,
    fatal_ends: bool,
) -> K:
    """Return a run with its progress shown and its callback called; the keywords are those of `Responder.map`."""
    if isinstance(items, (str, bytes)):
        raise ConfigurationError("this map takes many items, not one str: put it in a list")
    reporter = ProgressReporter(progress, len(items) if isinstance(items, Sized) else None, unit)

    def observe(result: R) -> None:
        reporter.add(result)
        if on_result is not None:
            on_result(result)

    return kind(
        perform,
        items,
        max_workers=max_workers,
        ordered=ordered,
        on_error=on_error,
        max_errors=max_errors,
        deadline=deadline,
        cancel=cancel,
        token=token,
        unfinished=unfinished,
        fatal_ends=fatal_ends,
        observe=None if reporter.is_silent and on_result is None else observe,
        on_close=reporter.close,
    )


def collect(run: Run[Any, R], batch: Callable[[Iterable[R]], B]) -> B:
    """Run to the end and return the batch; whatever is raised on the way carries what is finished as its `batch`."""
    results: list[R] = []
    try:
        with run:
            results.extend(run)
            results.extend(run.rest())
    except BaseException as error:
        error.batch = batch([*results, *run.taken_back()])  # type: ignore[attr-defined]  # for whoever catches it
        raise
    return batch(results)


def parallel_map(
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
) -> ItemBatch[I, V]:
    """Call a blocking function for each item in threads, and return the results in input order.

    Args:
        function: Called once for each item, in a worker thread, with the caller's context variables.
        items: Any iterable that ends; pulled in the caller's thread.
        max_workers: How many calls run at once.
        on_error: "collect" (an item's exception becomes its result's `error`), "raise" (the first one is raised and ends
            the run), or "stop" (nothing new is started after the first one, and what there is is returned).
        max_errors: Start nothing new once this many items have failed; None: never.
        run_deadline: Seconds for the whole run; what is not finished then has a DeadlineExceededError.
        progress: None (a bar only on a terminal or notebook, on stderr), True, False, or a callable that gets a Progress.
        on_result: Called with each result as it comes in, in the caller's thread.
        cancel: A token that ends the run when it is cancelled. Python cannot interrupt a function that runs; its item is
            reported as unfinished, and its thread ends when the function returns.

    Returns:
        A batch with one ItemResult for each item.

    Raises:
        ConfigurationError: A keyword makes no sense.
        Exception: With `on_error="raise"`, the first item's own error; its attribute `batch` holds what is finished.
    """
    run = _run(function, items, False, max_workers, on_error, max_errors, run_deadline, progress, on_result, cancel)
    return collect(run, ItemBatch[I, V])


def parallel_imap(
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
) -> Run[I, ItemResult[I, V]]:
    """Call a blocking function for each item in threads; iterate over the results in input order.

    Lazy: at most 8 times `max_workers` items are pulled ahead of what was taken, so an endless input is fine. Leaving the loop
    ends the run. The keywords are those of `parallel_map`.
    """
    return _run(function, items, True, max_workers, on_error, max_errors, run_deadline, progress, on_result, cancel)


def parallel_imap_unordered(
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
) -> Run[I, ItemResult[I, V]]:
    """Call a blocking function for each item in threads; iterate over the results as they finish.

    Lazy: at most twice `max_workers` items are pulled ahead of what was taken. The keywords are those of `parallel_map`.
    """
    return _run(function, items, False, max_workers, on_error, max_errors, run_deadline, progress, on_result, cancel)


def _run(
    function: Callable[[I], V],
    items: Iterable[I],
    ordered: bool,
    max_workers: int,
    on_error: OnError,
    max_errors: int | None,
    run_deadline: float | None,
    progress: ProgressOption,
    on_result: Callable[[ItemResult[I, V]], object] | None,
    cancel: CancelToken | None,
) -> Run[I, ItemResult[I, V]]:
    token = CancelToken()
    ends = Deadline.after(run_deadline, "run_deadline")

    def perform(index: int, item: I) -> ItemResult[I, V]:
        if token.cancelled:
            return unfinished(index, item, CancelledError(f"not started: {token.reason}"))
        if ends.remaining() <= 0:
            return unfinished(index, item, DeadlineExceededError("not started: run_deadline passed"))
        begin = time.monotonic()
        try:
            return ItemResult(index, item, function(item), elapsed=time.monotonic() - begin)
        except Exception as error:  # noqa: BLE001 - an item's error belongs to its result
            return ItemResult(index, item, error=error, elapsed=time.monotonic() - begin)

    def unfinished(index: int, item: I, error: Exception) -> ItemResult[I, V]:
        return ItemResult(index, item, error=error, attempts=0)

    return start(
        perform,
        items,
        unfinished,
        kind=Run[I, ItemResult[I, V]],
        ordered=ordered,
        token=token,
        deadline=ends,
        max_workers=max_workers,
        on_error=on_error,
        max_errors=max_errors,
        progress=progress,
        on_result=on_result,
        cancel=cancel,
        unit="items",
        fatal_ends=False,  # a function may ask several providers: what one of them refuses says nothing about the others
    )
