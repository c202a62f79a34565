"""What every contender has: it makes a client of a site, blocking or for asyncio."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, Protocol

from benchmarks.failover.site import Site


class ContenderClient(Protocol):
    """A blocking client, which threads share."""

    def call(self, shard: str, *words: str) -> Any:
        """Send one command with a key of a shard, and return its reply."""

    def close(self) -> None:
        """Hang up."""


class AsyncContenderClient(Protocol):
    """A client for asyncio, which tasks share."""

    async def call(self, shard: str, *words: str) -> Any:
        """As `ContenderClient.call`."""

    async def close(self) -> None:
        """Hang up."""


class Contender(ABC):
    """Makes blocking clients.

    Attributes:
        name: in the table.
        ours: whether the client is CacheMesh.
    """

    name: str
    ours: bool

    @abstractmethod
    def connect(self, site: Site, **options: Any) -> ContenderClient:
        """Make a client that has its maker's default options, except for ``options``."""


class AsyncContender(ABC):
    """Makes clients for asyncio; its attributes are those of `Contender`."""

    name: str
    ours: bool

    @abstractmethod
    async def connect(self, site: Site, **options: Any) -> AsyncContenderClient:
        """As `Contender.connect`, on the running loop."""
