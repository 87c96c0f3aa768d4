"""What does an input file ask? The rows of a txt, csv or jsonl file, all checked before the first one is used.

Every mistake is a ConfigurationError that names the file and the line.
"""

from __future__ import annotations

import csv
import json
import math
import shutil
import string
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NoReturn, TypeAlias, cast

from responder.cli.terminal import source
from responder.values.errors import ConfigurationError
from responder.values.messages import Prompt, as_messages

FORMATS = ("txt", "csv", "jsonl")
_ENDINGS = {".txt": "txt", ".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl"}

# csv refuses cells of more than 131,072 characters unless told otherwise; a prompt may be longer. A C long on Windows.
_LONGEST_CELL = 2**31 - 1

# Python writes JSON about as deep as it reads it, less what is on the stack at that moment: this leaves room for any of that.
_DEEPEST = 200


@dataclass(frozen=True, slots=True)
class Row:
    """One prompt of a file.

    Attributes:
        line: The line it begins on, from 1, counted as an editor counts.
        prompt: What is asked.
        id: The row's own id; None when it has none.
    """

    line: int
    prompt: Prompt
    id: Any = None


class _BadRowError(ValueError):
    """A row that cannot be used; whoever knows the file's name turns it into a ConfigurationError."""

    def __init__(self, line: int, why: str) -> None:
        super().__init__(why)
        self.line = line


_Lines: TypeAlias = Iterator[tuple[int, str]]


class Template:
    """A text with the names of a row's values in braces: "Summarise: {text}".

    Raises:
        ConfigurationError: It names nothing, or its braces do not match.
    """

    def __init__(self, text: str) -> None:
        try:
            parts = list(string.Formatter().parse(text))
        except ValueError as error:
            raise ConfigurationError(f"--template {text!r}: {error}; write {{{{ and }}}} for braces that stay") from None
        for _, name, form, conversion in parts:
            if name is not None and (not name or form or conversion):
                raise ConfigurationError(
                    f"--template {text!r}: braces hold the name of a column or key, and nothing else; write {{{{ and }}}} "
                    "for braces that stay"
                )
        self._parts = [(literal, name) for literal, name, _, _ in parts]
        if not any(name for _, name in self._parts):
            raise ConfigurationError(f"--template {text!r} names no value, such as {{line}}: every prompt would be the same")

    def fill(self, values: Mapping[str, Any]) -> str:
        """Return the text with its values in place.

        Raises:
            ValueError: A value is missing.
        """
        return "".join(literal + ("" if name is None else _value(values, name)) for literal, name in self._parts)


def _value(values: Mapping[str, Any], name: str) -> str:
    value = values.get(name)
    if value is None:
        raise ValueError(f"--template wants {name!r}, and there is {', '.join(map(repr, values)) or 'nothing'}")
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


class Rows:
    """The rows of a file: counted and checked once, then read again one by one. Never held in memory together.

    Args:
        path: The file; "-" is standard input, which is copied to a temporary file until it ends.
        form: "txt", "csv" or "jsonl"; None: by the file's ending, or else by its first line.
        column: The column (csv) or key (jsonl) that holds the prompt.
        template: Makes the prompt from the row's values instead.
        check: Called with each prompt; the file's name and the line are added to what it raises.

    Raises:
        ConfigurationError: The file cannot be read, or a row is invalid.
    """

    def __init__(
        self,
        path: str,
        form: str | None = None,
        *,
        column: str = "prompt",
        template: Template | None = None,
        check: Callable[[Prompt], object] | None = None,
    ) -> None:
        self.name = "standard input" if path == "-" else path
        self._column = column
        self._template = template
        self._file = _open(path, self.name)
        try:
            self._form = form or self._guess(path)
            self._length = 0
            for row in self:
                if check is not None:
                    self._check(row, check)
                self._length += 1
        except BaseException:
            self.close()
            raise

    def _check(self, row: Row, check: Callable[[Prompt], object]) -> None:
        try:
            check(row.prompt)
        except ConfigurationError as error:
            raise ConfigurationError(f"{self.name}, line {row.line}: {error}") from None
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise ConfigurationError(f"{self.name}, line {row.line}: this is no prompt: {error}") from None

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[Row]:
        # One open file for both readings: whoever replaces the file in the meantime does not change what was checked.
        self._file.seek(0)
        try:
            yield from _READERS[self._form](_decoded(self._file), self._column, self._template)
        except _BadRowError as error:
            raise ConfigurationError(f"{self.name}, line {error.line}: {error}") from None
        except OSError as error:
            raise ConfigurationError(f"{self.name}: {error.strerror}") from error

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> Rows:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _guess(self, path: str) -> str:
        ending = "" if path == "-" or not Path(path).is_file() else Path(path).suffix.lower()
        if ending in _ENDINGS:
            return _ENDINGS[ending]
        if ending:
            raise ConfigurationError(
                f"{self.name}: {ending} says too little about what is in it: add --format {' or --format '.join(FORMATS)}"
            )
        self._file.seek(0)
        try:
            first = next((text for _, text in _decoded(self._file) if text.strip()), "")
        except _BadRowError as error:
            raise ConfigurationError(f"{self.name}, line {error.line}: {error}") from None
        try:
            return "jsonl" if isinstance(json.loads(first), (dict, str)) else "txt"
        except (ValueError, RecursionError):
            return "txt"


def _open(path: str, name: str) -> BinaryIO:
    """Return a file that can be read twice."""
    try:
        if path != "-" and Path(path).is_file():
            return Path(path).open("rb")
        if path != "-" and Path(path).is_dir():
            raise ConfigurationError(f"{name} is a directory, not a file")
        copy = tempfile.TemporaryFile()  # noqa: SIM115 - closed by Rows
        try:
            if path == "-":
                shutil.copyfileobj(source(), copy)
            else:
                with Path(path).open("rb") as pipe:
                    shutil.copyfileobj(pipe, copy)
        except BaseException:
            copy.close()
            raise
    except OSError as error:
        raise ConfigurationError(f"{name}: {error.strerror}") from error
    return cast("BinaryIO", copy)


def _decoded(file: BinaryIO) -> _Lines:
    for number, content in enumerate(file, 1):
        try:
            yield number, content.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            raise _BadRowError(number, f"not UTF-8 text (byte {error.start + 1} of the line): save the file as UTF-8") from None


def _text_rows(lines: _Lines, _column: str, template: Template | None) -> Iterator[Row]:
    for number, line in lines:
        text = line.rstrip("\r\n")
        if text.strip():
            yield Row(number, text if template is None else _filled(number, template, {"line": text}))


def _csv_rows(lines: _Lines, column: str, template: Template | None) -> Iterator[Row]:
    csv.field_size_limit(_LONGEST_CELL)
    reader = csv.reader((line for _, line in lines), strict=True)
    header: Sequence[str] | None = None
    line = 1
    try:
        for cells in reader:
            if cells and header is None:
                header = _header(line, cells, column, template)
            elif cells:
                yield _csv_row(line, header or (), cells, column, template)
            line = reader.line_num + 1
    except csv.Error as error:
        raise _BadRowError(line, f"not CSV ({error})") from None
    if header is None:
        raise _BadRowError(1, "a csv file begins with the names of its columns, and this one is empty")


def _header(line: int, names: Sequence[str], column: str, template: Template | None) -> Sequence[str]:
    names = [name.strip() for name in names]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise _BadRowError(line, f"there are two columns named {twice[0]!r}")
    if template is None and column not in names:
        raise _BadRowError(line, f"no column {column!r}; there is {', '.join(map(repr, names))}: add --column or --template")
    return names


def _csv_row(line: int, header: Sequence[str], cells: Sequence[str], column: str, template: Template | None) -> Row:
    if len(cells) != len(header):
        raise _BadRowError(line, f"{len(cells)} cells, but there are {len(header)} columns")
    values = dict(zip(header, cells, strict=True))
    prompt = values[column] if template is None else _filled(line, template, values)
    return Row(line, _checked(line, prompt), values.get("id") or None)


def _json_rows(lines: _Lines, column: str, template: Template | None) -> Iterator[Row]:
    for number, line in lines:
        if not line.strip():
            continue
        try:
            found = json.loads(line, parse_constant=_refuse_constant, parse_float=_finite_number)
            if line.count("[") + line.count("{") > _DEEPEST and _depth(found) > _DEEPEST:
                raise ValueError(f"nested more than {_DEEPEST} levels deep")
        except json.JSONDecodeError as error:
            raise _BadRowError(number, f"not JSON ({error.msg}, character {error.colno})") from None
        except (ValueError, RecursionError) as error:
            raise _BadRowError(number, f"not JSON ({error})") from None
        if isinstance(found, str):
            yield Row(number, _checked(number, found if template is None else _filled(number, template, {"line": found})))
        elif isinstance(found, dict):
            yield Row(number, _checked(number, _json_prompt(number, found, column, template)), found.get("id"))
        else:
            raise _BadRowError(number, "neither an object nor a string")


def _refuse_constant(word: str) -> NoReturn:
    raise ValueError(f"{word} is not JSON: write null, or a number")


def _finite_number(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise ValueError(f"{text} is too large for a number")
    return value


def _depth(value: Any) -> int:
    depth, level = 0, [value]
    while level:
        depth += 1
        level = [part for found in level for part in _inside(found)]
    return depth


def _inside(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


def _json_prompt(line: int, row: Mapping[str, Any], column: str, template: Template | None) -> Any:
    if template is not None:
        return _filled(line, template, row)
    for key in (column, "messages"):
        if key in row:
            return row[key]
    raise _BadRowError(line, f"neither {column!r} nor 'messages' in it; there is {', '.join(map(repr, row)) or 'nothing'}")


def _filled(line: int, template: Template, values: Mapping[str, Any]) -> str:
    try:
        return template.fill(values)
    except ValueError as error:
        raise _BadRowError(line, str(error)) from None


def _checked(line: int, prompt: Any) -> Prompt:
    """Return the prompt if it is one."""
    if isinstance(prompt, str):
        if not prompt.strip():
            raise _BadRowError(line, "the prompt is empty")
        return prompt
    try:
        as_messages(prompt)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise _BadRowError(line, f"this is no prompt: {error}") from None
    return cast("Prompt", prompt)


_READERS: Mapping[str, Callable[[_Lines, str, Template | None], Iterator[Row]]] = {
    "txt": _text_rows,
    "csv": _csv_rows,
    "jsonl": _json_rows,
}
