"""A headless Chromium, and its windows: what a person sees of a page, and does on it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

# Seconds until a test that hangs fails; nothing is expected to take this long.
PATIENCE = 60.0

_FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--hide-scrollbars",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    # Windows behind others are drawn all the same: two users look at theirs at once.
    "--disable-backgrounding-occluded-windows",
    "--disable-renderer-backgrounding",
    # Nothing but this machine has an address.
    "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",
    "--window-size=1280,800",
)


def programs() -> tuple[str, str] | None:
    """Return the paths of Chromium and of its driver; None when one of them is not installed."""
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    driver = shutil.which("chromedriver")
    return (chromium, driver) if chromium and driver else None


def start(chromium: str, driver: str, home: Path) -> webdriver.Chrome:
    """Start a browser that knows nothing yet.

    Args:
        chromium: The browser's path.
        driver: The driver's path.
        home: An empty folder for whatever it keeps.
    """
    options = Options()
    options.binary_location = chromium
    for flag in (*_FLAGS, f"--user-data-dir={home / 'profile'}"):
        options.add_argument(flag)
    service = Service(driver, env={**os.environ, "HOME": str(home), "XDG_CONFIG_HOME": str(home), "XDG_CACHE_HOME": str(home)})
    browser = webdriver.Chrome(options=options, service=service)
    browser.set_page_load_timeout(PATIENCE)
    return browser


@contextmanager
def opened(home: Path) -> Iterator[webdriver.Chrome]:
    """Give a browser; where there is none, the test is skipped, or fails on a machine that has to have one.

    Args:
        home: An empty folder for whatever it keeps.
    """
    found = programs()
    if found is None:
        reason = "no chromium and chromedriver here: `make browser` installs them where it may"
        if os.environ.get("CI", "").lower() in ("1", "true", "yes"):
            pytest.fail(reason)
        pytest.skip(reason)
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
            patch.delenv(name)  # on the way to its own driver, Selenium would use it
        running = start(*found, home)
    try:
        yield running
    finally:
        running.quit()


class Window:
    """A window of its own, with one page in it."""

    def __init__(self, browser: webdriver.Chrome, url: str) -> None:
        self._browser = browser
        self._first = browser.window_handles[0]
        browser.switch_to.new_window("window")
        self._own = browser.current_window_handle
        self._is_open = True
        browser.get(url)

    def _here(self) -> webdriver.Chrome:
        if self._browser.current_window_handle != self._own:
            self._browser.switch_to.window(self._own)
        return self._browser

    def wait(self, condition: Callable[[], object], what: str) -> None:
        """Wait until something is true of the page."""
        self._here()
        WebDriverWait(self._browser, PATIENCE, 0.05).until(lambda _: condition(), f"{what}: did not happen")

    def texts(self, selector: str) -> list[str]:
        """Return the texts of all elements that a CSS selector finds, in the order of the page."""
        found = "return [...document.querySelectorAll(arguments[0])].map(element => element.innerText.trim())"
        return list(self._here().execute_script(found, selector))

    def text(self, selector: str) -> str:
        """Return the text of the only element that a CSS selector finds."""
        (found,) = self.texts(selector)
        return found

    def wait_for(self, selector: str) -> None:
        """Wait until an element is there."""
        self.wait(lambda: self.texts(selector), f"{selector} is there")

    def type(self, selector: str, text: str) -> None:
        """Replace what an input holds, and press Enter."""
        self.wait_for(selector)
        element = self._here().find_element(By.CSS_SELECTOR, selector)
        element.click()
        element.send_keys(Keys.CONTROL, "a")
        element.send_keys(text, Keys.ENTER)

    def click(self, selector: str) -> None:
        """Click on an element."""
        self.wait_for(selector)
        self._here().find_element(By.CSS_SELECTOR, selector).click()

    def loaded(self) -> list[str]:
        """Return the URLs of all that the page has loaded, or tried to."""
        names = "return performance.getEntriesByType('resource').map(entry => entry.name)"
        return list(self._here().execute_script(names))

    def fits_a_telephone(self) -> bool:
        """Return whether nothing stands out of a window of 360 pixels."""
        metrics = {"width": 360, "height": 740, "deviceScaleFactor": 1, "mobile": False}
        self._here().execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        try:
            return bool(self._browser.execute_script("return document.documentElement.scrollWidth <= innerWidth"))
        finally:
            self._browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})

    def save_picture(self, path: Path) -> None:
        """Save what the window shows as a PNG."""
        # A window that is not the first one has the size that the desktop gives it.
        self._here().set_window_size(1280, 900)
        self._browser.save_screenshot(str(path))

    def close(self) -> None:
        """Close the window, as a person does."""
        if self._is_open:
            self._is_open = False
            self._here().close()
            self._browser.switch_to.window(self._first)
