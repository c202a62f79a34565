"""A survey of a pool for diagnosis: many servers are asked at once, each Sentinel on its own.

The client does not use this. A server that is slow, sends byte by byte, sends too much or answers
nonsense costs a bounded time and is reported with the reason; the others are still reported.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

import redis

from cachemesh.core.errors import CacheMeshError
from cachemesh.core.malformed_replies import reading_reply
from cachemesh.core.names import Address, parse_address
from cachemesh.core.pool.document import PoolDocument
from cachemesh.discovery.sentinel import checked_address, fields, listed, master_address
from cachemesh.discovery.sentinel_connection import SentinelConnection, SentinelOptions

TIMEOUT = 2.0
"""Seconds to connect to a Sentinel or an instance, and again for its replies."""
WITHIN = 3 * TIMEOUT
"""Seconds for both, and for looking up the host name."""
_AT_ONCE = 32
_QUESTIONS = ("GET-MASTER-ADDR-BY-NAME", "MASTER", "CKQUORUM", "REPLICAS")

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")


def ask_each(
    jobs: Mapping[K, Callable[[], T]], within: float
) -> dict[K, T | CacheMeshError | redis.RedisError | OSError]:
    """Run all jobs in threads, 32 at a time.

    Args:
        jobs: key -> the job; each should end within ``within`` seconds by itself.
        within: seconds for each job. A job that takes longer goes on in its daemon thread.

    Returns:
        key -> the job's result, or its error, which for a late job is a `redis.TimeoutError`.
    """
    waiting, done = SimpleQueue[K](), SimpleQueue[tuple[K, Any]]()
    for key in jobs:
        waiting.put(key)

    def work() -> None:
        while True:
            try:
                key = waiting.get_nowait()
            except Empty:
                return
            try:
                done.put((key, jobs[key]()))
            except (CacheMeshError, redis.RedisError, OSError) as error:
                done.put((key, error))

    for _ in range(min(_AT_ONCE, len(jobs))):
        threading.Thread(target=work, name="cachemesh-ask", daemon=True).start()
    rounds = -(-len(jobs) // _AT_ONCE)
    deadline = time.monotonic() + within * rounds
    answers: dict[K, Any] = {}
    while len(answers) < len(jobs):
        try:
            key, answer = done.get(timeout=max(0.0, deadline - time.monotonic()))
        except Empty:
            break
        answers[key] = answer
    late = redis.TimeoutError(f"no full answer in {within:g} s")
    return {key: answers.get(key, late) for key in jobs}


@dataclass(frozen=True)
class SentinelReplicaView:
    """A replica as one Sentinel sees it.

    Attributes:
        address: of the replica.
        flags: in Sentinel's words, such as ``s_down``.
    """

    address: Address
    flags: frozenset[str]


@dataclass(frozen=True)
class SentinelShardView:
    """A shard as one Sentinel sees it.

    Attributes:
        master: address of the master; during a failover that of the promoted replica.
        flags: in Sentinel's words and order.
        quorum: the number of Sentinels that must agree that the master is down.
        other_sentinels: the number of other Sentinels that this one knows.
        unusable: why a failover is not possible now; None if it is.
        replicas: the replicas that the Sentinel knows, dead ones included.
    """

    master: Address
    flags: tuple[str, ...]
    quorum: int
    other_sentinels: int
    unusable: str | None
    replicas: tuple[SentinelReplicaView, ...]


def ask_sentinels(
    document: PoolDocument, options: SentinelOptions
) -> dict[str, dict[str, SentinelShardView] | CacheMeshError | redis.RedisError | OSError]:
    """Ask all Sentinels of a pool about the pool's shards, at once.

    Args:
        document: of the pool.
        options: how to connect; `TIMEOUT` replaces the timeout.

    Returns:
        ``host:port`` of each Sentinel -> its views by shard name, or the error.
    """
    options = replace(options, timeout=TIMEOUT)
    names = document.shard_names
    jobs = {
        text: partial(ask_sentinel, parse_address(text), options, names, TIMEOUT)
        for text in document.sentinels
    }
    return ask_each(jobs, WITHIN)


def ask_sentinel(
    address: Address, options: SentinelOptions, shards: Sequence[str], seconds: float
) -> dict[str, SentinelShardView]:
    """Ask one Sentinel about shards.

    Args:
        address, options: of the Sentinel.
        shards: their names.
        seconds: time for all replies.

    Returns:
        Shard name -> the Sentinel's view. Shards that it does not monitor are missing.

    Raises:
        redis.RedisError, OSError: the server does not answer in time, refuses, or is no Sentinel.

    Source: redis.io, "High availability with Redis Sentinel", Sentinel commands.
    """
    commands = [("SENTINEL", what, shard) for shard in shards for what in _QUESTIONS]
    replies = ask(address, options, commands or [("PING",)], seconds)
    views = {}
    for index, shard in enumerate(shards):
        named, *rest = replies[4 * index : 4 * index + 4]
        master = master_address(named)
        if master is not None:
            with reading_reply("a Sentinel"):
                views[shard] = _shard_view(master, *rest)
    return views


def ask(
    address: Address,
    options: SentinelOptions,
    commands: Sequence[tuple[str, ...]],
    seconds: float,
) -> list[Any]:
    """Connect to any server that speaks RESP, send commands and return the replies.

    Args:
        address, options: of the server.
        commands: sent at once.
        seconds: time for all replies.

    Returns:
        One reply for each command; error replies are exceptions among them.

    Raises:
        redis.RedisError, OSError: no connection, or not all replies came in time.
    """
    connection = SentinelConnection(address, options)
    try:
        return connection.ask(commands, seconds)
    finally:
        connection.close()


def _shard_view(master: Address, told: Any, quorum: Any, replicas: Any) -> SentinelShardView:
    facts = fields(told)
    if not isinstance(quorum, (str, redis.ResponseError)):
        raise TypeError(quorum)
    return SentinelShardView(
        master=master,
        flags=tuple(facts["flags"].split(",")),
        quorum=int(facts["quorum"]),
        other_sentinels=int(facts["num-other-sentinels"]),
        unusable=None if isinstance(quorum, str) else str(quorum),
        replicas=tuple(_replicas_of(listed(replicas))),
    )


def _replicas_of(rows: Sequence[Any]) -> Iterator[SentinelReplicaView]:
    for told in map(fields, rows):
        address = usable_address(told["ip"], told["port"])
        if address is not None:
            yield SentinelReplicaView(address, frozenset(told["flags"].split(",")))


def usable_address(host: str, port: str) -> Address | None:
    """Return an address as Sentinels and masters report it, None if the port is 0.

    Sentinels and masters list a replica with port 0 if it was refused before it announced its port.

    Raises:
        InvalidDocumentError: the address is not valid.
    """
    return None if port == "0" else checked_address(host, port)
