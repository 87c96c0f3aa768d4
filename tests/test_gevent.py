"""Greenlets in the place of threads: `gevent.monkey.patch_all()` before or after the import."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest
from servers import PATIENCE, Peer, always, reply, silent

pytest.importorskip("gevent")

SCRIPT = """
    import sys, warnings
    warnings.simplefilter("ignore")
    order, url = sys.argv[1:3]
    if order == "after":
        from responder import OpenAIResponder
        OpenAIResponder("m", api_key="k")
    from gevent import monkey
    monkey.patch_all()
    from responder import APITimeoutError, DeadlineExceededError, OpenAIResponder
    gpt = OpenAIResponder("m", api_key="k", base_url=url + "/v1", max_retries=0, timeout=20)
    {body}
"""


def run(body: str, order: str, *arguments: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(SCRIPT).replace("{body}", textwrap.dedent(body)), order, *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, **environment},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize("order", ["before", "after"])
@pytest.mark.parametrize("secure", [False, True], ids=["tcp", "tls"])
def test_greenlets_call_together(serve: Any, server_context: Any, authority_file: Path, order: str, secure: bool) -> None:
    """Eight calls are under way at once, over a name that is looked up."""
    import threading

    together = threading.Barrier(8)

    def handler(peer: Peer) -> None:
        while peer.receive() is not None:
            together.wait(PATIENCE)
            peer.send(reply())

    server = serve(handler, server_context if secure else None)
    url = server.url.replace("127.0.0.1", "localhost")
    assert run("print(gpt.map(['Hi'] * 16, max_workers=8).ok)", order, url, REQUESTS_CA_BUNDLE=str(authority_file)) == "True"


def test_a_deadline_holds_for_greenlets(serve: Any) -> None:
    """And the hub goes on meanwhile."""
    body = """
        try:
            gpt.answer("Hi", deadline=0.3)
        except DeadlineExceededError:
            print("ended")
    """
    assert run(body, "before", serve(silent).url) == "ended"


def test_a_timeout_of_gevents_own_goes_through(serve: Any) -> None:
    """`gevent.Timeout` is the user's, as an alarm is."""
    body = """
        import gevent
        try:
            with gevent.Timeout(0.3):
                gpt.answer("Hi")
        except gevent.Timeout:
            print("ended")
    """
    assert run(body, "before", serve(silent).url) == "ended"
    assert run("print(gpt.answer('Hi').text)", "before", serve(always()).url) == "Hello."
