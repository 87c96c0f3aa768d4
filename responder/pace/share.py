"""What is this process's part in limits that several keep together? Turns and places of one governor, taken from a store.

Nothing here waits: a store that somebody else holds raises `BlockingIOError`. The first call in the governor's line asks again
until its deadline. What is given back is put down in a list, and sent with the next chance, if need be by a thread of its own: a
call that is over, or a garbage collector that ends a dropped stream, must not stand still for it.
"""

from __future__ import annotations

import _thread
import contextlib
import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from responder.values import clock

if TYPE_CHECKING:
    from responder.pace.store import LimitStore

_log = logging.getLogger("responder")

# Seconds after which to look again whether another process has left a place: nobody tells us.
_LOOK_AGAIN = 0.05

# Seconds after which to try again to send what could not be sent.
_SEND_AGAIN = 0.05


class Share:
    """One governor's part in a store; moments are `clock.monotonic()`.

    `turn` belongs to the first call in the governor's line and is called without the governor's lock; the others may be called
    by anybody. All but `turn` and `send` only put down what is to be sent.
    """

    def __init__(self, store: LimitStore, key: bytes) -> None:
        self._store = store
        self._key = key
        self.forget_parent()

    def forget_parent(self) -> None:
        """Start anew in a forked child: what was taken is the parent's, and so is what was to be sent."""
        self._turn: tuple[float, float, float] | None = None  # kept: its moment, seconds of request, seconds of tokens
        self._has_entered = False  # a place that is kept for the first in the line
        self._unsent: deque[Callable[[], object]] = deque()
        self._sending = threading.Lock()

    def turn(self, request: float, tokens: float, most: int | None) -> tuple[float, float]:
        """Return the moment at which the first in the line may start (past: now), and until when all are paused (0: unknown).

        What was taken is kept until `take` or `give_back`.

        Args:
            request: Seconds that the limit of requests keeps the next one away.
            tokens: Seconds that its tokens take of the limit of tokens.
            most: Calls in flight, of all processes; None: any number.

        Raises:
            BlockingIOError: Another process holds the store; the message says which.
        """
        now = clock.monotonic()
        is_new = self._turn is None
        if self._turn is None:
            ahead = self._store.reserve(self._key, request, tokens) - clock.wall()
            self._turn = (now + ahead if ahead > 0 else 0.0, request, tokens)
        opens, paused = self._turn[0], 0.0
        if not is_new or opens > now:  # a new turn that is now is after every pause
            paused = self._store.paused_until(self._key) - clock.wall() + now
            opens = max(opens, paused)
        if opens <= now and most is not None and not self._has_entered:
            self._has_entered = self._store.enter(self._key, most)
            if not self._has_entered:
                opens = now + _LOOK_AGAIN
        return opens, paused

    def has_all(self, most: int | None) -> bool:
        """Return whether the first in the line has what it needs: a turn that came a moment ago may lack its place still."""
        return self._has_entered or most is None

    def take(self, tokens: float) -> bool:
        """Use the turn that was kept, for a call whose tokens take so many seconds; return whether a place goes with it."""
        if self._turn is not None and tokens != self._turn[2]:
            self._put(partial(self._store.give_back, self._key, 0.0, self._turn[2] - tokens))
        self._turn = None
        had_place, self._has_entered = self._has_entered, False
        return had_place

    def give_back(self) -> None:
        """Give back what was kept for a line in which nobody stands any more."""
        if self._turn is not None:
            self._put(partial(self._store.give_back, self._key, self._turn[1], self._turn[2]))
            self._turn = None
        self.give_back_place()

    def give_back_place(self) -> None:
        """Give back the place that was kept, and keep the turn."""
        if self._has_entered:
            self._has_entered = False
            self.leave()

    def leave(self) -> None:
        """Give back the place of a call that is over."""
        self._put(partial(self._store.leave, self._key))

    def book(self, tokens: float) -> None:
        """Book so many seconds of tokens more than were reserved."""
        self._put(partial(self._store.give_back, self._key, 0.0, -tokens))

    def pause(self, until: float) -> None:
        """Let no process start before a moment."""
        self._put(lambda: self._store.pause(self._key, until - clock.monotonic() + clock.wall()))

    def _put(self, step: Callable[[], object]) -> None:
        self._unsent.append(step)

    def send(self) -> None:
        """Send what was put down; what cannot be sent now is sent by a thread of its own."""
        if self._unsent and not self._sent():
            with contextlib.suppress(RuntimeError):  # no more threads: the next call sends it
                # Not `threading.Thread`, whose locks the thread that is interrupted by a garbage collection may hold.
                _thread.start_new_thread(self._send_later, ())

    def _sent(self) -> bool:
        """Send what was put down; return False when the store is held by somebody else."""
        # Whoever puts something down while another thread sends leaves it to that one, which looks again after it is done.
        while self._unsent and self._sending.acquire(blocking=False):
            try:
                while self._unsent:
                    self._one(self._unsent[0])
                    self._unsent.popleft()
            except BlockingIOError:
                return False
            finally:
                self._sending.release()
        return True

    def _one(self, step: Callable[[], object]) -> None:
        try:
            step()
        except BlockingIOError:
            raise
        except Exception as error:  # noqa: BLE001 - a call that has its answer must not fail for this
            _log.warning("limits that several processes share could not be brought up to date: %s", error)

    def _send_later(self) -> None:
        sending = self._sending
        while self._sending is sending and not self._sent():
            time.sleep(_SEND_AGAIN)
