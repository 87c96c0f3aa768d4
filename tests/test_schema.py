"""From any type to each provider's JSON Schema, and from a text back to the type."""

from __future__ import annotations

import copy
import dataclasses
import decimal
import enum
import json
import pickle
import threading
from typing import Annotated, Any, Literal

import jsonschema
import pydantic
import pytest
from sdks import anthropic_transform, openai_pydantic
from typing_extensions import TypedDict  # pydantic takes the one of typing from Python 3.12 on

from responder import ConfigurationError
from responder.call.subsets import ANTHROPIC, GEMINI, OPENAI, PLAIN, Subset, described, lowered
from responder.values.schema import Schema, UnfitError


class Address(pydantic.BaseModel):
    street: str
    zip: str = pydantic.Field(pattern=r"^\d{5}$")


class Line(pydantic.BaseModel):
    name: str
    amount: Annotated[float, pydantic.Field(ge=0, le=1000)]


class Invoice(pydantic.BaseModel):
    number: int = pydantic.Field(ge=1, description="As printed at the top")
    customer: Address = pydantic.Field(description="Whom it is for")
    lines: list[Line] = pydantic.Field(min_length=1, max_length=50)
    note: str | None = None
    currency: Literal["EUR", "USD"] = "EUR"


class Cat(pydantic.BaseModel):
    kind: Literal["cat"]
    lives: int


class Dog(pydantic.BaseModel):
    kind: Literal["dog"]
    tricks: list[str]


class Owner(pydantic.BaseModel):
    pet: Annotated[Cat | Dog, pydantic.Field(discriminator="kind")]


class Counts(pydantic.BaseModel):
    words: dict[str, int]


class Node(pydantic.BaseModel):
    name: str
    children: list[Node] = []


@dataclasses.dataclass
class Point:
    x: int
    y: int = 0


class Movie(TypedDict):
    title: str
    year: int


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


SUBSETS = {"openai": OPENAI, "anthropic": ANTHROPIC, "gemini": GEMINI, "plain": PLAIN}
TYPES: dict[str, tuple[Any, Any]] = {
    "model": (
        Invoice,
        {
            "number": 7,
            "customer": {"street": "A", "zip": "12345"},
            "lines": [{"name": "x", "amount": 1.5}],
            "note": None,
            "currency": "USD",
        },
    ),
    "union": (Owner, {"pet": {"kind": "dog", "tricks": ["sit"]}}),
    "recursive": (Node, {"name": "a", "children": [{"name": "b", "children": []}]}),
    "dataclass": (Point, {"x": 1, "y": 2}),
    "typed dict": (Movie, {"title": "t", "year": 1999}),
    "enum": (Colour, "red"),
    "literal": (Literal["yes", "no"], "no"),
    "list": (list[Line], [{"name": "x", "amount": 1.5}]),
    "plain union": (Cat | Dog, {"kind": "cat", "lives": 9}),
    "int": (int, 3),
    "list of texts": (list[str], ["a", "b"]),
}


@pytest.mark.parametrize("subset", SUBSETS.values(), ids=SUBSETS)
@pytest.mark.parametrize(("kind", "value"), TYPES.values(), ids=TYPES)
def test_what_fits_the_type_fits_its_schema_and_comes_back_as_the_type(kind: Any, value: Any, subset: Subset) -> None:
    """For every type and every provider; where the root has to be an object, the value stands in a wrapper."""
    schema = Schema(kind)
    sent = lowered(schema, subset).schema
    jsonschema.Draft202012Validator.check_schema(sent)
    wrapped = subset.needs_object and not schema.is_object
    answer = {"result": value} if wrapped else value
    jsonschema.validate(answer, sent)
    assert schema.parse(json.dumps(answer)) == pydantic.TypeAdapter(kind).validate_python(value)


def objects(schema: Any) -> list[dict[str, Any]]:
    """Return all schemas of objects within a schema."""
    found = []
    if isinstance(schema, dict):
        if schema.get("type") == "object":
            found.append(schema)
        for value in schema.values():
            found += objects(value)
    elif isinstance(schema, list):
        for value in schema:
            found += objects(value)
    return found


@pytest.mark.parametrize("kind", [kind for kind, _ in TYPES.values()], ids=TYPES)
def test_strict_mode_gets_what_it_insists_on(kind: Any) -> None:
    """Closed objects, all properties required, no root but an object, no word that it refuses, references alone."""
    made = lowered(Schema(kind), OPENAI)
    text = json.dumps(made.schema)
    assert made.strict
    assert made.schema["type"] == "object"
    for each in objects(made.schema):
        assert each["additionalProperties"] is False
        assert each["required"] == list(each["properties"])
    for word in ('"default"', '"oneOf"', '"discriminator"'):
        assert word not in text


@pytest.mark.parametrize("kind", [Invoice, Node, Point, Movie], ids=["model", "recursive", "dataclass", "typed dict"])
def test_the_schema_is_what_the_openai_sdk_sends(kind: Any) -> None:
    """But for defaults other than null, which the API refuses."""
    theirs = openai_pydantic.to_strict_json_schema(kind if issubclass(kind, pydantic.BaseModel) else pydantic.TypeAdapter(kind))
    ours = lowered(Schema(kind), OPENAI).schema

    def without_defaults(found: Any) -> Any:
        if isinstance(found, dict):
            return {name: without_defaults(value) for name, value in found.items() if name != "default"}
        return [without_defaults(value) for value in found] if isinstance(found, list) else found

    if "$ref" in theirs:  # a root that is a reference, which the API refuses: the SDK leaves it to the user
        theirs = {**theirs["$defs"][theirs["$ref"].rpartition("/")[2]], "$defs": theirs["$defs"]}
    assert ours == without_defaults(theirs)


@pytest.mark.parametrize("kind", [Invoice, Point, Movie, Owner], ids=["model", "dataclass", "typed dict", "union"])
def test_the_schema_is_what_the_anthropic_sdk_sends(kind: Any) -> None:
    """The same words kept, and the same ones moved; but for defaults, which tell a model nothing."""
    theirs = anthropic_transform.transform_schema(copy.deepcopy(pydantic.TypeAdapter(kind).json_schema()))
    ours = lowered(Schema(kind), ANTHROPIC).schema

    def shape(found: Any) -> Any:
        if isinstance(found, dict):
            return {name: shape(value) for name, value in found.items() if name not in ("description", "title", "type", "$ref")}
        return [shape(value) for value in found] if isinstance(found, list) else found

    inlined = {"customer"}  # a described reference: the SDK drops the description, we keep it beside what it refers to
    for name in inlined & set(ours["properties"]):
        ours["properties"][name] = theirs["properties"][name] = {}
    assert shape(ours) == shape(theirs)


def test_bounds_that_a_provider_lacks_go_into_the_description() -> None:
    """The model may keep to them, and we check."""
    made = lowered(Schema(Invoice), ANTHROPIC).schema
    number = made["properties"]["number"]
    assert number["description"] == "As printed at the top\n\n{minimum: 1}"
    assert "minimum" not in number
    assert "maxItems: 50" in made["properties"]["lines"]["description"]
    with pytest.raises(UnfitError, match="greater than or equal to 1"):
        Schema(Invoice).parse(json.dumps({**TYPES["model"][1], "number": 0}))


def test_a_described_nested_field_keeps_its_description() -> None:
    """Where a reference has to stand alone, what it refers to takes its place."""
    for subset in (OPENAI, ANTHROPIC):
        customer = lowered(Schema(Invoice), subset).schema["properties"]["customer"]
        assert customer["description"] == "Whom it is for"
        assert "$ref" not in customer


@pytest.mark.parametrize("kind", [Counts, dict[str, int]], ids=["nested", "root"])
def test_an_open_map_switches_strictness_off(kind: Any) -> None:
    """`dict[str, int]` has no closed form: OpenAI is asked without its guarantee, Anthropic in words."""
    made = lowered(Schema(kind), OPENAI)
    assert not made.strict
    jsonschema.validate({"words": {"a": 1}} if kind is Counts else {"a": 1}, made.schema)
    assert not lowered(Schema(kind), ANTHROPIC).strict
    assert lowered(Schema(kind), GEMINI).strict
    assert lowered(Schema(kind), PLAIN).strict


@pytest.mark.parametrize("kind", [Node, list[Node], Annotated[Node, pydantic.Field(description="d")]])
def test_only_anthropic_refuses_recursion(kind: Any) -> None:
    """A type that holds itself is told in words there."""
    assert not lowered(Schema(kind), ANTHROPIC).strict
    assert lowered(Schema(kind), OPENAI).strict
    assert lowered(Schema(Invoice), ANTHROPIC).strict


class Odd(pydantic.BaseModel):
    pair: tuple[int, str]
    tags: set[str]
    price: decimal.Decimal
    page: pydantic.HttpUrl
    anything: Any


def test_what_strict_mode_refuses_is_said_otherwise() -> None:
    """Tuples, sets, URLs and the pattern of a Decimal are types that people use; "anything" is only asked for loosely."""
    made = lowered(Schema(Odd), OPENAI)
    assert not made.strict
    properties = made.schema["properties"]
    assert properties["pair"]["items"] == {"anyOf": [{"type": "integer"}, {"type": "string"}]}
    text = json.dumps(made.schema)
    for word in ('"prefixItems"', '"uniqueItems"', '"format"', '"pattern"'):
        assert word not in text
    assert "uniqueItems" in properties["tags"]["description"]


def test_hosts_without_schemas_get_it_in_words() -> None:
    """With the word JSON in it, which they insist on."""
    text = described(Schema(list[Line]))
    assert "JSON" in text
    assert '"result"' in text


@pytest.mark.parametrize(
    "text",
    [
        '{"x": 1, "y": 2}',
        ' {"x": 1, "y": 2}\n',
        '```json\n{"x": 1, "y": 2}\n```',
        'Here it is: {"x": 1, "y": 2}. Anything else?',
    ],
)
def test_reads_json_where_it_stands(text: str) -> None:
    """In a fence, or between words: what hosts without schemas make of it."""
    assert Schema(Point).parse(text) == Point(1, 2)
    assert Schema({"type": "object"}).parse(text) == {"x": 1, "y": 2}


@pytest.mark.parametrize("text", ["", "none", "{", '{"x": "one"}', "[]", "null", "[" * 100_000])
def test_says_what_does_not_fit(text: str) -> None:
    """In a few words, which the model is shown."""
    with pytest.raises(UnfitError) as caught:
        Schema(Point).parse(text)
    assert 0 < len(caught.value.problems) <= 10
    assert all(len(problem) < 600 for problem in caught.value.problems)


def test_a_json_schema_is_checked_too() -> None:
    """By jsonschema, where it is installed."""
    schema = Schema({"type": "object", "properties": {"n": {"type": "integer", "minimum": 3}}, "required": ["n"]})
    assert schema.parse('{"n": 3}') == {"n": 3}
    with pytest.raises(UnfitError, match="n: 2 is less than the minimum of 3"):
        schema.parse('{"n": 2}')


def test_a_schema_is_a_value() -> None:
    """Equal by content, picklable by the type's name, and not changed by lowering it."""
    schema = Schema(Invoice)
    before = json.dumps(dict(schema))
    for subset in SUBSETS.values():
        lowered(schema, subset)
    assert json.dumps(dict(schema)) == before
    assert pickle.loads(pickle.dumps(schema)) == schema == Schema(schema)
    assert Schema({"type": "object"}) == {"type": "object"}


@pytest.mark.parametrize("kind", [object(), lambda: None, threading.Lock(), 3])
def test_what_is_no_type_is_refused(kind: Any) -> None:
    """With words that say what it could be."""
    with pytest.raises(ConfigurationError, match="schema must be a JSON Schema"):
        Schema(kind)
