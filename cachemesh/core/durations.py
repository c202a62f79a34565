"""Durations as people write them: 45s, 30m, 12h, 90d."""

from __future__ import annotations

import re

_DURATION = re.compile("([0-9]{1,9})([smhd])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def duration_seconds(text: str) -> int | None:
    """Return a duration in seconds, or None if the text is none."""
    found = _DURATION.fullmatch(text)
    return None if found is None else int(found[1]) * _SECONDS[found[2]]
