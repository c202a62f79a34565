"""The instances and Sentinels that take part in a planned failover, one connection to each."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import redis

from cachemesh.core.reads.replication_status import RoleReply
from metaserver.domain.sentinel_view import majority
from metaserver.failover.participant_instance import ParticipantInstance
from metaserver.failover.participant_sentinel import ParticipantSentinel
from metaserver.process.config import Config
from metaserver.redis_io.allowed_networks import AllowedNetworks
from metaserver.redis_io.bounded_connection import ask_all

if TYPE_CHECKING:
    from typing_extensions import Self  # in typing from Python 3.11 on

T = TypeVar("T")
P = TypeVar("P", ParticipantInstance, ParticipantSentinel)

CALL = 0.5  # seconds that a call may take while writes wait
_AT_ONCE = 16  # host names that are looked up


@dataclass(frozen=True)
class Participants:
    """The master, its replicas and the Sentinels, by address; leaving the context disconnects."""

    shard: str
    master: ParticipantInstance
    replicas: Mapping[str, ParticipantInstance]
    sentinels: Mapping[str, ParticipantSentinel]

    @classmethod
    def from_addresses(
        cls,
        config: Config,
        networks: AllowedNetworks,
        shard: str,
        master: str,
        replicas: Iterable[str],
        sentinels: Iterable[str],
    ) -> Self:
        """Return the participants at these addresses; they are connected when first asked.

        Raises:
            InstanceRejected: an address is outside the allowed networks.
        """

        def instance(address: str) -> ParticipantInstance:
            target = networks.check(address, timeout=config.instance_timeout)
            return ParticipantInstance(address, target, networks, config.redis_auth, CALL)

        with ThreadPoolExecutor(_AT_ONCE) as pool:
            first, *others = pool.map(instance, (master, *replicas))
        return cls(
            shard,
            first,
            {other.address: other for other in others},
            {
                at: ParticipantSentinel(at, shard, networks, config.sentinel_auth, CALL)
                for at in sentinels
            },
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for instance in (self.master, *self.replicas.values()):
            instance.connection.close()
        for sentinel in self.sentinels.values():
            sentinel.connection.close()

    def ask_roles(self) -> dict[str, RoleReply | redis.RedisError]:
        """Ask every replica at once for its role."""
        return _ask_each(self.replicas, ParticipantInstance.ask_role)

    def promoted(self) -> str | None:
        """Return the replica that says that it is a master, if any does."""
        for at, reply in self.ask_roles().items():
            if isinstance(reply, RoleReply) and reply.role == "master":
                return at
        return None

    def ask(self, question: Callable[[ParticipantSentinel], T]) -> dict[str, T | redis.RedisError]:
        """Ask every Sentinel at once."""
        return _ask_each(self.sentinels, question)

    def majority_master(self) -> str | None:
        """Return the master that more than half of all Sentinels name, else None."""
        answers = self.ask(ParticipantSentinel.master).values()
        return majority([None if isinstance(a, redis.RedisError) else a for a in answers])


def _ask_each(
    participants: Mapping[str, P], question: Callable[[P], T]
) -> dict[str, T | redis.RedisError]:
    by_connection = {each.connection: each for each in participants.values()}
    connections = {at: each.connection for at, each in participants.items()}
    return ask_all(connections, lambda connection: question(by_connection[connection]), within=CALL)


def wait_for(condition: Callable[[], T | None], seconds: float, every: float) -> T | None:
    """Poll the condition until it returns something; return that, or None after `seconds`."""
    end = time.monotonic() + seconds
    while True:
        found = condition()
        if found is not None or time.monotonic() >= end:
            return found
        time.sleep(every)
