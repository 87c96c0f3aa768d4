"""OpenAI's Responses API: when it is asked, what it is sent, and what becomes of each way in which it answers."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from servers import Peer, Server, reply
from wire.player import Player

from responder import (
    APIError,
    APITimeoutError,
    BlockedError,
    CancelledError,
    CancelToken,
    Citation,
    ConfigurationError,
    DeadlineExceededError,
    File,
    Image,
    InternalServerError,
    Message,
    OpenAIResponder,
    Price,
    RateLimitError,
    ResponderError,
    Text,
    Tool,
    ToolCall,
    ToolResult,
    for_model,
    user,
)
from responder.pace.registry import forget_limits

JSON = {"content-type": "application/json"}
EVENTS = {"content-type": "text/event-stream"}
KEY = "not-a-real-key-0123456789"
WEATHER = Tool("weather", "Tells the weather", {"type": "object", "properties": {"city": {"type": "string"}}})
REFUSAL = {
    "error": {
        "message": "Function tools with reasoning_effort are not supported for gpt-5.6 in /v1/chat/completions. "
        "To use function tools, use /v1/responses or set reasoning_effort to 'none'.",
        "type": "invalid_request_error",
        "param": "reasoning_effort",
        "code": None,
    }
}
WIRE = Path(__file__).parents[1] / "wire" / "openai"


def gpt(player: Player, model: str = "gpt-5.6", **keywords: Any) -> OpenAIResponder:
    forget_limits()
    return OpenAIResponder(model, api_key=KEY, base_url=f"{player.url}/v1", **{"max_retries": 0, **keywords})


def response(*output: Any, **changes: Any) -> dict[str, Any]:
    usage = {"input_tokens": 5, "output_tokens": 7, "total_tokens": 12}
    return {
        "id": "resp_1",
        "object": "response",
        "status": "completed",
        "error": None,
        "model": "m-1",
        "output": list(output),
        "usage": usage,
        **changes,
    }


def said(text: str, **more: Any) -> dict[str, Any]:
    part = {"type": "output_text", "text": text, "annotations": [], **more}
    return {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "content": [part]}


def chat(text: str) -> dict[str, Any]:
    return {"model": "m-1", "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}]}


def events(*chunks: dict[str, Any]) -> bytes:
    return "".join(f"event: {chunk['type']}\ndata: {json.dumps(chunk)}\n\n" for chunk in chunks).encode()


# Which of the two APIs


def test_a_model_that_refuses_tools_in_chat_is_asked_with_responses_from_then_on(player: Player) -> None:
    """One refusal for the responder's life, and no attempt of the user's; questions without tools stay where they are."""
    player.play(400, JSON, REFUSAL)
    player.then(200, JSON, response(said("Sunny.")), response(said("Rainy.")), chat("Hello."))
    with gpt(player, tools=[WEATHER]) as model:
        first = model.answer("Berlin?")
        second = model.answer("Paris?")
        third = model.answer("Hi", tools=None)
    assert (first.text, first.attempts, second.text, third.text) == ("Sunny.", 1, "Rainy.", "Hello.")
    assert [sent.path for sent in player.sent] == [
        "/v1/chat/completions",
        "/v1/responses",
        "/v1/responses",
        "/v1/chat/completions",
    ]
    body = player.sent[1].json
    assert (body["input"], body["store"], body["include"]) == (
        [{"role": "user", "content": "Berlin?"}],
        False,
        ["reasoning.encrypted_content"],
    )
    assert body["tools"][0]["name"] == "weather"


def test_a_stream_that_is_refused_in_chat_goes_to_responses_too(player: Player) -> None:
    """With its typed events."""
    player.play(400, JSON, REFUSAL)
    done = {"type": "response.completed", "response": response(said("Sunny."))}
    delta = {"type": "response.output_text.delta", "output_index": 0, "content_index": 0, "delta": "Sunny."}
    player.then(200, EVENTS, events(delta, done))
    with gpt(player, tools=[WEATHER]) as model, model.stream("Berlin?") as stream:
        assert list(stream) == ["Sunny."]
    assert [sent.path for sent in player.sent] == ["/v1/chat/completions", "/v1/responses"]
    assert "stream_options" not in player.last.json


@pytest.mark.parametrize("status", [400, 404])
def test_a_model_that_is_no_chat_model_is_asked_with_responses(player: Player, status: int) -> None:
    """OpenAI's `-pro` models are only there."""
    message = "This model is only supported in v1/responses and not in v1/chat/completions."
    player.play(status, JSON, {"error": {"message": message, "type": "invalid_request_error", "code": None}})
    player.then(200, JSON, response(said("Hi.")), response(said("Hi.")))
    with gpt(player, "gpt-5-pro") as model:
        assert [model.answer("Hi").text, model.answer("Hi").text] == ["Hi.", "Hi."]
    assert [sent.path for sent in player.sent] == ["/v1/chat/completions", "/v1/responses", "/v1/responses"]


def test_chat_stays_chat_where_it_was_asked_for(player: Player) -> None:
    """And says what to do."""
    player.play(400, JSON, REFUSAL)
    with gpt(player, tools=[WEATHER], api="chat") as model, pytest.raises(ResponderError, match="api='auto'"):
        model.answer("Berlin?")
    assert len(player.sent) == 1


def test_a_second_run_finds_in_its_checkpoint_what_the_first_one_asked_with_responses(player: Player, tmp_path: Path) -> None:
    """Though it does not know yet that the model refuses chat: an answer is kept under the question as first put."""
    player.play(400, JSON, REFUSAL)
    player.then(200, JSON, response(said("One.")), response(said("Two.")))
    options: dict[str, Any] = {"checkpoint": tmp_path / "answers", "max_workers": 1}
    with gpt(player, tools=[WEATHER]) as model:
        assert [answer.text for answer in model.map(["a", "b"], **options).answers()] == ["One.", "Two."]
    player.play(500, JSON, {"error": {"message": "nobody should ask"}})
    with gpt(player, tools=[WEATHER]) as model:
        assert [answer.text for answer in model.map(["a", "b"], **options).answers()] == ["One.", "Two."]
    assert player.sent == []


def test_a_model_without_thoughts_is_not_asked_for_them_again(player: Player) -> None:
    """It refuses the field once."""
    refusal = {"error": {"message": "Encrypted content is not supported with this model.", "param": "include", "code": None}}
    player.play(400, JSON, refusal)
    player.then(200, JSON, response(said("Hi.")), response(said("Hi.")))
    with gpt(player, "my-finetuned", api="responses") as model:
        assert [model.answer("Hi").text, model.answer("Hi").text] == ["Hi.", "Hi."]
    assert ["include" in sent.json for sent in player.sent] == [True, False, False]


@pytest.mark.parametrize("api", ["Responses", "completions", 1])
def test_an_api_that_there_is_not_is_refused(api: Any) -> None:
    """By its name."""
    with pytest.raises(ConfigurationError, match="'auto', 'chat' or 'responses'"):
        OpenAIResponder("m", api_key=KEY, api=api)


# What is sent


def test_each_part_of_a_conversation_has_its_item(player: Player) -> None:
    """Texts, pictures, files, calls and their results, a schema and a tool by name."""
    player.play(200, JSON, response(said('{"a":1}')))
    schema = {"title": "Thing", "type": "object", "properties": {"a": {"type": "integer"}}}
    with gpt(player, api="responses", system="Be kind.") as model:
        model.answer(
            [
                user("Look: ", Image(data=b"png"), File(data=b"pdf", name="a.pdf"), File(url="https://x.example/b.pdf")),
                Message("assistant", [Text("I look."), ToolCall("c1", "weather", {"city": "Berlin"})]),
                Message("tool", ToolResult("c1", "sun")),
            ],
            tools=[WEATHER],
            tool_choice="weather",
            schema=schema,
            max_tokens=50,
            reasoning_effort="low",
        )
    body = player.last.json
    assert body["instructions"] == "Be kind."
    assert body["input"] == [
        {
            "role": "user",
            "content": [
                {"type": "input_text", "text": "Look: "},
                {"type": "input_image", "image_url": "data:image/png;base64,cG5n"},
                {"type": "input_file", "filename": "a.pdf", "file_data": "data:application/pdf;base64,cGRm"},
                {"type": "input_file", "file_url": "https://x.example/b.pdf"},
            ],
        },
        {"role": "assistant", "content": "I look."},
        {"type": "function_call", "call_id": "c1", "name": "weather", "arguments": '{"city": "Berlin"}'},
        {"type": "function_call_output", "call_id": "c1", "output": "sun"},
    ]
    assert body["tool_choice"] == {"type": "function", "name": "weather"}
    assert (body["max_output_tokens"], body["reasoning"]) == (50, {"effort": "low"})
    wanted = body["text"]["format"]
    assert (wanted["type"], wanted["name"], wanted["strict"]) == ("json_schema", "Thing", True)
    assert wanted["schema"]["properties"] == {"a": {"type": "integer"}}


@pytest.mark.parametrize("option", [{"stop": ["x"]}, {"seed": 1}, {"candidates": 2}])
def test_an_option_that_responses_do_not_have_is_refused(player: Player, option: dict[str, Any]) -> None:
    """With the way out."""
    with gpt(player, api="responses") as model, pytest.raises(ConfigurationError, match=f"no {next(iter(option))}.*api='chat'"):
        model.answer("Hi", **option)


# What comes back


def test_an_answer_that_was_cut_is_truncated(player: Player) -> None:
    """`incomplete`, because of max_output_tokens."""
    player.play(200, JSON, response(said("Once"), status="incomplete", incomplete_details={"reason": "max_output_tokens"}))
    with gpt(player, api="responses") as model:
        answer = model.answer("Tell")
    assert (answer.text, answer.truncated, answer.finish_reason) == ("Once", True, "length")


def test_an_answer_that_was_filtered_is_blocked(player: Player) -> None:
    """`incomplete`, because of the content filter."""
    player.play(200, JSON, response(status="incomplete", incomplete_details={"reason": "content_filter"}))
    with gpt(player, api="responses") as model, pytest.raises(BlockedError, match="content_filter"):
        model.answer("Tell")


@pytest.mark.parametrize(
    ("code", "kind", "retryable"),
    [
        ("server_error", InternalServerError, True),
        ("rate_limit_exceeded", RateLimitError, True),
        ("invalid_prompt", ResponderError, False),
        ("invalid_base64_image", ResponderError, False),
        ("bio_policy", BlockedError, False),
        ("a_code_of_tomorrow", InternalServerError, True),
    ],
)
@pytest.mark.parametrize("is_streamed", [False, True])
def test_a_failure_inside_a_200_is_its_error(
    player: Player, code: str, kind: type[ResponderError], retryable: bool, is_streamed: bool
) -> None:
    """`failed`, whole and at the end of a stream."""
    usage = {"input_tokens": 5, "output_tokens": 7, "total_tokens": 12}
    failed = response(status="failed", error={"code": code, "message": "It did not work."}, usage=usage)
    if is_streamed:
        player.play(200, EVENTS, events({"type": "response.failed", "response": failed}))
    else:
        player.play(200, JSON, failed)
    with gpt(player, api="responses") as model, pytest.raises(kind, match="It did not work") as caught:
        "".join(model.stream("Hi")) if is_streamed else model.answer("Hi")
    error: Any = caught.value
    assert (error.retryable, error.code) == (retryable, code)
    assert error.usage.total_tokens == 12


@pytest.mark.parametrize("is_streamed", [False, True])
def test_what_failed_or_was_cut_is_booked(player: Player, is_streamed: bool) -> None:
    """A failure that is asked again was billed as well; so was an answer that a filter blocked."""
    usage = {"input_tokens": 5, "output_tokens": 7, "total_tokens": 12}
    failed = response(status="failed", error={"code": "server_error", "message": "Sorry."}, usage=usage)
    blocked = response(status="incomplete", incomplete_details={"reason": "content_filter"}, output=[], usage=usage)
    if is_streamed:
        player.play(200, EVENTS, events({"type": "response.failed", "response": failed}))
        player.then(200, EVENTS, events({"type": "response.incomplete", "response": blocked}))
    else:
        player.play(200, JSON, failed, blocked)
    with gpt(player, api="responses", max_retries=1, price=Price(1e6, 1e6)) as model:
        if is_streamed:
            (event,) = (event for event in model.stream_map(["Hi"]) if event.done)
            assert isinstance(event.error, BlockedError)
            return
        result = model.map(["Hi"])[0]
    assert isinstance(result.error, BlockedError)
    assert (result.attempts, result.usage.total_tokens, result.cost) == (2, 24, pytest.approx(24.0))


def test_an_error_event_ends_a_stream_and_keeps_its_text(player: Player) -> None:
    """Also one without an `event:` line."""
    delta = {"type": "response.output_text.delta", "output_index": 0, "content_index": 0, "delta": "Half"}
    error = {"type": "error", "code": "rate_limit_exceeded", "message": "Slow down.", "param": None, "sequence_number": 2}
    player.play(200, EVENTS, events(delta) + f"data: {json.dumps(error)}\n\n".encode())
    with gpt(player, api="responses") as model, model.stream("Hi") as stream:
        assert next(stream) == "Half"
        with pytest.raises(RateLimitError, match="Slow down"):
            next(stream)
    assert stream.text == "Half"


def test_a_refusal_is_a_refusal(player: Player) -> None:
    """Whole and streamed."""
    refused = {"type": "message", "content": [{"type": "refusal", "refusal": "I cannot."}]}
    player.play(200, JSON, response(refused))
    with gpt(player, api="responses") as model:
        answer = model.answer("Hi")
    assert (answer.text, answer.finish_reason) == ("I cannot.", "refusal")
    delta = {"type": "response.refusal.delta", "output_index": 0, "content_index": 0, "delta": "I cannot."}
    player.play(200, EVENTS, events(delta, {"type": "response.completed", "response": response(refused)}))
    with gpt(player, api="responses") as model, model.stream("Hi") as stream:
        assert list(stream) == ["I cannot."]
    assert stream.finish_reason == "refusal"


def test_what_an_answer_cites_is_in_its_citations(player: Player) -> None:
    """Of OpenAI's own tools, which are asked for in `extra`."""
    note = {"type": "url_citation", "url": "https://a.example", "title": "A", "start_index": 0, "end_index": 5}
    player.play(200, JSON, response({"type": "web_search_call", "id": "ws_1"}, said("Sunny today.", annotations=[note])))
    with gpt(player, api="responses") as model:
        answer = model.answer("Weather?", extra={"tools": [{"type": "web_search"}]})
    assert answer.citations == (Citation("https://a.example", "A", "", 0, 5),)
    assert player.last.json["tools"] == [{"type": "web_search"}]


def test_a_conversation_with_reasoning_replays_to_the_recorded_next_request(player: Player) -> None:
    """`answer.message`, whole or out of a stream, holds every item of the first turn; another provider gets what it can read."""
    call, again = (json.loads((WIRE / f"responses_reasoning_{name}.json").read_text()) for name in ("call", "return"))
    recorded = call["response"]["body"]
    question = user(call["request"]["body"]["input"][0]["content"])
    for is_streamed in (False, True):
        if is_streamed:
            player.play(200, EVENTS, events({"type": "response.completed", "response": recorded}))
        else:
            player.play(200, JSON, recorded)
        player.then(200, JSON, again["response"]["body"], chat("Hello."))
        with gpt(player, "gpt-5", api="responses") as model:
            if is_streamed:
                with model.stream(question) as stream:
                    list(stream)
                first = stream.answer
            else:
                first = model.answer(question)
            assert first is not None
            result = Message("tool", ToolResult(first.tool_calls[0].id, "plan updated"))
            second = model.answer([question, first.message, result])
        assert second.text == again["response"]["body"]["output"][0]["content"][0]["text"]
        assert player.last.json["input"] == again["request"]["body"]["input"]
        with for_model("groq:m", api_key=KEY, base_url=player.url) as other:
            other.answer([question, first.message, result])
        assistant = player.last.json["messages"][1]
        assert assistant["tool_calls"][0]["id"] == first.tool_calls[0].id
        assert "encrypted" not in json.dumps(player.last.json)


# In the background


def test_an_answer_in_the_background_is_asked_for_until_it_is_there(player: Player) -> None:
    """As recorded: queued, then completed. One attempt, one bill."""
    queued, done = (json.loads((WIRE / f"responses_background_{name}.json").read_text()) for name in ("queued", "done"))
    player.play(200, JSON, queued["response"]["body"], {**queued["response"]["body"], "status": "in_progress"})
    player.then(503, JSON, {"error": {"message": "try again"}})
    player.then(200, JSON, done["response"]["body"])
    with gpt(player, "gpt-4o", api="responses", extra={"background": True}) as model:
        answer = model.answer("What is 2 + 2?")
    assert (answer.text, answer.attempts, answer.usage.total_tokens) == ("2 + 2 equals 4.", 1, 24)
    assert [(sent.method, sent.path) for sent in player.sent] == [
        ("POST", "/v1/responses"),
        *[("GET", "/v1/responses/resp_f5fc75")] * 3,
    ]
    assert player.sent[0].json["background"] is True
    assert player.last.values("authorization") == [f"Bearer {KEY}"]
    assert player.last.body == b""


def test_an_answer_in_the_background_ends_with_the_deadline(player: Player) -> None:
    """Which says where it will be."""
    player.play(200, JSON, response(status="queued", usage=None))
    with gpt(player, api="responses", extra={"background": True}) as model, pytest.raises(DeadlineExceededError, match="resp_1"):
        model.answer("Hi", deadline=1.5)


@pytest.mark.parametrize(("bound", "error"), [("deadline", DeadlineExceededError), ("timeout", APITimeoutError)])
def test_an_answer_in_the_background_is_named_though_the_time_ends_in_a_look_at_it(
    serve: Callable[..., Server], bound: str, error: type[APIError]
) -> None:
    """The provider falls silent when it is asked whether the answer is there."""

    def queues(peer: Peer) -> None:
        while (request := peer.receive()) is not None:
            if request.line.startswith("GET"):
                peer.wait_until_left()
                return
            peer.send(reply(json.dumps(response(status="queued", usage=None)).encode()))

    keywords: dict[str, Any] = {"api": "responses", "extra": {"background": True}, "max_retries": 0}
    made = OpenAIResponder("m", api_key=KEY, base_url=f"{serve(queues).url}/v1", **keywords)
    with made as model, pytest.raises(error, match="resp_1"):
        model.answer("Hi", **{bound: 2.0})


def test_an_answer_in_the_background_that_nobody_wants_any_more_is_given_up(player: Player) -> None:
    """At the provider, which would make it, and bill it, all the same."""
    token = CancelToken()
    player.play(200, JSON, response(status="queued", usage=None))

    def stop() -> None:
        while not any(sent.method == "GET" for sent in player.sent):
            assert not ended.wait(0.01)
        token.cancel("enough")

    ended = threading.Event()
    watcher = threading.Thread(target=stop)
    watcher.start()
    with gpt(player, api="responses", extra={"background": True}) as model, pytest.raises(CancelledError, match="enough"):
        model.answer("Hi", cancel=token)
    ended.set()
    watcher.join()
    assert (player.last.method, player.last.path) == ("POST", "/v1/responses/resp_1/cancel")
    assert player.last.values("authorization") == [f"Bearer {KEY}"]


def test_an_answer_in_the_background_can_be_cancelled(player: Player) -> None:
    """At once."""
    player.play(200, JSON, response(status="queued", usage=None))
    token = CancelToken()
    token.cancel("enough")
    with gpt(player, api="responses", extra={"background": True}) as model, pytest.raises(ResponderError, match="enough"):
        model.answer("Hi", cancel=token)
