"""`Store` in ZooKeeper: on any number of machines, shared by any number of processes.

The logic is that of `SqliteStore`, on tables in memory; `zookeeper_database` keeps and shares them.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from functools import wraps
from typing import Any

from cachemesh.core.pool.document import PoolDocument
from cachemesh.discovery.zookeeper_layout import part_path
from metaserver.domain.audit_log import NewEvent
from metaserver.domain.pool_state import PoolState
from metaserver.process.config import ZookeeperOptions
from metaserver.store.calls import CallId, CallStore
from metaserver.store.contract import DocumentStore, ObservedStore, ProgressStore, TokenStore
from metaserver.store.errors import DamagedPoolError, StorageError
from metaserver.store.leadership import Metaserver
from metaserver.store.sqlite_calls import CallingDatabase, SqliteCalls
from metaserver.store.sqlite_connection import Transactions
from metaserver.store.sqlite_documents import DocumentCache, SqliteDocuments
from metaserver.store.sqlite_election import FencedDatabase
from metaserver.store.sqlite_observed import SqliteObserved
from metaserver.store.sqlite_progress import SqliteProgress
from metaserver.store.sqlite_tokens import SqliteTokens
from metaserver.store.sqlite_webhooks import SqliteWebhooks
from metaserver.store.webhooks import WebhookStore
from metaserver.store.zookeeper_database import ConflictError, ZookeeperDatabase
from metaserver.store.zookeeper_election import ZookeeperElection, ZookeeperMembers

log = logging.getLogger("metaserver")

_TRY_FOR = 5.0  # seconds in which a write is made again that other processes were faster than
_YIELD = 0.001  # seconds for another write of this process to go first


class _Parts(
    SqliteDocuments, SqliteProgress, SqliteObserved, SqliteTokens, SqliteCalls, SqliteWebhooks
):
    """A store that reads and writes through `database`."""

    def __init__(
        self,
        shared: ZookeeperDatabase,
        database: Transactions,
        documents: DocumentCache,
        members: ZookeeperMembers,
    ) -> None:
        self._shared = shared
        self._database = database
        self._documents = documents
        self._members = members

    def election(self, owner: str) -> ZookeeperElection:
        return ZookeeperElection(self._shared, owner)

    def register(self, owner: str, address: str) -> None:
        self._members.register(owner, address)

    def metaservers(self) -> tuple[Metaserver, ...]:
        return self._members.all()

    def fenced(self, epoch: int) -> _Parts:
        return self._through(FencedDatabase(self._database, epoch))

    def calling(self, call: CallId, owner: str) -> _Parts:
        return self._through(CallingDatabase(self._database, call, owner))

    def document(self, pool: str) -> PoolDocument | None:
        found = super().document(pool)
        if found is None:
            self._refuse_damaged(pool)
        return found

    def state(self, pool: str) -> PoolState | None:
        found = super().state(pool)
        if found is None:
            self._refuse_damaged(pool)
        return found

    def damaged_pools(self) -> dict[str, str]:
        damaged = self._shared.damaged().items()
        return {name: reason for (table, name), reason in damaged if table == "pools"}

    def _refuse_damaged(self, pool: str) -> None:
        reason = self.damaged_pools().get(pool)
        if reason is not None:
            raise DamagedPoolError(reason)

    def _through(self, database: Transactions) -> _Parts:
        return _Parts(self._shared, database, self._documents, self._members)

    def check_writable(self) -> None:
        self._database.check_writable()

    def close(self) -> None:
        self._database.close()


class ZookeeperStore(_Parts):
    """A `Store` in ZooKeeper.

    Raises:
        StorageError: the ensemble does not answer, or what is there is no deployment.
    """

    def __init__(self, options: ZookeeperOptions) -> None:
        shared = ZookeeperDatabase(options)
        super().__init__(shared, shared, DocumentCache(), ZookeeperMembers(shared))
        self._report_damaged()

    def _report_damaged(self) -> None:
        """Log an event for each part that is found to be damaged, once."""
        try:
            told = {(each.target, each.detail) for each in self.events(limit=1000)}
            for (table, name), reason in self._shared.damaged().items():
                path = part_path(table, name)
                if (path, reason) not in told:
                    pool = name if table == "pools" else None
                    self.record_event(
                        NewEvent("store.damaged", pool=pool, target=path, detail=reason)
                    )
        except StorageError as error:
            log.error("logging what is damaged: %s", error)


def _made_again(method: Callable[..., Any]) -> Callable[..., Any]:
    """Return a method that is called again when another process was faster than its write.

    It is so at once: what the others have written is known by then. Writes of this process that
    wait for their turn may go first, as they know it too.
    """

    @wraps(method)
    def call(*args: Any, **options: Any) -> Any:
        deadline = time.monotonic() + _TRY_FOR
        while True:
            try:
                return method(*args, **options)
            except ConflictError:
                if time.monotonic() >= deadline:
                    raise
            time.sleep(_YIELD)

    return call


_PROTOCOLS = (DocumentStore, ProgressStore, ObservedStore, TokenStore, CallStore, WebhookStore)
for _protocol in _PROTOCOLS:
    for _name in vars(_protocol):
        if not _name.startswith("_"):
            setattr(_Parts, _name, _made_again(getattr(_Parts, _name)))
