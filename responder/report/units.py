"""How is a number written for people to read? With its unit, and no more digits than are meaningful."""

from __future__ import annotations

from html import escape

from responder.values.visible import visible_on_page


def text(value: str) -> str:
    """Return text from others as HTML that shows it and does nothing else."""
    return escape(visible_on_page(value))


def seconds(value: float) -> str:
    """Return a time with its unit: 0 s, 250 ms, 1.25 s, 3 min 20 s, 2 h 30 min; it does not break at the end of a line."""
    if value < 0.9995:
        text = f"{value * 1000:.3g} ms" if value > 0 else "0 s"
    elif value < 119.5:
        text = f"{value:.3g} s"
    elif value < 3599.5:
        minutes, rest = divmod(round(value), 60)
        text = f"{minutes} min" + (f" {rest} s" if rest else "")
    else:
        hours, minutes = divmod(round(value / 60), 60)
        text = f"{hours:,} h" + (f" {minutes} min" if minutes else "")
    return text.replace(" ", "\N{NO-BREAK SPACE}")


def percent(share: float) -> str:
    """Return a share with its unit: 12.5%."""
    return f"{share * 100:.1f}%"


def short(count: int) -> str:
    """Return a count in a few letters: 9,999, 12 k, 3.4 M."""
    for size, name in ((1_000_000_000, "G"), (1_000_000, "M"), (10_000, "k")):
        if count >= size:
            return f"{count / (1000 if name == 'k' else size):.3g} {name}"
    return f"{count:,}"


def number(value: float) -> str:
    """Return a value of a scale, with three digits where it is below 100."""
    return f"{value:,.0f}" if value >= 100 or value == int(value) else f"{value:.3g}"
