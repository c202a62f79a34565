"""A resize under way as docs/api.md shows it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from cachemesh.core.errors import InvalidDocumentError
from metaserver.domain.move_progress import MoveProgress
from metaserver.domain.pool_state import PoolState
from metaserver.domain.resize import Resize, resize_of


def shown(resize: Resize) -> str:
    """Return in words how far the resize is, and what it waits for."""
    attempt = f", attempt {resize.attempt}" if resize.attempt > 1 else ""
    back = " back" if resize.back else ""
    paused = ", paused" if resize.paused else ""
    return f"{resize.state}{back}{paused}{attempt}{f', {resize.reason}' if resize.reason else ''}"


def status_of(state: PoolState) -> dict[str, Any] | None:
    """Return the resize under way, or None."""
    document = state.document
    try:
        resize = resize_of(document)
    except InvalidDocumentError as error:
        unknown = _told(Resize(0, "paused", document.placement, "", ""), None)
        return {**unknown, "state": "invalid", "detail": str(error)}
    return None if resize is None else _told(resize, progress_of(state.progress, resize))


def progress_of(published: Mapping[str, Any] | None, resize: Resize) -> MoveProgress | None:
    """Return what is published of the stage that a resize is in; None if nothing is."""
    found = None if published is None else MoveProgress.from_dict(published)
    if found is None or resize.state != "moving":
        return None
    return found if found.is_of(resize.id, resize.stage, resize.back) else None


def _told(resize: Resize, progress: MoveProgress | None) -> dict[str, Any]:
    sources = [] if progress is None else progress.sources
    rate = 0.0 if progress is None or resize.paused else progress.keys_per_second
    on_the_way = sum(each.moved for each in sources if each.shard not in resize.done)
    return {
        "state": resize.state,
        "attempt": resize.attempt,
        "summary": resize.summary,
        "detail": resize.reason or _how_it_moves(resize),
        "strategy": resize.strategy,
        "back": resize.back,
        "stage": resize.stage,
        "stages": resize.stages,
        "done": list(resize.done),
        "moved": resize.moved + on_the_way,
        "left": None if progress is None else progress.left,
        "rate": round(rate, 1),
        "seconds_left": None if progress is None or resize.paused else progress.seconds_left,
        "longest_hold": resize.longest_hold,
        "sources": [asdict(each) for each in sources],
        "paused": resize.paused,
        "keys_per_second": resize.keys_per_second,
        "max_latency": resize.max_latency,
    }


def _how_it_moves(resize: Resize) -> str:
    if resize.state != "moving":
        return ""
    return "an operator has paused it" if resize.paused else "keys move"
