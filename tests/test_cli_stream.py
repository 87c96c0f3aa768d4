"""`responder ask` on a terminal: text as it arrives, several models side by side, and Ctrl-C in the middle."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Iterator

import pytest
from shell import Terminal, error_line, records, run, start

from responder.cli.columns import Columns
from responder.simulator import Fault, Simulator

MODEL = ("--model", "openai:m")
BOTH = ("--model", "openai:a", "--model", "openai:b")


@pytest.fixture(autouse=True)
def provider(simulator: Simulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the simulator the provider of `openai:`."""
    set_provider(simulator, monkeypatch)
    monkeypatch.setenv("OPENAI_API_KEY", "test-key")
    monkeypatch.delenv("RESPONDER_MODEL", raising=False)
    for name in ("COLUMNS", "LINES"):
        monkeypatch.delenv(name, raising=False)


def set_provider(simulator: Simulator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", simulator.base_url("openai"))


@pytest.fixture
def terminal() -> Iterator[Callable[..., Terminal]]:
    with contextlib.ExitStack() as stack:

        def begin(*arguments: object, **size: int) -> Terminal:
            found = Terminal(*arguments, **size)
            stack.callback(found.close)
            return found

        yield begin


# One model


def test_a_terminal_shows_the_text_as_it_arrives(terminal: Callable[..., Terminal], simulator: Simulator) -> None:
    """The first words stand there while the answer is not complete."""
    simulator.script(Fault.stall_stream(5))
    shown = terminal("ask", "What is baseball?", *MODEL)
    shown.read_until(lambda text: "Simulated" in text)
    assert shown.process.poll() is None
    assert simulator.in_flight == 1
    assert "What is baseball?" not in shown.text


def test_a_whole_answer_is_shown_once(terminal: Callable[..., Terminal]) -> None:
    """The pieces make the answer, with one line end after it, and the exit code is 0."""
    shown = terminal("ask", "What is baseball?", *MODEL)
    assert shown.end() == (0, "")
    assert shown.text == "Simulated answer to: What is baseball?\n"


@pytest.mark.parametrize(("arguments", "streams"), [((), False), (("--stream",), True), (("--no-stream",), False)])
def test_a_pipe_gets_a_stream_only_on_request(arguments: tuple[str, ...], streams: bool, simulator: Simulator) -> None:
    """Without a terminal nothing is streamed unless --stream says so; the output is the same."""
    result = run("ask", "Hi", *MODEL, *arguments)
    assert (result.exit_code, result.stdout) == (0, "Simulated answer to: Hi\n")
    assert bool(simulator.received[0].body.get("stream")) is streams


@pytest.mark.parametrize("option", ["--no-stream", "--json"])
def test_a_terminal_gets_no_stream_when_it_is_not_wanted(
    option: str, terminal: Callable[..., Terminal], simulator: Simulator
) -> None:
    """--no-stream and --json print the answer when it is whole."""
    assert terminal("ask", "Hi", *MODEL, option).end() == (0, "")
    assert not simulator.received[0].body.get("stream")


def test_a_pipe_has_the_pieces_at_once(simulator: Simulator) -> None:
    """With --stream a reader has the first words while the rest is still to come."""
    simulator.script(Fault.stall_stream(5))
    process = start("ask", "What is baseball?", *MODEL, "--stream")
    assert process.stdout is not None
    assert process.stdout.read(9) == "Simulated"
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130


def test_ctrl_c_in_mid_stream_keeps_what_was_shown(terminal: Callable[..., Terminal], simulator: Simulator) -> None:
    """SIGINT ends the stream at once with exit code 130, a line end and no traceback."""
    simulator.script(Fault.stall_stream(5))
    shown = terminal("ask", "Hi", *MODEL)
    shown.read_until(lambda text: "Simulated" in text)
    shown.process.send_signal(signal.SIGINT)
    assert shown.end() == (130, "Interrupted\n")
    assert shown.text.endswith("\n")
    assert simulator.wait_until_idle()


@pytest.mark.parametrize("fault", [Fault.cut_stream(4), Fault.stream_error(4)])
def test_a_stream_that_breaks_is_told_after_its_text(fault: Fault, simulator: Simulator) -> None:
    """What came is printed, the error is one line, and the exit code is 1."""
    simulator.script(fault)
    result = run("ask", "Hi", *MODEL, "--stream", "--retries", 0)
    assert result.exit_code == 1
    assert result.stdout.startswith("Sim")
    assert error_line(result)


def test_json_and_stream_contradict_each_other(simulator: Simulator) -> None:
    """--json prints a whole answer: with --stream it is a mistake, and nothing is sent."""
    result = run("ask", "Hi", *MODEL, "--json", "--stream")
    assert result.exit_code == 2
    assert "--json" in error_line(result)
    assert not simulator.received


def test_a_stream_that_was_cut_at_its_limit_is_told(simulator: Simulator) -> None:
    """As without --stream, standard error says so."""
    result = run("ask", "A question that needs a long answer", *MODEL, "--stream", "--max-tokens", 3)
    assert (result.exit_code, bool(result.stdout.strip())) == (0, True)
    assert "--max-tokens" in error_line(result)


# Several models


QUESTION = "Is there a word that rhymes with orange, and what would a poet of some experience do about it in a sonnet?"


def columns_of(screen: str) -> tuple[list[str], list[str]]:
    """Return the heads and the texts of the columns on a screen."""
    lines = [[part.strip() for part in line.split("│")] for line in screen.splitlines() if "┼" not in line]
    heads, *rows = lines
    texts = [" ".join(" ".join(row[number] if number < len(row) else "" for row in rows).split()) for number in range(len(heads))]
    return heads, texts


def test_two_models_stand_side_by_side_on_a_terminal(terminal: Callable[..., Terminal]) -> None:
    """Two columns that fit into 80 characters, each with its model's name and its whole answer."""
    shown = terminal("ask", QUESTION, *BOTH)
    assert shown.end() == (0, "")
    heads, texts = columns_of(shown.screen)
    assert heads == ["openai:a", "openai:b"]
    assert texts == [f"Simulated answer to: {QUESTION}"] * 2
    assert max(len(line) for line in shown.screen.splitlines()) <= 80


def test_both_columns_grow_before_either_is_complete(terminal: Callable[..., Terminal], simulator: Simulator) -> None:
    """Both models are asked at once, and what each has said stands there."""
    simulator.always(Fault.stall_stream(6))
    shown = terminal("ask", "Hi", *BOTH)
    shown.read_until(lambda text: text.rpartition("\x1b[J")[2].count("Simulated") == 2)
    assert simulator.most_in_flight == 2
    shown.process.send_signal(signal.SIGINT)
    assert shown.end() == (130, "Interrupted\n")


def test_a_low_terminal_shows_the_ends_while_they_grow_and_all_at_the_end(terminal: Callable[..., Terminal]) -> None:
    """Answers that are longer than the screen are whole when they are finished."""
    shown = terminal("ask", QUESTION, *BOTH, lines=8, columns=40)
    assert shown.end() == (0, "")
    assert columns_of(shown.screen)[1] == [f"Simulated answer to: {QUESTION}"] * 2


def test_two_models_in_a_pipe_stand_one_below_the_other() -> None:
    """Without a terminal each answer has a head with its model."""
    result = run("ask", "Hi", *BOTH)
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == "== openai:a\nSimulated answer to: Hi\n\n== openai:b\nSimulated answer to: Hi\n\n"


def test_json_of_several_models_is_a_line_each() -> None:
    """Each line has the model's whole answer, in the order of the options."""
    found = records(run("ask", "Hi", *BOTH, "--json").stdout)
    assert [record["text"] for record in found] == ["Simulated answer to: Hi"] * 2
    assert [record["model"] for record in found] == ["a", "b"]


@pytest.fixture
def one_unknown(monkeypatch: pytest.MonkeyPatch) -> Iterator[Simulator]:
    """Give a provider that has the model a, and no model b."""
    with Simulator(models=["a"]) as running:
        set_provider(running, monkeypatch)
        yield running


def test_one_failing_model_does_not_take_the_others_answer(one_unknown: Simulator) -> None:
    """The answer of the one is there, the error of the other in its place, and the exit code is 1."""
    result = run("ask", "Hi", *BOTH)
    good, bad = result.stdout.split("== openai:b")
    assert result.exit_code == 1
    assert good == "== openai:a\nSimulated answer to: Hi\n\n"
    assert "NotFoundError" in bad
    assert "Simulated answer" not in bad


def test_one_failing_model_has_its_error_in_its_column(one_unknown: Simulator, terminal: Callable[..., Terminal]) -> None:
    """So it is on a terminal."""
    shown = terminal("ask", "Hi", *BOTH)
    assert shown.end() == (1, "")
    _, texts = columns_of(shown.screen)
    assert texts[0] == "Simulated answer to: Hi"
    assert "NotFoundError" in texts[1]


def test_one_failing_model_has_its_error_in_its_line(one_unknown: Simulator) -> None:
    """And in JSON."""
    result = run("ask", "Hi", *BOTH, "--json")
    good, bad = records(result.stdout)
    assert result.exit_code == 1
    assert good["text"] == "Simulated answer to: Hi"
    assert bad["model"] == "openai:b"
    assert "text" not in bad
    assert bad["error"]


def test_a_mistake_in_one_model_sends_nothing_to_the_other(simulator: Simulator) -> None:
    """A model that cannot be is told before any is asked."""
    result = run("ask", "Hi", "--model", "openai:a", "--model", "opnai:b")
    assert result.exit_code == 2
    assert "did you mean 'openai'" in error_line(result)
    assert not simulator.received


def test_several_models_may_stand_in_the_environment(monkeypatch: pytest.MonkeyPatch, simulator: Simulator) -> None:
    """RESPONDER_MODEL takes several, with a space between."""
    monkeypatch.setenv("RESPONDER_MODEL", "openai:a openai:b")
    assert run("ask", "Hi").exit_code == 0
    assert sorted(request.body["model"] for request in simulator.received) == ["a", "b"]


# Columns


def shown_width(line: str) -> int:
    """Return how many places a line takes on a terminal: twice as many as it has wide characters, and so on."""
    return sum(2 if "\u4e00" <= character <= "\u9fff" or character >= "\U0001f300" else 1 for character in line)


@pytest.mark.parametrize("text", ["棒球是什么" * 20, "🐈 cats 🐈 " * 20, "x" * 300, "a\tb " * 40])
def test_no_line_of_the_columns_is_wider_than_the_terminal(
    text: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One that is would be broken by the terminal, and the next drawing would begin in the wrong line."""
    monkeypatch.setenv("COLUMNS", "60")
    columns = Columns(["openai:a", "openai:b"])
    columns.finish([text, text])
    lines = capsys.readouterr().out.splitlines()
    assert max(map(shown_width, lines)) <= 60
    assert len({shown_width(line.partition("│")[0]) for line in lines if "│" in line}) == 1, "the columns are not straight"


def test_control_characters_of_an_answer_do_not_reach_the_columns(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """An answer cannot move the cursor out of its column."""
    monkeypatch.setenv("COLUMNS", "60")
    Columns(["openai:a"]).finish(["a\x1b[2Jb\x07c\x9bd\ud83d"])
    assert not any(character in capsys.readouterr().out for character in "\x1b\x07\x9b\ud83d")
