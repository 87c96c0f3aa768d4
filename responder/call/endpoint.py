"""Where do questions go? One model of one provider, as this process reaches it: connections, key, limits, price, retries."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, TypeVar

from responder._version import __version__
from responder.call.dialect import Dialect
from responder.call.question import Question
from responder.call.retry import Retrier
from responder.pace.breaker import Breaker, breaker_for
from responder.pace.governor import Governor
from responder.pace.limits import Limits
from responder.pace.prices import Price, Pricing, listed_price
from responder.pace.registry import governor_for
from responder.values.bounds import Bounds
from responder.values.cancellation import CancelToken
from responder.values.deadline import Deadline
from responder.values.errors import (
    APIConnectionError,
    APITimeoutError,
    AuthenticationError,
    CancelledError,
    DeadlineExceededError,
    ResponderError,
)
from responder.values.sizes import Sizes
from responder.wire.credentials import Credential
from responder.wire.error_bodies import read_error_body
from responder.wire.masking import Secret, SecretValues, hide, masked
from responder.wire.transport import Incoming, Reply, Transport

R = TypeVar("R", Reply, Incoming)

_FIXED_HEADERS: Mapping[str, str] = {
    "Content-Type": "application/json",
    "Accept": "application/json",
    "Accept-Encoding": "identity",
    "User-Agent": f"responder-sdk/{__version__}",
}
_STREAM_HEADERS: Mapping[str, str] = {**_FIXED_HEADERS, "Accept": "text/event-stream, application/json"}

# Seconds between two looks at an answer that is made in the background: few for a short one, not many for a long one.
_FIRST_POLL, _LONGEST_POLL = 0.25, 10.0
_MOST_FAILED_POLLS = 5
# Seconds that giving one up may take.
_GIVING_UP = 2.0
_PASSING = frozenset({408, 409, 429, 500, 502, 503, 504})


@dataclass(slots=True)
class Access:
    """What a responder keeps from call to call. Knows nothing of the responder, so that dropping that closes the connections.

    Attributes:
        transport: Sends.
        credential: Gives the secret for each request.
        limits: What the user knows of the provider's limits.
        retrier: Repeats what failed.
        extra_headers: Sent with every request, on top of ours.
        price: What the model costs; None: what genai-prices says.
        shared: The governor and the breaker, once they were asked for.
    """

    transport: Transport
    credential: Credential
    limits: Limits
    retrier: Retrier
    extra_headers: Mapping[str, str]
    price: Price | None
    shared: tuple[Governor, Breaker] | None = None


class Endpoint:
    """One model of one provider, for the calls of a moment. Safe for threads.

    Args:
        dialect: How the provider is spoken to.
        access: What is kept from call to call.
    """

    __slots__ = ("_access", "dialect")

    def __init__(self, dialect: Dialect, access: Access) -> None:
        self.dialect = dialect
        self._access = access

    def __reduce__(self) -> tuple[Any, ...]:
        # What it is kept with from call to call stays in this process: another one makes its own from the dialect.
        return attrgetter("_endpoint"), (self.dialect,)

    @property
    def retrier(self) -> Retrier:
        """What repeats failed attempts."""
        return self._access.retrier

    @property
    def limits(self) -> Limits:
        """What the user knows of the provider's limits."""
        return self._access.limits

    @property
    def left_behind(self) -> str:
        """What of it does not travel to another process, and changes what is sent; "" when all does (the key is found there)."""
        if self._access.transport.is_brought:
            return "session="
        secrets = [name for name, value in self._access.extra_headers.items() if isinstance(value, Secret)]
        return f"extra_headers={{{secrets[0]!r}: ...}}" if secrets else ""

    @property
    def price(self) -> Pricing | None:
        """What the model costs: as given, else as genai-prices says; None where neither knows."""
        if self._access.price is not None:
            return self._access.price
        return listed_price(self.dialect.provider, self.dialect.model)

    def price_of(self, model: str) -> Pricing | None:
        """Return what the model that answered costs: a router or a deployment may stand for another one than its name says.

        Args:
            model: As the reply names it; "" where it does not.
        """
        if self._access.price is None and model and model != self.dialect.model:
            return listed_price(self.dialect.provider, model) or self.price
        return self.price

    @property
    def shared(self) -> tuple[Governor, Breaker]:
        """What every responder of the process with the same provider, base URL, key and model shares."""
        access = self._access
        if access.shared is None:
            dialect = self.dialect
            identity = (dialect.provider, dialect.base_url, dialect.model, access.credential.identity())
            access.shared = governor_for(identity, access.limits), breaker_for(identity)
        return access.shared

    def post(self, question: Question, bounds: Bounds) -> tuple[Reply, str]:
        """Send a question and return the whole reply, whatever its status, and the secret to keep out of errors.

        Raises:
            APIConnectionError: No reply, or not all of it.
            APITimeoutError, DeadlineExceededError, CancelledError: It was stopped.
        """
        reply, secret = self._authorized(self._access.transport.post, question, bounds)
        if question.is_polled and 200 <= reply.status < 300:
            reply = self._finished(reply, secret, bounds)
        return reply, secret

    def _finished(self, reply: Reply, secret: str, bounds: Bounds) -> Reply:
        """Return the reply that is there in the end, for an answer that is made in the background: ask for it until it is.

        A poll that fails says nothing of the answer, which is paid for: the next one may find it.
        """
        end = bounds.deadline.earliest(Deadline.after(bounds.timeout.total))
        wait, failures, giving_up = _FIRST_POLL, 0, ""
        while True:
            if 200 <= reply.status < 300:
                failures = 0
                parsed = read_error_body(reply.body)
                url = self.dialect.pending_url(parsed) if isinstance(parsed, dict) else ""
                if not url:
                    return reply
                giving_up = self.dialect.cancelling_url(parsed)
            if end.remaining() <= wait:
                raise self._unready(url, bounds, wait)
            if (bounds.cancel or CancelToken()).wait(wait):
                self._give_up(giving_up, secret, bounds)
                raise CancelledError(f"the call was stopped: {bounds.cancel.reason if bounds.cancel is not None else ''}")
            wait = min(wait * 1.5, _LONGEST_POLL)
            headers = {**_FIXED_HEADERS, **self.dialect.headers(secret), **self._access.extra_headers}
            try:
                reply = self._access.transport.get(url, headers, bounds.timeout, end, bounds.cancel)
            except CancelledError:
                self._give_up(giving_up, secret, bounds)
                raise
            except (APIConnectionError, DeadlineExceededError) as error:
                if end.remaining() <= 0:
                    raise self._unready(url, bounds) from error
                failures += 1
                if failures >= _MOST_FAILED_POLLS:
                    raise
                continue
            if reply.status >= 400:
                failures += 1
                if reply.status not in _PASSING or failures >= _MOST_FAILED_POLLS:
                    return reply

    @staticmethod
    def _unready(url: str, bounds: Bounds, wait: float = 0.0) -> DeadlineExceededError | APITimeoutError:
        cause = DeadlineExceededError if bounds.deadline.remaining() <= wait else APITimeoutError
        return cause(f"the answer at {url} was not ready in time; it is still being made, and can be asked for there")

    def post_once(self, question: Question, bounds: Bounds) -> tuple[Reply, str]:
        """Do the same for a request that must not arrive twice: nothing below sends it again by itself."""
        return self._authorized(functools.partial(self._access.transport.post, once=True), question, bounds)

    def masked(self, value: Any, bounds: Bounds) -> Any:
        """Return JSON that a provider sent without the key of this moment, should it quote that, so that it can be kept."""
        return masked(value, self._access.credential.secret(bounds.deadline, bounds.cancel))

    def _give_up(self, url: str, secret: str, bounds: Bounds) -> None:
        """Tell the provider that an answer is no longer wanted; quickly, since the caller is leaving."""
        if url:
            headers = {**_FIXED_HEADERS, **self.dialect.headers(secret), **self._access.extra_headers}
            with contextlib.suppress(ResponderError):
                self._access.transport.post(url, headers, b"{}", bounds.timeout, Deadline.after(_GIVING_UP), None)

    def get(self, url: str, bounds: Bounds) -> tuple[Reply, str]:
        """Ask for what is at a URL, with the key; raises as `post` does."""
        read = self._access.transport.get
        return self._authorized(lambda url, headers, _body, *ends: read(url, headers, *ends), Question(url, b"", 1), bounds)

    def open_file(self, url: str, bounds: Bounds, sizes: Sizes) -> tuple[Incoming, str]:
        """Ask for a file and return it as soon as the headers are there; it may have as many bytes as `sizes` says.

        Raises as `post` does.
        """
        read = functools.partial(self._access.transport.open, method="GET", sizes=sizes)
        return self._authorized(read, Question(url, b"", 1, headers={"Accept": "*/*"}), bounds)

    def open(self, question: Question, bounds: Bounds) -> tuple[Incoming, str]:
        """Send a question and return the reply as soon as its headers are there, and the secret to keep out of errors.

        Raises as `post` does.
        """
        return self._authorized(self._access.transport.open, question, bounds)

    def _authorized(self, send: Callable[..., R], question: Question, bounds: Bounds) -> tuple[R, str]:
        """Send with the secret of the moment; when it has just been refused, once more with a new one."""
        timeout, deadline, cancel = bounds.timeout, bounds.deadline, bounds.cancel
        secret = self._access.credential.secret(deadline, cancel)
        try:
            reply = send(question.url, self._headers(secret, question), question.body, timeout, deadline, cancel)
            if reply.status == 401 and self._renewed(secret, bounds):
                if isinstance(reply, Incoming):
                    reply.close()
                secret = self._access.credential.secret(deadline, cancel)
                reply = send(question.url, self._headers(secret, question), question.body, timeout, deadline, cancel)
        except ResponderError as error:
            hide(error, secret)  # a broken status line may quote it
            raise
        return reply, secret

    def _headers(self, secret: str, question: Question) -> Mapping[str, str]:
        fixed = _STREAM_HEADERS if question.is_streamed else _FIXED_HEADERS
        # As secrets, so that no frame shows the key to a debugger or a crash report, whoever raised; and no variable holds them.
        own = SecretValues(self.dialect.headers(secret)).hidden()
        headers = {**fixed, **own, **question.headers, **self._access.extra_headers}
        return self.dialect.signed(question.url, question.body, headers)

    def _renewed(self, refused: str, bounds: Bounds) -> bool:
        try:
            return self._access.credential.renew(refused, bounds.deadline, bounds.cancel)
        except AuthenticationError:
            return False  # the provider's own 401 says more than the failure to get another token
