"""What one metaserver process is told when it starts."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from metaserver.redis_io.connection import RedisAuth

# Loopback only when asked for: there it names this machine, not a cache server.
PRIVATE_NETWORKS = (
    "10.0.0.0/8",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "100.64.0.0/10",
    "fc00::/7",
)


def _no_auth() -> RedisAuth:
    return RedisAuth(username=None, password=None)


@dataclass(frozen=True)
class Config:
    """Settings of a metaserver process; every duration is in seconds."""

    db: Path
    host: str = "127.0.0.1"
    port: int = 7700
    token_file: Path | None = None
    allowed_networks: tuple[str, ...] = PRIVATE_NETWORKS
    redis_auth: RedisAuth = field(default_factory=_no_auth)
    sentinel_auth: RedisAuth = field(default_factory=_no_auth)
    instance_timeout: float = 2.0  # to connect to an instance, and to wait for each reply
    sentinel_timeout: float = 1.0
    status_interval: float = 1.0  # between two observations of a pool
    repair_interval: float = 5.0
    sweep_interval: float = 0.5  # between two looks for sweeps to do
    intent_age: float = 30.0  # after this an unfinished intent is undone
    lease: float = 30.0  # for how long a client counts as live after its last watch call
    events_max: int = 100_000  # entries that the audit log keeps
    events_max_age: float = 365 * 86_400.0  # after this an entry goes
    max_clients: int = 10_000  # live ones of one token, and their calls under way at once
