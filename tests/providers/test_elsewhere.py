"""Claude on Vertex and Foundry, partner models and express keys on Vertex, and Cohere: URL, credential, body and answer."""

from __future__ import annotations

import json
from typing import Any

import pytest
from providers.contract import documented
from wire.player import Player

from responder import (
    AnthropicFoundryResponder,
    AnthropicVertexResponder,
    Citation,
    CohereResponder,
    ConfigurationError,
    ResponderError,
    Tool,
    VertexAIResponder,
    VertexPartnerResponder,
    for_model,
)
from responder.pace.registry import forget_limits

JSON = {"content-type": "application/json"}
EVENTS = {"content-type": "text/event-stream"}
KEY = "not-a-real-key-0123456789"
WEATHER = Tool("weather", "Tells the weather", {"type": "object", "properties": {"city": {"type": "string"}}})


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    forget_limits()
    for name in (
        *("ANTHROPIC_VERTEX_PROJECT_ID", "CLOUD_ML_REGION", "ANTHROPIC_VERTEX_BASE_URL"),
        *("ANTHROPIC_FOUNDRY_API_KEY", "ANTHROPIC_FOUNDRY_RESOURCE", "ANTHROPIC_FOUNDRY_BASE_URL"),
        *("CO_API_KEY", "COHERE_API_KEY", "CO_API_URL"),
    ):
        monkeypatch.delenv(name, raising=False)


def sse(*events: dict[str, Any]) -> bytes:
    return "".join(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n" for event in events).encode()


# Claude on Vertex


def test_claude_on_vertex_is_asked_at_its_publishers_url(player: Player) -> None:
    """Without the model in the body, with a version and a token of Google's."""
    player.play(200, JSON, documented("anthropic"))
    claude = AnthropicVertexResponder(
        "claude-opus-4-1@20250805", project="p-1", location="us-east5", api_key="ya29.token", base_url=player.url, max_retries=0
    )
    answer = claude.answer("Hi", max_tokens=9)
    assert (answer.text, answer.provider, answer.usage.total_tokens) == ("A bat-and-ball game.", "anthropic-vertex", 12)
    place = "/v1/projects/p-1/locations/us-east5/publishers/anthropic/models/claude-opus-4-1@20250805"
    assert player.last.path == f"{place}:rawPredict"
    assert player.last.json == {
        "anthropic_version": "vertex-2023-10-16",
        "max_tokens": 9,
        "messages": [{"role": "user", "content": "Hi"}],
    }
    assert player.last.values("authorization") == ["Bearer ya29.token"]
    assert player.last.values("x-api-key") == []
    end = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 7}}
    delta = {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hi."}}
    player.play(200, EVENTS, sse(delta, end, {"type": "message_stop"}))
    assert list(claude.stream("Hi")) == ["Hi."]
    assert player.last.path == f"{place}:streamRawPredict"
    assert player.last.json["stream"] is True
    claude.close()


def test_claude_on_vertex_reads_anthropics_own_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before Google's."""
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "theirs")
    monkeypatch.setenv("ANTHROPIC_VERTEX_PROJECT_ID", "mine")
    monkeypatch.setenv("CLOUD_ML_REGION", "eu")
    with for_model("anthropic-vertex:claude-x", credentials="ya29.token") as claude:
        assert claude.url() == (
            "https://aiplatform.eu.rep.googleapis.com/v1/projects/mine/locations/eu/publishers/anthropic/models/claude-x:rawPredict"
        )


# Vertex: partner models and express keys


def test_a_partner_model_on_vertex_is_asked_in_openais_dialect(player: Player) -> None:
    """At the project's endpoint, with a token of Google's; an error may come as a list of one."""
    player.play(200, JSON, documented("openai"))
    llama = VertexPartnerResponder(
        "meta/llama-3.3-70b-instruct-maas",
        project="p-1",
        location="us-central1",
        api_key="ya29.t",
        base_url=player.url,
        max_retries=0,
    )
    assert llama.answer("Hi", max_tokens=9).text == "A bat-and-ball game."
    assert player.last.path == "/v1/projects/p-1/locations/us-central1/endpoints/openapi/chat/completions"
    assert (player.last.json["model"], player.last.json["max_tokens"]) == ("meta/llama-3.3-70b-instruct-maas", 9)
    assert player.last.values("authorization") == ["Bearer ya29.t"]
    player.play(404, JSON, [{"error": {"code": 404, "message": "no such model", "status": "NOT_FOUND"}}])
    with pytest.raises(ResponderError, match="no such model"):
        llama.answer("Hi")
    llama.close()


def test_an_express_key_needs_no_project(player: Player) -> None:
    """It stands in its own header; a token still needs one."""
    player.play(200, JSON, documented("gemini"))
    express = VertexAIResponder("gemini-2.5-flash", api_key="AIza-express-0123456789", base_url=player.url, max_retries=0)
    assert express.answer("Hi").text == "A bat-and-ball game."
    assert player.last.path == "/v1/publishers/google/models/gemini-2.5-flash:generateContent"
    assert player.last.values("x-goog-api-key") == ["AIza-express-0123456789"]
    assert player.last.values("authorization") == []
    express.close()


# Claude in Foundry


def test_claude_in_foundry_is_asked_at_its_resource(player: Player, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a key, or a token of Entra ID from a callable."""
    monkeypatch.setenv("ANTHROPIC_FOUNDRY_RESOURCE", "mine")
    monkeypatch.setenv("ANTHROPIC_FOUNDRY_API_KEY", KEY)
    with for_model("anthropic-foundry:claude-x") as claude:
        assert claude.url() == "https://mine.services.ai.azure.com/anthropic/v1/messages"
    player.play(200, JSON, documented("anthropic"))
    for key, header, value in ((KEY, "api-key", KEY), (lambda: "a-token", "authorization", "Bearer a-token")):
        with AnthropicFoundryResponder("claude-x", api_key=key, base_url=f"{player.url}/anthropic") as claude:
            assert claude.answer("Hi").text == "A bat-and-ball game."
        assert player.last.path == "/anthropic/v1/messages"
        assert player.last.values(header) == [value]
        assert player.last.values("anthropic-version") == ["2023-06-01"]
        assert player.last.json["model"] == "claude-x"


def test_claude_in_foundry_needs_a_resource(monkeypatch: pytest.MonkeyPatch) -> None:
    """And one alone."""
    monkeypatch.delenv("ANTHROPIC_FOUNDRY_RESOURCE", raising=False)
    with pytest.raises(ConfigurationError, match="ANTHROPIC_FOUNDRY_RESOURCE"):
        AnthropicFoundryResponder("m", api_key=KEY)
    with pytest.raises(ConfigurationError, match="not both"):
        AnthropicFoundryResponder("m", api_key=KEY, resource="r", base_url="https://x.example")


# Cohere


def cohere(player: Player, **keywords: Any) -> CohereResponder:
    return CohereResponder("command-a", api_key=KEY, base_url=player.url, max_retries=0, **keywords)


def coheres(**message: Any) -> dict[str, Any]:
    usage = {"billed_units": {"input_tokens": 1, "output_tokens": 2}, "tokens": {"input_tokens": 5, "output_tokens": 7}}
    return {"id": "1", "finish_reason": "COMPLETE", "message": {"role": "assistant", **message}, "usage": usage}


def test_cohere_gets_its_own_words(player: Player) -> None:
    """For options, the choice of tools, schemas and thinking."""
    player.play(200, JSON, coheres(content=[{"type": "text", "text": "{}"}]))
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
    with cohere(player) as model:
        model.answer("Hi", top_p=0.5, stop="x", seed=1, max_tokens=9, reasoning_effort="none")
        body = player.last.json
        model.answer("Hi", tools=[WEATHER], tool_choice="required")
        forced = player.last.json
    assert player.last.path == "/v2/chat"
    assert player.last.values("authorization") == [f"Bearer {KEY}"]
    assert body == {
        "model": "command-a",
        "messages": [{"role": "user", "content": "Hi"}],
        "p": 0.5,
        "stop_sequences": ["x"],
        "seed": 1,
        "max_tokens": 9,
        "thinking": {"type": "disabled"},
    }
    assert forced["tool_choice"] == "REQUIRED"
    assert cohere(player).response_format(schema)["type"] == "json_object"


@pytest.mark.parametrize("options", [{"candidates": 2}, {"tools": [WEATHER], "tool_choice": "weather"}])
def test_what_cohere_does_not_have_is_refused(player: Player, options: dict[str, Any]) -> None:
    """Before anything is sent."""
    with cohere(player) as model, pytest.raises(ConfigurationError, match="Cohere"):
        model.answer("Hi", **options)


def test_coheres_answer_is_read(player: Player) -> None:
    """Thoughts, calls, citations, and all tokens, not only those that are billed."""
    call = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Berlin"}'}}
    sources = [{"type": "document", "id": "d1", "document": {"title": "A", "url": "https://a"}}]
    message = coheres(
        content=[{"type": "thinking", "thinking": "Hm."}, {"type": "text", "text": "Sunny."}],
        tool_calls=[call],
        citations=[{"start": 0, "end": 5, "text": "Sunny", "sources": sources}],
    )
    player.play(200, JSON, {**message, "finish_reason": "TOOL_CALL"})
    with cohere(player) as model:
        answer = model.answer("Hi")
    assert (answer.text, answer.reasoning, answer.finish_reason, answer.usage.total_tokens) == ("Sunny.", "Hm.", "tool_calls", 12)
    assert answer.tool_calls[0].arguments == {"city": "Berlin"}
    assert answer.citations == (Citation("https://a", "A", "Sunny", 0, 5),)


def test_coheres_stream_is_read(player: Player) -> None:
    """Its typed events, a tool's plan and call included."""
    text = {"type": "content-delta", "index": 0, "delta": {"message": {"content": {"text": "Sun"}}}}
    start = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": ""}}
    usage = {"tokens": {"input_tokens": 5, "output_tokens": 7}}
    events = [
        {"type": "message-start", "id": "1", "delta": {"message": {"role": "assistant"}}},
        {"type": "tool-plan-delta", "delta": {"message": {"tool_plan": "I ask."}}},
        {"type": "content-start", "index": 0, "delta": {"message": {"content": {"type": "text", "text": ""}}}},
        text,
        {**text, "delta": {"message": {"content": {"text": "ny."}}}},
        {"type": "content-end", "index": 0},
        {"type": "tool-call-start", "index": 0, "delta": {"message": {"tool_calls": start}}},
        {"type": "tool-call-delta", "index": 0, "delta": {"message": {"tool_calls": {"function": {"arguments": '{"city":'}}}}},
        {"type": "tool-call-delta", "index": 0, "delta": {"message": {"tool_calls": {"function": {"arguments": '"Berlin"}'}}}}},
        {"type": "tool-call-end", "index": 0},
        {"type": "an-event-of-tomorrow"},
        {"type": "message-end", "delta": {"finish_reason": "TOOL_CALL", "usage": usage}},
    ]
    player.play(200, EVENTS, sse(*events))
    with cohere(player) as model, model.stream("Hi") as stream:
        assert list(stream) == ["Sun", "ny."]
    assert stream.answer is not None
    assert (stream.answer.reasoning, stream.usage.total_tokens, stream.finish_reason) == ("I ask.", 12, "tool_calls")
    assert stream.tool_calls[0].arguments == {"city": "Berlin"}
    assert "stream_options" not in player.last.json


def test_coheres_error_is_read(player: Player) -> None:
    """In a reply, and at the end of a stream."""
    player.play(404, JSON, {"id": "1", "message": "model 'x' not found"})
    with cohere(player) as model, pytest.raises(ResponderError, match="not found"):
        model.answer("Hi")
    player.play(200, EVENTS, sse({"type": "message-end", "delta": {"finish_reason": "ERROR", "error": "it broke"}}))
    with cohere(player) as model, pytest.raises(ResponderError, match="it broke"):
        list(model.stream("Hi"))
