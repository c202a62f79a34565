"""The plan of a resize that moves keys: what it tells of real servers, before anything is done."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest

from cachemesh.core.placement import Placement
from cachemesh.local import LocalStack
from tests.support.moved_pool import moving_stack
from tests.support.planned_moves import POOL, SPARE, PlannedPool
from tests.support.terminal import Terminal

KEYS = 3000
NAMES = [f"key:{n}" for n in range(KEYS)]


@pytest.fixture(scope="module")
def stack() -> Iterator[LocalStack]:
    with moving_stack() as stack:
        yield stack


@pytest.fixture(scope="module")
def only(stack: LocalStack) -> PlannedPool:
    return PlannedPool(stack)


@pytest.fixture
def pool(only: PlannedPool) -> Iterator[PlannedPool]:
    """The pool with keys in two databases."""
    only.put({name: "v" * (n % 200) for n, name in enumerate(NAMES)})
    only.put(dict.fromkeys(NAMES[:100], "w"), database=3)
    yield only
    only.flush()


def pairs_of(plan: dict[str, Any]) -> dict[tuple[str, str], Any]:
    return {(pair["source"], pair["target"]): pair for pair in plan["migration"]["pairs"]}


def exactly(number: int) -> dict[str, int]:
    return {"estimate": number, "low": number, "high": number}


def test_it_is_exact_where_every_key_was_looked_at(pool: PlannedPool) -> None:
    plan = pool.plan_of_adding(sample=0)
    before, after = pool.placement, Placement.from_dict(plan["document"]["placement"])
    found = pairs_of(plan)
    assert set(found) == {("cache-0", SPARE), ("cache-1", SPARE)}
    for (source, target), pair in found.items():
        moving = [
            (database, name)
            for database, names in ((0, NAMES), (3, NAMES[:100]))
            for name in names
            if (before.shard_for(name), after.shard_for(name)) == (source, target)
        ]
        size = 0
        for database in (0, 3):
            with pool.shard(source, database) as shard, shard.pipeline(transaction=False) as asked:
                for name in (name for at, name in moving if at == database):
                    asked.memory_usage(name)
                size += sum(asked.execute())
        assert pair["keys"] == exactly(len(moving))
        assert pair["bytes"] == exactly(size)
    sources = plan["migration"]["sources"]
    assert sum(source["looked_at"] for source in sources) == KEYS + 100
    assert all(source["complete"] and source["error"] is None for source in sources)
    assert plan["warnings"] == [w for w in plan["warnings"] if "replica" in w]


def test_a_sample_gives_bounds(pool: PlannedPool) -> None:
    plan = pool.plan_of_adding(sample=300)
    for source in plan["migration"]["sources"]:
        assert 300 <= source["looked_at"] < source["keys"]
        assert not source["complete"]
    told = [plan["migration"][name] for name in ("keys", "bytes")]
    told += [pair[name] for pair in pairs_of(plan).values() for name in ("keys", "bytes")]
    for estimate in told:
        assert 0 < estimate["low"] < estimate["estimate"] < estimate["high"]


def test_it_changes_nothing(stack: LocalStack, pool: PlannedPool) -> None:
    version = pool.api("GET", POOL).json["version"]
    pool.plan_of_adding()
    assert pool.api("GET", POOL).json["version"] == version
    with pool.shard(SPARE) as spare:
        assert spare.dbsize() == 0
    shown = [each["name"] for each in pool.api("GET", f"{POOL}/shards").json["shards"]]
    assert shown == ["cache-0", "cache-1"]


def test_big_keys_are_named_the_biggest_first(pool: PlannedPool) -> None:
    pool.put({f"big:{n}": "x" * (n + 1) * 5000 for n in range(60)})
    plan = pool.plan_of_adding(sample=0, big_key=20_000)
    named = plan["migration"]["big_keys"]
    assert plan["migration"]["big_key"] == 20_000
    after = Placement.from_dict(plan["document"]["placement"])
    expected = [n for n in range(60)[::-1] if n >= 4 and after.shard_for(f"big:{n}") == SPARE][:20]
    assert [key["key"] for key in named] == [f"big:{n}" for n in expected]
    for key, n in zip(named, expected, strict=True):
        assert (key["database"], key["type"], key["target"]) == (0, "string", SPARE)
        assert key["bytes"] > (n + 1) * 5000
    assert pool.plan_of_adding(sample=0)["migration"]["big_keys"] == []


def test_it_tells_how_long_it_takes_and_what_clients_feel(pool: PlannedPool) -> None:
    pool.put({f"big:{n}": "x" * (n + 1) * 1_000_000 for n in range(4)})
    migration = pool.plan_of_adding(sample=0)["migration"]
    assert "keys a second" in migration["rests_on"]
    takes = migration["seconds"]
    assert 0 <= takes["low"] == takes["estimate"] == takes["high"]
    held, first, *blocked = migration["feel"]
    assert "for up to 100 ms" in held
    assert "round trip" in first
    assert len(blocked) == bool(migration["big_keys"])
    assert all(key["blocks_seconds"] > 0 for key in migration["big_keys"])
    slow = pool.plan_of_adding(sample=0, keys_per_second=10)["migration"]["seconds"]
    moved = max(pair["keys"]["estimate"] for pair in migration["pairs"])
    assert slow["estimate"] >= moved / 5  # two sources share the bound
    for shard in ("cache-0", "cache-1", SPARE):
        with pool.shard(shard) as client:
            assert client.keys("cachemesh:probe:*") == []


@pytest.mark.parametrize(
    ("policy", "follows"),
    [("noeviction", "stop when it is full"), ("allkeys-lru", "evict keys (allkeys-lru)")],
)
def test_a_target_with_too_little_memory(pool: PlannedPool, policy: str, follows: str) -> None:
    with pool.shard(SPARE) as spare:
        used = spare.info("memory")["used_memory"]
        spare.config_set("maxmemory", used + 50_000)
        spare.config_set("maxmemory-policy", policy)
        try:
            plan = pool.plan_of_adding(sample=0)
        finally:
            spare.config_set("maxmemory", 0)
    (memory,) = [each for each in plan["migration"]["memory"] if each["shard"] == SPARE]
    assert memory["maxmemory"] == used + 50_000
    assert memory["policy"] == policy
    taken = plan["migration"]["bytes"]["estimate"]
    assert memory["after"] == exactly(memory["used"] + taken)
    (warning,) = [each for each in plan["warnings"] if "maxmemory" in each]
    assert warning.startswith("shard spare needs about ")
    assert follows in warning
    lost = [each for each in plan["migration"]["memory"] if each["shard"] != SPARE]
    assert all(each["after"]["estimate"] < each["used"] for each in lost)


def test_a_shard_that_does_not_answer_is_not_known(stack: LocalStack, pool: PlannedPool) -> None:
    stopped = stack.process(stack.master_of("cache-1"))
    stopped.pause()
    try:
        plan = pool.plan_of_adding()
    finally:
        stopped.resume()
    known, unknown = plan["migration"]["pairs"]
    assert known["keys"]["estimate"] > 0
    assert (unknown["source"], unknown["keys"], unknown["bytes"]) == ("cache-1", None, None)
    assert plan["migration"]["keys"] is plan["migration"]["bytes"] is None
    assert plan["migration"]["seconds"] is None
    assert any("from cache-1 to spare is not known: " in each for each in plan["warnings"])
    (source,) = [each for each in plan["migration"]["sources"] if each["shard"] == "cache-1"]
    assert source["keys"] is None
    assert source["error"]
    memory = {each["shard"]: each["after"] for each in plan["migration"]["memory"]}
    assert memory["cache-0"] is not None
    assert memory["cache-1"] is memory[SPARE] is None
    assert any("cache-1 is not known: " in warning for warning in plan["warnings"])


def test_a_plan_without_keys_that_move_has_none_of_it(pool: PlannedPool) -> None:
    assert pool.plan_of_adding(strategy="drop")["migration"] is None
    same = pool.api("PATCH", f"{POOL}/shards/cache-0", {"weight": 1, "dry_run": True})
    assert same.json["migration"] is None


def test_the_command_shows_it_in_80_columns(
    stack: LocalStack, pool: PlannedPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in stack.info["env"].items():
        monkeypatch.setitem(os.environ, name, value)
    pool.put(
        {"big:" + "long" * 30: "x" * 3_000_000, "big:2": "x" * 2_000_000, "big:3": "x" * 10**6}
    )
    words = ("shard", "add", SPARE, pool.spare, "--strategy", "move", "--dry-run")
    terminal = Terminal(*words, "--sample", "200", "--big-key", "500K", columns=80)
    assert terminal.end() == 6, terminal.seen
    lines = terminal.seen.splitlines()
    shown = [line for line in lines if not line.startswith(("  ", "plan:", "warning:"))]
    assert max(map(len, shown)) <= 80, terminal.seen
    for part in ("cache-1", "looked at", "bounds are of 95%", "maxmemory", "keys a second", "held"):
        assert part in " ".join(terminal.seen.split())
