"""Stopping a stack from outside, and looking at it."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import redis

from cachemesh.core.errors import LocalStackError
from cachemesh.core.names import parse_address

from . import probes
from .monitoring import Monitoring
from .pids import ProcessId
from .state import StateDirectory

_STOP_WITHIN = 20.0  # seconds for the owner to stop its stack
_KILL_WITHIN = 15.0  # seconds for the keeper to kill it


class NoStackError(LocalStackError):
    """There is no stack in the directory."""

    def __init__(self, directory: Path) -> None:
        super().__init__(
            f"no stack in {directory}; start one with `cachemesh up --dir {directory}`, "
            "or name another directory with --dir"
        )


def take_down(path: Path) -> bool:
    """Stop the stack in a directory, however much of it is left.

    Returns:
        Whether it was running; False when only its description had been left behind.

    Raises:
        NoStackError: there is none.
        LocalStackError: it cannot be stopped.
    """
    directory = StateDirectory(path)
    running = directory.in_use()
    description = _description(directory, running)
    for who, number, patience in (
        ("owner", signal.SIGTERM, _STOP_WITHIN),
        ("keeper", signal.SIGTERM, _KILL_WITHIN),
        ("owner", signal.SIGKILL, _KILL_WITHIN),
    ):
        if not directory.in_use():
            break
        target = _process_id(description.get(who))
        if target is not None and _signal(target, number, path):
            directory.wait_unused(patience)
    if directory.in_use():
        raise LocalStackError(f"the stack in {path} does not stop; see {path / 'logs'}")
    for process in description["processes"]:
        _kill_rest(_process_id(process))
    directory.forget()
    return running


def _description(directory: StateDirectory, running: bool) -> dict[str, Any]:
    deadline = time.monotonic() + 2.0
    while (found := directory.read()) is None:
        # A stack that has just begun to start holds the lock and is about to describe itself.
        if not running or time.monotonic() > deadline:
            raise NoStackError(directory.path)
        time.sleep(0.05)
    return found


def _process_id(saved: dict[str, Any] | None) -> ProcessId | None:
    return None if saved is None else ProcessId(int(saved["pid"]), str(saved["started"]))


def _signal(target: ProcessId, number: int, path: Path) -> bool:
    try:
        return target.signal(number)
    except PermissionError as error:
        raise LocalStackError(
            f"the stack in {path} belongs to another user (pid {target.pid}); "
            "run `cachemesh down` as that user"
        ) from error


def _kill_rest(process: ProcessId | None) -> None:
    """End a process whose keeper was killed where the kernel does not end it by itself."""
    if process is not None and process.alive():
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


@dataclass(frozen=True)
class ProcessStatus:
    """One process as it answers now. `role`: master, replica or "" for what is no instance."""

    name: str
    kind: str
    address: str
    pid: int
    up: bool
    role: str
    detail: str


_PROBES = {
    "redis": probes.answers_ping,
    "sentinel": probes.answers_ping,
    "metaserver": probes.answers_ready,
    "dashboard": probes.answers_http,
    "zookeeper": probes.answers_zookeeper,
}


def look(path: Path) -> dict[str, Any]:
    """The stack's info, its processes and its masters as they are now.

    Returns:
        The object that `cachemesh up -o json` prints, with "state" ("up", "degraded", "down" or
        "starting"), "processes" (`ProcessStatus` as dicts) and in each shard "master_now", which
        is what Sentinel says (None when none of them answers).

    Raises:
        NoStackError: there is none.
    """
    directory = StateDirectory(path)
    description = _description(directory, directory.in_use())
    processes = [_look_at(process) for process in description["processes"]]
    info = description["info"]
    sentinels = [parse_address(text) for text in info["sentinels"]]
    monitoring = Monitoring(sentinels, down_after_ms=0)
    shards = [
        {**shard, "master_now": _master(monitoring, shard["name"])} for shard in info["shards"]
    ]
    complete = all(process.up for process in processes) and all(
        shard["master_now"] for shard in shards
    )
    state = "up" if complete else "degraded"
    if not any(process.up for process in processes):
        state = "down"
    elif description["state"] == "starting":
        state = "starting"
    shown = [vars(process) for process in processes]
    return {**info, "state": state, "shards": shards, "processes": shown}


def _master(monitoring: Monitoring, shard: str) -> str | None:
    try:
        return str(monitoring.master_of(shard))
    except LocalStackError:
        return None


def _look_at(process: dict[str, Any]) -> ProcessStatus:
    address = parse_address(process["address"])
    known = ProcessId(int(process["pid"]), str(process["started"]))
    missing = _PROBES[process["kind"]](address) if known.alive() else "the process has ended"
    role, detail = "", missing or ""
    if missing is None and process["kind"] == "redis":
        role, detail = _role(process["address"])
    return ProcessStatus(
        name=process["name"],
        kind=process["kind"],
        address=process["address"],
        pid=known.pid,
        up=missing is None and not (role == "replica" and detail),
        role=role,
        detail=detail,
    )


def _role(address: str) -> tuple[str, str]:
    """ROLE of an instance, and what is wrong with it."""
    client = probes.connect(parse_address(address), timeout=1.0)
    try:
        role = client.role()
    except redis.RedisError as error:
        return "", f"ROLE: {error}"
    finally:
        client.close()
    if role[0] == "master":
        return "master", ""
    master, link = f"{role[1]}:{role[2]}", role[3]
    return "replica", "" if link == "connected" else f"link to {master} is {link}"
