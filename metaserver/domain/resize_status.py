"""A resize under way as docs/api.md shows it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from cachemesh.core.errors import InvalidDocumentError
from cachemesh.core.migration.stages import Stages, ranked
from cachemesh.core.placement import Placement, moves
from cachemesh.core.plurals import counted
from metaserver.domain.move_progress import MoveProgress
from metaserver.domain.pool_pause import IS_PAUSED, is_paused
from metaserver.domain.pool_state import PoolState
from metaserver.domain.resize import Resize, ends_in, resize_of

_LOST: dict[str, Any] = {
    "state": "done",
    "left": 0,
    "detail": "its data is lost, as an operator has said",
}


def shown(resize: Resize) -> str:
    """Return in words how far the resize is, and what it waits for."""
    attempt = f", attempt {resize.attempt}" if resize.attempt > 1 else ""
    back = " back" if resize.back else ""
    paused = ", paused" if resize.paused else ""
    return f"{resize.state}{back}{paused}{attempt}{f', {resize.reason}' if resize.reason else ''}"


def how_done(resize: Resize) -> str:
    """Return in words how a resize ends."""
    if resize.strategy == "drop":
        return f"done after {counted(resize.attempt, 'attempt')}"
    how = "turned back" if resize.back else "done"
    return f"{how}, {counted(resize.moved, 'key')} moved"


def of_stage(resize: Resize) -> str:
    """Return in words which stage of a move it is, as the end of a sentence."""
    back = " back" if resize.back else ""
    return back if resize.stages == 1 else f"{back}, stage {resize.stage + 1} of {resize.stages}"


def status_of(state: PoolState) -> dict[str, Any] | None:
    """Return the resize under way, or None."""
    document = state.document
    try:
        resize = resize_of(document)
    except InvalidDocumentError as error:
        unknown = _told(Resize(0, "paused", document.placement, "", ""), None, [], False)
        return {**unknown, "state": "invalid", "detail": str(error)}
    if resize is None:
        return None
    progress = progress_of(state.progress, resize)
    sources = _sources(document.placement, resize, progress)
    return _told(resize, progress, sources, is_paused(document))


def outcome(resize: Resize, version: int) -> dict[str, object]:
    """Return what the audit log has of a resize that ends, or turns back, with a version."""
    return {
        "resize": resize.id,
        "version": version,
        "summary": resize.summary,
        "asked_by": resize.actor,
        "began": resize.began or None,
        "strategy": resize.strategy,
        "back": resize.back,
        "moved": resize.moved,
    }


def progress_of(published: Mapping[str, Any] | None, resize: Resize) -> MoveProgress | None:
    """Return what is published of the stage that a resize is in; None if nothing is."""
    found = None if published is None else MoveProgress.from_dict(published)
    if found is None or resize.state != "moving":
        return None
    return found if found.is_of(resize.id, resize.stage, resize.back) else None


def _told(
    resize: Resize,
    progress: MoveProgress | None,
    sources: list[dict[str, Any]],
    pool_paused: bool,
) -> dict[str, Any]:
    counted = [] if progress is None else progress.sources
    paused = resize.paused or pool_paused
    moving = any(each.state == "moving" for each in counted) and not paused
    rate = progress.keys_per_second if progress is not None and moving else 0.0
    on_the_way = sum(each.moved for each in counted if each.shard not in resize.done)
    return {
        "id": resize.id,
        "state": resize.state,
        "attempt": resize.attempt,
        "summary": resize.summary,
        "actor": resize.actor,
        "began": resize.began or None,
        "detail": IS_PAUSED if pool_paused else resize.reason or _how_it_moves(resize),
        "strategy": resize.strategy,
        "back": resize.back,
        "stage": resize.stage,
        "stages": resize.stages,
        "done": list(resize.done),
        "lost": list(resize.lost),
        "moved": resize.moved + on_the_way,
        "left": None if progress is None else progress.left,
        "share": None if progress is None else progress.share,
        "rate": round(rate, 1),
        "seconds_left": progress.seconds_left if progress is not None and moving else None,
        "longest_hold": resize.longest_hold,
        "sources": sources,
        "paused": resize.paused,
        "keys_per_second": resize.keys_per_second,
        "max_latency": resize.max_latency,
    }


def _sources(
    before: Placement, resize: Resize, progress: MoveProgress | None
) -> list[dict[str, Any]]:
    """Return what is told of each shard that keys move from in this stage, in name order."""
    if resize.strategy != "move":
        return []
    gain = _targets(before, resize)
    known = {} if progress is None else {each.shard: asdict(each) for each in progress.sources}
    return [
        {
            "shard": shard,
            "to": gain.get(shard, []),
            **known.get(shard, _unknown(shard, resize)),
            **(_LOST if shard in resize.lost else {}),
        }
        for shard in sorted({*gain, *known})
    ]


def _unknown(shard: str, resize: Resize) -> dict[str, Any]:
    done = shard in resize.done
    return {
        "state": "done" if done else "waits",
        "moved": None,
        "bytes_moved": None,
        "left": 0 if done else None,
        "detail": "",
    }


def _targets(before: Placement, resize: Resize) -> dict[str, list[str]]:
    """Return each shard that keys move from in this stage, with those that they go to."""
    stages = Stages(resize.stages, ranked(before, resize.placement))
    found = dict[str, list[str]]()
    for move in moves(before, resize.placement).by_pair:
        if stages.of(move.source, move.target) == resize.stage:
            pair = (move.source, move.target)
            source, target = reversed(pair) if resize.back else pair
            found.setdefault(source, []).append(target)
    return found


def _how_it_moves(resize: Resize) -> str:
    if resize.state != "moving":
        return ""
    return "an operator has paused it" if resize.paused else "keys move"


def why_refused(state: PoolState, resize: Resize) -> str:
    """Return why the end of a resize could not be stored."""
    kept = ends_in(state.document, resize).names
    leaving = [each for each in state.failovers if each not in kept]
    if leaving:
        return f"waits for the failover of {', '.join(leaving)}"
    return "the registration of its new shard with the Sentinels is gone; give the resize up"
