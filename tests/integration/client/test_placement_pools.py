"""Pools whose keys another program places too: made, used, resized and swept like any other."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import redis

from cachemesh import CacheMesh
from cachemesh.core.names import parse_address
from cachemesh.core.placement import Placement
from cachemesh.local import LocalStack
from tests.support.metaserver_process import Api
from tests.support.sentinels import routes_by
from tests.support.waiting import until

KEYS = [f"{{user:{number}}}:name" for number in range(400)]
PLACEMENTS: dict[str, dict[str, Any]] = {
    "ketama": {"strategy": "ketama", "hash": "md5", "hash_tag": "{}"},
    "modula": {"strategy": "modula", "hash_tag": None},
    "jedis": {"strategy": "jedis", "hash_tag": "{}", "named": False},
}


@pytest.fixture(scope="module")
def stack() -> Iterator[LocalStack]:
    with LocalStack(shards=1, replicas=0, sentinels=1, dashboard=False) as stack:
        yield stack


@pytest.fixture(scope="module")
def admin(stack: LocalStack) -> Api:
    return Api(stack.info["metaservers"][0], stack.token)


def held(address: str) -> set[str]:
    host, port = parse_address(address)
    with redis.Redis(host, port, decode_responses=True) as instance:
        return set(instance.keys("*"))


def owned(placement: Placement) -> dict[str, set[str]]:
    return {
        name: {key for key in KEYS if placement.shard_for(key) == name} for name in placement.names
    }


def new_pool(stack: LocalStack, name: str, masters: dict[str, str]) -> dict[str, Any]:
    shards = [{"name": shard, "master": master} for shard, master in masters.items()]
    return {
        "pool": name,
        "sentinels": stack.info["sentinels"],
        "shards": shards,
        **PLACEMENTS[name],
    }


@pytest.mark.parametrize("strategy", PLACEMENTS)
def test_a_pool_of_another_strategy_lives_like_any_other(
    stack: LocalStack, admin: Api, strategy: str
) -> None:
    masters = {f"{strategy}-{i}": str(stack.start_redis().address) for i in range(3)}
    first = dict(list(masters.items())[:2])
    made = admin("POST", "/v1/pools", new_pool(stack, strategy, first))
    assert made.status == 201, made.text
    before = Placement.from_dict(made.json["document"]["placement"])
    assert before.strategy == strategy
    url = f"cachemesh://{stack.info['metaservers'][0]}/{strategy}"
    with CacheMesh.from_url(url, token=stack.token, decode_responses=True) as client:
        client.mset(dict.fromkeys(KEYS, "value"))
        assert {name: held(master) for name, master in first.items()} == owned(before)
        assert client.mget(KEYS) == ["value"] * len(KEYS)

        added = admin(
            "POST",
            f"/v1/pools/{strategy}/shards",
            {"name": f"{strategy}-2", "master": masters[f"{strategy}-2"], "strategy": "drop"},
        )
        assert added.status == 201, added.text
        assert added.json["moved_slots"] == 0
        assert added.json["moved_share"] == pytest.approx(1 / 3, abs=0.35)
        after = Placement.from_dict(added.json["document"]["placement"])
        kept = {name: keys & owned(before).get(name, set()) for name, keys in owned(after).items()}
        until(lambda: {name: held(master) for name, master in masters.items()} == kept)
        until(lambda: routes_by(client, added.json["version_after"]))
        hits = {key for key, value in zip(KEYS, client.mget(KEYS), strict=True) if value}
        assert hits == set().union(*kept.values())
    status = admin("GET", f"/v1/pools/{strategy}/status").json
    assert [shard["slots"] for shard in status["shards"]] == [None] * 3
    assert sum(shard["share"] for shard in status["shards"]) == pytest.approx(1, abs=1e-4)


def test_twemproxys_own_labels_are_kept(stack: LocalStack, admin: Api) -> None:
    masters = {f"labelled-{i}": str(stack.start_redis().address) for i in range(2)}
    body = {**new_pool(stack, "ketama", masters), "pool": "labelled", "dry_run": True}
    for i, shard in enumerate(body["shards"]):
        shard["label"] = f"10.0.0.{i}:6379"
    made = admin("POST", "/v1/pools", body)
    assert made.status == 200, made.text
    entries = made.json["document"]["placement"]["shards"]
    assert [entry["label"] for entry in entries] == ["10.0.0.0:6379", "10.0.0.1:6379"]
    assert "by ketama" in made.json["summary"]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"strategy": "rendezvous"}, "strategy"),
        ({"hash": "sha1"}, "placement.hash"),
        ({"hash_tag": "{"}, "placement.hash_tag"),
        ({"strategy": "slots", "hash": "md5"}, "placement.hash"),
        ({"named": True}, "named"),
    ],
)
def test_a_placement_that_cannot_be_is_refused(
    stack: LocalStack, admin: Api, change: dict[str, Any], named: str
) -> None:
    body = {**new_pool(stack, "ketama", {"refused-0": "127.0.0.1:1"}), **change}
    refused = admin("POST", "/v1/pools", body)
    assert refused.status in (400, 422)
    assert named in refused.json["detail"]
