"""How is a compressed body read? What `Content-Encoding` names is decoded piece by piece, in bounded memory (RFC 9110, 8.4).

We ask for no compression, but some gateways compress anyway, name a coding that they did not apply, or join several
compressed parts. The first bytes decide; the header only if they are unclear.
"""

from __future__ import annotations

import http.client
import zlib
from collections.abc import Iterable, Iterator
from itertools import chain

from responder.values.errors import InvalidResponseError
from responder.wire.oversize import too_large

# Bytes returned at a time, however many a compressed piece expands to.
_PIECE = 256 * 1024

# More codings on top of each other are an attack: each can multiply the work of the one below it by a thousand.
_MOST_CODINGS = 5

# A body that begins with this many printable characters is text. A compressed one does so once in several million times.
_TEXT_START = 16
_PRINTABLE = bytes(range(0x20, 0x7F)) + b"\t\n\r"

_BOM = b"\xef\xbb\xbf"

_GZIP_MAGIC = b"\x1f\x8b"
_GZIP, _ZLIB, _RAW = zlib.MAX_WBITS | 16, zlib.MAX_WBITS, -zlib.MAX_WBITS


def codings_in(header: str) -> list[str]:
    """Return the codings that a `Content-Encoding` names, in the order in which they were applied; `identity` is none.

    Raises:
        InvalidResponseError: It names more than five.
    """
    names = [name.strip().lower() for name in header.split(",")]
    codings = [name for name in names if name not in ("", "identity")]
    if len(codings) > _MOST_CODINGS:
        raise InvalidResponseError(f"the reply names {len(codings)} content codings on top of each other: {header[:80]!r}")
    return codings


def decoded(pieces: Iterator[bytes], codings: list[str], most: int) -> Iterator[bytes]:
    """Yield the decoded body in non-empty pieces, as soon as possible.

    Args:
        pieces: The body as it came.
        codings: As from `codings_in`.
        most: The most bytes that may come out of any one coding.

    Raises:
        InvalidResponseError: A coding is unknown here, or the result is too large.
        http.client.IncompleteRead: The body ends within compressed data.
        zlib.error: The compressed data is damaged.
    """
    for coding in reversed(codings):
        pieces = _bounded(_without(coding, pieces), most)
    return pieces


def _bounded(pieces: Iterator[bytes], most: int) -> Iterator[bytes]:
    left = most
    for piece in pieces:
        left -= len(piece)
        if left < 0:
            raise too_large("the decompressed body of the reply", "decompressed", most)
        yield piece


def _without(coding: str, pieces: Iterator[bytes]) -> Iterator[bytes]:
    start = b""
    window: int | None = None
    for piece in pieces:
        start += piece
        if _is_decided(coding, start):
            break
    if start:
        window = _window(coding, start)
        rest = chain([start], pieces)
        yield from rest if window is None else _inflated(rest, window)


def _is_decided(coding: str, start: bytes) -> bool:
    """Return whether these first bytes show how the body is compressed."""
    if len(start) >= _TEXT_START or not _is_text(start):
        return len(start) > 1
    return len(start) > 1 and (coding in ("gzip", "x-gzip") or _is_zlib(coding, start))


def _window(coding: str, start: bytes) -> int | None:
    """Return what `zlib` calls the format of a body, by its first bytes; None for one that is not compressed at all."""
    if coding in ("gzip", "x-gzip", "deflate"):
        if start.startswith(_GZIP_MAGIC):
            return _GZIP
        if _is_zlib(coding, start):
            return _ZLIB
        if coding != "deflate":
            return None
    if _is_text(start[:_TEXT_START]):
        return None
    if coding == "deflate":
        return _RAW  # without the header that the standard requires, as old servers send it
    raise InvalidResponseError(
        f"the reply is compressed as {coding[:40]!r}, which is not supported, and we asked for no compression. Have the "
        "gateway send it plain or as gzip (extra_headers={'Accept-Encoding': 'identity'} may help)",
        retryable=False,
    )


def _is_zlib(coding: str, start: bytes) -> bool:
    # RFC 1950: method 8, a window of at most 32 KB, and a check that makes the first two bytes a multiple of 31.
    if coding not in ("gzip", "x-gzip", "deflate") or len(start) < 2:
        return False
    return start[0] & 0x0F == 8 and start[0] >> 4 <= 7 and (start[0] << 8 | start[1]) % 31 == 0


def _is_text(start: bytes) -> bool:
    return _BOM.startswith(start) or not start.removeprefix(_BOM).translate(None, _PRINTABLE)


def _inflated(pieces: Iterable[bytes], window: int) -> Iterator[bytes]:
    """Yield what gzip or deflate hold. A gzip body may have several members; what follows the last one is padding."""
    inflater = zlib.decompressobj(window)
    has_ended = False  # the current member, or the whole body
    behind = b""  # what follows a member, while too short to tell whether it is the next one
    for piece in pieces:
        data = behind + piece
        behind = b""
        while data:
            if has_ended:
                data = data.lstrip(b"\0")
                if window != _GZIP or not _GZIP_MAGIC.startswith(data[:2]):
                    window, data = _RAW, b""  # browsers, too, ignore whatever this is
                    break
                if len(data) < 2:
                    behind = data
                    break
                inflater, has_ended = zlib.decompressobj(window), False
            full = True
            while full and not inflater.eof:
                made = inflater.decompress(data, _PIECE)
                data = inflater.unconsumed_tail
                full = bool(data) or len(made) == _PIECE  # the last bytes may wait inside, with no input left
                if made:
                    yield made
            if inflater.eof:
                has_ended, data = True, inflater.unused_data
    if not has_ended:
        raise http.client.IncompleteRead(b"")
