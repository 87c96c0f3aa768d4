"""What answer does this request get? Combines script, keys, limits, dialect and simulated model; sends nothing."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs

from .answers import Question, Spoken, default_answer, speak, token_count
from .batches import Answered, Batches
from .dialects import Call, Dialect, route
from .dialects.batches import answer as answer_batch
from .faults import Fault
from .journal import Entry, Journal, secret_digest
from .limits import Limiter, LimitState
from .pace import Distribution, Draw, distribution
from .reply import Problem, RefusalError, Reply, encode, kind_of, refuse, to_bytes
from .script import Gates, Script

_DEFAULT_MODELS = ("simulated",)
_TOKEN_LIFETIME_S = 3599
_RANDOM_FAULTS = (
    Fault("random_500", http_status=500),
    Fault("random_503", http_status=503),
    Fault("reset", before_headers=True),
)
_ALWAYS_A_STATUS = frozenset({"status", "insufficient_quota", "daily_quota", "large_wait", "random_500", "random_503"})


@dataclass(frozen=True)
class Settings:
    """How the simulator behaves; the same fields as `Simulator` takes, which documents them."""

    latency: Distribution = 0.0
    tokens_per_second: Distribution | None = None
    seed: int | None = None
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    requests_per_day: int | None = None
    error_rate: float = 0.0
    spike_rate: float = 0.0
    spike: float = 5.0
    api_key: str | tuple[str, ...] | None = None
    models: tuple[str, ...] | None = None
    reply: str | Callable[[str], str] | None = None
    thinking: bool = False
    log_size: int = 100_000
    allowed_hosts: tuple[str, ...] = ()
    batch_hours: float = 0.0
    batch_tokens: int | None = None


@dataclass
class Verdict:
    """What to do with a request.

    Attributes:
        reply: What to send.
        dialect: Who is speaking.
        fault: What goes wrong on the way, None for nothing.
        latency: Seconds before the first byte.
    """

    reply: Reply
    dialect: Dialect
    fault: Fault | None
    latency: float


class Engine:
    """Decides. Used by the server's loop; only `journal`, `script` and `gates` are touched by other threads.

    Raises:
        ValueError: A setting is invalid.
    """

    def __init__(self, settings: Settings) -> None:
        for name in ("error_rate", "spike_rate"):
            if not 0 <= getattr(settings, name) <= 1:
                raise ValueError(f"{name}={getattr(settings, name)!r} is not a probability: give a number from 0 to 1.")
        if not settings.batch_hours >= 0:
            raise ValueError(f"batch_hours={settings.batch_hours!r} is invalid: give 0 or more.")
        for name in ("requests_per_minute", "tokens_per_minute", "requests_per_day", "log_size", "batch_tokens"):
            value = getattr(settings, name)
            if value is not None and value < 1:
                raise ValueError(f"{name}={value!r} is invalid: give 1 or more, or None for no limit.")
        self.settings = settings
        self.scheme = "http"  # of the server that asks
        self.journal = Journal(settings.log_size)
        self.script = Script()
        self.gates = Gates()
        self._chance = random.Random(settings.seed)
        self._latency: Draw = distribution(settings.latency, random.Random(settings.seed))
        pace = settings.tokens_per_second
        self._pace: Draw | None = None if pace is None else distribution(pace, random.Random(settings.seed))
        self._limiter = Limiter(settings.requests_per_minute, settings.tokens_per_minute, settings.requests_per_day)
        keys = (settings.api_key,) if isinstance(settings.api_key, str) else settings.api_key
        self._keys: set[str] | None = None if keys is None else set(keys)
        self._tokens_given = 0
        self.batches = Batches(settings.batch_hours, settings.batch_tokens, self._answer_line)
        answer = settings.reply
        if answer is None:
            self._answer: Callable[[str], str] = default_answer
        elif isinstance(answer, str):
            fixed = answer
            self._answer = lambda _: fixed
        else:
            self._answer = _guarded(answer)

    def read(self, method: str, target: str, headers: Any, content: bytes) -> tuple[Call, Dialect, Entry]:
        """Take a request apart, and write its line of the log.

        Args:
            method: HTTP method.
            target: Path and query as they came.
            headers: Request headers, without regard to case.
            content: The body.
        """
        path, _, query = target.partition("?")
        call = Call(
            method=method,
            path=path,
            query={name: values[0] for name, values in parse_qs(query, keep_blank_values=True).items()} if query else {},
            headers=headers,
            content=content,
        )
        dialect = route(call)
        is_file = "multipart/" in headers.get("content-type", "") or path.startswith("/upload/")
        if is_file and headers.get("x-goog-upload-command") != "start":
            call.valid_json = False  # a file: only its size goes into the log
        elif content:
            try:
                call.body = json.loads(content)
            except (ValueError, RecursionError):
                call.body, call.valid_json = content.decode("utf-8", "replace"), False
        call.extra["root"] = f"{self.scheme}://{headers.get('host', '')}"
        entry = Entry(
            dialect.provider(call) if call.action else "",
            method,
            path,
            call.query,
            headers,
            {"bytes": len(content)} if call.action == "batch" and content else call.body,
        )
        return call, dialect, entry

    def judge(self, call: Call, dialect: Dialect, entry: Entry) -> Verdict:
        """Decide what a request gets. The prompt is noted in its line of the log."""
        question: Question | None = None
        problem: Problem | None = None
        try:
            question = self._question(call, dialect)
            entry.prompt = None if question is None else question.prompt
        except RefusalError as refusal:
            problem = refusal.problem
            entry.prompt = _prompt_of(call.body)
        except (AttributeError, IndexError, KeyError, TypeError, ValueError, RecursionError) as error:
            # A field of the wrong JSON type. Real providers validate field by field; one sentence is enough here.
            problem = Problem(400, "invalid", f"The request is not valid: {type(error).__name__}: {error}")
            entry.prompt = _prompt_of(call.body)
        fault = self.script.take(entry.prompt, call.path) or self._random_fault()
        latency = self._latency()
        if self.settings.spike_rate and self._chance.random() < self.settings.spike_rate:
            latency += self.settings.spike
        if fault is not None and fault.name == "delay":
            latency += fault.seconds
        if fault is not None and fault.name in _ALWAYS_A_STATUS:
            return Verdict(self._scripted(fault, dialect), dialect, fault, latency)
        if problem is None:
            try:
                reply = self._reply(call, dialect, question, fault)
            except _LimitError as reached:
                reply = dialect.problem(reached.problem)
                reply.headers.update(dialect.limit_headers(reached.state))
            except RefusalError as refusal:
                problem = refusal.problem
            except (AttributeError, IndexError, KeyError, TypeError, ValueError, RecursionError) as error:
                problem = Problem(400, "invalid", f"The request is not valid: {type(error).__name__}: {error}")
        if problem is not None:
            reply = dialect.problem(problem)
        return Verdict(reply, dialect, fault, latency)

    def tokens_per_second(self) -> float | None:
        """Draw the pace of one stream, None for as fast as possible."""
        return None if self._pace is None else self._pace() or None

    def clear(self) -> None:
        """Forget the log, the script, the gates and what the keys have used."""
        self.journal.clear()
        self.script.clear()
        self.gates.clear()
        self._limiter.clear()
        self.batches.clear()

    # Steps ----------------------------------------------------------------------------------------------------------

    def _question(self, call: Call, dialect: Dialect) -> Question | None:
        if not call.action:
            raise refuse(404, "", kind="missing_path")
        if call.action != "batch" and call.method != ("GET" if call.action == "models" else "POST"):
            raise refuse(405, f"Not allowed to {call.method} on {call.path}.")
        if call.action == "token":
            return None
        dialect.check_key(call, self._keys)
        if call.action in ("models", "batch"):
            return None
        question = dialect.read_embeddings(call) if call.action == "embed" else dialect.read(call)
        if self.settings.models is not None:
            dialect.check_model(question, self.settings.models)
        return question

    def _reply(self, call: Call, dialect: Dialect, question: Question | None, fault: Fault | None) -> Reply:
        if call.action == "batch":
            return answer_batch(call, dialect, self.batches, dialect.provider(call))
        if question is None:
            return self._token() if call.action == "token" else dialect.model_list(self.settings.models or _DEFAULT_MODELS)
        if call.action == "count":
            return dialect.count(question)
        name = fault.name if fault else ""
        if name == "blocked_prompt":
            return dialect.blocked_prompt(question)
        if call.action == "embed":
            charged = self._charge(call, dialect, question, Spoken())
            reply = dialect.embeddings(question)
            if charged is not None:
                reply.headers.update(dialect.limit_headers(charged))
            return reply
        spoken = speak(question, self._answer, thinking=self.settings.thinking or question.thinking)
        if name in ("truncated", "blocked_answer"):
            _cut(spoken, "length" if name == "truncated" else "filter")
        elif name == "finish_word" and fault is not None:
            _cut(spoken, fault.message or "")
        elif name == "invalid_answer" and fault is not None:
            spoken = Spoken(fault.message or "", answer_tokens=token_count(fault.message or ""))
        state = self._charge(call, dialect, question, spoken)
        if name in ("empty_candidates", "null_content"):
            reply = dialect.empty(question, spoken, null=name == "null_content")
        else:
            reply = dialect.reply(question, spoken)
        if state is not None:
            reply.headers.update(dialect.limit_headers(state))
        return reply

    def _answer_line(self, path: str, body: Any) -> Answered:
        """Answer a line of a batch as a live question is answered, faults for its text included."""
        headers = {"content-type": "application/json", "anthropic-version": "2023-06-01"}
        call = Call("POST", path, {}, headers, body=body, extra={"batch": True})
        dialect, prompt = route(call), None
        try:
            question = dialect.read_embeddings(call) if call.action == "embed" else dialect.read(call)
            prompt = question.prompt
            fault = self.script.take_for(prompt)
            is_refused = fault is not None and fault.name in _ALWAYS_A_STATUS
            if fault is not None and is_refused:
                reply = self._scripted(fault, dialect)
            else:
                reply = self._reply(call, dialect, question, fault)
        except RefusalError as refusal:
            reply = dialect.problem(refusal.problem)
        except (AttributeError, IndexError, KeyError, TypeError, ValueError, RecursionError) as error:
            reply = dialect.problem(Problem(400, "invalid", f"The request is not valid: {type(error).__name__}: {error}"))
        return Answered(reply.status, json.loads(reply.whole()), prompt)

    def _charge(self, call: Call, dialect: Dialect, question: Question, spoken: Spoken) -> LimitState | None:
        if not self._limiter.active or "batch" in call.extra:
            return None
        tokens = question.input_tokens + (spoken.answer_tokens + spoken.thought_tokens) * question.count
        state = self._limiter.charge(secret_digest(dialect.key(call)), question.model, tokens)
        if not state.exhausted:
            return state
        raise _LimitError(_limit_problem(state, question.model), state)

    def _token(self) -> Reply:
        self._tokens_given += 1
        token = f"simulated-token-{self._tokens_given}"
        if self._keys is not None:
            self._keys.add(token)
        body = {"access_token": token, "expires_in": _TOKEN_LIFETIME_S, "token_type": "Bearer"}
        return Reply(to_bytes(encode(body)))

    def _random_fault(self) -> Fault | None:
        if self.settings.error_rate and self._chance.random() < self.settings.error_rate:
            return self._chance.choice(_RANDOM_FAULTS)
        return None

    def _scripted(self, fault: Fault, dialect: Dialect) -> Reply:
        kind = fault.name if fault.name in ("insufficient_quota", "daily_quota") else kind_of(fault.http_status)
        wait = fault.retry_delay
        said = fault.retry_after if isinstance(fault.retry_after, (int, float)) else None
        problem = Problem(fault.http_status, kind, fault.message or "", None, fault.error_code, wait, said_wait=said)
        reply = dialect.problem(problem)
        if fault.body is not None:
            reply.body = to_bytes(fault.body)
        if wait is not None and fault.retry_after is None:
            # The wait was meant for the body alone.
            reply.headers = {name: value for name, value in reply.headers.items() if not name.startswith("retry-after")}
        if fault.retry_after is not None:
            value = fault.retry_after
            reply.headers["retry-after"] = value if isinstance(value, str) else f"{value:g}" if value < 1e6 else str(int(value))
            reply.headers.pop("retry-after-ms", None)
        if fault.retry_after_ms is not None:
            reply.headers["retry-after-ms"] = f"{fault.retry_after_ms:g}"
        reply.headers.update({name.lower(): value for name, value in fault.headers})
        if content_type := reply.headers.pop("content-type", None):
            reply.content_type = content_type
        return reply


class _LimitError(RefusalError):
    """A limit is reached; carries where the key stands, for the headers."""

    def __init__(self, problem: Problem, state: LimitState) -> None:
        super().__init__(problem)
        self.state = state


def _guarded(answer: Callable[[str], str]) -> Callable[[str], str]:
    """Turn whatever goes wrong in a user's reply function into a 500 that names it."""

    def guarded(prompt: str) -> str:
        try:
            text = answer(prompt)
        except Exception as error:
            # The function is not ours, and the client must get an answer.
            raise refuse(500, f"The simulator's reply function raised {error!r}.", kind="server") from error
        if not isinstance(text, str):
            raise refuse(500, f"The simulator's reply function returned {text!r}, which is not a str.", kind="server")
        return text

    return guarded


def _limit_problem(state: LimitState, model: str) -> Problem:
    details: dict[str, Any] = {"model": model}
    if state.exhausted == "day":
        details |= {"limit": state.day_limit}
        return Problem(429, "daily_quota", wait=state.wait, scope="day", details=details)
    if state.exhausted == "requests":
        limit = state.request_limit or 0
        details |= {"limit": limit, "used": limit, "requested": 1}
        return Problem(429, "rate", wait=state.wait, scope="requests", details=details)
    limit = state.token_limit or 0
    details |= {"limit": limit, "used": limit - state.tokens_left, "requested": state.requested}
    if state.exhausted == "too_large":
        return Problem(429, "rate", scope="tokens", details={**details, "too_large": True})
    return Problem(429, "rate", wait=state.wait, scope="tokens", details=details)


def _cut(spoken: Spoken, finish: str) -> None:
    spoken.text = spoken.text[: max(1, len(spoken.text) // 2)]
    spoken.finish, spoken.tool, spoken.stopped_at = finish, None, None
    spoken.answer_tokens = token_count(spoken.text)


def _prompt_of(body: Any) -> str | None:
    """Find a last user text in a body that no dialect accepts, so that the log and the script can still name it."""
    if not isinstance(body, dict):
        return None
    for entry in reversed(_entries(body)):
        if isinstance(entry, dict) and entry.get("role", "user") == "user":
            content = entry.get("content", entry.get("parts"))
            if isinstance(content, str):
                return content
            if isinstance(content, list):
                return "".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    return None


def _entries(body: dict[str, Any]) -> Sequence[Any]:
    entries = body.get("messages", body.get("contents"))
    return entries if isinstance(entries, list) else []
