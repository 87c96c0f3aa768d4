"""`manage.py responder_fill` in a project of its own, as a developer types it."""

from __future__ import annotations

import json
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from shell import environment

from responder.simulator import Fault, Simulator

PROJECT = Path(__file__).parent / "sites" / "fill_project"
TEXTS = [*(f"text {number}" for number in range(6)), ""]


class Project:
    """A project with a database of its own, which asks the simulator."""

    def __init__(self, database: Path, simulator: Simulator) -> None:
        self.database = database
        self._environment = environment(DATABASE=str(database), OPENAI_BASE_URL=simulator.base_url("openai"))

    def start(self, *arguments: str, program: tuple[str, ...] = ("manage.py",)) -> subprocess.Popen[str]:
        """Start a command of manage.py."""
        return subprocess.Popen(
            [sys.executable, *program, *arguments],
            cwd=PROJECT,
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )

    def run(self, *arguments: str) -> tuple[int, str, str]:
        """Return what a command ended with and wrote."""
        return self._ended(self.start(*arguments))

    def python(self, code: str, *arguments: str) -> tuple[int, str, str]:
        """Return what a program in the project ended with and wrote."""
        return self._ended(self.start(*arguments, program=("-c", code)))

    def _ended(self, process: subprocess.Popen[str]) -> tuple[int, str, str]:
        out, errors = process.communicate(timeout=60)
        return process.returncode, out, errors

    def summaries(self) -> list[str]:
        """Return the field that is filled, by primary key."""
        with closing(sqlite3.connect(self.database)) as connection:
            return [text for (text,) in connection.execute("SELECT summary FROM articles_article ORDER BY id")]

    def forget(self) -> None:
        """Empty the field."""
        with closing(sqlite3.connect(self.database)) as connection, connection:
            connection.execute("UPDATE articles_article SET summary = ''")


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Project, Simulator]]:
    """Migrate a database, and put seven rows in."""
    with Simulator() as simulator:
        project = Project(tmp_path_factory.mktemp("project") / "database.sqlite3", simulator)
        code, _, errors = project.run("migrate", "--run-syncdb", "--verbosity", "0")
        assert code == 0, errors
        with closing(sqlite3.connect(project.database)) as connection, connection:
            rows = [("en" if text == "text 5" else "ja", text, "") for text in TEXTS]
            connection.executemany("INSERT INTO articles_article (language, text, summary) VALUES (?, ?, ?)", rows)
        yield project, simulator


@pytest.fixture
def project(running: tuple[Project, Simulator]) -> Project:
    """Give each test a project that has forgotten the one before."""
    running[0].forget()
    running[1].clear()
    return running[0]


@pytest.fixture
def provider(running: tuple[Project, Simulator]) -> Simulator:
    """The provider that the project asks."""
    return running[1]


def test_a_command_fills_a_field_after_an_interrupt_only_the_rest(project: Project, provider: Simulator) -> None:
    """Ctrl-C keeps what is finished, says so, and the same command asks nothing twice."""
    command = ("responder_fill", "articles.Article", "--from", "text", "--to", "summary", "--prompt", "Summarise.")
    provider.script_for("text 3", Fault.silence())
    process = project.start(*command, "--workers", "1", "--chunk-size", "2")
    provider.wait_for(4)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors.strip().splitlines()) == (
        130,
        ["CommandError: Interrupted: what was finished is saved; the same command goes on with the rest"],
    )
    assert [bool(text) for text in project.summaries()] == [True] * 3 + [False] * 4
    provider.clear()
    code, out, errors = project.run(*command)
    assert (code, out, errors) == (0, "3 answered, 1 skipped, with nothing to ask about\n", "")
    assert sorted(call.prompt for call in provider.received) == [f"Summarise.\n\ntext {number}" for number in (3, 4, 5)]
    assert project.summaries()[4].startswith("Simulated answer to: Summarise.")


def test_a_template_and_a_filter_choose_what_is_asked_and_a_failure_is_told(project: Project, provider: Simulator) -> None:
    """The exit code is 1 when a row has no answer, and the message names the first error."""
    provider.script_for("text 1", Fault.status(400, "too rude"))
    code, out, errors = project.run(
        *("responder_fill", "articles.Article", "--to", "summary"),
        *("--prompt", "In {language}: {text}", "--filter", "language=ja", "--filter", "text__gt=", "--limit", "3"),
    )
    assert (code, out) == (1, "2 answered, 1 failed\n")
    assert errors.startswith("CommandError: The first failure: ")
    assert "too rude" in errors
    assert {call.prompt for call in provider.received} == {f"In ja: text {number}" for number in range(3)}


MISTAKES = {
    "article.Article --to summary --from text": "No installed app with label 'article'",
    "articles.Article --to sumary --from text": "no field 'sumary', only id, language, summary, text",
    "articles.Article --to summary": "every prompt would be the same",
    "articles.Article --to summary --prompt {txt}": "no field 'txt', only",
    "articles.Article --to summary --prompt {text": "odd brace",
    "articles.Article --to summary --from text --filter lang=ja": "Cannot resolve keyword 'lang'",
    "articles.Article --to summary --from text --filter ja": "must be LOOKUP=VALUE",
    "articles.Article --to summary --from text --responder claude": "no 'claude', only 'default'",
    "Article --to summary --from text": "'Article' is not a model: name it app.Model",
    "articles.Artcle --to summary --from text": "doesn't have a 'Artcle' model: name it app.Model",
    "articles.Article --to id --from text": "Article.id cannot hold text: name a text field",
    "articles.Article --to summary --from text --database nope": "there is no database 'nope', only 'default'",
    "articles.Article --to summary --from text --limit 0": "limit must be a number of rows above 0",
}

# All of them in one process: the start of Django takes longer than the rest.
EACH = """
import json, os, sys, django
os.environ["DJANGO_SETTINGS_MODULE"] = "settings"
django.setup()
from django.core.management import CommandError, call_command
for line in json.loads(sys.argv[1]):
    try:
        call_command("responder_fill", *line.split())
        print("no error")
    except CommandError as error:
        print(error)
call_command("responder_fill", "articles.Article", "--to", "summary", "--prompt", "Summarise: {text}", "--dry-run")
"""


def test_a_mistake_is_one_line_and_a_dry_run_sends_nothing(project: Project, provider: Simulator) -> None:
    """Each says what is wrong, before anything is asked."""
    code, out, errors = project.python(EACH, json.dumps(list(MISTAKES)))
    assert code == 0, errors
    lines = out.splitlines()
    for line, says in zip(lines, MISTAKES.values(), strict=False):
        assert says in line
    assert lines[len(MISTAKES) :] == ["7 rows to ask about; nothing was sent.", "The first prompt:", "Summarise: text 0"]
    assert provider.received == []
