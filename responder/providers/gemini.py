"""Gemini's generateContent: the dialect of the Developer API, which Vertex AI speaks, too.

https://ai.google.dev/api/generate-content (read 2026-08)
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar
from urllib.parse import urlsplit

from responder.call.batch_form import BatchForm
from responder.call.dialect import ChunkReader
from responder.call.subsets import GEMINI, lowered
from responder.call.upload_steps import Sending, Upload, refused, stands_for
from responder.providers.citing import gemini_citations
from responder.providers.gemini_batches import GeminiBatches
from responder.providers.gemini_reading import (
    GeminiChunks,
    block_of,
    is_opaque,
    media_of,
    parts_of,
    said_again,
    text_of,
    tier_of,
    tool_call_of,
)
from responder.providers.google_embeddings import GeminiEmbeddings
from responder.providers.likelihood import gemini_logprobs
from responder.providers.prompt import described, refuse_extra, refuse_lifetime, text_of_result
from responder.providers.urls import quoted, under
from responder.providers.usage import gemini_usage
from responder.values.answer import Answer, Usage
from responder.values.errors import ConfigurationError, InvalidResponseError
from responder.values.finish import FinishReason, finish_reason, google_verdict
from responder.values.media import Media
from responder.values.messages import Audio, File, Image, Message, Opaque, Part, Text, ToolCall, ToolResult, Video
from responder.values.options import Options
from responder.values.reading import as_dict, as_index, as_list, as_str, first


class GeminiResponder(GeminiEmbeddings):
    """Gemini with an API key.

    Keys come from GEMINI_API_KEY or GOOGLE_API_KEY.
    """

    provider = "gemini"
    base_url = "https://generativelanguage.googleapis.com"
    base_url_variables: ClassVar[tuple[str, ...]] = ("GOOGLE_GEMINI_BASE_URL",)
    key_variables: ClassVar[tuple[str, ...]] = ("GEMINI_API_KEY", "GOOGLE_API_KEY")
    family = "google"
    takes_uploads: ClassVar[bool] = True
    tier_header = "x-gemini-service-tier"  # https://ai.google.dev/gemini-api/docs/priority-inference (read 2026-11)
    batches: ClassVar[type[BatchForm] | None] = GeminiBatches
    largest_request: ClassVar[int | None] = 20_000_000  # https://ai.google.dev/gemini-api/docs/files (read 2026-08)

    def url(self) -> str:
        return self.model_url(":generateContent")

    def stream_url(self) -> str:
        return self.model_url(":streamGenerateContent?alt=sse")

    def stream_payload(self, payload: dict[str, Any]) -> dict[str, Any]:
        return payload  # the URL says it

    def reader(self) -> ChunkReader:
        return GeminiChunks()

    def model_url(self, method: str = "") -> str:
        """Return the URL of a method of the model."""
        path = self.model if "/" in self.model else f"models/{self.model}"
        return under(self.base_url, f"/{quoted(path)}{method}", unless=("/v1beta", "/v1"), prefix="/v1beta")

    def headers(self, secret: str) -> Mapping[str, str]:
        return {"x-goog-api-key": secret}

    def payload(self, messages: tuple[Message, ...], options: Options) -> dict[str, Any]:
        payload: dict[str, Any] = {"contents": self._contents(messages)}
        if isinstance(options.prompt_cache, str):
            if "cachedContents/" not in options.prompt_cache:
                refuse_lifetime(options, "Gemini", "say True, or the name of a cached content, as in 'cachedContents/abc'")
            payload["cachedContent"] = options.prompt_cache
        if options.service_tier is not None:
            payload["serviceTier"] = options.service_tier
        for message in messages:
            told = message.role == "tool" and all(isinstance(part, ToolResult) and part.name for part in message.parts)
            refuse_extra(message, "Gemini", ("name",) if told else ())  # the result says the tool's name already
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
            parts: list[dict[str, Any]] = []
            for part in message.parts:
                if isinstance(part, Opaque) and part.data.keys() == {"thoughtSignature"} and parts:
                    parts[-1].update(part.data)  # it belongs to the text before it
                else:
                    parts.append(self.part_on_the_wire(part))
            # The results of one turn's tool calls belong in one content.
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
            "responseLogprobs": True if options.logprobs is not None else None,
            "logprobs": options.logprobs or None,
            "responseMimeType": "application/json" if options.schema is not None else None,
            "responseJsonSchema": lowered(options.schema, GEMINI).schema if options.schema is not None else None,
            "thinkingConfig": _thinking(self.model, options.reasoning_effort) if options.reasoning_effort is not None else None,
        }
        return {name: value for name, value in given.items() if value is not None}

    def part_on_the_wire(self, part: Part) -> dict[str, Any]:
        """Return a part as the dialect has it."""
        if isinstance(part, Text):
            return {"text": part.text}
        if isinstance(part, (Image, Audio, Video, File)):
            if isinstance(part, Image) and part.detail:
                raise ConfigurationError(
                    f"Gemini has no detail={part.detail!r} for an image: leave it out, or set "
                    "extra={'generationConfig': {'mediaResolution': ...}}"
                )
            if part.file_id is not None:
                return {"fileData": {"mimeType": part.media_type, "fileUri": self._file_uri(part.file_id)}}
            if part.url is not None:
                return {"fileData": {"mimeType": part.media_type, "fileUri": part.url}}
            return {"inlineData": {"mimeType": part.media_type, "data": part.base64}}
        if isinstance(part, ToolCall):
            call: dict[str, Any] = {"name": part.name, "args": part.object}
            if part.id:
                call["id"] = part.id
            wire: dict[str, Any] = {"functionCall": call}
            if part.signature:
                wire["thoughtSignature"] = part.signature
            return wire
        if isinstance(part, ToolResult):
            return self._result(part)
        if isinstance(part, Opaque):
            return dict(part.data)
        if "type" in part.data:  # OpenAI's and Anthropic's form; Google's parts have none
            raise ConfigurationError(
                f"Gemini does not accept {described(part)}: write it as Google does, such as {{'text': ...}}, without a type"
            )
        return dict(part.data)

    def _result(self, part: ToolResult) -> dict[str, Any]:
        """Return a tool's result: its texts as the response, its pictures and files as parts of it."""
        if not part.name:
            raise ConfigurationError("Gemini needs the tool's name with its result: ToolResult(id, content, name=...)")
        media = [inner for inner in part.parts if isinstance(inner, (Image, Audio, Video, File))]
        said = replace(part, content=tuple(inner for inner in part.parts if inner not in media) or "") if media else part
        response: dict[str, Any] = {
            "name": part.name,
            "response": {"error" if part.is_error else "result": text_of_result(said, "Gemini")},
        }
        if media:
            response["parts"] = [self.part_on_the_wire(inner) for inner in media]
        if part.id:
            response["id"] = part.id
        return {"functionResponse": response}

    def uploading(self, file: Media, size: int) -> Upload:
        root = self.base_url.partition("?")[0].rstrip("/").removesuffix("/v1beta").removesuffix("/v1")
        told = {
            "X-Goog-Upload-Protocol": "resumable",
            "X-Goog-Upload-Command": "start",
            "X-Goog-Upload-Header-Content-Length": str(size),
            "X-Goog-Upload-Header-Content-Type": file.media_type,
        }
        about = json.dumps({"file": {"displayName": file.name}}).encode()
        received = yield Sending(f"{root}/upload/v1beta/files", told, about, has_file=False)
        where = received.headers.get("x-goog-upload-url", "")
        if urlsplit(where)[:2] != urlsplit(root)[:2]:  # the key goes there
            raise refused({"x-goog-upload-url": where}, "the upload would go to another host")
        command = {"X-Goog-Upload-Command": "upload, finalize", "X-Goog-Upload-Offset": "0", "Content-Type": file.media_type}
        received = yield Sending(where, command)
        found = as_dict(received.body.get("file"))
        while found.get("state") == "PROCESSING":
            received = yield Sending(f"{root}/v1beta/{as_str(found.get('name'))}", has_file=False, is_look=True)
            found = received.body
        if found.get("state") == "FAILED":
            raise refused(found, "Gemini could not read the uploaded file")
        kind = {"image": Image, "audio": Audio, "video": Video}.get(file.media_type.partition("/")[0], File)
        return stands_for(file, found.get("uri"), received.body, kind)

    def _file_uri(self, file_id: str) -> str:
        """Return where an uploaded file is: the id may be its URI, or its name such as "files/abc"."""
        if not file_id.startswith("files/"):
            return file_id
        return under(self.base_url, f"/{file_id}", unless=("/v1beta", "/v1"), prefix="/v1beta")

    def parse(self, reply: Mapping[str, Any]) -> Answer:
        candidates = [as_dict(candidate) for candidate in as_list(reply.get("candidates"))]
        if len(candidates) > 1:
            candidates.sort(key=lambda candidate: as_index(candidate.get("index")) or 0)
        block = block_of(reply)
        if not candidates and not block and "usageMetadata" not in reply:
            raise InvalidResponseError("there are neither 'candidates' nor a 'promptFeedback' in the reply", retryable=True)
        candidate = as_dict(first(candidates))
        parts = parts_of(candidate)
        calls = tuple(call for part in parts if (call := tool_call_of(part)) is not None)
        text = text_of(parts, thoughts=False)
        media = media_of(parts)
        found = google_verdict(candidate.get("finishReason"))
        usage = self.usage(as_dict(reply.get("usageMetadata")))
        if found == "broken" or (found == "error" and not text and not calls and not media):
            raise InvalidResponseError(
                f"the model stopped midway ({str(candidate.get('finishReason'))[:100]})", retryable=True, usage=usage
            )
        reason: FinishReason
        # A block that comes in the middle of a stream leaves a candidate that did not finish.
        if block and (found == "none" or not (text or calls)):
            reason = "content_filter"
        else:
            reason = finish_reason(found, bool(calls))
        return Answer(
            text=text,
            finish_reason=reason,
            usage=usage,
            model=as_str(reply.get("modelVersion")) or self.model,
            provider=self.provider,
            reasoning=text_of(parts, thoughts=True),
            tool_calls=calls,
            candidates=(text,)
            if len(candidates) == 1
            else tuple(text_of(parts_of(other), thoughts=False) for other in candidates),
            parts=said_again(parts) if any(map(is_opaque, parts)) else (),
            raw=reply,
            citations=gemini_citations(candidate),
            logprobs=gemini_logprobs(candidate),
            media=media,
            service_tier=tier_of(as_dict(reply.get("usageMetadata"))),
        )

    def usage(self, usage: Mapping[str, Any]) -> Usage:
        """Return the usage of a reply in our terms: Google counts thoughts beside the candidates, and bills both."""
        return gemini_usage(usage)

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


# What an effort means as a budget in tokens, for the models of 2.5, which refuse levels.
# Pro takes 128 to 32,768 and is never off, Flash takes 0 to 24,576.
_BUDGETS = {"none": 0, "minimal": 128, "low": 2048, "medium": 8192, "high": 24_576, "xhigh": 24_576, "max": 24_576}
_LEVELS = {"none": "MINIMAL", "xhigh": "HIGH", "max": "HIGH"}


def _thinking(model: str, effort: str) -> dict[str, Any]:
    """Return how much to think, in the words of the model's family: a budget for 2.5, a level for 3 and what comes after."""
    name = model.rpartition("/")[2].lower()
    effort = effort.strip().lower()
    if "gemini-2" in name or "robotics-er-1" in name:
        budget = _BUDGETS.get(effort)
        if budget is None:
            raise ConfigurationError(
                f"{model} does not know reasoning_effort={effort!r}: use one of {', '.join(_BUDGETS)}, or "
                "extra={'generationConfig': {'thinkingConfig': {'thinkingBudget': ...}}}",
                fatal=True,
            )
        return {"thinkingBudget": max(budget, 128) if "pro" in name else budget}
    level = _LEVELS.get(effort, effort.upper())
    return {"thinkingLevel": "LOW" if level == "MINIMAL" and "pro" in name else level}  # Pro has no MINIMAL


def _calling(tool_choice: str) -> dict[str, Any]:
    modes = {"auto": "AUTO", "none": "NONE", "required": "ANY"}
    if tool_choice in modes:
        return {"mode": modes[tool_choice]}
    return {"mode": "ANY", "allowedFunctionNames": [tool_choice]}
