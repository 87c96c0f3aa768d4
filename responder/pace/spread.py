"""When may the next call start? Starts are spread evenly, never saved up. Guarded by the governor's lock."""

from __future__ import annotations

# Seconds between starts at most, however slowly a provider's bucket refills.
_LONGEST_INTERVAL = 60.0

# Seconds that starts may lag behind their even spread without being lost.
_CATCH_UP = 0.02

# A call that took more tokens than it reserved holds up the others for this many seconds, or this many times what it had
# reserved, and no longer: a minute later the provider's bucket is full again, and its numbers may be absurd.
_LONGEST_DEBT = 60.0
_MOST_TIMES = 16.0


class Spread:
    """The moments (monotonic) before which nothing starts. At 600 requests a minute one starts every 0.1 s, never ten at once."""

    def __init__(self) -> None:
        self.next_request = 0.0
        self.next_token = 0.0
        self._interval = 0.0  # seconds between starts, learned from a bucket that is nearly empty
        self._interval_ends = 0.0  # when that bucket is full again

    def is_open(self, now: float) -> bool:
        """Return whether no bucket is known to be nearly empty."""
        if self._interval and now >= self._interval_ends:
            self._interval = 0.0
        return not self._interval

    def opens(self) -> float:
        """Return the moment at which the next one may start."""
        return max(self.next_request, self.next_token)

    def take(self, now: float, request: float, tokens: float) -> None:
        """Start one.

        Args:
            now: The moment.
            request: Seconds that the limit of requests keeps the next one away.
            tokens: Seconds that its tokens take of the limit of tokens.
        """
        interval = request if self.is_open(now) else max(request, self._interval)
        if interval:
            # At hundreds of starts a second each thread wakes a little late: that much may be caught up, and no more.
            late = _CATCH_UP if interval < _CATCH_UP else 0.0
            self.next_request = max(now - late, self.next_request) + interval
        if tokens:
            self.next_token = max(now, self.next_token) + tokens

    def book(self, tokens: float) -> None:
        """Book this many seconds of tokens that were not reserved; negative ones give back what was not used."""
        self.next_token += tokens

    @property
    def is_slowed(self) -> bool:
        """True while a bucket is known to be nearly empty, or was when last checked."""
        return self._interval > 0.0

    def slow_down(self, interval: float, now: float, seconds: float) -> None:
        """Keep `seconds` between starts for a while; 0: no longer."""
        self._interval = min(interval, _LONGEST_INTERVAL)
        self._interval_ends = now + seconds


def debt(used: float, reserved: float) -> float:
    """Return the seconds of tokens to book on top of those that a call reserved, within what one call may cost the others."""
    return min(used - reserved, max(_LONGEST_DEBT, _MOST_TIMES * reserved))
