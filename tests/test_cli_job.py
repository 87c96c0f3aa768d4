"""`responder submit` and `responder job`: a file of prompts is sent for the night, and its answers are fetched in the morning."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from shell import error_line, run

from responder.simulator import Fault, Simulator

MODEL = ("--model", "openai:m")


@pytest.fixture
def night(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Simulator]:
    """Be the provider of `openai:`, which takes two hours for a batch."""
    monkeypatch.setenv("OPENAI_API_KEY", "test-key")
    monkeypatch.delenv("RESPONDER_MODEL", raising=False)
    monkeypatch.chdir(tmp_path)
    Path("prompts.txt").write_text("one\ntwo\n\nthree\n", encoding="utf-8")
    with Simulator(batch_hours=2) as simulator:
        monkeypatch.setenv("OPENAI_BASE_URL", simulator.base_url("openai"))
        yield simulator


def test_a_night_and_a_morning(night: Simulator) -> None:
    """Sent, looked at, waited for, written, and finished by a map, which asks for nothing that is there."""
    night.script_for("two", Fault.status(400, message="not this"))
    sent = run("submit", "prompts.txt", "--skip-empty", *MODEL, "--checkpoint", "night.db")
    assert sent.exit_code == 0, sent.stderr
    assert sent.stdout.startswith("job-")
    assert "3 prompts in 1 batch" in sent.stderr
    again = run("submit", "prompts.txt", "--skip-empty", *MODEL, "--checkpoint", "night.db")
    assert again.stdout == sent.stdout
    assert run("job", "night.db").stdout == "running\n"
    early = run("job", "night.db", "-o", "out.jsonl")
    assert early.exit_code == 2
    assert "has not ended: add --wait" in early.stderr
    other = run("map", "prompts.txt", "--skip-empty", *MODEL, "--checkpoint", "night.db", "-o", "all.jsonl")
    assert other.exit_code == 2
    assert "wait for it (responder job night.db --wait)" in other.stderr
    night.advance(3)
    done = run("job", "night.db", "--wait", "-o", "out.jsonl", "--price", "1,1")
    assert done.exit_code == 1
    assert done.stdout == "completed\n"
    assert "1 of 3 prompts have no answer; the first is prompt 1" in done.stderr
    lines = [json.loads(line) for line in Path("out.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [line["index"] for line in lines] == [0, 1, 2]
    assert [line["prompt"] for line in lines] == ["one", "two", "three"]
    assert lines[0]["text"] == "Simulated answer to: one"
    assert lines[0]["cost"] > 0
    assert lines[1]["error"]["type"] == "BadRequestError"
    mapped = run("map", "prompts.txt", "--skip-empty", *MODEL, "--checkpoint", "night.db", "-o", "all.jsonl")
    assert mapped.exit_code == 0, mapped.stderr
    assert [request.prompt for request in night.received if request.prompt] == ["two"]


def test_a_table_has_the_prompts(night: Simulator) -> None:
    """CSV, as everywhere."""
    run("submit", "prompts.txt", "--skip-empty", *MODEL, "--checkpoint", "night.db")
    night.advance(3)
    assert run("job", "night.db", "--wait", "-o", "out.csv").exit_code == 0
    with Path("out.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert (rows[0]["prompt"], rows[0]["text"]) == ("one", "Simulated answer to: one")


def test_a_job_is_cancelled(night: Simulator) -> None:
    """What is done stays."""
    run("submit", "prompts.txt", "--skip-empty", *MODEL, "--checkpoint", "night.db")
    done = run("job", "night.db", "--cancel", "--wait", "-o", "-")
    assert done.exit_code == 1
    assert [json.loads(line)["error"]["type"] for line in done.stdout.splitlines()] == ["CancelledError"] * 3


def test_what_is_not_there_is_said(night: Simulator) -> None:
    """One line, and what to type."""
    missing = run("job", "night.db")
    assert missing.exit_code == 2
    assert "responder submit FILE" in error_line(missing)
    assert run("map", "prompts.txt", "--skip-empty", *MODEL, "--checkpoint", "map.db", "-o", "a.jsonl").exit_code == 0
    assert "has no batch job" in error_line(run("job", "map.db"))
    assert run("submit", "prompts.txt", *MODEL).exit_code == 2
