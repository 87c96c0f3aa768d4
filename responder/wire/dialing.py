"""How is a TCP connection opened when a host has several addresses? One after another, a little apart; the first to connect wins.

This is RFC 8305 ("Happy Eyeballs"): an address that swallows packets costs a quarter of a second, not the time for
connecting, and an address that this machine cannot use costs nothing.
"""

from __future__ import annotations

import errno
import math
import os
import select
import socket
import threading
from collections.abc import Callable, Sequence
from typing import Any

from responder.values.clock import monotonic

# The "connection attempt delay" of RFC 8305, section 5, in seconds.
_HEAD_START = 0.25

# Some clouds forget a silent connection after 120 s (GCP) or 350 s (AWS); a model may think longer than that.
_KEEP_ALIVE = (("TCP_KEEPIDLE", 60), ("TCP_KEEPALIVE", 60), ("TCP_KEEPINTVL", 15), ("TCP_KEEPCNT", 4))

# Milliseconds after which a connection whose peer acknowledges nothing is given up: a machine that is gone sends nothing.
_PEER_IS_GONE = 120_000

_OPTIONS = [
    (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    *((socket.IPPROTO_TCP, getattr(socket, name), value) for name, value in _KEEP_ALIVE if hasattr(socket, name)),
    *([(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _PEER_IS_GONE)] if hasattr(socket, "TCP_USER_TIMEOUT") else []),
]

_UNDER_WAY = {errno.EINPROGRESS, errno.EWOULDBLOCK, errno.EALREADY}

# These errors are about this machine, not the host; another address may work.
_UNUSABLE = {
    errno.EAFNOSUPPORT,
    errno.EADDRNOTAVAIL,
    errno.ENETUNREACH,
    errno.EHOSTUNREACH,
    errno.EPROTONOSUPPORT,
    errno.EACCES,
    errno.EPERM,
}

# Another address does not help with these.
EXHAUSTED = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}

Address = tuple[int, int, int, Any]
"""Family, type, protocol and socket address, as `getaddrinfo` has them."""


class Dialing:
    """One attempt to reach one of several addresses. One thread runs it; any thread may stop it.

    Args:
        lock: Held while a socket is closed or shut down, so that a late shutdown cannot hit a number that the operating
            system has given to another socket.
    """

    def __init__(self, lock: threading.Lock) -> None:
        self._lock = lock
        self._sockets: list[socket.socket] = []
        self._stopped = False

    def run(self, addresses: Sequence[Address], left: Callable[[], float | None]) -> socket.socket:
        """Return a connected socket that does not block.

        Args:
            addresses: In the order of preference; families are interleaved here.
            left: Returns the seconds that are left, None for no limit; raises TimeoutError when there are none.

        Raises:
            TimeoutError: From `left`.
            OSError: No address could be reached: the most telling of the errors.
        """
        waiting = interleaved(addresses)
        failures: list[OSError] = []
        start_next = 0.0
        try:
            while not self._stopped:
                now = monotonic()
                if waiting and (now >= start_next or not self._sockets):
                    start_next = now + _HEAD_START
                    winner = self._start(waiting.pop(0), failures)
                elif self._sockets:
                    seconds = left()
                    if waiting:
                        seconds = min(math.inf if seconds is None else seconds, start_next - now)
                    winner = self._finished(seconds, failures)
                else:
                    raise _most_telling(failures)
                if winner is not None:
                    return winner
            raise OSError(errno.ECONNABORTED, "stopped while connecting")
        finally:
            self._close_all()

    def stop(self) -> None:
        """End a `run` in another thread at once; the lock must be held."""
        self._stopped = True
        for sock in self._sockets:
            try:
                socket.socket.shutdown(sock, socket.SHUT_RDWR)
            except OSError:
                pass  # not connected yet on some systems; `run` looks at `_stopped`

    def _start(self, address: Address, failures: list[OSError]) -> socket.socket | None:
        family, kind, protocol, target = address
        try:
            sock = socket.socket(family, kind, protocol)
        except OSError as error:
            if error.errno in EXHAUSTED or error.errno is None:
                raise
            failures.append(error)
            return None
        with self._lock:
            self._sockets.append(sock)
        for option in _OPTIONS:
            sock.setsockopt(*option)
        # From here on nothing blocks in the socket itself: waiting is done by `poll`, with a timeout. A socket
        # with a timeout lets go of the interpreter lock three times for each read or write, and with hundreds of threads
        # each time costs a switch.
        sock.setblocking(False)
        code = sock.connect_ex(target)
        if code in _UNDER_WAY:
            return None
        return self._settled(sock, code, failures)

    def _finished(self, seconds: float | None, failures: list[OSError]) -> socket.socket | None:
        for sock in _done(self._sockets, seconds):
            winner = self._settled(sock, sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR), failures)
            if winner is not None:
                return winner
        return None

    def _settled(self, sock: socket.socket, code: int, failures: list[OSError]) -> socket.socket | None:
        with self._lock:
            self._sockets.remove(sock)
            if code == 0 and not self._stopped:
                return sock
            sock.close()
        failures.append(OSError(code, os.strerror(code)))
        return None

    def _close_all(self) -> None:
        with self._lock:
            for sock in self._sockets:
                sock.close()
            self._sockets = []


def interleaved(addresses: Sequence[Address]) -> list[Address]:
    """Return addresses with their families taking turns, the first one's family first (RFC 8305, section 4)."""
    if len(addresses) < 3:
        return list(addresses)
    first = [address for address in addresses if address[0] == addresses[0][0]]
    others = [address for address in addresses if address[0] != addresses[0][0]]
    mixed = []
    for number, address in enumerate(first):
        mixed += [address, *others[number : number + 1]]
    return mixed + others[len(first) :]


def _most_telling(failures: list[OSError]) -> OSError:
    if not failures:
        return OSError("the host has no address")
    return next((failure for failure in failures if failure.errno not in _UNUSABLE), failures[0])


def _done(sockets: list[socket.socket], seconds: float | None) -> list[socket.socket]:
    """Wait until some of the sockets have connected or failed; [] if time ran out first."""
    if not hasattr(select, "poll"):  # Windows, which reports failures separately from successes
        _, connected, failed = select.select([], sockets, sockets, seconds)
        return [*connected, *(sock for sock in failed if sock not in connected)]
    poller = select.poll()
    for sock in sockets:
        poller.register(sock, select.POLLOUT)
    ready = {number for number, _ in poller.poll(None if seconds is None else math.ceil(seconds * 1000))}
    return [sock for sock in sockets if sock.fileno() in ready]
