"""Who holds the file? A lock between processes and their threads; nothing waits for it longer than a moment."""

from __future__ import annotations

import contextlib
import os
import struct
import sys
import threading
import time
from types import ModuleType

from responder.values.errors import ConfigurationError
from responder.wire.signals import is_from_a_signal

# Seconds for which a lock that is held is tried again before an error says who holds it: a holder needs millionths of one.
_PATIENCE = 0.02
_FIRST_NAP = 0.0001
_LONGEST_NAP = 0.002

# How `fcntl` describes another process's lock: type, whence, start, length, process.
_FLOCK = struct.Struct("hhqqi4x")


class RecordLock:
    """An exclusive lock on a whole file, for one thread of one process. POSIX only.

    Record locks belong to a process: a forked child has none of its parent's, and closing any descriptor of the file gives them
    up. So a process may have one of these for a file, and its threads need a lock besides.

    Args:
        fcntl: The module.
        descriptor: The open file.
        path: Its name, for messages.
    """

    def __init__(self, fcntl: ModuleType, descriptor: int, path: str) -> None:
        self._fcntl = fcntl
        self._descriptor = descriptor
        self._path = path
        self._threads = threading.Lock()
        self._owner = 0  # the thread that holds it

    def __enter__(self) -> None:
        """Take the lock.

        Raises:
            BlockingIOError: Another process holds it; the message says which. Trying again is up to the caller.
            ConfigurationError: The file cannot be locked.
        """
        # The garbage collector may come here in the thread that holds the lock; it must not wait for itself.
        is_own = self._owner == threading.get_ident()
        if is_own or not self._threads.acquire(timeout=_PATIENCE):
            raise BlockingIOError(f"the shared limits {self._path} are in use by another thread of this process")
        try:
            self._owner = threading.get_ident()
            self._lock()
        except BaseException as error:
            self._owner = 0
            self._threads.release()
            self._raise(error)
            raise

    def _lock(self) -> None:
        nap, slept = _FIRST_NAP, 0.0
        while not self._is_locked():
            if slept >= _PATIENCE:
                raise BlockingIOError(f"the shared limits {self._path} are locked by {self._holder()}")
            time.sleep(nap)
            slept += nap
            nap = min(nap * 2, _LONGEST_NAP)

    def _is_locked(self) -> bool:
        try:
            self._fcntl.lockf(self._descriptor, self._fcntl.LOCK_EX | self._fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            return False
        return True

    def __exit__(self, _kind: object, error: BaseException | None, _traceback: object) -> None:
        """Give the lock back.

        Raises:
            ConfigurationError: The file could not be read, written or unlocked.
        """
        try:
            self._unlock()
        except OSError as failure:
            error = error or failure
        finally:
            self._owner = 0
            self._threads.release()
        self._raise(error)

    def _unlock(self) -> None:
        try:
            self._fcntl.lockf(self._descriptor, self._fcntl.LOCK_UN)
        except OSError:  # of a network's file system; tried again, since a lock that stays holds every other process
            self._fcntl.lockf(self._descriptor, self._fcntl.LOCK_UN)

    def _raise(self, error: BaseException | None) -> None:
        if isinstance(error, OSError) and not isinstance(error, BlockingIOError) and not is_from_a_signal(error):
            raise ConfigurationError(f"the shared limits {self._path} cannot be used: {error}", fatal=True) from error

    def _holder(self) -> str:
        """Return who holds the lock, in words."""
        process = 0
        if sys.platform == "linux":  # elsewhere the structure is different
            with contextlib.suppress(OSError, struct.error):
                asked = _FLOCK.pack(self._fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
                kind, _, _, _, found = _FLOCK.unpack(self._fcntl.fcntl(self._descriptor, self._fcntl.F_GETLK, asked))
                process = found if kind != self._fcntl.F_UNLCK else 0
        if process <= 0:
            return "another process"
        if _is_stopped(process):
            return f"process {process}, which is stopped: let it go on (kill -CONT {process}) or end it"
        return f"process {process}"


def _is_stopped(process: int) -> bool:
    try:
        with open(f"/proc/{process}/stat", "rb") as file:  # noqa: PTH123 - as in `store.py`
            return file.read().rpartition(b")")[2].split()[0] in (b"T", b"t")
    except (OSError, IndexError):
        return False
