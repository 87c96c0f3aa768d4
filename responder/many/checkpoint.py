"""What has been answered already? A file of finished answers, so that a run that died is resumed without paying twice.

One SQLite file, JSON values, no pickles. An answer is kept under what was asked (provider, URL, and the whole payload: model,
options, messages, schema), so that a changed prompt or option is asked again, wherever it is in the input. A prompt that
is asked several times in a run has as many answers. Each row carries a digest: a damaged one is asked again. Several threads and
processes may write to one file; a forked child reopens it. As an answer cache, the same file returns a question's newest answer
each time.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import itertools
import json
import os
import sqlite3
import threading
import time
import weakref
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar
from urllib.parse import quote

from responder.call.keeping import StoredAnswer
from responder.many.database import GATE, when_free
from responder.values.cancellation import CancelToken
from responder.values.deadline import NEVER, Deadline
from responder.values.dropped import close_dropped
from responder.values.errors import ConfigurationError

V = TypeVar("V")

# "RESP" in ASCII: marks the file as ours, in the place that SQLite has for this.
_APPLICATION_ID = 0x52455350
_VERSION = 2

# SQLite numbers the rows of a new table from here.
_FIRST_RUN = 1

# How often a file that cannot be read is looked at again, while programs write to it, and the seconds between two looks: more
# than a tick of the system's clock, by which it notes when a file was written.
_LOOKS = 50
_PAUSE = 0.02

_SCHEMA = """
CREATE TABLE runs (id INTEGER PRIMARY KEY, begun REAL NOT NULL);
CREATE TABLE answers (
    id INTEGER PRIMARY KEY,
    question BLOB NOT NULL,      -- SHA-256 of what was asked
    run INTEGER NOT NULL,        -- the last run that took it
    reply TEXT NOT NULL,         -- the provider's reply and what came with it, as JSON, or the vector of a text
    digest BLOB                  -- of question and reply, NULL in rows of version 1
);
CREATE INDEX answers_by_question ON answers (question, run);
"""
_FROM_VERSION_1 = "ALTER TABLE answers ADD COLUMN digest BLOB"


class Checkpoint:
    """The finished answers of one run and of those before it. Safe for threads; a forked child uses a connection of its own.

    Args:
        path: The file; created if it does not exist, for its owner only.
        deadline: How long to wait for another program that holds the file; one minute at most.
        cancel: Ends that wait.

    Raises:
        ConfigurationError: The file is not ours, is damaged, or cannot be written; it was left untouched.
        DeadlineExceededError: Another program holds the file; the message names it.
    """

    def __init__(self, path: str | os.PathLike[str], deadline: Deadline = NEVER, cancel: CancelToken | None = None) -> None:
        self.path = os.fspath(path)
        self._commit_lock = threading.Lock()  # held by the one thread that commits for all
        # All of these change only inside the gate.
        self._stored = 0
        self._committed = 0
        self._failure = ""  # why nothing more can be written
        self._closed = False
        self._connection: sqlite3.Connection | None = None
        self._run = 0
        _every[next(_numbers)] = self
        try:
            refuse_foreign(self.path, deadline, cancel)
            _make(self.path)
            when_free(self.path, self._begin, deadline, cancel)
        except BaseException as error:
            self.close()  # now, not when the error is garbage collected
            if isinstance(error, (sqlite3.Error, OSError, ValueError)):  # a NUL in the name is the last of them
                raise ConfigurationError(f"the checkpoint {self.path} cannot be used: {error}", fatal=True) from error
            raise

    def _opened(self) -> sqlite3.Connection:
        """Return the connection; after a fork, a new one. Call inside the gate only."""
        if self._connection is None:
            if self._closed:
                raise sqlite3.ProgrammingError("it was closed")
            if os.path.realpath(self.path) in _inherited:
                raise sqlite3.ProgrammingError(
                    "this process was forked while its parent had the file open. Use it only after the fork "
                    "(uWSGI: lazy-apps = true), or give each process a file of its own"
                )
            connection = sqlite3.connect(self.path, timeout=0.0, check_same_thread=False, isolation_level=None)
            try:
                # With a write-ahead log a killed process loses nothing that was committed, and a commit costs no flush.
                connection.execute("PRAGMA journal_mode = WAL")
                connection.execute("PRAGMA synchronous = NORMAL")
                connection.text_factory = bytes  # text that is damaged need not be UTF-8
            except BaseException:
                connection.close()
                raise
            self._connection = connection
        return self._connection

    def _begin(self) -> None:
        """Make the tables, or bring those of an earlier version up to date; number this run."""
        connection = self._opened()
        connection.execute("BEGIN IMMEDIATE")
        try:
            version = connection.execute("PRAGMA user_version").fetchone()[0]
            for statement in {0: _SCHEMA, 1: _FROM_VERSION_1}.get(version, "").split(";"):
                connection.execute(statement)
            if version < _VERSION:
                connection.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
                connection.execute(f"PRAGMA user_version = {_VERSION}")
            self._run = int(connection.execute("INSERT INTO runs (begun) VALUES (?)", (time.time(),)).lastrowid or 0)
            connection.execute("COMMIT")
        except BaseException:  # Ctrl-C or a lack of memory as well: half of the tables must not be kept when the file is closed
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise

    def take(self, question: bytes, deadline: Deadline = NEVER, cancel: CancelToken | None = None) -> StoredAnswer | None:
        """Return an answer to a question that this run has not taken yet; None if it must be asked.

        Raises:
            ConfigurationError: The file broke, or the disk is full, or another program does not let the file go.
            DeadlineExceededError: Another program held the file up to the deadline; the message names it.
            CancelledError: It was cancelled while another program held the file.
        """
        if self._run == _FIRST_RUN:
            return None  # no run came before the first, and those after it have larger numbers: half of what a store costs

        def step() -> StoredAnswer | None:
            connection = self._opened()
            while True:
                oldest = "SELECT id, reply, digest FROM answers WHERE question = ? AND run < ? LIMIT 1"
                found = connection.execute(oldest, (question, self._run)).fetchone()
                if found is None:
                    return None
                # Written at once, or together with an answer that another thread is just storing.
                connection.execute("UPDATE answers SET run = ? WHERE id = ?", (self._run, found[0]))
                stored = stored_answer(question, found[1], found[2])
                if stored is not None:
                    return stored

        return self._looked_up(step, deadline, cancel)

    def find(self, question: bytes, deadline: Deadline = NEVER, cancel: CancelToken | None = None) -> StoredAnswer | None:
        """Return the newest answer to a question, whichever run stored or took it, and leave it for later calls.

        This is what makes a cache of the file: `take` hands each answer out once a run, since five samples of one prompt are
        five answers. Raises as `take` does.
        """

        def step() -> StoredAnswer | None:
            newest = "SELECT reply, digest FROM answers WHERE question = ? ORDER BY id DESC"
            found = (stored_answer(question, *row) for row in self._opened().execute(newest, (question,)))
            return next((stored for stored in found if stored is not None), None)

        return self._looked_up(step, deadline, cancel)

    def _looked_up(
        self, step: Callable[[], StoredAnswer | None], deadline: Deadline, cancel: CancelToken | None
    ) -> StoredAnswer | None:
        try:
            return when_free(self.path, step, deadline, cancel)
        except sqlite3.Error as error:
            if _is_damage(error):
                return None  # asked again; storing the new answer will report the fault
            raise self._cannot_go_on(str(error)) from error

    def store(
        self,
        question: bytes,
        reply: Mapping[str, Any],
        request_id: str | None,
        deadline: Deadline = NEVER,
        cancel: CancelToken | None = None,
    ) -> None:
        """Keep an answer; once this returns, killing the process does not lose it.

        Raises:
            ConfigurationError: The answer is not kept: the disk is full, the file is gone, or another program held it until the
                deadline, a cancel, or for a minute.
        """
        self.store_all([(question, reply, request_id)], deadline, cancel)

    def store_all(
        self,
        answers: Sequence[tuple[bytes, Mapping[str, Any], str | None]],
        deadline: Deadline = NEVER,
        cancel: CancelToken | None = None,
    ) -> None:
        """Keep several answers in one commit, as (question, reply, request_id); raises as `store` does."""
        self._insert(
            [answer_row(question, self._run, reply, request_id) for question, reply, request_id in answers], deadline, cancel
        )

    @property
    def has_jobs(self) -> bool:
        """True where a batch job in the file may have answers at the provider that are not here."""

        def step() -> bool:
            connection = self._opened()
            table = connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'job_parts'").fetchone()
            open_parts = "SELECT 1 FROM job_parts WHERE state IN ('sending', 'sent') LIMIT 1"
            return table is not None and connection.execute(open_parts).fetchone() is not None

        try:
            return when_free(self.path, step)
        except sqlite3.Error:
            return False  # damaged: what asks next will say so

    @property
    def run(self) -> int:
        """The number of this run: later ones have larger numbers."""
        return self._run

    def find_vectors(
        self, texts: Sequence[bytes], deadline: Deadline = NEVER, cancel: CancelToken | None = None
    ) -> dict[bytes, bytes]:
        """Return the vectors that are here of those texts, as little-endian float32. Raises as `take` does."""

        def step() -> dict[bytes, bytes]:
            connection, found = self._opened(), {}
            newest = "SELECT reply, digest FROM answers WHERE question = ? ORDER BY id DESC LIMIT 1"
            for text in texts:
                row = connection.execute(newest, (text,)).fetchone()
                if row is not None and row[0] and row[1] == _digest(text, row[0]):
                    found[text] = row[0]
            return found

        try:
            return when_free(self.path, step, deadline, cancel)
        except sqlite3.Error as error:
            if _is_damage(error):
                return {}
            raise self._cannot_go_on(str(error)) from error

    def store_vectors(
        self, vectors: Sequence[tuple[bytes, bytes]], deadline: Deadline = NEVER, cancel: CancelToken | None = None
    ) -> None:
        """Keep the vectors of some texts; when this returns, the process may be killed.

        Args:
            vectors: Pairs of a text's name and its vector, as little-endian float32: a third of what JSON takes.
            deadline: When a wait for another program ends.
            cancel: Ends such a wait.

        Raises:
            ConfigurationError: As `store` raises it.
        """
        self._insert([vector_row(text, self._run, vector) for text, vector in vectors], deadline, cancel)

    def transact(
        self, step: Callable[[sqlite3.Connection], V], deadline: Deadline = NEVER, cancel: CancelToken | None = None
    ) -> V:
        """Do a step in a transaction of its own: all of it is kept, or nothing. Text comes out of the database as bytes.

        Args:
            step: What to do; it may be begun several times, while another program holds the file.
            deadline: When a wait for another program ends.
            cancel: Ends such a wait.

        Raises:
            ConfigurationError: As `store` raises it.
        """
        GATE.notice_fork()

        def whole() -> V:
            self._refuse_after_failure()
            connection = self._opened()
            if connection.in_transaction:  # of answers that other threads have just stored
                connection.execute("COMMIT")
            connection.execute("BEGIN IMMEDIATE")
            try:
                made = step(connection)
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise
            return made

        try:
            return when_free(self.path, whole, deadline, cancel)
        except sqlite3.Error as error:
            raise self._cannot_go_on(str(error)) from error

    def _insert(
        self, rows: Sequence[tuple[bytes, int, str | bytes, bytes]], deadline: Deadline, cancel: CancelToken | None
    ) -> None:
        GATE.notice_fork()  # else another process might hold the lock below

        def insert() -> int:
            self._refuse_after_failure()
            connection = self._opened()
            if not connection.in_transaction:
                connection.execute("BEGIN IMMEDIATE")
            connection.executemany("INSERT INTO answers (question, run, reply, digest) VALUES (?, ?, ?, ?)", rows)
            self._stored += 1
            return self._stored

        try:
            mine = when_free(self.path, insert, deadline, cancel)
            # The first thread commits for all that have stored meanwhile; without waiting for other programs, since the
            # transaction has the file already.
            with self._commit_lock:
                if self._committed < mine:
                    when_free(self.path, self._commit, deadline, cancel)
        except sqlite3.Error as error:
            raise self._cannot_go_on(str(error)) from error
        except ConfigurationError:
            raise
        except Exception as error:  # a deadline or a cancel: the answer itself is there
            raise ConfigurationError(f"an answer could not be kept: {error}", fatal=True) from error

    def _commit(self) -> None:
        self._refuse_after_failure()
        upto = self._stored
        if self._connection is not None and self._connection.in_transaction:  # else a fork has seen to it
            self._connection.execute("COMMIT")
        self._committed = upto

    def _refuse_after_failure(self) -> None:
        # What fails may undo what other threads wrote before it and have not committed: none of them may take it for stored.
        if self._failure:
            raise sqlite3.ProgrammingError(self._failure)

    def _cannot_go_on(self, why: str) -> ConfigurationError:
        self._failure = why
        return ConfigurationError(
            f"the checkpoint {self.path} cannot be written ({why}): what it has so far is safe. Make room and start again",
            fatal=True,
        )

    def close(self) -> None:
        """Write what is left and close the file; does nothing if it is closed."""
        GATE.notice_fork()  # else another process might hold the lock below
        with self._commit_lock:
            self._closed = True
            if self._connection is not None:
                with GATE:
                    self._disconnect()

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            try:
                if connection.in_transaction:
                    connection.execute("COMMIT")
            except sqlite3.Error as error:
                self._failure = str(error)  # a full disk: threads that wait for this commit must not take their answers for kept
            connection.close()

    def __del__(self, close: Callable[[Any, str], None] = close_dropped) -> None:
        # The workers of a run share it, and which of them is the last is unknown.
        close(self, "_run")

    def _start_anew(self) -> None:
        """In a forked child, forget the locks that the parent's threads may hold; the next use opens the file again."""
        self._commit_lock = threading.Lock()
        connection, self._connection = self._connection, None
        if connection is not None:
            # It could not be closed before the fork. Closing it here, as the garbage collector would, deletes what another
            # process writes to after the parent has ended: it is kept, unused, as long as the child lives.
            _inherited.add(os.path.realpath(self.path))
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(connection))


def answer_row(question: bytes, run: int, reply: Mapping[str, Any], request_id: str | None) -> tuple[bytes, int, str, bytes]:
    """Return an answer as the table of answers has it: question, run, reply and digest."""
    value = json.dumps({"reply": reply, "request_id": request_id}, ensure_ascii=True, separators=(",", ":"))
    return question, run, value, _digest(question, value.encode())


def vector_row(text: bytes, run: int, vector: bytes) -> tuple[bytes, int, bytes, bytes]:
    """Return the vector of a text as the table of answers has it."""
    return text, run, vector, _digest(text, vector)


def stored_vector(text: bytes, vector: bytes, digest: bytes) -> bytes | None:
    """Return the vector in a row; None if it was damaged."""
    return vector if vector and digest == _digest(text, vector) else None


def _digest(question: bytes, reply: bytes) -> bytes:
    return hashlib.blake2b(reply, digest_size=16, key=question[:64]).digest()


def stored_answer(question: bytes, reply: object, digest: object) -> StoredAnswer | None:
    """Return what a row holds; None if it was damaged."""
    try:
        if not isinstance(reply, bytes) or (digest is not None and digest != _digest(question, reply)):
            return None
        kept = json.loads(reply)
        return StoredAnswer(kept["reply"], kept["request_id"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return None  # of version 1, without a digest


def _is_damage(error: sqlite3.Error) -> bool:
    return any(word in str(error) for word in ("malformed", "not a database", "corrupt"))


# Unlike a WeakSet it can be listed while other threads add to it.
_every: weakref.WeakValueDictionary[int, Checkpoint] = weakref.WeakValueDictionary()
_numbers = itertools.count()
# Files with a connection that came from the parent. SQLite takes its locks for this process's own: they cannot be used here.
_inherited: set[str] = set()
_forking = threading.local()


def _alive() -> list[Checkpoint]:
    return [checkpoint for reference in _every.valuerefs() if (checkpoint := reference()) is not None]


def _before_fork() -> None:
    # SQLite forbids to take an open connection into a child, where it would know of locks that only the parent has.
    _forking.closed = GATE.close_for_fork()
    if _forking.closed:
        for checkpoint in _alive():
            checkpoint._disconnect()


def _after_fork_in_parent() -> None:
    if _forking.closed:
        GATE.open_after_fork()


def _start_all_anew() -> None:
    for checkpoint in _alive():
        checkpoint._start_anew()


GATE.in_every_child(_start_all_anew)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_before_fork,
        after_in_parent=_after_fork_in_parent,
        after_in_child=lambda: GATE.renew_in_child(_forking.closed),
    )


def _make(path: str) -> None:
    """Create the file if it does not exist: for its owner only, and not through a link."""
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)
    try:
        os.close(os.open(path, flags, 0o600))
    except FileExistsError:
        if not os.path.exists(path):  # noqa: PTH110 - a str, as SQLite takes it
            raise OSError("it is a link to a file that does not exist: name the file itself") from None


def refuse_foreign(path: str, deadline: Deadline = NEVER, cancel: CancelToken | None = None) -> None:
    """Check an existing file without changing it or its folder.

    Raises:
        ConfigurationError: It is not a checkpoint, is damaged, or is of a later version.
        DeadlineExceededError: Another program holds it.
    """
    try:
        if not os.path.exists(path) or os.path.getsize(path) == 0:  # noqa: PTH110, PTH202 - a str or anything like a path
            return
    except OSError as error:
        raise ConfigurationError(_unreadable(path, error), fatal=True) from error
    # Reading a file in use takes part in its log, and leaves one behind where there was none; so a file that has no log is
    # read as one that nothing changes, unless a program starts to meanwhile.
    log = f"{path}-wal"
    has_log = os.path.exists(log)  # noqa: PTH110 - a str, as SQLite takes it
    problem = _seen(path, has_log, deadline, cancel)
    for _ in range(_LOOKS):
        if not problem or has_log:
            break
        # A program may have opened, written and closed it meanwhile, and what was read is half of that.
        before = _state(path)
        time.sleep(_PAUSE)
        has_log = os.path.exists(log)  # noqa: PTH110 - a str, as SQLite takes it
        problem = _seen(path, has_log, deadline, cancel)
        if not os.path.exists(log) and _state(path) == before:  # noqa: PTH110 - a str, as SQLite takes it
            break
    if problem:
        raise ConfigurationError(problem, fatal=True)


def _state(path: str) -> tuple[int, int]:
    """Return what changes when a file is written to, if that is longer ago than a tick of the system's clock."""
    found = os.stat(path)  # noqa: PTH116 - a str, as SQLite takes it
    return found.st_mtime_ns, found.st_size


def _seen(path: str, has_log: bool, deadline: Deadline, cancel: CancelToken | None) -> str:
    how = "mode=ro" if has_log else "mode=ro&immutable=1"
    return when_free(path, lambda: _problem(path, how), deadline, cancel)


def _problem(path: str, how: str) -> str:
    """Return why a file cannot be used as a checkpoint; "" when it can.

    Raises:
        sqlite3.OperationalError: Another program holds it.
    """
    try:
        with contextlib.closing(_for_reading(path, how)) as connection:
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
        if "locked" in str(error):
            raise
        return _unreadable(path, error)


def _for_reading(path: str, how: str) -> sqlite3.Connection:
    return sqlite3.connect(f"file:{quote(os.path.abspath(path))}?{how}", uri=True, timeout=0.0, isolation_level=None)  # noqa: PTH100


def kept_in(path: str) -> Counter[bytes]:
    """Return how many answers a file has to each question, without changing the file; none where there is no file.

    Raises:
        ConfigurationError: It is not a checkpoint, or cannot be read.
        DeadlineExceededError: Another program holds it.
    """
    refuse_foreign(path)
    if not os.path.exists(path) or os.path.getsize(path) == 0:  # noqa: PTH110, PTH202 - a str or anything like a path
        return Counter()
    how = "mode=ro" if os.path.exists(f"{path}-wal") else "mode=ro&immutable=1"  # noqa: PTH110 - a str, as SQLite takes it

    def step() -> Counter[bytes]:
        with contextlib.closing(_for_reading(path, how)) as connection:
            return Counter(dict(connection.execute("SELECT question, count(*) FROM answers GROUP BY question")))

    try:
        return when_free(path, step)
    except sqlite3.Error as error:
        raise ConfigurationError(_unreadable(path, error), fatal=True) from error


def _unreadable(path: str, error: Exception) -> str:
    return f"{path} cannot be read as a checkpoint ({error}): it is damaged, or another kind of file. Name another one"
