"""What a Python function looks like to a model, and what becomes of the model's arguments."""

from __future__ import annotations

import dataclasses
import enum
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Literal, Optional

import pydantic
import pytest

from responder import ConfigurationError, Options, Tool
from responder.values.functions import Function


class Unit(enum.Enum):
    METRIC = "C"
    IMPERIAL = "F"


@dataclasses.dataclass
class Place:
    city: str
    country: str = "DE"


class Range(pydantic.BaseModel):
    """A number of days."""

    days: int = pydantic.Field(ge=1, le=7, description="How many.")
    of: list[Place] = []


def forecast(city: str, days: int = 3, unit: Unit = Unit.METRIC, kind: Literal["rain", "sun"] | None = None) -> str:
    """Tell the weather.

    It is made up.

    Args:
        city: The city's name,
            as on a map.
        days (int): How many.

    Returns:
        The weather.
    """
    return f"{city} {days} {unit} {kind}"


def test_hints_and_docstring_become_a_schema() -> None:
    """Types, defaults, and the text of each argument."""
    made = Function(forecast)

    assert (made.name, made.description) == ("forecast", "Tell the weather.\n\nIt is made up.")
    assert made.parameters == {
        "type": "object",
        "properties": {
            "city": {"type": "string", "description": "The city's name, as on a map."},
            "days": {"type": "integer", "default": 3, "description": "How many."},
            "unit": {"type": "string", "enum": ["C", "F"]},
            "kind": {"anyOf": [{"type": "string", "enum": ["rain", "sun"]}, {"type": "null"}]},
        },
        "required": ["city"],
        "additionalProperties": False,
    }


def test_the_function_gets_values_of_its_own_types() -> None:
    """An Enum member for its value, and what the model leaves out is the default."""
    assert Function(forecast)({"city": "Berlin", "unit": "F", "days": 2.0}) == "Berlin 2 Unit.IMPERIAL None"


@pytest.mark.parametrize(
    ("hint", "schema", "given", "got"),
    [
        (str, {"type": "string"}, "x", "x"),
        (float, {"type": "number"}, 1, 1.0),
        (bool, {"type": "boolean"}, True, True),
        (list, {"type": "array"}, [1], [1]),
        (dict, {"type": "object"}, {"a": 1}, {"a": 1}),
        (list[int], {"type": "array", "items": {"type": "integer"}}, [1, 2.0], [1, 2]),
        (Sequence[str], {"type": "array", "items": {"type": "string"}}, ["a"], ["a"]),
        (dict[str, float], {"type": "object", "additionalProperties": {"type": "number"}}, {"a": 1}, {"a": 1.0}),
        (Mapping[str, Any], {"type": "object", "additionalProperties": {}}, {"a": []}, {"a": []}),
        (Optional[int], {"anyOf": [{"type": "integer"}, {"type": "null"}]}, None, None),  # noqa: UP045 - as older code has it
        (int | str, {"anyOf": [{"type": "integer"}, {"type": "string"}]}, "3", "3"),
        (Literal[1, 2], {"type": "integer", "enum": [1, 2]}, 2, 2),
        (Annotated[str, "In capitals."], {"type": "string", "description": "In capitals."}, "A", "A"),
        (Any, {}, [None], [None]),
    ],
)
def test_plain_types_need_no_pydantic(
    hint: Any, schema: dict[str, Any], given: Any, got: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each has its schema, and a reader that is strict about kinds."""
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)

    def tool(value: Any) -> Any:
        return value

    tool.__annotations__ = {"value": hint}
    made = Function(tool)

    assert made.parameters["properties"]["value"] == schema
    assert made({"value": given}) == got


def test_dataclasses_and_models_go_through_pydantic() -> None:
    """Their definitions stand at the root, where references find them, and the function gets objects."""

    def plan(where: Place, when: Range) -> tuple[Place, Range]:
        """Plan a trip."""
        return where, when

    plan.__annotations__ = {"where": Place, "when": Range}
    made = Function(plan)

    assert made.parameters["properties"]["where"] == {"$ref": "#/$defs/Place"}
    assert set(made.parameters["$defs"]) == {"Place", "Range"}
    where, when = made({"where": {"city": "Bonn"}, "when": {"days": 2, "of": [{"city": "Ulm"}]}})
    assert (where, when.days, when.of) == (Place("Bonn"), 2, [Place("Ulm")])
    with pytest.raises(ValueError, match=r"when: days Input should be less than or equal to 7"):
        made({"where": {"city": "Bonn"}, "when": {"days": 9}})


def test_without_pydantic_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """And which parameter asks for it."""
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)

    def plan(where: str) -> None:
        """Plan a trip."""

    plan.__annotations__ = {"where": Place}
    with pytest.raises(ConfigurationError, match=r"plan has a parameter where .* pip install pydantic"):
        Function(plan)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "city: it is missing"),
        ({"city": 3}, "city: a string is wanted, not 3"),
        ({"city": "x", "days": True}, "days: a whole number is wanted, not True"),
        ({"city": "x", "unit": "K"}, "unit: one of \\['C', 'F'\\] is wanted, not 'K'"),
        ({"city": "x", "kind": 1}, "kind: one of .* or null is wanted"),
        ({"city": "x", "wind": 1}, "wind: there is no such argument"),
    ],
)
def test_arguments_that_do_not_fit_are_named(given: dict[str, Any], said: str) -> None:
    """So that the model can do better."""
    with pytest.raises(ValueError, match=said):
        Function(forecast)(given)


class Station:
    def measure(self, place: str) -> str:
        """Measure."""
        return place

    async def later(self) -> None:
        """Not to be called in threads."""

    def all(self, *places: str) -> None:
        """Of no number that a model could know."""


def test_methods_and_partials_are_functions_too() -> None:
    """Bound ones, without `self`; a partial has no name of its own, so it is given one."""
    assert Function(Station().measure)({"place": "x"}) == "x"
    given = Options().merged({"tools": [Tool("tell", "", {}, functools.partial(forecast, "Rome"))]}).tools
    assert given is not None
    assert Function(given[0].function, "tell")({"days": 1}).startswith("Rome 1")


@pytest.mark.parametrize("wrong", [Place, Station().later, Station().all, lambda: 1, functools.partial(forecast, "x")])
def test_what_cannot_be_a_tool_is_refused_at_once(wrong: Callable[..., Any]) -> None:
    """Before anything is sent."""
    with pytest.raises(ConfigurationError):
        Options().merged({"tools": [wrong]})


def test_two_tools_of_one_name_are_refused() -> None:
    """A model could not tell them apart."""
    with pytest.raises(ConfigurationError, match="two tools have the name forecast"):
        Options().merged({"tools": [forecast, Tool("forecast")]})
