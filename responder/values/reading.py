"""How do we read JSON that may hold anything? Each function returns what was asked for, or an empty value of its type."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# A hundred million tokens: ten times the longest context that any model offers. Anything larger is a mistake, and
# believing it would use up a budget or hold up every later call.
LARGEST_COUNT = 100_000_000

_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


def as_dict(value: Any) -> Mapping[str, Any]:
    """Return a JSON object, or {} for anything else."""
    return value if isinstance(value, dict) else {}


def as_list(value: Any) -> list[Any]:
    """Return a JSON array, or [] for anything else."""
    return value if isinstance(value, list) else []


def as_str(value: Any) -> str:
    """Return a text, or "" for anything else."""
    return value if isinstance(value, str) else ""


def as_count(value: Any) -> int | None:
    """Return a count: a whole number from 0 to `LARGEST_COUNT`, also written as text or float; None for anything else."""
    if type(value) is int:  # nearly always
        return value if 0 <= value <= LARGEST_COUNT else None
    if isinstance(value, bool):
        return None
    if isinstance(value, str):
        value = int(value) if value.isdecimal() and len(value) < 19 else None
    if isinstance(value, (int, float)) and 0 <= value <= LARGEST_COUNT:  # NaN is neither
        return int(value)
    return None


def as_int(value: Any) -> int:
    """Return a count as `as_count` does, 0 where it is none."""
    return as_count(value) or 0


def as_index(value: Any) -> int | None:
    """Return a place in a list, also written as text or float; None for anything else, true and false included."""
    return as_count(value)


def first(values: list[Any]) -> Any:
    """Return the first element, or None of an empty list."""
    return values[0] if values else None


def whole(text: str) -> str:
    r"""Return a text that can be encoded: halves of a surrogate pair are joined, and a half alone becomes U+FFFD.

    JSON may write a character as two escapes (`\ud83d\ude00`), and a stream may cut it between them.
    """
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


class WholePieces:
    """Pieces of a text as they arrive: half of a surrogate pair waits for its other half, so each piece can be encoded."""

    __slots__ = ("_half", "_pieces")

    def __init__(self) -> None:
        self._half = ""
        self._pieces: list[str] = []

    def add(self, piece: str) -> str:
        """Take a piece and return the part of it that is complete."""
        if self._half or not piece.isascii():
            piece = self._half + piece
            self._half = ""
            if piece and "\ud800" <= piece[-1] <= "\udbff":
                self._half, piece = piece[-1], piece[:-1]
            piece = whole(piece)
        self._pieces.append(piece)
        return piece

    def end(self) -> str:
        """Return what was held back and will not be completed: U+FFFD for a half without its other half, else ""."""
        if not self._half:
            return ""
        self._half = ""
        self._pieces.append(_REPLACEMENT)
        return _REPLACEMENT

    @property
    def text(self) -> str:
        """All that came, joined."""
        return "".join(self._pieces) + (_REPLACEMENT if self._half else "")
