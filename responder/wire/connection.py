"""One connection to a provider, with a clock and a way to cancel. Knows neither `requests` nor HTTP's replies.

Why our own sockets, and not urllib3's: a call must end at its deadline whatever the server does, and must end within
milliseconds when another thread cancels it, before or after the headers came. Both need the socket itself. Each `recv` here
is given the time left for the attempt, so that a server that drips a byte a second cannot hold up a call, and a
cancelled call has its socket shut down, which wakes the thread that reads from it. What a reply looks like is in
`http1.py`, which connection is used is in `pool.py`, and which of a host's addresses in `dialing.py`.
"""

from __future__ import annotations

import http.client
import math
import re
import select
import socket
import ssl
import threading
from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass
from os import getpid
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

from responder.values.cancellation import CancelToken
from responder.values.clock import monotonic
from responder.values.dropped import close_dropped
from responder.values.sizes import Sizes
from responder.wire.dialing import Dialing
from responder.wire.http1 import read_head
from responder.wire.masking import Secret
from responder.wire.resolving import Resolver
from responder.wire.signals import is_from_a_signal

# Bytes per read.
READ_SIZE = 65536

# Eleven days: the longest single wait. More than 24 days would overflow the operating system's clock.
_LONGEST_WAIT = 1e6

# Bytes of a reply that are kept while the request is still being sent.
_LONGEST_EARLY_REPLY = 256 * 1024


_EMPTY_LINE = re.compile(rb"\r?\n\r?\n")


class StoppedError(Exception):
    """The attempt was cancelled; anything read after that is worthless."""


class TunnelRefusedError(OSError):
    """The proxy answered CONNECT with a status of its own."""


class Origin(NamedTuple):
    """Where to connect to."""

    scheme: str
    host: str
    port: int

    @classmethod
    def of(cls, url: str) -> Origin:
        """Return the origin of an http or https URL."""
        parts = urlsplit(url)
        return cls(parts.scheme, parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80))


@dataclass(slots=True)
class Attempt:
    """The clock and the stop button of one attempt.

    Attributes:
        ends: On the monotonic clock, when it must be over, in seconds.
        connect: Seconds for opening a connection.
        cancel: The token that stops it, or None.
        registered: The number of the callback that is registered with the token.
        stage: How far it got: "connecting", "sending" or "waiting" for the reply.
        sizes: What may be read of the reply; None: the bounds of the process.
        is_sent_once: True for a request that must not go out again by itself: it never goes over a connection that was kept, and
            may be closed already.
    """

    ends: float = math.inf
    connect: float = 10.0
    cancel: CancelToken | None = None
    registered: int = -1
    stage: str = "connecting"
    sizes: Sizes | None = None
    is_sent_once: bool = False

    @property
    def cancelled(self) -> bool:
        """True when the token was cancelled."""
        return self.cancel is not None and self.cancel.cancelled

    def remaining(self, bound: float = math.inf) -> float | None:
        """Seconds that the next step may take, at most `bound`; None means without limit.

        Raises:
            TimeoutError: No time is left.
        """
        left = min(self.ends - monotonic(), bound)
        if left <= 0:
            raise TimeoutError("the attempt ran out of time")
        return None if left == math.inf else min(left, _LONGEST_WAIT)

    def watch(self, connection: Connection) -> None:
        """Have the connection shut down when the token is cancelled."""
        if self.cancel is not None:
            if self.cancel.cancelled:
                raise StoppedError
            self.registered = self.cancel.register(connection.shutdown)

    def unwatch(self) -> bool:
        """Stop watching; False when the connection was or is being shut down: it must not be reused."""
        return self.cancel is None or self.cancel.unregister(self.registered)


class Connection:
    """One connection to an origin, perhaps through a proxy. One thread uses it; any thread may shut it down.

    It belongs to the process that opened it: a forked child neither reads from it nor shuts it down.

    Attributes:
        idle_since: When it was given back, on the clock that counts suspended time as well.
        has_answered: Whether a byte of a reply has come since it was last taken from the pool.
        was_cut_short: Whether the last request was not sent in full, because the reply came first.
    """

    def __init__(self, origin: Origin, context: ssl.SSLContext | None, proxy: str | None) -> None:
        self.origin = origin
        self.proxy = proxy
        self.idle_since = 0.0
        self.has_answered = False
        self.was_cut_short = False
        self._process = getpid()
        self._context = context
        self._proxy = urlsplit(proxy) if proxy else None
        # Held while the file descriptor is closed or shut down, so that a late shutdown cannot hit a number that the
        # operating system has given to another socket.
        self._lock = threading.Lock()
        self._sock: socket.socket | None = None
        self._dialing: Dialing | None = None
        self._early = b""  # what came while the request was being sent

    def open(self, attempt: Attempt, resolver: Resolver) -> None:
        """Connect, through the proxy's tunnel where there is one, and shake hands for https."""
        attempt.stage = "connecting"
        ends = monotonic() + attempt.connect
        host, port = self.origin.host, self.origin.port
        if self._proxy is not None:
            host, port = self._proxy.hostname or "", self._proxy.port or 80

        def left() -> float | None:
            return attempt.remaining(ends - monotonic())

        addresses = resolver.addresses(host, port, left, attempt.cancel)
        dialing = Dialing(self._lock)
        with self._lock:
            self._dialing = dialing
        if attempt.cancelled:  # a shutdown that came before there was a socket
            raise StoppedError
        try:
            self._sock = dialing.run(addresses, left)
        except OSError:
            resolver.forget(host, port)
            raise
        finally:
            self._dialing = None
        if attempt.cancelled:
            raise StoppedError
        if self._context is not None:
            if self._proxy is not None:
                self._tunnel(Attempt(min(attempt.ends, ends)))
            self._shake_hands(self._context, attempt, ends)

    def _shake_hands(self, context: ssl.SSLContext, attempt: Attempt, ends: float) -> None:
        assert self._sock is not None  # noqa: S101 - it is connected
        secure = context.wrap_socket(self._sock, server_hostname=self.origin.host, do_handshake_on_connect=False)
        with self._lock:
            self._sock = secure
        if attempt.cancelled:  # the shutdown may have come between the two sockets
            raise StoppedError
        secure.settimeout(attempt.remaining(ends - monotonic()))
        secure.do_handshake()
        secure.setblocking(False)

    def _tunnel(self, attempt: Attempt) -> None:
        host = f"[{self.origin.host}]" if ":" in self.origin.host else self.origin.host
        target = f"{host}:{self.origin.port}"
        lines = [f"CONNECT {target} HTTP/1.1", f"Host: {target}", *proxy_authorization(self.proxy)]
        self.send(memoryview(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")), attempt)
        response, rest = read_head(lambda: self.receive(attempt))
        if response.status != 200:
            raise TunnelRefusedError(f"the proxy refused the tunnel to {target}: {response.status} {response.reason}")
        if rest:  # the provider has said nothing yet: these bytes are the proxy's, and would be taken for the provider's
            raise http.client.HTTPException("the proxy sent something behind its reply to CONNECT, before the tunnel was used")

    def receive(self, attempt: Attempt) -> bytes:
        """Return the next bytes as soon as there are any, waiting for them within the attempt's time; b"" at the end."""
        if self._early:
            data, self._early = self._early, b""
            return data
        sock = self._open_socket()
        # Wait first, because mostly nothing is there yet and a failed read costs as much as a wait; only TLS may hold bytes
        # of its own that waiting on the socket would not see.
        if not (isinstance(sock, ssl.SSLSocket) and sock.pending()):
            _wait(sock, False, attempt.remaining())
        while True:
            try:
                data = sock.recv(READ_SIZE)
            except (BlockingIOError, ssl.SSLWantReadError):
                _wait(sock, False, attempt.remaining())
            except ssl.SSLWantWriteError:
                _wait(sock, True, attempt.remaining())
            else:
                self.has_answered = self.has_answered or bool(data)
                return data

    def send(self, view: memoryview, attempt: Attempt) -> None:
        """Send all bytes within the attempt's time, or as many as the server accepts: an early refusal ends the sending.

        A server that refuses a request (413, 401, 429) need not read all of it. Its reply is kept for `receive`, and
        `was_cut_short` says that the connection cannot be used again.
        """
        sock = self._open_socket()
        while view:
            try:
                view = view[sock.send(view) :]
                continue
            except (BlockingIOError, ssl.SSLWantWriteError, ssl.SSLWantReadError) as blocked:
                reading = isinstance(blocked, ssl.SSLWantReadError)
            except (ConnectionError, ssl.SSLEOFError, ssl.SSLZeroReturnError) as error:
                # The server has closed the connection. Its last words say more than the way it closed.
                if is_from_a_signal(error) or not (self._listen(sock) or self._early):
                    raise
                self.was_cut_short = True
                return
            if self._is_refused(sock, reading, attempt):
                self.was_cut_short = True
                return

    def _is_refused(self, sock: socket.socket, only_reading: bool, attempt: Attempt) -> bool:
        """Wait until sending can go on; True if it need not, because the server refused the request or closed."""
        listening = len(self._early) < _LONGEST_EARLY_REPLY
        if not _is_any_ready(sock, listening or only_reading, not only_reading, attempt.remaining()):
            raise TimeoutError("the server did not accept the whole request in the time of the attempt")
        return listening and self._listen(sock)

    def _listen(self, sock: socket.socket) -> bool:
        """Take what has come, without waiting; True when it makes the rest of the request pointless."""
        while len(self._early) < _LONGEST_EARLY_REPLY:
            try:
                data = sock.recv(READ_SIZE)
            except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
                break
            except ConnectionError as error:
                if is_from_a_signal(error):
                    raise
                data = b""
            if not data:
                return bool(self._early) or _raise_closed()
            self.has_answered = True
            self._early += data
        return _is_refusal(self._early)

    def _open_socket(self) -> socket.socket:
        if self._process != getpid():
            raise ConnectionAbortedError("this connection belongs to the process that was forked")
        if self._sock is None:
            raise StoppedError
        return self._sock

    @property
    def is_open(self) -> bool:
        """True once it was opened, until it is closed."""
        return self._sock is not None

    def is_usable(self) -> bool:
        """True when the server has neither closed this idle connection nor sent anything unasked."""
        if self._sock is None or self._early:
            return False
        # Checked even for a connection that was just used: unsolicited bytes would be taken for the reply to the next request.
        return not is_ready(self._sock, False, 0.0)

    def shutdown(self) -> None:
        """Stop whatever another thread is doing with this connection, at once."""
        if self._process != getpid():
            return  # the socket is the parent's as well, and a shutdown would end it for both
        with self._lock:
            if self._dialing is not None:
                self._dialing.stop()
            if self._sock is not None:
                try:
                    # The plain method on purpose: SSLSocket.shutdown drops its TLS state, and the reading thread
                    # would take the ciphertext that is still in flight for HTTP.
                    socket.socket.shutdown(self._sock, socket.SHUT_RDWR)
                except OSError:
                    pass  # not connected yet, or closed by the server: there is nothing to wake

    def fileno(self) -> int:
        """Return the number of the socket, -1 when it is closed."""
        return -1 if self._sock is None else self._sock.fileno()

    def close(self) -> None:
        """Close the socket; does nothing if it is closed."""
        with self._lock:
            sock, self._sock = self._sock, None
            if sock is not None:
                sock.close()

    def __del__(self, close: Callable[[Any, str], None] = close_dropped) -> None:
        # Of a connection that only the garbage collector finds, as in the traceback of an error that somebody kept.
        close(self, "_sock")

    def abandon(self) -> None:
        """Close a forked child's copy of the socket: the parent's connection stays as it is."""
        self._lock = threading.Lock()
        self.close()


def is_ready(sock: socket.socket, for_writing: bool, seconds: float | None) -> bool:
    """Wait until a socket can be read (or written), or was shut down; False if time ran out first."""
    if not hasattr(select, "poll"):  # Windows
        readers, writers = ([], [sock]) if for_writing else ([sock], [])
        return any(select.select(readers, writers, [], seconds))
    poller = select.poll()
    poller.register(sock, select.POLLOUT if for_writing else select.POLLIN)
    return bool(poller.poll(None if seconds is None else math.ceil(seconds * 1000)))


def _is_any_ready(sock: socket.socket, reading: bool, writing: bool, seconds: float | None) -> bool:
    """Wait until a socket can be read or written, whichever comes first; False if time ran out first."""
    if not hasattr(select, "poll"):  # Windows
        return any(select.select([sock] if reading else [], [sock] if writing else [], [], seconds))
    poller = select.poll()
    poller.register(sock, (select.POLLIN if reading else 0) | (select.POLLOUT if writing else 0))
    return bool(poller.poll(None if seconds is None else math.ceil(seconds * 1000)))


def _is_refusal(data: bytes) -> bool:
    """Return True when a reply has begun that makes the rest of the request pointless; interim replies (1xx) do not."""
    at = 0
    while data.startswith(b"HTTP/1.", at) and len(data) >= at + 12:
        kind = data[at + 9 : at + 10]
        if kind != b"1":
            return kind in (b"3", b"4", b"5")
        end = _EMPTY_LINE.search(data, at)
        if end is None:
            return False
        at = end.end()
    return False


def _raise_closed() -> bool:
    raise ConnectionResetError("the server closed the connection while the request was being sent")


def _wait(sock: socket.socket, for_writing: bool, seconds: float | None) -> None:
    if not is_ready(sock, for_writing, seconds):
        raise TimeoutError("nothing arrived in the time of the attempt")


def proxy_authorization(proxy: str | None) -> list[str]:
    """Return the header line for a proxy whose URL has a user and a password."""
    parts = urlsplit(proxy or "")
    if parts.username is None:
        return []
    login = Secret(f"{unquote(parts.username)}:{unquote(parts.password or '')}")
    return [Secret("Proxy-Authorization: Basic " + b64encode(login.encode()).decode("ascii"))]
