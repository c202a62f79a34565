"""A pool whose masters a test moves at will: a scripted Sentinel tells their addresses."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from cachemesh.core.placement import Shard, SlotsPlacement
from cachemesh.core.pool.document import PoolDocument
from cachemesh.local import LocalStack, Process
from tests.support.plain_redis import Target, direct, target
from tests.support.rogue_server import Server, sentinel
from tests.support.waiting import AT_MOST

if TYPE_CHECKING:
    from typing_extensions import Self  # in typing from Python 3.11 on


class MovablePool:
    """A pool document in a file, and a Sentinel that names the masters the test wants.

    Args:
        masters: shard -> host and port.
        directory: of the file.

    Attributes:
        masters: shard -> host and port; tests change them.
        placement: of the pool.
        url: of the pool.
    """

    def __init__(self, masters: Mapping[str, Target], directory: Path) -> None:
        self.masters = dict(masters)
        self.sentinel = Server(sentinel(self.masters))
        self.placement = SlotsPlacement.even([Shard(name) for name in self.masters])
        document = PoolDocument("cache", 1, self.placement, sentinels=(str(self.sentinel),))
        path = directory / f"cache-{self.sentinel.address[1]}.json"
        path.write_text(document.to_json())
        # The Sentinel is threads of this process, which may be busy.
        self.url = f"cachemesh+file://{path}?sentinel_timeout={AT_MOST}"

    def keys(self, shard: str = "cache-0", count: int = 1, prefix: str = "k") -> list[str]:
        """Return keys that the shard owns."""
        found = (f"{prefix}{i}" for i in range(10_000))
        mine = (key for key in found if self.placement.shard_for(key) == shard)
        return [next(mine) for _ in range(count)]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.sentinel.close()


def movable_pool_of(masters: Sequence[Process], directory: Path) -> MovablePool:
    """Return a pool of shards cache-0, cache-1 and so on, one for each master."""
    return MovablePool(
        {f"cache-{n}": target(master) for n, master in enumerate(masters)}, directory
    )


def reset(process: Process) -> None:
    """Make the server an empty master with no pause, limit or statistics left."""
    process.resume()
    with direct(process) as client:
        client.client_unpause()
        client.replicaof("NO", "ONE")
        client.config_set("maxclients", 10_000)
        client.config_resetstat()
        client.flushall()


def swap(old: Process, new: Process) -> None:
    """Make ``old`` a replica of ``new`` by REPLICAOF; no Sentinel is told."""
    with direct(new) as client:
        client.replicaof("NO", "ONE")
    with direct(old) as client:
        client.replicaof(*target(new))


@contextmanager
def unwatched_masters(count: int) -> Iterator[list[Process]]:
    """Start so many masters that no Sentinel watches."""
    with LocalStack(shards=1, replicas=0, sentinels=1, metaservers=0) as stack:
        yield [stack.start_redis() for _ in range(count)]
