"""Forks that run none of Python's hooks (uWSGI's, any C code's): no process reads what was meant for another."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import urllib.request
from pathlib import Path
from typing import Any

import pytest
import requests
from servers import PATIENCE, Peer, reply, reply_body

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")

# A range for each process that runs tests; `apps/conftest.py` and `redis_server.py` have others.
PORTS = 28_000 + 100 * int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))


def is_free(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
        return True
    return False


# The child of a C function's fork is a Python that has not been told. `PyDLL` keeps the interpreter lock over the call.
BARE_FORK = """
    import ctypes, os, sys, time, warnings
    warnings.simplefilter("ignore")
    import requests
    from responder import OpenAIResponder

    def bare_fork():
        time.sleep(0.2)  # the other threads come to rest: one that just wakes up may hold what the interpreter's own lock needs
        return ctypes.PyDLL(None).fork()

    def in_a_child(step):
        read, write = os.pipe()
        if bare_fork() == 0:
            said = "broken"
            try:
                said = repr(step())
            except BaseException as error:
                said = repr(error)
            finally:
                os.write(write, said.encode())
                os._exit(0)
        os.close(write)
        return os.fdopen(read)

    session = requests.Session() if sys.argv[2:] == ["users"] else None
    gpt = OpenAIResponder("m", api_key="k", base_url=sys.argv[1] + "/v1", max_retries=0, timeout=20, session=session)
"""


def echo(owners: dict[int, set[str]]) -> Any:
    """Answer each prompt with itself, and note which prompts came over which connection."""

    def handler(peer: Peer) -> None:
        while (request := peer.receive()) is not None:
            owners.setdefault(peer.number, set()).add(request.prompt.split()[0])
            peer.send(reply(reply_body(request.prompt)))

    return handler


def run(script: str, *arguments: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(BARE_FORK) + textwrap.dedent(script), *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, **environment},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


BOTH_CALL = """
    assert gpt.answer("before").text == "before"
    child = in_a_child(lambda: [gpt.answer(f"child {number}").text for number in range(50)])
    mine = [gpt.answer(f"parent {number}").text for number in range(50)]
    assert mine == [f"parent {number}" for number in range(50)], mine
    print(child.read() == repr([f"child {number}" for number in range(50)]))
"""


@pytest.mark.parametrize("session", ["ours", "users"])
@pytest.mark.parametrize("secure", [False, True], ids=["tcp", "tls"])
def test_after_a_bare_fork_each_process_has_connections_of_its_own(
    serve: Any, server_context: Any, authority_file: Path, secure: bool, session: str
) -> None:
    """The parent asked "parent", and got what the child had asked: that must not be."""
    owners: dict[int, set[str]] = {}
    server = serve(echo(owners), server_context if secure else None)
    assert run(BOTH_CALL, server.url, session, REQUESTS_CA_BUNDLE=str(authority_file)) == "True"
    assert not any({"child", "parent"} <= prompts or {"child", "before"} <= prompts for prompts in owners.values()), owners
    assert {"before", "parent"} in owners.values()


MAP_IN_CHILD = """
    assert gpt.map(["before"] * 8, max_workers=8).ok
    child = in_a_child(lambda: set(gpt.map([f"child {number}" for number in range(40)], max_workers=8).texts()))
    mine = gpt.map([f"parent {number}" for number in range(40)], max_workers=8).texts()
    assert mine == [f"parent {number}" for number in range(40)], mine
    print(child.read() == repr({f"child {number}" for number in range(40)}) or child)
"""


@pytest.mark.parametrize("session", ["ours", "users"])
def test_a_map_in_a_child_of_a_bare_fork_gets_its_own_answers(serve: Any, session: str) -> None:
    """Many threads in both processes, at the same time."""
    owners: dict[int, set[str]] = {}
    assert run(MAP_IN_CHILD, serve(echo(owners)).url, session) == "True"
    assert not any({"child", "parent"} <= prompts for prompts in owners.values()), owners


STREAM_IN_CHILD = """
    stream = iter(gpt.stream("before"))
    next(stream)
    def read_on():
        try:
            return list(stream)
        except Exception as error:
            return type(error).__name__
    said = in_a_child(read_on).read()
    print(said, "".join(piece for piece in stream))
"""


def test_a_child_reads_nothing_of_a_stream_that_its_parent_began(serve: Any) -> None:
    """Each byte that the child took would be missing in the parent."""

    def handler(peer: Peer) -> None:
        if peer.receive() is None:
            return
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")
        for piece in ("one", "two", "three"):
            peer.send(b'data: {"choices": [{"index": 0, "delta": {"content": "%s "}}]}\n\n' % piece.encode())
            peer.server.stopping.wait(0.3)
        peer.send(b'data: {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}\n\ndata: [DONE]\n\n')

    said = run(STREAM_IN_CHILD, serve(handler).url)
    assert said == "'StreamInterruptedError' two three"


CANCEL_IN_CHILD = """
    import threading
    from responder import CancelToken
    token = CancelToken()
    answers = []
    thread = threading.Thread(target=lambda: answers.append(gpt.answer("before", cancel=token).text))
    thread.start()
    sys.stdin.readline()
    def cancel():
        token.cancel()
        return token.cancelled
    print(in_a_child(cancel).read(), flush=True)
    thread.join()
    print(answers)
"""


def test_a_cancel_in_a_child_does_not_end_the_parents_call(serve: Any) -> None:
    """A socket that is shut down is shut down for both."""

    def handler(peer: Peer) -> None:
        if peer.receive() is not None:
            peer.server.released.wait(PATIENCE)
            peer.send(reply())

    server = serve(handler)
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(BARE_FORK) + textwrap.dedent(CANCEL_IN_CHILD), server.url],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        server.wait_for(1)
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write("go\n")
        process.stdin.flush()
        assert process.stdout.readline().strip() == "True"
        server.released.set()
        assert process.stdout.readline().strip() == "['Hello.']"


APPLICATION = """
    import os
    from responder import OpenAIResponder

    gpt = OpenAIResponder("m", api_key="k", base_url=os.environ["PROVIDER"] + "/v1", max_retries=0, timeout=20)
    assert gpt.answer("master").text == "master"

    def application(environ, start_response):
        prompt = f"{os.getpid()} {environ['PATH_INFO']}"
        said = gpt.answer(prompt).text
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"right" if said == prompt else f"wrong: {said} for {prompt}".encode()]
"""


@pytest.mark.skipif(shutil.which("uwsgi", path=str(Path(sys.executable).parent)) is None, reason="no uWSGI")
def test_under_uwsgi_no_process_reads_another_ones_answer(serve: Any, tmp_path: Path) -> None:
    """A master that has called before it forks, four processes with its defaults, many requests at once."""
    owners: dict[int, set[str]] = {}
    server = serve(echo(owners))
    (tmp_path / "application.py").write_text(textwrap.dedent(APPLICATION))
    # Not one that the system hands out by itself: it might have done so before uWSGI listens.
    port = next(port for port in range(PORTS, PORTS + 100) if is_free(port))
    command = [
        str(Path(sys.executable).parent / "uwsgi"), "--master", "--processes", "4", "--http-socket", f"127.0.0.1:{port}",
        "--module", "application", "--chdir", str(tmp_path), "--die-on-term", "--disable-logging",
        *(["--virtualenv", sys.prefix] if sys.prefix != sys.base_prefix else []),
    ]  # fmt: skip
    environment = {**os.environ, "PROVIDER": server.url, "PYTHONPATH": os.pathsep.join([*sys.path, str(tmp_path)])}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        ready = threading.Event()

        def watch() -> None:
            for line in process.stderr:  # type: ignore[union-attr]  # it is a pipe
                if "spawned uWSGI worker 4" in line:
                    ready.set()
            ready.set()

        threading.Thread(target=watch, daemon=True).start()
        assert ready.wait(PATIENCE)
        assert process.poll() is None
        said: list[bytes] = []

        def visit(number: int) -> None:
            for turn in range(10):
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/{number}-{turn}", timeout=PATIENCE) as page:
                    said.append(page.read())

        visitors = [threading.Thread(target=visit, args=(number,)) for number in range(8)]
        for visitor in visitors:
            visitor.start()
        for visitor in visitors:
            visitor.join(60)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(PATIENCE)
        process.stderr.close()  # type: ignore[union-attr]  # it is a pipe
    assert said == [b"right"] * 80
    assert all(len(processes) == 1 for processes in owners.values()), owners


def test_a_session_is_told_apart_by_process_without_touching_its_locks() -> None:
    """Its adapters get new pools; the user's settings of them stay."""
    from responder.wire.foreign import Sessions

    with requests.Session() as session:
        adapter = requests.adapters.HTTPAdapter(pool_connections=3, pool_maxsize=5, pool_block=True)
        session.mount("http://", adapter)
        sessions, before = Sessions(session), adapter.poolmanager
        sessions._process -= 1
        assert sessions.get() is session
        assert adapter.poolmanager is not before
        assert adapter.poolmanager.connection_pool_kw["maxsize"] == 5
        assert adapter.poolmanager.connection_pool_kw["block"] is True
