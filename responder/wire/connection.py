"""One connection to a provider, with a clock and a way to cancel. Knows neither `requests` nor HTTP's replies.

Why our own sockets, and not urllib3's: a call must end at its deadline whatever the server does, and must end within
milliseconds when another thread cancels it, before or after the headers came. Both need the socket itself. Each `recv` here
is given the time that is left of the attempt, so that a server that drips a byte a second cannot hold a call, and a
cancelled call has its socket shut down, which wakes the thread that reads from it. What a reply looks like is in
`http1.py`, and which connection is used is in `pool.py`.
"""

from __future__ import annotations

import math
import select
import socket
import ssl
import threading
import time
from base64 import b64encode
from dataclasses import dataclass
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from responder.values.cancellation import CancelToken
from responder.wire.http1 import read_head

# Some clouds forget a silent connection after 120 s (GCP) or 350 s (AWS); a model may think longer than that.
_KEEP_ALIVE = (("TCP_KEEPIDLE", 60), ("TCP_KEEPALIVE", 60), ("TCP_KEEPINTVL", 60), ("TCP_KEEPCNT", 5))


# Bytes that are read at once.
READ_SIZE = 65536

# Eleven days: the longest that one wait is given. More than 24 days would overflow the operating system's clock.
_LONGEST_WAIT = 1e6


class StoppedError(Exception):
    """The attempt was cancelled; whatever was read after that is worthless."""


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
        ends: `time.monotonic()` when it must be over, in seconds.
        connect: Seconds for opening a connection.
        cancel: The token that stops it, or None.
        registered: The number of the callback that is registered with the token.
    """

    ends: float = math.inf
    connect: float = 10.0
    cancel: CancelToken | None = None
    registered: int = -1

    @property
    def cancelled(self) -> bool:
        """True when the token was cancelled."""
        return self.cancel is not None and self.cancel.cancelled

    def remaining(self, bound: float = math.inf) -> float | None:
        """Seconds that the next step may take, at most `bound`; None means without limit.

        Raises:
            TimeoutError: No time is left.
        """
        left = min(self.ends - time.monotonic(), bound)
        if left <= 0:
            raise TimeoutError("the time of the attempt is over")
        return None if left == math.inf else min(left, _LONGEST_WAIT)

    def watch(self, connection: Connection) -> None:
        """Have the connection shut down when the token is cancelled."""
        if self.cancel is not None:
            if self.cancel.cancelled:
                raise StoppedError
            self.registered = self.cancel.register(connection.shutdown)

    def unwatch(self) -> bool:
        """Stop watching; False when the connection was, or is being, shut down: it must not be used again."""
        return self.cancel is None or self.cancel.unregister(self.registered)


class Connection:
    """One connection to an origin, perhaps through a proxy. One thread uses it; any thread may shut it down."""

    def __init__(self, origin: Origin, context: ssl.SSLContext | None, proxy: str | None) -> None:
        self.origin = origin
        self.proxy = proxy
        self.idle_since = 0.0
        self.has_answered = False  # since it was last taken from the pool
        self._context = context
        self._proxy = urlsplit(proxy) if proxy else None
        # Held while the file descriptor is closed or shut down, so that a late shutdown cannot hit a number that the
        # operating system has given to another socket.
        self._lock = threading.Lock()
        self._sock: socket.socket | None = None

    def open(self, attempt: Attempt) -> None:
        """Connect, through the proxy's tunnel where there is one, and shake hands for https."""
        ends = time.monotonic() + attempt.connect
        host, port = self.origin.host, self.origin.port
        if self._proxy is not None:
            host, port = self._proxy.hostname or "", self._proxy.port or 80
        self._connect(host, port, attempt, ends)
        if self._context is not None:
            if self._proxy is not None:
                self._tunnel(attempt, ends)
            assert self._sock is not None  # noqa: S101 - `_connect` returned, so there is one
            plain, server = self._sock, self.origin.host
            secure = self._context.wrap_socket(plain, server_hostname=server, do_handshake_on_connect=False)
            self._replace(secure, attempt)
            secure.settimeout(attempt.remaining(ends - time.monotonic()))
            secure.do_handshake()
            secure.setblocking(False)

    def _connect(self, host: str, port: int, attempt: Attempt, ends: float) -> None:
        failure: OSError | None = None
        for family, kind, protocol, _, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
            sock = socket.socket(family, kind, protocol)
            self._replace(sock, attempt)
            try:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
                for name, value in _KEEP_ALIVE:
                    if hasattr(socket, name):
                        sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
                sock.settimeout(attempt.remaining(ends - time.monotonic()))
                sock.connect(address)
                # From here on nothing blocks in the socket itself: waiting is done by `_wait`, which is told for how long.
                # A socket with a timeout lets go of the interpreter lock three times for each read or write, and with
                # hundreds of threads each time costs a switch.
                sock.setblocking(False)
                return
            except OSError as error:
                failure = error
                self.close()
                if attempt.cancelled:
                    break
        raise failure or OSError(f"{host} has no address")

    def _replace(self, sock: socket.socket, attempt: Attempt) -> None:
        with self._lock:
            self._sock = sock
        # A shutdown that came while there was no socket yet found nothing to shut down.
        if attempt.cancelled:
            raise StoppedError

    def _tunnel(self, attempt: Attempt, ends: float) -> None:
        host = f"[{self.origin.host}]" if ":" in self.origin.host else self.origin.host
        target = f"{host}:{self.origin.port}"
        lines = [f"CONNECT {target} HTTP/1.1", f"Host: {target}", *proxy_authorization(self.proxy)]
        bounded = Attempt(min(attempt.ends, ends))
        self.send(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1"), bounded)
        response, _ = read_head(lambda: self.receive(bounded))
        if response.status != 200:
            raise TunnelRefusedError(f"the proxy refused the tunnel to {target}: {response.status} {response.reason}")

    def receive(self, attempt: Attempt) -> bytes:
        """Return the next bytes as soon as there are any, waiting for them within the attempt's time; b"" at the end."""
        sock = self._open_socket()
        # Waiting first, because mostly nothing is there yet and a vain try costs as much as a wait; only TLS may hold bytes
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

    def send(self, data: bytes, attempt: Attempt) -> None:
        """Send all bytes within the attempt's time."""
        sock = self._open_socket()
        view = memoryview(data)
        while view:
            try:
                view = view[sock.send(view) :]
            except (BlockingIOError, ssl.SSLWantWriteError):
                _wait(sock, True, attempt.remaining())
            except ssl.SSLWantReadError:
                _wait(sock, False, attempt.remaining())

    def _open_socket(self) -> socket.socket:
        if self._sock is None:
            raise StoppedError
        return self._sock

    @property
    def is_open(self) -> bool:
        """True once it was opened, until it is closed."""
        return self._sock is not None

    def is_usable(self) -> bool:
        """True when the server has neither closed this idle connection nor sent anything unasked."""
        if self._sock is None:
            return False
        # Asked even of a connection that has just been used: what came unasked would be taken for the reply to the next request.
        return not is_ready(self._sock, False, 0.0)

    def shutdown(self) -> None:
        """End whatever another thread does with this connection, at once."""
        with self._lock:
            if self._sock is not None:
                try:
                    # The plain method on purpose: SSLSocket.shutdown drops its TLS state, and the reading thread
                    # would take the ciphertext that is still in flight for HTTP.
                    socket.socket.shutdown(self._sock, socket.SHUT_RDWR)
                except OSError:
                    pass  # not connected yet, or closed by the server: there is nothing to wake

    def close(self) -> None:
        """Close the socket; harmless when it is closed."""
        with self._lock:
            sock, self._sock = self._sock, None
            if sock is not None:
                sock.close()

    def abandon(self) -> None:
        """Close a forked child's copy of the socket: the parent's connection stays as it is."""
        self._lock = threading.Lock()
        self.close()


def is_ready(sock: socket.socket, for_writing: bool, seconds: float | None) -> bool:
    """Wait until a socket can be read (or written), or was shut down; False when the time was over first."""
    if not hasattr(select, "poll"):  # Windows
        readers, writers = ([], [sock]) if for_writing else ([sock], [])
        return any(select.select(readers, writers, [], seconds))
    poller = select.poll()
    poller.register(sock, select.POLLOUT if for_writing else select.POLLIN)
    return bool(poller.poll(None if seconds is None else math.ceil(seconds * 1000)))


def _wait(sock: socket.socket, for_writing: bool, seconds: float | None) -> None:
    if not is_ready(sock, for_writing, seconds):
        raise TimeoutError("nothing came within the time of the attempt")


def proxy_authorization(proxy: str | None) -> list[str]:
    """Return the header line that a proxy wants, where its URL holds a user and a password."""
    parts = urlsplit(proxy or "")
    if parts.username is None:
        return []
    login = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
    return ["Proxy-Authorization: Basic " + b64encode(login.encode()).decode("ascii")]
