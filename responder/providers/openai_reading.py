"""What do a reply and a stream in OpenAI's dialect say? Text, reasoning and tool calls, wherever a host puts them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from responder.call.dialect import ChunkReader
from responder.providers.usage import merged_counts
from responder.values.finish import Verdict, verdict
from responder.values.media import Audio, Image, generated
from responder.values.messages import ToolCall
from responder.values.reading import WholePieces, as_dict, as_index, as_list, as_str, whole


class OpenAIChunks(ChunkReader):
    """Chat Completions chunks.

    A chunk may have no choices (usage, moderation), a choice no delta (Azure's annotations), and several choices come mixed.
    The text of the first choice is the stream's.
    """

    def __init__(self) -> None:
        self._head: dict[str, Any] = {}
        self._beside: dict[str, Any] = {}
        self._usage: dict[str, Any] = {}
        self._choices: dict[int, _Choice] = {}
        self._unfinished = 0

    def read(self, chunk: Mapping[str, Any]) -> str:
        usage = chunk.get("usage")
        if usage or "x_groq" in chunk:
            self._count(usage)
            self._count(as_dict(chunk.get("x_groq")).get("usage"))
        if not self._head.get("model"):
            self._head = {key: chunk[key] for key in ("id", "model", "created", "service_tier") if chunk.get(key)}
        if _BESIDE & chunk.keys():
            self._beside.update((key, chunk[key]) for key in _BESIDE & chunk.keys() if chunk[key])
        text = ""
        for found in as_list(chunk.get("choices")):
            read = as_dict(found)
            index = read.get("index")
            if type(index) is not int:
                index = as_index(index) or 0
            choice = self._choices.get(index)
            if choice is None:
                choice = self._choices[index] = _Choice()
                self._unfinished += 1
                self.complete = False
            piece = choice.read(read)
            if choice.finish_reason is not None:
                if not choice.counted:
                    choice.counted = True
                    self._unfinished -= 1
                    self._count(read.get("usage"))  # Moonshot
                    piece += choice.end()
                    if index and 0 not in self._choices:
                        piece = choice.text  # a host that counts from 1: what was held back is returned now
                self.complete = not self._unfinished
            # Only the first choice is the stream's. Another one may begin before it.
            if not index or (choice.counted and 0 not in self._choices):
                text += piece
        return text

    def _count(self, usage: Any) -> None:
        if isinstance(usage, dict):
            self._usage = merged_counts(self._usage, usage)

    def reply(self) -> dict[str, Any]:
        choices = [
            {
                "index": index,
                "message": choice.message(),
                "finish_reason": choice.finish_reason,
                **choice.beside,
                **choice.likelihood(),
            }
            for index, choice in sorted(self._choices.items())
        ]
        return {**self._head, **self._beside, "choices": choices, "usage": dict(self._usage)}


# What says that a prompt was blocked, or why: kept from whichever chunk has it.
_BESIDE = frozenset(
    {"prompt_filter_results", "content_filter", "input_sensitive", "output_sensitive", "citations", "search_results"}
)
_OF_A_CHOICE = ("native_finish_reason", "content_filter_results", "content_filter_result", "error")
# Words that a later one may replace; a cut, a block and a failure stay.
_WEAK: frozenset[Verdict] = frozenset({"stop", "unknown", "none", "tool_calls", "other"})


class _Choice:
    """One choice of a stream, as far as it came."""

    def __init__(self) -> None:
        self.finish_reason: Any = None
        self.counted = False
        self.beside: dict[str, Any] = {}
        self._text = WholePieces()
        self._reasoning: list[str] = []
        self._refusal = WholePieces()
        self._calls = StreamedCalls()
        self._more: dict[str, Any] = {}
        self._logprobs: list[Any] = []

    def read(self, choice: Mapping[str, Any]) -> str:
        """Take in the choice of a chunk and return its text, or the text of its refusal."""
        finish = choice.get("finish_reason")
        if finish:
            if self.finish_reason is None or (
                verdict(self.finish_reason) in _WEAK and verdict(finish) not in ("none", "unknown")
            ):
                self.finish_reason = finish
            for name in _OF_A_CHOICE:  # Azure's reasons, should it be a block; OpenRouter's word of the model's own provider
                if choice.get(name):
                    self.beside[name] = choice[name]
        if choice.get("logprobs"):
            self._logprobs += as_list(as_dict(choice["logprobs"]).get("content"))
        delta = choice.get("delta")
        if not delta:
            delta = self._new_in(as_dict(choice.get("message")))  # a whole message comes from proxies that do not stream
        if not isinstance(delta, dict) or not delta:
            # The older Completions, which some proxies answer with.
            return self._text.add(as_str(choice["text"])) if "text" in choice else ""
        content = delta.get("content")
        if len(delta) == 1 and isinstance(content, str):  # nearly every chunk
            return self._text.add(content)
        text, reasoning = content_of(delta)
        refusal = self._refusal.add(as_str(delta.get("refusal")))
        text = self._text.add(text)
        self._reasoning.append(reasoning)
        for call in listed(delta.get("tool_calls")):
            self._calls.add(call)
        if isinstance(delta.get("function_call"), dict):  # the older form of a single call
            self._calls.add({"index": 0, "function": delta["function_call"]})
        if isinstance(delta.get("reasoning_details"), list):
            self._detail(delta["reasoning_details"])
        if isinstance(delta.get("annotations"), list):
            self._more.setdefault("annotations", []).extend(delta["annotations"])
        if isinstance(delta.get("images"), list):  # OpenRouter
            self._more.setdefault("images", []).extend(delta["images"])
        if isinstance(delta.get("audio"), dict):
            self._hear(delta["audio"])
        return text or refusal

    def _new_in(self, message: Mapping[str, Any]) -> dict[str, Any]:
        """Return what a whole message adds to the pieces before it: some hosts repeat them all in the last event."""
        if not message:
            return {}
        text, reasoning = content_of(message)
        new = dict(message, content=text, reasoning_content=reasoning)
        if self._text.text:
            new["content"] = text.removeprefix(self._text.text) if text.startswith(self._text.text) else ""
        if any(self._reasoning):
            new.update(reasoning_content="", reasoning="", reasoning_details=[])
        if self._refusal.text:
            new.pop("refusal", None)
        if self._calls.whole():
            new.pop("tool_calls", None)
        return new

    def _detail(self, details: list[Any]) -> None:
        """Put OpenRouter's pieces of reasoning together, which have to go back whole."""
        known = self._more.setdefault("reasoning_details", [])
        for detail in map(as_dict, details):
            last = known[-1] if known else {}
            if last.get("type") != detail.get("type") or last.get("index") != detail.get("index"):
                known.append(dict(detail))
                continue
            for name, value in detail.items():
                joined = name in ("text", "summary", "data") and isinstance(value, str) and isinstance(last.get(name), str)
                if joined or value is not None:
                    last[name] = last[name] + value if joined else value

    def _hear(self, audio: Mapping[str, Any]) -> None:
        known = self._more.setdefault("audio", {})
        for name, value in audio.items():
            joined = isinstance(value, str) and name in ("data", "transcript") and isinstance(known.get(name), str)
            known[name] = known[name] + value if joined else value

    def end(self) -> str:
        """Return what was held back for its other half."""
        return self._text.end() + self._refusal.end()

    def likelihood(self) -> dict[str, Any]:
        """Return the tokens' probabilities as a whole reply has them, where there are any."""
        return {"logprobs": {"content": self._logprobs}} if self._logprobs else {}

    @property
    def text(self) -> str:
        """The text so far."""
        return self._text.text

    def message(self) -> dict[str, Any]:
        """Return the message that these pieces make."""
        made: dict[str, Any] = {"role": "assistant", "content": self._text.text}
        for name, joined in (("reasoning_content", whole("".join(self._reasoning))), ("refusal", self._refusal.text)):
            if joined:
                made[name] = joined
        made.update(self._more)
        if calls := self._calls.whole():
            made["tool_calls"] = calls
        return made


class StreamedCalls:
    """Tool calls that arrive in pieces. Which call does a piece belong to?

    By its index, as OpenAI has it. But hosts give every call the index 0, or none, or a fresh id with each piece, so a new call
    is also known by its beginning: a name and an id of its own, or a name where the arguments of the call before are whole.
    """

    def __init__(self) -> None:
        self._calls: list[_Call] = []
        self._latest: dict[int, _Call] = {}
        self._by_id: dict[str, _Call] = {}

    def add(self, piece: Mapping[str, Any]) -> None:
        """Take in a piece of a call."""
        custom = as_dict(piece.get("custom"))
        function = custom or as_dict(piece.get("function"))
        name, identity = as_str(function.get("name")), as_str(piece.get("id"))
        arguments = function.get("input") if custom else function.get("arguments")
        index = as_index(piece.get("index"))
        call = self._call_of(index, identity, name, arguments)
        if call is None:
            call = _Call(bool(custom))
            self._calls.append(call)
        elif name and call.says(identity, arguments):
            return  # some hosts say the whole call again at the end
        if index is not None:
            self._latest[index] = call
        if identity:
            self._by_id.setdefault(identity, call)
            call.id = call.id or identity
        call.name = call.name or name
        call.add(arguments)
        call.extra.update((key, value) for key, value in piece.items() if key not in _OF_A_CALL and value is not None)

    def _call_of(self, index: int | None, identity: str, name: str, arguments: Any) -> _Call | None:
        """Return the call that a piece continues, None where it begins one."""
        if not self._calls:
            return None
        by_index = self._latest.get(index) if index is not None else None
        by_id = self._by_id.get(identity) if identity else None
        if by_index is not None and by_id is not None and by_index.id == identity:
            by_id = by_index  # an id that several calls have
        if not name:
            return by_id or by_index or self._calls[-1]
        if index is not None and by_index is None:  # perhaps a host that counts pieces
            return by_id if by_id is not None and by_id.name == name and by_id.is_open else None
        known = by_id or by_index or self._calls[-1]
        own_id = bool(identity and known.id and identity != known.id)
        if not known.name:
            return None if own_id else known
        begins = _begins_object(arguments)
        if name != known.name or (own_id and (begins or not known.is_open)):
            return None
        is_next = begins and known.is_whole and not known.says(identity, arguments)
        return None if is_next else known

    def whole(self) -> list[dict[str, Any]]:
        """Return the calls so far, in the form of a whole reply."""
        return [call.whole() for call in self._calls]


_OF_A_CALL = frozenset({"index", "id", "type", "function", "custom"})


class _Call:
    """One tool call of a stream, as far as it came."""

    def __init__(self, is_custom: bool) -> None:
        self.id = ""
        self.name = ""
        self.extra: dict[str, Any] = {}
        self._is_custom = is_custom
        self._pieces: list[str] = []
        self._object: Any = None

    def add(self, arguments: Any) -> None:
        """Take in a piece of the arguments: text, or (some local servers) the whole object."""
        if isinstance(arguments, str):
            self._pieces.append(arguments)
        elif arguments:
            self._object = arguments

    @property
    def is_open(self) -> bool:
        """Whether the arguments have begun and are not whole yet."""
        return any(map(str.strip, self._pieces)) and not self.is_whole

    @property
    def is_whole(self) -> bool:
        """Whether the arguments are an object already."""
        return self._object is not None or _is_object("".join(self._pieces))

    def says(self, identity: str, arguments: Any) -> bool:
        """Return whether a piece with this id holds nothing but the whole arguments that are known already."""
        if not identity or identity != self.id or not arguments:
            return False
        return bool(self.is_whole and arguments == (self._object if self._object is not None else "".join(self._pieces)))

    def whole(self) -> dict[str, Any]:
        """Return the call in the form of a whole reply."""
        text = whole("".join(self._pieces))
        if self._is_custom:
            return {**self.extra, "id": self.id, "type": "custom", "custom": {"name": self.name, "input": text}}
        arguments = self._object if self._object is not None and not text.strip() else text
        return {**self.extra, "id": self.id, "type": "function", "function": {"name": self.name, "arguments": arguments}}


def _begins_object(arguments: Any) -> bool:
    return arguments.lstrip()[:1] == "{" if isinstance(arguments, str) else bool(arguments)


def _is_object(text: str) -> bool:
    if not text.rstrip().endswith("}"):
        return False
    try:
        return isinstance(json.loads(text, strict=False), dict)
    except (ValueError, RecursionError):
        return False


def listed(calls: Any) -> list[Mapping[str, Any]]:
    """Return the tool calls of a message or delta; some hosts send a single one as it is, or an object of them by index."""
    if isinstance(calls, dict):
        calls = [calls] if "function" in calls or "custom" in calls else list(calls.values())
    return [as_dict(call) for call in as_list(calls) if isinstance(call, dict)]


def content_of(message: Mapping[str, Any]) -> tuple[str, str]:
    """Return the text and the reasoning of a message; each host has its own place for the latter."""
    content = message.get("content")
    reasoning = as_str(message.get("reasoning_content")) or as_str(message.get("reasoning"))
    if not reasoning:
        details = [as_dict(detail) for detail in as_list(message.get("reasoning_details"))]
        reasoning = "".join(as_str(detail.get("text")) or as_str(detail.get("summary")) for detail in details)
    if isinstance(content, dict):
        content = [content]
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


def calls_of(message: Mapping[str, Any]) -> tuple[ToolCall, ...]:
    """Return the tool calls of a message; broken arguments are kept as text."""
    calls = []
    for call in listed(message.get("tool_calls")):
        custom = as_dict(call.get("custom"))
        function = as_dict(call.get("function")) or custom
        arguments = function.get("arguments", function.get("input"))
        extra = {key: value for key, value in call.items() if key not in _OF_A_CALL}
        if custom and not call.get("function"):
            extra["type"] = "custom"
        calls.append(ToolCall.of(as_str(call.get("id")), as_str(function.get("name")), arguments, extra=extra))
    older = as_dict(message.get("function_call"))
    if older and not calls:
        calls.append(ToolCall.of("", as_str(older.get("name")), older.get("arguments")))
    return tuple(calls)


def media_of(message: Mapping[str, Any]) -> tuple[Image | Audio, ...]:
    """Return what the model made: OpenAI's spoken answer, and the pictures that OpenRouter puts beside the text."""
    if "audio" not in message and "images" not in message:
        return ()
    made: list[Image | Audio | None] = [generated(Audio, as_dict(message.get("audio")).get("data"))]
    for image in map(as_dict, as_list(message.get("images"))):
        url = as_str(as_dict(image.get("image_url")).get("url"))
        head, _, encoded = url.partition(";base64,")
        made.append(generated(Image, encoded, head.removeprefix("data:")) if encoded else Image(url=url) if url else None)
    return tuple(part for part in made if part is not None)


def texts_of(choices: list[Mapping[str, Any]]) -> tuple[str, ...]:
    """Return the text of each choice."""
    return tuple(whole(content_of(as_dict(choice.get("message")))[0]) for choice in choices)


def in_order(choices: list[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return choices by their index, where they have one."""
    return choices if len(choices) < 2 else sorted(choices, key=lambda choice: as_index(choice.get("index")) or 0)


def verdict_of(choice: Mapping[str, Any]) -> Verdict:
    """Return why a choice ended. OpenRouter repeats the word of the model's own provider, which may know more."""
    found = verdict(choice.get("finish_reason"))
    if found in ("none", "unknown") and choice.get("native_finish_reason"):
        native = verdict(choice["native_finish_reason"])
        return native if native in ("length", "content_filter", "broken", "refusal") else found
    return found


def word_of(found: Any) -> str:
    """Return a word of the provider's, whatever it is written as, cut to a length that can be shown."""
    return found if isinstance(found, str) else "" if found is None else str(found)[:100]


def filters_of(choice: Mapping[str, Any]) -> list[str]:
    """Return which filters blocked a choice (Azure)."""
    return [str(name) for name, found in as_dict(choice.get("content_filter_results")).items() if as_dict(found).get("filtered")]


def prompt_filters_of(reply: Mapping[str, Any]) -> list[str]:
    """Return what a reply says about a blocked prompt: Azure's filters, MiniMax's `input_sensitive` and `output_sensitive`."""
    found = [name for name in ("input_sensitive", "output_sensitive") if reply.get(name) is True]
    for result in map(as_dict, as_list(reply.get("prompt_filter_results"))):
        found += filters_of(result)
    return found
