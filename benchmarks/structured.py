"""What do typed answers cost a call, and how close to ideal do 6,000 of them stay?

6,000 answers of 100 ms by 256 workers, 1 kB of JSON each, validated into a pydantic model of ten fields; beside them the
same answers as text, and the openai SDK's `parse` in threads with the same model. Then validation alone.

Expected of `responder`: within 1.15 x ideal, and at most 60 us of validation a call.
"""

from __future__ import annotations

import datetime
import json
import statistics
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Literal

import harness
from harness import CONNECTIONS, CPU, IDEAL_RATIO, MEMORY, SERVER, WALL, WRONG, Contender, Job, Outcome, Reply, Report, Run

MODEL = "benchmark"
API_KEY = "benchmark-key"
COLUMNS = [("calls", lambda row: str(row.run.job.calls)), WALL, IDEAL_RATIO, CPU, MEMORY, CONNECTIONS, WRONG, SERVER]

if TYPE_CHECKING:
    import pydantic


def invoice() -> type[pydantic.BaseModel]:
    """The model of what the server answers: ten fields."""
    import pydantic

    return pydantic.create_model(
        "Invoice",
        item=str,
        number=(int, pydantic.Field(ge=1)),
        customer=str,
        total=(float, pydantic.Field(ge=0)),
        paid=bool,
        currency=Literal["EUR", "USD"],
        lines=(list[str], pydantic.Field(min_length=1)),
        discount=(float | None),
        date=datetime.date,
        note=(str, pydantic.Field(description="Whatever else it says")),
    )


def responder_typed(job: Job) -> Callable[[], Outcome]:
    """Answers as values of the model."""
    import responder.call.endpoint  # noqa: F401 - loaded with the first responder; nobody's imports are on the clock
    from responder import OpenAIResponder

    kind: Any = invoice()

    def run() -> Outcome:
        with OpenAIResponder(MODEL, api_key=API_KEY, base_url=f"{job.url}/v1") as model:
            batch = model.map(job.prompts(), max_workers=job.workers, schema=kind)
            return Outcome([Reply(r.parsed.item, r.answer.usage.output_tokens) if r.ok else r.error for r in batch])

    return run


def responder_text(job: Job) -> Callable[[], Outcome]:
    """The same answers as text, read as JSON when the clock has stopped."""
    import responder.call.endpoint  # noqa: F401 - as above
    from responder import OpenAIResponder

    def run() -> Callable[[], Outcome]:
        with OpenAIResponder(MODEL, api_key=API_KEY, base_url=f"{job.url}/v1") as model:
            batch = model.map(job.prompts(), max_workers=job.workers)
        return lambda: Outcome([Reply(r.answer.json()["item"], r.answer.usage.output_tokens) if r.ok else r.error for r in batch])

    return run


def openai_parse(job: Job) -> Callable[[], Outcome]:
    """The openai SDK's own way to typed answers, in threads."""
    from openai import OpenAI

    kind: Any = invoice()

    def run() -> Outcome:
        client: Any = OpenAI(api_key=API_KEY, base_url=f"{job.url}/v1")

        def call(prompt: str) -> Reply:
            reply = client.chat.completions.parse(
                model=MODEL, messages=[{"role": "user", "content": prompt}], response_format=kind
            )
            return Reply(reply.choices[0].message.parsed.item, reply.usage.completion_tokens)

        with ThreadPoolExecutor(job.workers) as pool:
            return Outcome(list(pool.map(call, job.prompts())))

    return run


CONTENDERS = {
    "responder": Contender("responder map, typed", ("responder", "pydantic"), responder_typed),
    "text": Contender("responder map, text", ("responder",), responder_text),
    "openai": Contender("openai SDK parse, threads", ("openai", "pydantic"), openai_parse),
}


def validation() -> float:
    """CPU seconds to make a value of an answer's text: the median of some batches."""
    from responder.values.schema import Schema

    schema = Schema(invoice())
    fields = {"item": "item 7", "number": 4711, "customer": "Ada", "total": 99.5, "paid": True, "currency": "EUR"}
    more = {"lines": ["one", "two", "three"], "discount": None, "date": "2026-11-25", "note": "x" * 500}
    text = json.dumps({**fields, **more})
    schema.parse(text)
    batches = []
    for _ in range(15):
        start = time.process_time()
        for _ in range(500):
            schema.parse(text)
        batches.append((time.process_time() - start) / 500)
    return statistics.median(batches)


def main() -> int:
    options = harness.parser(__doc__)
    options.add_argument("--workers", type=int, default=256)
    arguments = harness.parse(options)
    calls = 1500 if arguments.quick else 6000
    report = Report("What do typed answers cost a call, and how close to ideal do 6,000 of them stay?", arguments)
    job = Job(calls=calls, workers=arguments.workers, latency=0.1, structured=True)
    rows = report.measure([Run("structured", name, job) for name in harness.chosen(arguments, tuple(CONTENDERS))])
    title = f"{calls:,} typed answers of 100 ms by {arguments.workers} workers (ideal {job.ideal:.2f} s)"
    harness.show(title, rows, COLUMNS)
    ours, sdk = (harness.find(rows, name) for name in ("responder", "openai"))
    report.goal("wall to ideal", ours and ours["wall"] / job.ideal, 1.15)
    report.goal("validation of an answer of ten fields", validation() * 1e6, 60, unit=" us")
    report.goal("times faster than openai parse, threads", ours and sdk and sdk["wall"] / ours["wall"], 3, at_least=True)
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())
