"""The recipes for login, throttling and a POST with CSRF: what the pages show, behind each framework's own test client."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pages import DOCS, blocks
from shell import environment

from responder.simulator import Simulator

SITES = Path(__file__).parent / "sites"


def views(page: str, is_view: Any = lambda code: True) -> str:
    """Return the Python of a page, or those of its blocks that are views."""
    return "\n\n".join(block.code for block in blocks(DOCS / page, "python") if is_view(block.code))


def exec_page(page: str, monkeypatch: pytest.MonkeyPatch, simulator: Simulator) -> dict[str, Any]:
    """Run a page's Python as a module, asking the simulator."""
    monkeypatch.setenv("OPENAI_API_KEY", "test-key")
    monkeypatch.setenv("OPENAI_BASE_URL", simulator.base_url("openai"))
    module = type(sys)("recipe")
    monkeypatch.setitem(sys.modules, "recipe", module)  # where FastAPI looks up annotations
    exec(compile(views(page), page, "exec", dont_inherit=True), module.__dict__)
    return module.__dict__


def test_django_asks_for_a_login_a_token_and_a_question_and_throttles(simulator: Simulator) -> None:
    """In a project with sessions and the CSRF middleware."""
    calls: list[list[Any]] = [
        ["get", "/ask", {"question": "What is judo?"}, False, False],
        ["get", "/ask", {}, False, False],
        ["get", "/angles", {}, False, False],
        ["post", "/post", {"question": "What is judo?"}, False, True],
        ["post", "/post", {"question": "What is judo?"}, True, False],
        ["get", "/post", {}, True, True],
        ["post", "/post", {"question": " "}, True, True],
        *[["post", "/post", {"question": "What is judo?"}, True, True]] * 22,
    ]
    code = views("django.md", lambda code: code.startswith("# views.py"))
    finished = subprocess.run(
        [sys.executable, str(SITES / "recipes.py"), json.dumps(calls)],
        input=code,
        env=environment(OPENAI_BASE_URL=simulator.base_url("openai")),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    answers = json.loads(finished.stdout.splitlines()[-1])
    codes = [status for status, _ in answers]
    assert codes[:7] == [200, 400, 400, 302, 403, 405, 400]
    assert answers[7] == [200, "Simulated answer to: What is judo?"]
    assert codes[7:17] == [200] * 10
    assert codes[-1] == 429  # after 22: a minute may end in between, but not two
    assert len(simulator.received) == 1 + codes[7:].count(200)


def test_fastapi_asks_for_a_token_and_a_question_and_throttles(simulator: Simulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing question is a 422, FastAPI's own."""
    pytest.importorskip("fastapi")
    from fastapi.testclient import TestClient

    client = TestClient(exec_page("fastapi.md", monkeypatch, simulator)["app"])
    ann = {"Authorization": "Bearer a-long-random-token"}
    question = {"question": "What is judo?"}
    assert client.post("/ask", json=question).status_code in (401, 403)  # by version
    assert client.post("/ask", json=question, headers={"Authorization": "Bearer a-long-random-tokem"}).status_code == 401
    assert client.post("/ask", json={}, headers=ann).status_code == 422
    answers = [client.post("/ask", json=question, headers=ann) for _ in range(10)]
    assert answers[0].text == "Simulated answer to: What is judo?"
    assert answers[-1].status_code == 429
    assert answers[-1].headers["Retry-After"] == "60"


def test_flask_asks_for_a_login_a_header_and_a_question_and_throttles(
    simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A missing question is a 400, Flask's own."""
    flask = pytest.importorskip("flask")
    page = exec_page("flask.md", monkeypatch, simulator)
    app = page["app"]
    app.add_url_rule("/log-in", view_func=lambda: page["log_in"]("ann") or flask.session["csrf"], endpoint="log_in")
    client = app.test_client()
    question = {"question": "What is judo?"}
    assert client.get("/ask").status_code == 400
    assert client.post("/ask", data=question).status_code == 401
    token = client.get("/log-in").text
    assert client.post("/ask", data=question).status_code == 403
    headers = {"X-CSRF-Token": token}
    assert client.post("/ask", data={}, headers=headers).status_code == 400
    answers = [client.post("/ask", data=question, headers=headers) for _ in range(10)]
    assert answers[0].text == "Simulated answer to: What is judo?"
    assert answers[-1].status_code == 429
