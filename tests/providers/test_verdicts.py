"""What providers really send when things go wrong, as people reported it: one verdict on each, as a reply, in a 200 and in a stream."""

# ruff: noqa: E501, RUF001 - the bodies stand as they came, a line each

from __future__ import annotations

import json
from typing import Any

import pytest
from providers.contract import make, outcome
from wire.player import Player

from responder import (
    APIError,
    AuthenticationError,
    BadRequestError,
    BlockedError,
    NotFoundError,
    PermissionDeniedError,
    QuotaExceededError,
    RateLimitError,
    ResponderError,
)

ONE_PROMPTS = [
    # A filter, in many words.
    ("xai", 403, {"code": "The caller does not have permission to execute the specified operation", "error": "Content violates usage guidelines. Team: t, API key ID: k, Model: grok-4, Failed check: SAFETY_CHECK_TYPE_BIO"}, BlockedError),
    ("xai", 403, {"code": "...", "error": "Content violates usage guidelines. Failed check: SAFETY_CHECK_TYPE_CSAM"}, BlockedError),
    ("deepseek", 400, {"error": {"message": "Content Exists Risk", "type": "invalid_request_error", "param": None, "code": "invalid_request_error"}}, BlockedError),
    ("zai", 400, {"error": {"code": "1301", "message": "System detected potentially unsafe or sensitive content in input or generation."}}, BlockedError),
    ("zai", 400, {"contentFilter": [{"level": 1, "role": "user"}], "error": {"code": "1301", "message": "系统检测到输入或生成内容可能包含不安全或敏感内容，请您避免输入易产生敏感内容的提示语，感谢您的配合。"}}, BlockedError),
    ("compatible", 400, {"error": {"code": "data_inspection_failed", "param": None, "message": "Input data may contain inappropriate content.", "type": "data_inspection_failed"}, "id": "chatcmpl-1", "request_id": "r-1"}, BlockedError),
    ("compatible", 400, {"error": {"message": "<400> InternalError.Algo.DataInspectionFailed: Input text data may contain inappropriate content.", "type": "invalid_request_error"}}, BlockedError),
    ("compatible", 400, {"error": {"code": 400, "message": "The request was rejected because it was considered high risk", "param": "prompt", "type": "content_filter"}}, BlockedError),
    ("compatible", 500, {"type": "error", "error": {"type": "api_error", "message": "input new_sensitive (1026)"}}, BlockedError),
    ("compatible", 451, {"error": {"message": "The content you provided or machine outputted is blocked.", "type": "censorship_blocked"}}, BlockedError),
    ("azure", 400, {"error": {"message": "The response was filtered due to the prompt triggering Azure OpenAI's content management policy.", "code": "content_filter", "status": 400}}, BlockedError),
    ("azure", 400, {"error": {"message": "x", "code": None, "innererror": {"code": "ResponsibleAIPolicyViolation", "content_filter_result": {"hate": {"filtered": True}}}}}, BlockedError),
    ("openrouter", 403, {"error": {"code": 403, "message": "openai/gpt-4o requires moderation on OpenAI. Your input was flagged for \"violence\".", "metadata": {"reasons": ["violence"], "flagged_input": "x", "provider_name": "OpenAI"}}}, BlockedError),
    ("openrouter", 400, {"error": {"message": "Provider returned error", "code": 400, "metadata": {"raw": "{\"error\":{\"message\":\"Content Exists Risk\",\"type\":\"invalid_request_error\"}}", "provider_name": "DeepSeek"}}}, BlockedError),
    ("openai", 400, {"error": {"message": "Invalid prompt: your prompt was flagged as potentially violating our usage policy. Please try again with a different prompt: https://platform.openai.com/docs/guides/reasoning#advice-on-prompting", "type": "invalid_request_error", "param": None, "code": "invalid_prompt"}}, BlockedError),
    ("openai", 400, {"error": {"message": "x", "code": "content_policy_violation"}}, BlockedError),
    ("anthropic", 400, {"type": "error", "error": {"type": "invalid_request_error", "message": "Output blocked by content filtering policy"}, "request_id": "req_1"}, BlockedError),
    ("gemini", 400, {"error": {"code": 400, "message": "The prompt could not be submitted. This prompt contains sensitive words that violate Google's Responsible AI practices.", "status": "INVALID_ARGUMENT"}}, BlockedError),
    ("gemini", 400, {"error": {"code": 400, "message": "Request blocked: PROHIBITED_CONTENT", "status": "INVALID_ARGUMENT"}}, BlockedError),
    ("groq", 400, {"error": {"message": "Request blocked by safety system", "type": "invalid_request_error", "code": "content_filter"}}, BlockedError),
    ("mistral", 403, {"object": "error", "message": "The request was flagged by moderation", "type": "moderation", "code": "1920"}, BlockedError),
    ("compatible", 400, {"error": {"message": "Violated guardrail policy", "type": "None", "code": "400"}}, BlockedError),
    # What one prompt asks for, and one route lacks.
    ("openrouter", 404, {"error": {"message": "No endpoints found that support image input", "code": 404}}, NotFoundError),
    ("openrouter", 404, {"error": {"message": "No endpoints found that support tool use. Try disabling \"question\". To learn more about provider routing, visit: https://openrouter.ai/docs", "code": 404}}, NotFoundError),
    ("openrouter", 402, {"error": {"message": "Prompt tokens limit exceeded: 36163 > 29652. To increase, visit https://openrouter.ai/settings/credits and upgrade to a paid account", "code": 402}}, QuotaExceededError),
    ("anthropic", 429, {"type": "error", "error": {"type": "rate_limit_error", "message": "Extra usage is required for long context requests."}}, BadRequestError),
    ("gemini", 403, {"error": {"code": 403, "message": "You do not have permission to access the File abc or it may not exist.", "status": "PERMISSION_DENIED"}}, PermissionDeniedError),
    ("openai", 404, {"error": {"message": "No such File object: file-abc", "type": "invalid_request_error", "param": "id", "code": None}}, NotFoundError),
    ("openai", 400, {"error": {"message": "Error while downloading https://x/y.png.", "code": "invalid_image_url", "type": "invalid_request_error"}}, BadRequestError),
    ("openai", 400, {"error": {"message": "The model could not read the image: file not found", "code": None}}, BadRequestError),
    ("openai", 404, {"error": {"message": "Previous response with id 'resp_1' not found.", "code": "previous_response_not_found"}}, NotFoundError),
    ("together", 403, {"error": {"message": "This model's maximum context length is 8192 tokens"}}, PermissionDeniedError),
    # Nothing says whose fault it is.
    ("openai", 403, b"<!DOCTYPE html>\n<html class=\"no-js\" lang=\"en-US\"><head><title>Attention Required! | Cloudflare</title></head><body><h1>Sorry, you have been blocked</h1><p>Your IP address: 1.2.3.4. A firewall rule blocked your account. Enter your API key</p></body></html>", PermissionDeniedError),
    ("openai", 403, b"<html><head><title>403 Forbidden</title></head><body><center><h1>403 Forbidden</h1></center><hr><center>nginx</center></body></html>", PermissionDeniedError),
    ("openai", 403, b"", PermissionDeniedError),
    ("openai", 403, {"message": "Forbidden"}, PermissionDeniedError),
    ("openai", 403, {"error": {"message": "Something else", "code": "odd"}}, PermissionDeniedError),
    ("openai", 404, b"404 page not found", NotFoundError),
    ("openai", 404, {"detail": "Not Found"}, NotFoundError),
    ("azure", 404, {"error": {"code": "404", "message": "Resource not found"}}, NotFoundError),
    ("openai", 405, {"detail": "Method Not Allowed"}, BadRequestError),
]  # fmt: skip

THE_RUNS = [
    # The key.
    ("gemini", 400, {"error": {"code": 400, "message": "API key not valid. Please pass a valid API key.", "status": "INVALID_ARGUMENT", "details": [{"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID"}]}}, AuthenticationError),
    ("gemini", 403, {"error": {"code": 403, "message": "Your API key was reported as leaked. Please use another API key.", "status": "PERMISSION_DENIED"}}, AuthenticationError),
    ("gemini", 403, {"error": {"code": 403, "message": "Method doesn't allow unregistered callers (callers without established identity).", "status": "PERMISSION_DENIED"}}, AuthenticationError),
    ("xai", 400, {"code": "Client specified an invalid argument", "error": "Incorrect API key provided: xa***ey."}, AuthenticationError),
    ("openrouter", 401, {"error": {"message": "User not found.", "code": 401}}, AuthenticationError),
    ("openai", 401, b"<html>Unauthorized</html>", AuthenticationError),
    ("openai", 403, {"error": {"message": "You have insufficient permissions for this operation. Missing scopes: model.request.", "type": "invalid_request_error", "code": None}}, PermissionDeniedError),
    ("anthropic", 403, {"type": "error", "error": {"type": "permission_error", "message": "Your API key does not have permission to use the specified resource."}}, PermissionDeniedError),
    # The account and its organisation.
    ("groq", 400, {"error": {"message": "Organization has been restricted. Please reach out to support if you believe this was in error.", "type": "invalid_request_error", "code": "organization_restricted"}}, BadRequestError),
    ("groq", 403, {"error": {"message": "The model `groq/compound` is blocked at the organization level. Please have the org admin enable this model", "type": "permissions_error", "code": "model_permission_blocked_org"}}, PermissionDeniedError),
    ("groq", 403, {"error": {"message": "Access denied. Please check your network settings."}}, PermissionDeniedError),
    ("anthropic", 400, {"type": "error", "error": {"type": "invalid_request_error", "message": "This organization has been disabled."}}, BadRequestError),
    ("compatible", 403, {"error": {"message": "Access terminated. Review our Community Guidelines or contact support", "type": "access_terminated_error"}}, PermissionDeniedError),
    ("openai", 403, {"error": {"message": "Your account was flagged for potential abuse and has been deactivated due to violations of our usage policies.", "code": "account_deactivated"}}, PermissionDeniedError),
    ("compatible", 400, {"code": "Arrearage", "message": "Access denied, please make sure your account is in good standing."}, QuotaExceededError),
    ("openrouter", 404, {"error": {"message": "No endpoints found matching your data policy (Free model publication). Configure: https://openrouter.ai/settings/privacy", "code": 404}}, NotFoundError),
    ("openrouter", 404, {"error": {"message": "No allowed providers are available for the selected model.", "code": 404}}, NotFoundError),
    # The project and the region.
    ("vertex", 403, {"error": {"code": 403, "message": "Vertex AI API has not been used in project 72 before or it is disabled.", "status": "PERMISSION_DENIED", "details": [{"reason": "SERVICE_DISABLED"}]}}, PermissionDeniedError),
    ("vertex", 403, [{"error": {"code": 403, "message": "Permission 'aiplatform.endpoints.predict' denied on resource '//aiplatform.googleapis.com/projects/p' (or it may not exist).", "status": "PERMISSION_DENIED"}}], PermissionDeniedError),
    ("compatible", 403, {"error": {"message": {"error": {"code": 403, "message": "Permission denied on resource project x.", "status": "PERMISSION_DENIED", "details": [{"reason": "CONSUMER_INVALID"}]}}, "code": 403, "status": "Forbidden"}}, PermissionDeniedError),
    ("openai", 403, {"error": {"code": "unsupported_country_region_territory", "message": "Country, region, or territory not supported", "param": None, "type": "request_forbidden"}}, PermissionDeniedError),
    ("gemini", 400, {"error": {"code": 400, "message": "User location is not supported for the API use.", "status": "FAILED_PRECONDITION"}}, BadRequestError),
    ("azure", 403, {"error": {"code": "403", "message": "Access denied due to Virtual Network/Firewall rules."}}, PermissionDeniedError),
    ("azure", 403, {"error": {"code": "AccessDenied", "message": "Public access is disabled. Please configure private endpoint."}}, PermissionDeniedError),
    # The model.
    ("openai", 404, {"error": {"message": "The model `m-1` does not exist or you do not have access to it.", "type": "invalid_request_error", "param": None, "code": "model_not_found"}}, NotFoundError),
    ("openai", 403, {"error": {"message": "Project `proj_1` does not have access to model `m-1`", "type": "invalid_request_error", "code": "model_not_found"}}, PermissionDeniedError),
    ("anthropic", 404, {"type": "error", "error": {"type": "not_found_error", "message": "model: claude-9"}}, NotFoundError),
    ("gemini", 404, {"error": {"code": 404, "message": "models/gemini-x is not found for API version v1beta, or is not supported for generateContent. Call ListModels", "status": "NOT_FOUND"}}, NotFoundError),
    ("vertex", 404, {"error": {"code": 404, "message": "Publisher Model `projects/p/locations/l/publishers/google/models/x` was not found or your project does not have access to it.", "status": "NOT_FOUND"}}, NotFoundError),
    ("azure", 404, {"error": {"code": "DeploymentNotFound", "message": "The API deployment for this resource does not exist. If you created the deployment within the last 5 minutes, please wait a moment and try again."}}, NotFoundError),
    ("deepseek", 400, {"error": {"message": "Model Not Exist", "type": "invalid_request_error", "code": "invalid_request_error"}}, BadRequestError),
    ("mistral", 400, {"object": "error", "message": "Invalid model: mistral-x", "type": "invalid_model", "code": "1500"}, BadRequestError),
    ("groq", 400, {"error": {"message": "The model `x` has been decommissioned and is no longer supported.", "code": "model_decommissioned"}}, BadRequestError),
    ("openrouter", 400, {"error": {"message": "foo/bar is not a valid model ID", "code": 400}}, BadRequestError),
    ("ollama", 404, {"error": "model \"m-1\" not found, try pulling it first"}, NotFoundError),
    ("compatible", 404, {"object": "error", "message": "Nothing is known as m-1 here.", "code": 404}, NotFoundError),
    # The address.
    ("groq", 404, {"error": {"message": "Unknown request URL: POST /openai/v2/chat/completions. Please check the URL for typos", "code": "unknown_url"}}, NotFoundError),
    ("openai", 404, {"error": {"message": "Invalid URL (POST /v1/v1/chat/completions)", "type": "invalid_request_error", "code": None}}, NotFoundError),
    ("compatible", 404, {"message": "no Route matched with those values"}, NotFoundError),
    ("openai", 407, b"<html>Proxy Authentication Required</html>", BadRequestError),
    # Money, and the day.
    ("anthropic", 400, {"type": "error", "error": {"type": "invalid_request_error", "message": "You have reached your specified API usage limits. You will regain access on 2026-12-01 at 00:00 UTC."}}, QuotaExceededError),
    ("anthropic", 400, {"type": "error", "error": {"type": "invalid_request_error", "message": "Your credit balance is too low to access the Anthropic API."}}, QuotaExceededError),
    ("openrouter", 429, {"error": {"message": "Rate limit exceeded: free-models-per-day. Add 10 credits to unlock 1000 free model requests per day", "code": 429, "metadata": {"headers": {"X-RateLimit-Limit": "50", "X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "1795737600000"}}}}, QuotaExceededError),
    ("openrouter", 402, {"error": {"message": "This request requires more credits, or fewer max_tokens. You requested up to 64000 tokens, but can only afford 2666.", "code": 402}}, QuotaExceededError),
    ("openrouter", 403, {"error": {"message": "Key limit exceeded (total limit). Manage it using https://openrouter.ai/settings/keys", "code": 403}}, QuotaExceededError),
    ("xai", 429, {"code": "Some resource has been exhausted", "error": "Your team 16f2 has either used all available credits or reached its monthly spending limit. To continue making API requests, please purchase more credits or raise your spending limit."}, QuotaExceededError),
    ("xai", 403, {"code": "x", "error": "Your team 16f2 has either used all available credits or reached its monthly spending limit."}, QuotaExceededError),
    ("zai", 429, {"error": {"code": "1113", "message": "Insufficient balance or no resource package. Please recharge."}}, QuotaExceededError),
    ("zai", 429, {"error": {"code": "1113", "message": "余额不足或无可用资源包,请充值。"}}, QuotaExceededError),
    ("zai", 429, {"error": {"code": "1308", "message": "Usage limit reached for 5 hour. Your limit will reset at 2026-12-01 10:00:00"}}, QuotaExceededError),
    ("compatible", 403, {"error": {"message": "Your account org-1 is not active, organization org-1 exceeded current quota, please check your plan and billing details", "type": "exceeded_current_quota_error"}}, QuotaExceededError),
    ("compatible", 500, {"type": "error", "error": {"type": "api_error", "message": "insufficient balance (1008)"}}, QuotaExceededError),
    ("compatible", 429, {"error": {"http_code": "429", "message": "insufficient balance (1008)", "type": "insufficient_balance_error"}}, QuotaExceededError),
    ("compatible", 403, {"code": "INSUFFICIENT_BALANCE", "message": "Insufficient account balance"}, QuotaExceededError),
    ("huggingface", 402, {"error": "You have exceeded your monthly included credits for Inference Providers."}, QuotaExceededError),
    ("fireworks", 412, {"error": {"message": "Account x is suspended, possibly due to reaching the monthly spending limit or failure to pay past invoices.", "code": "PRECONDITION_FAILED"}}, QuotaExceededError),
    ("openai", 429, {"error": {"message": "You exceeded your current quota, please check your plan and billing details.", "type": "insufficient_quota", "param": None, "code": "insufficient_quota"}}, QuotaExceededError),
    ("compatible", 401, {"error": {"message": "You exceeded your current quota, please check your plan and billing details.", "type": "insufficient_quota", "code": 401}}, QuotaExceededError),
    ("groq", 429, {"error": {"message": "Rate limit reached for model `x` in organization `o` on tokens per day (TPD): Limit 100000, Used 99999, Requested 2000. Please try again in 28m48s. Need more tokens? Upgrade to Dev Tier today at https://console.groq.com/settings/billing", "type": "tokens", "code": "rate_limit_exceeded"}}, QuotaExceededError),
    ("openai", 429, {"error": {"message": "Rate limit reached for gpt-4o on requests per day (RPD): Limit 200, Used 200, Requested 1. Please try again in 7m12s.", "code": "rate_limit_exceeded"}}, QuotaExceededError),
    ("compatible", 429, {"message": "You are using a Trial key, which is limited to 1000 API calls / month."}, QuotaExceededError),
    ("azure", 403, {"statusCode": 403, "message": "Out of call volume quota. Quota will be replenished in 08:12:44."}, QuotaExceededError),
    ("gemini", 429, {"error": {"code": 429, "message": "You exceeded your current quota.", "status": "RESOURCE_EXHAUSTED", "details": [{"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [{"quotaId": "GenerateRequestsPerDayPerProjectPerModel-FreeTier"}]}]}}, QuotaExceededError),
    ("openrouter", 429, {"error": {"message": "Provider returned error", "code": 429, "metadata": {"raw": {"error": {"message": "You exceeded your current quota", "code": "insufficient_quota"}}}}}, QuotaExceededError),
    ("compatible", 400, {"error": {"message": "Budget has been exceeded! Current cost: 10.1, Max budget: 10.0", "type": "budget_exceeded", "code": "400"}}, QuotaExceededError),
]  # fmt: skip

WAITS = [
    ("openrouter", 429, {"error": {"message": "Rate limit exceeded: free-models-per-min. Add 10 credits to unlock 1000 free model requests per day", "code": 429}}),
    ("openai", 429, {"error": {"message": "Rate limit reached for m on requests per min. Limit: 3 / min. Please try again in 20s. Please add a payment method to your account to increase your rate limit.", "code": "rate_limit_exceeded", "type": "requests"}}),
    ("openai", 429, {"error": {"message": "Rate limit reached for gpt-4o on tokens per min (TPM): Limit 30000, Used 29000, Requested 2000. Please try again in 6ms.", "code": "rate_limit_exceeded"}}),
    ("anthropic", 429, {"type": "error", "error": {"type": "rate_limit_error", "message": "This request would exceed your organization's rate limit of 40,000 input tokens per minute. Please reduce the prompt length or try again later."}}),
    ("anthropic", 429, {"type": "error", "error": {"type": "rate_limit_error", "message": "Number of request tokens has exceeded your per-minute rate limit"}}),
    ("gemini", 429, {"error": {"code": 429, "message": "You exceeded your current quota, please check your plan and billing details.", "status": "RESOURCE_EXHAUSTED", "details": [{"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [{"quotaId": "GenerateRequestsPerMinutePerProjectPerModel-FreeTier"}]}]}}),
    ("groq", 429, {"error": {"message": "Rate limit reached for model `x` on tokens per minute (TPM): Limit 6000, Used 5000, Requested 2000. Please try again in 7.66s. Need more tokens? Upgrade to Dev Tier today at https://console.groq.com/settings/billing", "type": "tokens", "code": "rate_limit_exceeded"}}),
    ("zai", 429, {"error": {"code": "1302", "message": "High concurrency usage of this API, please reduce concurrency or contact customer service to increase limits"}}),
    ("azure", 429, {"statusCode": 429, "message": "Rate limit is exceeded. Try again in 11 seconds."}),
    ("azure", 429, {"error": {"code": "429", "message": "Requests to the ChatCompletions_Create Operation have exceeded token rate limit of your current OpenAI S0 pricing tier. Please retry after 6 seconds. Please go here: https://aka.ms/oai/quotaincrease if you would like to further increase the default rate limit."}}),
    ("mistral", 429, {"message": "Requests rate limit exceeded"}),
    ("mistral", 429, {"object": "error", "message": "Service tier capacity exceeded for this model.", "type": "service_tier_capacity_exceeded", "code": "3505"}),
    ("openrouter", 429, {"error": {"message": "Provider returned error", "code": 429, "metadata": {"raw": "x is temporarily rate-limited upstream. Please retry shortly, or add your own key", "provider_name": "BaseTen"}}}),
    ("compatible", 429, {"message": "You are using a Trial key, which is limited to 10 API calls / minute."}),
    ("compatible", 429, b"error code: 1015"),
    ("compatible", 403, {"error": {"code": 403, "message": "x", "errors": [{"reason": "rateLimitExceeded"}]}}),
    ("compatible", 400, {"__type": "ThrottlingException", "message": "Rate exceeded"}),
]  # fmt: skip


def named(cases: list[Any]) -> list[Any]:
    """Give each case a name that says which provider and status it is."""
    return [pytest.param(*case, id=f"{number}-{case[0]}-{case[1]}") for number, case in enumerate(cases)]


@pytest.mark.parametrize(("provider", "status", "body", "kind"), named(ONE_PROMPTS))
def test_what_is_one_prompts_own_ends_no_run(player: Player, provider: str, status: int, body: Any, kind: type[APIError]) -> None:
    """A filter, a picture, a file, a page of a firewall: one request, an error of its own, and the others go on."""
    error = outcome(player, provider, body, status=status, max_retries=2)
    assert type(error) is kind
    assert (error.fatal, error.retryable, len(player.sent)) == (False, False, 1)


@pytest.mark.parametrize(("provider", "status", "body", "kind"), named(THE_RUNS))
def test_what_no_other_prompt_can_survive_ends_the_run(
    player: Player, provider: str, status: int, body: Any, kind: type[APIError]
) -> None:
    """The key, the account, the project, the region, the model, the address, the money: one request, and no more."""
    error = outcome(player, provider, body, status=status, max_retries=2)
    assert type(error) is kind
    assert (error.fatal, error.retryable, error.suspect, len(player.sent)) == (True, False, False, 1)


@pytest.mark.parametrize(("provider", "status", "body"), named(WAITS))
def test_a_limit_of_the_minute_is_waited_for(player: Player, provider: str, status: int, body: Any) -> None:
    """Also where its words advertise a bigger plan, or come under another status."""
    error = outcome(player, provider, body, status=status)
    assert type(error) is RateLimitError
    assert (error.fatal, error.retryable) == (False, True)


# --- The same in a 200 ------------------------------------------------------------------------------------------------

INSIDE = [
    pytest.param(*case[:3], id=f"{number}-{case[0]}-{case[1]}")
    for number, case in enumerate([*ONE_PROMPTS, *THE_RUNS, *WAITS])
    if isinstance(case[2], dict) and "error" in case[2]
]


def failure(player: Player, provider: str, body: bytes) -> ResponderError:
    """Return the error that a stream of these bytes ends in."""
    player.play(200, {"content-type": "text/event-stream"}, body)
    url = player.url + ("/v1" if provider == "ollama" else "")
    with make(provider, url) as responder, pytest.raises(ResponderError) as caught:
        list(responder.stream("Hi"))
    return caught.value


def facts(error: Any) -> dict[str, Any]:
    """Return what a program sees of an error; a wait until some moment grows shorter with each call."""
    names = ("status", "code", "request_id", "retryable", "fatal", "suspect")
    wait = None if error.retry_after is None else pytest.approx(error.retry_after, abs=30)
    return {"kind": type(error), "message": str(error), "wait": wait, **{name: getattr(error, name) for name in names}}


@pytest.mark.parametrize(("provider", "status", "body"), INSIDE)
def test_an_error_in_a_200_is_the_same_as_under_its_own_status(player: Player, provider: str, status: int, body: Any) -> None:
    """As a whole reply, as an event of a stream, and in a stream that was none."""
    own = outcome(player, provider, body, status=status)
    whole = outcome(player, provider, body)
    data = json.dumps(body).encode()
    for stream in (b"data: " + data + b"\n\n", data):
        assert facts(failure(player, provider, stream)) == facts(whole)
    if whole.status == 500 != status:
        assert whole.retryable  # without its own status, nothing says that a repeat is useless
    else:
        assert (whole.retryable, whole.fatal, whole.code) == (own.retryable, own.fatal, own.code)
        assert isinstance(whole, BlockedError) is isinstance(own, BlockedError)
        assert isinstance(whole, RateLimitError) is isinstance(own, RateLimitError)
