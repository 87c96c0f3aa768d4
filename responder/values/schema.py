"""What must an answer look like? A JSON Schema, and the type that an answer in that form becomes. The only room with pydantic."""

from __future__ import annotations

import functools
import importlib.util
import inspect
import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from responder.values.errors import ConfigurationError

WRAPPER = "result"
"""The property that holds an answer whose schema is not an object, for providers that accept only objects."""

# At most this many problems are shown; the rest is more of the same.
_MOST_PROBLEMS = 10


class UnfitError(ValueError):
    """A text does not fit a schema.

    Attributes:
        problems: What is wrong, in a few short sentences.
    """

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


class Schema(Mapping[str, Any]):
    """A JSON Schema, as a mapping; and how a text becomes the value that it describes. Immutable; compared by its content.

    Args:
        schema: JSON Schema, or any type that pydantic's TypeAdapter takes: a model, a dataclass, a TypedDict, an Enum, a
            Literal, a union, `list[...]`.

    Raises:
        ConfigurationError: It is neither, or pydantic is not installed.
    """

    __slots__ = ("_check", "_is_object", "_json", "forms", "kind")

    def __init__(self, schema: Any) -> None:
        self._json: Mapping[str, Any]
        self.kind: Any
        """The type; None for a JSON Schema."""
        self.forms: dict[Any, Any] = {}
        """What providers take in its place, by what they take."""
        self._is_object: bool | None = None
        self._check: Callable[[Any], None] | None = None
        if isinstance(schema, Schema):
            self._json, self.kind = schema._json, schema.kind
        elif isinstance(schema, Mapping):
            self._json, self.kind = schema, None
        else:
            self._json, self.kind = _json_schema_of(schema), schema

    def __getitem__(self, key: str) -> Any:
        return self._json[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._json)

    def __len__(self) -> int:
        return len(self._json)

    def __repr__(self) -> str:
        return f"Schema({self.kind if self.kind is not None else dict(self._json)!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        return Schema, (self.kind if self.kind is not None else dict(self._json),)

    @property
    def is_object(self) -> bool:
        """True when what it describes is a JSON object, and nothing else."""
        if self._is_object is None:
            self._is_object = self._describes_object()
        return self._is_object

    def _describes_object(self) -> bool:
        found: Any = self._json
        for _ in range(10):  # a reference to a reference: no more than a few in real schemas
            reference = found.get("$ref") if isinstance(found, Mapping) else None
            if not isinstance(reference, str):
                break
            found = resolved(self._json, reference)
        return isinstance(found, Mapping) and (found.get("type") == "object" or ("type" not in found and "properties" in found))

    def parse(self, text: str) -> Any:
        """Return the value in a text: of the schema's type, or plain JSON for a JSON Schema.

        Raises:
            UnfitError: The text does not fit.
        """
        if self.kind is not None and self.is_object:
            try:
                return _adapter(self.kind).validate_json(text)
            except ValueError:
                pass  # it may stand in a fence, or behind a sentence: looked at below
        value = _json_in(text)
        if not self.is_object and isinstance(value, dict) and list(value) == [WRAPPER]:
            value = value[WRAPPER]
        if self.kind is None:
            if self._check is None:
                self._check = _checking(self._json)
            self._check(value)
            return value
        try:
            return _adapter(self.kind).validate_json(json.dumps(value))
        except ValueError as error:
            raise UnfitError(_problems_of(error)) from None


def schema_of(given: Any) -> Schema:
    """Return a schema; that of a type is made once, which takes a third of a millisecond.

    Raises:
        ConfigurationError: As `Schema` raises it.
    """
    if isinstance(given, Schema):
        return given
    if isinstance(given, Mapping):
        return Schema(given)
    try:
        return _cached_schema(given)
    except TypeError:  # a type that cannot be hashed
        return Schema(given)


_cached_schema = functools.lru_cache(maxsize=256)(Schema)


def resolved(root: Mapping[str, Any], reference: str) -> Any:
    """Return what a reference such as `#/$defs/Item` leads to; {} where it leads nowhere."""
    found: Any = root
    for step in reference.removeprefix("#").strip("/").split("/"):
        name = step.replace("~1", "/").replace("~0", "~")
        found = found.get(name, {}) if isinstance(found, Mapping) and step else found
    return found


@functools.lru_cache(maxsize=256)
def _cached_adapter(kind: Any) -> Any:
    if _is_foreign(kind):
        return _Foreign(kind)
    import pydantic

    return pydantic.TypeAdapter(kind)


def _adapter(kind: Any) -> Any:
    try:
        return _cached_adapter(kind)
    except TypeError:  # a type that cannot be hashed, such as an Annotated with a dict in it
        return _cached_adapter.__wrapped__(kind)


class _Foreign:
    """A class that is not pydantic's and speaks as its models do (`model_json_schema`, `model_validate_json`)."""

    def __init__(self, kind: Any) -> None:
        self._kind = kind

    def json_schema(self) -> Mapping[str, Any]:
        return self._kind.model_json_schema()  # type: ignore[no-any-return]  # checked where it is used

    def validate_json(self, text: str) -> Any:
        validate = getattr(self._kind, "model_validate_json", json.loads)
        return validate(text)


def _is_foreign(kind: Any) -> bool:
    return callable(getattr(kind, "model_json_schema", None)) and not hasattr(kind, "__pydantic_core_schema__")


def _json_schema_of(kind: Any) -> Mapping[str, Any]:
    if _is_foreign(kind):
        return _adapter(kind).json_schema()  # type: ignore[no-any-return]  # as above
    if importlib.util.find_spec("pydantic") is None:
        raise ConfigurationError(
            f"schema={kind!r} needs pydantic: pip install 'responder-sdk[schema]', or give a JSON Schema (a dict)", fatal=True
        )
    import pydantic

    try:
        if inspect.isroutine(kind):
            raise pydantic.PydanticUserError("a function is no type", code=None)
        return _adapter(kind).json_schema()  # type: ignore[no-any-return]  # pydantic returns dict[str, Any]
    except pydantic.PydanticUserError as error:
        raise ConfigurationError(
            f"schema must be a JSON Schema (a dict) or a type that pydantic knows, not {kind!r}: {str(error).splitlines()[0]}",
            fatal=True,
        ) from None


def _json_in(text: str) -> Any:
    """Return the JSON in a text: the whole of it, or what stands in a fence, or from the first bracket to the last."""
    stripped = text.strip()
    if stripped.startswith("```"):
        stripped = stripped.partition("\n")[2].rpartition("```")[0].strip() or stripped
    begins = [at for at in (stripped.find("{"), stripped.find("[")) if at >= 0]
    tries = [stripped]
    if begins:
        begin = min(begins)
        tries.append(stripped[begin : max(stripped.rfind("}"), stripped.rfind("]")) + 1])
    first: Exception | None = None
    for found in tries:
        try:
            return json.loads(found)
        except (ValueError, RecursionError) as error:
            first = first or error
    raise UnfitError([f"it is not JSON: {first}"])


def _checking(schema: Mapping[str, Any]) -> Callable[[Any], None]:
    """Return what refuses a value that does not fit a JSON Schema; nothing does where jsonschema is not installed."""
    if importlib.util.find_spec("jsonschema") is None:
        return lambda value: None  # noqa: ARG005 - taken and not looked at
    import jsonschema
    import referencing

    kind = jsonschema.validators.validator_for(schema, default=jsonschema.Draft202012Validator)
    try:
        kind.check_schema(dict(schema))
    except jsonschema.SchemaError:  # the provider took it, whatever it is
        return lambda value: None  # noqa: ARG005 - as above
    validator = kind(dict(schema), registry=referencing.Registry())  # one that fetches nothing

    def check(value: Any) -> None:
        try:
            problems = [
                f"{'.'.join(map(str, problem.absolute_path)) or 'the answer'}: {problem.message[:200]}"
                for problem, _ in zip(validator.iter_errors(value), range(_MOST_PROBLEMS), strict=False)
            ]
        except RecursionError:
            problems = ["it is nested too deeply"]
        except referencing.exceptions.Unresolvable as error:
            raise ConfigurationError(f"the schema refers to what it does not hold: {error}", fatal=True) from None
        if problems:
            raise UnfitError(problems)

    return check


def _problems_of(error: ValueError) -> list[str]:
    found = getattr(error, "errors", None)
    if found is None:
        return [str(error)[:500]]
    return [
        f"{'.'.join(map(str, problem['loc'])) or 'the answer'}: {problem['msg'][:200]}"
        for problem in found(include_url=False, include_input=False)[:_MOST_PROBLEMS]
    ]
