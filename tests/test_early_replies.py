"""A server that answers while the request is still being sent: its reply is read, at once and once."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from servers import PATIENCE, Peer, always, in_turn, proxy, reply

from responder import APIConnectionError, APIStatusError, APITimeoutError
from responder.wire.connection import _is_refusal

# More than the operating system takes off our hands when nobody reads: sending must block.
LARGE = "x" * 20_000_000

# What a server that reads all of it can take in a moment.
MEDIUM = "x" * 3_000_000

# The time of an attempt that would have to pass if the reply were not read.
LONG = 90.0

REFUSALS = {
    413: reply(b'{"error": {"message": "too long"}}', "413 Content Too Large"),
    401: reply(b'{"error": {"message": "no key"}}', "401 Unauthorized"),
    429: reply(b'{"error": {"message": "too fast"}}', "429 Too Many Requests", Retry_After="7"),
}


def begun(peer: Peer) -> None:
    """Read the first bytes of a request, its head among them."""
    # A reply that waits in the server for an acknowledgement is lost when the server resets the connection.
    peer.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    while b"\r\n\r\n" not in peer.buffer:
        assert peer._more()


def refuses(said: bytes, then: Callable[[Peer], object]) -> Callable[[Peer], None]:
    """Answer as soon as a request has begun."""

    def handler(peer: Peer) -> None:
        begun(peer)
        peer.send(said)
        then(peer)

    return handler


def stops_reading(peer: Peer) -> None:
    """Keep the connection and read no more, until the test is over."""
    peer.server.released.wait(PATIENCE)


def reads_slowly(peer: Peer) -> None:
    """Take a little now and then: the request would take minutes."""
    while peer._more() and not peer.server.stopping.wait(0.05):
        peer.buffer = b""


ENDS = {
    "stops-reading": stops_reading,
    "reads-slowly": reads_slowly,
    "closes": Peer.close,
    "resets-after-reply": lambda peer: None,
}


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
@pytest.mark.parametrize("status", REFUSALS)
@pytest.mark.parametrize("secure", [False, True], ids=["tcp", "tls"])
def test_a_refusal_is_read_while_the_request_is_being_sent(
    serve: Any,
    responder_for: Any,
    trusted: Path,
    server_context: ssl.SSLContext,
    status: int,
    secure: bool,
    end: Callable[[Peer], object],
) -> None:
    """Whatever the server does after it, its status comes at once, and 20 MB are not uploaded again."""
    server = serve(refuses(REFUSALS[status], end), server_context if secure else None)
    begin = time.monotonic()
    with pytest.raises(APIStatusError) as caught:
        responder_for(server, timeout=LONG, max_retries=0 if status == 429 else 4).answer(LARGE)
    assert caught.value.status == status
    assert caught.value.attempts == 1
    assert server.connections == 1
    assert time.monotonic() - begin < LONG / 2
    server.released.set()


def test_a_refusal_to_a_stream_is_read_as_well(serve: Any, responder_for: Any) -> None:
    """A stream sends its request the same way."""
    server = serve(refuses(REFUSALS[413], stops_reading))
    with pytest.raises(APIStatusError) as caught, responder_for(server, timeout=LONG).stream(LARGE) as stream:
        list(stream)
    assert caught.value.status == 413
    server.released.set()


def test_a_refusal_through_a_tunnel_is_read_as_well(
    serve: Any, responder_for: Any, trusted: Path, server_context: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proxy in between changes nothing."""
    server, middle = serve(refuses(REFUSALS[413], stops_reading), server_context), serve(proxy)
    monkeypatch.setenv("HTTPS_PROXY", middle.url)
    responder = responder_for(server, timeout=LONG)
    with pytest.raises(APIStatusError) as caught:
        responder.answer(LARGE)
    assert caught.value.status == 413
    server.released.set()
    responder.close()


@pytest.mark.parametrize("end", [stops_reading, Peer.close])
def test_a_refusal_on_a_connection_that_was_used_before_is_not_asked_for_twice(serve: Any, responder_for: Any, end: Any) -> None:
    """A reused connection that breaks off is tried anew only where not a byte of a reply has come."""

    def handler(peer: Peer) -> None:
        assert peer.receive() is not None
        peer.send(reply())
        refuses(REFUSALS[413], end)(peer)

    server = serve(handler)
    responder = responder_for(server, timeout=LONG)
    responder.answer("first")
    with pytest.raises(APIStatusError) as caught:
        responder.answer(LARGE)
    assert caught.value.status == 413
    assert server.connections == 1
    server.released.set()


def test_a_connection_with_half_a_request_on_it_is_not_used_again(serve: Any, responder_for: Any) -> None:
    """The next request would be read as the rest of the one before."""

    def reads_on_when_released(peer: Peer) -> None:
        peer.server.released.wait(PATIENCE)
        peer.wait_until_left()

    server = serve(in_turn(refuses(REFUSALS[413], reads_on_when_released), always()))
    responder = responder_for(server, timeout=LONG)
    with pytest.raises(APIStatusError):
        responder.answer(LARGE)
    assert responder.answer("Hi").text == "Hello."
    assert server.connections == 2
    server.released.set()
    assert server.wait_for_leaving() == 0


@pytest.mark.parametrize("interim", [b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" * 3])
@pytest.mark.parametrize("secure", [False, True], ids=["tcp", "tls"])
def test_an_interim_reply_does_not_end_the_sending(
    serve: Any, responder_for: Any, trusted: Path, server_context: ssl.SSLContext, interim: bytes, secure: bool
) -> None:
    """The server means to read on; the request arrives whole."""

    def handler(peer: Peer) -> None:
        begun(peer)
        peer.send(interim)
        if peer.receive() is not None:
            peer.send(reply())

    server = serve(handler, server_context if secure else None)
    assert responder_for(server, timeout=LONG).answer(MEDIUM).text == "Hello."
    assert server.requests[0].prompt == MEDIUM


def test_an_interim_reply_before_a_refusal_is_passed_over(serve: Any, responder_for: Any) -> None:
    """First "go on", then "too long": what counts is the last word."""
    server = serve(refuses(b"HTTP/1.1 100 Continue\r\n\r\n" + REFUSALS[413], stops_reading))
    with pytest.raises(APIStatusError) as caught:
        responder_for(server, timeout=LONG).answer(LARGE)
    assert caught.value.status == 413
    server.released.set()


def test_a_success_that_begins_early_does_not_end_the_sending(serve: Any, responder_for: Any) -> None:
    """Some gateways send their 200 at once, and the answer when they have read the request."""
    body = reply()
    end = body.index(b"\r\n\r\n") + 4

    def handler(peer: Peer) -> None:
        begun(peer)
        peer.send(body[:end])
        if peer.receive() is not None:
            peer.send(body[end:])

    server = serve(handler)
    responder = responder_for(server, timeout=LONG)
    assert responder.answer(MEDIUM).text == "Hello."
    assert server.requests[0].prompt == MEDIUM
    responder.answer("Hi")


def test_a_refusal_that_comes_in_pieces_is_put_together(serve: Any, responder_for: Any) -> None:
    """The head may be cut anywhere."""
    data = REFUSALS[413]

    def handler(peer: Peer) -> None:
        begun(peer)
        for position in range(len(data)):
            peer.send(data[position : position + 1])
            if position < 8:  # from the status on, the client may stop at any moment
                peer._more()
        peer.server.released.wait(PATIENCE)

    server = serve(handler)
    with pytest.raises(APIStatusError) as caught:
        responder_for(server, timeout=LONG).answer(LARGE)
    assert caught.value.status == 413
    server.released.set()


def test_a_server_that_leaves_in_the_middle_of_a_request_is_a_connection_error(serve: Any, responder_for: Any) -> None:
    """Without a word from it there is nothing to read."""

    def handler(peer: Peer) -> None:
        begun(peer)
        peer.close()

    with pytest.raises(APIConnectionError) as caught:
        responder_for(serve(handler), timeout=LONG).answer(LARGE)
    assert caught.value.retryable
    assert not isinstance(caught.value, APITimeoutError)


def test_a_server_that_closes_its_side_without_reading_on_does_not_hold_the_call(serve: Any, responder_for: Any) -> None:
    """Nothing will ever come from it: waiting for it to read would be waiting for the timeout."""

    def handler(peer: Peer) -> None:
        begun(peer)
        peer.sock.shutdown(socket.SHUT_WR)
        peer.server.released.wait(PATIENCE)

    server = serve(handler)
    begin = time.monotonic()
    with pytest.raises(APIConnectionError) as caught:
        responder_for(server, timeout=LONG).answer(LARGE)
    assert not isinstance(caught.value, APITimeoutError)
    assert time.monotonic() - begin < LONG / 2
    server.released.set()


def test_a_request_that_nobody_takes_was_not_billed(serve: Any, responder_for: Any) -> None:
    """The server stops reading and says nothing: the error does not speak of a bill."""

    def handler(peer: Peer) -> None:
        begun(peer)
        peer.server.released.wait(PATIENCE)

    server = serve(handler)
    with pytest.raises(APITimeoutError, match="did not accept the whole request") as caught:
        responder_for(server, timeout=3.0).answer(LARGE)
    assert "billed" not in str(caught.value)
    server.released.set()


def test_many_refusals_at_once_spoil_no_answer(serve: Any, responder_for: Any) -> None:
    """Small prompts between the large ones get their own answers."""
    lock = threading.Lock()

    def handler(peer: Peer) -> None:
        while True:
            with contextlib.suppress(AssertionError):
                begun(peer)
            head = peer.buffer.partition(b"\r\n\r\n")[0].lower()
            if not head:
                return
            length = int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0])
            if length > 1_000_000:
                with lock:
                    peer.send(REFUSALS[413])
                return
            if peer.receive() is None:
                return
            peer.send(reply())

    responder = responder_for(serve(handler), timeout=LONG)
    results = list(responder.map([MEDIUM, "Hi"] * 10, max_workers=8))
    assert [result.ok for result in results] == [False, True] * 10
    assert {result.error.status for result in results[::2]} == {413}


@pytest.mark.parametrize(
    ("said", "refuses_the_rest"),
    [
        (b"", False),
        (b"HTTP/1.1 ", False),
        (b"HTTP/1.1 41", False),
        (b"HTTP/1.1 413", True),
        (b"HTTP/1.0 302 Found", True),
        (b"HTTP/1.1 200 OK\r\n\r\n", False),
        (b"HTTP/1.1 100 Continue\r\n\r\n", False),
        (b"HTTP/1.1 103 Hints\r\nX: HTTP/1.1 413\r\n\r\n", False),
        (b"HTTP/1.1 100 Continue\n\nHTTP/1.1 401 No", True),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 4", False),
        (b"no HTTP at all 413", False),
        (b"HTTP/1.1 100 A\r\n\r\n" * 5_000 + b"HTTP/1.1 200 OK", False),
        (b"HTTP/1.1 100 A\r\n\r\n" * 5_000 + b"HTTP/1.1 500 No", True),
    ],
)
def test_what_makes_the_rest_of_a_request_pointless(said: bytes, refuses_the_rest: bool) -> None:
    """A final status of refusal, behind any number of interim ones; many of those take no long look."""
    assert _is_refusal(said) is refuses_the_rest
