"""Where does one frame of Amazon's event streams end? From the bytes of a body, cut anywhere, to events of JSON.

https://docs.aws.amazon.com/AmazonS3/latest/API/RESTSelectObjectAppendix.html describes the same framing (read 2026-11).
"""

from __future__ import annotations

import base64
import binascii
import json
import struct
import zlib

# Length of all, length of the headers, and the checksum of these two; after the payload comes the checksum of everything.
_PRELUDE = struct.Struct(">III")
_CHECKSUM = struct.Struct(">I")
# Bytes; what Amazon's own client takes. A frame that says more of itself is none.
_LONGEST = 24 * 1024 * 1024 + 128 * 1024 + 16
# The length of a header's value by its type; None: two bytes before it say so.
_LENGTHS = {0: 0, 1: 0, 2: 1, 3: 2, 4: 4, 5: 8, 6: None, 7: None, 8: 8, 9: 16}

Event = tuple[str, bytes]


class FrameDecoder:
    """Binary frames. Each becomes an event whose JSON is `{"event type": payload}`; an exception becomes an "error" event.

    A frame whose checksum is wrong becomes an event that is no JSON, and ends the decoding: where the next one begins is unknown.
    """

    stray = b""

    def __init__(self) -> None:
        self._held = bytearray()
        self._is_broken = False

    def feed(self, data: bytes) -> list[Event]:
        """Take the next bytes and return the events that they complete."""
        held = self._held
        held += data
        events: list[Event] = []
        place = 0
        while not self._is_broken and len(held) - place >= _PRELUDE.size:
            total, head, checksum = _PRELUDE.unpack_from(held, place)
            if zlib.crc32(held[place : place + 8]) != checksum or not head + 16 <= total <= _LONGEST:
                self._is_broken = True
            elif len(held) - place < total:
                break
            elif zlib.crc32(held[place : place + total - 4]) != _CHECKSUM.unpack_from(held, place + total - 4)[0]:
                self._is_broken = True
            else:
                frame = bytes(held[place + _PRELUDE.size : place + total - 4])
                events.append(_event(_headers(frame[:head]), frame[head:]))
                place += total
                continue
            events.append(("", b"a frame of the stream is broken: its checksum is wrong"))
        del held[:place]
        return events

    def close(self) -> list[Event]:
        """Return nothing: a frame that is not whole says nothing."""
        return []


def _headers(data: bytes) -> dict[str, str]:
    """Return the headers that are texts; all that we read are."""
    found: dict[str, str] = {}
    place = 0
    try:
        while place < len(data):
            end = place + 1 + data[place]
            name = data[place + 1 : end].decode("utf-8", "replace")
            kind = data[end]
            place = end + 1
            length = _LENGTHS[kind]
            if length is None:
                length = int.from_bytes(data[place : place + 2], "big")
                place += 2
            if kind == 7:
                found[name] = data[place : place + length].decode("utf-8", "replace")
            place += length
    except (IndexError, KeyError):
        pass  # the checksum was right: a type of tomorrow, and what came before it counts
    return found


def _event(headers: dict[str, str], payload: bytes) -> Event:
    kind = headers.get(":message-type", "event")
    if kind == "event":
        name = headers.get(":event-type", "")
        if name == "chunk":
            return "", _inner(payload)
        return "", b"{%b:%b}" % (json.dumps(name).encode(), payload or b"{}")
    code = headers.get(":exception-type") or headers.get(":error-code") or kind
    try:
        body = json.loads(payload)
    except (ValueError, RecursionError):
        body = {}
    told = body.get("message") or body.get("Message") if isinstance(body, dict) else None
    message = told or headers.get(":error-message") or "the stream broke off"
    return "error", json.dumps({"error": {"code": code, "message": message}}).encode()


def _inner(payload: bytes) -> bytes:
    """Return the JSON inside a `chunk`: an event of the model's own form, in base64."""
    try:
        return base64.b64decode(json.loads(payload)["bytes"])
    except (ValueError, KeyError, TypeError, RecursionError, binascii.Error):
        return payload
