"""Where does a reply begin and end? The head and the framing of an HTTP/1.1 reply (RFC 9112), from bytes that are cut anywhere.

Knows no socket. `http.client` would do, but its headers go through a parser made for e-mail, and it hands out one chunk for
each read: together they were a third of a call's CPU, and with hundreds of threads the interpreter lock makes that count twice.
The errors are those of `http.client`.
"""

from __future__ import annotations

import http.client
from collections.abc import Callable
from dataclasses import dataclass

# A head that is longer is none: real ones have a few kilobytes.
_LONGEST_HEAD = 256 * 1024


@dataclass(frozen=True, slots=True)
class Head:
    """The first part of a reply.

    Attributes:
        status: HTTP status, 200 and up.
        reason: The status in words.
        headers: Names in lower case, and their values; those of one that came several times are joined by commas.
        is_old: True for HTTP/1.0, whose connections are closed unless they say otherwise.
    """

    status: int
    reason: str
    headers: dict[str, str]
    is_old: bool


def read_head(receive: Callable[[], bytes]) -> tuple[Head, bytes]:
    """Read a reply's head; interim replies (100 Continue, 103 Early Hints) are passed over.

    Args:
        receive: Returns the next bytes, b"" at the end of the connection.

    Returns:
        The head, and the bytes behind it that came with it.

    Raises:
        http.client.RemoteDisconnected: The connection ended before the first byte.
        http.client.HTTPException: It ended within the head, or what came is no HTTP.
    """
    data = b""
    while True:
        end, length = _end_of_head(data)
        if end < 0:
            more = receive()
            if not more:
                if not data:
                    raise http.client.RemoteDisconnected("the server closed the connection without a reply")
                raise http.client.IncompleteRead(data)
            data += more
            if len(data) > _LONGEST_HEAD:
                raise http.client.HTTPException(f"the head of the reply is longer than {_LONGEST_HEAD} bytes")
            if not b"HTTP/".startswith(data[:5]) and not data.startswith(b"HTTP/"):
                raise http.client.BadStatusLine(repr(data[:40]))
            continue
        head = _parsed_head(data[:end])
        data = data[end + length :]
        if head.status >= 200 or head.status == 101:
            return head, data


def _end_of_head(data: bytes) -> tuple[int, int]:
    """Return where the empty line stands and how long it is; -1 where it has not come. Some servers end lines with LF alone."""
    end = data.find(b"\r\n\r\n")
    if end >= 0:
        return end, 4
    return data.find(b"\n\n"), 2


def _parsed_head(data: bytes) -> Head:
    lines = data.decode("latin-1").replace("\r\n", "\n").split("\n")
    version, _, rest = lines[0].partition(" ")
    status, _, reason = rest.strip().partition(" ")
    if not version.startswith("HTTP/1.") or len(status) != 3 or not status.isascii() or not status.isdecimal():
        raise http.client.BadStatusLine(repr(lines[0][:80]))
    headers: dict[str, str] = {}
    last = ""
    for line in lines[1:]:
        if line[:1] in (" ", "\t") and last:  # a value that goes on in the next line, long deprecated
            headers[last] += " " + line.strip()
            continue
        name, colon, value = line.partition(":")
        if colon:
            last = name.strip().lower()
            value = value.strip()
            headers[last] = f"{headers[last]}, {value}" if last in headers else value
    return Head(int(status), reason.strip(), headers, version == "HTTP/1.0")


class Framing:
    """Takes a body out of the bytes of a connection.

    Attributes:
        ended: True once the body is whole.
        can_reuse: True while the connection can carry another request after this body.
    """

    def __init__(self, head: Head) -> None:
        headers = head.headers
        connection = headers.get("connection", "").lower()
        self.can_reuse = "keep-alive" in connection if head.is_old else "close" not in connection
        self.ended = False
        self._chunks = _Chunks() if headers.get("transfer-encoding", "").lower().endswith("chunked") else None
        self._left: int | None = None
        if self._chunks is None:
            if head.status in (204, 304):
                self._left = 0
            elif "content-length" in headers:
                self._left = _length(headers["content-length"])
            else:
                self.can_reuse = False  # it ends with the connection
            self.ended = self._left == 0

    def feed(self, data: bytes) -> bytes:
        """Return what of the next bytes belongs to the body; b"" for `data` says that the connection has ended.

        Raises:
            http.client.HTTPException: The body is shorter than was said, or its chunks make no sense.
        """
        if self._chunks is not None:
            if not data:
                raise http.client.IncompleteRead(b"")
            body = self._chunks.feed(data)
            self.ended = self._chunks.ended
            return body
        if self._left is None:
            self.ended = not data
            return data
        if not data:
            raise http.client.IncompleteRead(b"", self._left)
        if len(data) > self._left:  # bytes that nobody asked for: whatever they are, they are no next reply
            self.can_reuse = False
            data = data[: self._left]
        self._left -= len(data)
        self.ended = self._left == 0
        return data


def _length(value: str) -> int:
    # The same length twice is allowed, two lengths are an attack or a bug.
    lengths = {part.strip() for part in value.split(",")}
    length = lengths.pop()
    if lengths or not length.isascii() or not length.isdecimal() or len(length) > 18:
        raise http.client.HTTPException("the length that the reply gives cannot be")
    return int(length)


class _Chunks:
    """Takes the chunked coding (RFC 9112, section 7.1) off bytes that are cut anywhere."""

    def __init__(self) -> None:
        self.ended = False
        self._buffer = b""
        self._left = 0  # bytes that the current chunk still has, its line end included
        self._in_trailer = False

    def feed(self, data: bytes) -> bytes:
        """Return the body's bytes in `data`.

        Raises:
            http.client.HTTPException: A chunk's size is not a number.
        """
        if self._buffer:
            data = self._buffer + data
            self._buffer = b""
        body = []
        at, length = 0, len(data)
        while at < length:
            if self._left:
                taken = min(self._left, length - at)
                # The last two bytes of what is left are the chunk's line end.
                body.append(data[at : at + min(taken, max(0, self._left - 2))])
                self._left -= taken
                at += taken
                continue
            end = data.find(b"\r\n", at)
            if end < 0:
                self._buffer = data[at:]
                if len(self._buffer) > 65536:
                    raise http.client.LineTooLong("chunk size")
                break
            line = data[at:end]
            at = end + 2
            if self._in_trailer:
                if not line:
                    self.ended = True
                    break
            else:
                self._start_chunk(line)
        return b"".join(body)

    def _start_chunk(self, line: bytes) -> None:
        try:
            size = int(line.partition(b";")[0], 16)
        except ValueError:
            raise http.client.HTTPException("the size of a chunk is not a number") from None
        if size < 0:
            raise http.client.HTTPException("the size of a chunk is negative")
        if size == 0:
            self._in_trailer = True
        else:
            self._left = size + 2
