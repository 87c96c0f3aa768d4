"""How much memory do many calls hold, and does it grow with the number of items?

256 and 1,000 calls in flight, all held by the server's latency: the peak resident memory of the process, and what it
grew a call. Then a generator of 1,000,000 items through `parallel_imap` with a trivial function, and a generator of
prompts through `imap` with real calls: how many items were pulled ahead of the consumer at most, and how much the
process grew between a tenth of the way and the end. `ThreadPoolExecutor.map` stands beside them: it reads all its input
first.

Expected of `responder`: memory flat, at most a window of items pulled ahead.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import harness
from harness import CONNECTIONS, IN_FLIGHT, MEMORY, SERVER, WALL, WRONG, Contender, Job, Outcome, Report, Run

NAMES = ("responder", "requests", "openai", "openai_async", "aiohttp")
FLAT = 8.0
"""MB that a flat process may still grow: the allocator's own slack, an arena or two."""
WINDOW = 8
"""Items a worker that `imap` may pull ahead of its caller (docs: mapping)."""


class Watch:
    """Counts what is pulled and handed out, and looks at the memory on the way."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.pulled = 0
        self.handed_out = 0
        self.ahead = 0
        self.early = self.late = 0.0
        self.step = max(total // 200, 1)

    def source(self, item: Callable[[int], object]) -> Iterator[object]:
        """Yields `total` items, made one at a time."""
        for index in range(self.total):
            self.pulled += 1
            yield item(index)

    def handed(self) -> None:
        """Notes that the consumer holds one more result."""
        self.handed_out += 1
        self.ahead = max(self.ahead, self.pulled - self.handed_out)
        if self.handed_out % self.step == 0:
            memory = harness.resident_memory()
            if self.handed_out <= self.total // 10:
                self.early = max(self.early, memory)
            self.late = max(self.late, memory)

    def outcome(self, wrong: int) -> Outcome:
        """What the run reports."""
        missing = self.total - self.handed_out
        numbers = {"ahead": self.ahead, "growth": self.late - self.early, "wrong": wrong + missing}
        return Outcome(None, {name: float(number) for name, number in numbers.items()})


def double(number: int) -> int:
    return number * 2


def responder_items(job: Job) -> Callable[[], Outcome]:
    from responder import parallel_imap

    def run() -> Outcome:
        watch, wrong = Watch(job.calls), 0
        for result in parallel_imap(double, watch.source(int), max_workers=job.workers):
            wrong += result.index != watch.handed_out or result.value != 2 * result.index
            watch.handed()
        return watch.outcome(wrong)

    return run


def executor_items(job: Job) -> Callable[[], Outcome]:
    def run() -> Outcome:
        watch, wrong = Watch(job.calls), 0
        with ThreadPoolExecutor(job.workers) as pool:
            for value in pool.map(double, watch.source(int)):
                wrong += value != 2 * watch.handed_out
                watch.handed()
        return watch.outcome(wrong)

    return run


def responder_prompts(job: Job) -> Callable[[], Outcome]:
    import responder.call.endpoint  # noqa: F401 - loaded with the first responder; nobody's imports are on the clock
    from responder import OpenAIResponder

    def run() -> Outcome:
        watch, wrong = Watch(job.calls), 0
        with OpenAIResponder("benchmark", api_key="benchmark-key", base_url=f"{job.url}/v1") as model:
            prompts = watch.source(lambda index: f"What is special about item {index}?")
            for result in model.imap(prompts, max_workers=job.workers):
                mine = result.ok and result.answer.text.startswith(f"item {watch.handed_out}:")
                wrong += not mine or result.index != watch.handed_out
                watch.handed()
        return watch.outcome(wrong)

    return run


CONTENDERS = {
    "items": Contender("responder parallel_imap", ("responder",), responder_items),
    "executor": Contender("ThreadPoolExecutor.map", (), executor_items),
    "prompts": Contender("responder imap, calls", ("responder",), responder_prompts),
}


def main() -> int:
    options = harness.parser(__doc__)
    options.add_argument("--items", type=int, help="items of the generator (1,000,000; quick: 100,000)")
    arguments = harness.parse(options)
    items = arguments.items or (100_000 if arguments.quick else 1_000_000)
    report = Report("How much memory do many calls hold, and does it grow with the number of items?", arguments)

    sizes = (256,) if arguments.quick else (256, 1000)
    latency = 2.0 if arguments.quick else 5.0
    names = harness.chosen(arguments, NAMES)
    held = report.measure([Run("contenders", name, Job(size, size, latency), str(size)) for size in sizes for name in names])
    grown = ("kB/call", lambda row: f"{(row['peak_memory'] - row['memory_before']) * 1024 / row.run.job.calls:.0f}")
    for size in sizes:
        title = f"{size} calls in flight, held {latency:.0f} s"
        rows = [row for row in held if row.run.group == str(size)]
        harness.show(title, rows, [MEMORY, grown, IN_FLIGHT, CONNECTIONS, WALL, WRONG, SERVER])

    streamed = report.measure(
        [
            Run("memory", name, Job(calls, workers, latency))
            for name, calls, workers, latency in (
                ("items", items, 16, 0.0),
                # A fifth of the items: its input and its futures are in memory all at once.
                ("executor", items // 5, 16, 0.0),
                ("prompts", items // 100, 64, 0.01),
            )
            if name in harness.chosen(arguments, tuple(CONTENDERS))
        ]
    )
    columns = [
        ("items", lambda row: f"{row.run.job.calls:,}"),
        ("workers", lambda row: str(row.run.job.workers)),
        ("pulled ahead", lambda row: f"{row['ahead']:,.0f}"),
        ("grown MB", lambda row: f"{row['growth']:.1f}"),
        MEMORY,
        WALL,
        ("us/item", lambda row: f"{row['wall'] / row.run.job.calls * 1e6:.0f}"),
        WRONG,
    ]
    harness.show("A generator, in order", streamed, columns)
    for name, text in (("items", "parallel_imap"), ("prompts", "imap, calls")):
        row = harness.find(streamed, name)
        report.goal(f"{text}: growth from a tenth of the way to the end", row and row["growth"], FLAT, unit=" MB")
        workers = row.run.job.workers if row else 1
        report.goal(f"{text}: items pulled ahead a worker", row and row["ahead"] / workers, WINDOW)
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())
