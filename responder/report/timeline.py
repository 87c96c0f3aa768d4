"""How many workers were in which state, when? Kept in columns that become twice as wide when the run outgrows them.

So a run of a second and one of a day take the same space. Draws nothing itself: that is in `lanes.py` and `charts.py`.
"""

from __future__ import annotations

import zlib
from array import array
from itertools import accumulate

from responder.report.record import STATES

COLUMNS = 1024
"""How many pieces the time line has; an even number."""

ROWS = 64
"""How many rows the time line has; with more workers than rows, a row stands for several of them."""

# Width of the first columns, in seconds.
_FINEST = 0.005


class Timeline:
    """How many workers were in which state, in each column of time and each row of workers.

    A row holds, for each state, the differences between neighbouring columns: a span touches its first and its last column
    only, however long it is, and the running total of the differences is the mean number of workers in the state. Both ways of
    making room, columns twice as wide and rows of twice as many workers, lose nothing but resolution.
    """

    def __init__(self) -> None:
        self.width = _FINEST  # seconds of a column
        self.lanes_in_row = 1
        self._rows: list[list[array[float] | None]] = []  # None: no worker was in that state
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
        # Most of it is zeros: a pickled batch of four answers must not take a megabyte.
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
