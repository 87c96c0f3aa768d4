"""How far is it? A bar where a person looks, or a callable; never anything on stdout."""

from __future__ import annotations

import importlib
import io
import sys
import threading
from typing import Any

import pytest

from responder import OpenAIResponder, Progress, parallel_imap, parallel_map
from responder.simulator import Fault, Simulator


class Terminal(io.StringIO):
    """A stderr that a person looks at."""

    def isatty(self) -> bool:
        return True


def work(item: int) -> int:
    return 1 // item


def test_a_bar_is_shown_on_stderr_when_it_is_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    """Results go to stdout in many a script: it stays clean."""
    parallel_map(work, [1, 0, 1], progress=True)
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "3/3" in shown.err
    assert "failed=1" in shown.err


@pytest.mark.parametrize(("terminal", "is_shown"), [(Terminal(), True), (io.StringIO(), False), (None, False)])
def test_by_default_a_bar_is_shown_on_a_terminal_only(monkeypatch: pytest.MonkeyPatch, terminal: Any, is_shown: bool) -> None:
    """Logs of servers stay free of it; a process without a stderr works, too."""
    monkeypatch.setattr(sys, "stderr", terminal)
    parallel_map(work, [1, 1])
    monkeypatch.undo()
    assert bool(terminal and terminal.getvalue()) is is_shown


def test_a_server_that_has_imported_the_kernel_is_no_notebook(monkeypatch: pytest.MonkeyPatch) -> None:
    """Libraries of plots and widgets import it wherever they run."""
    importlib.import_module("ipykernel")
    monkeypatch.setattr(sys, "stderr", log := io.StringIO())
    parallel_map(work, [1, 1])
    monkeypatch.undo()
    assert log.getvalue() == ""


class Mute:
    """An object in the place of stderr, as some frameworks put one there: it can write and nothing else."""

    def write(self, text: str) -> int:
        return len(text)


class Broken(Terminal):
    """A terminal whose window was closed."""

    def isatty(self) -> bool:
        raise OSError(5, "Input/output error")

    def write(self, text: str) -> int:
        raise OSError(5, "Input/output error")


class Vanishing(Terminal):
    """A terminal that goes away after the first bar was drawn on it."""

    def write(self, text: str) -> int:
        if "1/" in text:
            raise BrokenPipeError
        return super().write(text)


def closed() -> Terminal:
    terminal = Terminal()
    terminal.close()
    return terminal


@pytest.mark.parametrize("progress", [None, True])
@pytest.mark.parametrize("stderr", [lambda: None, closed, Mute, object, Broken, Vanishing], ids=lambda make: make.__name__)
def test_no_state_of_stderr_fails_a_map(monkeypatch: pytest.MonkeyPatch, stderr: Any, progress: bool | None) -> None:
    """Missing, closed, a stand-in without most methods, broken at once or later: no bar, no error, all results."""
    monkeypatch.setattr(sys, "stderr", stderr())
    values = parallel_map(work, [1] * 5, progress=progress).values()
    streamed = [result.value for result in parallel_imap(work, [1] * 5, progress=progress)]
    monkeypatch.undo()
    assert values == streamed == [1] * 5


def test_a_bar_starts_no_thread(capsys: pytest.CaptureFixture[str]) -> None:
    """There may be none to have, and none can be started while the program ends."""
    before = monitors()  # of other libraries' bars
    parallel_map(work, [1, 1], progress=True)
    assert "2/2" in capsys.readouterr().err
    assert monitors() <= before


def monitors() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if "TMonitor" in type(thread).__name__}


def test_no_bar_when_it_is_switched_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even on a terminal."""
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    parallel_map(work, [1, 1], progress=False)
    monkeypatch.undo()
    assert terminal.getvalue() == ""


def test_a_callable_gets_each_step_in_the_callers_thread(simulator: Simulator) -> None:
    """Web frameworks want it there; the counts go up to the total."""
    simulator.script_for("bad", Fault.status(400))
    steps: list[tuple[Progress, int]] = []
    with OpenAIResponder("m", api_key="k", base_url=simulator.base_url("openai"), max_retries=0) as gpt:
        batch = gpt.map(["a", "bad", "c"], progress=lambda progress: steps.append((progress, threading.get_ident())))
    assert [progress.done for progress, _ in steps] == [1, 2, 3]
    assert {thread for _, thread in steps} == {threading.get_ident()}
    last = steps[-1][0]
    assert (last.total, last.failed) == (3, 1)
    assert (last.input_tokens, last.output_tokens) == (batch.usage.input_tokens, batch.usage.output_tokens)
    assert last.elapsed > 0


def test_the_total_of_a_generator_is_not_known() -> None:
    """It is not pulled to find out."""
    steps: list[Progress] = []
    list(parallel_imap(work, (1 for _ in range(3)), progress=steps.append))
    assert [(progress.done, progress.total) for progress in steps] == [(1, None), (2, None), (3, None)]


def test_a_bar_is_closed_when_the_loop_is_left(capsys: pytest.CaptureFixture[str]) -> None:
    """The next print starts on a line of its own."""
    with parallel_imap(work, [1] * 100, max_workers=1, progress=True) as run:
        next(run)
    assert capsys.readouterr().err.endswith("\n")


class NoTerminal:
    """What some frameworks put in the place of stderr: it can be written to, and no more."""

    def write(self, text: str) -> int:
        return len(text)

    def flush(self) -> None:
        pass


def closed() -> io.StringIO:
    """Return a stderr that was closed."""
    stream = io.StringIO()
    stream.close()
    return stream


@pytest.mark.parametrize("stream", [None, closed(), NoTerminal()], ids=["none", "closed", "without isatty"])
@pytest.mark.parametrize("progress", [None, True])
def test_a_map_runs_with_any_stderr(monkeypatch: pytest.MonkeyPatch, stream: Any, progress: bool | None) -> None:
    """A service without a console, a closed one, a writer of a framework's: no error, whether a bar was asked for or not."""
    monkeypatch.setattr(sys, "stderr", stream)
    assert len(parallel_map(work, [1, 1, 1], progress=progress)) == 3


def test_a_stderr_that_is_closed_on_the_way_ends_the_bar_and_not_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was asked comes back."""
    stream = Terminal()
    monkeypatch.setattr(sys, "stderr", stream)
    run = parallel_imap(work, [1] * 50, progress=True)
    results = []
    for result in run:
        results.append(result)
        stream.close()
    assert len(results) == 50
