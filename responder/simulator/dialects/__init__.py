"""How does each provider speak? One file a dialect; this one only says which paths belong to which.

Every dialect is written from its provider's published reference, never from what our own client sends.
"""

from __future__ import annotations

import re
from functools import lru_cache

from .anthropic import Anthropic
from .azure import Azure
from .base import Call, Dialect
from .google import Gemini, TokenEndpoint, Vertex
from .hosts import HOSTS, Host
from .ollama import Ollama
from .openai import OpenAI
from .responses import Responses

__all__ = ["BASE_PATHS", "Call", "Dialect", "base_path", "route"]

_OPENAI, _AZURE, _GEMINI, _VERTEX, _ANTHROPIC, _OLLAMA = OpenAI(), Azure(), Gemini(), Vertex(), Anthropic(), Ollama()

_GOOGLE_ACTIONS = {"generateContent": "chat", "streamGenerateContent": "stream", "countTokens": "count"}
_GOOGLE_ACTIONS |= dict.fromkeys(("embedContent", "batchEmbedContents", "predict"), "embed")
_FIXED: dict[str, tuple[Dialect, str]] = {
    "/v1/chat/completions": (_OPENAI, "chat"),
    "/v1/embeddings": (_OPENAI, "embed"),
    "/v1/responses": (Responses(), "chat"),
    "/v1/models": (_OPENAI, "models"),
    "/v1/messages": (_ANTHROPIC, "chat"),
    "/v1/messages/count_tokens": (_ANTHROPIC, "count"),
    "/openai/v1/chat/completions": (_AZURE, "chat"),
    "/openai/v1/embeddings": (_AZURE, "embed"),
    "/openai/v1/models": (_AZURE, "models"),
    "/v1beta/models": (_GEMINI, "models"),
    "/api/chat": (_OLLAMA, "chat"),
    "/api/embed": (_OLLAMA, "embed"),
    "/api/tags": (_OLLAMA, "models"),
    "/token": (TokenEndpoint(), "token"),
}
_DEPLOYMENT = re.compile(r"/openai/deployments/([^/]+)/(chat/completions|embeddings)")
_GEMINI_MODEL = re.compile(r"/v1(?:beta|alpha)?/(?:models|tunedModels)/([^/:]+):(\w+)")
_VERTEX_MODEL = re.compile(r"/v1(?:beta1)?/(?:projects/[^/]+/locations/[^/]+/)?publishers/google/models/([^/:]+):(\w+)")
_HOST = re.compile(r"/hosts/([^/]+)(/.*)?/(chat/completions|embeddings|models)")
_ACTIONS = {"chat/completions": "chat", "embeddings": "embed", "models": "models"}

# What each provider's own SDK takes as its base URL, after the simulator's own URL.
BASE_PATHS: dict[str, str] = {
    "openai": "/v1",
    "simulated": "/v1",
    "azure": "",
    "gemini": "",
    "vertex": "",
    "anthropic": "",
    "ollama": "/v1",
    **{name: f"/hosts/{name}{host.path}" for name, host in HOSTS.items() if name != "ollama"},
}


def base_path(provider: str) -> str:
    """Return what follows the simulator's URL in a provider's base URL; an unknown host gets `/hosts/NAME/v1`."""
    return BASE_PATHS.get(provider, f"/hosts/{provider}/v1")


def route(call: Call) -> Dialect:
    """Find the dialect of a path, and note on the call what the path asks for (action "" for nothing known)."""
    path = call.path
    if fixed := _FIXED.get(path):
        dialect, call.action = fixed
        if path == "/v1/models" and "anthropic-version" in call.headers:
            return _ANTHROPIC
        return dialect
    if match := _VERTEX_MODEL.fullmatch(path):
        call.model, call.action = match[1], _GOOGLE_ACTIONS.get(match[2], "")
        return _VERTEX
    if match := _GEMINI_MODEL.fullmatch(path):
        call.model, call.action = match[1], _GOOGLE_ACTIONS.get(match[2], "")
        return _GEMINI
    if match := _DEPLOYMENT.fullmatch(path):
        call.model, call.action = match[1], _ACTIONS[match[2]]
        return _AZURE
    if match := _HOST.fullmatch(path):
        call.action = _ACTIONS[match[3]]
        return _host(match[1])
    return _nearest(path)


@lru_cache(maxsize=256)
def _host(name: str) -> OpenAI:
    return OpenAI(HOSTS.get(name) or Host(name, limits="openai"))


def _nearest(path: str) -> Dialect:
    """Return the dialect in which to say that there is nothing at this path."""
    for start, dialect in (
        ("/v1/messages", _ANTHROPIC),
        ("/v1/projects", _VERTEX),
        ("/v1beta1", _VERTEX),
        ("/v1beta", _GEMINI),
        ("/v1/models/", _GEMINI),
        ("/openai", _AZURE),
        ("/api", _OLLAMA),
    ):
        if path.startswith(start):
            return dialect
    if path.startswith("/hosts/"):
        return _host(path.split("/")[2])
    return _OPENAI
