"""How is a host reached: through which proxy, and with which certificates trusted? What the environment says of both."""

from __future__ import annotations

import importlib.util
import os
import ssl
from typing import NamedTuple

import requests
from requests.utils import get_environ_proxies, select_proxy

from responder.values.errors import ConfigurationError
from responder.wire.connection import Origin
from responder.wire.dialing import EXHAUSTED
from responder.wire.masking import Secret
from responder.wire.tls import tls_context

NO_SOCKS = (
    "a SOCKS proxy is set (ALL_PROXY, HTTPS_PROXY, HTTP_PROXY), but PySocks is not installed: pip install 'requests[socks]'"
)


class Route(NamedTuple):
    """How a host is reached.

    Attributes:
        origin: Which host.
        context: Which certificates to trust; None for plain http.
        proxy: The proxy's URL; None: directly.
    """

    origin: Origin
    context: ssl.SSLContext | None
    proxy: str | None


def route(url: str) -> Route:
    """Return the way to a URL's host, from HTTPS_PROXY and its kin, NO_PROXY, REQUESTS_CA_BUNDLE and CURL_CA_BUNDLE.

    Raises:
        ConfigurationError: The CA bundle cannot be read, or PySocks is missing for a SOCKS proxy.
    """
    proxy = select_proxy(url, get_environ_proxies(url, no_proxy=None))
    if proxy is not None and "://" not in proxy:
        proxy = "http://" + proxy
    if proxy is not None and proxy.lower().startswith("socks") and importlib.util.find_spec("socks") is None:
        raise ConfigurationError(NO_SOCKS, fatal=True)
    origin = Origin.of(url)
    hidden = Secret(proxy) if proxy is not None else None  # it may hold a password
    return Route(origin, _trusting_context() if origin.scheme == "https" else None, hidden)


def _trusting_context() -> ssl.SSLContext:
    bundle = os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE") or requests.utils.DEFAULT_CA_BUNDLE_PATH
    try:
        return tls_context(bundle)
    except OSError as error:
        if error.errno in EXHAUSTED:
            raise  # not the bundle's fault
        raise ConfigurationError(
            f"the CA bundle {bundle!r} cannot be read ({error}): check REQUESTS_CA_BUNDLE and CURL_CA_BUNDLE", fatal=True
        ) from error
