"""The column that shows a pool as its apps feel it."""

from __future__ import annotations

from typing import Any

import pytest

from cachemesh.discovery.metaserver import MetaserverClient
from tests.support.browser_page import Page

pytestmark = pytest.mark.browser


def report(metaserver: MetaserverClient, client: str, **shards: dict[str, Any]) -> None:
    """Report as a client does, in a watch call."""
    quality = {name.replace("_", "-"): felt for name, felt in shards.items()}
    body = {"client": client, "version": 0, "wait": 0, "quality": quality}
    metaserver.request("POST", "/v1/pools/cache/watch", body)


def test_it_says_that_no_client_reports_and_then_what_they_do(
    board: Page, metaserver: MetaserverClient
) -> None:
    assert "no client reports" in board.text("#pool-felt")
    assert "no client reports" in board.text("#felt-cache-0")
    fine = {"calls": 6_000, "latency": {"47": 5_900, "103": 100}}
    hurt = {"calls": 30, "latency": {"47": 30}, "errors": {"timeout": 90, "broken": 6}}
    report(metaserver, "one", cache_0=fine, cache_1={**hurt, "breaker": "open"})
    report(metaserver, "two", cache_0=fine)
    board.see("no errors", "#felt-cache-0")
    assert "p50 0.26 ms, p99 33 ms" in board.text("#felt-cache-0")
    board.see("breaker open in 1 of 2 clients", "#felt-cache-1")
    shown = board.text("#felt-cache-1")
    assert "errors/s: timeout" in shown
    assert shown.index("timeout") < shown.index("broken"), "the most frequent first"
    assert "not called in the last minute" in board.text("#felt-cache-2")
    for words in ("2 clients report", "errors/s: timeout", "breaker open in 1 of 2 clients"):
        assert words in board.text("#pool-felt")
    assert board.page_size() == (1440, 900), "the first glance needs no scrolling"
    board.resize(390, 844)
    board.fits(390)
    assert board.complaints() == []


def test_a_breaker_that_closes_is_told_without_a_reload(
    board: Page, metaserver: MetaserverClient
) -> None:
    fine = {"calls": 10, "latency": {"47": 10}}
    report(metaserver, "one", cache_0=fine, cache_1={"calls": 0, "breaker": "half-open"})
    board.see("breaker half-open in 1 of", "#felt-cache-1")
    report(metaserver, "one", cache_0=fine, cache_1=fine)
    board.until(lambda: "breaker" not in board.text("#felt-cache-1"))
    assert board.complaints() == []
