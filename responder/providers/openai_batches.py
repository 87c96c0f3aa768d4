"""How do OpenAI's batches look, and those of the hosts that took over its form? A file of lines goes up, two files come back.

https://platform.openai.com/docs/api-reference/batch (read 2026-11), and the published clients of Groq, Together, Mistral and xAI
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar
from urllib.parse import quote

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
    path_of,
    post,
    readable,
    words_of,
)
from responder.call.upload_steps import Sending, multipart, refused
from responder.providers.urls import under
from responder.values.media import Media
from responder.values.reading import as_dict, as_list, as_str

# Batches on a page of the list; 100 is the most that OpenAI gives.
_PAGE = 100

# Whatever is not here goes on: validating, in_progress, finalizing, QUEUED, RUNNING, and what may come.
_STATUSES: Mapping[str, BatchStatus] = {
    "completed": "completed",
    "success": "completed",
    "failed": "failed",
    "expired": "expired",
    "timeout_exceeded": "expired",
    "cancelling": "cancelling",
    "cancellation_requested": "cancelling",
    "cancelled": "cancelled",
    "canceled": "cancelled",
}

# "Enqueued token limit reached for gpt-4o in organization ...": https://github.com/openai/openai-python/issues/2084
_HELD_UP = ("token_limit_exceeded", "enqueued token limit", "enqueued_token")


class OpenAIBatches(BatchForm):
    """OpenAI's batches."""

    # 200 MB and 50,000 lines; the bytes leave room for how others count them.
    limits: ClassVar[BatchLimits] = BatchLimits(50_000, 190_000_000)
    takes_texts: ClassVar[bool] = True
    purpose: ClassVar[str] = "batch"
    window: ClassVar[str] = "24h"
    takes_metadata: ClassVar[bool] = True

    def where(self, path: str) -> str:
        """Return the URL of a path of this API."""
        return under(self.dialect.base_url, path)

    def line(self, order: Order, name: str, body: bytes) -> bytes:
        head = json.dumps({"custom_id": name, "method": "POST", "url": path_of(order.url)})
        return b'%b, "body": %b}' % (head[:-1].encode(), body)

    def uploading(self, order: Order, size: int) -> Uploading:  # noqa: ARG002 - the form says it
        file = Media(path=f"{order.mark}.jsonl", media_type="application/jsonl")
        received = yield multipart(self.where("/files"), file, self.form_fields(file), {})
        found = as_str(received.body.get("id"))
        if not found:
            raise refused(received.body, "there is no id of the uploaded lines in the answer")
        return found

    def form_fields(self, file: Media) -> dict[str, str]:  # noqa: ARG002 - for those that want its name
        """Return what the form of the upload has beside the file."""
        return {"purpose": self.purpose}

    def creating(self, order: Order) -> Sending:
        body: dict[str, Any] = {
            "input_file_id": order.upload,
            "endpoint": path_of(order.url),
            "completion_window": self.window,
        }
        if self.takes_metadata:
            body["metadata"] = {"responder": order.mark}
        return post(self.where("/batches"), body, {"Content-Type": "application/json"})

    def looking(self, batch_id: str) -> Sending:
        return look(self.where(f"/batches/{quote(batch_id, safe='')}"))

    def cancelling(self, batch_id: str) -> Sending:
        return post(self.where(f"/batches/{quote(batch_id, safe='')}/cancel"))

    def listing(self, cursor: str) -> Sending:
        after = f"&after={quote(cursor, safe='')}" if cursor else ""
        return look(self.where(f"/batches?limit={_PAGE}{after}"))

    def read(self, body: Mapping[str, Any]) -> BatchState:
        body = as_dict(body.get("job")) or body  # Together wraps it
        found = as_str(body.get("id"))
        word = as_str(body.get("status")).lower()
        if not found or not word:
            raise not_a_batch(body)
        counts = as_dict(body.get("request_counts"))
        failed = count_of(counts.get("failed"))
        why = words_of(body.get("errors")) or words_of(body.get("error"))
        files = [as_str(body.get(name)) for name in ("output_file_id", "error_file_id")]
        return BatchState(
            found,
            _STATUSES.get(word, "running"),
            total=count_of(counts.get("total")) or None,
            done=count_of(counts.get("completed")) + failed,
            failed=failed,
            mark=as_str(as_dict(body.get("metadata")).get("responder")),
            upload=as_str(body.get("input_file_id")),
            why=why,
            is_held_up=word == "failed" and _is_held_up(body.get("errors") or body.get("error")),
            results=tuple(self.where(f"/files/{quote(file, safe='')}/content") for file in files if file),
        )

    def read_list(self, body: Any) -> tuple[list[BatchState], str]:
        about = as_dict(body)
        # Together's is the bare list, or the one batch that is in it.
        page = body if isinstance(body, list) else [about] if "id" in about else as_list(about.get("data"))
        found = readable(self, page)
        more = as_dict(body).get("has_more") is True and found
        return found, found[-1].id if more else ""

    def outcome(self, line: Mapping[str, Any]) -> Outcome | None:
        name = as_str(line.get("custom_id"))
        if not name:
            return None
        response, error = as_dict(line.get("response")), line.get("error")
        request_id = as_str(response.get("request_id")) or None
        if response and response.get("body") is not None:
            return Outcome(name, "reply", count_of(response.get("status_code")) or 200, response["body"], request_id)
        code = as_str(as_dict(error).get("code")).lower()
        if "expired" in code:
            return Outcome(name, "expired")
        if "cancel" in code:
            return Outcome(name, "cancelled")
        status = count_of(response.get("status_code")) or _status_in(error)
        return Outcome(name, "reply", status, {"error": error}, request_id)


def _is_held_up(errors: Any) -> bool:
    said = json.dumps(errors, default=str).lower()
    return any(word in said for word in _HELD_UP)


def _status_in(error: Any) -> int:
    """Return the HTTP status that an error without one stands for."""
    code = as_dict(error).get("code")
    status = count_of(code)
    return status if 400 <= status < 600 else 500 if code in ("server_error", "internal_error") else 400


class AzureBatches(OpenAIBatches):
    """Azure OpenAI's batches: OpenAI's, at the paths of the resource.

    https://learn.microsoft.com/azure/ai-foundry/openai/how-to/batch (read 2026-11)
    """

    def where(self, path: str) -> str:
        dialect: Any = self.dialect
        if not dialect.uses_v1:
            path = f"/openai{path}"
        if dialect.api_version:
            path = f"{path}{'&' if '?' in path else '?'}api-version={quote(dialect.api_version, safe='')}"
        return under(dialect.base_url, path)

    def line(self, order: Order, name: str, body: bytes) -> bytes:
        head = json.dumps({"custom_id": name, "method": "POST", "url": self._endpoint(order)})
        return b'%b, "body": %b}' % (head[:-1].encode(), body)

    def creating(self, order: Order) -> Sending:
        made = super().creating(order)
        body = {**json.loads(made.before), "endpoint": self._endpoint(order)}
        return post(made.url, body, made.headers)

    def _endpoint(self, order: Order) -> str:
        """Return what a line names: on the older form of the API the path behind the deployment."""
        dialect: Any = self.dialect
        path = path_of(order.url)
        return path if dialect.uses_v1 else f"/{path.rpartition('/deployments/')[2].partition('/')[2]}"


class GroqBatches(OpenAIBatches):
    """Groq's batches. https://console.groq.com/docs/batch (read 2026-11)"""

    takes_texts: ClassVar[bool] = False
    limits: ClassVar[BatchLimits] = BatchLimits(50_000, 95_000_000)


class TogetherBatches(OpenAIBatches):
    """Together's batches, whose answers are wrapped and whose words are in upper case. https://docs.together.ai/docs/batch-inference"""

    limits: ClassVar[BatchLimits] = BatchLimits(50_000, 95_000_000)
    takes_texts: ClassVar[bool] = False
    purpose: ClassVar[str] = "batch-api"
    takes_metadata: ClassVar[bool] = False

    def uploading(self, order: Order, size: int) -> Uploading:  # noqa: ARG002 - the form says it
        file = Media(path=f"{order.mark}.jsonl", media_type="application/jsonl")
        received = yield multipart(self.where("/files/upload"), file, self.form_fields(file), {})
        found = as_str(received.body.get("id"))
        if not found:
            raise refused(received.body, "there is no id of the uploaded lines in the answer")
        return found

    def form_fields(self, file: Media) -> dict[str, str]:
        return {"purpose": self.purpose, "file_name": file.name, "file_type": "jsonl"}

    def read(self, body: Mapping[str, Any]) -> BatchState:
        state = super().read(body)
        return state if state.total is not None else _without_counts(state)


def _without_counts(state: BatchState) -> BatchState:
    """Return the state of a batch that says only how much per cent are done: nothing is known of single lines."""
    return BatchState(
        state.id, state.status, None, 0, 0, state.mark, state.upload, state.why, state.is_held_up, state.results, state.in_pages
    )


class MistralBatches(OpenAIBatches):
    """Mistral's batches, which name the model once for all lines. https://docs.mistral.ai/capabilities/batch (read 2026-11)"""

    limits: ClassVar[BatchLimits] = BatchLimits(1_000_000, 480_000_000)

    def line(self, order: Order, name: str, body: bytes) -> bytes:  # noqa: ARG002 - the batch says the path
        return b'{"custom_id": %b, "body": %b}' % (json.dumps(name).encode(), body)

    def creating(self, order: Order) -> Sending:
        body = {
            "input_files": [order.upload],
            "endpoint": path_of(order.url),
            "model": self.dialect.model,
            "timeout_hours": 24,
            "metadata": {"responder": order.mark},
        }
        return post(self.where("/batch/jobs"), body, {"Content-Type": "application/json"})

    def looking(self, batch_id: str) -> Sending:
        return look(self.where(f"/batch/jobs/{quote(batch_id, safe='')}"))

    def cancelling(self, batch_id: str) -> Sending:
        return post(self.where(f"/batch/jobs/{quote(batch_id, safe='')}/cancel"))

    def listing(self, cursor: str) -> Sending:
        return look(self.where(f"/batch/jobs?page={cursor or 0}&page_size={_PAGE}&order_by=-created"))

    def read(self, body: Mapping[str, Any]) -> BatchState:
        files = [file for file in (body.get("output_file"), body.get("error_file")) if isinstance(file, str) and file]
        like_openai = {
            **body,
            "request_counts": {
                "total": body.get("total_requests"),
                "completed": body.get("succeeded_requests"),
                "failed": body.get("failed_requests"),
            },
            "input_file_id": next(iter(as_list(body.get("input_files"))), ""),
            "output_file_id": files[0] if files else "",
            "error_file_id": files[1] if len(files) > 1 else "",
        }
        return super().read(like_openai)

    def read_list(self, body: Any) -> tuple[list[BatchState], str]:
        return readable(self, as_dict(body).get("data")), ""


class XAIBatches(OpenAIBatches):
    """xAI's batches, which count instead of naming a state, and whose results come page by page.

    https://docs.x.ai/developers/advanced-api-usage/batch-api (read 2026-11)
    """

    limits: ClassVar[BatchLimits] = BatchLimits(50_000, 190_000_000)
    takes_texts: ClassVar[bool] = False

    def creating(self, order: Order) -> Sending:
        body = {"name": order.mark, "input_file_id": order.upload}
        return post(self.where("/batches"), body, {"Content-Type": "application/json"})

    def cancelling(self, batch_id: str) -> Sending:
        return post(self.where(f"/batches/{quote(batch_id, safe='')}:cancel"))

    def listing(self, cursor: str) -> Sending:
        after = f"&pagination_token={quote(cursor, safe='')}" if cursor else ""
        return look(self.where(f"/batches?limit={_PAGE}{after}"))

    def read(self, body: Mapping[str, Any]) -> BatchState:
        found = as_str(body.get("batch_id"))
        if not found:
            raise not_a_batch(body)
        counts = as_dict(body.get("state"))
        total, pending = count_of(counts.get("num_requests")), count_of(counts.get("num_pending"))
        failed = count_of(counts.get("num_error")) + count_of(counts.get("num_cancelled"))
        why = as_str(body.get("cancel_by_xai_message"))
        status: BatchStatus = "completed" if total and not pending else "running"
        if body.get("cancel_time") is not None:
            status = "failed" if why else "cancelling" if pending else "cancelled"
        return BatchState(
            found,
            status,
            total=total or None,
            done=count_of(counts.get("num_success")) + failed,
            failed=failed,
            mark=as_str(body.get("name")),
            upload=as_str(body.get("input_file_id")),
            why=why,
            results=(self.where(f"/batches/{quote(found, safe='')}/results?limit=1000"),) if total else (),
            in_pages=True,
        )

    def read_list(self, body: Any) -> tuple[list[BatchState], str]:
        found = readable(self, as_dict(body).get("batches"))
        return found, as_str(as_dict(body).get("pagination_token")) if found else ""

    def page(self, body: Mapping[str, Any], url: str) -> tuple[Iterator[Mapping[str, Any]], str]:
        lines = [as_dict(line) for line in as_list(body.get("results"))]
        token = as_str(body.get("pagination_token"))
        first = url.partition("&pagination_token=")[0]
        return iter(lines), f"{first}&pagination_token={quote(token, safe='')}" if token and lines else ""

    def outcome(self, line: Mapping[str, Any]) -> Outcome | None:
        name = as_str(line.get("batch_request_id"))
        result = as_dict(line.get("batch_result"))
        if not name:
            return None
        # The one key names the endpoint: `chat_get_completion`, `responses`, ...
        body = next((found for found in as_dict(result.get("response")).values() if isinstance(found, dict)), None)
        if body is not None:
            return Outcome(name, "reply", 200, body)
        error = result.get("error") or {"message": "xAI gave no answer to this line"}
        if "cancel" in words_of(error).lower():
            return Outcome(name, "cancelled")
        return Outcome(name, "reply", _status_in(error), {"error": error})
