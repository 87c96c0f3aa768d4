"""Limits that the processes of many machines share, in Redis (5 or later).

A step is one script and one round trip, worked out by `redis_script.py` on the server's clock. A server that does not answer is
a ConnectionError; `share.py` knows how to go on without it.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Mapping
from typing import Any
from weakref import WeakValueDictionary

from responder.pace.redis_script import SCRIPT, arguments
from responder.pace.redis_url import PASSWORD_VARIABLE, joined, refused, split
from responder.pace.store import LimitAnswer, LimitStep
from responder.values.errors import ConfigurationError
from responder.values.process import adopt, getpid
from responder.wire.masking import Secret, masked
from responder.wire.signals import is_from_a_signal

# Seconds for a connection, and for an answer. No call waits for them; they bound how long a dead connection is kept.
_TIMEOUTS: Mapping[str, Any] = {"socket_connect_timeout": 1.0, "socket_timeout": 1.0}

_DIGEST = hashlib.sha1(SCRIPT.encode(), usedforsecurity=False).hexdigest()


class RedisLimitStore:
    """Limits that the processes of many machines share. A process has one store of a URL, however often it is made.

    Keys in Redis are `responder:limits:` and a digest, and expire after an hour.

    Args:
        url: `redis://`, `rediss://` (TLS) or `unix://`, as redis-py takes it, its options included (`?socket_timeout=3`).

    Raises:
        ConfigurationError: It is no such URL, or redis is not installed.
    """

    url: str
    """Without the password."""

    def __new__(cls, url: str) -> RedisLimitStore:
        """Return the process's one store of that URL."""
        shown, password = split(url)
        return _store(cls, shown, password)

    def _open(self, shown: str, password: Secret | None) -> None:
        self.url = shown
        self._password = password
        self.process = getpid()
        self.start_anew()
        if password is None or password:
            self._connected()  # an option that redis-py refuses is an error here, and no connection is made yet

    def start_anew(self) -> None:
        """Start without connections; also in a forked child, where those are the parent's."""
        self._lock = threading.Lock()
        self._client: Any = None

    def exchange(self, key: bytes, step: LimitStep) -> LimitAnswer:
        """Do all that a step says; see `LimitStore`."""
        if self.process != getpid():
            adopt(self)
        if self._password is not None and not self._password:
            raise ConfigurationError(
                f"the password of {self.url} does not travel: export {PASSWORD_VARIABLE} on the workers", fatal=True
            )
        name = "responder:limits:" + hashlib.sha256(key).hexdigest()[:32]
        try:
            turns, opens, places, pause, processes = map(float, self._run(name, arguments(step)))
        except ConfigurationError:
            raise
        except Exception as error:  # redis-py has errors of all kinds for what is no server of Redis
            if is_from_a_signal(error):
                raise
            said = masked(f"{type(error).__name__}: {error}", str(self._password or ""))
            raise ConnectionError(said) from None
        return LimitAnswer(int(turns), opens, int(places), pause, int(processes))

    def _run(self, name: str, step: list[str | int | float]) -> Any:
        import redis

        client = self._connected()
        for is_last in (False, True):
            try:
                return client.evalsha(_DIGEST, 1, name, *step)
            except redis.exceptions.NoScriptError:  # the server was started again, or has never seen it
                return client.eval(SCRIPT, 1, name, *step)
            except redis.ConnectionError:  # closed by the server or a firewall while it was idle
                if is_last:
                    raise
        raise AssertionError("unreachable")

    def _connected(self) -> Any:
        import redis
        from redis.backoff import NoBackoff
        from redis.retry import Retry

        with self._lock:
            if self._client is None:
                try:
                    pool = redis.ConnectionPool.from_url(
                        joined(self.url, self._password), retry=Retry(NoBackoff(), 0), **_TIMEOUTS
                    )
                    self._client = redis.Redis(connection_pool=pool)
                except (ValueError, TypeError):
                    raise refused(self.url) from None
            return self._client

    def __reduce__(self) -> tuple[Any, ...]:
        return _arrived, (self.url, self._password is not None)

    def __repr__(self) -> str:
        return f"RedisLimitStore({self.url!r})"


class _Stores:
    """The process's stores, one for each URL and password, while they are in use."""

    def __init__(self) -> None:
        self.process = getpid()
        self.found: WeakValueDictionary[tuple[str, str | None], RedisLimitStore] = WeakValueDictionary()
        self.start_anew()

    def start_anew(self) -> None:
        """In a forked child: the lock may be held by a thread of the parent's."""
        self._lock = threading.Lock()

    def lock(self) -> threading.Lock:
        """Return what is held while a store is looked for and made."""
        if self.process != getpid():
            adopt(self)
        return self._lock


_stores = _Stores()


def _store(cls: type[RedisLimitStore], shown: str, password: Secret | None) -> RedisLimitStore:
    try:
        import redis  # noqa: F401 - whether it is there
    except ModuleNotFoundError:
        raise ConfigurationError(f"{shown} needs redis: pip install 'responder-sdk[redis]'", fatal=True) from None
    name = (shown, None if password is None else str(password))
    with _stores.lock():
        found = _stores.found.get(name)
        if found is None:
            found = object.__new__(cls)
            found._open(shown, password)
            _stores.found[name] = found
        return found


def _arrived(shown: str, has_password: bool) -> RedisLimitStore:
    """Return the store that a pickle names: this process's own one of that URL, or one with the password of the environment."""
    if not has_password:
        return RedisLimitStore(shown)
    with _stores.lock():
        for (url, password), store in list(_stores.found.items()):
            if url == shown and password:
                return store
    return _store(RedisLimitStore, shown, Secret(os.environ.get(PASSWORD_VARIABLE, "")))
