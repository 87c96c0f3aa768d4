"""Start an example: `python docs/examples/run.py angles`. Ctrl-C stops it.

Without RESPONDER_MODEL it runs on a simulated provider, which lives in this process and needs no key. With it, on a real one:

    RESPONDER_MODEL=gemini:gemini-2.5-flash python docs/examples/run.py angles
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from responder.simulator import Simulator

HERE = Path(__file__).parent

# Gradio and Streamlit report their use over the internet unless they are told not to; Streamlit opens a browser, too.
QUIET = {
    "GRADIO_ANALYTICS_ENABLED": "False",
    "HF_HUB_OFFLINE": "1",
    "STREAMLIT_BROWSER_GATHER_USAGE_STATS": "false",
    "STREAMLIT_SERVER_HEADLESS": "true",
    "STREAMLIT_CLIENT_TOOLBAR_MODE": "minimal",
}


@dataclass(frozen=True)
class Example:
    """How an example is started.

    Attributes:
        folder: Where it runs, below this folder.
        commands: Its programs, for a port; the page is at that port.
        port: The port when none is given; None: a script, without a page.
        models: What RESPONDER_MODEL is on the simulated provider.
        reply: What the simulated provider answers; None: a quote of the prompt.
    """

    folder: str
    commands: Callable[[int], list[list[str]]]
    port: int | None
    models: str
    reply: Callable[[str], str] | None = None


# What a simulated model goes on with. A sentence each, so that an answer of some of them reads like one.
_SENTENCES = (
    "A real model would begin with the point that matters most.",
    "Then it would give an example, because an example stays in the mind longer than a rule.",
    "This sentence stands in for a second reason, weaker than the first and still worth a line.",
    "Here it would name what speaks against all that, and say why it is not convinced.",
    "A number, a name or a date would fit in this place.",
    "The words keep coming at the pace of a small and friendly model.",
    "Nothing of this has left your machine, and nothing of it is billed.",
    "To see a true answer here, set RESPONDER_MODEL and start the example again.",
    "What follows from it would be drawn together in a sentence like this one.",
)


def essay(prompt: str) -> str:
    """Return a simulated answer that is long enough to be watched; the same one for the same prompt."""
    chance = random.Random(prompt)
    number = 1 if "one sentence" in prompt else chance.randint(4, 7)
    chosen = sorted(chance.sample(range(len(_SENTENCES)), number))
    return f"Simulated answer to: {prompt}\n\n{' '.join(_SENTENCES[index] for index in chosen)}"


def _gunicorn(app: str, port: int) -> list[str]:
    # A thread for each open stream; gunicorn's default worker would serve one reader at a time.
    threads = ["--worker-class", "gthread", "--threads", "32", "--graceful-timeout", "1", "--log-level", "warning"]
    return [sys.executable, "-m", "gunicorn", app, "--bind", f"127.0.0.1:{port}", "--no-control-socket", *threads]


def _chat(port: int) -> list[list[str]]:
    service = ["-m", "uvicorn", "service:app", "--port", str(port + 1), "--log-level", "warning"]
    page = ["-m", "streamlit", "run", "page.py", "--server.address", "127.0.0.1", "--server.port", str(port)]
    return [[sys.executable, *service, "--timeout-graceful-shutdown", "1"], [sys.executable, *page]]


EXAMPLES = {
    "angles": Example("angles", lambda _: [[sys.executable, "gradio_app.py"]], 7860, "openai:simulated", essay),
    "angles-django": Example("angles", lambda port: [_gunicorn("django_app:wsgi", port)], 8000, "openai:simulated", essay),
    "chat": Example("chat", _chat, 8501, "gemini:simulated", essay),
    "summarise": Example("summarise", lambda _: [[sys.executable, "summarise.py"]], None, "azure:simulated"),
    # The last one does not exist, so that the page has a failure to show.
    "django-site": Example(
        "django_site",
        lambda port: [_gunicorn("project.wsgi:application", port)],
        8000,
        "openai:simulated,gemini:simulated,anthropic:simulated,azure:retired",
        essay,
    ),
}


def environment(name: str, port: int | None, simulator: Simulator | None) -> dict[str, str]:
    """Return the environment that an example runs in.

    Args:
        name: The example's.
        port: Where its page is.
        simulator: The provider that it asks, in place of whatever RESPONDER_MODEL names; None: a real one.
    """
    found = {**os.environ, **QUIET, "PYTHONUNBUFFERED": "1"}
    if port is not None:
        found |= {"GRADIO_SERVER_PORT": str(port), "CHAT_SERVICE": f"http://127.0.0.1:{port + 1}"}
    if simulator is not None:
        found |= {
            "RESPONDER_MODEL": EXAMPLES[name].models,
            "OPENAI_BASE_URL": simulator.base_url("openai"),
            "GOOGLE_GEMINI_BASE_URL": simulator.base_url("gemini"),
            "ANTHROPIC_BASE_URL": simulator.base_url("anthropic"),
            "AZURE_OPENAI_ENDPOINT": simulator.base_url("azure"),
        }
        for provider in ("OPENAI", "GEMINI", "ANTHROPIC", "AZURE_OPENAI"):
            found[f"{provider}_API_KEY"] = "simulated"
    return found


def start(name: str, port: int | None, simulator: Simulator | None, more: list[str]) -> list[subprocess.Popen[bytes]]:
    """Start an example's programs; `more` are arguments for the last one."""
    example = EXAMPLES[name]
    *others, last = example.commands(port or 0)
    env = environment(name, port, simulator)
    return [subprocess.Popen(command, cwd=HERE / example.folder, env=env) for command in (*others, [*last, *more])]


def stop(programs: list[subprocess.Popen[bytes]]) -> None:
    """End programs that run, and wait for them."""
    for program in programs:
        program.terminate()
    for program in programs:
        program.wait()


def main() -> int:
    """Run an example until one of its programs ends, or Ctrl-C."""
    parser = argparse.ArgumentParser(description="Start an example; further arguments are handed to it.")
    parser.add_argument("name", choices=EXAMPLES)
    parser.add_argument("--port", type=int, help="where its page is")
    given, more = parser.parse_known_args()
    example = EXAMPLES[given.name]
    port = example.port and (given.port or example.port)
    simulator = None
    if not os.environ.get("RESPONDER_MODEL"):
        models = ["simulated"]
        simulator = Simulator(latency="uniform:0.3:0.9", tokens_per_second="uniform:15:40", reply=example.reply, models=models)
        simulator.start()
    programs: list[subprocess.Popen[bytes]] = []
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # stops everything, as Ctrl-C does
    try:
        programs = start(given.name, port, simulator, more)
        if port is not None:
            provider = "a simulated provider (RESPONDER_MODEL is not set)" if simulator else os.environ["RESPONDER_MODEL"]
            print(f"\n  {given.name}: open http://127.0.0.1:{port}\n  Answers come from {provider}. Ctrl-C stops it.\n")
        while all(program.poll() is None for program in programs):
            time.sleep(0.2)
        return next(code for program in programs if (code := program.poll()) is not None)
    except KeyboardInterrupt:
        return 130
    finally:
        stop(programs)
        if simulator is not None:
            simulator.stop()


if __name__ == "__main__":
    sys.exit(main())
