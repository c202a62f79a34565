"""The status document, from replies of instances and Sentinels."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from metaserver.domain.pool_state import Sweep
from metaserver.domain.sentinel_view import SentinelView
from metaserver.domain.status import (
    InstanceSample,
    Observation,
    master_address,
    pool_status,
    replica_addresses,
)
from tests.support.pool_observations import (
    MASTER,
    MASTER_INFO,
    OTHER,
    REPLICA,
    REPLICA_INFO,
    SENTINELS,
    VIEW,
    observation,
)


def only_shard(seen: Observation) -> dict[str, Any]:
    (shard,) = pool_status(seen)["shards"]
    found: dict[str, Any] = shard
    return found


def test_the_whole_document() -> None:
    assert pool_status(observation()) == {
        "pool": "cache",
        "version": 4,
        "at": "2026-01-01T00:00:00.000Z",
        "health": "ok",
        "pause": None,
        "shards": [
            {
                "name": "cache-0",
                "weight": 1,
                "slots": 16384,
                "share": 1.0,
                "state": "up",
                "reason": None,
                "warnings": [],
                "master": {
                    "address": MASTER,
                    "up": True,
                    "role": "master",
                    "error": None,
                    "ops_per_second": 50,
                    "hit_ratio": None,
                    "used_memory": 1048576,
                    "maxmemory": 0,
                    "maxmemory_policy": "allkeys-lru",
                    "keys": 5123,
                    "clients": 12,
                    "redis_version": "7.0.15",
                    "uptime_seconds": 3600,
                    "evicted_keys": 0,
                },
                "replicas": [
                    {
                        "address": REPLICA,
                        "up": True,
                        "role": "replica",
                        "error": None,
                        "link": "up",
                        "lag_bytes": 100,
                        "lag_seconds": 1,
                        "ops_per_second": 50,
                        "hit_ratio": None,
                        "used_memory": 1048576,
                        "maxmemory": 0,
                        "maxmemory_policy": "allkeys-lru",
                        "keys": 5123,
                        "clients": 12,
                        "redis_version": "7.0.15",
                        "uptime_seconds": 3600,
                        "evicted_keys": 0,
                    }
                ],
                "sentinel": {
                    "quorum": 2,
                    "seen_by": 3,
                    "of": 3,
                    "down_votes": 0,
                    "agree": True,
                    "usable": True,
                    "failover": False,
                    "detail": "3 of 3 Sentinels, quorum 2",
                },
            }
        ],
        "sentinels": [{"address": at, "up": True, "error": None} for at in SENTINELS],
        "resize": None,
        "fenced": [],
        "sweeps": [],
        "clients": 3,
        "observer": False,
    }


@pytest.mark.parametrize(
    ("before", "ops", "ratio"),
    [
        ({"total_commands_processed": "600", "keyspace_hits": "70"}, 100, 1.0),
        ({"keyspace_hits": "70", "keyspace_misses": "90"}, 0, 0.75),
        ({}, 0, None),  # no traffic
        ({"total_commands_processed": "9000", "keyspace_hits": "9000"}, 50, None),  # RESETSTAT
        ({"keyspace_hits": "9000", "keyspace_misses": "90"}, 50, None),  # and many reads since
        ({"run_id": "before the restart"}, 50, None),
    ],
)
def test_rates(before: dict[str, str], ops: int, ratio: float | None) -> None:
    master = only_shard(observation(earlier={**MASTER_INFO, **before}))["master"]
    assert (master["ops_per_second"], master["hit_ratio"]) == (ops, ratio)


def test_a_dead_master_has_no_numbers() -> None:
    shard = only_shard(observation(master="Connection refused"))
    assert shard["state"] == "down"
    assert shard["reason"] == (
        f"master {MASTER}: Connection refused; "
        "Sentinel fails over once it takes the master for down"
    )
    master = shard["master"]
    assert (master["up"], master["error"]) == (False, "Connection refused")
    assert {master[name] for name in ("role", "keys", "hit_ratio", "ops_per_second")} == {None}
    (replica,) = shard["replicas"]
    assert (replica["up"], replica["lag_bytes"]) == (True, None)


def test_a_failover_under_way_is_said() -> None:
    failing = dataclasses.replace(VIEW, flags=frozenset(("master", "s_down", "o_down")))
    shard = only_shard(observation(master="timeout", view=failing))
    assert shard["state"] == "down"
    assert shard["reason"].endswith("a failover is under way")
    assert shard["sentinel"]["failover"]


def test_a_master_that_is_a_replica_is_down() -> None:
    shard = only_shard(observation(master=REPLICA_INFO))
    assert shard["state"] == "down"
    assert "is a replica" in shard["reason"]


@pytest.mark.parametrize(
    ("replica", "words"),
    [
        ("Connection refused", f"replica {REPLICA}: Connection refused"),
        ({**REPLICA_INFO, "master_link_status": "down"}, "link to the master is down"),
        (MASTER_INFO, "it is a master"),
    ],
)
def test_a_missing_replica_degrades(replica: dict[str, str] | str, words: str) -> None:
    seen = observation(replica=replica)
    assert only_shard(seen)["state"] == "degraded"
    assert words in only_shard(seen)["reason"]
    assert pool_status(seen)["health"] == "degraded"


def test_a_broken_link_tells_since_when() -> None:
    info = {
        **REPLICA_INFO,
        "master_link_status": "down",
        "master_last_io_seconds_ago": "-1",
        "master_link_down_since_seconds": "44",
    }
    (replica,) = only_shard(observation(replica=info))["replicas"]
    assert (replica["link"], replica["lag_seconds"]) == ("down", 44)


def test_a_dead_sentinel_degrades() -> None:
    up = {at: SentinelView(at, shards={"cache-0": VIEW}) for at in SENTINELS[:2]}
    seen = observation(views={**up, SENTINELS[2]: SentinelView(SENTINELS[2], error="refused")})
    status = pool_status(seen)
    assert status["health"] == "degraded"
    assert status["sentinels"][2] == {"address": SENTINELS[2], "up": False, "error": "refused"}
    sentinel = only_shard(seen)["sentinel"]
    assert (sentinel["seen_by"], sentinel["of"], sentinel["usable"]) == (2, 3, True)
    assert sentinel["detail"] == f"2 of 3 Sentinels, quorum 2; no answer from {SENTINELS[2]}"


def test_the_quorum_is_known_without_a_sentinel() -> None:
    views = {at: SentinelView(at, error="refused") for at in SENTINELS}
    sentinel = only_shard(observation(views=views, masters={"cache-0": MASTER}))["sentinel"]
    assert (sentinel["quorum"], sentinel["seen_by"]) == (2, 0)
    assert sentinel["detail"].startswith("0 of 3 Sentinels, quorum 2; no answer from ")


def test_no_quorum_degrades() -> None:
    lost = dataclasses.replace(VIEW, usable=False, detail="NOQUORUM 1 usable Sentinels.")
    shard = only_shard(observation(view=lost))
    assert (shard["state"], shard["sentinel"]["usable"]) == ("degraded", False)
    assert "NOQUORUM" in shard["reason"]


def test_without_sentinels_the_last_known_master_serves_on() -> None:
    shard = only_shard(observation(view=None, masters={"cache-0": MASTER}))
    assert (shard["state"], shard["master"]["address"]) == ("degraded", MASTER)
    assert "does not know cache-0" in shard["reason"]
    assert [replica["address"] for replica in shard["replicas"]] == [REPLICA]


def test_nobody_knows_a_master() -> None:
    shard = only_shard(observation(view=None))
    assert (shard["state"], shard["master"]["address"]) == ("down", None)
    assert shard["reason"].startswith("master unknown")


def test_sentinels_that_differ() -> None:
    astray = dataclasses.replace(VIEW, master=OTHER)
    views = {at: SentinelView(at, shards={"cache-0": VIEW}) for at in SENTINELS[:2]}
    views[SENTINELS[2]] = SentinelView(SENTINELS[2], shards={"cache-0": astray})
    seen = observation(views=views)
    assert master_address("cache-0", seen.state, views) == MASTER
    shard = only_shard(seen)
    assert (shard["state"], shard["sentinel"]["agree"]) == ("degraded", False)
    assert OTHER in shard["reason"]


def test_sentinels_that_take_the_master_for_down_are_counted() -> None:
    doubt = dataclasses.replace(VIEW, flags=frozenset(("master", "s_down")))
    views = {at: SentinelView(at, shards={"cache-0": VIEW}) for at in SENTINELS[:2]}
    views[SENTINELS[2]] = SentinelView(SENTINELS[2], shards={"cache-0": doubt})
    assert only_shard(observation(views=views))["sentinel"]["down_votes"] == 1


def test_a_shard_on_its_way_out_and_its_sweep() -> None:
    sweep = Sweep(1, "cache", "cache-9", OTHER, 4, True, "running", 120, "", 0.0)
    status = pool_status(observation(sweeps=(sweep,)))
    draining = status["shards"][1]
    assert (draining["name"], draining["state"]) == ("cache-9", "draining")
    assert (draining["weight"], draining["slots"], draining["share"]) == (0, 0, 0.0)
    assert draining["master"]["address"] == OTHER
    assert status["health"] == "ok"
    assert status["sweeps"] == [
        {
            "shard": "cache-9",
            "state": "running",
            "version": 4,
            "drained": True,
            "removed": 120,
            "detail": "",
        }
    ]


def test_replicas_come_from_sentinels_and_from_the_master() -> None:
    sample = InstanceSample(
        MASTER, 0.0, {**MASTER_INFO, "slave1": "ip=10.0.0.3,port=6379,state=online"}
    )
    views = {at: SentinelView(at, shards={"cache-0": VIEW}) for at in SENTINELS}
    assert replica_addresses("cache-0", MASTER, views, sample) == (REPLICA, OTHER)


def test_nonsense_in_info_is_read_as_zero() -> None:
    master = only_shard(observation(master={**MASTER_INFO, "used_memory": "lots", "db0": "?"}))
    assert (master["master"]["used_memory"], master["master"]["keys"]) == (0, 123)
