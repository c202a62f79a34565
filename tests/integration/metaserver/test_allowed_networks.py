"""A Sentinel that names masters outside the allowed networks: nothing is sent there."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest

from cachemesh.local import LocalStack
from metaserver.domain.errors import RequestRefused
from metaserver.loops.monitor import Monitor
from metaserver.process.config import Config, RedisAuth
from metaserver.redis_io.allowed_networks import AllowedNetworks
from metaserver.service import registration
from metaserver.service.context import ServiceContext
from metaserver.service.registration import MasterCandidate
from metaserver.store.sqlite import SqliteStore
from tests.support.metaserver_process import Metaserver
from tests.support.rogue_server import Server, Words

OUTSIDE = "127.9.9.9"
INSIDE = "127.0.0.1/32"
PASSWORD = "s3cret-of-the-instances"


class Listener:
    """A server outside the allowed networks that keeps all bytes it receives."""

    def __init__(self) -> None:
        self.received: list[bytes] = []
        self._listener = socket.create_server((OUTSIDE, 0))
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def port(self) -> int:
        port: int = self._listener.getsockname()[1]
        return port

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                sock, _ = self._listener.accept()
                with sock:
                    sock.settimeout(2)
                    self.received.append(sock.recv(1000))

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


@pytest.fixture
def outside() -> Iterator[Listener]:
    listener = Listener()
    yield listener
    listener.close()


@pytest.fixture(scope="module")
def instance() -> Iterator[str]:
    """A real Redis with a password."""
    with LocalStack(shards=1, replicas=0, sentinels=1, metaservers=0, dashboard=False) as stack:
        yield str(stack.start_redis(None, f"requirepass {PASSWORD}").address)


def bulk(*texts: object) -> bytes:
    parts = [str(text).encode() for text in texts]
    return b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%b\r\n" % (len(p), p) for p in parts)


def naming(host: str, port: int) -> Server:
    """A Sentinel that monitors one master outside the allowed networks."""

    def answer(words: Words) -> bytes:
        if words[0].upper() == b"CLIENT":
            return b"+OK\r\n"
        if words[1].upper() == b"MASTERS":
            return b"*1\r\n" + bulk("name", "other", "ip", host, "port", port, "runid", "0" * 40)
        return b"*-1\r\n" if words[1].upper() == b"GET-MASTER-ADDR-BY-NAME" else b"-ERR\r\n"

    return Server(answer)


def new_pool(instance: str, sentinel: str) -> dict[str, object]:
    shard = {"name": "cache-0", "master": instance}
    return {"pool": "cache", "sentinels": [sentinel], "shards": [shard], "dry_run": True}


def test_a_sentinel_that_names_a_master_outside(
    instance: str, outside: Listener, tmp_path: Path
) -> None:
    password = tmp_path / "password"
    password.write_text(PASSWORD)
    options = ("--redis-password-file", str(password))
    with (
        Metaserver(tmp_path, *options, network=INSIDE) as admin,
        naming(OUTSIDE, outside.port) as rogue,
    ):
        reply = admin("POST", "/v1/pools", new_pool(instance, str(rogue)))
        assert reply.status == 200, reply.text
        assert rogue.connections > 0
    assert outside.received == []


def test_a_sentinel_whose_name_moves_outside(
    instance: str, outside: Listener, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name resolves to an allowed address when it is checked, and to another one later."""
    asked = []

    def getaddrinfo(host: str, port: int | None, *_: object, **__: object) -> list[object]:
        asked.append(host)
        ip = host if host[0].isdigit() else "127.0.0.1" if asked.count(host) == 1 else OUTSIDE
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (ip, port or 0))]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    auth = RedisAuth(None, PASSWORD)
    config = Config(tmp_path / "meta.db", redis_auth=auth, sentinel_auth=auth)
    networks = AllowedNetworks([INSIDE])
    with closing(SqliteStore(config.db)) as store:
        monitor = Monitor(store, config, networks=networks, count_clients=lambda _: 0)
        with pytest.raises(RequestRefused, match="outside the allowed networks"):
            registration.check(
                ServiceContext(store, config, networks, monitor, changed=lambda: None),
                [MasterCandidate("cache-0", instance)],
                [f"rebound.test:{outside.port}"],
                allow_nonempty=False,
            )
    assert asked.count("rebound.test") == 2
    assert outside.received == []
