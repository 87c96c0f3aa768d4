"""How does Vertex AI differ from the Gemini Developer API? And where do its tokens come from: Google's token endpoint.

Source: https://cloud.google.com/vertex-ai/generative-ai/docs/model-reference/inference (read 2026-08).
"""

# ruff: noqa: ARG002 - one signature for all dialects, of which each uses what it needs
from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from responder.simulator.answers import Question, Spoken
from responder.simulator.reply import Problem, Reply, encode, refuse, to_bytes

from .base import Call, bearer
from .google import JSON_TYPE, Gemini


class Vertex(Gemini):
    """Gemini on Vertex AI: bearer tokens, a little more in the answers."""

    name: ClassVar[str] = "vertex"

    def key(self, call: Call) -> str:
        """Return the bearer token, or the key of express mode."""
        return bearer(call.headers) or call.headers.get("x-goog-api-key", "")

    def check_key(self, call: Call, accepted: Iterable[str] | None) -> None:
        """Refuse a missing or wrong token with 401."""
        key = self.key(call)
        if key and (accepted is None or key in accepted):
            return
        raise refuse(
            401,
            "Request had invalid authentication credentials. Expected OAuth 2 access token, login "
            "cookie or other valid authentication "
            "credential. See https://developers.google.com/identity/sign-in/web/devconsole-project.",
            code="UNAUTHENTICATED",
        )

    def _missing_model(self, model: str) -> str:
        return (
            "Publisher Model "
            f"`projects/simulated/locations/us-central1/publishers/google/models/{model}` was not "
            "found or your project "
            "does not have access to it. Please ensure you are using a valid model version."
        )

    def problem(self, problem: Problem) -> Reply:
        """Return a google.rpc.Status; a 401 and a 403 of Vertex carry an ErrorInfo."""
        if problem.kind == "authentication":
            problem = Problem(
                problem.status,
                "invalid",
                problem.message or "Request is missing a valid token.",
                code="UNAUTHENTICATED",
            )
        return super().problem(problem)

    def _tier(self, call: Call, body: Mapping[str, Any]) -> str:
        return call.headers.get("x-vertex-ai-llm-shared-request-type") or "standard"

    def _foot(self, question: Question) -> dict[str, Any]:
        now = time.time()
        created = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now)) + f".{int(now % 1 * 1e6):06d}Z"
        return {**super()._foot(question), "createTime": created}

    def _usage(self, question: Question, spoken: Spoken | None, count: int) -> dict[str, Any]:
        tier = question.extra["tier"].upper()
        traffic = "ON_DEMAND" if tier == "STANDARD" else f"ON_DEMAND_{tier}"
        return {**super()._usage(question, spoken, count), "trafficType": traffic}


class TokenEndpoint(Gemini):
    """Google's OAuth 2 token endpoint, for credentials that refresh themselves.

    Source: https://developers.google.com/identity/protocols/oauth2/service-account and RFC 6749, section 5 (read 2026-08).
    """

    name: ClassVar[str] = "google-token"

    def problem(self, problem: Problem) -> Reply:
        """Return an error of OAuth 2: a word, and a description."""
        word = "invalid_grant" if problem.status < 500 else "internal_failure"
        body = {"error": problem.code or word, "error_description": problem.message or "The simulator refuses this token."}
        return Reply(to_bytes(encode(body)), problem.status, content_type=JSON_TYPE, error=True)
