"""OpenAI's Responses: what is sent, and what comes back, whole or as typed events.

https://platform.openai.com/docs/api-reference/responses (read 2026-11)
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from responder.call.dialect import ChunkReader
from responder.providers.caching import openai_cache
from responder.providers.citing import openai_citations
from responder.providers.likelihood import openai_logprobs
from responder.providers.prompt import refuse_options
from responder.providers.usage import openai_usage
from responder.values.answer import Answer
from responder.values.errors import ConfigurationError, InvalidResponseError
from responder.values.finish import Verdict, finish_reason
from responder.values.messages import Audio, File, Image, Message, Opaque, Part, Raw, Text, ToolCall, ToolResult
from responder.values.options import Options
from responder.values.reading import WholePieces, as_dict, as_index, as_list, as_str, whole

# Items stand beside messages, everything else of ours or of OpenAI's stands inside one.
_INSIDE = ("input_text", "input_image", "input_file", "input_audio", "output_text", "refusal")
# Models that do not think: they refuse to be asked for their thoughts.
_THOUGHTLESS = re.compile(r"(?:gpt-[34]|chatgpt)")


def responses_payload(
    model: str, messages: tuple[Message, ...], options: Options, text_format: Mapping[str, Any] | None
) -> dict[str, Any]:
    """Return the JSON of a question. Nothing is stored at OpenAI: thoughts come back encrypted, to be sent again.

    Args:
        model: The model's name.
        messages: What is asked.
        options: How to answer.
        text_format: Chat Completions' `response_format`; None for text.

    Raises:
        ConfigurationError: This API does not have a part or an option.
    """
    refuse_options(options, ("stop", "seed", "candidates"), "OpenAI's Responses API", "leave it out, or ask with api='chat'")
    instructions, rest = _instructions(messages)
    payload: dict[str, Any] = {"model": model, "input": [item for message in rest for item in _items(message)]}
    given = {
        "instructions": instructions or None,
        "temperature": options.temperature,
        "top_p": options.top_p,
        "max_output_tokens": options.max_tokens,
        "service_tier": options.service_tier,
        "top_logprobs": options.logprobs or None,
        "reasoning": {"effort": options.reasoning_effort} if options.reasoning_effort is not None else None,
    }
    payload.update((name, value) for name, value in given.items() if value is not None)
    if options.prompt_cache is not None:
        payload.update(openai_cache(options.prompt_cache))
    if options.tools:
        payload["tools"] = [
            {
                "type": "function",
                "name": tool.name,
                "description": tool.description,
                "parameters": dict(tool.parameters),
                "strict": False,  # it would be True unless said, which refuses ordinary schemas
            }
            for tool in options.tools
        ]
    if options.tool_choice is not None:
        named = options.tool_choice not in ("auto", "none", "required")
        payload["tool_choice"] = {"type": "function", "name": options.tool_choice} if named else options.tool_choice
    if text_format is not None:
        inner = as_dict(text_format.get("json_schema"))
        payload["text"] = {"format": {"type": text_format["type"], **inner}}
    payload["store"] = False
    include = [] if _THOUGHTLESS.match(model) else ["reasoning.encrypted_content"]
    if options.logprobs is not None:
        include.append("message.output_text.logprobs")
    if include:
        payload["include"] = include
    return payload


def _instructions(messages: tuple[Message, ...]) -> tuple[str, tuple[Message, ...]]:
    """Return the system messages that the question begins with as one text, and all other messages."""
    place = 0
    for message in messages:
        if message.role != "system" or message.extra or not all(isinstance(part, Text) for part in message.parts):
            break
        place += 1
    if place == len(messages):  # something has to be asked
        place = 0
    return "\n\n".join(message.text for message in messages[:place]), messages[place:]


def _items(message: Message) -> list[dict[str, Any]]:
    """Return a message as input items: tool calls, their results and items of OpenAI's own stand beside what is said."""
    items: list[dict[str, Any]] = []
    said: list[dict[str, Any]] = []

    def close() -> None:
        if said:
            plain = len(said) == 1 and said[0].get("type") in ("input_text", "output_text") and len(said[0]) == 2
            items.append({"role": message.role, "content": said[0]["text"] if plain else list(said), **message.extra})
            said.clear()

    known = {part.data.get("call_id") for part in message.parts if isinstance(part, (Raw, Opaque))}
    # The items of an answer hold its texts and calls, which stand beside them for other providers.
    again = any(isinstance(part, Opaque) and part.data.get("type") == "message" for part in message.parts)
    for part in message.parts:
        if isinstance(part, Opaque):
            if "type" in part.data:
                close()
                items.append(dict(part.data))
        elif again and isinstance(part, Text):
            continue
        elif isinstance(part, ToolCall):
            if part.id not in known:
                close()
                items.append(_call(part))
        elif isinstance(part, ToolResult):
            close()
            output = part.content if isinstance(part.content, str) else [_content(inner, "user") for inner in part.parts]
            items.append({"type": "function_call_output", "call_id": part.id, "output": output})
        elif isinstance(part, Raw) and part.data.get("type") not in _INSIDE:
            close()
            items.append(dict(part.data))
        else:
            said.append(_content(part, message.role))
    close()
    return items


def _call(call: ToolCall) -> dict[str, Any]:
    if call.extra.get("type") == "custom":
        return {"type": "custom_tool_call", "call_id": call.id, "name": call.name, "input": call.arguments_text}
    return {"type": "function_call", "call_id": call.id, "name": call.name, "arguments": call.json}


def _content(part: Part, role: str) -> dict[str, Any]:
    if isinstance(part, Text):
        return {"type": "output_text" if role == "assistant" else "input_text", "text": part.text}
    if isinstance(part, Image):
        image = {"type": "input_image"}
        image |= {"image_url": part.data_url} if part.file_id is None else {"file_id": part.file_id}
        return {**image, "detail": part.detail} if part.detail else image
    if isinstance(part, File) and not isinstance(part, Audio):
        if part.file_id is not None:
            return {"type": "input_file", "file_id": part.file_id}
        if part.url is not None:
            return {"type": "input_file", "file_url": part.url}
        return {"type": "input_file", "filename": part.name or "file", "file_data": part.data_url}
    if isinstance(part, Raw):
        return dict(part.data)
    raise ConfigurationError(f"OpenAI's Responses take no {type(part).__name__} in this place")


def items_to_send_again(reply: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the items of a reply as the next question has to repeat them: all, in order, without their status."""
    items = [as_dict(item) for item in as_list(reply.get("output"))]
    return [{name: value for name, value in item.items() if name != "status" and value is not None} for item in items]


_READABLE = ("message", "function_call", "custom_tool_call")


def _said_again(reply: Mapping[str, Any], provider: str, text: str, calls: list[ToolCall]) -> tuple[Part, ...]:
    """Return the parts of an answer's message: its items as they are, where there is more in it than a text and calls.

    A call whose thoughts do not stand before it is refused.
    """
    items = items_to_send_again(reply)
    if all(item.get("type") in _READABLE for item in items):
        return ()
    return (*(Opaque(provider, item) for item in items), *((Text(text),) if text else ()), *calls)


def is_response(reply: Mapping[str, Any]) -> bool:
    """Return whether a reply is one of this API, and not of Chat Completions."""
    return reply.get("object") == "response" or ("output" in reply and "choices" not in reply)


def is_pending(reply: Mapping[str, Any]) -> bool:
    """Return whether a reply only says that the answer is being made."""
    return reply.get("status") in ("queued", "in_progress")


def parse_response(reply: Mapping[str, Any], model: str, provider: str) -> Answer:
    """Return the answer that a response holds, as far as it came.

    Args:
        reply: The response.
        model: The model that was asked.
        provider: The provider's name.

    Raises:
        InvalidResponseError: It holds none.
    """
    if not isinstance(reply.get("output"), list):
        raise InvalidResponseError("there is no 'output' in the reply", retryable=True)
    texts: list[str] = []
    refusals: list[str] = []
    thoughts: list[str] = []
    calls: list[ToolCall] = []
    parts: list[Mapping[str, Any]] = []
    for item in map(as_dict, reply["output"]):
        kind = item.get("type")
        if kind == "message":
            for part in map(as_dict, as_list(item.get("content"))):
                parts.append(part)
                texts.append(as_str(part.get("text")) if part.get("type") == "output_text" else "")
                refusals.append(as_str(part.get("refusal")))
        elif kind == "function_call":
            calls.append(ToolCall.of(as_str(item.get("call_id")), as_str(item.get("name")), item.get("arguments")))
        elif kind == "custom_tool_call":
            extra = {"type": "custom"}
            calls.append(ToolCall.of(as_str(item.get("call_id")), as_str(item.get("name")), item.get("input"), extra=extra))
        elif kind == "reasoning":
            said = [*as_list(item.get("summary")), *as_list(item.get("content"))]
            thoughts.append("\n\n".join(filter(None, (as_str(as_dict(piece).get("text")) for piece in said))))
    text, refusal = whole("".join(texts)), whole("".join(refusals))
    usage = openai_usage(as_dict(reply.get("usage")))
    found = _verdict(reply)
    if found == "broken":
        raise InvalidResponseError(f"the model broke off ({reply.get('status')})", retryable=True, usage=usage)
    return Answer(
        text=text or refusal,
        finish_reason=finish_reason(found, bool(calls), bool(refusal)),
        usage=usage,
        model=as_str(reply.get("model")) or model,
        provider=provider,
        reasoning=whole("\n\n".join(filter(None, thoughts))),
        tool_calls=tuple(calls),
        candidates=(text,),
        citations=openai_citations(parts),
        logprobs=tuple(token for part in parts if part.get("logprobs") for token in openai_logprobs(part["logprobs"])),
        parts=_said_again(reply, provider, text or refusal, calls),
        service_tier=as_str(reply.get("service_tier")),
        raw=reply,
    )


def _verdict(reply: Mapping[str, Any]) -> Verdict:
    status = reply.get("status")
    if status == "incomplete":
        reason = as_dict(reply.get("incomplete_details")).get("reason")
        return "content_filter" if reason == "content_filter" else "length" if reason == "max_output_tokens" else "other"
    if status in ("failed", "cancelled"):
        return "broken"
    return "stop"


class ResponseEvents(ChunkReader):
    """The typed events of a stream; unknown ones are passed over."""

    def __init__(self) -> None:
        self._response: dict[str, Any] = {}
        self._items: dict[int, _Item] = {}

    def read(self, chunk: Mapping[str, Any]) -> str:
        kind = as_str(chunk.get("type")).removeprefix("response.")
        if kind == "output_text.delta":
            return self._item(chunk).text(as_index(chunk.get("content_index")) or 0, as_str(chunk.get("delta")))
        if kind in ("completed", "incomplete", "failed"):
            return self._end(as_dict(chunk.get("response")))
        if kind == "error":
            self.failed = chunk
            return ""
        if kind in ("created", "in_progress", "queued"):
            self._response = dict(as_dict(chunk.get("response")))
            return ""
        handle = _HANDLERS.get(kind)
        return handle(self._item(chunk), chunk) if handle is not None else ""

    def _item(self, chunk: Mapping[str, Any]) -> _Item:
        index = as_index(chunk.get("output_index")) or 0
        if index not in self._items:
            self._items[index] = _Item()
        return self._items[index]

    def _end(self, response: Mapping[str, Any]) -> str:
        self._response = dict(response)
        self.complete = self.done = True
        if response.get("status") == "failed":
            self.failed = as_dict(response.get("error")) or {"message": "the response failed, and does not say why"}
            return ""
        held = "".join(item.end() for item in self._items.values())
        if not self._items:  # a gateway that sends nothing but the whole
            found = _whole_text(response)
            self._items = {0: _Item()} if found else {}
            return found
        return held

    def reply(self) -> dict[str, Any]:
        output = [item.whole() for _, item in sorted(self._items.items())]
        if self.complete and self._response.get("output"):
            return self._response
        return {"object": "response", **self._response, "output": output}


def _whole_text(response: Mapping[str, Any]) -> str:
    messages = [as_dict(item) for item in as_list(response.get("output")) if as_dict(item).get("type") == "message"]
    return whole(
        "".join(
            as_str(as_dict(part).get("text")) or as_str(as_dict(part).get("refusal"))
            for message in messages
            for part in as_list(message.get("content"))
        )
    )


class _Item:
    """One output item of a stream, as far as it came."""

    def __init__(self) -> None:
        self._given: dict[str, Any] = {}
        self._is_done = False
        self._texts: dict[int, WholePieces] = {}
        self._refusals: dict[int, WholePieces] = {}
        self._thoughts: dict[int, list[str]] = {}
        self._arguments: list[str] = []

    def text(self, place: int, delta: str) -> str:
        """Take a piece of the text and return what of it is whole."""
        return self._texts.setdefault(place, WholePieces()).add(delta)

    def whole_text(self, chunk: Mapping[str, Any]) -> str:
        """Take a text that is finished; it is new only where its pieces did not come."""
        place = as_index(chunk.get("content_index")) or 0
        return "" if place in self._texts else self.text(place, as_str(chunk.get("text")))

    def refusal(self, chunk: Mapping[str, Any]) -> str:
        """Take a piece of a refusal."""
        place = as_index(chunk.get("content_index")) or 0
        return self._refusals.setdefault(place, WholePieces()).add(as_str(chunk.get("delta")))

    def thought(self, chunk: Mapping[str, Any]) -> str:
        """Take a piece of the thoughts, or of their summary."""
        place = as_index(chunk.get("summary_index", chunk.get("content_index"))) or 0
        self._thoughts.setdefault(place, []).append(as_str(chunk.get("delta")))
        return ""

    def argument(self, chunk: Mapping[str, Any]) -> str:
        """Take a piece of a call's arguments."""
        self._arguments.append(as_str(chunk.get("delta")))
        return ""

    def arguments(self, chunk: Mapping[str, Any]) -> str:
        """Take the whole arguments of a call."""
        found = chunk.get("arguments", chunk.get("input"))
        if isinstance(found, str):
            self._arguments = [found]
        return ""

    def added(self, chunk: Mapping[str, Any]) -> str:
        """Take what an item says of itself before its content."""
        self._given = dict(as_dict(chunk.get("item")))
        return ""

    def finished(self, chunk: Mapping[str, Any]) -> str:
        """Take the finished item."""
        self._given = dict(as_dict(chunk.get("item")))
        self._is_done = True
        if self._texts or self._refusals or self._given.get("type") != "message":
            return ""
        found = _whole_text({"output": [self._given]})  # none of its pieces came
        return self.text(0, found) if found else ""

    def end(self) -> str:
        """Return what was held back for its other half."""
        return "".join(pieces.end() for pieces in (*self._texts.values(), *self._refusals.values()))

    def whole(self) -> dict[str, Any]:
        """Return the item in the form of a whole reply."""
        if self._is_done:
            return self._given
        made = dict(self._given)
        if self._texts or self._refusals:
            made.update(type="message", role="assistant")
            made["content"] = [{"type": "output_text", "text": pieces.text} for _, pieces in sorted(self._texts.items())]
            made["content"] += [{"type": "refusal", "refusal": pieces.text} for _, pieces in sorted(self._refusals.items())]
        if self._thoughts:
            made["type"] = "reasoning"
            made["summary"] = [{"type": "summary_text", "text": "".join(told)} for _, told in sorted(self._thoughts.items())]
        if self._arguments:
            made["input" if made.get("type") == "custom_tool_call" else "arguments"] = "".join(self._arguments)
        return made


_HANDLERS: Mapping[str, Callable[[_Item, Mapping[str, Any]], str]] = {
    "output_item.added": _Item.added,
    "output_item.done": _Item.finished,
    "output_text.done": _Item.whole_text,
    "refusal.delta": _Item.refusal,
    "reasoning_summary_text.delta": _Item.thought,
    "reasoning_text.delta": _Item.thought,
    "function_call_arguments.delta": _Item.argument,
    "function_call_arguments.done": _Item.arguments,
    "custom_tool_call_input.delta": _Item.argument,
    "custom_tool_call_input.done": _Item.arguments,
}
