"""A second call for the slowest few: who wins, what it costs, and when there is none."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from servers import PATIENCE, Peer, Server, always, reply, reply_body

from responder import CancelledError, CancelToken, ConfigurationError, Limits, OpenAIResponder, Price
from responder.call import hedging
from responder.call.hedging import Hedger

Make = Callable[..., OpenAIResponder]
Serve = Callable[..., Server]


def slow_once(*slow: str, reply_to_slow: bytes | None = None) -> Callable[[Peer], None]:
    """Answer at once, but hold the first request of each of these prompts until its client leaves, or the test releases it."""
    lock = threading.Lock()
    seen: set[str] = set()

    def handler(peer: Peer) -> None:
        while (request := peer.receive()) is not None:
            with lock:
                is_held = request.prompt in slow and request.prompt not in seen
                seen.add(request.prompt)
            if is_held and reply_to_slow is None:
                peer.wait_until_left()
                return
            if is_held:
                peer.server.released.wait(PATIENCE)
            peer.send(reply(reply_body(f"answer to {request.prompt}")))

    return handler


PROMPTS = [f"prompt {number}" for number in range(60)]


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for the loser as long as it takes: on a busy machine it may end later than it is waited for."""
    monkeypatch.setattr(hedging, "_FAREWELL", PATIENCE)


# Where the machine stalls, other prompts are asked twice as well: the share has to be large enough for those and the slow ones.


@pytest.mark.usefixtures("patient")
def test_the_slowest_are_asked_twice_and_the_first_answer_counts(serve: Serve, responder_for: Make) -> None:
    """The call that was too slow is cancelled, its connection is freed, and both are shown."""
    server = serve(slow_once("prompt 40", "prompt 50"))
    batch = responder_for(server).map(PROMPTS, max_workers=4, hedge=0.3)
    assert batch.texts() == [f"answer to {prompt}" for prompt in PROMPTS]
    assert [batch[index].attempts for index in (40, 50)] == [2, 2]
    assert {server.wait_for_leaving(), server.wait_for_leaving()}
    assert batch[40].usage.output_tokens == 2
    assert batch[40].usage.input_tokens == 6  # the prompt went out twice
    assert batch[0].usage.input_tokens == 3


@pytest.mark.usefixtures("patient")
def test_the_cost_counts_the_loser_in(serve: Serve, responder_for: Make) -> None:
    """Its prompt is billed."""
    price = Price(input=1_000_000, output=1_000_000)
    batch = responder_for(serve(slow_once("prompt 40")), price=price).map(PROMPTS, max_workers=4, hedge=0.3)
    assert (batch[0].cost, batch[40].cost) == (5.0, 8.0)


def test_no_more_than_the_share_are_asked_twice(serve: Serve, responder_for: Make) -> None:
    """However many are slow."""
    slow = PROMPTS[30:]
    server = serve(slow_once(*slow, reply_to_slow=b"later"))
    run = responder_for(server).imap_unordered(PROMPTS, max_workers=40, hedge=0.1)
    results = []
    for result in run:
        results.append(result)
        if len(results) == 31:  # the fast ones, and a slow one that a second call has answered
            server.released.set()
    assert len(results) == 60
    assert all(result.ok for result in results)
    assert 61 <= len(server.requests) <= 66


def test_nothing_is_asked_twice_without_hedge(serve: Serve, responder_for: Make) -> None:
    """It is an extra that one asks for."""
    server = serve(slow_once("prompt 40"))
    batch = responder_for(server, timeout=1.0).map(PROMPTS, max_workers=4)
    assert not batch[40].ok
    assert len(server.requests) == 60


def test_there_is_no_second_call_without_room_in_the_limits(serve: Serve, responder_for: Make) -> None:
    """The places are for those that have not been asked at all."""
    server = serve(slow_once("prompt 40"))
    gpt = responder_for(server, timeout=1.0, limits=Limits(max_concurrency=1))
    batch = gpt.map(PROMPTS, max_workers=4, hedge=0.1)
    assert not batch[40].ok
    assert len(server.requests) == 60


def test_there_is_no_second_call_without_money(serve: Serve, responder_for: Make) -> None:
    """The budget is for those that have not been asked at all."""
    server = serve(slow_once("prompt 59"))
    price = Price(input=10_000, output=10_000)
    gpt = responder_for(server, timeout=1.0, price=price, max_tokens=2)
    batch = gpt.map(PROMPTS, max_workers=1, hedge=0.1, budget=60 * 0.05 + 0.01)
    assert not batch[59].ok
    # Where the machine stalls, another prompt may have had the second call, and the last one none at all.
    assert len(server.requests) <= 60


def test_a_cancel_ends_both(serve: Serve, responder_for: Make) -> None:
    """Neither connection stays behind."""
    second = threading.Event()

    def handler(peer: Peer) -> None:
        while (request := peer.receive()) is not None:
            if request.prompt == "prompt 59":
                if sum(each.prompt == "prompt 59" for each in list(peer.server.requests)) == 2:
                    second.set()
                peer.wait_until_left()
                return
            peer.send(reply())

    server = serve(handler)
    token = CancelToken()
    threading.Thread(target=lambda: (second.wait(PATIENCE), token.cancel("enough")), daemon=True).start()
    batch = responder_for(server).map(PROMPTS, max_workers=4, hedge=0.3, cancel=token)
    assert second.is_set()
    assert isinstance(batch[59].error, CancelledError)
    assert server.wait_for_leaving() != server.wait_for_leaving()


def test_when_both_fail_the_first_ones_error_counts() -> None:
    """It is the one that the retries know."""
    hedger = Hedger(0.5)
    for _ in range(30):
        assert hedger.race(lambda token: "fast", lambda: None, None) == ("fast", False)
    second_failed = threading.Event()

    def first(token: CancelToken) -> str:
        second_failed.wait(PATIENCE)
        raise ValueError("first")

    def second(token: CancelToken) -> str:
        second_failed.set()
        raise ValueError("second")

    with pytest.raises(ValueError, match="first"):
        hedger.race(first, lambda: second, None)
    assert second_failed.is_set()


def test_when_the_first_fails_the_second_is_waited_for() -> None:
    """It may yet answer."""
    hedger = Hedger(0.5)
    for _ in range(30):
        hedger.race(lambda token: "fast", lambda: None, None)
    running, failed = threading.Event(), threading.Event()

    def first(token: CancelToken) -> str:
        running.wait(PATIENCE)
        failed.set()
        raise ValueError("first")

    def second(token: CancelToken) -> str:
        running.set()
        failed.wait(PATIENCE)
        return "second"

    assert hedger.race(first, lambda: second, None) == ("second", True)


@pytest.mark.parametrize("last", ["watcher", "second"])
def test_a_run_goes_on_when_no_thread_is_left_for_hedging(
    serve: Serve, responder_for: Make, monkeypatch: pytest.MonkeyPatch, last: str
) -> None:
    """Nobody is asked twice then, and the place that was taken for it is given back."""
    refused = threading.Event()
    start = threading.Thread.start

    def limited(thread: threading.Thread) -> None:
        if thread.name == "responder-hedge" and (last == "watcher" or thread._args):  # type: ignore[attr-defined]  # CPython's own
            refused.set()
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", limited)

    def handler(peer: Peer) -> None:
        while (request := peer.receive()) is not None:
            if request.prompt == "prompt 59":
                refused.wait(PATIENCE)
            peer.send(reply())

    model = responder_for(serve(handler), limits=Limits(max_concurrency=5))
    assert model.map(PROMPTS, max_workers=4, hedge=0.1).ok
    assert refused.is_set()
    assert model.map(PROMPTS[:20], max_workers=5).ok  # all five places are free


@pytest.mark.parametrize("share", [0, 1, -0.1, True, "0.1", float("nan")])
def test_a_share_that_is_none_is_refused(serve: Serve, responder_for: Make, share: Any) -> None:
    """Before anything is sent."""
    server = serve(always())
    with pytest.raises(ConfigurationError, match="hedge"):
        responder_for(server).map(["Hi"], hedge=share)
    assert not server.requests
