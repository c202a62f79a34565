"""The documents of a resize that moves keys; `metaserver.domain.resize` draws their order."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from cachemesh.core.migration.phase import Migration
from cachemesh.core.migration.routing import sources_now
from cachemesh.core.pool.document import PoolDocument
from metaserver.domain.fence_record import FenceRecord, with_fence
from metaserver.domain.resize import Resize, prepared, stepped_back, with_resize


def moving(
    document: PoolDocument,
    resize: Resize,
    replicas: Mapping[str, int],
    fence: FenceRecord | None = None,
    masterships: Mapping[str, str] | None = None,
) -> PoolDocument:
    """Return the document in which keys of the resize's stage move.

    Args:
        replicas: shard -> how many of its replicas have to acknowledge.
        fence: that the preparation needed, if any.
        masterships: shard -> the replication id of its master. Those of an earlier stage stay.
    """
    moves = replace(
        resize,
        state="moving",
        replicas=dict(replicas),
        done=tuple(sorted({*resize.done, *resize.lost})),
        reason="",
        former=None,
        masterships={**(masterships or {}), **resize.masterships},
    )
    after = with_resize(document, moves).replace(migration=moves.migration("move").to_dict())
    return after if fence is None else with_fence(after, fence)


def source_done(document: PoolDocument, resize: Resize, shard: str, moved: int) -> PoolDocument:
    """Return the document once a shard has no key left that moves from it in this stage.

    Args:
        moved: how many the leader has moved from there.
    """
    done = tuple(sorted({*resize.done, shard}))
    goes_on = replace(resize, done=done, moved=resize.moved + moved, reason="")
    return with_resize(document, goes_on).replace(migration=goes_on.migration("move").to_dict())


def with_replicas(
    document: PoolDocument, resize: Resize, replicas: Mapping[str, int]
) -> PoolDocument:
    """Return the document once some shards have other numbers of replicas to be waited for."""
    goes_on = replace(resize, replicas={**resize.replicas, **replicas}, reason="")
    return with_resize(document, goes_on).replace(migration=goes_on.migration("move").to_dict())


def following(document: PoolDocument, resize: Resize) -> PoolDocument:
    """Return the document that prepares the next stage, or where it is turned back is about to."""
    former = document.migration
    if resize.back:
        return stepped_back(
            document, replace(_unprepared(resize, former), stage=resize.stage - 1), ""
        )
    return prepared(document, replace(_unprepared(resize, former), stage=resize.stage + 1))


def turned_back(document: PoolDocument, resize: Resize) -> PoolDocument:
    """Return the document that is about to prepare to move keys back to where they were.

    Before, stale copies are removed from where they were: see `metaserver.loops.stale_copies`.
    """
    stage, former = turned_back_stage(document, resize), moved_by(document, resize)
    about_to = replace(_unprepared(resize, former), stage=stage, back=True)
    return stepped_back(document, about_to, "")


def moved_forward(document: PoolDocument, resize: Resize) -> Migration:
    """Return how keys have moved in the stage that is about to be turned back."""
    forward, former = replace(resize, back=False, done=()).migration("move"), _former(resize)
    if former is not None and not former.back and former.stage == resize.stage:
        return replace(forward, done=former.done)
    return replace(forward, done=frozenset(sources_now(document.placement, forward)))


def turned_back_stage(document: PoolDocument, resize: Resize) -> int:
    """Return the stage that moves back first: the one that keys have moved in last."""
    former = moved_by(document, resize)
    return resize.stage if former is None else Migration.from_dict(former).stage


def moved_by(document: PoolDocument, resize: Resize) -> Mapping[str, Any] | None:
    """Return the document's migration by which keys have moved last."""
    return document.migration if resize.state == "moving" else resize.former


def _former(resize: Resize) -> Migration | None:
    return None if resize.former is None else Migration.from_dict(resize.former)


def _unprepared(resize: Resize, former: Mapping[str, Any] | None) -> Resize:
    """Return the resize before the first attempt at another stage."""
    return replace(
        resize,
        state="paused",
        attempt=0,
        done=(),
        reason="",
        former=None if former is None else dict(former),
        paused=False,
    )


def regaining(document: PoolDocument, resize: Resize) -> tuple[str, ...]:
    """Return the shards that keys are about to move back to in a stage, and none have yet.

    There are none where a stage in which keys have moved back is prepared anew: what is back is
    current, and no older copy.
    """
    former = _former(resize)
    if former is not None and former.back and former.stage == resize.stage:
        return ()
    found = sources_now(document.placement, moved_forward(document, resize))
    return tuple(shard for shard in found if shard not in resize.lost)


def stage_sources(document: PoolDocument, resize: Resize) -> tuple[str, ...]:
    """Return the shards that keys still move from in this stage of a move."""
    found = sources_now(document.placement, resize.migration("move"))
    return tuple(shard for shard in found if shard not in resize.done)


def paced(document: PoolDocument, resize: Resize, pace: Mapping[str, Any]) -> PoolDocument:
    """Return the document with another pace of a move.

    Args:
        pace: some of ``paused``, ``keys_per_second``, ``max_latency``.
    """
    return with_resize(document, replace(resize, **pace))
