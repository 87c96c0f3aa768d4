"""What has the last map of this process got? For notebooks, where an interrupted cell leaves nothing but a traceback."""

from __future__ import annotations

import sys
import weakref
from typing import Any, TypeVar

from responder.values.errors import ConfigurationError
from responder.values.results import Batch

B = TypeVar("B")

# A person goes on from the last batch; in a program that nobody types into, results are freed as soon as it drops them.
_kept: Batch[Any] | None = None
_known: weakref.ref[Batch[Any]] | None = None


def last_batch() -> Batch[Any]:
    """Return the batch of the last `map` of this process: what it returned, or what it had got when it was interrupted.

    In a notebook or a Python shell the batch is kept until the next one takes its place. Elsewhere it is there as long as
    something else holds it; whatever ends a map early has it as its attribute `batch`.

    Raises:
        ConfigurationError: There is none.
    """
    found = _kept if _kept is not None else _known() if _known is not None else None
    if found is None:
        raise ConfigurationError(
            "there is no last batch: no map has ended in this process, or nothing holds its results any more. "
            "An error that ends a map has them as its attribute `batch`"
        )
    return found


def remember(batch: B) -> B:
    """Keep a batch for `last_batch`."""
    global _kept, _known
    if isinstance(batch, Batch):
        _known = weakref.ref(batch)
        _kept = batch if _is_interactive() else None
    return batch


def note_on(error: BaseException, batch: object) -> None:
    """Write under the traceback of an interrupt where the results are, for whoever reads it."""
    if isinstance(batch, Batch) and _is_interactive() and hasattr(error, "add_note"):  # Python 3.11
        error.add_note(f"{len(batch)} results were finished: responder.last_batch() has them")


def _is_interactive() -> bool:
    return hasattr(sys, "ps1") or "IPython" in sys.modules
