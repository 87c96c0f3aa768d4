"""Who sends the batches of a file? One thread of one process at a time; the lock of a killed process is free."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator

from responder.values.cancellation import CancelToken
from responder.values.deadline import Deadline
from responder.values.errors import CancelledError, DeadlineExceededError

# Seconds between two looks whether another process has finished.
_LOOK = 0.05

# By process: in a forked child a lock of the parent may be held by a thread that the child does not have.
_threads: dict[tuple[int, str], threading.Lock] = {}


@contextlib.contextmanager
def sending(path: str, deadline: Deadline, cancel: CancelToken | None) -> Iterator[None]:
    """Hold the right to send the batches of a checkpoint; the lock is a file beside it.

    Args:
        path: The checkpoint.
        deadline: When the wait ends.
        cancel: Ends the wait.

    Raises:
        DeadlineExceededError, CancelledError: Another one sends, and the wait is over.
    """
    name = os.path.realpath(path)
    lock = _threads.setdefault((os.getpid(), name), threading.Lock())
    while not lock.acquire(timeout=_LOOK):
        _go_on(path, deadline, cancel)
    try:
        flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOFOLLOW", 0)
        descriptor = os.open(f"{name}-jobs", flags, 0o600)
        try:
            while not _is_locked(descriptor):
                _go_on(path, deadline, cancel)
            yield
        finally:
            os.close(descriptor)  # which unlocks it
    finally:
        lock.release()


def _go_on(path: str, deadline: Deadline, cancel: CancelToken | None) -> None:
    """Wait a little."""
    left = deadline.remaining()
    if left <= 0:
        raise DeadlineExceededError(f"the deadline passed while another process sent the batches of {path}")
    if (cancel or CancelToken()).wait(min(_LOOK, left)):
        raise CancelledError(f"stopped while another process sent the batches of {path}")


def _is_locked(descriptor: int) -> bool:
    try:
        import fcntl
    except ImportError:  # Windows: the threads of a process are kept apart, processes are not
        return True
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    return True


def _after_fork() -> None:
    _threads.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
