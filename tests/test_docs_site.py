"""The documentation as it is built: every page, no warning, each public name on the reference page, and all for a telephone."""

from __future__ import annotations

import subprocess
import sys
import zlib
from pathlib import Path

import pytest
from apps import browser as chromium
from shell import environment

import responder
import responder.simulator

DOCS = Path(__file__).parents[1] / "docs"

# What stands out of the window: nothing, or the names of elements that end on the right of it.
_STANDS_OUT = """
const width = document.documentElement.clientWidth;
if (document.documentElement.scrollWidth <= width) return [];
const names = [...document.querySelectorAll("body *")]
  .filter(element => element.getBoundingClientRect().right > width + 1)
  .map(element => `${element.tagName}.${element.className}`);
return [`${document.documentElement.scrollWidth} pixels`, ...names.slice(0, 5)];
"""

pytestmark = pytest.mark.skipif(sys.version_info < (3, 11), reason="an older Sphinx does not know the types of keywords")


@pytest.fixture(scope="session")
def site() -> Path:
    """The documentation, with warnings as errors; what `make docs` has built is built again only where it changed."""
    folder = DOCS / "_build" / "html"
    command = [sys.executable, "-m", "sphinx", "--fail-on-warning", "--keep-going", "--quiet", "--builder", "html"]
    finished = subprocess.run(
        [*command, str(DOCS), str(folder)],
        env=environment(PYTHONWARNINGS="default"),
        cwd=DOCS.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    return folder


@pytest.mark.timeout(300)
def test_the_documentation_builds_without_a_warning(site: Path) -> None:
    """Every page becomes a page, and no reference leads nowhere."""
    made = {page.relative_to(site).with_suffix(".md").as_posix() for page in site.rglob("*.html")}
    assert {page.relative_to(DOCS).as_posix() for page in DOCS.rglob("*.md") if "_build" not in page.parts} <= made


@pytest.mark.timeout(300)
def test_every_public_name_is_on_the_reference_page(site: Path) -> None:
    """What can be imported from `responder` and `responder.simulator` is documented."""
    inventory = (site / "objects.inv").read_bytes().split(b"\n", 4)[4]
    documented = {line.split(" ")[0] for line in zlib.decompress(inventory).decode().splitlines()}
    for package in (responder, responder.simulator):
        assert [name for name in package.__all__ if f"{package.__name__}.{name}" not in documented] == []


@pytest.mark.timeout(300)
def test_every_page_fits_on_a_telephone(site: Path, tmp_path: Path) -> None:
    """At 390 pixels nothing stands out of the window; long tables and code scroll inside themselves."""
    too_wide = tmp_path / "too_wide.html"
    too_wide.write_text('<p style="width: 900px">wide</p>', encoding="utf-8")
    home = tmp_path / "browser"
    home.mkdir()
    with chromium.opened(home) as browser:
        telephone = {"width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": False}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", telephone)
        found = {}
        for page in (too_wide, *sorted(site.rglob("*.html"))):
            browser.get(page.as_uri())
            found[page.name] = browser.execute_script(_STANDS_OUT)
    assert found.pop("too_wide.html")  # so that it would be seen
    assert {name: elements for name, elements in found.items() if elements} == {}
