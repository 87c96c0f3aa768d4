"""Which host names may the simulator be reached by? Only those of this machine.

A page of any web site can ask a server on this machine under a name of its own that resolves to 127.0.0.1 ("DNS rebinding"), and
then read the answers. The name in the Host header gives it away.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

_OWN = frozenset({"localhost", "127.0.0.1", "::1"})


class Names:
    """The names that are answered.

    Args:
        bound: The address that the server listens on.
        more: Names that the user added.
    """

    def __init__(self, bound: str, more: Iterable[str] = ()) -> None:
        self._names = _OWN | {_plain(name) for name in (bound, *more) if name}

    def include(self, host: str, local: str) -> bool:
        """Return whether a Host header names this server.

        Args:
            host: The header's value; "" (HTTP/1.0) is not from a browser, and fine.
            local: The address that the client has connected to: a server that listens on all of them is called by each.
        """
        name = _plain(host)
        return not name or name in self._names or (_is_address(name) and name == _plain(local))


def _plain(host: str) -> str:
    """Return a host without its port, brackets and closing dot, in lower case."""
    host = host.strip().lower()
    if host.startswith("["):
        return host[1:].partition("]")[0]
    if host.count(":") == 1:
        host = host.partition(":")[0]
    return host.removesuffix(".").removeprefix("::ffff:")


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
