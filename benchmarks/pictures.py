"""What does a picture of 1 MB cost in a map, in memory and CPU?

2,000 pictures by path through `map` with 16 workers: the peak resident memory, and the CPU of a call beside that of reading the
file, base64 and JSON alone, which whoever sends a picture has to pay. The files are 16, read again and again.

Expected of `responder`: under 150 MB, and at most 1.2 times that CPU.
"""

from __future__ import annotations

import base64
import json
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import harness
from harness import MEMORY, SERVER, WALL, WRONG, Contender, Job, Outcome, Report, Run

PICTURE = 1_000_000
PEAK = 150.0
"""MB."""
TIMES = 1.2
"""The CPU of a call, in those of base64 and JSON alone."""


def pictures() -> list[str]:
    """Return the paths of sixteen pictures, which nobody has to be able to see."""
    folder = Path(tempfile.mkdtemp(prefix="responder-pictures-"))
    paths = [folder / f"{number}.png" for number in range(16)]
    for path in paths:
        path.write_bytes(os.urandom(PICTURE))
    return [str(path) for path in paths]


def by_map(job: Job) -> Callable[[], Outcome]:
    import responder.call.endpoint  # noqa: F401 - loaded with the first responder; nobody's imports are on the clock
    from responder import Image, OpenAIResponder, user

    paths = pictures()

    def run() -> Outcome:
        with OpenAIResponder("benchmark", api_key="benchmark-key", base_url=f"{job.url}/v1") as model:
            prompts = (user(f"What is special about item {n}?", Image(paths[n % 16])) for n in range(job.calls))
            batch = model.map(prompts, max_workers=job.workers)
        return Outcome(None, {"wrong": float(sum(not result.ok for result in batch))})

    return run


def alone(job: Job) -> Callable[[], Outcome]:
    paths = pictures()

    def run() -> Outcome:
        for number in range(job.calls):
            encoded = base64.b64encode(Path(paths[number % 16]).read_bytes()).decode()
            url = f"data:image/png;base64,{encoded}"
            parts = [{"type": "text", "text": "What is this?"}, {"type": "image_url", "image_url": {"url": url}}]
            json.dumps({"model": "m", "messages": [{"role": "user", "content": parts}]}).encode()
        return Outcome(None, {"wrong": 0.0})

    return run


CONTENDERS = {
    "map": Contender("responder map, by path", ("responder",), by_map),
    "alone": Contender("base64 and JSON alone", (), alone),
}


def main() -> int:
    arguments = harness.parse(harness.parser(__doc__))
    report = Report("What does a picture of 1 MB cost in a map, in memory and CPU?", arguments)
    calls = 200 if arguments.quick else 2000
    names = harness.chosen(arguments, tuple(CONTENDERS))
    rows = report.measure([Run("pictures", name, Job(calls, 16, 0.0)) for name in names])
    cpu = ("CPU ms/call", lambda row: f"{row['cpu'] / row.run.job.calls * 1e3:.2f}")
    harness.show(f"{calls:,} pictures of 1 MB, 16 workers", rows, [cpu, MEMORY, WALL, WRONG, SERVER])
    mine, least = harness.find(rows, "map"), harness.find(rows, "alone")
    report.goal("peak memory", mine and mine["peak_memory"], PEAK, unit=" MB")
    report.goal("CPU of a call, in those of base64 and JSON alone", mine and least and mine["cpu"] / least["cpu"], TIMES)
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())
