"""One call: its attempts, each with its turn, its money and its line in the trace. Answers and streams both come through here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol, TypeVar

from responder.call import observing, replies
from responder.call.hedging import LOST, Hedger
from responder.call.question import Question
from responder.call.retry import RetryBudget
from responder.pace.budget import Reservation, Spending
from responder.pace.estimates import BYTES_PER_TOKEN, SHORTEST_WAIT
from responder.pace.permit import Permit
from responder.pace.prices import Pricing
from responder.values import trace as traces
from responder.values.answer import NO_USAGE, Answer, Usage
from responder.values.bounds import Bounds
from responder.values.cancellation import CancelToken
from responder.values.clock import monotonic
from responder.values.errors import (
    APIConnectionError,
    APIError,
    APITimeoutError,
    BlockedError,
    CancelledError,
    DeadlineExceededError,
    EmptyAnswerError,
    InvalidResponseError,
    ResponderError,
    StreamInterruptedError,
)
from responder.values.trace import Trace
from responder.wire.error_bodies import read_error_body

if TYPE_CHECKING:
    from responder.call.dialect import Dialect
    from responder.call.endpoint import Endpoint
    from responder.wire.transport import Incoming


class Counted(Protocol):
    """What a model gave, with its tokens: an answer, or vectors."""

    @property
    def usage(self) -> Usage:
        """The tokens."""

    @property
    def model(self) -> str:
        """The model that gave it; "" if unknown."""


T = TypeVar("T")
C = TypeVar("C", bound=Counted)


@dataclass(frozen=True, slots=True)
class Terms:
    """What a run allows its calls.

    Attributes:
        retries: Retries in total; None: as many as each call's policy says.
        spending: Its money; None: no budget.
        hedger: Starts second calls for the slowest; None: no hedging.
        patience: Seconds to wait for a provider that is down.
        is_priced: True when the cost of each attempt is wanted.
    """

    retries: RetryBudget | None = None
    spending: Spending | None = None
    hedger: Hedger | None = None
    patience: float = 0.0
    is_priced: bool = False


SINGLE = Terms()
"""A call that belongs to no run."""


class Call:
    """One question to one provider, over as many attempts as it takes.

    Args:
        endpoint: Who is asked.
        question: What.
        bounds: What may end it.
        terms: What its run allows.
        trace: Gets what it did.
    """

    __slots__ = ("_known", "bounds", "endpoint", "question", "secret", "terms", "trace", "watch")

    def __init__(self, endpoint: Endpoint, question: Question, bounds: Bounds, terms: Terms, trace: Trace) -> None:
        self.endpoint = endpoint
        self.question = question
        self.bounds = bounds
        self.terms = terms
        self.trace = trace
        self.secret = ""  # what the stream that is under way was opened with
        self.watch: observing.Watch | None = None  # follows a stream to its end
        self._known = 0  # attempts whose tokens the provider reported

    def answer(self) -> Answer:
        """Return the whole answer.

        Raises:
            ResponderError: The last attempt's own error.
        """
        answer = self.repeat(self._attempt)
        object.__setattr__(answer, "attempts", self.trace.attempts)
        object.__setattr__(answer, "elapsed", monotonic() - self.trace.started)
        return answer

    def repeat(self, attempt: Callable[[], T], operation: str = "chat") -> T:
        """Make attempts until one succeeds, or none can.

        Args:
            attempt: Makes one.
            operation: What a trace calls it: "chat" or "embeddings".

        Raises:
            ResponderError: The last attempt's own error, signed.
        """
        if observing.observer is not None:
            return observing.observer.watch(self, operation, lambda: self._repeat(attempt))
        return self._repeat(attempt)

    def _repeat(self, attempt: Callable[[], T]) -> T:
        bounds, terms = self.bounds, self.terms
        try:
            return self.endpoint.retrier.call(attempt, self.trace, bounds.deadline, bounds.cancel, terms.retries)
        except ResponderError as error:
            self.sign(error)
            raise error.with_traceback(None)  # noqa: B904 - it is the same error

    def _attempt(self) -> Answer:
        attempt = self.begin()
        hedger = self.terms.hedger
        if hedger is None:
            return self.post(attempt, self.bounds)
        known = self._known
        answer, twice = hedger.race(
            lambda token: self.post(attempt, self.bounds.under(token)), self._second_attempt, self.bounds.cancel
        )
        if twice and self._known == known + 1:
            # The slower one was cancelled before its provider reported its tokens; the prompt was the same.
            self.book(replace(answer.usage, output_tokens=0, reasoning_tokens=0), answer.model, answer.service_tier)
        return answer

    def begin(self) -> Attempt:
        """Wait until an attempt may start: while the provider is down, for money, and for a slot within the limits.

        Raises:
            CircuitOpenError, BudgetExceededError, DeadlineExceededError, CancelledError: It does not come.
        """
        queued = monotonic()
        deadline, cancel = self.bounds.deadline, self.bounds.cancel
        governor, breaker = self.endpoint.shared
        money = None
        try:
            breaker.enter(self.terms.patience, deadline, cancel)
            if self.terms.spending is not None and self._price is not None:
                size, longest = self.question.size, self.question.max_tokens
                money = self.terms.spending.reserve(self._price, size, longest, deadline, cancel)
            permit = governor.acquire(self.question.size / BYTES_PER_TOKEN, deadline, cancel)
        except BaseException:
            if money is not None:
                money.settle(0.0)
            raise
        finally:
            waited = monotonic() - queued
            if waited > SHORTEST_WAIT:
                self.trace.limited += waited
                self.trace.waited += waited
        return Attempt(self, permit, money, queued)

    def _second_attempt(self) -> _SecondAttempt | None:
        """Return a second attempt, if limits and money have room for one right now."""
        governor, breaker = self.endpoint.shared
        if breaker.is_open:
            return None
        spending, price = self.terms.spending, self._price
        money = None
        if spending is not None and price is not None:
            money = spending.try_reserve(price, self.question.size, self.question.max_tokens)
            if money is None:
                return None
        permit = governor.try_acquire(self.question.size / BYTES_PER_TOKEN)
        if permit is None:
            if money is not None:
                money.settle(0.0)
            return None
        return _SecondAttempt(self, Attempt(self, permit, money, monotonic()))

    def post(self, attempt: Attempt, bounds: Bounds) -> Answer:
        """Send the question and read the whole answer.

        Args:
            attempt: Which has its turn.
            bounds: What may end it.
        """
        attempt.start()
        try:
            reply, secret = self.endpoint.post(self.question, bounds)
            attempt.observe(reply.headers)
            try:
                answer = replies.read(self.endpoint.dialect, reply, secret)
            except APIError as error:
                repaired = self.question.repaired(self.endpoint.dialect, error)
                if repaired is None:
                    raise
                self.question = repaired
                reply, secret = self.endpoint.post(repaired, bounds)
                attempt.observe(reply.headers)
                answer = replies.read(self.endpoint.dialect, reply, secret)
        except BaseException as error:
            attempt.end(error)
            raise
        attempt.end(None, answer.usage, answer.model, answer.service_tier)
        return answer

    def receive(self, attempt: Attempt, read: Callable[[Dialect, Incoming, str], C]) -> C:
        """Send the question and return what `read` makes of the reply, whose body it reads as it arrives.

        Args:
            attempt: Which has its turn.
            read: Called with the dialect, the reply, and the secret that no error may show.
        """
        attempt.start()
        try:
            incoming, secret = self.endpoint.open(self.question, self.bounds)
            try:
                attempt.observe(incoming.headers)
                found = read(self.endpoint.dialect, incoming, secret)
            finally:
                incoming.close()
        except BaseException as error:
            attempt.end(error)
            raise
        attempt.end(None, found.usage, found.model)
        return found

    def open(self, attempt: Attempt) -> Incoming:
        """Send the question and return the body of its answer, to be read as it arrives; the attempt stays under way.

        Raises:
            APIError: It was refused.
        """
        attempt.start()
        incoming, self.secret = self.endpoint.open(self.question, self.bounds)
        attempt.observe(incoming.headers)
        if 200 <= incoming.status < 300:
            attempt.accept()
            return incoming
        try:
            reply = incoming.read()
        finally:
            incoming.close()
        dialect = self.endpoint.dialect
        body = read_error_body(reply.body)
        error = replies.refused(dialect, reply.status, reply.headers, body, reply.reason, self.secret)
        repaired = self.question.repaired(dialect, error)
        if repaired is None:
            raise error
        self.question = repaired
        return self.open(attempt)

    @property
    def _price(self) -> Pricing | None:
        return self.endpoint.price if self._is_priced else None

    @property
    def _is_priced(self) -> bool:
        return self.terms.is_priced or observing.observer is not None

    def book(self, usage: Usage, model: str = "", tier: str = "") -> float | None:
        """Add an attempt's tokens to the trace; return what they cost in US dollars, None if unknown.

        Args:
            usage: The tokens.
            model: The model that answered; "" if unknown.
            tier: The tier that served it; "" if the reply does not say.
        """
        if not usage.known:
            return None
        trace = self.trace
        self._known += 1
        trace.usage = trace.usage + usage if trace.usage.known else usage
        price = self.endpoint.price_of(model) if self._is_priced else None
        cost = price.cost(usage, tier) if price is not None else None
        if cost is None:
            trace.priced = False
            return None
        trace.cost += cost
        return cost

    def sign(self, error: ResponderError) -> None:
        """Write into an error what only the call knows, and drop the frames that hold the key."""
        trace, dialect = self.trace, self.endpoint.dialect
        error.attempts = trace.attempts
        error.waited = trace.waited
        if isinstance(error, DeadlineExceededError):
            error.args = (f"{error} ({trace.account()})",)
        if isinstance(error, APIError):
            error.provider = dialect.provider
            error.model = error.model or dialect.model
            error.elapsed = monotonic() - trace.started
        _forget_frames(error)


class Attempt:
    """One request of a call: its slot within the limits, its money, its line in the trace. To be ended once."""

    __slots__ = ("_call", "_has_ended", "_money", "_permit", "_queued", "_sent")

    def __init__(self, call: Call, permit: Permit, money: Reservation | None, queued: float) -> None:
        self._call = call
        self._permit = permit
        self._money = money
        self._queued = queued
        self._sent = 0.0
        self._has_ended = False

    def start(self) -> None:
        """Note that the request goes out now."""
        self._call.trace.attempts += 1
        self._sent = monotonic()

    def observe(self, headers: Mapping[str, str]) -> None:
        """Learn from a reply's rate-limit headers (names in lower case), whatever its status."""
        self._permit.observe(headers)

    def accept(self) -> None:
        """Note that the provider has begun to answer, which may take it minutes (a stream)."""
        self._permit.accept()

    def give_back(self) -> None:
        """Give back the slot and the money of an attempt that was not made."""
        self._has_ended = True
        self._permit.settle(CancelledError("not sent"))
        if self._money is not None:
            self._money.settle(0.0)

    def end(self, error: BaseException | None, usage: Usage | None = None, model: str = "", tier: str = "") -> None:
        """Give back the slot, book tokens and money, and write the line in the trace; does nothing the second time.

        Args:
            error: What went wrong; None for a whole answer.
            usage: The tokens that were used; None: those that the error knows of.
            model: The model that answered; "" if unknown.
            tier: The tier that served it; "" if the reply does not say.
        """
        if self._has_ended:
            return
        self._has_ended = True
        call = self._call
        if usage is None:
            usage = getattr(error, "usage", NO_USAGE)
        self._permit.settle(error, usage)
        call.endpoint.shared[1].note(error)
        cost = call.book(usage, model, tier)
        if self._money is not None:
            if error is None and call.terms.spending is not None:
                call.terms.spending.learn(call.question.size, usage)
            # A refusal is not billed. A call that broke off midway may have been: its estimate counts as spent.
            is_refusal = error is not None and getattr(error, "status", None) is not None and not usage.known
            self._money.settle(0.0 if is_refusal else cost)
        cause = "" if error is None else _cause(error)
        call.trace.made.append(traces.Attempt(self._queued, self._sent, monotonic(), cause))


class _SecondAttempt:
    """An attempt that has its slot and its money, and races the one under way."""

    def __init__(self, call: Call, attempt: Attempt) -> None:
        self._call = call
        self._attempt = attempt

    def __call__(self, token: CancelToken) -> Answer:
        return self._call.post(self._attempt, self._call.bounds.under(token))

    def give_back(self) -> None:
        self._attempt.give_back()


# The first that fits.
_CAUSES: tuple[tuple[type[APIError], str], ...] = (
    (DeadlineExceededError, "deadline"),
    (APITimeoutError, "timeout"),
    (StreamInterruptedError, "interrupted"),
    (APIConnectionError, "connection"),
    (BlockedError, "blocked"),
    (EmptyAnswerError, "empty"),
    (InvalidResponseError, "invalid"),
)


def _cause(error: BaseException) -> str:
    """Return in a word why an attempt failed."""
    if isinstance(error, CancelledError):
        return "hedged" if LOST in str(error) else "cancelled"
    for kind, word in _CAUSES:
        if isinstance(error, kind):
            return word
    if isinstance(error, APIError) and error.status is not None:
        return str(error.status)
    return type(error).__name__


def _forget_frames(error: BaseException) -> None:
    """Drop the tracebacks of an error and of those behind it.

    Their frames hold the key and the whole request, for any crash reporter that shows local variables, and for as long as
    the error is kept. What went wrong stays in the messages.
    """
    behind: list[BaseException | None] = [error]
    seen: set[int] = set()
    while behind:
        found = behind.pop()
        if found is not None and id(found) not in seen:
            seen.add(id(found))
            found.__traceback__ = None
            behind += [found.__cause__, found.__context__]
