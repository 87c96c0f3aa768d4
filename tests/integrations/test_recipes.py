"""The recipes for Ray and Spark, as the page shows them: run where these are installed, each in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec

import pytest
from pages import DOCS, blocks
from shell import environment

from responder.simulator import Simulator

# A conftest leaves this file out where neither is installed.
INSTALLED = [line for package, line in {"ray": "import ray\n", "pyspark": "from pyspark.sql"}.items() if find_spec(package)]


@pytest.mark.parametrize("import_line", INSTALLED)
def test_a_recipe_gives_every_prompt_its_answer_in_order(import_line: str, simulator: Simulator) -> None:
    """The page's own code prints an answer for each prompt."""
    (block,) = [block for block in blocks(DOCS / "beyond_one_process.md", "python") if import_line in block.code]
    code = f"prompts = [f'number {{n}}' for n in range(1000)]\n{block.code}"
    env = environment(OPENAI_API_KEY="k", OPENAI_BASE_URL=simulator.base_url("openai"), PYSPARK_PYTHON=sys.executable)
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [f"Simulated answer to: number {number}" for number in range(1000)]
