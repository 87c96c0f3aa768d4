"""Anthropic's own SDK as a client."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from sdks import anthropic

from responder.simulator import Fault, Simulator

PROMPT = "What is baseball?"
ANSWER = f"Simulated answer to: {PROMPT}"
ASKED = {"model": "claude-simulated", "max_tokens": 500, "messages": [{"role": "user", "content": PROMPT}]}
SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "people": {"type": "integer"}},
    "required": ["city", "people"],
    "additionalProperties": False,
}


@pytest.fixture
def client(simulator: Simulator) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=simulator.base_url("anthropic"), api_key="k", max_retries=0) as client:
        yield client


def test_a_plain_answer_quotes_the_prompt_and_counts_its_tokens(client: anthropic.Anthropic, simulator: Simulator) -> None:
    """One text block, end_turn, and a usage."""
    answer = client.messages.create(**ASKED)
    assert (answer.content[0].text, answer.stop_reason) == (ANSWER, "end_turn")
    assert answer.usage.output_tokens == -(-len(ANSWER) // 4)
    assert answer.usage.input_tokens > 0
    assert answer._request_id.startswith("req_")
    assert (simulator.received[0].provider, simulator.received[0].prompt) == ("anthropic", PROMPT)


def test_tokens_can_be_counted_before_asking(client: anthropic.Anthropic) -> None:
    """count_tokens says what the usage will say."""
    counted = client.messages.count_tokens(model=ASKED["model"], messages=ASKED["messages"]).input_tokens
    assert counted == client.messages.create(**ASKED).usage.input_tokens


def test_a_stream_is_the_documented_sequence_of_events(client: anthropic.Anthropic) -> None:
    """message_start, a block with its deltas, message_delta, message_stop; the SDK puts the message together."""
    with client.messages.stream(**ASKED) as stream:
        text = "".join(stream.text_stream)
        message = stream.get_final_message()
    assert text == message.content[0].text == ANSWER
    assert (message.stop_reason, message.usage.output_tokens) == ("end_turn", -(-len(ANSWER) // 4))
    kinds = [event.type for event in client.messages.create(**ASKED, stream=True)]
    assert kinds[:2] == ["message_start", "content_block_start"]
    assert kinds[-3:] == ["content_block_stop", "message_delta", "message_stop"]


@pytest.mark.parametrize("streamed", [False, True])
def test_a_forced_tool_is_called(client: anthropic.Anthropic, streamed: bool) -> None:
    """One tool_use block with arguments that fit, plain and streamed."""
    asked = {**ASKED, "tools": [{"name": "look_up", "input_schema": SCHEMA}], "tool_choice": {"type": "tool", "name": "look_up"}}
    if streamed:
        with client.messages.stream(**asked) as stream:
            message = stream.get_final_message()
    else:
        message = client.messages.create(**asked)
    (block,) = message.content
    assert (block.type, block.name, block.input) == ("tool_use", "look_up", {"city": "simulated", "people": 1})
    assert message.stop_reason == "tool_use"


def test_structured_output_fits_the_schema(client: anthropic.Anthropic) -> None:
    """output_config.format gives JSON in the text block."""
    answer = client.messages.create(**ASKED, extra_body={"output_config": {"format": {"type": "json_schema", "schema": SCHEMA}}})
    assert json.loads(answer.content[0].text) == {"city": "simulated", "people": 1}


def test_max_tokens_and_stop_sequences_end_the_answer(client: anthropic.Anthropic) -> None:
    """Each with its own stop reason."""
    cut = client.messages.create(**{**ASKED, "max_tokens": 3})
    assert (cut.content[0].text, cut.stop_reason) == (ANSWER[:12], "max_tokens")
    stopped = client.messages.create(**ASKED, stop_sequences=[" to:"])
    assert (stopped.content[0].text, stopped.stop_reason, stopped.stop_sequence) == ("Simulated answer", "stop_sequence", " to:")


def test_thinking_comes_in_a_block_of_its_own(client: anthropic.Anthropic) -> None:
    """With thinking on, a thinking block with a signature precedes the text, and counts as output."""
    asked = {**ASKED, "max_tokens": 4000, "thinking": {"type": "enabled", "budget_tokens": 2000}}
    answer = client.messages.create(**asked)
    assert [block.type for block in answer.content] == ["thinking", "text"]
    assert answer.content[0].signature
    assert answer.usage.output_tokens > -(-len(ANSWER) // 4)
    with client.messages.stream(**asked) as stream:
        assert [block.type for block in stream.get_final_message().content] == ["thinking", "text"]


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, anthropic.BadRequestError),
        (401, anthropic.AuthenticationError),
        (403, anthropic.PermissionDeniedError),
        (404, anthropic.NotFoundError),
        (429, anthropic.RateLimitError),
        (500, anthropic.InternalServerError),
        (529, anthropic.APIStatusError),
    ],
)
def test_a_scripted_status_becomes_the_error_of_the_sdk(
    client: anthropic.Anthropic, simulator: Simulator, status: int, error: type[anthropic.APIStatusError]
) -> None:
    """Each status raises the class the SDK has for it, with Anthropic's body."""
    simulator.script(Fault.status(status))
    with pytest.raises(error) as caught:
        client.messages.create(**ASKED)
    assert caught.value.body["type"] == "error"
    assert caught.value.body["error"]["message"]


def test_the_sdk_honours_retry_after(simulator: Simulator) -> None:
    """After a 429 with `retry-after: 1` the second request comes a second later, not earlier."""
    simulator.script(Fault.status(429, retry_after=1))
    with anthropic.Anthropic(base_url=simulator.base_url("anthropic"), api_key="k", max_retries=1) as client:
        assert client.messages.create(**ASKED).content[0].text == ANSWER
    first, second = simulator.received
    assert second.arrived - first.left >= 0.99


def test_an_overload_in_mid_stream_is_an_error_event(client: anthropic.Anthropic, simulator: Simulator) -> None:
    """The SDK raises on `event: error` inside a 200."""
    simulator.script(Fault.stream_error(after_events=4))
    with pytest.raises(anthropic.APIStatusError) as caught:
        list(client.messages.create(**ASKED, stream=True))
    assert caught.value.body["error"]["type"] == "overloaded_error"


def test_a_wrong_key_and_an_unknown_model_are_refused() -> None:
    """401 authentication_error and 404 not_found_error."""
    with Simulator(api_key="right", models=["m"]) as simulator:
        wrong = anthropic.Anthropic(base_url=simulator.url, api_key="wrong", max_retries=0)
        with wrong, pytest.raises(anthropic.AuthenticationError):
            wrong.messages.create(**ASKED)
        with anthropic.Anthropic(base_url=simulator.url, api_key="right", max_retries=0) as client:
            with pytest.raises(anthropic.NotFoundError, match="claude-simulated"):
                client.messages.create(**ASKED)
            assert [model.id for model in client.models.list()] == ["m"]


def test_a_refusal_has_its_own_stop_reason(client: anthropic.Anthropic, simulator: Simulator) -> None:
    """A blocked prompt is an answer without content."""
    simulator.script(Fault.blocked_prompt())
    answer = client.messages.create(**ASKED)
    assert (answer.stop_reason, answer.content) == ("refusal", [])
