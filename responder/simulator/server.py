"""Who listens, and how does a request travel from the socket to its reply? The only file that runs an event loop."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
import threading
from collections.abc import Callable
from typing import Any
from urllib.parse import unquote

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from . import control
from .delivery import Gone, deliver
from .engine import Engine
from .journal import Journal
from .names import Names
from .reply import CONTROL_PREFIX

_LOG = logging.getLogger("responder.simulator")
_BACKLOG = 4096
_STOP_S = 1.0
_KEEP_ALIVE_S = 120.0


class Server:
    """A running server: a listening socket, and the loop's side of every request.

    Args:
        engine: Decides what each request gets.
        host: Address to listen on.
        port: Port to listen on; 0 takes a free one.
        ssl_context: Speak TLS with this context; None for plain HTTP.
    """

    def __init__(self, engine: Engine, host: str, port: int, ssl_context: ssl.SSLContext | None) -> None:
        self.engine = engine
        engine.scheme = "http" if ssl_context is None else "https"
        self._host = host
        self._wanted_port = port
        self._ssl_context = ssl_context
        self._names = Names(host, engine.settings.allowed_hosts)
        self._stopping = False
        self._connections: _CountingServer | None = None
        self._listener: asyncio.Server | None = None
        self.loop: asyncio.AbstractEventLoop | None = None
        self.port = 0

    async def start(self) -> None:
        """Begin to listen.

        Raises:
            OSError: The port is taken, or the address is not ours.
        """
        _raise_file_limit()
        self.loop = asyncio.get_running_loop()
        self._connections = _CountingServer(self._answer, self.engine.journal, self.loop)
        self._listener = await self.loop.create_server(
            self._connections,
            self._host,
            self._wanted_port,
            ssl=self._ssl_context,
            backlog=_BACKLOG,
            reuse_address=True,
        )
        self.port = self._listener.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Stop within about a second, even if something hangs: open connections are cut."""
        self._stopping = True
        self.engine.gates.clear()
        self.engine.journal.stop()
        if self._listener is not None:
            for sock in self._listener.sockets:
                with contextlib.suppress(NotImplementedError):  # Windows
                    asyncio.get_running_loop().remove_reader(sock.fileno())
        # A connection that was just accepted is made known a few turns of the loop later; only then can it be cut. Were the
        # listener closed before that, asyncio would refuse to make it known, and never close it.
        for _ in range(5):
            await asyncio.sleep(0)
        if self._listener is not None:
            self._listener.close()
        if self._connections is not None:
            self._connections.cut()
            deadline = asyncio.get_running_loop().time() + _STOP_S
            while self._connections.open_connections and asyncio.get_running_loop().time() < deadline:
                await asyncio.sleep(0.005)

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        content = await request.content.read() if request.can_read_body else b""
        target = request.raw_path
        if target.startswith("/"):
            stranger = self._stranger(request)
            if stranger is not None:
                return _refused(stranger)
        else:
            # A proxy's absolute form: http://host/path. No browser sends it to a server.
            target = "/" + target.partition("://")[2].partition("/")[2]
        if "%" in target:
            path, mark, query = target.partition("?")
            target = unquote(path) + mark + query
        if target.startswith(CONTROL_PREFIX):
            if self._connections is not None:
                self._connections.ignore(request.protocol)
            return await control.answer(self.engine, target, content)
        engine = self.engine
        call, dialect, entry = engine.read(request.method, target, request.headers, content)
        verdict = engine.judge(call, dialect, entry)
        journal = engine.journal
        journal.open(entry)
        finished = False

        def finish(outcome: str, status: int | None) -> None:
            nonlocal finished
            if not finished:
                finished = True
                journal.close(entry, outcome, status)

        try:
            if (gate := engine.gates.current) is not None:
                await gate.enter()
            if verdict.latency:
                await asyncio.sleep(verdict.latency)
            return await deliver(request, verdict, engine.tokens_per_second(), finish)
        except ConnectionResetError:  # the client has left: nobody to answer, and nothing to complain of
            return Gone()
        finally:
            finish("stopped" if self._stopping else "client left", None)

    def _stranger(self, request: web.BaseRequest) -> str | None:
        """Return the name by which the request calls us, if it is not ours."""
        address = request.transport.get_extra_info("sockname") if request.transport is not None else None
        local = str(address[0]) if isinstance(address, tuple) else ""
        return next((name for name in request.headers.getall("Host", ()) if not self._names.include(name, local)), None)


def _refused(name: str) -> web.Response:
    told = f"this simulator does not answer to {name!r}: use localhost, or start it with --allow-host NAME"
    return web.json_response({"error": {"message": told, "type": "misdirected_request"}}, status=421)


class _CountingServer(web.Server):
    """aiohttp's low-level server, which also counts connections and can cut them."""

    def __init__(self, answer: Callable[[Any], Any], journal: Journal, loop: asyncio.AbstractEventLoop) -> None:
        # A handler is cancelled when its client goes away: that is how silence ends, and how the log learns of it.
        super().__init__(
            answer, handler_cancellation=True, loop=loop, access_log=None, logger=_LOG, keepalive_timeout=_KEEP_ALIVE_S
        )
        self._journal = journal
        self._transports: dict[RequestHandler, asyncio.Transport] = {}
        self._ignored: set[RequestHandler] = set()

    @property
    def open_connections(self) -> int:
        return len(self._transports)

    def connection_made(self, handler: RequestHandler, transport: asyncio.Transport) -> None:
        super().connection_made(handler, transport)
        self._transports[handler] = transport
        self._journal.connected()

    def connection_lost(self, handler: RequestHandler, exc: BaseException | None = None) -> None:
        super().connection_lost(handler, exc)
        if self._transports.pop(handler, None) is None:
            return
        if handler in self._ignored:
            self._ignored.remove(handler)
        else:
            self._journal.disconnected()

    def ignore(self, handler: RequestHandler) -> None:
        """Count this connection no longer: it carries commands to the simulator, not calls to a provider."""
        if handler in self._transports and handler not in self._ignored:
            self._ignored.add(handler)
            self._journal.forget_connection()

    def cut(self) -> None:
        for transport in list(self._transports.values()):
            transport.abort()


class ServerThread:
    """A server on a loop of its own, in a thread of its own.

    Args:
        engine: Decides what each request gets.
        host: Address to listen on.
        port: Port to listen on; 0 takes a free one.
        ssl_context: Speak TLS with this context; None for plain HTTP.
    """

    def __init__(self, engine: Engine, host: str, port: int, ssl_context: ssl.SSLContext | None) -> None:
        self._server = Server(engine, host, port, ssl_context)
        self._ready = threading.Event()
        self._stop: asyncio.Event | None = None
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="responder-simulator", daemon=True)

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The loop, once the server is started."""
        loop = self._server.loop
        if loop is None:
            raise RuntimeError("The simulator is not started.")
        return loop

    def start(self) -> int:
        """Start, and return the port.

        Raises:
            OSError: The port is taken, or the address is not ours.
        """
        self._thread.start()
        self._ready.wait()
        if self._error is not None:
            raise self._error
        return self._server.port

    def stop(self) -> None:
        """Stop, and wait for the thread to end."""
        if self._stop is not None and self._thread.is_alive():
            with contextlib.suppress(RuntimeError):  # The loop has just ended by itself.
                self.loop.call_soon_threadsafe(self._stop.set)
            self._thread.join()

    def _run(self) -> None:
        asyncio.run(self._main())

    async def _main(self) -> None:
        self._stop = asyncio.Event()
        try:
            await self._server.start()
        except OSError as error:
            self._error = error
            return
        finally:
            self._ready.set()
        await self._stop.wait()
        await self._server.stop()


def _raise_file_limit() -> None:
    """Let this process open as many sockets as the system allows: a thousand calls need more than 1024 files."""
    try:
        import resource
    except ImportError:  # Windows has no such limit.
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def tls_context(certfile: str, keyfile: str | None) -> ssl.SSLContext:
    """Build a server's TLS context from PEM files."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certfile, keyfile)
    return context
