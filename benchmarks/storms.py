"""How well does a run keep to a provider that refuses?

A server allows 50 requests a second (a bucket of 50, refilled evenly), answers after 0.2 s, and is asked 1,500 prompts by 64
workers. It says "wait" in each form that providers have, or not at all; and it tells its limit by headers, or the user has told
it by `Limits`, or nobody has. Reached is the throughput as a share of what the server allows; refused is the share of the
requests that got a 429.

Expected: where the limit is known or told, at least 90% reached and under 2% refused; where it must be found by refusals alone,
every prompt is answered all the same.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import sys
import time
from collections.abc import Callable
from email.utils import formatdate
from typing import Any

import harness
from harness import WALL, WRONG, Contender, Job, Outcome, Report, Run

RATE = 50.0
LATENCY = 0.2
WORKERS = 64

HINTS: dict[str, Callable[[float], tuple[dict[str, str], dict[str, Any]]]] = {
    "seconds": lambda wait: ({"retry-after": str(max(1, round(wait + 0.5)))}, {}),
    "date": lambda wait: ({"retry-after": formatdate(time.time() + wait + 1, usegmt=True)}, {}),
    "milliseconds": lambda wait: ({"retry-after-ms": str(max(1, round(wait * 1000)))}, {}),
    "reset": lambda wait: ({"x-ratelimit-reset-requests": f"{max(1, round(wait * 1000))}ms"}, {}),
    "body": lambda wait: (
        {},
        {"details": [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": f"{wait:.3f}s"}]},
    ),
    "nothing": lambda _: ({}, {}),
}


class Bucket:
    """What is left of the limit."""

    def __init__(self) -> None:
        self.left, self.at = RATE, time.monotonic()
        self.answered = self.refused = 0

    def take(self) -> float:
        """Returns 0 for a request that may pass, else the seconds until one may."""
        now = time.monotonic()
        self.left, self.at = min(RATE, self.left + (now - self.at) * RATE), now
        if self.left >= 1:
            self.left -= 1
            self.answered += 1
            return 0.0
        self.refused += 1
        return (1 - self.left) / RATE


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, bucket: Bucket, hint: str, tells: bool) -> None:
    try:
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
            length = int(head.partition("content-length: ")[2].partition("\r\n")[0] or 0)
            body = await reader.readexactly(length)
            if head.startswith("post /counts"):
                reply: dict[str, Any] = {"answered": bucket.answered, "refused": bucket.refused}
                headers, status = {}, "200 OK"
            elif wait := bucket.take():
                headers, details = HINTS[hint](wait)
                reply, status = {"error": {"message": "Rate limit reached", "code": 429, **details}}, "429 Too Many Requests"
            else:
                await asyncio.sleep(LATENCY)
                prompt = json.loads(body)["messages"][-1]["content"]
                message = {"role": "assistant", "content": prompt.partition(" special about ")[2].rstrip("?") + ": yes"}
                reply = {"id": "1", "object": "chat.completion", "created": 1, "model": "m"}
                reply["choices"] = [{"index": 0, "message": message, "finish_reason": "stop"}]
                reply["usage"] = {"prompt_tokens": 9, "completion_tokens": harness.OUTPUT_TOKENS, "total_tokens": 129}
                headers, status = {}, "200 OK"
            if tells:
                missing = RATE - bucket.left
                headers["x-ratelimit-limit-requests"] = str(int(RATE))
                headers["x-ratelimit-remaining-requests"] = str(max(0, int(bucket.left)))
                headers["x-ratelimit-reset-requests"] = f"{missing / RATE * 1000:.0f}ms"
            content = json.dumps(reply).encode()
            lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
            writer.write(
                f"HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {len(content)}\r\n{lines}\r\n".encode()
                + content
            )
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    finally:
        writer.close()


def serve(hint: str, tells: bool, pipe: Any) -> None:
    async def main() -> None:
        bucket = Bucket()
        server = await asyncio.start_server(lambda r, w: answer(r, w, bucket, hint, tells), "127.0.0.1", 0, backlog=1024)
        pipe.send(server.sockets[0].getsockname()[1])
        # The process of a run ends with `os._exit`, which ends no children: the pipe that closes then tells.
        left = asyncio.Event()
        asyncio.get_running_loop().add_reader(pipe.fileno(), left.set)
        await left.wait()

    asyncio.run(main())


def stormed(hint: str, tells: bool, known: bool) -> Callable[[Job], Callable[[], Outcome]]:
    def prepare(job: Job) -> Callable[[], Outcome]:
        from responder import Limits, OpenAIResponder

        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        context.Process(target=serve, args=(hint, tells, theirs), daemon=True).start()
        theirs.close()
        url = f"http://127.0.0.1:{ours.recv()}"
        limits = Limits(requests_per_minute=RATE * 60) if known else None

        def run() -> Outcome:
            with ours, OpenAIResponder("m", api_key="k", base_url=f"{url}/v1", limits=limits, max_retries=20) as model:
                batch = model.map(job.prompts(), max_workers=job.workers)
            wrong = sum(not (r.ok and r.answer.text.startswith(f"item {r.index}:")) for r in batch)
            summary = batch.summary()
            refused = summary.causes.get("429", 0)
            return Outcome(None, {"wrong": float(wrong), "refused": refused / summary.attempts, "sent": float(summary.attempts)})

        return run

    return prepare


SCENARIOS = {
    "limits": ("Limits(requests_per_minute=3000)", "seconds", False, True),
    "headers": ("limit told by headers, retry-after", "seconds", True, False),
    **{hint: (f"found by refusals, {text}", hint, False, False) for hint, text in (
        ("seconds", "retry-after: 1"),
        ("date", "retry-after: a date"),
        ("milliseconds", "retry-after-ms"),
        ("reset", "x-ratelimit-reset-requests"),
        ("body", "RetryInfo in the body"),
        ("nothing", "no hint at all"),
    )},
}  # fmt: skip

CONTENDERS = {
    name: Contender(label, ("responder",), stormed(hint, tells, known)) for name, (label, hint, tells, known) in SCENARIOS.items()
}


def main() -> int:
    arguments = harness.parse(harness.parser(__doc__))
    report = Report("How well does a run keep to a provider that refuses?", arguments)
    calls = 500 if arguments.quick else 1500
    ideal = (calls - RATE) / RATE + LATENCY
    rows = report.measure(
        [Run("storms", name, Job(calls, WORKERS, 0.0)) for name in harness.chosen(arguments, tuple(CONTENDERS))]
    )
    columns = [
        WALL,
        ("reached", lambda row: f"{ideal / row['wall']:.0%}"),
        ("refused", lambda row: f"{row['refused']:.1%}"),
        ("sent", lambda row: f"{row['sent']:,.0f}"),
        WRONG,
    ]
    harness.show(f"{calls:,} prompts by {WORKERS} workers, 50 allowed a second (ideal {ideal:.1f} s)", rows, columns)
    for name in ("limits", "headers"):
        row = harness.find(rows, name)
        report.goal(f"{SCENARIOS[name][0]}: reached", row and ideal / row["wall"] * 100, 90, at_least=True, unit="%")
        report.goal(f"{SCENARIOS[name][0]}: refused", row and row["refused"] * 100, 2, unit="%")
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())
