"""One answer, piece by piece: when its pieces come, how it ends, and who may end it."""

from __future__ import annotations

import asyncio
import gc
import json
import pickle
import ssl
import subprocess
import sys
import textwrap
import threading
import time
import traceback
import weakref
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from servers import PATIENCE, Handler, Peer, Server, always, in_turn, reply, reply_body, silent

from responder import (
    AnthropicResponder,
    APIConnectionError,
    APIError,
    APITimeoutError,
    AuthenticationError,
    BadRequestError,
    BlockedError,
    CancelledError,
    CancelToken,
    ConfigurationError,
    DeadlineExceededError,
    EmptyAnswerError,
    GeminiResponder,
    InternalServerError,
    InvalidResponseError,
    Limits,
    OllamaResponder,
    OpenAIResponder,
    RateLimitError,
    ResponderError,
    Stream,
    StreamInterruptedError,
    Timeout,
    Usage,
)
from responder.simulator import Fault, Simulator

# How long a server is given to notice that its client has left, in seconds: less than the `timeout` of 30 s, which would end the
# connection, too.
NOTICED = 20.0

DONE = b"data: [DONE]\n\n"
OK = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
# The server's words that end a wait before a repeat at once.
AT_ONCE = {"retry_after_ms": "1"}


def event(text: str = "", finish: str | None = None, **changes: Any) -> bytes:
    """Return a chunk of OpenAI's dialect as an event."""
    delta = {"content": text} if text else {}
    chunk = {"id": "1", "model": "m-1", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}], **changes}
    return f"data: {json.dumps(chunk, ensure_ascii=False)}\n\n".encode()


def usage(given: int = 3, made: int = 2) -> bytes:
    """Return the chunk that tells the usage."""
    return event(choices=[], usage={"prompt_tokens": given, "completion_tokens": made})


# What follows the last piece of a good stream.
END = event(finish="stop") + usage() + DONE
WHOLE = event("Hel") + event("lo.") + END


class Chunked:
    """The framings that a body may have; each piece is on the wire, and decodable, as soon as it is sent."""

    head = "Transfer-Encoding: chunked\r\n"

    def piece(self, data: bytes) -> bytes:
        return b"%x\r\n%b\r\n" % (len(data), data) if data else b""

    def end(self) -> bytes:
        return b"0\r\n\r\n"


class UntilClose(Chunked):
    head = "Connection: close\r\n"

    def piece(self, data: bytes) -> bytes:
        return data

    def end(self) -> bytes:
        return b""


class Compressed(Chunked):
    head = Chunked.head + "Content-Encoding: gzip\r\n"

    def __init__(self) -> None:
        self.packer = zlib.compressobj(wbits=zlib.MAX_WBITS | 16)

    def piece(self, data: bytes) -> bytes:
        return super().piece(self.packer.compress(data) + self.packer.flush(zlib.Z_SYNC_FLUSH))

    def end(self) -> bytes:
        return super().piece(self.packer.flush()) + super().end()


class CompressedUntilClose(Compressed):
    head = UntilClose.head + "Content-Encoding: gzip\r\n"

    def piece(self, data: bytes) -> bytes:
        return self.packer.compress(data) + self.packer.flush(zlib.Z_SYNC_FLUSH)

    def end(self) -> bytes:
        return self.packer.flush()


framings = pytest.mark.parametrize("framing", [Chunked, UntilClose, Compressed, CompressedUntilClose])


def body(*pieces: bytes, framing: type[Chunked] = Chunked) -> bytes:
    """Return a whole reply, head and all, whose body is these pieces."""
    frame = framing()
    return (OK + frame.head + "\r\n").encode() + b"".join(map(frame.piece, pieces)) + frame.end()


def begun(*pieces: bytes) -> bytes:
    """Return a chunked reply whose body has not ended."""
    return body(*pieces).removesuffix(b"0\r\n\r\n")


def begin_and_wait(*pieces: bytes) -> Handler:
    """Send the beginning of a stream, say no more, and note when the client leaves."""

    def handler(peer: Peer) -> None:
        if peer.receive() is not None:
            peer.send(begun(*pieces))
            peer.wait_until_left()

    return handler


def in_steps(*steps: bytes, then: Callable[[Peer], object] = lambda _peer: None) -> Handler:
    """Send these bytes one after another; from the second on, each waits for `server.released`."""

    def handler(peer: Peer) -> None:
        if peer.receive() is None:
            return
        for number, step in enumerate(steps):
            if number:
                peer.server.released.wait(PATIENCE)
                peer.server.released.clear()
            peer.send(step)
        if len(steps) == 1:
            peer.server.released.wait(PATIENCE)
        then(peer)

    return handler


def beating(*pieces: bytes) -> Handler:
    """Send the beginning of a stream, and then heartbeats until the client leaves."""

    def handler(peer: Peer) -> None:
        if peer.receive() is None:
            return
        peer.send(begun(*pieces))
        beat = Chunked().piece(b": keep-alive\n\n")
        while not peer.server.stopping.wait(0.01):
            try:
                peer.sock.sendall(beat)
            except OSError:
                peer.server.left.put(peer.number)
                return

    return handler


class Reading:
    """Reads a stream in a thread of its own."""

    def __init__(self, stream: Stream) -> None:
        self.pieces: list[str] = []
        self.error: BaseException | None = None
        self.has_piece = threading.Event()
        self.thread = threading.Thread(target=self._run, args=(stream,))
        self.thread.start()

    def _run(self, stream: Stream) -> None:
        try:
            for piece in stream:
                self.pieces.append(piece)
                self.has_piece.set()
        except BaseException as error:  # noqa: BLE001 - looked at by the test
            self.error = error

    def wait_for_a_piece(self) -> None:
        assert self.has_piece.wait(PATIENCE)

    def end(self) -> BaseException | None:
        """Wait for the thread and return what the stream raised."""
        self.thread.join(PATIENCE)
        assert not self.thread.is_alive()
        return self.error


def read(stream: Stream) -> tuple[list[str], ResponderError | None]:
    """Return the pieces of a stream, and the error that it ended with."""
    pieces: list[str] = []
    try:
        for piece in stream:
            pieces.append(piece)
    except ResponderError as error:
        return pieces, error
    return pieces, None


def our_threads() -> set[threading.Thread]:
    """All but the process's one sweeper, which stays as long as an idle connection does, whichever test left that."""
    return {thread for thread in threading.enumerate() if thread.name.startswith("responder") and thread.name != "responder-idle"}


@pytest.fixture(params=["own", "brought"])
def session(request: pytest.FixtureRequest) -> Iterator[requests.Session | None]:
    """Our own transport, and an ordinary session that the user brought."""
    if request.param == "own":
        yield None
        return
    with requests.Session() as brought:
        brought.trust_env = False
        yield brought


@pytest.fixture(params=["tcp", "tls"])
def context(request: pytest.FixtureRequest) -> ssl.SSLContext | None:
    """Plain TCP, and TLS with a trusted certificate."""
    if request.param == "tcp":
        return None
    request.getfixturevalue("trusted")
    found: ssl.SSLContext = request.getfixturevalue("server_context")
    return found


# --- Pieces -----------------------------------------------------------------------------------------------------------


def test_pieces_join_to_the_answer(serve: Callable[..., Server], responder_for: Callable[..., OpenAIResponder]) -> None:
    """With its usage, its finish reason and the number of attempts."""
    with responder_for(serve(always(body(WHOLE)))).stream("Hi") as stream:
        assert list(stream) == ["Hel", "lo."]
    assert stream.text == "Hello."
    answer = stream.answer
    assert answer is not None
    assert (answer.text, answer.finish_reason, answer.model, answer.provider) == ("Hello.", "stop", "m-1", "openai")
    assert answer.usage == stream.usage == Usage(3, 2, known=True)
    assert stream.finish_reason == "stop"
    assert answer.attempts == stream.attempts == 1
    assert answer.elapsed > 0
    assert not stream.cancelled


def test_nothing_is_sent_before_the_first_piece_is_asked_for(
    serve: Callable[..., Server], responder_for: Callable[..., OpenAIResponder]
) -> None:
    """A stream that nobody reads costs nothing."""
    server = serve(always(body(WHOLE)))
    stream = responder_for(server).stream("Hi")
    assert (stream.text, stream.answer, stream.finish_reason, stream.attempts) == ("", None, None, 0)
    assert not stream.usage.known
    stream.close()
    with pytest.raises(CancelledError):
        next(stream)
    assert server.connections == 0


def test_a_stream_tells_how_far_it_came(serve: Callable[..., Server], responder_for: Callable[..., OpenAIResponder]) -> None:
    """In the middle there is text, but no finish reason and no answer."""
    server = serve(in_steps(begun(event("Hel")), body(event("lo.") + END).partition(b"\r\n\r\n")[2]))
    with responder_for(server).stream("Hi") as stream:
        next(stream)
        assert (stream.text, stream.finish_reason, stream.answer, stream.attempts) == ("Hel", None, None, 1)
        assert not stream.usage.known
        server.released.set()
        assert list(stream) == ["lo."]
    assert stream.finish_reason == "stop"


@pytest.mark.pain(14)
@framings
def test_each_piece_is_handed_out_before_the_next_one_is_sent(
    serve: Callable[..., Server],
    responder_for: Callable[..., OpenAIResponder],
    session: requests.Session | None,
    framing: type[Chunked],
) -> None:
    """However the body is framed or compressed: the server waits for the test, which waits for the piece."""
    frame = framing()
    server = serve(
        in_steps(
            (OK + frame.head + "\r\n").encode() + frame.piece(event("one")),
            frame.piece(event("two")),
            frame.piece(event("three")),
            frame.piece(END) + frame.end(),
        )
    )
    with responder_for(server, session=session).stream("Hi") as stream:
        for wanted in ("one", "two", "three"):
            assert next(stream) == wanted
            server.released.set()
        assert list(stream) == []
    assert stream.answer is not None


@pytest.mark.pain(21)
@pytest.mark.parametrize("kind", ["text/event-stream", "text/plain", "application/octet-stream"])
def test_japanese_needs_no_charset(
    serve: Callable[..., Server],
    responder_for: Callable[..., OpenAIResponder],
    session: requests.Session | None,
    kind: str,
) -> None:
    """Without one, `requests` would take the bytes for Latin-1."""
    data = body(event("日本") + event("語\u2028😀") + END).replace(b"text/event-stream", kind.encode())
    with responder_for(serve(always(data)), session=session).stream("Hi") as stream:
        assert list(stream) == ["日本", "語\u2028😀"]


def test_finished_streams_and_answers_share_one_connection(
    serve: Callable[..., Server], responder_for: Callable[..., OpenAIResponder]
) -> None:
    """The body is read to its end, so nothing of it is left for the next reply."""

    def handler(peer: Peer) -> None:
        while (request := peer.receive()) is not None:
            peer.send(body(WHOLE) if request.json.get("stream") else reply())

    server = serve(handler)
    gpt = responder_for(server)
    for _ in range(3):
        assert list(gpt.stream("Hi")) == ["Hel", "lo."]
        assert gpt.answer("Hi").text == "Hello."
    assert server.connections == 1


@pytest.mark.pain(14)
def test_a_stream_works_inside_a_running_event_loop(
    serve: Callable[..., Server], responder_for: Callable[..., OpenAIResponder]
) -> None:
    """As in a notebook, or in a coroutine that calls blocking code: there is no loop of ours to collide with."""
    gpt = responder_for(serve(always(body(WHOLE))))

    async def main() -> list[str]:
        with gpt.stream("Hi") as stream:
            return list(stream)

    assert asyncio.run(main()) == ["Hel", "lo."]
    assert asyncio.run(main()) == ["Hel", "lo."]


def test_a_wrong_option_is_told_before_anything_is_sent(responder_for: Callable[..., OpenAIResponder]) -> None:
    """When the stream is made, not when it is read."""
    with pytest.raises(ConfigurationError):
        responder_for("http://127.0.0.1:9").stream("Hi", temprature=1)
    with pytest.raises(ConfigurationError):
        responder_for("http://127.0.0.1:9").stream("Hi", timeout=-1)


# --- How it ends ------------------------------------------------------------------------------------------------------


@pytest.mark.pain(20)
@pytest.mark.parametrize("framing", [Chunked, UntilClose, Compressed])
def test_a_clean_end_without_an_end_marker_is_an_interruption(
    serve: Callable[..., Server],
    responder_for: Callable[..., OpenAIResponder],
    session: requests.Session | None,
    framing: type[Chunked],
) -> None:
    """A proxy may end a body cleanly whose provider has gone: the text so far is in the error."""
    server = serve(always(body(event("Hel"), event("lo"), framing=framing), last=True))
    stream = responder_for(server, session=session, max_retries=3).stream("Hi")
    pieces, error = read(stream)
    assert pieces == ["Hel", "lo"]
    assert isinstance(error, StreamInterruptedError)
    assert error.text == stream.text == "Hello"
    assert (error.provider, error.model, error.attempts, error.retryable) == ("openai", "m", 1, True)
    assert stream.answer is None
    assert len(server.requests) == 1


@pytest.mark.pain(20)
@pytest.mark.parametrize("ending", [Peer.reset, Peer.close])
def test_a_connection_that_breaks_after_a_piece_is_an_interruption(
    serve: Callable[..., Server],
    responder_for: Callable[..., OpenAIResponder],
    session: requests.Session | None,
    ending: Callable[[Peer], None],
) -> None:
    """With a reset, or an end in the middle of the chunks; it is not asked again, since a piece is out."""
    server = serve(in_steps(begun(event("Hel")), then=ending))
    stream = responder_for(server, session=session, max_retries=3).stream("Hi")
    assert next(stream) == "Hel"
    server.released.set()
    with pytest.raises(StreamInterruptedError, match="the connection was lost") as raised:
        next(stream)
    assert raised.value.text == "Hel"
    assert isinstance(raised.value.__cause__, APIConnectionError)
    assert len(server.requests) == 1


@pytest.mark.pain(20)
def test_what_was_used_before_an_interruption_is_in_its_error(
    serve: Callable[..., Server], responder_for: Callable[..., OpenAIResponder]
) -> None:
    """It is billed."""
    used = {"prompt_tokens": 5, "completion_tokens": 1}
    stream = responder_for(serve(always(body(event("Hel", usage=used))))).stream("Hi")
    _, error = read(stream)
    assert isinstance(error, StreamInterruptedError)
    assert error.usage == stream.usage == Usage(5, 1, known=True)
    copy = pickle.loads(pickle.dumps(error))
    assert (copy.text, copy.usage, str(copy)) == ("Hel", error.usage, str(error))


@pytest.mark.pain(21)
@pytest.mark.parametrize(
    ("failure", "kind"),
    [
        pytest.param(b'data: {"error": {"code": 429, "message": "slow"}}\n\n', RateLimitError, id="code"),
        pytest.param(b'event: error\ndata: {"message": "broken"}\n\n', InternalServerError, id="event name"),
        pytest.param(b'data: {"error": "broken"}\n\n', InternalServerError, id="a word"),
        pytest.param(b'data: [{"error": {"code": 400, "message": "bad"}}]\n\n', BadRequestError, id="list of one"),
        pytest.param(b'data: {"error": {"type": "invalid_request_error"}}', BadRequestError, id="no blank line"),
        pytest.param(b'{\n"error": {\n"code": 503}}\n', InternalServerError, id="bare JSON"),
        pytest.param(b"data: {broken\n\n", InvalidResponseError, id="not JSON"),
    ],
)
def test_an_error_in_mid_stream_is_raised_as_what_it_is_after_the_pieces_before_it(
    serve: Callable[..., Server], responder_for: Callable[..., OpenAIResponder], failure: bytes, kind: type[APIError]
) -> None:
    """Although the status was 200; it is not asked again, since pieces are out."""
    server = serve(always(body(event("Hel") + event("lo") + failure)))
    stream = responder_for(server, max_retries=3).stream("Hi")
    pieces, error = read(stream)
    assert pieces == ["Hel", "lo"]
    assert type(error) is kind
    assert stream.answer is None
    assert len(server.requests) == 1


def test_a_stream_that_failed_fails_the_same_way_when_it_is_asked_again(
    serve: Callable[..., Server], responder_for: Callable[..., OpenAIResponder]
) -> None:
    """Never with silence, which would look like an end."""
    stream = responder_for(serve(always(body(event("Hel"))))).stream("Hi")
    _, error = read(stream)
    with pytest.raises(StreamInterruptedError) as again:
        next(stream)
    assert again.value is error


def test_a_stream_that_ended_stays_ended(serve: Callable[..., Server], responder_for: Callable[..., OpenAIResponder]) -> None:
    """Asking again sends nothing."""
    server = serve(always(body(WHOLE)))
    stream = responder_for(server).stream("Hi")
    assert list(stream) == ["Hel", "lo."]
    assert list(stream) == list(stream) == []
    assert len(server.requests) == 1


@pytest.mark.pain(21)
def test_a_stream_ends_at_its_end_marker_even_if_the_connection_stays_open(
    serve: Callable[..., Server], responder_for: Callable[..., OpenAIResponder], session: requests.Session | None
) -> None:
    """What follows the marker is nobody's; the connection is dropped, since nobody knows what else would come."""
    server = serve(begin_and_wait(WHOLE, event("never heard")))
    stream = responder_for(server, session=session).stream("Hi")
    assert list(stream) == ["Hel", "lo."]
    assert stream.answer is not None
    server.left.get(timeout=NOTICED)


def test_a_host_that_sends_no_end_marker_is_complete_with_its_finish_reason(
    serve: Callable[..., Server], responder_for: Callable[..., OpenAIResponder]
) -> None:
    """And one that sends no finish reason with its end marker."""
    for ending in (event(finish="length"), DONE):
        stream = responder_for(serve(always(body(event("Hi.") + ending)))).stream("Hi")
        assert list(stream) == ["Hi."]
        assert stream.finish_reason == ("stop" if ending is DONE else "length")


def test_a_blocked_stream_hands_out_what_came_and_raises_at_the_end(
    serve: Callable[..., Server], responder_for: Callable[..., OpenAIResponder]
) -> None:
    """The error holds the text and the usage, too."""
    server = serve(always(body(event("Hel") + event(finish="content_filter") + usage() + DONE)))
    stream = responder_for(server, max_retries=3).stream("Hi")
    pieces, error = read(stream)
    assert pieces == ["Hel"]
    assert isinstance(error, BlockedError)
    assert (error.text, error.finish_reason, error.usage) == ("Hel", "content_filter", Usage(3, 2, known=True))
    assert (stream.answer, stream.text, stream.finish_reason) == (None, "Hel", "content_filter")
    assert len(server.requests) == 1


def test_a_stream_with_nothing_in_it_raises(serve: Callable[..., Server], responder_for: Callable[..., OpenAIResponder]) -> None:
    """An empty loop would look like success."""
    stream = responder_for(serve(always(body(event(finish="length") + usage() + DONE)))).stream("Hi")
    pieces, error = read(stream)
    assert pieces == []
    assert isinstance(error, EmptyAnswerError)
    assert (error.finish_reason, error.usage) == ("length", Usage(3, 2, known=True))


def test_a_stream_of_tool_calls_alone_has_no_pieces_and_an_answer(
    serve: Callable[..., Server], responder_for: Callable[..., OpenAIResponder]
) -> None:
    """Its arguments are put together."""

    def call(**function: str) -> bytes:
        delta = {"tool_calls": [{"index": 0, **({"id": "c1"} if "name" in function else {}), "function": function}]}
        return event(choices=[{"index": 0, "delta": delta, "finish_reason": None}])

    data = call(name="look", arguments="") + call(arguments='{"city": ') + call(arguments='"Rome"}') + event(finish="tool_calls")
    with responder_for(serve(always(body(data + DONE)))).stream("Hi") as stream:
        assert list(stream) == []
    (found,) = stream.tool_calls
    assert (found.id, found.name, found.arguments) == ("c1", "look", {"city": "Rome"})
    assert stream.finish_reason == "tool_calls"


# --- Replies that are no stream ---------------------------------------------------------------------------------------


def test_a_whole_completion_in_place_of_a_stream_is_one_piece(
    serve: Callable[..., Server], responder_for: Callable[..., OpenAIResponder]
) -> None:
    """From proxies that pass over `stream`."""
    with responder_for(serve(always(reply(reply_body("Hello."))))).stream("Hi") as stream:
        assert list(stream) == ["Hello."]
    assert stream.usage == Usage(3, 2, known=True)
    assert stream.finish_reason == "stop"


def test_a_whole_answer_of_the_other_dialects_is_one_piece_too(serve: Callable[..., Server]) -> None:
    """Anthropic's, Gemini's and Ollama's own."""
    keywords: dict[str, Any] = {"api_key": "k", "max_retries": 0, "timeout": 30.0}
    anthropic = {
        "type": "message",
        "model": "m",
        "content": [{"type": "text", "text": "Hello."}],
        "stop_reason": "end_turn",
        "usage": {"input_tokens": 3, "output_tokens": 2},
    }
    candidate = {"content": {"parts": [{"text": "Hello."}]}, "finishReason": "STOP"}
    gemini = {"candidates": [candidate], "usageMetadata": {"promptTokenCount": 3, "candidatesTokenCount": 2}}
    ollama = {"message": {"content": "Hello."}, "done": True, "done_reason": "stop", "prompt_eval_count": 3, "eval_count": 2}
    for kind, whole in ((AnthropicResponder, anthropic), (GeminiResponder, gemini), (OllamaResponder, ollama)):
        server = serve(always(reply(json.dumps(whole).encode())))
        with kind("m", base_url=server.url, **keywords) as responder, responder.stream("Hi") as stream:
            assert list(stream) == ["Hello."]
        assert stream.usage == Usage(3, 2, known=True)


@pytest.mark.pain(21)
@pytest.mark.parametrize("as_list", [False, True])
def test_an_error_with_status_200_is_raised_as_what_it_is(
    serve: Callable[..., Server], responder_for: Callable[..., OpenAIResponder], as_list: bool
) -> None:
    """Also in a list of one, as Google writes it."""
    found = {"error": {"code": 401, "message": "wrong key"}}
    stream = responder_for(serve(always(reply(json.dumps([found] if as_list else found, indent=2).encode())))).stream("Hi")
    with pytest.raises(AuthenticationError, match="wrong key"):
        next(stream)


@pytest.mark.parametrize("page", [b"<!DOCTYPE html>\n<html><body>Log in</body></html>\n", b"Welcome"])
def test_a_page_in_place_of_a_stream_is_no_interruption(
    serve: Callable[..., Server], responder_for: Callable[..., OpenAIResponder], page: bytes
) -> None:
    """It is the answer of something else than an API; the error says where to look, and holds the page."""
    stream = responder_for(serve(always(reply(page, Content_Type="text/html")))).stream("Hi")
    with pytest.raises(InvalidResponseError, match="base_url") as raised:
        next(stream)
    assert page.decode().split()[0] in str(raised.value.body)
    assert raised.value.provider == "openai"


def test_an_empty_body_is_an_interruption(serve: Callable[..., Server], responder_for: Callable[..., OpenAIResponder]) -> None:
    """Nothing came, so nothing is known."""
    stream = responder_for(serve(always(reply(b"")))).stream("Hi")
    with pytest.raises(StreamInterruptedError):
        next(stream)


# --- Attempts ---------------------------------------------------------------------------------------------------------


@pytest.mark.pain(20)
def test_a_refusal_before_the_first_piece_is_repeated(
    serve: Callable[..., Server], responder_for: Callable[..., OpenAIResponder]
) -> None:
    """The second attempt's pieces are the stream's."""
    server = serve(in_turn(always(reply(b"{}", "503 Busy", **AT_ONCE), last=True), always(body(WHOLE))))
    with responder_for(server, max_retries=2).stream("Hi") as stream:
        assert list(stream) == ["Hel", "lo."]
    assert stream.attempts == 2
    assert stream.answer is not None
    assert stream.answer.attempts == 2


@pytest.mark.pain(20)
@pytest.mark.parametrize(
    "first",
    [
        pytest.param(always(body(b": thinking\n\n"), last=True), id="ended before a piece"),
        pytest.param(always(begun(event()), last=True), id="cut before a piece"),
        pytest.param(always(body(b'data: {"error": {"code": 529}}\n\n'), last=True), id="error event"),
    ],
)
def test_a_failure_after_the_headers_is_repeated_while_no_piece_is_out(
    serve: Callable[..., Server], responder_for: Callable[..., OpenAIResponder], first: Handler
) -> None:
    """Heartbeats and empty chunks are no pieces; nothing of the first attempt is left in the answer."""
    server = serve(in_turn(first, always(body(WHOLE))))
    with responder_for(server, max_retries=2).stream("Hi") as stream:
        assert list(stream) == ["Hel", "lo."]
    assert stream.attempts == len(server.requests) == 2


@pytest.mark.pain(20)
def test_an_error_of_the_request_itself_is_not_repeated(
    serve: Callable[..., Server], responder_for: Callable[..., OpenAIResponder]
) -> None:
    """It carries what the provider said."""
    refusal = json.dumps({"error": {"message": "no such field", "code": "unknown"}}).encode()
    server = serve(always(reply(refusal, "400 Bad Request", x_request_id="r-1")))
    stream = responder_for(server, max_retries=3).stream("Hi")
    with pytest.raises(BadRequestError, match="no such field") as raised:
        next(stream)
    assert (raised.value.status, raised.value.request_id, raised.value.attempts) == (400, "r-1", 1)
    assert len(server.requests) == 1


def test_a_key_that_has_expired_is_renewed_within_the_attempt(
    serve: Callable[..., Server], responder_for: Callable[..., OpenAIResponder]
) -> None:
    """Where the key is a callable; the first key is not sent again."""

    def handler(peer: Peer) -> None:
        while (request := peer.receive()) is not None:
            is_new = request.headers["authorization"] == "Bearer new-key"
            peer.send(body(WHOLE) if is_new else reply(b"{}", "401 Unauthorized"))

    server = serve(handler)
    held = ["old-key"]

    def key() -> str:
        found = held[0]
        held[0] = "new-key"
        return found

    with responder_for(server, api_key=key).stream("Hi") as stream:
        assert list(stream) == ["Hel", "lo."]
    assert stream.attempts == 1
    assert [request.headers["authorization"] for request in server.requests] == ["Bearer old-key", "Bearer new-key"]


# --- Time -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("keywords", "kind", "says"),
    [
        pytest.param({"timeout": Timeout(first=0.2)}, APITimeoutError, "first", id="first"),
        pytest.param({"timeout": 0.2}, APITimeoutError, "0.2 s", id="total"),
        pytest.param({"deadline": 0.2}, DeadlineExceededError, "deadline", id="deadline"),
    ],
)
def test_heartbeats_do_not_hold_off_the_end_of_the_time_before_the_first_piece(
    serve: Callable[..., Server],
    responder_for: Callable[..., OpenAIResponder],
    session: requests.Session | None,
    keywords: dict[str, Any],
    kind: type[APIError],
    says: str,
) -> None:
    """They never cease; the connection is freed all the same."""
    server = serve(beating())
    stream = responder_for(server, session=session).stream("Hi", **keywords)
    with pytest.raises(kind, match=says):
        next(stream)
    server.left.get(timeout=NOTICED)


@pytest.mark.parametrize(
    ("keywords", "kind", "says"),
    [
        pytest.param({"timeout": Timeout(gap=0.2)}, APITimeoutError, "gap", id="gap"),
        pytest.param({"timeout": 0.4}, APITimeoutError, "0.4 s", id="total"),
        pytest.param({"deadline": 0.4}, DeadlineExceededError, "deadline", id="deadline"),
    ],
)
def test_heartbeats_do_not_hold_off_the_end_of_the_time_after_a_piece(
    serve: Callable[..., Server],
    responder_for: Callable[..., OpenAIResponder],
    session: requests.Session | None,
    keywords: dict[str, Any],
    kind: type[APIError],
    says: str,
) -> None:
    """The text so far stays, and it is not asked again."""
    server = serve(beating(event("Hel")))
    stream = responder_for(server, session=session, max_retries=3).stream("Hi", **keywords)
    assert next(stream) == "Hel"
    with pytest.raises(kind, match=says):
        next(stream)
    assert stream.text == "Hel"
    assert stream.answer is None
    server.left.get(timeout=NOTICED)
    assert len(server.requests) == 1


def test_the_bound_on_the_first_piece_says_nothing_about_the_later_ones(
    serve: Callable[..., Server], responder_for: Callable[..., OpenAIResponder]
) -> None:
    """The second piece comes long after the first one had to be there."""

    def handler(peer: Peer) -> None:
        if peer.receive() is not None:
            peer.send(begun(event("Hel")))
            peer.server.stopping.wait(1.0)
            peer.send(body(event("lo.") + END).partition(b"\r\n\r\n")[2])

    with responder_for(serve(handler)).stream("Hi", timeout=Timeout(first=0.7)) as stream:
        assert list(stream) == ["Hel", "lo."]


# --- Cancelling -------------------------------------------------------------------------------------------------------


def test_a_stream_is_cancelled_before_its_headers_came(
    serve: Callable[..., Server], responder_for: Callable[..., OpenAIResponder], context: ssl.SSLContext | None
) -> None:
    """From another thread; the one that waits gets a CancelledError with the reason, and the server sees its client leave."""
    server = serve(silent, context)
    stream = responder_for(server).stream("Hi")
    reading = Reading(stream)
    server.wait_for(1)
    stream.cancel("the user left")
    error = reading.end()
    assert isinstance(error, CancelledError)
    assert "the user left" in str(error)
    server.left.get(timeout=NOTICED)
    assert stream.cancelled


def test_a_stream_is_cancelled_while_a_thread_waits_for_its_next_piece(
    serve: Callable[..., Server],
    responder_for: Callable[..., OpenAIResponder],
    context: ssl.SSLContext | None,
    session: requests.Session | None,
    authority_file: Path,
) -> None:
    """What came before stays."""
    if session is not None:
        session.verify = str(authority_file)
    server = serve(begin_and_wait(event("Hel")), context)
    stream = responder_for(server, session=session).stream("Hi")
    reading = Reading(stream)
    reading.wait_for_a_piece()
    stream.cancel()
    assert isinstance(reading.end(), CancelledError)
    server.left.get(timeout=NOTICED)
    assert stream.text == "Hel"
    assert stream.answer is None


def test_a_stream_is_cancelled_between_two_pieces(
    serve: Callable[..., Server],
    responder_for: Callable[..., OpenAIResponder],
    context: ssl.SSLContext | None,
    session: requests.Session | None,
    authority_file: Path,
) -> None:
    """While nobody reads: the connection is freed at once, not when somebody asks for the next piece."""
    if session is not None:
        session.verify = str(authority_file)
    server = serve(begin_and_wait(event("Hel")), context)
    stream = responder_for(server, session=session).stream("Hi")
    assert next(stream) == "Hel"
    canceller = threading.Thread(target=stream.cancel)
    canceller.start()
    canceller.join(PATIENCE)
    server.left.get(timeout=NOTICED)
    with pytest.raises(CancelledError):
        next(stream)


def test_pieces_that_had_arrived_are_not_handed_out_after_a_cancel(
    serve: Callable[..., Server], responder_for: Callable[..., OpenAIResponder]
) -> None:
    """Many come in one packet; who has cancelled wants none of them."""
    server = serve(begin_and_wait(*(event(str(number)) for number in range(100))))
    stream = responder_for(server).stream("Hi")
    assert next(stream) == "0"
    stream.cancel()
    with pytest.raises(CancelledError):
        next(stream)
    assert stream.text == "0"


def test_a_cancel_from_inside_the_loop_ends_it(
    serve: Callable[..., Server], responder_for: Callable[..., OpenAIResponder], session: requests.Session | None
) -> None:
    """Twice is once."""
    server = serve(begin_and_wait(event("Hel")))
    stream = responder_for(server, session=session).stream("Hi")

    def loop() -> None:
        for _ in stream:
            stream.cancel("enough")
            stream.cancel("again")

    with pytest.raises(CancelledError, match="enough"):
        loop()
    server.left.get(timeout=NOTICED)
    assert stream.text == "Hel"


def test_a_cancel_after_the_end_changes_nothing(
    serve: Callable[..., Server], responder_for: Callable[..., OpenAIResponder], session: requests.Session | None
) -> None:
    """The answer stays, and so does the connection."""
    server = serve(always(body(WHOLE)))
    gpt = responder_for(server, session=session)
    for _ in range(2):
        stream = gpt.stream("Hi")
        assert list(stream) == ["Hel", "lo."]
        stream.cancel()
        stream.close()
        assert not stream.cancelled
        assert stream.answer is not None
        assert list(stream) == []
    assert server.connections == 1


def test_a_connection_of_a_cancelled_stream_is_not_used_again(
    serve: Callable[..., Server], responder_for: Callable[..., OpenAIResponder]
) -> None:
    """What is left of the old answer never gets into the next one."""
    server = serve(in_turn(begin_and_wait(event("old") * 50), always(body(WHOLE))))
    gpt = responder_for(server)
    stream = gpt.stream("Hi")
    next(stream)
    stream.cancel()
    assert list(gpt.stream("Hi")) == ["Hel", "lo."]
    assert server.connections == 2


def test_a_stream_is_cancelled_while_it_waits_to_try_again(
    serve: Callable[..., Server], responder_for: Callable[..., OpenAIResponder]
) -> None:
    """The server asked for a minute."""
    server = serve(always(reply(b"{}", "429 Too Many Requests", Retry_After="60")))
    stream = responder_for(server, max_retries=3).stream("Hi")
    reading = Reading(stream)
    server.wait_for(1)
    stream.cancel()
    assert isinstance(reading.end(), CancelledError)
    assert len(server.requests) == 1


def test_a_stream_is_cancelled_while_it_waits_for_its_turn(
    serve: Callable[..., Server], responder_for: Callable[..., OpenAIResponder]
) -> None:
    """Another stream holds the only place; when that is cancelled, the place is free."""
    server = serve(in_turn(begin_and_wait(event("Hel")), always(body(WHOLE))))
    gpt = responder_for(server, limits=Limits(max_concurrency=1))
    first, second = gpt.stream("Hi"), gpt.stream("Hi")
    next(first)
    reading = Reading(second)
    second.cancel()
    assert isinstance(reading.end(), CancelledError)
    assert len(server.requests) == 1
    first.cancel()
    assert list(gpt.stream("Hi")) == ["Hel", "lo."]


def test_a_place_is_free_again_however_a_stream_ends(
    serve: Callable[..., Server], responder_for: Callable[..., OpenAIResponder]
) -> None:
    """Finished, failed, interrupted, blocked, or left: a leaked place would hold the next one up for ever."""
    ends: list[Handler] = [
        always(body(WHOLE), last=True),
        always(reply(b"{}", "400 Bad Request"), last=True),
        always(body(event("Hel")), last=True),
        always(body(event("Hel") + b'data: {"error": "x"}\n\n'), last=True),
        always(body(event("Hel") + event(finish="content_filter")), last=True),
        begin_and_wait(event("Hel")),
    ]
    server = serve(in_turn(*ends, always(body(WHOLE))))
    gpt = responder_for(server, limits=Limits(max_concurrency=1))
    for _ in ends[:-1]:
        read(gpt.stream("Hi", deadline=PATIENCE))
    with gpt.stream("Hi", deadline=PATIENCE) as left:
        next(left)
    assert list(gpt.stream("Hi", deadline=PATIENCE)) == ["Hel", "lo."]


@pytest.mark.parametrize("when", ["before", "waiting", "between"])
def test_a_token_cancels_its_stream(
    serve: Callable[..., Server],
    responder_for: Callable[..., OpenAIResponder],
    session: requests.Session | None,
    when: str,
) -> None:
    """Before it began, while a thread waits, and while nobody reads."""
    server = serve(begin_and_wait(event("Hel")))
    token = CancelToken()
    if when == "before":
        token.cancel("too late")
    stream = responder_for(server, session=session).stream("Hi", cancel=token)
    if when == "before":
        with pytest.raises(CancelledError, match="too late"):
            next(stream)
        assert server.connections == 0
        return
    reading = None
    if when == "waiting":
        reading = Reading(stream)
        reading.wait_for_a_piece()
    else:
        next(stream)
    token.cancel("too late")
    server.left.get(timeout=NOTICED)
    error = reading.end() if reading is not None else read(stream)[1]
    assert isinstance(error, CancelledError)
    assert "too late" in str(error)
    assert stream.cancelled


# --- Leaving ----------------------------------------------------------------------------------------------------------


def test_leaving_the_with_block_frees_the_connection(
    serve: Callable[..., Server], responder_for: Callable[..., OpenAIResponder], session: requests.Session | None
) -> None:
    """What was handed out stays."""
    server = serve(begin_and_wait(event("Hel")))
    with responder_for(server, session=session).stream("Hi") as stream:
        for _ in stream:
            break
    server.left.get(timeout=NOTICED)
    assert stream.text == "Hel"
    assert stream.cancelled


def test_an_exception_in_the_with_block_frees_the_connection_and_passes(
    serve: Callable[..., Server], responder_for: Callable[..., OpenAIResponder]
) -> None:
    """It is the caller's own."""
    server = serve(begin_and_wait(event("Hel")))

    def fail() -> None:
        with responder_for(server).stream("Hi") as stream:
            next(stream)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    server.left.get(timeout=NOTICED)


@pytest.mark.parametrize("has_token", [False, True])
def test_dropping_a_stream_frees_its_connection(
    serve: Callable[..., Server],
    responder_for: Callable[..., OpenAIResponder],
    session: requests.Session | None,
    has_token: bool,
) -> None:
    """A loop that was left by `break`; a token that lives on does not keep the stream alive."""
    server = serve(begin_and_wait(event("Hel")))
    token = CancelToken() if has_token else None
    stream = responder_for(server, session=session).stream("Hi", cancel=token)
    for _ in stream:
        break
    dropped = weakref.ref(stream)
    del stream
    assert dropped() is None
    server.left.get(timeout=NOTICED)


def test_a_stream_in_a_reference_cycle_is_freed_by_the_garbage_collector(
    serve: Callable[..., Server], responder_for: Callable[..., OpenAIResponder]
) -> None:
    """As one that an object of a web framework holds, which holds itself."""
    server = serve(begin_and_wait(event("Hel")))
    stream = responder_for(server).stream("Hi")
    next(stream)
    cycle: list[Any] = [stream]
    cycle.append(cycle)
    dropped = weakref.ref(stream)
    del stream, cycle
    ends = time.monotonic() + NOTICED
    while dropped() is not None and time.monotonic() < ends:
        gc.collect()  # in vain while another thread collects
    server.left.get(timeout=NOTICED)


def test_a_finished_stream_that_had_a_token_leaves_nothing_with_it(
    serve: Callable[..., Server], responder_for: Callable[..., OpenAIResponder]
) -> None:
    """A token that serves a whole program does not collect its streams."""
    token = CancelToken()
    gpt = responder_for(serve(always(body(WHOLE))))
    for _ in range(3):
        list(gpt.stream("Hi", cancel=token))
    assert not token._callbacks


def test_no_thread_is_left_over(
    serve: Callable[..., Server], responder_for: Callable[..., OpenAIResponder], session: requests.Session | None
) -> None:
    """Neither by a stream that ended, nor by one that was cancelled in the middle."""
    before = our_threads()
    server = serve(in_turn(begin_and_wait(event("Hel")), always(body(WHOLE))))
    gpt = responder_for(server, session=session)
    stream = gpt.stream("Hi")
    reading = Reading(stream)
    reading.wait_for_a_piece()
    stream.cancel()
    assert isinstance(reading.end(), CancelledError)
    assert list(gpt.stream("Hi")) == ["Hel", "lo."]
    for thread in our_threads() - before:
        thread.join(PATIENCE)
    assert our_threads() <= before


def test_an_unfinished_stream_does_not_hold_up_the_end_of_the_program(serve: Callable[..., Server]) -> None:
    """It is a global of a script, which ends."""
    server = serve(begin_and_wait(event("Hel")))
    script = textwrap.dedent(
        f"""
        from responder import OpenAIResponder
        stream = OpenAIResponder("m", api_key="k", base_url={server.url + "/v1"!r}).stream("Hi")
        print(next(stream))
        """
    )
    command = [sys.executable, "-W", "error", "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "Hel\n", "")
    server.left.get(timeout=NOTICED)


@pytest.mark.parametrize("status", [400, 401, 500])
def test_a_key_that_a_gateway_quotes_stands_nowhere_in_the_error(status: int) -> None:
    """Neither in the message, nor in the body, nor in the frames behind it."""
    secret = "key-of-nobody-0123456789"
    with Simulator() as simulator:
        simulator.always(Fault.status(status, body={"error": {"message": f"refused: {secret}"}}))
        gpt = OpenAIResponder("m", api_key=secret, base_url=simulator.base_url("openai"), max_retries=0)
        with pytest.raises(APIError) as caught:
            list(gpt.stream("Hi"))

    shown = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
    frames = "".join(line for frame in shown.stack if frame.filename.endswith("responder.py") for line in [str(frame.locals)])
    assert secret not in f"{caught.value} {caught.value.__dict__}{frames}"
