"""The dashboard on an observer: all that is to be seen, and what needs a full metaserver."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from selenium import webdriver

from cachemesh.local import LocalStack
from cachemesh.local.ports import Ports
from tests.support.browser_page import HEIGHT, WIDTH, Page
from tests.support.metaserver_process import Metaserver, environment
from tests.support.raw_http import answers
from tests.support.waiting import AT_MOST, until

pytestmark = pytest.mark.browser


@dataclass
class Observed:
    """An observer, a dashboard on it, and what both have written."""

    observer: Metaserver
    url: str
    log: Path

    def logs(self) -> str:
        return self.observer.log.read_text() + self.log.read_text()


@pytest.fixture(scope="module")
def stack(chromium: webdriver.Chrome) -> Iterator[LocalStack]:
    """Two shards that Sentinels monitor; their metaserver is not asked."""
    with LocalStack(shards=2, dashboard=False) as running:
        yield running


@pytest.fixture(scope="module")
def observed(stack: LocalStack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Observed]:
    directory = tmp_path_factory.mktemp("observed")
    sentinels = f"cachemesh+sentinel://{','.join(stack.info['sentinels'])}/cache"
    observer = Metaserver(directory, store=("--observe", sentinels))
    observer.start()
    port = Ports().take()
    at = ("--listen", f"127.0.0.1:{port}", "--metaserver", f"http://127.0.0.1:{observer.port}")
    log = directory / "dashboard.log"
    with log.open("wb") as written:
        dashboard = subprocess.Popen(
            [sys.executable, "-m", "dashboard", *at], stderr=written, env=environment()
        )
    try:
        until(lambda: answers(f"127.0.0.1:{port}"))
        yield Observed(observer, f"http://127.0.0.1:{port}", log)
    finally:
        dashboard.terminate()
        dashboard.wait(AT_MOST)
        observer.stop()


@pytest.fixture
def page(chromium: webdriver.Chrome, observed: Observed) -> Page:
    shown = Page(chromium, observed.url)
    shown.resize(WIDTH, HEIGHT)
    chromium.get("about:blank")
    chromium.execute_cdp_cmd("Network.clearBrowserCookies", {})
    shown.open("/login")
    shown.complaints()
    return shown


def test_all_is_shown_and_nothing_is_offered_that_it_cannot_do(
    page: Page, observed: Observed, stack: LocalStack
) -> None:
    page.sign_in(observed.observer.token())
    page.see("live", "#link")
    page.see("ok", "nav[aria-label=Pools]")
    for shard in stack.info["shards"]:
        shown = page.text(f"#shard-{shard['name']}")
        for address in (shard["master"], *shard["replicas"]):
            assert address in shown
        assert "3 of 3 Sentinels, quorum 2" in shown
        assert "no client reports" in shown
    assert "Observed, read only" in page.text("#live-alerts")
    assert "--db or --zookeeper" in page.text("#live-alerts")
    assert "an observer does not sweep" in page.text("#live-side")
    assert "cache as Sentinels have it" in page.text("#live-events")
    links = [each.get_attribute("href") for each in page.driver.find_elements("css selector", "a")]
    changes = [link for link in links if re.search(r"/shards/(new$|[^/]+/)", link or "")]
    assert not changes
    assert page.complaints() == []
    page.resize(390, 844)
    page.fits(390)


def test_a_page_of_a_change_says_what_it_needs(page: Page, observed: Observed) -> None:
    page.sign_in(observed.observer.token())
    page.see("live", "#link")
    page.open("/pools/cache/shards/new")
    page.fill("name", "cache-9")
    page.fill("master", "127.0.0.1:1")
    page.press("Preview")
    assert "This metaserver only observes" in page.text("[role=alert]")
    assert "--db or --zookeeper" in page.text("[role=alert]")
    page.open("/pools/cache/shards/cache-0/failover")
    assert "This metaserver only observes" in page.text("[role=alert]")


def test_neither_writes_an_error(page: Page, observed: Observed) -> None:
    lines = [line for line in observed.logs().splitlines() if "rror" in line or "Trace" in line]
    assert lines == []
