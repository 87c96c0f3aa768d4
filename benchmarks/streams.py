"""What does a streamed event cost, and how late does it arrive?

Three jobs, each event a Chat Completions chunk of about 230 bytes:

- 8 streams back to back: the CPU an event, for the client's public iterator. (The server needs next to none.)
- 200 streams of 100 events at 20 ms, merged or side by side: wall against the ideal of 2.0 s, and each event's delay.
- 20 streams, one after another: the delay of the first piece.

The delay is from the server's write to the caller's hands: each event carries the time it was written, on the clock
that both processes share.

Expected of `responder`: at most 6 us of CPU an event; within 1.1 x ideal; a delay of at most 2 ms at the median and
20 ms at the 99th percentile; the first piece at most 2 ms late.
"""

from __future__ import annotations

import json
import re
import statistics
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import harness
from contenders import API_KEY, MODEL
from harness import IDEAL_RATIO, MEMORY, SERVER, WALL, WRONG, Contender, Job, Outcome, Reply, Report, Run

Arrival = tuple[int, str]  # nanoseconds on the monotonic clock, and the piece that came


def outcome(streams: list[list[Arrival]]) -> Outcome:
    """Texts, and the delays of all events and of the first of each stream, in seconds. Not on the clock."""
    texts = ["".join(piece for _, piece in arrivals) for arrivals in streams]
    delays, first = [], []
    for arrivals in streams:
        mine = [(at - int(sent)) / 1e9 for at, piece in arrivals for sent in re.findall(r"@(\d+)", piece)]
        delays += mine
        first += mine[:1]
    numbers = {}
    if delays and first:
        numbers = {
            "delay_median": statistics.median(delays),
            "delay_p99": sorted(delays)[int(len(delays) * 0.99)],
            "first_median": statistics.median(first),
            "first_max": max(first),
        }
    return Outcome([Reply(text, text.count("@")) for text in texts], numbers)


Finish = Callable[[], Outcome]


def responder_streams(job: Job) -> Callable[[], Finish]:
    import responder.call.endpoint  # noqa: F401 - loaded with the first responder; nobody's imports are on the clock
    from responder import OpenAIResponder

    def run() -> Finish:
        with OpenAIResponder(MODEL, api_key=API_KEY, base_url=f"{job.url}/v1") as model:

            def read(prompt: str) -> list[Arrival]:
                with model.stream(prompt) as stream:
                    return [(time.monotonic_ns(), piece) for piece in stream]

            with ThreadPoolExecutor(job.workers) as pool:
                streams = list(pool.map(read, job.prompts()))
        return lambda: outcome(streams)

    return run


def responder_merged(job: Job) -> Callable[[], Finish]:
    import responder.call.endpoint  # noqa: F401 - loaded with the first responder; nobody's imports are on the clock
    from responder import OpenAIResponder

    def run() -> Finish:
        streams: list[list[Arrival]] = [[] for _ in range(job.calls)]
        with OpenAIResponder(MODEL, api_key=API_KEY, base_url=f"{job.url}/v1") as model:
            for event in model.stream_map(job.prompts(), max_workers=job.workers):
                if event.error is not None:
                    raise event.error
                if event.piece:
                    streams[event.index].append((time.monotonic_ns(), event.piece))
        return lambda: outcome(streams)

    return run


def openai_streams(job: Job) -> Callable[[], Finish]:
    from openai import OpenAI

    def run() -> Finish:
        client = OpenAI(api_key=API_KEY, base_url=f"{job.url}/v1")

        def read(prompt: str) -> list[Arrival]:
            stream = client.chat.completions.create(
                model=MODEL,
                messages=[{"role": "user", "content": prompt}],
                stream=True,
                stream_options={"include_usage": True},
            )
            return [
                (time.monotonic_ns(), chunk.choices[0].delta.content)
                for chunk in stream
                if chunk.choices and chunk.choices[0].delta.content
            ]

        with ThreadPoolExecutor(job.workers) as pool:
            streams = list(pool.map(read, job.prompts()))
        return lambda: outcome(streams)

    return run


def openai_async_streams(job: Job) -> Callable[[], Finish]:
    import asyncio

    from openai import AsyncOpenAI

    async def main() -> list[list[Arrival]]:
        places = asyncio.Semaphore(job.workers)
        async with AsyncOpenAI(api_key=API_KEY, base_url=f"{job.url}/v1") as client:

            async def read(prompt: str) -> list[Arrival]:
                async with places:
                    stream = await client.chat.completions.create(
                        model=MODEL,
                        messages=[{"role": "user", "content": prompt}],
                        stream=True,
                        stream_options={"include_usage": True},
                    )
                    return [
                        (time.monotonic_ns(), chunk.choices[0].delta.content)
                        async for chunk in stream
                        if chunk.choices and chunk.choices[0].delta.content
                    ]

            return await asyncio.gather(*map(read, job.prompts()))

    def run() -> Finish:
        streams = asyncio.run(main())
        return lambda: outcome(streams)

    return run


def aiohttp_streams(job: Job) -> Callable[[], Finish]:
    import asyncio

    import aiohttp
    import uvloop

    async def main() -> list[list[Arrival]]:
        places = asyncio.Semaphore(job.workers)
        connector = aiohttp.TCPConnector(limit=job.workers)
        headers = {"Authorization": f"Bearer {API_KEY}"}
        async with aiohttp.ClientSession(connector=connector, headers=headers) as session:

            async def read(prompt: str) -> list[Arrival]:
                arrivals: list[Arrival] = []
                body = {
                    "model": MODEL,
                    "messages": [{"role": "user", "content": prompt}],
                    "stream": True,
                    "stream_options": {"include_usage": True},
                }
                async with places, session.post(f"{job.url}/v1/chat/completions", json=body) as reply:
                    reply.raise_for_status()
                    async for line in reply.content:
                        if not line.startswith(b"data: ") or line == b"data: [DONE]\n":
                            continue
                        choices = json.loads(line[6:])["choices"]
                        if choices and choices[0]["delta"].get("content"):
                            arrivals.append((time.monotonic_ns(), choices[0]["delta"]["content"]))
                return arrivals

            return await asyncio.gather(*map(read, job.prompts()))

    def run() -> Finish:
        loop = uvloop.new_event_loop()
        streams = loop.run_until_complete(main())
        return lambda: outcome(streams)

    return run


CONTENDERS = {
    "responder": Contender("responder stream, threads", ("responder",), responder_streams),
    "responder_merged": Contender("responder stream_map", ("responder",), responder_merged),
    "openai": Contender("openai SDK, threads", ("openai",), openai_streams),
    "openai_async": Contender("AsyncOpenAI, gather", ("openai",), openai_async_streams),
    "aiohttp": Contender("aiohttp + uvloop, gather", ("aiohttp", "uvloop"), aiohttp_streams),
}


def milliseconds(name: str) -> Callable[[harness.Row], str]:
    """Reads a number of seconds as milliseconds."""
    return lambda row: f"{row[name] * 1000:.2f}"


def main() -> int:
    arguments = harness.parse(harness.parser(__doc__))
    report = Report("What does a streamed event cost, and how late does it arrive?", arguments)
    many = 2_000 if arguments.quick else 10_000
    jobs = {
        "back to back": Job(8, 8, 0.001, events=many),
        "side by side": Job(200, 200, 0.02, events=100, interval=0.02),
        "one by one": Job(20, 1, 0.02, events=5, interval=0.005),
    }
    names = harness.chosen(arguments, tuple(CONTENDERS))
    rows = report.measure([Run("streams", name, job, group) for group, job in jobs.items() for name in names])

    def of(group: str) -> list[harness.Row]:
        return [row for row in rows if row.run.group == group]

    def microseconds(row: harness.Row) -> float:
        """CPU an event."""
        return row["cpu"] / (row.run.job.calls * row.run.job.events) * 1e6

    cost = ("CPU us/event", lambda row: f"{microseconds(row):.1f}")
    first = [("first ms", milliseconds("first_median")), ("worst first ms", milliseconds("first_max"))]
    delay = [("delay ms", milliseconds("delay_median")), ("p99 ms", milliseconds("delay_p99"))]
    harness.show(f"8 streams of {many:,} events, back to back", of("back to back"), [cost, WALL, MEMORY, WRONG, SERVER])
    harness.show(
        "200 streams of 100 events at 20 ms (ideal 2.00 s)",
        of("side by side"),
        [WALL, IDEAL_RATIO, *delay, *first, cost, MEMORY, WRONG, SERVER],
    )
    harness.show("20 streams, one after another", of("one by one"), [*first, *delay, WRONG, SERVER])

    read, merged, single = (
        harness.find(rows, name, group)
        for name, group in (
            ("responder", "back to back"),
            ("responder_merged", "side by side"),
            ("responder", "one by one"),
        )
    )
    report.goal("CPU an event, back to back", read and microseconds(read), 6, unit=" us")
    report.goal("200 merged streams: wall to ideal", merged and merged["wall"] / merged.run.job.ideal, 1.1)
    report.goal("200 merged streams: median delay", merged and merged["delay_median"] * 1000, 2, unit=" ms")
    report.goal("200 merged streams: 99th percentile", merged and merged["delay_p99"] * 1000, 20, unit=" ms")
    report.goal("first piece after the server sent it", single and single["first_median"] * 1000, 2, unit=" ms")
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())
