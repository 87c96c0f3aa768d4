"""The page of a run: complete in itself, escaped, whole or not there; readable for runs of any size."""

from __future__ import annotations

import json
import os
import pickle
import re
import signal
import stat
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from runs_made_up import made_up
from shell import error_line, run, start

import responder
from responder import Answer, APITimeoutError, Batch, ConfigurationError, OpenAIResponder, RateLimitError, Result, Usage
from responder.report.file import check, write
from responder.report.history import History
from responder.report.page import page
from responder.simulator import Fault, Simulator
from responder.values.trace import Attempt, Trace


class Page(HTMLParser):
    """What stands on a page: its tags, the texts of what has an id, and whether all that is opened is closed."""

    EMPTY = frozenset({"meta"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.source = text
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, str] = {}
        self._open: list[tuple[str, str | None]] = []
        self.feed(text)
        self.close()
        assert not self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.EMPTY and not (self.get_starttag_text() or "").endswith("/>"):
            self._open.append((tag, dict(attrs).get("id")))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop()[0] == tag

    def handle_data(self, data: str) -> None:
        for _, name in self._open:
            if name is not None:
                self.texts[name] = self.texts.get(name, "") + data

    def count(self, tag: str) -> int:
        return sum(found == tag for found, _ in self.tags)


def test_a_page_loads_nothing_and_runs_nothing() -> None:
    """No script, no link, no address, no import; and it forbids itself all of that."""
    found = Page(page(made_up(300, 8).record()))
    assert not {tag for tag, _ in found.tags} & {"script", "link", "img", "iframe", "object", "embed", "base", "a", "form", "use"}
    for _, attributes in found.tags:
        assert not {"src", "href", "xlink:href", "data", "action", "srcset"} & set(attributes)
        assert not any(name.startswith("on") for name in attributes)
    assert not re.search(r"https?:|//|url\(|@import|javascript:", found.source)
    policies = [attributes.get("content") for _, attributes in found.tags if attributes.get("http-equiv")]
    assert policies == ["default-src 'none'; style-src 'unsafe-inline'"]


def test_whatever_others_named_is_escaped() -> None:
    """The model, an error's class, a cause: none of them can become a part of the page."""
    evil = '<script>alert("x")</script>&amp;'
    history = made_up(50, 4, title=evil)
    done = Trace(attempts=1)
    history.add(50, done, type(evil, (RateLimitError,), {})("no"), False)
    found = Page(page(history.record()))
    assert "script" not in {tag for tag, _ in found.tags}
    assert evil in found.texts["errors"]
    assert json.loads(found.texts["json"])["errors"][evil] == 1
    assert "<script" not in found.source


def test_whatever_others_named_cannot_steer_the_page() -> None:
    """Overrides of the direction of reading and control characters are shown as their numbers, in texts and in tooltips."""
    evil = "m\u202etxt\x1b[2J\x00"
    history = made_up(5, 2, title=evil)
    trace = Trace(attempts=1, made=[Attempt(1000.0, 1000.0, 1001.0, evil)])
    history.add(5, trace, type(evil.replace("\0", ""), (RateLimitError,), {})("no"), False)
    source = page(history.record())
    assert not set("\u202e\x1b\x00") & set(source)
    assert source.count("m\\u202etxt\\u001b[2J") >= 4


@pytest.mark.parametrize(("count", "workers"), [(0, 4), (1, 1), (10, 4), (1000, 16), (1000, 300), (20_000, 32)])
def test_runs_of_every_size_have_a_page(count: int, workers: int) -> None:
    """Its numbers are those of the summary, and it is no larger than a browser opens at once."""
    history = made_up(count, workers)
    found, summary = Page(page(history.record())), history.summary()
    for name in ("items", "ok", "failed", "attempts"):
        assert found.texts[name] == f"{getattr(summary, name):,}"
    assert json.loads(found.texts["json"]) == summary.as_dict()
    assert len(found.source) < 3_000_000
    if summary.advice:
        assert summary.advice[0] in found.texts["advice"]
    for cause in summary.causes:
        assert cause in found.texts["causes"]


def test_each_call_of_a_small_run_can_be_told_from_the_others() -> None:
    """It has a shape and a text of its own."""
    history = made_up(10, 4, faults=False)
    found = Page(page(history.record()))
    assert found.count("title") == 1 + 10
    for item in range(10):
        assert f"prompt {item}, attempt 1: answered after" in found.source


def test_a_row_stands_for_several_workers_where_there_are_too_many() -> None:
    """300 of them are shown in 38 rows of 8."""
    found = Page(page(made_up(2000, 300).record()))
    assert "A row is 8 workers" in found.source
    assert "1\N{EN DASH}8" in found.texts["workers"]


@pytest.mark.pain(6)
def test_a_batch_writes_its_page(simulator: Simulator, gpt_for: Callable[..., OpenAIResponder], tmp_path: Path) -> None:
    """What a real run did is on it: refused, repeated, answered, failed; and no prompt, answer or key."""
    simulator.script(Fault.status(429, retry_after_ms=20), Fault.status(503, retry_after_ms=20))
    simulator.script_for("bad", Fault.status(400))
    batch = gpt_for(max_retries=3).map(["my private question"] * 20 + ["bad"], max_workers=4)
    batch.report(tmp_path / "run.html")
    text = (tmp_path / "run.html").read_text(encoding="utf-8")
    found, summary = Page(text), batch.summary()
    assert (summary.items, summary.ok, summary.failed) == (21, 20, 1)
    assert summary.repeats == {"429": 1, "503": 1}
    assert summary.attempts == sum(result.attempts for result in batch) == len(simulator.received)
    assert summary.usage == batch.usage
    assert json.loads(found.texts["json"]) == summary.as_dict()
    assert "BadRequestError" in found.texts["errors"]
    assert "Run report: openai:m" in text
    for secret in ("my private question", "Simulated answer", "test-key"):
        assert secret not in text
        assert secret not in str(summary)
    copy = pickle.loads(pickle.dumps(batch))
    copy.report(tmp_path / "copy.html")
    assert (tmp_path / "copy.html").read_text(encoding="utf-8") == text


@pytest.fixture
def gpt_for(simulator: Simulator) -> Callable[..., OpenAIResponder]:
    """Make responders for the simulator."""
    return lambda **more: OpenAIResponder("m", api_key="test-key", base_url=simulator.base_url("openai"), **more)


# Writing it


def test_a_page_replaces_the_one_before_and_leaves_nothing_else(tmp_path: Path) -> None:
    """It is written beside its place first, and its owner alone can read it."""
    file = tmp_path / "run.html"
    file.write_text("before", encoding="utf-8")
    write(str(file), made_up(10, 2))
    assert file.read_text(encoding="utf-8").startswith("<!doctype html>")
    assert [path.name for path in tmp_path.iterdir()] == ["run.html"]
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_a_page_never_follows_a_link(tmp_path: Path) -> None:
    """What a link leads to stays as it is: the page takes the place of the link."""
    (tmp_path / "precious").write_text("precious", encoding="utf-8")
    (tmp_path / "run.html").symlink_to("precious")
    write(tmp_path / "run.html", made_up(10, 2))
    assert (tmp_path / "precious").read_text(encoding="utf-8") == "precious"
    assert not (tmp_path / "run.html").is_symlink()


def test_a_page_can_be_made_from_a_zip_file(tmp_path: Path) -> None:
    """Its frame and its look come along wherever the package is imported from."""
    packed = tmp_path / "packed.zip"
    root = Path(responder.__file__).parent
    with zipfile.ZipFile(packed, "w") as archive:
        for path in root.rglob("*"):
            if path.suffix in (".py", ".css", ".html"):
                archive.write(path, path.relative_to(root.parent))
    code = "import responder, responder.report.history as h; h.History(4).report('run.html'); print(responder.__file__)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(packed)},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert "packed.zip" in done.stdout
    assert "<title>Run report</title>" in (tmp_path / "run.html").read_text(encoding="utf-8")
    assert "--answered:" in (tmp_path / "run.html").read_text(encoding="utf-8")


class Broken:
    """A history that cannot tell."""

    def record(self) -> Any:
        raise ZeroDivisionError


def test_a_page_that_cannot_be_made_leaves_the_one_before(tmp_path: Path) -> None:
    """And no half of itself."""
    file = tmp_path / "run.html"
    file.write_text("before", encoding="utf-8")
    with pytest.raises(ZeroDivisionError):
        write(file, Broken())
    assert file.read_text(encoding="utf-8") == "before"
    assert [path.name for path in tmp_path.iterdir()] == ["run.html"]


def test_a_full_disk_is_told_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the path, and the system's own reason; the page before is still there."""
    file = tmp_path / "run.html"
    file.write_text("before", encoding="utf-8")

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tempfile, "mkstemp", full)
    with pytest.raises(ConfigurationError, match=r"cannot write the report to .*run\.html: No space left on device"):
        write(file, made_up(10, 2))
    assert file.read_text(encoding="utf-8") == "before"


def test_what_is_no_place_for_a_page_is_refused(tmp_path: Path) -> None:
    """A folder that is not there, a folder in its place, a device."""
    with pytest.raises(ConfigurationError, match="there is no folder"):
        check(tmp_path / "no" / "run.html")
    with pytest.raises(ConfigurationError, match="it is not a file"):
        check(tmp_path)
    with pytest.raises(ConfigurationError, match="it is not a file"):
        check(os.devnull)


# Batches


def test_a_batch_put_together_by_hand_has_numbers_but_no_page(tmp_path: Path) -> None:
    """Without a run there is no time line; the error says so."""
    usage = Usage(10, 20, known=True)
    results = [
        Result(1, "b", None, APITimeoutError("no"), 3, 9.0, 2.0, usage, 0.5),
        Result(0, "a", Answer("yes"), None, 1, 1.0, 0.0, usage, 0.25),
        Result(2, "c", Answer("yes"), None, 0),
    ]
    batch = Batch(results)
    summary = batch.summary()
    assert (summary.items, summary.ok, summary.failed, summary.reused, summary.attempts) == (3, 2, 1, 1, 4)
    assert (summary.p50, summary.p99, summary.waited) == (1.0, 1.0, 2.0)
    assert batch.usage == summary.usage == Usage(20, 40, known=True)
    assert batch.cost == summary.cost == 0.75
    with pytest.raises(ConfigurationError, match="no time line"):
        batch.report(tmp_path / "run.html")


def test_the_cost_of_a_batch_is_unknown_as_soon_as_a_part_of_it_is() -> None:
    """Never 0, and never the rest alone."""
    usage = Usage(10, 20, known=True)
    known, unknown = Result(0, "a", Answer("yes"), usage=usage, cost=0.25), Result(1, "b", Answer("yes"), usage=usage)
    assert Batch([known]).cost == 0.25
    assert Batch([known, unknown]).cost is None
    assert Batch([known, Result(1, "b", None, RateLimitError("no"), 0)]).cost == 0.25
    assert Batch([]).cost == 0.0


def test_a_page_can_be_written_while_the_run_goes_on(tmp_path: Path) -> None:
    """It shows what is finished."""
    history = made_up(10, 2)
    for extra in range(3):
        history.report(tmp_path / "run.html")
        found = Page((tmp_path / "run.html").read_text(encoding="utf-8"))
        assert found.texts["items"] == str(10 + extra)
        history.add(10 + extra, Trace(), None, False)


def test_a_run_without_a_title_has_a_page(tmp_path: Path) -> None:
    """As one of a history made by hand."""
    History(4).report(tmp_path / "run.html")
    assert "<title>Run report</title>" in (tmp_path / "run.html").read_text(encoding="utf-8")


# The command line


@pytest.fixture
def command(simulator: Simulator, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> tuple[str, ...]:
    """Make the simulator the provider, work in a folder of our own, and give the command's first words."""
    monkeypatch.setenv("OPENAI_API_KEY", "test-key")
    monkeypatch.setenv("OPENAI_BASE_URL", simulator.base_url("openai"))
    monkeypatch.chdir(tmp_path)
    Path("prompts.txt").write_text("".join(f"prompt {number};\n" for number in range(20)), encoding="utf-8")
    return ("map", "prompts.txt", "--model", "openai:m", "-o", "out.jsonl")


def numbers() -> dict[str, Any]:
    """Return the numbers of the page that the command has written."""
    found: dict[str, Any] = json.loads(Page(Path("run.html").read_text(encoding="utf-8")).texts["json"])
    return found


def test_the_command_writes_a_page(simulator: Simulator, command: tuple[str, ...]) -> None:
    """Beside the answers, also when some failed."""
    simulator.script_for("prompt 7;", Fault.status(400))
    result = run(*command, "--report", "run.html", "--workers", "4")
    found = numbers()
    assert result.exit_code == 1
    assert (found["items"], found["ok"], found["failed"]) == (20, 19, 1)
    assert (found["errors"], found["max_workers"]) == ({"BadRequestError": 1}, 4)
    assert {path.name for path in Path().iterdir()} == {"prompts.txt", "out.jsonl", "run.html"}


def test_an_interrupted_command_writes_its_page(simulator: Simulator, command: tuple[str, ...]) -> None:
    """With what was finished when Ctrl-C came."""
    simulator.script_for("prompt 19;", Fault.silence())
    process = start(*command, "--report", "run.html", "--workers", "4")
    assert simulator.wait_for(20, 60)
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 130, told
    found, kept = numbers(), Path("out.jsonl.partial").read_text(encoding="utf-8").splitlines()
    assert len(kept) <= found["ok"] <= 19
    assert found["items"] == 20


@pytest.mark.parametrize(
    ("path", "words"),
    [("no/run.html", "there is no folder no"), (".", "it is not a file"), ("out.jsonl", "--report and --out name the same file")],
)
def test_a_page_that_has_no_place_is_told_before_anything_is_sent(
    simulator: Simulator, command: tuple[str, ...], path: str, words: str
) -> None:
    """An hour of answers later would be too late."""
    result = run(*command, "--report", path)
    assert result.exit_code == 2
    assert words in error_line(result)
    assert {path.name for path in Path().iterdir()} == {"prompts.txt"}
    assert not simulator.received


def test_a_command_that_sent_nothing_writes_no_page(command: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing key is told, and that is all."""
    monkeypatch.delenv("OPENAI_API_KEY")
    assert run(*command, "--report", "run.html").exit_code == 2
    assert not Path("run.html").exists()
