"""What does a low-level failure mean? Here errors of sockets, TLS, HTTP, `requests` and urllib3 become ours."""

from __future__ import annotations

import http.client
import os
import re
import socket
import ssl
import zlib
from collections.abc import Iterator
from typing import Any

import requests
import urllib3.exceptions

from responder.values.cancellation import CancelToken
from responder.values.clock import monotonic
from responder.values.deadline import Deadline, Timeout
from responder.values.errors import (
    APIConnectionError,
    APIError,
    APITimeoutError,
    CancelledError,
    ConfigurationError,
    DeadlineExceededError,
)
from responder.wire.connection import Attempt, Origin, StoppedError, TunnelRefusedError
from responder.wire.dialing import EXHAUSTED
from responder.wire.resolving import UNKNOWN, InvalidHostError, UnknownHostError
from responder.wire.routes import NO_SOCKS

# What our own sockets, and what reads from them, may raise.
FAILURES = (OSError, StoppedError, http.client.HTTPException, zlib.error)

# What a session may raise in addition. urllib3 fails with an AttributeError in the thread that reads from a response which
# another thread shut down.
SESSION_FAILURES = (*FAILURES, urllib3.exceptions.HTTPError, ValueError, AttributeError)


class Circumstances:
    """What is known of an attempt when it fails.

    Args:
        url: What was called.
        proxy: Over which proxy; None for none.
        timeout: The attempt's bounds.
        deadline: When the call must be over.
        attempt: Its clock and its stop button.
    """

    __slots__ = ("attempt", "bound", "deadline", "proxy", "started", "timeout", "url")

    def __init__(self, url: str, proxy: str | None, timeout: Timeout, deadline: Deadline, cancel: CancelToken | None) -> None:
        self.url = url
        self.proxy = proxy
        self.timeout = timeout
        self.deadline = deadline
        self.started = monotonic()
        self.attempt = Attempt(
            min(self.started + timeout.total, deadline.at),
            timeout.connect if timeout.connect < timeout.total else timeout.total,
            cancel,
        )
        self.bound = ""

    def continue_within(self, seconds: float, bound: str) -> None:
        """Bound the time to the next piece of a stream.

        Args:
            seconds: From now.
            bound: What to call it in an error's message.
        """
        last = min(self.started + self.timeout.total, self.deadline.at)
        wanted = monotonic() + seconds
        self.attempt.ends = min(last, wanted)
        self.bound = bound if wanted < last else ""


def translated(error: Exception, of: Circumstances) -> APIError | CancelledError | ConfigurationError:
    """Return our error for a failure."""
    host = Origin.of(of.url).host
    cancel = of.attempt.cancel
    if cancel is not None and cancel.cancelled:
        return CancelledError(f"the call to {host} was stopped: {cancel.reason or 'cancelled'}")
    taken = monotonic() - of.started
    if monotonic() >= of.deadline.at:
        return DeadlineExceededError(f"the deadline passed while waiting for {host} (this attempt: {taken:.1f} s)")
    exhausted = _found(error, lambda found: isinstance(found, OSError) and found.errno in EXHAUSTED)
    if exhausted is not None:
        return APIError(f"no connection to {host} could be opened: {_exhausted(exhausted)}", retryable=True)
    if _is_timeout(error):
        return _timed_out(error, of, host, taken)
    return _broken(error, of, host)


def _timed_out(error: Exception, of: Circumstances, host: str, taken: float) -> APITimeoutError:
    connecting = _found(error, lambda found: isinstance(found, requests.exceptions.ConnectTimeout))
    if of.attempt.stage == "connecting" or connecting is not None:
        return APITimeoutError(
            f"no connection to {_named(host, of.proxy)} within {taken:.1f} s (timeout connect {of.attempt.connect:g} s). Nothing "
            "was sent. Check base_url, the network and the proxy, or raise timeout=Timeout(connect=...)",
            retryable=True,
        )
    bound = of.bound or f"timeout {of.timeout.total:g} s"
    if of.attempt.stage == "sending":
        return APITimeoutError(
            f"{host} did not accept the whole request within {taken:.1f} s ({bound}). Raise timeout= if requests are that long",
            retryable=True,
        )
    return APITimeoutError(
        f"{host} did not finish its answer within {taken:.1f} s ({bound}). It may have been billed. "
        "Raise timeout= if answers take that long",
        retryable=True,
    )


def _broken(error: Exception, of: Circumstances, host: str) -> APIConnectionError | ConfigurationError:
    certificate = _tls_problem(error)
    if certificate:
        return APIConnectionError(
            f"TLS with {host} failed: {certificate}. Behind a company proxy, set REQUESTS_CA_BUNDLE to its CA "
            "file (PEM), or pass a requests.Session whose verify is that file",
            fatal=isinstance(certificate, ssl.SSLCertVerificationError),
        )
    refusal = _proxy_refusal(error)
    if refusal:
        return APIConnectionError(
            f"the proxy refused the tunnel to {host}: {refusal}. Check HTTPS_PROXY (http://user:password@host:port) and NO_PROXY",
            fatal=True,
        )
    if _found(error, lambda found: isinstance(found, requests.exceptions.InvalidSchema) and "SOCKS" in str(found)):
        return ConfigurationError(NO_SOCKS, fatal=True)
    unknown = _found(error, _is_unknown_host)
    if unknown is not None:
        return APIConnectionError(
            f"there is no host {_named(host, of.proxy)} ({unknown}). Check {'the proxy' if of.proxy else 'base_url'}",
            fatal=not getattr(unknown, "has_been_known", False),
        )
    address = _bad_address(error)
    if address is not None:
        return APIConnectionError(f"{host!r} cannot be called ({type(address).__name__}). Check base_url", fatal=True)
    return APIConnectionError(f"no answer from {host}: {_described(error)}", retryable=True)


def without_request(error: BaseException) -> BaseException:
    """Return the error without the request and its headers, which hold the key."""
    for found in _related(error):
        if isinstance(found, requests.exceptions.RequestException):
            found.request = found.response = None
    return error


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


def _found(error: BaseException, wanted: Any) -> BaseException | None:
    return next((found for found in _related(error) if wanted(found)), None)


def _is_timeout(error: BaseException) -> bool:
    kinds = (TimeoutError, requests.exceptions.Timeout, urllib3.exceptions.TimeoutError)
    # A refused connection is a timeout as well, in urllib3's tree of errors. With a number it is the operating system's: the
    # peer is gone (ETIMEDOUT), and none of our timeouts has expired.
    return any(
        isinstance(found, kinds)
        and not isinstance(found, urllib3.exceptions.NewConnectionError)
        and getattr(found, "errno", None) is None
        for found in _related(error)
    )


def _is_unknown_host(error: BaseException) -> bool:
    return isinstance(error, UnknownHostError) or (isinstance(error, socket.gaierror) and error.errno in UNKNOWN)


def _tls_problem(error: BaseException) -> ssl.SSLError | None:
    """Return the TLS error that makes a retry useless; a lost connection is not one."""
    broke_off = (ssl.SSLEOFError, ssl.SSLZeroReturnError, ssl.SSLSyscallError)
    for found in _related(error):
        if isinstance(found, ssl.SSLError) and not isinstance(found, broke_off):
            return found
    return None


def _bad_address(error: BaseException) -> BaseException | None:
    kinds = (
        InvalidHostError,
        requests.exceptions.InvalidURL,
        requests.exceptions.InvalidSchema,
        requests.exceptions.MissingSchema,
        UnicodeError,
    )
    return _found(error, lambda found: isinstance(found, kinds))


def _proxy_refusal(error: BaseException) -> str:
    """Return the status with which a proxy permanently refused a tunnel; "" if it was something else."""
    for found in _related(error):
        if isinstance(found, TunnelRefusedError) or "Tunnel connection failed" in str(found):
            status = re.search(r": (4\d\d\b.{0,60})", str(found))
            if status:
                return status[1]
    return ""


def _exhausted(error: BaseException) -> str:
    number = getattr(error, "errno", None)
    words = os.strerror(number or 0)
    limit = _descriptor_limit()
    return (
        f"{words}. This process has no file descriptors left{limit}; nothing was sent. Raise the limit (ulimit -n), "
        "close what is not needed, or use fewer max_workers"
    )


def _descriptor_limit() -> str:
    try:
        import resource
    except ImportError:  # Windows
        return ""
    return f" ({resource.getrlimit(resource.RLIMIT_NOFILE)[0]} file descriptors)"


def _named(host: str, proxy: str | None) -> str:
    if not proxy:
        return repr(host)
    return f"the proxy {Origin.of(proxy).host!r}"


def _described(error: BaseException) -> str:
    """Say what happened in a few words; the innermost error is the most precise, and quotes no URL."""
    inner: list[BaseException] = [found for found in _related(error) if isinstance(found, (OSError, http.client.HTTPException))]
    plain = [found for found in inner if not isinstance(found, requests.exceptions.RequestException)]
    found = (plain or [error])[-1]
    return f"{type(found).__name__}: {found}"[:300] if plain else type(found).__name__
