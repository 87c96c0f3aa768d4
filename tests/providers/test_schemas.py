"""Every provider takes every type: asked in what it takes of JSON Schema, and checked when the answer comes."""

from __future__ import annotations

import enum
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import pydantic
import pytest
from providers.contract import NAMES, make
from wire.player import Player

from responder import BedrockResponder, CohereResponder, InvalidAnswerError, OllamaResponder, Responder
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


def reply_of(provider: str, text: str) -> dict[str, Any]:
    """Return what Bedrock's Converse or Cohere's chat answers."""
    if provider == "bedrock":
        return {"output": {"message": {"role": "assistant", "content": [{"text": text}]}}, "stopReason": "end_turn"}
    return {"id": "1", "message": {"role": "assistant", "content": [{"type": "text", "text": text}]}, "finish_reason": "COMPLETE"}


@pytest.mark.parametrize("provider", ["bedrock", "cohere"])
def test_bounds_go_into_the_description_and_lists_into_an_object(player: Player, provider: str) -> None:
    """Where the provider takes neither."""
    player.play(200, {"content-type": "application/json"}, reply_of(provider, '{"result": [{"x": 1, "y": 2}]}'))
    kind: Any = BedrockResponder if provider == "bedrock" else CohereResponder
    with kind("m", api_key="any", base_url=player.url) as responder:
        assert responder.answer("Which?", schema=list[Point]).parsed == [Point(1, 2)]
        text = json.dumps(player.last.json)
        assert "result" in text
        player.play(200, {"content-type": "application/json"}, reply_of(provider, '{"kind": "cat", "lives": 9}'))
        assert responder.answer("Which?", schema=Cat).parsed == Cat(kind="cat", lives=9)
        assert "{maximum: 9, minimum: 2}" in json.dumps(player.last.json)


def test_bedrock_is_told_of_an_open_map_in_words(player: Player) -> None:
    """Its models refuse it as a schema."""
    player.play(200, {"content-type": "application/json"}, reply_of("bedrock", '{"words": {"a": 1}}'))
    with BedrockResponder("m", api_key="any", base_url=player.url, system="Be terse.") as responder:
        assert responder.answer("Count", schema=Counts).parsed == Counts(words={"a": 1})
    first, second = player.last.json["system"]
    assert first == {"text": "Be terse."}
    assert "fits this JSON Schema" in second["text"]
