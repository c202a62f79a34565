"""What a change of a pool's Sentinels has left to be told is told by whichever process leads."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.failover.site import as_map
from cachemesh.core.pool.document import PoolDocument
from cachemesh.local import LocalStack
from metaserver.domain.audit_log import NewEvent
from metaserver.domain.pool_pause import PoolPause, paused, resumed
from metaserver.domain.sentinel_change import change_of, plan_remove_sentinel
from metaserver.loops.sentinel_changes import SentinelChanges
from metaserver.store.sqlite import SqliteStore
from tests.support import metaserver_loops
from tests.support.metaserver_loops import NETWORKS, actions, running
from tests.support.sentinels import keep_masters, sentinel
from tests.support.waiting import until


@pytest.fixture
def stack() -> Iterator[LocalStack]:
    with LocalStack(shards=1, metaservers=0, dashboard=False) as stack:
        keep_masters(stack)
        yield stack


def said(address: str) -> dict[str, str]:
    return as_map(sentinel(address, "MASTER", "cache-0"))


def test_one_that_did_not_answer_takes_it_later(stack: LocalStack, tmp_path: Path) -> None:
    first, second, former = stack.info["sentinels"]
    for address in (first, second):
        sentinel(address, "SET", "cache-0", "quorum", "1")  # as if it had another one
    with metaserver_loops.store_with_pool(tmp_path, stack) as store:
        store_removal(store, former)
        stack.process(first).pause()
        loop = SentinelChanges(
            store,
            metaserver_loops.config(tmp_path),
            networks=NETWORKS,
            changed=lambda: None,
        )
        with running(loop):
            until(lambda: sentinel(former, "MASTERS") == [])
            until(lambda: said(second)["quorum"] == "2")
            assert change_of(document(store)) is not None
            store_next(store, paused(document(store), PoolPause("token:ops", "now", "")))
            stack.process(first).resume()
            until(lambda: said(first)["quorum"] == "2")
            assert change_of(document(store)) is not None, "no Sentinel is reset in a paused pool"
            store_next(store, resumed(document(store)))
            until(lambda: change_of(document(store)) is None)
        assert actions(store)[-1] == "sentinel.settled"
    for address in (first, second):
        told = said(address)
        assert (told["quorum"], told["num-other-sentinels"], told["num-slaves"]) == ("2", "1", "1")


def document(store: SqliteStore) -> PoolDocument:
    found = store.document("cache")
    assert found is not None
    return found


def store_removal(store: SqliteStore, former: str) -> None:
    """Store the document after a removal, as a process that was killed at once has left it."""
    before = document(store)
    after = plan_remove_sentinel(before, former, told=True).after
    assert after is not None
    store_next(store, after)


def store_next(store: SqliteStore, after: PoolDocument) -> None:
    """Store a document in place of the one of its version."""
    assert store.put_document(after, after.version, NewEvent("of.this.test")) is not None
