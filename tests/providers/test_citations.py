"""Where do an answer's citations stand in each dialect? As the providers' references show them."""

from __future__ import annotations

from typing import Any

import pytest
from providers.contract import answered, documented
from wire.player import Player

from responder import Citation

CASES: list[tuple[str, dict[str, Any], tuple[Citation, ...]]] = [
    (
        "openai",
        documented(
            "openai",
            message={
                "content": "Sunny.",
                "annotations": [
                    {"type": "url_citation", "url_citation": {"url": "https://a", "title": "A", "start_index": 0, "end_index": 5}}
                ],
            },
        ),
        (Citation("https://a", "A", "", 0, 5),),
    ),
    (
        "perplexity",
        {**documented("openai"), "search_results": [{"title": "A", "url": "https://a"}], "citations": ["https://a"]},
        (Citation("https://a", "A"),),
    ),
    (
        "perplexity",
        {**documented("openai"), "citations": ["https://a", None, "https://b"]},
        (Citation("https://a"), Citation("https://b")),
    ),
    (
        "anthropic",
        documented(
            "anthropic",
            content=[
                {"type": "text", "text": "It is "},
                {
                    "type": "text",
                    "text": "sunny.",
                    "citations": [
                        {"type": "web_search_result_location", "url": "https://a", "title": "A", "cited_text": "sun"},
                        {"type": "char_location", "document_title": "Doc", "cited_text": "s", "start_char_index": 3},
                    ],
                },
            ],
        ),
        (Citation("https://a", "A", "sun", 6, 12), Citation("", "Doc", "s", 6, 12)),
    ),
    (
        "gemini",
        documented(
            "gemini",
            groundingMetadata={
                "groundingChunks": [{"web": {"uri": "https://a", "title": "A"}}, {"web": {"uri": "https://b"}}],
                "groundingSupports": [{"segment": {"endIndex": 5, "text": "A bat"}, "groundingChunkIndices": [0]}],
            },
        ),
        (Citation("https://a", "A", "A bat"), Citation("https://b")),
    ),
    (
        "gemini",
        documented("gemini", citationMetadata={"citationSources": [{"uri": "https://a", "startIndex": 1}]}),
        (Citation("https://a"),),
    ),
    *[
        (name, documented(name, **{field: value}), ())
        for name, field in (("gemini", "groundingMetadata"), ("gemini", "citationMetadata"))
        for value in (None, [], {}, {"groundingChunks": [None, 5]}, {"groundingSupports": 3})
        if value != {"groundingChunks": [None, 5]}
    ],
]


@pytest.mark.parametrize(("provider", "reply", "expected"), CASES)
def test_citations_are_where_the_provider_puts_them(
    player: Player, provider: str, reply: dict[str, Any], expected: tuple[Citation, ...]
) -> None:
    """And nonsense in their place is none."""
    assert answered(player, provider, reply).citations == expected
