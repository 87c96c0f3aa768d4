"""How long do the first calls of a process take, when nothing is connected yet?

256 calls of 500 ms by 256 workers over TLS, in a fresh process: building the client, loading the authorities, starting
the workers, 256 handshakes, and the answers. Imports are not on the clock here (see import_time.py).

Expected of `responder`: at most 0.9 s; the ideal is 0.5 s.
"""

from __future__ import annotations

import sys

import harness
from harness import CONNECTIONS, CPU, IDEAL_RATIO, IN_FLIGHT, MEMORY, SERVER, WALL, WRONG, Job, Report, Run

NAMES = ("responder", "requests", "openai", "openai_async", "aiohttp")


def main() -> int:
    options = harness.parser(__doc__)
    options.add_argument("--calls", type=int, default=256, help="calls, and workers (256)")
    options.add_argument("--http", action="store_true", help="without TLS")
    arguments = harness.parse(options)
    report = Report("How long do the first calls of a process take, when nothing is connected yet?", arguments)
    job = Job(calls=arguments.calls, workers=arguments.calls, latency=0.5, tls=not arguments.http)
    rows = report.measure([Run("contenders", name, job) for name in harness.chosen(arguments, NAMES)])
    title = f"{job.calls} calls of 500 ms by {job.workers} workers, cold, over {'HTTP' if arguments.http else 'TLS'}"
    harness.show(title, rows, [WALL, IDEAL_RATIO, CPU, MEMORY, CONNECTIONS, IN_FLIGHT, WRONG, SERVER])
    ours = harness.find(rows, "responder")
    report.goal("cold start of 256 calls over TLS", ours and ours["wall"], 0.9, unit=" s")
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())
