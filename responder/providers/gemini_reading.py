"""What do Gemini's replies hold? Texts, thoughts, calls and signatures, whole or in the pieces of a stream.

https://ai.google.dev/api/generate-content (read 2026-08)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from responder.call.dialect import ChunkReader
from responder.providers.usage import merged_counts
from responder.values.finish import google_verdict
from responder.values.media import generated
from responder.values.messages import Audio, Image, Opaque, Part, Text, ToolCall
from responder.values.reading import WholePieces, as_dict, as_index, as_list, as_str, whole


class GeminiChunks(ChunkReader):
    """GenerateContent replies, one for each piece; there is no end marker except the finish reason of the last one.

    Several candidates come mixed, by their index. The text of the first one is the stream's.
    """

    def __init__(self) -> None:
        self._head: dict[str, Any] = {}
        self._usage: dict[str, Any] = {}
        self._candidates: dict[int, _Candidate] = {}

    def read(self, chunk: Mapping[str, Any]) -> str:
        for key in ("promptFeedback", "modelVersion", "responseId"):
            if chunk.get(key):
                self._head[key] = chunk[key]
        if usage := as_dict(chunk.get("usageMetadata")):
            self._usage = merged_counts(self._usage, usage)
        text = ""
        for found in map(as_dict, as_list(chunk.get("candidates"))):
            if not found:
                continue
            index = as_index(found.get("index")) or 0
            candidate = self._candidates.get(index)
            if candidate is None:
                candidate = self._candidates[index] = _Candidate()
            piece = candidate.read(found)
            if not index:
                text += piece
        self.complete = bool(block_of(self._head)) or (
            bool(self._candidates) and all(candidate.complete for candidate in self._candidates.values())
        )
        if self.complete and not text and self._candidates and 0 not in self._candidates:
            text = self._candidates[min(self._candidates)].held()  # a host that counts from 1: what was held back is returned now
        return text

    def reply(self) -> dict[str, Any]:
        made = dict(self._head)
        if self._usage:
            made["usageMetadata"] = dict(self._usage)
        if self._candidates:
            made["candidates"] = [candidate.whole() for _, candidate in sorted(self._candidates.items())]
        return made


class _Candidate:
    """One candidate of a stream, as far as it came."""

    def __init__(self) -> None:
        self.complete = False
        self._about: dict[str, Any] = {}
        self._parts: list[dict[str, Any]] = []
        self._open: list[str] = []  # the pieces of the last part, where that is a text
        self._text = WholePieces()
        self._handed_out = False

    def read(self, found: Mapping[str, Any]) -> str:
        """Take in the candidate of a chunk and return its text."""
        parts = parts_of(found)
        # Old servers say STOP with every piece, so only that of the last one counts; one that brings nothing undoes nothing.
        if google_verdict(found.get("finishReason")) != "none":
            if google_verdict(self._about.get("finishReason")) in ("none", "stop", "other", "unknown"):
                self._about["finishReason"] = found["finishReason"]
            self.complete = True
        elif any(parts):
            self.complete = False
        for key, value in found.items():
            if key not in ("content", "finishReason") and value is not None:
                self._about[key] = value
        text = ""
        for part in parts:
            said = part.get("text")
            if isinstance(said, str) and part.get("thought") is not True:
                text += said
            self._add(part, said)
        piece = self._text.add(text)
        return piece + self._text.end() if self.complete else piece

    def _add(self, part: Mapping[str, Any], said: Any) -> None:
        """Add a part; texts of one kind that follow each other are one part, as they would be in a whole answer."""
        is_plain = isinstance(said, str) and not set(part) - {"text", "thought"}
        last = self._parts[-1] if self._parts else {}
        if is_plain and self._open and last.get("thought") is part.get("thought"):
            self._open.append(said)
            return
        self._close()
        self._parts.append(dict(part))
        if is_plain:
            self._open = [said]

    def _close(self) -> None:
        if self._open:
            self._parts[-1]["text"] = whole("".join(self._open))
            self._open = []

    def held(self) -> str:
        """Return the whole text, once."""
        text = "" if self._handed_out else self._text.text
        self._handed_out = True
        return text

    def whole(self) -> dict[str, Any]:
        """Return the candidate as a whole answer has it."""
        parts = [dict(part) for part in self._parts]
        if self._open:
            parts[-1]["text"] = whole("".join(self._open))
        return {**self._about, "content": {"role": "model", "parts": parts}}


def parts_of(candidate: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the parts of a candidate."""
    return [as_dict(part) for part in as_list(as_dict(candidate.get("content")).get("parts"))]


def media_of(parts: list[Mapping[str, Any]]) -> tuple[Image | Audio, ...]:
    """Return the pictures and the sound that the model made; those of its thoughts are drafts."""
    made: list[Image | Audio | None] = []
    for part in parts:
        blob = part.get("inlineData")
        if isinstance(blob, dict) and part.get("thought") is not True:
            kind = as_str(blob.get("mimeType"))
            is_sound = kind.startswith("audio/")
            made.append(generated(Audio, blob.get("data"), kind) if is_sound else generated(Image, blob.get("data"), kind))
    return tuple(part for part in made if part is not None)


def text_of(parts: list[Mapping[str, Any]], thoughts: bool) -> str:
    """Return what the parts say, or (with `thoughts`) what was thought."""
    return whole("".join(as_str(part.get("text")) for part in parts if (part.get("thought") is True) is thoughts))


def is_opaque(part: Mapping[str, Any]) -> bool:
    """Return whether a part says more than a text, a thought or a call with its signature."""
    if "functionCall" in part:
        return False
    return "thoughtSignature" in part or "text" not in part


def said_again(parts: list[Mapping[str, Any]]) -> tuple[Part, ...]:
    """Return parts as they have to go back: each signature where it came, on a text, a call, or an empty text of its own.

    https://ai.google.dev/gemini-api/docs/thought-signatures (read 2026-11). Thoughts without one need not go back.
    """
    made: list[Part] = []
    for part in parts:
        call = tool_call_of(part)
        text = part.get("text")
        if call is not None:
            made.append(call)
        elif isinstance(text, str) and text and part.get("thought") is not True:
            made.append(Text(whole(text)))
            if "thoughtSignature" in part:
                made.append(Opaque("google", {"thoughtSignature": part["thoughtSignature"]}))
        elif part and is_opaque(part):
            made.append(Opaque("google", part))
    return tuple(made)


def tier_of(usage: Mapping[str, Any]) -> str:
    """Return the tier that served: Gemini names it, Vertex the kind of traffic (ON_DEMAND_FLEX)."""
    found = (as_str(usage.get("serviceTier")) or as_str(usage.get("trafficType"))).lower()
    if found.startswith("on_demand"):
        return found.removeprefix("on_demand").lstrip("_") or "standard"
    return "" if "unspecified" in found else found


def block_of(reply: Mapping[str, Any]) -> str:
    """Return the reason why the prompt was blocked, "" if it was not."""
    reason = as_dict(reply.get("promptFeedback")).get("blockReason")
    if not reason or not isinstance(reason, (str, int)) or "UNSPECIFIED" in str(reason):
        return ""
    return str(reason)[:100]


def tool_call_of(part: Mapping[str, Any]) -> ToolCall | None:
    """Return the call of a tool that a part is; None where it is none."""
    call = as_dict(part.get("functionCall"))
    if not call:
        return None
    return ToolCall.of(
        as_str(call.get("id")), as_str(call.get("name")), call.get("args"), signature=as_str(part.get("thoughtSignature"))
    )
