"""Pool documents from the metaservers that ZooKeeper names, or from ZooKeeper while none answers.

The watch itself goes to a metaserver as ever: only so does the client get a lease, and do resizes
wait until it has applied the next version. While no metaserver answers, nobody resizes, and what
ZooKeeper has is the newest there is.
"""

from __future__ import annotations

import logging

from cachemesh.core.errors import CacheMeshError, MetaserverError, MetaserverUnavailableError
from cachemesh.core.pool.document import PoolDocument
from cachemesh.discovery.control_plane import is_gone
from cachemesh.discovery.metaserver import MetaserverClient
from cachemesh.discovery.metaserver_source import MetaserverSource
from cachemesh.discovery.sentinel import SentinelClient
from cachemesh.discovery.source import LeasedSource, older
from cachemesh.discovery.wakeup import StopEvent
from cachemesh.discovery.zookeeper_reader import ZookeeperAccess, ZookeeperReader
from cachemesh.transport.lease_clock import clock

logger = logging.getLogger("cachemesh.discovery")

_ASK_AGAIN = 2.0
"""Seconds until metaservers that do not answer are asked again, if ZooKeeper tells of no change."""


class ZookeeperSource:
    """A source that finds metaservers in ZooKeeper and follows the pool from them.

    Args:
        access: where the deployment is in ZooKeeper.
        client: sends requests to the metaservers; is told here which there are.
        pool: the pool's name.
        app: as of `MetaserverSource`.
    """

    kind = "zookeeper"
    sentinels: SentinelClient | None = None

    def __init__(
        self,
        access: ZookeeperAccess,
        client: MetaserverClient,
        pool: str,
        app: str | None = None,
    ) -> None:
        self._reader = ZookeeperReader(access)
        self._client = client
        self._pool = pool
        self._metaservers = MetaserverSource(client, pool, app)
        self.leased: LeasedSource | None = self._metaservers

    def resume(self, document: PoolDocument) -> None:
        return

    def load(self) -> PoolDocument:
        self._client.use(self._reader.metaservers())
        asked = clock()
        try:
            return self._metaservers.load()
        except (MetaserverUnavailableError, MetaserverError) as error:
            if not is_gone(error):
                raise
            document = self._reader.document(self._pool)
            self._metaservers.lease.failed(asked)  # the first command need not find that out
            logger.warning(
                "pool %s: version %d is from ZooKeeper: %s", self._pool, document.version, error
            )
            return document

    def wait(self, version: int, stop: StopEvent) -> PoolDocument | None:
        self._find_metaservers()
        asked = clock()
        try:
            return self._metaservers.wait(version, stop)
        except (MetaserverUnavailableError, MetaserverError) as error:
            if not is_gone(error) or stop.is_set():
                raise
            self._metaservers.lease.failed(asked)
            document = self._reader.document(self._pool)
        if document.version < version:
            raise older(document, version)
        if document.version > version:
            return document
        self._reader.wait(_ASK_AGAIN, stop)
        return None

    def _find_metaservers(self) -> None:
        """Tell the client which metaservers there are; without ZooKeeper, those of before."""
        try:
            self._client.use(self._reader.metaservers())
        except MetaserverUnavailableError as error:
            logger.debug("the metaservers known before are asked: %s", error)

    def leave(self) -> None:
        try:
            self._metaservers.leave()
        except CacheMeshError as error:
            logger.debug("cannot leave: %s", error)
        self._reader.close()
