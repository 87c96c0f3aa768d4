"""One POST: what a server, a proxy, a certificate or a user's own session may do to it, and what comes out."""

from __future__ import annotations

import contextlib
import gzip
import logging
import pickle
import socket
import ssl
import threading
import time
import traceback
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import trustme
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from requests.adapters import HTTPAdapter
from servers import (
    PATIENCE,
    Peer,
    Server,
    always,
    dripping,
    in_turn,
    one_by_one,
    port_of_nobody,
    proxy,
    proxy_with_login,
    reply,
    reply_body,
    silent,
    silent_after,
    unreachable,
)

from responder import (
    Answer,
    APIConnectionError,
    APIError,
    APITimeoutError,
    BadRequestError,
    CancelledError,
    CancelToken,
    ConfigurationError,
    DeadlineExceededError,
    InvalidResponseError,
    OpenAIResponder,
    RateLimitError,
    Timeout,
)
from responder.pace.breaker import forget_breakers

HEADERS_ONLY = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n"
HALF = HEADERS_ONLY + b'{"id": "chat'

# A hang lasts as long as `timeout`, 30 s; whatever ends sooner than this did not wait for it.
SOON = 20.0


def ends_soon(step: Callable[[], object], error: type[BaseException]) -> Any:
    """Run a step that must raise long before the server would end it; return what it raised."""
    begin = time.monotonic()
    with pytest.raises(error) as caught:
        step()
    assert time.monotonic() - begin < SOON
    return caught.value


# --- Silence and slowness ---------------------------------------------------------------------------------------------


@pytest.mark.pain(1)
@pytest.mark.pain(2)
@pytest.mark.parametrize("said", [b"", b"HTTP/1.1 200", HEADERS_ONLY, HALF], ids=["nothing", "status", "headers", "half"])
def test_ends_at_timeout_when_the_server_falls_silent(ask: Any, said: bytes) -> None:
    """However much the server has said before it falls silent, the attempt ends at `timeout`."""
    error = ends_soon(lambda: ask(silent_after(said), timeout=0.3), APITimeoutError)
    assert error.retryable
    assert "timeout" in str(error)
    assert error.elapsed >= 0.3


@pytest.mark.pain(1)
@pytest.mark.pain(2)
def test_ends_at_deadline_when_the_server_falls_silent(ask: Any) -> None:
    """A call ends at its deadline though the attempt would have had more time."""
    error = ends_soon(lambda: ask(silent, timeout=60, deadline=0.3, max_retries=5), DeadlineExceededError)
    assert error.attempts == 1


@pytest.mark.pain(2)
@pytest.mark.parametrize("at_once", [0, len(HEADERS_ONLY)], ids=["headers", "body"])
def test_a_byte_now_and_then_does_not_hold_a_call_beyond_its_time(ask: Any, at_once: int) -> None:
    """A server that drips keeps every read alive, and the attempt ends at `timeout` all the same."""
    data = HEADERS_ONLY + b" " * 1000
    ends_soon(lambda: ask(dripping(data, 0.05, at_once=at_once), timeout=0.5), APITimeoutError)


@pytest.mark.acceptance(4)
@pytest.mark.pain(2)
@pytest.mark.parametrize("at_once", [0, len(HEADERS_ONLY)], ids=["headers", "body"])
def test_a_byte_now_and_then_does_not_hold_a_call_beyond_its_deadline(ask: Any, at_once: int) -> None:
    """The same with `deadline`, and over chunks that never end."""
    data = HEADERS_ONLY + b" " * 1000
    ends_soon(lambda: ask(dripping(data, 0.05, at_once=at_once), timeout=60, deadline=0.5), DeadlineExceededError)


@pytest.mark.pain(2)
def test_a_drip_over_tls_ends_at_the_deadline(ask: Any, trusted: Path, server_context: ssl.SSLContext) -> None:
    """TLS makes no difference to the clock."""
    handler = dripping(HEADERS_ONLY + b" " * 1000, 0.05, at_once=len(HEADERS_ONLY))
    ends_soon(lambda: ask(handler, server_context, timeout=60, deadline=0.5), DeadlineExceededError)


@pytest.mark.pain(1)
def test_ends_at_timeout_when_the_server_never_shakes_hands(serve: Any, responder_for: Any, trusted: Path) -> None:
    """A server that accepts and never begins TLS is left after the time for connecting."""
    server = serve(lambda peer: peer.wait_until_left())
    responder = responder_for(server.url.replace("http:", "https:"), timeout=Timeout(total=60, connect=0.3))
    ends_soon(lambda: responder.answer("Hi"), APITimeoutError)


@pytest.mark.pain(1)
def test_ends_after_the_time_for_connecting_when_nobody_accepts(responder_for: Any) -> None:
    """An address that swallows connections costs `connect` seconds, not `total`."""
    with unreachable() as port:
        responder = responder_for(f"http://127.0.0.1:{port}", timeout=Timeout(total=60, connect=0.3))
        ends_soon(lambda: responder.answer("Hi"), APITimeoutError)


@pytest.mark.pain(1)
@pytest.mark.parametrize("seconds", [1e7, 1e10, 1e300, float("inf")])
def test_a_timeout_of_any_length_is_fine(ask: Any, seconds: float) -> None:
    """People write huge numbers for "no limit"; no clock overflows."""
    assert ask(always(), timeout=seconds, deadline=seconds).text == "Hello."


# --- Cancelling -------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def in_a_thread(step: Callable[[], object]) -> Iterator[Callable[[], BaseException]]:
    """Run a step in a thread; yields what waits for its end, at most `SOON`, and returns what it raised."""
    raised: list[BaseException] = []

    def run() -> None:
        try:
            step()
        except BaseException as error:  # noqa: BLE001 - looked at by the test
            raised.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()

    def outcome() -> BaseException:
        thread.join(SOON)
        assert not thread.is_alive(), "the call went on after it was stopped"
        assert raised, "the call succeeded"
        return raised[0]

    yield outcome
    thread.join(PATIENCE)


def own_session() -> requests.Session:
    return requests.Session()


SESSIONS: list[Any] = [pytest.param(lambda: None, id="ours"), pytest.param(own_session, id="users")]


@pytest.mark.pain(1)
@pytest.mark.pain(3)
@pytest.mark.parametrize("session", SESSIONS)
@pytest.mark.parametrize("secure", [False, True], ids=["tcp", "tls"])
@pytest.mark.parametrize("said", [b"", HALF, b"HTTP/1.1 200 OK\r\n\r\n{"], ids=["before-headers", "mid-body", "until-close"])
def test_a_cancel_from_another_thread_ends_a_call(
    serve: Any,
    responder_for: Any,
    trusted: Path,
    server_context: ssl.SSLContext,
    said: bytes,
    secure: bool,
    session: Callable[[], Any],
) -> None:
    """Wherever the server has got to, a cancel ends the call and its connection; nothing of it is taken for an answer."""
    sent = threading.Event()

    def handler(peer: Peer) -> None:
        peer.receive()
        peer.send(said)
        sent.set()
        peer.wait_until_left()

    with contextlib.ExitStack() as stack:
        brought = session()
        if brought is not None:
            stack.enter_context(brought)
        server = serve(in_turn(handler, always()), server_context if secure else None)
        responder, token = responder_for(server, session=brought), CancelToken()
        with in_a_thread(lambda: responder.answer("Hi", cancel=token)) as outcome:
            assert sent.wait(PATIENCE)
            token.cancel("enough of this")
            error = outcome()
        assert isinstance(error, CancelledError)
        assert "enough of this" in str(error)
        assert error.attempts == 1
        if brought is None or said:  # before the headers there is no way to a connection that is the user's
            assert server.wait_for_leaving() == 0
        assert responder.answer("Hi").text == "Hello."
        assert server.connections == 2


@pytest.mark.pain(3)
def test_a_cancel_ends_a_call_that_is_still_connecting(responder_for: Any) -> None:
    """A connection that is never established is given up at once, too."""
    with unreachable() as port:
        responder, token = responder_for(f"http://127.0.0.1:{port}", timeout=Timeout(total=30, connect=30)), CancelToken()
        with in_a_thread(lambda: responder.answer("Hi", cancel=token)) as outcome:
            token.cancel()
            assert isinstance(outcome(), CancelledError)


@pytest.mark.pain(3)
def test_a_cancel_ends_a_call_that_shakes_hands(serve: Any, responder_for: Any, trusted: Path) -> None:
    """The handshake of TLS is not a place to hang in."""
    accepted = threading.Event()

    def handler(peer: Peer) -> None:
        peer._more()
        accepted.set()
        peer.wait_until_left()

    server = serve(handler)
    responder, token = responder_for(server.url.replace("http:", "https:")), CancelToken()
    with in_a_thread(lambda: responder.answer("Hi", cancel=token)) as outcome:
        assert accepted.wait(PATIENCE)
        token.cancel()
        assert isinstance(outcome(), CancelledError)


def test_a_cancelled_token_sends_nothing_and_spoils_no_connection(serve: Any, responder_for: Any) -> None:
    """A call under a token that was cancelled before leaves the idle connection to others."""
    server = serve(always())
    responder, token = responder_for(server), CancelToken()
    responder.answer("Hi")
    token.cancel()
    for _ in range(3):
        with pytest.raises(CancelledError):
            responder.answer("Hi", cancel=token)
    responder.answer("Hi")
    assert [request.prompt for request in server.requests] == ["Hi", "Hi"]
    assert server.connections == 1


def test_a_cancel_after_the_end_is_harmless(serve: Any, responder_for: Any) -> None:
    """A token outlives its call: cancelling it later touches no connection that others use."""
    server = serve(always())
    responder, token = responder_for(server), CancelToken()
    responder.answer("Hi", cancel=token)
    token.cancel()
    token.cancel()
    responder.answer("Hi")
    assert server.connections == 1


def test_cancels_at_any_moment_give_an_answer_or_a_cancelled_error(serve: Any, responder_for: Any) -> None:
    """A cancel that races with the end of a call gives one or the other, and the pool stays sound."""
    server = serve(always())
    responder = responder_for(server)
    for _ in range(200):
        token = CancelToken()
        outcome: list[object] = []
        thread = threading.Thread(target=lambda token=token, outcome=outcome: outcome.append(_asked(responder, token)))
        thread.start()
        server.inside.get(timeout=PATIENCE)
        token.cancel()
        thread.join(PATIENCE)
        assert isinstance(outcome[0], (Answer, CancelledError)), outcome
    assert responder.answer("Hi").text == "Hello."


def _asked(responder: OpenAIResponder, token: CancelToken) -> object:
    try:
        return responder.answer("Hi", cancel=token)
    except Exception as error:  # noqa: BLE001 - looked at by the test
        return error


# --- Broken replies ---------------------------------------------------------------------------------------------------


def reset_after(data: bytes) -> Callable[[Peer], None]:
    def handler(peer: Peer) -> None:
        if peer.receive() is not None:
            peer.send(data)
            peer.reset()

    return handler


def close_after(data: bytes) -> Callable[[Peer], None]:
    return always(data, last=True)


CUT_CHUNKS = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n10\r\n{"


@pytest.mark.parametrize("data", [b"", b"HTTP/1.1 20", HEADERS_ONLY, HALF, CUT_CHUNKS])
@pytest.mark.parametrize("end", [reset_after, close_after])
def test_a_reply_that_breaks_off_is_a_connection_error_worth_a_repeat(ask: Any, end: Any, data: bytes) -> None:
    """A reset or a close before the end of the body is never taken for an answer."""
    with pytest.raises(APIConnectionError) as caught:
        ask(end(data))
    assert caught.value.retryable
    assert not isinstance(caught.value, APITimeoutError)


def test_a_short_body_is_asked_for_again(ask: Any) -> None:
    """The next attempt may bring the whole."""
    answer = ask(in_turn(close_after(HALF), always()), max_retries=1)
    assert (answer.text, answer.attempts) == ("Hello.", 2)


def test_nobody_at_the_address_is_a_connection_error(responder_for: Any) -> None:
    """A port that nobody listens on is refused at once; the message names the host."""
    port = port_of_nobody()
    with pytest.raises(APIConnectionError, match=r"127\.0\.0\.1") as caught:
        responder_for(f"http://127.0.0.1:{port}").answer("Hi")
    assert caught.value.retryable


@pytest.mark.pain(6)
@pytest.mark.parametrize(
    "data",
    [
        reply(b"<html><body>Log in to the hotel</body></html>", Content_Type="text/html"),
        reply(b""),
        reply(b"null"),
        reply(b"[]"),
        reply(b'"text"'),
        reply(reply_body()[:-20]),
        reply(b"\xff\xfe\x00"),
        reply(b"[" * 100_000),
        reply(b'{"choices": []}'),
        b"HTTP/1.1 204 No Content\r\n\r\n",
    ],
)
def test_a_success_that_is_no_answer_is_an_invalid_response(ask: Any, data: bytes) -> None:
    """A 200 with a page of HTML, or with cut JSON, is an error that says where it came from, and may be tried again."""
    with pytest.raises(InvalidResponseError, match="base_url") as caught:
        ask(close_after(data))
    assert caught.value.retryable


@pytest.mark.parametrize(
    ("coding", "squeeze"),
    [("gzip", gzip.compress), ("GZIP", gzip.compress), ("x-gzip", gzip.compress), ("deflate", zlib.compress)],
)
def test_a_body_that_is_compressed_unasked_is_read(ask: Any, coding: str, squeeze: Callable[[bytes], bytes]) -> None:
    """Some gateways compress whatever was asked for."""
    assert ask(always(reply(squeeze(reply_body()), Content_Encoding=coding))).text == "Hello."


def test_a_body_in_chunks_is_read(ask: Any) -> None:
    """Chunks with extensions and a trailer are put together, and the connection stays usable."""
    body = reply_body()
    chunks = b"%x;a=b\r\n%s\r\n1\r\n%s\r\n0\r\nTrailer: x\r\n\r\n" % (len(body) - 1, body[:-1], body[-1:])
    assert ask(always(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks)).text == "Hello."


def test_a_reply_to_be_continued_is_awaited(ask: Any) -> None:
    """An interim 100 is not the reply."""
    assert ask(always(b"HTTP/1.1 100 Continue\r\n\r\n" + reply())).text == "Hello."


@pytest.mark.parametrize(
    "head",
    [
        b"Content-Length: 99999999999999999999999",
        b"Content-Length: 9999999999999999",
        b"Content-Length: -5",
        b"Content-Length: many",
        b"Transfer-Encoding: chunked\r\n\r\n-5\r\nabc",
        b"Transfer-Encoding: chunked\r\n\r\nffffffffffffffffffff\r\nabc",
        b"Transfer-Encoding: chunked\r\n\r\nzz\r\nabc",
        b"Content-Encoding: gzip\r\n\r\nno gzip",
        b"\r\n".join(b"X-%d: 1" % number for number in range(200)),
        b"X-Long: " + b"a" * 100_000,
        b"no colon in this line",
    ],
)
def test_nonsense_in_a_reply_is_an_error_of_ours(ask: Any, head: bytes) -> None:
    """Lengths and chunks that cannot be give an APIError, not a crash of the parser."""
    with pytest.raises(APIError):
        ask(close_after(b"HTTP/1.1 200 OK\r\n" + head + b"\r\n\r\nno JSON"))


def test_whatever_bytes_come_back_the_outcome_is_an_answer_or_an_error_of_ours(serve: Any, responder_for: Any) -> None:
    """Any bytes in place of a reply: never an exception of the machinery below."""
    said = [b""]

    def handler(peer: Peer) -> None:
        if peer.receive() is not None:
            peer.send(said[0])

    server = serve(handler)
    tokens = st.sampled_from(
        [
            b"HTTP/1.1 ", b"200", b" OK", b"\r\n", b"\r\n\r\n", b"Content-Length: ", b"Transfer-Encoding: chunked", b"-1",
            b"Content-Encoding: ", b"gzip", b"{}", b"[", b"0\r\n", b"429", b"Retry-After: ", b"Location: ", b"302", b"HTTP/0.9",
            b"Connection: close", b"\x00", reply_body(), b'{"error": ', b"}",
        ]
    )  # fmt: skip

    @settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck), database=None)
    @given(st.lists(tokens | st.binary(max_size=4), max_size=12).map(b"".join), st.booleans())
    def check(data: bytes, begun: bool) -> None:
        said[0] = b"HTTP/1.1 200 OK\r\n" + data if begun else data
        forget_breakers()  # a server that goes on like this would not be asked for long
        try:
            assert isinstance(responder_for(server).answer("Hi"), Answer)
        except APIError:
            pass

    check()


# --- Stale connections ------------------------------------------------------------------------------------------------


def fades_when_used_again(end: Callable[[Peer], None]) -> Callable[[Peer], None]:
    """Answer the first request of a connection; at the second one, break it off without a word."""

    def handler(peer: Peer) -> None:
        if peer.receive() is not None:
            peer.send(reply())
            if peer.receive() is not None:
                end(peer)

    return handler


@pytest.mark.pain(13)
@pytest.mark.parametrize("secure", [False, True], ids=["tcp", "tls"])
@pytest.mark.parametrize("end", [Peer.close, Peer.reset])
def test_a_connection_that_fades_when_it_is_used_again_costs_no_attempt(
    serve: Any, responder_for: Any, trusted: Path, server_context: ssl.SSLContext, end: Any, secure: bool
) -> None:
    """The server closed it while the request was on its way: the request goes out once more on a new one, uncounted."""
    server = serve(fades_when_used_again(end), server_context if secure else None)
    responder = responder_for(server)
    assert responder.answer("first").attempts == 1
    assert responder.answer("second").attempts == 1
    assert [request.prompt for request in server.requests] == ["first", "second", "second"]


def test_a_request_goes_out_twice_at_most_for_a_faded_connection(serve: Any, responder_for: Any) -> None:
    """When the new connection fades, too, the attempt has failed: a POST may be billed each time."""
    server = serve(in_turn(fades_when_used_again(Peer.close), close_after(b"")))
    responder = responder_for(server)
    responder.answer("first")
    with pytest.raises(APIConnectionError):
        responder.answer("second")
    assert [request.prompt for request in server.requests] == ["first", "second", "second"]


def test_a_request_is_not_repeated_once_a_byte_of_its_reply_has_come(serve: Any, responder_for: Any) -> None:
    """A reply that breaks off after its first byte may be billed: only the retry policy may repeat it."""

    def handler(peer: Peer) -> None:
        peer.receive()
        peer.send(reply())
        peer.receive()
        peer.send(b"H")

    server = serve(handler)
    responder = responder_for(server)
    responder.answer("first")
    with pytest.raises(APIConnectionError):
        responder.answer("second")
    assert len(server.requests) == 2


def test_a_connection_that_the_server_closed_while_idle_is_not_used(serve: Any, responder_for: Any) -> None:
    """A close that has already arrived is seen before anything is sent."""
    server = serve(always(last=True))
    responder = responder_for(server)
    for prompt in ("a", "b", "c"):
        assert responder.answer(prompt).text == "Hello."
    assert [request.prompt for request in server.requests] == ["a", "b", "c"]


def test_bytes_that_nobody_asked_for_spoil_no_later_answer(serve: Any, responder_for: Any) -> None:
    """What a server sends beyond a reply is never read as the reply to the next request."""
    extra = reply(reply_body("stale"))

    def handler(peer: Peer) -> None:
        while (request := peer.receive()) is not None:
            peer.send(reply(reply_body(f"to {request.prompt}")) + extra)

    responder = responder_for(serve(handler))
    assert [responder.answer(prompt).text for prompt in "abc"] == ["to a", "to b", "to c"]


@pytest.mark.pain(7)
def test_a_reply_that_comes_unasked_is_not_the_answer_to_the_next_request(serve: Any, responder_for: Any) -> None:
    """A reply that was sent twice by mistake, and late, must not be handed to the next caller."""
    ready, sent = threading.Event(), threading.Event()

    def handler(peer: Peer) -> None:
        while (request := peer.receive()) is not None:
            peer.send(reply(reply_body(f"to {request.prompt}")))
            if request.prompt == "a":
                ready.wait(PATIENCE)
                peer.send(reply(reply_body("to a, once more")))
                sent.set()

    responder = responder_for(serve(handler))
    assert responder.answer("a").text == "to a"
    ready.set()
    assert sent.wait(PATIENCE)
    assert responder.answer("b").text == "to b"


def test_a_reply_that_says_close_is_the_last_one_on_its_connection(serve: Any, responder_for: Any) -> None:
    """`Connection: close` is believed."""
    server = serve(always(reply(Connection="close")))
    responder = responder_for(server)
    responder.answer("Hi")
    responder.answer("Hi")
    assert server.connections == 2


# --- Redirects, cookies, netrc ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("session", SESSIONS)
@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "303 See Other", "307 Temporary", "308 Permanent"])
def test_a_redirect_is_refused_and_the_key_does_not_travel(serve: Any, responder_for: Any, status: str, session: Any) -> None:
    """Following it would hand the key to whoever is named there."""
    target = serve(always())
    server = serve(always(reply(b"{}", status, Location=f"{target.url}/elsewhere")))
    with contextlib.ExitStack() as stack:
        brought = session()
        if brought is not None:
            stack.enter_context(brought)
        with pytest.raises(BadRequestError, match="base_url") as caught:
            responder_for(server, session=brought).answer("Hi")
    assert caught.value.status == int(status[:3])
    assert not caught.value.retryable
    assert target.requests == []


@pytest.mark.parametrize("location", ["http://[", "//", "ftp://x/y", "\u00e9", ""])
@pytest.mark.parametrize("session", SESSIONS)
def test_a_redirect_to_nonsense_is_an_error_of_ours(ask: Any, location: str, session: Any) -> None:
    """The target is not even looked at."""
    data = reply(b"{}", "302 Found", Location="X").replace(b"Location: X", b"Location: " + location.encode())
    with contextlib.ExitStack() as stack:
        brought = session()
        if brought is not None:
            stack.enter_context(brought)
        with pytest.raises(APIError):
            ask(always(data), session=brought)


@pytest.mark.acceptance(11)
@pytest.mark.parametrize("session", SESSIONS)
def test_a_netrc_entry_does_not_replace_the_key(
    serve: Any, responder_for: Any, session: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`requests` prefers a .netrc entry of the host to an Authorization header; ours must win."""
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login somebody password else\ndefault login somebody password else\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    server = serve(always())
    with contextlib.ExitStack() as stack:
        brought = session()
        if brought is not None:
            stack.enter_context(brought)
        responder_for(server, session=brought).answer("Hi")
    assert server.requests[0].headers["authorization"] == "Bearer test-key"
    assert server.requests[0].names.count("authorization") == 1


def test_cookies_are_not_carried_from_one_call_to_the_next(serve: Any, responder_for: Any) -> None:
    """One caller's cookie must not be sent for another caller."""
    server = serve(always(reply(Set_Cookie="tenant=a; Path=/")))
    responder = responder_for(server)
    responder.answer("Hi")
    responder.answer("Hi")
    assert all("cookie" not in request.headers for request in server.requests)


@pytest.mark.parametrize("session", SESSIONS)
def test_the_request_is_the_one_that_was_meant(serve: Any, responder_for: Any, session: Any) -> None:
    """Each header once, the body as it was built, its length said; no compression asked for."""
    server = serve(always())
    with contextlib.ExitStack() as stack:
        brought = session()
        if brought is not None:
            stack.enter_context(brought)
        headers = {"X-Team": "red", "user-agent": "mine"}
        responder_for(server, session=brought, extra_headers=headers).answer("Hé \ud83d\ude00 \ud800")
    request = server.requests[0]
    assert request.line == "POST /v1/chat/completions HTTP/1.1"
    assert request.headers["host"] == f"127.0.0.1:{server.port}"
    assert request.headers["content-type"] == "application/json"
    assert request.headers["accept-encoding"] == "identity"
    assert request.headers["x-team"] == "red"
    assert request.headers["user-agent"] == "mine"
    assert len(set(request.names)) == len(request.names)
    assert request.prompt.startswith("Hé ")


# --- What cannot be sent ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", ["a\nX-Evil: 1", "a\r\nX-Evil: 1", "a\rX-Evil: 1", "a\0b", "\u20ac"])
def test_a_header_that_would_break_the_request_is_refused(serve: Any, responder_for: Any, value: str) -> None:
    """A line break in a header would smuggle another one in; nothing is sent."""
    server = serve(always())
    with pytest.raises(ConfigurationError, match="header"):
        responder_for(server, extra_headers={"X-Team": value}).answer("Hi")
    assert server.requests == []


@pytest.mark.parametrize("session", SESSIONS)
@pytest.mark.parametrize("key", ["caf\u00e9 \u20ac key-that-is-secret", "a\nb key-that-is-secret"])
def test_a_key_that_no_header_can_hold_is_refused_without_showing_it(ask: Any, key: str, session: Any) -> None:
    """Keys that were pasted with quotes or dashes of a word processor get a clear error, and are not quoted."""
    with contextlib.ExitStack() as stack:
        brought = session()
        if brought is not None:
            stack.enter_context(brought)
        with pytest.raises(ConfigurationError, match="api_key") as caught:
            ask(always(), api_key=key, session=brought)
    assert "secret" not in everything_about(caught.value)


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:99999/v1", "http://h:port/v1", "http://[::1/v1", "ftp://h/v1", "127.0.0.1:80", "http:///v1", " "]
)
def test_a_base_url_that_cannot_be_is_refused_at_once(url: str) -> None:
    """The message says what a base_url looks like; nothing is sent."""
    with pytest.raises(ConfigurationError, match="base_url"):
        OpenAIResponder("m", api_key="k", base_url=url)


@pytest.mark.parametrize("url", ["http://.example.com/v1", f"http://{'a' * 64}.com/v1", "https://..", "http://a..b"])
def test_a_host_that_cannot_be_is_not_asked_for_again(responder_for: Any, url: str) -> None:
    """A name that no resolver takes will not get better."""
    with pytest.raises((APIConnectionError, ConfigurationError)) as caught:
        responder_for(url, max_retries=3).answer("Hi")
    assert caught.value.attempts <= 1


# --- Proxies ----------------------------------------------------------------------------------------------------------


@pytest.fixture(params=["ours", "users"])
def brought(request: pytest.FixtureRequest) -> Iterator[requests.Session | None]:
    """No session, so that ours is used; then one that the user brings."""
    if request.param == "ours":
        yield None
    else:
        with requests.Session() as session:
            yield session


@pytest.mark.acceptance(11)
@pytest.mark.pain(24)
def test_https_goes_through_the_tunnel_of_the_proxy(
    serve: Any, responder_for: Any, trusted: Path, server_context: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch, brought: Any
) -> None:
    """HTTPS_PROXY is honoured: the proxy sees a CONNECT and no key."""
    server, middle = serve(always(), server_context), serve(proxy)
    monkeypatch.setenv("HTTPS_PROXY", middle.url)
    responder = responder_for(server, session=brought)
    assert responder.answer("Hi").text == "Hello."
    assert responder.answer("Hi").text == "Hello."
    assert {request.target for request in middle.requests} == {f"localhost:{server.port}"}
    assert all(request.line.startswith("CONNECT ") for request in middle.requests)
    assert "authorization" not in middle.requests[0].headers
    if brought is None:
        assert len(middle.requests) == 1
    responder.close()


def test_what_a_proxy_sends_behind_its_reply_to_connect_is_refused(
    serve: Any, responder_for: Any, trusted: Path, server_context: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The provider has not spoken yet: whatever comes is the proxy's own."""

    def chatty(peer: Peer) -> None:
        if peer.receive() is not None:
            peer.send(b"HTTP/1.1 200 OK\r\n\r\n" + reply())
            peer.wait_until_left()

    server = serve(always(), server_context)
    monkeypatch.setenv("HTTPS_PROXY", serve(chatty).url)
    with pytest.raises(APIConnectionError, match="behind its reply to CONNECT"):
        responder_for(server).answer("Hi")
    assert not server.requests


@pytest.mark.pain(24)
def test_http_goes_through_the_proxy_in_absolute_form(
    serve: Any, responder_for: Any, monkeypatch: pytest.MonkeyPatch, brought: Any
) -> None:
    """HTTP_PROXY is honoured; the request names the whole URL."""
    middle = serve(proxy)
    monkeypatch.setenv("http_proxy", middle.url)
    assert responder_for("http://model.example:8080", session=brought).answer("Hi").text == "Hello."
    request = middle.requests[0]
    assert request.target == "http://model.example:8080/v1/chat/completions"
    assert request.headers["host"] == "model.example:8080"


@pytest.mark.pain(24)
@pytest.mark.parametrize("secure", [False, True], ids=["http", "https"])
def test_the_login_of_the_proxy_is_sent_to_the_proxy_alone(
    serve: Any,
    responder_for: Any,
    trusted: Path,
    server_context: ssl.SSLContext,
    monkeypatch: pytest.MonkeyPatch,
    brought: Any,
    secure: bool,
) -> None:
    """User and password of the proxy's URL log in there, percent-encoding undone, and do not reach the provider."""
    server = serve(always(), server_context if secure else None)
    middle = serve(proxy_with_login("me", "p@ss word"))
    monkeypatch.setenv("ALL_PROXY", f"http://me:p%40ss%20word@127.0.0.1:{middle.port}")
    responder = responder_for(server, session=brought)
    assert responder.answer("Hi").text == "Hello."
    assert all("proxy-authorization" not in request.headers for request in server.requests)
    responder.close()


@pytest.mark.pain(24)
def test_a_proxy_that_refuses_says_so_and_the_password_stays_out(
    serve: Any, responder_for: Any, trusted: Path, server_context: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch, brought: Any
) -> None:
    """A wrong login at the proxy will not get better by repeating it."""
    server, middle = serve(always(), server_context), serve(proxy_with_login("me", "right"))
    monkeypatch.setenv("HTTPS_PROXY", f"http://me:wrong-secret@127.0.0.1:{middle.port}")
    with pytest.raises(APIConnectionError, match="407") as caught:
        responder_for(server, session=brought, max_retries=2).answer("Hi")
    assert "secret" not in everything_about(caught.value)
    assert len(middle.requests) == 1


@pytest.mark.pain(24)
@pytest.mark.parametrize("exempt", ["127.0.0.1", "*", "127.0.0.0/8"])
def test_no_proxy_is_honoured(serve: Any, responder_for: Any, monkeypatch: pytest.MonkeyPatch, brought: Any, exempt: str) -> None:
    """What NO_PROXY names is called directly."""
    server, middle = serve(always()), serve(proxy)
    monkeypatch.setenv("HTTP_PROXY", middle.url)
    monkeypatch.setenv("NO_PROXY", exempt)
    responder_for(server, session=brought).answer("Hi")
    assert (len(server.requests), len(middle.requests)) == (1, 0)


@pytest.mark.pain(24)
def test_a_proxy_without_a_scheme_is_understood(serve: Any, responder_for: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """People write HTTP_PROXY=host:port."""
    middle = serve(proxy)
    monkeypatch.setenv("http_proxy", f"127.0.0.1:{middle.port}")
    responder_for("http://model.example").answer("Hi")
    assert middle.requests[0].target == "http://model.example/v1/chat/completions"


@pytest.mark.pain(24)
def test_a_tunnel_to_an_ipv6_address_names_it_in_brackets(
    serve: Any, responder_for: Any, trusted: Path, server_context: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise nobody could tell the address from the port."""
    if not has_ipv6():
        pytest.skip("this machine has no IPv6 loopback")
    server, middle = serve(always(), server_context, host="::1"), serve(proxy)
    monkeypatch.setenv("HTTPS_PROXY", middle.url)
    responder = responder_for(f"https://[::1]:{server.port}")
    assert responder.answer("Hi").text == "Hello."
    assert middle.requests[0].target == f"[::1]:{server.port}"
    responder.close()


def has_ipv6() -> bool:
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False


def test_an_ipv6_address_is_called(serve: Any, responder_for: Any) -> None:
    """Brackets in the URL are for the URL, not for the socket."""
    if not has_ipv6():
        pytest.skip("this machine has no IPv6 loopback")
    server = serve(always(), host="::1")
    assert responder_for(server).answer("Hi").text == "Hello."
    assert server.requests[0].headers["host"] == f"[::1]:{server.port}"


# --- TLS --------------------------------------------------------------------------------------------------------------


@pytest.mark.acceptance(11)
@pytest.mark.pain(24)
@pytest.mark.parametrize("variable", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
def test_the_ca_bundle_of_the_environment_is_trusted(
    ask: Any,
    server_context: ssl.SSLContext,
    authority_file: Path,
    monkeypatch: pytest.MonkeyPatch,
    variable: str,
    brought: Any,
) -> None:
    """A company's own CA is trusted once the customary variable names it."""
    monkeypatch.setenv(variable, str(authority_file))
    assert ask(always(), server_context, session=brought).text == "Hello."


@pytest.mark.pain(24)
@pytest.mark.pain(10)
def test_a_certificate_that_nobody_vouches_for_is_refused_once_and_the_message_names_the_fix(
    serve: Any, responder_for: Any, server_context: ssl.SSLContext, brought: Any
) -> None:
    """Repeating will not make it trusted; the message says what to set instead of switching the check off."""
    server = serve(always(), server_context)
    with pytest.raises(APIConnectionError, match="REQUESTS_CA_BUNDLE") as caught:
        responder_for(server, session=brought, max_retries=3).answer("Hi")
    assert not caught.value.retryable
    assert caught.value.fatal
    assert caught.value.attempts == 1
    assert server.connections == 1
    assert server.requests == []


@pytest.mark.pain(24)
def test_a_certificate_of_another_name_is_refused(
    serve: Any, responder_for: Any, trusted: Path, authority: trustme.CA, brought: Any
) -> None:
    """The name is checked, not only the signature."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("elsewhere.example").configure_cert(context)
    with pytest.raises(APIConnectionError) as caught:
        responder_for(serve(always(), context), session=brought).answer("Hi")
    assert not caught.value.retryable


def test_a_server_that_speaks_no_tls_is_not_asked_again(serve: Any, responder_for: Any, trusted: Path) -> None:
    """TLS towards a plain port is a mistake in base_url."""

    def handler(peer: Peer) -> None:
        peer._more()
        peer.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    server = serve(handler)
    with pytest.raises(APIConnectionError) as caught:
        responder_for(server.url.replace("http:", "https:"), max_retries=3).answer("Hi")
    assert caught.value.attempts == 1


@pytest.mark.pain(24)
@pytest.mark.parametrize("content", [None, "no certificate"])
def test_a_ca_bundle_that_is_none_is_a_configuration_error(
    ask: Any, server_context: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: str | None
) -> None:
    """A variable that names a missing or an empty file is named in the message."""
    bundle = tmp_path / "bundle.pem"
    if content is not None:
        bundle.write_text(content)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(bundle))
    with pytest.raises(ConfigurationError, match="REQUESTS_CA_BUNDLE"):
        ask(always(), server_context)


@pytest.mark.pain(13)
def test_the_ca_bundle_is_loaded_once_for_many_connections(
    serve: Any, responder_for: Any, trusted: Path, server_context: ssl.SSLContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Loading it costs 11 ms of CPU; responders and connections share one context."""
    bundle = tmp_path / "fresh.pem"
    bundle.write_bytes(trusted.read_bytes())
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(bundle))
    loads = []
    load = ssl.SSLContext.load_verify_locations

    def counted(self: ssl.SSLContext, *args: Any, **keywords: Any) -> None:
        loads.append(args or keywords)
        load(self, *args, **keywords)

    monkeypatch.setattr(ssl.SSLContext, "load_verify_locations", counted)
    server = serve(always(reply(Connection="close")), server_context)
    for _ in range(3):
        responder = responder_for(server)
        for _ in range(3):
            responder.answer("Hi")
    assert server.connections == 9
    assert len(loads) == 1


@pytest.mark.pain(13)
def test_calls_over_tls_share_a_connection(serve: Any, responder_for: Any, trusted: Path, server_context: ssl.SSLContext) -> None:
    """Calls one after another shake hands once."""
    server = serve(always(), server_context)
    responder = responder_for(server)
    for _ in range(5):
        responder.answer("Hi")
    assert server.connections == 1


@pytest.mark.parametrize(("version", "works"), [("0.9.2", False), ("0.10.4", False), ("0.10.5", True), ("0.11.0", True)])
@pytest.mark.parametrize("system", ["darwin", "win32", "linux"])
def test_a_truststore_that_cannot_work_is_named(
    trusted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str, works: bool, system: str
) -> None:
    """Before 0.10.5 it looks for a certificate before the handshake, on Windows and macOS."""
    import importlib.metadata
    import sys

    import truststore

    from responder.wire.tls import tls_context

    bundle = tmp_path / "fresh.pem"
    bundle.write_bytes(trusted.read_bytes())
    monkeypatch.setattr(ssl, "SSLContext", truststore.SSLContext)  # what `truststore.inject_into_ssl()` does
    monkeypatch.setattr(sys, "platform", system)
    monkeypatch.setattr(importlib.metadata, "version", lambda name: version)
    if works or system == "linux":
        assert tls_context(str(bundle))
    else:
        with pytest.raises(ConfigurationError, match=r"truststore>=0\.10\.5"):
            tls_context(str(bundle))


# --- A session of the user's own --------------------------------------------------------------------------------------


def test_a_session_of_the_users_own_stays_open_when_the_responder_closes(serve: Any) -> None:
    """It belongs to the user, who may go on with it."""
    server = serve(always())
    with requests.Session() as session:
        with OpenAIResponder("m", api_key="k", base_url=f"{server.url}/v1", session=session) as responder:
            responder.answer("Hi")
        assert session.post(f"{server.url}/v1", data=b"{}", timeout=PATIENCE).status_code == 200
        assert server.connections == 1


@pytest.mark.pain(2)
@pytest.mark.parametrize("said", [b"", HALF], ids=["silence", "half"])
def test_a_session_of_the_users_own_is_bounded_by_the_deadline(ask: Any, said: bytes) -> None:
    """Whatever the session does, the caller is free at the deadline."""
    with requests.Session() as session:
        ends_soon(lambda: ask(silent_after(said), session=session, deadline=0.5), DeadlineExceededError)


@pytest.mark.pain(2)
@pytest.mark.parametrize("at_once", [0, len(HEADERS_ONLY)], ids=["headers", "body"])
def test_a_drip_does_not_hold_a_session_of_the_users_own(serve: Any, responder_for: Any, at_once: int) -> None:
    """Its read timeout would start anew with each byte; the call ends all the same, and the connection with it."""
    server = serve(dripping(HEADERS_ONLY + b" " * 1000, 0.05, at_once=at_once))
    with requests.Session() as session:
        responder = responder_for(server, session=session, timeout=0.5)
        ends_soon(lambda: responder.answer("Hi"), APITimeoutError)
        if at_once:
            server.wait_for_leaving()
    server.stopping.set()


def test_adapters_of_the_users_own_are_used(serve: Any, responder_for: Any) -> None:
    """An adapter that is mounted on the session sees the call."""
    seen = []

    class Counting(HTTPAdapter):
        def send(self, request: Any, *args: Any, **keywords: Any) -> Any:
            seen.append(request.headers["Authorization"])
            return super().send(request, *args, **keywords)

    with requests.Session() as session:
        session.mount("http://", Counting())
        session.headers["X-From-Session"] = "yes"
        server = serve(always())
        responder_for(server, session=session).answer("Hi")
    assert seen == ["Bearer test-key"]
    assert server.requests[0].headers["x-from-session"] == "yes"


def test_retries_of_the_users_adapter_are_the_users_business(serve: Any, responder_for: Any) -> None:
    """Our own session has none; an adapter that raises anything at all gives an error of ours."""

    class Broken(HTTPAdapter):
        def send(self, request: Any, *args: Any, **keywords: Any) -> Any:
            raise requests.exceptions.RetryError("too many", request=request)

    with requests.Session() as session:
        session.mount("http://", Broken())
        with pytest.raises(APIConnectionError) as caught:
            responder_for("http://127.0.0.1:9", session=session).answer("Hi")
    assert "test-key" not in everything_about(caught.value)


@pytest.mark.pain(24)
def test_a_client_certificate_is_shown_by_a_session_of_the_users_own(
    serve: Any, responder_for: Any, authority: trustme.CA, authority_file: Path, tmp_path: Path
) -> None:
    """Mutual TLS works by `session.cert`; without it the server refuses."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    authority.configure_trust(context)
    context.verify_mode = ssl.CERT_REQUIRED
    pair = tmp_path / "client.pem"
    authority.issue_cert("client@example.org").private_key_and_cert_chain_pem.write_to_path(str(pair))
    server = serve(always(), context)
    with requests.Session() as session:
        session.verify = str(authority_file)
        with pytest.raises(APIConnectionError):
            responder_for(server, session=session).answer("Hi")
        session.cert = str(pair)
        assert responder_for(server, session=session).answer("Hi").text == "Hello."


def test_responses_mocks_a_session(responder_for: Any) -> None:
    """Tests that use `responses` go on working when they hand in a plain session."""
    import responses

    with responses.RequestsMock() as mock, requests.Session() as session:
        mock.post("http://model.example/v1/chat/completions", body=reply_body("mocked"), content_type="application/json")
        responder = responder_for("http://model.example", session=session)
        assert responder.answer("Hi").text == "mocked"
        assert mock.calls[0].request.headers["Authorization"] == "Bearer test-key"
        mock.replace(responses.POST, "http://model.example/v1/chat/completions", status=429, headers={"Retry-After": "7"})
        with pytest.raises(RateLimitError) as caught:
            responder.answer("Hi")
        assert caught.value.retry_after == 7.0


def test_requests_mock_mocks_a_session(responder_for: Any) -> None:
    """The same for `requests-mock`, with its adapter on the session, and with its connection errors."""
    import requests_mock

    with requests.Session() as session:
        adapter = requests_mock.Adapter()
        session.mount("http://", adapter)
        adapter.register_uri("POST", "http://other.example/v1/chat/completions", [
            {"content": reply_body("mocked")},
            {"exc": requests.exceptions.ConnectTimeout},
        ])  # fmt: skip
        responder = responder_for("http://other.example", session=session)
        assert responder.answer("Hi").text == "mocked"
        with pytest.raises(APITimeoutError):
            responder.answer("Hi")


def test_vcr_records_a_call_and_plays_it_back(serve: Any, responder_for: Any, tmp_path: Path) -> None:
    """A cassette is recorded against a server, and answers when the server is gone."""
    import vcr

    recorder = vcr.VCR(cassette_library_dir=str(tmp_path), filter_headers=["authorization"])
    server = serve(always())
    with requests.Session() as session:
        responder = responder_for(server, session=session)
        with recorder.use_cassette("one.yaml"):
            assert responder.answer("Hi").text == "Hello."
        with recorder.use_cassette("one.yaml", record_mode="none") as cassette:
            assert responder.answer("Hi").text == "Hello."
            assert cassette.play_count == 1
    assert len(server.requests) == 1


# --- Secrets ----------------------------------------------------------------------------------------------------------

KEY = "key-of-no-known-form-2718281828"


def everything_about(error: BaseException) -> str:
    """Return all that a logger, a crash reporter or a pickle could show of an error and of those behind it."""
    shown = []
    seen: set[int] = set()
    todo: list[BaseException | None] = [error]
    while todo:
        found = todo.pop()
        if found is None or id(found) in seen:
            continue
        seen.add(id(found))
        shown += [str(found), repr(found), repr(vars(found)), repr(found.args)]
        for attribute in ("request", "response", "object", "url", "pool"):
            held = getattr(found, attribute, None)
            shown += [repr(held), repr(getattr(held, "headers", None))]
        frames = traceback.TracebackException.from_exception(found, capture_locals=True)
        frames.stack = traceback.StackSummary.from_list(
            [frame for frame in frames.stack if "/responder/" in frame.filename.replace("\\", "/")]
        )
        shown.append("".join(frames.format(chain=False)))
        todo += [found.__cause__, found.__context__]
    with contextlib.suppress(Exception):
        shown.append(repr(pickle.dumps(error)))
    return "\n".join(shown)


TROUBLES: dict[str, Any] = {
    "silence": silent,
    "reset": reset_after(HALF),
    "cut": close_after(HALF),
    "html": always(reply(b"<html>")),
    "refused": always(reply(b'{"error": {"message": "no"}}', "401 Unauthorized")),
    "limit": always(reply(b"{}", "429 Too Many Requests")),
    "echo": None,
}


def echo(peer: Peer) -> None:
    """Refuse a key the way some gateways do: by quoting it."""
    request = peer.receive()
    if request is not None:
        said = f'{{"error": {{"message": "wrong key: {request.headers["authorization"]}"}}}}'
        peer.send(reply(said.encode(), "401 Unauthorized"))


@pytest.mark.parametrize("trouble", TROUBLES)
def test_no_error_shows_the_key(
    serve: Any, responder_for: Any, trouble: str, brought: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """Not in its text, its attributes, its pickle, its causes, the locals of its traceback, nor in a log."""
    caplog.set_level(logging.DEBUG)
    server = serve(TROUBLES[trouble] or echo)
    with pytest.raises(APIError) as caught:
        responder_for(server, api_key=KEY, session=brought, timeout=0.5).answer("Hi")
    assert KEY not in everything_about(caught.value)
    assert KEY not in caplog.text


def test_no_error_of_a_map_shows_the_key(serve: Any, responder_for: Any) -> None:
    """The same for what a batch collects."""
    batch = responder_for(serve(reset_after(HALF)), api_key=KEY).map(["a", "b"])
    assert all(KEY not in everything_about(result.error) for result in batch)
    assert KEY.encode() not in pickle.dumps(batch)


def test_a_responder_shows_no_key() -> None:
    """Neither its repr nor its pickle holds the key, wherever it was given."""
    responder = OpenAIResponder("m", api_key=KEY, extra_headers={"X-Api-Key": KEY})
    assert KEY not in repr(responder)
    assert KEY not in repr(OpenAIResponder("m", api_key=KEY, base_url=f"https://me:{KEY}@h/v1?key={KEY}"))
    assert KEY not in repr(responder._credential)
    assert KEY.encode() not in pickle.dumps(responder)


# --- Threads ----------------------------------------------------------------------------------------------------------


@pytest.mark.pain(13)
def test_as_many_threads_open_as_many_connections_and_later_calls_use_them_again(serve: Any, responder_for: Any) -> None:
    """The pool keeps what the threads opened: no limit of ten, no handshake for each call."""
    together = threading.Barrier(32)

    def handler(peer: Peer) -> None:
        while peer.receive() is not None:
            together.wait(PATIENCE)
            peer.send(reply())

    server = serve(handler)
    responder = responder_for(server)
    for _ in range(3):
        assert responder.map(["Hi"] * 32, max_workers=32).ok
    assert server.connections == 32


def test_threads_get_their_own_answers(serve: Any, responder_for: Any) -> None:
    """Thirty-two threads over one responder never mix up replies."""

    def handler(peer: Peer) -> None:
        while (request := peer.receive()) is not None:
            peer.send(reply(reply_body(f"to {request.prompt}")))

    responder = responder_for(serve(handler))
    prompts = [f"prompt {number}" for number in range(600)]
    assert responder.map(prompts, max_workers=32).texts() == [f"to {prompt}" for prompt in prompts]


def test_closing_drops_idle_connections_and_the_responder_works_on(serve: Any, responder_for: Any) -> None:
    """`close` is no end: the next call opens a new connection."""
    server = serve(always())
    responder = responder_for(server)
    responder.answer("Hi")
    responder.close()
    responder.close()
    assert responder.answer("Hi").text == "Hello."
    assert server.connections == 2


def test_a_silent_server_is_left_alone_after_its_share_of_attempts(serve: Any, responder_for: Any) -> None:
    """Each attempt has its own time; the server sees each of them once."""
    server: Server = serve(one_by_one(None, reply()))
    answer = responder_for(server, timeout=1.5, max_retries=1).answer("Hi")
    assert answer.attempts == 2
    assert len(server.requests) == 2
