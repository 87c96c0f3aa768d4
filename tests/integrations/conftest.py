"""Web servers with a site on them, each in a process of its own, and the simulated provider behind them."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from integrations.browser import Page
from shell import environment

from responder.simulator import Simulator

_SITES = Path(__file__).parent / "sites"

# uvicorn's own --fd takes any socket for a Unix one, which would switch its latency options off.
_UVICORN = """
import importlib, socket, sys
import uvicorn
module, _, name = sys.argv[2].partition(":")
app = getattr(importlib.import_module(module), name)
server = uvicorn.Server(uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=1))
server.run([socket.socket(fileno=int(sys.argv[1]))])
"""


@dataclass(frozen=True)
class Site:
    """A site that runs, and the provider that it asks."""

    name: str
    port: int
    provider: Simulator

    def open(self, path: str = "/ask", **query: object) -> Page:
        """Open a page of it."""
        return Page(self.port, path, **query)  # type: ignore[arg-type]  # parameters of a query


def gunicorn(app: str, descriptor: int) -> list[str]:
    """Return the command for gunicorn with threads."""
    options = ["--worker-class", "gthread", "--threads", "16", "--graceful-timeout", "1", "--log-level", "warning"]
    return [sys.executable, "-m", "gunicorn", app, "--bind", f"fd://{descriptor}", "--no-control-socket", *options]


def uvicorn(app: str, descriptor: int) -> list[str]:
    """Return the command for uvicorn."""
    return [sys.executable, "-c", _UVICORN, str(descriptor), app]


SERVERS: dict[str, tuple[Callable[[str, int], list[str]], str]] = {
    "django under gunicorn": (gunicorn, "django_site:wsgi"),
    "django under uvicorn": (uvicorn, "django_site:asgi"),
    "flask under gunicorn": (gunicorn, "flask_site:app"),
    "fastapi under uvicorn": (uvicorn, "fastapi_site:app"),
}


@pytest.fixture(scope="module")
def running() -> Iterator[Callable[[str], Site]]:
    """Start sites by name when they are first asked for; they stop with the module."""
    sites: dict[str, Site] = {}
    processes: list[subprocess.Popen[bytes]] = []
    with Simulator() as provider:

        def start(name: str) -> Site:
            if name not in sites:
                command, app = SERVERS[name]
                # It listens before the server runs: whoever comes early waits in the queue, and nobody has to look for it.
                with socket.create_server(("127.0.0.1", 0), backlog=128) as listener:
                    env = environment(OPENAI_BASE_URL=provider.base_url("openai"))
                    env["PYTHONPATH"] = os.pathsep.join((str(_SITES), env["PYTHONPATH"]))
                    os.set_inheritable(listener.fileno(), True)
                    processes.append(subprocess.Popen(command(app, listener.fileno()), env=env, pass_fds=[listener.fileno()]))
                    sites[name] = Site(name, listener.getsockname()[1], provider)
            return sites[name]

        yield start
        for process in processes:
            process.terminate()
        for process in processes:
            process.wait(60)


@pytest.fixture(params=SERVERS)
def site(request: pytest.FixtureRequest, running: Callable[[str], Site]) -> Iterator[Site]:
    """Give the test each framework in turn, with a provider that has forgotten the test before."""
    found = running(request.param)
    yield found
    found.provider.always(None)
    idle = found.provider.wait_until_idle()
    found.provider.clear()
    assert idle, "a stream was left open"
