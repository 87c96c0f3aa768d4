"""How does OpenAI's Responses API speak? Items in, items out, typed events, and no `[DONE]`.

Source: https://platform.openai.com/docs/api-reference/responses and the published OpenAPI document (read 2026-11).
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import Any

from responder.simulator.answers import Question, Spoken, Tool, message_tokens, pieces
from responder.simulator.reply import SSE_TYPE, Event, Reply, encode, refuse, to_bytes
from responder.simulator.schemas import refused_by_openai

from .base import Call, new_id, tier_of, unknown_field, whole_number
from .openai import OpenAI

_FIELDS = frozenset(
    {
        "background", "background_options", "conversation", "include", "input", "instructions", "max_output_tokens",
        "max_tool_calls", "metadata", "model", "moderation", "parallel_tool_calls", "previous_response_id", "prompt",
        "prompt_cache_key", "prompt_cache_options", "prompt_cache_retention", "reasoning", "safety_identifier",
        "service_tier", "store", "stream", "stream_options", "temperature", "text", "tool_choice", "tools", "top_logprobs",
        "top_p", "truncation", "user",
    }
)  # fmt: skip


class Responses(OpenAI):
    """OpenAI's newer API. Keys, limits and errors are those of Chat Completions."""

    def read(self, call: Call) -> Question:
        """Read a request for a response."""
        body = call.body
        if not call.valid_json or not isinstance(body, dict):
            raise refuse(400, "We could not parse the JSON body of your request. The API expects a JSON payload.")
        model = body.get("model")
        if not isinstance(model, str) or not model:
            raise refuse(400, "Missing required parameter: 'model'.", param="model", code="missing_required_parameter")
        if name := unknown_field(body, _FIELDS):
            raise refuse(400, f"Unknown parameter: '{name}'.", param=name, code="unknown_parameter")
        limit = whole_number(body, "max_output_tokens")
        if limit is not None and limit < 16:
            raise refuse(
                400,
                f"Invalid 'max_output_tokens': integer below minimum value. Expected a value >= 16, but got {limit} instead.",
                param="max_output_tokens",
                code="integer_below_min_value",
            )
        items = _items(body.get("input"))
        prompt = next((_said(item) for item in reversed(items) if item.get("role") == "user"), "")
        characters = sum(len(_said(item)) for item in items) + len(body.get("instructions") or "")
        effort = (body.get("reasoning") or {}).get("effort")
        return Question(
            model=model,
            prompt=prompt,
            input_tokens=message_tokens(characters, len(items)),
            stream=body.get("stream") is True,
            max_tokens=limit,
            schema=_schema(body),
            tool=_tool(body),
            thinking=effort not in (None, "none"),
            extra={
                "encrypted": "reasoning.encrypted_content" in (body.get("include") or ()),
                "store": body.get("store", True),
                "tier": tier_of(body, "service_tier", "default"),
            },
        )

    def plain(self, question: Question, spoken: Spoken) -> Reply:
        """Return a response object."""
        response = self._response(question, spoken, self._output(question, spoken))
        return Reply(to_bytes(encode(response)), headers=self._headers())

    def stream(self, question: Question, spoken: Spoken) -> Reply:
        """Return the typed events of a response."""
        output = self._output(question, spoken)
        whole = self._response(question, spoken, output)
        begun = {**whole, "status": "in_progress", "output": [], "usage": None, "incomplete_details": None}
        told: list[tuple[dict[str, Any], int]] = [
            ({"type": "response.created", "response": begun}, 0),
            ({"type": "response.in_progress", "response": begun}, 0),
        ]
        for index, item in enumerate(output):
            told += _events_of(index, item)
        told.append(({"type": f"response.{whole['status']}", "response": whole}, 0))
        events: list[Event] = []
        for number, (event, tokens) in enumerate(told):
            data = encode({**event, "sequence_number": number})
            events.append((to_bytes(f"event: {event['type']}\ndata: {data}\n\n"), tokens))
        return Reply(events=events, content_type=SSE_TYPE, headers=self._headers())

    def _output(self, question: Question, spoken: Spoken) -> list[dict[str, Any]]:
        items: list[dict[str, Any]] = []
        if spoken.thoughts:
            thought: dict[str, Any] = {"id": new_id("rs_"), "type": "reasoning", "summary": []}
            thought["summary"].append({"type": "summary_text", "text": spoken.thoughts})
            if question.extra["encrypted"]:
                thought["encrypted_content"] = "Z0FBQUFBc2ltdWxhdGVk"
            items.append(thought)
        if spoken.tool is not None:
            call = {"id": new_id("fc_"), "type": "function_call", "status": "completed", "call_id": new_id("call_")}
            items.append({**call, "name": spoken.tool.name, "arguments": encode(spoken.arguments)})
        elif spoken.text:
            part = {"type": "output_text", "text": spoken.text, "annotations": [], "logprobs": []}
            items.append({"id": new_id("msg_"), "type": "message", "status": "completed", "role": "assistant", "content": [part]})
        return items

    def _response(self, question: Question, spoken: Spoken, output: list[dict[str, Any]]) -> dict[str, Any]:
        reasons = {"length": "max_output_tokens", "filter": "content_filter"}
        reason = reasons.get(spoken.finish)
        made = spoken.answer_tokens + spoken.thought_tokens
        return {
            "id": new_id("resp_"),
            "object": "response",
            "created_at": int(time.time()),
            "status": "completed" if reason is None else "incomplete",
            "error": None,
            "incomplete_details": None if reason is None else {"reason": reason},
            "instructions": None,
            "metadata": {},
            "model": question.model,
            "output": output,
            "parallel_tool_calls": True,
            "service_tier": question.extra["tier"],
            "store": question.extra["store"],
            "temperature": 1.0,
            "tool_choice": "auto",
            "tools": [],
            "top_p": 1.0,
            "usage": {
                "input_tokens": question.input_tokens,
                "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
                "output_tokens": made,
                "output_tokens_details": {"reasoning_tokens": spoken.thought_tokens},
                "total_tokens": question.input_tokens + made,
            },
        }

    def empty(self, question: Question, spoken: Spoken, *, null: bool) -> Reply:  # noqa: ARG002 - one form is all there is
        """Return a response without output."""
        silent = Spoken()
        return self.stream(question, silent) if question.stream else self.plain(question, silent)

    def stream_error(self, message: str | None) -> Event:
        """Return an `error` event."""
        words = message or "The server had an error while processing your request."
        event = {"type": "error", "code": "server_error", "message": words, "param": None, "sequence_number": 0}
        return to_bytes(f"event: error\ndata: {encode(event)}\n\n"), 0

    def check_model(self, question: Question, models: Iterable[str]) -> None:
        """Refuse a model that does not exist: with 400, other than in Chat Completions."""
        if question.model not in models:
            words = f"The requested model '{question.model}' does not exist."
            raise refuse(400, words, param="model", code="model_not_found")


def _events_of(index: int, item: Mapping[str, Any]) -> Iterable[tuple[dict[str, Any], int]]:
    """Yield the events of an item, and how many output tokens each carries."""
    place = {"output_index": index}
    inside = {"item_id": item["id"], **place}
    kind = item["type"]
    if kind == "message":
        text = item["content"][0]["text"]
        inside["content_index"] = 0
        yield {"type": "response.output_item.added", **place, "item": {**item, "status": "in_progress", "content": []}}, 0
        yield {"type": "response.content_part.added", **inside, "part": {**item["content"][0], "text": ""}}, 0
        for piece in pieces(text):
            yield {"type": "response.output_text.delta", **inside, "delta": piece, "logprobs": []}, 1
        yield {"type": "response.output_text.done", **inside, "text": text, "logprobs": []}, 0
        yield {"type": "response.content_part.done", **inside, "part": item["content"][0]}, 0
    elif kind == "function_call":
        arguments = item["arguments"]
        yield {"type": "response.output_item.added", **place, "item": {**item, "status": "in_progress", "arguments": ""}}, 0
        for piece in pieces(arguments):
            yield {"type": "response.function_call_arguments.delta", **inside, "delta": piece}, 1
        done = {"type": "response.function_call_arguments.done", **inside, "name": item["name"], "arguments": arguments}
        yield done, 0
    else:
        thoughts = item["summary"][0]["text"]
        inside["summary_index"] = 0
        yield {"type": "response.output_item.added", **place, "item": {**item, "summary": []}}, 0
        yield {"type": "response.reasoning_summary_part.added", **inside, "part": {"type": "summary_text", "text": ""}}, 0
        for piece in pieces(thoughts):
            yield {"type": "response.reasoning_summary_text.delta", **inside, "delta": piece}, 1
        yield {"type": "response.reasoning_summary_text.done", **inside, "text": thoughts}, 0
        yield {"type": "response.reasoning_summary_part.done", **inside, "part": item["summary"][0]}, 0
    yield {"type": "response.output_item.done", **place, "item": dict(item)}, 0


def _items(given: Any) -> list[Mapping[str, Any]]:
    """Return the items of the input; refuse what is none, and a call whose result, or a result whose call, is missing."""
    if isinstance(given, str):
        return [{"role": "user", "content": given}]
    if not isinstance(given, list) or not given:
        raise refuse(400, "Missing required parameter: 'input'.", param="input", code="missing_required_parameter")
    for index, item in enumerate(given):
        if not isinstance(item, dict) or not ("role" in item or isinstance(item.get("type"), str)):
            raise refuse(400, f"Invalid value: 'input[{index}]'.", param=f"input[{index}]", code="invalid_value")
    calls = {item.get("call_id") for item in given if item.get("type") == "function_call"}
    results = {item.get("call_id") for item in given if item.get("type") == "function_call_output"}
    for missing in sorted(map(str, calls - results)):
        raise refuse(400, f"No tool output found for function call {missing}.", param="input")
    for missing in sorted(map(str, results - calls)):
        raise refuse(400, f"No tool call found for function call output with call_id {missing}.", param="input")
    return given


def _said(item: Mapping[str, Any]) -> str:
    content = item.get("content", item.get("output"))
    if isinstance(content, list):
        return "".join(part.get("text") or "" for part in content if isinstance(part, dict))
    return content if isinstance(content, str) else ""


def _schema(body: Mapping[str, Any]) -> Mapping[str, Any] | None:
    wanted = (body.get("text") or {}).get("format")
    if not isinstance(wanted, dict) or wanted.get("type") != "json_schema":
        return None
    if not isinstance(wanted.get("name"), str):
        words = "Missing required parameter: 'text.format.name'."
        raise refuse(400, words, param="text.format.name", code="missing_required_parameter")
    schema: Mapping[str, Any] = wanted.get("schema") or {}
    if wanted.get("strict") is not False and (reason := refused_by_openai(schema)):
        words = f"Invalid schema for response_format '{wanted['name']}': {reason}"
        raise refuse(400, words, param="text.format.schema", code="invalid_json_schema")
    return schema


def _tool(body: Mapping[str, Any]) -> Tool | None:
    tools = {tool["name"]: tool for tool in body.get("tools") or () if isinstance(tool, dict) and tool.get("type") == "function"}
    choice = body.get("tool_choice")
    if choice == "required" and tools:
        name = next(iter(tools))
    elif isinstance(choice, dict) and choice.get("type") == "function":
        name = str(choice.get("name"))
        if name not in tools:
            raise refuse(400, f"Tool choice '{name}' not found in 'tools' parameter.", param="tool_choice")
    else:
        return None
    return Tool(name, tools[name].get("parameters") or {"type": "object"})
