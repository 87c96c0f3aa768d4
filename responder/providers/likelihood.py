"""How likely was each token of an answer? Each dialect's logarithmic probabilities, as TokenLogprobs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from responder.values.answer import TokenLogprob
from responder.values.reading import as_dict, as_list, as_str, whole


def openai_logprobs(content: Any) -> tuple[TokenLogprob, ...]:
    """Return the tokens of `logprobs.content` (Chat Completions), or of a text part (Responses)."""
    return tuple(
        TokenLogprob(token, logprob, tuple(_pairs(given.get("top_logprobs"), "logprob")))
        for given in map(as_dict, as_list(content))
        for token, logprob in _pairs([given], "logprob")
    )


def gemini_logprobs(candidate: Mapping[str, Any]) -> tuple[TokenLogprob, ...]:
    """Return the tokens of a candidate of Google's: the chosen ones in one list, the likeliest in another."""
    result = as_dict(candidate.get("logprobsResult"))
    if not result:
        return ()
    tops = [as_dict(top) for top in as_list(result.get("topCandidates"))]
    made = []
    for place, chosen in enumerate(as_list(result.get("chosenCandidates"))):
        top = tops[place].get("candidates") if place < len(tops) else None
        for token, logprob in _pairs([chosen], "logProbability"):
            made.append(TokenLogprob(token, logprob, tuple(_pairs(top, "logProbability"))))
    return tuple(made)


def _pairs(found: Any, name: str) -> list[tuple[str, float]]:
    """Return the tokens in a list that have a number beside them."""
    return [
        (whole(as_str(given.get("token"))), float(given[name]))
        for given in map(as_dict, as_list(found))
        if isinstance(given.get(name), (int, float)) and not isinstance(given.get(name), bool)
    ]
