"""How many Sentinels there are, their quorum, and what they know of each other.

Source: https://redis.io/docs/latest/operate/oss_and_stack/management/sentinel/.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from cachemesh.core.names import parse_address
from cachemesh.core.plurals import counted
from metaserver.domain.diagnosis.facts import KnownInstance, PoolFacts
from metaserver.domain.diagnosis.finding import Finding, redis_cli, sentinel_set

_COMPARED = ("quorum", "down-after-milliseconds", "failover-timeout", "parallel-syncs")


def few_sentinels(pool: PoolFacts) -> Iterator[Finding]:
    """Find fewer than three Sentinels."""
    if 0 < pool.voters < 3:
        yield Finding(
            "few-sentinels",
            "warning",
            None,
            None,
            _counted(pool),
            f"a failover takes a majority, which is {pool.majority} of {pool.voters}: once one is "
            "lost, nobody takes over from a master that dies, and its keys are not served",
            _one_more(pool),
        )


def even_sentinels(pool: PoolFacts) -> Iterator[Finding]:
    """Find a number of Sentinels of which one is useless."""
    count = pool.voters
    if count >= 4 and count % 2 == 0:
        yield Finding(
            "even-sentinels",
            "warning",
            None,
            None,
            _counted(pool),
            f"a failover takes a majority, which is {pool.majority} of {count}: only "
            f"{count // 2 - 1} may be lost, as of {count - 1}, and one more can break",
            _one_more(pool),
        )


def _counted(pool: PoolFacts) -> str:
    named = ", ".join(each.address for each in pool.sentinels)
    others = f" and {len(pool.outsiders)} that the pool does not name" if pool.outsiders else ""
    return f"{counted(pool.voters, 'Sentinel')}: {named}{others}"


def _one_more(pool: PoolFacts) -> str:
    """Return how to start one more Sentinel that votes."""
    for shard in pool.shards:
        if (address := pool.master_of(shard)) is not None:
            host, port = parse_address(address)
            words = f"SENTINEL MONITOR {shard} {host} {port} {(pool.voters + 1) // 2 + 1}"
            return (
                f"start one on a machine of its own, and have it monitor each shard: redis-cli -h "
                f"HOST -p 26379 {words}"
            )
    return "start one more on a machine of its own"


def quorums(pool: PoolFacts) -> Iterator[Finding]:
    """Find a quorum that is too low, or that the Sentinels cannot reach."""
    for shard in pool.shards:
        for sentinel, seen in pool.views(shard):
            if (judged := _quorum_of(pool, shard, sentinel.address, seen.quorum)) is not None:
                yield judged


def _quorum_of(pool: PoolFacts, shard: str, at: str, quorum: int | None) -> Finding | None:
    count = pool.voters
    if quorum is None or count < 2:
        return None
    step = sentinel_set(at, shard, "quorum", pool.majority)
    configured = f"quorum {quorum}, of {counted(count, 'Sentinel')}"
    if quorum > count:
        impact = "never do so many agree that the master is down: nobody takes over when it dies"
        return Finding("quorum-too-high", "error", shard, at, configured, impact, step)
    if quorum > pool.majority:
        impact = (
            f"once {counted(count - quorum + 1, 'Sentinel')} of {count} are lost, nobody takes "
            f"over from a master that dies, though a majority of {pool.majority} is there"
        )
        return Finding("quorum-above-majority", "warning", shard, at, configured, impact, step)
    if quorum == 1:
        impact = (
            "one Sentinel alone begins a failover, though it may be its own network that is bad "
            "(the others vote for it without looking at the master): the last writes of a healthy "
            "master are lost"
        )
        return Finding("quorum-one", "warning", shard, at, configured, impact, step)
    return None


def settings_that_differ(pool: PoolFacts) -> Iterator[Finding]:
    """Find options of one shard that are not the same at all Sentinels."""
    for shard in pool.shards:
        views = list(pool.views(shard))
        for name in _COMPARED:
            values = Counter(seen.options[name] for _, seen in views if name in seen.options)
            if len(values) < 2:
                continue
            usual = values.most_common(1)[0][0]
            for sentinel, seen in views:
                if (value := seen.options.get(name)) not in (None, usual):
                    yield Finding(
                        "sentinel-settings-differ",
                        "warning",
                        shard,
                        sentinel.address,
                        f"{name} {value}, {usual} at others",
                        "which Sentinel leads a failover decides how it goes, and when: what you "
                        "have tested may not be what happens",
                        sentinel_set(sentinel.address, shard, name, usual),
                    )


def masters_that_differ(pool: PoolFacts) -> Iterator[Finding]:
    """Find Sentinels that name different masters though none fails over."""
    for shard in pool.shards:
        views = list(pool.views(shard))
        if any(seen.flags & {"failover_in_progress", "o_down"} for _, seen in views):
            continue
        usual = pool.master_of(shard)
        for sentinel, seen in views:
            if seen.master != usual:
                yield Finding(
                    "sentinels-differ",
                    "error",
                    shard,
                    sentinel.address,
                    f"its master is {seen.master}, at others {usual}",
                    "clients that ask this Sentinel write to another server, and their writes are "
                    "lost; it does not vote with the others",
                    f"{redis_cli(sentinel.address, 'SENTINEL', 'REMOVE', shard)}; a metaserver has "
                    "it monitor the shard again within seconds",
                )


def not_monitored(pool: PoolFacts) -> Iterator[Finding]:
    """Find Sentinels of the pool that do not monitor one of its shards."""
    for shard in pool.shards:
        for sentinel in pool.awake:
            if shard not in sentinel.shards and not sentinel.lacking:
                yield Finding(
                    "shard-not-monitored",
                    "error",
                    shard,
                    sentinel.address,
                    "it does not monitor the shard",
                    "it has no vote in a failover of this shard, and tells clients of no master",
                    "a metaserver has it do that within seconds; if it does not, look at its log: "
                    "cachemesh metaserver list tells which leads",
                )


def same_ids(pool: PoolFacts) -> Iterator[Finding]:
    """Find Sentinels that were started with a copy of another one's file."""
    ids = Counter(each.run_id for each in pool.awake if each.run_id)
    for sentinel in pool.awake:
        if ids[sentinel.run_id] > 1:
            yield Finding(
                "sentinel-id-twice",
                "error",
                None,
                sentinel.address,
                f"sentinel myid {sentinel.run_id}, as another Sentinel has",
                "they count as one, and the others forget the one for the other: too few votes "
                "are left for a failover",
                "stop it, delete the line `sentinel myid` from its sentinel.conf, and start it "
                "again; then on each other Sentinel, one after the other: SENTINEL RESET '*'",
            )


def strangers(pool: PoolFacts) -> Iterator[Finding]:
    """Find other Sentinels that ours count, though the pool does not name them."""
    ours = {each.run_id for each in pool.awake if each.run_id}
    if len(ours) < len(pool.sentinels):
        return  # one that does not answer would be taken for a stranger
    for shard in pool.shards:
        for sentinel, seen in pool.views(shard):
            for other in seen.sentinels:
                if other.run_id and other.run_id not in ours:
                    yield _stranger(pool, shard, sentinel.address, len(seen.sentinels) + 1, other)


def _stranger(pool: PoolFacts, shard: str, at: str, known: int, other: KnownInstance) -> Finding:
    if not other.is_down:
        return Finding(
            "sentinel-outside-pool",
            "note",
            shard,
            at,
            f"it knows Sentinel {other.address}, which pool {pool.document.pool} does not name",
            "that one votes, but clients do not ask it, and no metaserver has it monitor new "
            "shards: have it do that yourself",
            f"{redis_cli(other.address, 'SENTINEL', 'MASTERS')} shows what it monitors",
        )
    needed = known // 2 + 1
    return Finding(
        "sentinel-leftover",
        "error" if needed > pool.voters else "warning",
        shard,
        at,
        f"it counts Sentinel {other.address}, which is gone, among {known}",
        f"a failover takes {needed} votes, of {counted(pool.voters, 'Sentinel')} that are there",
        f"{redis_cli(at, 'SENTINEL', 'RESET', shard)}; one Sentinel after the other, 30 s apart",
    )


def sentinels_unknown(pool: PoolFacts) -> Iterator[Finding]:
    """Find Sentinels of the pool that others do not know."""
    ids = Counter(each.run_id for each in pool.awake)
    for shard in pool.shards:
        views = list(pool.views(shard))
        for sentinel, seen in views:
            known = {other.run_id for other in seen.sentinels}
            lacking = [
                each.address
                for each, _ in views
                if each is not sentinel and each.run_id not in known and ids[each.run_id] == 1
            ]
            if lacking:
                yield Finding(
                    "sentinel-unknown",
                    "error",
                    shard,
                    sentinel.address,
                    f"it does not know {', '.join(lacking)}",
                    "it does not ask for their votes: a failover that it leads may lack a majority",
                    "let Sentinels subscribe to and publish on __sentinel__:hello at the master, "
                    "and announce addresses at which they are reached (sentinel announce-ip)",
                )


def on_one_machine(pool: PoolFacts) -> Iterator[Finding]:
    """Find a machine with so many Sentinels that without it no majority is left."""
    if pool.is_on_this_machine or len(pool.sentinels) < 2:
        return
    for host, count in Counter(each.host for each in pool.sentinels).items():
        left = len(pool.sentinels) - count
        if count < 2 or left > len(pool.sentinels) // 2:
            continue
        masters = [
            shard
            for shard in pool.shards
            if (at := pool.master(shard)) is not None and at.host == host
        ]
        beside = f", with the master of {', '.join(masters)}" if masters else ""
        yield Finding(
            "sentinels-on-one-machine",
            "warning",
            None,
            None,
            f"{count} of {len(pool.sentinels)} Sentinels are on {host}{beside}",
            f"when this machine dies, {left or 'none'} of them {'is' if left < 2 else 'are'} left, "
            "which is no majority: nobody takes over from "
            f"{'these masters' if masters else 'a master that dies meanwhile'}",
            "have each Sentinel on a machine of its own, best beside apps: "
            "cachemesh sentinel list shows where they are",
        )
