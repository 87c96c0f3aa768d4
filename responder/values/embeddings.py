"""What embedding many texts gives back: their vectors in input order, and the errors of those that have none."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias, overload

from responder.values.answer import NO_USAGE, Usage
from responder.values.errors import ConfigurationError
from responder.values.results import ItemResult
from responder.values.summary import Summary, percentile
from responder.values.vectors import FLOAT, Block

if TYPE_CHECKING:
    import numpy
    from numpy.typing import NDArray

    Vector: TypeAlias = memoryview[float]
else:
    Vector = memoryview


@dataclass(frozen=True, slots=True)
class EmbeddingResult(ItemResult[str, "Vector"]):
    """What became of one text: its vector or its error, never neither."""

    @property
    def text(self) -> str:
        """The text as it was given."""
        return self.item


@dataclass(slots=True)
class EmbeddingTotals:
    """What a run of texts used.

    Attributes:
        usage: Tokens of all requests, failed ones included where the provider told.
        cost: US dollars for them; None as soon as a part of it is not known.
        attempts: Requests that were sent, repeats included.
        waited: Seconds that requests spent waiting, on limits and between attempts.
        reused: Texts whose vector took no request: out of a file, or of an equal text.
        times: Seconds that each request took.
        wall: Seconds from the start of the run to its end.
        max_workers: The run's.
    """

    usage: Usage = NO_USAGE
    cost: float | None = 0.0
    attempts: int = 0
    waited: float = 0.0
    reused: int = 0
    times: list[float] | None = None
    wall: float = 0.0
    max_workers: int = 0


class Embeddings(Sequence["Vector"]):
    """The vectors of many texts, in input order: `vectors[i]` is that of text i.

    All floats lie in one block of memory, as float32. A vector is a read-only view into it (`list(vectors[i])` copies it out).
    The place of a text that failed raises its error, and holds NaN in `numpy()`.

    Args:
        data: All floats, vector after vector.
        count: How many texts there were.
        dimensions: Floats in a vector; 0 where there is none.
        failed: The results of the texts without a vector, in input order.
        totals: What the run used.
    """

    def __init__(
        self,
        data: bytearray,
        count: int,
        dimensions: int,
        failed: Iterable[EmbeddingResult] = (),
        totals: EmbeddingTotals | None = None,
    ) -> None:
        self._data = data
        self._count = count
        self.dimensions = dimensions
        self._failed: Mapping[int, EmbeddingResult] = {result.index: result for result in failed}
        self._totals = totals or EmbeddingTotals()
        self._floats: Vector = memoryview(data).toreadonly().cast("f")

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, index: int) -> Vector: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[Vector]: ...

    def __getitem__(self, index: int | slice) -> Vector | Sequence[Vector]:
        if isinstance(index, slice):
            return [self[place] for place in range(*index.indices(self._count))]
        place = index + self._count if index < 0 else index
        if not 0 <= place < self._count:
            raise IndexError(f"there are {self._count} vectors, and none at {index}")
        failure = self._failed.get(place)
        if failure is not None and failure.error is not None:
            raise failure.error
        return self._floats[place * self.dimensions : (place + 1) * self.dimensions]

    def __repr__(self) -> str:
        return f"Embeddings({self._count} vectors of {self.dimensions} dimensions, {len(self._failed)} failed)"

    @property
    def data(self) -> memoryview:
        """All floats as bytes, vector after vector, as float32 in this machine's order; NaN for a text that failed."""
        return self._floats.cast("B")

    @property
    def ok(self) -> bool:
        """True when every text has its vector."""
        return not self._failed

    def failures(self) -> list[EmbeddingResult]:
        """Return the results of the texts without a vector, in input order: `index`, `text`, `error`."""
        return list(self._failed.values())

    @property
    def usage(self) -> Usage:
        """The tokens that the run used; what came out of a file, or of an equal text, was not asked for and is not counted."""
        return self._totals.usage

    @property
    def cost(self) -> float | None:
        """US dollars for `usage`; None as soon as a part of it is not known."""
        return self._totals.cost

    def numpy(self) -> NDArray[numpy.float32]:
        """Return the vectors as an array of shape (texts, dimensions): float32, the same memory, a row of NaN for a failed text.

        Raises:
            ConfigurationError: numpy is not installed.
        """
        try:
            import numpy
        except ImportError:
            raise ConfigurationError('numpy() needs numpy: pip install "responder-sdk[numpy]"') from None
        return numpy.frombuffer(self._data, dtype=numpy.float32).reshape(self._count, self.dimensions)

    def tolist(self) -> list[list[float] | None]:
        """Return the vectors as lists of floats, with None for a failed text: what JSON and databases take."""
        return [None if place in self._failed else list(self[place]) for place in range(self._count)]

    def summary(self) -> Summary:
        """Return the run in numbers, texts as its items; the times are those of the requests."""
        totals = self._totals
        times = sorted(totals.times or ())
        return Summary(
            items=self._count,
            ok=self._count - len(self._failed),
            failed=len(self._failed),
            truncated=0,
            errors=dict(Counter(type(result.error).__name__ for result in self._failed.values())),
            attempts=totals.attempts,
            waited=totals.waited,
            p50=percentile(times, 50),
            p95=percentile(times, 95),
            p99=percentile(times, 99),
            usage=totals.usage,
            reused=totals.reused,
            wall=totals.wall,
            max_workers=totals.max_workers,
            cost=totals.cost,
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return Embeddings, (self._data, self._count, self.dimensions, self.failures(), self._totals)


class Rows:
    """Collects vectors, which come in any order, into the block that `Embeddings` shows. For one thread.

    Args:
        count: How many texts there are; None if unknown.
    """

    def __init__(self, count: int | None) -> None:
        self._count = count
        self.data = bytearray()
        self.dimensions = 0

    def write(self, first: int, rows: Block, dimensions: int) -> None:
        """Put vectors at the places from `first` on.

        Raises:
            ValueError: They are not as long as those before them.
        """
        if not self.dimensions:
            self.dimensions = dimensions
            if self._count is not None:
                self.data = bytearray(self._count * dimensions * FLOAT)  # at once: growing would hold a quarter more
        if dimensions != self.dimensions:
            raise ValueError(f"{dimensions} dimensions, where the vectors before it have {self.dimensions}")
        begin = first * dimensions * FLOAT
        if len(self.data) < begin + len(rows):
            self.data.extend(bytes(begin + len(rows) - len(self.data)))
        with memoryview(self.data) as view:  # a bytearray would copy them twice
            view[begin : begin + len(rows)] = rows

    def row(self, place: int) -> bytes:
        """Return the vector at a place."""
        width = self.dimensions * FLOAT
        return bytes(self.data[place * width : (place + 1) * width])

    def finish(self, count: int, failed: Sequence[int]) -> bytearray:
        """Return the block for so many texts, with NaN for those that failed."""
        width = self.dimensions * FLOAT
        if len(self.data) < count * width:
            self.data.extend(bytes(count * width - len(self.data)))
        elif len(self.data) > count * width:
            del self.data[count * width :]
        if failed and width:
            nothing = memoryview(bytearray(width)).cast("f")
            for place in range(self.dimensions):
                nothing[place] = math.nan
            for index in failed:
                self.data[index * width : (index + 1) * width] = nothing.cast("B")
        return self.data
