"""What is assumed before anything is known, and what is too absurd to believe? Numbers that several modules need."""

from __future__ import annotations

from responder.values.answer import Usage

BYTES_PER_TOKEN = 4.0
"""English text has about four bytes in a token: used to reserve tokens before any were counted."""

FIRST_OUTPUT_TOKENS = 256
"""The assumed length of an answer before the first one arrives."""

NEWEST_WEIGHT = 0.05
"""How much the latest value counts in a moving mean."""

SHORTEST_WAIT = 0.001
"""Seconds; anything shorter is not a wait but the overhead of taking a turn."""

# No request has more tokens; the largest context of a model is ten million. A reply that says more is broken.
_MOST_TOKENS = 100_000_000

# One reply may raise a learned value by at most this factor. Higher true values are reached within a few replies.
_MOST_TIMES = 16.0


def is_plausible(usage: Usage) -> bool:
    """Return whether a usage was reported and is plausible: one that is negative, absurdly large or not a number is ignored."""
    return usage.known and 0 <= usage.input_tokens <= _MOST_TOKENS and 0 <= usage.output_tokens <= _MOST_TOKENS


def within_reach(value: float, mean: float) -> float:
    """Return a new value for a mean, capped so that one reply cannot spoil it for all that follow."""
    return min(value, _MOST_TIMES * mean)
