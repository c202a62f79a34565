"""The options of a local stack, checked, and what follows from them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cachemesh.core.errors import LocalStackError
from cachemesh.core.names import check_new_pool_name

_PER_INSTANCE = 0.25
"""Seconds added for each instance: a hundred take ten to start and to be known to Sentinel."""
LIMITS = {
    "shards": (1, 1024),
    "replicas": (0, 8),
    "sentinels": (1, 9),
    "metaservers": (0, 8),
    "spares": (0, 1024),
    "down_after_ms": (50, 600_000),
    "maxmemory": (0, 1024 * 1024),
}


@dataclass(frozen=True)
class StackOptions:
    """The options of a stack; `LocalStack` explains each.

    Raises:
        LocalStackError, InvalidDocumentError: a value is out of bounds.
    """

    shards: int = 3
    replicas: int = 1
    sentinels: int = 3
    metaservers: int = 1
    dashboard: bool = True
    zookeeper: bool | str = False
    tls: bool = False
    spares: int = 0
    pool: str = "cache"
    directory: Path | None = None
    down_after_ms: int = 1000
    port: int | None = None
    dashboard_port: int | None = None
    timeout: float = 120.0
    maxmemory: int = 0

    def __post_init__(self) -> None:
        for name, (low, high) in LIMITS.items():
            if not low <= getattr(self, name) <= high:
                raise LocalStackError(f"{name} is {getattr(self, name)}; it takes {low} to {high}")
        check_new_pool_name(self.pool)

    @property
    def instances(self) -> int:
        """The number of redis-servers that hold data."""
        return (self.shards + self.spares) * (1 + self.replicas)

    @property
    def redis_lines(self) -> list[str]:
        """Further lines of the instances' configuration."""
        if not self.maxmemory:
            return []
        return [f"maxmemory {self.maxmemory}mb", "maxmemory-policy allkeys-lru"]

    @property
    def step_timeout(self) -> float:
        """Seconds that each step of the start may take."""
        return self.timeout + _PER_INSTANCE * self.instances

    @property
    def shard_names(self) -> list[str]:
        """The names of the pool's shards."""
        return [f"{self.pool}-{number}" for number in range(self.shards)]

    @property
    def spare_names(self) -> list[str]:
        """The names of the shards outside the pool."""
        return [f"spare-{number}" for number in range(1, self.spares + 1)]
