"""What a map gives back: one result for each item, bound to its place, and the batch that holds them in input order."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, overload

from responder.answer import NO_USAGE, Answer, Usage
from responder.errors import BatchError
from responder.messages import Prompt

I = TypeVar("I")  # noqa: E741 - item
V = TypeVar("V")  # value
R = TypeVar("R", bound="ItemResult[Any, Any]")


@dataclass(frozen=True, slots=True)
class ItemResult(Generic[I, V]):
    """What became of one item: its value or its error, never neither.

    Attributes:
        index: The item's place in the input, from 0.
        item: The item itself.
        value: What the function returned; None when it failed.
        error: Why it failed; None when it did not.
        attempts: Requests that were sent for it (0: none was).
        elapsed: Seconds from the start of its work to its end; time in the queue is not counted.
        waited: Seconds of `elapsed` that were spent waiting: between attempts, and on limits.
    """

    index: int
    item: I
    value: V | None = None
    error: Exception | None = None
    attempts: int = 1
    elapsed: float = 0.0
    waited: float = 0.0

    @property
    def ok(self) -> bool:
        """True when there is a value."""
        return self.error is None

    def unwrap(self) -> V:
        """Return the value, or raise the error."""
        if self.error is not None:
            raise self.error
        return self.value  # type: ignore[return-value]  # without an error there is a value, and it may be None


@dataclass(frozen=True, slots=True)
class Result(ItemResult[Prompt, Answer]):
    """What became of one prompt: its answer or its error, never neither.

    Attributes:
        usage: Tokens of all its attempts, failed ones included where the provider told; none where nothing was asked.
        cost: US dollars for them; None when a price is not known.
    """

    usage: Usage = NO_USAGE
    cost: float | None = None

    @property
    def prompt(self) -> Prompt:
        """The prompt as it was given."""
        return self.item

    @property
    def answer(self) -> Answer | None:
        """The answer; None when it failed."""
        return self.value


class _Results(Sequence[R]):
    """Results in input order."""

    def __init__(self, results: Iterable[R]) -> None:
        self._results = sorted(results, key=lambda result: result.index)

    def __len__(self) -> int:
        return len(self._results)

    @overload
    def __getitem__(self, index: int) -> R: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[R]: ...

    def __getitem__(self, index: int | slice) -> R | Sequence[R]:
        return self._results[index]

    def __iter__(self) -> Iterator[R]:
        return iter(self._results)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({len(self)} results, {len(self.failures())} failed)"

    @property
    def ok(self) -> bool:
        """True when no item failed."""
        return not self.failures()

    def failures(self) -> list[R]:
        """Return the results without a value, in input order."""
        return [result for result in self._results if not result.ok]

    def _raise_failures(self) -> None:
        failed = self.failures()
        if failed:
            first = failed[0]
            raise BatchError(
                f"{len(failed)} of {len(self)} items failed; the first is item {first.index}: {first.error}. All results, "
                "finished ones included, are in this error's `results`",
                self,
            ) from first.error


class ItemBatch(_Results[ItemResult[I, V]]):
    """The results of `parallel_map`, in input order."""

    def values(self) -> list[V]:
        """Return all values.

        Raises:
            BatchError: An item failed; its `results` hold everything.
        """
        self._raise_failures()
        return [result.unwrap() for result in self._results]


class Batch(_Results[Result]):
    """The results of `Responder.map`, in input order."""

    def answers(self) -> list[Answer]:
        """Return all answers.

        Raises:
            BatchError: A prompt failed; its `results` hold everything.
        """
        self._raise_failures()
        return [result.unwrap() for result in self._results]

    def texts(self) -> list[str]:
        """Return the text of all answers; raises as `answers` does."""
        return [answer.text for answer in self.answers()]

    @property
    def usage(self) -> Usage:
        """The tokens that this run used: of its answers, and of failed items whose error says what was billed.

        What came out of a checkpoint, or from an equal prompt, was not asked for and is not counted.
        """
        total = Usage()
        for result in self._results:
            if not result.attempts:
                continue
            found = result.value.usage if result.value is not None else getattr(result.error, "usage", None)
            if isinstance(found, Usage):
                total += found
        return total

    def summary(self) -> Summary:
        """Return the run in numbers; `print(batch.summary())` reads well."""
        times = sorted(result.elapsed for result in self._results if result.ok)
        errors: dict[str, int] = {}
        for result in self.failures():
            name = type(result.error).__name__
            errors[name] = errors.get(name, 0) + 1
        return Summary(
            items=len(self),
            ok=len(self) - len(self.failures()),
            failed=len(self.failures()),
            truncated=sum(result.value.truncated for result in self._results if result.value is not None),
            errors=errors,
            attempts=sum(result.attempts for result in self._results),
            waited=sum(result.waited for result in self._results),
            p50=_percentile(times, 50),
            p95=_percentile(times, 95),
            p99=_percentile(times, 99),
            usage=self.usage,
        )


def _percentile(ordered: list[float], percent: int) -> float:
    """Return the smallest value that `percent` of the values do not exceed (nearest rank); 0 of none."""
    return ordered[max(0, -(-len(ordered) * percent // 100) - 1)] if ordered else 0.0


@dataclass(frozen=True, slots=True)
class Summary:
    """A run in numbers.

    Attributes:
        items: How many prompts there were.
        ok: How many got an answer.
        failed: How many got an error.
        truncated: How many answers were cut at `max_tokens`.
        errors: How often each error class came.
        attempts: Requests that were sent, repeats included.
        waited: Seconds that items spent waiting between attempts, added up over all workers.
        p50: Seconds within which half of the answers came.
        p95: Seconds within which 95 % came.
        p99: Seconds within which 99 % came.
        usage: Tokens of the run.
    """

    items: int
    ok: int
    failed: int
    truncated: int
    errors: dict[str, int]
    attempts: int
    waited: float
    p50: float
    p95: float
    p99: float
    usage: Usage

    def __str__(self) -> str:
        failed = ", ".join(f"{count} {name}" for name, count in sorted(self.errors.items()))
        lines = [
            f"{self.items} prompts: {self.ok} answered, {self.failed} failed" + (f" ({failed})" if failed else ""),
            f"{self.attempts} requests, {self.waited:.1f} s waited between attempts",
            f"answer times: half within {self.p50:.2f} s, 95 % within {self.p95:.2f} s, 99 % within {self.p99:.2f} s",
            f"tokens: {self.usage.input_tokens:,} in, {self.usage.output_tokens:,} out",
        ]
        if self.truncated:
            lines.append(f"{self.truncated} answers were cut at max_tokens")
        return "\n".join(lines)
