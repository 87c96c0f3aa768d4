"""Where may a key be sent? Base URLs as users give them: whole, without a password in them, and whether they are public."""

from __future__ import annotations

import ipaddress
import re
import socket
from urllib.parse import urlsplit, urlunsplit

from responder.call.replies import shown_url
from responder.values.errors import ConfigurationError

# What makes a URL that different programs read differently, or that loses what is added to it.
AMBIGUOUS = re.compile(r"[#\\\s\x00-\x1f\x7f]")


def checked_url(url: str, who: str) -> str:
    """Return a base URL without a slash at its end, and without user and password, which belong in no log or pickle."""
    url = url.strip()
    try:
        parts = urlsplit(url)
        is_url = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        is_url = is_url and not AMBIGUOUS.search(url)
    except ValueError:  # an invalid port, or brackets without an IPv6 address in them
        is_url = False
    if not is_url:
        raise ConfigurationError(f"{who} needs base_url=, such as 'https://host/v1', not {shown_url(url)!r}")
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2])).rstrip("/")


# Names that do not exist on the internet (RFC 6761, RFC 6762, RFC 8375, and what cloud providers and clusters use).
_PRIVATE_ENDINGS = (
    *(".localhost", ".local", ".internal", ".home.arpa", ".lan", ".corp", ".intranet", ".svc"),
    *(".test", ".example", ".invalid"),
)


def is_public(url: str) -> bool:
    """Return whether a URL's host can be one on the internet."""
    host = (urlsplit(url).hostname or "").rstrip(".")
    try:
        # Resolvers also take "134744072" and "0x8080808" for addresses.
        return ipaddress.ip_address(socket.inet_ntoa(socket.inet_aton(host))).is_global
    except (OSError, UnicodeError):
        pass
    try:
        return ipaddress.ip_address(host).is_global
    except ValueError:
        return "." in host and not host.endswith(_PRIVATE_ENDINGS)
