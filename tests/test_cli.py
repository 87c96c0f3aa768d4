"""The command itself: what it lists, and how each mistake ends."""

from __future__ import annotations

import json
import signal
import subprocess
import sys

import pytest
from shell import environment, error_line, run, start

from responder import __version__
from responder.providers import PROVIDERS


def test_the_version_is_the_packages() -> None:
    """`--version` says which version runs."""
    assert run("--version").stdout.strip().endswith(__version__)


def test_every_command_explains_itself() -> None:
    """`--help` works for the program and for each of its commands."""
    listed = run("--help").stdout
    for name in ("ask", "map", "models", "simulate", "demo"):
        assert name in listed
        assert "Usage:" in run(name, "--help").stdout


def test_the_command_line_starts_without_heavy_modules() -> None:
    """Loading the commands loads no server, no Google library and no progress bar."""
    code = "import sys, responder.cli; print([m for m in ('asyncio', 'aiohttp', 'google.auth', 'tqdm') if m in sys.modules])"
    loaded = subprocess.run([sys.executable, "-c", code], env=environment(), capture_output=True, text=True, check=True)
    assert loaded.stdout.strip() == "[]"


def test_python_m_responder_is_the_command() -> None:
    """`python -m responder` does the same as `responder`."""
    process = start("--version")
    output, _ = process.communicate(timeout=60)
    assert (process.returncode, output) == (0, f"responder, version {__version__}\n")


def test_models_lists_every_provider() -> None:
    """`models` has a line for each provider, with its class."""
    lines = run("models").stdout.splitlines()
    assert [line.split()[0] for line in lines[1:]] == list(PROVIDERS)
    assert "AnthropicResponder" in run("models").stdout


def test_models_says_that_a_key_is_set_and_never_which(monkeypatch: pytest.MonkeyPatch) -> None:
    """A key's variable is shown as set; its value is not shown."""
    before = {row["provider"]: row["set"] for row in json.loads(run("models", "--json").stdout)}
    monkeypatch.setenv("GROQ_API_KEY", "very-private")
    output = run("models").stdout + run("models", "--json").stdout
    after = {row["provider"]: row["set"] for row in json.loads(run("models", "--json").stdout)}
    assert (before["groq"], after["groq"]) == ("no", "yes")
    assert "very-private" not in output


def test_models_shows_another_base_url_without_its_password(monkeypatch: pytest.MonkeyPatch) -> None:
    """The base URL of the environment is shown, what stands before its @ is not."""
    monkeypatch.setenv("OPENAI_BASE_URL", "https://me:private@proxy.example/v1")
    output = run("models").stdout
    assert "https://proxy.example/v1" in output
    assert "private" not in output


def test_an_unknown_command_is_a_usage_error() -> None:
    """A command that does not exist ends with exit code 2."""
    assert run("aks").exit_code == 2


def test_simulate_serves_until_it_is_interrupted() -> None:
    """`simulate` prints its base URLs, and Ctrl-C ends it without a traceback."""
    process = start("simulate", "--port", "0")
    assert process.stderr is not None
    banner = process.stderr.readline()
    process.send_signal(signal.SIGINT)
    _, rest = process.communicate(timeout=60)
    assert banner.startswith("Simulated provider at http://127.0.0.1:")
    assert "Traceback" not in rest
    assert process.returncode == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--latency", "soon"), "soon"),
        (("--error-rate", "7"), "--error-rate 7.0 is not a probability"),
        (("--host", "256.0.0.1"), "cannot listen"),
    ],
)
def test_simulate_refuses_what_makes_no_sense(arguments: tuple[str, ...], words: str) -> None:
    """A setting that makes no sense, or an address that is not ours, is one line and exit code 2."""
    result = run("simulate", "--port", "0", *arguments)
    assert result.exit_code == 2
    assert words in error_line(result)
