"""How is a measurement made? Server, one process a run, interleaved repeats, a table; it does not say what is measured.

A run is one contender on one job. Each run gets a fresh server and a fresh Python process, so that imports, garbage
collection, threads and warm connections of one cannot help or hurt another. The process imports what it needs, says
that it is ready, and waits; the clock covers everything after that: building the client, connecting, all calls, and
reading the answers. Only then are the answers checked, each against its own prompt.

Repeats are interleaved (a b c, a b c, a b c) so that a busy minute of the machine hurts all alike; each number shown is
the median of its repeats.
"""

from __future__ import annotations

import argparse
import atexit
import contextlib
import dataclasses
import functools
import importlib
import importlib.metadata
import importlib.util
import json
import os
import platform
import resource
import shutil
import signal
import ssl
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, final

HERE = Path(__file__).resolve().parent

SERVER_IS_A_BOTTLENECK = 0.60
"""Share of one core that the server may use during a run before its numbers stop being about the client."""

RUN_LIMIT = 120.0
"""Seconds after which one run is given up; the slowest that ever ended took 33. A client may hang with its answer unread."""

OUTPUT_TOKENS = 120
"""What `server.c` writes as `completion_tokens`: an answer whose usage was not read is counted as wrong."""


@dataclasses.dataclass(frozen=True)
class Job:
    """What a contender has to do. `url` is filled in when the server has started."""

    calls: int
    workers: int
    latency: float  # seconds the server waits before it answers
    url: str = ""
    tls: bool = False
    answer_bytes: int = 1000
    limit_headers: bool = False  # whether answers carry x-ratelimit headers, as the real ones do
    structured: bool = False  # whether answers are the JSON of ten fields
    events: int = 0  # of each stream; 0: no streams
    interval: float = 0.0  # seconds between two events of a stream; 0: back to back

    @property
    def ideal(self) -> float:
        """Seconds that perfect workers would need."""
        return (self.latency * self.calls + self.interval * max(self.events - 1, 0) * self.calls) / self.workers

    def prompts(self) -> list[str]:
        """One prompt a call; the server quotes the "item N" in it."""
        return [f"In one sentence, please: what is special about item {i}?" for i in range(self.calls)]


@dataclasses.dataclass(frozen=True)
class Reply:
    """What every contender must hand over for a call: typed, read from the JSON, with the usage."""

    text: str
    output_tokens: int


@dataclasses.dataclass
class Outcome:
    """What a run hands back: a reply (or the error) for each prompt, in order, and numbers of its own.

    `replies` None: nothing to check here, the run has checked for itself and says so in `numbers["wrong"]`.
    """

    replies: list[Reply | BaseException | None] | None
    numbers: dict[str, float] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Contender:
    """One way to do a job.

    `prepare` imports and returns the function that the clock is on. What that one returns is called when the clock has
    stopped, if it is a function: a run may put off what is not the client's work.
    """

    label: str
    needs: tuple[str, ...]  # modules
    prepare: Callable[[Job], Callable[[], Outcome | Callable[[], Outcome]]]


@dataclasses.dataclass(frozen=True)
class Run:
    """One contender (a name in `module.CONTENDERS`) on one job; `group` says which runs belong into one table."""

    module: str
    contender: str
    job: Job
    group: str = ""


@final
@dataclasses.dataclass
class Row:
    """The medians of one run's repeats. `note` says why there are none; `first_wrong` shows an answer that is wrong."""

    run: Run
    label: str
    numbers: dict[str, float] = dataclasses.field(default_factory=dict)
    note: str = ""
    first_wrong: str = ""

    def __getitem__(self, name: str) -> float:
        return self.numbers[name]


# ---- server --------------------------------------------------------------------------------------------------------


@functools.cache
def workshop() -> Path:
    """A directory for the binary and the certificates, gone when the script ends."""
    path = Path(tempfile.mkdtemp(prefix="responder-benchmark-"))
    atexit.register(shutil.rmtree, path, ignore_errors=True)
    return path


@functools.cache
def server_binary() -> tuple[Path, bool]:
    """Builds `server.c`; with TLS where OpenSSL's headers are installed, without where they are not."""
    compiler = os.environ.get("CC") or shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        sys.exit("The benchmarks build a small server in C: install a C compiler (Debian: apt install gcc libc6-dev).")
    binary = workshop() / "server"
    base = [compiler, "-O2", "-pthread", str(HERE / "server.c"), "-o", str(binary)]
    built = subprocess.run([*base, "-DHAVE_TLS", "-lssl", "-lcrypto"], capture_output=True, text=True, check=False)
    if built.returncode == 0:
        return binary, True
    plain = subprocess.run(base, capture_output=True, text=True, check=False)
    if plain.returncode:
        sys.exit(f"server.c does not compile:\n{plain.stderr}")
    return binary, False


@functools.cache
def certificates() -> tuple[Path, Path]:
    """Makes a certificate for 127.0.0.1: (the server's chain and key, the bundle that clients trust).

    The bundle holds the public authorities too. A bundle of one certificate would load in no time, and hide what
    clients pay that load it again for every connection.
    """
    import certifi
    import trustme

    authority = trustme.CA()
    server = workshop() / "server.pem"
    authority.issue_cert("127.0.0.1", "localhost").private_key_and_cert_chain_pem.write_to_path(str(server))
    bundle = workshop() / "trusted.pem"
    bundle.write_bytes(Path(certifi.where()).read_bytes() + authority.cert_pem.bytes())
    return server, bundle


def why_no_tls() -> str:
    """What to install before TLS can be measured; empty when nothing is missing."""
    if importlib.util.find_spec("trustme") is None or importlib.util.find_spec("certifi") is None:
        return "TLS skipped: pip install trustme certifi"
    if not server_binary()[1]:
        return "TLS skipped: the server was built without OpenSSL (Debian: apt install libssl-dev)"
    return ""


class Server:
    """A running server of `server.c`."""

    def __init__(self, process: subprocess.Popen[str], url: str) -> None:
        self.url = url
        self._process = process

    def stats(self) -> dict[str, float]:
        """Reads the counters: requests, connections, max_in_flight, cpu_seconds and so on."""
        context = ssl.create_default_context(cafile=str(certificates()[1])) if self.url.startswith("https") else None
        opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), *([urllib.request.HTTPSHandler(context=context)] if context else [])
        )
        with opener.open(f"{self.url}/stats", timeout=10) as reply:
            numbers: dict[str, float] = json.load(reply)
        return numbers


@contextlib.contextmanager
def serving(job: Job) -> Iterator[Server]:
    """Starts a server for the job, and ends it."""
    command = [
        str(server_binary()[0]),
        *("--latency-ms", f"{job.latency * 1000:.3f}"),
        *("--answer-bytes", str(job.answer_bytes)),
        *("--events", str(max(job.events, 1))),
        *("--interval-ms", f"{job.interval * 1000:.3f}"),
        *(["--limit-headers"] if job.limit_headers else []),
        *(["--structured"] if job.structured else []),
        *(["--certificate", str(certificates()[0])] if job.tls else []),
    ]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        port = int(process.stdout.readline())
        yield Server(process, f"{'https' if job.tls else 'http'}://127.0.0.1:{port}")
    finally:
        process.stdin.close()
        try:
            process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()


# ---- one run -------------------------------------------------------------------------------------------------------


def client_environment(job: Job) -> dict[str, str]:
    """The environment of a run: no proxies, the benchmark's authority trusted under every name clients look for."""
    environment = {k: v for k, v in os.environ.items() if not k.lower().endswith("_proxy")}
    environment["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # or it downloads a price list when imported
    environment["LANGSMITH_TRACING"] = "false"
    if job.tls:
        bundle = str(certificates()[1])
        environment.update(SSL_CERT_FILE=bundle, REQUESTS_CA_BUNDLE=bundle, CURL_CA_BUNDLE=bundle)
        environment.pop("SSL_CERT_DIR", None)
    return environment


def run_once(run: Run) -> tuple[dict[str, float], str]:
    """Measures one contender once, in a process of its own: its numbers, and its first wrong answer if there is one.

    Raises:
        RuntimeError: It failed; the message is the last line that it printed.
    """
    with serving(run.job) as server, tempfile.TemporaryFile("w+") as complaints:
        job = dataclasses.replace(run.job, url=server.url)
        command = [
            sys.executable,
            str(HERE / "harness.py"),
            run.module,
            run.contender,
            json.dumps(dataclasses.asdict(job)),
        ]
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=complaints,
            text=True,
            env=client_environment(job),
            cwd=workshop(),
        )
        guard = threading.Timer(RUN_LIMIT, process.kill)
        guard.start()
        try:
            assert process.stdout is not None
            ready = process.stdout.readline()
            before = server.stats()
            out, _ = process.communicate("go\n" if ready else None)
            after = server.stats()
        finally:
            guard.cancel()
            process.kill()
            process.wait()
        if process.returncode or not out:
            complaints.seek(0)
            lines = complaints.read().strip().splitlines() or ["no message"]
            if process.returncode == -signal.SIGKILL:
                lines.append(f"not done within {RUN_LIMIT:.0f} s")
            if os.environ.get("BENCHMARK_DEBUG"):
                print("\n".join(lines), file=sys.stderr)
            raise RuntimeError(f"{lines[-1][:200]} (BENCHMARK_DEBUG=1 shows all)")
        report = json.loads(out)
    numbers: dict[str, float] = report["numbers"]
    numbers["server_cpu"] = after["cpu_seconds"] - before["cpu_seconds"]
    numbers["server_share"] = numbers["server_cpu"] / numbers["wall"]
    numbers["max_in_flight"] = after["max_in_flight"]
    numbers["connections"] = after["connections"] - before["connections"] - 1  # one was ours, for the counters
    numbers["requests"] = after["requests"]
    return numbers, report["first_wrong"]


def peak_memory() -> float:
    """Peak resident memory of this process in MB.

    Not `ru_maxrss`, which a process inherits from the one that started it.
    """
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def busy_share(seconds: float = 0.5) -> float:
    """Watches the machine for so many seconds: the share of its processors' time that is not idle.

    Not the load average, which remembers for minutes the hundreds of threads of a benchmark that has just ended.
    """

    def ticks() -> tuple[int, int]:
        numbers = [int(n) for n in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
        return sum(numbers), numbers[3] + numbers[4]  # all, and idle or waiting for a disk

    before = ticks()
    time.sleep(seconds)
    after = ticks()
    return 1 - (after[1] - before[1]) / max(after[0] - before[0], 1)


def resident_memory() -> float:
    """Resident memory of this process now, in MB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def wrong_replies(job: Job, outcome: Outcome) -> tuple[int, str]:
    """Counts the prompts without their own answer, and describes the first."""
    if outcome.replies is None:
        return int(outcome.numbers["wrong"]), ""
    first, wrong = "", abs(job.calls - len(outcome.replies))
    tokens = job.events or OUTPUT_TOKENS
    for index, reply in enumerate(outcome.replies):
        mine = isinstance(reply, Reply) and reply.text[:20].split("@")[0].split(":")[0].strip() == f"item {index}"
        if not (mine and isinstance(reply, Reply) and reply.output_tokens == tokens):
            wrong += 1
            first = first or f"prompt {index}: {reply!r:.200}"
    return wrong, first


def child(module: str, name: str, job_json: str) -> None:
    """Is the process of one run: prepare, wait for the word, run under the clock, check, report."""
    # Libraries print to stdout (litellm does); the report must not drown among their lines.
    report = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    job = Job(**json.loads(job_json))
    run = importlib.import_module(module).CONTENDERS[name].prepare(job)
    memory_before = resident_memory()
    print("ready", file=report, flush=True)
    if not sys.stdin.readline():
        sys.exit("the benchmark was stopped")
    cpu_before, start = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    outcome = run()
    wall, cpu = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF)
    memory = peak_memory()
    if not isinstance(outcome, Outcome):
        outcome = outcome()
    wrong, first = wrong_replies(job, outcome)
    seconds = cpu.ru_utime + cpu.ru_stime - cpu_before.ru_utime - cpu_before.ru_stime
    numbers = {
        "wall": wall,
        "cpu": seconds,
        "cpu_per_call": seconds / max(job.calls, 1),
        "peak_memory": memory,
        "memory_before": memory_before,
        "wrong": float(wrong),
    } | outcome.numbers
    json.dump({"numbers": numbers, "first_wrong": first}, report)
    report.flush()
    # Threads and clients are not worth an orderly end here: what they cost after the run is not measured.
    os._exit(0)


# ---- many runs -----------------------------------------------------------------------------------------------------


def missing(contender: Contender) -> str:
    """The first module that a contender needs and this environment lacks."""
    return next((m for m in contender.needs if importlib.util.find_spec(m) is None), "")


def progress(text: str) -> None:
    """Shows on a terminal what is being measured; an empty text wipes it away."""
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)


def measure(runs: Sequence[Run], repeat: int) -> list[Row]:
    """Measures all runs `repeat` times, interleaved, and returns their medians in the same order."""
    samples: list[list[dict[str, float]]] = [[] for _ in runs]
    rows = [Row(run, importlib.import_module(run.module).CONTENDERS[run.contender].label) for run in runs]
    for row in rows:
        absent = missing(importlib.import_module(row.run.module).CONTENDERS[row.run.contender])
        if absent:
            row.note = f"skipped: {absent} is not installed"
        elif row.run.job.tls and why_no_tls():
            row.note = why_no_tls()
    for turn in range(repeat):
        for row, taken in zip(rows, samples, strict=True):
            if row.note:
                continue
            progress(f"{turn + 1}/{repeat} {row.run.group} {row.label}")
            try:
                numbers, first_wrong = run_once(row.run)
                taken.append(numbers)
                row.first_wrong = row.first_wrong or first_wrong
            except RuntimeError as error:
                row.note = f"failed: {error}"
    progress("")
    for row, taken in zip(rows, samples, strict=True):
        if taken and not row.note:
            row.numbers = {name: statistics.median(one[name] for one in taken) for name in taken[0]}
            # A wrong answer is not averaged away, and the busiest server counts.
            row.numbers["wrong"] = max(one["wrong"] for one in taken)
            row.numbers["server_share"] = max(one["server_share"] for one in taken)
    return rows


# ---- report --------------------------------------------------------------------------------------------------------


def table(header: Sequence[str], lines: Sequence[Sequence[str]], *, words: Sequence[int] = (0,)) -> str:
    """Aligns columns: numbers to the right, those in `words` to the left."""
    whole = [line for line in [header, *lines] if len(line) == len(header)]
    widths = [max(len(line[i]) for line in whole) for i in range(len(header))]
    widths[0] = max(len(line[0]) for line in [header, *lines])

    def row(cells: Sequence[str]) -> str:
        if len(cells) < len(header):  # a label and why there are no numbers
            return f"{cells[0]:<{widths[0]}}  {cells[1]}"
        pairs = enumerate(zip(cells, widths, strict=True))
        return "  ".join(f"{c:<{w}}" if i in words else f"{c:>{w}}" for i, (c, w) in pairs).rstrip()

    return "\n".join([row(header), "  ".join("-" * w for w in widths), *map(row, lines)])


Column = tuple[str, Callable[[Row], str]]

WALL: Column = ("wall s", lambda row: f"{row['wall']:.2f}")
IDEAL_RATIO: Column = ("x ideal", lambda row: f"{row['wall'] / row.run.job.ideal:.2f}")
CPU: Column = ("CPU us/call", lambda row: f"{row['cpu_per_call'] * 1e6:.0f}")
MEMORY: Column = ("peak MB", lambda row: f"{row['peak_memory']:.0f}")
CONNECTIONS: Column = ("connections", lambda row: f"{row['connections']:.0f}")
IN_FLIGHT: Column = ("in flight", lambda row: f"{row['max_in_flight']:.0f}")
WRONG: Column = ("wrong", lambda row: f"{row['wrong']:.0f}")
SERVER: Column = ("server CPU", lambda row: f"{row['server_share'] * 100:.0f}%")


def show(title: str, rows: Sequence[Row], columns: Sequence[Column]) -> None:
    """Prints the rows as a table under a title."""
    lines = [[row.label, *(read(row) for _, read in columns)] if row.numbers else [row.label, row.note] for row in rows]
    print(f"\n{title}\n{table(['', *(name for name, _ in columns)], lines)}")


def find(rows: Sequence[Row], contender: str, group: str = "") -> Row | None:
    """The measured row of a contender; None when it was skipped or failed, or when an answer was wrong.

    A client that gives up early is fast: no goal is reached with wrong answers.
    """
    mine = (row for row in rows if row.run.contender == contender and row.run.group == group)
    return next((row for row in mine if row.numbers and not row["wrong"]), None)


class Report:
    """Collects rows and goals of a script, and ends it: goals, the server's share, the JSON file, the exit code."""

    def __init__(self, question: str, arguments: argparse.Namespace) -> None:
        self.question = question
        self.arguments = arguments
        self.rows: list[Row] = []
        self.goals: list[dict[str, Any]] = []
        self.extra: dict[str, Any] = {}
        self.busy_before = busy_share()
        print(question)
        if self.busy_before > 0.1:
            print(f"note: other work keeps {self.busy_before * 100:.0f}% of the processors busy; times suffer from it")

    def measure(self, runs: Sequence[Run]) -> list[Row]:
        """Measures and keeps the rows."""
        rows = measure(runs, self.arguments.repeat)
        self.rows += rows
        return rows

    def goal(self, text: str, value: float | None, limit: float, *, at_least: bool = False, unit: str = "") -> None:
        """Notes a goal; `value` None means that it could not be measured."""
        met = None if value is None else (value >= limit if at_least else value <= limit)
        self.goals.append({"goal": text, "value": value, "limit": limit, "unit": unit, "at_least": at_least, "met": met})

    def finish(self) -> int:
        """Prints what is left to say and returns the exit code: 1 when an answer was wrong or a run failed."""
        if self.goals:
            print("\nGoals")
        for goal in self.goals:
            verdict = {True: "pass", False: "MISS", None: "not measured"}[goal["met"]]
            value = "" if goal["value"] is None else f": {goal['value']:.4g}{goal['unit']}"
            print(f"  {verdict:<5} {goal['goal']}{value} (limit {goal['limit']:g}{goal['unit']})")
        busiest = max((row for row in self.rows if row.numbers), key=lambda row: row["server_share"], default=None)
        if busiest is not None:
            share = busiest["server_share"]
            verdict = (
                "not the bottleneck" if share < SERVER_IS_A_BOTTLENECK else "A BOTTLENECK: these numbers are not the client's"
            )
            print(f"\nServer: at most {share * 100:.0f}% of one core in any run ({busiest.label}): {verdict}")
        wrong = sum(row["wrong"] for row in self.rows if row.numbers)
        if busiest is not None:
            print(f"Answers: {f'{wrong:.0f} are missing or wrong' if wrong else 'every one belongs to its prompt'}")
        for row in self.rows:
            if row.first_wrong:
                print(f"  {row.run.group} {row.label}, {row.first_wrong}".replace("   ", "  "))
        failed = [row for row in self.rows if row.note.startswith("failed")]
        if self.arguments.json:
            Path(self.arguments.json).write_text(json.dumps(self.record(), indent=1) + "\n")
        return 1 if wrong or failed else 0

    def record(self) -> dict[str, Any]:
        """Everything that was measured and where, for the JSON file."""
        rows = [
            {
                "group": r.run.group,
                "contender": r.run.contender,
                "label": r.label,
                "job": {k: v for k, v in dataclasses.asdict(r.run.job).items() if k != "url"},
                "ideal": r.run.job.ideal,
                **({"numbers": r.numbers} if r.numbers else {"note": r.note}),
            }
            for r in self.rows
        ]
        return {
            "question": self.question,
            "quick": self.arguments.quick,
            "repeat": self.arguments.repeat,
            "when": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "machine": {
                "python": platform.python_version(),
                "system": f"{platform.system()} {platform.release()}",
                "cores": os.cpu_count(),
                "busy_before": self.busy_before,
            },
            "versions": versions(),
            "goals": self.goals,
            "rows": rows,
            **self.extra,
        }


DISTRIBUTIONS = (
    "responder-sdk",
    "requests",
    "urllib3",
    "openai",
    "httpx",
    "aiohttp",
    "uvloop",
    "litellm",
    "langchain-openai",
)


def versions() -> dict[str, str]:
    """Versions of the packages that are compared, as far as they are installed."""
    found = {}
    for name in DISTRIBUTIONS:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def parser(documentation: str | None) -> argparse.ArgumentParser:
    """The options that every script has."""
    result = argparse.ArgumentParser(description=documentation, formatter_class=argparse.RawDescriptionHelpFormatter)
    result.add_argument("--quick", action="store_true", help="fewer calls, one repeat: does it run, roughly")
    result.add_argument("--repeat", type=int, help="runs of each contender, of which the median is shown (3; quick: 1)")
    result.add_argument("--json", metavar="FILE", help="write all numbers there as well")
    result.add_argument("--only", metavar="NAMES", help="contenders, separated by commas")
    return result


def parse(options: argparse.ArgumentParser) -> argparse.Namespace:
    """Reads the command line and fills in what `--quick` decides."""
    arguments = options.parse_args()
    arguments.repeat = arguments.repeat or (1 if arguments.quick else 3)
    return arguments


def chosen(arguments: argparse.Namespace, names: Sequence[str]) -> list[str]:
    """The contenders among `names` that `--only` leaves."""
    return [name for name in names if not arguments.only or name in arguments.only.split(",")]


if __name__ == "__main__":
    # As a script this file is the process of one run. Its classes must be those that the contenders import.
    import harness

    harness.child(*sys.argv[1:])
