"""One Sentinel and one shard, as a planned failover needs them.

Which replica Sentinel chooses is not in its commands but in its rule: no replica that is down or
has priority 0, then the lowest priority, the highest offset, the lowest run id, all as of its last
INFO (https://redis.io/docs/latest/operate/oss_and_stack/management/sentinel/, "Replica selection
and priority").
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from cachemesh.core.names import parse_address
from metaserver.redis_io.allowed_networks import AllowedNetworks
from metaserver.redis_io.connection import Link, RedisAuth
from metaserver.redis_io.reply_parsers import (
    NotRedisError,
    number,
    parse_fields,
    parse_master,
    parse_pairs,
    parse_rows,
    row_address,
    rows_with_address,
    word,
)
from metaserver.redis_io.resp import LARGE

TIMEOUT = "failover-timeout"  # in ms; Sentinel gives up a promotion that takes longer

INFO_PERIOD = 10.0  # seconds between two INFO of a Sentinel to a replica; 1 s during a failover
PHASE = (0.68, 0.75)
"""The age, in seconds, that a Sentinel's last INFO of the replica has when a failover begins well.

The promotion comes 0.13 to 0.25 s later, and the next INFO when the last is over 1 s old. So the
Sentinel sees the promotion, which it then tells everybody, 0.05 to 0.2 s after it happened.
"""

_NOT_CHOSEN = frozenset(("s_down", "o_down", "disconnected"))


@dataclass(frozen=True)
class Row:
    """What SENTINEL REPLICAS says of one replica; `info_age` in seconds."""

    address: str
    flags: frozenset[str]
    priority: int
    offset: int
    run_id: str
    info_age: float

    @property
    def eligible(self) -> bool:
        """Whether this Sentinel may choose it."""
        return self.priority > 0 and not self.flags & _NOT_CHOSEN

    @classmethod
    def of(cls, fields: Mapping[str, str]) -> Row:
        """From one entry of the reply."""
        return cls(
            address=row_address(fields),
            flags=frozenset(fields.get("flags", "").split(",")),
            priority=number(fields, "slave-priority", missing=100),
            offset=number(fields, "slave-repl-offset"),
            run_id=fields.get("runid", ""),
            info_age=number(fields, "info-refresh") / 1000,
        )


def first_choice(rows: Iterable[Row]) -> Row | None:
    """The replica that Sentinel would promote; None if it has none to choose."""
    eligible = [row for row in rows if row.eligible]
    return min(
        eligible, key=lambda row: (row.priority, -row.offset, row.run_id.lower()), default=None
    )


def seconds_to_phase(info_age: float) -> float:
    """How long until the last INFO is as old as `PHASE` wants it; 0 if it is."""
    low, high = PHASE
    if info_age <= high:
        return max(0.0, low - info_age)
    return max(0.0, INFO_PERIOD - info_age) + low


@dataclass(frozen=True)
class News:
    """Whom a Sentinel of this `identity` has for the master, and the `epoch` of that."""

    identity: str
    epoch: str
    master: str


class Watcher:
    """The Sentinel at `address`, asked about `shard`; each method raises `redis.RedisError`."""

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
        self.link = Link(address, networks, auth, timeout, LARGE)

    def replicas(self) -> tuple[Row, ...]:
        """The replicas it knows."""
        rows = parse_rows(self.link.call("SENTINEL", "REPLICAS", self._shard))
        return tuple(map(Row.of, rows_with_address(rows).values()))

    def fields(self) -> dict[str, str]:
        """What SENTINEL MASTER says: flags, failover-timeout, quorum, ..."""
        return parse_pairs(self.link.call("SENTINEL", "MASTER", self._shard))

    def tilted(self) -> bool:
        """Whether it is in TILT: for 30 s after it was held up it answers, and does nothing."""
        fields = parse_fields(self.link.call("INFO", "sentinel"))
        return fields.get("sentinel_tilt") == "1"

    def in_progress(self) -> bool:
        """Whether it is at a failover."""
        return "failover_in_progress" in self.fields().get("flags", "").split(",")

    def master(self) -> str | None:
        """The master as clients are told; during a failover the promoted one already."""
        return parse_master(self.link.call("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self._shard))

    def fail_over(self) -> None:
        """Begin a failover, without asking other Sentinels."""
        self.link.call("SENTINEL", "FAILOVER", self._shard)

    def set_timeout(self, milliseconds: int) -> None:
        """Set failover-timeout.

        Sentinel compares it at each of its ticks (50 to 100 ms): a promotion that it waits for
        longer is given up, and once one is seen, so is waiting for the other replicas.
        """
        self.link.call("SENTINEL", "SET", self._shard, TIMEOUT, milliseconds)

    def news(self) -> News:
        """What it is about to tell the other Sentinels: its master, and since which epoch."""
        identity = word(self.link.call("SENTINEL", "MYID"))
        master = self.master()
        if master is None:
            raise NotRedisError(f"it does not know {self._shard}")
        return News(identity, self.fields().get("config-epoch", "0"), master)

    def hear(self, news: News) -> None:
        """Let it know what another Sentinel says, as that one will itself a moment later.

        A Sentinel takes PUBLISH on its hello channel for the message that Sentinels send each
        other (redis, sentinel.c: sentinelPublishCommand, sentinelSendHello), and believes it as
        far as the epoch is newer than what it knows.
        """
        host, port = parse_address(news.master)
        for row in parse_rows(self.link.call("SENTINEL", "SENTINELS", self._shard)):
            if row.get("runid") == news.identity:
                sender = f"{row.get('ip')},{row.get('port')},{news.identity}"
                hello = f"{sender},{news.epoch},{self._shard},{host},{port},{news.epoch}"
                self.link.call("PUBLISH", "__sentinel__:hello", hello)

    def reset(self) -> None:
        """Make it forget a failover in whatever state, with the replicas and Sentinels it knows;
        it finds them again within 10 s."""
        self.link.call("SENTINEL", "RESET", self._shard)
