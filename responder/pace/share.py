"""What is this process's part in limits that several share? The turns and places of one governor, taken from a store in blocks.

Nothing here waits, locks or talks to a store: it says what is to be asked next (`due`, `ask`), and learns what was answered
(`answered`, `failed`). While the store is away, the process keeps its part of the limits.
"""

from __future__ import annotations

import logging
import math
import uuid
from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING

from responder.pace.store import LimitAnswer, LimitStep
from responder.values.clock import monotonic

if TYPE_CHECKING:
    from responder.pace.store import LimitStore

_log = logging.getLogger("responder")

# Seconds of the limits that a process takes at once: 25 turns at 500 calls a second, and one at twenty or less.
_BLOCK = 0.05
_MOST_TURNS = 256

# Seconds by which a first turn may lie in the past, where more than one fall into that time; see `spread.py`.
_CATCH_UP = 0.02

# Seconds after which an answer is no longer believed: a pause that another process was told may have come since.
_FRESH = 0.1

# Seconds after which a turn that nobody has used is given back, as is whatever else is to be told to the others.
_KEPT = 0.05
_TELL = 0.1

# The same once nothing is in flight any more: if the process ends now, its places come back with the lease only.
_TELL_LAST = 0.005

# Seconds after which to ask again for a place: nothing notifies us that there is one.
_LOOK_AGAIN = 0.05

# Seconds without a word after which the places of a process are free, and those after which it says a word.
_LEASE = 5.0
_RENEW = 1.5

# Seconds for which an answer is waited for, and those after which a store that is away is tried again.
_PATIENCE = 0.5
_TRY_AGAIN = 1.0


class Share:
    """One governor's part in a store; moments are `clock.monotonic()`. Guarded by the governor's lock.

    Args:
        store: What several processes share.
        key: Whose limits.
    """

    def __init__(self, store: LimitStore, key: bytes) -> None:
        self.store = store
        self.key = key
        self.interval = 0.0
        self._token_seconds = 0.0
        self.most: int | None = None
        self._processes = 1
        self.forget_parent()

    def forget_parent(self) -> None:
        """Reset in a forked child: what was taken, and what was to be told, is the parent's."""
        self._name = uuid.uuid4().hex
        self._turns: deque[tuple[float, float]] = deque()  # kept: when, and seconds of tokens
        self._using = 0  # places of calls in flight
        self._places = 0  # for those, and for further ones
        self._taken = 0  # calls that started since it was last asked
        self._tokens = 0.0  # seconds that the latest call's tokens took
        self._fresh_until = 0.0
        self._look_again = 0.0
        self._asked_at = 0.0  # 0: no answer is awaited
        self._told_at = 0.0
        self._more_requests = 0.0  # seconds to book
        self._more_tokens = 0.0
        self._paused_until = 0.0  # to be told to the others
        self._tell_at = math.inf
        self._is_away = False
        self._try_at = 0.0
        self._next_request = 0.0  # while it is away
        self._next_token = 0.0
        self.held = ""
        """Who holds the store; "": nobody."""
        self.held_since = 0.0

    def limit(self, interval: float, token_seconds: float, most: int | None) -> None:
        """Set what is enforced.

        Args:
            interval: Seconds between two calls; 0: any number may start.
            token_seconds: Seconds that one token takes; 0: any number of them.
            most: Calls in flight, of all processes; None: any number.
        """
        self.interval, self._token_seconds, self.most = interval, token_seconds, most

    @property
    def _is_timed(self) -> bool:
        return self.interval > 0 or self._token_seconds > 0

    # What may start

    def opens(self, now: float) -> float:
        """Return the moment at which the next call may start, as far as is known; infinite until the store has answered."""
        if self._asked_at and not self._is_away and now - self._asked_at >= _PATIENCE:
            self._leave_store(now, f"no answer within {_PATIENCE:g} s")
        if self._is_away:
            if self.most is not None and self._using >= max(1, self.most // self._processes):
                return math.inf
            return max(self._next_request, self._next_token)
        if self._asked_at:
            return self._asked_at + _PATIENCE
        if self._lacks_place or (self._is_timed and not self._turns):
            return math.inf
        turn = self._turns[0][0] if self._is_timed else now
        return math.inf if turn <= now and now >= self._fresh_until else turn

    @property
    def _lacks_place(self) -> bool:
        return self.most is not None and self._places <= self._using

    def take(self, now: float, tokens: float) -> bool:
        """Start a call that may start; return whether it has a place that is to be left.

        Args:
            now: The moment.
            tokens: That it reserves.
        """
        seconds = tokens * self._token_seconds
        self._taken += 1
        self._tokens = seconds
        if self._is_away:
            late = _CATCH_UP if self.interval < _CATCH_UP else 0.0
            self._next_request = max(now - late, self._next_request) + self.interval * self._processes
            self._next_token = max(now, self._next_token) + seconds * self._processes
        elif self._is_timed:
            _, reserved = self._turns.popleft()
            self._book(0.0, seconds - reserved)
        if self.most is None:
            return False
        self._using += 1
        return True

    def leave(self) -> None:
        """Take back the place of a call that is over, for the next one."""
        self._using -= 1
        self._tell_soon(_TELL if self._using else _TELL_LAST)

    def book(self, seconds: float) -> None:
        """Book this many seconds of tokens more than were reserved."""
        if seconds:
            self._book(0.0, seconds)
            self._tell_soon()

    def _book(self, requests: float, tokens: float) -> None:
        if self._is_away:
            self._next_token += tokens * self._processes
        else:
            self._more_requests += requests
            self._more_tokens += tokens

    def pause(self, until: float) -> None:
        """Let no process start before a moment."""
        self._paused_until = max(self._paused_until, until)
        self._tell_at = 0.0

    def _tell_soon(self, seconds: float = _TELL) -> None:
        if self._tell_at == math.inf or seconds < _TELL:
            self._tell_at = min(self._tell_at, monotonic() + seconds)

    # What is to be asked

    def due(self, now: float, line: int) -> float:
        """Return the moment at which the store is to be asked or told something next; infinite: never, as things are.

        Args:
            now: The moment.
            line: Calls that could start now, as far as this process knows.
        """
        if self._asked_at:
            return math.inf
        if self._is_away:
            return self._try_at if line or self._using or now < self._told_at + _LEASE else math.inf
        if self.held:
            return self._look_again if line or self._tell_at < math.inf else math.inf
        due = min(self._tell_at, self._told_at + _RENEW if line or self._using else math.inf)
        if line and self.opens(now) == math.inf:
            return self._look_again if self._lacks_place or not self._turns else now
        if not line and ((self._turns and self._turns[-1][0] > now) or not (self.most is None or self._lacks_place)):
            due = min(due, self._told_at + _TELL)  # the others could have them
        return due

    def ask(self, now: float, line: Sequence[float]) -> LimitStep:
        """Return what to ask and tell now; until the answer is there, no call starts.

        Args:
            now: The moment.
            line: The tokens of the first calls that could start now.
        """
        self._give_back(now, is_all=not line)
        costs: list[float] = []
        if line and not self._is_away:
            costs = self._block([tokens * self._token_seconds for tokens in line], self._expected(now))
        wanted = len(costs) + len(self._turns) if self.most is not None and costs else 0
        pause = max(0.0, self._paused_until - now)
        longest = max(self.interval, costs[0]) if costs else 0.0
        step = LimitStep(
            process=self._name,
            turns=tuple(costs) if self._is_timed else (),
            interval=self.interval,
            late=_CATCH_UP if longest < _CATCH_UP else 0.0,
            requests=self._more_requests,
            tokens=self._more_tokens,
            pause=pause,
            most=self.most,
            using=self._using,
            wanted=wanted,
            lease=_LEASE,
        )
        self._more_requests = self._more_tokens = 0.0
        self._tell_at = math.inf
        self._asked_at = now
        self._taken = 0
        return step

    def farewell(self, now: float) -> LimitStep | None:
        """Return what to tell when the program ends; None: nothing. Its calls end with it."""
        if self._is_away or not self._told_at:
            return None
        self._give_back(now, is_all=True)
        pause = max(0.0, self._paused_until - now)
        if not (self._using or self._places or self._more_requests or self._more_tokens or pause):
            return None
        return LimitStep(self._name, requests=self._more_requests, tokens=self._more_tokens, pause=pause, most=self.most)

    def _give_back(self, now: float, is_all: bool) -> None:
        """Give back the turns that nobody used in time; all of them, if nobody waits."""
        while self._turns and (is_all or self._turns[0][0] < now - _KEPT):
            _, tokens = self._turns.popleft()
            self._book(-self.interval, -tokens)

    def _block(self, line: list[float], expected: int) -> list[float]:
        """Return what the tokens of a block of turns take, for those who wait and those that are expected."""
        has = len(self._turns)
        costs: list[float] = []
        length = 0.0
        for number in range(has, min(max(len(line), expected), has + _MOST_TURNS)):
            cost = line[number] if number < len(line) else self._tokens
            length += max(self.interval, cost)
            if costs and length > _BLOCK:
                break
            costs.append(cost)
        return costs

    def _expected(self, now: float) -> int:
        """Return how many calls will start in a block's time, as it seems from the latest ones: at most twice as many as came."""
        passed = max(now - self._told_at, 0.001)
        return int(min(2 * self._taken, self._taken * _BLOCK / passed)) if passed < 2 * _FRESH else 0

    # What was answered

    def answered(self, step: LimitStep, answer: LimitAnswer, now: float) -> float:
        """Take what the store gave; return until when all are paused (0: they are not)."""
        asked, self._asked_at, self.held = self._asked_at, 0.0, ""
        turn = asked + answer.opens
        for tokens in step.turns[: answer.turns]:
            if self._is_away:  # it answers late, and these calls have started without it
                self._more_requests -= step.interval
                self._more_tokens -= tokens
            else:
                self._turns.append((turn, tokens))
            turn += max(step.interval, tokens)
        if self._is_away:
            self._is_away = False
            _log.warning("the limits shared in %r are there again", self.store)
        self._processes = max(1, answer.processes)
        self._told_at = now
        self._fresh_until = now + _FRESH - min(now - asked, _FRESH / 2)
        if self._paused_until <= asked + step.pause:
            self._paused_until = 0.0
        if self.most is not None:
            self._places = answer.places
        if answer.turns < len(step.turns) or (self.most is not None and answer.places - step.using < step.wanted):
            self._look_again = now + _LOOK_AGAIN
        return asked + answer.pause if answer.pause > 0 else 0.0

    def failed(self, step: LimitStep, error: Exception, now: float) -> bool:
        """Learn that the store did not answer; return whether the call that asked can go on all the same."""
        self._asked_at = 0.0
        if self._paused_until > now:
            self._tell_at = now + _TELL
        if isinstance(error, BlockingIOError):
            self.held_since = self.held_since if self.held else now
            self.held = str(error)
            self._look_again = now + _LOOK_AGAIN
            self._more_requests += step.requests
            self._more_tokens += step.tokens
            self._tell_soon()
            return True
        self._told_at = now
        if not isinstance(error, OSError):
            return False
        self._leave_store(now, str(error))
        self._next_token += step.tokens * self._processes
        return True

    def _leave_store(self, now: float, reason: str) -> None:
        """Go on with this process's part of the limits."""
        self._try_at = now + _TRY_AGAIN
        if self._is_away:
            return
        self._is_away = True
        self.held = ""
        last = max(now, self._turns[-1][0]) if self._turns else now
        self._next_request = self._next_token = last
        self._turns.clear()
        _log.warning(
            "the limits shared in %r cannot be reached (%s): this process keeps to its part of them, one of %d",
            self.store,
            reason,
            self._processes,
        )
