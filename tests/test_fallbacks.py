"""Who steps in when a provider cannot answer, and when nobody should."""

from __future__ import annotations

import contextlib
import pickle
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from servers import PATIENCE, Peer, Server, always, reply, reply_body, silent

from responder import (
    AnthropicResponder,
    AuthenticationError,
    BadRequestError,
    BlockedError,
    CancelToken,
    ConfigurationError,
    InternalServerError,
    OpenAIResponder,
)
from responder.simulator import Fault, Simulator

Make = Callable[..., OpenAIResponder]
Serve = Callable[..., Server]


@pytest.fixture
def claude(simulator: Simulator) -> Iterator[AnthropicResponder]:
    """Somebody of another dialect."""
    with AnthropicResponder("c", api_key="other-key", base_url=simulator.base_url("anthropic"), max_retries=0) as responder:
        yield responder


def failing(status: str = "500 Internal Server Error", body: bytes = b'{"error": {"message": "no"}}') -> Any:
    return always(reply(body, status))


@pytest.mark.parametrize(
    "status",
    ["500 Internal Server Error", "503 Service Unavailable", "429 Too Many Requests", "401 Unauthorized", "404 Not Found"],
)
def test_another_one_answers_when_the_first_cannot(
    serve: Serve, responder_for: Make, claude: AnthropicResponder, status: str
) -> None:
    """In its own dialect; the answer says whose it is, and how many requests it took."""
    gpt = responder_for(serve(failing(status)), fallbacks=[claude])
    answer = gpt.answer("What is baseball?")
    assert "What is baseball?" in answer.text
    assert (answer.provider, answer.attempts) == ("anthropic", 2)


def test_it_is_asked_after_all_repeats(serve: Serve, responder_for: Make) -> None:
    """A short failure is the first one's own business."""
    down, up = serve(failing()), serve(always())
    gpt = responder_for(down, max_retries=1)
    assert gpt.answer("Hi", fallbacks=[responder_for(up)]).attempts == 3
    assert (len(down.requests), len(up.requests)) == (2, 1)


def test_a_timeout_is_a_failure(serve: Serve, responder_for: Make) -> None:
    """A silent server is as good as none."""
    gpt = responder_for(serve(silent), timeout=0.2)
    assert gpt.answer("Hi", fallbacks=[responder_for(serve(always()))]).text == "Hello."


@pytest.mark.parametrize(
    ("body", "status", "error"),
    [
        (b'{"error": {"message": "no such parameter"}}', "400 Bad Request", BadRequestError),
        (b'{"error": {"code": "content_filter", "message": "filtered"}}', "400 Bad Request", BlockedError),
    ],
)
def test_what_is_the_prompts_own_fault_goes_nowhere_else(
    serve: Serve, responder_for: Make, body: bytes, status: str, error: type[Exception]
) -> None:
    """Another provider would say the same, or should not be asked behind the first one's back."""
    other = serve(always())
    with pytest.raises(error):
        responder_for(serve(failing(status, body))).answer("Hi", fallbacks=[responder_for(other)])
    assert not other.requests


def test_when_nobody_answers_the_error_names_them_all(serve: Serve, responder_for: Make) -> None:
    """It is the last one's; the others stand in the message."""
    first = responder_for(serve(failing("503 Service Unavailable", b'{"error": {"message": "overloaded"}}')))
    second = responder_for(serve(failing("500 Internal Server Error", b'{"error": {"message": "broken"}}')))
    with pytest.raises(InternalServerError) as caught:
        first.answer("Hi", fallbacks=[second])
    assert "broken" in str(caught.value)
    assert "overloaded" in str(caught.value)
    assert caught.value.attempts == 2


def test_the_own_options_of_each_and_the_calls_go_along(serve: Serve, responder_for: Make) -> None:
    """A fallback keeps its defaults, and gets what the call says."""
    server = serve(always())
    gpt = responder_for(serve(failing()), temperature=0.1, fallbacks=[responder_for(server, temperature=0.9, system="Be brief.")])
    gpt.answer("Hi", max_tokens=7)
    sent = server.requests[0].json
    assert sent["temperature"] == 0.9
    assert 7 in (sent.get("max_tokens"), sent.get("max_completion_tokens"))
    assert sent["messages"][0] == {"role": "system", "content": "Be brief."}


@pytest.mark.pain(10)
def test_a_refused_key_is_tried_once_in_a_run(serve: Serve, responder_for: Make) -> None:
    """From then on the others answer at once."""
    locked, up = serve(failing("401 Unauthorized")), serve(always())
    gpt = responder_for(locked)
    batch = gpt.map(["Hi"] * 30, max_workers=1, fallbacks=[responder_for(up)])
    assert batch.ok
    assert (len(locked.requests), len(up.requests)) == (1, 30)
    assert [result.attempts for result in batch] == [2] + [1] * 29


def test_a_run_goes_on_while_one_of_them_may_come_back(serve: Serve, responder_for: Make) -> None:
    """A wrong key of the second ends nothing when the first is only busy."""
    busy, locked = serve(failing("503 Service Unavailable")), serve(failing("401 Unauthorized"))
    batch = responder_for(busy).map(["Hi"] * 5, max_workers=1, fallbacks=[responder_for(locked)])
    assert all(result.attempts > 0 for result in batch)
    assert isinstance(batch[0].error, AuthenticationError)
    assert not batch[0].error.fatal


def test_nobody_waits_for_one_that_is_down(serve: Serve, responder_for: Make) -> None:
    """Once its circuit is open, the others are asked at once."""
    down, up = serve(failing()), serve(always())
    batch = responder_for(down).map(["Hi"] * 60, max_workers=4, fallbacks=[responder_for(up)], run_deadline=PATIENCE)
    assert batch.ok
    assert len(up.requests) == 60
    assert 20 <= len(down.requests) <= 35


def test_a_run_of_those_that_are_down_keeps_their_error(serve: Serve, responder_for: Make) -> None:
    """The last in the chain is waited for; a deadline bounds that."""
    down = responder_for(serve(failing()))
    batch = down.map(["Hi"] * 40, max_workers=4, deadline=1.0, retry_share=0.0)
    assert not any(result.ok for result in batch)
    assert isinstance(batch[0].error, InternalServerError)


@pytest.mark.parametrize("way", ["map", "imap", "imap_unordered"])
def test_every_map_takes_them(serve: Serve, responder_for: Make, way: str) -> None:
    """Over the responder's own, which an empty list takes back."""
    up = responder_for(serve(always()))
    gpt = responder_for(serve(failing()), fallbacks=[up])
    assert all(result.ok for result in getattr(gpt, way)(["a", "b"]))
    assert not any(result.ok for result in getattr(gpt, way)(["a", "b"], fallbacks=[]))
    other = responder_for(serve(failing()))
    assert all(result.ok for result in getattr(other, way)(["a", "b"], fallbacks=[up]))


def test_what_is_no_responder_is_refused(responder_for: Make) -> None:
    """The model's name alone is not enough."""
    gpt = responder_for("http://127.0.0.1:9")
    for wrong in ("openai:gpt-4o", ["openai:gpt-4o"], 1):
        with pytest.raises(ConfigurationError, match="fallbacks"):
            gpt.answer("Hi", fallbacks=wrong)  # type: ignore[arg-type]  # what the test is about


@pytest.mark.pain(15)
def test_they_pickle_without_their_keys(responder_for: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each reads the environment again."""
    monkeypatch.setenv("OPENAI_API_KEY", "from-environment")
    gpt = responder_for("http://127.0.0.1:9", fallbacks=[responder_for("http://127.0.0.1:10", api_key="secret-of-the-second")])
    pickled = pickle.dumps(gpt)
    assert b"secret-of-the-second" not in pickled
    assert pickle.loads(pickled).fallbacks[0].base_url == "http://127.0.0.1:10/v1"


def test_a_checkpoint_keeps_their_answers(serve: Serve, responder_for: Make, tmp_path: Path) -> None:
    """A second run asks nobody."""
    down, up = serve(failing()), serve(always())
    for _ in range(2):
        gpt = responder_for(down, fallbacks=[responder_for(up)])
        batch = gpt.map(["a", "b"], max_workers=1, checkpoint=tmp_path / "run.db")
        assert batch.ok
    assert (len(down.requests), len(up.requests)) == (2, 2)
    assert [result.attempts for result in batch] == [0, 0]


def test_a_cancel_is_no_reason_to_ask_another(serve: Serve, responder_for: Make) -> None:
    """Who stops wants no answer."""
    token = CancelToken()

    def handler(peer: Peer) -> None:
        if peer.receive() is not None:
            token.cancel()
            peer.wait_until_left()

    other = serve(always())
    with pytest.raises(Exception, match="cancelled"):
        responder_for(serve(handler)).answer("Hi", cancel=token, fallbacks=[responder_for(other)])
    assert not other.requests


def test_every_answer_is_its_own_prompts_whoever_gave_it(
    simulator: Simulator, claude: AnthropicResponder, responder_for: Make
) -> None:
    """With faults here and there, the second one fills the gaps."""
    gpt = responder_for(simulator.base_url("openai").removesuffix("/v1"), fallbacks=[claude])
    for number in range(0, 60, 4):
        simulator.script_for(f"<{number}>", Fault.status(500))
    batch = gpt.map([f"prompt <{number}>" for number in range(60)], max_workers=8)
    assert all(f"<{result.index}>" in result.unwrap().text for result in batch)
    assert [result.unwrap().provider == "anthropic" for result in batch] == [number % 4 == 0 for number in range(60)]


# --- Answers that are given again -------------------------------------------------------------------------------------


def test_a_cache_answers_equal_questions(serve: Serve, responder_for: Make, tmp_path: Path) -> None:
    """As often as they come, in this process or in the next one, in single calls and in maps."""
    server = serve(always())
    path = tmp_path / "answers.db"
    gpt = responder_for(server, cache=path)
    assert gpt.answer("Hi").attempts == 1
    assert [gpt.answer("Hi").attempts for _ in range(3)] == [0, 0, 0]
    again = responder_for(server, cache=str(path)).map(["Hi", "Hi", "Ho"], max_workers=1)
    assert [result.attempts for result in again] == [0, 0, 1]
    assert again.texts() == ["Hello."] * 3
    assert len(server.requests) == 2


def test_a_cache_keeps_apart_what_was_asked_differently(serve: Serve, responder_for: Make, tmp_path: Path) -> None:
    """Model, options and system are part of the question."""
    server = serve(always())
    gpt = responder_for(server, cache=tmp_path / "answers.db")
    gpt.answer("Hi")
    gpt.answer("Hi", temperature=0.5)
    responder_for(server, cache=tmp_path / "answers.db", system="Be brief.").answer("Hi")
    assert len(server.requests) == 3


def test_a_cache_may_be_the_checkpoint_of_a_map(serve: Serve, responder_for: Make, tmp_path: Path) -> None:
    """One file, one format."""
    server = serve(always())
    responder_for(server).map(["Hi"], checkpoint=tmp_path / "run.db")
    assert responder_for(server, cache=tmp_path / "run.db").answer("Hi").attempts == 0


def test_a_file_that_is_cache_and_checkpoint_keeps_each_answer_once(serve: Serve, responder_for: Make, tmp_path: Path) -> None:
    """Else a resumed run would take each of them twice."""
    server = serve(always())
    path = tmp_path / "run.db"
    gpt = responder_for(server, cache=path)
    gpt.map(["a", "b", "c"], checkpoint=path)
    with contextlib.closing(sqlite3.connect(path)) as database:
        assert database.execute("SELECT count(*) FROM answers").fetchone() == (3,)


def test_a_blocked_answer_is_not_cached(serve: Serve, responder_for: Make, tmp_path: Path) -> None:
    """Only answers are."""
    choice = {"index": 0, "message": {"role": "assistant", "content": "x"}, "finish_reason": "content_filter"}
    server = serve(always(reply(reply_body(choices=[choice]))))
    gpt = responder_for(server, cache=tmp_path / "answers.db")
    for _ in range(2):
        with pytest.raises(BlockedError):
            gpt.answer("Hi")
    assert len(server.requests) == 2


def test_a_responder_with_a_cache_pickles(
    serve: Serve, responder_for: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its file is opened again where it is used again."""
    monkeypatch.setenv("OPENAI_API_KEY", "test-key")
    server = serve(always())
    gpt = responder_for(server, cache=tmp_path / "answers.db")
    gpt.answer("Hi")
    with pickle.loads(pickle.dumps(gpt)) as copy:
        assert copy.answer("Hi").attempts == 0
    assert len(server.requests) == 1
