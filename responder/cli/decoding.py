"""Which lines of text does an input file hold? In its encoding, and readable twice, even if it is a pipe."""

from __future__ import annotations

import codecs
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, TypeAlias, cast

from responder.cli.terminal import source
from responder.values.errors import ConfigurationError

Lines: TypeAlias = Iterator[tuple[int, str]]


class BadRowError(ValueError):
    """A row that cannot be used; the caller, who knows the file's name, turns it into a ConfigurationError."""

    def __init__(self, line: int, why: str) -> None:
        super().__init__(why)
        self.line = line


def open_twice(path: str, name: str) -> BinaryIO:
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


def check_encoding(name: str) -> None:
    """Refuse an encoding that Python does not have.

    Raises:
        ConfigurationError: It is unknown, or not an encoding of text.
    """
    try:
        "".encode(name)
    except (LookupError, ValueError):
        raise ConfigurationError(
            f"--encoding {name} is unknown; use one such as utf-8, cp932 (Excel in Japan), cp1252 or utf-16"
        ) from None


def decoded(file: BinaryIO, encoding: str) -> Lines:
    """Yield the lines of a file with their numbers, from 1, and their ends.

    Raises:
        BadRowError: A line is not in the encoding.
    """
    decoder = codecs.getincrementaldecoder("utf-8-sig" if _is_utf_8(encoding) else encoding)()
    number, held = 1, ""
    for content in file:  # up to the next byte 10, which in UTF-16 may be a part of a character
        try:
            held += decoder.decode(content)
        except UnicodeDecodeError as error:
            raise BadRowError(number, _not_encoded(encoding, error)) from None
        while "\n" in held:
            line, _, held = held.partition("\n")
            yield number, line + "\n"
            number += 1
    try:
        held += decoder.decode(b"", final=True)
    except UnicodeDecodeError as error:
        raise BadRowError(number, _not_encoded(encoding, error)) from None
    if held:
        yield number, held


def _is_utf_8(encoding: str) -> bool:
    return codecs.lookup(encoding).name in ("utf-8", "utf-8-sig")


def _not_encoded(encoding: str, error: UnicodeDecodeError) -> str:
    if not _is_utf_8(encoding):
        return f"not {encoding} text: add the --encoding that the file was saved in"
    return (
        f"not UTF-8 text (byte {error.start + 1} of the line): save the file as UTF-8, or add its --encoding, "
        "such as cp932 (Excel in Japan), cp1252 or utf-16"
    )
