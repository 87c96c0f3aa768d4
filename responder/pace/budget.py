"""How much money may a run still spend? Reserved before each request by an estimate, settled by what it really cost."""

from __future__ import annotations

import math
import threading

from responder.pace.prices import Pricing
from responder.values.answer import Usage
from responder.values.cancellation import CancelToken
from responder.values.deadline import Deadline
from responder.values.errors import BudgetExceededError, CancelledError, ConfigurationError, DeadlineExceededError

# Before the first answer nobody knows how long answers are, nor how many bytes of this language make a token.
_FIRST_OUTPUT_ESTIMATE = 256
_FIRST_TOKENS_PER_BYTE = 0.25


class Reservation:
    """Money that is set aside for one request. To be settled once."""

    __slots__ = ("_spending", "dollars")

    def __init__(self, spending: Spending, dollars: float) -> None:
        self._spending = spending
        self.dollars = dollars

    def settle(self, dollars: float | None) -> None:
        """Book what the request cost.

        Args:
            dollars: The real cost; None where nobody knows whether the provider billed it: the estimate counts as spent.
        """
        self._spending.settle(self, self.dollars if dollars is None else dollars)


class Spending:
    """The money of one run. Safe for threads: everything mutable lives behind one lock.

    Args:
        budget: US dollars that the run may spend.

    Raises:
        ConfigurationError: Not an amount.
    """

    def __init__(self, budget: float) -> None:
        if isinstance(budget, bool) or not isinstance(budget, (int, float)) or not 0 < budget < math.inf:
            raise ConfigurationError(f"budget is an amount of US dollars above 0, not {budget!r}", fatal=True)
        self._budget = budget
        self._changed = threading.Condition()
        self._spent = 0.0
        self._reserved = 0.0
        self._open = 0  # reservations that are not settled
        self._bytes = 0
        self._input_tokens = 0
        self._most_output = 0

    def reserve(
        self, price: Pricing, size: int, max_tokens: int | None, deadline: Deadline, cancel: CancelToken | None
    ) -> Reservation:
        """Set money aside for a request; wait where only requests in flight stand between it and the budget.

        Args:
            price: Of the model that is asked.
            size: Bytes of the request.
            max_tokens: The longest answer; None: as long as the longest one so far.
            deadline: When the call must be over.
            cancel: Ends the wait.

        Raises:
            BudgetExceededError: The budget does not allow it.
            DeadlineExceededError: It did not become clear in time.
            CancelledError: The token was cancelled.
        """
        registered = -1
        try:
            with self._changed:
                while True:
                    dollars = self._estimate(price, size, max_tokens)
                    if self._spent + self._reserved + dollars <= self._budget:
                        return self._set_aside(dollars)
                    if not self._open:  # else calls in flight may cost less than what is set aside, and must not be ended
                        raise BudgetExceededError(
                            f"the budget of ${self._budget:.2f} is used up: ${self._spent:.4f} is spent, and the next request "
                            f"would cost about ${dollars:.4f}. Raise budget=, and give checkpoint= to pay nothing twice"
                        )
                    if cancel is not None and registered < 0:
                        registered = cancel.register(self._wake)
                    if cancel is not None and cancel.cancelled:
                        raise CancelledError(f"not sent: {cancel.reason}")
                    left = deadline.remaining()
                    if left <= 0:
                        raise DeadlineExceededError("the deadline passed while the budget was reserved by calls in flight")
                    self._changed.wait(None if left == math.inf else left)
        finally:
            if cancel is not None and registered >= 0:
                cancel.unregister(registered)

    def try_reserve(self, price: Pricing, size: int, max_tokens: int | None) -> Reservation | None:
        """Set money aside for a request that may as well not be made; None where there is none to spare."""
        with self._changed:
            dollars = self._estimate(price, size, max_tokens)
            if self._spent + self._reserved + dollars > self._budget:
                return None
            return self._set_aside(dollars)

    def _set_aside(self, dollars: float) -> Reservation:
        self._reserved += dollars
        self._open += 1
        return Reservation(self, dollars)

    def learn(self, size: int, usage: Usage) -> None:
        """Take an answer's tokens as a measure for the next estimates.

        Args:
            size: Bytes of the request.
            usage: What the provider counted.
        """
        with self._changed:
            self._bytes += size
            self._input_tokens += usage.input_tokens
            self._most_output = max(self._most_output, usage.output_tokens)

    def settle(self, reservation: Reservation, dollars: float) -> None:
        """Book the cost of a request in place of what was set aside for it."""
        with self._changed:
            self._open -= 1
            self._reserved = self._reserved - reservation.dollars if self._open else 0.0
            self._spent += dollars
            self._changed.notify_all()

    def _estimate(self, price: Pricing, size: int, max_tokens: int | None) -> float:
        per_byte = self._input_tokens / self._bytes if self._bytes else _FIRST_TOKENS_PER_BYTE
        output = max_tokens if max_tokens is not None else (self._most_output or _FIRST_OUTPUT_ESTIMATE)
        return price.cost(Usage(math.ceil(size * per_byte), output, known=True))

    def _wake(self) -> None:
        with self._changed:
            self._changed.notify_all()
