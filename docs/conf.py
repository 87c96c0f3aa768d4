"""How the documentation is built: MyST Markdown, the furo theme, and the reference from the docstrings."""

from __future__ import annotations

import re
from typing import Any

from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment

import responder
import responder.simulator

project = "responder"
copyright = "the authors of responder"  # noqa: A001 - Sphinx's own name
release = version = responder.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build", "examples/**"]

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
python_maximum_signature_line_length = 88

# Every other name in a signature has to lead somewhere.
nitpicky = True
nitpick_ignore_regex = [
    ("py:.*", r"OnError|ProgressOption|Vector|NDArray|numpy\..*"),  # aliases that stand in for what is documented beside them
    ("py:.*", r"(collections|os|ssl|types|typing)\..*"),
    ("py:.*", r"responder\..*\.[IJMTVR]"),  # type variables
    ("py:class", r"responder\.values\.bounds\.Bounds"),  # what a job is made with, by us alone
    ("py:class", r"responder\.many\.jobs\.SentJob"),  # what the two kinds of jobs share: its methods are those of each
    (
        "py:class",
        r"T|SchemaOption|Prompt|responder\.values\.schema\.Schema",
    ),  # what `schema=` and a prompt may be: explained there
    ("py:.*", r"tuple\[.*"),
    ("py:.*", r"(pandas|polars|pyarrow)\..*"),
    ("py:.*", r"responder\.values\.notebook\.ReportPage"),  # what `report()` returns shows itself; nobody names it
    ("py:.*", r"responder\.values\.deadline\.Deadline|JournalOption"),  # explained where a store and a journal are
    ("py:.*", r"responder\..*Keywords"),  # for type checkers; their names are those of the class beside them
]

html_theme = "furo"
html_title = f"responder {version}"
html_static_path = ["_static"]
html_css_files = ["responder.css"]
html_show_copyright = False
html_copy_source = False

FRAMEWORKS = ("django", "fastapi", "flask", "streamlit", "gradio", "pandas", "queues", "examples")

_TABLE_LINE = re.compile(r"\s*\|.*\|\s*$")
_RULE = re.compile(r"[\s|:-]+$")
_CODE = re.compile(r"(?<![`:])`([^`]+)`(?!`)")


def _as_restructured_text(_app: Sphinx, what: str, _name: str, _object: Any, _options: Any, lines: list[str]) -> None:
    """Turn what our docstrings write for people, as Markdown does, into what Sphinx reads: tables and code."""
    made: list[str] = []
    table: list[list[str]] = []
    section = False
    lines[:] = [_CODE.sub(r"``\1``", line) for line in lines]
    for number, line in enumerate(lines):
        if _TABLE_LINE.match(line):
            if not _RULE.match(line):
                table.append([cell.strip() for cell in line.strip().strip("|").split("|")])
            continue
        if table:
            made += _list_table(table)
            table = []
        if line and not line[0].isspace():
            section = re.match(r"(Args|Attributes|Returns|Raises|Yields)\b.*:$", line) is not None
            if section and line.startswith("Raises"):
                line = "Raises:"
        elif line[:4] == "    " and not section and number and not lines[number - 1].strip() and not _is_in_block(made):
            made += ["::", ""]
        made.append(line)
    if what in ("attribute", "data", "property") and made:
        before, colon, after = made[0].partition(": ")
        made[:1] = [before + colon, after] if colon else [before]  # else napoleon takes what is before it for a type
    lines[:] = made + (_list_table(table) if table else [])


def _is_in_block(made: list[str]) -> bool:
    """Return whether the last line that is not empty is indented: the code goes on."""
    last = next((line for line in reversed(made) if line.strip()), "")
    return last[:4] == "    "


def _list_table(rows: list[list[str]]) -> list[str]:
    lines = [".. list-table::", "   :header-rows: 1", ""]
    for row in rows:
        lines += [f"   {'* -' if not index else '  -'} {cell}" for index, cell in enumerate(row)]
    return [*lines, ""]


def _public_name(app: Sphinx, env: BuildEnvironment, node: pending_xref, content: nodes.TextElement) -> Any:
    """Link a type to the place where it is documented: under its public name, not the one of its file."""
    module, _, name = node.get("reftarget", "").rpartition(".")
    for package in (responder.simulator, responder):
        if module.startswith(package.__name__) and name in package.__all__:
            target = f"{package.__name__}.{name}"
            return env.get_domain("py").resolve_xref(env, node["refdoc"], app.builder, "obj", target, node, content)
    return None


def _without_missing_frameworks(app: Sphinx, page: str, source: list[str]) -> None:
    """Leave out of the list what has no page: an integration and its page come together."""
    if page == "index":
        missing = [name for name in FRAMEWORKS if not (app.srcdir / f"{name}.md").exists()]
        source[0] = "\n".join(line for line in source[0].split("\n") if line not in missing)


def setup(app: Sphinx) -> None:
    """Read the docstrings before napoleon, whose priority is 500."""
    app.connect("source-read", _without_missing_frameworks)
    app.connect("autodoc-process-docstring", _as_restructured_text, priority=400)
    app.connect("missing-reference", _public_name)
