"""What is assumed before anybody knows, and what is too absurd to be believed? The numbers that several rooms need, once."""

from __future__ import annotations

from responder.values.answer import Usage

BYTES_PER_TOKEN = 4.0
"""English text has about four bytes in a token: what is reserved for a request before anything was counted."""

FIRST_OUTPUT_TOKENS = 256
"""How long an answer is taken to be before the first one came."""

NEWEST_WEIGHT = 0.05
"""How much the latest value counts in a moving mean."""

SHORTEST_WAIT = 0.001
"""Seconds; what is shorter was no wait but the time that taking a turn takes."""

# No request has more tokens; the largest context of a model is ten million. A reply that says more is broken.
_MOST_TOKENS = 100_000_000

# One reply may raise what is learned from it by so much at most. True values that are higher are reached within a few replies.
_MOST_TIMES = 16.0


def is_plausible(usage: Usage) -> bool:
    """Return whether a usage was told and may be true: one that is negative, absurdly large or no number teaches nothing."""
    return usage.known and 0 <= usage.input_tokens <= _MOST_TOKENS and 0 <= usage.output_tokens <= _MOST_TOKENS


def within_reach(value: float, mean: float) -> float:
    """Return a new value for a mean, but never so many times the mean that one reply could spoil it for all that follow."""
    return min(value, _MOST_TIMES * mean)
