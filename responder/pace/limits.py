"""What does a provider allow? The value that says it; `governor.py` enforces it."""

from __future__ import annotations

import difflib
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
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
            processes of this machine, see `FileLimitStore`; `redis://host/0` (`rediss://`, `unix://`) is a Redis server for those
            of many. None: this process alone.

    Raises:
        ConfigurationError: One of them is not what it has to be, or the store cannot be used.
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
            if value is not None and not _is_above_0(value):
                raise ConfigurationError(f"{name} must be a number above 0, or None, not {value!r}", fatal=True)
        if not isinstance(self.adaptive, bool):
            raise ConfigurationError(f"adaptive must be True or False, not {self.adaptive!r}", fatal=True)

    def tightened(self, other: Limits) -> Limits:
        """Return limits that keep to both."""
        return Limits(
            _smaller(self.max_concurrency, other.max_concurrency),
            _smaller(self.requests_per_minute, other.requests_per_minute),
            _smaller(self.tokens_per_minute, other.tokens_per_minute),
            self.adaptive and other.adaptive,
            self.store if self.store is not None else other.store,
        )


def as_limits(found: Limits | Mapping[str, Any] | None) -> Limits:
    """Return limits; a mapping has their names as keys, so that they can come from JSON. None: no limits.

    Raises:
        ConfigurationError: It is something else, or has an unknown name; the message says which one is close.
    """
    if found is None:
        return Limits()
    if isinstance(found, Limits):
        return found
    if not isinstance(found, Mapping):
        raise ConfigurationError(f"limits must be Limits, or a dict of its names, not {found!r}", fatal=True)
    known = [field.name for field in fields(Limits)]
    for name in found:
        if name not in known:
            close = difflib.get_close_matches(str(name), known, n=1)
            hint = f"did you mean {close[0]}?" if close else f"it takes {', '.join(known)}"
            raise ConfigurationError(f"limits has no {name!r} ({hint})", fatal=True)
    return Limits(**found)


def _is_above_0(value: Any) -> bool:
    return not isinstance(value, bool) and isinstance(value, (int, float)) and math.isfinite(value) and value > 0


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
