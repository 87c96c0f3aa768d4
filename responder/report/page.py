"""What does a run look like? One HTML page of its numbers and its time line; complete in itself, and without a script.

The page loads nothing and runs nothing: it may be opened from a disk, mailed, or kept as an artifact of a build. Charts are
SVG that stretches with the window, and the texts on them HTML, which does not.
"""

from __future__ import annotations

import contextlib
import math
import os
import threading
import time
from array import array
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import NamedTuple, Protocol

from responder._version import __version__
from responder.values.errors import ConfigurationError
from responder.values.summary import Summary, dollars

ANSWERED, FAILED, ENDED, LIMITED, BACKOFF = range(5)
"""What a worker does: at the server with an answer, with a failure, ended by us; waiting on limits, between attempts."""

STATES = 5

_NAMES = (
    "at the server: answered",
    "at the server: failed",
    "at the server: ended by us",
    "waiting on limits",
    "between attempts",
)

# The time line is this wide in its own units; a unit is about a tenth of a pixel.
_UNITS = 10_000
_LEVELS = 20  # of a row that stands for several workers, or for more calls than can be seen
_MOST_TITLES = 4_000  # spans with a text of their own when the mouse rests on them
_MOST_BUCKETS = 120
_MOST_PIECES = 80
_MOST_AREA_COLUMNS = 512


class Span(NamedTuple):
    """What a worker did from `start` to `end`, seconds since the start of the run.

    Attributes:
        lane: The worker, from 0.
        state: ANSWERED to BACKOFF.
        start: When it began.
        end: When it ended.
        item: Its index, the place in the input.
        number: Which attempt at the item it was, or which one it waited for, from 1.
        cause: Why it failed; "" otherwise.
    """

    lane: int
    state: int
    start: float
    end: float
    item: int
    number: int
    cause: str


class Bar(NamedTuple):
    """How many values (`height`) are between two."""

    low: float
    high: float
    height: int


@dataclass(frozen=True)
class Record:
    """What the page shows.

    Attributes:
        title: What was asked, "provider:model".
        began_at: When the run began, seconds since 1970.
        summary: Its numbers.
        lanes: Workers that did something.
        lanes_in_row: How many of them a row of `rows` stands for.
        width: Seconds of a column.
        rows: For each row and state the mean number of workers in it, in each column.
        ends: How many items ended in each column: with an answer, with an error.
        answer_times: Seconds from the start of an item to its answer.
        server_times: Seconds of the answered requests.
        spans: Each request and wait; None where there were too many.
    """

    title: str
    began_at: float
    summary: Summary
    lanes: int
    lanes_in_row: int
    width: float
    rows: list[list[array[float]]]
    ends: list[array[float]]
    answer_times: list[Bar]
    server_times: list[Bar]
    spans: list[Span] | None


class Recorded(Protocol):
    """What a page can be made of: a run's history."""

    def record(self) -> Record:
        """Return what the page shows."""


def check(path: str | os.PathLike[str]) -> Path:
    """Return the file of a page, if it can be written.

    Raises:
        ConfigurationError: There is no such folder, it is not ours to write in, or something else has that name.
    """
    file = Path(path)
    if file.exists() and not file.is_file():
        raise ConfigurationError(f"cannot write the report to {file}: it is not a file")
    if not file.parent.is_dir():
        raise ConfigurationError(f"cannot write the report to {file}: there is no folder {file.parent}")
    if not os.access(file.parent, os.W_OK | os.X_OK):
        raise ConfigurationError(f"cannot write the report to {file}: the folder {file.parent} is not yours to write in")
    return file


def write(path: str | os.PathLike[str], source: Recorded) -> None:
    """Write the page of a run, whole or not at all; a file that is there is replaced.

    Raises:
        ConfigurationError: It cannot be written.
    """
    file = check(path)
    text = page(source.record())
    draft = file.with_name(f".{file.name}.{os.getpid()}-{threading.get_ident()}")
    try:
        draft.write_text(text, encoding="utf-8")
        draft.replace(file)
    except OSError as error:
        raise ConfigurationError(f"cannot write the report to {file}: {error.strerror or error}") from error
    finally:
        with contextlib.suppress(OSError):
            draft.unlink(missing_ok=True)


def page(record: Record) -> str:
    """Return the page as HTML."""
    run = record.summary
    name = f"Run report: {record.title}" if record.title else "Run report"
    began = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(record.began_at))
    length = max(run.wall, record.width)
    advice = "".join(f"<li>{escape(text)}</li>" for text in run.advice)
    sections = [
        _tiles(run),
        f'<section class="advice" id="advice"><h2>What to change next</h2><ul>{advice}</ul></section>' if advice else "",
        _shares(run),
        _workers(record, length),
        f'<div class="pair">{_in_flight(record, length)}{_throughput(record, length)}</div>',
        _times(record),
        f'<div class="pair">{_causes(run)}{_errors(run)}</div>',
        "<section><details><summary>All numbers as JSON</summary>"
        f'<pre id="json">{escape(run.to_json(2))}</pre></details></section>',
    ]
    return _PAGE.format(
        name=escape(name),
        style=_STYLE,
        heading=f"<h1>{escape(name)}</h1><p>Began {began}, took {_seconds(run.wall)}.</p>",
        body="\n".join(sections),
        version=escape(__version__),
    )


# The parts of the page, from top to bottom


def _tiles(run: Summary) -> str:
    kept = f"{run.reused:,} without a request" if run.reused else ""
    cut = f"{run.truncated:,} cut at max_tokens" if run.truncated else ""
    again = sum(run.repeats.values())
    tiles = [
        ("items", "prompts", f"{run.items:,}", kept),
        ("ok", "answered", f"{run.ok:,}", cut),
        ("failed", "failed", f"{run.failed:,}", f"{_percent(run.failed / run.items)} of them" if run.failed else ""),
        ("attempts", "requests", f"{run.attempts:,}", f"{again:,} repeated" if again else ""),
        ("rate", "requests / s", f"{run.rate:,.1f}", f"{run.max_workers:,} workers" if run.max_workers else ""),
        ("p50", "half within", _seconds(run.p50), f"99 % within {_seconds(run.p99)}"),
        ("tokens", "tokens", _short(run.usage.total_tokens), _in_and_out(run)),
    ]
    if run.cost:
        each = f"{dollars(run.cost / run.ok)} an answer" if run.ok else ""
        tiles.append(("cost", "cost", dollars(run.cost), each))
    found = "".join(
        f"<div{' class=bad' if key == 'failed' and run.failed else ''}><dt>{label}</dt>"
        f'<dd id="{key}">{value}</dd><dd class="more">{more}</dd></div>'
        for key, label, value, more in tiles
    )
    return f'<dl class="tiles">{found}</dl>'


def _in_and_out(run: Summary) -> str:
    return f"{_short(run.usage.input_tokens)} in, {_short(run.usage.output_tokens)} out" if run.usage.known else "not reported"


def _shares(run: Summary) -> str:
    """Show where the workers' time went, as one bar; its legend is that of the page."""
    worked = run.server + run.limited + run.backoff
    idle = max(run.max_workers * run.wall - worked, 0.0)
    parts = [("answered", "at the server", run.server), ("limited", "waiting on limits", run.limited)]
    parts += [("backoff", "between attempts", run.backoff), ("idle", "idle", idle)]
    whole = worked + idle
    if whole <= 0:
        return ""
    bar = "".join(
        f'<i class="{kind}" style="width:{seconds / whole:.3%}" title="{label}: {_percent(seconds / whole)}"></i>'
        for kind, label, seconds in parts
        if seconds > 0
    )
    legend = "".join(
        f'<li><i class="{kind}"></i>{label} <b>{_percent(seconds / whole)}</b> <span>{_seconds(seconds)}</span></li>'
        for kind, label, seconds in parts
    )
    return f"""<section><h2>Where the workers' time went</h2>
<div class="share">{bar}</div><ul class="legend">{legend}</ul></section>"""


def _workers(record: Record, length: float) -> str:
    """Show the time line of every worker."""
    rows = len(record.rows)
    if not rows:
        return '<section><h2>Workers</h2><p class="note">No request was sent.</p></section>'
    single = record.spans is not None and record.lanes_in_row == 1
    height = 24 if rows <= 16 else 16 if rows <= 32 else 12
    drawn = _single_spans(record, length) if single else _levels(record)
    across = _UNITS if single else length / record.width
    ticks = _time_ticks(length)
    grid = "".join(f'<path d="M{share * across:.1f} 0v{rows * _LEVELS}"/>' for share, _ in ticks)
    labels = "".join(f"<span>{_lanes(record, row) if height > 12 or row % 4 == 0 else ''}</span>" for row in range(rows))
    chart = (
        f'<svg viewBox="0 0 {across:.3f} {rows * _LEVELS}" preserveAspectRatio="none" role="img" '
        f'aria-label="What each worker did over time"><g class="grid">{grid}</g>{drawn}</svg>'
    )
    if single:
        note = "A row is a worker, and a block a request: rest the mouse on one to read about it. Thin lines are waits."
        note = (
            note if len(record.spans or ()) <= _MOST_TITLES else "A row is a worker, and a block a request. Thin lines are waits."
        )
    else:
        each = f"{record.lanes_in_row} workers" if record.lanes_in_row > 1 else "a worker"
        note = f"A row is {each}, filled as far as its time was used; failures are drawn large enough to be seen."
    kinds = ("answered", "failed", "ended", "limited", "backoff")
    legend = "".join(f'<li><i class="{kind}"></i>{name}</li>' for kind, name in zip(kinds, _NAMES, strict=True))
    return f"""<section><h2>Workers</h2><ul class="legend">{legend}</ul>
<div class="lanes" id="workers" style="--rows:{rows};--row:{height}px"><div class="names">{labels}</div>
<div class="plot">{chart}{_below(ticks)}</div></div><p class="note">{note}</p></section>"""


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
    return escape(f"prompt {span.item}, attempt {span.number}: {what} {_seconds(span.end - span.start)} ({at})")


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


def _in_flight(record: Record, length: float) -> str:
    """Show how many workers were in which state, over time."""
    totals = [
        _merged([sum(levels) for levels in zip(*(row[state] for row in record.rows), strict=True)], _MOST_AREA_COLUMNS)
        for state in range(STATES)
    ]
    size = max(map(len, totals), default=0)
    if not size:
        return ""
    per_column = -(-len(record.rows[0][0]) // size)
    totals = [[value / per_column for value in total] for total in totals]
    peak = max(sum(levels) for levels in zip(*totals, strict=True))
    ceiling = _ceiling(max(peak, 1.0))
    drawn, floor = [], [0.0] * size
    for state, kind in enumerate(("answered", "failed", "ended", "limited", "backoff")):
        tops = [base + max(value, 0.0) for base, value in zip(floor, totals[state], strict=True)]
        if max(totals[state]) > 1e-6:
            drawn.append(f'<path class="{kind}" d="{_area(floor, tops, ceiling)}"/>')
        floor = tops
    across = length / record.width / per_column
    return _figure(
        "Workers in use", "in-flight", "Workers in use over time", across, "".join(drawn), ceiling, "", _time_ticks(length)
    )


def _throughput(record: Record, length: float) -> str:
    """Show how many items ended in each piece of time."""
    if not record.summary.items:
        return ""
    buckets = min(max(record.summary.items // 4, 8), _MOST_BUCKETS)
    answered, failed = (_merged(list(ends), buckets) for ends in record.ends)
    per_column = -(-len(record.ends[0]) // len(answered))
    seconds = record.width * per_column
    # The last piece is not whole.
    lengths = [min(seconds, max(length - place * seconds, record.width)) for place in range(len(answered))]
    lower = [count / piece for count, piece in zip(answered, lengths, strict=True)]
    upper = [low + count / piece for low, count, piece in zip(lower, failed, lengths, strict=True)]
    ceiling = _ceiling(max(upper))
    drawn = f'<path class="answered" d="{_area([0.0] * len(lower), lower, ceiling)}"/>'
    if any(failed):
        drawn += f'<path class="failed" d="{_area(lower, upper, ceiling)}"/>'
    name = "Prompts finished, a second"
    return _figure(name, "throughput", "Prompts finished over time", length / seconds, drawn, ceiling, "", _time_ticks(length))


def _times(record: Record) -> str:
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
    ceiling = _ceiling(max(answers + requests))
    drawn = f'<path class="answered" d="{_area([0.0] * count, answers, ceiling)}"/>'
    if record.server_times:
        drawn += f'<path class="outline" d="{_steps(requests, ceiling)}"/>'
    marks = ""
    for place, (name, value) in enumerate((("half", run.p50), ("95 %", run.p95), ("99 %", run.p99))):
        at = share(value)
        drawn += f'<path class="mark" d="M{at * count:.3f} 0v100"/>'
        side = "right:calc(100% - {:.3%} + 4px)" if at > 0.8 else "left:calc({:.3%} + 4px)"
        marks += f'<b style="{side.format(at)};top:{place * 18}px">{name} within {_seconds(value)}</b>'
    ticks = [(share(value), _seconds(value)) for value in _log_ticks(low, low * math.exp(span))]
    legend = '<ul class="legend"><li><i class="answered"></i>answers, waits and repeats included</li>'
    legend += '<li><i class="outline"></i>answered requests, at the server alone</li></ul>'
    return _figure("Answer times", "times", "How long answers took", count, drawn, ceiling, " %", ticks, marks, legend, 220)


def _shared_out(bars: list[Bar], count: int, share: Callable[[float], float]) -> list[float]:
    """Return the percentage of the values in each of `count` pieces of a logarithmic axis."""
    whole = sum(bar.height for bar in bars) or 1
    pieces = [0.0] * count
    for bar in bars:
        pieces[min(max(int(share(math.sqrt(bar.low * bar.high)) * count), 0), count - 1)] += bar.height / whole * 100
    return pieces


def _causes(run: Summary) -> str:
    counts = [(cause, count, f"{count:,} ({run.repeats.get(cause, 0):,} repeated)") for cause, count in _most_first(run.causes)]
    return _bars("Requests without an answer", "causes", counts, "Every request was answered.")


def _errors(run: Summary) -> str:
    counts = [(name, count, f"{count:,}") for name, count in _most_first(run.errors)]
    return _bars("Prompts that failed", "errors", counts, "None.")


def _most_first(counts: dict[str, int]) -> list[tuple[str, int]]:
    return sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))


def _bars(title: str, key: str, counts: list[tuple[str, int, str]], nothing: str) -> str:
    most = max((count for _, count, _ in counts), default=1)
    rows = "".join(
        f'<tr><th scope="row">{escape(name)}</th><td><i class="failed" style="width:{count / most:.2%}"></i></td>'
        f"<td>{text}</td></tr>"
        for name, count, text in counts
    )
    shown = f"<table>{rows}</table>" if rows else f'<p class="note">{nothing}</p>'
    return f'<section id="{key}"><h2>{title}</h2>{shown}</section>'


# Pieces of charts


def _figure(
    title: str,
    key: str,
    label: str,
    across: float,
    drawn: str,
    ceiling: float,
    unit: str,
    ticks: list[tuple[float, str]],
    above: str = "",
    legend: str = "",
    height: int = 160,
) -> str:
    """Return a section with a chart that is `across` of its own units wide and 100 high."""
    grid = "".join(f'<path d="M{share * across:.3f} 0v100"/>' for share, _ in ticks)
    grid += "".join(f'<path d="M0 {100 - 50 * half}h{across:.3f}"/>' for half in (1, 2))
    names = "".join(f'<span style="top:{100 - 50 * half}%">{_number(ceiling * half / 2)}{unit}</span>' for half in (0, 1, 2))
    return f"""<section><h2>{title}</h2>{legend}
<div class="chart" id="{key}" style="--high:{height}px"><div class="scale">{names}</div>
<div class="plot"><svg viewBox="0 0 {across:.3f} 100" preserveAspectRatio="none" role="img" aria-label="{label}">
<g class="grid">{grid}</g>{drawn}</svg>{above}{_below(ticks)}</div></div></section>"""


def _below(ticks: list[tuple[float, str]]) -> str:
    return '<div class="axis">' + "".join(f'<span style="left:{share:.3%}">{text}</span>' for share, text in ticks) + "</div>"


def _area(floor: Sequence[float], tops: Sequence[float], ceiling: float) -> str:
    """Return the outline between two lines of steps, from left to right above and back below."""
    back = "".join(f"V{100 - value / ceiling * 100:.2f}h-1" for value in reversed(floor))
    return f"{_steps(tops, ceiling)}{back}z"


def _steps(values: Sequence[float], ceiling: float) -> str:
    return "M0 100" + "".join(f"V{100 - value / ceiling * 100:.2f}h1" for value in values)


def _merged(values: list[float], most: int) -> list[float]:
    """Return the sums of neighbours, so many together that at most `most` are left."""
    together = -(-len(values) // most) if values else 1
    return [sum(values[place : place + together]) for place in range(0, len(values), together)]


def _ceiling(value: float) -> float:
    """Return the next number that a scale may end with: 1, 2, 3, 4, 5, 6, 8 or 10 times a power of ten."""
    if value <= 0:
        return 1.0
    power: float = 10.0 ** math.floor(math.log10(value))
    return next(step * power for step in (1, 2, 3, 4, 5, 6, 8, 10, 20) if step * power >= value * 0.999)


_STEPS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 14400, 21600, 43200)


def _time_ticks(length: float) -> list[tuple[float, str]]:
    """Return where the moments of a time axis stand, as a share of its length, and their names."""
    wanted = length / 8
    if wanted >= 1:
        step = float(next((step for step in _STEPS if step >= wanted), 86400 * math.ceil(wanted / 86400)))
    else:
        power = 10.0 ** math.floor(math.log10(wanted))
        step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= wanted)
    count = int(length / step * 1.0001)
    # A name at the very end would stand out of the page.
    return [(place * step / length, _seconds(place * step)) for place in range(count + 1) if place * step <= length * 0.97]


def _log_ticks(low: float, high: float) -> list[float]:
    factors = tuple(range(1, 10)) if high / low < 10 else (1, 2, 5) if high / low < 1000 else (1,)
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    found = [factor * 10.0**power for power in powers for factor in factors]
    # A name at the very edge would stand out of the page.
    return [value for value in found if low <= value <= high * 0.99]


# Numbers for reading


def _seconds(value: float) -> str:
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


def _percent(share: float) -> str:
    return f"{share * 100:.1f} %"


def _short(count: int) -> str:
    for size, name in ((1_000_000_000, "G"), (1_000_000, "M"), (10_000, "k")):
        if count >= size:
            return f"{count / (1000 if name == 'k' else size):.3g} {name}"
    return f"{count:,}"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 or value == int(value) else f"{value:.3g}"


# The look. The colours are those of Okabe and Ito (2008), which people with any colour vision can tell apart.

_STYLE = """
:root{color-scheme:light dark;--ink:#1c2430;--soft:#5b6675;--paper:#f4f6f8;--card:#fff;--line:#dfe4ea;--accent:#0072b2;
--answered:#0072b2;--failed:#d55e00;--ended:#8a93a0;--limited:#e69f00;--backoff:#cc79a7;--idle:#e4e8ed;--tip:#fff7e0}
@media(prefers-color-scheme:dark){:root{--ink:#e8ecf1;--soft:#9aa6b5;--paper:#12161c;--card:#1a2028;--line:#2c3540;--accent:#56b4e9;
--answered:#3f9fd8;--failed:#f0762a;--ended:#76808e;--limited:#f0b429;--backoff:#d98fb7;--idle:#2a323c;--tip:#2b2716}}
*{box-sizing:border-box}
body{margin:0;background:var(--paper);color:var(--ink);font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif}
header,main,footer{max-width:1240px;margin:0 auto;padding:0 24px}
header{padding-top:32px}h1{font-size:24px;line-height:1.25;margin:0;overflow-wrap:anywhere}
header p,footer{color:var(--soft);margin:4px 0 20px}footer{margin:24px auto;font-size:13px}
h2{font-size:15px;margin:0 0 12px;font-weight:600}
section,.tiles>div{background:var(--card);border:1px solid var(--line);border-radius:10px}
section{padding:18px 20px;margin:0 0 16px;min-width:0}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(130px,1fr));gap:12px;margin:0 0 16px}
.tiles>div{padding:12px 16px}.tiles dt{color:var(--soft);font-size:13px}
.tiles dd{margin:0;font-size:24px;font-weight:600;line-height:1.3;font-variant-numeric:tabular-nums;white-space:nowrap}
.bad dd:nth-child(2){color:var(--failed)}
.tiles .more{font-size:12px;font-weight:400;color:var(--soft);min-height:1.3em;white-space:normal}
.advice{border-left:4px solid var(--limited);background:var(--tip)}
.advice ul{margin:0;padding-left:20px}.advice li+li{margin-top:6px}
.pair{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,420px),1fr));gap:0 16px}
.share{display:flex;height:22px;border-radius:5px;overflow:hidden;background:var(--idle)}.share i{min-width:1px}
.legend{list-style:none;display:flex;flex-wrap:wrap;gap:4px 20px;margin:0 0 12px;padding:0;font-size:13px;color:var(--soft)}
.share+.legend{margin:10px 0 0}.legend b{color:var(--ink);font-variant-numeric:tabular-nums}.legend li{white-space:nowrap}
.legend i{display:inline-block;width:11px;height:11px;border-radius:2px;margin-right:6px;vertical-align:-1px}
i.answered{background:var(--answered)}i.failed{background:var(--failed)}i.ended{background:var(--ended)}
i.limited{background:var(--limited)}i.backoff{background:var(--backoff)}i.idle{background:var(--idle)}
i.outline{height:0;border-top:2px solid var(--ink);vertical-align:4px;border-radius:0}
svg{display:block;width:100%;height:100%;overflow:hidden}
svg .answered{fill:var(--answered)}svg .failed{fill:var(--failed)}svg .ended{fill:var(--ended)}
svg .limited{fill:var(--limited)}svg .backoff{fill:var(--backoff)}
.grid path,.mark,.outline{fill:none;vector-effect:non-scaling-stroke}.grid path{stroke:var(--line);stroke-width:1}
path.outline{stroke:var(--ink);stroke-width:1.5}.mark{stroke:var(--ink);stroke-width:1;stroke-dasharray:4 3}
g>path:hover{filter:brightness(1.25)}.grid path:hover{filter:none}
.lanes,.chart{display:grid;grid-template-columns:auto 1fr;gap:0 10px;padding-bottom:24px;font-variant-numeric:tabular-nums}
.lanes .plot{height:calc(var(--rows)*var(--row))}.names{font-size:11px;color:var(--soft);text-align:right;min-width:26px}
.names span{display:block;height:var(--row);line-height:var(--row);white-space:nowrap}
.chart .plot,.scale{height:var(--high)}.scale{position:relative;width:44px;font-size:12px;color:var(--soft)}
.scale span{position:absolute;right:0;transform:translateY(-50%)}
.plot{position:relative;min-width:0;border-bottom:1px solid var(--line)}
.plot>b{position:absolute;font-size:12px;font-weight:500;
background:var(--card);padding:0 3px;white-space:nowrap;border-radius:3px}
.axis{position:absolute;top:100%;left:0;right:0;font-size:12px;color:var(--soft)}
.axis span{position:absolute;top:4px;transform:translateX(-50%);white-space:nowrap}
.axis span:first-child[style="left:0.000%"]{transform:none}
.note{color:var(--soft);font-size:13px;margin:6px 0 0}
table{border-collapse:collapse;width:100%;font-size:14px}
th{font-weight:500;text-align:left;white-space:nowrap;padding:4px 12px 4px 0}
td{padding:4px 0}td:nth-child(2){width:99%}td:last-child{padding-left:12px;text-align:right;white-space:nowrap;color:var(--soft)}
td i{display:block;height:14px;min-width:2px;border-radius:3px}
details summary{cursor:pointer;color:var(--accent)}pre{overflow:auto;font-size:13px;margin:12px 0 0}
@media(max-width:700px){header,main,footer{padding-left:12px;padding-right:12px}section{padding:14px 12px}}
@media print{body{background:none}section,.tiles>div{break-inside:avoid}}
"""

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="robots" content="noindex">
<title>{name}</title>
<style>{style}</style>
</head>
<body>
<header>{heading}</header>
<main>
{body}
</main>
<footer>Made by responder {version}. This page loads nothing and holds no prompt, no answer and no key.</footer>
</body>
</html>
"""
