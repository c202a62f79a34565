"""A shard of a resize whose data is lost: what is refused, and how the resize goes on without it.

An operator says that the data of a shard is lost. The shard then counts as done in every stage: no
key is pulled from it any more, and those that it had still to give away are misses.

    moving --with_lost--> preparing, the same stage --moving--> moving, the shard is done
    preparing or paused --with_lost--> the next attempt, which waits for the shard no more

The stage is prepared anew, as its server may come back with its old data. A client that went on
pulling from it would bring back a key that others have deleted at its target meanwhile. After the
preparation no client pulls from it. What it holds of keys that are not its own any more is removed
by the sweep that the end of the resize stores for it, if it stays in the pool; if not, nobody asks
it for anything.

A shard that gains keys in this stage or a later one cannot be done without: keys would be served
from its old data, or could not go there.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import product

from cachemesh.core.migration.stages import Stages, ranked
from cachemesh.core.plurals import counted
from cachemesh.core.pool.document import PoolDocument
from metaserver.domain.errors import RequestRefused
from metaserver.domain.move_progress import MoveProgress
from metaserver.domain.pool_state import PoolState
from metaserver.domain.resize import Resize, ends_in, masters_of, plan_of, prepared, with_resize
from metaserver.domain.resize_move import moved_by, turned_back_stage

_EMPTY_SERVER = "start an empty redis-server at its address: the resize then ends by itself"


def with_lost(document: PoolDocument, resize: Resize, shard: str, moved: int = 0) -> PoolDocument:
    """Return the document by which the resize goes on without the data of a shard.

    Args:
        moved: how many keys the leader has moved from there.
    """
    former = moved_by(document, resize)
    goes_on = replace(
        resize,
        lost=tuple(sorted({*resize.lost, shard})),
        moved=resize.moved + moved,
        reason="",
        former=None if former is None else dict(former),
    )
    if resize.state == "moving":
        return prepared(document, replace(goes_on, attempt=0))
    if resize.state == "preparing":
        return prepared(document, goes_on)
    return with_resize(document, goes_on)


def gains_ahead(
    document: PoolDocument, resize: Resize, *, turned_back: bool = False
) -> frozenset[str]:
    """Return the shards that keys still have to move to, in this stage and those after it.

    Args:
        turned_back: as if the resize was turned back now.
    """
    before, after = document.placement, resize.placement
    back = resize.back or turned_back
    now = turned_back_stage(document, resize) if turned_back else resize.stage
    ahead = range(now + 1) if back else range(now, resize.stages)
    stages = Stages(resize.stages, ranked(before, after))
    found = before.overlap(after)
    pairs = product(before.names, after.names) if found is None else iter(found.moved)
    return frozenset(
        source if back else target
        for source, target in pairs
        if source != target and stages.of(source, target) in ahead
    )


def require_may_be_lost(document: PoolDocument, resize: Resize, shard: str) -> None:
    """Refuse to go on without the data of a shard where that is of no use, or not safe.

    Raises:
        RequestRefused: invalid-content: the resize moves no keys; shard-not-found; resize-refused.
    """
    if resize.strategy != "move":
        raise RequestRefused(
            "invalid-content",
            f"{resize.summary}: it moves no keys, so it needs the data of no shard",
            "see what it waits for: cachemesh migration status",
        )
    if shard not in (*document.placement.names, *resize.placement.names):
        raise RequestRefused(
            "shard-not-found",
            f"{resize.summary}: it has no shard {shard!r:.80}",
            "see which it has: cachemesh migration status",
        )
    plan = plan_of(document, resize)
    if shard not in (*plan.losers, *plan.gainers):
        raise RequestRefused(
            "resize-refused",
            f"{resize.summary}: shard {shard!r} takes no part in it, so it does not wait for it",
            "see what it waits for: cachemesh migration status",
        )
    if not resize.has_moved:
        raise RequestRefused(
            "resize-refused",
            f"{resize.summary}: no key has moved yet, so shard {shard!r} can be left as it is",
            "give the resize up, which loses nothing (cachemesh migration abort), then change the "
            "pool with --strategy drop",
        )
    if resize.state == "moving" and shard in resize.done:
        raise RequestRefused(
            "resize-refused",
            f"{resize.summary}: shard {shard!r} has no key left to give away, so it does not wait "
            "for it",
            "see what it waits for: cachemesh migration status",
        )
    if shard in gains_ahead(document, resize):
        raise _gains(document, resize, shard)


def _gains(document: PoolDocument, resize: Resize, shard: str) -> RequestRefused:
    back = " back" if resize.back else ""
    why = f"{resize.summary}: keys have still to move{back} to shard {shard!r}"
    may_turn = not resize.back and not bars_turning_back(document, resize)
    if may_turn and shard not in gains_ahead(document, resize, turned_back=True):
        return RequestRefused(
            "resize-refused",
            f"{why}, which cannot be done without it",
            f"give the resize up (cachemesh migration abort), then say that {shard} is lost",
        )
    return RequestRefused(
        "resize-refused", f"{why}, which cannot be done without it", _EMPTY_SERVER
    )


def bars_turning_back(document: PoolDocument, resize: Resize) -> tuple[str, ...]:
    """Return the shards without whose data the resize goes on, and to which keys would move back.

    Their servers may come back with old data, which would then be served.
    """
    if not resize.lost:
        return ()
    return tuple(sorted({*resize.lost} & gains_ahead(document, resize, turned_back=True)))


def require_may_turn_back(document: PoolDocument, resize: Resize) -> None:
    """Refuse to turn back a resize that goes on without a shard that keys would move back to.

    Raises:
        RequestRefused: resize-refused.
    """
    lost = bars_turning_back(document, resize)
    if lost:
        raise RequestRefused(
            "resize-refused",
            f"{resize.summary}: keys would move back to shard {', '.join(lost)}, whose data is "
            "lost, as an operator has said",
            "let it end (cachemesh migration watch), then change the pool again",
        )


def lost_masters(state: PoolState, resize: Resize) -> dict[str, str]:
    """Return the last known masters of the shards whose data is lost.

    Clients that have not acknowledged are fenced off them once they answer.
    """
    known = masters_of(state, resize)
    return {shard: known[shard] for shard in resize.lost if shard in known}


def keys_lost(
    document: PoolDocument, resize: Resize, shard: str, progress: MoveProgress | None
) -> int | None:
    """Return how many keys are lost with a shard, as far as is known; None if nothing is.

    Args:
        progress: what was published last, of whichever stage.
    """
    if progress is None or progress.resize != resize.id:
        return None
    if progress.is_of(resize.id, resize.stage, resize.back):
        return next((each.left for each in progress.sources if each.shard == shard), None)
    turned = resize.back and not progress.back and resize.stages == 1
    if not turned or plan_of(document, resize).gainers != (shard,):
        return None
    on_the_way = [each.moved for each in progress.sources if each.state != "done"]
    return resize.moved + sum(on_the_way)


def loss_in_words(shard: str, keys: int | None) -> str:
    """Return what an operator loses by going on without the data of a shard."""
    many = "an unknown number of keys" if keys is None else f"about {counted(keys, 'key')}"
    return (
        f"{many} that {shard} had still to give away are misses; what its server holds of them is "
        "never served again, even if it comes back"
    )


def steps_without(document: PoolDocument, resize: Resize, shard: str) -> list[str]:
    """Return in words what is done so that a resize goes on without the data of a shard."""
    stays = shard in ends_in(document, resize).names
    after = (
        f"once shard {shard} is back, remove keys from it that it does not own any more"
        if stays
        else f"SENTINEL REMOVE {shard}, without waiting until it is emptied"
    )
    return [
        "have every client hold commands on keys that move",
        f"count shard {shard} as done: no key is moved from it any more",
        after,
    ]
