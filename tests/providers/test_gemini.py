"""Gemini's dialect, on both of its hosts: what odd replies mean, what goes out, and where to."""

from __future__ import annotations

import pickle
from types import SimpleNamespace
from typing import Any

import pytest
from providers.contract import KEY, answered, documented, documented_json, make, outcome
from wire.player import Player

from responder import (
    Audio,
    AuthenticationError,
    BadRequestError,
    BlockedError,
    ConfigurationError,
    EmptyAnswerError,
    File,
    GeminiResponder,
    Image,
    InternalServerError,
    InvalidResponseError,
    Message,
    PermissionDeniedError,
    QuotaExceededError,
    RateLimitError,
    ToolCall,
    ToolResult,
    Usage,
    VertexAIResponder,
    assistant,
    user,
)

GOOGLE = pytest.mark.parametrize("provider", ["gemini", "vertex"])
RPC = "type.googleapis.com/google.rpc."


def parts(*given: Any, **more: Any) -> dict[str, Any]:
    return documented("gemini", content={"role": "model", "parts": list(given)}, **more)


def status(code: int, word: str, message: str, *details: Any) -> dict[str, Any]:
    return {"error": {"code": code, "status": word, "message": message, "details": list(details)}}


def quota(identifier: str) -> dict[str, Any]:
    return {"@type": f"{RPC}QuotaFailure", "violations": [{"quotaId": identifier, "quotaValue": "50"}]}


# Replies


@GOOGLE
def test_thoughts_go_to_reasoning_and_not_into_the_text(player: Player, provider: str) -> None:
    """Parts with `thought: true`."""
    reply = parts({"text": "Hm.", "thought": True}, {"text": "A "}, {"text": "game.", "thoughtSignature": "c2ln"})
    answer = answered(player, provider, reply)
    assert (answer.text, answer.reasoning) == ("A game.", "Hm.")


def test_thoughts_count_as_output(player: Player) -> None:
    """Google counts them beside the candidates, and bills both; tool prompts are input."""
    usage = {
        "promptTokenCount": 10,
        "toolUsePromptTokenCount": 4,
        "cachedContentTokenCount": 6,
        "candidatesTokenCount": 3,
        "thoughtsTokenCount": 20,
        "totalTokenCount": 37,
    }
    answer = answered(player, "gemini", {**documented("gemini"), "usageMetadata": usage})
    assert answer.usage == Usage(14, 23, 6, 20, True)


@pytest.mark.parametrize("usage", [None, {}, {"trafficType": "ON_DEMAND"}, "none"])
def test_usage_without_counts_is_unknown(player: Player, usage: Any) -> None:
    """Not a known 0."""
    assert answered(player, "vertex", {**documented("vertex"), "usageMetadata": usage}).usage == Usage()


def test_a_tool_call_finishes_as_tool_calls_though_google_says_stop(player: Player) -> None:
    """Its signature is kept, for it must go back."""
    reply = parts({"functionCall": {"name": "look_up", "args": {"x": 1}}, "thoughtSignature": "c2ln"})
    answer = answered(player, "gemini", reply)
    assert (answer.text, answer.finish_reason) == ("", "tool_calls")
    assert answer.tool_calls == (ToolCall("", "look_up", {"x": 1}, signature="c2ln"),)


@pytest.mark.parametrize("more", [{}, {"args": None}, {"args": {}, "id": None}])
def test_a_tool_call_without_arguments_has_none(player: Player, more: dict[str, Any]) -> None:
    """Proto3 leaves defaults out."""
    answer = answered(player, "gemini", parts({"functionCall": {"name": "now", **more}}))
    assert answer.tool_calls == (ToolCall("", "now", {}),)


def test_several_candidates_are_all_kept(player: Player) -> None:
    """The first is the text."""
    reply = parts({"text": "One."})
    reply["candidates"].append({"content": {"parts": [{"text": "Two."}]}, "finishReason": "STOP", "index": 1})
    assert answered(player, "gemini", reply, candidates=2).candidates == ("One.", "Two.")
    assert player.last.json["generationConfig"] == {"candidateCount": 2}


@pytest.mark.parametrize(("number", "ours"), [(1, "stop"), (2, "length"), (5, "other"), (99, "other"), (True, "stop")])
def test_finish_reasons_may_be_numbers(player: Player, number: int, ours: str) -> None:
    """Some gateways ask Google for them."""
    assert answered(player, "gemini", documented("gemini", finishReason=number)).finish_reason == ours


@pytest.mark.parametrize(
    "word", [3, 4, 7, 8, 9, "SAFETY", "RECITATION", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "MODEL_ARMOR"]
)
def test_a_blocked_answer_is_an_error_with_the_text_before_the_block(player: Player, word: Any) -> None:
    """Billed all the same."""
    error = outcome(player, "gemini", documented("gemini", finishReason=word, finishMessage="Too close to a source."))
    assert isinstance(error, BlockedError)
    assert (error.text, error.finish_reason) == ("A bat-and-ball game.", "content_filter")
    assert (error.usage.output_tokens, error.retryable, error.fatal) == (7, False, False)
    assert "Too close to a source." in str(error)
    assert str(word) in str(error)


@GOOGLE
@pytest.mark.parametrize("more", [{}, {"candidates": []}, {"candidates": None}])
def test_a_blocked_prompt_is_an_error_that_names_the_reason(player: Player, provider: str, more: dict[str, Any]) -> None:
    """There are no candidates then."""
    feedback = {
        "blockReason": "SAFETY",
        "blockReasonMessage": "Filtered here.",
        "safetyRatings": [
            {"category": "HARM_CATEGORY_HATE_SPEECH", "probability": "HIGH"},
            {"category": "HARM_CATEGORY_HARASSMENT", "probability": "LOW"},
        ],
    }
    error = outcome(player, provider, {"promptFeedback": feedback, "usageMetadata": {"promptTokenCount": 5}, **more})
    assert isinstance(error, BlockedError)
    assert error.usage == Usage(5, 0, 0, 0, True)
    assert "SAFETY; Filtered here.; HATE_SPEECH" in str(error)
    assert "HARASSMENT" not in str(error)


def test_ratings_of_a_prompt_that_was_not_blocked_are_no_block(player: Player) -> None:
    """Google sends `promptFeedback` with good answers, too."""
    reply = {**documented("gemini"), "promptFeedback": {"safetyRatings": []}}
    assert answered(player, "gemini", reply).finish_reason == "stop"


@pytest.mark.parametrize("content", [{}, None, {"role": "model"}, {"parts": []}, {"parts": None}, {"parts": [{"text": ""}]}])
def test_max_tokens_without_text_is_an_empty_answer_that_says_so(player: Player, content: Any) -> None:
    """The thoughts used the limit up."""
    error = outcome(player, "gemini", documented("gemini", content=content, finishReason="MAX_TOKENS"))
    assert isinstance(error, EmptyAnswerError)
    assert error.finish_reason == "length"
    assert "raise max_tokens" in str(error)


@pytest.mark.parametrize("word", ["MALFORMED_FUNCTION_CALL", "OTHER", "A_NEW_ONE"])
def test_an_empty_answer_names_googles_reason(player: Player, word: str) -> None:
    """So that its user can tell why."""
    error = outcome(player, "gemini", documented("gemini", content={}, finishReason=word))
    assert isinstance(error, EmptyAnswerError)
    assert (error.finish_reason, word in str(error)) == ("other", True)


def test_an_answer_without_a_finish_reason_is_an_answer(player: Player) -> None:
    """Some gateways leave it out."""
    reply = parts({"text": "A game."})
    del reply["candidates"][0]["finishReason"]
    assert answered(player, "gemini", reply).finish_reason == "stop"


@pytest.mark.parametrize("body", [{}, {"candidates": []}, {"candidates": "no"}, {"kind": "other"}, [], 5])
def test_json_without_an_answer_is_an_invalid_response(player: Player, body: Any) -> None:
    """Which is worth another try."""
    error = outcome(player, "gemini", body)
    assert isinstance(error, InvalidResponseError)
    assert error.retryable


# Errors


@GOOGLE
def test_a_list_of_one_error_is_unwrapped(player: Player, provider: str) -> None:
    """Google's form where a stream was asked for, and on its OpenAI-compatible host."""
    error = outcome(player, provider, [status(503, "UNAVAILABLE", "The model is overloaded.")], status=503)
    assert isinstance(error, InternalServerError)
    assert (error.code, error.retryable) == ("UNAVAILABLE", True)
    assert "The model is overloaded" in str(error)


@GOOGLE
def test_a_list_of_one_error_in_a_200_is_an_error(player: Player, provider: str) -> None:
    """With the status that it holds."""
    error = outcome(player, provider, [status(429, "RESOURCE_EXHAUSTED", "Slow down.")])
    assert isinstance(error, RateLimitError)
    assert error.status == 429


def test_a_quota_of_the_day_ends_the_run(player: Player) -> None:
    """A minute's wait will not help."""
    body = status(
        429, "RESOURCE_EXHAUSTED", "You exceeded your quota.", quota("GenerateRequestsPerDayPerProjectPerModel-FreeTier")
    )
    error = outcome(player, "gemini", body, status=429)
    assert isinstance(error, QuotaExceededError)
    assert (error.retryable, error.fatal) == (False, True)
    assert "tomorrow" in str(error)


def test_a_quota_of_a_minute_is_waited_for_though_the_message_speaks_of_billing(player: Player) -> None:
    """Google's words are the same for both; the quota's id tells."""
    message = "You exceeded your current quota, please check your plan and billing details."
    wait = {"@type": f"{RPC}RetryInfo", "retryDelay": "0.5s"}
    body = status(429, "RESOURCE_EXHAUSTED", message, quota("GenerateRequestsPerMinutePerProjectPerModel"), wait)
    error = outcome(player, "gemini", body, status=429)
    assert type(error) is RateLimitError
    assert (error.retryable, error.fatal, error.retry_after) == (True, False, 0.5)


def test_a_quota_of_zero_ends_the_run(player: Player) -> None:
    """The model is not in the plan."""
    body = status(429, "RESOURCE_EXHAUSTED", "Quota exceeded for metric: free_tier_requests, limit: 0. Please retry in 31.2s.")
    error = outcome(player, "gemini", body, status=429)
    assert isinstance(error, QuotaExceededError)
    assert not error.retryable


def test_a_limit_that_only_begins_with_a_zero_is_waited_for(player: Player) -> None:
    """Half a request a minute is a rate, and not none."""
    body = status(429, "RESOURCE_EXHAUSTED", "Quota exceeded, limit: 0.5 a second.")
    assert type(outcome(player, "gemini", body, status=429)) is RateLimitError


def test_a_wrong_key_is_an_authentication_error_though_it_is_a_400(player: Player) -> None:
    """Google's status for it; the reason may stand in the details alone."""
    reason = {"@type": f"{RPC}ErrorInfo", "reason": "API_KEY_INVALID", "domain": "googleapis.com"}
    for message in ("API key not valid. Please pass a valid API key.", "Bad request."):
        error = outcome(player, "gemini", status(400, "INVALID_ARGUMENT", message, reason), status=400)
        assert isinstance(error, AuthenticationError)
        assert error.fatal


@pytest.mark.parametrize("details", [None, "none", [None, 5, {"violations": [None, "x"]}], {"a": 1}])
def test_details_of_any_form_are_survived(player: Player, details: Any) -> None:
    """They are a help, not a need."""
    body = {"error": {"code": 429, "message": "Slow down.", "details": details}}
    assert type(outcome(player, "gemini", body, status=429)) is RateLimitError


def test_a_file_that_may_not_be_read_is_one_prompts_problem(player: Player) -> None:
    """Google's 403 for a file that is gone: other prompts can succeed."""
    body = status(403, "PERMISSION_DENIED", "You do not have permission to access the File abc or it may not exist.")
    error = outcome(player, "gemini", body, status=403)
    assert isinstance(error, PermissionDeniedError)
    assert (error.retryable, error.fatal) == (False, False)


def test_a_plain_400_is_a_bad_request(player: Player) -> None:
    """Never sent again."""
    error = outcome(player, "gemini", status(400, "FAILED_PRECONDITION", "User location is not supported."), status=400)
    assert isinstance(error, BadRequestError)
    assert not error.retryable


# What goes out


def test_parts_have_the_documented_shape(player: Player) -> None:
    """Bytes inline, links as file data."""
    prompt = user(
        "Look",
        Image(data=b"png"),
        Audio(data=b"wav"),
        File(data=b"pdf"),
        Image(url="gs://bucket/a.jpg", media_type="image/jpeg"),
        File(url="https://example.com/a.pdf"),
    )
    answered(player, "gemini", documented("gemini"), prompt=prompt)
    assert player.last.json["contents"] == [
        {
            "role": "user",
            "parts": [
                {"text": "Look"},
                {"inlineData": {"mimeType": "image/png", "data": "cG5n"}},
                {"inlineData": {"mimeType": "audio/wav", "data": "d2F2"}},
                {"inlineData": {"mimeType": "application/pdf", "data": "cGRm"}},
                {"fileData": {"mimeType": "image/jpeg", "fileUri": "gs://bucket/a.jpg"}},
                {"fileData": {"mimeType": "application/pdf", "fileUri": "https://example.com/a.pdf"}},
            ],
        }
    ]


def test_the_results_of_one_turn_go_back_together_with_the_calls_signatures(player: Player) -> None:
    """Calls under "model", results under "user"."""
    prompt = [
        user("Weather in Rome and Oslo?"),
        assistant(ToolCall("", "weather", {"city": "Rome"}, signature="c2ln"), ToolCall("c2", "weather", {"city": "Oslo"})),
        Message("tool", ToolResult("", "sun", "weather")),
        Message("tool", ToolResult("c2", "no data", "weather", is_error=True)),
    ]
    answered(player, "gemini", documented("gemini"), prompt=prompt)
    assert player.last.json["contents"][1:] == [
        {
            "role": "model",
            "parts": [
                {"functionCall": {"name": "weather", "args": {"city": "Rome"}}, "thoughtSignature": "c2ln"},
                {"functionCall": {"name": "weather", "args": {"city": "Oslo"}, "id": "c2"}},
            ],
        },
        {
            "role": "user",
            "parts": [
                {"functionResponse": {"name": "weather", "response": {"result": "sun"}}},
                {"functionResponse": {"name": "weather", "response": {"error": "no data"}, "id": "c2"}},
            ],
        },
    ]


def test_a_result_without_the_tools_name_is_refused(player: Player) -> None:
    """Google knows results by name."""
    error = outcome(player, "gemini", documented("gemini"), prompt=[user("Hi"), Message("tool", ToolResult("c1", "sun"))])
    assert isinstance(error, ConfigurationError)
    assert "name=" in str(error)
    assert player.sent == []


@pytest.mark.parametrize(
    ("choice", "sent"),
    [
        ("auto", {"mode": "AUTO"}),
        ("none", {"mode": "NONE"}),
        ("required", {"mode": "ANY"}),
        ("look_up", {"mode": "ANY", "allowedFunctionNames": ["look_up"]}),
    ],
)
def test_the_choice_of_a_tool_has_the_documented_shape(player: Player, choice: str, sent: Any) -> None:
    """A mode, and perhaps a name."""
    answered(player, "gemini", documented("gemini"), tools=[{"name": "look_up"}], tool_choice=choice)
    assert player.last.json["toolConfig"] == {"functionCallingConfig": sent}


def test_a_schema_asks_for_json(player: Player) -> None:
    """Both keys belong together; defaults tell a model nothing, and Gemini does not know the word."""
    schema = {"type": "object", "properties": {"name": {"type": "string", "default": "x"}}}
    answered(player, "gemini", documented_json("gemini"), schema=schema)
    sent = {"type": "object", "properties": {"name": {"type": "string"}}}
    assert player.last.json["generationConfig"] == {"responseMimeType": "application/json", "responseJsonSchema": sent}


def test_only_what_was_given_is_sent(player: Player) -> None:
    """No configuration without options."""
    answered(player, "gemini", documented("gemini"))
    assert player.last.json == {"contents": [{"role": "user", "parts": [{"text": "What is baseball?"}]}]}


# Where to


@pytest.mark.parametrize(
    ("model", "path"),
    [
        ("gemini-2.5-flash", "/v1beta/models/gemini-2.5-flash:generateContent"),
        ("models/gemini-2.5-flash", "/v1beta/models/gemini-2.5-flash:generateContent"),
        ("tunedModels/mine-123", "/v1beta/tunedModels/mine-123:generateContent"),
        ("gemini 2?x#y", "/v1beta/models/gemini%202%3Fx%23y:generateContent"),
    ],
)
def test_a_model_of_the_developer_api_may_have_its_prefix(player: Player, model: str, path: str) -> None:
    """Tuned models have one of their own."""
    answered(player, "gemini", documented("gemini"), model=model)
    assert player.last.path == path


@pytest.mark.parametrize("end", ["", "/", "/v1beta", "/v1beta/", "/v1"])
def test_the_version_may_stand_in_the_base_url(player: Player, end: str) -> None:
    """It is not said twice."""
    player.play(200, {}, documented("gemini"))
    with GeminiResponder("m", api_key=KEY, base_url=player.url + end) as responder:
        responder.answer("Hi")
    assert player.last.path == f"{end.rstrip('/') or '/v1beta'}/models/m:generateContent"


@pytest.mark.parametrize(
    ("location", "host"),
    [
        ("us-central1", "us-central1-aiplatform.googleapis.com"),
        ("europe-west4", "europe-west4-aiplatform.googleapis.com"),
        ("global", "aiplatform.googleapis.com"),
        ("us", "aiplatform.us.rep.googleapis.com"),
        ("eu", "aiplatform.eu.rep.googleapis.com"),
    ],
)
def test_the_location_names_vertexs_host(location: str, host: str) -> None:
    """A region, the world, or a continent."""
    with VertexAIResponder("m", project="p", location=location, credentials="token") as vertex:
        assert vertex.url() == f"https://{host}/v1/projects/p/locations/{location}/publishers/google/models/m:generateContent"


@pytest.mark.parametrize(
    ("model", "path"),
    [
        ("claude@20250805", "projects/p/locations/us/publishers/google/models/claude@20250805"),
        ("publishers/meta/models/llama@1", "projects/p/locations/us/publishers/meta/models/llama@1"),
        ("google/gemini-2.5-flash", "projects/p/locations/us/publishers/google/models/gemini-2.5-flash"),
        ("models/gemini-2.5-flash", "projects/p/locations/us/models/gemini-2.5-flash"),
        ("endpoints/123", "projects/p/locations/us/endpoints/123"),
        ("projects/q/locations/eu/endpoints/5", "projects/q/locations/eu/endpoints/5"),
    ],
)
def test_a_model_of_vertex_may_have_a_version_a_publisher_or_a_whole_path(model: str, path: str) -> None:
    """As Google's own SDK takes them."""
    with VertexAIResponder(model, project="p", location="us", credentials="token", base_url="https://gw.example") as vertex:
        assert vertex.url() == f"https://gw.example/v1/{path}:generateContent"


def test_project_and_location_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Google's own variables."""
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "p-env")
    monkeypatch.setenv("GOOGLE_CLOUD_LOCATION", "asia-east1")
    with VertexAIResponder("m", credentials="token") as vertex:
        assert vertex.url().startswith("https://asia-east1-aiplatform.googleapis.com/v1/projects/p-env/locations/asia-east1/")


def test_vertex_without_a_project_says_what_to_type(player: Player) -> None:
    """Before anything is sent."""
    error = outcome(player, "vertex", documented("vertex"), project=None)
    assert isinstance(error, ConfigurationError)
    assert "GOOGLE_CLOUD_PROJECT" in str(error)
    assert (error.fatal, player.sent) == (True, [])


def test_the_project_that_pays_for_quota_is_named_in_a_header(player: Player) -> None:
    """Where the credentials name one."""
    credentials = SimpleNamespace(valid=True, token=KEY, quota_project_id="payer", refresh=None)
    answered(player, "vertex", documented("vertex"), api_key=None, credentials=credentials)
    assert player.last.values("x-goog-user-project") == ["payer"]
    assert player.last.values("authorization") == [f"Bearer {KEY}"]
    answered(player, "vertex", documented("vertex"))
    assert player.last.values("x-goog-user-project") == []


def test_a_token_of_a_callable_is_asked_for_at_every_request(player: Player) -> None:
    """It may be another one each time."""
    tokens = iter(["token-one", "token-two"])
    player.play(200, {}, documented("vertex"))
    with make("vertex", player.url, api_key=None, credentials=lambda: next(tokens)) as vertex:
        vertex.answer("Hi")
        vertex.answer("Hi")
    assert [sent.values("authorization") for sent in player.sent] == [["Bearer token-one"], ["Bearer token-two"]]


def test_credentials_and_a_key_together_are_refused() -> None:
    """They mean the same."""
    with pytest.raises(ConfigurationError, match="not both"):
        VertexAIResponder("m", project="p", credentials="a", api_key="b")


def test_a_pickled_vertex_responder_keeps_project_and_location_and_no_token() -> None:
    """The receiver takes its own Application Default Credentials."""
    with VertexAIResponder("m", project="p", location="us-central1", credentials=KEY) as vertex:
        data = pickle.dumps(vertex)
        assert KEY.encode() not in data
        with pickle.loads(data) as copy:
            assert copy.url() == vertex.url()
            with pytest.raises(ConfigurationError, match="GOOGLE_APPLICATION_CREDENTIALS"):
                copy.answer("Hi")
