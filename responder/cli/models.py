"""`responder models`: which providers there are, and which of them have a key."""

from __future__ import annotations

import json
import os
from urllib.parse import urlsplit, urlunsplit

import click

from responder.cli.terminal import show
from responder.providers import registry
from responder.providers.amazon import AmazonResponder
from responder.providers.vertex import GoogleCloudResponder
from responder.responder import Responder

_HEADINGS = ("PROVIDER", "CLASS", "KEY", "SET", "BASE URL")
# google-auth finds its credentials in more places than one; this variable is the one that is cheap to check.
_GOOGLE_VARIABLE = "GOOGLE_APPLICATION_CREDENTIALS"


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list.")
def models(as_json: bool) -> None:
    """List the providers, with the variable that holds each one's key and whether it is set.

    Use one as PROVIDER:MODEL, with the model's name as the provider spells it.
    """
    rows = [_row(kind) for kind in registry.all().values()]
    if as_json:
        names = [heading.lower().replace(" ", "_") for heading in _HEADINGS]
        show(json.dumps([dict(zip(names, row, strict=True)) for row in rows], indent=2))
        return
    widths = [max(map(len, column)) for column in zip(_HEADINGS, *rows, strict=True)]
    for row in (_HEADINGS, *rows):
        show("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _row(kind: type[Responder]) -> tuple[str, ...]:
    variables = (_GOOGLE_VARIABLE,) if issubclass(kind, GoogleCloudResponder) else kind.key_variables
    found = next((name for name in variables if os.environ.get(name)), None)
    if issubclass(kind, GoogleCloudResponder):
        shown, state = found or f"{_GOOGLE_VARIABLE} or gcloud", "yes" if found else "?"
    elif not variables:
        shown, state = "-", "-"
    elif issubclass(kind, AmazonResponder):
        shown, state = found or f"{variables[0]} or AWS credentials", "yes" if found else "?"
    else:
        shown, state = found or " or ".join(variables), "yes" if found else "no" if kind.key_required else "not needed"
    return kind.provider, kind.__name__, shown, state, _where(kind)


def _where(kind: type[Responder]) -> str:
    url = next((os.environ[name] for name in kind.base_url_variables if os.environ.get(name)), kind.base_url)
    if url:
        parts = urlsplit(url)  # without user and password, which some people write into a proxy's URL
        return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))
    if kind.provider == "simulated":
        return "(in this process)"
    if issubclass(kind, GoogleCloudResponder):
        return f"(by {kind.location_variables[0]})"
    if issubclass(kind, AmazonResponder):
        return "(by AWS_REGION)"
    return f"({kind.base_url_variables[0] if kind.base_url_variables else '--base-url'})"
