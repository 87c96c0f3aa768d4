"""Who may use SQLite, and how long do others wait? One thread at a time, none while the process forks, and never forever.

SQLite has locks between threads, for the whole process, which a forked child cannot renew: it would wait forever for a thread
that only its parent has. So every entry into SQLite goes through one gate, which a fork holds. And SQLite takes the locks on a
file for those of the process that it was loaded in: what the parent had opened cannot be used by the child.
"""

from __future__ import annotations

import os
import random
import sqlite3
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import TypeVar

from responder.values.cancellation import CancelToken
from responder.values.deadline import NEVER, Deadline
from responder.values.errors import CancelledError, ConfigurationError, DeadlineExceededError

T = TypeVar("T")

# Seconds to wait for other programs that hold the file, if no deadline comes earlier.
PATIENCE = 60.0

# Seconds that a fork waits for the thread that is just in SQLite; it takes milliseconds.
FORK_PATIENCE = 5.0

# Seconds between checks whether a file is free: short at first, since a program that writes constantly leaves
# short gaps (SQLite's own busy timeout checks ten times a second, and finds none).
_FIRST_LOOKS = (0.0002, 0.002)
_LATER_LOOKS = (0.01, 0.03)
_LATER = 0.25


class Gate:
    """Held by the thread that is in SQLite. Reentrant: the garbage collector may close a file in the middle of that."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._process = os.getpid()
        self._refusal = ""
        self._on_fork: list[Callable[[], None]] = []

    def __enter__(self) -> None:
        self.notice_fork()
        if self._refusal:
            raise sqlite3.ProgrammingError(self._refusal)
        self._lock.acquire()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self._lock.release()

    def in_every_child(self, renew: Callable[[], None]) -> None:
        """Call `renew` in each forked child, before any thread enters there."""
        self._on_fork.append(renew)

    def close_for_fork(self) -> bool:
        """Keep all threads out; False when a thread did not leave in time."""
        return self._lock.acquire(timeout=FORK_PATIENCE)

    def open_after_fork(self) -> None:
        """Let them in again, in the parent."""
        self._lock.release()

    def renew_in_child(self, was_closed: bool) -> None:
        """Reset in a forked child.

        Args:
            was_closed: No thread was in SQLite at the moment of the fork.
        """
        self._lock = threading.RLock()
        self._process = os.getpid()
        if not was_closed:
            self._refusal = "this process was forked while a thread of its parent was in SQLite: start it again, or fork earlier"
        for renew in self._on_fork:
            renew()

    def notice_fork(self) -> None:
        """Reset if a program forked this process without Python's hooks, as uWSGI does."""
        if os.getpid() != self._process:
            was_free = self._lock.acquire(blocking=False)
            self.renew_in_child(was_free)


GATE = Gate()


def when_free(path: str, step: Callable[[], T], deadline: Deadline = NEVER, cancel: CancelToken | None = None) -> T:
    """Do a step inside the gate, again and again while another program holds the file; wait outside, where it blocks no one.

    Args:
        path: The file.
        step: What to do; it may be started several times.
        deadline: When the wait ends.
        cancel: Ends the wait.

    Raises:
        DeadlineExceededError: The deadline passed; the message names who holds the file.
        CancelledError: It was cancelled.
        ConfigurationError: There was no deadline, and the file was not released.
    """
    waited = 0.0  # counted, since a test may have stopped the clock
    bound = deadline.remaining()
    while True:
        try:
            with GATE:
                return step()
        except sqlite3.OperationalError as error:
            if "locked" not in str(error):
                raise
        left = deadline.remaining()
        if left <= 0 or waited >= bound:
            raise DeadlineExceededError(f"the deadline passed while the checkpoint {path} was locked by {holder(path)}")
        if waited >= PATIENCE:
            raise ConfigurationError(
                f"the checkpoint {path} is locked by {holder(path)}: end that program, or name another file", fatal=True
            )
        seconds = min(random.uniform(*(_FIRST_LOOKS if waited < _LATER else _LATER_LOOKS)), left)
        waited += seconds
        if cancel is None:
            time.sleep(seconds)
        elif cancel.wait(seconds):
            raise CancelledError(f"cancelled while the checkpoint {path} was locked by {holder(path)}: {cancel.reason}")


def holder(path: str) -> str:
    """Return who holds locks on a database, for people: "process 12 (python job.py)" where the system tells."""
    try:
        inodes = {os.stat(name).st_ino for name in (path, f"{path}-shm") if os.path.exists(name)}  # noqa: PTH110, PTH116 - str
        with open("/proc/locks", encoding="ascii", errors="replace") as table:  # noqa: PTH123 - a file of the system's
            locks = [line.replace("->", "").split() for line in table]
        found = {int(fields[4]) for fields in locks if int(fields[5].rpartition(":")[2]) in inodes}
        return ", ".join(_named(process) for process in sorted(found - {os.getpid()}) if process > 0) or "another program"
    except (OSError, ValueError, IndexError):
        return "another program"


def _named(process: int) -> str:
    try:
        with open(f"/proc/{process}/cmdline", encoding="utf-8", errors="replace") as words:  # noqa: PTH123 - faster
            command = words.read(80).replace("\0", " ").strip()
    except OSError:
        command = ""
    return f"process {process} ({command})" if command else f"process {process}"
