"""What time is it, for code that waits? Clocks that keep running even if a test has frozen `time.time` and `time.monotonic`.

freezegun replaces `time.monotonic` in every module that names it; a loop that waits on that clock never ends. These ask
the operating system themselves. Their times compare with those of an unfrozen `time.monotonic()`.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable

monotonic: Callable[[], float]
"""Seconds on the clock that never goes back and stands still while the machine is suspended: for waits and deadlines."""

boottime: Callable[[], float]
"""Seconds on a clock that counts suspended time as well, where the system has one: for the age of what others may forget."""

wall: Callable[[], float]
"""Seconds since the epoch. Setting the machine's clock moves it: for dates that others send, never for waits."""

if hasattr(time, "clock_gettime"):
    # The clock behind `time.monotonic` is CLOCK_UPTIME_RAW on macOS, where CLOCK_MONOTONIC counts suspended time.
    monotonic = functools.partial(time.clock_gettime, getattr(time, "CLOCK_UPTIME_RAW", time.CLOCK_MONOTONIC))
    boottime = functools.partial(time.clock_gettime, getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))
    wall = functools.partial(time.clock_gettime, time.CLOCK_REALTIME)
else:  # Windows; freezegun does not look inside a partial
    monotonic = boottime = functools.partial(time.monotonic)
    wall = functools.partial(time.time)

# Seconds by which the two clocks may drift apart before we correct for it.
_STEADY = 0.001


class Epoch:
    """The moment on the wall clock at which `boottime` was 0: always the same number, unless a clock is set."""

    def __init__(self) -> None:
        self._kept = 0.0

    def __call__(self) -> float:
        """Return it, in seconds since the epoch."""
        found = wall() - boottime()
        if abs(found - self._kept) > _STEADY:
            self._kept = found
        return self._kept
