"""Whose clock is off: a decision from what each clock differs from the metaserver's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

MOST_SKEW = 1.0
"""Seconds by which a clock may differ from the others."""
METASERVER = "this metaserver"


@dataclass(frozen=True)
class Clock:
    """The clock of an instance.

    Attributes:
        ahead: seconds that it is ahead of the metaserver's; below 0 behind.
        within: seconds by which that may be wrong, as the reply took time.
    """

    at: str
    ahead: float
    within: float = 0.0


def wrong_clocks(clocks: Sequence[Clock]) -> dict[str, float]:
    """Return whose clock is off -> by how many seconds it is ahead of the right time.

    The right time is that in the middle of all, the metaserver's own being one of them: so it is
    the metaserver that is wrong where all instances agree against it. Of two clocks that differ
    nobody knows which is right; the instance is named.
    """
    known = [*clocks, Clock(METASERVER, 0.0)]
    right = median(clock.ahead for clock in known) if len(known) > 2 else 0.0
    # In the middle between two groups of equal size there is no clock: the metaserver's counts.
    if not any(abs(clock.ahead - right) <= MOST_SKEW + clock.within for clock in known):
        right = 0.0
    return {
        clock.at: clock.ahead - right
        for clock in known
        if abs(clock.ahead - right) > MOST_SKEW + clock.within
    }
