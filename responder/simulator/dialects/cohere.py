"""How does Cohere's API speak, version 2? Chats whole and as typed events, tools, schemas, and embeddings.

Source: https://docs.cohere.com/reference/chat, /reference/chat-stream, /docs/structured-outputs, and Cohere's published Python
SDK (read 2026-11).
"""

# ruff: noqa: ARG002 - one signature for all dialects, of which each uses what it needs
from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from responder.simulator.answers import Question, Spoken, Tool, message_tokens, pieces
from responder.simulator.reply import SSE_TYPE, Event, Problem, Reply, encode, refuse, to_bytes
from responder.simulator.schemas import refused_by_cohere

from .base import Call, Dialect, bearer, new_id, texts, unknown_field, whole_number
from .cohere_embeddings import question_of_cohere, vectors_by_type

_FIELDS = frozenset(
    {
        "model", "messages", "tools", "strict_tools", "documents", "citation_options", "response_format", "safety_mode",
        "max_tokens", "stop_sequences", "temperature", "seed", "frequency_penalty", "presence_penalty", "k", "p", "logprobs",
        "tool_choice", "thinking", "priority", "stream", "raw_prompting",
    }
)  # fmt: skip
_FINISH = {
    "stop": "COMPLETE",
    "length": "MAX_TOKENS",
    "tool": "TOOL_CALL",
    "filter": "ERROR_TOXIC",
    "stop_sequence": "STOP_SEQUENCE",
}
_WORDS = {
    "invalid": "invalid request",
    "authentication": "invalid api token",
    "billing": "Please add or update your payment method at https://dashboard.cohere.com/billing to continue",
    "permission": "you do not have access to this resource",
    "missing_path": "404 page not found",
    "too_large": "too many tokens: the request is larger than the model's context",
    "rate": "Please wait and try again later",
    "insufficient_quota": "You have reached your billing limit. Please raise it at https://dashboard.cohere.com/billing",
    "daily_quota": "You are using a Trial key, which is limited to 1000 API calls / month.",
    "server": "internal server error, this has been reported to our developers",
    "overloaded": "the service is temporarily unavailable, please try again later",
    "timeout": "the request timed out",
}
_DONE: Event = (b"data: [DONE]\n\n", 0)


class Cohere(Dialect):
    """Cohere's own API."""

    name: ClassVar[str] = "cohere"

    # Reading --------------------------------------------------------------------------------------------------------

    def key(self, call: Call) -> str:
        """Return the bearer token."""
        return bearer(call.headers)

    def check_key(self, call: Call, accepted: Iterable[str] | None) -> None:
        """Refuse a missing key, and a wrong one."""
        if not self.key(call):
            raise refuse(401, "no api key supplied", kind="authentication")
        if accepted is not None and self.key(call) not in accepted:
            raise refuse(401, "", kind="authentication")

    def read(self, call: Call) -> Question:
        """Read a request for a chat."""
        body = _object(call)
        if name := unknown_field(body, _FIELDS):
            raise refuse(400, f"invalid request: unknown field '{name}'")
        limit = whole_number(body, "max_tokens")
        if limit is not None and limit < 1:
            raise refuse(400, "invalid request: max_tokens must be at least 1")
        prompt, characters, count = _conversation(body)
        return Question(
            model=body["model"],
            prompt=prompt,
            input_tokens=message_tokens(characters, count),
            stream=body.get("stream") is True,
            max_tokens=limit,
            stop=texts(body.get("stop_sequences")),
            schema=_schema(body),
            tool=_tool(body),
            thinking=(body.get("thinking") or {}).get("type") == "enabled",
        )

    def read_embeddings(self, call: Call) -> Question:
        """Read a request for embeddings."""
        body = _object(call)
        return question_of_cohere(body["model"], body)

    # Answering ------------------------------------------------------------------------------------------------------

    def plain(self, question: Question, spoken: Spoken) -> Reply:
        """Return a chat's answer."""
        return self._whole(question, spoken, _message(spoken))

    def _whole(self, question: Question, spoken: Spoken, message: dict[str, Any]) -> Reply:
        body = {
            "id": new_id(""),
            "message": message,
            "finish_reason": _FINISH.get(spoken.finish, spoken.finish),
            "usage": _usage(question, spoken),
        }
        return Reply(to_bytes(encode(body)), headers=_headers(question))

    def stream(self, question: Question, spoken: Spoken) -> Reply:
        """Return the typed events of a chat."""
        return self._streamed(question, spoken, _message(spoken))

    def _streamed(self, question: Question, spoken: Spoken, message: Mapping[str, Any]) -> Reply:
        opened = {"role": "assistant", "content": [], "tool_plan": "", "tool_calls": [], "citations": []}
        events = [_event({"type": "message-start", "id": new_id(""), "delta": {"message": opened}})]
        for index, part in enumerate(message.get("content", ())):
            events += _content_events(index, part)
        if plan := message.get("tool_plan"):
            events += [_event({"type": "tool-plan-delta", **_delta(tool_plan=piece)}, 1) for piece in pieces(plan)]
        for index, call in enumerate(message.get("tool_calls", ())):
            events += _call_events(index, call)
        end = {"finish_reason": _FINISH.get(spoken.finish, spoken.finish), "usage": _usage(question, spoken)}
        events += [_event({"type": "message-end", "delta": end}), _DONE]
        return Reply(events=events, content_type=SSE_TYPE, headers=_headers(question))

    def embeddings(self, question: Question) -> Reply:
        """Return the vectors by type, and what is billed."""
        billed = {"input_tokens": question.input_tokens, "image_tokens": 0}
        body = {**vectors_by_type(question), "meta": {"api_version": {"version": "2"}, "billed_units": billed}}
        return Reply(to_bytes(encode(body)), headers=_headers(question))

    # Refusing -------------------------------------------------------------------------------------------------------

    def problem(self, problem: Problem) -> Reply:
        """Return `{"id", "message"}`."""
        message = problem.message or _WORDS.get(problem.kind, _WORDS["invalid"])
        status = 402 if problem.kind == "insufficient_quota" else problem.status
        if problem.kind == "missing_model":
            message = f"model '{problem.message}' not found, make sure the model ID is correct and that you have access to it."
        return Reply(to_bytes(encode({"id": new_id(""), "message": message})), status, error=True)

    def blocked_prompt(self, question: Question) -> Reply:
        """Refuse the prompt."""
        return self.problem(Problem(422, "invalid", "invalid request: the prompt was blocked by the safety filter"))

    def empty(self, question: Question, spoken: Spoken, *, null: bool) -> Reply:
        """Answer without content, or with an empty text."""
        make = self._streamed if question.stream else self._whole
        content = [{"type": "text", "text": ""}] if null else []
        return make(question, Spoken(), {"role": "assistant", "content": content})

    def stream_error(self, message: str | None) -> Event:
        """Return a last event that says why the stream broke off."""
        delta = {"finish_reason": "ERROR", "error": message or _WORDS["server"]}
        return _event({"type": "message-end", "delta": delta})

    def model_list(self, models: Iterable[str]) -> Reply:
        """List the models."""
        body = {"models": [{"name": name, "endpoints": ["chat", "embed"]} for name in models]}
        return Reply(to_bytes(encode(body)))


def _object(call: Call) -> dict[str, Any]:
    body = call.body
    if not call.valid_json or not isinstance(body, dict):
        raise refuse(400, "invalid request: the body is not a JSON object")
    if not isinstance(body.get("model"), str) or not body["model"]:
        raise refuse(400, "invalid request: model is required")
    return body


def _conversation(body: Mapping[str, Any]) -> tuple[str, int, int]:
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise refuse(400, "invalid request: messages must be a non-empty list")
    prompt, characters, calls = "", 0, set[str]()
    for index, message in enumerate(messages):
        role = message.get("role") if isinstance(message, dict) else None
        if role not in ("system", "user", "assistant", "tool"):
            raise refuse(400, f"invalid request: messages[{index}].role must be one of system, user, assistant, tool")
        if role == "tool" and message.get("tool_call_id") not in calls:
            raise refuse(400, f"invalid tool message at messages[{index}]: tool call id not found in previous tool calls")
        calls |= {call.get("id") for call in message.get("tool_calls") or ()}
        text = _said(message.get("content"))
        if role in ("user", "system") and not message.get("content"):
            raise refuse(400, f"invalid request: messages[{index}].content must not be empty")
        characters += len(text)
        prompt = text if role == "user" else prompt
    return prompt, characters, len(messages)


def _said(content: Any) -> str:
    if isinstance(content, list):
        return "".join(part.get("text") or "" for part in content if isinstance(part, dict))
    return content if isinstance(content, str) else ""


def _schema(body: Mapping[str, Any]) -> Mapping[str, Any] | None:
    wanted = body.get("response_format") or {}
    if wanted.get("type") not in (None, "text", "json_object"):
        raise refuse(400, f"invalid request: response_format.type {wanted['type']!r} is not supported")
    if wanted.get("type") != "json_object":
        return None
    schema: Mapping[str, Any] = wanted.get("json_schema") or wanted.get("schema") or {}
    if schema and (reason := refused_by_cohere(schema)):
        raise refuse(400, f"invalid request: invalid 'json_schema' provided: {reason}")
    return schema


def _tool(body: Mapping[str, Any]) -> Tool | None:
    tools = {tool["function"]["name"]: tool["function"] for tool in body.get("tools") or ()}
    choice = body.get("tool_choice")
    if choice not in (None, "REQUIRED", "NONE"):
        raise refuse(400, "invalid request: tool_choice must be REQUIRED or NONE")
    if choice is not None and not tools:
        raise refuse(400, "invalid request: tool_choice needs tools")
    if choice != "REQUIRED":
        return None
    name = next(iter(tools))
    return Tool(name, tools[name].get("parameters") or {"type": "object"})


def _message(spoken: Spoken) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": []}
    if spoken.thoughts:
        message["content"].append({"type": "thinking", "thinking": spoken.thoughts})
    if spoken.tool is not None:
        function = {"name": spoken.tool.name, "arguments": encode(spoken.arguments)}
        message["tool_plan"] = "I will call the tool."
        message["tool_calls"] = [{"id": new_id(f"{spoken.tool.name}_"), "type": "function", "function": function}]
    elif spoken.text:
        message["content"].append({"type": "text", "text": spoken.text})
    return message if message["content"] else {name: value for name, value in message.items() if name != "content"}


def _usage(question: Question, spoken: Spoken) -> dict[str, Any]:
    made = spoken.answer_tokens + spoken.thought_tokens
    counts = {"input_tokens": question.input_tokens, "output_tokens": made}
    return {"billed_units": dict(counts), "tokens": counts, "cached_tokens": 0}


def _headers(question: Question) -> dict[str, str]:
    return {"num_chars": str(len(question.prompt)), "num_tokens": str(question.input_tokens)}


def _event(event: Mapping[str, Any], tokens: int = 0) -> Event:
    return to_bytes(f"event: {event['type']}\ndata: {encode(event)}\n\n"), tokens


def _delta(**message: Any) -> dict[str, Any]:
    return {"delta": {"message": message}}


def _content_events(index: int, part: Mapping[str, Any]) -> list[Event]:
    kind = part["type"]
    start = {"type": "content-start", "index": index, **_delta(content={"type": kind, kind: ""})}
    deltas = [
        _event({"type": "content-delta", "index": index, **_delta(content={kind: piece})}, 1) for piece in pieces(part[kind])
    ]
    return [_event(start), *deltas, _event({"type": "content-end", "index": index})]


def _call_events(index: int, call: Mapping[str, Any]) -> list[Event]:
    begun = {**call, "function": {"name": call["function"]["name"], "arguments": ""}}
    deltas = [
        _event({"type": "tool-call-delta", "index": index, **_delta(tool_calls={"function": {"arguments": piece}})}, 1)
        for piece in pieces(call["function"]["arguments"])
    ]
    start = _event({"type": "tool-call-start", "index": index, **_delta(tool_calls=begun)})
    return [start, *deltas, _event({"type": "tool-call-end", "index": index})]
