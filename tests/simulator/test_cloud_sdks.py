"""Amazon's, Cohere's and Anthropic's own SDKs as clients of the simulated Bedrock, Cohere, Vertex AI and Foundry."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.config import Config
from sdks import anthropic, boto3, botocore_exceptions, cohere, cohere_core, openai

from responder.simulator import Fault, Simulator

PROMPT = "What is baseball?"
ANSWER = f"Simulated answer to: {PROMPT}"
PARAMETERS = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
SCHEMA = {**PARAMETERS, "additionalProperties": False}


@pytest.fixture(scope="module")
def _one_simulator() -> Iterator[Simulator]:
    with Simulator() as running:
        yield running


@pytest.fixture
def simulator(_one_simulator: Simulator) -> Simulator:
    """A simulator with an empty log."""
    _one_simulator.clear()
    return _one_simulator


# Amazon's

TURNS: Any = [{"role": "user", "content": [{"text": PROMPT}]}]
TOOLS: Any = [{"toolSpec": {"name": "look_up", "description": "Looks up", "inputSchema": {"json": PARAMETERS}}}]
NOVA = "us.amazon.nova-micro-v1:0"


@pytest.fixture(scope="module")
def runtime(_one_simulator: Simulator) -> Iterator[Any]:
    """Amazon's client, which signs each request, with credentials that are in no file."""
    client = boto3.client(
        "bedrock-runtime",
        region_name="us-east-1",
        endpoint_url=_one_simulator.base_url("bedrock"),
        aws_access_key_id="AKIDEXAMPLE",
        aws_secret_access_key="not-a-real-secret",
        config=Config(retries={"total_max_attempts": 1}),
    )
    yield client
    client.close()


def gathered(stream: Any) -> tuple[str, str, list[str], dict[str, Any]]:
    """Return the text, the input of a tool, the names of the events and what the last ones say."""
    text, told, names, end = "", "", [], {}
    with contextlib.closing(stream):  # one that breaks off keeps its connection otherwise
        for event in stream:
            ((name, payload),) = event.items()
            names.append(name)
            delta = payload.get("delta", {})
            text += delta.get("text", "")
            told += delta.get("toolUse", {}).get("input", "")
            end.update(payload if name in ("messageStop", "metadata") else {})
    return text, told, names, end


def test_converse_answers_boto3_whole_and_in_frames(runtime: Any, simulator: Simulator) -> None:
    """The same text and usage; the model's id arrives, with its colon; frames pass the checks of Amazon's own decoder."""
    whole = runtime.converse(modelId=NOVA, messages=TURNS, system=[{"text": "Be terse."}])
    assert whole["output"]["message"]["content"] == [{"text": ANSWER}]
    assert whole["stopReason"] == "end_turn"
    usage = whole["usage"]
    assert usage["totalTokens"] == usage["inputTokens"] + usage["outputTokens"]
    text, _, names, end = gathered(
        runtime.converse_stream(modelId=NOVA, messages=TURNS, system=[{"text": "Be terse."}])["stream"]
    )
    assert (text, end["stopReason"], end["usage"]) == (ANSWER, "end_turn", usage)
    assert (names[0], names[-1]) == ("messageStart", "metadata")
    assert [request.provider for request in simulator.received] == ["bedrock", "bedrock"]
    assert simulator.received[-1].prompt == PROMPT


@pytest.mark.parametrize("streamed", [False, True])
def test_converse_calls_a_tool_and_takes_its_result(runtime: Any, streamed: bool) -> None:
    """With the id and the arguments; the result goes back by that id, and no other."""
    settings = {"tools": TOOLS, "toolChoice": {"any": {}}}
    if streamed:
        _, told, names, end = gathered(runtime.converse_stream(modelId=NOVA, messages=TURNS, toolConfig=settings)["stream"])
        assert (json.loads(told), end["stopReason"]) == ({"city": "simulated"}, "tool_use")
        assert names[1] == "contentBlockStart"
        return
    first = runtime.converse(modelId=NOVA, messages=TURNS, toolConfig=settings)
    message = first["output"]["message"]
    use = message["content"][0]["toolUse"]
    assert (use["name"], use["input"], first["stopReason"]) == ("look_up", {"city": "simulated"}, "tool_use")
    result = {"toolUseId": use["toolUseId"], "content": [{"text": "sun"}]}
    turns = [*TURNS, message, {"role": "user", "content": [{"toolResult": result}]}]
    second = runtime.converse(modelId=NOVA, messages=turns, toolConfig={"tools": TOOLS})
    assert second["stopReason"] == "end_turn"
    result["toolUseId"] = "another"
    with pytest.raises(botocore_exceptions.ClientError, match="Expected toolResult blocks"):
        runtime.converse(modelId=NOVA, messages=turns, toolConfig={"tools": TOOLS})


def test_converse_refuses_what_bedrock_refuses(runtime: Any) -> None:
    """Turns that do not alternate, blank texts, calls without their tools, open objects in a schema."""
    twice = [*TURNS, *TURNS]
    blank: Any = [{"role": "user", "content": [{"text": " "}]}]
    form = {"type": "json_schema", "structure": {"jsonSchema": {"name": "a", "schema": json.dumps(PARAMETERS)}}}
    for given, words in (
        ({"messages": twice}, "alternate"),
        ({"messages": blank}, "blank"),
        ({"messages": TURNS, "outputConfig": {"textFormat": form}}, "additionalProperties"),
    ):
        with pytest.raises(botocore_exceptions.ClientError, match=words) as caught:
            runtime.converse(modelId=NOVA, **given)
        assert caught.value.response["Error"]["Code"] == "ValidationException"
    form["structure"] = {"jsonSchema": {"name": "a", "schema": json.dumps(SCHEMA)}}
    whole = runtime.converse(modelId=NOVA, messages=TURNS, outputConfig={"textFormat": form})
    assert json.loads(whole["output"]["message"]["content"][0]["text"]) == {"city": "simulated"}


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (400, "ValidationException"),
        (403, "AccessDeniedException"),
        (429, "ThrottlingException"),
        (500, "InternalServerException"),
        (503, "ServiceUnavailableException"),
    ],
)
def test_a_status_becomes_the_error_of_boto3(runtime: Any, simulator: Simulator, status: int, code: str) -> None:
    """Its name stands in a header."""
    simulator.script(Fault.status(status))
    with pytest.raises(botocore_exceptions.ClientError) as caught:
        runtime.converse(modelId=NOVA, messages=TURNS)
    assert caught.value.response["Error"]["Code"] == code
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == status


def test_an_exception_in_a_stream_becomes_the_error_of_boto3(runtime: Any, simulator: Simulator) -> None:
    """After the events that came before it."""
    simulator.script(Fault.stream_error(after_events=3))
    with pytest.raises(botocore_exceptions.EventStreamError, match="modelStreamErrorException"):
        gathered(runtime.converse_stream(modelId=NOVA, messages=TURNS)["stream"])


@pytest.mark.parametrize(
    ("model", "body", "found"),
    [
        ("amazon.titan-embed-text-v2:0", {"inputText": "a cat", "dimensions": 256}, lambda body: [body["embedding"]]),
        (
            "amazon.nova-2-multimodal-embeddings-v1:0",
            {
                "taskType": "SINGLE_EMBEDDING",
                "singleEmbeddingParams": {
                    "embeddingPurpose": "GENERIC_INDEX",
                    "embeddingDimension": 256,
                    "text": {"value": "a cat", "truncationMode": "NONE"},
                },
            },
            lambda body: [row["embedding"] for row in body["embeddings"]],
        ),
        (
            "cohere.embed-v4:0",
            {"texts": ["a cat", "a dog"], "input_type": "search_document", "output_dimension": 256},
            lambda body: body["embeddings"]["float"],
        ),
    ],
    ids=["titan", "nova", "cohere"],
)
def test_each_family_of_bedrocks_embeds(runtime: Any, model: str, body: dict[str, Any], found: Any) -> None:
    """With the length that was asked for; the tokens are counted in a header."""
    reply = runtime.invoke_model(modelId=model, body=json.dumps(body))
    vectors = found(json.loads(reply["body"].read()))
    assert {len(vector) for vector in vectors} == {256}
    assert int(reply["ResponseMetadata"]["HTTPHeaders"]["x-amzn-bedrock-input-token-count"]) > 0
    with pytest.raises(botocore_exceptions.ClientError, match="ValidationException"):
        runtime.invoke_model(modelId=model, body="{}")


# Cohere's

CHAT: Any = {"model": "command-a-03-2025", "messages": [{"role": "user", "content": PROMPT}]}
FUNCTIONS: Any = [{"type": "function", "function": {"name": "look_up", "description": "Looks up", "parameters": PARAMETERS}}]


@pytest.fixture(scope="module")
def client(_one_simulator: Simulator) -> Iterator[Any]:
    """Cohere's client."""
    with cohere.ClientV2(api_key="k", base_url=_one_simulator.base_url("cohere")) as made:
        yield made


def test_a_chat_answers_coheres_sdk_whole_and_as_events(client: Any, simulator: Simulator) -> None:
    """The same text, finish reason and usage."""
    whole = client.chat(**CHAT)
    assert (whole.message.content[0].text, whole.finish_reason) == (ANSWER, "COMPLETE")
    events = list(client.chat_stream(**CHAT))
    assert "".join(event.delta.message.content.text for event in events if event.type == "content-delta") == ANSWER
    assert (events[0].type, events[-1].type) == ("message-start", "message-end")
    assert (events[-1].delta.finish_reason, events[-1].delta.usage) == ("COMPLETE", whole.usage)
    assert simulator.received[-1].provider == "cohere"


def test_a_chat_thinks_calls_tools_and_keeps_to_a_schema(client: Any) -> None:
    """Whole and as events; results go back by the id of the call."""
    thought = client.chat(**CHAT, thinking={"type": "enabled"})
    assert [part.type for part in thought.message.content] == ["thinking", "text"]
    first = client.chat(**CHAT, tools=FUNCTIONS, tool_choice="REQUIRED")
    (call,) = first.message.tool_calls
    assert (call.function.name, json.loads(call.function.arguments)) == ("look_up", {"city": "simulated"})
    assert (first.finish_reason, bool(first.message.tool_plan)) == ("TOOL_CALL", True)
    events = list(client.chat_stream(**CHAT, tools=FUNCTIONS, tool_choice="REQUIRED"))
    arguments = [event.delta.message.tool_calls.function.arguments for event in events if event.type == "tool-call-delta"]
    assert json.loads("".join(arguments)) == {"city": "simulated"}
    turns = [*CHAT["messages"], first.message, {"role": "tool", "tool_call_id": call.id, "content": "sun"}]
    assert client.chat(model="m", messages=turns, tools=FUNCTIONS).finish_reason == "COMPLETE"
    turns[-1] = {**turns[-1], "tool_call_id": "another"}
    with pytest.raises(cohere.BadRequestError, match="tool call id not found"):
        client.chat(model="m", messages=turns, tools=FUNCTIONS)
    shaped = client.chat(**CHAT, response_format={"type": "json_object", "schema": SCHEMA})
    assert json.loads(shaped.message.content[0].text) == {"city": "simulated"}
    bounded = {"type": "object", "properties": {"n": {"type": "integer", "minimum": 1}}, "required": ["n"]}
    with pytest.raises(cohere.BadRequestError, match="minimum"):
        client.chat(**CHAT, response_format={"type": "json_object", "schema": bounded})


def test_coheres_sdk_embeds_and_meets_its_errors(client: Any, simulator: Simulator) -> None:
    """Vectors by type, what is billed, and `{"id", "message"}` for a refusal."""
    asked: Any = {"model": "embed-v4.0", "input_type": "search_document", "embedding_types": ["float"]}
    found = client.embed(texts=["a cat", "a dog"], output_dimension=256, **asked)
    assert [len(vector) for vector in found.embeddings.float_] == [256, 256]
    assert found.meta.billed_units.input_tokens == 4
    with pytest.raises(cohere.BadRequestError, match="at most 96"):
        client.embed(texts=["a"] * 97, **asked)
    simulator.script(Fault.status(429, times=10))
    with pytest.raises(cohere_core.ApiError) as caught:
        client.chat(**CHAT, request_options={"max_retries": 0})
    assert (caught.value.status_code, set(caught.value.body)) == (429, {"id", "message"})


# Anthropic's

ASKED: Any = {"model": "claude-simulated", "max_tokens": 500, "messages": [{"role": "user", "content": PROMPT}]}


def hosted(simulator: Simulator, provider: str) -> Any:
    """Return Anthropic's client of a cloud."""
    url = simulator.base_url(provider)
    if provider == "anthropic-vertex":
        return anthropic.AnthropicVertex(region="eu", project_id="p-1", access_token="t", base_url=url, max_retries=0)
    if provider == "anthropic-foundry":
        return anthropic.AnthropicFoundry(api_key="k", base_url=url, max_retries=0)
    secret = {"aws_access_key": "AKIDEXAMPLE", "aws_secret_key": "not-a-real-secret"}
    return anthropic.AnthropicBedrock(aws_region="us-east-1", base_url=url, max_retries=0, **secret)


@pytest.mark.parametrize("provider", ["anthropic-vertex", "anthropic-bedrock", "anthropic-foundry"])
def test_claude_answers_anthropics_sdk_elsewhere(simulator: Simulator, provider: str) -> None:
    """Whole, as a stream, with a tool; and its refusals are the SDK's errors."""
    with hosted(simulator, provider) as claude:
        assert claude.messages.create(**ASKED).content[0].text == ANSWER
        with claude.messages.stream(**ASKED) as stream:
            assert "".join(stream.text_stream) == ANSWER
            assert stream.get_final_message().stop_reason == "end_turn"
        tools = [{"name": "look_up", "description": "Looks up", "input_schema": PARAMETERS}]
        call = claude.messages.create(**ASKED, tools=tools, tool_choice={"type": "any"})
        assert (call.content[0].name, call.content[0].input) == ("look_up", {"city": "simulated"})
        assert {request.provider for request in simulator.received} == {provider}
        for status, kind in ((400, anthropic.BadRequestError), (429, anthropic.RateLimitError), (529, anthropic.APIStatusError)):
            simulator.script(Fault.status(status))
            with pytest.raises(kind):
                claude.messages.create(**ASKED)
        simulator.script(Fault.stream_error(after_events=4))
        with pytest.raises(anthropic.APIError), claude.messages.stream(**ASKED) as broken:
            list(broken.text_stream)


def test_a_partner_model_on_vertex_answers_openais_sdk(simulator: Simulator) -> None:
    """At the project's endpoint."""
    url = f"{simulator.base_url('vertex-partner')}/v1/projects/p-1/locations/global/endpoints/openapi"
    with openai.OpenAI(base_url=url, api_key="t", max_retries=0) as client:
        turns: Any = [{"role": "user", "content": PROMPT}]
        assert client.chat.completions.create(model="meta/llama", messages=turns).choices[0].message.content == ANSWER
    assert simulator.received[-1].provider == "vertex-partner"


def test_wrong_keys_and_unknown_models_are_refused_as_each_does() -> None:
    """Amazon with 403 and 400, Cohere with 401 and 404, Google with 401."""
    with Simulator(api_key="right", models=["m"]) as simulator:
        for provider, kind in (
            ("anthropic-vertex", anthropic.AuthenticationError),
            ("anthropic-foundry", anthropic.AuthenticationError),
            ("anthropic-bedrock", anthropic.PermissionDeniedError),
        ):
            with hosted(simulator, provider) as claude, pytest.raises(kind):
                claude.messages.create(**ASKED)
        for key, error in (("wrong", cohere.UnauthorizedError), ("right", cohere.NotFoundError)):
            with cohere.ClientV2(api_key=key, base_url=simulator.url) as client, pytest.raises(error):
                client.chat(**CHAT)
