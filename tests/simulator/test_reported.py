"""Replies that people reported, as scripted faults: what the responder makes of each, and what the others of a run get."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from responder import (
    APIError,
    AuthenticationError,
    BadRequestError,
    BlockedError,
    InternalServerError,
    InvalidResponseError,
    NotFoundError,
    OpenAIResponder,
    PermissionDeniedError,
    QuotaExceededError,
    RateLimitError,
    StreamInterruptedError,
)
from responder.pace.registry import forget_limits
from responder.simulator import Fault, Simulator
from responder.simulator.reported import REPORTED

# The classes that each meaning may become, whether asking again can help, and whether it ends a run.
MEANINGS: dict[str, tuple[tuple[type[APIError], ...], bool, bool]] = {
    "blocked": ((BlockedError,), False, False),
    "spent": ((QuotaExceededError,), False, True),
    "wait": ((RateLimitError,), True, False),
    "key": ((AuthenticationError,), False, True),
    "account": ((PermissionDeniedError, BadRequestError), False, True),
    "model": ((NotFoundError, BadRequestError), False, True),
    "own": ((NotFoundError, PermissionDeniedError), False, False),
    "unclear": ((NotFoundError, PermissionDeniedError), False, False),
    "failed": ((InternalServerError, InvalidResponseError, StreamInterruptedError), True, False),
}


@pytest.fixture
def gpt(simulator: Simulator) -> Any:
    """A responder that asks each question once."""
    with OpenAIResponder("m", api_key="any", base_url=simulator.base_url("openai"), max_retries=0) as responder:
        yield responder


@pytest.mark.parametrize("name", REPORTED)
def test_a_reported_reply_comes_to_what_it_means(simulator: Simulator, gpt: OpenAIResponder, name: str) -> None:
    """As an answer and as a stream."""
    kinds, retryable, fatal = MEANINGS[REPORTED[name].means]
    simulator.script(Fault.reported(name, times=2))
    with pytest.raises(kinds) as whole:
        gpt.answer("Hi")
    forget_limits()  # a refusal makes all that follow wait
    again = OpenAIResponder("m", api_key="another", base_url=simulator.base_url("openai"), max_retries=0)
    with again, pytest.raises(kinds) as streamed:
        list(again.stream("Hi"))
    for error in (whole.value, streamed.value):
        assert (error.retryable, error.fatal) == (retryable, fatal)
        assert error.suspect is (REPORTED[name].means == "unclear")
    assert len(simulator.received) == 2


@pytest.mark.parametrize(
    "name", [name for name, reply in REPORTED.items() if reply.means not in ("spent", "key", "account", "model", "wait")]
)
def test_the_other_prompts_of_a_run_are_answered(simulator: Simulator, gpt: OpenAIResponder, name: str) -> None:
    """One prompt's error is its own."""
    simulator.script_for("three", Fault.reported(name))
    batch = gpt.map(["one", "two", "three", "four", "five", "six"], max_workers=2)
    assert [result.ok for result in batch] == [True, True, False, True, True, True]


@pytest.mark.parametrize("name", [name for name, reply in REPORTED.items() if MEANINGS[reply.means][2]])
def test_a_run_that_cannot_go_on_asks_no_further(simulator: Simulator, gpt: OpenAIResponder, name: str) -> None:
    """One request, of a hundred."""
    simulator.always(Fault.reported(name))
    batch = gpt.map([f"prompt {number}" for number in range(100)], max_workers=1)
    assert len(simulator.received) == 1
    assert len(batch.failures()) == 100


def test_a_raw_reply_is_sent_as_it_is(simulator: Simulator, gpt: OpenAIResponder) -> None:
    """Any status, any body, any type."""
    simulator.script(Fault.raw("<p>no</p>", http_status=418, content_type="text/html", headers={"x-request-id": "r-1"}))
    with pytest.raises(APIError) as caught:
        gpt.answer("Hi")
    assert (caught.value.status, caught.value.request_id, caught.value.body) == (418, "r-1", "<p>no</p>")  # type: ignore[attr-defined]  # an APIStatusError
    reply = {"choices": [{"message": {"content": "Hello"}, "finish_reason": "stop"}]}
    simulator.script(Fault.raw(reply))
    assert gpt.answer("Hi").text == "Hello"


def test_an_unknown_reply_is_refused_with_the_names() -> None:
    """And each one travels to a simulator in another process."""
    with pytest.raises(ValueError, match="deepseek_risk"):
        Fault.reported("nonsense")
    for name in REPORTED:
        fault = Fault.reported(name)
        assert Fault.from_json(json.loads(json.dumps(fault.to_json()))) == fault


def test_the_documentation_lists_every_reported_reply() -> None:
    """Under what it means."""
    page = (Path(__file__).parents[2] / "docs" / "simulator.md").read_text(encoding="utf-8")
    table = page.partition("| they mean |")[2].partition("\n\n")[0]
    assert set(re.findall(r"`(\w+)`", table)) == set(REPORTED)
