"""The body of a reply, read as it arrives, decompressed, and its connection given back to the pool when it is whole."""

from __future__ import annotations

import http.client
import zlib
from collections.abc import Callable, Iterator
from typing import Any

from responder.values.errors import InvalidResponseError
from responder.values.sizes import Sizes, default_sizes
from responder.wire.codings import codings_in, decoded
from responder.wire.connection import READ_SIZE, Attempt, Connection, StoppedError
from responder.wire.http1 import Framing, Head
from responder.wire.signals import is_from_a_signal


class Response:
    """A reply whose body is read as it arrives.

    Attributes:
        status: HTTP status.
        reason: The status in words.
        headers: Names in lower case, and their values.
    """

    def __init__(
        self,
        connection: Connection,
        give_back: Callable[[Connection], object],
        attempt: Attempt,
        head: Head,
        rest: bytes,
        sizes: Sizes | None = None,
    ) -> None:
        """Prepare to read; `rest` are the bytes that came with the head, and `sizes` the bounds (None: those of the process)."""
        sizes = sizes or default_sizes()
        self.status = head.status
        self.reason = head.reason
        self.headers = head.headers
        self._give_back = give_back
        self._connection: Connection | None = connection
        self._attempt = attempt
        self._sizes = sizes
        self._framing = Framing(head, sizes)
        self._rest = rest
        self._decoded: Iterator[bytes] | None = None
        if "content-encoding" in head.headers:
            codings = codings_in(head.headers["content-encoding"])
            self._decoded = decoded(iter(self._next, b""), codings, sizes.decompressed)

    def read(self) -> bytes:
        """Return the whole body, decoded; raises as `read1` does.

        For an error reply, whatever can be read of the body is enough: the status says more than an error that
        the body was cut, too large, or compressed in a way that cannot be read.
        """
        if not 200 <= self.status < 300:
            return self._read_error()
        first = self.read1()
        piece = self.read1() if first else b""
        if not piece:
            return first
        body = bytearray(first)  # not a list: a server that sends single bytes would make it ten times as large
        while piece:
            body += piece
            piece = self.read1()
        return bytes(body)

    def _read_error(self) -> bytes:
        body = bytearray()
        most = self._sizes.error_body
        try:
            while len(body) < most and (piece := self.read1()):
                body += piece
        except InvalidResponseError as error:
            body = body or bytearray(str(error).encode())
        except TimeoutError:
            raise
        except (http.client.HTTPException, OSError, zlib.error) as error:
            if self._attempt.cancelled or is_from_a_signal(error):  # that is why it ended early
                raise
        self.close()
        return bytes(body[:most])

    def read1(self, amount: int = READ_SIZE, decode_content: bool = True) -> bytes:  # noqa: ARG002 - urllib3's signature
        """Return the next bytes as soon as there are any; b"" at the end of the body.

        Raises:
            http.client.IncompleteRead: The body is shorter than its headers say, or than its compressed data.
            http.client.HTTPException: Its chunks are malformed.
            zlib.error: Its compressed data is damaged.
            InvalidResponseError: It is larger than a bound of `Sizes`, or compressed in a way that cannot be read.
        """
        if self._decoded is None:
            return self._next()
        try:
            return next(self._decoded, b"")
        except BaseException:
            self.close()
            raise

    def stream(self, amount: int = READ_SIZE, decode_content: bool = True) -> Any:
        """Yield the body in pieces; what `requests` calls for `iter_content`."""
        while piece := self.read1(amount, decode_content):
            yield piece

    def _next(self) -> bytes:
        """Return the next bytes as they came over the wire, without what frames them; b"" at the end."""
        connection, framing = self._connection, self._framing
        while connection is not None:
            try:
                if framing.ended:  # a reply without a body: what came after its head is not part of it
                    framing.feed(self._rest)
                    data = b""
                else:
                    data, self._rest = self._rest or connection.receive(self._attempt), b""
                    data = framing.feed(data)
                if framing.ended:
                    self._finish()
                    connection = None
            except BaseException:
                self.close()
                raise
            if data:
                return data
        return b""

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
