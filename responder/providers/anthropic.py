"""Anthropic's Messages.

https://docs.anthropic.com/en/api/messages (read 2026-08)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from responder.call.dialect import ChunkReader
from responder.responder import Responder
from responder.values.answer import Answer, FinishReason, Usage
from responder.values.errors import ConfigurationError, InvalidResponseError
from responder.values.messages import File, Image, Message, Part, Raw, Text, ToolCall, ToolResult
from responder.values.options import Options
from responder.values.reading import as_dict, as_int, as_list, as_str

# Anthropic wants a limit with every request. 4,096 is the largest that all of its models take.
DEFAULT_MAX_TOKENS = 4096

_FINISH_REASONS: Mapping[str, FinishReason] = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "compaction": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "refusal",
}


class AnthropicResponder(Responder):
    """Anthropic's Claude models.

    The key comes from ANTHROPIC_API_KEY, another base URL from ANTHROPIC_BASE_URL. `max_tokens` is 4,096 unless you say
    otherwise: look at `answer.truncated`.
    """

    provider = "anthropic"
    base_url = "https://api.anthropic.com"
    base_url_variables = ("ANTHROPIC_BASE_URL",)
    key_variables = ("ANTHROPIC_API_KEY",)

    def url(self) -> str:
        base = self.base_url if self.base_url.endswith("/v1") else f"{self.base_url}/v1"
        return f"{base}/messages"

    def headers(self, secret: str) -> Mapping[str, str]:
        return {"x-api-key": secret, "anthropic-version": "2023-06-01"}

    def payload(self, messages: tuple[Message, ...], options: Options) -> dict[str, Any]:
        for name in ("seed", "candidates"):
            if getattr(options, name) is not None:
                raise ConfigurationError(f"Anthropic has no {name}: leave it out", fatal=True)
        payload: dict[str, Any] = {
            "model": self.model,
            "max_tokens": options.max_tokens or DEFAULT_MAX_TOKENS,
            "messages": self._turns(messages),
        }
        spoken = [message.text for message in messages if message.role == "system"]
        if spoken:
            payload["system"] = "\n\n".join(spoken)
        given = {
            "temperature": options.temperature,
            "top_p": options.top_p,
            "stop_sequences": list(options.stop) if options.stop is not None else None,
        }
        payload.update((name, value) for name, value in given.items() if value is not None)
        if options.tools:
            payload["tools"] = [
                {"name": tool.name, "description": tool.description, "input_schema": dict(tool.parameters)}
                for tool in options.tools
            ]
        if options.tool_choice is not None:
            kinds = {"auto": "auto", "none": "none", "required": "any"}
            kind = kinds.get(options.tool_choice)
            payload["tool_choice"] = {"type": kind} if kind else {"type": "tool", "name": options.tool_choice}
        output: dict[str, Any] = {}
        if options.schema is not None:
            output["format"] = {"type": "json_schema", "schema": _closed(options.schema)}
        if options.reasoning_effort is not None:
            output["effort"] = options.reasoning_effort
        if output:
            payload["output_config"] = output
        return payload

    def _turns(self, messages: tuple[Message, ...]) -> list[dict[str, Any]]:
        turns: list[dict[str, Any]] = []
        for message in messages:
            if message.role == "system":
                continue
            role = "assistant" if message.role == "assistant" else "user"
            parts = message.parts
            plain = len(parts) == 1 and isinstance(parts[0], Text)
            content: Any = message.text if plain else [self.part_on_the_wire(part) for part in parts]
            # The results of one turn's tool calls must come together, in one user message.
            if message.role == "tool" and turns and turns[-1]["role"] == "user" and isinstance(turns[-1]["content"], list):
                turns[-1]["content"] += content
            else:
                turns.append({"role": role, "content": content})
        return turns

    def part_on_the_wire(self, part: Part) -> dict[str, Any]:
        """Return a part as a content block."""
        if isinstance(part, Text):
            return {"type": "text", "text": part.text}
        if isinstance(part, (Image, File)):
            kind = "image" if isinstance(part, Image) else "document"
            if part.url is not None:
                return {"type": kind, "source": {"type": "url", "url": part.url}}
            if part.media_type == "text/plain" and part.data is not None:
                text = part.data.decode("utf-8", "replace")
                return {"type": kind, "source": {"type": "text", "media_type": "text/plain", "data": text}}
            return {
                "type": kind,
                "source": {"type": "base64", "media_type": part.media_type, "data": part.base64},
            }
        if isinstance(part, ToolCall):
            return {"type": "tool_use", "id": part.id, "name": part.name, "input": dict(part.arguments)}
        if isinstance(part, ToolResult):
            result = {"type": "tool_result", "tool_use_id": part.id, "content": part.content}
            return {**result, "is_error": True} if part.is_error else result
        if isinstance(part, Raw):
            return dict(part.data)
        raise ConfigurationError(f"Anthropic takes no {type(part).__name__}")

    def reader(self) -> ChunkReader:
        return AnthropicChunks()

    def parse(self, reply: Mapping[str, Any]) -> Answer:
        if not isinstance(reply.get("content"), list):
            raise InvalidResponseError("there is no 'content' in the reply")
        blocks = [as_dict(block) for block in as_list(reply.get("content"))]
        calls = tuple(
            ToolCall(as_str(block.get("id")), as_str(block.get("name")), as_dict(block.get("input")))
            for block in blocks
            if block.get("type") == "tool_use"
        )
        text = "".join(as_str(block.get("text")) for block in blocks if block.get("type") == "text")
        reason = _FINISH_REASONS.get(as_str(reply.get("stop_reason")), "other")
        if reason == "refusal" and not text:
            text = as_str(as_dict(reply.get("stop_details")).get("explanation")) or "The model refused to answer."
        return Answer(
            text=text,
            finish_reason=reason,
            usage=self.usage(as_dict(reply.get("usage"))),
            model=as_str(reply.get("model")) or self.model,
            provider=self.provider,
            reasoning="".join(as_str(block.get("thinking")) for block in blocks if block.get("type") == "thinking"),
            tool_calls=calls,
            candidates=(text,),
            raw=reply,
        )

    def usage(self, usage: Mapping[str, Any]) -> Usage:
        """Return the usage of a reply in our terms: Anthropic counts cached input beside the input."""
        read = as_int(usage.get("cache_read_input_tokens"))
        return Usage(
            input_tokens=as_int(usage.get("input_tokens")) + read + as_int(usage.get("cache_creation_input_tokens")),
            output_tokens=as_int(usage.get("output_tokens")),
            cached_input_tokens=read,
            reasoning_tokens=as_int(as_dict(usage.get("output_tokens_details")).get("thinking_tokens")),
            known=usage.get("input_tokens") is not None,
        )

    def explain(self, reply: Mapping[str, Any]) -> str:
        return as_str(as_dict(reply.get("stop_details")).get("explanation")) or as_str(reply.get("stop_reason"))


class AnthropicChunks(ChunkReader):
    """The typed events of a Messages stream; unknown ones are passed over, as Anthropic asks."""

    def __init__(self) -> None:
        self._message: dict[str, Any] = {}
        self._usage: dict[str, Any] = {}
        self._blocks: dict[int, dict[str, Any]] = {}
        self._pieces: dict[int, list[str]] = {}

    def read(self, chunk: Mapping[str, Any]) -> str:
        kind = chunk.get("type")
        if kind == "content_block_delta":
            return self._delta(as_int(chunk.get("index")), as_dict(chunk.get("delta")))
        if kind == "content_block_start":
            index = as_int(chunk.get("index"))
            self._blocks[index] = dict(as_dict(chunk.get("content_block")))
            self._pieces[index] = []
            return as_str(self._blocks[index].get("text"))
        if kind == "message_start":
            self._message.update(as_dict(chunk.get("message")))
            self._usage.update(as_dict(self._message.get("usage")))
        elif kind == "message_delta":
            self._message.update(as_dict(chunk.get("delta")))
            # Cumulative, and without the fields that message_start has told already.
            self._usage.update((key, value) for key, value in as_dict(chunk.get("usage")).items() if value is not None)
            self.complete = self.complete or bool(self._message.get("stop_reason"))
        elif kind == "message_stop":
            self.complete = self.done = True
        elif kind == "message":  # a proxy that does not stream
            self._message.update(chunk)
            self._usage.update(as_dict(chunk.get("usage")))
            self._blocks = {index: dict(as_dict(block)) for index, block in enumerate(as_list(chunk.get("content")))}
            self.complete = True
            return "".join(as_str(block.get("text")) for block in self._blocks.values())
        return ""

    def _delta(self, index: int, delta: Mapping[str, Any]) -> str:
        kind = delta.get("type")
        block = self._blocks.setdefault(index, {"type": "text", "text": ""})
        pieces = self._pieces.setdefault(index, [])
        if kind == "text_delta":
            text = as_str(delta.get("text"))
            pieces.append(text)
            return text
        if kind == "input_json_delta":
            pieces.append(as_str(delta.get("partial_json")))
        elif kind == "thinking_delta":
            pieces.append(as_str(delta.get("thinking")))
        elif kind == "signature_delta":
            block["signature"] = as_str(delta.get("signature"))
        return ""

    def reply(self) -> dict[str, Any]:
        blocks = []
        for index, block in sorted(self._blocks.items()):
            joined = "".join(self._pieces.get(index, ()))
            kind = block.get("type")
            if kind == "tool_use" and joined:
                call = ToolCall.from_text("", "", joined)
                blocks.append({**block, "input": dict(call.arguments)})
            elif kind in ("text", "thinking"):
                blocks.append({**block, kind: as_str(block.get(kind)) + joined})
            else:
                blocks.append(block)
        made = {**self._message, "usage": dict(self._usage)}
        return {**made, "content": blocks} if self._message else made


def _closed(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return a schema whose objects take no further properties, which Anthropic insists on."""
    made = {key: _closed(value) if isinstance(value, Mapping) else value for key, value in schema.items()}
    for key in ("anyOf", "allOf", "oneOf", "prefixItems"):
        if isinstance(made.get(key), list):
            made[key] = [_closed(part) if isinstance(part, Mapping) else part for part in made[key]]
    if made.get("type") == "object":
        made.setdefault("additionalProperties", False)
    return made
