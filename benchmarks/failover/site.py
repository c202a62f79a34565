"""A stack to fail, and the keys that each of its shards owns."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from benchmarks.failover.writer import Writer
from cachemesh.core.names import Address, parse_address
from cachemesh.core.placement import Shard, SlotsPlacement
from cachemesh.discovery.metaserver import MetaserverClient
from cachemesh.local import LocalStack

_STEP = 0.02


@dataclass(frozen=True)
class Site:
    """The servers of one trial, and how clients reach them.

    Attributes:
        stack: the processes.
        url: the URL for CacheMesh.
        credentials: the options that go with the URL.
        sentinels: "host:port" of each Sentinel, as clients shall use it.
        shards: their names, in order.
    """

    stack: LocalStack
    url: str
    credentials: dict[str, Any]
    sentinels: tuple[str, ...]
    shards: tuple[str, ...]

    @classmethod
    def of(cls, stack: LocalStack, sentinels: Sequence[str] = ()) -> Site:
        """Make a site of a running stack.

        Args:
            stack: the stack.
            sentinels: addresses to use instead of the Sentinels' own.
        """
        info = stack.info
        url, credentials = info["url"], {}
        if info["metaservers"]:
            credentials["token"] = stack.token
        elif sentinels:
            url = f"cachemesh+sentinel://{','.join(sentinels)}/{info['pool']}"
        shards = tuple(shard["name"] for shard in info["shards"])
        return cls(stack, url, credentials, tuple(sentinels or info["sentinels"]), shards)

    @property
    def sentinel_addresses(self) -> list[tuple[str, int]]:
        """Return the Sentinels' addresses as redis-py takes them."""
        return [tuple(parse_address(address)) for address in self.sentinels]  # type: ignore[misc]

    def writers(self, counts: Sequence[int]) -> list[Writer]:
        """Make writers, each with a hash tag of its own.

        Args:
            counts: how many for each shard, in order.
        """
        placement = SlotsPlacement.even([Shard(name) for name in self.shards])
        made = []
        for shard, count in zip(self.shards, counts, strict=True):
            tags = (f"t{i}" for i in range(1_000_000) if placement.shard_for(f"t{i}") == shard)
            for number in range(count):
                made.append(Writer(f"{shard}/{number}", shard, next(tags)))
        return made

    def instances(self, shard: str) -> list[str]:
        """Return "host:port" of all instances that the shard began with."""
        (found,) = [entry for entry in self.stack.info["shards"] if entry["name"] == shard]
        return [found["master"], *found["replicas"]]

    def api(self) -> MetaserverClient:
        """Return a client of the metaserver, with the admin token."""
        return MetaserverClient(self.stack.info["metaservers"], self.stack.token)

    def settle(self, shard: str, seconds: float = 120.0) -> Address:
        """Wait until all live Sentinels name the same master, and it has that role; return it.

        Raises:
            AssertionError: they do not within ``seconds``.
        """
        found = wait_for(lambda: self._settled(shard), seconds, f"{shard} has no settled master")
        return Address(*found)

    def _settled(self, shard: str) -> Address | None:
        named = set()
        for address in self.stack.info["sentinels"]:
            try:
                reply = ask(address, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", shard)
            except redis.RedisError:
                continue
            named.add((str(reply[0]), int(reply[1])))
        if len(named) != 1:
            return None
        master = Address(*named.pop())
        try:
            return master if ask(str(master), "ROLE")[0] == "master" else None
        except redis.RedisError:
            return None


@contextmanager
def site(
    shards: int, replicas: int = 2, metaservers: int = 0, streaming: bool = True, **options: Any
) -> Iterator[Site]:
    """Start a fresh stack with three Sentinels, and stop it at the end of the block.

    ``streaming``: wait, up to a second, until writes reach the replicas.
    """
    with LocalStack(
        shards=shards, replicas=replicas, metaservers=metaservers, dashboard=False, **options
    ) as stack:
        found = Site.of(stack)
        for shard in found.shards if streaming else ():
            await_streaming(stack.master_of(shard), replicas)
        yield found


def await_streaming(master: str, replicas: int) -> None:
    """Wait, a minute at most, until a write reaches this many replicas.

    After a diskless sync a master streams nothing until the replica's first REPLCONF ACK, which
    comes once a second; earlier writes are lost with the master.

    Raises:
        AssertionError: no write reached them.
    """
    client = direct(master, timeout=90.0)
    try:
        client.set("streaming", 1)  # WAIT is about what its own connection wrote
        reached = client.wait(replicas, 60_000)
        client.delete("streaming")
    finally:
        client.close()
    if reached < replicas:
        raise AssertionError(f"writes to {master} reach {reached} of {replicas} replicas")


def ask(address: str, *words: object, timeout: float = 1.0) -> Any:
    """Send one command to one server, without retries. Raises redis.RedisError."""
    client = direct(address, timeout)
    try:
        return client.execute_command(*words)
    finally:
        client.close()


def direct(address: str, timeout: float = 1.0) -> Any:
    """Return redis-py's client of one server, without retries, replies as text; close it."""
    host, port = parse_address(address)
    return redis.Redis(
        host=host,
        port=port,
        socket_timeout=timeout,
        socket_connect_timeout=timeout,
        retry=Retry(NoBackoff(), 0),
        decode_responses=True,
        protocol=2,
    )


def as_map(reply: Any) -> dict[str, str]:
    """Return a Sentinel's reply about one instance, in RESP2 or parsed by redis-py, as a dict."""
    if isinstance(reply, Mapping):
        return {str(name): str(value) for name, value in reply.items()}
    return dict(zip(reply[::2], reply[1::2], strict=True))


def wait_for(condition: Callable[[], Any], seconds: float, otherwise: str) -> Any:
    """Wait until a condition is true and return its value. Raises AssertionError after a time."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"{otherwise} after {seconds:g} s")
        time.sleep(_STEP)
    return value
