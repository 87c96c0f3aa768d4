"""What every dialect can say: the questions that the rest of the simulator asks of a provider's way of speaking."""

# ruff: noqa: ARG002 - one signature for all dialects, of which each uses what it needs
from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from responder.simulator.answers import Question, Spoken
from responder.simulator.limits import LimitState
from responder.simulator.reply import Event, Problem, Reply, refuse

_numbers = itertools.count(1)


@dataclass
class Call:
    """One request, as far as HTTP goes.

    Attributes:
        method: HTTP method.
        path: Path of the URL.
        query: Parameters of the URL.
        headers: Request headers, looked up without regard to case.
        content: Body as it came.
        body: Parsed JSON, or the text if it is not JSON, or None.
        action: What the path asks for: "chat", "stream", "embed", "models", "count", "token", or "" for what it does not know.
        model: Model or deployment that the path names; "" if the body names it.
        valid_json: Whether the body is JSON.
    """

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    content: bytes = b""
    body: Any = None
    action: str = ""
    model: str = ""
    valid_json: bool = True
    extra: dict[str, Any] = field(default_factory=dict)


def new_id(prefix: str) -> str:
    """Return an identifier that no other reply of this process has."""
    return f"{prefix}simulated{next(_numbers):08x}"


def bearer(headers: Mapping[str, str]) -> str:
    """Return the token of an `Authorization: Bearer` header, "" if there is none."""
    scheme, _, token = headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def is_json_type(headers: Mapping[str, str]) -> bool:
    """Return whether the request says that its body is JSON."""
    return headers.get("content-type", "").partition(";")[0].strip().lower() in ("application/json", "text/json")


def whole_number(body: Mapping[str, Any], *names: str) -> int | None:
    """Return the first of these fields that holds a whole number."""
    for name in names:
        value = body.get(name)
        if isinstance(value, int) and not isinstance(value, bool):
            return value
    return None


def unknown_field(body: Mapping[str, Any], known: frozenset[str]) -> str | None:
    """Return the first field that the provider does not know."""
    return next((name for name in body if name not in known), None)


def tier_of(body: Mapping[str, Any], name: str, usual: str) -> str:
    """Return the tier that serves a request: the one that it asks for."""
    asked = body.get(name)
    return asked if isinstance(asked, str) and asked and asked != "auto" else usual


def texts(value: Any) -> tuple[str, ...]:
    """Return a text, or a list of texts, as a tuple."""
    if isinstance(value, str):
        return (value,)
    return tuple(item for item in value if isinstance(item, str)) if isinstance(value, list) else ()


class Dialect(ABC):
    """One provider's way of speaking."""

    name: ClassVar[str] = ""
    # A sign of life between events: an SSE comment.
    heartbeat: bytes = b": keep-alive\n\n"

    def provider(self, call: Call) -> str:
        """Return the provider's name for the log."""
        return self.name

    @abstractmethod
    def key(self, call: Call) -> str:
        """Return the secret that the request carries, "" for none."""

    @abstractmethod
    def check_key(self, call: Call, accepted: Iterable[str] | None) -> None:
        """Refuse a wrong key; `accepted` None means that any will do."""

    @abstractmethod
    def read(self, call: Call) -> Question:
        """Read a request for an answer; refuse what the provider refuses."""

    @abstractmethod
    def plain(self, question: Question, spoken: Spoken) -> Reply:
        """Put an answer into one body."""

    @abstractmethod
    def stream(self, question: Question, spoken: Spoken) -> Reply:
        """Put an answer into a stream."""

    @abstractmethod
    def problem(self, problem: Problem) -> Reply:
        """Put a refusal into words."""

    @abstractmethod
    def blocked_prompt(self, question: Question) -> Reply:
        """Say that the content filter refuses the prompt."""

    @abstractmethod
    def empty(self, question: Question, spoken: Spoken, *, null: bool) -> Reply:
        """Answer without candidates, or (`null`) with a candidate that holds no text."""

    @abstractmethod
    def stream_error(self, message: str | None) -> Event:
        """Return the event that breaks a stream off with an error."""

    @abstractmethod
    def model_list(self, models: Iterable[str]) -> Reply:
        """List the models."""

    def count(self, question: Question) -> Reply:
        """Answer a request that only counts tokens."""
        raise refuse(404, "", kind="missing_path")

    def read_embeddings(self, call: Call) -> Question:
        """Read a request for embeddings; `extra` holds its texts and the length of their vectors."""
        raise refuse(404, "", kind="missing_path")

    def embeddings(self, question: Question) -> Reply:
        """Answer a request for embeddings."""
        raise refuse(404, "", kind="missing_path")

    def check_model(self, question: Question, models: Iterable[str]) -> None:
        """Refuse a model that does not exist."""
        if question.model not in models:
            raise refuse(404, question.model, kind="missing_model")

    def limit_headers(self, state: LimitState) -> dict[str, str]:
        """Return the rate limit headers."""
        return {}

    def reply(self, question: Question, spoken: Spoken) -> Reply:
        """Answer in the form that was asked for."""
        return self.stream(question, spoken) if question.stream else self.plain(question, spoken)
