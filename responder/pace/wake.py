"""How does one thread wake another? A sleep that any thread may end, the garbage collector included."""

from __future__ import annotations

import contextlib
import threading

# Sleeps are split into slices of this many seconds: Python does not see a Ctrl-C that comes just before a wait until it ends.
_SLICE = 1.0


class Sleeper:
    """One thread's sleep; any other one ends it by `wake`.

    `threading.Event` keeps its flag behind a lock. A garbage collector that cancels a dropped run does so in whatever thread it
    happens to run, also in one that holds that lock: it would wait for itself. Here the flag is the lock.
    """

    __slots__ = ("_awake",)

    def __init__(self) -> None:
        self._awake = threading.Lock()
        self._awake.acquire()

    def wake(self) -> None:
        """End the sleep, or the next one; calling it again does nothing."""
        with contextlib.suppress(RuntimeError):  # it was woken already
            self._awake.release()

    def forget(self) -> None:
        """Forget that it was woken before."""
        self._awake.acquire(blocking=False)

    def sleep(self, seconds: float) -> None:
        """Sleep for `seconds`, at most a second, or until woken; the caller then checks why."""
        self._awake.acquire(timeout=max(0.0, min(seconds, _SLICE)))
