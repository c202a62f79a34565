"""Memory of instances and machines: bounds, eviction, and what differs.

Source: https://redis.io/docs/latest/develop/reference/eviction/.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from statistics import median_high

from metaserver.domain.diagnosis.facts import InstanceFacts, PoolFacts
from metaserver.domain.diagnosis.finding import Finding, config_set
from metaserver.domain.info_fields import number
from metaserver.domain.shard_memory import in_units

_ALIKE = 0.1  # of maxmemory, by which shards may differ
_USUAL = "allkeys-lru"


def no_maxmemory(pool: PoolFacts) -> Iterator[Finding]:
    """Find instances whose memory has no bound."""
    beside = Counter(each.host for each in pool.answering)
    for each in pool.answering:
        if each.maxmemory == 0:
            total = number(each.info, "total_system_memory")
            share = f"{max(1, total // 2 // beside[each.host] // 1024**2)}mb" if total else "4gb"
            yield Finding(
                "no-maxmemory",
                "warning",
                each.shard,
                each.address,
                "maxmemory 0",
                "it evicts nothing, and grows until the kernel kills it: all its keys are gone at "
                "once, and its replica, which is as large, is next",
                config_set(each.address, "maxmemory", share),
            )


def policies(pool: PoolFacts) -> Iterator[Finding]:
    """Find policies with which a full shard refuses writes."""
    for each in pool.answering:
        policy = _policy(each)
        if not each.maxmemory or policy is None:
            continue
        step = config_set(each.address, "maxmemory-policy", _USUAL)
        configured = f"maxmemory-policy {policy}"
        if policy == "noeviction":
            impact = (
                "once it is full, it refuses every write (OOM command not allowed), and keys "
                "cannot be moved to it"
            )
            yield Finding(
                "noeviction", "warning", each.shard, each.address, configured, impact, step
            )
        elif policy.startswith("volatile-"):
            impact = (
                "keys without a time to live are never evicted: once they fill it, every write is "
                "refused (OOM)"
            )
            yield Finding(
                "volatile-policy", "note", each.shard, each.address, configured, impact, step
            )


def policies_that_differ(pool: PoolFacts) -> Iterator[Finding]:
    """Find instances that evict in another way than most of the pool."""
    known = {each.address: policy for each in pool.answering if (policy := _policy(each))}
    if len(set(known.values())) < 2:
        return
    usual = Counter(known.values()).most_common(1)[0][0]
    for each in pool.answering:
        if (policy := known.get(each.address, usual)) != usual:
            yield Finding(
                "policy-differs",
                "warning",
                each.shard,
                each.address,
                f"maxmemory-policy {policy}, {usual} at most others",
                "which keys are kept depends on the shard, and changes at a failover",
                config_set(each.address, "maxmemory-policy", usual),
            )


def maxmemory_within_shards(pool: PoolFacts) -> Iterator[Finding]:
    """Find replicas with another maxmemory than their master."""
    for shard in pool.shards:
        master = pool.master(shard)
        if master is None or not master.maxmemory:
            continue
        for each in pool.replicas(shard):
            if each.maxmemory not in (None, 0, master.maxmemory):
                assert each.maxmemory is not None
                less = each.maxmemory < master.maxmemory
                impact = (
                    "a replica does not evict by itself; once it is the master, it evicts all that "
                    "is too much, at once: misses, and seconds of slow replies"
                    if less
                    else "once it is the master, its new replica, the smaller one, may not hold "
                    "what it holds"
                )
                yield Finding(
                    "maxmemory-differs",
                    "warning",
                    shard,
                    each.address,
                    f"maxmemory {in_units(each.maxmemory)}, its master "
                    f"{in_units(master.maxmemory)}",
                    impact,
                    config_set(each.address, "maxmemory", master.maxmemory),
                )


def maxmemory_between_shards(pool: PoolFacts) -> Iterator[Finding]:
    """Find shards whose maxmemory is not in proportion to their weight."""
    weights = {shard.name: shard.weight for shard in pool.document.placement.shards}
    found = {name: at for name in pool.shards if (at := pool.master(name)) and at.maxmemory}
    for_one = {name: (at.maxmemory or 0) / weights[name] for name, at in found.items()}
    if len(for_one) < 2:
        return
    usual = median_high(for_one.values())
    for name, value in for_one.items():
        if abs(value - usual) > _ALIKE * usual:
            proper = round(usual * weights[name])
            few = "evicts keys" if value < usual else "has room left"
            yield Finding(
                "maxmemory-unbalanced",
                "warning",
                name,
                found[name].address,
                f"maxmemory {in_units(found[name].maxmemory or 0)} at weight {weights[name]}; for "
                f"that weight others have {in_units(proper)}",
                f"keys are dealt by weight: this shard {few} while others do not",
                f"{config_set(found[name].address, 'maxmemory', proper)}, or cachemesh shard "
                f"set-weight {name} {max(1, round(weights[name] * value / usual))}",
            )


def machines(pool: PoolFacts) -> Iterator[Finding]:
    """Find machines that have less memory than their instances may use."""
    by_host: dict[str, list[InstanceFacts]] = {}
    for each in pool.answering:
        by_host.setdefault(each.host, []).append(each)
    for host, there in by_host.items():
        total = min((number(each.info, "total_system_memory") for each in there), default=0)
        every = [each.maxmemory or 0 for each in there]
        # A stack for development is not meant to be full.
        wanted = max(every) if pool.is_on_this_machine else sum(every)
        if 0 < total < wanted:
            largest = max(there, key=lambda each: each.maxmemory or 0)
            fair = f"{max(1, total // 2 // len(there) // 1024**2)}mb"
            yield Finding(
                "memory-overcommitted",
                "warning",
                largest.shard,
                largest.address,
                f"maxmemory {in_units(wanted)}, of all instances of {host} together, and the "
                f"machine has {in_units(total)}",
                "before they are full the machine is: it swaps, or the kernel kills the largest, "
                "and its keys are gone",
                config_set(largest.address, "maxmemory", fair),
            )


def _policy(instance: InstanceFacts) -> str | None:
    return instance.info.get("maxmemory_policy") or instance.settings.get("maxmemory-policy")
