"""Many texts to vectors: what a run of them is made of. One request is in `call/embedding.py`, who shares one in `packing.py`."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence, Sized
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from responder.call.asker import Source
from responder.call.embedding import Embedder, is_about_texts, is_too_large, text_key
from responder.many.packing import Pack, Packs, Room, estimated_tokens, packs_of
from responder.many.parallel import Rules, Run, Work
from responder.many.progress import ProgressOption, ProgressReporter
from responder.many.runs import open_file
from responder.values.answer import NO_USAGE, Usage
from responder.values.bounds import Bounds
from responder.values.cancellation import CancelToken
from responder.values.clock import monotonic
from responder.values.deadline import Deadline
from responder.values.embeddings import EmbeddingResult, Embeddings, EmbeddingTotals, Rows
from responder.values.errors import APIError, BadRequestError, CancelledError, ConfigurationError
from responder.values.options import Options
from responder.values.results import ItemResult
from responder.values.trace import Trace
from responder.values.vectors import Vectors, native

if TYPE_CHECKING:
    from responder.many.checkpoint import Checkpoint

# What is sent alone, to tell a refused text from a refused request.
_HARMLESS = "hello"


@dataclass(frozen=True, slots=True)
class EmbeddingJob:
    """What a run of texts is to do. `Responder.embed` explains the keywords that it is made of.

    Attributes:
        embedder: Who is asked; its token is that of the run.
        texts: Any iterable.
        rules: How many requests at once, and what ends the run early.
        progress: Who is informed of the progress.
        deadline: Seconds for the texts that share a request; None: no bound.
        checkpoint: The run's file; None: none.
        cache: The responder's file; None: none.
        dedupe: Send equal texts once.
        batch_size: Texts in a request at most; None: as many as the provider takes.
    """

    embedder: Embedder
    texts: Iterable[str]
    rules: Rules
    progress: ProgressOption = None
    deadline: float | None = None
    checkpoint: str | os.PathLike[str] | None = None
    cache: Checkpoint | None = None
    dedupe: bool = True
    batch_size: int | None = None


@dataclass(frozen=True, slots=True)
class PackResult(ItemResult[Pack, None]):
    """What became of a pack. Its `error` is that of one of its texts: a fatal one, else the first.

    Attributes:
        found: Vectors, each with the places, within the pack, of its texts.
        errors: Places of the texts that failed, each with its error.
        reused: How many vectors a file had.
        trace: What its requests did; None where nothing was done.
    """

    found: list[tuple[Sequence[int], Vectors]] = field(default_factory=list)
    errors: dict[int, Exception] = field(default_factory=dict)
    reused: int = 0
    trace: Trace | None = None

    @property
    def failed(self) -> int:
        """How many of its texts failed."""
        return len(self.errors)


def embed(job: EmbeddingJob) -> Embeddings:
    """Get the vectors of many texts; wait for all.

    Raises:
        ConfigurationError: They cannot be asked for.
        APIError: With `on_error="raise"`, the first failure. It, and whatever else ends the run early, has an attribute `batch`
            that holds what is finished.
    """
    token = job.embedder.cancel or CancelToken()
    files = _files(job)
    prefix = job.embedder.key()  # says, before anything is sent, that the provider has no embeddings
    key = (lambda text: text_key(prefix, text)) if files or job.dedupe else None
    room = Room(job.embedder.endpoint.dialect.embedding_limits(), job.batch_size)
    packs = packs_of(job.texts, room, key, job.dedupe)
    count = len(job.texts) if isinstance(job.texts, Sized) else None
    collector = _Collector(packs, count, ProgressReporter(job.progress, count, "texts"), job.rules.max_workers)
    worker = _Worker(job, room, files, token)
    work = Work(worker.perform, worker.unfinished, collector.add, collector.close)
    run = Run[Pack, PackResult](packs, work, job.rules, ordered=False, token=token)
    try:
        with run:
            for _ in run:
                pass
            for result in run.rest():
                collector.add(result)
    except BaseException as error:
        collector.add_interrupted()
        for result in run.taken_back():
            collector.add(result)
        for pack in list(packs.out.values()):
            collector.add(worker.unfinished(-1 - pack.start, pack, CancelledError("not finished: the run was ended")))
        error.batch = collector.embeddings()  # type: ignore[attr-defined]  # for whoever catches it
        raise
    return collector.embeddings()


def _files(job: EmbeddingJob) -> list[Checkpoint]:
    """Return the files that keep vectors: the run's first, and the responder's, unless they are the same."""
    files = [_file(job, job.checkpoint)] if job.checkpoint is not None else []
    if job.cache is not None and not (files and os.path.samefile(files[0].path, job.cache.path)):  # noqa: PTH121 - any kind of path
        files.append(job.cache)
    return files


def _file(job: EmbeddingJob, path: str | os.PathLike[str]) -> Checkpoint:
    """Return the run's file, with the vectors of the batch jobs in it that have ended."""
    rules, embedder = job.rules, job.embedder
    file = open_file(path, rules.deadline, rules.cancel)
    if file.has_jobs:
        from responder.many.job_start import gather

        file.close()
        source = Source(embedder.endpoint, Options(), embedder.timeout, None, None)
        gather(source, path, Bounds(embedder.timeout, rules.deadline, rules.cancel), "vectors")
        file = open_file(path, rules.deadline, rules.cancel)
    return file


class _Worker:
    """Gets the vectors of one pack after another. Safe for threads.

    Args:
        job: What the run is to do.
        room: Learns what is too large for a request.
        files: Those that keep vectors.
        token: Ends the run.
    """

    def __init__(self, job: EmbeddingJob, room: Room, files: Sequence[Checkpoint], token: CancelToken) -> None:
        self._job = job
        self._room = room
        self._files = files
        self._token = token
        self._works = False  # a request has succeeded: whatever is refused from now on, a text is at fault

    def perform(self, index: int, pack: Pack) -> PackResult:
        """Get the vectors of a pack."""
        trace = Trace()
        found: list[tuple[Sequence[int], Vectors]] = []
        errors = dict(pack.refused)
        reused = 0
        try:
            deadline = Deadline.after(self._job.deadline).earliest(self._job.rules.deadline)
            asked: Sequence[int] = range(len(pack.asked))
            if self._files:
                kept = self._kept(pack, deadline)
                found += kept
                reused = len(kept)
                known = {places[0] for places, _ in kept}
                asked = [place for place in asked if pack.asked[place] not in known]
            if asked:
                self._ask(pack, asked, deadline, trace, found, errors)
        except Exception as error:  # noqa: BLE001 - a text's error belongs to its result
            answered = {place for places, _ in found for place in places}
            for place in pack.asked:
                if place not in answered:
                    errors.setdefault(place, error)
        elapsed = monotonic() - trace.started
        return PackResult(index, pack, None, _first(errors), trace.attempts, elapsed, trace.waited, found, errors, reused, trace)

    def _ask(
        self,
        pack: Pack,
        asked: Sequence[int],
        deadline: Deadline,
        trace: Trace,
        found: list[tuple[Sequence[int], Vectors]],
        errors: dict[int, Exception],
    ) -> None:
        """Ask for the vectors of the texts at some places of `pack.asked`; halve what is refused, down to the bad text alone."""
        waiting = [asked]
        alone: list[APIError] = []  # refusals of single texts
        while waiting:
            part = waiting.pop()
            if self._token.cancelled:
                raise CancelledError(f"not sent: {self._token.reason}")
            places = [pack.asked[place] for place in part]
            texts = [pack.texts[place] for place in places]
            middle = len(part) // 2
            tokens = sum(map(estimated_tokens, texts))
            if middle and (len(part) > self._room.texts or tokens > self._room.tokens):
                waiting += [part[middle:], part[:middle]]  # packed before another request was refused as too large
                continue
            try:
                vectors = self._job.embedder.embed(texts, deadline, trace)
            except APIError as error:
                if not is_about_texts(error):
                    # No text is at fault for a wrong field: the next request would be refused as well.
                    error.fatal = error.fatal or isinstance(error, BadRequestError)
                    errors.update(dict.fromkeys(places, error))
                    if error.fatal:
                        raise
                    continue
                if len(part) == 1:
                    errors[places[0]] = error
                    alone.append(error)
                    if not self._works and len(alone) == 2:
                        self._make_sure(deadline, trace)
                    continue
                self._room.shrink(is_too_large(error), len(part), tokens)
                waiting += [part[middle:], part[:middle]]
                continue
            self._works = True
            found.append((places, vectors))
            self._keep([pack.keys[place] for place in part] if self._files else (), vectors, deadline)

    def _make_sure(self, deadline: Deadline, trace: Trace) -> None:
        """Ask for a harmless text after two refusals and no success: halving all texts would not show that the request is wrong.

        Raises:
            APIError: It is refused, too: so will all others.
        """
        try:
            self._job.embedder.embed((_HARMLESS,), deadline, trace)
        except BadRequestError as error:
            error.fatal = True
            raise
        self._works = True

    def _kept(self, pack: Pack, deadline: Deadline) -> list[tuple[Sequence[int], Vectors]]:
        """Return the vectors that a file has, one by one."""
        kept: dict[bytes, bytes] = {}
        for file in self._files:
            kept = {**file.find_vectors(pack.keys, deadline, self._token), **kept}
        return [
            ((place,), Vectors(native(kept[key]), len(kept[key]) // 4))
            for place, key in zip(pack.asked, pack.keys, strict=True)
            if key in kept
        ]

    def _keep(self, keys: Sequence[bytes], vectors: Vectors, deadline: Deadline) -> None:
        for file in self._files:
            try:
                pairs = [(key, native(vectors.row(place))) for place, key in enumerate(keys)]
                file.store_vectors(pairs, deadline, self._token)
            except ConfigurationError as error:
                self._token.cancel(str(error))  # these vectors are in our hands; what cannot be kept is not asked for

    @staticmethod
    def unfinished(index: int, pack: Pack, error: Exception) -> PackResult:
        """Return the result of a pack that was not finished."""
        errors = {**dict.fromkeys(pack.asked, error), **pack.refused}
        return PackResult(index, pack, None, error, 0, errors=errors)


def _first(errors: dict[int, Exception]) -> Exception | None:
    if not errors:
        return None
    fatal = [error for error in errors.values() if getattr(error, "fatal", False)]
    return fatal[0] if fatal else errors[min(errors)]


class _Collector:
    """Puts the results of packs together, as they come in, in the caller's thread."""

    def __init__(self, packs: Packs, count: int | None, reporter: ProgressReporter, max_workers: int) -> None:
        self._packs = packs
        self._rows = Rows(count)
        self._reporter = reporter
        self._errors: dict[int, tuple[str, Exception, int]] = {}
        self._repeats: list[tuple[int, int, str]] = []
        self._covered = 0
        self._taking: PackResult | None = None
        self._is_closed = False
        self._totals = EmbeddingTotals(times=[], max_workers=max_workers)
        self._begin = monotonic()

    def add(self, result: PackResult) -> None:
        """Take the vectors, errors and counts out of a result. What it held is let go."""
        pack = result.item
        if pack.start not in self._packs.out:
            return  # it was taken in already
        # Ctrl-C may come between any two of these lines; until the pack is no longer out, all of them may be done again.
        self._taking = result
        for places, vectors in result.found:
            self._write(pack.start, places, vectors, result.errors)
        for place, error in result.errors.items():
            self._errors[pack.start + place] = (pack.texts[place], error, result.attempts if place not in pack.refused else 0)
        self._repeats += [(pack.start + place, first, pack.texts[place]) for place, first in pack.repeats]
        self._covered = max(self._covered, pack.start + len(pack.texts))
        del self._packs.out[pack.start]
        usage, cost = self._count(result, len(pack.repeats))
        if not self._is_closed:
            self._reporter.count(len(pack.texts), len(result.errors), usage, cost)
        pack.texts = []
        result.found.clear()

    def add_interrupted(self) -> None:
        """Take in the result that an exception interrupted."""
        if self._taking is not None:
            self.add(self._taking)

    def _write(self, start: int, places: Sequence[int], vectors: Vectors, errors: dict[int, Exception]) -> None:
        try:
            if places[-1] - places[0] == len(places) - 1:
                self._rows.write(start + places[0], vectors.data, vectors.dimensions)
                return
            for row, place in enumerate(places):
                self._rows.write(start + place, vectors.row(row), vectors.dimensions)
        except ValueError as error:
            failure = ConfigurationError(
                f"the model gave vectors of other lengths in the same run ({error}): take one of one length"
            )
            errors.update(dict.fromkeys(places, failure))

    def _count(self, result: PackResult, repeats: int) -> tuple[Usage, float | None]:
        totals, trace = self._totals, result.trace
        totals.reused += result.reused + repeats
        if trace is None or not trace.attempts:
            return NO_USAGE, 0.0
        totals.attempts += trace.attempts
        totals.waited += trace.waited
        if totals.times is not None:
            totals.times += [attempt.ended - attempt.sent for attempt in trace.made if not attempt.cause]
        totals.usage = totals.usage + trace.usage
        succeeded = any(not attempt.cause for attempt in trace.made)
        is_known = trace.priced and (trace.usage.known or not succeeded)
        cost = trace.cost if is_known else None
        totals.cost = None if totals.cost is None or cost is None else totals.cost + cost
        return trace.usage, cost

    def close(self) -> None:
        """Note that the run has ended."""
        self._is_closed = True
        self._totals.wall = monotonic() - self._begin
        self._reporter.close()

    def embeddings(self) -> Embeddings:
        """Return what there is."""
        count = self._covered
        for index, first, text in self._repeats:
            if first in self._errors:
                self._errors[index] = (text, self._errors[first][1], 0)
            else:
                self._rows.write(index, self._rows.row(first), self._rows.dimensions)
        failed = [
            EmbeddingResult(index, text, None, error, attempts) for index, (text, error, attempts) in sorted(self._errors.items())
        ]
        data = self._rows.finish(count, [result.index for result in failed])
        return Embeddings(data, count, self._rows.dimensions, failed, self._totals)
