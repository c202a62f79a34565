"""Pool documents from a metaserver."""

from __future__ import annotations

import importlib.metadata
import logging
import os
import secrets
import socket
import time
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from cachemesh.core.errors import (
    CacheMeshError,
    InvalidDocumentError,
    MetaserverError,
    PoolNotFoundError,
)
from cachemesh.core.json_text import MAX_DOCUMENT_BYTES
from cachemesh.core.pool.document import PoolDocument
from cachemesh.discovery.lease import ASK_SECONDS, Lease
from cachemesh.discovery.metaserver import MetaserverClient
from cachemesh.discovery.quality_outbox import QualityOutbox
from cachemesh.discovery.sentinel import SentinelClient
from cachemesh.discovery.source import LeasedSource, older
from cachemesh.discovery.wakeup import StopEvent
from cachemesh.transport.lease_clock import clock

logger = logging.getLogger("cachemesh.discovery")

_LEAVE_SECONDS = 0.5  # so that closing a client does not take long
_MIN_WATCH_SECONDS = 1.0
"""Seconds between two watch calls without a new document, if the metaserver does not hold them."""
_MOST_LEASE = 86_400.0  # seconds
_FIRST_HOLD, _MOST_HOLD = 10.0, 60.0  # seconds
_SLACK = 5.0  # seconds for an answer beyond the time for which the call is held


class MetaserverSource:
    """A source that loads the document from a metaserver and follows it by watch calls.

    Each watch call tells the metaserver which version this process has applied, and keeps the
    process on the metaserver's list of the pool's clients. The first one says that it has applied
    none: so the metaserver knows of every client that it has ever told a document.

    Args:
        client: sends the requests.
        pool: the pool's name.
        app: the app's own name for its connections, for the metaserver's list.
    """

    kind = "metaserver"
    sentinels: SentinelClient | None = None

    def __init__(self, client: MetaserverClient, pool: str, app: str | None = None) -> None:
        self._client = client
        self._pool = pool
        self.client_id = secrets.token_hex(6)
        self.lease = Lease()
        self.outbox = QualityOutbox()
        self.leased: LeasedSource | None = self
        self._hold = _FIRST_HOLD
        self._known = False
        self._about = {
            "client": self.client_id,
            "sdk": f"cachemesh {_version()}",
            "host": socket.gethostname()[:255],
            "process": os.getpid(),
            "app": None if app is None else app[:200],
        }

    def load(self) -> PoolDocument:
        document = self._watch(0, 0.0)
        if document is None:
            raise InvalidDocumentError("The metaserver's reply to a watch call holds no document")
        return document

    def wait(self, version: int, stop: StopEvent) -> PoolDocument | None:
        began = time.monotonic()
        quality = self.outbox.report()
        found = self._watch(version, self._hold, stop, quality=quality)
        self.outbox.sent()
        document = self._newer(version, found)
        if document is None:
            stop.wait(began + _MIN_WATCH_SECONDS - time.monotonic())
        return document

    def ask(self, version: int, wanted: int = 0) -> PoolDocument | None:
        others = len(self._client.addresses) - 1
        while True:
            found = self._newer(version, self._watch(version, 0.0, seconds=ASK_SECONDS))
            if wanted <= (version if found is None else found.version) or others <= 0:
                return found
            self._client.ask_another()  # this one is cut off from its store
            others -= 1

    def _newer(self, version: int, document: PoolDocument | None) -> PoolDocument | None:
        if document is not None and document.version < version:
            raise older(document, version)
        return None if document is None or document.version == version else document

    def _watch(
        self,
        version: int,
        hold: float,
        stop: StopEvent | None = None,
        seconds: float | None = None,
        quality: Mapping[str, Any] | None = None,
    ) -> PoolDocument | None:
        """Send one watch call, and note how long the lease is that its answer grants.

        Args:
            version: that this process has applied.
            hold: seconds for which the metaserver may hold the call.
            stop: interrupts the call when it is set.
            seconds: for the whole call, with one metaserver.
            quality: what was felt of the shards since the last report.
        """
        body = {**self._about, "version": version, "wait": hold}
        if own := self.outbox.settings():
            body["settings"] = own
        if quality is not None:
            body["quality"] = quality
        sent = clock()
        try:
            reply = self._client.request(
                "POST",
                f"/v1/pools/{self._pool}/watch",
                body,
                timeout=hold + _SLACK if seconds is None else seconds,
                stop=stop,
                max_bytes=MAX_DOCUMENT_BYTES,
            )
        except MetaserverError as error:
            raise self._translated(error) from error
        if not isinstance(reply, dict) or "document" not in reply:
            raise InvalidDocumentError("The metaserver's reply to a watch call holds no document")
        lease = reply.get("lease")
        if isinstance(lease, bool) or not isinstance(lease, (int, float)) or not lease >= 0:
            raise InvalidDocumentError("The metaserver's reply to a watch call grants no lease")
        self._known = True
        document = None if reply["document"] is None else self._document(reply["document"])
        lease = min(lease, _MOST_LEASE)
        self._hold = min(_MOST_HOLD, lease / 3)
        self.lease.answered(sent, lease)
        return document

    def _document(self, reply: object) -> PoolDocument:
        document = PoolDocument.from_dict(reply)
        if document.pool != self._pool:
            raise InvalidDocumentError(
                f"The metaserver was asked for pool {self._pool!r} and answered with "
                f"{document.pool!r}"
            )
        return document

    def resume(self, document: PoolDocument) -> None:
        return

    def leave(self) -> None:
        self._client.forget_connection()
        if not self._known:
            return
        path = f"/v1/pools/{self._pool}/clients/{self.client_id}"
        try:
            self._client.request("DELETE", path, timeout=_LEAVE_SECONDS)
        except CacheMeshError as error:
            logger.debug("cannot leave; the metaserver lets the client expire: %s", error)

    def _translated(self, error: MetaserverError) -> Exception:
        if error.code == "pool-not-found":
            addresses = ", ".join(self._client.addresses)
            return PoolNotFoundError(
                f"No pool {self._pool!r} on the metaserver at {addresses}; see: cachemesh pool list"
            )
        return error


@lru_cache
def _version() -> str:
    try:
        return importlib.metadata.version("cachemesh")
    except importlib.metadata.PackageNotFoundError:
        return "unknown"  # run from a copy of its files
