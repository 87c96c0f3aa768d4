"""Mocks and agents that patch `requests` for the whole process: a call without `session=` goes where they see it."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import requests_mock
import responses
import vcr
from servers import Peer, always, in_turn, reply, reply_body, silent

from responder import APIConnectionError, APITimeoutError, CancelledError, CancelToken, DeadlineExceededError, RateLimitError
from responder.wire import patches
from responder.wire.patches import Way

URL = "http://model.example/v1/chat/completions"


def test_nothing_is_patched_by_default() -> None:
    """Otherwise each call would take the slow way."""
    assert patches.way(patches.seen()) is Way.DIRECT


# --- Mocks ------------------------------------------------------------------------------------------------------------


def test_responses_answers_a_responder_without_a_session(responder_for: Any) -> None:
    """Nothing is sent for real, and nothing is billed."""
    responder = responder_for("http://model.example")
    with responses.RequestsMock() as mock:
        mock.post(URL, body=reply_body("mocked"), content_type="application/json")
        assert responder.answer("Hi").text == "mocked"
        assert mock.calls[0].request.headers["Authorization"] == "Bearer test-key"
        mock.replace(responses.POST, URL, status=429, headers={"Retry-After": "7"})
        with pytest.raises(RateLimitError) as caught:
            responder.answer("Hi")
        assert caught.value.retry_after == 7.0


@responses.activate
def test_a_call_that_responses_does_not_know_is_refused(responder_for: Any) -> None:
    """Not sent."""
    with pytest.raises(APIConnectionError):
        responder_for("http://model.example").answer("Hi")


def test_requests_mock_answers_a_responder_without_a_session(responder_for: Any) -> None:
    """The same for requests-mock, which patches a session's choice of adapter."""
    responder = responder_for("http://model.example")
    with requests_mock.Mocker() as mock:
        mock.post(URL, content=reply_body("mocked"))
        assert responder.answer("Hi").text == "mocked"
        assert responder.map(["a", "b"], max_workers=2).texts() == ["mocked", "mocked"]
        assert mock.call_count == 3


def test_vcr_records_and_plays_a_responder_without_a_session(serve: Any, responder_for: Any, tmp_path: Path) -> None:
    """The same for vcrpy, which patches urllib3's connections."""
    recorder = vcr.VCR(cassette_library_dir=str(tmp_path), filter_headers=["authorization"])
    server = serve(always())
    responder = responder_for(server)
    with recorder.use_cassette("one.yaml"):
        assert responder.answer("Hi").text == "Hello."
    with recorder.use_cassette("one.yaml", record_mode="none") as cassette:
        assert responder.answer("Hi").text == "Hello."
        assert cassette.play_count == 1
    assert len(server.requests) == 1
    assert "test-key" not in (tmp_path / "one.yaml").read_text()


def test_a_stream_is_mocked_as_well(responder_for: Any) -> None:
    """Streams go the same way."""
    body = (
        b'data: {"choices": [{"index": 0, "delta": {"content": "mocked"}}]}\n\n'
        b'data: {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}\n\ndata: [DONE]\n\n'
    )
    with responses.RequestsMock() as mock:
        mock.post(URL, body=body, content_type="text/event-stream")
        with responder_for("http://model.example").stream("Hi") as stream:
            assert "".join(stream) == "mocked"


def test_when_the_mock_is_gone_calls_are_sent_again(serve: Any, responder_for: Any) -> None:
    """A responder that lives longer than a test's mock is not spoilt by it."""
    server = serve(always())
    responder = responder_for(server)
    assert responder.answer("before").text == "Hello."
    with responses.RequestsMock() as mock:
        mock.post(f"{server.url}/v1/chat/completions", body=reply_body("mocked"))
        assert responder.answer("mocked").text == "mocked"
    assert responder.answer("after").text == "Hello."
    assert [request.prompt for request in server.requests] == ["before", "after"]
    assert server.connections == 1


def test_a_session_class_of_the_programs_own_is_used(serve: Any, responder_for: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some programs replace `requests.Session`."""
    seen = []

    class Watched(requests.Session):
        def request(self, *arguments: Any, **keywords: Any) -> Any:
            seen.append(arguments[0])
            return super().request(*arguments, **keywords)

    monkeypatch.setattr(requests, "Session", Watched)
    assert responder_for(serve(always())).answer("Hi").text == "Hello."
    assert seen == ["POST"]


def test_a_hook_of_every_session_is_called(serve: Any, responder_for: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some programs wrap `Session.__init__` to register one."""
    seen = []
    real = requests.Session.__init__

    def with_hook(self: requests.Session) -> None:
        real(self)
        self.hooks["response"].append(lambda response, **_: seen.append(response.status_code))

    monkeypatch.setattr(requests.Session, "__init__", with_hook)
    responder_for(serve(always())).answer("Hi")
    assert seen == [200]


# --- Agents -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def spans() -> Iterator[Any]:
    """OpenTelemetry's instrumentation of requests, and what it has seen."""
    from opentelemetry.instrumentation.requests import RequestsInstrumentor
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    RequestsInstrumentor().instrument(tracer_provider=provider)
    try:
        yield exporter
    finally:
        RequestsInstrumentor().uninstrument()


def test_opentelemetry_sees_each_request_and_its_trace_reaches_the_provider(serve: Any, responder_for: Any, spans: Any) -> None:
    """A span for each call, over our own connections, with the header that carries the trace on."""
    server = serve(always())
    responder = responder_for(server)
    assert responder.map(["Hi"] * 4, max_workers=2).ok
    with responder.stream("Hi") as stream:
        list(stream)
    found = spans.get_finished_spans()
    assert len(found) == 5
    assert {span.name for span in found} == {"POST"}
    assert all("traceparent" in request.headers for request in server.requests)
    assert server.connections <= 2
    assert "test-key" not in str([dict(span.attributes) for span in found])


def test_under_opentelemetry_deadlines_and_cancels_hold(serve: Any, responder_for: Any, spans: Any) -> None:
    """The span stands around our own socket, which is bounded as ever."""
    server = serve(silent)
    responder, token = responder_for(server), CancelToken()
    with pytest.raises(DeadlineExceededError):
        responder.answer("Hi", deadline=1.0)
    with pytest.raises(APITimeoutError):
        responder.answer("Hi", timeout=1.0)
    server.wait_for(2)
    threading.Thread(target=lambda: (server.wait_for(1), token.cancel())).start()
    with pytest.raises(CancelledError):
        responder.answer("Hi", cancel=token)
    assert len(spans.get_finished_spans()) == 3


SENTRY = """
    import sys, warnings
    warnings.simplefilter("ignore")
    import sentry_sdk
    from responder import OpenAIResponder

    events = []
    sentry_sdk.init(
        dsn="http://key@127.0.0.1:9/1",
        traces_sample_rate=1.0,
        auto_enabling_integrations=False,
        shutdown_timeout=0,
        before_send_transaction=lambda event, hint: events.append(event),
    )
    gpt = OpenAIResponder("m", api_key="secret-key", base_url=sys.argv[1] + "/v1", max_retries=0)
    with sentry_sdk.start_transaction(name="t"):
        assert gpt.answer("Hi").text == "Hello."
    spans = [span for event in events for span in event["spans"] if span["op"] == "http.client"]
    print(len(spans), "secret-key" in repr(events))
"""


def test_sentry_sees_each_request(serve: Any) -> None:
    """It patches `http.client`, so calls go down to there."""
    server = serve(always())
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(SENTRY), server.url],
        capture_output=True, text=True, timeout=60, check=False, env=os.environ.copy(),
    )  # fmt: skip
    assert done.stdout.strip() == "1 False", done.stderr
    assert "sentry-trace" in server.requests[0].headers


BEFORE = """
    import sys, warnings
    warnings.simplefilter("ignore")
    import responses
    mock = responses.RequestsMock()
    mock.start()
    mock.post("http://model.example/v1/chat/completions", body=sys.argv[1].encode(), content_type="application/json")
    from responder import OpenAIResponder
    print(OpenAIResponder("m", api_key="k", base_url="http://model.example/v1").answer("Hi").text)
"""


def test_a_patch_from_before_the_import_is_noticed() -> None:
    """What stands there at import need not be the original."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(BEFORE), reply_body("mocked").decode()],
        capture_output=True, text=True, timeout=60, check=False, env=os.environ.copy(),
    )  # fmt: skip
    assert done.stdout.strip() == "mocked", done.stderr


def test_a_patched_call_that_is_silent_ends_at_its_timeout(serve: Any, responder_for: Any) -> None:
    """The slow way is bounded as a session of the user's is."""
    server = serve(in_turn(silent, always()))
    responder = responder_for(server)
    with requests_mock.Mocker(real_http=True):
        with pytest.raises(APITimeoutError):
            responder.answer("Hi", timeout=0.3)
        assert responder.answer("Hi").text == "Hello."


def test_patched_calls_keep_no_cookies(serve: Any, responder_for: Any) -> None:
    """One caller's cookie must not be sent for another caller, whichever way calls go."""

    def handler(peer: Peer) -> None:
        while peer.receive() is not None:
            peer.send(reply(Set_Cookie="tenant=a; Path=/"))

    server = serve(handler)
    responder = responder_for(server)
    with requests_mock.Mocker(real_http=True):
        responder.answer("Hi")
        responder.answer("Hi")
    assert all("cookie" not in request.headers for request in server.requests)
    assert server.connections == 1


def test_many_threads_under_a_mock_get_their_own_answers(responder_for: Any) -> None:
    """Each call's session work has a thread of its own."""
    import json

    def said(request: Any, context: Any) -> bytes:
        return reply_body("to " + json.loads(request.body)["messages"][-1]["content"])

    with requests_mock.Mocker() as mock:
        mock.post(URL, content=said)
        prompts = [f"prompt {number}" for number in range(100)]
        assert responder_for("http://model.example").map(prompts, max_workers=16).texts() == [
            f"to {prompt}" for prompt in prompts
        ]
