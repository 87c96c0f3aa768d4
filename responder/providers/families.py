"""Whose model is that, by its name? A hint for an error message and nothing more: nothing is ever asked on a guess."""

from __future__ import annotations

import re
from collections.abc import Iterable

# The makers' own names for their families. Open models that many hosts serve (Llama, Qwen) belong to nobody here.
_FAMILIES = (
    (re.compile(r"gpt-(?!oss)|chatgpt-|o[1-9](-|$)|text-embedding-(3|ada)|ft:gpt-"), "openai"),
    (re.compile(r"claude-"), "anthropic"),
    (re.compile(r"(models/)?(gemini-|gemma-)"), "gemini"),
    (re.compile(r"mistral-|ministral-|magistral-|codestral-|devstral-|pixtral-|open-mi[sx]tral"), "mistral"),
    (re.compile(r"deepseek-(chat|reasoner)"), "deepseek"),
    (re.compile(r"grok-"), "xai"),
    (re.compile(r"command-"), "cohere"),
    (re.compile(r"voyage-"), "voyage"),
    (re.compile(r"glm-"), "zai"),
)


def meant(name: str, known: Iterable[str]) -> str | None:
    """Return the "provider:model" that somebody may have meant; None where nothing suggests one.

    | written | meant |
    |---|---|
    | gpt-4o-mini | openai:gpt-4o-mini |
    | claude-sonnet-4-5 | anthropic:claude-sonnet-4-5 |
    | groq/llama-3.3-70b-versatile | groq:llama-3.3-70b-versatile |

    Args:
        name: What stands in the place of "provider:model".
        known: The names of the providers there are.
    """
    names = set(known)
    name = name.strip()
    before, slash, after = name.partition("/")
    if slash and after and before.lower() in names:
        return f"{before.lower()}:{after}"
    for family, provider in _FAMILIES:
        if provider in names and family.match(name.lower()):
            return f"{provider}:{name}"
    return None
