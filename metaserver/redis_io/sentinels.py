"""The Sentinels of a pool: what they monitor, what they see, and telling them.

Commands: https://redis.io/docs/latest/operate/oss_and_stack/management/sentinel/#sentinel-api.
All Sentinels are asked at once, each within the timeout.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import redis

from cachemesh.core.errors import SentinelUnavailableError
from cachemesh.core.names import parse_address
from metaserver.process.config import Config
from metaserver.redis_io.allowed_networks import AllowedNetworks
from metaserver.redis_io.connection import Link, RedisAuth, ask_all, reason_of
from metaserver.redis_io.reply_parsers import (
    integer,
    parse_master,
    parse_pairs,
    parse_rows,
    row_address,
    rows_with_address,
    whole,
    word,
)
from metaserver.redis_io.resp import LARGE

if TYPE_CHECKING:
    from typing_extensions import Self  # in typing from Python 3.11 on

DEFAULT_OPTIONS: Mapping[str, str] = {
    "down-after-milliseconds": "5000",
    "failover-timeout": "60000",
    "parallel-syncs": "1",
}
"""What a shard is registered with when no other shard of the pool shows the way."""


@dataclass(frozen=True)
class Outcome:
    """Which Sentinels did it, and why the others did not (by address)."""

    done: tuple[str, ...]
    failed: Mapping[str, str]

    @property
    def majority(self) -> bool:
        """True if more than half of the Sentinels did it."""
        return len(self.done) > len(self.failed)


@dataclass(frozen=True)
class ShardView:
    """What one Sentinel says about one shard.

    `flags` are those of SENTINEL MASTER; `usable` is SENTINEL CKQUORUM's verdict, `detail` its
    words; `sentinels` counts this one and the others it knows.
    """

    master: str
    run_id: str
    flags: frozenset[str]
    quorum: int
    sentinels: int
    usable: bool
    detail: str
    replicas: tuple[str, ...]
    options: Mapping[str, str]


@dataclass(frozen=True)
class SentinelView:
    """What one Sentinel says; `error` is None if it answers. A shard it does not know is absent."""

    address: str
    error: str | None = None
    shards: Mapping[str, ShardView] = field(default_factory=dict)


class Sentinels:
    """The Sentinels at `addresses` ("host:port"); `timeout` in seconds bounds each call.

    One that lies outside the networks counts as one that does not answer.
    """

    def __init__(
        self,
        addresses: Sequence[str],
        networks: AllowedNetworks,
        auth: RedisAuth,
        *,
        timeout: float = 1.0,
    ) -> None:
        self.addresses = tuple(addresses)
        self._timeout = timeout
        self._links = {
            address: Link(address, networks, auth, timeout, LARGE) for address in self.addresses
        }

    @classmethod
    def of(cls, config: Config, networks: AllowedNetworks, addresses: Sequence[str]) -> Self:
        """Those at these addresses, with the user name, password and timeout of the config."""
        auth = config.sentinel_auth
        return cls(addresses, networks, auth, timeout=config.sentinel_timeout)

    def __repr__(self) -> str:
        return f"Sentinels({', '.join(self.addresses)})"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def default_quorum(self) -> int:
        """The smallest majority."""
        return len(self.addresses) // 2 + 1

    def close(self) -> None:
        """Close every connection; the next call opens them again."""
        for link in self._links.values():
            link.close()

    def register(
        self,
        shard: str,
        master: str,
        quorum: int,
        instance_auth: RedisAuth,
        options: Mapping[str, str] | None = None,
        *,
        only: Iterable[str] | None = None,
    ) -> Outcome:
        """Have every Sentinel (or those in `only`) monitor a shard at `master`. Idempotent.

        MONITOR and SET travel in one write; where SET fails after MONITOR, the shard is removed
        again. A Sentinel that monitors the name elsewhere counts as failed and is left alone.
        """
        settings = {"quorum": str(quorum), **(DEFAULT_OPTIONS if options is None else options)}
        if instance_auth.password is not None:
            settings["auth-pass"] = instance_auth.password
            if instance_auth.username is not None:
                settings["auth-user"] = instance_auth.username
        words = [word for pair in settings.items() for word in pair]
        host, port = parse_address(master)
        monitor = ("SENTINEL", "MONITOR", shard, host, port, quorum)
        set_all = ("SENTINEL", "SET", shard, *words)

        def ask(link: Link) -> None:
            current = _master_of(link, shard)
            if current is None:
                _raise_first(link, shard, link.call_all([monitor, set_all]))
            elif current == master:
                link.call(*set_all)
            else:
                raise redis.ResponseError(f"it monitors {shard} at {current}, not at {master}")

        return self._tell(ask, only)

    def unregister(
        self, shard: str, *, only: Iterable[str] | None = None, master: str | None = None
    ) -> Outcome:
        """Have every Sentinel (or those in `only`) forget a shard. Idempotent.

        With `master`, a shard of that name that never had this master is left alone.
        """

        def ask(link: Link) -> None:
            current = _master_of(link, shard)
            if current is not None and master in (None, current, *_replicas(link, shard)):
                link.call("SENTINEL", "REMOVE", shard)

        return self._tell(ask, only)

    def master_of(self, shard: str) -> str | None:
        """The shard's master as most of the Sentinels that answer say; None if they do not."""
        answers = ask_all(
            self._links, lambda link: _master_of(link, shard), within=self._timeout
        ).values()
        said = [answer for answer in answers if not isinstance(answer, redis.RedisError)]
        return majority(said)

    def monitored(self) -> dict[str, str]:
        """What is monitored: shard -> master, of all Sentinels that answer together.

        Where they differ, the address that most of them give.

        Raises:
            SentinelUnavailableError: none answers.
        """
        answers = ask_all(self._links, _monitored, within=self._timeout)
        tables = [table for table in answers.values() if not isinstance(table, redis.RedisError)]
        if not tables:
            reasons = "; ".join(
                f"{address}: {reason_of(answer)}"
                for address, answer in answers.items()
                if isinstance(answer, redis.RedisError)
            )
            raise SentinelUnavailableError(
                f"No Sentinel answers ({reasons or 'the pool names none'}); start one of them"
            )
        votes: dict[str, Counter[str]] = {}
        for table in tables:
            for shard, address in table.items():
                votes.setdefault(shard, Counter())[address] += 1
        return {shard: count.most_common(1)[0][0] for shard, count in votes.items()}

    def views(self, shards: Sequence[str]) -> dict[str, SentinelView]:
        """What each Sentinel says about these shards, by its address."""
        answers = ask_all(self._links, lambda link: _views(link, shards), within=self._timeout)
        return {
            address: SentinelView(address, error=reason_of(answer))
            if isinstance(answer, redis.RedisError)
            else SentinelView(address, shards=answer)
            for address, answer in answers.items()
        }

    def options_of(self, shard: str) -> dict[str, str] | None:
        """The options a shard is monitored with, to give another the same; None if unknown."""
        for view in self.views([shard]).values():
            if shard in view.shards:
                return dict(view.shards[shard].options)
        return None

    def _tell(self, ask: Any, only: Iterable[str] | None) -> Outcome:
        links = self._links if only is None else {a: self._links[a] for a in only}
        answers = ask_all(links, ask, within=self._timeout)
        failed = {
            address: reason_of(answer)
            for address, answer in answers.items()
            if isinstance(answer, redis.RedisError)
        }
        return Outcome(tuple(a for a in links if a not in failed), failed)


def majority(said: Sequence[str | None]) -> str | None:
    """The address that more than half of the answers give, else None."""
    if not said:
        return None
    address, votes = Counter(said).most_common(1)[0]
    return address if votes * 2 > len(said) else None


def _master_of(link: Link, shard: str) -> str | None:
    return parse_master(link.call("SENTINEL", "GET-MASTER-ADDR-BY-NAME", shard))


def _monitored(link: Link) -> dict[str, str]:
    rows = parse_rows(link.call("SENTINEL", "MASTERS"))
    return {row.get("name", ""): row_address(row) for row in rows}


def _replicas(link: Link, shard: str) -> tuple[str, ...]:
    return _addresses(link.call("SENTINEL", "REPLICAS", shard))


def _addresses(rows: object) -> tuple[str, ...]:
    return tuple(rows_with_address(parse_rows(rows)))


def _raise_first(link: Link, shard: str, replies: Sequence[object]) -> None:
    """Raise the first error among the replies to MONITOR and SET; undo a MONITOR without SET."""
    monitored, tuned = replies
    if isinstance(monitored, redis.RedisError):
        raise monitored
    if isinstance(tuned, redis.RedisError):
        link.call("SENTINEL", "REMOVE", shard)
        raise tuned


_ASKED = ("GET-MASTER-ADDR-BY-NAME", "MASTER", "CKQUORUM", "REPLICAS")
_SHARDS_AT_ONCE = 16
"""Shards that are asked about in one write: each has 2.5 KiB to say, and one more a replica."""


def _views(link: Link, shards: Sequence[str]) -> dict[str, ShardView]:
    """All questions about all shards."""
    if not shards:
        link.call("PING")
    views: dict[str, ShardView] = {}
    for first in range(0, len(shards), _SHARDS_AT_ONCE):
        views |= _views_of(link, shards[first : first + _SHARDS_AT_ONCE])
    return views


def _views_of(link: Link, shards: Sequence[str]) -> dict[str, ShardView]:
    replies = link.call_all([("SENTINEL", what, shard) for shard in shards for what in _ASKED])
    views = {}
    for index, shard in enumerate(shards):
        at, master, quorum, replicas = replies[4 * index : 4 * index + 4]
        if isinstance(at, redis.ResponseError):
            raise at  # no Sentinel at all, or not one that lets us ask
        address = parse_master(at)
        if address is None or redis.ResponseError in map(type, (master, replicas)):
            continue  # it does not know the shard, or was just told to forget it
        views[shard] = _shard_view(address, parse_pairs(master), quorum, replicas)
    return views


def _shard_view(
    address: str, master: Mapping[str, str], quorum: object, replicas: object
) -> ShardView:
    return ShardView(
        # During a failover this is the promoted replica already, unlike SENTINEL MASTER's ip.
        master=address,
        run_id=master.get("runid", ""),
        flags=frozenset(master.get("flags", "").split(",")),
        quorum=whole(master.get("quorum", "0")),
        sentinels=whole(master.get("num-other-sentinels", "0")) + 1,
        usable=not isinstance(quorum, redis.RedisError),
        detail=reason_of(quorum) if isinstance(quorum, redis.RedisError) else word(quorum),
        replicas=_addresses(replicas),
        options={
            name: master[name]
            for name in DEFAULT_OPTIONS
            if integer(master.get(name, "")) is not None
        },
    )
