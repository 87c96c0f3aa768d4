"""What one call did: its attempts, its waits, and what they used. Filled in while it runs; it decides nothing."""

from __future__ import annotations

from dataclasses import dataclass, field

from responder.values.answer import NO_USAGE, Usage
from responder.values.clock import monotonic


@dataclass(slots=True)
class Attempt:
    """One request of a call. Moments are those of `time.monotonic()`.

    Attributes:
        queued: When it began to wait for its turn within the limits.
        sent: When its turn came.
        ended: When its answer or its error arrived.
        cause: "" for an answer; else why it failed, in a word: "429", "503", "timeout", "connection", "cancelled", ...
    """

    queued: float
    sent: float
    ended: float
    cause: str = ""


@dataclass(slots=True)
class Trace:
    """What one call did; one thread at a time writes it.

    Attributes:
        attempts: Requests sent so far.
        waited: Seconds spent waiting so far: on limits, and between attempts.
        limited: How many of them were spent waiting on limits.
        started: `time.monotonic()` at the start of the call.
        made: The attempts, in the order in which they ended.
        usage: Tokens of all attempts, including failed ones if the provider reported them.
        cost: US dollars for them, as far as prices are known.
        priced: False when the price of something used is unknown; it is then missing from `cost`.
        reasks: Questions that were asked again because an answer did not fit its schema.
    """

    attempts: int = 0
    waited: float = 0.0
    limited: float = 0.0
    started: float = field(default_factory=monotonic)
    made: list[Attempt] = field(default_factory=list)
    usage: Usage = NO_USAGE
    cost: float = 0.0
    priced: bool = True
    reasks: int = 0

    def account(self) -> str:
        """Return where the time of the call went, in words."""
        server = sum(attempt.ended - attempt.sent for attempt in self.made)
        attempts = "1 attempt" if self.attempts == 1 else f"{self.attempts} attempts"
        return (
            f"{server:.1f} s at the server in {attempts}, {self.limited:.1f} s waiting on limits, "
            f"{self.waited - self.limited:.1f} s between attempts"
        )
