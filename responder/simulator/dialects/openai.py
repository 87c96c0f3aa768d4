"""OpenAI's Chat Completions, as OpenAI and (with the quirks of `hosts.py`) many others speak it.

Source: https://platform.openai.com/docs/api-reference/chat and the published OpenAPI document (read 2026-08).
"""

# ruff: noqa: ARG002 - one signature for all dialects, of which each uses what it needs
from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from responder.simulator.answers import Question, Spoken, Tool, message_tokens, pieces
from responder.simulator.limits import LimitState
from responder.simulator.reply import SSE_TYPE, Event, Problem, Reply, encode, refuse, to_bytes
from responder.simulator.schemas import refused_by_openai, schema_in_words

from .base import Call, Dialect, bearer, is_json_type, new_id, texts, tier_of, unknown_field, whole_number
from .embeddings import read_openai, write_openai
from .hosts import Host
from .openai_refusals import ERROR_SHAPES, USUAL, go_duration, limit_headers, rate_message

_FIELDS = frozenset(
    {
        "audio", "frequency_penalty", "function_call", "functions", "logit_bias", "logprobs",
        "max_completion_tokens", "max_tokens", "messages", "metadata", "modalities", "model", "moderation", "n",
        "parallel_tool_calls", "prediction", "presence_penalty", "prompt_cache_key", "prompt_cache_options",
        "prompt_cache_retention",
        "reasoning_effort", "response_format", "safety_identifier", "seed", "service_tier", "stop", "store",
        "stream", "stream_options", "temperature", "tool_choice", "tools", "top_logprobs", "top_p", "user",
        "verbosity", "web_search_options",
    }
)  # fmt: skip
_MOST_CHOICES = 128
_ROLES = ("system", "assistant", "user", "function", "tool", "developer")
_FINISH = {"stop_sequence": "stop", "tool": "tool_calls", "filter": "content_filter"}
_DONE: Event = (b"data: [DONE]\n\n", 0)


class OpenAI(Dialect):
    """OpenAI itself, or (with a `host`) one of the others."""

    name: ClassVar[str] = "openai"
    strict_fields: ClassVar[bool] = True

    def __init__(self, host: Host | None = None) -> None:
        self.host = host or Host("openai", strict_schemas=True, wants_word_json=True)

    def provider(self, call: Call) -> str:
        """Return the host's name."""
        return self.host.name

    # Reading --------------------------------------------------------------------------------------------------------

    def key(self, call: Call) -> str:
        """Return the bearer token."""
        return bearer(call.headers)

    def check_key(self, call: Call, accepted: Iterable[str] | None) -> None:
        """Refuse a wrong key with this host's status."""
        if accepted is None or self.key(call) in accepted:
            return
        if self.key(call):
            raise refuse(self.host.bad_key_status, "", kind="authentication")
        raise refuse(self.host.bad_key_status, "You didn't provide an API key.", kind="authentication")

    def read(self, call: Call) -> Question:
        """Read a request for a chat completion."""
        if not is_json_type(call.headers):
            raise refuse(
                415 if self.host.name != "openai" else 400,
                (
                    f"Unsupported content type: '{call.headers.get('content-type', '')}'. This API method "
                    "only accepts 'application/json' requests."
                ),
                code="unsupported_content_type",
            )
        body = call.body
        if not call.valid_json or not isinstance(body, dict):
            raise refuse(400, "We could not parse the JSON body of your request. The API expects a JSON payload.")
        model = call.model or body.get("model")
        if not isinstance(model, str) or not model:
            raise refuse(400, "you must provide a model parameter")
        if self.strict_fields and self.host.name == "openai" and (name := unknown_field(body, _FIELDS)):
            raise refuse(400, f"Unrecognized request argument supplied: {name}")
        for name in self.host.refused:
            if name in body:
                raise refuse(422 if self.host.errors == "mistral" else 400, f"property '{name}' is not supported", param=name)
        prompt, characters = self._conversation(body)
        stream = body.get("stream") is True
        if "stream_options" in body and body["stream_options"] is not None and not stream:
            raise refuse(400, "The 'stream_options' parameter is only allowed when 'stream' is enabled.", param="stream_options")
        limit = whole_number(body, "max_completion_tokens", "max_tokens")
        if limit is not None and limit < 1:
            raise refuse(
                400,
                f"Invalid 'max_tokens': integer below minimum value. Expected a value >= 1, but got {limit} instead.",
                param="max_tokens",
                code="integer_below_min_value",
            )
        count = whole_number(body, "n") or 1
        if count > _MOST_CHOICES:
            raise refuse(
                400,
                f"Invalid 'n': integer above maximum value. Expected a value <= {_MOST_CHOICES}, but got {count} instead.",
                param="n",
                code="integer_above_max_value",
            )
        return Question(
            model=model,
            prompt=prompt,
            input_tokens=message_tokens(characters, len(body["messages"])),
            stream=stream,
            max_tokens=limit,
            count=max(1, count),
            stop=texts(body.get("stop")),
            schema=self._schema(body),
            tool=self._forced_tool(body),
            thinking=body.get("reasoning_effort") not in (None, "none"),
            extra={
                "usage": bool((body.get("stream_options") or {}).get("include_usage")),
                "named_tool": isinstance(body.get("tool_choice"), dict),
                "tier": tier_of(body, "service_tier", "default"),
            },
        )

    def _schema(self, body: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """Return the schema that the answer must fit; that of a prompt where any JSON object is asked for."""
        wanted = body.get("response_format")
        if isinstance(wanted, dict) and wanted.get("type") == "json_schema" and not self.host.schemas:
            raise refuse(400, "This response_format type is unavailable now")
        found = _schema_of(wanted)
        if not isinstance(wanted, dict) or found is None:
            return None
        if wanted["type"] == "json_schema":
            inner = wanted["json_schema"]
            if inner.get("strict") is True and self.host.strict_schemas and (reason := refused_by_openai(found)):
                raise refuse(
                    400,
                    f"Invalid schema for response_format '{inner['name']}': {reason}",
                    param="response_format",
                    code="invalid_json_schema" if self.host.name != "azure" else None,
                )
            return found
        said = "\n".join(_said(message) for message in body["messages"] if message.get("role") != "assistant")
        if self.host.wants_word_json and "json" not in said.lower():
            raise refuse(
                400,
                "'messages' must contain the word 'json' in some form, to use 'response_format' of type 'json_object'.",
                param="messages",
            )
        return schema_in_words(said)

    def _conversation(self, body: Mapping[str, Any]) -> tuple[str, int]:
        messages = body.get("messages")
        if messages is None:
            raise refuse(400, "Missing required parameter: 'messages'.", param="messages", code="missing_required_parameter")
        if not isinstance(messages, list):
            raise refuse(400, "Invalid type for 'messages': expected an array of objects.", param="messages", code="invalid_type")
        if not messages:
            raise refuse(
                400,
                ("Invalid 'messages': empty array. Expected an array with minimum length 1, but got an empty array instead."),
                param="messages",
                code="empty_array",
            )
        prompt, characters = "", 0
        for index, message in enumerate(messages):
            role = message.get("role") if isinstance(message, dict) else None
            if role not in _ROLES:
                known = ", ".join(f"'{name}'" for name in _ROLES)
                raise refuse(
                    400,
                    f"Invalid value: '{role}'. Supported values are: {known}.",
                    param=f"messages[{index}].role",
                    code="invalid_value",
                )
            content = message.get("content")
            if isinstance(content, str):
                text = content
            elif isinstance(content, list):
                text = "".join(
                    part.get("text") or "" for part in content if isinstance(part, dict) and part.get("type") == "text"
                )
            elif role == "assistant" and (message.get("tool_calls") or "content" in message or "function_call" in message):
                text = ""
            else:
                raise refuse(
                    400,
                    (f"Invalid value for 'content': expected a string, got {'null' if content is None else 'an object'}."),
                    param=f"messages[{index}].content",
                )
            characters += len(text)
            if role == "user":
                prompt = text
        return prompt, characters

    def _forced_tool(self, body: Mapping[str, Any]) -> Tool | None:
        choice = body.get("tool_choice")
        tools = {
            tool["function"].get("name", ""): tool["function"]
            for tool in body.get("tools") or ()
            if isinstance(tool, dict) and isinstance(tool.get("function"), dict)
        }
        if choice is not None and choice != "none" and not tools:
            raise refuse(400, "'tool_choice' is only allowed when 'tools' are specified.", param="tool_choice")
        if choice in ("required", "any"):
            name = next(iter(tools))
        elif isinstance(choice, dict) and isinstance(choice.get("function"), dict):
            name = str(choice["function"].get("name"))
            if name not in tools:
                raise refuse(400, f"Tool choice '{name}' not found in 'tools' parameter.", param="tool_choice")
        else:
            return None
        return Tool(name, tools[name].get("parameters") or {"type": "object"})

    # Answering ------------------------------------------------------------------------------------------------------

    def plain(self, question: Question, spoken: Spoken) -> Reply:
        """Return a chat.completion object."""
        finish = self._finish(question, spoken)
        choices = [
            self._choice({"index": index, "message": self._message(question, spoken), "logprobs": None, "finish_reason": finish})
            for index in range(question.count)
        ]
        body = to_bytes(encode({**self._head(question, "chat.completion"), "choices": choices, **self._foot(question, spoken)}))
        return Reply(b"\n\n\n" + body if self.host.blank_lines else body, headers=self._headers())

    def stream(self, question: Question, spoken: Spoken) -> Reply:
        """Return chat.completion.chunk events."""
        head = encode(self._head(question, "chat.completion.chunk"))[:-1] + ',"choices":['
        with_null = question.extra["usage"] and self.host.usage == "asked"
        foot = '],"usage":null}\n\n' if with_null else "]}\n\n"
        lean = self.host.finish_only_at_end
        tail = "}" if lean else ',"logprobs":null,"finish_reason":null}'
        events = self._opening()
        for index in range(question.count):
            start = f'data: {head}{{"index":{index},"delta":'
            for delta, tokens in self._deltas(question, spoken):
                events.append((to_bytes(f"{start}{encode(delta)}{tail}{foot}"), tokens))
            last = {"index": index, "delta": {}, "logprobs": None, "finish_reason": self._finish(question, spoken)}
            events.append(self._last_choice(head, foot, last, question, spoken, final=index == question.count - 1))
        if self.host.usage == "extra" or with_null:
            usage = self._foot(question, spoken)["usage"]
            events.append((to_bytes(f'data: {head}],"usage":{encode(usage)}}}\n\n'), 0))
        if self.host.done:
            events.append(_DONE)
        return Reply(events=events, content_type=SSE_TYPE, headers=self._headers())

    def _opening(self) -> list[Event]:
        return [(self.host.opening, 0)] if self.host.opening else []

    def _last_choice(
        self, head: str, foot: str, choice: dict[str, Any], question: Question, spoken: Spoken, *, final: bool
    ) -> Event:
        if final and self.host.usage in ("last", "groq"):
            usage = self._foot(question, spoken)["usage"]
            more = f'],"usage":{encode(usage)}'
            if self.host.usage == "groq":
                more += f',"x_groq":{encode({"id": new_id("req_"), "usage": usage})}'
            foot = more + "}\n\n"
        return to_bytes(f"data: {head}{encode(choice)}{foot}"), 0

    def _deltas(self, question: Question, spoken: Spoken) -> Iterable[tuple[dict[str, Any], int]]:
        thoughts = self.host.thoughts if spoken.thoughts else "hidden"
        if spoken.tool is not None:
            call: dict[str, Any] = {"index": 0, **self._tool_call(spoken)}
            arguments = call["function"]["arguments"]
            call["function"] = {"name": spoken.tool.name, "arguments": ""}
            yield {"role": "assistant", "content": None, "tool_calls": [call]}, 1
            for piece in pieces(arguments):
                yield {"tool_calls": [{"index": 0, "function": {"arguments": piece}}]}, 1
            return
        lean = self.host.finish_only_at_end
        yield {"role": "assistant"} if lean else {"role": "assistant", "content": "", "refusal": None}, 0
        for piece in pieces(spoken.thoughts) if thoughts != "hidden" else ():
            yield _thought_delta(thoughts, piece), 1
        text = f"<think>\n{spoken.thoughts}\n</think>\n\n{spoken.text}" if thoughts == "tags" else spoken.text
        for piece in pieces(text):
            yield {"content": piece}, 1

    def _head(self, question: Question, kind: str) -> dict[str, Any]:
        return {
            "id": new_id("chatcmpl-"),
            "object": kind,
            "created": int(time.time()),
            "model": question.model,
            "service_tier": question.extra["tier"],
            "system_fingerprint": "fp_simulated",
        }

    def _message(self, question: Question, spoken: Spoken) -> dict[str, Any]:
        message: dict[str, Any] = {"role": "assistant", "content": spoken.text, "refusal": None}
        if spoken.tool is not None:
            message["content"] = None
            message["tool_calls"] = [self._tool_call(spoken)]
        thoughts = self.host.thoughts if spoken.thoughts else "hidden"
        if thoughts == "tags":
            message["content"] = f"<think>\n{spoken.thoughts}\n</think>\n\n{spoken.text}"
        elif thoughts == "parts":
            message["content"] = [
                {"type": "thinking", "thinking": [{"type": "text", "text": spoken.thoughts}]},
                {"type": "text", "text": spoken.text},
            ]
        elif thoughts != "hidden":
            message.update(_thought_delta(thoughts, spoken.thoughts))
            message["content"] = None if spoken.tool is not None else spoken.text
        return message

    def _tool_call(self, spoken: Spoken) -> dict[str, Any]:
        name = "" if spoken.tool is None else spoken.tool.name
        # Mistral takes nine letters and digits, and refuses any other id.
        call_id = new_id("")[-9:] if self.host.name == "mistral" else new_id("call_")
        return {"id": call_id, "type": "function", "function": {"name": name, "arguments": encode(spoken.arguments)}}

    def _choice(self, choice: dict[str, Any]) -> dict[str, Any]:
        return choice

    def _finish(self, question: Question, spoken: Spoken) -> str:
        if spoken.finish == "tool" and question.extra["named_tool"]:
            # OpenAI says "stop" for a function that was forced by its name.
            return "stop"
        return self.host.finish if spoken.finish == "stop" else _FINISH.get(spoken.finish, spoken.finish)

    def _foot(self, question: Question, spoken: Spoken) -> dict[str, Any]:
        said = spoken.answer_tokens * question.count
        thought = spoken.thought_tokens * question.count
        output = said if self.host.excludes_thoughts else said + thought
        usage: dict[str, Any] = {
            "prompt_tokens": question.input_tokens,
            "completion_tokens": output,
            "total_tokens": question.input_tokens + said + thought,
            "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
            "completion_tokens_details": {
                "reasoning_tokens": thought,
                "audio_tokens": 0,
                "accepted_prediction_tokens": 0,
                "rejected_prediction_tokens": 0,
            },
        }
        if self.host.name == "deepseek":
            usage["prompt_cache_hit_tokens"], usage["prompt_cache_miss_tokens"] = 0, question.input_tokens
        if self.host.cost:
            usage["cost"] = 0.0
        return {"usage": usage}

    def _headers(self) -> dict[str, str]:
        return {"x-request-id": new_id("req_"), "openai-version": "2020-10-01", "openai-processing-ms": "1"}

    def read_embeddings(self, call: Call) -> Question:
        """Read a request for embeddings."""
        return read_openai(call, self.host)

    def embeddings(self, question: Question) -> Reply:
        """Return a list of embedding objects."""
        return write_openai(question, self.host, self._headers())

    # Refusing -------------------------------------------------------------------------------------------------------

    def problem(self, problem: Problem) -> Reply:
        """Return an error body in this host's shape."""
        kind, code, words = USUAL.get(problem.kind, USUAL["invalid"])
        message = problem.message or words
        if problem.kind == "missing_model":
            message = words.format(model=problem.message)
        if problem.kind == "rate" and problem.scope == "tokens":
            kind = "tokens"
        if problem.kind == "rate" and problem.details:
            message = rate_message(problem)
        body = ERROR_SHAPES[self.host.errors](problem, problem.code or code, kind, message)
        headers = {"x-request-id": new_id("req_")}
        if problem.wait is not None:
            headers["retry-after"] = str(max(1, -int(-problem.wait // 1)))
            if self.host.name == "openai":
                headers["retry-after-ms"] = str(max(1, round(problem.wait * 1000)))
        return Reply(to_bytes(encode(body)), problem.status, headers, self.host.error_type, error=True)

    def blocked_prompt(self, question: Question) -> Reply:
        """Refuse the prompt: OpenAI itself answers 400."""
        return self.problem(
            Problem(
                400,
                "invalid",
                "Your request was rejected as a result of our safety system.",
                code="content_policy_violation",
            )
        )

    def empty(self, question: Question, spoken: Spoken, *, null: bool) -> Reply:
        """Return no choices, or one choice with null for content."""
        message = {"role": "assistant", "content": None, "refusal": None}
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}
        silent = Spoken()
        if question.stream:
            head = encode(self._head(question, "chat.completion.chunk"))[:-1]
            delta = {"index": 0, "delta": {"role": "assistant", "content": None}, "finish_reason": "stop"}
            event = to_bytes(f'data: {head},"choices":{encode([delta] if null else [])}}}\n\n')
            return Reply(events=[(event, 0), _DONE], content_type=SSE_TYPE, headers=self._headers())
        body = {
            **self._head(question, "chat.completion"),
            "choices": [choice] if null else [],
            **self._foot(question, silent),
        }
        return Reply(to_bytes(encode(body)), headers=self._headers())

    def stream_error(self, message: str | None) -> Event:
        """Return a chunk with an error; Groq and LM Studio name the event."""
        error = {
            "message": message or "The server had an error while processing your request.",
            "type": "server_error",
            "param": None,
            "code": None,
        }
        named = b"event: error\n" if self.host.name in ("groq", "lmstudio") else b""
        return named + to_bytes(f"data: {encode({'error': error})}\n\n"), 0

    def model_list(self, models: Iterable[str]) -> Reply:
        """List the models."""
        data = [{"id": name, "object": "model", "created": 0, "owned_by": "simulated"} for name in models]
        return Reply(to_bytes(encode({"object": "list", "data": data})), headers=self._headers())

    def limit_headers(self, state: LimitState) -> dict[str, str]:
        """Return the rate limit headers in this host's form."""
        return limit_headers(self.host.limits, state, self._reset)

    def _reset(self, seconds: float) -> str:
        return f"{seconds:.3f}" if self.host.limits == "cerebras" else go_duration(seconds)


def _said(message: Mapping[str, Any]) -> str:
    content = message.get("content")
    if isinstance(content, list):
        return "".join(part.get("text") or "" for part in content if isinstance(part, dict))
    return content if isinstance(content, str) else ""


def _schema_of(wanted: Any) -> Mapping[str, Any] | None:
    if not isinstance(wanted, dict):
        return None
    if wanted.get("type") == "json_schema":
        inner = wanted.get("json_schema")
        if not isinstance(inner, dict) or not isinstance(inner.get("name"), str):
            raise refuse(
                400,
                "Missing required parameter: 'response_format.json_schema.name'.",
                param="response_format.json_schema.name",
                code="missing_required_parameter",
            )
        return inner.get("schema") or {}
    if wanted.get("type") == "json_object":
        return {}
    if wanted.get("type") != "text":
        raise refuse(400, f"Invalid value: '{wanted.get('type')}'.", param="response_format.type", code="invalid_value")
    return None


def _thought_delta(form: str, text: str) -> dict[str, Any]:
    if form == "parts":
        return {"content": [{"type": "thinking", "thinking": [{"type": "text", "text": text}]}]}
    if form == "reasoning_content":
        return {"content": None, "reasoning_content": text}
    if form == "reasoning_details":
        detail = {"type": "reasoning.text", "text": text, "index": 0, "format": None}
        return {"content": "", "reasoning": text, "reasoning_details": [detail]}
    return {"reasoning": text} if form == "reasoning" else {}
