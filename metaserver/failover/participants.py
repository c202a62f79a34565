"""Everybody who takes part in a planned failover, each on a connection of its own."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import redis

from metaserver.failover.participant_instance import Instance, Standing
from metaserver.failover.participant_sentinel import Watcher
from metaserver.process.config import Config
from metaserver.redis_io.allowed_networks import AllowedNetworks
from metaserver.redis_io.connection import ask_all
from metaserver.redis_io.sentinels import majority

if TYPE_CHECKING:
    from typing_extensions import Self  # in typing from Python 3.11 on

T = TypeVar("T")

CALL = 0.5  # seconds that a call may take while writes wait


@dataclass(frozen=True)
class Side:
    """The master, its replicas and the Sentinels, by address; close it."""

    shard: str
    master: Instance
    replicas: Mapping[str, Instance]
    watchers: Mapping[str, Watcher]

    @classmethod
    def of(
        cls,
        config: Config,
        networks: AllowedNetworks,
        shard: str,
        master: str,
        replicas: Iterable[str],
        sentinels: Iterable[str],
    ) -> Self:
        """Nothing is connected yet.

        Raises:
            InstanceRejected: an address that is not in the networks.
        """

        def instance(address: str) -> Instance:
            target = networks.check(address, timeout=config.instance_timeout)
            return Instance(address, target, networks, config.redis_auth, CALL)

        first, *others = at_once(partial(instance, at) for at in (master, *replicas))
        return cls(
            shard,
            first,
            {other.address: other for other in others},
            {at: Watcher(at, shard, networks, config.sentinel_auth, CALL) for at in sentinels},
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for instance in (self.master, *self.replicas.values()):
            instance.link.close()
        for watcher in self.watchers.values():
            watcher.link.close()

    def standings(self) -> dict[str, Standing | redis.RedisError]:
        """How each replica stands, asked at once."""
        by_link = {replica.link: replica for replica in self.replicas.values()}
        links = {at: replica.link for at, replica in self.replicas.items()}
        return ask_all(links, lambda link: by_link[link].standing(), within=CALL)

    def promoted(self) -> str | None:
        """The replica that says it is a master, if any does."""
        for at, standing in self.standings().items():
            if isinstance(standing, Standing) and standing.role == "master":
                return at
        return None

    def ask(self, question: Callable[[Watcher], T]) -> dict[str, T | redis.RedisError]:
        """Ask every Sentinel at once."""
        by_link = {watcher.link: watcher for watcher in self.watchers.values()}
        links = {at: watcher.link for at, watcher in self.watchers.items()}
        return ask_all(links, lambda link: question(by_link[link]), within=CALL)

    def said_master(self) -> str | None:
        """The master as more than half of all the Sentinels say."""
        answers = self.ask(Watcher.master).values()
        return majority([None if isinstance(a, redis.RedisError) else a for a in answers])


def at_once(jobs: Iterable[Callable[[], T]]) -> list[T]:
    """Run the jobs at once; the first error is raised when all have ended."""
    with ThreadPoolExecutor(16) as pool:
        return [future.result() for future in [pool.submit(job) for job in jobs]]


def wait_for(condition: Callable[[], T | None], seconds: float, every: float) -> T | None:
    """What the condition returns once that is not None; None if it is not within the time."""
    end = time.monotonic() + seconds
    while True:
        found = condition()
        if found is not None or time.monotonic() >= end:
            return found
        time.sleep(every)
