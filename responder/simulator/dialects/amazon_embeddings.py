"""How do the models on Bedrock take texts for embeddings, and answer? Titan and Nova one at a time, Cohere's many.

Source: https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters.html (read 2026-11).
"""

from __future__ import annotations

from typing import Any

from responder.simulator.answers import Question
from responder.simulator.reply import Reply, encode, refuse, to_bytes

from .base import Call, unknown_field, whole_number
from .cohere_embeddings import question_of_cohere, vectors_by_type
from .embeddings import question_of, vectors

_TITAN = frozenset({"inputText", "dimensions", "normalize", "embeddingTypes"})
_TITAN_LENGTHS = (256, 512, 1024)
_NOVA_PURPOSES = frozenset(
    {"GENERIC_INDEX", "GENERIC_RETRIEVAL", "TEXT_RETRIEVAL", "DOCUMENT_RETRIEVAL", "CLASSIFICATION", "CLUSTERING"}
)


def read_amazon(call: Call) -> Question:
    """Read the body of an InvokeModel for embeddings; refuse what the model's family refuses."""
    body = call.body
    if not call.valid_json or not isinstance(body, dict):
        raise refuse(400, "Malformed input request, please reformat your input and try again.")
    if "cohere." in call.model:
        return question_of_cohere(call.model, body, family="cohere")
    if "nova" in call.model:
        return _of_nova(call.model, body)
    if name := unknown_field(body, _TITAN):
        raise refuse(400, f"Malformed input request: #: extraneous key [{name}] is not permitted, please reformat your input")
    dimensions = whole_number(body, "dimensions")
    if dimensions is not None and dimensions not in _TITAN_LENGTHS:
        raise refuse(400, f"Malformed input request: #/dimensions: {dimensions} is not a valid enum value")
    return _of_one_text(call.model, body.get("inputText"), dimensions, "titan")


def _of_nova(model: str, body: dict[str, Any]) -> Question:
    wanted = body.get("singleEmbeddingParams")
    if body.get("taskType") != "SINGLE_EMBEDDING" or not isinstance(wanted, dict):
        raise refuse(400, "taskType: SINGLE_EMBEDDING needs singleEmbeddingParams")
    if wanted.get("embeddingPurpose") not in _NOVA_PURPOSES:
        raise refuse(400, f"embeddingPurpose: {wanted.get('embeddingPurpose')} is not one of {sorted(_NOVA_PURPOSES)}")
    text = wanted.get("text") or {}
    if text.get("truncationMode") not in ("START", "END", "NONE"):
        raise refuse(400, "text.truncationMode: must be START, END or NONE")
    return _of_one_text(model, text.get("value"), whole_number(wanted, "embeddingDimension"), "nova")


def _of_one_text(model: str, text: Any, dimensions: int | None, family: str) -> Question:
    if not isinstance(text, str) or not text:
        raise refuse(400, "Malformed input request: expected minLength: 1, actual: 0, please reformat your input and try again.")
    return question_of(model, [text], dimensions, family=family)


def write_amazon(question: Question, headers: dict[str, str]) -> Reply:
    """Answer in the form of the model's family; a header counts the tokens."""
    family = question.extra["family"]
    body: dict[str, Any]
    if family == "cohere":
        body = vectors_by_type(question)
    else:
        (found,) = (vector.tolist() for vector in vectors(question))
        body = (
            {"embedding": found, "embeddingsByType": {"float": found}, "inputTextTokenCount": question.input_tokens}
            if family == "titan"
            else {"embeddings": [{"embedding": found, "embeddingType": "TEXT"}]}
        )
    told = {**headers, "x-amzn-bedrock-input-token-count": str(question.input_tokens)}
    return Reply(to_bytes(encode(body)), headers=told)
