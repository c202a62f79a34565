"""The state of a shard, from what its instances and Sentinels say and the work on it.

down          the master does not answer as a master
degraded      the shard serves, but a replica, a Sentinel or the quorum is missing
failing over  a planned failover goes on, and explains everything that is missing
joining       the shard was just added, which explains everything that is missing
up            nothing is missing
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from metaserver.domain.pool_state import WorkKind
from metaserver.domain.sentinel_view import MonitoredShard, SentinelView

ShardState: TypeAlias = Literal["up", "failing over", "joining", "degraded", "down", "draining"]
"""The states of the status document: those above, and `draining` of `metaserver.domain.status`."""

InstanceStatus = Mapping[str, Any]
"""A master or replica as the status document has it."""

NO_REPLICA = "no replica: a failover is not possible, its keys are lost if it dies"
_FAILOVER = frozenset(("o_down", "failover_in_progress"))


@dataclass(frozen=True)
class PlannedWork:
    """Work on a shard that goes as planned.

    Attributes:
        busy: a planned failover is still under way.
    """

    kind: WorkKind
    busy: bool = False


@dataclass(frozen=True)
class ShardFault:
    """A fault of a shard, and the kinds of work that cause it for a while.

    Attributes:
        text: the fault in words.
        meanwhile: the words for it while such work goes on, if others than `text`.
    """

    text: str
    explained_by: tuple[WorkKind, ...] = ()
    meanwhile: str | None = None

    def explained(self, work: PlannedWork | None) -> bool:
        """Return whether the work causes this fault."""
        return work is not None and work.kind in self.explained_by


def judge(
    master: InstanceStatus,
    replicas: Sequence[InstanceStatus],
    sentinel: Mapping[str, Any],
    sentinel_faults: Sequence[ShardFault],
    work: PlannedWork | None,
) -> tuple[str, str | None]:
    """Return the state of a shard and, unless it is up, the reason.

    Args:
        master, replicas, sentinel: as the status document has them.
        sentinel_faults: the faults that `sentinel["detail"]` puts into words.
        work: the work on the shard that goes as planned, if any.
    """
    lost = _lost(master)
    if lost is not None and not lost.explained(work):
        return "down", "; ".join([lost.text, *_prospect(master, replicas, sentinel)])
    found = [fault for replica in replicas for fault in _replica_faults(replica)]
    unexplained = [each.text for each in found if not each.explained(work)]
    if any(not each.explained(work) for each in sentinel_faults):
        unexplained.append(sentinel["detail"])
    if unexplained:
        return "degraded", "; ".join(unexplained)
    explained = [each.meanwhile or each.text for each in (lost, *found, *sentinel_faults) if each]
    if work is None or not (explained or work.busy):
        return "up", None
    doing = "a planned failover goes on" if work.kind == "failing over" else "it was just added"
    return work.kind, "; ".join([doing, *explained])


def warnings_of(replicas: Sequence[InstanceStatus]) -> list[str]:
    """Return what an operator should know about a shard even while it serves."""
    if not replicas:
        return [NO_REPLICA]
    if not any(replica["up"] for replica in replicas):
        return ["no replica answers: a failover is not possible, its keys are lost if it dies"]
    return []


def sentinel_faults(
    shard: str, views: Mapping[str, SentinelView], *, failover: bool
) -> list[ShardFault]:
    """Return the faults in how the Sentinels monitor a shard."""
    known = views_of(shard, views)
    silent = [view.address for view in views.values() if view.error is not None]
    faults = [ShardFault(f"no answer from {', '.join(silent)}")] if silent else []
    faults += [
        ShardFault(f"Sentinel {view.address} does not know {shard}", ("joining",))
        for view in views.values()
        if view.error is None and shard not in view.shards
    ]
    masters = {view.master for view in known}
    if len(masters) > 1:
        differ = f"Sentinels differ about the master: {', '.join(sorted(masters))}"
        faults.append(ShardFault(differ, ("failing over",)))
    if failover:
        faults.append(ShardFault("a failover is under way", ("failing over",)))
    if not is_usable(shard, views):
        meanwhile = "the Sentinels do not all know each other yet"
        faults += [ShardFault(v.detail, ("joining",), meanwhile) for v in known if not v.usable][:1]
    return faults


def views_of(shard: str, views: Mapping[str, SentinelView]) -> list[MonitoredShard]:
    """Return what the Sentinels that know the shard say about it."""
    return [view.shards[shard] for view in views.values() if shard in view.shards]


def is_usable(shard: str, views: Mapping[str, SentinelView]) -> bool:
    """Return whether more than half of all Sentinels could fail the shard over."""
    return sum(view.usable for view in views_of(shard, views)) * 2 > len(views)


def fails_over(
    shard: str, views: Mapping[str, SentinelView], replicas: Sequence[InstanceStatus]
) -> bool:
    """Return whether the Sentinels fail the shard over.

    Without a replica that answers they can only flag that a failover is due.
    """
    flagged = any(view.flags & _FAILOVER for view in views_of(shard, views))
    return flagged and any(replica["up"] for replica in replicas)


def _lost(master: InstanceStatus) -> ShardFault | None:
    """Return why the shard has no master, or None if it has one."""
    address = master["address"]
    if not master["up"]:
        where = f"master {address}" if address else "master unknown"
        return ShardFault(f"{where}: {master['error']}")
    if master["role"] != "master":
        text = f"{address} is a {master['role']}; no master took its place yet"
        return ShardFault(text, ("failing over",))
    return None


def _prospect(
    master: InstanceStatus, replicas: Sequence[InstanceStatus], sentinel: Mapping[str, Any]
) -> list[str]:
    """Say what happens next to a shard without a master, or what an operator has to do."""
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


def _replica_faults(replica: InstanceStatus) -> list[ShardFault]:
    named = f"replica {replica['address']}"
    if not replica["up"]:
        return [ShardFault(f"{named}: {replica['error']}")]
    if replica["role"] != "replica":
        return [ShardFault(f"{named}: it is a {replica['role']}", ("failing over",))]
    if replica["link"] != "up":
        return [ShardFault(f"{named}: its link to the master is down", ("failing over", "joining"))]
    return []
