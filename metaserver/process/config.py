"""The settings of one metaserver process."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

# Loopback only when asked for: there it names this machine, not a cache server.
PRIVATE_NETWORKS = (
    "10.0.0.0/8",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "100.64.0.0/10",
    "fc00::/7",
)


@dataclass(frozen=True)
class RedisAuth:
    """The user name and password for Redis or Sentinel; without both, no AUTH is sent."""

    username: str | None = None
    password: str | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Config:
    """The settings of a metaserver process; every duration is in seconds."""

    db: Path
    host: str = "127.0.0.1"
    port: int = 7700
    token_file: Path | None = None
    allowed_networks: tuple[str, ...] = PRIVATE_NETWORKS
    redis_auth: RedisAuth = field(default_factory=RedisAuth)
    sentinel_auth: RedisAuth = field(default_factory=RedisAuth)
    instance_timeout: float = 2.0  # to connect to an instance, and to wait for each reply
    sentinel_timeout: float = 1.0
    status_interval: float = 1.0  # between two observations of a pool
    repair_interval: float = 5.0
    sweep_interval: float = 0.5  # between two looks for sweeps to do
    intent_age: float = 30.0  # after which an unfinished intent is undone
    lease: float = 30.0  # for which a client counts as live after its last watch call
    events_max: int = 100_000  # entries that the audit log keeps
    events_max_age: float = 365 * 86_400.0  # after which an entry is deleted
    session_timeout: float = 6.0  # without progress, after which a leader has lost the lead
    max_clients: int = 10_000  # live clients of one token, and their calls in progress at once
