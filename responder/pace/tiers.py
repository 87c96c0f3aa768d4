"""What does a request cost in another tier than the usual one? A table of factors, by provider.

Sources: the price pages of OpenAI, Amazon Bedrock, Anthropic and Google for flex, batch and priority processing (read 2026-11).
"""

from __future__ import annotations

import re
from collections.abc import Mapping

USUAL = frozenset({"", "auto", "default", "standard", "standard_only", "on_demand"})
"""The words of the usual tier."""

_HALF = {"flex": 0.5, "batch": 0.5}

FACTORS: Mapping[str, Mapping[str, float]] = {
    "openai": _HALF,
    "azure": _HALF,
    "anthropic": {"batch": 0.5},
    "gemini": _HALF,
    "vertex": _HALF,
    "bedrock": {**_HALF, "priority": 1.75},
}
"""What the usual price is multiplied by. A provider that is not here has one price; the price of a tier that is not in its line
depends on the model or on a contract, and is not known."""

_PRIORITY: tuple[tuple[re.Pattern[str], float], ...] = (
    (re.compile(r"gpt-5(?:\.[124])?(?:-codex)?(?:-\d{4}.*)?"), 2.0),
    (re.compile(r"gpt-5\.4-mini(?:-\d{4}.*)?"), 2.0),
    (re.compile(r"gpt-5-mini(?:-\d{4}.*)?"), 1.8),
    (re.compile(r"(?:gpt-4\.1(?:-mini)?|o3)(?:-\d{4}.*)?"), 1.75),
    (re.compile(r"o4-mini(?:-\d{4}.*)?"), 20 / 11),
    (re.compile(r"gpt-4\.1-nano(?:-\d{4}.*)?"), 2.0),
    (re.compile(r"gpt-4o-2024-05-13"), 1.75),
    (re.compile(r"gpt-4o(?:-\d{4}.*)?"), 1.7),
    (re.compile(r"gpt-4o-mini(?:-\d{4}.*)?"), 5 / 3),
)
"""OpenAI's priority tier has a price for each model."""


def tier_factor(provider: str, model: str, tier: str) -> float | None:
    """Return what the usual price of a model is multiplied by in a tier; None if that is not known.

    Args:
        provider: As in `for_model`.
        model: The model's name.
        tier: As the reply names it; "" where it does not.
    """
    line = FACTORS.get(provider)
    if line is None or tier in USUAL:
        return 1.0
    if tier == "priority" and provider == "openai":
        return next((factor for pattern, factor in _PRIORITY if pattern.fullmatch(model)), None)
    return line.get(tier)
