"""The metaserver as a process: start, end, kill -9, and a full disk."""

from __future__ import annotations

import http.client
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cachemesh.core.placement import Shard, SlotsPlacement
from cachemesh.core.pool.document import PoolDocument
from cachemesh.discovery.metaserver import MetaserverClient
from cachemesh.local import LocalStack
from cachemesh.local.ports import Ports
from metaserver.domain.audit_log import NewEvent
from metaserver.process.config import RedisAuth
from metaserver.redis_io.sentinel_group import SentinelGroup
from metaserver.store.sqlite import SqliteStore
from tests.support import metaserver_loops
from tests.support.metaserver_loops import NETWORKS
from tests.support.metaserver_process import Api, Metaserver, environment
from tests.support.needs import lacks, needs
from tests.support.process_cleanup import ending
from tests.support.waiting import AT_MOST, in_time, until


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Metaserver]:
    server = Metaserver(tmp_path)
    yield server
    server.stop()


def run(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "metaserver", *arguments],
        cwd=cwd,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=AT_MOST,
        check=False,
    )


def fails_with_one_line(done: subprocess.CompletedProcess[str], *words: str) -> None:
    assert done.returncode == 1, done.stderr
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("metaserver: ")]
    for word in words:
        assert word in line


def test_the_audit_log_is_bounded(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "meta.db")
    ids = [store.record_event(NewEvent(f"e{number}")).id for number in range(150)]
    with Metaserver(tmp_path, "--events-max", "100") as api:
        until(lambda: len(store.events(limit=1000)) == 100)
        shown = api("GET", f"/v1/events?after={ids[10]}&limit=1000").json["events"]
        assert len(shown) == 100, "a place that is gone shows all that is left"
        assert shown[0]["action"] == "token.create"
        assert shown[-1]["action"] == "e51"
    store.close()


class TestStart:
    def test_the_first_admin_token(self, server: Metaserver) -> None:
        api = server.start()
        assert server.token_file.stat().st_mode & 0o777 == 0o600
        assert api("GET", "/v1/tokens").json["tokens"][0]["name"] == "admin"
        assert server.token() not in server.log.read_text()
        before = server.token()
        server.stop()
        server.token_file.unlink()
        server.start_without_token()
        assert not server.token_file.exists()
        assert Api(f"127.0.0.1:{server.port}", before)("GET", "/v1/tokens").status == 200

    def test_the_port_is_taken(self, server: Metaserver, tmp_path: Path) -> None:
        server.start()
        listen = f"127.0.0.1:{server.port}"
        done = run("--listen", listen, "--db", str(tmp_path / "other.db"), cwd=tmp_path)
        fails_with_one_line(done, listen, "in use", "--listen")

    def test_no_directory_for_the_database(self, tmp_path: Path) -> None:
        done = run("--db", str(tmp_path / "nowhere" / "meta.db"), cwd=tmp_path)
        fails_with_one_line(done, "nowhere", "create it")

    def test_the_database_is_none(self, tmp_path: Path) -> None:
        (tmp_path / "meta.db").write_text("something else entirely, " * 100)
        done = run("--db", "meta.db", cwd=tmp_path)
        fails_with_one_line(done, "meta.db", "not a usable SQLite database")

    def test_a_directory_that_cannot_be_written(self, tmp_path: Path) -> None:
        (tmp_path / "disk").mkdir()
        arguments = ["--db", str(tmp_path / "disk" / "meta.db")]
        arguments += ["--listen", f"127.0.0.1:{Ports().take()}"]
        read_only = mounted(tmp_path / "disk", "ro")
        done = subprocess.run(
            [*read_only, sys.executable, "-m", "metaserver", *arguments],
            env=environment(),
            capture_output=True,
            text=True,
            timeout=AT_MOST,
            check=False,
        )
        fails_with_one_line(done, "meta.db", "can be read and written")

    def test_a_token_file_that_cannot_be_written(self, tmp_path: Path) -> None:
        token_file = str(tmp_path / "nowhere" / "token")
        done = run("--db", "meta.db", "--token-file", token_file, cwd=tmp_path)
        fails_with_one_line(done, token_file)
        # Nothing is half done: the next start creates the token.
        again = Metaserver(tmp_path)
        with again as api:
            assert api("GET", "/v1/tokens").status == 200

    @pytest.mark.parametrize(
        "arguments",
        [
            ["--db", "meta.db", "--listen", "nonsense:x"],
            ["--db", "meta.db", "--allow-network", "10.0.0.1/8"],
            ["--db", "meta.db", "--redis-password-file", "nowhere"],
            ["--unheard-of"],
            [],
        ],
    )
    def test_wrong_use(self, tmp_path: Path, arguments: list[str]) -> None:
        done = run(*arguments, cwd=tmp_path)
        assert done.returncode == 2
        assert "Traceback" not in done.stderr
        assert list(tmp_path.iterdir()) == []


class TestEnd:
    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
    def test_held_requests_end_at_once(self, server: Metaserver, number: int) -> None:
        api = server.start()
        host, _, port = api.address.rpartition(":")
        stream = http.client.HTTPConnection(host, int(port), timeout=AT_MOST)
        stream.request("GET", "/v1/stream", headers={"Authorization": f"Bearer {api.token}"})
        response = stream.getresponse()
        began = time.monotonic()
        server.signal(number)
        assert response.read() == b": welcome\n\n"
        assert server.wait() == 0
        in_time(time.monotonic() - began, 2.0)
        stream.close()
        assert "Traceback" not in server.log.read_text()

    def test_no_child_outlives_it(self, server: Metaserver) -> None:
        server.start()
        server.signal(signal.SIGKILL)
        server.wait()
        until(lambda: not server.ready())
        assert server.start()("GET", "/v1/tokens").status == 200

    def test_state_survives_a_kill(self, server: Metaserver) -> None:
        api = server.start()
        made = api("POST", "/v1/tokens", {"name": "kept", "role": "read"}).json
        server.signal(signal.SIGKILL)
        server.wait()
        until(lambda: not server.ready())
        server.start()
        assert Api(api.address, made["token"])("GET", "/v1/events").status == 200


def test_a_token_has_so_many_clients(tmp_path: Path) -> None:
    server = Metaserver(tmp_path, "--max-clients", "2")
    store = SqliteStore(server.db)
    document = PoolDocument("cache", 1, SlotsPlacement.even([Shard("a")]))
    store.create_document(document, NewEvent("pool.create"))
    store.close()
    with server as admin:
        watch, body = "/v1/pools/cache/watch", {"version": 0, "wait": 0}
        for client in ("a", "b", "a", "b"):
            assert admin("POST", watch, {**body, "client": client}).status == 200
        refused = admin("POST", watch, {**body, "client": "c"})
        assert refused.problem == "too-many-clients"
        assert refused.status == 429
        assert "--max-clients" in refused.json["next"]
        assert int(refused.headers["retry-after"]) > 0
        other = admin("POST", "/v1/tokens", {"name": "other", "role": "read"}).json["token"]
        assert Api(admin.address, other)("POST", watch, {**body, "client": "c"}).status == 200
        assert admin("DELETE", "/v1/pools/cache/clients/a").status == 204
        assert admin("POST", watch, {**body, "client": "c"}).status == 200

        held = [
            admin.in_background("POST", watch, {"client": "b", "version": 1, "wait": 60})
            for _ in range(2)
        ]
        until(lambda: "cachemesh_metaserver_watches 2" in admin("GET", "/metrics").text)
        assert admin("POST", watch, {**body, "client": "b"}).problem == "too-many-requests"
        server.stop()
        for result in held:
            assert result().status == 200


def test_killed_between_sentinel_monitor_and_the_document(tmp_path: Path) -> None:
    """One Sentinel hangs, so the others know the shard a second before it is in the document. Then
    the metaserver is killed, and the next one undoes the half-done step."""
    with LocalStack(shards=1, replicas=0, dashboard=False) as stack:
        metaserver = stack.process(stack.info["metaservers"][0])
        admin = Api(stack.info["metaservers"][0], stack.token)
        slow = stack.process(stack.info["sentinels"][2])
        body = {"name": "cache-1", "master": str(stack.start_redis().address)}
        with SentinelGroup(stack.info["sentinels"][:2], NETWORKS, RedisAuth()) as sentinels:
            slow.pause()
            admin.in_background("POST", "/v1/pools/cache/shards", body)
            until(lambda: sentinels.master_of("cache-1"))
            metaserver.kill(signal.SIGKILL)
            slow.resume()
            assert sentinels.master_of("cache-1") == body["master"]
            metaserver.restart()
            assert admin("GET", "/v1/pools/cache").json["version"] == 1
            until(lambda: "cache-1" not in sentinels.monitored())
        undone = until(
            lambda: [
                event
                for event in admin("GET", "/v1/events").json["events"]
                if event["action"] == "shard.undone"
            ]
        )
        assert undone[0]["target"] == "cache-1"
        assert admin("POST", "/v1/pools/cache/shards", body).status == 201


def test_a_full_disk(tmp_path: Path) -> None:
    """The database on a file system of 1 MiB, in a mount namespace of its own."""
    with LocalStack(shards=1, replicas=0, metaservers=0, dashboard=False) as stack:
        (tmp_path / "disk").mkdir()
        prefix = mounted(tmp_path / "disk", "size=1m")
        server = OnSmallDisk(tmp_path / "disk", prefix=prefix, token_file=tmp_path / "token")
        with server as admin:
            pool = {
                "pool": "cache",
                "sentinels": stack.info["sentinels"],
                "shards": [{"name": "c-0", "master": stack.info["shards"][0]["master"]}],
            }
            # The stack's own shard is monitored already, as cache-0, without a pool.
            assert admin("POST", "/v1/pools", pool).json["reason"] == "in-use"
            pool["shards"] = [{"name": "c-0", "master": str(stack.start_redis().address)}]
            assert admin("POST", "/v1/pools", pool).status == 201
            before = admin("GET", "/v1/pools/cache").json
            events = admin("GET", "/v1/events").json

            ballast = server.inside(tmp_path / "disk" / "ballast")
            fill(ballast)
            shard = {"name": "c-1", "master": str(stack.start_redis().address)}
            for reply in (
                admin("POST", "/v1/pools/cache/shards", shard),
                admin("PATCH", "/v1/pools/cache/settings", {"settings": {"poll_interval": 1}}),
                admin("POST", "/v1/tokens", {"name": "x", "role": "read"}),
                admin("DELETE", "/v1/pools/cache"),
                admin("GET", "/readyz"),
            ):
                assert reply.problem == "storage-full"
                assert reply.status == 507
                assert "free space" in reply.json["next"]
            assert admin("GET", "/v1/pools/cache").json == before
            assert admin("GET", "/v1/events").json == events
            with metaserver_loops.sentinels(stack) as sentinels:
                until(lambda: set(sentinels.monitored()) == {"cache-0", "c-0"})

            ballast.unlink()
            until(lambda: admin("POST", "/v1/pools/cache/shards", shard).status == 201)


@pytest.mark.parametrize("left", ["the database alone", "what kill -9 leaves"])
def test_started_again_on_a_full_disk(tmp_path: Path, left: str) -> None:
    """The metaserver serves reads, gives the reason for refused writes, and writes once it can."""
    disk = tmp_path / "disk"
    disk.mkdir()
    # The file system has to outlive the metaserver: a process of its own holds it.
    command = [*mounted(disk, "size=400k"), "sh", "-c", "echo; exec sleep 600"]
    with ending(subprocess.Popen(command, stdout=subprocess.PIPE)) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        enter = ["nsenter", "--preserve-credentials", "--user", "--mount", "-t", str(holder.pid)]
        seen = Path(f"/proc/{holder.pid}/root{disk}")
        server = Metaserver(disk, prefix=enter, token_file=tmp_path / "token")
        admin = server.start()
        reader = admin("POST", "/v1/tokens", {"name": "reader", "role": "read"}).json
        server.signal(signal.SIGKILL)
        server.wait()
        until(lambda: not server.ready())
        if left == "the database alone":
            until(lambda: closed(enter, seen, disk))
        fill(seen / "ballast")
        try:
            server.start_without_token(probe="/livez")
            fill(seen / "more")  # the room that SQLite freed
            assert [each["name"] for each in admin("GET", "/v1/tokens").json["tokens"]] == [
                "admin",
                "reader",
            ]
            assert Api(admin.address, reader["token"])("GET", "/v1/events").status == 200
            for reply in (
                admin("POST", "/v1/tokens", {"name": "x", "role": "read"}),
                admin("DELETE", f"/v1/tokens/{reader['id']}"),
                admin("GET", "/readyz"),
            ):
                assert reply.problem == "storage-full"
                assert "free space" in reply.json["next"]
            (seen / "ballast").unlink()
            until(lambda: "cachemesh_metaserver_leader 1" in admin("GET", "/metrics").text)
            assert admin("GET", "/readyz").status == 200
            assert admin("DELETE", f"/v1/tokens/{reader['id']}").status == 204
            assert "Traceback" not in server.log.read_text()
        finally:
            server.stop()


def closed(enter: list[str], seen: Path, disk: Path) -> bool:
    """Return whether FILE-wal and FILE-shm are gone: the last process to close removes them."""
    use = "import sqlite3, sys; sqlite3.connect(sys.argv[1]).execute('SELECT 1 FROM tokens')"
    subprocess.run([*enter, sys.executable, "-c", use, str(disk / "meta.db")], check=True)
    return not (seen / "meta.db-shm").exists()


def mounted(directory: Path, options: str) -> list[str]:
    """Return a command that runs with an empty file system at `directory`, for itself alone."""
    script = f'mount -t tmpfs -o {options} none {directory} && exec "$@"'
    prefix = [needs("unshare"), "--user", "--map-root-user", "--mount", "sh", "-c", script, "sh"]
    tried = subprocess.run([*prefix, "true"], capture_output=True, text=True, check=False)
    if tried.returncode:
        lacks(f"this machine allows no mount namespace: {tried.stderr.strip()}")
    return prefix


class OnSmallDisk(Metaserver):
    """A metaserver whose database directory is visible to its own processes alone."""

    def inside(self, path: Path) -> Path:
        """Return the path as these processes see it."""
        assert self.process is not None
        return Path(f"/proc/{self.process.pid}/root{path}")


def fill(ballast: Path) -> None:
    with ballast.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"x" * 512)
        except OSError:
            return


def test_the_metaservers_of_a_stack_share_the_load(tmp_path: Path) -> None:
    """When the leader is killed, the other process takes over its loops."""
    with LocalStack(shards=1, replicas=0, metaservers=2, dashboard=False) as stack:
        apis = [Api(address, stack.token) for address in stack.info["metaservers"]]

        def leads(api: Api) -> bool:
            return "cachemesh_metaserver_leader 1" in api("GET", "/metrics").text

        leader = until(lambda: [api for api in apis if leads(api)])[0]
        other = next(api for api in apis if api is not leader)
        stack.process(leader.address).kill(signal.SIGKILL)
        until(lambda: leads(other))
        client = MetaserverClient(stack.info["metaservers"], stack.token)
        shard = {"name": "cache-1", "master": str(stack.start_redis().address)}
        client.request("POST", "/v1/pools/cache/shards", shard)
        until(lambda: not client.request("GET", "/v1/pools/cache/status")["sweeps"])
