"""How do OpenAI, and the hosts of its dialect, say no, and how near a limit is? Words, shapes of error bodies, headers.

Source: https://platform.openai.com/docs/guides/error-codes and the published OpenAPI document (read 2026-08).
"""

# ruff: noqa: ARG001 - one signature for all shapes, of which each uses what it needs
from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from responder.simulator.limits import LimitState
from responder.simulator.reply import Problem

# kind of problem -> (type, code, usual words)
USUAL: dict[str, tuple[str, str | None, str]] = {
    "authentication": (
        "invalid_request_error",
        "invalid_api_key",
        "Incorrect API key provided. You can find your API key at https://platform.openai.com/account/api-keys.",
    ),
    "billing": ("billing_error", None, "Payment is required."),
    "permission": ("invalid_request_error", None, "You are not allowed to do this."),
    "missing_path": ("invalid_request_error", None, "Unknown request URL. Please check the URL for typos."),
    "missing_model": (
        "invalid_request_error",
        "model_not_found",
        "The model `{model}` does not exist or you do not have access to it.",
    ),
    "too_large": ("invalid_request_error", None, "The request is too large."),
    "rate": ("requests", "rate_limit_exceeded", "Rate limit reached."),
    "insufficient_quota": (
        "insufficient_quota",
        "insufficient_quota",
        "You exceeded your current quota, please check your plan and billing details.",
    ),
    "daily_quota": (
        "insufficient_quota",
        "insufficient_quota",
        "You exceeded your current quota: no requests are left for today.",
    ),
    "server": ("server_error", None, "The server had an error while processing your request. Sorry about that!"),
    "overloaded": (
        "service_unavailable_error",
        "server_is_overloaded",
        "The engine is currently overloaded, please try again later",
    ),
    "timeout": ("server_error", None, "The request timed out."),
    "invalid": ("invalid_request_error", None, "The request is not valid."),
}


def go_duration(seconds: float) -> str:
    """Write seconds as Go does, which is how OpenAI states its resets: `4ms`, `8.64s`, `1m4.296s`, `2h3m0s`."""
    milliseconds = round(seconds * 1000)
    if milliseconds < 1000:
        return f"{milliseconds}ms" if milliseconds else "0s"
    minutes, rest = divmod(milliseconds, 60_000)
    last = f"{rest / 1000:.3f}".rstrip("0").rstrip(".") + "s"
    if not minutes:
        return last
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes}m{last}" if hours else f"{minutes}m{last}"


def rate_message(problem: Problem) -> str:
    """Return the words of OpenAI for a limit that was reached."""
    numbers = problem.details
    what = {"tokens": "tokens per min (TPM)", "requests": "requests per min (RPM)", "day": "requests per day (RPD)"}[
        problem.scope
    ]
    if numbers.get("too_large"):
        return (
            f"Request too large for {numbers['model']} in organization org-simulated on {what}: Limit "
            f"{numbers['limit']}, Requested "
            f"{numbers['requested']}. The input or output tokens must be reduced in order to run successfully."
        )
    return (
        f"Rate limit reached for {numbers['model']} in organization org-simulated on {what}: Limit "
        f"{numbers['limit']}, Used "
        f"{numbers['used']}, Requested {numbers['requested']}. Please try again in {go_duration(problem.wait or 0.0)}."
    )


def _openai_error(problem: Problem, code: str | None, kind: str, message: str) -> dict[str, Any]:
    return {"error": {"message": message, "type": kind, "param": problem.param, "code": code}}


def _mistral_error(problem: Problem, code: str | None, kind: str, message: str) -> dict[str, Any]:
    if problem.status == 422:
        return {"detail": [{"type": "extra_forbidden", "loc": ["body", problem.param], "msg": message}]}
    if problem.status == 429:
        return {"message": "Requests rate limit exceeded"}
    return {
        "object": "error",
        "message": message,
        "type": kind,
        "param": None,
        "code": "1300",
        "raw_status_code": problem.status,
    }


def _xai_error(problem: Problem, code: str | None, kind: str, message: str) -> dict[str, Any]:
    return {"code": code or kind, "error": message}


def _vllm_error(problem: Problem, code: str | None, kind: str, message: str) -> dict[str, Any]:
    return {"error": {"message": message, "type": "BadRequestError", "param": problem.param, "code": problem.status}}


def _openrouter_error(problem: Problem, code: str | None, kind: str, message: str) -> dict[str, Any]:
    return {
        "error": {"message": message, "code": problem.status, "metadata": {"provider_name": None}},
        "user_id": "user_simulated",
    }


def _huggingface_error(problem: Problem, code: str | None, kind: str, message: str) -> dict[str, Any]:
    return {"error": message}


def _voyage_error(problem: Problem, code: str | None, kind: str, message: str) -> dict[str, Any]:
    return {"detail": message}


def _google_error(problem: Problem, code: str | None, kind: str, message: str) -> list[dict[str, Any]]:
    words = {
        400: "INVALID_ARGUMENT",
        401: "UNAUTHENTICATED",
        403: "PERMISSION_DENIED",
        404: "NOT_FOUND",
        429: "RESOURCE_EXHAUSTED",
    }
    return [{"error": {"code": problem.status, "message": message, "status": words.get(problem.status, "UNAVAILABLE")}}]


def _llamacpp_error(problem: Problem, code: str | None, kind: str, message: str) -> dict[str, Any]:
    return {"error": {"code": problem.status, "message": message, "type": kind}}


ERROR_SHAPES: dict[str, Callable[[Problem, str | None, str, str], Any]] = {
    "openai": _openai_error,
    "mistral": _mistral_error,
    "xai": _xai_error,
    "vllm": _vllm_error,
    "openrouter": _openrouter_error,
    "huggingface": _huggingface_error,
    "llamacpp": _llamacpp_error,
    "voyage": _voyage_error,
    "google": _google_error,
}


_LIMIT_NAMES = {
    "openai": ("requests", "tokens"),
    "mistral": ("req-minute", "tokens-minute"),
    "cerebras": ("requests-minute", "tokens-minute"),
}


def limit_headers(form: str, state: LimitState, written: Callable[[float], str]) -> dict[str, str]:
    """Return the rate limit headers of a host.

    Args:
        form: As `Host.limits` names it.
        state: How near the limits are.
        written: Writes the seconds until a limit is reset.
    """
    if form == "none":
        return {}
    if form == "openrouter":
        if state.request_limit is None:
            return {}
        reset = int((time.time() + state.requests_reset) * 1000)
        return {
            "x-ratelimit-limit": str(state.request_limit),
            "x-ratelimit-remaining": str(state.requests_left),
            "x-ratelimit-reset": str(reset),
        }
    requests, tokens = _LIMIT_NAMES[form]
    headers: dict[str, str] = {}
    for limit, left, reset_in, suffix in (
        (state.request_limit, state.requests_left, state.requests_reset, requests),
        (state.token_limit, state.tokens_left, state.tokens_reset, tokens),
    ):
        if limit is not None:
            headers[f"x-ratelimit-limit-{suffix}"] = str(limit)
            headers[f"x-ratelimit-remaining-{suffix}"] = str(left)
            if form != "mistral":
                headers[f"x-ratelimit-reset-{suffix}"] = written(reset_in)
    return headers
