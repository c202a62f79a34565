"""At which shards commands may be under way that a later pool document allows there no more.

A client acts on the documents that it gets, and may miss some: a frozen one wakes up stages later.
For each stage, a document says where its keys are:

    before     at P
    held       nobody asks for them
    moving     pulled from P, then at Q
    returning  pulled from Q, then at P
    after      at Q
"""

from __future__ import annotations

from typing import Literal, TypeAlias

from cachemesh.core.migration.routing import exchanging, sources
from cachemesh.core.pool.document import PoolDocument

Place: TypeAlias = Literal["before", "held", "moving", "returning", "after"]

_GOES_ON = {("moving", "after"), ("returning", "before")}


def in_flight(known: PoolDocument | None, document: PoolDocument) -> frozenset[str]:
    """Return the shards whose commands under way may be where keys are no more, or not yet.

    Args:
        known: that was acted on so far; None if none was.
        document: that is acted on next.
    """
    if known is None:
        return frozenset()
    of = next((each for each in (document, known) if _moves(each)), None)
    if of is None:
        return _of_drop(known, document)
    before, after = _places(known, of), _places(document, of)
    if before is None or after is None:
        return frozenset((*known.shard_names, *document.shard_names))
    changes = zip(before, after, strict=True)
    if all(one in (other, "held") or (one, other) in _GOES_ON for one, other in changes):
        return frozenset()
    return involved(of)


def involved(document: PoolDocument) -> frozenset[str]:
    """Return the shards at which nothing is to be under way when a migration is prepared."""
    migrating = document.migrating
    if migrating is None:
        return frozenset()
    if not migrating.moves:
        return sources(document.placement, migrating.placement)
    return exchanging(document.placement, migrating.placement)


def _moves(document: PoolDocument) -> bool:
    return document.migrating is not None and document.migrating.moves


def _of_drop(known: PoolDocument, document: PoolDocument) -> frozenset[str]:
    held = known.migrating
    prepared = None if held is None else held.placement
    if document.placement in (known.placement, prepared):
        return frozenset()
    return sources(known.placement, document.placement)


def _places(document: PoolDocument, of: PoolDocument) -> list[Place] | None:
    """Return where the keys of each stage are; None if the document is of another migration.

    Args:
        of: the document whose migration has the stages.
    """
    whole, now = of.migrating, document.migrating
    assert whole is not None
    if now is None:
        if document.placement == of.placement:
            return ["before"] * whole.stages
        return ["after"] * whole.stages if document.placement == whole.placement else None
    same = document.placement == of.placement and now.placement == whole.placement
    if not same or now.stages != whole.stages or now.id != whole.id or not now.moves:
        return None
    return [
        _place(stage, now.stage, now.phase == "prepare", now.back) for stage in range(now.stages)
    ]


def _place(stage: int, now: int, held: bool, back: bool) -> Place:
    if stage != now:
        return "after" if stage < now else "before"
    if held:
        return "held"
    return "returning" if back else "moving"
