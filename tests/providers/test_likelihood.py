"""`logprobs=` and `service_tier=`: what is asked for, and where the probabilities of tokens stand in each dialect."""

from __future__ import annotations

from typing import Any

import pytest
from providers.contract import answered, documented, make, sse
from wire.player import Player

from responder import BedrockResponder, ConfigurationError, OpenAIResponder, TokenLogprob

TOKENS = {
    "content": [
        {
            "token": "A",
            "logprob": -0.1,
            "bytes": [65],
            "top_logprobs": [{"token": "A", "logprob": -0.1}, {"token": "B", "logprob": -3}],
        },
        {"token": " bat", "logprob": -0.5, "top_logprobs": []},
    ]
}
READ = (TokenLogprob("A", -0.1, (("A", -0.1), ("B", -3.0))), TokenLogprob(" bat", -0.5))


def test_openais_probabilities_are_read(player: Player) -> None:
    """Asked for in its words."""
    assert answered(player, "openai", documented("openai", logprobs=TOKENS), logprobs=2).logprobs == READ
    assert (player.last.json["logprobs"], player.last.json["top_logprobs"]) == (True, 2)
    answered(player, "openai", documented("openai", logprobs=TOKENS), logprobs=0)
    assert "top_logprobs" not in player.last.json


def test_a_streams_probabilities_are_put_together(player: Player) -> None:
    """Each chunk has those of its own tokens."""
    chunks = [
        {"model": "m-1", "choices": [{"index": 0, "delta": {"content": token["token"]}, "logprobs": {"content": [token]}}]}
        for token in TOKENS["content"]
    ]
    last = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop", "logprobs": None}]}
    player.play(200, {"content-type": "text/event-stream"}, sse(*chunks, last))
    with make("openai", player.url, logprobs=2) as gpt, gpt.stream("Hi") as stream:
        assert list(stream) == ["A", " bat"]
    assert stream.answer is not None
    assert stream.answer.logprobs == READ


def test_the_probabilities_of_responses_are_read(player: Player) -> None:
    """They have to be included, and stand in the text's part."""
    part = {"type": "output_text", "text": "A bat", "logprobs": TOKENS["content"]}
    body = {"object": "response", "status": "completed", "output": [{"type": "message", "content": [part]}]}
    answer = answered(player, "openai", body, api="responses", logprobs=2, service_tier="flex")
    assert answer.logprobs == READ
    assert (player.last.json["top_logprobs"], player.last.json["service_tier"]) == (2, "flex")
    assert "message.output_text.logprobs" in player.last.json["include"]


def test_googles_probabilities_are_read(player: Player) -> None:
    """Two lists side by side."""
    result = {
        "chosenCandidates": [{"token": "A", "logProbability": -0.1}, {"token": " bat", "logProbability": -0.5}],
        "topCandidates": [{"candidates": [{"token": "A", "logProbability": -0.1}, {"token": "B", "logProbability": -3}]}],
    }
    assert answered(player, "gemini", documented("gemini", logprobsResult=result), logprobs=2).logprobs == READ
    config = player.last.json["generationConfig"]
    assert (config["responseLogprobs"], config["logprobs"]) == (True, 2)


@pytest.mark.parametrize(
    "found", [None, [], {}, {"content": None}, {"content": [None, 5, {"token": "x"}, {"token": 1, "logprob": "y"}]}]
)
def test_what_is_no_probability_is_none(player: Player, found: Any) -> None:
    """Nothing, or nonsense."""
    assert answered(player, "openai", documented("openai", logprobs=found)).logprobs == ()


@pytest.mark.parametrize("value", [True, -1, 1.5, "2"])
def test_a_number_of_probabilities_is_checked(value: Any) -> None:
    """Before anything is sent."""
    with pytest.raises(ConfigurationError, match="logprobs must be a whole number"):
        OpenAIResponder("m", api_key="k", logprobs=value)


def test_a_tier_goes_where_the_provider_has_it(player: Player) -> None:
    """As a word, or as an object."""
    answered(player, "openai", documented("openai"), service_tier="flex")
    assert player.last.json["service_tier"] == "flex"
    answered(player, "anthropic", documented("anthropic"), service_tier="standard_only")
    assert player.last.json["service_tier"] == "standard_only"
    answered(player, "gemini", documented("gemini"), service_tier="flex")
    assert player.last.json["serviceTier"] == "flex"
    reply = {"output": {"message": {"content": [{"text": "Hi"}]}}, "stopReason": "end_turn"}
    player.play(200, {"content-type": "application/json"}, reply)
    with BedrockResponder("m", api_key="k", base_url=player.url, service_tier="priority") as nova:
        nova.answer("Hi")
    assert player.last.json["serviceTier"] == {"type": "priority"}


def test_no_effort_is_a_word_everywhere(player: Player) -> None:
    """Where the provider has another one for it."""
    answered(player, "anthropic", documented("anthropic"), reasoning_effort="none")
    assert player.last.json["thinking"] == {"type": "disabled"}
    assert "output_config" not in player.last.json
    answered(player, "openai", documented("openai"), reasoning_effort="none")
    assert player.last.json["reasoning_effort"] == "none"


@pytest.mark.parametrize(
    ("provider", "options"),
    [("anthropic", {"logprobs": 1}), ("bedrock", {"logprobs": 1}), ("cohere", {"service_tier": "flex"})],
)
def test_what_a_provider_does_not_have_is_refused(provider: str, options: dict[str, Any]) -> None:
    """By its name."""
    with make(provider, "http://127.0.0.1:9") as model, pytest.raises(ConfigurationError, match=f"no {next(iter(options))}"):
        model.answer("Hi", **options)
