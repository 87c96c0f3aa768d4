"""Which odd replies did people report? Real ones, as data: what providers, gateways and firewalls send when things go wrong.

`Fault.reported(name)` serves one of them. Bodies as quoted in the public issues of the programs that met them, with names and
numbers made up.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_HTML = "text/html; charset=utf-8"
_EVENTS = "text/event-stream; charset=utf-8"


@dataclass(frozen=True)
class Reported:
    """A reply that someone received.

    Attributes:
        status: HTTP status.
        body: Anything JSON, or the text as it came.
        means: What it comes to: "blocked" (the prompt's filter), "spent" (no credit, or no more for today), "wait" (too fast),
            "key", "account", "model", "own" (this prompt's problem), "unclear" (does not say) or "failed" (worth a retry).
        content_type: Of the body.
    """

    status: int
    body: Any
    means: str
    content_type: str = "application/json"


REPORTED: Mapping[str, Reported] = {
    # Filters
    "xai_guidelines": Reported(
        403,
        {
            "code": "The caller does not have permission to execute the specified operation",
            "error": "Content violates usage guidelines. Team: t, API key ID: k, Model: m, Failed check: SAFETY_CHECK_TYPE_BIO",
        },
        "blocked",
    ),
    "deepseek_risk": Reported(
        400,
        {"error": {"message": "Content Exists Risk", "type": "invalid_request_error", "code": "invalid_request_error"}},
        "blocked",
    ),
    "alibaba_inspection": Reported(
        400,
        {
            "error": {
                "code": "data_inspection_failed",
                "message": "Input data may contain inappropriate content.",
                "type": "data_inspection_failed",
            },
            "request_id": "r-1",
        },
        "blocked",
    ),
    "moonshot_risk": Reported(
        400,
        {
            "error": {
                "code": 400,
                "message": "The request was rejected because it was considered high risk",
                "param": "prompt",
                "type": "content_filter",
            }
        },
        "blocked",
    ),
    "minimax_sensitive": Reported(200, {"base_resp": {"status_code": 1026, "status_msg": "input new_sensitive"}}, "blocked"),
    "anthropic_output": Reported(
        400,
        {
            "type": "error",
            "error": {"type": "invalid_request_error", "message": "Output blocked by content filtering policy"},
            "request_id": "req_1",
        },
        "blocked",
    ),
    "openrouter_moderation": Reported(
        403,
        {
            "error": {
                "code": 403,
                "message": 'm requires moderation on P. Your input was flagged for "violence".',
                "metadata": {"reasons": ["violence"], "provider_name": "P"},
            }
        },
        "blocked",
    ),
    # Money, and the day
    "anthropic_usage": Reported(
        400,
        {
            "type": "error",
            "error": {
                "type": "invalid_request_error",
                "message": "You have reached your specified API usage limits. You will regain access on 2030-01-01 at 00:00 UTC.",
            },
        },
        "spent",
    ),
    "openrouter_day": Reported(
        429,
        {
            "error": {
                "message": "Rate limit exceeded: free-models-per-day. Add 10 credits to unlock 1000 free model requests per day",
                "code": 429,
                "metadata": {"headers": {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "1893456000000"}},
            }
        },
        "spent",
    ),
    "xai_credits": Reported(
        403,
        {
            "code": "x",
            "error": "Your team t has either used all available credits or reached its monthly spending limit.",
        },
        "spent",
    ),
    "zai_balance": Reported(
        429,
        {"error": {"code": "1113", "message": "Insufficient balance or no resource package. Please recharge."}},
        "spent",
    ),
    "minimax_balance": Reported(200, {"base_resp": {"status_code": 1008, "status_msg": "insufficient balance"}}, "spent"),
    # Too fast
    "openrouter_minute": Reported(
        429,
        {
            "error": {
                "message": "Rate limit exceeded: free-models-per-min. Add 10 credits to unlock 1000 free model requests per day",
                "code": 429,
            }
        },
        "wait",
    ),
    "gateway_minutes": Reported(429, {"statusCode": 429, "message": "Rate limit is exceeded. Try again in 2 minutes."}, "wait"),
    "cloudflare_1015": Reported(429, "error code: 1015", "wait", "text/plain"),
    # The key, the account, the model
    "xai_key": Reported(
        400, {"code": "Client specified an invalid argument", "error": "Incorrect API key provided: x***y."}, "key"
    ),
    "groq_organization": Reported(
        400,
        {
            "error": {
                "message": "Organization has been restricted. Please reach out to support.",
                "type": "invalid_request_error",
                "code": "organization_restricted",
            }
        },
        "account",
    ),
    "google_region": Reported(
        400,
        {"error": {"code": 400, "message": "User location is not supported for the API use.", "status": "FAILED_PRECONDITION"}},
        "account",
    ),
    "groq_retired": Reported(
        400,
        {"error": {"message": "The model `m` has been decommissioned.", "code": "model_decommissioned"}},
        "model",
    ),
    # One prompt's own
    "openrouter_images": Reported(404, {"error": {"message": "No endpoints found that support image input", "code": 404}}, "own"),
    "google_file": Reported(
        403,
        {
            "error": {
                "code": 403,
                "message": "You do not have permission to access the File f or it may not exist.",
                "status": "PERMISSION_DENIED",
            }
        },
        "own",
    ),
    # Nobody's in words
    "firewall_page": Reported(
        403,
        "<!DOCTYPE html><html><head><title>Attention Required!</title></head><body>Sorry, you have been blocked</body></html>",
        "unclear",
        _HTML,
    ),
    "bare_403": Reported(403, "", "unclear", "text/plain"),
    "bare_404": Reported(404, "404 page not found", "unclear", "text/plain"),
    # Errors in a 200
    "error_text": Reported(200, {"error": "the upstream failed"}, "failed"),
    "error_object": Reported(200, {"object": "error", "message": "the engine died", "code": 503}, "failed"),
    "success_false": Reported(200, {"success": False, "errors": [{"code": 3000, "message": "it failed"}]}, "failed"),
    "upstream_words": Reported(
        200,
        {
            "error": {
                "message": "Provider returned error",
                "code": 502,
                "metadata": {"raw": '{"error":{"message":"The upstream is overloaded"}}', "provider_name": "P"},
            }
        },
        "failed",
    ),
    "error_line": Reported(200, 'error: {"message": "the engine died", "code": 503}\n\n', "failed", _EVENTS),
    "error_words": Reported(200, "event: error\ndata: the engine died\n\n", "failed", _EVENTS),
    "done_alone": Reported(200, "data: [DONE]\n\n", "failed", _EVENTS),
    "empty_stream": Reported(200, "", "failed", _EVENTS),
}
