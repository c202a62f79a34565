"""The commands of the runbooks, typed at servers that `deploy/redis` configures, with its users."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from cachemesh import CacheMesh
from tests.support.deployed_redis import PASSWORDS, DeployedRedis, deployed_redis, metaserver_logins
from tests.support.metaserver_process import Api, Metaserver
from tests.support.needs import needs
from tests.support.python_blocks import ROOT
from tests.support.shell_blocks import Shell, ShellBlock, shell_blocks
from tests.support.waiting import until

POOL = "/v1/pools/cache"
# Programs of a machine whose first process is systemd, which that of a test is not: the servers
# are the test's own processes. `scripts/three-machines` has machines.
OF_A_MACHINE = re.compile(r"^ *(?:systemctl|journalctl) .*$", re.MULTILINE)


@dataclass
class Site:
    """Two shards of a master and a replica, three Sentinels, a metaserver, and an operator."""

    servers: DeployedRedis
    api: Api
    directory: Path

    def rest(self) -> None:
        """Wait until nothing is under way, and all is well."""
        until(lambda: self._status()["resize"] is None and not self._status()["sweeps"])
        until(lambda: self._status()["health"] == "ok")

    def type(
        self,
        block: ShellBlock,
        *,
        at: str | None = None,
        at_rest: bool = True,
        more: Mapping[str, str] | None = None,
    ) -> str:
        """Type a block; redis-cli goes to the master of cache-0, or to another instance.

        Args:
            more: further texts of the block -> what they stand for here.
        """
        if at_rest:
            self.rest()
        master = self.master()
        port = (at or master).rpartition(":")[2]
        stand_for = {
            "-p 6379": f"-p {port}",
            "-p 26379": f"-p {self.servers.sentinels[0]}",
            "10.0.0.1 6379": master.replace(":", " "),
            "https://meta1:7700": f"http://{self.api.address}",
            **(more or {}),
        }
        shell = Shell(self.directory, self._environment(), stand_for, unwell=True)
        typed = (replace(each, command=OF_A_MACHINE.sub(":", each.command)) for each in block.typed)
        return shell.run(replace(block, typed=tuple(typed)))

    def master(self) -> str:
        """Return the address of the master of cache-0."""
        return str(self._cache_0()["master"]["address"])

    def replicas(self) -> list[str]:
        """Return the addresses of the replicas of cache-0."""
        return [each["address"] for each in self._cache_0()["replicas"]]

    def app(self) -> CacheMesh:
        """Return a client of the pool."""
        return CacheMesh.from_url(self._environment()["CACHEMESH_URL"], token=self.api.token)

    def _cache_0(self) -> Any:
        return next(each for each in self._status()["shards"] if each["name"] == "cache-0")

    def _environment(self) -> Mapping[str, str]:
        app = f"username=app&password={PASSWORDS['app']}"
        at_sentinels = f"sentinel_username=app&sentinel_password={PASSWORDS['app']}"
        return {
            "CACHEMESH_URL": f"cachemesh://{self.api.address}/cache?{app}&{at_sentinels}",
            "CACHEMESH_TOKEN": str(self.api.token),
            "REDISCLI_AUTH": PASSWORDS["metaserver"],
        }

    def _status(self) -> Any:
        return self.api("GET", f"{POOL}/status").json


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    needs("redis-cli")
    needs("curl")
    directory = tmp_path_factory.mktemp("site")
    with (
        deployed_redis(directory) as servers,
        Metaserver(directory, *metaserver_logins(directory)) as api,
    ):
        shards = [{"name": f"cache-{n}", "master": servers.start_shard()} for n in range(2)]
        sentinels = [servers.start_sentinel() for _ in range(3)]
        body = {"pool": "cache", "shards": shards, "sentinels": sentinels}
        assert api("POST", "/v1/pools", body).status == 201
        yield Site(servers, api, directory)


BLOCKS = list(shell_blocks(ROOT / "docs" / "runbooks.md"))
OTHERS = {
    "redis-cli --user metaserver -p 6379 replicaof 10.0.0.1 6379",
    "cachemesh migration status",
    "cachemesh sentinel add 10.0.0.4:26379 --dry-run",
}


def name_of(block: ShellBlock) -> str:
    return f"{block.page}:{block.line}"


@pytest.mark.parametrize("block", [b for b in BLOCKS if b.first not in OTHERS], ids=name_of)
def test_an_operator_may_type_it(block: ShellBlock, site: Site) -> None:
    site.type(block)


def test_a_replica_is_added(site: Site) -> None:
    (block,) = [each for each in BLOCKS if each.first.endswith("replicaof 10.0.0.1 6379")]
    site.rest()
    new = site.servers.start_server()
    site.type(block, at=new)
    until(lambda: new in site.replicas())


def test_a_sentinel_is_replaced(site: Site) -> None:
    (block,) = [each for each in BLOCKS if each.first.startswith("cachemesh sentinel add")]
    site.rest()
    new, former = site.servers.start_sentinel(), f"127.0.0.1:{site.servers.sentinels[2]}"
    site.type(block, more={"10.0.0.4:26379": new, "10.0.0.3:26379": former})
    until(lambda: "sentinel_change" not in site.api("GET", POOL).json)
    assert site.api("GET", POOL).json["sentinels"][-1] == new
    site.rest()


def test_a_resize_that_waits_is_looked_at(site: Site) -> None:
    (block,) = [each for each in BLOCKS if each.first == "cachemesh migration status"]
    site.rest()
    with site.app() as app:
        app.mset({f"key:{number}": "x" for number in range(200)})
    body = {"name": "cache-2", "master": site.servers.start_shard(), "keys_per_second": 1}
    assert site.api("POST", f"{POOL}/shards", body).status in (201, 202)
    site.type(block, at_rest=False)
    assert site.api("DELETE", f"{POOL}/resize").status in (200, 202)
    assert site.api("PATCH", f"{POOL}/resize", {"keys_per_second": 0}).status == 200
    site.rest()
