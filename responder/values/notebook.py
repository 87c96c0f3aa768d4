"""How does a value look in a notebook? As HTML and as Markdown, in which nothing that a model or a provider wrote can act.

A model's text is never read as HTML or Markdown: it could load a picture from somewhere, and tell that server what the notebook
holds. Characters that would steer the page are shown as numbers (see `visible.py`). Colours are the notebook's own.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from itertools import islice

from responder.values.visible import visible_on_page

ROWS = 20
"""So many rows of a batch are shown; frames (`to_pandas`) and loops have them all."""

_SHORT_CELL = 20
_LONGEST_CELL = 300

_TEXT = "white-space:pre-wrap;overflow-wrap:anywhere;text-align:left"

# Any of these may stand behind a backslash (https://spec.commonmark.org/0.31.2/#backslash-escapes, read 2026-11).
_PUNCTUATION = re.compile(r"([!-/:-@\[-`{-~])")

Row = tuple[str, ...]


class ReportPage:
    """The page about a run. Shows itself in a notebook; `html` is the whole of it."""

    def __init__(self, html: str) -> None:
        self.html = html

    def _repr_html_(self) -> str:
        # A document of its own: its style stays inside, and it may run nothing.
        from html import escape

        style = "width:100%;height:720px;border:0"
        return f'<iframe sandbox="" srcdoc="{escape(self.html)}" style="{style}" title="Run report"></iframe>'

    def __repr__(self) -> str:
        return f"ReportPage({len(self.html):,} characters)"


def text_html(text: str, note: str) -> str:
    """Return a text that somebody else wrote, with a line of ours under it."""
    return f'<div style="{_TEXT}">{_escaped(text)}</div><div style="opacity:.7;font-size:smaller">{_escaped(note)}</div>'


def text_markdown(text: str, note: str) -> str:
    """Return the same as Markdown: the text as a block of code, which is shown as it is."""
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}text\n{visible_on_page(text)}\n{fence}\n\n{_in_markdown(note)}\n"


def lines_html(text: str) -> str:
    """Return lines of ours, such as a summary, as they are."""
    return f'<pre style="{_TEXT}">{_escaped(text)}</pre>'


def lines_markdown(text: str) -> str:
    """Return the same as Markdown: a list."""
    return "".join(f"- {_in_markdown(line)}\n" for line in text.splitlines())


def table_html(title: str, names: Sequence[str], rows: Iterable[Row], count: int) -> str:
    """Return the first `ROWS` rows of a table under its title.

    Args:
        title: A line about the whole.
        names: Of the columns.
        rows: Texts of any origin.
        count: How many rows there are in all.
    """
    head = "".join(f'<th style="text-align:left">{_escaped(name)}</th>' for name in names)
    body = "".join("<tr>" + "".join(map(_cell, row)) + "</tr>" for row in islice(rows, ROWS))
    more = f"<p>{count - ROWS:,} more</p>" if count > ROWS else ""
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    return f'<p>{_escaped(title)}</p><div style="overflow-x:auto">{table}</div>{more}'


def _cell(text: str) -> str:
    # In a narrow window a text that may be broken anywhere would become a column of single letters.
    width = ";min-width:12em" if len(text) > _SHORT_CELL else ""
    return f'<td style="{_TEXT};vertical-align:top{width}">{_escaped(_cut(text))}</td>'


def table_markdown(title: str, names: Sequence[str], rows: Iterable[Row], count: int) -> str:
    """Return the same as Markdown."""
    lines = [_in_markdown(title), "", "| " + " | ".join(names) + " |", "|" + "---|" * len(names)]
    lines += ["| " + " | ".join(_in_markdown(_cut(text)) for text in row) + " |" for row in islice(rows, ROWS)]
    if count > ROWS:
        lines += ["", f"{count - ROWS:,} more"]
    return "\n".join(lines) + "\n"


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST_CELL else text[: _LONGEST_CELL - 1] + "…"


def _escaped(text: str) -> str:
    from html import escape  # with its table of names: only notebooks need it

    return escape(visible_on_page(text))


def _in_markdown(text: str) -> str:
    return _PUNCTUATION.sub(r"\\\1", visible_on_page(" ".join(text.split())))
