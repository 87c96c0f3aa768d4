"""Is a call unusually slow? Then a second one may race it. Knows nothing of what is called.

"The Tail at Scale" (Dean and Barroso, 2013) calls these hedged requests: a second one for the slowest few percent cuts the tail
off at the price of those few percent.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import Any, Protocol, TypeVar

from responder.values.cancellation import CancelToken
from responder.values.clock import monotonic
from responder.values.errors import CancelledError, ConfigurationError

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

# This many answers show what is slow; the newest count, since a provider's speed changes over the day.
_ENOUGH = 20
_REMEMBERED = 500

# The watcher looks around this often, in seconds: hedging is for calls of seconds.
_TICK = 0.02

# Seconds that the winner waits for the loser to end, so that its cost is booked; cancelled calls end within milliseconds.
_FAREWELL = 0.25

LOST = "another request for the same prompt was faster"
"""Why the slower of two was cancelled."""


class Spare(Protocol[T_co]):
    """A second call that already has its slot and its money: to be made, or given back."""

    def __call__(self, token: CancelToken) -> T_co:
        """Make it."""

    def give_back(self) -> None:
        """Do not make it."""


class _Race:
    """A call in flight, and the second one that may race it."""

    __slots__ = ("begun", "ended", "second", "spare", "token")

    def __init__(self, token: CancelToken, spare: Callable[[], Spare[Any] | None]) -> None:
        self.begun = monotonic()
        self.token = token
        self.spare = spare
        self.second: tuple[CancelToken, Future[Any]] | None = None
        self.ended = False


class Hedger:
    """Starts second calls for the slowest few percent of a run. Safe for threads.

    Args:
        share: The part of the calls that may be made twice, above 0 and at most 0.5.

    Raises:
        ConfigurationError: Not a valid part.
    """

    def __init__(self, share: float) -> None:
        if isinstance(share, bool) or not isinstance(share, (int, float)) or not 0 < share <= 0.5:
            raise ConfigurationError(
                f"hedge must be the part of the calls that may be made twice, such as 0.05 and at most 0.5, not {share!r}",
                fatal=True,
            )
        self._share = share
        self._lock = threading.Lock()
        self._times: deque[float] = deque(maxlen=_REMEMBERED)
        self._racing: set[_Race] = set()
        self._begun = 0
        self._hedged = 0
        self._watcher: threading.Thread | None = None

    def race(
        self,
        first: Callable[[CancelToken], T],
        spare: Callable[[], Spare[T] | None],
        cancel: CancelToken | None,
    ) -> tuple[T, bool]:
        """Call `first`, and a second one beside it when it takes unusually long; return what came first.

        Args:
            first: The call; gets a token that ends it.
            spare: Returns the second call, or None if there is no room for it now; it must not block.
            cancel: Ends both.

        Returns:
            The result, and whether two calls were made for it.

        Raises:
            Exception: What `first` raised, when the second one did not answer either.
        """
        token = CancelToken()
        race = _Race(token, spare)
        registered = cancel.register(lambda: self._end(race, cancel.reason)) if cancel is not None else -1
        self._enter(race)
        try:
            return self._run(race, first)
        finally:
            self._leave(race)
            if cancel is not None:
                cancel.unregister(registered)

    def _run(self, race: _Race, first: Callable[[CancelToken], T]) -> tuple[T, bool]:
        try:
            answer = first(race.token)
        except Exception:
            second = self._leave(race)
            if second is None or second[1].exception() is not None:  # bounded as every call is, and by the token
                raise  # the first call's error is the one that the caller's retries know
            return second[1].result(), True
        finally:
            self._times.append(monotonic() - race.begun)
        second = self._leave(race)
        if second is not None:
            second[0].cancel(LOST)
            with contextlib.suppress(TimeoutError, FutureTimeoutError):
                second[1].exception(_FAREWELL)
        return answer, second is not None

    def _enter(self, race: _Race) -> None:
        with self._lock:
            self._begun += 1
            self._racing.add(race)
            if self._watcher is None:
                watcher = threading.Thread(target=self._watch, name="responder-hedge", daemon=True)
                with contextlib.suppress(RuntimeError, MemoryError):  # no thread is left for it: do without hedging
                    watcher.start()
                    self._watcher = watcher

    def _leave(self, race: _Race) -> tuple[CancelToken, Future[Any]] | None:
        with self._lock:
            race.ended = True
            self._racing.discard(race)
            return race.second

    def _end(self, race: _Race, reason: str) -> None:
        race.token.cancel(reason)
        with self._lock:
            second = race.second
        if second is not None:
            second[0].cancel(reason)

    def _watch(self) -> None:
        idle = 0
        while True:
            time.sleep(_TICK)
            with self._lock:
                racing = [race for race in self._racing if race.second is None]
                idle = 0 if self._racing else idle + 1
                if idle * _TICK > 1.0:  # the run is over, or the next call starts another watcher
                    self._watcher = None
                    return
            slow = self._slow()
            if slow is not None:
                latest = monotonic() - slow
                for race in racing:
                    if race.begun < latest:
                        self._hedge(race)

    def _slow(self) -> float | None:
        """Return the seconds beyond which a call is one of the slowest; None while unknown."""
        times = sorted(self._times)
        return times[min(len(times) - 1, int(len(times) * (1 - self._share)))] if len(times) >= _ENOUGH else None

    def _hedge(self, race: _Race) -> None:
        if self._hedged + 1 > self._share * self._begun:
            return
        call = race.spare()
        if call is None:
            return
        token: CancelToken = CancelToken()
        future: Future[Any] = Future()
        with self._lock:
            # Under this lock no token is cancelled before its call races, so a call that has ended gets no second one.
            if race.ended or race.token.cancelled:
                token.cancel(LOST)
            else:
                race.second = (token, future)
                self._hedged += 1
        second = threading.Thread(target=self._second, args=(race, call, token, future), name="responder-hedge", daemon=True)
        try:
            second.start()
        except (RuntimeError, MemoryError):  # no thread is left
            call.give_back()
            future.set_exception(CancelledError(LOST))
            with self._lock:
                race.second = None

    def _second(self, race: _Race, call: Spare[Any], token: CancelToken, future: Future[Any]) -> None:
        try:
            answer = call(token)
        except BaseException as error:  # noqa: BLE001 - carried to the thread that waits for it
            future.set_exception(error)
        else:
            future.set_result(answer)
            race.token.cancel(LOST)  # ends the first one, whose thread then takes this answer
