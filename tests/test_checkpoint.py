"""The checkpoint: what was paid for is asked once, whatever kills the run, and a file that is not ours is left alone."""

from __future__ import annotations

import contextlib
import gc
import itertools
import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from servers import PATIENCE, Server, always
from shell import environment

from responder import (
    Answer,
    AnthropicResponder,
    BadRequestError,
    CancelledError,
    CancelToken,
    ConfigurationError,
    DeadlineExceededError,
    GeminiResponder,
    OpenAIResponder,
    for_model,
)
from responder.many.checkpoint import Checkpoint, StoredAnswer
from responder.many.checkpoint_file import refuse_foreign
from responder.responder import Responder
from responder.simulator import Fault, Simulator
from responder.values.deadline import NEVER, Deadline

PROMPTS = [f"prompt {number};" for number in range(40)]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "run.db"


def responder(simulator: Simulator, model: str = "m", **keywords: Any) -> OpenAIResponder:
    return OpenAIResponder(model, **{"api_key": "test-key", "base_url": simulator.base_url("openai"), **keywords})


def asked(simulator: Simulator) -> list[str]:
    """Return the prompts that came in, and forget them."""
    prompts = [request.prompt or "" for request in simulator.received]
    simulator.clear()
    return prompts


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def start(script: str, *arguments: object, options: tuple[str, ...] = ()) -> subprocess.Popen[str]:
    """Start a program that has the package at hand."""
    return subprocess.Popen(
        [sys.executable, *options, "-c", script, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
    )


# Asked once


def test_a_second_run_asks_only_what_is_missing(simulator: Simulator, file: Path) -> None:
    """Answers that the file holds are not asked for again, wherever their prompts stand now."""
    model = responder(simulator)
    model.map(PROMPTS[:25], checkpoint=file)
    asked(simulator)

    batch = model.map(PROMPTS[::-1], checkpoint=file)

    assert sorted(asked(simulator)) == sorted(PROMPTS[25:])
    assert batch.texts() == [f"Simulated answer to: {prompt}" for prompt in PROMPTS[::-1]]
    assert [result.attempts for result in batch] == [1] * 15 + [0] * 25


@pytest.mark.parametrize("kind", [OpenAIResponder, AnthropicResponder, GeminiResponder])
def test_an_answer_comes_back_as_it_was(kind: Callable[..., Responder], simulator: Simulator, file: Path) -> None:
    """Text, usage, finish reason, ids and the raw reply are those of the first run; only `attempts` says 0."""
    name = {OpenAIResponder: "openai", AnthropicResponder: "anthropic", GeminiResponder: "gemini"}[kind]  # type: ignore[index]  # the classes stand for themselves
    model = kind("m", api_key="test-key", base_url=simulator.base_url(name))
    prompt = "Grüße 🐈 a\u2028b"

    first, second = (model.map([prompt], checkpoint=file)[0].unwrap() for _ in range(2))

    assert len(simulator.received) == 1
    for field in ("text", "usage", "finish_reason", "request_id", "model", "provider", "raw", "reasoning", "tool_calls"):
        assert getattr(second, field) == getattr(first, field)
    assert (first.attempts, second.attempts) == (1, 0)


@pytest.mark.parametrize(
    "change",
    [
        {"prompt": "What is cricket?"},
        {"prompt": [{"role": "user", "content": "What is baseball?"}, {"role": "assistant", "content": "A"}]},
        {"temperature": 0.5},
        {"max_tokens": 50},
        {"extra": {"user": "u"}},
        {"system": "Be brief."},
        {"schema": {"type": "object", "properties": {"name": {"type": "string"}}}},
        {"model": "another"},
        {"base_url": "groq"},
    ],
    ids=lambda change: "-".join(change),
)
def test_whatever_is_changed_is_asked_anew(change: dict[str, Any], simulator: Simulator, file: Path) -> None:
    """What was asked is prompt, options, system, schema, model and URL; another one of them is another question."""

    def run(prompt: Any = "What is baseball?", base_url: str = "openai", **more: Any) -> None:
        responder(simulator, base_url=simulator.base_url(base_url), **more).map([prompt], checkpoint=file)

    run()
    run(**change)
    assert len(simulator.received) == 2
    run()
    run(**change)
    assert len(simulator.received) == 2


def test_a_simulated_model_is_the_same_one_in_the_next_process(simulator: Simulator, file: Path) -> None:
    """Its server has another port there, and whoever tries a checkpoint out without a key must see it work."""
    with Simulator() as other, for_model("simulated:m", base_url=other.base_url("openai")) as before:
        before.map(["a", "b"], checkpoint=file)
    with for_model("simulated:m", base_url=simulator.base_url("openai")) as after:
        assert [result.attempts for result in after.map(["a", "b", "c"], checkpoint=file)] == [0, 0, 1]


def test_another_key_is_no_other_question(simulator: Simulator, file: Path) -> None:
    """A key that was renewed meanwhile does not make anybody pay twice."""
    responder(simulator).map(["Hi"], checkpoint=file)
    responder(simulator, api_key="renewed-key").map(["Hi"], checkpoint=file)
    assert len(simulator.received) == 1


def test_equal_prompts_of_a_run_keep_their_own_answers(file: Path) -> None:
    """Five samples of one prompt are five answers, also when they are resumed; two more are asked for."""
    numbers = itertools.count()
    with Simulator(reply=lambda prompt: f"sample {next(numbers)}") as simulator:
        model = responder(simulator)
        first = model.map(["a sample"] * 5, checkpoint=file).texts()
        second = model.map(["a sample"] * 5, checkpoint=file).texts()
        third = model.map(["a sample"] * 7, checkpoint=file).texts()
        assert len(simulator.received) == 7
    assert len(set(first)) == 5
    assert set(second) == set(first)
    assert set(third) > set(first)
    assert len(set(third)) == 7


def test_failures_are_not_kept(simulator: Simulator, file: Path) -> None:
    """A second run asks for what failed, and for nothing else."""
    simulator.script_for("prompt 3;", Fault.status(400))
    model = responder(simulator)
    first = model.map(PROMPTS, checkpoint=file)
    asked(simulator)
    second = model.map(PROMPTS, checkpoint=file)
    assert isinstance(first[3].error, BadRequestError)
    assert asked(simulator) == ["prompt 3;"]
    assert second.ok


def test_with_dedupe_an_answer_is_kept_once(simulator: Simulator, file: Path) -> None:
    """Equal prompts that are asked once have one answer in the file, and a second run asks nothing."""
    model = responder(simulator)
    for _ in range(2):
        assert model.map(["a", "b"] * 5, checkpoint=file, dedupe=True).ok
    assert sorted(asked(simulator)) == ["a", "b"]


def test_a_run_that_was_stopped_keeps_what_is_finished(simulator: Simulator, file: Path) -> None:
    """`on_error="raise"`, a loop that is left, a lapsed run_deadline: the next run goes on from there."""
    model = responder(simulator)
    simulator.script_for("prompt 20;", Fault.status(400))
    with pytest.raises(BadRequestError) as raised:
        model.map(PROMPTS, checkpoint=file, on_error="raise", max_workers=2)
    kept = {result.prompt for result in raised.value.batch if result.ok}  # type: ignore[attr-defined]  # the run that it ended put it there
    assert len(kept) >= 15
    asked(simulator)
    with model.imap(PROMPTS, checkpoint=file, max_workers=2) as run:
        kept |= {next(run).prompt for _ in range(30)}
    kept -= set(asked(simulator))

    assert model.map(PROMPTS, checkpoint=file).ok
    assert not kept & set(asked(simulator))


def test_every_kind_of_map_takes_one(simulator: Simulator, file: Path) -> None:
    """`imap` and `imap_unordered` keep and take answers as `map` does."""
    model = responder(simulator)
    assert all(result.ok for result in model.imap(PROMPTS, checkpoint=file))
    assert sorted(result.index for result in model.imap_unordered(PROMPTS, checkpoint=file)) == list(range(len(PROMPTS)))
    assert len(simulator.received) == len(PROMPTS)


# Killed


RUN = """
import sys
from responder import OpenAIResponder

url, file, count, workers = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
model = OpenAIResponder("m", api_key="test-key", base_url=url)
batch = model.map(
    [f"prompt {number};" for number in range(count)],
    checkpoint=file,
    max_workers=workers,
    on_result=lambda result: print(result.index, result.ok, flush=True),
)
sys.exit(0 if batch.ok else 1)
"""


def test_what_was_handed_out_before_a_kill_is_in_the_file(simulator: Simulator, file: Path) -> None:
    """The answer is stored before its result is handed out, so whoever has seen it need not pay again."""
    simulator.script_for("prompt 30;", Fault.silence())
    process = start(RUN, simulator.base_url("openai"), file, 40, 2)
    assert process.stdout is not None
    assert process.stderr is not None
    seen = [int(process.stdout.readline().split()[0]) for _ in range(30)]
    process.kill()
    process.communicate()
    asked(simulator)

    assert responder(simulator).map(PROMPTS, checkpoint=file).ok

    assert not {f"prompt {number};" for number in seen} & set(asked(simulator))


# Several at once


def test_two_processes_may_write_to_one_file(file: Path) -> None:
    """Each gets all its answers, and what either of them has paid for is there for the next run."""
    with Simulator(latency=0.005) as simulator:
        processes = [start(RUN, simulator.base_url("openai"), file, 60, 4) for _ in range(2)]
        for process in processes:
            output, errors = process.communicate(timeout=60)
            assert (process.returncode, errors) == (0, "")
            assert output.count("True") == 60
        paid = len(simulator.received)
        process = start(RUN, simulator.base_url("openai"), file, 60, 4)
        process.communicate(timeout=60)
        assert process.returncode == 0
        assert len(simulator.received) == paid


def test_many_may_begin_one_file_at_the_same_moment(tmp_path: Path) -> None:
    """Whoever comes while another one is just making the file waits for it, and takes it for what it is."""
    for attempt in range(40):
        file, barrier = tmp_path / f"{attempt}.db", threading.Barrier(6)

        def begin(number: int, file: Path = file, barrier: threading.Barrier = barrier) -> None:
            barrier.wait(PATIENCE)
            checkpoint = Checkpoint(file)
            checkpoint.store(bytes([number]), {"number": number}, None)
            checkpoint.close()

        with ThreadPoolExecutor(6) as pool:
            list(pool.map(begin, range(6)))
        with contextlib.closing(sqlite3.connect(file)) as connection:
            assert connection.execute("SELECT count(*) FROM answers").fetchone() == (6,)


def test_a_file_that_was_only_begun_is_taken_over(file: Path) -> None:
    """A process that was killed while it made the file leaves one without tables: that is no foreign file."""
    with contextlib.closing(sqlite3.connect(file)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
    assert file.stat().st_size > 0
    Checkpoint(file).close()


def test_an_empty_file_is_taken_over(file: Path) -> None:
    """`mktemp` makes such files."""
    file.touch()
    Checkpoint(file).close()


def test_threads_store_and_take_together(file: Path) -> None:
    """Every answer that was stored is taken once, whatever the threads do at the same time."""
    first = Checkpoint(file)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: first.store(b"q", {"number": number}, None), range(200)))
    first.close()
    second = Checkpoint(file)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: second.take(b"q"), range(210)))
        list(pool.map(lambda number: second.store(b"r", {"number": number}, "id"), range(50)))
    second.close()
    second.close()
    assert found.count(None) == 10
    assert sorted(answer.reply["number"] for answer in found if answer is not None) == list(range(200))


# A cache


def test_a_question_is_found_as_often_as_it_is_asked(file: Path) -> None:
    """The newest answer, whichever run stored or took it; and what was found can still be taken."""
    first = Checkpoint(file)
    assert first.find(b"q") is None
    for number in range(3):
        first.store(b"q", {"number": number}, f"id-{number}")
        assert first.find(b"q") == StoredAnswer({"number": number}, f"id-{number}")
    first.close()
    second = Checkpoint(file)
    for _ in range(2):
        assert second.find(b"q") == StoredAnswer({"number": 2}, "id-2")
        assert second.find(b"other") is None
    taken = [second.take(b"q") for _ in range(4)]
    assert second.find(b"q") == StoredAnswer({"number": 2}, "id-2")
    second.close()
    assert sorted(answer.reply["number"] for answer in taken if answer is not None) == [0, 1, 2]


def test_one_file_may_be_checkpoint_and_cache_at_the_same_time(file: Path) -> None:
    """What one connection has stored, the other one finds at once, and many threads may do both."""
    checkpoint, cache = Checkpoint(file), Checkpoint(file)

    def work(number: int) -> bool:
        question = b"question %d" % number
        checkpoint.store(question, {"number": number}, None)
        found = cache.find(question)
        cache.store(question, {"number": -number}, None)
        newest = checkpoint.find(question)
        return (found, newest) == (StoredAnswer({"number": number}, None), StoredAnswer({"number": -number}, None))

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(work, range(100))) == [True] * 100
    checkpoint.close()
    cache.close()


# Forked


FORKS = """
import gc, os, sys, threading, time
from responder.many.checkpoint import Checkpoint

checkpoint = Checkpoint(sys.argv[1])
checkpoint.store(b"parent", {"number": 0}, None)
stop = threading.Event()
stored = [0] * 4

def work(place):
    while not stop.is_set():
        checkpoint.store(b"thread %d" % place, {"number": stored[place]}, None)
        stored[place] += 1

threads = [threading.Thread(target=work, args=(place,)) for place in range(4)]
for thread in threads:
    thread.start()
children = []
for number in range(12):
    child = os.fork()
    if child == 0:
        assert checkpoint.find(b"parent").reply == {"number": 0}
        for again in range(10):
            checkpoint.store(b"child %d" % number, {"number": again}, None)
            assert checkpoint.find(b"child %d" % number).reply == {"number": again}
        if number % 2:
            checkpoint.close()
        del checkpoint
        gc.collect()
        sys.exit(0)  # the interpreter tidies up after itself
    children.append(child)
codes = [os.waitpid(child, 0)[1] for child in children]
stop.set()
for thread in threads:
    thread.join()
checkpoint.close()
print(codes, stored)
"""


@pytest.mark.pain(15)
@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_forked_child_opens_the_file_anew(file: Path) -> None:
    """While four threads of the parent store without a pause, each of twelve children finds and stores, too."""
    process = start(FORKS, file, options=("-W", "ignore"))
    output, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (0, "")
    codes, _, stored = output.partition("]")
    assert json.loads(codes + "]") == [0] * 12
    with contextlib.closing(sqlite3.connect(file)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        (kept,) = connection.execute("SELECT count(*) FROM answers").fetchone()
    assert kept == 1 + 12 * 10 + sum(json.loads(stored))


STUCK = """
import ctypes, os, signal, sys
from responder import ConfigurationError
from responder.many.checkpoint import Checkpoint

checkpoint = Checkpoint(sys.argv[1])
checkpoint.store(b"of the parent", {}, None)
if ctypes.PyDLL(None).fork():  # as uWSGI does, which does not tell Python
    os.kill(os.getpid(), signal.SIGKILL)
for use in (lambda: checkpoint.find(b"of the parent"), lambda: Checkpoint(sys.argv[1])):
    try:
        use()
    except ConfigurationError as error:
        print(error, flush=True)
sys.stdin.read()
"""

DIES = """
import os, signal, sys
from responder.many.checkpoint import Checkpoint

checkpoint = Checkpoint(sys.argv[1])
checkpoint.store(b"of another run", {}, None)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.pain(15)
@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_connection_that_a_child_could_not_but_inherit_harms_no_later_run(file: Path, tmp_path: Path) -> None:
    """It is not used there, and not closed either: that would delete the log in which another killed run left its answers."""
    child = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", STUCK, str(file)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment(),
    )
    with child:
        assert child.wait(60) == -signal.SIGKILL
        assert child.stdout is not None
        assert ["was forked while" in child.stdout.readline() for _ in range(2)] == [True, True]
        Checkpoint(file).close()  # clears away what the killed one has left
        assert start(DIES, file).communicate(timeout=60) == ("", "")
        assert "run.db-wal" in contents(tmp_path)
        child.communicate()  # the end of its input ends the child, and the end of its output says that it has ended
    checkpoint = Checkpoint(file)
    found = [checkpoint.find(question) is not None for question in (b"of the parent", b"of another run")]
    checkpoint.close()
    assert found == [True, True]


SILENT_FORK = """
import ctypes, os, signal, sys, threading, time
from responder import ConfigurationError
from responder.many.checkpoint import Checkpoint
from responder.many.database import GATE

opened = Checkpoint(sys.argv[1])
opened.store(b"q", {"of": "parent"}, None)
before = Checkpoint(sys.argv[1] + " closed")
before.store(b"q", {}, None)
before.close()
codes = []
for is_inside in (False, True):
    inside, leave = threading.Event(), threading.Event()

    def work():
        with GATE:  # as a thread of the parent that is in SQLite at the moment of the fork
            inside.set()
            leave.wait()

    if is_inside:
        threading.Thread(target=work).start()
        inside.wait()
    time.sleep(0.2)  # until the thread rests: one that just wakes up may hold what the interpreter's own lock needs
    child = ctypes.PyDLL(None).fork()  # as uWSGI does it, which does not tell Python
    if not child:
        signal.alarm(60)
        found = []
        for use in (lambda: opened.find(b"q"), lambda: Checkpoint(sys.argv[1] + " closed").find(b"q")):
            try:
                found.append(use() is not None)
            except ConfigurationError as error:
                found.append("forked while" in str(error))
        os._exit(0 if found == [True, True] else 1)
    codes.append(os.waitpid(child, 0)[1])
    leave.set()
print(codes, opened.find(b"q").reply)
"""


@pytest.mark.pain(15)
@pytest.mark.skipif(sys.platform != "linux", reason="calls the C library's fork()")
def test_a_child_that_was_forked_without_pythons_knowledge_neither_hangs_nor_shares(file: Path) -> None:
    """What was open is refused, with the reason; what was not is opened; and while a thread was in SQLite, both are refused."""
    process = start(SILENT_FORK, file, options=("-W", "ignore"))
    output, errors = process.communicate(timeout=60)
    assert (process.returncode, errors, output) == (0, "", "[0, 0] {'of': 'parent'}\n")


FORK_STORM = """
import os, signal, sys, threading, warnings
from responder.many.checkpoint import Checkpoint

warnings.simplefilter("ignore")
folder, forks = sys.argv[1], int(sys.argv[2])
stop = threading.Event()
begun = [threading.Event() for _ in range(4)]

def work(place):
    number = 0
    while not stop.is_set():  # made between any two steps of a fork, used, and closed
        checkpoint = Checkpoint(f"{folder}/{place}.db")
        checkpoint.store(b"question", {"number": number}, None)
        assert checkpoint.find(b"question").reply == {"number": number}
        checkpoint.close()
        number += 1
        begun[place].set()

threads = [threading.Thread(target=work, args=(place,)) for place in range(4)]
for thread in threads:
    thread.start()
for event in begun:
    event.wait()
codes = set()
for number in range(forks):
    child = os.fork()
    if child == 0:
        signal.alarm(60)  # a child that hangs is killed by it
        checkpoint = Checkpoint(f"{folder}/child {number % 3}.db")
        checkpoint.store(b"question", {"number": number}, None)
        found = checkpoint.find(b"question") is not None
        other = Checkpoint(f"{folder}/{number % 4}.db").find(b"question") is not None
        os._exit(0 if found and other else 1)
    codes.add(os.waitpid(child, 0)[1])
stop.set()
for thread in threads:
    thread.join()
print(codes)
"""


@pytest.mark.pain(15)
@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_no_forked_child_hangs_in_sqlite(tmp_path: Path) -> None:
    """Four threads open, use and close checkpoints without a pause while the process forks: each child works at once.

    A hundred forks here; FORKS=500 in the environment makes it as many as that.
    """
    forks = int(os.environ.get("FORKS", "100"))
    process = start(FORK_STORM, tmp_path, forks)
    output, errors = process.communicate(timeout=100 if forks <= 100 else None)
    assert (process.returncode, errors, output) == (0, "", "{0}\n")


LOOK_IN_MID_WRITE = """
import pathlib, sys
from responder.many.checkpoint import Checkpoint

path = pathlib.Path(sys.argv[1])
with_an_answer = Checkpoint(path)
with_an_answer.store(b"question", {"number": 1}, None)
with_an_answer.close()
whole = path.read_bytes()
path.write_bytes(whole[: len(whole) // 2])
looks = 0

def finish_writing(event, _):
    global looks
    if event == "sqlite3.connect":
        looks += 1
        if looks == 2:
            path.write_bytes(whole)

sys.addaudithook(finish_writing)
checkpoint = Checkpoint(path)
print(checkpoint.find(b"question").reply)
checkpoint.close()
"""


def test_a_file_that_another_program_is_just_writing_is_not_taken_for_a_damaged_one(file: Path) -> None:
    """Read without its locks, since it had no log, it fits together again at the second look."""
    process = start(LOOK_IN_MID_WRITE, file)
    output, errors = process.communicate(timeout=60)
    assert (process.returncode, errors, output) == (0, "", "{'number': 1}\n")


# Locked by another program


HOLDER = """
import sqlite3, sys

connection = sqlite3.connect(sys.argv[1], isolation_level=None)
for statement in sys.argv[2:]:
    connection.execute(statement)
print("held", flush=True)
sys.stdin.read()
"""


@contextlib.contextmanager
def held(file: Path, *statements: str) -> Iterator[int]:
    """Let another program hold the file; give its process."""
    command = [sys.executable, "-c", HOLDER, str(file), *statements]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        if hasattr(signal, "SIGSTOP"):
            process.send_signal(signal.SIGSTOP)  # it does not let go by itself
        yield process.pid
        process.kill()


def who(process: int) -> str:
    return rf"run\.db.* locked by .*process {process} \(" if sys.platform == "linux" else r"run\.db.* locked by"


def test_a_file_that_another_program_keeps_to_itself_is_waited_for_up_to_the_deadline(file: Path) -> None:
    """Opening it and looking at it know their deadline and their token; the error names the file and who holds it."""
    valid(file)
    cancelled = CancelToken()
    cancelled.cancel("enough")
    with held(file, "PRAGMA locking_mode = EXCLUSIVE", "BEGIN EXCLUSIVE", "DELETE FROM runs WHERE id < 0") as process:
        for use in (Checkpoint, refuse_foreign):
            with pytest.raises(DeadlineExceededError, match=who(process)):
                use(str(file), Deadline.after(0.1))  # type: ignore[operator]  # both take these
            with pytest.raises(CancelledError, match="enough"):
                use(str(file), NEVER, cancelled)  # type: ignore[operator]  # both take these


def test_a_file_that_is_locked_in_mid_run_holds_nobody_past_a_deadline(file: Path) -> None:
    """Neither the thread that takes nor the one that stores, and not those beside it that only read."""
    valid(file)
    checkpoint, other = Checkpoint(file), Checkpoint(file)
    cancelled = CancelToken()
    cancelled.cancel("enough")
    with held(file, "BEGIN EXCLUSIVE") as process:
        with pytest.raises(DeadlineExceededError, match=who(process)):
            checkpoint.take(b"\1", Deadline.after(0.1))
        with pytest.raises(CancelledError, match="enough"):
            checkpoint.take(b"\1", NEVER, cancelled)
        with pytest.raises(ConfigurationError, match=who(process)):
            checkpoint.store(b"new", {}, None, Deadline.after(0.1))
        with pytest.raises(ConfigurationError, match="enough"):
            checkpoint.store(b"new", {}, None, NEVER, cancelled)
        waiting = threading.Thread(target=lambda: checkpoint.store(b"late", {}, None, Deadline.after(PATIENCE)))
        waiting.start()
        assert other.find(b"\1") is not None  # reading is free, and a thread that waits holds up no other one
    waiting.join(PATIENCE)
    assert checkpoint.find(b"late") is not None
    assert checkpoint.take(b"\1") is not None
    checkpoint.close()
    other.close()


def rows(file: Path) -> int:
    """Return how many answers a file holds."""
    with contextlib.closing(sqlite3.connect(file)) as connection:
        return int(connection.execute("SELECT count(*) FROM answers").fetchone()[0])


def test_a_map_whose_checkpoint_gets_locked_ends_in_time_with_every_answer_in_hand(simulator: Simulator, file: Path) -> None:
    """What it has asked is handed out; nothing is asked that could not be kept, and the reason is told."""
    with contextlib.ExitStack() as stack:

        def prompts() -> Iterator[str]:
            yield "first"
            ends = time.monotonic() + 20
            while not rows(file) and time.monotonic() < ends:
                time.sleep(0.01)  # until its answer is in the file
            process.append(stack.enter_context(held(file, "BEGIN EXCLUSIVE")))
            yield from PROMPTS

        process: list[int] = []
        batch = responder(simulator).map(prompts(), checkpoint=file, deadline=2.0, max_workers=1)

    assert batch[1].ok
    assert len(asked(simulator)) == len([result for result in batch if result.ok]) <= 2
    assert {type(result.error) for result in batch.failures()} == {CancelledError}
    assert f"process {process[0]}" in str(batch[2].error) or sys.platform != "linux"


# Whose file it is


@pytest.mark.skipif(sys.platform == "win32", reason="needs the modes of POSIX")
def test_the_file_is_its_owners_alone(file: Path, tmp_path: Path) -> None:
    """It holds what the provider said: whatever the umask, nobody else may read it, nor the log beside it."""
    before = os.umask(0)
    try:
        checkpoint = Checkpoint(file)
        checkpoint.store(b"q", {}, None)
        modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()}
        checkpoint.close()
    finally:
        os.umask(before)
    assert modes == {"run.db": 0o600, "run.db-wal": 0o600, "run.db-shm": 0o600}


@pytest.mark.skipif(sys.platform == "win32", reason="needs links")
def test_no_file_is_made_at_the_other_end_of_a_link(file: Path, tmp_path: Path) -> None:
    """A link that somebody laid out; one to a checkpoint of ours is as good as its name."""
    elsewhere = tmp_path / "elsewhere"
    file.symlink_to(elsewhere)
    with pytest.raises(ConfigurationError, match="link"):
        Checkpoint(file)
    assert not elsewhere.exists()
    Checkpoint(elsewhere).close()
    Checkpoint(file).close()


# Damaged rows


def changed(file: Path, statement: str) -> None:
    with contextlib.closing(sqlite3.connect(file)) as connection, connection:
        connection.execute("CREATE TEMP TABLE copy AS SELECT * FROM answers")
        connection.execute(statement)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE answers SET reply = replace(reply, 'Simulated', 'Simulatet')",
        "UPDATE answers SET reply = substr(reply, 1, 40)",
        "UPDATE answers SET reply = CAST(x'ff00ff' AS TEXT)",
        "UPDATE answers SET reply = x'7b7d'",
        "UPDATE answers SET reply = 5",
        "UPDATE answers SET reply = (SELECT copy.reply FROM copy WHERE copy.id = 3 - answers.id)",
        "UPDATE answers SET question = (SELECT copy.question FROM copy WHERE copy.id = 3 - answers.id)",
        "UPDATE answers SET digest = x'00'",
    ],
)
def test_a_damaged_row_is_asked_anew(statement: str, simulator: Simulator, file: Path) -> None:
    """In a map and from a cache; it is neither a prompt's error nor another prompt's answer, and a whole one is kept again."""
    for use in ("map", "cache"):
        file.unlink(missing_ok=True)
        keywords = {"cache": str(file)} if use == "cache" else {}
        model = responder(simulator, **keywords)
        more = {"checkpoint": file} if use == "map" else {}
        model.map(["one", "two"], max_workers=1, **more)
        model = responder(simulator, **keywords)
        changed(file, statement)
        asked(simulator)

        batch = model.map(["one", "two"], **more)

        assert batch.texts() == ["Simulated answer to: one", "Simulated answer to: two"]
        assert sorted(asked(simulator)) == ["one", "two"]
        assert responder(simulator, **keywords).map(["one", "two"], **more).ok
        assert asked(simulator) == []
        gc.collect()


VERSION_1 = """
CREATE TABLE runs (id INTEGER PRIMARY KEY, begun REAL NOT NULL);
CREATE TABLE answers (id INTEGER PRIMARY KEY, question BLOB NOT NULL, run INTEGER NOT NULL, reply TEXT NOT NULL);
CREATE INDEX answers_by_question ON answers (question, run);
PRAGMA application_id = 0x52455350;
PRAGMA user_version = 1;
INSERT INTO runs (begun) VALUES (1.0);
"""


def test_a_file_of_the_version_before_is_read_and_gone_on_with(file: Path) -> None:
    """Its answers have no digest; what is stored from now on has one."""
    with contextlib.closing(sqlite3.connect(file)) as connection:
        connection.executescript(VERSION_1)
        kept = json.dumps({"reply": {"number": 1}, "request_id": "id-1"})
        connection.executemany("INSERT INTO answers (question, run, reply) VALUES (?, 1, ?)", [(b"q", kept), (b"bad", kept[:9])])
        connection.commit()
    for _ in range(2):
        checkpoint = Checkpoint(file)
        assert checkpoint.take(b"q") == checkpoint.find(b"q") == StoredAnswer({"number": 1}, "id-1")
        assert (checkpoint.take(b"bad"), checkpoint.find(b"bad")) == (None, None)
        checkpoint.store(b"new", {"number": 2}, None)
        checkpoint.close()
    with contextlib.closing(sqlite3.connect(file)) as connection:
        found = connection.execute("SELECT question, digest IS NULL FROM answers ORDER BY id").fetchall()
        assert connection.execute("PRAGMA user_version").fetchone() == (2,)
    assert found == [(b"q", 1), (b"bad", 1), (b"new", 0), (b"new", 0)]


# Files that are refused


def valid(file: Path) -> None:
    checkpoint = Checkpoint(file)
    for number in range(300):
        checkpoint.store(bytes([number % 256]), {"text": "x" * 200}, None)
    checkpoint.close()


def truncated(file: Path) -> None:
    valid(file)
    os.truncate(file, file.stat().st_size // 2)


def scrambled(file: Path) -> None:
    valid(file)
    with file.open("r+b") as opened:
        opened.seek(4096)
        opened.write(b"\xa5" * 20_000)


def headless(file: Path) -> None:
    valid(file)
    with file.open("r+b") as opened:
        opened.write(b"\0garbage" * 12)


def of_another_program(file: Path) -> None:
    with contextlib.closing(sqlite3.connect(file)) as connection, connection:
        connection.execute("CREATE TABLE precious (value TEXT)")


def of_a_later_version(file: Path) -> None:
    valid(file)
    with contextlib.closing(sqlite3.connect(file)) as connection:
        connection.execute("PRAGMA user_version = 99")


def text(file: Path) -> None:
    file.write_text("What is baseball?\n")


@pytest.mark.parametrize("make", [truncated, scrambled, headless, of_another_program, of_a_later_version, text])
def test_a_file_that_is_not_ours_is_refused_and_left_untouched(
    make: Callable[[Path], None], simulator: Simulator, file: Path, tmp_path: Path
) -> None:
    """Damaged, foreign or of the future: nothing is sent, and not a byte changes."""
    make(file)
    before = contents(tmp_path)
    with pytest.raises(ConfigurationError, match=r"run\.db"):
        responder(simulator).map(["Hi"], checkpoint=file)
    assert contents(tmp_path) == before
    assert not simulator.received


@pytest.mark.parametrize("place", [".", "no/such/folder/run.db", "text.txt/run.db"])
def test_a_place_that_cannot_be_written_is_refused(place: str, simulator: Simulator, tmp_path: Path) -> None:
    """A folder, or a file in a folder that is not there, is told before anything is sent."""
    (tmp_path / "text.txt").write_text("Hi")
    with pytest.raises(ConfigurationError, match="checkpoint"):
        responder(simulator).map(["Hi"], checkpoint=tmp_path / place)
    assert not simulator.received


@pytest.mark.parametrize("name", ["odd ?name#%41.db", "Grüße 🐈.db"])
def test_any_name_will_do(name: str, simulator: Simulator, tmp_path: Path) -> None:
    """Characters that mean something in a URI are part of the name."""
    for _ in range(2):
        responder(simulator).map(["Hi"], checkpoint=str(tmp_path / name))
    assert len(simulator.received) == 1
    assert set(contents(tmp_path)) == {name}


# A full disk


FULL = """
import resource, sys
from responder import OpenAIResponder

resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
model = OpenAIResponder("m", api_key="test-key", base_url=sys.argv[1])
batch = model.map([f"prompt {number};" for number in range(2000)], checkpoint=sys.argv[2], max_workers=4)
print([result.index for result in batch if result.ok])
print({type(result.error).__name__ for result in batch if not result.ok}, batch[1999].error)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs a limit on the size of files")
def test_a_full_disk_stops_the_run_and_keeps_what_there_is(simulator: Simulator, file: Path) -> None:
    """No more is asked than can be kept; the answers in hand are handed out, and those in the file are safe."""
    process = start(FULL, simulator.base_url("openai"), file)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    done = json.loads(output.splitlines()[0])
    paid = len(asked(simulator))
    assert 10 < len(done) < 1000
    assert paid - len(done) <= 4  # what was in flight was ended
    assert "{'CancelledError'}" in output
    assert "cannot be written" in output
    assert "Make room" in output

    batch = responder(simulator).map([f"prompt {number};" for number in done], checkpoint=file)

    assert batch.ok
    assert len(asked(simulator)) <= 4  # only what was being written when the disk was full


def test_what_could_not_be_written_is_never_taken_for_stored(file: Path) -> None:
    """A failed write may undo what other threads have written and not yet committed: all of them are told."""
    checkpoint = Checkpoint(file)
    checkpoint.store(b"first", {"text": "kept"}, None)
    checkpoint._connection.execute("PRAGMA max_page_count = 8")
    told, kept = 0, 1
    for number in range(200):
        try:
            checkpoint.store(b"more", {"text": "x" * 3000, "number": number}, None)
            kept += 1
        except ConfigurationError:
            told += 1
            checkpoint._connection.execute("PRAGMA max_page_count = 1000000")  # somebody makes room in the middle of it
    checkpoint.close()
    assert told >= 190  # the first failure is the last word: this run keeps nothing more
    with contextlib.closing(sqlite3.connect(file)) as connection:
        assert connection.execute("SELECT count(*) FROM answers").fetchone() == (kept,)


def test_an_answer_that_cannot_be_looked_up_is_our_own_error(simulator: Simulator, file: Path) -> None:
    """A file that breaks in mid-run stops it with an error that names the file, not with SQLite's own."""
    model = responder(simulator)
    model.map(PROMPTS, checkpoint=file)

    def damage(prompts: list[str]) -> Iterator[str]:
        with contextlib.closing(sqlite3.connect(file)) as connection, connection:
            connection.execute("DROP TABLE answers")
        yield from prompts

    batch = model.map(damage(PROMPTS[:4]), checkpoint=file)

    assert {type(result.error) for result in batch} <= {ConfigurationError, CancelledError}
    assert any("run.db" in str(result.error) for result in batch)


# What it costs, and what it tells


def test_endless_input_takes_no_more_memory(
    serve: Callable[..., Server], responder_for: Callable[..., Responder], file: Path
) -> None:
    """Neither writing nor reading keeps what was handed out: as many answers live after 1,000 as after 200."""
    model = responder_for(serve(always()))

    def alive() -> int:
        gc.collect()
        return sum(type(thing) in (Answer, StoredAnswer) for thing in gc.get_objects())

    others = alive()  # those of other tests
    for _ in range(2):
        run = model.imap((f"prompt {number}" for number in itertools.count()), checkpoint=file, max_workers=4)
        with run:
            counts = [alive() for number, _result in zip(range(1001), run, strict=False) if number % 400 == 200]
        del run
        assert max(counts) - others <= 4 * 8 + 8


def test_no_key_and_no_header_is_in_the_file(simulator: Simulator, file: Path, tmp_path: Path) -> None:
    """Neither while the run goes on nor afterwards; what was asked is not in it, either."""
    model = responder(simulator, api_key="hidden-key", extra_headers={"X-Team": "hidden-header"}, system="hidden-system")
    seen: list[bytes] = []
    model.map(
        PROMPTS,
        checkpoint=file,
        on_result=lambda _result: seen.extend(contents(tmp_path).values()),
        max_workers=2,
    )
    everything = b"".join([*seen, *contents(tmp_path).values()])
    assert b"Simulated answer" in everything
    assert b"hidden" not in everything


def test_after_a_run_it_is_one_file(simulator: Simulator, file: Path, tmp_path: Path) -> None:
    """Closed with the run: it can be copied, moved or deleted at once."""
    responder(simulator).map(PROMPTS, checkpoint=file)
    assert set(contents(tmp_path)) == {"run.db"}
    assert all(result.ok for result in responder(simulator).imap(PROMPTS, checkpoint=file))
    assert set(contents(tmp_path)) == {"run.db"}


STRICT = """
import gc, sys
from responder import OpenAIResponder

model = OpenAIResponder("m", api_key="test-key", base_url=sys.argv[1])
model.map(["a", "b"], checkpoint=sys.argv[2])
for result in model.imap((str(number) for number in range(1000)), checkpoint=sys.argv[2], max_workers=2):
    break
del result
gc.collect()
kept = model.imap((str(number) for number in range(1000)), checkpoint=sys.argv[2], max_workers=2)
next(kept)
model.close()
"""


def test_nothing_is_left_open(simulator: Simulator, file: Path) -> None:
    """In Python's development mode with warnings as errors nothing is said, also by a run that is left to the exit."""
    process = start(STRICT, simulator.base_url("openai"), file, options=("-X", "dev", "-W", "error"))
    output, errors = process.communicate(timeout=60)
    assert (process.returncode, output, errors) == (0, "", "")


def test_the_checkpoint_is_imported_only_when_it_is_wanted(simulator: Simulator) -> None:
    """Programs without one do without SQLite."""
    script = "import sys; from responder import OpenAIResponder as R; R('m', api_key='k'); print('sqlite3' in sys.modules)"

    assert start(script).communicate(timeout=60) == ("False\n", "")
