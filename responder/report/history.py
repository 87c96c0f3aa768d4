"""What did a run do, and when? Takes in the trace of each item as it ends, in memory that does not grow with the run.

The time line is kept in columns that become twice as wide when the run outgrows them, so a run of a second and one of a day
take the same space; the single requests are kept, too, as long as they are few enough to be seen. Draws nothing itself.
"""

from __future__ import annotations

import math
import os
import threading
import time
import zlib
from array import array
from collections import Counter, deque
from collections.abc import Callable
from itertools import accumulate
from typing import Any

from responder.report.page import ANSWERED, BACKOFF, ENDED, FAILED, LIMITED, STATES, Bar, Record, Span, write
from responder.values.answer import Usage
from responder.values.summary import ENDED_BY_US, Summary
from responder.values.trace import Attempt, Trace

COLUMNS = 1024
"""How many pieces the time line has; an even number."""

ROWS = 64
"""How many rows the time line has; with more workers than rows, a row stands for several of them."""

MOST_SPANS = 20_000
"""So many single requests and waits are kept; a page could not show more of them."""

# The first columns are so wide, in seconds.
_FINEST = 0.005

# Waits that are shorter, in seconds, are no waits but the time that taking a turn takes.
_SHORTEST_WAIT = 0.001

# Traces are taken in by so many: a lock and a loop for each one would cost as much as the taking in.
_TOGETHER = 64


class Histogram:
    """Counts values in classes that grow by 2 % each, so that a percentile is at most 1 % off whatever the values are.

    Values below 10 microseconds count as such.
    """

    _RATIO = math.log(1.02)
    _LEAST = 1e-5

    def __init__(self) -> None:
        self._counts: dict[int, int] = {}
        self._smallest = math.inf
        self._largest = 0.0

    def add(self, value: float) -> None:
        """Count a value."""
        if value < self._LEAST:
            value = self._LEAST
        number = int(math.log(value / self._LEAST) / self._RATIO)
        self._counts[number] = self._counts.get(number, 0) + 1
        if value < self._smallest:
            self._smallest = value
        if value > self._largest:
            self._largest = value

    def percentile(self, percent: int) -> float:
        """Return a value within 1 % of the smallest one that `percent` of the values do not exceed; 0 of none."""
        wanted = -(-sum(self._counts.values()) * percent // 100)
        for number in sorted(self._counts):
            wanted -= self._counts[number]
            if wanted <= 0:
                return min(max(self._edge(number + 0.5), self._smallest), self._largest)
        return 0.0

    def bars(self) -> list[Bar]:
        """Return the classes that hold something, in order."""
        return [Bar(self._edge(number), self._edge(number + 1), self._counts[number]) for number in sorted(self._counts)]

    def _edge(self, number: float) -> float:
        return self._LEAST * math.exp(number * self._RATIO)


class Timeline:
    """How many workers were in which state, in each column of time and each row of workers.

    A row holds, for each state, the differences between neighbouring columns: a span touches its first and its last column
    only, however long it is, and the running total of the differences is the mean number of workers in the state. Both ways of
    making room, columns twice as wide and rows of twice as many workers, lose nothing but resolution.
    """

    def __init__(self) -> None:
        self.width = _FINEST  # seconds of a column
        self.lanes_in_row = 1
        self._rows: list[list[array[float] | None]] = []  # None: nobody was in that state
        self._ends = [_zeros(), _zeros()]  # items that ended in each column: with an answer, with an error

    def add(self, lane: int, state: int, start: float, end: float) -> None:
        """Count a span of a worker; seconds since the start of the run, not before an `item_ended` at or after its end."""
        row = lane // self.lanes_in_row
        while row >= len(self._rows):
            if len(self._rows) == ROWS:
                self._join_rows()
                row = lane // self.lanes_in_row
            else:
                self._rows.append([None] * STATES)
        steps = self._rows[row][state]
        if steps is None:
            steps = self._rows[row][state] = _zeros()
        at = start / self.width
        column = int(at)
        steps[column] += 1.0 - (at - column)
        steps[column + 1] += at - column
        at = end / self.width
        column = int(at)
        steps[column] -= 1.0 - (at - column)
        steps[column + 1] -= at - column

    def item_ended(self, failed: bool, at: float) -> None:
        """Count an item, and make room for what was before its end."""
        while at / self.width >= COLUMNS:
            self._widen()
        self._ends[failed][int(at / self.width)] += 1

    def _widen(self) -> None:
        self.width *= 2
        for row in self._rows:
            row[:] = [None if steps is None else _widened(steps) for steps in row]
        for place, ends in enumerate(self._ends):
            self._ends[place] = _padded(array("d", map(float.__add__, ends[:COLUMNS:2], ends[1:COLUMNS:2])))

    def _join_rows(self) -> None:
        self.lanes_in_row *= 2
        pairs = zip(self._rows[::2], self._rows[1::2], strict=True)
        self._rows = [[_together(one, other) for one, other in zip(*pair, strict=True)] for pair in pairs]

    def levels(self, columns: int) -> list[list[array[float]]]:
        """Return for each row and state how many workers were in it, in each of the first columns."""
        return [[array("d", accumulate((steps or _zeros())[:columns])) for steps in row] for row in self._rows]

    def ends(self, columns: int) -> list[array[float]]:
        """Return how many items ended in each of the first columns: with an answer, with an error."""
        return [ends[:columns] for ends in self._ends]

    def __getstate__(self) -> tuple[float, int, int, bytes]:
        # Most of it is zeros: a pickled batch of four answers shall not weigh a megabyte.
        arrays = [*self._ends, *(steps or _zeros() for row in self._rows for steps in row)]
        return self.width, self.lanes_in_row, len(self._rows), zlib.compress(b"".join(steps.tobytes() for steps in arrays), 1)

    def __setstate__(self, state: tuple[float, int, int, bytes]) -> None:
        self.width, self.lanes_in_row, rows, packed = state
        values = array("d", zlib.decompress(packed))
        arrays = [values[place : place + COLUMNS + 1] for place in range(0, len(values), COLUMNS + 1)]
        self._ends = arrays[:2]
        self._rows = [list(arrays[2 + row * STATES : 2 + (row + 1) * STATES]) for row in range(rows)]


def _zeros() -> array[float]:
    return array("d", bytes(8 * (COLUMNS + 1)))


def _together(one: array[float] | None, other: array[float] | None) -> array[float] | None:
    if one is None or other is None:
        return one or other
    return array("d", map(float.__add__, one, other))


def _widened(steps: array[float]) -> array[float]:
    # The mean of two neighbouring columns, written for differences: half of what is between the pairs goes to each of them.
    between = steps[1::2]
    pieces = zip(steps[::2], [0.0, *between], [*between, 0.0], strict=True)
    return _padded(array("d", [own + (before + after) * 0.5 for own, before, after in pieces]))


def _padded(values: array[float]) -> array[float]:
    return values + array("d", bytes(8 * (COLUMNS + 1 - len(values))))


class History:
    """What a run did: counts, times, tokens, and the time line of its workers.

    Workers add to it while anybody reads. Adding is to append to a deque, which is atomic; whoever finds the lock free takes in
    what has gathered, and nobody waits for it. All else lives behind the lock.

    Args:
        max_workers: The run's.
        title: What was asked, for the page: "provider:model".
        clock: What the moments of the traces are read from.
        worker: Names the worker that adds; each has its line.
    """

    def __init__(
        self,
        max_workers: int,
        title: str = "",
        clock: Callable[[], float] = time.monotonic,
        worker: Callable[[], int] = threading.get_ident,
    ) -> None:
        self.title = title
        self._max_workers = max_workers
        self._clock = clock
        self._worker = worker
        self._begin = clock()
        self._began_at = time.time()
        self._inbox: deque[tuple[int, int, Trace, str, bool, float]] = deque()
        self._lock = threading.Lock()
        self._lanes: dict[int, int] = {}  # of each thread
        self._timeline = Timeline()
        self._spans: list[Span] | None = []  # None once there are too many to show
        self._answer_times = Histogram()
        self._server_times = Histogram()
        self._errors: Counter[str] = Counter()
        self._causes: Counter[str] = Counter()
        self._repeats: Counter[str] = Counter()
        self._items = self._failed = self._truncated = self._reused = self._attempts = 0
        self._input = self._output = self._cached = self._reasoning = self._written = 0
        self._usage_known = False
        self._waited = self._limited = self._server = self._cost = self._wall = 0.0
        self._priced = True

    def add(self, index: int, trace: Trace, error: Exception | None, answer_truncated: bool) -> None:
        """Take in an item that has just ended; to be called in the thread that worked on it.

        Args:
            index: The item's place in the input.
            trace: What was done for it.
            error: Why it failed; None when it did not.
            answer_truncated: Whether its answer was cut at `max_tokens`.
        """
        # Not the error itself, whose traceback keeps a request alive.
        name = "" if error is None else type(error).__name__
        self._inbox.append((self._worker(), index, trace, name, answer_truncated, self._clock()))
        if len(self._inbox) >= _TOGETHER and self._lock.acquire(blocking=False):
            try:
                self._take_in()
            finally:
                self._lock.release()

    def _take_in(self) -> None:
        for _ in range(len(self._inbox)):
            thread, index, trace, error, truncated, ended = self._inbox.popleft()
            now = max(ended - self._begin, 0.0)
            if now > self._wall:
                self._wall = now
            self._items += 1
            self._attempts += trace.attempts
            self._waited += trace.waited
            self._limited += trace.limited
            usage = trace.usage
            if usage.known:
                self._usage_known = True
                self._input += usage.input_tokens
                self._output += usage.output_tokens
                self._cached += usage.cached_input_tokens
                self._reasoning += usage.reasoning_tokens
                self._written += usage.cache_write_tokens
            self._cost += trace.cost
            self._priced = self._priced and trace.priced
            if error:
                self._failed += 1
                self._errors[error] += 1
            elif trace.attempts:
                self._answer_times.add(ended - trace.started)
            else:
                self._reused += 1
            self._truncated += truncated
            self._timeline.item_ended(bool(error), now)
            if trace.made or (error and trace.limited > _SHORTEST_WAIT):
                self._draw(thread, index, trace, error, now)

    def _draw(self, thread: int, index: int, trace: Trace, error: str, now: float) -> None:
        """Add an item's attempts and waits to the time line."""
        lane = self._lanes.setdefault(thread, len(self._lanes))
        begin = self._begin
        made = trace.made
        if len(made) > 1:
            made = sorted(made, key=_sent)  # of two that raced, the first one may have ended last
        limited = 0.0
        cursor = trace.started - begin
        for number, attempt in enumerate(made, 1):
            queued, sent, ended, cause = attempt.queued - begin, attempt.sent - begin, attempt.ended - begin, attempt.cause
            if number > 1 and queued - cursor > _SHORTEST_WAIT:
                self._add_span(lane, BACKOFF, cursor, queued, now, index, number, "")
            if sent - queued > _SHORTEST_WAIT:
                limited += sent - queued
                self._add_span(lane, LIMITED, queued, sent, now, index, number, "")
            self._server += ended - sent
            if not cause:
                state = ANSWERED
                self._server_times.add(ended - sent)
            else:
                state = ENDED if cause in ENDED_BY_US else FAILED
                self._causes[cause] += 1
                if number < len(made) or not error:
                    self._repeats[cause] += 1
            self._add_span(lane, state, sent, ended, now, index, number, cause)
            if ended > cursor:
                cursor = ended
        if not error or now - cursor <= _SHORTEST_WAIT:
            return
        # It gave up while it waited. How long on limits, the trace knows; the time before that was between attempts.
        waiting = max(now - max(trace.limited - limited, 0.0), cursor)
        if made and waiting - cursor > _SHORTEST_WAIT:
            self._add_span(lane, BACKOFF, cursor, waiting, now, index, len(made) + 1, "")
        if now - waiting > _SHORTEST_WAIT:
            self._add_span(lane, LIMITED, waiting, now, now, index, len(made) + 1, "")

    def _add_span(self, lane: int, state: int, start: float, end: float, now: float, index: int, number: int, cause: str) -> None:
        # A trace may have begun before the run's history did, and two clocks' readings may differ in their last digit.
        end = min(max(end, 0.0), now)
        start = min(max(start, 0.0), end)
        self._timeline.add(lane, state, start, end)
        if self._spans is not None:
            if len(self._spans) < MOST_SPANS:
                self._spans.append(Span(lane, state, start, end, index, number, cause))
            else:
                self._spans = None

    def summary(self) -> Summary:
        """Return the run in numbers, at any time."""
        with self._lock:
            self._take_in()
            return self._summary()

    def _summary(self) -> Summary:
        return Summary(
            items=self._items,
            ok=self._items - self._failed,
            failed=self._failed,
            truncated=self._truncated,
            errors=dict(self._errors),
            attempts=self._attempts,
            waited=self._waited,
            p50=self._answer_times.percentile(50),
            p95=self._answer_times.percentile(95),
            p99=self._answer_times.percentile(99),
            usage=Usage(self._input, self._output, self._cached, self._reasoning, self._usage_known, self._written),
            reused=self._reused,
            causes=dict(self._causes),
            repeats=dict(self._repeats),
            limited=self._limited,
            backoff=max(self._waited - self._limited, 0.0),
            server=self._server,
            server_p99=self._server_times.percentile(99),
            wall=self._wall,
            max_workers=self._max_workers,
            cost=self._cost if self._priced else None,
        )

    def record(self) -> Record:
        """Return what the page shows, at any time."""
        with self._lock:
            self._take_in()
            columns = min(int(self._wall / self._timeline.width) + 1, COLUMNS)
            return Record(
                title=self.title,
                began_at=self._began_at,
                summary=self._summary(),
                lanes=len(self._lanes),
                lanes_in_row=self._timeline.lanes_in_row,
                width=self._timeline.width,
                rows=self._timeline.levels(columns),
                ends=self._timeline.ends(columns),
                answer_times=self._answer_times.bars(),
                server_times=self._server_times.bars(),
                spans=None if self._spans is None else list(self._spans),
            )

    def report(self, path: str | os.PathLike[str]) -> None:
        """Write the run as one HTML page, at any time.

        Raises:
            ConfigurationError: It cannot be written.
        """
        write(path, self)

    def __getstate__(self) -> dict[str, Any]:
        with self._lock:
            self._take_in()
            own = ("_lock", "_inbox", "_clock", "_worker")
            return {name: value for name, value in vars(self).items() if name not in own}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, _lock=threading.Lock(), _inbox=deque(), _clock=time.monotonic, _worker=threading.get_ident)


def _sent(attempt: Attempt) -> float:
    return attempt.sent
