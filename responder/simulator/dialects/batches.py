"""Whose batch API does a request belong to? That of OpenAI or of a host of its form, Anthropic's, or Gemini's."""

from __future__ import annotations

from responder.simulator.batches import Batches
from responder.simulator.reply import Reply

from .anthropic_batches import AnthropicBatches
from .base import Call, Dialect
from .gemini_batches import GeminiBatches
from .openai_batches import MistralBatches, OpenAIBatches, TogetherBatches, XAIBatches


def answer(call: Call, dialect: Dialect, batches: Batches, host: str) -> Reply:
    """Answer a request to a batch API.

    Args:
        call: The request.
        dialect: Who is speaking.
        batches: What there is.
        host: The host's name, as the log has it.
    """
    with batches.lock:
        if dialect.name == "anthropic":
            return AnthropicBatches(call, dialect, batches).answer()
        if dialect.name == "gemini":
            return GeminiBatches(call, dialect, batches).answer()
        form = {"together": TogetherBatches, "mistral": MistralBatches, "xai": XAIBatches}.get(host, OpenAIBatches)
        return form(call, dialect, batches, host).answer()
