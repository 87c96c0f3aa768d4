"""What do you gain? Four typical jobs on the simulated provider, each next to its sequential time."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from responder.providers.azure import AzureOpenAIResponder
from responder.providers.openai import OpenAIResponder
from responder.providers.vertex import VertexAIResponder
from responder.responder import Responder
from responder.values.errors import ResponderError

if TYPE_CHECKING:
    from responder.simulator import Simulator

Say = Callable[[str], object]

_TOPICS = ("baseball", "cricket", "rugby", "tennis", "chess", "judo", "rowing", "golf", "polo", "skiing")

_NEXT = """
Now with a real key:

  export OPENAI_API_KEY=...      (`responder models` lists all providers)
  responder ask "What is baseball?" --model openai:gpt-4o-mini
  responder map questions.txt --model openai:gpt-4o-mini -o answers.jsonl

or in Python:

  from responder import OpenAIResponder

  batch = OpenAIResponder("gpt-4o-mini").map(prompts, max_workers=32)
  for result in batch:
      print(result.answer.text if result.ok else result.error)"""


@dataclass(frozen=True)
class Scale:
    """How large the jobs are.

    Attributes:
        latency: Seconds that the provider takes for an answer, as `Simulator` takes it.
        texts: How many texts job 3 summarises.
        text_latency: Seconds that the provider takes for each of them.
        rows: How many lines the file of job 4 has.
    """

    latency: str
    texts: int
    text_latency: str
    rows: int


_FULL = Scale("uniform:0.9:1.1", 100, "uniform:0.3:0.5", 40)
_QUICK = Scale("0.05", 20, "0.02", 10)


@dataclass(frozen=True)
class Line:
    """One line of the closing table; times in seconds.

    Attributes:
        job: What was done.
        workers: Calls at once.
        sequential: How long the calls take one after another.
        summed: True when `sequential` is the sum of the calls' own times, and not a run of its own.
        parallel: How long they took at once.
    """

    job: str
    workers: int
    sequential: float
    summed: bool
    parallel: float


def run(say: Say, quick: bool = False) -> None:
    """Run the demo.

    Args:
        say: Prints a line; the progress bar of job 3 goes to standard error by itself.
        quick: Small jobs and a fast provider.

    Raises:
        ImportError: The simulated provider's server library is missing.
        ResponderError: A job failed, which it never should.
    """
    from responder.simulator import Simulator  # its server library is an extra

    scale = _QUICK if quick else _FULL
    say("Four typical jobs on a simulated provider: a server on this machine, in a")
    say("process of its own. Its answers are simulated; nothing is billed.")
    # In its own process: it must not compete with our threads for one interpreter.
    with Simulator(latency=scale.latency, process=True) as provider:
        lines = [_vertex(say, provider), _openai(say, provider)]
        with Simulator(latency=scale.text_latency, process=True) as faster:
            lines += _azure(say, faster, scale.texts)
        lines.append(_file(say, provider, scale.rows))
    _show(say, lines)
    say(_NEXT)


def _vertex(say: Say, provider: Simulator) -> Line:
    say("\n1. Ten prompts to Gemini on Vertex AI")
    prompts = [f"What is {topic}?" for topic in _TOPICS]
    with VertexAIResponder(
        "gemini-2.5-flash",
        project="demo",
        location="us-central1",
        credentials="simulated-token",
        base_url=provider.base_url("vertex"),
    ) as responder:
        return _compare(say, "10 prompts, Gemini on Vertex", responder, prompts)


def _openai(say: Say, provider: Simulator) -> Line:
    say("\n2. Four prompts through OpenAIResponder")
    prompts = [f"Name three rules of {topic}." for topic in _TOPICS[:4]]
    with OpenAIResponder("gpt-4o-mini", api_key="simulated", base_url=provider.base_url("openai")) as responder:
        return _compare(say, "4 prompts, OpenAI", responder, prompts)


def _compare(say: Say, job: str, responder: Responder, prompts: Sequence[str]) -> Line:
    """Measure a job one call after another, and at once."""
    begin = time.perf_counter()
    for prompt in prompts:
        responder.answer(prompt)
    sequential = time.perf_counter() - begin
    say(f"   one after another  {sequential:6.2f} s")
    begin = time.perf_counter()
    texts = responder.map(prompts, max_workers=len(prompts), progress=False).texts()
    parallel = time.perf_counter() - begin
    say(f"   {len(prompts):>2} at once         {parallel:6.2f} s   {sequential / parallel:5.1f} times as fast")
    say(f"   {_check_order(prompts, texts)}")
    return Line(job, len(prompts), sequential, False, parallel)


def _azure(say: Say, provider: Simulator, number: int) -> list[Line]:
    say(f"\n3. {number} texts summarised in order by Azure OpenAI")
    prompts = [f"Summarise in one sentence: report {number} on {_TOPICS[number % 10]}." for number in range(1, number + 1)]
    lines = []
    for workers in (4, 16, 64):
        # A new responder for each: none benefits from connections that another one opened.
        with AzureOpenAIResponder(
            "summaries", endpoint=provider.base_url("azure"), api_version="2024-10-21", api_key="simulated"
        ) as responder:
            begin = time.perf_counter()
            batch = responder.map(prompts, max_workers=workers)
            parallel = time.perf_counter() - begin
            order = _check_order(prompts, batch.texts())
        sequential = sum(result.elapsed for result in batch)
        lines.append(Line(f"{number} texts, Azure OpenAI", workers, sequential, True, parallel))
        say(f"   {workers:>2} at once         {parallel:6.2f} s   {sequential / parallel:5.1f} times as fast; {order}")
    return lines


def _file(say: Say, provider: Simulator, number: int) -> Line:
    workers = 20
    say(f"\n4. A file of {number} prompts through the command line")
    with tempfile.TemporaryDirectory() as folder:
        prompts = [f"Who invented {_TOPICS[number % 10]}? (question {number})" for number in range(1, number + 1)]
        Path(folder, "questions.jsonl").write_text(_json_lines({"id": f"q{n}", "prompt": p} for n, p in enumerate(prompts, 1)))
        command = ["map", "questions.jsonl", "--model", "openai:gpt-4o-mini", "--workers", str(workers), "-o", "answers.jsonl"]
        say("   $ responder map questions.jsonl --model openai:gpt-4o-mini \\")
        say(f"       --workers {workers} -o answers.jsonl")
        begin = time.perf_counter()
        # A program of its own, as a shell would start it, and this same interpreter's package, installed or not.
        finished = subprocess.run(  # noqa: S603 - our own command, no shell
            [sys.executable, "-m", "responder", *command],
            cwd=folder,
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join([str(Path(__file__).resolve().parents[2]), os.environ.get("PYTHONPATH", "")]),
                "OPENAI_API_KEY": "simulated",
                "OPENAI_BASE_URL": provider.base_url("openai"),
            },
            capture_output=True,
            text=True,
            check=False,
        )
        parallel = time.perf_counter() - begin
        if finished.returncode != 0:
            raise ResponderError(f"responder map ended with exit code {finished.returncode}: {finished.stderr.strip()}")
        records = [json.loads(line) for line in Path(folder, "answers.jsonl").read_text(encoding="utf-8").splitlines()]
    order = _check_order(prompts, [record["text"] for record in records])
    sequential = sum(record["elapsed"] for record in records)
    say(f"   {workers:>2} at once         {parallel:6.2f} s   {sequential / parallel:5.1f} times as fast; {order}")
    say("   the first line of answers.jsonl:")
    shown = {name: records[0][name] for name in ("index", "line", "id", "text")}
    say(f"   {json.dumps({**shown, 'text': shown['text'][:24] + '...'})}")
    return Line(f"{number} lines, responder map", workers, sequential, True, parallel)


def _json_lines(rows: Iterable[object]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def _check_order(prompts: Sequence[str], texts: Sequence[str]) -> str:
    """Return the words for answers in order; the simulated model quotes its prompt, so they can be told apart."""
    if len(prompts) != len(texts) or not all(prompt in text for prompt, text in zip(prompts, texts, strict=True)):
        raise ResponderError("the answers are not in the order of the prompts")
    return f"{len(texts)} answers, in order"


def _show(say: Say, lines: Sequence[Line]) -> None:
    say(f"\n{'job':<30}{'at once':>8}{'one by one':>14}{'in parallel':>14}{'speed-up':>11}")
    for line in lines:
        mark = "*" if line.summed else " "
        say(
            f"{line.job:<30}{line.workers:>8}{line.sequential:>11.2f} s{mark}{line.parallel:>12.2f} s"
            f"{line.sequential / line.parallel:>10.1f}x"
        )
    say("* the sum of the calls' own times: what a loop would have taken")
