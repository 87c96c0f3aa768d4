"""What came of a batch job? Its results in input order, read from the file as they are looked at, each with its cost or error."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, overload

from responder.call.asker import Source
from responder.call.batch_form import Outcome
from responder.call.replies import fit, invalid_answer, read_parsed, refused
from responder.many.checkpoint_rows import stored_answer
from responder.many.job_file import JobFile
from responder.many.job_rows import Found, ItemRow, JobRow
from responder.values.answer import NO_USAGE, Answer, T, Usage
from responder.values.errors import (
    APIError,
    BudgetExceededError,
    CancelledError,
    ConfigurationError,
    DeadlineExceededError,
    InvalidResponseError,
)
from responder.values.messages import Message, Prompt, Text
from responder.values.results import Answered, Batch, Failed
from responder.values.schema import UnfitError

# Results that are read at once.
_TOGETHER = 200


# Names of lines


def line_name(question: bytes, place: int, nonce: str) -> str:
    """Return the `custom_id` of a line: what it asks, where its prompt stands, and in which batch. 64 characters at most."""
    return f"{base64.urlsafe_b64encode(question).decode().rstrip('=')}-{place}-{nonce}"


def read_name(name: str) -> tuple[bytes, int, str] | None:
    """Return what `line_name` was given; None for a name that it did not make."""
    digest, rest = name[:43], name[43:]
    _, place, nonce = [*rest.split("-"), "", ""][:3]
    try:
        question = base64.urlsafe_b64decode(f"{digest}=")
        number = int(place)
    except ValueError:
        return None
    is_ours = len(question) == 32 and number >= 0 and line_name(question, number, nonce) == name
    return (question, number, nonce) if is_ours else None


# Failures


def failure_of(what: str, **details: Any) -> str:
    """Return why a prompt has no answer, as the file keeps it.

    Args:
        what: "reply", "expired", "cancelled", "missing", "failed", "prompt" or "budget".
        **details: What `error_of` needs to make the error of it.
    """
    return json.dumps({"what": what, **details}, separators=(",", ":"), default=str)


def error_of(source: Source, failure: Mapping[str, Any]) -> Exception:
    """Return the error that a failure is: the one that a live call would have raised."""
    what = failure.get("what")
    if what == "reply":
        try:
            answer = read_reply(source, failure.get("status", 200), failure.get("body"), failure.get("request_id"))
        except APIError as error:
            return _signed(source, error)
        return _signed(source, InvalidResponseError("the answer fits now: ask map for it", body=answer.raw, usage=answer.usage))
    said = str(failure.get("message") or "")
    again = "map() with this checkpoint asks it live"
    if what == "prompt":
        return ConfigurationError(said)
    if what == "budget":
        return BudgetExceededError(said)
    if what == "cancelled":
        return CancelledError(f"not answered: the batch was cancelled; {again}")
    if what == "expired":
        return _signed(
            source, DeadlineExceededError(f"not answered: the batch expired before its turn came; {again}", retryable=True)
        )
    if what == "failed":
        return _signed(source, read_failure(source, said))
    return _signed(
        source,
        InvalidResponseError(f"the results of the batch have no line for this prompt; {again}", retryable=True, status=200),
    )


def read_failure(source: Source, said: str) -> APIError:
    """Return the error of a batch that failed as a whole."""
    return refused(source.endpoint.dialect, 400, {}, {"error": {"message": f"the batch failed: {said or 'no reason was given'}"}})


def _signed(source: Source, error: APIError) -> APIError:
    dialect = source.endpoint.dialect
    error.provider, error.model = dialect.provider, error.model or dialect.model
    return error


def read_reply(source: Source, status: int, body: Any, request_id: str | None) -> Answer:
    """Return the answer in the JSON of a line.

    Raises:
        APIError: The error it means, or that it has no answer, or one that does not fit the schema.
    """
    answer = read_parsed(source.endpoint.dialect, status, body, request_id)
    try:
        fit(answer, source.options.schema)
    except UnfitError as unfit:
        raise invalid_answer(answer, unfit, 0) from None
    return answer


def found_in(source: Source, outcome: Outcome, question: bytes, place: int, masked: Any) -> Found:
    """Return what a line says of its item, as the file keeps it.

    Args:
        source: Who was asked.
        outcome: The line.
        question: The item's key.
        place: The item's position.
        masked: Takes the key out of JSON that may quote it.
    """
    if outcome.what != "reply":
        return Found(place, question, failure=failure_of(outcome.what))
    try:
        answer = read_reply(source, outcome.status, outcome.body, outcome.request_id)
    except APIError:
        return Found(place, question, failure=refusal_of(outcome, masked))
    return Found(place, question, answer.raw, answer.request_id)


def refusal_of(outcome: Outcome, masked: Any) -> str:
    """Return the failure that a line with a reply is, as the file keeps it."""
    return failure_of("reply", status=outcome.status, body=masked(outcome.body), request_id=outcome.request_id)


# Prompts


def prompt_json(prompt: Prompt) -> str | None:
    """Return a prompt as JSON; of media only their name. None for what JSON cannot say."""
    try:
        return json.dumps(_plain(prompt), separators=(",", ":"))
    except (TypeError, ValueError, RecursionError):
        return None


def _plain(value: Any) -> Any:
    if isinstance(value, Message):
        only = value.parts[0] if len(value.parts) == 1 else None
        content = only.text if isinstance(only, Text) else [_plain(part) for part in value.parts]
        return {"role": value.role, "content": content, **({"extra": dict(value.extra)} if value.extra else {})}
    if isinstance(value, Text):
        return {"type": "text", "text": value.text}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if value is None or isinstance(value, (str, int, float, bool, Mapping)):
        return value
    name = getattr(value, "name", "") or getattr(value, "url", None) or ""
    return {"type": "text", "text": f"<{type(value).__name__}{f' {name}' if name else ''}>"}


# Results


@dataclass(frozen=True, slots=True)
class Shelf(Generic[T]):
    """Where results are read from.

    Attributes:
        source: Who was asked.
        file: The file.
        job: Which of its jobs.
        prompts: The prompts as they were given, where they are still here; else those of the file.
        price_share: What an answer costs, as a part of the price of a live one.
    """

    source: Source
    file: JobFile
    job: JobRow
    prompts: Sequence[Prompt] | None
    price_share: float

    def result(self, row: ItemRow) -> Answered[T] | Failed[T]:
        """Return what became of an item."""
        was_asked = row.part is not None and not row.is_copy
        prompt = self._prompt(row)
        outcome = self._outcome(row)
        if isinstance(outcome, Answer):
            usage = outcome.usage if was_asked else NO_USAGE
            object.__setattr__(outcome, "attempts", int(was_asked))
            return Answered(row.place, prompt, outcome, None, int(was_asked), 0.0, 0.0, usage, self._cost(usage, outcome.model))
        usage = getattr(outcome, "usage", NO_USAGE) if was_asked else NO_USAGE
        was_answered = was_asked and json.loads(row.failure or "{}").get("what") == "reply"
        cost = self._cost(usage, getattr(outcome, "model", ""))
        return Failed(row.place, prompt, None, outcome, int(was_answered), 0.0, 0.0, usage, cost)

    def _prompt(self, row: ItemRow) -> Prompt:
        if self.prompts is not None and row.place < len(self.prompts):
            return self.prompts[row.place]
        prompt: Prompt = json.loads(row.prompt) if row.prompt is not None else ""
        return prompt

    def _outcome(self, row: ItemRow) -> Answer[T] | Exception:
        if row.failure:
            return error_of(self.source, json.loads(row.failure))
        kept = stored_answer(row.question, *row.reply) if row.reply is not None else None
        if kept is not None:
            try:
                return self.source.restored(kept)
            except (APIError, UnfitError) as error:
                return InvalidResponseError(f"the answer in {self.file.path} cannot be used: {error}", body=kept.reply)
        return error_of(self.source, {"what": "missing"})

    def _cost(self, usage: Usage, model: str) -> float | None:
        if not usage.known:
            return 0.0
        price = self.source.endpoint.price_of(model)
        dollars = price.cost(usage) if price is not None else None  # whatever tier a reply names: it is that of batches
        return None if dollars is None else dollars * self.price_share


class _Rows(Sequence[Any], Generic[T]):
    """Results that are read when they are looked at; none is kept."""

    def __init__(self, shelf: Shelf[T]) -> None:
        self._shelf = shelf
        self._length = shelf.file.counts(shelf.job)[2]

    def __len__(self) -> int:
        return self._length

    @overload
    def __getitem__(self, index: int) -> Answered[T] | Failed[T]: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[Answered[T] | Failed[T]]: ...

    def __getitem__(self, index: int | slice) -> Answered[T] | Failed[T] | Sequence[Answered[T] | Failed[T]]:
        if isinstance(index, slice):
            return [self[place] for place in range(*index.indices(self._length))]
        place = range(self._length)[index]
        return self._shelf.result(self._shelf.file.rows(self._shelf.job, place, 1)[0])

    def __iter__(self) -> Iterator[Answered[T] | Failed[T]]:
        for start in range(0, self._length, _TOGETHER):
            for row in self._shelf.file.rows(self._shelf.job, start, _TOGETHER):
                yield self._shelf.result(row)


class JobBatch(Batch[T]):
    """The results of a batch job, in input order. Each is read from the file when it is looked at, so any number fits."""

    def __init__(self, shelf: Shelf[T]) -> None:
        self._results = _Rows(shelf)
        self._history = None

    def __reduce__(self) -> tuple[Any, ...]:
        return Batch, (list(self),)
