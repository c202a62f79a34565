"""Checks the shards of a running pool: Sentinels, masters, replicas, replication and clocks.

All instances are asked at once and within a bounded time, so that a Sentinel or an instance that
is slow or replies nonsense costs one line of the report.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace

import redis

from cachemesh.core.names import Address
from cachemesh.core.plurals import counted
from cachemesh.core.pool.document import PoolDocument
from cachemesh.discovery.survey import TIMEOUT, SentinelShardView, ask_sentinels
from cachemesh.discovery.url import MeshUrl
from cachemesh.local.doctor.app_rights import check_rights
from cachemesh.local.doctor.check import Check, fail, failed, ok, warn
from cachemesh.local.doctor.instance_findings import (
    FindingsByAddress,
    InstanceFindings,
    ask_instances,
    instance_options,
)

_SKEW = 1.0  # seconds two clocks may differ
_INTRODUCED_WITHIN = 5.0  # seconds; Sentinels announce themselves every 2 s at each master
_PAUSE = 0.25  # seconds until a Sentinel is asked again
_LOST = frozenset(("s_down", "o_down", "disconnected"))

SentinelViews = Mapping[str, "Mapping[str, SentinelShardView] | Exception"]


def examine_shards(mesh: MeshUrl, document: PoolDocument, *, alone: bool) -> Iterator[Check]:
    """Yield a check of every Sentinel, and of every instance of every shard; no check raises.

    Args:
        mesh: the parsed URL of the pool.
        document: the pool's document.
        alone: whether there is no metaserver that finds what is configured wrong.
    """
    names = document.placement.names
    if not document.sentinels:
        yield fail("sentinels", "the pool names none", "see: cachemesh sentinel list")
        return
    by_sentinel = _views_by_sentinel(mesh, document)
    for sentinel, view in by_sentinel.items():
        yield _check_sentinel(sentinel, view, names)
    shards = {name: _views_of(name, by_sentinel) for name in names}
    known = {at for views in shards.values() for at in _instances(views)}
    findings = ask_instances(mesh, known)
    attached = {  # to a master, though no Sentinel knows them
        at
        for found in findings.values()
        if isinstance(found, InstanceFindings)
        for at in found.replicas
    }
    findings = {**findings, **ask_instances(mesh, attached - known)}
    for name, views in shards.items():
        yield from _check_shard(name, views, findings, alone)
    answering = [at for at, found in findings.items() if isinstance(found, InstanceFindings)]
    awake = [at for at, view in by_sentinel.items() if not isinstance(view, Exception)]
    sentinel_options = replace(mesh.sentinel_options, timeout=TIMEOUT)
    yield from check_rights(answering, instance_options(mesh), awake, sentinel_options)


def _views_by_sentinel(mesh: MeshUrl, document: PoolDocument) -> SentinelViews:
    """Return each Sentinel's view of each shard, or the error that came instead.

    For a shard that was just added, the Sentinels do not know each other yet, and so have no
    quorum: such a Sentinel is asked again.
    """
    views = ask_sentinels(document, mesh.sentinel_options)
    deadline = time.monotonic() + _INTRODUCED_WITHIN
    while (alone := _alone(views)) and time.monotonic() < deadline:
        time.sleep(_PAUSE)
        views |= ask_sentinels(replace(document, sentinels=alone), mesh.sentinel_options)
    return views


def _alone(views: SentinelViews) -> tuple[str, ...]:
    """Return the Sentinels without a quorum that know fewer other Sentinels than the pool has."""
    return tuple(
        sentinel
        for sentinel, shards in views.items()
        if not isinstance(shards, Exception)
        and any(
            view.unusable is not None and view.other_sentinels < len(views) - 1
            for view in shards.values()
        )
    )


def _views_of(shard: str, by_sentinel: SentinelViews) -> dict[str, SentinelShardView]:
    """Return each answering Sentinel's view of one shard."""
    return {
        sentinel: view[shard]
        for sentinel, view in by_sentinel.items()
        if not isinstance(view, Exception) and shard in view
    }


def _instances(views: Mapping[str, SentinelShardView]) -> Iterator[Address]:
    for view in views.values():
        yield view.master
        yield from (replica.address for replica in view.replicas)


def _check_sentinel(
    sentinel: str, view: Mapping[str, SentinelShardView] | Exception, names: Sequence[str]
) -> Check:
    """Check that a Sentinel answers and could agree to a failover of every shard."""
    name = f"sentinel {sentinel}"
    if isinstance(view, Exception):
        return failed(name, view, "start it, or check its address and password")
    problems = []
    for shard in names:
        if shard not in view:
            problems.append(f"{shard}: not monitored")
        elif view[shard].unusable is not None:
            problems.append(f"{shard}: {view[shard].unusable}")
        elif lost := _LOST.intersection(view[shard].flags):
            problems.append(f"{shard}: its master is {', '.join(sorted(lost))}")
    if problems:
        return fail(
            name, "; ".join(problems), "start the Sentinels that are down, and look at the master"
        )
    which = "the shard" if len(names) == 1 else f"all {counted(len(names), 'shard')}"
    return ok(name, f"monitors {which} with a usable quorum")


def _check_shard(
    name: str, views: Mapping[str, SentinelShardView], findings: FindingsByAddress, alone: bool
) -> Iterator[Check]:
    votes = Counter(view.master for view in views.values())
    if not votes:
        yield fail(f"master {name}", "no Sentinel names one", "cachemesh sentinel list")
        return
    master = votes.most_common(1)[0][0]
    if len(votes) > 1:
        told = ", ".join(sorted(map(str, votes)))
        step = "they agree within seconds of a failover; if it lasts: cachemesh sentinel list"
        yield fail(f"shard {name}", f"the Sentinels differ about its master: {told}", step)
    top = findings[master]
    yield _check_master(name, master, top)
    replicas = {at for at in _instances(views) if at != master}
    if isinstance(top, InstanceFindings):
        replicas.update(top.replicas)
    for replica in sorted(replicas):
        yield _check_replica(name, replica, master, views, findings)
    if alone:
        found = [s for at in replicas if isinstance(s := findings[at], InstanceFindings)]
        yield from _check_successors(name, master, replicas, found)


def _check_master(shard: str, address: Address, found: InstanceFindings | Exception) -> Check:
    """Check that a master answers, has the role master, and that its clock is right."""
    name = f"master {shard} {address}"
    if isinstance(found, Exception):
        return _silent(name, found, "start it, or wait for the failover: cachemesh pool status")
    if found.role != "master":
        step = "Sentinel puts this right within seconds; look again"
        return fail(name, f"its role is {found.role}, though Sentinel calls it master", step)
    return _check_clock(name, found) or ok(
        name,
        f"role master, {counted(len(found.replicas), 'replica')} connected, "
        f"clock {found.skew * 1000:.0f} ms off",
    )


def _check_replica(
    shard: str,
    address: Address,
    master: Address,
    views: Mapping[str, SentinelShardView],
    findings: FindingsByAddress,
) -> Check:
    """Check that a replica answers, and replicates the shard's master."""
    name, found = f"replica {shard} {address}", findings[address]
    if isinstance(found, Exception):
        if isinstance(findings[master], Exception):  # RESET would have the Sentinels forget it
            step = "start it: while the master does not answer, it may be the one to take over"
            return _silent(name, found, step)
        step = "start it; if it is gone for good, have each Sentinel forget it, one after the other"
        return _silent(name, found, f"{step}: SENTINEL RESET {shard}")
    follow = f"REPLICAOF {master.host} {master.port}"
    if found.role != "replica":
        step = f"Sentinel puts this right within seconds; if it lasts, send it {follow}"
        return fail(name, f"its role is {found.role}, though Sentinel calls it replica", step)
    if found.master != master:
        step = f"Sentinel puts this right within seconds; if it lasts, send it {follow}"
        return fail(name, f"it follows {found.master}, not the master {master}", step)
    if found.link == "sync":
        return warn(name, "it still copies all keys from its master", "look again when it is done")
    if found.link != "connected":
        step = "its log says why: the master's address, its password (masterauth), or a limit"
        return fail(name, f"its link to the master is down ({found.link})", step)
    cut_off = [s for s, view in views.items() if _calls_lost(view, address)]
    if cut_off:
        count = f"{len(cut_off)} of {counted(len(views), 'Sentinel')}"
        step = "check the network between them, and the password that Sentinel uses (auth-pass)"
        return warn(name, f"{count} cannot reach it: {', '.join(cut_off)}", step)
    return _check_clock(name, found) or ok(name, f"role replica, link up{_lag(found, findings)}")


def _lag(replica: InstanceFindings, findings: FindingsByAddress) -> str:
    top = findings[replica.master] if replica.master else None
    if not isinstance(top, InstanceFindings):
        return ""
    return f", {counted(max(0, top.offset - replica.offset), 'byte')} behind"


def _check_successors(
    shard: str,
    master: Address,
    replicas: Collection[Address],
    answering: Sequence[InstanceFindings],
) -> Iterator[Check]:
    """Check that there is a replica, and that Sentinel may promote at least one."""
    if not replicas:
        detail = "it has no replica: when its master dies, its keys are gone and nobody takes over"
        step = f"start a replica: redis-server --replicaof {master.host} {master.port}"
        yield warn(f"shard {shard}", detail, f"{step}; Sentinel finds it")
    elif answering and not any(replica.promotable for replica in answering):
        detail = "replica-priority is 0 on all its replicas: none takes over when the master dies"
        yield warn(f"shard {shard}", detail, "CONFIG SET replica-priority 100 on one of them")


def _check_clock(name: str, found: InstanceFindings) -> Check | None:
    if found.skew <= _SKEW:
        return None
    step = "let NTP set the clocks: TTLs and leases are counted by them"
    return warn(name, f"its clock is {found.skew:.1f} s off this machine's", step)


def _silent(name: str, error: Exception, step: str) -> Check:
    if isinstance(error, redis.AuthenticationError) or str(error).startswith("NOAUTH"):
        step = "put the right username and password into the URL's options"
    return failed(name, error, step)


def _calls_lost(view: SentinelShardView, address: Address) -> bool:
    return any(r.address == address and r.flags & _LOST for r in view.replicas)
