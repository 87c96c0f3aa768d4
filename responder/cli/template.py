"""How does a row become a prompt by --template? Names in braces are replaced by the row's values."""

from __future__ import annotations

import json
import string
from collections.abc import Collection, Mapping
from typing import Any

from responder.values.errors import ConfigurationError


class Template:
    """A text with the names of a row's values in braces: "Summarise: {text}".

    Raises:
        ConfigurationError: It names nothing, or its braces do not match.
    """

    def __init__(self, text: str) -> None:
        try:
            parts = list(string.Formatter().parse(text))
        except ValueError as error:
            raise ConfigurationError(f"--template {text!r}: {error}; write {{{{ and }}}} for literal braces") from None
        for _, name, form, conversion in parts:
            if name is not None and (not name or form or conversion):
                raise ConfigurationError(
                    f"--template {text!r}: braces must contain only the name of a column or key; write {{{{ and }}}} "
                    "for literal braces"
                )
        self._parts = [(literal, name) for literal, name, _, _ in parts]
        if not any(name for _, name in self._parts):
            raise ConfigurationError(f"--template {text!r} names no value, such as {{line}}: every prompt would be the same")

    def lacking(self, names: Collection[str]) -> str | None:
        """Return the first of its names that is not among these; None if all are."""
        return next((name for _, name in self._parts if name is not None and name not in names), None)

    def leaves_out(self, values: Mapping[str, Any]) -> bool:
        """Return whether a value that it needs is missing or empty."""
        return any(name is not None and not str(values.get(name) or "").strip() for _, name in self._parts)

    def fill(self, values: Mapping[str, Any]) -> str:
        """Return the text with the values filled in.

        Raises:
            ValueError: A value is missing.
        """
        return "".join(literal + ("" if name is None else _value(values, name)) for literal, name in self._parts)


def _value(values: Mapping[str, Any], name: str) -> str:
    value = values.get(name)
    if value is None:
        raise ValueError(f"--template needs {name!r}; there is {', '.join(map(repr, values)) or 'nothing'}")
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
