"""Why did the model stop? The words of every provider, host and gateway, read by family: one table for all dialects.

Sources: the providers' references (read 2026-08 and 2026-11), and what users of their SDKs reported about compatible hosts.
Only letters count: `MAX_TOKENS`, `maxTokens` and `FinishReason.MAX_TOKENS` are one word. A word of no family is "other".
"""

from __future__ import annotations

import functools
import re
from typing import Any, Literal, TypeAlias

FinishReason = Literal["stop", "length", "tool_calls", "content_filter", "refusal", "other"]
"""Why the model stopped; the provider's own word is in `Answer.raw`."""

Verdict: TypeAlias = Literal[
    "stop", "length", "tool_calls", "content_filter", "refusal", "other", "unknown", "broken", "error", "none"
]
"""A FinishReason, or "unknown" (a word of no family), "broken" (the provider failed midway: ask again), "error" (the bare
word: broken if nothing came before it), "none" (no word at all)."""

# In this order: what hides a fault or a cut comes last.
_FAMILIES: tuple[tuple[Verdict, re.Pattern[str]], ...] = (
    # The model's own faults: a broken tool call is neither a call nor a failure of the provider (Google, Bedrock).
    (
        "other",
        re.compile(r"malformed|unexpectedtool|toomanytool|invalidtool|missingthought|noimage|imageother|pauseturn|language"),
    ),
    # OpenAI, Z.ai (sensitive), Google (SAFETY to MODEL_ARMOR), Bedrock (guardrail_intervened), Cohere (ERROR_TOXIC), gateways.
    (
        "content_filter",
        re.compile(
            r"filter|safety|sensitive|prohibited|blocklist|blocked|recitation|spii|modelarmor|guardrail|moderat|jailbreak"
            r"|policy|flagged|toxic|censor|copyright|violat|unsafe|harm|contentrisk|riskcontrol"
        ),
    ),
    ("refusal", re.compile(r"refus")),
    # Z.ai (network_error, abort), DeepSeek (insufficient_system_resource), vLLM and SGLang (abort), gateways.
    (
        "broken",
        re.compile(
            r"network|insufficient|resourceexhaust|abort|cancel|interrupt|disconnect|connection|overload|unavailable|timeout|timedout"
            r"|deadline|(?:server|internal|upstream|model|engine|provider|system|inference|generation|stream|api|backend)error"
            r"|errored|failed|failure|crash|quota|ratelimit|shutdown"
        ),
    ),
    # OpenAI, Anthropic (model_context_window_exceeded), Google, Mistral (model_length), TGI, Cohere, gateways.
    (
        "length",
        re.compile(
            r"length|max(?:output|new|completion|gen|generation|generated|total|input|response)?tokens?|tokenlimit|tokenslimit"
            r"|limit|contextwindow|contextsize|contextfull|outofcontext|truncat|incomplete|unfinished|partial|budget|numpredict|toolong"
            r"|maxlen|cutoff|exceed"
        ),
    ),
    ("error", re.compile(r"^error$")),
    ("tool_calls", re.compile(r"tool(?:call|use)|functioncall|callfunction")),
    # Together (eos), Cohere (COMPLETE), Anthropic (end_turn, stop_sequence, compaction), local servers.
    ("stop", re.compile(r"stop|eos|eot|endof|endturn|complete|finish|done|compaction|^end$|^ended$|^success$|^normal$|^ok$")),
)
_PREFIX = re.compile(r"^(?:finish|stop|done)_?reason[._\s:-]*", re.IGNORECASE)

# Google's words as numbers, which some gateways ask for (google/ai/generativelanguage, aiplatform: Candidate.FinishReason).
_GOOGLE_NUMBERS: dict[int, Verdict] = {
    0: "none",
    1: "stop",
    2: "length",
    3: "content_filter",
    4: "content_filter",
    5: "other",
    7: "content_filter",
    8: "content_filter",
    9: "content_filter",
    11: "content_filter",
}


def verdict(word: Any) -> Verdict:
    """Return the family a provider's word belongs to; an object is read by its `type` or `reason` (SGLang)."""
    if isinstance(word, str):
        return _of_text(word) if len(word) < 200 else "unknown"
    if isinstance(word, dict):
        inner = word.get("type") or word.get("reason")
        return _of_text(inner) if isinstance(inner, str) and len(inner) < 200 else "unknown"
    return "none" if word is None or word is False else "unknown"


def google_verdict(word: Any) -> Verdict:
    """Return the family a word of Google's belongs to; the word may be a number."""
    if isinstance(word, (int, float)) and not isinstance(word, bool):
        return _GOOGLE_NUMBERS.get(int(word), "other") if 0 <= word < 1000 else "unknown"
    return "stop" if word is True else verdict(word)


@functools.lru_cache(maxsize=256)
def _of_text(word: str) -> Verdict:
    letters = "".join(filter(str.isalnum, _PREFIX.sub("", word.strip()).casefold()))
    if letters in ("", "null", "none", "unspecified"):
        return "none"
    return next((family for family, pattern in _FAMILIES if pattern.search(letters)), "unknown")


def finish_reason(found: Verdict, has_calls: bool, refused: bool = False) -> FinishReason:
    """Return why the model stopped, in our words.

    The presence of tool calls decides: with a tool forced by name, OpenAI itself says "stop". They never hide a cut or a block.
    """
    if refused and found != "content_filter":
        return "refusal"
    if has_calls and found in ("stop", "unknown", "error", "none"):
        return "tool_calls"
    if found == "none":
        return "stop"
    if found == "unknown" or found == "broken" or found == "error":
        return "other"
    return found
