"""Does a long run hold its limits, its memory and every answer?

A day in the life: 100,000 prompts by 256 workers to a simulated provider (a process of its own) with limits; 2% of the requests
meet a 500, a 503 or a reset, and one in a thousand takes five seconds longer. Allowed are 36,000 requests a minute; the ideal is
what that takes. Then 1,000,000 prompts through `imap_unordered` with a checkpoint and a report at the end, to the server of the
other benchmarks, which answers at once.

Expected: the day within 1.1 x of what the limits allow; every answer its own prompt's; memory flat, under 150 MB.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import harness
from harness import CPU, MEMORY, WALL, WRONG, Contender, Job, Outcome, Report, Run

PER_MINUTE = 36_000


class Watch:
    """Looks at the memory a tenth of the way and at the end."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.seen = 0
        self.wrong = 0
        self.attempts = 0
        self.early = self.late = 0.0

    def take(self, index: int, text: str | None, attempts: int) -> None:
        self.seen += 1
        self.attempts += attempts
        self.wrong += text is None or not is_own(text, index)
        if self.seen % (self.total // 100) == 0:
            memory = harness.resident_memory()
            if self.seen <= self.total // 10:
                self.early = max(self.early, memory)
            self.late = max(self.late, memory)

    def numbers(self) -> dict[str, float]:
        wrong = self.wrong + self.total - self.seen
        return {"wrong": float(wrong), "growth": self.late - self.early, "attempts": float(self.attempts)}


def is_own(text: str, index: int) -> bool:
    return f"item {index}:" in text or f"item {index}?" in text


def prompts(number: int) -> Iterator[str]:
    return (f"What is special about item {index}?" for index in range(number))


def day(job: Job) -> Callable[[], Outcome]:
    from responder import Limits, OpenAIResponder
    from responder.simulator import Simulator

    simulator = Simulator(
        process=True, seed=1, latency="lognormal:0.15:0.4", error_rate=0.02, spike_rate=0.001, requests_per_minute=PER_MINUTE
    ).start()

    def run() -> Outcome:
        watch = Watch(job.calls)
        limits = Limits(requests_per_minute=PER_MINUTE)
        with OpenAIResponder("m", api_key="k", base_url=simulator.base_url("openai"), limits=limits) as model:
            for result in model.imap_unordered(prompts(job.calls), max_workers=job.workers):
                watch.take(result.index, result.answer.text if result.ok else None, result.attempts)
        return Outcome(None, {**watch.numbers(), "page": 0.0})

    return run


def million(job: Job) -> Callable[[], Outcome]:
    from responder import OpenAIResponder

    folder = Path(tempfile.mkdtemp())

    def run() -> Outcome:
        watch = Watch(job.calls)
        with OpenAIResponder("m", api_key="k", base_url=f"{job.url}/v1") as model:
            results = model.imap_unordered(prompts(job.calls), max_workers=job.workers, checkpoint=folder / "run.db")
            for result in results:
                watch.take(result.index, result.answer.text if result.ok else None, result.attempts)
            results.report(folder / "run.html")
        page = (folder / "run.html").stat().st_size / 2**20
        for file in folder.iterdir():
            file.unlink()
        return Outcome(None, {**watch.numbers(), "page": page})

    return run


CONTENDERS = {
    "day": Contender("a day in the life", ("responder", "aiohttp"), day),
    "million": Contender("a million, with a checkpoint", ("responder",), million),
}


def main() -> int:
    arguments = harness.parse(harness.parser(__doc__))
    report = Report("Does a long run hold its limits, its memory and every answer?", arguments)
    harness.RUN_LIMIT = 3600.0
    jobs = {
        "day": Job(10_000 if arguments.quick else 100_000, 256, 0.0),
        "million": Job(50_000 if arguments.quick else 1_000_000, 64, 0.005),
    }
    names = harness.chosen(arguments, tuple(CONTENDERS))
    rows = report.measure([Run("endurance", name, jobs[name]) for name in names])
    columns = [
        ("calls", lambda row: f"{row.run.job.calls:,}"),
        WALL,
        ("calls/s", lambda row: f"{row.run.job.calls / row['wall']:,.0f}"),
        CPU,
        ("requests", lambda row: f"{row['attempts']:,.0f}"),
        MEMORY,
        ("grown MB", lambda row: f"{row['growth']:.1f}"),
        ("report MB", lambda row: f"{row['page']:.1f}" if row["page"] else ""),
        WRONG,
    ]
    harness.show("Long runs", rows, columns)
    found = harness.find(rows, "day")
    if found:
        ideal = found["attempts"] * 60 / PER_MINUTE
        report.goal("day: wall to what the limits allow", found["wall"] / ideal, 1.1)
        report.goal("day: growth from a tenth of the way to the end", found["growth"], 15, unit=" MB")
    found = harness.find(rows, "million")
    if found:
        report.goal("million: peak memory", found["peak_memory"], 150, unit=" MB")
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())
