"""Our replies beside recordings of the real ones: every key that a provider sends, we send too, with the same JSON type."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests

from responder.simulator import Simulator

RECORDINGS = Path(__file__).parent / "recordings"
WIRE = Path(__file__).parents[1] / "wire"
# What some providers add to some answers, and what we leave out on purpose.
OPTIONAL = {
    "avgLogprobs",
    "obfuscation",
    "thoughtsTokenCount",
    "inference_geo",
    "protected_material_text",
    "protected_material_code",
}


def recorded(name: str) -> dict[str, Any]:
    return json.loads((RECORDINGS / f"{name}.json").read_text(encoding="utf-8"))["response"]


def missing(real: Any, ours: Any, path: str = "") -> list[str]:
    """Return the places where `ours` lacks a key of `real`, or has another type."""
    if isinstance(real, dict):
        if not isinstance(ours, dict):
            return [path]
        return [
            place
            for key, value in real.items()
            if key not in OPTIONAL
            for place in (missing(value, ours[key], f"{path}.{key}") if key in ours else [f"{path}.{key}"])
        ]
    if isinstance(real, list):
        if not isinstance(ours, list):
            return [path]
        return missing(real[0], ours[0], f"{path}[0]") if real and ours else []
    same = real is None or ours is None or isinstance(ours, type(real)) or {type(real), type(ours)} <= {int, float}
    return [] if same else [path]


def events(body: bytes) -> list[Any]:
    """Return the JSON of each event or line."""
    lines = [line.removeprefix(b"data: ") for line in body.splitlines() if line.startswith((b"data: ", b"{"))]
    return [json.loads(line) for line in lines if line != b"[DONE]"]


@pytest.mark.parametrize(
    ("provider", "name"),
    [
        ("openai", "openai_chat_plain"),
        ("azure", "azure_chat_plain"),
        ("gemini", "gemini_generate_plain"),
        ("vertex", "vertex_generate_plain"),
        ("anthropic", "anthropic_messages_plain"),
    ],
)
def test_a_plain_answer_has_every_key_of_a_real_one(
    simulator: Simulator, wire: SimpleNamespace, provider: str, name: str
) -> None:
    """At every depth."""
    assert missing(recorded(name)["body"], json.loads(wire.ask(simulator, provider).body)) == []


TURN = {"role": "user", "content": "Hi"}
SAID_TO: dict[str, dict[str, Any]] = {
    "bedrock/converse_plain": {"messages": [{"role": "user", "content": [{"text": "Hi"}]}]},
    "bedrock/embed_titan": {"inputText": "Hi"},
    "bedrock/embed_nova": {
        "taskType": "SINGLE_EMBEDDING",
        "singleEmbeddingParams": {"embeddingPurpose": "GENERIC_INDEX", "text": {"value": "Hi", "truncationMode": "NONE"}},
    },
    "bedrock/embed_cohere": {"texts": ["Hi"], "input_type": "search_query"},
    "cohere/chat_v2": {"model": "m", "messages": [TURN]},
    "cohere/embed_v2": {"model": "m", "texts": ["Hi"], "input_type": "search_query"},
}


@pytest.mark.parametrize("name", SAID_TO)
def test_amazon_and_cohere_have_every_key_of_a_real_reply(simulator: Simulator, name: str) -> None:
    """At every depth, at the path that was recorded, and with the headers that count."""
    recording = json.loads((WIRE / f"{name}.json").read_text(encoding="utf-8"))
    path = urlsplit(recording["request"]["url"]).path
    reply = requests.post(simulator.url + path, json=SAID_TO[name], headers={"authorization": "Bearer k"}, timeout=60)
    assert missing(recording["response"]["body"], reply.json()) == []
    assert set(recording["response"]["headers"]) <= {header.lower() for header in reply.headers}


@pytest.mark.parametrize(
    ("provider", "name"),
    [
        ("openai", "openai_chat_stream_text"),
        ("gemini", "gemini_stream_sse"),
        ("anthropic", "anthropic_stream_text"),
        ("ollama", "ollama_chat_stream_ndjson"),
    ],
)
def test_the_first_and_the_last_events_have_every_key_of_real_ones(
    simulator: Simulator, wire: SimpleNamespace, provider: str, name: str
) -> None:
    """The middle repeats itself."""
    real = events(recorded(name)["body_text"].encode())
    shape = wire.shape(provider, stream=True)
    if provider == "openai":
        shape.body["stream_options"] = {"include_usage": True}
    with wire.connected(simulator) as connection:
        connection.sendall(wire.raw_request(shape))
        ours = events(wire.unchunked(wire.read_all(connection, until=wire.is_whole).body))
    assert missing(real[0], ours[0]) == []
    assert missing(real[-1], ours[-1]) == []
    assert missing(real[-2], ours[-2]) == []


def test_rate_limit_headers_have_the_names_that_were_recorded(wire: SimpleNamespace) -> None:
    """All six of OpenAI's."""
    with Simulator(requests_per_minute=10, tokens_per_minute=1000) as simulator:
        ours = {name for name in wire.ask(simulator).headers if name.startswith("x-ratelimit")}
    assert ours == {name for name in recorded("openai_chat_plain")["headers"] if name.startswith("x-ratelimit")}
