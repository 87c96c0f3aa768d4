"""A polars or Arrow column in, a column out; a table in, a table out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import polars as pl
import pyarrow as pa
import pytest

from responder import BatchError, ConfigurationError, OpenAIResponder
from responder.integrations import arrow, polars
from responder.simulator import Fault, Simulator


@pytest.fixture
def gpt(simulator: Simulator, responder_for: Callable[..., OpenAIResponder]) -> OpenAIResponder:
    """Ask the simulator."""
    return responder_for(simulator, base_url=simulator.base_url("openai"))


def series(gpt: OpenAIResponder, values: list[str | None], **keywords: Any) -> Any:
    """Ask a polars column."""
    found = polars.map_series(gpt, pl.Series("question", values, dtype=pl.String), **keywords)
    return found if isinstance(found, tuple) else found.to_list()


def array(gpt: OpenAIResponder, values: list[str | None], **keywords: Any) -> Any:
    """Ask an Arrow column."""
    found = arrow.map_array(gpt, pa.chunked_array([pa.array(values, pa.string())]), **keywords)
    return found if isinstance(found, tuple) else found.to_pylist()


def frame(gpt: OpenAIResponder, columns: dict[str, list[Any]], template: str, **keywords: Any) -> Any:
    """Ask a polars frame."""
    found = polars.map_frame(gpt, pl.DataFrame(columns), template, **keywords)
    return found if isinstance(found, tuple) else found.to_dict(as_series=False)


def table(gpt: OpenAIResponder, columns: dict[str, list[Any]], template: str, **keywords: Any) -> Any:
    """Ask an Arrow table."""
    found = arrow.map_table(gpt, pa.table(columns), template, **keywords)
    return found if isinstance(found, tuple) else found.to_pydict()


both_columns = pytest.mark.parametrize("ask", [series, array], ids=["polars", "arrow"])
both_tables = pytest.mark.parametrize("ask", [frame, table], ids=["polars", "arrow"])


@both_columns
def test_a_column_is_asked(gpt: OpenAIResponder, simulator: Simulator, ask: Any) -> None:
    """In its order; missing values are not asked, equal ones once."""
    assert ask(gpt, ["a", None, "a"]) == ["Simulated answer to: a", None, "Simulated answer to: a"]
    assert len(simulator.received) == 1


@both_columns
def test_an_empty_column_stays_empty(gpt: OpenAIResponder, ask: Any) -> None:
    """Of the same type as ever."""
    assert ask(gpt, []) == []


@both_columns
def test_a_failure_is_raised_or_stands_in_the_column(gpt: OpenAIResponder, simulator: Simulator, ask: Any) -> None:
    """As its text, or as null; never as an object, which these columns cannot hold."""
    simulator.script_for("bad", Fault.status(400, "no").repeated(3))
    with pytest.raises(BatchError) as caught:
        ask(gpt, ["good", "bad"])
    assert [result.ok for result in caught.value.results] == [True, False]
    assert ask(gpt, ["bad"], errors="text")[0].startswith("BadRequestError: ")
    assert ask(gpt, ["bad"], errors="none") == [None]
    with pytest.raises(ConfigurationError, match="raise"):
        ask(gpt, ["bad"], errors="object")


@both_columns
def test_the_batch_comes_along(gpt: OpenAIResponder, ask: Any) -> None:
    """With its summary and report."""
    _, batch = ask(gpt, ["a"], return_batch=True)
    assert batch.texts() == ["Simulated answer to: a"]


@both_tables
def test_a_table_is_asked_in_the_words_of_a_template(gpt: OpenAIResponder, simulator: Simulator, ask: Any) -> None:
    """Texts, errors, tokens and cost come as columns, in the order of the rows."""
    simulator.script_for("In German: bad", Fault.status(400, "no"))
    columns = {"text": ["good", "bad", None], "language": ["French", "German", "Greek"]}
    found, batch = (ask(gpt, columns, "In {language}: {text}"), ask(gpt, columns, "{text}", return_batch=True)[1])
    assert list(found) == [
        *("text", "error", "finish_reason", "model", "input_tokens", "output_tokens", "cost", "attempts", "elapsed")
    ]
    assert found["text"] == ["Simulated answer to: In French: good", None, None]
    assert found["error"][1].startswith("BadRequestError: ")
    assert found["attempts"] == [1, 1, None]
    assert len(batch) == 2


@both_tables
@pytest.mark.parametrize("template", ["{txt}", "no braces", "{text", "{text.upper}", "{}"])
def test_a_template_that_fits_no_column_is_refused(gpt: OpenAIResponder, simulator: Simulator, ask: Any, template: str) -> None:
    """Before anything is sent."""
    with pytest.raises(ConfigurationError, match="template"):
        ask(gpt, {"text": ["a"]}, template)
    assert simulator.received == []
