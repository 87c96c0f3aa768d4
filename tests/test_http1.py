"""Where a reply begins and ends, how a compressed one is read, and what a reply that is too large becomes."""

from __future__ import annotations

import dataclasses
import gzip
import http.client
import re
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from fuzzing import fuzzed, pieces_of
from hypothesis import given
from hypothesis import strategies as st
from servers import Peer, Server, always, one_by_one, reply, reply_body

from responder import (
    APIConnectionError,
    APIError,
    CancelledError,
    CancelToken,
    InternalServerError,
    InvalidResponseError,
    RateLimitError,
)
from responder.values.sizes import Sizes, default_sizes, set_default_sizes
from responder.wire.codings import codings_in, decoded
from responder.wire.http1 import Framing, Head, read_head

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
EVIL = reply(reply_body("EVIL"))


def head_of(data: bytes) -> Head:
    pieces = iter([data])
    return read_head(lambda: next(pieces, b""))[0]


def outcome(data: bytes, places: tuple[int, ...] = (), sizes: Sizes | None = None) -> tuple[int, bytes, bool]:
    """Return status, body and whether the connection is kept, of a reply that arrives cut at these places."""
    pieces = pieces_of(data, list(places))

    def receive() -> bytes:
        return pieces.pop(0) if pieces else b""

    head, rest = read_head(receive, sizes)
    framing = Framing(head, sizes)
    body = b""
    if framing.ended:
        framing.feed(rest)
    while not framing.ended:
        body += framing.feed(rest or receive())
        rest = b""
    return head.status, body, framing.can_reuse and not pieces


def everywhere(data: bytes) -> Iterator[tuple[int, ...]]:
    """Yield no cut, each single one, and all at once."""
    yield ()
    yield from ((at,) for at in range(1, len(data)))
    yield tuple(range(1, len(data)))


@pytest.fixture
def small() -> Iterator[Callable[..., None]]:
    """Give a function that sets the bounds of the process, for one test."""
    before = default_sizes()
    yield lambda **bounds: set_default_sizes(Sizes(**bounds))
    set_default_sizes(before)


# --- The head ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "body"),
    [
        pytest.param(
            b"HTTP/1.1 200 OK\nContent-Length: 9\n\na\r\n\r\nb: c", b"a\r\n\r\nb: c", id="LF, then CRLFCRLF in the body"
        ),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n\n\nab", b"\n\nab", id="CRLF, then LFLF in the body"),
        pytest.param(b"HTTP/1.1 200 OK\nContent-Length: 4\n\r\na\n\nb", b"a\n\nb", id="LF, then an empty CRLF"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\na\r\n\r", b"a\r\n\r", id="CRLF, then an empty LF"),
        pytest.param(b"HTTP/1.1 200 OK\n\n\r\n\r\n", b"\r\n\r\n", id="nothing but line ends in the body"),
    ],
)
def test_a_head_ends_at_its_first_empty_line_however_lines_end_and_bytes_are_cut(data: bytes, body: bytes) -> None:
    """A later end of the other kind belongs to the body."""
    for places in everywhere(data):
        assert outcome(data, places)[:2] == (200, body)


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 099 No\r\n\r\n",
        b"HTTP/1.1 000 No\r\n\r\n",
        b"HTTP/1.1 20 No\r\n\r\n",
        b"HTTP/1.1 2000 No\r\n\r\n",
        b"HTTP/1.1 +20 No\r\n\r\n",
        b"HTTP/1.1 \xb2\xb2\xb2 No\r\n\r\n",
        b"HTTP/2.0 200 OK\r\n\r\n",
        b"HTTP/1.12 200 OK\r\n\r\n",
        b"HTTP/1.1 200 O\0K\r\n\r\n",
        b"HTTP/1.1 200 O\rK\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\n\r\n",
        OK + b" folded: first\r\n\r\n",
        OK + b"\tfolded\r\nA: b\r\n\r\n",
        OK + b"A: b\0c\r\n\r\n",
        OK + b"A: b\rC: d\r\n\r\n",
        OK + b"A\0: b\r\n\r\n",
        OK + b"A : b\r\n\r\n",
        OK + b"A b: c\r\n\r\n",
        OK + b": b\r\n\r\n",
        OK + b"no colon\r\n\r\n",
        OK + b"N\xe4me: b\r\n\r\n",
        OK + b"A: b\r\r\n\r\n",
        b"\r\n" + OK + b"\r\n",
        b"SSH-2.0-OpenSSH_9.6\r\n",
    ],
)
def test_a_head_that_can_be_read_in_two_ways_is_refused(head: bytes) -> None:
    """Bare CR, NUL, names that are none, a first line that goes on, and a status that does not exist; at every cut."""
    for places in everywhere(head):
        with pytest.raises(http.client.HTTPException):
            outcome(head, places)


def test_headers_are_joined_unfolded_and_stripped_of_blanks_alone() -> None:
    """A no-break space at the end of a value belongs to it."""
    head = head_of(OK + b"A:\t b \t\r\nB: c\r\n d\r\n\te\r\na: f\r\nC: \xa0g\xa0\r\nD:\r\n\r\n")
    assert head.headers == {"a": "b, f", "b": "c d e", "c": "\xa0g\xa0", "d": ""}


@pytest.mark.parametrize("interim", [b"", b"Content-Length: 9\r\n", b"Transfer-Encoding: chunked\r\n", b"Connection: close\r\n"])
@pytest.mark.parametrize("status", [b"100 Continue", b"102 Processing", b"103 Early Hints", b"199 Odd"])
def test_an_interim_reply_has_no_body_whatever_its_headers_say(status: bytes, interim: bytes) -> None:
    """The next bytes are the head of the next reply."""
    data = (b"HTTP/1.1 " + status + b"\r\n" + interim + b"\r\n") * 2 + OK + b"Content-Length: 2\r\n\r\nhi"
    for places in everywhere(data):
        assert outcome(data, places) == (200, b"hi", True)


# --- The body ---------------------------------------------------------------------------------------------------------

BODILESS = [
    b"",
    b"Content-Length: 0\r\n",
    b"Content-Length: 5\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Transfer-Encoding: gzip\r\n",
]


@pytest.mark.parametrize("status", [b"204 No Content", b"304 Not Modified"])
@pytest.mark.parametrize("header", BODILESS)
def test_a_reply_that_can_have_no_body_has_none(status: bytes, header: bytes) -> None:
    """RFC 9112, 6.3. Where the headers speak of a body, one may come late: the connection is not used again."""
    data = b"HTTP/1.1 " + status + b"\r\n" + header + b"\r\n"
    assert outcome(data) == (int(status[:3]), b"", header in BODILESS[:2])
    assert outcome(data + b"5\r\nhello\r\n0\r\n\r\n") == (int(status[:3]), b"", False)


@pytest.mark.parametrize("status", ["204 No Content", "304 Not Modified"])
@pytest.mark.parametrize("header", BODILESS)
def test_a_reply_without_a_body_does_not_hold_the_call(ask: Any, status: str, header: bytes) -> None:
    """The server says nothing more and keeps the connection open: the call ends at once, and not at its timeout."""
    with pytest.raises(APIError) as caught:
        ask(always(f"HTTP/1.1 {status}\r\n".encode() + header + b"\r\n"), timeout=60)
    assert "timeout" not in str(caught.value)


@pytest.mark.parametrize(
    "value",
    [
        b"gzip",
        b"gzip, chunked",
        b"chunked, chunked",
        b"chunked, gzip",
        b"identity",
        b"xchunked",
        b"chunked;a=b",
        b"",
        b"chunked,",
    ],
)
def test_a_transfer_coding_that_is_unknown_or_doubled_is_refused(value: bytes) -> None:
    """Nobody can know where such a body ends."""
    with pytest.raises(http.client.HTTPException, match="transfer coding"):
        outcome(OK + b"Transfer-Encoding: " + value + b"\r\nContent-Length: 5\r\n\r\nhello")
    with pytest.raises(http.client.HTTPException, match="transfer coding"):
        outcome(OK + b"Transfer-Encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n")


@pytest.mark.parametrize(
    "value", [b"+5", b"-5", b"5 5", b"0x5", b"5_0", b"", b"five", b"\xb2", b"5.0", b"5, 6", b"5,", b"5\x0b", b"9" * 21]
)
@pytest.mark.parametrize("first", [OK, b"HTTP/1.1 204 No Content\r\n", OK + b"Transfer-Encoding: chunked\r\n"])
def test_a_length_that_is_none_is_refused(value: bytes, first: bytes) -> None:
    """Whatever other readers make of it."""
    with pytest.raises(http.client.HTTPException, match="length"):
        outcome(first + b"Content-Length: " + value + b"\r\n\r\n0\r\n\r\n")


@pytest.mark.parametrize(
    "size", [b"0x5", b"+5", b"-5", b"5_0", b" 5", b"", b"z", b"5z", b"\xb2", b"5\x0b", b"5\0", b"5;a\0b", b"5;a\rb", b"0" * 21]
)
def test_the_size_of_a_chunk_is_hexadecimal_digits_and_nothing_else(size: bytes) -> None:
    """Python's `int` takes more."""
    data = CHUNKED + size + b"\r\nhello\r\n0\r\n\r\n"
    for places in everywhere(data):
        with pytest.raises(http.client.HTTPException):
            outcome(data, places)


@pytest.mark.parametrize("size", [b"5", b"05", b"5 ", b"5\t", b"5;a", b"5 ; a=b", b'5;a="b;c"', b"00000000000000000005"])
def test_extensions_and_filling_are_passed_over(size: bytes) -> None:
    """They are allowed, or common."""
    data = CHUNKED + size + b"\r\nhello\r\nA\r\n0123456789\r\n0\r\nA: b\r\n c\r\n\r\n"
    for places in everywhere(data):
        assert outcome(data, places)[:2] == (200, b"hello0123456789")


@pytest.mark.parametrize("end", [b"", b"\n", b"\r", b"xx", b"\rx", b"\n\r", b" \r\n"])
def test_a_chunk_that_does_not_end_where_it_should_is_refused(end: bytes) -> None:
    """The bytes behind it could be anything."""
    data = CHUNKED + b"5\r\nhello" + end + b"0\r\n\r\n"
    for places in everywhere(data):
        with pytest.raises(http.client.HTTPException):
            outcome(data, places)


@pytest.mark.parametrize("trailer", [b" folded: first\r\n", b"no colon\r\n", b"A : b\r\n", b"A: \0\r\n", b"A: b\rc\r\n"])
def test_a_trailer_that_is_none_is_refused(trailer: bytes) -> None:
    """It may be the beginning of something else."""
    with pytest.raises(http.client.HTTPException):
        outcome(CHUNKED + b"0\r\n" + trailer + b"\r\n")


@pytest.mark.parametrize("end", [b"0\r\n", b"5\r\nhel", b"5\r\nhello", b"5\r\nhello\r\n", b"5", b"", b"0\r\nA: b\r\n"])
def test_a_chunked_body_that_breaks_off_is_an_error(end: bytes) -> None:
    """Also within its trailers."""
    with pytest.raises(http.client.IncompleteRead):
        outcome(CHUNKED + end)


@pytest.mark.parametrize(
    ("head", "kept"),
    [
        (b"HTTP/1.1 200 OK\r\n", True),
        (b"HTTP/1.1 200 OK\r\nConnection: Close\r\n", False),
        (b"HTTP/1.1 200 OK\r\nConnection: a\r\nConnection: close\r\n", False),
        (b"HTTP/1.0 200 OK\r\n", False),
        (b"HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\n", True),
        (b"HTTP/1.0 200 OK\r\nConnection: keep-alive, close\r\n", False),
    ],
)
def test_a_connection_is_kept_when_both_sides_can(head: bytes, kept: bool) -> None:
    """HTTP/1.0 has to say so, and `close` wins."""
    assert outcome(head + b"Content-Length: 2\r\n\r\nhi") == (200, b"hi", kept)


@pytest.mark.parametrize("head", [b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n"])
def test_chunks_beside_another_way_to_find_the_end_are_the_last_on_a_connection(head: bytes) -> None:
    """A proxy between may have taken the other way (RFC 9112, 6.1)."""
    assert outcome(head + b"Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n") == (200, b"hi", False)


# --- No reply is taken from another's bytes ---------------------------------------------------------------------------

FIRST = reply_body("first")
SURPLUS = {
    "counted": OK + b"Content-Length: %d\r\n\r\n" % len(FIRST) + FIRST,
    "chunked": CHUNKED + b"%x\r\n" % len(FIRST) + FIRST + b"\r\n0\r\n\r\n",
    "chunked with trailers": CHUNKED + b"%x\r\n" % len(FIRST) + FIRST + b"\r\n0\r\nA: b\r\n\r\n",
    "gzip": OK + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(gzip.compress(FIRST)) + gzip.compress(FIRST),
    "empty": OK + b"Content-Length: 0\r\n\r\n",
    "empty chunked": CHUNKED + b"0\r\n\r\n",
    "204": b"HTTP/1.1 204 No Content\r\n\r\n",
    "204 with a length": b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n",
    "304": b"HTTP/1.1 304 Not Modified\r\n\r\n",
    "refusal": reply(b"{}", status="400 Bad Request"),
    "empty refusal": b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n",
}


@pytest.mark.parametrize("first", SURPLUS.values(), ids=SURPLUS)
@pytest.mark.parametrize("behind", [EVIL, b"\r\n" + EVIL, b"\0"], ids=["a reply", "a line and a reply", "a byte"])
def test_what_a_server_sends_behind_a_reply_never_answers_the_next_prompt(
    serve: Any, responder_for: Any, first: bytes, behind: bytes
) -> None:
    """The surplus ends the life of its connection."""
    server: Server = serve(one_by_one(first + behind, reply(reply_body("second"))))
    responder = responder_for(server)
    try:
        assert responder.answer("a").text == "first"
    except APIError:
        assert first not in list(SURPLUS.values())[:4]
    assert responder.answer("b").text == "second"
    assert server.connections == 2


# --- Content codings --------------------------------------------------------------------------------------------------


def raw_deflate(data: bytes, level: int = 6) -> bytes:
    squeezer = zlib.compressobj(level, zlib.DEFLATED, -zlib.MAX_WBITS)
    return squeezer.compress(data) + squeezer.flush()


def members(data: bytes) -> bytes:
    return b"".join(gzip.compress(data[at : at + 40]) for at in range(0, len(data), 40))


BODY = reply_body()
CODED = {
    "several members": ("gzip", members(BODY)),
    "padded": ("gzip", gzip.compress(BODY) + b"\0" * 20),
    "members and padding": ("gzip", gzip.compress(BODY[:9]) + b"\0\0" + gzip.compress(BODY[9:]) + b"\0"),
    "rubbish behind": ("gzip", gzip.compress(BODY) + b"\x1frubbish"),
    "empty members": ("gzip", gzip.compress(b"") + gzip.compress(BODY) + gzip.compress(b"")),
    "upper case": ("GZIP", gzip.compress(BODY)),
    "x-gzip": ("X-Gzip", gzip.compress(BODY)),
    "deflate": ("deflate", zlib.compress(BODY)),
    "raw deflate": ("Deflate", raw_deflate(BODY)),
    "raw deflate, stored": ("deflate", raw_deflate(BODY, 0)),
    "gzip named deflate": ("deflate", gzip.compress(BODY)),
    "deflate named gzip": ("gzip", zlib.compress(BODY)),
    "twice": ("gzip, gzip", gzip.compress(gzip.compress(BODY))),
    "deflate, then gzip": ("deflate, gzip", gzip.compress(zlib.compress(BODY))),
    "raw deflate, then gzip": ("deflate,gzip", gzip.compress(raw_deflate(BODY))),
    "identity": ("identity", BODY),
    "identity and gzip": ("Identity, gzip", gzip.compress(BODY)),
    "none named": (" ,", BODY),
    **{f"{name}, not applied": (name, BODY) for name in ("gzip", "deflate", "br", "zstd", "utf-8", "gzip, br", "compress")},
    "a mark, not applied": ("deflate", b"\xef\xbb\xbf" + BODY),
}
coded = pytest.mark.parametrize(("coding", "body"), CODED.values(), ids=CODED)


@coded
def test_a_coded_body_is_read(ask: Any, coding: str, body: bytes) -> None:
    """Whatever the header says of it, as long as it can be found out."""
    assert ask(always(reply(body, Content_Encoding=coding))).text == "Hello."


@coded
def test_a_coded_body_is_the_same_however_it_is_cut(coding: str, body: bytes) -> None:
    """At each single place, and everywhere at once."""
    for places in everywhere(body):
        whole = b"".join(decoded(iter(pieces_of(body, list(places))), codings_in(coding), 10**6))
        assert whole.removeprefix(b"\xef\xbb\xbf") == BODY


EVENTS = b"".join(
    b'data: {"choices": [{"index": 0, "delta": {"content": "%s"}, "finish_reason": %s}]}\n\n' % pair
    for pair in [(b"Hel", b"null"), (b"lo.", b"null"), (b"", b'"stop"')]
) + b"data: [DONE]\n\n"  # fmt: skip


@pytest.mark.parametrize(
    ("coding", "body"),
    [
        ("gzip", gzip.compress(EVENTS)),
        ("gzip", gzip.compress(EVENTS[:70]) + gzip.compress(EVENTS[70:])),
        ("deflate", raw_deflate(EVENTS)),
        ("gzip, deflate", zlib.compress(gzip.compress(EVENTS))),
        ("br", EVENTS),
        ("identity", EVENTS),
    ],
)
def test_a_coded_stream_is_read(serve: Any, responder_for: Any, coding: str, body: bytes) -> None:
    """As a whole reply is."""
    responder = responder_for(serve(always(reply(body, Content_Type="text/event-stream", Content_Encoding=coding))))
    assert "".join(responder.stream("Hi")) == "Hello."


def test_a_coded_stream_gives_each_piece_as_soon_as_it_is_there(serve: Any, responder_for: Any) -> None:
    """A server that flushes its compressor after each event is not made to wait for the end."""
    squeezer = zlib.compressobj(wbits=zlib.MAX_WBITS | 16)
    first, rest = EVENTS.split(b"\n\n", 1)

    def handler(peer: Peer) -> None:
        if peer.receive() is not None:
            peer.send(OK + b"Content-Encoding: gzip\r\n\r\n")
            peer.send(squeezer.compress(first + b"\n\n") + squeezer.flush(zlib.Z_SYNC_FLUSH))
            assert peer.server.released.wait(20)
            peer.send(squeezer.compress(rest) + squeezer.flush())

    server = serve(handler)
    stream = responder_for(server).stream("Hi")
    assert next(stream) == "Hel"
    server.released.set()
    assert "".join(stream) == "lo."


BROTLI = bytes.fromhex("8b05807b226572726f72223a317d0a0a03")
ZSTD = bytes.fromhex("28b52ffd0400610000") + b'{"error": 1}'


@pytest.mark.parametrize(("coding", "body"), [("br", BROTLI), ("ZSTD", ZSTD), ("gzip, br", BROTLI), ("dcb", BROTLI)])
def test_a_coding_that_we_do_not_have_is_named(serve: Any, responder_for: Any, coding: str, body: bytes) -> None:
    """Once, for answers and streams alike: the next reply would be coded so, too."""
    server = serve(always(reply(body, Content_Encoding=coding)))
    responder = responder_for(server, max_retries=4)
    name = re.escape(coding.rpartition(" ")[2].lower())
    with pytest.raises(InvalidResponseError, match=name) as caught:
        responder.answer("Hi")
    assert not caught.value.retryable
    with pytest.raises(InvalidResponseError, match=name):
        next(responder.stream("Hi"))
    assert len(server.requests) == 2


def test_a_refusal_in_a_coding_that_we_do_not_have_is_still_that_refusal(ask: Any) -> None:
    """Its status says more than its body."""
    with pytest.raises(RateLimitError, match="'br'") as caught:
        ask(always(reply(BROTLI, status="429 Too Many Requests", Content_Encoding="br", Retry_After="7")))
    assert caught.value.retry_after == 7


def test_more_codings_than_anybody_needs_are_refused(ask: Any) -> None:
    """Each multiplies the work of the one below."""
    with pytest.raises(InvalidResponseError, match="codings"):
        ask(always(reply(BODY, Content_Encoding=", ".join(["gzip"] * 6))))


@pytest.mark.parametrize(
    ("coding", "body"),
    [
        ("gzip", gzip.compress(BODY)),
        ("deflate", zlib.compress(BODY)),
        ("deflate", raw_deflate(BODY)),
        ("gzip", gzip.compress(BODY[:30]) + gzip.compress(BODY[30:])),
        ("gzip, gzip", gzip.compress(gzip.compress(BODY)[:-3])),
    ],
)
def test_a_compressed_body_that_is_cut_is_an_error_wherever_it_is_cut(coding: str, body: bytes) -> None:
    """Though all of its bytes may be there, and only its checksum is not."""
    whole = len(gzip.compress(BODY[:30])) if body.count(b"\x1f\x8b\x08") == 2 else 0
    for at in range(3, len(body)):
        if at not in (whole, whole + 1):  # between two members nothing is missing
            with pytest.raises(http.client.IncompleteRead):
                list(decoded(iter([body[:at]]), codings_in(coding), 10**6))


def test_a_cut_gzip_is_asked_for_again(ask: Any) -> None:
    """As a reply that is shorter than its length is."""
    with pytest.raises(APIConnectionError) as caught:
        ask(always(reply(gzip.compress(BODY)[:-4], Content_Encoding="gzip")))
    assert caught.value.retryable


@given(
    st.binary(max_size=300) | st.text(max_size=100).map(str.encode),
    st.lists(st.sampled_from(["gzip", "deflate", "raw", "members", "identity"]), max_size=4),
    st.lists(st.integers(0, 400), max_size=6),
    st.binary(max_size=3),
)
@fuzzed(150)
def test_fuzzed_codings_give_back_what_went_in(content: bytes, codings: list[str], places: list[int], rubbish: bytes) -> None:
    """In any order, cut anywhere; and damaged ones raise what the border above translates."""
    squeeze: dict[str, Callable[[bytes], bytes]] = {
        "gzip": gzip.compress, "deflate": zlib.compress, "raw": raw_deflate, "members": members, "identity": bytes
    }  # fmt: skip
    names = {"raw": "deflate", "members": "gzip"}
    body = content
    for coding in codings:
        body = squeeze[coding](body)
    applied = codings_in(", ".join(names.get(coding, coding) for coding in codings))
    if body:
        assert b"".join(decoded(iter(pieces_of(body, places)), applied, 10**6)) == content
    for damaged in (rubbish + body, body[: len(body) // 2] + rubbish + body[len(body) // 2 + 1 :]):
        found = []
        for pieces in ([damaged] if damaged else [], pieces_of(damaged, places), [bytes([byte]) for byte in damaged]):
            try:
                found.append(b"".join(decoded(iter(pieces), applied, 10**6)))
            except (http.client.HTTPException, zlib.error) as error:
                found.append(type(error).__name__.encode())
        assert len(set(found)) == 1, "the cuts make a difference"


# --- Bounds -----------------------------------------------------------------------------------------------------------

ENDLESS = {
    "body": (OK + b"\r\n", b"x" * 1000),
    "body in chunks": (CHUNKED, b"3e8\r\n" + b"x" * 1000 + b"\r\n"),
    "one chunk": (CHUNKED + b"fffffffffffffff\r\n", b"x" * 1000),
    "head": (OK, b"X-Header: 1\r\n"),
    "one header": (OK + b"X: ", b"x" * 1000),
    "status line": (b"HTTP/1.1 200 ", b"x" * 1000),
    "interim": (b"", b"HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n"),
    "trailers": (CHUNKED + b"0\r\n", b"X-Trailer: 1\r\n"),
    "one trailer": (CHUNKED + b"0\r\nX: ", b"x" * 1000),
    "extensions": (CHUNKED, b"1;" + b"x" * 100 + b"\r\nx\r\n"),
    "one extension": (CHUNKED + b"1;", b"x" * 1000),
    "sizes": (CHUNKED, b"0" * 1000),
}  # fmt: skip
STREAMED = {
    "stray lines": (OK + b"\r\n", b"<p>no event</p>\n"),
    "one line": (OK + b"\r\n: ", b"x" * 1000),
    "one event": (OK + b"\r\n", b"data: x\n"),
    "one object": (OK + b'\r\n{"a": "', b"x" * 1000),
    "an array": (OK + b"\r\n[", b"[[[[[[[[[[{"),
    "comments": (OK + b"\r\n", b": heartbeat\n\n"),
    "events": (OK + b"\r\n", b'data: {"choices": []}\n\n'),
    "pieces": (OK + b"\r\n", b'data: {"choices": [{"index": 7, "delta": {"content": "more"}}]}\n\n'),
}


def endless(start: bytes, unit: bytes) -> Callable[[Peer], None]:
    """Send the same bytes for ever, until the client leaves."""
    block = unit * (65536 // len(unit) + 1)

    def handler(peer: Peer) -> None:
        if peer.receive() is not None:
            peer.send(start)
            try:
                while not peer.server.stopping.is_set():
                    peer.sock.sendall(block)
            except OSError:
                peer.server.left.put(peer.number)

    return handler


SMALL = dict.fromkeys((field.name for field in dataclasses.fields(Sizes)), 400 * 1024)


@pytest.mark.parametrize(("start", "unit"), [*ENDLESS.values(), *STREAMED.values()], ids=[*ENDLESS, *STREAMED])
@pytest.mark.parametrize("streamed", [False, True], ids=["answer", "stream"])
def test_whatever_a_server_sends_without_end_becomes_an_error_and_ends_the_connection(
    serve: Any, responder_for: Any, small: Callable[..., None], start: bytes, unit: bytes, streamed: bool
) -> None:
    """The error is not repeated (the next reply would be as large), and says how to raise the bound."""
    small(**SMALL)
    server = serve(endless(start, unit))
    responder = responder_for(server, max_retries=2)
    with pytest.raises(APIError) as caught:
        list(responder.stream("Hi")) if streamed else responder.answer("Hi")
    assert re.search(r"Sizes\(\w+=", str(caught.value))
    assert len(server.requests) == 1
    server.wait_for_leaving()


def test_a_length_above_the_bound_is_refused_before_the_body_is_read(
    serve: Any, responder_for: Any, small: Callable[..., None]
) -> None:
    """64 MB by default."""
    small()

    def handler(peer: Peer) -> None:
        if peer.receive() is not None:
            peer.send(OK + b"Content-Length: %d\r\n\r\n" % (64 * 2**20 + 1))
            peer.wait_until_left()

    server = serve(handler)
    with pytest.raises(InvalidResponseError, match=r"67,108,864 bytes.*Sizes\(body="):
        responder_for(server).answer("Hi")
    server.wait_for_leaving()


def test_a_small_gzip_that_becomes_large_is_stopped_with_memory_flat(ask: Any, small: Callable[..., None]) -> None:
    """A megabyte of zeros is a kilobyte of gzip; of gzip twice, a few bytes."""
    small(decompressed=2**20)
    bomb = gzip.compress(bytes(50 * 2**20), 9)
    bodies = [(bomb, "gzip"), (gzip.compress(bomb), "gzip, gzip"), (bomb * 3, "gzip"), (raw_deflate(bytes(2**24)), "deflate")]
    tracemalloc.start()
    try:
        for body, coding in bodies:
            with pytest.raises(InvalidResponseError, match=r"Sizes\(decompressed="):
                ask(always(reply(body, Content_Encoding=coding)))
        assert tracemalloc.get_traced_memory()[1] < 12 * 2**20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "say",
    [
        pytest.param(lambda body: OK[:9] + b"500 No\r\n\r\n" + body, id="to the end"),
        pytest.param(lambda body: OK[:9] + b"500 No\r\nContent-Length: %d\r\n\r\n" % len(body) + body, id="counted"),
        pytest.param(lambda body: OK[:9] + b"500 No\r\nContent-Length: %d\r\n\r\n" % 10**12 + body, id="a length that is absurd"),
        pytest.param(lambda body: OK[:9] + b"500 No\r\nContent-Encoding: gzip\r\n\r\n" + gzip.compress(body), id="compressed"),
    ],
)
def test_a_refusal_with_a_large_body_is_still_that_refusal(
    ask: Any, small: Callable[..., None], say: Callable[[bytes], bytes]
) -> None:
    """Its body is cut at the bound, and what there is of it is shown."""
    small(error_body=3000)
    with pytest.raises(InternalServerError, match="overloaded") as caught:
        ask(always(say(b"overloaded " + b"x" * 200_000), last=True))
    assert len(str(caught.value.body)) <= 3000


def test_a_refusal_whose_body_breaks_off_is_still_that_refusal(ask: Any) -> None:
    """The status came, and the wait with it."""
    with pytest.raises(RateLimitError) as caught:
        ask(always(reply(b"{", status="429 Too Many Requests", Retry_After="7", Content_Length="1000"), last=True))
    assert caught.value.retry_after == 7


@pytest.mark.parametrize("name", ["body", "head", "interim", "trailers"])
def test_a_bound_is_exact_however_the_bytes_are_cut(name: str) -> None:
    """As many bytes as it says are fine, and one more is not."""
    interim, head = b"HTTP/1.1 100 Continue\r\n\r\n", CHUNKED
    data = interim + head + b"4;abc\r\nbody\r\n0\r\nA: b\r\n\r\n"
    exact = {"body": 4, "head": len(head), "interim": len(interim), "trailers": len(b"4;abc") + len(b"A: b")}[name]
    for places in everywhere(data):
        assert outcome(data, places, Sizes(**{name: exact}))[1] == b"body"
        with pytest.raises(InvalidResponseError, match=rf"Sizes\({name}="):
            outcome(data, places, Sizes(**{name: exact - 1}))


@pytest.mark.parametrize("size", [0, -1, 1.5, True, "1", None])
def test_a_bound_is_a_number_of_bytes(size: Any) -> None:
    """Zero would refuse every reply."""
    with pytest.raises(ValueError, match="Sizes"):
        Sizes(body=size)


def test_every_bound_is_documented_with_its_default() -> None:
    """In the one table that says how to set them."""
    page = (Path(__file__).parents[1] / "docs" / "configuration.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \| [^|]* \| (\d+) (KB|MB) \|$", page, re.MULTILINE)
    found = {name: int(number) * (2**20 if unit == "MB" else 2**10) for name, number, unit in rows}
    assert found == dataclasses.asdict(Sizes())


def test_a_cancel_while_the_body_of_a_refusal_comes_is_a_cancel(serve: Any, responder_for: Any) -> None:
    """The body broke off because it was cancelled; the refusal is nobody's any more."""
    token = CancelToken()

    def handler(peer: Peer) -> None:
        if peer.receive() is not None:
            peer.send(reply(b"{", status="400 Bad Request", Content_Length="1000"))
            token.cancel()
            peer.wait_until_left()

    with pytest.raises(CancelledError):
        responder_for(serve(handler)).answer("Hi", cancel=token)


def test_a_head_of_very_many_lines_is_refused_before_they_are_put_together() -> None:
    """Each further value of a name, or line of a value, would copy all those before it."""
    for line in (b"A: b\r\n", b" b\r\n", b"\tb\n"):
        with pytest.raises(http.client.HTTPException, match="1000 lines"):
            head_of(OK + b"A: b\r\n" + line * 40_000 + b"\r\n")
    assert head_of(OK + b"A: b\r\n" * 900 + b"\r\n").headers["a"].count("b") == 900


@pytest.mark.parametrize("streamed", [False, True], ids=["answer", "stream"])
@pytest.mark.parametrize("coded", [False, True], ids=["plain", "gzip"])
def test_a_session_of_the_users_is_bounded_too(
    serve: Any, responder_for: Any, small: Callable[..., None], coded: bool, streamed: bool
) -> None:
    """It reads by itself, and we stop asking it."""
    small(decompressed=2**20)
    event = b'data: {"choices":[{"index":0,"delta":{"content":"%s"}}]}\n\n' % (b"x" * 2**16)
    body = event * 2**8 if streamed else bytes(2**24)
    headers = {"Content_Encoding": "gzip"} if coded else {}
    kind = "text/event-stream" if streamed else "application/json"
    server = serve(always(reply(gzip.compress(body) if coded else body, Content_Type=kind, **headers)))
    with requests.Session() as session:
        gpt = responder_for(server, session=session)
        tracemalloc.start()
        try:
            with pytest.raises(InvalidResponseError, match=r"Sizes\(decompressed="):
                list(gpt.stream("Hi")) if streamed else gpt.answer("Hi")
            assert tracemalloc.get_traced_memory()[1] < 12 * 2**20 + len(body) * (not coded)
        finally:
            tracemalloc.stop()


def test_a_refusal_over_a_users_session_is_cut_at_its_bound(serve: Any, responder_for: Any, small: Callable[..., None]) -> None:
    """Its status says more than its body."""
    small(error_body=2**12)
    with requests.Session() as session:
        gpt = responder_for(serve(always(reply(b"x" * 2**20, "500 No"))), session=session)
        with pytest.raises(InternalServerError) as caught:
            gpt.answer("Hi")
    assert len(str(caught.value.body)) <= 2**12
