"""What did each worker do, and when? The time line of the workers, a row each."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

from responder.report.axes import below, time_ticks
from responder.report.record import ANSWERED, BACKOFF, ENDED, FAILED, LIMITED, Record, Span
from responder.report.units import seconds, text

_NAMES = (
    "at the server: answered",
    "at the server: failed",
    "at the server: cancelled by us",
    "waiting on limits",
    "between attempts",
)

# The time line is this wide in its own units; a unit is about a tenth of a pixel.
_UNITS = 10_000
_LEVELS = 20  # of a row that stands for several workers, or for more calls than can be seen
_MOST_TITLES = 4_000  # spans with a text of their own on hover


def workers(record: Record, length: float) -> str:
    """Show the time line of every worker."""
    rows = len(record.rows)
    if not rows:
        return '<section><h2>Workers</h2><p class="note">No request was sent.</p></section>'
    single = record.spans is not None and record.lanes_in_row == 1
    height = 24 if rows <= 16 else 16 if rows <= 32 else 12
    drawn = _single_spans(record, length) if single else _levels(record)
    across = _UNITS if single else length / record.width
    ticks = time_ticks(length)
    grid = "".join(f'<path d="M{share * across:.1f} 0v{rows * _LEVELS}"/>' for share, _ in ticks)
    labels = "".join(f"<span>{_lanes(record, row) if height > 12 or row % 4 == 0 else ''}</span>" for row in range(rows))
    chart = (
        f'<svg viewBox="0 0 {across:.3f} {rows * _LEVELS}" preserveAspectRatio="none" role="img" '
        f'aria-label="What each worker did over time"><g class="grid">{grid}</g>{drawn}</svg>'
    )
    if single:
        note = "A row is a worker and a block is a request: hover over one for details. Thin lines are waits."
        note = (
            note
            if len(record.spans or ()) <= _MOST_TITLES
            else "A row is a worker and a block is a request. Thin lines are waits."
        )
    else:
        each = f"{record.lanes_in_row} workers" if record.lanes_in_row > 1 else "a worker"
        note = f"A row is {each}, filled in proportion to the time used; failures are drawn large enough to see."
    kinds = ("answered", "failed", "ended", "limited", "backoff")
    legend = "".join(f'<li><i class="{kind}"></i>{name}</li>' for kind, name in zip(kinds, _NAMES, strict=True))
    return f"""<section><h2>Workers</h2><ul class="legend">{legend}</ul>
<div class="lanes" id="workers" style="--rows:{rows};--row:{height}px"><div class="names">{labels}</div>
<div class="plot">{chart}{below(ticks)}</div></div><p class="note">{note}</p></section>"""


def _lanes(record: Record, row: int) -> str:
    first = row * record.lanes_in_row + 1
    last = min(first + record.lanes_in_row - 1, record.lanes)
    return f"{first}" if first >= last else f"{first}\N{EN DASH}{last}"


def _single_spans(record: Record, length: float) -> str:
    """Draw each request and wait on its worker's row."""
    spans = record.spans or []
    scale = _UNITS / length
    paths: dict[int, list[str]] = defaultdict(list)
    joined: dict[int, list[str]] = defaultdict(list)
    for span in spans:
        top, high = span.lane * _LEVELS + 2, _LEVELS - 4
        if span.state in (LIMITED, BACKOFF):
            top, high = top + 5, high - 10
        # A little less than it took, so that one ends before the next begins; and enough to be seen.
        wide = (span.end - span.start) * scale
        wide = max(wide - min(wide * 0.15, 8.0), 12.0 if span.state == FAILED else 4.0)
        shape = f"M{span.start * scale:.0f} {top}h{wide:.0f}v{high}h-{wide:.0f}z"
        if len(spans) <= _MOST_TITLES:
            paths[span.state].append(f'<path d="{shape}"><title>{_told(span)}</title></path>')
        else:
            joined[span.state].append(shape)
    for state, shapes in joined.items():
        paths[state].append(f'<path d="{"".join(shapes)}"/>')
    order = ((ENDED, "ended"), (ANSWERED, "answered"), (FAILED, "failed"), (LIMITED, "limited"), (BACKOFF, "backoff"))
    return "".join(f'<g class="{kind}">{"".join(paths[state])}</g>' for state, kind in order if paths[state])


def _told(span: Span) -> str:
    what = {LIMITED: "waiting on limits", BACKOFF: "waiting before it"}.get(span.state)
    if what is None:
        what = f"{span.cause or 'answered'} after"
    at = f"{span.start:.2f} s to {span.end:.2f} s"
    return text(f"prompt {span.item}, attempt {span.number}: {what} {seconds(span.end - span.start)} ({at})")


def _levels(record: Record) -> str:
    """Draw for each row how much of its time went where, one state on top of the other."""
    kinds = ((ANSWERED, "answered"), (FAILED, "failed"), (ENDED, "ended"), (LIMITED, "limited"), (BACKOFF, "backoff"))
    shapes: dict[str, list[str]] = {kind: [] for _, kind in kinds}
    for row, states in enumerate(record.rows):
        workers = max(min(record.lanes_in_row, record.lanes - row * record.lanes_in_row), 1)
        floor = [0] * len(states[0])
        bottom = (row + 1) * _LEVELS - 1
        for state, kind in kinds:
            least = 3 if state == FAILED else 0
            tops = [
                min(base + (max(round(level / workers * (_LEVELS - 2)), least) if level > 1e-3 else 0), _LEVELS - 2)
                for base, level in zip(floor, states[state], strict=True)
            ]
            shapes[kind] += _runs(floor, tops, bottom)
            floor = tops
    return "".join(f'<path class="{kind}" d="{"".join(found)}"/>' for kind, found in shapes.items() if found)


def _runs(floor: Sequence[int], tops: Sequence[int], bottom: int) -> Iterator[str]:
    """Yield a rectangle for each run of columns with the same floor and top."""
    begin = 0
    for column in range(1, len(tops) + 1):
        if column < len(tops) and tops[column] == tops[begin] and floor[column] == floor[begin]:
            continue
        if tops[begin] > floor[begin]:
            wide, high = column - begin, tops[begin] - floor[begin]
            yield f"M{begin} {bottom - tops[begin]}h{wide}v{high}h-{wide}z"
        begin = column
