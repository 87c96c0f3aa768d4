"""How long does something take? Turns what a user writes ("lognormal:0.8:2.5") into a way to draw seconds."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Callable, Sequence

Distribution = float | int | str | Sequence[float]
Draw = Callable[[], float]

# 95% of a normal distribution lies below the mean plus this many standard deviations.
_Z_95 = 1.6448536269514722


def distribution(value: Distribution, source: random.Random) -> Draw:
    """Return a function that draws one non-negative number at a time.

    | value | draws |
    | --- | --- |
    | `0.2`, `"0.2"` | always 0.2 |
    | `"uniform:0.2:0.6"` | evenly between the two |
    | `"lognormal:0.8:2.5"` | median 0.8, 95th percentile 2.5: the shape of real response times |
    | `"list:0.1,0.5,2"`, `[0.1, 0.5, 2]` | these, in order, over and over |

    Args:
        value: What the user wrote.
        source: Where chance comes from, so that a seed makes a run repeatable.

    Raises:
        ValueError: The text is none of the forms above, or a number is negative or not finite.
    """
    if isinstance(value, (int, float)):
        constant = _checked(float(value), value)
        return lambda: constant
    if not isinstance(value, str):
        return _cycle([_checked(float(number), value) for number in value], value)
    kind, _, rest = value.partition(":")
    try:
        if not rest:
            constant = _checked(float(kind), value)
            return lambda: constant
        if kind == "list":
            return _cycle([_checked(float(number), value) for number in rest.split(",")], value)
        first, second = (_checked(float(number), value) for number in rest.split(":"))
    except ValueError as error:
        raise ValueError(_advice(value)) from error
    if kind == "uniform" and first <= second:
        return lambda: source.uniform(first, second)
    if kind == "lognormal" and 0 < first <= second:
        mean, deviation = math.log(first), math.log(second / first) / _Z_95
        return lambda: source.lognormvariate(mean, deviation)
    raise ValueError(_advice(value))


def _cycle(numbers: list[float], value: object) -> Draw:
    if not numbers:
        raise ValueError(_advice(value))
    turns = itertools.cycle(numbers)
    return lambda: next(turns)


def _checked(number: float, value: object) -> float:
    if not math.isfinite(number) or number < 0:
        raise ValueError(_advice(value))
    return number


def _advice(value: object) -> str:
    return (
        f'{value!r} is not a distribution: write a number (0.2), "uniform:0.2:0.6", "lognormal:MEDIAN:P95" '
        '(for example "lognormal:0.8:2.5") or "list:0.1,0.5"; no negative numbers.'
    )
