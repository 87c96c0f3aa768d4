"""How an example is started: one command, on the simulated provider or on a real one."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest
import urllib3
from apps.conftest import EXAMPLES, free_port, run, wait_until_served
from shell import environment

from responder.simulator import Simulator


def start(*arguments: str, **more: str) -> subprocess.Popen[str]:
    """Run the command that `make` runs."""
    return subprocess.Popen(
        [sys.executable, str(EXAMPLES / "run.py"), *arguments],
        env={**environment(), "RESPONDER_MODEL": "", **more},
        stdout=subprocess.PIPE,
        text=True,
        # A test run in the background of a shell has Ctrl-C ignored, and children inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )


def test_one_command_starts_page_and_provider_and_ctrl_c_stops_them() -> None:
    """The page answers without a key; after Ctrl-C nothing listens any more."""
    port = free_port()
    program = start("angles-django", "--port", str(port))
    try:
        url = f"http://127.0.0.1:{port}"
        wait_until_served(url)
        answers = urllib3.request("GET", f"{url}/answers?question=Why,+in+one+sentence?", timeout=30)
        assert b"Simu" in answers.data
        assert b"event: done" in answers.data
        program.send_signal(signal.SIGINT)
        said, _ = program.communicate(timeout=30)
    finally:
        program.kill()
        program.communicate()
    assert program.returncode == 130
    assert f"open {url}" in said
    assert "simulated provider" in said
    with pytest.raises(urllib3.exceptions.MaxRetryError):
        urllib3.request("GET", url, retries=0)


def test_a_script_hands_on_its_exit_code(tmp_path: Path) -> None:
    """`summarise` gets what is typed after its name, and its own exit code comes out."""
    (tmp_path / "a.txt").write_text("A text.", encoding="utf-8")
    good = start("summarise", str(tmp_path))
    said, _ = good.communicate(timeout=60)
    assert (good.returncode, "A text." in said) == (0, True)
    bad = start("summarise", str(tmp_path), "--model", "groq:any")
    bad.communicate(timeout=60)
    assert bad.returncode == 1


def test_one_variable_leads_to_a_real_provider(tmp_path: Path) -> None:
    """With RESPONDER_MODEL set, no simulated provider is started, and the model's own address and key are used."""
    (tmp_path / "a.txt").write_text("A text.", encoding="utf-8")
    with Simulator() as elsewhere:
        reached = {"OPENAI_BASE_URL": elsewhere.base_url("openai"), "OPENAI_API_KEY": "key-of-the-test"}
        program = start("summarise", str(tmp_path), RESPONDER_MODEL="openai:my-model", **reached)
        program.communicate(timeout=60)
        assert [call.body["model"] for call in elsewhere.received] == ["my-model"]


def test_every_example_has_a_make_target() -> None:
    """`make NAME` runs each of them."""
    makefile = (EXAMPLES.parents[1] / "Makefile").read_text(encoding="utf-8")
    assert [name for name in run.EXAMPLES if f"\n{name}:" not in makefile] == []
