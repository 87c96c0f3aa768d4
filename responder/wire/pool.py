"""Which connection carries a request: one that is idle, or a new one. Knows what may be used again, and survives a fork."""

from __future__ import annotations

import os
import ssl
import threading
import time
import weakref

from responder.wire.body import Response
from responder.wire.connection import Attempt, Connection, Origin, StoppedError
from responder.wire.http1 import read_head

# An idle connection that is older is not used again: load balancers drop them silently after a minute or more.
IDLE_SECONDS = 55.0


class Pool:
    """Idle connections, the most recently used first. Safe for threads, and emptied in a forked child.

    It never makes anyone wait: the caller's own threads bound how many connections are open. In a child that `fork` made, the
    inherited sockets are closed without a word to the server, since the parent goes on using them.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._idle: dict[tuple[Origin, str | None], list[Connection]] = {}
        self._every: weakref.WeakSet[Connection] = weakref.WeakSet()
        _pools.add(self)

    def exchange(
        self, attempt: Attempt, origin: Origin, context: ssl.SSLContext | None, proxy: str | None, request: bytes
    ) -> Response:
        """Send a request and return the reply as soon as its headers are there.

        A connection that the server closed while it was idle costs nothing: where not one byte of a reply has come on a
        reused connection, the request goes out once more on a new one.
        """
        if attempt.cancelled:
            raise StoppedError
        connection = self._take(origin, proxy)
        if connection is not None:
            try:
                return self._exchange(attempt, connection, request)
            except (ConnectionResetError, BrokenPipeError, ssl.SSLEOFError, ssl.SSLZeroReturnError):
                if connection.has_answered or attempt.cancelled:
                    raise
        connection = Connection(origin, context, proxy)
        with self._lock:
            self._every.add(connection)
        return self._exchange(attempt, connection, request)

    def _exchange(self, attempt: Attempt, connection: Connection, request: bytes) -> Response:
        try:
            attempt.watch(connection)
            if not connection.is_open:
                connection.open(attempt)
            connection.has_answered = False
            connection.send(request, attempt)
            head, rest = read_head(lambda: connection.receive(attempt))
            return Response(connection, self.give_back, attempt, head, rest)
        except BaseException:
            attempt.unwatch()
            connection.close()
            raise

    def _take(self, origin: Origin, proxy: str | None) -> Connection | None:
        while True:
            with self._lock:
                idle = self._idle.get((origin, proxy))
                if not idle:
                    return None
                connection = idle.pop()
            if time.monotonic() - connection.idle_since < IDLE_SECONDS and connection.is_usable():
                return connection
            connection.close()

    def give_back(self, connection: Connection) -> None:
        """Keep a connection for the next call; drop those that have been idle for too long."""
        now = connection.idle_since = time.monotonic()
        old = []
        with self._lock:
            idle = self._idle.setdefault((connection.origin, connection.proxy), [])
            idle.append(connection)
            while now - idle[0].idle_since > IDLE_SECONDS:
                old.append(idle.pop(0))
        for connection in old:
            connection.close()

    def close(self) -> None:
        """Close the idle connections; calls in flight go on."""
        with self._lock:
            idle, self._idle = self._idle, {}
        for connections in idle.values():
            for connection in connections:
                connection.close()

    def __del__(self) -> None:
        if hasattr(self, "_idle"):
            self.close()  # without this, each idle socket would complain for itself

    def _forget(self) -> None:
        """Start anew in a forked child, where a lock may be held by a thread that does not exist any more."""
        self._lock = threading.Lock()
        self._idle = {}
        for connection in list(self._every):
            connection.abandon()
        self._every = weakref.WeakSet()


_pools: weakref.WeakSet[Pool] = weakref.WeakSet()


def _after_fork() -> None:
    for pool in list(_pools):
        pool._forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
