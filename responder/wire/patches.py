"""Is `requests` patched? Then a call goes where the patch sees it, and not past it over our own sockets.

Mocks (responses, requests-mock, vcrpy) replace an adapter's `send`, a session's choice of adapter or urllib3's connections:
a call that went past them would be sent for real, and be billed. Agents (OpenTelemetry, Sentry, X-Ray) wrap the same places to
time what passes through.
"""

from __future__ import annotations

import enum
import http.client
from typing import Any

import requests
import requests.adapters
import requests.sessions
import urllib3.connection
import urllib3.connectionpool


class Way(enum.Enum):
    """Which way a call goes."""

    DIRECT = "our adapter alone"
    THROUGH_SEND = "`requests.Session.send`, over our adapter"
    PLAIN = "an ordinary session, down to urllib3 and http.client"


_Session: Any = requests.sessions.Session
_Adapter: Any = requests.adapters.HTTPAdapter
_Pool: Any = urllib3.connectionpool.HTTPConnectionPool
_SecurePool: Any = urllib3.connectionpool.HTTPSConnectionPool
_Http: Any = http.client.HTTPConnection


def seen() -> tuple[Any, ...]:
    """Return what is now in the places that tools patch; equal to an earlier one as long as nothing is patched."""
    return (
        _Session.send,
        _Session.request,
        _Session.prepare_request,
        _Session.get_adapter,
        _Session.__init__,
        _Adapter.send,
        _Pool.urlopen,
        _Pool.ConnectionCls,
        _SecurePool.ConnectionCls,
        _Http.putrequest,
        _Http.getresponse,
        requests.Session,
        requests.adapters.HTTPAdapter,
    )


def way(found: tuple[Any, ...]) -> Way:
    """Return the way that the result of `seen` calls for. Does not rely on having been imported before the patch."""
    in_sessions, in_adapters = _file(requests.sessions.merge_setting), _file(requests.adapters.HTTPAdapter.__init__)
    in_pools, in_http = _file(_Pool.close), _file(_Http.close)
    homes = (*[in_sessions] * 5, in_adapters, in_pools, None, None, in_http, in_http, None, None)
    patched = [home is not None and not _is_from(what, home) for what, home in zip(found, homes, strict=True)]
    classes = (found[7], found[8], found[11], found[12])
    if any(patched[1:]) or not all(kind.__module__.startswith(("urllib3.", "requests.")) for kind in classes):
        return Way.PLAIN
    return Way.THROUGH_SEND if patched[0] else Way.DIRECT


def _file(function: Any) -> str:
    return str(function.__code__.co_filename)


def _is_from(function: Any, file: str) -> bool:
    # Wrappers copy the name and the module of what they wrap, but their code is their own.
    code = getattr(function, "__code__", None)
    return code is not None and code.co_filename == file and not hasattr(function, "__wrapped__")
