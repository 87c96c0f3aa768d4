"""How is a page written to its file? Whole or not at all, and readable by its owner only."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from responder.report.page import page
from responder.report.record import Recorded
from responder.values.errors import ConfigurationError


def check(path: str | os.PathLike[str]) -> Path:
    """Return the file of a page, if it can be written.

    Raises:
        ConfigurationError: There is no such folder, it is not writable, or something else has that name.
    """
    file = Path(path)
    if "\0" in str(file):
        raise ConfigurationError(f"cannot write the report to {str(file)!r}: no file's name holds a NUL")
    if file.exists() and not file.is_file():
        raise ConfigurationError(f"cannot write the report to {file}: it is not a file")
    if not file.parent.is_dir():
        raise ConfigurationError(f"cannot write the report to {file}: there is no folder {file.parent}")
    if not os.access(file.parent, os.W_OK | os.X_OK):
        raise ConfigurationError(f"cannot write the report to {file}: the folder {file.parent} is not writable")
    return file


def write(path: str | os.PathLike[str], source: Recorded) -> str:
    """Write the page of a run, whole or not at all, and return it; a file that is there is replaced. Its owner alone can read it.

    Raises:
        ConfigurationError: It cannot be written.
    """
    file = check(path)
    text = page(source.record())
    try:
        with replacing(file) as draft:
            draft.write(text.encode())
    except OSError as error:
        raise ConfigurationError(f"cannot write the report to {file}: {error.strerror or error}") from error
    return text


@contextlib.contextmanager
def replacing(file: Path) -> Iterator[BinaryIO]:
    """Give a file to write to, which takes the place of `file` at the end; an exception leaves that as it was."""
    # An unguessable name, created exclusively: a link planted there is never followed.
    descriptor, draft = tempfile.mkstemp(prefix=f".{file.name}.", dir=file.parent)
    try:
        try:
            opened = open(descriptor, "wb")  # noqa: PTH123, SIM115 - a descriptor, not a path, and closed by the `with` below
        except BaseException:
            os.close(descriptor)
            raise
        with opened:
            yield opened
        Path(draft).replace(file)
    except BaseException:
        with contextlib.suppress(OSError):
            Path(draft).unlink(missing_ok=True)
        raise
