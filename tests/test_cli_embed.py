"""`responder embed`: every text gets its vector, in order, and the file is whole or not there."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from shell import environment, error_line, run, start

from responder.simulator import Fault, Simulator

np = pytest.importorskip("numpy")
MODEL = ("--model", "openai:m", "--dimensions", "8")


@pytest.fixture(autouse=True)
def provider(simulator: Simulator, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Make the simulator the provider of `openai:`, and work in a folder of our own."""
    monkeypatch.setenv("OPENAI_API_KEY", "test-key")
    monkeypatch.setenv("OPENAI_BASE_URL", simulator.base_url("openai"))
    monkeypatch.delenv("RESPONDER_MODEL", raising=False)
    monkeypatch.chdir(tmp_path)
    Path("corpus.txt").write_text("a cat\na dog\na ship\n", encoding="utf-8")


def test_writes_what_numpy_reads() -> None:
    """An array of float32, a row for each text."""
    done = run("embed", "corpus.txt", *MODEL, "-o", "vectors.npy")
    assert done.exit_code == 0, done.stderr
    found = np.load("vectors.npy")
    assert (found.shape, found.dtype) == ((3, 8), np.float32)
    assert np.allclose(np.linalg.norm(found, axis=1), 1)
    assert not Path("vectors.npy.partial").exists()


def test_all_formats_hold_the_same_vectors() -> None:
    """A table in Parquet, JSON lines in a file, and on standard output."""
    parquet = pytest.importorskip("pyarrow.parquet")
    Path("corpus.csv").write_text("id,text\n7,a cat\n8,a dog\n", encoding="utf-8")
    for name in ("v.npy", "v.parquet", "v.jsonl"):
        assert run("embed", "corpus.csv", *MODEL, "-o", name).exit_code == 0
    matrix = np.load("v.npy")
    lines = [json.loads(line) for line in Path("v.jsonl").read_text().splitlines()]
    printed = [json.loads(line) for line in run("embed", "corpus.csv", *MODEL).stdout.splitlines()]
    table = parquet.read_table("v.parquet").to_pylist()
    assert lines == printed
    assert [(line["index"], line["line"], line["id"]) for line in lines] == [(0, 2, "7"), (1, 3, "8")]
    assert np.array_equal(np.array([line["embedding"] for line in lines], dtype=np.float32), matrix)
    assert np.array_equal(np.array([row["embedding"] for row in table], dtype=np.float32), matrix)
    assert [row["id"] for row in table] == ["7", "8"]


def test_a_text_that_fails_is_a_row_of_nan(simulator: Simulator) -> None:
    """The others are there; the exit code and a line on standard error say so."""
    simulator.script_for("a dog", *[Fault.status(400)] * 3)
    done = run("embed", "corpus.txt", *MODEL, "-o", "vectors.npy")
    assert done.exit_code == 1
    assert "1 of 3 texts have no vector; the first is 1" in done.stderr
    assert np.isnan(np.load("vectors.npy")).all(axis=1).tolist() == [False, True, False]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("-o", "vectors.txt"), ".npy, .parquet, .jsonl"),
        (("-o", "there.npy"), "--overwrite"),
        (("-o", "no/folder.npy"), "no folder"),
        (("--run-deadline", "0"), "--run-deadline"),
    ],
)
def test_says_before_anything_is_sent_what_is_wrong(simulator: Simulator, arguments: tuple[str, ...], words: str) -> None:
    """With exit code 2."""
    Path("there.npy").write_text("")
    done = run("embed", "corpus.txt", *MODEL, *arguments)
    assert done.exit_code == 2
    assert words in error_line(done)
    assert simulator.received == []


def test_refuses_a_provider_without_embeddings(monkeypatch: pytest.MonkeyPatch) -> None:
    """In one line."""
    monkeypatch.setenv("ANTHROPIC_API_KEY", "k")
    done = run("embed", "corpus.txt", "--model", "anthropic:m")
    assert done.exit_code == 2
    assert "anthropic has no embeddings" in error_line(done)


def test_what_fails_every_text_is_one_line_and_leaves_no_file(simulator: Simulator) -> None:
    """A wrong key or model: no array of NaN, and the words are the shell's."""
    for status in (401, 404):
        simulator.always(Fault.status(status))
        done = run("embed", "corpus.txt", *MODEL, "-o", "vectors.npy")
        assert done.exit_code == 1
        assert error_line(done).startswith("Error: AuthenticationError" if status == 401 else "Error: NotFoundError")
        assert "base_url" not in done.stderr
        assert [path.name for path in Path().iterdir()] == ["corpus.txt"]


def test_a_closed_standard_output_is_reported_before_anything_is_paid_for(simulator: Simulator) -> None:
    """In one line."""
    command = ["sh", "-c", 'exec "$@" >&-', "sh", sys.executable, "-m", "responder", "embed", "corpus.txt", *MODEL]
    done = subprocess.run(command, capture_output=True, text=True, env=environment(), timeout=60, check=False)
    assert (done.returncode, done.stderr) == (2, "Error: standard output is closed: there is nowhere to print the answer\n")
    assert simulator.received == []


def test_ctrl_c_leaves_what_is_finished_and_the_checkpoint_pays_once(simulator: Simulator) -> None:
    """The same command asks only for the rest."""
    Path("first.txt").write_text("a cat\n", encoding="utf-8")
    options = (*MODEL, "--batch-size", "1", "--workers", "1", "--checkpoint", "c.db", "-o", "v.npy", "--overwrite")
    assert run("embed", "first.txt", *options).exit_code == 0
    simulator.clear()
    simulator.hold(2)
    child = start("embed", "corpus.txt", *options)
    assert simulator.wait_for(1, 60)
    child.send_signal(signal.SIGINT)
    _, errors = child.communicate(timeout=60)
    assert child.returncode == 130
    assert "Interrupted: v.npy.partial has 1 of 3 vectors; the same command with --resume asks only for the rest" in errors
    assert "no vector" not in errors
    assert np.isnan(np.load("v.npy.partial")).any(axis=1).tolist() == [False, True, True]
    simulator.clear()
    done = run("embed", "corpus.txt", *options[:-1], "--resume")
    assert done.exit_code == 0, done.stderr
    assert not np.isnan(np.load("v.npy")).any()
    assert [request.body["input"] for request in simulator.received] == [["a dog"], ["a ship"]]
