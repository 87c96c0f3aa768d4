"""Where under its base URL is a method? A base URL may have a query of its own, which a gateway wants with every request."""

from __future__ import annotations


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


def ends_with(base_url: str, ending: str) -> bool:
    """Return whether the path of a base URL ends so."""
    return base_url.partition("?")[0].rstrip("/").endswith(ending)
