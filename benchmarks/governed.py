"""What do limits, deadlines and a checkpoint cost a call?

6,000 calls of 100 ms by 256 workers over HTTP, as in `throughput`: plain; with limits that are set but far away and a deadline
for each call; with limits on a file that several processes share; and with a checkpoint. Then the checkpoint alone: 20,000
answers of 1 kB, stored by 64 threads.

Expected: limits and deadline at most 40 us of CPU a call more than plain, a checkpoint at most 120 us more, and 5,000 answers a
second to disk.
"""

from __future__ import annotations

import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import harness
from harness import CPU, IDEAL_RATIO, MEMORY, WALL, WRONG, Contender, Job, Outcome, Reply, Report, Run

FAR = 10_000_000.0
"""Requests a minute that nobody reaches."""


def mapped(how: Callable[[str], tuple[dict[str, Any], dict[str, Any]]]) -> Callable[[Job], Callable[[], Outcome]]:
    """A map with more keywords: `how` gets a folder and returns those of the responder and those of the map."""

    def prepare(job: Job) -> Callable[[], Outcome]:
        from responder import OpenAIResponder

        folder = tempfile.mkdtemp()
        ours, maps = how(folder)

        def run() -> Outcome:
            with OpenAIResponder("benchmark", api_key="benchmark-key", base_url=f"{job.url}/v1", **ours) as model:
                batch = model.map(job.prompts(), max_workers=job.workers, **maps)
                return Outcome([Reply(r.answer.text, r.answer.usage.output_tokens) if r.ok else r.error for r in batch])

        return run

    return prepare


def plain(_: str) -> tuple[dict[str, Any], dict[str, Any]]:
    return {}, {}


def limited(_: str) -> tuple[dict[str, Any], dict[str, Any]]:
    from responder import Limits

    limits = Limits(max_concurrency=100_000, requests_per_minute=FAR, tokens_per_minute=1000 * FAR)
    return {"limits": limits}, {"deadline": 300.0, "run_deadline": 300.0}


def shared(folder: str) -> tuple[dict[str, Any], dict[str, Any]]:
    from responder import Limits

    return {"limits": Limits(requests_per_minute=FAR, store=str(Path(folder) / "limits"))}, {"deadline": 300.0}


def kept(folder: str) -> tuple[dict[str, Any], dict[str, Any]]:
    return {}, {"checkpoint": Path(folder) / "run.db"}


def stores(job: Job) -> Callable[[], Outcome]:
    """The checkpoint alone: as many threads as workers store answers of the usual size."""
    from responder.many.checkpoint import Checkpoint

    folder = tempfile.mkdtemp()
    reply = {"id": "x", "choices": [{"message": {"role": "assistant", "content": "x" * 1000}}], "usage": {"prompt_tokens": 9}}

    def run() -> Outcome:
        store = Checkpoint(Path(folder) / "run.db")
        share = job.calls // job.workers

        def work(number: int) -> None:
            for index in range(share):
                store.store(b"%d-%d" % (number, index), reply, "id")

        threads = [threading.Thread(target=work, args=(number,)) for number in range(job.workers)]
        begin = time.perf_counter()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        seconds = time.perf_counter() - begin
        store.close()
        return Outcome(None, {"wrong": 0.0, "rate": share * job.workers / seconds})

    return run


CONTENDERS = {
    "plain": Contender("map", ("responder",), mapped(plain)),
    "limits": Contender("map, limits and deadline", ("responder",), mapped(limited)),
    "shared": Contender("map, limits in a shared file", ("responder",), mapped(shared)),
    "checkpoint": Contender("map, checkpoint", ("responder",), mapped(kept)),
    "stores": Contender("checkpoint alone", ("responder",), stores),
}


def main() -> int:
    arguments = harness.parse(harness.parser(__doc__))
    report = Report("What do limits, deadlines and a checkpoint cost a call?", arguments)
    calls, workers = 1500 if arguments.quick else 6000, 256
    names = harness.chosen(arguments, tuple(CONTENDERS))
    rows = report.measure(
        [Run("governed", name, Job(calls, workers, 0.1)) for name in names if name != "stores"]
        + [Run("governed", "stores", Job(20_000, 64, 0.0)) for name in names if name == "stores"]
    )
    title = f"{calls:,} calls of 100 ms by {workers} workers (ideal {calls * 0.1 / workers:.2f} s)"
    harness.show(title, [row for row in rows if row.run.contender != "stores"], [WALL, IDEAL_RATIO, CPU, MEMORY, WRONG])
    rate = ("answers/s", lambda row: f"{row['rate']:,.0f}")
    harness.show(
        "20,000 answers of 1 kB stored by 64 threads", [r for r in rows if r.run.contender == "stores"], [rate, CPU, WALL]
    )
    base = harness.find(rows, "plain")
    for name, text, limit in (
        ("limits", "limits and deadline: CPU a call more than plain", 40),
        ("shared", "limits in a shared file: CPU a call more than plain", 80),
        ("checkpoint", "checkpoint: CPU a call more than plain", 120),
    ):
        row = harness.find(rows, name)
        report.goal(text, base and row and (row["cpu_per_call"] - base["cpu_per_call"]) * 1e6, limit, unit=" us")
    stored = harness.find(rows, "stores")
    report.goal("answers a second to disk", stored and stored["rate"], 5000, at_least=True)
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())
