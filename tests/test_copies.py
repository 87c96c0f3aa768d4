"""What a copy of a responder keeps: a copy stays in the process, a pickle leaves it."""

from __future__ import annotations

import copy
import dataclasses
import gc
import pickle
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import pytest
import requests
from servers import Server, always

from responder import (
    AzureOpenAIResponder,
    Batch,
    BedrockResponder,
    CancelToken,
    ConfigurationError,
    Limits,
    OpenAIResponder,
    Responder,
    VertexAIResponder,
    for_model,
)
from responder.simulator import Fault, Simulator
from responder.wire import copies

KEY = "sk-only-in-this-process"


@pytest.fixture(params=[copy.copy, copy.deepcopy], ids=["copy", "deepcopy"])
def copied(request: pytest.FixtureRequest) -> Callable[[Any], Any]:
    """Each of the two ways to copy."""
    return request.param  # type: ignore[no-any-return]  # what the fixture or the kernel gives


def test_a_copy_keeps_key_headers_and_session(copied: Callable[[Any], Any], serve: Callable[..., Server]) -> None:
    """Whoever copies a responder to change its model does not lose what it was made with."""
    server = serve(always())
    session = requests.Session()
    one = OpenAIResponder("m", api_key=KEY, base_url=server.url, session=session, extra_headers={"X-Secret": "s"})
    other = copied(one)
    assert other.answer("Hi").text
    assert other.extra_headers == {"X-Secret": "s"}
    assert server.requests[-1].headers["authorization"] == f"Bearer {KEY}"
    assert server.requests[-1].headers["x-secret"] == "s"


def test_a_copy_with_another_model_asks_that_model(copied: Callable[[Any], Any], simulator: Simulator) -> None:
    """And the one it was copied from asks its own."""
    one = OpenAIResponder("m", api_key=KEY, base_url=simulator.base_url("openai"))
    one.answer("Hi")
    other = copied(one)
    other.model = "another"
    assert (one.answer("Hi").model, other.answer("Hi").model) == ("m", "another")


def test_copies_share_their_connections_and_limits(copied: Callable[[Any], Any], simulator: Simulator) -> None:
    """A copy for each request of a web site opens no connection of its own."""
    one = OpenAIResponder("m", api_key=KEY, base_url=simulator.base_url("openai"), limits=Limits(max_concurrency=2))
    one.answer("Hi")
    for _ in range(5):
        copied(one).answer("Hi")
    assert simulator.connections_opened == 1


@pytest.fixture
def travelled(monkeypatch: pytest.MonkeyPatch, simulator: Simulator) -> Callable[[], OpenAIResponder]:
    """Give what a worker does that is sent the same responder again and again."""
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    sent = pickle.dumps(OpenAIResponder("m", base_url=simulator.base_url("openai"), limits=Limits(max_concurrency=2)))
    return lambda: pickle.loads(sent)


def test_copies_that_arrive_one_after_another_share_a_connection(
    travelled: Callable[[], OpenAIResponder], simulator: Simulator
) -> None:
    """A task for each prompt, as clusters like them: the copy before is gone when the next one arrives."""
    for _ in range(20):
        assert travelled().answer("Hi").text
    with travelled() as last:
        last.map(["Hi"] * 10, max_workers=2)
    assert simulator.connections_opened <= 2


def test_copies_that_arrive_share_governor_breaker_and_connections(travelled: Callable[[], OpenAIResponder]) -> None:
    """With each other, and with the one that was made here."""
    here = OpenAIResponder("m", base_url=travelled().base_url)
    one, other = travelled(), travelled()
    assert one._endpoint.shared == other._endpoint.shared == here._endpoint.shared
    assert one._access.transport is other._access.transport
    kin = pickle.loads(pickle.dumps(here))
    assert kin._access.transport is one._access.transport


def test_what_differs_shares_no_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another class, place or key."""
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    sent = pickle.dumps(OpenAIResponder("m"))
    found = [pickle.loads(sent), pickle.loads(pickle.dumps(OpenAIResponder("m", base_url="https://localhost/v1")))]
    monkeypatch.setenv("OPENAI_API_KEY", "another")
    found.append(pickle.loads(sent))
    assert len({one._access.transport for one in found}) == 3


def test_copies_that_are_dropped_close_their_connections_soon(
    travelled: Callable[[], OpenAIResponder], simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a garbage collection, a few seconds after the last one."""
    monkeypatch.setattr(copies, "_LINGER", 0.1)
    gc.disable()
    try:
        travelled().answer("Hi")
        ends = time.monotonic() + 20
        while simulator.connections and time.monotonic() < ends:
            time.sleep(0.01)  # until they were swept
        assert not simulator.connections
    finally:
        gc.enable()


@pytest.mark.parametrize(
    ("make", "what"),
    [
        (lambda: OpenAIResponder("m", api_key=KEY), "a key given as an argument does not travel: export OPENAI_API_KEY on the"),
        (lambda: OpenAIResponder("m", api_key=lambda: KEY), "a callable given as an argument does not travel: export OPENAI"),
        (
            lambda: BedrockResponder("m", region="eu-west-1", api_key=KEY),
            "does not travel: export AWS_BEARER_TOKEN_BEDROCK",
        ),
        (lambda: VertexAIResponder("m", project="p", credentials="t"), "given as an argument do not travel: export GOOGLE_"),
    ],
    ids=["key", "callable", "amazon", "google"],
)
def test_a_copy_without_its_key_says_why(make: Callable[[], Responder], what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the worker lacks it, and however often it was sent on."""
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", "/nowhere")
    copy_of_copy = pickle.loads(pickle.dumps(pickle.loads(pickle.dumps(make()))))
    with pytest.raises(ConfigurationError, match=what) as caught:
        copy_of_copy.answer("Hi")
    assert caught.value.fatal


# What a responder is made with


@pytest.mark.parametrize(
    ("limits", "what"),
    [
        ({"rpm": 60}, "limits has no 'rpm'"),
        ({"requests_per_minut": 60}, "did you mean requests_per_minute"),
        ({"requests_per_minute": "60"}, "requests_per_minute must be a number"),
        ({"requests_per_minute": float("nan")}, "requests_per_minute must be a number"),
        ({"max_concurrency": float("inf")}, "max_concurrency must be a number"),
        ({"max_concurrency": True}, "max_concurrency must be a number"),
        ({"adaptive": "no"}, "adaptive must be True or False"),
        ({"store": 5}, "store must be a path"),
        ({5: 5}, "limits has no 5"),
        (60, "limits must be Limits"),
        ("60", "limits must be Limits"),
        ([60], "limits must be Limits"),
        (True, "limits must be Limits"),
    ],
)
def test_limits_that_are_none_are_refused_at_once(limits: Any, what: str) -> None:
    """And not when the first prompt asks for its turn."""
    with pytest.raises(ConfigurationError, match=what):
        OpenAIResponder("m", api_key=KEY, limits=limits)


def test_limits_may_be_a_dict(simulator: Simulator) -> None:
    """As they come out of JSON."""
    limits = {"requests_per_minute": 6000, "max_concurrency": 2}
    model = OpenAIResponder("m", api_key=KEY, base_url=simulator.base_url("openai"), limits=limits)
    assert model.map(["a", "b"]).ok
    assert model._endpoint.shared[0].limits == Limits(max_concurrency=2, requests_per_minute=6000)
    assert for_model("openai:m", api_key=KEY, limits={})._limits == Limits()


@pytest.mark.parametrize(
    "keyword",
    [
        "model",
        "api_key",
        "base_url",
        "system",
        "timeout",
        "deadline",
        "max_retries",
        "session",
        "extra_headers",
        "price",
        "cache",
        "fallbacks",
        "allow_http",
    ],
)
@pytest.mark.parametrize("value", [5.5j, object()], ids=["number", "object"])
def test_what_has_the_wrong_type_is_refused_by_name(keyword: str, value: Any) -> None:
    """When the responder is made, in one clear sentence."""
    with pytest.raises(ConfigurationError, match=keyword):
        OpenAIResponder(**{"model": "m", "api_key": KEY, keyword: value})


@pytest.mark.parametrize(
    "make",
    [
        lambda: AzureOpenAIResponder("d", endpoint="https://x.openai.azure.com", api_key=lambda: "token"),
        lambda: VertexAIResponder("m", project="p", credentials="token"),
    ],
    ids=["azure", "vertex"],
)
def test_every_kind_of_responder_can_be_copied(copied: Callable[[Any], Any], make: Callable[[], Responder]) -> None:
    """With the credential that it has."""
    one = make()
    other = copied(one)
    assert type(other) is type(one)
    assert (other.url(), dict(other.headers("token"))) == (one.url(), dict(one.headers("token")))
    assert other._credential.secret() == one._credential.secret()


def test_a_pickle_still_leaves_secrets_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    """It may end in a file or a queue."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-the-environment")
    one = OpenAIResponder("m", api_key=KEY, extra_headers={"X-Api-Key": KEY})
    pickled = pickle.dumps(copy.copy(one))
    assert KEY.encode() not in pickled
    assert pickle.loads(pickled)._credential.secret() == "sk-of-the-environment"


def test_results_can_be_copied_and_turned_into_dicts(copied: Callable[[Any], Any], simulator: Simulator) -> None:
    """Failed ones, too: what people put into caches, frames and forms."""
    simulator.script_for("bad", Fault.status(400))
    batch = OpenAIResponder("m", api_key=KEY, base_url=simulator.base_url("openai")).map(["good", "bad"], max_workers=1)
    for result in batch:
        other = copied(result)
        assert (other.ok, other.text, other.index) == (result.ok, result.text, result.index)
        assert dataclasses.asdict(result)["index"] == result.index
        assert KEY not in repr(dataclasses.asdict(result))
    assert copied(batch).summary().items == 2
    assert [result.ok for result in pickle.loads(pickle.dumps(batch))] == [True, False]


def test_a_password_in_a_base_url_shows_nowhere(serve: Callable[..., Server]) -> None:
    """Not in the responder, its repr, its pickle or an error."""
    server = serve(always())
    url = server.url.replace("http://", "http://user:hunter2@")
    one = OpenAIResponder("m", api_key=KEY, base_url=url)
    assert one.answer("Hi").text
    assert b"hunter2" not in pickle.dumps(one)
    assert "hunter2" not in f"{one!r} {vars(one)}"
    assert "hunter2" not in f"{server.requests[0]}"


@pytest.mark.parametrize(
    ("url", "is_refused"),
    [
        ("http://api.example.com/v1", True),
        ("http://8.8.8.8/v1", True),
        ("http://134744072/v1", True),
        ("http://0x08080808/v1", True),
        ("http://2130706433/v1", False),
        ("http://[2606:4700::1]/v1", True),
        ("https://api.example.com/v1", False),
        ("http://localhost:8000/v1", False),
        ("http://127.0.0.1/v1", False),
        ("http://[::1]/v1", False),
        ("http://10.1.2.3/v1", False),
        ("http://192.168.1.5/v1", False),
        ("http://gateway/v1", False),
        ("http://llm.internal/v1", False),
        ("http://vllm.models.svc.cluster.local/v1", False),
    ],
)
def test_a_key_goes_over_plain_http_only_within_the_own_network(url: str, is_refused: bool) -> None:
    """Outside of it everybody on the way could read it; who wants it says so."""
    if is_refused:
        with pytest.raises(Exception, match="plain text"):
            OpenAIResponder("m", api_key=KEY, base_url=url)
        assert OpenAIResponder("m", api_key=KEY, base_url=url, allow_http=True).url().startswith(url)
    else:
        assert OpenAIResponder("m", api_key=KEY, base_url=url).url().startswith(url)


def test_a_responder_that_is_dropped_closes_its_connections_at_once(simulator: Simulator) -> None:
    """Without waiting for a garbage collection, which may be minutes away."""
    gc.disable()
    try:
        one = OpenAIResponder("m", api_key=KEY, base_url=simulator.base_url("openai"))
        one.answer("Hi")
        list(one.imap(["a", "b"]))
        list(one.stream("Hi"))
        del one
        ends = time.monotonic() + 20
        while simulator.connections and time.monotonic() < ends:
            time.sleep(0.01)  # until the simulator has seen it
        assert not simulator.connections
    finally:
        gc.enable()


def test_a_copied_token_stops_the_same_work(copied: Callable[[Any], Any]) -> None:
    """Whoever copies what holds one, such as a task's options, still can stop it."""
    token = CancelToken()
    copied({"cancel": token})["cancel"].cancel()
    assert token.cancelled


@pytest.mark.parametrize("name", ["A b", "A: b\r\nHost", "", "Ä", "Transfer-Encoding", "transfer-encoding", b"A"])
def test_a_header_that_would_break_the_request_is_refused(name: Any) -> None:
    """Here, and not by whatever the server makes of it."""
    with pytest.raises(ConfigurationError, match="extra_headers"):
        OpenAIResponder("m", api_key=KEY, extra_headers={name: "x"})


def test_a_key_that_is_no_text_is_refused_without_being_shown(serve: Callable[..., Server]) -> None:
    """Half of a character, as a file that was decoded wrongly leaves it."""
    with pytest.raises(ConfigurationError, match="api_key") as caught:
        OpenAIResponder("m", api_key=f"{KEY}\ud800", base_url=serve(always()).url, max_retries=0).answer("Hi")
    assert caught.value.__cause__ is None
    assert KEY not in repr(caught.value.__context__)


@pytest.mark.parametrize(
    "use",
    [
        lambda: OpenAIResponder("m", api_key=KEY).map(["Hi"], checkpoint="a\0b"),
        lambda: OpenAIResponder("m", api_key=KEY, cache="a\0b").answer("Hi"),
        lambda: Limits(store="a\0b"),
        lambda: Batch(()).report("a\0b"),
    ],
    ids=["checkpoint", "cache", "limits", "report"],
)
def test_a_name_that_no_file_can_have_is_our_own_error(use: Callable[[], Any]) -> None:
    """A NUL in it would be a ValueError of Python's."""
    with pytest.raises(ConfigurationError):
        use()


AMONG_RUBBISH = """
import gc, socket, sys
from responder import OpenAIResponder

gpt = OpenAIResponder("m", api_key="k", base_url=sys.argv[1])
gpt.answer("Hi")
gc.disable()
holder = [*(thing for thing in gc.get_objects() if isinstance(thing, socket.socket)), gpt]
holder.append(holder)
del gpt
gc.collect()  # which puts the sockets before the responder
del holder
gc.collect()
"""


def test_a_responder_among_rubbish_closes_its_connections(simulator: Simulator) -> None:
    """Whatever a garbage collection looks at first: a socket that is found open would warn."""
    command = [sys.executable, "-X", "dev", "-W", "error", "-c", AMONG_RUBBISH, simulator.base_url("openai")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
