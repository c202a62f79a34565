"""What a workload asks of a peer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from benchmarks.servers import Servers


class Peer(Protocol):
    """A connected client with redis-py's words. Replies are bytes."""

    def load(self, items: Mapping[str, bytes]) -> None:
        """Store what the workloads read."""

    def get(self, key: str) -> bytes | None:
        """GET."""

    def mget(self, keys: Sequence[str]) -> Sequence[bytes | None]:
        """MGET, in the order of ``keys``."""

    def close(self) -> None:
        """Close every connection."""


Connect = Callable[[Servers], Peer]
