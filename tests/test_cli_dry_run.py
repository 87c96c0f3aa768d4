"""`--dry-run` of map, submit and embed: what a run would send, cost and take, and nothing is sent."""

from __future__ import annotations

from pathlib import Path

import pytest
from shell import error_line, run

from responder import OpenAIResponder, Price
from responder.simulator import Simulator

MODEL = ("--model", "openai:gpt-4o-mini")


@pytest.fixture(autouse=True)
def no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the keys away: an estimate needs none."""
    for name in ("OPENAI_API_KEY", "AZURE_OPENAI_API_KEY", "AZURE_OPENAI_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Return a file of four prompts, one of them twice, and an empty one."""
    path = tmp_path / "questions.csv"
    path.write_text(
        "id,prompt\n1,What is judo?\n2,要約してください。\n3,What is judo?\n4,\n5,What is rowing?\n", encoding="utf-8"
    )
    return path


def test_counts_and_estimates_without_a_key_and_without_sending(file: Path, simulator: Simulator) -> None:
    """Rows, what is skipped or repeated, tokens, cost, time; and a hint at what the run itself needs."""
    result = run(
        *("map", file, *MODEL, "--base-url", simulator.base_url("openai"), "--skip-empty", "--dedupe", "--dry-run"),
        *("--max-tokens", 1000, "--price", "1,10", "--budget", 0.01, "--rpm", 1),
    )
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines[0] == f"{file}: 4 prompts, 1 row without a prompt skipped, 1 repeated"
    assert lines[1] == "To openai:gpt-4o-mini: 3 requests"
    assert "output  at most 3,000 tokens, 1,000 an answer" in lines[3]
    assert "cost    at most $0.030: $0.0000" in lines[4]
    assert "time    at least 3\N{NO-BREAK SPACE}min, because of the limits" in lines[5]
    assert "budget  $0.010 is less than that" in lines[6]
    assert lines[-1] == "Nothing was sent."
    assert error_line(result).startswith("The run itself needs more: no API key for openai: export OPENAI_API_KEY=")
    assert "api_key=" not in result.stderr
    assert simulator.received == []


def test_what_a_checkpoint_has_is_not_counted_again_and_the_file_stays_as_it_is(
    file: Path, tmp_path: Path, simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a run, as much is left as was added to the input; a checkpoint that is not there is not made."""
    arguments = (
        "map",
        file,
        *MODEL,
        "--base-url",
        simulator.base_url("openai"),
        "--skip-empty",
        "--checkpoint",
        tmp_path / "a.db",
    )
    assert "4 requests" in run(*arguments, "--dry-run").stdout
    assert not (tmp_path / "a.db").exists()
    monkeypatch.setenv("OPENAI_API_KEY", "test-key")
    assert run(*arguments).exit_code == 0
    before = (tmp_path / "a.db").read_bytes()
    with file.open("a", encoding="utf-8") as added:
        added.write("6,What is judo?\n7,What is cricket?\n")
    sent = len(simulator.received)
    stdout = run(*arguments, "--dry-run").stdout
    assert f"6 prompts, 1 row without a prompt skipped, 4 with an answer in {tmp_path / 'a.db'}" in stdout
    assert "2 requests" in stdout
    assert (tmp_path / "a.db").read_bytes() == before
    assert len(simulator.received) == sent


def test_the_estimate_is_near_what_a_run_uses(file: Path, simulator: Simulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """Within a factor of two of what the provider counts, also for short prompts, whose JSON is longer than their text."""
    from responder.call.question import Question
    from responder.report.forecast import Forecast
    from responder.values.options import Options

    prompts = ["What is judo?", "Summarise: " + "a long and winding text about rowing. " * 50]
    with OpenAIResponder("gpt-4o-mini", api_key="any", base_url=simulator.base_url("openai"), price=Price(1, 1)) as gpt:
        forecast = Forecast(Price(1, 1), envelope=len(Question.of(gpt, None, "x", Options()).body))
        for prompt in prompts:
            forecast.add(Question.of(gpt, None, prompt, gpt.options), "openai")
        used = gpt.map(prompts).summary().usage.input_tokens
    assert used / 2 < forecast.input_tokens < used * 2


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--model", "openai:m", "--option", "temprature=1"), "did you mean temperature?"),
        (("--model", "opnai:m"), "did you mean 'openai'?"),
        (("--model", "openai:m"), "line 5: the prompt is empty"),
        (("--model", "openai:m", "--skip-empty", "--resume"), "--resume continues a checkpoint"),
    ],
)
def test_a_mistake_is_one_line_as_in_a_run(file: Path, arguments: tuple[str, ...], words: str) -> None:
    """What would stop the run stops the estimate."""
    result = run("map", file, "--dry-run", *arguments)
    assert result.exit_code == 2
    assert words in error_line(result)


@pytest.mark.parametrize(
    "provider", ["azure", "vertex", "anthropic-vertex", "bedrock", "anthropic-foundry", "cloudflare", "simulated", "cohere"]
)
def test_needs_nothing_of_the_environment(file: Path, provider: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """No endpoint, project, region, account or server."""
    monkeypatch.delenv("AWS_REGION", raising=False)
    result = run("map", file, "--model", f"{provider}:m", "--skip-empty", "--dry-run")
    assert result.exit_code == 0, result.stderr
    assert "cost    unknown: add --price IN,OUT" in result.stdout


def test_a_batch_is_estimated_at_the_price_of_batches(file: Path, simulator: Simulator, tmp_path: Path) -> None:
    """Half of what a live run costs; no checkpoint is made, and no key is needed."""
    night = tmp_path / "night.db"
    result = run(
        *("submit", file, *MODEL, "--checkpoint", night, "--skip-empty", "--dry-run", "--price", "1,10"),
        *("--base-url", simulator.base_url("openai"), "--max-tokens", 1000, "--budget", 0.01),
    )
    assert result.exit_code == 0, result.stderr
    lines = result.stdout.splitlines()
    assert lines[1] == "To openai:gpt-4o-mini: 4 requests"
    assert "cost    at most $0.020: $0.0000" in lines[4]
    assert "(50% of the live price)" in lines[4]
    assert lines[5] == "  budget  $0.010 is less than that: the rest would not be sent"
    assert lines[-1] == "Nothing was sent."
    assert not night.exists()
    assert simulator.received == []


def test_what_a_batch_job_has_sent_is_not_counted_again(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Under way, then answered: neither is paid for twice, and the file stays as it is."""
    monkeypatch.setenv("OPENAI_API_KEY", "test-key")
    with Simulator(batch_hours=2) as night:
        night_file = tmp_path / "night.db"
        arguments = (file, *MODEL, "--base-url", night.base_url("openai"), "--skip-empty", "--checkpoint", night_file)
        assert run("submit", *arguments).exit_code == 0
        before = night_file.read_bytes()
        under_way = run("submit", *arguments, "--dry-run").stdout
        assert f"4 prompts, 1 row without a prompt skipped, 4 under way in a job of {night_file}\n" in under_way
        assert "nothing is left to send" in under_way
        assert night_file.read_bytes() == before
        night.advance(3)
        assert run("job", night_file, "--wait", "--base-url", night.base_url("openai")).exit_code == 0
        with file.open("a", encoding="utf-8") as added:
            added.write("6,What is cricket?\n")
        answered = run("submit", *arguments, "--dry-run").stdout
        assert f"5 prompts, 1 row without a prompt skipped, 4 with an answer in {night_file}\n" in answered
        assert "To openai:gpt-4o-mini: 1 request\n" in answered


def test_texts_are_counted_in_the_requests_that_would_carry_them(
    tmp_path: Path, simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Packed as in a run; equal texts and those whose vectors are kept are left out."""
    texts = tmp_path / "texts.csv"
    texts.write_text(f'text\n{"a cat " * 100}\n猫がいる。\na dog\na dog\n""\na ship\n', encoding="utf-8")
    arguments = (
        *("embed", texts, "--model", "openai:text-embedding-3-small", "--base-url", simulator.base_url("openai")),
        *("--skip-empty", "--batch-size", 2, "--checkpoint", tmp_path / "v.db", "--price", "1000,0"),
    )
    result = run(*arguments, "--dry-run", "--rpm", 1, "--budget", 1)
    assert result.exit_code == 0, result.stderr
    assert result.stdout.splitlines() == [
        f"{texts}: 5 texts, 1 row without a text skipped, 1 repeated",
        "To openai:text-embedding-3-small: 2 requests",
        "  input   about 159 tokens, 40 a text",
        "  cost    about $0.16",
        "  time    at least 2\N{NO-BREAK SPACE}min, because of the limits",
        "  budget  $1.00 is enough",
        "An estimate: 4 bytes of English, or 3 of other scripts, count as a token; retries come on top.",
        "Nothing was sent.",
    ]
    assert error_line(result).startswith("The run itself needs more: no API key for openai")
    assert not (tmp_path / "v.db").exists()
    monkeypatch.setenv("OPENAI_API_KEY", "test-key")
    assert run(*arguments).exit_code == 0
    assert len(simulator.received) == 2
    with texts.open("a", encoding="utf-8") as added:
        added.write("a bird\n")
    again = run(*arguments, "--dry-run").stdout
    assert f"6 texts, 1 row without a text skipped, 1 repeated, 4 with a vector in {tmp_path / 'v.db'}\n" in again
    assert "To openai:text-embedding-3-small: 1 request\n" in again
    assert len(simulator.received) == 2


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("submit", "--checkpoint", "no.db", "--model", "deepseek:m"), "use responder map"),
        (("embed", "--column", "prompt", "--model", "anthropic:m"), "such as --model openai:text-embedding-3-small"),
        (("embed", "--column", "prompt", "--model", "openai:m", "--resume"), "--resume continues a checkpoint"),
        (("embed", "--model", "openai:m"), "no column 'text'"),
        (("map", "--model", "openai:no-such-model", "--budget", "1"), "add --price IN,OUT"),
        (("submit", "--checkpoint", "no.db", "--model", "openai:no-such-model", "--budget", "1"), "add --price IN,OUT"),
        (("embed", "--column", "prompt", "--model", "openai:no-such-model", "--budget", "1"), "add --price IN,OUT"),
    ],
)
def test_what_would_stop_a_run_stops_its_estimate(file: Path, arguments: tuple[str, ...], words: str) -> None:
    """In the words of the shell, and with exit code 2."""
    command, *options = arguments
    result = run(command, file, "--skip-empty", "--dry-run", *options)
    assert result.exit_code == 2
    assert words in error_line(result)
    assert "()" not in result.stderr


@pytest.mark.parametrize("provider", ["azure", "vertex", "gemini", "cohere", "voyage", "mistral", "cloudflare", "simulated"])
def test_an_estimate_of_vectors_needs_nothing_of_the_environment(file: Path, provider: str) -> None:
    """No endpoint, project, account or server."""
    result = run("embed", file, "--column", "prompt", "--model", f"{provider}:m", "--skip-empty", "--dry-run")
    assert result.exit_code == 0, result.stderr
    assert f"To {provider}:m: 1 request" in result.stdout
