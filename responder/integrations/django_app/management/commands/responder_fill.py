"""`manage.py responder_fill`: a field of a model is filled from its other fields, and a second run goes on with the rest."""

from __future__ import annotations

import string
from typing import Any

from responder.integrations.django import get_responder
from responder.integrations.django_fill import Filled, Rows, fill, unfilled
from responder.values.errors import ConfigurationError, ResponderError

from django.apps import apps  # isort: skip - the imports above name what to install where there is no Django
from django.core.exceptions import FieldError, ValidationError
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import connections

# What a shell expects of a program that Ctrl-C ended: 128 and the number of SIGINT.
_INTERRUPTED = 130


class Template:
    """The prompt of a row: a text with names of fields in braces, and the value of one field.

    Args:
        model: The rows' model.
        text: "Summarise: {text}"; None: the value of `source` is the prompt.
        source: The field whose value follows the text, unless the text names it; rows where it is empty have no prompt.

    Raises:
        ConfigurationError: Neither is given, or a field does not exist.
    """

    def __init__(self, model: Any, text: str | None, source: str | None) -> None:
        try:
            names = [name for _, name, _, _ in string.Formatter().parse(text or "") if name is not None]
        except ValueError as error:
            raise ConfigurationError(f"--prompt has an odd brace ({error}); write {{{{ and }}}} for literal braces") from None
        known = sorted(field.name for field in model._meta.concrete_fields)
        for name in (*names, *([source] if source is not None else [])):
            if name not in known:
                raise ConfigurationError(f"{model.__name__} has no field {name!r}, only {', '.join(known)}")
        if not names and source is None:
            raise ConfigurationError(
                "every prompt would be the same: add --from FIELD, or name a field in --prompt, as in {text}"
            )
        self._names = names
        self._text = text
        self._needed = [source] if source is not None else names
        self._appended = source if source is not None and source not in names else None

    def __call__(self, row: Any) -> str | None:
        """Return a row's prompt; None where a value that it needs is empty."""
        if any(getattr(row, name) in (None, "") for name in self._needed):
            return None
        head = "" if self._text is None else self._text.format_map({name: getattr(row, name) for name in self._names})
        tail = "" if self._appended is None else str(getattr(row, self._appended))
        return "\n\n".join(part for part in (head, tail) if part)


class Command(BaseCommand):
    """Fill a field of a model's rows."""

    help = (
        "Ask about each row whose field --to is empty, and save the answers there, in chunks. "
        "After a failure or Ctrl-C, the same command goes on with the rest."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the options."""
        add = parser.add_argument
        add("model", metavar="app.Model", help="The model, such as articles.Article.")
        add("--to", required=True, metavar="FIELD", help="The text field to fill; rows that have a value are left alone.")
        add("--from", dest="source", metavar="FIELD", help="The field to ask about; rows where it is empty are skipped.")
        add("--prompt", metavar="TEXT", help='What to ask: "Summarise in a sentence." before --from, or "Summarise: {text}".')
        add(
            "--filter",
            dest="lookups",
            action="append",
            default=[],
            metavar="LOOKUP=VALUE",
            help="Only these rows, such as language=ja or created__gte=2026-01-01. Repeatable.",
        )
        add("--responder", default="default", metavar="NAME", help="A name in the RESPONDER setting.")
        add("--database", metavar="ALIAS", help="The database; default: the router's.")
        add("--workers", type=int, default=16, metavar="N", help="Calls at once (default: 16).")
        add("--chunk-size", type=int, default=500, metavar="N", help="Rows saved together (default: 500).")
        add("--limit", type=int, metavar="N", help="Ask about so many rows at most, to try a prompt out.")
        add("--budget", type=float, metavar="DOLLARS", help="Stop before the run spends more than this.")
        add("--overwrite", action="store_true", help="Ask also about rows that have a value.")
        add("--dry-run", action="store_true", help="Count the rows and show the first prompt; send nothing.")

    def handle(self, *_: Any, **options: Any) -> None:
        """Run the command.

        Raises:
            CommandError: Something is wrong with the options, or rows failed; the message says what.
        """
        try:
            queryset = _queryset(options["model"], options["database"], options["lookups"])
            template = Template(queryset.model, options["prompt"], options["source"])
            if options["dry_run"]:
                self._show(
                    Rows(unfilled(queryset, options["to"], overwrite=options["overwrite"]), template, 100, options["limit"])
                )
                return
            filled = fill(
                queryset,
                options["to"],
                template,
                responder=get_responder(options["responder"]),
                chunk_size=options["chunk_size"],
                overwrite=options["overwrite"],
                limit=options["limit"],
                max_workers=options["workers"],
                budget=options["budget"],
            )
        except ResponderError as error:
            raise CommandError(str(error)) from error
        except KeyboardInterrupt:
            raise CommandError(
                "Interrupted: what was finished is saved; the same command goes on with the rest", returncode=_INTERRUPTED
            ) from None
        self._report(filled, options["verbosity"])

    def _show(self, rows: Rows) -> None:
        count = len(rows)
        first = next(iter(rows), None)
        self.stdout.write(f"{count} rows to ask about; nothing was sent.")
        if first is not None:
            self.stdout.write(f"The first prompt:\n{first}")

    def _report(self, filled: Filled, verbosity: int) -> None:
        others = (
            ("failed", filled.failed),
            ("not sent", filled.not_sent),
            ("skipped, with nothing to ask about", filled.skipped),
        )
        counts = [f"{filled.answered} answered", *(f"{number} {what}" for what, number in others if number)]
        self.stdout.write(", ".join(counts))
        if verbosity > 1 and filled.summary is not None:
            self.stdout.write(str(filled.summary))
        if filled.failed or filled.not_sent:
            raise CommandError(f"The first failure: {filled.first_error}. The same command asks again about what is still empty")


def _queryset(label: str, database: str | None, lookups: list[str]) -> Any:
    """Return the rows that the options name.

    Raises:
        ConfigurationError: There is no such model or lookup.
    """
    if label.count(".") != 1:
        raise ConfigurationError(f"{label!r} is not a model: name it app.Model, such as articles.Article")
    if database is not None and database not in connections.databases:
        raise ConfigurationError(f"there is no database {database!r}, only {', '.join(map(repr, connections.databases))}")
    try:
        queryset = apps.get_model(label)._default_manager.using(database)
    except LookupError as error:
        raise ConfigurationError(f"{str(error).rstrip('.')}: name it app.Model, such as articles.Article") from None
    for text in lookups:
        lookup, equals, value = text.partition("=")
        if not equals:
            raise ConfigurationError(f"--filter {text!r} must be LOOKUP=VALUE, such as --filter language=ja")
        try:
            queryset = queryset.filter(**{lookup: value})
        except (FieldError, ValueError, ValidationError) as error:
            raise ConfigurationError(f"--filter {text!r}: {error}") from None
    return queryset
