"""How do Gemini's batches look? Small ones hold their lines and their results, large ones are files both ways.

https://ai.google.dev/gemini-api/docs/batch-api (read 2026-11)
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from responder.call.batch_form import (
    BatchForm,
    BatchLimits,
    BatchState,
    BatchStatus,
    Order,
    Outcome,
    Uploading,
    count_of,
    look,
    not_a_batch,
    post,
    readable,
    words_of,
)
from responder.call.upload_steps import Sending, refused
from responder.providers.urls import quoted, under
from responder.values.media import Media
from responder.values.reading import as_dict, as_list, as_str

# Bytes. A request with its lines in it may have 20 MB.
_MOST_INLINE = 18_000_000

_STATUSES: Mapping[str, BatchStatus] = {
    "SUCCEEDED": "completed",
    "PARTIALLY_SUCCEEDED": "completed",
    "FAILED": "failed",
    "CANCELLING": "cancelling",
    "CANCELLED": "cancelled",
    "EXPIRED": "expired",
}

# HTTP statuses of https://github.com/googleapis/googleapis/blob/master/google/rpc/code.proto
_HTTP = {1: 499, 3: 400, 4: 504, 5: 404, 7: 403, 8: 429, 9: 400, 11: 400, 13: 500, 14: 503, 16: 401}


class GeminiBatches(BatchForm):
    """Gemini's batches."""

    # A file may have 2 GB.
    limits: ClassVar[BatchLimits] = BatchLimits(200_000, 1_000_000_000)

    def _where(self, path: str) -> str:
        return under(self.dialect.base_url, path, unless=("/v1beta", "/v1"), prefix="/v1beta")

    def uploads(self, order: Order) -> bool:
        return order.size > _MOST_INLINE

    def line(self, order: Order, name: str, body: bytes) -> bytes:
        key = json.dumps(name).encode()
        if self.uploads(order):
            return b'{"key": %b, "request": %b}' % (key, body)
        return b'{"request": %b, "metadata": {"key": %b}}' % (body, key)

    def separator(self, order: Order) -> bytes:
        return b"\n" if self.uploads(order) else b",\n"

    def uploading(self, order: Order, size: int) -> Uploading:
        file = Media(path=f"{order.mark}.jsonl", media_type="application/jsonl")
        made = yield from self.dialect.uploading(file, size)
        name = (made.file_id or "").rpartition("/files/")[2]
        if not name:
            raise refused({"uri": made.file_id}, "there is no name of the uploaded lines in the answer")
        return f"files/{name}"

    def creating(self, order: Order) -> Sending:
        dialect: Any = self.dialect
        url = dialect.model_url(":batchGenerateContent")
        if order.upload:
            return post(url, {"batch": {"displayName": order.mark, "inputConfig": {"fileName": order.upload}}}, _JSON)
        head = json.dumps({"batch": {"displayName": order.mark}})
        return Sending(url, _JSON, f'{head[:-2]}, "inputConfig": {{"requests": {{"requests": ['.encode(), b"]}}}}")

    def looking(self, batch_id: str) -> Sending:
        return look(self._where(f"/{quoted(batch_id)}"))

    def cancelling(self, batch_id: str) -> Sending:
        return post(self._where(f"/{quoted(batch_id)}:cancel"))

    def listing(self, cursor: str) -> Sending:
        return look(self._where(f"/batches?pageSize=100{'&pageToken=' + quoted(cursor, safe='') if cursor else ''}"))

    def read(self, body: Mapping[str, Any]) -> BatchState:
        about = as_dict(body.get("metadata"))
        found = as_str(body.get("name")) or as_str(about.get("name"))
        if not found:
            raise not_a_batch(body)
        word = as_str(about.get("state")).rpartition("STATE_")[2]
        counts = as_dict(about.get("batchStats"))
        failed = count_of(counts.get("failedRequestCount"))
        total = count_of(counts.get("requestCount"))
        status = _STATUSES.get(word, "running")
        if status == "running" and body.get("done") is True:
            status = "failed" if body.get("error") else "completed"
        file = as_str(_output(body).get("responsesFile"))
        results: tuple[str, ...] = ()
        if file:
            results = (self._where(f"/{quoted(file)}:download?alt=media"),)
        elif status == "completed" or _inlined(body):
            results = (self.looking(found).url,)
        return BatchState(
            found,
            status,
            total=total or None,
            done=total - count_of(counts.get("pendingRequestCount")) if total else 0,
            failed=failed,
            mark=as_str(about.get("displayName")),
            upload=as_str(as_dict(about.get("inputConfig")).get("fileName")),
            why=words_of(body.get("error")),
            results=results,
            in_pages=not file,
        )

    def read_list(self, body: Any) -> tuple[list[BatchState], str]:
        return readable(self, as_dict(body).get("operations")), as_str(as_dict(body).get("nextPageToken"))

    def page(self, body: Mapping[str, Any], url: str) -> tuple[Iterator[Mapping[str, Any]], str]:  # noqa: ARG002 - there is one
        return iter([as_dict(line) for line in _inlined(body)]), ""

    def outcome(self, line: Mapping[str, Any]) -> Outcome | None:
        name = as_str(line.get("key")) or as_str(as_dict(line.get("metadata")).get("key"))
        if not name:
            return None
        if line.get("response") is not None:
            return Outcome(name, "reply", 200, line["response"])
        error = as_dict(line.get("error")) or as_dict(line.get("status"))
        code = count_of(error.get("code"))
        if code == 1:
            return Outcome(name, "cancelled")
        status = code if 400 <= code < 600 else _HTTP.get(code, 500)
        return Outcome(name, "reply", status, {"error": {"status": "", **error, "code": status}})


_JSON = {"Content-Type": "application/json"}


def _output(body: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return where the results are said to be: Google's own client reads the one place, its guides the other."""
    return as_dict(as_dict(body.get("metadata")).get("output")) or as_dict(body.get("response"))


def _inlined(body: Mapping[str, Any]) -> list[Any]:
    found = _output(body).get("inlinedResponses")
    return as_list(as_dict(found).get("inlinedResponses")) or as_list(found)
