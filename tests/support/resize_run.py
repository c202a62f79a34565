"""A resize step by step, on a store, with clients and shards that a test scripts."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from cachemesh.core.pool.document import PoolDocument
from metaserver.domain.pool_state import PoolState, Sweep
from metaserver.domain.resize import Resize, begun, concerned, resize_of
from metaserver.domain.resize_move import paced, regaining, stage_sources
from metaserver.domain.resize_steps import Laggards
from metaserver.loops.resize import Resizer
from metaserver.loops.stage_move import StageMove
from metaserver.redis_io.fence import Seen
from metaserver.redis_io.shard_masters import MasterAnswers
from metaserver.store import Store
from tests.support.store_records import (
    event,
)

MASTERS = {"a": "10.0.0.1:6379", "b": "10.0.0.2:6379"}
NEVER = threading.Event()


@dataclass
class Clients:
    """Clients by id: the version that each has acknowledged."""

    versions: dict[str, int] = field(default_factory=dict)
    expired: set[str] = field(default_factory=set)
    unnamed: bool = False

    def laggards(self, _pool: str, version: int) -> Laggards:
        late = [each for each, acknowledged in self.versions.items() if acknowledged < version]
        return Laggards(
            tuple(each for each in late if each not in self.expired),
            tuple(each for each in late if each in self.expired),
            self.unnamed,
        )

    def acknowledged(self, _pool: str, version: int) -> frozenset[str]:
        return frozenset(each for each, known in self.versions.items() if known >= version)


@dataclass
class Shards:
    """Shards that do what they are told, and note it."""

    connected: set[str] = field(default_factory=set)
    unclear: dict[str, str] = field(default_factory=dict)
    unfenced: dict[str, str] = field(default_factory=dict)
    done: list[str] = field(default_factory=list)
    unseen: dict[str, str] = field(default_factory=dict)
    unmoved: dict[str, str] = field(default_factory=dict)
    large: dict[str, str] = field(default_factory=dict)
    stale: dict[str, str] = field(default_factory=dict)
    masterships: dict[str, str] = field(default_factory=dict)
    at_once: int = 99
    between: Callable[[], object] = lambda: None
    sentinels_asked: set[int] = field(default_factory=set)  # at these versions

    def ask_sentinels(self, state: PoolState) -> None:
        self.sentinels_asked.add(state.document.version)

    def clear(self, *_: object) -> dict[str, str]:
        self.done.append("clear")
        return self.unclear

    def too_large(self, *_: object) -> dict[str, str]:
        return self.large

    def remove_stale(self, state: PoolState, resize: Resize, *_: object) -> MasterAnswers[str]:
        self.done.append("remove stale")
        given = {
            each: self.masterships.get(each, "")
            for each in regaining(state.document, resize)
            if each not in self.stale
        }
        return MasterAnswers(given, self.stale, MASTERS)

    def look(self, state: PoolState, resize: Resize) -> MasterAnswers[Seen]:
        self.done.append("look")
        asked = concerned(state.document, resize)
        seen = Seen(frozenset(self.connected), None, {}, replicas=2)
        given = {
            each: replace(seen, mastership=self.masterships.get(each, ""))
            for each in MASTERS
            if each in asked and each not in self.unseen
        }
        failed = {each: why for each, why in self.unseen.items() if each in asked}
        return MasterAnswers(given, failed, MASTERS)

    def forget(self, store: Store, sweep: Sweep, _: object) -> None:
        self.done.append(f"forget {sweep.shard}")
        store.finish_sweep(sweep.id, event("sweep.given-up"))

    def fence(self, _state: object, _resize: object, version: int, _: object) -> Any:
        self.done.append(f"fence {version}")
        given = {shard: 1 for shard in MASTERS if shard not in self.unfenced}
        return MasterAnswers(given, self.unfenced, MASTERS)

    def run(self, state: PoolState, resize: Resize, stage: StageMove) -> None:
        """Move the keys of so many shards as `at_once` says, with something else in between."""
        left = stage_sources(state.document, resize)
        for shard in [each for each in left if each not in self.unmoved][: self.at_once]:
            self.done.append(f"move {shard}")
            self.between()
            stage.source_done(shard, 5)
        for shard, why in self.unmoved.items():
            if shard in left:
                stage.waits(shard, why)


class Run:
    """A resize of the pool "cache" on a store, by one leader after the other."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.clients, self.shards = Clients(), Shards()
        self.now = 0.0
        self.another_leader()

    def another_leader(self) -> None:
        """Go on with a leader that knows nothing of what the last one saw and did."""
        shards: Any = self.shards  # they speak to no instance
        self._resizer = Resizer(
            self.store,
            self.clients,
            shards,
            shards,
            changed=lambda: None,
            clock=lambda: self.now,
        )

    def begin(self, plan: Any, *intents: int) -> None:
        before = self.store.document("cache")
        assert before is not None
        document = begun(plan, "token:me", "c", {**MASTERS, "c": "10.0.0.3:6379"}, intents)
        assert self.store.put_document(document, before.version, event("begun")) is not None

    def go(self, until: Callable[[], bool] = lambda: False) -> None:
        """Take steps until the resize is over, or the condition true; waits take no time."""
        for _ in range(500):
            wait = self._resizer.step("cache", NEVER)
            if wait is None or until():
                return
            self.now += wait and wait + 0.001
        raise AssertionError("no end")

    @property
    def names(self) -> tuple[str, ...]:
        document = self.store.document("cache")
        assert document is not None
        return document.placement.names

    @property
    def document(self) -> PoolDocument:
        found = self.store.document("cache")
        assert found is not None
        return found

    @property
    def resize(self) -> Resize:
        found = resize_of(self.document)
        assert found is not None
        return found

    def ask(self, after: PoolDocument) -> None:
        """Store what an operator has asked of the resize."""
        assert self.store.put_document(after, self.document.version, event("asked")) is not None

    def pace(self, **pace: Any) -> None:
        self.ask(paced(self.document, self.resize, pace))

    def moves_of(self) -> list[str]:
        """Return the shards whose keys were moved, in this order."""
        return [each for each in self.shards.done if each.startswith("move ")]

    @property
    def state(self) -> str:
        document = self.store.document("cache")
        resize = None if document is None else resize_of(document)
        return "stable" if resize is None else f"{resize.state} {resize.attempt}"

    def stands_still(self) -> bool:
        """Return whether many steps, by one leader and by the next, change nothing."""
        version, done = self.document.version, list(self.shards.done)
        for _ in range(2):
            for _ in range(20):
                wait = self._resizer.step("cache", NEVER)
                if not wait:
                    return False
                self.now += wait
            self.another_leader()
        return (self.document.version, self.shards.done) == (version, done)

    def next_version(self) -> None:
        """Take steps until the document is another."""
        before = self.document.version
        self.go(lambda: self.document.version != before)
