"""What must nobody see? Keys that a server quotes back, and keys in variables."""

from __future__ import annotations

import copy
import json
import pickle
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import json_values

from responder import APIConnectionError, BadRequestError
from responder.wire.masking import MASK, Secret, SecretBytes, hide, masked

KEY = 'not-a-real/key+0123"456789'

keys = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=8, max_size=60).filter(lambda key: "*" not in key)


def escaped(key: str, level: int = 1) -> str:
    """Return a key as JSON may write it, each character by its number; level 2 inside another JSON."""
    return "".join("\\" * level + f"u{ord(letter):04X}" for letter in key)


@pytest.mark.parametrize(
    "written",
    [
        KEY,
        KEY.upper(),
        json.dumps(KEY)[1:-1],
        json.dumps(json.dumps(KEY)[1:-1])[1:-1],
        escaped(KEY),
        escaped(KEY, 2),
        escaped(KEY).lower(),
        KEY[:5] + escaped(KEY[5:9]) + KEY[9:],
        KEY.replace("/", "\\/"),
        quote(KEY, safe=""),
        "".join(f"%{ord(letter):02x}" for letter in KEY),
        "".join(f"&#{ord(letter)};" for letter in KEY),
        "".join(f"&#x{ord(letter):x};" for letter in KEY),
    ],
)
@pytest.mark.parametrize("around", ["{}", "wrong key {} given", "x" * 5000 + " {} " + "y" * 5000])
def test_a_key_is_found_however_it_is_written(written: str, around: str) -> None:
    """In plain, as JSON, in a URL, in HTML, in capitals, anywhere in a long text; the rest of the text stays."""
    text = around.format(written)
    assert masked(text, KEY) == around.format(MASK)
    assert masked(text.encode(), KEY) == around.format(MASK).encode()


def test_a_text_that_was_cut_in_the_middle_of_a_key_does_not_show_its_beginning() -> None:
    """A body is read up to a bound, and a message is shortened."""
    for length in range(8, len(KEY)):
        assert masked("The key " + KEY[:length], KEY) == f"The key {MASK}"
    assert masked("This is not", KEY) == "This is not"


def test_every_place_of_a_value_is_looked_at() -> None:
    """Names and values, at any depth, and numbers."""
    found = masked({"a": [{KEY: ("x", KEY)}, 1, None, True], "b": {"c": f"<{KEY}>"}, "d": 1234567890}, KEY)
    assert found == {"a": [{MASK: ("x", MASK)}, 1, None, True], "b": {"c": f"<{MASK}>"}, "d": 1234567890}
    assert masked([1234567890, 12345], "1234567890") == [MASK, 12345]


def test_a_value_without_the_key_is_returned_as_it_is() -> None:
    """No copies for nothing."""
    value = {"error": {"message": "no", "details": [1, "two", {"three": None}]}}
    assert masked(value, KEY) is value


def test_a_placeholder_for_servers_without_keys_hides_nothing() -> None:
    """An `api_key="x"` is in every text."""
    assert masked("an example text", "x") == "an example text"
    assert masked("an example text", "") == "an example text"


@given(json_values, keys, st.text(max_size=20), st.integers(0, 3))
def test_no_value_shows_a_key_after_masking(value: Any, key: str, around: str, depth: int) -> None:
    """Any JSON, with the key anywhere in it."""
    planted: Any = around + key + around
    for _ in range(depth):
        planted = {"x": [planted, value], key: value}
    found = masked(planted, key)
    assert key not in json.dumps(found, ensure_ascii=False).replace('\\"', '"').replace("\\\\", "\\")


@given(st.text(max_size=200), keys)
def test_any_text_is_masked_without_an_error(text: str, key: str) -> None:
    """And a text that does not hold the key keeps its characters."""
    assert isinstance(masked(text, key), str)
    assert isinstance(masked(text.encode("utf-8", "replace"), key), bytes)


def test_a_body_that_is_nested_without_end_is_cut_rather_than_shown() -> None:
    """Nobody reads so deep, and the key could stand there."""
    value: Any = KEY
    for _ in range(900):
        value = [value]
    assert KEY not in repr(masked(value, KEY))


def test_an_error_and_those_behind_it_lose_the_key() -> None:
    """In the message, in every attribute, in causes and contexts, and where these go in a circle."""
    cause = APIConnectionError(f"status line: HTTP/1.1 400 {KEY}", code=KEY)
    context = ValueError("x", {"key": KEY})
    error = BadRequestError(f"no {KEY}", body={"said": [KEY]}, request_id=f"r-{KEY}", code=KEY)
    error.__cause__, cause.__context__, context.__context__ = cause, context, error
    hide(error, KEY)
    for found in (error, cause, context):
        assert KEY not in str(found)
        assert KEY not in repr(vars(found))
    assert (error.body, error.request_id, error.code) == ({"said": [MASK]}, f"r-{MASK}", MASK)


def test_a_secret_is_a_str_that_does_not_show() -> None:
    """Its text is the key, so that a header can hold it; whatever prints variables prints stars."""
    secret = Secret(KEY)
    assert f"Bearer {secret}" == f"Bearer {KEY}"
    assert str(secret) == secret == KEY
    assert hash(secret) == hash(KEY)
    for shown in (repr(secret), repr([secret]), repr({"authorization": secret}), f"{secret!r}", repr(secret.encode())):
        assert KEY not in shown
        assert MASK in shown
    assert bytes(secret.encode()) == KEY.encode()
    assert isinstance(Secret(f" {KEY}\n").strip(), Secret)


def test_a_secret_stays_itself_in_copies_and_does_not_travel_in_pickles() -> None:
    """Copies stay in the process."""
    for secret in (Secret(KEY), SecretBytes(KEY.encode())):
        assert copy.copy(secret) is secret
        assert copy.deepcopy({"key": secret})["key"] is secret
        data = pickle.dumps(secret)
        assert KEY.encode() not in data
        assert pickle.loads(data) in (MASK, MASK.encode())
