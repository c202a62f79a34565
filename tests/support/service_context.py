"""What the services of a metaserver work with, on a store alone: no instance answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from metaserver.process.config import Config
from metaserver.redis_io.allowed_networks import AllowedNetworks
from metaserver.service.context import ServiceContext
from metaserver.store import Store


class _NoStatus:
    def status(self, pool: str) -> dict[str, Any]:
        raise AssertionError(f"nobody is to ask for the status of {pool}")


def context_of(store: Store) -> ServiceContext:
    """Return a context without a monitor, whose changes wake nobody."""
    config = Config(Path("none"))
    return ServiceContext(store, config, AllowedNetworks(()), _NoStatus(), lambda: None)
