"""Which batches are there, and how far are they? Files, lines and a clock that can be wound on; speaks no provider's words.

A line is answered when somebody looks and its time has come, as a live question would be.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from .answers import token_count

_HOUR_S = 3600.0
_EXPIRES_HOURS = 24.0


@dataclass(frozen=True)
class BatchSeen:
    """A batch as the simulator has it.

    Attributes:
        id: The provider's id.
        provider: Which provider was addressed ("openai", "anthropic", "groq", ...).
        status: "running", "completed", "failed", "expired" or "cancelled".
        lines: How many it has.
        prompts: The prompts of those that were answered, and are paid for.
    """

    id: str
    provider: str
    status: str
    lines: int
    prompts: tuple[str, ...]


@dataclass
class Answered:
    """What a line got: HTTP status, JSON, and the prompt in it."""

    status: int
    body: Any
    prompt: str | None


@dataclass
class Batch:
    """A batch.

    Attributes:
        id: The provider's id.
        provider: Whose.
        key: The key that it was made with; others do not see it.
        lines: Name, path and body of each.
        created: When, on the simulator's clock, in seconds.
        hours: How long all of it takes.
        about: What only the dialect needs.
        failure: Why it failed, as code and message; None when it did not.
        cancelled: When it was cancelled.
        tokens: Estimate for all lines.
        answers: What its lines got, by their position.
    """

    id: str
    provider: str
    key: str
    lines: list[tuple[str, str, bytes]]
    created: float
    hours: float
    about: dict[str, Any]
    failure: tuple[str, str] | None = None
    cancelled: float | None = None
    tokens: int = 0
    answers: dict[int, Answered] = field(default_factory=dict)

    def _stops(self) -> float:
        """Return when nothing more of it is answered."""
        ends = self.created + min(self.hours, _EXPIRES_HOURS) * _HOUR_S
        return ends if self.cancelled is None else min(ends, self.cancelled)

    def done(self, now: float) -> int:
        """Return how many of its lines are answered."""
        if self.failure is not None:
            return 0
        passed = (min(now, self._stops()) - self.created) / _HOUR_S
        return len(self.lines) if passed >= self.hours else int(len(self.lines) * passed / self.hours)

    def status(self, now: float) -> str:
        """Return how far it is, in a word."""
        if self.failure is not None:
            return "failed"
        if self.done(now) == len(self.lines):
            return "completed"
        if self.cancelled is not None:
            return "cancelled"
        return "expired" if now >= self._stops() else "running"


class Batches:
    """All files and batches, behind one lock.

    Args:
        hours: How long a batch takes, in hours of the simulator's clock; 0: it is done at once.
        tokens: How many tokens may be under way, of all batches of a key; None: any number.
        answer: Answers a line: from its path and its body.
    """

    def __init__(self, hours: float, tokens: int | None, answer: Callable[[str, Any], Answered]) -> None:
        self._hours = hours
        self._tokens = tokens
        self._answer = answer
        self._wound_on = 0.0
        self.lock = threading.RLock()
        self.files: dict[str, tuple[str, bytes]] = {}  # the key it came with, and its bytes
        self._batches: dict[str, Batch] = {}

    def now(self) -> float:
        """Return the time, as it was wound on: seconds since 1970."""
        return time.time() + self._wound_on

    def advance(self, hours: float) -> None:
        """Wind the clock on."""
        if hours < 0:
            raise ValueError(f"hours={hours!r}: time goes forward only")
        with self.lock:
            self._wound_on += hours * _HOUR_S

    def add(
        self,
        id: str,  # noqa: A002 - the field's own name
        provider: str,
        key: str,
        lines: list[tuple[str, str, bytes]],
        about: dict[str, Any],
    ) -> Batch:
        """Make a batch. `failure` is set where it cannot be run, or too much is under way."""
        with self.lock:
            batch = Batch(id, provider, key, lines, self.now(), self._hours, about)
            batch.tokens = sum(token_count(body.decode("utf-8", "replace")) for _, _, body in lines)
            batch.failure = self._fault_of(lines)
            under_way = sum(other.tokens for other in self._of(key) if other.status(self.now()) == "running")
            if self._tokens is not None and under_way + batch.tokens > self._tokens:
                batch.failure = (
                    "token_limit_exceeded",
                    f"Enqueued token limit reached. Limit: {self._tokens} enqueued tokens. Please try again once some "
                    "in_progress batches have been completed.",
                )
            self._batches[id] = batch
            return batch

    def _fault_of(self, lines: list[tuple[str, str, bytes]]) -> tuple[str, str] | None:
        names = [name for name, _, _ in lines]
        if not names:
            return "empty_file", "The input file is empty."
        if len(set(names)) < len(names):
            return "duplicate_custom_id", "The custom_id is used more than once."
        return None

    def remove(self, batch: Batch) -> None:
        """Take back a batch that is refused at once."""
        with self.lock:
            self._batches.pop(batch.id, None)

    def cancel(self, batch: Batch) -> None:
        """End a batch that is under way; does nothing to one that has ended."""
        with self.lock:
            if batch.status(self.now()) == "running":
                batch.cancelled = self.now()

    def _of(self, key: str) -> list[Batch]:
        return [batch for batch in self._batches.values() if batch.key == key]

    def get(self, id: str, key: str) -> Batch | None:  # noqa: A002 - the field's own name
        """Return a batch of a key."""
        with self.lock:
            found = self._batches.get(id)
            return found if found is not None and found.key == key else None

    def newest_first(self, provider: str, key: str) -> list[Batch]:
        """Return the batches of a key."""
        with self.lock:
            return [batch for batch in reversed(self._batches.values()) if batch.key == key and batch.provider == provider]

    def answers(self, batch: Batch) -> list[tuple[str, Answered]]:
        """Return what its lines have got so far, by their names and in no useful order: the last ones first."""
        with self.lock:
            for place in range(batch.done(self.now())):
                if place not in batch.answers:
                    _, path, body = batch.lines[place]
                    batch.answers[place] = self._answer(path, json.loads(body))
            return [(batch.lines[place][0], found) for place, found in sorted(batch.answers.items(), reverse=True)]

    def seen(self) -> list[BatchSeen]:
        """Return all batches as users see them."""
        with self.lock:
            return [
                BatchSeen(
                    batch.id,
                    batch.provider,
                    batch.status(self.now()),
                    len(batch.lines),
                    tuple(found.prompt or "" for _, found in reversed(self.answers(batch)) if found.status == 200),
                )
                for batch in self._batches.values()
            ]

    def clear(self) -> None:
        """Forget everything; the clock stays where it is."""
        with self.lock:
            self.files.clear()
            self._batches.clear()
