"""What is kept of a batch job? A job, its batches, and its prompts, as rows of tables; and how such a row is read and written."""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from responder.call.batch_form import Order

OVER = ("read", "dropped")
"""The states of a part for which nothing is to be done."""
THERE = ("sending", "sent")
"""The states of a part that the provider may have."""

JobKind: TypeAlias = Literal["answers", "vectors"]
"""What a job asks for."""

PartState: TypeAlias = Literal["planned", "sending", "sent", "read", "dropped"]
"""What became of a part: nothing yet; perhaps sent; sent; its results are here; cancelled before it was sent."""


@dataclass(frozen=True, slots=True)
class JobRow:
    """A job, as the file has it; the table says what its fields mean."""

    id: int
    name: str
    begun: float
    provider: str
    model: str
    url: str
    prompts: int
    form: Mapping[str, Any] | None
    kind: JobKind = "answers"


@dataclass(slots=True)
class Part:
    """One batch of a job, as the file has it.

    Attributes:
        job: The job's row.
        number: Which of its parts.
        url: The path at which each of its questions would be asked live.
        headers: What its questions need beside the provider's headers.
        lines: How many it has.
        size: Bytes of its lines, at most.
        state: What became of it.
        attempt: How often the provider has dropped it because too much was under way.
        upload: The provider's id of its uploaded lines.
        batch: The provider's id of the batch.
        newest: The newest batch that the provider had before this one was sent, where batches have no names.
        others: Batches that are not this one, although they look like it.
        status: The provider's last word on it.
        why: Why it failed, in the provider's words.
    """

    job: int
    number: int
    url: str
    headers: Mapping[str, str]
    lines: int
    size: int
    state: PartState = "planned"
    attempt: int = 0
    upload: str = ""
    batch: str = ""
    newest: str = ""
    others: list[str] = field(default_factory=list)
    status: str = ""
    why: str = ""

    @property
    def is_over(self) -> bool:
        """True when nothing is to be done for it."""
        return self.state in OVER

    def order(self, name: str) -> Order:
        """Return it as what is sent, for the job of this name."""
        return Order(f"{name}-{self.number}-{self.attempt}", self.url, self.lines, self.size, self.headers, self.upload)

    def nonce(self, name: str) -> str:
        """Return what tells its lines from those of any other part."""
        return hashlib.sha256(f"{name}-{self.number}".encode()).hexdigest()[:8]


@dataclass(frozen=True, slots=True)
class Item:
    """One prompt of a new job.

    Attributes:
        place: Its position in the input.
        question: The key of its answer.
        prompt: As JSON; None where JSON cannot say it.
        url: The path at which it would be asked live.
        headers: What it needs beside the provider's headers.
        size: Bytes that stand for it in estimates.
        max_tokens: The longest answer.
        body: What is asked.
        failure: Why it cannot be sent, as JSON; "" when it can.
    """

    place: int
    question: bytes
    prompt: str | None
    url: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    size: int = 0
    max_tokens: int | None = None
    body: bytes = b""
    failure: str = ""


@dataclass(frozen=True, slots=True)
class Found:
    """What a line of the results says of an item: its answer, or why it has none.

    Attributes:
        place: The item.
        question: The key of its answer.
        reply: The provider's JSON; None for a failure.
        request_id: The provider's id of the request.
        failure: As JSON; "" for an answer.
        vector: The vector of a text, as little-endian float32; b"" for an answer.
        tokens: How many a vector took; None if unknown.
    """

    place: int
    question: bytes
    reply: Mapping[str, Any] | None = None
    request_id: str | None = None
    failure: str = ""
    vector: bytes = b""
    tokens: int | None = None


@dataclass(frozen=True, slots=True)
class ItemRow:
    """An item with what became of it, as the file has it.

    Attributes:
        place: Its position in the input.
        question: The key of its answer.
        prompt: As JSON, or None.
        part: The part that it was sent in; None for what was not sent.
        is_copy: True where an equal prompt was asked instead.
        failure: As JSON; "" where it has none.
        reply: The row of its answer: the JSON (or the vector) and its digest; None where it has none.
        tokens: How many its vector took; None if unknown.
    """

    place: int
    question: bytes
    prompt: str | None
    part: int | None
    is_copy: bool
    failure: str
    reply: tuple[bytes, bytes] | None
    tokens: int | None = None


def new_job(
    whose: tuple[str, str, str],
    prompts: int,
    form: Mapping[str, Any] | None = None,
    name: str = "",
    kind: JobKind = "answers",
) -> JobRow:
    """Return a job that is not in a file yet; `whose` is provider, model and URL."""
    return JobRow(0, name or f"job-{os.urandom(8).hex()}", time.time(), *whose, prompts, form, kind)


def find_job(connection: sqlite3.Connection, condition: str, values: tuple[Any, ...]) -> JobRow | None:
    """Return the newest job that a condition is true of; None for none."""
    query = (
        f"SELECT id, name, begun, provider, model, url, prompts, form, kind FROM jobs WHERE {condition} ORDER BY id DESC LIMIT 1"  # noqa: S608 - conditions of ours
    )
    row = connection.execute(query, values).fetchone()
    if row is None:
        return None
    name, provider, model, url = (row[place].decode() for place in (1, 3, 4, 5))
    return JobRow(
        row[0], name, row[2], provider, model, url, row[6], None if row[7] is None else json.loads(row[7]), row[8].decode()
    )


def the_job(connection: sqlite3.Connection, condition: str, values: tuple[Any, ...]) -> JobRow:
    """Return a job that was just written."""
    found = find_job(connection, condition, values)
    if found is None:
        raise sqlite3.IntegrityError("a job that was just written is not there")
    return found


def read_part(row: Sequence[Any]) -> Part:
    """Return a part from its columns, in the order of its attributes."""
    texts = [value.decode() if isinstance(value, bytes) else value for value in row]
    values: list[Any] = [*texts]
    values[3], values[11] = json.loads(values[3]), json.loads(values[11])
    return Part(*values)


def write_part(connection: sqlite3.Connection, part: Part) -> None:
    """Keep what a part says now."""
    connection.execute(
        """INSERT OR REPLACE INTO job_parts
            (job, number, url, headers, lines, size, state, attempt, upload, batch, newest, others, status, why)
        VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)""",
        (
            *(part.job, part.number, part.url, json.dumps(dict(part.headers), sort_keys=True), part.lines, part.size),
            *(part.state, part.attempt, part.upload, part.batch, part.newest, json.dumps(part.others), part.status, part.why),
        ),
    )
