"""How is a field of many rows filled? A queryset in, answers in a field, chunk by chunk, and a second run goes on with the rest.

fill(Article.objects.filter(language="ja"), "summary", lambda article: f"Summarise: {article.text}", max_workers=32)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from responder.integrations.django import get_responder
from responder.responder import Responder
from responder.values.errors import ConfigurationError
from responder.values.messages import Prompt
from responder.values.results import Result
from responder.values.summary import Summary, was_not_sent

from django.core.exceptions import ValidationError  # isort: skip - the import above names what to install without Django
from django.db.models import Q


@dataclass(frozen=True, slots=True)
class Filled:
    """What became of the rows.

    Attributes:
        answered: Rows whose field was filled.
        failed: Rows that got an error; their field is as it was.
        first_error: Why the first of these failed, or why rows were not sent; None where neither happened.
        not_sent: Rows that were not asked because the run ended early; their field is as it was.
        skipped: Rows for which `prompt` returned None.
        summary: The run in numbers: times, tokens, cost.
    """

    answered: int = 0
    failed: int = 0
    first_error: Exception | None = None
    not_sent: int = 0
    skipped: int = 0
    summary: Summary | None = None


def fill(
    queryset: Any,
    field: str,
    prompt: Callable[[Any], Prompt | None],
    *,
    responder: Responder | None = None,
    chunk_size: int = 500,
    overwrite: bool = False,
    limit: int | None = None,
    **keywords: Any,
) -> Filled:
    """Ask about each row of a queryset at once, and save the texts of the answers in a field.

    Rows are read in the order of their primary keys and saved in chunks, all in the calling thread. A row whose field is not
    empty is not asked, so the same call after a failure or an interrupt goes on with the rest; what was finished before an
    interrupt is saved first. An error that no other row can survive (a wrong key, no credit) ends the run.

    Args:
        queryset: The rows; an order or a slice of its own is not allowed.
        field: The text field that is filled; NULL and "" are empty.
        prompt: Makes the prompt of a row, or returns None to skip it; it runs in the calling thread and may use the ORM.
        responder: Who is asked; None: the settings' default one.
        chunk_size: Answers that are saved together; as many rows are read at once.
        overwrite: Ask about all rows, whatever their field holds.
        limit: Ask about so many rows at most, to try a prompt out.
        **keywords: As `Responder.map` takes them; they hold for the whole run, not for a chunk.

    Raises:
        ConfigurationError: There is no such field, or a keyword is invalid.
    """
    if chunk_size < 1:
        raise ConfigurationError(f"chunk_size must be a number of rows above 0, not {chunk_size!r}")
    if limit is not None and limit < 1:
        raise ConfigurationError(f"limit must be a number of rows above 0, or None, not {limit!r}")
    rows = Rows(unfilled(queryset, field, overwrite=overwrite), prompt, chunk_size, limit)
    run = (responder or get_responder()).imap_unordered(rows, **keywords)
    writer = _Writer(rows, field, run.noted())
    try:
        with run:
            for result in run:
                writer.take(result)
                if len(writer.taken) >= chunk_size:
                    writer.save()
        writer.save()
    except BaseException:
        writer.save_what_is_finished(run.taken_back())
        raise
    not_sent = writer.not_sent + (0 if rows.are_exhausted else rows.left())
    return Filled(writer.answered, writer.failed, writer.first_error, not_sent, rows.skipped, run.summary())


def unfilled(queryset: Any, field: str, *, overwrite: bool = False) -> Any:
    """Return the rows of a queryset that `fill` asks about: those whose field is empty, in the order of their primary keys.

    Raises:
        ConfigurationError: There is no such field, it cannot hold text, or the queryset is sliced.
    """
    names = {found.name for found in queryset.model._meta.concrete_fields}
    if field not in names:
        raise ConfigurationError(f"{queryset.model.__name__} has no field {field!r}, only {', '.join(sorted(names))}")
    try:
        queryset.model._meta.get_field(field).get_prep_value("")
    except (ValueError, TypeError, ValidationError):
        raise ConfigurationError(f"{queryset.model.__name__}.{field} cannot hold text: name a text field") from None
    if queryset.query.is_sliced:
        raise ConfigurationError("fill() reads the rows in chunks: hand it a queryset that is not sliced")
    wanted = queryset if overwrite else queryset.filter(Q(**{field: ""}) | Q(**{f"{field}__isnull": True}))
    return wanted.order_by("pk")


class Rows:
    """The prompts of a queryset's rows, in a number that is known from the start; read a chunk at a time.

    Args:
        wanted: The rows, in the order of their primary keys.
        prompt: Makes the prompt of a row, or returns None to skip it.
        chunk_size: Rows that are read together.
        limit: Yield so many prompts at most.
    """

    def __init__(self, wanted: Any, prompt: Callable[[Any], Prompt | None], chunk_size: int, limit: int | None = None) -> None:
        self._wanted = wanted
        self._prompt = prompt
        self._chunk_size = chunk_size
        self._limit = limit
        self._total: int | None = None
        self._read = 0
        self.open: dict[int, Any] = {}
        """Rows that were handed out and are not saved, by the index of their prompt."""
        self.skipped = 0
        self.are_exhausted = False

    def __len__(self) -> int:
        if self._total is None:
            self._total = self._wanted.count() if self._limit is None else len(self._wanted.values_list("pk")[: self._limit])
        return self._total

    def __iter__(self) -> Iterator[Prompt]:
        index = 0
        for row in self._all():
            self._read += 1
            asked = self._prompt(row)
            if asked is None:
                self.skipped += 1
                continue
            self.open[index] = row
            yield asked
            index += 1
            if index == self._limit:
                break
        self.are_exhausted = True

    def left(self) -> int:
        """Return how many were not read."""
        return max(0, len(self) - self._read)

    def _all(self) -> Iterator[Any]:
        last = None
        while chunk := list((self._wanted if last is None else self._wanted.filter(pk__gt=last))[: self._chunk_size]):
            last = chunk[-1].pk
            yield from chunk


class _Writer:
    """Counts results, and saves those with an answer.

    Args:
        rows: Where the prompts came from.
        field: What is filled.
        noted: Where the workers note each result: Ctrl-C may come between the end of a call and the step that takes its result.
    """

    def __init__(self, rows: Rows, field: str, noted: dict[int, Any]) -> None:
        self._rows = rows
        self._field = field
        self._noted = noted
        self.taken: list[Result[Any]] = []
        self.answered = self.failed = self.not_sent = 0
        self.first_error: Exception | None = None

    def take(self, result: Result[Any]) -> None:
        """Count a result, and keep it until it is saved."""
        self.taken.append(result)
        if result.error is None:
            self.answered += 1
            return
        is_unsent = was_not_sent(type(result.error).__name__, result.attempts)
        if self.first_error is None or (self.failed == 0 and not is_unsent):
            self.first_error = result.error
        self.failed += not is_unsent
        self.not_sent += is_unsent

    def save(self) -> None:
        """Save the answers that were taken."""
        self._save(self.taken)
        for result in self.taken:
            self._noted.pop(result.index, None)
            self._rows.open.pop(result.index, None)
        self.taken = []

    def save_what_is_finished(self, left: list[Any]) -> None:
        """Save also what was finished and not taken.

        Args:
            left: Results that came in, of a run that was ended by an exception.
        """
        found = {result.index: result for result in (*self._noted.copy().values(), *left, *self.taken)}
        self._save(list(found.values()))

    def _save(self, results: list[Result[Any]]) -> None:
        filled = []
        for result in results:
            if result.ok:
                row = self._rows.open[result.index]
                setattr(row, self._field, result.text)
                filled.append(row)
        if filled:
            type(filled[0])._base_manager.using(filled[0]._state.db).bulk_update(filled, [self._field], batch_size=100)
