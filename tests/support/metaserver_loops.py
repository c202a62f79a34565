"""Parts of a metaserver in this process: its loops, a store with a pool, a clock to move."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from cachemesh.core.placement import Shard, SlotsPlacement
from cachemesh.core.pool.document import PoolDocument
from cachemesh.local import LocalStack
from metaserver.domain.audit_log import NewEvent
from metaserver.process.config import Config, RedisAuth
from metaserver.redis_io.allowed_networks import AllowedNetworks
from metaserver.redis_io.sentinel_group import SentinelGroup
from metaserver.store.sqlite import SqliteStore
from tests.support.waiting import AT_MOST, until

NETWORKS = AllowedNetworks(["127.0.0.0/8", "::1/128"])


class Loop(Protocol):
    """A background loop of the metaserver."""

    def run(self, stop: threading.Event) -> None: ...


class Clock:
    """A monotonic clock that the test moves.

    Attributes:
        now: seconds.
        looks: how often the clock was read.
    """

    def __init__(self) -> None:
        self.now = 1000.0
        self.looks = 0

    def __call__(self) -> float:
        self.looks += 1
        return self.now

    def look(self, times: int = 10) -> None:
        """Wait until the clock has been read so many times more."""
        target = self.looks + times
        until(lambda: self.looks >= target)


@contextmanager
def running(loop: Loop) -> Iterator[None]:
    """Run a loop on a thread for the block; assert that the loop stops soon afterwards."""
    stop = threading.Event()
    thread = threading.Thread(target=loop.run, args=(stop,))
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(AT_MOST)
    assert not thread.is_alive()


def config(directory: Path) -> Config:
    """Return a metaserver's configuration with short intervals."""
    return Config(
        db=directory / "meta.db",
        instance_timeout=1.0,
        status_interval=0.2,
        repair_interval=0.2,
        sweep_interval=0.1,
    )


def masters(stack: LocalStack) -> dict[str, str]:
    """Return shard -> "host:port" of its master, as the stack was started."""
    return {shard["name"]: shard["master"] for shard in stack.info["shards"]}


def create_pool(store: SqliteStore, stack: LocalStack, *, version: int = 1) -> PoolDocument:
    """Store a pool of the stack's shards, and their masters; return its document."""
    at = {name: stack.master_of(name) for name in masters(stack)}
    document = PoolDocument(
        pool="cache",
        version=version,
        placement=SlotsPlacement.even([Shard(name) for name in at]),
        sentinels=tuple(stack.info["sentinels"]),
    )
    stored = store.create_document(document, NewEvent("pool.create", pool="cache"))
    assert stored is not None
    for name, address in at.items():
        store.remember_master("cache", name, address)
    return stored


@contextmanager
def store_with_pool(directory: Path, stack: LocalStack) -> Iterator[SqliteStore]:
    """Open a new store with a pool of the stack's shards, for the block."""
    store = SqliteStore(directory / "meta.db")
    try:
        create_pool(store, stack)
        yield store
    finally:
        store.close()


def sentinels(stack: LocalStack) -> SentinelGroup:
    """Return the metaserver's client of the stack's Sentinels."""
    return SentinelGroup(stack.info["sentinels"], NETWORKS, RedisAuth())


def actions(store: SqliteStore, target: str | None = None) -> list[str]:
    """Return the actions in the audit log, oldest first; of one target if one is given."""
    events = reversed(store.events(limit=1000))
    return [event.action for event in events if target is None or event.target == target]
