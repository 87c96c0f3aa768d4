"""The index of what hurts the users of comparable libraries: each row has a test that names the behaviour.

The rows, in a few words, as far as this package answers them today. A test is marked with the row's number where it stands:
`@pytest.mark.pain(7)`.
"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROWS = {
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


def marked() -> dict[int, list[str]]:
    """Return the names of the tests that are marked with each number."""
    found: dict[int, list[str]] = {}
    for path in sorted(Path(__file__).parent.rglob("test_*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                for mark in node.decorator_list:
                    if isinstance(mark, ast.Call) and ast.unparse(mark.func) == "pytest.mark.pain":
                        found.setdefault(ast.literal_eval(mark.args[0]), []).append(f"{path.name}::{node.name}")
    return found


@pytest.mark.parametrize("number", ROWS, ids=lambda number: f"{number}: {ROWS[number]}")
def test_each_row_has_a_test(number: int) -> None:
    """What hurt others is tried here."""
    assert marked().get(number), f"no test is marked with pain({number}): {ROWS[number]}"


def test_each_mark_has_a_row() -> None:
    """A number that is not in the index says nothing."""
    assert set(marked()) <= set(ROWS)
