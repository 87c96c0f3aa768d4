"""How is FILE read? The options that `map`, `submit` and `embed` share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Generic, TypeVar

import click

from responder.cli.paths import FILE_PATH
from responder.cli.rows import FORMATS, Row, Rows
from responder.cli.template import Template
from responder.values.errors import ConfigurationError

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")

_FILE = click.argument("file", type=FILE_PATH)
_FORMAT = click.option("--format", "form", type=click.Choice(FORMATS), help="Format of FILE, whatever its extension.")
_TEMPLATE = click.option(
    "--template", metavar="TEXT", help='Make the prompt from a row\'s values: "Summarise: {text}"; {line} in txt.'
)
_DELIMITER = click.option("--delimiter", metavar="CHARACTER", help="Separator of a csv file, such as ';'.")
_ENCODING = click.option("--encoding", default="utf-8", show_default=True, help="Encoding of FILE, such as cp932 or utf-16.")

_KEYWORDS = ("column", "template", "delimiter", "encoding", "skip_empty")


def _column(what: str) -> Callable[[F], F]:
    text = f"Column (csv) or key (jsonl) that holds the {what}."
    return click.option("--column", default=what, show_default=True, help=text)


def _skip_empty(what: str) -> Callable[[F], F]:
    return click.option("--skip-empty", is_flag=True, help=f"Skip rows without a {what} instead of refusing FILE.")


def prompt_options(command: F) -> F:
    """Add the options of a file of prompts."""
    options = (_FORMAT, _column("prompt"), _TEMPLATE, _DELIMITER, _ENCODING, _skip_empty("prompt"))
    return _with(command, *options)


def text_options(command: F) -> F:
    """Add the options of a file of texts."""
    return _with(command, _FORMAT, _column("text"), _DELIMITER, _ENCODING, _skip_empty("text"))


def _with(command: F, *options: Callable[[F], F]) -> F:
    for option in reversed(options):
        command = option(command)
    return _FILE(command)


def reading_of(options: dict[str, Any]) -> dict[str, Any]:
    """Take the options of reading, those that a command has, out of its options; return them as `Rows` takes them.

    Raises:
        ConfigurationError: --template or --delimiter is invalid.
    """
    found: dict[str, Any] = {name: options.pop(name) for name in _KEYWORDS if name in options}
    if "template" not in found:
        found["what"] = "text"
    if found.get("template") is not None:
        found["template"] = Template(found["template"])
    if found.get("delimiter") is not None:
        found["delimiter"] = _one_character(found["delimiter"])
    return found


def _one_character(text: str) -> str:
    """Return the value of --delimiter.

    Raises:
        ConfigurationError: It cannot separate cells.
    """
    found = "\t" if text == "\\t" else text
    if len(found) != 1 or found in '\r\n"':
        raise ConfigurationError(f"--delimiter must be one character, such as ';' or '\\t', not {text!r}")
    return found


class Contents(Generic[T]):
    """What the rows of a file hold, in a number that is known from the start; read one by one, never in memory together.

    Args:
        rows: The file.
        of_row: Returns what is wanted of a row.
    """

    def __init__(self, rows: Rows, of_row: Callable[[Row], T]) -> None:
        self._rows = rows
        self._of_row = of_row

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[T]:
        return map(self._of_row, self._rows)


def text_of(row: Row) -> str:
    """Return the text of a row."""
    return str(row.prompt)
