"""Which error is this reply? Statuses and bodies of every shape."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import json_values

from responder import (
    APIError,
    AuthenticationError,
    BadRequestError,
    BlockedError,
    InternalServerError,
    NotFoundError,
    PermissionDeniedError,
    QuotaExceededError,
    RateLimitError,
)
from responder.wire.failures import error_from_reply, masked, read_error_body, request_id


def made(status: int, body: Any = None, headers: dict[str, str] | None = None) -> APIError:
    return error_from_reply(status, headers or {}, body, provider="openai", model="m", where="http://h/v1")


@pytest.mark.pain(10)
@pytest.mark.parametrize(
    ("status", "body", "kind", "retryable", "fatal"),
    [
        (400, {"error": {"message": "bad"}}, BadRequestError, False, False),
        (400, {"error": {"code": "context_length_exceeded", "message": "x"}}, BadRequestError, False, False),
        (400, {"error": {"code": "content_filter", "message": "x"}}, BlockedError, False, False),
        (400, {"error": {"message": "API key not valid", "status": "INVALID_ARGUMENT"}}, AuthenticationError, False, True),
        (400, {"error": {"message": "Your credit balance is too low"}}, QuotaExceededError, False, True),
        (401, None, AuthenticationError, False, True),
        (402, None, QuotaExceededError, False, True),
        (403, None, PermissionDeniedError, False, True),
        (403, {"error": {"message": "flagged by moderation"}}, PermissionDeniedError, False, False),
        (404, "<html>Not Found</html>", NotFoundError, False, True),
        (408, None, BadRequestError, True, False),
        (409, None, BadRequestError, True, False),
        (413, None, BadRequestError, False, False),
        (422, {"detail": [{"msg": "field required"}]}, BadRequestError, False, False),
        (429, None, RateLimitError, True, False),
        (429, {"error": {"code": "insufficient_quota"}}, QuotaExceededError, False, True),
        (429, {"error": {"message": "Limit 30000, Requested 30601"}}, BadRequestError, False, False),
        (429, {"error": {"message": "Limit 30000, Used 29000, Requested 2000"}}, RateLimitError, True, False),
        (
            429,
            {"error": {"message": "Check your plan and billing details", "status": "RESOURCE_EXHAUSTED"}},
            RateLimitError,
            True,
            False,
        ),
        (498, None, InternalServerError, True, False),
        (500, None, InternalServerError, True, False),
        (501, None, InternalServerError, False, False),
        (529, {"error": {"type": "overloaded_error"}}, InternalServerError, True, False),
        (302, None, BadRequestError, False, False),
    ],
)
def test_each_status_has_its_error(status: int, body: Any, kind: type[APIError], retryable: bool, fatal: bool) -> None:
    """Whether a repeat can help, and whether anything else can succeed, is decided here."""
    error = made(status, body)
    assert type(error) is kind
    assert (error.status, error.retryable, error.fatal) == (status, retryable, fatal)


@pytest.mark.pain(6)
@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"error": {"message": "the words"}}, "the words"),
        ({"error": "the words"}, "the words"),
        ({"message": "the words"}, "the words"),
        ({"detail": "the words"}, "the words"),
        ({"detail": [{"msg": "the"}, {"msg": "words"}]}, "the; words"),
        ({"errors": ["the words"]}, "the words"),
        ("<html><body><h1>the</h1> words</body></html>", "the words"),
        ({"odd": "the words"}, "the words"),
    ],
)
def test_the_providers_own_words_are_in_the_message(body: Any, words: str) -> None:
    """Wherever they stand."""
    assert words in str(made(400, body))


def test_the_message_says_who_answered_what_where() -> None:
    """Provider, model, status and URL, and the id for the provider's support."""
    error = made(404, None, {"x-request-id": "r-1"})
    assert "openai answered 404 for 'm' at http://h/v1" in str(error)
    assert error.request_id == "r-1"


@pytest.mark.parametrize("name", ["x-request-id", "request-id", "apim-request-id", "x-groq-id", "cf-ray"])
def test_request_ids_are_found_under_each_providers_name(name: str) -> None:
    """From the headers; else from the body."""
    assert request_id({name: "r-1"}) == "r-1"
    assert request_id({}, {"request_id": "r-2"}) == "r-2"
    assert request_id({}, {"request_id": 5}) is None


@given(
    st.integers(100, 999), json_values | st.text(), st.dictionaries(st.sampled_from(["retry-after", "x-should-retry"]), st.text())
)
def test_whatever_an_error_reply_holds_it_becomes_an_error_of_ours(status: int, body: Any, headers: dict[str, str]) -> None:
    """Gateways send anything."""
    error = made(status, body, headers)
    assert isinstance(error, APIError)
    assert error.status == status
    assert not (error.fatal and error.retryable)


@given(st.binary(max_size=200))
def test_any_bytes_are_read_as_an_error_body(body: bytes) -> None:
    """JSON, or text of at most 2,000 characters."""
    found = read_error_body(body)
    assert not isinstance(found, str) or len(found) <= 2000


def test_a_huge_error_body_is_cut() -> None:
    """An error is no place for a megabyte; nor for a tower of brackets."""
    assert len(read_error_body(b"x" * 100_000)) == 2000
    assert len(read_error_body(b"[" * 100_000)) == 2000
    assert len(str(made(500, {"error": {"message": "x" * 100_000}}))) < 1000


@pytest.mark.parametrize("secret", ["https://h/?key=abcdef1&b=1", "token=abcdef1", "Incorrect API key: sk-abcdef1*****xyz"])
def test_what_looks_like_a_key_is_masked(secret: str) -> None:
    """Providers quote the key that they refuse."""
    assert "abcdef1" not in masked(secret)
