"""How does Gemini speak of batches? Lines in the request or in a file, and results likewise.

Source: https://ai.google.dev/gemini-api/docs/batch-api (read 2026-11).
"""

from __future__ import annotations

import json
from typing import Any

from responder.simulator.batches import Batch, Batches
from responder.simulator.reply import RefusalError, Reply

from .base import Call, Dialect, new_id
from .batch_replies import as_json, as_lines, body_of, missing, moment, too_much, words_of


class GeminiBatches:
    """Gemini's batches: lines in the request or in a file, and results likewise."""

    def __init__(self, call: Call, dialect: Dialect, batches: Batches) -> None:
        self.call = call
        self.batches = batches
        self.key = dialect.key(call)

    def answer(self) -> Reply:
        """Answer a request."""
        method, rest = self.call.method, self.call.extra["rest"]
        if rest == "upload":
            return self.upload()
        if rest.startswith("models/"):
            return self.create(rest[len("models/") : -len(":batchGenerateContent")])
        if rest.startswith("files/"):
            return self.content(rest[len("files/") :].partition(":")[0])
        if rest == "batches":
            found = [self.shown(batch) for batch in self.batches.newest_first("gemini", self.key)]
            return as_json({"operations": found} if found else {})
        batch_id, _, verb = rest.partition(":")
        batch = self.batches.get(batch_id, self.key)
        if batch is None:
            raise missing(f"batch: {batch_id}")
        if verb == "cancel" and method == "POST":
            self.batches.cancel(batch)
            return as_json({})
        return as_json(self.shown(batch))

    def upload(self) -> Reply:
        """Keep a file that is sent."""
        headers = self.call.headers
        if headers.get("x-goog-upload-command") == "start":
            upload = new_id("")
            self.batches.files[upload] = self.key, b""  # the URL alone is enough for the bytes
            where = f"{self.call.extra.get('root', '')}/upload/v1beta/files?upload_id={upload}"
            return as_json({}, {"x-goog-upload-url": where, "x-goog-upload-status": "active"})
        name = new_id("f")
        key, _ = self.batches.files.pop(self.call.query.get("upload_id", ""), ("", b""))
        if not key:
            raise missing("upload")
        self.batches.files[name] = key, self.call.content
        uri = f"{self.call.extra.get('root', '')}/v1beta/files/{name}"
        file = {"name": f"files/{name}", "uri": uri, "mimeType": "application/jsonl", "state": "ACTIVE"}
        return as_json({"file": file}, {"x-goog-upload-status": "final"})

    def create(self, model: str) -> Reply:
        """Make a batch."""
        told = body_of(self.call).get("batch") or {}
        config = told.get("inputConfig") or {}
        path = f"/v1beta/models/{model}:generateContent"
        if "fileName" in config:
            key, content = self.batches.files.get(str(config["fileName"]).removeprefix("files/"), ("", b""))
            if not content or key != self.key:
                raise missing("file")
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
            raise RefusalError(too_much(batch.failure))
        return as_json(self.shown(batch))

    def shown(self, batch: Batch) -> dict[str, Any]:
        """Return a batch as this API shows it."""
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
            "createTime": moment(batch.created),
            "updateTime": moment(self.batches.now()),
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
                else {"error": {"code": 3, "message": words_of(found.body)}, "metadata": {"key": name}}
                for name, found in reversed(self.batches.answers(batch))
            ]
            about["output"] = {"inlinedResponses": {"inlinedResponses": found}}
        return {**shown, "done": True}

    def content(self, name: str) -> Reply:
        """Return what is in a file of results."""
        batch = self.batches.get(f"batches/{name}", self.key)
        if batch is None:
            raise missing("file")
        return as_lines(
            [
                {"key": name, "response": found.body}
                if found.status == 200
                else {"key": name, "error": {"code": 3, "message": words_of(found.body)}}
                for name, found in self.batches.answers(batch)
            ]
        )
