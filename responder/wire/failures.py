"""Which error is this reply? From an HTTP status and a body of any provider to one error of ours, with advice.

`verdicts.py` has what the words mean, `error_bodies.py` finds them. An error ends a run (`fatal`) only if it
names the key, the account, the project, the region, the model or the address; a 403 or 404 that says nothing may be
one prompt's own (a firewall that dislikes its words, a file that is gone), and is marked as `suspect` instead.
"""

from __future__ import annotations

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
from responder.wire import verdicts
from responder.wire.error_bodies import (
    Told,
    error_status,
    is_page,
    layers,
    read_error_body,
    request_id,
    request_id_of_error,
    told,
)
from responder.wire.masking import masked
from responder.wire.verdicts import says
from responder.wire.waits import wait_hint

__all__ = ["error_from_reply", "error_status", "masked", "read_error_body", "request_id"]

# The providers' own SDKs retry 408 and 409; 498 is Groq's full flex tier, 424 a model that failed behind a gateway; 421
# is answered on another connection, 425 and 449 ask for a retry.
_RETRYABLE = frozenset({408, 409, 421, 424, 425, 429, 449, 498})
# Servers, proxies and gateways fail under any other number from 500 on (520 to 530 come from Cloudflare, 529 is Anthropic's
# "overloaded", 598 and 599 are timeouts of proxies). These three are permanent: not implemented, HTTP version, log in first.
_FINAL = frozenset({501, 505, 511})

# "Request too large for MODEL ... Limit 30000, Requested 30601": this request alone exceeds the limit per minute.
_TOO_LARGE = re.compile(r"request too large|Limit:? (?P<limit>\d+),.*Requested:? (?P<requested>\d+)", re.IGNORECASE | re.DOTALL)

_KEY_ADVICE = "Check the key: it is wrong, has expired, or belongs to another endpoint"
_MONEY_ADVICE = "Waiting will not help: add credit or raise the spending limit"
_DAY_ADVICE = "The daily quota is used up: waiting a minute will not help. Raise it (billing), or continue tomorrow"
_ACCOUNT_ADVICE = "The key is known, but may not do this: check its permissions, project and region"
_MODEL_ADVICE = "Check the model's name and base_url"
_ADDRESS_ADVICE = "There is nothing at this URL: check base_url"
_LONG_ADVICE = "The prompt is too long for this model: shorten it, or use a model with a larger context"
_REDIRECT_ADVICE = "Redirects are not followed, because they would take the key along: correct base_url"
_PROXY_ADVICE = "A proxy requires a login: put user and password in its URL"
_PAGE_ADVICE = "A web page answered instead of the API: a firewall may have blocked the prompt, or base_url is wrong"


def error_from_reply(
    status: int,
    headers: Mapping[str, str],
    body: Any,
    *,
    provider: str,
    model: str,
    where: str,
    reason: str = "",
    secret: str = "",
) -> APIError:
    """Return the error that a reply means.

    Args:
        status: HTTP status, or what `error_status` says of an object that came with a 200.
        headers: Names in lower case.
        body: As `read_error_body` gives it.
        provider: The provider's name.
        model: The model that was asked.
        where: The URL that was asked, without its query.
        reason: The status in words.
        secret: The key that was sent, which the error must not show.
    """
    body = masked(body, secret)
    said = told(body, headers)
    message = masked(said.message or reason or "no message", secret)[:600].rstrip(".")
    code = masked(said.code, secret) if said.code else None
    details: dict[str, Any] = {
        "provider": provider,
        "model": model,
        "status": status,
        "request_id": masked(request_id_of_error(headers, body), secret),
        "code": code,
    }
    if _is_blocked(status, body, said, provider, where):
        filtered = _filtered(body)
        return BlockedError(
            f"{provider} blocked the prompt{f' ({filtered})' if filtered else ''}: {message}. "
            "Change the prompt, or the filter's settings",
            finish_reason="content_filter",
            body=body,
            **details,
        )
    verdict = _verdict(status, body, said, model, _meaning_of_number(said, provider, where))
    kind, retryable = verdict.kind, verdict.retryable
    if code in verdicts.MODELS_SLIP:
        retryable = True
    asked = headers.get("x-should-retry")
    if asked in ("true", "false") and not verdict.fatal:
        retryable = asked == "true"
    wait = wait_hint(headers, body, time.time()) if retryable or issubclass(kind, RateLimitError) else None
    label = f"{status} {code}" if code and code != str(status) else str(status)
    text = f"{provider} answered {label} for {model!r} at {where}: {message}"
    error = kind(
        f"{text}. {verdict.advice}" if verdict.advice else text,
        body=body,
        retryable=retryable,
        retry_after=wait,
        fatal=verdict.fatal,
        **details,
    )
    error.suspect = verdict.suspect and not retryable
    return error


class _Verdict:
    """What an error reply means."""

    __slots__ = ("advice", "fatal", "kind", "retryable", "suspect")

    def __init__(
        self, kind: type[APIStatusError], advice: str = "", *, retryable: bool = False, fatal: bool = False, suspect: bool = False
    ) -> None:
        self.kind = kind
        self.advice = advice
        self.retryable = retryable
        self.fatal = fatal
        self.suspect = suspect


def _verdict(status: int, body: Any, said: Told, model: str, number: str) -> _Verdict:
    """Decide, from the clearest evidence to the vaguest: money, key, rate, size, then what the status alone says."""
    page = is_page(body)
    words = "" if page else said.words
    spent = _spent(status, body, said, number) if not page else None
    if status == 402 or spent is not None:
        own = says(verdicts.TOO_DEAR, words)  # the credit does not cover this prompt; shorter ones may still pass
        return _Verdict(QuotaExceededError, spent or _MONEY_ADVICE, fatal=not own)
    if status == 401 or number == "key" or (400 <= status < 500 and status != 404 and says(verdicts.WRONG_KEY, words)):
        return _Verdict(AuthenticationError, _KEY_ADVICE, fatal=True)
    if status == 407:
        return _Verdict(BadRequestError, _PROXY_ADVICE, fatal=True)
    if status == 429 or number == "rate" or (status in (400, 403, 420) and says(verdicts.RATE, words)):
        return _rate(said.message)
    if status >= 500 or status < 300:
        return _Verdict(InternalServerError, retryable=status not in _FINAL)
    if status in (424, 498):
        return _Verdict(InternalServerError, retryable=True)
    if status < 400:
        return _Verdict(BadRequestError, _REDIRECT_ADVICE, suspect=True)
    return _refusal(status, words, model, number, page)


def _rate(message: str) -> _Verdict:
    if says(verdicts.TOO_LONG, message):
        return _Verdict(BadRequestError, _LONG_ADVICE)
    if _TOO_LARGE.search(message) and _above_limit(message):
        return _Verdict(BadRequestError, "This request alone exceeds the limit: make it shorter")
    return _Verdict(RateLimitError, retryable=True)


def _refusal(status: int, words: str, model: str, number: str, page: bool) -> _Verdict:
    """Classify a 4xx that is not about the key, money or rate: is the prompt at fault, or the setup?"""
    usual = {403: PermissionDeniedError, 404: NotFoundError}.get(status, BadRequestError)
    if says(verdicts.TOO_LONG, words) or number == "long":
        return _Verdict(usual, _LONG_ADVICE)
    if number == "account" or says(verdicts.ACCOUNT, words):
        return _Verdict(usual, _ACCOUNT_ADVICE, fatal=True)
    if says(verdicts.ONE_PROMPT, words):
        return _Verdict(usual, retryable=status in _RETRYABLE)
    if number == "model" or says(verdicts.MODEL, words) or (status == 404 and _names(model, words)):
        return _Verdict(usual, _ACCOUNT_ADVICE if status == 403 else _MODEL_ADVICE, fatal=True)
    if says(verdicts.ADDRESS, words):
        return _Verdict(usual, _ADDRESS_ADVICE, fatal=True)
    advice = {403: _ACCOUNT_ADVICE, 404: _MODEL_ADVICE}.get(status, "")
    # Nothing says what is at fault. If all prompts get it, the address or the key; if others passed, the prompt.
    suspect = status in (403, 404, 405, 410, 451) or page
    return _Verdict(usual, _PAGE_ADVICE if page else advice, retryable=status in _RETRYABLE, suspect=suspect)


def _spent(status: int, body: Any, said: Told, number: str) -> str | None:
    """Return advice if the reply says that money or a daily quota is used up, so that waiting does not help."""
    if number == "spent":
        return _MONEY_ADVICE
    if says(verdicts.SPENT_CODES, said.codes):
        return _MONEY_ADVICE
    if says(verdicts.SPENT_MONEY, said.message):
        return _MONEY_ADVICE
    window = verdicts.long_window(said.words)
    if window is not False and says(verdicts.SPENT_WORDS, said.message):
        return _MONEY_ADVICE
    limited = status == 429 or (status in (400, 401, 403) and says(verdicts.RATE, said.words))
    if limited and (window is True or _is_daily_quota(body)):
        return _DAY_ADVICE
    return None


def _is_blocked(status: int, body: Any, said: Told, provider: str, where: str) -> bool:
    if status in (401, 402, 407) or is_page(body):
        return False
    if says(verdicts.CLOSED, said.words):
        return False  # an account that was closed for what it sent
    base = body.get("base_resp") if isinstance(body, Mapping) else None
    if isinstance(base, Mapping) and str(base.get("status_code")) in verdicts.MINIMAX_BLOCKED:
        return True
    if _meaning_of_number(said, provider, where) == "blocked":
        return True
    if status in (400, 403, 422, 451) and says(verdicts.PERHAPS_BLOCKED, said.words):
        return not says(verdicts.ACCOUNT, said.words)
    return says(verdicts.BLOCKED, said.words)


def _meaning_of_number(said: Told, provider: str, where: str) -> str:
    """Return what a provider's own number means, if it uses them (Z.ai and BigModel); "" for all others."""
    if provider != "zai" and not re.search(r"//[^/]*\b(?:z\.ai|bigmodel\.cn)\b", where):
        return ""
    return verdicts.ZAI.get(said.code or "", "")


def _names(model: str, words: str) -> bool:
    """Return whether a text names the model that was asked."""
    name = model.rpartition("/")[2]
    return len(name) > 2 and re.search(rf"(?<![\w.\-]){re.escape(name)}(?![\w\-])", words, re.IGNORECASE) is not None


def _filtered(body: Any) -> str:
    """Return which of Azure's filters blocked the prompt; its documentation spells the key in two ways."""
    for layer in layers(body):
        results = layer.get("content_filter_result") or layer.get("content_filter_results")
        found = results.items() if isinstance(results, Mapping) else ()
        filtered = ", ".join(str(name) for name, result in found if isinstance(result, Mapping) and result.get("filtered"))
        if filtered:
            return filtered
    return ""


def _is_daily_quota(body: Any) -> bool:
    """Return whether one of the quotas that Google names counts over a day."""
    return any(isinstance(layer.get("quotaId"), str) and "PerDay" in layer["quotaId"] for layer in layers(body))


def _above_limit(message: str) -> bool:
    found = _TOO_LARGE.search(message)
    if found is None or not found["limit"]:
        return found is not None
    return int(found["requested"][:30]) > int(found["limit"][:30])
