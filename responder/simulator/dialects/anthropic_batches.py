"""How does Anthropic speak of batches? All lines in one request, and one file of results.

Source: https://docs.anthropic.com/en/api/creating-message-batches (read 2026-11).
"""

from __future__ import annotations

import json
from typing import Any

from responder.simulator.batches import Batch, Batches
from responder.simulator.reply import RefusalError, Reply, refuse

from .base import Call, Dialect, new_id
from .batch_replies import as_json, as_lines, body_of, ends_of, missing, moment, page_of, too_much


class AnthropicBatches:
    """Anthropic's Message Batches: all lines in one request, no names, one file of results."""

    def __init__(self, call: Call, dialect: Dialect, batches: Batches) -> None:
        self.call = call
        self.batches = batches
        self.key = dialect.key(call)
        self.headers = {"request-id": new_id("req_")}

    def answer(self) -> Reply:
        """Answer a request."""
        method, rest = self.call.method, self.call.extra["rest"]
        if not self.call.headers.get("anthropic-version"):
            raise refuse(400, "anthropic-version: header is required")
        if not rest:
            return self.create() if method == "POST" else self.list()
        batch_id, _, verb = rest.partition("/")
        batch = self.batches.get(batch_id, self.key)
        if batch is None:
            raise missing(f"batch: {batch_id}")
        if verb == "cancel" and method == "POST":
            self.batches.cancel(batch)
            return as_json(self.shown(batch), self.headers)
        if verb == "results" and method == "GET":
            return self.results(batch)
        return as_json(self.shown(batch), self.headers)

    def create(self) -> Reply:
        """Make a batch."""
        lines = []
        for line in body_of(self.call).get("requests") or ():
            name = line["custom_id"]
            if not isinstance(name, str) or not 1 <= len(name) <= 64:
                raise refuse(400, "requests.0.custom_id: String should have at most 64 characters")
            lines.append((name, "/v1/messages", json.dumps(line["params"]).encode()))
        if not lines:
            raise refuse(400, "requests: List should have at least 1 item")
        batch = self.batches.add(new_id("msgbatch_"), "anthropic", self.key, lines, {})
        if batch.failure is not None:
            self.batches.remove(batch)
            raise RefusalError(too_much(batch.failure))
        return as_json(self.shown(batch), self.headers)

    def list(self) -> Reply:
        """List the batches, the newest first."""
        found, has_more = page_of(self.batches.newest_first("anthropic", self.key), self.call.query, "after_id")
        page = [self.shown(batch) for batch in found]
        return as_json({"data": page, **ends_of(page), "has_more": has_more}, self.headers)

    def shown(self, batch: Batch) -> dict[str, Any]:
        """Return a batch as this API shows it."""
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
            "created_at": moment(batch.created),
            "expires_at": moment(batch.created + 86_400),
            "ended_at": moment(self.batches.now()) if has_ended else None,
            "cancel_initiated_at": None if batch.cancelled is None else moment(batch.cancelled),
            "archived_at": None,
            "results_url": url if has_ended else None,
        }

    def results(self, batch: Batch) -> Reply:
        """Return the results of a batch."""
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
        reply = as_lines(rest + found)
        reply.content_type, reply.headers = "application/x-jsonl", self.headers
        return reply
