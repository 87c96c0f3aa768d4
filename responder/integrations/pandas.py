"""How is a column of a table asked? A column of prompts in, a column of answers out, under the same index.

frame["answer"] = map_series(gpt, frame["question"], max_workers=32)
frame[["text", "error"]] = map_frame(gpt, frame, "Translate into {language}: {text}")
"""

from __future__ import annotations

import string
from collections.abc import Iterable
from typing import Any, Literal

from responder.integrations import missing
from responder.responder import Responder
from responder.values.errors import BatchError, ConfigurationError
from responder.values.messages import Prompt
from responder.values.results import Batch, Result

try:
    import pandas as pd
except ModuleNotFoundError as error:
    raise missing("pandas", "pandas") from error

Errors = Literal["raise", "object", "none"]


def map_series(responder: Responder, series: pd.Series, *, errors: Errors = "raise", **keywords: Any) -> pd.Series:
    """Ask each value of a column at once, and return the texts of the answers as a column of the same index and name.

    Missing values (None, NaN, pd.NA, NaT) are not asked and become None; equal prompts are asked once.

    Args:
        responder: Who is asked.
        series: Prompts; its index may have any form, duplicates included.
        errors: What stands for a failed prompt: "raise" (nothing does, a BatchError is raised whose `results` hold one Result
            for each prompt that was asked), "object" (the error itself), "none" (None).
        **keywords: As `Responder.map` takes them.

    Returns:
        A series of dtype object.

    Raises:
        BatchError: A prompt failed, with `errors="raise"`.
        ConfigurationError: A keyword is invalid; nothing was sent.
    """
    if errors not in ("raise", "object", "none"):
        raise ConfigurationError(f'errors is "raise", "object" or "none", not {errors!r}')
    batch, places = _ask(responder, series, keywords)
    if errors == "raise":
        batch.answers()
    failed = (lambda result: result.error) if errors == "object" else (lambda _: None)
    values = [None if place is None else _text(batch[place]) if batch[place].ok else failed(batch[place]) for place in places]
    return _column(values, series.index, series.name)


def map_frame(responder: Responder, frame: pd.DataFrame, template: str, **keywords: Any) -> pd.DataFrame:
    """Ask each row of a table at once, in the words of a template.

    A row in which a column of the template is missing is not asked; equal prompts are asked once.

    Args:
        responder: Who is asked.
        frame: The table; its index may have any form.
        template: The prompt, with the names of columns in braces: "Translate into {language}: {text}". Braces that mean
            themselves are written twice.
        **keywords: As `Responder.map` takes them.

    Returns:
        A frame of the same index with two columns of dtype object: "text" (None where there is no answer) and "error" (the
        exception; None where there is none).

    Raises:
        ConfigurationError: The template names no column, or one that the frame does not have.
    """
    try:
        names = sorted({name for _, name, _, _ in string.Formatter().parse(template) if name is not None})
    except ValueError as error:
        raise ConfigurationError(
            f"the template has an odd brace ({error}); braces that mean themselves are written twice"
        ) from None
    unknown = [name for name in names if name not in frame.columns]
    if unknown or not names:
        known = ", ".join(map(str, frame.columns))
        raise ConfigurationError(f"the template names {', '.join(unknown) or 'no column'}; the frame's columns are {known}")
    rows = zip(*(frame[name] for name in names), strict=True)
    prompts = [None if any(map(_is_missing, row)) else template.format_map(dict(zip(names, row, strict=True))) for row in rows]
    batch, places = _ask(responder, prompts, keywords)
    found = [None if place is None else batch[place] for place in places]
    return pd.DataFrame(
        {
            "text": _column([None if result is None else _text(result) for result in found], frame.index),
            "error": _column([None if result is None else result.error for result in found], frame.index),
        }
    )


def _ask(responder: Responder, values: Iterable[Any], keywords: dict[str, Any]) -> tuple[Batch, list[int | None]]:
    """Ask what is not missing, equal texts once; return the batch and, for each value, its place there."""
    prompts: list[Prompt] = []
    known: dict[str, int] = {}
    places: list[int | None] = []
    for value in values:
        if _is_missing(value):
            places.append(None)
            continue
        place = known.get(value, len(prompts)) if isinstance(value, str) else len(prompts)
        if place == len(prompts):
            prompts.append(value)
            if isinstance(value, str):
                known[value] = place
        places.append(place)
    batch = responder.map(prompts, **keywords)
    if len(batch) < len(prompts):
        raise BatchError(f"the run ended after {len(batch)} of {len(prompts)} prompts", batch)
    return batch, places


def _is_missing(value: Any) -> bool:
    return bool(pd.api.types.is_scalar(value) and pd.isna(value))


def _text(result: Result) -> str | None:
    return result.answer.text if result.answer is not None else None


def _column(values: list[Any], index: Any, name: Any = None) -> pd.Series:
    # One cell at a time: pandas would make columns of its own out of errors that look like sequences, and NaN out of None.
    column = pd.Series([None] * len(values), index=index, name=name, dtype=object)
    for place, value in enumerate(values):
        column.iat[place] = value
    return column
