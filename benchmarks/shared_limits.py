"""How exactly do several processes keep one limit, through Redis and through a file?

Two and four processes of 32 threads map prompts of 50 ms together, with 100 and 500 requests a second allowed to all of
them. Then Redis is killed in mid-run; a process with all the places is killed; and one process is told to wait.

Expected: within 2% of the limit, at most one round trip to Redis for a prompt, at most 100 us of CPU a prompt more than
with a file; without Redis at most 105% of the limit and no error; the places of a killed process back within the lease of
5 s; a pause in all processes within 0.2 s.
"""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import harness
from harness import Job, Report

THREADS = 32
LATENCY = 0.05


class Redis:
    """A server on a free port of loopback, which keeps nothing."""

    def __init__(self, folder: str) -> None:
        with socket.create_server(("127.0.0.1", 0)) as found:
            self.port = found.getsockname()[1]
        self.url = f"redis://127.0.0.1:{self.port}/0"
        options = ["--port", str(self.port), "--bind", "127.0.0.1", "--dir", folder, "--save", "", "--appendonly", "no"]
        self.process = subprocess.Popen(["redis-server", *options], stdout=subprocess.DEVNULL)
        for _ in range(1000):
            with suppress(OSError), socket.create_connection(("127.0.0.1", self.port)):
                return
            time.sleep(0.01)
        raise SystemExit("the Redis server does not start")

    def trips(self) -> int:
        """How many steps of shared limits it has made."""
        import redis

        stats = redis.Redis.from_url(self.url).info("commandstats")
        return sum(stats.get(f"cmdstat_{name}", {"calls": 0})["calls"] for name in ("evalsha", "eval"))

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


class Worker:
    """A process of this script: `mapping`, `holding` or `starting`, which prints a line when it is ready and one at its end."""

    def __init__(self, task: str, **settings: Any) -> None:
        self.process = subprocess.Popen(
            [sys.executable, __file__, task, json.dumps(settings)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self._in, self._out = self.process.stdin, self.process.stdout
        self.hear()

    def hear(self) -> Any:
        return json.loads(self._out.readline())

    def go(self) -> None:
        self._in.write("\n")
        self._in.flush()


def say(value: Any) -> None:
    print(json.dumps(value), flush=True)


# ---- what the processes do -----------------------------------------------------------------------------------------


def mapping(url: str, store: str, rate: float, prompts: int) -> None:
    """Map prompts, and say when each was finished, what CPU it took, and how many failed."""
    from responder import Limits, OpenAIResponder

    model = OpenAIResponder(
        "benchmark", api_key="benchmark-key", base_url=f"{url}/v1", limits=Limits(requests_per_minute=60 * rate, store=store)
    )
    moments: list[float] = []
    say("ready")
    sys.stdin.readline()
    cpu = time.process_time()
    batch = model.map(
        [f"item {number}" for number in range(prompts)],
        max_workers=THREADS,
        on_result=lambda _: moments.append(time.monotonic()),
        progress=False,
    )
    say({"moments": moments, "cpu": time.process_time() - cpu, "failed": sum(not result.ok for result in batch)})


def holding(store: str, places: int) -> None:
    """Take all places and keep them."""
    from responder import Limits
    from responder.pace.governor import Governor
    from responder.values.deadline import NEVER

    governor = Governor(Limits(max_concurrency=places, store=store), b"places")
    held = [governor.acquire(1.0, NEVER, None) for _ in range(places)]
    say(len(held))
    sys.stdin.readline()


def starting(store: str) -> None:
    """Start calls as fast as the limit lets it, until it hears of a pause; say when the last one started."""
    from responder import DeadlineExceededError, Limits
    from responder.pace.governor import Governor
    from responder.values.deadline import Deadline

    governor = Governor(Limits(requests_per_minute=30_000, store=store), b"pause")
    say("ready")
    last = 0.0
    with suppress(DeadlineExceededError):
        while True:
            governor.acquire(1.0, Deadline.after(0.5), None).settle()
            last = time.monotonic()
    say(last)


# ---- what is measured ----------------------------------------------------------------------------------------------


def together(url: str, store: str, rate: float, processes: int, seconds: float, redis: Redis | None = None) -> dict[str, float]:
    """Map with several processes at once; kill the server in the middle, if it is given."""
    workers = [
        Worker("mapping", url=url, store=store, rate=rate, prompts=int(rate * seconds / processes)) for _ in range(processes)
    ]
    for worker in workers:
        worker.go()
    killed = 0.0
    if redis is not None:
        time.sleep(seconds / 3)
        killed = time.monotonic()
        redis.kill()
    said = [worker.hear() for worker in workers]
    moments = sorted(moment for each in said for moment in each["moments"])
    begin = (killed or moments[0]) + 1.0  # all threads run, and what was in flight at the kill is done
    end = min(each["moments"][-1] for each in said)
    within = [moment for moment in moments if begin <= moment < end]
    return {
        "rate": (len(within) - 1) / (within[-1] - within[0]),
        "cpu": sum(each["cpu"] for each in said) / len(moments) * 1e6,
        "failed": sum(each["failed"] for each in said),
        "prompts": len(moments),
    }


def places_back(redis: Redis) -> float:
    """Return the seconds after which the places of a killed process are free."""
    from responder import Limits
    from responder.pace.governor import Governor
    from responder.values.deadline import Deadline

    holder = Worker("holding", store=redis.url, places=10)
    governor = Governor(Limits(max_concurrency=10, store=redis.url), b"places")
    holder.process.kill()
    begin = time.monotonic()
    for _ in range(10):
        governor.acquire(1.0, Deadline.after(30), None)
    return time.monotonic() - begin


def pause_heard(redis: Redis) -> float:
    """Return the seconds for which the slowest of three processes goes on when a fourth is told to wait."""
    from responder import APIError, Limits
    from responder.pace.governor import Governor
    from responder.values.deadline import NEVER

    others = [Worker("starting", store=redis.url) for _ in range(3)]
    permit = Governor(Limits(requests_per_minute=30_000, store=redis.url), b"pause").acquire(1.0, NEVER, None)
    time.sleep(1.0)
    begin = time.monotonic()
    permit.settle(APIError("slow down", status=429, retryable=True, retry_after=20.0))
    return max(0.0, *(float(other.hear()) - begin for other in others))


@contextmanager
def servers() -> Iterator[tuple[str, Redis, str]]:
    """Give the provider's URL, a Redis server, and a folder."""
    folder = tempfile.mkdtemp()
    redis = Redis(folder)
    try:
        with harness.serving(Job(1, 1, LATENCY)) as server:
            yield server.url, redis, folder
    finally:
        redis.kill()
        shutil.rmtree(folder, ignore_errors=True)


def main() -> int:
    options = harness.parser(__doc__)
    arguments = harness.parse(options)
    report = Report("How exactly do several processes keep one limit, through Redis and through a file?", arguments)
    if shutil.which("redis-server") is None:
        print("There is no redis-server here (Debian: apt install redis-server)")
        return 0
    seconds = 4.0 if arguments.quick else 10.0
    lines: list[list[str]] = []
    cpu: dict[str, float] = {}
    failed = 0.0

    def line(name: str, rate: float, processes: int, found: dict[str, float], trips: str) -> None:
        share = found["rate"] / rate
        lines.append(
            [name, f"{rate:.0f}", str(processes), f"{found['rate']:.1f}", f"{share - 1:+.2%}", trips, f"{found['cpu']:.0f}"]
        )

    for rate, processes in ((100.0, 2), (100.0, 4), (500.0, 2), (500.0, 4)):
        for name in ("redis", "file"):
            with servers() as (url, redis, folder):
                store = redis.url if name == "redis" else str(Path(folder) / "limits")
                found = together(url, store, rate, processes, seconds)
                trips = redis.trips() / found["prompts"]
            failed += found["failed"]
            line(name, rate, processes, found, f"{trips:.2f}" if name == "redis" else "-")
            cpu[name] = found["cpu"]
            report.goal(f"{name}, {rate:.0f}/s, {processes} processes: off by", abs(found["rate"] / rate - 1) * 100, 2, unit="%")
            if name == "redis":
                report.goal(f"{name}, {rate:.0f}/s, {processes} processes: round trips a prompt", trips, 1)
        report.goal(
            f"{rate:.0f}/s, {processes} processes: CPU a prompt above the file's", cpu["redis"] - cpu["file"], 100, unit=" us"
        )
    with servers() as (url, redis, _):
        found = together(url, redis.url, 100.0, 2, seconds, redis)
        failed += found["failed"]
        line("redis, killed", 100.0, 2, found, "-")
        report.goal("Redis killed: the rate", found["rate"], 105, unit="%")
    with servers() as (_, redis, _):
        report.goal("places of a killed process are back after", places_back(redis), 6, unit=" s")
        report.goal("a pause is heard after", pause_heard(redis), 0.2, unit=" s")
    report.goal("prompts that failed", failed, 0)
    titles = ["store", "allowed/s", "processes", "kept/s", "off by", "round trips a prompt", "CPU us a prompt"]
    print(f"\nProcesses of {THREADS} threads, prompts of {LATENCY * 1000:.0f} ms, {seconds:.0f} s each")
    print(harness.table(titles, lines))
    report.extra["lines"] = [dict(zip(titles, values, strict=True)) for values in lines]
    return report.finish()


TASKS = {"mapping": mapping, "holding": holding, "starting": starting}

if __name__ == "__main__":
    if len(sys.argv) > 2 and sys.argv[1] in TASKS:
        TASKS[sys.argv[1]](**json.loads(sys.argv[2]))
    else:
        sys.exit(main())
