"""Which certificates do we trust? One TLS context for each CA bundle and process."""

from __future__ import annotations

import importlib.metadata
import os
import ssl
import sys
import threading
from os import getpid

from responder.values.errors import ConfigurationError

_contexts: dict[str | None, ssl.SSLContext] = {}

# One lock for each process: in a forked child the parent's may be held by a thread that the child does not have.
_locks: dict[int, threading.Lock] = {}


def tls_context(bundle: str | None) -> ssl.SSLContext:
    """Return the process's TLS context for a CA bundle (a file or a directory); loading one costs 11 ms of CPU or more.

    Raises:
        OSError: The bundle does not exist or holds no certificate.
        ConfigurationError: truststore has been put into `ssl`, in a version that cannot work here.
    """
    with _locks.setdefault(getpid(), threading.Lock()):
        context = _contexts.get(bundle)
        if context is None:
            _refuse_old_truststore()
            if bundle is not None and os.path.isdir(bundle):  # noqa: PTH112 - a path that the environment gave
                context = ssl.create_default_context(capath=bundle)
            else:
                context = ssl.create_default_context(cafile=bundle)
            context.set_alpn_protocols(["http/1.1"])
            _contexts[bundle] = context
        return context


def _refuse_old_truststore() -> None:
    # On Windows and macOS, before 0.10.5 truststore looks at the peer's certificate in `wrap_socket`, before a handshake that
    # is done later, as ours is; it finds none, and each call fails with a message that names no cause.
    if sys.platform not in ("win32", "darwin") or not ssl.SSLContext.__module__.startswith("truststore"):
        return
    version = importlib.metadata.version("truststore")
    numbers = tuple(int(part) for part in version.split(".")[:3] if part.isdecimal())
    if numbers < (0, 10, 5):
        raise ConfigurationError(
            f"truststore {version} cannot check the certificates of our connections: pip install 'truststore>=0.10.5'",
            fatal=True,
        )
