"""The metrics of a resize under way; without one there are none."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from metaserver.api.metrics import Measurement


def of_resize(pool: str, resize: Mapping[str, Any] | None) -> Iterator[Measurement]:
    """Yield the measurements of a resize, as the status of its pool tells of it; None: no resize.

    What is not known is left out.
    """
    if resize is None:
        return
    kind = {"state": resize["state"], "strategy": resize["strategy"]}
    direction = "back" if resize["back"] else "forward"
    labels = {"pool": pool, **kind, "direction": direction}
    yield Measurement("cachemesh_resize_under_way", 1, labels)
    figures = {
        "start_time_seconds": seconds_since_epoch(resize["began"]),
        "longest_hold_seconds": resize["longest_hold"],
    }
    if resize["strategy"] == "move":
        figures |= {
            "paused": resize["paused"],
            "moved_keys": resize["moved"],
            "left_keys": resize["left"],
            "moved_keys_per_second": resize["rate"],
        }
    for name, value in figures.items():
        if value is not None:
            yield Measurement(f"cachemesh_resize_{name}", value, {"pool": pool})


def seconds_since_epoch(text: str | None) -> float | None:
    """Return the seconds since the epoch of an RFC 3339 time in UTC; None if it is none."""
    try:
        moment = None if text is None else datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        return None
    return None if moment is None else moment.timestamp()
