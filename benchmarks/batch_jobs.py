"""What does a batch job of 100,000 prompts take, in memory and CPU, both ways?

The prompts come from a generator. They are submitted as batches of OpenAI's form and read back, and each result is checked
against its prompt. responder keeps them in a checkpoint; beside it stands what one writes with the openai SDK: the lines
and the results in lists. The provider is the simulator, in a process of its own; the time that it takes to answer is left out.

Expected of `responder`: under 200 MB at its peak.
"""

from __future__ import annotations

import io
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import harness

PROMPT = "Prompt {number}: " + "what does this review say of the thing that was bought, and of its price? " * 4
LINES_A_BATCH = 50_000


def prompts(count: int) -> Iterator[str]:
    """The prompts: each names its number."""
    for number in range(count):
        yield PROMPT.format(number=number)


def is_right(text: str, number: int) -> bool:
    """Returns whether an answer quotes its prompt."""
    return text.startswith(f"Simulated answer to: Prompt {number}: ")


def ours(url: str, count: int, simulator_waits: Any) -> int:
    from responder import OpenAIResponder

    with tempfile.TemporaryDirectory() as folder:
        gpt = OpenAIResponder("benchmark", api_key="k", base_url=url)
        job = gpt.submit(prompts(count), checkpoint=f"{folder}/job.db")
        simulator_waits()
        job.wait(poll=0.1)
        return sum(not is_right(result.text, result.index) for result in job.results())


def openai(url: str, count: int, simulator_waits: Any) -> int:
    from openai import OpenAI

    client = OpenAI(api_key="k", base_url=url)
    lines = [
        json.dumps(
            {
                "custom_id": str(number),
                "method": "POST",
                "url": "/v1/chat/completions",
                "body": {"model": "benchmark", "messages": [{"role": "user", "content": prompt}]},
            }
        )
        for number, prompt in enumerate(prompts(count))
    ]
    batches = []
    for start in range(0, count, LINES_A_BATCH):
        file = io.BytesIO("\n".join(lines[start : start + LINES_A_BATCH]).encode())
        uploaded = client.files.create(file=("lines.jsonl", file), purpose="batch")
        batches.append(
            client.batches.create(input_file_id=uploaded.id, endpoint="/v1/chat/completions", completion_window="24h").id
        )
    simulator_waits()
    found: dict[int, str] = {}
    for batch in batches:
        output = client.batches.retrieve(batch).output_file_id or ""
        for line in client.files.content(output).text.splitlines():
            parsed = json.loads(line)
            found[int(parsed["custom_id"])] = parsed["response"]["body"]["choices"][0]["message"]["content"]
    return sum(not is_right(found.get(number, ""), number) for number in range(count))


CLIENTS = {"responder": ours, "openai": openai}


def client(name: str, url: str, count: int) -> None:
    """Runs in a process of its own, and prints what it took."""

    def simulator_waits() -> None:
        sys.stdout.write("sent\n")  # the other side lets the provider answer, which takes no time of ours
        sys.stdout.flush()
        sys.stdin.readline()

    begun = time.process_time()
    wrong = CLIENTS[name](url, count, simulator_waits)
    cpu = time.process_time() - begun
    sys.stdout.write(json.dumps({"peak": harness.peak_memory(), "cpu": cpu, "wrong": wrong}) + "\n")


def measured(name: str, count: int) -> dict[str, float]:
    """Runs one client against a provider of its own."""
    from responder.simulator import Simulator

    with Simulator(process=True, batch_hours=1) as simulator:
        arguments = [sys.executable, str(Path(__file__)), "--client", name, simulator.base_url("openai"), str(count)]
        process = subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        if process.stdin is None or process.stdout is None or process.stdout.readline() != "sent\n":
            raise RuntimeError(f"{name} has not sent its prompts")
        simulator.advance(2)
        process.stdin.write("\n")
        process.stdin.flush()
        numbers: dict[str, float] = json.loads(process.stdout.readline())
        process.wait()
        counted = sum(request.path == "/v1/batches" and request.method == "POST" for request in simulator.received)
    return {**numbers, "batches": counted}


def main() -> int:
    options = harness.parser(__doc__)
    options.add_argument("--client", nargs=3, metavar=("NAME", "URL", "COUNT"), help="what one process does")
    options.add_argument("--prompts", type=int, help="prompts of a job (100000; quick: 5000)")
    arguments = harness.parse(options)
    if arguments.client:
        client(arguments.client[0], arguments.client[1], int(arguments.client[2]))
        return 0
    count = arguments.prompts or (5_000 if arguments.quick else 100_000)
    print(f"{count:,} prompts as a batch job, sent and read back\n")
    print(f"{'':12}{'peak MB':>9}{'CPU us/prompt':>15}{'batches':>9}{'wrong':>7}")
    rows = {}
    for name in harness.chosen(arguments, tuple(CLIENTS)):
        try:
            rows[name] = found = measured(name, count)
        except (ImportError, RuntimeError) as error:
            print(f"{name}: skipped ({error})")
            continue
        cpu = found["cpu"] / count * 1e6
        print(f"{name:12}{found['peak']:9.0f}{cpu:15.0f}{found['batches']:9.0f}{found['wrong']:7.0f}")
    mine = rows.get("responder")
    if mine is not None:
        print(f"\nGoals\n  {'pass' if mine['peak'] < 200 else 'MISS'}  peak MB of responder: {mine['peak']:.0f} (limit 200)")
    if arguments.json:
        Path(arguments.json).write_text(json.dumps(rows, indent=1), encoding="utf-8")
    return int(any(row["wrong"] for row in rows.values()))


if __name__ == "__main__":
    sys.exit(main())
