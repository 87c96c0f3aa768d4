"""Typed answers: what fits becomes the type, what does not is asked again, and only what fits is kept."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import pydantic
import pytest
from servers import Peer, Server, reply

from responder import (
    Batch,
    BatchError,
    BudgetExceededError,
    DeadlineExceededError,
    InvalidAnswerError,
    Limits,
    OpenAIResponder,
    Price,
    Tool,
)
from responder.simulator import Fault, Simulator

Serve = Callable[..., Server]
Make = Callable[..., OpenAIResponder]


class Invoice(pydantic.BaseModel):
    number: int
    total: float = pydantic.Field(ge=0)


GOOD = '{"number": 7, "total": 9.5}'
BAD = '{"number": "seven"}'


def says(*texts: str, finish: str = "stop") -> Callable[[Peer], None]:
    """Return a handler that gives these answers in turn, and the last one for ever."""
    left = list(texts)

    def handler(peer: Peer) -> None:
        while peer.receive() is not None:
            text = left.pop(0) if len(left) > 1 else left[0]
            choice = {"index": 0, "finish_reason": finish, "message": {"role": "assistant", "content": text}}
            usage = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
            peer.send(reply(json.dumps({"id": "x", "model": "m", "choices": [choice], "usage": usage}).encode()))

    return handler


def messages(server: Server, number: int) -> list[dict[str, Any]]:
    return json.loads(server.requests[number].body)["messages"]  # type: ignore[no-any-return]  # parsed JSON


def test_an_answer_becomes_the_type(serve: Serve, responder_for: Make) -> None:
    """And the provider was told of it."""
    server = serve(says(GOOD))
    answer = responder_for(server).answer("Read this", schema=Invoice)
    assert answer.parsed == Invoice(number=7, total=9.5)
    assert answer.reasks == 0
    assert json.loads(server.requests[0].body)["response_format"]["json_schema"]["strict"] is True


def test_a_map_becomes_a_list_of_the_type(serve: Serve, responder_for: Make) -> None:
    """In the order of the prompts."""
    batch = responder_for(serve(says(GOOD))).map(["a", "b"], schema=Invoice)
    assert batch.parsed() == [Invoice(number=7, total=9.5)] * 2
    assert [result.parsed for result in batch] == batch.parsed()


@pytest.mark.parametrize(("kind", "text", "value"), [(Literal["a", "b"], '{"result": "b"}', "b"), (list[int], "[1, 2]", [1, 2])])
def test_a_type_that_is_no_object_works_too(serve: Serve, responder_for: Make, kind: Any, text: str, value: Any) -> None:
    """Its schema is wrapped where the provider wants an object."""
    assert responder_for(serve(says(text))).answer("Which?", schema=kind).parsed == value


def test_an_invalid_answer_is_asked_again_with_what_is_wrong(serve: Serve, responder_for: Make) -> None:
    """Once, by default; tokens of both count."""
    server = serve(says(BAD, GOOD))
    batch = responder_for(server).map(["Read this"], schema=Invoice)
    result = batch[0]
    assert result.parsed == Invoice(number=7, total=9.5)
    assert result.ok
    assert (result.answer.reasks, result.attempts, result.usage.input_tokens) == (1, 2, 20)
    asked = messages(server, 1)
    assert [message["role"] for message in asked] == ["user", "assistant", "user"]
    assert asked[1]["content"] == BAD
    assert "number: Input should be a valid integer" in asked[2]["content"]
    assert "total: Field required" in asked[2]["content"]


def test_an_answer_that_stays_invalid_is_an_error(serve: Serve, responder_for: Make) -> None:
    """With its text, its problems and its usage; the others of the run are not harmed."""
    server = serve(says(BAD))
    batch = responder_for(server).map(["a"], schema=Invoice, reasks=2)
    error = batch[0].error
    assert isinstance(error, InvalidAnswerError)
    assert (error.text, error.attempts, error.usage.output_tokens, error.retryable) == (BAD, 3, 5, False)
    assert any("number" in problem for problem in error.problems)
    assert len(server.requests) == 3
    with pytest.raises(BatchError):
        batch.parsed()


def test_reasks_can_be_switched_off(serve: Serve, responder_for: Make) -> None:
    """Each is a request that costs."""
    server = serve(says(BAD, GOOD))
    with pytest.raises(InvalidAnswerError, match="reasks=1 would ask again"):
        responder_for(server).answer("a", schema=Invoice, reasks=0)
    assert len(server.requests) == 1


def test_a_cut_answer_is_not_asked_again_as_it_is(serve: Serve, responder_for: Make) -> None:
    """It would be cut again."""
    server = serve(says('{"number": 7, "to', finish="length"))
    with pytest.raises(InvalidAnswerError, match="raise it"):
        responder_for(server).answer("a", schema=Invoice, max_tokens=5)
    assert len(server.requests) == 1


def test_each_reask_waits_for_its_turn(serve: Serve, responder_for: Make) -> None:
    """A re-ask is a request like any other for the limits."""
    server = serve(says(BAD, GOOD))
    model = responder_for(server, limits=Limits(requests_per_minute=30))
    begin = time.monotonic()
    result = model.map(["a"], schema=Invoice)[0]
    assert result.ok
    assert time.monotonic() - begin >= 1.95  # at one in two seconds the second one waits
    assert result.waited > 0


def test_only_valid_answers_are_kept(serve: Serve, responder_for: Make, tmp_path: Path) -> None:
    """A second run asks for what did not come to fit, and for nothing else."""
    file = tmp_path / "a.db"
    server = serve(says(GOOD, BAD))
    model = responder_for(server)
    first = model.map(["a", "b"], schema=Invoice, reasks=0, max_workers=1, checkpoint=file)
    assert [result.ok for result in first] == [True, False]
    again = serve(says(GOOD))
    with OpenAIResponder("m", api_key="test-key", base_url=f"{server.url}/v1", max_retries=0) as second:
        results = second.map(["a"], schema=Invoice, checkpoint=file)
    assert results.parsed() == [Invoice(number=7, total=9.5)]
    assert (results[0].attempts, len(again.requests)) == (0, 0)


def test_what_a_file_kept_is_checked_again(serve: Serve, responder_for: Make, tmp_path: Path) -> None:
    """The type may have changed its mind: what does not fit any more is asked anew."""
    file = tmp_path / "a.db"
    server = serve(says(GOOD))
    model = responder_for(server)
    schema = {"type": "object", "title": "Answer"}
    assert model.map(["a"], schema=schema, checkpoint=file).parsed() == [{"number": 7, "total": 9.5}]

    class Changed:
        @classmethod
        def model_json_schema(cls) -> dict[str, Any]:
            return schema

        @classmethod
        def model_validate_json(cls, text: str) -> Any:
            raise ValueError("it wants more now")

    batch = model.map(["a"], schema=Changed, checkpoint=file, reasks=0)
    assert isinstance(batch[0].error, InvalidAnswerError)
    assert len(server.requests) == 2


def stream_of(*texts: str) -> Callable[[Peer], None]:
    def events() -> Iterator[bytes]:
        for text in texts:
            chunk = {"choices": [{"index": 0, "delta": {"content": text}}]}
            yield b"data: " + json.dumps(chunk).encode() + b"\n\n"
        yield b'data: {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}\n\ndata: [DONE]\n\n'

    def handler(peer: Peer) -> None:
        while peer.receive() is not None:
            peer.send(reply(b"".join(events()), Content_Type="text/event-stream"))

    return handler


def test_a_stream_has_its_value_at_the_end(serve: Serve, responder_for: Make) -> None:
    """The pieces are those of the text."""
    stream = responder_for(serve(stream_of(GOOD[:9], GOOD[9:]))).stream("a", schema=Invoice)
    assert "".join(stream) == GOOD
    assert stream.answer is not None
    assert stream.answer.parsed == Invoice(number=7, total=9.5)


def test_a_stream_that_does_not_fit_fails_at_its_end(serve: Serve, responder_for: Make) -> None:
    """After its pieces, and without another question."""
    server = serve(stream_of(BAD))
    stream = responder_for(server).stream("a", schema=Invoice)
    with pytest.raises(InvalidAnswerError):
        list(stream)
    assert (stream.text, len(server.requests)) == (BAD, 1)


def test_a_reask_is_in_the_summary(serve: Serve, responder_for: Make, tmp_path: Path) -> None:
    """In words, as a number, and on the page."""
    batch = responder_for(serve(says(BAD, GOOD))).map(["a", "b"], schema=Invoice, max_workers=1)
    summary = batch.summary()
    assert (summary.reasks, summary.attempts, summary.as_dict()["reasks"]) == (1, 3, 1)
    assert "asked again because an answer did not fit: 1" in str(summary)
    batch.report(tmp_path / "page.html")
    assert "1 did not fit" in (tmp_path / "page.html").read_text()
    assert Batch(list(batch)).summary().reasks == 1


def test_a_reask_needs_room_in_the_budget(serve: Serve, responder_for: Make) -> None:
    """Like every other request."""
    server = serve(says(BAD, GOOD))
    model = responder_for(server, price=Price(0, 100_000), max_tokens=10)  # at most a dollar each, half of it in the end
    (result,) = model.map(["a"], schema=Invoice, budget=1.2)
    assert isinstance(result.error, BudgetExceededError)
    assert (len(server.requests), result.cost) == (1, 0.5)


def test_a_reask_is_bounded_by_the_calls_deadline(serve: Serve, responder_for: Make) -> None:
    """It gets what is left, and no time of its own."""

    def handler(peer: Peer) -> None:
        choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": BAD}}
        peer.receive()
        peer.send(reply(json.dumps({"id": "x", "model": "m", "choices": [choice]}).encode()))
        peer.receive()
        peer.wait_until_left()

    server = serve(handler)
    with pytest.raises(DeadlineExceededError):
        responder_for(server).answer("a", schema=Invoice, deadline=3.0)
    assert len(server.requests) == 2


def test_equal_prompts_are_asked_again_once(serve: Serve, responder_for: Make) -> None:
    """With dedupe they share the answer that fits."""
    server = serve(says(BAD, GOOD))
    batch = responder_for(server).map(["a"] * 5, schema=Invoice, dedupe=True)
    assert batch.parsed() == [Invoice(number=7, total=9.5)] * 5
    assert len(server.requests) == 2


def test_another_model_steps_in_for_one_that_does_not_come_to_fit(serve: Serve, responder_for: Make) -> None:
    """A fallback may know better; its own answer is checked, too."""
    small, large = serve(says(BAD)), serve(says(BAD, GOOD))
    answer = responder_for(small, fallbacks=[responder_for(large)]).answer("a", schema=Invoice)
    assert answer.parsed == Invoice(number=7, total=9.5)
    assert (len(small.requests), len(large.requests)) == (2, 2)


def test_tool_calls_are_no_answer_yet(serve: Serve, responder_for: Make) -> None:
    """What the model says beside them need not fit."""
    call = {"id": "1", "type": "function", "function": {"name": "look", "arguments": "{}"}}
    message = {"role": "assistant", "content": "I look.", "tool_calls": [call]}

    def handler(peer: Peer) -> None:
        while peer.receive() is not None:
            peer.send(reply(json.dumps({"choices": [{"finish_reason": "tool_calls", "message": message}]}).encode()))

    server = serve(handler)
    answer = responder_for(server).answer("a", schema=Invoice, tools=[Tool("look", "", {"type": "object"})])
    assert (answer.parsed, len(answer.tool_calls), len(server.requests)) == (None, 1, 1)


def test_hedged_answers_are_checked(simulator: Simulator) -> None:
    """Whichever of the two came first."""
    model = OpenAIResponder("m", api_key="k", base_url=simulator.base_url("openai"))
    simulator.script(*[Fault.delay(0.5) if index % 10 == 5 else Fault.delay(0) for index in range(60)])
    with model:
        batch = model.map([str(number) for number in range(60)], schema=Invoice, max_workers=4, hedge=0.1)
    assert len(batch.parsed()) == 60


_RUN = """
import sys
import pydantic
from responder import OpenAIResponder, RetryPolicy

class Invoice(pydantic.BaseModel):
    number: int
    total: float

url, file = sys.argv[1:]
model = OpenAIResponder("m", api_key="k", base_url=url, max_retries=RetryPolicy(8, first_backoff=0.02))
prompts = [f"invoice {number};" for number in range(120)]
for result in model.imap_unordered(prompts, schema=Invoice, checkpoint=file, max_workers=4, retry_share=0.9):
    assert isinstance(result.parsed, Invoice), result.error
    print(result.index, flush=True)
"""


def test_a_killed_run_is_resumed_and_paid_once(simulator: Simulator, tmp_path: Path) -> None:
    """Under faults and invalid answers: what was handed out before SIGKILL is not asked again, and nothing kept is invalid."""
    file, url = tmp_path / "run.db", simulator.base_url("openai")
    for number in range(0, 120, 3):
        simulator.script_for(f"invoice {number};", Fault.status(503), Fault.invalid_answer())
    command = [sys.executable, "-c", _RUN, url, str(file)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        first = {int(process.stdout.readline()) for _ in range(40)}
        process.kill()
        first |= {int(line) for line in process.stdout.read().split("\n")[:-1]}
    assert len(first) < 120
    simulator.clear()
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert sorted(map(int, done.stdout.split())) == list(range(120))
    again = {received.prompt for received in simulator.received}
    assert not {f"invoice {number};" for number in first} & again
    with contextlib.closing(sqlite3.connect(file)) as connection:
        kept = [json.loads(row[0])["reply"] for row in connection.execute("SELECT reply FROM answers")]
    texts = [reply["choices"][0]["message"]["content"] for reply in kept]
    assert len(texts) == 120
    for text in texts:
        Invoice.model_validate_json(text)


@pytest.mark.parametrize("reasks", [-1, True, 1.5, "1"])
def test_refuses_reasks_that_are_no_count(responder_for: Make, serve: Serve, reasks: Any) -> None:
    """Before anything is sent."""
    server = serve(says(GOOD))
    with pytest.raises(Exception, match="reasks must be a whole number"):
        responder_for(server).map(["a"], schema=Invoice, reasks=reasks)
    assert not server.requests
