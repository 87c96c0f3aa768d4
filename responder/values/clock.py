"""What time is it, for whoever waits? Clocks that run on also where a test has frozen `time.time` and `time.monotonic`.

freezegun replaces `time.monotonic` in every module that names it; a loop that waits for that clock never ends. These two ask
the operating system themselves. Their moments compare with those of an unfrozen `time.monotonic()`.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable

monotonic: Callable[[], float]
"""Seconds on the clock that never goes back and stands still while the machine is suspended: for waits and deadlines."""

boottime: Callable[[], float]
"""Seconds on a clock that counts suspended time as well, where the system has one: for the age of what others may forget."""

if hasattr(time, "clock_gettime"):
    # The clock behind `time.monotonic` is CLOCK_UPTIME_RAW on macOS, where CLOCK_MONOTONIC counts suspended time.
    monotonic = functools.partial(time.clock_gettime, getattr(time, "CLOCK_UPTIME_RAW", time.CLOCK_MONOTONIC))
    boottime = functools.partial(time.clock_gettime, getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))
else:  # Windows; freezegun does not look inside a partial
    monotonic = boottime = functools.partial(time.monotonic)
