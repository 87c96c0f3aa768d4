"""A local HTTP server that plays back replies, byte by byte, and remembers what it was sent."""

from __future__ import annotations

import json
import socket
import threading
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any


@dataclass(frozen=True)
class Sent:
    """A request as it arrived.

    Attributes:
        path: Path and query.
        headers: (name in lower case, value) pairs, in the order of arrival; a name may come twice.
        body: The exact bytes.
        method: HTTP method.
    """

    path: str
    headers: tuple[tuple[str, str], ...]
    body: bytes
    method: str = "POST"

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)

    def values(self, name: str) -> list[str]:
        """Return the values of all headers of a name."""
        return [value for found, value in self.headers if found == name]


class _Server(ThreadingHTTPServer):
    """Remembers its connections, so that it can end those that a client keeps alive."""

    daemon_threads = False
    block_on_close = True

    def __init__(self, player: Player) -> None:
        self.player = player
        self.connections: set[socket.socket] = set()
        super().__init__(("127.0.0.1", 0), _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        with self.player.lock:
            self.connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        with self.player.lock:
            self.connections.discard(request)
        super().shutdown_request(request)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # One segment for headers and body: with the default, the client's delayed acknowledgement costs 40 ms a reply.
    wbufsize = -1
    disable_nagle_algorithm = True
    server: _Server

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", "0")))
        headers = tuple((name.lower(), value) for name, value in self.headers.items())
        status, extra, content = self.server.player.turn(Sent(self.path, headers, body, self.command))
        self.send_response_only(status)
        for name, value in extra.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)
        self.wfile.flush()

    def do_GET(self) -> None:
        self.do_POST()

    def log_message(self, *_: Any) -> None:
        """Keep the tests' output clean."""


class Player:
    """Plays the replies that it was given, one each, in order; the last one again and again.

    with Player() as player:
        player.play(200, {"content-type": "application/json"}, b"{}")
    """

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self._replies: deque[tuple[int, Mapping[str, str], bytes]] = deque()
        self._sent: list[Sent] = []

    def play(self, status: int, headers: Mapping[str, str], *bodies: Any) -> None:
        """Forget everything before, and answer from now on with these bodies (bytes, or anything JSON)."""
        with self.lock:
            self._sent.clear()
            self._replies.clear()
            for body in bodies:
                content = body if isinstance(body, bytes) else json.dumps(body).encode()
                self._replies.append((status, headers, content))

    def then(self, status: int, headers: Mapping[str, str], *bodies: Any) -> None:
        """Answer with these after what `play` was given, which is then played once."""
        with self.lock:
            for body in bodies:
                self._replies.append((status, headers, body if isinstance(body, bytes) else json.dumps(body).encode()))

    def turn(self, sent: Sent) -> tuple[int, Mapping[str, str], bytes]:
        """Take a request, and return its reply."""
        with self.lock:
            self._sent.append(sent)
            return self._replies.popleft() if len(self._replies) > 1 else self._replies[0]

    @property
    def sent(self) -> list[Sent]:
        """What arrived since the last `play`."""
        with self.lock:
            return list(self._sent)

    @property
    def last(self) -> Sent:
        """The request that arrived last."""
        return self.sent[-1]

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Player:
        self._server = _Server(self)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._server.shutdown()
        self._thread.join()
        with self.lock:
            connections = list(self._server.connections)
        for connection in connections:
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # the client has closed it
        self._server.server_close()
