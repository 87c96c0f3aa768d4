"""How does each provider speak of batches? OpenAI and the hosts of its form, Anthropic, and Gemini.

Sources: https://platform.openai.com/docs/api-reference/batch, https://docs.anthropic.com/en/api/creating-message-batches,
https://ai.google.dev/gemini-api/docs/batch-api, and the published clients of Groq, Together, Mistral and xAI (read 2026-11).
"""

from __future__ import annotations

import json
import time
from typing import Any

from responder.simulator.batches import Answered, Batch, Batches
from responder.simulator.reply import Problem, RefusalError, Reply, encode, refuse, to_bytes

from .base import Call, Dialect, new_id

_MOST_ON_A_PAGE = 100
_JSON_LINES = "application/octet-stream"


def answer(call: Call, dialect: Dialect, batches: Batches, host: str) -> Reply:
    """Answer a request to a batch API.

    Args:
        call: The request.
        dialect: Who is speaking.
        batches: What there is.
        host: The host's name, as the log has it.
    """
    with batches.lock:
        if dialect.name == "anthropic":
            return _Anthropic(call, dialect, batches).answer()
        if dialect.name == "gemini":
            return _Gemini(call, dialect, batches).answer()
        form = {"together": _Together, "mistral": _Mistral, "xai": _XAI}.get(host, _OpenAI)
        return form(call, dialect, batches, host).answer()


def _json(body: Any, headers: dict[str, str] | None = None) -> Reply:
    return Reply(to_bytes(encode(body)), headers=headers or {})


def _lines(found: list[Any]) -> Reply:
    return Reply(b"".join(to_bytes(encode(line)) + b"\n" for line in found), content_type=_JSON_LINES)


def _missing(what: str) -> RefusalError:
    return refuse(404, f"No such {what}.", kind="missing_path")


def _moment(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def _body_of(call: Call) -> dict[str, Any]:
    if not call.valid_json or not isinstance(call.body, dict):
        raise refuse(400, "We could not parse the JSON body of your request.")
    return call.body


def parts_of_form(content: bytes, content_type: str) -> dict[str, bytes]:
    """Return the fields of a form that was sent as multipart/form-data, files included."""
    boundary = content_type.partition("boundary=")[2].partition(";")[0].strip('"').encode()
    found = {}
    for part in content.split(b"--" + boundary)[1:-1] if boundary else []:
        head, _, body = part.partition(b"\r\n\r\n")
        name = head.partition(b'name="')[2].partition(b'"')[0].decode("utf-8", "replace")
        found[name] = body.removesuffix(b"\r\n")
    return found


class _OpenAI:
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
        method, rest = self.call.method, self.call.extra["rest"]
        if rest in ("files", "files/upload") and method == "POST":
            return self.upload()
        if rest.startswith("files/") and rest.endswith("/content") and method == "GET":
            return self.content(rest[len("files/") : -len("/content")])
        if rest == self.room and method == "POST":
            return self.create(_body_of(self.call))
        if rest == self.room and method == "GET":
            return self.list()
        batch_id, verb = self.split(rest)
        batch = self.batches.get(batch_id, self.key)
        if batch is None:
            raise _missing(f"batch: {batch_id}")
        if verb == "cancel" and method == "POST":
            if batch.status(self.batches.now()) == "running":
                batch.cancelled = self.batches.now()
            return _json(self.shown(batch))
        if verb == "results" and method == "GET":
            return self.results(batch)
        if verb or method != "GET":
            raise _missing("path")
        return _json(self.shown(batch))

    room = "batches"

    def split(self, rest: str) -> tuple[str, str]:
        batch_id, _, verb = rest.removeprefix(f"{self.room}/").partition("/")
        return batch_id, verb

    def upload(self) -> Reply:
        form = parts_of_form(self.call.content, self.call.headers.get("content-type", ""))
        if form.get("purpose") != self.purpose:
            raise refuse(400, f"purpose must be {self.purpose.decode()!r}", param="purpose")
        if not form.get("file"):
            raise refuse(400, "'file' is a required property", param="file")
        found = new_id("file-")
        self.batches.files[found] = self.key, form["file"]
        return _json(
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
        for name in ("input_file_id", "endpoint"):
            if not body.get(name):
                raise refuse(400, f"Missing required parameter: '{name}'.", param=name)
        lines = self.read(self.input(body["input_file_id"]), None)
        about = {"input": body["input_file_id"], "endpoint": body["endpoint"], "metadata": body.get("metadata")}
        return _json(self.shown(self.batches.add(new_id("batch_"), self.host, self.key, lines, about)))

    def list(self) -> Reply:
        found = self.batches.newest_first(self.host, self.key)
        after = self.call.query.get("after")
        if after:
            found = found[next((place + 1 for place, batch in enumerate(found) if batch.id == after), len(found)) :]
        limit = min(int(self.call.query.get("limit", "20")), _MOST_ON_A_PAGE)
        page = [self.shown(batch) for batch in found[:limit]]
        ends = {"first_id": page[0]["id"], "last_id": page[-1]["id"]} if page else {"first_id": None, "last_id": None}
        return _json({"object": "list", "data": page, **ends, "has_more": len(found) > limit})

    def shown(self, batch: Batch) -> dict[str, Any]:
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
        batch_id, _, which = file_id.rpartition("-")
        batch = self.batches.get(batch_id, self.key)
        if batch is None:
            return Reply(self.input(file_id), content_type=_JSON_LINES)
        answers = self.batches.answers(batch)
        if which == "output":
            return _lines([_output(name, found) for name, found in answers if found.status == 200])
        word = "batch_expired" if batch.status(self.batches.now()) == "expired" else "batch_cancelled"
        told = "This request could not be executed before the completion window expired."
        rest = [
            {"id": new_id("batch_req_"), "custom_id": name, "response": None, "error": {"code": word, "message": told}}
            for name, _, _ in batch.lines[len(answers) :]
        ]
        return _lines([_output(name, found) for name, found in answers if found.status != 200] + rest)

    def results(self, batch: Batch) -> Reply:
        raise _missing(f"path for {batch.id}")


def _error(code: str, message: str) -> dict[str, Any]:
    return {"code": code, "line": None, "message": message, "param": None}


def _output(name: str, found: Answered) -> dict[str, Any]:
    return {
        "id": new_id("batch_req_"),
        "custom_id": name,
        "response": {"status_code": found.status, "request_id": new_id("req_"), "body": found.body},
        "error": None,
    }


class _Together(_OpenAI):
    """Together: the reply to a creation is wrapped, states are in upper case, a list is a bare one, no counts."""

    purpose = b"batch-api"

    def create(self, body: dict[str, Any]) -> Reply:
        made = json.loads(super().create(body).body)
        return _json({"job": made, "warning": None})

    def list(self) -> Reply:
        return _json([self.shown(batch) for batch in self.batches.newest_first(self.host, self.key)])

    def shown(self, batch: Batch) -> dict[str, Any]:
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
            "created_at": _moment(batch.created),
        }


class _Mistral(_OpenAI):
    """Mistral: other paths, other words, and the endpoint at the job."""

    room = "batch/jobs"

    def create(self, body: dict[str, Any]) -> Reply:
        if not body.get("input_files") or not body.get("endpoint") or not body.get("model"):
            raise refuse(422, "input_files, endpoint and model are required", param="input_files")
        lines = self.read(self.input(body["input_files"][0]), str(body["endpoint"]))
        about = {"input": body["input_files"][0], "endpoint": body["endpoint"], "metadata": body.get("metadata")}
        return _json(self.shown(self.batches.add(new_id("job-"), self.host, self.key, lines, about)))

    def list(self) -> Reply:
        found = self.batches.newest_first(self.host, self.key)
        size, page = int(self.call.query.get("page_size", "100")), int(self.call.query.get("page", "0"))
        shown = [self.shown(batch) for batch in found[page * size : (page + 1) * size]]
        return _json({"object": "list", "data": shown, "total": len(found)})

    def shown(self, batch: Batch) -> dict[str, Any]:
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


class _XAI(_OpenAI):
    """xAI: counters instead of states, and results page by page."""

    def split(self, rest: str) -> tuple[str, str]:
        batch_id, _, verb = rest.removeprefix("batches/").replace(":cancel", "/cancel").partition("/")
        return batch_id, verb

    def create(self, body: dict[str, Any]) -> Reply:
        if not body.get("name"):
            raise refuse(400, "name is required", param="name")
        lines = self.read(self.input(body.get("input_file_id")), None)
        about = {"input": body.get("input_file_id"), "endpoint": "", "metadata": None, "name": body["name"]}
        return _json(self.shown(self.batches.add(new_id("batch_"), self.host, self.key, lines, about)))

    def list(self) -> Reply:
        found = [self.shown(batch) for batch in self.batches.newest_first(self.host, self.key)]
        return _json({"batches": found[:_MOST_ON_A_PAGE], "pagination_token": None})

    def shown(self, batch: Batch) -> dict[str, Any]:
        status = batch.status(self.batches.now())
        answers = self.batches.answers(batch)
        failed, left = sum(found.status != 200 for _, found in answers), len(batch.lines) - len(answers)
        is_over = status in ("cancelled", "expired")
        return {
            "batch_id": batch.id,
            "name": batch.about["name"],
            "create_time": _moment(batch.created),
            "expire_time": _moment(batch.created + 86_400),
            "cancel_time": _moment(batch.cancelled or batch.created) if status == "cancelled" or batch.failure else None,
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
        start = int(self.call.query.get("pagination_token", "0"))
        limit = min(int(self.call.query.get("limit", "100")), 1000)
        found = self.batches.answers(batch)
        page = [
            {"batch_request_id": name, "batch_result": {"response": {"chat_get_completion": found.body}}}
            if found.status == 200
            else {"batch_request_id": name, "batch_result": {"error": {"code": found.status, "message": _words(found.body)}}}
            for name, found in found[start : start + limit]
        ]
        more = str(start + limit) if start + limit < len(found) else None
        return _json({"results": page, "pagination_token": more})


def _words(body: Any) -> str:
    error = body.get("error") if isinstance(body, dict) else body
    return str(error.get("message")) if isinstance(error, dict) else str(error)


class _Anthropic:
    """Anthropic's Message Batches: all lines in one request, no names, one file of results."""

    def __init__(self, call: Call, dialect: Dialect, batches: Batches) -> None:
        self.call = call
        self.batches = batches
        self.key = dialect.key(call)
        self.headers = {"request-id": new_id("req_")}

    def answer(self) -> Reply:
        method, rest = self.call.method, self.call.extra["rest"]
        if not self.call.headers.get("anthropic-version"):
            raise refuse(400, "anthropic-version: header is required")
        if not rest:
            return self.create() if method == "POST" else self.list()
        batch_id, _, verb = rest.partition("/")
        batch = self.batches.get(batch_id, self.key)
        if batch is None:
            raise _missing(f"batch: {batch_id}")
        if verb == "cancel" and method == "POST":
            if batch.status(self.batches.now()) == "running":
                batch.cancelled = self.batches.now()
            return _json(self.shown(batch), self.headers)
        if verb == "results" and method == "GET":
            return self.results(batch)
        return _json(self.shown(batch), self.headers)

    def create(self) -> Reply:
        lines = []
        for line in _body_of(self.call).get("requests") or ():
            name = line["custom_id"]
            if not isinstance(name, str) or not 1 <= len(name) <= 64:
                raise refuse(400, "requests.0.custom_id: String should have at most 64 characters")
            lines.append((name, "/v1/messages", json.dumps(line["params"]).encode()))
        if not lines:
            raise refuse(400, "requests: List should have at least 1 item")
        batch = self.batches.add(new_id("msgbatch_"), "anthropic", self.key, lines, {})
        if batch.failure is not None:
            self.batches.remove(batch)
            raise RefusalError(_too_much(batch.failure))
        return _json(self.shown(batch), self.headers)

    def list(self) -> Reply:
        found = self.batches.newest_first("anthropic", self.key)
        after = self.call.query.get("after_id")
        if after:
            found = found[next((place + 1 for place, batch in enumerate(found) if batch.id == after), len(found)) :]
        limit = min(int(self.call.query.get("limit", "20")), _MOST_ON_A_PAGE)
        page = [self.shown(batch) for batch in found[:limit]]
        ends = {"first_id": page[0]["id"], "last_id": page[-1]["id"]} if page else {"first_id": None, "last_id": None}
        return _json({"data": page, **ends, "has_more": len(found) > limit}, self.headers)

    def shown(self, batch: Batch) -> dict[str, Any]:
        status = batch.status(self.batches.now())
        counts = dict.fromkeys(("processing", "succeeded", "errored", "canceled", "expired"), 0)
        if status == "running":
            counts["processing"] = len(batch.lines)  # nothing is told before all of it has ended
        else:
            answers = self.batches.answers(batch)
            counts["succeeded"] = sum(found.status == 200 for _, found in answers)
            counts["errored"] = len(answers) - counts["succeeded"]
            counts["canceled" if status == "cancelled" else "expired"] = len(batch.lines) - len(answers)
        has_ended = status != "running"
        url = f"{self.call.extra.get('root', '')}/v1/messages/batches/{batch.id}/results"
        return {
            "id": batch.id,
            "type": "message_batch",
            "processing_status": "ended" if has_ended else "in_progress",
            "request_counts": counts,
            "created_at": _moment(batch.created),
            "expires_at": _moment(batch.created + 86_400),
            "ended_at": _moment(self.batches.now()) if has_ended else None,
            "cancel_initiated_at": None if batch.cancelled is None else _moment(batch.cancelled),
            "archived_at": None,
            "results_url": url if has_ended else None,
        }

    def results(self, batch: Batch) -> Reply:
        status = batch.status(self.batches.now())
        if status == "running":
            raise refuse(404, "The batch has not ended.", kind="missing_path")
        answers = self.batches.answers(batch)
        found = [
            {"custom_id": name, "result": {"type": "succeeded", "message": found.body}}
            if found.status == 200
            else {"custom_id": name, "result": {"type": "errored", "error": found.body}}
            for name, found in answers
        ]
        word = "canceled" if status == "cancelled" else "expired"
        rest = [{"custom_id": name, "result": {"type": word}} for name, _, _ in batch.lines[len(answers) :]]
        reply = _lines(rest + found)
        reply.content_type, reply.headers = "application/x-jsonl", self.headers
        return reply


def _too_much(failure: tuple[str, str]) -> Problem:
    if failure[0] == "token_limit_exceeded":
        return Problem(429, "rate", failure[1], wait=0.1)
    return Problem(400, "invalid", failure[1])


class _Gemini:
    """Gemini's batches: lines in the request or in a file, and results likewise."""

    def __init__(self, call: Call, dialect: Dialect, batches: Batches) -> None:
        self.call = call
        self.batches = batches
        self.key = dialect.key(call)

    def answer(self) -> Reply:
        method, rest = self.call.method, self.call.extra["rest"]
        if rest == "upload":
            return self.upload()
        if rest.startswith("models/"):
            return self.create(rest[len("models/") : -len(":batchGenerateContent")])
        if rest.startswith("files/"):
            return self.content(rest[len("files/") :].partition(":")[0])
        if rest == "batches":
            found = [self.shown(batch) for batch in self.batches.newest_first("gemini", self.key)]
            return _json({"operations": found} if found else {})
        batch_id, _, verb = rest.partition(":")
        batch = self.batches.get(batch_id, self.key)
        if batch is None:
            raise _missing(f"batch: {batch_id}")
        if verb == "cancel" and method == "POST":
            if batch.status(self.batches.now()) == "running":
                batch.cancelled = self.batches.now()
            return _json({})
        return _json(self.shown(batch))

    def upload(self) -> Reply:
        headers = self.call.headers
        if headers.get("x-goog-upload-command") == "start":
            upload = new_id("")
            self.batches.files[upload] = self.key, b""  # the URL alone is enough for the bytes
            where = f"{self.call.extra.get('root', '')}/upload/v1beta/files?upload_id={upload}"
            return _json({}, {"x-goog-upload-url": where, "x-goog-upload-status": "active"})
        name = new_id("f")
        key, _ = self.batches.files.pop(self.call.query.get("upload_id", ""), ("", b""))
        if not key:
            raise _missing("upload")
        self.batches.files[name] = key, self.call.content
        uri = f"{self.call.extra.get('root', '')}/v1beta/files/{name}"
        file = {"name": f"files/{name}", "uri": uri, "mimeType": "application/jsonl", "state": "ACTIVE"}
        return _json({"file": file}, {"x-goog-upload-status": "final"})

    def create(self, model: str) -> Reply:
        told = _body_of(self.call).get("batch") or {}
        config = told.get("inputConfig") or {}
        path = f"/v1beta/models/{model}:generateContent"
        if "fileName" in config:
            key, content = self.batches.files.get(str(config["fileName"]).removeprefix("files/"), ("", b""))
            if not content or key != self.key:
                raise _missing("file")
            parsed = [json.loads(line) for line in filter(None, content.splitlines())]
            lines = [(str(line["key"]), path, json.dumps(line["request"]).encode()) for line in parsed]
        else:
            asked = (config.get("requests") or {}).get("requests") or []
            lines = [
                (str((line.get("metadata") or {}).get("key", place)), path, json.dumps(line["request"]).encode())
                for place, line in enumerate(asked)
            ]
        about = {"name": told.get("displayName", ""), "file": config.get("fileName", ""), "model": model}
        batch = self.batches.add(f"batches/{new_id('b')}", "gemini", self.key, lines, about)
        if batch.failure is not None:
            self.batches.remove(batch)
            raise RefusalError(_too_much(batch.failure))
        return _json(self.shown(batch))

    def shown(self, batch: Batch) -> dict[str, Any]:
        status = batch.status(self.batches.now())
        words = {"running": "RUNNING", "completed": "SUCCEEDED"}
        done = batch.done(self.batches.now())
        stats: dict[str, str] = {"requestCount": str(len(batch.lines))}
        if done < len(batch.lines):
            stats["pendingRequestCount"] = str(len(batch.lines) - done)
        about: dict[str, Any] = {
            "@type": "type.googleapis.com/google.ai.generativelanguage.v1main.GenerateContentBatch",
            "name": batch.id,
            "displayName": batch.about["name"],
            "model": f"models/{batch.about['model']}",
            "createTime": _moment(batch.created),
            "updateTime": _moment(self.batches.now()),
            "batchStats": stats,
            "state": f"BATCH_STATE_{words.get(status, status.upper())}",
        }
        shown = {"name": batch.id, "metadata": about}
        if batch.about["file"]:
            about["inputConfig"] = {"fileName": batch.about["file"]}
        if status == "running":
            return shown
        if batch.about["file"]:
            about["output"] = {"responsesFile": f"files/{batch.id.removeprefix('batches/')}"}
        else:
            found = [
                {"response": found.body, "metadata": {"key": name}}
                if found.status == 200
                else {"error": {"code": 3, "message": _words(found.body)}, "metadata": {"key": name}}
                for name, found in reversed(self.batches.answers(batch))
            ]
            about["output"] = {"inlinedResponses": {"inlinedResponses": found}}
        return {**shown, "done": True}

    def content(self, name: str) -> Reply:
        batch = self.batches.get(f"batches/{name}", self.key)
        if batch is None:
            raise _missing("file")
        return _lines(
            [
                {"key": name, "response": found.body}
                if found.status == 200
                else {"key": name, "error": {"code": 3, "message": _words(found.body)}}
                for name, found in self.batches.answers(batch)
            ]
        )
