"""Asks many servers at once, and reports what each Sentinel says about each shard.

For tools that show a pool to people; the client does not use this module. A server that is slow or
sends garbage costs a bounded time and is reported with its reason; the other servers' answers are
returned all the same.
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
"""Seconds to connect to a Sentinel or an instance, and again seconds for its replies."""
WITHIN = 3 * TIMEOUT
"""Seconds for name look-up, connecting and replies together."""
_AT_ONCE = 32
_QUESTIONS = ("GET-MASTER-ADDR-BY-NAME", "MASTER", "CKQUORUM", "REPLICAS")

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")


def ask_each(
    jobs: Mapping[K, Callable[[], T]], within: float
) -> dict[K, T | CacheMeshError | redis.RedisError | OSError]:
    """Run all jobs in threads, 32 at a time.

    Args:
        jobs: functions by key; each should end within ``within`` seconds by itself.
        within: seconds for each job. A job that takes longer is abandoned in its daemon thread.

    Returns:
        By key, the job's result, or the error that it raised, or redis.TimeoutError if it was late.
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
        address: where the replica listens.
        flags: in Sentinel's words, such as ``s_down``.
    """

    address: Address
    flags: frozenset[str]


@dataclass(frozen=True)
class SentinelShardView:
    """A shard as one Sentinel sees it.

    Attributes:
        master: address of the master; during a failover, that of the promoted replica.
        flags: in Sentinel's words and order.
        quorum: how many Sentinels must agree that the master is down.
        other_sentinels: how many other Sentinels this one knows.
        unusable: why a failover would be impossible; None if a failover is possible.
        replicas: the replicas that this Sentinel knows, dead ones included.
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
    """Ask each Sentinel of a pool about the pool's shards, all at once.

    Args:
        document: names the Sentinels and the shards.
        options: credentials; `TIMEOUT` replaces the timeout.

    Returns:
        By the Sentinel's ``host:port``, its view of each shard, or the error in place of an answer.
    """
    options = replace(options, timeout=TIMEOUT)
    names = document.placement.names
    jobs = {
        text: partial(ask_sentinel, parse_address(text), options, names, TIMEOUT)
        for text in document.sentinels
    }
    return ask_each(jobs, WITHIN)


def ask_sentinel(
    address: Address, options: SentinelOptions, shards: Sequence[str], seconds: float
) -> dict[str, SentinelShardView]:
    """Ask one Sentinel about some shards.

    Source: redis.io, "High availability with Redis Sentinel", Sentinel commands.

    Args:
        address: of the Sentinel.
        options: credentials and timeout to connect.
        shards: names of the shards.
        seconds: timeout for all replies.

    Returns:
        The view of each shard; a shard that the Sentinel does not monitor is missing.

    Raises:
        redis.RedisError, OSError: the Sentinel does not answer in time or refuses, or the replies
            are not those of a Sentinel.
    """
    commands = [("SENTINEL", what, shard) for shard in shards for what in _QUESTIONS]
    replies = ask(address, options, commands or [("PING",)], seconds)
    views = {}
    for index, shard in enumerate(shards):
        at, *rest = replies[4 * index : 4 * index + 4]
        master = master_address(at)
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
    """Connect to any Redis or Sentinel, send some commands and return their replies.

    Args:
        address: of the server.
        options: credentials and timeout to connect.
        commands: each as its words.
        seconds: timeout for all replies.

    Returns:
        The replies; error replies stand among them.

    Raises:
        redis.RedisError, OSError: the server is unreachable, or not all replies came in time.
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
    """Return the address that a Sentinel or a master gives for a replica.

    Args:
        host: IP address or host name.
        port: in decimal. A replica that was refused before it announced its port has port 0.

    Returns:
        None for port 0.

    Raises:
        InvalidDocumentError: the two are not an address.
    """
    return None if port == "0" else checked_address(host, port)
