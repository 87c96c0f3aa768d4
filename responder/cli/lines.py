"""Where do the results go? One JSON line each, to standard output or to a file that appears whole or not at all.

A table (see `tables.py`) is made from the lines at the end.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import sys
from collections.abc import Mapping, Sequence
from io import FileIO
from pathlib import Path
from typing import Any, BinaryIO

from responder.cli.fields import Field
from responder.cli.rows import Row
from responder.cli.tables import check_ending, write_table
from responder.cli.terminal import discard_output, output
from responder.report.file import replacing
from responder.values.answer import Answer, Usage
from responder.values.errors import ConfigurationError, ResponderError
from responder.values.results import Result
from responder.values.visible import is_terminal, visible


def to_json(value: Any, indent: int | None = None) -> bytes:
    """Return a value as JSON in UTF-8, without a line end; NaN and infinities, which JSON lacks, become null."""
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False, indent=indent).encode()
    except UnicodeEncodeError:  # half of a surrogate pair, which UTF-8 cannot encode but JSON can
        return json.dumps(value, allow_nan=False, indent=indent).encode()
    except ValueError:  # a model may write NaN in the arguments of a tool, and Python reads it
        return to_json(_finite(value), indent)


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {name: _finite(part) for name, part in value.items()}
    return [_finite(part) for part in value] if isinstance(value, (list, tuple)) else value


def as_record(result: Result, row: Row, with_values: bool = False) -> dict[str, Any]:
    """Return what is written of a result; `row` stands there for the row's values where they are asked for.

    `text` stands there for an answer (with `parsed`, where a schema was asked for) and `error` for a failure, never both; `id`
    only if the row has one. `usage` is None when the provider reported none, as `finish_reason` is when there was no answer;
    `cost` stands there where a price is known.
    """
    record: dict[str, Any] = {"index": result.index, "line": row.line}
    if row.id is not None:
        record["id"] = row.id
    if with_values:
        record["row"] = dict(row.values)
    if result.answer is not None:
        record.update(_answer(result.answer))
    else:
        record.update(_error(result.error))
    if result.cost is not None:
        record["cost"] = result.cost
    return {**record, "attempts": result.attempts, "elapsed": round(result.elapsed, 3)}


def _answer(answer: Answer) -> dict[str, Any]:
    found: dict[str, Any] = {"text": answer.text, "finish_reason": answer.finish_reason, "usage": _usage(answer.usage)}
    if answer.reasoning:
        found["reasoning"] = answer.reasoning
    if answer.parsed is not None:
        found["parsed"] = answer.parsed
    if answer.tool_calls:
        found["tool_calls"] = [
            {"id": call.id, "name": call.name, "arguments": dict(call.arguments) or call.arguments_text}
            for call in answer.tool_calls
        ]
    return found


def _error(error: Exception | None) -> dict[str, Any]:
    return {
        "error": {
            "type": type(error).__name__,
            "message": str(error),
            "status": getattr(error, "status", None),
            "retryable": getattr(error, "retryable", False),
        },
        "finish_reason": getattr(error, "finish_reason", None),
        "usage": _usage(getattr(error, "usage", None)),
    }


def _usage(usage: Usage | None) -> dict[str, int] | None:
    if usage is None or not usage.known:
        return None
    return {
        "input_tokens": usage.input_tokens,
        "output_tokens": usage.output_tokens,
        "cached_input_tokens": usage.cached_input_tokens,
        "reasoning_tokens": usage.reasoning_tokens,
    }


def open_for_owner(path: Path) -> FileIO:
    """Create a new file that only its owner can read; no link is followed.

    Raises:
        FileExistsError: Something has that name.
    """
    return open(path, "xb", buffering=0, opener=lambda name, flags: os.open(name, flags, 0o600))


def _refuse_foreign_link(path: Path) -> None:
    """Refuse a link made by another user in a shared folder such as /tmp."""
    if hasattr(os, "geteuid") and path.is_symlink() and path.lstat().st_uid not in (os.geteuid(), 0):
        raise ConfigurationError(f"{path} is a link that belongs to another user: write to another file")


class Lines:
    """JSON lines on standard output, or in a file.

    A file is written as OUT.partial beside OUT, and renamed when it is complete: whoever sees OUT sees all of it, and after a
    crash the finished lines are still there. It holds answers, so its owner alone can read it (0600); it is made exclusively, so
    that no link which lies in wait under that name is followed.

    Args:
        out: Path of the file; None or "-" for standard output.
        overwrite: Whether a file that is there may be replaced, an OUT.partial of an earlier run included.
        source: Path of the input, which the output must not replace.
        fields: Columns of a table for what the answers hold.

    Attributes:
        written: How many lines were written.
        table: The ending of the table that the lines become at the end; None when they stay lines.

    Raises:
        ConfigurationError: It cannot be written, or would replace something.
    """

    def __init__(self, out: str | None, overwrite: bool = False, source: str = "-", fields: Sequence[Field] = ()) -> None:
        self.written = 0
        self.is_standard_output = out is None or out == "-"
        self._is_watched = self.is_standard_output and is_terminal(sys.stdout)
        self._target: Path | None = None
        self._partial: Path | None = None
        self._size = 0
        self._fields = fields
        self.table: str | None = None
        if out is None or out == "-":
            self._name = "standard output"
            self._file: BinaryIO | FileIO = output()
            return
        self._name = out
        target = Path(out)
        if not target.exists() or target.is_file():
            self.table = check_ending(out)
        try:
            if target.exists() and not target.is_file():
                if target.is_dir():
                    raise ConfigurationError(f"{out} is a directory, not a file")
                self._file = target.open("wb", buffering=0)  # a pipe or a device can be written to, but not be put in place
                return
            if target.exists() and source != "-" and Path(source).exists() and target.samefile(source):
                raise ConfigurationError(f"{out} is the input: write to another file")
            if target.exists() and not overwrite:
                raise ConfigurationError(f"{out} exists: add --overwrite, or write to another file")
            _refuse_foreign_link(target)
            self._target = target.resolve()  # the user's own link stays a link to the new file
            self._partial = self._target.with_name(self._target.name + ".partial")
            if overwrite:
                self._partial.unlink(missing_ok=True)
            self._file = open_for_owner(self._partial)
        except FileExistsError:
            raise ConfigurationError(
                f"{out}.partial exists, with the finished lines of another run: move it away, add --overwrite, or continue "
                "that run (--checkpoint FILE --resume)"
            ) from None
        except OSError as error:
            lacking = not target.parent.is_dir()
            why = f"there is no folder {target.parent}: make it first" if lacking else error.strerror
            raise ConfigurationError(f"--out {out}: {why}") from error

    def write(self, record: Mapping[str, Any]) -> None:
        """Write a line and flush it.

        Raises:
            BrokenPipeError: The reader of standard output is gone.
            ResponderError: It could not be written (the disk is full); what was written before is whole.
        """
        line = to_json(record)
        if self._is_watched:
            line = visible(line.decode()).encode()
        left = memoryview(line + b"\n")
        try:
            while left:
                left = left[self._file.write(left) :]
            self._file.flush()
        except BrokenPipeError:
            raise
        except OSError as error:
            self._drop_half_a_line()
            raise self._failed(error) from error
        self._size += len(line) + 1
        self.written += 1

    def _drop_half_a_line(self) -> None:
        if self._partial is not None:
            with contextlib.suppress(OSError):
                os.truncate(self._file.fileno(), self._size)
        elif self.is_standard_output:
            discard_output()

    def _failed(self, error: OSError) -> ResponderError:
        return ResponderError(f"the answers cannot be written to {self._name}: {error.strerror or error}")

    def complete(self) -> None:
        """Put the file in place.

        Raises:
            ResponderError: The disk is full, or broken.
        """
        try:
            if self._partial is not None and self._target is not None:
                if self.table is not None:
                    self._write_table(self.table, self._partial, self._target)
                os.fsync(self._file.fileno())
                self._file.close()
                if self.table is None:
                    self._partial.replace(self._target)
                else:
                    self._partial.unlink()
            elif not self.is_standard_output:
                self._file.close()
        except OSError as error:
            raise self._failed(error) from error

    def _write_table(self, ending: str, lines: Path, target: Path) -> None:
        with replacing(target) as file:
            write_table(ending, lines, file, self._fields)
            file.flush()
            os.fsync(file.fileno())

    def keep(self) -> Path | None:
        """Leave the file unfinished; return where its lines are, or None when there are none (or no file)."""
        if not self.is_standard_output:
            with contextlib.suppress(OSError):
                self._file.close()
        if self._partial is None:
            return None
        if not self.written:
            self._partial.unlink(missing_ok=True)
            return None
        return self._partial
