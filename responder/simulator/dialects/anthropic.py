"""Anthropic's Messages API.

Source: https://docs.anthropic.com/en/api/messages and the published Python SDK's types (read 2026-08).
"""

# ruff: noqa: ARG002 - one signature for all dialects, of which each uses what it needs
from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from responder.simulator.answers import Question, Spoken, Tool, message_tokens, pieces
from responder.simulator.limits import LimitState
from responder.simulator.reply import SSE_TYPE, Event, Problem, Reply, encode, refuse, to_bytes
from responder.simulator.schemas import refused_by_anthropic, schema_in_words

from .base import Call, Dialect, bearer, is_json_type, new_id, texts, unknown_field, whole_number

_FIELDS = frozenset(
    {
        "model", "max_tokens", "messages", "system", "temperature", "top_p", "top_k", "stop_sequences", "tools",
        "tool_choice", "thinking", "output_config", "metadata", "service_tier", "stream", "container",
        "inference_geo", "context_management", "mcp_servers", "cache_control", "speed",
    }
)  # fmt: skip
_FINISH = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool": "tool_use",
    "filter": "refusal",
    "stop_sequence": "stop_sequence",
}
_TYPES = {
    "invalid": ("invalid_request_error", "The request is not valid."),
    "authentication": ("authentication_error", "invalid x-api-key"),
    "billing": ("billing_error", "Your credit balance is too low to access the Anthropic API."),
    "permission": ("permission_error", "Your API key does not have permission to use the specified resource."),
    "missing_path": ("not_found_error", "Not found"),
    "missing_model": ("not_found_error", ""),
    "too_large": ("request_too_large", "Request exceeds the maximum size"),
    "rate": ("rate_limit_error", "This request would exceed the rate limit for your organization."),
    "insufficient_quota": ("invalid_request_error", "Your credit balance is too low to access the Anthropic API."),
    "daily_quota": ("rate_limit_error", "You have reached your specified API usage limits."),
    "server": ("api_error", "Internal server error"),
    "overloaded": ("overloaded_error", "Overloaded"),
    "timeout": ("timeout_error", "Request timed out"),
}
# Any text will do: clients send it back unchanged and may not look inside.
_SIGNATURE = "c2ltdWxhdGVkIHNpZ25hdHVyZQ=="


class Anthropic(Dialect):
    """Anthropic."""

    name: ClassVar[str] = "anthropic"
    heartbeat = b'event: ping\ndata: {"type": "ping"}\n\n'

    # Reading --------------------------------------------------------------------------------------------------------

    def key(self, call: Call) -> str:
        """Return the `x-api-key` header, or the bearer token."""
        return call.headers.get("x-api-key") or bearer(call.headers)

    def check_key(self, call: Call, accepted: Iterable[str] | None) -> None:
        """Refuse a wrong key."""
        if accepted is None or self.key(call) in accepted:
            return
        raise refuse(401, "" if self.key(call) else "x-api-key header is required", kind="authentication")

    def read(self, call: Call) -> Question:
        """Read a request for a message, or for its token count."""
        if not is_json_type(call.headers):
            raise refuse(415, "Content-Type must be application/json")
        if not call.valid_json or not isinstance(call.body, dict):
            raise refuse(400, "The request body is not valid JSON: expected value: line 1 column 1 (char 0)")
        body = self._body(call)
        if not isinstance(body.get("model"), str) or not body["model"]:
            raise refuse(400, "model: Field required")
        counting = call.action == "count"
        limit = whole_number(body, "max_tokens")
        if not counting and limit is None:
            raise refuse(400, "max_tokens: Field required")
        if not counting and limit is not None and limit < 1:
            raise refuse(400, "max_tokens: must be greater than or equal to 1")
        if name := unknown_field(body, _FIELDS):
            raise refuse(400, f"{name}: Extra inputs are not permitted")
        prompt, characters, count = self._conversation(body)
        tool = _forced_tool(body)
        thinking = body.get("thinking") or {}
        if thinking.get("type") == "enabled":
            if tool is not None:
                raise refuse(400, "Thinking may not be enabled when tool_choice forces tool use.")
            budget = whole_number(thinking, "budget_tokens") or 0
            if budget < 1024:
                raise refuse(400, "thinking.enabled.budget_tokens: Input should be greater than or equal to 1024")
            if limit is not None and budget >= limit:
                raise refuse(400, "`max_tokens` must be greater than `thinking.budget_tokens`.")
        wanted = (body.get("output_config") or {}).get("format") or {}
        schema = wanted.get("schema") if wanted.get("type") == "json_schema" else None
        if schema is not None and (reason := refused_by_anthropic(schema)):
            raise refuse(400, f"output_config.format.schema: {reason}")
        if schema is None and "JSON Schema" in (told := _text_of(body.get("system") or "")):
            schema = schema_in_words(told) or None
        return Question(
            model=body["model"],
            prompt=prompt,
            input_tokens=message_tokens(characters, count),
            stream=body.get("stream") is True,
            max_tokens=limit,
            stop=texts(body.get("stop_sequences")),
            schema=schema,
            tool=tool,
            thinking=thinking.get("type") in ("enabled", "adaptive"),
        )

    def _body(self, call: Call) -> Mapping[str, Any]:
        """Return the body as Anthropic's own API has it, with the model's name; refuse one without a version."""
        if not call.headers.get("anthropic-version"):
            raise refuse(400, "anthropic-version: header is required")
        body: Mapping[str, Any] = call.body
        return body

    def _conversation(self, body: Mapping[str, Any]) -> tuple[str, int, int]:
        messages = body.get("messages")
        if messages is None:
            raise refuse(400, "messages: Field required")
        if not isinstance(messages, list):
            raise refuse(400, "messages: Input should be a valid list")
        if not messages:
            raise refuse(400, "messages: at least one message is required")
        prompt, characters = "", 0
        for index, message in enumerate(messages):
            role = message.get("role") if isinstance(message, dict) else None
            if role == "system":
                raise refuse(
                    400,
                    'messages: Unexpected role "system". The Messages API accepts a top-level '
                    '`system` parameter, not "system" as an '
                    "input message role.",
                )
            if role not in ("user", "assistant"):
                raise refuse(400, f"messages.{index}.role: Input should be 'user' or 'assistant'")
            content = message.get("content")
            if not isinstance(content, (str, list)):
                raise refuse(400, f"messages.{index}.content: Field required")
            if not content and index < len(messages) - 1:
                raise refuse(400, f"messages.{index}: all messages must have non-empty content")
            text = _text_of(content)
            characters += len(text)
            if role == "user":
                prompt = text
        system = body.get("system")
        characters += len(_text_of(system)) if system else 0
        return prompt, characters, len(messages) + bool(system)

    # Answering ------------------------------------------------------------------------------------------------------

    def plain(self, question: Question, spoken: Spoken) -> Reply:
        """Return a message."""
        body = {**self._message(question, spoken), "content": self._blocks(spoken), **_stop(spoken)}
        body["usage"] = _usage(question, spoken.answer_tokens + spoken.thought_tokens)
        return Reply(to_bytes(encode(body)), headers=self._headers())

    def stream(self, question: Question, spoken: Spoken) -> Reply:
        """Return the sequence of named events."""
        message = {**self._message(question, spoken), "content": [], "usage": _usage(question, 1)}
        events = [_event("message_start", {"message": message})]
        for index, block in enumerate(self._blocks(spoken)):
            start, deltas = _in_pieces(block)
            events.append(_event("content_block_start", {"index": index, "content_block": start}))
            if index == 0:
                events.append((self.heartbeat, 0))
            events.extend(_event("content_block_delta", {"index": index, "delta": delta}, tokens) for delta, tokens in deltas)
            events.append(_event("content_block_stop", {"index": index}))
        usage = _usage(question, spoken.answer_tokens + spoken.thought_tokens)
        events.append(_event("message_delta", {"delta": _stop(spoken), "usage": usage}))
        events.append(_event("message_stop", {}))
        return Reply(events=events, content_type=SSE_TYPE, headers=self._headers())

    def _message(self, question: Question, spoken: Spoken) -> dict[str, Any]:
        return {
            "id": new_id("msg_"),
            "type": "message",
            "role": "assistant",
            "model": question.model,
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "stop_details": None,
        }

    def _blocks(self, spoken: Spoken) -> list[dict[str, Any]]:
        blocks: list[dict[str, Any]] = []
        if spoken.thoughts:
            blocks.append({"type": "thinking", "thinking": spoken.thoughts, "signature": _SIGNATURE})
        if spoken.tool is not None:
            blocks.append({"type": "tool_use", "id": new_id("toolu_"), "name": spoken.tool.name, "input": spoken.arguments})
        elif spoken.text:
            blocks.append({"type": "text", "text": spoken.text})
        return blocks

    def _headers(self) -> dict[str, str]:
        return {"request-id": new_id("req_"), "anthropic-organization-id": "simulated"}

    def count(self, question: Question) -> Reply:
        """Answer count_tokens."""
        return Reply(to_bytes(encode({"input_tokens": question.input_tokens})), headers=self._headers())

    # Refusing -------------------------------------------------------------------------------------------------------

    def problem(self, problem: Problem) -> Reply:
        """Return an error object."""
        kind, words = _TYPES.get(problem.kind, _TYPES["invalid"])
        message = problem.message or words
        status = problem.status
        if problem.kind == "missing_model":
            message = f"model: {problem.message}"
        if problem.kind == "insufficient_quota":
            # Anthropic has no 429 for spent credit: it is a 400 with this text.
            status = 400
        if problem.status == 529:
            kind = "overloaded_error"
        request_id = new_id("req_")
        body = {"type": "error", "error": {"type": problem.code or kind, "message": message}, "request_id": request_id}
        headers = {"request-id": request_id}
        if problem.wait is not None:
            headers["retry-after"] = str(max(1, -int(-problem.wait // 1)))
        return Reply(to_bytes(encode(body)), status, headers, error=True)

    def blocked_prompt(self, question: Question) -> Reply:
        """Answer with the stop reason "refusal" and no content."""
        return self.reply(question, Spoken(finish="filter"))

    def empty(self, question: Question, spoken: Spoken, *, null: bool) -> Reply:
        """Answer without content, or with an empty text block."""
        if not null:
            return self.reply(question, Spoken())
        body = {**self._message(question, spoken), "content": [{"type": "text", "text": ""}], "stop_reason": "end_turn"}
        if question.stream:
            return self.reply(question, Spoken())
        return Reply(to_bytes(encode({**body, "usage": _usage(question, 0)})), headers=self._headers())

    def stream_error(self, message: str | None) -> Event:
        """Return the error event."""
        error = {"details": None, "type": "overloaded_error", "message": message or "Overloaded"}
        return _event("error", {"error": error, "request_id": new_id("req_")})

    def model_list(self, models: Iterable[str]) -> Reply:
        """List the models."""
        data = [{"type": "model", "id": name, "display_name": name, "created_at": "2026-01-01T00:00:00Z"} for name in models]
        body = {
            "data": data,
            "has_more": False,
            "first_id": data[0]["id"] if data else None,
            "last_id": data[-1]["id"] if data else None,
        }
        return Reply(to_bytes(encode(body)), headers=self._headers())

    def limit_headers(self, state: LimitState) -> dict[str, str]:
        """Return the anthropic-ratelimit headers; resets are points in time (RFC 3339, UTC)."""
        headers: dict[str, str] = {}
        now = time.time()
        for limit, left, reset, names in (
            (state.request_limit, state.requests_left, state.requests_reset, ("requests",)),
            (state.token_limit, state.tokens_left, state.tokens_reset, ("tokens", "input-tokens")),
        ):
            if limit is not None:
                moment = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now + reset))
                for name in names:
                    headers[f"anthropic-ratelimit-{name}-limit"] = str(limit)
                    headers[f"anthropic-ratelimit-{name}-remaining"] = str(left)
                    headers[f"anthropic-ratelimit-{name}-reset"] = moment
        return headers


def _event(name: str, fields: dict[str, Any], tokens: int = 0) -> Event:
    # Anthropic pads its data lines with spaces before the last brace: legal JSON, and a trap for string matching.
    text = encode({"type": name, **fields})
    return to_bytes(f"event: {name}\ndata: {text[:-1]}{' ' * (len(text) % 8)}}}\n\n"), tokens


def _in_pieces(block: dict[str, Any]) -> tuple[dict[str, Any], list[tuple[dict[str, Any], int]]]:
    if block["type"] == "text":
        return {"type": "text", "text": ""}, [({"type": "text_delta", "text": piece}, 1) for piece in pieces(block["text"])]
    if block["type"] == "thinking":
        deltas = [({"type": "thinking_delta", "thinking": piece}, 1) for piece in pieces(block["thinking"])]
        deltas.append(({"type": "signature_delta", "signature": block["signature"]}, 0))
        return {"type": "thinking", "thinking": "", "signature": ""}, deltas
    # The first piece is empty, as recorded; without arguments nothing else follows.
    arguments = encode(block["input"]) if block["input"] else ""
    deltas = [({"type": "input_json_delta", "partial_json": piece}, 1) for piece in ("", *pieces(arguments))]
    return {**block, "input": {}}, deltas


def _stop(spoken: Spoken) -> dict[str, Any]:
    details = {"type": "refusal", "category": None, "explanation": None} if spoken.finish == "filter" else None
    return {"stop_reason": _FINISH.get(spoken.finish, spoken.finish), "stop_sequence": spoken.stopped_at, "stop_details": details}


def _usage(question: Question, output_tokens: int) -> dict[str, Any]:
    return {
        "input_tokens": question.input_tokens,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 0,
        "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 0},
        "output_tokens": output_tokens,
        "service_tier": "standard",
    }


def _text_of(content: Any) -> str:
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return ""
    return "".join(block.get("text") or "" for block in content if isinstance(block, dict) and block.get("type") == "text")


def _forced_tool(body: Mapping[str, Any]) -> Tool | None:
    choice = body.get("tool_choice") or {}
    tools = {tool.get("name"): tool for tool in body.get("tools") or () if isinstance(tool, dict)}
    if choice.get("type") not in ("any", "tool"):
        return None
    if not tools:
        raise refuse(400, "tool_choice: may only be specified while providing tools")
    name = choice.get("name") if choice["type"] == "tool" else next(iter(tools))
    if name not in tools:
        raise refuse(400, f"Tool '{name}' not found in provided tools")
    return Tool(str(name), tools[name].get("input_schema") or {"type": "object"})
