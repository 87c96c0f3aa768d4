"""Google's generateContent, as the Gemini Developer API speaks it; what Vertex AI does differently is in `vertex.py`.

Source: https://ai.google.dev/api/generate-content, the published protos of google.ai.generativelanguage.v1beta, and
https://cloud.google.com/vertex-ai/generative-ai/docs/model-reference/inference (read 2026-08).
"""

# ruff: noqa: ARG002 - one signature for all dialects, of which each uses what it needs
from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from responder.simulator.answers import Question, Spoken, Tool, message_tokens, pieces
from responder.simulator.reply import Event, Problem, Reply, encode, refuse, to_bytes

from .base import Call, Dialect, bearer, new_id, texts, tier_of, unknown_field, whole_number
from .embeddings import read_google, write_google

JSON_TYPE = "application/json; charset=UTF-8"
# A real event holds more than one token; a few keep streams of Google's shape.
_TOKENS_PER_EVENT = 4
_MOST_CANDIDATES = 8
_FIELDS = frozenset(
    {
        "contents", "systemInstruction", "tools", "toolConfig", "safetySettings", "generationConfig",
        "cachedContent", "model", "labels", "modelArmorConfig", "store", "serviceTier",
    }
)  # fmt: skip
_STATUS = {
    "invalid": (400, "INVALID_ARGUMENT", "Request contains an invalid argument."),
    "authentication": (400, "INVALID_ARGUMENT", "API key not valid. Please pass a valid API key."),
    "billing": (400, "FAILED_PRECONDITION", "Billing is not enabled for this project."),
    "permission": (403, "PERMISSION_DENIED", "The caller does not have permission"),
    "missing_path": (404, "NOT_FOUND", "Requested entity was not found."),
    "missing_model": (404, "NOT_FOUND", ""),
    "too_large": (413, "INVALID_ARGUMENT", "Request payload size exceeds the limit."),
    "rate": (429, "RESOURCE_EXHAUSTED", "Resource has been exhausted (e.g. check quota)."),
    "insufficient_quota": (429, "RESOURCE_EXHAUSTED", "Your prepayment credits are depleted; limit: 0."),
    "daily_quota": (
        429,
        "RESOURCE_EXHAUSTED",
        "You exceeded your current quota, please check your plan and billing details.",
    ),
    "server": (500, "INTERNAL", "An internal error has occurred. Please retry or report the problem."),
    "overloaded": (503, "UNAVAILABLE", "The model is overloaded. Please try again later."),
    "timeout": (504, "DEADLINE_EXCEEDED", "The deadline expired before the operation could complete."),
}
_FINISH = {"stop": "STOP", "stop_sequence": "STOP", "tool": "STOP", "length": "MAX_TOKENS", "filter": "SAFETY"}
_FINISH_NUMBERS = {"STOP": 1, "MAX_TOKENS": 2, "SAFETY": 3}
_TYPE = "type.googleapis.com/google.rpc."
_RATINGS = [
    {"category": f"HARM_CATEGORY_{name}", "probability": "NEGLIGIBLE"}
    for name in ("SEXUALLY_EXPLICIT", "HATE_SPEECH", "HARASSMENT", "DANGEROUS_CONTENT")
]
# Any base64 will do: clients must send it back unchanged and may not look inside.
_SIGNATURE = "c2ltdWxhdGVkIHNpZ25hdHVyZQ=="


class Gemini(Dialect):
    """The Gemini Developer API."""

    name: ClassVar[str] = "gemini"

    def __init__(self) -> None:
        # Between the events of a Google stream there are no comments; blank lines are the only sign of life.
        self.heartbeat = b"\r\n"

    # Reading --------------------------------------------------------------------------------------------------------

    def key(self, call: Call) -> str:
        """Return the key: header, or parameter of the URL."""
        return call.headers.get("x-goog-api-key") or call.query.get("key") or bearer(call.headers)

    def check_key(self, call: Call, accepted: Iterable[str] | None) -> None:
        """Refuse a wrong key (400) and a missing one (403)."""
        if accepted is None or self.key(call) in accepted:
            return
        if not self.key(call):
            raise refuse(
                403,
                "Method doesn't allow unregistered callers (callers without established identity). "
                "Please use API Key or other "
                "form of API consumer identity to call this API.",
                kind="permission",
            )
        raise refuse(400, "", kind="authentication")

    def read(self, call: Call) -> Question:
        """Read a request for generateContent, streamGenerateContent or countTokens."""
        body = call.body
        if not call.valid_json or not isinstance(body, dict):
            raise refuse(400, "Invalid JSON payload received. Unexpected end of string. Expected a value.")
        body = {_camel(name): value for name, value in body.items()}
        if call.action == "count" and isinstance(body.get("generateContentRequest"), dict):
            body = {_camel(name): value for name, value in body["generateContentRequest"].items()}
        if name := unknown_field(body, _FIELDS):
            raise refuse(400, f'Invalid JSON payload received. Unknown name "{name}": Cannot find field.')
        prompt, characters, count = self._conversation(body)
        config = {_camel(name): value for name, value in (body.get("generationConfig") or {}).items()}
        limit = whole_number(config, "maxOutputTokens")
        if limit is not None and limit < 1:
            raise refuse(
                400,
                (
                    f"Unable to submit request because it has a maxOutputTokens value of {limit} but the "
                    "supported range is from 1."
                ),
            )
        candidates = whole_number(config, "candidateCount") or 1
        if candidates > _MOST_CANDIDATES:
            raise refuse(
                400,
                (
                    f"Unable to submit request because it has a candidateCount value of {candidates} but the "
                    f"supported range is from 1 (inclusive) to {_MOST_CANDIDATES + 1} (exclusive)."
                ),
            )
        schema = config.get("responseJsonSchema") or config.get("responseSchema")
        if schema is not None and config.get("responseMimeType") not in ("application/json", "text/x.enum"):
            raise refuse(400, "Response schema requires response mime type 'application/json'.")
        if schema is None and config.get("responseMimeType") == "application/json":
            schema = {}
        wanted = {_camel(name): value for name, value in (config.get("thinkingConfig") or {}).items()}
        event_stream = call.query.get("alt") == "sse"
        return Question(
            model=call.model,
            prompt=prompt,
            input_tokens=message_tokens(characters, count),
            stream=call.action == "stream",
            max_tokens=limit,
            count=max(1, candidates),
            stop=texts(config.get("stopSequences")),
            schema=schema,
            tool=_forced_tool(body),
            thinking=bool(wanted.get("includeThoughts")) or bool(wanted.get("thinkingBudget")),
            extra={
                "sse": event_stream,
                "numbers": "enum-encoding=int" in call.query.get("$alt", ""),
                "show_thoughts": bool(wanted.get("includeThoughts")),
                "tier": self._tier(call, body),
            },
        )

    def _tier(self, call: Call, body: Mapping[str, Any]) -> str:
        return tier_of(body, "serviceTier", "standard")

    def _conversation(self, body: Mapping[str, Any]) -> tuple[str, int, int]:
        contents = body.get("contents")
        if isinstance(contents, dict):
            contents = [contents]
        if not contents or not isinstance(contents, list):
            raise refuse(400, "* GenerateContentRequest.contents: contents is not specified\n")
        prompt, characters = "", 0
        for content in contents:
            if not isinstance(content, dict) or content.get("role", "user") not in ("user", "model", "function"):
                raise refuse(400, "Please use a valid role: user, model.")
            parts = content.get("parts")
            if not parts:
                raise refuse(400, "* GenerateContentRequest.contents: contents.parts must not be empty.\n")
            text = _text_of(parts)
            characters += len(text)
            if content.get("role", "user") == "user":
                prompt = text
        system = body.get("systemInstruction")
        if isinstance(system, dict):
            characters += len(_text_of(system.get("parts")))
        return prompt, characters, len(contents) + bool(system)

    # Answering ------------------------------------------------------------------------------------------------------

    def plain(self, question: Question, spoken: Spoken) -> Reply:
        """Return a GenerateContentResponse."""
        candidates = []
        for index in range(question.count):
            parts = self._parts(question, spoken)
            if spoken.finish == "filter":
                candidate: dict[str, Any] = {
                    "content": {},
                    "finishReason": "SAFETY",
                    "index": index,
                    "safetyRatings": _blocked_ratings(),
                }
            else:
                content: dict[str, Any] = {"parts": parts, "role": "model"} if parts else {"role": "model"}
                candidate = {"content": content, "finishReason": _FINISH.get(spoken.finish, spoken.finish), "index": index}
            candidates.append(candidate)
        body = {
            "candidates": candidates,
            "usageMetadata": self._usage(question, spoken, question.count),
            **self._foot(question),
        }
        return Reply(to_bytes(encode(body)), headers=self._headers(question), content_type=JSON_TYPE)

    def stream(self, question: Question, spoken: Spoken) -> Reply:
        """Return events (alt=sse, CRLF) or a JSON array in pieces."""
        foot = self._foot(question)
        bodies: list[tuple[dict[str, Any], int]] = []
        usage = self._usage(question, None, 1)
        for part, tokens in self._streamed_parts(question, spoken):
            candidate = {"content": {"parts": [part], "role": "model"}, "index": 0}
            bodies.append(({"candidates": [candidate], "usageMetadata": usage, **foot}, tokens))
        finish: Any = _FINISH.get(spoken.finish, spoken.finish)
        finish = _FINISH_NUMBERS.get(finish, finish) if question.extra["numbers"] else finish
        last: dict[str, Any] = {"finishReason": finish, "index": 0}
        if spoken.finish == "filter":
            last["safetyRatings"] = _blocked_ratings()
        else:
            last["content"] = {"parts": [{"text": ""}], "role": "model"}
        bodies.append(({"candidates": [last], "usageMetadata": self._usage(question, spoken, 1), **foot}, 0))
        return self._streamed(question, bodies)

    def _streamed(self, question: Question, bodies: list[tuple[dict[str, Any], int]]) -> Reply:
        if question.extra["sse"]:
            events = [(to_bytes(f"data: {encode(body)}\r\n\r\n"), tokens) for body, tokens in bodies]
            return Reply(events=events, content_type="text/event-stream", headers=self._headers(question))
        events = []
        for number, (body, tokens) in enumerate(bodies):
            text = json.dumps(body, ensure_ascii=False, indent=2)
            events.append((to_bytes(("[" if number == 0 else ",\r\n") + text + "\n"), tokens))
        events.append((b"]", 0))
        return Reply(events=events, content_type=JSON_TYPE, headers=self._headers(question))

    def _streamed_parts(self, question: Question, spoken: Spoken) -> Iterable[tuple[dict[str, Any], int]]:
        if spoken.thoughts and question.extra["show_thoughts"]:
            for piece in pieces(spoken.thoughts, _TOKENS_PER_EVENT):
                yield {"text": piece, "thought": True}, _TOKENS_PER_EVENT
        if spoken.tool is not None:
            yield self._call_part(spoken), spoken.answer_tokens
            return
        for piece in pieces(spoken.text, _TOKENS_PER_EVENT):
            yield {"text": piece}, _TOKENS_PER_EVENT

    def _parts(self, question: Question, spoken: Spoken) -> list[dict[str, Any]]:
        parts: list[dict[str, Any]] = []
        if spoken.thoughts and question.extra["show_thoughts"]:
            parts.append({"text": spoken.thoughts, "thought": True})
        if spoken.tool is not None:
            parts.append(self._call_part(spoken))
        elif spoken.text:
            parts.append({"text": spoken.text})
        return parts

    def _call_part(self, spoken: Spoken) -> dict[str, Any]:
        name = "" if spoken.tool is None else spoken.tool.name
        part: dict[str, Any] = {"functionCall": {"name": name, "args": spoken.arguments}}
        if spoken.thoughts:
            part["thoughtSignature"] = _SIGNATURE
        return part

    def _usage(self, question: Question, spoken: Spoken | None, count: int) -> dict[str, Any]:
        usage: dict[str, Any] = {"promptTokenCount": question.input_tokens}
        total = question.input_tokens
        if spoken is not None:
            # Protocol buffers leave a zero out.
            if said := spoken.answer_tokens * count:
                usage["candidatesTokenCount"] = said
                usage["candidatesTokensDetails"] = [{"modality": "TEXT", "tokenCount": said}]
            if thought := spoken.thought_tokens * count:
                usage["thoughtsTokenCount"] = thought
            total += said + thought
        usage["totalTokenCount"] = total
        usage["promptTokensDetails"] = [{"modality": "TEXT", "tokenCount": question.input_tokens}]
        return usage

    def _foot(self, question: Question) -> dict[str, Any]:
        return {"modelVersion": question.model, "responseId": new_id("")}

    def _headers(self, question: Question | None = None) -> dict[str, str]:
        tier = {"x-gemini-service-tier": question.extra["tier"]} if question is not None and self.name == "gemini" else {}
        return {"vary": "Origin, X-Origin, Referer", "x-content-type-options": "nosniff", **tier}

    def count(self, question: Question) -> Reply:
        """Answer countTokens."""
        body = {
            "totalTokens": question.input_tokens,
            "promptTokensDetails": [{"modality": "TEXT", "tokenCount": question.input_tokens}],
        }
        return Reply(to_bytes(encode(body)), headers=self._headers(), content_type=JSON_TYPE)

    def read_embeddings(self, call: Call) -> Question:
        """Read a request for embeddings."""
        return read_google(call)

    def embeddings(self, question: Question) -> Reply:
        """Return the vectors in the form of the method that was called."""
        body = write_google(question, counts=self.name == "vertex")
        return Reply(body, headers=self._headers(), content_type=JSON_TYPE)

    # Refusing -------------------------------------------------------------------------------------------------------

    def problem(self, problem: Problem) -> Reply:
        """Return a google.rpc.Status."""
        _, status, words = _STATUS.get(problem.kind, _STATUS["invalid"])
        message = problem.message or words
        if problem.kind == "missing_model":
            message = self._missing_model(problem.message)
        details: list[dict[str, Any]] = []
        if problem.kind == "authentication" and problem.status == 400:
            details.append(_error_info("API_KEY_INVALID"))
        if problem.kind in ("rate", "daily_quota") and (problem.details or problem.kind == "daily_quota"):
            details.append(self._quota_failure(problem))
        if problem.wait is not None and problem.kind in ("rate", "daily_quota", "overloaded"):
            message += f"\nPlease retry in {problem.wait:.9g}s."
            details.append({"@type": f"{_TYPE}RetryInfo", "retryDelay": f"{max(problem.wait, 0.001):.9g}s"})
        error: dict[str, Any] = {"code": problem.status, "message": message, "status": problem.code or status}
        if details:
            error["details"] = details
        text = json.dumps({"error": error}, ensure_ascii=False, indent=2) + "\n"
        return Reply(to_bytes(text), problem.status, content_type=JSON_TYPE, error=True)

    def _missing_model(self, model: str) -> str:
        return (
            f"models/{model} is not found for API version v1beta, or is not supported for "
            "generateContent. Call ListModels to see the "
            "list of available models and their supported methods."
        )

    def _quota_failure(self, problem: Problem) -> dict[str, Any]:
        limit, model = problem.details.get("limit", 50), problem.details.get("model", "simulated")
        if problem.kind == "daily_quota" or problem.scope == "day":
            metric, quota = "generate_content_free_tier_requests", "GenerateRequestsPerDayPerProjectPerModel-FreeTier"
        elif problem.scope == "tokens":
            metric, quota = (
                "generate_content_free_tier_input_token_count",
                "GenerateContentInputTokensPerModelPerMinute-FreeTier",
            )
        else:
            metric, quota = (
                "generate_content_free_tier_requests",
                "GenerateRequestsPerMinutePerProjectPerModel-FreeTier",
            )
        violation = {
            "quotaMetric": f"generativelanguage.googleapis.com/{metric}",
            "quotaId": quota,
            "quotaDimensions": {"location": "global", "model": model},
            "quotaValue": str(limit),
        }
        return {"@type": f"{_TYPE}QuotaFailure", "violations": [violation]}

    def blocked_prompt(self, question: Question) -> Reply:
        """Answer 200 without candidates and with promptFeedback."""
        body = {
            "promptFeedback": {"blockReason": "SAFETY", "safetyRatings": _blocked_ratings()},
            "usageMetadata": self._usage(question, None, 1),
            **self._foot(question),
        }
        if question.stream:
            return self._streamed(question, [(body, 0)])
        return Reply(to_bytes(encode(body)), headers=self._headers(), content_type=JSON_TYPE)

    def empty(self, question: Question, spoken: Spoken, *, null: bool) -> Reply:
        """Answer without candidates, or with one whose content has no parts."""
        candidate = {"content": {"role": "model"}, "finishReason": "STOP", "index": 0}
        body: dict[str, Any] = {"usageMetadata": self._usage(question, None, 1), **self._foot(question)}
        if null:
            body["candidates"] = [candidate]
        if question.stream:
            return self._streamed(question, [(body, 0)])
        return Reply(to_bytes(encode(body)), headers=self._headers(), content_type=JSON_TYPE)

    def stream_error(self, message: str | None) -> Event:
        """Return bare JSON, which is how Google breaks off a stream: no `data:` before it."""
        error = {
            "code": 503,
            "message": message or "The model is overloaded. Please try again later.",
            "status": "UNAVAILABLE",
        }
        return to_bytes(json.dumps({"error": error}, indent=2) + "\n"), 0

    def model_list(self, models: Iterable[str]) -> Reply:
        """List the models."""
        listed = [
            {
                "name": f"models/{name}", "version": "simulated", "displayName": name, "inputTokenLimit": 1_048_576,
                "outputTokenLimit": 65_536, "supportedGenerationMethods": ["generateContent", "countTokens"],
            }
            for name in models
        ]  # fmt: skip
        return Reply(to_bytes(encode({"models": listed})), headers=self._headers(), content_type=JSON_TYPE)


def _camel(name: str) -> str:
    """Return a field's name in camelCase: Google takes snake_case as well."""
    if "_" not in name:
        return name
    first, *rest = name.split("_")
    return first + "".join(part[:1].upper() + part[1:] for part in rest)


def _text_of(parts: Any) -> str:
    if isinstance(parts, dict):
        parts = [parts]
    if not isinstance(parts, list):
        return ""
    return "".join(part.get("text") or "" for part in parts if isinstance(part, dict) and not part.get("thought"))


def _forced_tool(body: Mapping[str, Any]) -> Tool | None:
    settings = {_camel(name): value for name, value in (body.get("toolConfig") or {}).items()}
    calling = {_camel(name): value for name, value in (settings.get("functionCallingConfig") or {}).items()}
    if calling.get("mode") != "ANY":
        return None
    declared: dict[str, Mapping[str, Any]] = {}
    for tool in body.get("tools") or ():
        fields = {_camel(name): value for name, value in tool.items()}
        for function in fields.get("functionDeclarations") or ():
            declared[function.get("name", "")] = {_camel(name): value for name, value in function.items()}
    allowed = [name for name in calling.get("allowedFunctionNames") or declared if name in declared]
    if not allowed:
        raise refuse(400, "Function calling mode ANY needs at least one function declaration.")
    function = declared[allowed[0]]
    return Tool(allowed[0], function.get("parametersJsonSchema") or function.get("parameters") or {"type": "object"})


def _error_info(reason: str) -> dict[str, Any]:
    return {
        "@type": f"{_TYPE}ErrorInfo",
        "reason": reason,
        "domain": "googleapis.com",
        "metadata": {"service": "generativelanguage.googleapis.com"},
    }


def _blocked_ratings() -> list[dict[str, Any]]:
    return [{"category": "HARM_CATEGORY_DANGEROUS_CONTENT", "probability": "HIGH", "blocked": True}, *_RATINGS[:3]]
