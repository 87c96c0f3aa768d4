"""What is asked: a Message and its parts. Pure values; what each provider makes of them is in `providers/`.

Two messages with the same content are equal. A part that a provider does not take is refused with a ConfigurationError when
that provider builds its payload, never dropped.
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

Role = Literal["system", "user", "assistant", "tool"]

_ROLES: Mapping[str, Role] = {
    "system": "system",
    "developer": "system",  # OpenAI's newer word for the same thing
    "user": "user",
    "assistant": "assistant",
    "model": "assistant",  # Google's word
    "tool": "tool",
}


@dataclass(frozen=True, slots=True)
class Text:
    """A piece of text."""

    text: str


@dataclass(frozen=True, slots=True)
class _Media:
    """Bytes or a URL, and what they are.

    Attributes:
        data: The bytes themselves; exclusive with `url`.
        url: Where the provider finds them (https, or gs:// on Vertex).
        media_type: MIME type, such as "image/png".
        name: File name, where a provider wants one.
    """

    data: bytes | None = field(default=None, repr=False)
    url: str | None = None
    media_type: str = ""
    name: str = ""

    def __post_init__(self) -> None:
        if (self.data is None) == (self.url is None):
            raise ValueError(f"{type(self).__name__} takes either data (bytes) or url, one of them")

    @property
    def base64(self) -> str:
        """The bytes in the standard base64 alphabet, without line breaks."""
        return base64.b64encode(self.data or b"").decode("ascii")

    @property
    def data_url(self) -> str:
        """The URL as given, or the bytes as a `data:` URL."""
        return self.url or f"data:{self.media_type};base64,{self.base64}"


def _read(path: str | os.PathLike[str]) -> dict[str, Any]:
    # Imported when a file is read: most programs send texts, and these two are a tenth of our import time.
    import mimetypes
    from pathlib import Path

    path = Path(path)
    media_type = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    return {"data": path.read_bytes(), "media_type": media_type, "name": path.name}


@dataclass(frozen=True, slots=True)
class Image(_Media):
    """A picture, as bytes or as a URL."""

    media_type: str = "image/png"

    @classmethod
    def from_path(cls, path: str | os.PathLike[str]) -> Image:
        """Read a picture from a file; its type is taken from the file's ending."""
        return cls(**_read(path))


@dataclass(frozen=True, slots=True)
class Audio(_Media):
    """A sound, as bytes."""

    media_type: str = "audio/wav"

    @classmethod
    def from_path(cls, path: str | os.PathLike[str]) -> Audio:
        """Read a sound from a file; its type is taken from the file's ending."""
        return cls(**_read(path))


@dataclass(frozen=True, slots=True)
class File(_Media):
    """A document, such as a PDF, as bytes or as a URL."""

    media_type: str = "application/pdf"

    @classmethod
    def from_path(cls, path: str | os.PathLike[str]) -> File:
        """Read a document from a file; its type is taken from the file's ending."""
        return cls(**_read(path))


@dataclass(frozen=True, slots=True)
class ToolCall:
    """The model asks for a tool.

    Attributes:
        id: The provider's id of this call, to be repeated in its ToolResult; "" where the provider sends none (Gemini).
        name: The tool's name.
        arguments: The arguments; empty when the model's text was not a JSON object (see `arguments_text`).
        arguments_text: The arguments as the model wrote them.
        signature: Google's `thoughtSignature`, which must go back with the call; "" elsewhere.
    """

    id: str
    name: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    arguments_text: str = ""
    signature: str = field(default="", repr=False)

    @classmethod
    def from_text(cls, id: str, name: str, text: str) -> ToolCall:  # noqa: A002 - the field's own name
        """Build a call from the JSON text that a model wrote; broken JSON is kept as text."""
        try:
            arguments = json.loads(text) if text.strip() else {}
        except (ValueError, RecursionError):
            arguments = {}
        return cls(id, name, arguments if isinstance(arguments, dict) else {}, text)

    @property
    def json(self) -> str:
        """The arguments as JSON text."""
        return self.arguments_text or json.dumps(dict(self.arguments), ensure_ascii=False)


@dataclass(frozen=True, slots=True)
class ToolResult:
    """What a tool gave back.

    Attributes:
        id: The id of the ToolCall that this answers.
        content: The tool's result as text.
        name: The tool's name; Gemini needs it.
        is_error: True when the tool failed.
    """

    id: str
    content: str
    name: str = ""
    is_error: bool = False


@dataclass(frozen=True, slots=True)
class Raw:
    """A part in the provider's own form, sent as it is: for what has no word here."""

    data: Mapping[str, Any]


Part: TypeAlias = Text | Image | Audio | File | ToolCall | ToolResult | Raw


@dataclass(frozen=True, slots=True, init=False)
class Message:
    """Who says something, and what.

    Attributes:
        role: "system", "user", "assistant" or "tool".
        parts: What is said, in order.
    """

    role: Role
    parts: tuple[Part, ...]

    def __init__(self, role: str, content: str | Part | Iterable[str | Part]) -> None:
        """Build a message; `content` is a text, a part, or several of them."""
        if role not in _ROLES:
            raise ValueError(f"unknown role {role!r}: use system, user, assistant or tool")
        object.__setattr__(self, "role", _ROLES[role])
        if isinstance(content, str):
            parts: tuple[Part, ...] = (Text(content),)
        elif isinstance(content, Part.__args__):
            parts = (content,)
        elif isinstance(content, Iterable) and not isinstance(content, (bytes, Mapping)):
            parts = tuple(_as_part(part) for part in content)
        else:
            raise TypeError(f"the content of a message is a str, a part or a list of them, not {type(content).__name__}")
        object.__setattr__(self, "parts", parts)

    @property
    def text(self) -> str:
        """The text of all text parts, joined."""
        return "".join(part.text for part in self.parts if isinstance(part, Text))


def system(*content: str | Part) -> Message:
    """Return a system message: how the model should behave."""
    return Message("system", content)


def user(*content: str | Part) -> Message:
    """Return a user message: `user("What is this?", Image.from_path("cat.png"))`."""
    return Message("user", content)


def assistant(*content: str | Part) -> Message:
    """Return an assistant message: what the model said before."""
    return Message("assistant", content)


Prompt: TypeAlias = str | Message | Mapping[str, Any] | Sequence[Message | Mapping[str, Any]]
"""What can be asked: a text, a Message, a {"role", "content"} dict, or a list of the last two."""


def as_messages(prompt: Prompt) -> tuple[Message, ...]:
    """Return a prompt of any accepted form as messages.

    Raises:
        ValueError: An unknown role, an empty list, or a dict without "role" and "content".
        TypeError: Anything else that is not a prompt (None, a number).
    """
    if isinstance(prompt, str):
        return (Message("user", prompt),)
    if isinstance(prompt, (Message, Mapping)):
        return (_as_message(prompt),)
    if isinstance(prompt, Sequence) and not isinstance(prompt, (bytes, bytearray)):
        if not prompt:
            raise ValueError("the prompt is an empty list: it needs at least one message")
        return tuple(_as_message(message) for message in prompt)
    raise TypeError(
        f"a prompt is a str, a Message, or a list of messages or of {{'role', 'content'}} dicts, not {type(prompt).__name__}"
    )


def _as_message(message: Any) -> Message:
    if isinstance(message, Message):
        if message.role == "tool" and not any(isinstance(part, (ToolResult, Raw)) for part in message.parts):
            raise ValueError("a tool message answers a call: Message('tool', ToolResult(id, content))")
        return message
    if not isinstance(message, Mapping):
        raise TypeError(f"a message is a Message or a {{'role', 'content'}} dict, not {type(message).__name__}")
    if "role" not in message:
        raise ValueError(f"a message dict needs 'role' and 'content'; this one has {sorted(message)}")
    role, content = message["role"], message.get("content")
    if role == "tool":
        return Message("tool", ToolResult(str(message.get("tool_call_id", "")), _text_of(content), message.get("name", "")))
    try:
        calls = [
            ToolCall.from_text(call.get("id", ""), call["function"]["name"], call["function"].get("arguments") or "")
            for call in message.get("tool_calls") or ()
        ]
    except (KeyError, AttributeError, TypeError):
        raise ValueError("'tool_calls' is a list of {'id', 'function': {'name', 'arguments'}}, as OpenAI writes it") from None
    if calls:
        said = [content] if isinstance(content, str) and content else list(content or ())
        return Message(role, [*said, *calls])
    if content is None:
        raise ValueError(f"the {role} message has no 'content'")
    return Message(role, content)


def _text_of(content: Any) -> str:
    return content if isinstance(content, str) else json.dumps(content, ensure_ascii=False)


def _as_part(part: Any) -> Part:
    """Return a part of ours; dicts are read as OpenAI's parts, which is what people have at hand."""
    if isinstance(part, str):
        return Text(part)
    if not isinstance(part, Mapping):
        if isinstance(part, Part.__args__):
            return part  # type: ignore[no-any-return]  # mypy cannot follow the classes of the union
        raise TypeError(f"a part is a str, a part or a dict, not {type(part).__name__}")
    if part.get("type") == "text" and isinstance(part.get("text"), str):
        return Text(part["text"])
    if part.get("type") == "image_url":
        image = part.get("image_url")
        url = image.get("url", "") if isinstance(image, Mapping) else str(image)
        if not isinstance(url, str):
            raise TypeError(f"the url of an image_url is a str, not {type(url).__name__}")
        if url.startswith("data:") and ";base64," in url:
            media_type, _, encoded = url[len("data:") :].partition(";base64,")
            return Image(data=base64.b64decode(encoded), media_type=media_type)
        return Image(url=url)
    return Raw(part)
