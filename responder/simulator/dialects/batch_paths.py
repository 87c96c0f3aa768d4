"""Which paths belong to the batch APIs, and what do they ask for?"""

from __future__ import annotations

import re

from .base import Call

_OPENAI = re.compile(r"(?P<base>/v1|/openai/v1|/openai|/hosts/[^/]+(?:/.*?)?)/(?P<rest>(?:files|batches|batch/jobs)(?:[/:].*)?)")
_ANTHROPIC = re.compile(r"/v1/messages/batches(?P<rest>/.*)?")
_GEMINI = re.compile(
    r"/v1(?:beta)?/(?P<rest>batches(?:[/:].*)?|models/[^/:]+:batchGenerateContent|files/[^/]+)|(?P<upload>/upload/v1(?:beta)?/files)"
)


def find(call: Call) -> str:
    """Return whose batches a path belongs to, and note what it asks for; "" where it belongs to none."""
    for provider, pattern in (("anthropic", _ANTHROPIC), ("gemini", _GEMINI), ("openai", _OPENAI)):
        if provider == "gemini" and not (call.path.startswith(("/v1beta", "/upload")) or "x-goog-api-key" in call.headers):
            continue  # /v1/files and /v1/batches are OpenAI's, too
        if match := pattern.fullmatch(call.path):
            found = match.groupdict()
            call.action = "batch"
            call.extra["rest"] = (found["rest"] or "").strip("/") if "upload" not in found else found["rest"] or "upload"
            call.extra["base"] = found.get("base") or ""
            return provider
    return ""
