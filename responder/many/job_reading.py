"""What do the lines of a batch's results say, and of which prompts? Each is joined by its name and kept, whatever their order."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from responder.call.asker import Source
from responder.call.batch_form import BatchForm
from responder.many.job_file import JobFile
from responder.many.job_results import read_name
from responder.many.job_rows import Found, Part
from responder.values.bounds import Bounds
from responder.values.deadline import NEVER

# Lines that are kept in one commit, and their bytes.
_TOGETHER, _BYTES_TOGETHER = 200, 8_000_000


class Reader:
    """Takes in the lines of a batch's results, whatever their order, and keeps them some at a time.

    Args:
        source: Who was asked.
        form: What a line looks like.
        file: Where the results are kept.
        part: The batch.
        nonce: What marks its lines; "" for a batch that is known only from its lines: then they are all taken in.
        found: Returns what a line says: from source, outcome, question, place, and what takes the key out of JSON.
    """

    def __init__(
        self, source: Source, form: BatchForm, file: JobFile, part: Part, nonce: str, found: Callable[..., Found]
    ) -> None:
        self._found = found
        self._source = source
        self._form = form
        self._file = file
        self._part = part
        self._nonce = nonce
        self._held: list[Found] = []
        self._mine = self._others = self._bytes = 0

    @property
    def is_foreign(self) -> bool:
        """True when there were lines, and none of them was of this batch."""
        return self._others > 0 and not self._mine

    def take(self, line: Any) -> None:
        """Take in a line: parsed JSON, or its bytes. What cannot be read says nothing of any prompt."""
        if isinstance(line, bytes):
            self._bytes += len(line)
            line = _parsed(line)
        outcome = self._form.outcome(line) if isinstance(line, dict) else None
        if outcome is None:
            return
        name = read_name(outcome.name)
        if name is None or (self._nonce and name[2] != self._nonce):
            self._others += 1
            return
        self._mine += 1
        question, place, _ = name
        self._held.append(self._found(self._source, outcome, question, place, self._masked))
        if len(self._held) >= _TOGETHER or self._bytes > _BYTES_TOGETHER:
            self.flush()

    def _masked(self, value: Any) -> Any:
        return self._source.endpoint.masked(value, Bounds(self._source.timeout, NEVER, None))

    def flush(self) -> None:
        """Keep what was taken in."""
        held, self._held, self._bytes = self._held, [], 0
        if held:
            self._file.keep(self._part, held, adds=not self._nonce)


def _parsed(line: bytes) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None
