"""The shards that gain keys in a move: connections to them, and whose turn it is to copy."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import redis

from cachemesh.core.migration.pull import Link
from metaserver.process.config import Config
from metaserver.redis_io.allowed_networks import AllowedNetworks
from metaserver.redis_io.bounded_connection import BoundedConnection
from metaserver.redis_io.client_list import LISTED
from metaserver.redis_io.pull_link import link_to
from metaserver.redis_io.term_fence import TermFence


class MoveFailedError(redis.RedisError):
    """Keys could not be moved; the move can be begun again."""


class UnreplicatedError(MoveFailedError):
    """Replicas of a shard did not acknowledge.

    Attributes:
        shard: whose replicas.
    """

    def __init__(self, message: str, shard: str) -> None:
        super().__init__(message)
        self.shard = shard


_COPIES = 2  # to a shard at once: while one source reads its keys, another has its own built


@dataclass
class TargetTurns:
    """By which few sources at a time copy keys to a shard; the others serve apps meanwhile."""

    _turns: dict[str, threading.Semaphore] = field(default_factory=dict)

    def of(self, shard: str) -> threading.Semaphore:
        """Return what a source holds while it copies keys to a shard."""
        return self._turns.setdefault(shard, threading.Semaphore(_COPIES))


@dataclass
class Targets:
    """The shards that gain keys, for one source at a time.

    Args:
        term: as of `ResizeShards`.
        masters: shard -> its master.
        replicas: shard -> how many of its replicas have to acknowledge.
        turns: shared by all sources.
    """

    config: Config
    networks: AllowedNetworks
    term: TermFence
    masters: Mapping[str, str]
    replicas: Mapping[str, int]
    turns: TargetTurns
    _connections: dict[str, BoundedConnection] = field(default_factory=dict)

    @contextmanager
    def opened(self) -> Iterator[Targets]:
        """Return the same with connections of its own, for one thread, which are then closed."""
        own = replace(self, _connections={})
        try:
            yield own
        finally:
            for connection in own._connections.values():
                connection.close()

    def connection(self, shard: str) -> BoundedConnection:
        """Return the connection to a shard's master.

        Raises:
            MoveFailedError: nothing tells it.
        """
        if shard not in self._connections:
            auth, timeout = self.config.redis_auth, self.config.instance_timeout
            self._connections[shard] = BoundedConnection(
                self._master(shard), self.networks, auth, timeout, LISTED, self.term.enter
            )
        return self._connections[shard]

    def link(self, source: str, target: str, db: int) -> Link:
        """Return how keys get from one shard to another.

        Raises:
            MoveFailedError: nothing tells the target's master.
        """
        needed = (self.replicas.get(source, 0), self.replicas.get(target, 0))
        return link_to(self._master(target), self.config, *needed, db=db)

    def _master(self, shard: str) -> str:
        master = self.masters.get(shard)
        if master is None:
            raise MoveFailedError(f"nothing tells the master of shard {shard}")
        return master
