"""How close to ideal are thousands of calls, and what does each cost?

6,000 calls of 100 ms by 256 workers (litellm and LangChain: 2,000), 1 kB answers, over HTTP and, with --tls, over TLS
as well. The ideal is calls x latency / workers. Nothing of the clients is switched off; connecting is inside the clock.

Expected of `responder`: within 1.15 x ideal over HTTP and 1.25 x over TLS, at most 500 us of CPU a call, no slower than
aiohttp on uvloop, at least 3 x faster than the openai SDK with threads, at a fifth of its CPU.
"""

from __future__ import annotations

import sys

import harness
from harness import CONNECTIONS, CPU, IDEAL_RATIO, MEMORY, SERVER, WALL, WRONG, Job, Report, Run

FULL = ("responder", "requests", "aiohttp", "openai", "openai_async")
SHORT = ("litellm", "langchain")
COLUMNS = [("calls", lambda row: str(row.run.job.calls)), WALL, IDEAL_RATIO, CPU, MEMORY, CONNECTIONS, WRONG, SERVER]


def main() -> int:
    options = harness.parser(__doc__)
    options.add_argument("--tls", action="store_true", help="measure over TLS as well")
    options.add_argument("--tls-only", action="store_true", help="measure over TLS, and not over HTTP")
    options.add_argument("--workers", type=int, default=256)
    options.add_argument("--calls", type=int, help="calls of a run (6000; quick: 1500)")
    options.add_argument("--limit-headers", action="store_true", help="answers carry x-ratelimit headers")
    arguments = harness.parse(options)
    calls = arguments.calls or (1500 if arguments.quick else 6000)
    report = Report("How close to ideal are thousands of calls, and what does each cost?", arguments)
    schemes = ["HTTP"] * (not arguments.tls_only) + ["TLS"] * (arguments.tls or arguments.tls_only)
    runs = []
    for scheme in schemes:
        base = {"workers": arguments.workers, "latency": 0.1, "tls": scheme == "TLS"}
        for name in harness.chosen(arguments, FULL + SHORT):
            count = calls if name in FULL else calls // 3
            job = Job(calls=count, limit_headers=arguments.limit_headers, **base)
            runs.append(Run("contenders", name, job, scheme))
    rows = report.measure(runs)
    for scheme, limit in (("HTTP", 1.15), ("TLS", 1.25)):
        if scheme not in schemes:
            continue
        ideal = calls * 0.1 / arguments.workers
        title = f"{scheme}: {calls:,} calls of 100 ms by {arguments.workers} workers (ideal {ideal:.2f} s)"
        harness.show(title, [row for row in rows if row.run.group == scheme], COLUMNS)
        ours, theirs, sdk = (harness.find(rows, name, scheme) for name in ("responder", "aiohttp", "openai"))
        wall = ours["wall"] if ours else None
        report.goal(f"{scheme}: wall to ideal", wall and wall / ideal, limit)
        report.goal(f"{scheme}: CPU a call", ours and ours["cpu_per_call"] * 1e6, 500, unit=" us")
        report.goal(f"{scheme}: wall to aiohttp + uvloop", wall and theirs and wall / theirs["wall"], 1.0)
        report.goal(f"{scheme}: times faster than openai, threads", wall and sdk and sdk["wall"] / wall, 3, at_least=True)
        share = ours and sdk and 100 * ours["cpu_per_call"] / sdk["cpu_per_call"]
        report.goal(f"{scheme}: CPU of what openai, threads needs", share, 20, unit="%")
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())
