"""Distributions, and the words the simulated model says."""

from __future__ import annotations

import random
import statistics

import pytest

from responder.simulator.answers import default_answer, example_of, pieces, token_count
from responder.simulator.dialects.openai_refusals import go_duration
from responder.simulator.pace import distribution


def test_numbers_lists_and_ranges_are_drawn_as_written() -> None:
    """Constant, in turn, evenly between."""
    source = random.Random(1)
    assert {distribution("0.2", source)(), distribution(0.2, source)()} == {0.2}
    draw = distribution("list:1,2", source)
    assert [draw() for _ in range(3)] == [1, 2, 1]
    evenly = distribution("uniform:2:3", source)
    assert all(2 <= evenly() <= 3 for _ in range(100))


def test_a_lognormal_has_the_median_and_the_percentile_it_was_given() -> None:
    """Within a few percent over many draws."""
    draw = distribution("lognormal:1:3", random.Random(1))
    drawn = sorted(draw() for _ in range(20_000))
    assert statistics.median(drawn) == pytest.approx(1, rel=0.05)
    assert drawn[19_000] == pytest.approx(3, rel=0.1)


@pytest.mark.parametrize("wrong", ["", "x", "uniform:1", "lognormal:0:1", "list:", "nan", float("inf"), []])
def test_what_is_no_distribution_is_refused(wrong: object) -> None:
    """With the forms that are understood."""
    with pytest.raises(ValueError, match="lognormal:MEDIAN:P95"):
        distribution(wrong, random.Random(1))


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0s"), (0.004, "4ms"), (8.64, "8.64s"), (64.296, "1m4.296s"), (360, "6m0s"), (7380, "2h3m0s")]
)
def test_durations_are_written_as_go_writes_them(seconds: float, text: str) -> None:
    """The forms that were recorded."""
    assert go_duration(seconds) == text


def test_a_long_prompt_is_quoted_by_start_length_and_digest() -> None:
    """Two long prompts that differ at the end get different answers."""
    one, two = default_answer("x" * 500 + "1"), default_answer("x" * 500 + "2")
    assert one != two
    assert "501 characters" in one
    assert len(one) < 320


def test_the_pieces_of_a_text_are_its_tokens() -> None:
    """As many pieces as tokens, and together the text."""
    text = "Ein Schäl😀chen Kaffee"
    assert "".join(pieces(text)) == text
    assert len(pieces(text)) == token_count(text)


@pytest.mark.parametrize(
    ("schema", "example"),
    [
        ({"type": "object", "properties": {"a": {"type": "string"}}}, {"a": "simulated"}),
        ({"type": ["null", "integer"]}, 1),
        ({"anyOf": [{"type": "null"}, {"type": "number", "minimum": 5}]}, 5),
        ({"enum": ["x", "y"]}, "x"),
        ({"const": 3}, 3),
        ({"type": "array", "items": {"type": "boolean"}, "minItems": 2}, [True, True]),
        ({"allOf": [{"type": "object", "properties": {"a": {"const": 1}}}]}, {"a": 1}),
        ({"$ref": "#/$defs/n", "$defs": {"n": {"type": "string", "minLength": 11}}}, "simulated.."),
        ({"type": "string", "format": "date"}, "2026-01-01"),
        ({"type": "OBJECT", "properties": {"t": {"type": "STRING"}}, "required": ["t"]}, {"t": "simulated"}),
    ],
)
def test_an_example_fits_its_schema(schema: dict[str, object], example: object) -> None:
    """Small, and valid."""
    assert example_of(schema) == example


def test_a_schema_that_refers_to_itself_comes_to_an_end() -> None:
    """A tree whose nodes hold nodes."""
    node = {"type": "object", "properties": {"child": {"$ref": "#"}}, "required": ["child"]}
    assert isinstance(example_of(node), dict)
