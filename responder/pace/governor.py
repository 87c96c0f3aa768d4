"""Who starts when? One governor for each provider, base URL, key and model: for all maps, streams and views of the process.

A call asks for a permit before each attempt and settles it afterwards. Unless the provider refuses or a limit is set, that
costs no lock. First come, first served, whichever map or view asks. `window.py` learns how many may run at once, `spread.py`
spaces the starts, `share.py` handles limits shared with other processes, and `courier.py` asks for them.
"""

from __future__ import annotations

import logging
import math
import threading
from collections import deque
from collections.abc import Mapping
from itertools import islice
from typing import TYPE_CHECKING, cast

from responder.pace.estimates import FIRST_OUTPUT_TOKENS, NEWEST_WEIGHT, within_reach
from responder.pace.limits import Limits
from responder.pace.permit import Permit, Waiter
from responder.pace.refill import slowest_refill, tells_of_buckets
from responder.pace.spread import Spread, debt
from responder.pace.window import Window, is_refusal
from responder.values.answer import Usage
from responder.values.cancellation import CancelToken
from responder.values.clock import monotonic
from responder.values.deadline import Deadline
from responder.values.errors import APIError, CancelledError, ConfigurationError, DeadlineExceededError
from responder.values.process import adopt, getpid

if TYPE_CHECKING:
    from responder.pace.courier import Courier
    from responder.pace.share import Share
    from responder.pace.store import LimitAnswer, LimitStep, LimitStore

_log = logging.getLogger("responder")

# A store is asked for the turns of that many calls at most.
_MOST_ASKED = 256

# Seconds that an optional attempt waits for the store's answer, which takes a few thousandths of one.
_HEDGE_PATIENCE = 0.05

# A call without a deadline waits this many seconds for a store that another process holds without a break: it is stopped.
_LONGEST_HELD = 60.0


class Governor:
    """Lets calls start. One lock guards everything mutable; it is never held while waiting, not even for a file."""

    def __init__(self, limits: Limits, name: bytes = b"") -> None:
        self._limits = limits
        self._name = name  # under which a store keeps the limits
        self._share: Share | None = None  # this process's part in a store
        self._courier: Courier | None = None  # who asks it
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
        self._waiting: deque[Waiter] = deque()
        self._in_flight: set[Permit] = set()
        self._accepted: set[Permit] = set()  # those of them that the provider is answering already
        # Permits that came back and were not processed yet. A garbage collector that ends a dropped stream may settle in a thread
        # that holds the lock, so settling never waits for it: whoever holds it processes them all afterwards.
        self._settled: deque[tuple[Permit, BaseException | None, Usage | None]] = deque()
        if self._share is not None:
            self._share.forget_parent()
        if self._courier is not None:
            self._courier.forget_parent()
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
            # Imported when needed: most programs are one process.
            from responder.pace.courier import Courier
            from responder.pace.share import Share

            self._share = Share(cast("LimitStore", limits.store), self._name)
            self._courier = Courier(self._share.store, self._name)
        requests, tokens = limits.requests_per_minute, limits.tokens_per_minute
        self._request_seconds = 60.0 / requests if requests is not None else 0.0  # that one takes of the limit
        self._token_seconds = 60.0 / tokens if tokens is not None else 0.0
        if self._share is not None:
            most = limits.max_concurrency
            self._share.limit(self._request_seconds, self._token_seconds, max(1, math.floor(most)) if most is not None else None)
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
        waiter = Waiter(permit)
        try:
            with self._lock:
                if not self._waiting and self._starts(now, permit):
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
        waiter = Waiter(permit)
        with self._lock:
            if not self._waiting and not self._window.is_starting:
                waiter.granted = self._starts(now, permit)
                if not waiter.granted and self._share is not None and self._room(now) > 0:
                    self._waiting.append(waiter)
                    self._call_courier(now)
        self._work_off()
        if self._share is not None and not waiter.granted and waiter in self._waiting:
            self._carry_alone()
            waiter.sleeper.sleep(_HEDGE_PATIENCE)
            with self._lock:
                if not waiter.granted and waiter in self._waiting:
                    self._waiting.remove(waiter)
                self._grant()
            self._work_off()
        return permit if waiter.granted else None

    def _wait(self, waiter: Waiter, deadline: Deadline, cancel: CancelToken | None) -> None:
        begin = monotonic()
        while True:
            with self._lock:
                self._grant()
                # Before the look at what may end the wait: a cancel that comes after that look sets it again.
                waiter.sleeper.forget()
                now = monotonic()
                is_over = (cancel is not None and cancel.cancelled) or now >= deadline.at
                is_first = bool(self._waiting) and self._waiting[0] is waiter
                opens = self._opens(now) if is_first else math.inf
            self._work_off()
            if waiter.granted:
                return
            if is_over:
                break
            if waiter.error is not None:
                raise waiter.error
            self._check_held(begin)
            self._carry_alone()
            waiter.sleeper.sleep(min(opens, deadline.at) - monotonic())
        if cancel is not None and cancel.cancelled:
            raise CancelledError(f"the call was stopped while it waited for its turn: {cancel.reason}")
        held = self._share.held if self._share is not None else ""
        raise DeadlineExceededError(
            f"the deadline passed while the call waited {now - begin:.1f} s for its turn within the rate limits; "
            f"nothing was sent in that time{': ' + held if held else ''}"
        )

    def _check_held(self, begin: float) -> None:
        """Raise for a store that another process has held all the time that a call waits for it."""
        share = self._share
        if share is not None and share.held and (held := monotonic() - max(begin, share.held_since)) >= _LONGEST_HELD:
            raise ConfigurationError(f"nothing was sent in {held:.0f} s: {share.held}", fatal=True)

    def _leave(self, waiter: Waiter) -> None:
        """Take a call that was ended (by Ctrl-C, too) out of the line, or give back the slot it was just given."""
        with self._lock:
            if waiter.granted:
                self._in_flight.discard(waiter.permit)
                self._book_tokens(0.0, waiter.permit.tokens)
                self._leave_place(waiter.permit)
            elif waiter in self._waiting:
                self._waiting.remove(waiter)
            self._grant()
        self._work_off()

    def _room(self, now: float) -> float:
        """Return how many calls may start now, as far as this process alone goes."""
        if max(self._window.paused_until, self._spread.opens()) > now:
            return 0
        running = len(self._in_flight)
        room = self._window.room(running - len(self._accepted))
        most = self._limits.max_concurrency
        return room if most is None else min(room, max(1, math.floor(most)) - running)

    def _opens(self, now: float) -> float:
        """Return the moment at which the first in the line may start, as far as this process knows; infinite while it is full."""
        running = len(self._in_flight)
        most = self._limits.max_concurrency
        if most is not None and running >= max(1, math.floor(most)):
            return math.inf
        if not self._window.has_room(running - len(self._accepted)):
            return math.inf
        opens = max(now, self._window.paused_until, self._spread.opens())
        return opens if self._share is None or opens > now else max(now, self._share.opens(now))

    def _starts(self, now: float, permit: Permit) -> bool:
        """Start a call if it may; return whether it did."""
        if self._opens(now) > now:
            return False
        self._in_flight.add(permit)
        if self._share is None:
            self._spread.take(now, self._request_seconds, permit.tokens * self._token_seconds)
        else:
            self._spread.take(now, 0.0, 0.0)
            permit.has_place = self._share.take(now, permit.tokens)
        return True

    # What several processes share

    def _call_courier(self, now: float) -> None:
        """Let the store be asked or told what is due. To be called with the lock."""
        share, courier = self._share, self._courier
        if share is not None and courier is not None:
            due = share.due(now, self._ready(now))
            if due < math.inf:
                courier.call(self, due)

    def _ready(self, now: float) -> int:
        """Return how many of those who wait could start now, as far as this process alone goes."""
        return max(0, int(min(len(self._waiting), self._room(now), _MOST_ASKED))) if self._waiting else 0

    def next_step(self) -> LimitStep | float | None:
        """Return what to ask the store now, or the moment to look again; None when the courier may go."""
        share, courier = self._share, self._courier
        if share is None or courier is None:
            return None
        planned: LimitStep | float | None
        with self._lock:
            now = monotonic()
            ready = self._ready(now)
            planned = courier.until = due = share.due(now, ready)
            if due <= now:
                planned = share.ask(now, [waiter.permit.tokens for waiter in islice(self._waiting, ready)])
                courier.busy_at = now
            elif due == math.inf and courier.may_end(now):
                planned, courier.is_running = None, False
        self._work_off()
        return planned

    def step_done(self, step: LimitStep, answer: LimitAnswer | Exception) -> None:
        """Take the store's answer, or the error it raised, and start the calls whose turn it is."""
        share = self._share
        if share is None:
            return
        with self._lock:
            now = monotonic()
            if not isinstance(answer, Exception):
                self._window.adopt_shared_pause(share.answered(step, answer, now), now, self._limits.adaptive)
            elif not share.failed(step, answer, now):
                self._fail_first(answer)
            self._grant()
        self._work_off()

    def end(self) -> None:
        """Tell the store that the program ends, with its calls."""
        share, courier = self._share, self._courier
        if share is None or courier is None or self.process != getpid() or not self._lock.acquire(timeout=0.1):
            return
        try:
            step = share.farewell(monotonic())
        finally:
            self._lock.release()
        if step is not None:
            courier.tell(step)

    def _fail_first(self, error: Exception) -> None:
        if self._waiting:
            waiter = self._waiting.popleft()
            waiter.error = error
            waiter.sleeper.wake()
        else:  # a call that has its answer must not fail because of this
            _log.warning("the limits shared by several processes could not be updated: %s", error)

    def _carry_alone(self) -> None:
        """Ask the store in this thread, if there is no other one for it."""
        courier = self._courier
        if courier is not None and not courier.is_running:
            planned = self.next_step()
            if planned is not None and not isinstance(planned, float):
                courier.carry(self, planned)

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
        """Start the calls whose turn it is."""
        now = monotonic()
        while self._waiting and self._starts(now, self._waiting[0].permit):
            waiter = self._waiting.popleft()
            waiter.granted = True
            waiter.sleeper.wake()
        self._wake_first()
        if self._share is not None:
            self._call_courier(now)

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
        """Process the permits that came back. To be called after each release of the lock."""
        while self._settled and self._lock.acquire(blocking=False):
            try:
                while self._settled:
                    self._account(*self._settled.popleft())
                if self._waiting or self._share is not None:
                    self._grant()
                self._look()
            finally:
                self._lock.release()

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
