"""What Sentinels reach, and how soon they act."""

from __future__ import annotations

from collections.abc import Iterator

from metaserver.domain.diagnosis.facts import DOWN, PoolFacts
from metaserver.domain.diagnosis.finding import Finding, redis_cli, sentinel_set

SHORTEST_DOWN_AFTER, LONGEST_DOWN_AFTER = 1_000, 20_000
"""Milliseconds. Redis delays replies for hundreds of them at a fork, or while a large key is freed;
and the keys of a dead master are not served for as long."""

_DOWN_AFTER = "down-after-milliseconds"
_USUAL = 5_000  # what a metaserver sets


def down_after(pool: PoolFacts) -> Iterator[Finding]:
    """Find a down-after-milliseconds that is too short or too long."""
    for shard in pool.shards:
        for sentinel, seen in pool.views(shard):
            value = seen.options.get(_DOWN_AFTER)
            if value is None or SHORTEST_DOWN_AFTER <= value <= LONGEST_DOWN_AFTER:
                continue
            if value < SHORTEST_DOWN_AFTER:
                name = "down-after-too-short"
                impact = (
                    "a server that is only busy (a fork, a large key that is freed) is taken for "
                    "dead: its last writes are lost in a failover that nobody needs"
                )
            else:
                name = "down-after-too-long"
                impact = f"the keys of a master that dies are not served for {value / 1000:g} s"
            yield Finding(
                name,
                "warning",
                shard,
                sentinel.address,
                f"{_DOWN_AFTER} {value}",
                impact,
                sentinel_set(sentinel.address, shard, _DOWN_AFTER, _USUAL),
            )


def tilt(pool: PoolFacts) -> Iterator[Finding]:
    """Find Sentinels that act on nothing, as their clock has jumped."""
    for sentinel in pool.awake:
        if sentinel.info.get("sentinel_tilt") == "1":
            yield Finding(
                "sentinel-tilt",
                "warning",
                None,
                sentinel.address,
                "it is in TILT mode",
                "its clock has jumped, or its machine stood still, for more than 2 s: for 30 s it "
                "answers, and begins no failover and votes for none",
                "if that comes back, look at the machine's load and at its clock (chronyc "
                f"tracking); {redis_cli(sentinel.address, 'INFO', 'sentinel')}",
            )


def cut_off(pool: PoolFacts) -> Iterator[Finding]:
    """Find instances that answer a metaserver, and a Sentinel takes for dead."""
    for shard in pool.shards:
        answering = {each.address for each in pool.of(shard)}
        master = pool.master_of(shard)
        for sentinel, seen in pool.views(shard):
            known = {seen.master: seen.flags} if seen.master == master else {}
            known |= {each.address: each.flags for each in seen.replicas if each.address != master}
            for address, flags in known.items():
                if address in answering and flags & DOWN:
                    yield _cut_off(pool, shard, sentinel.address, address, address == master)


def _cut_off(pool: PoolFacts, shard: str, at: str, address: str, is_master: bool) -> Finding:
    impact = (
        "it votes for a failover of a master that serves; once it dies, the vote counts for nothing"
        if is_master
        else "a failover that this Sentinel leads does not choose this replica"
    )
    user = "" if pool.user == "default" else f"{sentinel_set(at, shard, 'auth-user', pool.user)}; "
    return Finding(
        "sentinel-cut-off",
        "error" if is_master else "warning",
        shard,
        at,
        f"it takes {'master' if is_master else 'replica'} {address} for down, which answers",
        impact,
        f"give it the login that instances want: {user}"
        f"{sentinel_set(at, shard, 'auth-pass', 'PASSWORD')}; if it has that, look at the network "
        "between them",
    )
