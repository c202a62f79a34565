"""Pool documents from a metaserver."""

from __future__ import annotations

import logging
import os
import socket
import time
import uuid
from urllib.parse import quote

from cachemesh.core.errors import (
    CacheMeshError,
    InvalidDocumentError,
    MetaserverError,
    PoolNotFoundError,
)
from cachemesh.core.json_text import MAX_DOCUMENT_BYTES
from cachemesh.core.pool.document import PoolDocument
from cachemesh.discovery.metaserver import MetaserverClient
from cachemesh.discovery.sentinel import SentinelClient
from cachemesh.discovery.source import WATCH_SECONDS, older
from cachemesh.discovery.wakeup import StopEvent

logger = logging.getLogger("cachemesh.discovery")

_LEAVE_SECONDS = 0.5  # so that closing a client does not take long
_MIN_WATCH_SECONDS = 1.0
"""Seconds between two watch calls without a new document, if the metaserver does not hold them."""


class MetaserverSource:
    """A source that loads the document from a metaserver and follows it by watch calls.

    Each watch call tells the metaserver which version this process has applied, and keeps the
    process on the metaserver's list of the pool's clients.

    Args:
        client: sends the requests.
        pool: the pool's name.
    """

    kind = "metaserver"
    sentinels: SentinelClient | None = None

    def __init__(self, client: MetaserverClient, pool: str) -> None:
        self._client = client
        self._pool = pool
        self._name = ""

    def load(self) -> PoolDocument:
        # The metaserver refuses a client that has left, so each load takes a new name.
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
            raise InvalidDocumentError("The metaserver's reply to a watch call holds no document")
        news = reply["document"]
        document = None if news is None else self._document(news)
        if document is not None and document.version > version:
            return document
        if document is not None and document.version < version:
            raise older(document, version)
        stop.wait(began + _MIN_WATCH_SECONDS - time.monotonic())
        return None

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
        path = f"/v1/pools/{self._pool}/clients/{quote(self._name, safe='')}"
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
