"""Masters and Sentinels known by a host name whose address changes.

This process resolves the names itself; the servers are real, on addresses of 127.0.0.0/8.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from benchmarks.failover.forwarder import Forwarder
from benchmarks.failover.site import ask, await_streaming, wait_for
from cachemesh import CacheMesh
from cachemesh.asyncio import CacheMesh as AsyncCacheMesh
from cachemesh.core.placement import Shard, SlotsPlacement
from cachemesh.core.pool.document import PoolDocument
from cachemesh.local import LocalStack
from tests.support.rogue_server import Server, sentinel
from tests.support.waiting import AT_MOST, until_async

_MASTER, _SENTINEL = "redis.test", "sentinel.test"
_HERE, _THERE, _NOWHERE = "127.0.0.1", "127.0.0.2", "127.0.0.9"


class Names:
    """Host names in this process.

    Attributes:
        known: host name -> its address now.
    """

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.known: dict[object, str] = {}
        self._real = socket.getaddrinfo
        patch.setattr(socket, "getaddrinfo", self._look_up)

    def _look_up(self, host: Any, *args: Any, **options: Any) -> Any:
        text = host.decode() if isinstance(host, bytes) else host
        return self._real(self.known.get(text, host), *args, **options)


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Names:
    return Names(monkeypatch)


@pytest.fixture(scope="module")
def stack() -> Iterator[LocalStack]:
    with LocalStack(shards=1, replicas=0, metaservers=0, dashboard=False) as running:
        yield running


def test_a_sentinel_moves(stack: LocalStack, names: Names) -> None:
    first, second, _ = stack.info["sentinels"]
    port = int(first.rpartition(":")[2])
    url = f"cachemesh+sentinel://{_SENTINEL}:{port}/cache"
    names.known[_SENTINEL] = _NOWHERE
    with pytest.raises(redis.ConnectionError, match=_SENTINEL), CacheMesh.from_url(url) as mesh:
        mesh.get("k")
    for address, leads_to in ((_HERE, first), (_THERE, second)):
        names.known[_SENTINEL] = address
        with Forwarder(leads_to, at=(_THERE, port)), CacheMesh.from_url(url) as mesh:
            assert mesh.set("k", address)
            assert mesh.get("k") == address.encode()


def test_a_master_moves(stack: LocalStack, names: Names, tmp_path: Path) -> None:
    """Both clients keep the name of a master, and resolve it for each new connection."""
    here = stack.start_redis()
    port = here.address.port
    there = stack.start_redis(port, f"bind {_THERE}", f"replicaof {_HERE} {port}")
    wait_for(lambda: _in_step(f"{_THERE}:{port}"), AT_MOST, "the replica does not follow")
    with Server(sentinel({"cache-0": (_MASTER, port)})) as tells_the_name:
        placement = SlotsPlacement.even([Shard("cache-0")])
        document = PoolDocument("cache", 1, placement, sentinels=(str(tells_the_name),))
        path = tmp_path / "cache.json"
        path.write_text(document.to_json())
        asyncio.run(
            _through_the_move(
                f"cachemesh+file://{path}?sentinel_timeout={AT_MOST}", names, here, port
            )
        )
    assert there.poll() is None


async def _through_the_move(url: str, names: Names, here: Any, port: int) -> None:
    names.known[_MASTER] = _HERE
    mesh = CacheMesh.from_url(url)
    async with AsyncCacheMesh.from_url(url) as tasks:
        mesh.set("k", "v")
        assert await tasks.get("k") == b"v"
        await_streaming(f"{_HERE}:{port}", replicas=1)
        ask(f"{_THERE}:{port}", "REPLICAOF", "NO", "ONE")
        names.known[_MASTER] = _THERE
        here.kill()
        wait_for(
            lambda: _value(mesh) == b"v", AT_MOST, "threads do not find the name's new address"
        )
        assert mesh.set("k", "w")
        hopeful = tasks.with_options(on_error="miss")
        assert await until_async(lambda: hopeful.get("k")) == b"w"
    mesh.close()


def _value(mesh: CacheMesh) -> Any:
    try:
        return mesh.get("k")
    except redis.ConnectionError:
        return None


def _in_step(address: str) -> bool:
    try:
        return bool(ask(address, "ROLE")[3] == "connected")
    except (redis.RedisError, LookupError):
        return False
