"""Google's own SDK as a client, for the Gemini Developer API and for Vertex AI."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from types import SimpleNamespace

import pytest
import requests
from google.auth.exceptions import RefreshError
from google.auth.transport.requests import Request
from google.oauth2 import credentials as oauth2
from google.oauth2 import service_account
from sdks import errors, genai, types

from responder.simulator import Fault, Simulator

PROMPT = "What is baseball?"
ANSWER = f"Simulated answer to: {PROMPT}"
MODEL = "gemini-2.5-flash"
SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "people": {"type": "integer"}},
    "required": ["city", "people"],
}


Sdk = Callable[[Simulator, str], genai.Client]


@pytest.fixture
def sdk() -> Iterator[Sdk]:
    """Makes clients and keeps them: one that is collected closes its connections under the call."""
    with contextlib.ExitStack() as clients:

        def make(simulator: Simulator, provider: str) -> genai.Client:
            options = types.HttpOptions(base_url=simulator.base_url(provider))
            if provider == "gemini":
                client = genai.Client(api_key="k", http_options=options)
            else:
                credentials = oauth2.Credentials(token="a-token")
                client = genai.Client(
                    vertexai=True, project="p", location="us-central1", credentials=credentials, http_options=options
                )
            clients.callback(client.close)
            return client

        yield make


@pytest.mark.parametrize("provider", ["gemini", "vertex"])
def test_a_plain_answer_quotes_the_prompt_and_counts_its_tokens(sdk: Sdk, simulator: Simulator, provider: str) -> None:
    """Text, finish reason and a usage that adds up."""
    answer = sdk(simulator, provider).models.generate_content(model=MODEL, contents=PROMPT)
    assert answer.text == ANSWER
    assert answer.candidates[0].finish_reason is types.FinishReason.STOP
    usage = answer.usage_metadata
    assert usage.candidates_token_count == -(-len(ANSWER) // 4)
    assert usage.total_token_count == usage.prompt_token_count + usage.candidates_token_count
    (received,) = simulator.received
    assert (received.provider, received.prompt) == (provider, PROMPT)
    assert (usage.traffic_type is not None) is (provider == "vertex")


@pytest.mark.parametrize("provider", ["gemini", "vertex"])
def test_a_stream_holds_the_same_text(sdk: Sdk, simulator: Simulator, provider: str) -> None:
    """The pieces join to the answer; the last event has the finish reason and the whole usage."""
    events = list(sdk(simulator, provider).models.generate_content_stream(model=MODEL, contents=PROMPT))
    assert "".join(event.text or "" for event in events) == ANSWER
    assert [event.candidates[0].finish_reason for event in events[:-1]] == [None] * (len(events) - 1)
    assert events[-1].candidates[0].finish_reason is types.FinishReason.STOP
    assert events[-1].usage_metadata.candidates_token_count == -(-len(ANSWER) // 4)
    assert simulator.received[0].query["alt"] == "sse"


def test_a_stream_without_sse_is_one_json_array_in_pieces(simulator: Simulator, wire: SimpleNamespace) -> None:
    """Without alt=sse the body is a JSON array, whose elements come one by one."""
    shape = wire.shape("gemini", stream=True)
    reply = requests.post(simulator.url + shape.path.replace("?alt=sse", ""), json=shape.body, headers=shape.headers, timeout=60)
    events = json.loads(reply.content)
    assert reply.headers["content-type"].startswith("application/json")
    assert "".join(event["candidates"][0]["content"]["parts"][0]["text"] for event in events) == ANSWER
    assert b"}\n,\r\n{" in reply.content


def test_events_end_in_crlf_and_there_is_no_end_marker(simulator: Simulator, wire: SimpleNamespace) -> None:
    """As Google sends them."""
    body = wire.unchunked(wire.ask(simulator, "gemini", stream=True).body)
    assert body.endswith(b"}\r\n\r\n")
    assert b"[DONE]" not in body
    assert body.count(b"\r\n\r\n") == body.count(b"data: ")


def test_tokens_can_be_counted_before_asking(sdk: Sdk, simulator: Simulator) -> None:
    """The method countTokens says what the usage will say."""
    client = sdk(simulator, "gemini")
    counted = client.models.count_tokens(model=MODEL, contents=PROMPT).total_tokens
    assert counted == client.models.generate_content(model=MODEL, contents=PROMPT).usage_metadata.prompt_token_count


@pytest.mark.parametrize("provider", ["gemini", "vertex"])
def test_structured_output_fits_the_schema(sdk: Sdk, simulator: Simulator, provider: str) -> None:
    """The text is JSON with the required fields and types."""
    config = types.GenerateContentConfig(response_mime_type="application/json", response_json_schema=SCHEMA)
    answer = sdk(simulator, provider).models.generate_content(model=MODEL, contents=PROMPT, config=config)
    assert json.loads(answer.text) == {"city": "simulated", "people": 1}


def test_a_schema_in_googles_own_form_is_understood_too(sdk: Sdk, simulator: Simulator) -> None:
    """A responseSchema has its types in upper case."""
    schema = types.Schema(
        type="OBJECT", properties={"tags": types.Schema(type="ARRAY", items=types.Schema(type="STRING"))}, required=["tags"]
    )
    config = types.GenerateContentConfig(response_mime_type="application/json", response_schema=schema)
    answer = sdk(simulator, "gemini").models.generate_content(model=MODEL, contents=PROMPT, config=config)
    assert json.loads(answer.text) == {"tags": ["simulated"]}


def test_a_forced_function_is_called_with_the_reason_stop(sdk: Sdk, simulator: Simulator) -> None:
    """Mode ANY calls the first allowed function; Google says STOP for it."""
    function = types.FunctionDeclaration(name="look_up", parameters_json_schema=SCHEMA)
    config = types.GenerateContentConfig(
        tools=[types.Tool(function_declarations=[function])],
        tool_config=types.ToolConfig(function_calling_config=types.FunctionCallingConfig(mode="ANY")),
    )
    answer = sdk(simulator, "gemini").models.generate_content(model=MODEL, contents=PROMPT, config=config)
    (call,) = answer.function_calls
    assert (call.name, call.args) == ("look_up", {"city": "simulated", "people": 1})
    assert answer.candidates[0].finish_reason is types.FinishReason.STOP


def test_thoughts_are_counted_beside_the_answer_and_shown_on_request(sdk: Sdk) -> None:
    """The thoughtsTokenCount is not part of candidatesTokenCount; thought parts come with includeThoughts only."""
    with Simulator(thinking=True) as simulator:
        client = sdk(simulator, "gemini")
        hidden = client.models.generate_content(model=MODEL, contents=PROMPT)
        config = types.GenerateContentConfig(thinking_config=types.ThinkingConfig(include_thoughts=True))
        shown = client.models.generate_content(model=MODEL, contents=PROMPT, config=config)
    assert [bool(part.thought) for part in hidden.candidates[0].content.parts] == [False]
    assert [bool(part.thought) for part in shown.candidates[0].content.parts] == [True, False]
    usage = shown.usage_metadata
    assert usage.candidates_token_count == -(-len(ANSWER) // 4)
    assert usage.total_token_count == usage.prompt_token_count + usage.candidates_token_count + usage.thoughts_token_count


def test_thoughts_that_use_up_max_tokens_leave_no_parts(sdk: Sdk) -> None:
    """The finish reason is MAX_TOKENS and the content has no parts, as recorded."""
    with Simulator(thinking=True) as simulator:
        config = types.GenerateContentConfig(max_output_tokens=2)
        answer = sdk(simulator, "gemini").models.generate_content(model=MODEL, contents=PROMPT, config=config)
    assert answer.candidates[0].finish_reason is types.FinishReason.MAX_TOKENS
    assert answer.candidates[0].content.parts is None
    assert answer.usage_metadata.candidates_token_count is None


@pytest.mark.parametrize(
    ("status", "error"),
    [(400, errors.ClientError), (429, errors.ClientError), (500, errors.ServerError), (503, errors.ServerError)],
)
@pytest.mark.parametrize("provider", ["gemini", "vertex"])
def test_a_scripted_status_becomes_the_error_of_the_sdk(
    sdk: Sdk, simulator: Simulator, provider: str, status: int, error: type[errors.APIError]
) -> None:
    """The SDK raises its class, and finds Google's status word."""
    simulator.script(Fault.status(status))
    with pytest.raises(error) as caught:
        sdk(simulator, provider).models.generate_content(model=MODEL, contents=PROMPT)
    assert caught.value.code == status
    assert caught.value.status in ("INVALID_ARGUMENT", "RESOURCE_EXHAUSTED", "INTERNAL", "UNAVAILABLE")


def test_a_wait_is_told_in_the_body_and_nowhere_else(simulator: Simulator, wire: SimpleNamespace) -> None:
    """`retry_delay` becomes a RetryInfo; there is no Retry-After header."""
    simulator.script(Fault.status(429, retry_delay=26))
    seen = wire.ask(simulator, "gemini")
    details = json.loads(seen.body)["error"]["details"]
    assert [detail["retryDelay"] for detail in details if detail["@type"].endswith("RetryInfo")] == ["26s"]
    assert "retry-after" not in seen.headers


def test_a_daily_quota_is_named_as_such(simulator: Simulator, wire: SimpleNamespace) -> None:
    """The quotaId says PerDay: minutes do not help."""
    simulator.script(Fault.daily_quota())
    assert b"PerDay" in wire.ask(simulator, "gemini").body


def test_a_blocked_prompt_has_no_candidates_and_a_reason(sdk: Sdk, simulator: Simulator) -> None:
    """HTTP 200, promptFeedback, and nothing else."""
    simulator.script(Fault.blocked_prompt(), Fault.blocked_answer())
    client = sdk(simulator, "gemini")
    prompt = client.models.generate_content(model=MODEL, contents=PROMPT)
    assert (prompt.candidates, prompt.prompt_feedback.block_reason) == (None, types.BlockedReason.SAFETY)
    answer = client.models.generate_content(model=MODEL, contents=PROMPT)
    assert answer.candidates[0].finish_reason is types.FinishReason.SAFETY
    assert answer.text is None


def test_a_wrong_key_is_a_400_and_a_missing_one_a_403(wire: SimpleNamespace) -> None:
    """As Google has it, with the reason API_KEY_INVALID."""
    with Simulator(api_key="right") as simulator:
        wrong = wire.ask(simulator, "gemini")
        url = simulator.url + wire.shape("gemini").path
        missing = requests.post(url, json=wire.shape("gemini").body, timeout=60)
    assert (wrong.status, missing.status_code) == (400, 403)
    assert b"API_KEY_INVALID" in wrong.body


def test_vertex_wants_a_bearer_token(simulator: Simulator, wire: SimpleNamespace) -> None:
    """Without one it answers 401 UNAUTHENTICATED."""
    shape = wire.shape("vertex")
    reply = requests.post(simulator.url + shape.path, json=shape.body, timeout=60)
    assert (reply.status_code, reply.json()["error"]["status"]) == (401, "UNAUTHENTICATED")


def test_the_token_endpoint_serves_a_service_account_and_its_tokens_are_accepted() -> None:
    """google-auth refreshes there; each refresh is in the log, and Vertex accepts the token although a key is set."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )
    with Simulator(api_key="another-key") as simulator:
        account = service_account.Credentials.from_service_account_info(
            {"client_email": "test@example.com", "private_key": pem.decode(), "token_uri": f"{simulator.url}/token"},
            scopes=["https://www.googleapis.com/auth/cloud-platform"],
        )
        simulator.script_for("/token", Fault.status(503))
        account.refresh(Request())
        client = genai.Client(
            vertexai=True,
            project="p",
            location="l",
            credentials=account,
            http_options=types.HttpOptions(base_url=simulator.base_url("vertex")),
        )
        assert client.models.generate_content(model=MODEL, contents=PROMPT).text == ANSWER
        assert [entry.provider for entry in simulator.received] == ["google-token", "google-token", "vertex"]
        assert [entry.outcome for entry in simulator.received] == ["fault:status", "answered", "answered"]


def test_a_refused_refresh_is_final_for_google_auth(simulator: Simulator) -> None:
    """A 400 has the shape of OAuth 2, which google-auth reads and does not repeat."""
    credentials = oauth2.Credentials(
        token=None, refresh_token="r", token_uri=f"{simulator.url}/token", client_id="c", client_secret="s"
    )
    simulator.script_for("/token", Fault.status(400, "Token has been revoked."))
    with pytest.raises(RefreshError, match="invalid_grant: Token has been revoked") as caught:
        credentials.refresh(Request())
    assert not caught.value.retryable
    assert len(simulator.received) == 1
