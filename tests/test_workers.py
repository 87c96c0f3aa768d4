"""A run returns no less than it was given: while the program ends, beside other threads, after a fork, short of threads."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from servers import PATIENCE, Peer, Server, reply, reply_body
from shell import environment

from responder import (
    CancelledError,
    MergedStreams,
    OpenAIResponder,
    parallel_imap,
    parallel_imap_unordered,
)
from responder.simulator import Simulator

LAZY: list[Callable[..., Any]] = [parallel_imap, parallel_imap_unordered]

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")


def run(program: str, *arguments: object) -> list[str]:
    """Run a program that must end by itself, without an error; return the lines that it prints."""
    command = [sys.executable, "-c", textwrap.dedent(program), *map(str, arguments)]
    found = subprocess.run(command, capture_output=True, text=True, env=environment(), timeout=3 * PATIENCE, check=False)
    assert (found.returncode, found.stderr) == (0, "")
    return found.stdout.splitlines()


# --- The end of the program -------------------------------------------------------------------------------------------

# Every way to run 40 items or prompts; each calls `seen` in the thread that reads.
WAYS = """
import sys, threading
from responder import OpenAIResponder, parallel_imap, parallel_imap_unordered, parallel_map

model = OpenAIResponder("m", api_key="test-key", base_url=sys.argv[1])
prompts = [str(number) for number in range(40)]
ways = {
    "parallel_map": lambda seen: parallel_map(str, prompts, max_workers=4, on_result=seen),
    "parallel_imap": lambda seen: parallel_imap(str, iter(prompts), max_workers=4, on_result=seen),
    "parallel_imap_unordered": lambda seen: parallel_imap_unordered(str, prompts, max_workers=4, on_result=seen),
    "map": lambda seen: model.map(prompts, max_workers=4, on_result=seen),
    "imap": lambda seen: model.imap(prompts, max_workers=4, on_result=seen),
    "imap_unordered": lambda seen: model.imap_unordered(iter(prompts), max_workers=4, on_result=seen),
    "stream_map": lambda seen: (event for event in model.stream_map(prompts, max_workers=4) if not seen(event) and event.done),
}

def count(way, seen=lambda result: None):
    results = list(ways[way](seen))
    assert all(getattr(result, "error", None) is None for result in results), results
    return len(results)
"""

NAMES = ["parallel_map", "parallel_imap", "parallel_imap_unordered", "map", "imap", "imap_unordered", "stream_map"]
ALL_WHOLE = [f"{name} 40" for name in NAMES]


def test_threads_that_outlive_the_main_thread_get_all_results(simulator: Simulator) -> None:
    """`Thread(target=job).start()` as a script's last line: 40 in, 40 out, in each way."""
    program = f"""
{WAYS}
begun = threading.Barrier(len(ways) + 1)

def job(way):
    seen = []
    def at_the_fifth(result):
        seen.append(result)
        if len(seen) == 5:
            begun.wait()
            threading.main_thread().join()
    print(f"{{way}} {{count(way, at_the_fifth)}}\\n", end="")

for way in ways:
    threading.Thread(target=job, args=(way,)).start()
begun.wait()
"""
    assert sorted(run(program, simulator.base_url("openai"))) == sorted(ALL_WHOLE)


def test_a_run_that_begins_after_the_main_thread_has_ended_works(simulator: Simulator) -> None:
    """As a single answer does; even where the package is imported only then."""
    program = f"""
import threading

def job():
    threading.main_thread().join()
    exec({WAYS!r}, globals())
    for way in ways:
        print(way, count(way))

threading.Thread(target=job).start()
"""
    assert run(program, simulator.base_url("openai")) == ALL_WHOLE


def test_a_run_in_an_exit_handler_works(simulator: Simulator) -> None:
    """Where Python starts no more threads, one after the other."""
    program = f"""
{WAYS}
import atexit

@atexit.register
def job():
    for way in ways:
        print(way, count(way))
"""
    assert run(program, simulator.base_url("openai")) == ALL_WHOLE


ABANDONED = {
    "by the main thread": """
kept.append(run())
next(kept[0])
""",
    "by a thread": """
def job():
    threading.main_thread().join()
    kept.append(run())
    next(kept[0])
threading.Thread(target=job).start()
""",
    "to a daemon": """
def job():
    try:
        for result in run():
            begun.release()
    except CancelledError:
        pass
threading.Thread(target=job, daemon=True).start()
begun.acquire()
""",
}


@pytest.mark.parametrize("how", ABANDONED)
@pytest.mark.parametrize("way", ["imap", "stream_map", "parallel_imap"])
def test_a_run_that_nobody_reads_any_more_does_not_hold_the_program_up(how: str, way: str, serve: Callable[..., Server]) -> None:
    """One result was taken, the run is kept in a variable, and its server keeps silent from then on."""
    if how == "by a thread" and sys.version_info[:3] in ((3, 12, 0), (3, 12, 1)):
        pytest.skip("these start no thread once the main thread has ended: the reader itself waits for the server")

    def one_answer(peer: Peer) -> None:
        while (request := peer.receive()) is not None:
            if request.prompt != "0":
                peer.wait_until_left()
                return
            peer.send(reply(reply_body()))

    program = f"""
import itertools, sys, threading
from responder import CancelledError, OpenAIResponder, parallel_imap

model = OpenAIResponder("m", api_key="test-key", base_url=sys.argv[1], timeout=600)
kept, begun = [], threading.Semaphore(0)

def run():
    if {way!r} == "parallel_imap":
        return parallel_imap(lambda item: item, itertools.count(), max_workers=4)
    return model.{way}(map(str, itertools.count()), max_workers=4)

{ABANDONED[how]}
print("done")
"""
    assert run(program, f"{serve(one_answer).url}/v1") == ["done"]


# --- Other threads ----------------------------------------------------------------------------------------------------


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """What the functions of a test wait for; opened at its end."""
    event = threading.Event()
    yield event
    event.set()


@pytest.mark.parametrize("way", LAZY)
def test_a_run_that_another_thread_closes_is_not_taken_for_whole(way: Callable[..., Any], gate: threading.Event) -> None:
    """The reader, who waits for the next result, is told that some are missing; and told again when it asks again."""
    inside = threading.Event()

    def work(item: int) -> int:
        if item:
            inside.set()
            gate.wait(PATIENCE)
        return item

    run = way(work, range(9), max_workers=2)
    closer = threading.Thread(target=lambda: inside.wait(PATIENCE) and run.close())
    closer.start()
    with pytest.raises(CancelledError, match="another thread closed the run"):
        list(run)
    closer.join(PATIENCE)
    with pytest.raises(CancelledError, match="not all results were read"):
        next(run)


def test_a_run_that_was_read_to_its_end_is_whole_for_every_thread() -> None:
    """Nothing is missing, whoever looks."""
    run, found = parallel_imap(str, range(3)), []
    assert len(list(run)) == 3
    thread = threading.Thread(target=lambda: found.append(list(run)))
    thread.start()
    thread.join(PATIENCE)
    assert found == [[]]


def test_merged_streams_that_another_thread_closes_are_not_taken_for_whole(simulator: Simulator) -> None:
    """The reader is told, in events and in snapshots."""
    for take in (list, lambda merged: list(merged.snapshots())):
        with OpenAIResponder("m", api_key="test-key", base_url=simulator.base_url("openai")) as model:
            merged: MergedStreams = model.stream_map(["a", "b"])
            next(merged)
            closer = threading.Thread(target=merged.close)
            closer.start()
            closer.join(PATIENCE)
            with pytest.raises(CancelledError, match="another thread closed them"):
                take(merged)  # type: ignore[operator]  # a type and a lambda share no signature


# --- Forks ------------------------------------------------------------------------------------------------------------


@needs_fork
@pytest.mark.parametrize("fork", [os.fork, ctypes.CDLL(None).fork], ids=["os.fork", "fork() in C"])
@pytest.mark.parametrize("way", ["imap", "stream_map", "parallel_imap"])
def test_a_child_that_goes_on_reading_is_told_and_the_parent_gets_everything(
    fork: Callable[[], int], way: str, simulator: Simulator
) -> None:
    """A loop that forks: the child has none of the threads, and must neither wait for them nor take items from the parent."""
    program = f"""
import ctypes, os, signal, sys, time, warnings
from responder import CancelledError, OpenAIResponder, parallel_imap

model = OpenAIResponder("m", api_key="test-key", base_url=sys.argv[1])
fork = {"os.fork" if fork is os.fork else "ctypes.PyDLL(None).fork"}
prompts = map(str, range(40))
warnings.simplefilter("ignore", DeprecationWarning)  # a fork with threads around is what this is about
results = parallel_imap(str, prompts, max_workers=2) if {way!r} == "parallel_imap" else model.{way}(prompts, max_workers=2)
with results:
    next(results)
    # The workers come to rest once results wait. After a fork in C, the interpreter's own lock would still wait for a thread that
    # just wanted it.
    time.sleep(0.5)
    child = fork()
    if not child:
        signal.alarm(60)
        try:
            next(results)
        except CancelledError as error:
            results.close()
            os._exit(7 if "forked" in str(error) else 1)
        os._exit(2)
    taken = list(results)
print(len([one for one in taken if getattr(one, "done", True)]), os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    assert run(program, simulator.base_url("openai")) in (["39 7"], ["40 7"])


@pytest.mark.parametrize("way", ["map", "imap", "stream_map"])
def test_workers_import_nothing(way: str, tmp_path: Path) -> None:
    """A child that is forked in the midst of an import would wait for it for ever; answers, repeats and failures need none."""
    program = f"""
import sys, threading
from responder import OpenAIResponder, Price

class Watch:
    def find_spec(self, name, path=None, target=None):
        if threading.current_thread() is not threading.main_thread():
            print(threading.current_thread().name, "imports", name)

model = OpenAIResponder("m", api_key="test-key", base_url=sys.argv[1], price=Price(1, 1), max_retries=1)
more = {{}} if {way!r} == "stream_map" else {{"hedge": 0.1, "dedupe": True, "checkpoint": sys.argv[2]}}
sys.meta_path.insert(0, Watch())
print(len([one for one in model.{way}([str(n) for n in range(40)], **more) if getattr(one, "done", True)]))
"""
    with Simulator(error_rate=0.3, latency="uniform:0.0:0.01") as provider:
        url = provider.base_url("openai").replace("127.0.0.1", "localhost")
        assert run(program, url, tmp_path / "run.db") == ["40"]


@needs_fork
def test_a_child_that_is_forked_while_a_worker_imports_the_prices_has_them_too() -> None:
    """The list takes a tenth of a second to import, and is imported by whoever needs a price first."""
    pytest.importorskip("genai_prices")
    program = """
import os, signal, threading, time, warnings
from responder.pace import prices
from responder.pace.prices import listed_price

prices._LONGEST_IMPORT = 60.0  # it takes seconds beside forty children on a busy machine
warnings.simplefilter("ignore")
thread = threading.Thread(target=listed_price, args=("openai", "gpt-4o"))
thread.start()
children = []
while thread.is_alive() and len(children) < 40:
    child = os.fork()
    if child == 0:
        signal.alarm(100)
        os._exit(0 if listed_price("openai", "gpt-4o") is not None else 1)
    children.append(child)
print({os.waitpid(child, 0)[1] for child in children})
"""
    assert run(program) == ["{0}"]


# --- Too few threads --------------------------------------------------------------------------------------------------

SHORT = """
import resource, sys, threading
from responder import OpenAIResponder, parallel_imap, parallel_map

model = OpenAIResponder("m", api_key="test-key", base_url=sys.argv[2])
model.answer("warm up")
parallel_map(str, range(3))
gate, kept = threading.Event(), []
size = 256 * 2**20
threading.stack_size(size)
with open("/proc/self/statm") as pages:
    used = int(pages.read().split()[0]) * resource.getpagesize()
limit = used + int(float(sys.argv[1]) * size)
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="limits the address space, so that the system refuses more threads")
@pytest.mark.parametrize("way", ["parallel_map(str, prompts)", "model.map(prompts)", "model.imap(iter(prompts))"])
def test_a_run_goes_on_with_the_threads_that_there_are(way: str, simulator: Simulator) -> None:
    """Of 16 threads the system gives two: all items are done, and the run says why it had no more."""
    program = f"""
{SHORT}
prompts = [str(number) for number in range(40)]
run = {way.replace("parallel_map", "parallel_imap").replace("model.map", "model.imap")}
results = list(run)
assert all(result.ok for result in results)
print(len(results), run.workers_started, run.shortage)
print(len({way} if "imap" not in {way!r} else results))
"""
    first, second = run(program, 2.5, simulator.base_url("openai"))
    assert first == "40 2 can't start new thread"
    assert second == "40"


@pytest.mark.skipif(sys.platform != "linux", reason="limits the address space, so that the system refuses more threads")
def test_merged_streams_go_on_with_the_threads_that_there_are(simulator: Simulator) -> None:
    """Each stream begins when another one has ended."""
    program = f"""
{SHORT}
events = list(model.stream_map([str(number) for number in range(10)]))
print(len([event for event in events if event.done and event.answer is not None]))
"""
    assert run(program, 4.5, simulator.base_url("openai")) == ["10"]


@pytest.mark.skipif(sys.platform != "linux", reason="limits the address space, so that the system refuses more threads")
@pytest.mark.parametrize("way", ["parallel_map(str, [1])", "model.map(['a'])", "list(model.stream_map(['a']))"])
def test_a_run_without_any_thread_names_what_is_missing(way: str, simulator: Simulator) -> None:
    """Nothing was sent, and the message says what to raise."""
    program = f"""
{SHORT}
try:
    {way}
except Exception as error:
    print(type(error).__name__, error)
"""
    (line,) = run(program, 0.5, simulator.base_url("openai"))
    assert line.startswith("ConfigurationError no thread could be started (can't start new thread)")
    assert "ulimit" in line
