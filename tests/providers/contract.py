"""What every provider's responder is put through: how to make one of each, and what its provider documents.

The shapes are written from the providers' references, never taken from our `payload`.
"""

from __future__ import annotations

import base64
import json
import struct
import zlib
from collections.abc import Mapping
from typing import Any

from wire.player import Player

from responder import Answer, Responder, ResponderError, __all__
from responder.pace.registry import forget_limits
from responder.providers import PROVIDERS
from responder.providers.hosts import HOSTS

KEY = "not-a-real-key-0123456789"
# Those whose class is made from their line in the table: `test_hosts.py` has the contract of a line.
LINES = tuple(name for name in HOSTS if PROVIDERS[name].__name__ not in __all__)
# Voyage has no answers: `test_embeddings.py` has its contract.
NAMES = tuple(name for name in PROVIDERS if name not in (*LINES, "voyage"))
# Those that answer without a key, those whose key is a token of Google's, and those that can sign instead.
KEYLESS = ("ollama", "vllm", "lmstudio", "llamacpp", "compatible", "simulated")
OF_GOOGLE_CLOUD = ("vertex", "anthropic-vertex", "vertex-partner")
OF_AMAZON = ("bedrock", "anthropic-bedrock")
KEYED = tuple(name for name in NAMES if name not in (*KEYLESS, *OF_GOOGLE_CLOUD, *OF_AMAZON))

KEY_VARIABLES: Mapping[str, tuple[str, ...]] = {
    "openai": ("OPENAI_API_KEY",),
    "azure": ("AZURE_OPENAI_AD_TOKEN", "AZURE_OPENAI_API_KEY"),
    "gemini": ("GEMINI_API_KEY", "GOOGLE_API_KEY"),
    "anthropic": ("ANTHROPIC_API_KEY",),
    "ollama": ("OLLAMA_API_KEY",),
    "cohere": ("CO_API_KEY", "COHERE_API_KEY"),
    "bedrock": ("AWS_BEARER_TOKEN_BEDROCK",),
    "anthropic-bedrock": ("AWS_BEARER_TOKEN_BEDROCK",),
    "anthropic-foundry": ("ANTHROPIC_FOUNDRY_API_KEY",),
    **{name: line.keys for name, line in HOSTS.items() if line.keys},
}
"""The environment variables that each provider's own documents name; those of the hosts stand in their table alone."""

URL_VARIABLES: Mapping[str, str] = {
    "openai": "OPENAI_BASE_URL",
    "azure": "AZURE_OPENAI_ENDPOINT",
    "gemini": "GOOGLE_GEMINI_BASE_URL",
    "vertex": "GOOGLE_VERTEX_BASE_URL",
    "anthropic": "ANTHROPIC_BASE_URL",
    "ollama": "OLLAMA_BASE_URL",
    "vllm": "VLLM_BASE_URL",
    "cohere": "CO_API_URL",
    "bedrock": "AWS_ENDPOINT_URL_BEDROCK_RUNTIME",
    "anthropic-bedrock": "ANTHROPIC_BEDROCK_BASE_URL",
    "anthropic-vertex": "ANTHROPIC_VERTEX_BASE_URL",
    "anthropic-foundry": "ANTHROPIC_FOUNDRY_BASE_URL",
    "vertex-partner": "GOOGLE_VERTEX_BASE_URL",
}
OTHER_VARIABLES = (
    *(variable for line in HOSTS.values() for variable in line.variables),
    "OPENAI_API_VERSION",
    "GOOGLE_CLOUD_PROJECT",
    "GOOGLE_CLOUD_LOCATION",
    "GOOGLE_APPLICATION_CREDENTIALS",
    "ANTHROPIC_VERTEX_PROJECT_ID",
    "CLOUD_ML_REGION",
    "ANTHROPIC_FOUNDRY_RESOURCE",
    "AWS_REGION",
    "AWS_DEFAULT_REGION",
    "AWS_PROFILE",
)


def dialect(provider: str) -> str:
    """Return which of the five dialects a provider speaks."""
    if provider.startswith("anthropic"):
        return "anthropic"
    return {"gemini": "gemini", "vertex": "gemini", "bedrock": "bedrock", "cohere": "cohere"}.get(provider, "openai")


def make(provider: str, url: str, model: str = "m-1", **keywords: Any) -> Responder:
    """Return a responder that asks a server of ours once, with a key."""
    forget_limits()  # a refusal in one test must not slow down the next one
    given: dict[str, Any] = {"api_key": KEY, "max_retries": 0, "base_url": url}
    if provider in OF_GOOGLE_CLOUD:
        given["project"] = "p-1"
    if provider == "azure":
        given["api_version"] = "2024-10-21"
    return PROVIDERS[provider](model, **{**given, **keywords})


def documented(provider: str, **changes: Any) -> dict[str, Any]:
    """Return a plain reply as the provider's reference shows it; `changes` replace keys of the first choice.

    Its usage is 5 tokens in and 7 out.
    """
    if dialect(provider) == "gemini":
        candidate = {
            "content": {"role": "model", "parts": [{"text": "A bat-and-ball game."}]},
            "finishReason": "STOP",
            "index": 0,
            "safetyRatings": [{"category": "HARM_CATEGORY_HARASSMENT", "probability": "NEGLIGIBLE"}],
        }
        return {
            "candidates": [{**candidate, **changes}],
            "usageMetadata": {"promptTokenCount": 5, "candidatesTokenCount": 7, "totalTokenCount": 12},
            "modelVersion": "m-1-0001",
            "responseId": "abc",
        }
    if dialect(provider) == "anthropic":
        return {
            "id": "msg_1",
            "type": "message",
            "role": "assistant",
            "model": "m-1-0001",
            "content": [{"type": "text", "text": "A bat-and-ball game."}],
            "stop_reason": "end_turn",
            "stop_sequence": None,
            "usage": {"input_tokens": 5, "output_tokens": 7},
            **changes,
        }
    if dialect(provider) == "bedrock":
        return {
            "output": {"message": {"role": "assistant", "content": [{"text": "A bat-and-ball game."}]}},
            "stopReason": "end_turn",
            "usage": {"inputTokens": 5, "outputTokens": 7, "totalTokens": 12},
            "metrics": {"latencyMs": 3},
            **changes,
        }
    if dialect(provider) == "cohere":
        return {
            "id": "1",
            "message": {"role": "assistant", "content": [{"type": "text", "text": "A bat-and-ball game."}]},
            "finish_reason": "COMPLETE",
            "usage": {
                "billed_units": {"input_tokens": 1, "output_tokens": 7},
                "tokens": {"input_tokens": 5, "output_tokens": 7},
            },
            **changes,
        }
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": "A bat-and-ball game.", "refusal": None},
        "logprobs": None,
        "finish_reason": "stop",
    }
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1736680015,
        "model": "m-1-0001",
        "choices": [{**choice, **changes}],
        "usage": {"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12},
        "system_fingerprint": None,
    }


def documented_json(provider: str) -> dict[str, Any]:
    """Return the same reply with the text `{"name": "baseball"}`, for questions with a schema."""
    text = json.dumps({"name": "baseball"})
    return json.loads(json.dumps(documented(provider)).replace('"A bat-and-ball game."', json.dumps(text)))  # type: ignore[no-any-return]  # parsed JSON


def said(message: Mapping[str, Any], **changes: Any) -> dict[str, Any]:
    """Return a reply of OpenAI's dialect with this message."""
    return documented("openai", message={"role": "assistant", **message}, **changes)


def outcome(
    player: Player,
    provider: str,
    body: Any,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
    prompt: Any = "What is baseball?",
    **keywords: Any,
) -> Any:
    """Return the Answer that a responder makes of a reply, or the error that it raises instead.

    Args:
        player: The server.
        provider: Whose responder.
        body: Bytes, or anything JSON.
        status: HTTP status.
        headers: Of the reply; JSON if there are none.
        prompt: What is asked.
        **keywords: Of the responder.
    """
    player.play(status, {"content-type": "application/json"} if headers is None else headers, body)
    with make(provider, player.url + ("/v1" if provider == "ollama" else ""), **keywords) as responder:
        try:
            return responder.answer(prompt)
        except ResponderError as error:
            return error


def answered(player: Player, provider: str, body: Any, **keywords: Any) -> Answer:
    """Return the Answer that a responder makes of a reply; raise the error that comes instead."""
    found = outcome(player, provider, body, **keywords)
    if isinstance(found, Answer):
        return found
    raise found


def sse(*events: Any, done: bool = True) -> bytes:
    """Return events as a body of server-sent events, in the form of OpenAI's dialect."""
    lines = [f"data: {json.dumps(event)}\n\n" for event in events]
    return "".join([*lines, "data: [DONE]\n\n"] if done else lines).encode()


def streamed(player: Player, provider: str, body: bytes, **keywords: Any) -> tuple[list[str], Any]:
    """Return the pieces that a stream gives, and its Answer or the error that ends it."""
    player.play(200, stream_headers(provider), body)
    pieces: list[str] = []
    with make(provider, player.url + ("/v1" if provider == "ollama" else ""), **keywords) as responder:
        stream = responder.stream("What is baseball?")
        try:
            pieces.extend(stream)
        except ResponderError as error:
            return pieces, error
    return pieces, stream.answer


def stream_headers(provider: str) -> dict[str, str]:
    """Return the headers of a provider's streams."""
    kind = "application/vnd.amazon.eventstream" if provider in OF_AMAZON else "text/event-stream"
    return {"content-type": kind}


def frame(payload: Any, **headers: str) -> bytes:
    """Return a frame of Amazon's event streams, as its documentation describes it; `event_type=` is the header `:event-type`."""
    head = b""
    for name, value in headers.items():
        key = f":{name.replace('_', '-')}".encode()
        head += bytes([len(key)]) + key + b"\x07" + struct.pack(">H", len(value)) + value.encode()
    body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    start = struct.pack(">II", len(head) + len(body) + 16, len(head))
    start += struct.pack(">I", zlib.crc32(start))
    whole = start + head + body
    return whole + struct.pack(">I", zlib.crc32(whole))


def event_frame(name: str, payload: Any) -> bytes:
    """Return the frame of an event."""
    return frame(payload, event_type=name, content_type="application/json", message_type="event")


def chunks(provider: str, *pieces: str, word: Any = None, **more: Any) -> bytes:
    """Return a stream of some pieces of text that ends with a finish word, in the provider's dialect.

    Its usage is 5 tokens in and 7 out.
    """
    if dialect(provider) == "gemini":
        events: list[dict[str, Any]] = [
            {"candidates": [{"content": {"role": "model", "parts": [{"text": piece}]}, "index": 0}]} for piece in pieces
        ]
        last = {"candidates": [{"finishReason": word or "STOP", "index": 0, **more}]}
        return sse(*events, {**last, "usageMetadata": documented(provider)["usageMetadata"]}, done=False)
    if dialect(provider) == "anthropic":
        start = {"type": "message_start", "message": documented(provider, content=[], stop_reason=None)}
        block = {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}
        deltas = [{"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": piece}} for piece in pieces]
        end = {"type": "message_delta", "delta": {"stop_reason": word or "end_turn", **more}, "usage": {"output_tokens": 7}}
        body = [start, block, *deltas, {"type": "content_block_stop", "index": 0}, end, {"type": "message_stop"}]
        if provider in OF_AMAZON:
            return b"".join(
                event_frame("chunk", {"bytes": base64.b64encode(json.dumps(event).encode()).decode()}) for event in body
            )
        return "".join(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n" for event in body).encode()
    if dialect(provider) == "bedrock":
        told = [("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": piece}}) for piece in pieces]
        told += [
            ("messageStop", {"stopReason": word or "end_turn", **more}),
            ("metadata", {"usage": documented(provider)["usage"]}),
        ]
        return b"".join(event_frame(name, payload) for name, payload in told)
    if dialect(provider) == "cohere":
        told_in_events = [
            {"type": "content-delta", "index": 0, "delta": {"message": {"content": {"text": piece}}}} for piece in pieces
        ]
        closing = {"finish_reason": word or "COMPLETE", "usage": documented(provider)["usage"], **more}
        return sse(*told_in_events, {"type": "message-end", "delta": closing})
    events = [{"model": "m-1", "choices": [{"index": 0, "delta": {"content": piece}}]} for piece in pieces]
    last = {"choices": [{"index": 0, "delta": {}, "finish_reason": word or "stop", **more}]}
    return sse(*events, last, {"choices": [], "usage": documented(provider)["usage"]})
