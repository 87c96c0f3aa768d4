"""Is each of 10,000 prompts paid once, over a batch job that expires, a cluster that loses a worker, and a plain map?

All three have the same checkpoint. The batch job expires when half of it is done; a map over a pool of two processes goes on,
of which one is killed; a map in this process asks for the rest. The provider is the simulator, whose own log says how often each
prompt was paid.

Expected of `responder`: every answer in its place, and nothing paid twice but what the pool had in flight at the kill.
"""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import threading
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any

import harness
from harness import Report

PROCESSES = 2
WORKERS = 16
SHARD = 128  # what the map makes of 16 workers
IN_FLIGHT = PROCESSES * 3 * SHARD


def kill_one(simulator: Any, executor: ProcessPoolExecutor, number: int) -> None:
    """Kill a process of the pool when so many requests have come."""
    if not simulator.wait_for(number, timeout=300):
        raise RuntimeError("the pool did not ask")
    os.kill(next(iter(executor._processes)), signal.SIGKILL)


def counted(results: Any) -> str:
    """Say how many of the results are answers."""
    found = list(results)
    return f"{sum(result.ok for result in found):,} of {len(found):,} answered"


def main() -> int:
    options = harness.parser(__doc__)
    options.add_argument("--calls", type=int, help="prompts (10,000; quick: 2,000)")
    arguments = harness.parse(options)
    calls = arguments.calls or (2_000 if arguments.quick else 10_000)
    report = Report("Is each prompt paid once, over a batch job, a cluster and a plain map?", arguments)

    from responder import OpenAIResponder
    from responder.simulator import Simulator

    os.environ["OPENAI_API_KEY"] = "benchmark-key"
    prompts = [f"number {number}" for number in range(calls)]
    with tempfile.TemporaryDirectory() as folder, Simulator(latency=0.01, batch_hours=48, log_size=4 * calls) as simulator:
        gpt, file = OpenAIResponder("benchmark", base_url=simulator.base_url("openai")), f"{folder}/answers.db"
        job = gpt.submit(prompts, checkpoint=file)
        simulator.advance(hours=25)  # it would take 48, and expires after 24
        print(f"batch job, expired: {counted(job.wait(poll=0.05).results())}")
        executor = ProcessPoolExecutor(PROCESSES, mp_context=get_context("forkserver"))
        when = simulator.received[-1].index + 1 + calls // 8
        killer = threading.Thread(target=kill_one, args=(simulator, executor, when))
        killer.start()
        in_cluster = gpt.map(prompts, executor=executor, max_workers=WORKERS, shard_size=SHARD, checkpoint=file)
        killer.join()
        print(f"pool of {PROCESSES} processes, one killed: {counted(in_cluster)}")
        finished = gpt.map(prompts, max_workers=WORKERS, checkpoint=file)
        print(f"plain map: {counted(finished)}, {sum(result.attempts == 0 for result in finished):,} from the checkpoint")
        paid = Counter(request.prompt for request in simulator.received if request.prompt)
        paid += Counter(prompt for batch in simulator.batches for prompt in batch.prompts)
    wrong = sum(not r.ok or r.text != f"Simulated answer to: number {r.index}" for r in finished)
    twice = sum(count - 1 for count in paid.values())
    print(f"the provider's count: {sum(paid.values()):,} paid for {len(paid):,} prompts, {twice:,} twice")
    report.goal("wrong or missing answers", wrong + calls - len(paid), 0)
    report.goal("paid twice", twice, IN_FLIGHT)
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())
