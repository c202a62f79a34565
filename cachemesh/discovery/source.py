"""The interface of a source: where a client gets the document of its pool."""

from __future__ import annotations

from typing import Protocol

from cachemesh.core.errors import InvalidDocumentError
from cachemesh.core.pool.document import PoolDocument
from cachemesh.discovery.lease import Lease
from cachemesh.discovery.quality_outbox import QualityOutbox
from cachemesh.discovery.sentinel import SentinelClient
from cachemesh.discovery.wakeup import StopEvent

WATCH_SECONDS = 25.0
"""Seconds that one call of `Source.wait` waits at most."""


class LeasedSource(Protocol):
    """What a source offers besides that knows each client and grants it a lease.

    Attributes:
        lease: renewed by the follower after each call, once the document that came is applied.
        client_id: the id by which the source knows this follower of the pool.
        outbox: what the source is told of the shards' quality.
    """

    lease: Lease
    client_id: str
    outbox: QualityOutbox

    def ask(self, version: int, wanted: int = 0) -> PoolDocument | None:
        """Return a document whose version is above ``version``; None at once if there is none.

        Args:
            version: the version that the caller has applied.
            wanted: a version that the pool has; who does not know of it is asked last from then on.

        Raises:
            As `Source.load`.
        """


class Source(Protocol):
    """A supplier of the documents of one pool. One follower uses a source.

    Attributes:
        kind: of the source, in a word: ``metaserver``, ``sentinel``, ``file`` or ``zookeeper``.
        sentinels: the client with which the source asks Sentinels; None if it asks none.
        leased: the source itself, if it knows each client and grants it a lease.
    """

    kind: str
    sentinels: SentinelClient | None
    leased: LeasedSource | None

    def resume(self, document: PoolDocument) -> None:
        """Go on from a document of an earlier process, where the source counts versions itself.

        Args:
            document: by which clients route until `load` succeeds.
        """

    def load(self) -> PoolDocument:
        """Return the present document of the pool.

        Raises:
            PoolNotFoundError: the source knows no such pool.
            redis.ConnectionError: the source cannot be reached.
            CacheMeshError: the source refuses, or its answer is not a pool document.
        """

    def wait(self, version: int, stop: StopEvent) -> PoolDocument | None:
        """Wait for a document whose version is above ``version``.

        A document with such a version is returned at once, also if an earlier call has returned
        it already: the caller may have failed to apply it.

        Args:
            version: the version that the caller has applied.
            stop: ends the wait soon after it is set; the call may then raise.

        Returns:
            None if there was no such document within a while (`WATCH_SECONDS`).

        Raises:
            As `load`; InvalidDocumentError, also of kind ``older``, for a document that is refused.
        """

    def leave(self) -> None:
        """Tell the source that this process no longer follows the pool. Never fails."""


def older(document: PoolDocument, version: int) -> InvalidDocumentError:
    """Return the error about a document that is older than the one that clients route by.

    Args:
        document: as the source has sent it.
        version: that clients route by.
    """
    return InvalidDocumentError.of_kind(
        "older", f"its version {document.version} is below that, as if from an older backup"
    )
