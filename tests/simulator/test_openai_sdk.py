"""OpenAI's own SDK as a client: what it accepts is the shape we must send. Azure and the compatible hosts come with it."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from sdks import openai

from responder.simulator import Fault, Simulator

PROMPT = "What is baseball?"
ANSWER = f"Simulated answer to: {PROMPT}"
MESSAGES = [{"role": "user", "content": PROMPT}]
SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "people": {"type": "integer"}},
    "required": ["city", "people"],
    "additionalProperties": False,
}
TOOL = {"type": "function", "function": {"name": "look_up", "parameters": SCHEMA}}


@pytest.fixture
def client(simulator: Simulator) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=simulator.base_url("openai"), api_key="k", max_retries=0) as client:
        yield client


@pytest.fixture
def azure(simulator: Simulator) -> Iterator[openai.AzureOpenAI]:
    with openai.AzureOpenAI(
        azure_endpoint=simulator.base_url("azure"), api_key="k", api_version="2024-10-21", max_retries=0
    ) as client:
        yield client


def test_a_plain_answer_quotes_the_prompt_and_counts_its_tokens(client: openai.OpenAI, simulator: Simulator) -> None:
    """The SDK reads text, finish reason and a usage that adds up, and the log names the request."""
    answer = client.chat.completions.create(model="gpt-4o-mini", messages=MESSAGES)
    assert answer.choices[0].message.content == ANSWER
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage.completion_tokens == -(-len(ANSWER) // 4)
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
    assert answer._request_id
    (received,) = simulator.received
    assert (received.provider, received.prompt, received.status, received.outcome) == ("openai", PROMPT, 200, "answered")


def test_several_choices_are_counted_together(client: openai.OpenAI) -> None:
    """With `n`, there are n choices and the usage counts them all."""
    answer = client.chat.completions.create(model="m", messages=MESSAGES, n=3)
    assert [choice.index for choice in answer.choices] == [0, 1, 2]
    assert answer.usage.completion_tokens == 3 * -(-len(ANSWER) // 4)


def test_a_stream_holds_the_same_text_and_ends_with_its_usage(client: openai.OpenAI) -> None:
    """With include_usage the pieces join to the answer, and the last chunk has no choices but the usage."""
    chunks = list(
        client.chat.completions.create(model="m", messages=MESSAGES, stream=True, stream_options={"include_usage": True})
    )
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == ANSWER
    assert chunks[-1].choices == []
    assert chunks[-1].usage.completion_tokens == -(-len(ANSWER) // 4)
    assert chunks[-2].choices[0].finish_reason == "stop"
    assert all(chunk.usage is None for chunk in chunks[:-1])


def test_max_tokens_cuts_the_answer_with_the_reason_length(client: openai.OpenAI) -> None:
    """Three tokens are twelve characters."""
    answer = client.chat.completions.create(model="m", messages=MESSAGES, max_completion_tokens=3)
    assert answer.choices[0].message.content == ANSWER[:12]
    assert (answer.choices[0].finish_reason, answer.usage.completion_tokens) == ("length", 3)


def test_a_stop_text_ends_the_answer(client: openai.OpenAI) -> None:
    """The stop text itself is not part of the answer."""
    answer = client.chat.completions.create(model="m", messages=MESSAGES, stop=[" to:"])
    assert (answer.choices[0].message.content, answer.choices[0].finish_reason) == ("Simulated answer", "stop")


def test_structured_output_fits_the_schema(client: openai.OpenAI) -> None:
    """The text is JSON with the required fields and types."""
    answer = client.chat.completions.create(
        model="m",
        messages=MESSAGES,
        response_format={"type": "json_schema", "json_schema": {"name": "place", "strict": True, "schema": SCHEMA}},
    )
    assert json.loads(answer.choices[0].message.content) == {"city": "simulated", "people": 1}


@pytest.mark.parametrize(
    ("choice", "finish"), [("required", "tool_calls"), ({"type": "function", "function": {"name": "look_up"}}, "stop")]
)
def test_a_forced_tool_is_called(client: openai.OpenAI, choice: object, finish: str) -> None:
    """Forced by "required" the reason is tool_calls, forced by name it is stop, as with OpenAI."""
    answer = client.chat.completions.create(model="m", messages=MESSAGES, tools=[TOOL], tool_choice=choice)
    (call,) = answer.choices[0].message.tool_calls
    assert (call.function.name, json.loads(call.function.arguments)) == ("look_up", {"city": "simulated", "people": 1})
    assert answer.choices[0].message.content is None
    assert answer.choices[0].finish_reason == finish


def test_a_streamed_tool_call_arrives_in_pieces_with_one_id(client: openai.OpenAI) -> None:
    """Id and name come once, the arguments in pieces."""
    stream = client.chat.completions.create(model="m", messages=MESSAGES, tools=[TOOL], tool_choice="required", stream=True)
    pieces = [call for chunk in stream for call in chunk.choices[0].delta.tool_calls or ()]
    assert [piece.id is not None for piece in pieces] == [True] + [False] * (len(pieces) - 1)
    assert json.loads("".join(piece.function.arguments for piece in pieces)) == {"city": "simulated", "people": 1}
    assert len(pieces) > 2


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, openai.BadRequestError),
        (401, openai.AuthenticationError),
        (403, openai.PermissionDeniedError),
        (404, openai.NotFoundError),
        (409, openai.ConflictError),
        (422, openai.UnprocessableEntityError),
        (429, openai.RateLimitError),
        (500, openai.InternalServerError),
        (503, openai.InternalServerError),
    ],
)
@pytest.mark.parametrize("which", ["client", "azure"])
def test_a_scripted_status_becomes_the_error_of_the_sdk(
    request: pytest.FixtureRequest, simulator: Simulator, which: str, status: int, error: type[openai.APIStatusError]
) -> None:
    """Each status raises the class the SDK has for it, with a readable message."""
    simulator.script(Fault.status(status))
    with pytest.raises(error) as caught:
        request.getfixturevalue(which).chat.completions.create(model="m", messages=MESSAGES)
    assert caught.value.body["message"]
    assert simulator.received[-1].outcome == "fault:status"


def test_the_sdk_honours_retry_after(simulator: Simulator) -> None:
    """After a 429 with `retry-after-ms: 300` the second request comes 0.3 s later, not earlier."""
    simulator.script(Fault.status(429, retry_after_ms=300))
    with openai.OpenAI(base_url=simulator.base_url("openai"), api_key="k", max_retries=1) as client:
        assert client.chat.completions.create(model="m", messages=MESSAGES).choices[0].message.content == ANSWER
    first, second = simulator.received
    assert second.arrived - first.left >= 0.29


def test_an_exhausted_account_is_told_apart_from_a_rate_limit(client: openai.OpenAI, simulator: Simulator) -> None:
    """insufficient_quota comes as a 429 with its own code."""
    simulator.script(Fault.insufficient_quota(), Fault.status(429))
    codes = []
    for _ in range(2):
        with pytest.raises(openai.RateLimitError) as caught:
            client.chat.completions.create(model="m", messages=MESSAGES)
        codes.append(caught.value.code)
    assert codes == ["insufficient_quota", "rate_limit_exceeded"]


def test_a_wrong_key_and_an_unknown_model_are_refused() -> None:
    """With `api_key` and `models` set, others get 401 and 404."""
    with Simulator(api_key="right", models=["m"]) as simulator:
        with openai.OpenAI(base_url=simulator.base_url("openai"), api_key="wrong", max_retries=0) as client:
            with pytest.raises(openai.AuthenticationError) as caught:
                client.chat.completions.create(model="m", messages=MESSAGES)
            assert caught.value.code == "invalid_api_key"
        with openai.OpenAI(base_url=simulator.base_url("openai"), api_key="right", max_retries=0) as client:
            with pytest.raises(openai.NotFoundError) as missing:
                client.chat.completions.create(model="x", messages=MESSAGES)
            assert missing.value.code == "model_not_found"
            assert [model.id for model in client.models.list()] == ["m"]


def test_no_key_is_shown_in_the_log(client: openai.OpenAI, simulator: Simulator) -> None:
    """The log says that a key was there, and which by digest, and not what it is."""
    client.with_options(api_key="a-very-secret-word").chat.completions.create(model="m", messages=MESSAGES)
    headers = simulator.received[0].headers
    assert headers["authorization"].startswith("present, sha256:")
    assert "secret" not in repr(simulator.received)


def test_an_error_event_breaks_off_a_stream(client: openai.OpenAI, simulator: Simulator) -> None:
    """The SDK raises on the error object after the pieces before it."""
    simulator.script(Fault.stream_error(after_events=3))
    pieces = []
    stream = client.chat.completions.create(model="m", messages=MESSAGES, stream=True)
    with pytest.raises(openai.APIError):
        pieces.extend(chunk.choices[0].delta.content for chunk in stream)
    assert len(pieces) == 3


def test_thinking_is_counted_among_the_output() -> None:
    """Reasoning tokens are part of completion_tokens."""
    with (
        Simulator(thinking=True) as simulator,
        openai.OpenAI(base_url=simulator.base_url("openai"), api_key="k") as client,
    ):
        usage = client.chat.completions.create(model="m", messages=MESSAGES).usage
    thought = usage.completion_tokens_details.reasoning_tokens
    assert thought > 0
    assert usage.completion_tokens == thought + -(-len(ANSWER) // 4)


def test_azure_answers_at_the_deployment_url_with_filter_results(azure: openai.AzureOpenAI, simulator: Simulator) -> None:
    """The deployment is in the path, and both filter results are there."""
    answer = azure.chat.completions.create(model="my-deployment", messages=MESSAGES)
    assert answer.choices[0].message.content == ANSWER
    assert answer.model_extra["prompt_filter_results"][0]["prompt_index"] == 0
    assert not answer.choices[0].model_extra["content_filter_results"]["hate"]["filtered"]
    assert simulator.received[0].path == "/openai/deployments/my-deployment/chat/completions"
    assert simulator.received[0].headers["api-key"].startswith("present")


def test_azure_streams_begin_without_choices_and_annotate_after_the_stop(azure: openai.AzureOpenAI) -> None:
    """The asynchronous filter's chunks have no delta, and must not undo the finish reason."""
    chunks = list(azure.chat.completions.create(model="d", messages=MESSAGES, stream=True))
    assert (chunks[0].choices, chunks[0].id) == ([], "")
    texts = [chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices and chunk.choices[0].delta]
    assert "".join(texts) == ANSWER
    assert chunks[-2].choices[0].finish_reason == "stop"
    assert chunks[-1].choices[0].delta is None


def test_azure_wants_an_api_version_in_the_deployment_form(simulator: Simulator) -> None:
    """Without it there is nothing at that URL."""
    base_url = f"{simulator.base_url('azure')}/openai/deployments/d"
    with openai.OpenAI(base_url=base_url, api_key="k", max_retries=0) as client, pytest.raises(openai.NotFoundError):
        client.chat.completions.create(model="d", messages=MESSAGES)


def test_azure_speaks_the_v1_form_to_the_plain_client(simulator: Simulator) -> None:
    """`/openai/v1` takes the deployment's name in the body and a bearer key."""
    with openai.OpenAI(base_url=simulator.base_url("azure") + "/openai/v1", api_key="k") as client:
        answer = client.chat.completions.create(model="d", messages=MESSAGES)
    assert answer.choices[0].message.content == ANSWER
    assert simulator.received[0].provider == "azure"


def test_azure_refuses_a_prompt_with_the_findings_of_its_filter(azure: openai.AzureOpenAI, simulator: Simulator) -> None:
    """A 400 with innererror.code ResponsibleAIPolicyViolation."""
    simulator.script(Fault.blocked_prompt())
    with pytest.raises(openai.BadRequestError) as caught:
        azure.chat.completions.create(model="d", messages=MESSAGES)
    assert caught.value.code == "content_filter"
    assert caught.value.body["innererror"]["code"] == "ResponsibleAIPolicyViolation"


@pytest.mark.parametrize(
    "host",
    ["groq", "mistral", "deepseek", "openrouter", "together", "fireworks", "xai", "cerebras", "huggingface", "zai", "ollama",
     "vllm", "lmstudio", "llamacpp", "compatible", "somebody"],
)  # fmt: skip
@pytest.mark.parametrize("stream", [False, True])
def test_every_compatible_host_can_be_read_by_the_sdk(host: str, stream: bool) -> None:
    """Whatever its quirks: the text arrives, and so does a usage."""
    with Simulator() as simulator, openai.OpenAI(base_url=simulator.base_url(host), api_key="k") as client:
        if stream:
            chunks = list(client.chat.completions.create(model="m", messages=MESSAGES, stream=True))
            text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
        else:
            answer = client.chat.completions.create(model="m", messages=MESSAGES)
            text = answer.choices[0].message.content
            assert answer.usage.total_tokens > 0
        (received,) = simulator.received
    assert text == ANSWER
    assert received.provider == ("openai" if host == "ollama" else host)


@pytest.mark.parametrize(
    ("host", "place"),
    [("deepseek", "reasoning_content"), ("groq", "reasoning"), ("openrouter", "reasoning_details"), ("xai", "reasoning_content")],
)
def test_thoughts_go_where_the_host_puts_them(host: str, place: str) -> None:
    """Each host has its own field beside the content."""
    with Simulator(thinking=True) as simulator, openai.OpenAI(base_url=simulator.base_url(host), api_key="k") as client:
        answer = client.chat.completions.create(model="m", messages=MESSAGES)
    assert answer.choices[0].message.content == ANSWER
    assert "Simulated thoughts" in str(answer.choices[0].message.model_extra[place])
    thought = answer.usage.completion_tokens_details.reasoning_tokens
    inside = answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
    assert thought > 0
    assert inside is (host != "xai")


def test_mistral_thinks_in_a_list_of_parts() -> None:
    """While it thinks, the content of a delta is a list; afterwards it is a text. The usage is on the last choice chunk."""
    with (
        Simulator(thinking=True) as simulator,
        openai.OpenAI(base_url=simulator.base_url("mistral"), api_key="k") as client,
    ):
        chunks = list(client.chat.completions.create(model="m", messages=MESSAGES, stream=True))
    contents = [chunk.choices[0].delta.content for chunk in chunks]
    assert any(isinstance(content, list) and content[0]["type"] == "thinking" for content in contents)
    assert "".join(content for content in contents if isinstance(content, str)) == ANSWER
    assert chunks[-1].usage.total_tokens > 0


def test_an_unknown_path_is_not_found(simulator: Simulator) -> None:
    """An unknown path gets OpenAI's 404."""
    with openai.OpenAI(base_url=f"{simulator.url}/nowhere", api_key="k") as client, pytest.raises(openai.NotFoundError):
        client.chat.completions.create(model="m", messages=MESSAGES)
