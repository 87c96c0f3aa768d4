"""What does every chart share? Its frame, its axes, and the outlines of what it shows.

Charts are SVG that stretches with the window, and the texts on them HTML, which does not.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from responder.report.units import number, seconds


@dataclass(frozen=True)
class Figure:
    """A section with a chart.

    Attributes:
        title: Its heading.
        key: The id of the chart.
        label: What it shows, for screen readers.
        across: How wide it is in its own units; it is 100 high.
        drawn: Its shapes, as SVG.
        ceiling: The value at the top of its scale.
        ticks: The positions of its axis labels, as a share of its width, and their texts.
        unit: Follows the numbers of the scale.
        above: HTML on top of the shapes.
        legend: HTML between the heading and the chart.
        height: In pixels.
    """

    title: str
    key: str
    label: str
    across: float
    drawn: str
    ceiling: float
    ticks: list[tuple[float, str]]
    unit: str = ""
    above: str = ""
    legend: str = ""
    height: int = 160

    def html(self) -> str:
        """Return the section."""
        grid = "".join(f'<path d="M{share * self.across:.3f} 0v100"/>' for share, _ in self.ticks)
        grid += "".join(f'<path d="M0 {100 - 50 * half}h{self.across:.3f}"/>' for half in (1, 2))
        names = "".join(
            f'<span style="top:{100 - 50 * half}%">{number(self.ceiling * half / 2)}{self.unit}</span>' for half in (0, 1, 2)
        )
        return f"""<section><h2>{self.title}</h2>{self.legend}
<div class="chart" id="{self.key}" style="--high:{self.height}px"><div class="scale">{names}</div>
<div class="plot"><svg viewBox="0 0 {self.across:.3f} 100" preserveAspectRatio="none" role="img" aria-label="{self.label}">
<g class="grid">{grid}</g>{self.drawn}</svg>{self.above}{below(self.ticks)}</div></div></section>"""


def below(ticks: list[tuple[float, str]]) -> str:
    """Return the axis below a chart."""
    return '<div class="axis">' + "".join(f'<span style="left:{share:.3%}">{text}</span>' for share, text in ticks) + "</div>"


def area(floor: Sequence[float], tops: Sequence[float], ceiling: float) -> str:
    """Return the outline between two lines of steps, from left to right above and back below."""
    back = "".join(f"V{100 - value / ceiling * 100:.2f}h-1" for value in reversed(floor))
    return f"{steps(tops, ceiling)}{back}z"


def steps(values: Sequence[float], ceiling: float) -> str:
    """Return a line of steps, one unit of the chart each, from left to right."""
    return "M0 100" + "".join(f"V{100 - value / ceiling * 100:.2f}h1" for value in values)


def merged(values: list[float], most: int) -> list[float]:
    """Return the sums of neighbours, grouped so that at most `most` are left."""
    together = -(-len(values) // most) if values else 1
    return [sum(values[place : place + together]) for place in range(0, len(values), together)]


def ceiling_of(value: float) -> float:
    """Return the next number that a scale may end with: 1, 2, 3, 4, 5, 6, 8 or 10 times a power of ten."""
    if value <= 0:
        return 1.0
    power: float = 10.0 ** math.floor(math.log10(value))
    return next(step * power for step in (1, 2, 3, 4, 5, 6, 8, 10, 20) if step * power >= value * 0.999)


_STEPS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 14400, 21600, 43200)


def time_ticks(length: float) -> list[tuple[float, str]]:
    """Return the positions of the labels of a time axis, as a share of its length, and their texts."""
    wanted = length / 8
    if wanted >= 1:
        step = float(next((step for step in _STEPS if step >= wanted), 86400 * math.ceil(wanted / 86400)))
    else:
        power = 10.0 ** math.floor(math.log10(wanted))
        step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= wanted)
    count = int(length / step * 1.0001)
    # A label at the very end would stick out of the page.
    return [(place * step / length, seconds(place * step)) for place in range(count + 1) if place * step <= length * 0.97]


def log_ticks(low: float, high: float) -> list[float]:
    """Return the values that a logarithmic axis names."""
    factors = tuple(range(1, 10)) if high / low < 10 else (1, 2, 5) if high / low < 1000 else (1,)
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    found = [factor * 10.0**power for power in powers for factor in factors]
    # A label at the very edge would stick out of the page.
    return [value for value in found if low <= value <= high * 0.99]
