"""What a shell completes: commands, options, their values, and files."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from shell import environment

from responder.cli import main
from responder.cli.completion import models_that_begin
from responder.providers import registry

# bash runs the function that the command prints, as it does when a person presses the tab key.
_PRESS_TAB = """
eval "$(_RESPONDER_COMPLETE=bash_source responder)"
press() { COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=(); _responder_completion responder; echo "${COMPREPLY[*]}"; }
press responder ma
press responder map --dr
press responder map --on-error s
press responder ask --model openai : gpt-4o-min
press responder ask '"What is 1:2?"' --model simulated :
press responder ask --model openai : gpt-4o-mini --js
"""


@pytest.mark.timeout(300)  # a program is started for each tab
@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash here")
def test_bash_completes_commands_options_and_their_values(tmp_path: Path) -> None:
    """One tab each, with the line of the documentation and a `responder` on the PATH, as an installation puts it there."""
    command = tmp_path / "responder"
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m responder "$@"\n', encoding="utf-8")
    command.chmod(0o755)
    env = environment(PATH=os.pathsep.join((str(tmp_path), os.environ["PATH"])))
    finished = subprocess.run(["bash", "-c", _PRESS_TAB], env=env, capture_output=True, text=True, timeout=280, check=False)
    *plain, model, demo, option = finished.stdout.splitlines()
    assert plain == ["map", "--dry-run", "stop"], finished.stderr
    # Bash itself has ended a word at each colon, and keeps what is before the last one.
    assert demo == "demo"
    assert option == "--json"
    if importlib.util.find_spec("genai_prices") is not None:
        assert "gpt-4o-mini" in model.split(" ")


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_get_a_program_of_their_own(shell: str) -> None:
    """The program calls the command back for what stands on the line."""
    printed = CliRunner().invoke(main, prog_name="responder", env={"_RESPONDER_COMPLETE": f"{shell}_source"})
    assert f"_RESPONDER_COMPLETE={shell}_complete" in printed.stdout


@pytest.mark.parametrize(
    "words",
    [
        "map ",
        "map questions.txt --out ",
        "map questions.txt --schema ",
        "map questions.txt --report ",
        "embed ",
        "ask --file ",
        "submit ",
        "job ",
    ],
)
def test_files_are_completed_as_the_shell_completes_files(words: str) -> None:
    """Wherever a file is named; else the tab key, which works without our completion, would do nothing any more."""
    count = len(words.split(" "))
    line = {"_RESPONDER_COMPLETE": "bash_complete", "COMP_WORDS": f"responder {words}a", "COMP_CWORD": str(count)}
    assert CliRunner().invoke(main, prog_name="responder", env=line).stdout == "file,a\n"


@pytest.mark.parametrize(
    ("typed", "found"),
    [
        ("ope", ["openai:", "openrouter:"]),
        ("dashs", ["dashscope:"]),
        ("simul", ["simulated:demo"]),
        ("simulated:d", ["simulated:demo"]),
        ("simulated:x", []),
        ("nobody", []),
        ("nobody:m", []),
    ],
)
def test_models_are_completed_by_provider(typed: str, found: list[str]) -> None:
    """Providers that begin so; where there is one, its models."""
    assert models_that_begin(typed) == found
    assert len(models_that_begin("")) == len(registry.all())


def test_models_of_the_price_list_are_completed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Under our names for the providers; without the list, the provider alone is."""
    pytest.importorskip("genai_prices")
    assert "openai:gpt-4o-mini" in models_that_begin("openai:gpt-4o")
    assert "gemini:gemini-2.5-flash" in models_that_begin("gemini:")
    assert all(name.startswith("openai:gpt-4o") and not name.endswith("-") for name in models_that_begin("openai:gpt-4o"))
    monkeypatch.setitem(sys.modules, "genai_prices", None)
    assert models_that_begin("openai:") == []
    assert models_that_begin("openai") == ["openai:"]
