"""Parallel LLM calls for blocking Python.

One Responder class for each provider, and a thread-pool map that asks many prompts at once:

    from responder import OpenAIResponder

    gpt = OpenAIResponder("gpt-4o-mini")                    # OPENAI_API_KEY
    batch = gpt.map(["What is baseball?", "What is cricket?"], max_workers=32)
    for result in batch:
        print(result.text if result.ok else result.error)
"""

import logging
from typing import TYPE_CHECKING, Any

from responder._version import __version__
from responder.call.dialect import ChunkReader
from responder.call.keeping import AnswerStore, StoredAnswer
from responder.call.retry import RetryPolicy
from responder.call.stream import Stream
from responder.many.last import last_batch
from responder.many.mapping import parallel_imap, parallel_imap_unordered, parallel_map
from responder.many.merging import MergedStreams, StreamEvent, merge_streams
from responder.many.parallel import Run
from responder.many.progress import Progress
from responder.many.runs import AnswerRun, StreamRun
from responder.pace.limits import Limits
from responder.pace.prices import Price
from responder.providers import for_model, register
from responder.providers.anthropic import AnthropicResponder
from responder.providers.azure import AzureOpenAIResponder
from responder.providers.bedrock import BedrockResponder
from responder.providers.claude import AnthropicBedrockResponder, AnthropicFoundryResponder, AnthropicVertexResponder
from responder.providers.cohere import CohereResponder
from responder.providers.compatible import (
    CerebrasResponder,
    CompatibleResponder,
    DeepSeekResponder,
    FireworksResponder,
    GroqResponder,
    HuggingFaceResponder,
    LlamaCppResponder,
    LMStudioResponder,
    MistralResponder,
    OpenRouterResponder,
    TogetherResponder,
    VLLMResponder,
    XAIResponder,
    ZAIResponder,
)
from responder.providers.gemini import GeminiResponder
from responder.providers.ollama import OllamaResponder
from responder.providers.openai import OpenAIResponder
from responder.providers.simulated import SimulatedResponder
from responder.providers.vertex import VertexAIResponder, VertexPartnerResponder
from responder.providers.voyage import VoyageResponder
from responder.responder import Responder
from responder.values.answer import Answer, Citation, FinishReason, TokenLogprob, Usage
from responder.values.cancellation import CancelToken
from responder.values.deadline import Timeout
from responder.values.errors import (
    APIConnectionError,
    APIError,
    APIStatusError,
    APITimeoutError,
    AuthenticationError,
    BadRequestError,
    BatchError,
    BlockedError,
    BudgetExceededError,
    CancelledError,
    CircuitOpenError,
    ConfigurationError,
    DeadlineExceededError,
    EmptyAnswerError,
    InternalServerError,
    InvalidAnswerError,
    InvalidResponseError,
    NotFoundError,
    PermissionDeniedError,
    QuotaExceededError,
    RateLimitError,
    ResponderError,
    StreamInterruptedError,
    TurnsExceededError,
    WorkerLostError,
)
from responder.values.messages import (
    Audio,
    File,
    Image,
    Message,
    Opaque,
    Raw,
    Text,
    ToolCall,
    ToolResult,
    Video,
    assistant,
    system,
    user,
)
from responder.values.options import AnswerOptions, Options, Tool
from responder.values.results import Answered, Batch, Failed, ItemBatch, ItemResult, Result
from responder.values.sizes import Sizes, default_sizes, set_default_sizes
from responder.values.summary import Summary

if TYPE_CHECKING:
    from responder.many.job_vectors import VectorJob
    from responder.many.jobs import BatchJob
    from responder.pace.file_store import FileLimitStore
    from responder.pace.store import LimitAnswer, LimitStep, LimitStore
    from responder.values.embeddings import EmbeddingResult, Embeddings

__all__ = [
    "APIConnectionError",
    "APIError",
    "APIStatusError",
    "APITimeoutError",
    "Answer",
    "AnswerOptions",
    "AnswerRun",
    "AnswerStore",
    "Answered",
    "AnthropicBedrockResponder",
    "AnthropicFoundryResponder",
    "AnthropicResponder",
    "AnthropicVertexResponder",
    "Audio",
    "AuthenticationError",
    "AzureOpenAIResponder",
    "BadRequestError",
    "Batch",
    "BatchError",
    "BatchJob",
    "BedrockResponder",
    "BlockedError",
    "BudgetExceededError",
    "CancelToken",
    "CancelledError",
    "CerebrasResponder",
    "ChunkReader",
    "CircuitOpenError",
    "Citation",
    "CohereResponder",
    "CompatibleResponder",
    "ConfigurationError",
    "DeadlineExceededError",
    "DeepSeekResponder",
    "EmbeddingResult",
    "Embeddings",
    "EmptyAnswerError",
    "Failed",
    "File",
    "FileLimitStore",
    "FinishReason",
    "FireworksResponder",
    "GeminiResponder",
    "GroqResponder",
    "HuggingFaceResponder",
    "Image",
    "InternalServerError",
    "InvalidAnswerError",
    "InvalidResponseError",
    "ItemBatch",
    "ItemResult",
    "LMStudioResponder",
    "LimitAnswer",
    "LimitStep",
    "LimitStore",
    "Limits",
    "LlamaCppResponder",
    "MergedStreams",
    "Message",
    "MistralResponder",
    "NotFoundError",
    "OllamaResponder",
    "Opaque",
    "OpenAIResponder",
    "OpenRouterResponder",
    "Options",
    "PermissionDeniedError",
    "Price",
    "Progress",
    "QuotaExceededError",
    "RateLimitError",
    "Raw",
    "Responder",
    "ResponderError",
    "Result",
    "RetryPolicy",
    "Run",
    "SimulatedResponder",
    "Sizes",
    "StoredAnswer",
    "Stream",
    "StreamEvent",
    "StreamInterruptedError",
    "StreamRun",
    "Summary",
    "Text",
    "Timeout",
    "TogetherResponder",
    "TokenLogprob",
    "Tool",
    "ToolCall",
    "ToolResult",
    "TurnsExceededError",
    "Usage",
    "VLLMResponder",
    "VectorJob",
    "VertexAIResponder",
    "VertexPartnerResponder",
    "Video",
    "VoyageResponder",
    "WorkerLostError",
    "XAIResponder",
    "ZAIResponder",
    "__version__",
    "assistant",
    "default_sizes",
    "for_model",
    "last_batch",
    "merge_streams",
    "parallel_imap",
    "parallel_imap_unordered",
    "parallel_map",
    "register",
    "set_default_sizes",
    "system",
    "user",
]


# A library's logs are shown only if the program asks for them.
logging.getLogger("responder").addHandler(logging.NullHandler())


def __getattr__(name: str) -> Any:
    # Imported on first use: most programs are one process, and need no store for their limits.
    if name == "FileLimitStore":
        from responder.pace.file_store import FileLimitStore

        return FileLimitStore
    if name in ("LimitAnswer", "LimitStep", "LimitStore"):
        from responder.pace import store

        return getattr(store, name)
    if name == "BatchJob":
        from responder.many import jobs

        return jobs.BatchJob
    if name == "VectorJob":
        from responder.many import job_vectors

        return job_vectors.VectorJob
    if name in ("Embeddings", "EmbeddingResult"):
        from responder.values import embeddings

        return getattr(embeddings, name)
    if name.endswith("Responder"):  # of a host that is a line in the table, and nothing else
        from responder.providers import PROVIDERS

        for kind in PROVIDERS.values():
            if kind.__name__ == name:
                return kind
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
