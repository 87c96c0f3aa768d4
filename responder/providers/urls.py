"""Where under its base URL is a method? A base URL may have a query of its own, which a gateway needs with every request."""

from __future__ import annotations

import re
from urllib.parse import quote

from responder.values.errors import ConfigurationError


def under(base_url: str, path: str, *, unless: tuple[str, ...] = (), prefix: str = "") -> str:
    """Return a URL below a base URL, whose query stays at the end.

    Args:
        base_url: Where the API is.
        path: What to add, with its slash; it may have a query, too.
        unless: Endings of the base URL that make the prefix superfluous, such as "/v1".
        prefix: What goes between the two otherwise.
    """
    base, _, query = base_url.partition("?")
    base = base.rstrip("/")
    if prefix and not base.endswith(unless):
        base += prefix
    url = base + path
    return f"{url}{'&' if '?' in path else '?'}{query}" if query else url


_IN_HOST = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?")


def in_host(value: str, what: str) -> str:
    """Return a region, an account or the like, which becomes a part of a host's name: the key is sent there.

    Args:
        value: As the user, or the environment, gave it.
        what: The keyword or the variable, for the error.

    Raises:
        ConfigurationError: It could lead to another host.
    """
    if _IN_HOST.fullmatch(value) is None:
        raise ConfigurationError(f"{what}={value!r} cannot be a part of a host's name: letters, digits, - and . only", fatal=True)
    return value


def quoted(name: str, safe: str = "/@") -> str:
    """Return a model's name as a part of a path, which leads neither to another host nor to another path.

    Args:
        name: As the user gave it.
        safe: What may stand in it as it is; all else is percent-encoded.

    Raises:
        ConfigurationError: It would lead elsewhere: it holds "..", an empty step or a control character.
    """
    steps = name.split("/")
    if any(step in ("", ".", "..") for step in steps) or any(ord(letter) < 0x20 or ord(letter) == 0x7F for letter in name):
        raise ConfigurationError(f"{name!r} is not a model name", fatal=True)
    return quote(name, safe=safe)


def ends_with(base_url: str, ending: str) -> bool:
    """Return whether the path of a base URL ends this way."""
    return base_url.partition("?")[0].rstrip("/").endswith(ending)
