"""How does each provider speak? One file a dialect; this one only says which paths belong to which.

Every dialect is written from its provider's published reference, never from what our own client sends.
"""

from __future__ import annotations

import re
from functools import lru_cache

from .anthropic import Anthropic
from .azure import Azure
from .base import Call, Dialect
from .batch_paths import find as find_batch
from .bedrock import Bedrock
from .claude import ClaudeInFoundry, ClaudeOnBedrock, ClaudeOnVertex
from .cohere import Cohere
from .google import Gemini
from .hosts import HOSTS, Host
from .ollama import Ollama
from .openai import OpenAI
from .responses import Responses
from .vertex import TokenEndpoint, Vertex

__all__ = ["BASE_PATHS", "Call", "Dialect", "base_path", "route"]

_OPENAI, _AZURE, _GEMINI, _VERTEX, _ANTHROPIC, _OLLAMA = OpenAI(), Azure(), Gemini(), Vertex(), Anthropic(), Ollama()
_BEDROCK, _COHERE = Bedrock(), Cohere()
_CLAUDE_ON_VERTEX, _CLAUDE_ON_BEDROCK, _CLAUDE_IN_FOUNDRY = ClaudeOnVertex(), ClaudeOnBedrock(), ClaudeInFoundry()

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
    "/anthropic/v1/messages": (_CLAUDE_IN_FOUNDRY, "chat"),
    "/anthropic/v1/messages/count_tokens": (_CLAUDE_IN_FOUNDRY, "count"),
    "/v2/chat": (_COHERE, "chat"),
    "/v2/embed": (_COHERE, "embed"),
    "/v1beta/models": (_GEMINI, "models"),
    "/api/chat": (_OLLAMA, "chat"),
    "/api/embed": (_OLLAMA, "embed"),
    "/api/tags": (_OLLAMA, "models"),
    "/token": (TokenEndpoint(), "token"),
}
_DEPLOYMENT = re.compile(r"/openai/deployments/([^/]+)/(chat/completions|embeddings)")
_GEMINI_MODEL = re.compile(r"/v1(?:beta|alpha)?/(?:models|tunedModels)/([^/:]+):(\w+)")
_VERTEX_MODEL = re.compile(r"/v1(?:beta1)?/(?:projects/[^/]+/locations/[^/]+/)?publishers/google/models/([^/:]+):(\w+)")
_CLAUDE_MODEL = re.compile(
    r"/v1/projects/[^/]+/locations/[^/]+/publishers/anthropic/models/([^/:]+):(rawPredict|streamRawPredict)"
)
_PARTNERS = re.compile(r"/v1(?:beta1)?/projects/[^/]+/locations/[^/]+/endpoints/openapi/chat/completions")
_AMAZON_MODEL = re.compile(r"/model/(.+)/(converse|converse-stream|invoke|invoke-with-response-stream)")
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
    "bedrock": "",
    "cohere": "",
    "anthropic-bedrock": "",
    "anthropic-vertex": "/v1",
    "anthropic-foundry": "/anthropic",
    "vertex-partner": "",
    **{name: f"/hosts/{name}{host.path}" for name, host in HOSTS.items() if name not in ("ollama", "vertex-partner")},
}


def base_path(provider: str) -> str:
    """Return what follows the simulator's URL in a provider's base URL; an unknown host gets `/hosts/NAME/v1`."""
    return BASE_PATHS.get(provider, f"/hosts/{provider}/v1")


def route(call: Call) -> Dialect:
    """Find the dialect of a path, and note on the call what the path asks for (action "" for nothing known)."""
    path = call.path
    if whose := find_batch(call):
        return {"anthropic": _ANTHROPIC, "gemini": _GEMINI}.get(whose) or _nearest(path)
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
    if path.startswith(("/model/", "/v1/projects/", "/v1beta1/projects/")) and (found := _in_a_cloud(call)) is not None:
        return found
    if match := _HOST.fullmatch(path):
        call.action = _ACTIONS[match[3]]
        return _host(match[1])
    return _nearest(path)


def _in_a_cloud(call: Call) -> Dialect | None:
    """Find the dialect of a path of Amazon's, or of a publisher's on Vertex AI."""
    if match := _AMAZON_MODEL.fullmatch(call.path):
        call.model, call.action = match[1], "stream" if match[2].endswith("-stream") else "chat"
        if match[2].startswith("converse"):
            return _BEDROCK
        if "embed" in call.model:
            call.action = "embed"
            return _BEDROCK
        return _CLAUDE_ON_BEDROCK
    if match := _CLAUDE_MODEL.fullmatch(call.path):
        call.model, call.action = match[1], "stream" if match[2] == "streamRawPredict" else "chat"
        return _CLAUDE_ON_VERTEX
    if _PARTNERS.fullmatch(call.path):
        call.action = "chat"
        return _host("vertex-partner")
    return None


@lru_cache(maxsize=256)
def _host(name: str) -> OpenAI:
    return OpenAI(HOSTS.get(name) or Host(name, limits="openai"))


def _nearest(path: str) -> Dialect:
    """Return the dialect in which to say that there is nothing at this path."""
    for start, dialect in (
        ("/v1/messages", _ANTHROPIC),
        ("/model", _BEDROCK),
        ("/v2", _COHERE),
        ("/anthropic", _CLAUDE_IN_FOUNDRY),
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
