"""Many texts to vectors: packed, halved where they are refused, kept, and handed back in input order."""

from __future__ import annotations

import base64
import binascii
import json
import math
import os
import pickle
import signal
import subprocess
import sys
import textwrap
import threading
from array import array
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from servers import Peer, Server, reply

from responder import (
    AnthropicResponder,
    APIError,
    AuthenticationError,
    BadRequestError,
    BudgetExceededError,
    CancelledError,
    CancelToken,
    ConfigurationError,
    DeadlineExceededError,
    InternalServerError,
    InvalidResponseError,
    OpenAIResponder,
    Price,
    Progress,
)
from responder.call.dialect import EmbeddingLimits
from responder.many.packing import Room, estimated_tokens, packs_of
from responder.values.vectors import Decoded, EmbeddingsReader

SIZE = 4


def vector(text: str) -> list[float]:
    """Return what the server answers for a text: numbers that float32 holds exactly."""
    return [float(len(text)), float(ord(text[0])), float(sum(map(ord, text)) % 4096), 0.5]


def body(texts: Sequence[str], tokens: int | None = None) -> bytes:
    """Return an answer as OpenAI gives it, last text first."""
    rows = [
        {"object": "embedding", "index": place, "embedding": base64.b64encode(array("f", vector(text)).tobytes()).decode()}
        for place, text in enumerate(texts)
    ]
    used = sum(map(len, texts)) if tokens is None else tokens
    return json.dumps(
        {"object": "list", "data": rows[::-1], "model": "m", "usage": {"prompt_tokens": used, "total_tokens": used}}
    ).encode()


def refusal(message: str, code: str | None = None, param: str | None = None, status: str = "400 Bad Request") -> bytes:
    return reply(json.dumps({"error": {"message": message, "type": "x", "code": code, "param": param}}).encode(), status)


def server(decide: Callable[[list[str]], bytes | None] = lambda _texts: None) -> Callable[[Peer], None]:
    """Return a handler that embeds; `decide` may give another reply for the texts of a request."""

    def handle(peer: Peer) -> None:
        while (request := peer.receive()) is not None:
            texts = request.json["input"]
            peer.send(decide(texts) or reply(body(texts)))

    return handle


def inputs(served: Any) -> list[list[str]]:
    return [request.json["input"] for request in served.requests]


Serve = Callable[..., Any]


def test_gives_the_vectors_in_input_order(serve: Serve, responder_for: Serve) -> None:
    """Whatever order the rows of a reply have, and however many requests it takes."""
    served = serve(server())
    texts = [f"text {number}" for number in range(50)]
    vectors = responder_for(served).embed(texts, batch_size=7, max_workers=4)
    assert [list(found) for found in vectors] == [vector(text) for text in texts]
    assert (len(vectors), vectors.dimensions, vectors.ok, vectors.failures()) == (50, SIZE, True, [])
    assert sum(map(len, inputs(served))) == 50
    assert vectors.usage.input_tokens == sum(map(len, texts))
    assert list(vectors[-1]) == vector("text 49")
    assert [list(found) for found in vectors[1:3]] == [vector("text 1"), vector("text 2")]
    with pytest.raises(IndexError):
        vectors[50]


def test_sends_what_openai_documents(serve: Serve, responder_for: Serve) -> None:
    """Base64, the dimensions where they are wanted, what `extra` says, and nothing else."""
    served = serve(server())
    responder_for(served).embed(["a"], dimensions=4, purpose="query", extra={"user": "u-1"})
    (request,) = served.requests
    assert request.target == "/v1/embeddings"
    assert request.json == {"model": "m", "input": ["a"], "encoding_format": "base64", "dimensions": 4, "user": "u-1"}


def test_reads_numbers_where_base64_was_asked_for(ask_embed: Serve) -> None:
    """What counts is what came."""
    data = [{"embedding": [1, 0.5], "index": 0}, {"embedding": [2.0, 0.25], "index": 1}]
    vectors = ask_embed({"data": data}, ["a", "b"])
    assert vectors.tolist() == [[1.0, 0.5], [2.0, 0.25]]
    assert not vectors.usage.known
    assert vectors.cost is None


@pytest.fixture
def ask_embed(serve: Serve, responder_for: Serve) -> Serve:
    def ask(found: Any, texts: Sequence[str], **keywords: Any) -> Any:
        content = json.dumps(found).encode()
        served = serve(lambda peer: [peer.send(reply(content)) for _ in iter(peer.receive, None)])
        return responder_for(served).embed(texts, **keywords)

    return ask


@pytest.mark.parametrize(
    "found",
    [
        {"data": [{"embedding": [1.0]}]},
        {"data": [{"embedding": [1.0]}, {"embedding": [1.0, 2.0]}]},
        {"data": [{"embedding": ["x"]}, {"embedding": [1.0]}]},
        {"data": [{"embedding": "AAA"}, {"embedding": "AAAA"}]},
        {"data": [{"embedding": []}, {"embedding": []}]},
        {"data": [{"embedding": None}, {"embedding": None}]},
        {"data": None},
        {"data": [5, "x"]},
        {},
        [],
        "text",
    ],
)
def test_takes_no_reply_for_vectors_that_are_not_there(ask_embed: Serve, found: Any) -> None:
    """Too few, of several lengths, of no numbers: each text has an error that says so."""
    vectors = ask_embed(found, ["a", "b"])
    assert [type(failure.error) for failure in vectors.failures()] == [InvalidResponseError] * 2
    assert "/v1/embeddings" in str(vectors.failures()[0].error)


def test_packs_to_the_limits_of_the_provider(serve: Serve, responder_for: Serve) -> None:
    """OpenAI takes 2,048 texts, and 300,000 tokens, in a request."""
    served = serve(server())
    responder = responder_for(served)
    responder.embed([f"{number}" for number in range(5000)])
    assert sorted(map(len, inputs(served))) == [904, 2048, 2048]
    served.requests.clear()
    responder.embed([f"{number} {'word ' * 4000}" for number in range(100)])
    assert len(served.requests) == math.ceil(100 * 5000 / 300_000)


def test_an_empty_text_fails_before_anything_is_sent(serve: Serve, responder_for: Serve) -> None:
    """One of them would have the provider refuse the whole request."""
    served = serve(server())
    vectors = responder_for(served).embed(["a", "", "b", None])
    assert inputs(served) == [["a", "b"]]
    assert [(failure.index, type(failure.error), failure.attempts) for failure in vectors.failures()] == [
        (1, ConfigurationError, 0),
        (3, ConfigurationError, 0),
    ]
    assert vectors.tolist() == [vector("a"), None, vector("b"), None]
    with pytest.raises(ConfigurationError, match="empty"):
        vectors[1]


def test_only_empty_texts_cost_no_request(serve: Serve, responder_for: Serve) -> None:
    """Nor does an empty input."""
    served = serve(server())
    assert len(responder_for(served).embed(["", ""]).failures()) == 2
    assert len(responder_for(served).embed([])) == 0
    assert served.requests == []


@pytest.mark.parametrize("bad", [0, 3, 15])
def test_a_bad_text_fails_alone(serve: Serve, responder_for: Serve, bad: int) -> None:
    """A request that is refused for one text is halved until that one stands alone; the others succeed."""
    texts = [f"text {number}" for number in range(16)]
    texts[bad] = "poison"
    served = serve(server(lambda sent: refusal("Invalid input") if "poison" in sent else None))
    vectors = responder_for(served).embed(texts)
    (failure,) = vectors.failures()
    assert (failure.index, failure.text, type(failure.error)) == (bad, "poison", BadRequestError)
    assert [list(vectors[place]) for place in range(16) if place != bad] == [vector(text) for text in texts if text != "poison"]
    assert len(served.requests) == 9  # 16, then two halves of 8, 4, 2 and 1


def test_finds_several_bad_texts(serve: Serve, responder_for: Serve) -> None:
    """Each has its own error, and none of the good ones is lost, not even where the first two texts are bad."""
    texts = [("poison" if number in (0, 1, 2, 30) else "text") + f" {number}" for number in range(40)]
    served = serve(server(lambda sent: refusal("Invalid input") if any("poison" in text for text in sent) else None))
    vectors = responder_for(served).embed(texts)
    assert [failure.index for failure in vectors.failures()] == [0, 1, 2, 30]
    assert list(vectors[39]) == vector("text 39")


def test_a_refusal_of_every_text_is_not_halved_to_the_end(serve: Serve, responder_for: Serve) -> None:
    """After two single texts and a harmless one it is clear that the request itself is wrong: the run ends."""
    served = serve(server(lambda _sent: refusal("this model does not do that")))
    vectors = responder_for(served).embed([f"text {number}" for number in range(1024)], max_workers=1)
    assert len(vectors.failures()) == 1024
    assert len(served.requests) < 20
    assert all(isinstance(failure.error, BadRequestError) for failure in vectors.failures())


def test_a_wrong_field_is_not_halved_at_all(serve: Serve, responder_for: Serve) -> None:
    """No text is at fault for the dimensions, and no other request would succeed."""
    served = serve(server(lambda _sent: refusal("This model does not support specifying dimensions.", param="dimensions")))
    vectors = responder_for(served).embed([f"text {number}" for number in range(100)], batch_size=10, max_workers=1)
    assert len(served.requests) == 1
    assert len(vectors.failures()) == 100
    assert isinstance(vectors.failures()[0].error, BadRequestError)
    assert isinstance(vectors.failures()[-1].error, CancelledError)


def test_halves_what_is_too_large_and_remembers_it(serve: Serve, responder_for: Serve) -> None:
    """In the provider's own words; later requests are packed to what it has shown that it takes."""

    def decide(texts: list[str]) -> bytes | None:
        tokens = sum(len(text) // 4 for text in texts)
        if tokens > 1000:
            return refusal(f"Requested {tokens} tokens, max 1000 tokens per request", code="max_tokens_per_request")
        return None

    served = serve(server(decide))
    texts = [f"{number:04} " + "x" * 195 for number in range(1600)]  # 50 tokens each
    vectors = responder_for(served).embed(texts, max_workers=1, batch_size=32)
    assert vectors.ok
    assert sum(1 for sent in inputs(served) if len(sent) > 20) <= 3
    assert len(served.requests) <= 1600 / 16 + 3


def test_learns_how_many_texts_a_server_takes(serve: Serve, responder_for: Serve) -> None:
    """As text-embeddings-inference says it, with 413."""

    def decide(texts: list[str]) -> bytes | None:
        said = f"batch size {len(texts)} > maximum allowed batch size 8"
        return refusal(said, status="413 Payload Too Large") if len(texts) > 8 else None

    served = serve(server(decide))
    vectors = responder_for(served).embed([f"text {number}" for number in range(256)], max_workers=1, batch_size=32)
    assert vectors.ok
    assert sum(1 for sent in inputs(served) if len(sent) > 8) == 2


def test_equal_texts_are_sent_once(serve: Serve, responder_for: Serve) -> None:
    """Also across requests; and an equal text of one that failed fails with it."""
    served = serve(server(lambda sent: refusal("Invalid input") if "poison" in sent else None))
    texts = ["a", "b", "a", "poison", "b", "poison", "c"] * 3
    vectors = responder_for(served).embed(texts, batch_size=2, max_workers=3)
    sent = [text for texts in inputs(served) for text in texts if text != "poison"]
    assert set(sent) == {"a", "b", "c"}
    assert vectors.tolist() == [None if text == "poison" else vector(text) for text in texts]
    assert vectors.summary().reused > 0
    served.requests.clear()
    responder_for(served).embed(["a", "a"], dedupe=False)
    assert inputs(served) == [["a", "a"]]


def test_repeats_what_a_repeat_can_help(serve: Serve, responder_for: Serve) -> None:
    """The same attempts as in the maps: a 503 costs nobody a vector."""
    turns = iter([reply(b"{}", "503 Service Unavailable", retry_after_ms="1")])
    served = serve(server(lambda _sent: next(turns, None)))
    vectors = responder_for(served, max_retries=2).embed(["a", "b"])
    assert vectors.ok
    assert vectors.summary().attempts == 2


def test_a_failure_that_lasts_fails_the_texts_of_its_request_alone(serve: Serve, responder_for: Serve) -> None:
    """A failed request never loses, delays or reorders another."""
    served = serve(server(lambda sent: reply(b"{}", "500 Oops") if "b" in sent else None))
    vectors = responder_for(served).embed(["a", "b", "c"], batch_size=1)
    assert vectors.tolist() == [vector("a"), None, vector("c")]
    assert isinstance(vectors.failures()[0].error, InternalServerError)


def test_a_wrong_key_ends_the_run(serve: Serve, responder_for: Serve) -> None:
    """What was not sent says so."""
    served = serve(server(lambda _sent: refusal("Incorrect API key", code="invalid_api_key", status="401 Unauthorized")))
    vectors = responder_for(served).embed([f"text {number}" for number in range(500)], batch_size=5, max_workers=2)
    errors = [failure.error for failure in vectors.failures()]
    assert len(errors) == 500
    assert any(isinstance(error, AuthenticationError) for error in errors)
    assert isinstance(errors[-1], CancelledError)
    assert len(served.requests) < 10


def test_raises_the_first_failure_with_what_is_finished(serve: Serve, responder_for: Serve) -> None:
    """`on_error="raise"`, as in the maps."""
    served = serve(server(lambda sent: refusal("Invalid input") if "poison" in sent else None))
    with pytest.raises(BadRequestError) as caught:
        responder_for(served).embed(["a", "b", "poison", "c"], batch_size=1, max_workers=1, on_error="raise")
    finished = caught.value.batch  # type: ignore[attr-defined]  # the run that it ended put it there
    assert list(finished[0]) == vector("a")
    assert isinstance(finished.failures()[0].error, (BadRequestError, CancelledError))


def test_stops_after_so_many_failed_texts(serve: Serve, responder_for: Serve) -> None:
    """Texts are counted, not requests."""
    served = serve(server(lambda sent: reply(b"{}", "500 Oops") if sent[0].startswith("bad") else None))
    texts = ["bad 1", "bad 2"] + [f"text {number}" for number in range(200)]
    vectors = responder_for(served).embed(texts, batch_size=2, max_workers=1, max_errors=2)
    assert len(served.requests) < 10
    assert isinstance(vectors.failures()[-1].error, CancelledError)


def test_takes_from_the_checkpoint_what_it_paid_for(serve: Serve, responder_for: Serve, tmp_path: Path) -> None:
    """Text by text: whatever shares a request the second time."""
    served = serve(server())
    path = tmp_path / "vectors.db"
    first = responder_for(served).embed(["a", "b", "c"], checkpoint=path)
    served.requests.clear()
    second = responder_for(served).embed(["d", "c", "", "a"], checkpoint=path, batch_size=3)
    assert inputs(served) == [["d"]]
    assert second.tolist() == [vector("d"), vector("c"), None, vector("a")]
    assert (second.summary().reused, list(first[2])) == (2, vector("c"))
    served.requests.clear()
    responder_for(served).embed(["a"], checkpoint=path, dimensions=4)
    assert inputs(served) == [["a"]]  # another length is another vector


def test_a_checkpoint_holds_little_more_than_the_floats(tmp_path: Path) -> None:
    """Bytes, not JSON."""
    from responder.many.checkpoint import Checkpoint

    file = Checkpoint(tmp_path / "c.db")
    pairs = [(f"{number:032}".encode(), os.urandom(6144)) for number in range(500)]
    file.store_vectors(pairs)
    assert file.find_vectors([key for key, _ in pairs] + [b"x"]) == dict(pairs)
    file.close()
    assert (tmp_path / "c.db").stat().st_size < 1.4 * 500 * 6144


def test_a_cache_gives_vectors_again(serve: Serve, responder_for: Serve, tmp_path: Path) -> None:
    """The responder's own file keeps vectors beside answers."""
    served = serve(server())
    responder = responder_for(served, cache=tmp_path / "cache.db")
    responder.embed(["a", "b"])
    assert responder.embed(["b", "a"]).tolist() == [vector("b"), vector("a")]
    assert len(served.requests) == 1


def test_a_killed_run_pays_once(serve: Serve, responder_for: Serve, tmp_path: Path) -> None:
    """`kill -9` between two requests: the next run asks only for what is missing."""
    gate = threading.Event()

    def decide(texts: list[str]) -> bytes | None:
        if "text 7" in texts and not gate.is_set():
            os.kill(child.pid, signal.SIGKILL)
            gate.set()
        return None

    served = serve(server(decide))
    program = textwrap.dedent(
        f"""
        from responder import OpenAIResponder
        texts = [f"text {{number}}" for number in range(12)]
        OpenAIResponder("m", api_key="k", base_url={served.url + "/v1"!r}).embed(
            texts, batch_size=1, max_workers=1, checkpoint={str(tmp_path / "c.db")!r})
        """
    )
    child = subprocess.Popen([sys.executable, "-c", program])
    assert child.wait(60) == -signal.SIGKILL
    assert gate.wait(20)
    served.requests.clear()
    texts = [f"text {number}" for number in range(12)]
    vectors = responder_for(served, api_key="k").embed(texts, checkpoint=tmp_path / "c.db")
    assert vectors.tolist() == [vector(text) for text in texts]
    assert [text for sent in inputs(served) for text in sent] == texts[7:]


def test_ctrl_c_carries_what_is_finished(serve: Serve, tmp_path: Path) -> None:
    """In well under the time that the server takes, and with an error for what is not."""
    taken = threading.Event()

    def handle(peer: Peer) -> None:
        while (request := peer.receive()) is not None:
            if request.json["input"] == ["slow"]:
                taken.wait(20)
                child.send_signal(signal.SIGINT)
                peer.wait_until_left()
                return
            peer.send(reply(body(request.json["input"])))

    served = serve(handle)
    program = textwrap.dedent(
        f"""
        from responder import OpenAIResponder
        try:
            OpenAIResponder("m", api_key="k", base_url={served.url + "/v1"!r}).embed(
                ["a", "slow", "b"], batch_size=1, max_workers=1, progress=lambda seen: print(seen.done, flush=True))
        except KeyboardInterrupt as error:
            print(error.batch.tolist()[:2], [type(failure.error).__name__ for failure in error.batch.failures()][0])
        """
    )
    child = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    assert child.stdout.readline() == "1\n"
    taken.set()
    out, _ = child.communicate(timeout=60)
    assert out.strip() == f"[{vector('a')}, None] CancelledError"


def test_cancel_ends_requests_in_flight(serve: Serve, responder_for: Serve) -> None:
    """From another thread, with the sockets shut down."""
    token = CancelToken()

    def handle(peer: Peer) -> None:
        peer.receive()
        token.cancel("enough")
        peer.wait_until_left()

    vectors = responder_for(serve(handle)).embed(["a", "b"], batch_size=1, max_workers=1, cancel=token)
    assert [type(failure.error) for failure in vectors.failures()] == [CancelledError, CancelledError]


@pytest.mark.parametrize("keywords", [{"deadline": 0.3}, {"run_deadline": 0.3}])
def test_a_deadline_ends_a_silent_request(serve: Serve, responder_for: Serve, keywords: dict[str, float]) -> None:
    """Of a request's texts, or of the run."""

    def handle(peer: Peer) -> None:
        peer.receive()
        peer.wait_until_left()

    vectors = responder_for(serve(handle)).embed(["a"], **keywords)
    assert isinstance(vectors.failures()[0].error, DeadlineExceededError)


def test_a_budget_ends_the_run(serve: Serve, responder_for: Serve) -> None:
    """Before it is overdrawn; and what was spent is known."""
    served = serve(server(lambda sent: reply(body(sent, tokens=1000))))
    responder = responder_for(served, price=Price(input=1.0, output=0.0))
    vectors = responder.embed([f"text {number}" for number in range(100)], batch_size=1, max_workers=1, budget=0.0105)
    assert len(served.requests) == 10
    assert vectors.cost == pytest.approx(0.01)
    assert any(isinstance(failure.error, BudgetExceededError) for failure in vectors.failures())


def test_shows_how_far_it_is(serve: Serve, responder_for: Serve) -> None:
    """In texts, not in requests."""
    seen: list[Progress] = []
    responder_for(serve(server())).embed([f"{number}" for number in range(10)], batch_size=4, max_workers=1, progress=seen.append)
    assert [(progress.done, progress.total) for progress in seen] == [(4, 10), (8, 10), (10, 10)]
    assert seen[-1].input_tokens == 10


def test_pulls_a_generator_as_far_as_it_needs(serve: Serve, responder_for: Serve) -> None:
    """Lazily, and without a length."""
    pulled = 0

    def texts() -> Any:
        nonlocal pulled
        for number in range(1000):
            pulled += 1
            yield f"text {number}"

    seen: list[int] = []

    def decide(_texts: list[str]) -> None:
        seen.append(pulled)

    vectors = responder_for(serve(server(decide))).embed(texts(), batch_size=10, max_workers=2)
    assert len(vectors) == 1000
    assert list(vectors[999]) == vector("text 999")
    assert max(pulled_so_far - 10 * place for place, pulled_so_far in enumerate(seen)) <= 2 * 2 * 10 + 30


def test_numpy_shares_the_memory(serve: Serve, responder_for: Serve) -> None:
    """One block of float32; a failed text is a row of NaN."""
    numpy = pytest.importorskip("numpy")
    vectors = responder_for(serve(server())).embed(["a", "", "b"])
    found = vectors.numpy()
    assert (found.shape, found.dtype) == ((3, SIZE), numpy.float32)
    assert numpy.shares_memory(found, numpy.asarray(vectors[0]))
    assert numpy.isnan(found[1]).all()
    assert found[2].tolist() == vector("b")


def test_holds_little_more_than_the_floats(serve: Serve, responder_for: Serve) -> None:
    """At most 1.2 times their bytes, also where nobody knew how many there would be."""
    texts = [f"text {number}" for number in range(3000)]
    for given_texts in (texts, iter(texts)):
        vectors = responder_for(serve(server())).embed(given_texts, batch_size=50)
        assert sys.getsizeof(vectors._data) <= 1.2 * 3000 * SIZE * 4


def test_survives_a_pickle(serve: Serve, responder_for: Serve) -> None:
    """With its failures."""
    vectors = pickle.loads(pickle.dumps(responder_for(serve(server())).embed(["a", ""])))
    assert vectors.tolist() == [vector("a"), None]
    assert "2 vectors of 4 dimensions, 1 failed" in repr(vectors)


def test_says_who_has_no_embeddings() -> None:
    """Before anything is sent."""
    with pytest.raises(ConfigurationError, match="anthropic has no embeddings"):
        AnthropicResponder("m", api_key="k").embed(["a"])


@pytest.mark.parametrize(
    "keywords",
    [{"dimensions": 0}, {"dimensions": "4"}, {"batch_size": 0}, {"purpose": "fun"}, {"max_workers": 0}, {"budget": -1}],
)
def test_refuses_invalid_keywords(keywords: dict[str, Any]) -> None:
    """Before anything is sent."""
    with pytest.raises(ConfigurationError):
        OpenAIResponder("m", api_key="k").embed(["a"], **keywords)


def test_refuses_one_text() -> None:
    """A str is an iterable of its letters, which nobody means."""
    with pytest.raises(ConfigurationError, match="put it in a list"):
        OpenAIResponder("m", api_key="k").embed("a text")


def test_vectors_of_two_lengths_are_no_matrix(serve: Serve, responder_for: Serve) -> None:
    """A model that changes in the middle of a run is an error of the later texts."""
    rows = {"a": [1.0, 2.0], "b": [1.0, 2.0, 3.0]}

    def decide(texts: list[str]) -> bytes:
        return reply(json.dumps({"data": [{"embedding": rows[text]} for text in texts]}).encode())

    vectors = responder_for(serve(server(decide))).embed(["a", "b"], batch_size=1, max_workers=1)
    assert vectors.tolist() == [[1.0, 2.0], None]
    assert "2" in str(vectors.failures()[0].error)


# Reading

_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(0, 9) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["embedding", "data", "index", "a\\"]), inner, max_size=4)
    ),
    max_leaves=12,
)


def _is_same(found: Any, told: Any) -> bool:
    """Return whether JSON is what `json` reads, with a vector in place of each text in base64."""
    if isinstance(found, Decoded):
        return bytes(found.data) == binascii.a2b_base64(told)
    if isinstance(found, list):
        return len(found) == len(told) and all(map(_is_same, found, told))
    if isinstance(found, dict):
        return found.keys() == told.keys() and all(_is_same(value, told[key]) for key, value in found.items())
    return bool(found == told)


@settings(max_examples=150, deadline=None)
@given(
    found=_JSON,
    indent=st.sampled_from([None, 1]),
    ascii_only=st.booleans(),
    vectors=st.lists(st.sampled_from(["AACAPw==", "AAAAQA==", "////fw==", "AACAPwAAAEA=", "no base64", ""]), max_size=4),
    size=st.integers(1, 40),
)
def test_what_is_read_as_it_arrives_is_what_json_gives(
    found: Any, indent: int | None, ascii_only: bool, vectors: list[str], size: int
) -> None:
    """Whatever else is called "embedding", is escaped, or stands in another place; in pieces of any size."""
    told = {"data": found, "rows": [{"embedding": vector} for vector in vectors], "embedding": "AACAPw=="}
    body = json.dumps(told, indent=indent, ensure_ascii=ascii_only).encode()
    if "////fw==" in vectors:
        body = body.replace(b"////", rb"\/\u002F//")  # as some libraries write it
    reader = EmbeddingsReader(3)
    for place in range(0, len(body), size):
        reader.feed(body[place : place + size])
    assert _is_same(reader.whole(), told)


def test_a_large_reply_is_read_to_the_last_number(serve: Serve, responder_for: Serve) -> None:
    """Of real size: 300 vectors of 1,536 numbers."""
    rows = [array("f", [number + place / 4096 for place in range(1536)]) for number in range(300)]
    data = [
        {"object": "embedding", "index": place, "embedding": base64.b64encode(row.tobytes()).decode()}
        for place, row in enumerate(rows)
    ]
    content = json.dumps({"data": data, "usage": {"prompt_tokens": 7}}).encode()
    served = serve(server(lambda _texts: reply(content)))
    vectors = responder_for(served).embed([f"text {number}" for number in range(300)])
    assert vectors.tolist() == [row.tolist() for row in rows]
    assert vectors.usage.input_tokens == 7


_MEASURED = """
import ctypes, sys
from responder import OpenAIResponder

def held():
    ctypes.CDLL(None).malloc_trim(0)  # what is free is nobody's
    with open("/proc/self/statm") as numbers:
        return int(numbers.read().split()[1]) * 4096

texts = [f"text {number}" for number in range(8192)]
with OpenAIResponder("m", api_key="k", base_url=sys.argv[1]) as model:
    model.embed(texts[:2048])
    before = held()
    vectors = model.embed(texts, max_workers=4)
    print((held() - before) / (len(texts) * 1536 * 4), len(vectors), len(vectors.failures()))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads what Linux tells of a process")
def test_large_replies_leave_hardly_more_than_their_floats(serve: Serve) -> None:
    """Four workers with replies of 17 MB each: nothing of these is kept, not even by the C library."""
    vector = base64.b64encode(bytes(1536 * 4)).decode()
    rows = [{"object": "embedding", "index": place, "embedding": vector} for place in range(2048)]
    content = reply(json.dumps({"data": rows, "usage": {"prompt_tokens": 7}}).encode())
    served = serve(server(lambda _texts: content))
    command = [sys.executable, "-c", _MEASURED, f"{served.url}/v1"]
    told = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout.split()
    assert told[1:] == ["8192", "0"]
    assert float(told[0]) < 1.2


# Packing

_TEXTS = st.lists(st.one_of(st.text(max_size=40), st.just("same"), st.none()), max_size=60)


@settings(max_examples=300, deadline=None)
@given(texts=_TEXTS, limit=st.integers(1, 9), tokens=st.one_of(st.none(), st.integers(1, 30)), dedupe=st.booleans())
def test_packs_hold_every_text_once_and_keep_to_the_limits(
    texts: list[str | None], limit: int, tokens: int | None, dedupe: bool
) -> None:
    """In input order; only a text that is too long by itself is above the limit, and it goes alone."""
    room = Room(EmbeddingLimits(limit, tokens, tokens))
    packs = list(packs_of(texts, room, lambda text: text.encode("utf-8", "surrogatepass"), dedupe))
    assert [text for pack in packs for text in pack.texts] == texts
    assert [pack.start for pack in packs] == [sum(len(pack.texts) for pack in packs[:place]) for place in range(len(packs))]
    sent = []
    for pack in packs:
        accounted = sorted([*pack.asked, *(place for place, _ in pack.repeats), *pack.refused])
        assert accounted == list(range(len(pack.texts)))
        asked = [pack.texts[place] for place in pack.asked]
        sent += asked
        assert len(asked) <= limit
        assert tokens is None or len(asked) == 1 or sum(map(estimated_tokens, asked)) <= tokens
        assert all(texts[first] == pack.texts[place] for place, first in pack.repeats)
        assert all(not pack.texts[place] for place in pack.refused)
    real = [text for text in texts if text]
    assert sent == (list(dict.fromkeys(real)) if dedupe else real)


@settings(max_examples=25, deadline=None)
@given(bad=st.sets(st.integers(0, 40)), count=st.integers(0, 41), size=st.integers(1, 12), workers=st.integers(1, 5))
def test_whatever_is_bad_the_rest_is_there(bad: set[int], count: int, size: int, workers: int) -> None:
    """For any texts, requests and workers: every text has its vector or its own error."""
    texts = [("poison" if number in bad else "text") + f" {number}" for number in range(count)]
    handler = server(lambda sent: refusal("Invalid input") if any("poison" in text for text in sent) else None)
    with (
        Server(handler) as served,
        OpenAIResponder("m", api_key="k", base_url=served.url + "/v1", max_retries=0) as responder,
    ):
        vectors = responder.embed(texts, batch_size=size, max_workers=workers)
    assert len(vectors) == count
    for number, found in enumerate(vectors.tolist()):
        assert found is None or found == vector(texts[number])
    good = [number for number in range(count) if number not in bad]
    failed = {failure.index: failure.error for failure in vectors.failures()}
    assert all(isinstance(failed[number], (APIError, CancelledError)) for number in bad if number < count)
    assert not set(good) & set(failed)
