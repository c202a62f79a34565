"""Whether a page can be used by everybody: what axe finds, and targets that are too small."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.support.browser_page import HEIGHT, WIDTH, Page

AXE = Path(__file__).parent / "vendor" / "axe-core" / "axe.min.js"
NARROW = 390
LEAST_TARGET = 24  # pixels, each way

_RUN = """
const done = arguments[arguments.length - 1];
axe.run(document, {resultTypes: ["violations"], ...arguments[0]}).then(
    (found) => done(found.violations.flatMap((each) =>
        each.nodes.map((node) => each.id + ": " + node.html.slice(0, 200)))),
    (error) => done(["axe failed: " + error]));
"""
_ALL: dict[str, Any] = {"rules": {"target-size": {"enabled": True}}}
_COLOURS: dict[str, Any] = {"runOnly": {"type": "rule", "values": ["color-contrast"]}}

# Links within a sentence may be as small as its words, and a box to tick is as big as its label.
_SMALL = """
const least = arguments[0], controls = "a[href], button, select, summary, input:not([type=hidden])";
return [...document.querySelectorAll(controls)].map((each) => each.closest("label") || each)
    .filter((each) => each.checkVisibility() && getComputedStyle(each).display !== "inline")
    .filter((each) => !each.matches(".skip"))
    .map((each) => [each.getBoundingClientRect(), each.outerHTML.slice(0, 160)])
    .filter(([box]) => Math.round(box.width) < least || Math.round(box.height) < least)
    .map(([box, html]) => `${box.width} x ${box.height}: ${html}`);
"""


def findings(page: Page) -> dict[str, list[str]]:
    """Return what is wrong with the shown page, by the way in which it is looked at.

    Looked at are light and dark colours, a phone, and a page at 200%: the same window with half as
    many pixels of CSS. Nothing is reloaded for that.
    """
    page.driver.execute_script(AXE.read_text(encoding="utf-8"))
    found = {"light": _axe(page, _ALL) + _small_targets(page)}
    with _dark(page):
        found["dark"] = _axe(page, _COLOURS)
    for name, (width, height) in {
        "phone": (NARROW, 844),
        "200%": (WIDTH // 2, HEIGHT // 2),
    }.items():
        page.resize(width, height)
        page.fits(width)
        found[name] = _axe(page, _ALL) + _small_targets(page)
    page.resize(WIDTH, HEIGHT)
    return {name: each for name, each in found.items() if each}


def _axe(page: Page, options: dict[str, Any]) -> list[str]:
    return list(page.driver.execute_async_script(_RUN, options))


def _small_targets(page: Page) -> list[str]:
    return list(page.driver.execute_script(_SMALL, LEAST_TARGET))


@contextmanager
def _dark(page: Page) -> Iterator[None]:
    def prefer(scheme: str) -> None:
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        page.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})

    prefer("dark")
    try:
        yield
    finally:
        prefer("light")
