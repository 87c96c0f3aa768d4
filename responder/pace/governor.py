"""Who starts when? One governor for each provider, base URL, key and model: for all maps, streams and views of the process.

A call asks for a permit before each attempt and settles it afterwards. Unless the provider refuses or a limit is set, that
costs no lock. First come, first served, whichever map or view asks. `window.py` learns how many may run at once, `spread.py`
spaces the starts, and `share.py` handles limits shared with other processes.
"""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Mapping
from typing import cast

from responder.pace.estimates import FIRST_OUTPUT_TOKENS, NEWEST_WEIGHT, is_plausible, within_reach
from responder.pace.limits import Limits
from responder.pace.refill import slowest_refill, tells_of_buckets
from responder.pace.share import Share
from responder.pace.spread import Spread, debt
from responder.pace.wake import Sleeper
from responder.pace.window import Window, is_refusal
from responder.values.answer import Usage
from responder.values.cancellation import CancelToken
from responder.values.clock import monotonic
from responder.values.deadline import Deadline
from responder.values.errors import APIError, CancelledError, ConfigurationError, DeadlineExceededError
from responder.values.process import adopt, getpid

# A call that has got its turn from a store asks for this many behind it, too, as long as they may start now: waking them
# one after another to ask for themselves takes the interpreter longer.
_MOST_BEHIND = 32

# A call without a deadline waits this many seconds for a store that another process holds without a break: it is stopped.
_LONGEST_HELD = 60.0


class _Waiter:
    """A call waiting for its turn."""

    __slots__ = ("granted", "permit", "sleeper")

    def __init__(self, permit: Permit) -> None:
        self.permit = permit
        self.sleeper = Sleeper()
        self.granted = False


class Permit:
    """The right to make one attempt. To be settled once, by any thread (the garbage collector's, too), whatever the outcome."""

    __slots__ = ("_governor", "_settled", "accepted", "has_place", "started", "tokens", "waited")

    def __init__(self, governor: Governor, tokens: float, started: float) -> None:
        self._governor = governor
        self.tokens = tokens
        self.started = started
        self.waited = 0.0
        self._settled = False
        self.accepted = False
        self.has_place = False  # from limits that several processes share

    def observe(self, headers: Mapping[str, str]) -> None:
        """Learn from a reply's rate-limit headers (names in lower case), whatever its status."""
        self._governor.learn(headers)

    def accept(self) -> None:
        """Report that the provider has accepted the request and begun to answer, which may take minutes (a stream).

        From here on the attempt counts for `max_concurrency`, but no longer for what the provider seems to allow: after a
        refusal, a few long streams would keep all other calls waiting.
        """
        self.accepted = True
        self._governor.accept(self)

    def settle(self, error: BaseException | None = None, usage: Usage | None = None) -> None:
        """Give the slot back. Never waits.

        Args:
            error: What went wrong, None for an answer.
            usage: What was used, also by a failed attempt; None, unknown or absurd: the estimate stands.
        """
        if not self._settled:
            self._settled = True
            self._governor.settle(self, error, usage if usage is not None and is_plausible(usage) else None)


class Governor:
    """Lets calls start. One lock guards everything mutable; it is never held while waiting, not even for a file."""

    def __init__(self, limits: Limits, name: bytes = b"") -> None:
        self._limits = limits
        self._name = name  # under which a store keeps the limits
        self._share: Share | None = None  # this process's part in a store
        self._window = Window()
        self._spread = Spread()
        self._output = float(FIRST_OUTPUT_TOKENS)  # mean of the last answers: the length of the next one is unknown
        self._take_limits()
        self.process = getpid()
        self.start_anew()

    def start_anew(self) -> None:
        """Start with nothing in flight and no call waiting; also in a forked child, where those are the parent's."""
        self._lock = threading.Lock()
        for permit in getattr(self, "_in_flight", ()):
            permit.has_place = False  # it is the parent's
        self._waiting: deque[_Waiter] = deque()
        self._is_asking = False  # True while a thread asks the store, for the first in the line
        self._in_flight: set[Permit] = set()
        self._accepted: set[Permit] = set()  # those of them that the provider is answering already
        # Permits that came back and were not processed yet. A garbage collector that ends a dropped stream may settle in a thread
        # that holds the lock, so settling never waits for it: whoever holds it processes them all afterwards.
        self._settled: deque[tuple[Permit, BaseException | None, Usage | None]] = deque()
        if self._share is not None:
            self._share.forget_parent()
        # True while nothing holds any call back. Then calls start and end without the lock, for which hundreds of threads would
        # stand in line; adding to a set and taking from it need none.
        self._is_open = False
        self._look()

    @property
    def limits(self) -> Limits:
        """What is enforced."""
        return self._limits

    def tighten(self, limits: Limits) -> None:
        """Keep to these limits, too: a second responder for the same key may have stricter ones."""
        if self.process != getpid():
            adopt(self)
        with self._lock:
            self._limits = self._limits.tightened(limits)
            self._take_limits()
            self._look()
        self._work_off()

    def _take_limits(self) -> None:
        limits = self._limits
        if self._share is None and limits.store is not None:
            from responder.pace.store import LimitStore

            self._share = Share(cast(LimitStore, limits.store), self._name)
        requests, tokens = limits.requests_per_minute, limits.tokens_per_minute
        self._request_seconds = 60.0 / requests if requests is not None else 0.0  # that one takes of the limit
        self._token_seconds = 60.0 / tokens if tokens is not None else 0.0
        self._is_limited = self._share is not None or (limits.max_concurrency, requests, tokens) != (None, None, None)

    def _look(self) -> None:
        """Work out whether anything holds calls back."""
        now = monotonic()
        self._is_open = not self._is_limited and not self._waiting and self._window.is_open(now) and self._spread.is_open(now)

    def acquire(self, input_tokens: float, deadline: Deadline, cancel: CancelToken | None) -> Permit:
        """Wait until an attempt may start.

        Args:
            input_tokens: An estimate; the answer's are added here.
            deadline: When the call must be over.
            cancel: Ends the wait.

        Raises:
            DeadlineExceededError: The turn did not come in time.
            CancelledError: The token was cancelled.
            ConfigurationError: The file in which several processes keep the limits cannot be used; the message says why.
        """
        now = monotonic()
        if now >= deadline.at:
            raise DeadlineExceededError("the deadline had passed before the call could be sent")
        if self.process != getpid():
            adopt(self)
        permit = Permit(self, input_tokens + self._output, now)
        if self._is_open:
            self._in_flight.add(permit)
            return permit
        waiter = _Waiter(permit)
        try:
            with self._lock:
                if self._share is None and not self._waiting and self._starts(now, permit):
                    waiter.granted = True
                else:
                    self._waiting.append(waiter)
            self._work_off()
            if waiter.granted:
                return permit
            registered = cancel.register(waiter.sleeper.wake) if cancel is not None else -1
            try:
                self._wait(waiter, deadline, cancel)
            finally:
                if cancel is not None:
                    cancel.unregister(registered)
        except BaseException:
            self._leave(waiter)
            raise
        permit.started = monotonic()
        permit.waited = permit.started - now
        return permit

    def try_acquire(self, input_tokens: float) -> Permit | None:
        """Return a permit for an optional attempt (a hedge) if there is room now, else None.

        Args:
            input_tokens: An estimate; the answer's are added here.
        """
        if self.process != getpid():
            adopt(self)
        now = monotonic()
        permit = Permit(self, input_tokens + self._output, now)
        if self._is_open:
            self._in_flight.add(permit)
            return permit
        waiter = _Waiter(permit)
        share = self._share
        with self._lock:
            if not self._waiting and not self._window.is_starting:
                if share is None:
                    waiter.granted = self._starts(now, permit)
                elif self._opens(now) <= now and not self._is_asking:
                    self._waiting.append(waiter)
                    self._is_asking = True
        self._work_off()
        if share is not None and waiter in self._waiting:
            try:
                self._start_shared(share, waiter, 0)
            except BlockingIOError:
                pass
            finally:
                if not waiter.granted:
                    self._leave(waiter)
        return permit if waiter.granted else None

    def _wait(self, waiter: _Waiter, deadline: Deadline, cancel: CancelToken | None) -> None:
        begin = free = monotonic()
        held = ""  # the process that holds the store
        while True:
            with self._lock:
                self._grant()
                # Before the look at what may end the wait: a cancel that comes after that look sets it again.
                waiter.sleeper.forget()
                now = monotonic()
                is_over = (cancel is not None and cancel.cancelled) or now >= deadline.at
                is_first = bool(self._waiting) and self._waiting[0] is waiter
                opens = self._opens(now) if is_first else math.inf
                share = None
                if self._is_asking:
                    opens = math.inf  # the thread that asks wakes the first in the line afterwards
                elif self._share is not None and opens <= now and not is_over:
                    share, self._is_asking = self._share, True
            self._work_off()
            if waiter.granted:
                return
            if is_over:
                break
            if share is not None:
                try:
                    opens = self._start_shared(share, waiter, _MOST_BEHIND)
                    held, free = "", monotonic()
                except BlockingIOError as error:
                    held = str(error)
                    if now - free >= _LONGEST_HELD:
                        raise ConfigurationError(f"nothing was sent in {now - free:.0f} s: {held}", fatal=True) from None
                if waiter.granted:
                    return
            waiter.sleeper.sleep(min(opens, deadline.at) - monotonic())
        if cancel is not None and cancel.cancelled:
            raise CancelledError(f"the call was stopped while it waited for its turn: {cancel.reason}")
        raise DeadlineExceededError(
            f"the deadline passed while the call waited {now - begin:.1f} s for its turn within the rate limits; "
            f"nothing was sent in that time{': ' + held if held else ''}"
        )

    def _leave(self, waiter: _Waiter) -> None:
        """Take a call that was ended (by Ctrl-C, too) out of the line, or give back the slot it was just given."""
        with self._lock:
            if waiter.granted:
                self._in_flight.discard(waiter.permit)
                self._book_tokens(0.0, waiter.permit.tokens)
                self._leave_place(waiter.permit)
            elif waiter in self._waiting:
                self._waiting.remove(waiter)
            if self._share is not None and not self._waiting and not self._is_asking:
                self._share.give_back()
            self._grant()
        self._work_off()

    def _opens(self, now: float) -> float:
        """Return the moment at which the first in the line may start, as far as this process knows; infinite while it is full."""
        running = len(self._in_flight)
        most = self._limits.max_concurrency
        if most is not None and running >= max(1, math.floor(most)):
            return math.inf
        if not self._window.has_room(running - len(self._accepted)):
            return math.inf
        return max(now, self._window.paused_until, self._spread.opens())

    def _starts(self, now: float, permit: Permit) -> bool:
        """Start a call if it may; return whether it did."""
        if self._opens(now) > now:
            return False
        self._in_flight.add(permit)
        self._spread.take(now, self._request_seconds, permit.tokens * self._token_seconds)
        return True

    def _start_shared(self, share: Share, waiter: _Waiter, behind: int) -> float:
        """Start the first in the line if all processes' limits let it, and as many behind it.

        To be called without the lock, by the first in the line, once it has set `_is_asking`.

        Returns:
            The moment at which to look again.
        """
        opens = 0.0
        try:
            while behind >= 0 and self._waiting:
                behind -= 1
                opens = self._start_first(share)
                if opens > 0.0:
                    break
        except Exception:
            if not waiter.granted:
                raise  # else the next one asks again, and gets the error
        finally:
            with self._lock:
                self._is_asking = False
                if not self._waiting:
                    share.give_back()
                self._wake_first()
            self._work_off()
        return opens

    def _start_first(self, share: Share) -> float:
        """Ask the store for the first in the line, and start it; return the moment to ask again, 0 if a call has started."""
        limits = self._limits
        most = max(1, math.floor(limits.max_concurrency)) if limits.max_concurrency is not None else None
        with self._lock:
            if not self._waiting or self._opens(now := monotonic()) > now:
                return math.inf
            waiter = self._waiting[0]
        tokens = waiter.permit.tokens * self._token_seconds
        opens, paused = share.turn(self._request_seconds, tokens, most)
        with self._lock:
            now = monotonic()
            self._window.adopt_shared_pause(paused, now, limits.adaptive)
            opens = max(opens, self._opens(now))  # the provider may have refused a call in the meantime
            if opens > now or not share.has_all(most) or not self._waiting or self._waiting[0] is not waiter:
                share.give_back_place()
                return opens
            self._waiting.popleft()
            waiter.permit.has_place = share.take(tokens)
            self._in_flight.add(waiter.permit)
            self._spread.take(now, 0.0, 0.0)
            waiter.granted = True
            waiter.sleeper.wake()
        return 0.0

    def _book_tokens(self, used: float, reserved: float) -> None:
        """Book the tokens that a call used, in place of those that it reserved."""
        if not self._token_seconds:
            return
        seconds = debt(used * self._token_seconds, reserved * self._token_seconds)
        if self._share is None:
            self._spread.book(seconds)
        else:
            self._share.book(seconds)

    def _leave_place(self, permit: Permit) -> None:
        if self._share is not None and permit.has_place:
            permit.has_place = False
            self._share.leave()

    def _grant(self) -> None:
        """Start the calls whose turn it is; if several processes share the limits, the first in the line does that itself."""
        now = monotonic()
        while self._share is None and self._waiting and self._starts(now, self._waiting[0].permit):
            waiter = self._waiting.popleft()
            waiter.granted = True
            waiter.sleeper.wake()
        self._wake_first()

    def _wake_first(self) -> None:
        # The first in the line keeps the time for all; it has to know that it is the first, or that the time has changed.
        if self._waiting:
            self._waiting[0].sleeper.wake()

    def settle(self, permit: Permit, error: BaseException | None, usage: Usage | None) -> None:
        """Take a slot back and learn from the outcome."""
        self._in_flight.discard(permit)
        self._accepted.discard(permit)
        if usage is not None:
            output = self._output
            self._output = output + NEWEST_WEIGHT * (within_reach(usage.output_tokens, output + FIRST_OUTPUT_TOKENS) - output)
        if error is None:
            self._window.calm()
            if self._is_open:
                return
        if self.process != getpid():
            adopt(self)
        self._settled.append((permit, error, usage))
        self._work_off()

    def _work_off(self) -> None:
        """Process the permits that came back, and tell the other processes. To be called after each release of the lock."""
        while self._settled and self._lock.acquire(blocking=False):
            try:
                while self._settled:
                    self._account(*self._settled.popleft())
                if self._waiting:
                    self._grant()
                self._look()
            finally:
                self._lock.release()
        if self._share is not None:
            self._share.send()

    def _account(self, permit: Permit, error: BaseException | None, usage: Usage | None) -> None:
        self._leave_place(permit)
        if usage is not None:
            self._book_tokens(usage.total_tokens, permit.tokens)
        if is_refusal(error):
            running = len(self._in_flight) - len(self._accepted)
            until = self._window.refused(cast(APIError, error), permit.started, running, monotonic(), self._limits.adaptive)
            if until and self._share is not None:
                self._share.pause(until)
        elif error is None and self._window.knows(permit.started) and not permit.accepted:
            self._window.answered()

    def accept(self, permit: Permit) -> None:
        """Stop counting an attempt for the window: the provider has accepted it."""
        self._accepted.add(permit)
        if self._is_open:
            return
        if self.process != getpid():
            adopt(self)
        with self._lock:
            if self._window.knows(permit.started):
                self._window.answered()
            if self._waiting:
                self._grant()
            self._look()
        self._work_off()

    def learn(self, headers: Mapping[str, str]) -> None:
        """Slow down to the rate at which the provider's buckets refill, while one of them is nearly empty."""
        if not tells_of_buckets(headers):
            return
        interval, seconds = slowest_refill(headers, self._output)
        if not interval and not self._spread.is_slowed:
            return
        if self.process != getpid():
            adopt(self)
        with self._lock:
            self._spread.slow_down(interval, monotonic(), seconds)
            self._look()
            if not interval and not self._request_seconds:
                self._spread.next_request = 0.0  # the bucket has filled up: starts that were spread ahead no longer apply
                self._grant()
        self._work_off()
