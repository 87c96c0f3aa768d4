"""`responder submit`: a file of prompts becomes a batch job, answered within a day for half the price."""

from __future__ import annotations

import sys
from operator import attrgetter
from typing import Any

import click

from responder.call.question import Question
from responder.cli.dry_run import show_batch_forecast
from responder.cli.model import make_responder, model_options, refuse_deaf_port
from responder.cli.paths import FILE_PATH
from responder.cli.reading import Contents, prompt_options, reading_of
from responder.cli.rows import Rows
from responder.cli.running import dry_run_option, price_option
from responder.cli.terminal import output, say
from responder.values.messages import Prompt


@click.command("submit")
@click.option(
    "--checkpoint", type=FILE_PATH, metavar="FILE", required=True, help="Where the job and its answers are kept; required."
)
@prompt_options
@model_options
@click.option("--dedupe", is_flag=True, help="Send equal prompts once.")
@click.option("--budget", type=float, metavar="DOLLARS", help="Send no more than this may cost.")
@price_option
@dry_run_option
def submit(
    file: str,
    checkpoint: str,
    form: str | None,
    dedupe: bool,
    budget: float | None,
    dry_run: bool,
    **choices: Any,
) -> None:
    """Send every prompt of FILE through the provider's batch API: answered within a day, for half the price.

    FILE is what `responder map` takes. The job is in the checkpoint; its id goes to standard output. The same command goes on
    with it, whatever became of the first one: nothing is sent twice. `responder job` waits for the answers; `responder map` with
    the same checkpoint asks live for what the batch did not answer.

    Exit code: 0 sent, 1 the provider refuses, 2 nothing was sent because something is wrong, 130 Ctrl-C.

    \b
    responder submit reviews.csv --template "Summarise: {text}" --model openai:gpt-4o-mini --checkpoint night.db --dry-run
    responder submit reviews.csv --template "Summarise: {text}" --model openai:gpt-4o-mini --checkpoint night.db
    responder job night.db --wait -o answers.jsonl
    """  # noqa: D301 - click wants the character itself: it keeps the lines below as they are
    reading = reading_of(choices)
    if dry_run:
        settings = {"checkpoint": checkpoint, "dedupe": dedupe, "budget": budget}
        show_batch_forecast(file, form, reading, choices, settings)
        return
    with make_responder(**choices) as responder:

        def check(prompt: Prompt) -> None:
            Question.of(responder, responder.system, prompt, responder.options)

        with Rows(file, form, check=check, **reading) as rows:
            if rows.remark():
                say(rows.remark())
            refuse_deaf_port(responder)
            job = responder.submit(Contents(rows, attrgetter("prompt")), checkpoint=checkpoint, dedupe=dedupe, budget=budget)
            batches = len(job.batches)
            output().write(f"{job.id}\n".encode())
            output().flush()
            say(
                f"{len(rows)} prompts in {batches} batch{'' if batches == 1 else 'es'}; "
                f"for the answers: responder job {checkpoint} --wait -o OUT.jsonl"
            )
            job.close()
    sys.exit(0)
