"""What one follower has heard from its source and its Sentinels, and what was refused."""

from __future__ import annotations

import logging
import time
from collections import Counter

from cachemesh.core.errors import (
    InvalidDocumentError,
    MetaserverError,
    MetaserverUnavailableError,
    SentinelUnavailableError,
)
from cachemesh.core.pool.document import PoolDocument
from cachemesh.core.pool.topology_health import TopologyHealth

logger = logging.getLogger("cachemesh.discovery")

_BUSY = 429


def is_gone(error: Exception) -> bool:
    """Return whether an error says that nobody answers, rather than that somebody refuses."""
    if isinstance(error, MetaserverError):
        return error.status >= 500 or error.status == _BUSY
    return isinstance(error, (MetaserverUnavailableError, SentinelUnavailableError))


class ControlPlane:
    """Notes what the source and the Sentinels of one pool do. Threads may share one.

    Args:
        source: where documents come from, in a word.

    Attributes:
        confirmed_at: when the source has last confirmed the document, on the clock of
            `time.monotonic`.
    """

    def __init__(self, source: str) -> None:
        self._source = source
        self._document_from = self._masters_from = "snapshot"
        self._source_answers = self._sentinels_answer = False
        self.confirmed_at = self._masters_at = float("-inf")
        self._refused: Counter[str] = Counter()
        self._logged: set[str] = set()

    def recalled(self, age: float) -> None:
        """Note that the topology is that of a snapshot.

        Args:
            age: seconds since the document was confirmed.
        """
        self.confirmed_at = self._masters_at = time.monotonic() - age

    def source_confirmed(self) -> None:
        """Note that the source has sent the document, or has said that there is no other."""
        self.confirmed_at = time.monotonic()
        self._document_from, self._source_answers = self._source, True
        self._logged.clear()

    def source_failed(self) -> None:
        """Note that the source did not answer, or not usefully."""
        self._source_answers = False

    def sentinels_answered(self) -> None:
        """Note that a Sentinel has answered to a look-up of masters."""
        self._masters_at = time.monotonic()
        self._masters_from, self._sentinels_answer = "sentinel", True

    def sentinels_failed(self) -> None:
        """Note that no Sentinel did."""
        self._sentinels_answer = False

    def refuse(self, error: InvalidDocumentError, held: PoolDocument) -> None:
        """Count a document that is not applied; each kind is logged once in a row.

        Args:
            error: the reason.
            held: what clients go on to route by.
        """
        self._source_answers = True
        self._refused[error.kind] += 1
        if error.kind not in self._logged:
            self._logged.add(error.kind)
            logger.warning(
                "pool %s: a document from the %s is refused, and version %d stays: %.500s; "
                "look at what it has: cachemesh pool show %s",
                held.pool,
                self._source,
                held.version,
                error,
                held.pool,
            )

    def health(self, document: PoolDocument) -> TopologyHealth:
        """Return how the control plane does.

        Args:
            document: by which clients route.
        """
        now = time.monotonic()
        return TopologyHealth(
            version=document.version,
            source=self._document_from,
            age=now - self.confirmed_at,
            masters_from=self._masters_from,
            masters_age=now - self._masters_at,
            source_answers=self._source_answers,
            sentinels_answer=self._sentinels_answer,
            refused=dict(self._refused),
        )
