"""What the page of a pool costs its browser: ``python -m benchmarks.dashboard --help``.

A pool of so many shards, one server each, in a real Chromium: until the page is shown, script and
work of its main thread for the page and for each live update, and until a killed master is on the
first screen. Times of the browser are those that it tells by the DevTools protocol (Performance).
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import redis

from cachemesh.core.names import parse_address
from cachemesh.discovery.metaserver import MetaserverClient
from cachemesh.local import LocalStack
from tests.support.browser_page import HEIGHT, WIDTH, Page, start_chromium

NEVER = 600_000  # milliseconds
SECONDS_OF_UPDATES = 12
_SCRIPT, _TASK = "ScriptDuration", "TaskDuration"
_SHOWN = """const page = performance.getEntriesByType("navigation")[0];
    const paint = performance.getEntriesByName("first-contentful-paint")[0];
    return page.loadEventEnd && paint ? [page.loadEventEnd, paint.startTime] : null"""
_IN_SIGHT = """const row = document.querySelector("#shards > tbody.is-down");
    return row !== null && row.getBoundingClientRect().bottom <= innerHeight"""


@contextmanager
def signed_in(shards: int) -> Iterator[tuple[LocalStack, Page]]:
    """Start a pool and a browser that is signed in to its dashboard."""
    with (
        LocalStack(shards=shards, replicas=0, sentinels=1, down_after_ms=NEVER) as stack,
        tempfile.TemporaryDirectory() as profile,
    ):
        driver = start_chromium(Path(profile) / "chromium")
        try:
            page = Page(driver, stack.info["dashboard"])
            page.resize(WIDTH, HEIGHT)
            page.sign_in(stack.token)
            page.see("live", "#link")
            driver.execute_cdp_cmd("Performance.enable", {})
            yield stack, page
        finally:
            driver.quit()


def spent(page: Page) -> dict[str, float]:
    """Return the milliseconds that the page has taken since it was opened."""
    told: Any = page.driver.execute_cdp_cmd("Performance.getMetrics", {})
    metrics = {each["name"]: each["value"] * 1000 for each in told["metrics"]}
    return {name: metrics[name] for name in (_SCRIPT, _TASK)}


def of_pages(page: Page, rounds: int) -> dict[str, float]:
    """Open the page so many times; return medians in milliseconds."""
    found = []
    for _ in range(rounds):
        page.open("/pools/cache")
        page.see("live", "#link")
        loaded, painted = page.until(lambda: page.driver.execute_script(_SHOWN))
        cost = spent(page)
        found.append((loaded, painted, cost[_SCRIPT], cost[_TASK]))
    names = ("page loaded", "first paint", "script of the page", "main thread for the page")
    return {
        name: median(column) for name, column in zip(names, zip(*found, strict=True), strict=True)
    }


def of_updates(page: Page, stack: LocalStack) -> dict[str, float]:
    """Watch live updates while every shard's figures change; return medians in milliseconds."""
    addresses = [parse_address(shard["master"]) for shard in stack.info["shards"]]
    costs = []
    for number in range(SECONDS_OF_UPDATES):
        for address in addresses:
            with redis.Redis(address.host, address.port) as master:
                master.set(f"key:{number}", "x")
        before, end = spent(page), time.monotonic() + 1.0
        time.sleep(max(0.0, end - time.monotonic()))
        after = spent(page)
        costs.append((after[_SCRIPT] - before[_SCRIPT], after[_TASK] - before[_TASK]))
    names = ("script of an update", "main thread for an update")
    return {
        name: median(column) for name, column in zip(names, zip(*costs, strict=True), strict=True)
    }


def of_a_death(page: Page, stack: LocalStack, rounds: int) -> dict[str, float]:
    """Kill masters, one a round, from the end of the list; return medians in milliseconds."""
    api = MetaserverClient(stack.info["metaservers"], token=stack.token)
    found = []
    for number in range(rounds):
        process = stack.process(stack.info["shards"][-1 - number]["master"])
        process.kill(signal.SIGKILL)
        while api.request("GET", "/v1/pools/cache/status")["health"] != "down":
            pass
        known = time.monotonic()
        page.until(lambda: page.driver.execute_script(_IN_SIGHT))
        found.append((time.monotonic() - known) * 1000)
        process.restart()
        page.see("No alerts", "#live-alerts")
    return {"down is known until it is on the first screen": median(found)}


def measure(shards: int, rounds: int) -> dict[str, float]:
    """Return all figures of a pool of so many shards, in milliseconds."""
    with signed_in(shards) as (stack, page):
        return {
            **of_pages(page, rounds),
            **of_updates(page, stack),
            **of_a_death(page, stack, rounds),
        }


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, and print a table, or JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.dashboard", description=__doc__)
    parser.add_argument("--shards", type=int, nargs="+", default=[40, 200])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args(arguments)
    found = {shards: measure(shards, asked.rounds) for shards in asked.shards}
    if asked.json:
        sys.stdout.write(json.dumps(found, indent=2) + "\n")
        return 0
    for name in found[asked.shards[0]]:
        cells = "  ".join(f"{found[shards][name]:8.0f} ms" for shards in asked.shards)
        sys.stdout.write(f"{name:48}{cells}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
