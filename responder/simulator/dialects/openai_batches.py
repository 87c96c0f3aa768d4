"""How do OpenAI, and the hosts of its form, speak of batches? Files, batches, and two files of results.

Sources: https://platform.openai.com/docs/api-reference/batch, and the published clients of Groq, Together, Mistral and xAI (read
2026-11).
"""

from __future__ import annotations

import json
from typing import Any

from responder.simulator.batches import Answered, Batch, Batches
from responder.simulator.reply import Reply, refuse

from .base import Call, Dialect, new_id
from .batch_replies import JSON_LINES, MOST_ON_A_PAGE, as_json, as_lines, body_of, ends_of, missing, moment, page_of, words_of


def parts_of_form(content: bytes, content_type: str) -> dict[str, bytes]:
    """Return the fields of a form that was sent as multipart/form-data, files included."""
    boundary = content_type.partition("boundary=")[2].partition(";")[0].strip('"').encode()
    found = {}
    for part in content.split(b"--" + boundary)[1:-1] if boundary else []:
        head, _, body = part.partition(b"\r\n\r\n")
        name = head.partition(b'name="')[2].partition(b'"')[0].decode("utf-8", "replace")
        found[name] = body.removesuffix(b"\r\n")
    return found


class OpenAIBatches:
    """OpenAI's form: files, batches, and two files of results."""

    purpose = b"batch"
    has_metadata = True

    def __init__(self, call: Call, dialect: Dialect, batches: Batches, host: str) -> None:
        self.call = call
        self.batches = batches
        self.host = host
        self.key = dialect.key(call)
        self.base = call.extra["base"] if call.extra["base"] != "/openai" else "/openai/v1"

    def answer(self) -> Reply:
        """Answer a request."""
        method, rest = self.call.method, self.call.extra["rest"]
        if rest in ("files", "files/upload") and method == "POST":
            return self.upload()
        if rest.startswith("files/") and rest.endswith("/content") and method == "GET":
            return self.content(rest[len("files/") : -len("/content")])
        if rest == self.room and method == "POST":
            return self.create(body_of(self.call))
        if rest == self.room and method == "GET":
            return self.list()
        batch_id, verb = self.split(rest)
        batch = self.batches.get(batch_id, self.key)
        if batch is None:
            raise missing(f"batch: {batch_id}")
        if verb == "cancel" and method == "POST":
            self.batches.cancel(batch)
            return as_json(self.shown(batch))
        if verb == "results" and method == "GET":
            return self.results(batch)
        if verb or method != "GET":
            raise missing("path")
        return as_json(self.shown(batch))

    room = "batches"

    def split(self, rest: str) -> tuple[str, str]:
        """Return the id and the verb in a path."""
        batch_id, _, verb = rest.removeprefix(f"{self.room}/").partition("/")
        return batch_id, verb

    def upload(self) -> Reply:
        """Keep a file that is sent."""
        form = parts_of_form(self.call.content, self.call.headers.get("content-type", ""))
        if form.get("purpose") != self.purpose:
            raise refuse(400, f"purpose must be {self.purpose.decode()!r}", param="purpose")
        if not form.get("file"):
            raise refuse(400, "'file' is a required property", param="file")
        found = new_id("file-")
        self.batches.files[found] = self.key, form["file"]
        return as_json(
            {
                "id": found,
                "object": "file",
                "bytes": len(form["file"]),
                "created_at": int(self.batches.now()),
                "filename": "lines.jsonl",
                "purpose": "batch",
                "status": "processed",
            }
        )

    def input(self, file_id: Any) -> bytes:
        """Return what is in a file that was sent."""
        key, content = self.batches.files.get(str(file_id), ("", b""))
        if not content or key != self.key:
            raise refuse(404, f"No such File object: {file_id}", param="input_file_id")
        return content

    def read(self, content: bytes, endpoint: str | None) -> list[tuple[str, str, bytes]]:
        """Return the lines of a file; a fault in one makes the batch fail, later."""
        found = []
        for line in filter(None, content.splitlines()):
            parsed = json.loads(line)
            url = endpoint or str(parsed["url"])
            path = self.base + url.removeprefix("/v1")
            found.append((str(parsed["custom_id"]), path, json.dumps(parsed["body"]).encode()))
        return found

    def create(self, body: dict[str, Any]) -> Reply:
        """Make a batch."""
        for name in ("input_file_id", "endpoint"):
            if not body.get(name):
                raise refuse(400, f"Missing required parameter: '{name}'.", param=name)
        lines = self.read(self.input(body["input_file_id"]), None)
        about = {"input": body["input_file_id"], "endpoint": body["endpoint"], "metadata": body.get("metadata")}
        return as_json(self.shown(self.batches.add(new_id("batch_"), self.host, self.key, lines, about)))

    def list(self) -> Reply:
        """List the batches, the newest first."""
        found, has_more = page_of(self.batches.newest_first(self.host, self.key), self.call.query, "after")
        page = [self.shown(batch) for batch in found]
        return as_json({"object": "list", "data": page, **ends_of(page), "has_more": has_more})

    def shown(self, batch: Batch) -> dict[str, Any]:
        """Return a batch as this API shows it."""
        now, status = self.batches.now(), batch.status(self.batches.now())
        answers = self.batches.answers(batch)
        failed = sum(found.status != 200 for _, found in answers)
        is_final = status in ("completed", "expired", "cancelled")
        outputs = is_final and len(answers) > failed
        errors = is_final and (failed > 0 or len(answers) < len(batch.lines))
        return {
            "id": batch.id,
            "object": "batch",
            "endpoint": batch.about["endpoint"],
            "errors": None if batch.failure is None else {"object": "list", "data": [_error(*batch.failure)]},
            "input_file_id": batch.about["input"],
            "completion_window": "24h",
            "status": "in_progress" if status == "running" else status,
            "output_file_id": f"{batch.id}-output" if outputs else None,
            # Some of OpenAI's batches say so instead of null.
            "error_file_id": f"{batch.id}-errors" if errors else "",
            "created_at": int(batch.created),
            "expires_at": int(batch.created + 86_400),
            "completed_at": int(now) if status == "completed" else None,
            "request_counts": {"total": len(batch.lines), "completed": len(answers) - failed, "failed": failed},
            "metadata": batch.about["metadata"],
        }

    def content(self, file_id: str) -> Reply:
        """Return what is in a file of results."""
        batch_id, _, which = file_id.rpartition("-")
        batch = self.batches.get(batch_id, self.key)
        if batch is None:
            return Reply(self.input(file_id), content_type=JSON_LINES)
        answers = self.batches.answers(batch)
        if which == "output":
            return as_lines([_output(name, found) for name, found in answers if found.status == 200])
        word = "batch_expired" if batch.status(self.batches.now()) == "expired" else "batch_cancelled"
        told = "This request could not be executed before the completion window expired."
        rest = [
            {"id": new_id("batch_req_"), "custom_id": name, "response": None, "error": {"code": word, "message": told}}
            for name, _, _ in batch.lines[len(answers) :]
        ]
        return as_lines([_output(name, found) for name, found in answers if found.status != 200] + rest)

    def results(self, batch: Batch) -> Reply:
        """Return the results of a batch."""
        raise missing(f"path for {batch.id}")


def _error(code: str, message: str) -> dict[str, Any]:
    return {"code": code, "line": None, "message": message, "param": None}


def _output(name: str, found: Answered) -> dict[str, Any]:
    return {
        "id": new_id("batch_req_"),
        "custom_id": name,
        "response": {"status_code": found.status, "request_id": new_id("req_"), "body": found.body},
        "error": None,
    }


class TogetherBatches(OpenAIBatches):
    """Together: the reply to a creation is wrapped, states are in upper case, a list is a bare one, no counts."""

    purpose = b"batch-api"

    def create(self, body: dict[str, Any]) -> Reply:
        """Make a batch."""
        made = json.loads(super().create(body).body)
        return as_json({"job": made, "warning": None})

    def list(self) -> Reply:
        """List the batches, the newest first."""
        return as_json([self.shown(batch) for batch in self.batches.newest_first(self.host, self.key)])

    def shown(self, batch: Batch) -> dict[str, Any]:
        """Return a batch as this API shows it."""
        whole = super().shown(batch)
        done = 100 * batch.done(self.batches.now()) / max(len(batch.lines), 1)
        names = ("id", "endpoint", "input_file_id", "output_file_id")
        return {
            **{name: whole[name] for name in names},
            "error_file_id": whole["error_file_id"] or None,
            "error": batch.failure[1] if batch.failure else None,
            "status": whole["status"].upper(),
            "progress": done,
            "model_id": "simulated",
            "created_at": moment(batch.created),
        }


class MistralBatches(OpenAIBatches):
    """Mistral: other paths, other words, and the endpoint at the job."""

    room = "batch/jobs"

    def create(self, body: dict[str, Any]) -> Reply:
        """Make a batch."""
        if not body.get("input_files") or not body.get("endpoint") or not body.get("model"):
            raise refuse(422, "input_files, endpoint and model are required", param="input_files")
        lines = self.read(self.input(body["input_files"][0]), str(body["endpoint"]))
        about = {"input": body["input_files"][0], "endpoint": body["endpoint"], "metadata": body.get("metadata")}
        return as_json(self.shown(self.batches.add(new_id("job-"), self.host, self.key, lines, about)))

    def list(self) -> Reply:
        """List the batches, the newest first."""
        found = self.batches.newest_first(self.host, self.key)
        size, page = int(self.call.query.get("page_size", "100")), int(self.call.query.get("page", "0"))
        shown = [self.shown(batch) for batch in found[page * size : (page + 1) * size]]
        return as_json({"object": "list", "data": shown, "total": len(found)})

    def shown(self, batch: Batch) -> dict[str, Any]:
        """Return a batch as this API shows it."""
        whole = super().shown(batch)
        words = {"in_progress": "RUNNING", "completed": "SUCCESS", "expired": "TIMEOUT_EXCEEDED"}
        counts = whole["request_counts"]
        return {
            "id": batch.id,
            "object": "batch",
            "input_files": [batch.about["input"]],
            "endpoint": batch.about["endpoint"],
            "errors": [{"message": batch.failure[1], "count": 1}] if batch.failure else [],
            "status": words.get(whole["status"], whole["status"].upper()),
            "created_at": whole["created_at"],
            "metadata": batch.about["metadata"],
            "output_file": whole["output_file_id"],
            "error_file": whole["error_file_id"] or None,
            "total_requests": counts["total"],
            "completed_requests": counts["completed"] + counts["failed"],
            "succeeded_requests": counts["completed"],
            "failed_requests": counts["failed"],
        }


class XAIBatches(OpenAIBatches):
    """xAI: counters instead of states, and results page by page."""

    def split(self, rest: str) -> tuple[str, str]:
        """Return the id and the verb in a path."""
        batch_id, _, verb = rest.removeprefix("batches/").replace(":cancel", "/cancel").partition("/")
        return batch_id, verb

    def create(self, body: dict[str, Any]) -> Reply:
        """Make a batch."""
        if not body.get("name"):
            raise refuse(400, "name is required", param="name")
        lines = self.read(self.input(body.get("input_file_id")), None)
        about = {"input": body.get("input_file_id"), "endpoint": "", "metadata": None, "name": body["name"]}
        return as_json(self.shown(self.batches.add(new_id("batch_"), self.host, self.key, lines, about)))

    def list(self) -> Reply:
        """List the batches, the newest first."""
        found = [self.shown(batch) for batch in self.batches.newest_first(self.host, self.key)]
        return as_json({"batches": found[:MOST_ON_A_PAGE], "pagination_token": None})

    def shown(self, batch: Batch) -> dict[str, Any]:
        """Return a batch as this API shows it."""
        status = batch.status(self.batches.now())
        answers = self.batches.answers(batch)
        failed, left = sum(found.status != 200 for _, found in answers), len(batch.lines) - len(answers)
        is_over = status in ("cancelled", "expired")
        return {
            "batch_id": batch.id,
            "name": batch.about["name"],
            "create_time": moment(batch.created),
            "expire_time": moment(batch.created + 86_400),
            "cancel_time": moment(batch.cancelled or batch.created) if status == "cancelled" or batch.failure else None,
            "cancel_by_xai_message": batch.failure[1] if batch.failure else None,
            "input_file_id": batch.about["input"],
            "state": {
                "num_requests": len(batch.lines),
                "num_pending": 0 if is_over else left,
                "num_success": len(answers) - failed,
                "num_error": failed,
                "num_cancelled": left if is_over else 0,
            },
        }

    def results(self, batch: Batch) -> Reply:
        """Return the results of a batch."""
        start = int(self.call.query.get("pagination_token", "0"))
        limit = min(int(self.call.query.get("limit", "100")), 1000)
        found = self.batches.answers(batch)
        page = [
            {"batch_request_id": name, "batch_result": {"response": {"chat_get_completion": found.body}}}
            if found.status == 200
            else {"batch_request_id": name, "batch_result": {"error": {"code": found.status, "message": words_of(found.body)}}}
            for name, found in found[start : start + limit]
        ]
        more = str(start + limit) if start + limit < len(found) else None
        return as_json({"results": page, "pagination_token": more})
