"""What does an input file ask? The rows of a txt, csv or jsonl file, all checked before the first one is used.

Every mistake is a ConfigurationError that names the file and the line.
"""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn, cast

from responder.cli.decoding import BadRowError, Lines, check_encoding, decoded, open_twice
from responder.cli.template import Template
from responder.values.errors import ConfigurationError
from responder.values.messages import Prompt, as_messages

FORMATS = ("txt", "csv", "tsv", "jsonl")
_ENDINGS = {".txt": "txt", ".csv": "csv", ".tsv": "tsv", ".jsonl": "jsonl", ".ndjson": "jsonl"}

_SPREADSHEET = "save it from the spreadsheet as CSV (in Excel: CSV UTF-8)"
_CONVERSIONS = {
    **dict.fromkeys((".xlsx", ".xls", ".xlsm", ".ods", ".numbers"), _SPREADSHEET),
    ".json": "write one object a line, as jq -c '.[]' does, and name it .jsonl (or add --format jsonl)",
    ".parquet": "write it as CSV first, as pandas.read_parquet(...).to_csv(...) does",
}
"""What to do with files that people have, and that are not read here, by their ending."""

# csv refuses cells of more than 131,072 characters by default; a prompt may be longer. A C long on Windows.
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
        values: All values in the row, by column or key.
    """

    line: int
    prompt: Prompt
    id: Any = None
    values: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)


@dataclass(slots=True)
class Reading:
    """How the rows of a file are read.

    Attributes:
        column: The column (csv) or key (jsonl) that holds the prompt.
        template: Makes the prompt from the row's values instead.
        delimiter: Separator of the cells of a csv file; None: by the format.
        encoding: Of the file.
        skip_empty: Skip rows whose prompt is empty, instead of refusing the file.
        what: What a row is to hold: a "prompt", or a "text", which no template makes.
        skipped: How many were left out.
    """

    column: str = "prompt"
    template: Template | None = None
    delimiter: str | None = None
    encoding: str = "utf-8"
    skip_empty: bool = False
    what: str = "prompt"
    skipped: int = 0

    @property
    def choices(self) -> str:
        """The options that say where it is."""
        return "--column and --template" if self.what == "prompt" else "--column"


class Rows:
    """The rows of a file: counted and checked once, then read again one by one. Never held in memory together.

    Args:
        path: The file; "-" is standard input, which is copied to a temporary file until it ends.
        form: "txt", "csv" or "jsonl"; None: by the file's extension, or else by its first line.
        check: Called with each prompt; the file's name and the line are added to what it raises.
        keywords: As `Reading` has them.

    Raises:
        ConfigurationError: The file cannot be read, or a row is invalid.
    """

    def __init__(
        self,
        path: str,
        form: str | None = None,
        *,
        check: Callable[[Prompt], object] | None = None,
        **keywords: Any,
    ) -> None:
        self.name = "standard input" if path == "-" else path
        self._reading = Reading(**keywords)
        check_encoding(self._reading.encoding)
        self._file = open_twice(path, self.name)
        try:
            self._form = form or self._guess(path)
            self._length = 0
            for row in self:
                if check is not None:
                    self._check(row, check)
                self._length += 1
            if not self._length and self.skipped:
                raise ConfigurationError(self._all_skipped())
        except BaseException:
            self.close()
            raise

    def _all_skipped(self) -> str:
        which = "the only row has no" if self.skipped == 1 else f"none of the {self.skipped} rows has a"
        return f"{self.name}: {which} {self._reading.what}: see {self._reading.choices}"

    def _check(self, row: Row, check: Callable[[Prompt], object]) -> None:
        try:
            check(row.prompt)
        except ConfigurationError as error:
            raise ConfigurationError(f"{self.name}, line {row.line}: {error}") from None
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise ConfigurationError(f"{self.name}, line {row.line}: this is not a prompt: {error}") from None

    def __len__(self) -> int:
        return self._length

    @property
    def skipped(self) -> int:
        """How many rows were left out because their prompt is empty."""
        return self._reading.skipped

    def remark(self) -> str:
        """Return what a person should know of the rows before they are sent; "" for nothing."""
        what = self._reading.what
        if not self._length:
            return f"{self.name} has no {what}s: nothing is sent"
        if not self.skipped:
            return ""
        return (
            f"1 row without a {what} was skipped" if self.skipped == 1 else f"{self.skipped} rows without a {what} were skipped"
        )

    def __iter__(self) -> Iterator[Row]:
        # One open file for both readings: replacing the file in the meantime does not change what was checked.
        self._file.seek(0)
        self._reading.skipped = 0
        try:
            yield from _READERS[self._form](decoded(self._file, self._reading.encoding), self._reading)
        except BadRowError as error:
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
        if ending in _CONVERSIONS:
            raise ConfigurationError(f"{self.name}: {ending} is not a format to read: {_CONVERSIONS[ending]}")
        if ending:
            raise ConfigurationError(
                f"{self.name}: {ending} does not say what is in it: add --format {' or --format '.join(FORMATS)}"
            )
        self._file.seek(0)
        try:
            first = next((text for _, text in decoded(self._file, self._reading.encoding) if text.strip()), "")
        except BadRowError as error:
            raise ConfigurationError(f"{self.name}, line {error.line}: {error}") from None
        try:
            return "jsonl" if isinstance(json.loads(first), (dict, str)) else "txt"
        except (ValueError, RecursionError):
            return "txt"


def _text_rows(lines: Lines, reading: Reading) -> Iterator[Row]:
    for number, line in lines:
        text = line.rstrip("\r\n")
        if text.strip():
            template = reading.template
            prompt = text if template is None else _filled(number, template, {"line": text})
            yield Row(number, prompt, values={"prompt": text})
        else:
            reading.skipped += reading.skip_empty


def _csv_rows(lines: Lines, reading: Reading) -> Iterator[Row]:
    yield from _table_rows(lines, reading, reading.delimiter or ",")


def _tsv_rows(lines: Lines, reading: Reading) -> Iterator[Row]:
    yield from _table_rows(lines, reading, reading.delimiter or "\t")


def _table_rows(lines: Lines, reading: Reading, delimiter: str) -> Iterator[Row]:
    csv.field_size_limit(_LONGEST_CELL)
    reader = csv.reader((line for _, line in lines), strict=True, delimiter=delimiter)
    header: Sequence[str] | None = None
    line = 1
    try:
        for cells in reader:
            if cells and header is None:
                header = _header(line, cells, reading)
            elif cells:
                row = _table_row(line, header or (), cells, reading)
                if row is not None:
                    yield row
            line = reader.line_num + 1
    except csv.Error as error:
        raise BadRowError(line, f"not CSV ({_in_plain_words(str(error))})") from None
    if header is None:
        raise BadRowError(1, "a csv file must begin with the names of its columns, and this one is empty")


def _in_plain_words(why: str) -> str:
    """Return what is wrong with a csv file; the csv module speaks to programmers."""
    if why.startswith("new-line character seen"):
        return "its lines end in CR alone: save it with the line ends of Windows or Unix"
    if why == "unexpected end of data":
        return "a quote that begins here is not closed"
    return why


def _header(line: int, names: Sequence[str], reading: Reading) -> Sequence[str]:
    names = [name.strip() for name in names]
    if names.count("") > 1:  # spreadsheets save columns that were once used, without a name
        names = [name or f"column {number}" for number, name in enumerate(names, 1)]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise BadRowError(line, f"there are two columns named {twice[0]!r}")
    lacking = reading.template.lacking(names) if reading.template is not None else _lacking(reading.column, names)
    if lacking is not None:
        found = next((mark for mark in ";\t|" if len(names) == 1 and mark in names[0]), None)
        what = f"no column {lacking!r}" if reading.template is None else f"--template needs {lacking!r}"
        advice = f"add {reading.choices.replace(' and ', ' or ')}" if found is None else f"add --delimiter {_SHELL_MARKS[found]}"
        advice = "" if reading.template is not None and found is None else f": {advice}"
        raise BadRowError(line, f"{what}; the columns are {', '.join(map(repr, names))}{advice}")
    return names


def _lacking(column: str, names: Sequence[str]) -> str | None:
    return None if column in names else column


_SHELL_MARKS = {";": "';'", "\t": "'\\t'", "|": "'|'"}


def _table_row(line: int, header: Sequence[str], cells: Sequence[str], reading: Reading) -> Row | None:
    if len(cells) != len(header):
        found = f"{len(cells)} cell{'' if len(cells) == 1 else 's'}"
        expected = f"there {'is 1 column' if len(header) == 1 else f'are {len(header)} columns'}"
        raise BadRowError(line, f"{found}, but {expected}: a cell that holds the delimiter needs quotes")
    values = dict(zip(header, cells, strict=True))
    if _is_left_out(reading, values, values.get(reading.column)):
        return None
    prompt = values[reading.column] if reading.template is None else _filled(line, reading.template, values)
    return Row(line, _checked(line, prompt, reading), values.get("id") or None, values)


def _is_left_out(reading: Reading, values: Mapping[str, Any], prompt: Any) -> bool:
    """Return whether a row is to be skipped, and count it then."""
    if not reading.skip_empty:
        return False
    if reading.template is not None:
        is_empty = reading.template.leaves_out(values)
    else:
        is_empty = prompt is None or (isinstance(prompt, str) and not prompt.strip())
    reading.skipped += is_empty
    return is_empty


def _json_rows(lines: Lines, reading: Reading) -> Iterator[Row]:
    for number, line in lines:
        if line.strip():
            row = _json_row(number, _parsed(number, line), reading)
            if row is not None:
                yield row


def _json_row(number: int, found: Any, reading: Reading) -> Row | None:
    if isinstance(found, str):
        values: Mapping[str, Any] = {"line": found}
        if _is_left_out(reading, values, found):
            return None
        prompt = found if reading.template is None else _filled(number, reading.template, values)
        return Row(number, _checked(number, prompt, reading), values={"prompt": found})
    if isinstance(found, dict):
        if _is_left_out(reading, found, found.get(reading.column, found.get("messages"))):
            return None
        return Row(number, _checked(number, _json_prompt(number, found, reading), reading), found.get("id"), found)
    advice = f": {_CONVERSIONS['.json']}" if isinstance(found, list) and number == 1 else ""
    raise BadRowError(number, f"neither an object nor a string{advice}")


def _parsed(number: int, line: str) -> Any:
    try:
        found = json.loads(line, parse_constant=_refuse_constant, parse_float=_finite_number)
        if line.count("[") + line.count("{") > _DEEPEST and _depth(found) > _DEEPEST:
            raise ValueError(f"nested more than {_DEEPEST} levels deep")
    except json.JSONDecodeError as error:
        if number == 1 and line.lstrip().startswith("["):
            raise BadRowError(number, f"one list over several lines: {_CONVERSIONS['.json']}") from None
        raise BadRowError(number, f"not JSON ({error.msg}, character {error.colno})") from None
    except RecursionError:
        raise BadRowError(number, f"not JSON (nested more than {_DEEPEST} levels deep)") from None
    except ValueError as error:
        raise BadRowError(number, f"not JSON ({error})") from None
    return found


_JSON_NAMES = {type(None): "null", bool: "true or false", int: "a number", float: "a number"}


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


def _json_prompt(line: int, row: Mapping[str, Any], reading: Reading) -> Any:
    if reading.template is not None:
        return _filled(line, reading.template, row)
    for key in (reading.column, "messages"):
        if key in row:
            return row[key]
    raise BadRowError(line, f"neither {reading.column!r} nor 'messages' in it; there is {', '.join(map(repr, row)) or 'nothing'}")


def _filled(line: int, template: Template, values: Mapping[str, Any]) -> str:
    try:
        return template.fill(values)
    except ValueError as error:
        raise BadRowError(line, str(error)) from None


def _checked(line: int, prompt: Any, reading: Reading) -> Prompt:
    """Return the prompt if it is one."""
    if isinstance(prompt, str):
        if not prompt.strip():
            raise BadRowError(line, f"the {reading.what} is empty: fill it in, or add --skip-empty")
        return prompt
    if not isinstance(prompt, (list, dict)):
        more = ", or a list of messages" if reading.what == "prompt" else ""
        raise BadRowError(line, f"the {reading.what} is {_JSON_NAMES[type(prompt)]}: it must be a string{more}")
    try:
        as_messages(prompt)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise BadRowError(line, f"this is not a prompt: {error}") from None
    return cast("Prompt", prompt)


_READERS: Mapping[str, Callable[[Lines, Reading], Iterator[Row]]] = {
    "txt": _text_rows,
    "csv": _csv_rows,
    "tsv": _tsv_rows,
    "jsonl": _json_rows,
}
