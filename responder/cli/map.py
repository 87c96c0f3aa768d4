"""`responder map`: a file of prompts in, a file of answers out."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import click

from responder.call.question import Question
from responder.cli.completion import MODEL_NAME
from responder.cli.dry_run import show_forecast
from responder.cli.fields import fields_of
from responder.cli.interrupt import Interruption, interruptible
from responder.cli.lines import Lines, as_record
from responder.cli.model import make_responder, model_options, refuse_deaf_port
from responder.cli.paths import FILE_PATH
from responder.cli.reading import prompt_options, reading_of
from responder.cli.rows import Row, Rows
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
from responder.cli.terminal import discard_output, say
from responder.cli.words import in_shell_words
from responder.many.runs import AnswerRun
from responder.report.file import check
from responder.responder import Responder
from responder.values.errors import CancelledError, ConfigurationError, ResponderError
from responder.values.messages import Prompt
from responder.values.results import Result
from responder.values.visible import is_terminal, visible_in_line

SOME_FAILED = 1

# Options of the run.
_SETTINGS = (
    *("workers", "run_deadline", "max_errors", "on_error", "progress", "dedupe", "budget", "hedge"),
    *("checkpoint", "report", "reasks"),
)


@click.command("map")
@click.option(
    "-o",
    "--out",
    type=FILE_PATH,
    metavar="OUT.jsonl",
    help="Where the answers go: .jsonl, .csv, .tsv or .parquet; default: standard output.",
)
@overwrite_option
@prompt_options
@model_options
@click.option("-w", "--workers", type=click.IntRange(min=1), default=16, show_default=True, help="Calls at once.")
@run_deadline_option
@click.option("--max-errors", type=click.IntRange(min=1), help="Stop sending once this many rows have failed.")
@click.option(
    "--on-error",
    type=click.Choice(("collect", "stop")),
    default="collect",
    show_default=True,
    help="After a failure, continue (collect) or stop.",
)
@click.option(
    "--checkpoint",
    type=FILE_PATH,
    metavar="FILE",
    help="Save each answer in FILE at once; answers already in it are not asked for again.",
)
@resume_option
@click.option("--dedupe", is_flag=True, help="Ask equal prompts once.")
@budget_option
@price_option
@click.option("--hedge", type=float, metavar="SHARE", help="Send the slowest prompts a second time, such as 0.05 of them.")
@click.option(
    "--fallback",
    "fallbacks",
    type=MODEL_NAME,
    multiple=True,
    metavar="MODEL",
    help="PROVIDER:MODEL that steps in when others fail. Repeatable.",
)
@click.option("--reasks", type=click.IntRange(min=0), default=1, help="How often to ask again when an answer does not fit.")
@click.option(
    "--report",
    type=FILE_PATH,
    metavar="FILE.html",
    help="Write a page about the run: its time line, its numbers, what to change.",
)
@dry_run_option
@progress_option
@summary_option
def map_command(
    file: str,
    out: str | None,
    overwrite: bool,
    form: str | None,
    summary: bool | None,
    resume: bool,
    dry_run: bool,
    **choices: Any,
) -> None:
    """Ask every prompt of FILE in parallel; write one JSON line for each, in order, or a table.

    FILE is a txt file (one prompt per line), a csv or tsv file (with a header), or a jsonl file (one object with
    "prompt" or "messages", or one string, per line); - is standard input. All of it is checked before the first prompt is sent.

    Each line of the output has index, line, id (if the row has one), text or error, finish_reason, usage, attempts and
    elapsed (seconds), and with --schema what the answer holds as parsed; a table (-o OUT.csv, OUT.tsv, OUT.parquet) has the
    columns of FILE beside them, and one for each property of the schema. With -o the file appears when it is complete; after
    Ctrl-C, what is finished is in OUT.partial. With --checkpoint every finished answer is safe, whatever happens: the same
    command with --resume asks only for the rest. The page of --report is written at the end, also of a run that failed or was
    interrupted.

    Exit code: 0 all rows have an answer, 1 some failed, 2 nothing was sent because something is wrong, 130 Ctrl-C.

    \b
    responder map questions.txt --model openai:gpt-4o-mini -o answers.jsonl
    responder map invoices.csv --schema invoice.json --model openai:gpt-4o-mini -o invoices_read.csv
    responder map reviews.csv --template "Summarise: {text}" --model openai:gpt-4o-mini --dry-run
    responder map reviews.csv --template "Summarise: {text}" --model gemini:gemini-2.5-flash --workers 64 > out.jsonl
    """  # noqa: D301 - click wants the character itself: it keeps the lines below as they are
    settings = {name: choices.pop(name) for name in _SETTINGS}
    reading = reading_of(choices)
    check_run(settings["run_deadline"], settings["checkpoint"], resume)
    if settings["report"] is not None:
        _check_report(settings["report"], file, out, settings["checkpoint"])
    fallbacks = choices.pop("fallbacks")
    if dry_run:
        show_forecast(file, form, reading, choices, settings)
        return
    with ExitStack() as stack:
        price = choices.pop("price")
        responder = stack.enter_context(make_responder(**choices, price=price))
        # Their own names and keys; everything else is as it is for the first.
        settings["fallbacks"] = [
            stack.enter_context(make_responder(**{**choices, "model": model, "base_url": None})) for model in fallbacks
        ]

        def check(prompt: Prompt) -> None:
            # Down to the bytes: nothing less finds a NaN.
            Question.of(responder, responder.system, prompt, responder.options)

        with Rows(file, form, check=check, **reading) as rows:
            if settings["checkpoint"] is not None:
                from responder.many.checkpoint_file import refuse_foreign  # most runs do without a database

                refuse_foreign(settings["checkpoint"])  # before the lines of an earlier run are replaced
            if not fallbacks:
                refuse_deaf_port(responder)
            lines = Lines(out, overwrite or resume, file, fields_of(responder.options.schema))
            if rows.remark():
                say(rows.remark())
            run = _Run(responder, rows, lines)
            with interruptible() as interruption:
                code = run.write_all(interruption, settings)
    if summary if summary is not None else is_terminal(sys.stderr):
        say(in_shell_words(run.summary()))
    sys.exit(code)


def _check_report(report: str, file: str, out: str | None, checkpoint: str | None) -> None:
    place = check(report).resolve()
    for other, path in (("FILE", file), ("--out", out), ("--checkpoint", checkpoint)):
        if path is not None and path != "-" and Path(path).resolve() == place:
            raise ConfigurationError(f"--report and {other} name the same file, {report}")


class _Run:
    """One run: takes the results in order, writes and counts them.

    To the map it is the prompts, in a number that is known from the start: so a stopped run reports the rows that it never
    sent, too.
    """

    def __init__(self, responder: Responder, rows: Rows, lines: Lines) -> None:
        self._responder = responder
        self._rows = rows
        self._lines = lines
        self._sent: dict[int, Row] = {}  # rows that were handed to the map and whose result was not taken
        self._failed = self._not_sent = 0
        self._first_failure = ""
        self._held: list[Result] = []  # of rows that were ended by us before the first line was written
        self._results: AnswerRun | None = None

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[Prompt]:
        for index, row in enumerate(self._rows):
            self._sent[index] = row
            yield row.prompt

    def write_all(self, interruption: Interruption, settings: dict[str, Any]) -> int:
        """Ask everything; return the exit code."""
        try:
            code = self._write_results(interruption, settings)
        except ConfigurationError:
            raise  # nothing was sent: there is nothing to report
        except BaseException:
            self._write_report(settings["report"])
            raise
        return code if self._write_report(settings["report"]) else code or SOME_FAILED

    def _write_report(self, path: str | None) -> bool:
        """Write the page; return False if that failed, which affects no result."""
        if path is not None and self._results is not None:
            try:
                self._results.report(path)
            except ConfigurationError as error:
                say(f"Error: {error}")
                return False
        return True

    def _write_results(self, interruption: Interruption, settings: dict[str, Any]) -> int:
        # On a terminal the lines themselves show the progress, and a bar between them would garble both.
        show_bar = settings["progress"]
        can_resume = settings["checkpoint"] is not None
        resume = (
            "; " + ("" if can_resume else "with --checkpoint FILE, ") + "the same command with --resume asks only for the rest"
        )
        if show_bar is None and self._lines.is_standard_output and is_terminal(sys.stdout):
            show_bar = False
        try:
            self._results = self._responder.imap(
                self,
                max_workers=settings["workers"],
                on_error=settings["on_error"],
                max_errors=settings["max_errors"],
                run_deadline=settings["run_deadline"],
                progress=show_bar,
                cancel=interruption.token,
                checkpoint=settings["checkpoint"],
                dedupe=settings["dedupe"],
                budget=settings["budget"],
                hedge=settings["hedge"],
                fallbacks=settings["fallbacks"],
                reasks=settings["reasks"],
            )
            with self._results as results:
                for result in results:
                    if interruption.number is not None and isinstance(result.error, CancelledError):
                        del self._sent[result.index]  # not finished, so it is not kept
                    else:
                        self._take(result)
                if interruption.number is None:
                    for result in results.rest():
                        self._take(result)
            self._write_held()
            if self._lines.written == len(self):
                self._lines.complete()
        except BrokenPipeError:
            discard_output()  # the reader of our lines has had enough (`| head`)
            return SOME_FAILED
        except BaseException:
            self._tell_what_is_kept("Stopped")
            raise
        if self._lines.written < len(self):
            self._tell_what_is_kept("Interrupted", resume)
            return interruption.exit_code
        if not self._failed and not self._not_sent:
            return 0
        not_sent = f"{self._not_sent} of {len(self)} prompts were not sent"
        if self._failed:
            more = f", {self._not_sent} were not sent" if self._not_sent else ""
            say(f"{self._failed} of {len(self)} prompts failed{more}; the first is {self._first_failure}")
        else:
            say(f"{not_sent}: {self._first_failure}")
        return SOME_FAILED

    def _take(self, result: Result) -> None:
        if not self._lines.written:
            error = result.error
            if isinstance(error, ResponderError) and error.fatal:
                raise error  # such as a wrong key: every other row would fail too, so one line is enough
            if isinstance(error, CancelledError):
                self._held.append(result)  # such an error of a later row may have ended this one
                return
            self._write_held()
        self._write(result)

    def _write_held(self) -> None:
        held, self._held = self._held, []
        for result in held:
            self._write(result)

    def _write(self, result: Result) -> None:
        row = self._sent.pop(result.index)
        if result.error is not None:
            self._count(result.error, row, was_sent=result.attempts > 0)
        self._lines.write(as_record(result, row, with_values=self._lines.table is not None))

    def _count(self, error: Exception, row: Row, *, was_sent: bool) -> None:
        self._failed += was_sent
        self._not_sent += not was_sent
        # Rows that were not sent because of another's failure usually come after it, and have no error of their own.
        if not self._first_failure or (was_sent and self._failed == 1):
            self._first_failure = f"line {row.line}: {in_shell_words(visible_in_line(str(error)))}"

    def _tell_what_is_kept(self, what: str, resume: str = "") -> None:
        kept = self._lines.keep()
        written = self._lines.written
        if kept is not None:
            say(f"{what}: the {written} finished of {len(self)} results are in {kept}{resume}")
        elif written:
            say(f"{what}: {written} of {len(self)} results were written{resume}")
        elif what == "Interrupted":
            say(f"{what} before any result came; nothing was written{resume}")

    def summary(self) -> str:
        """Return the run in a few lines."""
        return str(self._results.summary()) if self._results is not None else "nothing was sent"
