"""The time from which on a metaserver is asked, as people write it: 45m, 7d, 2026-01-31T12:00."""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone

from cachemesh.core.durations import duration_seconds


def since_time(text: str, now: datetime) -> str:
    """Return a duration before now, or a time, as RFC 3339 in UTC.

    A time without a zone is in UTC, as all times are that CacheMesh shows.

    Args:
        now: the current time, in UTC.

    Raises:
        ValueError: the text is neither; says how to write them.
    """
    seconds = duration_seconds(text)
    try:
        then = _time_of(text) if seconds is None else now - timedelta(seconds=seconds)
    except (ValueError, OverflowError) as error:
        raise ValueError(
            f"{text!r} is no time; write it like 45m, 12h, 7d, 2026-01-31 or 2026-01-31T12:00, "
            "which is in UTC"
        ) from error
    return then.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _time_of(text: str) -> datetime:
    """Return a time in UTC. Raises ValueError, OverflowError: the text is none."""
    given = datetime.fromisoformat(re.sub("[zZ]$", "+00:00", text))
    if given.tzinfo is None:
        return given.replace(tzinfo=timezone.utc)
    return given.astimezone(timezone.utc)
