"""What keeps finished answers in a Django project's database? An AnswerStore, whose steps are done by one thread of its own.

Workers come and go, and a view may be inside of a transaction: one thread with one connection does all steps, outside of
every transaction of the project, keeps what several workers store in one commit, and closes its connection when it has no work.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import Any, TypeVar

from responder.call.keeping import StoredAnswer
from responder.integrations import missing
from responder.values.cancellation import CancelToken
from responder.values.deadline import NEVER, Deadline
from responder.values.errors import CancelledError, ConfigurationError, DeadlineExceededError

try:
    from django.apps import apps
    from django.core.exceptions import AppRegistryNotReady
    from django.db import DatabaseError, connections, transaction
except ModuleNotFoundError as error:
    raise missing("Django", "django") from error

V = TypeVar("V")

# Seconds that a step may take where no deadline comes first.
PATIENCE = 60.0

# Seconds without work after which the connection is closed.
_IDLE = 2.0

# Answers in one commit, at most.
_TOGETHER = 200


class DatabaseStore:
    """Finished answers in the project's own database: for `checkpoint=` and `cache=`, in any process of the project.

    Make one wherever you need it: all of them see the same rows. Each map with it as its checkpoint is a run of its own, which
    gets each answer once.

    Args:
        using: The alias of the database.
    """

    def __init__(self, using: str = "default") -> None:
        self.using = using
        self._run: int | None = None

    def begin_run(self) -> DatabaseStore:
        """Return the store for one run."""
        made = DatabaseStore(self.using)
        made._run = made._done(lambda: _model("Run").objects.using(self.using).create().pk, NEVER, None)
        return made

    def take(self, question: bytes, deadline: Deadline = NEVER, cancel: CancelToken | None = None) -> StoredAnswer | None:
        """Return an answer that this run has not taken yet.

        Raises:
            ConfigurationError: The database failed; the message says how.
            DeadlineExceededError, CancelledError: It did not answer in time.
        """
        run = self._number(deadline, cancel)

        def step() -> StoredAnswer | None:
            rows = _model("Answer").objects.using(self.using)
            while True:
                row = rows.filter(question=question.hex(), run__lt=run).order_by("pk").first()
                if row is None:
                    return None
                # Another process may take it at the same moment: only one of them changes it.
                if rows.filter(pk=row.pk, run=row.run).update(run=run):
                    found = _stored(row)
                    if found is not None:
                        return found

        return self._done(step, deadline, cancel)

    def find(self, question: bytes, deadline: Deadline = NEVER, cancel: CancelToken | None = None) -> StoredAnswer | None:
        """Return the newest answer, and leave it for later calls; raises as `take` does."""

        def step() -> StoredAnswer | None:
            rows = _model("Answer").objects.using(self.using).filter(question=question.hex()).order_by("-pk")
            return next((found for row in rows.iterator(5) if (found := _stored(row)) is not None), None)

        return self._done(step, deadline, cancel)

    def store(
        self,
        question: bytes,
        reply: Mapping[str, Any],
        request_id: str | None,
        deadline: Deadline = NEVER,
        cancel: CancelToken | None = None,
    ) -> None:
        """Keep an answer; once this returns, it is committed.

        Raises:
            ConfigurationError: It could not be kept.
        """
        self.store_all([(question, reply, request_id)], deadline, cancel)

    def store_all(
        self,
        answers: Sequence[tuple[bytes, Mapping[str, Any], str | None]],
        deadline: Deadline = NEVER,
        cancel: CancelToken | None = None,  # noqa: ARG002 - an answer that is there is kept
    ) -> None:
        """Keep several answers in one commit; raises as `store` does."""
        run = self._number(deadline, None)
        rows = [
            (question.hex(), run, json.dumps(reply, separators=(",", ":")), name and name[:255])
            for question, reply, name in answers
        ]
        try:
            _clerk(self.using).keep(rows).result(_seconds(deadline))
        except FutureTimeoutError:
            raise ConfigurationError("an answer could not be kept: the database did not answer in time", fatal=True) from None
        except DatabaseError as error:
            raise _broken(error) from error

    def _number(self, deadline: Deadline, cancel: CancelToken | None) -> int:
        if self._run is None:  # a cache: what it stores is there for every run to come
            self._run = self._done(lambda: _model("Run").objects.using(self.using).create().pk, deadline, cancel)
        return self._run

    def _done(self, step: Callable[[], V], deadline: Deadline, cancel: CancelToken | None) -> V:
        if cancel is not None and cancel.cancelled:
            raise CancelledError(f"not sent: {cancel.reason}")
        try:
            return _clerk(self.using).do(step).result(_seconds(deadline))
        except FutureTimeoutError:
            raise DeadlineExceededError("the deadline passed while the database was asked for kept answers") from None
        except DatabaseError as error:
            raise _broken(error) from error


def _seconds(deadline: Deadline) -> float:
    return max(0.0, min(deadline.remaining(), PATIENCE))


def _broken(error: Exception) -> ConfigurationError:
    return ConfigurationError(
        f"the database cannot keep answers ({error}): is responder.integrations.django_answers in INSTALLED_APPS, and migrated "
        "(manage.py migrate)?",
        fatal=True,
    )


def _model(name: str) -> Any:
    try:
        return apps.get_model("responder_answers", name)
    except (LookupError, AppRegistryNotReady) as error:
        raise ConfigurationError(
            'a DatabaseStore needs its tables: put "responder.integrations.django_answers" into INSTALLED_APPS, and migrate',
            fatal=True,
        ) from error


def _stored(row: Any) -> StoredAnswer | None:
    try:
        return StoredAnswer(json.loads(row.reply), row.request_id)
    except ValueError:
        return None  # changed by hand: asked again


class _Clerk:
    """The thread that does the steps of all stores of one database."""

    def __init__(self, using: str) -> None:
        self._using = using
        self._lock = threading.Lock()
        self._steps: queue.SimpleQueue[tuple[Callable[[], Any] | list[Any], Future[Any]]] = queue.SimpleQueue()
        self._is_at_work = False

    def do(self, step: Callable[[], V]) -> Future[V]:
        """Do a step; its future has what it returned."""
        return self._put(step)

    def keep(self, rows: list[Any]) -> Future[None]:
        """Store rows, as (question, run, reply, request_id)."""
        return self._put(rows)

    def _put(self, step: Any) -> Future[Any]:
        done: Future[Any] = Future()
        with self._lock:
            self._steps.put((step, done))
            if not self._is_at_work:
                # A daemon: whoever waits for a step keeps the program running, and nobody else needs it.
                threading.Thread(target=self._work, name="responder-database", daemon=True).start()
                self._is_at_work = True
        return done

    def _work(self) -> None:
        while True:
            try:
                found = [self._steps.get(timeout=_IDLE)]
            except queue.Empty:
                connections[self._using].close()
                with self._lock:
                    if self._steps.empty():
                        self._is_at_work = False
                        return
                continue
            with contextlib.suppress(queue.Empty):
                while len(found) < _TOGETHER:
                    found.append(self._steps.get_nowait())
            connections[self._using].close_if_unusable_or_obsolete()
            self._keep([(rows, done) for rows, done in found if isinstance(rows, list)])
            for step, done in found:
                if callable(step):
                    _fulfil(done, step)

    def _keep(self, kept: list[tuple[list[Any], Future[Any]]]) -> None:
        if not kept:
            return

        def store() -> None:
            answer = _model("Answer")
            made = [
                answer(question=question, run=run, reply=reply, request_id=request_id)
                for rows, _ in kept
                for question, run, reply, request_id in rows
            ]
            with transaction.atomic(using=self._using):
                answer.objects.using(self._using).bulk_create(made, batch_size=_TOGETHER)

        outcome: Future[Any] = Future()
        _fulfil(outcome, store)
        for _, done in kept:
            error = outcome.exception()
            done.set_result(None) if error is None else done.set_exception(error)


def _fulfil(done: Future[Any], step: Callable[[], Any]) -> None:
    try:
        done.set_result(step())
    except BaseException as error:  # noqa: BLE001 - raised where the step is waited for
        done.set_exception(error)


_clerks: dict[tuple[int, str], _Clerk] = {}


def _clerk(using: str) -> _Clerk:
    """Return the thread of a database; a forked child has one of its own."""
    return _clerks.setdefault((os.getpid(), using), _Clerk(using))
