"""How many texts a second can a client embed, and what do their vectors take?

100,000 short texts by 16 workers: 100 ms a request, 1,536 dimensions, base64. responder sends 256 texts a request, and as many as
OpenAI takes (2,048) in a second run; the openai SDK in threads sends 2,048, and langchain-openai its own 1,000. The result has to
be there whole, in input order, and is checked against the texts.

The texts a second are those of the CPU time: what the client could do if it did not wait for the server. The memory of the result
is what the process holds at the end beyond what it held before, once the C library has given back what is free; the raw floats
are 4 bytes each.

Expected of `responder`: at least 20,000 texts a second of client capacity, at most 1.2 x the raw floats.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import gc
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import harness
from harness import CPU, MEMORY, SERVER, WALL, WRONG, Contender, Job, Outcome, Report, Run, resident_memory

DIMENSIONS = 1536
TEXTS_A_REQUEST = 2048
SMALL = 256


def texts_of(job: Job) -> list[str]:
    """The texts: each names its own number, which the server gives back as the first one of its vector."""
    return [f"the text with item {number}" for number in range(job.calls)]


def checked(job: Job, embed: Callable[[Sequence[str]], Any]) -> Callable[[], Callable[[], Outcome]]:
    """Returns the run: the clock is on the embedding, and not on the measuring and checking behind it."""
    texts = texts_of(job)

    def run() -> Callable[[], Outcome]:
        before = resident_memory()
        vectors = embed(texts)

        def look() -> Outcome:
            gc.collect()
            with contextlib.suppress(OSError, AttributeError):  # glibc keeps freed memory of threads for later
                ctypes.CDLL(None).malloc_trim(0)
            held = resident_memory() - before
            wrong = sum(len(vectors[place]) != DIMENSIONS or vectors[place][0] != place for place in range(len(texts)))
            raw = len(texts) * DIMENSIONS * 4 / 2**20
            return Outcome(None, {"wrong": float(wrong), "held": held, "times_raw": held / raw})

        return look

    return run


def ours(job: Job, batch_size: int | None = None) -> Callable[[], Any]:
    from responder import OpenAIResponder

    model = OpenAIResponder("benchmark", api_key="k", base_url=f"{job.url}/v1", timeout=60)
    return checked(job, lambda texts: model.embed(texts, max_workers=job.workers, batch_size=batch_size))


def openai_threads(job: Job) -> Callable[[], Any]:
    import openai

    client = openai.OpenAI(api_key="k", base_url=f"{job.url}/v1", timeout=60)

    def embed(texts: Sequence[str]) -> list[list[float]]:
        parts = [list(texts[start : start + TEXTS_A_REQUEST]) for start in range(0, len(texts), TEXTS_A_REQUEST)]
        with ThreadPoolExecutor(job.workers) as pool:
            replies = pool.map(lambda part: client.embeddings.create(model="benchmark", input=part), parts)
            return [row.embedding for reply in replies for row in reply.data]

    return checked(job, embed)


def langchain_threads(job: Job) -> Callable[[], Any]:
    from langchain_openai import OpenAIEmbeddings

    client: Any = OpenAIEmbeddings(
        model="benchmark", api_key="k", base_url=f"{job.url}/v1", check_embedding_ctx_length=False, timeout=60
    )

    def embed(texts: Sequence[str]) -> list[list[float]]:
        size = 1000
        parts = [list(texts[start : start + size]) for start in range(0, len(texts), size)]
        with ThreadPoolExecutor(job.workers) as pool:
            return [vector for vectors in pool.map(client.embed_documents, parts) for vector in vectors]

    return checked(job, embed)


CONTENDERS = {
    "responder": Contender("responder", ("responder",), functools.partial(ours, batch_size=SMALL)),
    "responder_full": Contender("responder, 2,048 a request", ("responder",), ours),
    "openai": Contender("openai, threads", ("openai", "numpy"), openai_threads),
    "langchain": Contender("langchain-openai, threads", ("langchain_openai",), langchain_threads),
}

COLUMNS = [
    WALL,
    ("texts/s of CPU", lambda row: f"{row.run.job.calls / row['cpu']:,.0f}"),
    ("result", lambda row: f"{row['held']:,.0f} MB"),
    ("x raw", lambda row: f"{row['times_raw']:.2f}"),
    CPU,
    MEMORY,
    WRONG,
    SERVER,
]


def main() -> int:
    options = harness.parser(__doc__)
    options.add_argument("--workers", type=int, default=16)
    options.add_argument("--texts", type=int, help="texts of a run (100000; quick: 20000)")
    arguments = harness.parse(options)
    count = arguments.texts or (20_000 if arguments.quick else 100_000)
    report = Report("How many texts a second can a client embed, and what do their vectors take?", arguments)
    job = Job(calls=count, workers=arguments.workers, latency=0.1)
    rows = report.measure([Run("embeddings", name, job, "embeddings") for name in harness.chosen(arguments, tuple(CONTENDERS))])
    harness.show(f"{count:,} texts by {arguments.workers} workers, {DIMENSIONS:,} dimensions, base64", rows, COLUMNS)
    mine, sdk = (harness.find(rows, name, "embeddings") for name in ("responder", "openai"))
    report.goal("texts a second of client capacity", mine and count / mine["cpu"], 20_000, at_least=True)
    report.goal("memory of the result to the raw floats", mine and mine["times_raw"], 1.2)
    full = harness.find(rows, "responder_full", "embeddings")
    report.goal("the same with 2,048 texts a request", full and full["times_raw"], 1.2)
    report.goal("times faster than openai, threads", mine and sdk and sdk["wall"] / mine["wall"], 1, at_least=True)
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())
