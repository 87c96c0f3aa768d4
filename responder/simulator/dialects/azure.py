"""Azure OpenAI: OpenAI's JSON with content filter results, other headers and other errors.

Source: https://learn.microsoft.com/azure/ai-foundry/openai/reference and its page on content streaming (read 2025-10).
"""

# ruff: noqa: ARG002 - one signature for all dialects, of which each uses what it needs
from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar

from responder.simulator.answers import Question, Spoken
from responder.simulator.reply import Event, Problem, Reply, encode, refuse, to_bytes

from .base import Call, bearer, new_id
from .hosts import Host
from .openai import OpenAI
from .openai_refusals import USUAL

_SAFE = {name: {"filtered": False, "severity": "safe"} for name in ("hate", "self_harm", "sexual", "violence")}
_PROMPT_FILTER = [{"prompt_index": 0, "content_filter_results": {**_SAFE, "jailbreak": {"filtered": False, "detected": False}}}]


class Azure(OpenAI):
    """Azure OpenAI: the same JSON, with content filter results, other headers and other errors."""

    name: ClassVar[str] = "azure"
    strict_fields: ClassVar[bool] = False

    def __init__(self) -> None:
        super().__init__(Host("azure", strict_schemas=True, wants_word_json=True))

    def key(self, call: Call) -> str:
        """Return the `api-key` header, or the bearer token of Entra."""
        return call.headers.get("api-key") or bearer(call.headers)

    def check_key(self, call: Call, accepted: Iterable[str] | None) -> None:
        """Refuse a wrong key."""
        if accepted is not None and self.key(call) not in accepted:
            raise refuse(401, "", kind="authentication")

    def read(self, call: Call) -> Question:
        """Read a request; the deployment form of the URL needs an api-version."""
        if call.model and not call.query.get("api-version"):
            raise refuse(404, "Resource not found", kind="missing_path")
        return super().read(call)

    def problem(self, problem: Problem) -> Reply:
        """Return Azure's error body: `code` is a text, often the status."""
        message, code = problem.message, problem.code
        headers = {"apim-request-id": new_id("")}
        if problem.kind == "authentication":
            code, message = (
                "401",
                message
                or (
                    "Access denied due to invalid subscription key or wrong API endpoint. Make sure "
                    "to provide a valid key for an "
                    "active subscription and use a correct regional API endpoint for your resource."
                ),
            )
        elif problem.kind == "missing_model":
            code, message = (
                "DeploymentNotFound",
                (
                    "The API deployment for this resource does not exist. If you created the "
                    "deployment within the last 5 minutes, "
                    "please wait a moment and try again."
                ),
            )
        elif problem.kind == "missing_path":
            code, message = "404", "Resource not found"
        elif problem.kind in ("rate", "insufficient_quota", "daily_quota"):
            code = code or ("429" if problem.kind == "rate" else "insufficient_quota")
            wait = max(1, -int(-(problem.wait or problem.said_wait or 1) // 1))
            message = message or (
                "Requests to the ChatCompletions_Create Operation under Azure OpenAI API have "
                "exceeded the call rate limit of your "
                f"current pricing tier. Please retry after {wait} seconds."
            )
        if problem.wait is not None:
            headers["retry-after"] = str(max(1, -int(-problem.wait // 1)))
        kind, usual, words = USUAL.get(problem.kind, USUAL["invalid"])
        error: dict[str, Any] = {"code": code or usual or str(problem.status), "message": message or words}
        if problem.kind == "invalid":
            error.update(type=kind, param=problem.param, code=code)
        return Reply(to_bytes(encode({"error": error})), problem.status, headers, error=True)

    def blocked_prompt(self, question: Question) -> Reply:
        """Refuse the prompt: a 400 with the filter's findings in `innererror`."""
        found = {
            **_SAFE,
            "violence": {"filtered": True, "severity": "medium"},
            "jailbreak": {"filtered": False, "detected": False},
        }
        error = {
            "message": "The response was filtered due to the prompt triggering Azure OpenAI's content "
            "management policy. "
            "Please modify your prompt and retry.",
            "type": None,
            "param": "prompt",
            "code": "content_filter",
            "status": 400,
            "innererror": {"code": "ResponsibleAIPolicyViolation", "content_filter_result": found},
        }
        return Reply(to_bytes(encode({"error": error})), 400, {"apim-request-id": new_id("")}, error=True)

    def _choice(self, choice: dict[str, Any]) -> dict[str, Any]:
        return {"content_filter_results": _SAFE, **choice}

    def _foot(self, question: Question, spoken: Spoken) -> dict[str, Any]:
        return {"prompt_filter_results": _PROMPT_FILTER, **super()._foot(question, spoken)}

    def _opening(self) -> list[Event]:
        first = {
            "choices": [],
            "created": 0,
            "id": "",
            "model": "",
            "object": "",
            "prompt_filter_results": _PROMPT_FILTER,
        }
        return [(to_bytes(f"data: {encode(first)}\n\n"), 0)]

    def _last_choice(
        self, head: str, foot: str, choice: dict[str, Any], question: Question, spoken: Spoken, *, final: bool
    ) -> Event:
        data, tokens = super()._last_choice(head, foot, choice, question, spoken, final=final)
        # The asynchronous filter reports after the stop chunk, in a choice without a delta, whose null must not undo
        # the stop.
        offsets = {"check_offset": 0, "start_offset": 0, "end_offset": len(spoken.text)}
        note = {
            "index": choice["index"], "finish_reason": None, "logprobs": None,
            "content_filter_results": _SAFE, "content_filter_offsets": offsets,
        }  # fmt: skip
        return data + to_bytes(f"data: {head}{encode(note)}{foot}"), tokens

    def _headers(self) -> dict[str, str]:
        return {"apim-request-id": new_id(""), "x-request-id": new_id("req_"), "x-ms-region": "Simulated"}

    def _reset(self, seconds: float) -> str:
        return str(-int(-seconds // 1))
