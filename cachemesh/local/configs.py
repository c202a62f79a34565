"""The texts of the configuration files of redis-server, Sentinel and ZooKeeper."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cachemesh.local.tls import StackTls

from .ports import HOST


def _quoted(path: Path | str) -> str:
    escaped = str(path).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _listening(port: int, tls: StackTls | None) -> list[str]:
    if tls is None:
        return [f"port {port}"]
    certificate, key = tls.server
    return [
        "port 0",
        f"tls-port {port}",
        "tls-replication yes",
        f"tls-ca-cert-file {_quoted(tls.ca)}",
        f"tls-cert-file {_quoted(certificate)}",
        f"tls-key-file {_quoted(key)}",
    ]


def redis_conf(
    port: int,
    data: Path,
    replica_of: tuple[str, int] | None,
    extra: Sequence[str],
    tls: StackTls | None = None,
) -> str:
    """Return the file of a redis-server without persistence, whose replicas attach at once.

    Args:
        port: to listen on, at 127.0.0.1.
        data: the working directory.
        replica_of: host and port of the master; None: the server is a master.
        extra: further lines.
        tls: the certificates of a server that speaks TLS alone.
    """
    lines = [
        f"bind {HOST}",
        *_listening(port, tls),
        *(["tls-cluster yes"] if tls is not None else []),  # MIGRATE speaks TLS with that alone
        "protected-mode yes",
        "daemonize no",
        f"dir {_quoted(data)}",
        'save ""',
        "appendonly no",
        # By default Redis 7 waits 5 s for more replicas before it begins a diskless sync.
        "repl-diskless-sync yes",
        "repl-diskless-sync-delay 0",
        "repl-ping-replica-period 1",
        "repl-timeout 5",
    ]
    if replica_of is not None:
        lines.append(f"replicaof {replica_of[0]} {replica_of[1]}")
    return "\n".join([*lines, *extra, ""])


def sentinel_conf(port: int, data: Path, tls: StackTls | None = None) -> str:
    """Return the file of a Sentinel that monitors nothing yet; Sentinel rewrites the file."""
    lines = [
        f"bind {HOST}",
        *_listening(port, tls),
        "protected-mode yes",
        "daemonize no",
        f"dir {_quoted(data)}",
    ]
    return "\n".join([*lines, ""])


def zoo_cfg(port: int, data: Path) -> str:
    """Return the file of a standalone ZooKeeper that allows every four-letter command."""
    lines = [
        "tickTime=1000",
        "snapCount=10000",
        "autopurge.purgeInterval=1",
        f"dataDir={data}",
        f"clientPort={port}",
        f"clientPortAddress={HOST}",
        "maxClientCnxns=0",
        "admin.enableServer=false",
        "4lw.commands.whitelist=*",
    ]
    return "\n".join([*lines, ""])
