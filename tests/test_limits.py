"""The governor: evenly spread starts, one pause for all, first come first served, and no place that is ever lost."""

from __future__ import annotations

import contextlib
import gc
import math
import multiprocessing
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, ClassVar

import freezegun
import pytest
import time_machine
from hypothesis import given, settings
from hypothesis import strategies as st
from servers import PATIENCE, Server, one_by_one, reply

from responder import (
    APIError,
    CancelledError,
    CancelToken,
    ConfigurationError,
    DeadlineExceededError,
    GeminiResponder,
    Limits,
    OpenAIResponder,
    Price,
    RateLimitError,
    Usage,
)
from responder.pace import window
from responder.pace.breaker import Breaker, breaker_for
from responder.pace.budget import Spending
from responder.pace.governor import Governor
from responder.pace.permit import Permit
from responder.pace.recent import MOST_IDLE
from responder.pace.registry import governor_for
from responder.responder import Responder
from responder.simulator import Fault, Received, Simulator
from responder.values.deadline import NEVER, Deadline


class Queued(CancelToken):
    """A token that tells when its call stands in the line."""

    def __init__(self) -> None:
        super().__init__()
        self.queued = threading.Event()

    def register(self, callback: Callable[[], object]) -> int:
        number = super().register(callback)
        self.queued.set()
        return number


class Call:
    """A call that asks a governor for its turn, in a thread of its own, and stands in the line when this is made."""

    def __init__(self, governor: Governor, name: str = "", started: queue.SimpleQueue[str] | None = None) -> None:
        self.token = Queued()
        self.permit: Permit | None = None
        self.error: BaseException | None = None
        self._governor = governor
        self._name = name
        self._started = started
        self._thread = threading.Thread(target=self._ask, daemon=True)
        self._thread.start()
        assert self.token.queued.wait(PATIENCE)

    def _ask(self) -> None:
        try:
            self.permit = self._governor.acquire(1.0, NEVER, self.token)
        except CancelledError as error:
            self.error = error
        self.token.queued.set()  # it need not have waited
        if self._started is not None:
            self._started.put(self._name)

    def join(self) -> Permit:
        """Wait for the turn."""
        self._thread.join(PATIENCE)
        assert self.permit is not None, "the call never had its turn"
        return self.permit

    def end(self) -> None:
        """Wait for the end, whatever it is."""
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive(), "the call still waits"


def ask(governor: Governor, seconds: float | None = None) -> Permit:
    """Ask for a turn in this thread."""
    return governor.acquire(1.0, Deadline.after(seconds), None)


def turn_of(governor: Governor) -> Permit | None:
    """Return a turn that comes within a moment, or None."""
    try:
        return ask(governor, 0.05)
    except DeadlineExceededError:  # on a busy machine, the moment may pass before the free turn was looked for
        return governor.try_acquire(1.0)


def is_full(governor: Governor) -> bool:
    """Return whether a call that may wait a moment gets no turn; one that does gives it back."""
    permit = turn_of(governor)
    if permit is not None:
        permit.settle()
    return permit is None


def fill(governor: Governor, most: int = 1000) -> list[Permit]:
    """Take turns until there are no more (or `most`), and return them."""
    permits: list[Permit] = []
    while len(permits) < most and (permit := turn_of(governor)) is not None:
        permits.append(permit)
    return permits


def ask_often(governor: Governor, calls: int, seconds: float) -> None:
    """Take so many turns within so many seconds."""
    deadline = Deadline.after(seconds)
    for _ in range(calls):
        governor.acquire(1.0, deadline, None)


def refusal(retry_after: float | None = None, status: int = 429) -> APIError:
    return APIError("slow down", status=status, retryable=True, retry_after=retry_after)


def tokens(total: int) -> Usage:
    return Usage(input_tokens=total, known=True)


@pytest.fixture
def remote() -> Iterator[Simulator]:
    """Give a simulator in a process of its own, whose clock no thread of ours can hold up."""
    with Simulator(process=True) as running:
        yield running


def responder(simulator: Simulator, model: str = "m", **keywords: Any) -> OpenAIResponder:
    return OpenAIResponder(model, **{"api_key": "test-key", "base_url": simulator.base_url("openai"), **keywords})


def arrivals(simulator: Simulator) -> list[float]:
    return [request.arrived for request in simulator.received]


# Evenly spread starts


@pytest.mark.acceptance(16)
@pytest.mark.pain(8)
def test_fifty_threads_at_600_a_minute_arrive_evenly_spaced(remote: Simulator) -> None:
    """One request starts every tenth of a second, from the first on: there is never a burst."""
    model = responder(remote, limits=Limits(requests_per_minute=600))

    begin = time.monotonic()
    batch = model.map([f"prompt {number}" for number in range(31)], max_workers=50)

    assert batch.ok
    # On a busy machine a request may arrive later than its turn, but never before it.
    early = [number for number, moment in enumerate(sorted(arrivals(remote))) if moment < begin + 0.1 * number - 0.01]
    assert not early


def test_a_pause_between_two_maps_saves_up_no_burst(remote: Simulator) -> None:
    """Minutes that were not used are gone: what was left unused earlier does not come in one go."""
    governor = Governor(Limits(requests_per_minute=600))
    ask(governor).settle()
    threading.Event().wait(0.5)  # not used; there is nothing to wait for

    begin = time.monotonic()
    for _ in range(4):
        ask(governor).settle()

    assert time.monotonic() - begin >= 0.29


def test_tokens_spread_the_starts_too() -> None:
    """At 60,000 tokens a minute, a call that may take 100 holds the next one up for a tenth of a second."""
    governor = Governor(Limits(tokens_per_minute=60_000))
    first = ask(governor)
    first.settle(None, tokens(100))

    begin = time.monotonic()
    ask(governor)

    assert begin - first.started + time.monotonic() - begin >= 0.09


@pytest.mark.parametrize(
    "limits", [{"max_concurrency": 0}, {"requests_per_minute": -1}, {"tokens_per_minute": math.nan}, {"max_concurrency": True}]
)
def test_a_limit_that_is_no_number_above_0_is_refused(limits: dict[str, Any]) -> None:
    """Nonsense is told when it is typed."""
    with pytest.raises(ConfigurationError, match="number above 0"):
        Limits(**limits)


# Reserve and settle


def seconds_reserved(governor: Governor) -> float:
    """Return how far ahead of now tokens are reserved, in seconds."""
    return governor._spread.next_token - time.monotonic()


def test_a_call_reserves_its_estimate_before_it_starts() -> None:
    """Input as estimated, and an output as nobody has seen one yet, are taken before anything is sent."""
    governor = Governor(Limits(tokens_per_minute=60))

    governor.acquire(44.0, NEVER, None)

    assert seconds_reserved(governor) == pytest.approx(300.0, abs=5)


def test_what_was_reserved_too_much_is_given_back() -> None:
    """The usage of the answer settles the account, in both directions."""
    governor = Governor(Limits(tokens_per_minute=60))
    governor.acquire(44.0, NEVER, None).settle(None, tokens(10))
    assert seconds_reserved(governor) == pytest.approx(10.0, abs=5)

    dear = Governor(Limits(tokens_per_minute=60))
    dear.acquire(44.0, NEVER, None).settle(None, tokens(1000))
    assert seconds_reserved(dear) == pytest.approx(1000.0, abs=5)


def test_tokens_that_are_given_back_let_the_next_call_start() -> None:
    """A call that waits for tokens is told at once when they are free after all."""
    governor = Governor(Limits(tokens_per_minute=60))
    first = ask(governor)
    waiting = Call(governor)

    first.settle(None, Usage(known=True))

    waiting.join()


@pytest.mark.parametrize("usage", [None, Usage()])
def test_without_a_usage_the_estimate_stands(usage: Usage | None) -> None:
    """A reply that does not say what it took may have taken what was thought."""
    governor = Governor(Limits(tokens_per_minute=60))
    governor.acquire(44.0, NEVER, None).settle(None, usage)
    assert seconds_reserved(governor) == pytest.approx(300.0, abs=5)


def test_a_failed_attempt_is_settled_too() -> None:
    """What a blocked answer took is billed; an error with its usage counts as any answer does."""
    governor = Governor(Limits(tokens_per_minute=60, max_concurrency=1))
    governor.acquire(44.0, NEVER, None).settle(refusal(status=500), tokens(20))
    assert seconds_reserved(governor) == pytest.approx(20.0, abs=5)


def test_a_permit_counts_once() -> None:
    """Settling a second time changes nothing."""
    governor = Governor(Limits(max_concurrency=2, tokens_per_minute=60_000_000))
    permit, _other = ask(governor), ask(governor)
    permit.settle()
    permit.settle()
    ask(governor, PATIENCE)
    assert is_full(governor)


def test_the_estimate_follows_the_answers() -> None:
    """After short answers less is reserved for the next ones."""
    governor = Governor(Limits(tokens_per_minute=60_000_000))
    before = ask(governor).tokens
    for _ in range(100):
        ask(governor).settle(None, Usage(input_tokens=5, output_tokens=5, known=True))
    assert ask(governor).tokens < before / 10


def test_a_blocked_answer_gives_back_what_it_did_not_take(simulator: Simulator) -> None:
    """Through a responder: tokens that the failed attempt did not use are free again."""
    simulator.always(Fault.blocked_answer())
    model = responder(simulator, limits=Limits(tokens_per_minute=600))

    batch = model.map(["a", "b"], max_workers=1, deadline=20)

    assert [result.attempts for result in batch] == [1, 1]  # with 256 tokens kept the second one would wait for 26 s
    assert [type(result.error).__name__ for result in batch] == ["BlockedError"] * 2


# One pause for all


@pytest.mark.acceptance(5)
@pytest.mark.pain(8)
@pytest.mark.pain(9)
def test_one_refusal_pauses_all_workers_for_the_time_the_server_asked_for(remote: Simulator) -> None:
    """After a 429 with Retry-After no request comes in that time; then a few come first, and no burst."""
    remote.always(Fault.delay(0.1))
    remote.script_for("the refused one", Fault.status(429, retry_after=3.0))
    model = responder(remote)

    batch = model.map(["the refused one", *(f"prompt {number}" for number in range(150))], max_workers=16)

    assert batch.ok
    assert len(remote.received) == 152
    refused, after = refusal_and_rest(remote, 1.5)
    assert len(after) > 8, "the refusal held the others, too"
    assert after[0].arrived - refused >= 2.95
    first_answer = min(request.left for request in after if request.left is not None)
    assert sum(request.arrived < first_answer for request in after) <= 8, "the first round after a pause is small"


def refusal_and_rest(simulator: Simulator, seconds: float) -> tuple[float, list[Received]]:
    """Return when a 429 was sent, and the requests that came later than so many seconds after it.

    What comes within those was on its way when the refusal came, which may take a while on a busy machine.
    """
    refused = next(request.left for request in simulator.received if request.status == 429)
    assert refused is not None
    return refused, [request for request in simulator.received if request.arrived > refused + seconds]


@pytest.mark.acceptance(6)
@pytest.mark.pain(9)
def test_geminis_wait_in_the_body_is_obeyed_by_all(remote: Simulator) -> None:
    """Google sends no header: the wait stands in the error's details, with a fraction of a second."""
    remote.always(Fault.delay(0.1))
    remote.script_for("the refused one", Fault.status(429, retry_delay=2.25))
    model = GeminiResponder("m", api_key="test-key", base_url=remote.base_url("gemini"))

    batch = model.map(["the refused one", *(f"prompt {number}" for number in range(60))], max_workers=8)

    assert batch.ok
    refused, after = refusal_and_rest(remote, 1.2)
    assert len(after) > 8, "the refusal held the others, too"
    assert after[0].arrived - refused >= 2.2


@pytest.mark.parametrize("status", [429, 503, 529])
def test_a_refusal_with_a_wait_holds_everybody(status: int) -> None:
    """Too many requests, unavailable and overloaded are one: nobody starts in the time that was asked for."""
    governor = Governor(Limits())
    ask(governor).settle(refusal(0.3, status))
    begin = time.monotonic()

    ask(governor)

    assert time.monotonic() - begin >= 0.29


@pytest.mark.parametrize(
    "error",
    [
        APIError("bad request", status=400),
        APIError("server error", status=500, retryable=True, retry_after=60),
        APIError("no credit", status=429, retryable=False, retry_after=60),
        ValueError("not ours"),
    ],
)
def test_other_failures_hold_nobody(error: Exception) -> None:
    """A wrong request, a broken answer or a spent quota says nothing about how fast we may go."""
    governor = Governor(Limits())
    ask(governor).settle(error)
    ask(governor, 20.0)


def test_a_pause_without_a_hint_doubles_with_each_burst() -> None:
    """A 429 that names no wait pauses for about a second; after a second burst for two."""
    governor = Governor(Limits())
    begin = time.monotonic()
    ask(governor).settle(refusal())
    assert begin + 0.9 <= governor._window.paused_until <= time.monotonic() + 1.6

    begin = time.monotonic()
    second = Permit(governor, 1.0, begin)
    second.settle(refusal())
    assert begin + 1.8 <= governor._window.paused_until <= time.monotonic() + 2.7


def test_a_wait_of_a_day_holds_the_others_no_longer_than_the_cap(monkeypatch: pytest.MonkeyPatch) -> None:
    """A huge Retry-After ends its own call; whoever comes later tries for himself after the longest wait that is kept."""
    monkeypatch.setattr(window, "_LONGEST_KEPT", 0.3)
    governor = Governor(Limits())
    ask(governor).settle(refusal(86_400.0))

    ask(governor, 20.0)


def test_a_shorter_wait_does_not_shorten_a_longer_one() -> None:
    """Of several waits the latest end holds."""
    governor = Governor(Limits())
    first, second = ask(governor), ask(governor)
    first.settle(refusal(30.0))
    second.settle(refusal(0.1))
    with pytest.raises(DeadlineExceededError):
        ask(governor, 0.3)


# Calls at once


def grown(governor: Governor, answers: int) -> None:
    """Let so many calls start and be answered, one by one."""
    for _ in range(answers):
        ask(governor, PATIENCE).settle()


def burst(running: int, error: APIError) -> Governor:
    """Return a governor that had so many calls in flight, all of which were refused."""
    governor = Governor(Limits())
    permits = [ask(governor) for _ in range(running)]
    for permit in permits:
        permit.settle(error)
    return governor


def test_a_burst_of_refusals_cuts_once() -> None:
    """Sixteen calls that are refused together halve the number of calls at once, and not sixteen times."""
    governor = burst(16, refusal(0.0, 503))
    assert len(fill(governor)) == 8


def test_a_server_error_now_and_then_is_no_overload() -> None:
    """One 503 in fifty leaves the number of calls at once alone; every third one cuts it."""
    governor = Governor(Limits())
    for number in range(500):
        ask(governor).settle(refusal(status=503) if number % 50 == 0 else None)
    assert len(fill(governor, 100)) == 100
    governor = Governor(Limits())
    for _ in range(20):
        for number, permit in enumerate(fill(governor, 3)):
            permit.settle(refusal(status=529) if number == 0 else None)
    assert len(fill(governor, 100)) < 10


def test_a_second_burst_cuts_again() -> None:
    """Refusals of what was sent after the first cut say that it is still too much."""
    governor = burst(16, refusal(0.0, 503))
    for permit in fill(governor):
        permit.settle(refusal(0.0, 503))
    assert len(fill(governor)) == 4


def test_the_number_of_calls_at_once_never_falls_below_one() -> None:
    """However often the provider refuses, somebody tries again."""
    governor = Governor(Limits())
    for _ in range(20):
        ask(governor, PATIENCE).settle(refusal(0.0, 503))
    assert len(fill(governor)) == 1


def test_answers_grow_it_again() -> None:
    """A round of answers makes room for about one call more."""
    governor = burst(16, refusal(0.0, 503))
    grown(governor, 20)
    assert 9 <= len(fill(governor)) <= 11


def test_beyond_the_last_refusal_it_grows_more_slowly() -> None:
    """Up to where the provider refused it takes a round of answers to grow by one, further on ten of them."""
    governor = burst(16, refusal(0.0, 503))
    grown(governor, 100)
    assert 14 <= len(fill(governor)) <= 15


def test_after_a_pause_it_grows_back_to_where_it_was_refused() -> None:
    """A slow start ends at half; from there on a round of answers makes room for one more, as after any refusal."""
    governor = burst(16, refusal(0.05))
    grown(governor, 7)
    assert len(fill(governor)) in (8, 9)
    for permit in list(governor._in_flight):
        permit.settle()
    grown(governor, 60)
    assert 12 <= len(fill(governor)) <= 15


def test_after_a_pause_few_go_first_and_twice_as_many_with_each_round() -> None:
    """A slow start: two calls, then four, then eight, as answers come in."""
    governor = burst(64, refusal(0.05))
    assert ask(governor, 20).waited >= 0.0  # the pause is over
    rounds = []
    for permit in list(governor._in_flight):
        permit.settle()
    for _ in range(3):
        permits = fill(governor)
        rounds.append(len(permits))
        for permit in permits:
            permit.settle()
    assert rounds == [3, 6, 12]


def test_answers_to_what_was_sent_before_the_refusal_do_not_grow_it() -> None:
    """They say nothing about what is allowed now."""
    governor = Governor(Limits())
    permits = [ask(governor) for _ in range(40)]
    permits.pop().settle(refusal(0.0, 503))
    for permit in permits:
        permit.settle()
    assert len(fill(governor)) == 20


def test_without_adaptive_only_the_wait_is_kept() -> None:
    """`adaptive=False` leaves the number of calls at once alone."""
    governor = Governor(Limits(adaptive=False, max_concurrency=16))
    for permit in [ask(governor) for _ in range(16)]:
        permit.settle(refusal(0.3))
    begin = time.monotonic()
    permits = [ask(governor, 20), *fill(governor)]
    assert permits[0].started - begin >= 0.29
    assert len(permits) == 16


# First come, first served


def test_who_asks_first_starts_first() -> None:
    """Whatever wakes the line, its order stays."""
    governor = Governor(Limits(max_concurrency=1))
    holder = ask(governor)
    started: queue.SimpleQueue[str] = queue.SimpleQueue()
    calls = [Call(governor, str(number), started) for number in range(8)]

    holder.settle()
    order = []
    for call in calls:
        order.append(started.get(timeout=PATIENCE))
        call.join().settle()

    assert order == [str(number) for number in range(8)]


def test_a_big_map_does_not_starve_another_one_or_a_single_call(simulator: Simulator) -> None:
    """A call that comes while a map of hundreds runs waits for those that stand before it, and for no more."""
    limits = Limits(max_concurrency=2)
    big, small = responder(simulator, limits=limits), responder(simulator, limits=limits)
    gate = simulator.hold(1000)
    with ThreadPoolExecutor(2) as pool:
        many = pool.submit(big.map, [f"big {number}" for number in range(200)], max_workers=4)
        assert simulator.wait_for(2)  # two of the four are at the server, and two stand in the line, or soon will
        token = Queued()
        view = pool.submit(small.answer, "the view", cancel=token)
        assert token.queued.wait(PATIENCE)
        gate.release()
        assert view.result(PATIENCE).text == "Simulated answer to: the view"
        assert many.result(PATIENCE).ok
    place = next(number for number, request in enumerate(simulator.received) if request.prompt == "the view")
    assert place <= 100  # and not the last; its thread may be slow to send, while those behind it go on


def wait_for_line(model: OpenAIResponder, number: int) -> None:
    """Wait until so many calls wait for their turn."""
    governor, ends = model._endpoint.shared[0], time.monotonic() + PATIENCE
    while len(governor._waiting) < number:
        assert time.monotonic() < ends
        time.sleep(0.005)


def test_two_maps_share_their_turns(simulator: Simulator) -> None:
    """Of two maps that run at once neither has to wait for the other one's end."""
    limits = Limits(max_concurrency=2)
    one, two = responder(simulator, limits=limits), responder(simulator, limits=limits)
    gate = simulator.hold(1000)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(one.map, ["one"] * 60, max_workers=4)
        assert simulator.wait_for(2)
        second = pool.submit(two.map, ["two"] * 60, max_workers=4)
        wait_for_line(one, 4)  # two of the first map at most, and the second one's
        gate.release()
        assert first.result(PATIENCE).ok
        assert second.result(PATIENCE).ok
    prompts = [request.prompt for request in simulator.received]
    assert "two" in prompts[:60]
    assert simulator.most_in_flight <= 2


# Who shares a governor


def test_the_same_provider_url_key_and_model_share_one_governor(simulator: Simulator) -> None:
    """Two responders that a provider cannot tell apart keep to one limit together; the stricter words hold."""
    one, two = responder(simulator, limits=Limits(max_concurrency=3)), responder(simulator, limits=Limits(max_concurrency=2))
    other_key, other_model = responder(simulator, api_key="another-key"), responder(simulator, "another")
    for model in (one, two, other_key, other_model):
        model.answer("Hi")

    governors = [model._endpoint.shared[0] for model in (one, two, other_key, other_model)]
    assert governors[0] is governors[1]
    assert governors[0].limits.max_concurrency == 2
    assert len(set(map(id, governors))) == 3


def test_another_key_is_not_held_by_ones_refusal(simulator: Simulator) -> None:
    """The pause belongs to the key that was refused."""
    simulator.script(Fault.status(429, retry_after=60))
    with pytest.raises(RateLimitError):
        responder(simulator, max_retries=0).answer("Hi")
    assert responder(simulator, api_key="another-key").answer("Hi", deadline=20).text


def test_limits_of_two_responders_all_hold() -> None:
    """What one of them does not name is taken from the other one."""
    one = governor_for(("together",), Limits(max_concurrency=4, requests_per_minute=100))
    two = governor_for(("together",), Limits(requests_per_minute=200, tokens_per_minute=1000, adaptive=False))
    assert one is two
    assert one.limits == Limits(4, 100, 1000, adaptive=False)


# Maps and streams together


def test_max_concurrency_holds_over_maps_and_streams(simulator: Simulator) -> None:
    """Maps, merged streams and single calls together are never more at the server than it says."""
    simulator.always(Fault.delay(0.02))
    models = [responder(simulator, limits=Limits(max_concurrency=3)) for _ in range(3)]
    with ThreadPoolExecutor(3) as pool:
        batch = pool.submit(models[0].map, ["a"] * 30, max_workers=8)
        merged = pool.submit(lambda: [event.error for event in models[1].stream_map(["b"] * 30, max_workers=8)])
        single = pool.submit(lambda: [models[2].answer("c") for _ in range(10)])
        assert batch.result(PATIENCE).ok
        assert set(merged.result(PATIENCE)) == {None}
        assert len(single.result(PATIENCE)) == 10
    assert simulator.most_in_flight == 3


def only_one(simulator: Simulator) -> OpenAIResponder:
    return responder(simulator, limits=Limits(max_concurrency=1))


def test_a_stream_gives_its_place_back_at_its_end(simulator: Simulator) -> None:
    """The next call starts when the last piece has come."""
    model = only_one(simulator)
    stream = model.stream("Hi")
    assert "".join(stream)
    assert model.answer("Hi", deadline=20).text


@pytest.mark.parametrize(
    "leave",
    [
        lambda stream: stream.cancel(),
        lambda stream: stream.close(),
        lambda stream: stream.__exit__(None, None, None),
    ],
    ids=["cancel", "close", "with"],
)
def test_a_stream_that_is_left_gives_its_place_back(simulator: Simulator, leave: Callable[[Any], None]) -> None:
    """Cancelled, closed or left: the place is free at once."""
    simulator.script(Fault.stall_stream(3))
    model = only_one(simulator)
    stream = model.stream("Hi")
    next(stream)
    with pytest.raises(DeadlineExceededError):
        model.answer("Hi", deadline=0.2)
    leave(stream)
    assert model.answer("Hi", deadline=20).text


def test_a_stream_that_is_dropped_gives_its_place_back(simulator: Simulator) -> None:
    """So does one that nobody holds any more, also when only the garbage collector finds it."""
    simulator.script(Fault.stall_stream(3), Fault.stall_stream(3))
    model = only_one(simulator)
    next(model.stream("Hi"))
    stream: Any = model.stream("Hi", deadline=20)
    next(stream)
    circle = [stream]
    circle.append(circle)  # type: ignore[arg-type]  # a list within itself
    del stream, circle
    gc.collect()
    assert model.answer("Hi", deadline=20).text


@pytest.mark.parametrize(
    "fault", [Fault.cut_stream(2), Fault.stream_error(2), Fault.status(400), Fault.reset(before_headers=True)]
)
def test_a_stream_that_fails_gives_its_place_back(simulator: Simulator, fault: Fault) -> None:
    """Whatever ends it, and whenever."""
    simulator.script(fault)
    model = responder(simulator, limits=Limits(max_concurrency=1), max_retries=0)
    with pytest.raises(APIError):
        list(model.stream("Hi"))
    assert model.answer("Hi", deadline=20).text


def test_a_refused_stream_holds_the_map_beside_it(serve: Callable[..., Server], responder_for: Callable[..., Responder]) -> None:
    """A 429 to a stream pauses the answers, too."""
    server = serve(one_by_one(reply(b"{}", "429 Too Many Requests", Retry_After="0.4"), reply()))
    model = responder_for(server)
    begin = time.monotonic()
    with pytest.raises(RateLimitError):
        list(model.stream("Hi"))
    assert model.answer("Hi").text
    assert time.monotonic() - begin >= 0.4


# Deadlines and cancelling in the line


def test_the_deadline_holds_in_the_line_and_nothing_is_sent(simulator: Simulator) -> None:
    """A call whose turn does not come in time says so, and never reaches the server."""
    model = responder(simulator, limits=Limits(requests_per_minute=1))
    model.answer("first")
    with pytest.raises(DeadlineExceededError, match=r"waited \d+\.\d s for its turn within the rate limits; nothing was sent"):
        model.answer("second", deadline=1.0)
    assert [request.prompt for request in simulator.received] == ["first"]


def test_a_passed_deadline_sends_nothing(simulator: Simulator) -> None:
    """No turn is taken for a call that is over."""
    with pytest.raises(DeadlineExceededError):
        responder(simulator).answer("Hi", deadline=0)
    assert not simulator.received


def test_cancel_ends_the_wait_and_nothing_is_sent(simulator: Simulator) -> None:
    """A call in the line ends when its token is cancelled; those behind it keep their places."""
    model = responder(simulator, limits=Limits(requests_per_minute=1))
    model.answer("first")
    token, errors = Queued(), queue.SimpleQueue[BaseException]()

    def call() -> None:
        try:
            model.answer("second", cancel=token)
        except CancelledError as error:
            errors.put(error)

    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    assert token.queued.wait(PATIENCE)
    token.cancel("enough")
    assert "waited for its turn: enough" in str(errors.get(timeout=PATIENCE))
    thread.join(PATIENCE)
    assert len(simulator.received) == 1


def test_a_call_that_leaves_the_line_makes_room_for_the_next() -> None:
    """The second in the line takes over when the first one is cancelled."""
    governor = Governor(Limits(max_concurrency=1, requests_per_minute=600))
    holder = ask(governor)
    first, second = Call(governor), Call(governor)
    first.token.cancel()
    first.end()
    assert isinstance(first.error, CancelledError)
    holder.settle()
    second.join()


class CancelledLate(CancelToken):
    """Is cancelled right after it was looked at for the first time."""

    @property
    def cancelled(self) -> bool:
        found = super().cancelled
        self.cancel("late")
        return found


def test_a_cancel_between_a_look_and_the_sleep_is_not_lost() -> None:
    """Whoever cancels at the worst moment ends the wait all the same."""
    governor = Governor(Limits(max_concurrency=1))
    holder = ask(governor)
    ended = threading.Event()

    def call() -> None:
        with contextlib.suppress(CancelledError):
            governor.acquire(1.0, NEVER, CancelledLate())
        ended.set()

    threading.Thread(target=call, daemon=True).start()
    try:
        assert ended.wait(PATIENCE)
    finally:
        holder.settle()


@pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="needs signals to a thread")
def test_ctrl_c_in_the_line_leaves_no_place_taken() -> None:
    """A KeyboardInterrupt takes the call out of the line, so that those behind it do not wait for ever."""
    governor = Governor(Limits(max_concurrency=1))
    holder = ask(governor)
    token = Queued()
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    main = threading.get_ident()

    def interrupt() -> None:
        assert token.queued.wait(PATIENCE)
        signal.pthread_kill(main, signal.SIGINT)

    thread = threading.Thread(target=interrupt, daemon=True)
    thread.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            governor.acquire(1.0, Deadline.after(PATIENCE), token)
    finally:
        signal.signal(signal.SIGINT, before)
    thread.join(PATIENCE)
    behind = Call(governor)
    holder.settle()
    behind.join()


class Interrupting(Limits):
    """Settles permits whenever it is read, as the garbage collector may between any two steps of a thread."""

    dropped: ClassVar[list[Permit]] = []

    def __getattribute__(self, name: str) -> Any:
        if name == "max_concurrency" and Interrupting.dropped:
            Interrupting.dropped.pop().settle()
        return super().__getattribute__(name)


def test_a_permit_may_be_settled_by_the_garbage_collector() -> None:
    """It ends a dropped stream in any thread, also in one that holds the governor's lock: that must not lock up."""
    governor = Governor(Interrupting(max_concurrency=8, requests_per_minute=60_000_000))
    Interrupting.dropped = [ask(governor) for _ in range(7)]
    done = threading.Event()

    def work() -> None:
        for _ in range(100):
            ask(governor).settle()
        done.set()

    threading.Thread(target=work, daemon=True).start()

    assert done.wait(PATIENCE)
    assert len(fill(governor, 20)) == 8


# What the headers tell


def bucket(remaining: int, reset: str = "60s", limit: int = 100) -> Mapping[str, str]:
    return {
        "x-ratelimit-limit-requests": str(limit),
        "x-ratelimit-remaining-requests": str(remaining),
        "x-ratelimit-reset-requests": reset,
    }


def test_a_nearly_empty_bucket_slows_starts_to_its_refill() -> None:
    """With 1 of 100 requests left and full again in 19.8 s, one starts every 0.2 s, before anything is refused."""
    governor = Governor(Limits())
    first = ask(governor)
    first.observe(bucket(1, "19.8s"))
    first.settle()
    begin = time.monotonic()
    for _ in range(3):
        ask(governor)
    assert time.monotonic() - begin >= 0.39


@pytest.mark.parametrize(
    "headers",
    [
        bucket(50),
        bucket(11),
        bucket(5, "soon"),
        bucket(0, limit=0),
        {"x-ratelimit-remaining-requests": "-1", "x-ratelimit-limit-requests": "x"},
        {},
    ],
)
def test_a_full_or_an_unreadable_bucket_slows_nothing(headers: Mapping[str, str]) -> None:
    """A provider whose headers are odd is not punished for them."""
    governor = Governor(Limits())
    ask(governor).observe(headers)
    ask_often(governor, 20, 10.0)


def test_a_bucket_that_has_filled_up_lifts_the_pace_for_those_who_wait() -> None:
    """The slow pace ends with the reply that says so, also for who stands in the line already."""
    governor = Governor(Limits())
    permit = ask(governor)
    permit.observe(bucket(0, "6000s"))
    ask(governor)  # the one that starts before the next minute
    waiting = Call(governor)
    permit.observe(bucket(90))
    waiting.join()
    ask_often(governor, 20, 10.0)


def test_tokens_that_run_out_slow_starts_too() -> None:
    """Anthropic's spelling: 100 of 10,000 tokens left, full again in 60 s, and an answer has some hundred."""
    governor = Governor(Limits())
    permit = ask(governor)
    permit.observe(
        {
            "anthropic-ratelimit-requests-limit": "1000",
            "anthropic-ratelimit-requests-remaining": "999",
            "anthropic-ratelimit-requests-reset": "1s",
            "anthropic-ratelimit-tokens-limit": "10000",
            "anthropic-ratelimit-tokens-remaining": "100",
            "anthropic-ratelimit-tokens-reset": "60",
        }
    )
    ask(governor)
    with pytest.raises(DeadlineExceededError):
        ask(governor, 0.5)


def test_a_simulated_provider_that_runs_dry_is_paced_and_refuses_little(remote: Simulator) -> None:
    """With real limits at the server, the headers alone keep nearly all calls from being refused."""
    with Simulator(process=True, requests_per_minute=120) as limited:
        model = responder(limited)
        batch = model.map([f"prompt {number}" for number in range(124)], max_workers=8)
        refused = sum(request.status == 429 for request in limited.received)
    assert batch.ok
    assert refused <= 8


# Forked children


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_a_forked_child_is_not_held_by_its_parents_calls() -> None:
    """The lock, the line and the calls in flight stay behind: none of their threads is in the child."""
    governor = governor_for(("fork", str(time.monotonic())), Limits(max_concurrency=1))
    holder = ask(governor)
    waiting = Call(governor)

    def child() -> None:
        governor_for(("of the child",), Limits())
        ask(governor, PATIENCE).settle()

    with governor._lock:  # as another thread may, at the moment of the fork
        process = multiprocessing.get_context("fork").Process(target=child)
        process.start()
    process.join(PATIENCE)
    if process.is_alive():
        process.kill()
    assert process.exitcode == 0
    holder.settle()
    waiting.join()


C_FORK = """
import ctypes, os, sys, threading, time
from responder import Limits, Price
from responder.pace.breaker import breaker_for
from responder.pace.budget import Spending
from responder.pace.registry import governor_for
from responder.pace.file_store import FileLimitStore
from responder.pace.store import LimitStep
from responder.values.deadline import NEVER, Deadline
from responder.values.errors import InternalServerError

limits = Limits(max_concurrency=1, store=sys.argv[1])
governor = governor_for(("a",), limits)
holder = governor.acquire(1.0, NEVER, None)
breaker = breaker_for(("a",))
down = InternalServerError("down", status=500, retryable=True)
for _ in range(20):
    breaker.note(down)
spending = Spending(1.0)
money = spending.reserve(Price(1.0, 1.0), 4, 900_000, NEVER, None)
held, done = threading.Event(), threading.Event()

def hold():
    with governor._lock, breaker._changed, spending._lock, limits.store._lock._threads:
        held.set()
        done.wait(60)

threading.Thread(target=hold, daemon=True).start()
held.wait()
time.sleep(0.2)  # until the thread rests: one that just wakes up may hold what the interpreter's own lock needs
child = ctypes.PyDLL(None).fork()  # as uWSGI does it: Python is not told
if child == 0:
    try:
        governor_for(("b",), Limits())
        assert governor.try_acquire(1.0) is None, "the parent's place was given a second time"
        breaker.enter(0.0, NEVER, None)
        spending.reserve(Price(1.0, 1.0), 4, 900_000, Deadline.after(5), None).settle(0.1)
        breaker.note(down)
        breaker.note(None)
        holder.settle()
        money.settle(0.5)
        step = LimitStep("other", most=1, wanted=1)
        assert not FileLimitStore(sys.argv[1]).exchange(b"a", step).places, "the child gave back what is the parent's"
        os._exit(0)
    except BaseException as error:
        print(repr(error), flush=True)
        os._exit(1)
ends = time.monotonic() + 30
while time.monotonic() < ends:
    found, status = os.waitpid(child, os.WNOHANG)
    if found:
        os._exit(os.waitstatus_to_exitcode(status))
    time.sleep(0.01)
print("the child hangs", flush=True)
os.kill(child, 9)
os._exit(2)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_child_that_c_code_forked_starts_anew(tmp_path: Path) -> None:
    """Nobody tells Python of such a fork, and every lock is held by a thread that the child does not have."""
    done = subprocess.run(
        [sys.executable, "-c", C_FORK, str(tmp_path / "limits")], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


# Who shares a governor, and for how long


def test_of_many_callables_each_has_a_governor_of_its_own(simulator: Simulator) -> None:
    """Made one after another, where the memory of the last one is given to the next: one tenant's pause holds no other."""
    governors = []
    for number in range(300):
        model = responder(simulator, api_key=lambda number=number: f"key {number}")
        governor, breaker = model._endpoint.shared
        governors.append((governor, breaker))
        del model
    assert len({id(governor) for governor, _ in governors}) == 300
    assert len({id(breaker) for _, breaker in governors}) == 300


def test_a_service_with_a_key_for_each_customer_does_not_grow() -> None:
    """Of a hundred thousand keys those that were used last are remembered, and those that somebody uses."""
    used = governor_for(("used",), Limits(max_concurrency=3))
    for number in range(100_000):
        governor_for((f"customer {number}",), Limits())
        breaker_for((f"customer {number}",))
    gc.collect()
    # By type(): isinstance() asks an object for its class, and wakes lazy settings of a framework that another test imported.
    assert sum(type(found) in (Governor, Breaker) for found in gc.get_objects()) < 5 * MOST_IDLE
    assert governor_for(("used",), Limits()) is used


def test_a_view_that_makes_a_responder_for_each_request_keeps_the_pause(simulator: Simulator) -> None:
    """What the responder of one request was told, the one of the next request keeps to."""
    simulator.script(Fault.status(429, retry_after=60))
    with pytest.raises(RateLimitError):
        responder(simulator, max_retries=0).answer("refused")
    gc.collect()
    with pytest.raises(DeadlineExceededError):
        responder(simulator, max_retries=0).answer("at once", deadline=0.3)
    assert len(simulator.received) == 1


# Clocks that stand still, or were set


@contextlib.contextmanager
def frozen(how: str) -> Iterator[None]:
    """Stop the clocks that a test's library stops."""
    if how == "freezegun":
        with freezegun.freeze_time("2031-01-01"):
            yield
    else:
        with time_machine.travel("2031-01-01", tick=False):
            yield


@pytest.mark.parametrize("how", ["freezegun", "time-machine"])
def test_no_wait_lasts_for_ever_while_a_test_freezes_time(how: str, tmp_path: Path) -> None:
    """Turns come, deadlines end, and nobody spins: for one process and for several, for the provider and for the money."""
    with frozen(how):
        for limits in (Limits(requests_per_minute=600), Limits(requests_per_minute=600, store=tmp_path / "limits")):
            governor = Governor(limits)
            for _ in range(4):
                ask(governor, PATIENCE).settle()
        full = Governor(Limits(max_concurrency=1))
        holder = ask(full)
        spent = time.thread_time()
        with pytest.raises(DeadlineExceededError):
            ask(full, 0.5)
        assert time.thread_time() - spent < 0.25  # a thread that spins takes the half second
        holder.settle(refusal(0.2))
        ask(full, PATIENCE).settle()
        breaker = Breaker(1, 0.05)
        breaker.note(refusal(status=500))
        for _ in range(2):
            breaker.enter(PATIENCE, Deadline.after(PATIENCE), None)
        breaker = Breaker(1, PATIENCE)
        breaker.note(refusal(status=500))
        with pytest.raises(DeadlineExceededError):
            breaker.enter(2 * PATIENCE, Deadline.after(0.1), None)
        spending = Spending(1.0)
        spending.reserve(Price(1.0, 1.0), 4, 900_000, NEVER, None)
        with pytest.raises(DeadlineExceededError):
            spending.reserve(Price(1.0, 1.0), 4, 900_000, Deadline.after(0.1), None)


@pytest.mark.parametrize("seconds", [1e9, 1e12, 1e300])
def test_a_deadline_in_a_million_years_is_one(seconds: float) -> None:
    """The system's own waits take no such number."""
    far = Deadline.after(seconds)
    governor = Governor(Limits(max_concurrency=1))
    holder = ask(governor)
    threading.Timer(0.05, holder.settle).start()
    governor.acquire(1.0, far, None).settle()
    spending = Spending(1.0)
    held = spending.reserve(Price(1.0, 1.0), 4, 900_000, far, None)
    threading.Timer(0.05, held.settle, [0.0]).start()
    spending.reserve(Price(1.0, 1.0), 4, 900_000, far, None)
    breaker = Breaker(1, 0.05)
    breaker.note(refusal(status=500))
    breaker.enter(PATIENCE, far, None)


# Absurd replies


@pytest.mark.parametrize("count", [10**17, 10**4000, -5, -(10**17), math.nan, math.inf])
@pytest.mark.parametrize("store", [False, True])
def test_absurd_token_counts_hold_nobody(count: Any, store: bool, tmp_path: Path) -> None:
    """One broken reply: the estimate stands, for it and for the calls that follow."""
    governor = Governor(Limits(tokens_per_minute=6_000_000, store=tmp_path / "limits" if store else None))
    before = ask(governor).tokens
    for usage in (Usage(count, 5, known=True), Usage(5, count, known=True)):
        ask(governor).settle(None, usage)
        ask(governor, 20.0).settle(refusal(status=500), usage)
    for _ in range(5):
        permit = ask(governor, 20.0)
        assert permit.tokens == pytest.approx(before)
        permit.settle()


def test_a_count_that_may_be_true_holds_the_others_for_a_minute_at_most() -> None:
    """After that the provider's bucket is full again, whatever the reply said; and the next estimates stay sane."""
    governor = Governor(Limits(tokens_per_minute=60_000))
    before = ask(governor).tokens
    ask(governor).settle(None, Usage(50_000_000, 40_000_000, known=True))
    assert seconds_reserved(governor) < 65
    governor = Governor(Limits(tokens_per_minute=60_000_000_000))
    ask(governor).settle(None, Usage(1, 40_000_000, known=True))
    assert ask(governor, PATIENCE).tokens < 3 * before


@pytest.mark.parametrize(
    "headers",
    [
        {"x-ratelimit-limit-requests": "9" * 5000, "x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "9s"},
        {"x-ratelimit-limit-requests": "1", "x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "9" * 400},
        {"x-ratelimit-limit-requests": "2", "x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "99999999s"},
        {"x-ratelimit-limit-requests": "-2", "x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "9s"},
        {"x-ratelimit-limit-requests": "2", "x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "-9"},
        {"x-ratelimit-limit-requests": "2", "x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "nan"},
        {
            "x-ratelimit-limit-requests": "2",
            "x-ratelimit-remaining-requests": "0",
            "x-ratelimit-reset-requests": "9999-01-01T00:00:00Z",
            "date": "\x00" * 30,
        },
    ],
)
def test_absurd_headers_hold_nobody(headers: Mapping[str, str]) -> None:
    """Numbers of five thousand digits, resets in a thousand years: they are not believed."""
    governor = Governor(Limits())
    ask(governor).observe(headers)
    ask_often(governor, 20, 10.0)


@pytest.mark.parametrize("hint", [math.nan, math.inf, -1.0, 1e300])
def test_an_absurd_wait_is_bounded(hint: float) -> None:
    """It holds the others two minutes at most, and not at all when it is no number."""
    governor = Governor(Limits())
    ask(governor).settle(refusal(hint))
    assert governor._window.paused_until - time.monotonic() < 121


def test_a_slow_pace_ends_when_the_bucket_is_full_though_no_reply_says_so() -> None:
    """A provider that sends its headers now and then holds nobody with those of an hour ago."""
    governor = Governor(Limits())
    ask(governor).observe(bucket(0, "0.4s", limit=1))
    ask(governor)
    ask(governor)  # 0.4 s later: the bucket is full
    ask_often(governor, 20, 6.0)


def test_a_clock_that_is_hours_wrong_does_not_change_the_pace() -> None:
    """A reset that comes as a date is counted from the server's own clock."""
    governor = Governor(Limits())
    ask(governor).observe(
        {
            "date": "Tue, 05 Jan 2038 10:00:00 GMT",
            "anthropic-ratelimit-requests-limit": "100",
            "anthropic-ratelimit-requests-remaining": "0",
            "anthropic-ratelimit-requests-reset": "2038-01-05T10:00:05Z",
        }
    )
    begin = time.monotonic()
    for _ in range(3):
        ask(governor)
    assert 0.09 <= time.monotonic() - begin < PATIENCE  # a twentieth of a second between them, and not twelve years


# While the provider is content


def test_a_content_provider_costs_no_thread_and_no_wait(simulator: Simulator) -> None:
    """Without limits and refusals nothing waits, and no thread keeps the time."""
    model = responder(simulator)
    before = set(threading.enumerate())
    batch = model.map(["Hi"] * 50, max_workers=8)
    assert max(result.waited for result in batch) < 1.0
    for thread in set(threading.enumerate()) - before:
        if thread.name != "responder-idle":  # which closes the connections that nobody uses
            thread.join(PATIENCE)  # a worker that is just ending
            assert not thread.is_alive(), thread.name


def test_the_time_in_the_line_stands_in_the_result(simulator: Simulator) -> None:
    """`waited` counts the seconds that a call waited for its turn."""
    begin = time.monotonic()
    batch = responder(simulator, limits=Limits(requests_per_minute=60)).map(["Hi"] * 2, max_workers=2)
    assert 0 < sum(result.waited for result in batch) <= time.monotonic() - begin


# Any sequence


@settings(max_examples=30, deadline=None)
@given(
    most=st.integers(1, 5),
    steps=st.lists(
        st.one_of(
            st.just("ask"),
            st.just("cancel"),
            st.tuples(st.just("settle"), st.sampled_from(["answer", "unavailable", "wrong", "slow down"])),
        ),
        max_size=40,
    ),
)
def test_no_sequence_passes_the_ceiling_or_leaves_anybody_waiting(most: int, steps: list[Any]) -> None:
    """Whatever is asked, settled and cancelled: 0 <= in flight <= max_concurrency, and everybody has a turn in the end."""
    governor = Governor(Limits(max_concurrency=most))
    errors: dict[str, APIError | None] = {
        "answer": None,
        "unavailable": refusal(status=503),
        "wrong": APIError("no", status=400),
        "slow down": refusal(0.001),
    }
    calls: list[Call | Permit] = []

    def settle(error: APIError | None) -> None:
        permit = next((call for call in calls if isinstance(call, Permit)), None)
        if permit is not None:
            calls.remove(permit)
            permit.settle(error)
        for position, call in enumerate(calls):
            if isinstance(call, Call) and call.permit is not None:
                calls[position] = call.join()

    for step in steps:
        if step == "ask":
            try:
                calls.append(ask(governor, 0.0005))
            except DeadlineExceededError:
                calls.append(Call(governor))
        elif step == "cancel":
            for call in calls:
                if isinstance(call, Call) and call.permit is None:
                    call.token.cancel()
                    call.end()
                    if call.permit is None:
                        calls.remove(call)
                    break
        else:
            settle(errors[step[1]])
        assert 0 <= len(governor._in_flight) <= most
    while calls:
        first = next((call for call in calls if isinstance(call, Permit) or call.permit is not None), None)
        if first is None:
            first = calls[0]
            assert isinstance(first, Call)
            first.join()
        calls.remove(first)
        (first if isinstance(first, Permit) else first.join()).settle()
        assert 0 <= len(governor._in_flight) <= most
    assert not governor._in_flight
    ask(governor, PATIENCE).settle()


def test_open_streams_do_not_keep_others_waiting_after_a_refusal() -> None:
    """A stream that the provider has begun to answer is no sign that it is busy: the next calls go out beside it."""
    with Simulator() as simulator:
        simulator.script(Fault.status(429, retry_after=0.1))
        simulator.script_for("stall", Fault.stall_stream(after_events=4).repeated(4))
        gpt = OpenAIResponder("m", api_key="k", base_url=simulator.base_url("openai"))
        gpt.answer("refused once, then answered")

        streams = [gpt.stream("stall") for _ in range(4)]
        try:
            for stream in streams:
                next(stream)
            assert gpt.answer("beside them", deadline=20).attempts == 1
        finally:
            for stream in streams:
                stream.close()
