"""`prompt_cache=` in each provider's words, and what a request costs in the tier that served it."""

from __future__ import annotations

from typing import Any

import pytest
from providers.contract import NAMES, answered, chunks, dialect, documented, make, streamed
from wire.player import Player

from responder import ConfigurationError, OpenAIResponder, Price, Tool, Usage, assistant, system, user
from responder.pace.prices import price_later
from responder.simulator import Simulator

WEATHER = Tool("weather", "Tells the weather", {"type": "object", "properties": {"city": {"type": "string"}}})
TURNS = [system("Be terse."), user("One"), assistant("Two"), user("Three")]
MARK = {"cache_control": {"type": "ephemeral"}}
POINT = {"cachePoint": {"type": "default"}}


def asked(player: Player, provider: str, prompt: Any, **options: Any) -> Any:
    """Return the body of a question."""
    answered(player, provider, documented(provider), prompt=prompt, **options)
    return player.last.json


def test_anthropic_is_told_where_the_part_that_stays_ends(player: Player) -> None:
    """After the system text, or the tools where there is none, and after all but the last part of what was said."""
    body = asked(player, "anthropic", TURNS, prompt_cache=True, tools=[WEATHER])
    assert body["system"] == [{"type": "text", "text": "Be terse.", **MARK}]
    assert body["messages"][1:] == [
        {"role": "assistant", "content": [{"type": "text", "text": "Two", **MARK}]},
        {"role": "user", "content": "Three"},
    ]
    assert "cache_control" not in body["tools"][0]
    hour = {"cache_control": {"type": "ephemeral", "ttl": "1h"}}
    body = asked(player, "anthropic", user("A long text", "A question"), prompt_cache="1h", tools=[WEATHER])
    assert body["tools"][0]["cache_control"] == hour["cache_control"]
    assert body["messages"][0]["content"] == [
        {"type": "text", "text": "A long text", **hour},
        {"type": "text", "text": "A question"},
    ]
    assert "cache_control" not in str(asked(player, "anthropic", "Hi", prompt_cache=True))
    assert "cache_control" not in str(asked(player, "anthropic", TURNS, prompt_cache=False))


def test_bedrock_gets_its_points_in_the_same_places(player: Player) -> None:
    """As blocks of their own."""
    body = asked(player, "bedrock", TURNS, prompt_cache=True, tools=[WEATHER])
    assert body["system"] == [{"text": "Be terse."}, POINT]
    assert [turn["content"] for turn in body["messages"]] == [[{"text": "One"}], [{"text": "Two"}, POINT], [{"text": "Three"}]]
    assert POINT not in body["toolConfig"]["tools"]
    hour = {"cachePoint": {"type": "default", "ttl": "1h"}}
    body = asked(player, "bedrock", user("A long text", "A question"), prompt_cache="1h", tools=[WEATHER])
    assert body["toolConfig"]["tools"][-1] == hour
    assert body["messages"][0]["content"] == [{"text": "A long text"}, hour, {"text": "A question"}]


@pytest.mark.parametrize(
    ("kept", "sent"),
    [
        (True, {}),
        ("24h", {"prompt_cache_retention": "24h"}),
        ("12h", {"prompt_cache_options": {"ttl": "12h"}}),
    ],
)
@pytest.mark.parametrize("api", ["chat", "responses"])
def test_openai_is_told_for_how_long(kept: Any, sent: Any, api: Any) -> None:
    """It keeps prompts by itself."""
    with Simulator() as simulator, OpenAIResponder("m", api_key="k", base_url=simulator.base_url("openai"), api=api) as gpt:
        gpt.answer("Hi", prompt_cache=kept)
        body = simulator.received[-1].body
    assert {name: value for name, value in body.items() if name.startswith("prompt_cache")} == sent


def test_gemini_takes_the_name_of_a_cached_content(player: Player) -> None:
    """Which is made beforehand; prompts that begin alike it keeps by itself."""
    assert asked(player, "gemini", "Hi", prompt_cache="cachedContents/abc")["cachedContent"] == "cachedContents/abc"
    assert "cachedContent" not in asked(player, "gemini", "Hi", prompt_cache=True)


@pytest.mark.parametrize("provider", NAMES)
def test_true_is_understood_everywhere_and_a_strange_lifetime_nowhere(simulator: Simulator, provider: str) -> None:
    """The refusal says what to give."""
    with make(provider, simulator.base_url(provider)) as responder:
        assert responder.answer(TURNS, prompt_cache=True).text
        with pytest.raises(ConfigurationError, match=r"prompt_cache='9 days'.*True"):
            responder.answer("Hi", prompt_cache="9 days")
        with pytest.raises(ConfigurationError, match="prompt_cache must be True"):
            responder.answer("Hi", prompt_cache=5)  # type: ignore[arg-type]  # what the test is about


# The tier that served


def served(provider: str, tier: str) -> dict[str, Any]:
    """Return a reply that names its tier."""
    reply = documented(provider)
    if dialect(provider) == "anthropic":
        return {**reply, "usage": {**reply["usage"], "service_tier": tier}}
    if provider == "gemini":
        return {**reply, "usageMetadata": {**reply["usageMetadata"], "serviceTier": tier}}
    if provider == "vertex":
        traffic = "ON_DEMAND" if tier == "default" else f"ON_DEMAND_{tier.upper()}"
        return {**reply, "usageMetadata": {**reply["usageMetadata"], "trafficType": traffic}}
    return {**reply, "serviceTier": {"type": tier}} if provider == "bedrock" else {**reply, "service_tier": tier}


@pytest.mark.parametrize("provider", ["openai", "anthropic", "bedrock", "groq", "gemini", "vertex"])
def test_the_tier_that_served_is_in_the_answer_and_in_its_price(player: Player, provider: str) -> None:
    """The one that the reply names, not the one that was asked for."""
    price = Price(input=1e6, output=1e6, tiers={"flex": 0.5, "priority": 2})
    for tier, cost in (("flex", 6.0), ("priority", 24.0), ("default", 12.0), ("of tomorrow", 12.0)):
        player.play(200, {}, served(provider, tier))
        asked = {} if provider == "vertex" else {"service_tier": "priority"}
        with make(provider, player.url, price=price, **asked) as responder:
            result = responder.map(["Hi"])[0]
        told = "standard" if (provider, tier) == ("vertex", "default") else tier
        assert (result.unwrap().service_tier, result.cost) == (told, pytest.approx(cost))


def test_vertex_is_asked_for_a_tier_in_a_header(simulator: Simulator) -> None:
    """As the refusal of the option says; the reply names the kind of traffic."""
    header = {"X-Vertex-AI-LLM-Shared-Request-Type": "flex"}
    with make("vertex", simulator.base_url("vertex"), extra_headers=header) as gemini:
        assert gemini.answer("Hi").service_tier == "flex"
        with pytest.raises(ConfigurationError, match="X-Vertex-AI-LLM-Shared-Request-Type"):
            gemini.answer("Hi", service_tier="flex")


@pytest.mark.parametrize("provider", ["openai", "gemini", "bedrock"])
def test_the_simulated_provider_serves_in_the_tier_that_is_asked_for(simulator: Simulator, provider: str) -> None:
    """And in the usual one otherwise, whole and as a stream."""
    with make(provider, simulator.base_url(provider)) as responder:
        assert responder.answer("Hi", service_tier="flex").service_tier == "flex"
        assert responder.answer("Hi").service_tier in ("default", "standard", "")
        stream = responder.stream("Hi", service_tier="priority")
        assert "".join(stream)
        assert stream.answer is not None
        assert stream.answer.service_tier == "priority"


def test_a_stream_knows_its_tier(player: Player) -> None:
    """From its events."""
    body = chunks("openai", "A game.").replace(b'"model": "m-1"', b'"model": "m-1", "service_tier": "flex"')
    _, answer = streamed(player, "openai", body)
    assert answer.service_tier == "flex"


def test_listed_prices_know_the_tiers_of_some_providers() -> None:
    """A tier whose price is not known has no price, never a wrong one; hosts with one price have it in each tier."""
    pytest.importorskip("genai_prices")
    usage = Usage(1000, 1000, known=True)

    def ratio(provider: str, model: str, tier: str) -> float | None:
        price = price_later(provider, model)
        usual, found = price.cost(usage), price.cost(usage, tier)
        assert usual is not None
        return None if found is None else found / usual

    assert ratio("openai", "gpt-4o-mini", "flex") == pytest.approx(0.5)
    assert ratio("openai", "gpt-4o", "priority") == pytest.approx(1.7)
    assert ratio("openai", "gpt-4o-2024-05-13", "priority") == pytest.approx(1.75)  # the oldest one has a price of its own
    assert ratio("openai", "o4-mini", "priority") == pytest.approx(20 / 11)
    assert ratio("openai", "gpt-3.5-turbo", "priority") is None
    assert ratio("anthropic", "claude-sonnet-4-5", "batch") == pytest.approx(0.5)
    assert ratio("anthropic", "claude-sonnet-4-5", "standard") == pytest.approx(1.0)
    assert ratio("bedrock", "us.amazon.nova-micro-v1:0", "priority") == pytest.approx(1.75)
    assert ratio("groq", "llama-3.3-70b-versatile", "flex") == pytest.approx(1.0)


def test_a_price_refuses_a_factor_that_is_none() -> None:
    """Below 0, or no number."""
    for factor in (-1, float("nan"), "half"):
        with pytest.raises(ConfigurationError, match="tiers"):
            Price(1, 1, tiers={"flex": factor})  # type: ignore[dict-item]  # what the test is about
