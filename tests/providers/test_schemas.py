"""Every provider takes every type: asked in what it takes of JSON Schema, and checked when the answer comes."""

from __future__ import annotations

import enum
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import pydantic
import pytest
from providers.contract import NAMES, make

from responder import InvalidAnswerError, OllamaResponder, Responder
from responder.simulator import Fault, Simulator


class Cat(pydantic.BaseModel):
    kind: Literal["cat"]
    lives: int = pydantic.Field(ge=2, le=9)


class Dog(pydantic.BaseModel):
    kind: Literal["dog"]
    tricks: list[str] = pydantic.Field(min_length=2)


class Address(pydantic.BaseModel):
    street: str = pydantic.Field(min_length=12)
    code: str = pydantic.Field(pattern=r"^[A-Z]{2}-\d{5}$")


class Order(pydantic.BaseModel):
    number: int = pydantic.Field(gt=41, description="As printed at the top")
    address: Address = pydantic.Field(description="Whom it goes to")
    pets: list[Annotated[Cat | Dog, pydantic.Field(discriminator="kind")]]
    share: float = pydantic.Field(ge=0.25, lt=0.75)
    note: str | None = None


class Counts(pydantic.BaseModel):
    words: dict[str, int]


class Node(pydantic.BaseModel):
    name: str
    below: list[Node] = []


@dataclass
class Point:
    x: int
    y: int = 0


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


KINDS: dict[str, Any] = {
    "model": Order,
    "open map": Counts,
    "map": dict[str, int],
    "recursive": Node,
    "dataclass": Point,
    "enum": Colour,
    "literal": Literal["yes", "no"],
    "list": list[Point],
    "union": Cat | Dog,
}


@pytest.fixture(params=[*NAMES, "ollama native"])
def ask(simulator: Simulator, request: pytest.FixtureRequest) -> Iterator[Responder]:
    """Return a responder of each provider, in front of the simulator."""
    if request.param == "ollama native":
        found: Responder = OllamaResponder("m", base_url=simulator.url)
    else:
        found = make(request.param, simulator.base_url(request.param))
    with found as responder:
        yield responder


def test_every_type_works_with_every_provider(simulator: Simulator, ask: Responder) -> None:
    """What the provider refuses is not sent, and what comes back is of the type, without a second question."""
    for name, kind in KINDS.items():
        answer = ask.answer("Which?", schema=kind)
        assert (name, answer.reasks) == (name, 0)
        pydantic.TypeAdapter(kind).validate_python(answer.parsed, strict=True)
    assert {received.status for received in simulator.received} == {200}


def test_an_invalid_answer_is_sent_back_to_every_provider(simulator: Simulator, ask: Responder) -> None:
    """In its own form of a conversation; the second answer counts."""
    simulator.script(Fault.invalid_answer())
    assert isinstance(ask.answer("Which?", schema=Order).parsed, Order)
    simulator.script(Fault.invalid_answer("I would rather not.", times=2))
    with pytest.raises(InvalidAnswerError, match="it is not JSON"):
        ask.answer("Which?", schema=Order)
