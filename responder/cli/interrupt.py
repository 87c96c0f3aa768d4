"""How does Ctrl-C end a run without losing what is finished? Signals, turned into a CancelToken."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from responder.values.cancellation import CancelToken
from responder.values.clock import monotonic

# What ends a program politely; SIGHUP is a closed terminal; Windows has none.
_SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))

# Seconds. `timeout` and some shells send a signal twice; a person who presses Ctrl-C again has waited longer than this.
_PATIENCE = 1.0


class Interruption:
    """Whether and by what a run was interrupted.

    Attributes:
        token: Cancelled by the first signal.
        number: The signal's number; None while there was none.
    """

    def __init__(self) -> None:
        self.token = CancelToken()
        self.number: int | None = None

    @property
    def exit_code(self) -> int:
        """What a shell expects: 128 and the signal's number (130 for Ctrl-C)."""
        return 128 + (self.number or signal.SIGINT)


@contextmanager
def interruptible() -> Iterator[Interruption]:
    """Let the first Ctrl-C (or SIGTERM, SIGHUP) cancel a token; a later one raises if ending takes too long.

    A KeyboardInterrupt may come between any two steps of the program: in the middle of a written line, or while a result
    changes hands. A token ends the run at a well-defined point. Signals that are ignored stay ignored (`nohup`), and
    outside the main thread nothing is changed.
    """
    interruption = Interruption()
    if threading.current_thread() is not threading.main_thread():
        yield interruption
        return
    handlers: dict[int, Any] = {number: signal.getsignal(number) for number in _SIGNALS}
    before = {number: handler for number, handler in handlers.items() if handler not in (signal.SIG_IGN, None)}
    first = 0.0
    # A token takes locks, which the interrupted thread itself may hold; so the handler only writes a byte, and a thread
    # that waits for it does the rest.
    reader, writer = os.pipe()

    def note(number: int, _frame: FrameType | None) -> None:
        nonlocal first
        if interruption.number is None:
            interruption.number, first = number, monotonic()
            os.write(writer, b"!")
        elif monotonic() - first > _PATIENCE:
            raise KeyboardInterrupt

    def watch() -> None:
        if os.read(reader, 1) == b"!":
            interruption.token.cancel("interrupted")

    watcher = threading.Thread(target=watch, name="responder-interrupt", daemon=True)
    try:
        watcher.start()
    except (RuntimeError, MemoryError):  # no more threads: then a signal does what it did before
        os.close(reader)
        os.close(writer)
        yield interruption
        return
    try:
        for signal_number in before:
            signal.signal(signal_number, note)
        yield interruption
    finally:
        for signal_number, handler in before.items():
            signal.signal(signal_number, handler)
        try:
            os.write(writer, b".")
        except OSError:
            pass  # closing it wakes the watcher as well, where no forked child holds it open
        os.close(writer)
        watcher.join()
        os.close(reader)
