"""How does a person run the simulator from a shell? `serve`: blocking, with a banner, ended by Ctrl-C."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
import threading
from collections.abc import Callable
from typing import Any

from .dialects import base_path
from .engine import Engine, Settings
from .simulator import require_aiohttp

_SHOWN = ("openai", "azure", "gemini", "vertex", "anthropic", "bedrock", "cohere", "groq", "ollama")


def serve(
    *,
    host: str = "127.0.0.1",
    port: int = 8080,
    certfile: str | None = None,
    keyfile: str | None = None,
    announce: Callable[[str], None] | None = None,
    until_stdin_ends: bool = False,
    **settings: Any,
) -> None:
    """Run the simulated provider until Ctrl-C (or SIGTERM).

    Args:
        host: Address to listen on.
        port: Port to listen on; 0 takes a free one.
        certfile: Path of a PEM file with a certificate chain: speak TLS.
        keyfile: Path of a PEM file with the private key; None if it is in `certfile`.
        announce: Called once with the URL when the server listens; None prints a banner on standard error.
        until_stdin_ends: Also stop when standard input ends, which is how a child notices that its parent has died.
        settings: Other arguments of `Simulator`: latency, tokens_per_second, requests_per_minute, ...

    Raises:
        OSError: The port is taken, or the address is not ours.
        ImportError: aiohttp is not installed.
        TypeError: A setting is unknown.
        ValueError: A setting is invalid.
    """
    require_aiohttp()
    from .server import Server, tls_context

    engine = Engine(Settings(**settings))
    server = Server(engine, host, port, None if certfile is None else tls_context(certfile, keyfile))

    async def main() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            with contextlib.suppress(NotImplementedError, ValueError, RuntimeError):  # Windows; or not the main thread.
                loop.add_signal_handler(number, stop.set)
        await server.start()
        url = f"https://localhost:{server.port}" if certfile else f"http://{host}:{server.port}"
        (announce or _banner)(url)
        if until_stdin_ends:
            threading.Thread(target=_watch_stdin, args=(loop, stop), daemon=True).start()
        await stop.wait()
        await server.stop()

    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main())


def _banner(url: str) -> None:
    lines = [f"Simulated provider at {url}  (answers are simulated, nothing is billed; Ctrl-C stops it)"]
    lines += [f"  {provider:<10} {url}{base_path(provider)}" for provider in _SHOWN]
    lines.append(f"  {'other':<10} {url}/hosts/NAME/v1")
    if sys.stderr is not None:  # a service without a console has none
        sys.stderr.write("\n".join(lines) + "\n")
        sys.stderr.flush()


def _watch_stdin(loop: asyncio.AbstractEventLoop, stop: asyncio.Event) -> None:
    # `read` returns when the last writer is gone: the parent closed the pipe, or died.
    with contextlib.suppress(OSError, ValueError):
        sys.stdin.buffer.read()
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(stop.set)
