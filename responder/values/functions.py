"""What does a Python function look like to a model, and how do the model's arguments become its own?

Plain types (str, int, float, bool, list, dict, Literal, Enum, unions of them) need nothing more. Dataclasses, pydantic models and
all else that pydantic knows need pydantic, which is imported when the first such parameter is met.
"""

from __future__ import annotations

import collections.abc
import enum
import functools
import importlib.util
import inspect
import itertools
import re
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from responder.values.errors import ConfigurationError

# What OpenAI, Anthropic and Google all take as a tool's name.
_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_-]{0,63}")

_SECTIONS = ("args:", "arguments:", "parameters:", "returns:", "raises:", "yields:", "example:", "examples:", "note:", "notes:")
_ARGUMENT = re.compile(r"(\w+)\s*(?:\([^)]*\))?\s*:\s*(.*)")

Reader = Callable[[Any], Any]


@dataclass(frozen=True, slots=True)
class _Parameter:
    """One parameter of a function.

    Attributes:
        name: Its name.
        kind: How Python binds it.
        schema: JSON Schema of what the model gives.
        read: Makes the argument of it; raises a ValueError where it does not fit.
        is_required: True without a default.
    """

    name: str
    kind: Any
    schema: Mapping[str, Any]
    read: Reader
    is_required: bool


class Function:
    """A Python function as a tool.

    Args:
        call: The function. Its name, docstring and type hints are what the model is told; under `Args:` the docstring may
            describe each parameter (Google's style).
        name: What the model calls it; None: as Python does.

    Raises:
        ConfigurationError: It cannot be a tool; the message says why.
    """

    def __init__(self, call: Callable[..., Any], name: str | None = None) -> None:
        self.call = call
        self.name = _name_of(call, name)
        doc, described = _documented(call)
        self.description = doc
        self._parameters, definitions = _parameters_of(call, self.name)
        properties = {
            parameter.name: {**parameter.schema, "description": described[parameter.name]}
            if parameter.name in described
            else dict(parameter.schema)
            for parameter in self._parameters
        }
        self.parameters: dict[str, Any] = {"type": "object", "properties": properties}
        if required := [parameter.name for parameter in self._parameters if parameter.is_required]:
            self.parameters["required"] = required
        self.parameters["additionalProperties"] = False
        if definitions:
            self.parameters["$defs"] = definitions

    def __call__(self, given: Mapping[str, Any]) -> Any:
        """Call the function with a model's arguments.

        Raises:
            ValueError: They do not fit; the message says what is wrong, for the model.
            Exception: Whatever the function raises.
        """
        args, named = self._bound(given)
        return self.call(*args, **named)

    def _bound(self, given: Mapping[str, Any]) -> tuple[list[Any], dict[str, Any]]:
        known = {parameter.name for parameter in self._parameters}
        wrong = [f"{name}: there is no such argument" for name in given if name not in known]
        args: list[Any] = []
        named: dict[str, Any] = {}
        for parameter in self._parameters:
            if parameter.name not in given:
                if parameter.is_required:
                    wrong.append(f"{parameter.name}: it is missing")
                continue
            try:
                value = parameter.read(given[parameter.name])
            except ValueError as error:
                wrong.append(f"{parameter.name}: {_said(error)}")
                continue
            if parameter.kind is inspect.Parameter.POSITIONAL_ONLY:
                args.append(value)
            else:
                named[parameter.name] = value
        if wrong:
            raise ValueError("; ".join(wrong[:10]))
        return args, named


def _name_of(call: Callable[..., Any], given: str | None) -> str:
    name: str = given or str(getattr(call, "__name__", ""))
    if inspect.isclass(call):
        raise ConfigurationError(f"tools takes functions, not the class {name}: write a function that makes one", fatal=True)
    if inspect.iscoroutinefunction(call) or inspect.isasyncgenfunction(call):
        raise ConfigurationError(
            f"the tool {name} is an async function: tools are called in threads, so write a plain def", fatal=True
        )
    if given is None and not _NAME.fullmatch(name):
        raise ConfigurationError(
            f"the function {call!r} has no name that a model can call: write a def with an ASCII name, or "
            "Tool(name, description, parameters, function=...)",
            fatal=True,
        )
    return name


def _documented(call: Callable[..., Any]) -> tuple[str, dict[str, str]]:
    """Return what a docstring says of a function, and of each parameter."""
    lines = (inspect.getdoc(call) or "").splitlines()
    starts = [number for number, line in enumerate(lines) if line.strip().lower() in _SECTIONS and line[:1].strip()]
    text = "\n".join(lines[: starts[0]] if starts else lines).strip()
    described: dict[str, str] = {}
    for start, end in itertools.pairwise([*starts, len(lines)]):
        if lines[start].strip().lower() not in _SECTIONS[:3]:
            continue
        body = [line for line in lines[start + 1 : end] if line.strip()]
        depth = len(body[0]) - len(body[0].lstrip()) if body else 0
        name = ""
        for line in body:
            found = _ARGUMENT.fullmatch(line.strip()) if len(line) - len(line.lstrip()) <= depth else None
            if found is not None:
                name, said = found.groups()
                described[name] = said.strip()
            elif name:
                described[name] = f"{described[name]} {line.strip()}".strip()
    return text, described


def _parameters_of(call: Callable[..., Any], name: str) -> tuple[list[_Parameter], Mapping[str, Any]]:
    """Return the parameters of a function, and the definitions that their schemas refer to."""
    try:
        signature = inspect.signature(call)
        hints = typing.get_type_hints(_annotated(call), include_extras=True)
    except (ValueError, TypeError, NameError, AttributeError) as error:
        raise ConfigurationError(f"the parameters of the tool {name} cannot be read: {error}", fatal=True) from None
    found: list[_Parameter] = []
    others: dict[str, Any] = {}
    for parameter in signature.parameters.values():
        if parameter.kind in (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD):
            raise ConfigurationError(
                f"the tool {name} takes {parameter}: a model needs to know each parameter by name", fatal=True
            )
        hint = hints.get(parameter.name, Any)
        plain = _plain(hint)
        if plain is None:
            others[parameter.name] = hint
            plain = {}, lambda value: value
        schema, read = plain
        if isinstance(parameter.default, (str, int, float)):
            schema = {
                **schema,
                "default": parameter.default.value if isinstance(parameter.default, enum.Enum) else parameter.default,
            }
        found.append(_Parameter(parameter.name, parameter.kind, schema, read, parameter.default is inspect.Parameter.empty))
    if not others:
        return found, {}
    made, definitions = _by_pydantic(others, name)
    return [
        _Parameter(each.name, each.kind, {**made[each.name][0], **each.schema}, made[each.name][1], each.is_required)
        if each.name in made
        else each
        for each in found
    ], definitions


def _annotated(call: Callable[..., Any]) -> Any:
    """Return what holds the type hints: the function behind a partial, or the method of an object that is called."""
    call = inspect.unwrap(call)
    if isinstance(call, functools.partial):
        return _annotated(call.func)
    return call if inspect.isroutine(call) else type(call).__call__


def _by_pydantic(hints: Mapping[str, Any], name: str) -> tuple[dict[str, tuple[Mapping[str, Any], Reader]], Mapping[str, Any]]:
    if importlib.util.find_spec("pydantic") is None:
        raise ConfigurationError(
            f"the tool {name} has a parameter {next(iter(hints))} of a type that needs pydantic: pip install pydantic, or use "
            "str, int, float, bool, list, dict, Literal, Enum and unions of them",
            fatal=True,
        )
    import pydantic

    try:
        adapters = {parameter: pydantic.TypeAdapter(hint) for parameter, hint in hints.items()}
        schemas, root = pydantic.TypeAdapter.json_schemas(
            [(parameter, "validation", adapter) for parameter, adapter in adapters.items()]
        )
    except pydantic.PydanticUserError as error:
        reason = str(error).splitlines()[0]
        raise ConfigurationError(f"the parameters of the tool {name} have no JSON Schema: {reason}", fatal=True) from None
    made: dict[str, tuple[Mapping[str, Any], Reader]] = {
        parameter: (schemas[parameter, "validation"], adapter.validate_python) for parameter, adapter in adapters.items()
    }
    return made, root.get("$defs", {})


def _said(error: ValueError) -> str:
    """Return what is wrong, without the links that pydantic writes."""
    problems = getattr(error, "errors", None)
    if problems is None:
        return str(error)
    return ", ".join(
        " ".join(filter(None, [".".join(map(str, problem["loc"])), problem["msg"]]))
        for problem in problems(include_url=False, include_input=False)[:5]
    )


# Plain types


def _plain(hint: Any) -> tuple[Mapping[str, Any], Reader] | None:
    """Return the schema of a plain type and what reads it; None for a type that takes pydantic."""
    if hint is Any or hint is object:
        return {}, lambda value: value
    if hint in _SCALARS:
        return _SCALARS[hint]
    if inspect.isclass(hint) and issubclass(hint, enum.Enum):
        return _one_of([member.value for member in hint], hint)
    if hint in (list, collections.abc.Sequence, typing.List):  # noqa: UP006 - what older code is annotated with
        return {"type": "array"}, _instance(list, "a list")
    if hint in (dict, collections.abc.Mapping, typing.Dict):  # noqa: UP006 - as users may write it
        return {"type": "object"}, _instance(dict, "an object")
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Literal:
        return _one_of(list(arguments), lambda value: value)
    if origin in (typing.Union, types.UnionType):
        return _any_of([_plain(argument) for argument in arguments])
    if origin is typing.Annotated and all(isinstance(said, str) for said in arguments[1:]):
        inner = _plain(arguments[0])
        return None if inner is None else ({**inner[0], "description": " ".join(arguments[1:])}, inner[1])
    if origin in (list, collections.abc.Sequence, collections.abc.Iterable):
        return _list_of(_plain(arguments[0]))
    if origin in (dict, collections.abc.Mapping) and arguments[0] is str:
        return _dict_of(_plain(arguments[1]))
    return None


def _unfit(wanted: str, value: Any) -> ValueError:
    return ValueError(f"{wanted} is wanted, not {repr(value)[:200]}")


def _integer(value: Any) -> int:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise _unfit("a whole number", value)
    return value


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise _unfit("a number", value)
    return float(value)


def _instance(kind: type, wanted: str) -> Reader:
    def read(value: Any) -> Any:
        if not isinstance(value, kind):
            raise _unfit(wanted, value)
        return value

    return read


_SCALARS: Mapping[Any, tuple[Mapping[str, Any], Reader]] = {
    str: ({"type": "string"}, _instance(str, "a string")),
    bool: ({"type": "boolean"}, _instance(bool, "true or false")),
    int: ({"type": "integer"}, _integer),
    float: ({"type": "number"}, _number),
    type(None): ({"type": "null"}, _instance(type(None), "null")),
}


def _one_of(values: list[Any], read: Reader) -> tuple[Mapping[str, Any], Reader] | None:
    kinds = {type(value) for value in values}
    if not kinds <= {str, int, float, bool, type(None)}:
        return None

    def checked(value: Any) -> Any:
        if not any(value == each and isinstance(value, bool) == isinstance(each, bool) for each in values):
            raise ValueError(f"one of {values} is wanted, not {value!r}")
        return read(value)

    schema: dict[str, Any] = {"enum": values}
    if len(kinds) == 1:
        schema = {**_SCALARS[kinds.pop()][0], **schema}
    return schema, checked


def _any_of(options: list[tuple[Mapping[str, Any], Reader] | None]) -> tuple[Mapping[str, Any], Reader] | None:
    known = [option for option in options if option is not None]
    if len(known) < len(options):
        return None

    def read(value: Any) -> Any:
        wrong = []
        for _, reader in known:
            try:
                return reader(value)
            except ValueError as error:
                wrong.append(str(error))
        raise ValueError(", or ".join(wrong))

    return {"anyOf": [dict(schema) for schema, _ in known]}, read


def _list_of(item: tuple[Mapping[str, Any], Reader] | None) -> tuple[Mapping[str, Any], Reader] | None:
    if item is None:
        return None
    schema, read = item
    is_list = _instance(list, "a list")
    return {"type": "array", "items": dict(schema)}, lambda value: [read(each) for each in is_list(value)]


def _dict_of(item: tuple[Mapping[str, Any], Reader] | None) -> tuple[Mapping[str, Any], Reader] | None:
    if item is None:
        return None
    schema, read = item
    is_dict = _instance(dict, "an object")
    return {"type": "object", "additionalProperties": dict(schema)}, lambda value: {
        name: read(each) for name, each in is_dict(value).items()
    }
