"""Waiting for a condition, and limits of time: the only ways in which tests look at a clock.

A machine may be slow. What a test proves by a time it proves by what caused it, where it can: by
who was asked, and how often. Figures belong to `benchmarks`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

AT_MOST = 120.0
"""Seconds; a bound for a busy machine, not what anybody should expect. Sentinels that did not agree
on a failover try again after 20 s, and those that mistrust their clock (TILT) after 30 s."""

BOUNDED = 4.0
"""Seconds; less than ``command_timeout`` and ``socket_timeout`` are where nobody sets them."""


def until(condition: Callable[[], Any], seconds: float = AT_MOST) -> Any:
    """What it gives once that is true. Raises AssertionError if it is not in time."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, f"the condition did not come true in {seconds:g} s"
        time.sleep(0.02)
    return value


async def until_async(condition: Callable[[], Awaitable[Any]], seconds: float = AT_MOST) -> Any:
    """As `until`, in an event loop."""
    deadline = time.monotonic() + seconds
    while not (value := await condition()):
        assert time.monotonic() < deadline, f"the condition did not come true in {seconds:g} s"
        await asyncio.sleep(0.02)
    return value


def in_time(took: float, bound: float) -> None:
    """Assert that something ended by its own bound and by no later one.

    Args:
        took: seconds.
        bound: seconds after which it has to end on a machine with nothing else to do. Ten times
            that is allowed, and never less than `BOUNDED`.
    """
    limit = max(10 * bound, BOUNDED)
    assert took < limit, f"{took:.2f} s, where {bound:g} s should bound it"
