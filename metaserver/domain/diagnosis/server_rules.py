"""Connections, persistence and what else an instance spends its time on.

Source: the comments of redis.conf, and
https://redis.io/docs/latest/operate/oss_and_stack/management/persistence/.
"""

from __future__ import annotations

from collections.abc import Iterator

from cachemesh.core.placement import SlotsPlacement
from metaserver.domain.diagnosis.clocks import MOST_SKEW, Clock, wrong_clocks
from metaserver.domain.diagnosis.facts import PoolFacts
from metaserver.domain.diagnosis.finding import Finding, config_set, redis_cli
from metaserver.domain.diagnosis.settings import says_yes, whole
from metaserver.domain.info_fields import number
from metaserver.domain.shard_memory import in_units

_MOST_CONNECTED = 0.8  # of maxclients
_MOST_FORKED = 0.5  # of a machine's memory, for an instance that saves


def idle_timeout(pool: PoolFacts) -> Iterator[Finding]:
    """Find servers that close idle connections."""
    for each in pool.answering:
        if seconds := whole(each, "timeout"):
            yield Finding(
                "idle-timeout",
                "warning",
                each.shard,
                each.address,
                f"timeout {seconds}",
                f"it closes what was idle for {seconds} s, and clients keep connections: the first "
                "command after a quiet while meets a closed one, and a write whose fate is not "
                "known is an error for the app",
                config_set(each.address, "timeout", 0),
            )


def keepalive(pool: PoolFacts) -> Iterator[Finding]:
    """Find servers that never notice that a client's machine is gone."""
    for each in pool.answering:
        if whole(each, "tcp-keepalive") == 0:
            yield Finding(
                "no-tcp-keepalive",
                "warning",
                each.shard,
                each.address,
                "tcp-keepalive 0",
                "connections of machines that were switched off, or cut off, stay for ever, until "
                "maxclients is reached and nobody gets in",
                config_set(each.address, "tcp-keepalive", 60),
            )


def maxclients(pool: PoolFacts) -> Iterator[Finding]:
    """Find servers that have refused connections, or are about to."""
    for each in pool.answering:
        most = number(each.info, "maxclients") or whole(each, "maxclients")
        used = number(each.info, "connected_clients")
        if not most or used < _MOST_CONNECTED * most:
            continue
        refused = number(each.info, "rejected_connections")
        yield Finding(
            "maxclients-nearly-reached",
            "warning",
            each.shard,
            each.address,
            f"maxclients {most:,}, {used:,} are connected"
            + (f", {refused:,} were refused" if refused else ""),
            "beyond it connections are refused, those of Sentinels and metaservers too: clients "
            "fail, and a failover may begin for no other reason",
            config_set(each.address, "maxclients", max(10_000, 2 * most)),
        )


def each_write_to_disk(pool: PoolFacts) -> Iterator[Finding]:
    """Find servers that wait for the disk with each write."""
    for each in pool.answering:
        if says_yes(each, "appendonly") and each.settings.get("appendfsync") == "always":
            yield Finding(
                "appendfsync-always",
                "warning",
                each.shard,
                each.address,
                "appendonly yes, appendfsync always",
                "every write, of all clients, waits for the disk: milliseconds where a cache takes "
                "microseconds",
                config_set(each.address, "appendfsync", "everysec"),
            )


def failed_save(pool: PoolFacts) -> Iterator[Finding]:
    """Find servers that refuse writes because a save has failed."""
    for each in pool.answering:
        failed = each.info.get("rdb_last_bgsave_status") == "err"
        saves = bool(each.settings.get("save", "").strip('"'))
        if failed and saves and says_yes(each, "stop-writes-on-bgsave-error"):
            yield Finding(
                "writes-stop-on-save-error",
                "error",
                each.shard,
                each.address,
                f"save {each.settings['save']}, stop-writes-on-bgsave-error yes, and the last save "
                "failed",
                "as a master it refuses every write (MISCONF) until a save succeeds",
                f"{config_set(each.address, 'stop-writes-on-bgsave-error', 'no')}; its log says "
                "why it cannot save: disk, rights, or memory for a fork",
            )


def saves_beyond_memory(pool: PoolFacts) -> Iterator[Finding]:
    """Find servers that save, on machines without the memory for the copy that a save makes."""
    for each in pool.answering:
        total, most = number(each.info, "total_system_memory"), each.maxmemory
        if not each.settings.get("save", "").strip('"') or not total or not most:
            continue
        if most > _MOST_FORKED * total:
            yield Finding(
                "save-beyond-memory",
                "warning",
                each.shard,
                each.address,
                f"save {each.settings['save']}, maxmemory {in_units(most)}, the machine has "
                f"{in_units(total)}",
                "a save forks, and pages that are written meanwhile are copied: up to twice the "
                "memory. Without vm.overcommit_memory=1 the fork fails, and with it every write",
                config_set(each.address, "save", ""),
            )


def keyspace_events(pool: PoolFacts) -> Iterator[Finding]:
    """Find servers that publish a message for each access."""
    for each in pool.answering:
        if events := each.settings.get("notify-keyspace-events"):
            yield Finding(
                "keyspace-events",
                "note",
                each.shard,
                each.address,
                f"notify-keyspace-events {events}",
                "each command publishes messages, whether or not anybody listens: time of the one "
                "thread that serves all",
                config_set(each.address, "notify-keyspace-events", ""),
            )


def clock_skew(pool: PoolFacts) -> Iterator[Finding]:
    """Find clocks that are off."""
    instances = {at.address: at for at in pool.answering if at.clock is not None}
    clocks = [Clock(at, each.clock or 0.0, each.clock_within) for at, each in instances.items()]
    for at, seconds in wrong_clocks(clocks).items():
        where = instances.get(at)
        ahead = "ahead of" if seconds > 0 else "behind"
        yield Finding(
            "clock-skew",
            "warning",
            None if where is None else where.shard,
            None if where is None else at,
            f"the clock of {at} is {abs(seconds):.1f} s {ahead} most others",
            "times to live end by the clock of whoever serves the key: keys vanish too early, or "
            f"are served too long, by more than {MOST_SKEW:g} s, after a failover or on a replica",
            "let NTP set the clocks: systemctl enable --now chrony"
            + ("" if where is None else f"; {redis_cli(at, 'TIME')} shows it"),
        )


def slots_by_weight(pool: PoolFacts) -> Iterator[Finding]:
    """Find slots that are not dealt by weight."""
    placement = pool.document.placement
    if not isinstance(placement, SlotsPlacement) or pool.busy:
        return
    counts = placement.slot_counts()
    weights = {shard.name: shard.weight for shard in placement.shards}
    slots, total = sum(counts.values()), sum(weights.values())
    for name, weight in weights.items():
        proper = slots * weight / total
        if abs(counts[name] - proper) > max(1.0, 0.02 * proper):
            yield Finding(
                "slots-unbalanced",
                "note",
                name,
                None,
                f"{counts[name]:,} slots at weight {weight}, by weight {proper:,.0f}",
                "this shard has more of the keys, or fewer, than its weight says: it is full, or "
                "busy, before the others",
                "cachemesh pool rebalance --dry-run",
            )
