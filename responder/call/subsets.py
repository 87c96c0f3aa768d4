"""Which JSON Schema does a provider take? Each takes a subset; what it lacks goes into the descriptions, and is checked by us.

Sources, read 2026-11: OpenAI's guide "Structured model outputs" and openai 3.57 (`lib/_pydantic.py`); Anthropic's guide
"Structured outputs" and anthropic 2.14 (`lib/_parse/_transform.py`); Google's reference of `responseJsonSchema`;
Cohere's guide "Structured outputs".
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from responder.values.schema import WRAPPER, Schema, resolved


@dataclass(frozen=True, slots=True)
class Subset:
    """What a provider takes of JSON Schema.

    Attributes:
        keeps: The keywords that it knows; None: all.
        formats: The formats of texts that it knows; None: all.
        needs_object: The root has to be an object.
        closes: Every object has to say `additionalProperties: false`.
        requires_all: Every property has to be required.
        lone_references: A `$ref` has to stand alone.
        takes_recursion: A schema may refer to itself.
        needs_types: Every schema has to say what it describes: none may be empty.
        longest_min_items: The largest `minItems` that it takes; None: any.
        lookarounds: A `pattern` may look ahead and behind.
    """

    keeps: frozenset[str] | None = None
    formats: frozenset[str] | None = None
    needs_object: bool = False
    closes: bool = False
    requires_all: bool = False
    lone_references: bool = False
    takes_recursion: bool = True
    needs_types: bool = False
    longest_min_items: int | None = None
    lookarounds: bool = True


_FORMATS = frozenset({"date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid"})
_EVERYWHERE = frozenset({"$defs", "definitions", "$ref", "type", "title", "description", "enum", "properties", "required"}) | {
    "additionalProperties",
    "items",
    "anyOf",
}
OPENAI = Subset(
    keeps=_EVERYWHERE
    | {"const", "minItems", "maxItems", "minLength", "maxLength", "pattern", "format"}
    | {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"},
    formats=_FORMATS,
    needs_object=True,
    closes=True,
    requires_all=True,
    lone_references=True,
    needs_types=True,
    lookarounds=False,
)
ANTHROPIC = Subset(
    keeps=_EVERYWHERE | {"const", "allOf", "minItems", "format"},
    formats=_FORMATS | {"uri"},
    needs_object=True,
    closes=True,
    lone_references=True,
    takes_recursion=False,
    longest_min_items=1,
)
GEMINI = Subset(
    keeps=_EVERYWHERE
    | {"$id", "$anchor", "format", "prefixItems", "minItems", "maxItems", "minimum", "maximum", "oneOf", "propertyOrdering"},
    lone_references=True,
)
COHERE = Subset(
    keeps=_EVERYWHERE | {"const", "format"}, formats=frozenset({"date-time", "date", "time", "uuid"}), needs_object=True
)
PLAIN = Subset()
"""Servers that turn the schema into a grammar themselves (Ollama, vLLM, llama.cpp)."""
_IN_WORDS = Subset(needs_object=True)

_LISTED = ("anyOf", "allOf", "oneOf", "prefixItems")
_NAMED = ("properties", "$defs", "definitions")
_INNER = ("items", "additionalProperties", "contains", "propertyNames", "not")
# What tells a model nothing, or what the schema says in other words as well.
_NEEDLESS = ("default", "discriminator", "$schema", "examples")


@dataclass(frozen=True, slots=True)
class Lowered:
    """A schema as a provider takes it.

    Attributes:
        schema: JSON Schema.
        strict: True where the provider can guarantee that an answer fits it. False for objects of any keys, and for schemas
            that refer to themselves where these are refused.
    """

    schema: dict[str, Any]
    strict: bool


def lowered(schema: Mapping[str, Any], subset: Subset) -> Lowered:
    """Return a schema as a provider takes it; a root that is no object is wrapped where it must be (see `Schema.parse`).

    A `Schema` keeps what it becomes: in a map it is lowered once.
    """
    if not isinstance(schema, Schema):
        return _lowered(schema, subset)
    found: Lowered | None = schema.forms.get(subset)
    if found is None:
        found = schema.forms[subset] = _lowered(schema, subset)
    return found


def _lowered(schema: Mapping[str, Any], subset: Subset) -> Lowered:
    root = dict(schema)
    if subset.needs_object:
        root = _as_object(root)
    lowering = _Lowering(subset, root)
    made = lowering.schema(root, ())
    return Lowered(made, not lowering.is_loose)


def described(schema: Mapping[str, Any]) -> str:
    """Return the instruction for a model whose host takes no schema, or not this one."""
    shape = json.dumps(lowered(schema, _IN_WORDS).schema, ensure_ascii=False, separators=(",", ":"))
    return f"Answer with one JSON object, and nothing else, that fits this JSON Schema:\n{shape}"


def _as_object(root: dict[str, Any]) -> dict[str, Any]:
    """Return a root that is an object: itself, what it refers to, or a wrapper around it."""
    if not Schema(root).is_object:
        definitions: dict[str, Any] = {name: root[name] for name in ("$defs", "definitions") if name in root}
        inner = {name: value for name, value in root.items() if name not in definitions}
        return {"type": "object", "properties": {WRAPPER: inner}, "required": [WRAPPER], **definitions}
    seen = set()
    while isinstance(reference := root.get("$ref"), str) and reference not in seen:
        seen.add(reference)
        rest = {name: value for name, value in root.items() if name != "$ref"}
        root = {**resolved(root, reference), **rest}
    return root


class _Lowering:
    """One schema on its way down."""

    def __init__(self, subset: Subset, root: Mapping[str, Any]) -> None:
        self._subset = subset
        self._root = root
        self.is_loose = not subset.takes_recursion and _refers_to_itself(root)
        """Whether the provider can no longer guarantee that an answer fits."""

    def schema(self, given: Any, within: tuple[str, ...]) -> Any:
        """Return a schema in it; `within` are the references that were followed to get here."""
        if not isinstance(given, Mapping):
            self.is_loose = self.is_loose or self._subset.needs_types
            return given  # true and false are schemas, too
        if self._subset.lone_references:
            found = self._inlined(given, within)
            if found is not None:
                return self.schema(*found)
        made: dict[str, Any] = {}
        lost: dict[str, Any] = {}
        for name, value in given.items():
            if not self._is_known(name, value):
                lost[name] = value
            elif name in _NAMED and isinstance(value, Mapping):
                made[name] = {key: self.schema(part, within) for key, part in value.items()}
            elif name in _LISTED and isinstance(value, list):
                made[name] = [self.schema(part, within) for part in value]
            elif name in _INNER and isinstance(value, Mapping):
                made[name] = self.schema(value, within)
            else:
                made[name] = value
        self._replace(lost, made, within)
        if _is_object(made):
            self._close(made, given)
        elif self._subset.needs_types and not made.keys() & {"type", "anyOf", "enum", "const", "$ref"}:
            self.is_loose = True
        if lost:
            words = "{" + ", ".join(f"{name}: {value}" for name, value in lost.items()) + "}"
            made["description"] = f"{made['description']}\n\n{words}" if made.get("description") else words
        return made

    def _inlined(self, given: Mapping[str, Any], within: tuple[str, ...]) -> tuple[Any, tuple[str, ...]] | None:
        """Return what takes the place of a reference, or of an `allOf`, that does not stand alone; None where nothing has to."""
        reference = given.get("$ref")
        if isinstance(reference, str) and set(given) - {"$ref", "$defs", "definitions"}:
            if reference in within:  # it refers to itself: what stands beside the reference cannot be kept
                return {"$ref": reference}, within
            target = resolved(self._root, reference)
            beside = {name: value for name, value in given.items() if name != "$ref"}
            return {**(target if isinstance(target, Mapping) else {}), **beside}, (*within, reference)
        parts = given.get("allOf")
        if isinstance(parts, list) and len(parts) == 1 and isinstance(parts[0], Mapping):
            return {**parts[0], **{name: value for name, value in given.items() if name != "allOf"}}, within
        return None

    def _is_known(self, name: str, value: Any) -> bool:
        subset = self._subset
        if subset.keeps is not None and name not in subset.keeps:
            return False
        if name == "format" and subset.formats is not None:
            return isinstance(value, str) and value in subset.formats
        if name == "pattern" and not subset.lookarounds:
            return not any(group in str(value) for group in ("(?=", "(?!", "(?<=", "(?<!"))
        if name == "minItems" and subset.longest_min_items is not None:
            return isinstance(value, int) and value <= subset.longest_min_items
        return True

    def _replace(self, lost: dict[str, Any], made: dict[str, Any], within: tuple[str, ...]) -> None:
        """Say in other words what can be said so, and drop what no model needs to know."""
        if isinstance(lost.get("oneOf"), list):
            made["anyOf"] = [self.schema(part, within) for part in lost.pop("oneOf")]
        if isinstance(lost.get("prefixItems"), list) and "items" not in made:
            made["items"] = {"anyOf": [self.schema(part, within) for part in lost["prefixItems"]]}
        if "allOf" in lost:
            self.is_loose = True
        if "const" in lost:
            made["enum"] = [lost.pop("const")]
        for name in _NEEDLESS:
            lost.pop(name, None)

    def _close(self, made: dict[str, Any], given: Mapping[str, Any]) -> None:
        subset = self._subset
        more = given.get("additionalProperties")
        is_open = isinstance(more, Mapping) or more is True or (more is None and "properties" not in given)
        if is_open and (subset.closes or subset.requires_all):
            self.is_loose = True
            return
        if subset.closes:
            made["additionalProperties"] = False
        if subset.requires_all and isinstance(made.get("properties", {}), Mapping):
            made["required"] = list(made.get("properties", {}))


def _refers_to_itself(root: Mapping[str, Any]) -> bool:
    """Return whether a reference leads, perhaps over others, to a place that it stands in."""
    ended: set[str] = set()

    def leads_back(reference: str, path: tuple[str, ...]) -> bool:
        if reference in path:
            return True
        if reference in ended:
            return False
        found = any(leads_back(inner, (*path, reference)) for inner in _references(resolved(root, reference)))
        ended.add(reference)
        return found

    return any(leads_back(reference, ()) for reference in _references(root))


def _references(schema: Any) -> set[str]:
    if isinstance(schema, Mapping):
        reference = schema.get("$ref")
        found = {reference} if isinstance(reference, str) else set()
        return found.union(*map(_references, schema.values()))
    return set().union(*map(_references, schema)) if isinstance(schema, list) else set()


def _is_object(schema: Mapping[str, Any]) -> bool:
    kinds = schema.get("type")
    return kinds == "object" or (isinstance(kinds, list) and "object" in kinds) or (kinds is None and "properties" in schema)
