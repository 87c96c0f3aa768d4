"""What does a WSGI server say about its client, and about itself? Read from the request's environment."""

from __future__ import annotations

import logging
import select
import socket
from collections.abc import Callable, Mapping
from typing import Any

_log = logging.getLogger("responder.integrations")
_warned = False

# Where servers put the client's socket: gunicorn, and the development servers of Flask (werkzeug).
_SOCKETS = ("gunicorn.socket", "werkzeug.socket")


def client_watch(environ: Mapping[str, Any]) -> Callable[[], bool] | None:
    """Return a function that tells whether the client has closed its connection; None if the server does not say.

    WSGI itself notices only at the second write after that. Looking at the socket takes no byte from it, so a request that
    waits there (keep-alive) stays. A TLS socket cannot be checked this way; there the heartbeat finds out.

    Args:
        environ: The request's WSGI environment.
    """
    found = next((environ[name] for name in _SOCKETS if environ.get(name) is not None), None)
    if not isinstance(found, socket.socket) or hasattr(found, "getpeercert"):
        return None
    client = found

    def gone() -> bool:
        try:
            return _is_readable(client) and client.recv(1, socket.MSG_PEEK) == b""
        except (OSError, ValueError):  # reset by the client, or closed by the server
            return True

    return gone


def _is_readable(client: socket.socket) -> bool:
    if not hasattr(select, "poll"):  # Windows
        return bool(select.select([client], [], [], 0)[0])
    poll = select.poll()  # select() knows no more than 1024 files
    poll.register(client, select.POLLIN)
    return bool(poll.poll(0))


def warn_about_worker(environ: Mapping[str, Any]) -> None:
    """Warn once in the log if this runs in gunicorn's `sync` worker, which does not suit streams.

    It answers one request at a time and reports no activity while it streams, so gunicorn kills it after `--timeout`
    seconds (30 by default) in the middle of an answer.
    """
    global _warned
    if _warned or environ.get("wsgi.multithread") or not str(environ.get("SERVER_SOFTWARE", "")).startswith("gunicorn"):
        return
    _warned = True
    _log.warning(
        "gunicorn's sync worker streams one response at a time and is killed after --timeout seconds: "
        "start it with --worker-class gthread --threads 32 (one thread for each open stream)"
    )
