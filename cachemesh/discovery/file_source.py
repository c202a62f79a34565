"""Pool documents from a JSON file."""

from __future__ import annotations

import logging
import os
import stat
import time
from pathlib import Path

from cachemesh.core.errors import InvalidDocumentError, PoolNotFoundError
from cachemesh.core.json_text import MAX_DOCUMENT_BYTES
from cachemesh.core.pool.document import PoolDocument
from cachemesh.discovery.sentinel import SentinelClient
from cachemesh.discovery.source import WATCH_SECONDS, LeasedSource
from cachemesh.discovery.wakeup import StopEvent

logger = logging.getLogger("cachemesh.discovery")

_CHECK_SECONDS = 1.0
"""Seconds between two checks whether the file has changed."""

Stamp = tuple[int, int, int, int, int]
"""Times, size, inode and device of a file. The stamp changes whenever the file is written or
replaced, except by a write within the same tick of the file system's clock."""


class FileSource:
    """A source that reads the document from a JSON file, and again whenever the file changes.

    As with every source, clients apply a change only if it raises the document's version.

    Args:
        path: the file's path.
    """

    kind = "file"
    sentinels: SentinelClient | None = None
    leased: LeasedSource | None = None

    def __init__(self, path: str) -> None:
        self._path = Path(path)
        self._document: PoolDocument | None = None  # the last valid one
        self._stamp_read: Stamp | None = None  # of the file that held it
        self._settled = False  # whether two reads found that stamp

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
        # A write within the clock tick of this read would leave the same stamp: read once more.
        self._settled, self._stamp_read = stamp == self._stamp_read, stamp
        self._document = document
        return document

    def _compare(self, document: PoolDocument) -> None:
        """Refuse the document of another pool; warn of a change without a higher version.

        Raises:
            InvalidDocumentError: the document is of another pool than the one before.
        """
        before = self._document
        if before is None:
            return
        if document.pool != before.pool:
            raise InvalidDocumentError(
                f"Pool file {self._path} now describes pool {document.pool!r}, before "
                f"{before.pool!r}; make another client for another pool"
            )
        if document.version <= before.version and document.to_json() != before.to_json():
            logger.warning(
                "pool file %s has changed, but its version %d is not above %d; raise the version, "
                "so that clients apply the change",
                self._path,
                document.version,
                before.version,
            )

    def wait(self, version: int, stop: StopEvent) -> PoolDocument | None:
        deadline = time.monotonic() + WATCH_SECONDS
        while True:
            document = self._document
            if document is None or not self._settled or self._stamp() != self._stamp_read:
                document = self.load()
            if document.version > version:
                return document
            if stop.wait(_CHECK_SECONDS) or time.monotonic() > deadline:
                return None

    def resume(self, document: PoolDocument) -> None:
        return

    def leave(self) -> None:
        return

    def _read(self) -> tuple[Stamp, bytes]:
        """Return the file's stamp, taken before the read, and its text.

        Raises:
            OSError: the file cannot be read.
            InvalidDocumentError: the file is too large.
        """
        # Without O_NONBLOCK, opening a named pipe would block until there is a writer.
        with os.fdopen(os.open(self._path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise OSError("not a regular file")
            text = file.read(MAX_DOCUMENT_BYTES + 1)
        if len(text) > MAX_DOCUMENT_BYTES:
            raise InvalidDocumentError(f"the file is larger than {MAX_DOCUMENT_BYTES} bytes")
        return _stamp_of(status), text

    def _stamp(self) -> Stamp | None:
        """Return the present stamp of the file, None if there is no such file."""
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
