"""Does "provider:model" find every provider, and does a wrong name say what to type?"""

from __future__ import annotations

from typing import Any

import pytest
from providers.contract import KEY

from responder import ConfigurationError, SimulatedResponder, for_model
from responder.providers import PROVIDERS

# The names that the package promises.
PROMISED = [
    *("openai", "azure", "gemini", "vertex", "anthropic"),
    *("groq", "mistral", "deepseek", "openrouter", "together", "fireworks", "xai", "cerebras", "huggingface", "zai"),
    *("nvidia", "moonshot", "dashscope", "minimax", "perplexity", "sambanova", "nebius", "deepinfra", "novita", "hyperbolic"),
    *("baseten", "friendli", "scaleway", "ovhcloud", "crusoe", "inception", "featherless", "venice", "heroku", "vercel", "meta"),
    *("bedrock", "anthropic-vertex", "anthropic-bedrock", "anthropic-foundry", "vertex-partner", "cohere", "voyage"),
    *("cloudflare", "databricks", "snowflake"),
    *("ollama", "vllm", "lmstudio", "llamacpp", "compatible", "simulated"),
]

# Those whose base URL is the user's own.
OF_ONES_OWN = ("compatible", "simulated", "cloudflare", "databricks", "snowflake")


def keywords(name: str) -> dict[str, Any]:
    more: dict[str, Any] = {
        "azure": {"endpoint": "https://res.openai.azure.com"},
        "vertex": {"project": "p"},
        "anthropic-vertex": {"project": "p"},
        "vertex-partner": {"project": "p"},
        "anthropic-bedrock": {"region": "us-east-1"},
        "bedrock": {"region": "us-east-1"},
        "anthropic-foundry": {"resource": "r"},
    }.get(name, {})
    return {"api_key": KEY, **({"base_url": "http://127.0.0.1:9/v1"} if name in OF_ONES_OWN else {}), **more}


def test_every_promised_provider_is_there() -> None:
    """And no other."""
    assert set(PROVIDERS) == set(PROMISED)


@pytest.mark.parametrize("name", PROMISED)
def test_for_model_makes_the_providers_own_responder(name: str) -> None:
    """With the keywords of its class; the model may hold colons, slashes and at signs."""
    with for_model(f"{name}:org/model@1:free", temperature=0, **keywords(name)) as responder:
        assert type(responder) is PROVIDERS[name]
        assert responder.model == "org/model@1:free"
        assert responder.options.temperature == 0


@pytest.mark.parametrize("name", ["OpenAI:m", " openai : m ", "OPENAI:m"])
def test_case_and_blanks_do_not_matter(name: str) -> None:
    """Around the names."""
    with for_model(name, api_key=KEY) as responder:
        assert (responder.provider, responder.model) == ("openai", "m")


def test_the_simulated_provider_answers_without_a_key_and_says_so() -> None:
    """Out of an embedded simulator, one for the process."""
    with for_model("simulated:demo") as one, for_model("simulated:other") as two:
        assert isinstance(one, SimulatedResponder)
        assert one.base_url == two.base_url
        answer = one.answer("What is baseball?")
    assert "imulated" in answer.text
    assert (answer.provider, answer.model) == ("simulated", "demo")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("opnai:gpt-4o", "did you mean 'openai'"),
        ("Antropic:claude", "did you mean 'anthropic'"),
        ("gorq:llama", "did you mean 'groq'"),
        ("gpt-4o-mini", "did you mean 'openai:gpt-4o-mini'"),
        ("o3-mini", "did you mean 'openai:o3-mini'"),
        ("claude-sonnet-4-5", "did you mean 'anthropic:claude-sonnet-4-5'"),
        ("Gemini-2.5-Flash", "did you mean 'gemini:Gemini-2.5-Flash'"),
        ("mistral-small-latest", "did you mean 'mistral:mistral-small-latest'"),
        ("ft:gpt-4o-mini:acme", "did you mean 'openai:ft:gpt-4o-mini:acme'"),
        ("groq/llama-3.3-70b-versatile", "did you mean 'groq:llama-3.3-70b-versatile'"),
        ("nobody:m", "use one of openai, azure"),
        ("gpt-4o-mini", "as in 'openai:gpt-4o-mini'"),
        ("", "unknown provider"),
        (":m", "unknown provider"),
        ("openai", "write openai:MODEL"),
        ("openai:", "write openai:MODEL"),
        ("openai:  ", "write openai:MODEL"),
        ("compatible:m", "base_url="),
        ("azure:m", "AZURE_OPENAI_ENDPOINT"),
        ("groq:m", "GROQ_API_KEY"),
    ],
)
def test_a_name_that_finds_nothing_says_what_to_type(name: str, words: str) -> None:
    """In one line."""
    with pytest.raises(ConfigurationError, match=words) as caught:
        for_model(name)
    assert "\n" not in str(caught.value)
