"""Is the provider up at all? After many failures in a row without an answer, calls are held back except for a few probes.

A refusal (429) is an answer of a provider that is up: `window.py` handles those. Here only connections that fail, attempts
that time out, and 5xx count. The lock is held for a few additions, never while waiting.
"""

from __future__ import annotations

import logging
import threading

from responder.pace.recent import Recent
from responder.values.cancellation import CancelToken
from responder.values.clock import monotonic
from responder.values.deadline import Deadline
from responder.values.errors import (
    APIConnectionError,
    APIError,
    CancelledError,
    CircuitOpenError,
    DeadlineExceededError,
    InternalServerError,
)
from responder.values.process import adopt, getpid

_log = logging.getLogger("responder")

# This many failures in a row and nothing else: by chance, a provider that fails every second
# time does this once in a million calls.
_FAILURES = 20

# Seconds from one probe to the next: the first pause, doubled with each probe that fails, up to the longest.
_FIRST_PAUSE = 1.0
_LONGEST_PAUSE = 15.0

# Waits are split into slices of this many seconds: Python does not see a Ctrl-C that comes just before a wait until it ends.
_SLICE = 1.0

PATIENCE = 60.0
"""Seconds that a run waits for a provider that is down; then it ends with what is finished."""


class Breaker:
    """Holds calls back while a provider is down. Safe for threads.

    Args:
        failures: How many in a row open it.
        first_pause: Seconds until the first probe.
    """

    def __init__(self, failures: int = _FAILURES, first_pause: float = _FIRST_PAUSE) -> None:
        self._enough = failures
        self._first_pause = first_pause
        self._next_probe = 0.0
        self._pause = first_pause
        self._last = ""  # error, in words
        self.process = getpid()
        self.start_anew()

    def start_anew(self) -> None:
        """Start with the provider up and no call waiting; also in a forked child."""
        self._changed = threading.Condition()  # reentrant: a garbage collector that ends a run may wake those who wait
        self._failed = 0  # in a row
        self._opened = 0.0  # monotonic moment; 0: closed

    @property
    def is_open(self) -> bool:
        """True while calls are held back."""
        return self._opened > 0.0

    def enter(self, patience: float, deadline: Deadline, cancel: CancelToken | None) -> None:
        """Return when a call may be made: at once while the provider is up.

        Args:
            patience: Seconds, counted from when it went down, for which a call waits; 0: not at all.
            deadline: When the call must be over.
            cancel: Ends the wait.

        Raises:
            CircuitOpenError: It is down, and patience ran out.
            DeadlineExceededError: It did not come up in time.
            CancelledError: The token was cancelled.
        """
        if not self._opened:
            return
        if self.process != getpid():
            adopt(self)
        registered = cancel.register(self._wake) if cancel is not None else -1
        try:
            with self._changed:
                while (pause := self._until_probe(patience)) > 0:
                    if cancel is not None and cancel.cancelled:
                        raise CancelledError(f"the call was stopped while the provider was down: {cancel.reason}")
                    left = deadline.remaining()
                    if left <= 0:
                        raise DeadlineExceededError(
                            f"the deadline passed while the provider was down; its last error: {self._last}"
                        )
                    self._changed.wait(min(pause, left, _SLICE))
        finally:
            if cancel is not None:
                cancel.unregister(registered)

    def _wake(self) -> None:
        with self._changed:
            self._changed.notify_all()

    def _until_probe(self, patience: float) -> float:
        """Return the seconds until this call may go; 0: now."""
        now = monotonic()
        if not self._opened:
            return 0.0
        if now >= self._next_probe:
            # Only time decides about the next probe: this one may hang for minutes.
            self._pause = min(_LONGEST_PAUSE, self._pause * 2)
            self._next_probe = now + self._pause
            return 0.0
        down = now - self._opened
        if down >= patience:
            raise CircuitOpenError(
                f"not sent: the provider has been down for {down:.0f} s ({self._failed} failures in a row); its last error: "
                f"{self._last}",
                retry_after=self._next_probe - now,
                fatal=True,
            )
        return min(self._next_probe - now, patience - down)

    def note(self, error: BaseException | None) -> None:
        """Learn from the outcome of an attempt: None for an answer."""
        is_failure = _is_failure(error)
        if (is_failure or self._failed) and self.process != getpid():
            adopt(self)
        if is_failure:
            with self._changed:
                self._failed += 1
                self._last = str(error)
                if self._failed < self._enough or self._opened:
                    return
                self._opened = monotonic()
                self._pause = self._first_pause
                self._next_probe = self._opened + self._pause
            _log.warning("the provider seems to be down (%d failures in a row): %s", self._enough, error)
        elif self._failed and not isinstance(error, CancelledError):
            with self._changed:
                self._failed = 0
                was_open, self._opened = self._opened, 0.0
                self._changed.notify_all()
            if was_open:
                _log.warning("the provider is up again")


_breakers: Recent[Breaker] = Recent()


def breaker_for(identity: tuple[str, ...]) -> Breaker:
    """Return the process's breaker of a provider, base URL, key and model."""
    return _breakers.find(identity, Breaker)[0]


def forget_breakers() -> None:
    """Forget which providers are down: for tests, where the failures of one must not hold up the next."""
    _breakers.clear()


def _is_failure(error: BaseException | None) -> bool:
    if isinstance(error, (APIConnectionError, InternalServerError)):
        return error.retryable
    return isinstance(error, APIError) and error.retryable and error.status is not None and error.status >= 500
