"""Dask as the engine of a map: a scheduler and workers in processes of their own, of which one is killed."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import threading
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dask
import pytest
from distributed import Client, LocalCluster
from servers import PATIENCE

from responder import CancelledError, CancelToken, OpenAIResponder
from responder.many import engines, lamp
from responder.simulator import Simulator

PROMPTS = [f"number {number}" for number in range(120)]


@pytest.fixture(scope="module")
def dask_client() -> Iterator[Client]:
    """Two workers with two threads each, on loopback, without the profiler."""
    where = {"host": "127.0.0.1", "dashboard_address": "127.0.0.1:0", "worker_dashboard_address": None}
    key = {"OPENAI_API_KEY": "k"}  # also of a worker that takes the place of one that was killed
    with (
        dask.config.set({"distributed.worker.profile.enabled": False}),
        LocalCluster(n_workers=2, threads_per_worker=2, env=key, **where) as cluster,
        Client(cluster) as found,
    ):
        yield found


@pytest.fixture
def gpt() -> Iterator[tuple[OpenAIResponder, Simulator]]:
    """A responder, and a provider that takes a moment."""
    with (
        Simulator(latency=0.05) as simulator,
        OpenAIResponder("m", api_key="k", base_url=simulator.base_url("openai")) as made,
    ):
        yield made, simulator


def test_a_client_of_dask_and_its_executor_run_a_map(dask_client: Client, gpt: tuple[OpenAIResponder, Simulator]) -> None:
    """Results come in order; each worker process makes so many calls at once, whatever threads it has for tasks."""
    model, simulator = gpt
    batch = model.map(PROMPTS, executor=dask_client, max_workers=3, shard_size=10)
    assert [result.text.removeprefix("Simulated answer to: ") for result in batch] == PROMPTS
    assert batch.summary().max_workers == 6
    assert simulator.connections_opened <= 6
    assert [result.index for result in model.imap(PROMPTS, executor=dask_client.get_executor(), max_workers=3)] == list(
        range(120)
    )


def test_a_worker_that_is_killed_loses_no_prompt(dask_client: Client, gpt: tuple[OpenAIResponder, Simulator]) -> None:
    """Dask runs its shards again elsewhere: what was in flight there may be paid twice, and no more."""
    model, simulator = gpt
    victim = next(iter(dask_client.run(os.getpid).values()))

    def kill() -> None:
        assert simulator.wait_for(40, 100)
        os.kill(victim, signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    batch = model.map(PROMPTS, executor=dask_client, max_workers=2, shard_size=10)
    killer.join(PATIENCE)
    assert batch.ok, batch.failures()[0].error
    asked = Counter(request.prompt for request in simulator.received)
    assert len(asked) == 120
    assert sum(asked.values()) - 120 <= 6 * 10


def test_a_cancel_reaches_workers_of_other_machines(
    dask_client: Client, gpt: tuple[OpenAIResponder, Simulator], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Dask itself carries it: their calls in flight end."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(lamp.Lamp, "put_out", lambda self: None)  # a file that is on another machine
    model, simulator = gpt
    simulator.hold(10_000)
    token = CancelToken()
    threading.Thread(target=lambda: simulator.wait_for(4, 100) and token.cancel("enough")).start()
    batch = model.map(PROMPTS, executor=dask_client, max_workers=2, shard_size=10, cancel=token)
    assert Counter(type(result.error) for result in batch) == {CancelledError: 120}
    assert simulator.wait_until_idle()
    assert len(simulator.received) == 4


@pytest.mark.skipif(sys.version_info[:2] != (3, 11), reason="the fault is one of Python 3.11")
def test_the_profiler_that_hangs_python_3_11_is_told_once(
    dask_client: Client, gpt: tuple[OpenAIResponder, Simulator], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The warning says what to switch off."""
    model, _ = gpt
    monkeypatch.setattr(engines, "_has_warned", False)
    dask_client.run(dask.config.set, {"distributed.worker.profile.enabled": True})
    with pytest.warns(RuntimeWarning, match=r"distributed\.worker\.profile\.enabled"):
        model.map(["a"], executor=dask_client)
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        found: Any = model.map(["a"], executor=dask_client)
    assert found.ok
