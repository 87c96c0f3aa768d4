"""What has a shard in flight got already? Answers in Redis, where its next worker finds them, so that they are not paid twice.

A shard is one hash in Redis: it is read as a whole when the shard begins, each answer is added as it comes, and the hash expires
by itself. The lasting place of the answers is the checkpoint of the client.
"""

from __future__ import annotations

import json
import logging
import os
import threading
from collections.abc import Callable, Mapping
from typing import Any, Protocol, TypeAlias, runtime_checkable

from responder.call.keeping import AnswerStore, StoredAnswer
from responder.pace.redis_url import masked_url, with_password_of_environment
from responder.values.cancellation import CancelToken
from responder.values.clock import monotonic
from responder.values.deadline import Deadline
from responder.values.errors import ConfigurationError
from responder.wire.masking import MASK, Secret

_log = logging.getLogger("responder")

Kept: TypeAlias = "tuple[bytes, Mapping[str, Any], str | None]"
"""A question, the reply to it, and the provider's id of the request."""

WHILE_IN_FLIGHT = 86_400
"""Seconds that the answers of a shard are kept after the last one came, if it never ends."""

# The field that counts how often a shard was begun; the others begin with the 32 bytes of a question.
_BEGUN = "begun"

_PAUSE = 2.0
"""Seconds for which a Redis that did not answer is left alone: calls go on without it."""

AFTER_ITS_END = 120
"""Seconds that they are kept once the shard has ended: an engine may lose what a task returned, and run it again."""

UNTIL_TAKEN = 600
"""Seconds that they are kept for a client that is expected to say when it has taken them."""


@runtime_checkable
class Journal(Protocol):
    """Where the answers of shards in flight are kept. It travels to the workers, so it has to be picklable."""

    def begin(self, shard: str) -> AnswerStore:
        """Return the store of one shard, which holds what earlier workers have got; of its methods, `find` is not used.

        Args:
            shard: Its name, the same whenever the shard runs again.
        """

    def end(self, shard: str, seconds: float = AFTER_ITS_END) -> None:
        """Forget a shard that has ended, in so many seconds (0: now)."""


JournalOption: TypeAlias = "str | Journal | None"


def opened_journal(journal: JournalOption) -> Journal | None:
    """Return the journal that `journal=` names.

    Raises:
        ConfigurationError: It is neither a URL of Redis nor a Journal.
    """
    if journal is None:
        return None
    if isinstance(journal, str):
        return RedisJournal(journal)
    if isinstance(journal, Journal):
        return journal
    raise ConfigurationError(f"journal must be a URL such as redis://host/0, or a Journal, not {journal!r}", fatal=True)


class RedisJournal:
    """Answers of shards in flight, in Redis. A Redis that is away costs no answer: what it would have kept may be paid again.

    A password does not travel: a worker has it in REDIS_PASSWORD.

    Args:
        url: As `redis.Redis.from_url` takes it: `redis://[:password@]host[:port]/database`, `rediss://`, `unix://`.
        prefix: Goes before the names of its keys.

    Raises:
        ConfigurationError: The URL is none of Redis, or the package `redis` is not installed.
    """

    def __init__(self, url: str, prefix: str = "responder:journal:") -> None:
        self._url = url if MASK in url else Secret(url)  # where no debugger or crash report shows it
        masked_url(url)  # refuses what is no URL of Redis
        self._prefix = prefix
        self._start()

    def _start(self) -> None:
        try:
            import redis  # most programs have no journal
        except ModuleNotFoundError:
            raise ConfigurationError(
                'a journal in Redis needs its client: pip install "responder-sdk[redis]"', fatal=True
            ) from None
        try:
            url = with_password_of_environment(self._url)
            self._client = redis.Redis.from_url(url, socket_timeout=5, socket_connect_timeout=5)
        except ValueError as error:
            raise ConfigurationError(f"journal={masked_url(self._url)!r}: {error}", fatal=True) from None
        self._not_before = 0.0
        self._errors: tuple[type[Exception], ...] = (redis.RedisError, OSError)

    def begin(self, shard: str) -> AnswerStore:
        """Return the store of one shard, with what earlier workers have got."""
        name = self._prefix + shard

        def begin() -> Any:
            with self._client.pipeline(transaction=False) as pipe:
                pipe.hincrby(name, _BEGUN, 1)
                pipe.hgetall(name)
                pipe.expire(name, WHILE_IN_FLIGHT)
                return pipe.execute()

        begun, found, _ = self._tried(begin) or (0, {}, None)
        return _RedisShard(self, shard, begun, found)

    def add(self, shard: str, field: bytes, value: bytes) -> None:
        """Keep an answer of a shard."""

        def add() -> None:
            with self._client.pipeline(transaction=False) as pipe:
                pipe.hset(self._prefix + shard, field, value)
                pipe.expire(self._prefix + shard, WHILE_IN_FLIGHT)
                pipe.execute()

        self._tried(add)

    def end(self, shard: str, seconds: float = AFTER_ITS_END) -> None:
        """Forget a shard that has ended, in so many seconds (0: now)."""
        self._tried(lambda: self._client.expire(self._prefix + shard, int(seconds)))

    def _tried(self, step: Callable[[], Any]) -> Any:
        if monotonic() < self._not_before:
            return None
        try:
            return step()
        except self._errors as error:
            self._not_before = monotonic() + _PAUSE
            _log.warning("the journal of answers in flight cannot be reached; calls go on without it: %s", error)
            return None

    def __repr__(self) -> str:
        return f"RedisJournal({masked_url(self._url)!r})"

    def __getstate__(self) -> dict[str, str]:
        return {"_url": masked_url(self._url), "_prefix": self._prefix}

    def __setstate__(self, state: dict[str, str]) -> None:
        self.__dict__.update(state)
        self._start()


class _RedisShard:
    """One shard's answers: those of earlier workers are handed out once each, and new ones are added.

    Attributes:
        begun: How often the shard was begun, this time included; 0 where that is not known.
    """

    def __init__(self, journal: RedisJournal, shard: str, begun: int, found: Mapping[bytes, bytes]) -> None:
        self.begun = begun
        self._journal = journal
        self._shard = shard
        self._lock = threading.Lock()
        self._answers: dict[bytes, list[StoredAnswer]] = {}
        for field, value in found.items():
            if field == _BEGUN.encode():
                continue
            try:
                kept = json.loads(value)
                self._answers.setdefault(field[:32], []).append(StoredAnswer(kept["reply"], kept["request_id"]))
            except (ValueError, KeyError, TypeError):
                continue  # asked again

    def take(self, question: bytes, deadline: Deadline, cancel: CancelToken | None) -> StoredAnswer | None:  # noqa: ARG002 - the protocol's
        with self._lock:
            found = self._answers.get(question)
            return found.pop(0) if found else None

    def find(self, question: bytes, deadline: Deadline, cancel: CancelToken | None) -> StoredAnswer | None:  # noqa: ARG002 - the protocol's
        return None

    def store(
        self,
        question: bytes,
        reply: Mapping[str, Any],
        request_id: str | None,
        deadline: Deadline,  # noqa: ARG002 - the protocol's
        cancel: CancelToken | None,  # noqa: ARG002 - the protocol's
    ) -> None:
        value = json.dumps({"reply": reply, "request_id": request_id}, ensure_ascii=True, separators=(",", ":"))
        self._journal.add(self._shard, question + os.urandom(8), value.encode())


class ShardStore:
    """What a shard's calls use as their store: its journal, and a list of what goes home to the client's checkpoint.

    Attributes:
        kept: What goes home.
    """

    def __init__(self, journal: AnswerStore | None, keeps: bool, end: Callable[[], object] | None = None) -> None:
        self._journal = journal
        self._keeps = keeps
        self._end = end
        self.kept: list[Kept] = []

    @property
    def is_needed(self) -> bool:
        """False when there is nothing that it could do."""
        return self._keeps or self._journal is not None

    def take(self, question: bytes, deadline: Deadline, cancel: CancelToken | None) -> StoredAnswer | None:
        """Return what an earlier worker has got."""
        found = self._journal.take(question, deadline, cancel) if self._journal is not None else None
        if found is not None and self._keeps:
            self.kept.append((question, found.reply, found.request_id))
        return found

    def find(self, question: bytes, deadline: Deadline, cancel: CancelToken | None) -> StoredAnswer | None:  # noqa: ARG002 - the protocol's
        """Return nothing: what may be found again is in a cache."""
        return None

    def store(
        self, question: bytes, reply: Mapping[str, Any], request_id: str | None, deadline: Deadline, cancel: CancelToken | None
    ) -> None:
        """Keep an answer in the journal, and take it home."""
        if self._journal is not None:
            self._journal.store(question, reply, request_id, deadline, cancel)
        if self._keeps:
            self.kept.append((question, reply, request_id))

    def finish(self) -> None:
        """Let the journal forget the shard soon."""
        if self._end is not None:
            self._end()
