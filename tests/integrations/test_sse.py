"""Streams as bytes for a browser: the form of the events, the reader thread, and how it ends."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from responder import (
    APITimeoutError,
    AuthenticationError,
    BadRequestError,
    BlockedError,
    ConfigurationError,
    DeadlineExceededError,
    OpenAIResponder,
    QuotaExceededError,
    RateLimitError,
    StreamInterruptedError,
)
from responder.integrations.public import public_message
from responder.integrations.sse import PING, Chunks, chunks_of, encode, events_of, texts_of
from responder.simulator import Fault, Simulator
from responder.values.visible import visible_on_page
from responder.wire.events import BodyDecoder

_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@pytest.fixture
def gpt(simulator: Simulator, responder_for: Callable[..., OpenAIResponder]) -> OpenAIResponder:
    """Ask the simulator."""
    return responder_for(simulator, base_url=simulator.base_url("openai"))


def heard(chunks: Chunks) -> list[tuple[str, Any]]:
    """Return the events of a whole response as (name, data)."""
    decoder = BodyDecoder()
    return [(name or "message", json.loads(data)) for name, data in decoder.feed(b"".join(chunks)) + decoder.close()]


@settings(deadline=None)
@given(_JSON)
def test_any_json_is_one_event(data: Any) -> None:
    """Whatever the data holds (line ends, separators of Unicode, half surrogates), it is one line of data and comes back."""
    encoded = encode(data)
    assert encoded.startswith(b"data: ")
    assert encoded.endswith(b"\n\n")
    assert encoded.count(b"\n") == 2
    assert b"\r" not in encoded
    assert json.loads(encoded[6:]) == harmless(data)


def harmless(data: Any) -> Any:
    """Return the data as a browser may get it."""
    if isinstance(data, str):
        return visible_on_page(data)
    if isinstance(data, dict):
        return {harmless(name): harmless(value) for name, value in data.items()}
    return [harmless(value) for value in data] if isinstance(data, list) else data


def test_a_models_text_cannot_steer_a_page() -> None:
    """Escape sequences and overrides of the direction of reading come as their numbers, in events and in plain text."""
    evil = ["a\x1b[2J", "b\u202etxt.exe", "c\x9b"]
    shown = ["a\\u001b[2J", "b\\u202etxt.exe", "c\\u009b"]
    assert [data for _, data in heard(events_of(evil))][:3] == [{"piece": text} for text in shown]
    assert b"".join(texts_of(evil)).decode() == "".join(shown)


@pytest.mark.parametrize(
    ("error", "type_", "words"),
    [
        (RateLimitError("org-secret at https://internal.example/v1"), "RateLimitError", "try again"),
        (APITimeoutError("https://internal.example"), "APITimeoutError", "too long"),
        (DeadlineExceededError("https://internal.example"), "DeadlineExceededError", "too long"),
        (BlockedError("https://internal.example"), "BlockedError", "refused"),
        (StreamInterruptedError("https://internal.example", text="x"), "StreamInterruptedError", "broke off"),
        (AuthenticationError("OPENAI_API_KEY is wrong at https://internal.example"), "Error", "could not be answered"),
        (QuotaExceededError("org-secret has no credit"), "Error", "could not be answered"),
        (ConfigurationError("export OPENAI_API_KEY=..."), "Error", "could not be answered"),
        (BadRequestError("internal"), "Error", "could not be answered"),
        (KeyError("/srv/secret"), "Error", "could not be answered"),
    ],
)
def test_a_browser_hears_no_details(error: Exception, type_: str, words: str, caplog: pytest.LogCaptureFixture) -> None:
    """No URL, account, setting or word of the provider's goes out; all of it stands in the log."""

    def broken() -> Iterator[str]:
        yield "Hi"
        raise error

    with caplog.at_level("WARNING", logger="responder"):
        *_, (name, data) = heard(events_of(broken()))
    assert (name, data["type"]) == ("failed", type_)
    assert words in data["error"]
    assert not any(word in data["error"] for word in ("internal", "secret", "OPENAI"))
    assert str(error) in caplog.text
    assert all(record.name.startswith("responder") for record in caplog.records)


def test_the_log_gets_one_harmless_line(caplog: pytest.LogCaptureFixture) -> None:
    """What a provider wrote cannot add a line of its own to the log, nor steer the terminal that shows it."""
    public_message(RateLimitError("no\nERROR fake\x1b[2J"))
    assert caplog.messages == ["a question failed: RateLimitError: no ERROR fake\\u001b[2J"]


def test_a_lone_surrogate_is_escaped() -> None:
    """What UTF-8 cannot say goes as a JSON escape."""
    assert json.loads(encode("\ud83d")[6:]) == "\ud83d"


def test_an_event_may_have_a_name_and_an_id() -> None:
    """Both stand on lines of their own, before the data."""
    assert encode(1, "step", "7") == b"event: step\nid: 7\ndata: 1\n\n"


@pytest.mark.parametrize("keywords", [{"event": "a\nb"}, {"id": "a\rb"}, {"id": "a\0"}])
def test_a_name_with_a_line_end_is_refused(keywords: dict[str, str]) -> None:
    """A name or an id cannot smuggle in another event."""
    with pytest.raises(ValueError, match="one line"):
        encode(1, **keywords)


def test_what_json_cannot_say_is_refused() -> None:
    """NaN would break `JSON.parse` in the browser."""
    with pytest.raises(ValueError, match="JSON"):
        encode(float("nan"))


def test_a_run_is_shown_result_by_result(gpt: OpenAIResponder, simulator: Simulator) -> None:
    """A long map reports each result, with its error in words, and what all of it used."""
    simulator.script_for("bad", Fault.status(400, "no"))
    first, second, (name, total) = heard(events_of(gpt.imap(["good", "bad"])))
    assert first == ("message", {"index": 0, "ok": True, "text": "Simulated answer to: good", "error": None})
    assert (second[1]["index"], second[1]["ok"], second[1]["text"]) == (1, False, None)
    assert second[1]["error"] == "The question could not be answered."
    assert (name, total["parts"], total["failed"]) == ("done", 2, 1)


def test_a_generator_may_send_its_own_objects() -> None:
    """A str is a piece, anything else is sent as it is."""
    assert heard(events_of(["Hi", {"percent": 50}])) == [("message", {"piece": "Hi"}), ("message", {"percent": 50}), ("done", {})]


def test_a_bug_of_the_server_is_not_shown_to_the_page(caplog: pytest.LogCaptureFixture) -> None:
    """The words of an unexpected error go to the log alone."""

    def broken() -> Iterator[str]:
        yield "Hi"
        raise RuntimeError("password of the database")

    *_, last = heard(events_of(broken()))
    assert last == ("failed", {"error": "The question could not be answered.", "type": "Error"})
    assert "password of the database" in caplog.text


def test_nothing_is_asked_before_the_first_chunk(gpt: OpenAIResponder, simulator: Simulator) -> None:
    """A response that nobody reads costs nothing."""
    chunks = events_of(gpt.stream("Hi"))
    chunks.close()
    assert list(chunks) == []
    assert simulator.received == []


def test_the_reader_sees_the_callers_context_variables() -> None:
    """Traces and request ids reach a generator that runs in the reader thread."""
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="lost")

    def pieces() -> Iterator[str]:
        yield variable.get()

    variable.set("request 7")
    assert b"request 7" in b"".join(events_of(pieces()))


@pytest.mark.parametrize("end", [Chunks.cancel, Chunks.close], ids=["cancel", "close"])
def test_another_thread_may_end_it_at_any_time(gpt: OpenAIResponder, simulator: Simulator, end: Callable[[Chunks], None]) -> None:
    """A thread that waits for the next chunk gets the end, and the provider's connection is freed."""
    simulator.script(Fault.silence())
    chunks = events_of(gpt.stream("Hi"), None)
    reading = threading.Thread(target=lambda: list(chunks))
    reading.start()
    assert simulator.wait_for(1)
    end(chunks)
    reading.join(60)
    assert not reading.is_alive()
    assert simulator.wait_until_idle()
    assert chunks.cancelled


def test_dropping_it_ends_it(gpt: OpenAIResponder, simulator: Simulator) -> None:
    """A server that forgets a response without closing it frees the provider all the same."""
    simulator.script(Fault.stall_stream(3))
    chunks = events_of(gpt.stream("Hi"), None)
    next(chunks)
    assert simulator.wait_for(1)
    del chunks
    gc.collect()
    assert simulator.wait_until_idle()


def test_a_slow_client_pauses_the_reader() -> None:
    """Only so much waits in memory for a client that does not read; the rest stays with the provider."""
    produced = 0
    full = threading.Event()

    def endless() -> Iterator[str]:
        nonlocal produced
        while True:
            produced += 1
            if produced == 256:
                full.set()
            yield "x"

    chunks = events_of(endless(), None)
    next(chunks)
    assert full.wait(60)
    chunks.close()
    assert produced < 2000


def test_a_client_that_the_server_misses_ends_it(gpt: OpenAIResponder, simulator: Simulator) -> None:
    """Where the server can say that the client has gone, the stream ends without a heartbeat."""
    simulator.script(Fault.silence())
    left = threading.Event()
    chunks = events_of(gpt.stream("Hi"), None, gone=left.is_set)
    next(chunks)
    assert simulator.wait_for(1)
    left.set()
    assert list(chunks) == []
    assert simulator.wait_until_idle()


@pytest.mark.pain(14)
def test_a_running_event_loop_is_not_blocked(gpt: OpenAIResponder, simulator: Simulator) -> None:
    """While one stream waits for its provider, the loop goes on with another one, without a thread pool."""
    simulator.script_for("silent", Fault.silence())

    async def main() -> bytes:
        loop = asyncio.get_running_loop()
        loop.set_default_executor(_NoExecutor())
        silent = events_of(gpt.stream("silent"), 0.01).awaited()
        assert await anext(silent)
        assert await anext(silent) == PING
        async for _ in silent:
            if simulator.received:
                break
        spoken = b"".join([chunk async for chunk in events_of(gpt.stream("spoken")).awaited()])
        await silent.aclose()
        return spoken

    assert b"event: done" in asyncio.run(main())
    assert simulator.wait_until_idle()


class _NoExecutor(ThreadPoolExecutor):
    def submit(self, *_: Any, **__: Any) -> Any:
        raise AssertionError("the loop's thread pool was used")


def test_a_cancelled_task_frees_the_provider(gpt: OpenAIResponder, simulator: Simulator) -> None:
    """A task that is cancelled while it waits ends the stream."""
    simulator.script(Fault.silence())

    async def read() -> None:
        async for _ in events_of(gpt.stream("Hi"), None).awaited():
            pass

    async def main() -> None:
        task = asyncio.ensure_future(read())
        assert await asyncio.get_running_loop().run_in_executor(None, simulator.wait_for, 1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert simulator.wait_until_idle()


def test_plain_text_raises_what_the_stream_raises(gpt: OpenAIResponder, simulator: Simulator) -> None:
    """The server shall notice a failure in mid-text, once the pieces before it are out."""
    simulator.script(Fault.cut_stream(3))
    chunks = texts_of(gpt.stream("Hi"))
    text = b""
    with pytest.raises(Exception, match="interrupted"):  # noqa: PT012 - the text before it counts
        for chunk in chunks:
            text += chunk
    assert text == b"Simulate"


@pytest.mark.parametrize("heartbeat", [0, -1, float("nan")])
def test_a_heartbeat_without_sense_is_refused(heartbeat: float) -> None:
    """It is a number of seconds above 0, or None."""
    with pytest.raises(ConfigurationError, match="heartbeat"):
        events_of([], heartbeat)


def test_merged_streams_are_no_plain_text(gpt: OpenAIResponder) -> None:
    """Their pieces could not be told apart."""
    with pytest.raises(ConfigurationError, match="several texts"):
        texts_of(gpt.stream_map(["a", "b"]))  # type: ignore[arg-type]  # what the test is about


def test_an_unknown_format_is_refused() -> None:
    """The message names the two that there are."""
    with pytest.raises(ConfigurationError, match='"events" or "text"'):
        chunks_of([], "json", None)  # type: ignore[arg-type]  # what the test is about
