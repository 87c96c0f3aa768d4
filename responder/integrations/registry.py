"""Which responder exists already? One for each name and process, made on first use."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable

from responder.responder import Responder

_registries: weakref.WeakSet[Registry] = weakref.WeakSet()


class Registry:
    """Responders by name. Safe for threads; a forked child starts with an empty one."""

    def __init__(self) -> None:
        self._start()
        _registries.add(self)

    def _start(self) -> None:
        self._lock = threading.Lock()
        self._made: dict[str, Responder] = {}

    def get(self, name: str, make: Callable[[], Responder]) -> Responder:
        """Return the responder of a name, made on the first call.

        Args:
            name: What distinguishes it from the others.
            make: Makes it; runs under the lock, so that it runs once. Its exceptions pass through and are not kept.
        """
        with self._lock:
            if name not in self._made:
                self._made[name] = make()
            return self._made[name]

    def clear(self) -> None:
        """Forget all; existing references stay usable."""
        with self._lock:
            self._made.clear()


def _start_anew() -> None:
    # The lock may have been held, by a thread that the child does not have, at the moment of the fork.
    for registry in list(_registries):
        registry._start()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_start_anew)
