"""A FastAPI service."""

from __future__ import annotations

from typing import Annotated

from fastapi import FastAPI, Query, Response
from starlette.middleware.gzip import GZipMiddleware

from responder import Limits, OpenAIResponder
from responder.integrations.sse import Format
from responder.integrations.starlette import stream_response

app = FastAPI()
app.add_middleware(GZipMiddleware, minimum_size=1)
gpt = OpenAIResponder("m", api_key="test-key", max_retries=0, timeout=60.0, limits=Limits(adaptive=False))


@app.api_route("/ask", methods=["GET", "HEAD"])
def ask(prompt: Annotated[list[str], Query()], format: Format = "events", heartbeat: float = 60) -> Response:  # noqa: A002 - the plain word
    """Stream the answer to one prompt, or to several side by side."""
    source = gpt.stream(prompt[0]) if len(prompt) == 1 else gpt.stream_map(prompt)
    return stream_response(source, format=format, heartbeat=heartbeat)


@app.get("/ask-async")
async def ask_async(prompt: Annotated[list[str], Query()]) -> Response:
    """Do the same in an async endpoint."""
    return ask(prompt)
