"""Functions as tools: called in threads, told to the model, turn after turn."""

from __future__ import annotations

import contextvars
import json
import pickle
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from servers import PATIENCE, Peer, Server, always, one_by_one, reply, reply_body

from responder import (
    APIError,
    CancelledError,
    CancelToken,
    ConfigurationError,
    DeadlineExceededError,
    Image,
    Message,
    Price,
    Tool,
    ToolCall,
    ToolResult,
    TurnsExceededError,
)

Serve = Callable[..., Server]
Make = Callable[..., Any]


def calling(*calls: tuple[str, Any], text: str | None = None) -> bytes:
    """Return a reply that wants tools called; arguments are JSON, or a text as the model wrote it."""
    made = [
        {
            "id": f"c{number}",
            "type": "function",
            "function": {"name": name, "arguments": given if isinstance(given, str) else json.dumps(given)},
        }
        for number, (name, given) in enumerate(calls)
    ]
    message = {"role": "assistant", "content": text, "tool_calls": made}
    return reply(reply_body(choices=[{"index": 0, "message": message, "finish_reason": "tool_calls"}]))


def double(number: int) -> int:
    """Double a number."""
    return 2 * number


def told(server: Server, request: int = -1) -> list[str]:
    """Return the results that a request tells the model."""
    return [message["content"] for message in server.requests[request].json["messages"] if message["role"] == "tool"]


def test_a_function_is_called_and_the_model_told_its_result(serve: Serve, responder_for: Make) -> None:
    """The answer is that of the last turn, with the tokens of both and the whole conversation."""
    server = serve(one_by_one(calling(("double", {"number": 21}), text="Let me see."), reply(reply_body("It is 42."))))

    answer = responder_for(server).answer("Twice 21?", tools=[double])

    first, second = (request.json for request in server.requests)
    assert first["tools"][0]["function"]["name"] == "double"
    assert first["tools"][0]["function"]["parameters"]["required"] == ["number"]
    assert [message["role"] for message in second["messages"]] == ["user", "assistant", "tool"]
    assert second["messages"][1]["tool_calls"][0]["id"] == second["messages"][2]["tool_call_id"] == "c0"
    assert second["messages"][2]["content"] == "42"
    assert (answer.text, answer.attempts, answer.usage.input_tokens) == ("It is 42.", 2, 6)
    assert [message.role for message in answer.messages] == ["user", "assistant", "tool", "assistant"]
    assert (answer.messages[1].text, answer.messages[3].text) == ("Let me see.", "It is 42.")


def test_the_transcript_can_be_sent_on(serve: Serve, responder_for: Make) -> None:
    """As the beginning of the next question."""
    server = serve(one_by_one(calling(("double", {"number": 1})), reply()))
    model = responder_for(server)
    answer = model.answer("a", tools=[double])

    model.answer([*answer.messages, Message("user", "b")], tools=[double])

    assert [message["role"] for message in server.requests[-1].json["messages"]] == [
        *("user", "assistant", "tool", "assistant", "user")
    ]


def test_calls_of_one_turn_run_side_by_side_and_their_results_keep_the_order(serve: Serve, responder_for: Make) -> None:
    """Both are inside at once; the second one returns first."""
    both, second = threading.Barrier(2, timeout=PATIENCE), threading.Event()

    def wait(place: int) -> str:
        both.wait()
        if place:
            second.set()
        else:
            assert second.wait(PATIENCE)
        return f"result {place}"

    server = serve(one_by_one(calling(("wait", {"place": 0}), ("wait", {"place": 1})), reply()))

    responder_for(server).answer("Go", tools=[wait])

    assert told(server) == ["result 0", "result 1"]


def test_at_most_eight_functions_run_at_once_and_all_are_called(serve: Serve, responder_for: Make) -> None:
    """Whatever a model asks for."""
    lock, inside, most = threading.Lock(), 0, 0

    def count(number: int) -> int:
        nonlocal inside, most
        with lock:
            inside += 1
            most = max(most, inside)
        threading.Event().wait(0.01)
        with lock:
            inside -= 1
        return number

    server = serve(one_by_one(calling(*(("count", {"number": number}) for number in range(30))), reply()))

    responder_for(server).answer("Go", tools=[count])

    assert told(server) == [str(number) for number in range(30)]
    assert most <= 8


NAME: contextvars.ContextVar[str] = contextvars.ContextVar("NAME", default="nobody")


def test_functions_see_the_context_variables_of_the_caller(serve: Serve, responder_for: Make) -> None:
    """And what they set stays theirs."""

    def who() -> str:
        name = NAME.get()
        NAME.set("changed")
        return name

    server = serve(one_by_one(calling(("who", {}), ("who", {})), reply()))
    token = NAME.set("the caller")
    try:
        responder_for(server).answer("Who?", tools=[who])
        assert NAME.get() == "the caller"
    finally:
        NAME.reset(token)

    assert told(server) == ["the caller", "the caller"]


def fails() -> None:
    """Fail."""
    raise LookupError("no such row; the key was sk-proj-abcdefghijklmnopqrstuvwxyz0123456789ABCD")


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (("fails", {}), "LookupError: no such row; the key was "),
        (("made_up", {}), "ValueError: there is no tool 'made_up'; there are: fails, double"),
        (("double", '{"number": '), "ValueError: the arguments are not a JSON object"),
        (("double", {}), "ValueError: number: it is missing"),
        (("double", {"number": "x"}), "ValueError: number: a whole number is wanted, not 'x'"),
        (("double", ""), "ValueError: number: it is missing"),
    ],
)
def test_what_goes_wrong_is_told_to_the_model(serve: Serve, responder_for: Make, call: Any, said: str) -> None:
    """In a line, without frames and keys; it may do better in its next turn."""
    server = serve(one_by_one(calling(call), reply()))

    answer = responder_for(server).answer("Go", tools=[fails, double])

    assert told(server)[0].startswith(said)
    assert "abcdefghijklmnopqrstuvwxyz" not in told(server)[0]
    assert "Traceback" not in told(server)[0]
    result = answer.messages[2].parts[0]
    assert isinstance(result, ToolResult)
    assert result.is_error


@pytest.mark.parametrize(
    ("given", "content"),
    [
        (None, "null"),
        ({"a": [1, "ä"]}, '{"a": [1, "ä"]}'),
        (Price(1, 2), '{"input": 1'),
        ({1}, "[1]"),
        (Path("x"), '"x"'),
        ("text", "text"),
    ],
)
def test_results_are_told_as_text_or_json(serve: Serve, responder_for: Make, given: Any, content: str) -> None:
    """Whatever a function returns."""

    def give() -> Any:
        return given

    server = serve(one_by_one(calling(("give", {})), reply()))
    responder_for(server).answer("Go", tools=[give])
    assert told(server)[0].startswith(content)


def test_a_function_may_return_a_picture(serve: Serve, responder_for: Make) -> None:
    """Where the dialect takes one in a result."""

    def look() -> list[Any]:
        return ["A cat:", Image(data=b"cat")]

    server = serve(one_by_one(calling(("look", {})), reply()))
    responder_for(server).answer("Go", tools=[look])
    assert [part["type"] for part in told(server)[0]] == ["text", "image_url"]  # type: ignore[attr-defined]  # parsed JSON


def test_more_turns_than_allowed_are_an_error_with_the_transcript(serve: Serve, responder_for: Make) -> None:
    """The calls of the last turn are not made, which the transcript says, so that it can be sent on."""
    made: list[int] = []

    def note(number: int) -> str:
        made.append(number)
        return "noted"

    server = serve(always(calling(("note", {"number": 1}))))

    with pytest.raises(TurnsExceededError, match="max_turns=3") as caught:
        responder_for(server).answer("Go", tools=[note], max_turns=3)

    error = caught.value
    assert (len(server.requests), made, error.attempts, error.usage.input_tokens) == (3, [1, 1], 3, 9)
    assert [message.role for message in error.messages] == ["user", *("assistant", "tool") * 3]
    last = error.messages[-1].parts[0]
    assert isinstance(last, ToolResult)
    assert last.content == "not called: the turns are used up"
    assert pickle.loads(pickle.dumps(error)).messages == error.messages
    assert isinstance(error, APIError)
    assert not error.retryable


@pytest.mark.parametrize("wrong", [0, -1, True, 2.0, "3", None])
def test_max_turns_is_a_whole_number(responder_for: Make, wrong: Any) -> None:
    """For one prompt and for many."""
    model = responder_for("http://127.0.0.1:9")
    with pytest.raises(ConfigurationError, match="max_turns"):
        model.answer("Go", tools=[double], max_turns=wrong)
    with pytest.raises(ConfigurationError, match="max_turns"):
        model.map(["Go"], tools=[double], max_turns=wrong)


def test_tools_that_are_no_functions_are_left_to_the_caller(serve: Serve, responder_for: Make) -> None:
    """As ever: one request, and the calls in the answer."""
    server = serve(always(calling(("look_up", {"a": 1}))))

    answer = responder_for(server).answer("Go", tools=[Tool("look_up"), {"name": "other"}])

    assert len(server.requests) == 1
    assert [call.name for call in answer.tool_calls] == ["look_up"]
    assert answer.messages == ()


def test_mixed_tools_stop_at_those_that_are_no_functions(serve: Serve, responder_for: Make) -> None:
    """The functions of that turn were called; the caller adds the rest and sends it on."""
    server = serve(one_by_one(calling(("double", {"number": 2}), ("look_up", {})), reply()))
    model = responder_for(server)

    answer = model.answer("Go", tools=[double, Tool("look_up")])

    assert [call.name for call in answer.tool_calls] == ["look_up"]
    call = answer.tool_calls[0]
    model.answer([*answer.messages, Message("tool", ToolResult(call.id, "found"))], tools=[double, Tool("look_up")])
    assert told(server) == ["4", "found"]


def test_a_choice_that_forces_a_tool_holds_for_the_first_turn(serve: Serve, responder_for: Make) -> None:
    """Else the model could never answer."""
    server = serve(one_by_one(calling(("double", {"number": 2})), reply()))

    responder_for(server).answer("Go", tools=[double], tool_choice="required")

    assert [request.json["tool_choice"] for request in server.requests] == ["required", "auto"]


def test_a_failed_turn_is_repeated_without_calling_again(serve: Serve, responder_for: Make) -> None:
    """A function has side effects; a request has none."""
    made: list[int] = []

    def note() -> str:
        made.append(1)
        return "noted"

    server = serve(one_by_one(calling(("note", {})), reply(b"{}", "503 Busy"), reply()))

    answer = responder_for(server, max_retries=2).answer("Go", tools=[note])

    assert (len(server.requests), made, answer.attempts) == (3, [1], 3)


def test_who_steps_in_goes_on_where_the_conversation_stands(serve: Serve, responder_for: Make) -> None:
    """The functions were called already."""
    made: list[int] = []

    def note() -> str:
        made.append(1)
        return "noted"

    broken = serve(one_by_one(calling(("note", {})), reply(b"{}", "503 Busy")))
    other = serve(always())

    answer = responder_for(broken).answer("Go", tools=[note], fallbacks=[responder_for(other)])

    assert (answer.text, made, len(other.requests)) == ("Hello.", [1], 1)
    assert told(other) == ["noted"]


def test_an_error_in_a_later_turn_carries_what_was_said_before(serve: Serve, responder_for: Make) -> None:
    """What the functions did is not lost."""
    server = serve(one_by_one(calling(("double", {"number": 4})), reply(b"{}", "400 Bad")))

    with pytest.raises(APIError) as caught:
        responder_for(server).answer("Go", tools=[double])

    assert [message.role for message in caught.value.messages] == ["user", "assistant", "tool"]


def test_the_deadline_holds_while_a_function_runs(serve: Serve, responder_for: Make) -> None:
    """The function is left alone, and the call ends."""
    release = threading.Event()
    server = serve(one_by_one(calling(("hang", {})), reply()))

    def hang() -> None:
        release.wait(PATIENCE)

    try:
        with pytest.raises(DeadlineExceededError, match=r"a tool ran \(hang\)") as caught:
            responder_for(server).answer("Go", tools=[hang], deadline=2.0)
    finally:
        release.set()
    assert caught.value.attempts == 1
    assert len(server.requests) == 1


def test_cancel_ends_a_call_whose_function_runs(serve: Serve, responder_for: Make) -> None:
    """At once, and calls that have not begun do not begin."""
    token, release, begun = CancelToken(), threading.Event(), []
    server = serve(one_by_one(calling(*[("hang", {})] * 20), reply()))

    def hang() -> None:
        begun.append(1)
        if len(begun) == 8:
            token.cancel("enough")
        release.wait(PATIENCE)

    try:
        with pytest.raises(CancelledError, match="enough"):
            responder_for(server).answer("Go", tools=[hang], cancel=token)
    finally:
        release.set()
    assert len(begun) == 8


def test_what_is_no_error_ends_the_call(serve: Serve, responder_for: Make) -> None:
    """A function that wants the program to end is not told to the model."""

    def leave() -> None:
        raise SystemExit(3)

    server = serve(always(calling(("leave", {}))))
    with pytest.raises(SystemExit):
        responder_for(server).answer("Go", tools=[leave])


def conversing(peer: Peer) -> None:
    """Want `double` called with the prompt's number, then answer with what it gave."""
    while (request := peer.receive()) is not None:
        messages = request.json["messages"]
        last = messages[-1]
        peer.send(
            reply(reply_body(f"It is {last['content']}."))
            if last["role"] == "tool"
            else calling(("double", {"number": int(last["content"])}))
        )


def test_a_map_calls_functions_for_every_prompt(serve: Serve, responder_for: Make) -> None:
    """Each with its own transcript; the numbers of a result are those of all its turns."""
    server = serve(conversing)

    batch = responder_for(server).map([str(number) for number in range(20)], tools=[double], max_workers=4)

    assert batch.texts() == [f"It is {2 * number}." for number in range(20)]
    assert {(result.attempts, result.usage.input_tokens) for result in batch} == {(2, 6)}
    assert all(len(result.unwrap().messages) == 4 for result in batch)


def test_a_budget_covers_all_turns(serve: Serve, responder_for: Make) -> None:
    """Each is a request that costs."""
    server = serve(conversing)
    batch = responder_for(server, price=Price(input=1000, output=1000)).map(["1"], tools=[double], budget=10.0, max_tokens=10)
    assert batch.cost == pytest.approx(2 * 5 / 1000)


def test_a_checkpoint_keeps_the_last_answer_under_the_first_question(serve: Serve, responder_for: Make, tmp_path: Path) -> None:
    """A second run asks nothing, and calls nothing."""
    made: list[int] = []

    def double(number: int) -> int:
        made.append(number)
        return 2 * number

    server = serve(conversing)
    model, file = responder_for(server), tmp_path / "answers.db"
    model.map(["1", "2"], tools=[double], checkpoint=file)

    batch = model.map(["1", "2"], tools=[double], checkpoint=file)

    assert batch.texts() == ["It is 2.", "It is 4."]
    assert sorted(made) == [1, 2]
    assert len(server.requests) == 4
    assert [message.role for message in batch[0].unwrap().messages] == ["user", "assistant"]


def test_a_kept_answer_that_wants_a_function_called_is_asked_anew(serve: Serve, responder_for: Make, tmp_path: Path) -> None:
    """It was the answer to the same words with a tool that was not to be called."""
    server = serve(conversing)
    model = responder_for(server, cache=tmp_path / "cache.db")
    plain = model.answer("3", tools=[Tool("double", "Double a number.", {"type": "object", "properties": {}})])
    assert isinstance(plain.tool_calls[0], ToolCall)

    def same(number: int) -> int:
        return 2 * number

    answer = model.answer("3", tools=[Tool("double", "Double a number.", {"type": "object", "properties": {}}, same)])

    assert answer.text == "It is 6."


def test_equal_prompts_of_a_run_share_the_calls(serve: Serve, responder_for: Make) -> None:
    """With dedupe, a function is called once for both."""
    server = serve(conversing)
    batch = responder_for(server).map(["5", "5"], tools=[double], dedupe=True)
    assert batch.texts() == ["It is 10."] * 2
    assert len(server.requests) == 2


def test_a_stream_leaves_functions_to_the_caller(serve: Serve, responder_for: Make) -> None:
    """It is one answer, whose calls are in it."""
    server = serve(always(calling(("double", {"number": 1}))))
    with responder_for(server).stream("Go", tools=[double]) as stream:
        assert list(stream) == []
        assert stream.answer is not None
        assert [call.name for call in stream.answer.tool_calls] == ["double"]
    assert len(server.requests) == 1


def test_a_schema_is_for_the_last_answer(serve: Serve, responder_for: Make) -> None:
    """What the model says beside its calls need not fit; what does not fit at the end is asked again, and calls nothing anew."""
    made: list[int] = []

    def note(number: int) -> int:
        made.append(number)
        return number

    schema = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
    server = serve(
        one_by_one(
            calling(("note", {"number": 1}), text="Let me see."), reply(reply_body('{"a": "x"')), reply(reply_body('{"a": 1}'))
        )
    )

    answer = responder_for(server).answer("Go", tools=[note], schema=schema, tool_choice="note")

    assert (answer.parsed, answer.reasks, made, len(server.requests)) == ({"a": 1}, 1, [1], 3)
    assert [message["role"] for message in server.requests[-1].json["messages"]] == [
        *("user", "assistant", "tool", "assistant", "user")
    ]
    assert [message.role for message in answer.messages] == ["user", "assistant", "tool", "assistant"]
    assert server.requests[-1].json["tool_choice"] == "auto"
