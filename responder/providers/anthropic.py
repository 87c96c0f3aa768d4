"""Anthropic's Messages.

https://docs.anthropic.com/en/api/messages (read 2026-08)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from responder.call.batch_form import BatchForm
from responder.call.dialect import ChunkReader
from responder.call.subsets import ANTHROPIC, described, lowered
from responder.call.upload_steps import Upload, multipart, stands_for
from responder.providers.anthropic_batches import AnthropicBatches
from responder.providers.caching import mark_for_anthropic
from responder.providers.citing import anthropic_citations
from responder.providers.prompt import refuse_extra, refuse_options
from responder.providers.urls import under
from responder.providers.usage import anthropic_usage, merged_counts
from responder.responder import Responder
from responder.values.answer import Answer, Usage
from responder.values.errors import ConfigurationError, InvalidResponseError
from responder.values.finish import finish_reason, verdict
from responder.values.media import Media
from responder.values.messages import File, Image, Message, Opaque, Part, Raw, Text, ToolCall, ToolResult
from responder.values.options import Options
from responder.values.reading import WholePieces, as_dict, as_index, as_list, as_str, whole

# Anthropic requires a limit with every request. 4,096 is the largest that all of its models accept.
DEFAULT_MAX_TOKENS = 4096


FILES_BETA = "files-api-2025-04-14"
"""What Anthropic wants to hear where uploaded files are used."""


class AnthropicResponder(Responder):
    """Anthropic's Claude models.

    The key comes from ANTHROPIC_API_KEY, another base URL from ANTHROPIC_BASE_URL. `max_tokens` is 4,096 by
    default: check `answer.truncated`.
    """

    provider = "anthropic"
    base_url = "https://api.anthropic.com"
    base_url_variables: ClassVar[tuple[str, ...]] = ("ANTHROPIC_BASE_URL",)
    key_variables: ClassVar[tuple[str, ...]] = ("ANTHROPIC_API_KEY",)
    family = "anthropic"
    takes_uploads = True
    batches: ClassVar[type[BatchForm] | None] = AnthropicBatches
    largest_request: ClassVar[int | None] = 32_000_000  # https://docs.anthropic.com/en/api/overview (read 2026-08)

    def url(self) -> str:
        return under(self.base_url, "/messages", unless=("/v1",), prefix="/v1")

    def headers(self, secret: str) -> Mapping[str, str]:
        return {"x-api-key": secret, "anthropic-version": "2023-06-01"}

    def media_headers(self, payload: Mapping[str, Any]) -> Mapping[str, str]:
        blocks = [block for turn in as_list(payload.get("messages")) for block in as_list(as_dict(turn).get("content"))]
        blocks += [inner for block in blocks for inner in as_list(as_dict(block).get("content"))]
        is_uploaded = any(as_dict(as_dict(block).get("source")).get("type") == "file" for block in blocks)
        return {"anthropic-beta": FILES_BETA} if is_uploaded else {}

    def uploading(self, file: Media, size: int) -> Upload:  # noqa: ARG002 - the form says it
        where = under(self.base_url, "/files", unless=("/v1",), prefix="/v1")
        received = yield multipart(where, file, {}, {"anthropic-beta": FILES_BETA})
        return stands_for(file, received.body.get("id"), received.body)

    def payload(self, messages: tuple[Message, ...], options: Options) -> dict[str, Any]:
        refuse_options(options, ("seed", "candidates", "logprobs"), "Anthropic")
        payload: dict[str, Any] = {
            "model": self.model,
            "max_tokens": options.max_tokens or DEFAULT_MAX_TOKENS,
            "messages": self._turns(messages),
        }
        spoken = [message for message in messages if message.role == "system"]
        output: dict[str, Any] = {}
        if options.schema is not None:
            form = lowered(options.schema, ANTHROPIC)
            if form.strict:
                output["format"] = {"type": "json_schema", "schema": form.schema}
            else:  # objects of any keys, and schemas that refer to themselves, are refused: the model is told in words
                spoken.append(Message("system", described(options.schema)))
        if spoken:
            payload["system"] = self._system(spoken)
        given = {
            "temperature": options.temperature,
            "top_p": options.top_p,
            "stop_sequences": list(options.stop) if options.stop is not None else None,
            "service_tier": options.service_tier,
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
        if options.reasoning_effort == "none":
            payload["thinking"] = {"type": "disabled"}
        elif options.reasoning_effort is not None:
            output["effort"] = options.reasoning_effort
        if output:
            payload["output_config"] = output
        if options.prompt_cache is not None:
            mark_for_anthropic(payload, options.prompt_cache)
        return payload

    def _system(self, spoken: list[Message]) -> str | list[dict[str, Any]]:
        """Return the system messages as Anthropic's own field has them: one text, or blocks if there is more than text."""
        for message in spoken:
            refuse_extra(message, "Anthropic")
        if all(isinstance(part, Text) for message in spoken for part in message.parts):
            return "\n\n".join(message.text for message in spoken)
        blocks = []
        for part in (part for message in spoken for part in message.parts):
            if not isinstance(part, (Text, Raw)):
                raise ConfigurationError(
                    f"Anthropic accepts only text in a system message, not {type(part).__name__}: put it in a user message"
                )
            blocks.append(self.part_on_the_wire(part))
        return blocks

    def _turns(self, messages: tuple[Message, ...]) -> list[dict[str, Any]]:
        turns: list[dict[str, Any]] = []
        named: dict[str, str] = {}  # the tools that were called, by the id of the call
        for message in messages:
            if message.role == "system":
                continue
            role = "assistant" if message.role == "assistant" else "user"
            parts = message.parts
            named.update((part.id, part.name) for part in parts if isinstance(part, ToolCall))
            # A result is known by the id of its call, which has the tool's name already.
            said_before = message.role == "tool" and message.extra.get("name") in [
                named.get(part.id) for part in parts if isinstance(part, ToolResult)
            ]
            refuse_extra(message, "Anthropic", ("name",) if said_before else ())
            plain = len(parts) == 1 and isinstance(parts[0], Text)
            content: Any = message.text if plain else [self.part_on_the_wire(part) for part in parts]
            # The results of one turn's tool calls must come together, in one user message.
            if message.role == "tool" and turns and turns[-1]["role"] == "user" and isinstance(turns[-1]["content"], list):
                turns[-1]["content"] += [{"type": "text", "text": content}] if plain else content
            else:
                turns.append({"role": role, "content": content})
        return turns

    def part_on_the_wire(self, part: Part) -> dict[str, Any]:
        """Return a part as a content block."""
        if isinstance(part, Text):
            return {"type": "text", "text": part.text}
        if isinstance(part, (Image, File)):
            return _media(part)
        if isinstance(part, ToolCall):
            return {"type": "tool_use", "id": part.id, "name": part.name, "input": part.object}
        if isinstance(part, ToolResult):
            content = part.content if isinstance(part.content, str) else [self.part_on_the_wire(inner) for inner in part.parts]
            result = {"type": "tool_result", "tool_use_id": part.id, "content": content}
            return {**result, "is_error": True} if part.is_error else result
        if isinstance(part, (Raw, Opaque)):
            return dict(part.data)
        raise ConfigurationError(f"Anthropic does not accept {type(part).__name__}")

    def reader(self) -> ChunkReader:
        return AnthropicChunks()

    def parse(self, reply: Mapping[str, Any]) -> Answer:
        found = verdict(reply.get("stop_reason"))
        if not isinstance(reply.get("content"), list) and found != "content_filter":
            raise InvalidResponseError("there is no 'content' in the reply", retryable=True)
        blocks = [as_dict(block) for block in as_list(reply.get("content"))]
        calls = tuple(
            ToolCall.of(as_str(block.get("id")), as_str(block.get("name")), block.get("input"))
            for block in blocks
            if block.get("type") == "tool_use"
        )
        text = whole("".join(as_str(block.get("text")) for block in blocks if block.get("type") == "text"))
        usage = self.usage(as_dict(reply.get("usage")))
        if found == "broken" or (found == "error" and not text and not calls):
            raise InvalidResponseError(
                f"the model stopped midway ({str(reply.get('stop_reason'))[:100]})", retryable=True, usage=usage
            )
        reason = "other" if found == "none" and not calls else finish_reason(found, bool(calls))
        if reason == "refusal" and not text:
            text = as_str(as_dict(reply.get("stop_details")).get("explanation")) or "The model refused to answer."
        return Answer(
            text=text,
            finish_reason=reason,
            usage=usage,
            model=as_str(reply.get("model")) or self.model,
            provider=self.provider,
            reasoning=whole("".join(as_str(block.get("thinking")) for block in blocks if block.get("type") == "thinking")),
            tool_calls=calls,
            candidates=(text,),
            parts=_said_again(blocks) if any(block.get("type") not in _READABLE for block in blocks) else (),
            raw=reply,
            citations=anthropic_citations(blocks),
            service_tier=as_str(as_dict(reply.get("usage")).get("service_tier")),
        )

    def usage(self, usage: Mapping[str, Any]) -> Usage:
        """Return the usage of a reply in our terms: Anthropic counts cached input beside the input."""
        return anthropic_usage(usage)

    def explain(self, reply: Mapping[str, Any]) -> str:
        return as_str(as_dict(reply.get("stop_details")).get("explanation")) or as_str(reply.get("stop_reason"))


class AnthropicChunks(ChunkReader):
    """The typed events of a Messages stream; unknown ones are passed over, as Anthropic asks."""

    def __init__(self) -> None:
        self._message: dict[str, Any] = {}
        self._usage: dict[str, Any] = {}
        self._blocks: list[_Block] = []
        self._latest: dict[int, _Block] = {}  # by index: some gateways give every block the same one

    def read(self, chunk: Mapping[str, Any]) -> str:
        kind = chunk.get("type")
        if kind == "content_block_delta":
            return self._block_of(chunk, as_dict(chunk.get("delta"))).add(as_dict(chunk.get("delta")))
        if kind == "content_block_start":
            return self._start(as_index(chunk.get("index")), as_dict(chunk.get("content_block")))
        if kind == "content_block_stop":
            block = self._latest.get(as_index(chunk.get("index")) or 0)
            return block.end() if block is not None else ""
        if kind == "message_start":
            self._update(as_dict(chunk.get("message")))
            self._count(self._message.pop("usage", None))
        elif kind == "message_delta":
            self._update(as_dict(chunk.get("delta")))
            self._count(chunk.get("usage"))  # cumulative, and without the fields that message_start already gave
            self.complete = self.complete or bool(self._message.get("stop_reason"))
        elif kind == "message_stop":
            self.complete = self.done = True
        elif kind == "message":  # a proxy that does not stream
            self._update(chunk)
            self._count(chunk.get("usage"))
            self._blocks = [_Block(as_dict(block)) for block in as_list(chunk.get("content"))]
            self.complete = True
            return whole("".join(block.begin() for block in self._blocks))
        return ""

    def _update(self, found: Mapping[str, Any]) -> None:
        """Take in the message's own fields; a later null does not clear them."""
        self._message.update((key, value) for key, value in found.items() if value is not None or key not in self._message)

    def _count(self, usage: Any) -> None:
        self._usage = merged_counts(self._usage, as_dict(usage))

    def _start(self, index: int | None, content: Mapping[str, Any]) -> str:
        known = self._latest.get(index) if index is not None else None
        identity = content.get("id")
        if known is not None and identity and identity == known.content.get("id"):
            return ""  # said twice
        block = _Block(content)
        self._blocks.append(block)
        self._latest[index or 0] = block
        return block.begin()

    def _block_of(self, chunk: Mapping[str, Any], delta: Mapping[str, Any]) -> _Block:
        """Return the block that a delta belongs to; a delta without one begins it."""
        index = as_index(chunk.get("index"))
        kind = _KINDS.get(as_str(delta.get("type")))
        if index is None and self._blocks:
            return self._blocks[-1]
        block = self._latest.get(index or 0)
        if block is None or (kind is not None and block.content.get("type") in _KINDS.values() and block.content["type"] != kind):
            block = _Block({"type": kind or "text"})
            self._blocks.append(block)
            self._latest[index or 0] = block
        return block

    def reply(self) -> dict[str, Any]:
        made = {**self._message, "usage": dict(self._usage)}
        if self._message or self._blocks:
            made["content"] = [block.whole() for block in self._blocks]
        return made


_READABLE = ("text", "tool_use")


def _said_again(blocks: list[Mapping[str, Any]]) -> tuple[Part, ...]:
    """Return blocks as parts, in their order: thoughts have to go back unchanged before the tool calls that they led to.

    https://platform.claude.com/docs/en/build-with-claude/extended-thinking (read 2026-11)
    """
    parts: list[Part] = []
    for block in blocks:
        if block.get("type") == "tool_use":
            parts.append(ToolCall.of(as_str(block.get("id")), as_str(block.get("name")), block.get("input")))
        elif block.get("type") != "text":
            parts.append(Opaque("anthropic", block))
        elif text := whole(as_str(block.get("text"))):  # an empty one is refused
            parts.append(Text(text))
    return tuple(parts)


# Which kind of block a delta adds to.
_KINDS = {
    "text_delta": "text",
    "citations_delta": "text",
    "input_json_delta": "tool_use",
    "thinking_delta": "thinking",
    "signature_delta": "thinking",
}


class _Block:
    """One content block of a stream, as far as it came."""

    def __init__(self, content: Mapping[str, Any]) -> None:
        self.content = dict(content)
        self._pieces: list[str] = []
        self._text = WholePieces()
        self._citations: list[Any] = []

    def begin(self) -> str:
        """Return the text that the block starts with."""
        return self._text.add(as_str(self.content.get("text"))) if self.content.get("type") == "text" else ""

    def add(self, delta: Mapping[str, Any]) -> str:
        """Take in a delta and return its text."""
        kind = delta.get("type")
        if kind == "text_delta":
            return self._text.add(as_str(delta.get("text")))
        if kind == "input_json_delta":
            self._pieces.append(as_str(delta.get("partial_json")))
        elif kind == "thinking_delta":
            self._pieces.append(as_str(delta.get("thinking")))
        elif kind == "signature_delta":
            self.content["signature"] = as_str(delta.get("signature"))
        elif kind == "citations_delta":
            self._citations.append(delta.get("citation"))
        return ""

    def end(self) -> str:
        """Return what was held back for its other half."""
        return self._text.end()

    def whole(self) -> dict[str, Any]:
        """Return the block as a whole answer has it; the input of a tool stays a text where it is no JSON object."""
        made = dict(self.content)
        joined = whole("".join(self._pieces))
        kind = made.get("type")
        if kind == "text":
            made["text"] = self._text.text
        elif kind == "thinking":
            made["thinking"] = as_str(made.get("thinking")) + joined
        elif joined:
            call = ToolCall.from_text("", "", joined)
            made["input"] = joined if call.is_broken else dict(call.arguments)
        if self._citations:
            made["citations"] = [*as_list(made.get("citations")), *self._citations]
        return made


def _media(part: Image | File) -> dict[str, Any]:
    kind = "image" if isinstance(part, Image) else "document"
    made: dict[str, Any] = {"type": kind}
    if isinstance(part, Image) and part.detail:
        raise ConfigurationError(f"Anthropic has no detail={part.detail!r} for an image: leave it out")
    if part.file_id is not None:
        made["source"] = {"type": "file", "file_id": part.file_id}
    elif part.url is not None:
        made["source"] = {"type": "url", "url": part.url}
    elif part.media_type == "text/plain" and kind == "document":
        try:
            text = part.read().decode()
        except UnicodeDecodeError:
            raise ConfigurationError(
                "Anthropic accepts a text/plain file as UTF-8 only, which this one is not: decode it first"
            ) from None
        made["source"] = {"type": "text", "media_type": "text/plain", "data": text}
    else:
        made["source"] = {"type": "base64", "media_type": part.media_type, "data": part.base64}
    if part.name and kind == "document":
        made["title"] = part.name
    return made
