"""A batch job: prompts that a provider answers within a day, for half the price: sent, waited for, read and cancelled."""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

from responder.call.asker import Source
from responder.call.batch_form import BatchForm, BatchState
from responder.call.batching import Batches
from responder.many.job_file import JobFile
from responder.many.job_lock import sending
from responder.many.job_reading import Reader
from responder.many.job_results import JobBatch, Shelf, failure_of, found_in, line_name
from responder.many.job_rows import Found, JobRow, Part
from responder.many.progress import ProgressOption, ProgressReporter
from responder.values.answer import NO_USAGE, T
from responder.values.bounds import Bounds
from responder.values.cancellation import CancelToken
from responder.values.deadline import NEVER, Deadline
from responder.values.errors import (
    APIConnectionError,
    APIError,
    APIStatusError,
    BadRequestError,
    CancelledError,
    CircuitOpenError,
    ConfigurationError,
    DeadlineExceededError,
    NotFoundError,
    QuotaExceededError,
    RateLimitError,
    ResponderError,
)
from responder.values.process import getpid
from responder.values.results import Batch

# Seconds between two looks: soon at first, for small batches; a provider has a day.
_FIRST_LOOK, _LONGEST_LOOK = 1.0, 60.0

# How many batches that may be the one that was just sent are looked at.
_MOST_CANDIDATES = 1000


@dataclass(frozen=True, slots=True)
class Desk:
    """With whom a job is dealt with, and where it is kept.

    Attributes:
        source: Who is asked.
        form: What its batches look like.
        file: Where the job is kept.
    """

    source: Source
    form: BatchForm
    file: JobFile

    def batches(self, bounds: Bounds) -> Batches:
        """Return the provider's batches, for the requests of a moment."""
        return Batches(self.source.endpoint, self.form, bounds)


J = TypeVar("J", bound="SentJob")


class SentJob:
    """What every batch job can do: how far is it, wait, cancel. All of it is in the checkpoint, for any process with the file.

    Attributes:
        id: The job's name.
        path: The checkpoint.
    """

    _found: Callable[..., Found] = staticmethod(found_in)
    """What a line of its results says."""

    def __init__(self, desk: Desk, job: JobRow, prompts: Any = None) -> None:
        self.id = job.name
        self.path = desk.file.path
        self._desk = desk
        self._job = job
        self._prompts = prompts
        self._seen: dict[int, BatchState] = {}  # what the provider said last
        # One step at a time, though several threads may wait for one job. By process: a forked child lacks who holds it.
        self._locks: dict[int, threading.RLock] = {}
        self._adds = not job.prompts  # known only from the provider: its prompts are those that its results name

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.id} in {self.path!r}>"

    def _lock(self) -> threading.RLock:
        return self._locks.setdefault(getpid(), threading.RLock())

    @property
    def batches(self) -> tuple[str, ...]:
        """The provider's ids of its batches; those that are not sent yet are missing."""
        return tuple(part.batch for part in self._parts() if part.batch)

    @property
    def status(self) -> str:
        """How far it is, as the provider says now: "waiting" (nothing is sent), "running", "cancelling"; or how it ended.

        The last words are "completed", "expired", "cancelled" and "failed"; of several batches the worst counts. Whatever the
        word, there may be answers: see `results`.

        Raises:
            APIError: The provider could not be asked.
        """
        with self._lock():
            self._look(Bounds(self._desk.source.timeout, NEVER, None))
        return self._status(self._parts())

    def _status(self, parts: list[Part]) -> str:
        words = {"cancelled" if part.state == "dropped" else part.status for part in parts}
        if any(part.state in ("planned", "sending", "sent") and not _is_final(part) for part in parts):
            if all(part.state == "planned" for part in parts):
                return "waiting"
            return "cancelling" if "cancelling" in words else "running"
        return next((word for word in ("failed", "expired", "cancelled") if word in words), "completed")

    def wait(
        self: J,
        deadline: float | None = None,
        progress: ProgressOption = None,
        *,
        cancel: CancelToken | None = None,
        poll: float | None = None,
    ) -> J:
        """Wait until all batches have ended and their answers are in the checkpoint; what is not sent yet is sent meanwhile.

        Args:
            deadline: Seconds to wait at most; None: as long as it takes. The job goes on when they are over.
            progress: As `Responder.map` takes it.
            cancel: A token that ends the waiting, not the job, when another thread cancels it.
            poll: Seconds between two looks; None: a second at first, a minute later.

        Returns:
            The job.

        Raises:
            DeadlineExceededError, CancelledError: The waiting is over; wait again, in any process.
            APIError: The provider refuses to say how far it is, or to take what is not sent yet.
        """
        ends = Deadline.after(deadline)
        bounds = Bounds(self._desk.source.timeout, ends, cancel)
        reporter = ProgressReporter(progress, self._job.prompts or None, "prompts")
        seen = (0, 0)
        pause = _FIRST_LOOK if poll is None else poll
        try:
            while True:
                try:
                    done = self._advance(bounds)
                except DeadlineExceededError:
                    if ends.remaining() > 0:
                        raise
                    done = False
                found = self._progress()
                reporter.count(max(found[0] - seen[0], 0), max(found[1] - seen[1], 0), NO_USAGE, 0.0)
                seen = max(found, seen)
                if done:
                    return self
                if ends.remaining() <= pause:
                    raise DeadlineExceededError(f"{self.id} was not finished in time; it goes on: wait() again, in any process")
                if (cancel or CancelToken()).wait(pause):
                    raise CancelledError(f"stopped waiting for {self.id}, which goes on: {cancel.reason if cancel else ''}")
                if poll is None:
                    pause = min(pause * 1.3, _LONGEST_LOOK)
        finally:
            reporter.close()

    def _progress(self) -> tuple[int, int]:
        answered, failed, _ = self._desk.file.counts(self._job)
        under_way = [self._seen[part.number] for part in self._parts() if part.number in self._seen and not part.is_over]
        return (
            answered + failed + sum(state.done for state in under_way),
            failed + sum(state.failed for state in under_way),
        )

    def cancel(self) -> None:
        """Cancel what is not done. What is, stays, and is paid for: `wait` for the end, then look at `results`.

        Raises:
            APIError: The provider refuses.
        """
        bounds = Bounds(self._desk.source.timeout, NEVER, None)
        with self._lock(), sending(self.path, NEVER, None):
            for part in self._parts():
                if part.state == "sending" and (found := self._find(part, bounds)) is not None:
                    self._note_sent(part, found)
                if part.state in ("planned", "sending"):  # there is none at the provider
                    part.state = "dropped"
                    self._desk.file.finish(part, failure_of("cancelled"))
                elif part.state == "sent" and not _is_final(part):
                    self._cancel(part, bounds)

    def _cancel(self, part: Part, bounds: Bounds) -> None:
        batches = self._desk.batches(bounds)
        try:
            batches.cancel(part.batch)
        except NotFoundError:  # deleted there: nothing more comes of it
            part.state, part.status = "read", "cancelled"
            self._desk.file.finish(part, failure_of("cancelled"))
        except BadRequestError:
            if not batches.look(part.batch).is_final:  # else it has just ended, and there is nothing to cancel
                raise
        else:
            part.status = "cancelling"
            self._desk.file.write(part)

    def must_have_ended(self) -> None:
        """Read what has ended.

        Raises:
            ConfigurationError: Not all has.
            APIError: The provider refuses.
        """
        if not self.gather(Bounds(self._desk.source.timeout, NEVER, None)):
            raise ConfigurationError(f"{self.id} has not ended: call wait() first")

    def forget(self) -> None:
        """Remove it from its file, unless a part of it may have been sent."""
        self._desk.file.forget(self._job)

    def close(self) -> None:
        """Close the checkpoint; the job goes on."""
        self._desk.file.close()

    def __enter__(self: J) -> J:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # One step

    def _parts(self) -> list[Part]:
        return self._desk.file.parts(self._job)

    def gather(self, bounds: Bounds) -> bool:
        """Read the results of the batches that have ended; return True when all have, and nothing is to be sent any more.

        Raises:
            APIError: The provider refuses.
        """
        return self._advance(bounds, sends=False)

    def send(self, bounds: Bounds) -> None:
        """Send what is not sent yet, as far as the provider takes it now.

        Raises:
            APIError: It refuses.
        """
        for part in self._parts():
            if part.state in ("planned", "sending") and not self._send(part, bounds):
                return  # there is too much under way: the others would get the same answer

    def _advance(self, bounds: Bounds, *, sends: bool = True) -> bool:
        """Look at all batches, read the results of those that have ended, send what is not sent; return True when all is done.

        A provider that cannot be reached for a moment is asked again with the next step.
        """
        try:
            with self._lock():
                self._step(bounds, sends=sends)
        except (APIConnectionError, APIStatusError, CircuitOpenError) as error:
            is_passing = error.retryable or isinstance(error, CircuitOpenError)
            if not is_passing or not sends or bounds.deadline.remaining() <= 0:
                raise
        return all(part.is_over for part in self._parts())

    def _step(self, bounds: Bounds, *, sends: bool) -> None:
        self._look(bounds)
        for part in self._parts():
            # What another process has sent since we looked is not seen yet: the next step takes it.
            if part.state == "sent" and _is_final(part) and part.number in self._seen:
                self._collect(part, bounds)
        if sends:
            self.send(bounds)

    def _look(self, bounds: Bounds) -> None:
        self._seen = {}
        for part in self._parts():
            if part.state == "sending":
                with sending(self.path, bounds.deadline, bounds.cancel):
                    part = self._again(part)
                    found = self._find(part, bounds) if part.state == "sending" else None
                    if found is not None:
                        self._note_sent(part, found)
            if part.state == "sent" and (not _is_final(part) or part.number not in self._seen):
                self._note(part, self._looked(part, bounds))

    def _looked(self, part: Part, bounds: Bounds) -> BatchState:
        try:
            return self._desk.batches(bounds).look(part.batch)
        except NotFoundError as error:
            error.args = (f"{error}. If it was deleted there, its job's cancel() gives it up; else check the key",)
            raise

    def _again(self, part: Part) -> Part:
        """Return what the file says of a part now."""
        return next(each for each in self._parts() if each.number == part.number)

    def _note(self, part: Part, state: BatchState) -> None:
        self._seen[part.number] = state
        if state.status == "failed" and state.is_held_up and part.status != "cancelling":
            self._hold_up(part, state)
        elif (part.status, part.why) != (state.status, state.why):
            part.status, part.why = state.status, self._masked(state.why)
            self._desk.file.write(part)

    def _masked(self, value: Any) -> Any:
        return self._desk.source.endpoint.masked(value, Bounds(self._desk.source.timeout, NEVER, None))

    def _hold_up(self, part: Part, state: BatchState) -> None:
        """Take back a batch that the provider has dropped since too much was under way: it is sent again when there is room."""
        part.state, part.status, part.batch = "planned", "", ""
        part.attempt += 1
        part.others.append(state.id)
        self._desk.file.write(part)
        others = any(each.state == "sent" and not _is_final(each) for each in self._parts())
        if not others and part.attempt > 1:
            self._desk.file.halve(part)  # nothing of this job is in its way: alone it may be too much

    # Sending

    def _send(self, part: Part, bounds: Bounds) -> bool:
        """Send a part; return False where the provider has too much under way."""
        desk = self._desk
        with sending(self.path, bounds.deadline, bounds.cancel):
            part = self._again(part)
            if part.state == "sending" and (found := self._find(part, bounds)) is not None:
                self._note_sent(part, found)
            if part.state not in ("planned", "sending"):
                return True
            try:
                with self._lines(part) as (path, size):
                    self._note_sent(part, self._made(part, path, size, bounds))
            except APIError as error:
                if not _is_refusal(error):
                    raise
                part.state = "planned"  # it said no, so there is none
                desk.file.write(part)
                if isinstance(error, RateLimitError) and not isinstance(error, QuotaExceededError):
                    return False
                raise
            return True

    def _made(self, part: Part, path: str, size: int, bounds: Bounds) -> BatchState:
        """Make a batch of a file of lines."""
        desk = self._desk
        batches, order = desk.batches(bounds), part.order(self.id)
        if desk.form.uploads(order) and not part.upload:
            part.upload = batches.upload(order, path, size)
            desk.file.write(part)
        if not desk.form.is_named:
            part.newest = next((batch.id for batch in batches.listed()), "")
        # From here on there may be a batch at the provider, whatever becomes of this process.
        part.state = "sending"
        desk.file.write(part)
        return batches.create(part.order(self.id), path, lambda: self._find(part, bounds))

    def _note_sent(self, part: Part, state: BatchState) -> None:
        part.state, part.batch, part.status = "sent", state.id, state.status
        part.why = self._masked(state.why)
        self._desk.file.write(part)

    @contextmanager
    def _lines(self, part: Part) -> Iterator[tuple[str, int]]:
        """Give the lines of a part as a file, and its size; the file is there for the moment only."""
        form, order, nonce = self._desk.form, part.order(self.id), part.nonce(self.id)
        separator = form.separator(order)
        with tempfile.TemporaryDirectory(prefix="responder-") as folder:
            path = os.path.join(folder, "lines.jsonl")  # noqa: PTH118 - a str, as all paths here
            with open(path, "wb") as file:  # noqa: PTH123 - as above
                between = b""
                for place, question, body in self._desk.file.lines(part):
                    file.write(between + form.line(order, line_name(question, place, nonce), body))
                    between = separator
            yield path, os.path.getsize(path)  # noqa: PTH202 - as above

    def _find(self, part: Part, bounds: Bounds) -> BatchState | None:
        """Return the batch of a part that was perhaps sent; None where the provider has none."""
        order = part.order(self.id)
        known = set(part.others) | {each.batch for each in self._parts()}
        candidates: list[BatchState] = []
        for count, state in enumerate(self._desk.batches(bounds).listed()):
            if count >= _MOST_CANDIDATES or (part.newest and state.id == part.newest):
                break
            if state.id in known:
                continue
            if self._desk.form.is_named:
                if order.mark == state.mark or (part.upload and part.upload == state.upload):
                    return state
            elif state.total in (None, part.lines):
                candidates.append(state)
        return candidates[-1] if candidates else None  # the first that was made; its lines will say whether it is this one

    # Reading

    def _collect(self, part: Part, bounds: Bounds) -> None:
        """Keep the results of a batch that has ended."""
        desk, state = self._desk, self._seen[part.number]
        nonce = "" if self._adds else part.nonce(self.id)
        reader = Reader(desk.source, desk.form, desk.file, part, nonce, self._found)
        if state.status != "failed":
            desk.batches(bounds).read_results(state, reader.take)
            reader.flush()
        if reader.is_foreign:
            if self._adds or desk.form.is_named:
                raise ConfigurationError(f"the batch {part.batch} was not made by submit(): its lines have other names")
            # It had no name, and looked like ours. Ours was never made.
            part.state, part.batch, part.status = "sending", "", ""
            part.others.append(state.id)
            desk.file.write(part)
            return
        part.state, part.status, part.why = "read", state.status, self._masked(state.why)
        words = {"expired": "expired", "cancelled": "cancelled", "failed": "failed"}
        desk.file.finish(part, failure_of(words.get(state.status, "missing"), message=part.why))


class BatchJob(SentJob, Generic[T]):
    """Prompts that a provider answers within a day, for a part of the price. Made by `submit`, taken up again by `job`.

    All of it is in the checkpoint: any process with the file goes on where another one was killed.

    Attributes:
        id: The job's name.
        path: The checkpoint.
    """

    def results(self) -> Batch[T]:
        """Return what became of the prompts, in input order: the same results that `map` returns.

        They are read from the checkpoint one by one as they are looked at. What expired, failed or was cancelled has its error;
        `map` with the same checkpoint asks for those, and finds the others.

        Raises:
            ConfigurationError: The job has not ended: wait for it.
            APIError: The results could not be read.
        """
        self.must_have_ended()
        return JobBatch(Shelf(self._desk.source, self._desk.file, self._job, self._prompts, self._desk.form.limits.price_share))


def _is_final(part: Part) -> bool:
    return part.status in ("completed", "failed", "expired", "cancelled")


def _is_refusal(error: ResponderError) -> bool:
    """Return whether an error says that nothing was made: the provider's own no, and not its breaking down over it."""
    return isinstance(error, APIStatusError) and error.status is not None and error.status < 500 and error.status != 408


def with_form(source: Source, job: JobRow) -> Source:
    """Return a source whose answers have the form that the job asked for, unless it has one of its own."""
    if source.options.schema is not None or job.form is None:
        return source
    return replace(source, options=source.options.merged({"schema": job.form}))
