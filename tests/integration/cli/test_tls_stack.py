"""`cachemesh up --tls`: every server of a stack speaks TLS alone, and all goes on as without."""

from __future__ import annotations

import asyncio
import http.client
import json
import re
import socket
import ssl
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import pytest

from cachemesh import CacheMesh
from cachemesh.asyncio import CacheMesh as AsyncCacheMesh
from cachemesh.core.errors import LocalStackError
from cachemesh.core.names import parse_address
from cachemesh.local import LocalStack
from cachemesh.local import tls as local_tls
from cachemesh.local.binaries import find_redis_server
from cachemesh.local.probes import connect
from cachemesh.local.tls import StackTls
from tests.support.cli_in_process import run_here
from tests.support.metaserver_process import Metaserver, environment
from tests.support.server_capabilities import needs_tls
from tests.support.waiting import AT_MOST, until

CACHEMESH = str(Path(sys.executable).with_name("cachemesh"))


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A stack that `cachemesh up --tls` has started, in a directory whose name needs quoting."""
    needs_tls(str(find_redis_server().path))
    place = tmp_path_factory.mktemp("with tls") / "stack & more"
    done = cachemesh(
        {}, "up", "--tls", "--detach", "--shards", "2", "--spares", "1", "--dir", str(place)
    )
    try:
        assert done.returncode == 0, done.stderr
        (place / "up.txt").write_text(done.stdout)
        yield place
    finally:
        cachemesh({}, "down", "--dir", str(place))


@pytest.fixture(scope="module")
def printed(directory: Path) -> dict[str, str]:
    """The variables of the lines that `up` printed, as a shell takes them."""
    lines = [line for line in (directory / "up.txt").read_text().splitlines() if "export " in line]
    script = "\n".join([*lines, "env -0"])
    found = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True).stdout
    variables = dict(line.partition("=")[::2] for line in found.split("\0"))
    variables["CACHEMESH_URL"] += "&command_timeout=30"  # the machine may do other things too
    return {k: v for k, v in variables.items() if k.startswith("CACHEMESH_") or k == "SPARE"}


@pytest.fixture(scope="module")
def info(directory: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((directory / "stack.json").read_text())["info"]
    return found


def cachemesh(variables: dict[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [CACHEMESH, *words],
        env={**environment(), "CACHEMESH_SNAPSHOT_DIR": "off", **variables},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def run(printed: dict[str, str]) -> Any:
    def run(*words: str) -> str:
        code, out, err = run_here(printed, *words)
        assert code == 0, out + err
        return out

    return run


def test_commands_end_well(printed: dict[str, str]) -> None:
    """Threads of their client do not speak TLS while the process ends, which would crash it."""
    found = [cachemesh(printed, "key", "set", "k", "v").returncode for _ in range(8)]
    assert found == [0] * 8


def answer(address: str, sent: bytes, context: ssl.SSLContext | None = None) -> bytes:
    """Return the first bytes of an answer, with a context over TLS; none if the server hangs up."""
    host, _, port = address.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=AT_MOST) as plain:
        try:
            if context is None:
                plain.sendall(sent)
                return plain.recv(100)
            with context.wrap_socket(plain, server_hostname=host) as encrypted:
                encrypted.sendall(sent)
                return encrypted.recv(100)
        except (ConnectionError, ssl.SSLError):
            return b""


def test_every_port_speaks_tls_and_none_else(info: dict[str, Any], directory: Path) -> None:
    tls = StackTls(directory / "tls")
    instances = [at for s in info["shards"] for at in (s["master"], *s["replicas"])]
    without = ssl.create_default_context(cafile=tls.ca)
    for address in (*instances, *info["sentinels"]):
        assert b"PONG" not in answer(address, b"PING\r\n")
        assert answer(address, b"PING\r\n", without) == b""
    assert answer(info["metaservers"][0], b"GET /livez HTTP/1.0\r\n\r\n", without) == b""
    for address in (*info["metaservers"], urlsplit(info["dashboard"]).netloc):
        assert b"HTTP" not in answer(address, b"GET /livez HTTP/1.0\r\n\r\n")
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tls.directory.iterdir()}
    assert stat.S_IMODE(tls.directory.stat().st_mode) == 0o700
    assert {modes["server.key"], modes["client.key"]} == {0o600}
    assert sorted(modes) == ["ca.pem", "client.key", "client.pem", "server.key", "server.pem"]


def test_an_app(printed: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in printed.items():
        monkeypatch.setenv(name, value)
    keys = [f"key:{number}" for number in range(20)]
    with CacheMesh.from_env() as mesh:
        assert mesh.mset(dict.fromkeys(keys, "v"))
        assert mesh.mget(keys) == [b"v"] * 20
        with mesh.pubsub() as listener:
            listener.subscribe("news")
            assert listener.get_message(timeout=AT_MOST) is not None

    async def use() -> Any:
        async with AsyncCacheMesh.from_env() as mesh:
            return await mesh.mget(keys)

    assert asyncio.run(use()) == [b"v"] * 20
    url = f"{printed['CACHEMESH_URL']}&read_from=replica"
    with CacheMesh.from_url(url, token_file=printed["CACHEMESH_TOKEN_FILE"]) as mesh:
        until(lambda: mesh.mget(keys) == [b"v"] * 20)


def test_shards_fail_over_come_and_go(run: Any, printed: dict[str, str]) -> None:
    run("key", "set", "k", "v")

    def master() -> str:
        status = json.loads(run("pool", "status", "-o", "json"))
        return str(status["shards"][0]["master"]["address"])

    before = master()
    run("shard", "failover", "cache-0", "--yes")
    until(lambda: master() != before)
    run("shard", "add", "spare-1", printed["SPARE"], "--yes")
    run("key", "set", "k", "w")
    assert run("key", "get", "k").rstrip("\n") == "w"
    run("shard", "remove", "spare-1", "--yes")
    until(lambda: '"sweeps": []' in run("pool", "status", "-o", "json"))
    shards = json.loads(run("shard", "list", "-o", "json"))
    assert "spare-1" not in json.dumps(shards)


def test_metaservers_to_copy_to(printed: dict[str, str]) -> None:
    code, _, err = run_here(
        printed,
        *("store", "copy", "--to", printed["CACHEMESH_URL"]),
        *("--to-token-file", printed["CACHEMESH_TOKEN_FILE"], "--dry-run"),
    )
    assert code == 0, err  # a store has all that it has


def test_doctor_and_status(run: Any, directory: Path) -> None:
    def whole() -> bool:
        found = json.loads(run("status", "--dir", str(directory), "-o", "json"))
        return found["state"] == "up" and all(process["up"] for process in found["processes"])

    until(whole)
    checks = json.loads(run("doctor", "--dir", str(directory), "-o", "json"))["checks"]
    assert [check for check in checks if check["state"] == "fail"] == []
    names = " ".join(check["name"] for check in checks)
    assert "metaserver 127.0.0.1" in names
    assert "token" in names


def test_the_doctor_finds_servers_that_do_not_speak_tls_to_each_other(
    printed: dict[str, str], directory: Path
) -> None:
    def findings() -> list[dict[str, Any]]:
        _, out, _ = run_here(printed, "doctor", "--dir", str(directory), "-o", "json")
        found: list[dict[str, Any]] = json.loads(out)["findings"]
        return found

    status = run_here(printed, "shard", "list", "-o", "json")[1]
    master = json.loads(status)["shards"][0]["master"]["address"]
    until(lambda: findings() == [])
    with connect(parse_address(master), tls=StackTls(directory / "tls")) as client:
        client.config_set("tls-cluster", "no")
        try:
            (found,) = findings()
        finally:
            client.config_set("tls-cluster", "yes")
    assert (found["rule"], found["at"]) == ("tls-not-between-instances", master)
    assert found["severity"] == "error"
    assert "MIGRATE" in found["impact"]


def test_the_dashboard(run: Any, info: dict[str, Any], directory: Path) -> None:
    context = ssl.create_default_context(cafile=StackTls(directory / "tls").ca)
    at = urlsplit(info["dashboard"])
    assert at.scheme == "https"
    cookies: dict[str, str] = {}

    def ask(method: str, path: str, form: dict[str, str] | None = None) -> tuple[int, str]:
        connection = http.client.HTTPSConnection(at.netloc, context=context, timeout=AT_MOST)
        headers = {"Cookie": "; ".join(f"{name}={value}" for name, value in cookies.items())}
        if form is not None:
            headers |= {
                "Content-Type": "application/x-www-form-urlencoded",
                "Origin": info["dashboard"],
            }
        try:
            connection.request(method, path, urlencode(form) if form else None, headers)
            reply = connection.getresponse()
            for cookie in reply.headers.get_all("Set-Cookie") or ():
                assert "; Secure" in cookie
                name, _, value = cookie.partition(";")[0].partition("=")
                cookies[name] = value
            return reply.status, reply.read().decode()
        finally:
            connection.close()

    status, page = ask("GET", "/login")
    assert status == 200
    form = re.search(r'name="csrf" value="([^"]+)"', page)
    assert form is not None
    token = Path(info["token_file"]).read_text().strip()
    status, _ = ask("POST", "/login", {"csrf": form[1], "token": token})
    assert status in (302, 303)
    until(lambda: "cache-0" in ask("GET", "/pools/cache")[1])


def test_an_observer(info: dict[str, Any], directory: Path, tmp_path: Path) -> None:
    tls = StackTls(directory / "tls")
    certfile, keyfile = tls.client
    url = f"cachemesh+sentinel://{','.join(info['sentinels'])}/cache"
    server = Metaserver(
        tmp_path,
        *("--redis-ssl", "--sentinel-ssl", "--ssl-ca-certs", tls.ca),
        *("--ssl-certfile", certfile, "--ssl-keyfile", keyfile),
        store=("--observe", url),
    )
    with server as api:
        until(lambda: api("GET", "/v1/pools/cache/status").json.get("health") == "ok")


def test_sentinels_alone() -> None:
    needs_tls(str(find_redis_server().path))
    with LocalStack(shards=1, replicas=0, sentinels=1, metaservers=0, tls=True) as stack:
        assert stack.info["url"].startswith("cachemesh+sentinel://")
        with CacheMesh.from_url(stack.info["url"], snapshot_dir="off") as mesh:
            assert mesh.set("k", "v")
        extra = stack.start_redis()
        with connect(extra.address, tls=StackTls(Path(stack.info["tls"]))) as client:
            assert client.ping()


def test_a_redis_server_without_tls(monkeypatch: pytest.MonkeyPatch) -> None:
    def without(_binary: Path) -> bool:
        return False

    monkeypatch.setattr(local_tls, "speaks_tls", without)
    stack = LocalStack(shards=1, replicas=0, sentinels=1, metaservers=0, tls=True)
    with pytest.raises(LocalStackError, match=r"was built without TLS; .* leave --tls out"):
        stack.start()
