"""What is lost when a run dies? Nothing that was finished: killed or interrupted and resumed, each prompt is paid for once.

What a full disk does, or a file that is not ours, is in `test_checkpoint.py`; the command line is in `test_cli_checkpoint.py`.
"""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from servers import PATIENCE, Peer, reply, reply_body
from shell import environment

from responder import OpenAIResponder
from responder.simulator import Simulator

RUN = """
import sys
from responder import OpenAIResponder

url, file, count, workers = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
model = OpenAIResponder("m", api_key="test-key", base_url=url)
prompts = [f"prompt {number};" for number in range(count)]
try:
    batch = model.map(prompts, checkpoint=file, max_workers=workers, on_result=lambda result: print(result.index, flush=True))
except KeyboardInterrupt as stop:
    print("interrupted with", sum(result.ok for result in stop.batch), flush=True)
    raise
assert batch.texts() == [f"Simulated answer to: {prompt}" for prompt in prompts]
"""


def start(*arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", RUN, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
        # A test run in the background of a shell has Ctrl-C ignored, and children inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )


def whole_numbers(output: str) -> set[int]:
    """Return the indexes that were printed; what was cut by a kill does not count."""
    return {int(line) for line in output.splitlines(keepends=True) if line.endswith("\n")}


@pytest.mark.acceptance(7)
@pytest.mark.pain(4)
@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL")
@pytest.mark.timeout(300)  # it starts twenty programs
def test_a_run_killed_at_twenty_moments_pays_once(tmp_path: Path) -> None:
    """At random moments, while it starts, asks, or stores: what was handed out is not asked again; only what was in flight is."""
    kills, count, workers = 20, 600, 8
    moments = [random.uniform(-0.1, 0.25) for _ in range(kills)]
    handed_out: set[int] = set()
    arguments = (tmp_path / "run.db", count, workers)
    with Simulator(latency="uniform:0.005:0.06") as simulator:
        url = simulator.base_url("openai")
        for moment in moments:
            before = len(simulator.received)
            process = start(url, *arguments)
            while moment >= 0 and process.poll() is None and not simulator.wait_for(before + 1, 0.5):
                pass  # those are counted from the first request on; the others die while they start
            time.sleep(abs(moment))
            process.kill()
            output, errors = process.communicate(timeout=PATIENCE)
            assert process.returncode in (-signal.SIGKILL, 0), errors
            assert simulator.wait_until_idle()
            asked = {request.prompt for request in simulator.received[before:]}
            assert not asked & {f"prompt {index};" for index in handed_out}, moments
            handed_out |= whole_numbers(output)
        process = start(url, *arguments)
        output, errors = process.communicate(timeout=PATIENCE)
        paid = Counter(request.prompt for request in simulator.received)
    assert (process.returncode, errors) == (0, "")
    assert whole_numbers(output) == set(range(count))
    assert set(paid) == {f"prompt {number};" for number in range(count)}
    assert paid.total() <= count + kills * workers, moments


@pytest.mark.acceptance(7)
@pytest.mark.pain(3)
@pytest.mark.pain(4)
@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGINT")
def test_one_ctrl_c_at_half_ends_the_process_with_everything_kept(serve: Any, tmp_path: Path) -> None:
    """A server that never answers the second half: the finished results are at hand, and the next run asks only for the rest."""
    count, workers = 60, 8
    lock, waiting = threading.Lock(), threading.Semaphore(0)
    asked: list[str] = []

    def half(peer: Peer) -> None:
        while (request := peer.receive()) is not None:
            with lock:
                asked.append(request.prompt)
                is_answered = len(asked) <= count // 2 or peer.server.released.is_set()
            if not is_answered:
                waiting.release()
                peer.wait_until_left()
                return
            peer.send(reply(reply_body(f"Simulated answer to: {request.prompt}")))

    server = serve(half)
    url, file = f"{server.url}/v1", tmp_path / "run.db"
    process = start(url, file, count, workers)
    for _ in range(workers):
        assert waiting.acquire(timeout=PATIENCE)
    begin = time.monotonic()
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=PATIENCE)
    took = time.monotonic() - begin
    *indexes, last = output.splitlines()
    assert "KeyboardInterrupt" in errors
    assert last == f"interrupted with {count // 2}"
    assert set(map(int, indexes)) <= set(range(count))
    assert took < 30.0  # and not the ten minutes that the server may take

    server.released.set()
    first = list(asked)
    with OpenAIResponder("m", api_key="test-key", base_url=url) as model:
        batch = model.map([f"prompt {number};" for number in range(count)], checkpoint=file)
    assert batch.ok
    assert sorted(asked[len(first) :]) == sorted({f"prompt {number};" for number in range(count)} - set(first[: count // 2]))
    print(f"ended {took:.2f} s after Ctrl-C")
