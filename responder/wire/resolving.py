"""Which addresses does a host have? `getaddrinfo`, bounded by the attempt that asks, and asked once for many connections.

The C library's resolver has no deadline: with a name server that does not answer it blocks for half a minute. It runs
in a daemon thread, and each caller waits only as long as its own attempt may.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable
from typing import Any

from responder.values.cancellation import CancelToken
from responder.values.clock import monotonic
from responder.wire.dialing import EXHAUSTED, Address

# Seconds for which addresses are reused: the connections that a run opens at its start need one lookup, not one each.
_FRESH = 5.0

# Seconds before a host that does not exist is looked up a second time: a name server may hiccup.
_PAUSE = 0.5

# "No such name", in the words of different C libraries.
UNKNOWN = {number for name in ("EAI_NONAME", "EAI_NODATA") if (number := getattr(socket, name, None)) is not None}


class UnknownHostError(OSError):
    """The name has no address, according to two lookups.

    Attributes:
        has_been_known: True when the same name had addresses earlier.
    """

    has_been_known = False


class InvalidHostError(OSError):
    """No resolver accepts such a name."""


class _Lookup:
    """A lookup that may be under way; each waiting thread leaves an event."""

    def __init__(self) -> None:
        self.ended = 0.0  # on the monotonic clock; 0: it is under way
        self.addresses: list[Address] = []
        self.failure: Exception | None = None
        self.waiting: list[threading.Event] = []


class Resolver:
    """The addresses of hosts, shared by the connections of one pool and process. Safe for threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lookups: dict[tuple[str, int], _Lookup] = {}
        self._known: set[str] = set()

    def addresses(self, host: str, port: int, left: Callable[[], float | None], cancel: CancelToken | None) -> list[Address]:
        """Return the addresses of a host, in the order in which they should be tried; [] when the token was cancelled.

        Args:
            host: A name or an address.
            port: The port.
            left: Returns the seconds that are left, None for no limit; raises TimeoutError when there are none.
            cancel: Ends the wait.

        Raises:
            TimeoutError: From `left`.
            UnknownHostError: There is no such host.
            InvalidHostError: It cannot be a host.
            OSError: The name server could not be asked.
        """
        if _is_address(host):
            return _looked_up(host, port)  # no lookup is needed, so it cannot block
        try:
            return self._shared(host, port, left, cancel)
        except UnknownHostError:
            pause = left()
            pause = _PAUSE if pause is None else min(pause, _PAUSE)
            waker = threading.Event() if cancel is None else cancel
            if waker.wait(pause):
                return []
        try:
            return self._shared(host, port, left, cancel)
        except UnknownHostError as error:
            error.has_been_known = host in self._known
            raise

    def forget(self, host: str, port: int) -> None:
        """Look a host up again next time: none of its addresses could be reached."""
        with self._lock:
            lookup = self._lookups.get((host, port))
            if lookup is not None and lookup.ended:
                del self._lookups[host, port]

    def _shared(self, host: str, port: int, left: Callable[[], float | None], cancel: CancelToken | None) -> list[Address]:
        with self._lock:
            lookup = self._lookups.get((host, port))
            if lookup is not None and lookup.ended and not lookup.failure and monotonic() - lookup.ended < _FRESH:
                return lookup.addresses
            mine = lookup is None or lookup.ended > 0
            if lookup is None or mine:
                lookup = self._lookups[host, port] = _Lookup()
            arrived = threading.Event()
            lookup.waiting.append(arrived)
        if mine:
            self._start(lookup, host, port)
        number = cancel.register(arrived.set) if cancel is not None else -1
        try:
            while not lookup.ended and not (cancel is not None and cancel.cancelled):
                arrived.wait(left())
        finally:
            if cancel is not None:
                cancel.unregister(number)
        if not lookup.ended:
            return []
        if lookup.failure is not None:
            raise _own_copy(lookup.failure, host)
        return lookup.addresses

    def _start(self, lookup: _Lookup, host: str, port: int) -> None:
        def run() -> None:
            try:
                lookup.addresses = _looked_up(host, port)
                self._known.add(host)
            except Exception as error:  # noqa: BLE001 - carried to those who wait, who raise it
                lookup.failure = error
            finally:
                with self._lock:
                    lookup.ended = monotonic()
                    waiting, lookup.waiting = lookup.waiting, []
                for event in waiting:
                    event.set()

        try:
            threading.Thread(target=run, name="responder-resolver", daemon=True).start()
        except (RuntimeError, MemoryError):  # no more threads: an unbounded lookup is better than none
            run()


def _looked_up(host: str, port: int) -> list[Address]:
    found: list[Any] = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [(family, kind, protocol, address) for family, kind, protocol, _, address in found]


def _is_address(host: str) -> bool:
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            socket.inet_pton(family, host.partition("%")[0])
        except (OSError, ValueError):
            continue
        return True
    return False


def _own_copy(failure: Exception, host: str) -> Exception:
    """Return an error for one of those who wait; one object raised by many threads would collect their tracebacks."""
    if isinstance(failure, UnicodeError):
        return InvalidHostError(f"{host!r} cannot be the name of a host")
    if isinstance(failure, OSError):
        exhausted = _exhausted()
        if exhausted is not None:  # the C library calls that "name or service not known"
            return exhausted
        if isinstance(failure, socket.gaierror) and failure.errno in UNKNOWN:
            return UnknownHostError(failure.errno, failure.strerror)
        return type(failure)(*failure.args)
    return failure


def _exhausted() -> OSError | None:
    try:
        os.close(os.open(os.devnull, os.O_RDONLY))
    except OSError as error:
        if error.errno in EXHAUSTED:
            return error
    return None
