"""A call over a session that is not ours: one that the user brought, or an ordinary one for what our own sockets do not handle.

A session may do anything, so we never wait for it without bound: it runs in a daemon thread, and the caller stops
waiting at the end of the attempt or when it is cancelled. An abandoned thread ends when the session's own read timeout (the
rest of the attempt) does.
"""

from __future__ import annotations

import contextvars
import http.cookiejar
import threading
from collections.abc import Callable
from os import getpid
from typing import Any, TypeVar

import requests
import requests.adapters
from requests.adapters import HTTPAdapter

from responder.values.sizes import default_sizes
from responder.wire.adapter import check_headers
from responder.wire.connection import Attempt, StoppedError
from responder.wire.oversize import too_large

T = TypeVar("T")

# Bytes that are asked for at once.
_PIECE = 65536

_BODY = "the body of the reply, decompressed,"


class Sessions:
    """A session, kept apart for each process: the connections of a session that was inherited by a fork are the parent's.

    Args:
        brought: The user's; None: an ordinary one, made when it is first used.
    """

    def __init__(self, brought: requests.Session | None) -> None:
        self._brought = brought
        self._process = getpid()
        self._ordinary: requests.Session | None = None
        self._left_behind: list[Any] = []

    def get(self) -> requests.Session:
        """Return the session for this process."""
        process = getpid()
        if process != self._process:
            self._process = process
            self._left_behind.append(self._ordinary)  # its locks may be held by threads that do not exist here
            self._ordinary = None
            if self._brought is not None:
                self._left_behind += _with_new_pools(self._brought)
        if self._brought is not None:
            return self._brought
        session = self._ordinary
        if session is None:
            session = self._ordinary = _ordinary_session()
        return session

    def renew(self) -> None:
        """Make another ordinary session next time: its parts were patched, or no longer are."""
        session, self._ordinary = self._ordinary, None
        if session is not None:
            session.close()

    def close(self) -> None:
        """Close the idle connections of the ordinary session; one that the user brought stays open."""
        if self._ordinary is not None and self._process == getpid():
            self._ordinary.close()


class SessionCall:
    """One attempt over a session. It raises whatever the session raises.

    Args:
        session: The session.
        attempt: The attempt's clock and stop button.
    """

    def __init__(self, session: requests.Session, attempt: Attempt) -> None:
        self._session = session
        self._attempt = attempt
        self._read = 0

    def open(self, request: requests.PreparedRequest) -> requests.Response:
        """Send a request and return the response with its body unread."""
        return self._abandonable(lambda: self._send(request))

    def whole(self, request: requests.PreparedRequest) -> tuple[requests.Response, bytes]:
        """Send a request and return the response and its body."""
        arrived: list[requests.Response] = []

        def exchange() -> tuple[requests.Response, bytes]:
            response = self._send(request)
            arrived.append(response)
            if self._attempt.cancelled:  # the caller has left, and may have checked too early
                _shut_down(response)
            return response, _content(response)

        try:
            return self._abandonable(exchange)
        except BaseException:
            for response in arrived:
                _shut_down(response)  # so that the provider notices, and the thread that reads ends
            raise

    def read(self, response: requests.Response) -> bytes:
        """Return the whole body."""
        return self._abandonable(lambda: _content(response))

    def read1(self, response: requests.Response) -> bytes:
        """Return the next bytes of the body; b"" at its end."""
        piece = self._abandonable(lambda: _next_bytes(response))
        self._read += len(piece)
        if self._read > (most := (self._attempt.sizes or default_sizes()).decompressed):
            self.close(response)
            raise too_large(_BODY, "decompressed", most)
        return piece

    def close(self, response: requests.Response) -> None:
        """Drop what is unread."""
        # close() of requests waits for a read that is under way; a shutdown ends that read first.
        _shut_down(response)
        response.close()

    def _send(self, request: requests.PreparedRequest) -> requests.Response:
        check_headers(request)
        left = self._attempt.remaining()
        connect = self._attempt.connect if left is None else min(self._attempt.connect, left)
        self._attempt.stage = "waiting"  # `requests` says with its own errors what happened before
        # `request` rather than `send`, since subclasses and agents override the one or the other, and it calls both.
        return self._session.request(
            request.method or "POST",
            request.url or "",
            headers=dict(request.headers),
            data=request.body,
            auth=_KeepHeaders(request),
            timeout=(connect, left),
            allow_redirects=False,
            stream=True,
        )

    def _abandonable(self, step: Callable[[], T]) -> T:
        finished, abandoned = threading.Event(), threading.Event()
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

        token = self._attempt.cancel
        number = token.register(finished.set) if token is not None else -1
        try:
            try:
                threading.Thread(target=run, name="responder-session", daemon=True).start()
            except (RuntimeError, MemoryError):  # no more threads: the session's own timeouts are better than no answer
                run()
            finished.wait(self._attempt.remaining())
        finally:
            if token is not None:
                token.unregister(number)
            if not outcome and not failure:
                abandoned.set()
        if self._attempt.cancelled:
            raise StoppedError
        if failure:
            raise SessionError from failure[0]
        if not outcome:
            raise TimeoutError("the time of the attempt is over")
        return outcome[0]


class SessionError(Exception):
    """A session raised its cause in its own thread, so no signal handler can have done it."""


class _KeepHeaders(requests.auth.AuthBase):
    """Our headers win over a `.netrc` entry for the host, which `requests` would otherwise prefer."""

    def __init__(self, request: requests.PreparedRequest) -> None:
        self._request = request

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers.update(self._request.headers)
        return request


def _ordinary_session() -> requests.Session:
    """Return an ordinary session: for SOCKS and https proxies, and for tools that patch its parts."""
    session = requests.Session()
    session.get_redirect_target = _nowhere  # type: ignore[method-assign]  # it would read the body to prepare the next request
    session.cookies.set_policy(http.cookiejar.DefaultCookiePolicy(allowed_domains=[]))
    for prefix, adapter in list(session.adapters.items()):
        if type(adapter) is HTTPAdapter:  # another kind was mounted there on purpose
            session.mount(prefix, requests.adapters.HTTPAdapter(pool_maxsize=256, max_retries=0))
    return session


def _nowhere(resp: requests.Response) -> None:  # noqa: ARG001 - the name that `requests` gives it
    return


def _with_new_pools(session: requests.Session) -> list[Any]:
    """Give the session's adapters new pools, without touching the locks of the old ones; return the old ones."""
    old: list[Any] = []
    for adapter in session.adapters.values():
        if isinstance(adapter, HTTPAdapter) and hasattr(adapter, "poolmanager"):
            old += [adapter.poolmanager, adapter.proxy_manager]
            adapter.proxy_manager = {}
            settings: dict[str, Any] = vars(adapter)
            adapter.init_poolmanager(settings["_pool_connections"], settings["_pool_maxsize"], block=settings["_pool_block"])
    return old


def _shut_down(response: requests.Response) -> None:
    shutdown = getattr(response.raw, "shutdown", None)
    if shutdown is not None:
        try:
            shutdown()
        except (OSError, ValueError, RuntimeError, AttributeError):
            pass  # already closed, or a mock without a socket


def _content(response: requests.Response) -> bytes:
    """Return the whole body; of one that is no success as much as its bound allows.

    Raises:
        InvalidResponseError: It is larger than its bound.
    """
    sizes = default_sizes()
    is_error = not 200 <= response.status_code < 300
    most = sizes.error_body if is_error else sizes.decompressed
    body = bytearray()
    for piece in response.iter_content(_PIECE):
        body += piece
        if len(body) > most:
            _shut_down(response)
            response.close()
            if not is_error:
                raise too_large(_BODY, "decompressed", most)
            return bytes(body[:most])
    return bytes(body)


def _next_bytes(response: requests.Response) -> bytes:
    read1 = getattr(response.raw, "read1", None)
    if read1 is None:  # a recorder's own response object
        return next(response.iter_content(_PIECE), b"")
    return read1(_PIECE, decode_content=True)  # type: ignore[no-any-return]  # a mock may return anything
