"""What stands at the front door: every name is there, documented, and typed as a user needs it."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import sys
from pathlib import Path

import pytest

import responder
from responder.providers import PROVIDERS, ModelKeywords
from responder.responder import CommonKeywords


def test_every_public_name_exists_once_and_in_order() -> None:
    """`__all__` is what it says."""
    assert len(set(responder.__all__)) == len(responder.__all__)
    for name in responder.__all__:
        assert hasattr(responder, name), name


def test_nothing_else_of_ours_stands_at_the_front_door() -> None:
    """What is imported there is meant to be public; the rest are modules."""
    names = {name for name, value in vars(responder).items() if not name.startswith("_") and not inspect.ismodule(value)}
    assert names <= set(responder.__all__) | {"TYPE_CHECKING", "Any", "annotations"}


def test_every_provider_stands_at_the_front_door() -> None:
    """Whoever knows `for_model` can have the class as well."""
    for kind in PROVIDERS.values():
        assert getattr(responder, kind.__name__) is kind


@pytest.mark.parametrize("name", [name for name in responder.__all__ if not name.startswith("_")])
def test_every_public_name_is_documented(name: str) -> None:
    """Classes, functions, and the public methods of classes, those that they inherit from ours included."""
    found = getattr(responder, name)
    if inspect.isclass(found) or inspect.isfunction(found):
        assert inspect.getdoc(found), name
    if inspect.isclass(found):
        ours = [vars(base) for base in inspect.getmro(found) if base.__module__.partition(".")[0] == "responder"]
        for method, value in [pair for names in ours for pair in names.items()]:
            if not method.startswith("_") and inspect.isfunction(value):
                assert inspect.getdoc(getattr(found, method)), f"{name}.{method}"


def test_the_keywords_for_type_checkers_are_those_that_there_are() -> None:
    """The constructor's and the options' names stand once more for type checkers, who cannot copy them."""
    taken = {name for name in inspect.signature(responder.Responder).parameters if name not in ("model", "options")}
    options = {option.name for option in dataclasses.fields(responder.Options)}
    assert set(responder.AnswerOptions.__annotations__) == options - {"schema"}
    assert set(CommonKeywords.__annotations__) == (taken | options) - {"api_key", "base_url"}
    assert set(ModelKeywords.__annotations__) >= taken | options


def test_the_package_says_that_it_is_typed() -> None:
    """Without the marker file, type checkers would ignore all of it."""
    assert (Path(responder.__file__).parent / "py.typed").is_file()


@pytest.mark.parametrize(
    ("old", "name"), [("limit_store", "FileLimitStore"), ("limit_store", "LimitStore"), ("stream", "ChunkReader")]
)
def test_a_module_that_the_docs_once_named_still_works(old: str, name: str) -> None:
    """With a warning that says what to write instead."""
    sys.modules.pop(f"responder.{old}", None)
    with pytest.warns(DeprecationWarning, match=f"from responder import .*{name}"):
        module = importlib.import_module(f"responder.{old}")
    assert getattr(module, name) is getattr(responder, name)
