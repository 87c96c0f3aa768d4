"""How should the model answer? Options are checked once, before anything is sent."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from strategies import json_values

from responder import ConfigurationError, Options, Tool
from responder.call.subsets import ANTHROPIC, GEMINI, OPENAI, PLAIN, lowered
from responder.values.schema import Schema


def test_options_are_laid_over_defaults_and_none_takes_one_back() -> None:
    """A call's own option wins; None means: the provider's default again."""
    defaults = Options().merged({"temperature": 0.5, "max_tokens": 10})
    assert defaults.merged({"max_tokens": 20}) == Options(temperature=0.5, max_tokens=20)
    assert defaults.merged({"temperature": None}) == Options(max_tokens=10)
    assert defaults.merged({}) is defaults


def test_extra_is_laid_over_extra() -> None:
    """What the class was given stays, unless the call says otherwise; None takes all of it back."""
    defaults = Options().merged({"extra": {"a": 1, "deep": {"x": 1, "y": 2}}})
    assert defaults.merged({"extra": {"deep": {"y": 3}}}).extra == {"a": 1, "deep": {"x": 1, "y": 3}}
    assert defaults.extra == {"a": 1, "deep": {"x": 1, "y": 2}}
    assert defaults.merged({"extra": None}).extra == {}


@pytest.mark.parametrize(
    ("given", "match"),
    [
        ({"temprature": 1}, "unknown option temprature.*temperature.*extra="),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": True}, "max_tokens"),
        ({"max_tokens": "10"}, "max_tokens"),
        ({"candidates": 0}, "candidates"),
        ({"extra": 5}, "extra must be a dict"),
        ({"tools": 5}, "tools"),
        ({"tools": [5]}, "a tool must be a dict"),
        ({"tools": [{}]}, "a tool needs a name"),
        ({"tools": [{"type": "function", "function": 5}]}, "function"),
        ({"schema": 5}, "schema"),
        ({"stop": 5}, "stop"),
        ({"stop": [5]}, "stop"),
    ],
)
def test_an_option_that_makes_no_sense_is_refused(given: dict[str, Any], match: str) -> None:
    """The message names it, and what there is."""
    with pytest.raises(ConfigurationError, match=match) as caught:
        Options().merged(given)
    assert caught.value.fatal


def test_a_single_stop_is_a_list_of_one() -> None:
    """A str would otherwise be taken letter by letter."""
    assert Options().merged({"stop": "END"}).stop == ("END",)
    assert Options().merged({"stop": ["a", "b"]}).stop == ("a", "b")


def test_tools_are_taken_in_the_forms_of_the_providers() -> None:
    """Our own, OpenAI's and Anthropic's."""
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}}
    forms = [
        Tool("f", "Adds.", schema),
        {"name": "f", "description": "Adds.", "parameters": schema},
        {"name": "f", "description": "Adds.", "input_schema": schema},
        {"type": "function", "function": {"name": "f", "description": "Adds.", "parameters": schema}},
    ]
    assert Options().merged({"tools": forms}).tools == (Tool("f", "Adds.", schema),) * 4


def test_a_schema_may_come_from_a_class() -> None:
    """As pydantic's do; the import of pydantic is the user's."""

    class Model:
        @classmethod
        def model_json_schema(cls) -> dict[str, Any]:
            return {"type": "object"}

    assert Schema(Model) == {"type": "object"}


@given(json_values.filter(lambda value: isinstance(value, dict)))
def test_any_json_object_passes_through_as_a_schema(schema: dict[str, Any]) -> None:
    """What is no schema is the provider's to refuse."""
    for subset in (OPENAI, ANTHROPIC, GEMINI, PLAIN):
        assert isinstance(lowered(schema, subset).schema, dict)
