"""The batch summariser, as a program."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from apps.conftest import EXAMPLES, run
from shell import environment

from responder.simulator import Fault, Simulator

Summarise = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def summarise(provider: Simulator) -> Summarise:
    """Give a function that runs the script on the simulated Azure."""

    def call(*arguments: object) -> subprocess.CompletedProcess[str]:
        env = {**environment(), **run.environment("summarise", None, provider)}
        command = [sys.executable, str(EXAMPLES / "summarise" / "summarise.py"), *map(str, arguments)]
        return subprocess.run(command, env=env, capture_output=True, text=True, encoding="utf-8", timeout=60, check=False)

    return call


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with three texts."""
    made = tmp_path / "texts"
    made.mkdir()
    for name in ("c", "a", "b"):
        (made / f"{name}.txt").write_text(f"The text {name}.", encoding="utf-8")
    return made


def read(text: str) -> list[dict[str, str | None]]:
    """Return the script's lines."""
    return [json.loads(line) for line in text.split("\n") if line]


def test_a_folder_is_summarised_in_order(summarise: Summarise, provider: Simulator, folder: Path, tmp_path: Path) -> None:
    """All texts are asked at once, and the lines stand in the order of the files' names."""
    provider.hold(3)
    done = summarise(folder, "--output", tmp_path / "out.jsonl", "--workers", 3)
    assert done.returncode == 0, done.stderr
    lines = read((tmp_path / "out.jsonl").read_text(encoding="utf-8"))
    assert [line["name"] for line in lines] == ["a.txt", "b.txt", "c.txt"]
    assert [f"The text {name}." in str(line["summary"]) for name, line in zip("abc", lines, strict=True)] == [True] * 3
    assert "/openai/" in provider.received[0].path
    assert "3/3" in done.stderr  # the progress bar


def test_the_texts_that_come_with_it_are_the_default(summarise: Summarise) -> None:
    """Without arguments, the script prints a line for each of its own texts."""
    done = summarise()
    assert [line["name"] for line in read(done.stdout)] == [f"line {number}" for number in range(1, 13)]


def test_failures_are_listed_and_asked_again(summarise: Summarise, provider: Simulator, folder: Path, tmp_path: Path) -> None:
    """A failed text is null, named with its reason, and the only one that a second run asks for."""
    provider.script_for("The text b.", Fault.status(400, "not this one"))
    done = summarise(folder, "--output", tmp_path / "out.jsonl")
    assert done.returncode == 1
    assert [bool(line["summary"]) for line in read((tmp_path / "out.jsonl").read_text(encoding="utf-8"))] == [True, False, True]
    assert "failed: b.txt: " in done.stderr
    assert "not this one" in done.stderr
    again = summarise(folder, "--output", tmp_path / "out.jsonl")
    assert again.returncode == 0
    assert [call.prompt for call in provider.received[3:]] == ["The text b."]


def test_a_missing_key_is_told_in_one_line(summarise: Summarise, folder: Path) -> None:
    """A person reads what to type, and no traceback."""
    done = summarise(folder, "--model", "groq:any")
    assert done.returncode == 1
    assert done.stderr.startswith("summarise: ")
    assert "GROQ_API_KEY" in done.stderr
    assert "Traceback" not in done.stderr
