"""The dashboard in a real headless Chromium, in terms of what a person does and sees."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from selenium import webdriver
from selenium.common.exceptions import (
    NoSuchElementException,
    StaleElementReferenceException,
    TimeoutException,
)
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from tests.support.needs import needs
from tests.support.waiting import AT_MOST

WIDTH, HEIGHT = 1440, 900
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    # A browser that takes a slow process for one that hangs ends it, and in the end itself.
    "--disable-gpu-watchdog",
    "--disable-gpu-process-crash-limit",
    "--disable-hang-monitor",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
WAIT_SECONDS = AT_MOST
_TEXT = """const found = document.querySelector(arguments[0]);
return found && (found.checkVisibility() ? found.innerText : "")"""


class Page:
    """One browser window on the dashboard."""

    def __init__(self, driver: webdriver.Chrome, url: str) -> None:
        self.driver = driver
        self.url = url

    def open(self, path: str = "/") -> None:
        """Go to a path of the dashboard."""
        self.driver.get(self.url + path)

    def sign_in(self, token: str) -> None:
        """Sign in with a token."""
        if self.driver.current_url != f"{self.url}/login":
            self.open("/login")
        self.fill("token", token)
        self.press("Sign in")

    def fill(self, field: str, text: str) -> None:
        """Replace the text of the field with this id."""
        try:  # a page may go to another one by itself just then
            element = self.until(lambda: self.driver.find_element(By.ID, field))
        except TimeoutException:
            pytest.fail(
                f"{self.driver.current_url} has no field {field!r}; it shows:\n{self.text()}"
            )
        element.clear()
        element.send_keys(text)

    def press(self, words: str) -> None:
        """Press the button, or follow the link, with this text; wait for the next page."""
        before = self.driver.find_element(By.TAG_NAME, "html").id
        path = f"//main//*[self::button or self::a][normalize-space()='{words}']"
        self.until(lambda: self.driver.find_element(By.XPATH, path)).click()
        self.until(lambda: self.driver.find_element(By.TAG_NAME, "html").id != before)
        self.until(lambda: self.driver.execute_script("return document.readyState") == "complete")

    def text(self, selector: str = "body") -> str:
        """Return the visible text of the first element that the CSS selector matches.

        The browser tells it; what Selenium finds out by itself takes ten times as long.
        """
        found = self.driver.execute_script(_TEXT, selector)
        if found is None:
            raise NoSuchElementException(selector)
        lines = (" ".join(line.split()) for line in found.splitlines())
        return "\n".join(line for line in lines if line)

    def until(self, condition: Callable[[], Any], seconds: float = WAIT_SECONDS) -> Any:
        """Wait until a condition holds; elements that come and go meanwhile are no failure."""
        wait = WebDriverWait(
            self.driver,
            seconds,
            poll_frequency=0.05,
            ignored_exceptions=(NoSuchElementException, StaleElementReferenceException),
        )
        return wait.until(lambda _: condition())

    def reload_until(self, condition: Callable[[], Any]) -> None:
        """Load the page again until a condition holds, for a page that stays as it was loaded."""

        def holds() -> Any:
            self.driver.refresh()
            return condition()

        if not condition():
            self.until(holds)

    def see(self, words: str, selector: str = "body", seconds: float = WAIT_SECONDS) -> None:
        """Wait until the words are visible in the element; fail with the text of the page."""
        try:
            self.until(lambda: words in self.text(selector), seconds)
        except TimeoutException:
            pytest.fail(f"waited {seconds} s for {words!r}; the page shows:\n{self.text()}")

    def resize(self, width: int, height: int) -> None:
        """Set the size of the window, in CSS pixels; below 500 the browser acts as a phone."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)

    @contextmanager
    def slow_replies(self, milliseconds: int) -> Iterator[None]:
        """Delay the start of each reply for the block; open streams go on undelayed."""
        network = {"offline": False, "downloadThroughput": -1, "uploadThroughput": -1}
        self.driver.execute_cdp_cmd("Network.enable", {})
        try:
            slow = {**network, "latency": milliseconds}
            self.driver.execute_cdp_cmd("Network.emulateNetworkConditions", slow)
            yield
        finally:
            self.driver.execute_cdp_cmd("Network.disable", {})

    def page_size(self) -> tuple[int, int]:
        """Return width and height of the whole page, in pixels."""
        root = "document.documentElement"
        size = self.driver.execute_script(f"return [{root}.scrollWidth, {root}.scrollHeight]")
        return int(size[0]), int(size[1])

    def fits(self, width: int) -> None:
        """Wait until the page is no wider than this; fail with the elements that stand out."""
        try:
            self.until(lambda: self.page_size()[0] <= width)
        except TimeoutException:
            script = """return [...document.querySelectorAll("body *")]
                .filter(e => e.getBoundingClientRect().right > arguments[0])
                .map(e => e.outerHTML.slice(0, 120))"""
            wide = self.driver.execute_script(script, width)
            pytest.fail(f"{self.driver.current_url} is {self.page_size()[0]} px wide: {wide}")

    def in_sight(self, selector: str) -> bool:
        """Return whether an element is within the visible part of the page."""
        script = """const box = document.querySelector(arguments[0]).getBoundingClientRect();
            return box.height > 0 && box.top >= 0 && box.bottom <= innerHeight"""
        return bool(self.driver.execute_script(script, selector))

    def complaints(self) -> list[str]:
        """Return the warnings and errors that the console has logged since the last call."""
        return [
            entry["message"]
            for entry in self.driver.get_log("browser")  # type: ignore[no-untyped-call]
            if entry["level"] in ("SEVERE", "WARNING")
        ]


def start_chromium(directory: Path, *, javascript: bool = True) -> webdriver.Chrome:
    """Start Chromium with its profile in the directory."""
    options = webdriver.ChromeOptions()
    options.binary_location = needs("chromium")
    for flag in (*FLAGS, f"--user-data-dir={directory}", f"--window-size={WIDTH},{HEIGHT}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    if not javascript:
        block = {"profile.managed_default_content_settings.javascript": 2}
        options.add_experimental_option("prefs", block)
    log = directory.with_suffix(".log")  # for whoever looks into why a browser ended
    service = webdriver.ChromeService(needs("chromedriver"), log_output=str(log))
    return webdriver.Chrome(options=options, service=service)
