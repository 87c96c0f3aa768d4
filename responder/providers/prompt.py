"""Which parts of a prompt does a dialect lack? They are refused by name, never dropped silently."""

from __future__ import annotations

from responder.values.errors import ConfigurationError
from responder.values.messages import Message, Part, Raw, Text, ToolResult
from responder.values.options import Options


def refuse_extra(message: Message, provider: str, known: tuple[str, ...] = ()) -> None:
    """Refuse the keys of a message that a provider has no field for.

    Args:
        message: The message.
        provider: The provider's name, for the error.
        known: Keys that it has, or that only repeat what is elsewhere.

    Raises:
        ConfigurationError: One has a value.
    """
    for name, value in message.extra.items():
        if name not in known and value not in ("", {}):
            raise ConfigurationError(f"{provider} has no {name!r} in a message of the {message.role}: leave it out")


def refuse_options(options: Options, names: tuple[str, ...], provider: str, advice: str = "leave it out") -> None:
    """Refuse the options that a provider does not have.

    Args:
        options: What was given.
        names: Those that it does not have.
        provider: The provider's name, for the error.
        advice: What to do instead.

    Raises:
        ConfigurationError: One has a value.
    """
    for name in names:
        if getattr(options, name) is not None:
            raise ConfigurationError(f"{provider} has no {name}: {advice}", fatal=True)


def refuse_lifetime(options: Options, provider: str, advice: str = "say prompt_cache=True") -> None:
    """Refuse a lifetime of the prompt cache where a provider has none; True is what it does by itself.

    Args:
        options: What was given.
        provider: The provider's name, for the error.
        advice: What to do instead.

    Raises:
        ConfigurationError: There is one.
    """
    if isinstance(options.prompt_cache, str):
        raise ConfigurationError(
            f"{provider} has no prompt_cache={options.prompt_cache!r} (it keeps what prompts begin with by itself): {advice}",
            fatal=True,
        )


def text_of_result(result: ToolResult, provider: str) -> str:
    """Return a tool's result for a provider that accepts only text there.

    Raises:
        ConfigurationError: There is something else in it.
    """
    text = result.text
    if text is None:
        kinds = [described(part) for part in result.parts if not isinstance(part, Text)]
        raise ConfigurationError(
            f"{provider} accepts only text as the result of a tool, not {', '.join(kinds)}: use a user message for it"
        )
    return text


def described(part: Part) -> str:
    """Return what to call a part in an error: its class, or the type and the keys of one in a provider's own form."""
    if not isinstance(part, Raw):
        return type(part).__name__
    kind = f" of type {part.data['type']!r}" if isinstance(part.data.get("type"), str) else ""
    return f"part{kind} with {', '.join(repr(name) for name in part.data if name != 'type')}"
