"""How do finished lines become a table? CSV, TSV or Parquet: the input's columns, and the answers beside them.

The lines are read twice and never held in memory: once for the names of the columns, once for the rows.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

from responder.cli.fields import Field
from responder.values.errors import ConfigurationError

ENDINGS = (".csv", ".tsv", ".parquet")

# Our columns, beside the input's. An input column with the same name becomes "input_...".
_OURS = ("text", "error", "finish_reason", "input_tokens", "output_tokens", "cost", "attempts", "elapsed")

# Rows of a Parquet file that are written together.
_GROUP = 10_000


def check_ending(out: str) -> str | None:
    """Return the extension of a table; None for a file of JSON lines.

    Raises:
        ConfigurationError: Neither, or the package that writes it is not installed.
    """
    ending = Path(out).suffix.lower()
    if ending in ("", ".jsonl", ".ndjson"):
        return None
    if ending not in ENDINGS:
        raise ConfigurationError(f"{out}: {ending} is not a format to write; name it .jsonl, .csv, .tsv or .parquet")
    if ending == ".parquet":
        try:
            import pyarrow.parquet  # noqa: F401 - who writes no Parquet does not need it
        except ImportError as error:
            raise ConfigurationError(f'{out} needs pyarrow: pip install "responder-sdk[parquet]"') from error
    return ending


def write_table(ending: str, lines: Path, target: BinaryIO, fields: Sequence[Field] = ()) -> None:
    """Write lines as a table.

    Args:
        ending: One of `ENDINGS`.
        lines: The file with the lines, as `as_record` makes them, with the input's values as "row".
        target: Where the table goes.
        fields: What the answers hold; their columns stand before ours.

    Raises:
        OSError: The disk is full.
    """
    names: dict[str, None] = {}
    for record in _records(lines):
        names.update(dict.fromkeys(record["row"]))
    titles = [_title(field) for field in fields]
    columns = {name: f"input_{name}" if name in _OURS or name in titles else name for name in names}
    if ending == ".parquet":
        _write_parquet(lines, columns, target, fields)
        return
    text = io.TextIOWrapper(target, encoding="utf-8", errors="replace", newline="")
    writer = csv.writer(text, delimiter="\t" if ending == ".tsv" else ",", lineterminator="\n")
    writer.writerow([*columns.values(), *titles, *_OURS])
    for record in _records(lines):
        theirs = [record["row"].get(name) for name in columns]
        held = [field.value(record.get("parsed")) for field in fields]
        writer.writerow([_cell(value) for value in (*theirs, *held, *_ours(record))])
    text.flush()
    text.detach()


def _title(field: Field) -> str:
    """Return the name of a column of the answers; ours and theirs go before."""
    return f"parsed_{field.name}" if field.name in _OURS else field.name or "parsed"


def _records(lines: Path) -> Iterator[dict[str, Any]]:
    with lines.open("rb") as file:
        for line in file:
            yield json.loads(line)


def _ours(record: Mapping[str, Any]) -> tuple[Any, ...]:
    """Return the values of our columns, in their order."""
    error, usage = record.get("error"), record.get("usage") or {}
    return (
        record.get("text"),
        None if error is None else f"{error['type']}: {error['message']}",
        record["finish_reason"],
        usage.get("input_tokens"),
        usage.get("output_tokens"),
        record.get("cost"),
        record["attempts"],
        record["elapsed"],
    )


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _write_parquet(lines: Path, columns: Mapping[str, str], target: BinaryIO, fields: Sequence[Field]) -> None:
    import pyarrow
    import pyarrow.parquet

    string, whole, real = pyarrow.string(), pyarrow.int64(), pyarrow.float64()
    kinds = (string, string, string, whole, whole, real, whole, real)
    by_kind = {"text": string, "integer": whole, "number": real, "boolean": pyarrow.bool_()}
    schema = pyarrow.schema(
        [
            *((name, string) for name in columns.values()),
            *((_title(field), by_kind[field.kind]) for field in fields),
            *zip(_OURS, kinds, strict=True),
        ]
    )
    records = _records(lines)
    with pyarrow.parquet.ParquetWriter(target, schema) as writer:
        while group := list(islice(records, _GROUP)):
            cells: list[list[Any]] = [[_text_or_none(record["row"].get(name)) for record in group] for name in columns]
            for field in fields:
                convert = _text_or_none if field.kind == "text" else _number_or_none
                cells.append([convert(field.value(record.get("parsed"))) for record in group])
            ours = zip(*(_ours(record) for record in group), strict=True)
            for values, kind in zip(ours, kinds, strict=True):
                convert = _text_or_none if kind is string else _number_or_none
                cells.append([convert(value) for value in values])
            arrays = [pyarrow.array(values, field.type) for values, field in zip(cells, schema, strict=True)]
            writer.write_table(pyarrow.Table.from_arrays(arrays, schema=schema))


def _number_or_none(value: Any) -> Any:
    # A provider may report a count that has no room in 64 bits; that is the provider's mistake, and no reason to lose the table.
    return value if value is None or abs(value) < 2**63 else None


def _text_or_none(value: Any) -> str | None:
    # Half of a surrogate pair cannot be encoded in UTF-8.
    return None if value is None else _cell(value).encode("utf-8", "replace").decode()
