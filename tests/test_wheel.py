"""What pip installs is whole: all files, all imports, the command, the fixture, the marker of types, and a map that answers.

`make test-wheel` copies this file alone into an empty folder and runs it where nothing but the wheel is installed, with the
simulator's extra, pytest and mypy. It therefore uses nothing of the other tests.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import json
import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

import responder
from responder import OpenAIResponder
from responder.simulator import Fault, Simulator

PACKAGE = Path(responder.__file__).parent

# Where the package's files come from; `make test-wheel` names the checkout.
SOURCE = Path(os.environ.get("RESPONDER_SOURCE", PACKAGE))

# What needs a package that the core does not.
EXTRAS = ("aiohttp", "django", "fastapi", "flask", "gradio", "pandas", "starlette", "streamlit", "celery", "rq", "huey")


def files(folder: Path) -> set[str]:
    """Return what belongs into an installation, relative to the package."""
    return {
        path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts
    }


def modules() -> list[str]:
    """Return the names of all modules that are installed."""
    parts = [Path(name).with_suffix("").parts for name in sorted(files(PACKAGE)) if name.endswith(".py")]
    return [".".join(("responder", *(part for part in path if part != "__init__"))) for path in parts]


def test_what_is_tested_is_what_was_installed() -> None:
    """Away from the checkout, the package is the wheel's."""
    if SOURCE != PACKAGE:
        assert sysconfig.get_path("purelib") in str(PACKAGE)


def test_no_file_is_missing() -> None:
    """Modules, the marker of types, style sheets and templates: all that is in the checkout, and nothing else."""
    assert files(PACKAGE) == files(SOURCE)
    assert "py.typed" in files(PACKAGE)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("name", [name for name in modules() if not name.endswith(("__main__", ".models"))])
def test_a_module_can_be_imported(name: str) -> None:
    """With what its extra installs; without it, the error names the extra to install."""
    try:
        importlib.import_module(name)
    except ImportError as error:
        if not name.startswith("responder.integrations.") or "pip install" not in str(error):
            raise


def test_every_public_name_is_there() -> None:
    """`from responder import *` works."""
    for package in (responder, responder.simulator):
        assert [name for name in package.__all__ if not hasattr(package, name)] == []


def test_the_version_is_that_of_the_installation() -> None:
    """Pip and the program say the same."""
    assert importlib.metadata.version("responder-sdk") == responder.__version__


def test_the_core_installs_no_framework() -> None:
    """Whoever asks for nothing but the package gets neither a web server nor a framework."""
    required = importlib.metadata.requires("responder-sdk") or []
    core = [line for line in required if "extra ==" not in line]
    assert [line for line in core if line.startswith(EXTRAS)] == []


def test_the_command_answers(simulator: Simulator) -> None:
    """`responder ask` in the environment's own folder of programs, with a provider of its dialect behind it."""
    program = Path(sysconfig.get_path("scripts")) / "responder"
    env = {**os.environ, "OPENAI_BASE_URL": simulator.base_url("openai"), "OPENAI_API_KEY": "test-key"}
    command = [str(program), "ask", "-m", "openai:m", "Why?"]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, "Simulated answer to: Why?"), done.stderr


def test_the_module_is_the_command() -> None:
    """`python -m responder models` lists the providers."""
    command = [sys.executable, "-m", "responder", "models"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert all(name in done.stdout for name in ("openai", "azure", "gemini", "vertex", "anthropic"))


def test_a_map_answers_in_order_and_draws_its_report(simulator: Simulator, tmp_path: Path) -> None:
    """Forty prompts, one of them asked twice; the report's style and template are there."""
    simulator.script_for("prompt 7", Fault.status(503, retry_after_ms=1))
    with OpenAIResponder("m", api_key="test-key", base_url=simulator.base_url("openai")) as gpt:
        batch = gpt.map([f"prompt {number}" for number in range(40)], max_workers=8)
    assert batch.texts() == [f"Simulated answer to: prompt {number}" for number in range(40)]
    assert batch[7].attempts == 2
    batch.report(tmp_path / "run.html")
    page = (tmp_path / "run.html").read_text(encoding="utf-8")
    assert "<style>" in page
    assert "Run report: openai:m" in page
    assert "<svg" in page


def test_a_type_checker_reads_the_types(tmp_path: Path) -> None:
    """Mypy takes the package's own annotations, and not Any."""
    pytest.importorskip("mypy")
    (tmp_path / "program.py").write_text("import responder\nreveal_type(responder.for_model('openai:m').answer('Hi').text)\n")
    command = [sys.executable, "-m", "mypy", "--no-incremental", "--follow-imports=silent", str(tmp_path / "program.py")]
    # It finds what was installed by itself, but not what an editable installation points to.
    env = {**os.environ, **({} if "site-packages" in PACKAGE.parts else {"MYPYPATH": str(PACKAGE.parent)})}
    done = subprocess.run(command, env=env, cwd=tmp_path, capture_output=True, text=True, timeout=110, check=False)
    assert 'Revealed type is "str"' in done.stdout, done.stdout + done.stderr


def test_the_command_checks_a_file_before_it_asks(tmp_path: Path, simulator: Simulator) -> None:
    """`responder map` writes a line of JSON for each line of a file."""
    (tmp_path / "prompts.txt").write_text("a\nb\n", encoding="utf-8")
    env = {**os.environ, "OPENAI_BASE_URL": simulator.base_url("openai"), "OPENAI_API_KEY": "test-key"}
    command = [sys.executable, "-m", "responder", "map", "-m", "openai:m", "prompts.txt"]
    done = subprocess.run(command, env=env, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert [json.loads(line)["index"] for line in done.stdout.splitlines()] == [0, 1]
