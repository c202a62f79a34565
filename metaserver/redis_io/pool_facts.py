"""Gathers the facts of a pool: Sentinels first, then the instances that they and masters name.

All that is sent reads. The servers of one kind are asked side by side and within a bounded time, so
that one that hangs delays no other.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import redis

from cachemesh.core.fencing import MARKER
from metaserver.domain.diagnosis.facts import (
    SET,
    InstanceFacts,
    KnownInstance,
    MonitoredFacts,
    PoolFacts,
    SentinelFacts,
)
from metaserver.domain.diagnosis.settings import PARAMETERS, SECRETS
from metaserver.domain.info_fields import MAX_REPLICAS, integer, replicas_in
from metaserver.domain.pool_state import PoolState
from metaserver.process.config import Config, RedisAuth
from metaserver.redis_io.allowed_networks import AllowedNetworks
from metaserver.redis_io.bounded_connection import BoundedConnection, ask_all, reason_of
from metaserver.redis_io.reply_parsers import (
    NotRedisError,
    parse_info,
    parse_master,
    parse_pairs,
    parse_rows,
    row_address,
    row_flags,
    text,
    whole,
    word,
)
from metaserver.redis_io.resp import LARGE
from metaserver.redis_io.user_rights import UserRights, rights_at_instance, rights_at_sentinel

_QUESTIONS = ("GET-MASTER-ADDR-BY-NAME", "MASTER", "REPLICAS", "SENTINELS")
_SHARDS_AT_ONCE = 16  # as of `sentinel_replies`
_ROUNDS = 4  # exchanges with a server, each of which may take a whole timeout
_OPTIONS = ("quorum", "down-after-milliseconds", "failover-timeout", "parallel-syncs")
_NO_RIGHTS = UserRights({})


@dataclass(frozen=True)
class FactGatherer:
    """Asks the servers of pools, as the metaserver's user."""

    config: Config
    networks: AllowedNetworks

    @property
    def changes(self) -> bool:
        """Whether the metaserver changes anything, and so needs the rights for that."""
        return self.config.observe is None

    def gather(self, state: PoolState) -> PoolFacts:
        """Return the facts of a pool, of which no shard is busy yet."""
        config, document = self.config, state.document
        names = document.placement.names
        sentinels = tuple(self._sentinels(document.sentinels, names))
        found = self._instances(_addresses(sentinels, names, state.masters))
        unknown = {  # to the Sentinels, and attached to an instance that they know
            at: each.shard
            for each in found.values()
            for at in replicas_in(each.info)
            if at not in found
        }
        found |= self._instances(unknown)
        mode = None if config.token_file is None else _mode_of(config)
        return PoolFacts(
            document,
            sentinels,
            tuple(sorted(found.values(), key=lambda each: (names.index(each.shard), each.address))),
            user=config.redis_auth.username or "default",
            sentinel_user=config.sentinel_auth.username or "default",
            token_file="" if config.token_file is None else str(config.token_file),
            token_file_mode=mode,
        )

    def _sentinels(
        self, addresses: Sequence[str], shards: Sequence[str]
    ) -> Iterator[SentinelFacts]:
        config, timeout = self.config, self.config.sentinel_timeout
        connections = {
            at: BoundedConnection(at, self.networks, config.sentinel_auth, timeout, LARGE)
            for at in addresses
        }

        def ask(connection: BoundedConnection) -> SentinelFacts:
            return _sentinel(connection, shards, self.changes)

        answers = ask_all(connections, ask, within=_ROUNDS * timeout)
        for at, answer in answers.items():
            connections[at].close()
            if isinstance(answer, redis.RedisError):
                yield SentinelFacts(at, error=reason_of(answer))
            else:
                yield answer

    def _instances(self, shard_of: Mapping[str, str]) -> dict[str, InstanceFacts]:
        auth, timeout = self.config.redis_auth, self.config.instance_timeout
        connections = {at: self._connection(at, auth) for at in shard_of}

        def ask(connection: BoundedConnection) -> InstanceFacts:
            return self._instance(connection, shard_of[connection.address])

        answers = ask_all(connections, ask, within=_ROUNDS * timeout)
        for connection in connections.values():
            connection.close()
        return {
            at: InstanceFacts(at, shard_of[at], error=reason_of(answer))
            if isinstance(answer, redis.RedisError)
            else answer
            for at, answer in answers.items()
        }

    def _connection(self, address: str, auth: RedisAuth) -> BoundedConnection:
        return BoundedConnection(address, self.networks, auth, self.config.instance_timeout)

    def _instance(self, connection: BoundedConnection, shard: str) -> InstanceFacts:
        (told,) = connection.call_all([("INFO",)])
        info = {} if isinstance(told, redis.ResponseError) else parse_info(told)
        clock, within = _clock(connection)
        replies = connection.call_all([("CONFIG", "GET", name) for name in PARAMETERS])
        refused = next((each for each in replies if isinstance(each, redis.ResponseError)), None)
        rights = _NO_RIGHTS
        if self.changes:
            again = self._connection(connection.address, self.config.redis_auth)
            rights = rights_at_instance(again)
        return InstanceFacts(
            connection.address,
            shard,
            info=info,
            settings=dict(settings_in(replies)),
            refused=None if refused is None else reason_of(refused),
            lacking=rights.lacking,
            unknown=rights.unknown,
            anybody=self._obeys_anybody(connection.address),
            clock=clock,
            clock_within=within,
        )

    def _obeys_anybody(self, address: str) -> bool | None:
        """Return whether a server tells of keys without a login; None if it cannot be asked so."""
        tls = self.config.redis_auth.tls
        if tls is not None:
            tls = replace(tls, certfile=None, keyfile=None)
        connection = self._connection(address, RedisAuth(tls=tls))
        try:
            connection.call("EXISTS", MARKER)
        except (redis.AuthenticationError, redis.ResponseError):
            return False
        except redis.RedisError:
            return None
        finally:
            connection.close()
        return True


def _mode_of(config: Config) -> int | None:
    assert config.token_file is not None
    try:
        return config.token_file.stat().st_mode & 0o777
    except OSError:
        return None


def _addresses(
    sentinels: Sequence[SentinelFacts], shards: Sequence[str], known: Mapping[str, str]
) -> dict[str, str]:
    """Return the instances that Sentinels name, or the masters known before -> their shards."""
    found: dict[str, str] = {}
    for shard in shards:
        views = [each.shards[shard] for each in sentinels if shard in each.shards]
        named = {seen.master for seen in views}
        named |= {each.address for seen in views for each in seen.replicas}
        if not views and shard in known:
            named = {known[shard]}
        for address in sorted(named)[: MAX_REPLICAS + 1]:
            found.setdefault(address, shard)
    return found


def _sentinel(connection: BoundedConnection, shards: Sequence[str], changes: bool) -> SentinelFacts:
    info, run_id = connection.call_all([("INFO",), ("SENTINEL", "MYID")])
    found: dict[str, MonitoredFacts] = {}
    for first in range(0, len(shards), _SHARDS_AT_ONCE):
        some = shards[first : first + _SHARDS_AT_ONCE]
        replies = connection.call_all(
            [("SENTINEL", question, shard) for shard in some for question in _QUESTIONS]
        )
        if isinstance(replies[0], redis.exceptions.NoPermissionError):
            break  # its rights tell
        for index, shard in enumerate(some):
            seen = monitored_facts(*replies[4 * index : 4 * index + 4])
            if seen is not None:
                found[shard] = seen
    rights = rights_at_sentinel(connection) if changes else _NO_RIGHTS
    return SentinelFacts(
        connection.address,
        run_id="" if isinstance(run_id, redis.RedisError) else word(run_id),
        info={} if isinstance(info, redis.RedisError) else parse_info(info),
        shards=found,
        lacking=rights.lacking,
    )


def monitored_facts(
    at: object, master: object, replicas: object, sentinels: object
) -> MonitoredFacts | None:
    """Return what a Sentinel says about a shard; None if it does not know the shard.

    Raises:
        redis.ResponseError: it is no Sentinel, or denies the command.
    """
    if isinstance(at, redis.ResponseError):
        raise at
    address = parse_master(at)
    if address is None or isinstance(master, redis.RedisError):
        return None
    row = parse_pairs(master)
    return MonitoredFacts(
        address,
        row_flags(row),
        {name: whole(row[name]) for name in _OPTIONS if integer(row.get(name, "")) is not None},
        tuple(_known(sentinels)),
        tuple(_known(replicas)),
    )


def _known(rows: object) -> Iterator[KnownInstance]:
    if isinstance(rows, redis.RedisError):
        return
    for row in parse_rows(rows)[:MAX_REPLICAS]:
        try:
            address = row_address(row)
        except NotRedisError:
            continue  # such as one that has not announced its port yet
        yield KnownInstance(address, row.get("runid", ""), row_flags(row))


def _clock(connection: BoundedConnection) -> tuple[float | None, float]:
    """Return how far an instance's clock is ahead of this machine's, and within which bounds."""
    began, sent = time.monotonic(), time.time()
    try:
        reply = connection.call("TIME")
    except redis.ResponseError:
        return None, 0.0
    took = time.monotonic() - began
    if not isinstance(reply, list) or len(reply) != 2:
        raise NotRedisError("the reply to TIME is no time")
    seconds, micros = map(whole, reply)
    return seconds + micros / 1e6 - (sent + took / 2), took / 2


def settings_in(replies: Sequence[object]) -> Iterator[tuple[str, str]]:
    """Yield the parameters that a server has, and their values; of secrets whether they are set."""
    for name, reply in zip(PARAMETERS, replies, strict=True):
        if isinstance(reply, list) and len(reply) == 2:
            if name in SECRETS:
                yield name, SET if reply[1] else ""
            else:
                yield name, text(reply[1])
