"""Limits that processes of several machines keep together, in Redis: a real server, which is killed, stopped and emptied."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import logging
import os
import pickle
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import time_machine
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis_server import RedisServer
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
from responder.pace import share
from responder.pace.file_store import FileLimitStore
from responder.pace.governor import Governor
from responder.pace.permit import Permit
from responder.pace.redis_store import RedisLimitStore
from responder.pace.store import LimitStep
from responder.simulator import Fault, Simulator
from responder.values.deadline import NEVER, Deadline

PASSWORD = "hunter2-of-redis"

WORKER = """
import logging, sys
from responder import Limits, OpenAIResponder
from responder.pace import share
url, store, limits, count, threads, lease = sys.argv[1:]
share._LEASE, share._RENEW = float(lease), float(lease) / 3
logging.getLogger("responder").addHandler(logging.StreamHandler())
model = OpenAIResponder("m", api_key="secret-key", base_url=url, max_retries=9, limits=Limits(**eval(limits), store=store))
print("ready", flush=True)
for line in sys.stdin:
    prompts = [f"{line.strip()} {number}" for number in range(int(count))]
    print(sum(result.ok for result in model.map(prompts, max_workers=int(threads))), flush=True)
"""


class Worker:
    """A process that maps as many prompts as it is told to, each time it is told."""

    def __init__(self, simulator: Simulator, store: str, limits: dict[str, float], count: int, lease: float = 5.0) -> None:
        arguments = [simulator.base_url("openai"), store, repr(limits), str(count), "16", str(lease)]
        self.process = subprocess.Popen(
            [sys.executable, "-c", WORKER, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "ready\n"

    def go(self, name: str = "prompt") -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{name}\n")
        self.process.stdin.flush()

    def answered(self) -> int:
        assert self.process.stdout is not None
        return int(self.process.stdout.readline())

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def remote() -> Iterator[Simulator]:
    """Give a simulator in a process of its own."""
    with Simulator(process=True) as running:
        yield running


@pytest.fixture
def workers(remote: Simulator, redis_server: RedisServer) -> Iterator[Callable[..., list[Worker]]]:
    """Give a function that starts processes which share limits; they end with the test."""
    made: list[Worker] = []

    def start(number: int, *arguments: Any, **keywords: Any) -> list[Worker]:
        made.extend(new := [Worker(remote, redis_server.url, *arguments, **keywords) for _ in range(number)])
        return new

    yield start
    for worker in made:
        worker.kill()


_numbers = itertools.count()


@pytest.fixture
def key() -> bytes:
    """Whose limits: no other test's, whose threads may not have ended yet."""
    return b"key %d" % next(_numbers)


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Try a server that is away again sooner than once a second."""
    monkeypatch.setattr(share, "_TRY_AGAIN", 0.1)
    monkeypatch.setattr(share, "_PATIENCE", 0.2)


def exchanges(server: RedisServer) -> int:
    """Return how many steps a server has made."""
    with server.client() as client:
        stats = client.info("commandstats")
    return sum(stats.get(f"cmdstat_{name}", {"calls": 0})["calls"] for name in ("evalsha", "eval"))


def name_of(key: bytes) -> str:
    """Return where a key's limits are in Redis."""
    return "responder:limits:" + hashlib.sha256(key).hexdigest()[:32]


# One limit


@pytest.mark.pain(8)
def test_processes_of_several_machines_keep_one_limit_together(
    workers: Callable[..., list[Worker]], remote: Simulator, redis_server: RedisServer
) -> None:
    """They send what one may, with less than one round trip for each prompt."""
    both = workers(2, {"requests_per_minute": 6000}, 60)
    before = exchanges(redis_server)
    begin = time.monotonic()
    for worker in both:
        worker.go()
    assert [worker.answered() for worker in both] == [60, 60]
    last = max(request.arrived for request in remote.received)
    assert last - begin >= 1.1  # 1.2 s, where each with the whole limit would take half of that
    assert exchanges(redis_server) - before <= 120


def test_places_are_kept_exactly_and_shared_evenly(redis_server: RedisServer, key: bytes) -> None:
    """Who comes later gets its half of them as they become free, although the first one could use them all."""
    one, other = (Governor(Limits(max_concurrency=4, store=redis_server.url), key) for _ in range(2))
    held = [one.acquire(1.0, Deadline.after(PATIENCE), None) for _ in range(4)]
    with pytest.raises(DeadlineExceededError):
        other.acquire(1.0, Deadline.after(0.1), None)
    stop = threading.Event()
    most = max_of(one, held, stop)
    for _ in range(2):
        held.append(other.acquire(1.0, Deadline.after(PATIENCE), None))
    stop.set()
    assert most.join() <= 4


class max_of:  # noqa: N801 - reads as a function
    """Let a governor's calls end and start again for as long as it may, and count those in flight."""

    def __init__(self, governor: Governor, held: list[Permit], stop: threading.Event) -> None:
        self._most = 0
        self._threads = [threading.Thread(target=self._turn, args=(governor, permit, stop)) for permit in held]
        for thread in self._threads:
            thread.start()

    def _turn(self, governor: Governor, permit: Permit, stop: threading.Event) -> None:
        while not stop.is_set():
            permit.settle()
            try:
                permit = governor.acquire(1.0, Deadline.after(0.2), None)
            except DeadlineExceededError:
                continue
            self._most = max(self._most, len(governor._in_flight))
            stop.wait(0.005)  # as a call does: threads that never wait would leave the interpreter to nobody else
        permit.settle()

    def join(self) -> int:
        for thread in self._threads:
            thread.join(PATIENCE)
        return self._most


def test_a_killed_process_gives_its_places_back_within_the_lease(
    workers: Callable[..., list[Worker]], remote: Simulator, redis_server: RedisServer
) -> None:
    """And a process that lives keeps them for as long as its calls take."""
    remote.script_for("prompt 0", Fault.silence(times=2))
    remote.script_for("prompt 1", Fault.silence(times=2))
    (killed,) = workers(1, {"max_concurrency": 2}, 2, lease=2.4)
    killed.go()
    assert remote.wait_for(2)
    model = OpenAIResponder("m", api_key="secret-key", base_url=remote.base_url("openai"))
    name = "\0".join(("openai", model.base_url, "m", model._credential.identity())).encode()
    other = Governor(Limits(max_concurrency=2, store=redis_server.url), name)
    with pytest.raises(DeadlineExceededError):
        other.acquire(1.0, Deadline.after(3.0), None)
    killed.kill()
    for _ in range(2):
        other.acquire(1.0, Deadline.after(PATIENCE), None)


def test_a_program_that_ends_gives_its_places_back(redis_server: RedisServer, key: bytes) -> None:
    """At once: it need not wait for the lease, whatever it was at."""
    code = (
        "import sys; from responder import Limits; from responder.pace.governor import Governor\n"
        "from responder.values.deadline import NEVER\n"
        "governor = Governor(Limits(max_concurrency=3, store=sys.argv[1]), sys.argv[2].encode())\n"
        "held = [governor.acquire(1.0, NEVER, None) for _ in range(3)]\n"
        "held[0].settle()\n"
    )
    subprocess.run([sys.executable, "-c", code, redis_server.url, key.decode()], check=True, timeout=60)
    answer = RedisLimitStore(redis_server.url).exchange(key, LimitStep("other", most=3, wanted=3))
    assert answer.places == 3


def test_a_pause_reaches_all_at_once(redis_server: RedisServer, key: bytes) -> None:
    """Also one that started a call a moment ago, and believes that it may start more."""
    told, other = (Governor(Limits(requests_per_minute=60_000, store=redis_server.url), key) for _ in range(2))
    other.acquire(1.0, NEVER, None).settle()
    told.acquire(1.0, NEVER, None).settle(APIError("slow down", status=429, retryable=True, retry_after=60.0))
    begin = time.monotonic()
    with contextlib.suppress(DeadlineExceededError):
        while time.monotonic() - begin < 20:  # a fifth of a second on a machine that is not busy
            other.acquire(1.0, Deadline.after(1.0), None).settle()
    with pytest.raises(DeadlineExceededError):
        other.acquire(1.0, Deadline.after(0.1), None)


@pytest.mark.parametrize("hours", [-2, 2])
def test_a_machine_whose_clock_is_wrong_changes_nothing(redis_server: RedisServer, key: bytes, hours: int) -> None:
    """Nobody's clock is sent."""
    one, other = (Governor(Limits(requests_per_minute=300, store=redis_server.url), key) for _ in range(2))
    begin = time.monotonic()
    one.acquire(1.0, NEVER, None).settle()
    with time_machine.travel(time.time() + 3600 * hours, tick=True):
        for _ in range(2):
            other.acquire(1.0, Deadline.after(PATIENCE), None).settle()
    one.acquire(1.0, Deadline.after(PATIENCE), None).settle()
    assert 0.55 <= time.monotonic() - begin < PATIENCE


def test_the_servers_clock_may_be_set_back(redis_server: RedisServer, key: bytes) -> None:
    """What was noted before goes back with it: nobody waits for those minutes."""
    store = RedisLimitStore(redis_server.url)
    store.exchange(key, LimitStep("one", turns=(0.0,), interval=0.5, pause=30.0))
    with redis_server.client() as client:
        name = name_of(key)
        ahead = " ".join(str(float(moment) + 1800) for moment in client.hget(name, "at").split())
        client.hset(name, "at", ahead)
    answer = store.exchange(key, LimitStep("one", turns=(0.0,), interval=0.5))
    assert 0.0 < answer.pause <= 30.0
    assert answer.pause <= answer.opens <= answer.pause + 0.51


# The server need not be emptied in between.
@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.builds(
            LimitStep,
            process=st.sampled_from(["one", "two", "three"]),
            turns=st.lists(st.sampled_from([0.0, 1.0, 7.0]), max_size=4).map(tuple),
            interval=st.sampled_from([0.0, 2.0]),
            late=st.sampled_from([0.0, 0.02]),
            requests=st.sampled_from([0.0, -2.0]),
            tokens=st.sampled_from([0.0, -1.0, 3.0]),
            pause=st.sampled_from([0.0, 0.0, 5.0]),
            most=st.sampled_from([None, 2, 10]),
            using=st.integers(0, 4),
            wanted=st.integers(0, 8),
        ),
        max_size=12,
    )
)
def test_the_script_does_what_a_file_does(
    redis_server: RedisServer, tmp_path_factory: pytest.TempPathFactory, steps: list[LimitStep]
) -> None:
    """Whatever three processes ask one after another."""
    store, file = RedisLimitStore(redis_server.url), FileLimitStore(tmp_path_factory.getbasetemp() / "of the same")
    key = b"of the same %d" % next(_numbers)
    begin = time.monotonic()
    for step in steps:
        found, expected = store.exchange(key, step), file.exchange(key, step)
        if time.monotonic() - begin > 0.2:
            return  # the machine is busy: time has passed between the two, and both look at it
        assert (found.turns, found.places, found.processes) == (expected.turns, expected.places, expected.processes)
        assert found.opens == pytest.approx(expected.opens, abs=0.4)
        assert found.pause == pytest.approx(expected.pause, abs=0.4)


def test_what_is_in_redis_holds_no_key_and_expires(redis_server: RedisServer, simulator: Simulator) -> None:
    """Names are digests, times are seconds."""
    url, limits = simulator.base_url("openai"), Limits(requests_per_minute=6000, store=redis_server.unix_url)
    OpenAIResponder("m", api_key="sk-secret-key", base_url=url, limits=limits).answer("Hi")
    with redis_server.client() as client:
        names = client.keys()
        content = "".join(f"{name!r} {client.hgetall(name)!r}" for name in names)
        assert names
        assert all(0 < client.ttl(name) <= 3600 for name in names)
    assert "sk-secret-key" not in content
    assert "openai" not in content


# The server is away


class Calls:
    """Threads that start calls for as long as they may, and note when."""

    def __init__(self, governor: Governor, number: int = 8) -> None:
        self.moments: list[float] = []
        self.errors: list[BaseException] = []
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(governor,)) for _ in range(number)]
        for thread in self._threads:
            thread.start()

    def _run(self, governor: Governor) -> None:
        try:
            while not self._stop.is_set():
                permit = governor.acquire(1.0, Deadline.after(PATIENCE), None)
                self.moments.append(time.monotonic())
                permit.settle()
        except BaseException as error:  # noqa: BLE001 - shown by the test
            self.errors.append(error)

    def wait_for(self, number: int) -> None:
        """Wait until that many more have started."""
        number += len(self.moments)
        ends = time.monotonic() + PATIENCE
        while len(self.moments) < number and not self.errors and time.monotonic() < ends:
            time.sleep(0.005)
        assert not self.errors
        assert len(self.moments) >= number

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(PATIENCE)
        assert not self.errors

    def between(self, begin: float, end: float) -> int:
        return sum(begin <= moment < end for moment in list(self.moments))


def killed(server: RedisServer) -> None:
    server.kill()


def stopped(server: RedisServer) -> None:
    server.hang()


def as_it_was(server: RedisServer, how: Callable[[RedisServer], None]) -> None:
    if how is killed:
        server.start()
    else:
        server.renew()


@pytest.mark.usefixtures("soon")
@pytest.mark.parametrize("how", [killed, stopped])
def test_while_the_server_is_away_each_process_keeps_its_part(
    redis_server: RedisServer, key: bytes, how: Callable[[RedisServer], None], caplog: pytest.LogCaptureFixture
) -> None:
    """Neither more than the limit nor nothing, without an error; and when it is back, empty, all goes on."""
    one, other = (Governor(Limits(requests_per_minute=12_000, store=redis_server.url), key) for _ in range(2))
    calls = Calls(one), Calls(other)
    try:
        for each in calls:
            each.wait_for(20)
        how(redis_server)
        begin = time.monotonic()
        for each in calls:
            each.wait_for(30)
        end = time.monotonic()
        assert sum(each.between(begin, end) for each in calls) <= 200 * (end - begin) * 1.05 + 20
        assert "this process keeps to its part of them, one of 2" in caplog.text
        as_it_was(redis_server, how)
        ends = time.monotonic() + PATIENCE
        while caplog.text.count("are there again") < 2 and time.monotonic() < ends:
            time.sleep(0.01)
        assert caplog.text.count("are there again") >= 2
        for each in calls:
            each.wait_for(20)
    finally:
        redis_server.renew()
        for each in calls:
            each.stop()


@pytest.mark.parametrize(
    ("spoil", "mend"),
    [
        (["SET", "{name}", "of another type"], ["DEL", "{name}"]),
        (["REPLICAOF", "127.0.0.1", "1"], ["REPLICAOF", "NO", "ONE"]),
        (["CONFIG", "SET", "maxmemory", "1"], ["CONFIG", "SET", "maxmemory", "0"]),
        (["CONFIG", "SET", "min-replicas-to-write", "1"], ["CONFIG", "SET", "min-replicas-to-write", "0"]),
        (["ACL", "SETUSER", "default", "-evalsha", "-eval"], ["ACL", "SETUSER", "default", "+@all"]),
    ],
    ids=["another type", "a replica", "full", "too few replicas", "not allowed"],
)
def test_a_server_that_answers_with_an_error_is_away(
    redis_server: RedisServer, key: bytes, spoil: list[str], mend: list[str]
) -> None:
    """Whatever it says: the call goes on with its process's part, and later with all."""
    store = RedisLimitStore(redis_server.url)
    store.exchange(key, LimitStep("one"))
    with redis_server.client() as client:
        name = name_of(key)
        assert client.delete(name) == 1
        client.execute_command(*(word.format(name=name) for word in spoil))
        governor = Governor(Limits(requests_per_minute=6000, store=store), key)
        try:
            with pytest.raises(ConnectionError):
                store.exchange(key, LimitStep("one"))
            governor.acquire(1.0, Deadline.after(PATIENCE), None).settle()
        finally:
            client.execute_command(*(word.format(name=name) for word in mend))
    store.exchange(key, LimitStep("one"))


@pytest.mark.parametrize(
    "said",
    [
        b"-LOADING Redis is loading the dataset in memory\r\n",
        b"-MOVED 1234 127.0.0.1:1\r\n",
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"*0\r\n",
        b"$3\r\nabc\r\n",
        b"*5\r\n$1\r\nx\r\n:0\r\n:0\r\n:0\r\n:0\r\n",
        b"",
    ],
    ids=["loading", "moved", "no redis", "too little", "a word", "no numbers", "closed"],
)
def test_whatever_a_server_says_is_no_error_of_a_call(key: bytes, said: bytes) -> None:
    """It is away: a call starts all the same."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=answer_always, args=(listener, said), daemon=True)
        thread.start()
        store = RedisLimitStore(f"redis://127.0.0.1:{listener.getsockname()[1]}/0")
        with pytest.raises(ConnectionError):
            store.exchange(key, LimitStep("one"))
        governor = Governor(Limits(requests_per_minute=6000, store=store), key)
        governor.acquire(1.0, Deadline.after(PATIENCE), None).settle()


def answer_always(listener: socket.socket, said: bytes) -> None:
    """Be a server that says the same whatever it is asked."""
    with contextlib.suppress(OSError):
        while True:
            connection, _ = listener.accept()
            with connection, contextlib.suppress(OSError):
                while said and connection.recv(65536):
                    connection.sendall(said)


def test_places_are_kept_while_the_server_is_away(redis_server: RedisServer, key: bytes) -> None:
    """Of four, each of two processes keeps two."""
    one, other = (Governor(Limits(max_concurrency=4, store=redis_server.url), key) for _ in range(2))
    for governor in (other, one):
        governor.acquire(1.0, NEVER, None).settle()
    redis_server.kill()
    time.sleep(share._FRESH)  # what the server said last is believed for that long
    for _ in range(2):
        one.acquire(1.0, Deadline.after(PATIENCE), None)
    with pytest.raises(DeadlineExceededError):
        one.acquire(1.0, Deadline.after(0.1), None)


def test_deadline_and_cancel_hold_while_the_server_hangs(
    redis_server: RedisServer, key: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long it is waited for."""
    monkeypatch.setattr(share, "_PATIENCE", 30.0)
    governor = Governor(Limits(requests_per_minute=60_000, store=f"{redis_server.url}?socket_timeout=30"), key)
    redis_server.hang()
    begin = time.monotonic()
    with pytest.raises(DeadlineExceededError):
        governor.acquire(1.0, Deadline.after(0.1), None)
    token = CancelToken()
    threading.Timer(0.1, token.cancel, ["enough"]).start()
    with pytest.raises(CancelledError, match="enough"):
        governor.acquire(1.0, NEVER, token)
    assert governor.try_acquire(1.0) is None
    assert time.monotonic() - begin < 25
    redis_server.go_on()
    governor.acquire(1.0, Deadline.after(PATIENCE), None).settle()


def test_a_server_that_was_never_there_fails_no_call(
    redis_server: RedisServer, key: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """The limit is then each process's own; the log says so, and shows no password."""
    redis_server.kill()
    url = f"redis://:{PASSWORD}@127.0.0.1:{redis_server.port}/0"
    governor = Governor(Limits(requests_per_minute=6000, store=url), key)
    with caplog.at_level(logging.DEBUG):
        governor.acquire(1.0, Deadline.after(PATIENCE), None).settle()
    assert f"redis://:***@127.0.0.1:{redis_server.port}/0" in caplog.text
    assert PASSWORD not in caplog.text


def test_a_server_that_forgot_the_script_is_told_it_again(redis_server: RedisServer, key: bytes) -> None:
    """As one that was started again."""
    store = RedisLimitStore(redis_server.url)
    for _ in range(2):
        assert store.exchange(key, LimitStep("one", most=1, wanted=1)).places == 1
        with redis_server.client() as client:
            client.script_flush()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_has_a_connection_and_places_of_its_own(redis_server: RedisServer, key: bytes) -> None:
    """Also when a thread of the parent was connecting at that moment."""
    governor = Governor(Limits(max_concurrency=1, store=redis_server.url), key)
    permit = governor.acquire(1.0, NEVER, None)
    store = RedisLimitStore(redis_server.url)
    with store._lock, governor._lock:
        child = os.fork()
        if child == 0:
            code = 1
            try:
                refused = governor.try_acquire(1.0) is None
                permit.settle()  # it is the parent's
                code = 0 if refused and store.exchange(key, LimitStep("other", most=1, wanted=1)).places == 0 else 2
            finally:
                os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    permit.settle()
    governor.acquire(1.0, Deadline.after(PATIENCE), None).settle()


# The URL


@pytest.mark.parametrize("url", [f"redis://me:{PASSWORD}@host:6379/0", f"unix:///run/redis.sock?db=1&password={PASSWORD}"])
def test_a_password_shows_nowhere_and_does_not_travel(url: str) -> None:
    """Not in a repr, a variable, a pickle; the worker has it in its environment, and is told so if not."""
    limits = Limits(store=url)
    assert Limits(store=url) == limits
    pickled = pickle.dumps(limits)
    assert PASSWORD not in f"{limits!r} {vars(limits.store)}"
    assert PASSWORD.encode() not in pickled
    assert pickle.loads(pickled) == limits  # in this process, which has it
    code = (
        "import os, pickle, sys; from responder.pace.store import LimitStep; sent = sys.stdin.buffer.read()\n"
        "try: pickle.loads(sent).store.exchange(b'k', LimitStep('a'))\n"
        "except Exception as error: print(type(error).__name__, error)\n"
        "os.environ['REDIS_PASSWORD'] = sys.argv[1]\n"
        "print(pickle.loads(sent).store._connected().connection_pool.connection_kwargs['password'])"
    )
    done = subprocess.run([sys.executable, "-c", code, PASSWORD], input=pickled, capture_output=True, timeout=60, check=True)
    missing, password = done.stdout.decode().splitlines()
    assert missing.startswith("ConfigurationError")
    assert "export REDIS_PASSWORD" in missing
    assert password == PASSWORD


@pytest.mark.parametrize(
    "url",
    [f"redis://:{PASSWORD}/x@host/0", "redis://", f"redis://:{PASSWORD}@host:port/0", "unix://", f"redis://host/{PASSWORD}"],
)
def test_a_url_that_is_none_is_refused_before_any_call(url: str) -> None:
    """The message shows how it is written, and not what was in it."""
    with pytest.raises(ConfigurationError, match="redis://host:6379/0") as caught:
        Limits(store=url)
    assert PASSWORD not in str(caught.value)


def test_without_redis_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the limits are made."""
    monkeypatch.setitem(sys.modules, "redis", None)
    with pytest.raises(ConfigurationError, match=r"pip install 'responder-sdk\[redis\]'"):
        Limits(store="redis://of.nobody/0")


def test_a_file_may_have_any_other_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only what begins as the URL of a server is one."""
    monkeypatch.chdir(tmp_path)
    assert isinstance(Limits(store="redis").store, FileLimitStore)
