"""The API of a move: what is asked of one under way, and what is refused."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from cachemesh.local import LocalStack
from tests.support.lagging_client import lagging_client
from tests.support.metaserver_process import Api
from tests.support.waiting import AT_MOST, until

POOL = "/v1/pools/cache"


@pytest.fixture(scope="module")
def stack() -> Iterator[LocalStack]:
    with LocalStack(
        shards=2, replicas=0, sentinels=1, metaservers=1, dashboard=False, timeout=AT_MOST
    ) as stack:
        yield stack


@pytest.fixture
def admin(stack: LocalStack) -> Api:
    return Api(stack.info["metaservers"][0], stack.token)


def code_of(admin: Api, method: str, path: str, body: object = None) -> tuple[int, str]:
    reply = admin(method, path, body)
    return reply.status, reply.json.get("code", "")


def test_without_a_resize_there_is_no_pace(admin: Api) -> None:
    assert code_of(admin, "PATCH", f"{POOL}/resize", {"paused": True}) == (404, "resize-not-found")
    assert code_of(admin, "PATCH", "/v1/pools/none/resize", {"paused": True}) == (
        404,
        "pool-not-found",
    )


@pytest.mark.parametrize(
    "body", [{"paused": 1}, {"keys_per_second": -1}, {"keys_per_second": "9"}, {"speed": 1}, []]
)
def test_what_is_no_pace(admin: Api, body: object) -> None:
    assert code_of(admin, "PATCH", f"{POOL}/resize", body) == (400, "bad-request")


def test_a_strategy_that_is_none(admin: Api) -> None:
    body = {"weight": 2, "strategy": "copy"}
    assert code_of(admin, "PATCH", f"{POOL}/shards/cache-0", body) == (400, "bad-request")


def test_a_plan_destroys_nothing(admin: Api) -> None:
    body = {"weight": 2, "strategy": "move", "dry_run": True}
    plan = admin("PATCH", f"{POOL}/shards/cache-0", body).json
    assert plan["destroys"] == []
    assert "move keys from cache-1 to cache-0" in plan["steps"]
    dropped = admin("PATCH", f"{POOL}/shards/cache-0", {**body, "strategy": "drop"}).json
    assert not any(step.startswith("move keys") for step in dropped["steps"])


def test_a_resize_that_drops_keys_has_no_pace(stack: LocalStack, admin: Api) -> None:
    with lagging_client(admin, POOL, stack.master_of("cache-1")):
        done = admin("PATCH", f"{POOL}/shards/cache-0", {"weight": 2, "strategy": "drop"})
        assert done.status == 202
        status, code = code_of(admin, "PATCH", f"{POOL}/resize", {"paused": True})
        assert (status, code) in {(422, "invalid-content"), (404, "resize-not-found")}
    until(lambda: admin("GET", f"{POOL}/status").json["resize"] is None)


def test_weights_move_keys_there_and_back(stack: LocalStack, admin: Api) -> None:
    for weight in (5, 1):
        until(lambda: not admin("GET", f"{POOL}/status").json["sweeps"])
        bounds = {"keys_per_second": 100_000, "max_latency": 100}
        done = admin("PATCH", f"{POOL}/shards/cache-0", {"weight": weight, **bounds})
        assert done.status in (200, 202), done.text
        until(lambda: admin("GET", f"{POOL}/status").json["resize"] is None)
    actions = [event["action"] for event in admin("GET", "/v1/events?pool=cache").json["events"]]
    assert actions.count("resize.move") == 2
