"""What comes of a run where everything goes wrong? Each prompt's own answer or error, in time, with no attempt too many."""

from __future__ import annotations

import contextlib
import datetime
import gc
import json
import random
import re
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from email.utils import formatdate
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from google.oauth2 import service_account
from servers import PATIENCE, Handler, Peer, Server, always, dripping, reply, reply_body, silent, unreachable

from responder import APIError, DeadlineExceededError, Limits, OpenAIResponder, Result, VertexAIResponder
from responder.responder import Responder
from responder.simulator import Simulator


def refusal(status: str, message: str = "no", **headers: str) -> bytes:
    return reply(json.dumps({"error": {"message": message}}).encode(), status, **headers)


# Everything at once


class Chaos:
    """A server that answers a prompt with itself, late, not at all, or with one of many faults, by chance.

    Attributes:
        asked: How often each prompt came.
        free: How often a connection that had served before was reset without a word: that repeat is no attempt.
    """

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()
        self.free: Counter[str] = Counter()
        self._lock = threading.Lock()

    def __call__(self, peer: Peer) -> None:
        served = False
        while (request := peer.receive()) is not None:
            prompt = request.prompt
            with self._lock:
                self.asked[prompt] += 1
            chance = random.random()
            if "refused" in prompt:
                peer.send(refusal("400 Bad Request", f"no to {prompt}"))
            elif chance < 0.002:
                peer.send(refusal("429 Too Many Requests", prompt, retry_after_ms="20"))
            elif chance < 0.004:
                peer.send(refusal("503 Busy", prompt))
            elif chance < 0.010:
                peer.send(refusal("500 Oops", prompt))
            elif chance < 0.011:
                peer.wait_until_left()  # until the client's patience ends
                return
            elif chance < 0.016:
                if served:
                    with self._lock:
                        self.free[prompt] += 1
                peer.reset()
                return
            elif chance < 0.026:
                whole = reply(reply_body(prompt))
                peer.send(whole[: random.randrange(1, len(whole))])
                if chance < 0.021:
                    with self._lock:
                        self.free[prompt] += served  # the reset may overtake what was sent
                    peer.reset()
                return  # a body that ends too early
            else:
                if chance < 0.1:  # late
                    peer.server.stopping.wait(random.uniform(0.0, 0.05))
                peer.send(reply(reply_body(prompt)))
            served = True


@pytest.mark.acceptance(2)
@pytest.mark.acceptance(15)
@pytest.mark.pain(7)
@pytest.mark.pain(11)
def test_every_result_is_its_own_prompts(serve: Callable[..., Server], responder_for: Callable[..., OpenAIResponder]) -> None:
    """10,000 prompts, 64 workers, refusals, resets, cut bodies, hangs, delays: nothing is lost, mixed up or asked too often."""
    retries = 3
    prompts = [f"prompt {number}{' refused' if number % 100 == 7 else ''};" for number in range(10_000)]
    chaos = Chaos()
    gpt = responder_for(serve(chaos), max_retries=retries, timeout=3.0)

    batch = gpt.map(prompts, max_workers=64)

    assert [(result.index, result.prompt) for result in batch] == list(enumerate(prompts))
    for result in batch:
        if result.ok:
            assert result.unwrap().text == result.prompt
        else:
            assert isinstance(result.error, APIError)
            said = re.findall(r"prompt \d+", str(result.error))
            assert set(said) <= {result.prompt.partition(" refused")[0].rstrip(";")}
        assert ("refused" in result.prompt) <= (not result.ok)
        assert chaos.asked[result.prompt] - chaos.free[result.prompt] <= result.attempts <= retries + 1
    assert set(chaos.asked) == set(prompts)
    assert len(batch.failures()) < 1000  # a hundred are refused for good, and four failures in a row are rare


# A token that expires


@pytest.fixture(scope="module")
def account_key() -> str:
    """A service account's private key."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()).decode()


def account(key: str, token_uri: str) -> Any:
    """Return Google credentials that ask for their tokens there."""
    info = {
        "type": "service_account",
        "project_id": "p",
        "private_key_id": "1",
        "private_key": key,
        "client_email": "robot@p.iam.gserviceaccount.com",
        "client_id": "1",
        "token_uri": token_uri,
    }
    return service_account.Credentials.from_service_account_info(info)  # type: ignore[no-untyped-call]  # google-auth has no types for it


@pytest.mark.acceptance(17)
@pytest.mark.pain(22)
def test_a_token_that_expires_in_mid_run_is_renewed_once(simulator: Simulator, account_key: str) -> None:
    """64 threads are in the middle of a run: one of them asks Google, and no prompt fails."""
    credentials = account(account_key, f"{simulator.url}/token")
    seen: list[Result] = []

    def expire(result: Result) -> None:
        seen.append(result)
        if len(seen) == 500:
            responder._credential._source.expiry = datetime.datetime(2000, 1, 1)  # type: ignore[attr-defined]  # inside of google-auth

    url = simulator.base_url("vertex")
    with VertexAIResponder("m", project="p", location="l", credentials=credentials, base_url=url, max_retries=0) as responder:
        batch = responder.map([f"prompt {number}" for number in range(1000)], max_workers=64, on_result=expire)
    assert batch.ok, batch.failures()
    assert [request.path for request in simulator.received].count("/token") == 2


# Deadlines


def reset_in_mid_body(peer: Peer) -> None:
    if peer.receive() is not None:
        peer.send(reply()[:-20])
        peer.reset()


def reset_at_once(peer: Peer) -> None:
    peer.receive()
    peer.reset()


def mute(peer: Peer) -> None:
    """Accept the connection, and neither understand nor say anything."""
    peer.wait_until_left()


RETRY_INFO = [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "0.2s"}]

HANDLERS: dict[str, Handler] = {
    "never answers": silent,
    "drips its headers": dripping(reply(), 1.0),
    "drips its body": dripping(reply(), 0.03, at_once=len(reply()) - 100),
    "resets in mid-body": reset_in_mid_body,
    "resets at once": reset_at_once,
    "fails": always(refusal("500 Oops")),
    "429 without a wait": always(refusal("429 Slow down")),
    "429 with seconds": always(refusal("429 Slow down", Retry_After="1")),
    "429 with a date": always(refusal("429 Slow down", Retry_After=formatdate(time.time() + 30, usegmt=True))),
    "429 with milliseconds": always(refusal("429 Slow down", retry_after_ms="50")),
    "429 with a reset": always(refusal("429 Slow down", x_ratelimit_remaining_requests="0", x_ratelimit_reset_requests="120ms")),
    "429 with RetryInfo": always(
        reply(json.dumps({"error": {"message": "no", "details": RETRY_INFO}}).encode(), "429 Slow down")
    ),
    "429 in words": always(refusal("429 Slow down", "Rate limit reached. Please try again in 0.1s.")),
}


@pytest.fixture(
    params=[
        *HANDLERS,
        "a slow limit",
        "no free place",
        "a silent token endpoint",
        "a silent TLS handshake",
        "a silent proxy",
        "a silent tunnel",
        "no connection",
    ]
)
def troubled(
    request: pytest.FixtureRequest, serve: Callable[..., Server], account_key: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[str], Responder]]:
    """Give a function that makes responders in trouble, each with a key, and so with limits, of its own."""
    with ExitStack() as stack:
        name = request.param

        def openai(url: str, **keywords: Any) -> Callable[[str], Responder]:
            def make(key: str) -> Responder:
                return stack.enter_context(OpenAIResponder("m", api_key=key, base_url=url, max_retries=50, **keywords))

            return make

        if name in HANDLERS:
            yield openai(serve(HANDLERS[name]).url)
        elif name == "a slow limit":
            make = openai(serve(always()).url, limits=Limits(requests_per_minute=6))

            def used_up(key: str) -> Responder:
                responder = make(key)
                responder.answer("the first one goes at once")
                return responder

            yield used_up
        elif name == "no free place":
            yield openai(serve(silent).url, limits=Limits(max_concurrency=1))
        elif name == "a silent token endpoint":
            url = serve(always()).url
            token = f"{serve(silent).url}/token"

            def vertex(_: str) -> Responder:
                responder = VertexAIResponder(
                    "m", project="p", location="l", credentials=account(account_key, token), base_url=url
                )
                return stack.enter_context(responder)

            yield vertex
        elif name == "a silent TLS handshake":
            yield openai(serve(mute).url.replace("http:", "https:"))
        elif name == "no connection":
            yield openai(f"http://127.0.0.1:{stack.enter_context(unreachable())}")
        else:
            monkeypatch.setenv("HTTPS_PROXY" if name == "a silent tunnel" else "HTTP_PROXY", serve(mute).url)
            yield openai("https://127.0.0.1:9" if name == "a silent tunnel" else "http://127.0.0.1:9")


SECONDS = 0.5


def of_an_answer(responder: Responder) -> list[Exception | None]:
    try:
        responder.answer("Hi", deadline=SECONDS)
    except DeadlineExceededError as error:
        return [error]
    return [None]


def of_a_stream(responder: Responder) -> list[Exception | None]:
    try:
        list(responder.stream("Hi", deadline=SECONDS))
    except DeadlineExceededError as error:
        return [error]
    return [None]


def of_a_map(responder: Responder) -> list[Exception | None]:
    return [result.error for result in responder.map(["Hi"] * 3, deadline=SECONDS)]


def of_a_run(responder: Responder) -> list[Exception | None]:
    return [result.error for result in responder.map(["Hi"] * 3, run_deadline=SECONDS)]


WAYS = (of_an_answer, of_a_stream, of_a_map, of_a_run)

# Where the time of a call went.
ACCOUNT = re.compile(r"(\d+\.\d) s at the server.* (\d+\.\d) s waiting on limits, (\d+\.\d) s between attempts")


@pytest.mark.acceptance(3)
@pytest.mark.acceptance(4)
@pytest.mark.pain(1)
@pytest.mark.pain(2)
def test_a_deadline_holds_against_every_fault(troubled: Callable[[str], Responder]) -> None:
    """Of an item, a stream and a run; the error says how long the call was at the server, on limits, and between attempts."""
    responders = [troubled(f"key {way.__name__}") for way in WAYS]
    responders[2].map([])  # what is imported with the first map is no part of a deadline
    found: dict[str, tuple[float, list[Exception | None]]] = {}

    def ask(way: Callable[[Responder], list[Exception | None]], responder: Responder) -> None:
        begin = time.monotonic()
        errors = way(responder)
        found[way.__name__] = (time.monotonic() - begin, errors)

    threads = [threading.Thread(target=ask, args=pair) for pair in zip(WAYS, responders, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(f"late by {max(seconds for seconds, _ in found.values()) - SECONDS:.3f} s")
    for way, (seconds, errors) in found.items():
        assert seconds < 20.0, way  # and not the minutes that the fault would take
        for error in errors:
            assert isinstance(error, DeadlineExceededError), (way, error)
            parts = ACCOUNT.search(str(error))
            assert parts is not None, (way, error)
            assert sum(map(float, parts.groups())) <= seconds + 0.2, (way, error)


# What the tests stand on


def test_a_simulator_that_stops_while_clients_connect_leaves_nothing_open() -> None:
    """Connections that are accepted at that moment are cut like the others; a forgotten one would fail any test that follows."""
    for _ in range(12):
        with Simulator() as simulator:
            inside = threading.Semaphore(0)

            def connect(port: int = simulator.port, inside: threading.Semaphore = inside) -> None:
                for _ in range(30):
                    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1.0):
                        inside.release()

            clients = [threading.Thread(target=connect) for _ in range(4)]
            for client in clients:
                client.start()
            for _ in range(8):
                assert inside.acquire(timeout=PATIENCE)
        for client in clients:
            client.join()
    gc.collect()  # what is still open complains now, and warnings are errors
