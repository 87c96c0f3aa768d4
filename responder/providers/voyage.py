"""Voyage: embeddings, and nothing else.

https://docs.voyageai.com/reference/embeddings-api (read 2026-11)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NoReturn

from responder.call.dialect import ChunkReader, Purpose
from responder.providers.openai_embeddings import OpenAIEmbeddings
from responder.values.answer import Answer
from responder.values.errors import ConfigurationError
from responder.values.messages import Message
from responder.values.options import Options


class VoyageResponder(OpenAIEmbeddings):
    """Voyage, which has models for embeddings only: call `embed`.

    Keys come from VOYAGE_API_KEY.
    """

    provider = "voyage"
    base_url = "https://api.voyageai.com/v1"
    key_variables: ClassVar[tuple[str, ...]] = ("VOYAGE_API_KEY",)
    dimensions_field = "output_dimension"

    def headers(self, secret: str) -> Mapping[str, str]:
        return {"Authorization": f"Bearer {secret}"}

    def embed_payload(self, texts: Sequence[str], dimensions: int | None, purpose: Purpose | None) -> dict[str, Any]:
        payload = super().embed_payload(texts, dimensions, purpose)
        if purpose is not None:
            payload["input_type"] = purpose
        return {**payload, "truncation": False}  # else the end of a long text is left out without a word

    def url(self) -> str:
        return self.embed_url()

    def payload(self, messages: tuple[Message, ...], options: Options) -> dict[str, Any]:  # noqa: ARG002 - it has no answers
        self._refuse()

    def parse(self, reply: Mapping[str, Any]) -> Answer:  # noqa: ARG002 - it has no answers
        self._refuse()

    def reader(self) -> ChunkReader:
        self._refuse()

    def _refuse(self) -> NoReturn:
        raise ConfigurationError("Voyage has embeddings only: call embed(texts), and another provider for answers", fatal=True)
