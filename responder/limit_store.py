"""How do several processes keep one limit together? What a store has to do, and one for the processes of a machine: a file.

A store keeps, for each key, the moments before which nothing may start, and who has calls in flight. It is given plain values and
wall-clock moments (`time.time()`), and each of its methods is one step that no other process can come between, so that a server
(Redis) can keep it as well.
"""

from __future__ import annotations

import hashlib
import os
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol, runtime_checkable

from responder.errors import ConfigurationError


@runtime_checkable
class LimitStore(Protocol):
    """Where several processes keep their limits together. Each method is one atomic step; all are safe for threads.

    A `key` names provider, base URL, key and model, as a digest. Moments are seconds of `time.time()`.
    """

    def reserve(self, key: bytes, request: float, tokens: float) -> float:
        """Take the next turn; return the moment of it.

        Args:
            key: Whose limits.
            request: Seconds until the next request may follow this one.
            tokens: Seconds that its tokens take of the limit of tokens.
        """

    def give_back(self, key: bytes, request: float, tokens: float) -> None:
        """Give back (part of) a turn that was not used; negative seconds take more, for tokens that were underestimated."""

    def pause(self, key: bytes, until: float) -> None:
        """Let nobody start before a moment; an earlier one changes nothing."""

    def paused_until(self, key: bytes) -> float:
        """Return the moment before which nobody may start; 0: none."""

    def enter(self, key: bytes, most: int) -> bool:
        """Take one of `most` places for calls in flight; False when all are taken. A process that dies gives its own back."""

    def leave(self, key: bytes) -> None:
        """Give a place back."""


_MAGIC = b"responder limits 1\n"

# A file of that many limits, each for that many processes at once: 100 kB, of which the system stores what is used.
_KEYS = 64
_PROCESSES = 128

_HEADER = 64
_MOMENTS = struct.Struct("<16sddd")  # key, next request, next token, paused until
_PLACES = struct.Struct("<II")  # process id, calls in flight
_ROW = _MOMENTS.size + _PROCESSES * _PLACES.size
_SIZE = _HEADER + _KEYS * _ROW
_NOBODY = b"\0" * 16


class FileLimitStore:
    """Limits that the processes of one machine share, in a small file that all of them map into memory. POSIX only.

    It may be deleted when none of them runs, and holds neither keys nor names.

    Args:
        path: The file; made, for this user alone, where there is none.

    Raises:
        ConfigurationError: It is another kind of file, cannot be written, or this system has no such locks.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = os.path.abspath(path)  # noqa: PTH100 - a str or anything like a path
        self._lock = threading.RLock()  # reentrant: a garbage collector that ends a stream may give a place back at any time
        self._depth = 0  # how often the thread that has the lock holds it
        self._memory: Any = None
        self._descriptor = -1
        self._open()

    def _open(self) -> None:
        try:
            import fcntl
            import mmap
        except ImportError:
            raise ConfigurationError(
                "limits of several processes need POSIX locks, which this system lacks", fatal=True
            ) from None
        self._fcntl = fcntl
        try:
            self._descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.lockf(self._descriptor, fcntl.LOCK_EX)
            try:
                size = os.fstat(self._descriptor).st_size
                if size == 0:
                    os.ftruncate(self._descriptor, _SIZE)
                    os.pwrite(self._descriptor, _MAGIC, 0)
                elif size != _SIZE or os.pread(self._descriptor, len(_MAGIC), 0) != _MAGIC:
                    raise ConfigurationError(f"{self.path} is not a file of shared limits: name another one", fatal=True)
                self._memory = mmap.mmap(self._descriptor, _SIZE)
            finally:
                fcntl.lockf(self._descriptor, fcntl.LOCK_UN)
        except OSError as error:
            raise ConfigurationError(f"the shared limits {self.path} cannot be used: {error}", fatal=True) from error
        finally:
            if self._memory is None and self._descriptor >= 0:
                os.close(self._descriptor)

    @contextmanager
    def _row(self, key: bytes) -> Iterator[int]:
        """Hold the file, and give the place of a key's row in it."""
        # Record locks belong to the process, so that a forked child has none of its parent's; its threads need a lock besides.
        with self._lock:
            if not self._depth:
                self._fcntl.lockf(self._descriptor, self._fcntl.LOCK_EX)
            self._depth += 1
            try:
                yield self._found(hashlib.sha256(key).digest()[:16])
            finally:
                self._depth -= 1
                if not self._depth:
                    self._fcntl.lockf(self._descriptor, self._fcntl.LOCK_UN)

    def _found(self, name: bytes) -> int:
        places = range(_HEADER, _SIZE, _ROW)
        for place in places:
            known = self._memory[place : place + 16]
            if known == name:
                return place
            if known == _NOBODY:
                break
        else:
            # The one that has been idle for longest makes room.
            place = min(places, key=lambda at: max(_MOMENTS.unpack_from(self._memory, at)[1:]))
            self._memory[place : place + _ROW] = b"\0" * _ROW
        self._memory[place : place + 16] = name
        return place

    def reserve(self, key: bytes, request: float, tokens: float) -> float:
        """Take the next turn; return the moment of it."""
        with self._row(key) as row:
            name, next_request, next_token, paused = _MOMENTS.unpack_from(self._memory, row)
            turn: float = max(time.time(), next_request if request else 0.0, next_token if tokens else 0.0, paused)
            _MOMENTS.pack_into(self._memory, row, name, max(turn, next_request) + request, max(turn, next_token) + tokens, paused)
        return turn

    def give_back(self, key: bytes, request: float, tokens: float) -> None:
        """Give back (part of) a turn that was not used."""
        with self._row(key) as row:
            name, next_request, next_token, paused = _MOMENTS.unpack_from(self._memory, row)
            _MOMENTS.pack_into(self._memory, row, name, next_request - request, next_token - tokens, paused)

    def pause(self, key: bytes, until: float) -> None:
        """Let nobody start before a moment."""
        with self._row(key) as row:
            name, next_request, next_token, paused = _MOMENTS.unpack_from(self._memory, row)
            _MOMENTS.pack_into(self._memory, row, name, next_request, next_token, max(paused, until))

    def paused_until(self, key: bytes) -> float:
        """Return the moment before which nobody may start."""
        with self._row(key) as row:
            paused: float = _MOMENTS.unpack_from(self._memory, row)[3]
            return paused

    def enter(self, key: bytes, most: int) -> bool:
        """Take one of `most` places for calls in flight."""
        mine = os.getpid()
        with self._row(key) as row:
            total, own, free = 0, -1, -1
            for place in range(row + _MOMENTS.size, row + _ROW, _PLACES.size):
                process, count = _PLACES.unpack_from(self._memory, place)
                if process == mine:
                    own = place
                elif count and not _is_alive(process):
                    _PLACES.pack_into(self._memory, place, 0, 0)
                    count = 0
                if not count and free < 0 and process != mine:
                    free = place
                total += count
            place = own if own >= 0 else free
            if total >= most or place < 0:
                return False
            count = _PLACES.unpack_from(self._memory, place)[1] if own >= 0 else 0
            _PLACES.pack_into(self._memory, place, mine, count + 1)
            return True

    def leave(self, key: bytes) -> None:
        """Give a place back."""
        mine = os.getpid()
        with self._row(key) as row:
            for place in range(row + _MOMENTS.size, row + _ROW, _PLACES.size):
                process, count = _PLACES.unpack_from(self._memory, place)
                if process == mine and count:
                    _PLACES.pack_into(self._memory, place, mine if count > 1 else 0, count - 1)
                    return

    def forget_locks(self) -> None:
        """Start anew in a forked child, where no thread holds anything."""
        self._lock = threading.RLock()
        self._depth = 0

    def __reduce__(self) -> tuple[Any, ...]:
        return file_store, (self.path,)

    def __repr__(self) -> str:
        return f"FileLimitStore({self.path!r})"


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # somebody else's, and alive
        return True
    return True


_stores: dict[str, FileLimitStore] = {}
_stores_lock = threading.Lock()


def file_store(path: str | os.PathLike[str]) -> FileLimitStore:
    """Return the process's one store of a file: closing a second descriptor would give up the locks of the first."""
    place = os.path.abspath(path)  # noqa: PTH100 - a str or anything like a path
    with _stores_lock:
        found = _stores.get(place)
        if found is None:
            found = _stores[place] = FileLimitStore(place)
        return found


class Share:
    """One governor's part in a store: turns on this process's monotonic clock. Guarded by the governor's lock."""

    def __init__(self, store: LimitStore, key: bytes) -> None:
        self._store = store
        self._key = key
        self._reserved: tuple[float, float, float] | None = None  # moment (monotonic), seconds of request, seconds of tokens

    def opens(self, request: float, tokens: float) -> float:
        """Return the moment at which the first in the line may start; its turn is kept until it is taken or given back."""
        if self._reserved is None:
            self._reserved = (_monotonic(self._store.reserve(self._key, request, tokens)), request, tokens)
        return max(self._reserved[0], _monotonic(self._store.paused_until(self._key)))

    def take(self, tokens: float) -> None:
        """Use the turn that was kept, for a call whose tokens take so many seconds."""
        if self._reserved is not None and tokens != self._reserved[2]:
            self._store.give_back(self._key, 0.0, self._reserved[2] - tokens)
        self._reserved = None

    def give_back(self) -> None:
        """Give back the turn that was kept for a line in which nobody stands any more."""
        if self._reserved is not None:
            self._store.give_back(self._key, *self._reserved[1:])
            self._reserved = None

    def settle(self, tokens: float) -> None:
        """Book so many seconds of tokens more than were reserved."""
        self._store.give_back(self._key, 0.0, -tokens)

    def pause(self, until: float) -> None:
        """Let no process start before a moment (monotonic)."""
        self._store.pause(self._key, until - time.monotonic() + time.time())

    def forget(self) -> None:
        """Start anew in a forked child: the turn that was kept is the parent's."""
        self._reserved = None

    def enter(self, most: int) -> bool:
        """Take one of `most` places."""
        return self._store.enter(self._key, most)

    def leave(self) -> None:
        """Give a place back."""
        self._store.leave(self._key)


def _monotonic(wall: float) -> float:
    return wall - time.time() + time.monotonic()


def _after_fork() -> None:
    global _stores_lock
    _stores_lock = threading.Lock()
    for store in _stores.values():
        store.forget_locks()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
