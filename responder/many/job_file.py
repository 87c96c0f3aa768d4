"""Where does a batch job stand? Tables beside the answers of a checkpoint: jobs, the batches they are sent in, and their prompts.

Whatever is about to be sent is written here first, so that a process that takes the file up knows what there may be at the
provider. No table holds a key.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

from responder.call.batch_form import BatchLimits
from responder.many.checkpoint import Checkpoint
from responder.many.checkpoint_file import counted_in
from responder.many.checkpoint_rows import answer_row, vector_row
from responder.many.job_plan import AROUND, BYTES_TOGETHER, TOGETHER, Planner, digest_of, refuse_under_way
from responder.many.job_rows import OVER, THERE, Found, Item, ItemRow, JobRow, Part, find_job, read_part, the_job, write_part
from responder.values.cancellation import CancelToken
from responder.values.deadline import NEVER, Deadline

T = TypeVar("T")

_SCHEMA = """
CREATE TABLE IF NOT EXISTS jobs (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    begun REAL NOT NULL,
    provider TEXT NOT NULL,
    model TEXT NOT NULL,
    url TEXT NOT NULL,           -- where the API is, as far as it can be shown
    prompts INTEGER NOT NULL,
    digest BLOB NOT NULL,        -- of all its questions, in order
    form TEXT,                   -- the JSON Schema of its answers
    kind TEXT NOT NULL           -- answers or vectors
);
CREATE TABLE IF NOT EXISTS job_parts (
    job INTEGER NOT NULL,
    number INTEGER NOT NULL,
    url TEXT NOT NULL,
    headers TEXT NOT NULL,
    lines INTEGER NOT NULL,
    size INTEGER NOT NULL,
    state TEXT NOT NULL,
    attempt INTEGER NOT NULL DEFAULT 0,
    upload TEXT NOT NULL DEFAULT '',
    batch TEXT NOT NULL DEFAULT '',
    newest TEXT NOT NULL DEFAULT '',
    others TEXT NOT NULL DEFAULT '[]',
    status TEXT NOT NULL DEFAULT '',
    why TEXT NOT NULL DEFAULT '',
    PRIMARY KEY (job, number)
);
CREATE TABLE IF NOT EXISTS job_items (
    job INTEGER NOT NULL,
    place INTEGER NOT NULL,      -- in the input, from 0
    question BLOB NOT NULL,      -- as in the table of answers
    part INTEGER,                -- the batch it is sent in, NULL for what is not sent
    same_as INTEGER,             -- the place of the equal prompt that is asked instead
    prompt TEXT,                 -- as JSON
    answer INTEGER,              -- its row in the table of answers
    tokens INTEGER,              -- that its vector took
    failure TEXT,                -- why it has none, as JSON
    PRIMARY KEY (job, place)
);
CREATE INDEX IF NOT EXISTS job_items_by_question ON job_items (question);
CREATE INDEX IF NOT EXISTS job_items_by_part ON job_items (job, part, place);
CREATE TABLE IF NOT EXISTS job_lines (
    job INTEGER NOT NULL,
    place INTEGER NOT NULL,
    body BLOB NOT NULL,          -- what is asked, until the answers are here
    PRIMARY KEY (job, place)
);
"""


class JobFile:
    """The jobs in a checkpoint. Safe for threads and processes, as the checkpoint is.

    Args:
        path: The file; created if it does not exist.
        deadline: How long to wait for another program that holds the file.
        cancel: Ends that wait.

    Raises:
        ConfigurationError: The file cannot be used.
    """

    def __init__(self, path: str | os.PathLike[str], deadline: Deadline = NEVER, cancel: CancelToken | None = None) -> None:
        self._checkpoint = Checkpoint(path, deadline, cancel)
        self.path = self._checkpoint.path

        def make(connection: sqlite3.Connection) -> None:
            for statement in _SCHEMA.split(";"):
                connection.execute(statement)

        self._checkpoint.transact(make, deadline, cancel)

    def close(self) -> None:
        """Close the file."""
        self._checkpoint.close()

    def _do(self, step: Callable[[sqlite3.Connection], T]) -> T:
        return self._checkpoint.transact(step)

    # Jobs

    def begin(
        self,
        job: JobRow,
        items: Callable[[], Iterable[Item]],
        limits: BatchLimits,
        *,
        dedupe: bool,
        refused: Callable[[], Callable[[Item], str]],
    ) -> tuple[JobRow, bool]:
        """Write a new job with all its prompts and the batches they will be sent in, or find the one that this is.

        Args:
            job: The job; its row's number is made here.
            items: Returns its prompts, in order, each time anew.
            limits: How much goes into a batch.
            dedupe: Ask equal prompts once.
            refused: Returns what says why an item is not sent (for want of money), as JSON; "" when it is.

        Returns:
            The job, and whether it was in the file: a job of the same prompts whose results are not all here.

        Raises:
            UnderWayError: Some of these prompts are under way in another job.
        """
        digest = digest_of(items(), dedupe)

        def step(connection: sqlite3.Connection) -> tuple[JobRow, bool]:
            same = """SELECT name FROM jobs WHERE digest = ? AND EXISTS
                (SELECT 1 FROM job_parts WHERE job_parts.job = jobs.id AND state NOT IN (?, ?)) ORDER BY id DESC LIMIT 1"""
            found = connection.execute(same, (digest, *OVER)).fetchone()
            if found is not None:
                return the_job(connection, "name = ?", (found[0].decode(),)), True
            form = None if job.form is None else json.dumps(job.form)
            values = (job.name, job.begun, job.provider, job.model, job.url, job.prompts, digest, form, job.kind)
            into = """INSERT INTO jobs (name, begun, provider, model, url, prompts, digest, form, kind)
                VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"""
            row = int(connection.execute(into, values).lastrowid or 0)
            Planner(connection, row, self._checkpoint.run, limits, dedupe, refused()).plan(items())
            refuse_under_way(connection, row, self.path)
            return the_job(connection, "id = ?", (row,)), False

        return self._do(step)

    def adopt(self, job: JobRow, parts: Sequence[Part]) -> JobRow:
        """Write a job that is known only from its batches at the provider."""

        def step(connection: sqlite3.Connection) -> JobRow:
            values = (job.name, job.begun, job.provider, job.model, job.url, job.prompts, b"", job.kind)
            into = "INSERT INTO jobs (name, begun, provider, model, url, prompts, digest, kind) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
            row = int(connection.execute(into, values).lastrowid or 0)
            for part in parts:
                part.job = row
                write_part(connection, part)
            return the_job(connection, "id = ?", (row,))

        return self._do(step)

    def job(self, name: str) -> JobRow | None:
        """Return the job of that name, or the one that a batch of the provider's with that id belongs to; None for neither."""

        def step(connection: sqlite3.Connection) -> JobRow | None:
            by_batch = "id = (SELECT job FROM job_parts WHERE batch = ?)"
            return find_job(connection, "name = ?", (name,)) or find_job(connection, by_batch, (name,))

        return self._do(step)

    def newest(self, provider: str, model: str) -> JobRow | None:
        """Return the newest job of a model."""
        return self._do(
            lambda connection: find_job(connection, "provider = ? AND model = ? AND kind = 'answers'", (provider, model))
        )

    def any(self) -> JobRow | None:
        """Return the newest job, whatever model it asks."""
        return self._do(lambda connection: find_job(connection, "kind = 'answers'", ()))

    def open_jobs(self) -> list[JobRow]:
        """Return the jobs with a batch at the provider whose results are not here."""

        def step(connection: sqlite3.Connection) -> list[JobRow]:
            names = connection.execute(
                "SELECT name FROM jobs WHERE id IN (SELECT job FROM job_parts WHERE state IN (?, ?))", THERE
            )
            return [the_job(connection, "name = ?", (name.decode(),)) for (name,) in names.fetchall()]

        return self._do(step)

    def forget(self, job: JobRow) -> None:
        """Remove a job of which nothing was sent."""

        def step(connection: sqlite3.Connection) -> None:
            sent = "SELECT 1 FROM job_parts WHERE job = ? AND state IN ('sending', 'sent', 'read')"
            if connection.execute(sent, (job.id,)).fetchone() is None:
                for table, column in (("jobs", "id"), ("job_parts", "job"), ("job_items", "job"), ("job_lines", "job")):
                    connection.execute(f"DELETE FROM {table} WHERE {column} = ?", (job.id,))  # noqa: S608 - names of ours

        self._do(step)

    # Parts

    def parts(self, job: JobRow) -> list[Part]:
        """Return the parts of a job."""
        names = "job, number, url, headers, lines, size, state, attempt, upload, batch, newest, others, status, why"

        def step(connection: sqlite3.Connection) -> list[Part]:
            query = f"SELECT {names} FROM job_parts WHERE job = ? ORDER BY number"  # noqa: S608 - names of ours
            return [read_part(row) for row in connection.execute(query, (job.id,))]

        return self._do(step)

    def write(self, part: Part) -> None:
        """Keep what a part says now."""
        self._do(lambda connection: write_part(connection, part))

    def halve(self, part: Part) -> bool:
        """Move the second half of a part's lines into a new one; return False where there is only one line."""

        def step(connection: sqlite3.Connection) -> bool:
            if part.lines < 2:
                return False
            row = (part.job, part.number, part.lines // 2)
            middle = "SELECT place FROM job_items WHERE job = ? AND part = ? ORDER BY place LIMIT 1 OFFSET ?"
            place = connection.execute(middle, row).fetchone()[0]
            (last,) = connection.execute("SELECT max(number) FROM job_parts WHERE job = ?", (part.job,)).fetchone()
            second = Part(part.job, last + 1, part.url, part.headers, part.lines - part.lines // 2, part.size)
            connection.execute(
                "UPDATE job_items SET part = ? WHERE job = ? AND part = ? AND place >= ?",
                (second.number, part.job, part.number, place),
            )
            part.lines, part.upload = part.lines // 2, ""
            for half in (part, second):
                of_half = "SELECT sum(length(body)) FROM job_lines JOIN job_items USING (job, place) WHERE job = ? AND part = ?"
                (size,) = connection.execute(of_half, (half.job, half.number)).fetchone()
                half.size = (size or 0) + half.lines * AROUND
                write_part(connection, half)
            return True

        return self._do(step)

    def lines(self, part: Part) -> Iterator[tuple[int, bytes, bytes]]:
        """Yield place, question and body of each line of a part, some at a time: bodies may hold pictures."""
        after = -1
        sizes = """SELECT place, length(body) FROM job_items JOIN job_lines USING (job, place)
            WHERE job = ? AND part = ? AND place > ? ORDER BY place LIMIT ?"""
        bodies = """SELECT place, question, body FROM job_items JOIN job_lines USING (job, place)
            WHERE job = ? AND part = ? AND place > ? AND place <= ? ORDER BY place"""
        while places := self._rows(sizes, (part.job, part.number, after, TOGETHER)):
            last, held = places[0][0], 0
            for place, size in places:
                held += size
                if held > BYTES_TOGETHER:
                    break
                last = place
            yield from self._rows(bodies, (part.job, part.number, after, last))
            after = last

    def _rows(self, query: str, values: tuple[Any, ...]) -> list[Any]:
        return self._do(lambda connection: connection.execute(query, values).fetchall())

    # Results

    def keep(self, part: Part, found: Sequence[Found], *, adds: bool = False) -> list[Found]:
        """Keep what the lines of a batch say; once this returns, killing the process does not lose it.

        Args:
            part: The batch.
            found: What they say. What is known already, or asked by another part, is left out.
            adds: Take in items that are not known, too.

        Returns:
            What was new.
        """

        def step(connection: sqlite3.Connection) -> list[Found]:
            new = []
            for each in found:
                known = connection.execute(
                    "SELECT question, part, answer, failure FROM job_items WHERE job = ? AND place = ?", (part.job, each.place)
                ).fetchone()
                if known is None and adds:
                    known = (each.question, part.number, None, None)
                    connection.execute(
                        "INSERT INTO job_items (job, place, question, part) VALUES (?, ?, ?, ?)",
                        (part.job, each.place, *known[:2]),
                    )
                if known != (each.question, part.number, None, None):
                    continue
                new.append(each)
                answer = None
                if each.reply is not None or each.vector:
                    run = self._checkpoint.run
                    values: tuple[bytes, int, str | bytes, bytes] = vector_row(each.question, run, each.vector)
                    if each.reply is not None:
                        values = answer_row(each.question, run, each.reply, each.request_id)
                    into = "INSERT INTO answers (question, run, reply, digest) VALUES (?, ?, ?, ?)"
                    answer = connection.execute(into, values).lastrowid
                connection.execute(
                    "UPDATE job_items SET answer = ?, failure = ?, tokens = ? WHERE job = ? AND place = ?",
                    (answer, each.failure or None, each.tokens, part.job, each.place),
                )
            return new

        return self._do(step)

    def finish(self, part: Part, failure: str) -> int:
        """Note that the results of a part are here; what has none gets this failure. Return how many those were."""

        def step(connection: sqlite3.Connection) -> int:
            row = (part.job, part.number)
            left = connection.execute(
                "UPDATE job_items SET failure = ? WHERE job = ? AND part = ? AND answer IS NULL AND failure IS NULL",
                (failure, *row),
            ).rowcount
            connection.execute(
                "DELETE FROM job_lines WHERE job = ? AND place IN (SELECT place FROM job_items WHERE job = ? AND part = ?)",
                (part.job, *row),
            )
            write_part(connection, part)
            return left

        return self._do(step)

    def counts(self, job: JobRow) -> tuple[int, int, int]:
        """Return how many prompts have an answer, have a failure, and are in the file at all."""

        def step(connection: sqlite3.Connection) -> tuple[int, int, int]:
            row = connection.execute(
                """SELECT sum(origin.answer IS NOT NULL), sum(origin.failure IS NOT NULL), count(*) FROM job_items AS item
                JOIN job_items AS origin ON origin.job = item.job AND origin.place = ifnull(item.same_as, item.place)
                WHERE item.job = ?""",
                (job.id,),
            ).fetchone()
            return row[0] or 0, row[1] or 0, row[2]

        return self._do(step)

    def rows(self, job: JobRow, start: int, count: int) -> list[ItemRow]:
        """Return items with what became of them, in input order.

        Args:
            job: Whose.
            start: How many to pass over.
            count: How many at most.
        """
        query = """SELECT item.place, item.question, item.prompt, item.part, item.same_as IS NOT NULL, origin.failure,
                answers.reply, answers.digest, origin.tokens
            FROM job_items AS item
            JOIN job_items AS origin ON origin.job = item.job AND origin.place = ifnull(item.same_as, item.place)
            LEFT JOIN answers ON answers.id = origin.answer
            WHERE item.job = ? AND item.place >= ifnull(
                (SELECT place FROM job_items WHERE job = ? ORDER BY place LIMIT 1 OFFSET ?), 9e18)
            ORDER BY item.place LIMIT ?"""

        def step(connection: sqlite3.Connection) -> list[ItemRow]:
            return [
                ItemRow(
                    place,
                    question,
                    None if prompt is None else prompt.decode(),
                    part,
                    bool(copy),
                    (failure or b"").decode(),
                    None if reply is None else (reply, digest),
                    tokens,
                )
                for place, question, prompt, part, copy, failure, reply, digest, tokens in connection.execute(
                    query, (job.id, job.id, start, count)
                )
            ]

        return self._do(step)


def under_way_in(path: str) -> Counter[bytes]:
    """Return how often each question was sent in a batch job of a file and has no result yet, without changing the file.

    Raises:
        ConfigurationError: It is not a checkpoint, or cannot be read.
    """
    if not counted_in(path, "SELECT name, 1 FROM sqlite_master WHERE name = 'job_parts'"):
        return Counter()
    unanswered = """SELECT question, count(*) FROM job_items JOIN job_parts
        ON job_parts.job = job_items.job AND job_parts.number = job_items.part
        WHERE answer IS NULL AND failure IS NULL AND state NOT IN (?, ?) GROUP BY question"""
    return counted_in(path, unanswered, *OVER)
