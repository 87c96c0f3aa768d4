"""Where does one event end? From the bytes of a body, cut anywhere, to whole events: server-sent events, and JSON one by one.

https://html.spec.whatwg.org/multipage/server-sent-events.html, with what providers do differently: an end of the body without
the last blank line, an `event:` line after its `data:` line, and an error as bare JSON in the middle of a stream.
Works on bytes: a character may be cut, and U+2028 is no line end. Time is linear in the number of bytes, however they are cut,
and what is kept in memory is bounded by `Sizes`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Protocol

from responder.values.sizes import Sizes, default_sizes
from responder.wire.frames import FrameDecoder
from responder.wire.oversize import too_large

Event = tuple[str, bytes]
"""The event's name ("" without one), and its data: JSON text as UTF-8, or a word such as [DONE]."""

_BOM = b"\xef\xbb\xbf"
_FIELDS = (b"", b"data", b"event", b"id", b"retry")  # a comment has no name
_STRUCTURE = re.compile(rb'[{}\[\]"\\]')


class Decoder(Protocol):
    """Cuts a body into events."""

    def feed(self, data: bytes) -> list[Event]:
        """Take the next bytes and return the events that they complete.

        Raises:
            InvalidResponseError: A line or an event is larger than its bound.
        """

    def close(self) -> list[Event]:
        """Return what is complete at the end of the body, even without its final blank line."""


class BodyDecoder:
    """Decodes a body by what it starts with, because content types lie: JSON with a brace or a bracket, else events."""

    def __init__(self, sizes: Sizes | None = None) -> None:
        """Prepare to decode; `sizes` bounds `event`, `line` and `stray` (None: those of the process)."""
        self._sizes = sizes or default_sizes()
        self._start: bytes | None = b""  # what may still become a byte order mark; None once that is known
        self._decoder: Decoder | None = None

    def feed(self, data: bytes) -> list[Event]:
        """Take the next bytes and return the events that they complete; raises as `Decoder.feed`."""
        decoder = self._decoder
        if decoder is not None:
            return decoder.feed(data)
        if self._start is not None:
            data = self._start + data
            if _BOM.startswith(data):
                self._start = data
                return []
            self._start = None
            data = data.removeprefix(_BOM)
        data = data.lstrip()
        if not data:
            return []
        if data[:1] == b"\0":  # the length of a frame of Amazon's
            self._decoder = FrameDecoder()
        else:
            self._decoder = JSONDecoder(self._sizes) if data[:1] in b"{[" else EventDecoder(self._sizes)
        return self._decoder.feed(data)

    def close(self) -> list[Event]:
        """Return what is complete at the end of the body, even without its final blank line."""
        return self._decoder.close() if self._decoder is not None else []

    @property
    def stray(self) -> bytes:
        """The lines of a body without any event: a page, most likely; b"" for events, JSON, and what was cut too early to say."""
        return self._decoder.stray if isinstance(self._decoder, EventDecoder) else b""


class EventDecoder:
    """Server-sent events."""

    def __init__(self, sizes: Sizes | None = None) -> None:
        """Prepare to decode; `sizes` bounds `event`, `line` and `stray` (None: those of the process)."""
        self._sizes = sizes = sizes or default_sizes()
        self._partial = bytearray()  # a line that has not ended
        self._after_return = False  # the last byte was a CR: a LF that follows belongs to it
        self._name = ""
        self._data: list[bytes] = []
        self._strays: list[bytes] = []  # lines of no field, which may be an error as bare JSON
        self._stray_size = 0
        self._has_events = False
        # Bytes that can come before a line or an event could be larger than its bound. Only then are their sizes checked.
        self._room = self._whole_room = min(sizes.event, sizes.line)

    def feed(self, data: bytes) -> list[Event]:
        """Take the next bytes and return the events that they complete; raises as `Decoder.feed`."""
        if self._after_return and data:
            self._after_return = False
            if data[:1] == b"\n":
                data = data[1:]
        if b"\r" in data:
            self._after_return = data.endswith(b"\r")
            data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        if b"\n" not in data:
            self._partial += data
            self._room -= len(data)
            if self._room < 0:
                self._check((), ())
            return []
        lines = data.split(b"\n")
        if self._partial:
            lines[0] = bytes(self._partial + lines[0])
            self._partial.clear()
        rest = lines.pop()
        if rest:
            self._partial += rest
        events: list[Event] = []
        parts = self._data
        for line in lines:
            if line[:6] == b"data: ":
                parts.append(line[6:])
            elif not line:
                if parts:
                    events.append((self._name, parts[0] if len(parts) == 1 else b"\n".join(parts)))
                    parts.clear()
                self._name = ""
            else:
                self._field(line, events)
        if len(data) > self._room:
            self._check(lines, events)
        elif rest or parts:
            self._room -= len(data)
        else:
            self._room = self._whole_room
        if events:
            self._has_events = True
        return events

    def _field(self, line: bytes, events: list[Event]) -> None:
        name, _, value = line.partition(b":")
        if value[:1] == b" ":
            value = value[1:]
        if name == b"data":
            self._data.append(value)
        elif name == b"event":
            self._name = value.decode("utf-8", "replace")
        elif name == b"error":  # some servers write their error as its own field
            if _is_json(value):
                events.append(("error", value))  # at once: no blank line may follow it
            else:
                self._name = "error"
                self._data.append(value)
        elif name not in _FIELDS:
            self._strays.append(line)
            self._stray_size += len(line)
            if self._stray_size > self._sizes.stray:
                raise too_large("the lines between the events of the stream", "stray", self._sizes.stray)

    def _check(self, lines: Iterable[bytes], events: Iterable[Event]) -> None:
        """Check the sizes of what is complete, and of what is kept."""
        sizes = self._sizes
        if len(self._partial) > sizes.line or any(len(line) > sizes.line for line in lines):
            raise too_large("a line of the stream", "line", sizes.line)
        kept = sum(map(len, self._data)) + max(0, len(self._data) - 1)
        if kept > sizes.event or any(len(data) > sizes.event for _, data in events):
            raise too_large("an event of the stream", "event", sizes.event)
        self._room = self._whole_room - len(self._partial) - kept

    @property
    def stray(self) -> bytes:
        """As `BodyDecoder.stray`."""
        if self._has_events or self._data:
            return b""
        lines = b"\n".join(self._strays)
        return b"" if any(field.startswith(lines) for field in _FIELDS) else lines

    def close(self) -> list[Event]:
        """Return the last event if its JSON is complete, and an error that came as bare JSON."""
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

    def __init__(self, sizes: Sizes | None = None) -> None:
        """Prepare to decode; `sizes` bounds `event` (None: that of the process)."""
        self._most = (sizes or default_sizes()).event
        self._object = bytearray()  # that has begun
        self._depth = 0
        self._in_string = False
        self._escaped = False

    def feed(self, data: bytes) -> list[Event]:
        """Take the next bytes and return the objects that they complete; raises as `Decoder.feed`."""
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
            sign = found[0]
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
                    piece = data[begin : at + 1]
                    if self._object or len(piece) > self._most:
                        self._keep(piece)
                        piece = bytes(self._object)
                        self._object.clear()
                    events.append(("", piece))
                    begin = at + 1
        if self._depth:
            self._keep(data[begin:])
        return events

    def _keep(self, piece: bytes) -> None:
        self._object += piece
        if len(self._object) > self._most:
            raise too_large("an object of the stream", "event", self._most)

    def close(self) -> list[Event]:
        """Return nothing: an object that was cut does not count."""
        return []


def _is_json(data: bytes) -> bool:
    try:
        json.loads(data)
    except (ValueError, RecursionError):
        return False
    return True
