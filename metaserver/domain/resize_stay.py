"""The resize that stays: it ends in the placement that it began in.

A store was replaced by an older copy of itself, and some clients act on a placement that it does
not know. So all hold every command, and go on once all act on that of the store.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import count

from cachemesh.core.placement import Shard, SlotsPlacement
from cachemesh.core.pool.document import PoolDocument
from metaserver.domain.resize import Resize, prepared


def taken_back(document: PoolDocument, version: int, masters: Mapping[str, str]) -> PoolDocument:
    """Return the document that has all clients hold every command until all act on it.

    Args:
        document: of a store that was replaced by an older copy of itself.
        version: the highest one that a client acts on.
        masters: shard -> its last known master.
    """
    names = document.placement.names
    nobody = next(name for n in count() if (name := f"nobody-{n}") not in names)
    resize = Resize(
        id=version + 1,
        state="preparing",
        placement=SlotsPlacement.even([Shard(nobody)]),  # so every key counts as one that moves
        summary=f"have every client act on the placement of an older copy, version {version + 1}",
        actor="system",
        target=None,
        masters=dict(masters),
        stays=True,
    )
    return prepared(document.replace(version=version + 1), resize)
