"""Who shares what? One object for each key of a process, while it is in use and a little longer."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar
from weakref import WeakValueDictionary

from responder.values.process import adopt, getpid

MOST_IDLE = 1000
"""This many of the most recently used are kept when nothing holds them any more. A view that makes a responder for each
request must find the pause of the one before; a service with a key for each customer must not grow forever."""

Shared = TypeVar("Shared")


class Recent(Generic[Shared]):
    """Objects that are shared by key. Safe for threads.

    Args:
        most: How many are kept of those that nothing else holds.
    """

    def __init__(self, most: int = MOST_IDLE) -> None:
        self._most = most
        self._held: WeakValueDictionary[Hashable, Shared] = WeakValueDictionary()
        self._kept: OrderedDict[Hashable, Shared] = OrderedDict()  # the latest at the end
        self._lock = threading.Lock()
        self.process = getpid()

    def start_anew(self) -> None:
        """In a forked child: what is kept stays, and resets itself."""
        self._lock = threading.Lock()

    def find(self, key: Hashable, make: Callable[[], Shared]) -> tuple[Shared, bool]:
        """Return the object of a key, and whether it was made now."""
        if self.process != getpid():
            adopt(self)
        dropped = []  # dropped after the lock is released: its destructors may come back here
        with self._lock:
            found = self._held.get(key)
            is_new = found is None
            if found is None:
                found = self._held[key] = make()
            self._kept[key] = found
            self._kept.move_to_end(key)
            while len(self._kept) > self._most:
                dropped.append(self._kept.popitem(last=False))
        return found, is_new

    def clear(self) -> None:
        """Forget them all."""
        with self._lock:
            self._held.clear()
            self._kept.clear()
