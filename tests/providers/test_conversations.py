"""A conversation goes on with `answer.message`: each provider sees again what it made, and nobody else does."""

from __future__ import annotations

import json
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from providers.contract import NAMES, documented, make, said
from wire.player import Player

from responder import Answer, BedrockResponder, Message, OllamaResponder, Opaque, Responder, Text, ToolCall, ToolResult, user

WIRE = Path(__file__).parent.parent / "wire"
CALL = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Rome"}'}}
DETAILS = [
    {"type": "reasoning.text", "text": "It is about weather.", "signature": "c2ln", "format": "x", "index": 0},
    {"type": "reasoning.encrypted", "data": "ZW5j", "index": 1},
]
THOUGHTS = [
    {"type": "thinking", "thinking": "It is about weather.", "signature": "c2ln"},
    {"type": "redacted_thinking", "data": "ZW5j"},
]
USE = {"type": "tool_use", "id": "call_1", "name": "weather", "input": {"city": "Rome"}}

# For each provider what it says, and the message that has to go back.
TURNS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "anthropic": (
        documented("anthropic", content=[*THOUGHTS, {"type": "text", "text": "I look."}, USE], stop_reason="tool_use"),
        {"role": "assistant", "content": [*THOUGHTS, {"type": "text", "text": "I look."}, USE]},
    ),
    "gemini": (
        documented(
            "gemini",
            content={
                "role": "model",
                "parts": [
                    {"text": "Thinking.", "thought": True},
                    {"text": "I look.", "thoughtSignature": "c2lnMQ=="},
                    {"functionCall": {"name": "weather", "args": {"city": "Rome"}}, "thoughtSignature": "c2lnMg=="},
                    {"text": "", "thoughtSignature": "c2lnMw=="},
                ],
            },
        ),
        {
            "role": "model",
            "parts": [
                {"text": "I look.", "thoughtSignature": "c2lnMQ=="},
                {"functionCall": {"name": "weather", "args": {"city": "Rome"}}, "thoughtSignature": "c2lnMg=="},
                {"text": "", "thoughtSignature": "c2lnMw=="},
            ],
        },
    ),
    "deepseek": (
        said({"content": "I look.", "reasoning_content": "Hm.", "tool_calls": [CALL]}, finish_reason="tool_calls"),
        {"role": "assistant", "content": "I look.", "reasoning_content": "Hm.", "tool_calls": [CALL]},
    ),
    "openrouter": (
        said({"content": "I look.", "reasoning": "Hm.", "reasoning_details": DETAILS, "tool_calls": [CALL]}),
        {"role": "assistant", "content": "I look.", "reasoning_details": DETAILS, "tool_calls": [CALL]},
    ),
    "groq": (
        said({"content": "I look.", "reasoning": "Hm.", "tool_calls": [CALL]}),
        {"role": "assistant", "content": "I look.", "tool_calls": [CALL]},
    ),
}
TURNS["vertex"] = TURNS["gemini"]
_THOUGHT = {"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}]}
TURNS["cohere"] = (
    documented(
        "cohere",
        message={
            "role": "assistant",
            "content": [{"type": "thinking", "thinking": "Hm."}, {"type": "text", "text": "I look."}],
            "tool_plan": "First the weather.",
            "tool_calls": [CALL],
        },
        finish_reason="TOOL_CALL",
    ),
    {
        "role": "assistant",
        "content": [{"type": "thinking", "thinking": "Hm."}, {"type": "text", "text": "I look."}],
        "tool_plan": "First the weather.",
        "tool_calls": [CALL],
    },
)
_REASONING = [
    {"reasoningContent": {"reasoningText": {"text": "Hm.", "signature": "c2ln"}}},
    {"reasoningContent": {"redactedContent": "ZW5j"}},
]
_USE = {"toolUse": {"toolUseId": "call_1", "name": "weather", "input": {"city": "Rome"}}}
TURNS["bedrock"] = (
    documented(
        "bedrock",
        output={"message": {"role": "assistant", "content": [*_REASONING, {"text": "I look."}, _USE]}},
        stopReason="tool_use",
    ),
    {"role": "assistant", "content": [*_REASONING, {"text": "I look."}, _USE]},
)
TURNS["anthropic-bedrock"] = TURNS["anthropic-vertex"] = TURNS["anthropic"]
TURNS["mistral"] = (
    said({"content": [_THOUGHT, {"type": "text", "text": "I look."}], "tool_calls": [CALL]}),
    {"role": "assistant", "content": [_THOUGHT, {"type": "text", "text": "I look."}], "tool_calls": [CALL]},
)


def turns(body: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the turns of a request, but for the system's."""
    return [turn for turn in body.get("contents", body.get("messages")) if turn["role"] != "system"]


def first_answer(player: Player, provider: str) -> Answer:
    """Return the answer that the provider gives in `TURNS`."""
    player.play(200, {}, TURNS[provider][0])
    with make(provider, player.url) as responder:
        return responder.answer("What is the weather?")


def second_turns(player: Player, responder: Responder, *more: Message) -> list[dict[str, Any]]:
    """Return what is sent when the conversation goes on with these messages."""
    with responder:
        responder.answer([user("What is the weather?"), *more])
    return turns(player.last.json)


@pytest.mark.parametrize("provider", TURNS)
def test_a_provider_sees_again_what_it_needs(player: Player, provider: str) -> None:
    """Unchanged and in its place, with the result of the tool behind it."""
    answer = first_answer(player, provider)
    assert (answer.text, [call.name for call in answer.tool_calls]) == ("I look.", ["weather"])
    (call,) = answer.tool_calls
    player.play(200, {}, documented(provider))
    sent = second_turns(
        player, make(provider, player.url), answer.message, Message("tool", ToolResult(call.id, "sun", call.name))
    )
    expected = json.loads(json.dumps(TURNS[provider][1]))
    for each in expected.get("tool_calls", ()):
        each["function"]["arguments"] = answer.tool_calls[0].json
    assert (len(sent), sent[1]) == (3, expected)


@pytest.mark.parametrize("other", NAMES)
@pytest.mark.parametrize("provider", ["anthropic", "gemini", "deepseek", "openrouter"])
def test_another_provider_sees_the_rest(player: Player, provider: str, other: str) -> None:
    """The text and the calls; what only one can read is left out, and is no error."""
    answer = first_answer(player, provider)
    player.play(200, {}, documented(other))
    path = "/v1" if other == "ollama" else ""
    result = Message("tool", ToolResult(answer.tool_calls[0].id, "sun", "weather"))
    sent = second_turns(player, make(other, player.url + path), answer.message, result)
    text = json.dumps(sent[1])
    assert "I look." in text
    assert "weather" in text
    family = "anthropic" if other.startswith("anthropic") else {"vertex": "gemini"}.get(other, other)
    for secret in ("c2lnMQ==", 'c2ln"', "ZW5j", "Hm."):
        assert secret not in text or family == provider


def test_thoughts_go_back_to_deepseek_with_tool_calls_alone(player: Player) -> None:
    """It refuses them in other turns."""
    player.play(200, {}, said({"content": "Hello.", "reasoning_content": "Hm."}))
    with make("deepseek", player.url) as responder:
        assert responder.answer("Hi").message == Message("assistant", "Hello.")


def test_ollamas_own_api_sees_its_thoughts_again_with_tool_calls(player: Player) -> None:
    """As its guide to thinking wants it."""
    call = {"function": {"name": "weather", "arguments": {"city": "Rome"}}}
    message = {"role": "assistant", "content": "", "thinking": "Hm.", "tool_calls": [call]}
    player.play(200, {}, {"model": "m", "message": message, "done": True, "done_reason": "stop"})
    with OllamaResponder("m", base_url=player.url) as responder:
        answer = responder.answer("What is the weather?")
    sent = second_turns(player, OllamaResponder("m", base_url=player.url), answer.message, user("Go on"))
    assert sent[1] == {"role": "assistant", "content": "", "tool_calls": [call], "thinking": "Hm."}


@pytest.mark.parametrize("provider", TURNS)
def test_a_message_is_a_value(player: Player, provider: str) -> None:
    """Equal by content, the same after a pickle, and no text of its opaque parts in a repr."""
    answer = first_answer(player, provider)
    copy = pickle.loads(pickle.dumps(answer))
    assert copy.message == answer.message == first_answer(player, provider).message
    assert answer.message.text == answer.text
    assert "c2ln" not in repr(answer.message)


def test_a_plain_answer_is_a_plain_message(player: Player) -> None:
    """And an answer of one's own making has one, too."""
    for provider in ("openai", "anthropic", "gemini"):
        player.play(200, {}, documented(provider))
        with make(provider, player.url) as responder:
            assert responder.answer("Hi").message == Message("assistant", "A bat-and-ball game.")
    assert Answer("", tool_calls=(ToolCall("1", "f"),)).message == Message("assistant", [ToolCall("1", "f")])


def test_a_streamed_answer_has_the_same_message(player: Player) -> None:
    """Thoughts, signatures and details are put together from their pieces."""
    recorded = json.loads((WIRE / "gemini" / "stream_sse_tool_call.json").read_text())["response"]
    player.play(200, recorded["headers"], recorded["body_text"].encode())
    with make("gemini", player.url) as responder:
        stream = responder.stream("What is the capital of the user's country?")
        list(stream)
    assert stream.answer is not None
    (call,) = stream.answer.message.parts
    assert isinstance(call, ToolCall)
    assert call.signature == "EpwICpkIAXLI2nxlU6gsWZaZ"

    pieces = [
        {"reasoning": "It is ", "reasoning_details": [{**DETAILS[0], "text": "It is ", "signature": None}]},
        {"reasoning": "about weather.", "reasoning_details": [{**DETAILS[0], "text": "about weather."}]},
        {"reasoning_details": [DETAILS[1]]},
        {"content": "I look."},
    ]
    chunks = [{"choices": [{"index": 0, "delta": piece}]} for piece in pieces]
    chunks.append({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
    body = "".join(f"data: {json.dumps(chunk)}\n\n" for chunk in chunks) + "data: [DONE]\n\n"
    player.play(200, {"content-type": "text/event-stream"}, body.encode())
    with make("openrouter", player.url) as responder:
        stream = responder.stream("What is the weather?")
        list(stream)
    assert stream.answer is not None
    assert stream.answer.message.parts == (Opaque("openrouter", {"reasoning_details": DETAILS}), Text("I look."))


def test_anthropics_streamed_thoughts_go_back(player: Player) -> None:
    """With the signature that came last, and the redacted ones whole."""
    events = [
        {"type": "message_start", "message": {"id": "m", "model": "m", "role": "assistant", "usage": {"input_tokens": 1}}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "thinking", "thinking": "", "signature": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "thinking_delta", "thinking": "It is "}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "thinking_delta", "thinking": "about weather."}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "signature_delta", "signature": "c2ln"}},
        {"type": "content_block_stop", "index": 0},
        {"type": "content_block_start", "index": 1, "content_block": THOUGHTS[1]},
        {"type": "content_block_stop", "index": 1},
        {"type": "content_block_start", "index": 2, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 2, "delta": {"type": "text_delta", "text": "I look."}},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 9}},
        {"type": "message_stop"},
    ]
    body = "".join(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n" for event in events)
    player.play(200, {"content-type": "text/event-stream"}, body.encode())
    with make("anthropic", player.url) as responder:
        stream = responder.stream("What is the weather?")
        list(stream)
    assert stream.answer is not None
    assert stream.answer.message.parts == (*(Opaque("anthropic", block) for block in THOUGHTS), Text("I look."))


def test_a_turn_of_responses_is_the_very_request_that_was_recorded(player: Player) -> None:
    """Thoughts, encrypted, and the call with its own id, each as it came; then the result."""
    call, again = (json.loads((WIRE / "openai" / f"responses_reasoning_{name}.json").read_text()) for name in ("call", "return"))
    player.play(200, {"content-type": "application/json"}, call["response"]["body"])
    first, *_, result = again["request"]["body"]["input"]
    with make("openai", player.url, api="responses") as responder:
        question = user(first["content"])
        answer = responder.answer(question)
        player.play(200, {"content-type": "application/json"}, again["response"]["body"])
        responder.answer([question, answer.message, Message("tool", ToolResult(result["call_id"], result["output"]))])
    assert player.last.json["input"] == again["request"]["body"]["input"]


def test_what_responses_made_is_left_out_of_chat_completions(player: Player) -> None:
    """The text and the call go on, without the thoughts."""
    recorded = json.loads((WIRE / "openai" / "responses_reasoning_call.json").read_text())["response"]["body"]
    player.play(200, {"content-type": "application/json"}, recorded)
    with make("openai", player.url, api="responses") as responder:
        answer = responder.answer("Hi")
    for provider in ("openai", "groq"):
        player.play(200, {}, documented(provider))
        keywords = {"api": "chat"} if provider == "openai" else {}
        sent = second_turns(player, make(provider, player.url, **keywords), answer.message, user("Go on"))
        (made,) = sent[1]["tool_calls"]
        assert (sent[1]["content"], made["function"]["name"]) == (None, "update_plan")
        assert set(sent[1]) == {"role", "content", "tool_calls"}


def test_a_text_of_responses_goes_back_once(player: Player) -> None:
    """As the item that it was, with the thoughts before it."""
    items = [
        {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "ZW5j"},
        {"type": "message", "id": "msg_1", "role": "assistant", "content": [{"type": "output_text", "text": "Hello."}]},
    ]
    body = {"object": "response", "status": "completed", "model": "m", "output": items}
    player.play(200, {"content-type": "application/json"}, body)
    with make("openai", player.url, api="responses") as responder:
        answer = responder.answer("Hi")
        assert (answer.message.text, answer.text) == ("Hello.", "Hello.")
        responder.answer([user("Hi"), answer.message, user("Go on")])
    assert player.last.json["input"] == [{"role": "user", "content": "Hi"}, *items, {"role": "user", "content": "Go on"}]


def test_bedrock_sees_its_thoughts_again(player: Player) -> None:
    """With their signature, before the call."""
    content = [
        {"reasoningContent": {"reasoningText": {"text": "Hm.", "signature": "c2ln"}}},
        {"text": "I look."},
        {"toolUse": {"toolUseId": "call_1", "name": "weather", "input": {"city": "Rome"}}},
    ]
    reply = {"output": {"message": {"role": "assistant", "content": content}}, "stopReason": "tool_use"}
    player.play(200, {"content-type": "application/json"}, reply)
    with BedrockResponder("m", api_key="any", base_url=player.url) as responder:
        answer = responder.answer("What is the weather?")
        responder.answer([user("What is the weather?"), answer.message, Message("tool", ToolResult("call_1", "sun"))])
    assert player.last.json["messages"][1] == {"role": "assistant", "content": content}
