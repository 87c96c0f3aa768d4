"""How does an answer, or the vector of a text, stand in a row of a checkpoint, and is the row still whole?"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from responder.call.keeping import StoredAnswer


def answer_row(question: bytes, run: int, reply: Mapping[str, Any], request_id: str | None) -> tuple[bytes, int, str, bytes]:
    """Return an answer as the table of answers has it: question, run, reply and digest."""
    value = json.dumps({"reply": reply, "request_id": request_id}, ensure_ascii=True, separators=(",", ":"))
    return question, run, value, _digest(question, value.encode())


def vector_row(text: bytes, run: int, vector: bytes) -> tuple[bytes, int, bytes, bytes]:
    """Return the vector of a text as the table of answers has it."""
    return text, run, vector, _digest(text, vector)


def stored_vector(text: bytes, vector: bytes, digest: bytes) -> bytes | None:
    """Return the vector in a row; None if it was damaged."""
    return vector if vector and digest == _digest(text, vector) else None


def _digest(question: bytes, reply: bytes) -> bytes:
    return hashlib.blake2b(reply, digest_size=16, key=question[:64]).digest()


def stored_answer(question: bytes, reply: object, digest: object) -> StoredAnswer | None:
    """Return what a row holds; None if it was damaged."""
    try:
        if not isinstance(reply, bytes) or (digest is not None and digest != _digest(question, reply)):
            return None
        kept = json.loads(reply)
        return StoredAnswer(kept["reply"], kept["request_id"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return None  # of version 1, without a digest
