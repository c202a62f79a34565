"""What a contender is: a client for a site, blocking or for asyncio."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, Protocol

from benchmarks.failover.site import Site


class Client(Protocol):
    """Shared by threads."""

    def call(self, shard: str, *words: str) -> Any:
        """Send one command with a key of that shard; its reply as the client gives it."""

    def close(self) -> None:
        """Hang up."""


class AsyncClient(Protocol):
    """Shared by tasks."""

    async def call(self, shard: str, *words: str) -> Any:
        """As `Client.call`."""

    async def close(self) -> None:
        """Hang up."""


class Contender(ABC):
    """Makes blocking clients.

    Attributes:
        name: as the table shows it.
        ours: whether it is CacheMesh.
    """

    name: str
    ours: bool

    @abstractmethod
    def connect(self, site: Site, **options: Any) -> Client:
        """A client with the default options of its maker, but for ``options``."""


class AsyncContender(ABC):
    """Makes clients for asyncio; attributes as those of `Contender`."""

    name: str
    ours: bool

    @abstractmethod
    async def connect(self, site: Site, **options: Any) -> AsyncClient:
        """As `Contender.connect`, on the running loop."""
