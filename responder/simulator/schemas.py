"""Which JSON Schemas do the providers refuse, and where else than in its own field does a schema stand?

Sources, read 2026-11: OpenAI's guide "Structured model outputs" (supported schemas), Anthropic's guide "Structured outputs"
(JSON Schema limitations), Cohere's guide "Structured outputs" (unsupported schema features).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

_BY_NAME = ("properties", "$defs", "definitions")
_OPENAI_REFUSES = frozenset(
    {"allOf", "default", "dependentRequired", "dependentSchemas", "else", "if", "not", "oneOf", "patternProperties", "then"}
    | {"prefixItems", "uniqueItems", "contains", "minProperties", "maxProperties", "propertyNames"}
)
_ANTHROPIC_REFUSES = frozenset(
    {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf", "minLength", "maxLength", "maxItems", "pattern"}
    | {"oneOf", "not", "if", "then", "else", "patternProperties", "prefixItems", "uniqueItems"}
)
_COHERE_REFUSES = frozenset(
    {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf", "minLength", "maxLength", "minItems", "maxItems"}
    | {"oneOf", "allOf", "not", "if", "then", "else", "patternProperties", "prefixItems", "uniqueItems"}
)
_COHERE_FORMATS = frozenset({"date-time", "date", "time", "uuid"})
_FORMATS = frozenset({"date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid"})
_OPENAI_DEPTH = 10


def refused_by_openai(schema: Any) -> str | None:
    """Return why OpenAI's strict mode refuses a schema, None if it takes it."""
    if not isinstance(schema, Mapping) or schema.get("type") != "object":
        kind = schema.get("type") if isinstance(schema, Mapping) else None
        return f"schema must be a JSON Schema of 'type: \"object\"', got 'type: \"{kind}\"'."
    for where, part, depth in _parts(schema, (), 1):
        reason = _refused_part(part, depth)
        if reason is not None:
            place = ", ".join(repr(step) for step in where)
            return f"In context=({place}), {reason}"
    return None


def _refused_part(part: Any, depth: int) -> str | None:
    if not isinstance(part, Mapping):
        return "schema must be an object."
    for name in part:
        if name in _OPENAI_REFUSES:
            return f"'{name}' is not permitted."
    if "$ref" in part:
        others = sorted(set(part) - {"$ref", "$defs", "definitions"})
        return f"$ref cannot have keywords {{{', '.join(map(repr, others))}}}." if others else None
    if not part.keys() & {"type", "anyOf", "enum", "const"}:
        return "schema must have a 'type' key."
    if isinstance(part.get("format"), str) and part["format"] not in _FORMATS:
        return f"'{part['format']}' is not a valid format."
    if depth > _OPENAI_DEPTH:
        return f"the schema exceeds {_OPENAI_DEPTH} levels of nesting."
    if _is_object(part):
        if part.get("additionalProperties") is not False:
            return "'additionalProperties' is required to be supplied and to be false."
        missing = [name for name in part.get("properties", {}) if name not in part.get("required", ())]
        if missing or "required" not in part:
            return (
                "'required' is required to be supplied and to be an array including every key in properties. "
                f"Missing '{missing[0] if missing else 'required'}'."
            )
    if part.get("type") == "array" and "items" not in part:
        return "array schema missing items."
    return None


def refused_by_anthropic(schema: Any) -> str | None:
    """Return why Anthropic refuses a schema, None if it takes it."""
    if not isinstance(schema, Mapping):
        return "Input should be a valid dictionary"
    for _, part, _ in _parts(schema, (), 1):
        if not isinstance(part, Mapping):
            continue
        for name in part:
            if name in _ANTHROPIC_REFUSES:
                return f"For '{part.get('type', 'any')}' type, property '{name}' is not supported"
        if isinstance(part.get("format"), str) and part["format"] not in _FORMATS | {"uri"}:
            return f"For 'string' type, format '{part['format']}' is not supported"
        if isinstance(part.get("minItems"), int) and part["minItems"] > 1:
            return "For 'array' type, 'minItems' values other than 0 or 1 are not supported"
        if _is_object(part) and part.get("additionalProperties") is not False:
            return "For 'object' type, 'additionalProperties' must be explicitly set to false"
        if "$ref" in part and _leads_back(schema, part["$ref"], ()):
            return "Circular references in '$ref' are not supported"
    return None


def refused_by_cohere(schema: Any) -> str | None:
    """Return why Cohere refuses a schema, None if it takes it."""
    if not isinstance(schema, Mapping) or schema.get("type") != "object":
        return "the top level must be of the type 'object'"
    for _, part, _ in _parts(schema, (), 1):
        if not isinstance(part, Mapping):
            continue
        if name := next((name for name in part if name in _COHERE_REFUSES), None):
            return f"'{name}' is not supported"
        if isinstance(part.get("format"), str) and part["format"] not in _COHERE_FORMATS:
            return f"the format '{part['format']}' is not supported"
    return None


def _is_object(part: Mapping[str, Any]) -> bool:
    kind = part.get("type")
    return kind == "object" or (isinstance(kind, list) and "object" in kind)


def _leads_back(root: Mapping[str, Any], reference: Any, path: tuple[Any, ...]) -> bool:
    if reference in path:
        return True
    target = found_at(root, reference)
    return any(
        "$ref" in part and _leads_back(root, part["$ref"], (*path, reference))
        for _, part, _ in _parts(target, (), 1)
        if isinstance(part, Mapping)
    )


def _parts(schema: Any, where: tuple[str, ...], depth: int) -> Iterator[tuple[tuple[str, ...], Any, int]]:
    """Yield a schema and all schemas in it: where each stands, what it is, how deep."""
    yield where, schema, depth
    if not isinstance(schema, Mapping):
        return
    for word in _BY_NAME:
        for name, part in (schema.get(word) or {}).items():
            yield from _parts(part, (*where, word, name), depth + (word == "properties"))
    for word in ("anyOf", "allOf", "oneOf", "prefixItems"):
        for number, part in enumerate(schema.get(word) or ()):
            yield from _parts(part, (*where, word, str(number)), depth)
    for word in ("items", "additionalProperties"):
        if isinstance(schema.get(word), Mapping):
            yield from _parts(schema[word], (*where, word), depth + 1)


def found_at(root: Mapping[str, Any], reference: Any) -> Any:
    """Return what a reference such as `#/$defs/Item` leads to, {} where it leads nowhere."""
    target: Any = root
    for part in str(reference).lstrip("#/").split("/") if reference != "#" else ():
        target = target.get(part.replace("~1", "/").replace("~0", "~"), {}) if isinstance(target, Mapping) else {}
    return target


def schema_in_words(text: str) -> Mapping[str, Any]:
    """Return the last JSON Schema that stands in a text, {} if none does: hosts that know no schemas are told in words."""
    decoder = json.JSONDecoder()
    place = text.find("{")
    found: Mapping[str, Any] = {}
    while place >= 0:
        try:
            value, end = decoder.raw_decode(text, place)
        except ValueError:
            end = place + 1
        else:
            if isinstance(value, dict) and value.keys() & {"type", "properties", "anyOf", "$ref"}:
                found = value
        place = text.find("{", end)
    return found
