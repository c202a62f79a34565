"""How long a process waits between two look-ups."""

from __future__ import annotations

from cachemesh.core.resilience.lookup_throttle import SLOWEST, SPACING, LookupThrottle

T0 = 1000.0


def test_there_are_at_most_two_look_ups_a_second() -> None:
    throttle = LookupThrottle()
    assert throttle.ready_at < T0
    throttle.asked(T0, 1, True, 0.5)
    assert throttle.ready_at == T0 + SPACING
    throttle.asked(T0, 3, True, 0.5)
    assert throttle.ready_at == T0 + SPACING * 3, "three Sentinels were asked"


def test_while_no_sentinel_answers_look_ups_slow_down_to_a_bound() -> None:
    throttle, delays = LookupThrottle(), []
    for _ in range(8):
        throttle.asked(T0, 1, False, 0.5)
        delays.append(round(throttle.ready_at - T0, 6))
    assert delays == [SPACING, SPACING * 2, *[SLOWEST] * 6]
    throttle.asked(T0, 1, False, 1.0)
    assert throttle.ready_at == T0 + SLOWEST * 1.25
    throttle.asked(T0, 1, True, 0.5)
    assert throttle.ready_at == T0 + SPACING
