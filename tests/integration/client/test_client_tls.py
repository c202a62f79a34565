"""The client against servers that speak TLS."""

from __future__ import annotations

import signal
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

import cachemesh
from cachemesh.local.binaries import find_redis_server
from tests.support import rogue_server
from tests.support.both_clients import CLIENTS, calling
from tests.support.configured_servers import Servers, await_port, issue_certificate
from tests.support.secured_clients import BIG, connect, run, use, use_async
from tests.support.server_capabilities import needs_tls
from tests.support.waiting import in_time, until


@dataclass
class Tls:
    url: str
    secure_sentinel_url: str
    ca: str
    servers: Servers
    shards: list[int]


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tls]:
    binary = str(find_redis_server().path)
    needs_tls(binary)
    directory = tmp_path_factory.mktemp("tls")
    ca, secure = issue_certificate(directory)
    servers = Servers(binary, directory)
    try:
        shards = [servers.start(["port 0", "tls-port PORT", 'save ""', *secure]) for _ in range(2)]
        plain = servers.ports.take()
        monitor = [f"sentinel monitor s-{i} 127.0.0.1 {port} 1" for i, port in enumerate(shards)]
        sentinel = servers.start(
            [f"port {plain}", "tls-port PORT", "tls-replication yes", *secure, *monitor],
            sentinel=True,
        )
        for port in (*shards, plain, sentinel):
            await_port(port)
        yield Tls(
            f"cachemesh+sentinel://127.0.0.1:{plain}/s",
            f"cachemesh+sentinel://127.0.0.1:{sentinel}/s",
            ca,
            servers,
            shards,
        )
    finally:
        servers.stop()


def test_tls_by_options_of_the_url(tls: Tls) -> None:
    url = f"{tls.url}?ssl=true&ssl_ca_certs={tls.ca}&decode_responses=true"
    with connect(url) as mesh:
        use(mesh)
    run(use_async, url)


@pytest.mark.parametrize("protocol", [2, 3])
def test_tls_by_keywords(tls: Tls, protocol: int) -> None:
    options: dict[str, Any] = {"ssl": True, "ssl_ca_certs": tls.ca, "decode_responses": True}
    with connect(tls.url, protocol=protocol, **options) as mesh:
        use(mesh)
    run(use_async, tls.url, protocol=protocol, **options)


@pytest.mark.parametrize("name", ["localhost", "other.test"])
def test_certificates_are_for_the_name(
    tls: Tls, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = socket.getaddrinfo
    monkeypatch.setattr(
        socket,
        "getaddrinfo",
        lambda _, *args, **kw: known("::1", *args, **kw) + known("127.0.0.1", *args, **kw),
    )
    with rogue_server.Server(rogue_server.sentinel({"s": (name, tls.shards[0])})) as sentinel:
        url = (
            f"cachemesh+sentinel://{sentinel}/s?shards=s"
            f"&ssl=true&ssl_ca_certs={tls.ca}&ssl_check_hostname=true"
        )
        for kind in CLIENTS:
            with calling(kind, url) as caller:
                if name == "localhost":
                    assert caller(lambda mesh: mesh.set("k", "v")) is True
                else:
                    with pytest.raises(cachemesh.ShardUnavailableError, match=r"(?i)certificate"):
                        caller(lambda mesh: mesh.set("k", "v"))


def test_sentinels_over_tls(tls: Tls) -> None:
    url = f"{tls.secure_sentinel_url}?ssl=true&ssl_ca_certs={tls.ca}"
    with connect(f"{url}&sentinel_ssl=true") as mesh:
        assert mesh.set("a", 1) is True
    with (
        connect(url) as mesh,
        pytest.raises(cachemesh.SentinelUnavailableError),
    ):
        mesh.set("a", 1)
    with pytest.raises(cachemesh.ConfigurationError, match="sentinel_ssl takes true or false"):
        connect(f"{url}&sentinel_ssl=maybe")


@pytest.mark.parametrize(
    ("options", "reason"),
    [({"ssl": True}, "certificate verify failed"), ({}, "onnection (reset|closed|lost)")],
)
def test_no_trust_or_no_tls_is_an_error_that_names_the_shard(
    tls: Tls, options: dict[str, Any], reason: str
) -> None:
    match = f"'s-[01]' at 127.0.0.1:.*{reason}"
    with (
        connect(tls.url, **options) as mesh,
        pytest.raises(cachemesh.ShardUnavailableError, match=match),
    ):
        mesh.get("a")
    with pytest.raises(cachemesh.ShardUnavailableError, match=match):
        run(lambda mesh: mesh.get("a"), tls.url, **options)


def test_a_stalled_tls_server_costs_one_timeout(tls: Tls) -> None:
    url, timeout = f"{tls.url}?ssl=true&ssl_ca_certs={tls.ca}", 0.3
    options: dict[str, Any] = {"socket_timeout": timeout, "socket_connect_timeout": timeout}

    keys = [f"k{i}" for i in range(20)]

    def connected(call: Callable[[], Any]) -> bool:
        """Retry: the time limit may be too short for the first command."""
        try:
            call()
        except cachemesh.ShardUnavailableError:
            return False
        return True

    async def stalled(mesh: Any) -> float:
        while None in await mesh.with_options(on_error="miss").mget(keys):
            pass
        pause_all(tls, True)
        started = time.monotonic()
        with pytest.raises(cachemesh.ShardTimeoutError):
            await mesh.get("k1")
        return time.monotonic() - started

    with connect(url) as mesh:
        mesh.mset(dict.fromkeys(keys, "v"))
    with connect(url, **options) as mesh:
        calls: list[Callable[[], Any]] = [
            lambda: mesh.get("k1"),
            lambda: mesh.mget(keys),
            lambda: mesh.set("k1", BIG),
        ]
        for call in calls:
            until(lambda: connected(lambda: mesh.mget(keys)))
            pause_all(tls, True)
            try:
                started = time.monotonic()
                with pytest.raises(cachemesh.ShardTimeoutError):
                    call()
                in_time(time.monotonic() - started, timeout)
            finally:
                pause_all(tls, False)
        until(lambda: connected(lambda: mesh.get("k1")))
        assert mesh.get("k1") in (b"v", BIG.encode())
    try:
        in_time(run(stalled, url, **options), timeout)
    finally:
        pause_all(tls, False)


def pause_all(tls: Tls, pause: bool) -> None:
    for port in tls.shards:
        tls.servers.running[port].send_signal(signal.SIGSTOP if pause else signal.SIGCONT)
