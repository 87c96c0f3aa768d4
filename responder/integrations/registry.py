"""Which responder exists already? One for each name and process, made on first use."""

from __future__ import annotations

import threading
from collections.abc import Callable

from responder.responder import Responder
from responder.values.process import adopt, getpid


class Registry:
    """Responders by name. Safe for threads; a forked child starts with an empty one."""

    def __init__(self) -> None:
        self.process = getpid()
        self.start_anew()

    def start_anew(self) -> None:
        """In a forked child: a thread that only the parent has may hold the lock."""
        self._lock = threading.Lock()
        self._made: dict[str, Responder] = {}

    def get(self, name: str, make: Callable[[], Responder]) -> Responder:
        """Return the responder of a name, made on the first call.

        Args:
            name: What distinguishes it from the others.
            make: Makes it; runs under the lock, so that it runs once. Its exceptions pass through and are not kept.
        """
        if self.process != getpid():
            adopt(self)
        with self._lock:
            if name not in self._made:
                self._made[name] = make()
            return self._made[name]

    def clear(self) -> None:
        """Forget all; existing references stay usable."""
        if self.process != getpid():
            adopt(self)
        with self._lock:
            self._made.clear()
