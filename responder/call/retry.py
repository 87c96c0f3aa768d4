"""Whether and when to try again: the policy. The error itself says whether a retry can succeed (`retryable`).

The only module that imports tenacity.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from responder.values.cancellation import CancelToken
from responder.values.clock import monotonic
from responder.values.deadline import Deadline
from responder.values.errors import APIError, CancelledError, ConfigurationError, DeadlineExceededError, RateLimitError
from responder.values.trace import Trace

if TYPE_CHECKING:
    import tenacity

T = TypeVar("T")

_log = logging.getLogger("responder")


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often to retry, and how long to wait.

    The wait before retry n (1, 2, ...) is drawn evenly from the upper half of min(longest_backoff, first_backoff * 2**(n-1))
    ("equal jitter"), so that threads that failed together do not come back together. If the server named a wait, that is
    the minimum, and up to a tenth of it (at most 1 s) is added for the same reason.

    Attributes:
        max_retries: Retries after the first attempt; 0 means one attempt.
        first_backoff: Seconds, the longest wait before the first retry.
        longest_backoff: Seconds, the longest wait of our own.
        longest_wait: Seconds, the longest wait we accept from a server; a longer one ends the call at once.
    """

    max_retries: int = 4
    first_backoff: float = 1.0
    longest_backoff: float = 30.0
    longest_wait: float = 120.0

    def __post_init__(self) -> None:
        if isinstance(self.max_retries, bool) or not isinstance(self.max_retries, int) or self.max_retries < 0:
            raise ValueError(f"max_retries must be a whole number, 0 or more, not {self.max_retries!r}")

    def backoff(self, repeat: int, hint: float | None) -> float:
        """Return the seconds to wait before a retry (1 is the first).

        Args:
            repeat: Which retry it is.
            hint: The wait that the server asked for, or None.
        """
        if not hint:
            return self._own(repeat)
        hinted = hint + random.uniform(0.0, min(1.0, max(0.05, 0.1 * hint)))
        # A server that still refuses after the wait it asked for gets more time, never less.
        return hinted if repeat <= 1 else max(hinted, self._own(repeat - 1))

    def _own(self, repeat: int) -> float:
        ceiling = min(self.longest_backoff, self.first_backoff * 2.0 ** min(repeat - 1, 30))
        return random.uniform(0.5, 1.0) * ceiling


class RetryBudget:
    """How many retries a run may make in total, so that a provider with an outage does not get five times the load.

    A refusal for its rate (429) costs nothing here: the governor holds those back, and the provider is healthy. Thread-safe.

    Args:
        share: The part of a run's requests that may be retries.
        workers: A run may always make two retries for each of them: a short failure hits all calls in flight, and says
            nothing about the rest.

    Raises:
        ConfigurationError: Not a valid share.
    """

    def __init__(self, share: float, workers: int) -> None:
        if isinstance(share, bool) or not isinstance(share, (int, float)) or not 0 <= share < 1:
            raise ConfigurationError(
                f"retry_share must be the part of a run's requests that may be retries, from 0 to below 1, not {share!r}",
                fatal=True,
            )
        self._lock = threading.Lock()
        self.share = share
        self._always = 2 * workers if share else 0
        self._begun = 0
        self._repeats = 0

    def begin(self) -> None:
        """Count a call that is made for the first time."""
        with self._lock:
            self._begun += 1

    def take(self) -> bool:
        """Take a retry from the budget; False if none is left."""
        with self._lock:
            # Of begun + repeats requests, `share` may be retries.
            if self._repeats + 1 > max(self._always, self._begun * self.share / (1 - self.share)):
                return False
            self._repeats += 1
            return True


class Retrier:
    """Runs attempts until one succeeds or a retry cannot help. Safe for threads: its state is tenacity's, one per thread."""

    def __init__(self, policy: RetryPolicy) -> None:
        # With the first responder: where tornado is installed (Jupyter), importing tenacity imports that, and asyncio with it.
        import tenacity

        self.policy = policy
        self._retrying = tenacity.Retrying(
            retry=self._repeats,
            stop=tenacity.stop_after_attempt(policy.max_retries + 1),
            wait=self._wait,
            sleep=lambda _seconds: None,  # `_rest` sleeps instead: it knows the call's deadline and token
            before_sleep=self._rest,
            reraise=True,
        )

    def call(
        self,
        attempt: Callable[[], T],
        trace: Trace,
        deadline: Deadline,
        cancel: CancelToken | None,
        budget: RetryBudget | None = None,
    ) -> T:
        """Run `attempt` until it returns.

        Args:
            attempt: Makes one attempt.
            trace: Gets the waits.
            deadline: When the call must be over.
            cancel: Ends the waits.
            budget: The retry budget of the run that the call belongs to.

        Raises:
            APIError: The last attempt's own error, as it was.
            DeadlineExceededError: The next wait would end after the deadline; its cause is the last error.
            CancelledError: The token was cancelled while waiting.
        """
        if budget is not None:
            budget.begin()
        failed: list[APIError] = []
        try:
            return attempt()
        except APIError as error:  # what tenacity does for each call takes 9 us: only where there may be something to repeat
            failed.append(error)

        def again() -> T:
            if failed:
                raise failed.pop()
            return attempt()

        result: T = self._retrying(_attempt, again, trace, deadline, cancel, budget)
        return result

    def _repeats(self, state: tenacity.RetryCallState) -> bool:
        error = state.outcome.exception() if state.outcome is not None else None
        if error is None or not self._may_repeat(error):
            return False
        budget: RetryBudget | None = state.args[4]
        if budget is None or isinstance(error, RateLimitError) or state.attempt_number > self.policy.max_retries:
            return True
        if budget.take():
            return True
        error.args = (f"{error}. Not retried: {budget.share:.0%} of this run's requests were retries already",)
        return False

    def _may_repeat(self, error: BaseException) -> bool:
        if not isinstance(error, APIError) or not error.retryable:
            return False
        return error.retry_after is None or error.retry_after <= self.policy.longest_wait

    def _wait(self, state: tenacity.RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome is not None else None
        return self.policy.backoff(state.attempt_number, getattr(error, "retry_after", None))

    def _rest(self, state: tenacity.RetryCallState) -> None:
        _, trace, deadline, cancel, _ = state.args
        error: Any = state.outcome.exception() if state.outcome is not None else None
        seconds = state.next_action.sleep if state.next_action is not None else 0.0
        left = deadline.remaining()
        if seconds >= left:
            raise DeadlineExceededError(
                f"the next attempt would start in {seconds:.1f} s, but the deadline is in {max(left, 0.0):.1f} s; "
                f"the last error: {error}",
                status=error.status,
                request_id=error.request_id,
                retry_after=error.retry_after,
            ) from error
        # Not the error's message: a provider's words may quote the prompt.
        kind, status = type(error).__name__, f" {error.status}" if error.status is not None else ""
        _log.info("attempt %d failed (%s%s): the next one starts in %.1f s", state.attempt_number, kind, status, seconds)
        begin = monotonic()
        if cancel is None:
            time.sleep(seconds)
        elif cancel.wait(seconds):
            raise CancelledError(f"the call was stopped while it waited to try again: {cancel.reason}") from error
        trace.waited += monotonic() - begin


def _attempt(attempt: Callable[[], T], *_for_the_waits: object) -> T:
    return attempt()
