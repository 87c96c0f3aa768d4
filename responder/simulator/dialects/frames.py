"""How does an event travel in Amazon's event streams? In a binary frame with two checksums.

Source: Amazon's description of the framing, https://docs.aws.amazon.com/AmazonS3/latest/API/RESTSelectObjectAppendix.html, and
the service model of bedrock-runtime (read 2026-11).
"""

from __future__ import annotations

import struct
import zlib
from typing import Any

from responder.simulator.reply import encode, to_bytes

FRAMES_TYPE = "application/vnd.amazon.eventstream"

_TEXT = 7
# What Bedrock pads its events with, so that their lengths say nothing of what is in them.
_PADDING = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"


def event_frame(name: str, payload: dict[str, Any], number: int = 0) -> bytes:
    """Return the frame of an event.

    Args:
        name: The event's type.
        payload: What it says.
        number: Decides how much padding is added.
    """
    padded = {**payload, "p": _PADDING[: 2 + number * 7 % 60]}
    return _frame({":event-type": name, ":content-type": "application/json", ":message-type": "event"}, padded)


def exception_frame(name: str, message: str) -> bytes:
    """Return the frame that breaks a stream off."""
    return _frame(
        {":exception-type": name, ":content-type": "application/json", ":message-type": "exception"}, {"message": message}
    )


def _frame(headers: dict[str, str], payload: dict[str, Any]) -> bytes:
    head = b"".join(
        bytes([len(name)]) + name.encode() + bytes([_TEXT]) + struct.pack(">H", len(value)) + value.encode()
        for name, value in headers.items()
    )
    body = to_bytes(encode(payload))
    start = struct.pack(">II", len(head) + len(body) + 16, len(head))
    whole = start + struct.pack(">I", zlib.crc32(start)) + head + body
    return whole + struct.pack(">I", zlib.crc32(whole))
