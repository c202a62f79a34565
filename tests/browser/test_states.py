"""How the page shows known work, and shards without a replica that could take over."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest
from selenium import webdriver

from cachemesh.discovery.metaserver import MetaserverClient
from cachemesh.local import LocalStack
from tests.support.browser_page import Page

pytestmark = pytest.mark.browser

WARNING = "no replica: a failover is not possible, its keys are lost if it dies"


@pytest.fixture(scope="module")
def stack(chromium: webdriver.Chrome) -> Iterator[LocalStack]:
    """A stack of two shards with a replica each."""
    with LocalStack(shards=2, down_after_ms=1000) as running:
        yield running


def test_a_planned_failover_is_calm(
    board: Page, stack: LocalStack, metaserver: MetaserverClient
) -> None:
    board.until(lambda: board.text("#shard-cache-0 .badge") == "up", 60)
    script = """window.seen = new Set(); new MutationObserver(() => {
        for (const badge of document.querySelectorAll(".shard-head .badge, #live-alerts .box"))
            window.seen.add(badge.className);
    }).observe(document.body, {subtree: true, childList: true, attributes: true})"""
    board.driver.execute_script(script)
    metaserver.request("POST", "/v1/pools/cache/shards/cache-0/failover", {}, timeout=60)
    board.until(lambda: "badge is-failing-over" in seen(board), 60)
    board.until(lambda: board.text("#shard-cache-0 .badge") == "up", 60)
    board.see("failed over cache-0", "#live-events")
    assert "box is-info" in seen(board)
    assert board.complaints() == []


def seen(page: Page) -> set[str]:
    """Return the classes that shards and alerts have had."""
    return set(page.driver.execute_script("return [...window.seen]"))


def test_a_shard_without_a_replica_says_so_and_promises_nothing(
    board: Page, stack: LocalStack
) -> None:
    alone = str(stack.start_redis().address)
    board.open("/pools/cache/shards/new")
    board.fill("name", "lonely")
    board.fill("master", alone)
    board.press("Preview")
    assert f"shard lonely ({alone}) has {WARNING}" in board.text("#preview")
    board.press("Add lonely")
    board.see(WARNING, "#shard-lonely")
    stack.process(alone).kill(signal.SIGKILL)
    board.see("lonely is down", "#live-alerts", seconds=60)
    board.see("no failover can happen, as it has no replica", "#live-alerts", seconds=60)
    board.see(f"start {alone} again", "#live-alerts")
    # Also after the Sentinels agree that it is down, which takes a second.
    board.until(lambda: "lonely went down" in board.text("#live-events"), 60)
    assert "under way" not in board.text("#live-alerts") + board.text("#shard-lonely")
    stack.process(alone).restart()
    board.see("ok", "nav[aria-label=Pools]", seconds=60)
