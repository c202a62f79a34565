"""Times as the API writes them."""

from __future__ import annotations

from datetime import datetime, timezone


def rfc3339(seconds: float | None = None) -> str:
    """A time in seconds since the epoch (None: now) as RFC 3339 in UTC, to the millisecond."""
    moment = (
        datetime.now(timezone.utc)
        if seconds is None
        else datetime.fromtimestamp(seconds, timezone.utc)
    )
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
