"""Did a signal handler raise this exception? Then it is the user's, whatever its class.

A decorator for time limits installs a handler for SIGALRM that raises, often a `TimeoutError` or an `OSError`. Python calls
the handler in the main thread, in the middle of whatever it does, so that its exception comes out of our `poll` as if the
socket had failed. It must reach the user unchanged: it is neither a network failure nor a reason to retry.
"""

from __future__ import annotations

import signal
from types import FrameType, TracebackType


def is_from_a_signal(error: BaseException) -> bool:
    """Return True when the error was raised by the handler of a signal, or put into this thread from outside.

    A handler is called with the frame that it interrupted, which distinguishes it from any other function.
    """
    handlers = _codes_of_handlers()
    step: TracebackType | None = error.__traceback__
    while step is not None:
        after = step.tb_next
        if after is not None and (after.tb_frame.f_code in handlers or _was_given(after.tb_frame, step.tb_frame)):
            return True
        step = after
    # An error from the operating system or from us has a number or a text. A bare `TimeoutError()` was put into the thread
    # (`PyThreadState_SetAsyncExc` takes a class alone), which is how time limits for threads work.
    return isinstance(error, OSError) and not error.args


def _codes_of_handlers() -> set[object]:
    handlers = (signal.getsignal(number) for number in signal.valid_signals())
    functions = (getattr(handler, "__func__", handler) for handler in handlers if callable(handler))
    return {code for code in (getattr(function, "__code__", None) for function in functions) if code is not None}


def _was_given(called: FrameType, interrupted: FrameType) -> bool:
    """Return True when a frame's arguments are a signal's number and the frame that the signal interrupted."""
    for value in called.f_locals.values():
        if value is interrupted or (isinstance(value, tuple) and len(value) == 2 and value[1] is interrupted):
            return True
    return False
