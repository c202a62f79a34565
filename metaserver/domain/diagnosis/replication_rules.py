"""Links of replicas: what breaks them, what they copy, and what replicas serve.

Source: https://redis.io/docs/latest/operate/oss_and_stack/management/replication/ and the comments
of redis.conf.
"""

from __future__ import annotations

from collections.abc import Iterator

from cachemesh.core.plurals import counted
from metaserver.domain.diagnosis.facts import PoolFacts
from metaserver.domain.diagnosis.finding import Finding, config_set
from metaserver.domain.diagnosis.settings import MEBIBYTE, buffer_limit, says_no, whole
from metaserver.domain.info_fields import number
from metaserver.domain.shard_memory import in_units

LEAST_HARD, LEAST_SOFT = 64 * MEBIBYTE, 16 * MEBIBYTE
"""Bytes of a replica's output buffer: writes that come while it gets its first copy wait there."""
BACKLOG_PART = 1000
"""A backlog of less than this part of maxmemory is small: it has the writes of seconds."""


def buffer_of_replicas(pool: PoolFacts) -> Iterator[Finding]:
    """Find a client-output-buffer-limit with which a replica may never get its first copy."""
    for each in pool.answering:
        limit = buffer_limit(each, "replica")
        if limit is None:
            continue
        # With a hard limit below the backlog's size, Redis 7 takes that size instead.
        backlog = whole(each, "repl-backlog-size") or 0
        too_hard = limit.hard > 0 and max(limit.hard, backlog) < LEAST_HARD
        too_soft = 0 < limit.soft < LEAST_SOFT
        if too_hard or too_soft:
            yield Finding(
                "replica-buffer-small",
                "warning",
                each.shard,
                each.address,
                f"client-output-buffer-limit replica {in_units(limit.hard)} {in_units(limit.soft)} "
                f"{limit.seconds}",
                "writes that come while a replica gets its first copy wait in this buffer: beyond "
                "it the link is cut, and the copy begins again, without end under load",
                config_set(each.address, "client-output-buffer-limit", "replica 1gb 512mb 60"),
            )


def buffer_of_clients(pool: PoolFacts) -> Iterator[Finding]:
    """Find a client-output-buffer-limit that ends connections of apps with large replies."""
    for each in pool.answering:
        limit = buffer_limit(each, "normal")
        if limit is not None and 0 < limit.hard < LEAST_HARD:
            yield Finding(
                "client-buffer-small",
                "warning",
                each.shard,
                each.address,
                f"client-output-buffer-limit normal {in_units(limit.hard)}",
                "a pipeline or MGET with larger replies ends the app's connection, each time that "
                "it is tried",
                config_set(each.address, "client-output-buffer-limit", "normal 0 0 0"),
            )


def backlog(pool: PoolFacts) -> Iterator[Finding]:
    """Find a backlog that is small beside the data that is copied without it."""
    for each in pool.answering:
        size, most = whole(each, "repl-backlog-size"), each.maxmemory
        if size is None or not most or size >= most // BACKLOG_PART:
            continue
        refused = number(each.info, "sync_partial_err")
        seen = f"; {counted(refused, 'resync')} from it had to be refused so far" if refused else ""
        yield Finding(
            "repl-backlog-small",
            "warning",
            each.shard,
            each.address,
            f"repl-backlog-size {in_units(size)}, maxmemory {in_units(most)}{seen}",
            f"a replica whose link was broken while {in_units(size)} were written copies all data "
            f"again, up to {in_units(most)}: minutes without a replica that can take over",
            config_set(each.address, "repl-backlog-size", f"{_proper_backlog(most)}mb"),
        )


def _proper_backlog(maxmemory: int) -> int:
    """Return how many MiB of backlog are a good part of an instance's memory."""
    return max(1, min(256, maxmemory // 32 // MEBIBYTE))


def writable_replicas(pool: PoolFacts) -> Iterator[Finding]:
    """Find instances that take writes while they are replicas."""
    for each in pool.answering:
        if says_no(each, "replica-read-only"):
            yield Finding(
                "replica-writable",
                "warning",
                each.shard,
                each.address,
                "replica-read-only no",
                "as a replica it takes writes that its master never sees: an app that still holds "
                "the former master's address writes on, and is not told READONLY; what it has "
                "written is lost",
                config_set(each.address, "replica-read-only", "yes"),
            )


def silent_replicas(pool: PoolFacts) -> Iterator[Finding]:
    """Find instances that refuse reads while their link to the master is down."""
    for each in pool.answering:
        if says_no(each, "replica-serve-stale-data"):
            yield Finding(
                "replica-refuses-reads",
                "warning",
                each.shard,
                each.address,
                "replica-serve-stale-data no",
                "when the master dies, its replicas refuse reads too (MASTERDOWN): read_from "
                "prefer_replica serves nothing then, where it could",
                config_set(each.address, "replica-serve-stale-data", "yes"),
            )


def no_tls_between_instances(pool: PoolFacts) -> Iterator[Finding]:
    """Find servers that speak TLS alone, and not to each other."""
    for each in pool.answering:
        if not whole(each, "tls-port") or whole(each, "port") != 0:
            continue
        for name, impact in (
            (
                "tls-cluster",
                "no key can be moved from it: MIGRATE speaks TLS with that alone",
            ),
            ("tls-replication", "it cannot follow a master that speaks TLS alone"),
        ):
            if says_no(each, name):
                yield Finding(
                    "tls-not-between-instances",
                    "error",
                    each.shard,
                    each.address,
                    f"{name} no, and port 0",
                    impact,
                    config_set(each.address, name, "yes"),
                )
