"""How do results become a data frame? One row a prompt, for pandas, polars and Arrow alike.

Every column has the same type whatever happened, so that a frame with failures in it, or without any, is written as Parquet and
read with others: errors are texts, and numbers that are not known are missing, not 0.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, Protocol

from responder.values.answer import Answer, Usage
from responder.values.messages import Prompt, as_messages
from responder.values.visible import visible_in_line

if TYPE_CHECKING:
    import pandas
    import polars
    import pyarrow

Kind = Literal["text", "whole", "real"]

ANSWER: Mapping[str, Kind] = {
    "text": "text",
    "error": "text",
    "finish_reason": "text",
    "model": "text",
    "input_tokens": "whole",
    "output_tokens": "whole",
    "cost": "real",
    "attempts": "whole",
    "elapsed": "real",
}
"""What is known of an answer: the columns and what they hold."""

ALL: Mapping[str, Kind] = {"prompt": "text", **ANSWER}
"""The columns of a batch."""


class Row(Protocol):
    """What a row is made of: a `Result`."""

    @property
    def prompt(self) -> Prompt: ...  # noqa: D102 - documented in Result
    @property
    def value(self) -> Answer | None: ...  # noqa: D102 - documented in Result
    @property
    def error(self) -> Exception | None: ...  # noqa: D102 - documented in Result
    @property
    def usage(self) -> Usage: ...  # noqa: D102 - documented in Result
    @property
    def cost(self) -> float | None: ...  # noqa: D102 - documented in Result
    @property
    def attempts(self) -> int: ...  # noqa: D102 - documented in Result
    @property
    def elapsed(self) -> float: ...  # noqa: D102 - documented in Result


Columns = Mapping[str, Sequence[Any]]

_LARGEST = 2**63 - 1


def columns_of(results: Iterable[Row | None]) -> Columns:
    """Return the columns `ALL` of some results; a row of None is missing in each of them."""
    rows = [(None,) * len(ALL) if result is None else _row(result) for result in results]
    return {name: [row[place] for row in rows] for place, name in enumerate(ALL)}


def error_text(error: Exception) -> str:
    """Return an error as one line: its class and its message."""
    return f"{type(error).__name__}: {visible_in_line(str(error))}"


def to_pandas(columns: Columns) -> pandas.DataFrame:
    """Return a frame: texts of dtype "string", whole numbers "Int64", other numbers "float64".

    Raises:
        ImportError: pandas is not installed.
    """
    try:
        import pandas as pd
    except ModuleNotFoundError as error:
        raise _missing("pandas", "pandas") from error
    kinds: Mapping[Kind, Any] = {"text": "string", "whole": "Int64", "real": "float64"}
    return pd.DataFrame({name: pd.Series(list(values), dtype=kinds[ALL[name]]) for name, values in columns.items()})


def to_polars(columns: Columns) -> polars.DataFrame:
    """Return a frame of String, Int64 and Float64 columns.

    Raises:
        ImportError: polars is not installed.
    """
    try:
        import polars as pl
    except ModuleNotFoundError as error:
        raise _missing("polars", "polars") from error
    kinds: Mapping[Kind, Any] = {"text": pl.String, "whole": pl.Int64, "real": pl.Float64}
    return pl.DataFrame(dict(columns), schema={name: kinds[ALL[name]] for name in columns})


def to_arrow(columns: Columns) -> pyarrow.Table:
    """Return a table of string, int64 and double columns.

    Raises:
        ImportError: pyarrow is not installed.
    """
    try:
        import pyarrow as pa
    except ModuleNotFoundError as error:
        raise _missing("pyarrow", "arrow") from error
    kinds: Mapping[Kind, Any] = {"text": pa.string(), "whole": pa.int64(), "real": pa.float64()}
    return pa.table({name: pa.array(list(values), kinds[ALL[name]]) for name, values in columns.items()})


def _missing(package: str, extra: str) -> ImportError:
    return ImportError(f'{package} is not installed: pip install "responder-sdk[{extra}]"')


def _row(result: Row) -> tuple[Any, ...]:
    answer, error, usage = result.value, result.error, result.usage
    # What came out of a checkpoint, or from an equal prompt, used nothing; what a provider did not report is not known.
    known = usage.known or not result.attempts
    return (
        writable(_prompt_text(result.prompt)),
        writable(answer.text) if answer is not None else None,
        writable(error_text(error)) if error is not None else None,
        answer.finish_reason if answer is not None else None,
        writable(answer.model) if answer is not None else None,
        _whole(usage.input_tokens) if known else None,
        _whole(usage.output_tokens) if known else None,
        result.cost if result.cost is not None and known else None,
        result.attempts,
        result.elapsed,
    )


def _prompt_text(prompt: Prompt) -> str:
    """Return what was asked: a text as it is, of messages the texts with their roles."""
    if isinstance(prompt, str):
        return prompt
    try:
        messages = as_messages(prompt)
    except Exception:  # noqa: BLE001 - it may be what the result's error is about
        return str(prompt)
    if len(messages) == 1:
        return messages[0].text
    return "\n\n".join(f"{message.role}: {message.text}" for message in messages)


def writable(text: str | None) -> str | None:
    """Return a text as Arrow, polars and Parquet can hold it."""
    # Half of a surrogate pair has no place in UTF-8.
    return text if text is None or text.isascii() else text.encode("utf-8", "replace").decode()


def _whole(count: int) -> int | None:
    # A count that has no room in 64 bits is a mistake of the provider's, and no reason to lose the table.
    return count if abs(count) <= _LARGEST else None
