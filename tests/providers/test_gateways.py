"""What gateways, older servers and newer models want: base URLs with a query, fields they refuse, words of their family."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from providers.contract import NAMES, answered, chunks, documented, make, outcome, sse
from wire.player import Player

from responder import AzureOpenAIResponder, BadRequestError, ConfigurationError, ResponderError
from responder.pace.registry import forget_limits

# Base URLs with a query


@pytest.mark.parametrize("provider", [name for name in NAMES if name != "simulated"])
@pytest.mark.parametrize("end", ["?tenant=a%2Fb&v=1", "/?tenant=a%2Fb&v=1"])
def test_the_query_of_a_base_url_stays_behind_the_path(player: Player, provider: str, end: str) -> None:
    """Some gateways want one with every request."""
    for version in ("", "/v1"):
        for stream in (False, True):
            player.play(200, {}, chunks(provider, "A") if stream else documented(provider))
            path = version or ("/v1" if provider == "ollama" else "")
            with make(provider, player.url + path + end) as responder:
                assert "".join(responder.stream("Hi")) == "A" if stream else responder.answer("Hi").text
            found = urlsplit(player.last.path)
            query = parse_qs(found.query)
            assert (query.pop("tenant"), query.pop("v")) == (["a/b"], ["1"])
            assert set(query) <= {"alt", "api-version"}
            assert "?" not in found.path + found.query
            assert found.path.startswith(path)


def test_the_query_of_ollamas_own_url_stays_too(player: Player) -> None:
    """In its own API."""
    player.play(200, {}, {"message": {"content": "A game."}, "done": True})
    for end in ("?a=1", "/api?a=1", "/api/?a=1"):
        with make("ollama", player.url + end) as ollama:
            ollama.answer("Hi")
        assert player.last.path == "/api/chat?a=1"


# Servers that refuse `stream_options`

REFUSALS = [
    (400, "Unrecognized request argument supplied: stream_options", None),
    (400, "Unknown parameter: 'stream_options'.", "stream_options"),
    (422, "body -> stream_options: extra fields not permitted", None),
]


@pytest.mark.parametrize(("status", "message", "param"), REFUSALS)
@pytest.mark.parametrize("provider", ["azure", "openai", "compatible", "groq"])
def test_no_stream_fails_for_stream_options(player: Player, provider: str, status: int, message: str, param: Any) -> None:
    """Older api-versions of Azure refuse them: the field is dropped, and left out from then on."""
    error = {"error": {"message": message, "type": "invalid_request_error", "param": param, "code": None}}
    with make(provider, player.url) as responder:
        player.play(status, {"content-type": "application/json"}, error)
        player.then(200, {"content-type": "text/event-stream"}, chunks(provider, "A ", "game."))
        stream = responder.stream("Hi")
        assert (list(stream), stream.finish_reason) == (["A ", "game."], "stop")
        assert ["stream_options" in sent.json for sent in player.sent] == [True, False]
        player.play(200, {"content-type": "text/event-stream"}, chunks(provider, "A"))
        assert list(responder.stream("Hi")) == ["A"]
        assert (["stream_options" in sent.json for sent in player.sent], player.last.json["stream"]) == ([False], True)


def test_another_refusal_of_a_stream_is_raised_and_sent_once(player: Player) -> None:
    """Only what was dropped can be repaired."""
    player.play(400, {}, {"error": {"message": "Unknown parameter: 'stream_optionsx'.", "param": "x"}})
    with make("mistral", player.url) as mistral, pytest.raises(BadRequestError):  # which sends no stream_options
        list(mistral.stream("Hi"))
    assert len(player.sent) == 1
    player.play(400, {}, {"error": {"message": "Unknown parameter: 'stream_options'."}})
    with make("azure", player.url) as azure, pytest.raises(BadRequestError):
        list(azure.stream("Hi"))
    assert len(player.sent) == 2


# What responder sets itself


@pytest.mark.parametrize("provider", ["openai", "azure", "gemini", "vertex", "anthropic", "ollama"])
@pytest.mark.parametrize("extra", [{"model": "other"}, {"messages": [{}]}, {"contents": [{}]}, {"stream": True}])
def test_what_responder_sets_itself_is_refused_inside_extra(player: Player, provider: str, extra: dict[str, Any]) -> None:
    """It would ask one model and book the price of another."""
    (name,) = extra
    error = outcome(player, provider, documented(provider), extra=extra)
    assert isinstance(error, ConfigurationError)
    assert (error.fatal, repr(name) in str(error), player.sent) == (True, True, [])
    with make(provider, player.url) as responder, pytest.raises(ResponderError, match=name):
        list(responder.stream("Hi", extra=extra))
    assert player.sent == []


# Newer models


def test_a_model_that_takes_no_tools_here_says_what_to_do(player: Player) -> None:
    """OpenAI's models from gpt-5.4 on refuse them in Chat Completions while they reason."""
    message = (
        "Function tools with reasoning_effort are not supported for gpt-5.6 in /v1/chat/completions. "
        "To use function tools, use /v1/responses or set reasoning_effort to 'none'."
    )
    body = {"error": {"message": message, "type": "invalid_request_error", "param": "reasoning_effort", "code": None}}
    error = outcome(player, "openai", body, status=400, model="gpt-5.6", api="chat")
    assert isinstance(error, BadRequestError)
    assert "api='auto', or reasoning_effort='none'" in str(error)
    assert not error.retryable


@pytest.mark.parametrize(
    ("model", "effort", "sent"),
    [
        ("gemini-2.5-flash", "low", {"thinkingBudget": 2048}),
        ("gemini-2.5-flash-lite", "HIGH", {"thinkingBudget": 24576}),
        ("gemini-2.5-flash", "none", {"thinkingBudget": 0}),
        ("gemini-2.5-pro", "none", {"thinkingBudget": 128}),
        ("gemini-2.5-pro", "minimal", {"thinkingBudget": 128}),
        ("models/gemini-2.5-flash", "medium", {"thinkingBudget": 8192}),
        ("gemini-3-flash-preview", "low", {"thinkingLevel": "LOW"}),
        ("gemini-3-flash-preview", "none", {"thinkingLevel": "MINIMAL"}),
        ("gemini-3-pro-preview", "minimal", {"thinkingLevel": "LOW"}),
        ("gemini-3.1-pro", "high", {"thinkingLevel": "HIGH"}),
        ("gemini-3-pro-preview", "xhigh", {"thinkingLevel": "HIGH"}),
        ("gemini-flash-latest", "medium", {"thinkingLevel": "MEDIUM"}),
    ],
)
@pytest.mark.parametrize("provider", ["gemini", "vertex"])
def test_an_effort_is_written_as_the_models_family_wants_it(
    player: Player, provider: str, model: str, effort: str, sent: dict[str, Any]
) -> None:
    """A budget for 2.5, a level for 3: each refuses the other's."""
    answered(player, provider, documented(provider), model=model, reasoning_effort=effort)
    assert player.last.json["generationConfig"] == {"thinkingConfig": sent}


def test_an_effort_that_has_no_budget_is_refused(player: Player) -> None:
    """With the words there are."""
    error = outcome(player, "gemini", documented("gemini"), model="gemini-2.5-flash", reasoning_effort="huge")
    assert isinstance(error, ConfigurationError)
    assert "medium" in str(error)


def test_azures_endpoint_keeps_its_query_beside_the_version() -> None:
    """The version is asked for once."""
    forget_limits()
    url = "https://gw.example/openai/deployments/d/chat/completions?api-version=2024-10-21&tenant=a"
    with AzureOpenAIResponder(endpoint=url, api_key="k" * 32) as azure:
        assert azure.url() == "https://gw.example/openai/deployments/d/chat/completions?api-version=2024-10-21&tenant=a"


def test_the_chunks_of_the_older_completions_are_read(player: Player) -> None:
    """Some proxies answer in them."""
    body = sse({"choices": [{"index": 0, "text": "A "}]}, {"choices": [{"index": 0, "text": "game.", "finish_reason": "stop"}]})
    player.play(200, {"content-type": "text/event-stream"}, body)
    with make("compatible", player.url) as responder:
        assert list(responder.stream("Hi")) == ["A ", "game."]
    assert (
        answered(player, "compatible", {"choices": [{"index": 0, "text": "A game.", "finish_reason": "stop"}]}).text == "A game."
    )
