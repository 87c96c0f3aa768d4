"""What the tests of the simulator share: a simulator, plain sockets, and minimal requests in each dialect."""

from __future__ import annotations

import contextlib
import json
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest

from responder.simulator import Simulator

PROMPT = "What is baseball?"


@dataclass
class Shape:
    """How one dialect is asked for a plain answer."""

    provider: str
    path: str
    headers: dict[str, str]
    body: dict[str, Any]


@dataclass
class Seen:
    """What a raw client saw of a reply."""

    data: bytes = b""
    reset: bool = False
    timed_out: bool = False
    head: bytes = field(default=b"", init=False)
    body: bytes = field(default=b"", init=False)

    def __post_init__(self) -> None:
        self.head, _, self.body = self.data.partition(b"\r\n\r\n")

    @property
    def status(self) -> int:
        return int(self.head.split(b" ", 2)[1])

    @property
    def headers(self) -> dict[str, str]:
        lines = self.head.decode("latin-1").split("\r\n")[1:]
        return {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}


def shape(provider: str, prompt: str = PROMPT, *, stream: bool = False) -> Shape:
    """Return a minimal request of a provider."""
    messages = [{"role": "user", "content": prompt}]
    contents = {"contents": [{"role": "user", "parts": [{"text": prompt}]}]}
    method = "streamGenerateContent?alt=sse" if stream else "generateContent"
    more = {"stream": True} if stream else {}
    if provider == "gemini":
        return Shape(provider, f"/v1beta/models/gemini-2.5-flash:{method}", {"x-goog-api-key": "k"}, contents)
    if provider == "vertex":
        path = f"/v1/projects/p/locations/l/publishers/google/models/gemini-2.5-flash:{method}"
        return Shape(provider, path, {"authorization": "Bearer k"}, contents)
    if provider == "anthropic":
        body = {"model": "claude-simulated", "max_tokens": 500, "messages": messages, **more}
        return Shape(provider, "/v1/messages", {"x-api-key": "k", "anthropic-version": "2023-06-01"}, body)
    if provider == "azure":
        path = "/openai/deployments/d/chat/completions?api-version=2024-10-21"
        return Shape(provider, path, {"api-key": "k"}, {"messages": messages, **more})
    if provider == "ollama":
        return Shape(provider, "/api/chat", {}, {"model": "m", "messages": messages, "stream": stream})
    return Shape(provider, "/v1/chat/completions", {"authorization": "Bearer k"}, {"model": "m", "messages": messages, **more})


def raw_request(request: Shape) -> bytes:
    """Return the bytes of a request."""
    content = json.dumps(request.body).encode()
    headers = {"host": "localhost", "content-type": "application/json", **request.headers, "content-length": str(len(content))}
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"POST {request.path} HTTP/1.1\r\n{lines}\r\n".encode() + content


def read_all(connection: socket.socket, *, until: Callable[[bytes], bool] | None = None) -> Seen:
    """Read until the end, a reset, the socket's timeout, or until `until` is content with what has come."""
    data = b""
    try:
        while until is None or not until(data):
            piece = connection.recv(65536)
            if not piece:
                break
            data += piece
    except ConnectionResetError:
        return Seen(data, reset=True)
    except TimeoutError:
        return Seen(data, timed_out=True)
    return Seen(data)


def is_whole(data: bytes) -> bool:
    """Return whether the bytes hold a whole response."""
    head, mark, body = data.partition(b"\r\n\r\n")
    if not mark:
        return False
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return len(body) >= int(line.split(b":")[1])
    return body.endswith(b"0\r\n\r\n")


@contextlib.contextmanager
def connected(simulator: Simulator, timeout: float = 10.0) -> Iterator[socket.socket]:
    """Open a plain socket to the simulator."""
    with socket.create_connection(("127.0.0.1", simulator.port), timeout=timeout) as connection:
        yield connection


def ask(
    simulator: Simulator, provider: str = "openai", prompt: str = PROMPT, *, stream: bool = False, timeout: float = 10.0
) -> Seen:
    """Send one request over a fresh socket and read what comes, up to one whole response."""
    with connected(simulator, timeout) as connection:
        connection.sendall(raw_request(shape(provider, prompt, stream=stream)))
        return read_all(connection, until=is_whole)


def unchunked(body: bytes) -> bytes:
    """Undo the chunked encoding, as far as the chunks are whole."""
    data = b""
    while body:
        size, _, body = body.partition(b"\r\n")
        length = int(size, 16)
        data, body = data + body[:length], body[length + 2 :]
    return data


@pytest.fixture(scope="session")
def wire() -> SimpleNamespace:
    """The functions above, for the tests: a conftest cannot be imported."""
    return SimpleNamespace(
        ask=ask,
        connected=connected,
        is_whole=is_whole,
        raw_request=raw_request,
        read_all=read_all,
        shape=shape,
        unchunked=unchunked,
    )


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    """A simulator without latency."""
    with Simulator() as running:
        yield running
