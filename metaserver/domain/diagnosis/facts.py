"""What is known of a pool's instances and Sentinels. None of it is a secret.

Every address is "host:port". What is not known is None or absent: no rule takes that for a fault.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

from cachemesh.core.names import parse_address
from cachemesh.core.pool.document import PoolDocument
from metaserver.domain.info_fields import number

DOWN = frozenset(("s_down", "o_down", "disconnected"))
"""Flags of an instance that a Sentinel does not reach."""
SET = "set"
"""What stands in `InstanceFacts.settings` for a secret that is set."""


@dataclass(frozen=True)
class InstanceFacts:
    """What one instance says about itself.

    Attributes:
        shard: the shard that it belongs to.
        error: why it says nothing; None if it answers.
        info: the fields of INFO.
        settings: parameter -> its value, of CONFIG GET; of a secret only whether it is `SET`.
        refused: why CONFIG GET is refused; None if it is not.
        lacking: ACL right that the metaserver's user lacks -> the command that was refused.
        unknown: commands that the server does not know by their names.
        anybody: whether the server obeys somebody who has not logged in; None if that is not known.
        clock: seconds that its clock is ahead of the metaserver's.
        clock_within: seconds by which that may be wrong.
    """

    address: str
    shard: str
    error: str | None = None
    info: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, str] = field(default_factory=dict)
    refused: str | None = None
    lacking: Mapping[str, str] = field(default_factory=dict)
    unknown: tuple[str, ...] = ()
    anybody: bool | None = None
    clock: float | None = None
    clock_within: float = 0.0

    @property
    def host(self) -> str:
        """The host that it is at."""
        return parse_address(self.address).host

    @property
    def maxmemory(self) -> int | None:
        """Bytes that it may use for data; 0 for no bound; None if that is not known."""
        return number(self.info, "maxmemory") if "maxmemory" in self.info else None


@dataclass(frozen=True)
class KnownInstance:
    """A replica or another Sentinel as a Sentinel knows it.

    Attributes:
        run_id: its id; "" if it is not known.
        flags: in Sentinel's words, such as "s_down".
    """

    address: str
    run_id: str = ""
    flags: frozenset[str] = frozenset()

    @property
    def is_down(self) -> bool:
        """Whether it does not answer the Sentinel."""
        return bool(self.flags & DOWN)


@dataclass(frozen=True)
class MonitoredFacts:
    """What one Sentinel says about one shard.

    Attributes:
        master: as it tells clients.
        flags: those of SENTINEL MASTER.
        options: numbers of SENTINEL MASTER by name, such as "quorum".
        sentinels: the other Sentinels that it knows for the shard.
        replicas: those that it knows.
    """

    master: str
    flags: frozenset[str] = frozenset(("master",))
    options: Mapping[str, int] = field(default_factory=dict)
    sentinels: tuple[KnownInstance, ...] = ()
    replicas: tuple[KnownInstance, ...] = ()

    @property
    def quorum(self) -> int | None:
        """How many Sentinels have to take the master for down."""
        return self.options.get("quorum")


@dataclass(frozen=True)
class SentinelFacts:
    """What one Sentinel of the pool says.

    Attributes:
        error: why it says nothing; None if it answers.
        run_id: its id.
        info: the fields of INFO.
        shards: by name; shards that it does not know are absent.
        lacking: as of `InstanceFacts`.
    """

    address: str
    error: str | None = None
    run_id: str = ""
    info: Mapping[str, str] = field(default_factory=dict)
    shards: Mapping[str, MonitoredFacts] = field(default_factory=dict)
    lacking: Mapping[str, str] = field(default_factory=dict)

    @property
    def host(self) -> str:
        """The host that it is at."""
        return parse_address(self.address).host


@dataclass(frozen=True)
class PoolFacts:
    """Everything that rules look at.

    Attributes:
        sentinels: those that the document names.
        instances: masters and replicas.
        busy: shards on which work goes on, so that they are not judged.
        user: the metaserver's user at the instances, for commands to type.
        sentinel_user: the same at the Sentinels.
        token_file: the metaserver's own token file.
        token_file_mode: its permission bits; None if that is not known.
    """

    document: PoolDocument
    sentinels: tuple[SentinelFacts, ...] = ()
    instances: tuple[InstanceFacts, ...] = ()
    busy: frozenset[str] = frozenset()
    user: str = "default"
    sentinel_user: str = "default"
    token_file: str = ""
    token_file_mode: int | None = None

    def without(self, busy: Collection[str]) -> PoolFacts:
        """Return the facts with shards that are not judged."""
        kept = [name for name in self.document.placement.names if name in busy]
        return replace(self, busy=frozenset(kept))

    @cached_property
    def shards(self) -> tuple[str, ...]:
        """The shards that are judged, in the document's order."""
        return tuple(name for name in self.document.placement.names if name not in self.busy)

    @cached_property
    def answering(self) -> tuple[InstanceFacts, ...]:
        """The instances that answer, of shards that are judged."""
        judged = set(self.shards)
        return tuple(at for at in self.instances if at.error is None and at.shard in judged)

    @cached_property
    def awake(self) -> tuple[SentinelFacts, ...]:
        """The Sentinels that answer."""
        return tuple(each for each in self.sentinels if each.error is None)

    @cached_property
    def outsiders(self) -> frozenset[str]:
        """The ids of Sentinels that ours know, that answer these, and that no document names.

        There are none while one of the pool's does not answer: it would be taken for one.
        """
        ours = {each.run_id for each in self.awake if each.run_id}
        if len(ours) < len(self.sentinels):
            return frozenset()
        views = [seen for each in self.awake for seen in each.shards.values()]
        known = {other for seen in views for other in seen.sentinels}
        return frozenset(at.run_id for at in known if at.run_id and not at.is_down) - ours

    @property
    def voters(self) -> int:
        """How many Sentinels vote."""
        return len(self.sentinels) + len(self.outsiders)

    @property
    def majority(self) -> int:
        """How many Sentinels are more than half of those that vote."""
        return self.voters // 2 + 1

    def views(self, shard: str) -> Iterator[tuple[SentinelFacts, MonitoredFacts]]:
        """Yield each Sentinel that monitors a shard, and what it says of the shard."""
        for each in self.awake:
            if shard in each.shards:
                yield each, each.shards[shard]

    def master_of(self, shard: str) -> str | None:
        """Return the master that most Sentinels name, None if none does."""
        votes = Counter(seen.master for _, seen in self.views(shard))
        return votes.most_common(1)[0][0] if votes else None

    def master(self, shard: str) -> InstanceFacts | None:
        """Return the facts of a shard's master, None if it does not answer."""
        at = self.master_of(shard)
        return next((each for each in self.of(shard) if each.address == at), None)

    def of(self, shard: str) -> list[InstanceFacts]:
        """Return the instances of a shard that answer."""
        return [each for each in self.answering if each.shard == shard]

    def replicas(self, shard: str) -> list[InstanceFacts]:
        """Return the replicas of a shard that answer."""
        at = self.master_of(shard)
        return [each for each in self.of(shard) if each.address != at]

    def addresses(self, shard: str) -> list[str]:
        """Return all instances of a shard that are known, also those that do not answer."""
        return [each.address for each in self.instances if each.shard == shard]

    @cached_property
    def hosts(self) -> frozenset[str]:
        """The hosts of the pool's instances and Sentinels."""
        return frozenset(
            (*(each.host for each in self.instances), *(each.host for each in self.sentinels))
        )

    @property
    def is_on_this_machine(self) -> bool:
        """Whether all of it is at one loopback address: a stack for development."""
        return len(self.hosts) == 1 and is_loopback(next(iter(self.hosts)))


def is_loopback(host: str) -> bool:
    """Return whether a host means, on each machine, that machine itself."""
    return host.startswith("127.") or host in ("localhost", "::1")
