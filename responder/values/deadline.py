"""How long it may take: Timeout for one attempt, Deadline for a point in time that must not be passed."""

from __future__ import annotations

import math
from dataclasses import dataclass

from responder.values.clock import monotonic
from responder.values.errors import ConfigurationError


@dataclass(frozen=True, slots=True)
class Timeout:
    """The bounds of one attempt, in seconds; `math.inf` means no bound, and is never the default.

    Attributes:
        total: From the start of the attempt to the last byte.
        connect: To open the connection, TLS included.
        first: To the first piece of a stream.
        gap: Between two pieces of a stream.
    """

    total: float = 600.0
    connect: float = 10.0
    first: float = math.inf
    gap: float = math.inf

    def __post_init__(self) -> None:
        for name in ("total", "connect", "first", "gap"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not value > 0:
                raise ValueError(f"timeout {name} must be a number of seconds above 0 (math.inf: no limit), not {value!r}")


# Ten minutes, as the providers' own SDKs: reasoning models do take minutes for one answer.
DEFAULT_TIMEOUT = Timeout()


def as_timeout(timeout: float | Timeout) -> Timeout:
    """Return a timeout; a number means the whole attempt.

    Raises:
        ValueError: Not a number above 0. `None` is refused on purpose: it would silently mean "forever".
    """
    if isinstance(timeout, Timeout):
        return timeout
    if timeout is None:
        raise ValueError("timeout=None is not accepted: give seconds, or math.inf for no limit")
    return Timeout(total=timeout, connect=min(10.0, timeout) if isinstance(timeout, (int, float)) else timeout)


@dataclass(frozen=True, slots=True)
class Deadline:
    """A moment on the monotonic clock.

    Attributes:
        at: `time.monotonic()` of the moment, in seconds; `math.inf` means never.
    """

    at: float = math.inf

    @classmethod
    def after(cls, seconds: float | None, name: str = "deadline") -> Deadline:
        """Return the deadline `seconds` from now; None means never.

        Raises:
            ConfigurationError: Not a number; the message calls it by `name`.
        """
        if seconds is None:
            return cls()
        if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or math.isnan(seconds):
            raise ConfigurationError(f"{name} must be a number of seconds, or None for no limit, not {seconds!r}", fatal=True)
        return cls(monotonic() + seconds)

    def remaining(self) -> float:
        """Seconds left; negative when it has passed, `math.inf` when there is none."""
        return self.at - monotonic()

    def earliest(self, other: Deadline) -> Deadline:
        """Return the one that comes first."""
        return self if self.at <= other.at else other


NEVER = Deadline()
