"""What can go wrong: one tree, as it is drawn; every error travels between processes."""

from __future__ import annotations

import inspect
import pickle
import re
from typing import Any

import pytest

import responder
from responder import Answer, Batch, BatchError, ResponderError, Result, Usage
from responder.values import errors


def every_error() -> list[type[ResponderError]]:
    return [
        found
        for _, found in inspect.getmembers(errors, inspect.isclass)
        if issubclass(found, ResponderError) and not found.__name__.startswith("_")
    ]


def drawn_tree() -> dict[str, str]:
    """Return the parent of each error in the drawing at the top of the file."""
    parents: dict[str, str] = {}
    above: list[tuple[int, str]] = []
    for indent, name in re.findall(r"^( +)(\w+Error)\b", errors.__doc__ or "", re.MULTILINE):
        while above and above[-1][0] >= len(indent):
            above.pop()
        if above:
            parents[name] = above[-1][1]
        above.append((len(indent), name))
    return parents


def test_the_tree_is_as_drawn() -> None:
    """Who reads the drawing knows what to catch."""
    drawn = drawn_tree()
    for error in every_error():
        bases = [base for base in error.__mro__[1:] if not base.__name__.startswith("_")]
        if error is ResponderError:
            assert bases[0] is Exception
        else:
            assert drawn[error.__name__] == bases[0].__name__
    assert set(drawn) | {"ResponderError"} == {error.__name__ for error in every_error()}


def test_every_error_is_at_the_front_door() -> None:
    """`from responder import RateLimitError` works for each of them."""
    for error in every_error():
        assert getattr(responder, error.__name__) is error
        assert error.__name__ in responder.__all__


def test_no_error_hides_a_builtin() -> None:
    """`except TimeoutError` must go on meaning Python's own."""
    import builtins

    assert not [error.__name__ for error in every_error() if hasattr(builtins, error.__name__)]


DETAILS: dict[str, Any] = {
    "provider": "openai",
    "model": "m",
    "status": 429,
    "request_id": "r-1",
    "code": "slow_down",
    "retryable": True,
    "retry_after": 1.5,
    "fatal": True,
    "body": {"error": "x"},
    "text": "so far",
    "finish_reason": "length",
    "usage": Usage(1, 2, known=True),
    "results": Batch([Result(0, "Hi", Answer("Hello."))]),
}


@pytest.mark.pain(6)
@pytest.mark.parametrize("error", every_error(), ids=lambda error: error.__name__)
def test_every_error_pickles_with_all_that_it_carries(error: type[ResponderError]) -> None:
    """Process pools hand errors back; nothing may be lost on the way."""
    accepted = set()
    for kind in error.__mro__:
        if issubclass(kind, ResponderError):
            accepted |= set(inspect.signature(kind.__init__).parameters)
    made = error("what went wrong", **{name: value for name, value in DETAILS.items() if name in accepted})
    made.attempts, made.waited = 3, 1.25
    made.__cause__ = ValueError("the cause stays behind")
    copy = pickle.loads(pickle.dumps(made))
    assert type(copy) is error
    assert str(copy) == "what went wrong"
    assert (copy.attempts, copy.waited, copy.fatal) == (3, 1.25, made.fatal)
    for name in DETAILS:
        if name == "results" and hasattr(made, name):
            assert list(copy.results) == list(made.results)
        elif hasattr(made, name):
            assert getattr(copy, name) == getattr(made, name)


@pytest.mark.parametrize("error", every_error(), ids=lambda error: error.__name__)
def test_every_error_has_what_all_errors_have(error: type[ResponderError]) -> None:
    """Whoever logs errors need not ask which one it is."""
    made = error()
    assert isinstance(made.attempts, int)
    assert made.waited == 0.0
    assert made.fatal is (error is responder.BudgetExceededError)  # no other prompt has money either
    assert error.__doc__
    if issubclass(error, responder.APIError):
        names = ("provider", "model", "status", "request_id", "code", "retryable", "retry_after", "elapsed")
        assert all(hasattr(made, name) for name in names)


def test_a_batch_that_is_attached_to_an_error_stays_in_the_process() -> None:
    """It may hold anything, also what does not pickle."""
    error = responder.APIError("no")
    error.batch = lambda: None  # type: ignore[attr-defined]  # an attribute of the user's
    assert not hasattr(pickle.loads(pickle.dumps(error)), "batch")


def test_a_batch_error_names_the_first_failure() -> None:
    """How many of how many, and where."""
    batch = Batch([Result(1, "b", error=ValueError("nope")), Result(0, "a", Answer("A"))])
    with pytest.raises(BatchError, match=r"1 of 2 items failed; the first is item 1: nope"):
        batch.answers()
