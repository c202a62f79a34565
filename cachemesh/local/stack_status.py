"""Examines a running stack from another process, for `cachemesh status`: processes and pool."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

import redis

from cachemesh.core.errors import (
    MetaserverError,
    MetaserverUnavailableError,
    SentinelUnavailableError,
)
from cachemesh.core.names import Address, parse_address
from cachemesh.discovery.bearer_token import find_token
from cachemesh.discovery.metaserver import MetaserverClient
from cachemesh.discovery.sentinel import LookupResult, SentinelClient
from cachemesh.discovery.sentinel_connection import SentinelOptions
from cachemesh.discovery.survey import ask_each
from cachemesh.discovery.url import parse_url
from cachemesh.local import probes
from cachemesh.local.pids import ProcessId
from cachemesh.local.ports import holder_of
from cachemesh.local.state import StateDirectory
from cachemesh.local.tls import StackTls, metaserver_tls_of, redis_options_of

_TIMEOUT = 1.0  # seconds a Sentinel has to answer
_PROBED_WITHIN = 5.0  # seconds that all processes together have to answer
_LOADED_WITHIN = 10.0  # seconds for the pool's document


@dataclass(frozen=True)
class ProcessStatus:
    """One process of a stack as it answers now.

    Attributes:
        name, kind, address, pid, log: as `cachemesh.local.process.Process` has them.
        up: whether the process answers.
        role: "master" or "replica" of a redis-server, "" of any other process.
        detail: what is wrong or unusual; "" if nothing is.
        start: the command that starts an ended process again; "" if the process runs.
    """

    name: str
    kind: str
    address: str
    pid: int
    up: bool
    role: str
    detail: str
    log: str
    start: str = ""


_HTTP = {"metaserver": probes.answers_ready, "dashboard": probes.answers_http}


def examine_stack(path: Path) -> dict[str, Any]:
    """Return a stack's info with its processes and shards as they are now.

    Args:
        path: the stack's state directory.

    Returns:
        The object that `cachemesh up -o json` prints, with "state" ("up", "degraded", "down" or
        "starting"), "processes" (`ProcessStatus` as dicts) and as "shards" those that the pool has
        now, each with "master_now" and "replicas_now" as Sentinel names them (None and [] when no
        Sentinel answers). "spares" are the shards that serve no pool yet. "resize" is that of the
        pool's status; None if none is under way, or no metaserver answers.

    Raises:
        NoStackError: the directory holds no stack.
        LocalStackError: the stack's description is damaged.
    """
    description = StateDirectory(path).description()
    info = description["info"]
    tls = None if info.get("tls") is None else StackTls(Path(info["tls"]))
    processes = _examine_processes(description["processes"], tls)
    shards = _shards(info, tls)
    serving = {at for s in shards for at in (s["master_now"], *s["replicas_now"])}
    spares = [spare for spare in info["spares"] if spare["master"] not in serving]
    state = "degraded"
    if not any(process.up for process in processes):
        state = "down"
    elif description["state"] == "starting":
        state = "starting"
    elif all(process.up for process in processes) and _masters_answer(shards, processes, tls):
        state = "up"
    return {
        **info,
        "state": state,
        "shards": shards,
        "spares": spares,
        "resize": _resize(info, tls),
        "processes": [vars(process) for process in processes],
    }


def _resize(info: Mapping[str, Any], tls: StackTls | None) -> dict[str, Any] | None:
    """Return the resize under way, as the pool's status has it."""
    if not info["metaservers"]:
        return None
    scheme = "http" if tls is None else "https"
    metaservers = MetaserverClient(
        [f"{scheme}://{address}" for address in info["metaservers"]],
        find_token(None, info["token_file"]),
        timeout=_TIMEOUT,
        tls=metaserver_tls_of(tls),
    )
    try:
        status = metaservers.request("GET", f"/v1/pools/{quote(info['pool'], safe='')}/status")
    except (MetaserverError, MetaserverUnavailableError):
        return None
    resize: dict[str, Any] | None = status["resize"]
    return resize


def _shards(info: Mapping[str, Any], tls: StackTls | None) -> list[dict[str, Any]]:
    """Return the shards of the pool as it is now; if no server answers, those it began with."""
    names = _shard_names(info)
    known = {shard["name"]: shard for shard in info["shards"]}
    found = _masters_and_replicas(info["sentinels"], names, tls)
    shards = []
    for name in names:
        at = found.masters.get(name)
        now = None if at is None else str(at)
        replicas = list(map(str, found.replicas.get(name, ())))
        begun = known.get(name, {"name": name, "master": now, "replicas": replicas})
        shards.append({**begun, "master_now": now, "replicas_now": replicas})
    return shards


def _shard_names(info: Mapping[str, Any]) -> list[str]:
    token_file = info["token_file"]
    mesh = parse_url(info["url"], {} if token_file is None else {"token_file": token_file})
    document = ask_each({"document": mesh.read_document}, _LOADED_WITHIN)["document"]
    if isinstance(document, Exception):
        return [shard["name"] for shard in info["shards"]]
    return list(document.placement.names)


def _masters_and_replicas(
    addresses: Sequence[str], names: Sequence[str], tls: StackTls | None
) -> LookupResult:
    options = SentinelOptions(timeout=_TIMEOUT, connection=redis_options_of(tls))
    sentinels = SentinelClient(addresses, options)
    try:
        return sentinels.look_up(names, with_replicas=True)
    except SentinelUnavailableError:
        return LookupResult()
    finally:
        sentinels.close()


def _masters_answer(
    shards: Iterable[Mapping[str, Any]], processes: Iterable[ProcessStatus], tls: StackTls | None
) -> bool:
    """Return whether every shard has a master that answers, of this stack or not."""
    up = {process.address for process in processes if process.up}
    return all(
        now is not None and (now in up or probes.answers_ping(parse_address(now), tls) is None)
        for now in (shard["master_now"] for shard in shards)
    )


def _examine_processes(
    processes: Sequence[Mapping[str, Any]], tls: StackTls | None
) -> list[ProcessStatus]:
    jobs = {process["name"]: partial(_examine_process, process, tls) for process in processes}
    examined = ask_each(jobs, _PROBED_WITHIN)
    return [
        found
        if isinstance(found := examined[process["name"]], ProcessStatus)
        else _status(process, int(process["pid"]), tls, str(found))
        for process in processes
    ]


def _examine_process(process: Mapping[str, Any], tls: StackTls | None) -> ProcessStatus:
    address = parse_address(process["address"])
    known = ProcessId(int(process["pid"]), str(process["started"]))
    missing = _probe(process["kind"], address, tls)
    if known.alive():
        return _status(process, known.pid, tls, missing)
    if missing is not None:
        start = shlex.join(process["argv"])
        return _status(process, known.pid, tls, "the process has ended", start=start)
    holder = holder_of(address.port)
    pid = known.pid if holder is None else holder.pid
    return _status(process, pid, tls, None, "restarted")


def _probe(kind: str, address: Address, tls: StackTls | None) -> str | None:
    """Return None if a process of that kind answers, else what is missing."""
    if kind == "zookeeper":
        return probes.answers_zookeeper(address)
    if kind in _HTTP:
        return _HTTP[kind](address, metaserver_tls_of(tls))
    return probes.answers_ping(address, tls)


def _status(
    process: Mapping[str, Any],
    pid: int,
    tls: StackTls | None,
    missing: str | None,
    detail: str = "",
    start: str = "",
) -> ProcessStatus:
    role, wrong = "", missing
    if missing is None and process["kind"] == "redis":
        role, wrong = _role(process["address"], tls)
    return ProcessStatus(
        name=process["name"],
        kind=process["kind"],
        address=process["address"],
        pid=pid,
        up=wrong is None,
        role=role,
        detail=wrong or detail,
        log=process["log"],
        start=start,
    )


def _role(address: str, tls: StackTls | None) -> tuple[str, str | None]:
    """Return the role of an instance, and what is wrong with the instance or None.

    Source: redis.io/docs/latest/commands/role.
    """
    client = probes.connect(parse_address(address), timeout=1.0, tls=tls)
    try:
        role = client.role()
    except redis.RedisError as error:
        return "", f"ROLE: {error}"
    finally:
        client.close()
    if role[0] == "master":
        return "master", None
    master, link_state = f"{role[1]}:{role[2]}", role[3]
    return "replica", None if link_state == "connected" else f"link to {master} is {link_state}"
