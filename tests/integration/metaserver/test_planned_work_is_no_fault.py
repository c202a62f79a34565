"""Planned failovers and additions never show as faults: in status, metrics and page.

For a longer run: KNOWN_WORK_FAILOVERS=20 KNOWN_WORK_ADDITIONS=5 scripts/test <this file>
"""

from __future__ import annotations

import json
import os
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pytest

from cachemesh.cli import main as cli
from cachemesh.local import LocalStack
from dashboard.app import create_app
from dashboard.config import DashboardConfig
from tests.support.metaserver_process import Api
from tests.support.waiting import until

FAILOVERS = int(os.environ.get("KNOWN_WORK_FAILOVERS", "2"))
ADDITIONS = int(os.environ.get("KNOWN_WORK_ADDITIONS", "1"))
EVERY = 0.05  # seconds between two polls
pytestmark = pytest.mark.timeout(120 + 30 * (FAILOVERS + ADDITIONS))  # what a busy machine needs
OFTEN = 20  # statuses that tell of work; less of it may pass between two looks at the page
CALM = {"up", "failing over", "joining", "draining"}


@pytest.fixture(scope="module")
def stack() -> Iterator[LocalStack]:
    """Two metaservers, of which one leads; Sentinels that a busy machine does not alarm."""
    with LocalStack(
        shards=2, replicas=2, metaservers=2, dashboard=False, spares=ADDITIONS, down_after_ms=5000
    ) as started:
        apis = [Api(address, started.token) for address in started.info["metaservers"]]
        for api in apis:
            until(partial(all_up, api))
        yield started


@dataclass
class Watched:
    """The findings of all threads, with monotonic times.

    `slow` has the times at which a busy machine answered so late that the fault was real.
    """

    states: Counter[str] = field(default_factory=Counter)
    found: list[tuple[float, str]] = field(default_factory=list)
    slow: list[float] = field(default_factory=list)

    def status(self, seen: dict[str, Any]) -> None:
        errors = [each["error"] for each in seen["sentinels"]]
        for shard in seen["shards"]:
            errors += [each["error"] for each in (shard["master"], *shard["replicas"])]
            self.states[shard["state"]] += 1
            if shard["state"] not in CALM:
                self.complain(f"{shard['name']} is {shard['state']}: {shard['reason']}")
        if seen["health"] != "ok":
            self.complain(f"the pool is {seen['health']}")
        if any(error and re.search("time|no full answer", error, re.I) for error in errors):
            self.slow.append(time.monotonic())

    def complain(self, *what: str) -> None:
        self.found += [(time.monotonic(), each) for each in what]

    def bad(self) -> Counter[str]:
        """Return the findings of times at which every server answered in time."""
        return Counter(
            what for at, what in self.found if not any(abs(at - slow) < 5 for slow in self.slow)
        )

    def metrics(self, text: str) -> None:
        self.complain(*re.findall(r"cachemesh_shard_up\{.*\} 0", text))

    def page(self, html: str) -> None:
        self.complain(*re.findall(r'class="(?:shard|badge|box) is-(?:down|degraded)"[^>]*>', html))
        words = re.findall(r"</svg>(failing over|joining)<", html)
        self.states.update(f"page: {word}" for word in words)


def status_of(api: Api) -> dict[str, Any]:
    found: dict[str, Any] = api("GET", "/v1/pools/cache/status").json
    return found


def all_up(api: Api) -> bool:
    return all(shard["state"] == "up" for shard in status_of(api)["shards"])


def look_at(api: Api, seen: Watched) -> None:
    seen.status(status_of(api))


@contextmanager
def watched(stack: LocalStack) -> Iterator[Watched]:
    """Poll status, metrics and page while the block runs."""
    seen, stop = Watched(), threading.Event()
    apis = [Api(address, stack.token) for address in stack.info["metaservers"]]
    browser = signed_in(stack)

    def metrics() -> None:
        seen.metrics(apis[0]("GET", "/metrics").text)

    looks: list[Callable[[], object]] = [
        *(partial(look_at, api, seen) for api in apis),
        metrics,
        lambda: seen.page(browser.get("/pools/cache").text),
    ]

    def keep_looking(look: Callable[[], object]) -> None:
        while not stop.is_set():
            look()
            stop.wait(EVERY)

    with ThreadPoolExecutor(len(looks) + 1) as workers:
        running = [workers.submit(keep_looking, look) for look in looks]
        running.append(workers.submit(follow, signed_in(stack), seen, stop))
        try:
            yield seen
        finally:
            stop.set()
    for each in running:
        each.result()


def signed_in(stack: LocalStack) -> Any:
    """A browser without a window, at a dashboard on the stack's metaservers."""
    client = create_app(DashboardConfig(tuple(stack.info["metaservers"]))).test_client()
    csrf = client.get("/login").text.partition('name="csrf" value="')[2].partition('"')[0]
    client.post("/login", data={"csrf": csrf, "token": stack.token})
    return client


def follow(browser: Any, seen: Watched, stop: threading.Event) -> None:
    """Read the live stream of the page."""
    stream = browser.get("/pools/cache/live", buffered=False)
    for part in stream.response:
        text = part.decode() if isinstance(part, bytes) else part
        if text.startswith("event: fragments"):
            html = json.loads(text.partition("data: ")[2])["html"]
            seen.page(" ".join(html.values()))
        if stop.is_set():
            break
    stream.close()


def test_planned_failovers_and_additions_are_no_trouble(stack: LocalStack) -> None:
    api = Api(stack.info["metaservers"][0], stack.token)
    with watched(stack) as seen:
        for number in range(FAILOVERS):
            shard = f"cache-{number % 2}"
            path = f"/v1/pools/cache/shards/{shard}/failover"
            done = api("POST", path, {"hurry": number % 2 == 0}, timeout=60)
            assert done.status == 200, done.text
            until(partial(all_up, api))
            assert pool_status(stack) == 0
        for number, spare in enumerate(stack.info["spares"]):
            until(lambda: not status_of(api)["sweeps"])
            body = {"name": f"new-{number}", "master": spare["master"]}
            done = api("POST", "/v1/pools/cache/shards", body, timeout=60)
            assert done.status == 201, done.text
            assert pool_status(stack) == 0
            until(partial(all_up, api))
    for work in ("failing over", "joining"):
        assert seen.states[work]
        assert seen.states[f"page: {work}"] or seen.states[work] < OFTEN
    assert not seen.bad()
    events = api("GET", "/v1/events?pool=cache&limit=1000").json["events"]
    told = {event["action"] for event in events}
    planned = {"pool.create", "shard.failover", "shard.add", "sweep.done"}
    steps = ("prepare", "step-back", "move", "source-done", "done")
    assert seen.slow or told <= planned | {f"resize.{step}" for step in steps}


def pool_status(stack: LocalStack) -> int:
    """Return the exit code of `cachemesh pool status`."""
    token = stack.info["token_file"]
    return cli.run(["--url", stack.info["url"], "--token-file", token, "pool", "status"])
