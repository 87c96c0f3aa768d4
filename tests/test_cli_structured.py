"""`responder map --schema`: what the answers hold becomes `parsed` in a line, and columns in a table."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from shell import records, run

from responder.cli.fields import Field, fields_of
from responder.simulator import Fault, Simulator
from responder.values.schema import Schema

MODEL = ("--model", "openai:m")
INVOICE = {
    "type": "object",
    "properties": {
        "number": {"type": "integer", "minimum": 7},
        "total": {"anyOf": [{"type": "number"}, {"type": "null"}]},
        "paid": {"type": "boolean"},
        "customer": {"type": "string"},
        "lines": {"type": "array", "items": {"type": "string"}},
        "text": {"type": "string"},
    },
}
COLUMNS = ["input_customer", "prompt", "number", "total", "paid", "customer", "lines", "parsed_text"]


@pytest.fixture(autouse=True)
def provider(simulator: Simulator, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Make the simulator the provider of `openai:`, and work in a folder with three invoices and their schema."""
    monkeypatch.setenv("OPENAI_API_KEY", "test-key")
    monkeypatch.setenv("OPENAI_BASE_URL", simulator.base_url("openai"))
    monkeypatch.delenv("RESPONDER_MODEL", raising=False)
    monkeypatch.chdir(tmp_path)
    Path("invoices.csv").write_text("customer,prompt\nA,one\nB,two\nC,three\n")
    Path("invoice.json").write_text(json.dumps(INVOICE))


def test_a_line_has_what_the_answer_holds() -> None:
    """As JSON, beside the text."""
    result = run("map", "invoices.csv", "--schema", "invoice.json", *MODEL)
    assert result.exit_code == 0
    for record in records(result.stdout):
        assert record["parsed"] == json.loads(record["text"])
        assert record["parsed"]["number"] == 7


def test_a_table_has_a_column_for_each_property(simulator: Simulator) -> None:
    """With names of their own where the input or we have them already; a failed row has empty cells."""
    simulator.script_for("two", Fault.invalid_answer())
    result = run("map", "invoices.csv", "--schema", "invoice.json", *MODEL, "-o", "out.csv", "--reasks", "0")
    assert result.exit_code == 1
    with Path("out.csv").open(newline="") as file:
        first, second, _ = rows = list(csv.DictReader(file))
    assert list(rows[0])[: len(COLUMNS)] == COLUMNS
    assert (first["number"], first["paid"], first["lines"]) == ("7", "true", '["simulated"]')
    assert (second["input_customer"], second["number"], second["customer"]) == ("B", "", "")
    assert second["error"].startswith("InvalidAnswerError: ")


def test_an_invalid_answer_is_asked_again_once_by_default(simulator: Simulator) -> None:
    """As in Python."""
    simulator.script_for("two", Fault.invalid_answer())
    result = run("map", "invoices.csv", "--schema", "invoice.json", *MODEL, "--summary")
    assert result.exit_code == 0
    assert "asked again because an answer did not fit: 1" in result.stderr


def test_a_parquet_file_has_columns_of_the_schemas_types(simulator: Simulator) -> None:
    """Numbers as numbers; lists and objects as JSON text."""
    parquet = pytest.importorskip("pyarrow.parquet")
    assert run("map", "invoices.csv", "--schema", "invoice.json", *MODEL, "-o", "out.parquet").exit_code == 0
    table = parquet.read_table("out.parquet")
    assert table.column_names[: len(COLUMNS)] == COLUMNS
    kinds = [str(table.schema.field(name).type) for name in ("number", "total", "paid", "customer", "lines")]
    assert kinds == ["int64", "double", "bool", "string", "string"]
    assert table.to_pylist()[0]["number"] == 7


def test_a_schema_that_is_no_object_has_one_column() -> None:
    """Called `parsed`."""
    Path("list.json").write_text('{"type": "array", "items": {"type": "integer"}}')
    assert run("map", "invoices.csv", "--schema", "list.json", *MODEL, "-o", "out.tsv").exit_code == 0
    with Path("out.tsv").open(newline="") as file:
        assert [row["parsed"] for row in csv.DictReader(file, delimiter="\t")] == ["[1]"] * 3


def test_columns_come_from_the_schema_behind_references() -> None:
    """A root may be a reference; values of another kind than the column leave the cell empty."""
    schema = Schema({"$ref": "#/$defs/A", "$defs": {"A": {"type": "object", "properties": {"n": {"type": ["integer", "null"]}}}}})
    assert fields_of(schema) == (Field("n", "integer"),)
    assert fields_of(None) == ()
    assert [Field("n", "integer").value({"n": value}) for value in (3, 3.0, 3.5, "3", True, None)] == [
        3,
        3,
        None,
        None,
        None,
        None,
    ]
    assert [Field("n", "number").value({"n": value}) for value in (3, 2.5, False, [])] == [3.0, 2.5, None, None]
