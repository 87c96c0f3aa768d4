"""Make the n-th step to the operating system fail: opening, writing, locking, connecting, sending, receiving, starting a thread.

The boundary is wrapped where the standard library has it, and only steps that the package asks for are counted: those of a test
and of its server go through. What is below Python (SQLite's own files) fails by SQLite's errors.
"""

from __future__ import annotations

import errno
import fcntl
import io
import os
import socket
import sqlite3
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import responder

_HOME = str(Path(responder.__file__).parent)
_SIMULATOR = str(Path(_HOME, "simulator"))

# Frames between a step and the line of the package that asked for it; urllib3, `requests` and `tempfile` stand between.
_DEEPEST = 40

Way = Callable[[Callable[[], Any], tuple[Any, ...]], Any]
"""One way to fail: gets what would do the step, and its arguments."""


def failing(number: int) -> Way:
    """Fail with an error number."""

    def way(_step: Callable[[], Any], _arguments: tuple[Any, ...]) -> Any:
        raise OSError(number, os.strerror(number))

    return way


def raising(error: Callable[[], BaseException]) -> Way:
    """Fail with an exception."""

    def way(_step: Callable[[], Any], _arguments: tuple[Any, ...]) -> Any:
        raise error()

    return way


def breaking(number: int) -> Way:
    """Fail with an error number that means that the connection is gone; it is, too."""

    def way(_step: Callable[[], Any], arguments: tuple[Any, ...]) -> Any:
        socket.socket.shutdown(arguments[0], socket.SHUT_RDWR)
        raise OSError(number, os.strerror(number))

    return way


def returning(value: Any) -> Way:
    """Do nothing, and return a value."""
    return lambda _step, _arguments: value


def _short_send(step: Callable[[], Any], arguments: tuple[Any, ...]) -> Any:
    sock, data, *_ = arguments
    return _SEND(sock, bytes(data[:1])) if len(data) else step()


def _short_receive(_step: Callable[[], Any], arguments: tuple[Any, ...]) -> Any:
    return _RECEIVE(arguments[0], 1)


def _short_write(step: Callable[[], Any], arguments: tuple[Any, ...]) -> Any:
    descriptor, data, *rest = arguments
    return _WRITES[len(rest)](descriptor, bytes(data[: len(data) // 2]), *rest) if len(data) > 1 else step()


def _done_and_lost(error: Callable[[], BaseException]) -> Way:
    """Do the step, and fail nevertheless: its result is lost on the way back."""

    def way(step: Callable[[], Any], _arguments: tuple[Any, ...]) -> Any:
        made = step()
        if isinstance(made, sqlite3.Connection):
            made.close()  # nobody else can: Python 3.13 warns of one that is left open
        raise error()

    return way


_SEND, _RECEIVE = socket.socket.send, socket.socket.recv
_WRITES = (os.write, os.pwrite)


def _sqlite(kind: type[sqlite3.Error], text: str) -> Way:
    return raising(lambda: kind(text))


_SQLITE = [
    _sqlite(sqlite3.OperationalError, "database or disk is full"),
    _sqlite(sqlite3.OperationalError, "disk I/O error"),
    _sqlite(sqlite3.OperationalError, "database is locked"),
    _sqlite(sqlite3.DatabaseError, "database disk image is malformed"),
    _done_and_lost(lambda: sqlite3.OperationalError("disk I/O error")),
    raising(MemoryError),
]

WAYS: dict[str, list[Way]] = {
    "open": [failing(number) for number in (errno.EMFILE, errno.ENOSPC, errno.EACCES, errno.EIO, errno.EINTR)],
    "write": [failing(errno.ENOSPC), failing(errno.EIO), failing(errno.EDQUOT), _short_write],
    "fsync": [failing(errno.EIO), failing(errno.ENOSPC)],
    "reserve": [failing(errno.ENOSPC), failing(errno.EIO), failing(errno.EOPNOTSUPP)],
    "rename": [failing(errno.EACCES), failing(errno.ENOSPC)],
    "lock": [failing(errno.EAGAIN), failing(errno.ENOLCK), failing(errno.EDEADLK), failing(errno.EIO)],
    "look up": [
        raising(lambda: socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")),
        raising(lambda: socket.gaierror(socket.EAI_NONAME, "Name or service not known")),
        returning([]),
        raising(MemoryError),
    ],
    "socket": [failing(errno.EMFILE), failing(errno.ENOBUFS), failing(errno.EAFNOSUPPORT)],
    "option": [failing(errno.EINVAL), failing(errno.ENOBUFS)],
    "connect": [returning(number) for number in (errno.ECONNREFUSED, errno.ENETUNREACH, errno.ETIMEDOUT, errno.EADDRNOTAVAIL)],
    "connect plainly": [failing(errno.ECONNREFUSED), failing(errno.ETIMEDOUT), failing(errno.EMFILE)],
    "send": [breaking(errno.EPIPE), breaking(errno.ECONNRESET), failing(errno.ENOBUFS), breaking(errno.EIO), _short_send],
    "send whole": [breaking(errno.EPIPE), breaking(errno.ECONNRESET)],
    "receive into": [breaking(errno.ECONNRESET), breaking(errno.ETIMEDOUT), returning(0)],
    "receive": [breaking(errno.ECONNRESET), breaking(errno.ETIMEDOUT), breaking(errno.EIO), returning(b""), _short_receive],
    "thread": [raising(lambda: RuntimeError("can't start new thread")), raising(MemoryError)],
    "open a database": _SQLITE,
    "use a database": _SQLITE,
}


@dataclass
class Injection:
    """Fails one step, or none.

    Attributes:
        number: Which step fails, counted from 1; 0: none.
        way: Which of the ways of its kind, counted from 0; the ways come round again.
        kinds: What each step was, in order.
        failed: What failed, such as "send 2"; "" while nothing has.
        sockets: Every socket that the package opened.
    """

    number: int = 0
    way: int = 0
    kinds: list[str] = field(default_factory=list)
    failed: str = ""
    sockets: list[socket.socket] = field(default_factory=list)
    _lock: Any = field(default_factory=threading.Lock)

    def step(self, kind: str, do: Callable[[], Any], arguments: tuple[Any, ...]) -> Any:
        """Count a step of the package's, and do it or fail it."""
        if not _is_the_packages():
            return do()
        with self._lock:
            self.kinds.append(kind)
            is_it = len(self.kinds) == self.number
            if is_it:
                self.failed = f"{kind} {self.way}"
        return WAYS[kind][self.way % len(WAYS[kind])](do, arguments) if is_it else do()


def _is_the_packages() -> bool:
    frame: Any = sys._getframe(3)
    for _ in range(_DEEPEST):
        if frame is None:
            return False
        name = frame.f_code.co_filename
        if name.startswith("<frozen importlib") or name.endswith(("/ssl.py", "/certifi/core.py")):
            return False  # imports, and what is loaded once for the process
        if name.startswith(_HOME):
            return not name.startswith(_SIMULATOR)
        frame = frame.f_back
    return False


class _Database(sqlite3.Connection):
    injection: Injection | None = None

    def execute(self, *arguments: Any) -> Any:
        return _stepped("use a database", super().execute)(*arguments)


_current: list[Injection] = []


def _stepped(kind: str, real: Callable[..., Any]) -> Callable[..., Any]:
    def wrapper(*arguments: Any, **keywords: Any) -> Any:
        if not _current:
            return real(*arguments, **keywords)
        return _current[0].step(kind, lambda: real(*arguments, **keywords), arguments)

    return wrapper


@contextmanager
def injected(number: int = 0, way: int = 0) -> Iterator[Injection]:
    """Have the n-th step fail within the block."""
    injection = Injection(number, way)
    places: list[tuple[Any, str, Any]] = [
        (os, "open", _stepped("open", os.open)),
        (io, "open", _stepped("open", io.open)),
        (sys.modules["builtins"], "open", _stepped("open", open)),
        (os, "write", _stepped("write", os.write)),
        (os, "pwrite", _stepped("write", os.pwrite)),
        (os, "fsync", _stepped("fsync", os.fsync)),
        (os, "ftruncate", _stepped("reserve", os.ftruncate)),
        (os, "posix_fallocate", _stepped("reserve", os.posix_fallocate)),
        (os, "replace", _stepped("rename", os.replace)),
        (fcntl, "lockf", _stepped("lock", fcntl.lockf)),
        (socket, "getaddrinfo", _stepped("look up", socket.getaddrinfo)),
        (socket.socket, "setsockopt", _method("option", socket.socket.setsockopt)),
        (socket.socket, "connect_ex", _method("connect", socket.socket.connect_ex)),
        (socket.socket, "connect", _method("connect plainly", socket.socket.connect)),
        (socket.socket, "send", _method("send", socket.socket.send)),
        (socket.socket, "sendall", _method("send whole", socket.socket.sendall)),
        (socket.socket, "recv_into", _method("receive into", socket.socket.recv_into)),
        (socket.socket, "recv", _method("receive", socket.socket.recv)),
        (threading.Thread, "start", _method("thread", threading.Thread.start)),
        (sqlite3, "connect", _stepped("open a database", _connect)),
        (socket.socket, "__init__", _made),
    ]
    before = [(owner, name, owner.__dict__.get(name, _INHERITED)) for owner, name, _ in places]
    _current.append(injection)
    try:
        for owner, name, wrapper in places:
            setattr(owner, name, wrapper)
        yield injection
    finally:
        _current.clear()
        for owner, name, found in before:
            if found is _INHERITED:
                delattr(owner, name)
            else:
                setattr(owner, name, found)


_INHERITED = object()
_REAL_CONNECT = sqlite3.connect
_REAL_MAKE = socket.socket.__init__


def _method(kind: str, real: Callable[..., Any]) -> Callable[..., Any]:
    wrapper = _stepped(kind, real)

    def method(self: Any, *arguments: Any, **keywords: Any) -> Any:
        return wrapper(self, *arguments, **keywords)

    return method


def _connect(*arguments: Any, **keywords: Any) -> Any:
    return _REAL_CONNECT(*arguments, factory=_Database, **keywords)


def _made(self: socket.socket, *arguments: Any, **keywords: Any) -> None:
    def make() -> None:
        _REAL_MAKE(self, *arguments, **keywords)

    if not _current:
        make()
        return
    current = _current[0]
    before = len(current.kinds)
    current.step("socket", make, arguments)
    if len(current.kinds) > before:
        current.sockets.append(self)
