"""The body of a reply, read as it arrives, decompressed, and given back to the pool when it is whole."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Any

from responder.wire.connection import READ_SIZE, Attempt, Connection, StoppedError
from responder.wire.http1 import Framing, Head


class Response:
    """A reply whose body is read as it arrives.

    Attributes:
        status: HTTP status.
        reason: The status in words.
        headers: Names in lower case, and their values.
    """

    def __init__(
        self, connection: Connection, give_back: Callable[[Connection], object], attempt: Attempt, head: Head, rest: bytes
    ) -> None:
        self.status = head.status
        self.reason = head.reason
        self.headers = head.headers
        self._give_back = give_back
        self._connection: Connection | None = connection
        self._attempt = attempt
        self._framing = Framing(head)
        self._rest = rest  # bytes that came with the head
        self._decoder = _decoder(head.headers.get("content-encoding", ""))

    def read(self) -> bytes:
        """Return the whole body, decoded; raises as `read1` does."""
        pieces = []
        while piece := self.read1():
            pieces.append(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def read1(self, amount: int = READ_SIZE, decode_content: bool = True) -> bytes:  # noqa: ARG002 - urllib3's signature
        """Return the next bytes as soon as there are any; b"" at the end of the body.

        Raises:
            http.client.IncompleteRead: The body is shorter than its headers say.
            http.client.HTTPException: Its chunks make no sense.
        """
        connection, framing = self._connection, self._framing
        while connection is not None:
            try:
                if framing.ended:
                    data = b""
                else:
                    data, self._rest = self._rest or connection.receive(self._attempt), b""
                    data = framing.feed(data)
                if framing.ended:
                    self._finish()
                    connection = None
                decoded = self._decode(data, framing.ended)
            except BaseException:
                self.close()
                raise
            if decoded:
                return decoded
        return b""

    def stream(self, amount: int = READ_SIZE, decode_content: bool = True) -> Any:
        """Yield the body in pieces; what `requests` calls for `iter_content`."""
        while piece := self.read1(amount, decode_content):
            yield piece

    def _decode(self, data: bytes, last: bool = False) -> bytes:
        if self._decoder is None:
            return data
        decoded = self._decoder.decompress(data) if data else b""
        return decoded + self._decoder.flush() if last else decoded

    def _finish(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            if not self._attempt.unwatch():
                connection.close()
                raise StoppedError
            if self._framing.can_reuse:
                self._give_back(connection)
            else:
                connection.close()

    def close(self) -> None:
        """Drop an unfinished body, and its connection with it."""
        connection, self._connection = self._connection, None
        if connection is not None:
            self._attempt.unwatch()
            connection.close()

    release_conn = close


def _decoder(encoding: str) -> Any:
    # We ask for no compression, but some gateways compress all the same.
    if encoding.strip().lower() in ("gzip", "x-gzip", "deflate"):
        return zlib.decompressobj(zlib.MAX_WBITS | 32)
    return None
