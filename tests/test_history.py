"""What a run did: nothing is lost or counted twice, times are true, and memory does not grow with the run."""

from __future__ import annotations

import json
import math
import pickle
import threading
import tracemalloc
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from responder.report.histogram import Histogram
from responder.report.history import MOST_SPANS, History
from responder.report.record import ANSWERED, BACKOFF, ENDED, FAILED, LIMITED, STATES
from responder.report.timeline import COLUMNS, ROWS, Timeline
from responder.values.answer import Usage
from responder.values.errors import APITimeoutError, CancelledError, RateLimitError
from responder.values.summary import Summary, dollars
from responder.values.trace import Attempt, Trace


class Clock:
    """A clock that stands until it is set."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def attempt(queued: float, sent: float, ended: float, cause: str = "") -> Attempt:
    return Attempt(1000.0 + queued, 1000.0 + sent, 1000.0 + ended, cause)


def trace(*made: Attempt, started: float = 0.0, limited: float = 0.0, waited: float | None = None, **more: Any) -> Trace:
    waited = limited if waited is None else waited
    return Trace(len(made), waited, limited, 1000.0 + started, list(made), **more)


@pytest.fixture
def clock() -> Clock:
    """A clock that stands at 1000."""
    return Clock()


@pytest.fixture
def history(clock: Clock) -> History:
    """What a run of four workers did, from the moment 1000 on."""
    return History(4, "openai:m", clock)


def spans(history: History) -> list[tuple[Any, ...]]:
    """Return the spans as (state, start, end, attempt, cause)."""
    found = history.record().spans
    assert found is not None
    return [(span.state, round(span.start, 6), round(span.end, 6), span.number, span.cause) for span in found]


# What became of each item


causes = st.sampled_from(["", "", "", "429", "503", "timeout", "connection", "hedged", "cancelled"])
seconds = st.floats(0, 100, allow_nan=False).map(lambda value: round(value, 3))


@st.composite
def items(draw: st.DrawFn) -> tuple[Trace, Exception | None, bool]:
    """One item's trace, its error, and whether its answer was cut."""
    moment, made = draw(seconds), []
    done = Trace(started=1000.0 + moment)
    for _ in range(draw(st.integers(0, 4))):
        pause, wait, took = draw(seconds), draw(seconds), draw(seconds)
        queued = moment + (pause if made else 0.0)
        made.append(attempt(queued, queued + wait, queued + wait + took, draw(causes)))
        done.waited += wait + (pause if len(made) > 1 else 0.0)
        done.limited += wait
        moment = queued + wait + took
    done.made, done.attempts = made, len(made)
    if made and draw(st.booleans()):
        done.usage = Usage(draw(st.integers(0, 999)), draw(st.integers(0, 999)), 1, 2, known=True)
        done.cost, done.priced = draw(seconds), draw(st.booleans())
    error = draw(st.sampled_from([None, None, RateLimitError("no"), CancelledError("no")]))
    return done, error, error is None and draw(st.booleans())


@settings(deadline=None)
@given(st.lists(items(), max_size=80), st.randoms())
def test_the_summary_adds_up_all_traces_in_any_order(entries: list[tuple[Trace, Exception | None, bool]], random: Any) -> None:
    """Every count, second, token and dollar of every item is in it once."""
    random.shuffle(entries)
    clock = Clock()
    history = History(4, clock=clock)
    for index, (done, error, truncated) in enumerate(entries):
        ends = [made.ended for made in done.made] or [done.started]
        clock.now = max(clock.now, *ends)
        history.add(index, done, error, truncated)
    found = history.summary()
    traces = [done for done, _, _ in entries]
    made = [one for done in traces for one in done.made]
    assert found.items == len(entries)
    over = sum(isinstance(error, CancelledError) and not trace.attempts for trace, error, _ in entries)
    assert (found.failed, found.not_sent) == (sum(error is not None for _, error, _ in entries) - over, over)
    assert found.ok == found.items - found.failed - found.not_sent
    assert found.truncated == sum(truncated for _, _, truncated in entries)
    assert found.errors == Counter(type(error).__name__ for _, error, _ in entries if error is not None)
    assert found.attempts == len(made)
    assert found.reused == sum(error is None and not done.attempts for done, error, _ in entries)
    assert found.causes == Counter(one.cause for one in made if one.cause)
    assert sum(found.repeats.values()) <= sum(found.causes.values())
    assert found.waited == pytest.approx(sum(done.waited for done in traces))
    assert found.limited == pytest.approx(sum(done.limited for done in traces))
    assert found.limited + found.backoff == pytest.approx(found.waited)
    assert found.server == pytest.approx(sum(one.ended - one.sent for one in made))
    assert found.wall == pytest.approx(clock.now - 1000.0 if entries else 0.0)
    assert found.usage == sum((done.usage for done in traces), Usage())
    if all(done.priced for done in traces):
        assert found.cost == pytest.approx(sum(done.cost for done in traces))
    else:
        assert found.cost is None


def test_items_that_took_no_request_are_told_apart(history: History, clock: Clock) -> None:
    """An answer out of a checkpoint is counted, and has no part in the times of answers."""
    clock.now += 2
    history.add(0, trace(attempt(0, 0, 2)), None, False)
    for index in range(1, 10):
        history.add(index, trace(started=2), None, False)
    found = history.summary()
    assert (found.items, found.ok, found.reused, found.attempts) == (10, 10, 9, 1)
    assert found.p50 == pytest.approx(2, rel=0.01)
    assert len(spans(history)) == 1


def test_only_what_was_followed_by_another_request_is_a_repeat(history: History, clock: Clock) -> None:
    """The last failure of a prompt that failed is the end of it; in an answered prompt every failure was repeated."""
    clock.now += 9
    history.add(0, trace(attempt(0, 0, 1, "429"), attempt(2, 2, 3, "429"), attempt(4, 4, 5)), None, False)
    history.add(1, trace(attempt(0, 0, 1, "429"), attempt(2, 2, 9, "timeout")), APITimeoutError("no"), False)
    found = history.summary()
    assert found.causes == {"429": 3, "timeout": 1}
    assert found.repeats == {"429": 3}


# The time line


def test_a_call_is_drawn_with_its_waits_and_failures(history: History, clock: Clock) -> None:
    """Wait on limits, refused, wait between attempts, answered."""
    clock.now += 10
    history.add(0, trace(attempt(0, 1, 2, "429"), attempt(5, 6, 10), waited=5, limited=2), None, False)
    assert spans(history) == [
        (LIMITED, 0, 1, 1, ""),
        (FAILED, 1, 2, 1, "429"),
        (BACKOFF, 2, 5, 2, ""),
        (LIMITED, 5, 6, 2, ""),
        (ANSWERED, 6, 10, 2, ""),
    ]


def test_a_call_that_gave_up_while_it_waited_shows_the_wait(history: History, clock: Clock) -> None:
    """A deadline that passes in the queue, after an attempt or before any, leaves no hole."""
    clock.now += 10
    history.add(0, trace(attempt(0, 0, 2, "429"), waited=8, limited=5), RateLimitError("no"), False)
    history.add(1, trace(started=4, limited=6), RateLimitError("no"), False)
    assert spans(history) == [(FAILED, 0, 2, 1, "429"), (BACKOFF, 2, 5, 2, ""), (LIMITED, 5, 10, 2, ""), (LIMITED, 4, 10, 1, "")]


def test_two_requests_that_raced_are_drawn_side_by_side(history: History, clock: Clock) -> None:
    """The second one began while the first was under way: there is no wait between them, and the loser is no failure."""
    clock.now += 6
    history.add(0, trace(attempt(5, 5, 6), attempt(0, 0, 6, "hedged")), None, False)
    assert spans(history) == [(ENDED, 0, 6, 1, "hedged"), (ANSWERED, 5, 6, 2, "")]


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 300), st.integers(0, STATES - 1), st.floats(0, 1e6), st.floats(0, 1e4)), max_size=60),
)
def test_no_second_is_lost_when_the_time_line_makes_room(added: list[tuple[int, int, float, float]]) -> None:
    """Columns twice as wide and rows of twice as many workers hold the same seconds of each state."""
    timeline = Timeline()
    expected = [0.0] * STATES
    for lane, state, start, length in added:
        timeline.item_ended(False, start + length)
        timeline.add(lane, state, start, start + length)
        expected[state] += length
    rows = timeline.levels(COLUMNS)
    for state in range(STATES):
        found = sum(sum(row[state]) for row in rows) * timeline.width
        assert found == pytest.approx(expected[state], rel=1e-6, abs=1e-3)
    assert len(rows) <= ROWS
    assert sum(timeline.ends(COLUMNS)[0]) == len(added)


def test_a_column_knows_what_part_of_it_was_used() -> None:
    """A worker that was busy from 0.25 to 0.75 of a column is half a worker there, and stays so beside an empty column."""
    timeline = Timeline()
    width = timeline.width
    timeline.add(0, ANSWERED, 2.25 * width, 2.75 * width)
    timeline.add(0, ANSWERED, 4 * width, 6.5 * width)
    assert list(timeline.levels(8)[0][ANSWERED]) == pytest.approx([0, 0, 0.5, 0, 1, 1, 0.5, 0])
    timeline.item_ended(False, COLUMNS * width)
    assert timeline.width == 2 * width
    assert list(timeline.levels(4)[0][ANSWERED]) == pytest.approx([0, 0.25, 1, 0.25])


def test_every_worker_has_a_row_until_there_are_too_many(clock: Clock) -> None:
    """Then a row stands for several, and none is left out."""
    history = History(200, clock=clock)
    everybody = threading.Barrier(200)
    clock.now += 1

    def work(index: int) -> None:
        everybody.wait(60)
        history.add(index, trace(attempt(0, 0, 1)), None, False)

    threads = [threading.Thread(target=work, args=(index,)) for index in range(200)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    record = history.record()
    assert record.lanes == 200
    assert record.lanes_in_row == 4
    assert len(record.rows) == 50
    assert all(row[ANSWERED][0] == pytest.approx(4) for row in record.rows)


# Times


@settings(deadline=None)
@given(st.lists(st.floats(1e-5, 1e6), min_size=1, max_size=300), st.integers(1, 100))
def test_a_percentile_is_within_one_percent(values: list[float], percent: int) -> None:
    """Of the smallest value that so many percent of the values do not exceed."""
    histogram = Histogram()
    for value in values:
        histogram.add(value)
    exact = sorted(values)[max(0, math.ceil(len(values) * percent / 100) - 1)]
    assert histogram.percentile(percent) == pytest.approx(exact, rel=0.01)
    assert sum(bar.height for bar in histogram.bars()) == len(values)
    assert all(bar.low < bar.high for bar in histogram.bars())


def test_no_values_have_a_percentile_of_zero() -> None:
    """As a run without an answer."""
    assert Histogram().percentile(50) == 0.0


# Threads, memory, pickles


def test_workers_that_add_at_once_lose_nothing() -> None:
    """32 threads, while another one reads: every item is counted once."""
    history, each = History(32), 2000
    everybody = threading.Barrier(32)

    def work(worker: int) -> None:
        everybody.wait(60)
        for index in range(each):
            done = Trace(attempts=1, usage=Usage(1, 2, known=True), cost=0.5)
            done.made.append(Attempt(done.started, done.started, done.started, "429" if index % 10 == 0 else ""))
            history.add(worker * each + index, done, RateLimitError("no") if index % 10 == 0 else None, False)

    with ThreadPoolExecutor(32) as pool:
        running = [pool.submit(work, worker) for worker in range(32)]
        before = 0
        while not all(future.done() for future in running):
            now = history.summary().items
            assert now >= before
            before = now
        for future in running:
            future.result()
    found = history.summary()
    assert found.items == found.attempts == 32 * each
    assert found.causes == {"429": 32 * each // 10}
    assert found.errors == {"RateLimitError": 32 * each // 10}
    assert found.usage == Usage(32 * each, 64 * each, known=True)
    assert found.cost == 16 * each
    assert found.repeats == {}


@pytest.mark.pain(12)
def test_memory_does_not_grow_with_the_run(clock: Clock) -> None:
    """What a run of any length did takes no more memory than at its start, once single requests are too many to show."""
    history, part = History(4, clock=clock), 5000
    sizes = []
    tracemalloc.start()
    try:
        for index in range(5 * part):
            clock.now += 0.25
            moment = clock.now - 1000.0
            made = [attempt(moment - 1, moment - 0.9, moment - 0.8, "429"), attempt(moment - 0.5, moment - 0.5, moment)]
            history.add(index, trace(*made, started=moment - 1, waited=0.4, limited=0.1), None, False)
            if index % part == part - 1:
                assert history.summary().items == index + 1
                sizes.append(tracemalloc.get_traced_memory()[0])
    finally:
        tracemalloc.stop()
    assert max(sizes) < 15_000_000
    assert sizes[-1] - sizes[1] < 100_000
    assert 4 * part == MOST_SPANS
    assert history.record().spans is None


def test_any_number_of_items_is_taken_in(clock: Clock) -> None:
    """Also in one thread, and over months."""
    history, done = History(4, clock=clock), trace(attempt(0, 0, 1))
    for index in range(200_000):
        clock.now = 1001.0 + 50 * index
        history.add(index, done, None, False)
    assert history.summary().items == 200_000
    assert history.record().width * COLUMNS >= 10_000_000


def test_a_history_travels_in_a_pickle(history: History, clock: Clock) -> None:
    """Small, with all that it knows, and ready to go on."""
    clock.now += 10
    history.add(0, trace(attempt(0, 1, 2, "429"), attempt(5, 6, 10), limited=2), None, True)
    history.add(1, trace(attempt(0, 0, 3, "503")), RateLimitError("no"), False)
    packed = pickle.dumps(history)
    assert len(packed) < 20_000
    copy = pickle.loads(packed)
    assert copy.summary() == history.summary()
    assert copy.record() == history.record()
    copy.add(2, Trace(), None, False)
    assert copy.summary().items == 3


# The summary


def run(**changes: Any) -> Summary:
    """Return the summary of a run of 1,000 prompts that went well, but for what is changed."""
    well = {
        "items": 1000, "ok": 1000, "failed": 0, "truncated": 0, "errors": {}, "attempts": 1000, "waited": 0.0, "p50": 1.0,
        "p95": 1.5, "p99": 2.0, "server": 1000.0, "server_p99": 2.0, "wall": 100.0, "max_workers": 16,
    }  # fmt: skip
    return Summary(**{**well, **changes})


def test_a_run_without_anything_to_change_gets_no_advice() -> None:
    """Silence is the best advice then."""
    assert run().advice == ()


@pytest.mark.parametrize(
    ("changes", "advice"),
    [
        ({"server": 1568.0}, "max_workers=16 was busy 98% of the time and nothing was refused: try max_workers=32"),
        ({"server": 240.0}, "the workers were busy 15% of the time"),
        ({"limited": 2000.0, "wall": 300.0}, "67% of the workers' time was spent waiting on limits"),
        ({"causes": {"429": 40}}, "4% of the requests were refused (429): set Limits(requests_per_minute=...) to about 580"),
        ({"truncated": 12}, "12 answers were cut: raise max_tokens"),
        ({"causes": {"timeout": 30}}, "30 requests hit their timeout, while 99% of the answered ones came within 2 s"),
        (
            {"causes": {"500": 60, "connection": 40}},
            "10% of the requests failed at the provider or in the network: fallbacks=[...]",
        ),
        ({"errors": {"DeadlineExceededError": 7}}, "7 prompts passed a deadline: raise it"),
        ({"errors": {"BudgetExceededError": 70}}, "70 prompts did not fit in the budget: raise budget"),
        ({"p99": 9.0}, "one in a hundred took 9 s or more: hedge=0.02"),
    ],
)
def test_advice_names_the_setting_to_change_next(changes: dict[str, Any], advice: str) -> None:
    """Each says what was seen, and what to type; nothing else is advised."""
    (found,) = run(**changes).advice
    assert advice in found


@pytest.mark.parametrize(
    "changes",
    [
        {"items": 10, "ok": 10, "attempts": 10, "server": 1.0, "wall": 1.0},
        {"items": 1000, "reused": 995, "attempts": 5, "server": 5.0},
        {"causes": {"hedged": 20, "cancelled": 16}, "p99": 9.0},
        {"max_workers": 0, "wall": 0.0},
    ],
)
def test_no_advice_rests_on_too_little(changes: dict[str, Any]) -> None:
    """A handful of prompts, a run that took nearly all from its checkpoint, what we ended ourselves."""
    assert run(**changes).advice == ()


def test_more_workers_are_not_advised_where_requests_were_refused() -> None:
    """They would only be refused more often."""
    assert not any("try max_workers" in text for text in run(server=1600.0, causes={"429": 100}).advice)


def test_a_summary_is_json_for_programs() -> None:
    """Plain values under the names of the attributes, the advice with them."""
    summary = run(
        errors={"RateLimitError": 2}, usage=Usage(5, 6, 1, 2, known=True), cost=0.25, causes={"429": 50}, repeats={"429": 48}
    )
    read = json.loads(summary.to_json())
    assert read == summary.as_dict()
    assert (read["items"], read["p95"], read["cost"], read["rate"]) == (1000, 1.5, 0.25, 10.0)
    assert read["usage"] == {
        "input_tokens": 5, "output_tokens": 6, "cached_input_tokens": 1, "reasoning_tokens": 2, "known": True,
    }  # fmt: skip
    assert read["repeats"] == {"429": 48}
    assert len(read["advice"]) == 1
    assert set(read) == (set(Summary.__slots__) | {"rate", "advice"})


@pytest.mark.pain(6)
def test_a_summary_reads_well() -> None:
    """What failed, what was repeated and why, where the time went, what it cost, and what to do."""
    text = str(
        run(
            items=1200,
            failed=3,
            reused=200,
            errors={"RateLimitError": 3},
            causes={"429": 20, "503": 2},
            repeats={"429": 17, "503": 2},
            attempts=1019,
            limited=120.0,
            backoff=20.0,
            truncated=4,
            usage=Usage(123_456, 7_890, known=True),
            cost=1.5,
        )
    )
    assert text.splitlines() == [
        "1,200 prompts: 1,000 answered, 3 failed (3 RateLimitError)",
        "200 answers needed no request: from a checkpoint, a cache or an equal prompt",
        "1,019 requests in 100.0 s, 10.2 a second; 19 were retried (17 429, 2 503)",
        "time, over all workers: 1,000.0 s at the server, 120.0 s waiting on limits, 20.0 s between attempts",
        "answer times: median 1.00 s, 95% within 1.50 s, 99% within 2.00 s",
        "tokens: 123,456 in, 7,890 out; cost: $1.50",
        "4 answers were cut at max_tokens",
        "next: 2% of the requests were refused (429): set Limits(requests_per_minute=...) to about 600, which is the rate that "
        "got through",
        "next: 4 answers were cut: raise max_tokens",
    ]


@pytest.mark.parametrize(("cost", "text"), [(1234.5, "$1,234.50"), (0.25, "$0.25"), (0.0123, "$0.0123"), (0.0000123, "$1.2e-05")])
def test_dollars_are_written_as_people_read_them(cost: float, text: str) -> None:
    """Cents where there are some."""
    assert dollars(cost) == text
