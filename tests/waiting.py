"""Waiting for a condition; the only way in which tests wait."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

AT_MOST = 60.0
"""Seconds; a bound for a busy machine, not what anybody should expect. Sentinels that did not agree
on a failover try again after 20 s."""


def until(condition: Callable[[], Any], seconds: float = AT_MOST) -> Any:
    """What it gives once that is true. Raises AssertionError if it is not in time."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, f"the condition did not come true in {seconds:g} s"
        time.sleep(0.02)
    return value
