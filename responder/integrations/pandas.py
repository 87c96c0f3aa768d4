"""How is a column of a pandas table asked? A column of prompts in, a column of answers out, under the same index.

frame["answer"] = map_series(gpt, frame["question"], max_workers=32)
answers = map_frame(gpt, frame, "Translate into {language}: {text}")    # text, error, tokens, cost
"""

from __future__ import annotations

from typing import Any, Literal, overload

from responder.integrations import missing, table
from responder.integrations.table import Errors
from responder.responder import Responder
from responder.values import frames
from responder.values.results import Batch

try:
    import pandas as pd
except ModuleNotFoundError as error:
    raise missing("pandas", "pandas") from error


@overload
def map_series(
    responder: Responder, series: pd.Series, *, errors: Errors = ..., return_batch: Literal[False] = ..., **keywords: Any
) -> pd.Series: ...


@overload
def map_series(
    responder: Responder, series: pd.Series, *, errors: Errors = ..., return_batch: Literal[True], **keywords: Any
) -> tuple[pd.Series, Batch[Any]]: ...


def map_series(
    responder: Responder, series: pd.Series, *, errors: Errors = "raise", return_batch: bool = False, **keywords: Any
) -> pd.Series | tuple[pd.Series, Batch[Any]]:
    """Ask each value of a column at once, and return the texts of the answers as a column of the same index and name.

    Missing values (None, NaN, pd.NA, NaT) are not asked and become None; equal prompts are asked once.

    Args:
        responder: Who is asked.
        series: Prompts; its index may have any form, duplicates included.
        errors: What a failed prompt gives: "raise" (a BatchError is raised whose `results` have one Result
            for each prompt that was asked), "text" (the error's class and message), "object" (the error itself), "none" (None).
        return_batch: Return the Batch as well, with its tokens, cost, summary and report.
        **keywords: As `Responder.map` takes them.

    Returns:
        A series of dtype object; with `return_batch=True` a pair of it and the batch.

    Raises:
        BatchError: A prompt failed, with `errors="raise"`.
        ConfigurationError: A keyword is invalid; nothing was sent.
    """
    table.check_errors(errors, ("raise", "text", "object", "none"))
    batch, results = table.ask(responder, series, _is_missing, keywords)
    if errors == "raise":
        batch.answers()
    column = _column(table.texts(results, errors), series.index, series.name)
    return (column, batch) if return_batch else column


@overload
def map_frame(
    responder: Responder,
    frame: pd.DataFrame,
    template: str,
    *,
    errors: Literal["text", "object"] = ...,
    return_batch: Literal[False] = ...,
    **keywords: Any,
) -> pd.DataFrame: ...


@overload
def map_frame(
    responder: Responder,
    frame: pd.DataFrame,
    template: str,
    *,
    errors: Literal["text", "object"] = ...,
    return_batch: Literal[True],
    **keywords: Any,
) -> tuple[pd.DataFrame, Batch[Any]]: ...


def map_frame(
    responder: Responder,
    frame: pd.DataFrame,
    template: str,
    *,
    errors: Literal["text", "object"] = "text",
    return_batch: bool = False,
    **keywords: Any,
) -> pd.DataFrame | tuple[pd.DataFrame, Batch[Any]]:
    """Ask each row of a table at once, in the words of a template.

    A row in which a column of the template is missing is not asked; equal prompts are asked once.

    Args:
        responder: Who is asked.
        frame: The table; its index may have any form.
        template: The prompt, with the names of columns in braces: "Translate into {language}: {text}". Write literal
            braces twice.
        errors: What stands in the column "error": "text" (the error's class and message, which any file format can hold) or
            "object" (the exception).
        return_batch: Return the Batch as well, with its summary and report.
        **keywords: As `Responder.map` takes them.

    Returns:
        A frame of the same index: "text" (None where there is no answer), "error" (None where there is none), "finish_reason",
        "model", "input_tokens", "output_tokens", "cost" (US dollars), "attempts" and "elapsed" (seconds). A repeated prompt has
        no tokens and cost of its own. With `return_batch=True` a pair of it and the batch.

    Raises:
        ConfigurationError: The template names no column, or one that the frame does not have.
    """
    table.check_errors(errors, ("text", "object"))
    names = table.columns_of_template(template, list(frame.columns))
    prompts = table.filled(template, names, [frame[name] for name in names], _is_missing)
    batch, results = table.ask(responder, prompts, _is_missing, keywords)
    columns = frames.columns_of(results)
    made = frames.to_pandas({name: columns[name] for name in frames.ANSWER}).set_axis(frame.index)
    made["text"] = _column(table.texts(results, "none"), frame.index)
    shown = [None if result is None else result.error for result in results] if errors == "object" else list(columns["error"])
    made["error"] = _column(shown, frame.index)
    return (made, batch) if return_batch else made


def embed_series(responder: Responder, series: pd.Series, *, errors: Errors = "raise", **keywords: Any) -> pd.Series:
    """Turn each value of a column into a vector, and return them as a column of the same index and name.

    Missing values (None, NaN, pd.NA, NaT) are not asked and become None; equal texts are asked once. For a matrix, put the
    cells together with `numpy.stack(column)`, or call `Responder.embed(column).numpy()`, which needs no cells.

    Args:
        responder: Who is asked.
        series: Texts; its index may have any form, duplicates included.
        errors: What stands for a failed text: "raise" (nothing does, its own error is raised, whose `batch` holds all vectors),
            "text" (the error's class and message), "object" (the error itself), "none" (None).
        **keywords: As `Responder.embed` takes them.

    Returns:
        A series of dtype object, of arrays of float32.

    Raises:
        APIError: A text failed, with `errors="raise"`.
        ConfigurationError: A keyword is invalid; nothing was sent.
    """
    table.check_errors(errors, ("raise", "text", "object", "none"))
    texts = [value for value in series if not _is_missing(value)]
    vectors = responder.embed(texts, **keywords)
    failed = {failure.index: failure.error for failure in vectors.failures()}
    for first in failed.values() if errors == "raise" else ():
        if first is not None:
            first.batch = vectors  # type: ignore[attr-defined]  # for whoever catches it
            raise first
    rows = vectors.numpy()
    places = iter(range(len(texts)))
    found: list[Any] = []
    for value in series:
        place = None if _is_missing(value) else next(places)
        if place is None or place >= len(vectors):
            found.append(None)
        elif place in failed:
            found.append(_shown(failed[place], errors))
        else:
            found.append(rows[place])
    return _column(found, series.index, series.name)


def _shown(error: Exception | None, errors: Errors) -> Any:
    """Return what stands for a text that failed."""
    if error is None or errors == "none":
        return None
    return error if errors == "object" else frames.error_text(error)


def _is_missing(value: Any) -> bool:
    return bool(pd.api.types.is_scalar(value) and pd.isna(value))


def _column(values: list[Any], index: Any, name: Any = None) -> pd.Series:
    # One cell at a time: pandas would turn errors that look like sequences into columns, and None into NaN.
    column = pd.Series([None] * len(values), index=index, name=name, dtype=object)
    for place, value in enumerate(values):
        column.iat[place] = value
    return column
