"""Which columns do structured answers become in a table? One for each property at the top of the schema."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from responder.values.schema import Schema, resolved

Kind = Literal["text", "integer", "number", "boolean"]


@dataclass(frozen=True, slots=True)
class Field:
    """A column of answers.

    Attributes:
        name: The property's; "" for the whole answer, where that is no object.
        kind: What its cells hold; objects and lists are text, as JSON.
    """

    name: str
    kind: Kind = "text"

    def value(self, parsed: Any) -> Any:
        """Return what belongs into the column, of an answer's parsed value; None where there is nothing, or of another kind."""
        if not self.name:
            return parsed
        found = parsed.get(self.name) if isinstance(parsed, Mapping) else None
        if self.kind == "text":
            return found
        if self.kind == "boolean":
            return found if isinstance(found, bool) else None
        if isinstance(found, bool) or not isinstance(found, (int, float)):
            return None
        if self.kind == "number":
            return float(found)
        return int(found) if float(found).is_integer() else None  # JSON Schema takes 3.0 for an integer


def fields_of(schema: Schema | None) -> tuple[Field, ...]:
    """Return the columns for answers of a schema; none without one."""
    if schema is None:
        return ()
    root: Any = schema
    for _ in range(10):  # as deep as references to references go
        reference = root.get("$ref") if isinstance(root, Mapping) else None
        if not isinstance(reference, str):
            break
        root = resolved(schema, reference)
    properties = root.get("properties") if isinstance(root, Mapping) else None
    if not schema.is_object or not isinstance(properties, Mapping) or not properties:
        return (Field(""),)
    return tuple(Field(name, _kind(part)) for name, part in properties.items())


def _kind(schema: Any) -> Kind:
    if not isinstance(schema, Mapping):
        return "text"
    choices = schema.get("anyOf")
    kinds: Any = schema.get("type")
    if isinstance(choices, list):
        kinds = [part.get("type") for part in choices if isinstance(part, Mapping)]
    given = [kind for kind in (kinds if isinstance(kinds, list) else [kinds]) if kind != "null"]
    return given[0] if len(given) == 1 and given[0] in ("integer", "number", "boolean") else "text"
