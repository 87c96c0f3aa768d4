"""Vectors of floats in one block of memory: how they are read out of a reply, whatever form the provider gives them.

A reply of 2,048 vectors has 17 MB, nearly all of it base64. It is decoded as it arrives, into the block where it stays: as one
text it would be held three times, and the C library would keep much of that memory for the thread that had it.
"""

from __future__ import annotations

import binascii
import json
import re
import sys
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from responder.values.answer import NO_USAGE, Usage
from responder.values.errors import InvalidResponseError

FLOAT = 4
"""Bytes of a float32, which is what every provider computes with."""

Block: TypeAlias = "bytes | bytearray | memoryview"

_KEY = b'"embedding"'
_VALUE = re.compile(rb'"embedding"\s*:\s*"')
# The beginning of one, at the end of a piece: the rest may come with the next.
_BEGUN = re.compile(rb'"(?:e(?:m(?:b(?:e(?:d(?:d(?:i(?:n(?:g(?:"(?:\s*(?::\s*)?)?)?)?)?)?)?)?)?)?)?)?\Z')

# Bytes. What is smaller is read in no time in any case.
_LARGE = 65_536

# A key that no reply has: it marks where a vector stood.
_MARK = b'{"\\u0000":%d}'
_MARKED = re.compile(rb'\{"\\u0000":(\d+)\}')


class Decoded:
    """A vector that was read out of a reply already: little-endian float32."""

    __slots__ = ("block", "data", "place")

    def __init__(self, data: Block, block: memoryview | None = None, place: int = 0) -> None:
        self.data = data
        self.block = block
        self.place = place


class EmbeddingsReader:
    """Reads a reply's body as it arrives: what is not a vector as JSON, and the base64 of each `embedding` into one block.

    Args:
        count: How many vectors there should be.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self._body = bytearray()  # as it came, but for the vectors
        self._held = b""
        self._is_inside = False  # a vector
        self._is_plain = False  # read nothing out of it
        self._vector = bytearray()
        self._block: memoryview | None = None
        self._width = 0
        self._found: list[Decoded] = []

    def feed(self, piece: bytes) -> None:
        """Take the next bytes of the body."""
        if self._is_plain:
            self._body += piece
            return
        data = self._held + piece if self._held else piece
        self._held = b""
        at = 0
        while at < len(data):
            at = self._inside(data, at) if self._is_inside else self._outside(data, at)

    def _outside(self, data: bytes, at: int) -> int:
        """Take what is not a vector, up to where one begins; return the place behind it."""
        match = _VALUE.search(data, at)
        if match is None:
            begun = _BEGUN.search(data, max(at, len(data) - _LARGE))
            end = begun.start() if begun is not None else len(data)
            self._body += data[at:end]
            self._held = data[end:]
            return len(data)
        self._body += data[at : match.end() - 1]
        self._is_inside = True
        return match.end()

    def _inside(self, data: bytes, at: int) -> int:
        """Take base64, up to where the vector ends; return the place behind it."""
        end = data.find(b'"', at)
        part = data[at:] if end < 0 else data[at:end]
        if b"\\" in part:  # JSON may write a slash or a plus in another way: such a reply is read whole
            self._restore()
            self.feed(data[at:])
            return len(data)
        if end < 0:
            self._vector += part
            return len(data)
        if self._vector:
            self._vector += part
        try:
            self._take(self._vector or part)
        except ValueError:  # another text that is called `embedding`
            self._vector = self._vector or bytearray(part)
            self._restore()
            self.feed(data[end:])
            return len(data)
        return end + 1

    def _take(self, text: bytes | bytearray) -> None:
        """Put a vector that is whole into its place.

        Raises:
            ValueError: It is no base64.
        """
        vector, length = binascii.a2b_base64(text), len(text)
        if not vector or length % 4 or len(vector) != length // 4 * 3 - text.count(b"=", -2):
            raise ValueError("it is not base64")  # what is not, was skipped
        self._vector = bytearray()
        self._is_inside = False
        place = len(self._found)
        if self._block is None:
            self._width = len(vector)
            self._block = _block(self._width * self._count)
        begin = place * self._width
        if len(vector) == self._width and place < self._count:
            self._block[begin : begin + self._width] = vector
            row = self._block[begin : begin + self._width]
            self._found.append(Decoded(row, self._block, place))
        else:
            self._found.append(Decoded(vector))
        self._body += _MARK % place

    def _restore(self) -> None:
        """Put back what was read, and read no more: it is not what it looked like."""
        found = self._found
        self._body = bytearray(
            _MARKED.sub(lambda mark: b'"%b"' % binascii.b2a_base64(found[int(mark[1])].data, newline=False), self._body)
        )
        if self._is_inside:
            self._body += b'"' + self._vector
        self._is_plain = True
        self._found = []

    def whole(self) -> Any:
        """Return the reply as parsed JSON, with a `Decoded` in place of each vector in base64.

        Raises:
            ValueError, RecursionError: It is not JSON.
        """
        self._body += self._held
        if self._is_inside and not self._is_plain:
            raise ValueError("it is cut off within a vector")
        if not self._found:
            return json.loads(self._body)
        return json.loads(self._body, object_hook=self._put_back)

    def text(self) -> bytes:
        """Return what came, but for its vectors: what an error quotes."""
        return bytes(self._body + self._held)

    def _put_back(self, found: dict[str, Any]) -> Any:
        return self._found[found["\0"]] if "\0" in found else found


def _block(size: int) -> memoryview:
    """Return room for so many bytes. Large ones are given back to the system at once when nobody has them any more."""
    if size < _LARGE:
        return memoryview(bytearray(size))
    import mmap  # only here: few programs embed

    if sys.platform == "win32":
        return memoryview(mmap.mmap(-1, size))
    return memoryview(mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS))  # a forked process has its own


@dataclass(slots=True)
class Vectors:
    """The vectors of one request, in the order of its texts.

    Attributes:
        data: All floats as float32 in this machine's order, vector after vector.
        dimensions: Floats in one vector.
        usage: The tokens of the request.
        model: The model that gave them; "" if unknown.
    """

    data: Block
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
        rows: A vector each: base64 of little-endian float32 (which an `EmbeddingsReader` has decoded), or a list of numbers. Not
            every server that is asked for base64 gives it, so what counts is what came.
        usage: The tokens of the request.

    Raises:
        InvalidResponseError: One of them is no vector, or they have not all the same length.
    """
    block = _in_one_block(rows)
    if block is not None:
        return Vectors(block, len(block) // len(rows) // FLOAT, usage)
    data = bytearray()
    width = 0
    try:
        for place, row in enumerate(rows):
            vector = _bytes_of(row)
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


def _in_one_block(rows: Sequence[Any]) -> memoryview | None:
    """Return the block that holds just these vectors in this order; None where there is none."""
    first = rows[0] if rows else None
    if not isinstance(first, Decoded) or first.block is None or len(first.data) % FLOAT or sys.byteorder == "big":
        return None
    if any(not isinstance(row, Decoded) or row.block is not first.block or row.place != place for place, row in enumerate(rows)):
        return None
    return first.block[: len(first.data) * len(rows)]


def _bytes_of(row: Any) -> Block:
    if isinstance(row, Decoded):
        return row.data if sys.byteorder == "little" else native(bytes(row.data))
    return native(binascii.a2b_base64(row)) if isinstance(row, str) else array("f", row).tobytes()


def native(data: bytes) -> bytes:
    """Return little-endian float32 in this machine's order; the same function leads back."""
    if sys.byteorder == "little":
        return data
    floats = array("f", data)
    floats.byteswap()
    return floats.tobytes()
