"""A Flask application."""

from __future__ import annotations

import flask

from responder import Limits, OpenAIResponder
from responder.integrations.flask import stream_response

app = flask.Flask(__name__)
gpt = OpenAIResponder("m", api_key="test-key", max_retries=0, timeout=60.0, limits=Limits(adaptive=False))


@app.get("/ask")
def ask() -> flask.Response:
    """Stream the answer to one prompt, or to several side by side."""
    given = flask.request.args
    prompts = given.getlist("prompt")
    source = gpt.stream(prompts[0]) if len(prompts) == 1 else gpt.stream_map(prompts)
    return stream_response(source, format=given.get("format", "events"), heartbeat=float(given.get("heartbeat", 60)))
