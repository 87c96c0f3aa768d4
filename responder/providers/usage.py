"""How many tokens is that? The counts of a reply, in the words of each dialect, as one Usage.

Billed is what the provider counts in total. If its total is larger than input plus output, the difference
is output that is missing from the output count (usually reasoning): xAI, Gemini and several gateways do this.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from responder.values.answer import Usage
from responder.values.reading import as_count, as_dict, as_int


def merged_counts(known: Mapping[str, Any], later: Mapping[str, Any]) -> dict[str, Any]:
    """Return the counts of a stream with those of a later event laid over them.

    A later 0 or null does not clear a count: some hosts write an empty usage into their last events.
    """
    made = dict(known)
    for name, value in later.items():
        if isinstance(value, dict):
            below = as_dict(made.get(name))
            made[name] = {**below, **{key: count for key, count in value.items() if count or key not in below}}
        elif value or made.get(name) is None:
            made[name] = value
    return made


def _usage(input_tokens: Any, output_tokens: Any, total_tokens: Any, cached: Any, written: Any, reasoning: Any) -> Usage:
    """Return the usage that these counts make; anything that is not a count (null, text, absurd) is treated as not reported.

    Args:
        input_tokens: What went in.
        output_tokens: What came out.
        total_tokens: Both, plus anything else the provider bills.
        cached: What was read from the cache; part of the input, unless it is larger than that.
        written: What was written to the cache; likewise.
        reasoning: How much of the output was reasoning; beside the output where it is larger than that and there is no total.
    """
    told_in, told_out = as_count(input_tokens), as_count(output_tokens)
    total = as_count(total_tokens) or 0
    if told_in is None and told_out is None and not total:
        return Usage()
    came_in, went_out = told_in or 0, told_out or 0
    read, wrote = (as_count(cached) or 0) if cached else 0, (as_count(written) or 0) if written else 0
    thought = (as_count(reasoning) or 0) if reasoning else 0
    if read + wrote > came_in and total != came_in + went_out:
        came_in += read + wrote  # a host that counts them beside, as Anthropic does
    if total > came_in + went_out:
        went_out = total - came_in
    if thought > went_out and not total:
        went_out += thought
    if read + wrote > came_in:
        read = min(read, came_in)
        wrote = min(wrote, came_in - read)
    return Usage(came_in, went_out, read, thought, True, wrote)


def plain_usage(input_tokens: Any, output_tokens: Any, cached: Any = None) -> Usage:
    """Return the usage of two counts, and of how much of the input was read from the cache."""
    return _usage(input_tokens, output_tokens, None, cached, None, None)


def openai_usage(usage: Mapping[str, Any]) -> Usage:
    """Return the usage of a reply in OpenAI's dialect; each host has its own word for the cache."""
    get = usage.get
    details = as_dict(get("prompt_tokens_details") or get("input_tokens_details"))
    output_details = as_dict(get("completion_tokens_details") or get("output_tokens_details"))
    # DeepSeek's word, Together's, and that of gateways in front of Anthropic.
    cached = (
        details.get("cached_tokens") or get("prompt_cache_hit_tokens") or get("cached_tokens") or get("cache_read_input_tokens")
    )
    written = details.get("cache_write_tokens") or get("cache_creation_input_tokens")
    return _usage(
        get("prompt_tokens", get("input_tokens")),
        get("completion_tokens", get("output_tokens")),
        get("total_tokens"),
        cached,
        written,
        output_details.get("reasoning_tokens") or get("reasoning_tokens"),
    )


def anthropic_usage(usage: Mapping[str, Any]) -> Usage:
    """Return the usage of a reply of Anthropic's, which counts what it reads from and writes to its cache beside the input."""
    read = as_int(usage.get("cache_read_input_tokens"))
    by_age = as_dict(usage.get("cache_creation"))
    wrote = as_int(usage.get("cache_creation_input_tokens")) or sum(as_int(count) for count in by_age.values())
    uncached = as_count(usage.get("input_tokens"))
    output = as_count(usage.get("output_tokens"))
    if uncached is None and output is None:
        return Usage()
    return Usage(
        input_tokens=(uncached or 0) + read + wrote,
        output_tokens=output or 0,
        cached_input_tokens=read,
        reasoning_tokens=as_int(as_dict(usage.get("output_tokens_details")).get("thinking_tokens")),
        known=True,
        cache_write_tokens=wrote,
    )


def gemini_usage(usage: Mapping[str, Any]) -> Usage:
    """Return the usage of a reply of Google's, which counts thoughts beside the candidates and bills both."""
    prompt = as_count(usage.get("promptTokenCount"))
    candidates = as_count(usage.get("candidatesTokenCount"))
    thoughts = as_int(usage.get("thoughtsTokenCount"))
    known = prompt is not None or candidates is not None
    return _usage(
        (prompt or 0) + as_int(usage.get("toolUsePromptTokenCount")) if known else None,
        (candidates or 0) + thoughts if known else None,
        usage.get("totalTokenCount"),
        usage.get("cachedContentTokenCount"),
        None,
        thoughts,
    )


def bedrock_usage(usage: Mapping[str, Any]) -> Usage:
    """Return the usage of a reply of Converse's, which counts the cache beside the input; its total says whether it does."""
    read = as_int(usage.get("cacheReadInputTokens")) or as_int(usage.get("cacheReadInputTokenCount"))
    wrote = as_int(usage.get("cacheWriteInputTokens")) or as_int(usage.get("cacheWriteInputTokenCount"))
    given, made = as_count(usage.get("inputTokens")), as_count(usage.get("outputTokens"))
    if given is None and made is None:
        return Usage()
    total = as_count(usage.get("totalTokens"))
    if total is None or total >= (given or 0) + (made or 0) + read + wrote:
        given = (given or 0) + read + wrote
    return _usage(given, made, total, read, wrote, None)
