"""Google's embeddings: many texts a request at the Developer API, by model one or many at Vertex AI.

https://ai.google.dev/api/embeddings
https://cloud.google.com/vertex-ai/generative-ai/docs/model-reference/text-embeddings-api (both read 2026-11)
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

from responder.call.dialect import EmbeddingLimits, Purpose
from responder.providers.embedding_limits import OF_HOST, VERTEX_PREDICT, VERTEX_SINGLE
from responder.providers.openai_embeddings import counted
from responder.responder import Responder
from responder.values.reading import as_dict, as_int, as_list
from responder.values.vectors import Vectors, vectors_of

_TASKS: Mapping[Purpose, str] = {"query": "RETRIEVAL_QUERY", "document": "RETRIEVAL_DOCUMENT"}


class GeminiEmbeddings(Responder):
    """Embeddings of the Developer API."""

    @abstractmethod
    def model_url(self, method: str = "") -> str:
        """Return the URL of a method of the model."""

    def embedding_limits(self) -> EmbeddingLimits:
        return OF_HOST["gemini"]

    def embed_url(self) -> str:
        return self.model_url(":batchEmbedContents")

    def embed_payload(self, texts: Sequence[str], dimensions: int | None, purpose: Purpose | None) -> dict[str, Any]:
        model = self.model if "/" in self.model else f"models/{self.model}"
        settings = _settings(dimensions, purpose)
        return {"requests": [{"model": model, "content": {"parts": [{"text": text}]}, **settings} for text in texts]}

    def parse_embeddings(self, reply: Mapping[str, Any], headers: Mapping[str, str]) -> Vectors:  # noqa: ARG002 - for others
        rows = [as_dict(row).get("values") for row in as_list(reply.get("embeddings"))]
        return vectors_of(rows, counted(as_dict(reply.get("usageMetadata")).get("promptTokenCount")))


class VertexEmbeddings(GeminiEmbeddings):
    """Embeddings of Vertex AI: `:predict`, and `:embedContent` for the models that came after gemini-embedding-001."""

    @property
    def _takes_contents(self) -> bool:
        name = self.model.rpartition("/")[2]
        return name.startswith("gemini-embedding-") and not name.startswith("gemini-embedding-001")

    def embedding_limits(self) -> EmbeddingLimits:
        return VERTEX_SINGLE if "gemini-embedding-" in self.model else VERTEX_PREDICT

    def embed_url(self) -> str:
        return self.model_url(":embedContent" if self._takes_contents else ":predict")

    def embed_payload(self, texts: Sequence[str], dimensions: int | None, purpose: Purpose | None) -> dict[str, Any]:
        if self._takes_contents:
            settings = _settings(dimensions, purpose)
            content = {"content": {"parts": [{"text": text} for text in texts]}}
            return {**content, "embedContentConfig": settings} if settings else content
        task = {"task_type": _TASKS[purpose]} if purpose is not None else {}
        # Left to itself, it would cut long texts off without a word.
        parameters: dict[str, Any] = {"autoTruncate": False}
        if dimensions is not None:
            parameters["outputDimensionality"] = dimensions
        return {"instances": [{"content": text, **task} for text in texts], "parameters": parameters}

    def parse_embeddings(self, reply: Mapping[str, Any], headers: Mapping[str, str]) -> Vectors:  # noqa: ARG002 - for others
        if self._takes_contents:
            tokens = as_dict(reply.get("usageMetadata")).get("promptTokenCount")
            return vectors_of([as_dict(reply.get("embedding")).get("values")], counted(tokens))
        found = [as_dict(as_dict(row).get("embeddings")) for row in as_list(reply.get("predictions"))]
        tokens = sum(as_int(as_dict(row.get("statistics")).get("token_count")) for row in found)
        return vectors_of([row.get("values") for row in found], counted(tokens))


def _settings(dimensions: int | None, purpose: Purpose | None) -> dict[str, Any]:
    settings: dict[str, Any] = {}
    if purpose is not None:
        settings["taskType"] = _TASKS[purpose]
    if dimensions is not None:
        settings["outputDimensionality"] = dimensions
    return settings
