"""Our reading of HTTP against two readers that are not ours: `http.client` and h11. Each difference stands in one table below.

What is checked for any bytes, cut anywhere: the same outcome at every cut; nothing is accepted that both refuse; what is accepted
has the status, the headers and the body that they see; and a connection is kept only where they would keep it.
"""

from __future__ import annotations

import http.client
import io
import re
from collections.abc import Iterable
from typing import Any, NamedTuple

import h11
import pytest
from fuzzing import fuzzed, pieces_of
from hypothesis import event, given
from hypothesis import strategies as st

from responder.values.errors import InvalidResponseError
from responder.wire.http1 import Framing, read_head


class Outcome(NamedTuple):
    """What a reader makes of the bytes of a connection that then ends.

    Attributes:
        accepted: A whole reply was read.
        status: Its status.
        headers: Its headers, names in lower case.
        body: Its body, without what frames it.
        kept: The connection may carry another request.
        why: The error, for people.
    """

    accepted: bool
    status: int = 0
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    kept: bool = False
    why: str = ""


def by_us(pieces: Iterable[bytes]) -> Outcome:
    """Read as `Response` does: each piece is what one `recv` returns."""
    left = list(pieces)

    def receive() -> bytes:
        return left.pop(0) if left else b""

    try:
        head, data = read_head(receive)
        framing = Framing(head)
        body = []
        if framing.ended:
            framing.feed(data)
        while not framing.ended:
            body.append(framing.feed(data or receive()))
            data = b""
    except (http.client.HTTPException, InvalidResponseError) as error:
        return Outcome(False, why=type(error).__name__)
    # What has not been received is seen by the pool, which looks at the socket before it uses a connection again.
    kept = framing.can_reuse and not left
    return Outcome(True, head.status, tuple(sorted(head.headers.items())), b"".join(body), kept)


def by_h11(data: bytes) -> Outcome:
    """Read with the reader of httpx and many servers."""
    connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=2**20)
    connection.send(h11.Request(method="POST", target="/", headers=[("Host", "a"), ("Content-Length", "0")]))
    connection.send(h11.EndOfMessage())
    status, headers, body = 0, [], b""
    try:
        connection.receive_data(data)
        while True:
            found = connection.next_event()
            if found is h11.NEED_DATA:
                connection.receive_data(b"")
            elif isinstance(found, h11.Response):
                status = found.status_code
                headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in found.headers]
            elif isinstance(found, h11.Data):
                body += found.data
            elif isinstance(found, h11.EndOfMessage):
                kept = connection.their_state is h11.DONE and not connection.trailing_data[0]
                return Outcome(True, status, joined(headers), body, kept)
            elif not isinstance(found, h11.InformationalResponse):
                return Outcome(False, why=repr(found))
    except h11.RemoteProtocolError as error:
        return Outcome(False, why=str(error))


class Bytes(io.BytesIO):
    """What `http.client` reads from; stays open, so that what it left can be seen."""

    def makefile(self, *_: Any) -> Bytes:
        return self

    def close(self) -> None:
        pass


def by_http_client(data: bytes, method: str = "POST") -> Outcome:
    """Read with the reader of the standard library, urllib3 and requests."""
    source = Bytes(data)
    try:
        while True:
            reply = http.client.HTTPResponse(source, method=method)  # type: ignore[arg-type]  # all that it asks of a socket
            reply.begin()
            if not 102 <= reply.status < 200:  # it passes over 100 alone, and leaves the others to its caller
                break
        body = reply.read()
    except (http.client.HTTPException, ValueError, OverflowError, MemoryError) as error:
        return Outcome(False, why=f"{type(error).__name__}: {error}")
    kept = not reply.will_close and not source.read()
    return Outcome(True, reply.status, joined(reply.headers.items()), body, kept)


def joined(headers: Iterable[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    """Return headers with the values of those that came several times joined, and folded lines in one."""
    found: dict[str, str] = {}
    for name, value in headers:
        value = re.sub(r"\r?\n[ \t]+", " ", value).strip(" \t\r\n")
        found[name.lower()] = f"{found[name.lower()]}, {value}" if name.lower() in found else value
    return tuple(sorted(found.items()))


READERS = {"h11": by_h11, "http.client": by_http_client}


class Difference(NamedTuple):
    """A kind of bytes of which we make something else than another reader does.

    Attributes:
        reader: Whose reading differs.
        how: "accepts" or "refuses": what we do, and it does not; "reads": both accept and see something else; "keeps": we use
            the connection again, and it would not.
        example: Bytes that show it.
        pattern: What the bytes have in common.
        why: The reason for our way.
    """

    reader: str
    how: str
    example: bytes
    pattern: str
    why: str


OK = b"HTTP/1.1 200 OK\r\n"
EMPTY = b"Content-Length: 0\r\n\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"

DIFFERENCES = [
    # Accepted, and not by h11; `http.client` accepts it as well.
    Difference(
        "h11",
        "accepts",
        b"HTTP/1.1  200 OK\r\n" + EMPTY,
        r"HTTP/1\.[01]( {2,}[0-9]{3}| [0-9]{3} )",
        "Several blanks before a status are as clear as one.",
    ),
    Difference(
        "h11",
        "accepts",
        OK + b"X: a\x0bb\r\n" + EMPTY,
        r"[\x0b\x0c]",
        "Control characters other than CR, LF and NUL frame nothing; RFC 9110, 5.5 lets a reader keep them.",
    ),
    Difference(
        "h11",
        "accepts",
        b"HTTP/1.1 204 No Content\r\nTransfer-Encoding: gzip\r\n\r\n",
        r"(?is)HTTP/1\.[01] +(204|304).*\ntransfer-encoding:",
        "A reply that can have no body has none, however it would be sent.",
    ),
    Difference(
        "h11",
        "accepts",
        CHUNKED + b"5 ;a=b\r\nhello\r\n0\r\n\r\n",
        r"(?im)^[0-9a-f]+[ \t]+;",
        "The grammar of a chunk's extension allows blanks before the semicolon.",
    ),
    # Refused, and not by h11.
    Difference(
        "h11",
        "refuses",
        b"HTTP/2.0 200 OK\r\n" + EMPTY,
        r"HTTP/(?!1\.[01])[0-9]\.[0-9] ",
        "Only 1.0 and 1.1 are framed as 1.1 is. `http.client` refuses most of them, too.",
    ),
    Difference(
        "h11",
        "refuses",
        CHUNKED + b"5;\0\r\nhello\r\n0\r\n\r\n",
        r"(?s);[^\n]*[\0\r][^\n]*\r\n",
        "A NUL or a bare CR in an extension is there to be read differently by somebody else.",
    ),
    # Read differently from h11.
    Difference(
        "h11",
        "reads",
        OK + b"Content-Length: 5, 5\r\n\r\nhello",
        r"(?i)content-length:[^\n]*,|content-length:(?s:.)*content-length:",
        "h11 hands out the one length that is meant, we the header as it came.",
    ),
    Difference(
        "h11",
        "reads",
        OK + b"Transfer-Encoding: Chunked\r\n\r\n0\r\n\r\n",
        r"(?i:\ntransfer-encoding:)[^\n]*[A-Z]",
        "h11 hands out the coding in lower case.",
    ),
    # Connections that h11 does not keep.
    Difference(
        "h11",
        "keeps",
        b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n" + EMPTY,
        r"HTTP/1\.0 ",
        "HTTP/1.0 with `keep-alive` is what some proxies and small servers speak; h11 leaves that out.",
    ),
    # Refused, and accepted by `http.client`, which reads e-mail's headers and does not look at what it skips. h11 refuses all.
    Difference(
        "http.client",
        "refuses",
        b"HTTP/1.1\t200\tOK\r\n" + EMPTY,
        r"\A(?!HTTP/1\.[01] +[0-9]{3}[ \r\n])|HTTP/(?!1\.[01] +[0-9]{3}[ \r\n])|\n[^\S\n]+HTTP/",
        "Its status line is whatever splits into three words.",
    ),
    Difference(
        "http.client",
        "refuses",
        OK + b"no colon\r\n" + EMPTY,
        r"\n(?!HTTP/)([^\n:]*[^\n:!#$%&'*+\-.^_`|~0-9A-Za-z][^\n:]*:|[^\n:]+\r?\n|:)|[^\r\n]\r?\nHTTP/",
        "Its headers end, silently, at the first line that is none; the length may have been behind it. Names are tokens.",
    ),
    Difference(
        "http.client",
        "refuses",
        OK + b"X: a\0b\r\n" + EMPTY,
        r"\0|\r(?!\n)",
        "NUL and bare CR are read differently by different readers, which is what attacks are made of.",
    ),
    Difference(
        "http.client",
        "refuses",
        OK + b"X: a",
        r"\A(?!(?s:.)*\n\r?\n(?!HTTP/1))|\A(HTTP/1\.[01] +1(?s:.)*?\n\r?\n)+(?!(?s:.)*\n\r?\n)",
        "It takes a head or a trailer that broke off for a whole one.",
    ),
    Difference(
        "http.client",
        "refuses",
        OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n5",
        r"(?i)\ntransfer-encoding:(?!\s*chunked[ \t]*\r?\n)",
        "A coding that is not known leaves the end of the body unknown; it takes the length, or all that comes.",
    ),
    Difference(
        "http.client",
        "refuses",
        OK + b"Content-Length: -5\r\n\r\nhello",
        r"(?i)\ncontent-length:(?![ \t]*[0-9]{1,20}[ \t]*\r?\n)|content-length:(?s:.)*content-length:",
        "It ignores a length that is none and reads to the end of the connection, and of two lengths it takes the first.",
    ),
    Difference(
        "http.client",
        "refuses",
        CHUNKED + b"0x5\r\nhelloxx0\n\n",
        r"(?is)\ntransfer-encoding:\s*chunked",
        "It reads a chunk's size as Python reads a number, skips two bytes behind a chunk whatever they are, and takes an end "
        "of the connection for the end of the trailers.",
    ),
    Difference(
        "http.client",
        "refuses",
        b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
        r"HTTP/1\.[01] +101",
        "A reply to no question of ours, and the bytes behind it are of another protocol.",
    ),
    # Read differently from `http.client`.
    Difference(
        "http.client",
        "reads",
        OK + b"Content-Length: 5, 5\r\n\r\nhello, and more",
        r"(?i)content-length:[^\n]*,",
        "The same length twice is that length (RFC 9110, 8.6), as h11 has it; it reads to the end of the connection.",
    ),
    Difference(
        "http.client",
        "keeps",
        OK + b"Content-Length: 5, 5\r\n\r\nhello",
        r"(?i)content-length:[^\n]*,",
        "The same, where nothing follows.",
    ),
    Difference(
        "http.client",
        "reads",
        OK + b"Transfer-Encoding:\r\n chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        r"(?i)\n(transfer-encoding|content-length):[^\n]*\n[ \t]",
        "A folded value is put together before it is looked at (RFC 9112, 5.2), as h11 does.",
    ),
    Difference(
        "http.client",
        "reads",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked \r\n\r\n0\r\n\r\n",
        r"(?i)\ntransfer-encoding:[ \t]*chunked[ \t]+\r?\n",
        "Blanks behind a value are no part of it (RFC 9110, 5.5), as h11 has it; here they make it another coding.",
    ),
    Difference(
        "http.client",
        "reads",
        b"HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n",
        r"(?is)HTTP/1\.[01] +(204|304).*\ntransfer-encoding:",
        "A reply that can have no body has none (RFC 9112, 6.3); it reads chunks, and would wait for them.",
    ),
    Difference(
        "http.client",
        "accepts",
        b"HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n",
        r"(?is)HTTP/1\.[01] +(204|304).*\ntransfer-encoding:",
        "The same, where the chunks do not come.",
    ),
]


def listed(reader: str, how: str, data: bytes) -> bool:
    """Return whether the table has this difference."""
    text = data.decode("latin-1")
    return any(row.reader == reader and row.how == how and re.search(row.pattern, text) for row in DIFFERENCES)


def difference(ours: Outcome, theirs: Outcome) -> str:
    """Return what we do that another reader does not; "" for none."""
    if ours.accepted != theirs.accepted:
        return "accepts" if ours.accepted else "refuses"
    if ours[:4] != theirs[:4]:
        return "reads"
    # Closing a connection that could have been kept costs a handshake; the other way round costs an answer.
    return "keeps" if ours.kept and not theirs.kept else ""


def compare(data: bytes, places: list[int]) -> None:
    ours = by_us([data] if data else [])
    for pieces in (pieces_of(data, places), [data[at : at + 1] for at in range(len(data))]):
        assert by_us(pieces) == ours, "another outcome when the bytes are cut"
    theirs = {name: reader(data) for name, reader in READERS.items()}
    event("accepted" if ours.accepted else "refused")
    readings = list(theirs.values())
    if ours.status in (204, 304):
        readings.append(by_http_client(data, "HEAD"))  # so that it looks for no body, as RFC 9112, 6.3 says
    assert not ours.accepted or any(other.accepted for other in readings), f"accepted, and nobody else does: {readings}"
    for name, other in theirs.items():
        how = difference(ours, other)
        assert not how or listed(name, how, data), f"{how}, unlike {name}:\n{ours}\n{other}"


# --- Where the bytes come from ----------------------------------------------------------------------------------------

line_ends = st.sampled_from([b"\r\n"] * 8 + [b"\n"])
statuses = st.sampled_from([b"200 OK"] * 6 + [b"204 No Content", b"304 Not Modified", b"429 Too Many Requests", b"500", b"503 "])
odd_status_lines = st.sampled_from(
    [
        b"HTTP/1.1 101 Switching Protocols", b"HTTP/1.1  200 OK", b"HTTP/1.1 200OK", b"HTTP/1.1 099 No", b"HTTP/1.1 000 No",
        b"HTTP/1.1 20 No", b"HTTP/1.1 2000 No", b"HTTP/1.1 +20 No", b"HTTP/1.1 600 Odd", b"HTTP/1.1 999 Odd", b"HTTP/2 200 OK",
        b"HTTP/1.2 200 OK", b"HTTP/2.0 200 OK", b"HTTP/0.9 200 OK", b"HTTP/1.x 200 OK", b"http/1.1 200 OK", b"ICY 200 OK", b"",
        b"HTTP/1.1\t200\tOK", b" HTTP/1.1 200 OK", b"HTTP/1.1 200 \xff\x00", b"HTTP/1.1 \xb2\xb2\xb2 OK", b"HTTP/1.1 200 a\rb",
        b"HTTP/1.1 200 OK\x0b", b"HTTP/11 200 OK", b"HTTP/1.1 200 OK HTTP/1.1 200 OK",
    ]
)  # fmt: skip
plain_headers = st.sampled_from(
    [
        b"Content-Type: application/json", b"X-Request-ID: 1", b"x-empty:", b"Set-Cookie: a=b", b"Set-Cookie: c=d, e",
        b"X-Latin: \xe4\xff", b"Connection: keep-alive", b"Connection: close", b"Connection: Close", b"X-Tab:\ta\t", b"X: a:b",
    ]
)  # fmt: skip
odd_headers = st.sampled_from(
    [
        b" folded", b"\tfolded: yes", b" ", b"no colon", b"Name : spaced", b": nameless", b"N\xe4me: a", b"a(b: c", b"X: a\0b",
        b"X: a\rb", b"X: a\x0bb", b"X: a\x01b", b"\0: a", b"Content-Length: 5", b"Content-Length: 0", b"Content-Length: 7",
        b"Content-Length: 5, 5", b"Content-Length: 5, 6", b"Content-Length: +5", b"Content-Length: -5", b"Content-Length: 5 5",
        b"Content-Length:", b"Content-Length: 0x5", b"Content-Length: 5_0", b"Content-Length: 00000000000000000005",
        b"Content-Length: \xb2", b"Content-Length: 99999999999999999999999", b"Content-Length: 5,", b"Content-Length : 5",
        b"Content-Length: 5\x0b", b"Transfer-Encoding: chunked", b"Transfer-Encoding: Chunked ",
        b"Transfer-Encoding: gzip, chunked",
        b"Transfer-Encoding: chunked, chunked", b"Transfer-Encoding: chunked, identity", b"Transfer-Encoding: identity",
        b"Transfer-Encoding: xchunked", b"Transfer-Encoding: chunked;a=b", b"Transfer-Encoding:", b"Transfer-Encoding: chunked,",
        b"Transfer-Encoding: \x0bchunked", b"Transfer-Encoding : chunked", b"Connection: close, keep-alive", b"Keep-Alive: 5",
        b"Connection: x-close", b"Proxy-Connection: keep-alive",
    ]
)  # fmt: skip
interim = st.sampled_from(
    [
        b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n", b"HTTP/1.1 100 Continue\n\n",
        b"HTTP/1.1 102 Processing\r\nContent-Length: 5\r\n\r\n", b"HTTP/1.0 100 Continue\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 199 Odd\r\nConnection: close\r\n\r\n",
    ]
)  # fmt: skip
contents = st.sampled_from(
    [b"", b"hello", b"{}", b"a\r\n\r\nb", b"\n\n", b"\r\n0\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\n", b"x" * 300]
)
surplus = st.sampled_from(
    [b""] * 4 + [b"\r\n", b"\0", b"EVIL", b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nEVIL", b"0\r\n\r\n"]
)
odd_sizes = st.sampled_from(
    [
        b"0x5", b"+5", b"-5", b"5_0", b" 5", b"5 ", b"5\t", b"5 ;a", b"5;a=b", b'5;a="\\"b"', b"5;\xff", b"5;\0", b"5;a\rb", b"",
        b"z", b"05", b"000000000000000000005", b"00000000000000000005", b"5;", b"fffffffffffffffffffff", b"\xb2", b"5\x0b",
    ]
)  # fmt: skip
trailers = st.sampled_from(
    [b""] * 4
    + [
        b"X: a\r\n",
        b"X: a\n",
        b"X: a\r\n folded\r\n",
        b" folded\r\n",
        b"no colon\r\n",
        b"X : a\r\n",
        b"X: \0\r\n",
        b"X: a\rb\r\n",
    ]
)


@st.composite
def heads(draw: st.DrawFn, framing: bytes) -> bytes:
    version = draw(st.sampled_from([b"HTTP/1.1 "] * 5 + [b"HTTP/1.0 "]))
    first = draw(odd_status_lines) if draw(st.integers(0, 5)) == 5 else version + draw(statuses)
    lines = draw(st.lists(plain_headers, max_size=3))
    if framing:
        lines.insert(draw(st.integers(0, len(lines))), framing)
    if draw(st.integers(0, 3)) == 3:
        lines.insert(draw(st.integers(0, len(lines))), draw(odd_headers))
    end = draw(line_ends)
    ends = draw(st.lists(line_ends, min_size=len(lines) + 2, max_size=len(lines) + 2)) if draw(st.booleans()) else None
    return b"".join(line + (ends[at] if ends else end) for at, line in enumerate([first, *lines, b""]))


@st.composite
def chunks(draw: st.DrawFn) -> bytes:
    made = b""
    for content in draw(st.lists(contents.filter(bool), max_size=4)):
        size = b"%x" % len(content)
        if draw(st.integers(0, 7)) == 7:
            size = draw(odd_sizes)
            content = b"hello"
        made += size + draw(line_ends) + content + draw(st.sampled_from([b"\r\n"] * 9 + [b"\n", b"", b"\r", b"xx"]))
    return made + draw(st.sampled_from([b"0\r\n"] * 6 + [b"0;a\r\n", b"000\r\n", b"0\n", b""])) + draw(trailers) + draw(line_ends)


@st.composite
def replies(draw: st.DrawFn) -> bytes:
    """Return a reply of any kind, perhaps with interim ones before it, something behind it, some bytes changed, or cut."""
    kind = draw(st.integers(0, 3))
    content = draw(contents)
    if kind == 0:
        reply = draw(heads(b"Content-Length: %d" % len(content))) + content
    elif kind == 1:
        reply = draw(heads(b"Transfer-Encoding: chunked")) + draw(chunks())
    else:
        reply = draw(heads(b"")) + content
    data = b"".join(draw(st.lists(interim, max_size=2))) + reply + draw(surplus)
    for _ in range(draw(st.sampled_from([0, 0, 0, 1, 2]))):
        at = draw(st.integers(0, len(data)))
        new = draw(
            st.sampled_from([b"", b"\r", b"\n", b"\r\n", b"\0", b" ", b":", b",", b"0", b"\t", b"\xff", b";", b"H", b"\x0b"])
        )
        data = data[:at] + new + data[at + draw(st.integers(0, 2)) :]
    return data[: draw(st.integers(0, len(data)))] if draw(st.integers(0, 9)) == 9 else data


cuts = st.lists(st.integers(0, 600), max_size=6)


@given(replies(), cuts)
@fuzzed(400)
def test_fuzzed_replies_are_read_as_other_readers_do_however_they_are_cut(data: bytes, places: list[int]) -> None:
    """Or the difference stands in the table."""
    compare(data, places)


tokens = st.sampled_from(
    [
        b"HTTP/1.1 ", b"200", b" ", b"OK", b"\r\n", b"\n", b"\r", b"\r\n\r\n", b"Content-Length: ", b"5", b"hello", b"0", b":",
        b"Transfer-Encoding: chunked\r\n", b"5\r\nhello\r\n", b"0\r\n\r\n", b"Connection: ", b"close", b"HTTP/1.1 200 OK\r\n",
        b"X: ", b"HTTP/1.1 100 \r\n\r\n", b"204", b"304", b"HTTP/1.0 200 OK\r\n", b";", b"\t",
    ]
)  # fmt: skip


@given(st.lists(tokens | st.binary(max_size=2), max_size=14).map(b"".join), cuts)
@fuzzed(300)
def test_fuzzed_words_of_http_in_any_order_are_read_as_other_readers_do(data: bytes, places: list[int]) -> None:
    """What no server would think of sending."""
    compare(data, places)
    compare(OK + data, places)
    compare(CHUNKED + data, places)


@pytest.mark.parametrize("row", [pytest.param(row, id=f"{row.reader} {number}") for number, row in enumerate(DIFFERENCES)])
def test_each_listed_difference_is_one(row: Difference) -> None:
    """A row whose example is read alike would only hide others."""
    ours = by_us([row.example])
    assert difference(ours, READERS[row.reader](row.example)) == row.how
    assert re.search(row.pattern, row.example.decode("latin-1"))
