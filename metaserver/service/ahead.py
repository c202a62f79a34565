"""A client that is ahead of the store: the store was replaced by an older copy of itself.

The client acts on a version that the store does not have, or will give to another document. So the
version is raised above the client's, and all clients are given the document again, as a resize that
stays: nobody acts on it before all do.
"""

from __future__ import annotations

import logging
import time

from metaserver.domain.audit_log import NewEvent
from metaserver.domain.errors import RequestRefused, pool_not_found
from metaserver.domain.resize import resize_of
from metaserver.domain.resize_stay import taken_back
from metaserver.process.clock import rfc3339
from metaserver.service.context import ServiceContext

MOST_AHEAD = 1_000_000  # versions; so a wrong number cannot use them up
HOLDS = 3  # in so many seconds; a client that tells wrong numbers cannot hold the others for long
HOLDS_WITHIN = 60.0
_ACTION = "pool.version-raised"

log = logging.getLogger("metaserver")


def raise_above(context: ServiceContext, pool: str, version: int, client: str) -> int:
    """Raise the pool's version above that of a client, by compare-and-set, and log an event.

    Args:
        version: the version that the client acts on.
        client: its id.

    Returns:
        The pool's version, which may have been high enough already. It is still below that of the
        client while others are being told to act on the document again.

    Raises:
        RequestRefused: pool-not-found; version-conflict: the client is too far ahead.
        StorageError: the store cannot be read or written.
    """
    while True:
        state = context.store.state(pool)
        if state is None:
            raise pool_not_found(pool)
        document = state.document
        if document.version >= version:
            return document.version
        if version - document.version > MOST_AHEAD:
            raise RequestRefused(
                "version-conflict",
                f"Client {client} acts on version {version} of pool {pool!r}, which is at "
                f"{document.version}: more than {MOST_AHEAD} behind",
                "restart the client; check whether it watched another deployment before",
            )
        detail = (
            f"client {client} acts on version {version}, and the store had {document.version}: it "
            f"seems to have been replaced by an older copy; the version was raised to {version + 1}"
        )
        event = NewEvent(_ACTION, pool=pool, detail=detail)
        resize = resize_of(document)
        if resize is not None and resize.stays:
            return document.version  # whoever does not act on this one is waited for, and fenced
        if resize is not None or _raised_often(context, pool):
            raised = document.replace(version=version + 1)
        else:
            raised = taken_back(document, version, state.masters)
        saved = context.store.put_document(raised, document.version, event)
        if saved is not None:
            log.warning("pool %s: %s", pool, detail)
            context.changed()
            return saved.version


def _raised_often(context: ServiceContext, pool: str) -> bool:
    since = rfc3339(time.time() - HOLDS_WITHIN)
    events = context.store.events(pool)
    return sum(each.action == _ACTION and each.at > since for each in events) >= HOLDS
