"""What does a provider allow? The value that says it; `governor.py` enforces it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from responder.values.errors import ConfigurationError

if TYPE_CHECKING:
    from responder.pace.store import LimitStore


@dataclass(frozen=True, slots=True)
class Limits:
    """What a provider allows; None if unknown, or not to be enforced here.

    Attributes:
        max_concurrency: Calls at once, over all maps, streams and views of the process.
        requests_per_minute: Requests that may start in a minute, spread evenly.
        tokens_per_minute: Input and output tokens in a minute, spread evenly.
        adaptive: Change the number of calls at once when the provider refuses. The wait it asks for is always obeyed.
        store: Where several processes keep these limits, and the provider's "wait", together: a path makes a file for the
            processes of this machine, see `FileLimitStore`. None: this process alone.
    """

    max_concurrency: int | None = None
    requests_per_minute: float | None = None
    tokens_per_minute: float | None = None
    adaptive: bool = True
    store: str | os.PathLike[str] | LimitStore | None = None

    def __post_init__(self) -> None:
        if self.store is not None:
            object.__setattr__(self, "store", _opened(self.store))
        for name in ("max_concurrency", "requests_per_minute", "tokens_per_minute"):
            value = getattr(self, name)
            if value is not None and (isinstance(value, bool) or not isinstance(value, (int, float)) or not value > 0):
                raise ConfigurationError(f"{name} must be a number above 0, or None, not {value!r}", fatal=True)

    def tightened(self, other: Limits) -> Limits:
        """Return limits that keep to both."""
        return Limits(
            _smaller(self.max_concurrency, other.max_concurrency),
            _smaller(self.requests_per_minute, other.requests_per_minute),
            _smaller(self.tokens_per_minute, other.tokens_per_minute),
            self.adaptive and other.adaptive,
            self.store if self.store is not None else other.store,
        )


def _opened(store: Any) -> LimitStore:
    # Imported when needed: most programs are one process.
    if isinstance(store, str) and store.startswith(("redis://", "rediss://", "unix://")):
        from responder.pace.redis_store import RedisLimitStore

        return RedisLimitStore(store)
    if isinstance(store, (str, os.PathLike)):
        from responder.pace.file_store import FileLimitStore

        return FileLimitStore(store)
    from responder.pace.store import LimitStore

    if not isinstance(store, LimitStore):
        raise ConfigurationError(f"store must be a path, a redis:// URL or a LimitStore, not {store!r}", fatal=True)
    return store


Number = TypeVar("Number", int, float)


def _smaller(one: Number | None, other: Number | None) -> Number | None:
    return min((value for value in (one, other) if value is not None), default=None)
