"""Keywords written once: several functions take the parameters of one, with their types, defaults and explanations.

    def _plan(prompts: Iterable[str], *, workers: int = 16, progress: bool = False) -> Plan: ...

    @parameters_of(_plan)
    def run(plan: Plan) -> Batch: ...

`run(prompts, workers=4)` calls `_plan(prompts, workers=4)` and hands its value to the body. Type checkers, `help()`,
`inspect.signature` and the reference page show `run(prompts, *, workers=16, progress=False) -> Batch`; the explanations
under "Args:" are those of `_plan`. Parameters may be generic, and may end in `**options: Unpack[SomeTypedDict]`.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from functools import update_wrapper
from types import FunctionType
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar, cast

if sys.version_info >= (3, 11):
    from typing import Unpack as Unpack
elif TYPE_CHECKING:
    from typing_extensions import Unpack as Unpack
else:
    Unpack = object  # annotations are not evaluated; Python 3.10 has no name for it

P = ParamSpec("P")
S = TypeVar("S")  # self
A = TypeVar("A")  # what the arguments were made into
R = TypeVar("R")  # result


def parameters_of(source: Callable[P, A]) -> Callable[[Callable[[A], R]], Callable[P, R]]:
    """Give a function the parameters of `source`; its body is called with what `source` returns for them."""

    def decorate(body: Callable[[A], R]) -> Callable[P, R]:
        gather = _named_as(body, source)

        def function(*args: P.args, **kwargs: P.kwargs) -> R:
            return body(gather(*args, **kwargs))

        return _described(function, body, source)

    return decorate


def parameters_of_method(
    source: Callable[Concatenate[S, P], A],
) -> Callable[[Callable[[S, A], R]], Callable[Concatenate[S, P], R]]:
    """Do the same for a method: its body is called with `self` and with what the method `source` returns."""

    def decorate(body: Callable[[S, A], R]) -> Callable[Concatenate[S, P], R]:
        gather = _named_as(body, source)

        def method(self: S, /, *args: P.args, **kwargs: P.kwargs) -> R:
            return body(self, gather(self, *args, **kwargs))

        return _described(method, body, source)

    return decorate


def _named_as(body: Callable[..., Any], source: Callable[P, A]) -> Callable[P, A]:
    """Return `source` under the name of `body`, for "run() got an unexpected keyword argument 'wrokers'"."""
    original = cast(FunctionType, source)
    copy = FunctionType(original.__code__, original.__globals__, body.__name__, original.__defaults__, original.__closure__)
    copy.__kwdefaults__ = original.__kwdefaults__
    copy.__qualname__ = body.__qualname__
    return cast("Callable[P, A]", copy)


def _described(function: Callable[P, R], body: Callable[..., Any], source: Callable[..., Any]) -> Callable[P, R]:
    update_wrapper(function, body)
    returned = inspect.signature(body).return_annotation
    function.__signature__ = inspect.signature(source).replace(return_annotation=returned)  # type: ignore[attr-defined]  # inspect's
    function.__annotations__ = {**source.__annotations__, "return": returned}
    function.__doc__ = _with_arguments(inspect.getdoc(body), inspect.getdoc(source))
    return function


def _with_arguments(doc: str | None, source: str | None) -> str | None:
    """Return a docstring with the section "Args:" of another one, after the text and before "Returns:" and "Raises:"."""
    if doc is None or source is None:  # python -OO
        return doc
    sections = [part for part in source.split("\n\n") if part.startswith("Args:")]
    paragraphs = doc.split("\n\n")
    text = [part for part in paragraphs if not part.startswith(("Returns:", "Raises:"))]
    return "\n\n".join([*text, *sections, *paragraphs[len(text) :]])
