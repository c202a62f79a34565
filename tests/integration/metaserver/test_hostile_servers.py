"""A hostile instance or Sentinel harms its own pool alone, and only while it is hostile."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from cachemesh.core.placement import Shard, SlotsPlacement
from cachemesh.core.pool.document import PoolDocument
from cachemesh.local import LocalStack
from metaserver.domain.audit_log import NewEvent
from tests.support import metaserver_loops
from tests.support.malformed_replies_to_metaserver import (
    CASES,
    MEGABYTE,
    RUN_ID,
    Case,
    LyingServer,
    Odd,
    array,
    bulk,
    forever,
    info,
    slaves,
    words,
)
from tests.support.metaserver_process import Api, Metaserver
from tests.support.waiting import until

MEMORY = 200 * 1024 * 1024  # bytes


@dataclass(frozen=True)
class Scene:
    """A metaserver with the pools "cache", of real servers, and "bad", of two hostile ones."""

    api: Api
    metaserver: Metaserver
    liars: dict[str, LyingServer]

    def status(self, pool: str) -> dict[str, Any]:
        reply = self.api("GET", f"/v1/pools/{pool}/status")
        assert reply.status == 200, reply.text
        status: dict[str, Any] = reply.json
        return status

    def peak(self) -> int:
        """Return the peak memory of the metaserver's worker, in bytes."""
        process = self.metaserver.process
        assert process is not None
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        assert children
        lines = Path(f"/proc/{children[0]}/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))


def honest_sentinel(instance: LyingServer) -> LyingServer:
    host, port = instance.address
    row = words(
        *("name", "bad-0", "ip", host, "port", port, "runid", RUN_ID, "flags", "master"),
        *("num-slaves", 0, "num-other-sentinels", 0, "quorum", 1, "down-after-milliseconds", 5000),
    )
    return LyingServer(
        {
            "CLIENT": b"+OK\r\n",
            "GET-MASTER-ADDR-BY-NAME": words(host, port),
            "MASTER": row,
            "MASTERS": array(row),
            "REPLICAS": array(),
            "CKQUORUM": b"+OK 1 usable Sentinels.\r\n",
            "MONITOR": b"+OK\r\n",
            "SET": b"+OK\r\n",
            "REMOVE": b"+OK\r\n",
        }
    )


def create_pool(
    directory: Path, stack: LocalStack, sentinel: LyingServer, instance: LyingServer
) -> None:
    document = PoolDocument(
        pool="bad",
        version=1,
        placement=SlotsPlacement.even([Shard("bad-0")]),
        sentinels=(str(sentinel),),
    )
    with metaserver_loops.store_with_pool(directory, stack) as store:
        assert store.create_document(document, NewEvent("pool.create", pool="bad")) is not None
        store.remember_master("bad", "bad-0", str(instance))


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    directory = tmp_path_factory.mktemp("hostile")
    role = array(bulk("master"), b":7\r\n", array())
    with (
        LocalStack(shards=1, replicas=1, sentinels=1, metaservers=0, dashboard=False) as stack,
        LyingServer({"INFO": info(), "ROLE": role, "CLIENT": b"+OK\r\n"}) as instance,
        honest_sentinel(instance) as sentinel,
    ):
        create_pool(directory, stack, sentinel, instance)
        metaserver = Metaserver(directory, module="tests.support.quick_metaserver")
        liars = {"instance": instance, "sentinel": sentinel}
        with metaserver as api:
            scene = Scene(api, metaserver, liars)
            until(lambda: [scene.status(pool)["health"] for pool in ("cache", "bad")] == ["ok"] * 2)
            yield scene


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_liar_harms_its_own_pool_alone(scene: Scene, case: Case) -> None:
    liar = scene.liars[case.who]
    before, told = scene.status("cache")["at"], liar.told
    liar.lies[case.command] = case.odd
    try:
        until(lambda: liar.told >= told + 3)  # by now it was looked at twice
        pools = scene.api("GET", "/v1/pools")
        assert pools.status == 200, pools.text
        assert {pool["pool"] for pool in pools.json["pools"]} == {"bad", "cache"}
        assert scene.status("bad")["pool"] == "bad"
        good = until(lambda: (now := scene.status("cache"))["at"] > before and now)
        assert good["health"] == "ok"
        assert len(scene.api("GET", "/v1/pools/bad/status").text) < 100_000
    finally:
        liar.lies.clear()
    until(lambda: scene.status("bad")["health"] == "ok")
    assert scene.peak() < MEMORY


CROWD: dict[str, Odd] = {
    "hangs": None,
    "is held back": forever(b"", b"$130000\r\n" + b"x" * 129_000, pause=1.0),
    "has as many lines as fit": info(*(f"field{n}:{n}" for n in range(4000))),
    "has as many databases as fit": info(*(f"db{n}:keys=1" for n in range(4000))),
    "floods": forever(MEGABYTE, b"$131000\r\n"),
}


@pytest.mark.parametrize("name", CROWD)
def test_a_liar_that_names_a_hundred_more(scene: Scene, name: str) -> None:
    with LyingServer({}, "0.0.0.0") as crowd:
        port = crowd.address[1]
        crowd.lies["INFO"] = CROWD[name]
        before = scene.status("cache")["at"]
        liar = scene.liars["instance"]
        liar.lies["INFO"] = slaves(500, lambda n: f"ip=127.1.{n // 250}.{n % 250},port={port}")
        try:
            until(lambda: crowd.told >= 200)
            assert scene.api("GET", "/v1/pools").status == 200
            until(lambda: scene.status("cache")["at"] > before)
            until(lambda: len(scene.status("bad")["shards"][0]["replicas"]) == 100)
        finally:
            liar.lies.clear()
    until(lambda: scene.status("bad")["health"] == "ok")
    assert scene.peak() < MEMORY
