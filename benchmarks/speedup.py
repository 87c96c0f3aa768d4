"""How much faster is `map` than the loop it replaces?

Ten calls and four calls of 500 ms, one after another and through `map` with its default workers (peers: threads and
gather); then 100 calls by 4, 16 and 64 workers. The ideal is the whole rounds that so many workers need: 100 calls by
64 workers are two rounds.

Expected of `responder`: at least 9 x the loop for ten calls, at least 3.8 x for four.
"""

from __future__ import annotations

import math
import sys

import harness
from harness import SERVER, WALL, WRONG, Job, Report, Row, Run

DEFAULT_WORKERS = 16


def ideal(row: Row) -> float:
    """Seconds of the whole rounds that the workers of a row need."""
    return math.ceil(row.run.job.calls / row.run.job.workers) * row.run.job.latency


def main() -> int:
    options = harness.parser(__doc__)
    options.add_argument("--latency", type=float, help="seconds a call takes (0.5; quick: 0.2)")
    arguments = harness.parse(options)
    latency = arguments.latency or (0.2 if arguments.quick else 0.5)
    report = Report("How much faster is map than the loop it replaces?", arguments)
    runs = []
    for calls in (10, 4):
        runs.append(Run("contenders", "responder_sequential", Job(calls, 1, latency), str(calls)))
        names = harness.chosen(arguments, ("responder", "openai", "aiohttp"))
        runs += [Run("contenders", name, Job(calls, DEFAULT_WORKERS, latency), str(calls)) for name in names]
    runs += [Run("contenders", "responder", Job(100, workers, latency), f"100 by {workers}") for workers in (4, 16, 64)]
    rows = report.measure(runs)

    def sequential(row: Row) -> float:
        """Seconds of the loop: measured where it was run, calls x latency for the long ones."""
        loop = harness.find(rows, "responder_sequential", row.run.group)
        return loop["wall"] if loop else row.run.job.calls * latency

    columns = [
        ("calls", lambda row: str(row.run.job.calls)),
        ("workers", lambda row: str(row.run.job.workers)),
        WALL,
        ("ideal s", lambda row: f"{ideal(row):.2f}"),
        ("loop s", lambda row: f"{sequential(row):.2f}"),
        ("speed-up", lambda row: f"{sequential(row) / row['wall']:.1f}x"),
        ("CPU ms", lambda row: f"{row['cpu'] * 1000:.0f}"),
        WRONG,
        SERVER,
    ]
    harness.show(f"Calls of {latency * 1000:.0f} ms (loop of 100 calls: calls x latency)", rows, columns)
    for calls, limit in ((10, 9.0), (4, 3.8)):
        ours, loop = (harness.find(rows, name, str(calls)) for name in ("responder", "responder_sequential"))
        factor = ours and loop and loop["wall"] / ours["wall"]
        report.goal(f"{calls} calls: speed-up over the loop", factor, limit, at_least=True, unit="x")
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())
