"""Planned failovers under load: no write is lost, whichever step fails."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import pytest

from cachemesh.core.pool.document import PoolDocument
from cachemesh.local import LocalStack
from metaserver.failover import handover
from metaserver.failover.participants import Participants
from metaserver.failover.resolution import conclude
from metaserver.failover.saved_settings import SavedSettings
from metaserver.process.config import Config
from tests.support.metaserver_loops import NETWORKS
from tests.support.metaserver_process import Api, Reply
from tests.support.plain_redis import connect
from tests.support.planned_failovers import (
    FENCE,
    await_health,
    everybody,
    fail_over,
    hanging_once_begun,
    last_event,
    replicas_of,
    stopped,
)
from tests.support.sentinel_writers import Writers
from tests.support.waiting import until


@pytest.fixture(scope="module")
def stack() -> Iterator[LocalStack]:
    with LocalStack(shards=2, replicas=2, dashboard=False) as started:
        yield started


@pytest.fixture
def admin(stack: LocalStack) -> Iterator[Api]:
    """The API, once every shard is up, and again afterwards."""
    api = Api(stack.info["metaservers"][0], stack.token)
    await_health(api)
    yield api
    await_health(api)
    for shard in ("cache-0", "cache-1"):
        for address in everybody(stack, shard):
            with connect(address) as client:
                assert client.config_get(FENCE) == {FENCE: "0"}
                assert client.config_get("replica-priority") == {"replica-priority": "100"}
    for address in stack.info["sentinels"]:
        with connect(address) as client:
            for shard in ("cache-0", "cache-1"):
                assert client.sentinel_master(shard)["failover-timeout"] == 10000


def test_it_loses_nothing(stack: LocalStack, admin: Api) -> None:
    before = stack.master_of("cache-0")
    with Writers(stack, "cache-0", threads=4) as writers:
        until(lambda: len(writers.acknowledged) > 200)
        reply = fail_over(admin, "cache-0")
        assert reply.status == 200, reply.text
        count = len(writers.acknowledged)
        until(lambda: len(writers.acknowledged) > count + 200)
    report = reply.json
    assert report["master_before"] == before
    assert report["master_after"] == stack.master_of("cache-0") != before
    # The choice is Sentinel's own: a slow replica may have become its second one meanwhile.
    other = "it had everything too"
    assert [each for each in report["warnings"] if not each.endswith(other)] == []
    assert writers.errors == []
    assert writers.lost() == []
    timings = report["timings"]
    steps = ["caught_up_ms", "promoted_ms", "demoted_ms", "resumed_ms"]
    assert [timings[step] for step in steps] == sorted(timings[step] for step in steps)
    assert timings["announced_ms"] >= timings["promoted_ms"]

    event = last_event(admin)
    assert (event["action"], event["actor"]) == ("shard.failover", "token:admin")
    assert event["before"] == {"master": before}
    assert event["after"]["master"] == report["master_after"]
    assert event["after"]["resumed_ms"] == timings["resumed_ms"]
    await_health(admin)
    assert last_event(admin) == event  # the monitor reports no failover or outage of its own
    with connect(before) as client:
        assert client.role()[0] == b"slave"


def test_to_a_replica_of_choice(stack: LocalStack, admin: Api) -> None:
    plan = fail_over(admin, "cache-1", dry_run=True).json
    (to,) = set(replicas_of(stack, "cache-1")) - {plan["master_after"]}
    with Writers(stack, "cache-1") as writers:
        until(lambda: len(writers.acknowledged) > 50)
        reply = fail_over(admin, "cache-1", to=to)
    assert reply.status == 200, reply.text
    assert reply.json["master_after"] == to == stack.master_of("cache-1")
    assert (writers.errors, writers.lost()) == ([], [])


def test_a_dry_run_touches_nothing(stack: LocalStack, admin: Api) -> None:
    to = replicas_of(stack, "cache-0")[1]
    event = last_event(admin)
    plan = fail_over(admin, "cache-0", to=to, dry_run=True)
    assert plan.status == 200, plan.text
    assert plan.json["dry_run"]
    assert plan.json["master_after"] == to
    assert {each["address"] for each in plan.json["candidates"]} == set(
        replicas_of(stack, "cache-0")
    )
    assert plan.json["lag_bytes"] >= 0
    assert plan.json["timings"] is None
    assert stack.master_of("cache-0") == plan.json["master_before"] != to
    assert last_event(admin) == event


def test_one_at_a_time(admin: Api) -> None:
    first = admin.in_background("POST", "/v1/pools/cache/shards/cache-0/failover", {"timeout": 60})
    second = until(
        lambda: r if (r := fail_over(admin, "cache-0", dry_run=True)).status != 200 else None
    )
    assert second.problem == "failover-in-progress"
    removal = admin("DELETE", "/v1/pools/cache/shards/cache-0")
    deletion = admin("DELETE", "/v1/pools/cache")
    assert first().status == 200
    assert removal.problem == "failover-in-progress"
    assert deletion.problem == "failover-in-progress"


def test_what_is_refused(stack: LocalStack, admin: Api) -> None:
    def reason(reply: Reply) -> str:
        assert reply.problem == "failover-refused", reply.text
        assert reply.json["next"]
        return str(reply.json["reason"])

    def refused_as(why: str, **body: str) -> bool:
        # A busy Sentinel may hold the master for down for a moment.
        found = reason(fail_over(admin, "cache-0", **body))
        assert found in (why, "master-down")
        return found == why

    def is_down(body: dict[str, str]) -> bool:
        reply = fail_over(admin, "cache-0", **body)
        return reason(reply) == "replica-down" and "for down" in reply.json["detail"]

    master, replicas = stack.master_of("cache-0"), replicas_of(stack, "cache-0")
    until(lambda: refused_as("already-master", to=master))
    until(lambda: refused_as("not-a-replica", to=stack.master_of("cache-1")))
    assert fail_over(admin, "cache-9").problem == "shard-not-found"
    assert fail_over(admin, "cache-0", timeout=0).problem == "bad-request"
    assert fail_over(admin, "cache-0", after="noon").problem == "bad-request"
    reader = admin("POST", "/v1/tokens", {"name": "reader", "role": "read"}).json
    assert fail_over(Api(admin.address, reader["token"]), "cache-0").problem == "forbidden"
    admin("DELETE", f"/v1/tokens/{reader['id']}")
    with stopped(stack, replicas[0]):
        until(lambda: refused_as("replica-down"))
    with stopped(stack, *replicas):
        for to in (None, replicas[0]):
            body = {} if to is None else {"to": to}
            until(partial(is_down, body))
    with stopped(stack, *stack.info["sentinels"][:2]):
        until(lambda: refused_as("sentinels"))
    assert stack.master_of("cache-0") == master


def test_a_replica_that_hangs_while_it_catches_up(stack: LocalStack, admin: Api) -> None:
    master, replicas = stack.master_of("cache-0"), replicas_of(stack, "cache-0")
    with Writers(stack, "cache-0") as writers:
        until(lambda: len(writers.acknowledged) > 50)
        reply = admin.in_background(
            "POST", "/v1/pools/cache/shards/cache-0/failover", {"timeout": 60}
        )
        until(lambda: planned(admin).status != 200)  # by now the metaserver searches for the moment
        with stopped(stack, replicas[0]):
            failed = reply()
            assert failed.problem == "failover-failed", failed.text
            assert "did not catch up" in failed.json["detail"]
            assert failed.json["undone"]
            count = len(writers.acknowledged)
            until(lambda: len(writers.acknowledged) > count + 20)
    assert stack.master_of("cache-0") == master
    assert (writers.errors, writers.lost()) == ([], [])
    # The replica is seen as down while it is stopped, once no failover goes on any more.
    assert last_event(admin, "shard")["action"] == "shard.failover-undone"


def test_a_replica_that_hangs_when_it_is_promoted(stack: LocalStack, admin: Api) -> None:
    master, replicas = stack.master_of("cache-0"), replicas_of(stack, "cache-0")
    with Writers(stack, "cache-0") as writers:
        until(lambda: len(writers.acknowledged) > 50)
        with hanging_once_begun(stack, *replicas):
            reply = fail_over(admin, "cache-0", hurry=True)
            assert reply.problem == "failover-failed", reply.text
            assert "no replica was promoted" in reply.json["detail"]
            assert reply.json["undone"]
            count = len(writers.acknowledged)
            until(lambda: len(writers.acknowledged) > count + 20)
        await_health(admin)  # the Sentinels have demoted the late one again
    assert stack.master_of("cache-0") == master
    assert (writers.errors, writers.lost()) == ([], [])


def planned(api: Api) -> Reply:
    return fail_over(api, "cache-0", dry_run=True)


def test_sentinels_that_missed_the_promotion(
    stack: LocalStack, admin: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Set up the state after a Sentinel gave up at the moment of the promotion."""
    monkeypatch.setattr(handover, "AGREE", 0.5)
    master, replicas = stack.master_of("cache-0"), replicas_of(stack, "cache-0")
    settings = Config(db=stack.directory / "none.db")
    with Participants.from_addresses(
        settings, NETWORKS, "cache-0", master, replicas, stack.info["sentinels"]
    ) as participants:
        saved = SavedSettings(tuple(replicas), stack.info["sentinels"][0], timeout=10000, fence="0")
        attempt = handover.Handover(participants, saved, 2, handover.Timings(), started=True)
        promoted = replicas[0]
        participants.replicas[promoted].promote()
        attempt.demote(promoted)
        with connect(promoted) as client:
            client.set("written", "there")
        resolution = conclude(attempt, promoted)
    assert (resolution.master, resolution.promoted) == (master, False)
    with connect(master) as client:
        assert client.role()[0] == b"master"
        assert client.get("written") == b"there"
    with connect(promoted) as client:
        assert client.role()[0] == b"slave"


def test_a_sweep_goes_on_afterwards(stack: LocalStack, admin: Api) -> None:
    count = 20_000
    with connect(stack.master_of("cache-1")) as client:
        client.mset({f"foreign:{number}": "x" for number in range(count)})
    assert admin("PATCH", "/v1/pools/cache/shards/cache-0", {"weight": 3}).status == 200
    assert fail_over(admin, "cache-1", hurry=True).status == 200
    until(lambda: not admin("GET", "/v1/pools/cache/status").json["sweeps"])
    placement = PoolDocument.from_dict(admin("GET", "/v1/pools/cache").json).placement
    with connect(stack.master_of("cache-1")) as client:
        unrestored = list(client.scan_iter("foreign:*", count=5000))
    assert unrestored
    assert all(placement.shard_for(key) == "cache-1" for key in unrestored)


def test_all_sentinels_hang_once_begun(stack: LocalStack, admin: Api) -> None:
    master = stack.master_of("cache-0")
    with Writers(stack, "cache-0") as writers:
        until(lambda: len(writers.acknowledged) > 50)
        with hanging_once_begun(stack, *stack.info["sentinels"]):
            reply = fail_over(admin, "cache-0", hurry=True)
            assert reply.problem == "failover-failed", reply.text
            count = len(writers.acknowledged)
            until(lambda: len(writers.acknowledged) > count + 20)
        # The Sentinel was in the middle of the failover, and would go on after 30 s of TILT;
        # repair makes it forget.
        tilted = until(lambda: r if "TILT" in (r := planned(admin)).text else None)
        assert tilted.json["reason"] == "sentinels"
        count = len(writers.acknowledged)
        until(lambda: len(writers.acknowledged) > count + 20)
    assert stack.master_of("cache-0") == master
    assert (writers.errors, writers.lost()) == ([], [])
