"""What must stay secret? Keys: a type whose `repr` hides them, and the search for one that a server quotes back.

A key is sent to a server, and some servers, gateways and proxies quote what they were sent: in plain, escaped as JSON does it,
percent-encoded, or cut off. Whatever an error shows goes through `masked` or `hide`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

MASK = "***"

# A shorter secret ("no", "any") is a placeholder for a server without keys, and hiding it would only spoil messages.
_SHORTEST = 4
# This many characters of a secret, where a text was cut, are the start of the secret and not a coincidence.
_TELLING = 8
# No provider's error is nested this deep; anything deeper is dropped rather than shown.
_DEEPEST = 60

_NAMED = re.compile(r"((?:key|token|sig|signature|secret|password)=)[^&\s\"']+", re.IGNORECASE)
_KEY_LIKE = re.compile(r"\b(?:sk|gsk|xai|hf|AIza|ya29)[-_.][A-Za-z0-9*_.\-]{6,}|\bAIza[\w\-]{10,}")
_STARTS = ("sk-", "sk_", "sk.", "xai-", "xai_", "xai.", "hf-", "hf_", "hf.", "AIza", "ya29")
# One character as JSON, a URL or HTML may write it; JSON inside JSON doubles the backslashes.
_ESCAPED = re.compile(r"\\+u([0-9a-fA-F]{4})|\\+([\"/\\])|%([0-9a-fA-F]{2})|&#(\d{1,7});|&#[xX]([0-9a-fA-F]{1,6});")

T = TypeVar("T")


class Secret(str):
    """A key or token that shows as `***` wherever a program prints its variables: debuggers, crash reports, logs of frames.

    It is a str in every other respect, so that a provider's `headers` can put it in a header, and `str(secret)` is the key.
    A pickle has `***` instead; a copy in this process is the secret itself.
    """

    __slots__ = ()

    def __repr__(self) -> str:
        return repr(MASK)

    def encode(self, encoding: str = "utf-8", errors: str = "strict") -> bytes:
        """Return the secret as bytes that show as `***`, too."""
        return SecretBytes(super().encode(encoding, errors))

    def strip(self, chars: str | None = None) -> Secret:
        """Return the secret without blanks around it, as a secret."""
        return Secret(super().strip(chars))

    def __copy__(self) -> Secret:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Secret:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return Secret, (MASK,)


class SecretBytes(bytes):
    """A secret as bytes; shows as `***`."""

    __slots__ = ()

    def __repr__(self) -> str:
        return repr(MASK.encode())

    def __copy__(self) -> SecretBytes:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> SecretBytes:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return SecretBytes, (MASK.encode(),)


class SecretValues(dict[str, str]):
    """Headers whose values show as `***`."""

    __slots__ = ()

    def __repr__(self) -> str:
        return repr(dict.fromkeys(self, MASK))

    def hidden(self) -> dict[str, str]:
        """Return them as a plain dict of secrets. No variable, here or in between, holds a value as it is."""
        return dict(zip(self, map(Secret, self.values()), strict=True))


def masked(value: T, secret: str = "") -> T:
    """Return a text, bytes or JSON value without the secret, and without anything that looks like a key.

    Keys and values of objects are searched at any depth; what needs no change is returned as it is.

    Args:
        value: A str, bytes, or a value of JSON; anything else is returned unchanged.
        secret: The key that was sent; "" to look only for what looks like one.
    """
    found: Any = _masked(value, lambda text: _without(_shapeless(text), str(secret)), _DEEPEST)
    return found  # type: ignore[no-any-return]  # of the kind that was given


def hide(error: BaseException, secret: str) -> None:
    """Take the secret out of an error of ours and out of every error behind it: out of the message and of each attribute."""
    if len(secret) < _SHORTEST:
        return

    def clean(text: str) -> str:
        return _without(text, str(secret))

    behind: list[BaseException | None] = [error]
    seen: list[BaseException] = []
    while behind:
        found = behind.pop()
        if found is None or any(found is known for known in seen):
            continue
        seen.append(found)
        arguments = _masked(found.args, clean, _DEEPEST)
        if arguments is not found.args:
            found.args = arguments
        for name, value in list(vars(found).items()):
            replaced = _masked(value, clean, _DEEPEST)
            if replaced is not value:
                setattr(found, name, replaced)
        behind += [found.__cause__, found.__context__]


def _masked(value: Any, clean: Callable[[str], str], depth: int) -> Any:
    if isinstance(value, str):
        cleaned = clean(value)
        return cleaned if cleaned != value else value
    if isinstance(value, (bytes, bytearray)):
        # Latin-1 gives each byte a character, and back. A secret beyond ASCII is looked for as its UTF-8.
        text = value.decode("latin-1")
        cleaned = clean(text)
        return cleaned.encode("latin-1") if cleaned != text else value
    if isinstance(value, Mapping):
        if not depth:
            return MASK
        pairs = {_masked(name, clean, depth - 1): _masked(item, clean, depth - 1) for name, item in value.items()}
        return value if _same(pairs, value) else pairs
    if isinstance(value, (list, tuple)):
        if not depth:
            return MASK
        items = [_masked(item, clean, depth - 1) for item in value]
        if all(new is old for new, old in zip(items, value, strict=True)):
            return value
        return items if isinstance(value, list) else tuple(items)
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= 10**_SHORTEST and abs(value) < 10**100:
        return value if clean(str(value)) == str(value) else MASK  # a key of digits alone
    return value


def _same(pairs: Mapping[Any, Any], value: Mapping[Any, Any]) -> bool:
    return len(pairs) == len(value) and all(
        name is old_name and item is old for (name, item), (old_name, old) in zip(pairs.items(), value.items(), strict=True)
    )


def _shapeless(text: str) -> str:
    """Return a text without anything that has the shape of a key."""
    if "=" in text:
        text = _NAMED.sub(rf"\1{MASK}", text)
    # Searching for a substring costs a hundredth of the expression, and few texts contain one of these.
    return _KEY_LIKE.sub(MASK, text) if any(start in text for start in _STARTS) else text


def _without(text: str, secret: str) -> str:
    """Return a text without a secret, however its characters are written there, and in capitals or not."""
    if len(secret) < _SHORTEST:
        return text
    for sought in {secret, secret.encode("utf-8", "replace").decode("latin-1")}:
        text = _cut(text, sought, text, None)  # as it is, and then with its escapes resolved: a key may hold a backslash itself
        if ("\\" in text or "%" in text or "&#" in text) and _beginning(sought).search(text):
            text = _cut(text, sought, *_plain(text))
    return text


def _beginning(secret: str) -> re.Pattern[str]:
    """Return what finds the first characters of a secret however they are written: most texts with escapes hold no such thing."""
    forms = (
        rf"(?:\\*{re.escape(letter)}|\\+u{ord(letter):04x}|%{ord(letter):02x}|&#{ord(letter)};|&#x0*{ord(letter):x};)"
        for letter in secret[:_SHORTEST]
    )
    return re.compile("".join(forms), re.IGNORECASE)


def _plain(text: str) -> tuple[str, list[int]]:
    """Return a text with its escapes resolved, and where each of its characters, and its end, stood before."""
    pieces: list[str] = []
    places: list[int] = []
    at = 0
    for found in _ESCAPED.finditer(text):
        pieces.append(text[at : found.start()])
        places += range(at, found.start())
        unicode, sign, percent, decimal, hexadecimal = found.groups()
        number = int(decimal) if decimal else int(unicode or percent or hexadecimal or "0", 16)
        pieces.append(sign or (chr(number) if number < 0x110000 else "?"))
        places.append(found.start())
        at = found.end()
    pieces.append(text[at:])
    places += range(at, len(text) + 1)  # one more than characters: the end
    return "".join(pieces), places


def _cut(text: str, secret: str, plain: str, places: list[int] | None) -> str:
    """Return a text with each occurrence of the secret replaced; `plain` is what is searched."""
    folded, sought = plain.lower(), secret.lower()
    if len(folded) != len(plain):  # a few letters change their length with their case
        folded, sought = plain, secret
    spans: list[tuple[int, int]] = []
    at = folded.find(sought)
    while at >= 0:
        spans.append((at, at + len(sought)))
        at = folded.find(sought, at + len(sought))
    # The text may have been cut in the middle of the secret.
    tail = folded[-len(sought) :]
    if sought[:_TELLING] in tail:
        for length in range(min(len(sought) - 1, len(tail)), _TELLING - 1, -1):
            if tail.endswith(sought[:length]):
                spans.append((len(folded) - length, len(folded)))
                break
    if not spans:
        return text
    pieces: list[str] = []
    done = 0
    for begin, end in spans:
        first, last = (begin, end) if places is None else (places[begin], places[end])
        if first >= done:
            pieces += [text[done:first], MASK]
            done = last
    return "".join([*pieces, text[done:]])
