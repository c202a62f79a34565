"""Waiting for a condition, and limits of time: the only use of a clock in tests.

A machine may be slow, so a test proves what caused a delay (which server was asked, how often) and
not how long it took, wherever possible. Figures belong to `benchmarks`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

AT_MOST = 120.0
"""Seconds; a bound for a busy machine. Sentinels that did not agree on a failover try again after
20 s, and Sentinels in TILT mode after 30 s."""

PATIENT: dict[str, Any] = {"command_timeout": AT_MOST, "connect_timeout": AT_MOST}
"""For a client that shall see no fault: three connections that take longer than their time, as on a
busy machine they may, count as a shard that does not serve."""

BOUNDED = 4.0
"""Seconds; less than the defaults of ``command_timeout`` and ``socket_timeout``."""


def until(condition: Callable[[], Any], seconds: float = AT_MOST) -> Any:
    """Call a condition until it returns a true value, and return that value.

    Raises:
        AssertionError: the condition did not come true within so many seconds.
    """
    began = asked = time.monotonic()
    while not (value := condition()):
        now = time.monotonic()
        assert now < began + seconds, f"the condition did not come true in {seconds:g} s"
        time.sleep(_pause(now - began, now - asked))
        asked = time.monotonic()
    return value


async def until_async(condition: Callable[[], Awaitable[Any]], seconds: float = AT_MOST) -> Any:
    """Await a condition until it returns a true value, as `until` does."""
    began = asked = time.monotonic()
    while not (value := await condition()):
        now = time.monotonic()
        assert now < began + seconds, f"the condition did not come true in {seconds:g} s"
        await asyncio.sleep(_pause(now - began, now - asked))
        asked = time.monotonic()
    return value


def _pause(waited: float, took: float) -> float:
    """Return for how many seconds to wait before a condition is called again.

    What takes long comes a twentieth later, at most; asking takes no more than half of the time.
    """
    return max(0.02, min(0.1, waited / 20), min(0.25, took))


def in_time(took: float, bound: float) -> None:
    """Assert that something ended by its own bound, and not by a later one.

    Args:
        took: seconds.
        bound: seconds after which it has to end on an idle machine. Ten times that is allowed, and
            never less than `BOUNDED`.
    """
    limit = max(10 * bound, BOUNDED)
    assert took < limit, f"{took:.2f} s, where {bound:g} s should bound it"
