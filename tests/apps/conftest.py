"""The examples as their users start them, a simulated provider behind them, and a browser in front."""

from __future__ import annotations

import importlib.util
import itertools
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import urllib3
from apps import browser as chromium
from apps.browser import PATIENCE, Window
from shell import environment

from responder.simulator import Simulator

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"

LONG = "at length"
"""Words in a question to which the answer takes minutes."""

LEFT = 90.0
"""Seconds in which a closed tab is noticed at the latest: by a heartbeat that finds nobody, if the browser says nothing."""


def load(path: Path) -> Any:
    """Return an example's file as a module."""
    spec = importlib.util.spec_from_file_location(f"example_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look there
    spec.loader.exec_module(module)
    return module


run = load(EXAMPLES / "run.py")


def _reply(prompt: str) -> str:
    return str(run.essay(prompt)) + (" And so on." * 6000 if LONG in prompt else "")


@dataclass(frozen=True)
class App:
    """An example that runs, and the provider that it asks."""

    url: str
    provider: Simulator
    open: Callable[[str], Window]


# Of those that the system does not hand out by itself, a range for each process that runs tests.
_PORTS = itertools.count(20_000 + 500 * int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")), 2)


def free_port() -> int:
    """Return a port that is free, and whose successor is, too; nobody else here is given it before the program has bound it."""
    for port in _PORTS:
        with suppress(OSError), socket.create_server(("127.0.0.1", port)), socket.create_server(("127.0.0.1", port + 1)):
            return port
    raise AssertionError("unreachable: the ports do not end")


def wait_until_served(url: str) -> None:
    """Wait until a server answers at a URL."""
    retries = urllib3.Retry(total=None, connect=1000, read=10, backoff_factor=0.05, backoff_max=0.1)
    with urllib3.PoolManager(retries=retries, timeout=PATIENCE) as pool:
        assert pool.request("GET", url).status == 200


def _uvicorn(app: str) -> Callable[[int], list[list[str]]]:
    more = ["--log-level", "warning", "--timeout-graceful-shutdown", "1"]
    return lambda port: [[sys.executable, "-m", "uvicorn", app, "--port", str(port), *more]]


@dataclass(frozen=True)
class _Start:
    """How the tests start an example: as its users do, or under another server."""

    example: str
    commands: Callable[[int], list[list[str]]] | None = None
    environment: tuple[tuple[str, str], ...] = ()


STARTS = {
    "gradio": _Start("angles"),
    "django under gunicorn": _Start("angles-django"),
    "django under uvicorn": _Start("angles-django", _uvicorn("django_app:asgi")),
    "streamlit": _Start("chat"),
    "site under gunicorn": _Start("django-site", environment=(("ANSWER_DEADLINE", "8"),)),
    "site under uvicorn": _Start("django-site", _uvicorn("project.asgi:application"), (("ANSWER_DEADLINE", "8"),)),
}


@pytest.fixture(scope="session")
def provider_of_all() -> Iterator[Simulator]:
    """The simulated provider, for as long as the applications run."""
    with Simulator(tokens_per_second=150, reply=_reply, models=["simulated"]) as simulator:
        yield simulator


@pytest.fixture(scope="module")
def started(provider_of_all: Simulator) -> Iterator[Callable[[str], str]]:
    """Start applications by name when they are first asked for, and return their URL; they stop with the module."""
    urls: dict[str, str] = {}
    programs: list[subprocess.Popen[bytes]] = []

    def start(name: str) -> str:
        if name not in urls:
            how, port = STARTS[name], free_port()
            example = run.EXAMPLES[how.example]
            env = {**environment(), **run.environment(how.example, port, provider_of_all), **dict(how.environment)}
            for command in (how.commands or example.commands)(port):
                programs.append(subprocess.Popen(command, cwd=EXAMPLES / example.folder, env=env))
            urls[name] = f"http://127.0.0.1:{port}"
            if name == "streamlit":
                wait_until_served(f"http://127.0.0.1:{port + 1}/model")
            wait_until_served(urls[name])
        return urls[name]

    yield start
    run.stop(programs)


@pytest.fixture
def provider(provider_of_all: Simulator) -> Iterator[Simulator]:
    """The simulated provider, which has forgotten the test before."""
    yield provider_of_all
    provider_of_all.always(None)
    assert provider_of_all.wait_until_idle(LEFT)
    provider_of_all.clear()


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The browser."""
    with chromium.opened(tmp_path_factory.mktemp("browser")) as running:
        yield running


@pytest.fixture
def launch(browser: Any, started: Callable[[str], str], provider: Simulator) -> Iterator[Callable[[str], App]]:
    """Give a function that starts an application by name; all windows on it are closed with the test."""
    with ExitStack() as stack:

        def app(name: str) -> App:
            url = started(name)

            def open_window(path: str = "/") -> Window:
                window = Window(browser, url + path)
                stack.callback(window.close)
                return window

            return App(url, provider, open_window)

        yield app


@pytest.fixture
def picture() -> Callable[[Window, str], None]:
    """Save a window's picture for the documentation, when RESPONDER_SCREENSHOTS names a folder; else do nothing."""
    folder = os.environ.get("RESPONDER_SCREENSHOTS")

    def save(window: Window, name: str) -> None:
        if folder:
            window.save_picture(Path(folder).resolve() / f"{name}.png")

    return save
