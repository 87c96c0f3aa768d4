"""What comes back: the values Answer and Usage."""

from __future__ import annotations

import dataclasses
import pickle

import pytest

from responder import Answer, ToolCall, Usage

ANSWER = Answer("Hello.", usage=Usage(3, 2, known=True), tool_calls=(ToolCall("1", "f", {"a": 1}),), raw={"id": "x"})


def test_usage_adds_up() -> None:
    """Sums of tokens; known once one of them is."""
    total = Usage(1, 2, 3, 4) + Usage(10, 20, 30, 40, known=True)
    assert total == Usage(11, 22, 33, 44, known=True)
    assert total.total_tokens == 33
    assert not (Usage() + Usage()).known


def test_usage_that_was_not_reported_says_so() -> None:
    """Zero tokens and no idea are two things."""
    assert Usage() != Usage(known=True)


def test_an_answer_cannot_be_changed() -> None:
    """Threads may share it."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        ANSWER.text = "other"  # type: ignore[misc]  # what the test is about


def test_an_answer_pickles() -> None:
    """Caches and process pools need that."""
    assert pickle.loads(pickle.dumps(ANSWER)) == ANSWER


def test_an_answer_is_its_text_for_str() -> None:
    """So print(answer) shows what the model said; its repr leaves the raw reply out."""
    assert str(ANSWER) == "Hello."
    assert "'id'" not in repr(ANSWER)


@pytest.mark.pain(18)
def test_a_cut_answer_says_that_it_is_cut() -> None:
    """Whoever looks at `truncated` does not take half for the whole."""
    assert Answer("Hel", "length").truncated
    assert not ANSWER.truncated


@pytest.mark.pain(18)
def test_json_of_a_cut_answer_names_the_cut() -> None:
    """And for one that never was JSON, how to ask for it."""
    assert Answer('{"a": 1}').json() == {"a": 1}
    with pytest.raises(ValueError, match="cut at max_tokens"):
        Answer('{"a": ', "length").json()
    with pytest.raises(ValueError, match="schema="):
        Answer("Hello.").json()
