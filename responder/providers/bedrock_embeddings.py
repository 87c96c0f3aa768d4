"""Embeddings on Amazon Bedrock: one URL, and a body of its own for each family of models.

https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters.html (read 2026-11)
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

from responder.call.dialect import EmbeddingLimits, Purpose
from responder.providers.cohere_embeddings import cohere_payload, cohere_rows
from responder.providers.embedding_limits import BEDROCK_COHERE, BEDROCK_SINGLE
from responder.providers.openai_embeddings import counted
from responder.responder import Responder
from responder.values.errors import ConfigurationError
from responder.values.reading import as_dict, as_list
from responder.values.vectors import Vectors, vectors_of

_NOVA_PURPOSES: Mapping[Purpose | None, str] = {
    None: "GENERIC_INDEX",
    "document": "GENERIC_INDEX",
    "query": "GENERIC_RETRIEVAL",
}


class BedrockEmbeddings(Responder):
    """Embeddings of the models of Titan, Nova and Cohere."""

    @abstractmethod
    def model_url(self, method: str) -> str:
        """Return the URL of a method of the model."""

    def embedding_limits(self) -> EmbeddingLimits:
        return BEDROCK_COHERE if "cohere.embed" in self.model else BEDROCK_SINGLE

    def embed_url(self) -> str:
        return self.model_url("invoke")

    def embed_payload(self, texts: Sequence[str], dimensions: int | None, purpose: Purpose | None) -> dict[str, Any]:
        if "cohere.embed" in self.model:
            return {**cohere_payload(texts, dimensions, purpose), "embedding_types": ["float"]}
        if "titan-embed" in self.model:
            if "titan-embed-text-v1" in self.model and dimensions is not None:
                raise ConfigurationError("Titan's first model has vectors of one length: leave dimensions out", fatal=True)
            return {"inputText": texts[0], **({"dimensions": dimensions} if dimensions is not None else {})}
        if "nova" in self.model:
            wanted: dict[str, Any] = {
                "embeddingPurpose": _NOVA_PURPOSES[purpose],
                "text": {"value": texts[0], "truncationMode": "NONE"},
            }
            if dimensions is not None:
                wanted["embeddingDimension"] = dimensions
            return {"taskType": "SINGLE_EMBEDDING", "singleEmbeddingParams": wanted}
        raise ConfigurationError(
            f"{self.model} is not a known embedding model of Bedrock: use one of Titan, Nova or Cohere", fatal=True
        )

    def parse_embeddings(self, reply: Mapping[str, Any], headers: Mapping[str, str]) -> Vectors:
        told = headers.get("x-amzn-bedrock-input-token-count", "")
        usage = counted(int(told) if told.isdecimal() else reply.get("inputTextTokenCount"))
        if "embedding" in reply:
            return vectors_of([reply["embedding"]], usage)
        found = reply.get("embeddings")
        if isinstance(found, list) and found and isinstance(found[0], Mapping):
            return vectors_of([as_dict(row).get("embedding") for row in as_list(found)], usage)
        return vectors_of(cohere_rows(reply), usage)
