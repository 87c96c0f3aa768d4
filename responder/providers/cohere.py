"""Cohere's Chat, version 2: OpenAI's messages in another envelope.

https://docs.cohere.com/reference/chat (read 2026-11)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from responder.call.dialect import ChunkReader
from responder.call.subsets import COHERE, lowered
from responder.providers.citing import cohere_citations
from responder.providers.cohere_embeddings import CohereEmbeddings
from responder.providers.openai import CHAT, OpenAIResponder
from responder.providers.openai_reading import StreamedCalls, calls_of
from responder.providers.prompt import refuse_options
from responder.providers.urls import under
from responder.providers.usage import merged_counts, plain_usage
from responder.values.answer import Answer, Usage
from responder.values.errors import ConfigurationError, InvalidResponseError
from responder.values.finish import finish_reason, verdict
from responder.values.messages import Message
from responder.values.options import Options
from responder.values.reading import WholePieces, as_dict, as_index, as_list, as_str, whole


class CohereResponder(CohereEmbeddings, OpenAIResponder):
    """Cohere's models. The key comes from CO_API_KEY or COHERE_API_KEY."""

    provider = "cohere"
    takes_uploads = False
    takes_cache_lifetime = False
    batches = None
    largest_request = None
    base_url = "https://api.cohere.com"
    base_url_variables = ("CO_API_URL",)
    key_variables = ("CO_API_KEY", "COHERE_API_KEY")
    default_api = CHAT
    max_tokens_field = "max_tokens"
    stream_options = None  # a stream always ends with the usage
    returned = ("thinking",)
    returned_with_calls = ("tool_plan",)

    def chat_url(self) -> str:
        return under(self.base_url, "/chat", unless=("/v2",), prefix="/v2")

    def chat_payload(self, messages: tuple[Message, ...], options: Options) -> dict[str, Any]:
        refuse_options(options, ("candidates", "service_tier", "logprobs"), "Cohere")
        payload = super().chat_payload(messages, options)
        payload = {_NAMES.get(name, name): value for name, value in payload.items()}
        choice = payload.pop("tool_choice", None)
        if choice in ("required", "none"):
            payload["tool_choice"] = choice.upper()
        elif choice not in (None, "auto"):
            raise ConfigurationError("Cohere chooses no tool by its name: say 'required', and give that tool alone", fatal=True)
        effort = payload.pop("reasoning_effort", None)
        if effort is not None:
            payload["thinking"] = {"type": "disabled" if effort == "none" else "enabled"}
        return payload

    def messages_on_the_wire(self, message: Message) -> list[dict[str, Any]]:
        wire = super().messages_on_the_wire(message)
        for built in wire:
            thinking = built.pop("thinking", None)
            if thinking is not None:
                built["content"] = [{"type": "thinking", "thinking": thinking}, *_as_parts(built.get("content"))]
        return wire

    def response_format(self, schema: Any) -> dict[str, Any]:
        return {"type": "json_object", "json_schema": lowered(schema, COHERE).schema}

    def reader(self) -> ChunkReader:
        return CohereChunks()

    def parse(self, reply: Mapping[str, Any]) -> Answer:
        message = as_dict(reply.get("message"))
        found = verdict(reply.get("finish_reason"))
        if not message:
            raise InvalidResponseError("there is no 'message' in the reply", retryable=True)
        parts = [as_dict(part) for part in as_list(message.get("content"))]
        text = whole("".join(as_str(part.get("text")) for part in parts))
        thinking, plan = whole("".join(as_str(part.get("thinking")) for part in parts)), whole(as_str(message.get("tool_plan")))
        calls = calls_of(message)
        usage = self.usage(as_dict(reply.get("usage")))
        if found == "broken" or (found == "error" and not text and not calls):
            raise InvalidResponseError(f"the model broke off ({reply.get('finish_reason')})", retryable=True, usage=usage)
        return Answer(
            text=text,
            finish_reason=finish_reason(found, bool(calls)),
            usage=usage,
            model=as_str(reply.get("model")) or self.model,
            provider=self.provider,
            reasoning=thinking or plan,
            tool_calls=calls,
            candidates=(text,),
            parts=self._said_again({"thinking": thinking, "tool_plan": plan}, text, calls),
            raw=reply,
            citations=cohere_citations(message),
        )

    def usage(self, usage: Mapping[str, Any]) -> Usage:
        """Return the tokens that went in and out; what is billed of them stands beside, and does not count the preamble."""
        counts = as_dict(usage.get("tokens")) or as_dict(usage.get("billed_units"))
        return plain_usage(counts.get("input_tokens"), counts.get("output_tokens"), usage.get("cached_tokens"))

    def explain(self, reply: Mapping[str, Any]) -> str:
        return as_str(reply.get("finish_reason"))


def _as_parts(content: Any) -> list[Any]:
    """Return a message's content as a list of parts."""
    return [{"type": "text", "text": content}] if isinstance(content, str) else as_list(content)


_NAMES = {"top_p": "p", "stop": "stop_sequences"}


class CohereChunks(ChunkReader):
    """The typed events of a stream; unknown ones are passed over."""

    def __init__(self) -> None:
        self._head: dict[str, Any] = {}
        self._usage: dict[str, Any] = {}
        self._texts: dict[int, WholePieces] = {}
        self._thoughts: list[str] = []
        self._plan: list[str] = []
        self._calls = StreamedCalls()
        self._citations: list[Any] = []
        self._whole: dict[str, Any] = {}

    def read(self, chunk: Mapping[str, Any]) -> str:
        kind = chunk.get("type")
        delta = as_dict(chunk.get("delta"))
        message = as_dict(delta.get("message"))
        if kind in ("content-delta", "content-start"):
            content = as_dict(message.get("content"))
            self._thoughts.append(as_str(content.get("thinking")))
            place = as_index(chunk.get("index")) or 0
            return self._texts.setdefault(place, WholePieces()).add(as_str(content.get("text")))
        if kind == "content-end":
            pieces = self._texts.get(as_index(chunk.get("index")) or 0)
            return pieces.end() if pieces is not None else ""
        if kind == "tool-plan-delta":
            self._plan.append(as_str(message.get("tool_plan")))
        elif kind in ("tool-call-start", "tool-call-delta"):
            self._calls.add({"index": chunk.get("index"), **as_dict(message.get("tool_calls"))})
        elif kind == "citation-start":
            self._citations.append(message.get("citations"))
        elif kind == "message-start":
            self._head = {"id": chunk.get("id")}
        elif kind == "message-end":
            self._head["finish_reason"] = delta.get("finish_reason")
            self._usage = merged_counts(self._usage, as_dict(delta.get("usage")))
            self.complete = self.done = True
            if delta.get("error"):
                self.failed = {"message": str(delta["error"])}
        elif "message" in chunk and "finish_reason" in chunk:  # a gateway that does not stream
            self._whole = dict(chunk)
            self.complete = True
            parts = as_list(as_dict(chunk["message"]).get("content"))
            return whole("".join(as_str(as_dict(part).get("text")) for part in parts))
        return ""

    def reply(self) -> dict[str, Any]:
        if self._whole or not (self._head or self._texts or self._plan or self._calls.whole()):
            return self._whole
        content = [{"type": "text", "text": pieces.text} for _, pieces in sorted(self._texts.items()) if pieces.text]
        if any(self._thoughts):
            content.insert(0, {"type": "thinking", "thinking": "".join(self._thoughts)})
        message: dict[str, Any] = {"role": "assistant", "content": content}
        if calls := self._calls.whole():
            message["tool_calls"] = calls
        if self._plan:
            message["tool_plan"] = "".join(self._plan)
        if self._citations:
            message["citations"] = self._citations
        return {**self._head, "message": message, "usage": dict(self._usage)}
