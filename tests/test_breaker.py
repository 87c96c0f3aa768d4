"""A provider that is down: held back after a row of failures, tried now and then, and let in again with its first answer."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest
from servers import PATIENCE, Server, always, one_by_one, port_of_nobody, reply

from responder import (
    APIConnectionError,
    CancelledError,
    CancelToken,
    CircuitOpenError,
    DeadlineExceededError,
    InternalServerError,
    OpenAIResponder,
    RateLimitError,
)
from responder.pace.breaker import Breaker
from responder.values.deadline import NEVER, Deadline

DOWN = InternalServerError("down", status=500, retryable=True)


def opened(failures: int = 3, first_pause: float = 30.0) -> Breaker:
    breaker = Breaker(failures, first_pause)
    for _ in range(failures):
        breaker.note(DOWN)
    return breaker


def test_a_row_of_failures_opens_it() -> None:
    """The message says what went wrong last, and when the next call is let through."""
    breaker = opened()
    assert breaker.is_open
    with pytest.raises(CircuitOpenError, match=r"3 failures in a row.*down") as caught:
        breaker.enter(0.0, NEVER, None)
    assert caught.value.retry_after is not None
    assert 0 < caught.value.retry_after <= 30
    assert caught.value.fatal


@pytest.mark.parametrize(
    "between", [None, RateLimitError("slow down", status=429, retryable=True), APIConnectionError("TLS", retryable=False)]
)
def test_only_a_row_of_failures_counts(between: BaseException | None) -> None:
    """An answer, a refusal and what no repeat can help say that somebody is there, or nothing about it."""
    breaker = Breaker(3)
    for _ in range(10):
        breaker.note(DOWN)
        breaker.note(DOWN)
        breaker.note(between)
    assert not breaker.is_open


def test_a_cancelled_call_says_nothing() -> None:
    """Neither that the provider is up, nor that it is down."""
    breaker = Breaker(3)
    for error in (DOWN, DOWN, CancelledError("enough"), DOWN):
        breaker.note(error)
    assert breaker.is_open


def test_one_call_at_a_time_finds_out_and_an_answer_lets_all_in() -> None:
    """After the pause one goes; the others wait until it has an answer."""
    breaker = opened(first_pause=0.01)
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:  # until the pause is over
        try:
            breaker.enter(0.0, NEVER, None)
            break
        except CircuitOpenError:
            continue
    assert breaker.is_open
    inside = threading.Event()
    waiter = threading.Thread(target=lambda: (breaker.enter(PATIENCE, NEVER, None), inside.set()))
    waiter.start()
    breaker.note(None)
    waiter.join(PATIENCE)
    assert inside.is_set()
    assert not breaker.is_open
    breaker.enter(0.0, NEVER, None)


def test_a_deadline_and_a_token_end_the_wait() -> None:
    """Whatever patience the run has."""
    breaker = opened()
    with pytest.raises(DeadlineExceededError, match="down"):
        breaker.enter(PATIENCE, Deadline.after(0.05), None)
    token = CancelToken()
    threading.Timer(0.05, token.cancel, ["enough"]).start()
    with pytest.raises(CancelledError, match="enough"):
        breaker.enter(PATIENCE, NEVER, token)


def test_a_run_waits_for_a_provider_that_comes_up_again(
    serve: Callable[..., Server], responder_for: Callable[..., OpenAIResponder]
) -> None:
    """Nothing is lost, and a provider that is down is hardly asked."""
    failing = reply(b'{"error": {"message": "down"}}', "500 Internal Server Error")
    server = serve(one_by_one(*[failing] * 20, reply()))
    gpt = responder_for(server, max_retries=6)
    batch = gpt.map([f"prompt {number}" for number in range(24)], max_workers=24)
    assert batch.ok, [str(result.error) for result in batch.failures()][:3]
    assert len(server.requests) == 44


def test_a_call_outside_a_run_does_not_wait(serve: Callable[..., Server], responder_for: Callable[..., OpenAIResponder]) -> None:
    """A view wants to know at once; nothing is sent."""
    server = serve(always(reply(b"{}", "500 Internal Server Error")))
    gpt = responder_for(server)
    for _ in range(20):
        with pytest.raises(InternalServerError):
            gpt.answer("Hi")
    with pytest.raises(CircuitOpenError):
        gpt.answer("Hi")
    with pytest.raises(CircuitOpenError):
        list(gpt.stream("Hi"))
    assert len(server.requests) == 20


def test_streams_count_too(serve: Callable[..., Server], responder_for: Callable[..., OpenAIResponder]) -> None:
    """They are calls like others."""
    server = serve(always(reply(b"{}", "500 Internal Server Error")))
    gpt = responder_for(server)
    for _ in range(20):
        with pytest.raises(InternalServerError):
            list(gpt.stream("Hi"))
    with pytest.raises(CircuitOpenError):
        gpt.answer("Hi")


def test_another_model_is_not_held_back(serve: Callable[..., Server], responder_for: Callable[..., OpenAIResponder]) -> None:
    """Each provider, base URL, key and model has its own."""
    down = responder_for(serve(always(reply(b"{}", "500 Internal Server Error"))))
    for _ in range(21):
        with pytest.raises((InternalServerError, CircuitOpenError)):
            down.answer("Hi")
    assert responder_for(serve(always())).answer("Hi").text == "Hello."


def test_a_server_that_is_not_there_ends_a_run(responder_for: Callable[..., OpenAIResponder]) -> None:
    """Refused connections are failures as well; the run_deadline ends the wait for it."""
    gpt = responder_for(f"http://127.0.0.1:{port_of_nobody()}")
    batch = gpt.map(["Hi"] * 100, max_workers=8, run_deadline=1.0)
    assert not any(result.ok for result in batch)
    assert sum(isinstance(result.error, APIConnectionError) for result in batch) <= 40
