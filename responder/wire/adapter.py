"""A `requests` session whose adapter owns its sockets, so that a call can be bounded and cancelled."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import requests
from requests.adapters import BaseAdapter
from requests.cookies import RequestsCookieJar
from requests.structures import CaseInsensitiveDict

from responder.values.errors import ConfigurationError
from responder.wire.connection import proxy_authorization
from responder.wire.file_body import FileBody
from responder.wire.masking import Secret
from responder.wire.pool import Pool
from responder.wire.routes import Route, route

# URLs whose route is cached: a provider has a few; only a program that makes up URLs has more.
_MOST_ROUTES = 1024


class PooledSession(requests.Session):
    """A session over our own adapter. Nothing in it changes after it is made, so threads may share it.

    `send` is the adapter alone. What `requests` does around it (hooks, cookies, a look at where a redirect points) serves
    nothing here, and costs as much CPU as all the rest of a call. `requests.Session.send` works on it as well: where an
    agent has patched that, it is called instead, so that the agent sees the call (see `patches.py`).
    """

    def __init__(self) -> None:
        super().__init__()
        self.adapter = PoolAdapter()
        self.trust_env = False  # proxies and CA bundle are read by `routes.py`; a .netrc must not replace our key
        self.mount("https://", self.adapter)
        self.mount("http://", self.adapter)

    def send(self, request: requests.PreparedRequest, **keywords: Any) -> requests.Response:
        """Send a prepared request; `timeout` is an `Attempt`."""
        return self.adapter.send(request, timeout=keywords["timeout"])

    def get_redirect_target(self, resp: requests.Response) -> None:  # noqa: ARG002 - the name that `requests` gives it
        """Return nowhere: `requests` would read the body to prepare the next request."""
        return


class PoolAdapter(BaseAdapter):
    """The adapter: a request's bytes go out over a connection of our pool."""

    def __init__(self) -> None:
        super().__init__()
        self._pool = Pool()
        self._routes: dict[str, Route] = {}

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
        way = self.route(request.url or "")
        proxy = way.proxy if way.context is None else None  # no proxy headers inside a tunnel
        body: Any = request.body
        more = body if isinstance(body, FileBody) else ()
        parsed = self._pool.exchange(timeout, way, lambda: _request_bytes(request, proxy), more)
        return PooledResponse(parsed, request)

    def route(self, url: str) -> Route:
        """Return how a URL's host is reached, looked up once for each URL."""
        found = self._routes.get(url)
        if found is None:
            if len(self._routes) > _MOST_ROUTES:
                self._routes.clear()
            found = self._routes[url] = route(url)
        return found

    def close(self) -> None:
        """Close the idle connections."""
        self._pool.close()


class PooledResponse(requests.Response):
    """A response without the parts we never use: a cookie jar alone costs as much as reading the reply's head.

    Args:
        parsed: The reply, its body unread.
        request: What it answers.
    """

    def __init__(self, parsed: Any, request: requests.PreparedRequest) -> None:
        self._content: Any = False
        self._content_consumed = False
        self._next = None
        self.status_code = parsed.status
        # A plain dict with names in lower case: only this folder reads it, and the usual kind costs ten times as much.
        self.headers = parsed.headers
        self.raw = parsed
        self.url = request.url or ""
        self.encoding = None
        self.history = []
        self.reason = parsed.reason
        self.request = request

    @functools.cached_property
    def cookies(self) -> RequestsCookieJar:  # type: ignore[override]  # an attribute in `requests`
        """An empty jar, for agents that look into it."""
        return RequestsCookieJar()


def prepared(url: str, headers: Mapping[str, str], body: Any, *, bare: bool, method: str = "POST") -> requests.PreparedRequest:
    """Return a request that goes out as it stands.

    Args:
        url: Where to.
        headers: All of them except the length.
        body: The bytes, or a FileBody.
        bare: Only our adapter will look at it.
        method: POST, or GET with an empty body.
    """
    request = requests.PreparedRequest()
    request.method = method
    request.url = url
    request.headers = headers if bare else CaseInsensitiveDict(headers)  # type: ignore[assignment]  # a plain dict will do
    request.body = body
    return request


@functools.lru_cache(maxsize=1024)
def _request_start(url: str, proxy: str | None, method: str) -> str:
    parts = urlsplit(url)
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    host = parts.netloc.rpartition("@")[2]
    target = f"http://{host}{path}" if proxy else path
    return Secret("\r\n".join([f"{method} {target} HTTP/1.1", f"Host: {host}", *proxy_authorization(proxy)]))


def _request_bytes(request: requests.PreparedRequest, proxy: str | None) -> memoryview:
    """Return what goes over the wire, as a view: a variable that holds one shows nothing of it, and it holds the key."""
    given: Any = request.body
    body = given if isinstance(given, bytes) else b""
    length = len(given or b"")
    try:
        start = _request_start(request.url or "", proxy, request.method or "POST").encode("latin-1")
    except UnicodeEncodeError:
        raise ConfigurationError("the URL has a character that HTTP does not allow; check base_url") from None
    check_headers(request)
    return memoryview(b"%b\r\nContent-Length: %d\r\n%b\r\n\r\n%b" % (start, length, _header_lines(request.headers), body))


def _header_lines(headers: Mapping[str, str]) -> bytes:
    # The same name in another spelling is the same header: the later one wins. No variable holds a line: it may hold the key.
    names = {name.lower(): name for name in headers}
    names.pop("content-length", None)
    return "\r\n".join([f"{name}: {headers[name]}" for name in names.values()]).encode("latin-1")


def check_headers(request: requests.PreparedRequest) -> None:
    """Refuse headers that cannot be sent. No local of the frame that raises holds one of them: they hold the key.

    Raises:
        ConfigurationError: One has a line break or a character that HTTP does not allow.
    """
    problem = _problem(request.headers)
    if problem:
        raise ConfigurationError(f"a header has {problem}; check api_key and extra_headers", fatal=True)


def _problem(headers: Mapping[str, str]) -> str:
    values = Secret("".join([*headers, *headers.values()]))
    if "\n" in values or "\r" in values or "\0" in values:
        return "a line break"
    try:
        str.encode(values, "latin-1")
    except UnicodeEncodeError:
        return "a character that HTTP does not allow"
    return ""
