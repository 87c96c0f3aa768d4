"""How much money may a run still spend? Reserved before each request by an estimate, settled by what it really cost."""

from __future__ import annotations

import math
import threading
from collections import deque

from responder.pace.estimates import BYTES_PER_TOKEN, FIRST_OUTPUT_TOKENS, is_plausible, within_reach
from responder.pace.prices import Pricing
from responder.pace.wake import Sleeper
from responder.values.answer import Usage
from responder.values.cancellation import CancelToken
from responder.values.deadline import Deadline
from responder.values.errors import BudgetExceededError, CancelledError, ConfigurationError, DeadlineExceededError
from responder.values.process import adopt, getpid

# A cost this many times the estimate comes from a reply with absurd token counts.
_MOST_TIMES = 1_000_000.0


class Reservation:
    """Money reserved for one request. To be settled once, by any thread, the garbage collector's included."""

    __slots__ = ("_spending", "dollars")

    def __init__(self, spending: Spending, dollars: float) -> None:
        self._spending = spending
        self.dollars = dollars

    def settle(self, dollars: float | None) -> None:
        """Book what the request cost. Never waits; does nothing the second time.

        Args:
            dollars: The real cost; None if it is unknown whether the provider billed it: the estimate counts as spent.
        """
        if dollars is None or not 0.0 <= dollars <= self.dollars * _MOST_TIMES:
            dollars = self.dollars
        self._spending.settle(self, dollars)


class Spending:
    """The money of one run. Safe for threads: everything mutable lives behind one lock.

    Args:
        budget: US dollars that the run may spend.

    Raises:
        ConfigurationError: Not an amount.
    """

    def __init__(self, budget: float) -> None:
        if isinstance(budget, bool) or not isinstance(budget, (int, float)) or not 0 < budget < math.inf:
            raise ConfigurationError(f"budget must be an amount of US dollars above 0, not {budget!r}", fatal=True)
        self._budget = budget
        self._spent = 0.0
        self._bytes = 0
        self._input_tokens = 0.0
        self._most_output = 0.0
        self.process = getpid()
        self.start_anew()

    @property
    def spent(self) -> float:
        """US dollars that were booked."""
        with self._lock:
            self._book()
            return self._spent

    def start_anew(self) -> None:
        """Start with nothing reserved and no call waiting; also in a forked child, where those are the parent's."""
        self._lock = threading.Lock()
        self._open: set[Reservation] = set()
        self._reserved = 0.0  # in those
        self._waiting: set[Sleeper] = set()
        # Settled, but not yet booked: a garbage collector may settle in a thread that holds the lock (see `Governor`).
        self._settled: deque[tuple[Reservation, float]] = deque()

    def reserve(
        self, price: Pricing, size: int, max_tokens: int | None, deadline: Deadline, cancel: CancelToken | None
    ) -> Reservation:
        """Reserve money for a request; wait while only the reservations of requests in flight stand in its way.

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
        sleeper: Sleeper | None = None
        registered = -1
        try:
            while True:
                reservation = self._reserved_now(price, size, max_tokens, sleeper)
                if reservation is not None:
                    return reservation
                if sleeper is None:
                    sleeper = Sleeper()
                    if cancel is not None:
                        registered = cancel.register(sleeper.wake)
                    continue  # whoever settled before it could be woken is seen now
                if cancel is not None and cancel.cancelled:
                    raise CancelledError(f"not sent: {cancel.reason}")
                left = deadline.remaining()
                if left <= 0:
                    raise DeadlineExceededError("the deadline passed while the budget was reserved by calls in flight")
                sleeper.sleep(left)
        finally:
            if sleeper is not None:
                self._waiting.discard(sleeper)
            if cancel is not None and registered >= 0:
                cancel.unregister(registered)

    def _reserved_now(self, price: Pricing, size: int, max_tokens: int | None, sleeper: Sleeper | None) -> Reservation | None:
        """Set money aside; None, and the next settlement wakes the sleeper, while requests in flight stand in the way."""
        if self.process != getpid():
            adopt(self)
        try:
            with self._lock:
                self._book()
                dollars = self._estimate(price, size, max_tokens)
                if self._spent + self._reserved + dollars <= self._budget:
                    return self._set_aside(dollars)
                if not self._open:  # else calls in flight may cost less than reserved, and must not be cancelled
                    raise BudgetExceededError(
                        f"the budget of ${self._budget:.2f} is used up: ${self._spent:.4f} is spent, and the next request "
                        f"would cost about ${dollars:.4f}. Raise budget=, and use checkpoint= so as not to pay twice"
                    )
                if sleeper is not None:
                    sleeper.forget()
                    self._waiting.add(sleeper)
                return None
        finally:
            self._work_off()

    def try_reserve(self, price: Pricing, size: int, max_tokens: int | None) -> Reservation | None:
        """Reserve money for an optional request (a hedge); None if there is none to spare."""
        if self.process != getpid():
            adopt(self)
        try:
            with self._lock:
                self._book()
                dollars = self._estimate(price, size, max_tokens)
                return None if self._spent + self._reserved + dollars > self._budget else self._set_aside(dollars)
        finally:
            self._work_off()

    def _set_aside(self, dollars: float) -> Reservation:
        reservation = Reservation(self, dollars)
        self._reserved += dollars
        self._open.add(reservation)
        return reservation

    def learn(self, size: int, usage: Usage) -> None:
        """Use an answer's tokens to improve the next estimates.

        Args:
            size: Bytes of the request.
            usage: What the provider counted; absurd numbers are ignored.
        """
        if not is_plausible(usage):
            return
        if self.process != getpid():
            adopt(self)
        with self._lock:
            self._input_tokens += within_reach(usage.input_tokens, size * self._tokens_per_byte())
            self._bytes += size
            output = within_reach(usage.output_tokens, max(self._most_output, FIRST_OUTPUT_TOKENS))
            self._most_output = max(self._most_output, output)
        self._work_off()

    def settle(self, reservation: Reservation, dollars: float) -> None:
        """Book the cost of a request in place of its reservation."""
        if self.process != getpid():
            adopt(self)
        self._settled.append((reservation, dollars))
        self._work_off()

    def _work_off(self) -> None:
        """Book what was settled, and wake those who wait for it. To be called after each release of the lock."""
        while self._settled and self._lock.acquire(blocking=False):
            try:
                self._book()
            finally:
                self._lock.release()

    def _book(self) -> None:
        is_changed = False
        while self._settled:
            reservation, dollars = self._settled.popleft()
            if reservation in self._open:
                self._open.discard(reservation)
                self._reserved = self._reserved - reservation.dollars if self._open else 0.0
                self._spent += dollars
                is_changed = True
        if is_changed:
            for sleeper in list(self._waiting):
                sleeper.wake()

    def _tokens_per_byte(self) -> float:
        """Return the mean so far; before the first answer, the bytes per token of this language are unknown."""
        return self._input_tokens / self._bytes if self._input_tokens else 1.0 / BYTES_PER_TOKEN

    def _estimate(self, price: Pricing, size: int, max_tokens: int | None) -> float:
        output = max_tokens if max_tokens is not None else math.ceil(self._most_output or FIRST_OUTPUT_TOKENS)
        dollars = price.cost(Usage(math.ceil(size * self._tokens_per_byte()), output, known=True))
        return dollars if dollars is not None else 0.0
