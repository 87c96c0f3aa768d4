"""Cohere's embeddings, at its own API; its models on Bedrock take the same words.

https://docs.cohere.com/reference/embed (read 2026-11)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from responder.call.dialect import EmbeddingLimits, Purpose
from responder.providers.embedding_limits import OF_HOST
from responder.providers.openai_embeddings import counted
from responder.providers.urls import under
from responder.responder import Responder
from responder.values.reading import as_dict, as_list
from responder.values.vectors import Vectors, vectors_of


class CohereEmbeddings(Responder):
    """Embeddings of Cohere's API, version 2."""

    def embedding_limits(self) -> EmbeddingLimits:
        return OF_HOST["cohere"]

    def embed_url(self) -> str:
        return under(self.base_url, "/embed", unless=("/v2",), prefix="/v2")

    def embed_payload(self, texts: Sequence[str], dimensions: int | None, purpose: Purpose | None) -> dict[str, Any]:
        return {"model": self.model, **cohere_payload(texts, dimensions, purpose), "embedding_types": ["float"]}

    def parse_embeddings(self, reply: Mapping[str, Any], headers: Mapping[str, str]) -> Vectors:
        billed = as_dict(as_dict(reply.get("meta")).get("billed_units")).get("input_tokens")
        return vectors_of(cohere_rows(reply), counted(billed if billed is not None else _number(headers.get("num_tokens"))))


def cohere_payload(texts: Sequence[str], dimensions: int | None, purpose: Purpose | None) -> dict[str, Any]:
    """Return what Cohere's models want beside their name. `input_type` must be there: documents are what most texts are."""
    payload: dict[str, Any] = {
        "texts": list(texts),
        "input_type": "search_query" if purpose == "query" else "search_document",
        "truncate": "NONE",  # else the end of a long text is left out without a word
    }
    return payload if dimensions is None else {**payload, "output_dimension": dimensions}


def cohere_rows(reply: Mapping[str, Any]) -> list[Any]:
    """Return the vectors of a reply, by type or (older models) bare."""
    found = reply.get("embeddings")
    return as_list(as_dict(found).get("float") if isinstance(found, Mapping) else found)


def _number(text: str | None) -> int | None:
    return int(text) if text is not None and text.isdecimal() else None
