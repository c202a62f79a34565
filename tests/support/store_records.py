"""Documents, events and intents to put into a store of the metaserver."""

from __future__ import annotations

from cachemesh.core.placement import Shard, SlotsPlacement
from cachemesh.core.pool.document import PoolDocument
from metaserver.store import Intent, NewEvent, NewFailover, NewIntent, Store


def document(pool: str = "cache", *names: str) -> PoolDocument:
    shards = [Shard(name) for name in names or ("a", "b")]
    return PoolDocument(pool, 1, SlotsPlacement.even(shards), sentinels=("10.0.0.1:26379",))


def event(action: str = "test", pool: str | None = "cache") -> NewEvent:
    return NewEvent(action, "token:me", pool)


def intent(shard: str = "c", master: str = "10.0.0.3:6379", pool: str = "cache") -> NewIntent:
    return NewIntent(pool, shard, master, "add", ("10.0.0.1:26379",), "1:1")


def create(store: Store, pool: str = "cache") -> PoolDocument:
    created = store.create_document(document(pool), event("pool.create", pool))
    assert created is not None
    return created


def added(store: Store, new: NewIntent) -> Intent:
    result = store.add_intent(new)
    assert result is not None
    return result


def actions(store: Store) -> list[str]:
    return [each.action for each in store.events()]


def failover(shard: str = "a", pool: str = "cache") -> NewFailover:
    return NewFailover(pool, shard, "10.0.0.1:6379", ("10.0.0.9:26379",), "1:1")
