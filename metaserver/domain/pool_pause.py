"""A pause of a pool, as the pool document holds it: the metaserver does nothing there by itself.

    operators' changes of the placement, deletion   refused
    repair of what Sentinels monitor, sweeps        wait
    a resize under way                              moves no keys, and begins no further step

Nothing stays half-done: clients that hold commands go back to the placement before, or on to that
of a resize that stays; a fence is kept up until it can be lifted; a shard that is half added and a
planned failover are finished or undone. As the pause is a version of the document, a change that
was begun before it is not stored after it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from cachemesh.core.errors import InvalidDocumentError
from cachemesh.core.plurals import counted
from cachemesh.core.pool.document import PoolDocument
from metaserver.domain.errors import RequestRefused
from metaserver.domain.pool_state import PoolState
from metaserver.domain.resize import Resize, resize_of

FIELD = "pause"
"""The field of the pool document. Clients do not know it, and pass it on."""

IS_PAUSED = "the pool is paused"


@dataclass(frozen=True)
class PoolPause:
    """A pause that an operator has begun.

    Attributes:
        by: the operator, as in the audit log.
        since: RFC 3339 in UTC.
        reason: in the operator's words; "" for none.
    """

    by: str
    since: str
    reason: str = ""

    def __str__(self) -> str:
        """Return who paused the pool, since when and why."""
        return f"by {self.by} since {self.since}{f': {self.reason}' if self.reason else ''}"


def pause_of(document: PoolDocument) -> PoolPause | None:
    """Return the pause, or None. Whatever the field holds is a pause: that harms nothing."""
    kept = document.extra.get(FIELD)
    if kept is None:
        return None
    told = kept if isinstance(kept, Mapping) else {}
    return PoolPause(*(str(told.get(name, "")) for name in ("by", "since", "reason")))


def is_paused(document: PoolDocument) -> bool:
    """Return whether the pool is paused."""
    return document.extra.get(FIELD) is not None


def paused(document: PoolDocument, pause: PoolPause) -> PoolDocument:
    """Return the document of the paused pool."""
    return document.replace(extra={**document.extra, FIELD: asdict(pause)})


def resumed(document: PoolDocument) -> PoolDocument:
    """Return the document without a pause."""
    extra = {name: value for name, value in document.extra.items() if name != FIELD}
    return document.replace(extra=extra)


def told_pause(document: PoolDocument) -> dict[str, Any] | None:
    """Return the pause as docs/api.md shows it, or None.

    It is "pausing" as long as clients hold commands, which a step of the resize ends.
    """
    pause = pause_of(document)
    if pause is None:
        return None
    return {"state": "pausing" if _holds(document) else "paused", **asdict(pause)}


def require_not_paused(document: PoolDocument) -> None:
    """Refuse a change of a pool that is paused.

    Raises:
        RequestRefused: pool-paused, with who paused it, since when and why.
    """
    pause = pause_of(document)
    if pause is not None:
        raise RequestRefused(
            "pool-paused",
            f"Pool {document.pool!r} is paused {pause}",
            f"when that is over, go on: cachemesh pool resume {document.pool}",
            pause=asdict(pause),
        )


def steps_of_pause(state: PoolState) -> list[str]:
    """Return in words what a pause does."""
    steps = [
        "refuse changes of its shards, weights and placement, and its deletion",
        "leave what the Sentinels monitor as it is",
    ]
    resize = _resize_of(state.document)
    if resize is not None:
        steps.append(f"move no keys, but for those that apps ask for: {resize.summary}")
    if state.sweeps:
        steps.append(f"remove no more keys in {counted(len(state.sweeps), 'sweep')}")
    return steps


def warnings_of_pause(state: PoolState) -> list[str]:
    """Return what to know of a pause: whether a step of a resize has to be ended first."""
    if not _holds(state.document):
        return []
    return [
        "clients hold commands for a step of the resize, which is ended first, within seconds: "
        "cachemesh pool status"
    ]


def warnings_while_paused(document: PoolDocument) -> list[str]:
    """Return what to know who has had something done that waits while the pool is paused."""
    pause = pause_of(document)
    if pause is None:
        return []
    return [
        f"{IS_PAUSED} {pause}; no key moves until it is resumed: cachemesh pool resume "
        f"{document.pool}"
    ]


def steps_of_resumption(state: PoolState) -> list[str]:
    """Return in words what the end of a pause does."""
    steps = ["take changes again, and repair what the Sentinels monitor"]
    resize = _resize_of(state.document)
    if resize is not None:
        steps.append(f"go on with the resize: {resize.summary}")
    if state.sweeps:
        steps.append(f"go on with {counted(len(state.sweeps), 'sweep')}")
    return steps


def warnings_of_resumption(state: PoolState) -> list[str]:
    """Return what to know of the end of a pause: whether the resize stays paused by itself."""
    resize = _resize_of(state.document)
    if resize is None or not resize.paused:
        return []
    return ["the resize stays paused, as an operator has paused it too: cachemesh migration resume"]


def _holds(document: PoolDocument) -> bool:
    """Return whether clients hold commands for a step of a resize."""
    resize = _resize_of(document)
    return resize is not None and resize.state == "preparing"


def _resize_of(document: PoolDocument) -> Resize | None:
    try:
        return resize_of(document)
    except InvalidDocumentError:
        return None
