"""At which shards commands may be under way that a later pool document allows there no more.

A client acts on the documents that it gets, and may miss some: a frozen one wakes up stages later.
For each stage, a document says where its keys are:

    before     at P
    held       nobody asks for them
    moving     pulled from P, then at Q
    returning  pulled from Q, then at P
    after      at Q

What moves is told apart by the shards whose data is lost (`Migration.lost`): a key was pulled from
them before, and is not any more.
"""

from __future__ import annotations

from typing import Literal, NamedTuple, TypeAlias

from cachemesh.core.migration.phase import Migration
from cachemesh.core.migration.routing import exchanging, sources
from cachemesh.core.pool.document import PoolDocument

Place: TypeAlias = Literal["before", "held", "moving", "returning", "after"]

_GOES_ON = {("moving", "after"), ("returning", "before")}


class _Rule(NamedTuple):
    """Where the keys of a stage are, and which shards have lost those that move from them."""

    place: Place
    lost: frozenset[str] = frozenset()

    def allows(self, later: _Rule) -> bool:
        """Return whether what is under way by this rule may go on by a later one."""
        changed = (self.place, later.place)
        return self.place == "held" or self == later or changed in _GOES_ON


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
    if all(one.allows(other) for one, other in zip(before, after, strict=True)):
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


def _places(document: PoolDocument, of: PoolDocument) -> list[_Rule] | None:
    """Return where the keys of each stage are; None if the document is of another migration.

    Args:
        of: the document whose migration has the stages.
    """
    whole, now = of.migrating, document.migrating
    assert whole is not None
    if now is None:
        if document.placement == of.placement:
            return [_Rule("before")] * whole.stages
        return [_Rule("after")] * whole.stages if document.placement == whole.placement else None
    same = document.placement == of.placement and now.placement == whole.placement
    if not same or now.stages != whole.stages or now.id != whole.id or not now.moves:
        return None
    return [_rule(stage, now) for stage in range(now.stages)]


def _rule(stage: int, now: Migration) -> _Rule:
    if stage != now.stage:
        return _Rule("after" if stage < now.stage else "before")
    if now.phase == "prepare":
        return _Rule("held")
    return _Rule("returning" if now.back else "moving", now.lost)
