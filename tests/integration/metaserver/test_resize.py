"""Resizes: nobody is left behind, and what cannot be finished is told, fenced or given up."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from cachemesh import CacheMesh
from cachemesh.core.fencing import MARKER
from cachemesh.core.pool.document import PoolDocument
from cachemesh.local import LocalStack
from tests.support.client_processes import ClientProcesses
from tests.support.lagging_client import lagging_client
from tests.support.metaserver_process import Api
from tests.support.waiting import until

POOL = "/v1/pools/cache"


@pytest.fixture(scope="module")
def stack() -> Iterator[LocalStack]:
    with LocalStack(shards=2, replicas=0, dashboard=False) as stack:
        yield stack


@pytest.fixture
def admin(stack: LocalStack) -> Api:
    return Api(stack.info["metaservers"][0], stack.token)


def connect(stack: LocalStack, shard: str) -> redis.Redis:
    host, _, port = stack.master_of(shard).rpartition(":")
    return redis.Redis(host=host, port=int(port))


def document(admin: Api) -> dict[str, Any]:
    found: dict[str, Any] = admin("GET", "/v1/pools/cache").json
    return found


def actions(admin: Api) -> list[str]:
    return [event["action"] for event in admin("GET", "/v1/events?pool=cache").json["events"]]


def resize(admin: Api) -> dict[str, Any]:
    found: dict[str, Any] = admin("GET", "/v1/pools/cache/status").json["resize"]
    return found


def test_what_a_shard_is_about_to_own_is_removed_there_first(stack: LocalStack, admin: Api) -> None:
    placement = PoolDocument.from_dict(document(admin)).placement
    keys = [f"key:{number}" for number in range(300)]
    left = [key for key in keys if placement.shard_for(key) == "cache-1"]
    with connect(stack, "cache-0") as client:
        client.mset(dict.fromkeys(keys, "left there by somebody"))
    body = {"weight": 3, "strategy": "drop"}
    done = admin("PATCH", "/v1/pools/cache/shards/cache-0", body)
    assert done.status == 200, done.text
    with connect(stack, "cache-0") as client:
        assert client.exists(*left) == 0
        assert client.exists(*set(keys) - set(left)) == len(keys) - len(left)
    told = [action for action in actions(admin) if action != "sweep.done"]  # of the other shard
    assert told[:3] == ["resize.done", "resize.prepare", "shard.set-weight"]


def test_a_plan_warns_of_connections_that_are_not_told(stack: LocalStack, admin: Api) -> None:
    def planned() -> list[str]:
        body = {"weight": 9, "dry_run": True}
        reply = admin("PATCH", "/v1/pools/cache/shards/cache-0", body)
        warnings: list[str] = reply.json["warnings"]
        return warnings

    with CacheMesh.from_url(stack.info["url"], token=stack.token) as client:
        client.mset({f"key:{number}": number for number in range(100)})
        with connect(stack, "cache-1") as other:
            other.client_setname("reports")
            (warning,) = planned()
    at = stack.master_of("cache-1")
    assert warning.startswith(f"shard cache-1 ({at}) has 1 connection of other software (reports)")
    until(lambda: planned() == [])


def test_a_resize_that_waits_is_told_and_can_be_given_up(stack: LocalStack, admin: Api) -> None:
    before = document(admin)
    with lagging_client(admin, POOL, stack.master_of("cache-0")):
        spare = str(stack.start_redis().address)
        begun = admin("POST", "/v1/pools/cache/shards", {"name": "cache-2", "master": spare})
        assert begun.status == 202
        assert begun.json["resize"]["detail"] == "waits for client frozen"
        assert begun.json["document"]["placement"] == before["placement"]
        assert resize(admin)["summary"].startswith("add shard cache-2")
        for method, path, body in (
            ("PATCH", "/settings", {"settings": {"poll_interval": 2}}),
            ("PATCH", "/shards/cache-0", {"weight": 2}),
            ("DELETE", "", None),
        ):
            refused = admin(method, f"/v1/pools/cache{path}", body)
            assert refused.problem == "resize-in-progress", refused.text
        assert admin("DELETE", "/v1/pools/cache/resize?dry_run=true").status == 200
        assert admin("DELETE", "/v1/pools/cache/resize").status == 200
        assert admin("DELETE", "/v1/pools/cache/resize").problem == "resize-not-found"
        after = document(admin)
        assert after["placement"] == before["placement"]
        assert after["migration"] is None
        assert {"resize.step-back", "resize.given-up"} <= set(actions(admin))
        # The Sentinels have forgotten it: it may be added to another pool, or again.
        again = {"name": "cache-2", "master": spare}
        reply = admin.in_background("POST", "/v1/pools/cache/shards", again)
        until(lambda: resize(admin) is not None)
    assert reply().status == 201  # nobody is left to wait for
    assert "cache-2" in str(document(admin)["placement"])
    until(lambda: "fence" not in document(admin))


def test_a_marker_that_nobody_needs_is_no_key_and_is_lifted(stack: LocalStack, admin: Api) -> None:
    spare = stack.start_redis()
    with redis.Redis(host="127.0.0.1", port=spare.address.port) as client:
        client.set(MARKER, 1)
        added = admin(
            "POST", "/v1/pools/cache/shards", {"name": "cache-3", "master": str(spare.address)}
        )
        assert added.status == 201, added.text
        until(lambda: not admin("GET", "/v1/pools/cache/status").json["sweeps"])
        removed = admin("DELETE", "/v1/pools/cache/shards/cache-3")
        assert removed.status == 200, removed.text
        until(lambda: not admin("GET", "/v1/pools/cache/status").json["sweeps"])
        until(lambda: client.keys() == [])


def test_a_killed_app_does_not_delay_a_resize(
    stack: LocalStack, admin: Api, tmp_path: Path
) -> None:
    url = {"CACHEMESH_URL": f"cachemesh://{stack.info['metaservers'][0]}/cache"}
    log = tmp_path / "log"
    with ClientProcesses("tests.support.idle_app", [[]], stack.token, log, url) as apps:
        (app,) = apps.processes
        assert app.stdout is not None and app.stdout.readline() == "ready\n"
        before = actions(admin).count("resize.step-back")
        app.kill()
        app.wait()
        done = admin("PATCH", f"{POOL}/shards/cache-0", {"weight": 2})
        assert done.status in (200, 202), done.text  # a slow machine takes longer than the call
    until(lambda: resize(admin) is None)
    assert actions(admin).count("resize.step-back") == before
    after = document(admin)
    assert after["placement"]["shards"][0]["weight"] == 2
    assert len(after["fence"]["clients"]) == 1, "for a day: nobody knows that it was killed"
