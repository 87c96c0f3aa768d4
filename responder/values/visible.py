r"""How is text from others shown? With everything that would control the screen made visible.

A model's answer and a provider's error may hold escape sequences (which move the cursor, rename the window, fill the clipboard)
and characters that change the text direction (CVE-2021-42574, "Trojan Source"). On a screen each such character is shown as
its number, `\u001b`, which stays valid inside JSON. Files and pipes get texts as they are.
"""

from __future__ import annotations

import re
from typing import TextIO

# C0 but for tab and line feed, DEL, C1, and the embeddings, overrides and isolates of the bidirectional algorithm
# (https://www.unicode.org/reports/tr9/, read 2026-11). A lone carriage return would let a line be overwritten.
_STEERING = "\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069"
_ON_A_PAGE = re.compile(f"[{_STEERING}]")
_ON_A_TERMINAL = re.compile(rf"[{_STEERING}]|\r(?!\n)")


def visible(text: str) -> str:
    r"""Return a text that is harmless on a terminal; `\r\n`, `\n` and tabs stay."""
    return _ON_A_TERMINAL.sub(_number, text)


def visible_on_page(text: str) -> str:
    """Return text that is harmless on a page, where a carriage return is white space; HTML is escaped elsewhere."""
    return _ON_A_PAGE.sub(_number, text)


def visible_in_line(text: str) -> str:
    """Return a text as one harmless line, for an error message or a log: white space of any kind becomes a blank."""
    return visible(" ".join(text.split()))


def is_terminal(stream: TextIO | None) -> bool:
    """Return whether a standard stream is a terminal; False for one that is missing, closed, or can only write."""
    try:
        return stream is not None and bool(stream.isatty())
    except Exception:  # noqa: BLE001 - closed, its reader gone, or an object of some framework without the method
        return False


class VisibleStream:
    """Makes text that arrives in pieces, cut anywhere, harmless."""

    def __init__(self) -> None:
        self._held = ""

    def add(self, piece: str) -> str:
        r"""Return what can be shown after another piece: all but a last `\r`, whose `\n` may still come."""
        text = self._held + piece
        self._held = "\r" if text.endswith("\r") else ""
        return visible(text[: len(text) - len(self._held)])

    def end(self) -> str:
        """Return what was held back."""
        held, self._held = self._held, ""
        return visible(held)


def _number(found: re.Match[str]) -> str:
    return f"\\u{ord(found.group()):04x}"
