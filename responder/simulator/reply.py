"""What goes out: a reply that is ready to be sent, and a problem that a dialect has yet to put into words."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

# Where a simulator in another process takes its orders.
CONTROL_PREFIX = "/_simulator/"
JSON_TYPE = "application/json"
SSE_TYPE = "text/event-stream; charset=utf-8"

# One piece of a stream: the bytes as they go out, and how many output tokens they carry (the pace counts tokens).
Event = tuple[bytes, int]

_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def encode(value: Any) -> str:
    """Return compact JSON text, characters outside ASCII as they are (as the real providers send them)."""
    return _encode(value)


def to_bytes(text: str) -> bytes:
    """Encode as UTF-8; half of a surrogate pair, which JSON allows and UTF-8 does not, becomes a question mark."""
    return text.encode("utf-8", "replace")


@dataclass
class Reply:
    """One HTTP response.

    Attributes:
        body: The body of a plain reply.
        status: HTTP status.
        headers: Response headers, without content type and length.
        content_type: Value of the content-type header.
        events: Pieces of a streamed body; None for a plain reply.
        error: True if the provider refuses.
    """

    body: bytes = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    content_type: str = JSON_TYPE
    events: list[Event] | None = None
    error: bool = False

    def whole(self) -> bytes:
        """Return the complete body, streamed or not."""
        return self.body if self.events is None else b"".join(data for data, _ in self.events)


@dataclass(frozen=True)
class Problem:
    """Why a request is refused, in no provider's words.

    Attributes:
        status: HTTP status.
        kind: "invalid", "authentication", "billing", "permission", "missing_path", "missing_model", "too_large",
            "rate", "insufficient_quota", "daily_quota", "server", "overloaded", "timeout".
        message: The error's text; "" for the dialect's usual words.
        param: Name of the request's field that is to blame.
        code: The dialect's code; None for the one that goes with the kind.
        wait: Seconds until a retry is worthwhile; None if unknown.
        scope: What ran out: "requests", "tokens" or "day".
        details: Numbers for the message: limit, used, requested, model.
        said_wait: Seconds to name in the message only, for providers that put the wait in words.
    """

    status: int
    kind: str
    message: str = ""
    param: str | None = None
    code: str | None = None
    wait: float | None = None
    scope: str = "requests"
    details: Mapping[str, Any] = field(default_factory=dict)
    said_wait: float | None = None


class RefusalError(Exception):
    """Carries a problem from where it is found to where it is put into words."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.message or problem.kind)
        self.problem = problem


_KINDS = {
    401: "authentication", 402: "billing", 403: "permission", 404: "missing_path", 408: "timeout", 413: "too_large",
    429: "rate", 500: "server", 502: "server", 503: "overloaded", 504: "timeout", 529: "overloaded",
}  # fmt: skip


def kind_of(status: int) -> str:
    """Return the usual meaning of a status."""
    return _KINDS.get(status, "server" if status >= 500 else "invalid")


def refuse(
    status: int, message: str, *, kind: str = "invalid", param: str | None = None, code: str | None = None
) -> RefusalError:
    """Build the exception that refuses a request."""
    return RefusalError(Problem(status, kind, message, param, code))
