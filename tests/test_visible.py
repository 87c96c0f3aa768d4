"""Texts that others wrote, on a screen: nothing in them steers it, wherever the pieces are cut."""

from __future__ import annotations

import json
import unicodedata
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from servers import always, reply, reply_body

from responder import APIError
from responder.values.visible import VisibleStream, visible, visible_in_line, visible_on_page

_BIDI = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
_texts = st.text(st.sampled_from("ab\r\n\t\x00\x07\x08\x1b[31m\x7f\x9b\x9d\u202e\u2067é漢🐈\ud83d"))


def is_harmless(text: str) -> bool:
    """Return whether no character of a text steers a terminal."""
    lines = text.replace("\r\n", "\n")
    return not any(
        character in _BIDI or (unicodedata.category(character) == "Cc" and character not in "\n\t") for character in lines
    )


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[2J\x1b]0;owned\x07", "\\u001b[2J\\u001b]0;owned\\u0007"),
        ("\x9b31m", "\\u009b31m"),
        ("user\u202etxt.exe", "user\\u202etxt.exe"),
        ("a\u2067b\u2069", "a\\u2067b\\u2069"),
        ("safe\rfake\r\n", "safe\\u000dfake\r\n"),
        ("a\b\x7f\x00", "a\\u0008\\u007f\\u0000"),
        ("tabs\tand\nlines, Grüße, שלום, 🏴󠁧󠁢󠁥󠁮󠁧󠁿", "tabs\tand\nlines, Grüße, שלום, 🏴󠁧󠁢󠁥󠁮󠁧󠁿"),
    ],
)
def test_what_would_steer_a_terminal_is_shown_as_its_number(text: str, shown: str) -> None:
    """Escape sequences, C1, direction of reading; all other text stays as it is."""
    assert visible(text) == shown


@settings(deadline=None)
@given(_texts)
def test_nothing_that_steers_is_left(text: str) -> None:
    """In any text; making it harmless twice changes nothing more."""
    assert is_harmless(visible(text))
    assert visible(visible(text)) == visible(text)
    assert is_harmless(visible_on_page(text).replace("\r", ""))
    assert "\n" not in visible_in_line(text)
    assert is_harmless(visible_in_line(text))


@settings(deadline=None)
@given(_texts, st.lists(st.integers(0, 20), max_size=5))
def test_a_stream_shows_the_same_wherever_it_is_cut(text: str, cuts: list[int]) -> None:
    """Also between the two characters of a line end."""
    stream, shown, rest = VisibleStream(), "", text
    for cut in cuts:
        shown += stream.add(rest[:cut])
        assert is_harmless(shown)
        rest = rest[cut:]
    assert shown + stream.add(rest) + stream.end() == visible(text)


@settings(deadline=None)
@given(st.text())
def test_json_stays_json(text: str) -> None:
    """What is made harmless inside of JSON reads as the same text."""
    assert json.loads(visible(json.dumps(text, ensure_ascii=False))) == text


STEERING = "\x1b[2J\x1b]0;owned\x07 \u202egnp\u2069 \x9b1m\r\nSecond line\x00"


@pytest.mark.parametrize(
    "body",
    [
        reply(json.dumps({"error": {"message": STEERING, "code": STEERING}}).encode(), "400 Bad Request"),
        reply(json.dumps({"error": {"message": STEERING, "code": STEERING}}).encode(), "500 Oh"),
        reply(json.dumps({"error": STEERING}).encode()),
        reply(STEERING.encode(), "403 Forbidden"),
        reply(b"", "403 No\x1b[2J"),
        reply(reply_body(choices=[], model=STEERING)),
        reply(reply_body(finish_reason=STEERING, model=STEERING, text="")),
        reply(reply_body(choices=[{"index": 0, "finish_reason": "content_filter", "message": {"refusal": STEERING}}])),
        reply(reply_body(choices=[{"index": 0, "finish_reason": STEERING, "message": {"content": ""}}], model=STEERING)),
        b"HTTP/1.1 200 OK\x1b[2J\r\nContent-Length: nan\x1b\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX-\x1b[2J: 1\r\n\r\n",
        b"\x1b[2J\r\n\r\n",
    ],
    ids=range(12),
)
@pytest.mark.parametrize("streamed", [False, True], ids=["answer", "stream"])
def test_no_error_quotes_what_steers_a_terminal(serve: Any, responder_for: Any, body: bytes, streamed: bool) -> None:
    """A message is one harmless line, whichever words of the server's it holds; it is printed and logged."""
    gpt = responder_for(serve(always(body, last=True)))
    with pytest.raises(APIError) as caught:
        list(gpt.stream("Hi")) if streamed else gpt.answer("Hi")
    assert str(caught.value) == visible_in_line(str(caught.value))


def test_the_log_quotes_nothing_that_steers_a_terminal(serve: Any, responder_for: Any, caplog: pytest.LogCaptureFixture) -> None:
    """A provider that is down is logged with its own words."""
    gpt = responder_for(serve(always(reply(json.dumps({"error": {"message": STEERING}}).encode(), "500 Oh"))))
    with caplog.at_level("INFO", logger="responder"):
        for _ in range(20):
            with pytest.raises(APIError):
                gpt.answer("Hi", deadline=20)
    said = [record.getMessage() for record in caplog.records]
    assert said
    assert said == [visible_in_line(line) for line in said]
