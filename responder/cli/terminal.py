"""How does text get to the person, or the program, that reads it? Any standard stream may be closed, missing, or not a terminal.

On a terminal, text from others is made harmless (see `responder.values.visible`); files and pipes get it as it is. What goes to
standard error is for people and always harmless; if there is none, nothing is written and nothing fails.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from typing import BinaryIO, TextIO

from responder.values.errors import ConfigurationError
from responder.values.visible import is_terminal, visible, visible_in_line


def say(text: str) -> None:
    """Write a line to standard error, for a person; if there is none, do nothing."""
    if sys.stderr is not None:
        with contextlib.suppress(OSError, ValueError, AttributeError):
            encoding = getattr(sys.stderr, "encoding", None) or "utf-8"
            sys.stderr.write(visible(text).encode(encoding, "backslashreplace").decode(encoding) + "\n")
            sys.stderr.flush()


class Warnings(logging.Handler):
    """Writes what the package logs to standard error, for a person."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record as one line."""
        say(f"{record.levelname.capitalize()}: {visible_in_line(record.getMessage())}")


def _bytes_of(stream: TextIO | None, otherwise: str) -> BinaryIO:
    """Return a standard stream for bytes, or raise an error that says what is the matter."""
    try:
        if stream is not None and not stream.closed:
            return stream.buffer
    except AttributeError:
        pass
    raise ConfigurationError(otherwise)


def output() -> BinaryIO:
    """Return standard output, for bytes.

    Raises:
        ConfigurationError: It is closed.
    """
    return _bytes_of(sys.stdout, "standard output is closed: there is nowhere to print the answer")


def discard_output() -> None:
    """Discard what Python still buffers for standard output: its flush at exit would fail again, with a traceback."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


def source() -> BinaryIO:
    """Return standard input, for bytes.

    Raises:
        ConfigurationError: It is closed.
    """
    return _bytes_of(sys.stdin, "standard input is closed: name a file, or pipe the text in")


def show(text: str, end: str = "\n") -> None:
    """Write a text to standard output, at once; harmless on a terminal, and as it is elsewhere.

    Raises:
        ConfigurationError: Standard output is closed.
        OSError: It cannot be written (the disk is full, or the reader is gone).
    """
    stream = output()
    shown = visible(text) if is_terminal(sys.stdout) else text
    stream.write((shown + end).encode("utf-8", "replace"))
    stream.flush()
