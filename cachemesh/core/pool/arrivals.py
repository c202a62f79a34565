"""At which shards keys are that others may have moved there, as far as a document tells.

    moving     masters alone are asked for a key of a source that is not done
    after      the target is asked, and its replicas too, for keys that nobody here has pulled

A replica of a target may lack such a key, and with it what this client wrote before the key moved.
"""

from __future__ import annotations

from cachemesh.core.migration.routing import exchanging
from cachemesh.core.pool.document import PoolDocument
from cachemesh.core.pool.in_flight import involved


def arrived(known: PoolDocument | None, document: PoolDocument) -> frozenset[str]:
    """Return the shards whose replicas may be asked for keys that they do not have yet.

    As many as may be: those that only lose keys can be among them.

    Args:
        known: that was acted on so far; None if none was.
        document: that is acted on next.
    """
    if known is None or (known.placement == document.placement and _far(known) == _far(document)):
        return frozenset()
    return involved(known) | involved(document) | exchanging(known.placement, document.placement)


def _far(document: PoolDocument) -> object:
    """Return how far the keys of a document's migration have got; None if all are in one place."""
    migrating = document.migrating
    if migrating is None or not migrating.begun:
        return None
    return migrating.id, migrating.placement, migrating.stage, migrating.back, migrating.done
