"""Planned failovers by a metaserver whose Redis user may not do all that they need."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import redis

from cachemesh.core.names import parse_address
from cachemesh.local import LocalStack
from tests.integration.metaserver_process import Api
from tests.integration.operations import connect, eventually
from tests.integration.test_planned_failover import FENCE, await_health, last_event
from tests.integration.test_planned_failover_broken import PATH, at_once_when_begun, in_order
from tests.integration.writers import Writers


@pytest.fixture(scope="module")
def stack() -> Iterator[LocalStack]:
    with LocalStack(shards=1, replicas=1, dashboard=False) as started:
        yield started


@pytest.fixture
def api(stack: LocalStack) -> Api:
    found = Api(stack.info["metaservers"][0], stack.token)
    await_health(found)
    return found


def allow(client: redis.Redis, user: str, *rules: str) -> None:
    assert client.execute_command("ACL", "SETUSER", user, *rules)  # type: ignore[no-untyped-call]


@contextmanager
def operator(address: str) -> Iterator[redis.Redis]:
    """A user of the instance besides the default one; everybody else's rights are whole after."""
    with connect(address) as client:
        allow(client, "root", "on", ">r", "~*", "&*", "+@all")
    host, port = parse_address(address)
    with redis.Redis(host, port, username="root", password="r", socket_timeout=20) as client:
        try:
            yield client
        finally:
            allow(client, "default", "+@all")


@pytest.mark.parametrize(
    "lacks",
    [
        "replicaof",
        "multi",
        "role",
        "client|pause",
        "client|unpause",
        "config|get",
        "config|set",
        "config|rewrite",
    ],
)
def test_a_right_that_is_missing_is_named_beforehand(
    stack: LocalStack, api: Api, lacks: str
) -> None:
    master = stack.master_of("cache-0")
    with operator(master) as root:
        before = root.config_get("*"), root.role()[0]
        allow(root, "default", f"-{lacks}", "-acl")
        refused = api("POST", PATH, {"hurry": True})
        assert (refused.status, refused.problem) == (409, "failover-refused"), refused.json
        assert refused.json["reason"] == "no-permission"
        assert f"lacks +{lacks} on {master}" in refused.json["detail"]
        assert refused.json["next"].endswith(f"ACL SETUSER USER +{lacks}")
        assert (root.config_get("*"), root.role()[0]) == before


def test_a_right_withdrawn_on_the_way_loses_no_write(stack: LocalStack, api: Api) -> None:
    old = stack.master_of("cache-0")
    shard = stack.info["shards"][0]
    (new,) = {shard["master"], *shard["replicas"]} - {old}
    begun = threading.Event()
    watcher = at_once_when_begun(stack, begun)
    with operator(old) as root, Writers(stack, "cache-0") as writers:
        eventually(lambda: len(writers.acknowledged) > 50)
        reply = api.in_background("POST", PATH, {"hurry": True}, timeout=60)
        assert begun.wait(20)
        # Without SLAVEOF, which Sentinel sends, the Sentinels cannot demote it either.
        allow(root, "default", "-replicaof", "-slaveof")
        failed = reply()
        watcher.join(10)
        assert (failed.status, failed.problem) == (502, "failover-failed"), failed.json
        assert failed.json["undone"] is False
        host, port = parse_address(new)
        for words in ("'replicaof'", f"REPLICAOF {host} {port}", "+replicaof"):
            assert words in str(failed.json), failed.json
        told = eventually(
            lambda: e if (e := last_event(api))["action"].startswith("shard.failover") else None
        )
        assert (told["action"], told["after"]["master"]) == ("shard.failover", new)
        assert "'replicaof'" in told["detail"] and f"REPLICAOF {host} {port}" in told["detail"]
        # It waits for the end of the pause.
        with pytest.raises(redis.ResponseError, match="enough good replicas"):
            root.set("nobody", "sees this")
        assert (root.role()[0], root.config_get(FENCE)) == (b"master", {FENCE: "1"})
        assert api("POST", PATH, {"hurry": True}).problem == "failover-in-progress"

        allow(root, "default", "+replicaof", "+slaveof")
        eventually(lambda: last_event(api)["id"] > told["id"])
        assert last_event(api)["action"] == "shard.failover"
    assert writers.lost() == []
    await_health(api)
    eventually(lambda: in_order(stack, api))
