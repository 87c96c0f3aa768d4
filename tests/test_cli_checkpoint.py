"""`responder map --checkpoint --resume`: a run that died is finished, in order, without paying twice. And its limits."""

from __future__ import annotations

import contextlib
import signal
import sqlite3
import time
from pathlib import Path

import pytest
from shell import error_line, records, run, start

from responder.simulator import Fault, Simulator

MODEL = ("--model", "openai:m")
KEPT = ("--checkpoint", "run.db")


@pytest.fixture(autouse=True)
def provider(simulator: Simulator, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Make the simulator the provider of `openai:`, and work in a folder of our own."""
    monkeypatch.setenv("OPENAI_API_KEY", "test-key")
    monkeypatch.setenv("OPENAI_BASE_URL", simulator.base_url("openai"))
    monkeypatch.delenv("RESPONDER_MODEL", raising=False)
    monkeypatch.chdir(tmp_path)


def numbered(count: int) -> str:
    """Write a file of so many prompts and return its name."""
    Path("prompts.txt").write_text("".join(f"prompt {number};\n" for number in range(count)))
    return "prompts.txt"


def contents() -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in Path().iterdir()}


def is_whole(count: int) -> bool:
    """Return whether OUT has a text for each prompt, in order."""
    found = records(Path("out.jsonl").read_text())
    return [record.get("text") for record in found] == [f"Simulated answer to: prompt {number};" for number in range(count)]


def test_a_second_run_asks_nothing_again(simulator: Simulator) -> None:
    """What the checkpoint holds is written without a request; its lines say 0 attempts."""
    assert run("map", numbered(20), *MODEL, *KEPT, "-o", "out.jsonl").exit_code == 0
    result = run("map", "prompts.txt", *MODEL, *KEPT)
    assert result.exit_code == 0
    assert [record["attempts"] for record in records(result.stdout)] == [0] * 20
    assert len(simulator.received) == 20


def test_a_changed_option_is_asked_anew(simulator: Simulator) -> None:
    """Another temperature is another question."""
    run("map", numbered(3), *MODEL, *KEPT)
    run("map", "prompts.txt", *MODEL, *KEPT, "--temperature", 0.5)
    assert len(simulator.received) == 6


def test_only_failed_rows_are_asked_again(simulator: Simulator) -> None:
    """A run with failures is resumed until all rows have an answer."""
    simulator.script_for("prompt 4;", Fault.status(400))
    assert run("map", numbered(10), *MODEL, *KEPT, "-o", "out.jsonl").exit_code == 1
    assert run("map", "prompts.txt", *MODEL, *KEPT, "-o", "out.jsonl", "--resume").exit_code == 0
    assert is_whole(10)
    assert len(simulator.received) == 11


def test_a_killed_run_is_resumed_to_the_whole_output_in_order(simulator: Simulator) -> None:
    """After SIGKILL the same command with --resume gives every row, and asks only what was not finished."""
    simulator.script_for("prompt 60;", Fault.silence())
    arguments = ("map", numbered(120), *MODEL, *KEPT, "-o", "out.jsonl", "--workers", 4)
    process = start(*arguments)
    assert simulator.wait_for(80, timeout=60)
    process.kill()
    process.communicate()
    assert not Path("out.jsonl").exists()
    assert simulator.wait_until_idle()

    resumed = start(*arguments, "--resume")
    output, errors = resumed.communicate(timeout=60)

    assert (resumed.returncode, output, errors) == (0, "", "")
    assert is_whole(120)
    assert len(simulator.received) <= 120 + 4
    assert not Path("out.jsonl.partial").exists()


def test_an_interrupted_run_is_resumed(simulator: Simulator) -> None:
    """So is one that Ctrl-C has ended."""
    simulator.script_for("prompt 10;", Fault.silence())
    arguments = ("map", numbered(20), *MODEL, *KEPT, "-o", "out.jsonl", "--workers", 2)
    process = start(*arguments)
    assert simulator.wait_for(20, timeout=60)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130
    assert run(*arguments, "--resume").exit_code == 0
    assert is_whole(20)
    assert len(simulator.received) <= 22


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--resume",), "--checkpoint FILE"),
        ((*KEPT, "--resume"), "there is no checkpoint run.db"),
        (("--checkpoint", "no/such/folder/run.db"), "no/such/folder/run.db"),
        (("--checkpoint", "."), "checkpoint"),
        (("--checkpoint", "prompts.txt"), "prompts.txt"),
        (("--checkpoint", "other.db"), "not a checkpoint"),
        (("--rpm", "0"), "--rpm must be"),
        (("--tpm", "-5"), "--tpm must be"),
    ],
)
def test_a_mistake_is_one_line_and_nothing_happens(arguments: tuple[str, ...], words: str, simulator: Simulator) -> None:
    """A checkpoint that is not there, not ours or cannot be written: exit code 2, nothing sent, nothing touched."""
    numbered(3)
    with contextlib.closing(sqlite3.connect("other.db")) as connection, connection:
        connection.execute("CREATE TABLE precious (value TEXT)")
    before = contents()
    result = run("map", "prompts.txt", *MODEL, "-o", "out.jsonl", *arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert words in error_line(result)
    assert contents() == before
    assert not simulator.received


def test_a_damaged_checkpoint_costs_no_finished_line(simulator: Simulator) -> None:
    """The lines of the run that died stay in OUT.partial while its checkpoint cannot be read."""
    Path("run.db").write_text("garbage" * 1000)
    Path("out.jsonl.partial").write_text("paid for\n")
    numbered(3)
    before = contents()
    result = run("map", "prompts.txt", *MODEL, *KEPT, "-o", "out.jsonl", "--resume")
    assert result.exit_code == 2
    assert "run.db" in error_line(result)
    assert contents() == before


def test_dedupe_asks_equal_rows_once(simulator: Simulator) -> None:
    """Every row has its line all the same."""
    Path("a.txt").write_text("one\ntwo\n" * 10)
    result = run("map", "a.txt", *MODEL, *KEPT, "--dedupe")
    assert [record["text"][-3:] for record in records(result.stdout)] == ["one", "two"] * 10
    assert len(simulator.received) == 2


def test_rpm_spreads_the_requests(simulator: Simulator) -> None:
    """At 600 a minute, eleven requests take a second, however many workers there are."""
    begin = time.monotonic()
    assert run("map", numbered(11), *MODEL, "--rpm", 600).exit_code == 0
    assert max(request.arrived for request in simulator.received) - begin >= 0.99


def test_tpm_spreads_the_tokens(simulator: Simulator) -> None:
    """A limit of tokens holds calls up whose turn it is not: here the later of the two, for longer than its deadline."""
    result = run("map", numbered(2), *MODEL, "--tpm", 100, "--workers", 2, "--deadline", 3)
    assert result.exit_code == 1
    assert len(simulator.received) == 1
    assert {record.get("error", {}).get("type") for record in records(result.stdout)} == {None, "DeadlineExceededError"}
