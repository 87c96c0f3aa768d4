"""How long does a newcomer need, and where do they stumble? Three first hours, walked by a script in a fresh environment.

A data scientist with 500 Japanese texts from Excel, a Django developer with an old project, and an engineer who adds a provider.
Each step says what is typed, how long it took, and whether the package answered as it should; a step that did not makes the exit
code 1. The provider is a simulated one in this process; pip installs this checkout's wheel, and what it needs from the index.
"""

from __future__ import annotations

import argparse
import csv
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

from responder.simulator import Fault, Simulator

ROOT = Path(__file__).resolve().parents[1]
TEXTS = 500


class StumbledError(Exception):
    """A step did not go as a newcomer expects."""


class Walk:
    """A newcomer at work: a folder, an environment, and a clock.

    Args:
        folder: Where everything is made.
        provider: Who answers.
    """

    def __init__(self, folder: Path, provider: Simulator) -> None:
        self.folder = folder
        self.provider = provider
        self.lines: list[tuple[str, float, str, str]] = []
        self._begin = time.monotonic()
        scripts = folder / "venv" / "bin"
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "RESPONDER_", "OPENAI_"))},
            "PATH": os.pathsep.join((str(scripts), os.environ["PATH"])),
            "OPENAI_API_KEY": "test-key",
            "OPENAI_BASE_URL": provider.base_url("openai"),
        }

    def step(self, who: str, what: str, do: Callable[[], str]) -> None:
        """Take a step, and note how long it took and what was seen."""
        begin = time.monotonic()
        try:
            seen, mark = do(), "ok"
        except (StumbledError, OSError, subprocess.SubprocessError, ValueError, LookupError, TypeError) as error:
            seen, mark = str(error).strip()[-300:], "STUMBLED"
        self.lines.append((who, time.monotonic() - begin, mark, what))
        print(f"{time.monotonic() - self._begin:7.1f} s  {mark:8}  {who}: {what}", flush=True)
        if seen:
            print(f"{'':21}{seen}", flush=True)

    def run(self, *command: str, code: int = 0, says: str = "", where: Path | None = None, **environment: str) -> str:
        """Run a command, and return what it printed.

        Raises:
            StumbledError: It ended with another code, or did not say what it should.
        """
        finished = subprocess.run(
            command,
            cwd=where or self.folder,
            env={**self.environment, **environment},
            capture_output=True,
            text=True,
            check=False,
        )
        printed = finished.stdout + finished.stderr
        return expected(printed, finished.returncode, code, says)

    def interrupted(self, *command: str, after: int, says: str) -> str:
        """Run a command, and press Ctrl-C once the provider has had so many requests."""
        process = subprocess.Popen(
            command,
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )
        self.provider.wait_for(after, 60)
        process.send_signal(signal.SIGINT)
        printed, _ = process.communicate(timeout=60)
        return expected(printed, process.returncode, 130, says)

    def write(self, name: str, text: str, encoding: str = "utf-8") -> None:
        """Write a file of the newcomer's."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding=encoding)


def expected(printed: str, code: int, wanted: int, says: str) -> str:
    """Return the line that says what it should.

    Raises:
        StumbledError: There is none, or the exit code is another one.
    """
    if code != wanted or not re.search(says, printed, re.MULTILINE):
        raise StumbledError(f"exit code {code} (not {wanted}), or no {says!r} in: {printed}")
    return next((line.strip() for line in printed.splitlines() if says and re.search(says, line)), "")[:200]


def same(found: object, wanted: object) -> str:
    """Return what was found.

    Raises:
        StumbledError: It is something else than what was wanted.
    """
    if found != wanted:
        raise StumbledError(f"{found!r}, not {wanted!r}")
    return str(found)


# The data scientist

_NOTEBOOK = """
import pandas as pd
from responder import OpenAIResponder
from responder.integrations.pandas import map_series
frame = pd.read_parquet("summaries.parquet")
assert list(frame.columns[:2]) == ["id", "本文"] and frame["text"].notna().all(), frame
gpt = OpenAIResponder("gpt-4o-mini")
frame["topic"] = map_series(gpt, "話題を一語で: " + frame["本文"], max_workers=32, checkpoint="topics.db")
frame.to_parquet("topics.parquet")
batch = gpt.map(frame["本文"].head(20).tolist(), max_workers=8)
print(len(frame), "rows,", len(batch.to_pandas()), "in the frame of a batch,", frame["topic"].notna().sum(), "topics")
"""


def data_scientist(walk: Walk) -> None:
    """500 Japanese texts in a csv file that Excel saved, to summaries as Parquet, and on in pandas."""
    who = "data scientist"
    with (walk.folder / "texts.csv").open("w", encoding="cp932", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "本文"])
        for number in range(TEXTS):
            writer.writerow([number, "" if number == 7 else f"感想 {number}: 届くのが早く、品質も期待どおりでした。"])
    command = ["responder", "map", "texts.csv", "--template", "一文で要約してください: {本文}", "-m", "openai:gpt-4o-mini"]
    whole = [*command, "--encoding", "cp932", "--skip-empty", "--workers", "16", "--rpm", "6000", "-o", "summaries.parquet"]
    walk.step(who, "responder map texts.csv", lambda: walk.run(*command, code=2, says="add its --encoding, such as cp932"))
    column = [*command[:3], "--column", "本文", *command[5:], "--encoding", "cp932"]
    walk.step(who, "... --encoding cp932 --column 本文", lambda: walk.run(*column, code=2, says="line 9: the prompt is empty"))
    walk.step(
        who,
        "... --skip-empty --dry-run --price 0.15,0.60",
        lambda: walk.run(*whole, "--price", "0.15,0.60", "--dry-run", OPENAI_API_KEY="", says="cost    about"),
    )
    walk.provider.always(Fault.status(401, "Incorrect API key provided"))
    walk.step(who, "... with a wrong key", lambda: walk.run(*whole, code=1, says="^Error: AuthenticationError: .*Check the key"))
    walk.provider.always(None)
    walk.provider.clear()
    walk.step(
        who,
        "... --checkpoint answers.db, and Ctrl-C in the middle",
        lambda: walk.interrupted(*whole, "--checkpoint", "answers.db", after=TEXTS // 3, says="the same command with --resume"),
    )
    walk.step(
        who,
        "... --resume",
        lambda: walk.run(*whole, "--checkpoint", "answers.db", "--resume", says="1 row without a prompt was skipped"),
    )
    walk.step(
        who,
        "look at the provider's bill",
        lambda: (
            f"{len(walk.provider.received)} requests for {TEXTS - 1} texts, those that Ctrl-C cut off among them"
            if len(walk.provider.received) <= TEXTS + 32
            else same(len(walk.provider.received), TEXTS)
        ),
    )
    walk.write("look.py", _NOTEBOOK)
    walk.step(who, "pandas: read_parquet, map_series, Batch.to_pandas", lambda: walk.run("python", "look.py", says="499 topics"))


# The Django developer

_MODELS = """
from django.db import models


class Article(models.Model):
    text = models.TextField()
    summary = models.TextField(blank=True, default="")
"""

_VIEWS = """
from django.http import HttpResponseBadRequest
from responder.integrations.django import get_responder, stream_response


def ask(request):
    question = request.GET.get("question", "").strip()
    if not question:
        return HttpResponseBadRequest("Ask something: ?question=...")
    return stream_response(request, get_responder().stream(question), format="text")
"""

_SETTINGS = """
INSTALLED_APPS += ["responder.integrations.django_app", "articles"]
RESPONDER = {"default": {"model": "openai:gpt-4o-mini", "timeout": 30}}
"""

_SEED = "from articles.models import Article; Article.objects.bulk_create(Article(text=f'text {n}') for n in range(200))"


def django_developer(walk: Walk, wheel: Path) -> None:
    """An old project: an app in INSTALLED_APPS, a column filled by a command, a view that streams."""
    who, site = "Django developer", walk.folder / "old"

    def manage(*command: str, code: int = 0, says: str = "", **environment: str) -> str:
        return walk.run("python", "manage.py", *command, where=site, code=code, says=says, **environment)

    walk.step(who, "pip install responder-sdk[django]", lambda: walk.run("pip", "install", "-q", f"{wheel}[django]"))
    walk.step(who, "(the old project is there)", lambda: walk.run("django-admin", "startproject", "old"))
    walk.run("python", "manage.py", "startapp", "articles", where=site)
    walk.write("old/articles/models.py", _MODELS)
    walk.write("old/articles/views.py", _VIEWS)
    walk.write(
        "old/old/urls.py", "from articles.views import ask\nfrom django.urls import path\n\nurlpatterns = [path('ask', ask)]\n"
    )
    settings = site / "old" / "settings.py"
    settings.write_text(settings.read_text() + _SETTINGS)
    walk.step(who, "manage.py check, without the key", lambda: manage("check", says="responder.W001", OPENAI_API_KEY=""))
    walk.step(
        who, "manage.py makemigrations, migrate", lambda: manage("makemigrations", "articles") + manage("migrate", says="OK")
    )
    manage("shell", "-c", _SEED)
    fill = ("responder_fill", "articles.Article", "--from", "text", "--to", "summary", "--prompt", "Summarise.")
    walk.step(who, "manage.py responder_fill ... --dry-run", lambda: manage(*fill, "--dry-run", says="200 rows"))
    walk.step(who, "manage.py responder_fill ... --limit 5", lambda: manage(*fill, "--limit", "5", says="5 answered"))
    walk.step(who, "manage.py responder_fill ...", lambda: manage(*fill, says="195 answered"))
    walk.step(who, "the same again", lambda: manage(*fill, says="0 answered"))
    with subprocess.Popen(
        ["python", "manage.py", "runserver", "--noreload", "127.0.0.1:18643"],
        cwd=site,
        env=walk.environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as server:
        try:
            walk.step(
                who, "a view that streams, in the browser", lambda: page("http://127.0.0.1:18643/ask?question=What+is+judo")
            )
        finally:
            server.terminate()


def page(url: str) -> str:
    """Return a page's text, once its server is up."""
    for _ in range(200):
        try:
            with urllib.request.urlopen(url, timeout=30) as response:
                return expected(response.read().decode(), response.status, 200, "Simulated answer to: What is judo")
        except ConnectionError:
            time.sleep(0.1)
        except urllib.error.URLError as error:
            if not isinstance(error.reason, ConnectionError):
                raise
            time.sleep(0.1)
    raise StumbledError(f"nothing answers at {url}")


# The engineer who adds a provider

_PROVIDER = '''
"""ACME speaks OpenAI's dialect, and wants to know where an answer ends."""

from responder import CompatibleResponder


class AcmeResponder(CompatibleResponder):
    """ACME's models. https://example.com/docs"""

    provider, base_url = "acme", "https://api.acme.example/v1"
    base_url_variables = ("ACME_BASE_URL",)
    key_variables, key_required = ("ACME_API_KEY",), True

    def payload(self, messages, options):
        payload = super().payload(messages, options)
        payload["stop"] = payload.get("stop") or ["END"]
        return payload
'''

_PROJECT = """
[project]
name = "acme-responder"
version = "1"

[project.entry-points."responder.providers"]
acme = "acme_responder:AcmeResponder"

[tool.setuptools]
py-modules = ["acme_responder"]
"""

_LINE = '    _host("newhost", "https://api.newhost.example/v1", "NEWHOST_API_KEY", "New Host", "https://example.com/docs"),\n'


def engineer(walk: Walk) -> None:
    """A provider as one file of a package of one's own, and a host as one line of the table."""
    who = "engineer"
    walk.write("acme/acme_responder.py", _PROVIDER)
    walk.write("acme/pyproject.toml", _PROJECT)
    walk.step(who, "pip install ./acme (one file, an entry point)", lambda: walk.run("pip", "install", "-q", "./acme"))
    walk.step(who, "responder models", lambda: walk.run("responder", "models", says="acme.*ACME_API_KEY"))
    base = walk.provider.base_url("openai")
    walk.step(
        who,
        "responder ask --model acme:m",
        lambda: walk.run("responder", "ask", "Hi", "-m", "acme:m", ACME_API_KEY="k", ACME_BASE_URL=base, says="Simulated answer"),
    )
    walk.step(
        who,
        "look at what was sent",
        lambda: same(walk.provider.received[-1].body["stop"], ["END"]),
    )
    shutil.copytree(ROOT / "responder", walk.folder / "checkout" / "responder", ignore=shutil.ignore_patterns("__pycache__"))
    hosts = walk.folder / "checkout" / "responder" / "providers" / "hosts.py"
    before = hosts.read_text(encoding="utf-8")
    hosts.write_text(before.replace('    _host("nvidia"', _LINE + '    _host("nvidia"', 1), encoding="utf-8")
    walk.step(
        who,
        "a host as one line of providers/hosts.py",
        lambda: walk.run(
            *("python", "-m", "responder", "ask", "Hi", "-m", "newhost:m", "--base-url", base),
            PYTHONPATH=str(walk.folder / "checkout"),
            NEWHOST_API_KEY="k",
            says="Simulated answer",
        ),
    )


def main() -> int:
    """Walk all three; return the exit code."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--keep", action="store_true", help="leave the folder, to look at what was made")
    arguments = options.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="journeys-"))
    try:
        with Simulator(latency="lognormal:0.3:0.9", tokens_per_second=200) as provider:
            walk = Walk(folder, provider)
            build = [sys.executable, "-m", "build", "--wheel", "--outdir", str(folder / "dist"), str(ROOT)]
            walk.step("everybody", "(the wheel is built)", lambda: walk.run(*build, where=ROOT))
            wheel = next((folder / "dist").glob("*.whl"))
            walk.step("everybody", "python -m venv venv", lambda: walk.run(sys.executable, "-m", "venv", "venv"))
            wanted = f"{wheel}[simulator,pandas,parquet]"
            walk.step("everybody", "pip install responder-sdk[...]", lambda: walk.run("pip", "install", "-q", wanted))
            ask = ("responder", "ask", "野球とは何ですか。", "-m", "simulated:demo")
            walk.step(
                "everybody", "responder ask, without a key", lambda: walk.run(*ask, OPENAI_API_KEY="", says="Simulated answer")
            )
            data_scientist(walk)
            django_developer(walk, wheel)
            engineer(walk)
    finally:
        if arguments.keep:
            print(f"everything is in {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)
    stumbles = [line for line in walk.lines if line[2] != "ok"]
    print()
    for who in dict.fromkeys(line[0] for line in walk.lines):
        print(f"{who:18} {sum(line[1] for line in walk.lines if line[0] == who):6.1f} s")
    print(f"{len(walk.lines)} steps, {len(stumbles)} stumbles")
    return 1 if stumbles else 0


if __name__ == "__main__":
    sys.exit(main())
