"""How does Claude speak where others host it? As Anthropic does, with other paths, keys, errors and (Bedrock) other streams.

Sources: https://docs.anthropic.com/en/api/claude-on-vertex-ai, claude-on-amazon-bedrock, claude-in-microsoft-foundry, and
Anthropic's published Python SDK (read 2026-11).
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from responder.simulator.answers import Question, Spoken
from responder.simulator.limits import LimitState
from responder.simulator.reply import Event, Problem, Reply, refuse

from .anthropic import Anthropic
from .azure import Azure
from .base import Call, bearer, new_id
from .bedrock import Bedrock
from .frames import FRAMES_TYPE, event_frame, exception_frame
from .vertex import Vertex

# Anthropic's newer SDKs send the version of its own API.
_DATE = re.compile(r"20\d\d-\d\d-\d\d")


class _Hosted(Anthropic):
    """Claude at somebody else's URL, which names the model; the body names a version instead."""

    version: ClassVar[str]
    more_fields: ClassVar[frozenset[str]] = frozenset()

    def _body(self, call: Call) -> Mapping[str, Any]:
        body: dict[str, Any] = dict(call.body)
        version = body.pop("anthropic_version", None)
        if version != self.version and _DATE.fullmatch(str(version)) is None:
            raise refuse(400, f"anthropic_version: Input should be '{self.version}'")
        if "model" in body:
            raise refuse(400, "model: Extra inputs are not permitted")
        for name in self.more_fields:
            body.pop(name, None)
        return {**body, "model": call.model}


class ClaudeOnVertex(_Hosted):
    """Claude on Vertex AI: Google's tokens and refusals, Anthropic's answers."""

    name: ClassVar[str] = "anthropic-vertex"
    version = "vertex-2023-10-16"
    _google = Vertex()

    def key(self, call: Call) -> str:
        """Return the bearer token."""
        return self._google.key(call)

    def check_key(self, call: Call, accepted: Iterable[str] | None) -> None:
        """Refuse a missing or wrong token with 401."""
        self._google.check_key(call, accepted)

    def problem(self, problem: Problem) -> Reply:
        """Return what Google says of keys, quotas and models, and what Anthropic says of the rest."""
        if problem.kind in ("invalid", "too_large", "overloaded", "server") and problem.code != "UNAUTHENTICATED":
            return super().problem(problem)
        return self._google.problem(problem)


class ClaudeOnBedrock(_Hosted):
    """Claude on Amazon Bedrock by InvokeModel: Amazon's keys and errors, Anthropic's answers, and these in frames if streamed."""

    name: ClassVar[str] = "anthropic-bedrock"
    version = "bedrock-2023-05-31"
    more_fields = frozenset({"anthropic_beta"})
    heartbeat = event_frame("chunk", {"bytes": base64.b64encode(b'{"type":"ping"}').decode()})
    _amazon = Bedrock()

    def key(self, call: Call) -> str:
        """Return Bedrock's key, or whose signature it is."""
        return self._amazon.key(call)

    def check_key(self, call: Call, accepted: Iterable[str] | None) -> None:
        """Refuse a missing or wrong key with 403."""
        self._amazon.check_key(call, accepted)

    def _body(self, call: Call) -> Mapping[str, Any]:
        if "stream" in call.body:
            raise refuse(400, "stream: Extra inputs are not permitted")
        return {**super()._body(call), "stream": call.action == "stream"}

    def stream(self, question: Question, spoken: Spoken) -> Reply:
        """Return the events of Anthropic's stream, each in a frame."""
        events = [
            (event if event == self.heartbeat else _in_a_frame(event, number), tokens)
            for number, (event, tokens) in enumerate(super().stream(question, spoken).events or ())
        ]
        return Reply(events=events, content_type=FRAMES_TYPE, headers=self._headers())

    def problem(self, problem: Problem) -> Reply:
        """Return Amazon's error body."""
        return self._amazon.problem(problem)

    def stream_error(self, message: str | None) -> Event:
        """Return the frame of an exception."""
        return exception_frame("modelStreamErrorException", message or "The model returned an error."), 0

    def limit_headers(self, state: LimitState) -> dict[str, str]:  # noqa: ARG002 - Amazon tells no limits
        """Return nothing."""
        return {}

    def _headers(self) -> dict[str, str]:
        return {"x-amzn-requestid": new_id("")}


class ClaudeInFoundry(Anthropic):
    """Claude in Microsoft Foundry: Anthropic's API below `/anthropic`, with Azure's keys."""

    name: ClassVar[str] = "anthropic-foundry"
    _azure = Azure()

    def key(self, call: Call) -> str:
        """Return the key in its header, or Entra's bearer token."""
        return call.headers.get("api-key") or call.headers.get("x-api-key") or bearer(call.headers)

    def check_key(self, call: Call, accepted: Iterable[str] | None) -> None:
        """Refuse a wrong key with 401."""
        if accepted is not None and self.key(call) not in accepted:
            raise refuse(401, "", kind="authentication")

    def problem(self, problem: Problem) -> Reply:
        """Return Azure's words for a wrong key, Anthropic's for the rest."""
        return self._azure.problem(problem) if problem.kind == "authentication" else super().problem(problem)


def _in_a_frame(event: bytes, number: int) -> bytes:
    """Return a server-sent event's JSON in a frame of Amazon's."""
    data = next(line for line in event.split(b"\n") if line.startswith(b"data: ")).removeprefix(b"data: ")
    return event_frame("chunk", {"bytes": base64.b64encode(data).decode()}, number)
