"""What a map returns: one result for each item, tied to its position, and the batch that holds them in input order."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, Literal, NoReturn, Protocol, TypeVar, overload

from responder.values import notebook
from responder.values.answer import NO_USAGE, Answer, T, Usage
from responder.values.errors import BatchError, ConfigurationError
from responder.values.messages import Prompt
from responder.values.summary import Summary, percentile, was_not_sent

if TYPE_CHECKING:
    import pandas
    import polars
    import pyarrow

I = TypeVar("I")  # noqa: E741 - item
V = TypeVar("V")  # value
R = TypeVar("R", bound="ItemResult[Any, Any]")


@dataclass(frozen=True, slots=True)
class ItemResult(Generic[I, V]):
    """What became of one item: its value or its error; there is always one of them.

    Attributes:
        index: The item's position in the input, from 0.
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
class Result(ItemResult[Prompt, Answer[T]], Generic[T]):
    """What became of one prompt: its answer or its error; there is always one of them.

    Attributes:
        usage: Tokens of all its attempts, including failed ones if the provider reported them; none if nothing was asked.
        cost: US dollars for them; None when a price is unknown.
    """

    usage: Usage = NO_USAGE
    cost: float | None = None

    @property
    def prompt(self) -> Prompt:
        """The prompt as it was given."""
        return self.item

    @property
    def answer(self) -> Answer[T] | None:
        """The answer; None when it failed."""
        return self.value

    @property
    def text(self) -> str:
        """The answer's text; after a failure, the text that came before the error ("" if none did)."""
        return self.value.text if self.value is not None else getattr(self.error, "text", "")

    @property
    def parsed(self) -> T | None:
        """The answer as the type of `schema=`, or as plain JSON; None without a schema, and when it failed."""
        return self.value.parsed if self.value is not None else None


# True for mypy alone, which takes a union apart by the truth of an attribute (`if result.ok:`). Pyright does not; it is shown an
# attribute that never returns where there is none, so that the code after the same `if` type-checks there as well.
MYPY = False


class Answered(Result[T]):
    """A prompt that got its answer: what a result is after `if result.ok:`, for type checkers."""

    __slots__ = ()

    if TYPE_CHECKING:

        @property
        def ok(self) -> Literal[True]: ...  # noqa: D102 - documented in Result

        @property
        def answer(self) -> Answer[T]: ...  # noqa: D102 - documented in Result

        @property
        def parsed(self) -> T: ...  # noqa: D102 - documented in Result

        if MYPY:
            error: None
        else:
            error: NoReturn


class Failed(Result[T]):
    """A prompt that got an error instead: what a result is after `if not result.ok:`, for type checkers."""

    __slots__ = ()

    if TYPE_CHECKING:

        @property
        def ok(self) -> Literal[False]: ...  # noqa: D102 - documented in Result

        if MYPY:

            @property
            def answer(self) -> None: ...  # noqa: D102 - documented in Result

            @property
            def parsed(self) -> None: ...  # noqa: D102 - documented in Result

        else:

            @property
            def answer(self) -> NoReturn: ...  # noqa: D102 - documented in Result

            @property
            def parsed(self) -> NoReturn: ...  # noqa: D102 - documented in Result

        error: Exception


# The columns of a batch in a notebook.
_SHOWN = ("index", "prompt or item", "text or error", "tokens", "attempts", "seconds")


def _shown(result: ItemResult[Any, Any]) -> tuple[str, ...]:
    item, value = result.item, result.value
    told = f"{type(result.error).__name__}: {result.error}" if result.error is not None else value
    return (
        str(result.index),
        item if isinstance(item, str) else repr(item),
        str(told) if isinstance(told, (str, Answer)) else repr(told),
        f"{result.usage.total_tokens:,}" if isinstance(result, Result) and result.usage.known else "",
        str(result.attempts),
        f"{result.elapsed:.2f}",
    )


class _Results(Sequence[R]):
    """Results in input order."""

    def __init__(self, results: Iterable[R]) -> None:
        self._results: Sequence[R] = sorted(results, key=lambda result: result.index)

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

    def _repr_html_(self) -> str:
        return notebook.table_html(repr(self), _SHOWN, map(_shown, self._results), len(self))

    def _repr_markdown_(self) -> str:
        return notebook.table_markdown(repr(self), _SHOWN, map(_shown, self._results), len(self))

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


class RunHistory(Protocol):
    """What a run recorded of itself."""

    def summary(self) -> Summary:
        """Return the run in numbers."""

    def report(self, path: str | os.PathLike[str] | None = None) -> notebook.ReportPage:
        """Return the run as an HTML page, and write it into a file where one is named."""


class Batch(_Results["Answered[T] | Failed[T]"], Generic[T]):
    """The results of `Responder.map`, in input order."""

    def __init__(self, results: Iterable[Answered[T] | Failed[T]], history: RunHistory | None = None) -> None:
        super().__init__(results)
        self._history = history

    def failures(self) -> list[Result[T]]:  # type: ignore[override]  # programs write `failures: list[Result]`
        """Return the results without an answer, in input order."""
        return [result for result in self._results if not result.ok]

    def answers(self) -> list[Answer[T]]:
        """Return all answers.

        Raises:
            BatchError: A prompt failed; its `results` hold everything.
        """
        self._raise_failures()
        return [result.unwrap() for result in self._results]

    def parsed(self) -> list[T]:
        """Return what all answers became under the schema; raises as `answers` does."""
        return [answer.parsed for answer in self.answers()]

    def texts(self) -> list[str]:
        """Return the text of all answers; raises as `answers` does."""
        return [answer.text for answer in self.answers()]

    @property
    def usage(self) -> Usage:
        """The tokens that this run used, including those of failed attempts if the provider reported them.

        What came out of a checkpoint, or from an equal prompt, was not asked for and is not counted.
        """
        return sum((result.usage for result in self._results), Usage())

    @property
    def cost(self) -> float | None:
        """US dollars for `usage`; None if the price of any part of it is unknown."""
        total = 0.0
        for result in self._results:
            if result.cost is not None:
                total += result.cost
            elif result.usage.known:
                return None
        return total

    def summary(self) -> Summary:
        """Return the run in numbers; `print(batch.summary())` reads well, `to_json()` is for programs."""
        if self._history is not None:
            return self._history.summary()
        times = sorted(result.elapsed for result in self._results if result.ok and result.attempts)
        failed = self.failures()
        not_sent = sum(was_not_sent(type(result.error).__name__, result.attempts) for result in failed)
        return Summary(
            items=len(self),
            ok=len(self) - len(failed),
            failed=len(failed) - not_sent,
            not_sent=not_sent,
            truncated=sum(result.value.truncated for result in self._results if result.value is not None),
            errors=dict(Counter(type(result.error).__name__ for result in failed)),
            attempts=sum(result.attempts for result in self._results),
            waited=sum(result.waited for result in self._results),
            p50=percentile(times, 50),
            p95=percentile(times, 95),
            p99=percentile(times, 99),
            usage=self.usage,
            reused=sum(result.ok and not result.attempts for result in self._results),
            cost=self.cost,
            reasks=sum(result.value.reasks for result in self._results if result.value is not None),
        )

    def to_pandas(self) -> pandas.DataFrame:
        """Return a pandas data frame with one row a prompt, in input order.

        Columns: prompt, text, error (as text), finish_reason, model, input_tokens, output_tokens, cost (US dollars), attempts and
        elapsed (seconds); what is not known is missing.

        Raises:
            ImportError: pandas is not installed; the message says what to type.
        """
        from responder.values import frames

        return frames.to_pandas(frames.columns_of(self._results))

    def to_polars(self) -> polars.DataFrame:
        """Return the same as a polars data frame; needs polars."""
        from responder.values import frames

        return frames.to_polars(frames.columns_of(self._results))

    def to_arrow(self) -> pyarrow.Table:
        """Return the same as an Arrow table; needs pyarrow."""
        from responder.values import frames

        return frames.to_arrow(frames.columns_of(self._results))

    def report(self, path: str | os.PathLike[str] | None = None) -> notebook.ReportPage:
        """Return the run as one HTML page: its numbers, the time line of every worker, what was retried and why.

        Args:
            path: Where the page is written, too; a file that is there is replaced. None: nowhere, it shows itself in a notebook.

        Raises:
            ConfigurationError: It cannot be written, or this batch was not made by a run.
        """
        if self._history is None:
            raise ConfigurationError(
                "this batch was not made by a run, so there is no time line to show; summary() has its numbers"
            )
        return self._history.report(path)
