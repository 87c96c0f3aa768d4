"""Which texts share a request? As many as the provider takes, by their number and their estimated tokens, in input order."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sized
from dataclasses import dataclass, field
from typing import Any

from responder.call.dialect import EmbeddingLimits
from responder.values.errors import ConfigurationError

# Bytes in a token of English, and in one of other languages and of signs: rough, and on the safe side of most tokenizers.
_BYTES_A_TOKEN = 4.0
_BYTES_A_FOREIGN_TOKEN = 2.5

# How many times a request's texts a pack may hold that need not be sent: an input of equal texts must end, too.
_LONGEST = 4


def estimated_tokens(text: str) -> int:
    """Return about how many tokens a text has."""
    if text.isascii():
        return math.ceil(len(text) / _BYTES_A_TOKEN)
    return math.ceil(len(text.encode("utf-8", "replace")) / _BYTES_A_FOREIGN_TOKEN)


class Room:
    """How much fits into one request: what the provider documents, and less once it has refused so much.

    Workers lower it while the caller's thread packs; each number is written and read at once.
    """

    def __init__(self, limits: EmbeddingLimits, batch_size: int | None = None) -> None:
        self.texts = limits.texts if batch_size is None else min(limits.texts, batch_size)
        self.tokens = math.inf if limits.tokens is None else limits.tokens
        self.tokens_a_text = math.inf if limits.tokens_a_text is None else limits.tokens_a_text

    def shrink(self, what: str, texts: int, tokens: int) -> None:
        """Learn that a request was too large.

        Args:
            what: Of what it held too many: "texts" or "tokens".
            texts: How many texts it held.
            tokens: How many tokens they were estimated to have.
        """
        if what == "texts":
            self.texts = max(1, min(self.texts, texts // 2))
        elif what == "tokens":
            self.tokens = max(1, min(self.tokens, tokens // 2))


@dataclass(slots=True)
class Pack:
    """Texts that follow one another in the input, of which some are sent together.

    Attributes:
        start: The index of the first one.
        texts: All of them, in input order.
        asked: The places, within the pack, of those that are sent.
        keys: A name for each of those that are sent, where a file keeps vectors or equal texts are sent once; else empty.
        repeats: Places of texts that are equal to an earlier one, each with that one's index.
        refused: Places of those that cannot be sent, each with its error.
    """

    start: int
    texts: list[Any] = field(default_factory=list)
    asked: list[int] = field(default_factory=list)
    keys: list[bytes] = field(default_factory=list)
    repeats: list[tuple[int, int]] = field(default_factory=list)
    refused: dict[int, Exception] = field(default_factory=dict)


class Packs(Iterator[Pack]):
    """The packs of an input, pulled one after another. Not safe for threads: the one that pulls is the caller's.

    Args:
        texts: Any iterable.
        room: How much fits into a request.
        key: Names a text; None: no text needs a name.
        dedupe: Send equal texts once.
    """

    def __init__(self, texts: Iterable[Any], room: Room, key: Callable[[str], bytes] | None, dedupe: bool) -> None:
        self._texts = iter(texts)
        self._room = room
        self._key = key
        self._first: dict[bytes, int] | None = {} if dedupe and key is not None else None
        self._held: list[Any] = []  # the text that did not fit into the last pack
        self.pulled = 0
        """How many texts the packs so far hold."""
        self.out: dict[int, Pack] = {}
        """Packs whose results have not been taken in, by their start."""

    def __next__(self) -> Pack:
        pack, room = Pack(self.pulled), self._room
        tokens = 0
        while len(pack.asked) < room.texts and len(pack.texts) < _LONGEST * room.texts + 1:
            try:
                text = self._held.pop() if self._held else next(self._texts)
            except StopIteration:
                break
            refusal = _refusal(text)
            if refusal is not None:
                pack.refused[len(pack.texts)] = refusal
            else:
                key = self._key(text) if self._key is not None else b""
                first = self._first.get(key) if self._first is not None else None
                if first is not None:
                    pack.repeats.append((len(pack.texts), first))
                else:
                    size = estimated_tokens(text)
                    # One that may be too long for the model goes alone: its refusal is nobody else's.
                    if pack.asked and (tokens + size > room.tokens or size > room.tokens_a_text):
                        self._held.append(text)
                        break
                    tokens += size
                    if self._first is not None:
                        self._first[key] = self.pulled + len(pack.texts)
                    if self._key is not None:
                        pack.keys.append(key)
                    pack.asked.append(len(pack.texts))
                    if size > room.tokens_a_text:
                        pack.texts.append(text)
                        break
            pack.texts.append(text)
        if not pack.texts:
            raise StopIteration
        self.pulled += len(pack.texts)
        self.out[pack.start] = pack
        return pack


class SizedPacks(Packs):
    """The packs of an input whose length is known: what a stopped run did not pull is reported, too."""

    def __init__(self, texts: Iterable[Any], room: Room, key: Callable[[str], bytes] | None, dedupe: bool) -> None:
        super().__init__(texts, room, key, dedupe)
        self._count = len(texts) if isinstance(texts, Sized) else 0

    def __len__(self) -> int:
        return self._count


def packs_of(texts: Iterable[Any], room: Room, key: Callable[[str], bytes] | None, dedupe: bool) -> Packs:
    """Return the packs of an input.

    Raises:
        ConfigurationError: The input is one str.
    """
    if isinstance(texts, (str, bytes)):
        raise ConfigurationError("embed takes many texts, not one str: put it in a list")
    return (SizedPacks if isinstance(texts, Sized) else Packs)(texts, room, key, dedupe)


def _refusal(text: Any) -> ConfigurationError | None:
    """Return why a text cannot be sent. One empty text would have the provider refuse all that share its request."""
    if not isinstance(text, str):
        return ConfigurationError(f"only texts are embedded, not {type(text).__name__}: give a str")
    return None if text else ConfigurationError("an empty text has no embedding: leave it out, or give it a placeholder")
