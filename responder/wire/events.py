"""Where does one event end? From the bytes of a body, cut anywhere, to whole events: server-sent events, and JSON one by one.

https://html.spec.whatwg.org/multipage/server-sent-events.html, with what providers do beside it: an end of the body without
the last blank line, an `event:` line after its `data:` line, and an error as bare JSON in the middle of a stream.
Works on bytes: a character may be cut, and U+2028 is no line end. Time is linear in the number of bytes, however they are cut.
"""

from __future__ import annotations

import json
import re
from typing import Protocol

Event = tuple[str, bytes]
"""The event's name ("" without one), and its data: JSON text as UTF-8, or a word such as [DONE]."""

_BOM = b"\xef\xbb\xbf"
_FIELDS = (b"", b"data", b"event", b"id", b"retry")  # a comment has no name
_STRUCTURE = re.compile(rb'[{}\[\]"\\]')


class Decoder(Protocol):
    """Cuts a body into events."""

    def feed(self, data: bytes) -> list[Event]:
        """Take the next bytes and return the events that they complete."""

    def close(self) -> list[Event]:
        """Return what is whole, though unfinished, at the end of the body."""


class BodyDecoder:
    """Decodes a body by what it starts with, because content types lie: JSON with a brace or a bracket, else events."""

    def __init__(self) -> None:
        self._start = b""
        self._decoder: Decoder | None = None

    def feed(self, data: bytes) -> list[Event]:
        """Take the next bytes and return the events that they complete."""
        if self._decoder is not None:
            return self._decoder.feed(data)
        self._start += data
        if _BOM.startswith(self._start):
            return []
        begin = self._start.removeprefix(_BOM).lstrip()
        if not begin:
            self._start = self._start[:3] if self._start.startswith(_BOM) else b""
            return []
        self._decoder = JSONDecoder() if begin[:1] in b"{[" else EventDecoder()
        return self._decoder.feed(begin)

    def close(self) -> list[Event]:
        """Return what is whole, though unfinished, at the end of the body."""
        return self._decoder.close() if self._decoder is not None else []

    @property
    def stray(self) -> bytes:
        """The lines of a body without any event: a page, most likely; b"" for events, JSON, and what was cut too early to say."""
        return self._decoder.stray if isinstance(self._decoder, EventDecoder) else b""


class EventDecoder:
    """Server-sent events."""

    def __init__(self) -> None:
        self._partial: list[bytes] = []  # the pieces of a line that has not ended
        self._after_return = False  # the last byte was a CR: a LF that follows belongs to it
        self._name = ""
        self._data: list[bytes] = []
        self._strays: list[bytes] = []  # lines of no field, which may be an error as bare JSON
        self._has_events = False

    def feed(self, data: bytes) -> list[Event]:
        """Take the next bytes and return the events that they complete."""
        if self._after_return and data:
            self._after_return = False
            if data[:1] == b"\n":
                data = data[1:]
        if b"\r" in data:
            self._after_return = data.endswith(b"\r")
            data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        if b"\n" not in data:
            if data:
                self._partial.append(data)
            return []
        lines = data.split(b"\n")
        if self._partial:
            self._partial.append(lines[0])
            lines[0] = b"".join(self._partial)
            self._partial = []
        rest = lines.pop()
        if rest:
            self._partial.append(rest)
        events: list[Event] = []
        for line in lines:
            if line[:6] == b"data: ":
                self._data.append(line[6:])
            elif not line:
                if self._data:
                    events.append((self._name, self._data[0] if len(self._data) == 1 else b"\n".join(self._data)))
                    self._data = []
                self._name = ""
            else:
                self._field(line)
        if events:
            self._has_events = True
        return events

    def _field(self, line: bytes) -> None:
        name, _, value = line.partition(b":")
        if value[:1] == b" ":
            value = value[1:]
        if name == b"data":
            self._data.append(value)
        elif name == b"event":
            self._name = value.decode("utf-8", "replace")
        elif name == b"error":  # some servers write their error as a field of its own
            self._name = "error"
            self._data.append(value)
        elif name not in _FIELDS:
            self._strays.append(line)

    @property
    def stray(self) -> bytes:
        """As `BodyDecoder.stray`."""
        if self._has_events or self._data:
            return b""
        lines = b"\n".join(self._strays)
        return b"" if any(field.startswith(lines) for field in _FIELDS) else lines

    def close(self) -> list[Event]:
        """Return the last event where its JSON is complete, and an error that came as bare JSON."""
        events = self.feed(b"\n") if self._partial else []
        if self._data:
            data = b"\n".join(self._data)
            if _is_json(data) or data.startswith(b"[DONE]"):
                events.append((self._name, data))
        stray = b"\n".join(self._strays)
        if stray and _is_json(stray):
            events.append(("error", stray))
        return events


class JSONDecoder:
    """JSON objects one after another: an array that arrives in pieces, a line each, or a single one."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []  # of the object that has begun
        self._depth = 0
        self._in_string = False
        self._escaped = False

    def feed(self, data: bytes) -> list[Event]:
        """Take the next bytes and return the objects that they complete."""
        events: list[Event] = []
        begin = 0  # of the current object's part of `data`
        skip_until = 0
        if self._escaped and data:
            self._escaped = False
            skip_until = 1
        for found in _STRUCTURE.finditer(data):
            at = found.start()
            if at < skip_until:
                continue
            sign = data[at : at + 1]
            if self._in_string:
                if sign == b"\\":
                    skip_until = at + 2
                    self._escaped = skip_until > len(data)
                elif sign == b'"':
                    self._in_string = False
            elif sign == b'"':
                self._in_string = self._depth > 0
            elif sign in b"{[" and (self._depth or sign == b"{"):
                if not self._depth:
                    begin = at
                self._depth += 1
            elif sign in b"}]" and self._depth:
                self._depth -= 1
                if not self._depth:
                    self._pieces.append(data[begin : at + 1])
                    events.append(("", b"".join(self._pieces)))
                    self._pieces = []
        if self._depth:
            self._pieces.append(data[begin:] if not self._pieces or begin else data)
        return events

    def close(self) -> list[Event]:
        """Return nothing: an object that was cut is none."""
        return []


def _is_json(data: bytes) -> bool:
    try:
        json.loads(data)
    except (ValueError, RecursionError):
        return False
    return True
