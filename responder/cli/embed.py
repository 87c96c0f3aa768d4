"""`responder embed`: a file of texts in, a file of vectors out."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any

import click

from responder.cli.dry_run import show_embedding_forecast
from responder.cli.interrupt import interruptible
from responder.cli.model import call_options, make_responder, refuse_deaf_port
from responder.cli.paths import FILE_PATH
from responder.cli.reading import Contents, reading_of, text_of, text_options
from responder.cli.rows import Rows
from responder.cli.running import (
    budget_option,
    check_run,
    dry_run_option,
    overwrite_option,
    price_option,
    progress_option,
    resume_option,
    run_deadline_option,
    summary_option,
)
from responder.cli.terminal import say
from responder.cli.vectors import check_out, write
from responder.cli.words import in_shell_words
from responder.values.errors import CancelledError, ConfigurationError, ResponderError
from responder.values.messages import Prompt
from responder.values.visible import is_terminal, visible_in_line

SOME_FAILED = 1

# Options of `Responder.embed`, by their names there.
_SETTINGS = ("dimensions", "purpose", "batch_size", "checkpoint", "budget", "max_errors", "run_deadline", "progress")


@click.command("embed")
@click.option(
    "-o",
    "--out",
    type=FILE_PATH,
    metavar="OUT",
    help="Where the vectors go: .npy, .parquet or .jsonl; default: JSON lines on standard output.",
)
@overwrite_option
@text_options
@call_options
@click.option("--dimensions", type=click.IntRange(min=1), help="Length of the vectors, for models that can shorten them.")
@click.option("--purpose", type=click.Choice(("query", "document")), help="What the vectors are for.")
@click.option("--batch-size", type=click.IntRange(min=1), help="Most texts in a request; default: as many as the provider takes.")
@click.option("-w", "--workers", type=click.IntRange(min=1), default=16, show_default=True, help="Requests at once.")
@run_deadline_option
@click.option("--max-errors", type=click.IntRange(min=1), help="Stop sending once this many texts have failed.")
@click.option(
    "--checkpoint",
    type=FILE_PATH,
    metavar="FILE",
    help="Save each vector in FILE at once; texts that are already in it are not sent again.",
)
@resume_option
@budget_option
@price_option
@dry_run_option
@progress_option
@summary_option
def embed(
    file: str,
    out: str | None,
    overwrite: bool,
    form: str | None,
    summary: bool | None,
    workers: int,
    resume: bool,
    dry_run: bool,
    **choices: Any,
) -> None:
    """Turn every text of FILE into a vector: several texts a request, several requests at once.

    FILE is a txt file (a text a line), a csv or tsv file (with a header), or a jsonl file; - is standard input.

    OUT.npy is an array of float32 with a row for each text (numpy.load reads it); a text that failed is a row of NaN. OUT.parquet
    and OUT.jsonl have index, line, id (if the row has one), embedding and error. The file appears when it is complete; after
    Ctrl-C, what is finished is in OUT.partial. With --checkpoint, the same command asks only for the rest.

    Exit code: 0 all texts have a vector, 1 some failed, 2 nothing was sent because something is wrong, 130 Ctrl-C.

    \b
    responder embed corpus.txt --model openai:text-embedding-3-small -o vectors.npy
    responder embed corpus.txt --model openai:text-embedding-3-small --dry-run
    responder embed reviews.csv --column review --purpose document --model voyage:voyage-3.5 -o vectors.parquet
    """  # noqa: D301 - click wants the character itself: it keeps the lines below as they are
    settings = {name: choices.pop(name) for name in _SETTINGS}
    reading = reading_of(choices)
    check_run(settings["run_deadline"], settings["checkpoint"], resume)
    if dry_run:
        show_embedding_forecast(file, form, {**reading, "check": _check}, {**choices, "schema": None}, settings)
        return
    check_out(out, overwrite or resume, file)
    with (
        make_responder(**choices, schema=None) as responder,
        Rows(file, form, check=_check, **reading) as rows,
    ):
        responder.embed_url()  # a provider without embeddings is reported before a server is looked for
        refuse_deaf_port(responder)
        if rows.remark():
            say(rows.remark())
        with interruptible() as interruption:
            vectors = responder.embed(Contents(rows, text_of), max_workers=workers, cancel=interruption.token, **settings)
        is_cut = interruption.number is not None
        failures = vectors.failures()
        if len(failures) == len(vectors):
            _refuse_fatal(failure.error for failure in failures)
        write(vectors, rows, out, partial=is_cut)
    lost = [failure for failure in failures if not (is_cut and isinstance(failure.error, CancelledError))]
    if lost:
        why = in_shell_words(visible_in_line(str(lost[0].error)))
        say(f"{len(lost)} of {len(vectors)} texts have no vector; the first is {lost[0].index}: {why}")
    if is_cut:
        there = f"{len(vectors) - len(failures)} of {len(rows)} vectors"
        kept = f"{out}.partial has {there}" if out is not None else f"{there} were written"
        how = "" if settings["checkpoint"] is not None else "with --checkpoint FILE, "
        say(f"Interrupted: {kept}; {how}the same command with --resume asks only for the rest")
    if summary if summary is not None else is_terminal(sys.stderr):
        say(in_shell_words(str(vectors.summary())))
    sys.exit(interruption.exit_code if is_cut else SOME_FAILED if failures else 0)


def _refuse_fatal(errors: Iterable[Exception | None]) -> None:
    """Raise the error that has failed every text, such as a wrong key: one line is enough, and no file."""
    for error in errors:
        if isinstance(error, ResponderError) and error.fatal:
            raise error


def _check(prompt: Prompt) -> None:
    if not isinstance(prompt, str):
        raise ConfigurationError("only texts are embedded, no messages")
