"""Sources of pool documents: a metaserver, a file, or Sentinel alone."""

from __future__ import annotations

import logging
import os
import socket
import stat
import time
import uuid
from pathlib import Path
from typing import Protocol
from urllib.parse import quote

from cachemesh.core.errors import (
    CacheMeshError,
    InvalidDocumentError,
    MetaserverError,
    PoolNotFoundError,
)
from cachemesh.core.json_text import MAX_DOCUMENT_BYTES
from cachemesh.core.placement import Shard, SlotsPlacement
from cachemesh.core.pool.document import PoolDocument
from cachemesh.core.pool.settings import setting_value
from cachemesh.discovery.metaserver import MetaserverClient
from cachemesh.discovery.sentinel import SentinelClient
from cachemesh.discovery.wakeup import StopEvent

logger = logging.getLogger("cachemesh.discovery")

WATCH_SECONDS = 25.0
_LEAVE_SECONDS = 0.5  # so that closing a client takes no longer
_LOOK_STEP = 1.0
_SOON = 1.0
"""Seconds between two watch calls without news, for a metaserver that answers at once."""

Stamp = tuple[int, int, int, int, int]
"""Identifies a file's content: each write or replacement changes the stamp.

Two writes within one tick of the file system's clock may leave it the same.
"""


class Source(Protocol):
    """Supplies the documents of one pool.

    Attributes:
        sentinels: the Sentinels that the source asks; None if the source asks none.
    """

    sentinels: SentinelClient | None

    def load(self) -> PoolDocument:
        """Return the current pool document.

        Raises:
            PoolNotFoundError: there is no such pool.
            redis.ConnectionError: the source is unreachable.
            CacheMeshError: the source refused, or its reply is not a pool document.
        """

    def wait(self, version: int, stop: StopEvent) -> PoolDocument | None:
        """Wait for a document with a version above ``version``.

        A newer document is returned at once, also if it was returned before: the caller may have
        failed to apply it.

        Args:
            version: the version that the caller has applied.
            stop: ends the wait soon after it is set, perhaps with an error.

        Returns:
            The document, or None if none came within about 25 s.

        Raises:
            PoolNotFoundError, redis.ConnectionError, CacheMeshError: as `load`.
        """

    def leave(self) -> None:
        """Report that this process no longer follows the pool. Does not raise."""


class MetaserverSource:
    """The metaserver's pool document, followed by the watch call.

    A watch call acknowledges the applied version and lists this process among the pool's clients.

    Args:
        client: of the pool's metaservers.
        pool: name of the pool.
    """

    sentinels: SentinelClient | None = None

    def __init__(self, client: MetaserverClient, pool: str) -> None:
        self._client = client
        self._pool = pool
        self._name = ""

    def load(self) -> PoolDocument:
        # A new name each time: the metaserver does not list a client again that has left.
        self._name = f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:8]}"
        try:
            reply = self._client.request(
                "GET", f"/v1/pools/{self._pool}", max_bytes=MAX_DOCUMENT_BYTES
            )
        except MetaserverError as error:
            raise self._translated(error) from error
        return self._document(reply)

    def wait(self, version: int, stop: StopEvent) -> PoolDocument | None:
        body = {"client": self._name, "version": version, "wait": WATCH_SECONDS}
        began = time.monotonic()
        try:
            reply = self._client.request(
                "POST",
                f"/v1/pools/{self._pool}/watch",
                body,
                timeout=WATCH_SECONDS + 5,
                stop=stop,
                max_bytes=MAX_DOCUMENT_BYTES,
            )
        except MetaserverError as error:
            raise self._translated(error) from error
        if not isinstance(reply, dict) or "document" not in reply:
            raise InvalidDocumentError("The answer to a watch call holds no document")
        news = reply["document"]
        document = None if news is None else self._document(news)
        if document is not None and document.version > version:
            return document
        stop.wait(began + _SOON - time.monotonic())
        return None

    def _document(self, reply: object) -> PoolDocument:
        document = PoolDocument.from_dict(reply)
        if document.pool != self._pool:
            raise InvalidDocumentError(
                f"The metaserver was asked for pool {self._pool!r} and answered with "
                f"{document.pool!r}"
            )
        return document

    def leave(self) -> None:
        path = f"/v1/pools/{self._pool}/clients/{quote(self._name, safe='')}"
        try:
            self._client.request("DELETE", path, timeout=_LEAVE_SECONDS)
        except CacheMeshError as error:
            logger.debug("the metaserver will notice by the lease: %s", error)

    def _translated(self, error: MetaserverError) -> Exception:
        if error.code == "pool-not-found":
            addresses = ", ".join(self._client.addresses)
            return PoolNotFoundError(
                f"No pool {self._pool!r} on the metaserver at {addresses}; see: cachemesh pool list"
            )
        return error


class FileSource:
    """A pool document in a JSON file, which is read again when the file changes.

    A changed document is applied only if its version is higher.

    Args:
        path: of the file.
    """

    sentinels: SentinelClient | None = None

    def __init__(self, path: str) -> None:
        self._path = Path(path)
        self._document: PoolDocument | None = None  # the last valid one
        self._seen: Stamp | None = None  # of the file when that was read
        self._settled = False  # whether that stamp was read twice

    def load(self) -> PoolDocument:
        try:
            stamp, text = self._read()
            document = PoolDocument.from_json(text)
        except OSError as error:
            reason = error.strerror or error
            raise PoolNotFoundError(f"Pool file {self._path}: {reason}") from error
        except InvalidDocumentError as error:
            raise InvalidDocumentError(f"Pool file {self._path}: {error}") from error
        self._compare(document)
        # A write within the same tick of the clock as the read leaves the same stamp.
        self._settled, self._seen = stamp == self._seen, stamp
        self._document = document
        return document

    def _compare(self, document: PoolDocument) -> None:
        """Refuse the document of another pool; warn of a change whose version is not higher."""
        before = self._document
        if before is None:
            return
        if document.pool != before.pool:
            raise InvalidDocumentError(
                f"Pool file {self._path}: it is of pool {document.pool!r} now, and was of "
                f"{before.pool!r}; make a client of its own for another pool"
            )
        if document.version <= before.version and document.to_json() != before.to_json():
            logger.warning(
                "pool file %s was changed, and its version %d is not above %d: raise the version "
                "to have the change applied",
                self._path,
                document.version,
                before.version,
            )

    def wait(self, version: int, stop: StopEvent) -> PoolDocument | None:
        deadline = time.monotonic() + WATCH_SECONDS
        while True:
            document = self._document
            if document is None or not self._settled or self._stamp() != self._seen:
                document = self.load()
            if document.version > version:
                return document
            if stop.wait(_LOOK_STEP) or time.monotonic() > deadline:
                return None

    def leave(self) -> None:
        return

    def _read(self) -> tuple[Stamp, bytes]:
        """Return the file's stamp, taken before reading, and its content."""
        # Without O_NONBLOCK, opening a pipe would wait for a writer.
        with os.fdopen(os.open(self._path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise OSError("it is not a regular file")
            text = file.read(MAX_DOCUMENT_BYTES + 1)
        if len(text) > MAX_DOCUMENT_BYTES:
            raise InvalidDocumentError(f"it is larger than {MAX_DOCUMENT_BYTES} bytes")
        return _stamp_of(status), text

    def _stamp(self) -> Stamp | None:
        try:
            return _stamp_of(self._path.stat())
        except OSError:
            return None


def _stamp_of(status: os.stat_result) -> Stamp:
    return (
        status.st_mtime_ns,
        status.st_ctime_ns,
        status.st_size,
        status.st_ino,
        status.st_dev,
    )


class SentinelSource:
    """A pool known from Sentinel alone: masters named ``POOL`` or ``POOL-...``, slots dealt evenly.

    Shards are in the order of their names. The version counts the changes that this process has
    seen. Valid only for a pool that a metaserver has not resized: afterwards its slots are no
    longer dealt evenly.

    Args:
        sentinels: the Sentinels to ask.
        pool: name of the pool.
        addresses: ``host:port`` of each Sentinel.
        shards: names of all masters; if given, Sentinels are not asked for the names.
    """

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
        self._news: list[str] = []

    def load(self) -> PoolDocument:
        return self._document(sorted(self._shards) or self._asked.shards_of(self._pool))

    def _document(self, names: list[str]) -> PoolDocument:
        if not names:
            raise PoolNotFoundError(
                f"{self._asked} monitor no master named {self._pool!r} or {self._pool}-...; "
                "look with: SENTINEL MASTERS. Masters that are named otherwise, or counted from "
                "256 on while the Sentinels' ACL forbids that, need the option shards=NAME,NAME,..."
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
            self._news = []
            return None
        if names != self._news:  # one Sentinel may lack some: ask another first
            self._news = names
            self._asked.demote(self._asked.addresses[0])
            return None
        document = self._document(names)
        return document if document.version > version else None

    def leave(self) -> None:
        return
