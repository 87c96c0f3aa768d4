"""Which connection carries a request: one that is idle, or a new one. Knows what may be reused, and survives a fork."""

from __future__ import annotations

import os
import select
import ssl
import threading
import time
import weakref
from collections.abc import Callable, Iterable
from os import getpid
from typing import Any

from responder.values.clock import boottime
from responder.values.dropped import close_dropped
from responder.wire.body import Response
from responder.wire.connection import Attempt, Connection, Origin, StoppedError
from responder.wire.dialing import EXHAUSTED
from responder.wire.http1 import read_head
from responder.wire.resolving import Resolver
from responder.wire.routes import Route
from responder.wire.signals import is_from_a_signal

# An older idle connection is not reused: load balancers drop them silently after a minute or more.
IDLE_SECONDS = 55.0

# Seconds between checks of the idle connections for those that the server has closed.
_SWEEP_SECONDS = 2.0


class _Shared:
    """What the threads of one process share of a pool; a forked child starts with another one."""

    def __init__(self) -> None:
        self.process = getpid()
        self.lock = threading.Lock()
        self.idle: dict[tuple[Origin, str | None], list[Connection]] = {}
        self.every: weakref.WeakSet[Connection] = weakref.WeakSet()
        self.resolver = Resolver()

    def close(self) -> bool:
        """Close the idle connections; return True when there were some."""
        with self.lock:
            idle, self.idle = self.idle, {}
        for connections in idle.values():
            for connection in connections:
                connection.close()
        return bool(idle)

    def close_with(self, pool: Pool) -> None:
        """Close them when the pool is dropped.

        A garbage collector that finds the pool among rubbish calls this before it looks at the sockets; `__del__` of the pool
        may come after theirs, which warn.
        """
        weakref.finalize(pool, self._close_here).atexit = False

    def _close_here(self) -> None:
        if self.process == getpid():
            self.close()


class Pool:
    """Idle connections, the most recently used first. Safe for threads, and empty in a forked child.

    It never makes anyone wait: the caller's own threads bound how many connections are open. In a forked child the inherited
    sockets are closed without telling the server, since the parent still uses them. The number of the process is compared
    each time, because a fork by C code (uWSGI) runs none of Python's hooks.
    """

    def __init__(self) -> None:
        self._shared = _Shared()
        self._by_process = {self._shared.process: self._shared}
        self._shared.close_with(self)
        _pools.add(self)

    def exchange(self, attempt: Attempt, way: Route, request: Callable[[], memoryview], more: Iterable[bytes] = ()) -> Response:
        """Send a request and return the reply as soon as its headers are there.

        A connection that the server closed while it was idle costs nothing: if not one byte of a reply has come on a
        reused connection, the request is sent again on a new one.

        Args:
            attempt: Its clock and its stop button.
            way: Where to, whom to trust, and over which proxy.
            request: Returns the request's bytes as a view. They hold the key: no variable of ours shows them.
            more: What follows them, in pieces; iterated over again where the request goes out again.
        """
        if attempt.cancelled:
            raise StoppedError
        shared = self._here()
        connection = None if attempt.is_sent_once else self._take(shared, way)
        if connection is not None:
            try:
                return self._exchange(attempt, connection, request, shared, more)
            except (ConnectionResetError, BrokenPipeError, ssl.SSLEOFError, ssl.SSLZeroReturnError) as error:
                if connection.has_answered or attempt.cancelled or is_from_a_signal(error):
                    raise
        connection = Connection(way.origin, way.context, way.proxy)
        with shared.lock:
            shared.every.add(connection)
        return self._exchange(attempt, connection, request, shared, more)

    def _exchange(
        self,
        attempt: Attempt,
        connection: Connection,
        request: Callable[[], memoryview],
        shared: _Shared,
        more: Iterable[bytes],
    ) -> Response:
        try:
            attempt.watch(connection)
            if not connection.is_open:
                _open(connection, attempt, shared.resolver)
            connection.has_answered = False
            attempt.stage = "sending"
            connection.send(request(), attempt)
            for piece in more:
                if connection.was_cut_short:
                    break
                connection.send(memoryview(piece), attempt)
            attempt.stage = "waiting"
            head, rest = read_head(lambda: connection.receive(attempt))
            give_back = Connection.close if connection.was_cut_short else self.give_back
            return Response(connection, give_back, attempt, head, rest, attempt.sizes)
        except BaseException:
            attempt.unwatch()
            connection.close()
            raise

    def _here(self) -> _Shared:
        """Return what this process's threads share; in a forked child, drop the parent's."""
        shared = self._shared
        process = getpid()
        if shared.process == process:
            return shared
        # No lock: in the child it may be held by a thread that does not exist any more. `setdefault` lets one thread win.
        mine = self._by_process.setdefault(process, _Shared())
        if self._shared is shared:
            self._shared = mine
            mine.close_with(self)
            self._by_process.pop(shared.process, None)
            for connection in list(shared.every):
                connection.abandon()
        return mine

    def _take(self, shared: _Shared, way: Route) -> Connection | None:
        while True:
            with shared.lock:
                idle = shared.idle.get((way.origin, way.proxy))
                if not idle:
                    return None
                connection = idle.pop()
            if boottime() - connection.idle_since < IDLE_SECONDS and connection.is_usable():
                return connection
            connection.close()

    def give_back(self, connection: Connection) -> None:
        """Keep a connection for the next call."""
        connection.idle_since = boottime()
        shared = self._here()
        with shared.lock:
            shared.idle.setdefault((connection.origin, connection.proxy), []).append(connection)
        if shared.process not in _sweepers:
            _start_sweeper(shared.process)

    def sweep(self) -> bool:
        """Close the idle connections that are too old or that the server has closed; return True when some are left."""
        shared = self._here()
        with shared.lock:
            idle = [connection for connections in shared.idle.values() for connection in connections]
            useless = _useless(idle)
            shared.idle = {
                key: kept
                for key, connections in shared.idle.items()
                if (kept := [connection for connection in connections if connection not in useless])
            }
        for connection in useless:
            connection.close()
        return len(useless) < len(idle)

    def close(self) -> bool:
        """Close the idle connections; calls in flight go on. Return True when there were some."""
        return self._here().close()

    def __del__(self, close: Callable[[Any, str], None] = close_dropped) -> None:
        close(self, "_by_process")  # while the interpreter ends, nothing else does it


def _open(connection: Connection, attempt: Attempt, resolver: Resolver) -> None:
    try:
        connection.open(attempt, resolver)
    except OSError as error:
        # Idle connections are file descriptors that others may need.
        if error.errno not in EXHAUSTED or is_from_a_signal(error) or not _close_idle():
            raise
        connection.open(attempt, resolver)


def _close_idle() -> bool:
    closed = [pool.close() for pool in list(_pools)]
    return any(closed)


def _useless(idle: list[Connection]) -> set[Connection]:
    now = boottime()
    useless = {connection for connection in idle if now - connection.idle_since >= IDLE_SECONDS}
    if not hasattr(select, "poll"):  # Windows
        return useless | {connection for connection in idle if not connection.is_usable()}
    poller = select.poll()
    numbers = {connection.fileno(): connection for connection in idle if connection not in useless}
    for number in numbers:
        poller.register(number, select.POLLIN)
    return useless | {numbers[number] for number, _ in poller.poll(0)}


_pools: weakref.WeakSet[Pool] = weakref.WeakSet()

at_sweep: list[Callable[[], None]] = []
"""What else is to be done each time that idle connections are looked at, so that it needs no thread of its own."""

# The thread of each process that sweeps, while there is something to sweep.
_sweepers: dict[int, threading.Thread] = {}


def _start_sweeper(process: int) -> None:
    thread = threading.Thread(target=_sweep_while_needed, args=(process,), name="responder-idle", daemon=True)
    if _sweepers.setdefault(process, thread) is thread:
        try:
            thread.start()
        except (RuntimeError, MemoryError):  # no more threads, or the interpreter ends: the next call sweeps for itself
            _sweepers.pop(process, None)
            _sweep()


def _sweep_while_needed(process: int) -> None:
    while True:
        time.sleep(_SWEEP_SECONDS)
        if not _sweep():
            _sweepers.pop(process, None)
            # A connection may have been given back in between, by a thread that saw this one at work.
            if not _sweep() or _sweepers.setdefault(process, threading.current_thread()) is not threading.current_thread():
                return


def _sweep() -> bool:
    for step in at_sweep:
        step()
    left = [pool.sweep() for pool in list(_pools)]
    return any(left)


def _after_fork() -> None:
    for pool in list(_pools):
        pool._here()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
