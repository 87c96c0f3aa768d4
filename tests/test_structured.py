"""Typed answers: what fits becomes the type, what does not is asked again, and only what fits is kept."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import pydantic
import pytest
from servers import Peer, Server, reply

from responder import BatchError, InvalidAnswerError, Limits, OpenAIResponder

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
    return json.loads(server.requests[number].body)["messages"]  # type: ignore[no-any-return]


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
    model = responder_for(server, limits=Limits(requests_per_minute=300))
    result = model.map(["a"], schema=Invoice)[0]
    assert result.ok
    assert result.waited > 0.1  # at five a second the second one waits


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


@pytest.mark.parametrize("reasks", [-1, True, 1.5, "1"])
def test_refuses_reasks_that_are_no_count(responder_for: Make, serve: Serve, reasks: Any) -> None:
    """Before anything is sent."""
    server = serve(says(GOOD))
    with pytest.raises(Exception, match="reasks is a whole number"):
        responder_for(server).map(["a"], schema=Invoice, reasks=reasks)
    assert not server.requests
