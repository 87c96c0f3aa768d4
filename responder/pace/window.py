"""How many calls at once does the provider seem to allow? Learned from its refusals and answers. Guarded by the governor's lock.

- A refusal (429, 503, 529) pauses all calls for the time the server asked for; then a few calls go first, and twice as
  many with each round that is answered (slow start).
- The number of calls at once moves by AIMD below its ceiling: halved once for a burst of refusals, then grown by one for each
  round of answers, ten times more slowly above the level of the last refusal.
"""

from __future__ import annotations

import logging
import math
import random

from responder.pace.estimates import NEWEST_WEIGHT
from responder.values.errors import APIError

_log = logging.getLogger("responder")

# Pauses after refusals that name no wait: this many seconds, doubled with each burst that follows, up to the longest.
_FIRST_PAUSE = 1.0
_LONGEST_PAUSE = 60.0

# A longer wait ends its own call at once (see `retry.py`), and holds up the others only this long.
_LONGEST_KEPT = 120.0

# Seconds by which two clocks may differ about the same pause.
_SAME_PAUSE = 0.01

# After a pause that another process received, this many are answered before all may go as before.
_FOLLOWED = 64.0

# A 503 or 529 that names no wait may be a single server's bad moment. From this part of the latest replies on it is overload;
# treating one in a hundred random ones as overload held a run of 800 calls a second at 50.
_OVERLOADED = 0.2


def is_refusal(error: BaseException | None) -> bool:
    """Return whether an error says that the provider is busy, rather than that the call was wrong."""
    return isinstance(error, APIError) and error.retryable and error.status in (429, 503, 529)


class Window:
    """What refusals and answers teach."""

    def __init__(self) -> None:
        self.paused_until = 0.0  # monotonic
        self.size = math.inf  # calls at once, as the provider seems to allow
        self._last_cut = 0.0
        self._bursts = 0  # of refusals, one after another
        self._soft_ceiling = math.inf  # a little below where it refused last
        self._slow_start_ends = 0.0  # the size below which it doubles with each round
        self._size_after = 0.0  # what it becomes then
        self._overload = 0.0  # the part of the latest replies that were a 503 or 529 without a wait

    def is_open(self, now: float) -> bool:
        """Return whether nothing holds calls back."""
        return self.size == math.inf and now >= self.paused_until

    def room(self, running: int) -> float:
        """Return how many more may run beside `running`."""
        return self.size if self.size == math.inf else max(1, math.floor(self.size)) - running

    def has_room(self, running: int) -> bool:
        """Return whether one more may run beside `running`."""
        return self.size == math.inf or running < max(1, math.floor(self.size))

    @property
    def is_starting(self) -> bool:
        """True after a refusal, while each slot is for the calls that were refused."""
        return self.size < self._slow_start_ends

    def calm(self) -> None:
        """Note a reply that was no refusal."""
        self._overload -= NEWEST_WEIGHT * self._overload

    def knows(self, started: float) -> bool:
        """Return whether a call sent then says something about what is allowed now: not if the window was cut since."""
        return started >= self._last_cut

    def answered(self) -> None:
        """Grow by an answer."""
        self._bursts = 0
        if self.size == math.inf:
            return
        if self.is_starting:
            self.size += 1.0  # one more for each answer: twice as many with each round
            if not self.is_starting:
                self.size = max(self.size, self._size_after)
        else:
            step = 1.0 / self.size
            self.size += step if self.size < self._soft_ceiling else step / 10
        if self.size > 10_000:
            self.size = math.inf

    def refused(self, error: APIError, started: float, running: int, now: float, adaptive: bool) -> float:
        """Learn from a refusal.

        Args:
            error: What the provider said.
            started: When the call that it refused was sent.
            running: Calls in flight that the provider has not begun to answer.
            now: The moment.
            adaptive: Change the number of calls at once, too, and not only pause.

        Returns:
            The moment until which nothing is sent; 0: the refusal asks for no pause.
        """
        is_new_burst = self.knows(started)
        hint = self._pause(error, is_new_burst)
        if hint is None:
            return 0.0
        until = 0.0
        if hint:
            if now + hint > self.paused_until + 1.0:
                _log.info("%s asks for a wait of %.1f s: nothing is sent until then", error.provider or "the provider", hint)
            # A minimum, plus a little: all waiting calls got the same moment.
            until = now + hint + random.uniform(0.0, min(0.5, 0.1 * hint))
            self.paused_until = max(self.paused_until, until)
        if adaptive and is_new_burst:
            self._cut(running + 1, now, bool(hint))
        return until

    def _pause(self, error: APIError, is_new_burst: bool) -> float | None:
        """Return the seconds to pause for; None for a refusal that says nothing about other calls."""
        hint = error.retry_after
        if hint is not None and not hint >= 0.0:
            hint = None  # negative, or not a number
        if hint is None and error.status != 429:
            self._overload += NEWEST_WEIGHT * (1.0 - self._overload)
            if self._overload < _OVERLOADED:
                return None
        if is_new_burst:
            self._bursts += 1
        if hint is None:
            is_counted = error.status == 429 and is_new_burst
            return min(_LONGEST_PAUSE, _FIRST_PAUSE * 2.0 ** min(self._bursts - 1, 10)) if is_counted else 0.0
        return min(hint, _LONGEST_KEPT)

    def _cut(self, running: int, now: float, after_pause: bool) -> None:
        self._last_cut = now
        self._soft_ceiling = max(1.0, min(self.size, running) * 0.9)
        self.size = max(1.0, running / 2)
        if after_pause:
            # After a pause a few go first; the size above is where doubling ends.
            self._slow_start_ends = self._size_after = self.size
            self.size = min(self.size, 2.0)

    def adopt_shared_pause(self, until: float, now: float, adaptive: bool) -> None:
        """Keep to a pause that another process received, and start slowly after it: no call here was refused."""
        if until <= max(now, self.paused_until + _SAME_PAUSE):
            return
        self.paused_until = until
        if adaptive and self.size > 2.0:
            self._size_after = max(self.size, self._size_after if self.is_starting else 0.0)
            self._slow_start_ends = min(self.size, _FOLLOWED)
            self.size = 2.0
            self._last_cut = now
