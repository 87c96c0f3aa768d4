"""Replies that nobody wrote: whatever comes over the wire becomes an Answer or one of our errors."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from providers.contract import dialect, documented, make, outcome
from wire.player import Player

from responder import Answer, APIError, InvalidResponseError, Responder

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
# A player and a simulator outlive the examples on purpose.
quickly = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@st.composite
def damaged(draw: st.DrawFn, provider: str) -> Any:
    """Return a documented reply in which some places hold something else."""

    def damage(value: Any) -> Any:
        if draw(st.integers(0, 9)) == 0:
            return draw(JSON)
        if isinstance(value, dict):
            return {key: damage(part) for key, part in value.items() if draw(st.integers(0, 9)) != 0}
        return [damage(part) for part in value] if isinstance(value, list) else value

    return damage(full(provider))


def full(provider: str) -> dict[str, Any]:
    """Return a reply with everything in it that a parser looks at."""
    reply = documented(provider)
    if dialect(provider) == "gemini":
        part = {"functionCall": {"id": "c", "name": "f", "args": {"x": 1}}, "thoughtSignature": "s"}
        reply["candidates"][0]["content"]["parts"] += [{"text": "Hm.", "thought": True}, part]
        return {**reply, "promptFeedback": {"safetyRatings": [{"category": "HARM_CATEGORY_X", "blocked": False}]}}
    if dialect(provider) == "anthropic":
        reply["content"] += [
            {"type": "thinking", "thinking": "Hm."},
            {"type": "tool_use", "id": "c", "name": "f", "input": {"x": 1}},
        ]
        return {**reply, "stop_details": {"explanation": "No."}}
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": '{"x": 1}'}}
    reply["choices"][0]["message"] |= {"reasoning_details": [{"text": "Hm."}], "tool_calls": [call], "refusal": None}
    reply["choices"][0]["content_filter_results"] = {"hate": {"filtered": False}}
    reply["usage"] |= {"prompt_tokens_details": {"cached_tokens": 1}, "completion_tokens_details": {"reasoning_tokens": 1}}
    return reply


@pytest.fixture(params=["openai", "azure", "gemini", "vertex", "anthropic", "xai", "mistral", "ollama", "ollama-native"])
def responder(request: pytest.FixtureRequest) -> Any:
    """One responder of each parser."""
    name = request.param.removesuffix("-native")
    path = "/v1" if request.param == "ollama" else ""
    with make(name, f"http://127.0.0.1:9{path}") as made:
        yield made


def parsed(responder: Responder, reply: Any) -> None:
    try:
        answer = responder.parse(reply)
    except InvalidResponseError:
        return
    assert isinstance(answer, Answer)
    assert isinstance(answer.text, str)
    assert isinstance(answer.reasoning, str)
    assert answer.finish_reason in ("stop", "length", "tool_calls", "content_filter", "refusal", "other")
    assert min(answer.usage.input_tokens, answer.usage.output_tokens, answer.usage.reasoning_tokens) >= 0
    assert all(isinstance(call.name, str) and isinstance(call.arguments, dict) for call in answer.tool_calls)
    assert isinstance(responder.explain(reply), str)


@quickly
@given(reply=st.dictionaries(st.sampled_from(["choices", "candidates", "content", "message", "usage", "error"]), JSON))
def test_any_json_object_parses_or_is_an_invalid_response(responder: Responder, reply: dict[str, Any]) -> None:
    """Whatever stands in the places that a parser looks at."""
    parsed(responder, reply)


@quickly
@given(data=st.data())
def test_a_damaged_reply_parses_or_is_an_invalid_response(responder: Responder, data: st.DataObject) -> None:
    """Types changed, keys missing."""
    reply = data.draw(damaged(responder.provider))
    if isinstance(reply, dict):
        parsed(responder, reply)


@pytest.mark.parametrize("provider", ["openai", "gemini", "anthropic"])
@quickly
@given(
    body=st.binary(max_size=200)
    | JSON.map(json.dumps).map(str.encode)
    | JSON.map(lambda error: json.dumps({"error": error}).encode()),
    status=st.sampled_from([200, 201, 299, 300, 400, 401, 403, 404, 413, 418, 429, 499, 500, 503, 529, 599]),
    wait=st.sampled_from(["", "0", "-1", "nan", "1e400", "soon", "9" * 400, "Wed, 99 Foo 2025 07:28:00 GMT"]),
)
def test_any_bytes_under_any_status_are_an_answer_or_an_error_of_ours(
    player: Player, provider: str, body: bytes, status: int, wait: str
) -> None:
    """Never another exception."""
    found = outcome(player, provider, body, status=status, headers={"retry-after": wait})
    assert isinstance(found, (Answer, APIError))
    if isinstance(found, APIError):
        assert str(found)
        assert found.retry_after is None or 0 <= found.retry_after < float("inf")
