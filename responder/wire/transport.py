"""One POST: JSON bytes out, a reply in, or an error of ours. The only room that knows `requests`.

A call goes through a `requests.Session`. Ours mounts `SocketAdapter`, which owns its sockets (see `pool.py`); a session
that the user brings is used as it is, with its adapters, proxies, certificates and mocks, and each of its calls runs in a
thread of its own so that a deadline or a cancel ends it for the caller whatever the session does. Cookies are never kept,
redirects never followed, and nothing is retried here.
"""

from __future__ import annotations

import contextvars
import functools
import http.client
import http.cookiejar
import os
import re
import ssl
import threading
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import urlsplit

import requests
import urllib3.exceptions
from requests.adapters import BaseAdapter, HTTPAdapter
from requests.structures import CaseInsensitiveDict
from requests.utils import get_environ_proxies, select_proxy

from responder.values.cancellation import CancelToken
from responder.values.deadline import Deadline, Timeout
from responder.values.errors import (
    APIConnectionError,
    APIError,
    APITimeoutError,
    CancelledError,
    ConfigurationError,
    DeadlineExceededError,
)
from responder.wire.connection import Attempt, Origin, StoppedError, TunnelRefusedError, proxy_authorization
from responder.wire.pool import Pool
from responder.wire.tls import tls_context

T = TypeVar("T")


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
        return self._call.guarded(lambda: self._call.read1(self._response))

    def must_continue_within(self, seconds: float, bound: str) -> None:
        """Bound the time to the next piece; the attempt's own end stays where it is.

        Args:
            seconds: From now; `math.inf` lifts the bound.
            bound: What to call it in the error's message.
        """
        self._call.continue_within(seconds, bound)

    def read(self) -> Reply:
        """Return the whole reply; raises as `read1` does."""
        body = self._call.guarded(lambda: self._call.read(self._response))
        return Reply(self.status, self.headers, body, self.reason)

    def close(self) -> None:
        """Drop what has not been read, and the connection with it."""
        self._call.close(self._response)


class Transport:
    """Sends requests to one provider. Safe for threads; survives `fork()`."""

    def __init__(self, session: requests.Session | None = None) -> None:
        self._brought = session
        self._adapter = SocketAdapter()
        self._own = _own_session(self._adapter)
        self._plain: requests.Session | None = None

    def post(
        self,
        url: str,
        headers: Mapping[str, str],
        body: bytes,
        timeout: Timeout,
        deadline: Deadline,
        cancel: CancelToken | None,
    ) -> Reply:
        """Send a request and return the whole reply.

        Raises:
            APIConnectionError: No reply, or not all of it.
            APITimeoutError, DeadlineExceededError, CancelledError: It was stopped.
        """
        call = self._call(url, timeout, deadline, cancel)
        return call.guarded(lambda: call.post(url, headers, body))

    def open(
        self,
        url: str,
        headers: Mapping[str, str],
        body: bytes,
        timeout: Timeout,
        deadline: Deadline,
        cancel: CancelToken | None,
    ) -> Incoming:
        """Send a request and return the reply as soon as its headers are there; raises as `post` does.

        `timeout.first` bounds the time from here to the first piece, until `Incoming.must_continue_within` moves it.
        """
        call = self._call(url, timeout, deadline, cancel)
        call.continue_within(timeout.first, f"timeout first: no piece within {timeout.first:g} s")
        return Incoming(call.guarded(lambda: call.open(url, headers, body)), call)

    def _call(self, url: str, timeout: Timeout, deadline: Deadline, cancel: CancelToken | None) -> _Call:
        if self._brought is not None:
            return _ForeignCall(self._brought, url, timeout, deadline, cancel)
        proxy = self._adapter.route(url, Origin.of(url))[1]
        if proxy is not None and not proxy.startswith("http://"):
            self._plain = self._plain or _plain_session()
            return _ForeignCall(self._plain, url, timeout, deadline, cancel)
        return _Call(self._own, url, timeout, deadline, cancel)

    def close(self) -> None:
        """Close the idle connections of our own sessions; a session that the user brought stays open."""
        self._own.close()
        if self._plain is not None:
            self._plain.close()


class _Call:
    """One attempt over our own session, and the border where foreign errors become ours."""

    def __init__(
        self, session: requests.Session, url: str, timeout: Timeout, deadline: Deadline, cancel: CancelToken | None
    ) -> None:
        self.session = session
        self.url = url
        self.timeout = timeout
        self.deadline = deadline
        self.started = time.monotonic()
        ends = min(self.started + timeout.total, deadline.at)
        self.attempt = Attempt(ends, min(timeout.connect, timeout.total), cancel)
        self.bound = f"timeout {timeout.total:g} s"

    def continue_within(self, seconds: float, bound: str) -> None:
        last = min(self.started + self.timeout.total, self.deadline.at)
        wanted = time.monotonic() + seconds
        self.attempt.ends = min(last, wanted)
        self.bound = bound if wanted < last else f"timeout {self.timeout.total:g} s"

    def open(self, url: str, headers: Mapping[str, str], body: bytes) -> requests.Response:
        request = requests.PreparedRequest()
        request.method = "POST"
        request.url = url
        request.headers = CaseInsensitiveDict(headers)
        request.body = body
        # Our adapter takes the attempt, with its clock and its token, in the place of a timeout.
        timeout: Any = self.attempt
        return self.session.send(request, stream=True, timeout=timeout, allow_redirects=False, proxies={})

    def post(self, url: str, headers: Mapping[str, str], body: bytes) -> Reply:
        response = self.open(url, headers, body)
        return Reply(response.status_code, response.headers, self.read(response), response.reason or "")

    def read(self, response: requests.Response) -> bytes:
        return response.raw.read()

    def read1(self, response: requests.Response) -> bytes:
        return response.raw.read1()

    def close(self, response: requests.Response) -> None:
        response.raw.close()

    def guarded(self, step: Callable[[], T]) -> T:
        """Run a step; whatever goes wrong in it comes out as an error of ours."""
        try:
            return step()
        except (APIError, CancelledError, ConfigurationError):
            raise
        except (
            OSError,
            StoppedError,
            http.client.HTTPException,
            urllib3.exceptions.HTTPError,
            ValueError,  # `requests` looks at where a redirect points, though it is not to follow it
            zlib.error,
        ) as error:
            raise self._translated(error) from _without_request(error)
        except AttributeError as error:
            # urllib3 fails so in the thread that reads from a response which another thread shut down.
            if not self.attempt.cancelled:
                raise
            raise self._translated(error) from error

    def _translated(self, error: Exception) -> APIError | CancelledError:
        host = Origin.of(self.url).host
        if self.attempt.cancelled:
            reason = self.attempt.cancel.reason if self.attempt.cancel is not None else ""
            return CancelledError(f"the call to {host} was stopped: {reason or 'cancelled'}")
        taken = time.monotonic() - self.started
        if time.monotonic() >= self.deadline.at:
            return DeadlineExceededError(f"the deadline passed while waiting for {host} (this attempt: {taken:.1f} s)")
        if _is_timeout(error):
            return APITimeoutError(
                f"{host} did not finish its answer within {taken:.1f} s ({self.bound}). It may have been billed. "
                "Raise timeout= if answers take that long",
                retryable=True,
            )
        certificate = _tls_problem(error)
        if certificate:
            return APIConnectionError(
                f"TLS with {host} failed: {certificate}. Behind a company's proxy set REQUESTS_CA_BUNDLE to its CA "
                "file (PEM), or bring a requests.Session whose verify is that file",
                fatal=isinstance(certificate, ssl.SSLCertVerificationError),
            )
        refusal = _proxy_refusal(error)
        if refusal:
            return APIConnectionError(
                f"the proxy refused the tunnel to {host}: {refusal}. Look at HTTPS_PROXY (http://user:password@host:port) "
                "and NO_PROXY",
                fatal=True,
            )
        address = _bad_address(error)
        if address is not None:
            return APIConnectionError(f"{host!r} cannot be called ({type(address).__name__}). Check base_url", fatal=True)
        return APIConnectionError(f"no answer from {host}: {_described(error)}", retryable=True)


class _ForeignCall(_Call):
    """One attempt over a session that the user brought: any session may do anything, so nobody waits for it for ever.

    What the session does runs in a daemon thread; the caller stops waiting at the end of the attempt or when it is cancelled.
    An abandoned thread ends when the session's own read timeout (the rest of the attempt) does.
    """

    def open(self, url: str, headers: Mapping[str, str], body: bytes) -> requests.Response:
        return self._abandonable(lambda: self._send(url, headers, body))

    def post(self, url: str, headers: Mapping[str, str], body: bytes) -> Reply:
        arrived: list[requests.Response] = []

        def whole() -> Reply:
            response = self._send(url, headers, body)
            arrived.append(response)
            if self.attempt.cancelled:  # the caller has left, and may have looked too early
                self.shut_down(response)
            names = {name.lower(): value for name, value in response.headers.items()}
            return Reply(response.status_code, names, response.content, response.reason or "")

        try:
            return self._abandonable(whole)
        except (StoppedError, TimeoutError):
            for response in arrived:
                self.shut_down(response)  # so that the provider notices, and the thread that reads ends
            raise

    def read(self, response: requests.Response) -> bytes:
        return self._abandonable(lambda: response.content)

    def read1(self, response: requests.Response) -> bytes:
        return self._abandonable(lambda: _next_bytes(response))

    def close(self, response: requests.Response) -> None:
        # close() of requests waits for a read that is under way; a shutdown ends that read first.
        self.shut_down(response)
        response.close()

    @staticmethod
    def shut_down(response: requests.Response) -> None:
        shutdown = getattr(response.raw, "shutdown", None)
        if shutdown is not None:
            try:
                shutdown()
            except (OSError, ValueError, RuntimeError, AttributeError):
                pass  # already closed, or a mock without a socket

    def _send(self, url: str, headers: Mapping[str, str], body: bytes) -> requests.Response:
        _header_lines(headers)  # refuses what cannot be sent, before anybody quotes it
        request = requests.Request("POST", url, headers=dict(headers), data=body, auth=_KeepHeaders(headers))
        prepared = self.session.prepare_request(request)
        settings = self.session.merge_environment_settings(url, {}, True, None, None)
        left = self.attempt.remaining()
        connect = self.attempt.connect if left is None else min(self.attempt.connect, left)
        return self.session.send(prepared, timeout=(connect, left), allow_redirects=False, **settings)

    def _abandonable(self, step: Callable[[], T]) -> T:
        finished = threading.Event()
        outcome: list[T] = []
        failure: list[BaseException] = []
        context = contextvars.copy_context()

        def run() -> None:
            try:
                outcome.append(context.run(step))
            except BaseException as error:  # noqa: BLE001 - carried to the caller, who raises it
                failure.append(error)
            finished.set()
            if outcome and abandoned.is_set() and isinstance(outcome[0], requests.Response):
                outcome[0].close()

        abandoned = threading.Event()
        token = self.attempt.cancel
        number = token.register(finished.set) if token is not None else -1
        try:
            threading.Thread(target=run, name="responder-session", daemon=True).start()
            finished.wait(self.attempt.remaining())
        finally:
            if token is not None:
                token.unregister(number)
            if not outcome and not failure:
                abandoned.set()
        if self.attempt.cancelled:
            raise StoppedError
        if failure:
            raise failure[0]
        if not outcome:
            raise TimeoutError("the time of the attempt is over")
        return outcome[0]


class _KeepHeaders(requests.auth.AuthBase):
    """Our headers win over a `.netrc` entry for the host, which `requests` would otherwise prefer."""

    def __init__(self, headers: Mapping[str, str]) -> None:
        self._headers = headers

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers.update(self._headers)
        return request


class SocketAdapter(BaseAdapter):
    """A `requests` adapter that owns its sockets, so that a call can be bounded and cancelled.

    Proxies (HTTPS_PROXY, HTTP_PROXY, ALL_PROXY, NO_PROXY) and the CA bundle (REQUESTS_CA_BUNDLE, CURL_CA_BUNDLE) are read from
    the environment once for each host.
    """

    def __init__(self) -> None:
        super().__init__()
        self._pool = Pool()
        self._routes: dict[Origin, tuple[ssl.SSLContext | None, str | None]] = {}

    def send(  # `requests` asks for the same keywords, of wider types
        self,
        request: requests.PreparedRequest,
        stream: bool = False,  # noqa: ARG002 - the body is always left to the reader
        timeout: Any = None,
        verify: Any = True,  # noqa: ARG002 - always on
        cert: Any = None,  # noqa: ARG002 - bring a session for client certificates
        proxies: Any = None,  # noqa: ARG002 - resolved once for each host instead
    ) -> requests.Response:
        """Send a prepared request; `timeout` is an `Attempt`."""
        url = request.url or ""
        origin = Origin.of(url)
        context, proxy = self.route(url, origin)
        body = request.body if isinstance(request.body, bytes) else b""
        request.headers["Content-Length"] = str(len(body))
        head = _request_head(request, url, proxy if origin.scheme == "http" else None)
        parsed = self._pool.exchange(timeout, origin, context, proxy, head + body)
        response = requests.Response()
        response.status_code = parsed.status
        response.reason = parsed.reason
        # A plain dict with names in lower case: nobody but this room reads it, and the other kind costs ten times as much.
        response.headers = parsed.headers  # type: ignore[assignment]  # see above
        response.raw = parsed
        response.url = url
        response.request = request
        return response

    def route(self, url: str, origin: Origin) -> tuple[ssl.SSLContext | None, str | None]:
        """Return the TLS context (None: plain http) and the proxy's URL (None: none) for an origin."""
        found = self._routes.get(origin)
        if found is None:
            proxy = select_proxy(url, get_environ_proxies(url, no_proxy=None))
            if proxy is not None and "://" not in proxy:
                proxy = "http://" + proxy
            context = _trusting_context() if origin.scheme == "https" else None
            found = self._routes[origin] = context, proxy
        return found

    def close(self) -> None:
        """Close the idle connections."""
        self._pool.close()


def _trusting_context() -> ssl.SSLContext:
    bundle = _ca_bundle()
    try:
        return tls_context(bundle)
    except OSError as error:
        raise ConfigurationError(
            f"the CA bundle {bundle!r} cannot be read ({error}): look at REQUESTS_CA_BUNDLE and CURL_CA_BUNDLE", fatal=True
        ) from error


def _ca_bundle() -> str:
    return os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE") or requests.utils.DEFAULT_CA_BUNDLE_PATH


@functools.lru_cache(maxsize=1024)
def _request_start(url: str, proxy: str | None) -> str:
    parts = urlsplit(url)
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    host = parts.netloc.rpartition("@")[2]
    target = f"http://{host}{path}" if proxy else path
    return "\r\n".join([f"POST {target} HTTP/1.1", f"Host: {host}", *proxy_authorization(proxy)])


def _request_head(request: requests.PreparedRequest, url: str, proxy: str | None) -> bytes:
    try:
        start = _request_start(url, proxy).encode("latin-1")
    except UnicodeEncodeError:
        raise ConfigurationError("the URL holds a character that HTTP does not take; look at base_url") from None
    return b"%b\r\n%b\r\n\r\n" % (start, _header_lines(request.headers))


def _header_lines(headers: Mapping[str, str]) -> bytes:
    lines = [f"{name}: {value}" for name, value in headers.items()]
    head = "\r\n".join(lines)
    if head.count("\n") >= len(lines) or head.count("\r") >= len(lines) or "\0" in head:
        raise ConfigurationError("a header holds a line break; look at api_key and extra_headers")
    try:
        return head.encode("latin-1")
    except UnicodeEncodeError:
        pass  # left behind before we raise: it holds the header, and with it the key
    raise ConfigurationError("a header holds a character that HTTP does not take; look at api_key and extra_headers")


class _StayingSession(requests.Session):
    """A session that does not even look where a redirect points: it would read the body to prepare the next request."""

    def get_redirect_target(self, resp: requests.Response) -> None:  # noqa: ARG002 - the name that `requests` gives it
        """Return nowhere."""
        return


def _own_session(adapter: SocketAdapter) -> requests.Session:
    """Return a session over our own adapter; nothing in it changes after this, so threads may share it."""
    session = _StayingSession()
    session.trust_env = False  # proxies and CA bundle are read by the adapter; a .netrc must not replace our key
    session.mount("https://", adapter)
    session.mount("http://", adapter)
    return session


def _plain_session() -> requests.Session:
    """Return an ordinary session, for what our adapter leaves to `requests`: SOCKS and https proxies."""
    session = _StayingSession()
    session.cookies.set_policy(http.cookiejar.DefaultCookiePolicy(allowed_domains=[]))
    adapter = HTTPAdapter(pool_maxsize=256, max_retries=0)
    session.mount("https://", adapter)
    session.mount("http://", adapter)
    return session


def _next_bytes(response: requests.Response) -> bytes:
    read1 = getattr(response.raw, "read1", None)
    if read1 is None:  # a recorder's own response object
        return next(response.iter_content(65536), b"")
    return read1(65536, decode_content=True)  # type: ignore[no-any-return]  # a mock may return anything


def _related(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and all that it wraps: `requests` and urllib3 each hide the cause in a place of their own."""
    seen: list[BaseException | None] = []
    todo: list[Any] = [error]
    while todo:
        found = todo.pop(0)
        if isinstance(found, BaseException) and not any(found is known for known in seen):
            seen.append(found)
            yield found
            todo += [getattr(found, "reason", None), *found.args[:2], found.__cause__, found.__context__]


def _is_timeout(error: BaseException) -> bool:
    kinds = (TimeoutError, requests.exceptions.Timeout, urllib3.exceptions.TimeoutError)
    return any(isinstance(found, kinds) for found in _related(error))


def _tls_problem(error: BaseException) -> ssl.SSLError | None:
    """Return the TLS error that makes a repeat useless; a connection that merely broke off is none."""
    broke_off = (ssl.SSLEOFError, ssl.SSLZeroReturnError, ssl.SSLSyscallError)
    for found in _related(error):
        if isinstance(found, ssl.SSLError) and not isinstance(found, broke_off):
            return found
    return None


def _bad_address(error: BaseException) -> BaseException | None:
    kinds = (
        requests.exceptions.InvalidURL,
        requests.exceptions.InvalidSchema,
        requests.exceptions.MissingSchema,
        UnicodeError,
    )
    return next((found for found in _related(error) if isinstance(found, kinds)), None)


def _proxy_refusal(error: BaseException) -> str:
    """Return the status with which a proxy refused a tunnel for good; "" when it was something else."""
    for found in _related(error):
        if isinstance(found, TunnelRefusedError) or "Tunnel connection failed" in str(found):
            status = re.search(r": (4\d\d\b.{0,60})", str(found))
            if status:
                return status[1]
    return ""


def _described(error: BaseException) -> str:
    """Say what happened in a few words; the innermost error knows best, and quotes no URL."""
    inner: list[BaseException] = [found for found in _related(error) if isinstance(found, (OSError, http.client.HTTPException))]
    plain = [found for found in inner if not isinstance(found, requests.exceptions.RequestException)]
    found = (plain or [error])[-1]
    return f"{type(found).__name__}: {found}"[:300] if plain else type(found).__name__


def _without_request(error: BaseException) -> BaseException:
    """Return the error without the request and its headers, which hold the key."""
    for found in _related(error):
        if isinstance(found, requests.exceptions.RequestException):
            found.request = found.response = None
    return error
