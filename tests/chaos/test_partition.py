"""A network partition: the master and one app on one side, the rest with another app.

Redis may lose writes that the separated master acknowledges, for as long as
`min-replicas-to-write` allows. The clients owe: no wrong reply, each side works with the servers it
reaches, and the minority side finds the new master once the network is whole.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from benchmarks.failover.site import as_map, wait_for
from tests.support.chaos_app import SHARD
from tests.support.network_namespaces import (
    MAJORITY,
    MINORITY,
    App,
    SplitNetwork,
    needs_namespaces,
    split_network,
)
from tests.support.waiting import AT_MOST

_LAG = 2  # min-replicas-max-lag, seconds
_STOPS_WITHIN = _LAG + 8.0
_ELECTED_WITHIN = 5 * AT_MOST
_DOWN_AFTER_MS = 1000
_PORTS = (26379, 26380)  # of the majority's Sentinels
_OLD, _NEW = f"{MINORITY}:6379", f"{MAJORITY}:6379"


def test_the_master_and_one_app_are_cut_off(tmp_path: Path) -> None:
    needs_namespaces()
    with split_network(tmp_path) as here:
        url = _start_servers(here)
        near, far = here.app(MAJORITY, url, "majority"), here.app(MINORITY, url, "minority")
        wait_for(lambda: _whole(near), AT_MOST, "the Sentinels do not know each other")
        here.pull()
        cut = time.monotonic()
        _await_failover(here, near, cut)
        wait_for(
            lambda: _writes(near, cut + 0.5),
            AT_MOST,
            f"the Sentinels name {_NEW}, but the majority does not write again",
        )
        # Cut off for longer than the old master takes writes.
        time.sleep(max(0.0, cut + _LAG + 2.0 - time.monotonic()))
        here.pull(plugged=True)
        healed = time.monotonic()
        wait_for(lambda: _replica_of_new(near), AT_MOST, "the old master is not demoted")
        back = time.monotonic()
        wait_for(lambda: _writes(far, back), AT_MOST, "the minority does not return")
        both = time.monotonic()
        wait_for(lambda: _writes(near, both), AT_MOST, "the majority does not write on")
        wait_for(lambda: _writes(far, both), AT_MOST, "the minority does not write on")
        for name, app in (("majority", near), ("minority", far)):
            _judge(name, app.do("stop", master=_NEW), cut, healed)


def _start_servers(here: SplitNetwork) -> str:
    rules = ("port 6379", "repl-diskless-sync-delay 0", "repl-timeout 5")
    bound = (*rules, "min-replicas-to-write 1", f"min-replicas-max-lag {_LAG}")
    here.redis(MINORITY, "old", *bound)
    here.redis(MAJORITY, "new", *rules, f"replicaof {MINORITY} 6379")
    places = {"s1": (MAJORITY, 26379), "s2": (MAJORITY, 26380), "s3": (MINORITY, 26379)}
    for name, (side, port) in places.items():
        lines = (
            f"port {port}",
            f"sentinel monitor {SHARD} {MINORITY} 6379 2",
            f"sentinel down-after-milliseconds {SHARD} {_DOWN_AFTER_MS}",
            f"sentinel failover-timeout {SHARD} 10000",
        )
        here.redis(side, name, *lines, sentinel=True)
    addresses = ",".join(f"{side}:{port}" for side, port in places.values())
    return f"cachemesh+sentinel://{addresses}/{SHARD}"


def _await_failover(here: SplitNetwork, near: App, cut: float) -> None:
    """Wait until both Sentinels of the majority name the new master.

    On a busy machine they may have to elect a leader again and again: 20 s after an attempt that
    failed, and 30 s after a time in which they were too slow to judge (TILT). And they promote no
    replica whose link to the master broke more than ten times down-after-milliseconds before they
    saw the master down, however long they try; so that setting grows with the time since the cut.

    Source: redis, sentinel.c, sentinelSelectSlave.
    """
    down_after = _DOWN_AFTER_MS

    def elected() -> bool:
        nonlocal down_after
        late = (time.monotonic() - cut) * 1000
        if late > 10 * down_after:
            down_after = int(late / 5)
            for port in _PORTS:
                words = ("SET", SHARD, "down-after-milliseconds", down_after)
                _ask(near, f"{MAJORITY}:{port}", "SENTINEL", *words)
        return [_named(near, port) for port in _PORTS] == [[MAJORITY, "6379"]] * 2

    try:
        wait_for(elected, _ELECTED_WITHIN, "no failover")
    except AssertionError as error:
        raise AssertionError(f"{error}; Sentinels tell:{here.events()}") from error


def _named(app: App, port: int) -> Any:
    return _ask(app, f"{MAJORITY}:{port}", "SENTINEL", "GET-MASTER-ADDR-BY-NAME", SHARD)


def _ask(app: App, address: str, *words: object) -> Any:
    return app.do("ask", address=address, words=words).get("reply")


def _whole(app: App) -> bool:
    for sentinel in (f"{MAJORITY}:26379", f"{MAJORITY}:26380", f"{MINORITY}:26379"):
        reply = _ask(app, sentinel, "SENTINEL", "MASTER", SHARD)
        known = as_map(reply) if reply else {}
        if (known.get("num-other-sentinels"), known.get("num-slaves")) != ("2", "1"):
            return False
    return True


def _writes(app: App, since: float) -> bool:
    """Return whether each writer has an acknowledged write that began after ``since``."""
    return bool(min(app.do("status")["latest"]) > since)


def _replica_of_new(app: App) -> bool:
    role = _ask(app, _OLD, "ROLE")
    return bool(role and role[:2] == ["slave", MAJORITY])


def _judge(side: str, found: dict[str, Any], cut: float, healed: float) -> None:
    during = [at - cut for at in found["times"] if cut < at < healed]
    print(  # noqa: T201  # the figures, printed with pytest -s
        f"\n  {side}: {found['acknowledged']:,} acknowledged, {len(found['lost'])} of them lost, "
        f"errors {found['errors']}; cut off for {healed - cut:.1f} s, "
        f"acknowledged meanwhile until {max(during, default=0.0):.1f} s"
    )
    assert found["wrong"] == 0, found["examples"]
    outside = [at for at in found["lost"] if not cut - 5.0 < at < cut + _STOPS_WITHIN]
    assert not outside, "only what was acknowledged around the cut may be lost"
