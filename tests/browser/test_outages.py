"""What the page shows while things break, and that it comes back by itself."""

from __future__ import annotations

import signal

import pytest

from cachemesh.local import LocalStack
from dashboard.app import create_app
from dashboard.config import DashboardConfig
from tests.browser.page import Page

pytestmark = pytest.mark.browser


def test_a_killed_master_and_its_successor(board: Page, stack: LocalStack) -> None:
    board.driver.execute_script("window.notReloaded = true")
    shard = stack.info["shards"][1]
    old = stack.master_of("cache-1")  # other tests have moved it, perhaps
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


def test_a_metaserver_that_says_nothing(board: Page, stack: LocalStack) -> None:
    process = stack.process(stack.info["metaservers"][0])
    process.pause()
    board.see("no news since", "#link")
    board.see("No news from the metaserver", "#live-alerts")
    process.resume()
    board.see("live", "#link")
    assert board.complaints() == []


def test_an_idle_session_ends_even_with_its_page_open(stack: LocalStack) -> None:
    app = create_app(DashboardConfig(tuple(stack.info["metaservers"]), idle_seconds=1.5))
    client = app.test_client()
    form = client.get("/login").text
    csrf = form.partition('name="csrf" value="')[2].partition('"')[0]
    client.post("/login", data={"csrf": csrf, "token": stack.token})
    stream = client.get("/pools/cache/live")
    assert stream.text.rstrip().endswith("event: signed-out\ndata: {}")
    assert client.get("/pools/cache").headers["Location"] == "/login?reason=expired"


def test_the_dashboard_goes_and_comes_back(board: Page, stack: LocalStack) -> None:
    process = stack.process(stack.info["dashboard"].removeprefix("http://"))
    process.kill(signal.SIGKILL)
    board.see("reconnecting since", "#link")
    process.restart()
    # Sessions live in the dashboard's memory, so whoever watched signs in again.
    board.see("Your session has ended")
    board.sign_in(stack.token)
    board.see("live", "#link")
