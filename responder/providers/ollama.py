"""Ollama, in both its APIs: its own, and the one that speaks OpenAI's dialect.

https://github.com/ollama/ollama/blob/main/docs/api.md (read 2026-08)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from responder.call.dialect import ChunkReader
from responder.providers.compatible import CompatibleResponder
from responder.providers.openai import finish_reason
from responder.values.answer import Answer, Usage
from responder.values.errors import ConfigurationError, InvalidResponseError
from responder.values.messages import Image, Message, Part, Text, ToolCall, ToolResult
from responder.values.options import Options
from responder.values.reading import as_dict, as_int, as_list, as_str


class OllamaResponder(CompatibleResponder):
    """Ollama on this machine or another one.

    With a `base_url` that ends in `/v1` (the default, `http://localhost:11434/v1`) it is asked in OpenAI's dialect; with the
    server's own (`http://localhost:11434`) by Ollama's API, whose options go into `extra={"options": {"num_ctx": 8192}}`.
    """

    provider, base_url = "ollama", "http://localhost:11434/v1"
    base_url_variables = ("OLLAMA_BASE_URL",)
    key_variables = ("OLLAMA_API_KEY",)

    @property
    def is_native(self) -> bool:
        """True when Ollama's own API is asked."""
        return not self.base_url.endswith("/v1")

    def url(self) -> str:
        return f"{self.base_url.removesuffix('/api')}/api/chat" if self.is_native else super().url()

    def payload(self, messages: tuple[Message, ...], options: Options) -> dict[str, Any]:
        if not self.is_native:
            return super().payload(messages, options)
        if options.candidates is not None or options.tool_choice is not None:
            raise ConfigurationError("Ollama's own API has neither candidates nor tool_choice: leave them out", fatal=True)
        payload: dict[str, Any] = {
            "model": self.model,
            "messages": [wire for message in messages for wire in _on_the_wire(message)],
            "stream": False,
        }
        given = {
            "temperature": options.temperature,
            "top_p": options.top_p,
            "num_predict": options.max_tokens,
            "stop": list(options.stop) if options.stop is not None else None,
            "seed": options.seed,
        }
        settings = {name: value for name, value in given.items() if value is not None}
        if settings:
            payload["options"] = settings
        if options.schema is not None:
            payload["format"] = dict(options.schema)
        if options.reasoning_effort is not None:
            payload["think"] = options.reasoning_effort
        if options.tools:
            payload["tools"] = [
                {
                    "type": "function",
                    "function": {"name": tool.name, "description": tool.description, "parameters": dict(tool.parameters)},
                }
                for tool in options.tools
            ]
        return payload

    def stream_payload(self, payload: dict[str, Any]) -> dict[str, Any]:
        return {**payload, "stream": True} if self.is_native else super().stream_payload(payload)

    def part_on_the_wire(self, part: Part) -> dict[str, Any]:
        if isinstance(part, Image) and part.url is not None:
            raise ConfigurationError("Ollama takes images as bytes, not as a URL: Image.from_path(...)")
        return super().part_on_the_wire(part)

    def reader(self) -> ChunkReader:
        return OllamaChunks() if self.is_native else super().reader()

    def parse(self, reply: Mapping[str, Any]) -> Answer:
        if not self.is_native:
            return super().parse(reply)
        if not isinstance(reply.get("message"), dict):
            raise InvalidResponseError("there is no 'message' in the reply")
        message = as_dict(reply.get("message"))
        calls = tuple(
            ToolCall(as_str(call.get("id")), as_str(function.get("name")), as_dict(function.get("arguments")))
            for call in map(as_dict, as_list(message.get("tool_calls")))
            for function in [as_dict(call.get("function"))]
        )
        text = as_str(message.get("content"))
        return Answer(
            text=text,
            finish_reason=finish_reason(as_str(reply.get("done_reason")), bool(calls), refused=False),
            usage=Usage(
                input_tokens=as_int(reply.get("prompt_eval_count")),
                output_tokens=as_int(reply.get("eval_count")),
                known=reply.get("eval_count") is not None,
            ),
            model=as_str(reply.get("model")) or self.model,
            provider=self.provider,
            reasoning=as_str(message.get("thinking")),
            tool_calls=calls,
            candidates=(text,),
            raw=reply,
        )


class OllamaChunks(ChunkReader):
    """One JSON object a line, the last with `"done": true`."""

    def __init__(self) -> None:
        self._last: Mapping[str, Any] = {}
        self._text: list[str] = []
        self._thinking: list[str] = []
        self._calls: list[Any] = []

    def read(self, chunk: Mapping[str, Any]) -> str:
        self._last = chunk
        message = as_dict(chunk.get("message"))
        text = as_str(message.get("content"))
        self._text.append(text)
        self._thinking.append(as_str(message.get("thinking")))
        self._calls += as_list(message.get("tool_calls"))
        if chunk.get("done") is True:
            self.complete = self.done = True
        return text

    def reply(self) -> dict[str, Any]:
        message = {"content": "".join(self._text), "thinking": "".join(self._thinking), "tool_calls": self._calls}
        return {**self._last, "message": message} if self._last else {}


def _on_the_wire(message: Message) -> list[dict[str, Any]]:
    """Return a message as Ollama's API has it: one text, pictures beside it, and each tool result on its own."""
    wire: list[dict[str, Any]] = [
        {"role": "tool", "tool_name": part.name, "content": part.content}
        for part in message.parts
        if isinstance(part, ToolResult)
    ]
    built: dict[str, Any] = {"role": message.role, "content": message.text}
    images, calls = [], []
    for part in message.parts:
        if isinstance(part, Image) and part.data is not None:
            images.append(part.base64)
        elif isinstance(part, ToolCall):
            calls.append({"function": {"name": part.name, "arguments": dict(part.arguments)}})
        elif not isinstance(part, (Text, ToolResult)):
            raise ConfigurationError(f"Ollama's own API takes texts and images as bytes, no {type(part).__name__} of this kind")
    if images:
        built["images"] = images
    if calls:
        built["tool_calls"] = calls
    if message.role != "tool":
        wire.append(built)
    return wire
