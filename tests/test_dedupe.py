"""Equal prompts of a run are asked once."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from responder import OpenAIResponder, RateLimitError
from responder.simulator import Fault, Simulator


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    with Simulator() as running:
        yield running


def test_equal_prompts_are_asked_once_and_counted_once(simulator: Simulator) -> None:
    """Forty prompts of five kinds make five requests, and every prompt has its own answer."""
    model = OpenAIResponder("m", api_key="k", base_url=simulator.base_url("openai"))

    batch = model.map([f"kind {number % 5}" for number in range(40)], dedupe=True, max_workers=8)

    assert [f"kind {number % 5}" in text for number, text in enumerate(batch.texts())] == [True] * 40
    assert len(simulator.received) == 5
    assert sum(result.attempts for result in batch) == 5
    assert batch.usage.input_tokens == sum(batch[number].unwrap().usage.input_tokens for number in range(5))


def test_the_same_prompt_with_another_option_is_another_question(simulator: Simulator) -> None:
    """What is equal is what is sent, not the prompt's text alone."""
    model = OpenAIResponder("m", api_key="k", base_url=simulator.base_url("openai"))

    model.map(["a", "a", [{"role": "user", "content": "a"}]], dedupe=True)
    model.map(["a"], dedupe=True, temperature=0.5)

    assert len(simulator.received) == 2


def test_equal_prompts_share_the_error_of_the_one_that_was_asked(simulator: Simulator) -> None:
    """A failure is counted once at the server, and told to each."""
    simulator.script(Fault.status(429))
    model = OpenAIResponder("m", api_key="k", base_url=simulator.base_url("openai"), max_retries=0)

    batch = model.map(["a"] * 6, dedupe=True)

    assert {type(result.error) for result in batch} == {RateLimitError}
    assert len(simulator.received) == 1


def test_without_dedupe_every_prompt_is_asked(simulator: Simulator) -> None:
    """Several samples of one prompt are what some people want."""
    model = OpenAIResponder("m", api_key="k", base_url=simulator.base_url("openai"))

    model.map(["a"] * 6)

    assert len(simulator.received) == 6
