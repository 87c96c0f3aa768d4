"""One request: JSON bytes out, a reply in, or an error of ours.

A call goes through a `requests.Session`: ours (`adapter.py`), which owns its sockets; or the user's own, which is used
as it is, with its adapters, proxies, certificates and mocks (`foreign.py`). Cookies are never kept, redirects never followed,
and nothing is retried here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import requests

from responder.values.cancellation import CancelToken
from responder.values.deadline import Deadline, Timeout
from responder.values.sizes import Sizes
from responder.wire import patches
from responder.wire.adapter import PooledSession, prepared
from responder.wire.file_body import FileBody
from responder.wire.foreign import SessionCall, SessionError, Sessions
from responder.wire.patches import Way
from responder.wire.signals import is_from_a_signal
from responder.wire.translation import FAILURES, SESSION_FAILURES, Circumstances, translated, without_request


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole reply, whatever its status.

    Attributes:
        status: HTTP status.
        headers: Header names in lower case, and their values.
        body: The bytes, decompressed.
        reason: The status in words.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    reason: str = ""


class Incoming:
    """A reply whose body is read as it arrives.

    Attributes:
        status: HTTP status.
        headers: Header names in lower case, and their values.
        reason: The status in words.
    """

    def __init__(self, response: requests.Response, call: _Call) -> None:
        self.status = response.status_code
        self.headers = {name.lower(): value for name, value in response.headers.items()}
        self.reason = response.reason or ""
        self._response = response
        self._call = call

    def read1(self) -> bytes:
        """Return the next bytes as soon as there are any; b"" at the end of the body.

        Raises:
            APIConnectionError: The connection broke, or the body ended early.
            APITimeoutError, DeadlineExceededError, CancelledError: It was stopped.
        """
        try:
            return self._call.read1(self._response)
        except (*FAILURES, SessionError) as error:
            self._call.fail(error)
            raise

    def must_continue_within(self, seconds: float, bound: str) -> None:
        """Bound the time to the next piece; the attempt's own end stays where it is.

        Args:
            seconds: From now; `math.inf` removes the bound.
            bound: What to call it in the error's message.
        """
        self._call.circumstances.continue_within(seconds, bound)

    def read(self) -> Reply:
        """Return the whole reply; raises as `read1` does."""
        try:
            body = self._call.read(self._response)
        except (*FAILURES, SessionError) as error:
            self._call.fail(error)
            raise
        return Reply(self.status, self.headers, body, self.reason)

    def close(self) -> None:
        """Drop what has not been read, and the connection with it."""
        self._call.close(self._response)


class Transport:
    """Sends requests to one provider. Safe for threads; survives `fork()`."""

    def __init__(self, session: requests.Session | None = None) -> None:
        self._brought = Sessions(session) if session is not None else None
        self._own = PooledSession()
        self._ordinary = Sessions(None)
        self._seen: tuple[Any, ...] = ()
        self._way = Way.DIRECT

    @property
    def is_brought(self) -> bool:
        """True when it sends with the user's own session, which no other process has."""
        return self._brought is not None

    def post(
        self,
        url: str,
        headers: Mapping[str, str],
        body: bytes | FileBody,
        timeout: Timeout,
        deadline: Deadline,
        cancel: CancelToken | None,
        once: bool = False,
    ) -> Reply:
        """Send a request and return the whole reply; a FileBody is read as it is sent.

        With `once` it goes over a new connection. A kept one that the server was about to close would have it sent again.

        Raises:
            APIConnectionError: No reply, or not all of it.
            APITimeoutError, DeadlineExceededError, CancelledError: It was stopped.
            APIError: This process has no file descriptors left.
        """
        call = self._call(url, timeout, deadline, cancel)
        call.circumstances.attempt.is_sent_once = once
        request = prepared(url, headers, body, bare=call.is_bare)
        del headers  # an exception of a signal's handler would carry them out, and with them the key
        try:
            return call.post(request)
        except (*FAILURES, SessionError) as error:
            call.fail(error)
            raise

    def get(
        self, url: str, headers: Mapping[str, str], timeout: Timeout, deadline: Deadline, cancel: CancelToken | None
    ) -> Reply:
        """Ask for what is at a URL, and return the whole reply; raises as `post` does."""
        call = self._call(url, timeout, deadline, cancel)
        request = prepared(url, headers, b"", bare=call.is_bare, method="GET")
        del headers
        try:
            return call.post(request)
        except (*FAILURES, SessionError) as error:
            call.fail(error)
            raise

    def open(
        self,
        url: str,
        headers: Mapping[str, str],
        body: bytes,
        timeout: Timeout,
        deadline: Deadline,
        cancel: CancelToken | None,
        method: str = "POST",
        sizes: Sizes | None = None,
    ) -> Incoming:
        """Send a request and return the reply as soon as its headers are there; raises as `post` does.

        `timeout.first` bounds the time from here to the first piece, until `Incoming.must_continue_within` moves it; `sizes`
        bounds what is read of the reply, in place of the bounds of the process.
        """
        call = self._call(url, timeout, deadline, cancel)
        call.circumstances.continue_within(timeout.first, f"timeout first: no piece within {timeout.first:g} s")
        call.circumstances.attempt.sizes = sizes
        request = prepared(url, headers, body, bare=call.is_bare, method=method)
        del headers
        try:
            return Incoming(call.open(request), call)
        except (*FAILURES, SessionError) as error:
            call.fail(error)
            raise

    def _call(self, url: str, timeout: Timeout, deadline: Deadline, cancel: CancelToken | None) -> _Call:
        if self._brought is not None:
            return _ForeignCall(self._brought.get(), Circumstances(url, None, timeout, deadline, cancel))
        seen = patches.seen()
        if seen != self._seen:
            self._seen, self._way = seen, patches.way(seen)
            self._ordinary.renew()
        if self._way is Way.PLAIN:
            return _ForeignCall(self._ordinary.get(), Circumstances(url, None, timeout, deadline, cancel))
        proxy = self._own.adapter.route(url).proxy
        circumstances = Circumstances(url, proxy, timeout, deadline, cancel)
        if proxy is not None and not proxy.startswith("http://"):
            return _ForeignCall(self._ordinary.get(), circumstances)
        return _Call(self._own, circumstances, is_bare=self._way is Way.DIRECT)

    def close(self) -> None:
        """Close the idle connections of our own sessions; a session that the user brought stays open."""
        self._own.close()
        self._ordinary.close()


class _Call:
    """One attempt over our own session."""

    __slots__ = ("_session", "circumstances", "is_bare")

    def __init__(self, session: requests.Session, circumstances: Circumstances, *, is_bare: bool) -> None:
        self._session = session
        self.circumstances = circumstances
        self.is_bare = is_bare

    def open(self, request: requests.PreparedRequest) -> requests.Response:
        # Our adapter takes the attempt, with its clock and its token, in the place of a timeout.
        attempt: Any = self.circumstances.attempt
        if self.is_bare:
            return self._session.send(request, timeout=attempt)
        send = requests.Session.send  # patched by a tool that wants to see the call
        return send(self._session, request, stream=True, timeout=attempt, allow_redirects=False, proxies={})

    def post(self, request: requests.PreparedRequest) -> Reply:
        response = self.open(request)
        return Reply(response.status_code, response.headers, response.raw.read(), response.reason)

    def read(self, response: requests.Response) -> bytes:
        return response.raw.read()

    def read1(self, response: requests.Response) -> bytes:
        return response.raw.read1()

    def close(self, response: requests.Response) -> None:
        response.raw.close()

    def fail(self, error: Exception) -> None:
        """Raise the error that a failure means; return if it is not ours and must pass through unchanged."""
        if not is_from_a_signal(error):
            raise translated(error, self.circumstances) from without_request(error)


class _ForeignCall(_Call):
    """One attempt over the user's session."""

    __slots__ = ("_over",)

    def __init__(self, session: requests.Session, circumstances: Circumstances) -> None:
        super().__init__(session, circumstances, is_bare=False)
        self._over = SessionCall(session, circumstances.attempt)

    def open(self, request: requests.PreparedRequest) -> requests.Response:
        return self._over.open(request)

    def post(self, request: requests.PreparedRequest) -> Reply:
        response, body = self._over.whole(request)
        headers = {name.lower(): value for name, value in response.headers.items()}
        return Reply(response.status_code, headers, body, response.reason or "")

    def read(self, response: requests.Response) -> bytes:
        return self._over.read(response)

    def read1(self, response: requests.Response) -> bytes:
        return self._over.read1(response)

    def close(self, response: requests.Response) -> None:
        self._over.close(response)

    def fail(self, error: Exception) -> None:
        """Raise the error that a failure means, if it is the session's or ours."""
        cause = error.__cause__
        if not isinstance(error, SessionError) or cause is None:
            super().fail(error)
        elif isinstance(cause, SESSION_FAILURES):
            raise translated(cause, self.circumstances) from without_request(cause)
        else:
            raise cause
