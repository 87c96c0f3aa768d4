"""The index of what hurts the users of comparable libraries, and of what a library for this job has to pass.

Each row has a test that names the behaviour, marked where it stands: `@pytest.mark.pain(7)`, `@pytest.mark.acceptance(3)`.
"""

from __future__ import annotations

import functools
import re
from pathlib import Path

import pytest

PAINS = {
    1: "a request hangs for ever and freezes the batch",
    2: "the timeout is not a total",
    3: "threads never end, the process will not exit",
    4: "Ctrl-C does not stop",
    5: "one failure destroys the batch",
    6: "a failure looks like None, or is lost",
    7: "order or identity is lost",
    8: "threads that failed together come back together",
    9: "the server's wait is ignored",
    10: "what cannot succeed is repeated",
    11: "retries multiply",
    12: "memory grows",
    13: "connections run out, TLS is set up for each call",
    14: "event loops clash",
    15: "fork breaks clients, clients do not pickle",
    16: "the import takes long",
    17: "dependencies conflict",
    18: "a cut answer is taken for a whole one",
    19: "a blocked or empty answer looks like success",
    20: "a stream breaks in the middle",
    21: "server-sent events are parsed wrongly",
    22: "tokens expire in long runs",
    23: "Azure's URLs and versions are confused",
    24: "proxies and a company's CA are ignored",
    25: "web frameworks: database connections and context are lost in threads",
}

ACCEPTANCE = {
    1: "an input without an end: flat memory, a window pulled ahead",
    2: "ten thousand items with random failures: each result is its own prompt's",
    3: "a server that never answers: the item ends at its deadline, the run goes on, the process exits",
    4: "a byte a second: the deadline still holds",
    5: "one refusal: nobody sends in the time that it names, then a ramp",
    6: "Gemini's wait in the body is obeyed, its quota of the day ends the run",
    7: "Ctrl-C and kill -9: what is finished is kept, the second run pays for the rest",
    8: "cut, blocked, empty and an error inside a 200 are told apart",
    9: "streams cut anywhere, byte by byte",
    10: "fork after use, clients that pickle",
    11: ".netrc, proxies, CA bundles; the key is shown nowhere",
    12: "a light import without threads and sockets",
    13: "inside a running loop, a notebook, a Django view",
    14: "a budget holds, an unknown price is an error",
    15: "attempts at the server are those of the policy",
    16: "600 requests a minute from 50 threads arrive evenly spaced",
    17: "an expired token under 64 threads is refreshed once",
}


# The decorators of a test, a line each or more, and its name.
MARKED = re.compile(r"((?:^@.*\n(?:^[ )\]].*\n)*)+)^def (test_\w+)", re.MULTILINE)


@functools.cache
def marked(mark: str) -> dict[int, list[str]]:
    """Return the names of the tests that are marked with each number."""
    found: dict[int, list[str]] = {}
    for path in sorted(Path(__file__).parent.rglob("test_*.py")):
        for marks, name in MARKED.findall(path.read_text(encoding="utf-8")):
            for number in re.findall(rf"^@pytest\.mark\.{mark}\((\d+)\)$", marks, re.MULTILINE):
                found.setdefault(int(number), []).append(f"{path.name}::{name}")
    return found


@pytest.mark.parametrize("number", PAINS, ids=lambda number: f"{number}: {PAINS[number]}")
def test_each_pain_has_a_test(number: int) -> None:
    """What hurt others is tried here."""
    assert marked("pain").get(number), f"no test is marked with pain({number}): {PAINS[number]}"


@pytest.mark.parametrize("number", ACCEPTANCE, ids=lambda number: f"{number}: {ACCEPTANCE[number]}")
def test_each_line_of_the_acceptance_list_has_a_test(number: int) -> None:
    """What a library for this job has to pass is tried here."""
    assert marked("acceptance").get(number), f"no test is marked with acceptance({number}): {ACCEPTANCE[number]}"


@pytest.mark.parametrize(("mark", "rows"), [("pain", PAINS), ("acceptance", ACCEPTANCE)])
def test_each_mark_has_a_row(mark: str, rows: dict[int, str]) -> None:
    """A number that is not in the index says nothing."""
    assert set(marked(mark)) <= set(rows)
