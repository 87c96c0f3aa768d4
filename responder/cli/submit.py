"""`responder submit`: a file of prompts becomes a batch job, answered within a day for half the price."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import click

from responder.call.question import Question
from responder.cli.model import make_responder, model_options, refuse_deaf_port
from responder.cli.paths import FILE_PATH
from responder.cli.rows import FORMATS, Rows, reading_of
from responder.cli.terminal import output, say
from responder.values.messages import Prompt


@click.command("submit")
@click.argument("file", type=FILE_PATH)
@click.option(
    "--checkpoint", type=FILE_PATH, metavar="FILE", required=True, help="Where the job and its answers are kept; required."
)
@click.option("--format", "form", type=click.Choice(FORMATS), help="Format of FILE, whatever its extension.")
@click.option("--column", default="prompt", show_default=True, help="Column (csv) or key (jsonl) that holds the prompt.")
@click.option("--template", metavar="TEXT", help='Make the prompt from a row\'s values: "Summarise: {text}"; {line} in txt.')
@click.option("--delimiter", metavar="CHARACTER", help="Separator of a csv file, such as ';'.")
@click.option("--encoding", default="utf-8", show_default=True, help="Encoding of FILE, such as cp932 or utf-16.")
@click.option("--skip-empty", is_flag=True, help="Skip rows without a prompt instead of refusing FILE.")
@model_options
@click.option("--dedupe", is_flag=True, help="Send equal prompts once.")
@click.option("--budget", type=float, metavar="DOLLARS", help="Send no more than this may cost.")
@click.option(
    "--price",
    metavar="IN,OUT",
    help="The model's price in US dollars per million tokens, in and out; default: from genai-prices, if installed.",
)
def submit(
    file: str,
    checkpoint: str,
    form: str | None,
    dedupe: bool,
    budget: float | None,
    **choices: Any,
) -> None:
    """Send every prompt of FILE through the provider's batch API: answered within a day, for half the price.

    FILE is what `responder map` takes. The job is in the checkpoint; its id goes to standard output. The same command goes on
    with it, whatever became of the first one: nothing is sent twice. `responder job` waits for the answers; `responder map` with
    the same checkpoint asks live for what the batch did not answer.

    Exit code: 0 sent, 1 the provider refuses, 2 nothing was sent because something is wrong, 130 Ctrl-C.

    \b
    responder submit reviews.csv --template "Summarise: {text}" --model openai:gpt-4o-mini --checkpoint night.db
    responder job night.db --wait -o answers.jsonl
    """  # noqa: D301 - click wants the character itself: it keeps the lines below as they are
    reading = reading_of(choices)
    with make_responder(**choices) as responder:

        def check(prompt: Prompt) -> None:
            Question.of(responder, responder.system, prompt, responder.options)

        with Rows(file, form, check=check, **reading) as rows:
            if rows.skipped:
                say(rows.skipped_line("prompt"))
            refuse_deaf_port(responder)
            job = responder.submit(_Prompts(rows), checkpoint=checkpoint, dedupe=dedupe, budget=budget)
            batches = len(job.batches)
            output().write(f"{job.id}\n".encode())
            output().flush()
            say(
                f"{len(rows)} prompts in {batches} batch{'' if batches == 1 else 'es'}; "
                f"for the answers: responder job {checkpoint} --wait -o OUT.jsonl"
            )
            job.close()
    sys.exit(0)


class _Prompts:
    """The prompts of a file, one after another: never in memory together."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows

    def __iter__(self) -> Iterator[Prompt]:
        for row in self._rows:
            yield row.prompt
