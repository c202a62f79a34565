"""All rules, what they find in a pool, and what could not be checked."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from metaserver.domain.diagnosis import access_rules as access
from metaserver.domain.diagnosis import failover_rules as failover
from metaserver.domain.diagnosis import memory_rules as memory
from metaserver.domain.diagnosis import replication_rules as replication
from metaserver.domain.diagnosis import sentinel_links as links
from metaserver.domain.diagnosis import sentinel_rules as sentinels
from metaserver.domain.diagnosis import server_rules as servers
from metaserver.domain.diagnosis.facts import PoolFacts
from metaserver.domain.diagnosis.finding import SEVERITIES, DiagnosisRule, FactKind, Finding

_Find = Callable[[PoolFacts], Iterator[Finding]]


@dataclass(frozen=True)
class NotChecked:
    """Rules that could not be applied somewhere.

    Attributes:
        at: addresses, or names of shards.
        reason: why, in words.
        rules: their names.
    """

    at: tuple[str, ...]
    reason: str
    rules: tuple[str, ...]


@dataclass(frozen=True)
class Diagnosis:
    """What is configured wrong in a pool.

    Attributes:
        findings: the worst first, then in the order of rules.
        not_checked: what may be wrong besides.
    """

    findings: tuple[Finding, ...]
    not_checked: tuple[NotChecked, ...]


def _rule(find: _Find, reads: str, *names: str) -> DiagnosisRule:
    kinds: tuple[FactKind, ...] = ("instances", "settings", "sentinels")
    return DiagnosisRule(find, names, frozenset(kind for kind in kinds if kind in reads.split()))


RULES: tuple[DiagnosisRule, ...] = (
    _rule(sentinels.few_sentinels, "", "few-sentinels"),
    _rule(sentinels.even_sentinels, "", "even-sentinels"),
    _rule(sentinels.quorums, "sentinels", "quorum-one", "quorum-above-majority", "quorum-too-high"),
    _rule(sentinels.settings_that_differ, "sentinels", "sentinel-settings-differ"),
    _rule(sentinels.masters_that_differ, "sentinels", "sentinels-differ"),
    _rule(sentinels.not_monitored, "sentinels", "shard-not-monitored"),
    _rule(sentinels.same_ids, "sentinels", "sentinel-id-twice"),
    _rule(sentinels.strangers, "sentinels", "sentinel-leftover", "sentinel-outside-pool"),
    _rule(sentinels.sentinels_unknown, "sentinels", "sentinel-unknown"),
    _rule(sentinels.on_one_machine, "", "sentinels-on-one-machine"),
    _rule(links.down_after, "sentinels", "down-after-too-short", "down-after-too-long"),
    _rule(links.tilt, "sentinels", "sentinel-tilt"),
    _rule(links.cut_off, "sentinels instances", "sentinel-cut-off"),
    _rule(failover.no_replica, "instances", "no-replica"),
    _rule(failover.nobody_to_promote, "instances", "no-promotable-replica"),
    _rule(failover.min_replicas, "settings", "min-replicas-too-many", "min-replicas-all"),
    _rule(failover.no_masterauth, "settings", "masterauth-missing"),
    _rule(failover.replica_elsewhere, "instances", "replica-announces-wrong-address"),
    _rule(failover.replicas_beside_master, "", "replicas-beside-master"),
    _rule(failover.replica_cannot_follow, "instances", "versions-differ"),
    _rule(replication.buffer_of_replicas, "settings", "replica-buffer-small"),
    _rule(replication.buffer_of_clients, "settings", "client-buffer-small"),
    _rule(replication.backlog, "settings", "repl-backlog-small"),
    _rule(replication.writable_replicas, "settings", "replica-writable"),
    _rule(replication.silent_replicas, "settings", "replica-refuses-reads"),
    _rule(replication.no_tls_between_instances, "settings", "tls-not-between-instances"),
    _rule(memory.no_maxmemory, "instances", "no-maxmemory"),
    _rule(memory.policies, "instances", "noeviction", "volatile-policy"),
    _rule(memory.policies_that_differ, "instances", "policy-differs"),
    _rule(memory.maxmemory_within_shards, "instances", "maxmemory-differs"),
    _rule(memory.maxmemory_between_shards, "instances", "maxmemory-unbalanced"),
    _rule(memory.machines, "instances", "memory-overcommitted"),
    _rule(servers.idle_timeout, "settings", "idle-timeout"),
    _rule(servers.keepalive, "settings", "no-tcp-keepalive"),
    _rule(servers.maxclients, "instances", "maxclients-nearly-reached"),
    _rule(servers.each_write_to_disk, "settings", "appendfsync-always"),
    _rule(servers.failed_save, "settings", "writes-stop-on-save-error"),
    _rule(servers.saves_beyond_memory, "settings", "save-beyond-memory"),
    _rule(servers.keyspace_events, "settings", "keyspace-events"),
    _rule(servers.clock_skew, "instances", "clock-skew"),
    _rule(servers.slots_by_weight, "", "slots-unbalanced"),
    _rule(access.lacking_rights, "instances", "rights-missing"),
    _rule(access.lacking_rights_at_sentinels, "sentinels", "sentinel-rights-missing"),
    _rule(access.renamed_commands, "instances", "command-renamed"),
    _rule(access.open_to_anybody, "settings", "open-to-anybody"),
    _rule(access.token_file, "", "token-file-readable"),
)


def diagnose(pool: PoolFacts) -> Diagnosis:
    """Apply every rule to what is known of a pool."""
    found = [finding for rule in RULES for finding in rule.find(pool)]
    found.sort(key=lambda finding: SEVERITIES.index(finding.severity))
    return Diagnosis(tuple(found), tuple(_not_checked(pool)))


def names_of(*kinds: FactKind) -> tuple[str, ...]:
    """Return the names of what is not found without facts of any of these kinds."""
    return tuple(name for rule in RULES if rule.reads.intersection(kinds) for name in rule.names)


def _not_checked(pool: PoolFacts) -> Iterator[NotChecked]:
    for shard in sorted(pool.busy):
        yield NotChecked(
            (shard,), "a failover, or work on this shard, goes on", names_of("instances")
        )
    for each in pool.instances:
        if each.error is not None:
            yield NotChecked((each.address,), each.error, names_of("instances", "settings"))
    for sentinel in pool.sentinels:
        if sentinel.error is not None:
            yield NotChecked((sentinel.address,), sentinel.error, names_of("sentinels"))
    refused: dict[str, list[str]] = {}
    for each in pool.answering:
        if each.refused is not None:
            refused.setdefault(each.refused, []).append(each.address)
    for reason, addresses in refused.items():
        said = f"CONFIG GET is refused: {reason}"
        yield NotChecked(tuple(addresses), said, names_of("settings"))
