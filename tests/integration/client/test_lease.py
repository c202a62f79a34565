"""Leases: a client that was frozen asks before its next command; what it does without answer."""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import redis

from cachemesh import CacheMesh, CacheMeshError
from cachemesh.asyncio import CacheMesh as AsyncCacheMesh
from cachemesh.core.errors import LeaseLostError
from cachemesh.core.placement import Placement
from cachemesh.local import LocalStack
from cachemesh.transport.lease_clock import clock
from tests.support.metaserver_process import ROOT, Api, Metaserver, environment
from tests.support.waiting import AT_MOST, until, until_async

LEASE = 3.0


@dataclass
class Leased:
    """A pool of one shard whose metaserver grants short leases, and an instance for a second."""

    metaserver: Metaserver
    api: Api
    pool: str
    masters: list[str]

    @property
    def url(self) -> str:
        return f"cachemesh://127.0.0.1:{self.metaserver.port}/{self.pool}"

    def document(self) -> Any:
        return self.api("GET", f"/v1/pools/{self.pool}").json

    def convergence(self) -> Any:
        return self.api("GET", f"/v1/pools/{self.pool}/convergence").json

    def set(self, **settings: object) -> int:
        body = {"settings": settings}
        changed = self.api("PATCH", f"/v1/pools/{self.pool}/settings", body)
        return int(changed.json["version_after"])

    def direct(self, shard: int) -> redis.Redis:
        host, _, port = self.masters[shard].rpartition(":")
        return redis.Redis(host, int(port))


@pytest.fixture(scope="module")
def stack() -> Iterator[LocalStack]:
    with LocalStack(shards=1, replicas=0, sentinels=1, metaservers=0, dashboard=False) as running:
        yield running


@pytest.fixture(scope="module")
def metaserver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Metaserver]:
    metaserver = Metaserver(tmp_path_factory.mktemp("meta"), "--lease", str(LEASE))
    try:
        metaserver.start()
        yield metaserver
    finally:
        metaserver.stop()


_pools = itertools.count()


@pytest.fixture
def leased(stack: LocalStack, metaserver: Metaserver) -> Iterator[Leased]:
    pool = f"leased-{next(_pools)}"
    masters = [str(stack.start_redis().address) for _ in range(2)]
    shards = [{"name": f"{pool}-a", "master": masters[0]}]
    body = {"pool": pool, "sentinels": stack.info["sentinels"], "shards": shards}
    made = metaserver.api()("POST", "/v1/pools", body)
    assert made.status == 201, made.text
    yield Leased(metaserver, metaserver.api(), pool, masters)
    signal_all(metaserver, signal.SIGCONT)


def moving_key(before: Any, after: Any) -> str:
    old, new = Placement.from_dict(before), Placement.from_dict(after)
    keys = (f"key-{number}" for number in range(1000))
    return next(key for key in keys if old.shard_for(key) != new.shard_for(key))


FREEZES = """
import asyncio, os, signal, sys
from cachemesh import CacheMesh
from cachemesh.asyncio import CacheMesh as AsyncCacheMesh
url, token, kind = sys.argv[1:]

def freeze():
    print("ready", flush=True)
    os.kill(os.getpid(), signal.SIGSTOP)
    return open(sys.stdin.fileno(), "rb", 0, closefd=False).readline().strip()

async def tasks():
    async with AsyncCacheMesh.from_url(url, token=token) as mesh:
        await mesh.set("before", 1)
        await mesh.set(freeze(), "after")

if kind == "async":
    asyncio.run(tasks())
else:
    mesh = CacheMesh.from_url(url, token=token)
    mesh.set("before", 1)
    if kind == "pipeline":
        pipeline = mesh.pipeline(transaction=False)
        pipeline.set(freeze(), "after")
        pipeline.execute()
    else:
        mesh.set(freeze(), "after")
"""


@contextmanager
def frozen(leased: Leased, kind: str) -> Iterator[subprocess.Popen[bytes]]:
    argv = [sys.executable, "-c", FREEZES, leased.url, leased.api.token or "", kind]
    child = subprocess.Popen(
        argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment(), cwd=ROOT
    )
    try:
        assert child.stdout is not None
        assert child.stdout.readline() == b"ready\n"
        yield child
    finally:
        child.kill()
        child.communicate()


@pytest.mark.parametrize("kind", ["sync", "pipeline", "async"])
def test_a_client_that_was_frozen_past_its_lease_asks_before_its_next_command(
    leased: Leased, kind: str
) -> None:
    before = leased.document()
    with frozen(leased, kind) as child:
        until(lambda: leased.convergence()["clients"] == 0)  # its lease is over
        body = {"name": f"{leased.pool}-b", "master": leased.masters[1]}
        added = leased.api("POST", f"/v1/pools/{leased.pool}/shards", body)
        assert added.status == 201, added.text
        key = moving_key(before["placement"], added.json["document"]["placement"])
        (laggard,) = leased.convergence()["laggards"]
        assert (laggard["process"], laggard["lease"]) == (child.pid, "over")
        assert child.stdin is not None
        child.stdin.write(key.encode() + b"\n")
        child.stdin.flush()
        child.send_signal(signal.SIGCONT)
        assert child.wait(AT_MOST) == 0
        assert leased.direct(1).get(key) == b"after"
        assert leased.direct(0).get(key) is None


def test_a_client_that_follows_keeps_its_lease_and_says_who_it_is(leased: Leased) -> None:
    with CacheMesh.from_url(leased.url, token=leased.api.token, client_name="shop") as mesh:
        assert mesh.set("k", "v")
        lease = mesh._core.lease
        first = lease.until
        until(lambda: lease.until > first + LEASE)  # some watch calls later
        (listed,) = leased.api("GET", f"/v1/pools/{leased.pool}/clients").json["clients"]
        assert listed["client"] == mesh._core.membership.client_id
        assert (listed["process"], listed["app"], listed["lease"]) == (
            os.getpid(),
            "shop",
            "running",
        )
        assert listed["sdk"].startswith("cachemesh ")
        assert listed["metaserver"] == f"127.0.0.1:{leased.metaserver.port}"
        assert leased.convergence()["converged"]
    until(lambda: leased.convergence()["clients"] == 0)
    assert leased.convergence()["lease_over"] == 0


@pytest.mark.parametrize("answer", ["none", "hangs"])
def test_without_any_metaserver_a_client_serves_or_refuses(leased: Leased, answer: str) -> None:
    token = leased.api.token
    serving = CacheMesh.from_url(leased.url, token=token)
    refusing = CacheMesh.from_url(leased.url, token=token, on_lease_lost="refuse")
    refusing_tasks = AsyncCacheMesh.from_url(leased.url, token=token, on_lease_lost="refuse")

    async def tasks() -> None:
        await until_async(served)
        end(leased, answer)
        await until_async(unserved)
        assert serving.get("k") == b"v"
        begin(leased, answer)
        await until_async(served)
        await refusing_tasks.aclose()

    async def served() -> bool:
        return await refusal() is None

    async def unserved() -> bool:
        return isinstance(await refusal(), LeaseLostError)

    async def refusal() -> Exception | None:
        try:
            assert await refusing_tasks.get("k") == b"v"
        except LeaseLostError as error:
            return error
        return None

    def refused() -> bool:
        try:
            refusing.get("k")
        except redis.ConnectionError as error:
            assert isinstance(error, CacheMeshError) and "on_lease_lost" in str(error)
            return True
        return False

    with serving, refusing:
        assert serving.set("k", "v")
        until(lambda: not refused())
        asyncio.run(asyncio.wait_for(tasks(), AT_MOST))
        end(leased, answer)
        until(refused)
        strict = serving._core.membership.lease_end(strict=True)
        assert clock() > strict.until and serving.get("k") == b"v"
        begin(leased, answer)
        until(lambda: not refused())
        leased.set(on_lease_lost="refuse")
        until(lambda: serving._core.policy.refuses_unleased)


def end(leased: Leased, answer: str) -> None:
    if answer == "none":
        leased.metaserver.stop()
    else:
        signal_all(leased.metaserver, signal.SIGSTOP)


def begin(leased: Leased, answer: str) -> None:
    if answer == "none":
        leased.metaserver.start()
    else:
        signal_all(leased.metaserver, signal.SIGCONT)


def signal_all(metaserver: Metaserver, number: int) -> None:
    """Send a signal to a metaserver and the process that serves for it."""
    assert metaserver.process is not None
    pid = metaserver.process.pid
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii")
    for each in (pid, *map(int, children.split())):
        os.kill(each, number)


def test_a_store_that_was_replaced_by_an_older_copy_is_raised_above_its_clients(
    leased: Leased,
) -> None:
    with CacheMesh.from_url(leased.url, token=leased.api.token) as mesh:
        assert mesh.set("k", "v")
        leased.metaserver.stop()
        db = leased.metaserver.db
        older = db.with_name("older.db")
        with closing(sqlite3.connect(db)) as present, closing(sqlite3.connect(older)) as copy:
            present.backup(copy)
        leased.metaserver.start()
        for seconds in (1.5, 2.5, 3.5):
            version = leased.set(command_timeout=seconds)
        until(lambda: mesh.topology.document.version == version)
        leased.metaserver.stop()
        for path in db.parent.glob(f"{db.name}-*"):
            path.unlink()  # the write-ahead log
        older.replace(db)
        leased.metaserver.start()
        until(lambda: mesh.topology.document.version > version)
        until(lambda: leased.document()["migration"] is None)
        until(lambda: mesh.topology.document.version == leased.document()["version"])
        after = leased.document()
        assert mesh.topology.document.settings == after["settings"] == {}
        events = leased.api("GET", f"/v1/events?pool={leased.pool}").json["events"]
        (raised,) = [event for event in events if event["action"] == "pool.version-raised"]
        assert str(version) in raised["detail"]
        assert "older copy" in leased.metaserver.log.read_text()
        until(lambda: leased.convergence()["converged"] and leased.convergence()["clients"] == 1)
    far = {"client": "wrong", "version": 2**52, "wait": 0}
    assert leased.api("POST", f"/v1/pools/{leased.pool}/watch", far).problem == "version-conflict"


def test_a_command_that_leaves_with_others_asks_for_the_lease_itself(leased: Leased) -> None:
    """What was routed before the process froze may be sent in the same turn of the event loop."""

    async def tasks() -> None:
        refusing = {"token": leased.api.token, "on_lease_lost": "refuse"}
        async with AsyncCacheMesh.from_url(leased.url, **refusing) as mesh:
            await mesh.set("k", "v")
            (shard,) = (await mesh.route_table()).shards.values()
            end(leased, "hangs")
            strict = mesh._core.membership.lease_end(strict=True)

            async def over() -> bool:
                return clock() > strict.until

            await until_async(over)
            routed = asyncio.ensure_future(shard.execute(("PING",), True))
            asked = asyncio.ensure_future(mesh.get("k"))  # in the turn in which PING is queued
            assert await routed
            with pytest.raises(LeaseLostError):
                await asked

    asyncio.run(asyncio.wait_for(tasks(), AT_MOST))
