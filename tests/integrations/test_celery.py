"""Shards as tasks of Celery: a real worker that forks, a real Redis, and processes of the worker that are killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from redis_server import RedisServer
from servers import PATIENCE
from shell import environment

from responder.integrations.celery import ask_all, collect
from responder.simulator import Simulator

PROMPTS = [f"number {number}" for number in range(160)]

_WORKER = """
import sys
from celery import Celery
from celery.concurrency.asynpool import AsynPool
# Seconds until Celery notices which task a process had that is gone: 5 by default, and it has no setting for that.
AsynPool.timers = property(lambda pool: {pool.maintain_pool: 0.2})
app = Celery("queue", broker=sys.argv[1], backend=sys.argv[1], include=["responder.integrations.celery"])
app.conf.worker_lost_wait = 0.2  # seconds until a task whose process is gone is lost: 10 by default
app.worker_main(["worker", "--pool", "prefork", "-c", "2", "-l", "ERROR", "--prefetch-multiplier", "1",
                 "--without-gossip", "--without-mingle", "--without-heartbeat"])
"""


@dataclass
class Worker:
    """A worker with two processes, and the provider that it asks."""

    pid: int
    provider: Simulator
    redis: RedisServer

    def kill_one(self) -> None:
        """Kill a process of its pool in the middle of its calls."""
        assert self.provider.wait_for(30, 100)
        hold = self.provider.hold(10_000)
        ends = time.monotonic() + PATIENCE
        while self.provider.in_flight < 8:  # both processes, with four calls each
            assert time.monotonic() < ends
            time.sleep(0.005)
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text(encoding="ascii").split()
        os.kill(int(children[0]), signal.SIGKILL)
        hold.release()


@pytest.fixture(scope="module")
def running(redis_of_module: RedisServer) -> Iterator[Worker]:
    """Start the worker once for the module."""
    # A tenth of a second each, so that the kill comes in the middle also where this process is held up.
    with Simulator(latency=0.1) as provider:
        env = environment(OPENAI_API_KEY="k", OPENAI_BASE_URL=provider.base_url("openai"), C_FORCE_ROOT="1")
        command = [sys.executable, "-c", _WORKER, redis_of_module.url]
        process = subprocess.Popen(command, env=env, start_new_session=True)
        try:
            yield Worker(process.pid, provider, redis_of_module)
        finally:
            os.killpg(process.pid, signal.SIGKILL)  # with its children; its own way to end takes five seconds
            process.wait(PATIENCE)


@pytest.fixture
def worker(running: Worker) -> Worker:
    """Give the test the worker, and this process an app that knows its queue."""
    Celery("client", broker=running.redis.url, backend=running.redis.url, set_as_current=True)
    running.provider.clear()
    return running


def asked(worker: Worker) -> Counter[Any]:
    return Counter(request.prompt for request in worker.provider.received)


def texts(results: Any) -> list[str]:
    return [result["text"].removeprefix("Simulated answer to: ") for result in results]


def test_a_worker_that_forks_answers_shards(worker: Worker) -> None:
    """In order, with the traces and the cost of all of its processes as one summary."""
    price = {"input": 1.0, "output": 2.0}
    results = collect(ask_all("openai:m", PROMPTS[:40], size=10, max_workers=4, responder={"price": price}), timeout=100)
    assert texts(results) == PROMPTS[:40]
    assert [result["index"] for result in results] == list(range(40))
    summary = results.summary()
    assert (summary.items, summary.ok, summary.attempts) == (40, 40, 40)
    assert summary.cost == pytest.approx(sum(result["cost"] for result in results))
    assert worker.provider.connections_opened <= 8


def test_a_process_that_is_killed_costs_no_finished_shard(worker: Worker) -> None:
    """What the others have got is kept, and the task that was lost is named, with its prompts."""
    group = ask_all("openai:m", PROMPTS, size=20, max_workers=4)
    worker.kill_one()
    results = collect(group, timeout=100)
    (lost,) = results.unfinished
    assert lost.count == 20
    assert "WorkerLost" in lost.reason or "signal 9" in lost.reason
    assert [result["index"] for result in results if not result["ok"]] == list(range(lost.start, lost.start + 20))
    assert [result["index"] for result in results] == list(range(160))


def test_a_journal_lets_another_process_go_on(worker: Worker) -> None:
    """The shard runs again, and asks only for what is missing: nothing is lost, and only calls in flight are paid twice."""
    group = ask_all("openai:m", PROMPTS, size=20, max_workers=4, journal=worker.redis.url)
    worker.kill_one()
    results = collect(group, timeout=100)
    assert results.unfinished == []
    assert texts(results) == PROMPTS
    found = asked(worker)
    assert len(found) == 160
    assert sum(found.values()) - 160 <= 4
