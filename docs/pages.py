"""Which pages are there, and which code do they show? The README and the pages in this folder, read as Markdown."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
READMES = [ROOT / "README.md", ROOT / "README.ja.md"]

FENCE = re.compile(
    r"(?:^<!-- test: (?P<mark>\w+) -->\n)?^(?P<fence>```+)(?P<language>[^\n`]*)\n(?P<code>.*?)^(?P=fence)[ ]*$",
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True)
class Block:
    """A block of code on a page.

    Attributes:
        page: The page's file.
        line: How many lines of the page stand above the code.
        language: What follows the opening fence.
        mark: What the comment above the block says (`<!-- test: MARK -->`), or nothing.
        code: The code.
    """

    page: Path
    line: int
    language: str
    mark: str
    code: str


def pages() -> list[Path]:
    """Return the READMEs and all pages, without those that belong to an example."""
    found = [page for page in sorted(DOCS.rglob("*.md")) if not {"_build", "examples"} & set(page.relative_to(DOCS).parts[:-1])]
    return [*READMES, *found]


def name_of(page: Path) -> str:
    """Return a page's path in the checkout."""
    return page.relative_to(ROOT).as_posix()


def blocks(page: Path, *languages: str) -> list[Block]:
    """Return the blocks of a page that are in one of these languages."""
    text = page.read_text(encoding="utf-8")
    return [
        Block(page, text.count("\n", 0, found.start("code")), language, found["mark"] or "", found["code"])
        for found in FENCE.finditer(text)
        if (language := found["language"].strip()) in languages
    ]
