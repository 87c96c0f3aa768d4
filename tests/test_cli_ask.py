"""`responder ask`: prompts in, the answer out, and a clear line for each mistake."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest
from shell import error_line, run, start

from responder.simulator import Fault, Simulator

MODEL = ("--model", "openai:m")


@pytest.fixture(autouse=True)
def provider(simulator: Simulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the simulator the provider of `openai:`."""
    monkeypatch.setenv("OPENAI_API_KEY", "test-key")
    monkeypatch.setenv("OPENAI_BASE_URL", simulator.base_url("openai"))
    monkeypatch.delenv("RESPONDER_MODEL", raising=False)


def test_prints_the_answer() -> None:
    """The answer's text, and nothing else, goes to standard output."""
    result = run("ask", "What is baseball?", *MODEL)
    assert (result.exit_code, result.stdout) == (0, "Simulated answer to: What is baseball?\n")
    assert result.stderr == ""


@pytest.mark.parametrize("arguments", [("ask", "-"), ("ask",)])
def test_reads_the_prompt_from_standard_input(arguments: tuple[str, ...], simulator: Simulator) -> None:
    """`-`, or no prompt at all, reads standard input; its last line end is not part of the prompt."""
    assert run(*arguments, *MODEL, stdin="Grüße\n").exit_code == 0
    assert simulator.received[0].prompt == "Grüße"


def test_the_model_may_stand_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """RESPONDER_MODEL is the model when --model is left out."""
    monkeypatch.setenv("RESPONDER_MODEL", "openai:m")
    assert run("ask", "Hi").exit_code == 0


def test_options_reach_the_provider(simulator: Simulator, tmp_path: Path) -> None:
    """Each option arrives in the request, as the provider spells it."""
    schema = tmp_path / "schema.json"
    schema.write_text('{"type": "object", "properties": {"name": {"type": "string"}}}')
    options = ("--system", "Be brief.", "--temperature", "0.5", "--max-tokens", "50", "--schema", schema)
    pairs = (
        "--option",
        "top_p=0.9",
        "--option",
        'stop=["END"]',
        "--option",
        "reasoning-effort=low",
        "--option",
        'extra={"user": "u"}',
    )
    assert run("ask", "Hi", *MODEL, *options, *pairs).exit_code == 0
    body = simulator.received[0].body
    assert body["messages"][0] == {"role": "system", "content": "Be brief."}
    assert (body["temperature"], body["max_completion_tokens"], body["top_p"]) == (0.5, 50, 0.9)
    assert (body["stop"], body["reasoning_effort"], body["user"]) == (["END"], "low", "u")
    assert body["response_format"]["json_schema"]["schema"]["properties"] == {"name": {"type": "string"}}


def test_attachments_go_with_the_prompt(simulator: Simulator, tmp_path: Path) -> None:
    """Images and files are sent beside the text, with the type that their ending says."""
    picture, document = tmp_path / "cat.png", tmp_path / "paper.pdf"
    picture.write_bytes(b"picture")
    document.write_bytes(b"document")
    run("ask", "What is this?", *MODEL, "--image", picture, "--file", document)
    kinds = [part["type"] for part in simulator.received[0].body["messages"][0]["content"]]
    assert kinds == ["text", "image_url", "file"]


def test_json_is_the_whole_answer() -> None:
    """--json prints the text with usage, finish reason, request id and the raw reply."""
    answer = json.loads(run("ask", "Hi", *MODEL, "--json").stdout)
    assert answer["text"] == "Simulated answer to: Hi"
    assert answer["usage"]["output_tokens"] > 0
    assert (answer["finish_reason"], answer["provider"], answer["truncated"]) == ("stop", "openai", False)
    assert answer["request_id"]
    assert answer["raw"]["choices"]


def test_a_cut_answer_is_printed_and_told() -> None:
    """An answer that was cut at its limit goes to standard output, and standard error says so."""
    result = run("ask", "A question that needs a long answer", *MODEL, "--max-tokens", "3")
    assert (result.exit_code, bool(result.stdout.strip())) == (0, True)
    assert "--max-tokens" in error_line(result)


def test_the_simulated_provider_needs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """simulated:NAME answers without a key, and says that it is simulated."""
    monkeypatch.delenv("OPENAI_API_KEY")
    process = start("ask", "Hi", "--model", "simulated:demo")
    output, errors = process.communicate(timeout=60)
    assert (process.returncode, output, errors) == (0, "Simulated answer to: Hi\n", "")


def test_a_failure_is_one_line_and_exit_code_1(simulator: Simulator) -> None:
    """An error of the provider is named on standard error; standard output stays empty."""
    simulator.script(Fault.status(400, "no such thing"))
    result = run("ask", "Hi", *MODEL)
    assert (result.exit_code, result.stdout) == (1, "")
    assert "BadRequestError" in error_line(result)
    assert "no such thing" in error_line(result)


def test_retries_and_deadline_are_obeyed(simulator: Simulator) -> None:
    """--retries 0 sends one request; --deadline ends a call to a silent server."""
    simulator.script(Fault.status(503), Fault.silence())
    assert run("ask", "Hi", *MODEL, "--retries", 0).exit_code == 1
    assert len(simulator.received) == 1
    late = run("ask", "Hi", *MODEL, "--deadline", 0.3)
    assert "DeadlineExceededError" in error_line(late)


def test_ctrl_c_ends_a_call_in_flight(simulator: Simulator) -> None:
    """SIGINT ends the command with exit code 130 and no traceback, though the server says nothing."""
    simulator.always(Fault.silence())
    process = start("ask", "Hi", *MODEL)
    assert simulator.wait_for(1, timeout=60)
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=60)
    assert (process.returncode, output, errors) == (130, "", "Interrupted\n")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("Hi",), "--model openai:gpt-4o-mini"),
        (("Hi", "--model", "opnai:m"), "did you mean 'openai'"),
        (("Hi", "--model", "openai"), "openai:MODEL"),
        (("Hi", "--model", "groq:m"), "export GROQ_API_KEY"),
        (("Hi", *MODEL, "--option", "temprature=1"), "temprature"),
        (("Hi", *MODEL, "--option", "top_p"), "NAME=JSON"),
        (("Hi", *MODEL, "--option", "extra={"), "not JSON"),
        (("Hi", *MODEL, "--option", "api_key=x"), "environment"),
        (("Hi", *MODEL, "--schema", "missing.json"), "missing.json"),
        (("Hi", *MODEL, "--image", "missing.png"), "missing.png"),
        (("Hi", *MODEL, "--timeout", "0"), "timeout"),
        (("Hi", *MODEL, "--deadline", "-1"), "deadline"),
        (("Hi", *MODEL, "--retries", "-1"), "--retries"),
        (("Hi", *MODEL, "--max-tokens", "0"), "--max-tokens"),
        (("Hi", *MODEL, "--base-url", "nowhere"), "--base-url"),
        (("  ", *MODEL), "empty"),
        (("-", *MODEL), "empty"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(arguments: tuple[str, ...], words: str, simulator: Simulator) -> None:
    """Whatever is wrong before a request is told in one line that helps, and nothing is sent."""
    result = run("ask", *arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert words in error_line(result)
    assert not simulator.received


def test_a_broken_schema_names_its_line(tmp_path: Path) -> None:
    """A schema file that is not JSON is named with the line of the mistake."""
    schema = tmp_path / "schema.json"
    schema.write_text('{\n"type": }')
    assert f"{schema}, line 2" in error_line(run("ask", "Hi", *MODEL, "--schema", schema))


def test_a_prompt_that_is_not_text_is_refused() -> None:
    """Bytes that are not UTF-8 are refused, not guessed at."""
    assert "UTF-8" in error_line(run("ask", "-", *MODEL, stdin=b"caf\xe9"))
