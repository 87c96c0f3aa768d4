"""The engine of the maps: any function over any iterable, in threads."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import itertools
import random
import sys
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from servers import PATIENCE

from responder import (
    BatchError,
    CancelledError,
    CancelToken,
    ConfigurationError,
    DeadlineExceededError,
    ItemBatch,
    ItemResult,
    parallel_imap,
    parallel_imap_unordered,
    parallel_map,
)

ALL: list[Callable[..., Any]] = [parallel_map, parallel_imap, parallel_imap_unordered]
LAZY: list[Callable[..., Any]] = [parallel_imap, parallel_imap_unordered]


def double(number: int) -> int:
    return 2 * number


def fail(item: Any) -> Any:
    raise KeyError(item)


class Unlucky:
    """Fails for some items, and lets the threads overtake each other."""

    def __init__(self, failing: set[int]) -> None:
        self._failing = failing

    def __call__(self, number: int) -> int:
        for _ in range(random.randrange(300)):
            pass
        if number in self._failing:
            raise ValueError(number)
        return 2 * number


# --- Order and identity -----------------------------------------------------------------------------------------------


@pytest.mark.pain(7)
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck), database=None)
@given(
    length=st.integers(0, 200),
    workers=st.integers(1, 24),
    failing=st.sets(st.integers(0, 199), max_size=40),
    way=st.sampled_from(ALL),
    lazy=st.booleans(),
)
def test_results_are_those_of_a_loop_for_any_length_workers_and_failures(
    length: int, workers: int, failing: set[int], way: Callable[..., Any], lazy: bool
) -> None:
    """Each result belongs to its item; ordered ways keep the order of the input."""
    items = iter(range(length)) if lazy else range(length)
    results = list(way(Unlucky(failing), items, max_workers=workers))
    if way is parallel_imap_unordered:
        results.sort(key=lambda result: result.index)
    assert [(result.index, result.item) for result in results] == [(number, number) for number in range(length)]
    for result in results:
        if result.index in failing:
            assert isinstance(result.error, ValueError)
            assert result.error.args == (result.index,)
            assert result.value is None
        else:
            assert (result.error, result.value) == (None, 2 * result.index)


@pytest.mark.acceptance(2)
@pytest.mark.pain(7)
def test_ten_thousand_items_over_sixty_four_threads_keep_their_results() -> None:
    """No mix-up at scale, with one item in seven failing."""
    failing = set(range(0, 10_000, 7))
    batch = parallel_map(Unlucky(failing), range(10_000), max_workers=64)
    assert [result.index for result in batch] == list(range(10_000))
    assert {result.index for result in batch.failures()} == failing
    assert all(result.value == 2 * result.item for result in batch if result.ok)


@pytest.mark.parametrize("items", [[], (), iter(()), range(0), {}])
@pytest.mark.parametrize("way", ALL)
def test_nothing_in_is_nothing_out(way: Callable[..., Any], items: Any) -> None:
    """An empty input is no special case."""
    assert list(way(double, items)) == []


@pytest.mark.parametrize("items", [[1, 2], (1, 2), {1: 0, 2: 0}, deque([1, 2]), (n for n in (1, 2))])
def test_any_iterable_is_taken(items: Any) -> None:
    """Lists, tuples, dicts, deques, generators."""
    assert parallel_map(double, items).values() == [2, 4]


@pytest.mark.parametrize("items", ["text", b"bytes"])
def test_a_text_in_place_of_a_list_is_refused(items: Any) -> None:
    """It would be taken letter by letter, and each letter paid for."""
    with pytest.raises(ConfigurationError, match="list"):
        parallel_map(double, items)


def test_none_is_a_value() -> None:
    """A function may well return None; that is no failure."""
    result = parallel_map(lambda item: None, [1])[0]
    assert result.ok
    assert result.unwrap() is None


def test_as_many_run_at_once_as_there_are_workers() -> None:
    """The barrier opens only when all of them are inside."""
    barrier = threading.Barrier(16)
    assert parallel_map(lambda item: barrier.wait(PATIENCE), range(32), max_workers=16).ok


def test_no_more_run_at_once_than_there_are_workers() -> None:
    """`max_workers` is a ceiling."""
    lock, inside, most = threading.Lock(), [0], [0]

    def work(item: int) -> None:
        with lock:
            inside[0] += 1
            most[0] = max(most[0], inside[0])
        for _ in range(1000):
            pass
        with lock:
            inside[0] -= 1

    parallel_map(work, range(300), max_workers=3)
    assert most[0] <= 3


def test_unordered_results_come_as_they_finish() -> None:
    """A slow item in front holds nobody back."""
    gate = threading.Event()
    run = parallel_imap_unordered(lambda item: gate.wait(PATIENCE) if item == 0 else item, range(5), max_workers=2)
    assert sorted(next(run).index for _ in range(4)) == [1, 2, 3, 4]
    gate.set()
    assert [result.index for result in run] == [0]


def test_ordered_results_come_as_soon_as_it_is_their_turn() -> None:
    """The first result is there while later ones are still being worked on."""
    gate = threading.Event()
    run = parallel_imap(lambda item: gate.wait(PATIENCE) if item else item, range(3), max_workers=3)
    assert next(run).index == 0
    gate.set()
    assert [result.index for result in run] == [1, 2]


# --- Laziness ---------------------------------------------------------------------------------------------------------


@pytest.mark.acceptance(1)
@pytest.mark.pain(12)
@pytest.mark.parametrize(("way", "factor"), [(parallel_imap, 8), (parallel_imap_unordered, 2)])
def test_an_endless_input_is_pulled_a_window_ahead_at_most(way: Callable[..., Any], factor: int) -> None:
    """A consumer that takes its time does not let the input pile up."""
    pulled = itertools.count()
    last = [0]

    def endless() -> Iterator[int]:
        while True:
            last[0] = next(pulled)
            yield last[0]

    with way(double, endless(), max_workers=4) as run:
        for taken, _ in enumerate(itertools.islice(run, 500), start=1):
            assert last[0] + 1 <= taken + 4 * factor
    stopped = last[0]
    assert list(run) == []
    assert last[0] == stopped


@pytest.mark.pain(12)
def test_nothing_starts_before_the_first_result_is_asked_for() -> None:
    """A lazy map that nobody reads costs nothing."""
    touched: list[int] = []
    run = parallel_imap(touched.append, (touched.append(n) or n for n in range(3)))
    run.close()
    assert touched == []


@pytest.mark.pain(12)
@pytest.mark.parametrize("way", LAZY)
def test_items_and_values_are_let_go_once_their_result_is(way: Callable[..., Any]) -> None:
    """Neither the run nor its threads keep what was handed out, so that memory stays flat."""

    class Thing:
        pass

    things: list[weakref.ref[Thing]] = []

    def made(number: int) -> Thing:
        thing = Thing()
        things.append(weakref.ref(thing))
        return thing

    def work(item: Thing) -> Thing:
        return made(0)

    gc.collect()
    gc.disable()
    try:
        alive = []
        for result in way(work, (made(n) for n in range(400)), max_workers=4):
            del result
            alive.append(sum(thing() is not None for thing in things))
    finally:
        gc.enable()
    # At most a window of items and of values, and what the threads are busy with.
    assert max(alive) <= 2 * (4 * 8) + 16
    assert not [thing for thing in things if thing() is not None]


@pytest.mark.pain(12)
def test_failures_are_let_go_once_their_result_is() -> None:
    """An error and the frame that raised it must not keep each other, and the item, alive."""

    class Thing:
        pass

    things = [Thing() for _ in range(20)]
    seen = [weakref.ref(thing) for thing in things]
    gc.collect()
    gc.disable()
    try:
        for result in parallel_imap(fail, iter(things), max_workers=2):
            assert not result.ok
        del result
        things.clear()
        assert not [thing for thing in seen if thing() is not None]
    finally:
        gc.enable()


@pytest.mark.pain(25)
def test_the_input_is_pulled_in_the_callers_thread_alone() -> None:
    """A database cursor belongs to the thread that made it."""
    threads = set()

    def items() -> Iterator[int]:
        for number in range(200):
            threads.add(threading.get_ident())
            yield number

    parallel_map(double, items(), max_workers=8)
    list(parallel_imap(double, items(), max_workers=8))
    assert threads == {threading.get_ident()}


def test_a_slow_input_holds_no_finished_result_back() -> None:
    """While the input makes its reader wait, results that are there are handed out, long before the window is full."""
    pulled = [0]

    def items() -> Iterator[int]:
        for number in range(16):
            pulled[0] += 1
            threading.Event().wait(0.03)  # an input that takes its time
            yield number

    with parallel_imap_unordered(double, items(), max_workers=8) as run:
        next(run)
        assert pulled[0] < 16


# --- Errors -----------------------------------------------------------------------------------------------------------


@pytest.mark.pain(5)
@pytest.mark.pain(6)
def test_a_failure_stays_with_its_item() -> None:
    """By default nothing is raised: the others have their values, the failed one has its own error."""
    batch = parallel_map(lambda item: 1 // item, [1, 0, 1])
    assert [result.ok for result in batch] == [True, False, True]
    assert isinstance(batch[1].error, ZeroDivisionError)
    with pytest.raises(ZeroDivisionError):
        batch[1].unwrap()


@pytest.mark.pain(5)
def test_asking_for_all_values_raises_with_all_results() -> None:
    """The error carries what is finished, and names the first failure."""
    batch = parallel_map(lambda item: 1 // item, [1, 0, 0])
    with pytest.raises(BatchError, match="2 of 3") as caught:
        batch.values()
    assert caught.value.results is batch
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


@pytest.mark.pain(6)
def test_a_batch_in_which_all_failed_is_not_taken_for_success() -> None:
    """It says so wherever it is looked at."""
    batch = parallel_map(fail, [1, 2])
    assert not batch.ok
    assert "2 failed" in repr(batch)
    with pytest.raises(BatchError):
        batch.values()


@pytest.mark.pain(5)
@pytest.mark.parametrize("way", ALL)
def test_raise_ends_the_run_with_the_items_own_error(way: Callable[..., Any]) -> None:
    """`on_error="raise"`: the first failure comes out as it was."""
    with pytest.raises(KeyError, match="here"):
        list(way(lambda item: fail("here") if item == 3 else item, range(100), max_workers=2, on_error="raise"))


@pytest.mark.pain(5)
def test_what_is_finished_is_kept_when_a_failure_is_raised() -> None:
    """The error has the results so far as its `batch`."""
    with pytest.raises(KeyError) as caught:
        parallel_map(lambda item: fail(item) if item == 3 else item, range(4), max_workers=1, on_error="raise")
    batch = caught.value.batch  # type: ignore[attr-defined]  # the run that it ended put it there
    assert isinstance(batch, ItemBatch)
    assert [result.index for result in batch if result.ok] == [0, 1, 2]
    assert [result.index for result in batch.failures()] == [3]


@pytest.mark.parametrize("workers", [1, 4])
@pytest.mark.parametrize("way", ALL)
def test_stop_starts_nothing_after_the_first_failure(way: Callable[..., Any], workers: int) -> None:
    """`on_error="stop"`: what waits in the window is not started either, and each of those items is told why."""
    started: list[int] = []
    together = threading.Barrier(workers)

    def work(item: int) -> int:
        started.append(item)
        if item < workers:
            together.wait(PATIENCE)
        if item == 0:
            raise KeyError(item)
        if workers > 1:
            failed.wait(PATIENCE)
        return item

    failed = threading.Event()

    def on_result(result: ItemResult[int, int]) -> None:
        if result.index == 0:
            failed.set()

    results = list(way(work, list(range(100)), max_workers=workers, on_error="stop", on_result=on_result))
    # The worker that failed may already have begun one more by the time the caller's thread hears of it.
    assert len(started) <= workers + 1
    finished = [result.index for result in results if result.ok]
    assert set(finished) <= set(started)
    for result in results:
        if not result.ok and result.index:
            assert isinstance(result.error, CancelledError)
            assert "item 0" in str(result.error)
            assert result.attempts == 0
    if way is parallel_map:
        assert [result.index for result in results] == list(range(100))


def test_max_errors_bounds_how_many_may_fail() -> None:
    """With so many failures nothing new is started; before that, everything is."""
    batch = parallel_map(lambda item: fail(item) if item % 2 else item, list(range(100)), max_workers=1, max_errors=3)
    own = [result for result in batch if isinstance(result.error, KeyError)]
    assert 3 <= len(own) <= 4
    assert len(batch) == 100
    assert parallel_map(fail, [1, 2], max_errors=3)[1].attempts == 1


@pytest.mark.parametrize("raised", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_an_exception_that_is_no_error_of_an_item_ends_the_run(raised: type[BaseException]) -> None:
    """SystemExit in a worker is not swallowed as an item's failure."""

    def work(item: int) -> int:
        if item == 2:
            raise raised
        return item

    with pytest.raises(raised) as caught:
        parallel_map(work, range(100), max_workers=1)
    assert len(caught.value.batch) >= 2  # type: ignore[attr-defined]  # the run that it ended put it there


@pytest.mark.pain(5)
def test_an_exception_of_the_input_comes_out_with_what_is_finished() -> None:
    """A broken generator ends the run; paid work is kept."""

    def items() -> Iterator[int]:
        yield from range(20)
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="disk") as caught:
        parallel_map(double, items(), max_workers=1)
    assert [result.value for result in caught.value.batch][:2] == [0, 2]  # type: ignore[attr-defined]  # the run that it ended put it there


@pytest.mark.pain(5)
@pytest.mark.parametrize("workers", [1, 4])
@pytest.mark.parametrize("way", LAZY)
def test_an_input_that_breaks_costs_nothing_that_was_asked(way: Callable[..., Any], workers: int) -> None:
    """What was pulled before it is handed out, and its own error raised then; afterwards the run is over."""

    def items() -> Iterator[int]:
        yield from range(20)
        raise OSError("the cursor dropped")

    run = way(double, items(), max_workers=workers)
    taken: list[ItemResult[int, int]] = []
    with pytest.raises(OSError, match="dropped"):
        taken.extend(run)
    assert sorted(result.value for result in taken) == [2 * number for number in range(20)]
    assert list(run) == []


def test_an_input_that_breaks_leaves_the_whole_rest_in_the_errors_batch() -> None:
    """What was in flight is waited for."""
    broken = threading.Event()

    def items() -> Iterator[int]:
        yield from range(4)
        broken.set()
        raise OSError("the cursor dropped")

    with pytest.raises(OSError, match="dropped") as caught:
        parallel_map(lambda item: broken.wait(PATIENCE) and item, items(), max_workers=4)
    assert [result.value for result in caught.value.batch] == [0, 1, 2, 3]  # type: ignore[attr-defined]  # the run that it ended put it there


@pytest.mark.parametrize("error", [StopIteration, StopAsyncIteration])
@pytest.mark.parametrize("way", ALL)
def test_a_function_that_raises_stop_iteration_ends_no_loop(way: Callable[..., Any], error: type[Exception]) -> None:
    """As in a generator it becomes a RuntimeError, both as a result's error and where it is raised."""

    def work(item: int) -> int:
        if item == 2:
            raise error("mine")
        return item

    results = sorted(way(work, range(4), max_workers=1), key=lambda result: result.index)
    assert [result.value for result in results] == [0, 1, None, 3]
    assert isinstance(results[2].error, RuntimeError)
    assert isinstance(results[2].error.__cause__, error)
    with pytest.raises(RuntimeError, match=f"item 2 raised {error.__name__}"):
        [result.unwrap() for result in results]
    with pytest.raises(RuntimeError, match=f"item 2 raised {error.__name__}"):
        list(way(work, range(4), max_workers=1, on_error="raise"))


@pytest.mark.parametrize("keyword", ["on_result", "progress"])
@pytest.mark.parametrize("way", ALL)
def test_a_callback_that_raises_stop_iteration_ends_no_loop(way: Callable[..., Any], keyword: str) -> None:
    """`on_result=` and `progress=` run inside the loop; their StopIteration is not taken for its end."""

    def callback(_: Any) -> None:
        next(iter(()))

    with pytest.raises(RuntimeError, match="StopIteration") as caught:
        list(way(double, range(4), max_workers=1, **{keyword: callback}))
    assert isinstance(caught.value.__cause__, StopIteration)


def test_an_exception_of_on_result_comes_out_with_what_is_finished() -> None:
    """The caller's own mistake is not swallowed."""

    def on_result(result: ItemResult[int, int]) -> None:
        if result.index == 2:
            raise OSError("no space")

    with pytest.raises(OSError, match="no space") as caught:
        parallel_map(double, range(10), max_workers=1, on_result=on_result)
    assert {result.index for result in caught.value.batch} >= {0, 1, 2}  # type: ignore[attr-defined]  # the run that it ended put it there


def test_on_result_sees_each_result_once_in_the_callers_thread() -> None:
    """For checkpoints and logs."""
    seen: list[tuple[int, int]] = []
    batch = parallel_map(double, range(50), on_result=lambda result: seen.append((result.index, threading.get_ident())))
    assert sorted(seen) == [(result.index, threading.get_ident()) for result in batch]


@pytest.mark.parametrize(
    "keywords",
    [
        {"max_workers": 0},
        {"max_workers": -1},
        {"max_workers": 2.5},
        {"max_workers": True},
        {"max_workers": None},
        {"max_errors": 0},
        {"max_errors": True},
        {"on_error": "ignore"},
        {"on_error": None},
        {"run_deadline": "soon"},
        {"run_deadline": float("nan")},
    ],
)
@pytest.mark.parametrize("way", ALL)
def test_a_keyword_that_makes_no_sense_is_refused_before_anything_starts(way: Callable[..., Any], keywords: Any) -> None:
    """The message names it."""
    called: list[int] = []
    with pytest.raises(ConfigurationError, match=next(iter(keywords))):
        way(called.append, [1], **keywords)
    assert called == []


# --- Ending early -----------------------------------------------------------------------------------------------------


def test_leaving_the_loop_starts_nothing_more() -> None:
    """What waits in the window is dropped."""
    started: list[int] = []
    for _ in parallel_imap(lambda item: started.append(item), range(1000), max_workers=2):
        break
    gc.collect()
    for thread in threading.enumerate():
        if thread.name.startswith("responder_"):
            thread.join(PATIENCE)
    assert len(started) < 50


@pytest.mark.pain(3)
def test_no_thread_is_left_when_a_map_has_ended() -> None:
    """Workers end with their run."""
    parallel_map(double, range(100), max_workers=8)
    list(parallel_imap(double, range(100), max_workers=8))
    with parallel_imap(double, itertools.count(), max_workers=8) as run:
        next(run)
    for thread in threading.enumerate():
        if thread.name.startswith("responder_"):
            thread.join(PATIENCE)
            assert not thread.is_alive()


@pytest.mark.pain(2)
def test_the_run_ends_at_its_deadline_though_a_function_hangs() -> None:
    """The item that hangs is reported; those that finished are kept."""
    release = threading.Event()

    def work(item: int) -> int:
        if item == 1:
            release.wait(PATIENCE)
        return item

    begin = time.monotonic()
    try:
        batch = parallel_map(work, range(5), max_workers=2, run_deadline=0.3)
        assert time.monotonic() - begin < PATIENCE - 10
    finally:
        release.set()
    assert [result.index for result in batch] == list(range(5))
    assert isinstance(batch[1].error, DeadlineExceededError)
    assert batch[0].ok


def test_a_cancelled_run_reports_every_item() -> None:
    """Another thread cancels: the rest has a CancelledError with the reason."""
    token = CancelToken()

    def work(item: int) -> int:
        if item == 5:
            token.cancel("the user went away")
        return item

    batch = parallel_map(work, list(range(100)), max_workers=1, cancel=token)
    assert [result.index for result in batch] == list(range(100))
    late = [result for result in batch if not result.ok]
    assert len(late) >= 90
    assert all(isinstance(result.error, CancelledError) and "went away" in str(result.error) for result in late)


def test_a_run_under_a_cancelled_token_does_nothing() -> None:
    """And says so for each item."""
    token, called = CancelToken(), []
    token.cancel("too late")
    batch = parallel_map(called.append, [1, 2, 3], cancel=token)
    assert called == []
    assert [str(result.error) for result in batch] == ["not finished: too late"] * 3


def test_a_token_outlives_its_runs() -> None:
    """A token that serves many maps does not collect what belongs to those that have ended."""
    token = CancelToken()
    for _ in range(5):
        parallel_map(double, [1, 2], cancel=token)
        parallel_imap(double, [1, 2], cancel=token).close()
    assert not token._callbacks


@pytest.mark.parametrize("way", LAZY)
def test_cancel_on_the_run_itself_wakes_a_caller_that_waits(way: Callable[..., Any]) -> None:
    """`run.cancel()` from another thread ends the loop, though a function hangs."""
    release, inside = threading.Event(), threading.Event()

    def work(item: int) -> None:
        inside.set()
        release.wait(PATIENCE)

    run = way(work, range(3), max_workers=1)

    def cancel() -> None:
        inside.wait(PATIENCE)
        run.cancel("enough")

    thread = threading.Thread(target=cancel)
    thread.start()
    begin = time.monotonic()
    try:
        results = list(run)
        assert time.monotonic() - begin < PATIENCE - 10
    finally:
        release.set()
        thread.join(PATIENCE)
    assert results
    assert all("enough" in str(result.error) for result in results)


def test_nothing_is_handed_out_after_the_close() -> None:
    """Not even results that were ready: the reader has left."""
    last = threading.Event()

    def work(item: int) -> None:
        if item == 7:
            last.set()
        elif item == 1:
            last.wait(PATIENCE)  # meanwhile the results behind it come in

    run = parallel_imap(work, range(8), max_workers=2)
    assert [next(run).index, next(run).index] == [0, 1]
    run.close()
    assert list(run) == []


def test_a_run_that_has_ended_stays_ended() -> None:
    """Iterators say StopIteration again and again; closing twice is harmless."""
    run = parallel_imap(double, [1])
    assert len(list(run)) == 1
    assert list(run) == []
    run.close()
    run.close()


# --- Surroundings -----------------------------------------------------------------------------------------------------


def test_maps_may_be_nested() -> None:
    """Each map has its own workers: a map inside a worker cannot starve."""
    batch = parallel_map(lambda n: sum(parallel_map(double, range(n), max_workers=2).values()), range(20), max_workers=4)
    assert batch.values() == [sum(range(n)) * 2 for n in range(20)]


@pytest.mark.pain(25)
def test_context_variables_of_the_caller_are_seen_by_the_workers() -> None:
    """Traces, locales and request ids of the web framework are carried along, as they stand when the item is started."""
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="none")

    def items() -> Iterator[int]:
        for number in range(20):
            variable.set(f"item {number}")
            yield number

    batch = parallel_map(lambda number: variable.get(), items(), max_workers=4)
    assert batch.values() == [f"item {number}" for number in range(20)]


def test_a_context_variable_set_by_a_worker_stays_there() -> None:
    """One item's setting is not seen by the next."""
    variable: contextvars.ContextVar[int] = contextvars.ContextVar("variable", default=-1)

    def work(number: int) -> int:
        before = variable.get()
        variable.set(number)
        return before

    assert parallel_map(work, range(20), max_workers=1).values() == [-1] * 20


@pytest.mark.pain(14)
def test_a_map_works_inside_a_running_event_loop() -> None:
    """A notebook's kernel runs one; there is no loop of ours to clash with it."""

    async def main() -> list[int]:
        return parallel_map(double, range(5)).values()

    assert asyncio.run(main()) == [0, 2, 4, 6, 8]


def test_two_threads_may_map_at_once() -> None:
    """Runs share nothing."""
    results: list[list[int]] = []
    threads = [threading.Thread(target=lambda: results.append(parallel_map(double, range(200)).values())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert results == [[2 * number for number in range(200)]] * 4


def test_a_providers_refusal_of_one_item_does_not_end_a_map_over_several_providers() -> None:
    """What is fatal for a run with one key says nothing about the other items of a function's map."""

    def ask(number: int) -> int:
        if number == 0:
            raise ConfigurationError("no key for this one", fatal=True)
        return number

    batch = parallel_map(ask, range(20), max_workers=2)

    assert [result.index for result in batch.failures()] == [0]


@pytest.mark.parametrize("step", range(1, 40, 3))
def test_an_interrupt_between_any_two_steps_loses_no_result(step: int) -> None:
    """Ctrl-C comes wherever the main thread is, also while it has a result in hand that is written down nowhere."""
    left, begun, go = step, threading.Event(), threading.Event()
    done: list[int] = []

    def work(item: int) -> int:
        if item == 3:
            begun.set()  # so the three before it are finished
            go.wait(PATIENCE)
        done.append(item)
        return item

    def interrupt(frame: Any, event: str, _argument: Any) -> Any:
        nonlocal left
        if event == "line" and frame.f_code.co_filename.endswith(("parallel.py", "mapping.py")) and done:
            left -= 1
            if left == 0:
                if not begun.wait(0.02):
                    left = 1  # the fourth was not handed out: further on
                    return interrupt
                go.set()
                sys.settrace(before)
                raise KeyboardInterrupt
        return interrupt

    before = sys.gettrace()
    sys.settrace(interrupt)
    try:
        with pytest.raises(KeyboardInterrupt) as caught:
            parallel_map(work, range(4), max_workers=1, progress=False)
    finally:
        sys.settrace(before)
    assert {0, 1, 2} <= {result.item for result in caught.value.batch if result.ok}  # type: ignore[attr-defined]  # the run that it ended put it there
