"""What in the documentation is made from the code: the tables of providers and the help texts.

Run `python docs/generated.py` after changing a provider or a command; the tests notice when somebody forgets.
Whatever stands between `<!-- made:NAME -->` and `<!-- end -->` is replaced.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from click.testing import CliRunner

from responder.cli import main
from responder.providers import PROVIDERS
from responder.responder import Responder

ROOT = Path(__file__).resolve().parents[1]
PAGES = (ROOT / "README.md", ROOT / "docs" / "providers" / "index.md", ROOT / "docs" / "command-line.md")

_MADE = re.compile(r"(<!-- made:(?P<name>[\w ]+) -->\n)(?P<old>.*?)(<!-- end -->)", re.DOTALL)

# What a class cannot say of itself in one word.
_KEYS = {"vertex": "Google's Application Default Credentials", "compatible": "`api_key=`, if it wants one"}
_BASES = {
    "azure": "yours, from `AZURE_OPENAI_ENDPOINT`",
    "vertex": "by location, or `GOOGLE_VERTEX_BASE_URL`",
    "compatible": "yours, as `base_url=`",
    "simulated": "in this process",
}


def key(kind: type[Responder]) -> str:
    """Return where a provider's key comes from, as Markdown."""
    names = " or ".join(f"`{name}`" for name in kind.key_variables)
    if kind.provider in _KEYS:
        return _KEYS[kind.provider]
    if not names:
        return "none"
    return names if kind.key_required else f"none, or {names}"


def base(kind: type[Responder]) -> str:
    """Return where a provider is, as Markdown."""
    if kind.provider in _BASES:
        return _BASES[kind.provider]
    variables = "".join(f" or `{name}`" for name in kind.base_url_variables)
    return f"`{kind.base_url}`{variables}"


def providers() -> str:
    """Return the short table of the README."""
    rows = [f"| `{kind.provider}` | `{kind.__name__}` | {key(kind)} |" for kind in PROVIDERS.values()]
    return "\n".join(["| name | class | key |", "|---|---|---|", *rows]) + "\n"


def bases() -> str:
    """Return the table with the base URLs."""
    rows = [f"| `{kind.provider}` | `{kind.__name__}` | {key(kind)} | {base(kind)} |" for kind in PROVIDERS.values()]
    return "\n".join(["| name | class | key | base URL |", "|---|---|---|---|", *rows]) + "\n"


def help_text(command: str) -> str:
    """Return what `responder COMMAND --help` prints in a terminal of 100 columns; "main" is `responder --help`."""
    arguments = [] if command == "main" else [command]
    result = CliRunner().invoke(main, [*arguments, "--help"], prog_name="responder", terminal_width=100)
    return f"```text\n{result.stdout.rstrip()}\n```\n"


def filled(text: str) -> str:
    """Return a page with its generated parts made anew."""

    def made(found: re.Match[str]) -> str:
        name = found["name"]
        tables = {"providers": providers, "base urls": bases}
        return found[1] + (tables[name]() if name in tables else help_text(name.removeprefix("help "))) + found[4]

    return _MADE.sub(made, text)


if __name__ == "__main__":
    os.environ.pop("COLUMNS", None)
    for page in PAGES:
        page.write_text(filled(page.read_text(encoding="utf-8")), encoding="utf-8")
