"""The page of a run, in a browser: it is drawn, in light and dark, says what the summary says, and complains of nothing."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from apps.browser import Window
from runs_made_up import made_up

from responder import Limits, OpenAIResponder
from responder.report.file import write
from responder.report.history import History
from responder.simulator import Fault, Simulator

# The colour of the widest shape that a CSS selector finds, if it is seen anywhere within its bounds.
_SEEN = """
const shapes = [...document.querySelectorAll(arguments[0])];
const width = shape => shape.getBoundingClientRect().width;
const shape = shapes.reduce((widest, other) => width(other) > width(widest) ? other : widest);
shape.scrollIntoView({block: "center"});
const box = shape.getBoundingClientRect();
for (let across = 1; across < 60; across++) {
  for (let down = 1; down < 30; down++) {
    const found = document.elementFromPoint(box.left + box.width * across / 60, box.top + box.height * down / 30);
    if (found === shape) return getComputedStyle(shape).fill;
  }
}
return null;
"""


class ReportPage:
    """A report's page in a window of the browser."""

    def __init__(self, browser: Any, window: Window) -> None:
        self._browser = browser
        self.window = window

    def numbers(self) -> dict[str, Any]:
        """Return the numbers in the JSON on the page."""
        found = "return document.querySelector('#json').textContent"
        numbers: dict[str, Any] = json.loads(self._browser.execute_script(found))
        return numbers

    def count(self, selector: str) -> int:
        """Return how many elements a CSS selector finds."""
        return int(self._browser.execute_script("return document.querySelectorAll(arguments[0]).length", selector))

    def colour(self, selector: str) -> str | None:
        """Return the colour in which a shape is seen; None if it is not."""
        found: str | None = self._browser.execute_script(_SEEN, selector)
        return found

    def background(self) -> str:
        """Return the page's own colour."""
        return str(self._browser.execute_script("return getComputedStyle(document.body).backgroundColor"))

    def prefer(self, scheme: str) -> None:
        """Set what the person has chosen: "light" or "dark"."""
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self._browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})

    def complaints(self) -> list[Any]:
        """Return what the browser's console holds."""
        return [entry for entry in self._browser.get_log("browser") if "favicon" not in entry["message"]]

    def seconds_to_open(self) -> float:
        """Return how long the browser took to load the page."""
        timing = "const [page] = performance.getEntriesByType('navigation'); return page.loadEventEnd / 1000"
        return float(self._browser.execute_script(timing))

    def scroll_to_top(self) -> None:
        """Show the beginning of the page."""
        self._browser.execute_script("scrollTo(0, 0)")

    def is_too_wide(self) -> bool:
        """Return whether the page has to be moved sideways to be read."""
        return bool(self._browser.execute_script("return document.documentElement.scrollWidth > innerWidth"))


@pytest.fixture
def show(browser: Any, tmp_path: Path) -> Iterator[Callable[[History], ReportPage]]:
    """Give a function that writes a history's page and opens it as a file."""
    with ExitStack() as stack:

        def open_page(history: History) -> ReportPage:
            file = tmp_path / "run.html"
            write(file, history)
            browser.get_log("browser")  # what others complained of
            window = Window(browser, file.as_uri())
            stack.callback(window.close)
            page = ReportPage(browser, window)
            page.prefer("light")
            return page

        yield open_page


def test_the_page_of_a_real_run_says_what_happened(simulator: Simulator, show: Callable[[History], ReportPage]) -> None:
    """Refused, failed, repeated, held back by a limit: each is drawn in its colour, and the numbers are the summary's."""
    simulator.script(*[Fault.status(429, retry_after_ms=50), Fault.status(503, retry_after_ms=50)] * 3)
    simulator.script_for("bad", Fault.status(400))
    limits = Limits(requests_per_minute=6000)
    with OpenAIResponder("m", api_key="k", base_url=simulator.base_url("openai"), limits=limits, max_retries=8) as gpt:
        run = gpt.imap([*(f"prompt {number}" for number in range(60)), "bad"], max_workers=8)
        list(run)
    summary = run.summary()
    page = show(run.history)
    assert page.numbers() == summary.as_dict()
    assert page.window.text("h1") == "Run report: openai:m"
    assert page.window.text("#items") == "61"
    assert page.window.text("#failed") == "1"
    assert page.window.text("#attempts") == str(summary.attempts)
    assert summary.repeats == {"429": 3, "503": 3}
    assert page.window.texts("#causes th") == ["429", "503", "400"]
    assert page.window.texts("#errors th") == ["BadRequestError"]
    assert page.count("#workers .answered path") == 60
    assert page.count("#workers .failed path") == 7
    assert page.colour("#workers .answered path") == "rgb(0, 114, 178)"
    assert page.count("#workers .limited path") > 0
    assert page.colour("#times path.answered") == "rgb(0, 114, 178)"
    assert not page.complaints()
    assert not page.window.loaded()
    page.window.click("details summary")
    page.window.wait(lambda: '"items": 61' in page.window.text("#json"), "the numbers as JSON")


@pytest.mark.parametrize(("count", "workers"), [(10, 4), (1000, 16), (100_000, 1000)])
def test_runs_of_every_size_are_drawn(
    show: Callable[[History], ReportPage], picture: Callable[[Window, str], None], count: int, workers: int
) -> None:
    """From ten calls to a hundred thousand, of four workers or a thousand: drawn, within the window, without delay."""
    history = made_up(count, workers, faults=count > 10)
    page = show(history)
    summary = history.summary()
    assert page.numbers() == summary.as_dict()
    assert page.window.text("#items") == f"{count:,}"
    for chart in ("#workers .answered", "#in-flight path.answered", "#throughput path.answered", "#times path.answered"):
        shape = f"{chart} path" if chart == "#workers .answered" and count < 10_000 else chart
        assert page.colour(shape) == "rgb(0, 114, 178)", chart
    if count > 10:
        assert page.count("#workers .failed, #workers .limited, #workers .backoff") == 3
        assert page.window.texts("#advice li") == list(summary.advice)
    assert not page.is_too_wide()
    assert page.seconds_to_open() < 10
    assert not page.complaints()
    if count == 1000:
        page.scroll_to_top()
        picture(page.window, "report")


@pytest.mark.parametrize(("count", "workers"), [(1, 1), (10, 4), (1000, 16), (100_000, 1000)])
def test_the_page_fits_on_a_telephone(show: Callable[[History], ReportPage], count: int, workers: int) -> None:
    """Nothing stands out of a narrow window."""
    page = show(made_up(count, workers))
    assert page.window.fits_a_telephone()


def test_the_page_is_dark_for_those_who_like_it_dark(show: Callable[[History], ReportPage]) -> None:
    """The choice of the system is the page's."""
    page = show(made_up(400, 8))
    light, blue = page.background(), page.colour("#workers .answered path")
    page.prefer("dark")
    assert page.background() != light
    assert page.colour("#workers .answered path") != blue
