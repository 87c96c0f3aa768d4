"""When work must stop early: a CancelToken that any thread may cancel. Opens and closes nothing itself."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable


class CancelToken:
    """Cancels the calls that use it, from any thread, at any time.

    Work under a token registers a callback that ends it at once (for a call: shutting down its socket). Cancelling twice
    does nothing. Thread-safe: one lock guards everything mutable.

        token = CancelToken()
        threading.Timer(5, token.cancel).start()
        batch = gpt.map(prompts, cancel=token)
    """

    def __init__(self) -> None:
        # Reentrant: the garbage collector may end a run, and so cancel its token, in a thread that holds the lock.
        self._lock = threading.RLock()
        self._event = threading.Event()
        self._callbacks: dict[int, Callable[[], object]] = {}
        self._numbers = itertools.count()
        self.reason = ""

    @property
    def cancelled(self) -> bool:
        """True once `cancel` was called."""
        return self._event.is_set()

    def cancel(self, reason: str = "cancelled") -> None:
        """Stop all work under this token; returns at once. Calling it again does nothing.

        Args:
            reason: Goes into the message of the errors that follow.
        """
        with self._lock:
            if self._event.is_set():
                return
            self.reason = reason
            self._event.set()
            callbacks, self._callbacks = self._callbacks, {}
        for callback in callbacks.values():
            callback()

    def register(self, callback: Callable[[], object]) -> int:
        """Call `callback` when the token is cancelled (now, if it was); return the number that `unregister` takes.

        The callback runs in the cancelling thread: it must neither block nor raise.
        """
        with self._lock:
            number = next(self._numbers)
            if not self._event.is_set():
                self._callbacks[number] = callback
                return number
        callback()
        return number

    def unregister(self, number: int) -> bool:
        """Forget a callback; False when it was already called, or is being called."""
        with self._lock:
            return self._callbacks.pop(number, None) is not None

    def wait(self, seconds: float) -> bool:
        """Sleep for `seconds`, or until cancelled; return True when cancelled."""
        return self._event.wait(seconds)

    def __copy__(self) -> CancelToken:
        return self  # whoever holds a copy wants to stop the same work

    def __deepcopy__(self, _memo: dict[int, object]) -> CancelToken:
        return self
