"""What does the simulated model say? Text, tool calls and token counts, in no provider's format.

Tokens are estimated: one for every four characters (Unicode code points), rounded up. Real tokenizers differ; what
matters here is that usage, limits, `max_tokens` and the pieces of a stream all count in the same way.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import operator
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

if sys.version_info >= (3, 11):
    from re import _parser as sre_parse  # type: ignore[attr-defined]  # not documented, and the only parser there is
else:
    import sre_parse

from .reply import encode
from .schemas import found_at

CHARACTERS_PER_TOKEN = 4
# What a real chat format adds around each message, in tokens (OpenAI's cookbook gives 3 and 3; any small number would
# do).
_TOKENS_PER_MESSAGE = 3
_QUOTED_WHOLE = 200
_THOUGHTS = "Simulated thoughts: the question is read, and the answer will quote it."
_MAX_DEPTH = 12
# A schema that refers to itself is followed so far: lists are empty then, and what may be null is.
_ENOUGH_DEPTH = 6
# Values, or characters, of an answer to a schema.
_MOST = 100_000


@dataclass(frozen=True)
class Tool:
    """A function the model may call: its name and the JSON Schema of its arguments."""

    name: str
    schema: Mapping[str, Any]


@dataclass
class Question:
    """What was asked, in no provider's format.

    Attributes:
        model: Name of the model as the client wrote it.
        prompt: Last text of the user.
        input_tokens: Estimate for everything that was sent.
        stream: Whether the answer is wanted as a stream.
        max_tokens: Ceiling of the answer in tokens, thoughts included; None for none.
        count: How many answers are wanted.
        stop: Texts at which the answer ends.
        schema: JSON Schema the answer must fit; `{}` for any JSON object; None for plain text.
        tool: Function that the model must call; None if it may answer in words.
        thinking: Whether the client asked for thoughts.
        extra: What only the dialect itself needs to know.
    """

    model: str
    prompt: str
    input_tokens: int
    stream: bool = False
    max_tokens: int | None = None
    count: int = 1
    stop: tuple[str, ...] = ()
    schema: Mapping[str, Any] | None = None
    tool: Tool | None = None
    thinking: bool = False
    extra: dict[str, Any] = field(default_factory=dict)


@dataclass
class Spoken:
    """What the simulated model says.

    Attributes:
        text: The answer; empty if it is a tool call.
        finish: "stop", "length", "tool", "filter", or "stop_sequence".
        tool: Function to call, None for an answer in words.
        arguments: Arguments of the call.
        thoughts: What it says to itself; "" for nothing.
        thought_tokens: Tokens of the thoughts.
        answer_tokens: Tokens of the text or the call, thoughts not included, of one answer.
        stopped_at: The stop text that ended the answer, None if none did.
    """

    text: str = ""
    finish: str = "stop"
    tool: Tool | None = None
    arguments: dict[str, Any] = field(default_factory=dict)
    thoughts: str = ""
    thought_tokens: int = 0
    answer_tokens: int = 0
    stopped_at: str | None = None


def token_count(text: str) -> int:
    """Estimate the tokens of a text: one for every four characters, rounded up."""
    return -(-len(text) // CHARACTERS_PER_TOKEN)


def pieces(text: str, tokens: int = 1) -> list[str]:
    """Cut a text into pieces of `tokens` tokens, as a stream delivers it."""
    width = CHARACTERS_PER_TOKEN * tokens
    return [text[start : start + width] for start in range(0, len(text), width)]


def message_tokens(characters: int, messages: int) -> int:
    """Estimate the input tokens of a conversation from its characters and messages."""
    return -(-characters // CHARACTERS_PER_TOKEN) + _TOKENS_PER_MESSAGE * (messages + 1)


def default_answer(prompt: str) -> str:
    """Return the usual answer: it says that it is simulated and quotes the prompt, so that order can be checked.

    A prompt of more than 200 characters is quoted by its start, its length and a short digest.
    """
    if len(prompt) <= _QUOTED_WHOLE:
        return f"Simulated answer to: {prompt}"
    digest = hashlib.sha256(prompt.encode("utf-8", "replace")).hexdigest()[:12]
    return f"Simulated answer to: {prompt[:_QUOTED_WHOLE]}... ({len(prompt)} characters, sha256 {digest})"


def speak(question: Question, answer: Callable[[str], str], *, thinking: bool) -> Spoken:
    """Decide what the model says.

    Args:
        question: What was asked.
        answer: Gives the text for a prompt.
        thinking: Whether the model thinks before it speaks.
    """
    spoken = Spoken()
    budget = question.max_tokens
    if thinking:
        spoken.thoughts = _THOUGHTS
        spoken.thought_tokens = token_count(_THOUGHTS)
        if budget is not None:
            if spoken.thought_tokens >= budget:
                spoken.thoughts = _THOUGHTS[: budget * CHARACTERS_PER_TOKEN]
                spoken.thought_tokens, spoken.finish = budget, "length"
                return spoken
            budget -= spoken.thought_tokens
    if question.tool is not None:
        spoken.tool, spoken.finish = question.tool, "tool"
        example = example_of(question.tool.schema)
        spoken.arguments = example if isinstance(example, dict) else {}
        spoken.answer_tokens = token_count(question.tool.name + encode(spoken.arguments))
        return spoken
    if question.schema is not None:
        text = encode(example_of(question.schema) if question.schema else {"simulated": True})
    else:
        text = answer(question.prompt)
        for stop in question.stop:
            if stop and (place := text.find(stop)) >= 0:
                text, spoken.finish, spoken.stopped_at = text[:place], "stop_sequence", stop
    if budget is not None and token_count(text) > budget:
        text, spoken.finish, spoken.stopped_at = text[: budget * CHARACTERS_PER_TOKEN], "length", None
    spoken.text = text
    spoken.answer_tokens = token_count(text)
    return spoken


def example_of(schema: Mapping[str, Any], root: Mapping[str, Any] | None = None, depth: int = 0) -> Any:
    """Return a small JSON value that fits a JSON Schema (or Google's OpenAPI subset, whose types are upper case).

    Understands $ref within the document, enum, const, anyOf, oneOf, allOf, required properties, minItems, prefixItems,
    minLength, bounds and multiples of numbers, simple patterns, and the formats of strings. Other keywords are ignored.
    Bounds may stand in the description, as `{minimum: 3, maximum: 9}`: SDKs put there what a provider does not take.
    """
    root = schema if root is None else root
    if depth > _MAX_DEPTH:
        return None
    if isinstance(reference := schema.get("$ref"), str):
        return example_of(found_at(root, reference), root, depth + 1)
    if isinstance(described := schema.get("description"), str) and "{" in described:
        schema = {**_bounds_in(described), **schema}
    if "const" in schema:
        return schema["const"]
    if choices := schema.get("enum"):
        return choices[0]
    for word in ("anyOf", "oneOf"):
        if options := schema.get(word):
            # A union with null is how strict schemas say "optional": prefer the other side, it shows more. But end somewhere.
            if depth > _ENOUGH_DEPTH and any(option.get("type") == "null" for option in options):
                return None
            solid = [option for option in options if option.get("type") not in ("null", "NULL")]
            return example_of((solid or options)[0], root, depth + 1)
    if parts := schema.get("allOf"):
        merged: dict[str, Any] = {}
        for part in parts:
            example = example_of(part, root, depth + 1)
            if not isinstance(example, dict):
                return example
            merged.update(example)
        return merged
    return _example_of_type(schema, root, depth)


def _example_of_type(schema: Mapping[str, Any], root: Mapping[str, Any], depth: int) -> Any:
    kind = schema.get("type")
    if isinstance(kind, list):
        kind = next((name for name in kind if name != "null"), "null")
    kind = str(kind).lower() if kind else ("object" if "properties" in schema else "string")
    if kind == "object":
        properties = schema.get("properties") or {}
        names = schema.get("required", list(properties))
        return {name: example_of(properties.get(name, {}), root, depth + 1) for name in names}
    if kind == "array":
        listed = [example_of(item, root, depth + 1) for item in schema.get("prefixItems", ())]
        wanted = max(int(schema.get("minItems", 0)), 0 if listed or depth > _ENOUGH_DEPTH else 1)
        if len(listed) < wanted:
            item = example_of(schema.get("items") or {}, root, depth + 1)
            if _values_in(item) * wanted > _MOST:
                raise ValueError(f"minItems of {wanted} make more than the {_MOST} values that a simulated answer may have")
            listed += [item] * (wanted - len(listed))
        return listed
    if kind in ("integer", "number"):
        return _number(schema, whole=kind == "integer")
    if kind == "boolean":
        return True
    if kind == "null":
        return None
    if isinstance(schema.get("pattern"), str):
        return _text_like(schema["pattern"])
    length = int(schema.get("minLength", 0))
    if length > _MOST:
        raise ValueError(f"minLength of {length} is more than the {_MOST} characters that a simulated answer may have")
    return _TEXTS.get(str(schema.get("format")), "simulated").ljust(length, ".")[: schema.get("maxLength", None)]


def _values_in(example: Any) -> int:
    if isinstance(example, (dict, list)):
        return 1 + sum(map(_values_in, example.values() if isinstance(example, dict) else example))
    return 1


def _number(schema: Mapping[str, Any], *, whole: bool) -> Any:
    lows = [schema[name] for name in ("minimum", "exclusiveMinimum") if schema.get(name) is not None]
    highs = [schema[name] for name in ("maximum", "exclusiveMaximum") if schema.get(name) is not None]
    low, high = max(lows, default=None), min(highs, default=None)
    tries: list[Any] = [1]
    if low is not None:
        tries += [low, low + 1]
    if high is not None:
        tries += [high, high - 1]
    if low is not None and high is not None:
        tries.append((low + high) / 2)
    if step := schema.get("multipleOf"):
        tries = [-(-number // step) * step for number in tries]
    if whole:
        tries = [math.ceil(number) for number in tries]
    return next((number for number in tries if _is_within(number, schema)), tries[-1])


def _is_within(number: float, schema: Mapping[str, Any]) -> bool:
    bounds = {"minimum": operator.ge, "exclusiveMinimum": operator.gt, "maximum": operator.le, "exclusiveMaximum": operator.lt}
    return all(fits(number, schema[name]) for name, fits in bounds.items() if schema.get(name) is not None)


_SAID = re.compile(r"\b(\w+): (.*?)(?=, \w+: |\}$)", re.DOTALL)


def _bounds_in(description: str) -> dict[str, Any]:
    """Return the keywords that stand at the end of a description, in braces."""
    found: dict[str, Any] = {}
    for name, value in _SAID.findall(description[description.rindex("\n") + 1 :] if "\n" in description else description):
        if name == "pattern":
            found[name] = value
        elif name in _COUNTS:
            with contextlib.suppress(ValueError):
                found[name] = json.loads(value)
    return found


_COUNTS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf", "minLength", "maxLength", "minItems")


def _text_like(pattern: str) -> str:
    """Return a text that a simple regular expression matches: the least of each repetition, the first of each choice."""
    try:
        return "".join(_piece(step) for step in sre_parse.parse(pattern).data)
    except (re.error, ValueError, TypeError):
        return "simulated"


def _piece(step: Any) -> str:
    kind, value = str(step[0]), step[1]
    if kind in ("LITERAL", "NOT_LITERAL"):
        return chr(value) if kind == "LITERAL" else ("a" if value != ord("a") else "b")
    if kind == "IN":
        return _piece(value[0]) if str(value[0][0]) != "NEGATE" else "~"
    if kind == "RANGE":
        return chr(value[0])
    if kind == "CATEGORY":
        return {"CATEGORY_DIGIT": "0", "CATEGORY_SPACE": " "}.get(str(value), "a")
    if kind in ("MAX_REPEAT", "MIN_REPEAT", "POSSESSIVE_REPEAT"):
        least, _, inner = value
        text = "".join(map(_piece, inner))
        return text * min(int(least), _MOST // max(1, len(text)))
    if kind in ("SUBPATTERN", "ATOMIC_GROUP"):
        return "".join(map(_piece, value[-1] if kind == "SUBPATTERN" else value))
    if kind == "BRANCH":
        return "".join(map(_piece, value[1][0]))
    return "a" if kind == "ANY" else ""


_TEXTS = {
    "date": "2026-01-01",
    "date-time": "2026-01-01T00:00:00Z",
    "time": "00:00:00Z",
    "email": "simulated@example.com",
    "uri": "https://example.com/simulated",
    "uuid": "00000000-0000-4000-8000-000000000000",
    "duration": "P1D",
    "hostname": "example.com",
    "ipv4": "127.0.0.1",
    "ipv6": "::1",
}
