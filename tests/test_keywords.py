"""Keywords that are written once, and shown whole on every function that takes them."""

from __future__ import annotations

import inspect
import io
import os
import pickle
import pydoc
import subprocess
import sys
import textwrap
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

import pytest

import responder
from responder.values.keywords import parameters_of, parameters_of_method

if TYPE_CHECKING:
    from typing_extensions import Unpack


@dataclass(frozen=True)
class Plan:
    prompts: list[str]
    workers: int
    colour: object


def _plan(prompts: Iterable[str], *, workers: int = 16, colour: object = None) -> Plan:
    """Gather.

    Args:
        prompts: What is asked.
        workers: How many at once.
        colour: Any.
    """
    return Plan(list(prompts), workers, colour)


@parameters_of(_plan)
def count(plan: Plan) -> int:
    """Count the prompts.

    Slowly.

    Returns:
        How many there are.

    Raises:
        ValueError: Never.
    """
    return len(plan.prompts) * plan.workers


class Options(TypedDict, total=False):
    temperature: float


class Machine:
    """Has methods that take the same keywords."""

    def _asked(self, prompts: Iterable[str], *, workers: int = 16, **options: Unpack[Options]) -> tuple[Plan, Options]:
        """Gather.

        Args:
            prompts: What is asked.
            workers: How many at once.
            **options: The model's.
        """
        return _plan(prompts, workers=workers), options

    @parameters_of_method(_asked)
    def map(self, asked: tuple[Plan, Options]) -> str:
        """Ask all."""
        return f"{type(self).__name__}: {asked}"


def test_the_body_gets_what_was_made_of_the_arguments() -> None:
    """By position and by name, defaults filled in."""
    assert count(["a", "b"]) == 32
    assert count(prompts=["a"], workers=3) == 3


def test_a_method_keeps_its_self() -> None:
    """In subclasses, too, and with options of its own."""
    subclass = type("Press", (Machine,), {})
    assert subclass().map(["a"], temperature=0.5) == f"Press: {(Plan(['a'], 16, None), {'temperature': 0.5})}"
    assert Machine().map(prompts=["a"], workers=2) == f"Machine: {(Plan(['a'], 2, None), {})}"


def test_the_signature_is_whole() -> None:
    """Names, types, defaults and the function's own return type."""
    assert str(inspect.signature(count)) == (
        "(prompts: 'Iterable[str]', *, workers: 'int' = 16, colour: 'object' = None) -> 'int'"
    )
    assert str(inspect.signature(Machine().map)) == (
        "(prompts: 'Iterable[str]', *, workers: 'int' = 16, **options: 'Unpack[Options]') -> 'str'"
    )
    assert count.__annotations__["workers"] == "int"
    assert count.__annotations__["return"] == "int"


def test_the_explanations_stand_in_every_docstring() -> None:
    """Between the function's own text and what it returns and raises."""
    assert [part.split("\n")[0] for part in inspect.getdoc(count).split("\n\n")] == [  # type: ignore[union-attr]  # it has a docstring
        "Count the prompts.",
        "Slowly.",
        "Args:",
        "Returns:",
        "Raises:",
    ]
    assert "workers: How many at once." in count.__doc__  # type: ignore[operator]  # it has a docstring
    shown = io.StringIO()
    pydoc.Helper(output=shown).help(Machine)
    assert "map(self, prompts: 'Iterable[str]', *, workers: 'int' = 16" in shown.getvalue()
    assert "**options: The model's." in shown.getvalue()


def test_a_wrong_call_is_refused_under_the_functions_own_name() -> None:
    """Who called `count` hears nothing of `_plan`."""
    with pytest.raises(TypeError, match=r"^count\(\) got an unexpected keyword argument 'wrokers'"):
        count(["a"], wrokers=3)  # type: ignore[call-arg]  # what the test is about
    with pytest.raises(TypeError, match=r"^Machine\.map\(\) missing 1 required positional argument: 'prompts'"):
        Machine().map()  # type: ignore[call-arg]  # what the test is about


def test_it_is_found_where_it_was_defined() -> None:
    """As pickle, Celery and documentation tools find it."""
    assert pickle.loads(pickle.dumps(count)) is count
    assert (count.__name__, count.__module__) == ("count", __name__)


def test_without_docstrings_it_works_all_the_same() -> None:
    """`python -OO` strips them."""
    program = "import responder; print(responder.parallel_map.__doc__, responder.parallel_map(len, ['ab']).values())"
    found = subprocess.run([sys.executable, "-OO", "-c", program], capture_output=True, text=True, check=True)
    assert found.stdout.split() == ["None", "[2]"]


def test_the_maps_over_functions_take_the_same_keywords() -> None:
    """One signature but for what they return, and one explanation of each keyword."""
    maps = [responder.parallel_map, responder.parallel_imap, responder.parallel_imap_unordered]
    signatures = [inspect.signature(one) for one in maps]
    assert len({str(one.replace(return_annotation=None)) for one in signatures}) == 1
    assert [one.return_annotation for one in signatures] == ["ItemBatch[I, V]", *["Run[I, ItemResult[I, V]]"] * 2]
    for one in maps:
        explained = one.__doc__.partition("Args:")[2]  # type: ignore[union-attr]  # it has a docstring
        assert all(f"    {name}: " in explained for name in signatures[0].parameters)


PROGRAM = """
from __future__ import annotations
from collections.abc import Iterable
from typing import TYPE_CHECKING, TypedDict
from responder import Run, ItemBatch, ItemResult, parallel_imap, parallel_map
from responder.values.keywords import parameters_of_method
if TYPE_CHECKING:
    from typing_extensions import Unpack

class Options(TypedDict, total=False):
    temperature: float

class Machine:
    def _asked(self, prompts: Iterable[str], *, workers: int = 16, **options: Unpack[Options]) -> int:
        return workers

    @parameters_of_method(_asked)
    def map(self, asked: int) -> str:
        return str(asked)

batch: ItemBatch[str, int] = parallel_map(len, ["a"], max_workers=2, on_result=lambda result: print(result.item.upper()))
run: Run[str, ItemResult[str, int]] = parallel_imap(function=len, items=["a"], run_deadline=2.5)
parallel_map(len, ["a"], max_wrkers=2)  # wrong
parallel_map(len, [1])  # wrong
parallel_imap(len, ["a"], max_workers="2")  # wrong
text: str = Machine().map(["a"], workers=3, temperature=0.5)
Machine().map(prompts=["a"])
Machine().map(["a"], temprature=0.5)  # wrong
Machine().map(["a"], temperature="x")  # wrong
Machine().map()  # wrong
"""


@pytest.mark.parametrize("checker", ["mypy", "pyright"])
def test_type_checkers_know_every_keyword(checker: str, tmp_path: Path) -> None:
    """Right calls pass, generic ones included; each wrong one is an error in its line."""
    file = tmp_path / "program.py"
    file.write_text(textwrap.dedent(PROGRAM))
    home = Path(responder.__file__).parent.parent
    if checker == "mypy":
        command = [
            "mypy",
            "--strict",
            "--config-file=",
            f"--cache-dir={Path(__file__).parent.parent / '.mypy_cache'}",
            "--follow-imports=silent",
        ]
    else:
        (tmp_path / "pyrightconfig.json").write_text(f'{{"typeCheckingMode": "strict", "extraPaths": ["{home.as_posix()}"]}}')
        command = ["pyright", "--project", str(tmp_path), "--pythonpath", sys.executable]
    command = [sys.executable, "-m", *command, str(file)]
    env = {**os.environ, "MYPYPATH": str(home)}
    found = subprocess.run(command, env=env, capture_output=True, text=True, cwd=tmp_path, check=False)
    wrong = {number for number, line in enumerate(PROGRAM.split("\n"), 1) if line.endswith("# wrong")}
    told = {
        int(line.split("program.py:")[1].split(":")[0])
        for line in found.stdout.split("\n")
        if "error:" in line or "- error" in line
    }
    assert told == wrong, found.stdout + found.stderr
