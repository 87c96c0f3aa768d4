"""What did the simulator receive, and how did it end?

One object, shared by the server's loop and by the test that asks. All its state lies behind one lock.
"""

from __future__ import annotations

import hashlib
import itertools
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

# Headers whose value is a secret. Of these the log keeps a digest, so that two keys can be told apart, and never the
# value.
_SECRET_HEADERS = frozenset({"authorization", "api-key", "x-api-key", "x-goog-api-key", "cookie", "proxy-authorization"})
_SECRET_PARAMETERS = frozenset({"key", "access_token"})


@dataclass(frozen=True)
class Received:
    """One request as the simulator saw it.

    Attributes:
        index: Position in the order of arrival, from 0. It keeps counting when old entries are dropped.
        provider: Which provider was addressed ("openai", "gemini", "groq", "google-token", ...); "" for an unknown
            path.
        method: HTTP method.
        path: Path of the URL, without the query.
        query: Parameters of the URL; the value of a secret one is masked.
        headers: Request headers, names in lower case; a secret value reads "present, sha256:" and the start of its
            digest.
        body: Parsed JSON; the raw text if it was not JSON; None if there was no body.
        prompt: Last text of the user, None if there was none.
        arrived: When the request had been read, in seconds of `time.monotonic()` of the simulator's process.
        left: When the last byte was handed to the network or the request ended otherwise; None while in flight.
        status: HTTP status that was sent, None if none was.
        outcome: "in flight", "answered", "refused" (an error of the provider's own accord: wrong key, invalid request,
            limit reached), "client left", "stopped" (the simulator was stopped), or "fault:NAME".
    """

    index: int
    provider: str
    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: Any
    prompt: str | None
    arrived: float
    left: float | None
    status: int | None
    outcome: str


class Entry:
    """A line of the log that is still being written. Belongs to the journal; users see `Received`."""

    __slots__ = (
        "arrived",
        "body",
        "headers",
        "index",
        "left",
        "method",
        "outcome",
        "path",
        "prompt",
        "provider",
        "query",
        "status",
    )

    def __init__(
        self, provider: str, method: str, path: str, query: Mapping[str, str], headers: Mapping[str, str], body: Any
    ) -> None:
        self.index = -1
        self.provider = provider
        self.method = method
        self.path = path
        self.query = query
        self.headers = headers
        self.body = body
        self.prompt: str | None = None
        self.arrived = 0.0
        self.left: float | None = None
        self.status: int | None = None
        self.outcome = "in flight"

    def received(self) -> Received:
        """Return what users may see: the same, secrets masked."""
        return Received(
            index=self.index,
            provider=self.provider,
            method=self.method,
            path=self.path,
            query={name: _masked(text) if name in _SECRET_PARAMETERS else text for name, text in self.query.items()},
            headers={
                name.lower(): _masked(text) if name.lower() in _SECRET_HEADERS else text for name, text in self.headers.items()
            },
            body=self.body,
            prompt=self.prompt,
            arrived=self.arrived,
            left=self.left,
            status=self.status,
            outcome=self.outcome,
        )


class Journal:
    """The log of requests and the counts that go with it, behind one lock.

    Args:
        size: How many requests are remembered at most; older ones are dropped.
    """

    def __init__(self, size: int) -> None:
        self._changed = threading.Condition()
        self._entries: deque[Entry] = deque(maxlen=size)
        self._numbers = itertools.count()
        self._arrived = 0
        self._waiting = 0
        self._stopped = False
        self.in_flight = 0
        self.most_in_flight = 0
        self.connections = 0
        self.connections_opened = 0

    def open(self, entry: Entry) -> None:
        """Note that a request has arrived."""
        with self._changed:
            entry.index = next(self._numbers)
            entry.arrived = time.monotonic()
            self._entries.append(entry)
            self._arrived += 1
            self.in_flight += 1
            if self.in_flight > self.most_in_flight:
                self.most_in_flight = self.in_flight
            if self._waiting:
                self._changed.notify_all()

    def close(self, entry: Entry, outcome: str, status: int | None) -> None:
        """Note the outcome of a request."""
        with self._changed:
            entry.left = time.monotonic()
            entry.outcome = outcome
            entry.status = status
            self.in_flight -= 1
            if self._waiting:
                self._changed.notify_all()

    def connected(self) -> None:
        """Note a new connection."""
        with self._changed:
            self.connections += 1
            self.connections_opened += 1

    def disconnected(self) -> None:
        """Note the end of a connection."""
        with self._changed:
            self.connections -= 1
            if self._waiting:
                self._changed.notify_all()

    def forget_connection(self) -> None:
        """Take back a connection that does not count."""
        with self._changed:
            self.connections -= 1
            self.connections_opened -= 1

    def received(self, since: int = 0) -> list[Received]:
        """Return the remembered requests from index `since` on, in order of arrival."""
        with self._changed:
            return [entry.received() for entry in self._entries if entry.index >= since]

    def counts(self) -> dict[str, int]:
        """Return the counters by name."""
        with self._changed:
            return {
                "in_flight": self.in_flight,
                "most_in_flight": self.most_in_flight,
                "connections": self.connections,
                "connections_opened": self.connections_opened,
            }

    def wait_for(self, number: int, timeout: float) -> bool:
        """Block until `number` requests have arrived since the start or the last `clear`.

        Args:
            number: How many.
            timeout: Seconds to wait at most.

        Returns:
            Whether they have arrived.
        """
        return self._wait(lambda: self._arrived >= number, timeout)

    def wait_until_idle(self, timeout: float) -> bool:
        """Block until no request is in flight.

        Args:
            timeout: Seconds to wait at most.

        Returns:
            Whether that came true.
        """
        return self._wait(lambda: self.in_flight == 0, timeout)

    def stop(self) -> None:
        """Wake all waiting threads: nothing more will come."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()

    def clear(self) -> None:
        """Forget the log. The counts of what is open now stay; the totals begin again from there."""
        with self._changed:
            self._entries.clear()
            self._numbers = itertools.count()
            self._arrived = 0
            self.most_in_flight = self.in_flight
            self.connections_opened = self.connections

    def _wait(self, condition: Callable[[], bool], timeout: float) -> bool:
        with self._changed:
            self._waiting += 1
            try:
                self._changed.wait_for(lambda: condition() or self._stopped, timeout)
                return condition()
            finally:
                self._waiting -= 1


def secret_digest(secret: str) -> str:
    """Return a short digest that tells secrets apart without showing them."""
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).hexdigest()[:12]


def received_from_json(values: Iterable[Mapping[str, Any]]) -> list[Received]:
    """Rebuild log entries that came as JSON from another process."""
    return [Received(**value) for value in values]


def _masked(value: str) -> str:
    return f"present, sha256:{secret_digest(value)}"
