"""Amazon Bedrock's Converse: one dialect for all models there.

https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html (read 2026-11)
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from responder.call.dialect import ChunkReader
from responder.call.subsets import ANTHROPIC, described, lowered
from responder.providers.amazon import AmazonResponder
from responder.providers.bedrock_embeddings import BedrockEmbeddings
from responder.providers.caching import mark_for_bedrock
from responder.providers.citing import bedrock_citations
from responder.providers.prompt import refuse_extra, refuse_options
from responder.providers.usage import bedrock_usage, merged_counts
from responder.values.answer import Answer
from responder.values.errors import ConfigurationError, InvalidResponseError
from responder.values.finish import finish_reason, verdict
from responder.values.messages import Audio, File, Image, Message, Opaque, Part, Raw, Text, ToolCall, ToolResult, Video
from responder.values.options import Options
from responder.values.reading import WholePieces, as_dict, as_index, as_list, as_str, whole

_FORMATS = {"jpg": "jpeg", "plain": "txt", "markdown": "md", "msword": "doc", "mpeg": "mp3", "x-wav": "wav"}


class BedrockResponder(AmazonResponder, BedrockEmbeddings):
    """A model on Amazon Bedrock, by Converse.

    The key comes from AWS_BEARER_TOKEN_BEDROCK; without one, requests are signed with your AWS credentials (the extra `bedrock`).
    The region comes from `region=`, AWS_REGION or AWS_DEFAULT_REGION.
    """

    provider = "bedrock"
    base_url_variables = ("AWS_ENDPOINT_URL_BEDROCK_RUNTIME",)

    def url(self) -> str:
        return self.model_url("converse")

    def stream_url(self) -> str:
        return self.model_url("converse-stream")

    def stream_payload(self, payload: dict[str, Any]) -> dict[str, Any]:
        return payload  # the URL says it

    def payload(self, messages: tuple[Message, ...], options: Options) -> dict[str, Any]:
        refuse_options(options, ("seed", "candidates", "logprobs"), "Bedrock's Converse")
        payload: dict[str, Any] = {"messages": self._turns(messages)}
        spoken = [message for message in messages if message.role == "system"]
        if spoken:
            for message in spoken:
                refuse_extra(message, "Bedrock")
            payload["system"] = [self.part_on_the_wire(part) for message in spoken for part in message.parts]
        limits = {
            "maxTokens": options.max_tokens,
            "temperature": options.temperature,
            "topP": options.top_p,
            "stopSequences": list(options.stop) if options.stop is not None else None,
        }
        payload["inferenceConfig"] = {name: value for name, value in limits.items() if value is not None}
        if options.tools:
            payload["toolConfig"] = self._tools(options)
        output: dict[str, Any] = {}
        if options.schema is not None:
            form = lowered(options.schema, ANTHROPIC)  # the narrowest of the models behind it
            if form.strict:
                made = {"name": "answer", "schema": json.dumps(form.schema)}
                output["textFormat"] = {"type": "json_schema", "structure": {"jsonSchema": made}}
            else:
                payload.setdefault("system", []).append({"text": described(options.schema)})
        if options.reasoning_effort is not None:
            output["effort"] = options.reasoning_effort
        if output:
            payload["outputConfig"] = output
        if options.service_tier is not None:
            payload["serviceTier"] = {"type": options.service_tier}
        if options.prompt_cache is not None:
            mark_for_bedrock(payload, options.prompt_cache)
        return payload

    def _tools(self, options: Options) -> dict[str, Any]:
        made: dict[str, Any] = {
            "tools": [
                {
                    "toolSpec": {
                        "name": tool.name,
                        **({"description": tool.description} if tool.description else {}),
                        "inputSchema": {"json": dict(tool.parameters)},
                    }
                }
                for tool in options.tools or ()
            ]
        }
        choice = options.tool_choice
        if choice == "none":
            raise ConfigurationError("Bedrock's Converse has no tool_choice='none': leave the tools out", fatal=True)
        if choice is not None:
            made["toolChoice"] = (
                {"auto": {}} if choice == "auto" else {"any": {}} if choice == "required" else {"tool": {"name": choice}}
            )
        return made

    def _turns(self, messages: tuple[Message, ...]) -> list[dict[str, Any]]:
        """Return the messages as turns that alternate, as Bedrock wants them."""
        turns: list[dict[str, Any]] = []
        for message in messages:
            if message.role == "system":
                continue
            refuse_extra(message, "Bedrock", ("name",) if message.role == "tool" else ())
            role = "assistant" if message.role == "assistant" else "user"
            content = [self.part_on_the_wire(part) for part in message.parts]
            if turns and turns[-1]["role"] == role:
                turns[-1]["content"] += content
            else:
                turns.append({"role": role, "content": content})
        return turns

    def part_on_the_wire(self, part: Part) -> dict[str, Any]:
        """Return a part as a content block."""
        if isinstance(part, Text):
            return {"text": part.text}
        if isinstance(part, (Image, Audio, Video, File)):
            return _media(part)
        if isinstance(part, ToolCall):
            return {"toolUse": {"toolUseId": part.id, "name": part.name, "input": part.object}}
        if isinstance(part, ToolResult):
            result: dict[str, Any] = {"toolUseId": part.id, "content": [self.part_on_the_wire(inner) for inner in part.parts]}
            return {"toolResult": {**result, "status": "error"} if part.is_error else result}
        if isinstance(part, (Raw, Opaque)):
            return dict(part.data)
        raise ConfigurationError(f"Bedrock does not accept {type(part).__name__} here")

    def reader(self) -> ChunkReader:
        return ConverseChunks()

    def parse(self, reply: Mapping[str, Any]) -> Answer:
        found = verdict(reply.get("stopReason"))
        message = as_dict(as_dict(reply.get("output")).get("message"))
        if not message and found != "content_filter":
            raise InvalidResponseError("there is no 'output' in the reply", retryable=True)
        blocks = [as_dict(block) for block in as_list(message.get("content"))]
        calls = tuple(
            ToolCall.of(as_str(use.get("toolUseId")), as_str(use.get("name")), use.get("input"))
            for use in (as_dict(block.get("toolUse")) for block in blocks)
            if use
        )
        thoughts = (as_dict(as_dict(block.get("reasoningContent")).get("reasoningText")) for block in blocks)
        text = whole("".join(map(_text, blocks)))
        usage = bedrock_usage(as_dict(reply.get("usage")))
        if found == "broken" or (found == "error" and not text and not calls):
            raise InvalidResponseError(f"the model broke off ({str(reply.get('stopReason'))[:100]})", retryable=True, usage=usage)
        return Answer(
            text=text,
            finish_reason=finish_reason(found, bool(calls)),
            usage=usage,
            model=self.model,
            provider=self.provider,
            reasoning=whole("".join(as_str(thought.get("text")) for thought in thoughts)),
            tool_calls=calls,
            candidates=(text,),
            parts=_said_again(blocks) if any(map(_is_opaque, blocks)) else (),
            raw=reply,
            citations=bedrock_citations(blocks),
            service_tier=as_str(as_dict(reply.get("serviceTier")).get("type")),
        )

    def explain(self, reply: Mapping[str, Any]) -> str:
        return as_str(reply.get("stopReason"))


def _text(block: Mapping[str, Any]) -> str:
    cited = as_list(as_dict(block.get("citationsContent")).get("content"))
    return as_str(block.get("text")) + "".join(as_str(as_dict(part).get("text")) for part in cited)


def _media(part: Image | Audio | Video | File) -> dict[str, Any]:
    kind = "document" if isinstance(part, File) else type(part).__name__.lower()
    if isinstance(part, Image) and part.detail:
        raise ConfigurationError(f"Bedrock has no detail={part.detail!r} for an image: leave it out")
    if part.file_id is not None or (part.url is not None and not part.url.startswith("s3://")):
        raise ConfigurationError(f"Bedrock takes this {kind} as bytes, or as an s3:// URL: {type(part).__name__}(data=...)")
    source: dict[str, Any] = {"s3Location": {"uri": part.url}} if part.url is not None else {"bytes": part.base64}
    word = part.media_type.rpartition("/")[2]
    made = {"format": _FORMATS.get(word, word), "source": source}
    if kind == "document":
        ending = part.name.rpartition(".")[2].lower()
        if ending in ("pdf", "csv", "doc", "docx", "xls", "xlsx", "html", "txt", "md"):
            made["format"] = ending
        # Letters, digits, blanks, hyphens and brackets are all that it takes in a name.
        made["name"] = re.sub(r"[^A-Za-z0-9 \-()\[\]]+", " ", part.name.rpartition(".")[0]).strip() or "document"
    return {kind: made}


def _is_opaque(block: Mapping[str, Any]) -> bool:
    return not block.keys() & {"text", "toolUse", "citationsContent"}


def _said_again(blocks: list[Mapping[str, Any]]) -> tuple[Part, ...]:
    """Return blocks as parts, in their order: thoughts with their signature go back before the calls that they led to."""
    parts: list[Part] = []
    for block in blocks:
        use = as_dict(block.get("toolUse"))
        if use:
            parts.append(ToolCall.of(as_str(use.get("toolUseId")), as_str(use.get("name")), use.get("input")))
        elif block and _is_opaque(block):
            parts.append(Opaque("bedrock", block))
        elif text := whole(_text(block)):
            parts.append(Text(text))
    return tuple(parts)


class ConverseChunks(ChunkReader):
    """The events of a ConverseStream, each an object with its type as the only key."""

    def __init__(self) -> None:
        self._beside: dict[str, Any] = {}
        self._usage: dict[str, Any] = {}
        self._blocks: dict[int, _Block] = {}

    def read(self, chunk: Mapping[str, Any]) -> str:
        if "contentBlockDelta" in chunk:
            event = as_dict(chunk["contentBlockDelta"])
            return self._block(event).add(as_dict(event.get("delta")))
        if "contentBlockStart" in chunk:
            event = as_dict(chunk["contentBlockStart"])
            self._block(event).start(as_dict(event.get("start")))
        elif "contentBlockStop" in chunk:
            return self._block(as_dict(chunk["contentBlockStop"])).end()
        elif "messageStop" in chunk:
            self._beside.update(as_dict(chunk["messageStop"]))
            self.complete = True
        elif "metadata" in chunk:
            metadata = dict(as_dict(chunk["metadata"]))
            self._usage = merged_counts(self._usage, as_dict(metadata.pop("usage", None)))
            self._beside.update(metadata)
            self.done = self.complete
        elif "output" in chunk:  # a gateway that does not stream
            self._beside = dict(chunk)
            self.complete = self.done = True
            return whole(
                "".join(
                    _text(as_dict(block)) for block in as_list(as_dict(as_dict(chunk["output"]).get("message")).get("content"))
                )
            )
        return ""

    def _block(self, event: Mapping[str, Any]) -> _Block:
        return self._blocks.setdefault(as_index(event.get("contentBlockIndex")) or 0, _Block())

    def reply(self) -> dict[str, Any]:
        if "output" in self._beside or not (self._beside or self._blocks):
            return self._beside
        content = [block.whole() for _, block in sorted(self._blocks.items())]
        output = {"message": {"role": "assistant", "content": content}}
        return {"output": output, **self._beside, "usage": dict(self._usage)}


class _Block:
    """One content block of a stream, as far as it came."""

    def __init__(self) -> None:
        self._text = WholePieces()
        self._use: dict[str, Any] = {}
        self._input: list[str] = []
        self._thoughts: list[str] = []
        self._signature = ""
        self._redacted: Any = None
        self._citations: list[Any] = []

    def start(self, start: Mapping[str, Any]) -> None:
        """Take the beginning of a tool's use."""
        self._use.update(as_dict(start.get("toolUse")))

    def add(self, delta: Mapping[str, Any]) -> str:
        """Take in a delta and return its text."""
        if "text" in delta:
            return self._text.add(as_str(delta["text"]))
        if "toolUse" in delta:
            self._use.setdefault("name", "")
            self._input.append(as_str(as_dict(delta["toolUse"]).get("input")))
        elif "reasoningContent" in delta:
            thought = as_dict(delta["reasoningContent"])
            self._thoughts.append(as_str(thought.get("text")))
            self._signature += as_str(thought.get("signature"))
            self._redacted = thought.get("redactedContent", self._redacted)
        elif "citation" in delta:
            self._citations.append(delta["citation"])
        return ""

    def end(self) -> str:
        """Return what was held back for its other half."""
        return self._text.end()

    def whole(self) -> dict[str, Any]:
        """Return the block as a whole answer has it; the input of a tool stays a text where it is no JSON object."""
        if self._use:
            joined = whole("".join(self._input))
            call = ToolCall.from_text("", "", joined)
            return {"toolUse": {**self._use, "input": joined if call.is_broken else dict(call.arguments)}}
        if self._redacted is not None:
            return {"reasoningContent": {"redactedContent": self._redacted}}
        if self._thoughts or self._signature:
            told = {"text": whole("".join(self._thoughts))}
            return {"reasoningContent": {"reasoningText": {**told, "signature": self._signature} if self._signature else told}}
        if self._citations:
            return {"citationsContent": {"content": [{"text": self._text.text}], "citations": self._citations}}
        return {"text": self._text.text}
