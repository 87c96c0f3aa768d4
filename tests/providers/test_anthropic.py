"""Anthropic's Messages: what odd replies mean, and what goes out."""

from __future__ import annotations

import json
from typing import Any

import pytest
from providers.contract import answered, documented, documented_json, make, outcome
from wire.player import Player

from responder import (
    Audio,
    AuthenticationError,
    BadRequestError,
    ConfigurationError,
    EmptyAnswerError,
    File,
    Image,
    InternalServerError,
    InvalidResponseError,
    Message,
    QuotaExceededError,
    RateLimitError,
    ToolCall,
    ToolResult,
    Usage,
    assistant,
    system,
    user,
)


def blocks(*given: Any, **more: Any) -> dict[str, Any]:
    return documented("anthropic", content=list(given), **more)


def failure(kind: str, message: str) -> dict[str, Any]:
    return {"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_body"}


def test_text_blocks_are_joined_and_thinking_is_reasoning(player: Player) -> None:
    """Redacted thinking, and blocks that nobody knows yet, are passed over."""
    reply = blocks(
        {"type": "thinking", "thinking": "Hm.", "signature": "s"},
        {"type": "redacted_thinking", "data": "xx"},
        {"type": "text", "text": "A "},
        {"type": "server_tool_use", "id": "srv_1", "name": "web_search", "input": {}},
        {"type": "text", "text": "game.", "citations": None},
        None,
        "stray",
    )
    answer = answered(player, "anthropic", reply)
    assert (answer.text, answer.reasoning, answer.tool_calls) == ("A game.", "Hm.", ())


def test_a_tool_call_alone_is_an_answer_with_an_empty_text(player: Player) -> None:
    """Its input is an object already."""
    answer = answered(
        player,
        "anthropic",
        blocks({"type": "tool_use", "id": "t1", "name": "look_up", "input": {"x": 1}}, stop_reason="tool_use"),
    )
    assert (answer.text, answer.finish_reason) == ("", "tool_calls")
    assert answer.tool_calls == (ToolCall("t1", "look_up", {"x": 1}),)


@pytest.mark.parametrize(
    ("word", "ours"),
    [
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"),
        ("pause_turn", "other"),
        ("a_new_one", "other"),
        (None, "other"),
        (5, "other"),
    ],
)
def test_stop_reasons_are_translated(player: Player, word: Any, ours: str) -> None:
    """What nobody knows yet is "other"."""
    assert answered(player, "anthropic", documented("anthropic", stop_reason=word)).finish_reason == ours


def test_a_refusal_is_an_answer_that_says_so(player: Player) -> None:
    """With Anthropic's explanation where the model said nothing."""
    details = {"type": "refusal", "category": "cyber", "explanation": "This is against the policy."}
    answer = answered(player, "anthropic", blocks(stop_reason="refusal", stop_details=details))
    assert (answer.finish_reason, answer.text) == ("refusal", "This is against the policy.")
    assert answered(player, "anthropic", blocks(stop_reason="refusal")).text != ""


def test_an_answer_without_blocks_is_empty(player: Player) -> None:
    """Never "" for success."""
    error = outcome(player, "anthropic", blocks())
    assert isinstance(error, EmptyAnswerError)
    assert error.usage == Usage(5, 7, 0, 0, True)


@pytest.mark.parametrize("body", [{}, {"content": None}, {"content": "text"}, {"type": "completion"}, [], 5])
def test_json_without_content_is_an_invalid_response(player: Player, body: Any) -> None:
    """Which is worth another try."""
    error = outcome(player, "anthropic", body)
    assert isinstance(error, InvalidResponseError)
    assert error.retryable


def test_cached_input_is_added_to_the_input(player: Player) -> None:
    """Anthropic counts it beside; only what was read counts as cached."""
    usage = {
        "input_tokens": 10,
        "cache_creation_input_tokens": 100,
        "cache_read_input_tokens": 1000,
        "output_tokens": 7,
        "output_tokens_details": {"thinking_tokens": 3},
    }
    assert answered(player, "anthropic", documented("anthropic", usage=usage)).usage == Usage(1110, 7, 1000, 3, True, 100)


@pytest.mark.parametrize("usage", [None, {}, {"input_tokens": None}, "none"])
def test_missing_usage_is_unknown(player: Player, usage: Any) -> None:
    """Not a known 0."""
    assert answered(player, "anthropic", documented("anthropic", usage=usage)).usage == Usage()


def test_an_overloaded_api_is_asked_again(player: Player) -> None:
    """529 is a status of Anthropic's own."""
    error = outcome(player, "anthropic", failure("overloaded_error", "Overloaded"), status=529, headers={})
    assert isinstance(error, InternalServerError)
    assert (error.status, error.code, error.retryable, error.retry_after) == (529, "overloaded_error", True, None)
    assert error.request_id == "req_body"


def test_the_request_id_of_the_header_wins(player: Player) -> None:
    """It is the one that Anthropic's support asks for."""
    error = outcome(player, "anthropic", failure("api_error", "Oops"), status=500, headers={"request-id": "req_head"})
    assert error.request_id == "req_head"


def test_an_error_in_a_200_is_known_by_its_type(player: Player) -> None:
    """There is no code in it."""
    for kind, wanted, retryable in (
        ("overloaded_error", InternalServerError, True),
        ("rate_limit_error", RateLimitError, True),
        ("invalid_request_error", BadRequestError, False),
        ("authentication_error", AuthenticationError, False),
    ):
        error = outcome(player, "anthropic", failure(kind, "Something"))
        assert type(error) is wanted
        assert error.retryable is retryable


def test_no_credit_is_known_though_it_is_a_400(player: Player) -> None:
    """Its type is that of any wrong request: the words tell."""
    body = failure("invalid_request_error", "Your credit balance is too low to access the Anthropic API.")
    error = outcome(player, "anthropic", body, status=400)
    assert isinstance(error, QuotaExceededError)
    assert (error.retryable, error.fatal) == (False, True)


def test_a_prompt_that_is_too_long_is_one_prompts_problem(player: Player) -> None:
    """The others may be shorter."""
    body = failure("invalid_request_error", "prompt is too long: 210000 tokens > 200000 maximum")
    error = outcome(player, "anthropic", body, status=400)
    assert isinstance(error, BadRequestError)
    assert (error.retryable, error.fatal) == (False, False)
    assert "shorten it" in str(error)


# What goes out


def test_only_what_was_given_is_sent_and_the_limit_that_anthropic_wants(player: Player) -> None:
    """`max_tokens` is required."""
    answered(player, "anthropic", documented("anthropic"))
    assert player.last.json == {
        "model": "m-1",
        "max_tokens": 4096,
        "messages": [{"role": "user", "content": "What is baseball?"}],
    }
    assert player.last.path == "/v1/messages"


def test_system_messages_go_to_the_top_joined(player: Player) -> None:
    """Anthropic has no such role."""
    prompt = [system("Be kind."), user("Hi"), assistant("Hello"), system("Be short."), user("Who are you?")]
    answered(player, "anthropic", documented("anthropic"), prompt=prompt, system="Be true.")
    assert player.last.json["system"] == "Be true.\n\nBe kind.\n\nBe short."
    assert [message["role"] for message in player.last.json["messages"]] == ["user", "assistant", "user"]


def test_parts_have_the_documented_shape(player: Player) -> None:
    """Bytes as base64, links as links, plain text as text."""
    prompt = user(
        "Look",
        Image(data=b"png"),
        Image(url="https://example.com/a.png"),
        File(data=b"pdf"),
        File(url="https://example.com/a.pdf"),
        File(data="Füße".encode(), media_type="text/plain"),
    )
    answered(player, "anthropic", documented("anthropic"), prompt=prompt)
    assert player.last.json["messages"][0]["content"] == [
        {"type": "text", "text": "Look"},
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "cG5n"}},
        {"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}},
        {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "cGRm"}},
        {"type": "document", "source": {"type": "url", "url": "https://example.com/a.pdf"}},
        {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "Füße"}},
    ]


def test_audio_is_refused(player: Player) -> None:
    """Anthropic takes none."""
    assert isinstance(outcome(player, "anthropic", documented("anthropic"), prompt=user(Audio(data=b"x"))), ConfigurationError)
    assert player.sent == []


def test_the_results_of_one_turn_go_back_in_one_user_message(player: Player) -> None:
    """Calls and results as blocks."""
    prompt = [
        user("Weather in Rome and Oslo?"),
        assistant("One moment.", ToolCall("t1", "weather", {"city": "Rome"}), ToolCall("t2", "weather", {"city": "Oslo"})),
        Message("tool", ToolResult("t1", "sun")),
        Message("tool", ToolResult("t2", "no data", is_error=True)),
    ]
    answered(player, "anthropic", documented("anthropic"), prompt=prompt)
    assert player.last.json["messages"][1:] == [
        {
            "role": "assistant",
            "content": [
                {"type": "text", "text": "One moment."},
                {"type": "tool_use", "id": "t1", "name": "weather", "input": {"city": "Rome"}},
                {"type": "tool_use", "id": "t2", "name": "weather", "input": {"city": "Oslo"}},
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "t1", "content": "sun"},
                {"type": "tool_result", "tool_use_id": "t2", "content": "no data", "is_error": True},
            ],
        },
    ]


@pytest.mark.parametrize(
    ("choice", "sent"),
    [
        ("auto", {"type": "auto"}),
        ("none", {"type": "none"}),
        ("required", {"type": "any"}),
        ("look_up", {"type": "tool", "name": "look_up"}),
    ],
)
def test_the_choice_of_a_tool_has_the_documented_shape(player: Player, choice: str, sent: Any) -> None:
    """Its word for required is "any"."""
    answered(player, "anthropic", documented("anthropic"), tools=[{"name": "look_up"}], tool_choice=choice)
    assert player.last.json["tool_choice"] == sent
    assert player.last.json["tools"] == [
        {"name": "look_up", "description": "", "input_schema": {"type": "object", "properties": {}}}
    ]


def test_a_schema_is_closed_at_every_depth(player: Player) -> None:
    """Anthropic insists on it; what is optional stays so."""
    inner = {"type": "object", "properties": {"b": {"type": "string"}}}
    schema = {"type": "object", "properties": {"a": {"type": "array", "items": inner}}, "required": []}
    answered(player, "anthropic", documented_json("anthropic"), schema=schema)
    closed = {**inner, "additionalProperties": False}
    assert player.last.json["output_config"] == {
        "format": {
            "type": "json_schema",
            "schema": {
                "type": "object",
                "properties": {"a": {"type": "array", "items": closed}},
                "required": [],
                "additionalProperties": False,
            },
        }
    }


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object", "additionalProperties": {"type": "string"}},
        {"type": "object", "properties": {"name": {"type": "string"}, "more": {"$ref": "#"}}, "required": ["name"]},
    ],
    ids=["any keys", "recursive"],
)
def test_a_schema_that_anthropic_refuses_goes_into_the_system_text(player: Player, schema: dict[str, Any]) -> None:
    """After the user's own; the answer is checked all the same."""
    answer = answered(player, "anthropic", documented_json("anthropic"), schema=schema, system="Be terse.")
    assert answer.parsed == {"name": "baseball"}
    assert "output_config" not in player.last.json
    assert player.last.json["system"].startswith("Be terse.\n\nAnswer with one JSON object")
    assert player.last.json["system"].endswith(json.dumps(schema, separators=(",", ":")))


@pytest.mark.parametrize("option", [{"seed": 1}, {"candidates": 2}])
def test_what_anthropic_does_not_have_is_refused(player: Player, option: dict[str, Any]) -> None:
    """Rather than left out in silence."""
    error = outcome(player, "anthropic", documented("anthropic"), **option)
    assert isinstance(error, ConfigurationError)
    assert (next(iter(option)) in str(error), player.sent) == (True, [])


@pytest.mark.parametrize("end", ["", "/", "/v1", "/v1/"])
def test_the_version_may_stand_in_the_base_url(player: Player, end: str) -> None:
    """It is not said twice."""
    player.play(200, {}, documented("anthropic"))
    with make("anthropic", player.url + end) as claude:
        claude.answer("Hi")
    assert player.last.path == "/v1/messages"
