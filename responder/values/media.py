"""Pictures, sounds, videos and files: where are their bytes, and how do they get into a request?

A path is read when its request is built, in the thread that sends it, and its bytes end with the request. While a request is
built (`Inlined`), the base64 of a part is a short token in its place: the bytes are put in when all else is JSON, so that
nobody searches megabytes of base64 for quotes.
"""

from __future__ import annotations

import base64
import os
import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeVar

from responder.values.media_types import media_type_of

M = TypeVar("M", bound="Media")

_URL = re.compile(r"(?:https?|gs|s3)://", re.IGNORECASE)

# In a body it stands where the bytes come, and no text of a user can hold it.
_TOKEN = f"base64-{os.urandom(16).hex()}-"
_PLACES = re.compile(rf"{_TOKEN}(\d+);".encode())

# What a part counts when a request is estimated, in bytes: providers bill a picture as some hundred to some thousand tokens,
# whatever its bytes.
COUNTED_BYTES = 4_000


@dataclass(frozen=True, slots=True, init=False)
class Media:
    """Bytes, a path, a URL or the id of an uploaded file, and what they are.

    Attributes:
        data: The bytes themselves.
        url: Where the provider finds them (https, or gs:// on Vertex).
        path: Where they are on this machine; read when the request is built.
        file_id: The provider's id of an uploaded file.
        media_type: MIME type, such as "image/png".
        name: File name, where a provider wants one.
    """

    default_type: ClassVar[str] = "application/octet-stream"

    data: bytes | None = field(repr=False)
    url: str | None
    path: str | None
    file_id: str | None
    media_type: str
    name: str

    def __init__(
        self,
        source: str | os.PathLike[str] | bytes | None = None,
        url: str | None = None,
        media_type: str = "",
        name: str = "",
        *,
        data: bytes | None = None,
        path: str | os.PathLike[str] | None = None,
        file_id: str | None = None,
    ) -> None:
        """Say where the bytes are, in one way.

        Args:
            source: A path, a URL (https://, http://, gs://, data:), or the bytes.
            url: Where the provider finds them.
            media_type: MIME type; "": by the ending of the path or URL, else the usual one of the class.
            name: File name; "": that of the path.
            data: The bytes.
            path: A path, whatever it looks like.
            file_id: The provider's id of an uploaded file.

        Raises:
            ValueError: None of them, or more than one.
        """
        ways: dict[str, Any] = {"data": data, "url": url, "path": path, "file_id": file_id}
        kind = _kind_of(source) if source is not None else ""
        given = [name for name, value in ways.items() if value is not None] + ([kind] if kind else [])
        if len(given) != 1:
            raise ValueError(f"{type(self).__name__} takes a path, a URL, data= (bytes) or file_id=, one of them")
        if kind:
            ways[kind] = source
        data, url, path, file_id = ways["data"], ways["url"], ways["path"], ways["file_id"]
        if url is not None and url[:5].lower() == "data:" and ";base64," in url:
            said, data = _decoded(url)
            url, media_type = None, media_type or said
        place = None if path is None else os.fspath(path)
        known = place or (url.partition("?")[0] if url is not None else "")
        guessed = media_type_of(known.rpartition("/")[2]) if known else None
        unknown = "application/octet-stream" if place is not None else self.default_type
        self._fill(
            data=data if data is None else bytes(data),
            url=url,
            path=place,
            file_id=file_id,
            media_type=media_type or guessed or unknown,
            name=name or (os.path.split(place)[1] if place is not None else ""),
        )

    def _fill(self, **values: Any) -> None:
        for name, value in values.items():
            object.__setattr__(self, name, value)

    @classmethod
    def from_path(cls: type[M], path: str | os.PathLike[str]) -> M:
        """Read a file now, and keep its bytes; `Image(path)` and its like read it when it is sent."""
        made = cls(path=path)
        with open(path, "rb") as file:  # noqa: PTH123 - pathlib takes a twentieth of our import time
            return cls(data=file.read(), media_type=made.media_type, name=made.name)

    @property
    def is_inline(self) -> bool:
        """True when the bytes go into the request: they are at hand, or on this machine."""
        return self.data is not None or self.path is not None

    def read(self) -> bytes:
        """Return the bytes.

        Raises:
            OSError: The file cannot be read.
            ValueError: There are none here, but at a URL or with the provider; or the file is empty.
        """
        if self.data is not None:
            return self.data
        if self.path is None:
            raise ValueError(f"the bytes of {self!r} are not on this machine")
        inlined: Inlined | None = getattr(_building, "inlined", None)
        with open(self.path, "rb") as file:  # noqa: PTH123 - as above
            size = os.fstat(file.fileno()).st_size
            if inlined is not None:
                inlined.refuse_more_than_fits(self.path, size)
            data = file.read()
        if not data:
            raise ValueError(f"{self.path} is empty")
        return data

    @property
    def base64(self) -> str:
        """The bytes in the standard base64 alphabet, without line breaks."""
        inlined: Inlined | None = getattr(_building, "inlined", None)
        encoded = base64.b64encode(self.read())
        return encoded.decode("ascii") if inlined is None else inlined.place_of(encoded)

    @property
    def data_url(self) -> str:
        """The URL as given, or the bytes as a `data:` URL."""
        return self.url or f"data:{self.media_type};base64,{self.base64}"


@dataclass(frozen=True, slots=True, init=False)
class Image(Media):
    """A picture.

    Attributes:
        detail: How closely the model should look ("low", "high", "auto"), where the provider has such a word (OpenAI).
    """

    default_type: ClassVar[str] = "image/png"

    detail: str

    def __init__(
        self,
        source: str | os.PathLike[str] | bytes | None = None,
        url: str | None = None,
        media_type: str = "",
        name: str = "",
        detail: str = "",
        *,
        data: bytes | None = None,
        path: str | os.PathLike[str] | None = None,
        file_id: str | None = None,
    ) -> None:
        """Say where the picture is, as `File` does; `detail` says how closely to look."""
        Media.__init__(self, source, url, media_type, name, data=data, path=path, file_id=file_id)
        self._fill(detail=detail)


@dataclass(frozen=True, slots=True, init=False)
class Audio(Media):
    """A sound."""

    default_type: ClassVar[str] = "audio/wav"


@dataclass(frozen=True, slots=True, init=False)
class Video(Media):
    """A video, for the providers that look at one (Gemini, Vertex)."""

    default_type: ClassVar[str] = "video/mp4"


@dataclass(frozen=True, slots=True, init=False)
class File(Media):
    """A document, such as a PDF."""

    default_type: ClassVar[str] = "application/pdf"


_building = threading.local()


class Inlined:
    """The bytes of one request's parts, kept out of its JSON until the end. For one thread; a context manager.

    Args:
        largest: Bytes that the provider takes in a request; None: not known.
        provider: Who takes them, for the error.
    """

    def __init__(self, largest: int | None, provider: str) -> None:
        self._largest = largest
        self._provider = provider
        self._pieces: list[bytes] = []
        self._before: Any = None

    def __enter__(self) -> Inlined:
        self._before = getattr(_building, "inlined", None)
        _building.inlined = self
        return self

    def __exit__(self, *_: object) -> None:
        _building.inlined = self._before

    def place_of(self, encoded: bytes) -> str:
        """Keep a part's base64 and return what stands in its place."""
        self._pieces.append(encoded)
        return f"{_TOKEN}{len(self._pieces) - 1};"

    def refuse_more_than_fits(self, what: str, size: int) -> None:
        """Refuse a file, or a whole body, that is larger than the provider takes.

        Raises:
            ValueError: It is; the message says what to do.
        """
        if self._largest is not None and size > self._largest:
            raise ValueError(
                f"{what} has {size / 1e6:.1f} MB, and {self._provider} takes {self._largest / 1e6:g} MB in a request: make it "
                "smaller, give a URL, or upload it first (responder.upload)"
            )

    def whole(self, body: bytes) -> tuple[bytes, int]:
        """Return a body with the bytes in it, and the size that stands for it in estimates.

        Raises:
            ValueError: It is larger than the provider takes.
        """
        size = len(body)
        if self._pieces:
            parts = _PLACES.split(body)
            size += COUNTED_BYTES * (len(parts) // 2)
            parts[1::2] = [self._pieces[int(number)] for number in parts[1::2]]
            self.refuse_more_than_fits("this prompt", sum(map(len, parts)))
            body = b"".join(parts)
        return body, size


def _kind_of(source: Any) -> str:
    """Return which of our words a source belongs to."""
    if isinstance(source, (bytes, bytearray, memoryview)):
        return "data"
    return "url" if isinstance(source, str) and (_URL.match(source) or source[:5].lower() == "data:") else "path"


def _decoded(url: str) -> tuple[str, bytes]:
    """Return the type and the bytes of a `data:` URL."""
    media_type, _, encoded = url[len("data:") :].partition(";base64,")
    try:
        return media_type, base64.b64decode("".join(encoded.split()), validate=True)
    except ValueError as error:
        raise ValueError(f"the data URL is not base64: {error}") from None


def generated(kind: type[M], encoded: Any, media_type: Any = "") -> M | None:
    """Return what a model made, from the base64 in a reply; None where it is none."""
    if not isinstance(encoded, str) or not encoded:
        return None
    try:
        data = base64.b64decode(encoded)
    except ValueError:
        return None
    return kind(data=data, media_type=media_type if isinstance(media_type, str) and media_type else _looks_like(data))


# How files begin; the types that models make.
_BEGINNINGS: Mapping[bytes, str] = {
    b"\x89PNG": "image/png",
    b"\xff\xd8\xff": "image/jpeg",
    b"GIF8": "image/gif",
    b"RIFF": "audio/wav",
    b"ID3": "audio/mpeg",
    b"\xff\xfb": "audio/mpeg",
    b"\xff\xf3": "audio/mpeg",
    b"fLaC": "audio/flac",
    b"OggS": "audio/ogg",
}


def _looks_like(data: bytes) -> str:
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    return next((kind for beginning, kind in _BEGINNINGS.items() if data.startswith(beginning)), "")
