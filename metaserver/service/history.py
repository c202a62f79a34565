"""What was known of a pool, or of one shard, in the last day."""

from __future__ import annotations

import re
from collections.abc import Collection
from datetime import datetime, timezone
from typing import Any

from metaserver.domain.errors import RequestRefused, shard_not_found
from metaserver.domain.history import (
    COARSE,
    FINE,
    WHOLE_POOL,
    level_for,
    resampled,
    shown,
    step_for,
)
from metaserver.process.clock import rfc3339
from metaserver.store.history_file import HistoryFile

_USUAL = 3600.0  # seconds


def pool_history(
    file: HistoryFile,
    pool: str,
    shard: str | None,
    shards: Collection[str],
    *,
    now: float,
    since: float | None = None,
    step: int | None = None,
) -> dict[str, Any]:
    """Return the points of a pool or a shard as docs/api.md shows them.

    Args:
        shard: None: the pool as a whole.
        shards: those that the pool has now; one that was there in the last day will do too.
        now, since: seconds since the epoch; without `since` the last hour is told of.
        step: seconds of each point, which may have to be more; None: a fitting one.

    Raises:
        RequestRefused: shard-not-found.
        StorageError: the file cannot be used.
    """
    name = pool, shard or WHOLE_POOL
    known = file.began(name)
    if known is None and shard is not None and shard not in shards:
        raise shard_not_found(pool, shard)
    since = max(now - _USUAL if since is None else since, now - COARSE.seconds)
    step = step_for(now - since, step)
    begin = int(since // step) * step
    level = level_for(now - since)
    points = file.points(name, level, begin, now)
    if level is COARSE:  # the last minutes are not combined yet
        rest = points[-1][0] + COARSE.step if points else begin
        points += file.points(name, FINE, rest, now)
    return {
        "pool": pool,
        "shard": shard,
        "step": step,
        "since": rfc3339(begin),
        "until": rfc3339(now),
        "known_since": None if known is None else rfc3339(max(known, now - COARSE.seconds)),
        "points": [
            {"at": rfc3339(at), **shown(point, step)} for at, point in resampled(points, step)
        ],
    }


def seconds_of(text: str) -> float:
    """Return a time such as 2026-01-31 or 2026-01-31T12:00:00Z, in seconds since the epoch.

    Raises:
        RequestRefused: invalid-content; there is no such day or time.
    """
    whole = re.sub(r"\.\d+", "", text.replace("Z", ""))
    try:
        return datetime.fromisoformat(whole).replace(tzinfo=timezone.utc).timestamp()
    except (ValueError, OverflowError) as error:
        raise RequestRefused(
            "invalid-content",
            f"since: there is no time {text!r:.40} ({error})",
            "write it as 2026-01-31T12:00:00Z, in UTC",
            field="since",
        ) from error
