"""Every fault, seen by a plain socket: what the bytes and the connection really do."""

from __future__ import annotations

import json
import time
from types import SimpleNamespace

import pytest

from responder.simulator import Fault, Simulator

PROMPT = "What is baseball?"
ANSWER = f"Simulated answer to: {PROMPT}"
# Long enough for a busy machine to send what it will send; short enough to wait for nothing.
PATIENCE = 0.4


def test_a_reset_before_the_headers_is_a_reset(simulator: Simulator, wire: SimpleNamespace) -> None:
    """Not one byte, and ECONNRESET in place of an end."""
    simulator.script(Fault.reset(before_headers=True))
    seen = wire.ask(simulator)
    assert (seen.data, seen.reset) == (b"", True)
    assert (simulator.received[0].status, simulator.received[0].outcome) == (None, "fault:reset")


@pytest.mark.parametrize("stream", [False, True])
def test_a_reset_in_the_body_comes_after_the_bytes_asked_for(simulator: Simulator, wire: SimpleNamespace, stream: bool) -> None:
    """Forty bytes of body, then ECONNRESET."""
    simulator.script(Fault.reset(after_bytes=40))
    seen = wire.ask(simulator, stream=stream)
    assert seen.reset
    assert len(seen.body.split(b"\r\n", 1)[1] if stream else seen.body) == 40


@pytest.mark.parametrize("stream", [False, True])
def test_a_close_in_the_body_is_a_clean_end_too_early(simulator: Simulator, wire: SimpleNamespace, stream: bool) -> None:
    """A FIN, with less than was announced."""
    simulator.script(Fault.close(after_bytes=40))
    seen = wire.ask(simulator, stream=stream)
    assert not seen.reset
    assert not wire.is_whole(seen.data)
    assert len(seen.body.split(b"\r\n", 1)[1] if stream else seen.body) == 40


def test_a_close_before_the_headers_is_a_clean_end_without_a_byte(simulator: Simulator, wire: SimpleNamespace) -> None:
    """What a client sees when a kept-alive connection is closed under its request."""
    simulator.script(Fault.close(before_headers=True))
    seen = wire.ask(simulator)
    assert (seen.data, seen.reset, seen.timed_out) == (b"", False, False)


def test_silence_lasts_until_the_client_leaves(simulator: Simulator, wire: SimpleNamespace) -> None:
    """Nothing comes; the log says who left, and the request is in flight no longer."""
    simulator.script(Fault.silence())
    with wire.connected(simulator, PATIENCE) as connection:
        connection.sendall(wire.raw_request(wire.shape("openai")))
        seen = wire.read_all(connection)
        assert (seen.data, seen.timed_out, simulator.in_flight) == (b"", True, 1)
    assert simulator.wait_until_idle()
    assert simulator.received[0].outcome == "client left"


def test_silence_after_the_headers_announces_a_body_that_never_comes(simulator: Simulator, wire: SimpleNamespace) -> None:
    """Status line and headers, and no more."""
    simulator.script(Fault.silence_after_headers())
    seen = wire.ask(simulator, timeout=PATIENCE)
    assert (seen.status, seen.body, seen.timed_out) == (200, b"", True)


@pytest.mark.parametrize("stream", [False, True])
def test_a_stop_ends_whatever_hangs(wire: SimpleNamespace, stream: bool) -> None:
    """Stopping is quick even with a request that would wait for ever."""
    with Simulator() as simulator:
        simulator.always(Fault.silence())
        with wire.connected(simulator) as connection:
            connection.sendall(wire.raw_request(wire.shape("openai", stream=stream)))
            assert simulator.wait_for(1, 5)
            begun = time.monotonic()
            simulator.stop()
            assert time.monotonic() - begun < 5
            seen = wire.read_all(connection)
            assert (seen.data, seen.timed_out) == (b"", False)
        assert [entry.outcome for entry in simulator.received] == ["stopped"]


def test_a_drip_sends_the_body_byte_by_byte(simulator: Simulator, wire: SimpleNamespace) -> None:
    """All of it, in pieces of a byte, and then the connection is closed."""
    simulator.script(Fault.drip(0.0005))
    with wire.connected(simulator) as connection:
        connection.sendall(wire.raw_request(wire.shape("openai")))
        seen = wire.read_all(connection)
    assert json.loads(seen.body)["choices"][0]["message"]["content"] == ANSWER
    assert int(seen.headers["content-length"]) == len(seen.body)


def test_a_drip_can_begin_with_the_status_line(simulator: Simulator, wire: SimpleNamespace) -> None:
    """With headers=True the first thing to arrive is less than a status line."""
    simulator.script(Fault.drip(0.2, headers=True))
    with wire.connected(simulator) as connection:
        connection.sendall(wire.raw_request(wire.shape("openai")))
        assert connection.recv(65536) == b"H"


def test_cut_json_is_a_whole_response_with_half_of_the_json(simulator: Simulator, wire: SimpleNamespace) -> None:
    """HTTP is content, JSON is not."""
    simulator.script(Fault.cut_json())
    seen = wire.ask(simulator)
    assert wire.is_whole(seen.data)
    with pytest.raises(json.JSONDecodeError):
        json.loads(seen.body)


def test_a_short_body_is_less_than_announced(simulator: Simulator, wire: SimpleNamespace) -> None:
    """Content-Length says more than comes before the clean end."""
    simulator.script(Fault.short_body())
    seen = wire.ask(simulator)
    assert 0 < len(seen.body) < int(seen.headers["content-length"])


def test_content_faults_do_what_they_say(simulator: Simulator, wire: SimpleNamespace) -> None:
    """Wrong type, HTML, nothing, an error under 200, a redirect: one after the other."""
    simulator.script(
        Fault.wrong_content_type(), Fault.not_json(), Fault.empty_body(), Fault.error_in_200(code=502), Fault.redirect("http://127.0.0.1:9/x")
    )  # fmt: skip
    wrong, html, empty, error, redirect = (wire.ask(simulator) for _ in range(5))
    assert wrong.headers["content-type"] == "application/octet-stream"
    assert json.loads(wrong.body)["choices"]
    assert (html.status, html.body[:15]) == (200, b"<!DOCTYPE html>")
    assert (empty.status, empty.body) == (200, b"")
    assert (error.status, json.loads(error.body)["error"]["code"]) == (200, 502)
    assert (redirect.status, redirect.headers["location"]) == (307, "http://127.0.0.1:9/x")


def test_empty_answers_come_in_two_forms(simulator: Simulator, wire: SimpleNamespace) -> None:
    """No candidates at all, or one without a text."""
    simulator.script(Fault.empty_candidates(), Fault.null_content())
    assert json.loads(wire.ask(simulator).body)["choices"] == []
    assert json.loads(wire.ask(simulator).body)["choices"][0]["message"]["content"] is None


def test_truncated_and_blocked_answers_say_so(simulator: Simulator, wire: SimpleNamespace) -> None:
    """Half of the text, with the reasons length and content_filter."""
    simulator.script(Fault.truncated(), Fault.blocked_answer())
    choices = [json.loads(wire.ask(simulator).body)["choices"][0] for _ in range(2)]
    assert [choice["finish_reason"] for choice in choices] == ["length", "content_filter"]
    assert all(choice["message"]["content"] == ANSWER[: len(ANSWER) // 2] for choice in choices)


@pytest.mark.parametrize(
    ("provider", "marker"),
    [
        ("openai", b"[DONE]"),
        ("azure", b"[DONE]"),
        ("anthropic", b"message_stop"),
        ("gemini", b"finishReason"),
        ("ollama", b'"done":true'),
    ],
)
def test_a_cut_stream_ends_cleanly_without_its_marker(
    simulator: Simulator, wire: SimpleNamespace, provider: str, marker: bytes
) -> None:
    """The HTTP body is complete; only the provider's own end is missing. Without the fault it is there."""
    simulator.script(Fault.cut_stream(after_events=2))
    cut, whole = (wire.ask(simulator, provider, stream=True) for _ in range(2))
    assert wire.is_whole(cut.data)
    assert marker not in cut.body
    assert marker in whole.body
    assert wire.unchunked(whole.body)


@pytest.mark.parametrize("provider", ["openai", "anthropic", "gemini", "vertex", "ollama"])
def test_a_stream_error_is_told_in_the_words_of_the_provider(simulator: Simulator, wire: SimpleNamespace, provider: str) -> None:
    """An error inside a 200, as the last thing."""
    simulator.script(Fault.stream_error(after_events=2, message="it broke"))
    seen = wire.ask(simulator, provider, stream=True)
    assert seen.status == 200
    assert b"it broke" in wire.unchunked(seen.body)
    if provider in ("gemini", "vertex"):
        assert json.loads(wire.unchunked(seen.body).rpartition(b"\r\n\r\n")[2])["error"]["status"] == "UNAVAILABLE"


def test_a_stalled_stream_falls_silent_after_its_first_events(simulator: Simulator, wire: SimpleNamespace) -> None:
    """Two events, then nothing."""
    simulator.script(Fault.stall_stream(after_events=2))
    seen = wire.ask(simulator, stream=True, timeout=PATIENCE)
    assert seen.timed_out
    assert seen.body.count(b"data: ") == 2


@pytest.mark.parametrize(
    ("provider", "beat"), [("openai", b": keep-alive"), ("anthropic", b"event: ping"), ("gemini", b"\r\n\r\n")]
)
def test_heartbeats_are_signs_of_life_and_nothing_else(
    simulator: Simulator, wire: SimpleNamespace, provider: str, beat: bytes
) -> None:
    """They go on for as long as the client listens."""
    simulator.script(Fault.heartbeats(0.005))
    with wire.connected(simulator) as connection:
        connection.sendall(wire.raw_request(wire.shape(provider, stream=True)))
        seen = wire.read_all(connection, until=lambda data: data.count(beat) >= 5)
    assert b'data: {"choices' not in seen.body
    assert simulator.wait_until_idle()
    assert simulator.received[0].outcome == "client left"


def test_a_delay_postpones_a_healthy_answer(simulator: Simulator, wire: SimpleNamespace) -> None:
    """Not before its time, and whole."""
    simulator.script(Fault.delay(0.2))
    seen = wire.ask(simulator)
    assert json.loads(seen.body)["choices"]
    (entry,) = simulator.received
    assert entry.left - entry.arrived >= 0.19


def test_a_status_fault_sends_the_headers_it_was_given(simulator: Simulator, wire: SimpleNamespace) -> None:
    """Retry-After in each form, own headers, own body."""
    simulator.script(
        Fault.status(429, retry_after=2),
        Fault.status(429, retry_after="Wed, 21 Oct 2026 07:28:00 GMT"),
        Fault.status(503, retry_after_ms=1500, headers={"X-Should-Retry": "false"}),
        Fault.status(502, body="<html>bad gateway</html>", headers={"Content-Type": "text/html"}),
        Fault.large_wait(),
    )
    seconds, date, milliseconds, html, day = (wire.ask(simulator) for _ in range(5))
    assert seconds.headers["retry-after"] == "2"
    assert date.headers["retry-after"] == "Wed, 21 Oct 2026 07:28:00 GMT"
    assert (milliseconds.headers["retry-after-ms"], milliseconds.headers["x-should-retry"]) == ("1500", "false")
    assert (html.headers["content-type"], html.body) == ("text/html", b"<html>bad gateway</html>")
    assert day.headers["retry-after"] == "86400"


def test_faults_for_a_prompt_wait_for_that_prompt(simulator: Simulator, wire: SimpleNamespace) -> None:
    """Others pass; an exact match goes before one that only contains the text."""
    simulator.script_for("base", Fault.status(500))
    simulator.script_for("baseball", Fault.status(503), Fault.status(429))
    statuses = [
        wire.ask(simulator, prompt=prompt).status for prompt in ("golf", "baseball", "baseball", "base of all", "baseball")
    ]
    assert statuses == [200, 503, 429, 500, 200]
    assert simulator.pending_faults == 0


def test_a_permanent_fault_lasts_until_it_is_taken_back(simulator: Simulator, wire: SimpleNamespace) -> None:
    """A scripted fault goes before it."""
    simulator.always(Fault.status(503))
    simulator.script(Fault.status(429).repeated(2))
    assert [wire.ask(simulator).status for _ in range(4)] == [429, 429, 503, 503]
    simulator.always(None)
    assert wire.ask(simulator).status == 200


def test_clear_forgets_log_and_script(simulator: Simulator, wire: SimpleNamespace) -> None:
    """Afterwards it is as new."""
    simulator.script(Fault.status(500))
    wire.ask(simulator)
    simulator.script(Fault.status(500))
    simulator.always(Fault.status(500))
    simulator.clear()
    assert (simulator.received, simulator.pending_faults) == ([], 0)
    assert wire.ask(simulator).status == 200
    assert simulator.received[0].index == 0


@pytest.mark.parametrize(
    "fault",
    [
        Fault.status(
            429, "slow", body={"a": [1]}, headers={"x": "y"}, retry_after=1.5, retry_after_ms=2, retry_delay=3, code="c"
        ),
        Fault.reset(before_headers=True),
        Fault.drip(0.1, headers=True),
        Fault.heartbeats(0.2, after_events=3, times=4),
        Fault.redirect("http://example.com"),
    ],
)
def test_a_fault_survives_json(fault: Fault) -> None:
    """The process form sends faults as JSON."""
    assert Fault.from_json(json.loads(json.dumps(fault.to_json()))) == fault


def test_a_fault_of_unknown_shape_is_refused() -> None:
    """With the names that exist."""
    with pytest.raises(ValueError, match="after_bytes"):
        Fault.from_json({"name": "reset", "after_byte": 3})
    with pytest.raises(ValueError, match="name"):
        Fault.from_json({})


@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_ends_with_any_word(simulator: Simulator, wire: SimpleNamespace, stream: bool) -> None:
    """As hosts make up their own."""
    simulator.script(Fault.finish_word("sensitive"))
    seen = wire.ask(simulator, stream=stream)
    assert b'"finish_reason":"sensitive"' in seen.body
    assert simulator.received[0].outcome == "fault:finish_word"


def test_a_reply_is_given_as_it_stands(simulator: Simulator, wire: SimpleNamespace) -> None:
    """JSON, text, or the events of a stream."""
    choice = {"index": 0, "finish_reason": "content_filter"}
    simulator.script(Fault.reply({"choices": [choice]}), Fault.reply("data: [DONE]\n\n", content_type="text/event-stream"))
    first, second = wire.ask(simulator), wire.ask(simulator)
    assert json.loads(first.body) == {"choices": [choice]}
    assert second.body == b"data: [DONE]\n\n"
    assert b"text/event-stream" in second.data
    assert Fault.from_json(Fault.reply("x").to_json()) == Fault.reply("x")
