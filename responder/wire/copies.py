"""Which copies of a responder share their connections? Those in one process that speak to the same place with the same key.

A task queue or a cluster unpickles a responder for each of its tasks, and drops it afterwards. With connections of its own each
of those copies would open new ones, so they share those of a copy that is there, or was there a moment ago.
"""

from __future__ import annotations

import atexit
import threading
from weakref import WeakValueDictionary

from responder.values.clock import boottime
from responder.values.process import adopt, getpid
from responder.wire.pool import at_sweep
from responder.wire.transport import Transport

# Seconds for which the connections of a copy that arrived are kept for the next one; then they are closed.
_LINGER = 5.0


class _Copies:
    """The transports of this process, by what they are for. Safe for threads."""

    def __init__(self) -> None:
        self.process = getpid()
        self._known: WeakValueDictionary[tuple[str, ...], Transport] = WeakValueDictionary()
        self._kept: dict[tuple[str, ...], tuple[float, Transport]] = {}  # since when
        self.start_anew()

    def start_anew(self) -> None:
        """In a forked child: transports know for themselves what is the parent's."""
        self._lock = threading.Lock()

    def add(self, identity: tuple[str, ...], transport: Transport) -> None:
        """Let copies that arrive use this transport, as long as it is in use, if they have none yet."""
        if self.process != getpid():
            adopt(self)
        with self._lock:
            self._known.setdefault(identity, transport)

    def find(self, identity: tuple[str, ...]) -> Transport:
        """Return the transport for a copy that has arrived."""
        if self.process != getpid():
            adopt(self)
        with self._lock:
            found = self._known.get(identity)
            if found is None:
                found = self._known[identity] = Transport()
            self._kept[identity] = boottime(), found
        return found

    def forget(self) -> None:
        """Let go of the transports that no copy has asked for lately: those that nobody uses close their connections."""
        if self.process != getpid():
            adopt(self)
        ends = boottime() - _LINGER
        dropped = []  # after the lock is released: closing sockets takes a moment
        with self._lock:
            for identity, (since, _) in list(self._kept.items()):
                if since < ends:
                    dropped.append(self._kept.pop(identity))
        del dropped

    def close(self) -> None:
        """Let go of all at the end of the program, while what closes sockets is still there."""
        self._kept = {}


_copies = _Copies()
at_sweep.append(_copies.forget)
atexit.register(_copies.close)


def let_copies_share(identity: tuple[str, ...], transport: Transport) -> None:
    """Let copies that arrive in this process use the connections of a responder that was made here.

    Args:
        identity: The responder's class, where it sends to, and what tells its credential from others.
        transport: Its own; it is not kept in use by this.
    """
    _copies.add(identity, transport)


def transport_of_copy(identity: tuple[str, ...]) -> Transport:
    """Return the transport of a copy that has just arrived: that of the others, or a new one."""
    return _copies.find(identity)
