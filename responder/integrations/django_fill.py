"""How is a field of many rows filled? A queryset in, answers in a field, chunk by chunk, and a second run goes on with the rest.

fill(Article.objects.filter(language="ja"), "summary", lambda article: f"Summarise: {article.text}", max_workers=32)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from responder.integrations.django import get_responder
from responder.responder import Responder
from responder.values.errors import ConfigurationError
from responder.values.messages import Prompt
from responder.values.results import Batch

from django.db.models import Q  # isort: skip - the import above names what to install where there is no Django


@dataclass(frozen=True, slots=True)
class Filled:
    """What became of the rows.

    Attributes:
        answered: Rows whose field was filled.
        failed: Rows that got an error, or were not sent because the run was over; their field is as it was.
        first_error: Why the first of these failed; None where none did.
    """

    answered: int = 0
    failed: int = 0
    first_error: Exception | None = None


def fill(
    queryset: Any,
    field: str,
    prompt: Callable[[Any], Prompt],
    *,
    responder: Responder | None = None,
    chunk_size: int = 500,
    overwrite: bool = False,
    **keywords: Any,
) -> Filled:
    """Ask about each row of a queryset at once, and save the texts of the answers in a field.

    Rows are read in the order of their primary keys and saved after each chunk, all in the calling thread. A row whose field is
    not empty is not asked, so the same call after a failure or an interrupt goes on with the rest; what a chunk had got when it
    was interrupted is saved first. An error that no other row can survive (a wrong key, no credit) ends it after its chunk.

    Args:
        queryset: The rows; an order or a slice of its own is not allowed.
        field: The text field that is filled; NULL and "" are empty.
        prompt: Makes the prompt of a row; it runs in the calling thread and may use the ORM.
        responder: Who is asked; None: the settings' default one.
        chunk_size: Rows that are held in memory, asked and saved together.
        overwrite: Ask about all rows, whatever their field holds.
        **keywords: As `Responder.map` takes them.

    Raises:
        ConfigurationError: There is no such field, or a keyword is invalid.
    """
    names = {found.name for found in queryset.model._meta.concrete_fields}
    if field not in names:
        raise ConfigurationError(f"{queryset.model.__name__} has no field {field!r}, only {', '.join(sorted(names))}")
    if queryset.query.is_sliced or chunk_size < 1:
        raise ConfigurationError(
            "fill() reads the rows in chunks: hand it a queryset that is not sliced, and a chunk_size above 0"
        )
    asked = responder or get_responder()
    wanted = queryset if overwrite else queryset.filter(Q(**{field: ""}) | Q(**{f"{field}__isnull": True}))
    wanted = wanted.order_by("pk")
    filled, last = Filled(), None
    while rows := list((wanted if last is None else wanted.filter(pk__gt=last))[:chunk_size]):
        last = rows[-1].pk
        try:
            batch = asked.map([prompt(row) for row in rows], **keywords)
        except BaseException as error:
            _save(rows, field, getattr(error, "batch", ()))
            raise
        _save(rows, field, batch)
        failures = batch.failures()
        first = filled.first_error or (failures[0].error if failures else None)
        failed = len(rows) - len(batch) + len(failures)
        filled = Filled(filled.answered + len(rows) - failed, filled.failed + failed, first)
        if any(getattr(failure.error, "fatal", False) for failure in failures) or len(batch) < len(rows):
            break
    return filled


def _save(rows: list[Any], field: str, batch: Batch[Any] | tuple[()]) -> None:
    done = []
    for result in batch:
        if result.ok:
            setattr(rows[result.index], field, result.text)
            done.append(rows[result.index])
    if done:
        type(done[0])._base_manager.bulk_update(done, [field], batch_size=100)
