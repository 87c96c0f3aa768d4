"""Finished answers in a Django project's own database: a checkpoint and a cache that all of its processes share."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from shell import environment

from responder.simulator import Simulator

# A project with both apps, in a process of its own: only one configuration of Django fits into a process.
_PROJECT = """
import json, os, sys
import django
from django.conf import settings
from django.core.management import call_command
settings.configure(
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "project.sqlite3", "OPTIONS": {"timeout": 20}}},
    INSTALLED_APPS=["responder.integrations.django", "responder.integrations.django_answers"],
    USE_TZ=True,
    RESPONDER={"default": {"model": "openai:m", "max_retries": 0}},
)
django.setup()
from responder.integrations.django import get_responder
from responder.integrations.django_answers import DatabaseStore
from responder import ConfigurationError, OpenAIResponder
gpt = get_responder()
"""

_FIRST = """
try:
    gpt.map(["a"], checkpoint=DatabaseStore())
    refused = ""
except ConfigurationError as error:
    refused = str(error)
call_command("migrate", verbosity=0)
call_command("makemigrations", "--check", "--dry-run", verbosity=0)
from django.db import transaction
with transaction.atomic():
    first = gpt.map([f"number {n}" for n in range(40)] + ["again", "again"], checkpoint=DatabaseStore(), max_workers=8)
    transaction.set_rollback(True)  # a view that fails: what was paid for is kept
print(json.dumps([refused, [result.attempts for result in first]]))
"""

_SECOND = """
from concurrent.futures import ThreadPoolExecutor
store = DatabaseStore()
prompts = ["again"] * 3 + [f"number {n}" for n in range(60)]
with ThreadPoolExecutor(1) as executor:
    second = gpt.map(prompts, checkpoint=store, executor=executor, max_workers=8)
third = gpt.map(prompts, checkpoint=store)
cached = OpenAIResponder("m", cache=DatabaseStore())
asked = [cached.answer("number 7").attempts, cached.answer("new").attempts, cached.answer("new").attempts]
print(json.dumps([[r.attempts for r in second], [r.attempts for r in third], asked, [r.text for r in third]]))
"""


@pytest.fixture
def project(simulator: Simulator, tmp_path: Path) -> Any:
    """Run a program of the project, and return what it prints."""

    def run(program: str) -> Any:
        done = subprocess.run(
            [sys.executable, "-c", _PROJECT + program],
            env=environment(OPENAI_API_KEY="k", OPENAI_BASE_URL=simulator.base_url("openai")),
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return run


def test_processes_of_a_project_share_what_was_answered(project: Any, simulator: Simulator) -> None:
    """Rows are committed whatever becomes of the caller's transaction; each answer comes back once a run, a cache's always."""
    refused, first = project(_FIRST)
    assert "manage.py migrate" in refused
    assert first == [1] * 42
    second, third, cached, texts = project(_SECOND)
    assert second == [0, 0, 1] + [0] * 40 + [1] * 20
    assert third == [0] * 63, "a store is begun anew for each map"
    assert cached == [0, 1, 0]
    assert texts == [f"Simulated answer to: {prompt}" for prompt in ["again"] * 3 + [f"number {n}" for n in range(60)]]
    assert len(simulator.received) == 42 + 21 + 1
