"""Does it work in every process that a program forks or spawns? What a child inherits it does not use: sockets, locks, threads.

What `fork()` does to the pool of connections is in `test_sockets.py`, and to an open checkpoint in `test_checkpoint.py`.
"""

from __future__ import annotations

import http.client
import json
import os
import pickle
import signal
import socket
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from servers import PATIENCE, Handler, Peer, Server, reply, reply_body
from shell import environment

from responder import OpenAIResponder

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")

# Seconds for a whole program of a test.
LONGEST = 90


class Askers:
    """Notes which process sent its prompts over which connection; prompts begin with the name of the process.

    Attributes:
        owners: The names of those who used each connection.
    """

    def __init__(self, hold: int = 0) -> None:
        self.owners: dict[int, set[str]] = {}
        self._together = threading.Barrier(hold) if hold else None

    @property
    def handler(self) -> Handler:
        """Answer each prompt with itself; those that say "together" once as many are inside as it takes."""

        def serve(peer: Peer) -> None:
            while (request := peer.receive()) is not None:
                self.owners.setdefault(peer.number, set()).add(request.prompt.split()[0])
                if self._together is not None and "together" in request.prompt:
                    self._together.wait(PATIENCE)
                peer.send(reply(reply_body(request.prompt)))

        return serve

    def check(self, processes: int) -> None:
        """Fail where two processes used one connection, or where not all came."""
        assert all(len(names) == 1 for names in self.owners.values()), self.owners
        assert len(set.union(*self.owners.values())) == processes, self.owners


def run(script: str, folder: Path, *arguments: object, options: tuple[str, ...] = (), **more: str) -> list[str]:
    """Run a program from a file, as spawned processes need it, and return the lines that it prints."""
    file = folder / "script.py"
    file.write_text(textwrap.dedent(script))
    done = subprocess.run(
        [sys.executable, "-W", "ignore", *options, str(file), *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=LONGEST,
        check=False,
        env=environment(**more),
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


# Web servers and task queues

SITE = """
import os
from responder import OpenAIResponder

gpt = OpenAIResponder("m", api_key="test-key", base_url=os.environ["PROVIDER"], max_retries=0, timeout=30)
assert gpt.map(["preload"] * 4, max_workers=4).ok


def application(environ, start_response):
    name = str(os.getpid())
    texts = [gpt.answer(f"{name} together").text, *gpt.map([f"{name} {number}" for number in range(8)]).texts()]
    with gpt.stream(f"{name} stream") if environ["PATH_INFO"] == "/stream" else open(os.devnull) as pieces:
        texts += ["".join(pieces)]
    start_response("200 OK", [("Content-Type", "text/plain")])
    return ["\\n".join(texts).encode()]
"""


@pytest.mark.acceptance(10)
@pytest.mark.pain(15)
@needs_fork
def test_a_responder_of_a_preloaded_site_works_in_each_worker(serve: Callable[..., Server], tmp_path: Path) -> None:
    """`gunicorn --preload`: made and used before the fork, then used by two workers, each over connections of its own."""
    askers = Askers(hold=2)
    server = serve(askers.handler)
    (tmp_path / "site_of_ours.py").write_text(SITE)
    with socket.create_server(("127.0.0.1", 0), backlog=16) as listener:
        os.set_inheritable(listener.fileno(), True)
        port = listener.getsockname()[1]
        command = [sys.executable, "-m", "gunicorn", "site_of_ours:application", "--preload", "--workers", "2"]
        gunicorn = subprocess.Popen(
            [*command, "--bind", f"fd://{listener.fileno()}", "--no-control-socket", "--log-level", "warning"],
            env=environment(PROVIDER=f"{server.url}/v1"),
            cwd=tmp_path,
            pass_fds=[listener.fileno()],
        )
        pages: list[list[str]] = []

        def visit() -> None:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
            connection.request("GET", "/")
            pages.append(connection.getresponse().read().decode().splitlines())
            connection.close()

        try:
            for _ in range(3):
                visitors = [threading.Thread(target=visit) for _ in range(2)]
                for visitor in visitors:
                    visitor.start()
                for visitor in visitors:
                    visitor.join(LONGEST)
        finally:
            gunicorn.terminate()
            gunicorn.wait(PATIENCE)
    for page in pages:
        name = page[0].split()[0]
        assert page == [f"{name} together", *(f"{name} {number}" for number in range(8))]
    assert len(pages) == 6
    askers.check(3)


QUEUE = """
import os, sys
from celery import Celery
from responder import OpenAIResponder

folder = os.environ["FOLDER"]
app = Celery("queue_of_ours", broker="filesystem://", backend="file://" + folder + "/results")
folders = {key: folder + "/messages" for key in ("data_folder_in", "data_folder_out", "control_folder")}
app.conf.update(broker_transport_options={**folders, "polling_interval": 0.05}, worker_prefetch_multiplier=1)
gpt = OpenAIResponder("m", api_key="test-key", base_url=os.environ["PROVIDER"], max_retries=0, timeout=30)
assert gpt.map([sys.argv[-1]] * 4, max_workers=4).ok


@app.task
def ask(number):
    name = str(os.getpid())
    return [gpt.answer(f"{name} together").text, *gpt.map([f"{name} {number}"] * 4).texts()]
"""

QUEUE_CLIENT = """
import json
from queue_of_ours import ask

print(json.dumps([result.get(timeout=60) for result in [ask.delay(number) for number in range(4)]]))
"""


@pytest.mark.acceptance(10)
@pytest.mark.pain(15)
@needs_fork
def test_a_responder_of_a_celery_app_works_in_each_of_its_processes(serve: Callable[..., Server], tmp_path: Path) -> None:
    """A prefork worker whose responder was made and used when the app was imported."""
    askers = Askers(hold=2)
    server = serve(askers.handler)
    for name in ("results", "messages"):
        (tmp_path / name).mkdir()
    (tmp_path / "queue_of_ours.py").write_text(QUEUE)
    env = environment(PROVIDER=f"{server.url}/v1", FOLDER=str(tmp_path), C_FORCE_ROOT="1")
    command = [sys.executable, "-W", "ignore", "-m", "celery", "-q", "-A", "queue_of_ours", "worker"]
    options = ["--pool", "prefork", "-c", "2", "-O", "fair", "-l", "ERROR", "--without-gossip", "--without-mingle"]
    command += [*options, "-n", "worker"]
    worker = subprocess.Popen(command, env=env, cwd=tmp_path, stdout=subprocess.DEVNULL, start_new_session=True)
    try:
        done = subprocess.run(
            [sys.executable, "-c", QUEUE_CLIENT, "client"], env=env, cwd=tmp_path, capture_output=True, text=True, timeout=LONGEST
        )
    finally:
        os.killpg(worker.pid, signal.SIGKILL)  # with its children; its own way to end takes five seconds
        worker.wait(PATIENCE)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    for number, texts in enumerate(found):
        name = texts[0].split()[0]
        assert texts == [f"{name} together", *[f"{name} {number}"] * 4]
    askers.check(4)  # the worker's parent, its two children, and the client


# Pools of processes

POOL = """
import concurrent.futures, multiprocessing, sys
from responder import OpenAIResponder

if __name__ == "__main__":
    gpt = OpenAIResponder("m", base_url=sys.argv[1], max_retries=0, timeout=20)
    gpt.answer("parent")
    with concurrent.futures.ProcessPoolExecutor(2, multiprocessing.get_context(sys.argv[2])) as pool:
        for answer in pool.map(gpt.answer, [f"child {number}" for number in range(6)]):
            print(answer.text)
        for result in pool.submit(gpt.map, [f"child {number}" for number in range(6, 9)]).result():
            print(result.answer.text)
"""


@pytest.mark.acceptance(10)
@pytest.mark.pain(15)
@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_a_pool_of_processes_maps_a_responders_method(serve: Callable[..., Server], tmp_path: Path, method: str) -> None:
    """`ProcessPoolExecutor.map(gpt.answer, prompts)`: the method travels, and answers and whole batches come back."""
    if method != "spawn" and sys.platform == "win32":
        pytest.skip("this system does not fork")
    askers = Askers()
    server = serve(askers.handler)
    assert run(POOL, tmp_path, f"{server.url}/v1", method, OPENAI_API_KEY="test-key") == [f"child {n}" for n in range(9)]
    askers.check(2)
    assert {request.headers["authorization"] for request in server.requests} == {"Bearer test-key"}


@pytest.mark.pain(15)
def test_a_method_travels_without_the_key(serve: Callable[..., Server], monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a used responder's pickle nor that of its methods holds a secret, wherever it was given."""
    server = serve(Askers().handler)
    hidden = ("given-key", "key-of-the-environment", "token-in-a-header", "key-of-a-callable")
    monkeypatch.setenv("OPENAI_API_KEY", hidden[1])
    extra = {"X-Api-Token": hidden[2]}
    for key in (hidden[0], None, lambda: hidden[3]):
        with OpenAIResponder("m", api_key=key, base_url=f"{server.url}/v1", extra_headers=extra) as gpt:
            assert gpt.map(["Hi"] * 3).ok
            for thing in (gpt, gpt.answer, gpt.map, gpt.imap, gpt.stream):
                data = pickle.dumps(thing)
                assert not [secret for secret in hidden if secret.encode() in data]
                pickle.loads(data)


# Locks that nobody will release

FORKS = ["python", pytest.param("c", marks=pytest.mark.skipif(sys.platform != "linux", reason="calls the C library's fork()"))]

LOCKS = """
import ctypes, gc, os, signal, sys, threading, time
from responder import CancelToken, Limits, OpenAIResponder, for_model
from responder.integrations.registry import Registry
from responder.many.job_lock import sending
from responder.values.deadline import NEVER
from responder.wire.credentials import GoogleCredential
from responder.wire.signing import AmazonSigner

fork, url, file = sys.argv[1:]
token, registry, signer = CancelToken(), Registry(), AmazonSigner("bedrock", "us-east-1")


def use(gpt, google, who):
    assert gpt.answer(who + " one", cancel=token).text == who + " one"
    assert not token.wait(0)
    assert registry.get("a", lambda: gpt) is gpt
    assert signer.signed("https://localhost/", b"", {})
    with sending(file, NEVER, None):
        pass
    assert for_model("simulated:m").base_url
    assert gpt.map([who + " two"] * 3, checkpoint=file, dedupe=True).texts() == [who + " two"] * 3
    assert [result.ok for result in gpt.imap([who + " three"] * 3)] == [True] * 3
    assert google.answer(who + " four").text == who + " four"


def locks():
    kinds = (type(threading.Lock()), type(threading.RLock()))
    modules = [module for name, module in sys.modules.items() if name.partition(".")[0] == "responder"]
    things = [thing for thing in gc.get_objects() if str(type(thing).__module__).partition(".")[0] == "responder"]
    for thing in [*modules, *things]:
        names = [*getattr(thing, "__dict__", ()), *getattr(type(thing), "__slots__", ())]
        for name in names:
            value = getattr(thing, name, None)
            where = f"{getattr(thing, '__name__', type(thing).__name__)}.{name}"
            for value in value.values() if isinstance(value, dict) else [value]:
                value = value._cond if isinstance(value, threading.Event) else value
                value = value._lock if isinstance(value, threading.Condition) else value
                # A fork waits for whoever is in SQLite.
                if isinstance(value, kinds) and where != "Gate._lock":
                    yield where, value


class Credentials:
    valid, token = False, None

    def refresh(self, request):
        self.token, self.valid = "t", True


gpt = OpenAIResponder("m", api_key="k", base_url=url, max_retries=0, timeout=20, limits=Limits(1000, 1e7, 1e9))
google = OpenAIResponder("m", api_key="k", base_url=url, max_retries=0, timeout=20)
google._access.credential = GoogleCredential(Credentials())
use(gpt, google, "before")
google._access.credential._source.valid = False
held, inside, leave = [], threading.Event(), threading.Event()


def hold():
    for name, lock in list(locks()):
        if lock.acquire(blocking=False):
            held.append((name, lock))
    inside.set()
    leave.wait()
    for _, lock in held:
        lock.release()


thread = threading.Thread(target=hold)
thread.start()
assert inside.wait(60)
time.sleep(0.2)  # until the thread rests: one that just wakes up may hold what the interpreter's own lock needs
child = os.fork() if fork == "python" else ctypes.PyDLL(None).fork()  # in C as uWSGI does, which does not tell Python
if child == 0:
    signal.alarm(60)
    try:
        use(gpt, google, "child")
        os._exit(0)
    except BaseException as error:
        print(repr(error), flush=True)
        os._exit(1)
leave.set()
thread.join()
print("child", os.waitpid(child, 0)[1])
use(gpt, google, "parent")
print(*sorted({name for name, _ in held}))
"""


@pytest.mark.pain(15)
@needs_fork
@pytest.mark.parametrize("fork", FORKS)
def test_a_child_needs_no_lock_that_a_thread_of_its_parent_holds(
    serve: Callable[..., Server], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fork: str
) -> None:
    """Another thread holds every lock that the package has when the process forks: the child works all the same."""
    askers = Askers()
    server = serve(askers.handler)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    child, held = run(LOCKS, tmp_path, fork, f"{server.url}/v1", tmp_path / "run.db")
    assert child == "child 0", held
    for name in (
        "AmazonSigner._lock",
        "Governor._lock",
        "Recent._lock",
        "Registry._lock",
        "_InProcess.lock",
        "_Shared.event",
        "_Shared.lock",
        "responder.many.job_lock._threads",
        "responder.providers.simulated._locks",
    ):
        assert name in held.split()
    assert not any({"child", "parent"} <= names or {"child", "before"} <= names for names in askers.owners.values())


BAR = """
import ctypes, os, signal, sys, threading, time
from responder import OpenAIResponder

fork, url = sys.argv[1:]
gpt = OpenAIResponder("m", api_key="k", base_url=url, max_retries=0, timeout=20)
drawing, leave = threading.Event(), threading.Event()


class Slow:
    encoding = "utf-8"

    def write(self, text):
        drawing.set()
        leave.wait()

    def flush(self):
        pass


sys.stderr = Slow()
thread = threading.Thread(target=gpt.map, args=(["parent one"] * 3,), kwargs={"progress": True})
thread.start()
drawing.wait()
time.sleep(0.2)  # until the threads rest: one that just wakes up may hold what the interpreter's own lock needs
child = os.fork() if fork == "python" else ctypes.PyDLL(None).fork()
if child == 0:
    signal.alarm(60)
    sys.stderr = open(os.devnull, "w")
    os._exit(0 if gpt.map(["child one"] * 3, progress=True).ok else 1)
code = os.waitpid(child, 0)[1]
leave.set()
thread.join()
print(code)
"""


@pytest.mark.pain(15)
@needs_fork
@pytest.mark.parametrize("fork", FORKS)
def test_a_child_draws_its_bar_though_a_thread_of_its_parent_was_drawing_one(
    serve: Callable[..., Server], tmp_path: Path, fork: str
) -> None:
    """The terminal is slow, and the process forks in the middle of a line."""
    server = serve(Askers().handler)
    assert run(BAR, tmp_path, fork, f"{server.url}/v1") == ["0"]


BUSY = """
import os, random, signal, sys, threading, time
from responder import Limits, OpenAIResponder

url, file = sys.argv[1:]
gpt = OpenAIResponder("m", api_key="k", base_url=url, timeout=20, limits=Limits(requests_per_minute=1e7))
assert gpt.map(["parent one"], checkpoint=file).ok  # what is imported with the first call is there
stop = threading.Event()


def prompts():
    number = 0
    while not stop.is_set():
        number += 1
        yield f"parent {number}"


def work():
    for result in gpt.imap_unordered(prompts(), max_workers=8, checkpoint=file):
        if result.answer.text != result.prompt:
            os._exit(9)


thread = threading.Thread(target=work)
thread.start()
children = []
for number in range(20):
    time.sleep(random.uniform(0.0, 0.02))
    child = os.fork()
    if child == 0:
        signal.alarm(60)
        mine = [f"{os.getpid()} {number}" for number in range(4)]
        os._exit(0 if gpt.map(mine, max_workers=4, checkpoint=file, progress=False).texts() == mine else 1)
    children.append(child)
print([os.waitpid(child, 0)[1] for child in children])
stop.set()
thread.join()
"""


@pytest.mark.pain(15)
@needs_fork
def test_forks_in_the_middle_of_calls(serve: Callable[..., Server], tmp_path: Path) -> None:
    """Eight threads are asking, waiting, storing when the process forks, twenty times: each child has its answers."""
    askers = Askers()
    server = serve(askers.handler)
    assert run(BUSY, tmp_path, f"{server.url}/v1", tmp_path / "run.db") == [str([0] * 20)]
    askers.check(21)
