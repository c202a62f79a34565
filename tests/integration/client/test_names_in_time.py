"""A resolver that does not answer: commands fail in time, and one thread waits for it, not many.

The resolver is bent in this process, since the machine's own cannot be.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import redis

import cachemesh
from cachemesh.discovery.metaserver import MetaserverClient
from tests.support import rogue_server
from tests.support.both_clients import CLIENTS, calling
from tests.support.sentinels import pool_file
from tests.support.waiting import until

NAME = "silent.test"
TIMES = {"socket_timeout": 0.4, "socket_connect_timeout": 0.4, "sentinel_timeout": 0.2}


class Resolver:
    """A resolver that does not answer for one name, and works as ever for all others.

    Attributes:
        answers: set it, and the name means 127.0.0.1.
    """

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.answers = threading.Event()
        self._real = socket.getaddrinfo
        patch.setattr(socket, "getaddrinfo", self._look_up)

    def _look_up(self, host: Any, *args: Any, **options: Any) -> Any:
        if host in (NAME, NAME.encode()):
            self.answers.wait(60)
            host = "127.0.0.1"
        return self._real(host, *args, **options)


@pytest.fixture
def resolver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Resolver]:
    resolver = Resolver(monkeypatch)
    yield resolver
    resolver.answers.set()
    until(lambda: not looking_up())


def looking_up() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "cachemesh-dns"]


@pytest.fixture
def instance() -> Iterator[rogue_server.Server]:
    with rogue_server.Server(rogue_server.after_greeting(b"$1\r\nv\r\n")) as running:
        yield running


@pytest.mark.parametrize("kind", CLIENTS)
def test_a_master(
    kind: str, resolver: Resolver, instance: rogue_server.Server, tmp_path: Path
) -> None:
    port = instance.address[1]
    with rogue_server.Server(rogue_server.sentinel({"cache-0": (NAME, port)})) as sentinel:
        url = pool_file(tmp_path / "cache.json", [str(sentinel)], ["cache-0"])
        with calling(kind, url, **TIMES) as caller, ThreadPoolExecutor(20) as threads:

            def fails(number: int) -> None:
                with pytest.raises(cachemesh.ShardUnavailableError, match="cache-0"):
                    caller(lambda mesh: mesh.get(f"k{number}"))

            list(threads.map(fails, range(40)))
            with pytest.raises(redis.ConnectionError):
                caller(lambda mesh: mesh.pubsub().subscribe("news"))
            assert len(looking_up()) == 1
            resolver.answers.set()

            def serves() -> bool:
                try:
                    return bool(caller(lambda mesh: mesh.get("k")) == b"v")
                except redis.ConnectionError:
                    return False  # its breaker is open yet

            until(serves)


@pytest.mark.parametrize("kind", CLIENTS)
def test_a_sentinel(kind: str, resolver: Resolver, instance: rogue_server.Server) -> None:
    with rogue_server.Server(rogue_server.sentinel({"cache": instance.address})) as sentinel:
        url = f"cachemesh+sentinel://{NAME}:{sentinel.address[1]}/cache?shards=cache"
        with calling(kind, url, **TIMES) as caller:
            with pytest.raises(cachemesh.SentinelUnavailableError, match=NAME):
                caller(lambda mesh: mesh.get("k"))
            assert len(looking_up()) == 1
            resolver.answers.set()
            assert caller(lambda mesh: mesh.get("k")) == b"v"


def test_a_metaserver(resolver: Resolver) -> None:
    client = MetaserverClient([f"{NAME}:1"], timeout=0.2)
    for _ in range(3):
        with pytest.raises(cachemesh.MetaserverUnavailableError, match="no answer in time"):
            client.request("GET", "/v1/pools")
    assert len(looking_up()) == 1
    resolver.answers.set()
    with pytest.raises(cachemesh.MetaserverUnavailableError, match="refused"):
        client.request("GET", "/v1/pools")
