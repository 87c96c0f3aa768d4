"""Of which requests is an upload made? What a dialect yields for one, and what it gets back. Pure values."""

from __future__ import annotations

import json
import os
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from typing import Any

from responder.values.errors import InvalidResponseError
from responder.values.media import File, Image, Media


@dataclass(frozen=True, slots=True)
class Sending:
    """One request of an upload.

    Attributes:
        url: Where it goes.
        headers: Beside the provider's own.
        before: The body before the file's bytes; the whole body where they are not sent.
        after: The body behind them.
        has_file: False for a request without the file.
        is_look: True for a question whether the file is ready, by GET; it is put some time after the request before.
    """

    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    before: bytes = b""
    after: bytes = b""
    has_file: bool = True
    is_look: bool = False


@dataclass(frozen=True, slots=True)
class Received:
    """What a provider answered to one request of an upload: headers (names in lower case) and JSON, mostly an object."""

    headers: Mapping[str, str]
    body: Any


Upload = Generator[Sending, Received, Media]
"""Yields the requests, is sent what was answered, and returns the part that stands for the uploaded file."""


def multipart(url: str, file: Media, fields: Mapping[str, str], headers: Mapping[str, str]) -> Sending:
    """Return the request that sends a file as a form does."""
    boundary = os.urandom(16).hex()
    parts = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n' for name, value in fields.items()
    ]
    name = file.name.translate({ord('"'): "%22", ord("\r"): "%0D", ord("\n"): "%0A"})
    parts.append(
        f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n'
        f"Content-Type: {file.media_type}\r\n\r\n"
    )
    made = {"Content-Type": f"multipart/form-data; boundary={boundary}", **headers}
    return Sending(url, made, "".join(parts).encode(), f"\r\n--{boundary}--\r\n".encode())


def refused(body: Mapping[str, Any], why: str) -> InvalidResponseError:
    """Return the error of an answer that does not say what an upload needs."""
    return InvalidResponseError(f"{why}: {json.dumps(body, default=str)[:300]}", body=dict(body))


def stands_for(file: Media, file_id: Any, body: Mapping[str, Any], kind: type[Media] | None = None) -> Media:
    """Return the part that stands for an uploaded file.

    Args:
        file: What was uploaded.
        file_id: The provider's id of it.
        body: The provider's answer, for the error.
        kind: What the part is; None: a picture is an Image, all else a File.

    Raises:
        InvalidResponseError: There is no id.
    """
    if not isinstance(file_id, str) or not file_id:
        raise refused(body, "there is no id of the file in the answer")
    kind = kind or (Image if file.media_type.startswith("image/") else File)
    return kind(file_id=file_id, media_type=file.media_type, name=file.name)
