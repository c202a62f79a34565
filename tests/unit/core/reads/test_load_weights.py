"""An instance's weight follows how it does, as the formula in the module says."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cachemesh.core.reads.load_weights import LEAST_SPEED, SECONDS, LoadWindow

START = 123_456.7


def test_a_new_one_is_trusted() -> None:
    window = LoadWindow()
    assert window.weight(START, None) == 1.0
    assert window.weight(START, 0.001) == 1.0
    assert window.success_rate(START) == 1.0
    assert window.latency(START) is None


def test_a_failure_costs_all_at_once_and_a_success_brings_back_half() -> None:
    window = LoadWindow()
    for _ in range(1000):
        window.succeeded(START, 0.001)
    window.failed(START)
    assert window.weight(START, None) == 0.0
    assert window.weight(START + 3600, None) == 0.0  # time alone brings nothing back
    window.succeeded(START, 0.001)
    assert window.weight(START, None) == pytest.approx(0.5, rel=0.01)
    assert window.weight(START + 5, None) == pytest.approx(0.75, rel=0.01)
    assert window.weight(START + 10, None) == 1.0


def test_the_more_failures_in_a_row_the_lower_it_begins_again() -> None:
    starts = []
    for failures in (1, 2, 5, 200):
        window = LoadWindow()
        for _ in range(failures):
            window.failed(START)
        window.succeeded(START + 60, 0.001)
        starts.append(window.weight(START + 60, None))
        assert window.weight(START + 60 + SECONDS, None) == 1.0
    assert starts == [2.0**-1, 2.0**-2, 2.0**-5, 2.0**-50]


def test_the_success_rate_is_of_ten_seconds() -> None:
    window = LoadWindow()
    for second in range(10):
        (window.failed if second < 5 else lambda now: window.succeeded(now, 0.1))(START + second)
    assert window.success_rate(START + 9) == 0.5
    assert window.success_rate(START + 12) == pytest.approx(5 / 7)
    assert window.success_rate(START + 17) == 1.0
    assert window.latency(START + 18) == pytest.approx(0.1)
    assert window.latency(START + 40) is None


def test_speed_is_relative_and_bounded() -> None:
    window = LoadWindow()
    window.succeeded(START, 0.004)
    assert window.weight(START, 0.001) == 0.25
    assert window.weight(START, 0.008) == 1.0
    assert window.weight(START, 0.000_001) == LEAST_SPEED


@given(
    st.lists(st.tuples(st.booleans(), st.floats(0, 2), st.floats(0, 4)), min_size=1, max_size=60)
)
def test_it_counts_what_the_last_ten_seconds_hold(
    outcomes: list[tuple[bool, float, float]],
) -> None:
    window = LoadWindow()
    now, seen = START, []
    for good, latency, pause in outcomes:
        now += pause
        if good:
            window.succeeded(now, latency)
        else:
            window.failed(now)
        seen.append((int(now), good, latency))
        held = [item for item in seen if item[0] > int(now) - SECONDS]
        times = [took for _, fine, took in held if fine]
        assert window.success_rate(now) == pytest.approx(len(times) / len(held))
        if times:
            assert window.latency(now) == pytest.approx(sum(times) / len(times))
        weight = window.weight(now, 0.001)
        assert 0.0 <= weight <= 1.0
        assert (weight > 0) == good


def test_a_clock_that_seems_to_go_back_between_threads_does_no_harm() -> None:
    window = LoadWindow()
    window.succeeded(START + 1, 0.1)
    window.succeeded(START, 0.1)
    assert window.success_rate(START) == 1.0
    assert window.weight(START, 0.1) == 1.0
