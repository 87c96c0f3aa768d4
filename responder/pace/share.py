"""What is this process's part in limits that several share? Turns and slots of one governor, taken from a store.

Nothing here waits: a store that another process holds raises `BlockingIOError`. The first call in the governor's line asks again
until its deadline. What is given back is put on a list and sent at the next chance, if need be by a separate thread: a
finished call, or the garbage collector ending a dropped stream, must not wait for it.
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

# Seconds after which to check again whether another process has freed a slot: nothing notifies us.
_LOOK_AGAIN = 0.05

# Seconds after which to try again to send what could not be sent.
_SEND_AGAIN = 0.05


class Share:
    """One governor's part in a store; moments are `clock.monotonic()`.

    `turn` belongs to the first call in the governor's line and is called without the governor's lock; the others may be called
    by any thread. All except `turn` and `send` only note what is to be sent.
    """

    def __init__(self, store: LimitStore, key: bytes) -> None:
        self._store = store
        self._key = key
        self.forget_parent()

    def forget_parent(self) -> None:
        """Reset in a forked child: what was taken, and what was to be sent, is the parent's."""
        self._turn: tuple[float, float, float] | None = None  # kept: its moment, seconds of request, seconds of tokens
        self._has_entered = False  # a slot that is kept for the first in the line
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
        """Return whether the first in the line has what it needs: a turn that came a moment ago may still lack its slot."""
        return self._has_entered or most is None

    def take(self, tokens: float) -> bool:
        """Use the turn that was kept, for a call whose tokens take this many seconds; return whether it has a slot too."""
        if self._turn is not None and tokens != self._turn[2]:
            self._put(partial(self._store.give_back, self._key, 0.0, self._turn[2] - tokens))
        self._turn = None
        had_place, self._has_entered = self._has_entered, False
        return had_place

    def give_back(self) -> None:
        """Give back what was kept for a line that is now empty."""
        if self._turn is not None:
            self._put(partial(self._store.give_back, self._key, self._turn[1], self._turn[2]))
            self._turn = None
        self.give_back_place()

    def give_back_place(self) -> None:
        """Give back the slot that was kept, and keep the turn."""
        if self._has_entered:
            self._has_entered = False
            self.leave()

    def leave(self) -> None:
        """Give back the slot of a finished call."""
        self._put(partial(self._store.leave, self._key))

    def book(self, tokens: float) -> None:
        """Book this many seconds of tokens more than were reserved."""
        self._put(partial(self._store.give_back, self._key, 0.0, -tokens))

    def pause(self, until: float) -> None:
        """Let no process start before a moment."""
        self._put(lambda: self._store.pause(self._key, until - clock.monotonic() + clock.wall()))

    def _put(self, step: Callable[[], object]) -> None:
        self._unsent.append(step)

    def send(self) -> None:
        """Send what was noted; a separate thread sends what cannot be sent now."""
        if self._unsent and not self._sent():
            with contextlib.suppress(RuntimeError):  # no more threads: the next call sends it
                # Not `threading.Thread`, whose locks the thread that is interrupted by a garbage collection may hold.
                _thread.start_new_thread(self._send_later, ())

    def _sent(self) -> bool:
        """Send what was noted; return False if another process holds the store."""
        # A thread that notes something while another one sends leaves it to that one, which checks again when done.
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
        except Exception as error:  # noqa: BLE001 - a call that has its answer must not fail because of this
            _log.warning("the limits shared by several processes could not be updated: %s", error)

    def _send_later(self) -> None:
        sending = self._sending
        while self._sending is sending and not self._sent():
            time.sleep(_SEND_AGAIN)
