"""A provider with a real limit, asked by far more workers than it allows: everything is answered, and little is refused."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from email.utils import formatdate
from typing import Any

import pytest
from servers import Peer, Server, reply, reply_body

from responder import Limits, OpenAIResponder

RATE = 40.0
BURST = 20.0
PROMPTS = [f"prompt {number}" for number in range(80)]


class Bucket:
    """A server's limit, which tells the wait in one of the forms that providers have."""

    def __init__(self, hint: str) -> None:
        self._hint = hint
        self._lock = threading.Lock()
        self._left, self._at = BURST, time.monotonic()
        self.refused = 0

    def __call__(self, peer: Peer) -> None:
        while (request := peer.receive()) is not None:
            with self._lock:
                now = time.monotonic()
                self._left, self._at = min(BURST, self._left + (now - self._at) * RATE), now
                passes = self._left >= 1
                wait = 0.0 if passes else (1 - self._left) / RATE
                self._left -= passes
                self.refused += not passes
            if not passes:
                peer.send(self._refusal(wait))
            elif not peer.server.stopping.wait(0.05):
                peer.send(reply(reply_body(f"answer to {request.prompt}")))

    def _refusal(self, wait: float) -> bytes:
        details: list[Any] = []
        headers = {}
        if self._hint == "seconds":
            headers["Retry-After"] = "1"
        elif self._hint == "date":
            headers["Retry-After"] = formatdate(time.time() + 1, usegmt=True)
        elif self._hint == "milliseconds":
            headers["retry_after_ms"] = str(max(1, round(wait * 1000)))
        elif self._hint == "reset":
            headers["x_ratelimit_reset_requests"] = f"{max(1, round(wait * 1000))}ms"
        elif self._hint == "body":
            details = [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": f"{wait:.3f}s"}]
        body = json.dumps({"error": {"message": "Rate limit reached", "details": details}}).encode()
        return reply(body, "429 Too Many Requests", **headers)


@pytest.mark.pain(8)
@pytest.mark.pain(9)
@pytest.mark.parametrize("hint", ["seconds", "date", "milliseconds", "reset", "body", "nothing"])
def test_a_storm_is_survived_whatever_the_server_says(
    serve: Callable[..., Server], responder_for: Callable[..., OpenAIResponder], hint: str
) -> None:
    """Thirty-two workers at a server for four or so: all are answered, a few of the requests are refused, none by the hundred."""
    bucket = Bucket(hint)
    batch = responder_for(serve(bucket), max_retries=20).map(PROMPTS, max_workers=32, deadline=60.0)
    assert [result.unwrap().text for result in batch] == [f"answer to {prompt}" for prompt in PROMPTS]
    assert batch.summary().causes.get("429", 0) == bucket.refused
    assert bucket.refused <= 60  # without a governor it is hundreds


def test_a_known_limit_is_hardly_ever_met(serve: Callable[..., Server], responder_for: Callable[..., OpenAIResponder]) -> None:
    """Who says what is allowed is not refused, and waits for nothing else."""
    bucket = Bucket("seconds")
    model = responder_for(serve(bucket), limits=Limits(requests_per_minute=RATE * 60), max_retries=20)
    begin = time.monotonic()
    assert model.map(PROMPTS, max_workers=32).ok
    assert bucket.refused <= 5
    assert time.monotonic() - begin <= 10 * len(PROMPTS) / RATE
