"""How the tests call the command line: in this process where that is enough, and as a program of its own elsewhere."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result
from servers import PATIENCE

from responder.cli import main


def run(*arguments: object, stdin: str | bytes | None = None) -> Result:
    """Call the command in this process; what is no error of ours is raised."""
    result = CliRunner().invoke(main, [str(argument) for argument in arguments], input=stdin)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def start(*arguments: object, **keywords: Any) -> subprocess.Popen[str]:
    """Start the command as a program, with pipes for its output."""
    return subprocess.Popen(
        [sys.executable, "-m", "responder", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        # A test run in the background of a shell has Ctrl-C ignored, and children inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        **{"stdin": subprocess.DEVNULL, "env": environment(), **keywords},
    )


def environment(**more: str) -> dict[str, str]:
    """Return the environment for a program that shall run the package that is tested."""
    found = str(Path(sys.modules["responder"].__file__ or "").parents[1])
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, (found, os.environ.get("PYTHONPATH")))), **more}


def records(text: str) -> list[dict[str, Any]]:
    """Return the objects of JSON lines; a line that is cut fails."""
    assert not text or text.endswith("\n")
    return [json.loads(line) for line in text.split("\n")[:-1]]


def error_line(result: Result) -> str:
    """Return the one line that an error is."""
    lines = result.stderr.splitlines()
    assert len(lines) == 1, result.stderr
    return lines[0]


class Terminal:
    """A program whose standard output is a terminal."""

    def __init__(self, *arguments: object, columns: int = 80, lines: int = 24) -> None:
        self._master, slave = os.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        self.process = subprocess.Popen(
            [sys.executable, "-m", "responder", *map(str, arguments)],
            stdin=subprocess.DEVNULL,
            stdout=slave,
            stderr=subprocess.PIPE,
            env=environment(PYTHONIOENCODING="utf-8"),
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )
        os.close(slave)
        self._bytes = b""

    @property
    def text(self) -> str:
        """What was written so far."""
        return self._bytes.decode("utf-8", "ignore").replace("\r\n", "\n")

    @property
    def screen(self) -> str:
        """What stands there since it was last drawn anew."""
        return self.text.rpartition("\x1b[J")[2]

    def _read(self, seconds: float) -> bool:
        if not select.select([self._master], [], [], seconds)[0]:
            return False
        try:
            data = os.read(self._master, 65536)
        except OSError:  # how Linux says that the other side is closed
            return False
        self._bytes += data
        return bool(data)

    def read_until(self, found: Callable[[str], bool]) -> None:
        """Read until what was written so far has something in it."""
        ends = time.monotonic() + PATIENCE
        while not found(self.text):
            assert self._read(max(0.0, ends - time.monotonic())), self.text

    def end(self) -> tuple[int, str]:
        """Read to the end; return the exit code and what went to standard error."""
        while self._read(PATIENCE):
            pass
        _, errors = self.process.communicate(timeout=PATIENCE)
        return self.process.returncode, errors.decode()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self.process.kill()
        self.process.communicate()
        os.close(self._master)
