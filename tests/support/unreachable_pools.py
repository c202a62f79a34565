"""A metaserver with pools of which no instance and no Sentinel answers, for calls of any kind."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from cachemesh.core.placement import Shard, SlotsPlacement
from cachemesh.core.pool.document import PoolDocument
from metaserver.domain.audit_log import NewEvent
from metaserver.store.sqlite import SqliteStore
from tests.support.metaserver_process import Api, Metaserver

NOBODY = "127.0.0.1:1"  # where nothing listens: refused at once


@contextmanager
def unreachable_pools(
    directory: Path, pools: Mapping[str, Sequence[str]], *options: str
) -> Iterator[Api]:
    """Run a metaserver; at the end it has to be alive, and its log without a traceback.

    Args:
        directory: of its database and log.
        pools: pool -> its shards.
        options: of the metaserver's command line.
    """
    server = Metaserver(directory, *options)
    store = SqliteStore(server.db)
    for pool, shards in pools.items():
        placement = SlotsPlacement.even([Shard(name) for name in shards])
        document = PoolDocument(pool, 1, placement, sentinels=(NOBODY,))
        masters = dict.fromkeys(shards, NOBODY)
        store.create_document(document, NewEvent("pool.create"), masters=masters)
    store.close()
    with server as api:
        yield api
        assert api("GET", "/livez").status == 200
    log = server.log.read_text()
    assert "Traceback" not in log, log[-5_000:]
