"""How fast may we go? Requests and tokens a minute, calls at once, and the provider's own "wait": for all threads together.

One governor for each provider, base URL, key and model of a process, shared by every map, stream and view. A call asks for a
permit before each attempt and settles it afterwards. While the provider is content and no limit is set, that costs a lock.

- Starts are spread evenly: at 600 requests a minute one starts every 0.1 s, never ten at once. Tokens are reserved by an
  estimate and settled by what was used.
- Who asks first starts first, whichever map or view it is.
- A refusal (429, 503, 529) pauses everybody for the time that the server asked for; then a few calls go first, and twice as
  many with each round that is answered (slow start).
- The number of calls at once moves by AIMD below its ceiling: halved once for a burst of refusals, then grown by one for each
  round of answers, ten times more slowly beyond where it was refused last.
- Where the provider's headers say that its bucket is nearly empty, starts slow down to the rate at which it refills.
"""

from __future__ import annotations

import logging
import math
import os
import random
import threading
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar, cast

from responder.values.answer import Usage
from responder.values.cancellation import CancelToken
from responder.values.deadline import Deadline
from responder.values.errors import APIError, CancelledError, ConfigurationError, DeadlineExceededError
from responder.wire.waits import reset_seconds

if TYPE_CHECKING:
    from responder.pace.store import LimitStore, Share

_log = logging.getLogger("responder")

# Pauses after refusals that name no wait: this many seconds, doubled with each burst that follows, up to the longest.
_FIRST_PAUSE = 1.0
_LONGEST_PAUSE = 60.0

# A longer wait that a server asks for ends its own call at once (see `retry.py`), and holds the others only so long.
_LONGEST_KEPT = 120.0

# Seconds by which two clocks may tell one pause.
_SAME_PAUSE = 0.01

# After a pause that another process was told of, so many are answered before all may go as they did.
_FOLLOWED = 64.0

# Waiting happens in slices of so many seconds: Python does not see a Ctrl-C that comes just before a wait until that has ended.
_SLICE = 1.0

# Seconds that starts may lag behind their even spread without being lost.
_CATCH_UP = 0.02

# Seconds after which to look again whether another process has left a place: nobody tells us.
_LOOK_AGAIN = 0.05

# A 503 or 529 that names no wait may be a single server's bad moment. From this part of the latest replies on it is overload;
# one in a hundred by chance, taken for it, held a run of 800 calls a second at 50.
_OVERLOADED = 0.2

# Below this part of its bucket the provider's own rate is kept to.
_NEARLY_EMPTY = 0.1

# The answer's tokens are not known before; the mean of the last answers stands for them, and this before the first.
_FIRST_OUTPUT_ESTIMATE = 256.0
_NEWEST_WEIGHT = 0.05

# What is counted, and the headers that tell the bucket's size, what is left in it, and when it is full again.
_BUCKETS = tuple(
    (kind, pattern.format("limit"), pattern.format("remaining"), pattern.format("reset"))
    for kind, pattern in (
        ("requests", "x-ratelimit-{}-requests"),
        ("tokens", "x-ratelimit-{}-tokens"),
        ("requests", "anthropic-ratelimit-requests-{}"),
        ("tokens", "anthropic-ratelimit-tokens-{}"),
    )
)


@dataclass(frozen=True, slots=True)
class Limits:
    """What a provider allows; None where it is not known, or not to be enforced here.

    Attributes:
        max_concurrency: Calls at once, over all maps, streams and views of the process.
        requests_per_minute: Requests that may start in a minute, spread evenly.
        tokens_per_minute: Input and output tokens in a minute, spread evenly.
        adaptive: Move the number of calls at once when the provider refuses. The wait that it asks for is always kept to.
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
                raise ConfigurationError(f"{name} is a number above 0, or None, not {value!r}", fatal=True)

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
    # Imported when somebody wants one: most programs are one process.
    from responder.pace.store import FileLimitStore, LimitStore

    if isinstance(store, (str, os.PathLike)):
        return FileLimitStore(store)
    if not isinstance(store, LimitStore):
        raise ConfigurationError(f"store is a path or a LimitStore, not {store!r}", fatal=True)
    return store


Number = TypeVar("Number", int, float)


def _smaller(one: Number | None, other: Number | None) -> Number | None:
    return min((value for value in (one, other) if value is not None), default=None)


class _Waiter:
    """A call that waits for its turn."""

    __slots__ = ("event", "granted", "permit")

    def __init__(self, permit: Permit) -> None:
        self.permit = permit
        self.event = threading.Event()
        self.granted = False


class Permit:
    """The right to make one attempt. To be settled once, whatever comes of it."""

    __slots__ = ("_governor", "_settled", "accepted", "has_place", "started", "tokens", "waited")

    def __init__(self, governor: Governor, tokens: float, started: float) -> None:
        self._governor = governor
        self.tokens = tokens
        self.started = started
        self.waited = 0.0
        self._settled = False
        self.accepted = False
        self.has_place = False  # one of those that several processes share

    def observe(self, headers: Mapping[str, str]) -> None:
        """Learn from a reply's rate-limit headers (names in lower case), whatever its status."""
        self._governor.learn(headers)

    def accept(self) -> None:
        """Tell that the provider has taken the request and begun to answer, which may take it minutes (a stream).

        From here on the attempt counts for `max_concurrency`, but no longer for what the provider seems to allow: after a
        refusal a few long streams would keep everybody else waiting.
        """
        self.accepted = True
        self._governor.accept(self)

    def settle(self, error: BaseException | None = None, usage: Usage | None = None) -> None:
        """Give the place back.

        Args:
            error: What went wrong, None for an answer.
            usage: What was used, also by a failed attempt; None, or unknown: the estimate stands.
        """
        if not self._settled:
            self._settled = True
            self._governor.settle(self, error, usage if usage is not None and usage.known else None)


class Governor:
    """Lets calls start. Everything mutable lives behind one lock, which nobody holds while waiting."""

    def __init__(self, limits: Limits, name: bytes = b"") -> None:
        self._lock = threading.Lock()
        self._limits = limits
        self._name = name  # under which a store keeps the limits
        self._share: Share | None = None  # this process's part in a store
        self._full_until = 0.0  # when to look again whether other processes have left a place
        self._waiting: deque[_Waiter] = deque()
        self._in_flight: set[Permit] = set()
        self._accepted: set[Permit] = set()  # those of them that the provider is answering already
        # Permits that came back and were not looked at. A garbage collector that ends a dropped stream may settle in a thread
        # that holds the lock, so settling never waits for it: who holds it looks at them all afterwards.
        self._settled: deque[tuple[Permit, BaseException | None, Usage | None]] = deque()
        # True while nothing holds anybody back. Then calls start and end without the lock, for which hundreds of threads would
        # stand in line; adding to a set and taking from it need none.
        self._is_open = False
        self._next_request = 0.0  # monotonic moment at which the next request may start
        self._next_token = 0.0  # the same, as far as tokens go
        self._paused_until = 0.0
        self._bursts = 0  # of refusals, one after another
        self._last_cut = 0.0
        self._window = math.inf  # calls at once, as the provider seems to allow
        self._soft_ceiling = math.inf  # a little below where it refused last
        self._slow_start_ends = 0.0  # the window below which it doubles with each round
        self._window_after = 0.0  # what it becomes then
        self._interval = 0.0  # seconds between starts, learned from a bucket that is nearly empty
        self._overload = 0.0  # the part of the latest replies that were a 503 or 529 without a wait
        self._output_estimate = _FIRST_OUTPUT_ESTIMATE
        self._look()

    @property
    def limits(self) -> Limits:
        """What is enforced."""
        return self._limits

    def tighten(self, limits: Limits) -> None:
        """Keep to these limits, too: a second responder for the same key may know of stricter ones."""
        with self._lock:
            self._limits = self._limits.tightened(limits)
            self._look()
        self._work_off()

    def _look(self) -> None:
        """Find out whether anything holds anybody back."""
        limits = self._limits
        if self._share is None and limits.store is not None:
            from responder.pace.store import Share

            self._share = Share(cast("LimitStore", limits.store), self._name)
        self._is_open = (
            self._share is None
            and (limits.max_concurrency, limits.requests_per_minute, limits.tokens_per_minute) == (None, None, None)
            and self._window == math.inf
            and not self._interval
            and not self._waiting
            and time.monotonic() >= self._paused_until
        )

    def acquire(self, input_tokens: float, deadline: Deadline, cancel: CancelToken | None) -> Permit:
        """Wait for the turn of an attempt.

        Args:
            input_tokens: An estimate; the answer's are added here.
            deadline: When the call must be over.
            cancel: Ends the wait.

        Raises:
            DeadlineExceededError: The turn did not come in time.
            CancelledError: The token was cancelled.
        """
        now = time.monotonic()
        if now >= deadline.at:
            raise DeadlineExceededError("the deadline had passed before the call could be sent")
        permit = Permit(self, input_tokens + self._output_estimate, now)
        if self._is_open:
            self._in_flight.add(permit)
            return permit
        waiter = _Waiter(permit)
        try:
            with self._lock:
                if not self._waiting and self._starts(now, permit):
                    waiter.granted = True
                else:
                    self._waiting.append(waiter)
            self._work_off()
            if waiter.granted:
                return permit
            registered = cancel.register(waiter.event.set) if cancel is not None else -1
            try:
                self._wait(waiter, deadline, cancel)
            finally:
                if cancel is not None:
                    cancel.unregister(registered)
        except BaseException:
            self._leave(waiter)
            raise
        permit.started = time.monotonic()
        permit.waited = permit.started - now
        return permit

    def try_acquire(self, input_tokens: float) -> Permit | None:
        """Return a permit for an attempt that may as well not be made: only where there is room now; None where there is not.

        Args:
            input_tokens: An estimate; the answer's are added here.
        """
        now = time.monotonic()
        permit = Permit(self, input_tokens + self._output_estimate, now)
        if self._is_open:
            self._in_flight.add(permit)
            return permit
        with self._lock:
            is_starting = self._window < self._slow_start_ends  # after a refusal, each place is for those who were refused
            has_room = not self._waiting and not is_starting and self._starts(now, permit)
            if self._share is not None and not self._waiting:
                self._share.give_back()
        self._work_off()
        return permit if has_room else None

    def _wait(self, waiter: _Waiter, deadline: Deadline, cancel: CancelToken | None) -> None:
        begin = time.monotonic()
        while True:
            with self._lock:
                self._grant()
                # Before the look at what may end the wait: a cancel that comes after that look sets it again.
                waiter.event.clear()
                now = time.monotonic()
                is_over = (cancel is not None and cancel.cancelled) or now >= deadline.at
                opens = self._opens(now, waiter.permit) if self._waiting and self._waiting[0] is waiter else math.inf
            self._work_off()
            if waiter.granted:
                return
            if is_over:
                break
            seconds = min(opens, deadline.at) - now
            waiter.event.wait(max(0.0, min(seconds, _SLICE)))
        if cancel is not None and cancel.cancelled:
            raise CancelledError(f"the call was stopped while it waited for its turn: {cancel.reason}")
        raise DeadlineExceededError(
            f"the deadline passed while the call waited {now - begin:.1f} s for its turn within the rate limits; "
            "nothing was sent in that time"
        )

    def _leave(self, waiter: _Waiter) -> None:
        """Take a call that was ended (by Ctrl-C, too) out of the line, or give back the place that it was just given."""
        with self._lock:
            if waiter.granted:
                self._in_flight.discard(waiter.permit)
                self._book_tokens(-waiter.permit.tokens)
                self._leave_place(waiter.permit)
            elif waiter in self._waiting:
                self._waiting.remove(waiter)
            if self._share is not None and not self._waiting:
                self._share.give_back()
            self._grant()
        self._work_off()

    def _opens(self, now: float, permit: Permit) -> float:
        """Return the moment at which the first in the line may start; infinite while too many are in flight."""
        most = self._limits.max_concurrency
        if most is not None and len(self._in_flight) >= max(1, math.floor(most)):
            return math.inf
        if self._window != math.inf and len(self._in_flight) - len(self._accepted) >= max(1, math.floor(self._window)):
            return math.inf
        if self._share is None:
            return max(now, self._paused_until, self._next_request, self._next_token)
        rate = self._limits.requests_per_minute
        turn, is_new = self._share.opens(60.0 / rate if rate else 0.0, self._token_seconds(permit.tokens))
        if not is_new or turn > now:
            self._follow(now, self._share)  # a new turn that is now is after every pause
        return max(now, self._paused_until, self._next_request, self._full_until, turn)

    def _follow(self, now: float, share: Share) -> None:
        """Keep to a pause that another process was told of, and start slowly after it: nobody here was refused."""
        until = share.paused_until()
        if until <= max(now, self._paused_until + _SAME_PAUSE):
            return
        self._paused_until = until
        if self._limits.adaptive and self._window > 2.0:
            self._window_after = max(self._window, self._window_after if self._window < self._slow_start_ends else 0.0)
            self._slow_start_ends = min(self._window, _FOLLOWED)
            self._window = 2.0
            self._last_cut = now

    def _starts(self, now: float, permit: Permit) -> bool:
        """Start a call if it may; return whether it did."""
        if self._opens(now, permit) > now:
            return False
        most = self._limits.max_concurrency
        if self._share is not None:
            if most is not None and not self._share.enter(max(1, math.floor(most))):
                self._full_until = now + _LOOK_AGAIN
                return False
            permit.has_place = most is not None
            self._share.take(self._token_seconds(permit.tokens))
        self._in_flight.add(permit)
        interval = self._interval
        if self._limits.requests_per_minute is not None and self._share is None:
            interval = max(interval, 60.0 / self._limits.requests_per_minute)
        if interval:
            # At hundreds of starts a second each thread wakes a little late: what that loses may be caught up, and no more.
            late = _CATCH_UP if interval < _CATCH_UP else 0.0
            self._next_request = max(now - late, self._next_request) + interval
        if self._limits.tokens_per_minute is not None and self._share is None:
            self._next_token = max(now, self._next_token) + self._token_seconds(permit.tokens)
        return True

    def _token_seconds(self, tokens: float) -> float:
        """Return the seconds that tokens take of the limit."""
        return tokens * 60.0 / self._limits.tokens_per_minute if self._limits.tokens_per_minute is not None else 0.0

    def _book_tokens(self, tokens: float) -> None:
        """Book tokens that were not reserved; give back those that were not used, if there are fewer than none."""
        if self._limits.tokens_per_minute is None:
            return
        if self._share is None:
            self._next_token += self._token_seconds(tokens)
        else:
            self._share.settle(self._token_seconds(tokens))

    def _leave_place(self, permit: Permit) -> None:
        if self._share is not None and permit.has_place:
            permit.has_place = False
            self._share.leave()
            self._full_until = 0.0

    def _grant(self) -> None:
        """Let those start whose turn it is."""
        now = time.monotonic()
        while self._waiting and self._starts(now, self._waiting[0].permit):
            waiter = self._waiting.popleft()
            waiter.granted = True
            waiter.event.set()
        self._wake_first()

    def _wake_first(self) -> None:
        # The first in the line keeps the time for all; it has to know that it is the first, or that the time has changed.
        if self._waiting:
            self._waiting[0].event.set()

    def settle(self, permit: Permit, error: BaseException | None, usage: Usage | None) -> None:
        """Take a place back and learn from what came of it."""
        self._in_flight.discard(permit)
        self._accepted.discard(permit)
        if usage is not None:
            self._output_estimate += _NEWEST_WEIGHT * (usage.output_tokens - self._output_estimate)
        if error is None:
            self._overload -= _NEWEST_WEIGHT * self._overload
            if self._is_open:
                return
        self._settled.append((permit, error, usage))
        self._work_off()

    def _work_off(self) -> None:
        """Look at the permits that came back. To be called after each release of the lock."""
        while self._settled and self._lock.acquire(blocking=False):
            try:
                while self._settled:
                    self._account(*self._settled.popleft())
                if self._waiting:
                    self._grant()
                self._look()
            finally:
                self._lock.release()

    def _account(self, permit: Permit, error: BaseException | None, usage: Usage | None) -> None:
        self._leave_place(permit)
        if usage is not None:
            self._book_tokens(usage.total_tokens - permit.tokens)
        if isinstance(error, APIError) and error.retryable and error.status in (429, 503, 529):
            self._refused(permit, error)
        elif error is None and permit.started >= self._last_cut and not permit.accepted:
            self._answered()  # answers to what was sent before a refusal say nothing about what is allowed now

    def accept(self, permit: Permit) -> None:
        """Take an attempt out of what counts for the window: the provider is content with it."""
        self._accepted.add(permit)
        if self._is_open:
            return
        with self._lock:
            if permit.started >= self._last_cut:
                self._answered()
            if self._waiting:
                self._grant()
            self._look()
        self._work_off()

    def _refused(self, permit: Permit, error: APIError) -> None:
        now = time.monotonic()
        hint = error.retry_after
        if hint is None and error.status != 429:
            self._overload += _NEWEST_WEIGHT * (1.0 - self._overload)
            if self._overload < _OVERLOADED:
                return
        is_new_burst = permit.started >= self._last_cut
        if is_new_burst:
            self._bursts += 1
        if hint is None and error.status == 429:
            hint = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2.0 ** min(self._bursts - 1, 10)) if is_new_burst else 0.0
        if hint:
            hint = min(hint, _LONGEST_KEPT)
            if now + hint > self._paused_until + 1.0:
                _log.info("%s asks for a wait of %.1f s: nothing is sent until then", error.provider or "the provider", hint)
            # A floor, plus a little: all that wait were told the same moment.
            until = now + hint + random.uniform(0.0, min(0.5, 0.1 * hint))
            self._paused_until = max(self._paused_until, until)
            if self._share is not None:
                self._share.pause(until)
        if not self._limits.adaptive or not is_new_burst:
            return
        self._last_cut = now
        running = len(self._in_flight) - len(self._accepted) + 1
        self._soft_ceiling = max(1.0, min(self._window, running) * 0.9)
        self._window = max(1.0, running / 2)
        if hint:
            # After a pause a few go first; the window above is where doubling ends.
            self._slow_start_ends = self._window_after = self._window
            self._window = min(self._window, 2.0)

    def _answered(self) -> None:
        self._bursts = 0
        if self._window == math.inf:
            return
        if self._window < self._slow_start_ends:
            self._window += 1.0  # one more for each answer: twice as many with each round
            if self._window >= self._slow_start_ends:
                self._window = max(self._window, self._window_after)
        else:
            step = 1.0 / self._window
            self._window += step if self._window < self._soft_ceiling else step / 10
        if self._window > 10_000:
            self._window = math.inf

    def learn(self, headers: Mapping[str, str]) -> None:
        """Slow down to the rate at which the provider's buckets refill, while one of them is nearly empty."""
        if "x-ratelimit-remaining-requests" not in headers and "anthropic-ratelimit-requests-remaining" not in headers:
            return
        now = time.time()
        slowest = 0.0
        for kind, limit_name, remaining_name, reset_name in _BUCKETS:
            limit, remaining = _count(headers.get(limit_name)), _count(headers.get(remaining_name))
            if not limit or remaining is None or remaining >= limit * _NEARLY_EMPTY:
                continue
            seconds = reset_seconds(headers.get(reset_name, ""), now)
            if not seconds:
                continue
            for_one = seconds / (limit - remaining)  # the reset is when the bucket is full again
            slowest = max(slowest, for_one if kind == "requests" else for_one * self._output_estimate)
        if not slowest and not self._interval:
            return
        with self._lock:
            self._interval = min(slowest, _LONGEST_PAUSE)
            self._look()
            if not self._interval and self._limits.requests_per_minute is None:
                self._next_request = 0.0  # the bucket has filled up: nothing that was spread ahead holds any more
                self._grant()
        self._work_off()

    def reset_locks(self) -> None:
        """Start anew in a forked child, where nothing is in flight and nobody waits."""
        self._lock = threading.Lock()
        for permit in self._in_flight:
            permit.has_place = False  # it is the parent's
        self._waiting = deque()
        self._in_flight = set()
        self._accepted = set()
        self._settled = deque()
        if self._share is not None:
            self._share.forget()
        self._look()


def _count(value: str | None) -> int | None:
    return int(value) if value is not None and value.isdecimal() else None


_governors: dict[tuple[str, ...], Governor] = {}
_governors_lock = threading.Lock()


def governor_for(identity: tuple[str, ...], limits: Limits) -> Governor:
    """Return the process's governor of a provider, base URL, key and model; limits of several responders all hold."""
    with _governors_lock:
        governor = _governors.get(identity)
        if governor is None:
            governor = _governors[identity] = Governor(limits, "\0".join(identity).encode())
        else:
            governor.tighten(limits)
        return governor


def forget_limits() -> None:
    """Forget what was learned of every provider: for tests, where one refusal must not slow down the next test."""
    with _governors_lock:
        _governors.clear()


def _after_fork() -> None:
    global _governors_lock  # the parent's lock may be held by a thread that this child does not have
    _governors_lock = threading.Lock()
    for governor in _governors.values():
        governor.reset_locks()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
