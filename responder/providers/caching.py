"""Which part of a prompt does the provider keep for the next requests? What `prompt_cache=` marks or asks for, in each dialect.

Marked is what many requests begin with: the tools and the system text, and all but the last part of the last message.

https://docs.anthropic.com/en/docs/build-with-claude/prompt-caching, https://docs.aws.amazon.com/bedrock/latest/userguide/prompt-caching.html
and https://platform.openai.com/docs/guides/prompt-caching (read 2026-11)
"""

from __future__ import annotations

from typing import Any

from responder.values.errors import ConfigurationError

_MARKED_LIFETIMES = ("5m", "1h")
_RETENTIONS = ("in_memory", "24h")
_LIFETIMES = ("30m", "12h")
# Blocks that Anthropic refuses a mark on.
_UNMARKED = ("thinking", "redacted_thinking")


def openai_cache(kept: bool | str) -> dict[str, Any]:
    """Return what OpenAI is told: nothing for True, since it keeps prompts by itself; else for how long.

    Raises:
        ConfigurationError: It does not know that lifetime.
    """
    if kept in _RETENTIONS:
        return {"prompt_cache_retention": kept}
    if kept in _LIFETIMES:
        return {"prompt_cache_options": {"ttl": kept}}
    if kept is not True:
        raise _unknown("OpenAI", kept, (*_RETENTIONS, *_LIFETIMES))
    return {}


def mark_for_anthropic(payload: dict[str, Any], kept: bool | str) -> None:
    """Mark in a payload of Anthropic's what is kept, for five minutes unless said otherwise.

    Raises:
        ConfigurationError: It does not know that lifetime.
    """
    mark = {"cache_control": {"type": "ephemeral", **_lifetime("Anthropic", kept)}}
    system = payload.get("system")
    if system:
        blocks = [{"type": "text", "text": system}] if isinstance(system, str) else system
        payload["system"] = [*blocks[:-1], {**blocks[-1], **mark}]
    elif payload.get("tools"):
        payload["tools"][-1] = {**payload["tools"][-1], **mark}
    turn, place = _before_the_last_part(payload["messages"])
    if turn is None:
        return
    if isinstance(turn["content"], str):
        turn["content"] = [{"type": "text", "text": turn["content"]}]
    block = turn["content"][place]
    if block.get("type") not in _UNMARKED and block.get("text") != "":
        turn["content"][place] = {**block, **mark}


def mark_for_bedrock(payload: dict[str, Any], kept: bool | str) -> None:
    """Put a mark of Converse's behind what is kept, for five minutes unless said otherwise.

    Raises:
        ConfigurationError: It does not know that lifetime.
    """
    mark = {"cachePoint": {"type": "default", **_lifetime("Bedrock", kept)}}
    if payload.get("system"):
        payload["system"].append(mark)
    elif "toolConfig" in payload:
        payload["toolConfig"]["tools"].append(mark)
    turn, place = _before_the_last_part(payload["messages"])
    if turn is not None:
        content = turn["content"]
        content.insert(len(content) if place == -1 else place + 1, mark)


def _before_the_last_part(turns: list[dict[str, Any]]) -> tuple[dict[str, Any] | None, int]:
    """Return the turn that holds the part before the last one, and its place there; None if there is but one part."""
    if turns and isinstance(turns[-1]["content"], list) and len(turns[-1]["content"]) > 1:
        return turns[-1], -2
    return (turns[-2], -1) if len(turns) > 1 else (None, 0)


def _lifetime(provider: str, kept: bool | str) -> dict[str, str]:
    if isinstance(kept, str) and kept not in _MARKED_LIFETIMES:
        raise _unknown(provider, kept, _MARKED_LIFETIMES)
    return {"ttl": kept} if isinstance(kept, str) else {}


def _unknown(provider: str, kept: bool | str, known: tuple[str, ...]) -> ConfigurationError:
    words = ", ".join(f'"{word}"' for word in known)
    return ConfigurationError(f"{provider} has no prompt_cache={kept!r}: give True, or one of {words}", fatal=True)
