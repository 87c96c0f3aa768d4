"""The body of a request that is mostly a file: read piece by piece as it is sent, never whole."""

from __future__ import annotations

import os
from collections.abc import Iterator

from responder.values.errors import ConfigurationError

# Bytes read at once.
_PIECE = 256 * 1024


class FileBody:
    """A file, and what stands before and behind it. Each iteration begins anew, for a repeat.

    Args:
        path: The file; its size is that of this moment.
        before: Bytes before it.
        after: Bytes behind it.

    Raises:
        OSError: It cannot be looked at.
    """

    def __init__(self, path: str | os.PathLike[str], before: bytes = b"", after: bytes = b"") -> None:
        self._path = path
        self._before = before
        self._after = after
        self.size = os.stat(path).st_size  # noqa: PTH116 - pathlib takes a twentieth of our import time

    def __len__(self) -> int:
        return len(self._before) + self.size + len(self._after)

    def __iter__(self) -> Iterator[bytes]:
        """Yield the body in pieces.

        Raises:
            OSError: The file cannot be read.
            ConfigurationError: It is shorter than it was.
        """
        if self._before:
            yield self._before
        left = self.size
        with open(self._path, "rb") as file:  # noqa: PTH123 - as above
            while left:
                piece = file.read(min(_PIECE, left))
                if not piece:
                    raise ConfigurationError(f"{os.fspath(self._path)} became shorter while it was sent")
                left -= len(piece)
                yield piece
        if self._after:
            yield self._after
