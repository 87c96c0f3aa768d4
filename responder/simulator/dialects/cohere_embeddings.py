"""How do Cohere's models take texts for embeddings, and answer? The same at its own API and on Bedrock.

Source: https://docs.cohere.com/reference/embed (read 2026-11).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from responder.simulator.answers import Question
from responder.simulator.reply import refuse

from .base import new_id, unknown_field, whole_number
from .embeddings import question_of, vectors

_FIELDS = frozenset(
    {
        "model", "texts", "images", "inputs", "input_type", "max_tokens", "output_dimension", "embedding_types", "truncate",
        "priority",
    }
)  # fmt: skip
_INPUT_TYPES = ("search_document", "search_query", "classification", "clustering", "image")
_MOST_TEXTS = 96


def question_of_cohere(model: str, body: Mapping[str, Any], **extra: Any) -> Question:
    """Return what a body asks for; refuse what Cohere refuses."""
    if name := unknown_field(body, _FIELDS):
        raise refuse(400, f"invalid request: unknown field '{name}'")
    texts = body.get("texts")
    if not isinstance(texts, list) or not texts:
        raise refuse(400, "invalid request: at least one text is required")
    if len(texts) > _MOST_TEXTS:
        raise refuse(400, f"invalid request: total number of texts must be at most {_MOST_TEXTS} - received {len(texts)}")
    if not all(isinstance(text, str) and text for text in texts):
        raise refuse(400, "invalid request: all texts must be non-empty strings")
    if body.get("input_type") not in _INPUT_TYPES:
        raise refuse(400, f"invalid request: input_type is required, and one of {', '.join(_INPUT_TYPES)}")
    if set(body.get("embedding_types") or ("float",)) != {"float"}:
        raise refuse(400, "invalid request: the simulator has embeddings of the type float only")
    return question_of(model, texts, whole_number(body, "output_dimension"), **extra)


def vectors_by_type(question: Question) -> dict[str, Any]:
    """Return what both answers have in common."""
    return {
        "id": new_id(""),
        "embeddings": {"float": [vector.tolist() for vector in vectors(question)]},
        "texts": question.extra["texts"],
        "response_type": "embeddings_by_type",
    }
