"""The state of a shard, from what is seen of it and what is being done to it. Pure.

down          its master does not answer as a master
degraded      it serves, but a replica, a Sentinel or the quorum is missing
failing over  a planned failover goes on, which explains all that is missing
joining       it was just added, which explains all that is missing
up            nothing is missing
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from metaserver.redis_io.sentinels import SentinelView, ShardView
from metaserver.store.observed import WorkKind

Instance = Mapping[str, Any]

NO_REPLICA = "no replica: a failover is not possible, its keys are lost if it dies"
_FAILOVER = frozenset(("o_down", "failover_in_progress"))


@dataclass(frozen=True)
class Known:
    """Work that goes as planned; `busy` is whether somebody is still at it."""

    kind: WorkKind
    busy: bool = False


@dataclass(frozen=True)
class Trouble:
    """Something that is not as it should be, and the work that explains it for a while.

    `meanwhile` is how to say it then, if not as `text`.
    """

    text: str
    explained_by: tuple[WorkKind, ...] = ()
    meanwhile: str | None = None

    def explained(self, work: Known | None) -> bool:
        """Whether it belongs to the work."""
        return work is not None and work.kind in self.explained_by


def judge(
    master: Instance,
    replicas: Sequence[Instance],
    sentinel: Mapping[str, Any],
    troubles: Sequence[Trouble],
    work: Known | None,
) -> tuple[str, str | None]:
    """The state of a shard and, unless it is up, why.

    Args:
        master, replicas, sentinel: as the status document has them.
        troubles: those with the Sentinels, which `sentinel["detail"]` puts into words.
        work: what goes on as planned.
    """
    lost = _lost(master)
    if lost is not None and not lost.explained(work):
        return "down", "; ".join([lost.text, *_prospect(master, replicas, sentinel)])
    found = [trouble for replica in replicas for trouble in _replica_troubles(replica)]
    unexplained = [each.text for each in found if not each.explained(work)]
    if any(not each.explained(work) for each in troubles):
        unexplained.append(sentinel["detail"])
    if unexplained:
        return "degraded", "; ".join(unexplained)
    explained = [each.meanwhile or each.text for each in (lost, *found, *troubles) if each]
    if work is None or not (explained or work.busy):
        return "up", None
    doing = "a planned failover goes on" if work.kind == "failing over" else "it was just added"
    return work.kind, "; ".join([doing, *explained])


def warnings_of(replicas: Sequence[Instance]) -> list[str]:
    """What the operator should know about a shard though it serves."""
    if not replicas:
        return [NO_REPLICA]
    if not any(replica["up"] for replica in replicas):
        return ["no replica answers: a failover is not possible, its keys are lost if it dies"]
    return []


def sentinel_troubles(
    shard: str, views: Mapping[str, SentinelView], *, failover: bool
) -> list[Trouble]:
    """What is wrong with how the Sentinels watch a shard."""
    known = views_of(shard, views)
    silent = [view.address for view in views.values() if view.error is not None]
    troubles = [Trouble(f"no answer from {', '.join(silent)}")] if silent else []
    troubles += [
        Trouble(f"Sentinel {view.address} does not know {shard}", ("joining",))
        for view in views.values()
        if view.error is None and shard not in view.shards
    ]
    masters = {view.master for view in known}
    if len(masters) > 1:
        differ = f"Sentinels differ about the master: {', '.join(sorted(masters))}"
        troubles.append(Trouble(differ, ("failing over",)))
    if failover:
        troubles.append(Trouble("a failover is under way", ("failing over",)))
    if not is_usable(shard, views):
        meanwhile = "the Sentinels do not all know each other yet"
        troubles += [Trouble(v.detail, ("joining",), meanwhile) for v in known if not v.usable][:1]
    return troubles


def views_of(shard: str, views: Mapping[str, SentinelView]) -> list[ShardView]:
    """What the Sentinels that know the shard say."""
    return [view.shards[shard] for view in views.values() if shard in view.shards]


def is_usable(shard: str, views: Mapping[str, SentinelView]) -> bool:
    """Whether most of all the Sentinels could fail it over."""
    return sum(view.usable for view in views_of(shard, views)) * 2 > len(views)


def fails_over(shard: str, views: Mapping[str, SentinelView], replicas: Sequence[Instance]) -> bool:
    """Whether Sentinels are at a failover: without a replica they can but say that one is due."""
    flagged = any(view.flags & _FAILOVER for view in views_of(shard, views))
    return flagged and any(replica["up"] for replica in replicas)


def _lost(master: Instance) -> Trouble | None:
    """Why the shard has no master, None if it has."""
    address = master["address"]
    if not master["up"]:
        where = f"master {address}" if address else "master unknown"
        return Trouble(f"{where}: {master['error']}")
    if master["role"] != "master":
        text = f"{address} is a {master['role']}; no master took its place yet"
        return Trouble(text, ("failing over",))
    return None


def _prospect(
    master: Instance, replicas: Sequence[Instance], sentinel: Mapping[str, Any]
) -> list[str]:
    """What is going to happen to a shard without a master, or what an operator has to do."""
    address = master["address"]
    if sentinel["failover"]:
        return ["a failover is under way"]
    if address is None or master["up"]:
        return []
    if not replicas:
        return [
            f"no failover can happen, as it has no replica: start {address} again, or give its "
            "slots to the other shards with cachemesh shard remove"
        ]
    if not any(replica["up"] for replica in replicas):
        return [f"no failover can happen while no replica answers: start {address} or one of them"]
    if not sentinel["usable"]:
        return [f"no failover can happen while most Sentinels are missing: start {address} or them"]
    return ["Sentinel fails over once it takes the master for down"]


def _replica_troubles(replica: Instance) -> list[Trouble]:
    named = f"replica {replica['address']}"
    if not replica["up"]:
        return [Trouble(f"{named}: {replica['error']}")]
    if replica["role"] != "replica":
        return [Trouble(f"{named}: it is a {replica['role']}", ("failing over",))]
    if replica["link"] != "up":
        return [Trouble(f"{named}: its link to the master is down", ("failing over", "joining"))]
    return []
