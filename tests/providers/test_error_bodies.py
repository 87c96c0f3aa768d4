"""Error replies of any shape: class, message, code, advice, and whether asking again can help."""

from __future__ import annotations

from typing import Any

import pytest
from providers.contract import documented, make, outcome
from wire.player import Player

from responder import (
    AuthenticationError,
    BadRequestError,
    BlockedError,
    InternalServerError,
    NotFoundError,
    PermissionDeniedError,
    QuotaExceededError,
    RateLimitError,
)

TOO_LARGE = (
    "Request too large for gpt-4o in organization org-1 on tokens per min (TPM): Limit 30000, Requested 30601. "
    "The input or output tokens must be reduced in order to run successfully."
)


@pytest.mark.parametrize(
    ("body", "message", "code"),
    [
        ({"error": {"message": "Broken.", "type": "t", "code": "c"}}, "Broken", "c"),
        ({"error": {"message": "Broken.", "type": "t", "code": None}}, "Broken", "t"),
        ({"error": {"message": "Broken.", "type": None, "code": 400}}, "Broken", "400"),
        ({"error": {"message": "Broken.", "status": "INVALID_ARGUMENT", "code": 400}}, "Broken", "INVALID_ARGUMENT"),
        ({"error": "Broken."}, "Broken", None),
        ({"code": "Client specified an invalid argument", "error": "Broken."}, "Broken", "Client specified an invalid argument"),
        ({"object": "error", "message": "Broken.", "type": "t", "param": None, "code": "1300"}, "Broken", "1300"),
        ({"message": "Broken."}, "Broken", None),
        ({"Message": "Broken."}, "Broken", None),
        ({"detail": "Broken."}, "Broken", None),
        ({"detail": [{"loc": ["body"], "msg": "Broken."}, {"msg": "And again."}]}, "Broken.; And again", None),
        ({"object": "error", "message": {"detail": [{"msg": "Broken."}]}}, "Broken", None),
        ({"errors": [{"message": "Broken."}]}, "Broken", None),
        ({"error": {"error": "Broken."}}, "Broken", None),
        ([{"error": {"message": "Broken.", "code": "c"}}], "Broken", "c"),
        ({"reason": "Broken."}, "Broken", None),
    ],
)
def test_the_message_and_the_code_are_found_in_every_shape(player: Player, body: Any, message: str, code: str | None) -> None:
    """OpenAI, Google, xAI, Mistral, FastAPI, AWS, Hugging Face."""
    error = outcome(player, "compatible", body, status=400)
    assert type(error) is BadRequestError
    assert message in str(error)
    assert error.code == code


@pytest.mark.parametrize(("status", "kind"), [(400, BadRequestError), (502, InternalServerError), (429, RateLimitError)])
def test_a_page_of_html_becomes_readable(player: Player, status: int, kind: Any) -> None:
    """Gateways answer so."""
    body = b"<html>\r\n<head><title>Bad Gateway</title></head>\r\n<body><h1>nginx</h1></body></html>"
    error = outcome(player, "openai", body, status=status, headers={"content-type": "text/html"})
    assert type(error) is kind
    assert "Bad Gateway nginx" in str(error)
    assert "<" not in str(error)


@pytest.mark.parametrize("body", [b"", b"  \n", b"null", b"{}", b"[]", b'""', b"\xff\xff", b"0"])
@pytest.mark.parametrize(("status", "kind"), [(503, InternalServerError), (413, BadRequestError), (401, AuthenticationError)])
def test_an_error_without_words_still_says_what_and_where(player: Player, body: bytes, status: int, kind: Any) -> None:
    """The status, the model and the URL."""
    error = outcome(player, "openai", body, status=status)
    assert type(error) is kind
    assert f"openai answered {status}" in str(error)
    assert "'m-1'" in str(error)
    assert f"{player.url}/chat/completions" in str(error)


def test_a_byte_order_mark_before_an_error_is_passed_over(player: Player) -> None:
    """Some gateways of Windows send one."""
    error = outcome(player, "openai", b'\xef\xbb\xbf{"error": {"message": "Broken.", "code": "c"}}', status=400)
    assert error.code == "c"


@pytest.mark.parametrize(
    ("status", "kind", "retryable"),
    [
        (400, BadRequestError, False),
        (401, AuthenticationError, False),
        (402, QuotaExceededError, False),
        (403, PermissionDeniedError, False),
        (404, NotFoundError, False),
        (405, BadRequestError, False),
        (408, BadRequestError, True),
        (409, BadRequestError, True),
        (413, BadRequestError, False),
        (422, BadRequestError, False),
        (424, InternalServerError, True),
        (429, RateLimitError, True),
        (498, InternalServerError, True),
        (499, BadRequestError, False),
        (500, InternalServerError, True),
        (501, InternalServerError, False),
        (502, InternalServerError, True),
        (503, InternalServerError, True),
        (504, InternalServerError, True),
        (520, InternalServerError, True),
        (524, InternalServerError, True),
        (529, InternalServerError, True),
    ],
)
def test_each_status_has_its_class_and_its_verdict(player: Player, status: int, kind: Any, retryable: bool) -> None:
    """Groq's 498, Cloudflare's 520s and Anthropic's 529 as well."""
    error = outcome(player, "compatible", {"error": {"message": "Broken."}}, status=status)
    assert type(error) is kind
    assert (error.status, error.retryable) == (status, retryable)


def test_the_servers_own_verdict_wins(player: Player) -> None:
    """`x-should-retry`, except that a wrong key stays wrong."""
    for status, said, retryable in ((400, "true", True), (503, "false", False), (401, "true", False)):
        error = outcome(player, "openai", {"error": {"message": "Broken."}}, status=status, headers={"x-should-retry": said})
        assert error.retryable is retryable


def test_a_request_above_the_limit_of_a_minute_is_not_sent_again(player: Player) -> None:
    """OpenAI's code is that of any rate limit; the numbers tell."""
    body = {"error": {"message": TOO_LARGE, "type": "tokens", "code": "rate_limit_exceeded"}}
    error = outcome(player, "openai", body, status=429, headers={"retry-after": "1"}, max_retries=2)
    assert isinstance(error, BadRequestError)
    assert (error.retryable, error.fatal, len(player.sent)) == (False, False, 1)
    assert "make it shorter" in str(error)


def test_a_rate_limit_that_names_used_tokens_is_waited_for(player: Player) -> None:
    """The request fits into a minute, but not into this one."""
    message = (
        "Rate limit reached for gpt-4o on tokens per min (TPM): Limit 30000, Used 29000, Requested 2000. Please try again in 6ms."
    )
    error = outcome(player, "openai", {"error": {"message": message, "code": "rate_limit_exceeded"}}, status=429)
    assert type(error) is RateLimitError
    assert error.retry_after == pytest.approx(0.006)


@pytest.mark.parametrize(
    "inner",
    [
        {"code": "insufficient_quota", "type": "insufficient_quota", "message": "You exceeded your current quota."},
        {"code": "credit_balance_exhausted", "message": "No."},
        {"code": "project_spend_limit_exceeded", "message": "No."},
        {"code": "organization_usage_limit_exceeded", "message": "No."},
        {"type": "billing_error", "message": "No."},
        {"code": None, "message": "Insufficient credits. Add more at the site."},
        {"code": "RateLimitReached", "message": "Rate limit of 50 per 86400s exceeded for UserByModelByDay."},
    ],
)
def test_no_money_and_no_day_left_end_the_run(player: Player, inner: dict[str, Any]) -> None:
    """Under the status of an ordinary rate limit."""
    error = outcome(player, "compatible", {"error": inner}, status=429, max_retries=2)
    assert isinstance(error, QuotaExceededError)
    assert (error.retryable, error.fatal, len(player.sent)) == (False, True, 1)


def test_a_wrong_key_at_xai_is_an_authentication_error_though_it_is_a_400(player: Player) -> None:
    """With the error as a text."""
    body = {"code": "Client specified an invalid argument", "error": "Incorrect API key provided: no***ey."}
    error = outcome(player, "xai", body, status=400)
    assert isinstance(error, AuthenticationError)
    assert error.fatal


@pytest.mark.parametrize(
    "message",
    [
        "This model's maximum context length is 8192 tokens.",
        "the request exceeds the available context size: exceed_context_size_error",
        "prompt is too long: 210000 tokens > 200000 maximum",
    ],
)
@pytest.mark.parametrize("status", [400, 403])
def test_a_prompt_that_is_too_long_never_ends_the_run(player: Player, message: str, status: int) -> None:
    """Together says it with a 403."""
    error = outcome(player, "together", {"error": {"message": message}}, status=status)
    assert (error.retryable, error.fatal) == (False, False)


def test_moderation_at_openrouter_is_one_prompts_problem(player: Player) -> None:
    """A 403; the other prompts may pass."""
    body = {"error": {"code": 403, "message": "Your input was flagged", "metadata": {"reasons": ["violence"]}}}
    assert outcome(player, "openrouter", body, status=403).fatal is False


def test_openais_content_policy_is_a_blocked_prompt(player: Player) -> None:
    """A 400 by its code."""
    body = {"error": {"code": "content_policy_violation", "message": "Not allowed.", "type": "invalid_request_error"}}
    assert isinstance(outcome(player, "openai", body, status=400), BlockedError)


@pytest.mark.parametrize(
    ("provider", "header"),
    [
        ("openai", "x-request-id"),
        ("anthropic", "request-id"),
        ("azure", "apim-request-id"),
        ("mistral", "mistral-correlation-id"),
    ],
)
def test_the_request_id_is_read_from_the_providers_own_header(player: Player, provider: str, header: str) -> None:
    """Of errors and of answers."""
    for status, body in ((500, {}), (200, documented(provider))):
        assert outcome(player, provider, body, status=status, headers={header: "id-1"}).request_id == "id-1"


def test_a_redirect_is_not_followed(player: Player) -> None:
    """It would carry the key along."""
    for status in (301, 302, 307, 308):
        error = outcome(player, "openai", b"", status=status, headers={"location": f"{player.url}/elsewhere"})
        assert type(error) is BadRequestError
        assert "base_url" in str(error)
        assert [sent.path for sent in player.sent] == ["/chat/completions"]


def test_an_answer_after_a_retry_counts_its_attempts(player: Player) -> None:
    """Both requests are the same, byte for byte."""
    player.play(200, {"retry-after": "0"}, [{"error": {"code": 503, "message": "Busy"}}], documented("openai"))
    with make("openai", player.url, max_retries=1) as responder:
        answer = responder.answer("Hi")
    assert (answer.attempts, answer.text) == (2, "A bat-and-ball game.")
    assert player.sent[0].body == player.sent[1].body


@pytest.mark.parametrize("depth", [300, 900, 20_000])
@pytest.mark.parametrize("shape", ['{"error": %s}', '{"detail": %s}', '{"message": {"message": %s}}', "%s"])
def test_an_error_body_that_is_nested_without_end_is_survived(player: Player, depth: int, shape: str) -> None:
    """Whatever a server sends becomes one of our errors."""
    for opening, closing in (("[", "]"), ('{"message":', "}")):
        body = shape % (opening * depth + "1" + closing * depth)
        assert isinstance(outcome(player, "openai", body.encode(), status=500), InternalServerError)
