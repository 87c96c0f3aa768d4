"""OpenAI's dialect: what odd replies mean, and what goes out."""

from __future__ import annotations

import contextlib
import json
import re
from typing import Any

import pytest
from providers.contract import answered, documented, documented_json, make, outcome, said
from wire.player import Player

from responder import (
    Audio,
    BadRequestError,
    BlockedError,
    ConfigurationError,
    EmptyAnswerError,
    File,
    Image,
    InternalServerError,
    InvalidAnswerError,
    InvalidResponseError,
    Message,
    QuotaExceededError,
    RateLimitError,
    ToolCall,
    ToolResult,
    Usage,
    assistant,
    user,
)


def call(arguments: Any, name: str = "look_up", **more: Any) -> dict[str, Any]:
    return {"id": "call_1", "type": "function", "function": {"name": name, "arguments": arguments}, **more}


# Text in odd places


def test_content_as_a_list_of_parts_is_joined(player: Player) -> None:
    """Some gateways pass parts through."""
    answer = answered(player, "openai", said({"content": [{"type": "text", "text": "A "}, {"type": "text", "text": "game."}]}))
    assert answer.text == "A game."


def test_unknown_parts_in_a_list_of_content_are_passed_over(player: Player) -> None:
    """Whatever their form."""
    parts = [
        None,
        5,
        "stray",
        {"type": "future", "data": {}},
        {"type": "text", "text": "A game."},
        {"type": "text", "text": None},
    ]
    assert answered(player, "openai", said({"content": parts})).text == "A game."


def test_null_content_without_a_tool_call_is_an_empty_answer(player: Player) -> None:
    """Never "" or None for success."""
    error = outcome(player, "openai", said({"content": None}))
    assert isinstance(error, EmptyAnswerError)
    assert (error.finish_reason, error.usage.output_tokens, error.retryable) == ("stop", 7, False)


@pytest.mark.parametrize("content", ["", [], {}, 5, False])
def test_content_that_holds_no_text_is_an_empty_answer(player: Player, content: Any) -> None:
    """Of any type."""
    assert isinstance(outcome(player, "openai", said({"content": content})), EmptyAnswerError)


def test_a_message_without_the_key_content_is_an_empty_answer(player: Player) -> None:
    """Groq leaves it out beside tool calls; alone it says nothing."""
    assert isinstance(outcome(player, "openai", said({})), EmptyAnswerError)


def test_an_empty_answer_that_was_cut_says_to_raise_max_tokens(player: Player) -> None:
    """Reasoning models use up the limit before the first word."""
    error = outcome(player, "openai", said({"content": ""}, finish_reason="length"))
    assert isinstance(error, EmptyAnswerError)
    assert error.finish_reason == "length"
    assert "raise max_tokens" in str(error)


def test_an_answer_cut_at_the_limit_is_an_answer(player: Player) -> None:
    """With `truncated` true."""
    answer = answered(player, "openai", said({"content": "A bat"}, finish_reason="length"))
    assert (answer.text, answer.truncated) == ("A bat", True)


# Reasoning


@pytest.mark.parametrize(
    "message",
    [
        {"reasoning_content": "Hm."},
        {"reasoning": "Hm."},
        {"reasoning_details": [{"type": "reasoning.text", "text": "Hm."}]},
        {"reasoning_details": [{"type": "reasoning.summary", "summary": "Hm."}]},
        {"reasoning": "Hm.", "reasoning_details": [{"type": "reasoning.text", "text": "Hm."}]},
        {"reasoning_content": None, "reasoning": "Hm."},
        {"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}]}, {"type": "text", "text": "Yes."}]},
        {"content": [{"type": "thinking", "thinking": "Hm."}, {"type": "text", "text": "Yes."}]},
    ],
)
def test_reasoning_is_found_in_each_of_its_places_and_once(player: Player, message: dict[str, Any]) -> None:
    """It goes to `reasoning`, never into the text."""
    answer = answered(player, "openai", said({"content": "Yes.", **message}))
    assert (answer.text, answer.reasoning) == ("Yes.", "Hm.")


def test_reasoning_alone_is_an_empty_answer(player: Player) -> None:
    """The user was told nothing."""
    assert isinstance(outcome(player, "deepseek", said({"content": None, "reasoning_content": "Hm."})), EmptyAnswerError)


# Tool calls


def test_a_tool_call_alone_is_an_answer_with_an_empty_text(player: Player) -> None:
    """With its arguments parsed."""
    answer = answered(player, "openai", said({"content": None, "tool_calls": [call('{"x": 1}')]}, finish_reason="tool_calls"))
    assert (answer.text, answer.finish_reason) == ("", "tool_calls")
    assert answer.tool_calls == (ToolCall("call_1", "look_up", {"x": 1}, '{"x": 1}'),)


def test_a_tool_forced_by_name_finishes_as_tool_calls(player: Player) -> None:
    """OpenAI says "stop" then: the calls decide."""
    answer = answered(player, "openai", said({"content": None, "tool_calls": [call("{}")]}, finish_reason="stop"))
    assert answer.finish_reason == "tool_calls"


def test_arguments_that_are_an_object_are_taken_as_they_are(player: Player) -> None:
    """Some local servers do not write them as text."""
    answer = answered(player, "ollama", said({"content": "", "tool_calls": [call({"x": 1})]}))
    assert answer.tool_calls[0].arguments == {"x": 1}


@pytest.mark.parametrize("text", ['{"x": ', "[1]", "look", "5"])
def test_broken_arguments_are_kept_as_text(player: Player, text: str) -> None:
    """The model wrote them; the caller may mend them."""
    found = answered(player, "openai", said({"content": None, "tool_calls": [call(text)]})).tool_calls[0]
    assert (found.arguments, found.arguments_text) == ({}, text)


@pytest.mark.parametrize("arguments", ["", None])
def test_missing_arguments_are_none_given(player: Player, arguments: Any) -> None:
    """An empty text means {}."""
    assert answered(player, "openai", said({"content": None, "tool_calls": [call(arguments)]})).tool_calls[0].arguments == {}


def test_deeply_nested_arguments_are_kept_as_text(player: Player) -> None:
    """A model that repeats itself must not end the program."""
    text = "[" * 100_000
    assert answered(player, "openai", said({"content": None, "tool_calls": [call(text)]})).tool_calls[0].arguments_text == text


def test_parallel_tool_calls_keep_their_order_and_ids(player: Player) -> None:
    """Also when two have the same id."""
    calls = [call("{}", "first"), call("{}", "second"), call("{}", "third", id="")]
    answer = answered(player, "openai", said({"content": "Let me look.", "tool_calls": calls}, finish_reason="tool_calls"))
    assert [found.name for found in answer.tool_calls] == ["first", "second", "third"]
    assert [found.id for found in answer.tool_calls] == ["call_1", "call_1", ""]
    assert answer.text == "Let me look."


def test_a_custom_tool_call_keeps_its_input_as_text(player: Player) -> None:
    """OpenAI's free-form tools."""
    custom = {"id": "call_1", "type": "custom", "custom": {"name": "run", "input": "print(1)"}}
    found = answered(player, "openai", said({"content": None, "tool_calls": [custom]})).tool_calls[0]
    assert (found.name, found.arguments_text) == ("run", "print(1)")


# Candidates, refusals, filters


def test_several_candidates_are_all_kept(player: Player) -> None:
    """The first is the text."""
    reply = said({"content": "One."})
    reply["choices"].append({"index": 1, "message": {"role": "assistant", "content": "Two."}, "finish_reason": "stop"})
    answer = answered(player, "openai", reply, candidates=2)
    assert (answer.text, answer.candidates) == ("One.", ("One.", "Two."))
    assert player.last.json["n"] == 2


def test_a_refusal_is_an_answer_that_says_so(player: Player) -> None:
    """With the model's words as its text."""
    answer = answered(player, "openai", said({"content": None, "refusal": "I cannot help with that."}))
    assert (answer.text, answer.finish_reason) == ("I cannot help with that.", "refusal")


def test_an_empty_refusal_is_none(player: Player) -> None:
    """Snowflake sends "" with every answer."""
    assert answered(player, "compatible", said({"content": "4", "refusal": ""})).finish_reason == "stop"


@pytest.mark.parametrize(
    ("provider", "choice", "words"),
    [
        ("deepseek", {"finish_reason": "insufficient_system_resource"}, "insufficient_system_resource"),
        ("openrouter", {"finish_reason": "error", "error": {"code": 502, "message": "Upstream is gone"}}, "Upstream is gone"),
    ],
)
def test_an_answer_that_the_model_broke_off_is_no_answer(
    player: Player, provider: str, choice: dict[str, Any], words: str
) -> None:
    """Half of a text with status 200; asking again may help."""
    error = outcome(player, provider, said({"content": "A ga"}, **choice))
    assert isinstance(error, InvalidResponseError)
    assert words in str(error)
    assert error.retryable


def test_a_blocked_answer_is_an_error_with_the_text_before_the_block(player: Player) -> None:
    """And with the filter's own categories."""
    choice = {"content_filter_results": {"violence": {"filtered": True}, "hate": {"filtered": False}}}
    error = outcome(player, "azure", said({"content": "He took the"}, finish_reason="content_filter", **choice))
    assert isinstance(error, BlockedError)
    assert (error.text, error.finish_reason, error.retryable, error.fatal) == ("He took the", "content_filter", False, False)
    assert "violence" in str(error)
    assert "hate" not in str(error)


@pytest.mark.parametrize(
    ("word", "ours"),
    [
        ("eos", "stop"),
        ("model_length", "length"),
        ("function_call", "tool_calls"),
        (None, "stop"),
        ("", "stop"),
        ("error", "other"),
    ],
)
def test_finish_reasons_of_other_hosts_are_translated(player: Player, word: Any, ours: str) -> None:
    """Together, Mistral, the old function calls; Ollama sometimes sends null."""
    assert answered(player, "compatible", said({"content": "A game."}, finish_reason=word)).finish_reason == ours


# Usage


@pytest.mark.parametrize("usage", [None, {}, [], {"prompt_tokens": None, "completion_tokens": None}])
def test_missing_usage_is_unknown(player: Player, usage: Any) -> None:
    """Not a known 0."""
    assert answered(player, "openai", {**said({"content": "A game."}), "usage": usage}).usage == Usage()


def test_a_reply_without_the_key_usage_has_an_unknown_usage(player: Player) -> None:
    """Some local servers leave it out."""
    reply = said({"content": "A game."})
    del reply["usage"]
    assert answered(player, "compatible", reply).usage.known is False


@pytest.mark.parametrize(
    "more",
    [
        {"prompt_tokens_details": {"cached_tokens": 3}},
        {"prompt_cache_hit_tokens": 3, "prompt_cache_miss_tokens": 2},
        {"cached_tokens": 3},
    ],
)
def test_cached_input_is_part_of_the_input_wherever_it_stands(player: Player, more: dict[str, Any]) -> None:
    """OpenAI, DeepSeek, Together."""
    usage = {"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12, **more}
    assert answered(player, "compatible", {**said({"content": "A game."}), "usage": usage}).usage == Usage(5, 7, 3, 0, True)


def test_counts_written_as_text_or_floats_are_read(player: Player) -> None:
    """Seen at gateways."""
    usage = {"prompt_tokens": "5", "completion_tokens": 7.0, "prompt_tokens_details": None, "completion_tokens_details": "none"}
    assert answered(player, "compatible", {**said({"content": "A game."}), "usage": usage}).usage == Usage(5, 7, 0, 0, True)


# Errors inside a 200


@pytest.mark.parametrize("code", [429, "429"])
def test_an_error_inside_a_200_has_its_own_status(player: Player, code: Any) -> None:
    """OpenRouter's code is an int, or a str."""
    error = outcome(player, "openrouter", {"error": {"code": code, "message": "Rate limited upstream"}, "user_id": "u"})
    assert isinstance(error, RateLimitError)
    assert (error.status, error.code, error.retryable) == (429, "429", True)
    assert "Rate limited upstream" in str(error)


@pytest.mark.parametrize("code", [None, True, "busy", 200, 0, "9" * 5000, [], 3.5, 99999])
def test_an_error_inside_a_200_without_a_status_is_the_servers_fault(player: Player, code: Any) -> None:
    """Whatever stands in its place."""
    error = outcome(player, "openrouter", {"error": {"code": code, "message": "Something broke"}})
    assert isinstance(error, InternalServerError)
    assert error.retryable
    assert len(str(error)) < 2000


@pytest.mark.parametrize(
    ("error", "kind", "retryable"),
    [
        ({"code": "context_length_exceeded", "type": "invalid_request_error", "message": "Too long"}, BadRequestError, False),
        ({"code": "insufficient_quota", "type": "insufficient_quota", "message": "No money"}, QuotaExceededError, False),
        ({"code": "rate_limit_exceeded", "type": "tokens", "message": "Slow down"}, RateLimitError, True),
        ({"code": None, "type": "invalid_request_error", "message": "Bad field"}, BadRequestError, False),
        ({"code": "tool_use_failed", "status_code": 400, "message": "Bad call"}, BadRequestError, True),
        ({"code": None, "type": "server_error", "message": "Oops"}, InternalServerError, True),
    ],
)
def test_an_error_inside_a_200_is_known_by_its_words(player: Player, error: dict[str, Any], kind: Any, retryable: bool) -> None:
    """Where it names no status: what cannot succeed is not sent again."""
    found = outcome(player, "compatible", {"error": error})
    assert type(found) is kind
    assert found.retryable is retryable


def test_an_error_that_is_a_text_inside_a_200_is_told(player: Player) -> None:
    """Hugging Face and Ollama write it so."""
    error = outcome(player, "huggingface", {"error": "Model is overloaded"})
    assert isinstance(error, InternalServerError)
    assert "Model is overloaded" in str(error)


@pytest.mark.parametrize("nothing", [None, "", {}, [], False])
def test_an_error_key_that_says_nothing_is_no_error(player: Player, nothing: Any) -> None:
    """Some servers send `error: null` with every answer."""
    assert answered(player, "compatible", {**said({"content": "A game."}), "error": nothing}).text == "A game."


# Replies that are none


@pytest.mark.parametrize(
    "body", [{}, {"choices": []}, {"choices": None}, {"choices": "no"}, {"choices": [{}]}, [], [{}], 5, None]
)
def test_json_without_an_answer_is_an_invalid_response(player: Player, body: Any) -> None:
    """Which is worth another try."""
    error = outcome(player, "openai", body)
    assert isinstance(error, InvalidResponseError)
    assert (error.retryable, error.status) == (True, 200)


@pytest.mark.parametrize(
    "body", [b"", b"   ", b"<html><h1>Sign in</h1></html>", b'{"choices": [{"mess', b"\xff\xfe\x00", b"[" * 100_000]
)
def test_a_body_that_is_not_json_is_an_invalid_response(player: Player, body: bytes) -> None:
    """Captive portals, cut replies, and worse."""
    error = outcome(player, "openai", body, headers={"content-type": "text/html", "x-request-id": "req_9"})
    assert isinstance(error, InvalidResponseError)
    assert error.request_id == "req_9"
    assert "base_url" in str(error)


def test_blank_lines_before_the_json_are_skipped(player: Player) -> None:
    """DeepSeek sends them while a request is queued."""
    body = b"\n\r\n  \n" * 50 + b'{"choices": [{"message": {"content": "A game."}}]}'
    assert answered(player, "deepseek", body).text == "A game."


@pytest.mark.parametrize("content_type", ["text/plain", "application/octet-stream", "text/html; charset=latin-1", ""])
def test_an_answer_under_a_wrong_content_type_is_an_answer(player: Player, content_type: str) -> None:
    """JSON is UTF-8, whatever the header says."""
    body = '{"choices": [{"message": {"content": "Füße"}}]}'.encode()
    headers = {"content-type": content_type} if content_type else {}
    assert answered(player, "compatible", body, headers=headers).text == "Füße"


# What goes out


def test_only_what_was_given_is_sent(player: Player) -> None:
    """No default temperature, no default limit: reasoning models refuse them."""
    answered(player, "openai", documented("openai"))
    assert player.last.json == {"model": "m-1", "messages": [{"role": "user", "content": "What is baseball?"}]}


def test_zero_is_sent(player: Player) -> None:
    """It is a value."""
    answered(player, "openai", documented("openai"), temperature=0, seed=0, top_p=0.0)
    assert {name: player.last.json[name] for name in ("temperature", "seed", "top_p")} == {
        "temperature": 0,
        "seed": 0,
        "top_p": 0.0,
    }


def test_openai_gets_max_completion_tokens_and_other_hosts_max_tokens(player: Player) -> None:
    """Reasoning models refuse the older word, and many hosts do not know the newer one."""
    for provider, name in (("openai", "max_completion_tokens"), ("azure", "max_completion_tokens"), ("groq", "max_tokens")):
        answered(player, provider, documented("openai"), max_tokens=9)
        assert {key: value for key, value in player.last.json.items() if "max" in key} == {name: 9}


def test_parts_have_the_documented_shape(player: Player) -> None:
    """Images, sounds and documents as data URLs or base64, images also as links."""
    picture, sound, document = Image(data=b"png"), Audio(data=b"wav"), File(data=b"pdf", name="a.pdf")
    mp3 = Audio(data=b"mp3", media_type="audio/mpeg")
    prompt = user("Look", picture, Image(url="https://example.com/a.png"), sound, mp3, document)
    answered(player, "openai", documented("openai"), prompt=prompt)
    assert player.last.json["messages"] == [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "Look"},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,cG5n"}},
                {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}},
                {"type": "input_audio", "input_audio": {"data": "d2F2", "format": "wav"}},
                {"type": "input_audio", "input_audio": {"data": "bXAz", "format": "mp3"}},
                {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,cGRm"}},
            ],
        }
    ]


@pytest.mark.parametrize("part", [Audio(url="https://example.com/a.wav"), File(url="https://example.com/a.pdf")])
def test_what_openai_takes_only_as_bytes_is_refused_as_a_link(player: Player, part: Any) -> None:
    """Before anything is sent."""
    assert isinstance(outcome(player, "openai", documented("openai"), prompt=user(part)), ConfigurationError)
    assert player.sent == []


def test_a_link_to_an_image_is_refused_for_ollama(player: Player) -> None:
    """It takes bytes alone."""
    error = outcome(player, "ollama", documented("ollama"), prompt=user(Image(url="https://example.com/a.png")))
    assert isinstance(error, ConfigurationError)
    assert "from_path" in str(error)


def test_tool_calls_and_results_go_back_in_the_documented_shape(player: Player) -> None:
    """Each result is a message of its own."""
    prompt = [
        user("Weather in Rome and Oslo?"),
        assistant("One moment.", ToolCall("c1", "weather", {"city": "Rome"}), ToolCall("c2", "weather", {}, '{"city":"Oslo"}')),
        Message("tool", [ToolResult("c1", "sun", "weather"), ToolResult("c2", "snow", "weather", is_error=True)]),
    ]
    answered(player, "openai", documented("openai"), prompt=prompt)
    assert player.last.json["messages"][1:] == [
        {
            "role": "assistant",
            "content": "One moment.",
            "tool_calls": [
                {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Rome"}'}},
                {"id": "c2", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Oslo"}'}},
            ],
        },
        {"role": "tool", "tool_call_id": "c1", "content": "sun"},
        {"role": "tool", "tool_call_id": "c2", "content": "snow"},
    ]


def test_an_assistant_turn_of_calls_alone_has_null_content(player: Player) -> None:
    """As the reference has it."""
    prompt = [user("Hi"), assistant(ToolCall("c1", "f")), Message("tool", ToolResult("c1", "ok"))]
    answered(player, "openai", documented("openai"), prompt=prompt)
    assert player.last.json["messages"][1]["content"] is None


@pytest.mark.parametrize(
    ("choice", "sent"),
    [
        ("auto", "auto"),
        ("none", "none"),
        ("required", "required"),
        ("look_up", {"type": "function", "function": {"name": "look_up"}}),
    ],
)
def test_the_choice_of_a_tool_has_the_documented_shape(player: Player, choice: str, sent: Any) -> None:
    """A word, or a name in an object."""
    answered(player, "openai", documented("openai"), tools=[{"name": "look_up"}], tool_choice=choice)
    assert player.last.json["tool_choice"] == sent


def test_mistral_has_words_of_its_own(player: Player) -> None:
    """`random_seed` for the seed, "any" for a required tool."""
    answered(player, "mistral", documented("mistral"), seed=3, tools=[{"name": "look_up"}], tool_choice="required")
    assert player.last.json["random_seed"] == 3
    assert player.last.json["tool_choice"] == "any"
    assert "seed" not in player.last.json


@pytest.mark.parametrize("provider", ["deepseek", "zai"])
def test_hosts_that_know_json_object_alone_are_told_the_schema_in_words(player: Player, provider: str) -> None:
    """Before everything else that the system says, and with the word "JSON" in it, without which they refuse the question."""
    schema = {"type": "object", "properties": {"name": {"type": "string"}}}
    answer = answered(player, provider, documented_json(provider), schema=schema, system="Be terse.")
    assert answer.parsed == {"name": "baseball"}
    assert player.last.json["response_format"] == {"type": "json_object"}
    first, second, _ = player.last.json["messages"]
    assert (first["role"], second) == ("system", {"role": "system", "content": "Be terse."})
    assert "JSON" in first["content"]
    assert first["content"].endswith(json.dumps(schema, separators=(",", ":")))


# Strict schemas


def strict(player: Player, schema: dict[str, Any]) -> dict[str, Any]:
    player.play(200, {}, documented_json("openai"))
    with make("openai", player.url) as responder, contextlib.suppress(InvalidAnswerError):  # it need not fit
        responder.answer("Hi", schema=schema, reasks=0)
    found: dict[str, Any] = player.last.json["response_format"]
    assert found["type"] == "json_schema"
    assert found["json_schema"]["strict"] is True
    assert re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", found["json_schema"]["name"])
    return dict(found["json_schema"]["schema"])


def test_every_object_of_a_schema_is_closed_and_wants_all_its_properties(player: Player) -> None:
    """At every depth: strict mode refuses anything else."""
    inner = {"type": "object", "properties": {"b": {"type": "string"}}}
    schema = {
        "type": "object",
        "properties": {"a": {"type": "array", "items": inner}, "c": {"anyOf": [inner, {"type": "null"}]}},
        "$defs": {"D": inner},
    }
    closed = {**inner, "additionalProperties": False, "required": ["b"]}
    assert strict(player, schema) == {
        "type": "object",
        "properties": {"a": {"type": "array", "items": closed}, "c": {"anyOf": [closed, {"type": "null"}]}},
        "$defs": {"D": closed},
        "additionalProperties": False,
        "required": ["a", "c"],
    }


def test_an_object_that_may_be_null_is_closed_too(player: Player) -> None:
    """Its type is a list then."""
    schema = {"type": "object", "properties": {"a": {"type": ["object", "null"], "properties": {"b": {"type": "string"}}}}}
    inner = strict(player, schema)["properties"]["a"]
    assert (inner["additionalProperties"], inner["required"]) == (False, ["b"])


def test_defaults_are_left_out_of_a_strict_schema(player: Player) -> None:
    """Strict mode refuses the keyword, which pydantic writes; a property of that name stays."""
    schema = {
        "type": "object",
        "properties": {"default": {"type": "string", "default": "x"}, "b": {"type": "null", "default": None}},
    }
    assert strict(player, schema)["properties"] == {"default": {"type": "string"}, "b": {"type": "null"}}


def test_a_title_of_any_letters_makes_a_name_that_openai_takes(player: Player) -> None:
    """ASCII letters, digits, _ and - alone."""
    strict(player, {"title": "Übersicht: 表 " + "x" * 100, "type": "object", "properties": {}})


def test_the_callers_schema_is_not_changed(player: Player) -> None:
    """It may be used elsewhere."""
    schema: dict[str, Any] = {"type": "object", "properties": {"a": {"type": "object", "properties": {}}}}
    strict(player, schema)
    assert schema == {"type": "object", "properties": {"a": {"type": "object", "properties": {}}}}


# Usage of hosts


def test_xais_reasoning_is_added_to_its_output(player: Player) -> None:
    """Its completion_tokens leave it out, as the total shows."""
    usage = {
        "prompt_tokens": 10120,
        "completion_tokens": 1499,
        "total_tokens": 14428,
        "completion_tokens_details": {"reasoning_tokens": 2809},
    }
    answer = answered(player, "xai", {**said({"content": "A game."}), "usage": usage})
    assert answer.usage == Usage(10120, 4308, 0, 2809, True)


def test_xais_reasoning_is_not_added_twice(player: Player) -> None:
    """Where the total says that it is in the output."""
    usage = {
        "prompt_tokens": 10,
        "completion_tokens": 9,
        "total_tokens": 19,
        "completion_tokens_details": {"reasoning_tokens": 4},
    }
    assert answered(player, "xai", {**said({"content": "A game."}), "usage": usage}).usage == Usage(10, 9, 0, 4, True)


def test_a_reply_may_be_used_after_the_responder_is_closed(player: Player) -> None:
    """A closed responder opens new connections."""
    player.play(200, {}, documented("openai"))
    responder = make("openai", player.url)
    responder.close()
    assert responder.answer("What is baseball?").text == "A bat-and-ball game."
    responder.close()
