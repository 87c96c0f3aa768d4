"""What a stream does is accounted for as an answer is: time, attempts, causes, tokens, money, and who steps in."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from responder import (
    BudgetExceededError,
    ConfigurationError,
    DeadlineExceededError,
    OpenAIResponder,
    Price,
    ResponderError,
    StreamInterruptedError,
)
from responder.simulator import Fault, Simulator


def responder(simulator: Simulator, **keywords: Any) -> OpenAIResponder:
    keywords = {"api_key": "test-key", "base_url": simulator.base_url("openai"), "max_retries": 0, **keywords}
    return OpenAIResponder("m", **keywords)


@pytest.mark.parametrize("fault", [Fault.silence(), Fault.stall_stream(0), Fault.stall_stream(2)])
def test_a_deadline_says_how_long_the_stream_was_at_the_server(simulator: Simulator, fault: Fault) -> None:
    """Also when it began to answer and fell silent."""
    simulator.script(fault)
    with pytest.raises(DeadlineExceededError, match=r"\((?!0\.0)\d+\.\d s at the server in 1 attempt, \d+\.\d s waiting"):
        list(responder(simulator).stream("Hi", deadline=1.0))


def test_an_error_is_signed_once(simulator: Simulator) -> None:
    """Asking a failed stream again raises the same error, and its account does not grow."""
    simulator.script(Fault.stall_stream(2))
    stream = responder(simulator).stream("Hi", deadline=1.0)
    messages = []
    for _ in range(3):
        with pytest.raises(DeadlineExceededError) as caught:
            list(stream)
        messages.append(str(caught.value))
    assert len(set(messages)) == 1
    assert messages[0].count("at the server") == 1


def test_the_repeats_of_a_stream_stand_in_its_run(simulator: Simulator, tmp_path: Path) -> None:
    """With their causes, in the summary and on the page."""
    simulator.script(Fault.status(503), Fault.status(500))
    run = responder(simulator, max_retries=2).stream_map(["a", "b", "c"], max_workers=1)
    assert sum(event.done and event.error is None for event in run) == 3
    summary = run.summary()
    assert (summary.items, summary.ok, summary.attempts) == (3, 3, 5)
    assert summary.causes == {"503": 1, "500": 1}
    assert summary.server > 0
    assert summary.usage.output_tokens > 0
    run.report(tmp_path / "run.html")
    assert "503" in (tmp_path / "run.html").read_text()


def test_a_stream_that_broke_off_is_counted_as_a_failure(simulator: Simulator) -> None:
    """With the cause, and without harm to the others."""
    simulator.script(Fault.cut_stream(2))
    run = responder(simulator).stream_map(["a", "b"], max_workers=1)
    errors = [event.error for event in run if event.done]
    assert isinstance(errors[0], StreamInterruptedError)
    summary = run.summary()
    assert (summary.ok, summary.failed, summary.causes) == (1, 1, {"interrupted": 1})


def test_a_budget_ends_the_streams_of_a_run(simulator: Simulator) -> None:
    """What does not fit is not sent, and what was spent is known."""
    model = responder(simulator, price=Price(input=0, output=1_000_000), max_tokens=10)  # a dollar for each token
    run = model.stream_map(["Hi"] * 4, max_workers=1, budget=25.0)
    ends = [event for event in run if event.done]
    assert [isinstance(event.error, BudgetExceededError) for event in ends].count(True) >= 1
    cost = run.summary().cost
    assert cost is not None
    assert 0 < cost <= 25.0


def test_a_budget_for_streams_wants_a_price(simulator: Simulator) -> None:
    """An unknown price is an error, never 0."""
    with pytest.raises(ConfigurationError, match="budget= needs the price"):
        responder(simulator).stream_map(["Hi"], budget=1.0)


def test_another_one_steps_in_for_a_stream_that_cannot_begin(simulator: Simulator) -> None:
    """Before the first piece, as in `answer`."""
    other = responder(simulator, base_url=simulator.base_url("openai"), api_key="other-key")
    simulator.script(Fault.status(500))
    stream = responder(simulator, fallbacks=[other]).stream("Hi")
    text = "".join(stream)
    assert text
    assert stream.attempts == 2
    assert len({received.headers["authorization"] for received in simulator.received}) == 2


def test_nobody_steps_in_after_the_first_piece(simulator: Simulator) -> None:
    """The pieces are out: another one's would not fit them."""
    other = responder(simulator, api_key="other-key")
    simulator.script(Fault.cut_stream(2))
    with pytest.raises(StreamInterruptedError):
        list(responder(simulator).stream("Hi", fallbacks=[other]))
    assert len(simulator.received) == 1


def test_all_who_were_asked_for_a_stream_are_named_when_none_can(simulator: Simulator) -> None:
    """The last one's error tells of those before it."""
    simulator.script(Fault.status(500), Fault.status(503))
    other = responder(simulator, api_key="other-key")
    with pytest.raises(ResponderError, match=r"503.*Before that:.*500"):
        list(responder(simulator, fallbacks=other).stream("Hi"))


def test_a_stream_that_was_left_is_in_the_books(simulator: Simulator) -> None:
    """With its cause: nobody's failure."""
    simulator.script(Fault.stall_stream(2))
    run = responder(simulator).stream_map(["Hi"], max_workers=1)
    assert next(run).piece
    run.close()
    ends = time.monotonic() + 20
    while not run.summary().items and time.monotonic() < ends:
        time.sleep(0.01)  # the reading thread notices within milliseconds
    assert run.summary().causes == {"cancelled": 1}
