"""Whether a replica can take over from each master, and the old master come back as a replica.

Source: https://redis.io/docs/latest/operate/oss_and_stack/management/sentinel/ and
https://redis.io/docs/latest/operate/oss_and_stack/management/replication/.
"""

from __future__ import annotations

from collections.abc import Iterator

from cachemesh.core.names import parse_address
from cachemesh.core.plurals import counted
from metaserver.domain.diagnosis.facts import SET, InstanceFacts, PoolFacts, is_loopback
from metaserver.domain.diagnosis.finding import Finding, config_set
from metaserver.domain.diagnosis.settings import whole
from metaserver.domain.info_fields import replicas_in


def no_replica(pool: PoolFacts) -> Iterator[Finding]:
    """Find masters without a replica."""
    for shard in pool.shards:
        master = pool.master(shard)
        if master is not None and len(pool.addresses(shard)) == 1:
            host, port = parse_address(master.address)
            yield Finding(
                "no-replica",
                "warning",
                shard,
                master.address,
                "no replica",
                "when it dies, its keys are gone, and its share of the keys is served by nobody "
                "until it is started again",
                f"redis-server /etc/redis/redis.conf --replicaof {host} {port}; Sentinel finds it",
            )


def nobody_to_promote(pool: PoolFacts) -> Iterator[Finding]:
    """Find shards of which Sentinel may promote no replica."""
    for shard in pool.shards:
        replicas = pool.replicas(shard)
        kept_back = {each.address: why for each in replicas if (why := _kept_back(each))}
        if replicas and len(kept_back) == len(pool.addresses(shard)) - 1:
            for address, why in kept_back.items():
                parameter = "replica-priority"
                value: object = 100
                if why.startswith("replica-announced"):
                    parameter, value = "replica-announced", "yes"
                yield Finding(
                    "no-promotable-replica",
                    "error",
                    shard,
                    address,
                    why,
                    "Sentinel promotes none of the shard's replicas: nobody takes over when the "
                    "master dies, and planned failovers are refused",
                    config_set(address, parameter, value),
                )


def _kept_back(replica: InstanceFacts) -> str | None:
    if replica.info.get("slave_priority") == "0":
        return "replica-priority 0"
    if replica.info.get("replica_announced") == "0":
        return "replica-announced no"
    return None


def min_replicas(pool: PoolFacts) -> Iterator[Finding]:
    """Find masters, now or later, that want more replicas than there are."""
    for shard in pool.shards:
        others = len(pool.addresses(shard)) - 1
        for each in pool.of(shard):
            wanted = whole(each, "min-replicas-to-write")
            if not wanted or wanted < others:
                continue
            configured = f"min-replicas-to-write {wanted}, of {counted(others, 'replica')}"
            step = config_set(each.address, "min-replicas-to-write", 0)
            if wanted > others:
                master = each.address == pool.master_of(shard)
                impact = f"{'it' if master else 'as a master it'} refuses every write (NOREPLICAS)"
                yield Finding(
                    "min-replicas-too-many", "error", shard, each.address, configured, impact, step
                )
            else:
                impact = "every write is refused (NOREPLICAS) while one replica is away or behind"
                yield Finding(
                    "min-replicas-all", "warning", shard, each.address, configured, impact, step
                )


def no_masterauth(pool: PoolFacts) -> Iterator[Finding]:
    """Find instances that could not log in at another one of their shard."""
    for shard in pool.shards:
        for each in pool.of(shard):
            guarded = [other.address for other in pool.of(shard) if other.anybody is False]
            guarded = [address for address in guarded if address != each.address]
            if guarded and each.settings.get("masterauth", SET) != SET:
                yield Finding(
                    "masterauth-missing",
                    "error",
                    shard,
                    each.address,
                    f"masterauth is not set, and {', '.join(guarded)} want a login",
                    "once one of these is the master, it cannot follow: the shard is left without "
                    "this replica, and with old data on it",
                    f"{config_set(each.address, 'masterauth', 'PASSWORD')} (and masteruser, if a "
                    "user other than `default` replicates)",
                )


def replica_elsewhere(pool: PoolFacts) -> Iterator[Finding]:
    """Find replicas that are connected to their master, and not reached where they say they are."""
    for shard in pool.shards:
        master = pool.master(shard)
        if master is None:
            continue
        silent = {at.address for at in pool.instances if at.error is not None and at.shard == shard}
        far = not is_loopback(master.host)
        for address, row in replicas_in(master.info).items():
            unreached = row.get("state") == "online" and address in silent
            if unreached or (far and is_loopback(parse_address(address).host)):
                yield Finding(
                    "replica-announces-wrong-address",
                    "error",
                    shard,
                    address,
                    f"a replica that {master.address} serves announces {address}, where it is not "
                    "reached",
                    "Sentinels may promote it, and send apps to an address where nobody is; apps "
                    "cannot read from it",
                    "on that replica: CONFIG SET replica-announce-ip ADDRESS, and "
                    "replica-announce-port, or '' and 0 for those that it listens on",
                )


def replicas_beside_master(pool: PoolFacts) -> Iterator[Finding]:
    """Find shards all of whose instances are on one machine, of several."""
    if len(pool.hosts) < 2:
        return
    for shard in pool.shards:
        master, addresses = pool.master(shard), pool.addresses(shard)
        hosts = {parse_address(address).host for address in addresses}
        if master is not None and len(addresses) > 1 and len(hosts) == 1:
            yield Finding(
                "replicas-beside-master",
                "warning",
                shard,
                master.address,
                f"all {len(addresses)} instances of the shard are on {master.host}",
                "when this machine dies, master and replicas die together: the keys are gone, and "
                "nobody takes over",
                f"start a replica on another machine, with --replicaof {master.host} "
                f"{parse_address(master.address).port}, and then stop one here",
            )


def replica_cannot_follow(pool: PoolFacts) -> Iterator[Finding]:
    """Find shards whose instances run different versions of the server."""
    for shard in pool.shards:
        versions = {each.address: version_of(each) for each in pool.of(shard)}
        newest = max((v for v in versions.values() if v is not None), default=None)
        for address, version in versions.items():
            if version is not None and newest is not None and version[:2] < newest[:2]:
                yield Finding(
                    "versions-differ",
                    "warning",
                    shard,
                    address,
                    f"version {_shown(version)}, another instance of the shard {_shown(newest)}",
                    "an older server cannot read what a newer master sends: after a failover to "
                    "the newer one this one follows no more",
                    "upgrade it too: replicas first, then cachemesh shard failover "
                    f"{shard}, and the former master last",
                )


def version_of(instance: InstanceFacts) -> tuple[int, ...] | None:
    """Return a server's version, None if it is not told in numbers."""
    info = instance.info
    parts = info.get("valkey_version", info.get("redis_version", "")).split(".")
    if not all(part.isascii() and part.isdigit() and len(part) < 5 for part in parts):
        return None
    return tuple(map(int, parts))


def _shown(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))
