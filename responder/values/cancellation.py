"""When work must stop early: a CancelToken that any thread may cancel. Opens and closes nothing itself."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable

from responder.values.process import adopt, getpid


class _Shared:
    """What threads wait on; a forked child needs its own, since a thread that only its parent has may hold a lock of these."""

    def __init__(self) -> None:
        self.process = getpid()
        # Reentrant: the garbage collector may end a run, and so cancel its token, in a thread that holds the lock.
        self.lock = threading.RLock()
        self.event = threading.Event()

    def start_anew(self) -> None:
        lock, event = threading.RLock(), threading.Event()
        if self.event.is_set():
            event.set()
        self.lock, self.event = lock, event


class CancelToken:
    """Cancels the calls that use it, from any thread, at any time.

    Work under a token registers a callback that ends it at once (for a call: shutting down its socket). Cancelling twice
    does nothing. Thread-safe: one lock guards everything mutable. A forked child may use its copy, which stops the child's work.

        token = CancelToken()
        threading.Timer(5, token.cancel).start()
        batch = gpt.map(prompts, cancel=token)
    """

    def __init__(self) -> None:
        self._shared = _Shared()
        self._callbacks: dict[int, Callable[[], object]] = {}
        self._numbers = itertools.count()
        self.reason = ""

    @property
    def cancelled(self) -> bool:
        """True once `cancel` was called."""
        return self._shared.event.is_set()

    def cancel(self, reason: str = "cancelled") -> None:
        """Stop all work under this token; returns at once. Calling it again does nothing.

        Args:
            reason: Goes into the message of the errors that follow.
        """
        shared = self._shared
        if shared.process != getpid():
            adopt(shared)
        with shared.lock:
            if shared.event.is_set():
                return
            self.reason = reason
            shared.event.set()
            callbacks, self._callbacks = self._callbacks, {}
        for callback in callbacks.values():
            callback()

    def register(self, callback: Callable[[], object]) -> int:
        """Call `callback` when the token is cancelled (now, if it was); return the number that `unregister` takes.

        The callback runs in the cancelling thread: it must neither block nor raise.
        """
        shared = self._shared
        if shared.process != getpid():
            adopt(shared)
        with shared.lock:
            number = next(self._numbers)
            if not shared.event.is_set():
                self._callbacks[number] = callback
                return number
        callback()
        return number

    def unregister(self, number: int) -> bool:
        """Forget a callback; False when it was already called, or is being called."""
        shared = self._shared
        if shared.process != getpid():
            adopt(shared)
        with shared.lock:
            return self._callbacks.pop(number, None) is not None

    def wait(self, seconds: float) -> bool:
        """Sleep for `seconds`, or until cancelled; return True when cancelled."""
        shared = self._shared
        if shared.process != getpid():
            adopt(shared)
        return shared.event.wait(seconds)

    def __copy__(self) -> CancelToken:
        return self  # whoever holds a copy wants to stop the same work

    def __deepcopy__(self, _memo: dict[int, object]) -> CancelToken:
        return self
