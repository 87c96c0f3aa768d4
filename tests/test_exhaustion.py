"""No descriptors left, idle connections that nobody uses: what a long-lived process must not choke on."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from servers import PATIENCE, Peer, always, reply

from responder.wire import pool as pools

resource = pytest.importorskip("resource")

PREPARED = """
    import os, resource, sys, warnings
    warnings.simplefilter("ignore")
    from responder import APIConnectionError, APIError, OpenAIResponder
    gpt = OpenAIResponder("m", api_key="k", base_url=sys.argv[1] + "/v1", max_retries=0, timeout=20)

    def use_up():
        taken = []
        try:
            while True:
                taken.append(os.open(os.devnull, os.O_RDONLY))
        except OSError:
            return taken

    def give_back(taken):
        for number in taken:
            os.close(number)
"""


def run(script: str, *arguments: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(PREPARED) + textwrap.dedent(script), *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


NONE_LEFT = """
    gpt.answer("warm up")
    gpt.close()
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
    taken = use_up()
    for _ in range(8):  # more than it takes to call a provider down
        try:
            gpt.answer("Hi")
        except APIError as error:
            caught = error
    give_back(taken)
    print(type(caught).__name__, caught.retryable, caught)
    print(gpt.answer("Hi").text)
"""


def test_no_descriptors_is_an_error_that_names_them_and_no_failure_of_the_provider(serve: Any) -> None:
    """The message says what to raise; the circuit stays closed, and the next call goes through."""
    said, after = run(NONE_LEFT, serve(always()).url)
    assert said.startswith("APIError True")
    assert "ulimit -n" in said
    assert "64 file descriptors" in said
    assert "billed" not in said
    assert after == "Hello."


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_no_descriptors_for_a_lookup_is_no_unknown_host(serve: Any, host: str) -> None:
    """The C library cannot open its files then, and says "name or service not known"."""
    said = run(NONE_LEFT, serve(always()).url.replace("127.0.0.1", host))[0]
    assert "ulimit -n" in said


IDLE_ONES = """
    import threading
    other = OpenAIResponder("m", api_key="k", base_url=sys.argv[2] + "/v1", max_retries=0, timeout=20)
    gpt.answer("warm up")
    assert other.map(["Hi"] * 8, max_workers=8).ok
    gpt.close()
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
    taken = use_up()
    print(gpt.answer("Hi").text)
    give_back(taken)
    print(other.answer("Hi").text)
"""


def test_idle_connections_make_room_for_a_call(serve: Any) -> None:
    """They are descriptors of ours that nobody uses; those of other responders as well."""
    together = threading.Barrier(8)

    def handler(peer: Peer) -> None:
        if peer.number < 8 and peer.receive() is not None:
            together.wait(PATIENCE)
            peer.send(reply())
        always()(peer)

    assert run(IDLE_ONES, serve(always()).url, serve(handler).url) == ["Hello.", "Hello."]


def test_idle_connections_that_the_server_closed_are_dropped_without_another_call(
    serve: Any, responder_for: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise they stay in CLOSE_WAIT as long as nobody calls."""
    workers = 32
    together, leave = threading.Barrier(workers), threading.Event()

    def handler(peer: Peer) -> None:
        if peer.receive() is not None:
            together.wait(PATIENCE)
            peer.send(reply())
            leave.wait(PATIENCE)

    responder = responder_for(serve(handler))
    before = open_sockets()
    assert responder.map(["Hi"] * workers, max_workers=workers).ok
    assert open_sockets() - before >= workers
    leave.set()
    eventually(lambda: open_sockets() <= before)


def test_the_thread_that_looks_after_idle_connections_ends_with_them(serve: Any, responder_for: Any) -> None:
    """Nothing of ours runs in a process that does not call."""
    responder = responder_for(serve(always()))
    responder.answer("Hi")
    assert os.getpid() in pools._sweepers
    for pool in list(pools._pools):
        pool.close()
    eventually(lambda: os.getpid() not in pools._sweepers)
    assert responder.answer("Hi").text == "Hello."
    assert os.getpid() in pools._sweepers


def test_idle_connections_that_live_are_kept(serve: Any, responder_for: Any) -> None:
    """A sweep closes what is useless, and nothing else."""
    server = serve(always())
    responder = responder_for(server)
    responder.answer("Hi")
    swept = [pool.sweep() for pool in list(pools._pools)]
    assert any(swept)
    responder.answer("Hi")
    assert server.connections == 1


def open_sockets() -> int:
    """Return how many sockets this process has open, the server's ends among them."""
    found = 0
    for entry in Path("/proc/self/fd").iterdir():
        try:
            found += str(entry.readlink()).startswith("socket:")
        except OSError:
            continue
    return found


def eventually(condition: Any) -> None:
    """Wait for what another thread brings about."""
    ends = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < ends
        time.sleep(0.05)
