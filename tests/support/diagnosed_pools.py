"""Facts of a pool that is well, for rules about what is not."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from cachemesh.core.names import parse_address
from cachemesh.core.placement import Shard, SlotsPlacement
from cachemesh.core.pool.document import PoolDocument
from metaserver.domain.diagnosis.facts import (
    SET,
    InstanceFacts,
    KnownInstance,
    MonitoredFacts,
    PoolFacts,
    SentinelFacts,
)

Change = Callable[[PoolFacts], PoolFacts]

SENTINELS = tuple(f"10.0.0.{n}:26379" for n in (7, 8, 9))
MASTERS = {"cache-0": "10.0.0.1:6379", "cache-1": "10.0.0.2:6379"}
REPLICAS = {"cache-0": "10.0.0.3:6379", "cache-1": "10.0.0.4:6379"}
OPTIONS = {
    "quorum": 2,
    "down-after-milliseconds": 5000,
    "failover-timeout": 60000,
    "parallel-syncs": 1,
}
GIBIBYTE = 1024**3
INFO = {
    "redis_version": "7.0.15",
    "maxmemory": str(8 * GIBIBYTE),
    "maxmemory_policy": "allkeys-lru",
    "total_system_memory": str(16 * GIBIBYTE),
    "connected_clients": "100",
    "maxclients": "10000",
    "rejected_connections": "0",
    "rdb_last_bgsave_status": "ok",
}
SETTINGS = {
    "maxmemory-policy": "allkeys-lru",
    "client-output-buffer-limit": "normal 0 0 0 slave 1073741824 536870912 60 pubsub 33554432 "
    "8388608 60",
    "min-replicas-to-write": "0",
    "replica-serve-stale-data": "yes",
    "replica-read-only": "yes",
    "repl-backlog-size": "268435456",
    "replica-announce-ip": "",
    "timeout": "0",
    "tcp-keepalive": "60",
    "maxclients": "10000",
    "appendonly": "no",
    "appendfsync": "everysec",
    "save": "",
    "stop-writes-on-bgsave-error": "yes",
    "notify-keyspace-events": "",
    "protected-mode": "yes",
    "bind": "10.0.0.1 127.0.0.1",
    "port": "6379",
    "tls-port": "0",
    "tls-cluster": "no",
    "tls-replication": "no",
    "masterauth": SET,
}


def run_id_of(sentinel: str) -> str:
    """Return the id of a Sentinel."""
    return f"id of {sentinel}"


def healthy() -> PoolFacts:
    """Return the facts of two shards with a replica each, and three Sentinels, all apart."""
    return PoolFacts(
        PoolDocument(
            "cache", 1, SlotsPlacement.even([Shard(name) for name in MASTERS]), sentinels=SENTINELS
        ),
        tuple(_sentinel(at) for at in SENTINELS),
        tuple(
            instance
            for shard in MASTERS
            for instance in (
                _instance(
                    MASTERS[shard],
                    shard,
                    role="master",
                    slave0=_row(REPLICAS[shard]),
                ),
                _instance(REPLICAS[shard], shard, role="slave", slave_priority="100"),
            )
        ),
        user="metaserver",
        sentinel_user="metaserver",
        token_file="/var/lib/cachemesh/token",
        token_file_mode=0o600,
    )


def _instance(address: str, shard: str, **info: str) -> InstanceFacts:
    return InstanceFacts(
        address, shard, info={**INFO, **info}, settings=SETTINGS, anybody=False, clock=0.001
    )


def _row(replica: str) -> str:
    host, port = parse_address(replica)
    return f"ip={host},port={port},state=online,offset=1,lag=0"


def _sentinel(address: str) -> SentinelFacts:
    others = tuple(KnownInstance(at, run_id_of(at)) for at in SENTINELS if at != address)
    return SentinelFacts(
        address,
        run_id=run_id_of(address),
        info={"redis_version": "7.0.15", "sentinel_tilt": "0"},
        shards={
            shard: MonitoredFacts(
                MASTERS[shard],
                options=OPTIONS,
                sentinels=others,
                replicas=(KnownInstance(REPLICAS[shard]),),
            )
            for shard in MASTERS
        },
    )


def instance(address: str, **changes: Any) -> Change:
    """Return a change of what an instance says about itself; `info` and `settings` are added."""

    def change(pool: PoolFacts) -> PoolFacts:
        def changed(facts: InstanceFacts) -> InstanceFacts:
            more: dict[str, Any] = {
                name: {**getattr(facts, name), **value} if isinstance(value, Mapping) else value
                for name, value in changes.items()
            }
            return replace(facts, **more)

        found = [changed(each) if each.address == address else each for each in pool.instances]
        return replace(pool, instances=tuple(found))

    return change


def every_instance(**changes: Any) -> Change:
    """Return the same change of all instances."""

    def change(pool: PoolFacts) -> PoolFacts:
        for each in pool.instances:
            pool = instance(each.address, **changes)(pool)
        return pool

    return change


def sentinel(address: str, **changes: Any) -> Change:
    """Return a change of what a Sentinel says."""

    def change(pool: PoolFacts) -> PoolFacts:
        found = [
            replace(each, **changes) if each.address == address else each for each in pool.sentinels
        ]
        return replace(pool, sentinels=tuple(found))

    return change


def view(address: str, shard: str = "cache-0", **changes: Any) -> Change:
    """Return a change of what a Sentinel says about a shard; `options` are added."""

    def change(pool: PoolFacts) -> PoolFacts:
        (facts,) = [each for each in pool.sentinels if each.address == address]
        seen = facts.shards[shard]
        more = {**changes}
        if "options" in more:
            more["options"] = {**seen.options, **more["options"]}
        shards = {**facts.shards, shard: replace(seen, **more)}
        return sentinel(address, shards=shards)(pool)

    return change


def every_view(shard: str = "cache-0", **changes: Any) -> Change:
    """Return the same change of what all Sentinels say about a shard."""

    def change(pool: PoolFacts) -> PoolFacts:
        for each in pool.sentinels:
            pool = view(each.address, shard, **changes)(pool)
        return pool

    return change


def moved(addresses: Mapping[str, str]) -> Change:
    """Return a change by which instances and Sentinels are at other addresses."""

    def there(address: str) -> str:
        return addresses.get(address, address)

    def known(every: tuple[KnownInstance, ...]) -> tuple[KnownInstance, ...]:
        return tuple(replace(each, address=there(each.address)) for each in every)

    def change(pool: PoolFacts) -> PoolFacts:
        return replace(
            pool,
            instances=tuple(replace(i, address=there(i.address)) for i in pool.instances),
            sentinels=tuple(
                replace(
                    each,
                    address=there(each.address),
                    shards={
                        name: replace(
                            seen,
                            master=there(seen.master),
                            sentinels=known(seen.sentinels),
                            replicas=known(seen.replicas),
                        )
                        for name, seen in each.shards.items()
                    },
                )
                for each in pool.sentinels
            ),
        )

    return change
