"""What the page shows during outages, and that it recovers by itself."""

from __future__ import annotations

import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from cachemesh.local import LocalStack
from cachemesh.local.process import Process
from dashboard.app import create_app
from dashboard.config import DashboardConfig
from tests.support.browser_page import Page

pytestmark = pytest.mark.browser

BADGE = "#shard-cache-0 .badge"


def colour(page: Page, selector: str) -> str:
    script = "return getComputedStyle(document.querySelector(arguments[0])).color"
    return str(page.driver.execute_script(script, selector))


def looks_old(page: Page, green: str) -> None:
    """Wait until the page is grey and shows its age in the title and in a visible header."""
    page.until(lambda: re.match(r"\d+ (s|min|h) old · cache", page.driver.title), 60)
    page.until(lambda: colour(page, BADGE) not in (green, ""))
    page.driver.execute_script("window.scrollTo(0, document.body.scrollHeight)")
    page.until(lambda: page.in_sight("#link-age") and "old" in page.text("#link-age"))


def looks_fresh(page: Page, green: str) -> None:
    page.see("live", "#link", seconds=60)
    page.until(lambda: page.driver.title.startswith("ok · cache"), 60)
    page.until(lambda: colour(page, BADGE) == green, 60)
    assert page.text("#link-age") == ""


@pytest.fixture
def green(board: Page) -> str:
    """The colour of a shard that is up, on a screen too small for the whole page."""
    board.resize(1000, 500)
    board.see("ok", "nav[aria-label=Pools]", seconds=60)
    board.until(lambda: board.driver.title.startswith("ok · cache"), 60)
    board.until(lambda: board.text(BADGE) == "up", 60)
    return colour(board, BADGE)


@pytest.mark.parametrize("how", ["killed", "stopped"])
def test_without_a_metaserver_the_page_looks_old(
    board: Page, stack: LocalStack, green: str, how: str
) -> None:
    process = stack.process(stack.info["metaservers"][0])
    with gone(process, how):
        looks_old(board, green)
        assert board.text(BADGE) == "up"  # as before
        words = ("metaserver lost", "unreachable") if how == "killed" else ("no news", "No news")
        board.see(words[0], "#link")
        board.see(words[1], "#live-alerts")
    looks_fresh(board, green)


def test_with_a_dashboard_that_stands_still_the_page_looks_old(
    board: Page, stack: LocalStack, green: str
) -> None:
    process = stack.process(stack.info["dashboard"].removeprefix("http://"))
    with gone(process, "stopped"):
        looks_old(board, green)
        board.see("no news since", "#link")
    looks_fresh(board, green)


def test_without_a_dashboard_the_page_looks_old(board: Page, stack: LocalStack, green: str) -> None:
    process = stack.process(stack.info["dashboard"].removeprefix("http://"))
    process.kill(signal.SIGKILL)
    looks_old(board, green)
    board.see("reconnecting since", "#link")
    process.restart()
    # Sessions live in the dashboard's memory, so after its restart the user signs in again.
    board.see("Your session has ended", seconds=60)
    board.sign_in(stack.token)
    looks_fresh(board, green)


def test_after_a_sleep_the_page_looks_old_until_it_hears_again(
    board: Page, stack: LocalStack, green: str
) -> None:
    """To a page, a sleep is a clock that is suddenly an hour later, without data in between."""
    process = stack.process(stack.info["dashboard"].removeprefix("http://"))
    with gone(process, "stopped"):
        board.driver.execute_script("const now = Date.now; Date.now = () => now() + 3_600_000")
        looks_old(board, green)
        assert board.driver.title.startswith("1 h old")
    looks_fresh(board, green)


def test_a_browser_whose_clock_is_wrong_tells_the_right_time(
    board: Page, stack: LocalStack
) -> None:
    ahead = "const now = Date.now; Date.now = () => now() + 7_200_000"
    add, remove = (
        "Page.addScriptToEvaluateOnNewDocument",
        "Page.removeScriptToEvaluateOnNewDocument",
    )
    script = board.driver.execute_cdp_cmd(add, {"source": ahead})
    try:
        board.open("/pools/cache")
        board.see("live", "#link")
        times = "return [...document.querySelectorAll('time[data-ago]')].map((e) => e.textContent)"
        shown = board.until(lambda: board.driver.execute_script(times))
        assert not [each for each in shown if each.startswith("2 h")]
    finally:
        board.driver.execute_cdp_cmd(remove, script)


@contextmanager
def gone(process: Process, how: str) -> Iterator[None]:
    if how == "killed":
        process.kill(signal.SIGKILL)
    else:
        process.pause()
    try:
        yield
    finally:
        if how == "killed":
            process.restart()
        else:
            process.resume()


def test_a_killed_master_and_its_successor(board: Page, stack: LocalStack) -> None:
    board.driver.execute_script("window.notReloaded = true")
    shard = stack.info["shards"][1]
    old = stack.master_of("cache-1")  # other tests may have failed it over
    (new,) = {shard["master"], *shard["replicas"]} - {old}
    stack.process(old).kill(signal.SIGKILL)
    board.see("cache-1 is down", "#live-alerts")
    board.see("master", f"[id='i-cache-1-{new}']")
    board.see("cache-1 is degraded", "#live-alerts")
    board.see("Failover of cache-1", "#live-events")
    stack.process(old).restart()
    board.see("replica", f"[id='i-cache-1-{old}']")
    board.see("ok", "nav[aria-label=Pools]")
    assert board.driver.execute_script("return window.notReloaded")
    assert board.complaints() == []


def test_the_metaserver_goes_and_comes_back(board: Page, stack: LocalStack) -> None:
    process = stack.process(stack.info["metaservers"][0])
    process.kill(signal.SIGKILL)
    board.see("metaserver lost since", "#link")
    board.see("Metaserver unreachable", "#live-alerts")
    board.see("What you see is from", "#live-alerts")
    assert "cache-0" in board.text("#live-shards")
    board.open("/")
    assert "Metaserver unreachable" in board.text("[role=alert]")
    board.open("/pools/cache")
    board.see("metaserver lost since", "#link")
    process.restart()
    board.see("live", "#link")
    board.until(lambda: "Metaserver unreachable" not in board.text("#live-alerts"))


def test_an_idle_session_ends_even_with_its_page_open(stack: LocalStack) -> None:
    app = create_app(DashboardConfig(tuple(stack.info["metaservers"]), idle_seconds=1.5))
    client = app.test_client()
    form = client.get("/login").text
    csrf = form.partition('name="csrf" value="')[2].partition('"')[0]
    client.post("/login", data={"csrf": csrf, "token": stack.token})
    stream = client.get("/pools/cache/live")
    assert stream.text.rstrip().endswith("event: signed-out\ndata: {}")
    assert client.get("/pools/cache").headers["Location"] == "/login?reason=expired"
