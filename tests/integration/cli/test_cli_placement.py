"""Pools that are made with, or changed to, another placement: against a real metaserver."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from redis import Redis

from cachemesh import CacheMesh
from cachemesh.local import LocalStack
from tests.support.cli_in_process import run_here
from tests.support.terminal import Run, in_process
from tests.support.waiting import until

KEYS = [f"key:{number}" for number in range(500)]
JEDIS = ("pool", "rebalance", "--placement", "jedis", "--hash", "md5", "--hash-tag", "{}")


@pytest.fixture(scope="module")
def stack() -> Iterator[LocalStack]:
    with LocalStack(shards=2, replicas=0, sentinels=1, dashboard=False) as started:
        yield started


@pytest.fixture
def run(
    stack: LocalStack, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Run:
    return in_process(stack.info["env"], monkeypatch, capsys)


@pytest.fixture
def client(stack: LocalStack) -> Iterator[CacheMesh]:
    with CacheMesh.from_url(stack.info["url"], token=stack.token) as client:
        client.mset(dict.fromkeys(KEYS, "value"))
        yield client


def settle(run: Run) -> None:
    def is_settled() -> bool:
        status = run("pool", "status")[1]
        return status["resize"] is None and not status["sweeps"]

    until(is_settled)


def test_even_slots_stay(run: Run) -> None:
    assert run("pool", "rebalance", "--dry-run")[0] == 0
    code, done, _ = run("pool", "rebalance")
    assert (code, done["steps"]) == (0, ["nothing to do"])
    assert run("pool", "rebalance", "absent")[0] == 4


def test_another_placement_there_and_back(run: Run, stack: LocalStack, client: CacheMesh) -> None:
    until(lambda: sum(each["master"]["keys"] for each in run("shard", "list")[1]["shards"]) == 500)
    labels = ("--label", "cache-0=10.0.0.1:6379", "--label", "cache-1=10.0.0.2:6379")
    code, plan, _ = run(*JEDIS, *labels, "--dry-run")
    assert code == 6
    placement = plan["document"]["placement"]
    assert (placement["hash"], placement["hash_tag"]) == ("md5", "{}")
    assert placement["shards"][1]["label"] == "10.0.0.2:6379"
    code, _, err = run(*JEDIS, *labels, "--strategy", "drop")
    assert code == 2
    assert "go cold: their shard changes" in err

    code, out, err = run_here(stack.info["env"], *JEDIS, *labels)
    assert code == 0, err
    assert "place keys by jedis (hash md5, hash tag {}) instead of slots" in out
    settle(run)
    assert client.mget(KEYS) == [b"value"] * len(KEYS)
    assert run("pool", "show")[1]["placement"] == placement

    back = ("pool", "rebalance", "cache", "--placement", "slots")
    code, out, _ = run_here(stack.info["env"], *back, "--dry-run")
    assert code == 6
    assert "% of all keys" in out and "slots (" not in out
    assert "share" in out and "move keys from cache-0 to cache-1" in out
    assert "warning: another program that places keys by jedis no longer finds those" in out
    assert run(*back)[0] == 0
    settle(run)
    assert client.mget(KEYS) == [b"value"] * len(KEYS)
    assert run("pool", "list")[1]["pools"][0]["strategy"] == "slots"


def test_a_pool_is_taken_over_from_twemproxy(run: Run, stack: LocalStack) -> None:
    masters = {f"taken-{n}": stack.start_pair(f"taken-{n}", 0)["master"] for n in range(2)}
    shards = [word for s, at in masters.items() for word in ("--shard", f"{s}={at},weight=2")]
    labels = [word for s, at in masters.items() for word in ("--label", f"{s}={at}")]
    sentinels = [word for s in stack.info["sentinels"] for word in ("--sentinel", s)]
    placed = ("--placement", "ketama", "--hash", "fnv1a_64", "--hash-tag", "{}")
    with Redis.from_url(f"redis://{masters['taken-0']}") as first:
        first.set("was there", "before")
    create = ["pool", "create", "taken", *shards, *labels, *sentinels, *placed]
    code, _, err = run(*create)
    assert (code, "--allow-nonempty" in err) == (1, True), err
    assert run(*create, "--allow-nonempty")[0] == 0
    assert run("pool", "show", "taken")[1]["placement"] == {
        "strategy": "ketama",
        "hash": "fnv1a_64",
        "hash_tag": "{}",
        "shards": [{"name": s, "weight": 2, "label": at} for s, at in masters.items()],
    }
    assert run("pool", "delete", "taken", "--yes")[0] == 0
