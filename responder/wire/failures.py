"""Which error is this reply? From an HTTP status and a body of any provider to one error of ours, with advice.

Read leniently: error bodies come as JSON of a dozen shapes, under any content type, or as HTML of some gateway.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping
from typing import Any

from responder.values.errors import (
    APIError,
    APIStatusError,
    AuthenticationError,
    BadRequestError,
    BlockedError,
    InternalServerError,
    NotFoundError,
    PermissionDeniedError,
    QuotaExceededError,
    RateLimitError,
)
from responder.wire.waits import wait_hint

# 408 and 409 are repeated by the providers' own SDKs; 498 is Groq's full flex tier, 424 a model that failed behind a gateway;
# 520-524 come from Cloudflare, 529 is Anthropic's "overloaded".
_RETRYABLE = frozenset({408, 409, 424, 425, 429, 498, 500, 502, 503, 504, 520, 521, 522, 523, 524, 529})

# Codes and types that mean "no money"; messages are judged by narrower words, since Google's ordinary rate limit also tells
# people to look at their billing details.
_QUOTA_CODE = re.compile(
    r"insufficient_quota|credit_balance|insufficient_balance|spend_limit|usage_limit_exceeded|billing|payment_required",
    re.IGNORECASE,
)
_QUOTA_MESSAGE = re.compile(
    r"credit balance is too low|insufficient (?:balance|credits|funds)|no credits|out of credits|budget.{0,20}exceeded",
    re.IGNORECASE,
)
# "Request too large for MODEL ... Limit 30000, Requested 30601": this request alone is above the limit of a minute.
_TOO_LARGE = re.compile(r"request too large|Limit:? (?P<limit>\d+),.*Requested:? (?P<requested>\d+)", re.IGNORECASE | re.DOTALL)
_CONTEXT = re.compile(
    r"context_length_exceeded|exceed_context_size|maximum context length|prompt is too long|context window"
    r"|string_above_max_length",
    re.IGNORECASE,
)
# A 403 or 404 that is one prompt's problem, not the run's: OpenRouter's moderation, a file of Google's that is gone, and
# Together's way of saying that the prompt is too long.
_ONE_PROMPT = re.compile(rf"moderation|flagged|access the file|{_CONTEXT.pattern}", re.IGNORECASE)
_WRONG_KEY = re.compile(
    r"API_KEY_INVALID|api key not valid|invalid[_ ]api[_ ]key|incorrect api key|invalid x-api-key", re.IGNORECASE
)
_REQUEST_IDS = (
    "x-request-id",
    "request-id",
    "apim-request-id",
    "x-amzn-requestid",
    "mistral-correlation-id",
    "x-groq-id",
    "x-goog-request-id",
    "cf-ray",
)
_SECRET = re.compile(r"((?:key|token|sig|signature|secret|password)=)[^&\s\"']+", re.IGNORECASE)
_KEY_LIKE = re.compile(r"\b(?:sk|gsk|xai|hf|AIza|ya29)[-_.][A-Za-z0-9*_.\-]{6,}|\bAIza[\w\-]{10,}")


def request_id(headers: Mapping[str, str], body: Any = None) -> str | None:
    """Return the provider's id of a request: from its headers (names in lower case), else from the body; None without one."""
    for name in _REQUEST_IDS:
        if headers.get(name):
            return headers[name]
    found = body.get("request_id") if isinstance(body, Mapping) else None
    return found if isinstance(found, str) else None


def read_error_body(body: bytes) -> Any:
    """Return an error body as parsed JSON, or as text of at most 2,000 characters; a list of one is unwrapped."""
    text = body.decode("utf-8-sig", "replace").strip()
    try:
        parsed = json.loads(text)
    except (ValueError, RecursionError):
        return text[:2000]
    return parsed[0] if isinstance(parsed, list) and len(parsed) == 1 else parsed


def error_from_reply(
    status: int, headers: Mapping[str, str], body: Any, *, provider: str, model: str, where: str, reason: str = ""
) -> APIError:
    """Return the error that a reply means.

    Args:
        status: HTTP status, or the code inside an error object that came with a 200.
        headers: Names in lower case.
        body: As `read_error_body` gives it.
        provider: The provider's name.
        model: The model that was asked.
        where: The URL that was asked, without its query.
        reason: The status in words.
    """
    message = masked(_message(body) or reason or "no message").rstrip(".")
    code = _code(body)
    words = f"{code or ''} {_type(body)} {_reasons(body)} {message}"
    details: dict[str, Any] = {
        "provider": provider,
        "model": model,
        "status": status,
        "request_id": request_id(headers, body),
        "code": code,
    }
    if _is_content_filter(status, body, words):
        filtered = _filtered(body)
        return BlockedError(
            f"{provider} blocked the prompt{f' ({filtered})' if filtered else ''}: {message}. "
            "Change the prompt, or the filter's settings",
            finish_reason="content_filter",
            body=body,
            **details,
        )
    kind, advice = _kind(status, body, words, f"{code or ''} {_type(body)}", message)
    retryable, fatal = status in _RETRYABLE, False
    if kind is AuthenticationError or kind is QuotaExceededError:
        retryable, fatal = False, True
    elif kind is PermissionDeniedError or kind is NotFoundError:
        retryable, fatal = False, _ONE_PROMPT.search(words) is None
    elif _TOO_LARGE.search(message) and _above_limit(message):
        kind, retryable, advice = BadRequestError, False, "This request alone is above the limit: make it shorter"
    if code == "tool_use_failed":
        retryable = True  # Groq: the model wrote a broken tool call; the next try may be fine
    verdict = headers.get("x-should-retry")
    if verdict in ("true", "false") and not fatal:
        retryable = verdict == "true"
    wait = wait_hint(headers, body, time.time()) if retryable or kind in (RateLimitError, QuotaExceededError) else None
    label = f"{status} {code}" if code and code != str(status) else str(status)
    text = f"{provider} answered {label} for {model!r} at {where}: {message}"
    return kind(
        f"{text}. {advice}" if advice else text,
        body=body,
        retryable=retryable,
        retry_after=wait,
        fatal=fatal,
        **details,
    )


_STATUS_OF_WORD = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "invalid_api_key": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "rate_limit_exceeded": 429,
    "insufficient_quota": 429,
    "RESOURCE_EXHAUSTED": 429,
    "overloaded_error": 529,
}


def status_inside(error: Any) -> int:
    """Return the HTTP status that an error object inside a 200 stands for; 500 where it does not say."""
    if not isinstance(error, Mapping):
        return 500
    for name in ("code", "status_code", "status"):
        code = error.get(name)
        if isinstance(code, str) and code.isdecimal() and len(code) == 3:
            code = int(code)
        if isinstance(code, int) and not isinstance(code, bool) and 400 <= code < 600:
            return code
    words = (error.get("code"), error.get("type"), error.get("status"))
    return next((_STATUS_OF_WORD[word] for word in words if isinstance(word, str) and word in _STATUS_OF_WORD), 500)


def _kind(status: int, body: Any, words: str, codes: str, message: str) -> tuple[type[APIStatusError], str]:
    if status == 401 or (status in (400, 403) and _WRONG_KEY.search(words)):
        return AuthenticationError, "Check the key: it is wrong, has expired, or belongs to another endpoint"
    broke = _QUOTA_CODE.search(codes) or _QUOTA_MESSAGE.search(message)
    if status == 402 or (status in (400, 403, 429) and broke):
        return QuotaExceededError, "Waiting will not help: add credit or raise the spending limit"
    if status == 429:
        if _is_daily_quota(body, words):
            return (
                QuotaExceededError,
                "The quota of the day is used up: waiting a minute will not help. Raise it (billing), or go on tomorrow",
            )
        return RateLimitError, ""
    if status == 403:
        return (
            PermissionDeniedError,
            "The key is known, but may not do this: look at its permissions, project and region",
        )
    if status == 404:
        return NotFoundError, "Check the model's name and base_url"
    if status >= 500 or status in (424, 498):
        return InternalServerError, ""
    if 300 <= status < 400:
        return BadRequestError, "Redirects are not followed, because they would carry the key along: correct base_url"
    if _CONTEXT.search(words):
        return (
            BadRequestError,
            "The prompt is too long for this model: shorten it, or take a model with a larger context",
        )
    return BadRequestError, ""


def _is_content_filter(status: int, body: Any, words: str) -> bool:
    error = body.get("error") if isinstance(body, Mapping) else None
    inner = error.get("innererror") if isinstance(error, Mapping) else None
    if isinstance(inner, Mapping) and inner.get("code") == "ResponsibleAIPolicyViolation":
        return True
    told = re.search(r"\bcontent_filter\b|content_policy_violation|result of our safety system", words)
    return status == 400 and told is not None


def _filtered(body: Any) -> str:
    """Return which of Azure's filters blocked the prompt; its documents spell the key in two ways."""
    error = body.get("error") if isinstance(body, Mapping) else None
    inner = error.get("innererror") if isinstance(error, Mapping) else None
    given = inner if isinstance(inner, Mapping) else {}
    results = given.get("content_filter_result") or given.get("content_filter_results")
    found = results.items() if isinstance(results, Mapping) else ()
    return ", ".join(str(name) for name, result in found if isinstance(result, Mapping) and result.get("filtered"))


def _is_daily_quota(body: Any, words: str) -> bool:
    error = body.get("error") if isinstance(body, Mapping) else None
    details = error.get("details") if isinstance(error, Mapping) else None
    for detail in details if isinstance(details, list) else ():
        violations = detail.get("violations") if isinstance(detail, Mapping) else None
        for violation in violations if isinstance(violations, list) else ():
            if isinstance(violation, Mapping) and "PerDay" in str(violation.get("quotaId", "")):
                return True
    return re.search(r"limit: 0(?!\.?\d)|tokens per day|requests per day|per 86400s|\bRPD\b|\bTPD\b", words) is not None


def _above_limit(message: str) -> bool:
    found = _TOO_LARGE.search(message)
    if found is None or not found["limit"]:
        return found is not None
    return int(found["requested"]) > int(found["limit"])


def _message(body: Any) -> str:
    """Return what an error body of any shape says to a person."""
    if isinstance(body, str):
        return re.sub(r"(?:<[^>]*>|\s)+", " ", body).strip()[:500]  # HTML of a gateway becomes readable
    if not isinstance(body, Mapping):
        return ""
    error = body.get("error")
    candidates = [
        error.get("message") if isinstance(error, Mapping) else None,
        error,
        body.get("message"),
        body.get("Message"),
        body.get("detail"),
        error.get("error") if isinstance(error, Mapping) else None,
        body.get("errors"),
    ]
    for candidate in candidates:
        text = _as_text(candidate)
        if text:
            return text[:500]
    try:
        return json.dumps(body, ensure_ascii=False)[:500] if body else ""
    except RecursionError:
        return ""


def _as_text(found: Any, depth: int = 5) -> str:
    if isinstance(found, str):
        return found.strip()
    if isinstance(found, Mapping) and depth:
        return _as_text(found.get("message") or found.get("msg"), depth - 1)
    if isinstance(found, list) and depth:
        return "; ".join(filter(None, (_as_text(item, depth - 1) for item in found)))
    return ""


def _code(body: Any) -> str | None:
    if not isinstance(body, Mapping):
        return None
    error = body.get("error")
    inner: Mapping[str, Any] = error if isinstance(error, Mapping) else {}
    code = inner.get("code")
    found = [
        code if isinstance(code, str) else None,
        inner.get("status"),
        inner.get("type"),
        body.get("code"),
        code,
        body.get("type"),
    ]
    return next(
        (masked(str(word)[:100]) for word in found if isinstance(word, (str, int)) and not isinstance(word, bool) and word != ""),
        None,
    )


def _type(body: Any) -> str:
    error = body.get("error") if isinstance(body, Mapping) else None
    return str(error.get("type") or "") if isinstance(error, Mapping) else ""


def _reasons(body: Any) -> str:
    """Return the reasons in the details of a Google error: its message is not always as clear."""
    error = body.get("error") if isinstance(body, Mapping) else None
    details = error.get("details") if isinstance(error, Mapping) else None
    found = [detail.get("reason") for detail in (details if isinstance(details, list) else ()) if isinstance(detail, Mapping)]
    return " ".join(reason for reason in found if isinstance(reason, str))


def masked(text: str) -> str:
    """Return a text without what looks like a key: some providers quote the one that they refuse."""
    return _KEY_LIKE.sub("***", _SECRET.sub(r"\1***", text))
