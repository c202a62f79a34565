"""The Sentinels of a pool: asking all of them, and registering shards with them.

All Sentinels are asked at once, each within the timeout; a change may take several times as long.

Commands: https://redis.io/docs/latest/operate/oss_and_stack/management/sentinel/#sentinel-api.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import redis

from cachemesh.core.errors import SentinelUnavailableError
from cachemesh.core.hidden_secrets import hiding
from cachemesh.core.names import parse_address
from metaserver.domain.sentinel_view import SentinelView, majority
from metaserver.process.config import Config, RedisAuth
from metaserver.redis_io.allowed_networks import AllowedNetworks
from metaserver.redis_io.bounded_connection import BoundedConnection, ask_all, reason_of
from metaserver.redis_io.late_answers import LateAnswers
from metaserver.redis_io.reply_parsers import word
from metaserver.redis_io.resp import LARGE
from metaserver.redis_io.sentinel_replies import (
    DEFAULT_OPTIONS,
    MonitoredShards,
    master_of,
    masters,
    monitored_shards,
    named_masters,
    replicas_of,
)

if TYPE_CHECKING:
    from typing_extensions import Self  # in typing from Python 3.11 on

_MOMENT = 0.1  # seconds
_OF_A_CHANGE = 5  # times the timeout: a Sentinel has its file on disk before it answers


@dataclass(frozen=True)
class SentinelOutcome:
    """The outcome of a command to several Sentinels.

    Attributes:
        done: addresses of the Sentinels that carried it out.
        failed: address of each other Sentinel -> the reason.
    """

    done: tuple[str, ...]
    failed: Mapping[str, str]

    @property
    def majority(self) -> bool:
        """Whether more than half of the Sentinels carried it out."""
        return len(self.done) > len(self.failed)


class SentinelGroup:
    """The Sentinels of a pool.

    A Sentinel outside the allowed networks counts as one that does not answer.

    Args:
        addresses: "host:port" each.
        timeout: seconds that each question may take.
        hurried: addresses of those that are waited for no longer than a moment.
    """

    def __init__(
        self,
        addresses: Sequence[str],
        networks: AllowedNetworks,
        auth: RedisAuth,
        *,
        timeout: float = 1.0,
        hurried: Container[str] = (),
    ) -> None:
        self.addresses = tuple(addresses)
        self._timeout = timeout
        self._change_timeout = _OF_A_CHANGE * timeout
        moment = min(_MOMENT, timeout)
        self._connections = {
            address: BoundedConnection(
                address, networks, auth, moment if address in hurried else timeout, LARGE
            )
            for address in self.addresses
        }

    @classmethod
    def from_config(
        cls,
        config: Config,
        networks: AllowedNetworks,
        addresses: Sequence[str],
        hurried: Container[str] = (),
    ) -> Self:
        """Return the group at these addresses, with the config's credentials and timeout."""
        auth, timeout = config.sentinel_auth, config.sentinel_timeout
        return cls(addresses, networks, auth, timeout=timeout, hurried=hurried)

    def __repr__(self) -> str:
        return f"SentinelGroup({', '.join(self.addresses)})"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close every connection; the next call opens them again."""
        for connection in self._connections.values():
            connection.close()

    def register(
        self,
        shard: str,
        master: str,
        quorum: int,
        instance_auth: RedisAuth,
        options: Mapping[str, str] | None = None,
        *,
        only: Iterable[str] | None = None,
    ) -> SentinelOutcome:
        """Have every Sentinel (or those in `only`) monitor a shard. Idempotent.

        MONITOR and SET are sent in one write; where SET fails after MONITOR, the shard is removed
        again. A Sentinel that monitors the name at another address counts as failed and is left
        alone.

        Args:
            master: address of the shard's master.
            instance_auth: with which the Sentinels log in to the instances.
            options: Sentinel options; None for DEFAULT_OPTIONS.
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
        within = self._change_timeout

        def ask(connection: BoundedConnection) -> None:
            current = master_of(connection, shard)
            if current is None:
                replies = connection.call_all([monitor, set_all], within)
                _raise_first(connection, shard, replies, within)
            elif current == master:
                connection.call(*set_all, within=within)
            else:
                raise redis.ResponseError(f"it monitors {shard} at {current}, not at {master}")

        def ask_quietly(connection: BoundedConnection) -> None:
            with hiding(instance_auth.password):
                ask(connection)

        return self._tell(ask_quietly, only)

    def unregister(
        self, shard: str, *, only: Iterable[str] | None = None, master: str | None = None
    ) -> SentinelOutcome:
        """Have every Sentinel (or those in `only`) forget a shard. Idempotent.

        Args:
            master: a shard whose master and replicas this address is none of is left alone.
        """

        def ask(connection: BoundedConnection) -> None:
            current = master_of(connection, shard)
            if current is not None and master in (None, current, *replicas_of(connection, shard)):
                connection.call("SENTINEL", "REMOVE", shard, within=self._change_timeout)

        return self._tell(ask, only)

    def set_quorum(self, shard: str, quorum: int, *, only: Iterable[str]) -> SentinelOutcome:
        """Have the Sentinels in `only`, which monitor a shard, take another quorum for it."""
        command = ("SENTINEL", "SET", shard, "quorum", quorum)
        within = self._change_timeout
        return self._tell(lambda connection: connection.call(*command, within=within), only)

    def reset(self, shards: Sequence[str], *, only: Iterable[str]) -> SentinelOutcome:
        """Have the Sentinels in `only` forget the other Sentinels and the replicas of shards.

        They find those that are there again: the replicas by the master's INFO within 10 s, the
        Sentinels by their hello messages within 2 s. The quorum and other options stay.
        """
        commands = [("SENTINEL", "RESET", shard) for shard in shards]

        def ask(connection: BoundedConnection) -> None:
            for reply in connection.call_all(commands, self._change_timeout):
                if isinstance(reply, redis.RedisError):
                    raise reply

        return self._tell(ask, only)

    def ids(self) -> dict[str, str]:
        """Return the id of each Sentinel that tells it, by address. Others know it by its id."""
        answers = ask_all(
            self._connections,
            lambda connection: word(connection.call("SENTINEL", "MYID")),
            within=self._timeout,
        )
        return {at: told for at, told in answers.items() if not isinstance(told, redis.RedisError)}

    def master_of(self, shard: str) -> str | None:
        """Return the master that most of the answering Sentinels name; None if they differ."""
        answers = ask_all(
            self._connections, lambda connection: master_of(connection, shard), within=self._timeout
        ).values()
        named = [answer for answer in answers if not isinstance(answer, redis.RedisError)]
        return majority(named)

    def agreed(self, shards: Collection[str]) -> dict[str, str | None]:
        """Return the masters of shards; None where it is not certain.

        That is where half of the Sentinels or more do not answer, or those that do name different
        masters. For a second or two after a failover some Sentinels name the former master, which
        may run again, without a key, and take itself for a master yet. Shards that the Sentinels do
        not know are left out.
        """
        asked = tuple(shards)
        answers = ask_all(
            self._connections, lambda each: named_masters(each, asked), within=self._timeout
        )
        tables = [each for each in answers.values() if not isinstance(each, redis.RedisError)]
        found: dict[str, str | None] = {}
        if self.addresses and 2 * len(tables) <= len(self.addresses):
            return dict.fromkeys(asked)
        for shard in asked:
            named = {table[shard] for table in tables} - {None}
            if named:
                found[shard] = named.pop() if len(named) == 1 else None
        return found

    def silent(self) -> frozenset[str]:
        """Return the addresses of the Sentinels that do not answer."""
        answers = ask_all(
            self._connections, lambda connection: connection.call("PING"), within=self._timeout
        )
        return frozenset(
            address for address, answer in answers.items() if isinstance(answer, redis.RedisError)
        )

    def monitored(self) -> dict[str, str]:
        """Return every shard that an answering Sentinel monitors, with its master.

        Where Sentinels differ, the master is the address that most of them give.

        Raises:
            SentinelUnavailableError: no Sentinel answers.
        """
        answers = ask_all(self._connections, masters, within=self._timeout)
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

    def views(
        self, shards: Sequence[str], late: LateAnswers[MonitoredShards] | None = None
    ) -> dict[str, SentinelView]:
        """Return what each Sentinel says about these shards, by the Sentinel's address.

        Args:
            late: of rounds of this question, of which one that hangs is to delay the first alone.
        """
        answers = (late.ask_all if late is not None else ask_all)(
            self._connections,
            lambda connection: monitored_shards(connection, shards),
            within=self._timeout,
        )
        return {
            address: SentinelView(address, error=reason_of(answer))
            if isinstance(answer, redis.RedisError)
            else SentinelView(address, shards=answer)
            for address, answer in answers.items()
        }

    def options_of(self, shard: str) -> dict[str, str] | None:
        """Return the Sentinel options that a shard is monitored with; None if no Sentinel tells."""
        for view in self.views([shard]).values():
            if shard in view.shards:
                return dict(view.shards[shard].options)
        return None

    def _tell(
        self, ask: Callable[[BoundedConnection], None], only: Iterable[str] | None
    ) -> SentinelOutcome:
        connections = self._connections if only is None else {a: self._connections[a] for a in only}
        answers = ask_all(connections, ask, within=self._change_timeout)
        failed = {
            address: reason_of(answer)
            for address, answer in answers.items()
            if isinstance(answer, redis.RedisError)
        }
        return SentinelOutcome(tuple(a for a in connections if a not in failed), failed)


def _raise_first(
    connection: BoundedConnection, shard: str, replies: Sequence[object], within: float
) -> None:
    """Raise the first error among the replies to MONITOR and SET; undo a MONITOR without SET."""
    monitored, tuned = replies
    if isinstance(monitored, redis.RedisError):
        raise monitored
    if isinstance(tuned, redis.RedisError):
        connection.call("SENTINEL", "REMOVE", shard, within=within)
        raise tuned
