"""Looking at the shards of a running pool: Sentinels, masters, replicas, links and clocks.

Everything is asked at once and within a bounded time, so that a Sentinel or an instance which is
slow or answers nonsense is one line of the report.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import redis

from cachemesh.core.malformed_replies import understood
from cachemesh.core.names import Address
from cachemesh.core.pool.document import PoolDocument
from cachemesh.core.reads.replication_status import parse_role
from cachemesh.core.words import counted
from cachemesh.discovery.sentinel_connection import SentinelOptions
from cachemesh.discovery.survey import (
    TIMEOUT,
    WITHIN,
    ShardView,
    ask,
    ask_each,
    ask_sentinels,
    usable_address,
)
from cachemesh.discovery.url import MeshUrl
from cachemesh.local.doctor.check import Check, fail, failed, ok, warn

_SKEW = 1.0  # seconds two clocks may differ
_ASK = (("ROLE",), ("TIME",), ("INFO", "replication"))
_LOST = frozenset(("s_down", "o_down", "disconnected"))

Views = Mapping[str, "Mapping[str, ShardView] | Exception"]


@dataclass(frozen=True)
class Standing:
    """What an instance says of itself.

    Attributes:
        role: "master", "replica" or "sentinel".
        master: whom a replica follows.
        link: of a replica to its master, "connected" if all is well.
        offset: how many bytes of the replication stream it has.
        replicas: those connected to a master.
        skew: seconds that its clock differs from this machine's.
        promotable: whether Sentinel may promote it: its ``replica-priority`` is not 0.
    """

    role: str
    master: Address | None
    link: str
    offset: int
    replicas: tuple[Address, ...]
    skew: float
    promotable: bool = True


Standings = Mapping[Address, "Standing | Exception"]


def examine_shards(mesh: MeshUrl, document: PoolDocument) -> Iterator[Check]:
    """Every Sentinel, and every instance of every shard; none of the checks raises."""
    names = document.placement.names
    if not document.sentinels:
        yield fail("sentinels", "the pool names none", "see: cachemesh sentinel list")
        return
    views: Views = ask_sentinels(document, mesh.sentinel_options)
    for sentinel, view in views.items():
        yield _check_sentinel(sentinel, view, names)
    shards = {name: _views_of(name, views) for name in names}
    known = {at for said in shards.values() for at in _instances(said)}
    standings = _ask_instances(mesh, known)
    late = {
        at
        for standing in standings.values()
        if isinstance(standing, Standing)
        for at in standing.replicas
    }
    standings = {**standings, **_ask_instances(mesh, late - known)}
    for name, said in shards.items():
        yield from _check_shard(name, said, standings)


def _views_of(shard: str, views: Views) -> dict[str, ShardView]:
    return {
        sentinel: view[shard]
        for sentinel, view in views.items()
        if not isinstance(view, Exception) and shard in view
    }


def _instances(said: Mapping[str, ShardView]) -> Iterator[Address]:
    for view in said.values():
        yield view.master
        yield from (replica.address for replica in view.replicas)


def _ask_instances(mesh: MeshUrl, addresses: set[Address]) -> Standings:
    given = mesh.options
    options = SentinelOptions(
        username=given.get("username"),
        password=given.get("password"),
        timeout=TIMEOUT,
        connection={name: v for name, v in given.items() if name.startswith("ssl")},
    )
    jobs = {at: partial(_ask_instance, at, options) for at in sorted(addresses)}
    return ask_each(jobs, WITHIN)


def _ask_instance(address: Address, options: SentinelOptions) -> Standing:
    replies = ask(address, options, _ASK, TIMEOUT)
    with understood():
        return _standing(*replies)


def _standing(role: Any, clock: Any, info: Any) -> Standing:
    """From ROLE, TIME and, where an ACL allows it, INFO (redis.io/docs/latest/commands/role)."""
    for reply in (role, clock):
        if isinstance(reply, redis.ResponseError):
            raise reply
    seconds, micros = clock
    skew = abs(time.time() - (int(seconds) + int(micros) / 1e6))
    told = parse_role(role)
    replicas = [usable_address(at.host, str(at.port)) for at, _ in told.replicas]
    return Standing(
        role=told.role,
        master=told.master,
        link=told.link_state,
        offset=told.offset,
        replicas=tuple(at for at in replicas if at is not None),
        skew=skew,
        promotable=told.role != "replica" or "slave_priority:0\r\n" not in str(info),
    )


def _check_sentinel(
    sentinel: str, view: Mapping[str, ShardView] | Exception, names: Sequence[str]
) -> Check:
    """Whether it is reachable, and able to agree on a failover of every shard."""
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


def _check_shard(name: str, said: Mapping[str, ShardView], standings: Standings) -> Iterator[Check]:
    votes = Counter(view.master for view in said.values())
    if not votes:
        yield fail(f"master {name}", "no Sentinel names one", "cachemesh sentinel list")
        return
    master = votes.most_common(1)[0][0]
    if len(votes) > 1:
        told = ", ".join(sorted(map(str, votes)))
        step = "they agree within seconds of a failover; if it lasts: cachemesh sentinel list"
        yield fail(f"shard {name}", f"the Sentinels differ about its master: {told}", step)
    top = standings[master]
    yield _check_master(name, master, top)
    replicas = {at for at in _instances(said) if at != master}
    if isinstance(top, Standing):
        replicas.update(top.replicas)
    if not replicas:
        detail = "it has no replica: when its master dies, its keys are gone and nobody takes over"
        step = f"start a replica: redis-server --replicaof {master.host} {master.port}"
        yield warn(f"shard {name}", detail, f"{step}; Sentinel finds it")
    for replica in sorted(replicas):
        yield _check_replica(name, replica, master, said, standings)
    if found := [s for at in replicas if isinstance(s := standings[at], Standing)]:
        yield from _check_priorities(name, found)


def _check_master(shard: str, address: Address, found: Standing | Exception) -> Check:
    """Whether it answers, is a master, and has our time."""
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
    said: Mapping[str, ShardView],
    standings: Standings,
) -> Check:
    """Whether it answers, and follows the shard's master."""
    name, found = f"replica {shard} {address}", standings[address]
    if isinstance(found, Exception):
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
    blind = [s for s, view in said.items() if _calls_lost(view, address)]
    if blind:
        count = f"{len(blind)} of {counted(len(said), 'Sentinel')}"
        step = "check the network between them, and the password that Sentinel uses (auth-pass)"
        return warn(name, f"{count} cannot reach it: {', '.join(blind)}", step)
    return _check_clock(name, found) or ok(name, f"role replica, link up{_lag(found, standings)}")


def _lag(replica: Standing, standings: Standings) -> str:
    top = standings[replica.master] if replica.master else None
    if not isinstance(top, Standing):
        return ""
    return f", {counted(max(0, top.offset - replica.offset), 'byte')} behind"


def _check_priorities(shard: str, replicas: Sequence[Standing]) -> Iterator[Check]:
    """Whether Sentinel may promote any of the replicas."""
    if not any(replica.promotable for replica in replicas):
        detail = "replica-priority is 0 on all its replicas: none takes over when the master dies"
        yield warn(f"shard {shard}", detail, "CONFIG SET replica-priority 100 on one of them")


def _check_clock(name: str, found: Standing) -> Check | None:
    if found.skew <= _SKEW:
        return None
    step = "let NTP set the clocks: TTLs and leases are counted by them"
    return warn(name, f"its clock is {found.skew:.1f} s off this machine's", step)


def _silent(name: str, error: Exception, step: str) -> Check:
    if isinstance(error, redis.AuthenticationError) or str(error).startswith("NOAUTH"):
        step = "put the right username and password into the URL's options"
    return failed(name, error, step)


def _calls_lost(view: ShardView, address: Address) -> bool:
    return any(r.address == address and r.flags & _LOST for r in view.replicas)
