"""`responder demo`: the four jobs run, are compared, and are read well on a narrow terminal."""

from __future__ import annotations

import pytest
from shell import start


@pytest.fixture(scope="module")
def output() -> str:
    """What the quick demo prints; it ends without an error."""
    process = start("demo", "--quick")
    found, errors = process.communicate(timeout=110)
    assert (process.returncode, errors) == (0, "")
    return found


def test_the_demo_runs_the_four_jobs(output: str) -> None:
    """Each job stands in the closing table, job 3 with its three numbers of workers."""
    table = output[output.index("speed-up") : output.index("Now with a real key")]
    for job in ("Gemini on Vertex", "4 prompts, OpenAI", "responder map"):
        assert table.count(job) == 1
    assert table.count("Azure OpenAI") == 3


def test_the_demo_says_that_its_answers_are_simulated(output: str) -> None:
    """Nobody takes the demo for the real thing, and everybody learns how to go on with it."""
    assert "simulated" in output.splitlines()[0]
    assert "export OPENAI_API_KEY=" in output


def test_the_demo_fits_a_terminal_of_80_columns(output: str) -> None:
    """No line is longer than 80 characters, and none has control characters when it is piped."""
    assert max(map(len, output.splitlines())) <= 80
    assert "\x1b" not in output
    assert "\r" not in output
