"""How many texts fit into a request for embeddings, which hosts have none, and which give base64? Facts, each with its source.

Where the table is silent, the default is the harmless one: few texts, and numbers as JSON. A request that is too large all the
same is halved (`many/embedding.py`), so a number here costs at most a refusal.
"""

from __future__ import annotations

from collections.abc import Mapping

from responder.call.dialect import EmbeddingLimits

# platform.openai.com/docs/api-reference/embeddings (read 2026-11): 2,048 inputs, 8,192 tokens each, 300,000 tokens in all.
OPENAI = EmbeddingLimits(2048, 300_000, 8192)

OF_HOST: Mapping[str, EmbeddingLimits] = {
    "openai": OPENAI,
    "azure": OPENAI,  # learn.microsoft.com/azure/ai-foundry/openai/reference: the same array of 2,048
    "simulated": OPENAI,
    "mistral": EmbeddingLimits(512, 16_384, 8192),  # docs.mistral.ai/capabilities/embeddings; "Too many tokens in batch"
    "voyage": EmbeddingLimits(128, 120_000, 32_000),  # the constant of Voyage's own SDK, voyageai 0.5.0
    "gemini": EmbeddingLimits(100, None, 2048),  # ai.google.dev/api/embeddings
    "cohere": EmbeddingLimits(96),  # the constant of Cohere's own SDK, cohere 7.3.1 (config.py)
    # In parallel, large requests were slower and sometimes wrong: github.com/ollama/ollama/issues/6262
    "ollama": EmbeddingLimits(64),
}
"""By the provider's name."""

UNKNOWN_HOST = EmbeddingLimits(32)
"""Hosts take 32 (text-embeddings-inference) to 2,048."""

# cloud.google.com/vertex-ai/generative-ai/docs/model-reference/text-embeddings-api (read 2026-11)
VERTEX_PREDICT = EmbeddingLimits(250, 20_000, 2048)
VERTEX_SINGLE = EmbeddingLimits(1, None, 2048)

# docs.aws.amazon.com/bedrock/latest/userguide: Titan and Nova take one text, Cohere's models what Cohere takes.
BEDROCK_SINGLE = EmbeddingLimits(1)
BEDROCK_COHERE = EmbeddingLimits(96)

WITHOUT = frozenset({"groq", "deepseek", "cerebras", "vertex-partner"})
"""Hosts of OpenAI's dialect without embeddings, by their API references (read 2026-11)."""

WITH_BASE64 = frozenset({"openai", "azure", "simulated", "voyage", "vllm", "llamacpp"})
"""Hosts that take `encoding_format`: base64 is a third of the bytes, and quicker to read. What came is looked at in any case."""
