"""A removed shard whose instance does not come back: an operator sees it, and ends it."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from cachemesh.cli import main as cli
from cachemesh.local import LocalStack
from metaserver.store.sqlite import SqliteStore
from tests.support import metaserver_loops
from tests.support.metaserver_process import Api
from tests.support.waiting import until

PATH = "/v1/pools/cache/sweeps"


@pytest.fixture(scope="module")
def stack() -> Iterator[LocalStack]:
    with LocalStack(shards=3, replicas=0, dashboard=False) as stack:
        yield stack


@pytest.fixture
def admin(stack: LocalStack) -> Api:
    return Api(stack.info["metaservers"][0], stack.token)


def drain_a_dead_shard(stack: LocalStack, admin: Api, name: str) -> str:
    """Remove a shard whose master is dead, and return the master's address."""
    until(lambda: not admin("GET", "/v1/pools/cache/status").json["sweeps"])
    (gone,) = (each["master"] for each in stack.info["shards"] if each["name"] == name)
    stack.process(gone).kill()
    assert admin("DELETE", f"/v1/pools/cache/shards/{name}?strategy=drop").status == 200
    return str(gone)


def fail_its_sweep(stack: LocalStack, name: str) -> None:
    """Set the sweep failed, as happens after 30 s without a reply."""
    store = SqliteStore(stack.directory / "meta.db")
    (sweep,) = (each for each in store.sweeps("cache") if each.shard == name)
    assert store.update_sweep(sweep.id, state="failed", detail="Connection refused")
    store.close()


def test_it_is_seen_and_forgotten(
    stack: LocalStack, admin: Api, capsys: pytest.CaptureFixture[str]
) -> None:
    gone = drain_a_dead_shard(stack, admin, "cache-2")
    assert admin("DELETE", f"{PATH}/cache-9").problem == "sweep-not-found"
    serving = admin("DELETE", f"{PATH}/cache-0")
    assert serving.problem == "sweep-needed" and "nothing to give up" in serving.json["detail"]
    refused = admin("DELETE", f"{PATH}/cache-2")
    assert refused.problem == "sweep-needed"
    assert "has not failed" in refused.json["detail"]
    fail_its_sweep(stack, "cache-2")
    *_, seen = admin("GET", "/v1/pools/cache/status").json["shards"]
    assert (seen["name"], seen["state"]) == ("cache-2", "draining")

    plan = admin("DELETE", f"{PATH}/cache-2?dry_run=true").json
    assert plan["dry_run"]
    assert plan["steps"][-1] == "SENTINEL REMOVE cache-2 on 3 Sentinels"
    assert gone in plan["warnings"][0]
    with metaserver_loops.sentinels(stack) as sentinels:
        assert "cache-2" in sentinels.monitored()

    words = ["--url", stack.info["url"], "--token-file", stack.info["token_file"], "-o", "json"]
    assert cli.run([*words, "shard", "forget", "cache-2"]) == 2  # without --yes
    assert cli.run([*words, "shard", "forget", "cache-2", "--dry-run"]) == 6
    capsys.readouterr()
    assert cli.run([*words, "shard", "forget", "cache-2", "--yes"]) == 0
    assert json.loads(capsys.readouterr().out)["shard"] == "cache-2"
    with metaserver_loops.sentinels(stack) as sentinels:
        until(lambda: "cache-2" not in sentinels.monitored())
    until(lambda: len(admin("GET", "/v1/pools/cache/status").json["shards"]) == 2)
    (event,) = (
        each
        for each in admin("GET", "/v1/events?pool=cache").json["events"]
        if each["action"] == "sweep.forgotten"
    )
    assert (event["actor"], event["target"]) == ("token:admin", "cache-2")
    assert cli.run([*words, "shard", "forget", "cache-2", "--yes"]) == 4  # the sweep is gone


def test_a_shard_of_the_pool_is_not_forgotten(stack: LocalStack, admin: Api) -> None:
    until(lambda: not admin("GET", "/v1/pools/cache/status").json["sweeps"])
    stack.process(stack.info["shards"][0]["master"]).kill()
    body = {"weight": 3, "strategy": "drop"}
    made = admin("PATCH", "/v1/pools/cache/shards/cache-1", body)
    assert made.status == 200, made.text
    fail_its_sweep(stack, "cache-0")
    refused = admin("DELETE", f"{PATH}/cache-0")
    assert refused.problem == "sweep-needed"
    assert "is in pool" in refused.json["detail"]
