"""Changes through the API on a real stack: Sentinels, keys, versions and the audit log."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from cachemesh.core.placement import SlotsPlacement
from cachemesh.core.pool.document import PoolDocument
from cachemesh.local import LocalStack
from metaserver.redis_io.sentinel_group import SentinelGroup
from tests.support import metaserver_loops
from tests.support.metaserver_process import Api, Reply
from tests.support.plain_redis import direct
from tests.support.waiting import until

KEYS = [f"key:{number}" for number in range(3000)]


@pytest.fixture
def stack() -> Iterator[LocalStack]:
    with LocalStack(shards=2, replicas=0, dashboard=False) as stack:
        yield stack


@pytest.fixture
def admin(stack: LocalStack) -> Api:
    return Api(stack.info["metaservers"][0], stack.token)


@pytest.fixture
def sentinels(stack: LocalStack) -> Iterator[SentinelGroup]:
    with metaserver_loops.sentinels(stack) as sentinels:
        yield sentinels


def fill(admin: Api, stack: LocalStack) -> None:
    """Write keys to the shards that own them, and wait until the metaserver has seen them."""
    for shard in ("cache-0", "cache-1"):
        with direct(master_of(stack, shard)) as client:
            client.mset(dict.fromkeys(owned(admin, shard), "value"))

    def keys() -> int:
        shards = admin("GET", "/v1/pools/cache/shards").json["shards"]
        return sum(shard["master"]["keys"] for shard in shards)

    until(lambda: keys() == len(KEYS))


def master_of(stack: LocalStack, shard: str) -> str:
    return next(str(each["master"]) for each in stack.info["shards"] if each["name"] == shard)


def spare(stack: LocalStack) -> str:
    return str(stack.start_redis().address)


def changed(reply: Reply, before: int, status: int = 200) -> dict[str, Any]:
    assert reply.status == status, reply.text
    change: dict[str, Any] = reply.json
    assert change["version_before"] == before
    assert change["version_after"] > before
    return change


def sweeps(admin: Api) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = admin("GET", "/v1/pools/cache/status").json["sweeps"]
    return found


def owned(admin: Api, shard: str) -> set[str]:
    placement = PoolDocument.from_dict(admin("GET", "/v1/pools/cache").json).placement
    return {key for key in KEYS if placement.shard_for(key) == shard}


def test_a_shard_comes_and_goes(stack: LocalStack, admin: Api, sentinels: SentinelGroup) -> None:
    fill(admin, stack)
    master = spare(stack)
    body = {"name": "cache-2", "master": master, "version": 1, "strategy": "drop"}

    preview = admin("POST", "/v1/pools/cache/shards", {**body, "dry_run": True})
    planned = changed(preview, 1)
    assert planned["dry_run"]
    assert admin("GET", "/v1/pools/cache").json["version"] == 1
    assert "cache-2" not in sentinels.monitored()

    done = changed(admin("POST", "/v1/pools/cache/shards", body), 1, 201)
    for field in ("summary", "moves", "moved_slots", "moved_share"):
        assert done[field] == planned[field]
    assert done["document"]["placement"] == planned["document"]["placement"]
    assert done["document"]["migration"] is done["resize"] is None
    assert done["moved_slots"] == sum(move["slots"] for move in done["moves"]) == 5461
    assert {move["target"] for move in done["moves"]} == {"cache-2"}
    assert done["keys_moved"] == pytest.approx(1000, abs=80)
    assert "go cold" in done["destroys"][0]
    assert sentinels.master_of("cache-2") == master
    assert admin("GET", "/v1/pools/cache").json == done["document"]

    until(lambda: not sweeps(admin))
    for shard in ("cache-0", "cache-1"):
        with direct(master_of(stack, shard)) as client:
            assert set(client.keys()) == owned(admin, shard)

    now = done["version_after"]
    removed = changed(admin("DELETE", f"/v1/pools/cache/shards/cache-0?version={now}"), now)
    assert {move["source"] for move in removed["moves"]} == {"cache-0"}
    assert any("unlink everything on cache-0" in step for step in removed["steps"])
    until(lambda: not sweeps(admin))
    with direct(master_of(stack, "cache-0")) as client:
        assert client.dbsize() == 0
    until(lambda: "cache-0" not in sentinels.monitored())

    events = admin("GET", "/v1/events?pool=cache").json["events"]
    by_hand = [event for event in events if event["actor"] == "token:admin"]
    assert [event["action"] for event in by_hand] == ["shard.remove", "shard.add", "pool.create"]
    remove = by_hand[0]
    assert remove["target"] == "cache-0"
    assert remove["before"]["version"] == now
    assert [shard["name"] for shard in remove["after"]["shards"]] == ["cache-1", "cache-2"]


def resized(admin: Api, method: str, path: str, body: Any = None) -> dict[str, Any]:
    """Resize while the client "slow" acknowledges the hold at once, and what comes then never."""
    started = admin("GET", "/v1/pools/cache").json["version"]
    watch = {"client": "slow", "version": started, "wait": 5}
    result = admin.in_background(method, path, body)
    while True:
        document = admin("POST", "/v1/pools/cache/watch", watch).json["document"]
        if document is not None and document["migration"] is None and "resize" not in document:
            return changed(result(), started)
        watch["version"] = watch["version"] if document is None else document["version"]


def test_no_slots_back_while_keys_are_swept(stack: LocalStack, admin: Api) -> None:
    """A client that does not go on to the new version keeps the sweep waiting."""
    waiting = {"client": "slow", "wait": 0}
    now = resized(admin, "PATCH", "/v1/pools/cache/shards/cache-0", {"weight": 3})["version_after"]
    assert [sweep["shard"] for sweep in sweeps(admin)] == ["cache-1"]
    for body in ({"weight": 1}, {"weight": 1, "dry_run": True}):
        refused = admin("PATCH", "/v1/pools/cache/shards/cache-0", body)
        assert refused.problem == "resize-in-progress"
        assert refused.json["shards"] == ["cache-1"]
    admin("POST", "/v1/pools/cache/watch", {**waiting, "version": now})
    until(lambda: not sweeps(admin))
    admin("DELETE", "/v1/pools/cache/clients/slow")
    changed(admin("PATCH", "/v1/pools/cache/shards/cache-0", {"weight": 1}), now)


def test_a_drained_shard_comes_back_only_when_it_is_empty(stack: LocalStack, admin: Api) -> None:
    waiting = {"client": "slow", "wait": 0}
    now = resized(admin, "DELETE", "/v1/pools/cache/shards/cache-1")["version_after"]
    again = {"name": "cache-1", "master": master_of(stack, "cache-1")}
    assert admin("POST", "/v1/pools/cache/shards", again).problem == "resize-in-progress"
    elsewhere = admin("POST", "/v1/pools/cache/shards", {**again, "name": "cache-7"})
    assert elsewhere.problem == "instance-rejected"
    assert elsewhere.json["reason"] == "in-use"
    admin("POST", "/v1/pools/cache/watch", {**waiting, "version": now})
    until(lambda: not sweeps(admin))
    admin("DELETE", "/v1/pools/cache/clients/slow")
    reply = until(
        lambda: (
            reply
            if (reply := admin("POST", "/v1/pools/cache/shards", again)).status == 201
            else None
        )
    )
    changed(reply, now, 201)


def test_small_changes(admin: Api) -> None:
    path = "/v1/pools/cache"
    assert admin("DELETE", f"{path}/shards/cache-0?dry_run=true").json["moved_share"] == 0.5
    same = admin("PATCH", f"{path}/shards/cache-0", {"weight": 1}).json
    assert same["version_before"] == same["version_after"] == 1
    assert same["steps"] == ["nothing to do"]

    set_ = changed(admin("PATCH", f"{path}/settings", {"settings": {"command_timeout": 0.5}}), 1)
    assert set_["document"]["settings"] == {"command_timeout": 0.5}
    assert (set_["moved_slots"], set_["destroys"]) == (0, [])
    reset = changed(admin("PATCH", f"{path}/settings", {"settings": {"command_timeout": None}}), 2)
    assert reset["document"]["settings"] == {}
    event = admin("GET", "/v1/events?limit=1").json["events"][0]
    assert (event["before"], event["after"]) == ({"command_timeout": 0.5}, {})

    changed(admin("DELETE", f"{path}/shards/cache-0"), 3)
    last = admin("DELETE", f"{path}/shards/cache-1")
    assert last.problem == "last-shard"


def test_a_pool_is_deleted_and_made_again(
    stack: LocalStack, admin: Api, sentinels: SentinelGroup
) -> None:
    fill(admin, stack)
    preview = admin("DELETE", "/v1/pools/cache?dry_run=true").json
    assert preview["document"] is None
    assert "SENTINEL REMOVE cache-0 on 3 Sentinels" in preview["steps"]
    assert set(sentinels.monitored()) == {"cache-0", "cache-1"}
    deleted = changed(admin("DELETE", "/v1/pools/cache?version=1"), 1)
    assert deleted["warnings"] == []
    assert sentinels.monitored() == {}
    assert admin("GET", "/v1/pools").json == {"pools": []}

    body = {
        "pool": "cache",
        "sentinels": stack.info["sentinels"],
        "shards": [
            {"name": shard["name"], "master": shard["master"]} for shard in stack.info["shards"]
        ],
        "settings": {"command_timeout": 2},
        "quorum": 3,
    }
    assert admin("POST", "/v1/pools", body).json["reason"] == "not-empty"
    assert sentinels.monitored() == {}
    body["allow_nonempty"] = True
    preview = admin("POST", "/v1/pools", {**body, "dry_run": True})
    assert preview.status == 200
    assert sentinels.monitored() == {}
    made = admin("POST", "/v1/pools", body)
    assert made.status == 201
    # Above every version before, so that a client that knew the old pool takes the new one.
    assert made.json["version_after"] > deleted["version_after"] - 1 > 0
    assert made.json["document"]["settings"] == {"command_timeout": 2}
    keys, alone = made.json["warnings"][:2], made.json["warnings"][2:]
    assert ["keys along" in each for each in keys] == [True, True]
    assert ["no replica: a failover is not possible" in each for each in alone] == [True, True]
    assert preview.json["warnings"] == made.json["warnings"]
    view = next(iter(sentinels.views(["cache-0"]).values()))
    assert view.shards["cache-0"].quorum == 3


def test_without_a_majority_of_sentinels_it_is_undone(
    stack: LocalStack, admin: Api, sentinels: SentinelGroup
) -> None:
    master = spare(stack)
    down = [stack.process(address) for address in stack.info["sentinels"][1:]]
    for process in down:
        process.pause()
    try:
        refused = admin("POST", "/v1/pools/cache/shards", {"name": "cache-2", "master": master})
        assert refused.problem == "sentinel-failed"
        assert len(refused.json["failed"]) == 2
    finally:
        for process in down:
            process.resume()
    assert admin("GET", "/v1/pools/cache").json["version"] == 1
    until(lambda: "cache-2" not in sentinels.monitored())

    def added() -> bool:
        body = {"name": "cache-2", "master": master}
        return admin("POST", "/v1/pools/cache/shards", body).status == 201

    until(added)


def test_of_changes_at_once_one_wins(
    stack: LocalStack, admin: Api, sentinels: SentinelGroup
) -> None:
    masters = [spare(stack) for _ in range(4)]
    replies: list[Reply] = []

    def add(number: int) -> None:
        body = {"name": f"cache-{number + 2}", "master": masters[number], "version": 1}
        replies.append(admin("POST", "/v1/pools/cache/shards", body))

    threads = [threading.Thread(target=add, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(reply.status for reply in replies) == [201, 409, 409, 409]
    assert {reply.problem for reply in replies if reply.status == 409} == {"version-conflict"}
    document = PoolDocument.from_dict(admin("GET", "/v1/pools/cache").json)
    assert isinstance(document.placement, SlotsPlacement)
    until(lambda: set(sentinels.monitored()) == set(document.placement.names))


def test_the_same_shard_twice_at_once(stack: LocalStack, admin: Api) -> None:
    body = {"name": "cache-2", "master": spare(stack)}
    replies = [
        result()
        for result in [
            admin.in_background("POST", "/v1/pools/cache/shards", body) for _ in range(3)
        ]
    ]
    assert sorted(reply.status for reply in replies)[0] == 201
    assert [reply.status for reply in replies].count(201) == 1
    events = admin("GET", "/v1/events").json["events"]
    assert [event["action"] for event in events].count("shard.add") == 1


def outcomes(admin: Api, operation: str) -> dict[tuple[str, str], int]:
    """Return (status, outcome) -> count, as the metrics have it of an operation."""
    pattern = (
        r'cachemesh_metaserver_requests_total{operation="(\w+)",status="(\d+)",'
        r'outcome="([\w-]+)"} (\d+)'
    )
    found = re.findall(pattern, admin("GET", "/metrics").text)
    return {(status, outcome): int(n) for name, status, outcome, n in found if name == operation}


def test_metrics_tell_changes_from_plans_and_refusals(stack: LocalStack, admin: Api) -> None:
    path = "/v1/pools/cache/settings"
    settings = {"settings": {"poll_interval": 2}}
    admin("PATCH", path, {**settings, "dry_run": True})
    assert outcomes(admin, "changeSettings") == {("200", "planned"): 1}
    admin("PATCH", path, {**settings, "version": 99})
    admin("PATCH", path, {**settings, "version": 99, "dry_run": True})
    admin("PATCH", path, settings)
    admin("PATCH", path, settings)
    assert outcomes(admin, "changeSettings") == {
        ("200", "planned"): 1,
        ("200", "changed"): 1,
        ("200", "unchanged"): 1,
        ("409", "refused"): 2,
    }
    shard = {"name": "cache-2", "master": spare(stack)}
    assert admin("POST", "/v1/pools/cache/shards", {**shard, "dry_run": True}).status == 200
    admin("POST", "/v1/pools/cache/shards", {"name": "cache-2", "master": "127.0.0.1:1"})
    assert outcomes(admin, "addShard") == {("200", "planned"): 1, ("422", "refused"): 1}
    assert admin("POST", "/v1/pools/cache/shards/cache-0/failover", {"dry_run": True}).status == 409
    assert outcomes(admin, "failOver") == {("409", "refused"): 1}
    admin("GET", "/v1/pools")
    assert set(outcomes(admin, "listPools")) == {("200", "read")}
