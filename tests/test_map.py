"""Many prompts at once: what becomes of each of them, and how a run ends."""

from __future__ import annotations

import asyncio
import gc
import os
import pickle
import signal
import subprocess
import sys
import textwrap
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from servers import PATIENCE, Peer, always, reply, reply_body, silent

from responder import (
    Answer,
    AuthenticationError,
    BadRequestError,
    Batch,
    BatchError,
    BlockedError,
    CancelledError,
    CancelToken,
    ConfigurationError,
    DeadlineExceededError,
    EmptyAnswerError,
    GeminiResponder,
    InternalServerError,
    OpenAIResponder,
    QuotaExceededError,
    Responder,
    Result,
    Usage,
    parallel_map,
)
from responder.simulator import Fault, Simulator


@pytest.fixture
def gpt(simulator: Simulator) -> Iterator[OpenAIResponder]:
    """A responder of the simulator, without repeats."""
    with OpenAIResponder(
        "m", api_key="test-key", base_url=simulator.base_url("openai"), max_retries=0, timeout=30.0
    ) as responder:
        yield responder


WAYS: list[Callable[..., Any]] = [OpenAIResponder.map, OpenAIResponder.imap, OpenAIResponder.imap_unordered]
LAZY = WAYS[1:]


# --- Results ----------------------------------------------------------------------------------------------------------


@pytest.mark.pain(7)
@pytest.mark.parametrize("way", WAYS)
def test_each_prompt_gets_its_own_answer_in_order(simulator: Simulator, gpt: OpenAIResponder, way: Callable[..., Any]) -> None:
    """With failures here and there, each result belongs to its prompt."""
    prompts = [f"prompt <{number}>" for number in range(120)]
    for number in range(0, 120, 7):
        simulator.script_for(f"<{number}>", Fault.status(400))
    results = list(way(gpt, prompts, max_workers=24))
    if way is OpenAIResponder.imap_unordered:
        results.sort(key=lambda result: result.index)
    assert [result.index for result in results] == list(range(120))
    assert [result.prompt for result in results] == prompts
    for result in results:
        if result.index % 7:
            assert result.ok
            assert f"<{result.index}>" in result.answer.text
        else:
            assert isinstance(result.error, BadRequestError)
            assert result.answer is None


def test_calls_run_at_once(simulator: Simulator, gpt: OpenAIResponder) -> None:
    """The server answers only when all of them are inside."""
    hold = simulator.hold(48)
    assert gpt.map(["Hi"] * 48, max_workers=48).ok
    assert hold.wait(0)
    assert simulator.most_in_flight == 48


def test_no_more_calls_run_at_once_than_there_are_workers(simulator: Simulator, gpt: OpenAIResponder) -> None:
    """`max_workers` is a ceiling."""
    assert gpt.map(["Hi"] * 60, max_workers=5).ok
    assert simulator.most_in_flight <= 5


def test_a_result_says_what_happened(simulator: Simulator, gpt: OpenAIResponder) -> None:
    """Attempts, times and the answer itself."""
    simulator.script(Fault.status(500, retry_after_ms=20))
    with OpenAIResponder("m", api_key="k", base_url=gpt.base_url, max_retries=2) as patient:
        result = patient.map(["Hi"])[0]
    assert isinstance(result, Result)
    assert isinstance(result.answer, Answer)
    assert (result.attempts, result.answer.attempts) == (2, 2)
    assert 0 < result.waited <= result.elapsed
    assert result.unwrap() is result.answer
    assert pickle.loads(pickle.dumps(result)) == result


@pytest.mark.pain(6)
def test_a_batch_sums_up(simulator: Simulator, gpt: OpenAIResponder) -> None:
    """Counts, tokens, kinds of errors and times; `print(batch.summary())` reads well."""
    simulator.script_for("bad", Fault.status(400))
    simulator.script_for("long", Fault.truncated())
    batch = gpt.map(["one", "bad", "long"])
    summary = batch.summary()
    assert (summary.items, summary.ok, summary.failed, summary.truncated) == (3, 2, 1, 1)
    assert summary.errors == {"BadRequestError": 1}
    assert summary.attempts == 3
    assert summary.usage == batch.usage
    assert batch.usage.known
    assert batch.usage.output_tokens == sum(r.answer.usage.output_tokens for r in batch if r.ok)
    assert 0 < summary.p50 <= summary.p95 <= summary.p99
    text = str(summary)
    assert "1 BadRequestError" in text
    assert "1 answers were cut" in text


def test_a_batch_is_a_sequence(gpt: OpenAIResponder) -> None:
    """Length, index, slice, `in`, pickle."""
    batch = gpt.map(["a", "b", "c"])
    assert isinstance(batch, Batch)
    assert len(batch) == 3
    assert [result.index for result in batch[1:]] == [1, 2]
    assert batch[-1].index == 2
    assert batch[0] in batch
    assert batch.ok
    assert len(batch.texts()) == len(batch.answers()) == 3
    assert list(pickle.loads(pickle.dumps(batch))) == list(batch)
    assert "3 results, 0 failed" in repr(batch)


def test_an_empty_batch_is_no_special_case(gpt: OpenAIResponder) -> None:
    """No prompts: no answers, no tokens, no division by zero."""
    batch = gpt.map([])
    assert batch.answers() == []
    assert batch.usage == Usage()
    assert "0 prompts" in str(batch.summary())


@pytest.mark.pain(5)
def test_asking_for_all_answers_raises_with_everything_that_is_finished(simulator: Simulator, gpt: OpenAIResponder) -> None:
    """The error holds all results, and travels between processes."""
    simulator.script_for("bad", Fault.status(400))
    batch = gpt.map(["one", "bad", "two"])
    with pytest.raises(BatchError) as caught:
        batch.answers()
    assert [result.ok for result in caught.value.results] == [True, False, True]
    copy = pickle.loads(pickle.dumps(caught.value))
    assert [result.ok for result in copy.results] == [True, False, True]
    with pytest.raises(BatchError):
        batch.texts()


@pytest.mark.pain(5)
@pytest.mark.parametrize("bad", [None, [], 5, {"role": "user"}, [{"role": "nobody", "content": "x"}], [5], object(), b"bytes"])
def test_a_prompt_that_is_none_fails_alone(gpt: OpenAIResponder, bad: Any) -> None:
    """A hole in the data is one item's error: nothing was sent for it, and the others are answered."""
    batch = gpt.map(["one", bad, "two"])
    assert [result.ok for result in batch] == [True, False, True]
    assert isinstance(batch[1].error, ConfigurationError)
    assert batch[1].attempts == 0
    assert not batch[1].error.fatal


@pytest.mark.parametrize("odd", [{"role": "assistant", "tool_calls": [5]}, {"role": "assistant", "tool_calls": [{}]},
                                 {"role": "user", "content": [{"type": "image_url", "image_url": {"url": 5}}]},
                                 {"role": "user", "content": "x", "tool_calls": 7}])  # fmt: skip
def test_a_malformed_message_is_a_configuration_error(gpt: OpenAIResponder, odd: Any) -> None:
    """Whatever is wrong inside, `answer` says that this prompt cannot be sent."""
    with pytest.raises(ConfigurationError):
        gpt.answer([odd])


# --- Errors that end a run --------------------------------------------------------------------------------------------


FATAL = [
    (Fault.status(401), AuthenticationError),
    (Fault.insufficient_quota(), QuotaExceededError),
    (Fault.daily_quota(), QuotaExceededError),
]


@pytest.mark.pain(10)
@pytest.mark.parametrize(("fault", "error"), FATAL)
@pytest.mark.parametrize("workers", [1, 4])
def test_an_error_that_no_prompt_survives_stops_the_run(
    simulator: Simulator, gpt: OpenAIResponder, fault: Fault, error: type[Exception], workers: int
) -> None:
    """A wrong key or an empty account: the server sees a handful of requests, and every prompt has its result."""
    simulator.always(fault)
    batch = gpt.map([f"prompt {number}" for number in range(200)], max_workers=workers)
    assert [result.index for result in batch] == list(range(200))
    assert not any(result.ok for result in batch)
    assert any(isinstance(result.error, error) for result in batch)
    assert all(isinstance(result.error, (error, CancelledError)) for result in batch)
    assert len(simulator.received) <= 2 * workers
    unsent = [result for result in batch if result.attempts == 0]
    assert len(unsent) >= 190
    assert all("stopped by item" in str(result.error) for result in unsent)


@pytest.mark.pain(10)
def test_what_is_finished_is_kept_when_a_run_stops(simulator: Simulator, gpt: OpenAIResponder) -> None:
    """Answers that were paid for before the money ran out are in the batch."""
    simulator.script_for("prompt 5", Fault.insufficient_quota())
    batch = gpt.map([f"prompt {number}" for number in range(10)], max_workers=1)
    assert [result.ok for result in batch] == [True] * 5 + [False] * 5


@pytest.mark.acceptance(8)
@pytest.mark.pain(18)
@pytest.mark.pain(19)
@pytest.mark.parametrize("kind", [OpenAIResponder, GeminiResponder])
def test_what_is_no_whole_answer_is_told_apart(simulator: Simulator, kind: type[Responder]) -> None:
    """Cut, blocked, empty, and an error that comes as a success: four things, and none of them is an empty text."""
    faults = {
        "<cut>": Fault.truncated(),
        "<blocked>": Fault.blocked_prompt(),
        "<empty>": Fault.null_content(),
        "<error>": Fault.error_in_200(),
    }
    for text, fault in faults.items():
        simulator.script_for(text, fault)
    with kind("m", api_key="k", base_url=simulator.base_url(kind.provider), max_retries=0) as responder:
        batch = responder.map([*faults, "fine"])
    cut, blocked, empty, error, fine = batch
    assert cut.unwrap().truncated
    assert cut.unwrap().text
    assert isinstance(blocked.error, BlockedError)
    assert isinstance(empty.error, EmptyAnswerError)
    assert isinstance(error.error, InternalServerError)
    assert fine.unwrap().finish_reason == "stop"
    assert [result.answer for result in (blocked, empty, error)] == [None] * 3
    assert batch.summary().truncated == 1


@pytest.mark.pain(5)
def test_a_wrong_option_is_refused_before_anything_is_sent(simulator: Simulator, gpt: OpenAIResponder) -> None:
    """Once, and not by every item."""
    for keywords in ({"temprature": 1}, {"max_tokens": 0}, {"timeout": 0}, {"deadline": "soon"}, {"max_workers": 0}):
        with pytest.raises(ConfigurationError):
            gpt.map(["Hi"] * 5, **keywords)
    assert simulator.received == []


@pytest.mark.pain(5)
def test_raise_ends_the_run_at_the_first_failure(simulator: Simulator, gpt: OpenAIResponder) -> None:
    """The provider's error comes out, with what is finished as its `batch`."""
    simulator.script_for("prompt 3", Fault.status(400))
    with pytest.raises(BadRequestError) as caught:
        gpt.map([f"prompt {number}" for number in range(100)], max_workers=1, on_error="raise")
    assert {result.index for result in caught.value.batch if result.ok} == {0, 1, 2}
    assert len(simulator.received) <= 6
    copy = pickle.loads(pickle.dumps(caught.value))
    assert not hasattr(copy, "batch")


@pytest.mark.pain(5)
def test_stop_sends_nothing_after_the_first_failure(simulator: Simulator, gpt: OpenAIResponder) -> None:
    """What there is comes back; the rest says why it was not sent."""
    simulator.script_for("prompt 3", Fault.status(400))
    batch = gpt.map([f"prompt {number}" for number in range(100)], max_workers=1, on_error="stop")
    assert len(simulator.received) <= 5
    assert [result.ok for result in batch[:3]] == [True] * 3
    assert len(batch) == 100


def test_max_errors_ends_a_run_that_goes_wrong(simulator: Simulator, gpt: OpenAIResponder) -> None:
    """A server that is down need not be asked ten thousand times."""
    simulator.always(Fault.status(500))
    batch = gpt.map(["Hi"] * 500, max_workers=2, max_errors=5)
    assert len(batch) == 500
    assert 5 <= len(simulator.received) <= 5 + 2 * 8 + 2  # what was pulled before the fifth failure is known
    assert sum(isinstance(result.error, InternalServerError) for result in batch) >= 5


# --- Time -------------------------------------------------------------------------------------------------------------


@pytest.mark.acceptance(3)
@pytest.mark.pain(1)
@pytest.mark.pain(2)
def test_a_prompt_that_hangs_fails_at_its_deadline_and_the_others_are_answered(
    simulator: Simulator, gpt: OpenAIResponder
) -> None:
    """The deadline is each item's own."""
    simulator.script_for("hang", Fault.silence())
    begin = time.monotonic()
    batch = gpt.map(["hang", *["Hi"] * 20], max_workers=2, deadline=3.0)
    assert time.monotonic() - begin < 30
    assert isinstance(batch[0].error, DeadlineExceededError)
    assert all(result.ok for result in batch[1:])


@pytest.mark.pain(1)
@pytest.mark.pain(2)
@pytest.mark.parametrize("way", WAYS)
def test_a_run_ends_at_its_deadline_with_what_is_finished(
    simulator: Simulator, gpt: OpenAIResponder, way: Callable[..., Any]
) -> None:
    """`run_deadline` bounds the whole; the server sees the clients leave."""
    simulator.script_for("hang", Fault.silence(times=100))
    begin = time.monotonic()
    results = list(way(gpt, ["Hi", *["hang"] * 50], max_workers=4, run_deadline=3.0))
    assert time.monotonic() - begin < 30
    by_index = {result.index: result for result in results}
    assert by_index[0].ok
    hung = [result for result in results if result.index]
    assert hung
    assert all(isinstance(result.error, (DeadlineExceededError, CancelledError)) for result in hung)
    assert simulator.wait_until_idle()
    if way is OpenAIResponder.map:
        assert len(results) == 51


@pytest.mark.pain(3)
def test_a_cancel_ends_the_calls_in_flight(simulator: Simulator, gpt: OpenAIResponder) -> None:
    """Another thread cancels: the map returns, every prompt has its result, and the server sees the clients leave."""
    simulator.always(Fault.silence())
    token = CancelToken()

    def cancel() -> None:
        simulator.wait_for(4)
        token.cancel("the user went away")

    thread = threading.Thread(target=cancel)
    thread.start()
    begin = time.monotonic()
    batch = gpt.map(["Hi"] * 20, max_workers=4, cancel=token)
    assert time.monotonic() - begin < 15
    thread.join(PATIENCE)
    assert len(batch) == 20
    assert all(isinstance(result.error, CancelledError) for result in batch)
    assert sum(result.attempts for result in batch) == 4
    assert simulator.wait_until_idle()
    assert not token._callbacks


@pytest.mark.pain(3)
@pytest.mark.parametrize("way", LAZY)
@pytest.mark.parametrize("leave", ["break", "close", "with", "exception", "drop"])
def test_leaving_the_loop_ends_the_calls_in_flight(
    simulator: Simulator, gpt: OpenAIResponder, way: Callable[..., Any], leave: str
) -> None:
    """However the loop is left, nobody goes on paying for answers that nobody reads."""
    simulator.script_for("hang", Fault.silence(times=1000))
    run = way(gpt, ["Hi", *["hang"] * 100], max_workers=4)
    assert next(run).ok
    assert simulator.wait_for(4)
    if leave == "break":
        for _ in way(gpt, ["Hi", "Hi"], max_workers=4):
            break
        run.close()
    elif leave == "close":
        run.close()
    elif leave == "with":
        with run:
            pass
    elif leave == "exception":
        with pytest.raises(KeyError), run:
            raise KeyError
    del run
    assert simulator.wait_until_idle()
    assert len(simulator.received) <= 10


def test_breaking_out_of_a_for_loop_is_enough(simulator: Simulator, gpt: OpenAIResponder) -> None:
    """No `close` is needed: dropping the iterator ends the run."""
    simulator.script_for("hang", Fault.silence(times=1000))
    for result in gpt.imap(["Hi", *["hang"] * 100], max_workers=4):
        assert result.ok
        break
    assert simulator.wait_until_idle()


@pytest.mark.pain(9)
def test_waits_between_attempts_end_with_a_cancel(simulator: Simulator, gpt: OpenAIResponder) -> None:
    """A retry that sleeps for a minute is woken."""
    simulator.always(Fault.status(429, retry_after=60))
    with OpenAIResponder("m", api_key="k", base_url=gpt.base_url, max_retries=3) as patient:
        token = CancelToken()

        def cancel() -> None:
            simulator.wait_for(1)
            simulator.wait_until_idle()
            token.cancel()

        thread = threading.Thread(target=cancel)
        thread.start()
        begin = time.monotonic()
        batch = patient.map(["Hi"] * 2, max_workers=2, cancel=token)
        assert time.monotonic() - begin < 40
        thread.join(PATIENCE)
    assert all(isinstance(result.error, CancelledError) for result in batch)


# --- Input ------------------------------------------------------------------------------------------------------------


@pytest.mark.acceptance(1)
@pytest.mark.pain(12)
@pytest.mark.parametrize(("way", "factor"), [(OpenAIResponder.imap, 8), (OpenAIResponder.imap_unordered, 2)])
def test_an_endless_generator_is_pulled_a_window_ahead(gpt: OpenAIResponder, way: Callable[..., Any], factor: int) -> None:
    """Memory does not grow with the input, and the provider is not asked ahead of a slow reader."""
    pulled, threads = [0], set()

    def endless() -> Iterator[str]:
        while True:
            pulled[0] += 1
            threads.add(threading.get_ident())
            yield f"prompt {pulled[0]}"

    with way(gpt, endless(), max_workers=3) as run:
        for taken, result in enumerate(run, start=1):
            assert result.ok
            assert pulled[0] <= taken + 3 * factor
            if taken == 100:
                break
    assert threads == {threading.get_ident()}


@pytest.mark.pain(12)
def test_prompts_answers_and_errors_are_let_go_once_their_result_is(simulator: Simulator, gpt: OpenAIResponder) -> None:
    """Nothing of what was handed out stays behind, failed items included."""

    class Prompt(str):
        pass

    seen: list[weakref.ref[Any]] = []

    def prompts() -> Iterator[str]:
        for number in range(60):
            prompt = Prompt(f"prompt {number}")
            seen.append(weakref.ref(prompt))
            yield prompt

    simulator.always(Fault.status(400))
    gc.collect()
    gc.disable()
    try:
        for result in gpt.imap(prompts(), max_workers=2):
            seen.append(weakref.ref(result.error))
            del result
        assert not [thing for thing in seen if thing() is not None]
    finally:
        gc.enable()


@pytest.mark.pain(12)
def test_a_batch_with_failures_is_freed_with_its_last_name(simulator: Simulator) -> None:
    """An error and the frames that it came through must not keep each other alive, and with them the responder's connections."""
    simulator.always(Fault.status(400))
    gpt = OpenAIResponder("m", api_key="k", base_url=simulator.base_url("openai"), max_retries=0)
    gc.collect()
    gc.disable()
    try:
        batch, others = gpt.map(["one", "two"]), parallel_map(gpt.answer, ["three"])
        seen = [weakref.ref(thing) for thing in (gpt._access.transport, batch[0].error, others[0].error)]
        del batch, others, gpt
        assert not [thing for thing in seen if thing() is not None]
    finally:
        gc.enable()


def test_a_text_in_place_of_a_list_is_refused(simulator: Simulator, gpt: OpenAIResponder) -> None:
    """It would be asked letter by letter."""
    with pytest.raises(ConfigurationError, match="list"):
        gpt.map("What is baseball?")
    assert simulator.received == []


@pytest.mark.pain(5)
def test_an_exception_of_the_input_keeps_what_was_paid_for(gpt: OpenAIResponder) -> None:
    """The generator's own error comes out, with the finished answers as its `batch`."""

    def prompts() -> Iterator[str]:
        for number in range(40):
            yield f"prompt {number}"
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="disk") as caught:
        gpt.map(prompts(), max_workers=2)
    assert sum(result.ok for result in caught.value.batch) >= 30  # type: ignore[attr-defined]  # the run that it ended put it there


def test_options_of_the_call_go_to_every_prompt(simulator: Simulator, gpt: OpenAIResponder) -> None:
    """What `answer` takes, `map` takes."""
    gpt.map(["a", "b"], temperature=0.5, extra={"user": "me"})
    assert [(r.body["temperature"], r.body["user"]) for r in simulator.received] == [(0.5, "me")] * 2


# --- Surroundings -----------------------------------------------------------------------------------------------------


@pytest.mark.acceptance(13)
@pytest.mark.pain(14)
def test_calls_and_maps_work_inside_a_running_event_loop(gpt: OpenAIResponder) -> None:
    """As in a notebook, whose kernel runs one."""

    async def main() -> int:
        return len([gpt.answer("Hi"), *gpt.map(["a", "b"]).answers(), *(r.unwrap() for r in gpt.imap(["a"]))])

    assert asyncio.run(main()) == 4


def test_maps_may_be_nested(gpt: OpenAIResponder) -> None:
    """A map inside `on_result` of another one, and inside the loop over it."""
    inner: list[int] = []
    gpt.map(["a", "b"], on_result=lambda result: inner.append(len(gpt.map(["x", "y"]).answers())))
    for result in gpt.imap(["a", "b"]):
        inner.append(len(gpt.map([result.unwrap().text]).answers()))
    assert inner == [2, 2, 1, 1]


def test_one_token_may_end_several_maps(simulator: Simulator, gpt: OpenAIResponder) -> None:
    """A user's cancel reaches everything that was given the token."""
    simulator.always(Fault.silence())
    token = CancelToken()
    batches: list[Batch] = []
    threads = [
        threading.Thread(target=lambda: batches.append(gpt.map(["Hi"] * 3, max_workers=3, cancel=token))) for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    assert simulator.wait_for(9)
    token.cancel()
    for thread in threads:
        thread.join(PATIENCE)
    assert [len(batch.failures()) for batch in batches] == [3, 3, 3]


@pytest.mark.pain(3)
def test_an_abandoned_call_over_a_session_of_the_users_own_holds_no_run(serve: Any, responder_for: Any) -> None:
    """The run is over at its deadline even where the session cannot be interrupted."""
    import requests

    with requests.Session() as session:
        responder = responder_for(serve(silent), session=session)
        begin = time.monotonic()
        batch = responder.map(["Hi"] * 3, run_deadline=0.5)
        assert time.monotonic() - begin < 15
    assert len(batch.failures()) == 3


# --- Ctrl-C and the end of the process --------------------------------------------------------------------------------

INTERRUPTED = """
    import signal, sys
    from responder import OpenAIResponder

    signal.signal(signal.SIGINT, signal.default_int_handler)
    gpt = OpenAIResponder("m", api_key="k", base_url=sys.argv[1] + "/v1", max_retries=0)
    prompts = ["fine"] * 4 + ["hang"] * 50
    try:
        if sys.argv[2] == "map":
            gpt.map(prompts, max_workers=6)
        elif sys.argv[2] == "answer":
            gpt.answer("hang")
        else:
            for result in gpt.imap(prompts, max_workers=6):
                pass
    except KeyboardInterrupt as error:
        batch = getattr(error, "batch", None)
        print("interrupted", batch and sum(result.ok for result in batch), flush=True)
"""


def fine_or_hang(peer: Peer) -> None:
    while (request := peer.receive()) is not None:
        if request.prompt != "fine":
            peer.wait_until_left()
            return
        peer.send(reply(reply_body("fine")))


@pytest.mark.acceptance(7)
@pytest.mark.pain(4)
@pytest.mark.skipif(sys.platform == "win32", reason="signals")
@pytest.mark.parametrize(("way", "requests", "kept"), [("map", 10, "4"), ("imap", 10, "None"), ("answer", 1, "None")])
def test_ctrl_c_ends_a_run_at_once_and_keeps_what_is_finished(serve: Any, way: str, requests: int, kept: str) -> None:
    """The first Ctrl-C is enough though all workers hang; the process ends, and the answers so far are attached."""
    server = serve(fine_or_hang)
    process = subprocess.Popen(
        [sys.executable, "-X", "dev", "-W", "error", "-c", textwrap.dedent(INTERRUPTED), server.url, way],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ.copy(),
    )
    with process:
        try:
            server.wait_for(requests)
            process.send_signal(signal.SIGINT)
            out, errors = process.communicate(timeout=PATIENCE)
        finally:
            process.kill()
    assert (out.strip(), process.returncode) == (f"interrupted {kept}", 0), errors
    assert errors == ""


LEFT = """
    import sys, threading
    from responder import OpenAIResponder

    gpt = OpenAIResponder("m", api_key="k", base_url=sys.argv[1] + "/v1", max_retries=0)
    run = gpt.imap(["fine"] + ["hang"] * 50, max_workers=6)
    print(next(run).ok, flush=True)
    sys.stdin.readline()
    if sys.argv[2] == "raise":
        raise KeyError("a mistake of the user's")
"""


@pytest.mark.acceptance(3)
@pytest.mark.pain(3)
@pytest.mark.parametrize("way", ["end", "raise"])
def test_the_process_ends_though_a_server_is_silent(serve: Any, way: str) -> None:
    """A run that nobody closed, with six calls in flight that would take ten minutes, does not hold the exit up."""
    server = serve(fine_or_hang)
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(LEFT), server.url, way],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ.copy(),
    )
    with process:
        try:
            server.wait_for(7)
            out, errors = process.communicate("go\n", timeout=PATIENCE)
        finally:
            process.kill()
    assert out.strip() == "True"
    assert process.returncode == (1 if way == "raise" else 0), errors
    assert errors == "" or way == "raise"


def test_a_server_that_answers_everything_is_asked_once_for_each_prompt(serve: Any, responder_for: Any) -> None:
    """No prompt is paid for twice."""
    server = serve(always())
    responder_for(server, max_retries=4).map([f"prompt {number}" for number in range(300)], max_workers=16)
    assert sorted(request.prompt for request in server.requests) == sorted(f"prompt {number}" for number in range(300))
