"""The recipes for Ray and Spark, as the page shows them: run where these are installed, each in a process of its own."""

from __future__ import annotations

import importlib.util
import subprocess
import sys

import pytest
from pages import DOCS, blocks
from shell import environment

from responder.simulator import Simulator


@pytest.mark.parametrize(("package", "import_line"), [("ray", "import ray\n"), ("pyspark", "from pyspark.sql")])
def test_a_recipe_gives_every_prompt_its_answer_in_order(package: str, import_line: str, simulator: Simulator) -> None:
    """The page's own code prints an answer for each prompt."""
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed, and is no part of what the tests need")
    (block,) = [block for block in blocks(DOCS / "beyond_one_process.md", "python") if import_line in block.code]
    code = f"prompts = [f'number {{n}}' for n in range(1000)]\n{block.code}"
    env = environment(OPENAI_API_KEY="k", OPENAI_BASE_URL=simulator.base_url("openai"), PYSPARK_PYTHON=sys.executable)
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [f"Simulated answer to: number {number}" for number in range(1000)]
