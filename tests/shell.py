"""How the tests call the command line: in this process where that is enough, and as a program of its own elsewhere."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

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
