"""Opens the store that the settings name."""

from __future__ import annotations

from metaserver.process.config import Config
from metaserver.store.contract import Store
from metaserver.store.sqlite import SqliteStore


def open_store(config: Config) -> Store:
    """Open the store of a process.

    Raises:
        StorageError: the store cannot be used.
    """
    if config.zookeeper is None:
        return SqliteStore(config.db, config.session_timeout)
    # Not before it is needed: a metaserver on SQLite runs without kazoo's handlers.
    from metaserver.store.zookeeper import ZookeeperStore

    return ZookeeperStore(config.zookeeper)
