"""What does a call get from the governor? A permit for one attempt; until then it stands in the line."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from responder.pace.estimates import is_plausible
from responder.pace.wake import Sleeper
from responder.values.answer import Usage


class Issuer(Protocol):
    """The governor, as far as a permit needs it."""

    def learn(self, headers: Mapping[str, str]) -> None:
        """Learn from a reply's rate-limit headers."""

    def accept(self, permit: Permit) -> None:
        """Stop counting an attempt for what the provider seems to allow."""

    def settle(self, permit: Permit, error: BaseException | None, usage: Usage | None) -> None:
        """Take a slot back and learn from the outcome."""


class Permit:
    """The right to make one attempt. To be settled once, by any thread (the garbage collector's, too), whatever the outcome."""

    __slots__ = ("_governor", "_settled", "accepted", "has_place", "started", "tokens", "waited")

    def __init__(self, governor: Issuer, tokens: float, started: float) -> None:
        self._governor = governor
        self.tokens = tokens
        self.started = started
        self.waited = 0.0
        self._settled = False
        self.accepted = False
        self.has_place = False  # from limits that several processes share

    def observe(self, headers: Mapping[str, str]) -> None:
        """Learn from a reply's rate-limit headers (names in lower case), whatever its status."""
        self._governor.learn(headers)

    def accept(self) -> None:
        """Report that the provider has accepted the request and begun to answer, which may take minutes (a stream).

        From here on the attempt counts for `max_concurrency`, but no longer for what the provider seems to allow: after a
        refusal, a few long streams would keep all other calls waiting.
        """
        self.accepted = True
        self._governor.accept(self)

    def settle(self, error: BaseException | None = None, usage: Usage | None = None) -> None:
        """Give the slot back. Never waits.

        Args:
            error: What went wrong, None for an answer.
            usage: What was used, also by a failed attempt; None, unknown or absurd: the estimate stands.
        """
        if not self._settled:
            self._settled = True
            self._governor.settle(self, error, usage if usage is not None and is_plausible(usage) else None)


class Waiter:
    """A call waiting for its turn."""

    __slots__ = ("error", "granted", "permit", "sleeper")

    def __init__(self, permit: Permit) -> None:
        self.permit = permit
        self.sleeper = Sleeper()
        self.granted = False
        self.error: Exception | None = None  # of the store
