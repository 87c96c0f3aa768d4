"""Embeddings of every provider: what is sent, and what the recordings and the documents give."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from providers.contract import KEY, NAMES, dialect, make
from wire.player import Player

from responder import (
    AzureOpenAIResponder,
    BadRequestError,
    BedrockResponder,
    CohereResponder,
    ConfigurationError,
    NotFoundError,
    OllamaResponder,
    Responder,
    VertexAIResponder,
    VoyageResponder,
)
from responder.providers.embedding_limits import WITHOUT

WIRE = Path(__file__).parent.parent / "wire"


@pytest.fixture
def player() -> Iterator[Player]:
    with Player() as running:
        yield running


def recorded(name: str) -> Any:
    return json.loads((WIRE / f"{name}.json").read_text())


def responder_of(name: str, url: str, model: str) -> Responder:
    """Return a responder of the recording's provider that asks a server of ours."""
    provider = name.partition("/")[0]
    if provider in ("openai", "voyage"):
        url += "/v1"
    return make(provider, url, model, **({"project": "PROJECT", "location": "global"} if provider == "vertex" else {}))


@pytest.mark.parametrize(
    ("name", "model", "texts", "keywords", "first", "tokens"),
    [
        ("openai/embeddings", "text-embedding-3-small", ["Hello world"], {"dimensions": 256}, -0.0039325873, 2),
        ("openai/embeddings_base64", "text-embedding-3-small", ["hello", "world"], {}, struct.unpack("<f", b">\xc6\x89<")[0], 2),
        ("gemini/embed_batch", "gemini-embedding-2-preview", ["Hello, world!"], {"purpose": "query"}, -0.039718185, 0),
        ("gemini/embed_batch_task", "gemini-embedding-2-preview", ["hello", "world"], {"purpose": "document"}, -0.006419318, 0),
        ("vertex/embed_predict", "gemini-embedding-001", ["Hello, world!"], {"purpose": "query"}, -0.020920176, 4),
        ("vertex/embed_predict_task", "gemini-embedding-001", ["Hello, world!"], {"purpose": "query"}, -0.020920176, 4),
        ("vertex/embed_content", "gemini-embedding-2", ["Hello, world!"], {}, -0.006532297, 11),
        ("voyage/embeddings_base64", "voyage-3.5", ["hello", "world"], {"purpose": "document"}, -0.007255896, 0),
        ("cohere/embed_v2", "embed-v4.0", ["hello", "world"], {"purpose": "document"}, 0.015943069, 2),
        ("bedrock/embed_titan", "amazon.titan-embed-text-v2:0", ["Hello, world!"], {}, -0.05289186, 5),
        ("bedrock/embed_cohere", "cohere.embed-v4:0", ["hello", "world"], {"purpose": "document"}, 0.01550293, 2),
        (
            "bedrock/embed_nova",
            "amazon.nova-2-multimodal-embeddings-v1:0",
            ["Hello, world!"],
            {"purpose": "query"},
            0.018827537,
            19,
        ),
    ],
)
def test_a_recording_gives_what_its_bytes_say(
    player: Player, name: str, model: str, texts: list[str], keywords: dict[str, Any], first: float, tokens: int
) -> None:
    """One vector for each text, in their order, with the tokens that the provider counts; 0 and unknown where it does not."""
    recording = recorded(name)
    response = recording["response"]
    player.play(response["status"], response["headers"], response["body"])
    with responder_of(name, player.url, model) as responder:
        vectors = responder.embed(texts, **keywords)
    assert [failure.error for failure in vectors.failures()] == []
    assert len(vectors) == len(texts)
    assert vectors[0][0] == pytest.approx(first, rel=1e-5)
    assert (vectors.usage.input_tokens, vectors.usage.known) == (tokens, bool(tokens))
    sent, wanted = player.last, recording["request"]
    assert sent.path.split("/v1", 1)[-1].removeprefix("beta1").removeprefix("beta").split("?")[0] in wanted["url"]
    for field in ("input", "texts", "requests", "instances", "content", "inputText", "taskType"):
        if field in wanted["body"] and name not in ("gemini/embed_batch", "vertex/embed_content"):
            assert sent.json[field] == wanted["body"][field]


@pytest.mark.parametrize(
    ("name", "kind"),
    [("cohere/embed_error_404", NotFoundError), ("cohere/error_404", NotFoundError), ("voyage/error_400", BadRequestError)],
)
def test_a_recorded_refusal_is_its_error(player: Player, name: str, kind: type[Exception]) -> None:
    """With the provider's own words."""
    response = recorded(name)["response"]
    player.play(response["status"], response["headers"], response["body"])
    with responder_of(name, player.url, "m") as responder:
        (failure,) = responder.embed(["Hello, world!"]).failures()
    assert isinstance(failure.error, kind)
    assert "model" in str(failure.error).lower()


WITH_EMBEDDINGS = [name for name in (*NAMES, "voyage") if name not in (*WITHOUT, "anthropic", "simulated")]


@pytest.mark.parametrize("provider", [name for name in WITH_EMBEDDINGS if dialect(name) == "openai" and name != "ollama"])
def test_hosts_of_openais_dialect_are_asked_in_it(player: Player, provider: str) -> None:
    """At their own URL, with the key; and what comes is read, base64 or not."""
    player.play(200, {"content-type": "application/json"}, {"data": [{"embedding": [1.0, 2.0], "index": 0}], "usage": {}})
    with make(provider, player.url) as responder:
        assert responder.embed(["a"]).tolist() == [[1.0, 2.0]]
    assert player.last.json["input"] == ["a"]
    assert player.last.path.split("?")[0].endswith("/embeddings")
    assert any(KEY in value for _, value in player.last.headers)


@pytest.mark.parametrize("provider", ["anthropic", *sorted(WITHOUT - {"vertex-partner"})])
def test_those_without_embeddings_say_so(provider: str) -> None:
    """Before anything is sent."""
    with pytest.raises(ConfigurationError, match=f"{provider} has no embeddings"):
        make(provider, "http://127.0.0.1:9").embed(["a"])


@pytest.mark.parametrize(
    ("keywords", "path"),
    [
        ({"api_version": "2024-10-21"}, "/openai/deployments/m-1/embeddings?api-version=2024-10-21"),
        ({}, "/openai/v1/embeddings"),
    ],
)
def test_azure_asks_the_deployment(keywords: dict[str, str], path: str) -> None:
    """In both forms of its URLs, and from a URL that was pasted whole."""
    azure = AzureOpenAIResponder("m-1", endpoint="https://x.openai.azure.com", api_key=KEY, **keywords)
    assert azure.embed_url() == f"https://x.openai.azure.com{path}"
    assert AzureOpenAIResponder("m-1", endpoint=azure.embed_url(), api_key=KEY).embed_url() == azure.embed_url()


def test_ollama_has_two_apis(player: Player) -> None:
    """Its own refuses to cut long texts off, since that is what we ask for."""
    player.play(200, {"content-type": "application/json"}, {"model": "m", "embeddings": [[1.0], [2.0]], "prompt_eval_count": 5})
    with OllamaResponder("m", base_url=player.url, max_retries=0) as ollama:
        vectors = ollama.embed(["a", "b"], dimensions=1)
    assert (vectors.tolist(), vectors.usage.input_tokens) == ([[1.0], [2.0]], 5)
    assert player.last.path == "/api/embed"
    assert player.last.json == {"model": "m", "input": ["a", "b"], "dimensions": 1, "truncate": False}
    assert OllamaResponder("m").embed_url() == "http://localhost:11434/v1/embeddings"


@pytest.mark.parametrize(
    ("model", "method", "texts"),
    [
        ("gemini-embedding-001", "predict", 1),
        ("gemini-embedding-2", "embedContent", 1),
        ("text-embedding-005", "predict", 250),
        ("publishers/google/models/gemini-embedding-001", "predict", 1),
    ],
)
def test_vertex_has_a_method_for_each_model(model: str, method: str, texts: int) -> None:
    """And takes as many texts as that one does."""
    vertex = VertexAIResponder(model, project="p", credentials="token")
    assert vertex.embed_url().endswith(f":{method}")
    assert vertex.embedding_limits().texts == texts


def test_long_texts_are_refused_and_not_cut_off() -> None:
    """Every provider that cuts by itself is told not to."""
    assert VertexAIResponder("text-embedding-005", project="p", credentials="t").embed_payload(["a"], 64, None)["parameters"] == {
        "autoTruncate": False,
        "outputDimensionality": 64,
    }
    assert VoyageResponder("m", api_key=KEY).embed_payload(["a"], 64, "query") == {
        "model": "m",
        "input": ["a"],
        "encoding_format": "base64",
        "output_dimension": 64,
        "input_type": "query",
        "truncation": False,
    }
    assert CohereResponder("m", api_key=KEY).embed_payload(["a"], None, None)["truncate"] == "NONE"


def test_voyage_has_no_answers() -> None:
    """It says what to call instead."""
    with pytest.raises(ConfigurationError, match="call embed"):
        VoyageResponder("m", api_key=KEY).answer("Hi")
    with pytest.raises(ConfigurationError, match="VOYAGE_API_KEY"):
        VoyageResponder("m")


def test_bedrock_refuses_models_whose_body_is_not_known() -> None:
    """And dimensions where the model has none."""
    with pytest.raises(ConfigurationError, match="Titan, Nova or Cohere"):
        BedrockResponder("marengo", api_key=KEY, region="us-east-1").embed(["a"])
    with pytest.raises(ConfigurationError, match="one length"):
        BedrockResponder("amazon.titan-embed-text-v1", api_key=KEY, region="us-east-1").embed(["a"], dimensions=256)
