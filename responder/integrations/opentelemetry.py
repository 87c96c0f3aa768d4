"""How do traces and metrics learn of the calls? A span a call and the metrics of the GenAI conventions, once `instrument()` ran.

    from responder.integrations.opentelemetry import instrument

    instrument()    # with the program's own providers, as `opentelemetry-sdk` or `opentelemetry-instrument` has set them

Names follow the semantic conventions for generative AI (https://github.com/open-telemetry/semantic-conventions-genai, read
2026-11; their status is Development, so they are constants of our own here). What they have no name for is called `responder.*`.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar
from urllib.parse import urlsplit

from responder._version import __version__
from responder.call import observing
from responder.integrations import missing
from responder.values.answer import Answer, Usage
from responder.values.clock import monotonic
from responder.values.errors import APIError
from responder.values.summary import REFUSALS

try:
    from opentelemetry import metrics, trace
    from opentelemetry.trace import Span, SpanKind, Status, StatusCode
except ModuleNotFoundError as error:
    raise missing("opentelemetry-api", "otel") from error

T = TypeVar("T")

# The conventions' names of providers, where they are not ours.
_PROVIDERS = {
    "anthropic-bedrock": "aws.bedrock",
    "anthropic-foundry": "azure.ai.inference",
    "anthropic-vertex": "gcp.vertex_ai",
    "azure": "azure.ai.openai",
    "bedrock": "aws.bedrock",
    "gemini": "gcp.gemini",
    "mistral": "mistral_ai",
    "vertex": "gcp.vertex_ai",
    "xai": "x_ai",
}

# What the providers call their options, and what the conventions do.
_REQUEST = {
    "temperature": "gen_ai.request.temperature",
    "top_p": "gen_ai.request.top_p",
    "topP": "gen_ai.request.top_p",
    "seed": "gen_ai.request.seed",
    "n": "gen_ai.request.choice.count",
    "candidateCount": "gen_ai.request.choice.count",
}

# The conventions' own buckets of seconds and of tokens.
_SECONDS = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
_TOKENS = (1, 4, 16, 64, 256, 1024, 4096, 16384, 65536, 262144, 1048576, 4194304, 16777216, 67108864)

_CONTENT_VARIABLE = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"


def instrument(*, tracer_provider: Any = None, meter_provider: Any = None, content: bool | None = None) -> None:
    """Follow every call of this process from now on; a second time replaces the first.

    Args:
        tracer_provider: Makes the tracer; None: the program's own.
        meter_provider: Makes the meter; None: the program's own.
        content: Write prompts and answers into the spans; None: as the environment variable
            OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT says, which is no where it is not set.
    """
    if content is None:
        content = os.environ.get(_CONTENT_VARIABLE, "").strip().lower() in ("true", "1", "span_only", "span_and_event")
    tracer = trace.get_tracer("responder", __version__, tracer_provider)
    observing.observer = _Observer(tracer, _Meters(metrics.get_meter("responder", __version__, meter_provider)), content)


def uninstrument() -> None:
    """Follow no further call; the spans of calls under way are still ended."""
    observing.observer = None


class _Meters:
    """What is counted and measured."""

    def __init__(self, meter: metrics.Meter) -> None:
        def histogram(name: str, unit: str, what: str, buckets: tuple[float, ...]) -> Any:
            return meter.create_histogram(name, unit, what, explicit_bucket_boundaries_advisory=buckets)

        self.duration = histogram("gen_ai.client.operation.duration", "s", "GenAI operation duration.", _SECONDS)
        self.tokens = histogram("gen_ai.client.token.usage", "{token}", "Number of input and output tokens used.", _TOKENS)
        self.first = histogram(
            "gen_ai.client.operation.time_to_first_chunk", "s", "Time to the first piece of a stream.", _SECONDS
        )
        self.wait = histogram("responder.client.wait", "s", "Time spent waiting, on limits or between attempts.", _SECONDS)
        self.requests = meter.create_counter("responder.client.requests", "{request}", "Requests sent, repeats included.")
        self.refusals = meter.create_counter("responder.client.refusals", "{request}", "Requests refused for the rate or load.")
        self.cost = meter.create_counter("responder.client.cost", "USD", "Cost of all attempts whose price is known.")


class _Observer:
    def __init__(self, tracer: trace.Tracer, meters: _Meters, content: bool) -> None:
        self._tracer = tracer
        self._meters = meters
        self._content = content

    def watch(self, call: observing.Watched, operation: str, work: Callable[[], T]) -> T:
        dialect = call.endpoint.dialect
        about = dict(_about(call, operation))
        span = self._tracer.start_span(f"{operation} {dialect.model}", kind=SpanKind.CLIENT, attributes=about)
        watch = _Watch(call, span, about, self._meters, self._content)
        if call.question.is_streamed:
            call.watch = watch  # a short one ends before its first piece is handed out
        try:
            with trace.use_span(span, end_on_exit=False, record_exception=False, set_status_on_exception=False):
                result = work()
        except BaseException as error:
            watch.end(None, error)
            raise
        if call.question.is_streamed:
            watch.begun()
        else:
            watch.end(result if isinstance(result, Answer) else None, None)
        return result


class _Watch:
    """One call: its span, and what is measured of it when it ends."""

    def __init__(self, call: observing.Watched, span: Span, about: dict[str, Any], meters: _Meters, content: bool) -> None:
        self._span = span
        self._about = about
        self._meters = meters
        self._content = content
        self._begin = monotonic()
        self._is_streamed = call.question.is_streamed
        self._has_begun = self._has_ended = False
        # A call that steps in for another one goes on with its trace.
        self._trace = found = call.trace
        self._before = (len(found.made), found.attempts, found.waited, found.limited, found.cost, found.usage)
        self._body = call.question.body if content and span.is_recording() else b""
        if span.is_recording():
            span.set_attributes(dict(_options(call)))

    def begun(self) -> None:
        """Note that the first piece of a stream is there."""
        if self._has_begun or self._has_ended:
            return
        self._has_begun = True
        seconds = monotonic() - self._begin
        self._span.set_attribute("gen_ai.response.time_to_first_chunk", seconds)
        self._meters.first.record(seconds, self._about)

    def end(self, answer: Answer | None, error: BaseException | None) -> None:
        """Write down what came of it."""
        if self._has_ended:
            return
        if self._is_streamed and answer is not None:
            self.begun()
        self._has_ended = True
        if error is not None:
            self._about["error.type"] = type(error).__name__
        if answer is not None:
            self._about["gen_ai.response.model"] = answer.model
        self._measure()
        if self._span.is_recording():
            self._describe(answer, error)
        self._span.end()

    def _used(self) -> Usage:
        """Return the tokens of all attempts of this call."""
        now, before = self._trace.usage, self._before[5]
        if now is before:
            return Usage()
        return Usage(
            now.input_tokens - before.input_tokens,
            now.output_tokens - before.output_tokens,
            now.cached_input_tokens - before.cached_input_tokens,
            now.reasoning_tokens - before.reasoning_tokens,
            now.known,
            now.cache_write_tokens - before.cache_write_tokens,
        )

    def _measure(self) -> None:
        meters, about, found = self._meters, self._about, self._trace
        made, _, waited, limited, cost, _ = self._before
        meters.duration.record(monotonic() - self._begin, about)
        used = self._used()
        if used.known:
            meters.tokens.record(used.input_tokens, {**about, "gen_ai.token.type": "input"})
            meters.tokens.record(used.output_tokens, {**about, "gen_ai.token.type": "output"})
        for attempt in found.made[made:]:
            meters.requests.add(1, {**about, "responder.outcome": attempt.cause or "ok"})
            if attempt.cause in REFUSALS:
                meters.refusals.add(1, {**about, "responder.outcome": attempt.cause})
        on_limits = found.limited - limited
        for seconds, reason in ((on_limits, "limits"), (found.waited - waited - on_limits, "backoff")):
            if seconds > 0:
                meters.wait.record(seconds, {**about, "responder.wait.reason": reason})
        if found.cost > cost:
            meters.cost.add(found.cost - cost, about)

    def _describe(self, answer: Answer | None, error: BaseException | None) -> None:
        span, found = self._span, self._trace
        made, attempts, waited, limited, cost, _ = self._before
        span.set_attribute("responder.attempts", found.attempts - attempts)
        span.set_attribute("responder.waited", found.waited - waited)
        span.set_attribute("responder.limited", found.limited - limited)
        if found.cost > cost and found.priced:
            span.set_attribute("responder.cost", found.cost - cost)
        # The clock of spans is another one than that of attempts.
        offset = time.time_ns() - int(monotonic() * 1e9)
        for attempt in found.made[made:]:
            event = {
                "responder.outcome": attempt.cause or "ok",
                "responder.duration": attempt.ended - (attempt.sent or attempt.ended),
            }
            span.add_event("responder.attempt", event, timestamp=offset + int(attempt.ended * 1e9))
        usage = answer.usage if answer is not None else self._used()
        if usage.known:
            span.set_attribute("gen_ai.usage.input_tokens", usage.input_tokens)
            span.set_attribute("gen_ai.usage.output_tokens", usage.output_tokens)
            span.set_attribute("gen_ai.usage.cache_read.input_tokens", usage.cached_input_tokens)
            span.set_attribute("gen_ai.usage.cache_creation.input_tokens", usage.cache_write_tokens)
            span.set_attribute("gen_ai.usage.reasoning.output_tokens", usage.reasoning_tokens)
        if self._body:
            span.set_attributes(dict(_input(self._body)))
        if answer is not None:
            span.set_attribute("gen_ai.response.model", answer.model)
            span.set_attribute("gen_ai.response.finish_reasons", [answer.finish_reason])
            if answer.request_id is not None:
                span.set_attribute("gen_ai.response.id", answer.request_id)
            if self._content:
                said = [{"type": "text", "content": answer.text}]
                message = {"role": "assistant", "parts": said, "finish_reason": answer.finish_reason}
                span.set_attribute("gen_ai.output.messages", json.dumps([message]))
        if error is not None:
            # Not its message: a provider's words may quote the prompt.
            span.set_attribute("error.type", type(error).__name__)
            span.set_status(Status(StatusCode.ERROR))
            if isinstance(error, APIError) and error.status is not None:
                span.set_attribute("http.response.status_code", error.status)


def _about(call: observing.Watched, operation: str) -> Iterator[tuple[str, Any]]:
    """Yield what spans and metrics have in common."""
    dialect = call.endpoint.dialect
    yield "gen_ai.operation.name", operation
    yield "gen_ai.provider.name", _PROVIDERS.get(dialect.provider, dialect.provider)
    yield "gen_ai.request.model", dialect.model
    url = urlsplit(call.question.url)
    yield "server.address", url.hostname or ""
    yield "server.port", url.port or (443 if url.scheme == "https" else 80)


def _options(call: observing.Watched) -> Iterator[tuple[str, Any]]:
    """Yield the options that stand in a request."""
    question = call.question
    if question.is_streamed:
        yield "gen_ai.request.stream", True
    if question.max_tokens:
        yield "gen_ai.request.max_tokens", question.max_tokens
    payload = json.loads(question.body)
    for options in (payload, payload.get("generationConfig"), payload.get("options")):
        if isinstance(options, Mapping):
            for theirs, ours in _REQUEST.items():
                if isinstance(options.get(theirs), (int, float)):
                    yield ours, options[theirs]
            for theirs in ("stop", "stop_sequences", "stopSequences"):
                if isinstance(options.get(theirs), list):
                    yield "gen_ai.request.stop_sequences", [str(text) for text in options[theirs]]


def _input(body: bytes) -> Iterator[tuple[str, str]]:
    """Yield the prompt, as the conventions write messages. Images and other media are named, and not written out."""
    payload = json.loads(body)
    system = payload.get("system") or payload.get("systemInstruction") or payload.get("instructions")
    if system:
        yield "gen_ai.system_instructions", json.dumps(_parts(system))
    messages = payload.get("messages") or payload.get("contents") or payload.get("input")
    if isinstance(messages, (str, list)):
        found = [{"role": "user", "content": messages}] if isinstance(messages, str) else messages
        said = [message for message in found if isinstance(message, Mapping)]
        written = [
            {"role": message.get("role", "user"), "parts": _parts(message.get("content") or message.get("parts"))}
            for message in said
        ]
        yield "gen_ai.input.messages", json.dumps(written)


def _parts(content: Any) -> list[dict[str, str]]:
    if isinstance(content, str):
        return [{"type": "text", "content": content}]
    if isinstance(content, Mapping):
        content = content.get("parts", [content])
    parts = [part for part in content or [] if isinstance(part, Mapping)]
    return [
        {"type": "text", "content": part["text"]}
        if isinstance(part.get("text"), str)
        else {"type": str(part.get("type", "other"))}
        for part in parts
    ]
