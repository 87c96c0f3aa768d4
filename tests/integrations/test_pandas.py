"""A column of prompts in, a column of answers out, under the same index."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from responder import BadRequestError, BatchError, ConfigurationError, OpenAIResponder, Price
from responder.integrations.pandas import embed_series, map_frame, map_series
from responder.simulator import Fault, Simulator


@pytest.fixture
def gpt(simulator: Simulator, responder_for: Callable[..., OpenAIResponder]) -> OpenAIResponder:
    """Ask the simulator."""
    return responder_for(simulator, base_url=simulator.base_url("openai"))


@pytest.mark.parametrize(
    "index",
    [None, [7, 7, 3], ["x", "y", "x"], pd.MultiIndex.from_tuples([(1, "a"), (1, "b"), (1, "a")])],
    ids=["range", "duplicates", "words", "several levels"],
)
def test_answers_stand_under_the_same_index(gpt: OpenAIResponder, index: Any) -> None:
    """Any index, duplicates included, comes back as it was, with the answers in place and the name kept."""
    prompts = pd.Series(["a", "b", "c"], index=index, name="question")
    answers = map_series(gpt, prompts)
    assert answers.index.equals(prompts.index)
    assert answers.name == "question"
    assert answers.dtype == object
    assert list(answers) == [f"Simulated answer to: {prompt}" for prompt in "abc"]


@pytest.mark.parametrize("missing", [None, np.nan, pd.NA, pd.NaT], ids=["None", "NaN", "NA", "NaT"])
def test_missing_values_are_not_asked(gpt: OpenAIResponder, simulator: Simulator, missing: Any) -> None:
    """They become None, whatever form they have."""
    answers = map_series(gpt, pd.Series(["a", missing], dtype=object))
    assert answers.iloc[1] is None
    assert len(simulator.received) == 1


def test_equal_prompts_are_asked_once(gpt: OpenAIResponder, simulator: Simulator) -> None:
    """Each of them gets the one answer."""
    answers = map_series(gpt, pd.Series(["a", "b", "a", "a"]))
    assert len(simulator.received) == 2
    assert answers.iloc[0] == answers.iloc[2] == answers.iloc[3] == "Simulated answer to: a"


def test_columns_of_texts_and_of_categories_are_taken(gpt: OpenAIResponder) -> None:
    """The input's dtype does not matter."""
    for dtype in ("string", "category"):
        assert list(map_series(gpt, pd.Series(["a", None], dtype=dtype))) == ["Simulated answer to: a", None]


def test_an_empty_column_stays_empty(gpt: OpenAIResponder, simulator: Simulator) -> None:
    """Nothing is asked, and the dtype is the same as ever."""
    answers = map_series(gpt, pd.Series([], dtype=object))
    assert (len(answers), answers.dtype) == (0, object)
    assert simulator.received == []


def test_messages_are_prompts_too(gpt: OpenAIResponder) -> None:
    """A cell may hold a whole conversation."""
    cell = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]
    assert list(map_series(gpt, pd.Series([cell], dtype=object))) == ["Simulated answer to: Hi"]


def test_a_failure_is_raised_with_all_results(gpt: OpenAIResponder, simulator: Simulator) -> None:
    """By default, a failed prompt raises, and what was answered is not lost."""
    simulator.script_for("bad", Fault.status(400, "no"))
    with pytest.raises(BatchError) as caught:
        map_series(gpt, pd.Series(["good", "bad"]))
    assert [result.ok for result in caught.value.results] == [True, False]


def test_a_failure_may_stand_in_the_column(gpt: OpenAIResponder, simulator: Simulator) -> None:
    """As text, as the error itself, or as None."""
    simulator.script_for("bad", Fault.status(400, "no").repeated(3))
    prompts = pd.Series(["good", "bad"])
    assert map_series(gpt, prompts, errors="text").iloc[1].startswith("BadRequestError: ")
    assert isinstance(map_series(gpt, prompts, errors="object").iloc[1], BadRequestError)
    assert list(map_series(gpt, prompts, errors="none")) == ["Simulated answer to: good", None]


def test_an_unknown_way_of_errors_is_refused(gpt: OpenAIResponder, simulator: Simulator) -> None:
    """Before anything is sent."""
    with pytest.raises(ConfigurationError, match="raise"):
        map_series(gpt, pd.Series(["a"]), errors="ignore")  # type: ignore[arg-type]  # what the test is about
    assert simulator.received == []


def test_a_frame_is_asked_in_the_words_of_a_template(gpt: OpenAIResponder, simulator: Simulator) -> None:
    """Each row fills the template; texts and errors come as columns under the same index."""
    simulator.script_for("In German: bad", Fault.status(400, "no"))
    frame = pd.DataFrame({"text": ["good", "bad", None], "language": ["French", "German", "Greek"]}, index=[5, 5, 9])
    found = map_frame(gpt, frame, "In {language}: {text}")
    assert found.index.equals(frame.index)
    assert list(found.columns)[:2] == ["text", "error"]
    assert list(found["text"]) == ["Simulated answer to: In French: good", None, None]
    assert [str(error)[:17] for error in found["error"]] == ["None", "BadRequestError: ", "None"]
    assert [call.prompt for call in simulator.received if "Greek" in str(call.prompt)] == []


def test_a_frame_may_hold_the_errors_themselves(gpt: OpenAIResponder, simulator: Simulator) -> None:
    """For programs that look at their class."""
    simulator.script_for("bad", Fault.status(400, "no"))
    found = map_frame(gpt, pd.DataFrame({"text": ["bad"]}), "{text}", errors="object")
    assert isinstance(found["error"].iloc[0], BadRequestError)


def test_a_frame_tells_tokens_and_cost_of_each_row_once(gpt: OpenAIResponder, simulator: Simulator) -> None:
    """A repeated prompt costs nothing, so the columns add up to what the batch says; a row that was not asked has none."""
    priced = OpenAIResponder("m", api_key="k", base_url=simulator.base_url("openai"), price=Price(1, 2))
    found, batch = map_frame(priced, pd.DataFrame({"text": ["a", "b", "a", None]}), "{text}", return_batch=True)
    assert batch.usage.input_tokens > 0
    assert found["input_tokens"].sum() == batch.usage.input_tokens
    assert found["output_tokens"].sum() == batch.usage.output_tokens
    assert found["cost"].sum() == pytest.approx(batch.cost)
    assert list(found["attempts"].isna()) == [False, False, False, True]


def test_the_batch_comes_along(gpt: OpenAIResponder) -> None:
    """With its summary and report, for a column as for a frame."""
    column, batch = map_series(gpt, pd.Series(["a", None]), return_batch=True)
    assert column.iloc[0] == batch[0].text
    assert batch.summary().items == 1


def test_a_frame_with_failures_is_written_as_parquet(gpt: OpenAIResponder, simulator: Simulator, tmp_path: Path) -> None:
    """Errors are texts, so any file format holds them."""
    simulator.script_for("bad", Fault.status(400, "no"))
    found = map_frame(gpt, pd.DataFrame({"q": ["good", "bad"]}), "{q}")
    found.to_parquet(tmp_path / "answers.parquet")
    assert pd.read_parquet(tmp_path / "answers.parquet")["error"].iloc[1].startswith("BadRequestError")


def test_the_columns_may_be_put_beside_the_frame(gpt: OpenAIResponder) -> None:
    """The ways the docs show, duplicates in the index included."""
    frame = pd.DataFrame({"question": ["a", "b"]}, index=["x", "x"])
    both = pd.concat([frame, map_frame(gpt, frame, "{question}")], axis=1)
    frame[["answer", "error"]] = map_frame(gpt, frame, "{question}")[["text", "error"]]
    assert list(frame["answer"]) == list(both["text"]) == ["Simulated answer to: a", "Simulated answer to: b"]


@pytest.mark.parametrize("template", ["{txt}", "no braces", "{text", "{text.upper}", "{}"])
def test_a_template_that_fits_no_column_is_refused(gpt: OpenAIResponder, simulator: Simulator, template: str) -> None:
    """A typing error is told before anything is sent."""
    with pytest.raises(ConfigurationError, match="template"):
        map_frame(gpt, pd.DataFrame({"text": ["a"]}), template)
    assert simulator.received == []


def test_vectors_stand_under_the_same_index(gpt: OpenAIResponder, simulator: Simulator) -> None:
    """Missing values are None, equal texts are asked once, and a cell is an array of float32."""
    texts = pd.Series(["a cat", None, "a cat", "a dog"], index=["x", "y", "x", "z"], name="review")
    found = embed_series(gpt, texts, dimensions=8)
    assert found.index.equals(texts.index)
    assert found.name == "review"
    assert found.iloc[1] is None
    assert np.array_equal(found.iloc[0], found.iloc[2])
    assert (found.iloc[3].dtype, found.iloc[3].shape) == (np.float32, (8,))
    assert [request.body["input"] for request in simulator.received] == [["a cat", "a dog"]]


def test_a_text_without_a_vector_is_what_errors_says(gpt: OpenAIResponder) -> None:
    """Its own error is raised, or stands in the cell, or None does."""
    texts = pd.Series(["a cat", ""])
    with pytest.raises(ConfigurationError, match="empty") as caught:
        embed_series(gpt, texts)
    assert len(caught.value.batch) == 2  # type: ignore[attr-defined]  # the run that it ended put it there
    assert isinstance(embed_series(gpt, texts, errors="object").iloc[1], ConfigurationError)
    assert embed_series(gpt, texts, errors="none").iloc[1] is None
    with pytest.raises(ConfigurationError, match="errors is"):
        embed_series(gpt, texts, errors="fun")  # type: ignore[arg-type]  # what the test is about
