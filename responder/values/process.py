"""Which process is this? State that a fork copied is reset in the child, however it was forked.

`os.register_at_fork` sees only forks that Python makes. uWSGI, and any other program that calls `fork` in C, is noticed by
the process id alone.
"""

from __future__ import annotations

import os
import threading
from typing import Protocol

getpid = os.getpid


class Forkable(Protocol):
    """Something that threads share, and that a forked child must not keep using as it is.

    Attributes:
        process: The process it belongs to. Compare it with `getpid()` before touching anything shared.
    """

    process: int

    def start_anew(self) -> None:
        """Drop what belongs to the parent: its locks (a thread that the child lacks may hold them) and its calls in flight."""


_gates: dict[int, threading.RLock] = {}  # a lock for each process that this one descends from: those of the parents may be held


def adopt(shared: Forkable) -> None:
    """Reset what a fork copied, for this process; several threads may come here at once, and only one of them does it."""
    process = getpid()
    with _gates.setdefault(process, threading.RLock()):
        if shared.process != process:
            shared.start_anew()
            shared.process = process
