"""How are many values kept in little space? Counted in bins, narrow enough for percentiles."""

from __future__ import annotations

import math

from responder.report.record import Bar


class Histogram:
    """Counts values in bins that grow by 2% each, so that a percentile is at most 1% off, whatever the values are.

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
        """Return a value within 1% of the smallest one that `percent` of the values do not exceed; 0 of none."""
        wanted = -(-sum(self._counts.values()) * percent // 100)
        for number in sorted(self._counts):
            wanted -= self._counts[number]
            if wanted <= 0:
                return min(max(self._edge(number + 0.5), self._smallest), self._largest)
        return 0.0

    def bars(self) -> list[Bar]:
        """Return the bins that are not empty, in order."""
        return [Bar(self._edge(number), self._edge(number + 1), self._counts[number]) for number in sorted(self._counts)]

    def _edge(self, number: float) -> float:
        return self._LEAST * math.exp(number * self._RATIO)
