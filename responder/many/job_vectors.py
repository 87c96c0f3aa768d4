"""A batch job of texts: which vectors came of it? They are in the checkpoint, where `embed` finds them."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from responder.call.asker import Source
from responder.call.batch_form import Outcome
from responder.call.replies import refused
from responder.many.checkpoint_rows import stored_vector
from responder.many.job_results import error_of, failure_of, refusal_of
from responder.many.job_rows import Found, ItemRow
from responder.many.jobs import SentJob
from responder.values.answer import Usage
from responder.values.embeddings import EmbeddingResult, Embeddings, EmbeddingTotals, Rows
from responder.values.errors import APIError, InvalidResponseError
from responder.values.vectors import FLOAT, Vectors, native

# Rows that are read at once.
_TOGETHER = 500


def vector_in(source: Source, outcome: Outcome, question: bytes, place: int, masked: Any) -> Found:
    """Return what a line says of its text, as the file keeps it; the parameters are those of `found_in`."""
    if outcome.what != "reply":
        return Found(place, question, failure=failure_of(outcome.what))
    try:
        vectors = _read(source, outcome)
    except APIError:
        return Found(place, question, failure=refusal_of(outcome, masked))
    tokens = vectors.usage.input_tokens if vectors.usage.known else None
    return Found(place, question, vector=native(bytes(vectors.row(0))), tokens=tokens)


def _read(source: Source, outcome: Outcome) -> Vectors:
    dialect = source.endpoint.dialect
    if not 200 <= outcome.status < 300 or not isinstance(outcome.body, dict):
        raise refused(dialect, outcome.status, {}, outcome.body)
    vectors = dialect.parse_embeddings(outcome.body, {})
    if len(vectors) != 1:
        raise InvalidResponseError(f"there are {len(vectors)} vectors for a text")
    return vectors


class VectorJob(SentJob):
    """Texts that a provider embeds within a day, for a part of the price. Made by `submit_embed`, which takes it up again, too.

    Attributes:
        id: The job's name.
        path: The checkpoint.
    """

    _found: Callable[..., Found] = staticmethod(vector_in)

    def results(self) -> Embeddings:
        """Return the vectors, in the order of the texts: what `embed` returns.

        `embed` with the same checkpoint asks for those that expired, failed or were cancelled, and finds the others.

        Raises:
            ConfigurationError: The job has not ended: wait for it.
            APIError: The results could not be read.
        """
        self.must_have_ended()
        file, job, source = self._desk.file, self._job, self._desk.source
        count = file.counts(job)[2]
        rows, failed, totals = Rows(count), [], EmbeddingTotals()
        tokens = 0
        for start in range(0, count, _TOGETHER):
            for row in file.rows(job, start, _TOGETHER):
                vector = stored_vector(row.question, *row.reply) if row.reply is not None else None
                if vector is None:
                    failed.append(self._failure(row))
                else:
                    rows.write(row.place, native(vector), len(vector) // FLOAT)
                if row.part is None or row.is_copy:
                    totals.reused += vector is not None
                else:
                    totals.attempts += 1
                    tokens += row.tokens or 0
        totals.usage = Usage(tokens, 0, known=tokens > 0)
        price = source.endpoint.price
        dollars = price.cost(totals.usage) if price is not None else None
        totals.cost = dollars * self._desk.form.limits.price_share if dollars is not None else None if tokens else 0.0
        data = rows.finish(count, [result.index for result in failed])
        return Embeddings(data, count, rows.dimensions, failed, totals)

    def _failure(self, row: ItemRow) -> EmbeddingResult:
        error = error_of(self._desk.source, json.loads(row.failure) if row.failure else {"what": "missing"})
        text = json.loads(row.prompt) if row.prompt is not None else ""
        return EmbeddingResult(row.place, text, None, error, 0)
