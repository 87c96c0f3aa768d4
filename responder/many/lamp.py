"""Does a run go on, and how many of its prompts have failed? A file tells all processes of this machine."""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path


class Lamp:
    """A file that is there as long as its run goes on; each failed prompt makes it one byte longer.

    Args:
        path: The file.
    """

    def __init__(self, path: str) -> None:
        self.path = path

    @classmethod
    def light(cls) -> Lamp:
        """Make the file of a new run."""
        handle, path = tempfile.mkstemp(prefix="responder-run-")
        os.close(handle)
        return cls(path)

    def put_out(self) -> None:
        """End the run's calls in the workers; does nothing the second time."""
        with contextlib.suppress(OSError):
            Path(self.path).unlink()

    def failures(self) -> int | None:
        """Return how many prompts have failed; None when the run has ended."""
        try:
            return Path(self.path).stat().st_size
        except OSError:
            return None

    def count(self, failures: int) -> None:
        """Add failed prompts. Processes may do so at the same time: each appends."""
        with contextlib.suppress(OSError):  # the run has ended
            # Not through a link: once the run has ended, anybody may give its name to something else.
            handle = os.open(self.path, os.O_WRONLY | os.O_APPEND | getattr(os, "O_NOFOLLOW", 0))
            try:
                os.write(handle, b"." * failures)
            finally:
                os.close(handle)
