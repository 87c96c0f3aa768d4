"""Ollama's native chat API.

Source: https://github.com/ollama/ollama/blob/main/docs/api.md (read 2026-08).
"""

# ruff: noqa: ARG002 - one signature for all dialects, of which each uses what it needs
from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any, ClassVar

from responder.simulator.answers import Question, Spoken, message_tokens, pieces
from responder.simulator.reply import Event, Problem, Reply, encode, refuse, to_bytes

from .base import Call, Dialect, bearer, new_id, texts, whole_number
from .embeddings import read_ollama, write_ollama

_NDJSON_TYPE = "application/x-ndjson"
_WORDS = {
    "authentication": "unauthorized",
    "missing_path": "404 page not found",
    "rate": "too many requests",
    "overloaded": "server busy, please try again.  maximum pending requests exceeded",
    "server": "an error was encountered while running the model",
}
_FINISH = {"length": "length", "filter": "stop", "tool": "stop", "stop": "stop", "stop_sequence": "stop"}


class Ollama(Dialect):
    """Ollama below `/api`: JSON lines, streamed unless told otherwise."""

    name: ClassVar[str] = "ollama"
    heartbeat = b"\n"

    def key(self, call: Call) -> str:
        """Return the bearer token; a local Ollama has none."""
        return bearer(call.headers)

    def check_key(self, call: Call, accepted: Iterable[str] | None) -> None:
        """Refuse a wrong key, if keys are checked at all."""
        if accepted is not None and self.key(call) not in accepted:
            raise refuse(401, "", kind="authentication")

    def read(self, call: Call) -> Question:
        """Read a request for a chat. Ollama does not look at the content type."""
        body = call.body
        if not call.valid_json or not isinstance(body, dict):
            raise refuse(400, "invalid character '}' looking for beginning of value")
        model = body.get("model")
        if not isinstance(model, str) or not model:
            raise refuse(400, "model is required")
        prompt, characters = "", 0
        messages = body.get("messages") or []
        for message in messages:
            role = message.get("role") if isinstance(message, dict) else None
            if role not in ("system", "user", "assistant", "tool"):
                raise refuse(400, f"invalid role: {role}")
            text = message.get("content")
            if not isinstance(text, str):
                raise refuse(400, "json: cannot unmarshal array into Go struct field ChatRequest.messages.content of type string")
            characters += len(text)
            if role == "user":
                prompt = text
        options = body.get("options") or {}
        limit = whole_number(options, "num_predict")
        wanted = body.get("format")
        return Question(
            model=model,
            prompt=prompt,
            input_tokens=message_tokens(characters, len(messages)),
            stream=body.get("stream") is not False,
            max_tokens=limit if limit is not None and limit > 0 else None,
            stop=texts(options.get("stop")),
            schema=wanted if isinstance(wanted, dict) else {} if wanted == "json" else None,
            thinking=bool(body.get("think")),
        )

    def plain(self, question: Question, spoken: Spoken) -> Reply:
        """Return one JSON object."""
        message: dict[str, Any] = {"role": "assistant", "content": spoken.text}
        if spoken.thoughts:
            message["thinking"] = spoken.thoughts
        body = {**self._line(question, message), **self._last(question, spoken)}
        return Reply(to_bytes(encode(body)), content_type="application/json; charset=utf-8")

    def stream(self, question: Question, spoken: Spoken) -> Reply:
        """Return JSON lines."""
        lines = [({"role": "assistant", "content": "", "thinking": piece}, 1) for piece in pieces(spoken.thoughts)]
        lines += [({"role": "assistant", "content": piece}, 1) for piece in pieces(spoken.text)]
        events = [
            (to_bytes(encode({**self._line(question, message), "done": False}) + "\n"), tokens) for message, tokens in lines
        ]
        last = {**self._line(question, {"role": "assistant", "content": ""}), **self._last(question, spoken)}
        events.append((to_bytes(encode(last) + "\n"), 0))
        return Reply(events=events, content_type=_NDJSON_TYPE)

    def read_embeddings(self, call: Call) -> Question:
        """Read a request for embeddings."""
        return read_ollama(call)

    def embeddings(self, question: Question) -> Reply:
        """Return bare vectors."""
        return write_ollama(question)

    def problem(self, problem: Problem) -> Reply:
        """Return `{"error": text}`."""
        message = problem.message or _WORDS.get(problem.kind, problem.kind.replace("_", " "))
        if problem.kind == "missing_model":
            message = f"model '{problem.message}' not found"
        headers = {} if problem.wait is None else {"retry-after": str(max(1, -int(-problem.wait // 1)))}
        return Reply(to_bytes(encode({"error": message})), problem.status, headers, "application/json; charset=utf-8", error=True)

    def blocked_prompt(self, question: Question) -> Reply:
        """Refuse the prompt. Ollama has no filter; this is what a proxy before it would say."""
        return self.problem(Problem(400, "invalid", "the prompt was refused"))

    def empty(self, question: Question, spoken: Spoken, *, null: bool) -> Reply:
        """Answer with an empty text."""
        return self.reply(question, Spoken())

    def stream_error(self, message: str | None) -> Event:
        """Return an error line."""
        return to_bytes(encode({"error": message or _WORDS["server"]}) + "\n"), 0

    def model_list(self, models: Iterable[str]) -> Reply:
        """List the models that are pulled."""
        listed = [{"name": name, "model": name, "modified_at": _now(), "size": 0, "digest": new_id("")} for name in models]
        return Reply(to_bytes(encode({"models": listed})), content_type="application/json; charset=utf-8")

    def _line(self, question: Question, message: dict[str, Any]) -> dict[str, Any]:
        return {"model": question.model, "created_at": _now(), "message": message}

    def _last(self, question: Question, spoken: Spoken) -> dict[str, Any]:
        return {
            "done": True,
            "done_reason": _FINISH.get(spoken.finish, spoken.finish),
            "total_duration": 1_000_000,
            "load_duration": 0,
            "prompt_eval_count": question.input_tokens,
            "prompt_eval_duration": 0,
            "eval_count": spoken.answer_tokens + spoken.thought_tokens,
            "eval_duration": 1_000_000,
        }


def _now() -> str:
    now = time.time()
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now)) + f".{int(now % 1 * 1e6):06d}Z"
