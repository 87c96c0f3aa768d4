"""A browser as a server sees it: a connection that reads what arrives when it arrives, and may be closed at any moment."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

# Seconds until a test that hangs fails; nothing is expected to take this long.
_PATIENCE = 60.0


@dataclass(frozen=True)
class Heard:
    """What arrived: an event with its JSON, or (with the name "ping") a comment."""

    name: str
    data: Any


class Page:
    """An open response."""

    def __init__(self, port: int, path: str, *, method: str = "GET", headers: dict[str, str] | None = None, **query: Any) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_PATIENCE)
        self._connection.request(method, f"{path}?{urlencode(query, doseq=True)}", headers=headers or {})
        self.response = self._connection.getresponse()
        self.status = self.response.status
        self.headers = self.response.headers

    def events(self) -> Iterator[Heard]:
        """Yield what arrives, as it does, until the response ends."""
        name, data = "message", None
        while line := self.response.readline().decode():
            field, _, value = line.rstrip("\n").partition(": ")
            if line.startswith(":"):
                yield Heard("ping", None)
            elif field == "event":
                name = value
            elif field == "data":
                data = json.loads(value)
            elif line == "\n" and data is not None:
                yield Heard(name, data)
                name, data = "message", None

    def next(self, name: str = "message") -> Any:
        """Return the data of the next event of this name."""
        for heard in self.events():
            if heard.name == name:
                return heard.data
        raise AssertionError(f"the response ended without another {name!r}")

    def rest(self) -> bytes:
        """Return all that comes until the end of the response."""
        return self.response.read()

    def some(self) -> bytes:
        """Return what has arrived, waiting for the first byte."""
        return self.response.read1()

    def close(self) -> None:
        """Close the connection, as a closed tab does."""
        self.response.close()
        self._connection.close()

    def __enter__(self) -> Page:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
