"""What has been answered already? A file of finished answers, so that a run that died is resumed and not paid for twice.

One SQLite file, JSON values, no pickles. An answer is kept under what was asked (provider, URL, and the whole payload: model,
options, messages, schema), so that a changed prompt or option is asked anew, wherever in the input it stands. A prompt that
is asked several times in a run has as many answers. Several threads and processes may write to one file; a forked child opens
it anew. As an answer cache the same file gives a question's newest answer to whoever asks.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import random
import sqlite3
import threading
import time
import weakref
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from responder.values.errors import ConfigurationError

# "RESP" in ASCII: marks the file as ours, in the place that SQLite has for this.
_APPLICATION_ID = 0x52455350
_VERSION = 1

# SQLite numbers the rows of a new table from here.
_FIRST_RUN = 1

# Seconds to wait for other processes that write to the same file.
_PATIENCE = 60.0

# Seconds that a fork waits for the threads that are just reading or writing; they take milliseconds.
_FORK_PATIENCE = 5.0

_SCHEMA = """
CREATE TABLE runs (id INTEGER PRIMARY KEY, begun REAL NOT NULL);
CREATE TABLE answers (
    id INTEGER PRIMARY KEY,
    question BLOB NOT NULL,      -- SHA-256 of what was asked
    run INTEGER NOT NULL,        -- the last run that took it
    reply TEXT NOT NULL          -- the provider's reply and what came with it, as JSON
);
CREATE INDEX answers_by_question ON answers (question, run);
"""


@dataclass(frozen=True, slots=True)
class StoredAnswer:
    """A finished answer, as the file keeps it.

    Attributes:
        reply: The provider's reply, as parsed JSON.
        request_id: The provider's id of the request, or None.
    """

    reply: Mapping[str, Any]
    request_id: str | None


class Checkpoint:
    """The finished answers of one run and of those before it. Safe for threads; a forked child uses a connection of its own.

    Args:
        path: The file; made where there is none.

    Raises:
        ConfigurationError: The file is not ours, is damaged, or cannot be written; it was left untouched.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = os.fspath(path)
        self._lock = threading.Lock()  # held by whoever is in SQLite; guards the connection and `_stored`
        self._commit_lock = threading.Lock()  # held by the one thread that commits for all
        self._stored = 0
        self._committed = 0
        self._failure = ""  # why nothing more can be written
        self._closed = False
        self._connection: sqlite3.Connection | None = None
        _every[id(self)] = self
        try:
            with self._lock:
                refuse_foreign(self.path)
                self._run = self._begin(self._opened())
        except sqlite3.Error as error:
            self.close()  # now, and not when nobody holds the error any more
            raise ConfigurationError(f"the checkpoint {self.path} cannot be used: {error}", fatal=True) from error

    def _opened(self) -> sqlite3.Connection:
        """Return the connection; after a fork, a new one. For whoever holds the lock."""
        if self._connection is None:
            if self._closed:
                raise sqlite3.ProgrammingError("it was closed")
            if os.path.realpath(self.path) in _inherited:
                raise sqlite3.OperationalError("this process was forked while its parent wrote to the file")
            self._connection = sqlite3.connect(self.path, timeout=0.0, check_same_thread=False, isolation_level=None)
            # With a write-ahead log a killed process loses nothing that was committed, and a commit costs no flush to the disk.
            _execute(self._connection, "PRAGMA journal_mode = WAL")
            self._connection.execute("PRAGMA synchronous = NORMAL")
        return self._connection

    @staticmethod
    def _begin(connection: sqlite3.Connection) -> int:
        _execute(connection, "BEGIN IMMEDIATE")
        if not connection.execute("PRAGMA user_version").fetchone()[0]:
            for statement in _SCHEMA.split(";"):
                connection.execute(statement)
            connection.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {_VERSION}")
        run = connection.execute("INSERT INTO runs (begun) VALUES (?)", (time.time(),)).lastrowid
        connection.execute("COMMIT")
        return int(run or 0)

    def take(self, question: bytes) -> StoredAnswer | None:
        """Return an answer to a question that this run has not taken yet; None where it must be asked.

        Raises:
            ConfigurationError: The file broke, or the disk is full.
        """
        if self._run == _FIRST_RUN:
            return None  # no run came before the first, and those after it have larger numbers: half of what a store costs
        try:
            with self._lock:
                connection = self._opened()
                found = _execute(
                    connection, "SELECT id, reply FROM answers WHERE question = ? AND run < ? LIMIT 1", question, self._run
                ).fetchone()
                if found is None:
                    return None
                # Written at once, or together with an answer that another thread is just storing.
                _execute(connection, "UPDATE answers SET run = ? WHERE id = ?", self._run, found[0])
        except sqlite3.Error as error:
            raise self._cannot_go_on(str(error)) from error
        return _stored(found[1])

    def find(self, question: bytes) -> StoredAnswer | None:
        """Return the newest answer to a question, whichever run stored or took it, and leave it to be found again.

        This is what makes a cache of the file: `take` hands each answer out once a run, since five samples of one prompt are
        five answers.

        Raises:
            ConfigurationError: The file broke.
        """
        try:
            with self._lock:
                newest = "SELECT reply FROM answers WHERE question = ? ORDER BY id DESC LIMIT 1"
                found = _execute(self._opened(), newest, question).fetchone()
        except sqlite3.Error as error:
            raise self._cannot_go_on(str(error)) from error
        return None if found is None else _stored(found[0])

    def store(self, question: bytes, reply: Mapping[str, Any], request_id: str | None) -> None:
        """Keep an answer; when this returns, the process may be killed.

        Raises:
            ConfigurationError: The disk is full, or the file is gone.
        """
        value = json.dumps({"reply": reply, "request_id": request_id}, ensure_ascii=True, separators=(",", ":"))
        try:
            with self._lock:
                self._refuse_after_failure()
                connection = self._opened()
                if not connection.in_transaction:
                    _execute(connection, "BEGIN IMMEDIATE")
                connection.execute("INSERT INTO answers (question, run, reply) VALUES (?, ?, ?)", (question, self._run, value))
                self._stored += 1
                mine = self._stored
            # Whoever comes first commits for all who have stored meanwhile.
            with self._commit_lock:
                if self._committed < mine:
                    with self._lock:
                        self._refuse_after_failure()
                        upto = self._stored
                        if self._connection is not None and self._connection.in_transaction:  # else a fork has seen to it
                            _execute(self._connection, "COMMIT")
                    self._committed = upto
        except sqlite3.Error as error:
            raise self._cannot_go_on(str(error)) from error

    def _refuse_after_failure(self) -> None:
        # What fails may undo what other threads wrote before it and have not committed: none of them may take it for stored.
        if self._failure:
            raise sqlite3.OperationalError(self._failure)

    def _cannot_go_on(self, why: str) -> ConfigurationError:
        self._failure = why
        return ConfigurationError(
            f"the checkpoint {self.path} cannot be written ({why}): what it holds so far is safe. Make room and start again",
            fatal=True,
        )

    def close(self) -> None:
        """Write what is left and close the file; harmless when it is closed."""
        with self._commit_lock, self._lock:
            self._closed = True
            self._disconnect()

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            try:
                if connection.in_transaction:
                    _execute(connection, "COMMIT")
            except sqlite3.Error as error:
                self._failure = str(error)  # a full disk: those who wait for this commit are told
            connection.close()

    def __del__(self) -> None:
        # The workers of a run share it, and nobody knows which of them is the last.
        if hasattr(self, "_connection"):
            self.close()

    def _start_anew(self) -> None:
        """In a forked child, forget the locks that the parent's threads may hold; the next use opens the file again."""
        self._lock = threading.Lock()
        self._commit_lock = threading.Lock()
        connection, self._connection = self._connection, None
        if connection is not None:
            # Some thread did not leave it in time. Closing it, as the garbage collector would, deletes what another process
            # writes to after the parent has ended: it is kept, unused, as long as the child lives.
            _inherited.add(os.path.realpath(self.path))
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(connection))


def _execute(connection: sqlite3.Connection, statement: str, *values: object) -> sqlite3.Cursor:
    """Execute a statement as soon as other processes, and other connections of this one, let it."""
    ends = 0.0
    while True:
        try:
            return connection.execute(statement, values)
        except sqlite3.OperationalError as error:
            now = time.monotonic()
            ends = ends or now + _PATIENCE
            if "locked" not in str(error) or now > ends:
                raise
        # SQLite's own patience looks ten times a second, and finds no gap beside a process that writes without a pause; nor
        # does it cover the change to a write-ahead log, where two that begin a new file would both wait for ever.
        time.sleep(random.uniform(0.0002, 0.002))


def _stored(value: str) -> StoredAnswer:
    kept = json.loads(value)
    return StoredAnswer(kept["reply"], kept["request_id"])


# By their `id`: unlike a WeakSet it can be listed while other threads add to it.
_every: weakref.WeakValueDictionary[int, Checkpoint] = weakref.WeakValueDictionary()
# Files with a connection that came from the parent. SQLite takes its locks for this process's own: they cannot be used here.
_inherited: set[str] = set()
_held = threading.local()


def _alive() -> list[Checkpoint]:
    return [checkpoint for reference in _every.valuerefs() if (checkpoint := reference()) is not None]


def _before_fork() -> None:
    # SQLite forbids to take an open connection into a child, where it would know of locks that only the parent has. Its own
    # locks between threads cannot be renewed there, either: nobody may be in it while the process forks.
    ends = time.monotonic() + _FORK_PATIENCE
    every = sorted(_alive(), key=id)  # the same order for two threads that fork
    _held.checkpoints = [one for one in every if one._lock.acquire(timeout=max(0.0, ends - time.monotonic()))]
    for checkpoint in _held.checkpoints:
        checkpoint._disconnect()


def _after_fork_in_parent() -> None:
    for checkpoint in _held.__dict__.pop("checkpoints", ()):
        checkpoint._lock.release()


def _after_fork_in_child() -> None:
    for checkpoint in _alive():
        checkpoint._start_anew()
    _held.__dict__.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)


def refuse_foreign(path: str) -> None:
    """Look at an existing file without changing it or its folder.

    Raises:
        ConfigurationError: It is not a checkpoint, is damaged, or is of a later version.
    """
    try:
        if not os.path.exists(path) or os.path.getsize(path) == 0:  # noqa: PTH110, PTH202 - a str or anything like a path
            return
    except OSError as error:
        raise ConfigurationError(_unreadable(path, error), fatal=True) from error
    # Reading a file in use takes part in its log, and leaves one behind where there was none; so a file that has no log is
    # read as one that nobody changes, unless somebody begins to meanwhile.
    log = f"{path}-wal"
    has_log = os.path.exists(log)  # noqa: PTH110 - a str, as SQLite takes it
    problem = _problem(path, "mode=ro" if has_log else "mode=ro&immutable=1")
    if problem and not has_log and os.path.exists(log):  # noqa: PTH110 - a str, as SQLite takes it
        problem = _problem(path, "mode=ro")
    if problem:
        raise ConfigurationError(problem, fatal=True)


def _problem(path: str, how: str) -> str:
    """Return why a file cannot be used as a checkpoint; "" when it can."""
    try:
        with contextlib.closing(
            sqlite3.connect(f"file:{_quoted(path)}?{how}", uri=True, timeout=_PATIENCE, isolation_level=None)
        ) as connection:
            connection.execute("BEGIN")  # one look: another process may just be making the tables
            (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
            (application,) = connection.execute("PRAGMA application_id").fetchone()
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            if (tables, application, version) == (0, 0, 0):
                return ""  # begun by a process that was killed before it had made the tables, or is about to
            if application != _APPLICATION_ID:
                return f"{path} is not a checkpoint of responder: name another file"
            if version > _VERSION:
                return f"{path} was written by a later version of responder: update it"
            (found,) = connection.execute("PRAGMA quick_check(1)").fetchone()
            return "" if found == "ok" else f"the checkpoint {path} is damaged ({found}): restore it, or name another file"
    except sqlite3.Error as error:
        return _unreadable(path, error)


def _unreadable(path: str, error: Exception) -> str:
    return f"{path} cannot be read as a checkpoint ({error}): it is damaged, or another kind of file. Name another one"


def _quoted(path: str) -> str:
    from urllib.parse import quote

    return quote(os.path.abspath(path))  # noqa: PTH100 - a str or anything like a path
