"""`responder map`: every row gets its line, in order, and the file is whole or not there."""

from __future__ import annotations

import csv
import json
import os
import signal
import stat
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from servers import port_of_nobody
from shell import error_line, records, run, start

from responder.cli.lines import as_record, to_json
from responder.cli.rows import Row
from responder.cli.tables import write_table
from responder.cli.words import in_shell_words
from responder.simulator import Fault, Simulator
from responder.values.answer import Answer, Usage
from responder.values.messages import ToolCall
from responder.values.results import Result

MODEL = ("--model", "openai:m")


@pytest.fixture(autouse=True)
def provider(simulator: Simulator, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Make the simulator the provider of `openai:`, and work in a folder of our own."""
    monkeypatch.setenv("OPENAI_API_KEY", "test-key")
    monkeypatch.setenv("OPENAI_BASE_URL", simulator.base_url("openai"))
    monkeypatch.delenv("RESPONDER_MODEL", raising=False)
    monkeypatch.chdir(tmp_path)


def write(name: str, content: str) -> str:
    """Write a file in the folder and return its name."""
    Path(name).write_text(content, encoding="utf-8")
    return name


def numbered(count: int) -> str:
    """Write a file of so many prompts and return its name."""
    return write("prompts.txt", "".join(f"prompt {number};\n" for number in range(count)))


def names() -> set[str]:
    """Return what is in the folder."""
    return {path.name for path in Path().iterdir()}


def test_each_row_gets_a_line_with_all_that_is_known() -> None:
    """A line holds index, line, id, text, finish reason, usage, attempts and seconds, and no error."""
    result = run("map", write("a.jsonl", '\n{"id": "a", "prompt": "Hi"}\n"Ho"\n'), *MODEL)
    first, second = records(result.stdout)
    assert result.exit_code == 0
    assert (first["index"], first["line"], first["id"], first["text"]) == (0, 2, "a", "Simulated answer to: Hi")
    assert (first["finish_reason"], first["attempts"]) == ("stop", 1)
    assert first["usage"]["input_tokens"] > 0
    assert first["elapsed"] >= 0
    assert "error" not in first
    assert (second["index"], second["line"]) == (1, 3)
    assert "id" not in second


def test_lines_keep_the_order_of_the_input(simulator: Simulator) -> None:
    """Answers that come late do not change the order, with any number of workers."""
    simulator.script_for("prompt 0;", Fault.delay(0.3))
    simulator.script_for("prompt 40;", Fault.delay(0.2))
    result = run("map", numbered(300), *MODEL, "--workers", 32)
    assert [record["text"] for record in records(result.stdout)] == [f"Simulated answer to: prompt {n};" for n in range(300)]
    assert [record["index"] for record in records(result.stdout)] == list(range(300))


def test_the_workers_ask_at_once(simulator: Simulator) -> None:
    """So many calls are in flight together as --workers says: the server answers only when it has seen them all."""
    simulator.hold(24)
    assert run("map", numbered(24), *MODEL, "--workers", 24).exit_code == 0
    assert simulator.most_in_flight == 24


def test_csv_and_template_make_the_prompts(simulator: Simulator) -> None:
    """A csv file with a template asks what the template says of each row."""
    run("map", write("a.csv", "id,text\n1,one\n2,two\n"), *MODEL, "--template", "Summarise: {text}", "--workers", 1)
    assert [request.prompt for request in simulator.received] == ["Summarise: one", "Summarise: two"]


def test_standard_input_is_a_file_too() -> None:
    """`-` reads standard input, whose format is seen in its first line."""
    result = run("map", "-", *MODEL, stdin='{"prompt": "Hi"}\n')
    assert records(result.stdout)[0]["text"] == "Simulated answer to: Hi"


def test_a_pipe_is_read_to_its_end_before_anything_is_sent(simulator: Simulator) -> None:
    """A mistake in the last line of a pipe is told before the first line is sent."""
    result = run("map", "-", *MODEL, "--format", "jsonl", stdin='"Hi"\n{\n')
    assert "standard input, line 2" in error_line(result)
    assert not simulator.received


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ('{"prompt": NaN}', "NaN is not JSON"),
        ('{"prompt": "x", "id": NaN}', "NaN is not JSON"),
        ('{"prompt": "x", "id": -Infinity}', "-Infinity is not JSON"),
        ('{"prompt": "x", "score": 1e999}', "1e999 is too large"),
        ('{"messages": [{"role": "user", "content": [{"type": "x", "n": NaN}]}]}', "NaN is not JSON"),
        ('{"messages": [{"role": "user", "content": [{"type": "x", "n": 1e999}]}]}', "1e999 is too large"),
        ('{"messages": [{"role": "user", "content": 5}]}', "this is not a prompt"),
        ('{"messages": [{"role": "user", "content": null}]}', "this is not a prompt"),
        ('{"messages": [{"role": ["user"], "content": "x"}]}', "this is not a prompt"),
        ('{"messages": [{"role": "boss", "content": "x"}]}', "unknown role"),
        ('{"messages": [{"content": "x"}]}', "'role'"),
        ('{"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": 5}}]}]}', "line 2"),
        ('{"messages": [{"role": "assistant", "tool_calls": [5], "content": "x"}]}', "tool_calls"),
        ('{"messages": [{"role": "user", "content": DEEP}]}', "line 2"),
        ('{"prompt": "x", "id": DEEP}', "line 2"),
        ('{"id": 1}', "neither 'prompt' nor 'messages'"),
        ("7" * 5000, "line 2"),
    ],
)
@pytest.mark.parametrize("is_piped", [False, True], ids=["file", "stdin"])
def test_a_row_that_cannot_be_sent_is_found_before_any_other_is_paid_for(
    simulator: Simulator, row: str, words: str, is_piped: bool
) -> None:
    """Every row is checked down to the bytes that would be sent before the first one is."""
    content = '"Hi"\n' + row.replace("DEEP", "[" * 940 + "]" * 940) + "\n"
    options = (*MODEL, "-o", "out.jsonl")
    if is_piped:
        result = run("map", "-", *options, "--format", "jsonl", stdin=content)
    else:
        result = run("map", write("a.jsonl", content), *options)
    assert result.exit_code == 2
    assert "line 2" in error_line(result)
    assert words in error_line(result)
    assert not simulator.received
    assert not Path("out.jsonl").exists()


def test_a_named_pipe_can_be_the_input(tmp_path: Path) -> None:
    """A file that can be read only once (a named pipe, a shell's <(...)) works as the input."""
    os.mkfifo("pipe")
    writer = threading.Thread(target=Path("pipe").write_text, args=("Hi\n",))
    writer.start()
    result = run("map", "pipe", *MODEL)
    writer.join()
    assert len(records(result.stdout)) == 1


def test_the_options_reach_every_request(simulator: Simulator) -> None:
    """What `ask` takes, `map` takes: system, temperature and the rest go with each prompt."""
    run("map", numbered(3), *MODEL, "--system", "Be brief.", "--temperature", "0", "--option", "seed=7")
    assert [(r.body["messages"][0]["content"], r.body["temperature"], r.body["seed"]) for r in simulator.received] == [
        ("Be brief.", 0.0, 7)
    ] * 3


def test_a_failed_row_has_its_error_and_hurts_no_other(simulator: Simulator) -> None:
    """A failure is a line with type, message, status and whether a repeat can help; the exit code is 1."""
    simulator.script_for("prompt 1;", Fault.status(400, "not like this"))
    result = run("map", numbered(3), *MODEL)
    first, second, third = records(result.stdout)
    assert result.exit_code == 1
    assert second["error"]["type"] == "BadRequestError"
    assert "not like this" in second["error"]["message"]
    assert (second["error"]["status"], second["error"]["retryable"]) == (400, False)
    assert (second["finish_reason"], second["usage"], second["attempts"]) == (None, None, 1)
    assert "text" not in second
    assert "text" in first
    assert "text" in third
    assert error_line(result).startswith("1 of 3 prompts failed; the first is line 2:")


def test_attempts_count_what_was_sent(simulator: Simulator) -> None:
    """A row that needed a second request says so."""
    simulator.script(Fault.status(503, retry_after=0.01))
    assert records(run("map", numbered(1), *MODEL).stdout)[0]["attempts"] == 2


@pytest.mark.parametrize("option", [("--on-error", "stop"), ("--max-errors", "1")])
def test_a_stopped_run_has_a_line_for_every_row(simulator: Simulator, option: tuple[str, str]) -> None:
    """After the error that stops the run nothing new is sent, and each row that was not sent says why."""
    simulator.script_for("prompt 0;", Fault.status(400))
    result = run("map", numbered(200), *MODEL, "--workers", 1, *option)
    found = records(result.stdout)
    assert [record["index"] for record in found] == list(range(200))
    assert [record["line"] for record in found] == list(range(1, 201))
    assert found[-1]["error"]["type"] == "CancelledError"
    assert found[-1]["attempts"] == 0
    assert len(simulator.received) < 200
    assert result.exit_code == 1


def test_a_wrong_key_is_one_line_and_the_repaired_run_needs_no_overwrite(simulator: Simulator) -> None:
    """An error that no row can survive is met by those that are on their way, is said once, and leaves no file."""
    simulator.always(Fault.status(401))
    result = run("map", numbered(100), *MODEL, "--workers", 2, "-o", "out.jsonl")
    assert result.exit_code == 1
    assert error_line(result).startswith("Error: AuthenticationError: ")
    assert len(simulator.received) < 50
    assert names() == {"prompts.txt"}
    simulator.clear()
    assert run("map", "prompts.txt", *MODEL, "-o", "out.jsonl").exit_code == 0


def test_what_was_not_sent_is_counted_apart_from_what_failed(simulator: Simulator) -> None:
    """The line names the failure that ended the run, and not the first row that did not get its turn."""
    simulator.script_for("prompt 1;", Fault.status(400, "the true cause"))
    result = run("map", numbered(50), *MODEL, "--workers", 1, "--on-error", "stop")
    found = records(result.stdout)
    not_sent = sum(record["attempts"] == 0 for record in found)
    line = error_line(result)
    assert line.startswith(f"1 of 50 prompts failed, {not_sent} were not sent; the first is line 2: ")
    assert "the true cause" in line


def test_a_server_of_this_machine_that_is_not_there_is_reported_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """With its port, and without a retry."""
    port = port_of_nobody()
    monkeypatch.setenv("OPENAI_BASE_URL", f"http://127.0.0.1:{port}/v1")
    result = run("map", numbered(3), *MODEL, "-o", "out.jsonl")
    assert result.exit_code == 2
    assert f"nothing listens on port {port} of 127.0.0.1" in error_line(result)
    assert names() == {"prompts.txt"}


# Files as people have them


def table(name: str, delimiter: str = ",") -> list[dict[str, str]]:
    """Return the rows of a csv file."""
    with Path(name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter=delimiter))


@pytest.mark.parametrize(("ending", "delimiter"), [(".csv", ","), (".tsv", "\t")])
def test_a_table_comes_out_with_the_columns_that_went_in(simulator: Simulator, ending: str, delimiter: str) -> None:
    """Beside them stand text, error, tokens and cost; an input's column of such a name is told apart."""
    simulator.script_for("two", Fault.status(400, "not, this"))
    source = write("in.csv", 'id,text,stars\n7,"one, ""1""",5\n8,two,\n9,"drei\nZeilen",1\n')
    options = (*MODEL, "--template", "Say {text}", "--price", "1,1", "-o", f"out{ending}")
    assert run("map", source, *options).exit_code == 1
    rows = table(f"out{ending}", delimiter)
    assert list(rows[0]) == [
        *("id", "input_text", "stars"),
        *("text", "error", "finish_reason", "input_tokens", "output_tokens", "cost", "attempts", "elapsed"),
    ]
    assert [(row["id"], row["input_text"], row["stars"]) for row in rows] == [
        ("7", 'one, "1"', "5"),
        ("8", "two", ""),
        ("9", "drei\nZeilen", "1"),
    ]
    assert rows[0]["text"] == 'Simulated answer to: Say one, "1"'
    assert rows[1]["text"] == ""
    assert rows[1]["error"].startswith("BadRequestError: ")
    assert int(rows[2]["output_tokens"]) > 0
    assert float(rows[0]["cost"]) > 0
    assert names() == {"in.csv", f"out{ending}"}
    assert stat.S_IMODE(Path(f"out{ending}").stat().st_mode) == 0o600


def test_a_parquet_file_comes_out(simulator: Simulator) -> None:
    """With numbers as numbers, missing values as such, and failures in it."""
    parquet = pytest.importorskip("pyarrow.parquet")
    simulator.script_for("two", Fault.status(400))
    source = write("in.jsonl", '{"prompt": "one", "tags": ["a", 1]}\n{"prompt": "two", "half": "\\ud83d"}\n"three"\n')
    assert run("map", source, *MODEL, "-o", "out.parquet").exit_code == 1
    rows = parquet.read_table("out.parquet").to_pylist()
    assert [row["prompt"] for row in rows] == ["one", "two", "three"]
    assert [row["tags"] for row in rows] == ['["a", 1]', None, None]
    assert [row["half"] for row in rows] == [None, "?", None]
    assert [row["attempts"] for row in rows] == [1, 1, 1]
    assert rows[0]["text"] == "Simulated answer to: one"
    assert rows[1]["text"] is None
    assert isinstance(rows[0]["input_tokens"], int)
    assert names() == {"in.jsonl", "out.parquet"}


def test_a_count_beyond_all_bounds_spoils_no_table(tmp_path: Path) -> None:
    """It has no place in a column of numbers, and the other cells keep theirs."""
    parquet = pytest.importorskip("pyarrow.parquet")
    row = Row(1, "x", values={"prompt": "x"})
    answer = Answer("yes", "stop", Usage(10**40, 2, known=True), "m", "openai")
    (tmp_path / "lines").write_bytes(to_json(as_record(Result(0, "x", answer), row, with_values=True)) + b"\n")
    with (tmp_path / "out.parquet").open("wb") as file:
        write_table(".parquet", tmp_path / "lines", file)
    (found,) = parquet.read_table(tmp_path / "out.parquet").to_pylist()
    assert (found["prompt"], found["text"], found["input_tokens"], found["output_tokens"]) == ("x", "yes", None, 2)


def test_an_interrupted_table_leaves_its_lines(simulator: Simulator) -> None:
    """As JSON lines in OUT.partial; the message says how to go on."""
    simulator.script_for("prompt 5;", Fault.silence())
    process = start("map", numbered(6), *MODEL, "-o", "out.csv", "--workers", 2, "--checkpoint", "run.db")
    assert simulator.wait_for(6, timeout=60)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert errors.endswith("out.csv.partial; the same command with --resume asks only for the rest\n")
    assert len(records(Path("out.csv.partial").read_text())) >= 4
    resumed = run("map", "prompts.txt", *MODEL, "-o", "out.csv", "--checkpoint", "run.db", "--resume")
    assert resumed.exit_code == 0
    assert len(table("out.csv")) == 6
    assert "out.csv.partial" not in names()


@pytest.mark.parametrize("name", ["out.xlsx", "out.json", "out.txt"])
def test_another_ending_is_refused(simulator: Simulator, name: str) -> None:
    """Lines of JSON under such a name would surprise whoever opens it."""
    result = run("map", numbered(1), *MODEL, "-o", name)
    assert result.exit_code == 2
    assert "name it .jsonl, .csv, .tsv or .parquet" in error_line(result)
    assert not simulator.received


@pytest.mark.parametrize("encoding", ["cp932", "utf-16", "utf-16-le", "utf-8-sig", "iso2022_jp", "euc_jp"])
def test_a_file_may_have_another_encoding(simulator: Simulator, encoding: str) -> None:
    """As Excel writes it in Japan, for one; lines are counted all the same."""
    text = "番号,prompt\r\n1,野球とは何ですか。ਊ\r\n2,表は\r\n".replace("ਊ", "ਊ" if "utf" in encoding else "")
    Path("in.csv").write_bytes(text.encode(encoding))
    result = run("map", "in.csv", *MODEL, "--encoding", encoding, "-o", "out.csv", "--workers", 1)
    assert result.exit_code == 0, result.stderr
    assert [request.prompt for request in simulator.received] == [line.split(",")[1] for line in text.splitlines()[1:]]
    assert [row["番号"] for row in table("out.csv")] == ["1", "2"]


def test_the_error_of_a_strange_encoding_says_what_to_add() -> None:
    """With the line."""
    Path("in.csv").write_bytes("id,prompt\n1,Hi\n2,野球\n".encode("cp932"))
    result = run("map", "in.csv", *MODEL)
    assert result.exit_code == 2
    assert "line 3: not UTF-8 text" in error_line(result)
    assert "--encoding" in error_line(result)
    assert "line 3: not ascii text" in error_line(run("map", "in.csv", *MODEL, "--encoding", "ascii"))
    assert "--encoding klingon is unknown" in error_line(run("map", "in.csv", *MODEL, "--encoding", "klingon"))


def test_cells_may_be_divided_by_other_characters(simulator: Simulator) -> None:
    """A tsv file is known by its ending; of another one the error says what to add."""
    run("map", write("in.tsv", "id\tprompt\n1\tHi, you\n"), *MODEL)
    source = write("in.csv", "id;prompt\n1;Ho, you\n")
    assert "add --delimiter ';'" in error_line(run("map", source, *MODEL))
    run("map", source, *MODEL, "--delimiter", ";")
    run("map", write("tabs.csv", "id\tprompt\n1\tHa, you\n"), *MODEL, "--delimiter", "\\t")
    assert [request.prompt for request in simulator.received] == ["Hi, you", "Ho, you", "Ha, you"]
    assert "--delimiter must be one character" in error_line(run("map", source, *MODEL, "--delimiter", ";;"))


@pytest.mark.parametrize(
    ("name", "content", "options"),
    [
        ("in.csv", "id,prompt\n1,one\n2,\n3,  \n4,two\n", ()),
        ("in.csv", "id,x\n1,one\n2,\n3,  \n4,two\n", ("--template", "{x}")),
        ("in.jsonl", '"one"\n""\n{"prompt": null}\n{"prompt": "two"}\n', ()),
        ("in.txt", "one\n\n  \ntwo\n", ()),
    ],
)
def test_empty_rows_are_left_out_on_request_and_counted(
    simulator: Simulator, name: str, content: str, options: tuple[str, ...]
) -> None:
    """Every line of the output still names its line of the input."""
    result = run("map", write(name, content), *MODEL, *options, "--skip-empty", "--workers", 1)
    assert result.exit_code == 0
    assert result.stderr == "2 rows without a prompt were skipped\n"
    assert [request.prompt for request in simulator.received] == ["one", "two"]
    assert [record["index"] for record in records(result.stdout)] == [0, 1]


def test_advice_is_in_the_words_of_the_shell() -> None:
    """Whoever types options is not told of keywords."""
    told = "max_workers=16 was busy: try max_workers=32, or set Limits(requests_per_minute=...) to about 10, or raise max_tokens"
    assert in_shell_words(told) == "--workers 16 was busy: try --workers 32, or set --rpm to about 10, or raise --max-tokens"
    told = "no API key for openai: export OPENAI_API_KEY=... in the shell, or pass api_key= (looked for OPENAI_API_KEY)"
    assert in_shell_words(told) == "no API key for openai: export OPENAI_API_KEY=... in the shell (looked for OPENAI_API_KEY)"
    assert (
        in_shell_words("export AWS_REGION=us-east-1, or pass region=")
        == "export AWS_REGION=us-east-1, or add --option region=..."
    )
    under_way = "wait for it, as with job('night.db').wait(), cancel it, or name another checkpoint"
    assert in_shell_words(under_way) == "wait for it (responder job night.db --wait), cancel it, or name another checkpoint"
    assert in_shell_words("job-1 was not finished in time; it goes on: wait() again, in any process").endswith(
        "it goes on: the same command waits again"
    )
    assert in_shell_words("a deployment URL needs an api_version, such as api_version='2024-10-21'").endswith(
        "such as --option api_version=2024-10-21"
    )
    assert in_shell_words("put it in extra={'top_k': ...}") == """put it in --option extra='{"top_k": ...}'"""


def test_an_error_of_the_run_is_in_the_words_of_the_shell_too(simulator: Simulator) -> None:
    """A budget that is too small names the options, whatever the exit code."""
    result = run("map", write("in.txt", "Hi\n"), *MODEL, "--price", "1000,1000", "--budget", "0.01")
    assert result.exit_code == 1
    assert error_line(result).endswith("Raise --budget; with --checkpoint FILE nothing is paid twice")


def test_the_run_deadline_ends_calls_in_flight(simulator: Simulator) -> None:
    """--run-deadline ends a run against a silent server, and every row says so."""
    simulator.always(Fault.silence())
    found = records(run("map", numbered(40), *MODEL, "--workers", 2, "--run-deadline", 0.5).stdout)
    assert len(found) == 40
    assert all("deadline" in record["error"]["message"] for record in found)


def test_the_file_appears_when_it_is_complete(simulator: Simulator) -> None:
    """While the run goes on there is no OUT; afterwards it is whole, and nothing else is left."""
    simulator.script_for("prompt 2;", Fault.silence())
    process = start("map", numbered(3), *MODEL, "-o", "out.jsonl", "--deadline", 1)
    assert simulator.wait_for(3, timeout=60)
    during = names()
    _, errors = process.communicate(timeout=60)
    assert "out.jsonl" not in during
    assert len(records(Path("out.jsonl").read_text())) == 3
    assert names() == {"prompts.txt", "out.jsonl"}
    assert "1 of 3 prompts failed" in errors


def test_nothing_goes_to_standard_output_with_a_file() -> None:
    """With -o, standard output stays empty; -o - is standard output."""
    assert run("map", numbered(1), *MODEL, "-o", "out.jsonl").stdout == ""
    assert len(records(run("map", numbered(1), *MODEL, "-o", "-").stdout)) == 1


def test_an_existing_file_is_replaced_only_on_request(simulator: Simulator) -> None:
    """OUT that exists is left alone, and nothing is sent; --overwrite replaces it."""
    write("out.jsonl", "precious")
    refused = run("map", numbered(1), *MODEL, "-o", "out.jsonl")
    assert (refused.exit_code, Path("out.jsonl").read_text()) == (2, "precious")
    assert "--overwrite" in error_line(refused)
    assert not simulator.received
    assert run("map", numbered(1), *MODEL, "-o", "out.jsonl", "--overwrite").exit_code == 0
    assert len(records(Path("out.jsonl").read_text())) == 1


def test_the_lines_of_an_interrupted_run_are_not_overwritten(simulator: Simulator) -> None:
    """An OUT.partial of an earlier run is left alone unless --overwrite is given."""
    write("out.jsonl.partial", "paid for")
    refused = run("map", numbered(1), *MODEL, "-o", "out.jsonl")
    assert (refused.exit_code, Path("out.jsonl.partial").read_text()) == (2, "paid for")
    assert not simulator.received


def test_the_input_is_never_the_output(simulator: Simulator) -> None:
    """Writing over the input is refused, also with --overwrite and under another name."""
    write("a.jsonl", '"Hi"\n')
    Path("link.jsonl").symlink_to("a.jsonl")
    for out in ("a.jsonl", "link.jsonl"):
        assert "is the input" in error_line(run("map", "a.jsonl", *MODEL, "-o", out, "--overwrite"))
    assert Path("a.jsonl").read_text() == '"Hi"\n'


def test_a_link_stays_a_link_to_the_new_file() -> None:
    """OUT that is a link leads to the new lines, and stays a link."""
    write("real.jsonl", "old")
    Path("out.jsonl").symlink_to("real.jsonl")
    run("map", numbered(1), *MODEL, "-o", "out.jsonl", "--overwrite")
    assert Path("out.jsonl").is_symlink()
    assert len(records(Path("real.jsonl").read_text())) == 1


def test_the_answers_are_for_their_owner_alone(simulator: Simulator) -> None:
    """OUT and OUT.partial hold content: nobody else on the machine can read them, whatever the umask says."""
    simulator.script_for("prompt 2;", Fault.silence())
    process = start("map", numbered(3), *MODEL, "-o", "out.jsonl", "--deadline", 1)
    assert simulator.wait_for(3, timeout=60)
    assert stat.S_IMODE(Path("out.jsonl.partial").stat().st_mode) == 0o600
    process.communicate(timeout=60)
    assert stat.S_IMODE(Path("out.jsonl").stat().st_mode) == 0o600


def test_a_link_in_the_place_of_the_draft_is_not_followed() -> None:
    """What it leads to stays as it is, also with --overwrite."""
    write("precious", "precious")
    Path("out.jsonl.partial").symlink_to("precious")
    assert run("map", numbered(1), *MODEL, "-o", "out.jsonl").exit_code == 2
    assert run("map", numbered(1), *MODEL, "-o", "out.jsonl", "--overwrite").exit_code == 0
    assert Path("precious").read_text() == "precious"
    assert not Path("out.jsonl").is_symlink()


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can make a link of another user")
def test_a_link_of_another_user_is_refused(simulator: Simulator) -> None:
    """In a folder such as /tmp, anybody may have put it there."""
    write("precious", "precious")
    Path("out.jsonl").symlink_to("precious")
    os.chown("out.jsonl", 12345, 12345, follow_symlinks=False)
    result = run("map", numbered(1), *MODEL, "-o", "out.jsonl", "--overwrite")
    assert result.exit_code == 2
    assert "another user" in error_line(result)
    assert Path("precious").read_text() == "precious"
    assert not simulator.received


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Mount a disk of 64 KiB, where this user may."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)]
    if subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("no disk can be mounted here")
    try:
        yield disk
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


def test_a_full_disk_keeps_every_whole_line(small_disk: Path) -> None:
    """The run ends with one clear line, exit code 1, and all the lines that had room; no half of one."""
    out = small_disk / "out.jsonl"
    result = run("map", numbered(2000), *MODEL, "-o", out)
    assert result.exit_code == 1
    kept, error = result.stderr.splitlines()
    found = [record["index"] for record in records((small_disk / "out.jsonl.partial").read_text())]
    assert found == list(range(len(found)))
    assert 100 < len(found) < 2000
    assert kept == f"Stopped: the {len(found)} finished of 2000 results are in {out}.partial"
    assert error == f"Error: ResponderError: the answers cannot be written to {out}: No space left on device"
    assert not out.exists()


def test_a_disk_without_room_for_the_table_keeps_its_lines(small_disk: Path) -> None:
    """The answers are paid for, and all there; of the table nothing is left."""
    result = run("map", numbered(200), *MODEL, "-o", small_disk / "out.csv")
    assert result.exit_code == 1
    assert "the 200 finished of 200 results are in" in result.stderr
    assert "No space left on device" in result.stderr
    assert [path.name for path in small_disk.iterdir()] == ["out.csv.partial"]
    assert len(records((small_disk / "out.csv.partial").read_text())) == 200


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux has a device that is always full")
def test_a_full_device_is_one_line() -> None:
    """-o may name a device, too."""
    result = run("map", numbered(3), *MODEL, "-o", "/dev/full")
    assert result.exit_code == 1
    assert "the answers cannot be written to /dev/full: No space left on device" in error_line(result)


def test_a_device_can_be_written_to() -> None:
    """OUT that is no regular file is written to, and not replaced."""
    os.mkfifo("out")
    read: list[str] = []
    reader = threading.Thread(target=lambda: read.append(Path("out").read_text()))
    reader.start()
    assert run("map", numbered(2), *MODEL, "-o", "out").exit_code == 0
    reader.join()
    assert stat.S_ISFIFO(Path("out").stat().st_mode)
    assert len(records(read[0])) == 2


def test_an_empty_input_gives_an_empty_output() -> None:
    """A file without a prompt is no mistake: OUT is there, and empty."""
    assert run("map", write("a.txt", "\n\n"), *MODEL, "-o", "out.jsonl").exit_code == 0
    assert Path("out.jsonl").read_text() == ""


def test_lines_are_flushed_as_they_come(simulator: Simulator) -> None:
    """A reader of standard output has the first lines while a later row still waits for its answer."""
    simulator.script_for("prompt 2;", Fault.silence())
    process = start("map", numbered(3), *MODEL)
    assert process.stdout is not None
    early = [json.loads(process.stdout.readline())["index"] for _ in range(2)]
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert early == [0, 1]
    assert process.returncode == 130


def test_a_reader_that_has_had_enough_is_no_error(simulator: Simulator) -> None:
    """`| head -1` ends the run quietly: no traceback, and what is in flight is ended."""
    process = start("map", numbered(2000), *MODEL, "--workers", 4)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    errors = process.stderr.read()
    process.stderr.close()
    assert process.wait(timeout=60) == 1
    assert errors == ""
    assert len(simulator.received) < 2000


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_run_keeps_what_is_finished(simulator: Simulator, number: signal.Signals, code: int) -> None:
    """Ctrl-C ends calls in flight; OUT does not appear, and OUT.partial has every finished row, late ones included."""
    simulator.script_for("prompt 5;", Fault.silence())
    process = start("map", numbered(10), *MODEL, "-o", "out.jsonl", "--workers", 2)
    # One worker is stuck in row 5, so the other one has finished all that came before the last request.
    assert simulator.wait_for(10, timeout=60)
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    found = [record["index"] for record in records(Path("out.jsonl.partial").read_text())]
    assert process.returncode == code
    assert found[:8] == [0, 1, 2, 3, 4, 6, 7, 8]
    assert 5 not in found
    assert "out.jsonl" not in names()
    assert errors.startswith(f"Interrupted: the {len(found)} finished of 10 results are in ")
    assert "out.jsonl.partial; with --checkpoint FILE, the same command with --resume asks only for the rest" in errors


def test_an_interrupt_before_the_first_answer_leaves_nothing(simulator: Simulator) -> None:
    """A run that has nothing yet leaves no file behind."""
    simulator.always(Fault.silence())
    process = start("map", numbered(10), *MODEL, "-o", "out.jsonl")
    assert simulator.wait_for(10, timeout=60)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert names() == {"prompts.txt"}
    assert "nothing was written" in errors


def test_a_killed_run_leaves_whole_lines_and_no_output(simulator: Simulator) -> None:
    """After SIGKILL there is no OUT, and what stands in OUT.partial are whole lines in order."""
    simulator.script_for("prompt 150;", Fault.silence())
    process = start("map", numbered(300), *MODEL, "-o", "out.jsonl", "--workers", 2)
    assert simulator.wait_for(160, timeout=60)
    process.kill()
    process.communicate(timeout=60)
    found = [record["index"] for record in records(Path("out.jsonl.partial").read_text())]
    assert "out.jsonl" not in names()
    assert found == list(range(len(found)))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("missing.txt", *MODEL), "missing.txt: No such file"),
        ((".", *MODEL), "directory"),
        (("good.txt",), "--model"),
        (("good.txt", "--model", "opnai:m"), "did you mean 'openai'"),
        (("good.txt", "--model", "anthropic:m"), "export ANTHROPIC_API_KEY"),
        (("bad.jsonl", *MODEL), "bad.jsonl, line 2"),
        (("good.csv", *MODEL), "no column 'prompt'"),
        (("good.csv", *MODEL, "--column", "x"), "no column 'x'"),
        (("good.csv", *MODEL, "--template", "{x}"), "--template needs 'x'"),
        (("good.txt", *MODEL, "--template", "{"), "--template"),
        (("good.txt", *MODEL, "--run-deadline", "0"), "--run-deadline"),
        (("good.txt", *MODEL, "--option", "nonsense=1"), "nonsense"),
        (("good.txt", *MODEL, "-o", "no/such/out.jsonl"), "--out no/such/out.jsonl: there is no folder no/such: make it first"),
        (("good.txt", *MODEL, "-o", "."), "directory"),
        (("good.txt", *MODEL, "--checkpoint", "no/c.db"), "the checkpoint no/c.db cannot be used: there is no folder no"),
        (("good.txt", *MODEL, "--temperature", "nan"), "--temperature must be a number, 0 or more, not nan"),
        (("good.txt", *MODEL, "--timeout", "0"), "Error: --timeout must be a number of seconds above 0, not 0.0"),
        (("good.txt", *MODEL, "--base-url", "localhost:1"), "Error: --base-url must be a URL, such as 'https://host/v1'"),
        (("good.txt", *MODEL, "--option", "max_workers=3"), "unknown option max_workers (did you mean max_tokens?)"),
        (("good.txt", *MODEL, "--option", 'extra={"model": "x"}'), "name another model with --model"),
        (("good.txt", "--model", "opnai:m"), "`responder models` lists them; write PROVIDER:MODEL"),
        (("picture.jsonl", "--model", "ollama:m"), "picture.jsonl, line 1: Ollama accepts images as bytes"),
    ],
)
def test_a_mistake_is_one_line_and_nothing_happens(arguments: tuple[str, ...], words: str, simulator: Simulator) -> None:
    """Bad input is told in one line with exit code 2; nothing is sent, and nothing is written."""
    write("good.txt", "Hi\n")
    write("good.csv", "text\nHi\n")
    write("bad.jsonl", '"Hi"\n{"prompt"\n')
    picture = {"type": "image_url", "image_url": {"url": "https://example.com/cat.png"}}
    write("picture.jsonl", json.dumps({"messages": [{"role": "user", "content": [picture]}]}))
    before = names()
    result = run("map", *(arguments if "-o" in arguments else (*arguments, "-o", "out.jsonl")))
    assert (result.exit_code, result.stdout) == (2, "")
    assert words in error_line(result)
    assert names() == before
    assert not simulator.received


def test_a_file_without_prompts_is_mentioned() -> None:
    """Nothing fails, and nobody takes an empty output for answers."""
    write("header.csv", "id,prompt\n")
    result = run("map", "header.csv", *MODEL, "-o", "out.jsonl")
    assert result.exit_code == 0
    assert error_line(result) == "header.csv has no prompts: nothing is sent"


def test_a_key_that_no_header_can_carry_is_one_line(monkeypatch: pytest.MonkeyPatch, simulator: Simulator) -> None:
    """As a wrong key is: it would fail every row."""
    monkeypatch.setenv("OPENAI_API_KEY", "two\nlines")
    result = run("map", numbered(5), *MODEL, "-o", "out.jsonl")
    assert result.exit_code == 2
    assert error_line(result) == "Error: a header has a line break; check the key"
    assert names() == {"prompts.txt"}
    assert not simulator.received


def test_missing_google_credentials_are_told_before_anything_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    """Credentials that are looked for only at the first call end the run with one line all the same."""
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "p")
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    result = run("map", numbered(5), "--model", "vertex:m", "-o", "out.jsonl")
    assert result.exit_code == 2
    assert "gcloud auth application-default login" in error_line(result)
    assert names() == {"prompts.txt"}


def test_a_summary_and_a_bar_go_to_standard_error_on_request() -> None:
    """--summary and --progress write to standard error; without a terminal both are silent by default."""
    silent = run("map", numbered(3), *MODEL)
    told = run("map", numbered(3), *MODEL, "--summary", "--progress")
    assert silent.stderr == ""
    assert "3 prompts: 3 answered, 0 failed" in told.stderr
    assert "3/3" in told.stderr
    assert len(records(told.stdout)) == 3


def test_a_line_is_json_whatever_the_model_wrote() -> None:
    """NaN in a tool's arguments does not spoil the line for programs that read JSON strictly."""

    def refuse(word: str) -> None:
        raise AssertionError(word)

    call = ToolCall.from_text("1", "f", '{"x": [NaN, -Infinity, 1.5]}')
    answer = Answer("", "tool_calls", Usage(), "m", "openai", tool_calls=(call,))
    line = to_json(as_record(Result(0, "x", answer), Row(1, "x")))
    assert json.loads(line, parse_constant=refuse)["tool_calls"][0]["arguments"] == {"x": [None, None, 1.5]}


def test_odd_characters_survive(simulator: Simulator) -> None:
    """Prompts beyond ASCII, line separators and half of a surrogate pair included, come back whole, one line each."""
    odd = ["Grüße 🐈", "a\u2028b\u0085c", "half \ud83d pair"]
    result = run("map", write("a.jsonl", "".join(json.dumps(prompt) + "\n" for prompt in odd)), *MODEL, "-o", "out.jsonl")
    texts = [record["text"] for record in records(Path("out.jsonl").read_bytes().decode())]
    assert result.exit_code == 0
    assert texts[:2] == [f"Simulated answer to: {prompt}" for prompt in odd[:2]]
    assert len(texts) == 3


# --- Money, and what steps in -----------------------------------------------------------------------------------------


def test_a_budget_ends_the_run_and_the_rest_is_not_sent(simulator: Simulator) -> None:
    """What it cost stands in each line and in the summary."""
    result = run("map", numbered(50), *MODEL, "--budget", "0.5", "--price", "1000,1000", "--workers", "4", "--summary")
    assert result.exit_code == 1
    found = records(result.stdout)
    paid = [record for record in found if "error" not in record]
    assert 5 <= len(paid) == len(simulator.received) < 50
    assert 0 < sum(record["cost"] for record in paid) <= 0.5
    assert "budget" in found[-1]["error"]["message"]
    assert "cost: $0." in result.stderr


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--budget", "1"), "add --price IN,OUT"),
        (("--budget", "0", "--price", "1,1"), "--budget must be"),
        (("--price", "cheap"), "--price"),
        (("--price", "1"), "--price"),
        (("--price", "-1,1"), "--price: IN must be"),
        (("--hedge", "2"), "--hedge"),
        (("--fallback", "nobody:m"), "nobody"),
    ],
)
def test_an_amount_that_makes_no_sense_is_refused_before_anything_is_sent(
    simulator: Simulator, options: tuple[str, ...], words: str
) -> None:
    """One line says what is wrong."""
    result = run("map", numbered(3), *MODEL, *options, "-o", "out.jsonl")
    assert result.exit_code == 2
    assert words in error_line(result)
    assert not simulator.received
    assert names() == {"prompts.txt"}


def test_a_fallback_answers_what_the_first_model_cannot(simulator: Simulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has a key and an address of its own."""
    monkeypatch.setenv("ANTHROPIC_API_KEY", "other-key")
    monkeypatch.setenv("ANTHROPIC_BASE_URL", simulator.base_url("anthropic"))
    simulator.script(Fault.status(404))
    result = run("map", numbered(4), *MODEL, "--fallback", "anthropic:c", "--workers", "1")
    assert result.exit_code == 0, result.stderr
    assert all("Simulated answer" in record["text"] for record in records(result.stdout))
