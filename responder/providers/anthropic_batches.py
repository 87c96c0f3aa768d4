"""How do Anthropic's batches look? All lines are in the request that makes one; the results are one file.

https://docs.anthropic.com/en/api/creating-message-batches (read 2026-11)
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, ClassVar
from urllib.parse import quote

from responder.call.batch_form import (
    BatchForm,
    BatchLimits,
    BatchState,
    BatchStatus,
    Order,
    Outcome,
    count_of,
    look,
    not_a_batch,
    post,
    readable,
)
from responder.call.upload_steps import Sending
from responder.providers.urls import under
from responder.values.reading import as_dict, as_str

_COUNTS = ("processing", "succeeded", "errored", "canceled", "expired")

# What stands for a status that a line of the results does not have: https://docs.anthropic.com/en/api/errors (read 2026-11)
_STATUSES = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "timeout_error": 504,
    "overloaded_error": 529,
}


class AnthropicBatches(BatchForm):
    """Anthropic's Message Batches. They have no names: one is told from others by when it was made, its size, and its lines."""

    # 100,000 lines, 256 MB.
    limits: ClassVar[BatchLimits] = BatchLimits(100_000, 240_000_000)
    is_named: ClassVar[bool] = False

    def _where(self, path: str = "") -> str:
        return under(self.dialect.base_url, f"/messages/batches{path}", unless=("/v1",), prefix="/v1")

    def line(self, order: Order, name: str, body: bytes) -> bytes:  # noqa: ARG002 - it is one form
        return b'{"custom_id": %b, "params": %b}' % (json.dumps(name).encode(), body)

    def separator(self, order: Order) -> bytes:  # noqa: ARG002 - as above
        return b",\n"

    def uploads(self, order: Order) -> bool:  # noqa: ARG002 - as above
        return False

    def creating(self, order: Order) -> Sending:
        return Sending(self._where(), {"Content-Type": "application/json", **order.headers}, b'{"requests": [', b"]}")

    def looking(self, batch_id: str) -> Sending:
        return look(self._where(f"/{quote(batch_id, safe='')}"))

    def cancelling(self, batch_id: str) -> Sending:
        return post(self._where(f"/{quote(batch_id, safe='')}/cancel"))

    def listing(self, cursor: str) -> Sending:
        after = f"&after_id={quote(cursor, safe='')}" if cursor else ""
        return look(self._where(f"?limit=100{after}"))

    def read(self, body: Mapping[str, Any]) -> BatchState:
        found, word = as_str(body.get("id")), as_str(body.get("processing_status"))
        if not found or not word:
            raise not_a_batch(body)
        counts = {name: count_of(as_dict(body.get("request_counts")).get(name)) for name in _COUNTS}
        total = sum(counts.values())
        status: BatchStatus = "running"
        if word == "canceling":
            status = "cancelling"
        elif word == "ended":
            status = "expired" if counts["expired"] else "cancelled" if counts["canceled"] else "completed"
        return BatchState(
            found,
            status,
            total=total or None,
            done=total - counts["processing"],
            failed=counts["errored"] + counts["canceled"] + counts["expired"],
            # Where the results are is said, too, in a URL of the provider's own host; behind a gateway that is another one.
            results=(self._where(f"/{quote(found, safe='')}/results"),) if body.get("results_url") else (),
        )

    def read_list(self, body: Any) -> tuple[list[BatchState], str]:
        found = readable(self, as_dict(body).get("data"))
        return found, found[-1].id if found and as_dict(body).get("has_more") is True else ""

    def outcome(self, line: Mapping[str, Any]) -> Outcome | None:
        name, result = as_str(line.get("custom_id")), as_dict(line.get("result"))
        kind = as_str(result.get("type"))
        if not name or not kind:
            return None
        if kind == "succeeded":
            return Outcome(name, "reply", 200, result.get("message"))
        if kind in ("expired", "canceled"):
            return Outcome(name, "expired" if kind == "expired" else "cancelled")
        error = as_dict(result.get("error"))
        inner = as_dict(error.get("error")) or error
        request_id = as_str(error.get("request_id")) or None
        return Outcome(name, "reply", _STATUSES.get(as_str(inner.get("type")), 500), {"error": inner}, request_id)
