"""The command line beside its terminal: texts that would steer it, and standard streams that are closed, full or missing."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import pytest
from shell import Terminal, environment, run

from responder.cli import main
from responder.cli.terminal import say
from responder.simulator import Fault, Simulator
from responder.values.visible import is_terminal

MODEL = ("--model", "openai:m")

# Clears the screen, renames the window, hides what follows, turns the direction of reading, writes over the line.
EVIL = "\x1b[2J\x1b]0;owned\x07 \x9b8m \u202etxt.exe\u2066 over\rwritten\x08"
SHOWN = "\\u001b[2J\\u001b]0;owned\\u0007 \\u009b8m \\u202etxt.exe\\u2066 over\\u000dwritten\\u0008"


@pytest.fixture(autouse=True)
def provider(simulator: Simulator, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Make the simulator the provider of `openai:`, and work in a folder of our own."""
    monkeypatch.setenv("OPENAI_API_KEY", "test-key")
    monkeypatch.setenv("OPENAI_BASE_URL", simulator.base_url("openai"))
    monkeypatch.delenv("RESPONDER_MODEL", raising=False)
    monkeypatch.chdir(tmp_path)
    Path("evil.jsonl").write_text(json.dumps(EVIL) + "\n", encoding="utf-8")


@pytest.fixture
def terminal() -> Iterator[Callable[..., Terminal]]:
    """Start programs whose standard output is a terminal."""
    with contextlib.ExitStack() as stack:

        def begin(*arguments: object) -> Terminal:
            found = Terminal(*arguments, columns=500)
            stack.callback(found.close)
            return found

        yield begin


@pytest.mark.parametrize(
    "arguments",
    [
        ("ask", EVIL, *MODEL),
        ("ask", EVIL, *MODEL, "--no-stream"),
        ("ask", EVIL, "--model", "openai:a", "--model", "openai:b"),
        ("ask", EVIL, "--model", "openai:a", "--model", "openai:b", "--no-stream"),
        ("map", "evil.jsonl", *MODEL),
        ("ask", EVIL, *MODEL, "--json"),
    ],
    ids=["streamed", "whole", "columns", "several", "lines", "json"],
)
def test_an_answer_cannot_steer_the_terminal(terminal: Callable[..., Terminal], arguments: tuple[str, ...]) -> None:
    """Its escape sequences and overrides are shown as their numbers, whether it comes in pieces, whole or as JSON."""
    shown = terminal(*arguments)
    code, errors = shown.end()
    assert (code, errors) == (0, "")
    text = shown.text
    for evil in ("\x1b[2J", "\x1b]", "\x07", "\x9b", "\u202e", "\u2066", "\rw", "\x08"):
        assert evil not in text
    if "json" not in str(arguments):
        # The columns are as wide as half a window.
        assert SHOWN.split()[0] in text
        assert "\\u202etxt.exe" in text
    elif "map" in arguments:
        assert json.loads(text)["text"] == f"Simulated answer to: {EVIL}"
    else:
        assert json.loads(text)["text"] == f"Simulated answer to: {EVIL}"


@pytest.mark.parametrize("stream", ["--stream", "--no-stream"])
def test_a_pipe_gets_the_text_as_it_is(stream: str) -> None:
    """Programs read what the model wrote."""
    assert run("ask", EVIL, *MODEL, stream).stdout_bytes.decode() == f"Simulated answer to: {EVIL}\n"


def test_a_file_gets_the_text_as_it_is() -> None:
    """And so do files."""
    assert run("map", "evil.jsonl", *MODEL, "-o", "out.jsonl").exit_code == 0
    assert json.loads(Path("out.jsonl").read_text(encoding="utf-8"))["text"] == f"Simulated answer to: {EVIL}"


@pytest.mark.parametrize("arguments", [("ask", "Hi"), ("map", "evil.jsonl", "-o", "out.jsonl", "--summary")])
def test_an_error_of_the_provider_cannot_steer_the_terminal(simulator: Simulator, arguments: tuple[str, ...]) -> None:
    """What it wrote stands on standard error as one harmless line."""
    simulator.always(Fault.status(400, EVIL))
    result = run(*arguments, *MODEL)
    assert result.exit_code == 1
    assert not any(evil in result.stderr for evil in ("\x1b", "\x07", "\x9b", "\u202e", "\u2066", "\r", "\x08"))
    assert "\\u202etxt.exe" in result.stderr


# Streams that are closed, full or missing


def start_with_closed(number: int, *arguments: object) -> tuple[int, str, str]:
    """Run the command with one of the three standard streams closed, as `2>&-` does."""
    redirected = {0: "<&-", 1: ">&-", 2: "2>&-"}[number]
    done = subprocess.run(
        ["sh", "-c", f'exec "$@" {redirected}', "sh", sys.executable, "-m", "responder", *map(str, arguments)],
        stdin=None if number == 0 else subprocess.DEVNULL,
        capture_output=True,
        text=True,
        env=environment(),
        timeout=60,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("more", [(), ("--progress", "--summary")])
def test_without_standard_error_a_map_writes_its_lines(more: tuple[str, ...]) -> None:
    """There is no bar, no summary and no error."""
    code, output, _ = start_with_closed(2, "map", "evil.jsonl", *MODEL, *more)
    assert code == 0
    assert json.loads(output)["index"] == 0


def test_without_standard_error_a_mistake_has_its_exit_code() -> None:
    """Nobody reads the line, and the number says it all the same."""
    assert start_with_closed(2, "map", "missing.txt", *MODEL) == (2, "", "")
    assert start_with_closed(2, "map", "--no-such-option") == (2, "", "")


@pytest.mark.parametrize(("arguments"), [("ask", "-"), ("ask",), ("map", "-")])
def test_a_closed_standard_input_is_reported_in_one_line(arguments: tuple[str, ...], simulator: Simulator) -> None:
    """The line says what to do instead."""
    code, output, errors = start_with_closed(0, *arguments, *MODEL)
    assert (code, output) == (2, "")
    assert errors == "Error: standard input is closed: name a file, or pipe the text in\n"
    assert not simulator.received


@pytest.mark.parametrize("arguments", [("ask", "Hi"), ("map", "evil.jsonl")])
def test_a_closed_standard_output_is_reported_before_anything_is_paid_for(
    arguments: tuple[str, ...], simulator: Simulator
) -> None:
    """An answer that nobody would see is not asked for; with -o it is."""
    code, _, errors = start_with_closed(1, *arguments, *MODEL)
    assert code == 2
    assert errors.startswith("Error: standard output is closed")
    assert not simulator.received
    assert start_with_closed(1, "map", "evil.jsonl", *MODEL, "-o", "out.jsonl")[0] == 0


class OnlyWrites:
    """A standard error of some frameworks: it can be written to, and no more."""

    def __init__(self) -> None:
        self.text = ""

    def write(self, text: str) -> int:
        self.text += text
        return len(text)


def test_any_standard_error_will_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """None, closed, or without `isatty`: nothing fails."""
    closed = io.StringIO()
    closed.close()
    for stream in (None, closed, OnlyWrites()):
        monkeypatch.setattr(sys, "stderr", stream)
        say("hello")
        assert not is_terminal(stream)  # type: ignore[arg-type]  # anything that may stand in for stderr
        with pytest.raises(SystemExit) as ended:
            main(["map", "missing.txt", *MODEL])
        assert ended.value.code == 2


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux has a device that is always full")
@pytest.mark.parametrize("arguments", [("ask", "Hi", *MODEL), ("map", "evil.jsonl", *MODEL), ("models",), ("--help",)])
def test_a_full_disk_behind_standard_output_is_one_line(arguments: tuple[str, ...]) -> None:
    """Not a traceback, and not a success."""
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "responder", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            env=environment(),
            timeout=60,
            check=False,
        )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert done.stderr.count("\n") == 1
    assert "No space left on device" in done.stderr


def test_a_warning_of_the_package_is_a_line_on_standard_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever runs the command has configured no log."""

    @click.command()
    def noisy() -> None:
        logging.getLogger("responder").info("nothing to see")
        logging.getLogger("responder").warning("down\nagain\x1b[2J")

    monkeypatch.setitem(main.commands, "noisy", noisy)
    assert run("noisy").stderr == "Warning: down again\\u001b[2J\n"
