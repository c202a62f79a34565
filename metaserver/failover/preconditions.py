"""The preconditions of a planned failover: every reason to refuse one, and the plan for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import redis

from cachemesh.core.plurals import counted
from cachemesh.core.reads.replication_status import RoleReply
from metaserver.domain.errors import RequestRefused
from metaserver.domain.sentinel_view import MonitoredShard, SentinelView, majority
from metaserver.failover.participant_sentinel import ParticipantSentinel, ReplicaRow, first_choice
from metaserver.failover.participants import Participants
from metaserver.redis_io.bounded_connection import reason_of

MAX_BEHIND = 32 * 1024 * 1024
"""Bytes that a replica may lack: with more it does not catch up while writes wait."""


@dataclass(frozen=True)
class PromotionCandidate:
    """A replica that could be promoted.

    Attributes:
        behind: bytes of the replication stream that the replica lacks.
    """

    address: str
    behind: int


@dataclass(frozen=True)
class FailoverPlan:
    """A failover that may begin: `master` hands over to `chosen`.

    Attributes:
        candidates: all replicas that Sentinel could choose, the likely one first.
        attached: the number of replicas that are connected to the master.
        leaders: the Sentinels that can begin the failover.
    """

    master: str
    chosen: str
    candidates: tuple[PromotionCandidate, ...]
    attached: int
    leaders: tuple[str, ...]


def refused(shard: str, reason: str, detail: str, next_step: str) -> RequestRefused:
    """Return the error for a failover that is refused before anything is changed."""
    return RequestRefused(
        "failover-refused", f"Shard {shard!r} cannot fail over: {detail}", next_step, reason=reason
    )


def agreed_master(shard: str, views: Mapping[str, SentinelView]) -> tuple[str, tuple[str, ...]]:
    """Return the master that most Sentinels name, and the replicas that any of them knows.

    Raises:
        RequestRefused: failover-refused: the Sentinels do not agree, or cannot fail over.
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
    _require_no_failover(shard, master, known)
    replicas = {replica for view in known for replica in view.replicas} - {master}
    return master, tuple(sorted(replicas))


def _require_no_failover(shard: str, master: str, known: Sequence[MonitoredShard]) -> None:
    if any("failover_in_progress" in view.flags for view in known):
        raise RequestRefused(
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


def check_preconditions(participants: Participants, to: str | None) -> FailoverPlan:
    """Ask the master, the replicas and the Sentinels, and plan the failover.

    Nothing is changed.

    Args:
        to: the replica to promote; None for the one that Sentinel would choose.

    Raises:
        RequestRefused: failover-refused, with the reason.
    """
    shard, master = participants.shard, participants.master.address
    if to == master:
        raise refused(
            shard, "already-master", f"{to} is its master already", "choose one of its replicas"
        )
    if to is not None and to not in participants.replicas:
        known = ", ".join(participants.replicas) or "none"
        raise refused(
            shard, "not-a-replica", f"{to} is no replica of it", f"its replicas are: {known}"
        )
    leaders = _leaders(participants)
    reply = _role_of_master(participants)
    rows = rows_by_sentinel(participants)
    eligible = _eligible(shard, rows, to)
    replies = participants.ask_roles()
    candidates = {at: _candidate(shard, master, at, replies[at], reply.offset) for at in eligible}
    chosen = to or _likely(rows, eligible)
    first = sorted(candidates.values(), key=lambda each: (each.address != chosen, each.address))
    return FailoverPlan(master, chosen, tuple(first), len(reply.replicas), leaders)


def rows_by_sentinel(participants: Participants) -> dict[str, tuple[ReplicaRow, ...]]:
    """Return the replicas as each answering Sentinel knows them."""
    answers = participants.ask(ParticipantSentinel.replicas)
    return {at: rows for at, rows in answers.items() if not isinstance(rows, redis.RedisError)}


def _leaders(participants: Participants) -> tuple[str, ...]:
    found = tuple(
        at for at, tilted in participants.ask(ParticipantSentinel.tilted).items() if tilted is False
    )
    if not found:
        raise refused(
            participants.shard,
            "sentinels",
            "its Sentinels are in TILT: they were held up, and do nothing for 30 s",
            "wait half a minute, then try again",
        )
    return found


def _role_of_master(participants: Participants) -> RoleReply:
    shard, master = participants.shard, participants.master.address
    try:
        _require_rights(participants)
        reply = participants.master.ask_role()
    except redis.RedisError as error:
        raise refused(
            shard,
            "master-down",
            f"its master {master} does not answer: {reason_of(error)}",
            "look at the master; if it is down, the Sentinels fail over by themselves",
        ) from error
    if reply.role != "master":
        raise refused(
            shard,
            "master-down",
            f"{master} says that it is a replica of {reply.master}",
            "wait until the Sentinels have noticed",
        )
    return reply


def _require_rights(participants: Participants) -> None:
    denied = participants.master.forbidden()
    if denied:
        raise refused(
            participants.shard,
            "no-permission",
            f"the metaserver's user lacks {' '.join(denied)} on {participants.master.address}: "
            + next(iter(denied.values())),
            f"there, and on its replicas: ACL SETUSER USER {' '.join(denied)}",
        )


def _eligible(shard: str, rows: Mapping[str, Sequence[ReplicaRow]], to: str | None) -> set[str]:
    """Return the replicas that a Sentinel could choose."""
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
    shard: str, master: str, at: str, reply: RoleReply | redis.RedisError, offset: int
) -> PromotionCandidate:
    aside = "or have the Sentinels leave it out with replica-priority 0"
    if isinstance(reply, redis.RedisError):
        raise refused(
            shard,
            "replica-down",
            f"replica {at}, which Sentinel could choose, does not answer: {reason_of(reply)}",
            "start it again; or name a live one with --to, once the Sentinels take this one for "
            "down",
        )
    if reply.role != "replica" or reply.link_state != "connected":
        raise refused(
            shard,
            "replica-down",
            f"replica {at}, which Sentinel could choose, is not connected to {master} "
            f"({reply.link_state or reply.role})",
            f"wait until its link is up, {aside}",
        )
    behind = max(0, offset - reply.offset)
    if behind > MAX_BEHIND:
        raise refused(
            shard,
            "replica-behind",
            f"replica {at}, which Sentinel could choose, is {counted(behind, 'byte')} behind",
            f"wait until it has caught up, {aside}",
        )
    return PromotionCandidate(at, behind)


def _likely(rows: Mapping[str, Sequence[ReplicaRow]], eligible: set[str]) -> str:
    """Return the replica that most Sentinels would choose."""
    choices = [
        first_choice(row for row in each if row.address in eligible) for each in rows.values()
    ]
    said = [choice.address for choice in choices if choice is not None]
    return max(sorted(set(said)), key=said.count)
