"""Planned failovers by a metaserver whose Redis user lacks rights."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import redis

from cachemesh.core.names import parse_address
from cachemesh.local import LocalStack
from metaserver.failover.handover import Handover, Timings
from metaserver.failover.participants import Participants
from metaserver.failover.resolution import resolve
from metaserver.failover.saved_settings import SavedSettings, restore
from metaserver.failover.unresolved import StillMaster, Unresolved
from metaserver.process.config import Config
from tests.support.metaserver_loops import NETWORKS
from tests.support.metaserver_process import Api
from tests.support.plain_redis import connect
from tests.support.planned_failovers import (
    FENCE,
    PATH,
    at_once_when_begun,
    await_health,
    in_order,
    last_event,
    stopped,
)
from tests.support.sentinel_writers import Writers
from tests.support.waiting import AT_MOST, until


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
    execute: Any = client.execute_command  # untyped in redis-py
    assert execute("ACL", "SETUSER", user, *rules)


def other(stack: LocalStack, address: str) -> str:
    shard = stack.info["shards"][0]
    (found,) = {shard["master"], *shard["replicas"]} - {address}
    return str(found)


@contextmanager
def operator(address: str) -> Iterator[redis.Redis]:
    """A further user of the instance; all rights are restored afterwards."""
    with connect(address) as client:
        allow(client, "root", "on", ">r", "~*", "&*", "+@all")
    host, port = parse_address(address)
    with redis.Redis(host, port, username="root", password="r", socket_timeout=AT_MOST) as client:
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
    new = other(stack, old)
    begun = threading.Event()
    sentinel = at_once_when_begun(stack, begun)
    with operator(old) as root, Writers(stack, "cache-0") as writers:
        until(lambda: len(writers.acknowledged) > 50)
        reply = api.in_background("POST", PATH, {"hurry": True})
        assert begun.wait(AT_MOST)
        # Without SLAVEOF, which Sentinel sends, the Sentinels cannot demote it either.
        allow(root, "default", "-replicaof", "-slaveof")
        failed = reply()
        sentinel.join(AT_MOST)
        assert (failed.status, failed.problem) == (502, "failover-failed"), failed.json
        assert failed.json["undone"] is False
        host, port = parse_address(new)
        for words in ("'replicaof'", f"REPLICAOF {host} {port}", "+replicaof"):
            assert words in str(failed.json), failed.json
        told = until(
            lambda: e if (e := last_event(api))["action"].startswith("shard.failover") else None
        )
        assert (told["action"], told["after"]["master"]) == ("shard.failover", new)
        assert "'replicaof'" in told["detail"] and f"REPLICAOF {host} {port}" in told["detail"]
        with pytest.raises(redis.ResponseError, match="enough good replicas"):
            root.set("nobody", "sees this")
        assert (root.role()[0], root.config_get(FENCE)) == (b"master", {FENCE: "1"})
        assert api("POST", PATH, {"hurry": True}).problem == "failover-in-progress"

        allow(root, "default", "+replicaof", "+slaveof")
        until(lambda: last_event(api)["id"] > told["id"])
        assert last_event(api)["action"] == "shard.failover"
    assert writers.lost() == []
    await_health(api)
    until(lambda: in_order(stack))


@contextmanager
def fenced(stack: LocalStack, old: str) -> Iterator[tuple[Participants, SavedSettings]]:
    """The participants of a failover that has set the fence on the old master."""
    new, sentinels = other(stack, old), stack.info["sentinels"]
    saved = SavedSettings((new,), sentinels[0], 10000, "0")
    settings = Config(db=stack.directory / "none.db")
    with (
        connect(old) as client,
        Participants.from_addresses(
            settings, NETWORKS, "cache-0", old, saved.replicas, sentinels
        ) as participants,
    ):
        client.config_set(FENCE, 1)
        try:
            yield participants, saved
            assert client.config_get(FENCE) == {FENCE: "1"}
        finally:
            client.config_set(FENCE, 0)


def test_the_fence_is_not_lifted_on_one_that_is_a_master_again(stack: LocalStack, api: Api) -> None:
    old = stack.master_of("cache-0")
    with fenced(stack, old) as (participants, saved), pytest.raises(StillMaster):
        restore(participants, saved, promoted=other(stack, old))


def test_nor_while_the_promoted_one_does_not_answer(stack: LocalStack, api: Api) -> None:
    old = stack.master_of("cache-0")
    new = other(stack, old)
    with operator(old) as root, fenced(stack, old) as (participants, saved):
        allow(root, "default", "-slaveof")
        with connect(stack.info["sentinels"][0]) as sentinel:
            sentinel.sentinel_failover("cache-0")
        until(lambda: participants.majority_master() == new)
        with stopped(stack, new), pytest.raises(Unresolved):
            resolve(Handover(participants, saved, 1, Timings(began=time.monotonic()), started=True))
        assert root.role()[0] == b"master"
    await_health(api)
