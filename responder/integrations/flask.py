"""How does a Flask view stream an answer? `stream_response(stream)`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from responder.integrations import missing
from responder.integrations.sse import HEARTBEAT, Format, chunks_of
from responder.integrations.wsgi import client_watch, warn_about_worker

try:
    import flask
except ModuleNotFoundError as error:
    raise missing("Flask", "flask") from error


def stream_response(
    stream: Iterable[Any],
    *,
    format: Format = "events",  # noqa: A002 - the plain word
    heartbeat: float | None = HEARTBEAT,
) -> flask.Response:
    """Return a response that shows a stream as it comes, and cancels it when the browser leaves. Call it in a view.

        @app.get("/ask")
        def ask():
            return stream_response(gpt.stream(flask.request.args["prompt"]))

    Args:
        stream: A Stream, MergedStreams, a Run, or any iterable of texts or JSON objects.
        format: "events" (server-sent events, see `responder.integrations.sse`) or "text" (plain text, as it comes).
        heartbeat: Seconds of silence after which a comment is sent, so that proxies and servers see activity; None: never.

    Raises:
        ConfigurationError: An unknown format, or one that cannot show this source.
    """
    environ = flask.request.environ
    warn_about_worker(environ)
    chunks, headers = chunks_of(stream, format, heartbeat, gone=client_watch(environ))
    return flask.Response(chunks, headers=headers, direct_passthrough=True)
