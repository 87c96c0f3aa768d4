"""The pool and the stop button below the transport; and what `fork()` does to them."""

from __future__ import annotations

import math
import subprocess
import sys
import textwrap
from typing import Any

import pytest
from servers import PATIENCE, always

from responder.values.cancellation import CancelToken
from responder.values.deadline import Deadline, Timeout, as_timeout
from responder.wire.connection import Attempt, Origin, StoppedError, proxy_authorization


def run_script(script: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a script in a Python of its own; it must end by itself."""
    import os

    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, **environment},
    )


# --- Values -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("http://a/b", ("http", "a", 80)),
        ("https://A:8443/b", ("https", "a", 8443)),
        ("https://[::1]:1/b", ("https", "::1", 1)),
        ("https://user:pass@a", ("https", "a", 443)),
    ],
)
def test_an_origin_is_scheme_host_and_port(url: str, origin: tuple[str, str, int]) -> None:
    """Connections are shared by what they connect to, and by nothing else."""
    assert Origin.of(url) == origin


def test_a_login_is_taken_from_the_proxys_url() -> None:
    """No user, no header."""
    assert proxy_authorization(None) == []
    assert proxy_authorization("http://h:1") == []
    assert proxy_authorization("http://a:b%3A@h:1") == ["Proxy-Authorization: Basic YTpiOg=="]


@pytest.mark.pain(1)
@pytest.mark.parametrize("value", [None, 0, -1, True, "5", math.nan])
def test_a_timeout_is_a_number_above_zero(value: Any) -> None:
    """`None` would mean "for ever" without saying so; it is refused like any other nonsense."""
    with pytest.raises(ValueError, match=r"timeout"):
        as_timeout(value)


def test_a_timeout_given_as_a_number_bounds_the_connection_as_well() -> None:
    """Whoever waits 3 s for an answer does not wait 10 s for a connection."""
    assert as_timeout(3) == Timeout(total=3, connect=3)
    assert as_timeout(300) == Timeout(total=300, connect=10.0)
    assert as_timeout(math.inf).total == math.inf


@pytest.mark.pain(1)
def test_there_is_a_timeout_by_default() -> None:
    """Nothing waits for ever unless it was told to."""
    assert Timeout().total < math.inf
    assert Timeout().connect < math.inf


def test_the_earlier_deadline_wins() -> None:
    """None means never."""
    assert Deadline.after(None).remaining() == math.inf
    assert Deadline(1.0).earliest(Deadline(2.0)) == Deadline(2.0).earliest(Deadline(1.0)) == Deadline(1.0)


def test_no_step_begins_when_the_time_is_over() -> None:
    """Zero seconds left are an end, not a poll."""
    with pytest.raises(TimeoutError):
        Attempt(ends=0.0).remaining()


# --- The stop button --------------------------------------------------------------------------------------------------


def test_a_token_calls_back_once() -> None:
    """Cancelling twice is cancelling once; the first reason stays."""
    token, calls = CancelToken(), []
    token.register(lambda: calls.append(1))
    token.cancel("first")
    token.cancel("second")
    assert calls == [1]
    assert token.cancelled
    assert token.reason == "first"


def test_a_callback_that_comes_too_late_is_called_at_once() -> None:
    """Whoever registers with a cancelled token learns it there and then."""
    token, calls = CancelToken(), []
    token.cancel()
    token.register(lambda: calls.append(1))
    assert calls == [1]


def test_a_callback_that_was_taken_back_is_not_called() -> None:
    """`unregister` says whether it was in time."""
    token, calls = CancelToken(), []
    number = token.register(lambda: calls.append(1))
    assert token.unregister(number)
    assert not token.unregister(number)
    token.cancel()
    assert calls == []


def test_a_callback_may_cancel_its_own_token() -> None:
    """Tokens are chained by callbacks; a circle must not hang."""
    first, second = CancelToken(), CancelToken()
    first.register(second.cancel)
    second.register(first.cancel)
    first.cancel()
    assert first.cancelled
    assert second.cancelled


def test_a_token_that_is_cancelled_while_it_is_locked_does_not_hang() -> None:
    """The garbage collector may end a run in the very thread that is about to register with its token."""
    token = CancelToken()
    with token._shared.lock:
        token.cancel()
    assert token.cancelled


def test_waiting_ends_with_a_cancel() -> None:
    """A sleep of an hour is over when the token is cancelled."""
    import threading

    token, woken = CancelToken(), threading.Event()

    def sleep() -> None:
        assert token.wait(3600)
        woken.set()

    thread = threading.Thread(target=sleep)
    thread.start()
    token.cancel()
    assert woken.wait(PATIENCE)
    thread.join(PATIENCE)


def test_watching_under_a_cancelled_token_stops_at_once() -> None:
    """Nothing is registered that nobody would unregister."""
    token = CancelToken()
    token.cancel()
    with pytest.raises(StoppedError):
        Attempt(cancel=token).watch(None)  # type: ignore[arg-type]  # nothing is opened
    assert not token._callbacks


# --- fork and pickles -------------------------------------------------------------------------------------------------

FORK = """
    import os, sys, warnings
    warnings.simplefilter("ignore")
    from responder import OpenAIResponder

    gpt = OpenAIResponder("m", api_key="k", base_url=sys.argv[1] + "/v1", max_retries=0, timeout=20)
    assert gpt.map(["before"] * 4, max_workers=4).ok
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        said = "broken"
        try:
            texts = [gpt.answer("child").text, *gpt.map(["child"] * 4, max_workers=4).texts()]
            said = "fine" if texts == ["Hello."] * 5 else repr(texts)
        except BaseException as error:
            said = repr(error)
        finally:
            os.write(write, said.encode())
            os._exit(0)
    for _ in range(5):
        assert gpt.answer("parent").text == "Hello."
    os.waitpid(child, 0)
    print(os.read(read, 10000).decode())
    assert gpt.answer("parent").text == "Hello."
"""


@pytest.mark.acceptance(10)
@pytest.mark.pain(15)
@pytest.mark.skipif(sys.platform == "win32", reason="no fork")
@pytest.mark.parametrize("secure", [False, True], ids=["tcp", "tls"])
def test_a_forked_child_works_with_sockets_of_its_own(serve: Any, server_context: Any, authority_file: Any, secure: bool) -> None:
    """Parent and child go on calling at the same time, and never over the same connection."""
    owners: dict[int, set[str]] = {}

    def handler(peer: Any) -> None:
        said = always()
        receive = peer.receive

        def noted() -> Any:
            request = receive()
            if request is not None:
                owners.setdefault(peer.number, set()).add(request.prompt)
            return request

        peer.receive = noted
        said(peer)

    server = serve(handler, server_context if secure else None)
    done = run_script(FORK, server.url, REQUESTS_CA_BUNDLE=str(authority_file))
    assert (done.stdout.strip(), done.returncode) == ("fine", 0), done.stderr
    assert not any({"child", "parent"} <= prompts or {"child", "before"} <= prompts for prompts in owners.values()), owners
    # The parent's connections survive the child: it needs no new one.
    assert {"before", "parent"} in owners.values()


FORK_IN_FLIGHT = """
    import os, sys, threading, warnings
    warnings.simplefilter("ignore")
    from responder import CancelToken, OpenAIResponder

    gpt = OpenAIResponder("m", api_key="k", base_url=sys.argv[1] + "/v1", max_retries=0, timeout=20)
    answers = []
    run = gpt.imap(["one", "two", "go"], max_workers=3)
    first = threading.Thread(target=lambda: answers.extend(run))
    first.start()
    while sys.stdin.readline().strip() != "inside":
        pass
    child = os.fork()
    if child == 0:
        code = 1
        try:
            run.cancel()
            del run
            code = 0 if gpt.answer("child").text == "Hello." else 2
        finally:
            os._exit(code)
    code = os.waitpid(child, 0)[1]
    print("child", code, flush=True)
    first.join()
    print([result.ok for result in answers])
"""


@pytest.mark.pain(15)
@pytest.mark.skipif(sys.platform == "win32", reason="no fork")
def test_a_fork_while_calls_are_in_flight_leaves_them_to_the_parent(serve: Any) -> None:
    """The child may even cancel its copy of the run: the parent's calls end well."""
    import os

    def handler(peer: Any) -> None:
        while (request := peer.receive()) is not None:
            if request.prompt != "child":
                peer.server.released.wait(PATIENCE)
            peer.send(always.__globals__["reply"]())

    server = serve(handler)
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(FORK_IN_FLIGHT), server.url],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ.copy(),
    )
    with process:
        try:
            server.wait_for(3)
            process.stdin.write("inside\n")
            process.stdin.flush()
            assert process.stdout.readline().strip() == "child 0"
            server.released.set()
            assert process.stdout.readline().strip() == "[True, True, True]"
            assert process.wait(PATIENCE) == 0
        finally:
            server.released.set()
            process.kill()


MULTIPROCESSING = """
    import multiprocessing, sys, warnings
    warnings.simplefilter("ignore")
    from responder import OpenAIResponder

    def ask(gpt):
        return gpt.answer("child").text, [result.ok for result in gpt.imap(["child"] * 3)]

    if __name__ == "__main__":
        gpt = OpenAIResponder("m", base_url=sys.argv[1] + "/v1", max_retries=0, timeout=20)
        gpt.answer("parent")
        for result in gpt.imap(["parent"] * 3):
            pass
        with multiprocessing.get_context(sys.argv[2]).Pool(2) as pool:
            print(pool.map(ask, [gpt, gpt]))
        print(gpt.answer("parent").text)
"""


@pytest.mark.acceptance(10)
@pytest.mark.pain(15)
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_responder_travels_into_the_processes_of_a_pool(serve: Any, tmp_path: Any, method: str) -> None:
    """Its pickle holds no key: each process reads the environment again."""
    import os

    if method == "fork" and sys.platform == "win32":
        pytest.skip("no fork")
    server = serve(always())
    script = tmp_path / "script.py"
    script.write_text(textwrap.dedent(MULTIPROCESSING))
    done = subprocess.run(
        [sys.executable, str(script), server.url, method],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "OPENAI_API_KEY": "test-key"},
    )
    assert done.stdout.splitlines() == [str([("Hello.", [True] * 3)] * 2), "Hello."], done.stderr
    assert {request.headers["authorization"] for request in server.requests} == {"Bearer test-key"}
