"""What is recorded of a run? Spans, bars and numbers: what a history gives, and what a page is drawn from."""

from __future__ import annotations

from array import array
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from responder.values.summary import Summary

ANSWERED, FAILED, ENDED, LIMITED, BACKOFF = range(5)
"""What a worker does: at the server with an answer, with a failure, cancelled by us; waiting on limits, between attempts."""

STATES = 5


class Span(NamedTuple):
    """What a worker did from `start` to `end`, seconds since the start of the run.

    Attributes:
        lane: The worker, from 0.
        state: ANSWERED to BACKOFF.
        start: When it began.
        end: When it ended.
        item: Its index, the position in the input.
        number: Which attempt at the item it was, or which one it waited for, from 1.
        cause: Why it failed; "" otherwise.
    """

    lane: int
    state: int
    start: float
    end: float
    item: int
    number: int
    cause: str


class Bar(NamedTuple):
    """How many values (`height`) are between two."""

    low: float
    high: float
    height: int


@dataclass(frozen=True)
class Record:
    """What the page shows.

    Attributes:
        title: What was asked, "provider:model".
        began_at: When the run began, seconds since 1970.
        summary: Its numbers.
        lanes: Workers that did something.
        lanes_in_row: How many of them a row of `rows` stands for.
        width: Seconds of a column.
        rows: For each row and state the mean number of workers in it, in each column.
        ends: How many items ended in each column: with an answer, with an error.
        answer_times: Seconds from the start of an item to its answer.
        server_times: Seconds of the answered requests.
        spans: Each request and wait; None if there were too many.
    """

    title: str
    began_at: float
    summary: Summary
    lanes: int
    lanes_in_row: int
    width: float
    rows: list[list[array[float]]]
    ends: list[array[float]]
    answer_times: list[Bar]
    server_times: list[Bar]
    spans: list[Span] | None


class Recorded(Protocol):
    """What a page can be made of: a run's history."""

    def record(self) -> Record:
        """Return what the page shows."""
