"""How should the model answer? The options that every provider shares, checked once; each provider spells them its own way."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypedDict

from responder.values.errors import ConfigurationError
from responder.values.schema import Schema, schema_of


@dataclass(frozen=True, slots=True)
class Tool:
    """A function that the model may ask for.

    Attributes:
        name: Its name.
        description: What it does, for the model.
        parameters: JSON Schema of its arguments.
        function: What `answer` and the maps call when the model asks for it; None: the call is yours to answer.
    """

    name: str
    description: str = ""
    parameters: Mapping[str, Any] = field(default_factory=lambda: {"type": "object", "properties": {}})
    function: Callable[..., Any] | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Options:
    """Everything about an answer except the prompt; None means: not sent, the provider's default.

    Attributes:
        temperature: Randomness, 0 and up.
        top_p: Nucleus sampling, 0 to 1.
        max_tokens: The answer's limit in tokens, reasoning included.
        stop: Texts at which the model stops.
        seed: For repeatable sampling, where the provider has it.
        tools: What the model may ask for: Python functions, which are called for it, and Tools and dicts, which are not.
        tool_choice: "auto", "none", "required", or the name of the tool that must be called.
        schema: What the answer must fit: JSON Schema, or a type (a pydantic model, a dataclass, a TypedDict, an Enum, a Literal,
            `list[...]`), which `Answer.parsed` then is.
        reasoning_effort: "minimal", "low", "medium", "high", ... where the model has it.
        candidates: How many answers to make; the first is `Answer.text`.
        service_tier: How soon and how dearly the request is served, in the provider's own words ("flex", "priority", ...).
        prompt_cache: Keep what many requests begin with (tools, system text, earlier turns) in the provider's cache: True, or for
            how long, in the provider's word ("5m", "1h", "24h", ...).
        logprobs: Ask for `Answer.logprobs`, with so many of the likeliest tokens at each place; 0: the token alone.
        extra: Merged into the provider's payload as it is: for everything that has no option here.
    """

    temperature: float | None = None
    top_p: float | None = None
    max_tokens: int | None = None
    stop: tuple[str, ...] | None = None
    seed: int | None = None
    tools: tuple[Tool, ...] | None = None
    tool_choice: str | None = None
    schema: Schema | None = None
    reasoning_effort: str | None = None
    candidates: int | None = None
    service_tier: str | None = None
    prompt_cache: bool | str | None = None
    logprobs: int | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)

    def merged(self, given: Mapping[str, Any], beside: Callable[..., object] | None = None) -> Options:
        """Return these options with others on top; None removes an option.

        Args:
            given: Names and values.
            beside: The function that takes the options, whose other keywords are used for "did you mean".

        Raises:
            ConfigurationError: An option that does not exist, or a value of the wrong kind.
        """
        if not given:
            return self
        unknown = sorted(set(given) - _NAMES)
        if unknown:
            raise _unknown(unknown, beside)
        changes = dict(given)
        if isinstance(changes.get("stop"), str):
            changes["stop"] = (changes["stop"],)
        elif changes.get("stop") is not None:
            changes["stop"] = tuple(_sequence(changes["stop"], "stop"))
            if not all(isinstance(text, str) for text in changes["stop"]):
                raise ConfigurationError(f"stop must be a text or a list of texts, not {changes['stop']!r}", fatal=True)
        if changes.get("tools") is not None:
            changes["tools"] = _as_tools(changes["tools"])
        if changes.get("schema") is not None:
            changes["schema"] = schema_of(changes["schema"])
        if "extra" in changes:
            extra = changes["extra"]
            changes["extra"] = {} if extra is None else overlaid(self.extra, _mapping(extra, "extra"))
        for name in ("max_tokens", "candidates"):
            value = changes.get(name)
            if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
                raise ConfigurationError(f"{name} must be a whole number, 1 or more, not {value!r}", fatal=True)
        kept = changes.get("prompt_cache")
        if kept is False:
            changes["prompt_cache"] = None
        elif kept is not None and (not isinstance(kept, (bool, str)) or not kept):
            raise ConfigurationError(f'prompt_cache must be True, or a lifetime such as "1h", not {kept!r}', fatal=True)
        logprobs = changes.get("logprobs")
        if logprobs is not None and (isinstance(logprobs, bool) or not isinstance(logprobs, int) or logprobs < 0):
            raise ConfigurationError(f"logprobs must be a whole number, 0 or more, not {logprobs!r}", fatal=True)
        return dataclasses.replace(self, **changes)


_NAMES = frozenset(option.name for option in dataclasses.fields(Options))


class AnswerOptions(TypedDict, total=False):
    """The options as keywords, for type checkers and editors; `Options` explains them. `schema` is a parameter of its own."""

    temperature: float | None
    top_p: float | None
    max_tokens: int | None
    stop: str | Sequence[str] | None
    seed: int | None
    tools: Sequence[Tool | Mapping[str, Any] | Callable[..., Any]] | None
    tool_choice: str | None
    reasoning_effort: str | None
    candidates: int | None
    service_tier: str | None
    prompt_cache: bool | str | None
    logprobs: int | None
    extra: Mapping[str, Any] | None


def _unknown(names: Sequence[str], beside: Callable[..., object] | None) -> ConfigurationError:
    import difflib  # these two only here, for the hint
    import inspect

    keywords = inspect.signature(beside).parameters if beside is not None else ()
    known = [*sorted(_NAMES), *(name for name in keywords if name not in ("self", "prompt", "prompts", "options"))]
    close = difflib.get_close_matches(names[0], known, n=1)
    hint = f" (did you mean {close[0]}?)" if close else ""
    # The model belongs to the responder, and so do its price and limits: a model sent in `extra` would not be accounted for.
    advice = (
        "a responder asks one model: make another one for another model"
        if "model" in names
        else f"put what only your provider has in extra={{{names[0]!r}: ...}}"
    )
    return ConfigurationError(
        f"unknown option {', '.join(names)}{hint}: the options are {', '.join(sorted(_NAMES))};  {advice}", fatal=True
    )


def _as_tools(tools: Any) -> tuple[Tool, ...]:
    made = tuple(_as_tool(tool) for tool in _sequence(tools, "tools"))
    names = [tool.name for tool in made]
    if twice := [tool.name for tool in made if tool.function is not None and names.count(tool.name) > 1]:
        raise ConfigurationError(f"two tools have the name {twice[0]}: a model could not tell them apart", fatal=True)
    return made


def _as_tool(tool: Any) -> Tool:
    if isinstance(tool, Tool):
        return tool
    if callable(tool) and not isinstance(tool, Mapping):
        # Here, because it takes what reads signatures, and few calls have functions.
        from responder.values.functions import Function

        function = Function(tool)
        return Tool(function.name, function.description, function.parameters, tool)
    found = _mapping(tool, "a tool")
    if found.get("type") == "function" and "function" in found:
        found = _mapping(found["function"], "a tool's function")
    if not isinstance(found.get("name"), str):
        raise ConfigurationError("a tool needs a name: Tool(name, description, parameters), or a dict of these", fatal=True)
    parameters = found.get("parameters") or found.get("input_schema") or {"type": "object", "properties": {}}
    return Tool(found["name"], str(found.get("description") or ""), parameters)


def _mapping(value: Any, what: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise ConfigurationError(f"{what} must be a dict, not {type(value).__name__}", fatal=True)
    return value


def _sequence(value: Any, what: str) -> Sequence[Any]:
    if not isinstance(value, Sequence) or isinstance(value, (str, bytes)):
        raise ConfigurationError(f"{what} must be a list, not {type(value).__name__}", fatal=True)
    return value


def overlaid(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Return an object with another one merged over it: nested objects are merged, everything else is replaced.

    So `extra={"generationConfig": {"topK": 3}}` keeps the temperature beside it.
    """
    made = dict(below)
    for name, value in above.items():
        under = made.get(name)
        made[name] = overlaid(under, value) if isinstance(under, Mapping) and isinstance(value, Mapping) else value
    return made
