"""Where does a reply begin and end? The head and the framing of an HTTP/1.1 reply (RFC 9112), from bytes that are cut anywhere.

Knows no socket. `http.client` would do, but its headers go through a parser made for e-mail, and it returns one chunk per
read: together they were a third of a call's CPU, and with hundreds of threads the interpreter lock makes that count twice.
`tests/test_http1_oracles.py` compares it with `http.client` and h11, and lists each difference with its reason. The errors are
those of `http.client`, and `InvalidResponseError` past a bound of `Sizes`.
"""

from __future__ import annotations

import http.client
from collections.abc import Callable
from typing import NamedTuple

from responder.values.sizes import Sizes, default_sizes
from responder.wire.oversize import too_large

# The characters of a header's name (RFC 9110, 5.6.2) in lower case.
_NAME_CHARACTERS = b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz"
_HEX_DIGITS = b"0123456789abcdefABCDEF"

# Lines of a head. Real ones have a few dozen; joining a hundred thousand values of one name would take seconds.
_MOST_LINES = 1000

# Characters of a reason, which is shown to people.
_LONGEST_REASON = 200

# Digits of a length or of a chunk's size, leading zeros included: more digits are never valid.
_MOST_DIGITS = 20


class Head(NamedTuple):
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


def read_head(receive: Callable[[], bytes], sizes: Sizes | None = None) -> tuple[Head, bytes]:
    """Read a reply's head; interim replies (100 Continue, 103 Early Hints) are passed over.

    Args:
        receive: Returns the next bytes, b"" at the end of the connection.
        sizes: Bounds `head` and `interim`; None for those of the process.

    Returns:
        The head, and the bytes after it that came with it.

    Raises:
        http.client.RemoteDisconnected: The connection ended before the first byte.
        http.client.HTTPException: It ended within the head, or what came is not HTTP.
        InvalidResponseError: The head, or the interim replies, are larger than their bound.
    """
    sizes = sizes or default_sizes()
    interim = 0
    data = b""
    while True:
        data = data or receive()
        end = _end_of_head(data)  # most heads arrive whole, in the first piece
        if not end or end > sizes.head:
            data, end = _read_to_empty_line(receive, data, sizes.head)
        head = _parsed_head(data[:end])
        data = data[end:]
        if head.status >= 200:
            return head, data
        if head.status == 101:
            raise http.client.HTTPException("the server switched to another protocol that we did not ask for")
        interim += end
        if interim > sizes.interim:
            raise too_large("what the server sent before its reply", "interim", sizes.interim)


def _end_of_head(data: bytes | bytearray, begin: int = 0) -> int:
    """Return where the first empty line ends; 0 if it has not come. Some servers end lines with LF alone."""
    end = data.find(b"\n\r\n", begin)
    bare = data.find(b"\n\n", begin, end + 1 if end >= 0 else len(data))
    if bare >= 0:
        return bare + 2
    return end + 3 if end >= 0 else 0


def _read_to_empty_line(receive: Callable[[], bytes], data: bytes, most: int) -> tuple[bytes, int]:
    """Receive until the head is whole; return the bytes, and where it ends."""
    if not data:
        raise http.client.RemoteDisconnected("the server closed the connection without a reply")
    buffer = bytearray(data)
    end = _end_of_head(buffer)
    while True:
        if not b"HTTP/".startswith(buffer[:5]):
            raise http.client.BadStatusLine(repr(bytes(buffer[:40])))
        if end > most or (not end and len(buffer) > most):
            raise too_large("the head of the reply", "head", most)
        if end:
            return bytes(buffer), end
        more = receive()
        if not more:
            raise http.client.IncompleteRead(bytes(buffer[:1000]))
        begin = max(0, len(buffer) - 2)  # the empty line may have been cut
        buffer += more
        end = _end_of_head(buffer, begin)


def _parsed_head(data: bytes) -> Head:
    text = data.decode("latin-1").replace("\r\n", "\n")
    first, *lines = text.split("\n")
    version, _, rest = first.partition(" ")
    status, _, reason = rest.strip(" ").partition(" ")
    if (
        version not in ("HTTP/1.1", "HTTP/1.0")
        or len(status) != 3
        or not status.isascii()
        or not status.isdecimal()
        or status < "100"
    ):
        raise http.client.BadStatusLine(repr(first[:80]))
    if "\r" in text or "\0" in text:
        raise http.client.HTTPException("the head of the reply has a NUL, or a CR without its LF")
    if len(lines) > _MOST_LINES:
        raise http.client.HTTPException(f"the head of the reply has more than {_MOST_LINES} lines")
    return Head(int(status), reason[:_LONGEST_REASON].strip(), _fields(lines), version == "HTTP/1.0")


def _fields(lines: list[str]) -> dict[str, str]:
    """Return the headers, or the trailers, in these lines; empty ones end them."""
    headers: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon:
            if not line:
                break
            return _fields(_unfolded(lines))
        name = name.lower()
        value = value.strip(" \t")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    # Once for all names, because once for each would cost a tenth of the whole.
    if "" in headers or "".join(headers).encode("latin-1").translate(None, _NAME_CHARACTERS):
        return _fields(_unfolded(lines))
    return headers


def _unfolded(lines: list[str]) -> list[str]:
    """Return the lines with folded values (once allowed) joined."""
    whole: list[str] = []
    for line in filter(None, lines):
        if line[0] in " \t" and whole:
            whole[-1] += " " + line.lstrip(" \t")
            continue
        name, colon, _ = line.partition(":")
        if not colon or not name or name.lower().encode("latin-1").translate(None, _NAME_CHARACTERS):
            raise http.client.HTTPException(f"a line of the reply's head is not a header: {line[:80]!r}")
        whole.append(line)
    return whole


class Framing:
    """Takes a body out of the bytes of a connection.

    Attributes:
        ended: True once the body is whole.
        can_reuse: True while the connection can carry another request after this body.
    """

    def __init__(self, head: Head, sizes: Sizes | None = None) -> None:
        """Decide where the body ends.

        Args:
            head: The reply's head.
            sizes: Bounds `body` and `trailers`; None for those of the process.

        Raises:
            http.client.HTTPException: Its length is invalid, or its transfer coding is unknown here.
            InvalidResponseError: The body will be larger than its bound.
        """
        self._sizes = sizes = sizes or default_sizes()
        headers = head.headers
        connection = headers.get("connection")
        if connection is None:
            self.can_reuse = not head.is_old
        else:
            connection = connection.lower()
            self.can_reuse = "close" not in connection and (not head.is_old or "keep-alive" in connection)
        self.ended = False
        self._chunks: _Chunks | None = None
        self._left: int | None = None
        self._room = sizes.body
        length = headers.get("content-length")
        size = 0 if length is None else _length(length)
        coding = headers.get("transfer-encoding")
        if head.status in (204, 304):  # no body, whatever the headers say (RFC 9112, 6.3)
            self.ended = True
            # A server that announces a body may send one late, and it must not be taken for the next reply.
            self.can_reuse = self.can_reuse and coding is None and not size
        elif coding is not None:
            if coding.lower() != "chunked":
                raise http.client.HTTPException(
                    f"the reply comes in the transfer coding {coding[:80]!r}, which we did not ask for"
                )
            self._chunks = _Chunks(sizes)
            if head.is_old or length is not None:  # two ways to find its end: a proxy may use the other one
                self.can_reuse = False
        elif length is not None:
            # For an error reply, the status and the beginning of its body are still read.
            if size > sizes.body and 200 <= head.status < 300:
                raise too_large("the body of the reply", "body", sizes.body)
            self._left = size
            self.ended = not size
        else:
            self.can_reuse = False  # it ends with the connection

    def feed(self, data: bytes) -> bytes:
        """Return what of the next bytes belongs to the body; b"" for `data` says that the connection has ended.

        Raises:
            http.client.HTTPException: The body is shorter than was said, or its chunks are malformed.
            InvalidResponseError: The body is larger than its bound.
        """
        if self.ended:
            self.can_reuse = self.can_reuse and not data
            return b""
        if self._left is not None:
            return self._feed_counted(data, self._left)
        if self._chunks is not None:
            if not data:
                raise http.client.IncompleteRead(b"")
            data = self._chunks.feed(data)
            self.ended = self._chunks.ended
            self.can_reuse = self.can_reuse and not self._chunks.has_surplus
        else:
            self.ended = not data
        self._room -= len(data)
        if self._room < 0:
            raise too_large("the body of the reply", "body", self._sizes.body)
        return data

    def _feed_counted(self, data: bytes, left: int) -> bytes:
        if not data:
            raise http.client.IncompleteRead(b"", left)
        if len(data) > left:  # unsolicited bytes: whatever they are, they are not the next reply
            self.can_reuse = False
            data = data[:left]
        left -= len(data)
        self._left = left
        self.ended = not left
        return data


def _length(value: str) -> int:
    length, comma, others = value.partition(",")
    if comma:  # the same length twice is allowed, two lengths are an attack or a bug
        length = length.strip(" \t")
        if any(other.strip(" \t") != length for other in others.split(",")):
            length = ""
    if not length.isascii() or not length.isdecimal() or len(length) > _MOST_DIGITS:
        raise http.client.HTTPException(f"the length that the reply gives is invalid: {value[:80]!r}")
    return int(length)


class _Chunks:
    """Takes the chunked coding (RFC 9112, section 7.1) off bytes that are cut anywhere.

    Attributes:
        ended: True once the last chunk and the trailers have come.
        has_surplus: True when bytes came behind them.
    """

    def __init__(self, sizes: Sizes) -> None:
        self.ended = False
        self.has_surplus = False
        self._most = sizes.trailers
        self._room = sizes.trailers
        self._buffer = b""  # a line, or a chunk's line end, that was cut
        self._left = 0  # bytes that the current chunk still has
        self._at_end = False  # a chunk's bytes have come, but its line end has not
        self._trailers: list[str] | None = None

    def feed(self, data: bytes) -> bytes:
        """Return the body's bytes in `data`.

        Raises:
            http.client.HTTPException: A chunk's size is not a hexadecimal number, or its end is not where it should be.
            InvalidResponseError: There is too much data besides the chunks.
        """
        if self._buffer:
            data = self._buffer + data
            self._buffer = b""
        body = []
        at, length = 0, len(data)
        while at < length:
            if self._left:
                piece = data[at : at + self._left]
                body.append(piece)
                at += len(piece)
                self._left -= len(piece)
                if self._left:
                    break
                self._at_end = True
            if self._at_end:
                end = data[at : at + 2]
                if end != b"\r\n":
                    if end not in (b"", b"\r"):
                        raise http.client.HTTPException("a chunk of the reply is longer than the size before it")
                    self._buffer = end
                    break
                self._at_end = False
                at += 2
                continue
            end_of_line = data.find(b"\n", at)
            if end_of_line < 0:
                self._keep(data[at:])
                break
            line = data[at:end_of_line]
            at = end_of_line + 1
            if line[-1:] == b"\r":
                line = line[:-1]
            elif self._trailers is None:
                raise http.client.HTTPException("a line between the chunks of the reply ends with LF alone")
            if self._trailers is None:
                self._start_chunk(line)
            elif line:
                self._spend(len(line))
                if b"\r" in line or b"\0" in line:
                    raise http.client.HTTPException("a trailer of the reply has a NUL, or a CR without its LF")
                self._trailers.append(line.decode("latin-1"))
            else:
                _fields(self._trailers)  # checked, and dropped: nothing reads them
                self.ended = True
                self.has_surplus = at < length
                break
        return body[0] if len(body) == 1 else b"".join(body)

    def _start_chunk(self, line: bytes) -> None:
        size = line
        if line.strip(_HEX_DIGITS):
            self._spend(len(line))
            size, _, extension = line.partition(b";")
            size = size.rstrip(b" \t")  # some servers fill up the size with spaces
            if size.strip(_HEX_DIGITS) or b"\r" in extension or b"\0" in extension:
                size = b""
        if not 0 < len(size) <= _MOST_DIGITS:
            raise http.client.HTTPException(f"the size of a chunk of the reply is not a hexadecimal number: {line[:40]!r}")
        self._left = int(size, 16)
        if not self._left:
            self._trailers = []

    def _keep(self, line: bytes) -> None:
        """Keep the beginning of a line that was cut, as long as it may become one."""
        if len(line) > self._room + _MOST_DIGITS + 1:  # a size and a CR are not counted
            self._spend(len(line))
        self._buffer = line

    def _spend(self, size: int) -> None:
        self._room -= size
        if self._room < 0:
            raise too_large("the data besides the chunks of the reply", "trailers", self._most)
