"""The users of `deploy/redis/*.acl` may do all that they need: nothing is denied to them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cachemesh import CacheMesh
from tests.support.deployed_redis import PASSWORDS, DeployedRedis, deployed_redis, metaserver_logins
from tests.support.metaserver_process import Api, Metaserver
from tests.support.waiting import until

KEYS = {f"key:{number}": f"value:{number}" for number in range(500)}


@pytest.fixture
def site(tmp_path: Path) -> Iterator[DeployedRedis]:
    with deployed_redis(tmp_path) as site:
        yield site


@pytest.fixture
def metaserver(site: DeployedRedis, tmp_path: Path) -> Iterator[Api]:
    with Metaserver(tmp_path, *metaserver_logins(tmp_path)) as api:
        yield api


def status_of(api: Api) -> dict[str, Any]:
    reply = api("GET", "/v1/pools/cache/status")
    assert reply.status == 200, reply.text
    return dict(reply.json)


def states_of(api: Api) -> set[str]:
    return {shard["state"] for shard in status_of(api)["shards"]}


def test_a_pool_lives_with_them(site: DeployedRedis, metaserver: Api) -> None:
    sentinels = [site.start_sentinel() for _ in range(3)]
    shards = [{"name": f"cache-{n}", "master": site.start_shard()} for n in range(2)]
    made = metaserver(
        "POST", "/v1/pools", {"pool": "cache", "shards": shards, "sentinels": sentinels}
    )
    assert made.status == 201, made.text
    until(lambda: states_of(metaserver) == {"up"})
    login = {"username": "app", "password": PASSWORDS["app"]}
    at_sentinels = {f"sentinel_{name}": value for name, value in login.items()}
    with CacheMesh.from_url(
        f"cachemesh://{metaserver.address}/cache",
        token=metaserver.token,
        read_from="prefer_replica",
        **login,
        **at_sentinels,
    ) as cache:
        cache.mset(KEYS)
        added = metaserver(
            "POST", "/v1/pools/cache/shards", {"name": "cache-2", "master": site.start_shard()}
        )
        assert added.status in (201, 202), added.text
        assert cache.mget(list(KEYS)) == [value.encode() for value in KEYS.values()]
        until(lambda: status_of(metaserver)["resize"] is None)
        until(lambda: not status_of(metaserver)["sweeps"])
        until(lambda: states_of(metaserver) == {"up"})
        moved = metaserver("POST", "/v1/pools/cache/shards/cache-0/failover", {})
        assert moved.status == 200, moved.text
        slow = metaserver("GET", "/v1/pools/cache/shards/cache-0/slowlog").json["instances"]
        assert {each["error"] for each in slow} == {None}
        assert cache.mget(list(KEYS)) == [value.encode() for value in KEYS.values()]
        cache.mset(KEYS)  # which connects to the new master; the status has that soon
        path = "/v1/pools/cache/shards/cache-0/connections"
        until(lambda: "'owner': 'app'" in str(metaserver("GET", path).json["groups"]))
        assert metaserver("GET", path).json["error"] is None
    assert site.denied() == []
