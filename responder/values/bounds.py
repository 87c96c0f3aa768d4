"""What may end a call: the time of one attempt, the deadline of the whole call, and the token that cancels it."""

from __future__ import annotations

from dataclasses import dataclass

from responder.values.cancellation import CancelToken
from responder.values.deadline import DEFAULT_TIMEOUT, NEVER, Deadline, Timeout


@dataclass(frozen=True, slots=True)
class Bounds:
    """The bounds of one call.

    Attributes:
        timeout: How long one attempt may take.
        deadline: When the whole call must be over, its waits and retries included.
        cancel: Ends it from another thread; None: nothing can.
    """

    timeout: Timeout = DEFAULT_TIMEOUT
    deadline: Deadline = NEVER
    cancel: CancelToken | None = None

    def under(self, cancel: CancelToken | None) -> Bounds:
        """Return the same bounds with another token."""
        return self if cancel is self.cancel else Bounds(self.timeout, self.deadline, cancel)
