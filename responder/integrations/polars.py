"""How is a column of a polars table asked? A column of prompts in, a column of answers out, in the same order.

frame = frame.with_columns(map_series(gpt, frame["question"]).alias("answer"))
frame = frame.hstack(map_frame(gpt, frame, "Translate into {language}: {question}"))
"""

from __future__ import annotations

from typing import Any, Literal, overload

from responder.integrations import missing, table
from responder.responder import Responder
from responder.values import frames
from responder.values.results import Batch

try:
    import polars as pl
except ModuleNotFoundError as error:
    raise missing("polars", "polars") from error

Errors = Literal["raise", "text", "none"]


@overload
def map_series(
    responder: Responder, series: pl.Series, *, errors: Errors = ..., return_batch: Literal[False] = ..., **keywords: Any
) -> pl.Series: ...


@overload
def map_series(
    responder: Responder, series: pl.Series, *, errors: Errors = ..., return_batch: Literal[True], **keywords: Any
) -> tuple[pl.Series, Batch[Any]]: ...


def map_series(
    responder: Responder, series: pl.Series, *, errors: Errors = "raise", return_batch: bool = False, **keywords: Any
) -> pl.Series | tuple[pl.Series, Batch[Any]]:
    """Ask each value of a column at once, and return the texts of the answers as a String column of the same name.

    Missing values (null, NaN) are not asked and become null; equal prompts are asked once.

    Args:
        responder: Who is asked.
        series: Prompts.
        errors: What stands for a failed prompt: "raise" (nothing does, a BatchError is raised whose `results` hold one Result
            for each prompt that was asked), "text" (the error's class and message), "none" (null).
        return_batch: Return the Batch as well, with its tokens, cost, summary and report.
        **keywords: As `Responder.map` takes them.

    Raises:
        BatchError: A prompt failed, with `errors="raise"`.
        ConfigurationError: A keyword is invalid; nothing was sent.
    """
    texts, batch = table.answered_column(responder, series.to_list(), errors, keywords)
    column = pl.Series(series.name, texts, dtype=pl.String)
    return (column, batch) if return_batch else column


@overload
def map_frame(
    responder: Responder, frame: pl.DataFrame, template: str, *, return_batch: Literal[False] = ..., **keywords: Any
) -> pl.DataFrame: ...


@overload
def map_frame(
    responder: Responder, frame: pl.DataFrame, template: str, *, return_batch: Literal[True], **keywords: Any
) -> tuple[pl.DataFrame, Batch[Any]]: ...


def map_frame(
    responder: Responder, frame: pl.DataFrame, template: str, *, return_batch: bool = False, **keywords: Any
) -> pl.DataFrame | tuple[pl.DataFrame, Batch[Any]]:
    """Ask each row of a table at once, in the words of a template.

    A row in which a column of the template is missing is not asked; equal prompts are asked once.

    Args:
        responder: Who is asked.
        frame: The table.
        template: The prompt, with the names of columns in braces: "Translate into {language}: {text}". Braces that mean
            themselves are written twice.
        return_batch: Return the Batch as well, with its summary and report.
        **keywords: As `Responder.map` takes them.

    Returns:
        A frame with a row for each row: text, error (as text), finish_reason, model, input_tokens, output_tokens, cost (US
        dollars), attempts and elapsed (seconds), null where there is none. A repeated prompt has no tokens and cost of its own.

    Raises:
        ConfigurationError: The template names no column, or one that the frame does not have.
    """
    columns, batch = table.answered_rows(responder, template, frame.columns, lambda name: frame[name].to_list(), keywords)
    made = frames.to_polars(columns)
    return (made, batch) if return_batch else made
