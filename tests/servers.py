"""Servers for the tests: each byte that a client gets is written by the test, and held back by events, never by sleeping."""

from __future__ import annotations

import contextlib
import json
import queue
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

# No step of a test that works takes this long; it only keeps a broken one from hanging.
PATIENCE = 50.0


def reply_body(text: str = "Hello.", **changes: Any) -> bytes:
    """Return an answer as OpenAI's dialect has it."""
    body = {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "m-1",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5},
        **changes,
    }
    return json.dumps(body).encode()


def reply(body: bytes | None = None, status: str = "200 OK", **headers: str) -> bytes:
    """Return a whole HTTP reply; headers are spelled with underscores (`Retry_After="2"`)."""
    body = reply_body() if body is None else body
    given = {"Content-Type": "application/json", "Content-Length": str(len(body))}
    given.update((name.replace("_", "-"), value) for name, value in headers.items())
    lines = "".join(f"{name}: {value}\r\n" for name, value in given.items())
    return f"HTTP/1.1 {status}\r\n{lines}\r\n".encode() + body


@dataclass
class Request:
    """A request as it came over the wire.

    Attributes:
        line: The first line.
        headers: Names in lower case; of a header that came twice, the last value.
        names: The names in lower case, as often as they came.
        body: The bytes.
    """

    line: str
    headers: dict[str, str]
    names: list[str]
    body: bytes

    @property
    def target(self) -> str:
        return self.line.split(" ")[1]

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def prompt(self) -> Any:
        return self.json["messages"][-1]["content"]


@dataclass
class Peer:
    """The server's end of one connection."""

    server: Server
    sock: socket.socket
    number: int
    buffer: bytes = field(default=b"", repr=False)

    def receive(self) -> Request | None:
        """Return the next request; None when the client has left."""
        while b"\r\n\r\n" not in self.buffer:
            if not self._more():
                return None
        head, _, self.buffer = self.buffer.partition(b"\r\n\r\n")
        line, *rest = head.decode("latin-1").split("\r\n")
        pairs = [(name.lower(), value) for name, value in (entry.split(": ", 1) for entry in rest)]
        headers = dict(pairs)
        length = int(headers.get("content-length", "0"))
        while len(self.buffer) < length:
            if not self._more():
                return None
        body, self.buffer = self.buffer[:length], self.buffer[length:]
        request = Request(line, headers, [name for name, _ in pairs], body)
        self.server.log(request)
        return request

    def _more(self) -> bool:
        try:
            piece = self.sock.recv(65536)
        except OSError:
            return False
        self.buffer += piece
        return bool(piece)

    def send(self, data: bytes) -> None:
        """Send bytes; a client that has left is no error."""
        with contextlib.suppress(OSError):
            self.sock.sendall(data)

    def wait_until_left(self) -> None:
        """Block until the client closes its end (or the server stops), and note that it left."""
        while self._more():
            self.buffer = b""
        if not self.server.stopping.is_set():
            self.server.left.put(self.number)

    def drip(self, data: bytes, seconds: float) -> None:
        """Send byte after byte, with a pause between; ends when the client has left."""
        for position in range(len(data)):
            try:
                self.sock.sendall(data[position : position + 1])
            except OSError:
                break
            if self.server.stopping.wait(seconds):
                return
        self.wait_until_left()

    def reset(self) -> None:
        """Break the connection off with a RST."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def close(self) -> None:
        """Close the connection in good order, without a farewell of TLS."""
        with contextlib.suppress(OSError):
            socket.socket.shutdown(self.sock, socket.SHUT_RDWR)
        self.sock.close()


Handler = Callable[[Peer], None]


class Server:
    """Runs a handler in a thread for each connection.

    Attributes:
        requests: Every request that came whole, in order.
        inside: Holds an entry for each request that came whole, for tests that wait for one.
        left: Holds the number of each connection whose client was seen to leave.
        stopping: Set when the server stops; whatever waits in a handler waits for this, too.
        released: For handlers that wait for the test's word.
    """

    def __init__(self, handler: Handler, context: ssl.SSLContext | None = None, host: str = "127.0.0.1") -> None:
        self.requests: list[Request] = []
        self.inside: queue.SimpleQueue[Request] = queue.SimpleQueue()
        self.left: queue.SimpleQueue[int] = queue.SimpleQueue()
        self.stopping = threading.Event()
        self.released = threading.Event()
        self.connections = 0
        self._handler = handler
        self._context = context
        self._failures: list[BaseException] = []
        self._lock = threading.Lock()
        self._peers: list[Peer] = []
        self._threads: list[threading.Thread] = []
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._listener = socket.create_server((host, 0), family=family, backlog=256)
        self.port = self._listener.getsockname()[1]
        name = "localhost" if context is not None else f"[{host}]" if ":" in host else host
        self.url = f"http{'s' if context is not None else ''}://{name}:{self.port}"

    def log(self, request: Request) -> None:
        with self._lock:
            self.requests.append(request)
        self.inside.put(request)

    def wait_for(self, number: int) -> None:
        """Block until so many more requests have come whole."""
        for _ in range(number):
            self.inside.get(timeout=PATIENCE)

    def wait_for_leaving(self) -> int:
        """Block until a client has left a handler that waits for it; return its connection's number."""
        return self.left.get(timeout=PATIENCE)

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            with self._lock:
                number = self.connections
                self.connections += 1
                peer = Peer(self, sock, number)
                self._peers.append(peer)
                thread = threading.Thread(target=self._serve, args=(peer,), daemon=True)
                self._threads.append(thread)
            thread.start()

    def _serve(self, peer: Peer) -> None:
        try:
            if self._context is not None:
                try:
                    peer.sock = self._context.wrap_socket(peer.sock, server_side=True)
                except OSError:
                    return  # a client that does not trust us
            self._handler(peer)
        except BaseException as error:  # noqa: BLE001 - raised in the test's thread when the server stops
            self._failures.append(error)
        finally:
            peer.sock.close()

    def __enter__(self) -> Server:
        self._acceptor = threading.Thread(target=self._accept, daemon=True)
        self._acceptor.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stopping.set()
        self.released.set()
        # A shutdown wakes the thread that accepts; a close alone does not.
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._acceptor.join(PATIENCE)
        for peer in self._peers:
            with contextlib.suppress(OSError):
                socket.socket.shutdown(peer.sock, socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(PATIENCE)
        if self._failures:
            raise self._failures[0]


def always(data: bytes | None = None, *, last: bool = False) -> Handler:
    """Answer each request with the same bytes; `last`: close after the first one."""
    data = reply() if data is None else data

    def handler(peer: Peer) -> None:
        while peer.receive() is not None:
            peer.send(data)
            if last:
                return

    return handler


def in_turn(*handlers: Handler) -> Handler:
    """Give each connection its own handler, in the order in which they come; the last one serves all that follow."""

    def handler(peer: Peer) -> None:
        handlers[min(peer.number, len(handlers) - 1)](peer)

    return handler


def one_by_one(*replies: bytes | None) -> Handler:
    """Answer the server's first request with the first reply, and so on; None falls silent. The last one stays."""
    lock = threading.Lock()
    count = iter(range(10**9))

    def handler(peer: Peer) -> None:
        while peer.receive() is not None:
            with lock:
                number = next(count)
            data = replies[min(number, len(replies) - 1)]
            if data is None:
                peer.wait_until_left()
                return
            peer.send(data)

    return handler


def silent(peer: Peer) -> None:
    """Read a request and say nothing."""
    if peer.receive() is not None:
        peer.wait_until_left()


def silent_after(data: bytes) -> Handler:
    """Read a request, send some bytes, and say no more."""

    def handler(peer: Peer) -> None:
        if peer.receive() is not None:
            peer.send(data)
            peer.wait_until_left()

    return handler


def dripping(data: bytes, seconds: float, *, at_once: int = 0) -> Handler:
    """Send the first bytes at once, and the others one by one with a pause between."""

    def handler(peer: Peer) -> None:
        if peer.receive() is not None:
            peer.send(data[:at_once])
            peer.drip(data[at_once:], seconds)

    return handler


def proxy(peer: Peer) -> None:
    """Be an HTTP proxy: open tunnels for CONNECT, and answer requests in absolute form as if their server had."""
    request = peer.receive()
    if request is None:
        return
    if not request.line.startswith("CONNECT "):
        while request is not None:
            peer.send(reply())
            request = peer.receive()
        return
    host, _, port = request.target.rpartition(":")
    with socket.create_connection((host.strip("[]"), int(port)), timeout=PATIENCE) as upstream:
        peer.send(b"HTTP/1.1 200 Connection established\r\n\r\n")
        back = threading.Thread(target=_pump, args=(upstream, peer.sock), daemon=True)
        back.start()
        _pump(peer.sock, upstream)
        back.join(PATIENCE)


def proxy_with_login(user: str, password: str) -> Handler:
    """Be a proxy that refuses whoever does not log in."""
    import base64

    wanted = "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()

    def handler(peer: Peer) -> None:
        request = peer.receive()
        if request is None:
            return
        if request.headers.get("proxy-authorization") != wanted:
            peer.send(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
            return
        # The request was read: hand it on as if it were still to come.
        lines = "".join(f"{name}: {value}\r\n" for name, value in request.headers.items())
        peer.buffer = f"{request.line}\r\n{lines}\r\n".encode("latin-1") + request.body + peer.buffer
        proxy(peer)

    return handler


def _pump(source: socket.socket, target: socket.socket) -> None:
    try:
        while piece := source.recv(65536):
            target.sendall(piece)
    except OSError:
        pass
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)


_bound: list[socket.socket] = []


def port_of_nobody() -> int:
    """Return a port at which connections are refused: bound, so that no server of another test gets it, and never listened on."""
    if not _bound:
        _bound.append(socket.socket())
        _bound[0].bind(("127.0.0.1", 0))
    port: int = _bound[0].getsockname()[1]
    return port


@contextlib.contextmanager
def unreachable() -> Iterator[int]:
    """Yield the port of a listener whose queue is full: a connection to it is never established."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(8):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]
