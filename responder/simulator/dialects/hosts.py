"""How do the hosts that speak OpenAI's dialect differ from OpenAI? A table: one line a host, one column a quirk.

Sources: each host's public API reference, and recordings in the test suites of pydantic-ai and chatlas (read 2026-08).
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Host:
    """What is special about a host.

    Attributes:
        name: The host's name.
        path: What stands between the host name and `/chat/completions` in its own URLs.
        thoughts: Where the model's thoughts go: "hidden" (counted only), "reasoning_content", "reasoning",
            "reasoning_details" (with `reasoning` beside it), "parts" (a list as content), or "tags" (`<think>` in the
            text).
        usage: When a stream states its usage: "asked" (an extra chunk, only with include_usage), "last" (always, on
            the last choice chunk), "groq" (`x_groq.usage` as well), "extra" (always, in an extra chunk).
        done: Whether a stream ends with `data: [DONE]`.
        finish_only_at_end: Whether the `finish_reason` key is absent until the last choice chunk.
        finish: Word for a plain end.
        opening: Bytes that a stream begins with.
        blank_lines: Whether blank lines come before a plain JSON body (DeepSeek, while a request is queued).
        errors: Shape of the error body: "openai", "mistral", "xai", "vllm", "openrouter", "huggingface", "llamacpp", "voyage",
            "google".
        bad_key_status: Status for a wrong key.
        limits: Form of the rate limit headers: "openai", "mistral", "cerebras", "openrouter", or "none".
        refused: Fields of the request that the host refuses.
        excludes_thoughts: Whether `completion_tokens` leaves the thoughts out.
        cost: Whether the usage states a cost.
        error_type: Content type of an error body.
        schemas: Whether it takes a JSON Schema; else it knows `json_object` alone.
        strict_schemas: Whether it refuses what OpenAI's strict mode refuses.
        wants_word_json: Whether `json_object` needs the word "json" in the prompt.
    """

    name: str
    path: str = "/v1"
    thoughts: str = "hidden"
    usage: str = "asked"
    done: bool = True
    finish_only_at_end: bool = False
    finish: str = "stop"
    opening: bytes = b""
    blank_lines: bool = False
    errors: str = "openai"
    bad_key_status: int = 401
    limits: str = "openai"
    refused: frozenset[str] = frozenset()
    excludes_thoughts: bool = False
    cost: bool = False
    error_type: str = "application/json"
    schemas: bool = True
    strict_schemas: bool = False
    wants_word_json: bool = False


_ALL = (
    Host("groq", "/openai/v1", thoughts="reasoning", usage="groq"),
    Host(
        "mistral",
        thoughts="parts",
        usage="last",
        errors="mistral",
        limits="mistral",
        refused=frozenset({"stream_options", "seed"}),
    ),
    Host(
        "deepseek",
        "",
        thoughts="reasoning_content",
        usage="last",
        blank_lines=True,
        opening=b": keep-alive\n\n",
        limits="none",
        error_type="application/octet-stream",
        schemas=False,
        wants_word_json=True,
    ),
    Host(
        "openrouter",
        "/api/v1",
        thoughts="reasoning_details",
        usage="last",
        opening=b": OPENROUTER PROCESSING\n\n" * 2,
        errors="openrouter",
        limits="openrouter",
        cost=True,
    ),
    Host("together", thoughts="tags", usage="last", finish="eos", limits="none"),
    Host("fireworks", "/inference/v1", thoughts="reasoning_content", usage="last", limits="none"),
    Host(
        "xai",
        thoughts="reasoning_content",
        usage="extra",
        errors="xai",
        bad_key_status=400,
        limits="none",
        excludes_thoughts=True,
    ),
    Host(
        "cerebras",
        thoughts="reasoning",
        usage="last",
        done=False,
        limits="cerebras",
        refused=frozenset({"frequency_penalty", "logit_bias", "presence_penalty", "service_tier"}),
    ),
    Host(
        "huggingface",
        thoughts="tags",
        usage="last",
        done=False,
        finish_only_at_end=True,
        errors="huggingface",
        limits="none",
    ),
    Host("zai", "/api/paas/v4", thoughts="reasoning_content", usage="last", limits="none", schemas=False),
    Host("ollama", thoughts="reasoning", limits="none"),
    Host("vllm", thoughts="reasoning_content", errors="vllm", limits="none"),
    Host("lmstudio", thoughts="reasoning_content", limits="none"),
    Host("llamacpp", thoughts="reasoning_content", usage="extra", errors="llamacpp", limits="none"),
    Host("voyage", errors="voyage", limits="none"),
    Host("vertex-partner", usage="last", errors="google", limits="none"),
    Host("perplexity", "", thoughts="tags", usage="last", limits="none"),
)
HOSTS: dict[str, Host] = {host.name: host for host in _ALL}
