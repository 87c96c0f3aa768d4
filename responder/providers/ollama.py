"""Ollama, in both its APIs: its own, and the one that speaks OpenAI's dialect.

https://github.com/ollama/ollama/blob/main/docs/api.md (read 2026-08)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from responder.call.dialect import ChunkReader, Purpose
from responder.providers.compatible import CompatibleResponder
from responder.providers.openai_embeddings import counted
from responder.providers.prompt import described, refuse_extra, refuse_lifetime, refuse_options, text_of_result
from responder.providers.urls import ends_with, under
from responder.providers.usage import plain_usage
from responder.values.answer import Answer
from responder.values.errors import ConfigurationError, InvalidResponseError
from responder.values.finish import finish_reason, verdict
from responder.values.messages import Image, Message, Opaque, Part, Text, ToolCall, ToolResult
from responder.values.options import Options
from responder.values.reading import WholePieces, as_dict, as_list, as_str, whole
from responder.values.vectors import Vectors, vectors_of


class OllamaResponder(CompatibleResponder):
    """Ollama on this machine or another one.

    With a `base_url` that ends in `/v1` (the default, `http://localhost:11434/v1`) it is asked in OpenAI's dialect; with the
    server's own (`http://localhost:11434`) by Ollama's API, whose options go in `extra={"options": {"num_ctx": 8192}}`.
    """

    provider, base_url = "ollama", "http://localhost:11434/v1"
    base_url_variables = ("OLLAMA_BASE_URL",)
    key_variables = ("OLLAMA_API_KEY",)

    @property
    def is_native(self) -> bool:
        """True when Ollama's own API is asked."""
        return not ends_with(self.base_url, "/v1")

    def chat_url(self) -> str:
        return under(self.base_url, "/chat", unless=("/api",), prefix="/api") if self.is_native else super().chat_url()

    def chat_payload(self, messages: tuple[Message, ...], options: Options) -> dict[str, Any]:
        if not self.is_native:
            return super().chat_payload(messages, options)
        if options.candidates is not None or options.tool_choice is not None:
            raise ConfigurationError("Ollama's own API has neither candidates nor tool_choice: leave them out", fatal=True)
        refuse_options(options, ("service_tier", "logprobs"), "Ollama's own API", "leave it out, or ask its /v1")
        refuse_lifetime(options, "Ollama")
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
            payload["think"] = False if options.reasoning_effort == "none" else options.reasoning_effort
        if options.tools:
            payload["tools"] = [
                {
                    "type": "function",
                    "function": {"name": tool.name, "description": tool.description, "parameters": dict(tool.parameters)},
                }
                for tool in options.tools
            ]
        return payload

    def embed_url(self) -> str:
        return under(self.base_url, "/embed", unless=("/api",), prefix="/api") if self.is_native else super().embed_url()

    def embed_payload(self, texts: Sequence[str], dimensions: int | None, purpose: Purpose | None) -> dict[str, Any]:
        payload = super().embed_payload(texts, dimensions, purpose)
        return {**payload, "truncate": False} if self.is_native else payload  # else the end of a long text is cut off silently

    def parse_embeddings(self, reply: Mapping[str, Any], headers: Mapping[str, str]) -> Vectors:
        if not self.is_native:
            return super().parse_embeddings(reply, headers)
        return vectors_of(as_list(reply.get("embeddings")), counted(reply.get("prompt_eval_count")))

    def stream_payload(self, payload: dict[str, Any]) -> dict[str, Any]:
        return {**payload, "stream": True} if self.is_native else super().stream_payload(payload)

    def part_on_the_wire(self, part: Part) -> dict[str, Any]:
        if isinstance(part, Image) and not part.is_inline:
            raise ConfigurationError(
                "Ollama accepts images as bytes, not as a URL or an id: Image('cat.png'), Image.from_path(...)"
            )
        return super().part_on_the_wire(part)

    def reader(self) -> ChunkReader:
        return OllamaChunks() if self.is_native else super().reader()

    def parse(self, reply: Mapping[str, Any]) -> Answer:
        if not self.is_native:
            return super().parse(reply)
        found = verdict(reply.get("done_reason"))
        if not isinstance(reply.get("message"), dict) and found != "content_filter":
            raise InvalidResponseError("there is no 'message' in the reply", retryable=True)
        message = as_dict(reply.get("message"))
        calls = tuple(
            ToolCall.of(as_str(call.get("id")), as_str(function.get("name")), function.get("arguments"))
            for call in map(as_dict, as_list(message.get("tool_calls")))
            for function in [as_dict(call.get("function"))]
        )
        text = whole(as_str(message.get("content")))
        usage = plain_usage(reply.get("prompt_eval_count"), reply.get("eval_count"))
        if found == "broken" or (found == "error" and not text and not calls):
            raise InvalidResponseError(
                f"the model stopped midway ({str(reply.get('done_reason'))[:100]})", retryable=True, usage=usage
            )
        return Answer(
            text=text,
            finish_reason=finish_reason(found, bool(calls)),
            usage=usage,
            model=as_str(reply.get("model")) or self.model,
            provider=self.provider,
            reasoning=whole(as_str(message.get("thinking"))),
            tool_calls=calls,
            candidates=(text,),
            parts=_said_again(message, text, calls),
            raw=reply,
        )

    def explain(self, reply: Mapping[str, Any]) -> str:
        return as_str(reply.get("done_reason")) if self.is_native else super().explain(reply)


class OllamaChunks(ChunkReader):
    """One JSON object a line, the last with `"done": true`."""

    def __init__(self) -> None:
        self._last: dict[str, Any] = {}
        self._text = WholePieces()
        self._thinking: list[str] = []
        self._calls: list[Any] = []

    def read(self, chunk: Mapping[str, Any]) -> str:
        # A later line without a count, or with 0, does not clear it.
        self._last.update((key, value) for key, value in chunk.items() if value or not self._last.get(key))
        message = as_dict(chunk.get("message"))
        text = self._text.add(as_str(message.get("content")))
        self._thinking.append(as_str(message.get("thinking")))
        self._calls += as_list(message.get("tool_calls"))
        if chunk.get("done") is True:
            self.complete = self.done = True
            text += self._text.end()
        return text

    def reply(self) -> dict[str, Any]:
        message = {"content": self._text.text, "thinking": "".join(self._thinking), "tool_calls": self._calls}
        return {**self._last, "message": message} if self._last else {}


def _said_again(message: Mapping[str, Any], text: str, calls: tuple[ToolCall, ...]) -> tuple[Part, ...]:
    """Return the parts of an answer that called tools with its thoughts, which go back then; () where there are none."""
    thinking = as_str(message.get("thinking"))
    if not thinking or not calls:
        return ()
    return (Opaque("ollama", {"thinking": thinking}), *((Text(text),) if text else ()), *calls)


# What a message of Ollama's own form may hold beside its content.
_OWN_KEYS = ("images", "thinking", "tool_name", "tool_call_id")


def _on_the_wire(message: Message) -> list[dict[str, Any]]:
    """Return a message as Ollama's API has it: one text, pictures beside it, and each tool result on its own."""
    refuse_extra(message, "Ollama's own API", ("name", *_OWN_KEYS) if message.role == "tool" else _OWN_KEYS)
    wire = [_result(part) for part in message.parts if isinstance(part, ToolResult)]
    built: dict[str, Any] = {"role": message.role, "content": message.text}
    images, calls = [], []
    for part in message.parts:
        if isinstance(part, Image) and part.is_inline and not part.detail:
            images.append(part.base64)
        elif isinstance(part, ToolCall):
            calls.append({**({"id": part.id} if part.id else {}), "function": {"name": part.name, "arguments": part.object}})
        elif isinstance(part, Opaque):
            built.update(part.data)
        elif not isinstance(part, (Text, ToolResult)):
            raise ConfigurationError(f"Ollama's own API accepts text and images as bytes, not {_kind(part)}")
    if images:
        built["images"] = images
    if calls:
        built["tool_calls"] = calls
    if message.role != "tool" or len(wire) < len(message.parts):
        wire.append(built)
    wire[-1].update((name, value) for name, value in message.extra.items() if name in _OWN_KEYS)
    return wire


def _result(part: ToolResult) -> dict[str, Any]:
    made = {"role": "tool", "tool_name": part.name, "content": text_of_result(part, "Ollama's own API")}
    return {**made, "tool_call_id": part.id} if part.id else made


def _kind(part: Part) -> str:
    """Return what to call a part that cannot be sent."""
    if isinstance(part, Image):
        return f"image with detail={part.detail!r}" if part.detail else "image as a URL or an id"
    return described(part)
