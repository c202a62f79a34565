"""Fixtures: a headless Chromium on the dashboard of a local stack."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from selenium import webdriver

from cachemesh.discovery.metaserver import MetaserverClient
from cachemesh.local import LocalStack
from tests.support.browser_page import HEIGHT, WIDTH, Page, start_chromium
from tests.support.needs import needs


@pytest.fixture(scope="session", autouse=True)
def redis_server() -> str:
    """The path of the redis-server that the tests of this directory start."""
    return needs("redis-server")


@pytest.fixture(scope="session")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    """A Chromium with JavaScript."""
    driver = start_chromium(tmp_path_factory.mktemp("chromium"))
    yield driver
    driver.quit()


@pytest.fixture(scope="session")
def plain_chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    """A Chromium without JavaScript."""
    driver = start_chromium(tmp_path_factory.mktemp("plain"), javascript=False)
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def stack(chromium: webdriver.Chrome) -> Iterator[LocalStack]:
    """A stack of three shards, a spare pair outside the pool, a metaserver and a dashboard."""
    with LocalStack(spares=1) as running:
        yield running


@pytest.fixture
def page(chromium: webdriver.Chrome, stack: LocalStack) -> Iterator[Page]:
    """The login page at desktop size, with no session."""
    shown = Page(chromium, stack.info["dashboard"])
    shown.resize(WIDTH, HEIGHT)
    # Not with a page of the dashboard open: a board that finds its session ended goes elsewhere.
    chromium.get("about:blank")
    chromium.execute_cdp_cmd("Network.clearBrowserCookies", {})
    shown.open("/login")
    shown.complaints()
    yield shown
    chromium.get("about:blank")


@pytest.fixture
def board(page: Page, stack: LocalStack) -> Page:
    """The pool's page, signed in as admin, with its live stream connected."""
    page.sign_in(stack.token)
    page.see("live", "#link")
    return page


@pytest.fixture
def metaserver(stack: LocalStack) -> MetaserverClient:
    """A client of the API, for changes that are not made on the page."""
    return MetaserverClient(stack.info["metaservers"], token=stack.token)
