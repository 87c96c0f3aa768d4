"""How does a Starlette or FastAPI endpoint stream an answer? `stream_response(stream)`.

Starlette's own `StreamingResponse(stream)` reads a blocking iterator in a pool of 40 threads, which all streams and all `def`
endpoints share, and does not close it when the client leaves. Here each stream has its own reader thread, and is cancelled.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

from responder.integrations import missing
from responder.integrations.sse import HEARTBEAT, AsyncChunks, Format, chunks_of

try:
    from starlette.background import BackgroundTask
    from starlette.responses import StreamingResponse
    from starlette.types import Receive, Scope, Send
except ModuleNotFoundError as error:
    raise missing("Starlette", "starlette") from error


def stream_response(
    stream: Iterable[Any],
    *,
    format: Format = "events",  # noqa: A002 - the plain word
    heartbeat: float | None = HEARTBEAT,
    status_code: int = 200,
    headers: dict[str, str] | None = None,
    background: BackgroundTask | None = None,
) -> LiveResponse:
    """Return a response that shows a stream as it comes, and cancels it when the browser leaves.

        @app.get("/ask")
        def ask(prompt: str) -> Response:
            return stream_response(gpt.stream(prompt))

    Works in `def` and `async def` endpoints alike: nothing here blocks. It needs a server that runs on asyncio (uvicorn,
    hypercorn's default).

    Args:
        stream: A Stream, MergedStreams, a Run, or any iterable of texts or JSON objects.
        format: "events" (server-sent events, see `responder.integrations.sse`) or "text" (plain text, as it comes).
        heartbeat: Seconds of silence after which a comment is sent, so that proxies see activity; None: never.
        status_code: HTTP status.
        headers: More headers, on top of ours.
        background: Run when the response is over, as Starlette does it.

    Raises:
        ConfigurationError: An unknown format, or one that cannot show this source.
    """
    chunks, own_headers = chunks_of(stream, format, heartbeat)
    return LiveResponse(chunks.awaited(), status_code, {**own_headers, **(headers or {})}, background)


class LiveResponse(StreamingResponse):
    """A streaming response that watches its client; made by `stream_response`."""

    def __init__(self, chunks: AsyncChunks, status_code: int, headers: dict[str, str], background: BackgroundTask | None) -> None:
        super().__init__(chunks, status_code=status_code, headers=headers, background=background)
        self._chunks = chunks

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the response; end the stream at its end, or as soon as the client leaves."""
        if scope.get("method") == "HEAD":
            self._chunks.cancel("only the headers were asked for")  # nothing was sent to the provider
        # Servers tell of the client's leaving here, and newer ones raise in `send`; a silent stream would not get that far.
        watch = asyncio.ensure_future(self.listen_for_disconnect(receive))
        watch.add_done_callback(lambda _: self._chunks.cancel("the client has left"))
        try:
            await self.stream_response(send)
        except OSError:
            pass  # the server's way to say, in `send`, that the client has left
        finally:
            self._chunks.cancel()
            watch.cancel()
        if self.background is not None:
            await self.background()
