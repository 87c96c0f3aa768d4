"""`responder job`: how far is a batch job, and what came of it?"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from responder.cli.fields import fields_of
from responder.cli.interrupt import interruptible
from responder.cli.lines import Lines, as_record
from responder.cli.model import call_options, make_responder
from responder.cli.paths import FILE_PATH
from responder.cli.rows import Row
from responder.cli.terminal import output, say
from responder.cli.words import in_shell_words
from responder.many.job_file import JobFile
from responder.many.jobs import BatchJob
from responder.values.errors import CancelledError, ConfigurationError
from responder.values.schema import Schema
from responder.values.visible import visible_in_line

SOME_FAILED = 1


@click.command("job")
@click.argument("checkpoint", type=FILE_PATH)
@call_options
@click.option("--wait", is_flag=True, help="Wait until it has ended. Ctrl-C ends the waiting, not the job.")
@click.option("--cancel", is_flag=True, help="Cancel what is not done; what is, stays.")
@click.option(
    "-o",
    "--out",
    type=FILE_PATH,
    metavar="OUT",
    help="Where the answers go: .jsonl, .csv, .tsv or .parquet; - is standard output.",
)
@click.option("--overwrite", is_flag=True, help="Replace OUT if it exists.")
@click.option("--price", metavar="IN,OUT", help="The model's price in US dollars per million tokens, in and out.")
@click.option("--progress/--no-progress", default=None, help="A bar on standard error while waiting; default: on a terminal.")
def job(
    checkpoint: str,
    wait: bool,
    cancel: bool,
    out: str | None,
    overwrite: bool,
    progress: bool | None,
    deadline: float | None,
    **choices: Any,
) -> None:
    """Say how far the batch job in CHECKPOINT is; wait for it, cancel it, or write its answers.

    Its last word goes to standard output: waiting, running, cancelling; completed, expired, cancelled or failed. Each line of OUT
    has index, prompt, text or error, finish_reason, usage and cost, in the order of the prompts. The model is the job's own.
    --deadline bounds the waiting.

    Exit code: 0, 1 some prompts have no answer, 2 something is wrong (there is no job; it has not ended), 130 Ctrl-C.

    \b
    responder job night.db
    responder job night.db --wait -o answers.jsonl
    responder job night.db --cancel
    """  # noqa: D301 - click wants the character itself: it keeps the lines below as they are
    if not Path(checkpoint).is_file():
        raise ConfigurationError(
            f"there is no checkpoint {checkpoint}: responder submit FILE --checkpoint {checkpoint} starts one"
        )
    file = JobFile(checkpoint)
    row = file.any()
    file.close()
    if row is None:
        raise ConfigurationError(f"{checkpoint} has no batch job: responder submit FILE --checkpoint {checkpoint} starts one")
    if click.get_current_context().get_parameter_source("model") is not ParameterSource.COMMANDLINE:
        choices["model"] = f"{row.provider}:{row.model}"
    fields = fields_of(Schema(row.form)) if row.form is not None else ()
    lines = Lines(out, overwrite, checkpoint, fields) if out is not None else None
    try:
        sys.exit(_work(checkpoint, lines, wait=wait, cancel=cancel, progress=progress, deadline=deadline, choices=choices))
    except BaseException:
        if lines is not None:
            lines.keep()
        raise


def _work(
    checkpoint: str,
    lines: Lines | None,
    *,
    wait: bool,
    cancel: bool,
    progress: bool | None,
    deadline: float | None,
    choices: dict[str, Any],
) -> int:
    """Do what was asked for; return the exit code."""
    with make_responder(**choices, deadline=None, schema=None) as responder, interruptible() as interruption:
        found: BatchJob[Any] = responder.job(checkpoint)
        if cancel:
            found.cancel()
        if wait:
            try:
                found.wait(deadline, progress, cancel=interruption.token)
            except CancelledError:
                say(f"{found.id} goes on; the same command waits again")
                return interruption.exit_code
        status = found.status
        if lines is None or not lines.is_standard_output:
            output().write(f"{status}\n".encode())
            output().flush()
        failed = _write(found, lines) if lines is not None or wait else 0
        found.close()
    return SOME_FAILED if failed else 0


def _write(found: BatchJob[Any], lines: Lines | None) -> int:
    """Write the results, and return how many prompts have no answer."""
    results = found.results()
    failed, first = 0, ""
    for result in results:
        if result.error is not None:
            failed += 1
            first = first or f"prompt {result.index}: {result.error}"
        if lines is not None:
            row = Row(result.index + 1, result.prompt, values={"prompt": result.prompt})
            record = as_record(result, row, with_values=lines.table is not None)
            if lines.table is None:
                del record["line"], record["elapsed"]
                record = {"index": record.pop("index"), "prompt": result.prompt, **record}
            lines.write(record)
    if lines is not None:
        lines.complete()
    if failed:
        say(visible_in_line(f"{failed} of {len(results)} prompts have no answer; the first is {first}"))
        say(f"responder map FILE --checkpoint {found.path} asks for those alone")
    say(in_shell_words(str(results.summary())))
    return failed
