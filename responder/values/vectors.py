"""Vectors of floats in one block of memory: how they are read out of a reply, whatever form the provider gives them."""

from __future__ import annotations

import binascii
import json
import re
import sys
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from responder.values.answer import NO_USAGE, Usage
from responder.values.errors import InvalidResponseError

FLOAT = 4
"""Bytes of a float32, which is what every provider computes with."""


_KEY = b'"embedding"'
_VALUE = re.compile(rb'"embedding"\s*:\s*"')

# Bytes. What is smaller is read in no time in any case.
_LARGE = 65_536


def read_json(body: bytes) -> Any:
    """Return a reply as parsed JSON, with views of the bytes in place of the base64 of `embedding`.

    A reply of 2,048 vectors has 17 MB, all of it base64. As JSON it would be copied twice before anybody looks at it, which takes
    as long as a third of the decoding, and three times the memory.

    Raises:
        ValueError, RecursionError: It is not JSON.
    """
    if len(body) >= _LARGE:
        cut = _cut(body)
        if cut is not None:
            rest, texts = cut
            try:
                return json.loads(rest, object_hook=lambda found: _put_back(found, texts))
            except (ValueError, LookupError):
                pass  # it is not what it looked like
    return json.loads(body)


def _cut(body: bytes) -> tuple[bytes, list[memoryview]] | None:
    """Return a body with an object in place of the base64 of each `embedding`, and these; None where it is not so simple."""
    view = memoryview(body)
    kept: list[bytes] = []
    texts: list[memoryview] = []
    begin = at = 0
    while (key := body.find(_KEY, at)) >= 0:
        match = _VALUE.match(body, key)
        if match is None:
            at = key + len(_KEY)  # a value ("object": "embedding"), or a list of numbers
            continue
        end = body.find(b'"', match.end())
        if end < 0 or body.find(b"\\", match.end(), end) >= 0:
            return None
        kept.append(body[begin : match.end() - 1])
        kept.append(b'{"\\u0000":%d}' % len(texts))  # a key that no reply has
        texts.append(view[match.end() : end])
        begin = at = end + 1
    kept.append(body[begin:])
    return (b"".join(kept), texts) if texts else None


def _put_back(found: dict[str, Any], texts: list[memoryview]) -> Any:
    return texts[found["\0"]] if "\0" in found else found


@dataclass(slots=True)
class Vectors:
    """The vectors of one request, in the order of its texts.

    Attributes:
        data: All floats as float32 in this machine's order, vector after vector.
        dimensions: Floats in one vector.
        usage: The tokens of the request.
        model: The model that gave them; "" if unknown.
    """

    data: bytes | bytearray
    dimensions: int
    usage: Usage = NO_USAGE
    model: str = ""

    def __len__(self) -> int:
        return len(self.data) // (self.dimensions * FLOAT)

    def row(self, place: int) -> bytes:
        """Return the bytes of one vector."""
        width = self.dimensions * FLOAT
        return bytes(self.data[place * width : (place + 1) * width])


def vectors_of(rows: Sequence[Any], usage: Usage = NO_USAGE) -> Vectors:
    """Return what a reply holds.

    Args:
        rows: A vector each: base64 of little-endian float32 (as `read_json` gives it), or a list of numbers. Not every server
            that is asked for base64 gives it, so what counts is what came.
        usage: The tokens of the request.

    Raises:
        InvalidResponseError: One of them is no vector, or they have not all the same length.
    """
    data = bytearray()
    width = 0
    try:
        for place, row in enumerate(rows):
            vector = _of_base64(row) if isinstance(row, (str, memoryview)) else array("f", row).tobytes()
            if not width:
                width = len(vector)
                data = bytearray(width * len(rows))
            if len(vector) != width:
                raise ValueError(f"{len(vector)} bytes, where those before it have {width}")
            # At once, and not all of them joined at the end, which would hold them twice.
            data[place * width : (place + 1) * width] = vector
    except (TypeError, ValueError) as error:
        raise InvalidResponseError(f"an embedding does not match the others ({error})", retryable=True, usage=usage) from None
    if not width or width % FLOAT:
        raise InvalidResponseError("there are no embeddings in the reply", retryable=True, usage=usage)
    return Vectors(data, width // FLOAT, usage)


def _of_base64(text: str | memoryview) -> bytes:
    return native(binascii.a2b_base64(text))


def native(data: bytes) -> bytes:
    """Return little-endian float32 in this machine's order; the same function leads back."""
    if sys.byteorder == "little":
        return data
    floats = array("f", data)
    floats.byteswap()
    return floats.tobytes()
