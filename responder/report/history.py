"""What did a run do, and when? Takes in the trace of each item as it ends, in memory that does not grow with the run.

Counts and times are added up, and the time line has one size; single requests are kept, too, as long as they are few enough
to be seen.
"""

from __future__ import annotations

import os
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Hashable
from typing import Any, TypeAlias

from responder.report.histogram import Histogram
from responder.report.record import ANSWERED, BACKOFF, ENDED, FAILED, LIMITED, Record, Span
from responder.report.timeline import COLUMNS, Timeline
from responder.values.answer import Usage
from responder.values.clock import monotonic
from responder.values.notebook import ReportPage
from responder.values.summary import ENDED_BY_US, Summary, was_not_sent
from responder.values.trace import Attempt, Trace

MOST_SPANS = 20_000
"""This many single requests and waits are kept; a page could not show more."""

# Shorter waits, in seconds, are not waits but the overhead of taking a turn.
_SHORTEST_WAIT = 0.001

# Traces are processed in groups of this size: a lock and a loop for each one would double the cost.
_TOGETHER = 64


Listener: TypeAlias = "Callable[[Hashable, int, Trace, float], object]"
"""Told of each item in the thread that ended it: the worker, the index, the trace, the moment of its end."""


class History:
    """What a run did: counts, times, tokens, and the time line of its workers.

    Workers add to it while others read. Adding appends to a deque, which is atomic; a thread that finds the lock free processes
    what has gathered, and none waits for it. The lock guards everything else.

    Args:
        max_workers: The run's.
        title: What was asked, for the page: "provider:model".
        clock: What the moments of the traces are read from.
        worker: Names the worker that adds; each has its line.
        began_at: When the run began, in seconds since the epoch; None: now.

    Attributes:
        listener: Who else wants to know of each item.
    """

    def __init__(
        self,
        max_workers: int,
        title: str = "",
        clock: Callable[[], float] = monotonic,
        worker: Callable[[], int] = threading.get_ident,
        began_at: float | None = None,
    ) -> None:
        self.title = title
        self._max_workers = max_workers
        self._clock = clock
        self._worker = worker
        self._begin = clock()
        self._began_at = time.time() if began_at is None else began_at
        self._inbox: deque[tuple[Hashable, int, Trace, str, bool, float]] = deque()
        self._lock = threading.Lock()
        self._lanes: dict[Hashable, int] = {}  # of each thread
        self._timeline = Timeline()
        self._spans: list[Span] | None = []  # None once there are too many to show
        self._answer_times = Histogram()
        self._server_times = Histogram()
        self._errors: Counter[str] = Counter()
        self._causes: Counter[str] = Counter()
        self._repeats: Counter[str] = Counter()
        self.listener: Listener | None = None
        self.shortage = ""  # why there were fewer workers, in the system's words
        self._items = self._failed = self._not_sent = self._truncated = self._reused = self._attempts = self._reasks = 0
        self._input = self._output = self._cached = self._reasoning = self._written = 0
        self._usage_known = False
        self._waited = self._limited = self._server = self._cost = self._wall = 0.0
        self._priced = True

    def add(self, index: int, trace: Trace, error: Exception | None, answer_truncated: bool) -> None:
        """Take in an item that has just ended; to be called in the thread that worked on it.

        Args:
            index: The item's position in the input.
            trace: What was done for it.
            error: Why it failed; None when it did not.
            answer_truncated: Whether its answer was cut at `max_tokens`.
        """
        self.take(self._worker(), index, trace, error, answer_truncated, self._clock())

    def take(
        self, worker: Hashable, index: int, trace: Trace, error: Exception | None, answer_truncated: bool, ended: float
    ) -> None:
        """Take in an item that a worker has ended somewhere else; its moments are already those of this clock.

        Args:
            worker: Whose line it is on.
            index: As `add` takes it.
            trace: As `add` takes it.
            error: As `add` takes it.
            answer_truncated: As `add` takes it.
            ended: The moment of its end.
        """
        # Not the error itself: its traceback keeps a request alive.
        name = "" if error is None else type(error).__name__
        self._inbox.append((worker, index, trace, name, answer_truncated, ended))
        if self.listener is not None:
            self.listener(worker, index, trace, ended)
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
            self._reasks += trace.reasks
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
                is_failure = not was_not_sent(error, trace.attempts)
                self._failed += is_failure
                self._not_sent += not is_failure
                self._errors[error] += 1
            elif trace.attempts:
                self._answer_times.add(ended - trace.started)
            else:
                self._reused += 1
            self._truncated += truncated
            self._timeline.item_ended(bool(error), now)
            if trace.made or (error and trace.limited > _SHORTEST_WAIT):
                self._draw(thread, index, trace, error, now)

    def _draw(self, thread: Hashable, index: int, trace: Trace, error: str, now: float) -> None:
        """Add an item's attempts and waits to the time line."""
        lane = self._lanes.setdefault(thread, len(self._lanes))
        begin = self._begin
        made = trace.made
        if len(made) > 1:
            made = sorted(made, key=_sent)  # of two hedged requests, the first one may have ended last
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
        # It gave up while it waited. The trace knows how long on limits; the time before that was between attempts.
        waiting = max(now - max(trace.limited - limited, 0.0), cursor)
        if made and waiting - cursor > _SHORTEST_WAIT:
            self._add_span(lane, BACKOFF, cursor, waiting, now, index, len(made) + 1, "")
        if now - waiting > _SHORTEST_WAIT:
            self._add_span(lane, LIMITED, waiting, now, now, index, len(made) + 1, "")

    def _add_span(self, lane: int, state: int, start: float, end: float, now: float, index: int, number: int, cause: str) -> None:
        # A trace may have begun before the run's history, and two clock readings may differ in the last digit.
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
            ok=self._items - self._failed - self._not_sent,
            failed=self._failed,
            not_sent=self._not_sent,
            shortage=self.shortage,
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
            reasks=self._reasks,
        )

    def grow_to(self, max_workers: int) -> None:
        """Note that the run may make this many calls at once: it has found more processes to work for it."""
        self._max_workers = max(self._max_workers, max_workers)

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

    def report(self, path: str | os.PathLike[str] | None = None) -> ReportPage:
        """Return the run as one HTML page, at any time; with a path, write it there.

        Raises:
            ConfigurationError: It cannot be written.
        """
        # The page and its charts: most runs draw none.
        from responder.report.file import write
        from responder.report.page import page

        if path is not None:
            return ReportPage(write(path, self))
        return ReportPage(page(self.record()))

    def __getstate__(self) -> dict[str, Any]:
        with self._lock:
            self._take_in()
            own = ("_lock", "_inbox", "_clock", "_worker", "listener")
            return {name: value for name, value in vars(self).items() if name not in own}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(
            state, _lock=threading.Lock(), _inbox=deque(), _clock=monotonic, _worker=threading.get_ident, listener=None
        )


def _sent(attempt: Attempt) -> float:
    return attempt.sent
