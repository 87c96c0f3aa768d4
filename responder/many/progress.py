"""How far along is it? A progress bar on a terminal's stderr, or the user's callable. The only module that imports tqdm."""

from __future__ import annotations

import contextlib
import functools
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

from responder.values.answer import NO_USAGE, Usage
from responder.values.clock import monotonic
from responder.values.process import getpid
from responder.values.results import ItemResult
from responder.values.visible import is_terminal


@dataclass(frozen=True, slots=True)
class Progress:
    """How far along a map is.

    Attributes:
        done: Items that have a result, failed ones included.
        total: Items in total; None for an input without a length.
        failed: Items that failed.
        input_tokens: Input tokens so far, including those of failed attempts.
        output_tokens: Output tokens so far.
        elapsed: Seconds since the start.
        cost: US dollars so far; None if a price is unknown.
    """

    done: int
    total: int | None
    failed: int
    input_tokens: int
    output_tokens: int
    elapsed: float
    cost: float | None = None


ProgressOption: TypeAlias = bool | Callable[[Progress], object] | None
"""None: a bar only on a terminal or in a notebook; True, False: always, never; a callable: gets each Progress."""


class ProgressReporter:
    """Counts results and shows them. Called from one thread, the one that takes the results."""

    def __init__(self, option: ProgressOption, total: int | None, unit: str) -> None:
        self._callable = option if callable(option) else None
        self._bar = _bar(total, unit) if option is True or (option is None and _is_watched()) else None
        self._total = total
        self._done = self._failed = self._input = self._output = 0
        self._cost: float | None = 0.0
        self._begin = monotonic()

    @property
    def is_silent(self) -> bool:
        """True if nothing is to be shown."""
        return self._callable is None and self._bar is None

    def add(self, result: ItemResult[Any, Any]) -> None:
        """Count a result."""
        # Items of any function have neither usage nor cost.
        self.count(1, not result.ok, getattr(result, "usage", NO_USAGE), getattr(result, "cost", None))

    def count(self, done: int, failed: int, usage: Usage, cost: float | None) -> None:
        """Count several results at once.

        Args:
            done: How many there are, failed ones included.
            failed: How many of them failed.
            usage: Their tokens.
            cost: US dollars for them; None where that is not known.
        """
        self._done += done
        self._failed += failed
        self._input += usage.input_tokens
        self._output += usage.output_tokens
        self._cost = self._cost + cost if self._cost is not None and cost is not None else None
        if self._callable is not None:
            elapsed = monotonic() - self._begin
            self._callable(Progress(self._done, self._total, self._failed, self._input, self._output, elapsed, self._cost))
        if self._bar is not None:
            self._draw(self._bar, done)

    def _draw(self, bar: Any, done: int) -> None:
        shown: dict[str, Any] = {"failed": self._failed} if self._failed else {}
        if self._input or self._output:
            shown["tokens"] = self._input + self._output
        if self._cost:
            shown["cost"] = f"${self._cost:.2f}" if self._cost >= 0.1 else f"${self._cost:.4f}"
        try:
            bar.set_postfix(shown, refresh=False)
            bar.update(done)
        except Exception:  # noqa: BLE001 - stderr was closed, or its reader is gone: never lose a result over a bar
            self._bar = None

    def close(self) -> None:
        """Leave the bar as it is."""
        if self._bar is not None:
            with contextlib.suppress(Exception):
                self._bar.close()


def _is_watched() -> bool:
    # A notebook's stderr is not a terminal, but its bar is visible anyway.
    return is_terminal(sys.stderr) or _is_notebook()


def _is_notebook() -> bool:
    # Whether its module is imported says little: many a library does that, in a server too.
    current = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)
    return getattr(current(), "kernel", None) is not None


def _bar(total: int | None, unit: str) -> Any:
    """Return a bar on stderr; None if stderr cannot show one."""
    try:
        if _is_notebook():
            from tqdm.auto import tqdm as notebook_bar

            return _of_our_own(notebook_bar, getpid())(total=total, unit=unit)
        if sys.stderr is None:
            return None
        from tqdm import tqdm

        return _of_our_own(tqdm, getpid())(total=total, unit=unit, file=sys.stderr, dynamic_ncols=True, miniters=1)
    except Exception:  # noqa: BLE001 - it cannot be written to
        return None


@functools.cache
def _of_our_own(kind: Any, _process: int) -> Any:
    # tqdm's lock is one for all processes that are forked: a child that is killed while it draws would hold up its parent. Its
    # thread, which looks after bars that were drawn too seldom, cannot be started while the program ends, and is not needed.
    return type(kind.__name__, (kind,), {"_lock": threading.RLock(), "monitor_interval": 0})
