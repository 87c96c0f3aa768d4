"""Which prompts of a new job go into which batch? Those that have no answer yet, by lines, bytes and what they need beside."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Callable, Iterable
from typing import Any

from responder.call.batch_form import BatchLimits
from responder.many.job_rows import OVER, Item, Part, write_part
from responder.values.errors import ConfigurationError

# What a line has besides its question, in bytes: its name, the path, the quotes.
AROUND = 220

# Rows that are read or written at once, and bytes of their bodies.
TOGETHER = 500
BYTES_TOGETHER = 8_000_000


class UnderWayError(ConfigurationError):
    """Prompts are under way in another job of the file."""


class Planner:
    """Writes the items of a new job, each with the batch it will be sent in."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        job: int,
        run: int,
        limits: BatchLimits,
        dedupe: bool,
        refused: Callable[[Item], str],
    ) -> None:
        self._connection = connection
        self._job = job
        self._run = run
        self._limits = limits
        self._refused = refused
        self._first: dict[bytes, int] | None = {} if dedupe else None
        self._open: dict[tuple[str, str], Part] = {}
        self._parts = 0

    def plan(self, items: Iterable[Item]) -> None:
        """Write them, and the batches."""
        rows: list[tuple[Any, ...]] = []
        bodies: list[tuple[int, int, bytes]] = []
        held = 0
        for item in items:
            part, same_as, answer, failure = self._place(item)
            rows.append((self._job, item.place, item.question, part, same_as, item.prompt, answer, failure or None))
            if part is not None:
                bodies.append((self._job, item.place, item.body))
            held += len(item.body)
            if len(rows) >= TOGETHER or held > BYTES_TOGETHER:
                self._write(rows, bodies)
                held = 0
        self._write(rows, bodies)
        for part_of in self._open.values():
            write_part(self._connection, part_of)

    def _write(self, rows: list[tuple[Any, ...]], bodies: list[tuple[int, int, bytes]]) -> None:
        into = (
            "INSERT INTO job_items (job, place, question, part, same_as, prompt, answer, failure) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
        )
        self._connection.executemany(into, rows)
        self._connection.executemany("INSERT INTO job_lines (job, place, body) VALUES (?, ?, ?)", bodies)
        rows.clear()
        bodies.clear()

    def _place(self, item: Item) -> tuple[int | None, int | None, int | None, str]:
        """Return the part, the equal item, the answer and the failure of an item: one of them."""
        if item.failure:
            return None, None, None, item.failure
        if self._first is not None:
            first = self._first.setdefault(item.question, item.place)
            if first != item.place:
                return None, first, None, ""
        answer = self._taken(item.question)
        if answer is not None:
            return None, None, answer, ""
        failure = self._refused(item)
        return (None, None, None, failure) if failure else (self._part_for(item), None, None, "")

    def _taken(self, question: bytes) -> int | None:
        """Return the row of an answer that this run has not taken yet; None if it must be asked."""
        oldest = "SELECT id FROM answers WHERE question = ? AND run < ? LIMIT 1"
        found = self._connection.execute(oldest, (question, self._run)).fetchone()
        if found is None:
            return None
        self._connection.execute("UPDATE answers SET run = ? WHERE id = ?", (self._run, found[0]))
        return int(found[0])

    def _part_for(self, item: Item) -> int:
        key = item.url, json.dumps(item.headers, sort_keys=True)
        size = len(item.body) + AROUND
        part = self._open.get(key)
        if part is None or part.lines >= self._limits.lines or part.size + size > self._limits.bytes:
            if part is not None:
                write_part(self._connection, part)
            part = self._open[key] = Part(self._job, self._parts, item.url, item.headers, 0, 0)
            self._parts += 1
        part.lines += 1
        part.size += size
        return part.number


def digest_of(items: Iterable[Item], dedupe: bool) -> bytes:
    """Return what tells the questions of one job from those of another."""
    digest = hashlib.sha256(b"dedupe" if dedupe else b"")
    for item in items:
        digest.update(item.question)
    return digest.digest()


def refuse_under_way(connection: sqlite3.Connection, job: int, path: str) -> None:
    """Refuse a job whose prompts are under way in another one; raises UnderWayError."""
    found = connection.execute(
        """SELECT jobs.name FROM job_items AS mine
        JOIN job_items AS other ON other.question = mine.question AND other.job != mine.job
        JOIN job_parts ON job_parts.job = other.job AND job_parts.number = other.part
        JOIN jobs ON jobs.id = other.job
        WHERE mine.job = ? AND mine.part IS NOT NULL AND other.answer IS NULL AND other.failure IS NULL
            AND job_parts.state NOT IN (?, ?) LIMIT 1""",
        (job, *OVER),
    ).fetchone()
    if found is not None:
        raise UnderWayError(
            f"some of these prompts are under way in {found[0].decode()} of {path}: wait for it, as with "
            f"job({path!r}).wait(), or cancel it, and submit the rest then",
            fatal=True,
        )
