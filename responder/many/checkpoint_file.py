"""Which files are checkpoints? A new one is made for its owner alone; one that is there is looked at and left as it is."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from collections import Counter
from urllib.parse import quote

from responder.many.database import when_free
from responder.values.cancellation import CancelToken
from responder.values.deadline import NEVER, Deadline
from responder.values.errors import ConfigurationError

# "RESP" in ASCII: marks the file as ours, in the place that SQLite has for this.
APPLICATION_ID = 0x52455350
VERSION = 2

# Seconds before each look at a file that was there before. While it is looked at as one that nothing changes, another program may
# open, change and close it: what was read then fits together no more than a damaged file does, and the next look finds it whole.
_LOOKS = (0.0, 0.0, 0.01, 0.05, 0.1)


def make_file(path: str) -> None:
    """Create the file if it does not exist: for its owner only, and not through a link."""
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)
    try:
        os.close(os.open(path, flags, 0o600))
    except FileExistsError:
        if not os.path.exists(path):  # noqa: PTH110 - a str, as SQLite takes it
            raise OSError("it is a link to a file that does not exist: name the file itself") from None


def why_not(path: str, error: Exception) -> str:
    """Return why a file could not be made or opened, in words for its user."""
    folder = os.path.dirname(path)  # noqa: PTH120 - a str, which may hold what no path can
    if isinstance(error, FileNotFoundError) and folder and not os.path.isdir(folder):  # noqa: PTH112 - as above
        return f"there is no folder {folder}"
    return str(getattr(error, "strerror", None) or error)


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
    problem = ""
    for pause in _LOOKS:
        time.sleep(pause)
        problem = when_free(path, lambda: _problem(path, _how_to_read(path)), deadline, cancel)
        if not problem:
            return
    raise ConfigurationError(problem, fatal=True)


def _how_to_read(path: str) -> str:
    # Reading a file in use takes part in its log, and leaves one behind where there was none; so a file that has no log is
    # read as one that nothing changes.
    return "mode=ro" if os.path.exists(f"{path}-wal") else "mode=ro&immutable=1"  # noqa: PTH110 - a str, as SQLite takes it


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
            if application != APPLICATION_ID:
                return f"{path} is not a checkpoint of responder: name another file"
            if version > VERSION:
                return f"{path} was written by a later version of responder: update it"
            (found,) = connection.execute("PRAGMA quick_check(1)").fetchone()
            return "" if found == "ok" else f"the checkpoint {path} is damaged ({found}): restore it, or name another file"
    except sqlite3.Error as error:
        if "locked" in str(error):
            raise
        return _unreadable(path, error)


def _for_reading(path: str, how: str) -> sqlite3.Connection:
    name = quote(os.path.abspath(path))  # noqa: PTH100 - a str, which may hold what no path can
    return sqlite3.connect(f"file:{name}?{how}", uri=True, timeout=0.0, isolation_level=None)


def kept_in(path: str) -> Counter[bytes]:
    """Return how many answers a file has to each question, without changing the file; none where there is no file.

    Raises:
        ConfigurationError: It is not a checkpoint, or cannot be read.
        DeadlineExceededError: Another program holds it.
    """
    return counted_in(path, "SELECT question, count(*) FROM answers GROUP BY question")


def counted_in(path: str, counts: str, *parameters: str) -> Counter[bytes]:
    """Return the counts that a query finds in a file, without changing it; none where there is no file. Raises as `kept_in` does.

    Args:
        path: The file.
        counts: A query for pairs: what is counted, and how often it is there.
        parameters: Of the query.
    """
    refuse_foreign(path)
    if not os.path.exists(path) or os.path.getsize(path) == 0:  # noqa: PTH110, PTH202 - a str or anything like a path
        return Counter()

    def step() -> Counter[bytes]:
        with contextlib.closing(_for_reading(path, _how_to_read(path))) as connection:
            return Counter(dict(connection.execute(counts, parameters)))

    try:
        return when_free(path, step)
    except sqlite3.Error as error:
        raise ConfigurationError(_unreadable(path, error), fatal=True) from error


def _unreadable(path: str, error: Exception) -> str:
    return f"{path} cannot be read as a checkpoint ({error}): it is damaged, or another kind of file. Name another one"
