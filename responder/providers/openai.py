"""OpenAI's Chat Completions: the dialect that most other providers speak, too.

https://platform.openai.com/docs/api-reference/chat (read 2026-08)
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Literal
from urllib.parse import quote

from responder.call.batch_form import BatchForm
from responder.call.dialect import ChunkReader
from responder.call.subsets import OPENAI, described, lowered
from responder.call.upload_steps import Upload, multipart, stands_for
from responder.providers.caching import openai_cache
from responder.providers.citing import listed_citations, openai_citations
from responder.providers.likelihood import openai_logprobs
from responder.providers.openai_batches import OpenAIBatches
from responder.providers.openai_embeddings import OpenAIEmbeddings
from responder.providers.openai_reading import (
    OpenAIChunks,
    calls_of,
    content_of,
    filters_of,
    in_order,
    media_of,
    prompt_filters_of,
    texts_of,
    verdict_of,
    word_of,
)
from responder.providers.prompt import refuse_lifetime
from responder.providers.responses import ResponseEvents, is_pending, is_response, parse_response, responses_payload
from responder.providers.urls import under
from responder.providers.usage import openai_usage
from responder.responder import CommonKeywords
from responder.values.answer import Answer, Usage
from responder.values.errors import APIError, APIStatusError, ConfigurationError, InvalidResponseError
from responder.values.finish import finish_reason
from responder.values.keywords import Unpack
from responder.values.media import Media
from responder.values.messages import Audio, File, Image, Message, Opaque, Part, Raw, Text, ToolCall, ToolResult
from responder.values.options import Options, overlaid
from responder.values.reading import as_dict, as_list, as_str, first, whole

Api = Literal["auto", "chat", "responses"]
CHAT: Api = "chat"


class OpenAIResponder(OpenAIEmbeddings):
    """OpenAI, and any server that speaks its dialect at another `base_url`.

    Keys come from OPENAI_API_KEY, another base URL from OPENAI_BASE_URL.

    Args:
        model: The model's name.
        api: Which of OpenAI's two APIs is asked. "chat" is Chat Completions, which all hosts have; "responses" is the newer one,
            which alone has OpenAI's own tools, answers in the background, and tools for its newest reasoning models. "auto" is
            "chat" until a model refuses it with the advice to use the other one; the responder remembers that.
        api_key: As `Responder` takes it.
        base_url: As `Responder` takes it.
        **keywords: As `Responder` takes them.
    """

    provider = "openai"
    base_url = "https://api.openai.com/v1"
    base_url_variables: ClassVar[tuple[str, ...]] = ("OPENAI_BASE_URL",)
    key_variables: ClassVar[tuple[str, ...]] = ("OPENAI_API_KEY",)

    stream_options: ClassVar[Mapping[str, Any] | None] = {"include_usage": True}
    """What makes a stream report its usage; None if a host refuses the field."""
    takes_schemas: ClassVar[bool] = True
    """False for hosts that make any JSON object, but take no schema: the prompt describes it then."""
    returned: ClassVar[tuple[str, ...]] = ()
    """What else of an answer's message the host wants to see again."""
    returned_with_calls: ClassVar[tuple[str, ...]] = ()
    """The same, where the answer called tools; in other turns the host refuses it."""
    takes_uploads = True
    files_purpose: ClassVar[str] = "user_data"
    """What uploaded files are said to be for."""
    batches: ClassVar[type[BatchForm] | None] = OpenAIBatches
    largest_request: ClassVar[int | None] = 50_000_000  # https://platform.openai.com/docs/guides/images-vision (read 2026-08)
    max_tokens_field: ClassVar[str] = "max_completion_tokens"
    """What the limit of an answer is called: OpenAI's reasoning models refuse the older `max_tokens`."""

    takes_cache_lifetime: ClassVar[bool] = True
    """False for hosts that keep prompts as long as they like."""

    default_api: ClassVar[Api] = "auto"
    """What `api` is unless it is given."""

    # What the model has refused in Chat Completions by now: nothing, questions with tools, or all.
    _elsewhere: Literal["nothing", "tools", "all"] = "nothing"
    _hides_thoughts = False

    def __init__(
        self,
        model: str,
        *,
        api: Api | None = None,
        api_key: str | Callable[[], str] | None = None,
        base_url: str | None = None,
        **keywords: Unpack[CommonKeywords],
    ) -> None:
        if api not in (None, "auto", "chat", "responses"):
            raise ConfigurationError(f"api is 'auto', 'chat' or 'responses', not {api!r}")
        self.api: Api = api or self.default_api
        super().__init__(model, api_key=api_key, base_url=base_url, **keywords)

    def url(self) -> str:
        return self.responses_url() if self.api == "responses" or self._elsewhere == "all" else self.chat_url()

    def chat_url(self) -> str:
        """Return where Chat Completions are."""
        return under(self.base_url, "/chat/completions")

    def responses_url(self, path: str = "") -> str:
        """Return where Responses are, or what is at a path below."""
        return under(self.base_url, f"/responses{path}")

    def url_of(self, payload: Mapping[str, Any], is_streamed: bool) -> str:
        if "input" in payload:
            return self.responses_url()
        # Another thread may have found out since that all goes elsewhere.
        return self.chat_url() if self._elsewhere == "all" else super().url_of(payload, is_streamed)

    def pending_url(self, reply: Mapping[str, Any]) -> str:
        waits = is_response(reply) and is_pending(reply)
        return self.responses_url(f"/{quote(as_str(reply.get('id')), safe='')}") if waits else ""

    def files_url(self) -> str:
        """Return where files are uploaded to."""
        return under(self.base_url, "/files")

    def cancelling_url(self, reply: Mapping[str, Any]) -> str:
        return self.responses_url(f"/{quote(as_str(reply.get('id')), safe='')}/cancel") if self.pending_url(reply) else ""

    def headers(self, secret: str) -> Mapping[str, str]:
        return {"Authorization": f"Bearer {secret}"} if secret else {}

    def payload(self, messages: tuple[Message, ...], options: Options) -> dict[str, Any]:
        if self.api == "responses" or self._elsewhere == "all" or (self._elsewhere == "tools" and options.tools):
            return self._responses_payload(messages, options)
        return self.chat_payload(messages, options)

    def first_form(self, messages: tuple[Message, ...], options: Options) -> tuple[str, dict[str, Any]]:
        if self.api == "responses":
            payload = responses_payload(self.model, messages, options, self._text_format(options))
            return self.responses_url(), payload
        return self.chat_url(), self.chat_payload(messages, options)

    def _responses_payload(self, messages: tuple[Message, ...], options: Options) -> dict[str, Any]:
        payload = responses_payload(self.model, messages, options, self._text_format(options))
        if self._hides_thoughts:
            included = [name for name in payload.pop("include", ()) if name != "reasoning.encrypted_content"]
            if included:
                payload["include"] = included
        return payload

    def _text_format(self, options: Options) -> dict[str, Any] | None:
        return self.response_format(options.schema) if options.schema is not None else None

    def chat_payload(self, messages: tuple[Message, ...], options: Options) -> dict[str, Any]:
        """Return the JSON of Chat Completions for a question; raises as `payload` does."""
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
            "service_tier": options.service_tier,
            "logprobs": True if options.logprobs is not None else None,
            "top_logprobs": options.logprobs or None,
        }
        payload.update((name, value) for name, value in given.items() if value is not None)
        if options.prompt_cache is not None:
            payload.update(self._cache(options))
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
            if not self.takes_schemas:  # nor would they make JSON of a prompt without the word
                payload["messages"].insert(0, {"role": "system", "content": described(options.schema)})
        return payload

    def _cache(self, options: Options) -> dict[str, Any]:
        """Return what the provider is told of its cache."""
        if not self.takes_cache_lifetime:
            refuse_lifetime(options, self.provider)
        return openai_cache(options.prompt_cache) if options.prompt_cache is not None else {}

    def response_format(self, schema: Mapping[str, Any]) -> dict[str, Any]:
        """Return the payload's part that asks for JSON of a schema."""
        if not self.takes_schemas:
            return {"type": "json_object"}
        title = str(schema.get("title") or "answer")
        name = "".join(letter if letter.isascii() and letter.isalnum() else "_" for letter in title)[:64]
        found = lowered(schema, OPENAI)
        return {"type": "json_schema", "json_schema": {"name": name, "schema": found.schema, "strict": found.strict}}

    def messages_on_the_wire(self, message: Message) -> list[dict[str, Any]]:
        """Return a message as the dialect has it; each tool result becomes a message of its own."""
        wire: list[dict[str, Any]] = [
            {"role": "tool", "tool_call_id": part.id, "content": self._result(part)}
            for part in message.parts
            if isinstance(part, ToolResult)
        ]
        calls = [part for part in message.parts if isinstance(part, ToolCall)]
        said = [part for part in message.parts if not isinstance(part, (ToolResult, ToolCall, Opaque))]
        if said or calls or (message.extra and not wire):
            built: dict[str, Any] = {"role": message.role}
            if len(said) == 1 and isinstance(said[0], Text):
                built["content"] = said[0].text
            else:
                built["content"] = [self.part_on_the_wire(part) for part in said] or None
            if calls:
                built["tool_calls"] = [_call(call) for call in calls]
            for part in message.parts:
                if isinstance(part, Opaque):
                    again = (*self.returned, *self.returned_with_calls)
                    built.update((name, value) for name, value in part.data.items() if name in again)
            wire.append(built)
        if message.extra:
            wire[-1].update(message.extra)
        return wire

    def _result(self, result: ToolResult) -> Any:
        return result.content if isinstance(result.content, str) else [self.part_on_the_wire(part) for part in result.parts]

    def part_on_the_wire(self, part: Part) -> dict[str, Any]:
        """Return a part as the dialect has it."""
        if isinstance(part, Text):
            return {"type": "text", "text": part.text}
        if isinstance(part, Image):
            if part.file_id is not None:
                raise ConfigurationError(
                    f"{self.provider} takes no uploaded image in Chat Completions: Image('cat.png'), a URL, or api='responses'"
                )
            image = {"url": part.data_url, "detail": part.detail} if part.detail else {"url": part.data_url}
            return {"type": "image_url", "image_url": image}
        if isinstance(part, Audio):
            if not part.is_inline:
                raise ConfigurationError(
                    f"{self.provider} accepts audio as bytes or a path, not as a URL or an id: Audio(data=...)"
                )
            return {
                "type": "input_audio",
                "input_audio": {"data": part.base64, "format": _audio_format(part.media_type)},
            }
        if isinstance(part, File):
            if part.file_id is not None:
                return {"type": "file", "file": {"file_id": part.file_id}}
            if not part.is_inline:
                raise ConfigurationError(f"{self.provider} accepts files as bytes, a path or an id, not as a URL: File(data=...)")
            return {"type": "file", "file": {"filename": part.name or "file", "file_data": part.data_url}}
        if isinstance(part, Raw):
            return dict(part.data)
        raise ConfigurationError(f"{self.provider} does not accept {type(part).__name__} here")

    def uploading(self, file: Media, size: int) -> Upload:  # noqa: ARG002 - the form says it
        purpose = "vision" if file.media_type.startswith("image/") else self.files_purpose
        received = yield multipart(self.files_url(), file, {"purpose": purpose}, {})
        return stands_for(file, received.body.get("id"), received.body)

    def stream_payload(self, payload: dict[str, Any]) -> dict[str, Any]:
        payload = super().stream_payload(payload)
        if "input" in payload or self.stream_options is None or self._refuses_stream_options:
            return payload
        return {**payload, "stream_options": dict(self.stream_options)}

    _refuses_stream_options = False

    def repaired(self, payload: Mapping[str, Any], error: APIError) -> bool:
        """Find out what the model or the server does not take, and remember it.

        - A model that has to be asked with Responses: with tools, or always.
        - A model that has no thoughts to encrypt.
        - A server that refuses `stream_options` (Azure's api-versions before 2024-09). Usage is not known then.
        """
        words = _words(error)
        if self.api == "auto" and "messages" in payload and "v1/responses" in words:
            self._elsewhere = "tools" if _NO_TOOLS in words else "all"
            self.is_repaired = True
            return True
        if "include" in payload and _NO_THOUGHTS.search(words):
            self._hides_thoughts = self.is_repaired = True
            return True
        if "stream_options" in payload and error.status in (400, 422) and "stream_options" in words:
            self._refuses_stream_options = True
            return True
        return False

    def advice(self, error: APIError) -> str:
        if error.status == 400 and _NO_TOOLS in _words(error) and self.api == "chat":
            return f"{self.model} takes tools in Chat Completions only without reasoning: api='auto', or reasoning_effort='none'"
        return ""

    def reader(self) -> ChunkReader:
        return OpenAIChunks() if self.api == "chat" else ResponseEvents() if self.api == "responses" else EitherChunks()

    def parse(self, reply: Mapping[str, Any]) -> Answer:
        if is_response(reply):
            return parse_response(reply, self.model, self.provider)
        choices = in_order([as_dict(choice) for choice in as_list(reply.get("choices"))])
        if not choices:
            if prompt_filters_of(reply):
                choices = [{"finish_reason": "content_filter", "message": {"content": ""}}]
            else:
                raise InvalidResponseError("there are no 'choices' in the reply", retryable=True)
        choice = choices[0]
        found = verdict_of(choice)
        message = as_dict(choice.get("message"))
        if not message and "text" in choice:  # the older Completions, which some proxies answer with
            message = {"content": choice["text"]}
        if not message and found in ("none", "stop", "unknown", "tool_calls", "other"):
            raise InvalidResponseError("there is no 'message' in the first choice", retryable=True)
        text, reasoning = content_of(message)
        text, reasoning = whole(text), whole(reasoning)
        calls = calls_of(message)
        refusal = whole(as_str(message.get("refusal")))
        usage = self.usage(as_dict(reply.get("usage")) or as_dict(choice.get("usage")))
        failure = as_dict(choice.get("error"))  # OpenRouter lost the model behind it
        media = media_of(message)
        if not text and "audio" in message:
            text = whole(as_str(as_dict(message["audio"]).get("transcript")))
        is_empty = not (text or calls or refusal or media)
        if failure or found == "broken" or (found == "error" and is_empty):
            word = as_str(failure.get("message")) or str(choice.get("finish_reason"))[:100]
            raise InvalidResponseError(f"the model stopped midway ({word})", retryable=True, usage=usage)
        if is_empty and (filters_of(choice) or prompt_filters_of(reply)):
            found = "content_filter"
        return Answer(
            text=text or refusal,
            finish_reason=finish_reason(found, bool(calls), bool(refusal)),
            usage=usage,
            model=as_str(reply.get("model")) or self.model,
            provider=self.provider,
            reasoning=reasoning,
            tool_calls=calls,
            candidates=(text,) if len(choices) == 1 else texts_of(choices),
            parts=self._said_again(message, text or refusal, calls) if self.returned or self.returned_with_calls else (),
            raw=reply,
            service_tier=as_str(reply.get("service_tier")),
            citations=openai_citations((message,)) or listed_citations(reply),
            logprobs=openai_logprobs(as_dict(choice.get("logprobs")).get("content")) if choice.get("logprobs") else (),
            media=media,
        )

    def _said_again(self, message: Mapping[str, Any], text: str, calls: tuple[ToolCall, ...]) -> tuple[Part, ...]:
        """Return the parts of an answer's message, with what the host needs to see again; () where that is nothing more."""
        names = (*self.returned, *(self.returned_with_calls if calls else ()))
        again = {name: message[name] for name in names if message.get(name)}
        return (Opaque(self.provider, again), *((Text(text),) if text else ()), *calls) if again else ()

    def usage(self, usage: Mapping[str, Any]) -> Usage:
        """Return the usage of a reply in our terms."""
        return openai_usage(usage)

    def explain(self, reply: Mapping[str, Any]) -> str:
        if is_response(reply):
            return as_str(as_dict(reply.get("incomplete_details")).get("reason")) or as_str(reply.get("status"))
        choice = as_dict(first(as_list(reply.get("choices"))))
        filtered = filters_of(choice) or prompt_filters_of(reply)
        return ", ".join(filtered) or word_of(choice.get("finish_reason"))


# OpenAI's words for the models of 2026 (gpt-5.4 and later): "Function tools with reasoning_effort are not supported for gpt-5.6
# in /v1/chat/completions. To use function tools, use /v1/responses or set reasoning_effort to 'none'."
_NO_TOOLS = "Function tools with reasoning_effort are not supported"
# "Encrypted content is not supported with this model."
_NO_THOUGHTS = re.compile("encrypted.content is not supported", re.IGNORECASE)


class EitherChunks(ChunkReader):
    """The chunks of either API: the first one says which."""

    def __init__(self) -> None:
        self._reader: ChunkReader | None = None

    def read(self, chunk: Mapping[str, Any]) -> str:
        reader = self._reader
        if reader is None:
            is_event = "choices" not in chunk and as_str(chunk.get("type")).startswith(("response.", "error"))
            reader = self._reader = ResponseEvents() if is_event else OpenAIChunks()
        text = reader.read(chunk)
        self.complete, self.done, self.failed = reader.complete, reader.done, reader.failed
        return text

    def reply(self) -> dict[str, Any]:
        return self._reader.reply() if self._reader is not None else {}


def _words(error: APIError) -> str:
    body = error.body if isinstance(error, APIStatusError) else ""
    return f"{error} {body}"


def _call(call: ToolCall) -> dict[str, Any]:
    if call.extra.get("type") == "custom":
        made: dict[str, Any] = {"id": call.id, "type": "custom", "custom": {"name": call.name, "input": call.arguments_text}}
    else:
        made = {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.json}}
    return overlaid(made, call.extra) if call.extra else made


def _audio_format(media_type: str) -> str:
    name = media_type.rpartition("/")[2].removeprefix("x-")
    return "mp3" if name == "mpeg" else name
