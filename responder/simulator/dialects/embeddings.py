"""How does each dialect ask for embeddings, and how does it answer? A pair of functions for each: one reads, one writes.

Sources, read 2026-11: https://platform.openai.com/docs/api-reference/embeddings, docs.voyageai.com/reference/embeddings-api,
https://docs.mistral.ai/api, https://ai.google.dev/api/embeddings, Vertex's text-embeddings-api, and ollama's docs/api.md.
"""

from __future__ import annotations

import base64
import sys
from array import array
from collections.abc import Mapping, Sequence
from typing import Any

from responder.simulator.answers import Question, token_count
from responder.simulator.reply import Reply, encode, refuse, to_bytes
from responder.simulator.vectors import vector_of

from .base import Call, whole_number
from .hosts import Host

DIMENSIONS = 64
"""Of a vector, where the client does not say how long it wants it: short, so that a test reads it with the eye."""

_OPENAI_FIELDS = frozenset({"model", "input", "encoding_format", "dimensions", "user"})
_MOST_TEXTS = {"openai": 2048, "azure": 2048, "voyage": 1000}
_MOST_TOKENS = 300_000
_MOST_TOKENS_A_TEXT = 8192
_MOST_OF_GOOGLE = 100
_MOST_DIMENSIONS = 4096


def question_of(model: str, texts: Sequence[str], dimensions: int | None, **extra: Any) -> Question:
    """Return a request in no provider's format; its prompt is all texts, line by line."""
    if dimensions is not None and not 0 <= dimensions <= _MOST_DIMENSIONS:
        raise refuse(400, f"a vector has from 1 to {_MOST_DIMENSIONS} dimensions, not {dimensions}", param="dimensions")
    wanted = {"texts": list(texts), "dimensions": dimensions or DIMENSIONS, **extra}
    return Question(model=model, prompt="\n".join(texts), input_tokens=sum(map(token_count, texts)), extra=wanted)


def vectors(question: Question) -> list[array[float]]:
    """Return the vectors that a request asks for."""
    return [vector_of(text, question.extra["dimensions"]) for text in question.extra["texts"]]


# OpenAI and the hosts of its dialect


def read_openai(call: Call, host: Host) -> Question:
    """Read a request for embeddings in OpenAI's dialect; refuse what OpenAI refuses."""
    body = call.body
    if not call.valid_json or not isinstance(body, dict):
        raise refuse(400, "We could not parse the JSON body of your request. The API expects a JSON payload.")
    model = call.model or body.get("model")
    if not isinstance(model, str) or not model:
        raise refuse(400, "you must provide a model parameter")
    is_openai = host.name in ("openai", "azure")
    if is_openai and (unknown := next((name for name in body if name not in _OPENAI_FIELDS), None)):
        raise refuse(400, f"Unrecognized request argument supplied: {unknown}")
    if host.name == "mistral" and "dimensions" in body:
        raise refuse(422, "property 'dimensions' is not supported", param="dimensions")
    texts = _texts_of(body.get("input"))
    most = _MOST_TEXTS.get(host.name, 2048)
    if len(texts) > most:
        raise refuse(
            400,
            f"Invalid 'input': array too long. Expected an array with maximum length {most}, but got an array with length "
            f"{len(texts)} instead.",
            param="input",
            code="array_above_max_length",
        )
    _check_tokens(texts)
    dimensions = whole_number(body, "dimensions", "output_dimension")
    if dimensions is not None and dimensions < 1:
        raise refuse(400, f"{dimensions} is less than the minimum of 1 - 'dimensions'", param="dimensions")
    return question_of(model, texts, dimensions, base64=body.get("encoding_format") == "base64")


def _texts_of(found: Any) -> list[str]:
    if isinstance(found, str):
        found = [found]
    if not isinstance(found, list) or not found:
        raise refuse(400, "Missing required parameter: 'input'.", param="input", code="missing_required_parameter")
    if all(isinstance(item, int) for item in found):
        found = [found]  # one text, in tokens
    texts = [" ".join(map(str, item)) if isinstance(item, list) else item for item in found]
    if not all(isinstance(text, str) and text for text in texts):
        raise refuse(400, "Invalid 'input': input cannot contain an empty string.", param="input")
    return texts


def _check_tokens(texts: Sequence[str]) -> None:
    counts = [token_count(text) for text in texts]
    if max(counts) > _MOST_TOKENS_A_TEXT:
        raise refuse(
            400,
            f"This model's maximum context length is {_MOST_TOKENS_A_TEXT} tokens, however you requested {max(counts)} tokens "
            f"({max(counts)} in your prompt; 0 for the completion). Please reduce your prompt; or completion length.",
        )
    if sum(counts) > _MOST_TOKENS:
        raise refuse(
            400,
            f"Requested {sum(counts)} tokens, max {_MOST_TOKENS} tokens per request",
            code="max_tokens_per_request",
        )


def write_openai(question: Question, host: Host, headers: dict[str, str]) -> Reply:
    """Answer with a list of embedding objects."""
    data = [
        {"object": "embedding", "index": place, "embedding": _base64(found) if question.extra["base64"] else found.tolist()}
        for place, found in enumerate(vectors(question))
    ]
    usage: dict[str, Any] = {"total_tokens": question.input_tokens}
    if host.name != "voyage":
        usage = {"prompt_tokens": question.input_tokens, **usage}
    body = {"object": "list", "data": data, "model": question.model, "usage": usage}
    return Reply(to_bytes(encode(body)), headers=headers)


def _base64(found: array[float]) -> str:
    if sys.byteorder == "big":
        found = array("f", found)
        found.byteswap()
    return base64.b64encode(found.tobytes()).decode()


# Google


def read_google(call: Call) -> Question:
    """Read a request for `:embedContent`, `:batchEmbedContents` or (Vertex) `:predict`."""
    body = call.body
    if not call.valid_json or not isinstance(body, dict):
        raise refuse(400, "Invalid JSON payload received. Unexpected end of string. Expected a value.")
    method = call.path.rpartition(":")[2]
    if method == "predict":
        instances = body.get("instances") or []
        dimensions = whole_number(body.get("parameters") or {}, "outputDimensionality", "output_dimensionality")
        return _of_google(call, method, [item.get("content") for item in instances], dimensions)
    requests = body.get("requests") or [] if method == "batchEmbedContents" else [body]
    if len(requests) > _MOST_OF_GOOGLE:
        raise refuse(400, f"* BatchEmbedContentsRequest.requests: at most {_MOST_OF_GOOGLE} requests can be in one batch\n")
    texts, dimensions = [], None
    for request in requests:
        if method == "batchEmbedContents" and not str(request.get("model", "")).startswith("models/"):
            raise refuse(400, "* BatchEmbedContentsRequest.requests[0].model: model is required\n")
        parts = (request.get("content") or {}).get("parts") or []
        texts.append("".join(part.get("text", "") for part in parts))
        config = request.get("embedContentConfig") or request
        dimensions = whole_number(config, "outputDimensionality", "output_dimensionality") or dimensions
    return _of_google(call, method, texts, dimensions)


def _of_google(call: Call, method: str, texts: list[Any], dimensions: int | None) -> Question:
    if not texts or not all(isinstance(text, str) and text for text in texts):
        raise refuse(400, "* EmbedContentRequest.content: content contains an empty Part.\n")
    return question_of(call.model, texts, dimensions, method=method)


def write_google(question: Question, *, counts: bool) -> bytes:
    """Return the body of an answer; `counts` where the API counts tokens (Vertex does, the Developer API does not)."""
    found = [{"values": vector.tolist()} for vector in vectors(question)]
    method = question.extra["method"]
    body: Mapping[str, Any]
    if method == "predict":
        tokens = [token_count(text) for text in question.extra["texts"]]
        body = {
            "predictions": [
                {"embeddings": {**vector, "statistics": {"token_count": count, "truncated": False}}}
                for vector, count in zip(found, tokens, strict=True)
            ],
            "metadata": {"billableCharacterCount": sum(map(len, question.extra["texts"]))},
        }
    elif method == "batchEmbedContents":
        body = {"embeddings": found}
    else:
        body = {"embedding": found[0]}
        if counts:
            body = {
                **body,
                "usageMetadata": {"promptTokenCount": question.input_tokens, "totalTokenCount": question.input_tokens},
            }
    return to_bytes(encode(body))


# Ollama


def read_ollama(call: Call) -> Question:
    """Read a request for `/api/embed`."""
    body = call.body
    if not call.valid_json or not isinstance(body, dict):
        raise refuse(400, "invalid character '}' looking for beginning of value")
    model = body.get("model")
    if not isinstance(model, str) or not model:
        raise refuse(400, "model is required")
    found = body.get("input")
    texts = [found] if isinstance(found, str) else found
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise refuse(400, "invalid input type")
    if body.get("truncate") is False and any(token_count(text) > _MOST_TOKENS_A_TEXT for text in texts):
        raise refuse(400, "the input length exceeds the context length")
    return question_of(model, texts, whole_number(body, "dimensions"))


def write_ollama(question: Question) -> Reply:
    """Answer with bare vectors."""
    body = {
        "model": question.model,
        "embeddings": [vector.tolist() for vector in vectors(question)],
        "total_duration": 1_000_000,
        "load_duration": 0,
        "prompt_eval_count": question.input_tokens,
    }
    return Reply(to_bytes(encode(body)), content_type="application/json; charset=utf-8")
