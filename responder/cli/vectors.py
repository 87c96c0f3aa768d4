"""How are vectors written to a file? As numpy's own format, as a Parquet table, or as JSON lines. The only room that does."""

from __future__ import annotations

import json
import struct
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from responder.cli.rows import Rows
from responder.cli.terminal import discard_output, output
from responder.cli.words import in_shell_words
from responder.values.embeddings import Embeddings
from responder.values.errors import ConfigurationError

# Rows that are handed to pyarrow at once.
_GROUP = 4096


def check_out(out: str | None, overwrite: bool, file: str) -> None:
    """Say before anything is sent that the vectors cannot be written.

    Raises:
        ConfigurationError: They cannot.
    """
    if out is None:
        output()  # closed: report it before anything is paid for
        return
    path = Path(out)
    if path.suffix not in _WRITERS:
        raise ConfigurationError(f"--out {out}: vectors are written as {', '.join(_WRITERS)}")
    if path.suffix == ".parquet":
        try:
            import pyarrow  # noqa: F401 - looked for
        except ImportError:
            raise ConfigurationError(f'--out {out} needs pyarrow: pip install "responder-sdk[parquet]"') from None
    if path.exists() and not overwrite:
        raise ConfigurationError(f"{out} exists: name another file, or add --overwrite")
    if not path.parent.is_dir():
        raise ConfigurationError(f"--out {out}: there is no folder {path.parent}: make it first")
    if file != "-" and path.exists() and path.samefile(file):
        raise ConfigurationError(f"FILE and --out are the same file, {out}")


def write(vectors: Embeddings, rows: Rows, out: str | None, *, partial: bool) -> None:
    """Write the vectors of the texts of a file.

    Args:
        vectors: The vectors, as many as there are rows, or (a run that was ended) fewer.
        rows: The texts' rows.
        out: The file; None: JSON lines to standard output.
        partial: Leave them in OUT.partial, since they are not all there.
    """
    if out is None:
        _write_jsonl(vectors, rows, output())
        return
    path = Path(out)
    beside = path.with_name(path.name + ".partial")
    with beside.open("wb") as file:
        _WRITERS[path.suffix](vectors, rows, file)
    if not partial:
        beside.replace(path)


def _records(vectors: Embeddings, rows: Rows) -> Iterator[dict[str, Any]]:
    errors = {result.index: result.error for result in vectors.failures()}
    for index, (row, _) in enumerate(zip(rows, range(len(vectors)), strict=False)):
        record: dict[str, Any] = {"index": index, "line": row.line}
        if row.id is not None:
            record["id"] = row.id
        error = errors.get(index)
        if error is None:
            record["embedding"] = vectors[index]
        else:
            record["error"] = in_shell_words(f"{type(error).__name__}: {error}")
        yield record


def _write_jsonl(vectors: Embeddings, rows: Rows, file: BinaryIO) -> None:
    try:
        for record in _records(vectors, rows):
            if "embedding" in record:
                record["embedding"] = list(record["embedding"])
            file.write(json.dumps(record).encode() + b"\n")
        file.flush()
    except BrokenPipeError:  # `| head` has seen enough
        discard_output()


def _write_npy(vectors: Embeddings, rows: Rows, file: BinaryIO) -> None:  # noqa: ARG001 - one signature for all
    """Write numpy's format, version 1.0: https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html."""
    order = "<" if sys.byteorder == "little" else ">"
    header = str({"descr": f"{order}f4", "fortran_order": False, "shape": (len(vectors), vectors.dimensions)})
    padded = header.ljust(-(-(len(header) + 11) // 64) * 64 - 11) + "\n"  # what is before the numbers fills blocks of 64 bytes
    file.write(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(padded)) + padded.encode("ascii"))
    file.write(vectors.data)


def _write_parquet(vectors: Embeddings, rows: Rows, file: BinaryIO) -> None:
    import pyarrow
    import pyarrow.parquet

    schema = pyarrow.schema(
        [
            ("index", pyarrow.int64()),
            ("line", pyarrow.int64()),
            ("id", pyarrow.string()),
            ("embedding", pyarrow.list_(pyarrow.float32())),
            ("error", pyarrow.string()),
        ]
    )
    with pyarrow.parquet.ParquetWriter(file, schema) as writer:
        group: list[dict[str, Any]] = []
        for record in _records(vectors, rows):
            found = record.get("embedding")
            group.append(
                {
                    **record,
                    "id": None if record.get("id") is None else str(record["id"]),
                    "embedding": None if found is None else list(found),
                }
            )
            if len(group) == _GROUP:
                writer.write_table(pyarrow.Table.from_pylist(group, schema=schema))
                group = []
        if group:
            writer.write_table(pyarrow.Table.from_pylist(group, schema=schema))


_WRITERS: Mapping[str, Callable[[Embeddings, Rows, BinaryIO], None]] = {
    ".npy": _write_npy,
    ".parquet": _write_parquet,
    ".jsonl": _write_jsonl,
}
