"""How are the rows of any table asked? Missing values not at all, equal prompts once; knows neither pandas, polars nor Arrow."""

from __future__ import annotations

import dataclasses
import math
import string
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal

from responder.responder import Responder
from responder.values import frames
from responder.values.answer import NO_USAGE
from responder.values.errors import BatchError, ConfigurationError
from responder.values.messages import Prompt
from responder.values.results import Batch, Result

Errors = Literal["raise", "text", "object", "none"]


def check_errors(errors: str, known: Sequence[str]) -> None:
    """Refuse a value of `errors=` that means nothing.

    Raises:
        ConfigurationError: It is not among the known ones.
    """
    if errors not in known:
        words = [f'"{word}"' for word in known]
        raise ConfigurationError(f"errors is {', '.join(words[:-1])} or {words[-1]}, not {errors!r}")


def ask(
    responder: Responder, values: Iterable[Any], is_missing: Callable[[Any], bool], keywords: dict[str, Any]
) -> tuple[Batch[Any], list[Result[Any] | None]]:
    """Ask what is not missing, equal texts once.

    Returns:
        The batch, with a result for each prompt that was asked, and for each value its result; None where it is missing. The
        result of a repeated text has no attempts, tokens and cost of its own, so that columns of them add up.

    Raises:
        BatchError: The run ended before all were asked (`on_error="stop"`, for one).
    """
    prompts: list[Prompt] = []
    known: dict[str, int] = {}
    places: list[tuple[int | None, bool]] = []
    for value in values:
        if is_missing(value):
            places.append((None, False))
            continue
        place = known.get(value) if isinstance(value, str) else None
        places.append((len(prompts) if place is None else place, place is not None))
        if place is None:
            if isinstance(value, str):
                known[value] = len(prompts)
            prompts.append(value)
    batch = responder.map(prompts, **keywords)
    if len(batch) < len(prompts):
        raise BatchError(f"the run ended after {len(batch)} of {len(prompts)} prompts", batch)
    return batch, [None if place is None else _again(batch[place]) if repeats else batch[place] for place, repeats in places]


def _again(result: Result[Any]) -> Result[Any]:
    return dataclasses.replace(result, attempts=0, elapsed=0.0, waited=0.0, usage=NO_USAGE, cost=0.0)


def texts(results: Iterable[Result[Any] | None], errors: Errors) -> list[Any]:
    """Return for each result its answer's text, or what `errors` puts in the place of a failure."""
    return [None if result is None else _text_or(result, errors) for result in results]


def _text_or(result: Result[Any], errors: Errors) -> Any:
    if result.error is None:
        return result.text
    if errors == "text":
        return frames.error_text(result.error)
    return result.error if errors == "object" else None


def columns_of_template(template: str, known: Sequence[Any]) -> list[str]:
    """Return the names in a template, each once.

    Args:
        template: "Translate into {language}: {text}".
        known: The columns that there are.

    Raises:
        ConfigurationError: It names no column, or one that is not there.
    """
    try:
        names = sorted({name for _, name, _, _ in string.Formatter().parse(template) if name is not None})
    except ValueError as error:
        raise ConfigurationError(f"the template has an odd brace ({error}); write {{{{ and }}}} for literal braces") from None
    unknown = [name for name in names if name not in known]
    if unknown or not names:
        columns = ", ".join(map(str, known))
        raise ConfigurationError(f"the template names {', '.join(unknown) or 'no column'}; the frame's columns are {columns}")
    return names


def filled(
    template: str, names: Sequence[str], columns: Sequence[Iterable[Any]], is_missing: Callable[[Any], bool]
) -> list[str | None]:
    """Return the prompt of each row; None where a column of the template is missing.

    Args:
        template: The template.
        names: Its columns.
        columns: Their values, in the order of the names.
        is_missing: Tells which values are none.
    """
    rows = zip(*columns, strict=True)
    return [None if any(map(is_missing, row)) else template.format_map(dict(zip(names, row, strict=True))) for row in rows]


def is_missing(value: Any) -> bool:
    """Return whether a value of a table without pandas' own kinds of nothing is missing: null, or NaN."""
    return value is None or (isinstance(value, float) and math.isnan(value))


def answered_column(
    responder: Responder, values: Iterable[Any], errors: Errors, keywords: dict[str, Any]
) -> tuple[list[str | None], Batch[Any]]:
    """Ask each value of a column, and return the texts of a column of answers, and the batch.

    Raises:
        BatchError: A prompt failed, with `errors="raise"`.
        ConfigurationError: A keyword is invalid.
    """
    check_errors(errors, ("raise", "text", "none"))
    batch, results = ask(responder, values, is_missing, keywords)
    if errors == "raise":
        batch.answers()
    return list(map(frames.writable, texts(results, errors))), batch


def answered_rows(
    responder: Responder, template: str, known: Sequence[Any], values: Callable[[str], Iterable[Any]], keywords: dict[str, Any]
) -> tuple[dict[str, Sequence[Any]], Batch[Any]]:
    """Ask each row of a table, and return the columns of a table of answers, and the batch.

    Args:
        responder: Who is asked.
        template: The prompt, with the names of columns in braces.
        known: The names of the columns.
        values: Returns a column's values.
        keywords: As `Responder.map` takes them.

    Raises:
        ConfigurationError: The template names no column, or one that is not there.
    """
    names = columns_of_template(template, known)
    prompts = filled(template, names, [values(name) for name in names], is_missing)
    batch, results = ask(responder, prompts, is_missing, keywords)
    columns = frames.columns_of(results)
    return {name: columns[name] for name in frames.ANSWER}, batch
