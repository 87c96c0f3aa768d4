"""Which error is this reply? Statuses and bodies of every shape."""

from __future__ import annotations

import math
import pickle
from typing import Any

import pytest
from hypothesis import given, settings
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
from responder.wire.failures import error_from_reply, error_status, masked, read_error_body, request_id


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
        (403, None, PermissionDeniedError, False, False),
        (403, {"error": {"message": "flagged by moderation"}}, BlockedError, False, False),
        (404, "<html>Not Found</html>", NotFoundError, False, False),
        (404, {"error": {"message": "No such model", "code": "model_not_found"}}, NotFoundError, False, True),
        (407, None, BadRequestError, False, True),
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
        (505, None, InternalServerError, False, False),
        (511, "<html>Sign in</html>", InternalServerError, False, False),
        (507, None, InternalServerError, True, False),
        (521, "<html>Web server is down</html>", InternalServerError, True, False),
        (530, "error code: 1016", InternalServerError, True, False),
        (561, None, InternalServerError, True, False),
        (599, None, InternalServerError, True, False),
        (999, None, InternalServerError, True, False),
        (0, None, InternalServerError, True, False),
        (103, None, InternalServerError, True, False),
        (200, None, InternalServerError, True, False),
        (529, {"error": {"type": "overloaded_error"}}, InternalServerError, True, False),
        (302, None, BadRequestError, False, False),
        (304, None, BadRequestError, False, False),
        (417, None, BadRequestError, False, False),
        (421, None, BadRequestError, True, False),
        (425, None, BadRequestError, True, False),
        (449, None, BadRequestError, True, False),
        (451, None, BadRequestError, False, False),
        (499, None, BadRequestError, False, False),
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


@pytest.mark.parametrize("status", [403, 404, 405, 410, 301, 308])
@pytest.mark.parametrize("body", [None, "", "<html>Forbidden</html>", {"detail": "Not Found"}, {"message": "Forbidden"}])
def test_a_refusal_that_does_not_say_whose_fault_it_is_is_suspect(status: int, body: Any) -> None:
    """A run takes one for its prompt's own, and ends where every prompt meets it."""
    error = made(status, body)
    assert (error.suspect, error.fatal, error.retryable) == (True, False, False)
    assert pickle.loads(pickle.dumps(error)).suspect


@pytest.mark.parametrize("status", [400, 401, 402, 404, 408, 413, 422, 429, 500, 503])
def test_a_refusal_that_says_whose_fault_it_is_is_not_suspect(status: int) -> None:
    """The status or the words tell."""
    assert not made(status, {"error": {"message": "the model `x` was not found", "code": "model_not_found"}}).suspect


def test_a_page_is_no_evidence_of_anything() -> None:
    """A firewall's page speaks of accounts, keys and addresses to everybody."""
    page = "<!DOCTYPE html><html><body>Your account is blocked. Invalid API key. The model x does not exist.</body></html>"
    assert [made(status, page).fatal for status in (400, 403, 404, 406, 422)] == [False] * 5
    assert "base_url" in str(made(403, page))


def test_a_404_that_names_the_model_is_about_the_model() -> None:
    """However it says it, but not where a longer name has the model's in it."""

    def asked(message: str) -> bool:
        body = {"error": {"message": message}}
        return error_from_reply(404, {}, body, provider="openai", model="org/gpt-4o", where="http://h/v1").fatal

    assert asked("we have never heard of gpt-4o")
    assert not asked("we have never heard of gpt-4o-mini")
    assert not asked("we have never heard of it")


# Names that our readers look for, so that chance gets further than the first check; and numbers that no server should send.
_names = st.sampled_from(
    [
        *(
            "error",
            "message",
            "code",
            "type",
            "status",
            "details",
            "metadata",
            "raw",
            "headers",
            "@type",
            "retryDelay",
            "quotaId",
        ),
        *("base_resp", "status_code", "errors", "response", "detail", "innererror", "content_filter_result", "retry_after"),
    ]
)
_odd = (
    st.sampled_from(
        [10**17, 10**4000, -1, 0, 1e308, math.inf, -math.inf, math.nan, "9" * 4000, "1e400", "{", '{"error": 1}', "[["]
    )
    | json_values
)
_error_like = st.recursive(
    _odd, lambda inside: st.lists(inside, max_size=3) | st.dictionaries(_names, inside, max_size=6), max_leaves=25
)


@settings(deadline=None)  # the first case compiles the tables
@given(st.sampled_from([0, 200, 400, 401, 403, 404, 429, 500, 529]), _error_like, st.sampled_from(["openai", "zai", "gemini"]))
def test_no_shape_and_no_number_of_a_body_breaks_the_reading(status: int, body: Any, provider: str) -> None:
    """It becomes an error of ours that pickles, with a wait that can be waited."""
    inside = error_status(body)
    for number in (status, inside):
        if number is not None:
            error = error_from_reply(number, {}, body, provider=provider, model="m-1", where="http://h", secret="not-a-key")
            assert error.retry_after is None or 0 <= error.retry_after <= 366 * 86400
            assert not (error.fatal and (error.retryable or error.suspect))
            assert len(str(error)) < 2000
            assert str(pickle.loads(pickle.dumps(error))) == str(error)
