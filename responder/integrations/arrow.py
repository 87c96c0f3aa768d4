"""How is a column of an Arrow table asked? A column of prompts in, a column or a table of answers out, in the same order.

data = data.append_column("answer", map_array(gpt, data["question"]))
answers = map_table(gpt, data, "Translate into {language}: {question}")
"""

from __future__ import annotations

from typing import Any, Literal, overload

from responder.integrations import missing, table
from responder.responder import Responder
from responder.values import frames
from responder.values.results import Batch

try:
    import pyarrow as pa
except ModuleNotFoundError as error:
    raise missing("pyarrow", "arrow") from error

Errors = Literal["raise", "text", "none"]


@overload
def map_array(
    responder: Responder, array: Any, *, errors: Errors = ..., return_batch: Literal[False] = ..., **keywords: Any
) -> pa.Array: ...


@overload
def map_array(
    responder: Responder, array: Any, *, errors: Errors = ..., return_batch: Literal[True], **keywords: Any
) -> tuple[pa.Array, Batch[Any]]: ...


def map_array(
    responder: Responder, array: Any, *, errors: Errors = "raise", return_batch: bool = False, **keywords: Any
) -> pa.Array | tuple[pa.Array, Batch[Any]]:
    """Ask each value of an Array or ChunkedArray at once, and return the texts of the answers as an array of strings.

    Missing values (null, NaN) are not asked and become null; equal prompts are asked once.

    Args:
        responder: Who is asked.
        array: Prompts.
        errors: What stands for a failed prompt: "raise" (nothing does, a BatchError is raised whose `results` hold one Result
            for each prompt that was asked), "text" (the error's class and message), "none" (null).
        return_batch: Return the Batch as well, with its tokens, cost, summary and report.
        **keywords: As `Responder.map` takes them.

    Raises:
        BatchError: A prompt failed, with `errors="raise"`.
        ConfigurationError: A keyword is invalid; nothing was sent.
    """
    texts, batch = table.answered_column(responder, array.to_pylist(), errors, keywords)
    column = pa.array(texts, pa.string())
    return (column, batch) if return_batch else column


@overload
def map_table(
    responder: Responder, data: pa.Table, template: str, *, return_batch: Literal[False] = ..., **keywords: Any
) -> pa.Table: ...


@overload
def map_table(
    responder: Responder, data: pa.Table, template: str, *, return_batch: Literal[True], **keywords: Any
) -> tuple[pa.Table, Batch[Any]]: ...


def map_table(
    responder: Responder, data: pa.Table, template: str, *, return_batch: bool = False, **keywords: Any
) -> pa.Table | tuple[pa.Table, Batch[Any]]:
    """Ask each row of a table at once, in the words of a template.

    A row in which a column of the template is missing is not asked; equal prompts are asked once.

    Args:
        responder: Who is asked.
        data: The table, or a record batch.
        template: The prompt, with the names of columns in braces: "Translate into {language}: {text}". Braces that mean
            themselves are written twice.
        return_batch: Return the Batch as well, with its summary and report.
        **keywords: As `Responder.map` takes them.

    Returns:
        A table with a row for each row: text, error (as text), finish_reason, model, input_tokens, output_tokens, cost (US
        dollars), attempts and elapsed (seconds), null where there is none. A repeated prompt has no tokens and cost of its own.

    Raises:
        ConfigurationError: The template names no column, or one that the table does not have.
    """
    columns, batch = table.answered_rows(
        responder, template, data.schema.names, lambda name: data.column(name).to_pylist(), keywords
    )
    made = frames.to_arrow(columns)
    return (made, batch) if return_batch else made
