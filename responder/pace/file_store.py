"""Limits that the processes of one machine share, in a small file. POSIX only.

What a step does is worked out in `store.py`; here it is read and written under a lock between processes.
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
from typing import Any, NamedTuple

from responder.pace.record_lock import RecordLock
from responder.pace.store import HORIZON, SEEN, WANTS, LimitAnswer, LimitStep, Moments, Other, booked, granted, taken
from responder.values.clock import boottime, monotonic
from responder.values.errors import ConfigurationError
from responder.values.process import adopt, getpid
from responder.wire.signals import is_from_a_signal

_MAGIC = b"responder limits 3\n"
_EARLIER = (b"responder limits 1\n", b"responder limits 2\n")

# A file of that many limits, each for that many processes at once: 396 kB.
_KEYS = 64
_PROCESSES = 128

_HEADER = 64
_BOOT = 32  # where the header says since when the machine runs
_MOMENTS = struct.Struct("<16sddd")  # key, next request, next token, paused until
# Process id, its places, when it began, its name, how many more it wants, when it asked last, and since when it waits.
_PLACES = struct.Struct("<IIQQIxxxxdd")
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

    No step waits longer than a moment: while another process holds the file, it raises `BlockingIOError` and names it.

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
            if isinstance(error, OSError) and not is_from_a_signal(error):
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

    def exchange(self, key: bytes, step: LimitStep) -> LimitAnswer:
        """Do all that a step says; see `LimitStore`."""
        with self._held():
            row, found = self._row(key)
            now = boottime()
            moments = booked(step, _moments(found), now)
            places, processes = self._seat(self._seats(row, found), step, now)
            turns = len(step.turns) if step.most is None else max(0, min(len(step.turns), places - step.using))
            moments, first = taken(step, turns, moments, now)
            self._write(row + 16, _MOMENTS.pack(_NOBODY, *moments)[16:])
        return LimitAnswer(turns, first - now, places, max(0.0, moments.paused - now), processes)

    def _seat(self, seats: list[_Seat], step: LimitStep, now: float) -> tuple[int, int]:
        """Note what a process has and wants; return how many places it may have, and how many processes there are."""
        name = int.from_bytes(hashlib.sha256(step.process.encode()).digest()[:8], "little")
        own = next((seat for seat in seats if seat.name == name), None)
        is_waiting = own is not None and own.wanted > 0 and now - own.asked < WANTS
        since = own.since if own is not None and is_waiting else now
        more = granted(step, now - since, _others(seats, name, now))
        if more < step.wanted or own is None:
            self._bury(seats, name, now - step.lease)
            more = granted(step, now - since, _others(seats, name, now))
        own = own or min((seat for seat in seats if not seat.places), key=lambda seat: _use(seat, now), default=None)
        if own is None:
            return step.using, len(seats)  # there is no room to note it
        got = max(0, more)
        lacks = step.wanted - got if step.most is not None else 0
        process, born = self._self
        self._write(own.at, _PLACES.pack(process, step.using + got, born, name, lacks, now, since if lacks and not got else now))
        seen = sum(seat.name not in (0, name) and (seat.places > 0 or 0 <= now - seat.asked < SEEN) for seat in seats)
        return step.using + (more if step.most is not None else 0), 1 + seen

    def _seats(self, row: int, found: bytes) -> list[_Seat]:
        """Return what is noted of each process; one more at the end is free."""
        seats = []
        if any(_PLACES.unpack_from(found, _BEGIN - _PLACES.size)):  # there are more of them
            found = self._read(row, _ROW)
        for position in range(_MOMENTS.size, len(found), _PLACES.size):
            seat = _Seat(row + position, *_PLACES.unpack_from(found, position))
            seats.append(seat)
            if not seat.process:  # they are filled from the front, and stay with who had them last
                break
        return seats

    def _bury(self, seats: list[_Seat], name: int, oldest: float) -> None:
        """Take back the places of processes that died, and those under a name of this one that is silent since `oldest`."""
        for number, seat in enumerate(seats):
            if not seat.places or seat.name == name:
                continue
            own = (seat.process, seat.born) == self._self
            if (own and seat.asked < oldest) or (not own and not _is_alive(seat.process, seat.born)):
                self._write(seat.at, _PLACES.pack(seat.process, 0, seat.born, 0, 0, 0.0, 0.0))
                seats[number] = _Seat(seat.at, seat.process, 0, seat.born, 0, 0, 0.0, 0.0)

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


class _Seat(NamedTuple):
    """What a row says of one process, and where in the file; times are seconds since the machine began."""

    at: int
    process: int
    places: int
    born: int
    name: int
    wanted: int
    asked: float
    since: float


def _use(seat: _Seat, now: float) -> float:
    """Return how much a seat without places is in use: one that was left long ago goes before a new one, so rows stay short."""
    if not seat.name:
        return 1.0
    return 2.0 + seat.asked if 0 <= now - seat.asked < SEEN else 0.0


def _others(seats: list[_Seat], name: int, now: float) -> list[Other]:
    found: list[Other] = []
    for seat in seats:
        wanted = seat.wanted if 0 <= now - seat.asked < WANTS else 0
        if seat.name != name and (seat.places or wanted):
            found.append(Other(seat.places, wanted, now - seat.since))
    return found


def _moments(row: bytes) -> Moments:
    """Return the moments in a row, in seconds since the machine began; 0 for impossible ones."""
    end = boottime() + HORIZON
    _, request, token, paused = _MOMENTS.unpack_from(row)
    return Moments(request if request < end else 0.0, token if token < end else 0.0, paused if paused < end else 0.0)


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
