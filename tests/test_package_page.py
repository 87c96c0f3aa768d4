"""What the package index shows: the README, rendered as the index does, with links that hold there."""

from __future__ import annotations

import re
import runpy
from typing import Any

import pytest
from pages import ROOT
from readme_renderer import markdown

SETUP: dict[str, Any] = runpy.run_path(str(ROOT / "setup.py"))
README = (ROOT / "README.md").read_text(encoding="utf-8")


def links(html: str) -> list[str]:
    return re.findall(r'(?:href|src)="([^"]+)"', html)


@pytest.mark.parametrize("repository", ["", "https://example.com/responder"])
def test_the_readme_renders_on_the_index_and_no_link_is_relative(repository: str) -> None:
    """With the address of the repository, as many links as in the README; without, their text."""
    html = markdown.render(SETUP["page"](README, repository))
    assert html is not None, "the index would refuse the page"
    assert "<table>" in html
    assert "OpenAIResponder" in html
    assert all(re.match(r"https?://|#", link) for link in links(html)), links(html)
    assert "](" not in re.sub(r"<code>.*?</code>|<pre>.*?</pre>", "", html, flags=re.DOTALL)
    if repository:
        targets = [
            link.removeprefix(f"{repository}/blob/main/").partition("#")[0] for link in links(html) if link.startswith(repository)
        ]
        assert len(targets) > 15
        assert [target for target in targets if not (ROOT / target).exists()] == []
        assert all(url.startswith(repository) for url in SETUP["urls"](repository).values())
    else:
        assert SETUP["urls"]() == {}
