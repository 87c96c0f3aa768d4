"""Many streams side by side: all their events, in order and fairly, and how they end together."""

from __future__ import annotations

import gc
import itertools
import subprocess
import sys
import textwrap
import threading
import time
import weakref
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from servers import PATIENCE, Handler, Peer, Server
from test_stream import NOTICED, OK, WHOLE, Chunked, begun, event, our_threads

from responder import (
    AnthropicResponder,
    BadRequestError,
    CancelledError,
    CancelToken,
    ConfigurationError,
    GeminiResponder,
    MergedStreams,
    OllamaResponder,
    OpenAIResponder,
    StreamEvent,
    StreamInterruptedError,
    Timeout,
    Usage,
    merge_streams,
)
from responder.simulator import Simulator

END = WHOLE[len(event("Hel") + event("lo.")) :]


def piece(text: str) -> bytes:
    """Return a piece as a chunk of a body that has begun."""
    return Chunked().piece(event(text))


def last() -> bytes:
    """Return what ends a body that has begun."""
    return Chunked().piece(END) + Chunked().end()


def by_prompt(**handlers: Callable[[Peer], object]) -> Handler:
    """Give each request to the handler that is named as its prompt."""

    def handler(peer: Peer) -> None:
        while (request := peer.receive()) is not None:
            if handlers[request.prompt](peer) is False:
                return

    return handler


def says(*pieces: str) -> Callable[[Peer], object]:
    return lambda peer: peer.send(begun(*map(event, pieces)) + last())


def says_and_waits(*pieces: str) -> Callable[[Peer], object]:
    """Say something, and then nothing until the client leaves."""

    def handler(peer: Peer) -> bool:
        peer.send(begun(*map(event, pieces)))
        peer.wait_until_left()
        return False

    return handler


def echo(peer: Peer) -> None:
    """Stream each prompt back, letter by letter."""
    while (request := peer.receive()) is not None:
        peer.send(begun(*map(event, request.prompt)) + last())


def echo_and_wait(peer: Peer) -> None:
    """Stream each prompt back, and do not end."""
    request = peer.receive()
    if request is not None:
        says_and_waits(request.prompt)(peer)


def texts_of(events: Iterable[StreamEvent]) -> dict[int, str]:
    """Return the joined pieces of each stream."""
    found: dict[int, str] = defaultdict(str)
    for one in events:
        found[one.index] += one.piece
    return dict(found)


@pytest.fixture
def no_thread_left() -> Iterator[None]:
    """After the test, wait for the threads that read streams to end."""
    before = our_threads()
    yield
    ends = time.monotonic() + PATIENCE
    for thread in our_threads() - before:
        thread.join(max(0.0, ends - time.monotonic()))
    assert our_threads() <= before


pytestmark = pytest.mark.usefixtures("no_thread_left")


# --- Events -----------------------------------------------------------------------------------------------------------


def test_all_pieces_of_all_streams_arrive_each_stream_in_its_own_order(
    serve: Callable[..., Server], responder_for: Callable[..., OpenAIResponder]
) -> None:
    """And the last event of each says that it is done, with its answer."""
    prompts = [f"prompt {number} " * 5 for number in range(40)]
    events = list(responder_for(serve(echo)).stream_map(prompts))
    assert texts_of(events) == dict(enumerate(prompts))
    done = [one for one in events if one.done]
    assert sorted(one.index for one in done) == list(range(40))
    for one in done:
        assert (one.piece, one.error) == ("", None)
        assert one.answer is not None
        assert (one.answer.text, one.answer.usage) == (prompts[one.index], Usage(3, 2, known=True))
    seen: set[int] = set()
    for one in events:
        assert one.index not in seen
        assert one.done or (one.piece and one.answer is None and one.error is None)
        if one.done:
            seen.add(one.index)


def test_events_come_while_the_streams_still_run(
    serve: Callable[..., Server], responder_for: Callable[..., OpenAIResponder]
) -> None:
    """Of each the first piece, before any of them goes on."""

    def handler(peer: Peer) -> bool:
        peer.send(begun(event("first")))
        peer.server.released.wait(PATIENCE)
        peer.send(piece("second") + last())
        return True

    server = serve(by_prompt(a=handler, b=handler, c=handler))
    merged = responder_for(server).stream_map(["a", "b", "c"])
    assert {(one.index, one.piece) for one in itertools.islice(merged, 3)} == {(0, "first"), (1, "first"), (2, "first")}
    server.released.set()
    assert texts_of(merged) == {0: "second", 1: "second", 2: "second"}


def test_a_stream_that_fails_is_an_event_of_its_own_and_harms_no_other(
    serve: Callable[..., Server], responder_for: Callable[..., OpenAIResponder]
) -> None:
    """Refused, interrupted, or not even sendable: the others go on to their ends."""
    refusal = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 2\r\n\r\n{}"
    server = serve(
        by_prompt(
            good=says("all ", "is ", "well"),
            bad=lambda peer: peer.send(refusal),
            cut=lambda peer: peer.send(begun(event("half")) + Chunked().end()),
        )
    )
    unsendable: Any = [{"role": "nobody", "content": object()}]
    events = list(responder_for(server).stream_map(["good", "bad", "cut", unsendable, "good"]))
    ends = {one.index: one for one in events if one.done}
    assert texts_of(events) == {0: "all is well", 1: "", 2: "half", 3: "", 4: "all is well"}
    assert isinstance(ends[1].error, BadRequestError)
    assert isinstance(ends[2].error, StreamInterruptedError)
    assert ends[2].error.text == "half"
    assert isinstance(ends[3].error, ConfigurationError)
    assert ends[0].error is ends[4].error is None
    assert ends[1].answer is ends[2].answer is None


class Scripted:
    """Stands for a stream: says its pieces, tells when all of them have been taken over, and then waits for its end."""

    answer = None

    def __init__(self, pieces: list[str]) -> None:
        self.pieces = iter(pieces)
        self.has_said_all = threading.Event()
        self.ended = threading.Event()

    def __iter__(self) -> Iterator[str]:
        yield from self.pieces
        self.has_said_all.set()
        self.ended.wait(PATIENCE)

    def cancel(self, _reason: str = "") -> None:
        self.ended.set()

    def close(self) -> None:
        """End."""


def test_a_fast_stream_cannot_starve_a_slow_one() -> None:
    """However many the fast one has waiting, each of the slow one's events comes in its turn."""
    fast, slow = Scripted(["f"] * 900), Scripted(["s"] * 5)
    streams: Any = [fast, slow]
    with merge_streams(streams) as merged:
        seen = [next(merged).piece]
        assert fast.has_said_all.wait(PATIENCE)
        assert slow.has_said_all.wait(PATIENCE)
        seen += [next(merged).piece for _ in range(12)]
        rest = [next(merged).piece for _ in range(905 - 13)]
    assert seen.count("s") == 5
    assert rest == ["f"] * len(rest)


def test_a_reader_pauses_while_nobody_takes_what_it_has(
    serve: Callable[..., Server], responder_for: Callable[..., OpenAIResponder]
) -> None:
    """An endless stream and a consumer that has stopped: the provider feels it, and memory stays bounded."""
    sent = 0
    stalled = threading.Event()
    block = b"".join(piece("x" * 100) for _ in range(50))

    def endless(peer: Peer) -> bool:
        nonlocal sent
        peer.send(begun())
        peer.sock.settimeout(1.5)
        while not peer.server.stopping.is_set():
            try:
                peer.sock.sendall(block)
            except TimeoutError:
                stalled.set()
                break
            except OSError:
                return False
            sent += 50
        peer.sock.settimeout(None)
        peer.wait_until_left()
        return False

    server = serve(by_prompt(endless=endless))
    merged = responder_for(server).stream_map(["endless"])
    assert next(merged).piece == "x" * 100
    assert stalled.wait(PATIENCE)
    assert len(list(itertools.islice(merged, 3000))) == 3000
    merged.close()
    server.left.get(timeout=NOTICED)
    # What the sockets hold, what one read takes, and the backlog; far from endless.
    assert sent < 500_000


def test_a_consumer_that_was_slow_gets_everything_all_the_same(
    serve: Callable[..., Server], responder_for: Callable[..., OpenAIResponder]
) -> None:
    """Several times as many events as may wait; the pauses of the reader lose none."""
    numbers = [f"{number} " for number in range(5000)]
    merged = responder_for(serve(by_prompt(long=says(*numbers)))).stream_map(["long"])
    first = next(merged)
    assert first.piece + "".join(one.piece for one in merged) == "".join(numbers)


def test_providers_mix(simulator: Simulator) -> None:
    """The index is the place in the list."""
    kinds: list[tuple[type[Any], str]] = [
        (OpenAIResponder, "openai"),
        (AnthropicResponder, "anthropic"),
        (GeminiResponder, "gemini"),
        (OllamaResponder, "ollama"),
    ]
    responders = [kind("m", api_key="test-key", base_url=simulator.base_url(name), timeout=30.0) for kind, name in kinds]
    events = list(merge_streams([responder.stream("Why?") for responder in responders]))
    ends = {one.index: one.answer for one in events if one.done}
    assert [ends[index].provider for index in range(4)] == [name for _, name in kinds]  # type: ignore[union-attr]  # each stream has ended
    assert texts_of(events) == {index: answer.text for index, answer in ends.items()}  # type: ignore[union-attr]  # each stream has ended
    for responder in responders:
        responder.close()


def test_no_more_streams_run_at_once_than_there_are_workers(simulator: Simulator) -> None:
    """And all get their turn."""
    with OpenAIResponder("m", api_key="test-key", base_url=simulator.base_url("openai"), timeout=30.0) as gpt:
        merged = gpt.stream_map([f"prompt {number}" for number in range(20)], max_workers=3)
        assert sum(one.done for one in merged) == 20
    assert simulator.most_in_flight <= 3


def test_all_streams_run_at_once_where_there_are_workers_for_them(
    serve: Callable[..., Server], responder_for: Callable[..., OpenAIResponder]
) -> None:
    """Proved by a barrier: no one gets a piece before sixty are inside."""
    barrier = threading.Barrier(60)

    def together(peer: Peer) -> bool:
        barrier.wait(PATIENCE)
        return says("in")(peer) is None

    merged = responder_for(serve(by_prompt(a=together))).stream_map(["a"] * 60, max_workers=60)
    assert texts_of(merged) == dict.fromkeys(range(60), "in")


def test_endless_prompts_are_pulled_as_streams_finish(
    serve: Callable[..., Server], responder_for: Callable[..., OpenAIResponder]
) -> None:
    """No further ahead than there are workers."""
    pulled = itertools.count()
    merged = responder_for(serve(echo)).stream_map((f"{next(pulled)}" for _ in itertools.repeat(None)), max_workers=4)
    ended = 0
    for one in merged:
        ended += one.done
        if ended == 50:
            break
    assert next(pulled) <= 50 + 4
    merged.close()


def test_an_error_of_the_prompts_themselves_is_raised_after_the_streams_that_had_begun(
    serve: Callable[..., Server], responder_for: Callable[..., OpenAIResponder]
) -> None:
    """It is the caller's own, and costs nothing that was asked."""

    def prompts() -> Iterator[str]:
        yield from ("a", "b")
        raise ZeroDivisionError

    events: list[StreamEvent] = []
    snapshots: list[tuple[str, ...]] = []
    model = responder_for(serve(echo))
    with pytest.raises(ZeroDivisionError):
        events.extend(model.stream_map(prompts()))
    with pytest.raises(ZeroDivisionError):
        snapshots.extend(model.stream_map(prompts()).snapshots())
    assert sorted(event.index for event in events if event.answer is not None) == [0, 1]
    assert snapshots[-1] == tuple(texts_of(events)[index] for index in (0, 1))


@pytest.mark.parametrize("error", [StopIteration, StopAsyncIteration, KeyError])
def test_a_callable_that_raises_is_never_the_silent_end_of_a_stream(
    serve: Callable[..., Server], responder_for: Callable[..., OpenAIResponder], error: type[Exception]
) -> None:
    """A key comes from a function of the user's: its StopIteration is an error like any other."""

    def key() -> str:
        raise error

    (event,) = responder_for(serve(echo), api_key=key).stream_map(["a"])
    assert event.done
    assert event.error is not None


@pytest.mark.parametrize("workers", [0, -1, True, 1.5])
def test_an_invalid_number_of_workers_is_refused(responder_for: Callable[..., OpenAIResponder], workers: Any) -> None:
    """Before anything is sent."""
    with pytest.raises(ConfigurationError, match="max_workers"):
        responder_for("http://127.0.0.1:9").stream_map(["a"], max_workers=workers)


def test_wrong_arguments_are_told_at_once(responder_for: Callable[..., OpenAIResponder]) -> None:
    """One str is not several prompts, a wrong option is wrong for all, and nothing cannot be merged."""
    gpt = responder_for("http://127.0.0.1:9")
    with pytest.raises(ConfigurationError, match="list"):
        gpt.stream_map("one prompt")
    with pytest.raises(ConfigurationError):
        gpt.stream_map(["a"], temprature=1)
    with pytest.raises(ConfigurationError):
        merge_streams([])
    assert list(gpt.stream_map([])) == []


# --- Snapshots --------------------------------------------------------------------------------------------------------


def test_snapshots_are_tuples_of_all_texts_that_grow_to_the_whole_ones(
    serve: Callable[..., Server], responder_for: Callable[..., OpenAIResponder]
) -> None:
    """One place a prompt from the first tuple on; the last one has everything."""
    prompts = ["depth", "breadth", "structure", "time"]
    drawn = list(responder_for(serve(echo)).stream_map(prompts).snapshots())
    assert drawn[-1] == tuple(prompts)
    for one in drawn:
        assert isinstance(one, tuple)
        assert len(one) == 4
    for earlier, later in itertools.pairwise(drawn):
        assert all(after.startswith(before) for before, after in zip(earlier, later, strict=True))


def test_snapshots_are_far_fewer_than_events(serve: Callable[..., Server], responder_for: Callable[..., OpenAIResponder]) -> None:
    """What arrives together is drawn together."""
    numbers = [f"{number} " for number in range(3000)]
    drawn = list(responder_for(serve(by_prompt(long=says(*numbers)))).stream_map(["long"] * 2).snapshots(per_second=5))
    assert drawn[-1] == ("".join(numbers),) * 2
    assert len(drawn) < 300


def test_a_snapshot_shows_a_stream_that_has_said_nothing_yet(
    serve: Callable[..., Server], responder_for: Callable[..., OpenAIResponder]
) -> None:
    """As an empty text; a page does not wait for the slowest."""

    def later(peer: Peer) -> bool:
        peer.server.released.wait(PATIENCE)
        says("late")(peer)
        return True

    server = serve(by_prompt(now=says_and_waits("now"), later=later))
    with responder_for(server).stream_map(["now", "later"]) as merged:
        drawn = merged.snapshots()
        assert next(drawn) == ("now", "")
        server.released.set()
        assert next(one for one in drawn if one[1]) == ("now", "late")


def test_a_stream_that_fails_keeps_its_text_in_the_snapshots_and_tells_its_error(
    serve: Callable[..., Server], responder_for: Callable[..., OpenAIResponder]
) -> None:
    """Beside them, by its index."""
    server = serve(by_prompt(good=says("well"), cut=lambda peer: peer.send(begun(event("half")) + Chunked().end())))
    merged = responder_for(server).stream_map(["good", "cut"])
    assert merged.errors == {}
    assert list(merged.snapshots())[-1] == ("well", "half")
    assert list(merged.errors) == [1]
    assert isinstance(merged.errors[1], StreamInterruptedError)


def test_snapshots_of_prompts_without_a_length_grow_with_them(
    serve: Callable[..., Server], responder_for: Callable[..., OpenAIResponder]
) -> None:
    """Their number is known at the end."""
    drawn = list(responder_for(serve(echo)).stream_map(prompt for prompt in ["a", "b", "c"]).snapshots())
    assert drawn[-1] == ("a", "b", "c")
    assert [len(one) for one in drawn] == sorted(len(one) for one in drawn)


def test_leaving_the_snapshots_frees_all_connections(
    serve: Callable[..., Server], responder_for: Callable[..., OpenAIResponder]
) -> None:
    """As a page does that is closed."""
    server = serve(echo_and_wait)
    drawn = responder_for(server).stream_map(["a", "b", "c"]).snapshots()
    for one in drawn:
        if all(one):
            break
    drawn.close()  # type: ignore[attr-defined]  # a generator
    assert {server.left.get(timeout=NOTICED) for _ in range(3)} == {0, 1, 2}


# --- Ending it early --------------------------------------------------------------------------------------------------


def take_one_of_each(merged: MergedStreams, number: int) -> None:
    """Take events until each stream has said something."""
    seen: set[int] = set()
    while len(seen) < number:
        seen.add(next(merged).index)


def collect(dropped: weakref.ref[Any]) -> None:
    """Collect garbage until an object is gone; a collection that another thread has begun makes ours a vain one."""
    ends = time.monotonic() + NOTICED
    while dropped() is not None and time.monotonic() < ends:
        gc.collect()


@pytest.mark.parametrize("way", ["with", "close", "drop", "cycle", "drop with a token"])
def test_leaving_the_events_frees_all_connections(
    serve: Callable[..., Server], responder_for: Callable[..., OpenAIResponder], way: str
) -> None:
    """However they are left: the server sees every client go."""
    server = serve(echo_and_wait)
    token = CancelToken() if way == "drop with a token" else None
    merged = responder_for(server).stream_map(map(str, range(12)), cancel=token)
    if way == "with":
        with merged:
            take_one_of_each(merged, 12)
    else:
        take_one_of_each(merged, 12)
    if way == "close":
        merged.close()
        merged.close()
    elif way == "cycle":
        cycle: list[Any] = [merged]
        cycle.append(cycle)
        del cycle
    dropped = weakref.ref(merged)
    if way in ("drop", "drop with a token", "cycle"):
        del merged
        if way == "cycle":
            collect(dropped)
        assert dropped() is None
    assert {server.left.get(timeout=NOTICED) for _ in range(12)} == set(range(12))


def test_leaving_a_loop_by_break_frees_all_connections(
    serve: Callable[..., Server], responder_for: Callable[..., OpenAIResponder]
) -> None:
    """Without a name for the events, the loop is all that holds them."""
    server = serve(echo_and_wait)
    seen = set()
    for one in responder_for(server).stream_map(["a", "b", "c"]):
        seen.add(one.index)
        if len(seen) == 3:
            break
    assert {server.left.get(timeout=NOTICED) for _ in range(3)} == {0, 1, 2}


@pytest.mark.parametrize("way", ["cancel", "token"])
def test_a_cancel_from_another_thread_wakes_the_one_that_waits(
    serve: Callable[..., Server], responder_for: Callable[..., OpenAIResponder], way: str
) -> None:
    """By `cancel` the loop ends; by the caller's own token it raises, with its reason."""
    server = serve(echo_and_wait)
    token = CancelToken()
    merged = responder_for(server).stream_map(["a", "b"], cancel=token)
    take_one_of_each(merged, 2)
    canceller = threading.Thread(target=merged.cancel if way == "cancel" else token.cancel, args=("the user left",))
    canceller.start()
    if way == "cancel":
        assert list(merged) == []
    else:
        with pytest.raises(CancelledError, match="the user left"):
            next(merged)
    canceller.join(PATIENCE)
    assert {server.left.get(timeout=NOTICED) for _ in range(2)} == {0, 1}


def test_events_that_had_arrived_are_not_handed_out_after_a_cancel(
    serve: Callable[..., Server], responder_for: Callable[..., OpenAIResponder]
) -> None:
    """Hundreds may wait; who has cancelled wants none of them."""
    server = serve(by_prompt(a=says_and_waits(*"many events that nobody will see" * 20)))
    merged = responder_for(server).stream_map(["a"])
    next(merged)
    merged.cancel()
    assert list(merged) == []


def test_a_token_that_was_cancelled_before_sends_nothing(
    serve: Callable[..., Server], responder_for: Callable[..., OpenAIResponder]
) -> None:
    """The loop raises at once."""
    server = serve(echo)
    token = CancelToken()
    token.cancel("too late")
    with pytest.raises(CancelledError, match="too late"):
        next(responder_for(server).stream_map(["a", "b"], cancel=token))
    assert server.connections == 0


def test_a_stream_that_is_cancelled_alone_ends_alone(
    serve: Callable[..., Server], responder_for: Callable[..., OpenAIResponder]
) -> None:
    """Its last event says so; the others go on."""
    server = serve(by_prompt(a=says_and_waits("a"), b=says("b")))
    gpt = responder_for(server)
    streams = [gpt.stream("a"), gpt.stream("b")]
    ends = {}
    for one in merge_streams(streams):
        if one.piece == "a":
            streams[0].cancel("not this one")
        if one.done:
            ends[one.index] = one
    assert isinstance(ends[0].error, CancelledError)
    assert ends[1].answer is not None
    server.left.get(timeout=NOTICED)


def test_a_timeout_of_one_stream_is_its_own(serve: Callable[..., Server], responder_for: Callable[..., OpenAIResponder]) -> None:
    """The bound on the gap ends the silent one and not the other."""
    server = serve(by_prompt(a=says_and_waits("a"), b=says("b")))
    merged = responder_for(server).stream_map(["a", "b"], timeout=Timeout(gap=0.2))
    ends = {one.index: one for one in merged if one.done}
    assert "gap" in str(ends[0].error)
    assert ends[1].answer is not None


def test_streams_that_nobody_ended_do_not_hold_up_the_end_of_the_program(serve: Callable[..., Server]) -> None:
    """They are a global of a script, which ends; its threads would be waited for."""
    server = serve(echo_and_wait)
    script = textwrap.dedent(
        f"""
        from responder import OpenAIResponder
        gpt = OpenAIResponder("m", api_key="k", base_url={server.url + "/v1"!r})
        merged = gpt.stream_map(["a", "b", "c"])
        print(len({{next(merged).index for _ in range(3)}}))
        """
    )
    command = [sys.executable, "-W", "error", "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "3\n", "")
    assert {server.left.get(timeout=NOTICED) for _ in range(3)} == {0, 1, 2}


# --- Any streams at all -----------------------------------------------------------------------------------------------


@given(
    st.lists(st.tuples(st.lists(st.text("ab日", min_size=1, max_size=3), max_size=6), st.booleans()), min_size=1, max_size=8),
    st.integers(1, 4),
)
@settings(deadline=None, max_examples=40)
def test_merging_loses_and_reorders_nothing_whatever_the_streams_say(plans: list[tuple[list[str], bool]], workers: int) -> None:
    """Any pieces, some cut in the middle, with any number of workers."""

    def handler(peer: Peer) -> None:
        while (request := peer.receive()) is not None:
            pieces, is_whole = plans[int(request.prompt)]
            ending = last() if is_whole else Chunked().end()
            peer.send((OK + Chunked.head + "\r\n").encode() + b"".join(map(piece, pieces)) + ending)

    with Server(handler) as server, OpenAIResponder("m", api_key="k", base_url=server.url, max_retries=0) as gpt:
        events = list(gpt.stream_map(map(str, range(len(plans))), max_workers=workers))
    for index, (pieces, is_whole) in enumerate(plans):
        mine = [one for one in events if one.index == index]
        assert [one.piece for one in mine[:-1]] == pieces
        assert mine[-1].done
        assert (mine[-1].error is None) is (mine[-1].answer is not None) is (is_whole and bool(pieces))
