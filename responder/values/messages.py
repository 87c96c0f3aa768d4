"""What is asked: a Message and its parts. Pure values; what each provider makes of them is in `providers/`.

Two messages with the same content are equal. A part that a provider does not accept is refused with a ConfigurationError when
that provider builds its payload, never dropped.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from responder.values.media import Audio as Audio
from responder.values.media import File as File
from responder.values.media import Image as Image
from responder.values.media import Media
from responder.values.media import Video as Video
from responder.values.media_types import media_type_of
from responder.values.reading import whole

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
class ToolCall:
    """The model asks for a tool.

    Attributes:
        id: The provider's id of this call, to be repeated in its ToolResult; "" where the provider sends none (Gemini).
        name: The tool's name.
        arguments: The arguments. Empty when the model did not write a JSON object: `is_broken` is true then, and
            `arguments_text` holds what it wrote.
        arguments_text: The arguments as the model wrote them.
        signature: Google's `thoughtSignature`, which must go back with the call; "" elsewhere.
        extra: Anything else in the call, sent back unchanged by the providers of OpenAI's dialect.
    """

    id: str
    name: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    arguments_text: str = ""
    signature: str = field(default="", repr=False)
    extra: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @classmethod
    def from_text(cls, id: str, name: str, text: str, **more: Any) -> ToolCall:  # noqa: A002 - the field's own name
        """Build a call from the JSON text that a model wrote; broken JSON is kept as text.

        Line ends and other control characters inside a string are accepted: models write them.
        """
        return cls(id, name, _object(text) or {}, whole(text), **more)

    @classmethod
    def of(cls, id: str, name: str, arguments: Any, **more: Any) -> ToolCall:  # noqa: A002 - the field's own name
        """Build a call from whatever the provider sends as arguments: an object, JSON text, or nothing."""
        if isinstance(arguments, str):
            return cls.from_text(id, name, arguments, **more)
        if isinstance(arguments, Mapping):
            return cls(id, name, arguments, **more)
        return cls(id, name, {}, "" if arguments is None else whole(_json_text(arguments)), **more)

    @property
    def is_broken(self) -> bool:
        """True when the model's arguments are not a JSON object, so that calling the tool without them would be wrong."""
        return not self.arguments and bool(self.arguments_text.strip()) and _object(self.arguments_text) is None

    @property
    def json(self) -> str:
        """The arguments as JSON text, or as the model wrote them."""
        return self.arguments_text or _json_text(dict(self.arguments))

    @property
    def object(self) -> dict[str, Any]:
        """The arguments as an object, for providers that accept nothing else; broken ones as {"INVALID_JSON": text}.

        Anthropic's documentation of fine-grained tool streaming recommends this form: the model sees what it wrote.
        """
        return {"INVALID_JSON": self.arguments_text} if self.is_broken else dict(self.arguments)


def _object(text: str) -> dict[str, Any] | None:
    """Return the object that a text of JSON holds, {} for an empty text, None where it holds none."""
    if not text.strip():
        return {}
    try:
        found = json.loads(text, strict=False)
        if isinstance(found, str):  # some hosts encode it twice
            found = json.loads(found, strict=False)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _json_text(value: Any) -> str:
    try:
        return json.dumps(value, ensure_ascii=False)
    except (RecursionError, TypeError, ValueError):
        return repr(value)[:1000]


@dataclass(frozen=True, slots=True)
class ToolResult:
    """What a tool returned.

    Attributes:
        id: The id of the ToolCall that this answers.
        content: The tool's result: a text, or a list of parts (texts, pictures, ...) where the provider takes them.
        name: The tool's name; Gemini needs it.
        is_error: True when the tool failed.
    """

    id: str
    content: str | tuple[Part, ...]
    name: str = ""
    is_error: bool = False

    def __post_init__(self) -> None:
        content: Any = self.content
        if not isinstance(content, str):
            is_parts = isinstance(content, (list, tuple)) and bool(content) and all(map(_is_part, content))
            made = tuple(_as_part(part) for part in content) if is_parts else _text_of(content)
            object.__setattr__(self, "content", made)

    @property
    def parts(self) -> tuple[Part, ...]:
        """The content as parts."""
        return (Text(self.content),) if isinstance(self.content, str) else self.content

    @property
    def text(self) -> str | None:
        """The content as one text; None when there is more in it than texts."""
        if isinstance(self.content, str):
            return self.content
        texts = [part.text for part in self.content if isinstance(part, Text)]
        return "".join(texts) if len(texts) == len(self.content) else None


@dataclass(frozen=True, slots=True)
class Raw:
    """A part in the provider's own form, sent as it is: for what responder has no class for."""

    data: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Opaque:
    """What a provider needs to see again and nobody else can read: thoughts with their signature, encrypted reasoning.

    `Answer.message` holds them. They go back to the provider that made them, unchanged, and are left out for another one.

    Attributes:
        family: Whose it is: the provider's name, or the one name of providers that read each other's ("google", "anthropic").
        data: It, in the provider's own form.
    """

    family: str
    data: Mapping[str, Any] = field(repr=False)


Part: TypeAlias = Text | Image | Audio | Video | File | ToolCall | ToolResult | Raw | Opaque


@dataclass(frozen=True, slots=True, init=False)
class Message:
    """Who says something, and what.

    Attributes:
        role: "system", "user", "assistant" or "tool".
        parts: What is said, in order.
        extra: Further keys of the message in the provider's own words, such as `name` or `reasoning_content`. They are sent as
            they are; a provider that has no field for one refuses it by name.
    """

    role: Role
    parts: tuple[Part, ...]
    extra: Mapping[str, Any] = field(hash=False)

    def __init__(self, role: str, content: str | Part | Iterable[str | Part], extra: Mapping[str, Any] | None = None) -> None:
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
            raise TypeError(f"the content of a message must be a str, a part or a list of them, not {type(content).__name__}")
        object.__setattr__(self, "parts", parts)
        object.__setattr__(self, "extra", _NOTHING if not extra else dict(extra))

    @property
    def text(self) -> str:
        """The text of all text parts, joined."""
        return "".join(part.text for part in self.parts if isinstance(part, Text))

    def for_family(self, family: str) -> Message:
        """Return the message without the opaque parts of others than this family's providers."""
        own = tuple(part for part in self.parts if not isinstance(part, Opaque) or part.family == family)
        return self if len(own) == len(self.parts) else Message(self.role, own, self.extra)


def system(*content: str | Part) -> Message:
    """Return a system message: how the model should behave."""
    return Message("system", content)


def user(*content: str | Part) -> Message:
    """Return a user message: `user("What is this?", Image("cat.png"))`."""
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
        f"a prompt must be a str, a Message, or a list of messages or of {{'role', 'content'}} dicts, not {type(prompt).__name__}"
    )


def has_media(messages: Sequence[Message]) -> bool:
    """Return whether there are pictures, sounds, videos or files in messages, or in the results of tools."""
    return any(
        isinstance(part, Media) or (isinstance(part, ToolResult) and any(isinstance(inner, Media) for inner in part.parts))
        for message in messages
        for part in message.parts
    )


def _as_message(message: Any) -> Message:
    if isinstance(message, Message):
        if message.role == "tool" and not any(isinstance(part, (ToolResult, Raw)) for part in message.parts):
            raise ValueError("a tool message answers a call: Message('tool', ToolResult(id, content))")
        return message
    if not isinstance(message, Mapping):
        raise TypeError(f"a message must be a Message or a {{'role', 'content'}} dict, not {type(message).__name__}")
    if "role" not in message:
        raise ValueError(f"a message dict needs 'role' and 'content'; this one has {sorted(message)}")
    role, content = message["role"], message.get("content")
    if len(message) == 2 and content is not None and role != "tool":  # nearly every message
        return Message(role, content)
    # A key without a value is ignored: SDKs write every key a message could have.
    extra = {name: value for name, value in message.items() if name not in _READ and value is not None and value != []}
    if role == "tool":
        return _as_tool_message(message, extra)
    try:
        calls = [_as_call(call) for call in message.get("tool_calls") or ()]
    except (KeyError, AttributeError, TypeError):
        raise ValueError(
            "'tool_calls' must be a list of {'id', 'function': {'name', 'arguments'}}, as OpenAI writes it"
        ) from None
    if calls:
        said: list[Any] = [content] if isinstance(content, (str, Mapping)) else list(content or ())
        return Message(role, [*(part for part in said if part != ""), *calls], extra)
    if content is None and not extra:
        raise ValueError(f"the {role} message has no 'content'")
    return Message(role, () if content is None else content, extra)


# What is read into fields of ours; "tool_call_id" and "is_error" belong to a tool's message alone.
_READ = frozenset({"role", "content", "tool_calls"})
_NOTHING: Mapping[str, Any] = {}


def _as_tool_message(message: Mapping[str, Any], extra: dict[str, Any]) -> Message:
    failed = extra.pop("is_error", False)
    name = extra.get("name", "")
    if not isinstance(name, str) or not isinstance(failed, bool):
        raise TypeError("a tool message needs a str as 'name' and a bool as 'is_error'")
    if message.get("tool_calls"):
        extra["tool_calls"] = message["tool_calls"]
    return Message("tool", ToolResult(str(extra.pop("tool_call_id", "")), message.get("content") or "", name, failed), extra)


def _as_call(call: Mapping[str, Any]) -> ToolCall:
    """Return a tool call of OpenAI's form; what we do not know is kept in `extra`."""
    kind = "custom" if "custom" in call and "function" not in call else "function"
    function = call[kind]
    text = "input" if kind == "custom" else "arguments"
    extra = {name: value for name, value in call.items() if name not in ("id", kind) and (name, value) != ("type", "function")}
    if inner := {name: value for name, value in function.items() if name not in ("name", text)}:
        extra[kind] = inner
    arguments = function.get(text)
    if not isinstance(function["name"], str) or not isinstance(arguments, (str, Mapping, type(None))):
        raise TypeError
    return ToolCall.of(str(call.get("id") or ""), function["name"], arguments, extra=extra)


# A tool may return a list of objects, too: only those of a type that providers document are parts of a message.
_PART_TYPES = frozenset(
    {"text", "image_url", "image", "input_audio", "audio", "file", "document", "video", "search_result", "refusal"}
)


def _is_part(part: Any) -> bool:
    if isinstance(part, Mapping):
        kind = part.get("type")
        return isinstance(kind, str) and kind in _PART_TYPES
    return isinstance(part, Part.__args__)


def _text_of(content: Any) -> str:
    if content is None:
        return ""
    return content if isinstance(content, str) else json.dumps(content, ensure_ascii=False)


def _as_part(part: Any) -> Part:
    """Return a part of ours. Dicts are read as OpenAI's parts, which is what people have at hand.

    A dict with a key that we have no field for stays as it is (`Raw`), so that nothing of it is lost.
    """
    if isinstance(part, str):
        return Text(part)
    if not isinstance(part, Mapping):
        if isinstance(part, Part.__args__):
            return part  # type: ignore[no-any-return]  # mypy cannot follow the classes of the union
        raise TypeError(f"a part must be a str, a part or a dict, not {type(part).__name__}")
    kind = part.get("type")
    if kind == "text" and len(part) == 2 and isinstance(part.get("text"), str):
        return Text(part["text"])
    if kind == "image_url" and part.keys() <= {"type", "image_url"}:
        return _as_image(part)
    return Raw(part)


def _as_image(part: Mapping[str, Any]) -> Part:
    image = part.get("image_url")
    given: Mapping[str, Any] = image if isinstance(image, Mapping) else {"url": image}
    url, detail = given.get("url"), given.get("detail") or ""
    if not isinstance(url, str):
        raise TypeError(f"the url of an image_url must be a str, not {type(url).__name__}")
    if not given.keys() <= {"url", "detail"} or not isinstance(detail, str):
        return Raw(part)
    if url.startswith("data:") and ";base64," in url:
        media_type, _, encoded = url[len("data:") :].partition(";base64,")
        try:
            data = base64.b64decode("".join(encoded.split()), validate=True)
        except ValueError as error:
            raise ValueError(f"the data URL of an image_url is not base64: {error}") from None
        return Image(data=data, media_type=media_type, detail=detail)
    return Image(url=url, media_type=media_type_of(url.partition("?")[0]) or "image/png", detail=detail)
