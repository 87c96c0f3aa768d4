"""Does this object mean an error? The same question for a whole reply, for a stream's event, and for a stream that was none."""

# ruff: noqa: E501 - the bodies stand as they came, a line each

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from providers.contract import KEY, NAMES, documented, make, outcome
from strategies import json_values
from wire.player import Player

from responder import (
    Answer,
    APIError,
    AuthenticationError,
    BadRequestError,
    BlockedError,
    InternalServerError,
    InvalidResponseError,
    NotFoundError,
    QuotaExceededError,
    RateLimitError,
    ResponderError,
    StreamInterruptedError,
)
from responder.wire.error_bodies import as_error, error_status

RAW = json.dumps({"error": {"message": "The upstream's words", "code": "slow_down", "request_id": "up-1"}})

ERRORS: list[Any] = [
    ({"error": {"message": "The words", "code": 502}}, 502, InternalServerError, "The words"),
    ({"error": {"message": "The words", "code": "429"}}, 429, RateLimitError, "The words"),
    ({"error": {"message": "The words", "status_code": 400}}, 400, BadRequestError, "The words"),
    ({"error": {"message": "The words", "http_code": "503"}}, 503, InternalServerError, "The words"),
    ({"error": {"message": "The words"}}, 500, InternalServerError, "The words"),
    ({"error": "The words"}, 500, InternalServerError, "The words"),
    ({"error": ["The words"]}, 500, InternalServerError, "The words"),
    ({"error": True, "message": "The words", "status_code": 500}, 500, InternalServerError, "The words"),
    ({"error": "Too many requests: the words"}, 429, RateLimitError, "the words"),
    ({"error": json.dumps({"error": {"message": "The words", "code": 429}})}, 429, RateLimitError, "The words"),
    ({"error": {"message": json.dumps({"error": {"code": 503, "message": "The words"}})}}, 503, InternalServerError, "The words"),
    ({"error": {"error": {"message": "The words", "type": "overloaded_error"}}}, 529, InternalServerError, "The words"),
    ({"error": {"message": "Provider returned error", "code": 429, "metadata": {"raw": RAW}}}, 429, RateLimitError, "The upstream's words"),
    ({"error": {"message": "Provider returned error", "metadata": {"raw": json.loads(RAW)}}}, 429, RateLimitError, "The upstream's words"),
    ({"error": {"message": "Provider returned error", "code": 502, "metadata": {"raw": "The words"}}}, 502, InternalServerError, "The words"),
    ({"type": "error", "error": {"type": "overloaded_error", "message": "The words"}}, 529, InternalServerError, "The words"),
    ({"type": "error", "message": "The words"}, 500, InternalServerError, "The words"),
    ({"object": "error", "message": "The words", "type": "BadRequestError", "param": None, "code": 400}, 400, BadRequestError, "The words"),
    ({"object": "error", "message": "The words", "type": "invalid_request_error", "code": "1300"}, 400, BadRequestError, "The words"),
    ({"object": "error", "message": {"detail": [{"msg": "The words"}]}, "code": 422}, 422, BadRequestError, "The words"),
    ({"base_resp": {"status_code": 1002, "status_msg": "The words"}}, 429, RateLimitError, "The words"),
    ({"base_resp": {"status_code": 1008, "status_msg": "insufficient balance"}, "choices": None}, 402, QuotaExceededError, "insufficient"),
    ({"base_resp": {"status_code": 1004, "status_msg": "login fail"}}, 401, AuthenticationError, "login fail"),
    ({"base_resp": {"status_code": 1027, "status_msg": "output sensitive"}, "choices": [{"index": 0}]}, 400, BlockedError, "sensitive"),
    ({"base_resp": {"status_code": 4711, "status_msg": "The words"}}, 500, InternalServerError, "The words"),
    ({"success": False, "errors": [{"code": 3040, "message": "The words"}], "result": None}, 500, InternalServerError, "The words"),
    ({"success": False, "message": "status code 429: too many requests"}, 429, RateLimitError, "too many"),
    ({"error_code": 336003, "error_msg": "The words", "id": "as-1"}, 500, InternalServerError, "The words"),
    ({"errorCode": "TooManyRequests", "message": "The words"}, 429, RateLimitError, "The words"),
    ({"code": "DataInspectionFailed", "message": "Input data may contain inappropriate content.", "request_id": "r-1"}, 400, BlockedError, "inappropriate"),
    ({"code": 503, "message": "The words"}, 503, InternalServerError, "The words"),
    ({"code": "internal", "msg": "The words", "choices": []}, 500, InternalServerError, "The words"),
    ({"status": "failure", "message": "The words"}, 500, InternalServerError, "The words"),
    ({"type": "about:blank", "title": "The words", "status": 503}, 503, InternalServerError, "The words"),
    ({"statusCode": 429, "message": "The words. Try again in 11 seconds."}, 429, RateLimitError, "The words"),
    ([{"error": {"message": "The words", "code": 503, "status": "UNAVAILABLE"}}], 503, InternalServerError, "The words"),
    ({"type": "response.failed", "response": {"error": {"code": "rate_limit_exceeded", "message": "The words"}}, "error": {"message": "The words", "code": "rate_limit_exceeded"}}, 429, RateLimitError, "The words"),
    ({"error": "model 'x' not found, try pulling it first"}, 404, NotFoundError, "not found"),
    ({"choices": [], "error": {"message": "The words", "code": 502}}, 502, InternalServerError, "The words"),
    ({"choices": [{"index": 0, "delta": {"content": ""}, "finish_reason": "error"}], "error": {"message": "The words", "code": 502}}, 502, InternalServerError, "The words"),
]  # fmt: skip


@pytest.mark.parametrize(("body", "status", "kind", "words"), ERRORS)
def test_an_object_that_means_an_error_is_one_on_every_path(
    player: Player, body: Any, status: int, kind: type[APIError], words: str
) -> None:
    """Whole, as an event, as the event `error`, and as a stream that was none: one class, one verdict, the same words."""
    assert error_status(body) == status
    data = json.dumps(body).encode()
    found = [outcome(player, "compatible", body)]
    found += [
        ended(player, stream) for stream in (b"data: %b\n\n" % data, b"event: error\ndata: %b\n\n" % data, data, b"\n %b" % data)
    ]
    for error in found:
        assert type(error) is kind
        assert words in str(error)
        assert (error.status, error.retryable, error.code) == (status, found[0].retryable, found[0].code)


@pytest.mark.parametrize(
    ("stream", "status", "kind", "words"),
    [
        (b'error: {"message": "The words", "code": 503}\n\n', 503, InternalServerError, "The words"),
        (b'error: {"error": {"message": "The words", "code": 429}}\n\n', 429, RateLimitError, "The words"),
        (b'error: {"message": "The words", "code": 400}', 400, BadRequestError, "The words"),
        (b"error: The words\n\n", 500, InternalServerError, "The words"),
        (b'data: error: {"message": "The words", "code": 503}\n\n', 503, InternalServerError, "The words"),
        (b'event: error\ndata: "The words"\n\n', 500, InternalServerError, "The words"),
        (b"event: error\ndata: The words, in plain\n\n", 500, InternalServerError, "The words, in plain"),
        (b"event: error\ndata: 429 Too Many Requests\n\n", 429, RateLimitError, "Too Many Requests"),
        (b'event: error\ndata: "{\\"message\\": \\"The words\\", \\"code\\": 503}"\n\n', 503, InternalServerError, "The words"),
        (b'event: Error\ndata: {"message": "The words"}\n\n', 500, InternalServerError, "The words"),
        (b"event: error\ndata: {}\n\n", 500, InternalServerError, "500"),
        (b"event: error\ndata: null\n\n", 500, InternalServerError, "500"),
        (b'event: exception\ndata: {"message": "The words", "status": 503}\n\n', 503, InternalServerError, "The words"),
    ],
)
def test_an_error_in_other_forms_of_a_stream_is_read(
    player: Player, stream: bytes, status: int, kind: type[APIError], words: str
) -> None:
    """A field line, a JSON string, plain words; also after pieces of the answer, when nothing is repeated."""
    error = ended(player, stream)
    assert type(error) is kind
    assert error.status == status
    assert words in str(error)
    chunk = {"choices": [{"index": 0, "delta": {"content": "A bat"}, "finish_reason": None}]}
    later = ended(player, b"data: %b\n\n" % json.dumps(chunk).encode() + stream, pieces=["A bat"])
    assert (type(later), str(later), later.status, later.retryable) == (kind, str(error), status, error.retryable)


FINE: list[Any] = [
    {"error": None},
    {"error": {}},
    {"error": ""},
    {"error": False},
    {"error": []},
    {"error": {"code": 0, "message": ""}},
    {"error": "null"},
    {"error": "None"},
    {"base_resp": {"status_code": 0, "status_msg": "success"}},
    {"base_resp": None},
    {"success": True},
    {"success": False},
    {"code": 200, "message": "OK"},
    {"code": 0, "msg": "success"},
    {"code": "1234", "message": "an id of the gateway's"},
    {"error_code": 0, "error_msg": ""},
    {"status": "completed"},
    {"status": 200, "detail": "fine"},
    {"errors": []},
]


@pytest.mark.parametrize("more", FINE)
@pytest.mark.parametrize("provider", ["openai", "gemini", "anthropic"])
def test_an_answer_with_a_field_that_only_looks_like_an_error_is_an_answer(player: Player, provider: str, more: Any) -> None:
    """Empty errors, codes that say "fine", and notes of gateways stand beside answers."""
    assert isinstance(outcome(player, provider, {**documented(provider), **more}), Answer)


def test_an_answer_that_speaks_of_errors_is_an_answer(player: Player) -> None:
    """In its text, as an event's text, and as JSON that the model wrote."""
    text = 'error: {"error": {"code": 500}} event: error'
    message = {"role": "assistant", "content": text}
    assert outcome(player, "openai", documented("openai", message=message)).text == text
    chunks = [
        {"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": None}]},
        {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]},
    ]
    player.play(200, {}, b"".join(b"data: %b\n\n" % json.dumps(chunk).encode() for chunk in chunks) + b"data: [DONE]\n\n")
    with make("openai", player.url) as responder:
        assert "".join(responder.stream("Hi")) == text


# With no answer beside them, the others do say that something went wrong.
FINE_ALONE = [
    more
    for more in FINE
    if more not in ({"success": False}, {"error": "null"}, {"error": "None"}) and "1234" not in more.values()
]


@pytest.mark.parametrize(
    "found", [*FINE_ALONE, None, 1, "error", "no error: none", [], [1, 2], {}, {"choices": []}, {"message": "x"}, {"detail": "x"}]
)
def test_what_says_no_error_is_none(found: Any) -> None:
    """Rather an answer that is not understood than an error that is none."""
    assert error_status(found) is None


@pytest.mark.parametrize("provider", NAMES)
@pytest.mark.parametrize(
    "stream", [b"data: [DONE]\n\n", b"[DONE]\n", b"", b"\n\n", b": ping\n\n", b"data:\n\n", b"event: ping\n\n"]
)
def test_a_stream_without_an_answer_is_a_failure_to_repeat(player: Player, provider: str, stream: bytes) -> None:
    """The end marker alone, or an end before the first event: with the status 200 in the error."""
    player.play(200, {"content-type": "text/event-stream"}, stream)
    url = player.url + ("/v1" if provider == "ollama" else "")
    with make(provider, url) as responder, pytest.raises((InvalidResponseError, StreamInterruptedError)) as caught:
        list(responder.stream("Hi"))
    assert (caught.value.status, caught.value.retryable, caught.value.fatal) == (200, True, False)


def test_a_stream_without_an_answer_is_repeated(player: Player) -> None:
    """And the answer of the repeat is given."""
    chunk = {"choices": [{"index": 0, "delta": {"content": "A game."}, "finish_reason": "stop"}]}
    whole = b"data: %b\n\ndata: [DONE]\n\n" % json.dumps(chunk).encode()
    player.play(200, {"retry-after": "0"}, b"data: [DONE]\n\n", b"", b'error: {"code": 503, "message": "Busy"}\n\n', whole)
    with make("openai", player.url, max_retries=3) as responder:
        stream = responder.stream("Hi")
        assert "".join(stream) == "A game."
    assert stream.attempts == 4


@pytest.mark.parametrize(
    ("body", "identity"),
    [
        ({"error": {"message": "x"}, "request_id": "r-1"}, "r-1"),
        ({"error": {"message": "x", "request_id": "r-1"}}, "r-1"),
        ({"error": {"message": "x"}, "requestId": "r-1"}, "r-1"),
        ({"error": {"message": "x", "metadata": {"raw": json.dumps({"error": {"message": "y"}, "request_id": "r-1"})}}}, "r-1"),
        ({"type": "error", "error": {"type": "api_error", "message": "x"}, "request_id": "r-1"}, "r-1"),
    ],
)
def test_the_request_id_is_found_in_any_place_of_a_body(player: Player, body: Any, identity: str) -> None:
    """As a whole reply and in a stream."""
    assert outcome(player, "openai", body).request_id == identity
    assert outcome(player, "openai", body, status=500).request_id == identity
    assert ended(player, b"data: %b\n\n" % json.dumps(body).encode()).request_id == identity


def test_the_class_that_aws_names_in_a_header_is_the_code(player: Player) -> None:
    """Its body has a message alone."""
    headers = {"x-amzn-errortype": "ThrottlingException:http://internal.amazon.com/", "x-amzn-requestid": "r-1"}
    error = outcome(player, "compatible", {"message": "Slow"}, status=400, headers=headers)
    assert (type(error), error.code, error.request_id, error.retryable) == (RateLimitError, "ThrottlingException", "r-1", True)


@pytest.mark.parametrize("written", ["{}", "key {} is wrong", "cut " + "x" * 1980 + "{}"])
@pytest.mark.parametrize("escape", [False, True])
@pytest.mark.parametrize("provider", ["openai", "anthropic", "gemini"])
def test_a_key_that_a_server_quotes_is_in_no_part_of_the_error(player: Player, provider: str, written: str, escape: bool) -> None:
    """In any field, plain or escaped, under an error status, in a 200, in a stream and in what is no JSON."""
    quoted = "".join(f"\\u{ord(letter):04x}" for letter in KEY) if escape else KEY
    said = written.replace("{}", quoted)
    fields = f'"message": "{said}", "code": "{said}", "type": "{said}", "request_id": "{said}", "{said}": ["{said}"]'
    error = f'{{"error": {{{fields}}}, "request_id": "{said}"}}'.encode()
    headers = {"x-request-id": said, "content-type": "application/json"}
    found = [
        outcome(player, provider, body, status=status, headers=headers)
        for status in (200, 400, 401, 403, 429, 500)
        for body in (error, said.encode(), f'{{"odd": "{said}"}}'.encode())
    ]
    found += [
        ended(player, stream, provider)
        for stream in (b"data: " + error + b"\n\n", b"event: error\ndata: " + said.encode() + b"\n\n", said.encode(), error)
    ]
    for failure in found:
        assert isinstance(failure, ResponderError)
        shown = repr((str(failure), vars(failure)))
        assert KEY not in shown
        assert KEY[:10] not in shown
        assert quoted not in shown


@given(
    json_values
    | st.dictionaries(
        st.sampled_from(["error", "code", "message", "base_resp", "success", "status", "errors", "detail", "metadata", "raw"]),
        json_values,
        max_size=5,
    ),
    st.sampled_from(["", "error", "message", "response.failed"]),
)
def test_whatever_is_asked_the_answer_is_a_status_or_none(found: Any, event: str) -> None:
    """Servers send anything."""
    status = error_status(found, event)
    assert status is None or 400 <= status < 600
    as_error(found)


def ended(player: Player, body: bytes, provider: str = "compatible", pieces: list[str] | None = None) -> Any:
    """Return the error that a stream of these bytes ends in, after these pieces."""
    player.play(200, {"content-type": "text/event-stream"}, body)
    with make(provider, player.url) as responder:
        stream = responder.stream("Hi")
        came: list[str] = []
        with pytest.raises(ResponderError) as caught:
            came += iter(stream)  # type: ignore[arg-type]  # texts alone
        assert stream.text == "".join(pieces or [])
        return caught.value
