"""One span a call, and what is measured of it, as the SDK's own exporters in memory receive them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from responder import BadRequestError, OpenAIResponder, Price, RetryPolicy
from responder.integrations.opentelemetry import instrument, uninstrument
from responder.simulator import Fault, Simulator

QUICK = RetryPolicy(first_backoff=0.01)


class Telemetry:
    """What was exported."""

    def __init__(self) -> None:
        self._spans = InMemorySpanExporter()
        self._metrics = InMemoryMetricReader()
        self.tracer_provider = TracerProvider()
        self.tracer_provider.add_span_processor(SimpleSpanProcessor(self._spans))
        self.meter_provider = MeterProvider([self._metrics])

    @property
    def spans(self) -> list[ReadableSpan]:
        """The spans that have ended."""
        return list(self._spans.get_finished_spans())

    @property
    def span(self) -> ReadableSpan:
        """The only span."""
        (found,) = self.spans
        return found

    def points(self, name: str) -> list[Any]:
        """Return what was measured under a name."""
        data = self._metrics.get_metrics_data()
        scopes = [scope for resource in data.resource_metrics for scope in resource.scope_metrics] if data else []
        return [point for scope in scopes for found in scope.metrics if found.name == name for point in found.data.data_points]


@pytest.fixture
def telemetry() -> Iterator[Telemetry]:
    """Follow the calls of the test."""
    found = Telemetry()
    instrument(tracer_provider=found.tracer_provider, meter_provider=found.meter_provider)
    yield found
    uninstrument()


@pytest.fixture
def gpt(simulator: Simulator, responder_for: Callable[..., OpenAIResponder]) -> OpenAIResponder:
    """Ask the simulator."""
    return responder_for(simulator, base_url=simulator.base_url("openai"), max_retries=QUICK, price=Price(1, 2))


def test_a_call_is_one_span(gpt: OpenAIResponder, telemetry: Telemetry, simulator: Simulator) -> None:
    """Named and described as the conventions for generative AI say."""
    answer = gpt.answer("Hi", temperature=0.5, max_tokens=50, stop=["."])
    span = telemetry.span
    assert (span.name, span.kind) == ("chat m", trace.SpanKind.CLIENT)
    found = dict(span.attributes or {})
    assert found == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "m",
        "gen_ai.request.temperature": 0.5,
        "gen_ai.request.max_tokens": 50,
        "gen_ai.request.stop_sequences": (".",),
        "gen_ai.response.model": answer.model,
        "gen_ai.response.id": answer.request_id,
        "gen_ai.response.finish_reasons": ("stop",),
        "gen_ai.usage.input_tokens": answer.usage.input_tokens,
        "gen_ai.usage.output_tokens": answer.usage.output_tokens,
        "gen_ai.usage.cache_read.input_tokens": 0,
        "gen_ai.usage.cache_creation.input_tokens": 0,
        "gen_ai.usage.reasoning.output_tokens": 0,
        "server.address": "127.0.0.1",
        "server.port": int(simulator.base_url("openai").split(":")[2].split("/")[0]),
        "responder.attempts": 1,
        "responder.waited": found["responder.limited"],  # a few milliseconds, if the machine is busy
        "responder.limited": pytest.approx(0, abs=30),
        "responder.cost": pytest.approx((answer.usage.input_tokens + 2 * answer.usage.output_tokens) / 1e6),
    }


def test_attempts_and_waits_are_told(gpt: OpenAIResponder, telemetry: Telemetry, simulator: Simulator) -> None:
    """A repeated call is one span still, with an event for each request."""
    simulator.script(Fault.status(503, "busy"))
    gpt.answer("Hi")
    span = telemetry.span
    assert span.attributes is not None
    assert span.attributes["responder.attempts"] == 2
    assert span.attributes["responder.waited"] > 0  # type: ignore[operator]  # a number
    events = span.events
    assert [(event.attributes or {})["responder.outcome"] for event in events] == ["503", "ok"]
    assert span.start_time is not None
    assert span.end_time is not None
    # Two clocks are read one after another, between which a busy machine may take its time.
    assert all(span.start_time - 5e9 <= event.timestamp <= span.end_time + 5e9 for event in events)


def test_a_failure_is_an_error_without_the_providers_words(
    gpt: OpenAIResponder, telemetry: Telemetry, simulator: Simulator
) -> None:
    """These may quote the prompt."""
    simulator.script(Fault.status(400, "I will not say 'secret prompt'"))
    with pytest.raises(BadRequestError):
        gpt.answer("secret prompt")
    span = telemetry.span
    assert span.status.status_code is trace.StatusCode.ERROR
    assert (span.attributes or {})["error.type"] == "BadRequestError"
    assert (span.attributes or {})["http.response.status_code"] == 400
    assert "secret" not in span.to_json()


def test_no_text_is_told_unless_asked(gpt: OpenAIResponder, telemetry: Telemetry) -> None:
    """With `content=True` prompts and answers are written as the conventions write messages."""
    prompt = [{"role": "system", "content": "be brief"}, {"role": "user", "content": "secret prompt"}]
    gpt.answer(prompt)
    assert "secret" not in telemetry.span.to_json()
    instrument(tracer_provider=telemetry.tracer_provider, meter_provider=telemetry.meter_provider, content=True)
    answer = gpt.answer(prompt)
    found = telemetry.spans[1].attributes or {}
    assert json.loads(str(found["gen_ai.input.messages"])) == [
        {"role": "system", "parts": [{"type": "text", "content": "be brief"}]},
        {"role": "user", "parts": [{"type": "text", "content": "secret prompt"}]},
    ]
    assert json.loads(str(found["gen_ai.output.messages"]))[0]["parts"] == [{"type": "text", "content": answer.text}]


def test_the_usual_variable_asks_for_texts(gpt: OpenAIResponder, telemetry: Telemetry, monkeypatch: pytest.MonkeyPatch) -> None:
    """The one that other instrumentations of generative AI read."""
    monkeypatch.setenv("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT", "true")
    instrument(tracer_provider=telemetry.tracer_provider, meter_provider=telemetry.meter_provider)
    gpt.answer("secret prompt")
    assert "secret" in telemetry.span.to_json()


def test_spans_of_workers_belong_to_the_callers(gpt: OpenAIResponder, telemetry: Telemetry) -> None:
    """Of a map, and of streams side by side: all of them in one trace, under the span that was current."""
    tracer = telemetry.tracer_provider.get_tracer("test")
    with tracer.start_as_current_span("night job") as parent:
        gpt.map(["a", "b", "c"], max_workers=3)
        list(gpt.stream_map(["d", "e"]))
    children = [span for span in telemetry.spans if span.name == "chat m"]
    assert len(children) == 5
    assert {span.parent.span_id if span.parent else None for span in children} == {parent.get_span_context().span_id}


def test_a_stream_is_one_span_to_its_end(gpt: OpenAIResponder, telemetry: Telemetry) -> None:
    """It says when the first piece came, and is over with the last one."""
    with gpt.stream("Hi") as stream:
        next(stream)
        list(stream)
    found = telemetry.span.attributes or {}
    assert found["gen_ai.request.stream"] is True
    assert found["gen_ai.response.time_to_first_chunk"] > 0  # type: ignore[operator]  # a number
    assert found["gen_ai.usage.output_tokens"] == stream.usage.output_tokens
    assert len(telemetry.points("gen_ai.client.operation.time_to_first_chunk")) == 1


def test_a_stream_that_was_left_is_an_error_span(gpt: OpenAIResponder, telemetry: Telemetry, simulator: Simulator) -> None:
    """Its span does not stay open."""
    simulator.script(Fault.stall_stream(2))
    with gpt.stream("Hi") as stream:
        next(stream)
    assert (telemetry.span.attributes or {})["error.type"] == "CancelledError"


def test_fallbacks_have_spans_of_their_own(
    gpt: OpenAIResponder, telemetry: Telemetry, simulator: Simulator, responder_for: Callable[..., OpenAIResponder]
) -> None:
    """Each tells its own attempts."""
    broken = responder_for(simulator, base_url=f"{simulator.base_url('openai')}/nowhere", fallbacks=[gpt])
    broken.answer("Hi")
    assert [(span.attributes or {})["responder.attempts"] for span in telemetry.spans] == [1, 1]
    assert [span.status.status_code.name for span in telemetry.spans] == ["ERROR", "UNSET"]


def test_requests_tokens_cost_waits_and_refusals_are_measured(
    gpt: OpenAIResponder, telemetry: Telemetry, simulator: Simulator
) -> None:
    """Over all attempts."""
    simulator.script(Fault.status(503, "busy"))
    batch = gpt.map(["a", "b"], max_workers=1)
    outcomes = {point.attributes["responder.outcome"]: point.value for point in telemetry.points("responder.client.requests")}
    assert outcomes == {"503": 1, "ok": 2}
    assert [point.value for point in telemetry.points("responder.client.refusals")] == [1]
    assert [point.value for point in telemetry.points("responder.client.cost")] == [pytest.approx(batch.cost)]
    tokens = {point.attributes["gen_ai.token.type"]: point.sum for point in telemetry.points("gen_ai.client.token.usage")}
    assert tokens == {"input": batch.usage.input_tokens, "output": batch.usage.output_tokens}
    assert sum(point.count for point in telemetry.points("gen_ai.client.operation.duration")) == 2
    assert "backoff" in {point.attributes["responder.wait.reason"] for point in telemetry.points("responder.client.wait")}


def test_nothing_is_followed_after_the_end(gpt: OpenAIResponder, telemetry: Telemetry) -> None:
    """`uninstrument` takes it back."""
    uninstrument()
    gpt.answer("Hi")
    assert telemetry.spans == []


def test_without_it_nothing_is_imported(serve: Any) -> None:
    """A program that does not ask for it pays one look at a name, and a missing package is named with what to type."""
    program = """
import sys
from responder import SimulatedResponder
with SimulatedResponder("m") as simulated:
    simulated.answer("Hi")
assert not [name for name in sys.modules if name.startswith("opentelemetry")]
sys.modules["opentelemetry"] = None
try:
    import responder.integrations.opentelemetry
except ImportError as error:
    print(error)
"""
    shown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert shown.strip() == 'opentelemetry-api is not installed: pip install "responder-sdk[otel]"'
