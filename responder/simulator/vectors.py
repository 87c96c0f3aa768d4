"""Which vector has a text? Deterministic, of length 1, and close to those of texts with the same words."""

from __future__ import annotations

import hashlib
import math
import re
from array import array

# Places of a vector that a word, and the whole text, add to.
_PLACES = 8
_WORDS = re.compile(r"\w+")
_OF_THE_WHOLE = 0.1


def vector_of(text: str, dimensions: int) -> array[float]:
    """Return the simulated embedding of a text.

    Args:
        text: Any text.
        dimensions: The vector's length.
    """
    values = [0.0] * dimensions
    for word in _WORDS.findall(text.lower()):
        _add(values, word, 1.0)
    _add(values, f"\0{text}", _OF_THE_WHOLE)  # so that two texts of the same words are not the same
    length = math.sqrt(sum(value * value for value in values)) or 1.0
    return array("f", [value / length for value in values])


def _add(values: list[float], word: str, weight: float) -> None:
    digest = hashlib.sha256(word.encode("utf-8", "replace")).digest()
    for number in range(_PLACES):
        place = int.from_bytes(digest[number * 4 : number * 4 + 3], "big") % len(values)
        values[place] += weight if digest[number * 4 + 3] & 1 else -weight
