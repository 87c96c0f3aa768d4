"""One call: its attempts, each with its turn, its money and its line in the trace. Knows no provider; `retry.py` repeats."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from responder.call.hedging import LOST, Hedger
from responder.call.retry import RetryBudget
from responder.pace.breaker import Breaker
from responder.pace.budget import Reservation, Spending
from responder.pace.limits import Governor, Permit
from responder.pace.prices import Pricing
from responder.values.answer import NO_USAGE, Answer, Usage
from responder.values.cancellation import CancelToken
from responder.values.deadline import Deadline
from responder.values.errors import (
    APIConnectionError,
    APIError,
    APITimeoutError,
    BlockedError,
    CancelledError,
    DeadlineExceededError,
    EmptyAnswerError,
    InvalidResponseError,
    StreamInterruptedError,
)
from responder.values.trace import Attempt, Trace

BYTES_PER_TOKEN = 4.0
"""A rough estimate, for what is reserved before a call: English text has about four bytes in a token."""

# Seconds; what is shorter was no wait but the time that taking a turn takes.
_SHORTEST_WAIT = 0.001


@dataclass(frozen=True, slots=True)
class Terms:
    """What a run allows its calls.

    Attributes:
        retries: Repeats in all; None: as many as each call's own policy says.
        spending: Its money; None: no budget.
        hedger: Starts second calls for the slowest; None: nobody does.
        patience: Seconds to wait for a provider that is down.
    """

    retries: RetryBudget | None = None
    spending: Spending | None = None
    hedger: Hedger | None = None
    patience: float = 0.0


SINGLE = Terms()
"""A call that belongs to no run."""


class Call:
    """The attempts at one answer.

    Args:
        exchange: Sends the question once; returns the answer, or raises.
        governor: Gives the turns.
        breaker: Knows whether the provider is up.
        price: What its tokens cost; None where that is not known.
        size: Bytes of the question.
        max_tokens: The longest answer, None where it is open.
        deadline: When the call must be over.
        cancel: Ends it.
        trace: Gets what it did.
        terms: What its run allows.
    """

    def __init__(
        self,
        exchange: Callable[[CancelToken | None, Permit], Answer],
        governor: Governor,
        breaker: Breaker,
        price: Pricing | None,
        size: int,
        max_tokens: int | None,
        deadline: Deadline,
        cancel: CancelToken | None,
        trace: Trace,
        terms: Terms,
    ) -> None:
        self._exchange = exchange
        self._governor = governor
        self._breaker = breaker
        self._price = price
        self._size = size
        self._max_tokens = max_tokens
        self._deadline = deadline
        self._cancel = cancel
        self._trace = trace
        self._terms = terms
        self._known = 0  # attempts whose tokens the provider told

    def attempt(self) -> Answer:
        """Wait for the turn of an attempt and make it."""
        queued = time.monotonic()
        try:
            permit, money = self._turn()
        finally:
            waited = time.monotonic() - queued
            if waited > _SHORTEST_WAIT:
                self._trace.limited += waited
                self._trace.waited += waited
        hedger = self._terms.hedger
        if hedger is None:
            return self._send(queued, permit, money, self._cancel)
        known = self._known
        answer, twice = hedger.race(lambda token: self._send(queued, permit, money, token), self._spare, self._cancel)
        if twice and self._known == known + 1:
            # What the loser's provider counted nobody told us; the prompt was the same.
            self._book(Usage(answer.usage.input_tokens, 0, answer.usage.cached_input_tokens, known=answer.usage.known))
        return answer

    def _turn(self) -> tuple[Permit, Reservation | None]:
        self._breaker.enter(self._terms.patience, self._deadline, self._cancel)
        spending, price = self._terms.spending, self._price
        money = None
        if spending is not None and price is not None:
            money = spending.reserve(price, self._size, self._max_tokens, self._deadline, self._cancel)
        try:
            return self._governor.acquire(self._size / BYTES_PER_TOKEN, self._deadline, self._cancel), money
        except BaseException:
            if money is not None:
                money.settle(0.0)
            raise

    def _spare(self) -> Callable[[CancelToken], Answer] | None:
        """Return a second attempt, where limits and money have room for one at this moment."""
        if self._breaker.is_open:
            return None
        spending, price = self._terms.spending, self._price
        money = None
        if spending is not None and price is not None:
            money = spending.try_reserve(price, self._size, self._max_tokens)
            if money is None:
                return None
        permit = self._governor.try_acquire(self._size / BYTES_PER_TOKEN)
        if permit is None:
            if money is not None:
                money.settle(0.0)
            return None
        now = time.monotonic()
        return lambda token: self._send(now, permit, money, token)

    def _send(self, queued: float, permit: Permit, money: Reservation | None, cancel: CancelToken | None) -> Answer:
        trace = self._trace
        trace.attempts += 1
        sent = time.monotonic()
        try:
            answer = self._exchange(cancel, permit)
        except BaseException as error:
            usage = getattr(error, "usage", NO_USAGE)
            permit.settle(error, usage)
            self._breaker.note(error)
            cost = self._book(usage)
            if money is not None:
                # A refusal is not billed; of what broke off on the way nobody knows.
                refused = getattr(error, "status", None) is not None and not usage.known
                money.settle(0.0 if refused else cost)
            trace.made.append(Attempt(queued, sent, time.monotonic(), _cause(error)))
            raise
        permit.settle(None, answer.usage)
        self._breaker.note(None)
        cost = self._book(answer.usage)
        if money is not None and self._terms.spending is not None:
            self._terms.spending.learn(self._size, answer.usage)
            money.settle(cost)
        trace.made.append(Attempt(queued, sent, time.monotonic()))
        return answer

    def _book(self, usage: Usage) -> float | None:
        """Add tokens to the trace; return what they cost, None where that is not known."""
        if not usage.known:
            return None
        trace = self._trace
        self._known += 1
        trace.usage = trace.usage + usage if trace.usage.known else usage
        if self._price is None:
            trace.priced = False
            return None
        cost = self._price.cost(usage)
        trace.cost += cost
        return cost


def _cause(error: BaseException) -> str:
    """Return in a word why an attempt failed."""
    if isinstance(error, CancelledError):
        return "hedged" if LOST in str(error) else "cancelled"
    if isinstance(error, DeadlineExceededError):
        return "deadline"
    if isinstance(error, APITimeoutError):
        return "timeout"
    if isinstance(error, StreamInterruptedError):
        return "interrupted"
    if isinstance(error, APIConnectionError):
        return "connection"
    if isinstance(error, BlockedError):
        return "blocked"
    if isinstance(error, EmptyAnswerError):
        return "empty"
    if isinstance(error, InvalidResponseError):
        return "invalid"
    if isinstance(error, APIError) and error.status is not None:
        return str(error.status)
    return type(error).__name__
