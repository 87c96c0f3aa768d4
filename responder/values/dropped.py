"""How does that end which nobody closed? As the garbage collector finds it, and without noise while the interpreter ends."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any


def close_dropped(thing: Any, mark: str, is_ending: Callable[[], bool] = sys.is_finalizing) -> None:
    """Close something from its `__del__`, which has this function as a default, so that it is there to the very end.

    Args:
        thing: What has a `close`.
        mark: An attribute that it has once its `__init__` has succeeded.
        is_ending: Whether the interpreter ends: the names of modules may be None by then.
    """
    try:
        if hasattr(thing, mark):
            thing.close()
    except (TypeError, AttributeError):
        if not is_ending():
            raise
