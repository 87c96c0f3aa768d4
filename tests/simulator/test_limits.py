"""Real limits: who is let in, who is refused, and what the headers say."""

from __future__ import annotations

import json
import re
from collections import Counter
from types import SimpleNamespace

import pytest

from responder.simulator import Simulator
from responder.simulator.limits import Limiter

LIMITED = ["openai", "azure", "anthropic", "gemini", "vertex"]


@pytest.mark.parametrize("provider", LIMITED)
def test_requests_above_the_limit_are_refused_in_the_words_of_the_provider(wire: SimpleNamespace, provider: str) -> None:
    """Two a minute: the third gets a 429 that says when to come back."""
    with Simulator(requests_per_minute=2) as simulator:
        replies = [wire.ask(simulator, provider) for _ in range(3)]
        assert [entry.outcome for entry in simulator.received] == ["answered", "answered", "refused"]
    assert [reply.status for reply in replies] == [200, 200, 429]
    error = json.loads(replies[2].body)["error"]
    if provider in ("gemini", "vertex"):
        kinds = [detail["@type"].rpartition(".")[2] for detail in error["details"]]
        assert kinds == ["QuotaFailure", "RetryInfo"]
        assert "PerMinute" in error["details"][0]["violations"][0]["quotaId"]
        assert 0 < float(error["details"][1]["retryDelay"].rstrip("s")) <= 30
        assert not [name for name in replies[0].headers if "ratelimit" in name]
    else:
        assert 0 < int(replies[2].headers["retry-after"]) <= 30
        assert error["message"]


def test_openai_states_its_limits_on_every_answer(wire: SimpleNamespace) -> None:
    """Limit, rest, and a Go duration until the bucket is full; on refusals as well."""
    with Simulator(requests_per_minute=1, tokens_per_minute=1000) as simulator:
        first, second = wire.ask(simulator), wire.ask(simulator)
    used = json.loads(first.body)["usage"]["total_tokens"]
    assert first.headers["x-ratelimit-limit-requests"] == "1"
    assert first.headers["x-ratelimit-remaining-requests"] == "0"
    assert int(first.headers["x-ratelimit-remaining-tokens"]) == 1000 - used
    assert re.fullmatch(r"(\d+m)?[\d.]+m?s", first.headers["x-ratelimit-reset-requests"])
    assert (second.status, second.headers["x-ratelimit-remaining-requests"]) == (429, "0")
    assert "requests per min (RPM): Limit 1" in json.loads(second.body)["error"]["message"]
    assert re.search(r"try again in [\d.m]+s", json.loads(second.body)["error"]["message"])


def test_anthropic_states_resets_as_points_in_time(wire: SimpleNamespace) -> None:
    """RFC 3339 in UTC."""
    with Simulator(requests_per_minute=5, tokens_per_minute=1000) as simulator:
        headers = wire.ask(simulator, "anthropic").headers
    assert headers["anthropic-ratelimit-requests-remaining"] == "4"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", headers["anthropic-ratelimit-tokens-reset"])


def test_azure_states_resets_in_bare_seconds(wire: SimpleNamespace) -> None:
    """Not as Go durations."""
    with Simulator(tokens_per_minute=1000) as simulator:
        headers = wire.ask(simulator, "azure").headers
    assert headers["x-ratelimit-reset-tokens"].isdecimal()


def test_tokens_above_the_limit_are_refused(wire: SimpleNamespace) -> None:
    """What usage states is what the limit counts."""
    with Simulator(tokens_per_minute=50) as simulator:
        first, second, third = (wire.ask(simulator) for _ in range(3))
    used = json.loads(first.body)["usage"]["total_tokens"]
    assert 2 * used <= 50 < 3 * used
    assert [first.status, second.status, third.status] == [200, 200, 429]
    assert json.loads(third.body)["error"]["type"] == "tokens"


def test_a_request_larger_than_the_limit_is_told_so(wire: SimpleNamespace) -> None:
    """Waiting will not help, and no wait is named."""
    with Simulator(tokens_per_minute=5) as simulator:
        seen = wire.ask(simulator)
    assert seen.status == 429
    assert "Request too large" in json.loads(seen.body)["error"]["message"]
    assert "retry-after" not in seen.headers


def test_a_day_that_is_used_up_is_a_quota(wire: SimpleNamespace) -> None:
    """OpenAI says insufficient_quota, Google names the day."""
    with Simulator(requests_per_day=1) as simulator:
        assert wire.ask(simulator).status == wire.ask(simulator, "gemini").status == 200
        openai, gemini = wire.ask(simulator), wire.ask(simulator, "gemini")
    assert (openai.status, json.loads(openai.body)["error"]["code"]) == (429, "insufficient_quota")
    assert gemini.status == 429
    assert b"PerDay" in gemini.body


def test_each_key_and_each_model_has_a_limit_of_its_own(simulator: Simulator) -> None:
    """One account does not feel another."""
    limiter = Limiter(1, None, None, clock=lambda: 0.0)
    owners = [("a", "m"), ("a", "n"), ("b", "m")]
    assert [limiter.charge(key, model, 1).exhausted for key, model in owners] == ["", "", ""]
    assert [limiter.charge(key, model, 1).exhausted for key, model in owners] == ["requests"] * 3


def test_a_bucket_refills_evenly_and_never_above_its_size() -> None:
    """Sixty a minute is one a second; the wait it names is exact, and a refusal costs nothing."""
    now = 0.0
    limiter = Limiter(60, None, None, clock=lambda: now)
    for _ in range(60):
        assert limiter.charge("k", "m", 1).exhausted == ""
    refused = limiter.charge("k", "m", 1)
    assert (refused.exhausted, refused.wait, refused.requests_reset) == ("requests", 1.0, 60.0)
    now = refused.wait
    assert limiter.charge("k", "m", 1).exhausted == ""
    assert limiter.charge("k", "m", 1).exhausted == "requests"
    now = 10_000.0
    assert limiter.charge("k", "m", 1).requests_left == 59


def test_a_day_begins_again_after_24_hours() -> None:
    """Counted from the first request."""
    now = 0.0
    limiter = Limiter(None, None, 2, clock=lambda: now)
    assert [limiter.charge("k", "m", 1).exhausted for _ in range(3)] == ["", "", "day"]
    now = 86_400.0
    assert limiter.charge("k", "m", 1).exhausted == ""


def test_chance_is_repeatable_with_a_seed(wire: SimpleNamespace) -> None:
    """The same seed gives the same errors, in the share that was asked for."""
    runs = []
    for _ in range(2):
        with Simulator(error_rate=0.5, seed=7) as simulator:
            for _ in range(60):
                wire.ask(simulator)
            runs.append([entry.outcome for entry in simulator.received])
    assert runs[0] == runs[1]
    counted = Counter(runs[0])
    assert set(counted) == {"answered", "fault:random_500", "fault:random_503", "fault:reset"}
    assert 15 <= counted["answered"] <= 45


@pytest.mark.parametrize(
    "wrong",
    [{"error_rate": 1.5}, {"requests_per_minute": 0}, {"latency": "soon"}, {"latency": -1}, {"tokens_per_second": "uniform:3:1"}],
)
def test_settings_that_make_no_sense_are_refused_at_once(wrong: dict[str, object]) -> None:
    """Before anything listens, with the forms that are understood."""
    with pytest.raises(ValueError, match=r"probability|is invalid|distribution"):
        Simulator(**wrong)
