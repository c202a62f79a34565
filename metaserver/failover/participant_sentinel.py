"""A Sentinel that takes part in a planned failover of a shard, and the commands that it gets.

No command tells which replica a Sentinel would choose, only its rule does: no replica that is down
or has priority 0; of the others that with the lowest priority, then the highest offset, then the
lowest run id, all as of the Sentinel's last INFO.

Source: https://redis.io/docs/latest/operate/oss_and_stack/management/sentinel/, "Replica selection
and priority".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from cachemesh.core.names import parse_address
from metaserver.domain.info_fields import by_address, number
from metaserver.process.config import RedisAuth
from metaserver.redis_io.allowed_networks import AllowedNetworks
from metaserver.redis_io.bounded_connection import BoundedConnection
from metaserver.redis_io.reply_parsers import (
    NotRedisError,
    parse_fields,
    parse_master,
    parse_pairs,
    parse_rows,
    row_address,
    row_flags,
    word,
)
from metaserver.redis_io.resp import LARGE

TIMEOUT = "failover-timeout"  # in ms; Sentinel gives up a promotion that takes longer

INFO_PERIOD = 10.0  # seconds between two INFO of a Sentinel to a replica; 1 s during a failover
PHASE = (0.68, 0.75)
"""The age, in seconds, that a Sentinel's last INFO of the replica has when a failover begins well.

The promotion comes 0.13 to 0.25 s later, and the next INFO when the last is over 1 s old. So the
Sentinel sees the promotion, and announces it, 0.05 to 0.2 s after it happened.
"""

_NOT_CHOSEN = frozenset(("s_down", "o_down", "disconnected"))


@dataclass(frozen=True)
class ReplicaRow:
    """A replica in a reply to SENTINEL REPLICAS.

    Attributes:
        info_age: seconds since the Sentinel's last INFO of the replica.
    """

    address: str
    flags: frozenset[str]
    priority: int
    offset: int
    run_id: str
    info_age: float

    @property
    def eligible(self) -> bool:
        """Whether the Sentinel may choose this replica."""
        return self.priority > 0 and not self.flags & _NOT_CHOSEN

    @classmethod
    def from_fields(cls, fields: Mapping[str, str]) -> ReplicaRow:
        """Return the row with these fields of the reply."""
        return cls(
            address=row_address(fields),
            flags=row_flags(fields),
            priority=number(fields, "slave-priority", missing=100),
            offset=number(fields, "slave-repl-offset"),
            run_id=fields.get("runid", ""),
            info_age=number(fields, "info-refresh") / 1000,
        )


def first_choice(rows: Iterable[ReplicaRow]) -> ReplicaRow | None:
    """Return the replica that a Sentinel would promote; None if it may choose none."""
    eligible = [row for row in rows if row.eligible]
    return min(
        eligible, key=lambda row: (row.priority, -row.offset, row.run_id.lower()), default=None
    )


def seconds_to_phase(info_age: float) -> float:
    """Return the seconds until the last INFO is as old as `PHASE` says; 0 if it is now."""
    low, high = PHASE
    if info_age <= high:
        return max(0.0, low - info_age)
    return max(0.0, INFO_PERIOD - info_age) + low


@dataclass(frozen=True)
class MasterAnnouncement:
    """What a Sentinel announces to the others.

    Attributes:
        identity: the Sentinel's id.
        epoch: the configuration epoch in which the master was chosen.
        master: the shard's master.
    """

    identity: str
    epoch: str
    master: str


class ParticipantSentinel:
    """A Sentinel that takes part; each method raises `redis.RedisError`."""

    def __init__(
        self,
        address: str,
        shard: str,
        networks: AllowedNetworks,
        auth: RedisAuth,
        timeout: float,
    ) -> None:
        self.address = address
        self._shard = shard
        self.connection = BoundedConnection(address, networks, auth, timeout, LARGE)

    def replicas(self) -> tuple[ReplicaRow, ...]:
        """Return the replicas that the Sentinel knows."""
        rows = parse_rows(self.connection.call("SENTINEL", "REPLICAS", self._shard))
        return tuple(map(ReplicaRow.from_fields, by_address(rows).values()))

    def fields(self) -> dict[str, str]:
        """Return the reply to SENTINEL MASTER: flags, failover-timeout, quorum, ..."""
        return parse_pairs(self.connection.call("SENTINEL", "MASTER", self._shard))

    def tilted(self) -> bool:
        """Return whether the Sentinel is in TILT.

        For 30 s after it was held up, a Sentinel answers, and does nothing else.
        """
        fields = parse_fields(self.connection.call("INFO", "sentinel"))
        return fields.get("sentinel_tilt") == "1"

    def in_progress(self) -> bool:
        """Return whether the Sentinel is at a failover of the shard."""
        return "failover_in_progress" in row_flags(self.fields())

    def master(self) -> str | None:
        """Return the master that clients are given; during a failover the promoted one already."""
        return parse_master(
            self.connection.call("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self._shard)
        )

    def fail_over(self) -> None:
        """Begin a failover, without asking other Sentinels."""
        self.connection.call("SENTINEL", "FAILOVER", self._shard)

    def set_timeout(self, milliseconds: int) -> None:
        """Set failover-timeout.

        A Sentinel compares it every 50 to 100 ms: it gives up a promotion that takes longer, and
        after a promotion it no longer waits for the other replicas.
        """
        self.connection.call("SENTINEL", "SET", self._shard, TIMEOUT, milliseconds)

    def announcement(self) -> MasterAnnouncement:
        """Return what the Sentinel is about to announce to the others."""
        identity = word(self.connection.call("SENTINEL", "MYID"))
        master = self.master()
        if master is None:
            raise NotRedisError(f"it does not know {self._shard}")
        return MasterAnnouncement(identity, self.fields().get("config-epoch", "0"), master)

    def receive(self, announcement: MasterAnnouncement) -> None:
        """Pass another Sentinel's announcement on to this one, a moment before that one does.

        A Sentinel takes PUBLISH on its hello channel for the message that Sentinels send each
        other, and believes it if the epoch is newer than its own.
        Source: redis, sentinel.c: sentinelPublishCommand, sentinelSendHello.
        """
        host, port = parse_address(announcement.master)
        for row in parse_rows(self.connection.call("SENTINEL", "SENTINELS", self._shard)):
            if row.get("runid") == announcement.identity:
                sender = f"{row.get('ip')},{row.get('port')},{announcement.identity}"
                epoch = announcement.epoch
                hello = f"{sender},{epoch},{self._shard},{host},{port},{epoch}"
                self.connection.call("PUBLISH", "__sentinel__:hello", hello)

    def reset(self) -> None:
        """Make the Sentinel forget a failover in any state.

        It forgets the replicas and Sentinels that it knows too, and finds them within 10 s.
        """
        self.connection.call("SENTINEL", "RESET", self._shard)
