"""A shard that stays dead: how soon its keys fail, and whether the keys of others get slower."""

from __future__ import annotations

import threading
import time
from statistics import median, quantiles
from typing import Any

from benchmarks.failover import faults
from benchmarks.failover.cases.base import BLOCKING, Case, CaseResult, CaseSettings
from benchmarks.failover.contenders import AsyncContender, Contender
from benchmarks.failover.contenders.base import ContenderClient
from benchmarks.failover.load import APP_ERRORS
from benchmarks.failover.site import Site, site

_MOST, _NOISE = 0.005, 1.25
_OPENS_IN = 6.0  # seconds of calls in which a client has time to notice
_PAUSE = 0.01


class Dead(Case):
    """One of two shards has no instance left: its ports refuse connections."""

    name = "dead"
    what = "a dead shard: time of a GET there (p50/p99/max) / on another shard, before -> then"
    bar = f"p99 <= {_MOST * 1000:.0f} ms / median <= {_NOISE:g} x"
    contenders = (*BLOCKING, "redis-py-direct")

    def run(self, contender: Contender | AsyncContender, settings: CaseSettings) -> CaseResult:
        assert isinstance(contender, Contender)
        with site(2, replicas=1) as here:
            dead, alive = (f"{{{writer.tag}}}" for writer in here.writers([1, 1]))
            client = contender.connect(here)
            _timed(client, here.shards[0], dead, 0.5)
            before = _timed(client, here.shards[1], alive, 3.0)
            self._fail(here, here.shards[0])
            _timed(client, here.shards[0], dead, _OPENS_IN)
            failing: list[float] = []
            span = max(5.0, settings.seconds - _OPENS_IN - 3.5)
            caller = threading.Thread(
                target=lambda: failing.extend(_timed(client, here.shards[0], dead, span))
            )
            caller.start()
            meanwhile = _timed(client, here.shards[1], alive, span - 1.0)
            caller.join()
            client.close()
        return _judged(failing, before, meanwhile)

    def _fail(self, here: Site, shard: str) -> None:
        faults.kill_shard(here, shard)


class Silent(Dead):
    """The instances of one of two shards accept connections and commands, and never reply."""

    name = "silent"
    what = Dead.what.replace("dead", "silent (SIGSTOP)")

    def _fail(self, here: Site, shard: str) -> None:
        faults.freeze_shard(here, shard)


def _judged(failing: list[float], before: list[float], meanwhile: list[float]) -> CaseResult:
    there, was, now = _spread(failing), _spread(before), _spread(meanwhile)
    times = median(meanwhile) / median(before)
    shown = (
        f"{there['p50']:.2f}/{there['p99']:.2f}/{there['max']:.0f} ms / "
        f"{was['p50']:.2f} -> {now['p50']:.2f} ms"
    )
    figures: dict[str, Any] = {"dead_ms": there, "before_ms": was, "meanwhile_ms": now}
    return CaseResult(shown, there["p99"] <= _MOST * 1000 and times <= _NOISE, figures)


def _spread(times: list[float]) -> dict[str, float]:
    """Return the spread of times, in milliseconds."""
    last = quantiles(times, n=100, method="inclusive")[-1] if len(times) > 1 else times[0]
    return {
        "calls": len(times),
        "p50": median(times) * 1000,
        "p99": last * 1000,
        "max": max(times) * 1000,
    }


def _timed(client: ContenderClient, shard: str, key: str, seconds: float) -> list[float]:
    """Return how long each GET took until its reply or error, in seconds; at least one."""
    times: list[float] = []
    end = time.monotonic() + seconds
    while not times or time.monotonic() < end:
        started = time.perf_counter()
        try:
            client.call(shard, "GET", key)
        except APP_ERRORS:
            pass
        times.append(time.perf_counter() - started)
        time.sleep(_PAUSE)
    return times
