"""The API of a pool's placement: slots dealt evenly again, another strategy, what is refused."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from typing import Any

import pytest

from cachemesh import CacheMesh
from cachemesh.local import LocalStack
from tests.support.metaserver_process import Api
from tests.support.waiting import AT_MOST, until

POOL = "/v1/pools/cache"
PATH = f"{POOL}/placement"
KETAMA = {"strategy": "ketama", "hash": "md5", "labels": {"cache-0": "10.0.0.1:6379"}}


@pytest.fixture(scope="module")
def stack() -> Iterator[LocalStack]:
    with LocalStack(
        shards=2, replicas=0, sentinels=1, metaservers=1, dashboard=False, timeout=AT_MOST
    ) as stack:
        yield stack


@pytest.fixture
def admin(stack: LocalStack) -> Api:
    return Api(stack.info["metaservers"][0], stack.token)


def placement(admin: Api) -> dict[str, Any]:
    found: dict[str, Any] = admin("GET", POOL).json["placement"]
    return found


def settle(admin: Api) -> None:
    def is_settled() -> bool:
        status = admin("GET", f"{POOL}/status").json
        return status["resize"] is None and not status["sweeps"] and status["health"] == "ok"

    until(is_settled)


def placed(admin: Api, body: dict[str, Any]) -> dict[str, Any]:
    """Have keys placed anew, and wait until that is done."""
    done = admin("PATCH", PATH, body)
    assert done.status in (200, 202), done.text
    settle(admin)
    change: dict[str, Any] = done.json
    return change


def restore_uneven(admin: Api) -> None:
    """Have the pool in place of itself with slots that were dealt by hand."""
    backup = admin("GET", "/v1/backup").json
    backup["tokens"] = []
    shards = backup["pools"][0]["document"]["placement"]["shards"]
    shards[0]["slots"], shards[1]["slots"] = [[0, 99], [200, 299]], [[100, 199], [300, 16383]]
    del backup["sha256"]
    text = json.dumps(backup, sort_keys=True, separators=(",", ":"))
    backup["sha256"] = hashlib.sha256(text.encode()).hexdigest()
    assert admin("DELETE", POOL).status == 200
    restored = admin("POST", "/v1/restore", {"backup": backup})
    assert restored.json["items"][0]["outcome"] == "restored", restored.text
    settle(admin)


def test_slots_are_dealt_evenly_again(stack: LocalStack, admin: Api) -> None:
    assert admin("PATCH", PATH, {}).json["steps"] == ["nothing to do"]
    restore_uneven(admin)
    url = f"cachemesh://{stack.info['metaservers'][0]}/cache"
    keys = [f"key:{number}" for number in range(1000)]
    with CacheMesh.from_url(url, token=stack.token) as client:
        client.mset(dict.fromkeys(keys, "value"))
        plan = admin("PATCH", PATH, {"strategy": "move", "dry_run": True}).json
        assert plan["summary"] == "deal the slots evenly by weight again"
        assert plan["moves"] == [
            {"source": "cache-1", "target": "cache-0", "slots": 7992, "share": 7992 / 16384}
        ]
        assert (plan["destroys"], plan["warnings"]) == ([], [])
        done = placed(admin, {"strategy": "move", "version": plan["version_before"]})
        assert done["moved_slots"] == 7992
        assert client.mget(keys) == [b"value"] * len(keys)
    sizes = {shard["slots"] for shard in admin("GET", f"{POOL}/shards").json["shards"]}
    assert sizes == {8192}
    assert admin("PATCH", PATH, {}).json["steps"] == ["nothing to do"]


def test_another_strategy_there_and_back(admin: Api) -> None:
    slots = placement(admin)
    plan = admin("PATCH", PATH, {"placement": KETAMA, "strategy": "drop", "dry_run": True}).json
    assert plan["summary"] == "place keys by ketama (hash md5) instead of slots"
    assert plan["document"]["placement"]["shards"][0]["label"] == "10.0.0.1:6379"
    assert {(move["source"], move["target"]) for move in plan["moves"]} == {
        ("cache-0", "cache-1"),
        ("cache-1", "cache-0"),
    }
    assert sum(move["share"] for move in plan["moves"]) == pytest.approx(plan["moved_share"])
    assert plan["moved_slots"] == 0 and plan["moved_share"] > 0.1
    assert "their shard changes" in plan["destroys"][0]
    assert placement(admin) == slots
    move = admin("PATCH", PATH, {"placement": KETAMA, "dry_run": True}).json
    assert move["destroys"] == []
    assert "move keys from cache-1 to cache-0" in move["steps"]

    placed(admin, {"placement": KETAMA, "strategy": "drop"})
    assert placement(admin) == plan["document"]["placement"]
    assert admin("PATCH", PATH, {}).json["summary"].endswith("there is nothing to deal")
    assert admin("PATCH", PATH, {"placement": KETAMA}).json["steps"] == ["nothing to do"]
    done = placed(admin, {"placement": {"strategy": "slots"}, "strategy": "move"})
    assert done["warnings"][0] == (
        "another program that places keys by ketama no longer finds those that move"
    )
    assert placement(admin)["strategy"] == "slots"
    assert {len(shard["slots"]) for shard in placement(admin)["shards"]} == {1}
    events = admin("GET", "/v1/events?pool=cache").json["events"]
    event = next(each for each in events if each["action"] == "pool.placement")
    assert event["actor"] == "token:admin"
    assert event["before"]["placement"] == {"strategy": "ketama", "hash": "md5", "hash_tag": None}
    assert event["after"]["placement"]["strategy"] == "slots"


@pytest.mark.parametrize(
    ("body", "status", "named"),
    [
        ([], 400, "body"),
        ({"placement": {}}, 400, "placement.strategy"),
        ({"placement": "slots"}, 400, "placement"),
        ({"placement": {"strategy": "rendezvous"}}, 400, "placement.strategy"),
        ({"placement": {"strategy": "move"}}, 400, "placement.strategy"),
        ({"placement": {"strategy": "ketama", "labels": {"cache-0": ""}}}, 400, "labels"),
        ({"placement": {"strategy": "ketama", "shards": []}}, 400, "placement.shards"),
        ({"strategy": "ketama"}, 400, "strategy"),
        ({"placement": {"strategy": "ketama", "hash": "sha1"}}, 422, "placement.hash"),
        ({"placement": {"strategy": "slots", "hash": "md5"}}, 422, "placement.hash"),
        ({"placement": {"strategy": "modula", "labels": {"x": "y"}}}, 422, "no shard 'x'"),
        ({"version": 1}, 409, "version"),
    ],
)
def test_what_is_refused(admin: Api, body: Any, status: int, named: str) -> None:
    before = admin("GET", POOL).json
    refused = admin("PATCH", PATH, body)
    assert refused.status == status, refused.text
    assert named in refused.json["detail"]
    assert refused.json["next"]
    assert admin("GET", POOL).json == before


def test_a_pool_that_is_not_there(admin: Api) -> None:
    assert admin("PATCH", "/v1/pools/none/placement", {}).json["code"] == "pool-not-found"
