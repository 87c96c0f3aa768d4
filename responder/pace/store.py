"""How do several processes share one limit? What a store has to do, and one for the processes of a machine: a file.

A store keeps, for each key, the moments before which nothing may start, and who has calls in flight. It is given plain values and
wall-clock moments (`time.time()`), and each of its methods is one atomic step, so that a server
(Redis) can do it as well.
"""

from __future__ import annotations

import errno
import functools
import hashlib
import os
import stat
import struct
import threading
import uuid
import weakref
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from responder.pace.record_lock import RecordLock
from responder.values.clock import Epoch, boottime, monotonic
from responder.values.errors import ConfigurationError
from responder.values.process import adopt, getpid


@runtime_checkable
class LimitStore(Protocol):
    """Where several processes share their limits. Each method is one atomic step; all are thread-safe.

    A `key` names provider, base URL, key and model. Moments are seconds of `time.time()`. A method that would have to wait for
    another process raises `BlockingIOError` and says for which; it is called again until the call's deadline.
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
        """Let no call start before a moment; an earlier one changes nothing."""

    def paused_until(self, key: bytes) -> float:
        """Return the moment before which no call may start; 0: none."""

    def enter(self, key: bytes, most: int) -> bool:
        """Take one of `most` slots for calls in flight; False when all are taken. A process that dies gives its own back."""

    def leave(self, key: bytes) -> None:
        """Give a slot back."""


_MAGIC = b"responder limits 2\n"
_EARLIER = b"responder limits 1\n"

# A file of that many limits, each for that many processes at once: 135 kB.
_KEYS = 64
_PROCESSES = 128

# Seconds. A moment further ahead is damage, or left from before a reboot, and is ignored.
_HORIZON = 3600.0

_HEADER = 64
_BOOT = 32  # where the header says since when the machine runs
_MOMENTS = struct.Struct("<16sddd")  # key, next request, next token, paused until
_PLACES = struct.Struct("<IIQ")  # process id, calls in flight, when the process began
_ROW = _MOMENTS.size + _PROCESSES * _PLACES.size
_SIZE = _HEADER + _KEYS * _ROW
_BEGIN = _MOMENTS.size + 8 * _PLACES.size  # what is read of a row at once: more than a few processes are rare
_NOBODY = b"\0" * 16

# Seconds for which a new store waits for a file that another process is creating.
_LONGEST_OPENING = 10.0


class FileLimitStore:
    """Limits that the processes of one machine share, in a small file. POSIX only.

    It may be deleted when none of them runs, and holds neither keys nor names. Its moments count from the start of the machine,
    so that setting the clock changes no wait. A process has one store of a file, however often it is made: record locks
    belong to the process, and closing a second descriptor would give up those of the first.

    Its methods never wait longer than a moment: while another process holds the file, they raise `BlockingIOError` and name it.

    Args:
        path: The file; created for this user only if it does not exist. A link is followed to a limits file, never to create one.

    Raises:
        ConfigurationError: It is another kind of file, cannot be written, or this system has no such locks.
    """

    path: str

    def __new__(cls, path: str | os.PathLike[str]) -> FileLimitStore:
        """Return the process's one store of that file."""
        try:
            place = os.path.realpath(path)
        except ValueError as error:  # a NUL in the name
            raise ConfigurationError(f"the shared limits {os.fspath(path)!r} cannot be used: {error}", fatal=True) from None
        with _opened.lock():
            found = _opened.find(place)
            if found is None:
                found = super().__new__(cls)
                found._open(place, is_link=Path(path).is_symlink())
                _opened.add(place, found, found._descriptor)
            return found

    def _open(self, path: str, is_link: bool) -> None:
        try:
            import fcntl
        except ImportError:
            raise ConfigurationError(
                "limits of several processes need POSIX locks, which this system lacks", fatal=True
            ) from None
        self.path = path
        self._fcntl = fcntl
        self._rows: dict[bytes, tuple[bytes, int]] = {}  # a key's name in the file, and where its row was last
        self._epoch = Epoch()
        self._descriptor = -1
        try:
            self._descriptor = _descriptor(path, make=not is_link)
            self.process = getpid()
            self.start_anew()
            if not self._is_ready():
                self._prepare(may_make=not is_link)
        except BaseException as error:
            if self._descriptor >= 0:
                os.close(self._descriptor)
            if isinstance(error, OSError):
                raise ConfigurationError(f"the shared limits {path} cannot be used: {error}", fatal=True) from error
            raise

    def _is_ready(self) -> bool:
        return os.fstat(self._descriptor).st_size == _SIZE and os.pread(self._descriptor, _HEADER, 0) == _header()

    def _prepare(self, may_make: bool) -> None:
        """Make the file what it has to be: when it is new, was cut, or is left from before a reboot."""
        ends = monotonic() + _LONGEST_OPENING
        while True:
            try:
                with self._lock:
                    if not self._is_ready():
                        self._refuse_others(may_make)
                        self._clear()
                return
            except BlockingIOError:
                if monotonic() >= ends:
                    raise

    def _refuse_others(self, may_make: bool) -> None:
        """Raise for a file of another kind, which must not be written to."""
        head = os.pread(self._descriptor, _HEADER, 0)
        size = os.fstat(self._descriptor).st_size
        if head.startswith(_EARLIER):
            raise ConfigurationError(f"{self.path} was made by an earlier version of this package: delete it", fatal=True)
        if size > _SIZE or not (head.startswith(_MAGIC) or (may_make and not head.strip(b"\0"))):
            raise ConfigurationError(f"{self.path} is not a file of shared limits: name another one", fatal=True)

    def _clear(self) -> None:
        """Write a file without any waits. Its space is reserved now, so a disk that fills up later removes no limit."""
        os.fchmod(self._descriptor, 0o600)
        os.ftruncate(self._descriptor, 0)
        try:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(self._descriptor, 0, _SIZE)
            elif os.pwrite(self._descriptor, b"\0" * _SIZE, 0) < _SIZE:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.pwrite(self._descriptor, _header(), 0)
        except OSError:
            os.ftruncate(self._descriptor, 0)
            raise

    def _held(self) -> RecordLock:
        """Return what holds the file for one step."""
        if self.process != getpid():
            adopt(self)
        return self._lock

    def _read(self, place: int, size: int) -> bytes:
        """Read from the file, not from memory that maps it: reading what was truncated there kills the process."""
        found = os.pread(self._descriptor, size, place)
        if len(found) < size:
            self._clear()
            return b"\0" * size
        return found

    def _write(self, place: int, data: bytes) -> None:
        os.pwrite(self._descriptor, data, place)

    def _row(self, key: bytes) -> tuple[int, bytes]:
        """Return where a key's row is, and how it begins."""
        name, place = self._rows.get(key) or (hashlib.sha256(key).digest()[:16], _HEADER)
        found = self._read(place, _BEGIN)
        if found[:16] != name:
            place = self._searched(name)
            if len(self._rows) >= 2 * _KEYS:
                self._rows.clear()
            self._rows[key] = name, place
            found = self._read(place, _BEGIN)
        return place, found

    def _searched(self, name: bytes) -> int:
        places = range(_HEADER, _SIZE, _ROW)
        for place in places:
            known = self._read(place, 16)
            if known == name:
                return place
            if known == _NOBODY:
                break
        else:
            # The one that has been idle for longest makes room.
            place = min(places, key=lambda at: max(_moments(self._read(at, _MOMENTS.size))))
            self._write(place, b"\0" * _ROW)
        self._write(place, name)
        return place

    def _put(self, row: int, request: float, token: float, paused: float) -> None:
        self._write(row + 16, _MOMENTS.pack(_NOBODY, request, token, paused)[16:])

    def reserve(self, key: bytes, request: float, tokens: float) -> float:
        """Take the next turn; return the moment of it."""
        with self._held():
            row, found = self._row(key)
            next_request, next_token, paused = _moments(found)
            turn = max(boottime(), next_request if request else 0.0, next_token if tokens else 0.0, paused)
            self._put(row, max(turn, next_request) + request, max(turn, next_token) + tokens, paused)
        return turn + self._epoch()

    def give_back(self, key: bytes, request: float, tokens: float) -> None:
        """Give back (part of) a turn that was not used."""
        with self._held():
            row, found = self._row(key)
            next_request, next_token, paused = _moments(found)
            self._put(row, next_request - request, next_token - tokens, paused)

    def pause(self, key: bytes, until: float) -> None:
        """Let no call start before a moment."""
        with self._held():
            row, found = self._row(key)
            next_request, next_token, paused = _moments(found)
            self._put(row, next_request, next_token, max(paused, until - self._epoch()))

    def paused_until(self, key: bytes) -> float:
        """Return the moment before which no call may start."""
        with self._held():
            paused = _moments(self._row(key)[1])[2]
        return paused + self._epoch() if paused else 0.0

    def enter(self, key: bytes, most: int) -> bool:
        """Take one of `most` slots for calls in flight."""
        with self._held():
            places = self._places(*self._row(key))
            place, taken, own = self._place(places)
            if taken >= most or place < 0:
                self._bury(places)
                place, taken, own = self._place(places)
            if taken >= most or place < 0:
                return False
            process, born = self._self
            self._write(place, _PLACES.pack(process, own + 1, born))
            return True

    def _places(self, row: int, found: bytes) -> list[tuple[int, int, int, int]]:
        """Return where each process is noted, its id, its calls in flight and when it began; one more at the end is free."""
        places = []
        if any(_PLACES.unpack_from(found, _BEGIN - _PLACES.size)):  # there are more of them
            found = self._read(row, _ROW)
        for position in range(_MOMENTS.size, len(found), _PLACES.size):
            process, count, born = _PLACES.unpack_from(found, position)
            places.append((row + position, process, count, born))
            if not process:  # they are filled from the front, and stay with who had them last
                break
        return places

    def _place(self, places: list[tuple[int, int, int, int]]) -> tuple[int, int, int]:
        """Return where this process is or could be noted (-1: nowhere), and how many calls are in flight: of all, and its own."""
        taken, own, free, own_count = 0, -1, -1, 0
        for place, process, count, born in places:
            taken += count
            if (process, born) == self._self:
                own, own_count = place, count
            elif free < 0 and not count:
                free = place
        return own if own >= 0 else free, taken, own_count

    def _bury(self, places: list[tuple[int, int, int, int]]) -> None:
        """Take back the slots of processes that died."""
        for position, (place, process, count, born) in enumerate(places):
            if count and (process, born) != self._self and not _is_alive(process, born):
                self._write(place, _PLACES.pack(process, 0, born))
                places[position] = place, process, 0, born

    def leave(self, key: bytes) -> None:
        """Give a slot back."""
        with self._held():
            place, _, own = self._place(self._places(*self._row(key)))
            if own:
                process, born = self._self
                self._write(place, _PLACES.pack(process, own - 1, born))

    def start_anew(self) -> None:
        """Start without locks and slots; also in a forked child, where those are the parent's."""
        self._lock = RecordLock(self._fcntl, self._descriptor, self.path)
        # If the system does not say when we started, another number distinguishes us from a dead process with the same id.
        self._self = (os.getpid(), _born(os.getpid()) or int(boottime() * 1e9))

    def __reduce__(self) -> tuple[Any, ...]:
        return FileLimitStore, (self.path,)

    def __repr__(self) -> str:
        return f"FileLimitStore({self.path!r})"


def _descriptor(path: str, make: bool) -> int:
    """Open a file for reading and writing; create it, for this user only, if it does not exist. A link is never followed."""
    # O_NONBLOCK: a pipe of that name must not block us; it is refused below.
    flags = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    while True:
        try:
            descriptor = os.open(path, flags)
            break
        except FileNotFoundError:
            if not make:
                raise
        try:
            descriptor = os.open(path, flags | os.O_CREAT | os.O_EXCL, 0o600)
            break
        except FileExistsError:
            continue  # another process was faster
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise ConfigurationError(f"{path} is not a file of shared limits: name another one", fatal=True)
    return descriptor


def _moments(row: bytes) -> tuple[float, float, float]:
    """Return the moments in a row, in seconds since the machine began; 0 for impossible ones."""
    end = boottime() + _HORIZON
    _, request, token, paused = _MOMENTS.unpack_from(row)
    return request if request < end else 0.0, token if token < end else 0.0, paused if paused < end else 0.0


@functools.cache
def _header() -> bytes:
    """Return how a file begins, while the machine runs: clocks and process ids restart with it."""
    try:
        boot = uuid.UUID(Path("/proc/sys/kernel/random/boot_id").read_text().strip()).bytes
    except (OSError, ValueError):
        boot = b"\0" * 16  # another system: what is left from before is seen by its moments
    return (_MAGIC.ljust(_BOOT, b"\0") + boot).ljust(_HEADER, b"\0")


def _born(process: int) -> int | None:
    """Return when a process began, in the system's ticks; 0 if unknown, None if the process is dead."""
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


class _Opened:
    """The process's stores, one for each file, and their descriptors."""

    def __init__(self) -> None:
        self.process = getpid()
        self._stores: dict[str, tuple[weakref.ref[FileLimitStore], int]] = {}
        self.start_anew()

    def start_anew(self) -> None:
        """In a forked child: the files stay open, the lock may be held by a thread of the parent's."""
        self._lock = threading.Lock()

    def lock(self) -> threading.Lock:
        """Return what is held while a store is looked for and made."""
        if self.process != getpid():
            adopt(self)
        return self._lock

    def find(self, path: str) -> FileLimitStore | None:
        """Return a file's store, if it is in use; close the files of those that are not.

        They are not closed when the last one lets go: that would give up the locks of a store that was made in that moment.
        """
        for other, (found, descriptor) in list(self._stores.items()):
            if found() is None:
                del self._stores[other]
                os.close(descriptor)
        return self._stores[path][0]() if path in self._stores else None

    def add(self, path: str, store: FileLimitStore, descriptor: int) -> None:
        """Remember a store."""
        self._stores[path] = weakref.ref(store), descriptor


_opened = _Opened()
