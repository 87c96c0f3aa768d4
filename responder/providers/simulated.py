"""The simulated provider: answers without a key and without a network, and says so.

It talks to an embedded `responder.simulator`, one for the process, started when the first responder is made.
"""

from __future__ import annotations

import os
import threading
from typing import Any

from responder.providers.openai import OpenAIResponder
from responder.values.messages import Message
from responder.values.options import Options

# As patient as a small, fast model: long enough to show what concurrency gains.
LATENCY = "uniform:0.3:0.9"
TOKENS_PER_SECOND = 60.0

# One lock for each process: in a forked child the parent's may be held by a thread that the child does not have.
_locks: dict[int, threading.Lock] = {}
_running: dict[int, Any] = {}


class SimulatedResponder(OpenAIResponder):
    """A simulated model of any name: `for_model("simulated:demo")`. Its answers quote the prompt."""

    provider = "simulated"
    base_url = ""
    base_url_variables = ()
    key_variables = ()
    key_required = False

    # Every process has a simulator of its own on another port; a checkpoint must find the answers of the run before.
    is_repaired = True

    def first_form(self, messages: tuple[Message, ...], options: Options) -> tuple[str, dict[str, Any]]:
        """Return what a file keeps an answer under: no server, since each simulated one gives the same answers."""
        return "simulated", super().first_form(messages, options)[1]

    def _base_url_of_environment(self) -> str | None:
        return _simulator_url()

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self.base_url = _simulator_url()  # the one it was made with may belong to another process


def _simulator_url() -> str:
    """Return the base URL of this process's simulator; a forked child starts its own."""
    process = os.getpid()
    with _locks.setdefault(process, threading.Lock()):
        if process not in _running:
            from responder.simulator import Simulator

            simulator = Simulator(latency=LATENCY, tokens_per_second=TOKENS_PER_SECOND)
            simulator.start()
            _running[process] = simulator
        return str(_running[process].base_url("openai"))
