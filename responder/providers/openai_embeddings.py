"""OpenAI's embeddings, as its own API and the hosts of its dialect have them.

https://platform.openai.com/docs/api-reference/embeddings (read 2026-11)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from responder.call.dialect import EmbeddingLimits, Purpose
from responder.providers.embedding_limits import OF_HOST, UNKNOWN_HOST, WITH_BASE64, WITHOUT
from responder.providers.urls import under
from responder.responder import Responder
from responder.values.answer import Usage
from responder.values.reading import as_count, as_dict, as_index, as_list
from responder.values.vectors import Vectors, vectors_of


class OpenAIEmbeddings(Responder):
    """Embeddings in OpenAI's dialect."""

    dimensions_field: ClassVar[str] = "dimensions"
    """What the length of the vectors is called."""

    def embedding_limits(self) -> EmbeddingLimits:
        return OF_HOST.get(self.provider, UNKNOWN_HOST)

    def embed_url(self) -> str:
        return super().embed_url() if self.provider in WITHOUT else under(self.base_url, "/embeddings")

    def embed_payload(self, texts: Sequence[str], dimensions: int | None, purpose: Purpose | None) -> dict[str, Any]:  # noqa: ARG002 - for others
        payload: dict[str, Any] = {"model": self.model, "input": list(texts)}
        if self.provider in WITH_BASE64:
            payload["encoding_format"] = "base64"
        if dimensions is not None:
            payload[self.dimensions_field] = dimensions
        return payload

    def parse_embeddings(self, reply: Mapping[str, Any], headers: Mapping[str, str]) -> Vectors:  # noqa: ARG002 - for others
        rows = [as_dict(row) for row in as_list(reply.get("data"))]
        places = [as_index(row.get("index")) for row in rows]
        if all(place is not None for place in places) and len(set(places)) == len(places):
            rows = [row for _, row in sorted(zip(places, rows, strict=True), key=lambda pair: pair[0] or 0)]
        return vectors_of([row.get("embedding") for row in rows], input_usage(as_dict(reply.get("usage"))))


def input_usage(usage: Mapping[str, Any]) -> Usage:
    """Return the usage of vectors, which have no output. A total of 0 was not told: Voyage gives it, and bills all the same."""
    told = as_count(usage.get("prompt_tokens")) or as_count(usage.get("input_tokens")) or as_count(usage.get("total_tokens"))
    return counted(told)


def counted(tokens: Any) -> Usage:
    """Return the usage of so many input tokens; one that is not known where that is no count, or 0."""
    found = as_count(tokens)
    return Usage(found, 0, known=True) if found else Usage()
