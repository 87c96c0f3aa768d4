"""When to try again, how often, and after how long: counted at the server."""

from __future__ import annotations

import math
import random
import threading
import time
from email.utils import formatdate
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from servers import PATIENCE, always, one_by_one, reply

from responder import (
    APIError,
    APIStatusError,
    APITimeoutError,
    AuthenticationError,
    BadRequestError,
    BlockedError,
    CancelledError,
    CancelToken,
    ConfigurationError,
    DeadlineExceededError,
    EmptyAnswerError,
    GeminiResponder,
    InternalServerError,
    InvalidResponseError,
    NotFoundError,
    OpenAIResponder,
    PermissionDeniedError,
    QuotaExceededError,
    RateLimitError,
)
from responder.call.retry import Retrier, RetryPolicy
from responder.simulator import Fault, Simulator
from responder.values.deadline import NEVER, Deadline
from responder.values.trace import Trace

QUICK = RetryPolicy(max_retries=3, first_backoff=0.01, longest_backoff=0.02)


def asked(simulator: Simulator, provider: type[Any] = OpenAIResponder, max_retries: int = 4, **keywords: Any) -> Any:
    """Ask once, with waits between attempts that are hardly any."""
    keywords = {"timeout": 30.0, "max_retries": RetryPolicy(max_retries, 0.01, 0.02), **keywords}
    with provider("m", api_key="test-key", base_url=simulator.base_url(provider.provider), **keywords) as responder:
        return responder.answer("Hi")


# --- What is repeated, and what is not --------------------------------------------------------------------------------


@pytest.mark.acceptance(15)
@pytest.mark.pain(11)
@pytest.mark.parametrize("retries", [0, 1, 3])
@pytest.mark.parametrize("status", [408, 409, 429, 500, 502, 503, 504, 529])
def test_a_passing_failure_is_repeated_max_retries_times(simulator: Simulator, status: int, retries: int) -> None:
    """The server sees exactly one request more than repeats, and the error says how many there were."""
    simulator.always(Fault.status(status, retry_after_ms=1))
    with pytest.raises(APIStatusError) as caught:
        asked(simulator, max_retries=retries)
    assert len(simulator.received) == retries + 1
    assert caught.value.attempts == retries + 1
    assert caught.value.retryable
    assert caught.value.status == status


@pytest.mark.pain(11)
@pytest.mark.parametrize(
    "fault",
    [Fault.reset(), Fault.reset(before_headers=True), Fault.close(before_headers=True), Fault.short_body(), Fault.cut_json(),
     Fault.not_json(), Fault.empty_body(), Fault.error_in_200()],
    ids=lambda fault: fault.name,
)  # fmt: skip
def test_a_reply_that_did_not_come_whole_is_repeated(simulator: Simulator, fault: Fault) -> None:
    """One repeat later there is an answer, and it says how many attempts it took."""
    simulator.script(fault, fault)
    answer = asked(simulator, max_retries=2)
    assert answer.attempts == 3
    assert len(simulator.received) == 3


@pytest.mark.pain(10)
@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (Fault.status(400), BadRequestError),
        (Fault.status(401), AuthenticationError),
        (Fault.status(403), PermissionDeniedError),
        (Fault.status(404), NotFoundError),
        (Fault.status(413), BadRequestError),
        (Fault.status(422), BadRequestError),
        (Fault.status(402), QuotaExceededError),
        (Fault.insufficient_quota(), QuotaExceededError),
        (Fault.daily_quota(), QuotaExceededError),
        (Fault.blocked_prompt(), BlockedError),
        (Fault.blocked_answer(), BlockedError),
        (Fault.redirect("http://127.0.0.1:9/"), BadRequestError),
        (Fault.status(429, headers={"x-should-retry": "false"}), RateLimitError),
    ],
)
def test_what_cannot_succeed_is_not_repeated(simulator: Simulator, fault: Fault, error: type[APIError]) -> None:
    """The server sees one request, however many repeats are allowed."""
    simulator.always(fault)
    with pytest.raises(error) as caught:
        asked(simulator, max_retries=5)
    assert len(simulator.received) == 1
    assert caught.value.attempts == 1
    assert not caught.value.retryable


@pytest.mark.acceptance(6)
@pytest.mark.pain(10)
def test_geminis_quota_of_the_day_is_not_waited_for(simulator: Simulator) -> None:
    """Its body asks for a wait of seconds, though only the next day helps."""
    simulator.always(Fault.daily_quota())
    with pytest.raises(QuotaExceededError, match="billing") as caught:
        asked(simulator, GeminiResponder, max_retries=5)
    assert caught.value.fatal
    assert len(simulator.received) == 1


@pytest.mark.pain(19)
@pytest.mark.parametrize("fault", [Fault.empty_candidates(), Fault.null_content()], ids=lambda fault: fault.name)
def test_a_success_with_nothing_in_it_is_an_error(simulator: Simulator, fault: Fault) -> None:
    """Never an empty text for success."""
    simulator.always(fault)
    with pytest.raises((EmptyAnswerError, InvalidResponseError)):
        asked(simulator, max_retries=0)


def test_a_server_that_asks_for_a_repeat_gets_one(simulator: Simulator) -> None:
    """`x-should-retry: true` is believed for a status that is not repeated otherwise."""
    simulator.script(Fault.status(400, headers={"x-should-retry": "true"}))
    assert asked(simulator, max_retries=1).attempts == 2


def test_an_exception_that_is_none_of_ours_is_not_repeated() -> None:
    """A mistake in the program comes out as it is, at once."""
    calls = []

    def attempt() -> None:
        calls.append(1)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        Retrier(QUICK).call(attempt, Trace(), NEVER, None)
    assert len(calls) == 1


def test_the_last_error_comes_out_as_it_was() -> None:
    """Not wrapped in a "retries exhausted"."""
    errors = [RateLimitError(str(number), retryable=True) for number in range(4)]
    left = iter(errors)

    def attempt() -> None:
        raise next(left)

    with pytest.raises(RateLimitError) as caught:
        Retrier(QUICK).call(attempt, Trace(), NEVER, None)
    assert caught.value is errors[-1]


def test_threads_share_a_retrier() -> None:
    """Counts of one call are not seen by another."""
    retrier = Retrier(QUICK)
    counts = [0] * 16
    together = threading.Barrier(16)

    def run(number: int) -> None:
        def attempt() -> None:
            counts[number] += 1
            if counts[number] == 1:
                together.wait(PATIENCE)
            raise InternalServerError("no", retryable=True)

        with pytest.raises(InternalServerError):
            retrier.call(attempt, Trace(), NEVER, None)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert counts == [4] * 16


@pytest.mark.parametrize("value", [-1, 1.5, True, None, "3"])
def test_max_retries_is_a_whole_number(value: Any) -> None:
    """Told when the responder is made."""
    with pytest.raises(ConfigurationError, match="max_retries"):
        OpenAIResponder("m", api_key="k", max_retries=value)


# --- How long it waits ------------------------------------------------------------------------------------------------


def seconds_between(simulator: Simulator) -> float:
    first, second = (received.arrived for received in simulator.received[:2])
    return second - first


@pytest.mark.pain(9)
@pytest.mark.parametrize(
    "fault",
    [
        Fault.status(429, retry_after=1),
        Fault.status(503, retry_after=1),
        Fault.status(429, retry_after_ms=700),
        Fault.status(429, headers={"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "700ms"}),
        Fault.status(429, "Please try again in 700ms."),
    ],
)
def test_the_wait_that_the_server_asks_for_is_a_floor(simulator: Simulator, fault: Fault) -> None:
    """However quick our own back-off would be."""
    simulator.script(fault)
    answer = asked(simulator, max_retries=1)
    assert answer.attempts == 2
    assert seconds_between(simulator) >= 0.69


@pytest.mark.pain(9)
def test_a_date_in_retry_after_is_waited_for(simulator: Simulator) -> None:
    """Whole seconds: at least the one before the named second."""
    named = math.floor(time.time()) + 3
    simulator.script(Fault.status(429, retry_after=formatdate(named, usegmt=True)))
    assert asked(simulator, max_retries=1).attempts == 2
    assert simulator.received[1].arrived + time.time() - time.monotonic() >= named - 1.01


@pytest.mark.pain(9)
def test_geminis_retry_info_is_waited_for(simulator: Simulator) -> None:
    """It stands in the body, with fractions of a second."""
    simulator.script(Fault.status(429, retry_delay=0.75))
    assert asked(simulator, GeminiResponder, max_retries=1).attempts == 2
    assert seconds_between(simulator) >= 0.74


@pytest.mark.pain(9)
@pytest.mark.parametrize("seconds", [121, 3600, 86400, 1e12])
def test_an_absurd_wait_ends_the_call_at_once(simulator: Simulator, seconds: float) -> None:
    """Nobody sleeps for a day: the error comes at once and says how long the server wants."""
    simulator.always(Fault.large_wait(seconds))
    begin = time.monotonic()
    with pytest.raises(RateLimitError) as caught:
        asked(simulator, max_retries=5)
    assert time.monotonic() - begin < 15
    assert caught.value.retry_after == min(seconds, 366 * 86400.0)  # no more than a year is believed
    assert len(simulator.received) == 1


@pytest.mark.pain(2)
@pytest.mark.pain(9)
def test_no_wait_goes_beyond_the_deadline(simulator: Simulator) -> None:
    """Where the next attempt could only start too late, the call ends now, with the server's error as the cause."""
    simulator.always(Fault.status(429, retry_after=60))
    begin = time.monotonic()
    with pytest.raises(DeadlineExceededError) as caught:
        asked(simulator, max_retries=5, deadline=20)
    assert time.monotonic() - begin < 10
    assert isinstance(caught.value.__cause__, RateLimitError)
    assert caught.value.retry_after == 60
    assert caught.value.attempts == 1


def test_the_deadline_bounds_all_attempts_together(serve: Any, responder_for: Any) -> None:
    """Attempts that time out one after another end at the deadline."""
    server = serve(one_by_one(None))
    begin = time.monotonic()
    with pytest.raises((DeadlineExceededError, APITimeoutError)):
        responder_for(server, timeout=0.3, deadline=1.0, max_retries=100).answer("Hi")
    assert time.monotonic() - begin < 10
    assert len(server.requests) <= 4


@pytest.mark.pain(3)
@pytest.mark.pain(4)
def test_a_sleep_between_attempts_ends_with_a_cancel(serve: Any, responder_for: Any) -> None:
    """A wait of a minute is over when the token is cancelled."""
    server, token = serve(always(reply(b"{}", "429 Too Many", Retry_After="60"))), CancelToken()
    raised: list[BaseException] = []

    def ask() -> None:
        try:
            responder_for(server, max_retries=3).answer("Hi", cancel=token)
        except BaseException as error:  # noqa: BLE001 - looked at by the test
            raised.append(error)

    thread = threading.Thread(target=ask)
    thread.start()
    server.wait_for(1)
    token.cancel("enough")
    thread.join(PATIENCE)
    assert isinstance(raised[0], CancelledError)
    assert "enough" in str(raised[0])


@pytest.mark.pain(8)
@given(st.integers(1, 60), st.floats(0, 120) | st.none(), st.integers(0, 2**32))
def test_waits_are_jittered_floored_and_capped(repeat: int, hint: float | None, seed: int) -> None:
    """Never below what the server asked for, never far above, and never the same for all."""
    random.seed(seed)
    policy = RetryPolicy()
    waits = [policy.backoff(repeat, hint) for _ in range(5)]
    for wait in waits:
        assert wait >= (hint or 0.0)
        assert 0 < wait <= max((hint or 0.0) + 1.0, policy.longest_backoff)
    assert len(set(waits)) > 1


@pytest.mark.pain(8)
def test_back_off_grows_with_each_repeat_up_to_its_ceiling() -> None:
    """Doubling: the lowest draw of one is the highest of the one before."""
    policy = RetryPolicy()
    highest = 0.0
    for repeat in range(1, 6):
        draws = [policy.backoff(repeat, None) for _ in range(50)]
        assert min(draws) >= highest - 1e-9
        highest = policy.first_backoff * 2 ** (repeat - 1) / 2
        assert max(draws) <= 2 * highest
    assert policy.backoff(10_000, None) <= policy.longest_backoff


def test_a_deadline_in_the_past_sends_nothing(serve: Any, responder_for: Any) -> None:
    """Time that is over is not spent."""
    server = serve(always())
    with pytest.raises(DeadlineExceededError):
        responder_for(server, max_retries=3).answer("Hi", deadline=0)
    assert server.requests == []
    assert Deadline.after(-1).remaining() < 0


# --- The repeats of a run ---------------------------------------------------------------------------------------------


@pytest.mark.pain(11)
def test_a_provider_that_fails_broadly_is_not_asked_many_times_as_much(simulator: Simulator) -> None:
    """With every second request failing, a fifth of the requests are repeats at most; the errors say why there were no more."""
    simulator.script(*[fault for _ in range(900) for fault in (Fault.status(500, retry_after_ms=1), Fault.delay(0))])
    with OpenAIResponder("m", api_key="k", base_url=simulator.base_url("openai"), max_retries=1, timeout=30.0) as gpt:
        batch = gpt.map([f"prompt {number}" for number in range(400)], max_workers=8)
    sent = len(simulator.received)
    assert sent == sum(result.attempts for result in batch)
    assert sent - 400 <= 0.2 * sent
    assert sent - 400 >= 0.15 * sent
    failed = batch.failures()
    assert failed
    assert any("20% of this run's requests were retries already" in str(result.error) for result in failed)


def test_a_short_failure_of_all_calls_in_flight_is_repeated(simulator: Simulator) -> None:
    """Two repeats for each worker are always there."""
    simulator.script(*[Fault.status(503)] * 16)
    with OpenAIResponder("m", api_key="k", base_url=simulator.base_url("openai"), timeout=30.0) as gpt:
        assert gpt.map([f"prompt {number}" for number in range(16)], max_workers=16).ok


def test_refusals_for_the_rate_are_not_taken_from_the_repeats(simulator: Simulator) -> None:
    """The governor holds those back; the provider is well."""
    simulator.script(*[Fault.status(429, retry_after_ms=1)] * 4)
    with OpenAIResponder("m", api_key="k", base_url=simulator.base_url("openai"), timeout=30.0) as gpt:
        assert gpt.map(["Hi"] * 4, max_workers=4, retry_share=0.0).ok
    assert len(simulator.received) == 8


def test_without_a_share_nothing_is_repeated(simulator: Simulator) -> None:
    """0 is a share, too."""
    simulator.script(Fault.status(500))
    with OpenAIResponder("m", api_key="k", base_url=simulator.base_url("openai"), timeout=30.0) as gpt:
        assert [result.ok for result in gpt.map(["a", "b"], max_workers=1, retry_share=0.0)] == [False, True]


@pytest.mark.parametrize("share", [-0.1, 1, True, "0.2", float("nan")])
def test_a_share_that_is_none_is_refused(simulator: Simulator, share: Any) -> None:
    """Before anything is sent."""
    gpt = OpenAIResponder("m", api_key="k", base_url=simulator.base_url("openai"))
    with pytest.raises(ConfigurationError, match="retry_share"):
        gpt.map(["Hi"], retry_share=share)
    assert not simulator.received


def test_a_repeat_is_logged_for_the_operator(simulator: Simulator, caplog: pytest.LogCaptureFixture) -> None:
    """At level info, with the class and the status, and without the provider's words, which may quote the prompt."""
    simulator.script(Fault.status(503, "cannot answer 'Hi'"))
    with caplog.at_level("INFO", logger="responder"):
        asked(simulator)
    (record,) = [record for record in caplog.records if record.name == "responder"]
    assert record.levelname == "INFO"
    assert record.getMessage().startswith("attempt 1 failed (InternalServerError 503): the next one starts in 0.0 s")
