"""Who is who before a planned failover, and every reason not to begin one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import redis

from cachemesh.core.words import counted
from metaserver.domain.errors import Problem
from metaserver.failover.participant_instance import Standing
from metaserver.failover.participant_sentinel import Row, Watcher, first_choice
from metaserver.failover.participants import Side
from metaserver.redis_io.connection import reason_of
from metaserver.redis_io.sentinels import SentinelView, ShardView, majority

BEHIND = 32 * 1024 * 1024  # bytes; a replica further behind does not catch up while writes wait


@dataclass(frozen=True)
class Candidate:
    """A replica that could be promoted; `behind` in bytes."""

    address: str
    behind: int


@dataclass(frozen=True)
class Survey:
    """What may begin: `master` hands over to `chosen`.

    `candidates` are all that Sentinel could choose, the likely one first; `attached` counts the
    replicas that are connected to the master; `leaders` are the Sentinels that can begin it.
    """

    master: str
    chosen: str
    candidates: tuple[Candidate, ...]
    attached: int
    leaders: tuple[str, ...]


def refused(shard: str, reason: str, detail: str, next_step: str) -> Problem:
    """409: nothing was touched."""
    return Problem(
        "failover-refused", f"Shard {shard!r} cannot fail over: {detail}", next_step, reason=reason
    )


def agreed_master(shard: str, views: Mapping[str, SentinelView]) -> tuple[str, tuple[str, ...]]:
    """The master by most of the Sentinels, and the replicas any of them knows.

    Raises:
        Problem: failover-refused if they do not agree, or cannot fail over.
    """
    known = [view.shards[shard] for view in views.values() if shard in view.shards]
    silent = "; ".join(
        f"{view.address}: {view.error or f'it does not know {shard}'}"
        for view in views.values()
        if shard not in view.shards
    )
    if len(known) * 2 <= len(views):
        raise refused(
            shard,
            "sentinels",
            f"only {len(known)} of {counted(len(views), 'Sentinel')} answer for it ({silent})",
            "start the Sentinels, then try again",
        )
    master = majority([view.master for view in known])
    if master is None:
        raise refused(
            shard,
            "sentinels",
            "the Sentinels differ about its master: "
            + ", ".join(sorted({view.master for view in known})),
            "wait until they agree (cachemesh sentinel list)",
        )
    _require_calm(shard, master, known)
    replicas = {replica for view in known for replica in view.replicas} - {master}
    return master, tuple(sorted(replicas))


def _require_calm(shard: str, master: str, known: Sequence[ShardView]) -> None:
    if any("failover_in_progress" in view.flags for view in known):
        raise Problem(
            "failover-in-progress",
            f"The Sentinels are at a failover of shard {shard!r}",
            "wait until it is over",
        )
    down = [view for view in known if view.flags & {"s_down", "o_down", "disconnected"}]
    if len(down) * 2 > len(known):
        raise refused(
            shard,
            "master-down",
            f"most of the Sentinels take its master {master} for down",
            "the Sentinels fail over by themselves; if they do not, look at the master",
        )
    unusable = [view.detail for view in known if not view.usable]
    if len(unusable) * 2 > len(known):
        raise refused(shard, "sentinels", unusable[0], "bring the missing Sentinels back")


def survey(side: Side, to: str | None) -> Survey:
    """Ask the master, the replicas and the Sentinels; nothing is changed.

    Raises:
        Problem: failover-refused, with the reason.
    """
    shard, master = side.shard, side.master.address
    if to == master:
        raise refused(
            shard, "already-master", f"{to} is its master already", "choose one of its replicas"
        )
    if to is not None and to not in side.replicas:
        known = ", ".join(side.replicas) or "none"
        raise refused(
            shard, "not-a-replica", f"{to} is no replica of it", f"its replicas are: {known}"
        )
    leaders = _leaders(side)
    standing = _master_standing(side)
    rows = rows_by_sentinel(side)
    eligible = _eligible(shard, rows, to)
    standings = side.standings()
    candidates = {
        at: _candidate(shard, master, at, standings[at], standing.offset) for at in eligible
    }
    chosen = to or _likely(rows, eligible)
    first = sorted(candidates.values(), key=lambda each: (each.address != chosen, each.address))
    return Survey(master, chosen, tuple(first), len(standing.replicas), leaders)


def rows_by_sentinel(side: Side) -> dict[str, tuple[Row, ...]]:
    """What each Sentinel that answers says of the replicas."""
    answers = side.ask(Watcher.replicas)
    return {at: rows for at, rows in answers.items() if not isinstance(rows, redis.RedisError)}


def _leaders(side: Side) -> tuple[str, ...]:
    found = tuple(at for at, tilted in side.ask(Watcher.tilted).items() if tilted is False)
    if not found:
        raise refused(
            side.shard,
            "sentinels",
            "its Sentinels are in TILT: they were held up, and do nothing for 30 s",
            "wait half a minute, then try again",
        )
    return found


def _master_standing(side: Side) -> Standing:
    shard, master = side.shard, side.master.address
    try:
        _require_rights(side)
        standing = side.master.standing()
    except (redis.RedisError, OSError) as error:
        why = reason_of(error) if isinstance(error, redis.RedisError) else str(error)
        raise refused(
            shard,
            "master-down",
            f"its master {master} does not answer: {why}",
            "look at the master; if it is down, the Sentinels fail over by themselves",
        ) from error
    if standing.role != "master":
        raise refused(
            shard,
            "master-down",
            f"{master} says that it is a replica of {standing.master}",
            "wait until the Sentinels have noticed",
        )
    return standing


def _require_rights(side: Side) -> None:
    denied = side.master.forbidden()
    if denied:
        raise refused(
            side.shard,
            "no-permission",
            f"the metaserver's user lacks {' '.join(denied)} on {side.master.address}: "
            + next(iter(denied.values())),
            f"there, and on its replicas: ACL SETUSER USER {' '.join(denied)}",
        )


def _eligible(shard: str, rows: Mapping[str, Sequence[Row]], to: str | None) -> set[str]:
    """Those that some Sentinel could choose."""
    if not any(rows.values()):
        raise refused(
            shard,
            "no-replica",
            "it has no replica",
            "add one: REPLICAOF the master, on an instance",
        )
    eligible = {row.address for each in rows.values() for row in each if row.eligible}
    every = [row for each in rows.values() for row in each if to in (None, row.address)]
    if to in eligible or (to is None and eligible):
        return eligible
    if all(row.priority == 0 for row in every):
        raise refused(
            shard,
            "priority-zero",
            f"{to or 'each of its replicas'} has replica-priority 0, so Sentinel never promotes it",
            "CONFIG SET replica-priority 100 there; Sentinel notices within 10 s",
        )
    raise refused(
        shard,
        "replica-down",
        f"the Sentinels take {to or 'each of its replicas'} for down",
        ("start them" if to is None else "name a live one with --to, or start it again")
        + ", and wait until the shard is up (cachemesh shard show)",
    )


def _candidate(
    shard: str, master: str, at: str, standing: Standing | redis.RedisError, offset: int
) -> Candidate:
    aside = "or have the Sentinels leave it out with replica-priority 0"
    if isinstance(standing, redis.RedisError):
        raise refused(
            shard,
            "replica-down",
            f"replica {at}, which Sentinel could choose, does not answer: {reason_of(standing)}",
            "start it again; or name a live one with --to, once the Sentinels take this one for "
            "down",
        )
    if standing.role != "replica" or standing.link != "connected":
        raise refused(
            shard,
            "replica-down",
            f"replica {at}, which Sentinel could choose, is not connected to {master} "
            f"({standing.link or standing.role})",
            f"wait until its link is up, {aside}",
        )
    behind = max(0, offset - standing.offset)
    if behind > BEHIND:
        raise refused(
            shard,
            "replica-behind",
            f"replica {at}, which Sentinel could choose, is {counted(behind, 'byte')} behind",
            f"wait until it has caught up, {aside}",
        )
    return Candidate(at, behind)


def _likely(rows: Mapping[str, Sequence[Row]], eligible: set[str]) -> str:
    """What most of the Sentinels would choose."""
    choices = [
        first_choice(row for row in each if row.address in eligible) for each in rows.values()
    ]
    said = [choice.address for choice in choices if choice is not None]
    return max(sorted(set(said)), key=said.count)
