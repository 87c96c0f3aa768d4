"""A Redis server of the tests' own, on loopback: it can be killed, stopped in mid-work, emptied and started again."""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from servers import PATIENCE

# Of those that the system does not hand out by itself, a range for each process that runs tests; `apps/conftest.py` has others.
_PORTS = itertools.count(25_000 + 100 * int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")))


def program() -> str:
    """Return where the server's program is; skip the test if there is none, or fail it where one has to be."""
    found = shutil.which("redis-server")
    if found is None:
        reason = "no redis-server here: `make programs` installs it where it may"
        if os.environ.get("CI", "").lower() in ("1", "true", "yes"):
            pytest.fail(reason)
        pytest.skip(reason)
    return found


class RedisServer:
    """A server on 127.0.0.1 and on a Unix socket that keeps nothing on disk.

    Attributes:
        port: Its own for as long as this object is used, also while the server is down.
        url: `redis://127.0.0.1:PORT/0`.
        unix_url: `unix:///...?db=0`, the same data.
    """

    def __init__(self, *options: str) -> None:
        self._program = program()
        self._options = options
        self._folder = Path(tempfile.mkdtemp(prefix="redis-"))  # a Unix socket's path must be short
        self.port = next(port for port in _PORTS if _is_free(port))
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self.unix_url = f"unix://{self._folder}/socket?db=0"
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        """Start it, empty, and wait until it answers."""
        assert self._process is None, "it runs already"
        where = ["--bind", "127.0.0.1", "--port", str(self.port), "--unixsocket", f"{self._folder}/socket"]
        what = ["--dir", str(self._folder), "--save", "", "--appendonly", "no", "--loglevel", "warning", *self._options]
        self._process = subprocess.Popen([self._program, *where, *what], stdout=subprocess.DEVNULL)
        ends = time.monotonic() + PATIENCE
        while time.monotonic() < ends:
            with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE) as asked:
                asked.sendall(b"PING\r\n")
                if asked.recv(64):  # "+PONG", or that it wants a password
                    return
            assert self._process.poll() is None, "the server ended at once"
            time.sleep(0.005)
        raise AssertionError("the server does not answer")

    def kill(self) -> None:
        """End it at once, with all that it held."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(PATIENCE)
            self._process = None

    def hang(self) -> None:
        """Stop it: it takes connections and requests, and answers none."""
        self._signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """Let it answer again."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: int) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def client(self, **keywords: Any) -> Any:
        """Return a client of redis-py."""
        redis = pytest.importorskip("redis")
        return redis.Redis.from_url(self.url, **keywords)

    def renew(self) -> None:
        """Make it what it was at first: running, and empty."""
        if self._process is None:
            self.start()
            return
        self.go_on()
        with self.client() as client:
            client.flushall()
            client.script_flush()

    def close(self) -> None:
        """End it for good."""
        self.kill()
        shutil.rmtree(self._folder, ignore_errors=True)


def _is_free(port: int) -> bool:
    with suppress(OSError), socket.create_server(("127.0.0.1", port)):
        return True
    return False
