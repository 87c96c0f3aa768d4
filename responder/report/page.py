"""What does a run look like? One HTML page with its numbers and its time line; self-contained, without a script.

The page loads nothing and runs nothing: it can be opened from disk, mailed, or kept as a build artifact. Its frame is
`page.html` and its look `page.css`, for people who design; `$names` in the frame are filled in here.
"""

from __future__ import annotations

import functools
import time
from html import escape
from string import Template

from responder._version import __version__
from responder.report.charts import in_flight, throughput, times
from responder.report.lanes import workers
from responder.report.record import Record
from responder.report.units import percent, seconds, short, text
from responder.values.summary import Summary, dollars


def page(record: Record) -> str:
    """Return the page as HTML."""
    run = record.summary
    length = max(run.wall, record.width)
    return Template(_part("page.html")).substitute(
        title=text(f"Run report: {record.title}" if record.title else "Run report"),
        style=_part("page.css"),
        began=time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(record.began_at)),
        took=seconds(run.wall),
        tiles=_tiles(run),
        advice=_advice(run),
        shares=_shares(run),
        workers=workers(record, length),
        in_flight=in_flight(record, length),
        throughput=throughput(record, length),
        times=times(record),
        causes=_causes(run),
        errors=_errors(run),
        json=escape(run.to_json(2)),
        version=escape(__version__),
    )


@functools.cache
def _part(name: str) -> str:
    # Imported when a page is made, which few programs do; reading works from a zip file, too.
    from importlib import resources

    return (resources.files("responder.report") / name).read_text(encoding="utf-8")


# The parts of the page, from top to bottom


def _advice(run: Summary) -> str:
    advice = "".join(f"<li>{text(line)}</li>" for line in run.advice)
    return f'<section class="advice" id="advice"><h2>What to change next</h2><ul>{advice}</ul></section>' if advice else ""


def _failed_more(run: Summary) -> str:
    words = [f"{percent(run.failed / run.items)} of them"] if run.failed else []
    return ", ".join([*words, *([f"{run.not_sent:,} not sent"] if run.not_sent else [])])


def _tiles(run: Summary) -> str:
    kept = f"{run.reused:,} without a request" if run.reused else ""
    cut = f"{run.truncated:,} cut at max_tokens" if run.truncated else ""
    again = sum(run.repeats.values())
    more = [f"{again:,} repeated"] if again else []
    more += [f"{run.reasks:,} did not fit"] if run.reasks else []
    tiles = [
        ("items", "prompts", f"{run.items:,}", kept),
        ("ok", "answered", f"{run.ok:,}", cut),
        ("failed", "failed", f"{run.failed:,}", _failed_more(run)),
        ("attempts", "requests", f"{run.attempts:,}", ", ".join(more)),
        ("rate", "requests / s", f"{run.rate:,.1f}", f"{run.max_workers:,} workers" if run.max_workers else ""),
        ("p50", "median", seconds(run.p50), f"99% within {seconds(run.p99)}"),
        ("tokens", "tokens", short(run.usage.total_tokens), _in_and_out(run)),
    ]
    if run.cost:
        each = f"{dollars(run.cost / run.ok)} per answer" if run.ok else ""
        tiles.append(("cost", "cost", dollars(run.cost), each))
    found = "".join(
        f"<div{' class=bad' if key == 'failed' and run.failed else ''}><dt>{label}</dt>"
        f'<dd id="{key}">{value}</dd><dd class="more">{beside}</dd></div>'
        for key, label, value, beside in tiles
    )
    return f'<dl class="tiles">{found}</dl>'


def _in_and_out(run: Summary) -> str:
    return f"{short(run.usage.input_tokens)} in, {short(run.usage.output_tokens)} out" if run.usage.known else "not reported"


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
        f'<i class="{kind}" style="width:{spent / whole:.3%}" title="{label}: {percent(spent / whole)}"></i>'
        for kind, label, spent in parts
        if spent > 0
    )
    legend = "".join(
        f'<li><i class="{kind}"></i>{label} <b>{percent(spent / whole)}</b> <span>{seconds(spent)}</span></li>'
        for kind, label, spent in parts
    )
    return f"""<section><h2>Where the workers' time went</h2>
<div class="share">{bar}</div><ul class="legend">{legend}</ul></section>"""


def _causes(run: Summary) -> str:
    counts = [(cause, count, f"{count:,} ({run.repeats.get(cause, 0):,} retried)") for cause, count in _most_first(run.causes)]
    return _bars("Requests without an answer", "causes", counts, "Every request was answered.")


def _errors(run: Summary) -> str:
    counts = [(name, count, f"{count:,}") for name, count in _most_first(run.errors)]
    return _bars("Prompts that failed", "errors", counts, "None.")


def _most_first(counts: dict[str, int]) -> list[tuple[str, int]]:
    return sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))


def _bars(title: str, key: str, counts: list[tuple[str, int, str]], nothing: str) -> str:
    most = max((count for _, count, _ in counts), default=1)
    rows = "".join(
        f'<tr><th scope="row">{text(name)}</th><td><i class="failed" style="width:{count / most:.2%}"></i></td>'
        f"<td>{shown}</td></tr>"
        for name, count, shown in counts
    )
    inside = f"<table>{rows}</table>" if rows else f'<p class="note">{nothing}</p>'
    return f'<section id="{key}"><h2>{title}</h2>{inside}</section>'
