"""Where is a Redis server, and with which password? Its URL may be shown, written and sent; the password may not."""

from __future__ import annotations

import os
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

from responder.values.errors import ConfigurationError
from responder.wire.masking import MASK, Secret

SCHEMES = ("redis://", "rediss://", "unix://")
"""How the URL of a server begins; everything else is a file."""

PASSWORD_VARIABLE = "REDIS_PASSWORD"  # noqa: S105 - a name
"""Where a process looks for the password of a server whose URL it was sent: neither a pickle nor a task's arguments hold one."""


def split(url: str) -> tuple[str, Secret | None]:
    """Return a URL with its password masked, and the password; None: it has none.

    Raises:
        ConfigurationError: It is no URL of a Redis server.
    """
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018 - read to be checked
    except ValueError:
        raise refused(url) from None
    is_local = parts.scheme == "unix"
    number = parts.path.strip("/")
    if not url.startswith(SCHEMES) or not (number if is_local else parts.hostname and (not number or number.isdecimal())):
        raise refused(url)
    password = Secret(unquote(parts.password)) if parts.password else None
    credentials, at, host = parts.netloc.rpartition("@")
    if password is not None:
        credentials = f"{credentials.partition(':')[0]}:{MASK}"
    options = []
    for name, value in parse_qsl(parts.query, keep_blank_values=True):
        if name == "password":
            password = Secret(value)
        options.append((name, MASK if name == "password" else value))
    query = urlencode(options, safe="/:*") if password is not None else parts.query
    return f"{parts.scheme}://{credentials}{at}{host}{parts.path}{'?' if query else ''}{query}", password


def masked_url(url: str) -> str:
    """Return a URL as it may be sent to another process, which has the password in its environment."""
    return split(url)[0]


def with_password_of_environment(shown: str) -> str:
    """Return a URL with its password, where it has come without.

    Raises:
        ConfigurationError: It is not in the environment.
    """
    if MASK not in shown:
        return shown
    password = os.environ.get(PASSWORD_VARIABLE)
    if not password:
        raise ConfigurationError(
            f"the password of {shown} does not travel: export {PASSWORD_VARIABLE} on the workers", fatal=True
        )
    return joined(shown, Secret(password))


def joined(shown: str, password: Secret | None) -> str:
    """Return the URL again, with its password."""
    return shown if password is None else shown.replace(MASK, quote(str(password), safe=""))


def refused(url: str) -> ConfigurationError:
    """Return the error for what is no URL of a Redis server; it shows no password."""
    scheme = url.partition("://")[0]
    return ConfigurationError(
        f"{scheme}://... is not the URL of a Redis server: write redis://host:6379/0 (rediss:// for TLS, "
        "unix:///path/of/its.sock), with the password, if any, percent-encoded as redis://:password@host",
        fatal=True,
    )
