"""Limits that several processes keep together, in a file: real processes, one server that sees them all."""

from __future__ import annotations

import contextlib
import gc
import os
import pickle
import queue
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import time_machine
from hypothesis import given, settings
from hypothesis import strategies as st
from servers import PATIENCE

from responder import (
    APIError,
    CancelledError,
    CancelToken,
    ConfigurationError,
    DeadlineExceededError,
    Limits,
    OpenAIResponder,
)
from responder.pace import file_store as limit_store
from responder.pace import governor as governor_module
from responder.pace.file_store import FileLimitStore
from responder.pace.governor import Governor
from responder.pace.permit import Permit
from responder.pace.store import LimitAnswer, LimitStep, LimitStore, Other, granted
from responder.simulator import Fault, Simulator
from responder.values.answer import Usage
from responder.values.clock import boottime
from responder.values.deadline import NEVER, Deadline

WORKER = """
import sys
from responder import Limits, OpenAIResponder
url, path, limits, count, threads = sys.argv[1:]
model = OpenAIResponder("m", api_key="secret-key", base_url=url, max_retries=9, limits=Limits(**eval(limits), store=path))
print("ready", flush=True)
sys.stdin.readline()
batch = model.map([f"prompt {number}" for number in range(int(count))], max_workers=int(threads))
print(sum(result.ok for result in batch), flush=True)
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the limits are."""
    return tmp_path / "limits"


@pytest.fixture
def remote() -> Iterator[Simulator]:
    """Give a simulator in a process of its own."""
    with Simulator(process=True) as running:
        yield running


def places(store: LimitStore, key: bytes, most: int, name: str = "test") -> int:
    """Return how many places a process gets that wants all of them."""
    return store.exchange(key, LimitStep(name, most=most, wanted=most)).places


def turn(store: LimitStore, key: bytes, interval: float, tokens: float = 0.0) -> float:
    """Take the next turn; return the seconds until then."""
    return store.exchange(key, LimitStep("test", turns=(tokens,), interval=interval)).opens


def pause(store: LimitStore, key: bytes, seconds: float = 0.0) -> float:
    """Let nothing start for a while; return the seconds for which nothing may start."""
    return store.exchange(key, LimitStep("test", pause=seconds)).pause


def refuse(governor: Governor, path: Path, seconds: float) -> float:
    """Have a provider refuse a call for some seconds; return a moment before that, once the file knows of it."""
    begin = time.monotonic()
    permit = governor.acquire(1.0, NEVER, None)
    permit.settle(APIError("slow down", status=429, retryable=True, retry_after=seconds))
    store, ends = FileLimitStore(path), begin + PATIENCE
    while not pause(store, b"key") and time.monotonic() < ends:
        time.sleep(0.001)  # a thread tells it
    return begin


class Worker:
    """A process that maps some prompts when it is told to."""

    def __init__(self, simulator: Simulator, path: Path, limits: dict[str, float], count: int, threads: int = 8) -> None:
        arguments = [simulator.base_url("openai"), str(path), repr(limits), str(count), str(threads)]
        self.process = subprocess.Popen(
            [sys.executable, "-c", WORKER, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "ready\n"

    def go(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write("go\n")
        self.process.stdin.flush()

    def answered(self) -> int:
        out, _ = self.process.communicate(timeout=60)
        return int(out)

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.communicate()


@pytest.mark.pain(8)
@pytest.mark.acceptance(16)
def test_processes_keep_one_limit_together(remote: Simulator, path: Path) -> None:
    """Four processes of eight threads send what one may, evenly spread."""
    workers = [Worker(remote, path, {"requests_per_minute": 1200}, 12) for _ in range(4)]
    begin = time.monotonic()
    for worker in workers:
        worker.go()
    assert [worker.answered() for worker in workers] == [12] * 4
    moments = sorted(request.arrived for request in remote.received)
    # On a busy machine a request may arrive later than its turn, but never before it.
    assert [number for number, moment in enumerate(moments) if moment < begin + 0.05 * number * 0.95] == []


def test_one_refusal_pauses_all_processes(remote: Simulator, path: Path) -> None:
    """Whoever hears the provider's "wait" tells the others."""
    refused, other = (Worker(remote, path, {}, 1) for _ in range(2))
    remote.script(Fault.status(429, retry_after=2.5))
    refused.go()
    assert remote.wait_for(1)
    assert remote.wait_until_idle()
    deadline = time.monotonic() + PATIENCE
    while not any(moments(path, 3)) and time.monotonic() < deadline:
        time.sleep(0.001)  # until the refusal has been read
    other.go()
    assert (refused.answered(), other.answered()) == (1, 1)
    first, *later = remote.received
    assert first.left is not None
    assert [request.arrived - first.left >= 2.4 for request in later] == [True, True]


def moments(path: Path, number: int) -> list[float]:
    """Return the file's moments: of the next requests (1), of the next tokens (2), or of the ends of pauses (3)."""
    data = path.read_bytes()
    rows = range(limit_store._HEADER, len(data), limit_store._ROW)
    return [limit_store._MOMENTS.unpack_from(data, row)[number] for row in rows]


def test_after_anothers_refusal_a_process_starts_slowly_too(path: Path) -> None:
    """Thirty-two calls of a process that was not refused itself: two go first, and all of them in the end."""
    refused, other = (Governor(Limits(store=path), b"key") for _ in range(2))
    begin = refuse(refused, path, 1.5)
    permits: queue.SimpleQueue[Permit] = queue.SimpleQueue()
    threads = [threading.Thread(target=lambda: permits.put(other.acquire(1.0, NEVER, None))) for _ in range(32)]
    for thread in threads:
        thread.start()
    first = [permits.get(timeout=PATIENCE) for _ in range(2)]
    assert min(permit.started for permit in first) - begin >= 1.45
    with pytest.raises(queue.Empty):
        permits.get(timeout=0.1)
    for permit in first:
        permit.settle()
    for _ in range(30):
        permits.get(timeout=PATIENCE).settle()
    for thread in threads:
        thread.join(PATIENCE)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="POSIX alone has such processes")
def test_a_killed_process_gives_its_places_back(remote: Simulator, path: Path) -> None:
    """Its calls in flight are nobody's any more."""
    remote.script_for("prompt 0", Fault.silence(times=2))
    remote.script_for("prompt 1", Fault.silence(times=2))
    killed = Worker(remote, path, {"max_concurrency": 2}, 2)
    killed.go()
    assert remote.wait_for(2)
    other = Governor(Limits(max_concurrency=2, store=path), own_name(remote))
    with pytest.raises(DeadlineExceededError):
        other.acquire(1.0, Deadline.after(0.2), None)
    killed.kill()
    first, second = (other.acquire(1.0, Deadline.after(PATIENCE), None) for _ in range(2))
    with pytest.raises(DeadlineExceededError):
        other.acquire(1.0, Deadline.after(0.2), None)
    first.settle()
    other.acquire(1.0, Deadline.after(PATIENCE), None).settle()
    second.settle()


@pytest.mark.pain(15)
@pytest.mark.skipif(not hasattr(os, "fork"), reason="POSIX alone has such processes")
def test_the_others_go_on_when_a_process_is_killed_in_mid_run(remote: Simulator, path: Path) -> None:
    """It had all the places; two more processes with it in the line are answered, every prompt."""
    remote.script_for("prompt 0", Fault.silence(times=1))
    remote.script_for("prompt 1", Fault.silence(times=1))
    limits = {"max_concurrency": 2, "requests_per_minute": 6000}
    killed, *others = (Worker(remote, path, limits, count, threads=4) for count in (2, 8, 8))
    killed.go()
    assert remote.wait_for(2)
    for worker in others:
        worker.go()
    killed.kill()
    assert [worker.answered() for worker in others] == [8, 8]


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="the system does not tell when a process began")
def test_who_gets_a_dead_processs_number_does_not_get_its_places(path: Path) -> None:
    """Numbers are given again, the same ones in each restarted container: a place belongs to one life of a number."""
    code = (
        "import sys; from responder.pace.file_store import FileLimitStore\n"
        "from responder.pace.store import LimitStep\n"
        "print(FileLimitStore(sys.argv[1]).exchange(b'k', LimitStep('dead', most=2, wanted=2)).places)"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE, text=True) as dead:
        assert dead.communicate(timeout=PATIENCE)[0] == "2\n"
    data = path.read_bytes()
    place = limit_store._HEADER + limit_store._MOMENTS.size
    process, count, *rest = limit_store._PLACES.unpack_from(data, place)
    assert (process, count) == (dead.pid, 2)
    # Its number is ours now, as the system might have given it.
    mine = limit_store._PLACES.pack(os.getpid(), count, *rest)
    path.write_bytes(data[:place] + mine + data[place + len(mine) :])
    assert places(FileLimitStore(path), b"k", 2) == 2


def own_name(simulator: Simulator) -> bytes:
    """Return the name under which the workers' limits are kept."""
    model = OpenAIResponder("m", api_key="secret-key", base_url=simulator.base_url("openai"))
    return "\0".join(("openai", model.base_url, "m", model._credential.identity())).encode()


def test_a_place_is_left_by_every_call(remote: Simulator, path: Path) -> None:
    """Answers, failures and streams; afterwards all are free."""
    model = OpenAIResponder(
        "m", api_key="k", base_url=remote.base_url("openai"), max_retries=0, limits=Limits(max_concurrency=3, store=path)
    )
    remote.script(Fault.status(400), Fault.status(500), Fault.reset())
    batch = model.map([f"prompt {number}" for number in range(30)], max_workers=8)
    assert sum(result.ok for result in batch) == 27
    with model.stream("Hi") as stream:
        next(stream)
    assert "".join(model.stream("Hi"))
    assert remote.most_in_flight <= 3
    ends = time.monotonic() + PATIENCE
    while (free := places(FileLimitStore(path), name_of(model), 3)) < 3 and time.monotonic() < ends:
        time.sleep(0.01)  # the process has told it within a tenth of a second
    assert free == 3


def name_of(model: OpenAIResponder) -> bytes:
    return "\0".join((model.provider, model.base_url, model.model, model._credential.identity())).encode()


def test_a_call_that_gives_up_gives_its_turn_back(path: Path) -> None:
    """Three that did not wait long enough hold nobody up afterwards."""
    governor = Governor(Limits(requests_per_minute=30, store=path))
    governor.acquire(1.0, NEVER, None).settle()
    begin = time.monotonic()
    for _ in range(3):
        with pytest.raises(DeadlineExceededError):
            governor.acquire(1.0, Deadline.after(0.02), None)
    governor.acquire(1.0, NEVER, None).settle()
    assert time.monotonic() - begin < 7  # two seconds, and not eight


def test_tokens_are_settled_for_all(path: Path) -> None:
    """What one process used more than it reserved, the other waits for."""
    one, other = (Governor(Limits(tokens_per_minute=60_000, store=path)) for _ in range(2))
    permit = one.acquire(1.0, NEVER, None)
    begin = time.monotonic()
    permit.settle(None, Usage(input_tokens=3000, known=True))  # three seconds
    ends = time.monotonic() + PATIENCE
    while max(moments(path, 2)) < boottime() + 1.0 and time.monotonic() < ends:
        time.sleep(0.01)  # it is told within a tenth of a second
    with pytest.raises(DeadlineExceededError):
        other.acquire(1.0, Deadline.after(0.5), None)
    other.acquire(1.0, NEVER, None).settle()
    assert time.monotonic() - begin >= 2.5


def test_several_keys_do_not_disturb_each_other(path: Path) -> None:
    """Each provider, base URL, key and model has limits of its own; the file makes room for new ones."""
    store = FileLimitStore(path)
    pause(store, b"one", 1000.0)
    for number in range(300):
        assert pause(store, b"another %d" % number) == 0
    assert pause(store, b"one") > 900


def test_the_file_is_for_this_user_alone_and_holds_no_key(remote: Simulator, path: Path) -> None:
    """Names are digests."""
    model = OpenAIResponder("m", api_key="secret-key", base_url=remote.base_url("openai"), limits=Limits(store=path))
    model.answer("Hi")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    content = path.read_bytes()
    assert b"secret-key" not in content
    assert b"openai" not in content


def test_a_file_has_one_store_in_a_process(path: Path) -> None:
    """By whatever name, and whoever makes it: its locks are the process's."""
    store = FileLimitStore(path)
    other = path.with_name("other")
    other.symlink_to(path)
    assert FileLimitStore(str(path)) is store
    assert FileLimitStore(other) is store
    assert Limits(store=other).store is store
    assert pickle.loads(pickle.dumps(store)) is store


def test_a_moment_further_ahead_than_an_hour_holds_nobody(path: Path) -> None:
    """It is damage: nobody waits for a day."""
    store = FileLimitStore(path)
    pause(store, b"k", 86_400.0)
    assert pause(store, b"k") == 0
    turn(store, b"k", 90_000.0, 90_000.0)
    assert turn(store, b"k", 0.1, 0.1) <= 0


def test_what_is_damaged_inside_holds_nobody(path: Path) -> None:
    """Ones and noughts where moments and processes were: numbers that are none, and processes that never were."""
    store = FileLimitStore(path)
    assert places(store, b"k", 1) == 1
    head = limit_store._HEADER
    data = path.read_bytes()
    path.write_bytes(data[: head + 16] + b"\xff" * (limit_store._ROW - 16) + data[head + limit_store._ROW :])
    assert turn(store, b"k", 0.1, 0.1) <= 0
    assert pause(store, b"k") == 0
    assert places(store, b"k", 1) == 1


@pytest.mark.parametrize("content", [b"not ours", b"x" * 200_000])
def test_another_kind_of_file_is_refused_and_left_untouched(path: Path, content: bytes) -> None:
    """The message says to name another one."""
    path.write_bytes(content)
    with pytest.raises(ConfigurationError, match="name another one"):
        Limits(store=path)
    assert path.read_bytes() == content


def test_a_place_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    """Before any call."""
    with pytest.raises(ConfigurationError, match="cannot be used"):
        Limits(store=tmp_path / "missing" / "limits")
    with pytest.raises(ConfigurationError, match="store must be a path"):
        Limits(store=5)  # type: ignore[arg-type]  # what the test is about


def test_limits_with_a_store_pickle(path: Path) -> None:
    """By the path: the other process opens the file itself."""
    limits = Limits(requests_per_minute=60, store=path)
    copy = pickle.loads(pickle.dumps(limits))
    assert isinstance(copy.store, FileLimitStore)
    assert copy == limits
    assert isinstance(copy.store, LimitStore)


@pytest.mark.pain(15)
@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_counts_for_itself(path: Path) -> None:
    """Also when a thread of the parent held the file at that moment."""
    governor = Governor(Limits(max_concurrency=1, store=path))
    permit = governor.acquire(1.0, NEVER, None)
    store = FileLimitStore(path)
    held, release = threading.Event(), threading.Event()

    def hold() -> None:
        with store._held():
            held.set()
            release.wait(PATIENCE)

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait(PATIENCE)
    child = os.fork()
    if child == 0:
        code = 1
        try:
            refused = not Governor(Limits(max_concurrency=1, store=path)).try_acquire(1.0)
            code = 0 if refused else 2
        finally:
            os._exit(code)
    release.set()
    thread.join(PATIENCE)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    permit.settle()
    governor.acquire(1.0, Deadline.after(PATIENCE), None).settle()


@settings(deadline=None, max_examples=40)
@given(steps=st.lists(st.tuples(st.floats(0.001, 5), st.floats(0, 5), st.sampled_from(["reserve", "give back"])), max_size=30))
def test_turns_are_never_closer_than_their_interval(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[float, float, str]]
) -> None:
    """Whatever was asked for and given back before."""
    store = FileLimitStore(tmp_path_factory.mktemp("store") / "limits")
    ends = 0.0
    kept: list[tuple[float, float]] = []
    for request, tokens, step in steps:
        if step == "reserve":
            before = time.monotonic()
            opens = turn(store, b"key", request, tokens)  # counted from a moment between the two that are looked at
            assert time.monotonic() + opens >= ends - 0.001
            ends = max(ends, before + opens + request)
            kept.append((request, tokens))
        elif kept:
            request, tokens = kept.pop()
            store.exchange(b"key", LimitStep("test", requests=-request, tokens=-tokens))
            ends = 0.0  # what was given back may be had again
            kept.clear()


@settings(deadline=None, max_examples=300)
@given(
    st.integers(1, 50),
    st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50), st.floats(0, 2)), max_size=6),
    st.integers(0, 50),
    st.integers(0, 50),
)
def test_places_are_never_more_than_there_are(most: int, others: list[tuple[int, int, float]], using: int, wanted: int) -> None:
    """And a process that has less than its even part gets what is free of it, whatever the others want."""
    step = LimitStep("test", most=most, using=using, wanted=wanted)
    more = granted(step, 0.0, [Other(*other) for other in others])
    free = max(0, most - using - sum(taken for taken, _, _ in others))
    part = most // (1 + len(others))
    assert more <= min(wanted, free)
    assert using + more >= min(using, part)  # no more are taken back than those above it
    assert more >= min(wanted, free, part - using)


# Somebody else holds the file

HOLDER = """
import os, signal, sys
from responder.pace.file_store import FileLimitStore
store = FileLimitStore(sys.argv[1])
with store._held():
    print(os.getpid(), flush=True)
    if sys.argv[2] == "stop":
        os.kill(os.getpid(), signal.SIGSTOP)
    else:
        sys.stdin.readline()
print("free", flush=True)
sys.stdin.readline()
"""


@contextlib.contextmanager
def held(path: Path, how: str = "wait") -> Iterator[subprocess.Popen[str]]:
    """Let another process hold the file's lock."""
    arguments = [sys.executable, "-c", HOLDER, str(path), how]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert int(process.stdout.readline()) == process.pid
        if how == "stop":
            os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WNOWAIT)
        try:
            yield process
        finally:
            process.kill()


def let_go(holder: subprocess.Popen[str]) -> None:
    assert holder.stdin is not None
    assert holder.stdout is not None
    holder.stdin.write("\n")
    holder.stdin.flush()
    assert holder.stdout.readline() == "free\n"


posix_only = pytest.mark.skipif(not hasattr(os, "waitid"), reason="needs signals and processes as POSIX has them")


@posix_only
def test_a_stopped_process_that_holds_the_file_holds_nobody_beyond_the_deadline(path: Path) -> None:
    """The error names it; a cancel ends the wait as well; and once it goes on, so do the others."""
    governor = Governor(Limits(requests_per_minute=60_000, store=path))
    with held(path, "stop") as holder:
        begin = time.monotonic()
        with pytest.raises(DeadlineExceededError, match=rf"process {holder.pid}, which is stopped.*kill -CONT {holder.pid}"):
            governor.acquire(1.0, Deadline.after(0.3), None)
        token = CancelToken()
        threading.Timer(0.2, token.cancel, ["enough"]).start()
        with pytest.raises(CancelledError, match="enough"):
            governor.acquire(1.0, NEVER, token)
        assert governor.try_acquire(1.0) is None
        assert time.monotonic() - begin < PATIENCE
        holder.send_signal(signal.SIGCONT)
        governor.acquire(1.0, Deadline.after(PATIENCE), None).settle()


@posix_only
def test_who_stands_behind_the_first_ends_at_its_own_deadline(path: Path) -> None:
    """No lock is held while the first in the line waits for the file."""
    governor = Governor(Limits(requests_per_minute=60_000, store=path))
    first = CancelToken()
    ended = threading.Event()

    def wait() -> None:
        with contextlib.suppress(CancelledError):
            governor.acquire(1.0, NEVER, first)
        ended.set()

    with held(path, "stop"):
        threading.Thread(target=wait, daemon=True).start()
        for _ in range(3):
            with pytest.raises(DeadlineExceededError):
                governor.acquire(1.0, Deadline.after(0.1), None)
        assert not ended.is_set()
        first.cancel()
        assert ended.wait(PATIENCE)


@posix_only
def test_a_call_without_a_deadline_is_told_who_holds_the_file(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a bound, and not never."""
    monkeypatch.setattr(governor_module, "_LONGEST_HELD", 0.2)
    governor = Governor(Limits(requests_per_minute=60_000, store=path))
    with held(path, "stop") as holder, pytest.raises(ConfigurationError, match=f"process {holder.pid}") as caught:
        governor.acquire(1.0, NEVER, None)
    assert caught.value.fatal


@posix_only
def test_a_call_that_is_over_does_not_wait_for_the_file(path: Path) -> None:
    """Its place is given back as soon as the file is free, though nobody asks for another turn here."""
    one = Governor(Limits(max_concurrency=1, store=path), b"key")
    other = Governor(Limits(max_concurrency=1, store=path), b"key")
    permit = one.acquire(1.0, NEVER, None)
    with held(path) as holder:
        begin = time.monotonic()
        permit.settle(APIError("slow down", status=429, retryable=True, retry_after=0.1))
        assert time.monotonic() - begin < 10
        let_go(holder)
        other.acquire(1.0, Deadline.after(PATIENCE), None).settle()


@posix_only
def test_a_new_store_of_a_held_file_does_not_wait(path: Path) -> None:
    """A responder can be made while somebody else holds its limits."""
    FileLimitStore(path)
    copy = path.with_name("copy")
    copy.write_bytes(path.read_bytes())
    with held(copy, "stop"):
        FileLimitStore(copy)


# Disks, links and clocks


def run(code: str, *arguments: object) -> None:
    """Run a program that must end well: what kills a process must not kill the tests."""
    imports = "import sys\nfrom responder.pace.file_store import FileLimitStore\nfrom responder.pace.store import LimitStep\n"
    program = [sys.executable, "-c", imports + code, *map(str, arguments)]
    done = subprocess.run(program, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, (done.returncode, done.stderr)


@pytest.mark.parametrize("size", [0, 30, 100, 4096])
def test_a_file_that_is_cut_while_it_is_used_ends_no_process(path: Path, size: int) -> None:
    """What it held is gone, and everything works as with a new one, for new processes, too."""
    code = (
        "import os, time\n"
        "store = FileLimitStore(sys.argv[1])\n"
        "for key in (b'%d' % number for number in range(20)): store.exchange(key, LimitStep('a', pause=10.0))\n"
        "os.truncate(sys.argv[1], int(sys.argv[2]))\n"
        "for key in (b'%d' % number for number in range(20)):\n"
        "    answer = store.exchange(key, LimitStep('a', turns=(1.0,), interval=1.0, most=1, wanted=1))\n"
        "    assert answer.opens <= 20 and answer.places == 1, answer\n"
    )
    run(code, path, size)
    run("FileLimitStore(sys.argv[1]).exchange(b'k', LimitStep('a', turns=(1.0,), interval=1.0))", path)


def test_a_full_disk_is_an_error_and_leaves_no_half_of_a_file(path: Path) -> None:
    """The space is reserved when the file is made, so that it cannot be missing later."""
    code = (
        "import resource\n"
        "from responder import ConfigurationError\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))\n"
        "try:\n"
        "    FileLimitStore(sys.argv[1])\n"
        "except ConfigurationError as error:\n"
        "    assert 'cannot be used' in str(error), error\n"
        "else:\n"
        "    sys.exit('no error')\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)\n"
        "assert FileLimitStore(sys.argv[1]).exchange(b'k', LimitStep('a', most=1, wanted=1)).places == 1\n"
    )
    run(code, path)
    assert path.stat().st_blocks * 512 >= path.stat().st_size


def test_a_disk_error_is_an_error_of_ours_and_costs_no_answer(path: Path) -> None:
    """Here the file can be read, and no more: who asks for a turn is told, who is finished is not."""
    code = (
        "import os\n"
        "from responder import ConfigurationError, Limits\n"
        "from responder.pace.governor import Governor\n"
        "from responder.values.deadline import NEVER\n"
        "governor = Governor(Limits(max_concurrency=2, store=sys.argv[1]))\n"
        "permit = governor.acquire(1.0, NEVER, None)\n"
        "os.dup2(os.open(sys.argv[1], os.O_RDONLY), governor.limits.store._descriptor)\n"
        "permit.settle()\n"
        "try:\n"
        "    while True:\n"  # for a tenth of a second what the file said last is believed
        "        governor.acquire(1.0, NEVER, None).settle()\n"
        "except ConfigurationError as error:\n"
        "    assert sys.argv[1] in str(error), error\n"
        "else:\n"
        "    sys.exit('no error')\n"
    )
    run(code, path)


@pytest.mark.parametrize("content", [None, b"", b"something precious"])
def test_no_file_is_made_or_changed_through_a_link(path: Path, content: bytes | None) -> None:
    """Whoever can write to the folder could have anything written over otherwise."""
    target = path.with_name("target")
    if content is not None:
        target.write_bytes(content)
    path.symlink_to(target)
    with pytest.raises(ConfigurationError):
        FileLimitStore(path)
    assert (target.read_bytes() if target.exists() else None) == content


@posix_only
def test_a_pipe_is_refused_and_not_waited_for(path: Path) -> None:
    """It is no file."""
    os.mkfifo(path)
    with pytest.raises(ConfigurationError, match="name another one"):
        FileLimitStore(path)


def test_the_file_is_private_whatever_the_umask(path: Path) -> None:
    """It tells how busy somebody is."""
    before = os.umask(0)
    try:
        FileLimitStore(path)
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize("hours", [-3, 3])
def test_a_wall_clock_that_is_set_changes_no_wait(path: Path, hours: int) -> None:
    """Neither a pause nor the next turn gets longer or shorter."""
    told, other = (Governor(Limits(requests_per_minute=120, store=path), b"key") for _ in range(2))
    begin = refuse(told, path, 1.0)
    with time_machine.travel(time.time() + 3600 * hours, tick=True):
        other.acquire(1.0, Deadline.after(PATIENCE), None).settle()
        assert 0.9 <= time.monotonic() - begin < PATIENCE
        other.acquire(1.0, Deadline.after(PATIENCE), None).settle()
    assert 1.4 <= time.monotonic() - begin < 2 * PATIENCE


def test_what_an_earlier_start_of_the_machine_left_holds_nobody(path: Path) -> None:
    """Clocks and processes begin anew with it."""
    store = FileLimitStore(path)
    pause(store, b"k", 1000.0)
    assert places(store, b"k", 1) == 1
    copy = path.with_name("copy")
    data = bytearray(path.read_bytes())
    data[limit_store._BOOT : limit_store._BOOT + 16] = b"another boot id."
    copy.write_bytes(data)
    store = FileLimitStore(copy)
    assert pause(store, b"k") == 0
    assert places(store, b"k", 1) == 1


@pytest.mark.parametrize("version", [1, 2])
def test_an_earlier_versions_file_is_named_as_one(path: Path, version: int) -> None:
    """What is in it means something else."""
    path.write_bytes(b"responder limits %d\n".ljust(limit_store._SIZE, b"\0") % version)
    with pytest.raises(ConfigurationError, match="earlier version"):
        FileLimitStore(path)


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs a list of the open files")
def test_stores_that_nobody_uses_keep_no_file_open(tmp_path: Path) -> None:
    """A service with limits for each customer."""
    for number in range(300):
        FileLimitStore(tmp_path / str(number))
    gc.collect()
    FileLimitStore(tmp_path / "last")
    names = []
    for found in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):  # the one that this list is read by
            names.append(str(found.readlink()))
    assert sum(name.startswith(str(tmp_path)) for name in names) <= 2


class Full:
    """A slow store, whose turns come a moment later, and that has no place."""

    def exchange(self, key: bytes, step: LimitStep) -> LimitAnswer:
        time.sleep(0.002)
        return LimitAnswer(turns=len(step.turns), opens=0.0003, places=step.using)


def test_a_turn_without_a_place_is_none() -> None:
    """However close to now it is, and whoever stands behind."""
    governor = Governor(Limits(max_concurrency=2, requests_per_minute=60_000, store=Full()))
    for _ in range(5):
        assert governor.try_acquire(1.0) is None
        with pytest.raises(DeadlineExceededError):
            governor.acquire(1.0, Deadline.after(0.05), None)


class Wrong:
    """A store of a user's own, which forgets its answer the first time."""

    def __init__(self) -> None:
        self.asked = 0

    def exchange(self, key: bytes, step: LimitStep) -> LimitAnswer:
        self.asked += 1
        if self.asked == 1:
            return None  # type: ignore[return-value]  # what the test is about
        if self.asked == 2:
            raise KeyError("a fault of its own")
        return LimitAnswer(turns=len(step.turns))


def test_a_fault_of_a_users_own_store_is_raised_by_the_call_that_asked() -> None:
    """And by no other one."""
    governor = Governor(Limits(requests_per_minute=6000, store=Wrong()))
    for kind in (TypeError, KeyError):
        with pytest.raises(kind):
            governor.acquire(1.0, Deadline.after(PATIENCE), None)
    governor.acquire(1.0, Deadline.after(PATIENCE), None).settle()
