"""Where are finished answers kept? The protocol of every store: a file, a journal in Redis, a project's own database."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from responder.values.cancellation import CancelToken
from responder.values.deadline import Deadline


@dataclass(frozen=True, slots=True)
class StoredAnswer:
    """A finished answer, as a store keeps it.

    Attributes:
        reply: The provider's reply, as parsed JSON.
        request_id: The provider's id of the request, or None.
    """

    reply: Mapping[str, Any]
    request_id: str | None


@runtime_checkable
class AnswerStore(Protocol):
    """Where finished answers are kept. `checkpoint=` and `cache=` take any object with these three methods.

    A question is 32 bytes: the digest of all that was sent. Methods are called by several threads at once; `deadline.remaining()`
    says how many seconds they may take.

    Two more methods are used where a store has them. `begin_run()` returns the store for one run: `take` hands each answer out
    once a run. `store_all(answers, deadline, cancel)` keeps several, as (question, reply, request_id), in one commit.
    """

    def take(self, question: bytes, deadline: Deadline, cancel: CancelToken | None) -> StoredAnswer | None:
        """Return an answer that this run has not taken yet; None where the question must be asked."""

    def find(self, question: bytes, deadline: Deadline, cancel: CancelToken | None) -> StoredAnswer | None:
        """Return the newest answer; it can be found again."""

    def store(
        self, question: bytes, reply: Mapping[str, Any], request_id: str | None, deadline: Deadline, cancel: CancelToken | None
    ) -> None:
        """Keep an answer; once this returns, killing the process does not lose it.

        Raises:
            ConfigurationError: It could not be kept: no more is asked then.
        """
