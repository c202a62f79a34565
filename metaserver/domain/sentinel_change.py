"""Changes of a pool's Sentinels: what may be changed, and what is left to be told afterwards.

add      the new one monitors every shard --> document
remove   document --> the former one forgets every shard, the others forget it
both     the quorum becomes a majority of the new number

What comes after the document is in the document too, as long as it is not done, so that any leader
goes on with it (`metaserver.loops.sentinel_changes`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from cachemesh.core.plurals import counted
from cachemesh.core.pool.document import PoolDocument
from metaserver.domain.errors import RequestRefused
from metaserver.domain.planning import ChangePlan, majority_of
from metaserver.domain.sentinel_view import SentinelView

FIELD = "sentinel_change"
"""The field of the pool document. Clients do not know it, and pass it on."""

MOST = 32
"""Sentinels of a pool, as when it is created."""

_TROUBLE = {
    "s_down": "takes its master for down",
    "o_down": "takes its master for down",
    "failover_in_progress": "fails it over",
}


@dataclass(frozen=True)
class SentinelChange:
    """What is left to be told after a change of a pool's Sentinels.

    Attributes:
        tell: former Sentinels that have to forget the shards.
        reset: whether the present ones have to forget the former ones.
    """

    tell: tuple[str, ...] = ()
    reset: bool = False


def change_of(document: PoolDocument) -> SentinelChange | None:
    """Return what is left to be told; None if nothing is. What cannot be read is taken for all."""
    kept = document.extra.get(FIELD)
    if kept is None:
        return None
    told = kept if isinstance(kept, Mapping) else {}
    tell = told.get("tell")
    addresses = tell if isinstance(tell, (list, tuple)) else ()
    return SentinelChange(tuple(str(each) for each in addresses), bool(told.get("reset", True)))


def with_change(document: PoolDocument, change: SentinelChange | None) -> PoolDocument:
    """Return the document with another remainder of a change; None for none."""
    extra = {name: value for name, value in document.extra.items() if name != FIELD}
    if change is not None:
        extra[FIELD] = {**asdict(change), "tell": list(change.tell)}
    return document.replace(extra=extra)


def plan_add_sentinel(document: PoolDocument, sentinel: str) -> ChangePlan:
    """Plan to have another Sentinel.

    Raises:
        RequestRefused: sentinel-exists; invalid-content: there are as many as a pool may have.
    """
    if sentinel in document.sentinels:
        raise RequestRefused(
            "sentinel-exists",
            f"Pool {document.pool!r} has the Sentinel {sentinel} already",
            f"list them with GET /v1/pools/{document.pool}/sentinels",
        )
    if len(document.sentinels) >= MOST:
        raise RequestRefused(
            "invalid-content",
            f"Pool {document.pool!r} has {MOST} Sentinels, and none may have more",
            "remove one first",
        )
    before = change_of(document) or SentinelChange()
    tell = tuple(each for each in before.tell if each != sentinel)
    after = _with_sentinels(document, (*document.sentinels, sentinel))
    after = with_change(after, SentinelChange(tell, before.reset))
    return ChangePlan(f"add Sentinel {sentinel} to pool {document.pool}", document, after)


def plan_remove_sentinel(document: PoolDocument, sentinel: str, *, told: bool) -> ChangePlan:
    """Plan to have one Sentinel less.

    Args:
        told: whether it is to be told to forget the shards.

    Raises:
        RequestRefused: sentinel-not-found; sentinel-refused: it is the last one.
    """
    if sentinel not in document.sentinels:
        raise RequestRefused(
            "sentinel-not-found",
            f"Pool {document.pool!r} has no Sentinel {sentinel!r:.80}",
            f"list them with GET /v1/pools/{document.pool}/sentinels",
        )
    left = tuple(each for each in document.sentinels if each != sentinel)
    if not left:
        raise RequestRefused(
            "sentinel-refused",
            f"{sentinel} is the last Sentinel of pool {document.pool!r}",
            "add another one first",
        )
    before = change_of(document) or SentinelChange()
    tell = (*before.tell, sentinel) if told else before.tell
    after = with_change(_with_sentinels(document, left), SentinelChange(tell, reset=True))
    return ChangePlan(f"remove Sentinel {sentinel} from pool {document.pool}", document, after)


def require_removable(
    document: PoolDocument, sentinel: str, views: Mapping[str, SentinelView], *, force: bool
) -> None:
    """Refuse to remove a Sentinel where that is not safe.

    Args:
        views: what every Sentinel of the pool says, by its address.
        force: remove it although it does not answer, or too few others do.

    Raises:
        RequestRefused: sentinel-refused.
    """
    error = views[sentinel].error
    if error is not None and not force:
        raise RequestRefused(
            "sentinel-refused",
            f"{sentinel} does not answer ({error}), so it cannot be told to forget the shards: "
            "if it comes back, it votes on failovers",
            "start it, and try again; if its machine is gone for good, use force",
        )
    left = [each for each in document.sentinels if each != sentinel]
    answering = [each for each in left if views[each].error is None]
    if not answering or (len(answering) < majority_of(left) and not force):
        raise RequestRefused(
            "sentinel-refused",
            f"Of the {counted(len(left), 'other Sentinel')}, {len(answering)} answer: nothing "
            f"would fail over, which takes {majority_of(left)}",
            "start the others, or add Sentinels, and try again"
            + ("; if their machines are gone for good, use force" if answering else ""),
        )
    trouble = trouble_of(document.placement.names, [views[each] for each in answering])
    if trouble is not None:
        raise RequestRefused(
            "sentinel-refused",
            f"{trouble}: Sentinels that forget a former one (SENTINEL RESET) forget the replicas "
            "too, and learn of these from the master alone",
            "wait until every shard has its master again, and try again",
        )


def trouble_of(shards: Sequence[str], views: Sequence[SentinelView]) -> str | None:
    """Return why no Sentinel may be reset now; None if the masters serve, as far as they know."""
    for shard in shards:
        masters = {view.shards[shard].master for view in views if shard in view.shards}
        if len(masters) > 1:
            return f"The Sentinels name different masters of shard {shard}"
        for view in views:
            flags = view.shards[shard].flags if shard in view.shards else frozenset()
            for flag, what in _TROUBLE.items():
                if flag in flags:
                    return f"Shard {shard} has no master that serves: {view.address} {what}"
    return None


def reservations(after: PoolDocument) -> list[str]:
    """Return what is to be said against the number of a pool's Sentinels after a change."""
    count = len(after.sentinels)
    if count == 1:
        return ["one Sentinel fails over nothing while it is down: have three"]
    if count % 2 == 0:
        spared = count - majority_of(after.sentinels)
        return [
            f"of {count} Sentinels no more may be away ({spared}) than of {count - 1}: "
            "have an odd number"
        ]
    return []


def forgotten_replicas(shards: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return a warning for each replica that Sentinels forget when they are reset.

    Args:
        shards: as the status document has them.
    """
    return [
        f"{replica['address']}, a replica of {shard['name']} that does not answer, is forgotten by "
        "the Sentinels: if it comes back as a master, have it follow the present one (REPLICAOF)"
        for shard in shards
        for replica in shard["replicas"]
        if not replica["up"]
    ]


def _with_sentinels(document: PoolDocument, sentinels: tuple[str, ...]) -> PoolDocument:
    extra = {**document.extra, "quorum": majority_of(sentinels)}
    return document.replace(sentinels=sentinels, extra=extra)
