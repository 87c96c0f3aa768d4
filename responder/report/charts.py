"""What happened over time, and how long did answers take? The three charts of a page."""

from __future__ import annotations

import math
from collections.abc import Callable

from responder.report.axes import Figure, area, ceiling_of, log_ticks, merged, steps, time_ticks
from responder.report.record import STATES, Bar, Record
from responder.report.units import seconds

_MOST_BUCKETS = 120
_MOST_PIECES = 80
_MOST_AREA_COLUMNS = 512


def in_flight(record: Record, length: float) -> str:
    """Show how many workers were in which state, over time."""
    totals = [
        merged([sum(levels) for levels in zip(*(row[state] for row in record.rows), strict=True)], _MOST_AREA_COLUMNS)
        for state in range(STATES)
    ]
    size = max(map(len, totals), default=0)
    if not size:
        return ""
    per_column = -(-len(record.rows[0][0]) // size)
    totals = [[value / per_column for value in total] for total in totals]
    peak = max(sum(levels) for levels in zip(*totals, strict=True))
    ceiling = ceiling_of(max(peak, 1.0))
    drawn, floor = [], [0.0] * size
    for state, kind in enumerate(("answered", "failed", "ended", "limited", "backoff")):
        tops = [base + max(value, 0.0) for base, value in zip(floor, totals[state], strict=True)]
        if max(totals[state]) > 1e-6:
            drawn.append(f'<path class="{kind}" d="{area(floor, tops, ceiling)}"/>')
        floor = tops
    across = length / record.width / per_column
    return Figure(
        "Workers in use", "in-flight", "Workers in use over time", across, "".join(drawn), ceiling, time_ticks(length)
    ).html()


def throughput(record: Record, length: float) -> str:
    """Show how many items ended in each piece of time."""
    if not record.summary.items:
        return ""
    buckets = min(max(record.summary.items // 4, 8), _MOST_BUCKETS)
    answered, failed = (merged(list(ends), buckets) for ends in record.ends)
    per_column = -(-len(record.ends[0]) // len(answered))
    duration = record.width * per_column  # of a piece, in seconds
    # The last piece is not whole.
    lengths = [min(duration, max(length - place * duration, record.width)) for place in range(len(answered))]
    lower = [count / piece for count, piece in zip(answered, lengths, strict=True)]
    upper = [low + count / piece for low, count, piece in zip(lower, failed, lengths, strict=True)]
    ceiling = ceiling_of(max(upper))
    drawn = f'<path class="answered" d="{area([0.0] * len(lower), lower, ceiling)}"/>'
    if any(failed):
        drawn += f'<path class="failed" d="{area(lower, upper, ceiling)}"/>'
    name = "Prompts finished per second"
    return Figure(name, "throughput", "Prompts finished over time", length / duration, drawn, ceiling, time_ticks(length)).html()


def times(record: Record) -> str:
    """Show how long answers took, and how long their requests were at the server."""
    run, bars = record.summary, record.answer_times
    if not bars:
        return ""
    both = bars + record.server_times
    low, high = min(bar.low for bar in both), max(bar.high for bar in both)
    # Pieces of whole classes, so that each has as many of them as its neighbours; few values make few pieces.
    finest = math.log(bars[0].high / bars[0].low)
    classes = round(math.log(high / low) / finest)
    if classes < 8:
        low, classes = low * math.exp(-finest * ((8 - classes) // 2)), 8
    together = -(-classes // min(max(sum(bar.height for bar in bars), 16), _MOST_PIECES))
    count = -(-classes // together)
    span = finest * together * count

    def share(value: float) -> float:
        return min(max(math.log(value / low) / span, 0.0), 1.0) if value > 0 else 0.0

    answers, requests = _shared_out(bars, count, share), _shared_out(record.server_times, count, share)
    ceiling = ceiling_of(max(answers + requests))
    drawn = f'<path class="answered" d="{area([0.0] * count, answers, ceiling)}"/>'
    if record.server_times:
        drawn += f'<path class="outline" d="{steps(requests, ceiling)}"/>'
    marks = ""
    for place, (name, value) in enumerate((("median", run.p50), ("95% within", run.p95), ("99% within", run.p99))):
        at = share(value)
        drawn += f'<path class="mark" d="M{at * count:.3f} 0v100"/>'
        # Towards the wider half, so that the label has room on a phone, too.
        side = "right:calc(100% - {:.3%} + 4px)" if at > 0.5 else "left:calc({:.3%} + 4px)"
        marks += f'<b style="{side.format(at)};top:{place * 18}px">{name} {seconds(value)}</b>'
    ticks = [(share(value), seconds(value)) for value in log_ticks(low, low * math.exp(span))]
    legend = '<ul class="legend"><li><i class="answered"></i>answers, waits and retries included</li>'
    legend += '<li><i class="outline"></i>answered requests, at the server alone</li></ul>'
    return Figure(
        "Answer times", "times", "How long answers took", count, drawn, ceiling, ticks, "%", marks, legend, height=220
    ).html()


def _shared_out(bars: list[Bar], count: int, share: Callable[[float], float]) -> list[float]:
    """Return the percentage of the values in each of `count` pieces of a logarithmic axis."""
    whole = sum(bar.height for bar in bars) or 1
    pieces = [0.0] * count
    for bar in bars:
        pieces[min(max(int(share(math.sqrt(bar.low * bar.high)) * count), 0), count - 1)] += bar.height / whole * 100
    return pieces
