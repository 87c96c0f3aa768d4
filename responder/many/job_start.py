"""How does a batch job begin, or go on? Prompts become lines in a checkpoint and are sent; a path or an id becomes the job."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any

from responder.call.asker import Source
from responder.call.batch_form import BatchForm, BatchState, path_of
from responder.call.embedding import Embedder, text_key
from responder.call.question import Question
from responder.call.replies import shown_url
from responder.call.turns import Functions
from responder.many.job_file import JobFile
from responder.many.job_results import failure_of, prompt_json
from responder.many.job_rows import Item, JobKind, JobRow, Part, new_job
from responder.many.job_vectors import VectorJob
from responder.many.jobs import BatchJob, Desk, J, SentJob, with_form
from responder.pace.budget import Spending
from responder.pace.prices import unknown_price
from responder.values.answer import Usage
from responder.values.bounds import Bounds
from responder.values.errors import APIError, ConfigurationError, NotFoundError
from responder.values.messages import Prompt

if TYPE_CHECKING:
    from responder.pace.prices import Pricing


@dataclass(frozen=True, slots=True)
class Submission:
    """What a job is made of. `Responder.submit` explains the keywords.

    Attributes:
        source: Who is asked.
        prompts: What: prompts, or texts.
        checkpoint: Where the job and its answers are kept.
        dedupe: Ask equal prompts once.
        budget: US dollars that it may spend; None: no bound.
        bounds: What may end the sending.
        embedder: Asks for vectors; None: answers are asked for.
    """

    source: Source
    prompts: Iterable[Any]
    checkpoint: str | os.PathLike[str]
    dedupe: bool
    budget: float | None
    bounds: Bounds
    embedder: Embedder | None = None

    @property
    def kind(self) -> JobKind:
        """What it asks for."""
        return "answers" if self.embedder is None else "vectors"

    def asked(self) -> Callable[[Any], tuple[Question, bytes]]:
        """Return what makes a prompt, or a text, into what is sent for it, and the name of its answer."""
        source, embedder = self.source, self.embedder
        if embedder is None:

            def of_prompt(prompt: Prompt) -> tuple[Question, bytes]:
                question = source.question(prompt)
                return question, source.key(question)

            return of_prompt
        prefix = embedder.key()

        def of_text(text: str) -> tuple[Question, bytes]:
            if not isinstance(text, str) or not text:
                raise ConfigurationError(f"this is not a text to embed: {text!r}")
            return embedder.question((text,)), text_key(prefix, text)

        return of_text


def form_of(source: Source) -> BatchForm:
    """Return what the batches of a provider look like.

    Raises:
        ConfigurationError: It has none.
    """
    dialect = source.endpoint.dialect
    if dialect.batches is None:
        raise ConfigurationError(f"{dialect.provider} has no batches that can be submitted here: use map()", fatal=True)
    return dialect.batches(dialect)


def submit(submission: Submission) -> BatchJob[Any]:
    """Send prompts as a batch job, or go on with the one of the same prompts that is in the file; raises as `begun` does."""
    if Functions(submission.source.options):
        raise ConfigurationError("a batch cannot call Python functions: leave them out of tools, or use map()", fatal=True)
    desk, job = begun(submission)
    prompts = submission.prompts
    return sent(BatchJob[Any](desk, job, prompts if isinstance(prompts, Sequence) else None), submission)


def submit_embed(submission: Submission) -> VectorJob:
    """Do the same with texts, for their vectors."""
    desk, job = begun(submission)
    return sent(VectorJob(desk, job), submission)


def sent(made: J, submission: Submission) -> J:
    """Send what is not sent yet of a job.

    Raises:
        APIError: The provider refuses.
    """
    try:
        made.send(submission.bounds)
    except APIError:
        made.forget()  # where nothing was sent, nothing is left to go on with
        made.close()
        raise
    return made


def begun(submission: Submission) -> tuple[Desk, JobRow]:
    """Write prompts into a checkpoint as a job, or find the job of the same prompts that is in it; nothing is sent yet.

    Raises:
        ConfigurationError: A prompt or a keyword is invalid, or the file cannot be used.
    """
    source, prompts = submission.source, submission.prompts
    if isinstance(prompts, (str, bytes)):
        raise ConfigurationError("submit takes several prompts, not one str: put it in a list", fatal=True)
    if not isinstance(submission.checkpoint, (str, os.PathLike)):
        raise ConfigurationError(
            f"submit needs checkpoint= as a path, to keep the job in that file, not {submission.checkpoint!r}", fatal=True
        )
    form = form_of(source)
    if submission.embedder is not None and not form.takes_texts:
        raise ConfigurationError(
            f"the batches of {source.endpoint.dialect.provider} do not embed: use embed(), which packs many texts into a request",
            fatal=True,
        )
    if submission.budget is not None and source.endpoint.price is None:
        raise unknown_price(source.endpoint.dialect.provider, source.endpoint.dialect.model)
    with tempfile.TemporaryFile() as spool:
        count = _spool(submission.asked(), prompts, spool)
        file = JobFile(submission.checkpoint, submission.bounds.deadline, submission.bounds.cancel)
        try:
            schema = source.options.schema
            job, _is_old = file.begin(
                new_job(_whose(source), count, None if schema is None else dict(schema), kind=submission.kind),
                lambda: _spooled(spool),
                form.limits,
                dedupe=submission.dedupe,
                refused=lambda: _refuser(source, submission.budget, form.limits.price_share),
            )
        except BaseException:
            file.close()
            raise
    return Desk(source, form, file), job


def _spool(asked: Callable[[Any], tuple[Question, bytes]], prompts: Iterable[Any], spool: IO[bytes]) -> int:
    """Write what is asked for each prompt into a file, and return how many there are."""
    count = 0
    for place, prompt in enumerate(prompts):
        about: dict[str, Any] = {"place": place, "prompt": prompt_json(prompt)}
        body = b""
        try:
            question, key = asked(prompt)
            if question.is_polled:
                raise ConfigurationError("a batch has no answers in the background: leave out background", fatal=True)
            about.update(
                question=key.hex(),
                url=path_of(question.url),  # a base URL may hold a key
                headers=dict(question.headers),
                size=question.size,
                max_tokens=question.max_tokens,
            )
            body = question.body
        except ConfigurationError as error:
            if error.fatal:
                raise
            about["failure"] = failure_of("prompt", message=str(error))
            about["question"] = hashlib.sha256(b"cannot be sent %d" % place).hexdigest()
        spool.write(b"%b\n%b\n" % (json.dumps(about).encode(), body))
        count += 1
    return count


def _spooled(spool: IO[bytes]) -> Iterator[Item]:
    spool.seek(0)
    while head := spool.readline():
        about = json.loads(head)
        body = spool.readline()[:-1]
        yield Item(**{**about, "question": bytes.fromhex(about["question"]), "body": body})


def _refuser(source: Source, budget: float | None, share: float) -> Callable[[Item], str]:
    """Return what says whether there is no money for an item any more."""
    price = source.endpoint.price
    if budget is None or price is None:
        return lambda _item: ""
    spending, batch_price = Spending(budget), _Share(price, share)
    is_over = False

    def refused(item: Item) -> str:
        nonlocal is_over
        is_over = is_over or spending.try_reserve(batch_price, item.size, item.max_tokens) is None
        said = f"not sent: the budget of ${budget:.2f} is used up, by what the prompts before may cost. Raise budget="
        return failure_of("budget", message=said) if is_over else ""

    return refused


class _Share:
    """A part of a price."""

    def __init__(self, price: Pricing, share: float) -> None:
        self._price = price
        self._share = share

    def cost(self, usage: Usage, tier: str = "") -> float | None:  # noqa: ARG002 - a batch is a tier of its own
        """Return US dollars for the tokens of one request; None if unknown."""
        dollars = self._price.cost(usage)
        return None if dollars is None else dollars * self._share


def _whose(source: Source) -> tuple[str, str, str]:
    """Return who answers, as a file keeps it: provider, model and URL."""
    dialect = source.endpoint.dialect
    return dialect.provider, dialect.model, shown_url(dialect.base_url)


def take_up(
    source: Source, id_or_path: str | os.PathLike[str], checkpoint: str | os.PathLike[str] | None, bounds: Bounds
) -> BatchJob[Any]:
    """Return the job that a checkpoint or the provider has.

    Args:
        source: Who was asked.
        id_or_path: A checkpoint; or the id of a job or of a batch.
        checkpoint: Where a job that is named by its id is kept; None: it is looked for at the provider, and kept for the moment.
        bounds: What may end the search.

    Raises:
        ConfigurationError: There is none.
        APIError: The provider refuses.
    """
    form, name = form_of(source), os.fspath(id_or_path)
    is_path = checkpoint is None and os.path.isfile(name)  # noqa: PTH113 - a str or anything like a path
    if checkpoint is None and not is_path and (os.sep in name or name.endswith(".db")) and not name.startswith("batches/"):
        raise ConfigurationError(f"there is no checkpoint {name}", fatal=True)
    if is_path or (checkpoint is not None and os.path.isfile(checkpoint)):  # noqa: PTH113 - as above
        file = JobFile(name if checkpoint is None else checkpoint, bounds.deadline, bounds.cancel)
        try:
            found = _in_file(source, file, None if is_path else name)
        except BaseException:
            file.close()
            raise
        if found is not None:
            return BatchJob(Desk(with_form(source, found), form, file), found)
        file.close()
    return _adopted(source, form, name, checkpoint, bounds)


def _in_file(source: Source, file: JobFile, name: str | None) -> JobRow | None:
    dialect = source.endpoint.dialect
    if name is not None:
        found = file.job(name)
        if found is None:
            return None
    else:
        found = file.newest(dialect.provider, dialect.model)
        if found is None:
            other = file.any()
            asks = f"its newest job asks {other.provider}:{other.model}" if other is not None else "submit() starts one"
            raise ConfigurationError(f"{file.path} has no batch job of {dialect.provider}:{dialect.model}: {asks}", fatal=True)
    if found.kind == "vectors":
        raise ConfigurationError(f"{found.name} asks for vectors: submit_embed() with the same texts goes on with it", fatal=True)
    if (found.provider, found.model, found.url) != _whose(source):
        raise ConfigurationError(
            f"{found.name} was sent to {found.provider}:{found.model} at {found.url}: ask with a responder of that", fatal=True
        )
    return found


def _adopted(
    source: Source, form: BatchForm, name: str, checkpoint: str | os.PathLike[str] | None, bounds: Bounds
) -> BatchJob[Any]:
    """Return a job of which only the provider knows: its batches by the job's name, or the one with that id."""
    dialect = source.endpoint.dialect
    desk = Desk(source, form, None)  # type: ignore[arg-type]  # only its batches are asked for
    batches = desk.batches(bounds)
    found: list[BatchState] = []
    if name.startswith("job-"):
        found = [state for state in batches.listed() if state.mark.startswith(f"{name}-")]
    else:
        try:
            found = [batches.look(name)]
        except NotFoundError:
            pass
    if not found:
        raise ConfigurationError(f"{name} is neither a checkpoint nor a job that {dialect.provider} has", fatal=True)
    whose = name if name.startswith("job-") else found[0].mark.rpartition("-")[0].rpartition("-")[0] or f"job-of-{name}"
    path = checkpoint
    if path is None:
        descriptor, path = tempfile.mkstemp(prefix="responder-", suffix=".db")
        os.close(descriptor)
    file = JobFile(path, bounds.deadline, bounds.cancel)
    if checkpoint is None:
        weakref.finalize(file, _remove, os.fspath(path))
    parts = []
    for number, state in enumerate(found):
        _, _, of_mark = state.mark.rpartition("-")[0].rpartition("-")
        known = int(of_mark) if of_mark.isdigit() else number
        parts.append(
            Part(
                0, known, path_of(dialect.url()), {}, state.total or 0, 0, "sent",
                upload=state.upload, batch=state.id, status=state.status,
            )
        )  # fmt: skip
    job = file.adopt(new_job(_whose(source), 0, name=whose), parts)
    return BatchJob(Desk(source, form, file), job)


def _remove(path: str) -> None:
    for name in (path, f"{path}-wal", f"{path}-shm", f"{path}-jobs"):
        with contextlib.suppress(OSError):
            os.unlink(name)  # noqa: PTH108 - a str, as all paths here


def gather(source: Source, checkpoint: str | os.PathLike[str], bounds: Bounds, kind: JobKind = "answers") -> None:
    """Bring the answers of the batch jobs that have ended into their checkpoint, so that a run finds them there.

    Raises:
        ConfigurationError: One has not ended: what it is asked would be asked, and paid for, twice.
        APIError: The provider refuses.
    """
    file = JobFile(checkpoint, bounds.deadline, bounds.cancel)
    try:
        for job in file.open_jobs():
            if (job.provider, job.model, job.url) != _whose(source) or job.kind != kind:
                continue  # it asks another model: none of its answers is of use here
            desk = Desk(with_form(source, job), form_of(source), file)
            under_way: SentJob = BatchJob[Any](desk, job) if kind == "answers" else VectorJob(desk, job)
            if not under_way.gather(bounds):
                raise ConfigurationError(
                    f"{job.name} in {file.path} has not ended, and what it asks would be paid for twice: wait for it, as with "
                    f"job({file.path!r}).wait(), cancel it, or name another checkpoint",
                    fatal=True,
                )
    finally:
        file.close()
