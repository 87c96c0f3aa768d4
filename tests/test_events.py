"""From bytes that are cut anywhere to whole events: compared with what was put in, and with a decoder that is not ours."""

from __future__ import annotations

import itertools
import json
import re
import time
from collections.abc import Callable, Iterable
from typing import Any

import pytest
from fuzzing import fuzzed, pieces_of
from httpx_sse._decoders import SSEDecoder
from hypothesis import example, given, settings
from hypothesis import strategies as st
from strategies import json_values
from wire.expected import STREAMS, Exchange

from responder.values.errors import InvalidResponseError
from responder.values.sizes import Sizes
from responder.wire.events import BodyDecoder, Decoder, Event, EventDecoder, JSONDecoder

ENDS = ["\n", "\r", "\r\n"]

# Lines as providers send them, and as they never should.
lines = st.one_of(
    st.sampled_from(
        [
            "",
            "data",
            "data:",
            "data: ",
            "data:  two spaces",
            "data:none",
            "data: [DONE]",
            'data: {"text": "日本語 😀 \u2028\u2029\u0085\u000b\u000c"}',
            ": OPENROUTER PROCESSING",
            ":",
            "event: ping",
            "event:",
            "event",
            "id: 1",
            "retry: 10",
            " data: indented",
            "Data: capital",
            '{"error": {}}',
        ]
    ),
    st.text(st.characters(exclude_characters="\r\n", codec="utf-8"), max_size=12).map("data: {}".format),
    st.text(st.characters(exclude_characters="\r\n", codec="utf-8"), max_size=12),
)
bodies = st.lists(st.tuples(lines, st.sampled_from(ENDS)), max_size=20).map(lambda pairs: "".join(map("".join, pairs)))
objects = st.dictionaries(
    st.text(max_size=4) | st.sampled_from(['"', "\\", "{", "]", '\\"']),
    json_values | st.text(st.sampled_from('{}[]"\\,: \nx日😀'), max_size=12),
    max_size=4,
)


def decoded(pieces: Iterable[bytes], decoder: Decoder | None = None) -> list[Event]:
    """Return all events of a body that arrives in these pieces."""
    decoder = decoder or BodyDecoder()
    return [event for piece in pieces for event in decoder.feed(piece)] + decoder.close()


def cut(body: bytes, places: Iterable[int]) -> list[bytes]:
    """Return a body, cut at these places (taken modulo its length)."""
    borders = [0, *sorted({place % (len(body) + 1) for place in places}), len(body)]
    return [body[begin:end] for begin, end in itertools.pairwise(borders)]


def one_by_one(body: bytes) -> list[bytes]:
    return [body[at : at + 1] for at in range(len(body))]


def by_another_decoder(body: str) -> list[Event]:
    """Return the events that httpx-sse finds; lines are split as the standard says, and events without data are none."""
    decoder = SSEDecoder()
    found = [decoder.decode(line) for line in re.split("\r\n|\n|\r", body)[:-1]]
    return [(event.event, event.data.encode()) for event in found if event is not None and event.data]


def in_its_words(events: list[Event]) -> list[Event]:
    """Return our events as httpx-sse names them."""
    return [(name or "message", data) for name, data in events if data]


def by_the_standard(body: bytes) -> list[Event]:
    """Return the events that the standard's algorithm dispatches, in its own order and words (section 9.2.6)."""
    text = body.decode("utf-8", "replace")  # a byte order mark is dropped once, at the very beginning
    text = text.removeprefix("\ufeff")
    *whole, _ = re.split("\r\n|\n|\r", text)  # what follows the last line end is no line
    found: list[Event] = []
    data, name = "", ""
    for line in whole:
        if line == "":
            if data != "":
                found.append((name, data.removesuffix("\n").encode()))
            data, name = "", ""
        elif line.startswith(":"):
            continue
        else:
            field, _, value = line.partition(":")
            value = value.removeprefix(" ")
            if field == "event":
                name = value
            elif field == "data":
                data += value + "\n"
    return found


streams = pytest.mark.parametrize("exchange", [pytest.param(exchange, id=exchange.name) for exchange in STREAMS])


# --- Cut anywhere -----------------------------------------------------------------------------------------------------


@pytest.mark.acceptance(9)
@pytest.mark.pain(21)
@streams
def test_a_recorded_stream_gives_the_same_events_one_byte_at_a_time(exchange: Exchange) -> None:
    """And there are some."""
    whole = decoded([exchange.body])
    assert whole
    assert decoded(one_by_one(exchange.body)) == whole


@pytest.mark.pain(21)
@streams
def test_a_recorded_stream_gives_the_same_events_cut_in_two_anywhere(exchange: Exchange) -> None:
    """At each place of its first two thousand bytes."""
    body = exchange.body[:2000]
    whole = decoded([body])
    for at in range(len(body)):
        assert decoded([body[:at], body[at:]]) == whole


@pytest.mark.pain(21)
@given(st.sampled_from(STREAMS), st.lists(st.integers(0, 10**6), max_size=12))
@settings(deadline=None)
def test_a_recorded_stream_gives_the_same_events_cut_at_random(exchange: Exchange, places: list[int]) -> None:
    """In up to a dozen places, pieces of nothing included."""
    assert decoded(cut(exchange.body, places)) == decoded([exchange.body])


@pytest.mark.pain(21)
@pytest.mark.parametrize(
    "exchange", [found for found in STREAMS if found.body.lstrip()[:1] not in b"[{\0"], ids=lambda found: found.name
)
def test_a_recorded_stream_gives_the_events_that_another_decoder_finds(exchange: Exchange) -> None:
    """Up to the end of the body, where ours finds more on purpose."""
    assert in_its_words(EventDecoder().feed(exchange.body)) == by_another_decoder(exchange.body.decode())


@pytest.mark.pain(21)
@given(bodies, st.lists(st.integers(0, 300), max_size=12))
@example("data: a\r\ndata: b\r\n\r\n", [8])
@example("data: a\r\r\n\rdata: b\n\r", [8, 9, 10])
@settings(deadline=None, max_examples=150)
def test_any_lines_cut_anywhere_give_the_events_that_another_decoder_finds(body: str, places: list[int]) -> None:
    """Whatever ends its lines: LF, CR, CRLF, or all of them in turn."""
    decoder = EventDecoder()
    events = [event for piece in cut(body.encode(), places) for event in decoder.feed(piece)]
    # A CR at the very end may be half of a CRLF; that its line has ended is known all the same.
    assert in_its_words(events) == by_another_decoder(body)


@pytest.mark.pain(21)
@pytest.mark.parametrize("ending", ENDS)
def test_each_line_end_gives_the_same_events_wherever_it_is_cut(ending: str) -> None:
    """A CRLF that is cut is one line end, not two: no event ends there."""
    body = ending.join(["event: a", "data: 1", "data: 2", "", ": note", "data: 3", "", ""]).encode()
    for at in range(len(body)):
        assert decoded([body[:at], body[at:]]) == [("a", b"1\n2"), ("", b"3")]
    assert decoded(one_by_one(body)) == [("a", b"1\n2"), ("", b"3")]


@pytest.mark.pain(21)
@given(st.binary(max_size=200), st.lists(st.integers(0, 200), max_size=8))
def test_bytes_that_are_no_stream_at_all_raise_nothing(body: bytes, places: list[int]) -> None:
    """Neither as events nor as JSON; and the cuts make no difference."""
    assert decoded(cut(body, places)) == decoded([body])
    assert decoded(cut(b"[" + body, places)) == decoded([b"[" + body])


OURS_ALONE = """What we make of a body that the standard does not. Each line has an example in the test below.

blanks before the first line    dropped, because content types lie and JSON may follow
a body that begins with { or [  JSON objects, one after another
a NUL as the first byte         frames of Amazon's: it begins with a length in four bytes
`error: ...`                    an error event, where it is JSON at once: some servers write it where an event should be
the end of the body             a last event without its blank line counts where its JSON is whole (Google ends so); bare JSON
                                among the lines is an error event (Google writes it so)
"""


@pytest.mark.parametrize(
    ("body", "ours"),
    [
        (b" \n data: 1\n\n", [("", b"1")]),
        (b'{"a": 1}', [("", b'{"a": 1}')]),
        (b"\0" + bytes(range(128, 144)), [("", b"a frame of the stream is broken: its checksum is wrong")]),
        (b'error: {"a": 1}\n', [("error", b'{"a": 1}')]),
        (b"error: overloaded\n\n", [("error", b"overloaded")]),
        (b"data: 1", [("", b"1")]),
        (b'{"a":\n1}\n', [("error", b'{"a":\n1}')]),
    ],
)
def test_each_difference_from_the_standard_is_one(body: bytes, ours: list[Event]) -> None:
    """They are listed above."""
    assert by_the_standard(body) == []
    assert decoded([body]) == ours or decoded([body], EventDecoder()) == ours


odd_lines = lines | st.sampled_from(
    [b"data", b"data:\xff", b"data: \xe2\x82", b"\xef\xbb\xbf", b"data:\0", b"event: \xff", b"data: \x85\x0b", b"dat", b":\xff"]
)  # fmt: skip


@given(
    st.lists(st.tuples(odd_lines, st.sampled_from(ENDS)), max_size=14),
    st.sampled_from([b"", b"", b"\xef\xbb\xbf", b"\xef\xbb"]),
    st.lists(st.integers(0, 400), max_size=8),
)
@fuzzed(300)
def test_fuzzed_events_are_those_of_the_standard_however_they_are_cut(
    pairs: list[tuple[str | bytes, str]], start: bytes, places: list[int]
) -> None:
    """Bytes that are no UTF-8, a mark at the start, and every kind of line end included; up to the end of the body."""
    body = b"".join((line.encode() if isinstance(line, str) else line) + end.encode() for line, end in pairs)
    first = start + body.lstrip()
    text = first.removeprefix(b"\xef\xbb\xbf")
    if text[:1] in (b"{", b"[", b"\0") or text != text.lstrip() or re.search(rb"(?m)(^|\r)error:", text):
        return  # listed above
    expected = by_the_standard(first)
    for pieces in ([first], pieces_of(first, places), one_by_one(first)):
        decoder = BodyDecoder()
        events = [event for piece in pieces for event in decoder.feed(piece)]
        readable = [(name, data.decode("utf-8", "replace").encode()) for name, data in events if data]
        assert readable == [event for event in expected if event[1]]


@given(
    st.lists(
        st.sampled_from(
            [b"\xef\xbb\xbf", b"\xef", b" ", b"\r", b"\n", b"{", b"}", b"[", b'"', b"\\", b"data: ", b"1", b"error: {}", b"x"]
        )
        | st.binary(max_size=2),
        max_size=16,
    ).map(b"".join),
    st.lists(st.integers(0, 60), max_size=6),
    st.integers(1, 12),
)
@fuzzed(300)
def test_fuzzed_bytes_give_the_same_events_at_every_cut_within_any_bounds(body: bytes, places: list[int], most: int) -> None:
    """Or the same error; and neither an event nor what is left of one is larger than its bound."""

    def outcome(pieces: Iterable[bytes], sizes: Sizes) -> list[Event] | str:
        decoder = BodyDecoder(sizes)
        try:
            events = decoded(pieces, decoder)
        except InvalidResponseError as error:
            return str(error)
        assert all(len(data) <= max(sizes.event, sizes.stray) for _, data in events)
        return events

    for sizes in (Sizes(), Sizes(event=most), Sizes(line=most), Sizes(stray=most)):
        whole = outcome([body], sizes)
        assert outcome(pieces_of(body, places), sizes) == whole
        assert outcome(one_by_one(body), sizes) == whole


# --- What a field and an event are ------------------------------------------------------------------------------------


@pytest.mark.acceptance(9)
@pytest.mark.pain(21)
@pytest.mark.parametrize("letter", ["\u2028", "\u2029", "\u0085", "\u000b", "\u000c", "\u001c", "\u001e"])
def test_only_cr_and_lf_end_a_line(letter: str) -> None:
    """Python's own `splitlines` would cut the JSON in two at these."""
    data = json.dumps({"text": f"a{letter}b"}, ensure_ascii=False).encode()
    assert decoded([b"data: " + data + b"\n\n"]) == [("", data)]


@pytest.mark.pain(21)
def test_a_character_that_is_cut_is_put_together_again() -> None:
    """An emoji of four bytes, and letters of three."""
    body = 'data: {"text": "😀日本語"}\n\n'.encode()
    for at in range(len(body)):
        events = decoded([body[:at], body[at:]])
        assert [json.loads(data) for _, data in events] == [{"text": "😀日本語"}]


@pytest.mark.pain(21)
@pytest.mark.parametrize("body", [b'data: {"a": 1}\n\n', b'\n\n{"a": 1}', b'  [{"a": 1}]'])
def test_a_byte_order_mark_is_dropped_wherever_it_is_cut(body: bytes) -> None:
    """Before events as before JSON."""
    marked = b"\xef\xbb\xbf" + body
    for at in range(len(marked)):
        assert decoded([marked[:at], marked[at:]]) == [("", b'{"a": 1}')]


@pytest.mark.pain(21)
@pytest.mark.parametrize(
    ("body", "events"),
    [
        pytest.param(b"data:1\n\ndata: 2\n\ndata:  3\n\n", [b"1", b"2", b" 3"], id="one space after the colon, or none"),
        pytest.param(b"data: 1\ndata\ndata: 2\n\n", [b"1\n\n2"], id="several lines of data, one of them empty"),
        pytest.param(b": a\n:\ndata: 1\n: b\n\n: c\n\n", [b"1"], id="comments and heartbeats"),
        pytest.param(b"id: 7\nretry: 3\nnever: heard\ndata: 1\n\n", [b"1"], id="other fields"),
        pytest.param(b"\n\n\nevent: ping\n\ndata: 1\n\n\n\n", [b"1"], id="events without data, and more blank lines"),
        pytest.param(b"data: a: b\n\n", [b"a: b"], id="a colon in the data"),
    ],
)
def test_data_is_what_the_standard_says(body: bytes, events: list[bytes]) -> None:
    """https://html.spec.whatwg.org/multipage/server-sent-events.html"""
    assert [data for _, data in decoded([body])] == events


def test_a_name_belongs_to_its_event_alone_even_when_it_comes_last() -> None:
    """Some gateways write the name after the data."""
    body = b"event: first\ndata: 1\n\ndata: 2\n\ndata: 3\nevent: third\n\nevent: gone\n\ndata: 4\n\n"
    assert decoded([body]) == [("first", b"1"), ("", b"2"), ("third", b"3"), ("", b"4")]


# --- The end of the body ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rest", [b"", b"\n", b"\r\n", b"\r"])
def test_a_whole_last_event_without_its_blank_line_counts(rest: bytes) -> None:
    """Google's servers end so."""
    assert decoded([b'data: {"a": 1}\n\ndata: {"b": 2}' + rest]) == [("", b'{"a": 1}'), ("", b'{"b": 2}')]
    assert decoded([b"data: [DONE]" + rest]) == [("", b"[DONE]")]


@pytest.mark.pain(20)
def test_a_last_event_that_was_cut_is_dropped() -> None:
    """At whatever byte; half an answer is not handed out as if it were one."""
    last = b'data: {"text": "half"}'
    for at in range(len(last)):
        assert decoded([b'data: {"a": 1}\n\n', last[:at]]) == [("", b'{"a": 1}')]


@pytest.mark.pain(21)
def test_an_error_as_bare_json_after_the_events_is_an_error_event() -> None:
    """Google writes it so, over several lines, when a stream fails in the middle."""
    error = json.dumps({"error": {"code": 499, "status": "CANCELLED"}}, indent=2).encode()
    events = decoded(one_by_one(b'data: {"a": 1}\r\n\r\n' + error + b"\n"))
    assert events[0] == ("", b'{"a": 1}')
    name, data = events[1]
    assert (name, json.loads(data)) == ("error", json.loads(error))


def test_a_page_of_html_holds_no_event() -> None:
    """Nor does an empty body, or one of blanks."""
    assert decoded([b"<!DOCTYPE html>\n<html>\n<body>\nnothing\n</body></html>\n"]) == []
    assert decoded([]) == decoded([b"", b" \r\n ", b""]) == decoded([b"\xef\xbb"]) == []


@pytest.mark.parametrize(
    ("body", "stray"),
    [
        (b"<!DOCTYPE html>\r\n<html>Log in", b"<!DOCTYPE html>\n<html>Log in"),
        (b"Welcome", b"Welcome"),
        (b"data: {}\n\nWelcome\n", b""),
        (b"Welcome\ndata: {", b""),
        (b": heartbeat\n\n", b""),
        (b"dat", b""),
        (b'{"a": 1}', b""),
        (b"", b""),
    ],
)
def test_what_is_no_stream_is_told_from_one_that_was_cut(body: bytes, stray: bytes) -> None:
    """A page is not worth trying again as a stream that broke off is."""
    decoder = BodyDecoder()
    decoder.feed(body)
    decoder.close()
    assert decoder.stray == stray


# --- JSON -------------------------------------------------------------------------------------------------------------


def as_array(found: list[Any], dump: Callable[[Any], str]) -> str:
    return dump(found)


def as_lines(found: list[Any], dump: Callable[[Any], str]) -> str:
    return "".join(dump(one) + "\r\n" for one in found)


def as_google_writes(found: list[Any], dump: Callable[[Any], str]) -> str:
    return "[" + "\n,\r\n".join(dump(one) for one in found) + "\n]\n"


@pytest.mark.pain(21)
@given(
    st.lists(objects, min_size=1, max_size=5),
    st.sampled_from([as_array, as_lines, as_google_writes]),
    st.sampled_from([None, 0, 2]),
    st.booleans(),
    st.lists(st.integers(0, 2000), max_size=12),
)
@settings(deadline=None, max_examples=150)
def test_json_objects_come_out_as_they_went_in_however_they_are_written_and_cut(
    found: list[Any], write: Callable[..., str], indent: int | None, is_ascii: bool, places: list[int]
) -> None:
    """As an array, a line each, or as Google sends them; with braces, quotes and backslashes in their strings."""
    body = write(found, lambda value: json.dumps(value, indent=indent, ensure_ascii=is_ascii)).encode("utf-8", "surrogatepass")
    for pieces in ([body], cut(body, places), one_by_one(body)):
        assert [json.loads(data.decode("utf-8", "surrogatepass")) for _, data in decoded(pieces)] == found


@pytest.mark.pain(21)
@pytest.mark.parametrize("string", ["{", "}", "]", '"', "\\", '\\"', '"}', "\\\\", '\\\\"}', "\n", "😀"])
def test_signs_in_strings_end_nothing_wherever_they_are_cut(string: str) -> None:
    """A brace, a quote, or a backslash at the cut."""
    found = [{"a": string, string: [string, {}]}, {"b": string}]
    body = json.dumps(found, ensure_ascii=False).encode()
    for at in range(len(body)):
        assert [json.loads(data) for _, data in decoded([body[:at], body[at:]])] == found


@pytest.mark.pain(20)
def test_an_object_that_was_cut_is_none() -> None:
    """Those before it are whole."""
    assert decoded([b'[{"a": 1}\n,\r\n{"b": "half']) == [("", b'{"a": 1}')]


def test_an_object_is_out_as_soon_as_its_last_brace_is_there() -> None:
    """It does not wait for the comma, the line end, or the end of the array."""
    decoder = BodyDecoder()
    assert decoder.feed(b'[{"a": {"b": []}') == []
    assert decoder.feed(b"}") == [("", b'{"a": {"b": []}}')]
    assert decoder.feed(b'\n,\r\n{"c": 1}') == [("", b'{"c": 1}')]


# --- Bounds -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("bound", "size", "body"),
    [
        ("event", 10, b"data: 0123456789\n\n"),
        ("event", 10, b"data: 012345\ndata: 789\n\n"),
        ("event", 10, b"data: 012345\ndata: 789\n"),
        ("event", 10, b"data: 1\n\ndata: 0123456789\n\n"),
        ("event", 10, b'{"a": 123}'),
        ("event", 10, b'[{},{"a": 123},{}]'),
        ("line", 16, b"data: 0123456789\n\n"),
        ("line", 16, b": 01234567890123\n"),
        ("line", 16, b": 01234567890123"),
        ("stray", 10, b"01234\n56789\n"),
    ],
)
def test_a_bound_of_a_stream_is_exact_however_its_bytes_are_cut(bound: str, size: int, body: bytes) -> None:
    """As many bytes as it says are fine, and one more is not."""
    for pieces in [[body], one_by_one(body), *([body[:at], body[at:]] for at in range(1, len(body)))]:
        decoded(pieces, BodyDecoder(Sizes(**{bound: size})))
        with pytest.raises(InvalidResponseError, match=rf"Sizes\({bound}=") as caught:
            decoded(pieces, BodyDecoder(Sizes(**{bound: size - 1})))
        assert not caught.value.retryable


def test_comments_and_finished_events_never_add_up_to_a_bound() -> None:
    """A stream may go on for as long as its body may."""
    decoder = BodyDecoder(Sizes(event=20, line=20, stray=20))
    for _ in range(100):
        assert decoder.feed(b": heartbeat\n\n") == []
        assert decoder.feed(b"data: 1\n\ndata: ") == [("", b"1")]
        assert decoder.feed(b"2\n") == []
        assert decoder.feed(b"\n") == [("", b"2")]


# --- Large ------------------------------------------------------------------------------------------------------------


def seconds(decoder: Callable[[], Decoder], pieces: list[bytes]) -> float:
    """Return the least CPU time of this thread that decoding took; the time of other threads and programs is not in it."""

    def once() -> float:
        begin = time.thread_time()
        assert len(decoded(pieces, decoder())) == 1
        return time.thread_time() - begin

    return min(once() for _ in range(3))


@pytest.mark.pain(21)
@pytest.mark.parametrize(
    ("decoder", "body"),
    [
        pytest.param(EventDecoder, lambda size: b'data: {"a": "' + b"x" * size + b'"}\n\n', id="one event"),
        pytest.param(EventDecoder, lambda size: b"data: " + b"\ndata: x" * (size // 8) + b"\n\n", id="one event of many lines"),
        pytest.param(JSONDecoder, lambda size: b'[{"a": "' + b"x" * size + b'"}]', id="one object"),
        pytest.param(JSONDecoder, lambda size: b'{"a": "' + b'\\"{' * (size // 3) + b'"}', id="one object full of signs"),
        pytest.param(BodyDecoder, lambda size: b" \n" * (size // 2) + b'{"a": 1}', id="blanks before the first object"),
    ],
)
def test_a_megabyte_in_small_pieces_takes_linear_time(decoder: Callable[[], Decoder], body: Callable[[int], bytes]) -> None:
    """Sixteen times the bytes take about sixteen times the time; a decoder that copies what it has takes 256 times."""
    small, large = ([whole[at : at + 16] for at in range(0, len(whole), 16)] for whole in (body(2**16), body(2**20)))
    assert seconds(decoder, large) < 80 * seconds(decoder, small)
