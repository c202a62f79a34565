"""Pool documents made from what Sentinels monitor, without a metaserver."""

from __future__ import annotations

from cachemesh.core.errors import PoolNotFoundError
from cachemesh.core.placement import Shard, SlotsPlacement
from cachemesh.core.pool.document import PoolDocument
from cachemesh.core.pool.settings import setting_value
from cachemesh.discovery.sentinel import SentinelClient
from cachemesh.discovery.source import WATCH_SECONDS, LeasedSource
from cachemesh.discovery.wakeup import StopEvent


class SentinelSource:
    """A source that makes a document of the masters that Sentinels monitor.

    The shards are the masters named ``POOL`` or ``POOL-...`` in name order, with the slots divided
    evenly. The version counts the changes that this process has seen. Only for pools of fixed
    shards: once a metaserver has resized a pool, its slots are no longer divided evenly.

    Args:
        sentinels: the client with which the source asks Sentinels.
        pool: the pool's name.
        addresses: ``host:port`` of each Sentinel, for the document.
        shards: names of all masters; if given, Sentinels are not asked for the names.
    """

    kind = "sentinel"
    leased: LeasedSource | None = None

    def __init__(
        self,
        sentinels: SentinelClient,
        pool: str,
        addresses: tuple[str, ...],
        shards: tuple[str, ...] = (),
    ) -> None:
        self.sentinels: SentinelClient | None = sentinels
        self._asked = sentinels
        self._pool = pool
        self._addresses = addresses
        self._shards = shards
        self._last: PoolDocument | None = None
        self._changed_names: list[str] = []  # as one Sentinel has reported them

    def load(self) -> PoolDocument:
        return self._document(sorted(self._shards) or self._asked.shards_of(self._pool))

    def _document(self, names: list[str]) -> PoolDocument:
        if not names:
            raise PoolNotFoundError(
                f"{self._asked} monitor no master named {self._pool!r} or {self._pool}-...; list "
                "them with: SENTINEL MASTERS. Give the option shards=NAME,NAME,... if masters "
                "have other names, or numbers above 255 and the Sentinels' ACL forbids SENTINEL "
                "MASTERS"
            )
        last = self._last
        if last is None or last.placement.names != tuple(names):
            placement = SlotsPlacement.even([Shard(name) for name in names])
            version = 1 if last is None else last.version + 1
            self._last = last = PoolDocument(
                self._pool, version, placement, sentinels=self._addresses
            )
        return last

    def wait(self, version: int, stop: StopEvent) -> PoolDocument | None:
        last = self._last
        if last is None or self._shards:
            stop.wait(WATCH_SECONDS)
            return None
        if last.version > version:
            return last
        if stop.wait(setting_value({}, "poll_interval")):
            return None
        names = self._asked.shards_of(self._pool)
        if names in ([], list(last.placement.names)):
            self._changed_names = []
            return None
        if names != self._changed_names:  # one Sentinel may have lost some: ask another first
            self._changed_names = names
            self._asked.demote(self._asked.addresses[0])
            return None
        document = self._document(names)
        return document if document.version > version else None

    def resume(self, document: PoolDocument) -> None:
        self._last = document

    def leave(self) -> None:
        return
