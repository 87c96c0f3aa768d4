"""Replies that nobody wrote: whatever comes over the wire becomes an Answer or one of our errors."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from providers.contract import dialect, documented, make, outcome, streamed
from wire.player import Player

from responder import Answer, APIError, InvalidResponseError, Responder

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["\ud83d", 10**4000, 1e17, "stop"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
# A player and a simulator outlive the examples on purpose.
quickly = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@st.composite
def damaged(draw: st.DrawFn, reply: dict[str, Any]) -> Any:
    """Return a reply in which some places hold something else."""

    def damage(value: Any) -> Any:
        if draw(st.integers(0, 9)) == 0:
            return draw(JSON)
        if isinstance(value, dict):
            return {key: damage(part) for key, part in value.items() if draw(st.integers(0, 9)) != 0}
        return [damage(part) for part in value] if isinstance(value, list) else value

    return damage(reply)


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
    if dialect(provider) == "bedrock":
        thought = {"reasoningContent": {"reasoningText": {"text": "Hm.", "signature": "s"}}}
        cited = {
            "citationsContent": {"content": [{"text": "So."}], "citations": [{"title": "t", "location": {"web": {"url": "u"}}}]}
        }
        use = {"toolUse": {"toolUseId": "c", "name": "f", "input": {"x": 1}}}
        reply["output"]["message"]["content"] += [thought, cited, use]
        return {**reply, "serviceTier": {"type": "flex"}, "usage": {**reply["usage"], "cacheReadInputTokens": 1}}
    if dialect(provider) == "cohere":
        source = {"type": "tool", "tool_output": {}, "id": "s"}
        reply["message"]["citations"] = [{"start": 0, "end": 1, "text": "A", "sources": [source]}]
        reply["message"]["content"].append({"type": "thinking", "thinking": "Hm."})
        reply["message"] |= {"tool_calls": [call], "tool_plan": "I look."}
        return reply
    reply["choices"][0]["message"] |= {"reasoning_details": [{"text": "Hm."}], "tool_calls": [call], "refusal": None}
    reply["choices"][0]["content_filter_results"] = {"hate": {"filtered": False}}
    reply["usage"] |= {"prompt_tokens_details": {"cached_tokens": 1}, "completion_tokens_details": {"reasoning_tokens": 1}}
    return reply


KINDS = ["openai", "azure", "gemini", "anthropic", "mistral", "ollama", "ollama-native", "bedrock", "cohere", "openai-responses"]


@pytest.fixture(params=KINDS)
def responder(request: pytest.FixtureRequest) -> Any:
    """One responder of each parser."""
    name = request.param.removesuffix("-native").removesuffix("-responses")
    path = "/v1" if request.param == "ollama" else ""
    more = {"api": "responses"} if request.param == "openai-responses" else {}
    with make(name, f"http://127.0.0.1:9{path}", **more) as made:
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
    for text in (answer.text, answer.reasoning, *answer.candidates, *(call.arguments_text for call in answer.tool_calls)):
        text.encode()
    usage = answer.usage
    assert 0 <= usage.cached_input_tokens + usage.cache_write_tokens <= usage.input_tokens < 10**10
    assert 0 <= usage.output_tokens < 10**10
    assert 0 <= usage.reasoning_tokens < 10**10
    assert all(isinstance(call.name, str) and isinstance(call.arguments, dict) for call in answer.tool_calls)
    assert isinstance(responder.explain(reply), str)


@quickly
@given(reply=st.dictionaries(st.sampled_from(["choices", "candidates", "content", "message", "output", "usage", "error"]), JSON))
def test_any_json_object_parses_or_is_an_invalid_response(responder: Responder, reply: dict[str, Any]) -> None:
    """Whatever stands in the places that a parser looks at."""
    parsed(responder, reply)


@quickly
@given(data=st.data())
def test_a_damaged_reply_parses_or_is_an_invalid_response(responder: Responder, data: st.DataObject) -> None:
    """Types changed, keys missing."""
    is_response = getattr(responder, "api", "") == "responses"
    reply = data.draw(damaged(RESPONSE if is_response else full(responder.provider)))
    if isinstance(reply, dict):
        parsed(responder, reply)


NATIVE_LINE = {
    "model": "m-1",
    "message": {
        "role": "assistant",
        "content": "A",
        "thinking": "Hm.",
        "tool_calls": [{"function": {"name": "f", "arguments": {}}}],
    },
    "done": True,
    "done_reason": "stop",
    "prompt_eval_count": 5,
    "eval_count": 7,
}


RESPONSE = {
    "object": "response",
    "status": "completed",
    "model": "m-1",
    "service_tier": "default",
    "incomplete_details": None,
    "output": [
        {"type": "reasoning", "id": "r", "summary": [{"type": "summary_text", "text": "Hm."}], "encrypted_content": "e"},
        {
            "type": "message",
            "content": [
                {"type": "output_text", "text": "A", "annotations": [{"type": "url_citation", "url": "u"}], "logprobs": []}
            ],
        },
        {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
    ],
    "usage": {
        "input_tokens": 5,
        "output_tokens": 7,
        "total_tokens": 12,
        "input_tokens_details": {"cached_tokens": 1},
        "output_tokens_details": {"reasoning_tokens": 1},
    },
}
RESPONSE_EVENTS = [
    {"type": "response.created", "response": {**RESPONSE, "status": "in_progress", "output": []}},
    {"type": "response.output_item.added", "output_index": 0, "item": {"type": "message", "content": []}},
    {"type": "response.output_text.delta", "output_index": 0, "content_index": 0, "delta": "A"},
    {"type": "response.output_text.done", "output_index": 0, "content_index": 0, "text": "A"},
    {"type": "response.function_call_arguments.delta", "output_index": 1, "delta": "{}"},
    {"type": "response.reasoning_summary_text.delta", "output_index": 2, "summary_index": 0, "delta": "Hm."},
    {"type": "response.output_item.done", "output_index": 1, "item": RESPONSE["output"][2]},
    {"type": "response.completed", "response": RESPONSE},
]
CONVERSE_EVENTS = [
    {"messageStart": {"role": "assistant"}},
    {"contentBlockDelta": {"contentBlockIndex": 0, "delta": {"text": "A"}}},
    {"contentBlockDelta": {"contentBlockIndex": 0, "delta": {"citation": {"title": "t"}}}},
    {"contentBlockStop": {"contentBlockIndex": 0}},
    {"contentBlockStart": {"contentBlockIndex": 1, "start": {"toolUse": {"toolUseId": "c", "name": "f"}}}},
    {"contentBlockDelta": {"contentBlockIndex": 1, "delta": {"toolUse": {"input": "{}"}}}},
    {"contentBlockDelta": {"contentBlockIndex": 2, "delta": {"reasoningContent": {"text": "Hm.", "signature": "s"}}}},
    {"messageStop": {"stopReason": "end_turn"}},
    {"metadata": {"usage": {"inputTokens": 5, "outputTokens": 7}, "serviceTier": {"type": "flex"}}},
]
COHERE_EVENTS = [
    {"type": "message-start", "id": "1", "delta": {"message": {"role": "assistant"}}},
    {"type": "content-start", "index": 0, "delta": {"message": {"content": {"type": "text", "text": ""}}}},
    {"type": "content-delta", "index": 0, "delta": {"message": {"content": {"text": "A", "thinking": "Hm."}}}},
    {"type": "content-end", "index": 0},
    {"type": "tool-plan-delta", "delta": {"message": {"tool_plan": "I look."}}},
    {
        "type": "tool-call-start",
        "index": 0,
        "delta": {"message": {"tool_calls": {"id": "c", "function": {"name": "f", "arguments": ""}}}},
    },
    {"type": "tool-call-delta", "index": 0, "delta": {"message": {"tool_calls": {"function": {"arguments": "{}"}}}}},
    {"type": "citation-start", "index": 0, "delta": {"message": {"citations": {"text": "A", "sources": [{"id": "s"}]}}}},
    {"type": "message-end", "delta": {"finish_reason": "COMPLETE", "usage": {"tokens": {"input_tokens": 5, "output_tokens": 7}}}},
]


def events(responder: Responder) -> list[Any]:
    """Return the events of a stream with everything in it that a reader looks at."""
    if getattr(responder, "api", "") == "responses":
        return [*RESPONSE_EVENTS, RESPONSE]
    if dialect(responder.provider) == "bedrock":
        return [*CONVERSE_EVENTS, full("bedrock")]
    if dialect(responder.provider) == "cohere":
        return [*COHERE_EVENTS, full("cohere")]
    if responder.provider == "ollama" and "/v1" not in responder.base_url:
        return [{**NATIVE_LINE, "done": False}, NATIVE_LINE]
    reply = full(responder.provider)
    if dialect(responder.provider) == "gemini":
        return [reply, {**reply, "candidates": [{**reply["candidates"][0], "index": 1}]}, documented(responder.provider)]
    if dialect(responder.provider) == "anthropic":
        tool = {"type": "tool_use", "id": "c", "name": "f", "input": {}}
        return [
            {"type": "message_start", "message": {**reply, "content": []}},
            {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
            {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "A"}},
            {"type": "content_block_delta", "index": 0, "delta": {"type": "citations_delta", "citation": {}}},
            {"type": "content_block_stop", "index": 0},
            {"type": "content_block_start", "index": 1, "content_block": tool},
            {"type": "content_block_delta", "index": 1, "delta": {"type": "input_json_delta", "partial_json": "{}"}},
            {"type": "content_block_delta", "index": 2, "delta": {"type": "thinking_delta", "thinking": "Hm."}},
            {"type": "content_block_delta", "index": 2, "delta": {"type": "signature_delta", "signature": "s"}},
            {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 7}},
            {"type": "message_stop"},
            reply,
        ]
    choice = reply["choices"][0]
    call = {"index": 0, "id": "c", "type": "function", "function": {"name": "f", "arguments": "{"}, "extra_content": {}}
    delta = {
        "content": "A",
        "reasoning": "Hm.",
        "refusal": None,
        "tool_calls": [call, call],
        "audio": {"data": "a"},
        "annotations": [1],
    }
    return [
        {"choices": [{"index": 0, "delta": delta, "finish_reason": None}], "usage": None},
        {"choices": [{"index": 1, "delta": {"content": "B", "function_call": {"name": "f", "arguments": "{}"}}}], "x_groq": {}},
        {"choices": [choice], "usage": reply["usage"], "prompt_filter_results": [{"content_filter_results": {}}]},
        {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop", "native_finish_reason": "STOP", "error": None}]},
    ]


def places(value: Any, way: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the way to each place in a JSON value."""
    yield way
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from places(inner, (*way, key))


def replaced(value: Any, way: tuple[Any, ...], other: Any) -> Any:
    """Return a JSON value with something else in one place; the value itself where there is no such place any more."""
    if not way:
        return other
    key, *rest = way
    if isinstance(value, dict) and key in value:
        return {**value, key: replaced(value[key], tuple(rest), other)}
    if isinstance(value, list) and isinstance(key, int) and key < len(value):
        return [*value[:key], replaced(value[key], tuple(rest), other), *value[key + 1 :]]
    return value


@settings(quickly, max_examples=80)
@given(data=st.data())
def test_damaged_chunks_make_a_reply_that_parses_or_is_an_invalid_response(responder: Responder, data: st.DataObject) -> None:
    """Whatever stands in each place of a stream's events, in whatever order they come."""
    stream = events(responder)
    ways = st.sampled_from(list(places(stream))[1:])
    for way, other in data.draw(st.lists(st.tuples(ways, JSON), max_size=5)):
        stream = replaced(stream, way, other)
    if data.draw(st.booleans()):
        stream.reverse()
    reader = responder.reader()
    for chunk in stream:
        if isinstance(chunk, dict):
            piece = reader.read(chunk)
            assert isinstance(piece, str)
            piece.encode()
            parsed(responder, reader.reply())  # what `Stream.usage` and its like look at on the way


@pytest.mark.parametrize("depth", [800, 100_001])
@pytest.mark.parametrize("place", ["usage", "usageMetadata", "content", "choices", "candidates", "error"])
def test_deep_nesting_is_an_answer_or_an_error_of_ours(player: Player, place: str, depth: int) -> None:
    """In a whole answer and in a stream."""
    deep = "[" * depth + "]" * depth if depth % 3 else '{"a":' * depth + "1" + "}" * depth
    for provider in ("openai", "gemini", "anthropic"):
        reply = full(provider)
        text = json.dumps({**reply, place: "DEEP"}).replace('"DEEP"', deep)
        for name in ("input", "args", "arguments"):
            text = text.replace(f'"{name}": {{"x": 1}}', f'"{name}": {deep}')
        assert isinstance(outcome(player, provider, text.encode()), (Answer, APIError))
        _, found = streamed(player, provider, f"data: {text}\n\ndata: [DONE]\n\n".encode())
        assert isinstance(found, (Answer, APIError))


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
