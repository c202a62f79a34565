"""No secret is written anywhere: logs at the lowest level, answers, pages, errors, `ps`, files.

Every secret of a deployment is a canary. All of its parts are driven well and badly, and what they
wrote is searched. A secret is given out on purpose at one place: the answer to a call that makes
or rotates a token, and what the CLI prints or writes of that.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import logging
import re
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import pytest
import redis
import trustme
from cryptography.hazmat.primitives import serialization

import cachemesh
from cachemesh import CacheMesh
from cachemesh.asyncio import CacheMesh as AsyncCacheMesh
from cachemesh.core.errors import CacheMeshError, MetaserverUnavailableError
from cachemesh.discovery.metaserver import MetaserverClient
from cachemesh.discovery.url import parse_url
from cachemesh.local.binaries import find_redis_server
from cachemesh.local.ports import Ports
from metaserver.process.config import Config, RedisAuth, RedisTls, ZookeeperOptions
from metaserver.redis_io.bounded_connection import BoundedConnection
from metaserver.redis_io.sentinel_group import SentinelGroup
from tests.support.canaries import Evidence, forms, new_canary
from tests.support.cli_in_process import run_here
from tests.support.configured_servers import Servers, await_port
from tests.support.metaserver_loops import NETWORKS
from tests.support.metaserver_process import Api, environment
from tests.support.rogue_server import Server
from tests.support.rogue_server import sentinel as rogue_sentinel
from tests.support.server_capabilities import needs_tls
from tests.support.waiting import AT_MOST, until
from tests.support.zookeeper import Ensemble

OPS, APP, SENTINEL, KEY, ZOOKEEPER = "ops", "app", "Sentinel", "TLS key", "ZooKeeper"
WRONG, IN_URL, SESSION = "a wrong one", "in a URL", "dashboard session"
_LONG, _MOST = 100, 2_000  # elements of a container that is looked into; objects looked at


def test_the_search_finds_every_form() -> None:
    secret = new_canary()
    evidence = Evidence({"s": secret})
    evidence.add("clean", b"nothing here")
    assert evidence.found() == []
    for _, text in forms(secret):
        evidence.add("planted", b"x" + text + b"y")
    assert len({line.partition(" in ")[0] for line in evidence.found()}) == len(list(forms(secret)))


@dataclass
class Site:
    """A deployment on ZooKeeper, with TLS and logins wherever there are such.

    Attributes:
        shards: name -> port of the master.
    """

    directory: Path
    evidence: Evidence
    servers: Servers
    ensemble: Ensemble
    shards: dict[str, int] = field(default_factory=dict)
    sentinel: int = 0
    metaserver: str = ""
    dashboard: str = ""
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def secret(self, name: str) -> str:
        return self.evidence.secrets[name]

    def path(self, name: str) -> str:
        return str(self.directory / name)

    def write(self, name: str, text: str) -> str:
        path = Path(self.path(name))
        path.touch(mode=0o600)
        path.write_text(text)
        return str(path)

    @property
    def admin(self) -> str:
        return Path(self.path("token")).read_text().strip()

    @property
    def api(self) -> Api:
        return Api(self.metaserver, self.admin)

    @property
    def redis_options(self) -> dict[str, Any]:
        """An app's options for instances."""
        return {
            "username": "app",
            "password": self.secret(APP),
            "ssl": True,
            "ssl_ca_certs": self.path("ca.pem"),
            "ssl_certfile": self.path("client.pem"),
            "ssl_keyfile": self.path("client.key"),
            "ssl_password": self.secret(KEY),
            "sentinel_ssl": True,
            "sentinel_password": self.secret(SENTINEL),
        }

    def url(self, scheme: str = "cachemesh", **more: Any) -> str:
        """Return a pool's URL with all of an app's options, as an operator would write it."""
        at = {
            "cachemesh": self.metaserver,
            "cachemesh+sentinel": f"127.0.0.1:{self.sentinel}",
            "cachemesh+zk": f"{self.ensemble.hosts}/cachemesh",
        }[scheme]
        options = {**self.redis_options, "ssl": "true", "sentinel_ssl": "true", **more}
        return f"{scheme}://{at}/cache?{urlencode(options, quote_via=quote)}"

    def start(self, name: str, *words: str, secrets: dict[str, str] | None = None) -> None:
        """Start a program of this project, all of whose loggers write to a file."""
        with Path(self.path(f"{name}.log")).open("ab") as log:
            self.processes[name] = subprocess.Popen(
                [sys.executable, "-m", "tests.support.at_debug", name.partition("-")[0], *words],
                stdout=log,
                stderr=log,
                env={**environment(), **(secrets or {})},
            )

    def run(self, *words: str, secrets: dict[str, str] | None = None, told: bool = False) -> str:
        """Run the CLI, keep what it says as evidence unless `told`, and return its stdout."""
        _, out, err = run_here(secrets or {}, *words)
        if not told:
            self.evidence.add(f"cachemesh {' '.join(words)}", out + err)
        return out

    def failed(self, source: str, error: BaseException) -> None:
        """Keep all that an app could log of an error."""
        text = "".join(traceback.format_exception(error))
        each: BaseException | None = error
        seen: list[BaseException] = []
        while each is not None and each not in seen:
            seen.append(each)
            text += f"{each!r}\n{each}\n{each.args!r}\n{vars(each)!r}\n"
            each = each.__cause__ or each.__context__
        self.evidence.add(f"error of {source}", text)


@pytest.fixture(scope="module")
def evidence() -> Evidence:
    names = (OPS, APP, SENTINEL, KEY, ZOOKEEPER, WRONG, IN_URL)
    return Evidence({name: new_canary() for name in names})


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, evidence: Evidence) -> Iterator[Site]:
    binary = str(find_redis_server().path)
    needs_tls(binary)
    directory = tmp_path_factory.mktemp("site")
    servers = Servers(binary, directory)
    with ExitStack() as running:
        running.callback(servers.stop)
        ensemble = Ensemble(directory / "zookeeper", 1)
        running.enter_context(ensemble)
        found = Site(directory, evidence, servers, ensemble)
        _issue(found)
        _start_instances(found)
        running.callback(_end, found)
        _start_control_plane(found)
        yield found


def _issue(site: Site) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(site.path("ca.pem"))
    for name, identity in (("server", "127.0.0.1"), ("client", "app.test")):
        issued = authority.issue_cert(identity)
        issued.cert_chain_pems[0].write_to_path(site.path(f"{name}.pem"))
        key = issued.private_key_pem.bytes()
        if name == "client":
            key = serialization.load_pem_private_key(key, None).private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.BestAvailableEncryption(site.secret(KEY).encode()),
            )
        Path(site.path(f"{name}.key")).write_bytes(key)


def _start_instances(site: Site) -> None:
    secure = [
        *("port 0", "tls-port PORT", "tls-replication yes", 'save ""'),
        *(f'tls-{kind}-file "{site.path(name)}"' for kind, name in (
            ("ca-cert", "ca.pem"), ("cert", "server.pem"), ("key", "server.key")
        )),
    ]  # fmt: skip
    logins = [
        f"user ops on >{site.secret(OPS)} ~* &* +@all",
        f"user app on >{site.secret(APP)} ~* &* +@all -@dangerous +role +keys +info",
        "user default off",
        f"masterauth {site.secret(OPS)}",
        "masteruser ops",
    ]
    start = site.servers.start
    for name in ("cache-0", "cache-1", "spare"):
        site.shards[name] = start([*secure, *logins])
        await_port(site.shards[name])
    replica = start([*secure, *logins, f"replicaof 127.0.0.1 {site.shards['cache-0']}"])
    lines = [*(each for each in secure if "save" not in each)]
    lines.append(f"requirepass {site.secret(SENTINEL)}")
    site.sentinel = start(lines, sentinel=True)
    for port in (replica, site.sentinel):
        await_port(port)


def _start_control_plane(site: Site) -> None:
    ports = Ports()
    site.metaserver = f"127.0.0.1:{ports.take()}"
    site.dashboard = f"127.0.0.1:{ports.take()}"
    tls = (
        *("--redis-ssl", "--sentinel-ssl", "--ssl-ca-certs", site.path("ca.pem")),
        *("--ssl-certfile", site.path("client.pem"), "--ssl-keyfile", site.path("client.key")),
        *("--ssl-password", "env:KEY_PASSWORD"),
    )
    zookeeper = (
        *("--zookeeper", f"{site.ensemble.hosts}/cachemesh"),
        *("--zookeeper-auth-file", site.write("digest", f"meta:{site.secret(ZOOKEEPER)}")),
        *("--token-file", site.path("token"), "--allow-network", "127.0.0.0/8"),
    )
    logins = (
        *("--redis-username", "ops", "--redis-password", "env:OPS_PASSWORD"),
        "--sentinel-password",
        f"file:{site.write('sentinel-password', site.secret(SENTINEL))}",
    )
    secrets = {"OPS_PASSWORD": site.secret(OPS), "KEY_PASSWORD": site.secret(KEY)}
    site.start(
        "metaserver", "--listen", site.metaserver, *zookeeper, *logins, *tls, secrets=secrets
    )
    observing = f"cachemesh+sentinel://127.0.0.1:{site.sentinel}/cache"
    site.start(
        "metaserver-observer",
        *("--listen", f"127.0.0.1:{ports.take()}", "--observe", observing),
        *("--token-file", site.path("observer-token"), "--allow-network", "127.0.0.0/8"),
        *(*logins, *tls),
        secrets=secrets,
    )
    site.start("dashboard", "--listen", site.dashboard, "--metaserver", f"http://{site.metaserver}")

    def ready() -> bool:
        ended = [name for name, process in site.processes.items() if process.poll() is not None]
        assert not ended, Path(site.path(f"{ended[0]}.log")).read_text()[-3000:]
        with suppress(OSError, http.client.HTTPException):
            return site.api("GET", "/readyz").status == 200
        return False

    until(ready)
    site.evidence.secrets["admin token"] = site.admin


def _end(site: Site) -> None:
    for process in site.processes.values():
        process.send_signal(signal.SIGTERM)
    for process in site.processes.values():
        try:
            process.wait(AT_MOST)
        finally:
            process.kill()


@contextmanager
def everything_logged(site: Site) -> Iterator[None]:
    """Keep as evidence what all loggers of this process say, at any level."""
    root = logging.getLogger()
    before, lines = root.level, []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(self.format(record))

    handler = Keep(1)
    handler.setFormatter(logging.Formatter("%(name)s %(message)s %(args)r"))
    root.addHandler(handler)
    root.setLevel(1)
    try:
        yield
    finally:
        root.setLevel(before)
        root.removeHandler(handler)
        assert lines
        site.evidence.add("the app's log", "\n".join(lines))


def test_no_secret_is_written_anywhere(site: Site, tmp_path: Path) -> None:
    with everything_logged(site):
        drive_api(site)
        drive_clients(site, tmp_path / "snapshots")
        drive_wrong_logins(site)
        drive_echoes(site)
        drive_cli(site, tmp_path)
    drive_dashboard(site)
    keep_processes(site)
    show_settings(site)
    for name in site.processes:
        site.evidence.add(f"log of the {name}", Path(site.path(f"{name}.log")).read_bytes())
    for path in (tmp_path / "snapshots").rglob("*"):
        if path.is_file():
            site.evidence.add(f"snapshot {path.name}", path.read_bytes())
    assert any(source.startswith("snapshot") for source, _ in site.evidence.pieces)
    keep_znodes(site)
    found = site.evidence.found()
    if found:
        pytest.fail("\n".join(found), pytrace=False)


def keep(site: Site, api: Api, method: str, path: str, body: Any = None, **options: Any) -> Any:
    """Make a call, keep its answer as evidence, and return what the answer says."""
    reply = api(method, path, body, **options)
    site.evidence.add(f"{method} {path}", f"{reply.status} {reply.headers} {reply.text}")
    assert reply.status < 500 or reply.status == 503, reply.text
    return reply.json


def drive_api(site: Site) -> None:
    api = site.api
    wrong = Api(site.metaserver, site.secret(WRONG))
    at = {name: f"127.0.0.1:{port}" for name, port in site.shards.items()}
    shards = [{"name": name, "master": at[name]} for name in ("cache-0", "cache-1")]
    pool = {"pool": "cache", "sentinels": [f"127.0.0.1:{site.sentinel}"], "shards": shards}
    keep(site, wrong, "POST", "/v1/pools", pool)
    for refused in ("127.0.0.1:1", "192.0.2.1:1", f"127.0.0.1:{site.sentinel}", "nonsense"):
        bad = {**pool, "shards": [{"name": "cache-0", "master": refused}]}
        keep(site, api, "POST", "/v1/pools", bad)
    made = api("POST", "/v1/pools", pool)
    assert made.status == 201, made.text
    site.evidence.add("POST /v1/pools", made.text)
    until(lambda: api("GET", "/v1/pools/cache/status").json.get("health") in ("ok", "degraded"))
    for name in ("reader", "other"):
        token = api("POST", "/v1/tokens", {"name": name, "role": "read"})  # given out here
        assert token.status == 201, token.text
        site.evidence.secrets[f"token {name}"] = token.json["token"]
        if name == "other":
            rotated = api("POST", f"/v1/tokens/{token.json['id']}/rotate", {"overlap": 60})
            assert rotated.status < 300, rotated.text
            site.evidence.secrets["rotated token"] = rotated.json["token"]
    reader = Api(site.metaserver, site.secret("token reader"))
    keep(site, reader, "DELETE", "/v1/pools/cache")
    keep(site, reader, "POST", "/v1/tokens", {"name": site.secret(WRONG), "role": "none"})
    keep(site, wrong, "GET", "/v1/pools")
    odd = {"Authorization": f"Basic {site.secret(WRONG)}"}
    keep(site, Api(site.metaserver), "GET", "/v1/pools", headers=odd)
    keep(site, api, "POST", "/v1/pools/cache/watch", raw=b"{")
    keep(site, api, "POST", "/v1/pools/cache/failover", {"shard": "cache-0"})
    keep(site, api, "POST", "/v1/pools/cache/shards/cache-0/failover", {}, timeout=90)
    keep(site, api, "POST", "/v1/pools/cache/shards", {"name": "spare", "master": at["spare"]})
    until(lambda: "spare" in api("GET", "/v1/pools/cache").text)
    for path in (
        *("/v1/pools", "/v1/pools/cache", "/v1/pools/cache/status", "/v1/pools/cache/shards"),
        *("/v1/pools/cache/clients", "/v1/pools/cache/convergence", "/v1/pools/cache/quality"),
        *("/v1/tokens", "/v1/events", "/v1/backup", "/v1/metaservers", "/metrics", "/leader"),
        *("/readyz", "/livez", "/openapi.json", "/v1/pools/cache/shards/cache-0"),
    ):
        keep(site, api, "GET", path)


def drive_clients(site: Site, snapshots: Path) -> None:
    where = {"snapshot_dir": str(snapshots)}
    token = {"token": site.secret("token reader")}
    login = {"zookeeper_auth": f"meta:{site.secret(ZOOKEEPER)}"}
    urls = {
        "cachemesh": site.url(**where, **token),
        "cachemesh+sentinel": site.url("cachemesh+sentinel", **where),
        "cachemesh+zk": site.url("cachemesh+zk", **where, **token, **login),
    }
    for scheme, url in urls.items():
        with CacheMesh.from_url(url) as mesh:
            until(partial(mesh.with_options(on_error="miss").set, "k", "v"))
            show(site, scheme, mesh)
            with suppress(redis.RedisError):
                mesh.execute_command("NOSUCH", "k")
            try:
                mesh.lpush("k", "x")
            except redis.RedisError as error:
                site.failed("lpush", error)
        mesh_url = parse_url(url, {})
        parts = (mesh_url, mesh_url.sentinel_options, mesh_url.make_source(), mesh_url.snapshot)
        site.evidence.add(f"{scheme} URL", "\n".join(f"{part!r} {part}" for part in parts))

    async def use() -> None:
        async with AsyncCacheMesh.from_url(urls["cachemesh"]) as mesh:
            await mesh.with_options(on_error="miss").set("k", "v")
            show(site, "asyncio", mesh)

    asyncio.run(use())


def show(site: Site, what: str, mesh: Any) -> None:
    """Keep the texts of a client and of all objects of ours that can be reached from it."""
    site.evidence.add(f"health of {what}", f"{mesh.health()!r} {dict(mesh.health())}")
    made = (mesh.pipeline(), mesh.pubsub(), mesh.lock("l"))
    site.evidence.add(f"what {what} makes", repr(made))
    for each in reachable(mesh):
        site.evidence.add(f"text of a {type(each).__name__} of {what}", f"{each!r} {each}")


def reachable(start: object) -> Iterator[object]:
    """Yield the objects of ours and of redis-py that can be reached from one."""
    seen, waiting = {id(start)}, [start]
    while waiting and len(seen) < _MOST:
        each = waiting.pop()
        held: list[object] = []
        if isinstance(each, dict) and len(each) <= _LONG:
            held = list(each.values())
        elif isinstance(each, (list, tuple, set, frozenset)) and len(each) <= _LONG:
            held = list(each)
        elif type(each).__module__.startswith(("cachemesh", "redis.")):
            yield each
            held = list(getattr(each, "__dict__", {}).values())
            slots = [name for kind in type(each).__mro__ for name in getattr(kind, "__slots__", ())]
            held += [getattr(each, name, None) for name in slots]
        for one in held:
            if id(one) not in seen:
                seen.add(id(one))
                waiting.append(one)


def drive_wrong_logins(site: Site) -> None:
    wrong, in_url = site.secret(WRONG), site.secret(IN_URL)
    attempts: dict[str, Callable[[], Any]] = {
        "a wrong password": lambda: use_once(site.url(password=wrong)),
        "a wrong password, Sentinels alone": lambda: use_once(
            site.url("cachemesh+sentinel", password=wrong)
        ),
        "a wrong Sentinel password": lambda: use_once(
            site.url("cachemesh+sentinel", sentinel_password=wrong)
        ),
        "a wrong token": lambda: use_once(site.url(token=wrong)),
        "a wrong key password": lambda: use_once(site.url(ssl_password=wrong)),
        "a wrong digest": lambda: use_once(
            site.url("cachemesh+zk", zookeeper_auth=f"meta:{wrong}", token=wrong)
        ),
        "a malformed digest": lambda: use_once(site.url("cachemesh+zk", zookeeper_auth=wrong)),
        "user information": lambda: CacheMesh.from_url(f"cachemesh://user:{in_url}@h:1/cache"),
        "a wrong scheme": lambda: CacheMesh.from_url(f"redis://:{in_url}@h:1/0"),
        "no scheme": lambda: CacheMesh.from_url(f"user:{in_url}@h:1/cache"),
        "a password as option": lambda: CacheMesh.from_url(site.url(), socket_timeout=in_url),
        "a password as its name": lambda: CacheMesh.from_url(site.url() + f"&db={in_url}"),
        "a token file that is none": lambda: use_once(site.url(token_file="/nowhere")),
        "nobody there": lambda: use_once(site.url().replace(site.metaserver, "127.0.0.1:1")),
        "no Sentinel": lambda: use_once(
            site.url("cachemesh+sentinel").replace(f":{site.sentinel}", ":1")
        ),
    }
    for name, attempt in attempts.items():
        try:
            attempt()
        except (CacheMeshError, redis.RedisError, ValueError, TypeError) as error:
            site.failed(name, error)
        else:
            raise AssertionError(f"{name} was accepted")


def use_once(url: str, **options: Any) -> None:
    with CacheMesh.from_url(url, snapshot_dir="off", command_timeout=2.0, **options) as mesh:
        mesh.get("k")


def use_echoing_instance(site: Site, at: str, protocol: int) -> None:
    """Log in to an instance that repeats everything, in both clients."""
    host, _, port = at.rpartition(":")
    with Server(rogue_sentinel({"s": (host, int(port))})) as server:
        url = f"cachemesh+sentinel://{server}/s?shards=s"
        login = {"username": "app", "password": site.secret(APP), "protocol": protocol}

        async def use() -> None:
            async with AsyncCacheMesh.from_url(url, snapshot_dir="off", **login) as mesh:
                await mesh.get("k")

        try:
            asyncio.run(use())
        except redis.RedisError as error:
            site.failed("an instance that echoes, to asyncio", error)
        use_once(url, **login)


def drive_echoes(site: Site) -> None:
    """Servers that repeat what they were sent, as some do in errors, and proxies in pages."""

    def echo(words: list[bytes]) -> bytes:
        return b"-ERR unknown command, with args beginning with: " + b" ".join(words) + b"\r\n"

    with Server(echo) as server:
        at = str(server)
        for auth in (RedisAuth(None, site.secret(OPS)), RedisAuth("ops", site.secret(OPS))):
            try:
                BoundedConnection(at, NETWORKS, auth, AT_MOST).call("PING")
            except redis.RedisError as error:
                site.failed("an instance that echoes, to the metaserver", error)
        for protocol in (2, 3):
            attempts: list[Callable[[], None]] = [
                partial(
                    use_once,
                    f"cachemesh+sentinel://{at}/cache",
                    sentinel_password=site.secret(SENTINEL),
                    protocol=protocol,
                ),
                partial(use_echoing_instance, site, at, protocol),
            ]
            for attempt in attempts:
                try:
                    attempt()
                except (redis.RedisError, CacheMeshError) as error:
                    site.failed("a server that echoes", error)
                else:
                    raise AssertionError("the echo was accepted")

    def sentinel(words: list[bytes]) -> bytes:
        return b"*0\r\n" if words[1:2] == [b"MASTERS"] else echo(words)

    with Server(sentinel) as server, SentinelGroup([str(server)], NETWORKS, RedisAuth()) as group:
        outcome = group.register("s", "127.0.0.1:1", 1, RedisAuth("ops", site.secret(OPS)))
        assert outcome.failed
        site.evidence.add("a Sentinel that echoes, to the metaserver", repr(outcome))

    with _web_echo() as at:
        client = MetaserverClient([at], site.admin)
        try:
            client.request("GET", "/v1/pools")
        except (CacheMeshError, MetaserverUnavailableError) as error:
            site.failed("a web server that echoes", error)
        else:
            raise AssertionError("the echo was accepted")


@contextmanager
def _web_echo() -> Iterator[str]:
    """Serve problem documents that repeat the request's headers."""
    from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
    from threading import Thread

    class Echo(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps({"title": "No", "code": "no", "detail": str(self.headers)}).encode()
            self.send_response(403)
            self.send_header("Content-Type", "application/problem+json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Echo)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def drive_cli(site: Site, tmp_path: Path) -> None:
    at = {"CACHEMESH_URL": site.url(), "CACHEMESH_TOKEN_FILE": site.path("token")}
    for words in (
        *(("pool", "list"), ("pool", "status"), ("shard", "list"), ("client", "list")),
        *(("event", "list"), ("token", "list"), ("key", "get", "k")),
        ("pool", "show"),
        ("shard", "remove", "spare", "--yes"),
    ):
        site.run(*words, secrets=at)
        if words[-1] != "--yes":
            site.run(*words, "-o", "json", secrets=at)
    site.run("doctor", secrets=at)
    wrong = {**at, "CACHEMESH_TOKEN": site.secret(WRONG)}
    del wrong["CACHEMESH_TOKEN_FILE"]
    site.run("pool", "list", secrets=wrong)
    site.run("key", "get", "k", secrets={**at, "CACHEMESH_URL": site.url(password="no")})
    site.run("pool", "list", secrets={"CACHEMESH_URL": f"cachemesh://u:{site.secret(IN_URL)}@h/p"})
    site.run("pool", "list", secrets={"CACHEMESH_URL": f"x://u:{site.secret(IN_URL)}@h/p"})
    site.run("pool", "list", secrets={**at, "CACHEMESH_URL": site.url().replace("/cache?", "?")})
    made = site.run("token", "create", "shown", "--role", "read", secrets=at, told=True)
    site.evidence.secrets["token shown"] = made.strip().splitlines()[0]
    kept = tmp_path / "kept"
    site.run("token", "create", "kept", "--role", "read", "--output-file", str(kept), secrets=at)
    site.evidence.secrets["token kept"] = kept.read_text().strip()
    backup = tmp_path / "backup.json"
    site.run("store", "backup", str(backup), secrets=at)
    site.evidence.add("the backup", backup.read_bytes())


def drive_dashboard(site: Site) -> None:
    cookies: dict[str, str] = {}

    def ask(method: str, path: str, form: dict[str, str] | None = None) -> str:
        connection = http.client.HTTPConnection(site.dashboard, timeout=AT_MOST)
        headers = {"Cookie": "; ".join(f"{name}={value}" for name, value in cookies.items())}
        if form is not None:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        try:
            connection.request(method, path, urlencode(form) if form else None, headers)
            reply = connection.getresponse()
            for cookie in reply.headers.get_all("Set-Cookie") or ():
                name, _, value = cookie.partition(";")[0].partition("=")
                cookies[name] = value
                del reply.headers["Set-Cookie"]
            page = reply.read().decode()
        finally:
            connection.close()
        site.evidence.add(f"dashboard {method} {path}", f"{reply.headers} {page}")
        return page

    def sign_in(token: str) -> None:
        form = re.search(r'name="csrf" value="([^"]+)"', ask("GET", "/login"))
        assert form is not None
        ask("POST", "/login", {"csrf": form[1], "token": token})

    sign_in(site.secret(WRONG))
    sign_in(site.admin)
    site.evidence.secrets[SESSION] = next(
        value for name, value in cookies.items() if not name.endswith("_login")
    )
    assert "cache-0" in ask("GET", "/pools/cache")
    for path in ("/", "/session", "/pools/none", "/pools/cache/shards/add", "/nowhere"):
        ask("GET", path)


def keep_processes(site: Site) -> None:
    """Keep the command lines and environments of all processes of the site, as `ps` has them."""
    ours = {process.pid: name for name, process in site.processes.items()}
    for entry in Path("/proc").iterdir() if Path("/proc").is_dir() else ():
        with suppress(OSError, ValueError):
            status = (entry / "status").read_text()
            parent = re.search(r"^PPid:\s+(\d+)", status, re.MULTILINE)
            assert parent is not None
            name = ours.get(int(entry.name)) or ours.get(int(parent[1]))
            if name is None:
                continue
            site.evidence.add(f"command line of the {name}", (entry / "cmdline").read_bytes())
            variables = (entry / "environ").read_bytes()
            # A password by `env:NAME` is there, and so told in docs/api.md.
            for line in variables.split(b"\0"):
                if not line.startswith((b"OPS_PASSWORD=", b"KEY_PASSWORD=")):
                    site.evidence.add(f"environment of the {name}", line)


def show_settings(site: Site) -> None:
    tls = RedisTls(password=site.secret(KEY))
    auth = RedisAuth("ops", site.secret(OPS), tls)
    zookeeper = ZookeeperOptions("h:1", "/c", login=site.secret(ZOOKEEPER))
    config = Config(Path("x"), redis_auth=auth, sentinel_auth=auth, zookeeper=zookeeper)
    site.evidence.add("the settings", f"{config!r} {config} {auth} {zookeeper!r} {zookeeper}")
    client = MetaserverClient(["h:1"], site.admin)
    site.evidence.add("a client of metaservers", f"{client!r} {client} {cachemesh!r}")


def keep_znodes(site: Site) -> None:
    from kazoo.client import KazooClient

    client = KazooClient(hosts=site.ensemble.hosts)
    client.start(timeout=AT_MOST)
    try:
        client.add_auth("digest", f"meta:{site.secret(ZOOKEEPER)}")
        waiting = ["/cachemesh"]
        while waiting:
            path = waiting.pop()
            site.evidence.add(f"znode {path}", client.get(path)[0])
            waiting += [f"{path}/{child}" for child in client.get_children(path)]
    finally:
        client.stop()
        client.close()
