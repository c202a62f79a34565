"""A shard is gone for good in the midst of a move, and an operator says that its data is lost.

Its server then comes back after all, with the data that it had before the move.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest

from cachemesh import CacheMesh, CacheMeshError
from cachemesh.core.placement import Placement
from cachemesh.local import LocalStack, Process
from tests.support.moved_pool import POOL, SPARE, MovedPool, moving_stack
from tests.support.plain_redis import direct
from tests.support.terminal import Run, in_process
from tests.support.waiting import AT_MOST, until

KEYS = [f"key:{n}" for n in range(900)]
LOST = "/v1/pools/cache/resize/lost"


@dataclass
class Moving:
    """A pool in whose midst keys move slowly to a new shard.

    Attributes:
        at_first: how many keys each shard had before.
    """

    stack: LocalStack
    pool: MovedPool
    client: CacheMesh
    at_first: dict[str, int]

    def mark_lost(self, shard: str, **body: object) -> tuple[int, str]:
        """Say that a shard is lost; return the status of the answer, and its text."""
        done = self.pool.api("POST", LOST, {"shard": shard, **body})
        return done.status, done.text

    def process_of(self, shard: str) -> Process:
        at = self.pool.spare if shard == SPARE else self.stack.master_of(shard)
        return self.stack.process(at)

    def placement(self) -> Placement:
        return Placement.from_dict(self.pool.api("GET", POOL).json["placement"])

    def placement_after(self) -> Placement:
        """Return the placement that keys move to, or have moved to."""
        document = self.pool.api("GET", POOL).json
        return Placement.from_dict((document["migration"] or document)["placement"])

    def read(self, keys: list[str]) -> list[str | None]:
        """Return the values of keys, each asked for by itself, once their shards serve."""
        return [until(partial(self._value, key))[0] for key in keys]

    def _value(self, key: str) -> tuple[str | None] | None:
        try:
            found: Any = self.client.get(key)
        except CacheMeshError:
            return None
        return (None if found is None else found.decode(),)

    def swept(self) -> bool:
        """Return whether nothing is left to be removed, and no fence is up."""
        return not self.pool.sweeps() and "fence" not in self.pool.api("GET", POOL).json


@pytest.fixture
def moving() -> Iterator[Moving]:
    with (
        moving_stack() as stack,
        CacheMesh.from_url(stack.info["url"], token=stack.token) as client,
    ):
        client.mset(dict.fromkeys(KEYS, "old"))
        at_first = {}
        for shard in ("cache-0", "cache-1"):
            with direct(stack.master_of(shard)) as server:
                server.save()
                at_first[shard] = server.dbsize()
        pool = MovedPool(stack, replicas=0)
        pool.begin_adding(keys_per_second=100)
        pool.await_state("moving")
        pool.await_moved_keys()
        yield Moving(stack, pool, client, at_first)


@pytest.fixture
def run(moving: Moving, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    return in_process(moving.stack.info["env"], monkeypatch, capsys)


@pytest.mark.parametrize("back", ["while the others move", "after the end"])
def test_a_source_that_comes_back_with_old_data_serves_none_of_it(
    moving: Moving, back: str
) -> None:
    pool, client = moving.pool, moving.client
    before, after = moving.placement(), moving.placement_after()
    dead = moving.process_of("cache-0")
    with direct(str(dead.address)) as server:
        until(lambda: server.dbsize() < moving.at_first["cache-0"] - 10)
    dead.kill()
    until(lambda: "cannot be moved from shard cache-0" in (pool.resize() or {})["detail"])
    assert moving.mark_lost("cache-0")[0] == 200
    pool.await_state("moving")
    resize = pool.resize()
    assert resize is not None and resize["lost"] == ["cache-0"]
    if back == "after the end":
        pool.set_pace(keys_per_second=0)
        until(lambda: pool.resize() is None)
    pairs = {key: (before.owner(key.encode()), after.owner(key.encode())) for key in KEYS}
    left = [key for key in KEYS if pairs[key] == ("cache-0", SPARE)]
    assert len(left) > 50
    there = {key for key, value in zip(left, moving.read(left), strict=True) if value is not None}
    assert 0 < len(there) < len(left), "some had moved, the others are misses"
    for key in left[::3]:
        client.set(key, "new")
    client.delete(*left[1::3])
    wanted = dict.fromkeys(left[::3], "new")
    wanted |= {key: "old" for key in left[2::3] if key in there}
    dead.restart(AT_MOST)
    with direct(str(dead.address)) as server:
        assert server.exists(*left) == len(left), "it has its old data"
    for _ in range(3):
        assert moving.read(left) == [wanted.get(key) for key in left]
    if back == "while the others move":
        pool.set_pace(keys_per_second=0)
    until(lambda: pool.resize() is None)
    until(moving.swept)
    with direct(str(dead.address)) as server:
        assert server.exists(*left) == 0
    assert moving.read(left) == [wanted.get(key) for key in left]
    others = [key for key in KEYS if key not in left]
    assert set(moving.read(others)) == {"old"}
    assert [each["action"] for each in pool.events()].count("resize.shard-lost") == 1


def test_a_new_shard_that_is_gone_is_turned_back_and_done_without(moving: Moving, run: Run) -> None:
    pool = moving.pool
    with direct(moving.stack.master_of("cache-0")) as server:  # what has moved is removed there
        until(lambda: server.dbsize() < moving.at_first["cache-0"])
    pool.set_pace(paused=True)
    dead = moving.process_of(SPARE)
    with direct(pool.spare) as server:
        server.save()
    dead.kill()
    there = set[str]()
    for shard in ("cache-0", "cache-1"):
        with direct(moving.stack.master_of(shard)) as server:
            there |= set(server.scan_iter(match="key:*"))
    assert 0 < len(there) < len(KEYS)
    assert run("migration", "mark-lost", SPARE, "--yes")[0] == 4, "keys still move to it"
    assert run("migration", "abort", "--yes")[0] == 0
    until(lambda: f"shard {SPARE} does not answer" in (pool.resize() or {})["detail"])
    version = pool.document_version()
    code, plan, _ = run("migration", "mark-lost", SPARE, "--dry-run")
    assert code == 6 and f"SENTINEL REMOVE {SPARE}" in plan["steps"][-1]
    assert "keys that spare had" in plan["warnings"][0]
    assert run("migration", "mark-lost", SPARE)[0] == 2, "nobody has said yes"
    assert run("migration", "mark-lost", SPARE, "--yes")[0] == 0
    assert pool.document_version() > version
    until(lambda: pool.resize() is None)
    until(moving.swept)
    assert "sweep.given-up" in [each["action"] for each in pool.events()]
    dead.restart(AT_MOST)
    assert moving.placement().names == ("cache-0", "cache-1")
    values = ["old" if key in there else None for key in KEYS]
    assert moving.read(KEYS) == values, "its keys are misses, and nothing else"
    views = pool.api("GET", f"{POOL}/status").json["shards"]
    assert SPARE not in [each["name"] for each in views]
    assert run("migration", "mark-lost", SPARE, "--yes")[0] == 4, "no resize is under way"


def test_what_is_refused(moving: Moving) -> None:
    pool = moving.pool
    status, text = moving.mark_lost("cache-0")
    assert status == 409 and "the master of shard 'cache-0' is there" in text and "answers" in text
    frozen = moving.process_of("cache-0")
    frozen.pause()
    try:
        status, text = moving.mark_lost("cache-0")
        assert status == 409 and "accepts connections, and does not answer" in text
    finally:
        frozen.resume()
    status, text = moving.mark_lost(SPARE)
    assert status == 409 and "cachemesh migration abort" in text
    assert moving.mark_lost("nobody")[0] == 404
    assert moving.mark_lost("no shard")[0] == 400
    frozen.kill()
    version = pool.document_version()
    status, text = moving.mark_lost("cache-0", dry_run=True)
    assert status == 200 and "are misses" in text
    assert moving.mark_lost("cache-0")[0] == 200
    until(lambda: pool.document_version() > version)
    status, text = moving.mark_lost("cache-0")
    assert (status, '"steps":[]' in text.replace(" ", "")) == (200, True), "it was said before"
    refused = pool.api("DELETE", f"{POOL}/resize")
    assert refused.status == 409 and "whose data is lost" in refused.text
    pool.set_pace(keys_per_second=0)
    until(lambda: pool.resize() is None)
    assert moving.mark_lost("cache-0")[0] == 404
