"""The providers' own SDKs as clients of the simulated embeddings; and our own client, against limits and faults."""

from __future__ import annotations

import math
from typing import Any

import pytest
import requests
from google.oauth2 import credentials as oauth2
from sdks import genai, openai, types

from responder import (
    AzureOpenAIResponder,
    BedrockResponder,
    CohereResponder,
    GeminiResponder,
    MistralResponder,
    OllamaResponder,
    OpenAIResponder,
    Responder,
    SimulatedResponder,
    TogetherResponder,
    VertexAIResponder,
    VoyageResponder,
)
from responder.simulator import Fault, Simulator


def closeness(one: Any, other: Any) -> float:
    return sum(left * right for left, right in zip(one, other, strict=True))


def test_openais_sdk_reads_the_vectors(simulator: Simulator) -> None:
    """In base64 (its default) and as numbers, for texts and for tokens; the same text has the same vector."""
    with openai.OpenAI(api_key="k", base_url=simulator.base_url("openai"), max_retries=0) as client:
        found = client.embeddings.create(model="m", input=["a cat", "a dog"])
        numbers = client.embeddings.create(model="m", input="a cat", encoding_format="float", dimensions=64)
        tokens = client.embeddings.create(model="m", input=[[1, 2, 3], [4]])
    assert [row.index for row in found.data] == [0, 1]
    assert found.data[0].embedding == pytest.approx(numbers.data[0].embedding)
    assert math.hypot(*numbers.data[0].embedding) == pytest.approx(1.0)
    assert found.usage.prompt_tokens == found.usage.total_tokens == 4
    assert len(tokens.data) == 2


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"input": []}, "input"),
        ({"input": ["a", ""]}, "empty string"),
        ({"input": ["a"] * 2049}, "maximum length 2048"),
        ({"input": ["x" * 40_000]}, "maximum context length is 8192"),
        ({"input": ["x" * 30_000] * 41}, "max 300000 tokens per request"),
        ({"input": ["a"], "dimensions": 0}, "dimensions"),
        ({"input": ["a"], "extra_body": {"purpose": "fun"}}, "purpose"),
    ],
)
def test_refuses_what_openai_refuses(simulator: Simulator, given: dict[str, Any], words: str) -> None:
    """With 400, for the whole request."""
    with (
        openai.OpenAI(api_key="k", base_url=simulator.base_url("openai"), max_retries=0) as client,
        pytest.raises(openai.BadRequestError, match=words),
    ):
        client.embeddings.create(model="m", **given)


def test_azures_sdk_reads_the_vectors(simulator: Simulator) -> None:
    """By deployment."""
    with openai.AzureOpenAI(api_key="k", azure_endpoint=simulator.base_url("azure"), api_version="2024-10-21") as client:
        assert len(client.embeddings.create(model="m", input=["a", "b"]).data) == 2


@pytest.mark.parametrize(("provider", "model"), [("gemini", "gemini-embedding-001"), ("vertex", "text-embedding-005")])
def test_googles_sdk_reads_the_vectors(simulator: Simulator, provider: str, model: str) -> None:
    """Many texts at once, of a length."""
    options = types.HttpOptions(base_url=simulator.base_url(provider))
    if provider == "gemini":
        client = genai.Client(api_key="k", http_options=options)
    else:
        token = oauth2.Credentials(token="a-token")
        client = genai.Client(vertexai=True, project="p", location="us-central1", credentials=token, http_options=options)
    with client:
        found = client.models.embed_content(
            model=model,
            contents=["a cat", "a dog"],
            config=types.EmbedContentConfig(output_dimensionality=32, task_type="RETRIEVAL_QUERY"),
        )
    assert [len(row.values) for row in found.embeddings] == [32, 32]


def test_texts_of_the_same_words_are_close(simulator: Simulator) -> None:
    """So that a search over simulated vectors finds something."""
    with OpenAIResponder("m", api_key="k", base_url=simulator.base_url("openai")) as gpt:
        dog, cat, ships = gpt.embed(["my dog sleeps", "my cat sleeps", "steel ships sink"])
    assert closeness(dog, cat) > closeness(dog, ships) + 0.2


LENGTH = 256  # which Titan has, too
CLIENTS = {
    "openai": lambda url: OpenAIResponder("m", api_key="k", base_url=url),
    "azure": lambda url: AzureOpenAIResponder("m", api_key="k", endpoint=url, api_version="2024-10-21"),
    "gemini": lambda url: GeminiResponder("gemini-embedding-001", api_key="k", base_url=url),
    "vertex": lambda url: VertexAIResponder("text-embedding-005", credentials="t", project="p", base_url=url),
    "mistral": lambda url: MistralResponder("m", api_key="k", base_url=url),
    "voyage": lambda url: VoyageResponder("m", api_key="k", base_url=url),
    "together": lambda url: TogetherResponder("m", api_key="k", base_url=url),
    "ollama": lambda url: OllamaResponder("m", base_url=url),
    "cohere": lambda url: CohereResponder("embed-v4.0", api_key="k", base_url=url),
    "bedrock titan": lambda url: BedrockResponder("amazon.titan-embed-text-v2:0", api_key="k", base_url=url),
    "bedrock nova": lambda url: BedrockResponder("amazon.nova-2-multimodal-embeddings-v1:0", api_key="k", base_url=url),
    "bedrock cohere": lambda url: BedrockResponder("cohere.embed-v4:0", api_key="k", base_url=url),
    "ollama native": lambda url: OllamaResponder("m", base_url=url.removesuffix("/v1")),
}


@pytest.mark.parametrize("provider", CLIENTS)
def test_our_own_client_reads_them_in_every_dialect(simulator: Simulator, provider: str) -> None:
    """The same vector from each of them, of the length that was asked for."""
    responder: Responder = CLIENTS[provider](simulator.base_url(provider.split()[0]))
    with responder:
        vectors = responder.embed(["a cat", "a dog", ""] * 100, dimensions=LENGTH, purpose="document")
    with OpenAIResponder("m", api_key="k", base_url=simulator.base_url("openai")) as gpt:
        wanted = gpt.embed(["a cat", "a dog"], dimensions=LENGTH).tolist()
    assert vectors.tolist()[:3] == [*wanted, None]
    assert len(vectors) == 300
    assert {failure.index for failure in vectors.failures()} == set(range(2, 300, 3))


def test_a_voyage_refusal_has_its_own_form(simulator: Simulator) -> None:
    """`{"detail": text}`."""
    reply = requests.post(f"{simulator.base_url('voyage')}/embeddings", json={"model": "m"}, timeout=60)
    assert (reply.status_code, list(reply.json())) == (400, ["detail"])


def test_limits_and_faults_hold_for_embeddings(simulator: Simulator) -> None:
    """A scripted 429 is waited out; a fault for one text finds the request that holds it."""
    simulator.script(Fault.status(429, retry_after=0.01))
    with OpenAIResponder("m", api_key="k", base_url=simulator.base_url("openai")) as gpt:
        vectors = gpt.embed(["a cat", "a dog"])
    assert vectors.ok
    assert vectors.summary().attempts == 2


def test_the_simulated_provider_embeds() -> None:
    """Without a key and without a network."""
    with SimulatedResponder("demo") as demo:
        assert demo.embed(["a cat"]).dimensions == 64
