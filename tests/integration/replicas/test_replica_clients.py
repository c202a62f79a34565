"""Clients that read from replicas: logins, TLS, forks, and what is left when they are closed."""

from __future__ import annotations

import gc
import logging
import threading
import time
from collections.abc import Iterator
from operator import methodcaller
from pathlib import Path
from typing import Any

import pytest
import redis

import cachemesh
from cachemesh.local.binaries import find_redis_server
from tests.support.both_clients import CLIENTS, calling
from tests.support.configured_servers import Servers, await_port, issue_certificate
from tests.support.forked_child import in_child
from tests.support.plain_redis import calls_of, direct
from tests.support.replicated_stack import MODES, Replicated, replicated
from tests.support.waiting import until

both = pytest.mark.parametrize("kind", CLIENTS)


@pytest.fixture(scope="module")
def site() -> Iterator[Replicated]:
    with replicated() as found:
        yield found


def threads() -> list[str]:
    return [t.name for t in threading.enumerate() if t.name.startswith("cachemesh")]


def connections(site: Replicated) -> int:
    """Those of others than Sentinel."""
    total = 0
    for process in site.processes:
        with direct(process) as client:
            clients: Any = client.client_list(_type="normal")
        total += sum(not each["name"].startswith("sentinel") for each in clients)
    return total


def let(site: Replicated, *rights: str) -> dict[str, Any]:
    """A user of all instances with these rights; the options to be it."""
    for process in site.processes:
        with direct(process) as client:
            client.acl_setuser("app", True, passwords="+pw", keys="*", commands=rights, reset=True)
    return {"username": "app", "password": "pw"}


@pytest.mark.parametrize(
    "rights",
    [("+@all", "-@admin", "-@dangerous", "+info"), ("+@all", "-@admin", "-@dangerous", "+role")],
    ids=["info", "role"],
)
def test_a_user_with_one_right_more_than_an_app_needs(
    site: Replicated, rights: tuple[str, ...]
) -> None:
    login = let(site, *rights)
    with calling("sync", site.url, read_from="replica", max_lag=5, **login) as call:
        for number in range(10):
            call(methodcaller("set", "k", number))
            assert call(lambda mesh: mesh.get("k")) == b"%d" % number


@both
def test_a_user_who_may_not_ask_for_offsets(
    site: Replicated, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Nobody knows what replicas have: the master answers where that matters, replicas else."""
    login = let(site, "+@all", "-@admin", "-@dangerous")
    key, other = site.keys("cache-0", 2)
    with direct(site.shards["cache-0"][0]) as master:
        master.set(other, "v")
    with (
        caplog.at_level(logging.WARNING, "cachemesh.transport"),
        calling(kind, site.url, read_from="prefer_replica", command_timeout=3.0, **login) as call,
    ):
        call(lambda mesh: mesh.set(key, 1))
        until(lambda: len(call.mesh._core.shards()["cache-0"].replicas) == 2)
        until(lambda: "grant the user +info or +role" in caplog.text)
        site.reset_counts()
        for number in range(10):
            call(methodcaller("set", key, number))
            assert call(lambda mesh: mesh.get(key)) == b"%d" % number
            assert call(lambda mesh: mesh.get(other)) == b"v"
        master_reads, *replica_reads = site.counts("get")["cache-0"]
        assert (master_reads, sum(replica_reads)) == (10, 10)
        strict = call.mesh.with_options(max_lag=5)
        assert call.on(strict, lambda mesh: mesh.get(other)) == b"v"
        assert site.counts("get")["cache-0"][0] == 11
        with pytest.raises(cachemesh.ShardUnavailableError, match="no replica is up"):
            call.on(call.mesh.with_options(read_from="replica"), lambda mesh: mesh.get(key))


@pytest.mark.parametrize("protocol", [2, 3])
@both
def test_decoded_replies_in_either_protocol(site: Replicated, kind: str, protocol: int) -> None:
    options: dict[str, Any] = {"decode_responses": True, "protocol": protocol}
    with calling(kind, site.url, read_from="replica", **options) as call:
        call(lambda mesh: mesh.hset("h", mapping={"ä": "ö"}))
        assert call(lambda mesh: mesh.hgetall("h")) == {"ä": "ö"}
        assert call(lambda mesh: mesh.mget("none", "no")) == [None, None]
        shard = call.mesh._core.shards()[call.mesh.shard_for("h")]
        until(lambda: all(shard.meter.covered(r.address) > 0 for r in shard.replicas))


@both
def test_tls_and_a_password(kind: str, tmp_path: Path) -> None:
    ca, secure = issue_certificate(tmp_path)
    tls = [*secure, "tls-replication yes"]
    guarded = ["port 0", "tls-port PORT", 'save ""', "requirepass pw", "masterauth pw", *tls]
    servers = Servers(str(find_redis_server().path), tmp_path)
    try:
        master = servers.start([*guarded, "repl-diskless-sync-delay 0"])
        await_port(master)
        replica = servers.start([*guarded, f"replicaof 127.0.0.1 {master}"])
        await_port(replica)
        options: dict[str, Any] = {"ssl": True, "ssl_ca_certs": ca, "password": "pw"}
        with redis.Redis(port=replica, **options) as client:
            link: Any = client.info
            until(lambda: link("replication")["master_link_status"] == "up")
        monitor = [f"sentinel monitor s-0 127.0.0.1 {master} 1", "sentinel auth-pass s-0 pw"]
        sentinel = servers.start(["port PORT", *tls, *monitor], sentinel=True)
        await_port(sentinel)
        url = f"cachemesh+sentinel://127.0.0.1:{sentinel}/s"
        with (
            redis.Redis(port=replica, **options) as direct_one,
            calling(kind, url, read_from="prefer_replica", **options) as call,
        ):
            call(lambda mesh: mesh.set("k", "v"))
            only = call.mesh.with_options(read_from="replica")
            until(lambda: call.mesh._core.shards()["s-0"].replicas)
            until(lambda: _reply(call, only) == b"v")
            stats: Any = direct_one.info("commandstats")
            assert stats["cmdstat_get"]["calls"] > 0
    finally:
        servers.stop()


def _reply(call: Any, mesh: Any) -> Any:
    try:
        return call.on(mesh, lambda m: m.get("k"))
    except redis.ConnectionError:
        return None


@both
@pytest.mark.parametrize("of", ["the client", "a view"])
def test_a_forked_child_reads_by_itself(site: Replicated, of: str, kind: str) -> None:
    options = {"read_from": "replica"}
    with calling(kind, site.url, **(options if of == "the client" else {})) as call:
        use = call.drive(call.mesh if of == "the client" else call.mesh.with_options(**options))
        use.set("k", "parent")
        assert use.get("k") == b"parent"

        def body() -> None:
            use.set("k", "child")
            assert use.get("k") == b"child"
            assert len(set(threads())) >= 4

        in_child(call, body)
        use.set("k", "parent")
        assert use.get("k") == b"parent"


@both
def test_nothing_is_left_of_a_closed_client(site: Replicated, kind: str) -> None:
    until(lambda: not threads())
    before = connections(site)
    lost = site.shards["cache-0"][1][0]
    lost.kill()
    try:
        with calling(kind, site.url, read_from="weighted", command_timeout=3.0) as call:
            for _ in range(2):
                call(lambda mesh: mesh.mset({f"k{i}": i for i in range(50)}))
                for i in range(200):
                    assert call(methodcaller("get", f"k{i % 50}")) == b"%d" % (i % 50)
                assert "cachemesh-replication" in threads()
                if kind == "sync":
                    call.mesh.close()
                else:
                    call(lambda mesh: mesh.aclose())
                until(lambda: not threads())
                call(lambda mesh: mesh.set("k1", "again"))
                assert call(lambda mesh: mesh.get("k1")) == b"again"
                call(lambda mesh: mesh.set("k1", 1))
    finally:
        lost.restart()
    until(lambda: not threads())
    site.settle()
    until(lambda: connections(site) <= before)


def test_nothing_is_left_of_a_dropped_client(site: Replicated) -> None:
    until(lambda: not threads())
    before = connections(site)
    mesh: Any = cachemesh.CacheMesh.from_url(site.url)
    view: Any = mesh.with_options(read_from="replica")
    mesh.set("k", "v")
    assert view.get("k") == b"v"
    del mesh
    gc.collect()
    assert view.get("k") == b"v"
    assert "cachemesh-replication" in threads()
    del view
    gc.collect()
    until(lambda: not threads())
    until(lambda: connections(site) <= before)


def test_clients_of_masters_alone_ask_nobody_else(site: Replicated) -> None:
    until(lambda: not threads())
    site.reset_counts()
    with calling("sync", site.url) as call:
        for i in range(100):
            call(methodcaller("set", f"k{i}", i))
            call(methodcaller("get", f"k{i}"))
        assert call.mesh._core.plain
        assert "cachemesh-replication" not in threads()
        assert all(
            shard._writes is None and not shard.replicas
            for shard in call.mesh._core.shards().values()
        )
    for _, replicas in site.shards.values():
        assert all(calls_of(replica, "get") == 0 for replica in replicas)


def test_fifty_clients(site: Replicated) -> None:
    """Each sees its own writes, and together they ask no more than they have to."""
    until(lambda: not threads())
    before = connections(site)
    made: list[Any] = [
        cachemesh.CacheMesh.from_url(site.url, read_from=MODES[n % 3]) for n in range(50)
    ]
    try:
        for number, mesh in enumerate(made):
            mesh.set(f"client-{number}", number)
        for number, mesh in enumerate(made):
            assert int(mesh.get(f"client-{number}")) == number
        began = time.monotonic()
        site.reset_counts()
        time.sleep(1.0)
        asked = sum(calls_of(process, "info") for process in site.processes)
        rounds = 1 + 10 * (time.monotonic() - began)
        # Those of 'replica' measure ten times a second, others twice.
        assert asked < 50 * len(site.processes) * rounds
        for number in range(50):
            assert int(made[(number + 1) % 50].get(f"client-{number}")) == number
    finally:
        for mesh in made:
            mesh.close()
    until(lambda: not threads())
    until(lambda: connections(site) <= before)
