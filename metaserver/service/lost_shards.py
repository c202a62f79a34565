"""Going on with a resize without the data of a shard, as an operator has said that it is lost."""

from __future__ import annotations

from metaserver.domain.errors import RequestRefused, version_conflict
from metaserver.domain.lost_shard import (
    keys_lost,
    loss_in_words,
    require_may_be_lost,
    steps_without,
    with_lost,
)
from metaserver.domain.move_progress import MoveProgress
from metaserver.domain.pool_state import PoolState
from metaserver.domain.resize import Resize, masters_of
from metaserver.domain.resize_status import progress_of
from metaserver.domain.sentinel_view import MonitoredShard
from metaserver.redis_io.presence import PresenceCheck
from metaserver.service.context import ServiceContext
from metaserver.service.resizing import TRIES, ResizeChange, store_step, under_way


def mark_lost(
    context: ServiceContext, actor: str, pool: str, shard: str, *, dry_run: bool = False
) -> ResizeChange:
    """Go on with the resize under way without the data of a shard.

    Nothing changes if that was said of the shard before.

    Raises:
        RequestRefused: pool-not-found; resize-not-found; shard-not-found; invalid-content: the
            resize moves no keys; resize-refused: it needs the shard, or does not wait for it, or
            the shard is there; version-conflict.
        StorageError: nothing was changed.
    """
    is_gone = False
    for _ in range(TRIES):
        state = context.state(pool)
        resize = under_way(state)
        summary = f"go on without the data of shard {shard}: {resize.summary}"
        if shard in resize.lost:
            return ResizeChange(dry_run, pool, summary, [], [])
        require_may_be_lost(state.document, resize, shard)
        if not is_gone:
            _require_gone(context, state, resize, shard)
            is_gone = True
        loss = loss_in_words(shard, _keys_lost(state, resize, shard))
        steps = steps_without(state.document, resize, shard)
        result = ResizeChange(dry_run, pool, summary, steps, [loss])
        if dry_run:
            return result
        after = with_lost(state.document, resize, shard, _moved(state, resize, shard))
        detail = f"the data of shard {shard} is lost: {loss}"
        if store_step(context, actor, state, after, "resize.shard-lost", detail):
            return result
    raise version_conflict(pool, state.document.version, context.state(pool).document.version)


def _keys_lost(state: PoolState, resize: Resize, shard: str) -> int | None:
    published = None if state.progress is None else MoveProgress.from_dict(state.progress)
    return keys_lost(state.document, resize, shard, published)


def _moved(state: PoolState, resize: Resize, shard: str) -> int:
    """Return how many keys the leader has moved from a shard that is not done."""
    progress = progress_of(state.progress, resize)
    sources = () if progress is None else progress.sources
    return sum(each.moved for each in sources if each.shard == shard)


def _require_gone(context: ServiceContext, state: PoolState, resize: Resize, shard: str) -> None:
    """Refuse where the shard's data is still there, or nobody knows whether it is.

    Raises:
        RequestRefused: resize-refused.
    """
    document = state.document
    with context.sentinels(document.sentinels) as sentinels:
        views = sentinels.views([shard]).values()
    if document.sentinels and all(view.error is not None for view in views):
        raise _refused(
            resize,
            f"no Sentinel tells whether a replica of shard {shard!r} has taken over",
            "start a Sentinel: cachemesh sentinel list",
        )
    seen = [view.shards[shard] for view in views if shard in view.shards]
    if any("failover_in_progress" in each.flags for each in seen):
        raise _refused(
            resize,
            f"a replica of shard {shard!r} is just taking over",
            "wait until it has: cachemesh shard show " + shard,
        )
    last = masters_of(state, resize).get(shard)
    masters = {each.master for each in seen} | ({last} if last else set())
    _require_nobody(context, resize, shard, masters, _replicas(seen))


def _require_nobody(
    context: ServiceContext, resize: Resize, shard: str, masters: set[str], replicas: set[str]
) -> None:
    found = PresenceCheck(context.config, context.networks).at(masters | replicas)
    for address, presence in sorted(found.items()):
        if address in masters:
            raise _refused(
                resize,
                f"the master of shard {shard!r} is there: {address} {presence}",
                "have it answer, and the resize goes on by itself; if its data is of no use, stop "
                "it for good before",
            )
        raise _refused(
            resize,
            f"a replica of shard {shard!r} is there: {address} {presence}",
            f"have it take over (SENTINEL FAILOVER {shard}), and the resize goes on by itself; if "
            "its data is of no use, stop it for good before",
        )


def _replicas(seen: list[MonitoredShard]) -> set[str]:
    return {address for each in seen for address in each.replicas}


def _refused(resize: Resize, why: str, next_step: str) -> RequestRefused:
    return RequestRefused("resize-refused", f"{resize.summary}: {why}", next_step)
