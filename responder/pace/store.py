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

from responder.values.errors import ConfigurationError


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

# A file of that many limits, each for that many processes at once: 135 kB, of which the system stores what is used.
_KEYS = 64
_PROCESSES = 128

# Seconds. A moment further ahead was left by a clock that was wrong since, and holds nobody.
_HORIZON = 3600.0

_HEADER = 64
_MOMENTS = struct.Struct("<16sddd")  # key, next request, next token, paused until
_PLACES = struct.Struct("<IIQ")  # process id, calls in flight, when the process began
_ROW = _MOMENTS.size + _PROCESSES * _PLACES.size
_SIZE = _HEADER + _KEYS * _ROW
_NOBODY = b"\0" * 16


class FileLimitStore:
    """Limits that the processes of one machine share, in a small file that all of them map into memory. POSIX only.

    It may be deleted when none of them runs, and holds neither keys nor names. A process has one store of a file, however often
    it is made: record locks belong to the process, and closing a second descriptor would give up those of the first.

    Args:
        path: The file; made, for this user alone, where there is none.

    Raises:
        ConfigurationError: It is another kind of file, cannot be written, or this system has no such locks.
    """

    path: str

    def __new__(cls, path: str | os.PathLike[str]) -> FileLimitStore:
        """Return the process's one store of that file."""
        place = os.path.realpath(path)
        with _stores_lock:
            found = _stores.get(place)
            if found is None:
                found = super().__new__(cls)
                found._open(place)
                _stores[place] = found
            return found

    def _open(self, path: str) -> None:
        try:
            import fcntl
            import mmap
        except ImportError:
            raise ConfigurationError(
                "limits of several processes need POSIX locks, which this system lacks", fatal=True
            ) from None
        self.path = path
        self._fcntl = fcntl
        self._memory: Any = None
        self._rows: dict[bytes, tuple[bytes, int]] = {}  # a key's name in the file, and where its row was last
        self.forget_locks()
        descriptor = -1
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.lockf(descriptor, fcntl.LOCK_EX)
            try:
                size = os.fstat(descriptor).st_size
                if size == 0:
                    os.fchmod(descriptor, 0o600)
                    os.ftruncate(descriptor, _SIZE)
                    os.pwrite(descriptor, _MAGIC, 0)
                elif size != _SIZE or os.pread(descriptor, len(_MAGIC), 0) != _MAGIC:
                    raise ConfigurationError(f"{path} is not a file of shared limits: name another one", fatal=True)
                self._memory = mmap.mmap(descriptor, _SIZE)
            finally:
                fcntl.lockf(descriptor, fcntl.LOCK_UN)
        except OSError as error:
            raise ConfigurationError(f"the shared limits {path} cannot be used: {error}", fatal=True) from error
        finally:
            if self._memory is None and descriptor >= 0:
                os.close(descriptor)
        self._descriptor = descriptor

    @contextmanager
    def _row(self, key: bytes) -> Iterator[int]:
        """Hold the file, and give the place of a key's row in it."""
        # Record locks belong to the process, so that a forked child has none of its parent's; its threads need a lock besides.
        with self._lock:
            self._depth += 1
            try:
                if self._depth == 1:
                    self._fcntl.lockf(self._descriptor, self._fcntl.LOCK_EX)
                yield self._found(key)
            finally:
                self._depth -= 1
                if not self._depth:
                    self._fcntl.lockf(self._descriptor, self._fcntl.LOCK_UN)

    def _found(self, key: bytes) -> int:
        name, place = self._rows.get(key) or (hashlib.sha256(key).digest()[:16], _HEADER)
        if self._memory[place : place + 16] != name:
            place = self._searched(name)
            self._rows[key] = name, place
        return place

    def _searched(self, name: bytes) -> int:
        places = range(_HEADER, _SIZE, _ROW)
        for place in places:
            known = self._memory[place : place + 16]
            if known == name:
                return place
            if known == _NOBODY:
                break
        else:
            # The one that has been idle for longest makes room.
            place = min(places, key=lambda at: max(self._moments(at)))
            self._memory[place : place + _ROW] = b"\0" * _ROW
        self._memory[place : place + 16] = name
        return place

    def _moments(self, row: int) -> tuple[float, float, float]:
        """Return when the next request and the next token may go, and until when nobody may."""
        end = time.time() + _HORIZON
        _, request, token, paused = _MOMENTS.unpack_from(self._memory, row)
        return request if request < end else 0.0, token if token < end else 0.0, paused if paused < end else 0.0

    def _put(self, row: int, request: float, token: float, paused: float) -> None:
        _MOMENTS.pack_into(self._memory, row, self._memory[row : row + 16], request, token, paused)

    def reserve(self, key: bytes, request: float, tokens: float) -> float:
        """Take the next turn; return the moment of it."""
        with self._row(key) as row:
            next_request, next_token, paused = self._moments(row)
            turn = max(time.time(), next_request if request else 0.0, next_token if tokens else 0.0, paused)
            self._put(row, max(turn, next_request) + request, max(turn, next_token) + tokens, paused)
        return turn

    def give_back(self, key: bytes, request: float, tokens: float) -> None:
        """Give back (part of) a turn that was not used."""
        with self._row(key) as row:
            next_request, next_token, paused = self._moments(row)
            self._put(row, next_request - request, next_token - tokens, paused)

    def pause(self, key: bytes, until: float) -> None:
        """Let nobody start before a moment."""
        with self._row(key) as row:
            next_request, next_token, paused = self._moments(row)
            self._put(row, next_request, next_token, max(paused, until))

    def paused_until(self, key: bytes) -> float:
        """Return the moment before which nobody may start."""
        with self._row(key) as row:
            return self._moments(row)[2]

    def enter(self, key: bytes, most: int) -> bool:
        """Take one of `most` places for calls in flight."""
        with self._row(key) as row:
            taken, own, free = self._count(row)
            if taken >= most or (own < 0 and free < 0):
                self._bury(row)
                taken, own, free = self._count(row)
            place = own if own >= 0 else free
            if taken >= most or place < 0:
                return False
            process, born = self._self
            count = _PLACES.unpack_from(self._memory, place)[1] if own >= 0 else 0
            _PLACES.pack_into(self._memory, place, process, count + 1, born)
            return True

    def _count(self, row: int) -> tuple[int, int, int]:
        """Return how many places are taken, and where this process's are and others could be noted; -1: nowhere."""
        taken, own, free = 0, -1, -1
        for place in range(row + _MOMENTS.size, row + _ROW, _PLACES.size):
            process, count, born = _PLACES.unpack_from(self._memory, place)
            taken += count
            if (process, born) == self._self:
                own = place
            elif free < 0 and not count:
                free = place
            if not process:  # they are filled from the front, and stay with who had them last
                break
        return taken, own, free

    def _bury(self, row: int) -> None:
        """Take back the places of processes that died."""
        for place in range(row + _MOMENTS.size, row + _ROW, _PLACES.size):
            process, count, born = _PLACES.unpack_from(self._memory, place)
            if count and (process, born) != self._self and not _is_alive(process, born):
                _PLACES.pack_into(self._memory, place, process, 0, born)

    def leave(self, key: bytes) -> None:
        """Give a place back."""
        with self._row(key) as row:
            own = self._count(row)[1]
            if own >= 0:
                process, count, born = _PLACES.unpack_from(self._memory, own)
                _PLACES.pack_into(self._memory, own, process, max(0, count - 1), born)

    def forget_locks(self) -> None:
        """Start anew in a forked child, where no thread holds anything."""
        self._lock = threading.RLock()  # reentrant: a garbage collector that ends a stream may give a place back at any time
        self._depth = 0  # how often the thread that has the lock holds it
        # Where the system does not tell when we began, some other number tells us from a dead process of the same number.
        self._self = (os.getpid(), _born(os.getpid()) or time.time_ns())

    def __reduce__(self) -> tuple[Any, ...]:
        return FileLimitStore, (self.path,)

    def __repr__(self) -> str:
        return f"FileLimitStore({self.path!r})"


def _born(process: int) -> int | None:
    """Return when a process began, in the system's ticks; 0 where it does not tell, None when the process is dead."""
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return None
    except PermissionError:
        pass  # somebody else's, and alive
    try:
        with open(f"/proc/{process}/stat", "rb") as file:  # noqa: PTH123 - three times as fast
            state, *fields = file.read().rpartition(b")")[2].split()
    except OSError:
        return 0
    return None if state in (b"Z", b"X") else int(fields[18])


def _is_alive(process: int, born: int) -> bool:
    """Return whether that very process runs, and not another one that got its number, which may be this one."""
    now = _born(process)
    return now is not None and (now == born or (not now and process != os.getpid()))


_stores: dict[str, FileLimitStore] = {}
_stores_lock = threading.Lock()


class Share:
    """One governor's part in a store: turns on this process's monotonic clock. Guarded by the governor's lock."""

    def __init__(self, store: LimitStore, key: bytes) -> None:
        self._store = store
        self._key = key
        self._reserved: tuple[float, float, float] | None = None  # moment (monotonic), seconds of request, seconds of tokens

    def opens(self, request: float, tokens: float) -> tuple[float, bool]:
        """Return the moment at which the first in the line may start, and whether that was only now found out.

        Its turn is kept until it is taken or given back.
        """
        is_new = self._reserved is None
        if self._reserved is None:
            ahead = self._store.reserve(self._key, request, tokens) - time.time()
            self._reserved = (time.monotonic() + ahead if ahead > 0 else 0.0, request, tokens)
        return self._reserved[0], is_new

    def paused_until(self) -> float:
        """Return the moment (monotonic) before which no process may start."""
        return _monotonic(self._store.paused_until(self._key))

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
