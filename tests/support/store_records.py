"""Documents, events and intents for tests of the metaserver's store."""

from __future__ import annotations

from cachemesh.core.placement import Shard, SlotsPlacement
from cachemesh.core.pool.document import PoolDocument
from metaserver.domain.audit_log import NewEvent
from metaserver.domain.pool_state import Intent, NewFailover, NewIntent
from metaserver.store import Store


def document(pool: str = "cache", *names: str) -> PoolDocument:
    """Return a document of a pool with these shards, "a" and "b" if none is named."""
    shards = [Shard(name) for name in names or ("a", "b")]
    return PoolDocument(pool, 1, SlotsPlacement.even(shards), sentinels=("10.0.0.1:26379",))


def event(action: str = "test", pool: str | None = "cache") -> NewEvent:
    """Return an entry for the audit log."""
    return NewEvent(action, "token:me", pool)


def intent(shard: str = "c", master: str = "10.0.0.3:6379", pool: str = "cache") -> NewIntent:
    """Return an intent to add a shard."""
    return NewIntent(pool, shard, master, "add", ("10.0.0.1:26379",), "1:1")


def create(store: Store, pool: str = "cache") -> PoolDocument:
    """Store a pool, and return its document."""
    created = store.create_document(document(pool), event("pool.create", pool))
    assert created is not None
    return created


def added(store: Store, new: NewIntent) -> Intent:
    """Store an intent that no other one excludes, and return it."""
    result = store.add_intent(new)
    assert result is not None
    return result


def actions(store: Store) -> list[str]:
    """Return the actions in the audit log, newest first."""
    return [each.action for each in store.events()]


def failover(shard: str = "a", pool: str = "cache") -> NewFailover:
    """Return a planned failover to record."""
    return NewFailover(pool, shard, "10.0.0.1:6379", ("10.0.0.9:26379",), "1:1")
