"""The configuration files of a local stack's processes, as text."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from .ports import HOST


def _quoted(path: Path) -> str:
    escaped = str(path).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def redis_conf(
    port: int, data: Path, replica_of: tuple[str, int] | None, extra: Sequence[str]
) -> str:
    """A cache instance on the loopback: no persistence, and replicas that attach at once."""
    lines = [
        f"bind {HOST}",
        f"port {port}",
        "protected-mode yes",
        "daemonize no",
        f"dir {_quoted(data)}",
        'save ""',
        "appendonly no",
        # Redis 7 waits 5 s for more replicas before a diskless sync; here each second counts.
        "repl-diskless-sync yes",
        "repl-diskless-sync-delay 0",
        "repl-ping-replica-period 1",
        "repl-timeout 5",
    ]
    if replica_of is not None:
        lines.append(f"replicaof {replica_of[0]} {replica_of[1]}")
    return "\n".join([*lines, *extra, ""])


def sentinel_conf(port: int, data: Path) -> str:
    """A Sentinel that monitors nothing yet; it rewrites this file itself."""
    lines = [
        f"bind {HOST}",
        f"port {port}",
        "protected-mode yes",
        "daemonize no",
        f"dir {_quoted(data)}",
    ]
    return "\n".join([*lines, ""])


def zoo_cfg(port: int, data: Path) -> str:
    """A standalone ZooKeeper with every four-letter command allowed."""
    lines = [
        "tickTime=1000",
        f"dataDir={data}",
        f"clientPort={port}",
        f"clientPortAddress={HOST}",
        "maxClientCnxns=0",
        "admin.enableServer=false",
        "4lw.commands.whitelist=*",
    ]
    return "\n".join([*lines, ""])
