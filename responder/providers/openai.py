"""OpenAI's Chat Completions: the dialect that most other providers speak, too.

https://platform.openai.com/docs/api-reference/chat (read 2026-08)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from responder.call.dialect import ChunkReader
from responder.responder import Responder
from responder.values.answer import Answer, FinishReason, Usage
from responder.values.errors import ConfigurationError, InvalidResponseError
from responder.values.messages import Audio, File, Image, Message, Part, Raw, Text, ToolCall, ToolResult
from responder.values.options import Options, strict_schema
from responder.values.reading import as_dict, as_int, as_list, as_str, first

_FINISH_REASONS: Mapping[str, FinishReason] = {
    "stop": "stop",
    "eos": "stop",  # Together
    "length": "length",
    "model_length": "length",  # Mistral
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
    "content_filter": "content_filter",
}


# DeepSeek ran out of machines in the middle of an answer: asking again may help.
_BROKEN_OFF = "insufficient_system_resource"


class OpenAIResponder(Responder):
    """OpenAI, and whatever speaks its dialect at another `base_url`.

    Keys come from OPENAI_API_KEY, another base URL from OPENAI_BASE_URL.
    """

    provider = "openai"
    base_url = "https://api.openai.com/v1"
    base_url_variables: ClassVar[tuple[str, ...]] = ("OPENAI_BASE_URL",)
    key_variables: ClassVar[tuple[str, ...]] = ("OPENAI_API_KEY",)

    stream_options: ClassVar[Mapping[str, Any] | None] = {"include_usage": True}
    """What makes a stream report its usage; None where a host refuses the field."""
    max_tokens_field: ClassVar[str] = "max_completion_tokens"
    """What the limit of an answer is called: OpenAI's reasoning models refuse the older `max_tokens`."""

    def url(self) -> str:
        return f"{self.base_url}/chat/completions"

    def headers(self, secret: str) -> Mapping[str, str]:
        return {"Authorization": f"Bearer {secret}"} if secret else {}

    def payload(self, messages: tuple[Message, ...], options: Options) -> dict[str, Any]:
        payload: dict[str, Any] = {
            "model": self.model,
            "messages": [wire for message in messages for wire in self.messages_on_the_wire(message)],
        }
        given = {
            "temperature": options.temperature,
            "top_p": options.top_p,
            self.max_tokens_field: options.max_tokens,
            "stop": list(options.stop) if options.stop is not None else None,
            "seed": options.seed,
            "reasoning_effort": options.reasoning_effort,
            "n": options.candidates,
        }
        payload.update((name, value) for name, value in given.items() if value is not None)
        if options.tools:
            payload["tools"] = [
                {
                    "type": "function",
                    "function": {
                        "name": tool.name,
                        "description": tool.description,
                        "parameters": dict(tool.parameters),
                    },
                }
                for tool in options.tools
            ]
        if options.tool_choice is not None:
            named = options.tool_choice not in ("auto", "none", "required")
            payload["tool_choice"] = (
                {"type": "function", "function": {"name": options.tool_choice}} if named else options.tool_choice
            )
        if options.schema is not None:
            payload["response_format"] = self.response_format(options.schema)
        return payload

    def response_format(self, schema: Mapping[str, Any]) -> dict[str, Any]:
        """Return the payload's part that asks for JSON of a schema."""
        title = str(schema.get("title") or "answer")
        name = "".join(letter if letter.isascii() and letter.isalnum() else "_" for letter in title)[:64]
        wanted = {"name": name, "schema": strict_schema(schema), "strict": True}
        return {"type": "json_schema", "json_schema": wanted}

    def messages_on_the_wire(self, message: Message) -> list[dict[str, Any]]:
        """Return a message as the dialect has it; each tool result becomes a message of its own."""
        results = [part for part in message.parts if isinstance(part, ToolResult)]
        wire: list[dict[str, Any]] = [
            {"role": "tool", "tool_call_id": result.id, "content": result.content} for result in results
        ]
        calls = [part for part in message.parts if isinstance(part, ToolCall)]
        said = [part for part in message.parts if not isinstance(part, (ToolResult, ToolCall))]
        if said or calls:
            built: dict[str, Any] = {"role": message.role}
            if len(said) == 1 and isinstance(said[0], Text):
                built["content"] = said[0].text
            else:
                built["content"] = [self.part_on_the_wire(part) for part in said] or None
            if calls:
                built["tool_calls"] = [
                    {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.json}} for call in calls
                ]
            wire.append(built)
        return wire

    def part_on_the_wire(self, part: Part) -> dict[str, Any]:
        """Return a part as the dialect has it."""
        if isinstance(part, Text):
            return {"type": "text", "text": part.text}
        if isinstance(part, Image):
            return {"type": "image_url", "image_url": {"url": part.data_url}}
        if isinstance(part, Audio):
            if part.data is None:
                raise ConfigurationError(f"{self.provider} takes audio as bytes, not as a URL: Audio(data=...)")
            return {
                "type": "input_audio",
                "input_audio": {"data": part.base64, "format": _audio_format(part.media_type)},
            }
        if isinstance(part, File):
            if part.data is None:
                raise ConfigurationError(f"{self.provider} takes files as bytes, not as a URL: File(data=...)")
            return {"type": "file", "file": {"filename": part.name or "file", "file_data": part.data_url}}
        if isinstance(part, Raw):
            return dict(part.data)
        raise ConfigurationError(f"{self.provider} takes no {type(part).__name__} in this place")

    def stream_payload(self, payload: dict[str, Any]) -> dict[str, Any]:
        payload = super().stream_payload(payload)
        return {**payload, "stream_options": dict(self.stream_options)} if self.stream_options is not None else payload

    def reader(self) -> ChunkReader:
        return OpenAIChunks()

    def parse(self, reply: Mapping[str, Any]) -> Answer:
        choices = [as_dict(choice) for choice in as_list(reply.get("choices"))]
        if not choices:
            raise InvalidResponseError("there are no 'choices' in the reply")
        choice = choices[0]
        message = as_dict(choice.get("message"))
        if not message:
            raise InvalidResponseError("there is no 'message' in the first choice")
        text, reasoning = _content(message)
        calls = _tool_calls(message)
        refusal = as_str(message.get("refusal"))
        word = as_str(choice.get("finish_reason"))
        failure = as_dict(choice.get("error"))  # OpenRouter lost the model behind it
        if failure or word == _BROKEN_OFF:
            raise InvalidResponseError(f"the model broke off ({as_str(failure.get('message')) or word})")
        return Answer(
            text=text or refusal,
            finish_reason=finish_reason(word, bool(calls), bool(refusal)),
            usage=self.usage(as_dict(reply.get("usage"))),
            model=as_str(reply.get("model")) or self.model,
            provider=self.provider,
            reasoning=reasoning,
            tool_calls=calls,
            candidates=tuple(_content(as_dict(other.get("message")))[0] for other in choices),
            raw=reply,
        )

    def usage(self, usage: Mapping[str, Any]) -> Usage:
        """Return the usage of a reply in our terms."""
        details = as_dict(usage.get("prompt_tokens_details"))
        output_details = as_dict(usage.get("completion_tokens_details"))
        cached = details.get("cached_tokens", usage.get("prompt_cache_hit_tokens", usage.get("cached_tokens")))
        return Usage(
            input_tokens=as_int(usage.get("prompt_tokens")),
            output_tokens=as_int(usage.get("completion_tokens")),
            cached_input_tokens=as_int(cached),
            reasoning_tokens=as_int(output_details.get("reasoning_tokens")),
            known=usage.get("prompt_tokens") is not None,
        )

    def explain(self, reply: Mapping[str, Any]) -> str:
        choice = as_dict(first(as_list(reply.get("choices"))))
        results = as_dict(choice.get("content_filter_results"))
        filtered = [name for name, found in results.items() if as_dict(found).get("filtered")]
        return ", ".join(filtered) or as_str(choice.get("finish_reason"))


class OpenAIChunks(ChunkReader):
    """Chat Completions chunks.

    A chunk may have no choices (usage, moderation), a choice no delta (Azure's annotations), and several choices come mixed.
    The text of the first choice is the stream's.
    """

    def __init__(self) -> None:
        self._head: dict[str, Any] = {}
        self._usage: Mapping[str, Any] = {}
        self._choices: dict[int, _Choice] = {}

    def read(self, chunk: Mapping[str, Any]) -> str:
        usage = chunk.get("usage") or as_dict(chunk.get("x_groq")).get("usage")
        if isinstance(usage, dict) and usage.get("prompt_tokens") is not None:
            self._usage = usage
        if not self._head.get("model"):
            self._head = {key: chunk[key] for key in ("id", "model", "created") if chunk.get(key)}
        text = ""
        for found in as_list(chunk.get("choices")):
            read = as_dict(found)
            index = read.get("index")
            index = index if isinstance(index, int) else 0
            choice = self._choices.get(index)
            if choice is None:
                choice = self._choices[index] = _Choice()
            piece = choice.read(read)
            if index == min(self._choices):
                text += piece
            if choice.finish_reason is not None:
                self.complete = all(known.finish_reason is not None for known in self._choices.values())
        return text

    def reply(self) -> dict[str, Any]:
        choices = [
            {
                "index": index,
                "message": choice.message(),
                "finish_reason": choice.finish_reason,
                **({"content_filter_results": dict(choice.filtered)} if choice.filtered else {}),
            }
            for index, choice in sorted(self._choices.items())
        ]
        return {**self._head, "choices": choices, "usage": dict(self._usage)}


class _Choice:
    """One choice of a stream, as far as it came."""

    def __init__(self) -> None:
        self.finish_reason: str | None = None
        self.filtered: Mapping[str, Any] = {}
        self._text: list[str] = []
        self._reasoning: list[str] = []
        self._refusal: list[str] = []
        self._calls: dict[Any, dict[str, Any]] = {}

    def read(self, choice: Mapping[str, Any]) -> str:
        """Take in the choice of a chunk and return its text, or the text of its refusal."""
        finish = choice.get("finish_reason")
        if finish:
            self.finish_reason = finish
            self.filtered = as_dict(choice.get("content_filter_results"))  # Azure's reasons, should it be a block
        delta = choice.get("delta") or choice.get("message")  # a whole message comes from proxies that do not stream
        if not isinstance(delta, dict):
            return ""
        content = delta.get("content")
        if len(delta) == 1 and isinstance(content, str):  # nearly every chunk
            self._text.append(content)
            return content
        text, reasoning = _content(delta)
        refusal = as_str(delta.get("refusal"))
        self._text.append(text)
        self._reasoning.append(reasoning)
        self._refusal.append(refusal)
        for call in map(as_dict, as_list(delta.get("tool_calls"))):
            self._add_call(call)
        return text or refusal

    def _add_call(self, call: Mapping[str, Any]) -> None:
        # Pieces belong together by index; a host that sends none is read by id, or continues the last call.
        key = call.get("index")
        if key is None:
            key = call.get("id") or next(reversed(self._calls), 0)
        known = self._calls.setdefault(key, {"id": "", "type": "function", "function": {"name": "", "arguments": ""}})
        function = as_dict(call.get("function"))
        known["id"] = known["id"] or as_str(call.get("id"))
        known["function"]["name"] = known["function"]["name"] or as_str(function.get("name"))
        arguments = function.get("arguments")
        if isinstance(arguments, dict):
            known["function"]["arguments"] = arguments
        elif isinstance(known["function"]["arguments"], str):
            known["function"]["arguments"] += as_str(arguments)

    def message(self) -> dict[str, Any]:
        """Return the message that these pieces make."""
        made: dict[str, Any] = {"role": "assistant", "content": "".join(self._text)}
        for name, pieces in (("reasoning_content", self._reasoning), ("refusal", self._refusal)):
            joined = "".join(pieces)
            if joined:
                made[name] = joined
        if self._calls:
            made["tool_calls"] = list(self._calls.values())
        return made


def finish_reason(word: str, has_calls: bool, refused: bool) -> FinishReason:
    """Return why the model stopped, in our words.

    Tool calls decide by being there: with a tool forced by name OpenAI itself says "stop".
    """
    if refused:
        return "refusal"
    reason = _FINISH_REASONS.get(word, "other" if word else "stop")
    if has_calls and reason in ("stop", "other"):
        return "tool_calls"
    return reason


def _content(message: Mapping[str, Any]) -> tuple[str, str]:
    """Return the text and the reasoning of a message; each host has its own place for the latter."""
    content = message.get("content")
    reasoning = as_str(message.get("reasoning_content")) or as_str(message.get("reasoning"))
    if not reasoning:
        details = [as_dict(detail) for detail in as_list(message.get("reasoning_details"))]
        reasoning = "".join(as_str(detail.get("text")) or as_str(detail.get("summary")) for detail in details)
    if isinstance(content, list):  # Mistral while it thinks, and some gateways
        text, thought = "", ""
        for part in map(as_dict, content):
            if part.get("type") == "thinking":
                thinking = part.get("thinking")
                pieces = thinking if isinstance(thinking, list) else [{"text": thinking}]
                thought += "".join(as_str(as_dict(piece).get("text")) for piece in pieces)
            else:
                text += as_str(part.get("text"))
        return text, reasoning or thought
    return as_str(content), reasoning


def _tool_calls(message: Mapping[str, Any]) -> tuple[ToolCall, ...]:
    calls = []
    for call in map(as_dict, as_list(message.get("tool_calls"))):
        function = as_dict(call.get("function")) or as_dict(call.get("custom"))
        arguments = function.get("arguments", function.get("input"))
        if isinstance(arguments, dict):  # some local servers send the object itself
            calls.append(ToolCall(as_str(call.get("id")), as_str(function.get("name")), arguments))
        else:
            calls.append(ToolCall.from_text(as_str(call.get("id")), as_str(function.get("name")), as_str(arguments)))
    return tuple(calls)


def _audio_format(media_type: str) -> str:
    name = media_type.rpartition("/")[2].removeprefix("x-")
    return "mp3" if name == "mpeg" else name
