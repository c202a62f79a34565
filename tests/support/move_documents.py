"""The documents of a resize that moves keys, one after the other, as clients read them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from cachemesh.core.migration.phase import Migration
from cachemesh.core.placement import Placement, Shard, moves
from cachemesh.core.pool.document import PoolDocument
from metaserver.domain.planning import ChangePlan, plan_add, plan_remove, plan_weight
from metaserver.domain.pool_state import PoolState
from metaserver.domain.resize import (
    Resize,
    begun,
    finished,
    prepared,
    resize_of,
    stepped_back,
)
from metaserver.domain.resize_move import (
    following,
    moving,
    source_done,
    stage_sources,
    turned_back,
)
from tests.support.store_records import document

MASTERS = {"a": "10.0.0.1:6379", "b": "10.0.0.2:6379", "c": "10.0.0.3:6379"}
REPLICAS = {"a": 1, "b": 0, "c": 1}
KEYS = [b"key:%d" % number for number in range(200)]


def of_names(strategy: str, *names: str) -> Placement:
    shards = [{"name": name, "weight": 1} for name in names]
    return Placement.from_dict({"strategy": strategy, "hash": "md5", "shards": shards})


def plan_to(before: PoolDocument, placement: Placement) -> ChangePlan:
    """Plan another placement, such as of another strategy."""
    found = moves(before.placement, placement)
    return ChangePlan("place anew", before, before.replace(placement=placement), found)


SLOTS = document()
MODULA = document().replace(placement=of_names("modula", "a", "b"))
KETAMA = document().replace(placement=of_names("ketama", "a", "b"))
JEDIS = document().replace(placement=of_names("jedis", "a", "b"))
PLANS = {
    "a new shard": plan_add(SLOTS, Shard("c"), MASTERS["c"]),
    "one that leaves": plan_remove(document("cache", "a", "b", "c"), "b"),
    "another weight": plan_weight(SLOTS, "a", 3),
    "modula": plan_add(MODULA, Shard("c"), MASTERS["c"]),
    "ketama to modula": plan_to(KETAMA, MODULA.placement),
    "jedis to slots": plan_to(JEDIS, SLOTS.placement),
    "jedis to ketama": plan_to(JEDIS, of_names("ketama", "a", "b", "c")),
}
IN_TWO_STAGES = ("modula", "ketama to modula", "jedis to slots", "jedis to ketama")


def moved(name: str, **changes: Any) -> ChangePlan:
    return replace(PLANS[name], strategy="move", **changes)


def under_way(of: PoolDocument) -> Resize:
    found = resize_of(of)
    assert found is not None
    return found


class Run:
    """A resize, document by document; each is stored, and read by clients, before the next."""

    def __init__(self, plan: ChangePlan) -> None:
        assert plan.before is not None and plan.after is not None
        self.before, self.after = plan.before.placement, plan.after.placement
        self.document = begun(plan, "token:me", "c", MASTERS, (7,))
        self.store(self.document)

    def store(self, after: PoolDocument) -> None:
        later = after.replace(version=self.document.version + 1)
        self.document = PoolDocument.from_json(later.to_json())

    @property
    def resize(self) -> Resize:
        return under_way(self.document)

    @property
    def told(self) -> Migration:
        assert self.document.migrating is not None
        return self.document.migrating

    @property
    def state(self) -> PoolState:
        return PoolState(self.document)

    def prepare(self) -> None:
        self.store(prepared(self.document, self.resize))

    def move(self) -> None:
        """Have keys move, and sweep every shard of the stage."""
        if self.resize.state != "preparing":
            self.prepare()
        self.store(moving(self.document, self.resize, REPLICAS))
        self.sweep()

    def sweep(self) -> None:
        for shard in stage_sources(self.document, self.resize):
            self.store(source_done(self.document, self.resize, shard, 10))
        assert stage_sources(self.document, self.resize) == ()

    def move_all(self) -> None:
        """Have keys move in every stage that is left."""
        self.move()
        while not self.resize.last_stage:
            self.next()
            self.move()

    def next(self) -> None:
        self.store(following(self.document, self.resize))
        if self.resize.back:
            self.prepare()

    def turn_back(self) -> None:
        self.store(turned_back(self.document, self.resize))
        self.prepare()

    def step_back(self) -> None:
        self.store(stepped_back(self.document, self.resize, "waits for client x"))

    def finish(self) -> PoolDocument:
        done = finished(self.document, self.resize, None)
        assert (done.migration, resize_of(done)) == (None, None)
        return done

    @property
    def brief(self) -> tuple[str, int, bool, int]:
        now = self.resize
        return now.state, now.stage, now.back, now.attempt
