"""OpenAI's own SDK as a client of the simulated Responses API, and our responder beside it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from sdks import openai

from responder import Message, OpenAIResponder, Tool, ToolResult, user
from responder.simulator import Simulator

PROMPT = "What is baseball?"
ANSWER = f"Simulated answer to: {PROMPT}"
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"], "additionalProperties": False}
TOOL: Any = {"type": "function", "name": "look_up", "parameters": SCHEMA, "strict": True}


@pytest.fixture
def client(simulator: Simulator) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=simulator.base_url("openai"), api_key="k", max_retries=0) as client:
        yield client


def test_a_plain_response_quotes_the_prompt_and_counts_its_tokens(client: openai.OpenAI) -> None:
    """The SDK reads text, status and a usage that adds up."""
    response = client.responses.create(model="gpt-5", input=PROMPT, instructions="Be kind.")
    assert (response.output_text, response.status) == (ANSWER, "completed")
    assert response.usage is not None
    assert response.usage.total_tokens == response.usage.input_tokens + response.usage.output_tokens


def test_a_streams_events_join_to_the_same_text(client: openai.OpenAI) -> None:
    """In the order of their numbers, with the whole response at the end."""
    with client.responses.stream(model="gpt-5", input=PROMPT) as stream:
        events = list(stream)
        final = stream.get_final_response()
    assert "".join(event.delta for event in events if event.type == "response.output_text.delta") == ANSWER
    assert [event.sequence_number for event in events] == sorted(event.sequence_number for event in events)
    assert final.output_text == ANSWER


def test_a_forced_tool_is_called_whole_and_streamed(client: openai.OpenAI) -> None:
    """With arguments that fit."""
    response = client.responses.create(model="gpt-5", input=PROMPT, tools=[TOOL], tool_choice="required")
    call: Any = response.output[0]
    assert (call.type, call.name) == ("function_call", "look_up")
    with client.responses.stream(model="gpt-5", input=PROMPT, tools=[TOOL], tool_choice="required") as stream:
        final: Any = stream.get_final_response()
    assert final.output[0].arguments == call.arguments


def test_a_schema_is_answered_and_a_wrong_one_refused(client: openai.OpenAI) -> None:
    """As the strict mode does."""
    wanted: Any = {"format": {"type": "json_schema", "name": "place", "schema": SCHEMA, "strict": True}}
    assert "city" in client.responses.create(model="gpt-5", input=PROMPT, text=wanted).output_text
    wanted["format"]["schema"] = {"type": "object", "properties": {}}
    with pytest.raises(openai.BadRequestError):
        client.responses.create(model="gpt-5", input=PROMPT, text=wanted)


@pytest.mark.parametrize(
    "body",
    [
        {"max_output_tokens": 5},
        {"stop": ["x"]},
        {"input": []},
        {"input": [{"type": "function_call_output", "call_id": "c", "output": "x"}]},
        {"input": [{"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}]},
    ],
)
def test_what_openai_refuses_is_refused(client: openai.OpenAI, body: dict[str, Any]) -> None:
    """With 400."""
    with pytest.raises(openai.BadRequestError):
        client.responses.create(model="gpt-5", input=body.pop("input", PROMPT), extra_body=body)


def test_our_responder_talks_to_it(simulator: Simulator) -> None:
    """Whole, streamed, truncated, and through a turn of tools with reasoning."""
    tool = Tool("look_up", "Looks up", SCHEMA)
    with OpenAIResponder("gpt-5", api="responses", api_key="k", base_url=simulator.base_url("openai")) as gpt:
        assert gpt.answer(PROMPT).text == ANSWER
        assert "".join(gpt.stream(PROMPT)) == ANSWER
        assert gpt.answer("Tell me a long story about " + "baseball " * 60, max_tokens=16).truncated
        first = gpt.answer(PROMPT, tools=[tool], tool_choice="required", reasoning_effort="low")
        result = Message("tool", ToolResult(first.tool_calls[0].id, "Berlin"))
        assert gpt.answer([user(PROMPT), first.message, result], tools=[tool]).text
    assert {request.outcome for request in simulator.received} == {"answered"}
