"""The servers that all peers are measured against; each kind is started at its first use."""

from __future__ import annotations

import resource
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property

import redis

from benchmarks import cluster, proxy
from benchmarks.cores import Cores, running_on
from cachemesh.core.names import Address, parse_address
from cachemesh.local import LocalStack

CLUSTER_NODES = 4
_OPEN_FILES = 16_384  # redis.asyncio opens a connection for each waiting task


@dataclass(frozen=True)
class Pool:
    """A pool of shards.

    Attributes:
        url: for `CacheMesh.from_url`.
        token_file: the file with the metaserver's token.
        masters: of each shard, in order.
    """

    url: str
    token_file: str
    masters: tuple[Address, ...]


class Servers:
    """Real processes on free ports, all of one binary and one configuration.

    Every method and attribute raises LocalStackError if its servers do not start.
    """

    def __init__(self, cores: Cores, until: ExitStack) -> None:
        self._cores = cores
        self._until = until
        self._stacks: dict[int, LocalStack] = {}
        self._instances: list[Address] = []

    def pool(self, shards: int) -> Pool:
        """Return a pool of so many shards, with its own Sentinel and metaserver."""
        info = self._stack(shards).info
        masters = tuple(parse_address(shard["master"]) for shard in info["shards"])
        return Pool(info["url"], info["token_file"], masters)

    def _stack(self, shards: int) -> LocalStack:
        if shards not in self._stacks:
            stack = LocalStack(shards=shards, replicas=0, sentinels=1, dashboard=False)
            with running_on(self._cores.servers):  # processes inherit it
                self._until.callback(stack.stop)
                stack.start()
            self._stacks[shards] = stack
            self._instances += [parse_address(shard["master"]) for shard in stack.info["shards"]]
        return self._stacks[shards]

    @cached_property
    def single(self) -> Address:
        """The address of a redis-server outside any pool."""
        return self._alone()

    @cached_property
    def cluster(self) -> Sequence[Address]:
        """The addresses of a Redis Cluster without replicas."""
        nodes = [self._alone(*cluster.configuration()) for _ in range(CLUSTER_NODES)]
        cluster.form(nodes)
        return nodes

    @cached_property
    def proxy(self) -> Address:
        """The address of a nutcracker in front of the masters of the pool of 4.

        Raises:
            ProxyMissingError: nutcracker is not installed.
        """
        masters = self.pool(4).masters
        with running_on(self._cores.servers):
            return self._until.enter_context(proxy.running(masters))

    def _alone(self, *configuration: str) -> Address:
        stack = self._stack(4)
        with running_on(self._cores.servers):
            address = stack.start_redis(None, *configuration).address
        self._instances.append(address)
        return address

    def flush(self) -> None:
        """Empty all servers."""
        for host, port in self._instances:
            with redis.Redis(host=host, port=port) as client:
                client.flushall()


@contextmanager
def running(cores: Cores) -> Iterator[Servers]:
    """Yield servers, which end with the block; the block runs on the client's core."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _OPEN_FILES if hard == resource.RLIM_INFINITY else min(_OPEN_FILES, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
    with ExitStack() as until, running_on(cores.client):
        yield Servers(cores, until)
