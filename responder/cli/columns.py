"""How do several texts grow side by side on a terminal? Columns that are redrawn in place."""

from __future__ import annotations

import shutil
import sys
import unicodedata
from collections.abc import Sequence

from responder.values.visible import visible

_GAP = " │ "


class Columns:
    """Texts in columns under their titles; at most a screen of their ends while they grow, and all of them at the end."""

    def __init__(self, titles: Sequence[str]) -> None:
        self._titles = titles
        self._drawn = 0  # lines on the screen

    def show(self, texts: Sequence[str]) -> None:
        """Draw the texts as they are now."""
        height = shutil.get_terminal_size().lines
        self._draw(self._lines(texts, max(3, height - 4)))

    def finish(self, texts: Sequence[str]) -> None:
        """Draw the whole texts."""
        self._draw(self._lines(texts, None))

    def _draw(self, lines: list[str]) -> None:
        back = f"\x1b[{self._drawn}F\x1b[J" if self._drawn else ""
        sys.stdout.write(back + "".join(f"{line}\n" for line in lines))
        sys.stdout.flush()
        self._drawn = len(lines)

    def _lines(self, texts: Sequence[str], most: int | None) -> list[str]:
        # One wide character needs two columns.
        width = max(2, (shutil.get_terminal_size().columns - len(_GAP) * (len(texts) - 1)) // len(texts))
        columns = [_wrapped(text, width) for text in texts]
        if most is not None:
            columns = [column[-most:] for column in columns]
        heads = [_GAP.join(_filled(title[: _fitting(title, width)], width) for title in self._titles).rstrip()]
        heads.append("─┼─".join("─" * width for _ in self._titles))
        rows = range(max((len(column) for column in columns), default=0))
        return heads + [
            _GAP.join(_filled(column[row] if row < len(column) else "", width) for column in columns).rstrip() for row in rows
        ]


def _wrapped(text: str, width: int) -> list[str]:
    lines: list[str] = []
    for line in text.expandtabs(4).splitlines():
        # An escape sequence in an answer would move the cursor out of its column; half a surrogate pair cannot be written.
        rest = "".join(character for character in visible(line) if unicodedata.category(character) != "Cs")
        while (end := _fitting(rest, width)) < len(rest):
            space = rest.rfind(" ", 0, end + 1)
            cut = space if rest[: max(space, 0)].strip() else end  # a word that is longer than the line is broken
            lines.append(rest[:cut].rstrip())
            rest = rest[cut:].lstrip(" ")
        lines.append(rest.rstrip())
    return lines


def _fitting(text: str, width: int) -> int:
    """Return how many characters of a text fit in this many columns."""
    left = width
    for position, character in enumerate(text):
        left -= _places(character)
        if left < 0:
            return max(1, position)
    return len(text)


def _filled(text: str, width: int) -> str:
    return text + " " * (width - sum(map(_places, text)))


def _places(character: str) -> int:
    """Return how many columns a character takes on a terminal (Unicode Standard Annex #11, East Asian Width)."""
    if unicodedata.category(character) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in ("W", "F") else 1
