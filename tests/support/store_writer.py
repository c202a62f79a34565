"""Writes changes into a store that other processes write too: a process that may be killed.

    python -m tests.support.store_writer NAME CHANGES sqlite FILE
    python -m tests.support.store_writer NAME CHANGES zookeeper HOSTS CHROOT

Each change counts one on in the pool's document, under the writer's name, and is logged with that
count. What was acknowledged is written to stdout: the count and the version.
"""

from __future__ import annotations

import sys
from pathlib import Path

from cachemesh.core.pool.document import PoolDocument
from metaserver.domain.audit_log import NewEvent
from metaserver.process.config import ZookeeperOptions
from metaserver.store import StorageError, Store
from metaserver.store.sqlite import SqliteStore
from metaserver.store.zookeeper import ZookeeperStore
from tests.support.waiting import until


def open_store(kind: str, *where: str, session_timeout: float = 4.0) -> Store:
    """Open a store: "sqlite" and its file, or "zookeeper", its servers and its chroot."""
    if kind == "sqlite":
        return SqliteStore(Path(where[0]), session_timeout)
    return ZookeeperStore(ZookeeperOptions(where[0], where[1], session_timeout=session_timeout))


def opened(kind: str, *where: str) -> Store:
    """Open a store as `open_store` does, as soon as it can be reached."""

    def attempt() -> Store | None:
        try:
            return open_store(kind, *where)
        except StorageError:
            return None

    found: Store = until(attempt)
    return found


def counts(document: PoolDocument) -> dict[str, int]:
    """Return how many changes of each writer have gone into the document."""
    return dict(document.extra.get("counts", {}))


def change(store: Store, name: str, before: PoolDocument) -> tuple[int, int] | None:
    """Count one on, and return the count and the version; None: another writer was faster.

    Raises:
        StorageError: the store refused, or does not tell whether it has made the change.
    """
    known = counts(before)
    count = known.get(name, 0) + 1
    after = before.replace(extra={"counts": {**known, name: count}})
    event = NewEvent("count", name, "cache", detail=str(count))
    put = store.put_document(after, before.version, event)
    return None if put is None else (count, put.version)


def main(name: str, changes: str, *where: str) -> None:
    """Write until so many changes of this writer are in the document."""
    store = opened(*where)
    while True:
        before = store.document("cache")
        assert before is not None
        if counts(before).get(name, 0) >= int(changes):
            break
        try:
            made = change(store, name, before)
        except StorageError:
            continue
        if made is not None:
            sys.stdout.write(f"{made[0]} {made[1]}\n")
            sys.stdout.flush()
    store.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
