"""The metaserver's connections to instances and Sentinels that speak TLS and ask for certificates.

What a whole pool does over TLS, tests/integration/cli/test_tls_stack.py shows.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import redis
import trustme
from click.testing import CliRunner

from cachemesh.local.binaries import find_redis_server
from metaserver.cli import serve
from metaserver.failover.participant_instance import ParticipantInstance
from metaserver.process.config import RedisAuth, RedisTls
from metaserver.redis_io.admission import check_new_master
from metaserver.redis_io.allowed_networks import AllowedNetworks, InstanceRejected
from metaserver.redis_io.bounded_connection import BoundedConnection, reason_of
from metaserver.redis_io.sentinel_group import SentinelGroup
from tests.support.configured_servers import Servers, await_port
from tests.support.metaserver_loops import NETWORKS
from tests.support.server_capabilities import needs_tls

PLAIN = RedisAuth()
TIMEOUT = 5.0


@dataclass(frozen=True)
class Site:
    """A master and a Sentinel with TLS and mutual authentication, and a plain master.

    Their certificate is for 127.0.0.1 and localhost.
    """

    master: int
    sentinel: int
    plain: int
    auth: RedisAuth
    tls: RedisTls

    def at(self, host: str = "127.0.0.1") -> str:
        return f"{host}:{self.master}"

    def call(self, host: str, auth: RedisAuth, **options: Any) -> Any:
        connection = BoundedConnection(self.at(host), NETWORKS, auth, TIMEOUT, **options)
        try:
            return connection.call("PING")
        finally:
            connection.close()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    binary = str(find_redis_server().path)
    needs_tls(binary)
    directory = tmp_path_factory.mktemp("tls")
    authority = trustme.CA()
    ca = directory / "ca.pem"
    authority.cert_pem.write_to_path(str(ca))
    files = {}
    for name, identities in (("server", ("127.0.0.1", "localhost")), ("client", ("ops.test",))):
        issued = authority.issue_cert(*identities)
        files[name] = directory / f"{name}.pem", directory / f"{name}.key"
        issued.cert_chain_pems[0].write_to_path(str(files[name][0]))
        issued.private_key_pem.write_to_path(str(files[name][1]))
    secure = [
        *("port 0", "tls-port PORT", "tls-replication yes", f'tls-ca-cert-file "{ca}"'),
        *(f'tls-cert-file "{files["server"][0]}"', f'tls-key-file "{files["server"][1]}"'),
    ]
    servers = Servers(binary, directory)
    try:
        master = servers.start([*secure, 'save ""'])
        sentinel = servers.start([*secure, "bind 127.0.0.1"], sentinel=True)
        plain = servers.start(["port PORT", 'save ""'])
        for port in servers.running:
            await_port(port)
        certfile, keyfile = map(str, files["client"])
        tls = RedisTls(str(ca), certfile, keyfile)
        yield Site(master, sentinel, plain, RedisAuth(tls=tls), tls)
    finally:
        servers.stop()


def rejected(address: str, auth: RedisAuth, timeout: float = TIMEOUT) -> InstanceRejected:
    with pytest.raises(InstanceRejected) as caught:
        check_new_master(address, auth, allowed=NETWORKS, timeout=timeout)
    return caught.value


def test_a_master_is_examined(site: Site) -> None:
    report = check_new_master(site.at(), site.auth, allowed=NETWORKS, timeout=TIMEOUT)
    assert report.keys == 0
    assert site.call("localhost", site.auth) == b"PONG"


def test_who_shows_no_certificate_is_not_let_in(site: Site) -> None:
    without = RedisAuth(tls=RedisTls(site.tls.ca_certs))
    with pytest.raises(redis.ConnectionError):
        site.call("127.0.0.1", without)
    assert rejected(site.at(), without).reason in ("tls", "not-redis")  # it may just hang up


def test_who_is_not_trusted_is_not_spoken_to(site: Site, tmp_path: Path) -> None:
    other = tmp_path / "ca.pem"
    trustme.CA().cert_pem.write_to_path(str(other))
    error = rejected(site.at(), RedisAuth(tls=replace(site.tls, ca_certs=str(other))))
    assert (error.reason, error.address) == ("tls", site.at())
    assert "certificate verify failed" in error.detail
    assert "--ssl-" in error.next_step


def test_an_address_that_the_certificate_is_not_for(site: Site) -> None:
    address = site.at("127.0.0.2")
    error = rejected(address, site.auth)
    assert error.reason == "tls"
    assert "not valid for '127.0.0.2'" in error.detail
    lenient = RedisAuth(tls=replace(site.tls, check_hostname=False))
    assert check_new_master(address, lenient, allowed=NETWORKS, timeout=TIMEOUT).address == address


def test_one_side_alone_speaks_tls(site: Site) -> None:
    # A server without TLS waits for the end of a line.
    error = rejected(f"127.0.0.1:{site.plain}", site.auth, timeout=0.5)
    assert error.reason == "timeout"
    assert "--redis-ssl" in error.next_step
    assert rejected(site.at(), PLAIN).reason == "not-redis"
    assert "--redis-ssl" in rejected(site.at(), PLAIN).next_step


def test_a_name_is_looked_up_once_and_the_certificate_is_for_it(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, known = [], socket.getaddrinfo

    def getaddrinfo(host: str, port: Any, *args: Any, **options: Any) -> Any:
        asked.append(host)
        leads_to = "127.0.0.1" if len(asked) == 1 else "192.0.2.1"
        return known(leads_to, port, *args, **options)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    assert site.call("localhost", site.auth) == b"PONG"
    assert asked == ["localhost"]
    with pytest.raises(redis.ConnectionError, match="outside the allowed networks"):
        site.call("localhost", site.auth)
    asked.clear()
    with pytest.raises(redis.ConnectionError, match=r"not valid for 'other\.test'"):
        site.call("other.test", site.auth)


def test_an_address_that_was_checked_before(site: Site) -> None:
    """A failover and a sweep connect to the IP address that a name stood for."""
    for name, good in (("localhost", True), ("other.test", False)):
        instance = ParticipantInstance(site.at(name), site.at(), NETWORKS, site.auth, TIMEOUT)
        try:
            if good:
                assert instance.ask_role().role == "master"
            else:
                with pytest.raises(redis.ConnectionError, match=r"not valid for 'other\.test'"):
                    instance.ask_role()
        finally:
            instance.connection.close()


def test_sentinels(site: Site) -> None:
    for host in ("127.0.0.1", "localhost"):
        address = f"{host}:{site.sentinel}"
        with SentinelGroup([address], NETWORKS, site.auth, timeout=TIMEOUT) as sentinels:
            assert sentinels.register("s", site.at(), 1, site.auth).failed == {}
            assert sentinels.master_of("s") == site.at()
            assert sentinels.unregister("s").failed == {}
        with SentinelGroup([address], NETWORKS, PLAIN, timeout=TIMEOUT) as sentinels:
            assert set(sentinels.unregister("s").failed) == {address}


def test_networks_are_checked_before_anything_is_sent(site: Site) -> None:
    connection = BoundedConnection(site.at(), AllowedNetworks(["10.0.0.0/8"]), site.auth, TIMEOUT)
    with pytest.raises(redis.ConnectionError, match="outside the allowed networks"):
        connection.call("PING")


def test_a_file_that_vanishes_is_an_error_of_the_connection(site: Site, tmp_path: Path) -> None:
    gone = RedisAuth(tls=RedisTls(str(tmp_path / "gone.pem")))
    with pytest.raises(redis.ConnectionError) as caught:
        site.call("127.0.0.1", gone)
    assert reason_of(caught.value).startswith(f"TLS: {tmp_path / 'gone.pem'}: No such file")


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["--ssl-ca-certs", "CA"], "--redis-ssl and --sentinel-ssl to whom"),
        (["--no-ssl-check-hostname"], "--redis-ssl and --sentinel-ssl to whom"),
        (["--redis-ssl", "--ssl-keyfile", "CA"], "give --ssl-certfile"),
        (["--redis-ssl", "--ssl-ca-certs", "/nowhere.pem"], "/nowhere.pem: No such file"),
        (["--sentinel-ssl", "--ssl-certfile", "CA"], "give PEM files that can be read"),
        (["--redis-ssl", "--ssl-password", "s3cret-word"], "env:NAME|file:PATH, never"),
    ],
)
def test_options_that_do_not_fit(site: Site, tmp_path: Path, words: list[str], reason: str) -> None:
    ca = site.tls.ca_certs or ""
    given = [ca if word == "CA" else word for word in words]
    done = CliRunner().invoke(serve, ["--db", str(tmp_path / "meta.db"), *given])
    assert done.exit_code == 2
    text = " ".join(done.output.replace("│", " ").split())
    assert reason in text
    assert "s3cret-word" not in text
