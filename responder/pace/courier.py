"""Who talks to a store? A thread for each governor, while there is something to ask or tell, so that no call waits for it.

Calls wait for their turn as they do without a store: their deadlines and cancels hold whatever the store does.
"""

from __future__ import annotations

import _thread
import atexit
import weakref
from contextlib import suppress
from typing import TYPE_CHECKING, Protocol

from responder.pace.store import LimitAnswer, LimitStep
from responder.pace.wake import Sleeper
from responder.values.clock import monotonic

if TYPE_CHECKING:
    from responder.pace.store import LimitStore

# Seconds without anything to do after which the thread ends.
_LINGER = 5.0


class Sender(Protocol):
    """A governor, as far as its courier needs it."""

    def next_step(self) -> LimitStep | float | None:
        """Return what to ask now, or the moment to look again; None when the courier is no longer needed."""

    def step_done(self, step: LimitStep, answer: LimitAnswer | Exception) -> None:
        """Take the store's answer, or the error it raised."""

    def end(self) -> None:
        """Tell the store that the program ends, so that its places are free now, and not only with the lease."""


class Courier:
    """Carries the steps of one governor to its store. `call` is guarded by the governor's lock.

    Attributes:
        is_running: True while its thread runs. It ends by setting this, under the governor's lock.
        until: The moment until which it means to sleep.
        busy_at: When there was something to do last.
    """

    def __init__(self, store: LimitStore, key: bytes) -> None:
        self._store = store
        self._key = key
        self.forget_parent()

    def forget_parent(self) -> None:
        """Reset in a forked child, which has no such thread."""
        self._sleeper = Sleeper()
        self.is_running = False
        self.until = 0.0
        self.busy_at = 0.0

    def call(self, sender: Sender, due: float) -> None:
        """Let it come at a moment: wake it if it means to sleep longer, start it if it has ended."""
        if self.is_running:
            if due < self.until:
                self.until = due
                self._sleeper.wake()
            return
        self.is_running = True
        self.busy_at = monotonic()
        _senders.add(sender)
        try:
            # Not `threading.Thread`, whose locks the thread that is interrupted by a garbage collection may hold.
            _thread.start_new_thread(self._run, (sender,))
        except RuntimeError:  # no more threads: the calls that wait carry their steps themselves
            self.is_running = False

    def _run(self, sender: Sender) -> None:
        try:
            while (planned := sender.next_step()) is not None:
                if isinstance(planned, LimitStep):
                    self.carry(sender, planned)
                else:
                    self._sleeper.sleep(planned - monotonic())
        except BaseException:
            self.is_running = False
            raise

    def may_end(self, now: float) -> bool:
        """Return whether there has been nothing to do for so long that the thread is no longer worth keeping."""
        return now - self.busy_at >= _LINGER

    def carry(self, sender: Sender, step: LimitStep) -> None:
        """Ask the store, in this thread."""
        answer: LimitAnswer | Exception
        try:
            answer = self._store.exchange(self._key, step)
            if not isinstance(answer, LimitAnswer):
                answer = TypeError(f"{self._store!r} must answer with a LimitAnswer, not {answer!r}")
        except Exception as error:  # noqa: BLE001 - handed to the call that waits
            answer = error
        sender.step_done(step, answer)

    def tell(self, step: LimitStep) -> None:
        """Tell the store a last word; what it answers is of no use any more."""
        with suppress(Exception):
            self._store.exchange(self._key, step)


_senders: weakref.WeakSet[Sender] = weakref.WeakSet()


@atexit.register
def _end_all() -> None:
    for sender in list(_senders):
        sender.end()
