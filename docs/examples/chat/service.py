"""A chat service: it streams Gemini's answers, from Vertex AI unless RESPONDER_MODEL says otherwise.

uvicorn service:app --port 8502
"""

from __future__ import annotations

import os
from typing import Annotated, Literal

from fastapi import FastAPI, Response
from pydantic import BaseModel, Field

from responder import Timeout, for_model
from responder.integrations.starlette import stream_response

# "vertex:..." is VertexAIResponder: Google's default credentials, and GOOGLE_CLOUD_PROJECT where they name no project.
MODEL = os.environ.get("RESPONDER_MODEL", "vertex:gemini-2.5-flash")
gemini = for_model(MODEL, system="You are a friendly assistant. Answer briefly.", timeout=Timeout(total=300, first=30, gap=30))

app = FastAPI(title="Chat")


class Turn(BaseModel):
    """What one side said."""

    role: Literal["user", "assistant"]
    content: Annotated[str, Field(min_length=1)]


class Chat(BaseModel):
    """A conversation; its last turn is the question."""

    turns: Annotated[list[Turn], Field(min_length=1)]


@app.get("/model")
def model() -> str:
    """Tell who answers."""
    return MODEL


@app.post("/chat")
def chat(chat: Chat) -> Response:
    """Answer the last turn as server-sent events; a client that leaves ends the provider's stream."""
    # A ping each second of silence lets the page notice in time that its reader has left.
    return stream_response(gemini.stream([turn.model_dump() for turn in chat.turns]), heartbeat=1)
