"""Gemini's generateContent: the dialect of the Developer API, which Vertex AI speaks, too.

https://ai.google.dev/api/generate-content (read 2026-08)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar
from urllib.parse import quote

from responder.call.dialect import ChunkReader
from responder.responder import Responder
from responder.values.answer import Answer, FinishReason, Usage
from responder.values.errors import ConfigurationError, InvalidResponseError
from responder.values.messages import Audio, File, Image, Message, Part, Text, ToolCall, ToolResult
from responder.values.options import Options
from responder.values.reading import as_dict, as_int, as_list, as_str, first

_FINISH_REASONS: Mapping[Any, FinishReason] = {
    "STOP": "stop",
    "MAX_TOKENS": "length",
    "SAFETY": "content_filter",
    "RECITATION": "content_filter",
    "BLOCKLIST": "content_filter",
    "PROHIBITED_CONTENT": "content_filter",
    "SPII": "content_filter",
    "IMAGE_SAFETY": "content_filter",
    "IMAGE_PROHIBITED_CONTENT": "content_filter",
    "IMAGE_RECITATION": "content_filter",
    "MODEL_ARMOR": "content_filter",
    # Some gateways ask Google to write its words as numbers.
    1: "stop",
    2: "length",
    3: "content_filter",
    4: "content_filter",
    7: "content_filter",
    8: "content_filter",
    9: "content_filter",
}


class GeminiResponder(Responder):
    """Gemini with an API key.

    Keys come from GEMINI_API_KEY or GOOGLE_API_KEY.
    """

    provider = "gemini"
    base_url = "https://generativelanguage.googleapis.com"
    base_url_variables: ClassVar[tuple[str, ...]] = ("GOOGLE_GEMINI_BASE_URL",)
    key_variables: ClassVar[tuple[str, ...]] = ("GEMINI_API_KEY", "GOOGLE_API_KEY")

    def url(self) -> str:
        return f"{self.model_url()}:generateContent"

    def stream_url(self) -> str:
        return f"{self.model_url()}:streamGenerateContent?alt=sse"

    def stream_payload(self, payload: dict[str, Any]) -> dict[str, Any]:
        return payload  # the URL says it

    def reader(self) -> ChunkReader:
        return GeminiChunks()

    def model_url(self) -> str:
        """Return the URL of the model, to which a colon and a method are added."""
        base = self.base_url if self.base_url.endswith(("/v1beta", "/v1")) else f"{self.base_url}/v1beta"
        path = self.model if "/" in self.model else f"models/{self.model}"
        return f"{base}/{quote(path, safe='/@.-_~')}"

    def headers(self, secret: str) -> Mapping[str, str]:
        return {"x-goog-api-key": secret}

    def payload(self, messages: tuple[Message, ...], options: Options) -> dict[str, Any]:
        payload: dict[str, Any] = {"contents": self._contents(messages)}
        spoken = [part for message in messages if message.role == "system" for part in message.parts]
        if spoken:
            payload["systemInstruction"] = {"parts": [self.part_on_the_wire(part) for part in spoken]}
        if options.tools:
            payload["tools"] = [
                {
                    "functionDeclarations": [
                        {
                            "name": tool.name,
                            "description": tool.description,
                            "parametersJsonSchema": dict(tool.parameters),
                        }
                        for tool in options.tools
                    ]
                }
            ]
        if options.tool_choice is not None:
            payload["toolConfig"] = {"functionCallingConfig": _calling(options.tool_choice)}
        config = self._config(options)
        if config:
            payload["generationConfig"] = config
        return payload

    def _contents(self, messages: tuple[Message, ...]) -> list[dict[str, Any]]:
        contents: list[dict[str, Any]] = []
        for message in messages:
            if message.role == "system":
                continue
            role = "model" if message.role == "assistant" else "user"
            parts = [self.part_on_the_wire(part) for part in message.parts]
            # The results of one turn's tool calls belong into one content.
            if contents and contents[-1]["role"] == role and message.role == "tool":
                contents[-1]["parts"] += parts
            else:
                contents.append({"role": role, "parts": parts})
        return contents

    def _config(self, options: Options) -> dict[str, Any]:
        given = {
            "temperature": options.temperature,
            "topP": options.top_p,
            "maxOutputTokens": options.max_tokens,
            "stopSequences": list(options.stop) if options.stop is not None else None,
            "seed": options.seed,
            "candidateCount": options.candidates,
            "responseMimeType": "application/json" if options.schema is not None else None,
            "responseJsonSchema": dict(options.schema) if options.schema is not None else None,
            "thinkingConfig": (
                {"thinkingLevel": options.reasoning_effort.upper()} if options.reasoning_effort is not None else None
            ),
        }
        return {name: value for name, value in given.items() if value is not None}

    def part_on_the_wire(self, part: Part) -> dict[str, Any]:
        """Return a part as the dialect has it."""
        if isinstance(part, Text):
            return {"text": part.text}
        if isinstance(part, (Image, Audio, File)):
            if part.url is not None:
                return {"fileData": {"mimeType": part.media_type, "fileUri": part.url}}
            return {"inlineData": {"mimeType": part.media_type, "data": part.base64}}
        if isinstance(part, ToolCall):
            call: dict[str, Any] = {"name": part.name, "args": dict(part.arguments)}
            if part.id:
                call["id"] = part.id
            wire: dict[str, Any] = {"functionCall": call}
            if part.signature:
                wire["thoughtSignature"] = part.signature
            return wire
        if isinstance(part, ToolResult):
            if not part.name:
                raise ConfigurationError("Gemini wants the tool's name with its result: ToolResult(id, content, name=...)")
            kind = "error" if part.is_error else "result"
            response: dict[str, Any] = {"name": part.name, "response": {kind: part.content}}
            if part.id:
                response["id"] = part.id
            return {"functionResponse": response}
        return dict(part.data)

    def parse(self, reply: Mapping[str, Any]) -> Answer:
        candidates = [as_dict(candidate) for candidate in as_list(reply.get("candidates"))]
        feedback = as_dict(reply.get("promptFeedback"))
        if not candidates and not feedback.get("blockReason") and "usageMetadata" not in reply:
            raise InvalidResponseError("there are neither 'candidates' nor a 'promptFeedback' in the reply")
        candidate = as_dict(first(candidates))
        parts = _parts(candidate)
        calls = tuple(call for part in parts if (call := _tool_call(part)) is not None)
        return Answer(
            text=_text(parts, thoughts=False),
            finish_reason=_finish_reason(candidate, bool(calls), bool(feedback.get("blockReason")) and not candidates),
            usage=self.usage(as_dict(reply.get("usageMetadata"))),
            model=as_str(reply.get("modelVersion")) or self.model,
            provider=self.provider,
            reasoning=_text(parts, thoughts=True),
            tool_calls=calls,
            candidates=tuple(_text(_parts(other), thoughts=False) for other in candidates),
            raw=reply,
        )

    def usage(self, usage: Mapping[str, Any]) -> Usage:
        """Return the usage of a reply in our terms: Google counts thoughts beside the candidates, and bills both."""
        thoughts = as_int(usage.get("thoughtsTokenCount"))
        return Usage(
            input_tokens=as_int(usage.get("promptTokenCount")) + as_int(usage.get("toolUsePromptTokenCount")),
            output_tokens=as_int(usage.get("candidatesTokenCount")) + thoughts,
            cached_input_tokens=as_int(usage.get("cachedContentTokenCount")),
            reasoning_tokens=thoughts,
            known=usage.get("promptTokenCount") is not None,
        )

    def explain(self, reply: Mapping[str, Any]) -> str:
        candidate = as_dict(first(as_list(reply.get("candidates"))))
        feedback = as_dict(reply.get("promptFeedback"))
        ratings = as_list(candidate.get("safetyRatings")) or as_list(feedback.get("safetyRatings"))
        blamed = [
            as_str(as_dict(rating).get("category")).removeprefix("HARM_CATEGORY_")
            for rating in ratings
            if as_dict(rating).get("blocked") or as_dict(rating).get("probability") in ("MEDIUM", "HIGH")
        ]
        said = [
            str(feedback.get("blockReason") or candidate.get("finishReason") or ""),
            as_str(feedback.get("blockReasonMessage")) or as_str(candidate.get("finishMessage")),
            ", ".join(blamed),
        ]
        return "; ".join(word for word in said if word)


class GeminiChunks(ChunkReader):
    """GenerateContent replies, one for each piece; there is no end marker but the finish reason of the last one."""

    def __init__(self) -> None:
        self._head: dict[str, Any] = {}
        self._text: list[str] = []
        self._thoughts: list[str] = []
        self._other_parts: list[Mapping[str, Any]] = []
        self._candidate: dict[str, Any] = {}

    def read(self, chunk: Mapping[str, Any]) -> str:
        for key in ("usageMetadata", "promptFeedback", "modelVersion", "responseId"):
            if chunk.get(key):
                self._head[key] = chunk[key]
        if as_dict(chunk.get("promptFeedback")).get("blockReason"):
            self.complete = True
        candidate = as_dict(first(as_list(chunk.get("candidates"))))
        if not candidate:
            return ""
        # Old servers say STOP with every piece, so only that of the last one counts.
        self.complete = bool(candidate.get("finishReason"))
        self._candidate.update((key, value) for key, value in candidate.items() if key != "content")
        text = ""
        for part in _parts(candidate):
            said = part.get("text")
            if isinstance(said, str):
                if part.get("thought") is True:
                    self._thoughts.append(said)
                else:
                    text += said
            if set(part) - {"text", "thought"}:
                self._other_parts.append({key: value for key, value in part.items() if key != "text"})
        self._text.append(text)
        return text

    def reply(self) -> dict[str, Any]:
        parts: list[Mapping[str, Any]] = []
        if thoughts := "".join(self._thoughts):
            parts.append({"text": thoughts, "thought": True})
        if text := "".join(self._text):
            parts.append({"text": text})
        made = dict(self._head)
        if self._candidate or parts:
            made["candidates"] = [{**self._candidate, "content": {"role": "model", "parts": [*parts, *self._other_parts]}}]
        return made


def _calling(tool_choice: str) -> dict[str, Any]:
    modes = {"auto": "AUTO", "none": "NONE", "required": "ANY"}
    if tool_choice in modes:
        return {"mode": modes[tool_choice]}
    return {"mode": "ANY", "allowedFunctionNames": [tool_choice]}


def _parts(candidate: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [as_dict(part) for part in as_list(as_dict(candidate.get("content")).get("parts"))]


def _text(parts: list[Mapping[str, Any]], thoughts: bool) -> str:
    return "".join(as_str(part.get("text")) for part in parts if (part.get("thought") is True) is thoughts)


def _tool_call(part: Mapping[str, Any]) -> ToolCall | None:
    call = as_dict(part.get("functionCall"))
    if not call:
        return None
    return ToolCall(
        as_str(call.get("id")),
        as_str(call.get("name")),
        as_dict(call.get("args")),
        signature=as_str(part.get("thoughtSignature")),
    )


def _finish_reason(candidate: Mapping[str, Any], has_calls: bool, blocked: bool) -> FinishReason:
    if blocked:
        return "content_filter"
    word = candidate.get("finishReason")
    reason = _FINISH_REASONS.get(word, "other") if isinstance(word, (str, int)) else "stop"
    return "tool_calls" if has_calls and reason == "stop" else reason
