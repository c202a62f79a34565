"""Asking many servers at once, and what each Sentinel says about each shard.

For people who look at a pool, not for the client. A server that is slow, drips, floods or answers
nonsense costs a bounded time and is reported with its reason; the others are heard all the same.
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
"""Seconds a Sentinel or an instance has to connect, and to answer."""
WITHIN = 3 * TIMEOUT
"""Seconds for both, and for its name to be looked up."""
_AT_ONCE = 32
_QUESTIONS = ("GET-MASTER-ADDR-BY-NAME", "MASTER", "CKQUORUM", "REPLICAS")

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")


def ask_each(
    jobs: Mapping[K, Callable[[], T]], within: float
) -> dict[K, T | CacheMeshError | redis.RedisError | OSError]:
    """Run all jobs, 32 at a time, each in a thread; an error stands in place of its answer.

    Args:
        jobs: what to run, by a key; each should end within ``within`` by itself.
        within: seconds for each; a job that takes longer is left behind in its thread, which does
            not keep the process from ending.
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
        address: where it listens.
        flags: as Sentinel words them, such as ``s_down``.
    """

    address: Address
    flags: frozenset[str]


@dataclass(frozen=True)
class SentinelShardView:
    """A shard as one Sentinel sees it.

    Attributes:
        master: its address; during a failover that of the promoted replica.
        flags: as Sentinel words them, in its order.
        quorum: how many Sentinels must agree that the master is down.
        other_sentinels: how many others this Sentinel knows.
        unusable: why a failover would not be possible; None if it would be.
        replicas: those that it knows, also dead ones.
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
    """What each Sentinel of a pool, by its "host:port", says about the pool's shards.

    All are asked at once, with `TIMEOUT` in place of the options' own.
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
    """What one Sentinel says about some shards; one that it does not monitor is missing.

    Source: redis.io, "High availability with Redis Sentinel", Sentinel commands.

    Raises:
        redis.RedisError, OSError: it does not answer in time, or refuses, or is no Sentinel.
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
    """The replies of any server of Redis's protocol; error replies stand among them.

    Raises:
        redis.RedisError, OSError: it cannot be connected to, or not all replies came in time.
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
    """An address as Sentinels and masters write it.

    None for a replica that was refused before it could tell its port: they say port 0.
    """
    return None if port == "0" else checked_address(host, port)
