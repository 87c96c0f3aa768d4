"""The README as the page of the package index: the rest of the metadata stands in setup.cfg.

Relative links work where the repository is shown, and lead nowhere on the index. Once the repository has a public address, put it
into REPOSITORY: the links become absolute, and the index shows it beside the page.
"""

import re
from pathlib import Path

from setuptools import setup

# Such as "https://github.com/OWNER/responder": without a slash at the end.
REPOSITORY = ""

_LINK = re.compile(r"(?P<picture>!?)\[(?P<text>[^\]]*)\]\((?P<target>(?![a-z]+:|#)[^)\s]+)\)")


def page(readme: str, repository: str = REPOSITORY) -> str:
    """Return the README with links that hold everywhere: absolute ones, or without an address for them their text alone."""

    def replaced(link: re.Match[str]) -> str:
        if not repository:
            return "" if link["picture"] else link["text"]
        kind = "raw" if link["picture"] else "blob"
        return f"{link['picture']}[{link['text']}]({repository}/{kind}/main/{link['target']})"

    return _LINK.sub(replaced, readme)


def urls(repository: str = REPOSITORY) -> dict[str, str]:
    """Return the addresses that the index shows."""
    if not repository:
        return {}
    blob = f"{repository}/blob/main"
    return {
        "Source": repository,
        "Documentation": f"{blob}/docs/index.md",
        "Changelog": f"{blob}/docs/changelog.md",
        "Issues": f"{repository}/issues",
    }


if __name__ == "__main__":
    setup(
        long_description=page((Path(__file__).parent / "README.md").read_text(encoding="utf-8")),
        long_description_content_type="text/markdown",
        project_urls=urls(),
    )
