"""Every recorded stream, over a real socket, framed and cut in every way: what its bytes say comes out each time."""

from __future__ import annotations

import gzip
import random
import socket
import zlib
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
from servers import Handler, Peer, Server
from wire.expected import STREAMS, Answered, Exchange, Failed

from responder import APIError, Responder, Stream, for_model
from responder.providers import PROVIDERS

Cut = Callable[[Exchange], list[bytes]]


def whole(exchange: Exchange) -> list[bytes]:
    return [exchange.body]


def in_pieces(exchange: Exchange) -> list[bytes]:
    """Return pieces of random sizes, the same in each run."""
    body, chance = exchange.body, random.Random(exchange.name)
    pieces = []
    while body:
        size = chance.choice([1, 2, 3, 7, 50, 400])
        pieces.append(body[:size])
        body = body[size:]
    return pieces


def byte_by_byte(exchange: Exchange) -> list[bytes]:
    return [bytes([byte]) for byte in exchange.body]


def chunked(pieces: list[bytes]) -> Iterator[bytes]:
    yield b"Transfer-Encoding: chunked\r\n\r\n"
    for piece in pieces:
        yield b"%x\r\n%b\r\n" % (len(piece), piece)
    yield b"0\r\n\r\n"


def of_known_length(pieces: list[bytes]) -> Iterator[bytes]:
    yield b"Content-Length: %d\r\n\r\n" % sum(map(len, pieces))
    yield from pieces


def until_close(pieces: list[bytes]) -> Iterator[bytes]:
    yield b"Connection: close\r\n\r\n"
    yield from pieces


def compressed(pieces: list[bytes]) -> Iterator[bytes]:
    """Each piece is flushed, as a gateway that compresses streams does."""
    yield b"Content-Encoding: gzip\r\n"
    packer = zlib.compressobj(wbits=zlib.MAX_WBITS | 16)
    packed = [packer.compress(piece) + packer.flush(zlib.Z_SYNC_FLUSH) for piece in pieces]
    yield from chunked([*packed, packer.flush()])


def compressed_at_once(pieces: list[bytes]) -> Iterator[bytes]:
    yield b"Content-Encoding: gzip\r\n"
    yield from of_known_length([gzip.compress(b"".join(pieces))])


def playing(exchange: Exchange, cut: Cut, frame: Callable[[list[bytes]], Iterator[bytes]]) -> Handler:
    """Answer each request with the recorded reply; the connection ends with the body where only that shows its end."""

    def handler(peer: Peer) -> None:
        peer.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # or each small piece waits 40 ms for the one before
        while peer.receive() is not None:
            response = exchange.file["response"]
            lines = [f"HTTP/1.1 {response['status']} OK", *(f"{name}: {value}" for name, value in response["headers"].items())]
            peer.send(("\r\n".join(lines) + "\r\n").encode())
            for piece in frame(cut(exchange)):
                peer.send(piece)
            if frame is until_close:
                return

    return handler


def responder_for(exchange: Exchange, url: str) -> Responder:
    """Return the responder that would have asked, pointed at a server of ours."""
    path = urlsplit(PROVIDERS[exchange.provider].base_url).path if exchange.base_path is None else exchange.base_path
    keywords = {"api_key": "not-a-real-key", "base_url": url + path, "max_retries": 0, "timeout": 30.0, **exchange.options}
    return for_model(f"{exchange.provider}:{exchange.model}", **keywords)


def read(stream: Stream) -> APIError | None:
    """Read a stream to its end and return the error that it ended with."""
    pieces = []
    try:
        for piece in stream:
            pieces.append(piece)
    except APIError as error:
        return error
    finally:
        assert all(pieces)
        assert stream.text == "".join(pieces)
    return None


def compare(stream: Stream, error: APIError | None, expected: Answered | Failed) -> None:
    """Compare what came out of a stream with what its bytes say."""
    assert stream.text == expected.text
    assert stream.reasoning == expected.reasoning
    assert stream.attempts == 1
    if expected.usage.known:
        assert stream.usage == expected.usage
    if isinstance(expected, Answered):
        assert error is None
        answer = stream.answer
        assert answer is not None
        assert answer.text == expected.text
        assert answer.reasoning == expected.reasoning
        assert answer.tool_calls == stream.tool_calls == expected.tool_calls
        assert answer.usage == stream.usage == expected.usage
        assert answer.finish_reason == stream.finish_reason == expected.finish_reason
        assert answer.model == expected.model
        assert answer.request_id == expected.request_id
        assert answer.attempts == 1
    else:
        found: Any = error
        assert type(found).__name__ == expected.kind
        assert stream.answer is None
        assert found.status in (expected.status, found.status if expected.status is None else None)
        assert found.code == expected.code
        assert found.retryable is expected.retryable
        assert found.request_id == expected.request_id
        assert expected.says in str(found)
        if expected.kind == "BlockedError":
            assert (found.text, found.finish_reason) == (expected.text, expected.finish_reason)


@pytest.mark.pain(21)
@pytest.mark.parametrize("cut", [whole, in_pieces, byte_by_byte])
@pytest.mark.parametrize("frame", [chunked, of_known_length, until_close, compressed, compressed_at_once])
@pytest.mark.parametrize("exchange", [pytest.param(exchange, id=exchange.name) for exchange in STREAMS])
def test_a_recorded_stream_gives_what_its_bytes_say_however_it_is_sent(
    serve: Callable[..., Server], exchange: Exchange, frame: Callable[[list[bytes]], Iterator[bytes]], cut: Cut
) -> None:
    """Text, reasoning, tool calls, usage, finish reason and id; or the error, with the text before it."""
    server = serve(playing(exchange, cut, frame))
    with responder_for(exchange, server.url) as responder, responder.stream(exchange.prompt) as stream:
        error = read(stream)
        compare(stream, error, exchange.expected)


@pytest.mark.parametrize(
    "exchange", [pytest.param(found, id=found.name) for found in STREAMS if isinstance(found.expected, Answered)]
)
def test_a_recorded_stream_leaves_a_connection_that_is_used_again(serve: Callable[..., Server], exchange: Exchange) -> None:
    """The second one goes over the connection of the first, and says the same."""
    server = serve(playing(exchange, in_pieces, chunked))
    with responder_for(exchange, server.url) as responder:
        for _ in range(2):
            with responder.stream(exchange.prompt) as stream:
                compare(stream, read(stream), exchange.expected)
    assert server.connections == 1


@pytest.mark.pain(20)
@pytest.mark.parametrize(
    "exchange", [pytest.param(found, id=found.name) for found in STREAMS if isinstance(found.expected, Answered)]
)
def test_a_recorded_stream_that_was_cut_is_never_taken_for_a_shorter_answer(
    serve: Callable[..., Server], exchange: Exchange
) -> None:
    """Ended cleanly after any twelfth of its bytes: an error that holds what came, or all of it where only the usage is lost."""
    lengths = iter([len(exchange.body) * part // 12 for part in range(12)])
    server = serve(playing(exchange, lambda found: [found.body[: next(lengths)]], of_known_length))
    expected = exchange.expected
    assert isinstance(expected, Answered)
    with responder_for(exchange, server.url) as responder:
        for part in range(12):
            stream = responder.stream(exchange.prompt)
            error: Any = read(stream)
            if error is None:
                assert part > 0
                assert stream.answer is not None
                assert (stream.answer.text, stream.answer.tool_calls) == (expected.text, expected.tool_calls)
            else:
                assert type(error).__name__ == "StreamInterruptedError"
                assert error.text == stream.text
                assert expected.text.startswith(error.text)
                assert stream.answer is None
