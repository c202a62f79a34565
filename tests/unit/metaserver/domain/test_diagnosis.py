"""Rules about the configuration of a pool: each finds what it is for, and nothing else does."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from metaserver.domain.diagnosis.facts import KnownInstance, PoolFacts
from metaserver.domain.diagnosis.finding import SEVERITIES
from metaserver.domain.diagnosis.rules import RULES, Diagnosis, diagnose, names_of
from tests.support.diagnosed_pools import (
    GIBIBYTE,
    MASTERS,
    REPLICAS,
    SENTINELS,
    Change,
    every_instance,
    every_view,
    healthy,
    instance,
    moved,
    run_id_of,
    sentinel,
    view,
)

PAGE = Path(__file__).resolve().parents[4] / "docs" / "doctor.md"
MASTER, REPLICA = MASTERS["cache-0"], REPLICAS["cache-0"]
FIRST, SECOND, THIRD = SENTINELS
DOWN = frozenset(("sentinel", "s_down"))
GONE = KnownInstance("10.0.0.6:26379", "gone", DOWN)
OTHER = KnownInstance("10.0.0.6:26379", "other")


def only_sentinels(count: int) -> Change:
    def change(pool: PoolFacts) -> PoolFacts:
        kept = pool.sentinels[:count]
        for number in range(len(kept), count):
            kept += (replace(pool.sentinels[0], address=f"10.0.1.{number}:26379", run_id=""),)
        kept = tuple(replace(each, shards={}) for each in kept)
        return replace(pool, sentinels=kept).without(MASTERS)

    return change


def without(address: str) -> Change:
    def change(pool: PoolFacts) -> PoolFacts:
        kept = tuple(each for each in pool.instances if each.address != address)
        return replace(pool, instances=kept)

    return change


def buffers(normal: int, replica: int) -> dict[str, str]:
    limits = f"normal {normal} 0 0 slave {replica} 0 60 pubsub 33554432 8388608 60"
    return {"client-output-buffer-limit": limits, "repl-backlog-size": str(16 * 1024**2)}


def known_sentinels(*more: KnownInstance) -> tuple[KnownInstance, ...]:
    return (KnownInstance(SECOND, run_id_of(SECOND)), KnownInstance(THIRD, run_id_of(THIRD)), *more)


SMALL = {"maxmemory": str(4 * GIBIBYTE)}
CASES: dict[str, tuple[Change, str]] = {
    "few-sentinels": (only_sentinels(2), "majority, which is 2 of 2"),
    "even-sentinels": (only_sentinels(4), "3 of 4"),
    "quorum-one": (every_view(options={"quorum": 1}), "one Sentinel alone"),
    "quorum-above-majority": (every_view(options={"quorum": 3}), "once 1 Sentinel of 3"),
    "quorum-too-high": (every_view(options={"quorum": 4}), "never do so many agree"),
    "sentinel-settings-differ": (view(SECOND, options={"failover-timeout": 9000}), "tested"),
    "sentinels-differ": (view(THIRD, master="10.0.0.5:6379"), "write to another server"),
    "shard-not-monitored": (sentinel(THIRD, shards={}), "has no vote"),
    "sentinel-id-twice": (sentinel(FIRST, run_id=run_id_of(SECOND)), "count as one"),
    "sentinel-leftover": (view(FIRST, sentinels=known_sentinels(GONE)), "3 votes, of 3"),
    "sentinel-outside-pool": (view(FIRST, sentinels=known_sentinels(OTHER)), "votes"),
    "sentinel-unknown": (view(FIRST, sentinels=known_sentinels()[:1]), "lack a majority"),
    "sentinels-on-one-machine": (moved({FIRST: "10.0.0.8:26380"}), "1 of them is left"),
    "down-after-too-short": (every_view(options={"down-after-milliseconds": 100}), "only busy"),
    "down-after-too-long": (every_view(options={"down-after-milliseconds": 30_000}), "30 s"),
    "sentinel-tilt": (sentinel(FIRST, info={"sentinel_tilt": "1"}), "for 30 s"),
    "sentinel-cut-off": (view(FIRST, flags=frozenset(("master", "s_down"))), "that serves"),
    "no-replica": (without(REPLICA), "served by nobody"),
    "no-promotable-replica": (instance(REPLICA, info={"slave_priority": "0"}), "nobody takes over"),
    "min-replicas-too-many": (
        instance(MASTER, settings={"min-replicas-to-write": "2"}),
        "it refuses every write",
    ),
    "min-replicas-all": (instance(MASTER, settings={"min-replicas-to-write": "1"}), "away"),
    "masterauth-missing": (instance(MASTER, settings={"masterauth": ""}), "cannot follow"),
    "replica-announces-wrong-address": (instance(REPLICA, error="refused"), "nobody is"),
    "replicas-beside-master": (moved({REPLICA: "10.0.0.1:6380"}), "die together"),
    "versions-differ": (instance(REPLICA, info={"redis_version": "6.2.14"}), "follows no more"),
    "replica-buffer-small": (every_instance(settings=buffers(0, 1024**2)), "without end"),
    "client-buffer-small": (every_instance(settings=buffers(1024**2, 0)), "MGET"),
    "repl-backlog-small": (instance(MASTER, settings={"repl-backlog-size": "1048576"}), "8.0 GiB"),
    "replica-writable": (instance(REPLICA, settings={"replica-read-only": "no"}), "is lost"),
    "replica-refuses-reads": (
        instance(REPLICA, settings={"replica-serve-stale-data": "no"}),
        "MASTERDOWN",
    ),
    "tls-not-between-instances": (
        instance(MASTER, settings={"port": "0", "tls-port": "6379", "tls-replication": "yes"}),
        "MIGRATE",
    ),
    "no-maxmemory": (every_instance(info={"maxmemory": "0"}), "the kernel kills it"),
    "noeviction": (every_instance(info={"maxmemory_policy": "noeviction"}), "refuses every write"),
    "volatile-policy": (
        every_instance(info={"maxmemory_policy": "volatile-lru"}),
        "without a time to live",
    ),
    "policy-differs": (instance(REPLICA, info={"maxmemory_policy": "allkeys-lfu"}), "failover"),
    "maxmemory-differs": (instance(REPLICA, info=SMALL), "evicts all that is too much"),
    "maxmemory-unbalanced": (
        lambda pool: instance(MASTER, info=SMALL)(instance(REPLICA, info=SMALL)(pool)),
        "others do not",
    ),
    "memory-overcommitted": (
        every_instance(info={"total_system_memory": str(7 * GIBIBYTE)}),
        "the machine is",
    ),
    "idle-timeout": (instance(MASTER, settings={"timeout": "30"}), "for 30 s"),
    "no-tcp-keepalive": (instance(MASTER, settings={"tcp-keepalive": "0"}), "for ever"),
    "maxclients-nearly-reached": (instance(MASTER, info={"connected_clients": "9000"}), "refused"),
    "appendfsync-always": (
        instance(MASTER, settings={"appendonly": "yes", "appendfsync": "always"}),
        "waits for the disk",
    ),
    "writes-stop-on-save-error": (
        instance(MASTER, settings={"save": "60 1"}, info={"rdb_last_bgsave_status": "err"}),
        "MISCONF",
    ),
    "save-beyond-memory": (
        instance(
            MASTER,
            settings={"save": "60 1"},
            info={"total_system_memory": str(10 * GIBIBYTE)},
        ),
        "overcommit",
    ),
    "keyspace-events": (instance(MASTER, settings={"notify-keyspace-events": "AKE"}), "one thread"),
    "clock-skew": (instance(MASTER, clock=7.5), "vanish too early"),
    "rights-missing": (instance(MASTER, lacking={"+scan": "NOPERM"}), "moving keys"),
    "sentinel-rights-missing": (sentinel(FIRST, lacking={"+sentinel|set": "NOPERM"}), "repaired"),
    "command-renamed": (instance(MASTER, unknown=("CONFIG",)), "failovers"),
    "open-to-anybody": (instance(MASTER, anybody=True), "whoever reaches"),
    "token-file-readable": (lambda pool: replace(pool, token_file_mode=0o644), "admin's token"),
}
UNBALANCED = "slots-unbalanced"  # test_slots_that_are_not_dealt_by_weight
AS_WELL = {"sentinel-outside-pool": ("even-sentinels",)}
"""What else is true of a case."""


def found(pool: PoolFacts) -> set[str]:
    return {finding.rule for finding in diagnose(pool).findings}


def test_nothing_is_found_in_a_healthy_pool() -> None:
    assert diagnose(healthy()) == Diagnosis((), ())


@pytest.mark.parametrize("rule", CASES)
def test_a_rule_finds_what_it_is_for_and_no_other_does(rule: str) -> None:
    change, follows = CASES[rule]
    findings = diagnose(change(healthy())).findings
    assert {each.rule for each in findings} == {rule, *AS_WELL.get(rule, ())}
    assert all(each.configured and each.next_step for each in findings)
    assert any(follows in each.impact for each in findings if each.rule == rule)


def test_every_rule_has_a_case() -> None:
    names = [name for rule in RULES for name in rule.names]
    assert sorted([*CASES, UNBALANCED]) == sorted(names)


def test_the_docs_have_every_rule_with_its_severities() -> None:
    rows = re.findall(r"^\| `([a-z-]+)` \| ([a-z ,;]+) \|", PAGE.read_text(), re.MULTILINE)
    described = {name: said for name, said in rows if name not in SEVERITIES}
    assert sorted(described) == sorted([*CASES, UNBALANCED])
    for rule, (change, _) in CASES.items():
        for finding in diagnose(change(healthy())).findings:
            if finding.rule == rule:
                assert finding.severity in described[rule], rule


def test_slots_that_are_not_dealt_by_weight() -> None:
    pool = healthy()
    shards = [
        {"name": "cache-0", "weight": 1, "slots": [[0, 4095]]},
        {"name": "cache-1", "weight": 1, "slots": [[4096, 16383]]},
    ]
    placement = type(pool.document.placement).from_dict(
        {"strategy": "slots", "hash": "crc16", "hash_tag": "{}", "shards": shards}
    )
    pool = replace(pool, document=replace(pool.document, placement=placement))
    assert found(pool) == {UNBALANCED}


def test_the_worst_comes_first() -> None:
    pool = CASES["keyspace-events"][0](healthy())
    pool = CASES["quorum-too-high"][0](CASES["idle-timeout"][0](pool))
    severities = [each.severity for each in diagnose(pool).findings]
    assert severities == ["error"] * 3 + ["warning", "note"]


def test_a_leftover_that_makes_failovers_impossible_is_an_error() -> None:
    leftovers = [replace(GONE, run_id=f"gone {n}") for n in range(4)]
    pool = view(FIRST, sentinels=known_sentinels(*leftovers))(healthy())
    assert {each.severity for each in diagnose(pool).findings} == {"error"}


def test_what_is_not_known_is_no_fault_and_said_once() -> None:
    pool = every_instance(settings={})(healthy())
    pool = replace(
        pool,
        instances=tuple(
            replace(each, settings={}, refused="NOPERM", anybody=None, clock=None)
            for each in pool.instances
        ),
    )
    diagnosis = diagnose(pool)
    assert diagnosis.findings == ()
    (missing,) = diagnosis.not_checked
    assert missing.at == tuple(each.address for each in pool.instances)
    assert "CONFIG GET is refused: NOPERM" in missing.reason
    assert missing.rules == names_of("settings")
    assert "idle-timeout" in missing.rules


def test_servers_that_do_not_answer_are_said() -> None:
    pool = instance(MASTER, error="Connection refused")(healthy())
    pool = sentinel(THIRD, error="timed out")(pool)
    told = {each.at: each.reason for each in diagnose(pool).not_checked}
    assert told == {(MASTER,): "Connection refused", (THIRD,): "timed out"}


def test_a_shard_at_work_is_not_judged() -> None:
    pool = CASES["quorum-too-high"][0](CASES["no-promotable-replica"][0](healthy()))
    diagnosis = diagnose(pool.without({"cache-0"}))
    assert diagnosis.findings == ()
    assert [each.at for each in diagnosis.not_checked] == [("cache-0",)]


@pytest.mark.parametrize(
    ("change", "severity"),
    [
        (view(FIRST, flags=frozenset(("master", "s_down"))), "error"),
        (view(FIRST, replicas=(KnownInstance(REPLICA, "", frozenset(("s_down",))),)), "warning"),
    ],
)
def test_a_master_that_is_cut_off_is_worse_than_a_replica(change: Change, severity: str) -> None:
    (finding,) = diagnose(change(healthy())).findings
    assert (finding.rule, finding.severity, finding.at) == ("sentinel-cut-off", severity, FIRST)


def test_a_development_stack_may_be_on_one_machine() -> None:
    every = [*SENTINELS, *MASTERS.values(), *REPLICAS.values()]
    pool = moved({at: f"127.0.0.1:{7000 + n}" for n, at in enumerate(every)})(healthy())
    assert found(pool) == set()
    pool = moved({at: f"10.0.0.1:{7000 + n}" for n, at in enumerate(every)})(healthy())
    assert found(pool) == {"sentinels-on-one-machine", "memory-overcommitted"}


@pytest.mark.parametrize(
    ("settings", "step"),
    [
        (
            {"aclfile": "/etc/redis/users.acl"},
            "on its machine add +scan to the end of user metaserver in /etc/redis/users.acl; "
            "redis-cli -h 10.0.0.1 -p 6379 ACL LOAD",
        ),
        (
            {"aclfile": ""},
            "redis-cli -h 10.0.0.1 -p 6379 ACL SETUSER metaserver +scan; then CONFIG REWRITE",
        ),
        (
            None,
            "redis-cli -h 10.0.0.1 -p 6379 ACL SETUSER metaserver +scan; and the same in its "
            "aclfile, or without one CONFIG REWRITE",
        ),
    ],
    ids=["a users file", "no users file", "not known"],
)
def test_rights_are_granted_where_the_server_keeps_its_users(
    settings: dict[str, str] | None, step: str
) -> None:
    told = {} if settings is None else {"settings": settings}
    pool = instance(MASTER, lacking={"+scan": "NOPERM"}, **told)(healthy())
    (finding,) = diagnose(pool).findings
    assert finding.next_step == step


def test_no_next_step_and_nothing_configured_shows_a_secret() -> None:
    """`masterauth` is known as set or not: there is no secret to show."""
    pool = every_instance(settings={"masterauth": ""})(healthy())
    assert found(pool) == {"masterauth-missing"}
    assert all("PASSWORD" in each.next_step for each in diagnose(pool).findings)
