"""What do other processes cost: order, connections, CPU of the client, what is paid twice when a worker is killed?

The same prompts through two processes with 32 workers each: a process pool, Dask and Celery (over Redis), beside one process
with 64 threads. Their processes run, and have imported what they need, before the clock starts. Then a worker is killed in
the middle, with and without a journal; and a generator of many prompts goes through `imap`, which must stay in flat memory.

Expected of `responder`: within 1.1 times the ideal (a pool of processes, which does one shard after another: 1.2), 66
connections, 100 us of the client's CPU a prompt, and every answer in its place.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any

import harness
from harness import (
    CONNECTIONS,
    CPU,
    IDEAL_RATIO,
    MEMORY,
    OUTPUT_TOKENS,
    SERVER,
    WALL,
    WRONG,
    Contender,
    Job,
    Outcome,
    Reply,
    Report,
    Run,
)

PROCESSES = 2
WORKERS = 32
CONNECTIONS_AT_MOST = PROCESSES * WORKERS + 2

_CELERY = """
import sys
from celery import Celery
app = Celery("benchmark", broker=sys.argv[1], backend=sys.argv[1], include=["responder.integrations.celery"])
app.worker_main(["worker", "--pool", "prefork", "-c", "2", "-l", "ERROR", "--prefetch-multiplier", "1", "--without-gossip",
                 "--without-mingle", "--without-heartbeat"])
"""


def model_of(job: Job) -> Any:
    import responder.call.endpoint  # noqa: F401 - loaded with the first responder; nobody's imports are on the clock
    from responder import OpenAIResponder

    os.environ["OPENAI_API_KEY"] = "benchmark-key"
    return OpenAIResponder("benchmark", base_url=f"{job.url}/v1")


def warm(_: int) -> int:
    """Import in a worker what a shard needs."""
    importlib.import_module("responder.call.endpoint")
    importlib.import_module("responder.many.shards")
    importlib.import_module("responder.providers")
    time.sleep(0.2)  # so that each process gets one
    return os.getpid()


def replies(results: Any) -> list[Reply | BaseException | None]:
    return [Reply(r.text, r.answer.usage.output_tokens) if r.ok else r.error for r in results]


@contextlib.contextmanager
def redis_server() -> Iterator[str]:
    """Run a Redis that keeps nothing on disk."""
    with socket.create_server(("127.0.0.1", 0)) as found:
        port = found.getsockname()[1]
    command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        ends = time.monotonic() + 10
        while time.monotonic() < ends:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                break
            time.sleep(0.02)
        yield f"redis://127.0.0.1:{port}/0"
    finally:
        process.kill()
        process.wait()


def dask_client() -> Any:
    import dask
    from distributed import Client, LocalCluster

    dask.config.set({"distributed.worker.profile.enabled": False})  # it can hang CPython 3.11 (gh-106883)
    where = {"host": "127.0.0.1", "dashboard_address": "127.0.0.1:0", "worker_dashboard_address": None}
    cluster = LocalCluster(n_workers=PROCESSES, threads_per_worker=2, **where)
    client = Client(cluster)
    client.run(warm, 0)
    return client


def pool_of_processes() -> ProcessPoolExecutor:
    pool = ProcessPoolExecutor(PROCESSES, mp_context=get_context("forkserver"))
    list(pool.map(warm, range(PROCESSES)))
    return pool


def kill_in_the_middle(job: Job, victim: Callable[[], int]) -> None:
    """Kill a process when a third of the prompts have arrived."""

    def watch() -> None:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        while True:
            with opener.open(f"{job.url}/stats", timeout=10) as reply:
                if json.load(reply)["requests"] > job.calls / 3:
                    break
            time.sleep(0.02)
        os.kill(victim(), signal.SIGKILL)

    threading.Thread(target=watch, daemon=True).start()


def threads(job: Job) -> Callable[[], Outcome]:
    model = model_of(job)
    return lambda: Outcome(replies(model.map(job.prompts(), max_workers=job.workers)))


def pool(job: Job) -> Callable[[], Callable[[], Outcome]]:
    model, executor = model_of(job), pool_of_processes()

    def run() -> Callable[[], Outcome]:
        found = model.map(job.prompts(), executor=executor, max_workers=WORKERS)

        def end() -> Outcome:
            executor.shutdown()
            return Outcome(replies(found))

        return end

    return run


def killed(job: Job, journal: bool) -> Callable[[], Callable[[], Outcome]]:
    model = model_of(job)
    made = [pool_of_processes()]
    stack = contextlib.ExitStack()
    url = stack.enter_context(redis_server()) if journal else None

    def next_pool() -> ProcessPoolExecutor:
        executor = made.pop() if made else pool_of_processes()
        used.append(executor)
        return executor

    used: list[ProcessPoolExecutor] = []

    def run() -> Callable[[], Outcome]:
        kill_in_the_middle(job, lambda: next(iter(used[0]._processes)))
        found = model.map(job.prompts(), executor=next_pool, max_workers=WORKERS, journal=url)

        def end() -> Outcome:
            stack.close()
            return Outcome(replies(found))

        return end

    return run


def dask(job: Job, kills: bool = False) -> Callable[[], Callable[[], Outcome]]:
    model, client = model_of(job), dask_client()

    def run() -> Callable[[], Outcome]:
        if kills:
            victim = next(iter(client.run(os.getpid).values()))
            kill_in_the_middle(job, lambda: victim)
        found = model.map(job.prompts(), executor=client, max_workers=WORKERS)

        def end() -> Outcome:
            client.shutdown()
            return Outcome(replies(found))

        return end

    return run


def celery(job: Job) -> Callable[[], Callable[[], Outcome]]:
    from celery import Celery

    from responder.integrations.celery import ask_all, collect

    stack = contextlib.ExitStack()
    url = stack.enter_context(redis_server())
    app = Celery("benchmark", broker=url, backend=url, set_as_current=True)
    env = {**os.environ, "OPENAI_API_KEY": "benchmark-key", "OPENAI_BASE_URL": f"{job.url}/v1", "C_FORCE_ROOT": "1"}
    worker = subprocess.Popen([sys.executable, "-c", _CELERY, url], env=env, start_new_session=True)
    while not app.control.ping(timeout=0.5):
        pass

    def run() -> Callable[[], Outcome]:
        found = collect(ask_all("openai:benchmark", job.prompts(), size=512, max_workers=WORKERS))

        def end() -> Outcome:
            os.killpg(worker.pid, signal.SIGKILL)
            stack.close()
            return Outcome(
                [Reply(r["text"], r["usage"]["output_tokens"]) if r["ok"] else ValueError(r["error"]["message"]) for r in found]
            )

        return end

    return run


def many(job: Job, over_dask: bool = False) -> Callable[[], Outcome]:
    """Read a generator through `imap`; the scheduler of Dask is in this process, so that its memory counts, too."""
    model = model_of(job)
    executor = dask_client() if over_dask else pool_of_processes()

    def run() -> Outcome:
        wrong = early = late = 0.0
        prompts = (f"What is special about item {index}?" for index in range(job.calls))
        count = 0
        for result in model.imap(prompts, executor=executor, max_workers=WORKERS):
            mine = (
                result.ok
                and result.answer.text.startswith(f"item {count}:")
                and result.answer.usage.output_tokens == OUTPUT_TOKENS
            )
            wrong += not mine or result.index != count
            count += 1
            if count % max(1, job.calls // 100) == 0:
                late = max(late, harness.resident_memory())
                early = late if count <= job.calls // 10 else early
        executor.shutdown()
        return Outcome(None, {"wrong": wrong + job.calls - count, "growth": late - early})

    return run


CONTENDERS = {
    "threads": Contender("one process, 64 threads", ("responder",), threads),
    "pool": Contender("ProcessPoolExecutor", ("responder",), pool),
    "dask": Contender("Dask", ("responder", "distributed"), dask),
    "celery": Contender("Celery, Redis", ("responder", "celery", "redis"), celery),
    "pool_killed": Contender("ProcessPoolExecutor, killed", ("responder",), lambda job: killed(job, journal=False)),
    "pool_journal": Contender("the same, with a journal", ("responder", "redis"), lambda job: killed(job, journal=True)),
    "dask_killed": Contender("Dask, killed", ("responder", "distributed"), lambda job: dask(job, kills=True)),
    "many": Contender("imap over a pool", ("responder",), many),
    "many_dask": Contender("imap over Dask", ("responder", "distributed"), lambda job: many(job, over_dask=True)),
}

NEED_REDIS = {"celery", "pool_journal"}


def main() -> int:
    options = harness.parser(__doc__)
    options.add_argument("--calls", type=int, help="prompts of 50 ms (20,000; quick: 2,000)")
    options.add_argument("--items", type=int, help="prompts of the generator (100,000; quick: 5,000)")
    arguments = harness.parse(options)
    calls = arguments.calls or (2_000 if arguments.quick else 20_000)
    items = arguments.items or (5_000 if arguments.quick else 100_000)
    report = Report("What do other processes cost, and what is paid twice when one of them is killed?", arguments)

    def runs(names: tuple[str, ...], job: Job) -> list[Run]:
        found = [name for name in harness.chosen(arguments, names) if shutil.which("redis-server") or name not in NEED_REDIS]
        return [Run("cluster", name, job) for name in found]

    twice = ("paid twice", lambda row: f"{row['requests'] - row.run.job.calls:.0f}")
    job = Job(calls, PROCESSES * WORKERS, 0.05)
    rows = report.measure(runs(("threads", "pool", "dask", "celery"), job))
    title = f"{calls:,} calls of 50 ms by 2 processes x 32 workers (ideal {job.ideal:.2f} s)"
    harness.show(title, rows, [WALL, IDEAL_RATIO, CPU, MEMORY, CONNECTIONS, twice, WRONG, SERVER])
    killed_job = Job(calls // 4, PROCESSES * WORKERS, 0.05)
    lost = report.measure(runs(("pool_killed", "pool_journal", "dask_killed"), killed_job))
    harness.show(f"{calls // 4:,} of them, a process killed in the middle", lost, [WALL, IDEAL_RATIO, twice, WRONG, SERVER])
    streamed = report.measure(runs(("many", "many_dask"), Job(items, PROCESSES * WORKERS, 0.01)))
    grown = ("grown MB", lambda row: f"{row['growth']:.1f}")
    harness.show(f"A generator of {items:,} prompts of 10 ms", streamed, [WALL, CPU, MEMORY, grown, WRONG, SERVER])

    for name, limit in (("pool", 1.2), ("dask", 1.1), ("celery", 1.1)):
        row = harness.find(rows, name)
        report.goal(f"{name}: wall to ideal", row and row["wall"] / row.run.job.ideal, limit)
        report.goal(f"{name}: connections", row and row["connections"], CONNECTIONS_AT_MOST)
        report.goal(f"{name}: CPU of the client a prompt", row and row["cpu_per_call"] * 1e6, 100, unit=" us")
    for name, limit in (("pool_killed", 2 * 256), ("pool_journal", PROCESSES * WORKERS), ("dask_killed", 3 * 256)):
        row = harness.find(lost, name)
        report.goal(f"{name}: paid twice", row and row["requests"] - row.run.job.calls, limit)
    for name, whose in (("many", "the client"), ("many_dask", "client and scheduler")):
        row = harness.find(streamed, name)
        report.goal(f"{name}: peak memory of {whose}", row and row["peak_memory"], 250, unit=" MB")
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())
